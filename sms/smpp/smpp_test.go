package smpp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
	"textback/sms/smpp/smsc"
	"textback/sms/smstest"
)

const (
	testFrom = "+12125550100"
	testTo   = "+12025550143"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// listen starts an SMSC that ends with t.
func listen(t testing.TB) *smsc.SMSC {
	t.Helper()
	s, err := smsc.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.SystemID, s.Password = "textback", "hush-pwd"
	t.Cleanup(s.Close)
	return s
}

func options(t testing.TB, addr string) Options {
	return Options{Address: addr, SystemID: "textback", Password: "hush-pwd", Region: "US", Dir: t.TempDir(), Log: quiet,
		ConnectTimeout: 30 * time.Second, AnswerTimeout: smstest.Patience(t), MinPause: 10 * time.Millisecond, MaxPause: 100 * time.Millisecond}
}

func transport(t testing.TB, opt Options) *Transport {
	t.Helper()
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// inbox collects what arrives; fail, if set, is asked first.
type inbox struct {
	mu       sync.Mutex
	fail     func() error
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (b *inbox) take(f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(); err != nil {
			return err
		}
	}
	f()
	return nil
}

func (b *inbox) Received(_ context.Context, m sms.Inbound) error {
	return b.take(func() { b.inbound = append(b.inbound, m) })
}

func (b *inbox) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	return b.take(func() { b.receipts = append(b.receipts, r) })
}

func (b *inbox) texts() []sms.Inbound {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sms.Inbound(nil), b.inbound...)
}

func (b *inbox) fates() []sms.DeliveryReceipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sms.DeliveryReceipt(nil), b.receipts...)
}

// keep runs tr until stop is called, at the latest until t ends, and waits until it is bound.
func keep(t testing.TB, tr *Transport, in sms.Inbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := tr.Run(ctx, in); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	until(t, "bound", func() bool { return tr.bound() })
	return stop
}

func (t *Transport) bound() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session != nil
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func message(body string) sms.Message {
	return sms.Message{ID: "job-1", From: testFrom, To: testTo, Body: body}
}

// vendor are statuses that a provider of our tests has of its own.
var vendor = map[pdu.Status]sms.Class{0x400: sms.OptedOut, 0x401: sms.NotMobile, 0x402: sms.Blocked, 0x403: sms.RegionDenied, 0x404: sms.NoCredit}

// peer is an smsc.SMSC as the suite wants it.
type peer struct {
	*smsc.SMSC
	t       *testing.T
	order   atomic.Pointer[smstest.Order]
	replies atomic.Uint32
}

func newPeer(t *testing.T) *peer {
	p := &peer{SMSC: listen(t), t: t}
	p.order.Store(&smstest.Order{Fate: smstest.Take})
	p.Behave = func(pdu.Message, int) smsc.Behaviour {
		switch o := p.order.Load(); o.Fate {
		case smstest.TakeAndHang:
			return smsc.TakeAndHang
		case smstest.TakeAndCut:
			return smsc.TakeAndCut
		case smstest.Cut:
			return smsc.CutOff
		case smstest.Refuse:
			return smsc.Refuse(statusOf(o.Class))
		}
		return smsc.Accept
	}
	p.BindStatus = func() pdu.Status {
		if o := p.order.Load(); o.Fate == smstest.Refuse && o.Class == sms.Unauthorized {
			return pdu.InvalidPassword
		}
		return pdu.OK
	}
	return p
}

func statusOf(c sms.Class) pdu.Status {
	for s, class := range vendor {
		if class == c {
			return s
		}
	}
	return map[sms.Class]pdu.Status{sms.Throttled: 0x58, sms.Transient: 0x08, sms.Invalid: 0x0b, sms.Misconfigured: 0x0a, sms.Rejected: 0x45}[c]
}

func (p *peer) Do(o smstest.Order) {
	p.order.Store(&o)
	switch {
	case o.Fate == smstest.Down:
		p.Stop(p.t.Context())
	case o.Fate == smstest.Refuse && o.Class == sms.Unauthorized: // credentials are asked for at the next bind
		p.Drop()
	default:
		if err := p.Start(); err != nil {
			p.t.Error(err)
		}
	}
}

