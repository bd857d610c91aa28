package ari

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"textback/pbx"
	"textback/pbx/lab"
)

// recordings are event streams of a real PBX with the truth of each
// (testdata/recordings/TRUTH.tsv).
const recordings = "../../testdata/recordings"

type truth struct{ file, outcome, reason string }

func truths(t testing.TB) []truth {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(recordings, "TRUTH.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var out []truth
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		if len(f) < 3 {
			t.Fatalf("TRUTH.tsv:%d: %q", i+1, line)
		}
		out = append(out, truth{f[0], f[1], f[2]})
	}
	return out
}

// everyRecording lists the recordings of TRUTH.tsv and those of the lab
// (testdata/recordings/lab), which hold one scenario each.
func everyRecording(t testing.TB) []truth {
	t.Helper()
	all := truths(t)
	more, err := filepath.Glob(filepath.Join(recordings, "lab", "*.jsonl"))
	if err != nil || len(more) < 50 {
		t.Fatalf("%d recordings of the lab: %v", len(more), err)
	}
	for _, f := range more {
		if !strings.Contains(f, "everything") { // many calls at once
			all = append(all, truth{file: filepath.Join("lab", filepath.Base(f))})
		}
	}
	return all
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(recordings, file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testConfig() pbx.Config { return pbx.Config{Site: "test", Source: "ari", Region: "US"} }

func replay(t testing.TB, recording []byte) []*pbx.Call {
	t.Helper()
	var calls []*pbx.Call
	tr := pbx.NewTracker(testConfig())
	tr.OnCall = func(c *pbx.Call) { calls = append(calls, c) }
	if err := Replay(bytes.NewReader(recording), "recording", tr); err != nil {
		t.Fatal(err)
	}
	return calls
}

func TestRecordings(t *testing.T) {
	all := truths(t)
	for _, w := range all {
		t.Run(w.file, func(t *testing.T) {
			calls := replay(t, read(t, w.file))
			if len(calls) != 1 {
				t.Fatalf("%d calls, want 1", len(calls))
			}
			c := calls[0]
			if string(c.Outcome) != w.outcome || string(c.Reason) != w.reason || !c.Certain {
				t.Errorf("%s/%s certain=%v gaps=%v, want %s/%s certain", c.Outcome, c.Reason, c.Certain, c.Gaps, w.outcome, w.reason)
			}
		})
	}
}

// The lab's recordings come out as the lab's own truth says.
func TestLabRecordings(t *testing.T) {
	for _, w := range everyRecording(t) {
		dir, file := filepath.Split(w.file)
		if dir == "" {
			continue
		}
		name := strings.TrimSuffix(file[strings.IndexByte(file, '-')+1:], ".jsonl")
		t.Run(file, func(t *testing.T) {
			for _, d := range lab.Compare(lab.Named(name), replay(t, read(t, w.file))) {
				t.Error(d)
			}
		})
	}
}

// A trunk's leg that is up before anybody is known to have dialled the wire it
// hangs on is no outbound call: many calls at once on a busy Asterisk 16.
func TestOuterDialComesLate(t *testing.T) {
	inbound := 0
	for _, c := range replay(t, read(t, "lab/everything16-group_mobile-race.jsonl")) {
		if c.Caller.Number == "+16465550126" && c.Direction == pbx.Outbound {
			t.Errorf("an outbound call that never was: %s", c.ID)
		}
		if c.Line.Number == "+12125550126" && c.Direction == pbx.Inbound && c.Outcome == pbx.Answered {
			inbound++
		}
	}
	if inbound != 1 {
		t.Errorf("%d answered calls to the line, want 1", inbound)
	}
}
