// Gencapture writes a capture of an office's day: calls through a PBX, seen on
// both of its sides, with registrations, options pings and RTP in between, and
// prints the truth about them. The same seed gives the same file.
package main

import (
	"bufio"
	"container/heap"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"time"
)

var (
	calls = flag.Int("calls", 1000, "how many calls")
	rtp   = flag.Int("rtp", 10, "packets of RTP a call")
	out   = flag.String("o", "calls.pcap", "file")
	seed  = flag.Uint64("seed", 1, "")
)

type packet struct {
	at   time.Duration
	n    int // order of making, for packets of one instant
	src  [4]byte
	dst  [4]byte
	body []byte
}

type queue []packet

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(packet)) }
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	*q = old[:len(old)-1]
	return p
}

var (
	trunk = [4]byte{198, 51, 100, 7}
	pbx   = [4]byte{192, 0, 2, 10}
)

func phone(n int) [4]byte { return [4]byte{192, 0, 2, byte(100 + n%80)} }

func text(a [4]byte) string { return fmt.Sprintf("%d.%d.%d.%d", a[0], a[1], a[2], a[3]) }

type maker struct {
	q     queue
	n     int
	truth map[string]int
	rnd   *rand.Rand
}

func (m *maker) put(at time.Duration, src, dst [4]byte, body string) {
	m.n++
	heap.Push(&m.q, packet{at, m.n, src, dst, []byte(body)})
}

const sdp = "v=0\r\no=- 53655765 2353687637 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"

// leg is one dialog.
type leg struct {
	m          *maker
	a, b       [4]byte // who calls whom
	id, number string
	user       string
	cseq       int
}

func (l *leg) head(first string, branch string, method string, toTag bool) string {
	tag := ""
	if toTag {
		tag = ";tag=t" + l.id
	}
	return fmt.Sprintf("%s\r\nVia: SIP/2.0/UDP %s:5060;rport;branch=z9hG4bK%s%s\r\nMax-Forwards: 70\r\nFrom: \"Caller\" <sip:%s@%s>;tag=f%s\r\nTo: <sip:%s@%s>%s\r\nCall-ID: %s@example\r\nCSeq: %d %s\r\nContact: <sip:%s@%s:5060>\r\nUser-Agent: office\r\nAllow: OPTIONS, INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, NOTIFY, REFER\r\nSupported: timer, replaces\r\n",
		first, text(l.a), l.id, branch, l.number, text(l.a), l.id, l.user, text(l.b), tag, l.id, l.cseq, method, l.user, text(l.b))
}

