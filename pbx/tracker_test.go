package pbx

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// script plays a call written one fact a line: "<ms> <what> <leg> [arguments]".
// The words are those of the trace a person would write on paper.
type script struct {
	t     *testing.T
	tr    *Tracker
	calls []*Call
	warns []Warning
	legs  map[string]*Leg
	in    map[string][]string // bridge to members
	start time.Time
}

func newScript(t *testing.T, cfg Config) *script {
	if cfg.Region == "" {
		cfg.Region = "US"
	}
	s := &script{t: t, tr: NewTracker(cfg), legs: map[string]*Leg{}, in: map[string][]string{}, start: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)}
	s.tr.OnCall = func(c *Call) { s.calls = append(s.calls, c) }
	s.tr.OnWarn = func(w Warning) { s.warns = append(s.warns, w) }
	return s
}

func (s *script) at(ms int) time.Time { return s.start.Add(time.Duration(ms) * time.Millisecond) }

func (s *script) play(text string) {
	s.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		w := strings.Fields(line)
		if len(w) < 3 {
			continue
		}
		var ms int
		if _, err := fmt.Sscan(w[0], &ms); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		f := Fact{At: s.at(ms)}
		arg := func(i int) string {
			if i+3 < len(w) {
				return w[i+3]
			}
			return ""
		}
		num := func(i int) (n int) { _, _ = fmt.Sscan(arg(i), &n); return n }
		l := s.legs[w[2]]
		if l == nil {
			l = &Leg{ID: w[2], CreatedAt: f.At}
			s.legs[w[2]] = l
		}
		switch w[1] {
		case "in": // leg context exten [number [name]]
			f.Kind = LegCreated
			l.Name, l.State, l.Context, l.Exten, l.Number, l.Person = "PJSIP/"+w[2]+"-1", LegRing, arg(0), arg(1), arg(2), arg(3)
		case "local": // name: both halves
			l.ID, l.Name, l.State, l.Context = w[2]+"1", "Local/"+w[2]+"-0;1", LegDown, "from-internal"
			s.legs[w[2]+"1"] = l
			s.legs[w[2]+"2"] = &Leg{ID: w[2] + "2", Name: "Local/" + w[2] + "-0;2", State: LegRing, Context: "from-internal", CreatedAt: f.At}
			s.tr.Feed(&Fact{Kind: LegCreated, At: f.At, Leg: *l})
			s.tr.Feed(&Fact{Kind: LegCreated, At: f.At, Leg: *s.legs[w[2]+"2"]})
			continue
		case "dial": // leg by [context]
			if l.Name == "" {
				l.Name, l.State, l.Context = "PJSIP/"+w[2]+"-1", LegDown, "from-internal"
				if arg(1) != "" {
					l.Context = arg(1)
				}
				s.tr.Feed(&Fact{Kind: LegCreated, At: f.At, Leg: *l})
			}
			f.Kind, f.By, f.DialTo = LegDialed, *s.legs[arg(0)], w[2]
		case "status": // leg by status [forward]
			f.Kind, f.By, f.Dial, f.Forward = LegDialed, *s.legs[arg(0)], arg(1), arg(2)
		case "ring":
			l.State = LegRinging
		case "up":
			l.State = LegUp
		case "app": // leg activity [data]
			l.Activity = map[string]Activity{"dial": ActivityDial, "queue": ActivityQueue, "mailbox": ActivityMailbox, "menu": ActivityMenu, "other": ActivityOther}[arg(0)]
			l.Data = arg(1)
		case "dialstatus":
			f.Kind, f.Dial = DialEnded, arg(0)
		case "queuestatus":
			f.Kind, f.Dial = QueueLeft, arg(0)
		case "abandoned":
			f.Kind = QueueAbandoned
		case "message":
			f.Kind = MessageLeft
		case "vmstatus":
			f.Kind, f.OK = MailboxEnded, arg(0) == "SUCCESS"
		case "bridge", "hold": // leg bridge
			f.Kind = LegBridged
			s.in[arg(0)] = append(s.in[arg(0)], l.ID)
			f.Bridge = Bridge{ID: arg(0), Holding: w[1] == "hold", Members: s.in[arg(0)]}
		case "leave":
			f.Kind = LegUnbridged
			var left []string
			for _, id := range s.in[arg(0)] {
				if id != l.ID {
					left = append(left, id)
				}
			}
			s.in[arg(0)] = left
			f.Bridge = Bridge{ID: arg(0), Members: left}
		case "hangup": // leg [cause [sip]]
			f.Kind, f.Cause, f.SIPStatus = LegHangup, num(0), num(1)
		case "soft":
			f.Kind, f.Soft, f.Cause = LegHangup, true, 16
		case "end": // leg [cause [sip]]
			f.Kind, f.Cause, f.SIPStatus = LegEnded, num(0), num(1)
		case "withheld":
			f.Kind = Withheld
		default:
			s.t.Fatalf("unknown word in %q", line)
		}
		f.Leg = *l
		s.tr.Feed(&f)
	}
}

