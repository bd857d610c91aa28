package asterisk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"textback/sms"
	"textback/sms/smstest"
)

const password = "very-secret-word"

// peer plays ARI, for what a real Asterisk cannot be made to do.
type peer struct {
	t       *testing.T
	addr    string
	ended   chan struct{}
	mu      sync.Mutex
	srv     *http.Server
	order   smstest.Order
	taken   []sms.Message
	paths   []string
	sockets map[*websocket.Conn]string // and the application of each
	ready   map[string]bool            // applications that have subscribed
}

func newPeer(t *testing.T) *peer {
	p := &peer{t: t, addr: "127.0.0.1:0", ended: make(chan struct{}), order: smstest.Order{Fate: smstest.Take}, sockets: map[*websocket.Conn]string{}, ready: map[string]bool{}}
	p.start()
	t.Cleanup(func() { close(p.ended); p.stop() })
	return p
}

func (p *peer) start() {
	var l net.Listener
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if l, err = net.Listen("tcp", p.addr); err == nil {
			break
		}
		if time.Now().After(end) {
			p.t.Fatal(err)
		}
	}
	p.addr = l.Addr().String()
	srv := &http.Server{Handler: p}
	p.mu.Lock()
	p.srv = srv
	p.mu.Unlock()
	go srv.Serve(l)
}

func (p *peer) stop() {
	p.mu.Lock()
	srv := p.srv
	p.mu.Unlock()
	_ = srv.Close()
	p.Drop()
}

func (p *peer) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ws := range p.sockets {
		go ws.CloseNow()
	}
	clear(p.sockets)
}

func (p *peer) Do(o smstest.Order) {
	p.mu.Lock()
	was := p.order.Fate
	p.order = o
	p.mu.Unlock()
	switch {
	case o.Fate == smstest.Down:
		p.stop()
	case was == smstest.Down:
		p.start()
	}
}

func (p *peer) Taken() []sms.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]sms.Message(nil), p.taken...)
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.paths = append(p.paths, r.Method+" "+r.URL.String())
	order := p.order
	p.mu.Unlock()
	if user, pass, ok := r.BasicAuth(); !ok || user != "textback" || pass != password {
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	refuse := func(c sms.Class) bool { return order.Fate == smstest.Refuse && order.Class == c }
	switch app := r.URL.Query().Get("app"); {
	case r.URL.Path == "/ari/events":
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.sockets[ws] = app
		p.mu.Unlock()
		_, _, _ = ws.Read(context.Background())
		p.mu.Lock()
		delete(p.sockets, ws)
		p.mu.Unlock()
	case strings.HasSuffix(r.URL.Path, "/subscription"):
		if r.URL.Query().Get("eventSource") != "endpoint:PJSIP/trunk" {
			http.Error(w, "{}", http.StatusUnprocessableEntity)
			return
		}
		p.mu.Lock()
		p.ready[strings.Split(r.URL.Path, "/")[3]] = true
		p.mu.Unlock()
		fmt.Fprint(w, "{}")
	case strings.HasSuffix(r.URL.Path, "/eventFilter"):
		http.Error(w, "{}", 404) // as an old Asterisk
	case r.URL.Path == "/ari/endpoints/PJSIP/trunk":
		state := "online"
		if refuse(sms.Transient) {
			state = "offline"
		}
		fmt.Fprintf(w, `{"technology":"PJSIP","resource":"trunk","state":%q,"channel_ids":[]}`, state)
	case r.URL.Path == "/ari/endpoints/sendMessage" && r.Method == http.MethodPut:
		p.submit(w, r, order)
	default:
		http.Error(w, "{}", 404)
	}
}

