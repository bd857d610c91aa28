package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Credentials of the ARI user that every PBX of the lab has.
const (
	ARIUser     = "textback"
	ARIPassword = "secret"
)

// A PBX is one real Asterisk with a disk, addresses and phones of its own.
// The methods may be called from any goroutine.
type PBX struct {
	version Version
	net     network
	root    string // where the overlay is mounted
	console string // file that holds what Asterisk printed

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has ended
}

// started counts the PBXes of each version, so that each gets its own network.
var started struct {
	sync.Mutex
	n map[Version]int
}

// Start boots an Asterisk that knows the phones and numbers of all Scenarios
// and stops it when the test ends. It skips the test where the lab cannot run.
func Start(t testing.TB, v Version) *PBX {
	t.Helper()
	if unavailable != "" {
		t.Skip("lab: " + unavailable)
	}
	started.Lock()
	if started.n == nil {
		started.n = map[Version]int{}
	}
	n := started.n[v]
	started.n[v]++
	started.Unlock()

	p := &PBX{version: v, net: network{v, n}}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Logf("lab: %v", err) // it is gone by now, and the test was over
		}
		if t.Failed() {
			t.Logf("last words of %v:\n%s", v, p.Console(40))
		}
		p.unmount()
	})
	if err := p.mount(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	if err := p.Boot(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	return p
}

// Version tells which Asterisk this is.
func (p *PBX) Version() Version { return p.version }

// URL is the base of Asterisk's HTTP server, such as http://127.22.0.1:8088;
// ARI lies below it at /ari.
func (p *PBX) URL() string { return "http://" + p.net.pbx() + ":8088" }

// CLI runs one command of Asterisk's console and returns what it printed.
func (p *PBX) CLI(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/sbin/asterisk", "-rx", command)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root}
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("asterisk -rx %q: %w: %s", command, err, tail(out, 3))
	}
	// The console greets every command with this where there is only a loopback interface.
	text := string(out)
	if first, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(first, "No ethernet interface") {
		text = rest
	}
	return text, nil
}

// Restart stops Asterisk, ending all its calls, and boots it again.
func (p *PBX) Restart() error {
	return errors.Join(p.Stop(), p.Boot())
}

// Kill ends Asterisk at once, as a crash would; Boot starts it again.
func (p *PBX) Kill() error {
	cmd, exited := p.process()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-exited
	return nil
}

// Freeze stops Asterisk in its tracks, connections stay open; Thaw undoes it.
// It returns once the last of its threads stands still.
func (p *PBX) Freeze() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	cmd, _ := p.process()
	for deadline := time.Now().Add(20 * time.Second); !stopped(cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%v does not stand still", p.version)
		}
	}
	return nil
}

// stopped tells whether every thread of a process is (proc_pid_stat(5), field 3).
func stopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		return false
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			return false
		}
		// The name before it is in brackets and may hold anything.
		if _, state, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " "); !ok || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Thaw lets a frozen Asterisk run on.
func (p *PBX) Thaw() error { return p.signal(syscall.SIGCONT) }

// Console is the last n lines that Asterisk printed.
func (p *PBX) Console(n int) string {
	b, err := os.ReadFile(p.console)
	if err != nil {
		return err.Error()
	}
	return string(tail(b, n))
}

func (p *PBX) process() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.exited
}

func (p *PBX) signal(s os.Signal) error {
	cmd, _ := p.process()
	if cmd == nil {
		return fmt.Errorf("%v does not run", p.version)
	}
	return cmd.Process.Signal(s)
}

// mount lays a tmpfs over the shared image, so that no run sees another's
// configuration, database or messages, and writes the configuration.
func (p *PBX) mount() error {
	dir, err := os.MkdirTemp(workshop, p.version.String()+"-")
	if err != nil {
		return err
	}
	p.root, p.console = filepath.Join(dir, "root"), filepath.Join(dir, "console")
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{p.root, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	image := filepath.Join(images, p.version.String())
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image, upper, work)
	if err := syscall.Mount("overlay", p.root, "overlay", 0, opts); err != nil {
		return fmt.Errorf("overlay on %s: %w", image, err)
	}
	for _, d := range []string{"/dev", "/proc"} {
		if err := syscall.Mount(d, filepath.Join(p.root, d), "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", d, err)
		}
	}
	return p.configure()
}

func (p *PBX) unmount() {
	if p.root == "" {
		return
	}
	// What is left goes with the mount namespace.
	for _, d := range []string{"/dev", "/proc", ""} {
		_ = syscall.Unmount(filepath.Join(p.root, d), syscall.MNT_DETACH)
	}
	_ = os.RemoveAll(filepath.Dir(p.root))
}

// Boot starts Asterisk and waits until it can take calls. Start does it first;
// afterwards it is for one that was stopped or killed.
func (p *PBX) Boot() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		select {
		case <-p.exited:
		default:
			return fmt.Errorf("%v runs already", p.version)
		}
	}
	log, err := os.OpenFile(p.console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/usr/sbin/asterisk", "-f", "-n", "-U", "asterisk", "-G", "asterisk")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/var/lib/asterisk", "TZ=UTC"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %v: %w", p.version, err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	p.cmd, p.exited = cmd, exited

	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case <-exited:
			return fmt.Errorf("%v ended while booting:\n%s", p.version, p.Console(20))
		default:
		}
		out, err := p.CLI("core waitfullybooted")
		if err == nil && strings.Contains(out, "fully booted") {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%v did not boot: %v\n%s", p.version, err, p.Console(20))
		}
	}
}

// Stop ends Asterisk and all its calls in good order, a frozen one too. When
// it does not end by itself it is killed, and that is the error.
func (p *PBX) Stop() error {
	cmd, exited := p.process()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
		return nil
	case <-time.After(30 * time.Second):
	}
	_ = cmd.Process.Kill()
	<-exited
	return fmt.Errorf("%v did not end on SIGTERM", p.version)
}

// Quiet waits until Asterisk has no leg left, or tells that it has some when ctx ends or
// after half a minute.
func (p *PBX) Quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		out, err := p.CLI("core show channels count")
		if err == nil && strings.HasPrefix(out, "0 active channels") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%v still has legs: %q, %v", p.version, out, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Append adds text to one file of /etc/asterisk, such as pjsip.conf, for what
// only one test needs; a reload on the CLI takes it into use.
func (p *PBX) Append(name, text string) error {
	f, err := os.OpenFile(filepath.Join(p.root, "etc/asterisk", name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + text)
	return errors.Join(err, f.Close())
}

// configure writes everything under /etc/asterisk that the lab depends on.
func (p *PBX) configure() error {
	etc := filepath.Join(p.root, "etc/asterisk")
	var modules []string
	for _, dir := range []string{"usr/lib/asterisk/modules", "usr/lib/*/asterisk/modules"} {
		found, err := filepath.Glob(filepath.Join(p.root, dir, "*.so"))
		if err != nil {
			return err
		}
		modules = append(modules, found...)
	}
	if modules == nil {
		return fmt.Errorf("the image of %v has no modules: remove it to have it built again", p.version)
	}
	// Asterisk looks these names up, and there is nobody to ask.
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s A.ROOT-SERVERS.NET\n", p.net.pbx(), host)
	if err := os.WriteFile(filepath.Join(p.root, "etc/hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	for name, text := range p.net.files(modules) {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
