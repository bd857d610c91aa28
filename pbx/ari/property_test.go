package ari

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"textback/pbx"
)

// step is how much is passed over between two tries: nothing, except under the race
// detector, which makes minutes of seconds.
var step = 1

// verdict is what must not change when recordings are mixed or damaged.
func verdict(c *pbx.Call) string {
	s := fmt.Sprintf("%s %s/%s", c.Direction, c.Outcome, c.Reason)
	if c.Voicemail != nil && c.Voicemail.MessageLeft != nil {
		s += fmt.Sprintf(" message=%v", *c.Voicemail.MessageLeft)
	}
	for _, a := range c.Attempts {
		s += " " + a.Endpoint + "=" + string(a.Result)
	}
	return s
}

// events splits a recording into its lines.
func events(recording []byte) [][]byte {
	return bytes.Split(bytes.TrimSpace(recording), []byte("\n"))
}

// shifted moves a recording in time to begin at start and gives its channels,
// bridges and Local pairs other names, as a PBX that ran both would have.
func shifted(t testing.TB, recording []byte, start time.Time, tag string) [][]byte {
	t.Helper()
	var first time.Time
	var out [][]byte
	move := func(v any) any { return v }
	move = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				s, isString := x.(string)
				switch {
				case isString && (k == "timestamp" || k == "creationtime"):
					at, err := parseTime(s)
					if err != nil {
						t.Fatal(err)
					}
					v[k] = start.Add(at.Sub(first)).Format("2006-01-02T15:04:05.000-0700")
				case isString && k == "id":
					v[k] = tag + s
				case isString && k == "name" && strings.HasPrefix(s, "Local/"):
					v[k] = strings.Replace(s, ";", tag+";", 1)
				case k == "channels":
					for i, id := range x.([]any) {
						x.([]any)[i] = tag + id.(string)
					}
				default:
					v[k] = move(x)
				}
			}
		}
		return v
	}
	for _, line := range events(recording) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		if first.IsZero() {
			at, err := parseTime(v["timestamp"].(string))
			if err != nil {
				t.Fatal(err)
			}
			first = at
		}
		move(v)
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func stamp(t testing.TB, line []byte) time.Time {
	var v struct{ Timestamp string }
	if err := json.Unmarshal(line, &v); err != nil {
		t.Fatal(err)
	}
	at, err := parseTime(v.Timestamp)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Two recordings at once, at several offsets, give the verdicts of each alone.
func TestInterleavedRecordings(t *testing.T) {
	all := everyRecording(t)
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	pairs := 0
	for i, a := range all {
		for j, b := range all {
			if (i*len(all)+j)%(17*step) != 0 {
				continue
			}
			offset := time.Duration((i*7+j*13)%40) * 97 * time.Millisecond
			one := shifted(t, read(t, a.file), start, "a-")
			two := shifted(t, read(t, b.file), start.Add(offset), "b-")
			var want []string
			for _, part := range [][][]byte{one, two} {
				for _, c := range replay(t, bytes.Join(part, []byte("\n"))) {
					want = append(want, c.ID+" "+verdict(c))
				}
			}
			both := append(append([][]byte{}, one...), two...)
			at := make(map[*byte]time.Time, len(both))
			for _, l := range both {
				at[&l[0]] = stamp(t, l)
			}
			sort.SliceStable(both, func(i, j int) bool { return at[&both[i][0]].Before(at[&both[j][0]]) })
			var got []string
			for _, c := range replay(t, bytes.Join(both, []byte("\n"))) {
				got = append(got, c.ID+" "+verdict(c))
			}
			sort.Strings(want)
			sort.Strings(got)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s with %s %v later:\n got %q\nwant %q", a.file, b.file, offset, got, want)
			}
			pairs++
		}
	}
	t.Logf("%d pairs", pairs)
}

// damaged replays what is left of a recording and fails when anything in it is
// certain and wrong.
func damaged(t *testing.T, what string, left [][]byte, truth map[string]*pbx.Call) (certain bool) {
	t.Helper()
	seen := map[string]bool{}
	certain = true
	for _, c := range replay(t, bytes.Join(left, []byte("\n"))) {
		if seen[c.ID] {
			t.Errorf("%s: call %s came out twice", what, c.ID)
		}
		seen[c.ID] = true
		if !c.Certain {
			certain = false
			continue
		}
		w := truth[c.ID]
		switch {
		case w == nil:
			t.Errorf("%s: a certain %s call that never was", what, c.Outcome)
		case c.Outcome != w.Outcome || c.Reason != w.Reason:
			t.Errorf("%s: certain %s/%s, the truth is %s/%s", what, c.Outcome, c.Reason, w.Outcome, w.Reason)
		case c.Voicemail != nil && c.Voicemail.MessageLeft != nil && *c.Voicemail.MessageLeft != *w.Voicemail.MessageLeft:
			t.Errorf("%s: message left %v, the truth is %v", what, *c.Voicemail.MessageLeft, *w.Voicemail.MessageLeft)
		}
	}
	return certain && len(seen) == len(truth)
}

func truthOf(t *testing.T, recording []byte) map[string]*pbx.Call {
	truth := map[string]*pbx.Call{}
	for _, c := range replay(t, recording) {
		truth[c.ID] = c
	}
	return truth
}

// Any one event lost never gives a wrong certain outcome, and most losses cost
// no certainty at all: what is lost there was told twice.
func TestDroppedEvent(t *testing.T) {
	for _, w := range everyRecording(t) {
		t.Run(w.file, func(t *testing.T) {
			recording := read(t, w.file)
			truth := truthOf(t, recording)
			lines := events(recording)
			certain := 0
			tried := 0
			for i := 0; i < len(lines); i += step {
				tried++
				left := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
				if damaged(t, fmt.Sprintf("without line %d (%s)", i+1, kind(lines[i])), left, truth) {
					certain++
				}
			}
			if step > 1 {
				return // too few for a share of them to say something
			}
			t.Logf("%d of %d losses leave everything certain", certain, tried)
			if certain*10 < tried*7 {
				t.Errorf("only %d of %d losses leave everything certain: not certain must not be a way out", certain, tried)
			}
		})
	}
}

// A recording cut anywhere, at either end, never gives a wrong certain outcome.
func TestCutRecording(t *testing.T) {
	for _, w := range everyRecording(t) {
		t.Run(w.file, func(t *testing.T) {
			recording := read(t, w.file)
			truth := truthOf(t, recording)
			lines := events(recording)
			for i := 0; i < len(lines); i += step {
				damaged(t, fmt.Sprintf("ends before line %d (%s)", i+1, kind(lines[i])), lines[:i], truth)
				damaged(t, fmt.Sprintf("begins at line %d (%s)", i+1, kind(lines[i])), lines[i:], truth)
			}
		})
	}
}

func kind(line []byte) string {
	var v struct {
		Type, Variable, Dialstatus string
		Channel, Peer              struct{ Name string }
	}
	_ = json.Unmarshal(line, &v)
	return strings.TrimSpace(v.Type + " " + v.Variable + v.Dialstatus + " " + v.Channel.Name + v.Peer.Name)
}
