package smpp

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
)

var (
	phone  = pdu.Address{TON: 1, NPI: 1, Digits: testTo[1:]}
	office = pdu.Address{TON: 1, NPI: 1, Digits: testFrom[1:]}
)

// desk is a transport that is given PDUs directly.
type desk struct {
	t   testing.TB
	tr  *Transport
	in  *inbox
	opt Options
}

func newDesk(t testing.TB, change func(*Options)) *desk {
	opt := options(t, "127.0.0.1:1")
	if change != nil {
		change(&opt)
	}
	return &desk{t, transport(t, opt), &inbox{}, opt}
}

// restart is a new process over the same directory.
func (d *desk) restart() { d.tr = transport(d.t, d.opt) }

func (d *desk) deliver(m pdu.Message) pdu.Status {
	if m.Source == (pdu.Address{}) {
		m.Source, m.Destination = phone, office
	}
	return d.tr.arrived(context.Background(), pdu.PDU{Command: pdu.DeliverSM, Body: m.Append(nil)}, d.in)
}

// part is one of a long reply.
func part(ref uint16, total, seq byte, text string) pdu.Message {
	b, ok := gsm7.Encode(gsm7.Part{Ref: ref, Total: total, Seq: seq}.Header(), text)
	if !ok {
		panic(text)
	}
	return pdu.Message{ESMClass: pdu.HasHeader, Short: b}
}

func (d *desk) want(status, got pdu.Status, bodies ...string) {
	d.t.Helper()
	var have []string
	for _, m := range d.in.texts() {
		have = append(have, m.Body)
		if m.From != testTo || m.To != testFrom {
			d.t.Errorf("%+v", m)
		}
	}
	if status != got || !reflect.DeepEqual(have, bodies) {
		d.t.Errorf("status %s and %q, want %s and %q", got, have, status, bodies)
	}
}

func (d *desk) files() int {
	files, _ := filepath.Glob(filepath.Join(d.opt.Dir, "*.part"))
	return len(files)
}

func TestReplies(t *testing.T) {
	for _, c := range []struct {
		what string
		m    pdu.Message
		want sms.Inbound
	}{
		{"plain", pdu.Message{Short: []byte("STOP")}, sms.Inbound{Body: "STOP"}},
		{"empty", pdu.Message{}, sms.Inbound{}},
		{"UCS-2", pdu.Message{Coding: 8, Short: gsm7.EncodeUCS2(nil, "да 😀")}, sms.Inbound{Body: "да 😀"}},
		{"as a parameter", pdu.Message{TLVs: pdu.TLVs{{Tag: pdu.MessagePayload, Value: []byte(strings.Repeat("a", 1000))}}}, sms.Inbound{Body: strings.Repeat("a", 1000)}},
		{"with an id", pdu.Message{Short: []byte("hi"), TLVs: pdu.TLVs{{Tag: pdu.ReceiptedMessageID, Value: []byte("77\x00")}}}, sms.Inbound{Body: "hi", ID: "77"}},
		{"no text at all", pdu.Message{Coding: 4, Short: []byte{1, 2, 0xff}}, sms.Inbound{Media: 1}},
		{"one part of one", part(7, 1, 1, "whole"), sms.Inbound{Body: "whole"}},
		{"ports", pdu.Message{ESMClass: pdu.HasHeader, Short: []byte("\x06\x05\x04\x0b\x84\x23\xf0hi")}, sms.Inbound{Body: "hi"}},
		{"a broken header", pdu.Message{ESMClass: pdu.HasHeader, Short: []byte("\x7fhi")}, sms.Inbound{Body: "àhi"}},
		// A caller may text what looks like a receipt; it is a text all the same.
		{"words of a receipt", pdu.Message{Short: []byte("id:1 stat:UNDELIV")}, sms.Inbound{Body: "id:1 stat:UNDELIV"}},
		{"a class of a phone's own", pdu.Message{ESMClass: 0x10, Short: []byte("yes")}, sms.Inbound{Body: "yes"}},
	} {
		d := newDesk(t, nil)
		status := d.deliver(c.m)
		c.want.From, c.want.To = testTo, testFrom
		if got := d.in.texts(); status != pdu.OK || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %s %+v, want %+v", c.what, status, got, c.want)
		}
		// Not stored: to be offered again.
		d.in.fail = func() error { return errors.New("disk full") }
		if status := d.deliver(c.m); status != pdu.TemporaryError {
			t.Errorf("%s: %s though it was not stored", c.what, status)
		}
	}
	// By data_sm too, and what cannot be read is refused for good.
	d := newDesk(t, nil)
	m := pdu.Message{Source: phone, Destination: office, TLVs: pdu.TLVs{{Tag: pdu.MessagePayload, Value: []byte("hi")}}}
	d.want(pdu.OK, d.tr.arrived(t.Context(), pdu.PDU{Command: pdu.DataSM, Body: m.AppendData(nil)}, d.in), "hi")
	d.want(pdu.PermanentError, d.tr.arrived(t.Context(), pdu.PDU{Command: pdu.DeliverSM, Body: []byte("hi")}, d.in), "hi")
	// The other default alphabet.
	d = newDesk(t, func(o *Options) { o.Latin1 = true })
	d.want(pdu.OK, d.deliver(pdu.Message{Short: []byte("a@b caf\xe9")}), "a@b café")
}