// wants is one line per call: "direction outcome/reason [certain|unsure] who=result ...".
func wants(c *Call) string {
	s := fmt.Sprintf("%s %s/%s", c.Direction, c.Outcome, c.Reason)
	if !c.Certain {
		s += " unsure"
	}
	for _, g := range c.Gaps {
		s += " !" + string(g)
	}
	for _, a := range c.Attempts {
		s += " " + a.Extension + "=" + string(a.Result)
	}
	return s
}

func TestCalls(t *testing.T) {
	const in = "0 in trunk from-trunk 5551000 +12025550143 Sarah\n"
	for _, c := range []struct{ name, script, want string }{
		{"reject key 603 after ringing", in + `
			1 dial 101 trunk
			2 ring 101
			1500 hangup 101 21 603
			1501 status 101 trunk NOANSWER
			1502 end 101 21 603
			1503 dialstatus trunk CHANUNAVAIL
			1504 soft trunk
			1505 end trunk 21`, "inbound declined/declined 101=declined"},
		{"reject key 486 after ringing", in + `
			1 dial 101 trunk
			2 ring 101
			1500 hangup 101 17 486
			1502 end 101 17 486
			1505 end trunk 17`, "inbound declined/declined 101=declined"},
		{"busy at once", in + `
			1 dial 101 trunk
			5 hangup 101 17 486
			6 end 101 17 486
			7 end trunk 17`, "inbound busy/busy 101=busy"},
		{"refused without ringing is unreachable", in + `
			1 dial 101 trunk
			5 hangup 101 21 603
			6 end 101 21 603
			7 end trunk 21`, "inbound unreachable/unreachable 101=unreachable"},
		{"the phone itself gives up after ringing", in + `
			1 dial 101 trunk
			2 ring 101
			9000 hangup 101 19 480
			9001 end 101 19 480
			9002 end trunk 19`, "inbound rang_out/rang_out 101=no_answer"},
		{"one declines while the other rings on", in + `
			1 dial 101 trunk
			1 dial 102 trunk
			2 ring 101
			2 ring 102
			900 hangup 101 21 603
			901 end 101 21 603
			6000 status 102 trunk NOANSWER
			6001 end 102 0
			6002 end trunk 16`, "inbound rang_out/rang_out 101=declined 102=no_answer"},
		{"the other rings out, then the last declines", in + `
			1 dial 101 trunk
			1 dial 102 trunk
			2 ring 101
			2 ring 102
			900 hangup 102 19 480
			901 end 102 19 480
			6000 hangup 101 21 603
			6001 end 101 21 603
			6002 end trunk 16`, "inbound declined/declined 101=declined 102=no_answer"},
		{"declined, then a second phone rings out", in + `
			1 dial 101 trunk
			2 ring 101
			900 hangup 101 21 603
			901 end 101 21 603
			950 dial 102 trunk
			960 ring 102
			6000 status 102 trunk NOANSWER
			6001 end 102 0
			6002 end trunk 16`, "inbound rang_out/rang_out 101=declined 102=no_answer"},
		{"declined, hung up in the announcement after it", in + `
			1 dial 101 trunk
			2 ring 101
			900 hangup 101 21 603
			901 end 101 21 603
			950 app trunk other
			3000 hangup trunk
			3001 end trunk`, "inbound declined/declined 101=declined"},
		{"given up while ringing", in + `
			1 dial 101 trunk
			2 ring 101
			4000 hangup trunk
			4001 status 101 trunk CANCEL
			4002 end 101 0
			4003 dialstatus trunk CANCEL
			4004 end trunk`, "inbound abandoned/caller_hung_up 101=cancelled"},
		{"picked up and never confirmed", in + `
			1 dial 101 trunk
			2 ring 101
			2000 up 101
			2001 dialstatus trunk ANSWER
			6000 status 101 trunk CONTINUE
			6001 soft trunk
			6002 end trunk 16
			6003 end 101 16`, "inbound rang_out/rang_out 101=unconfirmed"},
		{"answered through two bridges and a Local pair", in + `
			1 local grp
			1 dial grp1 trunk
			2 dial 101 grp2
			3 ring 101
			2000 up 101
			2001 bridge 101 b2
			2002 bridge grp2 b2
			2003 bridge trunk b1
			2004 bridge grp1 b1
			5000 hangup trunk
			5001 end trunk 16
			5002 end grp1 16
			5002 end grp2 16
			5003 end 101 16`, "inbound answered/ 101=answered"},
		{"two parked callers have not met anybody", in + `
			0 in other from-trunk 5551001 +12025550144
			10 hold trunk park
			20 hold other park
			3000 hangup trunk
			3001 end trunk
			3002 hangup other
			3003 end other`, "inbound unattended/not_tried\ninbound unattended/not_tried"},
		{"two outside callers in one bridge are not a person of ours", in + `
			0 in other from-trunk 5551001 +12025550144
			10 bridge trunk conf
			20 bridge other conf
			3000 hangup trunk
			3001 end trunk
			3002 hangup other
			3003 end other`, "inbound unattended/not_tried\ninbound unattended/not_tried"},
		{"queue: the caller leaves between two rings", in + `
			1 up trunk
			2 app trunk queue support,,,,60
			3 dial 101 trunk
			4 ring 101
			3000 status 101 trunk NOANSWER
			3001 end 101 0
			3500 hangup trunk
			3501 abandoned trunk
			3502 end trunk`, "inbound abandoned/caller_hung_up 101=no_answer"},
		{"queue: nobody took it in time", in + `
			1 up trunk
			2 app trunk queue support,,,,60
			3 dial 101 trunk
			4 ring 101
			3000 status 101 trunk NOANSWER
			3001 end 101 0
			3500 abandoned trunk
			3501 queuestatus trunk TIMEOUT
			3502 soft trunk
			3503 end trunk`, "inbound rang_out/rang_out 101=no_answer"},
		{"queue without agents", in + `
			2 app trunk queue support,,,,60
			3 queuestatus trunk JOINEMPTY
			4 app trunk other
			900 soft trunk
			901 end trunk`, "inbound unattended/not_tried"},
		{"queue: hung up before an agent was tried", in + `
			2 app trunk queue support,,,,60
			900 hangup trunk
			901 end trunk`, "inbound abandoned/caller_hung_up"},
		{"mailbox after ringing", in + `
			1 dial 101 trunk
			2 ring 101
			3000 status 101 trunk NOANSWER
			3001 end 101 0
			3002 app trunk mailbox 101@default,u
			3003 up trunk
			9000 hangup trunk
			9001 message trunk
			9002 vmstatus trunk SUCCESS
			9003 end trunk`, "inbound voicemail/rang_out 101=no_answer"},
		{"unregistered: the Dial fails without a leg", in + `
			1 app trunk dial PJSIP/103,20
			2 dialstatus trunk CHANUNAVAIL
			3 app trunk other
			4 soft trunk
			5 end trunk 3`, "inbound unreachable/unreachable 103=unreachable"},
		{"out of the building", in + `
			1 dial 101 trunk
			2 ring 101
			500 hangup 101 23 302
			501 status 101 trunk CANCEL 12125550177
			502 dial 2125550177 trunk from-trunk
			900 ring 2125550177
			3000 up 2125550177
			3001 bridge 2125550177 b
			3002 bridge trunk b
			9000 hangup trunk
			9001 end trunk 16
			9002 end 2125550177 16`, "inbound answered/ 101=forwarded 2125550177=answered"},
		{"outbound", `
			0 in 101 from-internal 2125550177 101 Alice
			1 dial 2125550177 101 from-trunk
			900 ring 2125550177
			3000 up 2125550177
			3001 bridge 2125550177 b
			3002 bridge 101 b
			9000 hangup 101
			9001 end 101 16
			9002 end 2125550177 16`, "outbound answered/ 2125550177=answered"},
		{"inside", `
			0 in 101 from-internal 102 101 Alice
			1 dial 102 101
			900 ring 102
			3000 end 102
			9001 end 101 16`, ""},
		{"a leg that never ends", in + `
			1 dial 101 trunk
			2 ring 101
			4000 soft trunk
			4004 end trunk 16
			9000 in x from-internal 1`, "inbound rang_out/rang_out unsure !no_final 101=no_answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, Config{})
			s.play(c.script)
			s.tr.Advance(s.at(60_000))
			var got []string
			for _, c := range s.calls {
				got = append(got, wants(c))
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	s := newScript(t, Config{})
	s.play(`0 in trunk from-trunk 5551000 +12025550143 Sarah
		1000 dial 101 trunk
		1000 dial 102 trunk
		2000 ring 101
		3000 ring 102
		5000 hangup 101 21 603
		5001 end 101 21 603
		6000 up 102
		6100 bridge 102 b
		6200 bridge trunk b
		16200 hangup 102 16
		16210 leave trunk b
		16220 end 102 16
		16230 soft trunk
		16300 end trunk 16`)
	c := s.calls[0]
	for what, d := range map[string][2]time.Duration{
		"ring, the union over both": {c.Ring, 4 * time.Second},
		"wait":                      {c.Wait, 6200 * time.Millisecond},
		"talk":                      {c.Talk, 10100 * time.Millisecond},
		"ring of 101":               {c.Attempts[0].Ring, 3 * time.Second},
		"ring of 102":               {c.Attempts[1].Ring, 3 * time.Second},
	} {
		if d[0] != d[1] {
			t.Errorf("%s: %v, want %v", what, d[0], d[1])
		}
	}
	if c.EndedBy != EndedByCallee || !c.AnsweredAt.Equal(s.at(6200)) || c.AnsweredBy.Extension != "102" || c.AnsweredBy.External {
		t.Errorf("ended by %s, answered %v by %+v", c.EndedBy, c.AnsweredAt, c.AnsweredBy)
	}
}

func TestCallerAndLine(t *testing.T) {
	cfg := Config{Lines: []LineName{{Raw: "5551000", Number: "+12125550100", Name: "Front desk"}}}
	for _, c := range []struct {
		number, name, exten string
		caller              Caller
		line                Line
	}{
		{"2025550143", "Sarah", "5551000", Caller{Number: "+12025550143", Raw: "2025550143", Name: "Sarah"}, Line{"+12125550100", "5551000", "Front desk"}},
		{"2025550143", "2025550143", "2125550100", Caller{Number: "+12025550143", Raw: "2025550143"}, Line{"+12125550100", "2125550100", "Front desk"}},
		{"anonymous", "Anonymous", "9", Caller{Raw: "anonymous", Anonymous: true}, Line{Raw: "9"}},
		{"", "", "9", Caller{Anonymous: true}, Line{Raw: "9"}},
		{"101", "Alice", "9", Caller{Raw: "101", Name: "Alice"}, Line{Raw: "9"}},
		{"V4820000001", "", "9", Caller{Raw: "V4820000001"}, Line{Raw: "9"}},
	} {
		s := newScript(t, cfg)
		f := Fact{Kind: LegCreated, At: s.at(0), Leg: Leg{ID: "1", Name: "PJSIP/trunk-1", State: LegRing, Context: "from-trunk",
			Exten: c.exten, Number: c.number, Person: c.name, CreatedAt: s.at(0)}}
		s.tr.Feed(&f)
		f.Kind, f.At = LegEnded, s.at(1000)
		s.tr.Feed(&f)
		if got := s.calls[0]; got.Caller != c.caller || got.Line != c.line {
			t.Errorf("%q %q to %q: %+v %+v, want %+v %+v", c.number, c.name, c.exten, got.Caller, got.Line, c.caller, c.line)
		}
	}
}

func TestWithheldNumberIsNotKept(t *testing.T) {
	s := newScript(t, Config{})
	s.play(`0 in trunk from-trunk 5551000 +12025550143 Sarah
		5 withheld trunk
		900 hangup trunk
		901 end trunk`)
	if c := s.calls[0]; !c.Caller.Anonymous || c.Caller.Number != "" {
		t.Errorf("%+v", c.Caller)
	}
}

func TestUnknownContextIsSaidOnce(t *testing.T) {
	s := newScript(t, Config{})
	s.play(`0 in gw sip-gateway 5551000 +12025550143
		10 end gw
		20 in gw2 sip-gateway 5551000 +12025550143
		30 end gw2`)
	if len(s.warns) != 1 || s.warns[0].Context != "sip-gateway" || len(s.calls) != 0 {
		t.Errorf("warnings %+v, calls %d", s.warns, len(s.calls))
	}
}

func TestOutsideEndpoints(t *testing.T) {
	s := newScript(t, Config{OutsideEndpoints: []string{"PJSIP/gw*"}})
	s.play("0 in gw default 5551000 +12025550143\n10 end gw")
	if len(s.calls) != 1 || s.calls[0].Direction != Inbound {
		t.Errorf("%d calls", len(s.calls))
	}
}

func TestAgedCallIsClosedAndForgotten(t *testing.T) {
	s := newScript(t, Config{MaxAge: time.Hour})
	s.play(`0 in trunk from-trunk 5551000 +12025550143
		1 up trunk
		2 app trunk other
		3 in 101 from-internal 102 101`)
	for m := 0; m < 200; m++ {
		s.tr.Advance(s.at(m * 60_000))
	}
	if len(s.calls) != 1 || s.calls[0].Certain || !s.calls[0].HasGap(GapForcedClose) || s.calls[0].Outcome != Unknown {
		t.Fatalf("%d calls: %+v", len(s.calls), s.calls)
	}
	if len(s.warns) != 1 || s.warns[0].CallID != "trunk" {
		t.Errorf("warnings %+v", s.warns)
	}
	if calls, legs := s.tr.Open(); calls != 0 || legs != 0 {
		t.Errorf("%d calls and %d legs are kept", calls, legs)
	}
	s.play("12000001 hangup trunk\n12000002 end trunk 16") // the end comes after all
	s.tr.Advance(s.at(99_000_000))
	if len(s.calls) != 1 {
		t.Errorf("the call came out again: %+v", s.calls[1])
	}
}

// After every call of a busy day nothing is kept.
func TestStateIsBounded(t *testing.T) {
	s := newScript(t, Config{})
	for i := 0; i < 2000; i++ {
		base := i * 1000
		s.play(fmt.Sprintf(`%d in t%d from-trunk 5551000 +12025550143
			%d local l%d
			%d dial l%d1 t%d
			%d dial p%d l%d2
			%d ring p%d
			%d bridge p%d b%d
			%d bridge l%d2 b%d
			%d end p%d 16
			%d end l%d1 16
			%d end l%d2 16
			%d end t%d 16`, base, i, base+1, i, base+2, i, i, base+3, i, i, base+4, i, base+5, i, i, base+6, i, i,
			base+7, i, base+8, i, base+9, i, base+10, i))
		clear(s.legs)
		clear(s.in)
	}
	s.tr.Advance(s.at(3_000_000))
	if calls, legs := s.tr.Open(); calls != 0 || legs != 0 || len(s.tr.pairs) != 0 || len(s.tr.bridges) != 0 || len(s.tr.calls) != 0 || len(s.tr.ended) != 0 || len(s.tr.closing) != 0 {
		t.Errorf("kept: %d calls %d legs %d pairs %d bridges %d ended", calls, legs, len(s.tr.pairs), len(s.tr.bridges), len(s.tr.ended))
	}
	if len(s.calls) != 2000 {
		t.Errorf("%d calls", len(s.calls))
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		p, s string
		want bool
	}{
		{"from-trunk*", "from-trunk", true}, {"from-trunk*", "from-trunk-sip-x", true}, {"from-trunk*", "FROM-TRUNK", true},
		{"from-trunk", "from-trunk2", false}, {"*", "", true}, {"", "", true}, {"", "x", false}, {"*a*b", "xxaxxb", true}, {"*a*b", "xxaxx", false}, {"a*", "ba", false},
	} {
		if got := Match([]string{c.p}, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.p, c.s, got)
		}
	}
}