func (p *peer) submit(w http.ResponseWriter, r *http.Request, order smstest.Order) {
	cut := func() {
		c, _, _ := w.(http.Hijacker).Hijack()
		_ = c.Close()
	}
	var m struct {
		To, From, Body string
		Variables      map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		p.t.Error(err)
	}
	switch order.Fate {
	case smstest.Refuse:
		http.Error(w, `{"message":"Endpoint not found"}`, map[sms.Class]int{sms.Misconfigured: 404, sms.Unauthorized: 403, sms.Rejected: 400}[order.Class])
		return
	case smstest.Cut:
		cut()
		return
	}
	to, ok := strings.CutPrefix(m.To, "pjsip:trunk/sip:")
	if !ok {
		p.t.Errorf("to: %q", m.To)
	}
	user := func(s string) string { s, _, _ = strings.Cut(strings.TrimPrefix(s, "sip:"), "@"); return s }
	p.mu.Lock()
	p.taken = append(p.taken, sms.Message{ID: m.Variables["X-Textback-ID"], From: user(m.From), To: user(to), Body: m.Body})
	p.mu.Unlock()
	switch order.Fate {
	case smstest.TakeAndHang:
		select {
		case <-p.ended:
		case <-r.Context().Done():
		}
	case smstest.TakeAndCut:
		cut()
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (p *peer) Reply(ctx context.Context, m sms.Inbound) error {
	event, _ := json.Marshal(map[string]any{"type": "TextMessageReceived", "timestamp": "2026-11-23T11:17:40.120+0000",
		"endpoint": map[string]string{"technology": "PJSIP", "resource": "trunk"},
		"message": map[string]any{"from": "\"x\" <sip:" + m.From + "@trunk.example>", "to": "pjsip:" + m.To + "@office", "body": m.Body,
			"variables": map[string]string{"Call-ID": m.ID, "CSeq": "7 MESSAGE"}}})
	return p.event(ctx, string(event))
}

// event waits until somebody listens.
func (p *peer) event(ctx context.Context, raw string) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		for ws, app := range p.sockets {
			if p.ready[app] {
				p.mu.Unlock()
				return ws.Write(ctx, websocket.MessageText, []byte(raw))
			}
		}
		p.mu.Unlock()
	}
	return errors.New("nobody has subscribed")
}

func (p *peer) options() Options {
	patience := 30 * time.Second
	if p.t != nil {
		patience = smstest.Patience(p.t)
	}
	return Options{URL: "http://" + p.addr, User: "textback", Password: password, App: "texts", Endpoint: "trunk", Domain: "trunk.example:5070", Region: "US",
		ConnectTimeout: 30 * time.Second, AnswerTimeout: patience, MinPause: 20 * time.Millisecond}
}

func TestConformance(t *testing.T) {
	smstest.Run(t, smstest.Harness{
		Refusals: []sms.Class{sms.Misconfigured, sms.Unauthorized, sms.Rejected, sms.Transient},
		Fates:    []smstest.Fate{smstest.Down, smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut},
		Again:    smstest.ByItself, // an event has no answer: the transport keeps the text
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			p := newPeer(t)
			tr, err := New(p.options())
			if err != nil {
				t.Fatal(err)
			}
			return tr, p
		},
	})
}

