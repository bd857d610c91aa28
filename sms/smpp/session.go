package smpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"textback/sms"
	"textback/sms/smpp/pdu"
)

const (
	// What arrives while the Inbox is busy waits up to here; the SMSC is told to offer
	// the rest again.
	inboundQueue = 100
	// Late answers wait up to here for the Inbox; receipts make up for the rest.
	lateQueue = 100
	// SMSCs wait a minute or so for the answer to a deliver_sm.
	inboxTimeout = 20 * time.Second
	// How long the answer to unbind is waited for.
	unbindTimeout = 2 * time.Second
	partsEvery    = time.Minute
)

// session is one connection to the SMSC.
type session struct {
	t       *Transport
	conn    net.Conn
	slots   chan struct{}            // the window
	inbound chan pdu.PDU             // deliver_sm and data_sm
	late    chan sms.DeliveryReceipt // what late answers to submits tell
	heard   atomic.Int64             // when the last PDU came, since began
	began   time.Time
	done    chan struct{} // closed when the reader has ended

	writing sync.Mutex

	mu      sync.Mutex
	seq     uint32
	next    *batch          // what the next write takes along; nil: nothing yet
	waiting map[uint32]call // requests without an answer
	err     error           // why it ended
}

// call is a request under way, or one that was waited for in vain.
type call struct {
	got  chan pdu.PDU // takes the answer
	note noter        // is given it before the next PDU is read; may be nil
	late bool         // nobody waits any more
}

// noter is given an answer, and whether it came too late for whoever asked.
type noter func(a pdu.PDU, late bool)

func newSession(t *Transport, conn net.Conn) *session {
	return &session{t: t, conn: conn, slots: make(chan struct{}, t.opt.Window), inbound: make(chan pdu.PDU, inboundQueue), late: make(chan sms.DeliveryReceipt, lateQueue), began: time.Now(),
		done: make(chan struct{}), waiting: map[uint32]call{}}
}

var (
	errNoAnswer  = errors.New("the provider does not answer in time")
	errStopping  = errors.New("this program stops")
	errUnbound   = errors.New("the provider unbound the session")
	errClosed    = errors.New("the provider closed the connection")
	errDisowned  = errors.New("the provider does not know this session any more")
	errCongested = errors.New("the connection takes nothing more")
)

// end breaks the connection. The first reason stays.
func (s *session) end(why error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = why
	}
	s.mu.Unlock()
	_ = s.conn.Close()
}

// retire lets nothing new begin, and ends the session once what is under way has its
// answers, whichever: without them it would not be known what became of it.
func (s *session) retire(why error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = why
	}
	s.mu.Unlock()
	if !first {
		return
	}
	go func() {
		late := time.NewTimer(s.t.opt.AnswerTimeout)
		defer late.Stop()
		for range cap(s.slots) {
			select {
			case s.slots <- struct{}{}:
				continue
			case <-late.C:
			case <-s.done:
			}
			break
		}
		s.end(why)
	}()
}

func (s *session) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// request sends a command and waits for its answer. sent reports whether octets of it
// may have left: false is certain. An answer that comes after all is given to note, as
// long as the session lasts.
func (s *session) request(ctx context.Context, c pdu.Command, body []byte, timeout time.Duration, note noter) (answer pdu.PDU, sent bool, err error) {
	if ctx.Err() != nil {
		return pdu.PDU{}, false, context.Cause(ctx)
	}
	got := make(chan pdu.PDU, 1)
	seq, sent, err := s.send(c, body, call{got: got, note: note})
	if err != nil {
		return pdu.PDU{}, sent, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case answer = <-got:
		return answer, true, nil
	case <-timer.C:
		err = errNoAnswer
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.done:
		err = s.cause()
	}
	if s.giveUp(seq) {
		return pdu.PDU{}, true, err
	}
	return <-got, true, nil // it came in the same moment
}

