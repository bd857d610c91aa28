package ari

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"textback/pbx"
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
