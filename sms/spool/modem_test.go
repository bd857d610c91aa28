package spool

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smstest"
)

// A modem speaks enough of AT (TS 27.005, PDU mode) for smsd to take it for a GSM
// modem. It is where the texts of the tests end, and where replies begin.
type modem struct {
	l net.Listener

	mu     sync.Mutex
	refuse int             // +CMS ERROR for each submission; 0: take
	slots  map[int]string  // PDUs of received texts
	parts  map[string]*cut // of texts that come in several
	taken  []sms.Message
	refs   []int // by text taken: of its last part
	ref    byte
	conns  map[net.Conn]bool
}

type cut struct {
	got  int
	body []string
}

func newModem(t *testing.T) *modem { return modemAt(t, "127.0.0.1:0") }

func modemAt(t *testing.T, addr string) *modem {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	m := &modem{l: l, slots: map[int]string{}, parts: map[string]*cut{}, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.conns[c] = true
			m.mu.Unlock()
			go m.serve(c)
		}
	}()
	t.Cleanup(func() { l.Close(); m.drop() })
	return m
}

// drop breaks the line.
func (m *modem) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		c.Close()
		delete(m.conns, c)
	}
}

func (m *modem) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\r')
		if err != nil {
			return
		}
		cmd := strings.ToUpper(strings.Trim(line, "\r\n \x1a\x1b"))
		answer := "OK"
		switch {
		case cmd == "":
			continue
		case strings.HasPrefix(cmd, "AT+CMGS="):
			_, _ = io.WriteString(c, "\r\n> ")
			pdu, err := r.ReadString(0x1a)
			if err != nil {
				return
			}
			answer = m.submit(strings.Trim(pdu, "\r\n \x1a"))
		case cmd == "AT+CPIN?":
			answer = "+CPIN: READY\r\n\r\nOK"
		case cmd == "AT+CREG?":
			answer = "+CREG: 0,1\r\n\r\nOK"
		case cmd == "AT+CSQ":
			answer = "+CSQ: 20,0\r\n\r\nOK"
		case cmd == "AT+CPMS?", strings.HasPrefix(cmd, "AT+CPMS="):
			m.mu.Lock()
			answer = fmt.Sprintf("+CPMS: \"SM\",%d,20,\"SM\",%d,20,\"SM\",%d,20\r\n\r\nOK", len(m.slots), len(m.slots), len(m.slots))
			m.mu.Unlock()
		case strings.HasPrefix(cmd, "AT+CMGR="):
			n, _ := strconv.Atoi(cmd[8:])
			m.mu.Lock()
			if pdu := m.slots[n]; pdu != "" {
				answer = fmt.Sprintf("+CMGR: 0,,%d\r\n%s\r\n\r\nOK", len(pdu)/2-1, pdu)
			}
			m.mu.Unlock()
		case strings.HasPrefix(cmd, "AT+CMGD="):
			n, _ := strconv.Atoi(strings.Split(cmd[8:], ",")[0])
			m.mu.Lock()
			delete(m.slots, n)
			m.mu.Unlock()
		}
		if _, err := fmt.Fprintf(c, "\r\n%s\r\n", answer); err != nil {
			return
		}
	}
}

