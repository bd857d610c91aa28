package ari

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	carilib "github.com/CyCoreSystems/ari/v5"

	"textback/pbx"
)

// allEvents is every recording's events, one after the other.
func allEvents(b testing.TB) [][]byte {
	var out [][]byte
	for _, w := range truths(b) {
		out = append(out, events(read(b, w.file))...)
	}
	return out
}

// BenchmarkEvents compares, over all recordings, the whole way from bytes to
// calls with what the ARI library's DecodeEvent alone takes. Each iteration is
// one event. The last line is the ratio that matters: events/s of the one over
// events/s of the other, measured in turn in this same run.
func BenchmarkEvents(b *testing.B) {
	lines := allEvents(b)
	var size int64
	for _, l := range lines {
		size += int64(len(l))
	}
	ours := func(n int) {
		var d Decoder
		t := pbx.NewTracker(testConfig())
		for i := 0; i < n; i++ {
			if i%len(lines) == 0 {
				t = pbx.NewTracker(testConfig())
			}
			f, err := d.Decode(lines[i%len(lines)])
			if err != nil {
				b.Fatal(err)
			}
			if f != nil {
				t.Feed(f)
			}
		}
	}
	theirs := func(n int) {
		for i := 0; i < n; i++ {
			if _, err := carilib.DecodeEvent(lines[i%len(lines)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("decode+track", func(b *testing.B) { b.ReportAllocs(); b.SetBytes(size / int64(len(lines))); ours(b.N) })
	b.Run("DecodeEvent", func(b *testing.B) { b.ReportAllocs(); b.SetBytes(size / int64(len(lines))); theirs(b.N) })
	b.Run("ratio", func(b *testing.B) {
		var mine, other time.Duration
		for i := 0; i < b.N; i++ { // in turn, so that a machine's moods hit both
			start := time.Now()
			ours(len(lines))
			mid := time.Now()
			theirs(len(lines))
			mine, other = mine+mid.Sub(start), other+time.Since(mid)
		}
		b.ReportMetric(float64(other)/float64(mine), "times-DecodeEvent")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkCall is one whole missed call through decoder and tracker: the
// allocations a call costs.
func BenchmarkCall(b *testing.B) {
	lines := events(read(b, "ast22-noans.jsonl"))
	b.ReportAllocs()
	var d Decoder
	t := pbx.NewTracker(testConfig())
	calls := 0
	t.OnCall = func(*pbx.Call) { calls++ }
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i := 0; i < b.N; i++ {
		tag := fmt.Sprintf("%d-", i)
		for j, l := range lines {
			f, err := d.Decode(l)
			if err != nil {
				b.Fatal(err)
			}
			if f != nil {
				f.At = start.Add(time.Duration(i)*time.Minute + time.Duration(j)*time.Millisecond)
				f.Leg.ID = tag + f.Leg.ID
				if f.By.ID != "" {
					f.By.ID = tag + f.By.ID
				}
				t.Feed(f)
			}
		}
	}
	if calls != b.N {
		b.Fatalf("%d calls of %d", calls, b.N)
	}
}

// TestAgreesWithLibrary holds our decoder against the library's on every
// recorded event: same type of fact, same channel, same time.
func TestAgreesWithLibrary(t *testing.T) {
	var d Decoder
	facts := 0
	for i, line := range allEvents(t) {
		ev, err := carilib.DecodeEvent(line)
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.Decode(line)
		if err != nil {
			t.Fatalf("event %d: %v\n%s", i, err, line)
		}
		if f == nil {
			continue
		}
		facts++
		same := func(what, ours, theirs string) {
			if ours != theirs {
				t.Errorf("event %d (%s): %s is %q, the library says %q", i, ev.GetType(), what, ours, theirs)
			}
		}
		var ch carilib.ChannelData
		switch v := ev.(type) {
		case *carilib.ChannelCreated:
			ch = v.Channel
		case *carilib.ChannelDestroyed:
			ch = v.Channel
			same("cause", fmt.Sprint(f.Cause), fmt.Sprint(v.Cause))
		case *carilib.ChannelStateChange:
			ch = v.Channel
		case *carilib.ChannelHangupRequest:
			ch = v.Channel
			same("soft", fmt.Sprint(f.Soft), fmt.Sprint(v.Soft))
		case *carilib.ChannelDialplan:
			ch = v.Channel
		case *carilib.ChannelVarset:
			ch = v.Channel
		case *carilib.ChannelEnteredBridge:
			ch = v.Channel
			same("bridge", f.Bridge.ID, v.Bridge.ID)
			same("members", fmt.Sprint(f.Bridge.Members), fmt.Sprint(v.Bridge.ChannelIDs))
		case *carilib.ChannelLeftBridge:
			ch = v.Channel
		case *carilib.ChannelCallerID:
			ch = v.Channel
		case *carilib.Dial:
			ch = v.Peer
			same("dialstatus", f.Dial, v.Dialstatus)
			same("caller", f.By.ID, v.Caller.ID)
		default:
			continue
		}
		same("channel", f.Leg.ID, ch.ID)
		same("name", f.Leg.Name, ch.Name)
		same("number", f.Leg.Number, ch.Caller.Number)
		same("person", f.Leg.Person, ch.Caller.Name)
		same("context", f.Leg.Context, ch.Dialplan.Context)
		same("exten", f.Leg.Exten, ch.Dialplan.Exten)
	}
	if facts < 250 {
		t.Errorf("only %d facts compared", facts)
	}
}

func FuzzDecode(f *testing.F) {
	for i, l := range allEvents(f) {
		if i%9 == 0 {
			f.Add(l)
		}
	}
	f.Add([]byte(`{"type":"Dial","timestamp":"2026-11-23T11:17:16.984+0000","peer":{"id":"1","name":"Local/;1"},"caller":{"id":"1"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var d Decoder
		tr := pbx.NewTracker(testConfig())
		// Twice, and amid a real call: whatever it is, it must neither stop the
		// tracker nor make a second call of one.
		seen := map[string]int{}
		tr.OnCall = func(c *pbx.Call) { seen[c.ID]++ }
		for _, l := range [][]byte{line, line} {
			if fact, err := d.Decode(l); err == nil && fact != nil {
				tr.Feed(fact)
			}
		}
		for _, l := range bytes.Split(call, []byte("\n")) {
			if fact, err := d.Decode(l); err == nil && fact != nil {
				tr.Feed(fact)
			}
		}
		tr.Flush(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		for id, n := range seen {
			if n > 1 {
				t.Fatalf("call %q came out %d times", id, n)
			}
		}
	})
}

var call = []byte(`{"type":"ChannelCreated","timestamp":"2026-11-23T11:17:16.984+0000","channel":{"id":"1","name":"PJSIP/trunk-1","state":"Ring","dialplan":{"context":"from-trunk","exten":"1"}}}
{"type":"ChannelDestroyed","cause":16,"timestamp":"2026-11-23T11:17:17.984+0000","channel":{"id":"1","name":"PJSIP/trunk-1","state":"Ring","dialplan":{"context":"from-trunk","exten":"1"}}}`)