// Asterisk writes request lines into its log: neither number nor words may stand in one.
func TestNothingInURLs(t *testing.T) {
	p := newPeer(t)
	tr, err := New(p.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Submit(t.Context(), sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "words"}); err != nil {
		t.Fatal(err)
	}
	if got := p.Taken(); len(got) != 1 || got[0].ID != "job-1" {
		t.Errorf("taken: %+v", got)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range p.paths {
		if strings.Contains(path, "555") || strings.Contains(path, "words") || strings.Contains(path, password) {
			t.Errorf("the request line shows what it should not: %s", path)
		}
	}
}

func TestRefusedUnsent(t *testing.T) {
	p := newPeer(t)
	tr, err := New(p.options())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		m    sms.Message
		want sms.Class
	}{
		"not a number":  {sms.Message{From: "+12125550100", To: "sip:x@y", Body: "x"}, sms.Invalid},
		"injection":     {sms.Message{From: "+12125550100", To: "+12025550143\r\nX: y", Body: "x"}, sms.Invalid},
		"too long":      {sms.Message{From: "+12125550100", To: "+12025550143", Body: strings.Repeat("x", maxBody+1)}, sms.Rejected},
		"no sender":     {sms.Message{To: "+12025550143", Body: "x"}, sms.Misconfigured},
		"sender's name": {sms.Message{From: "Miller & Co", To: "+12025550143", Body: "x"}, sms.Misconfigured},
	} {
		if _, err := tr.Submit(t.Context(), c.m); sms.ClassOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if got := p.Taken(); len(got) != 0 {
		t.Errorf("taken: %+v", got)
	}
}

// A STOP must be found again under the number that texts go to.
func TestWhoseNumber(t *testing.T) {
	for _, c := range []struct {
		digits       bool
		region, from string
		want         string
	}{
		{true, "US", "442079460123", "+442079460123"},
		{true, "US", "12025550143", "+12025550143"},
		{true, "US", "2025550143", "+12025550143"},
		{true, "DE", "12025550143", "+12025550143"},
		{false, "US", "442079460123", "+442079460123"},
		{false, "DE", "015112345678", "+4915112345678"},
		{false, "US", "+12025550143", "+12025550143"},
		{true, "US", "73737", "73737"},
		{true, "US", "anonymous", "anonymous"},
		{false, "US", "somebody%20whose%20name%20is%20long", "somebody%20whose%20name%20is%20long"},
	} {
		tr := &Transport{opt: Options{Region: c.region, Digits: c.digits}}
		if got := tr.phone("\"S\" <sip:" + c.from + "@trunk>"); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestOptions(t *testing.T) {
	good := (&peer{addr: "127.0.0.1:1"}).options()
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"url":      func(o *Options) { o.URL = "127.0.0.1:8088" },
		"user":     func(o *Options) { o.User = "" },
		"app":      func(o *Options) { o.App = "a b" },
		"endpoint": func(o *Options) { o.Endpoint = "PJSIP/trunk" },
		"domain":   func(o *Options) { o.Domain = "sip:x@y" },
	} {
		opt := good
		change(&opt)
		if _, err := New(opt); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What arrived before the end is stored, though the inbox refused it at first.
func TestLastWords(t *testing.T) {
	p := newPeer(t)
	tr, err := New(p.options())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	in := &stubborn{until: ctx, tried: make(chan struct{}, 100)}
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, in) }()
	if err := p.Reply(t.Context(), sms.Inbound{ID: "a", From: "+12025550143", To: "+12125550100", Body: "STOP"}); err != nil {
		t.Fatal(err)
	}
	<-in.tried
	stop()
	<-done
	if len(in.got) != 1 || in.got[0].Body != "STOP" || in.got[0].ID != "a/7" || in.got[0].At.IsZero() {
		t.Errorf("stored: %+v", in.got)
	}
}

// stubborn refuses until a context has ended.
type stubborn struct {
	until context.Context
	tried chan struct{}
	got   []sms.Inbound
}

func (b *stubborn) Received(_ context.Context, m sms.Inbound) error {
	b.tried <- struct{}{}
	if b.until.Err() == nil {
		return errors.New("full")
	}
	b.got = append(b.got, m)
	return nil
}

func (b *stubborn) Receipt(context.Context, sms.DeliveryReceipt) error { return nil }

func FuzzEvent(f *testing.F) {
	f.Add(`{"type":"TextMessageReceived","timestamp":"2026-11-25T23:03:12.894+0000","message":{"from":"<sip:+12025550143@trunk.example>","to":"pjsip:+12125550100@trunk.example","body":"STOP","variables":{"Call-ID":"mo2","CSeq":"7 MESSAGE","P-Asserted-Identity":"<tel:+12025550143>"}}}`)
	f.Add(`{"type":"TextMessageReceived","message":{"from":"<sip:anonymous@x>","to":"","body":"\u0000x","variables":[{"a":"b"}]}}`)
	f.Add(`{"type":"ChannelCreated"}`)
	tr, err := New((&peer{addr: "127.0.0.1:1"}).options())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		m, ok := tr.event([]byte(raw))
		if !ok {
			return
		}
		if m.From == "" || len(m.From) > 64 || len(m.To) > 64 || len(m.ID) > 128 || strings.Contains(m.Body, "\x00") || strings.ToValidUTF8(m.Body, "") != m.Body {
			t.Errorf("%+v", m)
		}
	})
}