func (p *peer) Taken() (out []sms.Message) {
	for _, x := range p.Texts() {
		out = append(out, sms.Message{From: x.From.Digits, To: x.To.Digits, Body: x.Body})
	}
	return out
}

func (p *peer) Reply(ctx context.Context, m sms.Inbound) error {
	from, _ := outgoing(m.From, nil)
	to, _ := outgoing(m.To, nil)
	return p.SMSC.Reply(ctx, from, to, m.Body, byte(p.replies.Add(1)))
}

func (p *peer) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	x := p.Submits()[n]
	switch d {
	case sms.Delivered:
		return p.SMSC.Report(ctx, x, x.ID, 2, "DELIVRD")
	case sms.Undelivered:
		return p.SMSC.Report(ctx, x, x.ID, 5, "UNDELIV")
	}
	return p.SMSC.Report(ctx, x, x.ID, 1, "ENROUTE")
}

// The suite, once for each way to submit long texts.
func TestSuite(t *testing.T) {
	for _, long := range []LongWay{ByUDH, BySAR, ByPayload} {
		t.Run(string(long), func(t *testing.T) {
			smstest.Run(t, smstest.Harness{
				New: func(t *testing.T) (sms.Transport, smstest.Peer) {
					p := newPeer(t)
					opt := options(t, p.Addr())
					opt.Codes, opt.Long, opt.Reference, opt.MaxSegments = vendor, long, long == BySAR, 3
					return transport(t, opt), p
				},
				Refusals: []sms.Class{sms.Throttled, sms.Transient, sms.Invalid, sms.Misconfigured, sms.Rejected, sms.Unauthorized,
					sms.OptedOut, sms.NotMobile, sms.Blocked, sms.RegionDenied, sms.NoCredit},
				Fates: []smstest.Fate{smstest.Down, smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut},
			})
		})
	}
}

// What has more segments than the account allows is refused before the session is
// asked for, counted as it would be written.
func TestMaxSegments(t *testing.T) {
	s := listen(t)
	for _, long := range []LongWay{ByUDH, BySAR, ByPayload} {
		for _, latin1 := range []bool{false, true} {
			opt := options(t, s.Addr())
			opt.Long, opt.Latin1, opt.MaxSegments = long, latin1, 2
			tr := transport(t, opt)
			for body, class := range map[string]sms.Class{
				strings.Repeat("x", 2*153):                  sms.Transient, // there is no session yet
				strings.Repeat("x", 2*153+1):                sms.Rejected,
				strings.Repeat("я", 2*67+1):                 sms.Rejected,
				"€" + strings.Repeat("x", 2*153-2):          map[bool]sms.Class{false: sms.Transient, true: sms.Rejected}[latin1], // UCS-2 where the alphabet has none
				strings.Repeat("0123456789", 255*153/10+16): sms.Rejected,
			} {
				if _, err := tr.Submit(t.Context(), message(body)); sms.ClassOf(err) != class {
					t.Errorf("%s, Latin-1 %v, %d bytes: %v, want %s", long, latin1, len(body), err, class)
				}
			}
			keep(t, tr, &inbox{})
			if _, err := tr.Submit(t.Context(), message(strings.Repeat("y", 2*153+1))); sms.ClassOf(err) != sms.Rejected {
				t.Errorf("%s with a session: %v", long, err)
			}
		}
	}
	if n := s.Seen(); n != 0 {
		t.Errorf("%d submits", n)
	}
}

