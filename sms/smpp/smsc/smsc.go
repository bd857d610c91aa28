// Package smsc is in charge of a stand-in for a provider's SMSC that tests bind to.
// What it took is its own truth: it lives in the test's process, outlives a
// killed daemon, and tells afterwards what each phone shows. It does what no real part
// can be made to do: it takes a text and says nothing, cuts a connection between
// two octets, and refuses with any status. That it speaks SMPP is proved by
// clients that we did not write (Kannel's).
package smsc

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"textback/pbx/testkit"
	"textback/rules/gsm7"
	"textback/sms/smpp/pdu"
)

// Behaviour is what becomes of one submit_sm. The zero value hangs.
type Behaviour struct {
	Take   bool       // the part is accepted: it goes out, whatever is answered
	Answer bool       // a response is sent, with Status
	Status pdu.Status // of the response
	Bare   bool       // the response has no body, as those of many that refuse
	Nack   bool       // the response is a generic_nack
	Cut    bool       // the connection is cut instead of, or after, the answer
}

// Behaviours by name.
var (
	Accept      = Behaviour{Take: true, Answer: true}
	Hang        = Behaviour{}
	TakeAndHang = Behaviour{Take: true}
	TakeAndCut  = Behaviour{Take: true, Cut: true}
	CutOff      = Behaviour{Cut: true}
)

// Refuse answers with a status and nothing else.
func Refuse(s pdu.Status) Behaviour { return Behaviour{Answer: true, Status: s, Bare: true} }

// A Submit is one submit_sm that was accepted.
type Submit struct {
	ID      string
	Message pdu.Message
}

// A Text is what a phone shows: whole texts only, joined from their parts.
type Text struct {
	From, To pdu.Address
	Body     string
	IDs      []string // of its parts, in the order of the text
}

// SMSC listens on loopback. Set its functions before anything binds.
type SMSC struct {
	SystemID, Password string // who may bind; empty: anybody
	// Behave, if set, chooses what becomes of the nth submit_sm (from 1).
	Behave func(m pdu.Message, n int) Behaviour
	// BindStatus, if set, chooses the answer to a bind that has the right password.
	BindStatus func() pdu.Status
	// ID, if set, makes the id of the nth message; otherwise it is n in hexadecimal.
	ID func(n int) string
	// Mute, if set and true, leaves enquire_link unanswered.
	Mute func() bool
	// Enquiry, if set, makes the answer to enquire_link.
	Enquiry func(pdu.PDU) pdu.PDU

	addr string
	tls  *tls.Config

	mu       sync.Mutex
	listener net.Listener
	sessions map[*session]bool
	bound    chan struct{} // closed and made anew when a session is bound
	submits  []Submit
	seen     int // submit_sm, taken or not
	binds    []pdu.Bind
	enquired int
	unbound  int
	wg       sync.WaitGroup
}

// session is one client.
type session struct {
	conn    net.Conn
	bound   bool
	writing sync.Mutex
	out     []byte // answers to submits, which go out together once nothing more is there to read; guarded by writing
	seq     uint32
	waiting map[uint32]chan pdu.PDU // guarded by writing
	done    chan struct{}
}

// Listen starts an SMSC on a port of loopback; with c it speaks TLS.
func Listen(c *tls.Config) (*SMSC, error) {
	s := &SMSC{tls: c, sessions: map[*session]bool{}, bound: make(chan struct{})}
	if err := s.open("127.0.0.1:0"); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *SMSC) open(addr string) error {
	l, err := testkit.Listen(addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.addr, s.listener = l.Addr().String(), l
	s.mu.Unlock()
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if s.tls != nil {
				c = tls.Server(c, s.tls)
			}
			x := &session{conn: c, waiting: map[uint32]chan pdu.PDU{}, done: make(chan struct{})}
			s.mu.Lock()
			s.sessions[x] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(x) })
		}
	})
	return nil
}

// Addr is where it listens.
func (s *SMSC) Addr() string { return s.addr }

