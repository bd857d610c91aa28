package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Run plays a scenario to its end: until its callers have finished and their
// legs are gone. Two runs of one scenario on one PBX must not overlap. The
// error tells which part of the script met something else than it expected.
func Run(ctx context.Context, p *PBX, s Scenario) error {
	if err := run(ctx, p, &s); err != nil {
		return fmt.Errorf("scenario %s on %v: %w", s.Name, p.version, err)
	}
	return nil
}

// stagger keeps RunAll from starting hundreds of processes in one instant,
// which would delay what they do past the tolerance of the truth.
const stagger = 100 * time.Millisecond

// RunAll plays scenarios, at most parallel at a time, and returns all their
// errors together. All at once is not too much for two processors; a machine that
// is too busy makes calls longer than their truth.
func RunAll(ctx context.Context, p *PBX, all []Scenario, parallel int) error {
	var (
		wg   sync.WaitGroup
		errs = make([]error, len(all))
		room = make(chan struct{}, max(1, parallel))
	)
	for i, s := range all {
		room <- struct{}{}
		if i > 0 {
			time.Sleep(stagger)
		}
		wg.Go(func() {
			defer func() { <-room }()
			errs[i] = Run(ctx, p, s)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// legsEnd is how long the legs of a call may take to be gone after its caller.
const legsEnd = 500 * time.Millisecond

func run(ctx context.Context, p *PBX, s *Scenario) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp(workshop, s.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	tone := filepath.Join(dir, "tone.ulaw")
	if err := os.WriteFile(tone, noise(2*time.Second), 0o644); err != nil {
		return err
	}
	var phones []*sipp
	defer func() {
		for _, ph := range phones {
			err = errors.Join(err, ph.stop())
		}
	}()
	for _, ph := range s.phones {
		ph.refer, ph.contact = s.fill(ph.refer), s.fill(ph.contact)
		ph.keys = s.fillKeys(ph.keys)
		addr := p.net.far(s)
		if ph.role != "far" {
			addr = p.net.phone(s, int(ph.role[0]-'a')+1)
		}
		sp, err := start(dir, "phone-"+ph.role, ph.script(p.net.pbx()), addr, 5060)
		if err != nil {
			return err
		}
		phones = append(phones, sp)
	}
	for _, ph := range phones {
		if err := ph.listens(ctx); err != nil {
			return err
		}
	}

	var wg sync.WaitGroup
	errs := make([]error, len(s.callers))
	for i, c := range s.callers {
		wg.Go(func() { errs[i] = call(ctx, p, s, i, c, dir, tone) })
	}
	wg.Wait()
	select {
	case <-ctx.Done():
	case <-time.After(legsEnd):
	}
	return errors.Join(errs...)
}

// call plays the i-th call of the scenario.
func call(ctx context.Context, p *PBX, s *Scenario, i int, c caller, dir, tone string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(c.after):
	}
	number, addr := s.Number, p.net.caller(s, i)
	if c.from != "" {
		number, addr = s.Extension(c.from), p.net.phone(s, int(c.from[0]-'a')+1)
	}
	to := s.did()
	if c.to != "" {
		to = s.fill(c.to)
	}
	c.keys = s.fillKeys(c.keys)
	var replaces []byte
	if c.joins {
		name := filepath.Join(dir, "phone-"+c.from+".log")
		for len(bytes.TrimSpace(replaces)) == 0 { // until the phone has written it
			var err error
			if replaces, err = os.ReadFile(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	// Its own port: a desk phone may be waiting for calls on 5060.
	sp, err := start(dir, fmt.Sprintf("caller-%d", i+1), c.script(number, tone, strings.TrimSpace(string(replaces))), addr, 5070,
		"-m", "1", "-s", to, p.net.pbx()+":5060")
	if err != nil {
		return err
	}
	return sp.wait(ctx)
}

// A sipp is a running script.
type sipp struct {
	name string
	addr string
	port int
	errs string // file of what went other than scripted
	cmd  *exec.Cmd
	done chan error
}

// start runs a script at an address; more goes on its command line.
func start(dir, name, script, addr string, port int, more ...string) (*sipp, error) {
	file := filepath.Join(dir, name+".xml")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return nil, err
	}
	sp := &sipp{name: name, addr: addr, port: port, errs: filepath.Join(dir, name+".errors"), done: make(chan error, 1)}
	sp.cmd = exec.Command("sipp", append([]string{"-sf", file, "-i", addr, "-mi", addr, "-ci", addr, "-p", fmt.Sprint(port),
		"-nostdin", "-timer_resol", "10", "-trace_err", "-error_file", sp.errs,
		"-trace_logs", "-log_file", filepath.Join(dir, name+".log")}, more...)...)
	sp.cmd.Dir = dir
	if err := sp.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { sp.done <- sp.cmd.Wait() }()
	return sp, nil
}

// listens waits until the script has its socket.
func (sp *sipp) listens(ctx context.Context) error {
	var a, b, c, d int
	if _, err := fmt.Sscanf(sp.addr, "%d.%d.%d.%d", &a, &b, &c, &d); err != nil {
		return err
	}
	want := fmt.Sprintf(" %02X%02X%02X%02X:%04X ", d, c, b, a, sp.port)
	for {
		sockets, err := os.ReadFile("/proc/self/net/udp")
		if err != nil {
			return err
		}
		if strings.Contains(string(sockets), want) {
			return nil
		}
		select {
		case err := <-sp.done:
			sp.done <- err
			return sp.failed(fmt.Errorf("ended early: %v", err))
		case <-ctx.Done():
			return sp.failed(ctx.Err())
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// wait waits for the script's own end.
func (sp *sipp) wait(ctx context.Context) error {
	select {
	case err := <-sp.done:
		if err != nil {
			return sp.failed(err)
		}
		return nil
	case <-ctx.Done():
		_ = sp.cmd.Process.Kill()
		<-sp.done
		return sp.failed(ctx.Err())
	}
}

// stop ends a script that waits for calls for ever.
func (sp *sipp) stop() error {
	_ = sp.cmd.Process.Kill()
	<-sp.done
	if b, err := os.ReadFile(sp.errs); err == nil && len(b) > 0 {
		return sp.failed(errors.New("did not go as scripted"))
	}
	return nil
}

func (sp *sipp) failed(err error) error {
	b, _ := os.ReadFile(sp.errs)
	if len(b) > 1500 {
		b = b[:1500]
	}
	return fmt.Errorf("%s: %w\n%s", sp.name, err, b)
}

// noise is headerless µ-law that no silence detector takes for silence: a
// square wave of 400 Hz, switched on and off twice a second.
func noise(d time.Duration) []byte {
	b := make([]byte, int(d.Seconds()*8000))
	for i := range b {
		switch {
		case i/2000%2 == 1:
			b[i] = 0xff // silence
		case i/10%2 == 0:
			b[i] = 0x90
		default:
			b[i] = 0x10
		}
	}
	return b
}