// A text of several parts is never half refused: once a part is taken it is
// finished, or nobody knows.
func TestLongTextIsOneText(t *testing.T) {
	body := strings.Repeat("0123456789", 40) // three parts
	second := func(m pdu.Message) bool {
		part, _, err := gsm7.ParseHeader(m.Short)
		return err == nil && part != nil && part.Seq == 2
	}
	for name, c := range map[string]struct {
		behave func(tries int) smsc.Behaviour // of part two
		class  sms.Class
		code   string
		tries  int // of part two
	}{
		"throttled, then taken": {func(n int) smsc.Behaviour {
			if n < 3 {
				return smsc.Refuse(pdu.Throttled)
			}
			return smsc.Accept
		}, "", "", 3},
		"queue full, then taken": {func(n int) smsc.Behaviour {
			if n < 2 {
				return smsc.Refuse(pdu.QueueFull)
			}
			return smsc.Accept
		}, "", "", 2},
		"refused":            {func(int) smsc.Behaviour { return smsc.Refuse(pdu.BadDestination) }, sms.Ambiguous, "0x0000000B", 1},
		"no answer":          {func(int) smsc.Behaviour { return smsc.TakeAndHang }, sms.Ambiguous, "", 1},
		"cut":                {func(int) smsc.Behaviour { return smsc.CutOff }, sms.Ambiguous, "", 1},
		"throttled for good": {func(int) smsc.Behaviour { return smsc.Refuse(pdu.Throttled) }, sms.Ambiguous, "0x00000058", -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t)
			var tries atomic.Int32
			s.Behave = func(m pdu.Message, _ int) smsc.Behaviour {
				if second(m) {
					return c.behave(int(tries.Add(1)))
				}
				return smsc.Accept
			}
			opt := options(t, s.Addr())
			if c.tries < 0 || name == "no answer" { // it is waited out
				opt.AnswerTimeout = 2 * time.Second
			}
			tr := transport(t, opt)
			keep(t, tr, &inbox{})
			r, err := tr.Submit(t.Context(), message(body))
			if c.class == "" {
				if err != nil || r.Segments != 3 || r.ProviderID != s.Submits()[0].ID {
					t.Errorf("%+v %v", r, err)
				}
				if texts := s.Texts(); len(texts) != 1 || texts[0].Body != body {
					t.Errorf("the phone shows %v", texts)
				}
			} else {
				var e *sms.Error
				if !errors.As(err, &e) || sms.ClassOf(err) != c.class || e.Code != c.code {
					t.Errorf("%v, want %s %s", err, c.class, c.code)
				}
				if len(s.Texts()) != 0 && name != "no answer" {
					t.Errorf("the phone shows %v", s.Texts())
				}
			}
			if n := int(tries.Load()); c.tries > 0 && n != c.tries || c.tries < 0 && n < 2 {
				t.Errorf("part two came %d times", n)
			}
		})
	}
	// The first part refused: nothing was taken, and that is what is said.
	s := listen(t)
	s.Behave = func(pdu.Message, int) smsc.Behaviour { return smsc.Refuse(pdu.Throttled) }
	tr := transport(t, options(t, s.Addr()))
	keep(t, tr, &inbox{})
	if _, err := tr.Submit(t.Context(), message(body)); sms.ClassOf(err) != sms.Throttled || s.Seen() != 1 {
		t.Errorf("%v after %d submits", err, s.Seen())
	}
}

// What a status means, with a body and without, and by generic_nack.
func TestStatuses(t *testing.T) {
	s := listen(t)
	var status atomic.Uint32
	s.Behave = func(_ pdu.Message, n int) smsc.Behaviour {
		return smsc.Behaviour{Answer: true, Status: pdu.Status(status.Load()), Bare: n%2 == 0, Nack: n%3 == 0}
	}
	opt := options(t, s.Addr())
	opt.Codes = map[pdu.Status]sms.Class{0x0444: sms.OptedOut, 0x45: sms.Blocked}
	tr := transport(t, opt)
	keep(t, tr, &inbox{})
	for st, class := range map[pdu.Status]sms.Class{
		0x58: sms.Throttled, 0x14: sms.Throttled, 0x08: sms.Transient, 0x0b: sms.Invalid, 0x0a: sms.Misconfigured, 0x01: sms.Rejected,
		0x0d: sms.Unauthorized, 0x45: sms.Blocked, 0x0444: sms.OptedOut, 0x0445: sms.Rejected, 0xff: sms.Rejected, 0x62: sms.Misconfigured, 0xffffffff: sms.Rejected,
	} {
		for range 6 {
			status.Store(uint32(st))
			_, err := tr.Submit(t.Context(), message("hi"))
			var e *sms.Error
			if !errors.As(err, &e) || e.Class != class || e.Code != fmt.Sprintf("0x%08X", uint32(st)) {
				t.Errorf("%s: %v, want %s", st, err, class)
			}
		}
	}
	status.Store(0) // a generic_nack without an error
	for range 6 {
		_, err := tr.Submit(t.Context(), message("hi"))
		if err != nil && sms.ClassOf(err) != sms.Ambiguous {
			t.Error(err)
		}
	}
}
