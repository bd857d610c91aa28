package sipmessage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"textback/pbx/testkit"
	"textback/sms"
	"textback/sms/smstest"
)

// box is an inbox that can refuse.
type box struct {
	mu       sync.Mutex
	err      error
	first    bool // the first is refused, and no other
	asked    int
	texts    []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (b *box) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.first && b.asked == 1 {
		return errors.New("the disk is full")
	}
	if b.err == nil {
		b.texts = append(b.texts, m)
	}
	return b.err
}

func (b *box) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.receipts = append(b.receipts, r)
	}
	return b.err
}

func (b *box) got() []sms.Inbound {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sms.Inbound(nil), b.texts...)
}

func (b *box) refuse(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = nil
	if yes {
		b.err = errors.New("the disk is full")
	}
}

// running is a transport that runs until the test ends; in may be nil.
func running(t *testing.T, opt Options, in *box) *Transport {
	t.Helper()
	if in == nil {
		in = &box{}
	}
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, in) }()
	t.Cleanup(func() { stop(); <-done })
	until(t, "the socket is open", func() bool {
		s := tr.enter()
		if s != nil {
			tr.inflight.Done()
		}
		return s != nil
	})
	return tr
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// listening is where tr listens, once it knows its server.
func listening(t *testing.T, tr *Transport) string {
	t.Helper()
	s := tr.enter()
	tr.inflight.Done()
	until(t, "the server's address is known", func() bool { return tr.allowed(s.local.Addr()) })
	return s.local.String()
}

var text = sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "sorry, we missed you"}

