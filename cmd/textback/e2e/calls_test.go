package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/pbx/lab"
)

// deserved is the text that a scenario's caller should get, from the truth
// about the calls alone; empty for none.
func deserved(s lab.Scenario) string {
	if len(s.Truth) == 0 || s.Truth[0].Anonymous {
		return ""
	}
	first := ""
	for _, c := range s.Truth {
		if c.Direction != pbx.Inbound {
			return ""
		}
		if c.Outcome == pbx.Answered {
			return "" // got through: before or after, nothing is sent
		}
		word := map[pbx.Outcome]string{pbx.RangOut: "rang out", pbx.Declined: "declined", pbx.Busy: "busy",
			pbx.Unreachable: "unreachable", pbx.Abandoned: "gave up", pbx.Voicemail: "greeting"}[c.Outcome]
		if c.MessageLeft != nil && *c.MessageLeft {
			word = "message"
		}
		if strings.HasPrefix(s.Name, "one_ring") {
			word = ""
		}
		if first == "" && word != "" {
			first = "Lab Dental: " + word
		}
	}
	return first
}

// Every scenario on both versions, with both witnesses: each call is one event,
// the published events are the truth, each satisfies the schema, and every caller
// gets the right text exactly once.
func TestCalls(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			// A phone's script that goes wrong is the lab's failure, on a machine that
			// is too busy: everything begins anew. A verdict that is wrong never is.
			for try := 1; !calls(t, v, try == 3); try++ {
			}
		})
	}
}

// calls plays everything once; false means that the lab stumbled.
func calls(t *testing.T, v lab.Version, last bool) bool {
	p := lab.Start(t, v)
	shop := newProvider(t)
	d := newDaemon(t, overARI(p)+", "+overHEP(p), shop.URL, "1s")
	d.start()
	d.attached()

	// An integrator listens all the while, with the reader's key.
	nc := d.nats(bus.Reader)
	defer nc.Close()
	var mu sync.Mutex
	heard := map[string]int{}
	if _, err := nc.Subscribe("textback.v1.call.>", func(m *nats.Msg) {
		satisfies(t, m.Data)
		c, err := event.Decode(m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		if strings.Contains(m.Subject, strings.TrimPrefix(c.Caller.Number, "+")) && c.Caller.Number != "" {
			t.Errorf("a number stands in subject %s", m.Subject)
		}
		mu.Lock()
		heard[c.ID]++
		mu.Unlock()
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	all := lab.Scenarios()
	counted(t, v, len(all))
	if err := lab.RunAll(t.Context(), p, all, 6); err != nil {
		if !last {
			t.Logf("the lab stumbled: %v", err)
			d.kill()
			return false
		}
		t.Error(err)
	}
	d.settled()
	calls := d.calls()
	for _, diff := range lab.Compare(all, calls) {
		t.Error(diff)
	}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			want := deserved(s)
			got := shop.to(s.Number)
			switch {
			case want == "" && len(got) > 0:
				t.Errorf("a text that nobody deserved: %q", got[0].body)
			case want != "" && len(got) != 1:
				t.Errorf("%d texts, want one: %q", len(got), want)
			case want != "" && (got[0].body != want || got[0].from != s.Line):
				t.Errorf("text %q from %s, want %q from %s", got[0].body, got[0].from, want, s.Line)
			}
		})
	}
	d.until("every call is heard", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return !slices.ContainsFunc(calls, func(c *pbx.Call) bool { return heard[c.ID] == 0 })
	})
	mu.Lock()
	for _, c := range calls {
		if heard[c.ID] != 1 {
			t.Errorf("call %s was heard %d times", c.ID, heard[c.ID])
		}
	}
	mu.Unlock()

	if n := d.metric(`textback_sip_messages_total{source="hep"}`); n < 900 {
		t.Errorf("the second witness was sent %v messages", n)
	}
	out, code := d.run("status")
	if code != 0 || !strings.Contains(out, "is well") || !strings.Contains(out, "0 calls in progress") {
		t.Errorf("status, exit %d:\n%s", code, out)
	}
	out, code = d.run("calls", "--missed")
	if n := strings.Count(out, "\n") - 1; code != 0 || n < 30 {
		t.Errorf("calls --missed lists %d, exit %d:\n%s", n, code, out)
	}
	if out, code = d.run("doctor"); code != 0 && !strings.Contains(out, "SICK  provider") {
		t.Errorf("doctor, exit %d:\n%s", code, out)
	}
	d.stop()

	// What was recorded meanwhile replays to the same verdicts.
	path := d.dir + "/events.jsonl"
	out, code = d.runPlain("replay", "--json", path)
	if n := strings.Count(out, "\n"); code != 0 || n != len(calls) {
		t.Errorf("the recording replays to %d calls, exit %d; %d were published", n, code, len(calls))
	}
	return true
}

// counted holds the list of tests on real parts, by which CI counts, to what
// there is.
func counted(t *testing.T, v lab.Version, scenarios int) {
	t.Helper()
	b, err := os.ReadFile("../../../testdata/realparts.tsv")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("TestCalls/%s/.*\t%d\t", v, scenarios); !strings.Contains(string(b), want) {
		t.Errorf("testdata/realparts.tsv should say %q", want)
	}
}

// runPlain runs a subcommand that takes no --config.
func (d *daemon) runPlain(args ...string) (string, int) {
	d.t.Helper()
	return runBinary(d.t, args...)
}