// giveUp says that nobody waits for an answer any more; false if it is there.
func (s *session) giveUp(seq uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, waits := s.waiting[seq]
	if !waits {
		return false
	}
	if w.late = true; w.note != nil {
		s.waiting[seq] = w
	} else {
		delete(s.waiting, seq)
	}
	return true
}

// send numbers a command and writes it. Commands of several goroutines go out in one
// write: while one of them writes, the others gather.
func (s *session) send(c pdu.Command, body []byte, w call) (seq uint32, sent bool, err error) {
	s.mu.Lock()
	if err = s.err; err != nil {
		s.mu.Unlock()
		return 0, false, err
	}
	// 1 to 7FFFFFFF, one up each (5.1.4). A number still waiting after two
	// thousand million others waits for ever.
	if s.seq++; s.seq > 0x7fffffff {
		s.seq = 1
	}
	seq = s.seq
	s.waiting[seq] = w
	if s.next == nil {
		s.next = &batch{}
	}
	b := s.next
	b.octets = pdu.PDU{Command: c, Seq: seq, Body: body}.Append(b.octets)
	end := len(b.octets)
	s.mu.Unlock()

	s.writing.Lock()
	if !b.over {
		s.mu.Lock()
		s.next = nil
		s.mu.Unlock()
		b.over = true
		if stillOpen(s.conn) {
			b.n, b.maybe, b.err = s.write(b.octets)
		} else {
			b.err = errClosed
			s.end(errClosed)
		}
	}
	s.writing.Unlock()
	// What left before a failure has left: its answer may have come, and is waited for in vain
	// at the worst.
	if b.err == nil || b.n >= end {
		return seq, true, nil
	}
	s.forget(seq)
	return 0, b.maybe, b.err
}

// batch is what one write takes along. s.mu guards octets until the batch is
// over, s.writing the rest.
type batch struct {
	octets []byte
	over   bool  // it was written, or never will be
	n      int   // octets that left
	maybe  bool  // more may have
	err    error // why not all did
}

// write writes octets; s.writing must be held. A PDU of which the last octet did not leave
// was not sent: without it the SMSC has no PDU, and the connection ends here. Under
// TLS it cannot be told how much left.
func (s *session) write(octets []byte) (n int, maybe bool, err error) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.t.opt.AnswerTimeout))
	n, err = s.conn.Write(octets)
	if err == nil {
		return n, false, nil
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = errCongested
	}
	s.end(err)
	_, secure := s.conn.(*tls.Conn)
	return n, secure, err
}

// answer writes a response; its failure ends the session, which is all that can be done.
func (s *session) answer(p pdu.PDU, status pdu.Status) {
	var body []byte
	if p.Command == pdu.DeliverSM || p.Command == pdu.DataSM {
		body = []byte{0} // message_id, which must be empty (4.6.2)
	}
	s.say(p.Answer(status, body))
}

func (s *session) say(p pdu.PDU) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _, _ = s.write(p.Append(nil))
}

func (s *session) forget(seq uint32) {
	s.mu.Lock()
	delete(s.waiting, seq)
	s.mu.Unlock()
}

// read takes what comes until the connection ends.
func (s *session) read() {
	defer close(s.done)
	r := bufio.NewReaderSize(s.conn, 16<<10)
	for {
		p, err := pdu.Read(r)
		if err != nil {
			s.end(err)
			return
		}
		s.heard.Store(int64(time.Since(s.began)))
		switch {
		case p.Command.IsResponse():
			s.mu.Lock()
			w, waits := s.waiting[p.Seq]
			delete(s.waiting, p.Seq)
			s.mu.Unlock()
			if waits {
				if w.late {
					s.t.opt.Log.Warn("an answer from the SMSC comes too late", "status", p.Status)
				}
				if w.note != nil {
					w.note(p, w.late)
				}
				w.got <- p
			} else {
				s.t.opt.Log.Warn("an answer from the SMSC that nothing waits for", "status", p.Status)
			}
		case p.Command == pdu.EnquireLink:
			s.answer(p, pdu.OK)
		case p.Command == pdu.Unbind:
			s.mu.Lock() // from here on nothing is sent but the answer
			if s.err == nil {
				s.err = errUnbound
			}
			s.mu.Unlock()
			s.answer(p, pdu.OK)
			s.end(errUnbound)
			return
		case p.Command == pdu.DeliverSM, p.Command == pdu.DataSM:
			select {
			case s.inbound <- p:
			default:
				s.answer(p, pdu.TemporaryError)
			}
		case p.Command == pdu.AlertNotify, p.Command == pdu.Outbind:
		default:
			s.say(pdu.PDU{Command: pdu.GenericNack, Status: pdu.InvalidCommand, Seq: p.Seq})
		}
	}
}

