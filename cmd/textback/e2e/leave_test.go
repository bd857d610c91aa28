package e2e

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/lab"
)

// A line is a TCP connection to the PBX that a test can cut.
type cutLine struct {
	net.Listener
	to    string
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newCutLine(t *testing.T, to string) *cutLine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutLine{Listener: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { c.set(true); l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(in)
		}
	}()
	return c
}

func (c *cutLine) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer out.Close()
	c.mu.Lock()
	down := c.down
	c.conns[in], c.conns[out] = true, true
	c.mu.Unlock()
	if down {
		return
	}
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} }()
	}
	<-done
}

// set cuts the line, or lets it carry again.
func (c *cutLine) set(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	if down {
		for conn := range c.conns {
			conn.Close()
		}
		c.conns = map[net.Conn]bool{}
	}
}

// The line to ARI breaks in the middle of calls. The wire saw them whole: each is
// one event, certain and right, and the right texts leave.
func TestWitnessLeaves(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.Start(t, v)
			line := newCutLine(t, strings.TrimPrefix(p.URL(), "http://"))
			played := lab.Named("answered_caller_ends", "rang_out", "declined_603", "abandoned", "group_answered", "chain_declined_rang_out", "rang_out_greeting")
			for try := 1; ; try++ {
				shop := newProvider(t)
				ari := strings.Replace(overARI(p), strings.TrimPrefix(p.URL(), "http://"), line.Addr().String(), 1)
				d := newDaemon(t, ari+", "+overHEP(p), shop.URL, "0s")
				d.start()
				d.attached()
				over, broken := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(broken)
					d.cut(line, 4, over)
				}()
				err := lab.RunAll(t.Context(), p, played, len(played))
				close(over)
				<-broken
				d.settled()
				calls := d.calls()
				alone := slices.ContainsFunc(calls, byWire)
				if (err != nil || !alone) && try < 3 {
					t.Logf("the lab stumbled: %v, calls that the wire alone saw end: %v", err, alone)
					d.kill()
					if err := p.Restart(); err != nil { // the phones may have left legs behind
						t.Fatal(err)
					}
					continue
				}
				if err != nil {
					t.Error(err)
				}
				seen := map[string]*pbx.Call{}
				for _, c := range calls {
					if seen[c.Caller.Number] != nil {
						t.Errorf("two events about %s", c.Caller.Number)
					}
					seen[c.Caller.Number] = c
				}
				for _, s := range played {
					c, want := seen[s.Number], s.Truth[0]
					if c == nil || c.Outcome != want.Outcome || c.Reason != want.Reason || !c.Certain || c.HasGap(pbx.GapWitnessDisagrees) {
						t.Errorf("%s: %+v, want %s %s", s.Name, c, want.Outcome, want.Reason)
					}
					if got := shop.to(s.Number); (len(got) == 1) != (want.Outcome != pbx.Answered) {
						t.Errorf("%s: %d texts", s.Name, len(got))
					}
				}
				if !alone {
					t.Error("no verdict is the wire's: the line was not cut in time")
				}
				d.stop()
				return
			}
		})
	}
}

func byWire(c *pbx.Call) bool { return c.Source == "sip" }

// cut cuts the line once so many calls are in progress, and lets it carry again when
// the wire alone has seen one of them end, or all are over.
func (d *daemon) cut(line *cutLine, calls int, over <-chan struct{}) {
	nc := d.nats(bus.Admin)
	defer nc.Close()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		live, err := bus.LiveCalls(ctx, nc, "lab")
		cancel()
		if err == nil && len(live) >= calls {
			break
		}
		select {
		case <-over:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	line.set(true)
	defer line.set(false)
	for {
		if slices.ContainsFunc(d.calls(), byWire) {
			return
		}
		select {
		case <-over:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Both witnesses come in the middle of calls: nothing is guessed at.
func TestWitnessJoins(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.Start(t, v)
			shop := newProvider(t)
			d := newDaemon(t, overARI(p)+", "+overHEP(p), shop.URL, "0s")
			played := lab.Named("answered_caller_ends", "answered_callee_ends", "rang_out", "abandoned", "group_answered", "rang_out_greeting", "queue_abandoned")
			done := make(chan error, 1)
			go func() { done <- lab.RunAll(t.Context(), p, played, len(played)) }()
			time.Sleep(1500 * time.Millisecond)
			d.start()
			d.attached()
			if err := <-done; err != nil {
				t.Log(err)
			}
			d.settled()
			seen := map[string]bool{}
			for _, c := range d.calls() {
				if seen[c.Caller.Number] {
					t.Errorf("two events about %s", c.Caller.Number)
				}
				seen[c.Caller.Number] = true
				for _, s := range played {
					if s.Number == c.Caller.Number && c.Certain && (c.Outcome != s.Truth[0].Outcome || c.Reason != s.Truth[0].Reason) {
						t.Errorf("%s: certain of %s %s, and it was %s %s", s.Name, c.Outcome, c.Reason, s.Truth[0].Outcome, s.Truth[0].Reason)
					}
					if n := len(shop.to(s.Number)); n > 0 && s.Truth[0].Outcome == pbx.Answered {
						t.Errorf("%s: %d texts to somebody who got through", s.Name, n)
					}
				}
			}
			d.stop()
		})
	}
}