func TestOptions(t *testing.T) {
	good := Options{Server: "sip.example.com", User: "office", Register: true}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"server":    func(o *Options) { o.Server = "" },
		"server:":   func(o *Options) { o.Server = "sip.example.com:0" },
		"server: ":  func(o *Options) { o.Server = "sip:sip.example.com" },
		"network":   func(o *Options) { o.Network = "sctp" },
		"user":      func(o *Options) { o.User = "office@example.com" },
		"needs":     func(o *Options) { o.User = "" },
		"domain":    func(o *Options) { o.Domain = "a b" },
		"size":      func(o *Options) { o.MaxSize = 2000 },
		"listen":    func(o *Options) { o.Listen = "5060" },
		"TLS":       func(o *Options) { o.Listen, o.Network = "127.0.0.1:0", TLS },
		"advertise": func(o *Options) { o.Advertise = "198.51.100.7" },
	} {
		opt := good
		change(&opt)
		if _, err := New(opt); err == nil || !strings.Contains(err.Error(), strings.Trim(name, ": ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for in, want := range map[string]string{"sip.example.com": "sip.example.com 0", "192.0.2.1:5070": "192.0.2.1 5070", "::1": "::1 0", "[::1]": "::1 0", "[::1]:5070": "::1 5070"} {
		host, port, err := SplitServer(in)
		if got := fmt.Sprint(host, " ", port); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

// What goes out, header by header.
func TestRequest(t *testing.T) {
	p := newPeer(t, UDP)
	now := time.Date(2026, 11, 23, 11, 17, 40, 0, time.FixedZone("", 3600))
	for name, c := range map[string]struct {
		change func(*Options)
		from   string
		want   []string
		not    []string
	}{
		"plain": {func(*Options) {}, "+12125550100", []string{
			"MESSAGE sip:+12025550143@127.0.0.1 SIP/2.0", "From: <sip:+12125550100@127.0.0.1>;tag=", "To: <sip:+12025550143@127.0.0.1>",
			"Call-ID: job-1@textback", "Content-Type: text/plain;charset=UTF-8", "Max-Forwards: 70"}, []string{"P-Asserted-Identity", "Expires", "Contact:"}},
		"digits": {func(o *Options) { o.Digits, o.AssertedIdentity, o.Domain = true, true, "office.example" }, "+12125550100", []string{
			"MESSAGE sip:12025550143@office.example SIP/2.0", "From: <sip:12125550100@office.example>", "P-Asserted-Identity: <sip:12125550100@office.example>"}, nil},
		"account": {func(o *Options) { o.FromUser = true }, "+12125550100", []string{"From: <sip:office@127.0.0.1>", "P-Asserted-Identity: <sip:+12125550100@127.0.0.1>"}, nil},
		"name":    {func(*Options) {}, "My Office", []string{"From: <sip:My%20Office@127.0.0.1>"}, nil},
		"validity": {func(o *Options) { o.Validity, o.Now = 15*time.Minute, func() time.Time { return now } }, "+12125550100",
			[]string{"Date: Mon, 23 Nov 2026 10:17:40 GMT", "Expires: 900"}, nil},
		"receipts": {func(o *Options) { o.Notifications = true }, "+12125550100",
			[]string{"Content-Type: message/cpim", "imdn.Message-ID: job-1\r\n", "imdn.Disposition-Notification: positive-delivery, negative-delivery"}, nil},
	} {
		opt := p.options()
		opt.Register = false
		c.change(&opt)
		m := text
		m.From = c.from
		before := len(p.seen())
		if _, err := running(t, opt, nil).Submit(t.Context(), m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		seen := p.seen()[before:]
		if len(seen) != 2 { // without and with the answer to the challenge
			t.Fatalf("%s: %d requests", name, len(seen))
		}
		raw := seen[1].String()
		for _, want := range c.want {
			if !strings.Contains(raw, want) {
				t.Errorf("%s: no %q in\n%s", name, want, raw)
			}
		}
		for _, not := range c.not {
			if strings.Contains(raw, not) {
				t.Errorf("%s: %q in\n%s", name, not, raw)
			}
		}
		if a, b := seen[0].CSeq().SeqNo, seen[1].CSeq().SeqNo; b != a+1 || seen[0].CallID().Value() != seen[1].CallID().Value() {
			t.Errorf("%s: the answer to a challenge is %d after %d", name, b, a)
		}
	}
}

// Every final answer, and one that nobody has heard of.
func TestCodes(t *testing.T) {
	tr, err := New(Options{Server: "192.0.2.1", User: "office"})
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]sms.Class{
		300: sms.Misconfigured, 302: sms.Misconfigured, 400: sms.Rejected, 401: sms.Unauthorized, 402: sms.NoCredit, 403: sms.Rejected, 404: sms.Rejected,
		405: sms.Misconfigured, 407: sms.Unauthorized, 408: sms.Ambiguous, 410: sms.Invalid, 413: sms.Rejected, 415: sms.Misconfigured, 429: sms.Throttled,
		480: sms.Transient, 484: sms.Invalid, 486: sms.Transient, 488: sms.Misconfigured, 499: sms.Rejected, 500: sms.Ambiguous, 502: sms.Ambiguous,
		503: sms.Transient, 504: sms.Ambiguous, 513: sms.Rejected, 599: sms.Ambiguous, 603: sms.Rejected, 604: sms.Invalid, 607: sms.Blocked, 608: sms.Blocked,
		699: sms.Rejected, 700: sms.Ambiguous,
	} {
		err := tr.verdict(sip.NewResponse(code, "to +12025550143"), true)
		var e *sms.Error
		if !errors.As(err, &e) || e.Class != want || e.Code != fmt.Sprint(code) || strings.Contains(err.Error(), "555") {
			t.Errorf("%d: %v, want %s", code, err, want)
		}
	}
	now := time.Now()
	tr.opt.Now = func() time.Time { return now }
	for value, want := range map[string]time.Duration{"": 0, "120": 2 * time.Minute, "18000;duration=3600": maxRetryAfter, "60 (in a meeting)": time.Minute, "soon": 0, "-1": 0} {
		tr.away = time.Time{}
		res := sip.NewResponse(503, "x")
		res.AppendHeader(sip.NewHeader("Retry-After", value))
		class := sms.ClassOf(tr.verdict(res, true))
		if got := max(0, tr.stayAway()); got != want || (class == sms.Throttled) != (want > 0) {
			t.Errorf("Retry-After %q: %s for %s", value, class, got)
		}
	}
}

// Ways in which servers ask who we are.
func TestChallenges(t *testing.T) {
	for name, c := range map[string]struct {
		chal  digest.Challenge
		proxy bool
		stale bool // the first nonce is refused as too old
		want  sms.Class
	}{
		"MD5 auth":    {digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "MD5", QOP: []string{"auth"}}, false, false, ""},
		"no qop":      {digest.Challenge{Realm: "r", Nonce: "n"}, false, false, ""},
		"lower case":  {digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "md5", QOP: []string{"auth"}}, false, false, ""},
		"SHA-256":     {digest.Challenge{Realm: "r", Nonce: "n", Opaque: "o", Algorithm: "SHA-256", QOP: []string{"auth"}}, false, false, ""},
		"a proxy":     {digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "MD5", QOP: []string{"auth"}}, true, false, ""},
		"stale nonce": {digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "MD5", QOP: []string{"auth"}}, false, true, ""},
		"unknown":     {digest.Challenge{Realm: "r", Nonce: "n", Algorithm: "ROT13"}, false, false, sms.Unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, UDP)
			p.challengeWith(noChallenge)
			var attempts atomic.Int64
			p.set(func(p *peer) {
				p.answer = func(req *sip.Request) *sip.Response {
					answers := attempts.Add(1)
					chal, ask, code, answer := c.chal, "WWW-Authenticate", 401, "Authorization"
					if c.proxy {
						ask, code, answer = "Proxy-Authenticate", 407, "Proxy-Authorization"
					}
					if c.stale && answers > 1 {
						chal.Nonce, chal.Stale = "n2", answers == 2
					}
					if h := req.GetHeader(answer); h != nil {
						got, err := digest.ParseCredentials(h.Value())
						check := chal
						check.Algorithm = strings.ToUpper(check.Algorithm)
						want, err2 := digest.Digest(&check, digest.Options{Method: "MESSAGE", URI: req.Recipient.String(), Username: "office", Password: password, Count: 1, Cnonce: got.Cnonce})
						if err == nil && err2 == nil && got.Response == want.Response && !chal.Stale {
							return nil // taken
						}
					}
					res := sip.NewResponseFromRequest(req, code, "Who?", nil)
					res.AppendHeader(sip.NewHeader(ask, chal.String()))
					return res
				}
			})
			opt := p.options()
			opt.Register = false
			r, err := running(t, opt, nil).Submit(t.Context(), text)
			if c.want == "" && (err != nil || r.Status != "202") || c.want != "" && sms.ClassOf(err) != c.want {
				t.Errorf("%+v, %v", r, err)
			}
			if n := attempts.Load(); n > 3 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

// A server that asks again and again is not asked for ever, and one that wants a
// user where there is none is told from a wrong password.
func TestNotLetIn(t *testing.T) {
	p := newPeer(t, UDP)
	opt := p.options()
	opt.Register, opt.Password = false, "wrong"
	tr := running(t, opt, nil)
	if _, err := tr.Submit(t.Context(), text); sms.ClassOf(err) != sms.Unauthorized || strings.Contains(err.Error(), "wrong\"") {
		t.Error(err)
	}
	if n := len(p.seen()); n != 2 {
		t.Errorf("%d requests", n)
	}
	p.challengeWith(func() *digest.Challenge {
		return &digest.Challenge{Realm: "r", Nonce: fmt.Sprint(time.Now().UnixNano()), Algorithm: "MD5", Stale: true}
	})
	if _, err := tr.Submit(t.Context(), text); sms.ClassOf(err) != sms.Unauthorized {
		t.Error(err)
	}
	if n := len(p.seen()); n > 2+4 {
		t.Errorf("%d requests", n)
	}
	opt.User, opt.Password = "", ""
	if _, err := running(t, opt, nil).Submit(t.Context(), text); sms.ClassOf(err) != sms.Unauthorized || !strings.Contains(err.Error(), "wants a user") {
		t.Error(err)
	}
}

// A text has one transaction: the same branch as often as UDP needs it. A second
// attempt has the same Call-ID, a new branch and a later CSeq.
func TestOneTransaction(t *testing.T) {
	p := newPeer(t, UDP)
	p.challengeWith(noChallenge)
	opt := p.options()
	opt.Register, opt.AnswerTimeout = false, 3*time.Second // repetitions after 500 ms and 1.5 s
	var clock atomic.Int64
	clock.Store(time.Now().Unix())
	opt.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	tr := running(t, opt, nil)
	p.Do(smstest.Order{Fate: smstest.TakeAndHang})
	_, err := tr.Submit(t.Context(), text)
	if sms.ClassOf(err) != sms.Ambiguous || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if n := len(p.seen()); n != 1 {
		t.Errorf("%d transactions for one text", n)
	}
	p.Do(smstest.Order{Fate: smstest.Take})
	clock.Add(60)
	if _, err := tr.Submit(t.Context(), text); err != nil {
		t.Error(err)
	}
	a, b := p.seen()[0], p.seen()[1]
	branch := func(r *sip.Request) string { s, _ := r.Via().Params.Get("branch"); return s }
	if a.CallID().Value() != b.CallID().Value() || branch(a) == branch(b) || a.CSeq().SeqNo >= b.CSeq().SeqNo {
		t.Errorf("first\n%s\nsecond\n%s", a, b)
	}
}

func TestUnsent(t *testing.T) {
	p := newPeer(t, UDP)
	opt := p.options()
	opt.Register = false
	stopped, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	tr := running(t, opt, nil)
	if _, err := tr.Submit(t.Context(), text); err != nil { // it knows that the server asks for a password
		t.Fatal(err)
	}
	away := opt
	away.Server, away.ConnectTimeout = "127.0.0.1:9", time.Second
	unknown := opt
	unknown.Server, unknown.ConnectTimeout = "nosuch.invalid:5060", 5*time.Second
	refused := away
	refused.Network, refused.ConnectTimeout = TCP, 5*time.Second
	slow := opt
	slow.RatePerSecond = 0.001
	limited := running(t, slow, nil)
	if _, err := limited.Submit(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	taken := len(p.Taken())
	long, nobody, injected := text, text, text
	long.Body = strings.Repeat("long ", 200)
	nobody.From = ""
	nearly := text // fits but for the answer to the challenge
	nearly.Body = strings.Repeat("x", 620)
	injected.To = "+12025550143\r\nX: y"
	noUser := opt
	noUser.User, noUser.Password = "", ""
	for name, c := range map[string]struct {
		tr   *Transport
		m    sms.Message
		want sms.Class
		say  string
	}{
		"not running":      {stopped, text, sms.Transient, "not open"},
		"nobody there":     {running(t, away, nil), text, sms.Transient, "does not answer"},
		"unknown name":     {running(t, unknown, nil), text, sms.Transient, "name"},
		"refused":          {running(t, refused, nil), text, sms.Transient, "connection refused"},
		"too long":         {tr, long, sms.Rejected, "1300 are allowed"},
		"with a password":  {tr, nearly, sms.Rejected, "1300 are allowed"},
		"too many":         {limited, text, sms.Throttled, "rate limit"},
		"no sender":        {running(t, noUser, nil), nobody, sms.Misconfigured, "no sender"},
		"injected headers": {tr, injected, sms.Invalid, "not a number"},
	} {
		_, err := c.tr.Submit(t.Context(), c.m)
		if sms.ClassOf(err) != c.want || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want %s: … %s", name, err, c.want, c.say)
		}
	}
	if got := p.Taken()[taken:]; len(got) != 0 {
		t.Errorf("taken: %+v", got)
	}
}

// Over TCP more may go in one piece, if the admin says so.
func TestLongOverTCP(t *testing.T) {
	p := newPeer(t, TCP)
	opt := p.options()
	opt.MaxSize = 8000
	m := text
	m.Body = strings.Repeat("долго ", 400)
	tr := running(t, opt, nil)
	if _, err := tr.Submit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := p.Taken(); len(got) != 1 || got[0].Body != m.Body {
		t.Errorf("%d taken", len(got))
	}
	if n := tr.Traits().MaxSegments; n < 40 {
		t.Errorf("%d segments at most", n)
	}
}

// A server that answers texts and never OPTIONS.
func TestNoProbe(t *testing.T) {
	p := newPeer(t, UDP)
	p.set(func(p *peer) { p.silent = true })
	opt := p.options()
	opt.Register = false
	if _, err := running(t, opt, nil).Submit(t.Context(), text); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "set probe to false") {
		t.Errorf("got %v", err)
	}
	if err := Reach(t.Context(), opt); err == nil {
		t.Error("reached")
	}
	opt.NoProbe = true
	if _, err := running(t, opt, nil).Submit(t.Context(), text); err != nil {
		t.Error(err)
	}
	p.set(func(p *peer) { p.silent = false })
	if err := Reach(t.Context(), opt); err != nil {
		t.Error(err)
	}
}