// serve keeps a bound session until it breaks, or ctx ends and what is under way is done.
func (s *session) serve(ctx context.Context, in sms.Inbox) error {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.enquire(stop) })
	wg.Go(func() { s.take(stop, in) })
	select {
	case <-s.done:
	case <-ctx.Done():
		s.t.drain(s.done)
	}
	close(stop)
	wg.Wait()
	s.unbind()
	return s.cause()
}

// unbind takes leave of the SMSC, if it is still there.
func (s *session) unbind() {
	if s.cause() == nil {
		_, _, _ = s.request(context.Background(), pdu.Unbind, nil, unbindTimeout, nil)
	}
	s.end(errStopping)
	<-s.done
}

// enquire asks a silent SMSC whether it is there.
func (s *session) enquire(stop chan struct{}) {
	tick := time.NewTicker(s.t.opt.EnquireEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-s.done:
			return
		case <-tick.C:
		}
		heard := s.heard.Load()
		if time.Since(s.began)-time.Duration(heard) < s.t.opt.EnquireEvery/2 {
			continue
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		go func() {
			select {
			case <-stop:
				cancel(errStopping)
			case <-ctx.Done():
			}
		}()
		a, _, err := s.request(ctx, pdu.EnquireLink, nil, s.t.opt.EnquireTimeout, nil)
		cancel(nil)
		switch {
		case errors.Is(err, errNoAnswer) && s.heard.Load() == heard:
			s.end(fmt.Errorf("enquire_link: %w", err))
			return
		case err == nil && (a.Status == pdu.Throttled || a.Status == pdu.QueueFull || a.Status == pdu.InvalidCommand):
			// It is busy, or does not know the question: it is there.
		case err == nil && (a.Status != pdu.OK || a.Command != pdu.EnquireLink|pdu.Response):
			// Somebody is there, but does not know this session, such as an SMSC that has
			// started anew behind a balancer which kept the connection.
			s.retire(fmt.Errorf("enquire_link: %w (status %s)", errDisowned, a.Status))
			return
		}
	}
}

// take gives the Inbox what arrives, one after the other: two texts of one
// caller stay in order.
func (s *session) take(stop chan struct{}, in sms.Inbox) {
	tick := time.NewTicker(min(partsEvery, s.t.opt.PartsPatience))
	defer tick.Stop()
	give := func(f func(ctx context.Context)) {
		ctx, cancel := context.WithTimeout(context.Background(), inboxTimeout)
		defer cancel()
		f(ctx)
	}
	give(func(ctx context.Context) { s.t.giveUpWaiting(ctx, in) })
	for {
		select {
		case <-stop: // what is queued is not answered: the SMSC offers it again
			return
		case <-s.done:
			return
		case <-tick.C:
			give(func(ctx context.Context) { s.t.giveUpWaiting(ctx, in) })
		case r := <-s.late:
			give(func(ctx context.Context) {
				if err := in.Receipt(ctx, r); err != nil {
					s.t.opt.Log.Error("a late answer to a submit was not stored; a receipt may make up for it", "message", r.MessageID, "error", err)
				}
			})
		case p := <-s.inbound:
			give(func(ctx context.Context) { s.answer(p, s.t.arrived(ctx, p, in)) })
		}
	}
}