// submit takes an SMS-SUBMIT (TS 23.040, 9.2.2.2), the SMSC's address in front.
func (m *modem) submit(pdu string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != 0 {
		return fmt.Sprintf("+CMS ERROR: %d", m.refuse)
	}
	b, err := hex.DecodeString(pdu)
	if err != nil || len(b) < 10 {
		return "+CMS ERROR: 304"
	}
	b = b[1+int(b[0]):]
	udhi, vpf := b[0]&0x40 != 0, b[0]>>3&3
	digits := int(b[2])
	to := ""
	for i := range digits {
		to += string('0' + b[4+i/2]>>(4*(i%2))&15)
	}
	if b[3]>>4&7 == 1 {
		to = "+" + to
	}
	b = b[4+(digits+1)/2:]
	dcs := b[1]
	b = b[2:]
	if vpf == 2 {
		b = b[1:]
	} else if vpf != 0 {
		b = b[7:]
	}
	n, ud := int(b[0]), b[1:]
	var part *gsm7.Part
	skip := 0
	if udhi {
		if part, _, err = gsm7.ParseHeader(ud); err != nil {
			return "+CMS ERROR: 304"
		}
		skip = 1 + int(ud[0])
	}
	body := ""
	if dcs&0x0c == 8 {
		body = string(ud[skip:n]) // raw: a character may be cut between parts
	} else {
		used := (skip*8 + 6) / 7
		body = gsm7.Decode(gsm7.Unpack(ud[skip:], n-used, gsm7.Fill(skip)))
		if skip == 0 {
			body = gsm7.Decode(gsm7.Unpack(ud, n, 0))
		}
	}
	m.ref++
	ucs2 := dcs&0x0c == 8
	whole := func(s string) string {
		if ucs2 {
			return gsm7.DecodeUCS2([]byte(s))
		}
		return s
	}
	if part == nil {
		m.taken = append(m.taken, sms.Message{To: to, Body: whole(body)})
		m.refs = append(m.refs, int(m.ref))
	} else {
		key := fmt.Sprint(to, part.Ref, part.Total)
		if m.parts[key] == nil {
			m.parts[key] = &cut{body: make([]string, part.Total)}
		}
		p := m.parts[key]
		p.got++
		p.body[part.Seq-1] = body
		if p.got == int(part.Total) {
			all := ""
			for _, s := range p.body {
				all += whole(s) // each as a handset shows it
			}
			m.taken = append(m.taken, sms.Message{To: to, Body: all})
			m.refs = append(m.refs, int(m.ref))
			delete(m.parts, key)
		}
	}
	return fmt.Sprintf("+CMGS: %d\r\n\r\nOK", m.ref)
}

// Taken are the texts that left.
func (m *modem) Taken() []sms.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]sms.Message(nil), m.taken...)
}

// Do is the network's mood: a spool takes everything, and what the network
// refuses is told later.
func (m *modem) Do(o smstest.Order) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = 0
	if o.Fate == smstest.Refuse {
		m.refuse = 28
	}
}

// semi is a number in swapped digits, behind its length and type.
func semi(n string) []byte {
	typ := byte(0x81)
	if strings.HasPrefix(n, "+") {
		typ, n = 0x91, n[1:]
	}
	out := []byte{byte(len(n)), typ}
	if len(n)%2 == 1 {
		n += "?" // 0x3f: filler
	}
	for i := 0; i < len(n); i += 2 {
		out = append(out, n[i+1]<<4|n[i]&15)
	}
	return out
}

// scts is a time stamp of now in UTC.
func scts() []byte {
	var out []byte
	for _, n := range []int{time.Now().UTC().Year() % 100, int(time.Now().UTC().Month()), time.Now().UTC().Day(), time.Now().UTC().Hour(), time.Now().UTC().Minute(), time.Now().UTC().Second(), 0} {
		out = append(out, byte(n%10<<4|n/10))
	}
	return out
}

// put lays a PDU into the modem's memory.
func (m *modem) put(pdu []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := 1; ; i++ {
		if m.slots[i] == "" {
			m.slots[i] = strings.ToUpper(hex.EncodeToString(append([]byte{0}, pdu...)))
			return
		}
	}
}

// deliver has a text come from a phone (SMS-DELIVER, 9.2.2.1), in parts if long.
func (m *modem) deliver(from, body string) {
	parts, encoding := gsm7.Split(body)
	for i, text := range parts {
		pdu := append([]byte{0x04}, semi(from)...)
		var header []byte
		if len(parts) > 1 {
			pdu[0] |= 0x40
			header = gsm7.Part{Ref: uint16(len(body) % 256), Total: byte(len(parts)), Seq: byte(i + 1)}.Header()
		}
		if encoding == "GSM-7" {
			septets, _ := gsm7.Encode(nil, text)
			pdu = append(append(pdu, 0, 0), scts()...)
			used := (len(header)*8 + 6) / 7
			fill := 0
			if len(header) > 0 {
				fill = gsm7.Fill(len(header))
			}
			pdu = append(append(append(pdu, byte(used+len(septets))), header...), gsm7.Pack(septets, fill)...)
		} else {
			raw := gsm7.EncodeUCS2(nil, text)
			pdu = append(append(pdu, 0, 8), scts()...)
			pdu = append(append(append(pdu, byte(len(header)+len(raw))), header...), raw...)
		}
		m.put(pdu)
	}
}

// report has the network tell of the nth text (SMS-STATUS-REPORT, 9.2.2.3).
func (m *modem) report(n int, status byte) {
	m.mu.Lock()
	ref, to := m.refs[n], m.taken[n].To
	m.mu.Unlock()
	pdu := append([]byte{0x06, byte(ref)}, semi(to)...)
	pdu = append(append(append(pdu, scts()...), scts()...), status)
	m.put(pdu)
}