// Stop unbinds every session as an SMSC does that is shut down, and stops listening.
// Start listens again at the same address.
func (s *SMSC) Stop(ctx context.Context) {
	s.mu.Lock()
	l := s.listener
	s.listener = nil
	all := s.all()
	s.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	for _, x := range all {
		_, _ = x.request(ctx, pdu.Unbind, nil)
		_ = x.conn.Close()
		<-x.done
	}
}

// Start listens again after Stop.
func (s *SMSC) Start() error {
	s.mu.Lock()
	running := s.listener != nil
	s.mu.Unlock()
	if running {
		return nil
	}
	return s.open(s.addr)
}

// Drop breaks every connection.
func (s *SMSC) Drop() {
	s.mu.Lock()
	all := s.all()
	s.mu.Unlock()
	for _, x := range all {
		_ = x.conn.Close()
		<-x.done
	}
}

// all needs s.mu.
func (s *SMSC) all() (out []*session) {
	for x := range s.sessions {
		out = append(out, x)
	}
	return out
}

// Close ends everything.
func (s *SMSC) Close() {
	s.mu.Lock()
	l := s.listener
	s.listener = nil
	s.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	s.Drop()
	s.wg.Wait()
}

func (s *SMSC) serve(x *session) {
	defer func() {
		_ = x.conn.Close()
		s.mu.Lock()
		delete(s.sessions, x)
		s.mu.Unlock()
		close(x.done)
	}()
	r := bufio.NewReaderSize(x.conn, 64<<10)
	for {
		if r.Buffered() == 0 {
			x.flush()
		}
		p, err := pdu.Read(r)
		if err != nil {
			return
		}
		switch {
		case p.Command.IsResponse():
			x.writing.Lock()
			got := x.waiting[p.Seq]
			delete(x.waiting, p.Seq)
			x.writing.Unlock()
			if got != nil {
				got <- p
			}
		case p.Command == pdu.BindTransceiver, p.Command == pdu.BindTransmitter, p.Command == pdu.BindReceiver:
			if !s.bind(x, p) {
				return
			}
		case p.Command == pdu.EnquireLink:
			s.mu.Lock()
			s.enquired++
			s.mu.Unlock()
			switch {
			case s.Mute != nil && s.Mute():
			case s.Enquiry != nil:
				x.write(s.Enquiry(p))
			default:
				x.write(p.Answer(pdu.OK, nil))
			}
		case p.Command == pdu.Unbind:
			s.mu.Lock()
			s.unbound++
			s.mu.Unlock()
			x.write(p.Answer(pdu.OK, nil))
			return
		case p.Command == pdu.SubmitSM:
			if !x.bound {
				x.write(p.Answer(pdu.WrongBindState, nil))
			} else if !s.submit(x, p) {
				return
			}
		default:
			x.write(pdu.PDU{Command: pdu.GenericNack, Status: pdu.InvalidCommand, Seq: p.Seq})
		}
	}
}

func (s *SMSC) bind(x *session, p pdu.PDU) bool {
	b, err := pdu.ParseBind(p.Body)
	status := pdu.OK
	switch {
	case err != nil:
		status = pdu.InvalidLength
	case x.bound:
		status = pdu.AlreadyBound
	case s.SystemID != "" && (b.SystemID != s.SystemID || b.Password != s.Password):
		status = pdu.InvalidPassword
	case s.BindStatus != nil:
		status = s.BindStatus()
	}
	s.mu.Lock()
	s.binds = append(s.binds, b)
	s.mu.Unlock()
	if status != pdu.OK {
		x.write(p.Answer(status, nil))
		return false
	}
	x.write(p.Answer(pdu.OK, pdu.AppendID(nil, "SMSC", nil)))
	s.mu.Lock()
	x.bound = true
	close(s.bound)
	s.bound = make(chan struct{})
	s.mu.Unlock()
	return true
}

