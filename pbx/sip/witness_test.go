package sip

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"textback/pbx"
)

// hosts by their letter in scripts.
var hosts = map[byte]string{'T': "198.51.100.7", 'U': "198.51.100.8", 'P': "192.0.2.10", 'A': "192.0.2.101", 'B': "192.0.2.102", 'C': "192.0.2.103", 'V': "192.0.2.30", 'S': "203.0.113.9"}

func addr(c byte) netip.AddrPort { return netip.MustParseAddrPort(hosts[c] + ":5060") }

// line makes a message of a script's line:
//
//	seconds from>to WHAT call [key=value ...] [| Header: value ...]
//
// WHAT is a method or a status. Keys: uri, caller, name, cseq, branch, method (of
// a response), ftag, ttag, and "swap" for a request in the callee's name.
func line(t *testing.T, s string) (at float64, p Packet) {
	t.Helper()
	head, headers, _ := strings.Cut(s, "|")
	f := strings.Fields(head)
	at, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	what, call := f[2], f[3]
	k := map[string]string{"uri": "5551000", "caller": "+12025550143", "cseq": "1", "ftag": "f" + call, "ttag": "t" + call}
	for _, kv := range f[4:] {
		key, v, _ := strings.Cut(kv, "=")
		k[key] = v
	}
	status, err := strconv.Atoi(what)
	request := err != nil
	method := what
	if !request {
		if method = k["method"]; method == "" {
			method = "INVITE"
		}
	}
	branch := "z9hG4bK" + call + k["cseq"]
	if request && (method == "BYE" || method == "REFER" || method == "UPDATE" || method == "ACK" && k["ok"] != "no") || method == "BYE" {
		branch += method
	}
	if b := k["branch"]; b != "" {
		branch = "z9hG4bK" + b
	}
	from := fmt.Sprintf("%q <sip:%s@%s>;tag=%s", k["name"], k["caller"], hosts[f[1][0]], k["ftag"])
	to := fmt.Sprintf("<sip:%s@%s>", k["uri"], hosts[f[1][2]])
	if !(request && (method == "INVITE" && k["in"] == "" || method == "CANCEL")) && status != 100 && k["ttag"] != "" {
		to += ";tag=" + k["ttag"]
	}
	if _, swap := k["swap"]; swap {
		from, to = to, from
	}
	var b strings.Builder
	if request {
		fmt.Fprintf(&b, "%s sip:%s@%s%s SIP/2.0\r\n", method, k["uri"], hosts[f[1][2]], k["after"])
	} else {
		fmt.Fprintf(&b, "SIP/2.0 %d Phrase\r\n", status)
	}
	fmt.Fprintf(&b, "Via: SIP/2.0/UDP %s;branch=%s\r\n", hosts[f[1][0]], branch)
	if u := k["under"]; u != "" {
		fmt.Fprintf(&b, "Via: SIP/2.0/UDP x;branch=z9hG4bK%s\r\n", u)
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s %s\r\n", from, to, call, k["cseq"], method)
	for _, h := range strings.Split(headers, "|") {
		if h = strings.TrimSpace(h); h != "" {
			b.WriteString(h + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return at, Packet{Src: addr(f[1][0]), Dst: addr(f[1][2]), Payload: []byte(b.String())}
}

// office is who is who in scripts.
func office() Config {
	return Config{PBX: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")}, Trunks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Mailboxes: []Target{ParseTarget("192.0.2.30")}}
}

// watch plays a script and returns the calls in the order of their ends.
func watch(t *testing.T, cfg Config, script string) []*pbx.Call {
	t.Helper()
	tr := pbx.NewTracker(Tracker(pbx.Config{Site: "hq", Region: "US"}))
	var calls []*pbx.Call
	tr.OnCall = func(c *pbx.Call) { calls = append(calls, c) }
	w := NewWitness(cfg, tr.Feed)
	base := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for l := range strings.Lines(script) {
		if l = strings.TrimSpace(l); l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		at, p := line(t, l)
		p.At = base.Add(time.Duration(at * float64(time.Second)))
		w.Handle(&p)
		tr.Advance(p.At)
	}
	// Live, time goes on in small steps.
	end := w.Now()
	for s := range 400 {
		w.Advance(end.Add(time.Duration(s) * time.Second))
		tr.Advance(end.Add(time.Duration(s) * time.Second))
	}
	w.Flush()
	tr.Flush(w.Now())
	return calls
}

func say(calls []*pbx.Call) string {
	var out []string
	for _, c := range calls {
		s := string(c.Outcome)
		if c.Reason != "" && string(c.Reason) != s {
			s += "/" + string(c.Reason)
		}
		if !c.Certain {
			s += "?"
		}
		if c.Direction == pbx.Outbound {
			s = "out " + s
		}
		for _, g := range c.Gaps {
			s += " " + string(g)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

const (
	rings = `
0.0 T>P INVITE c1
0.0 P>T 100 c1
0.1 P>A INVITE p1 uri=101
0.2 A>P 180 p1
0.2 P>T 180 c1
`
	answers = rings + `
3.0 A>P 200 p1
3.0 P>A ACK p1
3.1 P>T 200 c1
3.1 T>P ACK c1
`
	alone = `
0.0 T>P INVITE c1
0.0 P>T 100 c1
`
)

// What the messages of one call mean.
func TestWitness(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"answered, the caller hangs up", answers + "9 T>P BYE c1\n9 P>A BYE p1", "answered"},
		{"answered, the phone hangs up", answers + "9 A>P BYE p1 swap\n9 P>T BYE c1 swap", "answered"},
		{"answered, only the answers to BYE are seen", answers + "9 P>T 200 c1 method=BYE\n9 A>P 200 p1 method=BYE", "answered"},
		{"answered, hold and session refreshes in between", answers + "4 T>P INVITE c1 cseq=2 in=1\n4 P>T 100 c1 cseq=2\n4 P>T 200 c1 cseq=2\n4 T>P ACK c1 cseq=2\n5 T>P UPDATE c1 cseq=3\n9 T>P BYE c1 cseq=4\n9 P>A BYE p1", "answered"},
		{"both 200s lost, the ACKs seen", rings + "3 P>A ACK p1\n3 T>P ACK c1\n9 T>P BYE c1\n9 P>A BYE p1", "answered"},
		{"CANCEL crosses 200", rings + "3 T>P CANCEL c1\n3.001 A>P 200 p1\n3.001 P>A ACK p1\n3.002 P>T 200 c1\n3.1 T>P ACK c1\n3.2 T>P BYE c1\n3.2 P>A BYE p1", "answered"},
		{"rang out", rings + "9 P>A CANCEL p1 | Reason: Q.850;cause=0\n9 A>P 487 p1\n9 P>A ACK p1 ok=no\n9 P>T 480 c1 | Reason: Q.850;cause=19\n9 T>P ACK c1 ok=no", "rang_out"},
		{"declined with 603", rings + "2 A>P 603 p1\n2 P>A ACK p1 ok=no\n2 P>T 403 c1 | Reason: Q.850;cause=21\n2 T>P ACK c1 ok=no", "declined"},
		{"declined with 486 after ringing", rings + "2 A>P 486 p1\n2 P>T 486 c1", "declined"},
		{"busy", alone + "0.1 P>A INVITE p1 uri=101\n0.1 A>P 486 p1\n0.2 P>T 486 c1", "busy"},
		{"do not disturb", alone + "0.1 P>A INVITE p1 uri=101\n0.1 A>P 480 p1\n0.2 P>T 480 c1", "unreachable"},
		{"refused without ringing", alone + "0.1 P>A INVITE p1 uri=101\n0.1 A>P 603 p1\n0.2 P>T 403 c1", "unreachable"},
		{"403 with cause 21 before ringing is no busy phone", alone + "0.1 P>A INVITE p1 uri=101\n0.1 A>P 403 p1 | Reason: Q.850;cause=21\n0.2 P>T 403 c1", "unreachable"},
		{"the phone never answers", alone + "0.1 P>A INVITE p1 uri=101\n0.6 P>A INVITE p1 uri=101\n32 P>T 480 c1", "unreachable"},
		{"early media rings", alone + "0.1 P>A INVITE p1 uri=101\n0.3 A>P 183 p1\n0.3 P>T 183 c1\n8 A>P 480 p1\n8 P>T 480 c1", "rang_out"},
		{"the caller gives up", rings + "4 T>P CANCEL c1\n4 P>T 487 c1\n4 P>A CANCEL p1\n4 A>P 487 p1", "abandoned/caller_hung_up"},
		{"the caller gives up, CANCEL lost", rings + "4 P>T 487 c1\n4 P>A CANCEL p1\n4 A>P 487 p1", "abandoned/caller_hung_up"},
		{"a challenge is no refusal", alone + "0.1 P>A INVITE p1 uri=101\n0.1 A>P 401 p1\n0.1 P>A ACK p1 ok=no\n0.2 P>A INVITE p1 uri=101 cseq=2\n0.3 A>P 180 p1 cseq=2\n0.3 P>T 180 c1\n3 A>P 200 p1 cseq=2\n3 P>A ACK p1 cseq=2\n3 P>T 200 c1\n3 T>P ACK c1\n9 T>P BYE c1\n9 P>A BYE p1", "answered"},
		{"a challenge that nobody meets", alone + "0.1 P>A INVITE p1 uri=101\n0.1 A>P 407 p1\n20 P>T 480 c1", "unreachable"},
		{"the phone sends the call on, a colleague takes it", rings + "1 A>P 302 p1 | Contact: <sip:102@192.0.2.10>\n1 P>A ACK p1 ok=no\n1.1 P>B INVITE p2 uri=102 caller=555\n1.2 B>P 180 p2\n3 B>P 200 p2\n3 P>T 200 c1\n3 T>P ACK c1\n9 T>P BYE c1", "answered"},
		{"voicemail on another host, known by its address", rings + "6 P>V INVITE p2 uri=8500\n6 P>A CANCEL p1\n6 A>P 487 p1\n6 V>P 200 p2\n6 P>T 200 c1\n6 T>P ACK c1\n9 T>P BYE c1\n9 P>V BYE p2", "voicemail/rang_out"},
		{"voicemail by its cause (RFC 4458)", rings + "6 P>B INVITE p2 uri=box after=;cause=408 | Diversion: <sip:101@x>;reason=no-answer\n6 P>A CANCEL p1\n6 A>P 487 p1\n6 B>P 200 p2\n6 P>T 200 c1\n6 T>P ACK c1\n9 T>P BYE c1", "voicemail/rang_out"},
		{"a machine inside the PBX", rings + "6 P>A CANCEL p1 | Reason: Q.850;cause=0\n6 P>T 200 c1\n6 T>P ACK c1\n6 A>P 487 p1\n9 T>P BYE c1", "voicemail/rang_out machine_kind"},
		{"taken on a phone that is not in sight", rings + "6 P>A CANCEL p1 | Reason: SIP;cause=200;text=\"Call completed elsewhere\"\n6 P>T 200 c1\n6 T>P ACK c1\n6 A>P 487 p1\n9 T>P BYE c1", "answered one_side"},
		{"why the phone was taken back is not known", rings + "6 P>T 200 c1\n6 T>P ACK c1\n6 A>P 487 p1\n9 T>P BYE c1", "unknown? events_lost"},
		{"picked up by a colleague", rings + "2 B>P INVITE i1 uri=*8 caller=102\n2 P>B 200 i1\n2 B>P ACK i1\n2.4 P>A CANCEL p1\n2.4 P>T 200 c1\n2.4 T>P ACK c1\n2.4 A>P 487 p1\n9 T>P BYE c1\n9 P>B BYE i1 swap", "answered"},
		{"a colleague hears his mailbox in the moment in which the caller reaches one", rings + "5.8 B>P INVITE i1 uri=*97 caller=102\n5.8 P>B 200 i1\n6 P>A CANCEL p1\n6 P>T 200 c1\n6 T>P ACK c1\n6 A>P 487 p1\n9 T>P BYE c1\n20 B>P BYE i1", "unknown? one_side"},
		{"taken over with Replaces", rings + "2 B>P INVITE i1 uri=101 caller=102 | Replaces: p1;to-tag=tp1;from-tag=fp1;early-only\n2.1 P>B 200 i1\n2.1 B>P ACK i1\n2.2 P>A CANCEL p1\n2.2 A>P 487 p1\n2.3 P>T 200 c1\n2.3 T>P ACK c1\n9 T>P BYE c1", "answered"},
		{"picked up, never confirmed", rings + "2 A>P 200 p1\n2 P>A ACK p1\n6 P>A BYE p1\n6.1 P>T 480 c1", "rang_out"},
		{"never confirmed, then a machine", rings + "2 A>P 200 p1\n2 P>A ACK p1\n6 P>A BYE p1\n6.1 P>T 200 c1\n6.1 T>P ACK c1\n9 T>P BYE c1", "voicemail/rang_out machine_kind"},
		{"queue: the same phone again and again", alone + "0.1 P>T 200 c1\n0.1 T>P ACK c1\n1 P>A INVITE p1 uri=101\n1 A>P 180 p1\n6 P>A CANCEL p1\n6 A>P 487 p1\n8 P>A INVITE p2 uri=101\n8 A>P 180 p2\n13 P>A CANCEL p2\n13 A>P 487 p2\n15 T>P BYE c1", "abandoned/caller_hung_up machine_kind"},
		{"menu, then a phone that is declined, then the PBX ends it", alone + "0.1 P>T 200 c1\n0.1 T>P ACK c1\n3 P>A INVITE p1 uri=101\n3 A>P 180 p1\n5 A>P 603 p1\n5.1 P>T BYE c1 swap", "declined machine_kind"},
		{"blind transfer", answers + "5 A>P REFER p1 swap | Refer-To: <sip:102@192.0.2.10>\n5.1 P>B INVITE p2 uri=102 caller=777\n5.2 B>P 180 p2\n6 B>P 200 p2\n6 P>A BYE p1\n9 T>P BYE c1\n9 P>B BYE p2", "answered"},
		{"no BYE ever, but a session timer", answers + "3.2 P>T 200 c1 | Session-Expires: 90\n", "answered no_final"},
		{"nothing more after ringing", rings, "unknown? no_final"},
		{"a phone's final answer is lost, its ACK seen", rings + "4 P>A ACK p1 ok=no\n4.1 P>T 480 c1", "rang_out? no_final"},
		{"180 lost, the caller was told of ringing", alone + "0.1 P>A INVITE p1 uri=101\n0.2 P>T 180 c1\n4 A>P 486 p1\n4 P>T 486 c1", "busy? events_lost"},
		{"INVITE to the phone lost", alone + "0.2 A>P 180 p1 uri=101\n0.2 P>T 180 c1\n3 A>P 200 p1 uri=101\n3 P>A ACK p1\n3.1 P>T 200 c1\n3.1 T>P ACK c1\n9 T>P BYE c1", "answered events_lost"},
		{"the call's own INVITE lost", "0 P>T 100 c1\n0.1 P>A INVITE p1 uri=101\n0.2 A>P 180 p1\n0.2 P>T 180 c1\n9 P>A CANCEL p1\n9 A>P 487 p1\n9 P>T 480 c1", "rang_out? attached_late"},
		{"the answer before the INVITE that it is to", "0 T>P INVITE c1\n0.1 A>P 180 p1 uri=101\n0.101 P>A INVITE p1 uri=101\n0.2 P>T 180 c1\n2 A>P 603 p1\n2 P>T 403 c1", "declined"},
		{"begun before our time", "0 T>P BYE c1\n0 P>T 200 c1 method=BYE", ""},
		{"a re-INVITE of a call from before our time", "0 T>P INVITE c1 in=1\n0 P>T 200 c1\n0 T>P ACK c1\n5 T>P BYE c1", ""},
		// The trunk's side alone.
		{"trunk alone: answered by person or machine", alone + "1 P>T 180 c1\n4 P>T 200 c1\n4 T>P ACK c1\n9 T>P BYE c1", "unknown? one_side"},
		{"trunk alone: gives up", alone + "1 P>T 180 c1\n4 T>P CANCEL c1\n4 P>T 487 c1", "abandoned/caller_hung_up one_side"},
		{"trunk alone: rings, then 480", alone + "1 P>T 180 c1\n9 P>T 480 c1", "rang_out one_side"},
		{"trunk alone: rings, then 408", alone + "1 P>T 180 c1\n9 P>T 408 c1", "rang_out one_side"},
		{"trunk alone: 486 at once", alone + "0.2 P>T 486 c1", "busy one_side"},
		{"trunk alone: 486 after ringing", alone + "1 P>T 180 c1\n4 P>T 486 c1", "declined one_side"},
		{"trunk alone: 603 after ringing", alone + "1 P>T 180 c1\n4 P>T 603 c1", "declined one_side"},
		{"trunk alone: 603 that says normal clearing", alone + "1 P>T 180 c1\n9 P>T 603 c1 | Reason: Q.850;cause=16", "rang_out one_side"},
		{"trunk alone: 403 with cause 21 after ringing", alone + "1 P>T 180 c1\n4 P>T 403 c1 | Reason: Q.850;cause=21", "declined one_side"},
		{"trunk alone: 404", alone + "0.2 P>T 404 c1", "unreachable one_side"},
		{"trunk alone: 503", alone + "0.2 P>T 503 c1", "unreachable one_side"},
		{"trunk alone: 408 after the phones' silence", alone + "32 P>T 408 c1", "unreachable one_side"},
		{"trunk alone: late 480 without ringing may have lost it", alone + "12 P>T 480 c1", "unreachable? one_side events_lost"},
		{"trunk alone: sent elsewhere", alone + "1 P>T 302 c1 | Contact: <sip:x@203.0.113.1>", "unknown? one_side"},
		{"trunk alone: how it ended is lost", alone + "1 P>T 180 c1\n5 T>P ACK c1 ok=no", "unknown? one_side no_final"},
		{"trunk alone: early media, then the end", alone + "1 P>T 183 c1\n9 P>T 480 c1", "rang_out one_side machine_kind"},
		{"trunk alone, a phone's own Contact through a proxy", alone + "1 P>T 180 c1\n4 P>T 200 c1 | Record-Route: <sip:192.0.2.10;lr> | Contact: <sip:101@192.0.2.101>\n4 T>P ACK c1\n9 T>P BYE c1", "answered one_side"},
		// Who is nobody's caller.
		{"a scanner's INVITE", "0 S>P INVITE c1 uri=900441234\n0 P>S 401 c1\n", ""},
		{"a scanner that gets through to a phone is a call inside", "0 S>P INVITE c1 uri=101 caller=100\n0.1 P>A INVITE p1 uri=101 caller=100\n0.2 A>P 180 p1\n5 S>P CANCEL c1\n5 P>S 487 c1\n5 P>A CANCEL p1\n5 A>P 487 p1", ""},
		{"phone to phone", "0 B>P INVITE c1 uri=101 caller=102\n0.1 P>A INVITE p1 uri=101 caller=102\n0.2 A>P 180 p1\n3 A>P 200 p1\n3 P>B 200 c1\n9 B>P BYE c1\n9 P>A BYE p1", ""},
		{"out of the building", "0 B>P INVITE c1 uri=912025550143 caller=102\n0.1 P>T INVITE p1 uri=+12025550143 caller=+12125550100\n0.2 T>P 180 p1\n3 T>P 200 p1\n3 P>T ACK p1\n3 P>B 200 c1\n3 B>P ACK c1\n9 B>P BYE c1\n9 P>T BYE p1", "out answered"},
		{"out of the building, nobody there", "0 B>P INVITE c1 uri=2025550143 caller=102\n0.1 P>T INVITE p1 uri=+12025550143 caller=+12125550100\n0.2 T>P 180 p1\n30 T>P 480 p1\n30 P>B 480 c1", "out rang_out"},
		{"between two carriers", "0 T>U INVITE c1\n0.2 U>T 180 c1\n5 U>T 486 c1", ""},
		// Two calls of one caller, told apart.
		{"two calls, one answered: by the moment", "0 T>P INVITE c1\n0.004 P>A INVITE p1 uri=101\n0.1 A>P 180 p1\n2 T>P INVITE c2\n2.004 P>B INVITE p2 uri=102\n2.1 B>P 180 p2\n4 B>P 200 p2\n4 P>T 200 c2\n5 P>A CANCEL p1\n5 A>P 487 p1\n5 P>T 480 c1\n9 T>P BYE c2\n9 P>B BYE p2", "rang_out, answered"},
		{"two calls in one moment: neither is guessed at", "0 T>P INVITE c1\n0 T>P INVITE c2\n0.02 P>A INVITE p1 uri=101\n0.1 A>P 180 p1\n4 A>P 200 p1\n4 P>T 200 c1\n4 P>T 200 c2\n9 T>P BYE c1\n9 T>P BYE c2", "unknown? one_side, unknown? one_side"},
		{"two calls in one moment, told apart by X-CID", "0 T>P INVITE c1\n0 T>P INVITE c2\n0.02 P>A INVITE p1 uri=101 | X-CID: c2\n0.1 A>P 180 p1\n4 A>P 200 p1\n4 P>T 200 c2\n5 P>T 480 c1 | Reason: Q.850;cause=19\n9 T>P BYE c2", "unreachable? one_side events_lost, answered"},
		{"told apart by Session-ID", "0 T>P INVITE c1 | Session-ID: aa11;remote=00000000000000000000000000000000\n0 T>P INVITE c2 | Session-ID: bb22;remote=0\n0.02 P>A INVITE p1 uri=101 | Session-ID: bb22;remote=0\n0.1 A>P 180 p1\n4 A>P 200 p1\n4 P>T 200 c2\n5 T>P CANCEL c1\n5 P>T 487 c1\n9 T>P BYE c2", "abandoned/caller_hung_up one_side, answered"},
		{"the PBX shows its own line as the caller", "0 T>P INVITE c1\n0.01 P>A INVITE p1 uri=101 caller=5551000\n0.1 A>P 180 p1\n2 A>P 603 p1\n2 P>T 403 c1", "declined"},
		{"a leg of somebody else's does not count", "0 T>P INVITE c1\n0.01 P>A INVITE p1 uri=101 caller=+13035550199\n0.1 A>P 180 p1\n2 A>P 200 p1\n4 P>T 200 c1\n4 T>P ACK c1\n9 T>P BYE c1", "unknown? one_side"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := say(watch(t, office(), tt.script)); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			// Every message seen twice, as by two capture points, changes nothing.
			var twice strings.Builder
			for l := range strings.Lines(tt.script) {
				l = strings.TrimRight(l, "\n") + "\n"
				twice.WriteString(l + l)
			}
			if got := say(watch(t, office(), twice.String())); got != tt.want {
				t.Errorf("seen twice: %s\nwant %s", got, tt.want)
			}
		})
	}
}

// With every phone in sight, no phone leg means that no phone was tried.
func TestWitnessOfAllPhones(t *testing.T) {
	cfg := office()
	cfg.AllPhones = true
	cfg.Mailboxes = append(cfg.Mailboxes, ParseTarget("5551999"))
	for _, tt := range []struct{ name, script, want string }{
		{"an announcement", alone + "1 P>T 200 c1\n1 T>P ACK c1\n9 T>P BYE c1", "unattended/not_tried machine_kind"},
		{"a line that is a mailbox's", "0 T>P INVITE c1 uri=5551999\n1 P>T 200 c1\n1 T>P ACK c1\n9 T>P BYE c1", "voicemail/not_tried"},
		{"ended in good order", alone + "1 P>T 183 c1\n4 P>T 603 c1 | Reason: Q.850;cause=16", "unattended/not_tried"},
		{"no registered phone", alone + "0.1 P>T 404 c1 | Reason: Q.850;cause=3", "unreachable"},
		{"the caller leaves before any phone", alone + "3 T>P CANCEL c1\n3 P>T 487 c1", "unattended/not_tried"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := say(watch(t, cfg, tt.script)); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

// Dialogs are forgotten: memory is for calls in progress.
func TestWitnessForgets(t *testing.T) {
	tr := pbx.NewTracker(Tracker(pbx.Config{Site: "hq", Region: "US"}))
	w := NewWitness(office(), tr.Feed)
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i := range 500 {
		for l := range strings.Lines(answers + "9 T>P BYE c1\n9 P>A BYE p1\n") {
			if l = strings.TrimSpace(l); l == "" {
				continue
			}
			l = strings.NewReplacer(" c1", fmt.Sprintf(" c%d", i), " p1", fmt.Sprintf(" p%d", i)).Replace(l)
			sec, p := line(t, l)
			p.At = at.Add(time.Duration(sec * float64(time.Second)))
			w.Handle(&p)
		}
		at = at.Add(10 * time.Second)
	}
	if n := w.Open(); n > 20 {
		t.Errorf("%d dialogs are known while one call is in progress", n)
	}
	w.Advance(at.Add(time.Hour))
	if w.Open() != 0 || len(w.index) != 0 || len(w.recent) != 0 || len(w.alone) != 0 || len(w.orphans) != 0 {
		t.Errorf("left over: %d dialogs, %d keys, %d moves", w.Open(), len(w.index), len(w.recent))
	}
}

// Whatever comes, and in whatever order: no panic, no call that is both certain
// and unknown, nothing left behind.
func FuzzWitness(f *testing.F) {
	t := &testing.T{}
	for _, script := range []string{
		answers + "9 T>P BYE c1\n9 P>A BYE p1",
		rings + "2 B>P INVITE i1 uri=*8 caller=102\n2 P>B 200 i1\n2.4 P>A CANCEL p1\n2.4 P>T 200 c1\n2.4 A>P 487 p1\n9 T>P BYE c1",
		rings + "1 A>P 302 p1 | Contact: <sip:102@192.0.2.10>\n1.1 P>B INVITE p2 uri=102 caller=555\n3 B>P 200 p2\n3 P>T 200 c1\n5 A>P REFER p1 swap | Refer-To: <sip:102@x?Replaces=p2%3Bto-tag%3Dtp2%3Bfrom-tag%3Dfp2>\n9 T>P BYE c1",
		"0 T>P INVITE c1\n0 T>P INVITE c2\n0.02 P>A INVITE p1 uri=101\n0.1 A>P 401 p1\n4 P>T 200 c1\n9 T>P CANCEL c1",
	} {
		var b []byte
		for l := range strings.Lines(script) {
			if l = strings.TrimSpace(l); l != "" {
				f := strings.Fields(l)
				_, p := line(t, l)
				b = append(b, 50, f[1][0], f[1][2])
				b = append(append(b, p.Payload...), 0)
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		tr := pbx.NewTracker(Tracker(pbx.Config{Site: "hq", Region: "US"}))
		seen := map[string]bool{}
		tr.OnCall = func(c *pbx.Call) {
			if c.Certain && c.Outcome == pbx.Unknown || c.Outcome == "" {
				t.Errorf("%+v", c)
			}
			seen[c.ID] = true
		}
		w := NewWitness(office(), tr.Feed)
		at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		for _, m := range strings.Split(string(b), "\x00") {
			if len(m) < 3 {
				continue
			}
			src, dst := hosts[m[1]], hosts[m[2]]
			if src == "" || dst == "" {
				src, dst = hosts['T'], hosts['P']
			}
			at = at.Add(time.Duration(m[0]) * time.Duration(m[0]) * time.Millisecond)
			w.Handle(&Packet{At: at, Src: netip.MustParseAddrPort(src + ":5060"), Dst: netip.MustParseAddrPort(dst + ":5060"), Payload: []byte(m[3:])})
			tr.Advance(at)
		}
		w.Advance(at.Add(timerC))
		w.Advance(at.Add(timerC + linger + time.Minute))
		w.Flush()
		tr.Flush(w.Now())
		if len(w.orphans) != 0 || len(w.held) != 0 {
			t.Errorf("%d orphans, %d messages held", len(w.orphans), len(w.held))
		}
	})
}
