package lab_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

var (
	record = flag.String("record", "", "directory for recordings: TestRecord plays every scenario alone and writes its events there")
	only   = flag.String("only", "", "scenarios for TestRecord, with commas between; empty: all")
	all    = flag.Bool("everything", false, "TestEverything plays every scenario at once")
)

// watch records p until the function it returns is called, which gives the calls.
func watch(t *testing.T, p *lab.PBX) (calls func() []*pbx.Call, events *bytes.Buffer) {
	t.Helper()
	events = new(bytes.Buffer)
	r, err := lab.Record(t.Context(), p, events)
	if err != nil {
		t.Fatal(err)
	}
	return func() (calls []*pbx.Call) {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		tr := pbx.NewTracker(pbx.Config{Site: "lab", Source: "ari", Region: "US"})
		tr.OnCall = func(c *pbx.Call) { calls = append(calls, c) }
		tr.OnWarn = func(w pbx.Warning) { t.Errorf("warning: %+v", w) }
		if err := ari.Replay(bytes.NewReader(events.Bytes()), p.Version().String(), tr); err != nil {
			t.Error(err)
		}
		return calls
	}, events
}

// The lab itself: both versions boot, calls run side by side, and what the
// PBX says about them is what the scenarios promise.
func TestLab(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p := lab.Start(t, v)
			t.Logf("booted in %v", time.Since(began).Round(time.Millisecond))
			played := lab.Named("answered_caller_ends", "rang_out", "abandoned")
			for try := 1; ; try++ {
				calls, _ := watch(t, p)
				err := lab.RunAll(t.Context(), p, played, len(played))
				got := calls()
				if err != nil && try < 3 {
					t.Logf("a script went wrong, the machine may be busy: %v", err)
					if err := p.Restart(); err != nil { // the phones left legs behind
						t.Fatal(err)
					}
					continue
				}
				if err != nil {
					t.Error(err)
				}
				for _, d := range lab.Compare(played, got) {
					t.Error(d)
				}
				break
			}
		})
	}
}

// save writes events into the directory of -record.
func save(t *testing.T, v lab.Version, name string, events *bytes.Buffer) {
	t.Helper()
	name = filepath.Join(*record, fmt.Sprintf("ast%d-%s.jsonl", int(v), name))
	if err := os.WriteFile(name, events.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}

// TestRecord is how recordings of single scenarios are made.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("no -record")
	}
	played := lab.Scenarios()
	if *only != "" {
		played = lab.Named(strings.Split(*only, ",")...)
	}
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.Start(t, v)
			for _, s := range played {
				t.Run(s.Name, func(t *testing.T) {
					calls, events := watch(t, p)
					if err := lab.Run(context.Background(), p, s); err != nil {
						t.Error(err)
					}
					for _, d := range lab.Compare([]lab.Scenario{s}, calls()) {
						t.Error(d)
					}
					save(t, v, s.Name, events)
				})
			}
		})
	}
}

// Everything at once on both versions, the way an end-to-end test does it.
func TestEverything(t *testing.T) {
	if !*all {
		t.Skip("no -everything")
	}
	played := lab.Scenarios()
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.Start(t, v)
			calls, events := watch(t, p)
			began := time.Now()
			if err := lab.RunAll(t.Context(), p, played, len(played)); err != nil {
				t.Error(err)
			}
			t.Logf("%d scenarios in %v", len(played), time.Since(began).Round(time.Second))
			for _, d := range lab.Compare(played, calls()) {
				t.Error(d)
			}
			if *record != "" {
				save(t, v, "everything", events)
			}
		})
	}
}

// What a test may do to a PBX: it comes back with its configuration each time.
func TestHardship(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.Start(t, v)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			busy := func(p *lab.PBX) {
				t.Helper()
				for try := 1; ; try++ {
					err := lab.Run(t.Context(), p, lab.Named("busy")[0])
					if err == nil {
						return
					}
					if try == 3 {
						t.Fatal(err)
					}
					t.Logf("a script went wrong, the machine may be busy: %v", err)
					must(p.Restart())
				}
			}
			must(p.Restart())
			must(p.Kill())
			if _, err := p.CLI("core show uptime"); err == nil {
				t.Error("a killed Asterisk answers")
			}
			must(p.Boot())
			must(p.Freeze())
			client := http.Client{Timeout: 300 * time.Millisecond}
			if _, err := client.Get(p.URL() + "/ari/asterisk/ping"); err == nil {
				t.Error("a frozen Asterisk answers")
			}
			must(p.Thaw())
			busy(p)
			out, err := p.CLI("core show version")
			must(err)
			if !strings.HasPrefix(out, fmt.Sprintf("Asterisk %d.", int(v))) {
				t.Errorf("not Asterisk %d: %s", int(v), out)
			}
			other := lab.Start(t, v)
			if other.URL() == p.URL() {
				t.Errorf("two PBXes at %s", p.URL())
			}
			busy(other)
		})
	}
}