func TestReceiptsArrive(t *testing.T) {
	d := newDesk(t, nil)
	for _, m := range []pdu.Message{
		{ESMClass: pdu.TypeReceipt, Short: []byte("id:1 stat:DELIVRD err:000")},
		{ESMClass: pdu.TypeIntermediate, Short: []byte("id:1 stat:DELIVRD err:000")},
		{TLVs: pdu.TLVs{{Tag: pdu.ReceiptedMessageID, Value: []byte("1")}, {Tag: pdu.MessageState, Value: []byte{2}}}, Short: []byte("anything")}, // its class forgotten
		{ESMClass: pdu.TypeReceipt | pdu.HasHeader, Short: []byte("\x05\x00\x03\x01\x01\x01id:1 stat:DELIVRD err:000")},
	} {
		if s := d.deliver(m); s != pdu.OK {
			t.Errorf("%+v: %s", m, s)
		}
		fates := d.in.fates()
		if r := fates[len(fates)-1]; r.ProviderID != "1" || r.Delivery != sms.Delivered || len(d.in.texts()) != 0 {
			t.Errorf("%+v", r)
		}
		d.in.fail = func() error { return errors.New("disk full") }
		if s := d.deliver(m); s != pdu.TemporaryError {
			t.Errorf("%s though it was not stored", s)
		}
		d.in.fail = nil
	}
	// Nothing can be made of it, and nothing better would come.
	if s := d.deliver(pdu.Message{ESMClass: pdu.TypeReceipt, Short: []byte("hm")}); s != pdu.OK || len(d.in.fates()) != 4 {
		t.Errorf("%s %v", s, d.in.fates())
	}
}

// Every part is answered, and none is lost: not by a restart between any two, not by a
// full disk, not by an Inbox that does not take the whole, not when they come twice.
func TestParts(t *testing.T) {
	a, b, c := part(9, 3, 1, "one "), part(9, 3, 2, "two "), part(9, 3, 3, "three")
	for _, order := range [][]pdu.Message{{a, b, c}, {c, b, a}, {b, c, a}} {
		d := newDesk(t, nil)
		for _, m := range order[:2] {
			d.want(pdu.OK, d.deliver(m))
			d.restart()
			d.want(pdu.OK, d.deliver(m)) // its answer was lost
		}
		if d.files() != 2 {
			t.Errorf("%d files", d.files())
		}
		d.in.fail = func() error { return errors.New("disk full") }
		d.want(pdu.TemporaryError, d.deliver(order[2]))
		d.restart()
		d.in.fail = nil
		d.want(pdu.OK, d.deliver(order[2]), "one two three")
		// Taken, but the answers were lost: they come again, before a restart and after, and are no new text.
		for _, m := range order {
			d.want(pdu.OK, d.deliver(m), "one two three")
			d.restart()
			d.want(pdu.OK, d.deliver(m), "one two three")
		}
		if d.files() != 0 {
			t.Errorf("%d files are left", d.files())
		}
	}
}

