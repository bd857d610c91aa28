package lab

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// until is a ring time that only the PBX ends.
const until = time.Duration(-1)

// A phone is a desk phone, or with role "far" somebody's phone outside, and
// what it does with every call it gets.
type phone struct {
	role    string        // "a" to "d", or "far"
	mute    bool          // it takes the call's message and never says a word
	early   bool          // it rings with 183 and a sound of its own
	ring    time.Duration // 0: it never rings; until: it rings until cancelled
	status  int           // its final answer; 0 means 200
	contact string        // where a 302 sends the call
	keys    []key         // pressed once it has answered
	refer   string        // blind transfer to this extension, a second after answering
	hangup  time.Duration // it hangs up after talking for so long; 0: the other side does
}

// A caller is one call from the outside, or with a role from a desk phone.
type caller struct {
	after  time.Duration // since the scenario's start
	from   string        // role of a desk phone; "" is the outside
	to     string        // extension; "" is the scenario's line
	secret bool          // withholds the number
	cancel time.Duration // gives up after hearing it ring for so long
	unrung bool          // with cancel: does not wait for it to ring
	fails  bool          // the PBX ends the call unanswered
	keys   []key         // pressed once connected
	tone   bool          // makes a noise once connected, else silence
	joins  bool          // instead of hanging up, joins its role's first call with this one
	talk   time.Duration // hangs up after so long (since the last key); 0: the PBX hangs up
}

// A key press is one or more digits, the first some time after whatever came before.
type key struct {
	after  time.Duration
	digits string
}

const sdp = `Content-Type: application/sdp
Content-Length: [len]

v=0
o=lab 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
`

const empty = "Content-Length: 0\n\n"

// echo are the headers of a request that its response repeats.
const echo = `[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
`

// A script is a sipp scenario as it is written.
type script struct{ strings.Builder }

func (s *script) send(message string, attrs ...string) {
	fmt.Fprintf(s, "<send%s><![CDATA[\n%s\n]]></send>\n", attributes(attrs), message)
}

func (s *script) reliably(message string) { s.send(message, `retrans="500"`) }

func (s *script) request(method string, attrs ...string) {
	fmt.Fprintf(s, "<recv request=%q%s/>\n", method, attributes(attrs))
}

func (s *script) response(status int, attrs ...string) {
	fmt.Fprintf(s, "<recv response=\"%d\"%s/>\n", status, attributes(attrs))
}

func (s *script) pause(d time.Duration) {
	if d > 0 {
		fmt.Fprintf(s, "<pause milliseconds=\"%d\"/>\n", d.Milliseconds())
	}
}

func (s *script) label(n int) { fmt.Fprintf(s, "<label id=\"%d\"/>\n", n) }

func attributes(attrs []string) string {
	if len(attrs) == 0 {
		return ""
	}
	return " " + strings.Join(attrs, " ")
}

func (s *script) xml(name string) string {
	return `<?xml version="1.0"?>` + "\n<scenario name=\"" + name + "\">\n" + s.String() + "</scenario>\n"
}

// bye waits for the other side to hang up. NOTIFYs about a transfer may come before.
func (s *script) bye() {
	s.label(1)
	s.request("NOTIFY", `optional="true"`, `next="2"`)
	s.request("BYE", `next="3"`)
	s.label(2)
	s.send("SIP/2.0 200 OK\n"+echo+empty, `next="1"`)
	s.label(3)
	s.send("SIP/2.0 200 OK\n" + echo + empty)
}

// press sends digits as INFO requests; headers gives those of the next request.
func (s *script) press(keys []key, headers func(method string) string) {
	for _, k := range keys {
		s.pause(k.after)
		for _, digit := range k.digits {
			s.reliably(headers("INFO") + "Content-Type: application/dtmf-relay\nContent-Length: [len]\n\nSignal=" + string(digit) + "\nDuration=100\n")
			s.response(200)
			s.pause(150 * time.Millisecond)
		}
	}
}

