package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smpp/pdu"
	"textback/sms/smpp/smsc"
)

func TestNew(t *testing.T) {
	good := options(t, "smsc.example:2775")
	if tr := transport(t, good); tr.Traits() != (sms.Traits{Name: "smpp", Replies: sms.BySession, Receipts: true}) {
		t.Errorf("%+v", tr.Traits())
	}
	opt := good
	opt.Rate, opt.MaxSegments = 7, 3
	if tt := transport(t, opt).Traits(); tt.RatePerSecond != 7 || tt.MaxSegments != 3 {
		t.Errorf("%+v", tt)
	}
	for name, change := range map[string]func(*Options){
		"no port":        func(o *Options) { o.Address = "smsc.example" },
		"no system id":   func(o *Options) { o.SystemID = "" },
		"long system id": func(o *Options) { o.SystemID = strings.Repeat("x", 16) },
		"long password":  func(o *Options) { o.Password = strings.Repeat("hush", 20) },
		"long type":      func(o *Options) { o.SystemType = strings.Repeat("x", 13) },
		"long validity":  func(o *Options) { o.Validity = 100 * 24 * time.Hour },
		"no directory":   func(o *Options) { o.Dir = "" },
		"no such way":    func(o *Options) { o.Long = "UDH" },
		"no such form":   func(o *Options) { o.ReceiptIDs = "octal" },
		"a file":         func(o *Options) { o.Dir = "/dev/null" },
	} {
		opt := good
		change(&opt)
		if _, err := New(opt); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for d, want := range map[time.Duration]string{0: "", 15 * time.Minute: "000000001500000R", 26*time.Hour + 3*time.Minute + 4*time.Second: "000001020304000R", MaxValidity: "000099000000000R"} {
		if got := relative(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// What cannot be sent is said before anything is.
func TestUnsendable(t *testing.T) {
	s := listen(t)
	tr := transport(t, options(t, s.Addr()))
	if _, err := tr.Submit(t.Context(), message("hi")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("before Run: %v", err)
	}
	stop := keep(t, tr, &inbox{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for what, c := range map[string]struct {
		ctx    context.Context
		change func(*sms.Message)
		class  sms.Class
	}{
		"no recipient":  {t.Context(), func(m *sms.Message) { m.To = "" }, sms.Invalid},
		"no sender":     {t.Context(), func(m *sms.Message) { m.From = "" }, sms.Misconfigured},
		"a long name":   {t.Context(), func(m *sms.Message) { m.From = "Miller and Sons" }, sms.Misconfigured},
		"no words":      {t.Context(), func(m *sms.Message) { m.Body = "" }, sms.Rejected},
		"a whole novel": {t.Context(), func(m *sms.Message) { m.Body = strings.Repeat("a", 255*153+1) }, sms.Rejected},
		"no time left":  {ended, func(*sms.Message) {}, sms.Transient},
	} {
		m := message("hi")
		c.change(&m)
		if _, err := tr.Submit(c.ctx, m); sms.ClassOf(err) != c.class || err == nil || strings.Contains(err.Error(), "2025550143") {
			t.Errorf("%s: %v, want %s", what, err, c.class)
		}
	}
	stop()
	if _, err := tr.Submit(t.Context(), message("hi")); sms.ClassOf(err) != sms.Transient || s.Seen() != 0 {
		t.Errorf("after Run: %v, %d submits", err, s.Seen())
	}
}

// A text of 255 parts is one text.
func TestLongest(t *testing.T) {
	s := listen(t)
	opt := options(t, s.Addr())
	opt.Latin1 = true
	tr := transport(t, opt)
	keep(t, tr, &inbox{})
	body := strings.Repeat("a", 255*153)
	if r, err := tr.Submit(t.Context(), message(body)); err != nil || r.Segments != 255 || len(s.Texts()) != 1 || s.Texts()[0].Body != body {
		t.Errorf("%+v %v", r, err)
	}
	// Where the SMSC's alphabet is Latin-1, what that lacks goes in UCS-2, and as many parts as that needs.
	for body, coding := range map[string]byte{"a@b é": 0, "5€": 8, strings.Repeat("Ω", 71): 8} {
		r, err := tr.Submit(t.Context(), message(body))
		all := s.Submits()
		m := all[len(all)-1].Message
		if err != nil || m.Coding != coding || coding == 0 && string(m.Short) != "a@b \xe9" || len(body) > 100 && r.Segments != 2 {
			t.Errorf("%q: %+v %+v %v", body, r, m, err)
		}
	}
}

// Never more submits without an answer than the window has; who waits for a place was
// not sent.
func TestWindow(t *testing.T) {
	s := listen(t)
	open := make(chan struct{})
	s.Behave = func(pdu.Message, int) smsc.Behaviour { <-open; return smsc.Accept }
	opt := options(t, s.Addr())
	opt.Window, opt.AnswerTimeout = 3, 30*time.Second
	tr := transport(t, opt)
	keep(t, tr, &inbox{})
	var wg sync.WaitGroup
	var taken atomic.Int32
	for range 3 {
		wg.Go(func() {
			if _, err := tr.Submit(t.Context(), message("hi")); err != nil {
				t.Error(err)
			} else {
				taken.Add(1)
			}
		})
	}
	tr.mu.Lock()
	x := tr.session
	tr.mu.Unlock()
	until(t, "the window is full", func() bool { return len(x.slots) == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := tr.Submit(ctx, message("no place")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("%v", err)
	}
	close(open)
	wg.Wait()
	if taken.Load() != 3 || s.Seen() != 3 {
		t.Errorf("%d taken of %d", taken.Load(), s.Seen())
	}
	var seqs sync.Map
	for range 50 {
		wg.Go(func() {
			r, err := tr.Submit(t.Context(), message("hi"))
			if _, twice := seqs.LoadOrStore(r.ProviderID, true); err != nil || twice {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	wg.Wait()
}

// A submit whose context ends when it has left is ambiguous; its late answer harms nobody,
// and settles it.
func TestLateAnswer(t *testing.T) {
	s := listen(t)
	open := make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	s.Behave = func(_ pdu.Message, n int) smsc.Behaviour {
		if n == 1 { // it is there, and whoever sent it waits no longer
			cancel(context.DeadlineExceeded)
			<-open
		}
		return smsc.Accept
	}
	opt := options(t, s.Addr())
	opt.AnswerTimeout = 30 * time.Second
	tr := transport(t, opt)
	in := &inbox{}
	keep(t, tr, in)
	if _, err := tr.Submit(ctx, message("late")); sms.ClassOf(err) != sms.Ambiguous || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	close(open)
	next := message("next")
	next.ID = "job-2"
	if r, err := tr.Submit(t.Context(), next); err != nil || r.ProviderID != s.Submits()[1].ID {
		t.Errorf("%+v %v", r, err)
	}
	until(t, "the late answer is told", func() bool { return len(in.fates()) == 1 })
	if r := in.fates()[0]; r != (sms.DeliveryReceipt{MessageID: "job-1", ProviderID: s.Submits()[0].ID, Delivery: sms.EnRoute}) {
		t.Errorf("%+v", r)
	}
	if err := s.Report(t.Context(), s.Submits()[0], s.Submits()[0].ID, 2, "DELIVRD"); err != nil {
		t.Error(err)
	}
	until(t, "its receipt", func() bool { return len(in.fates()) == 2 })
	if r := in.fates()[1]; r.MessageID != "job-1" || r.Delivery != sms.Delivered {
		t.Errorf("%+v", r)
	}
	tr.mu.Lock()
	x := tr.session
	tr.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.waiting) != 0 {
		t.Errorf("%d requests are still waited for", len(x.waiting))
	}
}

// The first of two parts, taken late: the text is not sent.
func TestLateAnswerToAPart(t *testing.T) {
	s := listen(t)
	open := make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	s.Behave = func(_ pdu.Message, n int) smsc.Behaviour {
		if n == 1 { // it is there, and whoever sent it waits no longer
			cancel(context.DeadlineExceeded)
			<-open
		}
		return smsc.Accept
	}
	tr := transport(t, options(t, s.Addr()))
	in := &inbox{}
	keep(t, tr, in)
	if _, err := tr.Submit(ctx, message(strings.Repeat("x", 200))); sms.ClassOf(err) != sms.Ambiguous {
		t.Errorf("%v", err)
	}
	close(open)
	if _, err := tr.Submit(t.Context(), message("next")); err != nil {
		t.Error(err)
	}
	for _, state := range []byte{1, 2} {
		if err := s.Report(t.Context(), s.Submits()[0], s.Submits()[0].ID, state, "x"); err != nil {
			t.Error(err)
		}
	}
	if got := in.fates(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// An SMSC that answers but does not know the session any more is bound to again.
func TestDisowned(t *testing.T) {
	s := listen(t)
	s.Behave = func(_ pdu.Message, n int) smsc.Behaviour {
		if n == 1 {
			return smsc.Refuse(pdu.WrongBindState)
		}
		return smsc.Accept
	}
	tr := transport(t, options(t, s.Addr()))
	keep(t, tr, &inbox{})
	if _, err := tr.Submit(t.Context(), message("hi")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("%v", err)
	}
	until(t, "it binds again", func() bool { return len(s.Binds()) == 2 && tr.bound() })
	if _, err := tr.Submit(t.Context(), message("hi")); err != nil {
		t.Error(err)
	}
	for name, answer := range map[string]func(pdu.PDU) pdu.PDU{
		"not bound":    func(p pdu.PDU) pdu.PDU { return p.Answer(pdu.WrongBindState, nil) },
		"system error": func(p pdu.PDU) pdu.PDU { return p.Answer(pdu.SystemError, nil) },
		"nack": func(p pdu.PDU) pdu.PDU {
			return pdu.PDU{Command: pdu.GenericNack, Status: pdu.WrongBindState, Seq: p.Seq}
		},
	} {
		s := enquired(t, answer)
		until(t, name+": it binds again", func() bool { return len(s.Binds()) > 1 })
	}
}

// enquired is an SMSC that is asked again and again whether it is there, and answers so.
func enquired(t *testing.T, answer func(pdu.PDU) pdu.PDU) *smsc.SMSC {
	t.Helper()
	s := listen(t)
	s.Enquiry = answer
	opt := options(t, s.Addr())
	opt.EnquireEvery, opt.EnquireTimeout = 20*time.Millisecond, 20*time.Second
	keep(t, transport(t, opt), &inbox{})
	return s
}

// What is under way when the SMSC disowns the session has its answers first: they are
// refusals, and nothing is left unknown.
func TestDisownedWithOthersUnderWay(t *testing.T) {
	s := listen(t)
	both, first := make(chan struct{}), make(chan struct{})
	s.Behave = func(_ pdu.Message, n int) smsc.Behaviour {
		switch n {
		case 1:
			<-both
		case 2:
			<-first
		default:
			return smsc.Accept
		}
		return smsc.Refuse(pdu.WrongBindState)
	}
	tr := transport(t, options(t, s.Addr()))
	keep(t, tr, &inbox{})
	tr.mu.Lock()
	x := tr.session
	tr.mu.Unlock()
	done := make(chan error, 2)
	for range 2 {
		go func() { _, err := tr.Submit(t.Context(), message("hi")); done <- err }()
	}
	until(t, "both are under way", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(x.waiting) == 2 })
	close(both)
	for i := range 2 {
		if err := <-done; sms.ClassOf(err) != sms.Transient {
			t.Error(err)
		}
		if i == 0 {
			close(first)
		}
	}
	until(t, "it binds again", func() bool { return len(s.Binds()) == 2 && tr.bound() })
	if _, err := tr.Submit(t.Context(), message("hi")); err != nil {
		t.Error(err)
	}
}

// An SMSC that is busy, or does not know the question, is there all the same.
func TestEnquiryRefused(t *testing.T) {
	for name, answer := range map[string]func(pdu.PDU) pdu.PDU{
		"throttled": func(p pdu.PDU) pdu.PDU { return p.Answer(pdu.Throttled, nil) },
		"unknown": func(p pdu.PDU) pdu.PDU {
			return pdu.PDU{Command: pdu.GenericNack, Status: pdu.InvalidCommand, Seq: p.Seq}
		},
	} {
		s := enquired(t, answer)
		until(t, name+": it asks again", func() bool { return s.Enquired() > 3 })
		if n := len(s.Binds()); n != 1 {
			t.Errorf("%s: bound %d times", name, n)
		}
	}
}

// Run ends with its context: what is under way is finished, all parts of it, nothing new is
// begun, and the session is unbound.
func TestStop(t *testing.T) {
	s := listen(t)
	open := make(chan struct{})
	s.Behave = func(pdu.Message, int) smsc.Behaviour { <-open; return smsc.Accept }
	opt := options(t, s.Addr())
	opt.AnswerTimeout = 30 * time.Second
	tr := transport(t, opt)
	stop := keep(t, tr, &inbox{})
	body := strings.Repeat("x", 400)
	done := make(chan error, 1)
	go func() { _, err := tr.Submit(t.Context(), message(body)); done <- err }()
	until(t, "the first part is there", func() bool { return s.Seen() == 1 })
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	until(t, "it stops", func() bool { tr.mu.Lock(); defer tr.mu.Unlock(); return tr.why != nil })
	if _, err := tr.Submit(t.Context(), message("new")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("a new text: %v", err)
	}
	select {
	case <-stopped:
		t.Error("it stopped in the middle of a text")
	default:
	}
	close(open)
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-stopped
	if texts := s.Texts(); len(texts) != 1 || texts[0].Body != body {
		t.Errorf("%d texts", len(texts))
	}
	until(t, "the session is unbound", func() bool { return s.Unbound() == 1 })
}

// An SMSC that says nothing more is asked, and left if it does not answer; its
// own questions are answered.
func TestEnquire(t *testing.T) {
	s := listen(t)
	var mute atomic.Bool
	s.Mute = mute.Load
	opt := options(t, s.Addr())
	opt.EnquireEvery, opt.EnquireTimeout = 20*time.Millisecond, 20*time.Second
	tr := transport(t, opt)
	keep(t, tr, &inbox{})
	until(t, "it asks", func() bool { return s.Enquired() > 3 })
	if a, err := s.Request(t.Context(), pdu.EnquireLink, nil); err != nil || a.Status != pdu.OK || a.Command != pdu.EnquireLink|pdu.Response {
		t.Errorf("%+v %v", a, err)
	}
	if n := len(s.Binds()); n != 1 {
		t.Errorf("%d sessions though all was answered", n)
	}

	s2 := listen(t)
	s2.Mute = func() bool { return true }
	opt = options(t, s2.Addr())
	opt.EnquireEvery, opt.EnquireTimeout = 20*time.Millisecond, 50*time.Millisecond
	keep(t, transport(t, opt), &inbox{})
	until(t, "it leaves and comes again", func() bool { return len(s2.Binds()) > 1 })
}

// What else an SMSC may say.
func TestOddPDUs(t *testing.T) {
	s := listen(t)
	tr := transport(t, options(t, s.Addr()))
	keep(t, tr, &inbox{})
	if a, err := s.Request(t.Context(), 0x7777, nil); err != nil || a.Command != pdu.GenericNack || a.Status != pdu.InvalidCommand {
		t.Errorf("an unknown command: %+v %v", a, err)
	}
	if a, err := s.Request(t.Context(), pdu.DeliverSM, []byte("?")); err != nil || a.Command != pdu.DeliverSM|pdu.Response || a.Status != pdu.PermanentError {
		t.Errorf("a broken deliver_sm: %+v %v", a, err)
	}
	m := pdu.Message{Source: phone, Destination: office, TLVs: pdu.TLVs{{Tag: pdu.MessagePayload, Value: []byte("hi")}}}
	if a, err := s.Request(t.Context(), pdu.DataSM, m.AppendData(nil)); err != nil || a.Command != pdu.DataSM|pdu.Response || a.Status != pdu.OK {
		t.Errorf("a data_sm: %+v %v", a, err)
	}
	s.Say(pdu.PDU{Command: pdu.AlertNotify, Seq: 1})
	s.Say(pdu.PDU{Command: pdu.SubmitSM | pdu.Response, Seq: 999}) // an answer to nothing
	s.Say(pdu.PDU{Command: pdu.GenericNack, Status: pdu.InvalidLength})
	if _, err := tr.Submit(t.Context(), message("hi")); err != nil {
		t.Error(err)
	}
	if n := len(s.Binds()); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if a, err := s.Request(t.Context(), pdu.Unbind, nil); err != nil || a.Status != pdu.OK {
		t.Errorf("%+v %v", a, err)
	}
	until(t, "it comes again", func() bool { return len(s.Binds()) == 2 })
}

// A busy Inbox does not hold up answers to submits; what waits too long in line is
// offered again.
func TestBusyInbox(t *testing.T) {
	s := listen(t)
	tr := transport(t, options(t, s.Addr()))
	open := make(chan struct{})
	in := &inbox{fail: func() error { <-open; return nil }}
	keep(t, tr, in)
	var taken, again atomic.Int32
	var wg sync.WaitGroup
	const n = inboundQueue + 20
	for i := range n {
		wg.Go(func() {
			err := s.Deliver(t.Context(), pdu.Message{Source: phone, Destination: office, Short: []byte(fmt.Sprint(i))})
			switch {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, smsc.ErrRefused) && strings.Contains(err.Error(), pdu.TemporaryError.String()):
				again.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	until(t, "the line is full", func() bool { return again.Load() > 0 })
	if _, err := tr.Submit(t.Context(), message("hi")); err != nil {
		t.Errorf("while the inbox is busy: %v", err)
	}
	close(open)
	wg.Wait()
	if int(taken.Load()) != len(in.texts()) || taken.Load()+again.Load() != n || taken.Load() < inboundQueue {
		t.Errorf("%d taken, %d to come again, %d in the inbox", taken.Load(), again.Load(), len(in.texts()))
	}
}

// A session that lasted starts the pauses anew: after fifteen doublings they would take minutes.
func TestPausesBeginAnew(t *testing.T) {
	s := listen(t)
	opt := options(t, s.Addr())
	opt.MaxPause, opt.Settled = time.Hour, time.Nanosecond
	tr := transport(t, opt)
	keep(t, tr, &inbox{})
	for i := range 15 {
		until(t, "bound again", func() bool { return len(s.Binds()) == i+1 && s.Bound() })
		s.Drop()
	}
}

// The pauses between attempts grow.
func TestPauses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var at []time.Time
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			c.Close()
		}
	}()
	defer l.Close()
	opt := options(t, l.Addr().String())
	opt.MinPause, opt.MaxPause = 20*time.Millisecond, 320*time.Millisecond
	tr := transport(t, opt)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, &inbox{}) }()
	until(t, "eight attempts", func() bool { mu.Lock(); defer mu.Unlock(); return len(at) >= 8 })
	if _, err := tr.Submit(ctx, message("hi")); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "without an answer") {
		t.Errorf("%v", err)
	}
	cancel()
	<-done
	// At least half of each pause: 10, 20, 40, 80, 160, 160 ms. A slow machine only makes them longer.
	mu.Lock()
	defer mu.Unlock()
	least := 10 * time.Millisecond
	for i := 1; i < 8; i++ {
		if d := at[i].Sub(at[i-1]); d < least-time.Millisecond {
			t.Errorf("pause %d is %s, want at least %s", i, d, least)
		}
		least = min(2*least, 160*time.Millisecond)
	}
}

// Garbage in place of a frame ends the session, and nothing else.
func TestGarbage(t *testing.T) {
	s := listen(t)
	s.Behave = func(_ pdu.Message, n int) smsc.Behaviour {
		if n == 1 {
			s.Raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			return smsc.Hang
		}
		return smsc.Accept
	}
	tr := transport(t, options(t, s.Addr()))
	keep(t, tr, &inbox{})
	if _, err := tr.Submit(t.Context(), message("hi")); sms.ClassOf(err) != sms.Ambiguous || !errors.Is(err, pdu.ErrFrame) {
		t.Errorf("%v", err)
	}
	until(t, "it comes again", func() bool { _, err := tr.Submit(t.Context(), message("hi")); return err == nil })
}

func TestTLS(t *testing.T) {
	key, cert, pool := certificate(t)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s, err := smsc.Listen(&tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	opt := options(t, s.Addr())
	opt.TLS = &tls.Config{RootCAs: pool}
	tr := transport(t, opt)
	keep(t, tr, &inbox{})
	for i := range 3 {
		until(t, "taken", func() bool {
			_, err := tr.Submit(t.Context(), message("hi"))
			if err != nil && sms.ClassOf(err) != sms.Transient {
				t.Fatal(err)
			}
			return err == nil
		})
		if n := len(s.Texts()); n != i+1 {
			t.Errorf("%d texts", n)
		}
		s.Drop()
	}
	// Nobody whom this host does not trust is given the password.
	opt = options(t, s.Addr())
	opt.TLS = &tls.Config{}
	binds := len(s.Binds())
	if err := Reach(t.Context(), opt); err == nil || len(s.Binds()) > binds+1 {
		t.Errorf("%v", err)
	}
	opt.Address = "127.0.0.1:1"
	if err := Reach(t.Context(), opt); sms.ClassOf(err) != sms.Transient {
		t.Errorf("%v", err)
	}
}

// Cut at every octet of a submit_sm: a text is Transient while the SMSC cannot have it and Ambiguous
// from then on, and in neither case is it sent again.
func TestCutAtEveryOctet(t *testing.T) {
	size := len(pdu.PDU{Body: mustCompose(t)}.Append(nil))
	for cut := 0; cut <= size; cut += 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		submits := make(chan int, 10)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				p, err := pdu.Read(c)
				if err == nil && p.Command == pdu.BindTransceiver {
					_, _ = c.Write(p.Answer(pdu.OK, pdu.AppendID(nil, "x", nil)).Append(nil))
					n, _ := c.Read(make([]byte, cut)) // what is behind it is never read
					submits <- n
				}
				c.Close()
			}
		}()
		tr := transport(t, options(t, l.Addr().String()))
		stop := keep(t, tr, &inbox{})
		_, err = tr.Submit(t.Context(), message("cut"))
		if class := sms.ClassOf(err); err == nil || class != sms.Ambiguous && class != sms.Transient || cut > 0 && class != sms.Ambiguous {
			t.Errorf("%d of %d octets: %v", cut, size, err)
		}
		stop()
		l.Close()
	}
}

func mustCompose(t *testing.T) []byte {
	bodies, _, err := transport(t, options(t, "127.0.0.1:1")).compose(message("cut"))
	if err != nil {
		t.Fatal(err)
	}
	return bodies[0]
}