func TestPartsOfManyKinds(t *testing.T) {
	d := newDesk(t, nil)
	// Two callers with one reference, a wide reference, and parameters instead of a header.
	other := part(9, 2, 1, "other")
	other.Source, other.Destination = pdu.Address{TON: 1, NPI: 1, Digits: "12025550199"}, office
	d.want(pdu.OK, d.deliver(part(9, 2, 1, "a ")))
	d.want(pdu.OK, d.deliver(other))
	d.want(pdu.OK, d.deliver(part(9, 2, 2, "b")), "a b")
	wide := func(seq byte, s string) pdu.Message {
		return pdu.Message{ESMClass: pdu.HasHeader, Short: append(gsm7.Part{Ref: 9, Total: 2, Seq: seq, Wide: true}.Header(), s...)}
	}
	d.want(pdu.OK, d.deliver(wide(2, "d")), "a b")
	d.want(pdu.OK, d.deliver(wide(1, "c ")), "a b", "c d")
	sar := func(seq byte, s string) pdu.Message {
		return pdu.Message{Short: []byte(s), TLVs: pdu.TLVs{{Tag: pdu.SARReference, Value: []byte{0, 10}}, {Tag: pdu.SARTotal, Value: []byte{2}}, {Tag: pdu.SARSequence, Value: []byte{seq}}}}
	}
	d.want(pdu.OK, d.deliver(sar(1, "e ")), "a b", "c d")
	d.want(pdu.OK, d.deliver(sar(2, "f")), "a b", "c d", "e f")
	// A surrogate pair that the sender cut, and parts in two codings.
	d = newDesk(t, nil)
	u := gsm7.EncodeUCS2(nil, "да 😀!")
	ucs := func(seq byte, b []byte) pdu.Message {
		return pdu.Message{Coding: 8, ESMClass: pdu.HasHeader, Short: append(gsm7.Part{Ref: 1, Total: 3, Seq: seq}.Header(), b...)}
	}
	d.want(pdu.OK, d.deliver(ucs(1, u[:8])))
	d.want(pdu.OK, d.deliver(ucs(2, u[8:])))
	d.want(pdu.OK, d.deliver(part(1, 3, 3, " 5€")), "да 😀! 5€")
}