// script writes what the phone does. pbx is the address of the PBX.
func (p phone) script(pbx string) string {
	var s script
	tagged := strings.Replace(echo, "[last_To:]", "[last_To:];tag=[pid]p[call_number]", 1)
	contact := "Contact: <sip:[local_ip]:[local_port]>\n"

	s.WriteString(`<recv request="INVITE" rrs="true"><action>` +
		`<ereg regexp=".*" search_in="hdr" header="From:" assign_to="1"/>` +
		`<ereg regexp=".*" search_in="hdr" header="To:" assign_to="2"/>` +
		`<ereg regexp="sip:[^>]*" search_in="hdr" header="Contact:" assign_to="3"/>` +
		`<ereg regexp="tag=([^;]+)" search_in="hdr" header="From:" assign_to="4,5"/>` +
		// What an INVITE that replaces this dialog would have to say (RFC 3891, section 3).
		`<log message="[call_id];to-tag=[$5];from-tag=[pid]p[call_number]"/>` +
		"</action></recv>\n<Reference variables=\"1,2,3,4,5\"/>\n")
	if p.mute {
		s.request("CANCEL") // which nobody sends to one who never spoke
		return s.xml("phone")
	}
	switch {
	case p.early:
		s.send("SIP/2.0 183 Session Progress\n" + tagged + contact + sdp)
		s.pause(p.ring)
	case p.ring != 0:
		s.send("SIP/2.0 180 Ringing\n" + tagged + contact + empty)
		s.pause(p.ring)
	}
	switch {
	case p.ring == until:
		s.request("CANCEL")
		s.send("SIP/2.0 200 OK\n" + echo + empty)
		s.send("SIP/2.0 487 Request Terminated\n" + strings.Replace(tagged, "[last_CSeq:]", "CSeq: [last_cseq_number] INVITE", 1) + empty)
		s.request("ACK")
		return s.xml("phone")
	case p.status != 0:
		if p.contact != "" {
			contact = "Contact: <sip:" + p.contact + "@" + pbx + ">\n"
		}
		s.reliably(fmt.Sprintf("SIP/2.0 %d Final\n", p.status) + tagged + contact + empty)
		s.request("ACK")
		return s.xml("phone")
	}
	s.reliably("SIP/2.0 200 OK\n" + tagged + contact + sdp)
	s.request("ACK")

	cseq := 9
	headers := func(method string) string {
		cseq++
		return method + ` [$3] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: [$2];tag=[pid]p[call_number]
To: [$1]
Call-ID: [call_id]
` + fmt.Sprintf("CSeq: %d %s\n", cseq, method) + "Max-Forwards: 70\n" + contact
	}
	s.press(p.keys, headers)
	switch {
	case p.refer != "":
		s.pause(time.Second)
		s.reliably(headers("REFER") + "Refer-To: <sip:" + p.refer + "@" + pbx + ">\n" + empty)
		s.response(202)
		s.bye()
	case p.hangup != 0:
		s.pause(p.hangup)
		s.reliably(headers("BYE") + empty)
		s.response(200)
	default:
		s.bye()
	}
	return s.xml("phone")
}

// script writes the call. number is the caller's own; tone is a file of
// headerless µ-law; replaces is the dialog to join, for a caller who joins.
func (c caller) script(number, tone, replaces string) string {
	var s script
	from := "From: <sip:" + number + "@[local_ip]:[local_port]>;tag=[pid]c[call_number]\n"
	privacy := ""
	if c.secret {
		from = "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=[pid]c[call_number]\n"
		privacy = "Privacy: id\n"
	}
	const via = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n"
	to := "To: <sip:[service]@[remote_ip]:[remote_port]>"
	request := func(method, via, to string, cseq int) string {
		return method + " sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n" + via + from + to + "\nCall-ID: [call_id]\n" +
			fmt.Sprintf("CSeq: %d %s\n", cseq, method) + "Max-Forwards: 70\nContact: <sip:caller@[local_ip]:[local_port]>\n"
	}
	progress := func() {
		for _, status := range []int{100, 180, 181, 183} {
			s.response(status, `optional="true"`)
		}
	}
	s.reliably(request("INVITE", via, to, 1) + privacy + sdp)
	switch {
	case c.cancel != 0:
		if c.unrung {
			s.response(100)
		} else {
			s.response(100, `optional="true"`)
			s.response(180)
		}
		s.pause(c.cancel)
		s.reliably(request("CANCEL", "[last_Via:]\n", to, 1) + empty)
		progress()
		s.response(200)
		s.response(487)
		s.send(request("ACK", "[last_Via:]\n", to+"[peer_tag_param]", 1) + empty)
		return s.xml("caller")
	case c.fails:
		progress()
		for _, status := range []int{403, 404, 408, 480, 486, 487, 500, 503, 600} {
			s.response(status, `optional="true"`, `next="1"`)
		}
		s.response(603, `next="1"`)
		s.label(1)
		s.send(request("ACK", "[last_Via:]\n", to+"[peer_tag_param]", 1) + empty)
		return s.xml("caller")
	}
	progress()
	s.response(200)
	to += "[peer_tag_param]"
	s.send(request("ACK", via, to, 1) + empty)
	if c.tone {
		s.WriteString(`<nop><action><exec rtp_stream="` + tone + `,-1,0"/></action></nop>` + "\n")
	}
	cseq := 1
	headers := func(method string) string {
		cseq++
		return request(method, via, to, cseq)
	}
	s.press(c.keys, headers)
	switch {
	case c.joins:
		s.pause(c.talk)
		s.reliably(headers("REFER") + "Refer-To: <sip:[service]@[remote_ip]?Replaces=" + url.QueryEscape(replaces) + ">\n" + empty)
		s.response(202)
		// The PBX keeps this call until the phone that joined hangs it up.
		s.label(1)
		s.request("NOTIFY", `timeout="1000"`, `ontimeout="2"`)
		s.send("SIP/2.0 200 OK\n"+echo+empty, `next="1"`)
		s.label(2)
		s.reliably(headers("BYE") + empty)
		s.response(200)
	case c.talk != 0:
		s.pause(c.talk)
		s.reliably(headers("BYE") + empty)
		s.response(200)
	default:
		s.bye()
	}
	return s.xml("caller")
}