func (s *SMSC) submit(x *session, p pdu.PDU) bool {
	m, err := pdu.ParseMessage(p.Command, p.Body)
	if err != nil {
		x.write(p.Answer(pdu.InvalidLength, nil))
		return true
	}
	s.mu.Lock()
	s.seen++
	n := s.seen
	s.mu.Unlock()
	b := Accept
	if s.Behave != nil {
		b = s.Behave(m, n)
	}
	id := ""
	if b.Take {
		s.mu.Lock()
		n := len(s.submits) + 1
		if id = fmt.Sprintf("%08X", n); s.ID != nil {
			id = s.ID(n)
		}
		s.submits = append(s.submits, Submit{id, m})
		s.mu.Unlock()
	}
	if b.Answer {
		a := p.Answer(b.Status, nil)
		if !b.Bare {
			a.Body = pdu.AppendID(nil, id, nil)
		}
		if b.Nack {
			a.Command = pdu.GenericNack
		}
		x.writing.Lock()
		if len(x.out) == 0 {
			time.AfterFunc(time.Millisecond, x.flush) // if Behave waits meanwhile, or half a PDU came
		}
		x.out = a.Append(x.out)
		x.writing.Unlock()
	}
	if b.Cut {
		x.flush()
	}
	return !b.Cut
}

func (x *session) flush() {
	x.writing.Lock()
	defer x.writing.Unlock()
	if len(x.out) > 0 {
		_, _ = x.conn.Write(x.out)
		x.out = x.out[:0]
	}
}

func (x *session) write(p pdu.PDU) {
	x.writing.Lock()
	defer x.writing.Unlock()
	_, _ = x.conn.Write(p.Append(nil))
}

var errGone = errors.New("the client is gone")

// request sends a command to the client and waits for its answer.
func (x *session) request(ctx context.Context, c pdu.Command, body []byte) (pdu.PDU, error) {
	got := make(chan pdu.PDU, 1)
	x.writing.Lock()
	x.seq++
	seq := x.seq
	x.waiting[seq] = got
	_, err := x.conn.Write(pdu.PDU{Command: c, Seq: seq, Body: body}.Append(nil))
	x.writing.Unlock()
	if err != nil {
		return pdu.PDU{}, err
	}
	select {
	case a := <-got:
		return a, nil
	case <-ctx.Done():
		return pdu.PDU{}, ctx.Err()
	case <-x.done:
	}
	select { // a client that answers and leaves has answered
	case a := <-got:
		return a, nil
	default:
		return pdu.PDU{}, errGone
	}
}

// Bound reports whether a client is bound.
func (s *SMSC) Bound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client() != nil
}

// Request sends any command over a bound session, which it waits for, and returns the answer.
func (s *SMSC) Request(ctx context.Context, c pdu.Command, body []byte) (pdu.PDU, error) {
	for {
		s.mu.Lock()
		next := s.bound
		found := s.client()
		s.mu.Unlock()
		if found != nil {
			return found.request(ctx, c, body)
		}
		select {
		case <-next:
		case <-ctx.Done():
			return pdu.PDU{}, ctx.Err()
		}
	}
}

// client is one that is bound, or nil. It needs s.mu.
func (s *SMSC) client() *session {
	for x := range s.sessions {
		if x.bound {
			return x
		}
	}
	return nil
}

// Say sends any PDU as it is to a bound client, if there is one.
func (s *SMSC) Say(p pdu.PDU) { s.Raw(p.Append(nil)) }

// Raw sends octets that need not be a PDU.
func (s *SMSC) Raw(b []byte) {
	s.mu.Lock()
	x := s.client()
	s.mu.Unlock()
	if x != nil {
		x.writing.Lock()
		defer x.writing.Unlock()
		_, _ = x.conn.Write(b)
	}
}

// ErrRefused is wrapped when the client's answer to a deliver_sm is not OK.
var ErrRefused = errors.New("the client refuses it")

// Deliver offers a deliver_sm once, and returns nil once the client has said that it has it.
func (s *SMSC) Deliver(ctx context.Context, m pdu.Message) error {
	a, err := s.Request(ctx, pdu.DeliverSM, m.Append(nil))
	if err != nil {
		return err
	}
	if a.Status != pdu.OK {
		return fmt.Errorf("%w: %s", ErrRefused, a.Status)
	}
	return nil
}