func (l *leg) request(at time.Duration, method string, more string) {
	branch, body, tag := "i", "", method == "BYE" || method == "ACK" && more != "no"
	switch {
	case method == "INVITE":
		body = fmt.Sprintf(sdp, text(l.a), text(l.a))
	case method == "BYE":
		branch = "b"
		l.cseq++
	case method == "ACK" && more != "no":
		branch = "a"
	}
	if more == "no" {
		more = ""
	}
	l.m.put(at, l.a, l.b, l.head(fmt.Sprintf("%s sip:%s@%s SIP/2.0", method, l.user, text(l.b)), branch, method, tag)+more+fmt.Sprintf("Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

func (l *leg) response(at time.Duration, status int, phrase, method, more string) {
	branch, body := "i", ""
	if status == 200 && method == "INVITE" {
		body = fmt.Sprintf(sdp, text(l.b), text(l.b))
	}
	if method == "BYE" {
		branch = "b"
	}
	l.m.put(at, l.b, l.a, l.head(fmt.Sprintf("SIP/2.0 %d %s", status, phrase), branch, method, status > 100)+more+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
}

const ms = time.Millisecond

// call makes one call that begins at t.
func (m *maker) call(i int, t time.Duration) {
	number := fmt.Sprintf("+1202%07d", 2000000+i*7%7999999)
	out := &leg{m: m, a: trunk, b: pbx, id: fmt.Sprintf("c%d", i), number: number, user: "2125550100", cseq: 1}
	in := func(k int) *leg {
		return &leg{m: m, a: pbx, b: phone(i + k), id: fmt.Sprintf("p%d-%d", i, k), number: number, user: fmt.Sprint(101 + (i+k)%80), cseq: 1}
	}
	out.request(t, "INVITE", "")
	out.response(t+1*ms, 100, "Trying", "INVITE", "")
	p := in(0)
	p.request(t+4*ms, "INVITE", "")
	ring := time.Duration(2000+m.rnd.IntN(12000)) * ms
	rings := func() {
		p.response(t+30*ms, 180, "Ringing", "INVITE", "")
		out.response(t+32*ms, 180, "Ringing", "INVITE", "")
	}
	end := t + ring
	refused := func(status int, phrase string, trunkStatus int, trunkPhrase string, cause int) {
		p.response(end, status, phrase, "INVITE", "")
		p.request(end+1*ms, "ACK", "no")
		out.response(end+2*ms, trunkStatus, trunkPhrase, "INVITE", fmt.Sprintf("Reason: Q.850;cause=%d\r\n", cause))
		out.request(end+30*ms, "ACK", "no")
	}
	cancelled := func(l *leg, at time.Duration, reason string) {
		l.request(at, "CANCEL", reason)
		l.response(at+5*ms, 200, "OK", "CANCEL", "")
		l.response(at+6*ms, 487, "Request Terminated", "INVITE", "")
		l.request(at+7*ms, "ACK", "no")
	}
	outcome := ""
	switch k := m.rnd.IntN(100); {
	case k < 45: // answered, by one phone or by one of three
		outcome = "answered"
		rings()
		others := 0
		if k < 15 {
			others = 2
		}
		var losers []*leg
		for j := range others {
			l := in(j + 1)
			l.request(t+time.Duration(5+j)*ms, "INVITE", "")
			l.response(t+time.Duration(31+j)*ms, 180, "Ringing", "INVITE", "")
			losers = append(losers, l)
		}
		p.response(end, 200, "OK", "INVITE", "")
		p.request(end+1*ms, "ACK", "")
		out.response(end+2*ms, 200, "OK", "INVITE", "")
		out.request(end+30*ms, "ACK", "")
		for _, l := range losers {
			cancelled(l, end+3*ms, "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n")
		}
		bye := end + time.Duration(5000+m.rnd.IntN(40000))*ms
		for r := range *rtp {
			m.media(end+time.Duration(r+1)*(bye-end)/time.Duration(*rtp+2), i, r)
		}
		out.request(bye, "BYE", "")
		out.response(bye+1*ms, 200, "OK", "BYE", "")
		p.request(bye+2*ms, "BYE", "")
		p.response(bye+20*ms, 200, "OK", "BYE", "")
	case k < 60:
		outcome = "rang_out"
		rings()
		cancelled(p, end, "Reason: Q.850;cause=0\r\n")
		out.response(end+10*ms, 480, "Temporarily Unavailable", "INVITE", "Reason: Q.850;cause=19\r\n")
		out.request(end+40*ms, "ACK", "no")
	case k < 70:
		outcome = "declined"
		rings()
		refused(603, "Decline", 403, "Forbidden", 21)
	case k < 75:
		outcome, end = "busy", t+40*ms
		refused(486, "Busy Here", 486, "Busy Here", 17)
	case k < 80:
		outcome, end = "unreachable", t+40*ms
		refused(480, "Do Not Disturb", 480, "Temporarily Unavailable", 19)
	case k < 90:
		outcome = "abandoned"
		rings()
		cancelled(out, end, "")
		cancelled(p, end+2*ms, "Reason: Q.850;cause=127\r\n")
	default:
		outcome = "voicemail"
		rings()
		cancelled(p, end, "Reason: Q.850;cause=0\r\n")
		out.response(end+1*ms, 200, "OK", "INVITE", "")
		out.request(end+30*ms, "ACK", "")
		bye := end + time.Duration(4000+m.rnd.IntN(20000))*ms
		out.request(bye, "BYE", "")
		out.response(bye+1*ms, 200, "OK", "BYE", "")
	}
	m.truth[outcome]++
	// As many messages again that are no calls.
	for j := range 6 {
		at := t + time.Duration(j*700)*ms
		r := &leg{m: m, a: phone(i + j), b: pbx, id: fmt.Sprintf("r%d-%d", i, j), number: fmt.Sprint(101 + (i+j)%80), user: fmt.Sprint(101 + (i+j)%80), cseq: i + 1}
		method := "REGISTER"
		if j%2 == 1 {
			method = "OPTIONS"
		}
		r.request(at, method, "")
		r.response(at+2*ms, 200, "OK", method, "")
	}
}

func (m *maker) media(at time.Duration, i, n int) {
	b := make([]byte, 172)
	b[0], b[1] = 0x80, 0
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[8:], uint32(i))
	m.n++
	heap.Push(&m.q, packet{at, m.n, trunk, pbx, b})
}

func main() {
	flag.Parse()
	f, err := os.Create(*out)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	head := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0)
	_, _ = w.Write(head)
	m := &maker{truth: map[string]int{}, rnd: rand.New(rand.NewPCG(*seed, 2))}
	base := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	packets, messages := 0, 0
	flush := func(until time.Duration) {
		for len(m.q) > 0 && m.q[0].at < until {
			p := heap.Pop(&m.q).(packet)
			write(w, base.Add(p.at), p)
			packets++
			if p.body[0] != 0x80 {
				messages++
			}
		}
	}
	for i := range *calls {
		t := time.Duration(i) * 60 * ms // some 300 in progress at once
		flush(t)
		m.call(i, t)
	}
	flush(1 << 62)
	if err := w.Flush(); err == nil {
		err = f.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var names []string
	for n := range m.truth {
		names = append(names, n)
	}
	sort.Strings(names)
	fmt.Printf("packets %d\nmessages %d\n", packets, messages)
	for _, n := range names {
		fmt.Printf("%s %d\n", n, m.truth[n])
	}
}

// write writes one packet as Ethernet, IPv4, UDP.
func write(w *bufio.Writer, at time.Time, p packet) {
	port := uint16(5060)
	if p.body[0] == 0x80 {
		port = 12000
	}
	n := 14 + 20 + 8 + len(p.body)
	b := make([]byte, 0, 16+n)
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()/1000))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0)
	ip := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(28+len(p.body)))
	b = append(b, 0, 0, 0, 0, 64, 17, 0, 0)
	b = append(append(b, p.src[:]...), p.dst[:]...)
	var sum uint32
	for i := ip; i < ip+20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[ip+10:], ^uint16(sum))
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(p.body)))
	b = append(b, 0, 0)
	_, _ = w.Write(append(b, p.body...))
}