// Asterisk goes away and comes back in the middle of calls, in every way there
// is: nobody is texted on a guess, and afterwards everything works as before.
func TestAsteriskGoesAway(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.Start(t, v)
			shop := newProvider(t)
			d := newDaemon(t, overARI(p), shop.URL, "0s")
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			d.start() // Asterisk is not up yet
			if err := p.Boot(); err != nil {
				t.Fatal(err)
			}
			d.attached()
			during := lab.Named("rang_out", "declined_603", "answered_caller_ends", "voicemail_message", "queue_abandoned")
			for _, bad := range []struct {
				name string
				do   func() error
			}{{"killed", p.Kill}, {"restarted", p.Restart}} {
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = lab.RunAll(t.Context(), p, during, len(during)) // they fail, of course
				}()
				time.Sleep(1200 * time.Millisecond)
				if err := bad.do(); err != nil {
					t.Fatal(bad.name, err)
				}
				if bad.name == "killed" {
					if err := p.Boot(); err != nil {
						t.Fatal(err)
					}
				}
				<-done
			}
			after := lab.Named("busy", "dnd")
			d.until("attached again", func() bool {
				out, _ := d.run("status")
				return strings.Contains(out, "pbx      attached to Asterisk")
			})
			for try := 1; ; try++ { // who is missed twice is texted once
				err := lab.RunAll(t.Context(), p, after, 2)
				if err == nil {
					break
				}
				if try == 3 {
					t.Error(err)
					break
				}
				t.Logf("the lab stumbled: %v", err)
			}
			d.settled()
			certain := map[string]bool{}
			for _, c := range d.calls() {
				if c.Missed() && c.Certain {
					certain[c.Caller.Number] = true
				}
			}
			for _, s := range append(during, after...) {
				n := len(shop.to(s.Number))
				if n > 1 || n == 1 && !certain[s.Number] {
					t.Errorf("%s: %d texts, certain %v", s.Name, n, certain[s.Number])
				}
			}
			for _, s := range after {
				if len(shop.to(s.Number)) != 1 {
					t.Errorf("%s: no text after Asterisk came back", s.Name)
				}
			}
			d.stop()
		})
	}
}

// until waits for something to become true.
func (d *daemon) until(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("never: %s", what)
		}
	}
}

// The daemon is killed at random moments while real calls go on. Nobody gets
// two texts or one that was not deserved; whoever deserved one and got none
// is listed, as a call that is not certain, or as a text that is held.
//
// On Asterisk 16 only: when an ARI client vanishes in the middle of events,
// Asterisk 22.10 can keep a lock in res_ari for ever, and no ARI client gets in
// until Asterisk itself is restarted.
func TestDaemonKilled(t *testing.T) {
	// As in TestCalls: a phone's script that goes wrong is the lab's failure.
	for try := 1; !daemonKilled(t, lab.V16, try == 3); try++ {
	}
}

// daemonKilled plays everything once; false means that the lab stumbled.
func daemonKilled(t *testing.T, v lab.Version, last bool) bool {
	p := lab.Start(t, v)
	shop := newProvider(t)
	d := newDaemon(t, overARI(p), shop.URL, "0s")
	all := lab.Scenarios()
	done := make(chan error, 1)
	d.start()
	d.attached()
	go func() { done <- lab.RunAll(t.Context(), p, all, 8) }()
	kills := 0
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil && !last {
				t.Logf("the lab stumbled: %v", err)
				d.kill()
				return false
			}
			if err != nil {
				t.Error(err)
			}
			running = false
		case <-time.After(time.Duration(2500+(kills*1337)%3000) * time.Millisecond):
			d.kill()
			kills++
			d.start()
		}
	}
	d.attached()
	d.settled()
	calls, jobs := d.calls(), d.jobs()
	t.Logf("%d kills over %d calls, %d texts", kills, len(calls), shop.count())
	if kills < 4 {
		t.Errorf("only %d kills", kills)
	}
	// A call that began and ended while the daemon was dead leaves no trace;
	// all others are published, once.
	seen := map[string]int{}
	excused := map[string]string{}
	published := map[string]bool{}
	for _, c := range calls {
		seen[c.ID]++
		published[c.Caller.Number] = true
		switch j := jobs[c.ID]; {
		case !c.Certain:
			excused[c.Caller.Number] = "not certain: " + fmt.Sprint(c.Gaps)
		case j != nil && (j.State == "held" || j.State == "cancelled"):
			excused[c.Caller.Number] = string(j.State) + ": " + j.Because
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("call %s is stored %d times", id, n)
		}
	}
	exact := 0
	for _, s := range all {
		want, got := deserved(s), shop.to(s.Number)
		switch {
		case len(got) > 1:
			t.Errorf("%s: %d texts", s.Name, len(got))
		case len(got) == 1 && want == "":
			t.Errorf("%s: a text that nobody deserved: %q", s.Name, got[0].body)
		case len(got) == 1 && got[0].body != want && excused[s.Number] == "":
			t.Errorf("%s: text %q, want %q", s.Name, got[0].body, want)
		case len(got) == 1:
			exact++
		case want != "" && published[s.Number] && excused[s.Number] == "":
			t.Errorf("%s: no text, and nothing says why", s.Name)
		}
	}
	t.Logf("%d callers got exactly one text, %d calls are listed with a reason", exact, len(excused))
	d.stop()
	return true
}