// Reply offers a text from a phone, in as many parts as it needs, one after the answer
// to the other.
func (s *SMSC) Reply(ctx context.Context, from, to pdu.Address, body string, ref byte) error {
	texts, encoding := gsm7.Split(body)
	for i, text := range texts {
		m := pdu.Message{Source: from, Destination: to}
		if len(texts) > 1 {
			m.ESMClass = pdu.HasHeader
			m.Short = gsm7.Part{Ref: uint16(ref), Total: byte(len(texts)), Seq: byte(i + 1)}.Header()
		}
		if encoding == "UCS-2" {
			m.Coding, m.Short = gsm7.CodingUCS2, gsm7.EncodeUCS2(m.Short, text)
		} else {
			m.Short, _ = gsm7.Encode(m.Short, text)
		}
		if err := s.Deliver(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Report offers a receipt for the submit with an id, with words and parameters.
func (s *SMSC) Report(ctx context.Context, of Submit, id string, state byte, word string) error {
	at := time.Now().UTC().Format("0601021504")
	m := pdu.Message{Source: of.Message.Destination, Destination: of.Message.Source, ESMClass: pdu.TypeReceipt,
		TLVs: pdu.TLVs{{Tag: pdu.ReceiptedMessageID, Value: append([]byte(id), 0)}, {Tag: pdu.MessageState, Value: []byte{state}}}}
	m.Short = fmt.Appendf(nil, "id:%s sub:001 dlvrd:001 submit date:%s done date:%s stat:%s err:000 text:", id, at, at, word)
	return s.Deliver(ctx, m)
}

// Submits are the submit_sm accepted so far, in order.
func (s *SMSC) Submits() []Submit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Submit(nil), s.submits...)
}

// Seen is how many submit_sm came, taken or not.
func (s *SMSC) Seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// Binds are all attempts to bind.
func (s *SMSC) Binds() []pdu.Bind {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]pdu.Bind(nil), s.binds...)
}

// Enquired is how many enquire_link came.
func (s *SMSC) Enquired() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enquired
}

// Unbound is how many clients took leave.
func (s *SMSC) Unbound() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unbound
}

// Texts are what phones show, in the order in which they became whole.
func (s *SMSC) Texts() (out []Text) {
	type key struct {
		from, to pdu.Address
		ref      uint32
		total    byte
	}
	waiting := map[key]map[byte]Submit{}
	for _, x := range s.Submits() {
		part, octets := partOf(x.Message)
		if part == nil {
			text, _ := gsm7.Text(x.Message.Coding, octets)
			out = append(out, Text{x.Message.Source, x.Message.Destination, text, []string{x.ID}})
			continue
		}
		k := key{x.Message.Source, x.Message.Destination, uint32(part.Ref), part.Total}
		if waiting[k] == nil {
			waiting[k] = map[byte]Submit{}
		}
		if waiting[k][part.Seq] = x; len(waiting[k]) < int(part.Total) {
			continue
		}
		t := Text{From: k.from, To: k.to}
		for seq := 1; seq <= int(part.Total); seq++ {
			x := waiting[k][byte(seq)]
			_, octets := partOf(x.Message)
			text, _ := gsm7.Text(x.Message.Coding, octets)
			t.Body += text
			t.IDs = append(t.IDs, x.ID)
		}
		delete(waiting, k)
		out = append(out, t)
	}
	return out
}

// partOf reads as a phone does. It is not package smpp's, which it serves to test.
func partOf(m pdu.Message) (*gsm7.Part, []byte) {
	if m.ESMClass&pdu.HasHeader != 0 {
		if part, rest, err := gsm7.ParseHeader(m.Text()); err == nil {
			return part, rest
		}
	}
	if total, ok := m.TLVs.Number(pdu.SARTotal); ok {
		ref, _ := m.TLVs.Number(pdu.SARReference)
		seq, _ := m.TLVs.Number(pdu.SARSequence)
		return &gsm7.Part{Ref: uint16(ref), Total: byte(total), Seq: byte(seq)}, m.Text()
	}
	return nil, m.Text()
}
