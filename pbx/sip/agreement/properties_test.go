package agreement

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/lab"
	"textback/pbx/sip"
	"textback/pbx/sip/pcap"
	"textback/pbx/sip/wire"
)

// step is how many messages are passed over between two tries: none, except under
// the race detector, which takes minutes for what takes seconds without it.
var step = 1

func zipped(s string) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.Bytes()
}

// recorded are the messages of a run on version v.
func recorded(t testing.TB, v lab.Version) (out []sip.Packet) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("testdata/%v.pcap.gz", v))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := pcap.Read(f, f.Name(), wire.Options{Handle: func(p *sip.Packet) {
		q := *p
		q.Payload = slices.Clone(p.Payload)
		out = append(out, q)
	}}); err != nil {
		t.Fatal(err)
	}
	if len(out) < 900 {
		t.Fatalf("only %d messages in %s", len(out), f.Name())
	}
	return out
}

// config is who is who in the recording of version v.
func config(v lab.Version, all bool) sip.Config {
	c := who(fmt.Sprintf("127.%d.0.1", int(v)), []string{fmt.Sprintf("127.%d.2.0/24", int(v)), fmt.Sprintf("127.%d.3.0/24", int(v))})
	c.AllPhones = all
	return c
}

// play gives messages to a witness, without those that skip picks.
func play(c sip.Config, ps []sip.Packet, skip func(i int) bool) map[string]*pbx.Call {
	s := newSeer(c)
	for i := range ps {
		if skip == nil || !skip(i) {
			s.handle(&ps[i])
		}
	}
	calls := map[string]*pbx.Call{}
	for _, c := range s.verdicts() {
		calls[c.ID] = c
	}
	return calls
}

// wrong lists the certain verdicts of got that are not those of want.
func wrong(want, got map[string]*pbx.Call) (out []string) {
	for id, w := range want {
		if g := got[id]; g != nil && g.Certain && w.Certain && (g.Outcome != w.Outcome || g.Reason != w.Reason) {
			out = append(out, fmt.Sprintf("%s: %s (%s) %v instead of %s (%s)", id, g.Outcome, g.Reason, g.Gaps, w.Outcome, w.Reason))
		}
	}
	for id, g := range got {
		if want[id] == nil && g.Certain {
			out = append(out, fmt.Sprintf("%s: a call that there was not: %s", id, g.Outcome))
		}
	}
	return out
}

// Any one message lost never gives another certain verdict, whether all phones are
// known to be in sight or not.
func TestOneMessageLost(t *testing.T) {
	for _, v := range lab.Versions {
		for _, all := range []bool{true, false} {
			t.Run(fmt.Sprint(v, " ", all), func(t *testing.T) {
				t.Parallel()
				ps := recorded(t, v)
				want := play(config(v, all), ps, nil)
				uncertain := 0
				for i := 0; i < len(ps); i += step {
					got := play(config(v, all), ps, func(j int) bool { return j == i })
					for _, w := range wrong(want, got) {
						line, _, _ := bytes.Cut(ps[i].Payload, []byte("\r\n"))
						t.Errorf("without %v > %v %q: %s", ps[i].Src, ps[i].Dst, line, w)
					}
					for id, g := range got {
						if w := want[id]; w != nil && w.Certain && !g.Certain {
							uncertain++
						}
					}
				}
				if limit := len(ps) / step / 4; uncertain > limit {
					t.Errorf("%d of %d lost messages made a call uncertain, more than one in four", uncertain, len(ps)/step)
				}
			})
		}
	}
}

// A capture that begins or ends anywhere never gives another certain verdict.
func TestCutAnywhere(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			ps := recorded(t, v)
			want := play(config(v, true), ps, nil)
			for i := 0; i < len(ps); i += 3 * step {
				for _, w := range append(wrong(want, play(config(v, true), ps[i:], nil)), wrong(want, play(config(v, true), ps[:i], nil))...) {
					t.Errorf("cut at %d: %s", i, w)
				}
			}
		})
	}
}

// Retransmissions, a second capture point that sees everything again, and
// neighbours that change places within some milliseconds change nothing.
func TestDuplicatesAndDisorder(t *testing.T) {
	for _, v := range lab.Versions {
		ps := recorded(t, v)
		want := play(config(v, true), ps, nil)
		rnd := rand.New(rand.NewPCG(1, uint64(v)))
		twice := make([]sip.Packet, 0, 2*len(ps))
		for _, p := range ps {
			q := p
			q.At = q.At.Add(300 * time.Microsecond)
			twice = append(twice, p, q)
		}
		later := slices.Clone(ps)
		for i := range later {
			if rnd.IntN(3) == 0 {
				later[i].At = later[i].At.Add(time.Duration(500+rnd.IntN(1500)) * time.Millisecond)
			}
		}
		again := slices.Concat(ps, later)
		slices.SortStableFunc(again, func(a, b sip.Packet) int { return a.At.Compare(b.At) })
		for name, messages := range map[string][]sip.Packet{"seen twice": twice, "repeated": again} {
			got := play(config(v, true), messages, nil)
			for id, w := range want {
				if g := got[id]; g == nil || verdict(g) != verdict(w) {
					t.Errorf("%v, %s: %s is %v, want %s", v, name, id, g, verdict(w))
				}
			}
			if len(got) != len(want) {
				t.Errorf("%v, %s: %d calls, want %d", v, name, len(got), len(want))
			}
		}
		for round := range 20 {
			swapped := slices.Clone(ps)
			for range len(swapped) / 20 {
				i := rnd.IntN(len(swapped) - 1)
				if swapped[i+1].At.Sub(swapped[i].At) < 5*time.Millisecond {
					swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
				}
			}
			got := play(config(v, true), swapped, nil)
			for _, w := range wrong(want, got) {
				t.Errorf("%v, neighbours swapped, round %d: %s", v, round, w)
			}
			unsure := 0
			for id, g := range got {
				if w := want[id]; w != nil && w.Certain && !g.Certain {
					unsure++
				}
			}
			if unsure > 3 {
				t.Errorf("%v, neighbours swapped, round %d: %d of %d calls are not certain any more", v, round, unsure, len(want))
			}
		}
	}
}

// Two offices' calls in one capture give the verdicts that each gives alone.
func TestInterleaved(t *testing.T) {
	a, b := lab.Versions[0], lab.Versions[1]
	pa, pb := recorded(t, a), recorded(t, b)
	shift := pa[0].At.Sub(pb[0].At)
	both := slices.Clone(pa)
	for _, p := range pb {
		p.At = p.At.Add(shift)
		both = append(both, p)
	}
	slices.SortStableFunc(both, func(x, y sip.Packet) int { return x.At.Compare(y.At) })
	for _, v := range []lab.Version{a, b} {
		want, got := play(config(v, true), recorded(t, v), nil), play(config(v, true), both, nil)
		for id, w := range want {
			if g := got[id]; g == nil || verdict(g) != verdict(w) {
				t.Errorf("%v: %s is %v, want %s", v, id, g, verdict(w))
			}
		}
	}
}