func TestTLSTrust(t *testing.T) {
	p, other := newPeer(t, TLS), newPeer(t, TLS)
	opt := p.options()
	opt.Register, opt.TLS = false, other.options().TLS
	if _, err := running(t, opt, nil).Submit(t.Context(), text); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a stranger's certificate: %v", err)
	}
	if len(p.seen()) != 0 {
		t.Error("it got the text")
	}
}

// The registration is renewed in time, follows a connection that broke, and ends with us.
func TestRegistration(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, network)
			p.set(func(p *peer) { p.granted = 2 })
			opt := p.options()
			opt.KeepAlive = 50 * time.Millisecond
			in := &box{}
			tr, err := New(opt)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = tr.Run(ctx, in) }()
			count := func() int { _, all := p.registered(); return len(all) }
			until(t, "registered", func() bool { return count() > 0 })
			if _, all := p.registered(); all[0] != 60 {
				t.Errorf("asked for %d s after Min-Expires: 60", all[0])
			}
			until(t, "renewed", func() bool { return count() > 1 })
			if network == TCP {
				p.set(func(p *peer) { p.granted = 3600 })
				n := count()
				until(t, "renewed for long", func() bool { return count() > n })
				first, _ := p.registered()
				p.Drop()
				until(t, "registered anew, by the new connection", func() bool { c, _ := p.registered(); return c.Port != first.Port })
				if err := p.Reply(t.Context(), sms.Inbound{ID: "x", From: "+12025550143", To: "+12125550100", Body: "hello"}); err != nil {
					t.Error(err)
				}
				if got := in.got(); len(got) != 1 {
					t.Errorf("%+v", got)
				}
			}
			stop()
			<-done
			if _, all := p.registered(); all[len(all)-1] != 0 {
				t.Error("still registered at the end")
			}
			if _, err := tr.Submit(t.Context(), text); sms.ClassOf(err) != sms.Transient {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// A server that is away is said so in the log, once, within the time that a probe has.
func TestNotRegistered(t *testing.T) {
	var log testkit.Log
	running(t, Options{Server: "127.0.0.1:9", User: "office", Register: true, ConnectTimeout: 50 * time.Millisecond, AnswerTimeout: time.Hour,
		Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)
	until(t, "it is said", func() bool { return strings.Contains(log.String(), "replies do not arrive") })
	if s := log.String(); strings.Contains(s, password) || strings.Count(s, "\n") != 1 {
		t.Errorf("log:\n%s", s)
	}
}

// Run ends only after a text under way has its answer.
func TestEndWaits(t *testing.T) {
	p := newPeer(t, UDP)
	opt := p.options()
	opt.AnswerTimeout = 20 * time.Second
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, &box{}) }()
	until(t, "registered", func() bool { _, all := p.registered(); return len(all) > 0 })
	release := make(chan struct{})
	p.set(func(p *peer) { p.answer = func(*sip.Request) *sip.Response { <-release; return nil } })
	answered := make(chan error, 1)
	go func() { _, err := tr.Submit(t.Context(), text); answered <- err }()
	until(t, "the text is under way", func() bool { return len(p.seen()) > 0 })
	stop()
	until(t, "no more texts are let in", func() bool {
		s := tr.enter()
		if s != nil {
			tr.inflight.Done()
		}
		return s == nil
	})
	select {
	case <-done:
		t.Error("Run ended before the answer")
	default:
	}
	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	<-done
}
