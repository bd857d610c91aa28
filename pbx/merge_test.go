package pbx

import (
	"fmt"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

func seenCall(id, source string, start, end float64, outcome Outcome, gaps ...Gap) *Call {
	c := &Call{ID: id, Site: "hq", Source: source, Direction: Inbound, Caller: Caller{Number: "+12025550143", Raw: "2025550143"},
		Line: Line{Number: "+12125550100", Raw: "5551000"}, StartedAt: at(start), State: StateRinging}
	if end > 0 {
		c.EndedAt, c.State, c.Outcome = at(end), StateEnded, outcome
		c.Certain = outcome != Unknown
		for _, g := range gaps {
			if g != GapMachineKind && g != GapOneSide {
				c.Certain = false
			}
		}
		if outcome != Answered && outcome != Unknown {
			c.Reason = ReasonRangOut
		}
		c.Gaps = gaps
	}
	return c
}

// merged plays a script against a Merger that has both witnesses from the
// beginning, and returns what it published.
func merged(t *testing.T, script func(m *Merger)) (calls []*Call, live map[string]bool) {
	t.Helper()
	live = map[string]bool{}
	m := &Merger{OnCall: func(c *Call) { calls = append(calls, c) }, OnLive: func(c *Call) { live[c.ID] = true }}
	m.Attach(Inside, true, at(-60))
	m.Attach(Aside, true, at(-60))
	script(m)
	m.Flush(at(1000))
	if m.Open() != 0 {
		t.Errorf("%d calls stay open", m.Open())
	}
	return calls, live
}

func TestTwoWitnessesOneCall(t *testing.T) {
	tests := []struct {
		name    string
		in, by  *Call
		outcome Outcome
		certain bool
		gaps    string
		source  string
	}{
		{"agree", seenCall("1", "ari", 0, 9, RangOut), seenCall("a", "sip", 0, 9, RangOut), RangOut, true, "[]", "ari"},
		{"the wire cannot tell which machine", seenCall("1", "ari", 0, 9, Voicemail), seenCall("a", "sip", 0, 9, Unattended, GapMachineKind), Voicemail, true, "[]", "ari"},
		{"the wire shows one side", seenCall("1", "ari", 0, 9, Declined), seenCall("a", "sip", 0, 9, RangOut, GapOneSide), Declined, true, "[]", "ari"},
		{"the wire does not know", seenCall("1", "ari", 0, 9, RangOut), seenCall("a", "sip", 0, 9, Unknown, GapOneSide), RangOut, true, "[]", "ari"},
		{"answered, says the wire", seenCall("1", "ari", 0, 9, RangOut), seenCall("a", "sip", 0, 9, Answered), Unknown, false, "[witness_disagrees]", "ari"},
		{"answered, says the PBX", seenCall("1", "ari", 0, 9, Answered), seenCall("a", "sip", 0, 9, RangOut), Unknown, false, "[witness_disagrees]", "ari"},
		{"answered, says the PBX, by a machine, says the wire", seenCall("1", "ari", 0, 9, Answered), seenCall("a", "sip", 0, 9, Voicemail, GapMachineKind), Unknown, false, "[witness_disagrees]", "ari"},
		{"how it was missed", seenCall("1", "ari", 0, 9, RangOut), seenCall("a", "sip", 0, 9, Busy), RangOut, false, "[witness_disagrees]", "ari"},
		{"the PBX's events were lost", seenCall("1", "ari", 0, 9, Unknown, GapEventsLost), seenCall("a", "sip", 0, 9, RangOut), RangOut, true, "[]", "sip"},
		{"messages were lost", seenCall("1", "ari", 0, 9, RangOut), seenCall("a", "sip", 0, 9, Busy, GapEventsLost), RangOut, true, "[]", "ari"},
		{"both lost something", seenCall("1", "ari", 0, 9, Unknown, GapEventsLost), seenCall("a", "sip", 0, 9, RangOut, GapNoFinal), Unknown, false, "[events_lost no_final]", "ari"},
		{"the wire carries no trace", seenCall("1", "ari", 0, 9, RangOut), nil, RangOut, true, "[]", "ari"},
		{"the PBX knows of no such call", nil, seenCall("a", "sip", 0, 9, RangOut), RangOut, false, "[witness_disagrees]", "sip"},
	}
	for _, tt := range tests {
		for _, first := range []Witness{Inside, Aside} {
			t.Run(fmt.Sprint(tt.name, "/", first), func(t *testing.T) {
				calls, live := merged(t, func(m *Merger) {
					both := [2]*Call{tt.in, tt.by}
					for i, w := range []Witness{first, 1 - first} {
						if c := both[w]; c != nil {
							begun := *c
							begun.EndedAt, begun.Outcome, begun.State = time.Time{}, "", StateRinging
							m.Live(w, &begun, at(0.01*float64(i)))
						}
					}
					for i, w := range []Witness{first, 1 - first} {
						if c := both[w]; c != nil {
							m.Call(w, c, at(9+0.01*float64(i)))
						}
					}
				})
				if len(calls) != 1 {
					t.Fatalf("%d calls", len(calls))
				}
				c := calls[0]
				if c.Outcome != tt.outcome || c.Certain != tt.certain || fmt.Sprint(c.Gaps) != tt.gaps || c.Source != tt.source {
					t.Errorf("%s certain %v gaps %v by %s, want %s %v %s by %s", c.Outcome, c.Certain, c.Gaps, c.Source, tt.outcome, tt.certain, tt.gaps, tt.source)
				}
				if tt.in != nil && c.ID != "1" || len(live) != 1 || !live[c.ID] {
					t.Errorf("published as %s, live as %v", c.ID, live)
				}
				if c.Missed() && c.Outcome == Unknown {
					t.Error("unknown counts as missed")
				}
			})
		}
	}
}

// Two calls of one caller at once stay two, whoever tells of them first.
func TestTwoCallsOfOneCaller(t *testing.T) {
	calls, _ := merged(t, func(m *Merger) {
		m.Live(Aside, seenCall("a", "sip", 0, 0, ""), at(0))
		m.Live(Aside, seenCall("b", "sip", 0.4, 0, ""), at(0.4))
		m.Live(Inside, seenCall("1", "ari", 0, 0, ""), at(0.5))
		m.Live(Inside, seenCall("2", "ari", 0.4, 0, ""), at(0.51))
		m.Call(Inside, seenCall("1", "ari", 0, 8, RangOut), at(8))
		m.Call(Aside, seenCall("b", "sip", 0.4, 9, Answered), at(9))
		m.Call(Aside, seenCall("a", "sip", 0, 8, RangOut), at(9.1))
		m.Call(Inside, seenCall("2", "ari", 0.4, 9, Answered), at(9.2))
	})
	got := map[string]Outcome{}
	for _, c := range calls {
		if !c.Certain {
			t.Errorf("%s: %s %v", c.ID, c.Outcome, c.Gaps)
		}
		got[c.ID] = c.Outcome
	}
	if fmt.Sprint(got) != "map[1:rang_out 2:answered]" {
		t.Error(got)
	}
}

// A witness that leaves in mid-call, joins in mid-call, or never hears the end.
func TestWitnessComesAndGoes(t *testing.T) {
	t.Run("PBX leaves", func(t *testing.T) {
		calls, _ := merged(t, func(m *Merger) {
			m.Live(Inside, seenCall("1", "ari", 0, 0, ""), at(0))
			m.Live(Aside, seenCall("a", "sip", 0, 0, ""), at(0))
			m.Attach(Inside, false, at(3))
			m.Call(Aside, seenCall("a", "sip", 0, 9, RangOut), at(9))
			m.Advance(at(11.9))
			if m.Open() != 1 {
				t.Error("it did not wait for the PBX to come back")
			}
			m.Advance(at(12.1))
			if m.Open() != 0 {
				t.Error("it waits for ever")
			}
		})
		if len(calls) != 1 || calls[0].ID != "1" || calls[0].Outcome != RangOut || !calls[0].Certain {
			t.Errorf("%+v", calls)
		}
	})
	t.Run("PBX joins", func(t *testing.T) {
		calls, live := merged(t, func(m *Merger) {
			m.Attach(Inside, false, at(-1))
			m.Live(Aside, seenCall("a", "sip", 0, 0, ""), at(0))
			m.Attach(Inside, true, at(5))
			m.Live(Inside, seenCall("1", "ari", 0, 0, "", GapAttachedLate), at(5))
			m.Call(Inside, seenCall("1", "ari", 0, 9, Unknown, GapAttachedLate), at(9))
			m.Call(Aside, seenCall("a", "sip", 0, 9, Declined), at(9))
		})
		if len(calls) != 1 || calls[0].ID != "a" || calls[0].Outcome != Declined || !calls[0].Certain || len(live) != 1 {
			t.Errorf("%+v %v", calls, live)
		}
	})
	t.Run("the wire misses the end", func(t *testing.T) {
		calls, _ := merged(t, func(m *Merger) {
			m.Live(Inside, seenCall("1", "ari", 0, 0, ""), at(0))
			m.Live(Aside, seenCall("a", "sip", 0, 0, ""), at(0))
			m.Call(Inside, seenCall("1", "ari", 0, 9, RangOut), at(9))
			m.Advance(at(12.1))
			m.Call(Aside, seenCall("a", "sip", 0, 900, Unknown, GapForcedClose), at(900))
		})
		if len(calls) != 1 || calls[0].Outcome != RangOut || !calls[0].Certain {
			t.Errorf("%+v", calls)
		}
	})
	t.Run("the PBX speaks late", func(t *testing.T) {
		calls, _ := merged(t, func(m *Merger) {
			m.Live(Aside, seenCall("a", "sip", 0, 0, ""), at(0))
			m.Call(Aside, seenCall("a", "sip", 0, 1, Busy), at(1))
			m.Advance(at(2))
			m.Live(Inside, seenCall("1", "ari", 0, 0, ""), at(4))
			m.Call(Inside, seenCall("1", "ari", 0, 1, Busy), at(4))
		})
		if len(calls) != 1 || calls[0].Certain {
			t.Errorf("%+v", calls)
		}
	})
}