// A part that never comes: the rest is given after a while, with … in its place, and
// kept if it could not be stored.
func TestIncompleteReply(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	d := newDesk(t, func(o *Options) { o.Now = func() time.Time { return now } })
	d.want(pdu.OK, d.deliver(part(9, 5, 4, "four")))
	now = now.Add(50 * time.Minute)
	d.want(pdu.OK, d.deliver(part(9, 5, 1, "one")))
	now = now.Add(50 * time.Minute) // an hour from the first, but not from the last
	d.restart()
	d.tr.giveUpWaiting(t.Context(), d.in)
	d.want(0, 0)
	now = now.Add(11 * time.Minute)
	d.in.fail = func() error { return errors.New("disk full") }
	d.tr.giveUpWaiting(t.Context(), d.in)
	d.in.fail = nil
	if d.files() != 2 {
		t.Fatalf("%d files", d.files())
	}
	d.tr.giveUpWaiting(t.Context(), d.in)
	d.want(0, 0, "one…four…")
	d.tr.giveUpWaiting(t.Context(), d.in)
	d.want(pdu.OK, d.deliver(part(9, 5, 4, "four")), "one…four…") // again
	if d.files() != 0 {
		t.Errorf("%d files are left", d.files())
	}
	// What is remembered of it goes away.
	now = now.Add(2 * keepDone)
	d.tr.giveUpWaiting(t.Context(), d.in)
	if left, _ := os.ReadDir(d.opt.Dir); len(left) != 0 {
		t.Errorf("%v", left)
	}

	// The sender has come round to the same reference.
	d = newDesk(t, nil)
	d.want(pdu.OK, d.deliver(part(9, 2, 1, "old")))
	d.in.fail = func() error { return errors.New("disk full") }
	d.want(pdu.TemporaryError, d.deliver(part(9, 2, 1, "new ")))
	d.in.fail = nil
	d.want(pdu.OK, d.deliver(part(9, 2, 1, "new ")), "old…")
	d.want(pdu.OK, d.deliver(part(9, 2, 2, "text")), "old…", "new text")

	// A directory that cannot be written: the part stays with the SMSC.
	d = newDesk(t, nil)
	if err := os.RemoveAll(d.opt.Dir); err != nil {
		t.Fatal(err)
	}
	d.want(pdu.TemporaryError, d.deliver(part(9, 2, 1, "a")))
	if err := os.MkdirAll(d.opt.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.want(pdu.OK, d.deliver(part(9, 2, 1, "a")))
	d.want(pdu.OK, d.deliver(part(9, 2, 2, "b")), "ab")
	// Files of a killed write, and strangers' files, do no harm.
	d.deliver(part(10, 2, 1, "c"))
	for _, name := range []string{"x.part.tmp", "y.part", "z.done"} {
		if err := os.WriteFile(filepath.Join(d.opt.Dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.restart()
	d.want(pdu.OK, d.deliver(part(10, 2, 2, "d")), "ab", "cd")
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]pdu.Address{
		"+12125550100":   {TON: 1, NPI: 1, Digits: "12125550100"},
		"12345":          {TON: 3, NPI: 0, Digits: "12345"},
		"2125550100":     {TON: 0, NPI: 1, Digits: "2125550100"},
		"Miller & 1":     {TON: 5, NPI: 0, Digits: "Miller & 1"},
		"Miller12345678": {}, "": {}, "+": {}, "Müller": {}, "+Miller": {}, strings.Repeat("1", 21): {}, "a\x00b": {},
	} {
		if got, ok := outgoing(in, nil); got != want || ok != (want.Digits != "") {
			t.Errorf("%q: %+v %v", in, got, ok)
		}
	}
	if got, ok := outgoing("+12125550100", &Kind{TON: 0, NPI: 8}); !ok || got != (pdu.Address{TON: 0, NPI: 8, Digits: "12125550100"}) {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		in     pdu.Address
		region string
		want   string
	}{
		{pdu.Address{TON: 1, NPI: 1, Digits: "12025550143"}, "US", "+12025550143"},
		{pdu.Address{TON: 1, NPI: 1, Digits: "+12025550143"}, "US", "+12025550143"},
		{pdu.Address{TON: 0, NPI: 1, Digits: "12025550143"}, "DE", "+12025550143"}, // what most SMSCs send
		{pdu.Address{TON: 2, NPI: 1, Digits: "2025550143"}, "US", "+12025550143"},
		{pdu.Address{TON: 2, NPI: 1, Digits: "030901820"}, "DE", "+4930901820"},
		{pdu.Address{TON: 0, NPI: 0, Digits: "12345"}, "US", "12345"},
		{pdu.Address{TON: 1, NPI: 1, Digits: "12345"}, "US", "12345"}, // a short code that calls itself international
		{pdu.Address{TON: 3, NPI: 0, Digits: "12345678901"}, "DE", "12345678901"},
		{pdu.Address{TON: 5, NPI: 0, Digits: "Bank"}, "US", "Bank"},
		{pdu.Address{TON: 5, NPI: 0, Digits: "12025550143"}, "US", "12025550143"},
		{pdu.Address{TON: 5, NPI: 0, Digits: "Caf\xe9"}, "US", "Café"},
		{pdu.Address{TON: 5, NPI: 0, Digits: "Café"}, "US", "Café"},
		{pdu.Address{}, "US", ""},
	} {
		if got := incoming(c.in, c.region); got != c.want {
			t.Errorf("%+v: %q, want %q", c.in, got, c.want)
		}
	}
}

// Whatever an SMSC offers is answered, and what is answered with OK was stored: in
// the Inbox or in the directory.
func FuzzDeliver(f *testing.F) {
	m := part(9, 2, 1, "hi")
	m.Source, m.Destination = phone, office
	f.Add(uint32(pdu.DeliverSM), m.Append(nil))
	m = pdu.Message{Source: phone, Destination: office, ESMClass: pdu.TypeReceipt, Short: []byte("id:1 stat:DELIVRD err:000 text:")}
	f.Add(uint32(pdu.DeliverSM), m.Append(nil))
	m = pdu.Message{Source: phone, Destination: office, Coding: 8, TLVs: pdu.TLVs{{Tag: pdu.MessagePayload, Value: []byte{0, 65}}, {Tag: pdu.SARReference, Value: []byte{0, 1}}, {Tag: pdu.SARTotal, Value: []byte{2}}, {Tag: pdu.SARSequence, Value: []byte{2}}}}
	f.Add(uint32(pdu.DataSM), m.AppendData(nil))
	m = part(9, 2, 1, "hi")
	m.Source, m.Destination = pdu.Address{TON: 5, Digits: "Caf\xe9"}, office
	f.Add(uint32(pdu.DeliverSM), m.Append(nil))
	dir, err := os.MkdirTemp("/dev/shm", "smpp") // in memory: each part is synced
	if err != nil {
		dir = f.TempDir()
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	opt := options(f, "127.0.0.1:1")
	opt.Dir = dir
	tr := transport(f, opt)
	f.Fuzz(func(t *testing.T, command uint32, body []byte) {
		if tr.parts.n+len(tr.parts.done) > 50 {
			if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil { // else Run makes it
				t.Fatal(err)
			}
			tr = transport(t, opt)
		}
		in := &inbox{}
		waiting, done := tr.parts.n, len(tr.parts.done)
		p := pdu.PDU{Command: pdu.Command(command), Body: body}
		status := tr.arrived(t.Context(), p, in)
		texts, fates := in.texts(), in.fates()
		m, err := pdu.ParseMessage(p.Command, p.Body)
		switch {
		case err != nil:
			if status != pdu.PermanentError || len(texts)+len(fates) > 0 {
				t.Errorf("%x cannot be read: %s", body, status)
			}
			return
		case status != pdu.OK:
			t.Errorf("%x: %s", body, status)
		case len(texts)+len(fates) == 0:
			r, readable, receipt := tr.receiptIn(m)
			if receipt && readable {
				t.Errorf("%x: OK, and %+v is nowhere", body, r)
			}
			if q, _, _ := partOf(m); !receipt && (q == nil || tr.parts.n == waiting && waiting+done == 0) {
				t.Errorf("%x: OK, and nowhere", body)
			}
		}
		for _, m := range texts {
			if !utf8.ValidString(m.Body) {
				t.Errorf("%x: %q", body, m.Body)
			}
		}
		if tr.parts.n != waiting { // the next process finds the same
			again := transport(t, opt)
			if again.parts.n != tr.parts.n || len(again.parts.done) != len(tr.parts.done) {
				t.Errorf("%x: %d parts, and %d after a restart", body, tr.parts.n, again.parts.n)
			}
			for k := range tr.parts.texts {
				if again.parts.texts[k] == nil {
					t.Errorf("%x: after a restart text %s is another", body, k)
				}
			}
		}
	})
}
