package androidgateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx/testkit"
	"textback/sms"
	"textback/sms/smstest"
)

const (
	testPassword = "secret-password"
	testKey      = "secret-signing-key"
)

// phone is an emulator of the app's local server.
type phone struct {
	*smstest.HTTP
	t   *testing.T
	old bool // a version that answers a repeated id as if it were new

	mu    sync.Mutex
	known map[string]string // id → state
	hooks map[string]string // event → URL
}

func newPhone(t *testing.T) *phone {
	p := &phone{HTTP: smstest.NewHTTP(t), t: t, known: map[string]string{}, hooks: map[string]string{}}
	p.Read = p.read
	p.Accept = func(w http.ResponseWriter, _ int, m sms.Message) { p.message(w, http.StatusAccepted, m.ID) }
	p.Refuse = func(w http.ResponseWriter, class sms.Class) {
		switch class {
		case sms.Unauthorized:
			w.WriteHeader(http.StatusUnauthorized)
		case sms.Rejected:
			p.answer(w, http.StatusBadRequest, map[string]string{"message": "phoneNumbers is empty: +12025550143"})
		case sms.Misconfigured:
			p.answer(w, http.StatusBadRequest, map[string]string{"message": "message already expired"})
		default:
			p.answer(w, http.StatusInternalServerError, map[string]string{"message": "database is locked"})
		}
	}
	return p
}

func (p *phone) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *phone) message(w http.ResponseWriter, status int, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer(w, status, map[string]any{"id": id, "deviceId": "d", "state": p.known[id], "isHashed": false, "isEncrypted": false, "recipients": []any{}, "states": map[string]any{}})
}

// read takes a submission, and answers everything else.
func (p *phone) read(w http.ResponseWriter, r *http.Request) (m sms.Message, ok bool) {
	if user, password, _ := r.BasicAuth(); user != "sms" || password != testPassword {
		w.WriteHeader(http.StatusUnauthorized)
		return m, false
	}
	switch path := r.URL.Path; {
	case r.Method == "GET" && path == "/":
		p.answer(w, 200, map[string]string{"status": "ok", "model": "Pixel"})
		return m, false
	case r.Method == "GET" && strings.HasPrefix(path, "/message/"):
		p.mu.Lock()
		_, known := p.known[path[9:]]
		p.mu.Unlock()
		if !known {
			w.WriteHeader(http.StatusNotFound)
			return m, false
		}
		p.message(w, 200, path[9:])
		return m, false
	case r.Method == "POST" && path == "/webhooks":
		var hook struct{ ID, Event, URL string }
		if json.NewDecoder(r.Body).Decode(&hook) != nil || !strings.HasPrefix(hook.URL, "https://") && !strings.HasPrefix(hook.URL, "http://127.0.0.1") {
			p.answer(w, 400, map[string]string{"message": "url must start with https:// or http://127.0.0.1"})
			return m, false
		}
		p.mu.Lock()
		p.hooks[hook.Event] = hook.URL
		p.mu.Unlock()
		p.answer(w, 201, hook)
		return m, false
	case r.Method == "POST" && path == "/message":
		var in struct {
			ID                 string
			TextMessage        struct{ Text string }
			PhoneNumbers       []string
			SimNumber          *int
			TTL                *int
			WithDeliveryReport *bool
		}
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil || len(in.PhoneNumbers) != 1 || in.TextMessage.Text == "" || in.TTL == nil || *in.TTL != 900 || !*in.WithDeliveryReport {
			p.answer(w, 400, map[string]string{"message": fmt.Sprint(err)})
			return m, false
		}
		p.mu.Lock()
		_, before := p.known[in.ID]
		p.known[in.ID] = "Pending"
		p.mu.Unlock()
		if before {
			if p.old {
				p.message(w, http.StatusAccepted, in.ID)
			} else {
				p.answer(w, http.StatusConflict, map[string]string{"message": "Message with the same ID already exists"})
			}
			return m, false
		}
		return sms.Message{ID: in.ID, To: in.PhoneNumbers[0], Body: in.TextMessage.Text}, true
	}
	w.WriteHeader(http.StatusNotFound)
	return m, false
}

func sign(body, key string, at time.Time) http.Header {
	ts := fmt.Sprint(at.Unix())
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(body + ts))
	return http.Header{"Content-Type": {"application/json"}, "X-Timestamp": {ts}, "X-Signature": {hex.EncodeToString(m.Sum(nil))}}
}

func (p *phone) call(ctx context.Context, event string, payload map[string]any) error {
	b, err := json.Marshal(map[string]any{"deviceId": "d", "event": event, "id": "Ey6ECgOkVVFjz3CL48B8C", "payload": payload, "webhookId": "w"})
	if err != nil {
		return err
	}
	path := "/status"
	if event == "sms:received" {
		path = "/inbound"
	}
	return p.Post(ctx, "POST", p.Hook+path, sign(string(b), testKey, time.Now()), string(b))
}

func (p *phone) Reply(ctx context.Context, m sms.Inbound) error {
	return p.call(ctx, "sms:received", map[string]any{"messageId": "abc123" + m.ID, "message": m.Body, "sender": m.From, "recipient": nil, "phoneNumber": m.From,
		"simNumber": 1, "receivedAt": "2026-11-23T18:17:16.000+07:00"})
}

func (p *phone) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	v := map[string]any{"messageId": p.Taken()[n].ID, "phoneNumber": "+12025550143", "simNumber": nil}
	switch d {
	case sms.EnRoute:
		v["sentAt"] = "2026-11-23T11:17:16.000Z"
		return p.call(ctx, "sms:sent", v)
	case sms.Delivered:
		v["deliveredAt"] = "2026-11-23T11:17:16.000Z"
		return p.call(ctx, "sms:delivered", v)
	}
	v["failedAt"], v["reason"] = "2026-11-23T11:17:16.000Z", "Delivery result from SC +12065550100: 65"
	return p.call(ctx, "sms:failed", v)
}

func options(p *phone) Options {
	return Options{URL: p.URL, User: "sms", Password: testPassword, PublicURL: p.Hook, SigningKey: testKey, Validity: 15 * time.Minute, AnswerTimeout: smstest.Patience(p.t)}
}

func transport(t *testing.T, p *phone, change ...func(*Options)) *Transport {
	t.Helper()
	o := options(p)
	for _, c := range change {
		c(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestConformance(t *testing.T) {
	smstest.Run(t, smstest.Harness{
		Refusals: []sms.Class{sms.Unauthorized, sms.Rejected, sms.Misconfigured, sms.Ambiguous},
		Fates:    []smstest.Fate{smstest.Down, smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut},
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			p := newPhone(t)
			return transport(t, p), p
		},
	})
}

var message = sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "Sorry we missed you"}

// An attempt without an answer is made again, and the text is sent once, by
// versions that say so and by those that do not.
func TestSameTextTwice(t *testing.T) {
	for _, old := range []bool{false, true} {
		for _, lost := range []smstest.Fate{smstest.TakeAndCut, smstest.TakeAndHang, smstest.Take} {
			p := newPhone(t)
			p.old = old
			tr := transport(t, p, func(o *Options) {
				if lost == smstest.TakeAndHang {
					o.AnswerTimeout = 4 * time.Second
				}
			})
			p.Do(smstest.Order{Fate: lost})
			_, err := tr.Submit(t.Context(), message)
			if lost == smstest.Take && err != nil || lost != smstest.Take && sms.ClassOf(err) != sms.Ambiguous {
				t.Fatal(err)
			}
			p.Do(smstest.Order{Fate: smstest.Take})
			for range 3 {
				r, err := tr.Submit(t.Context(), message)
				if err != nil || r.ProviderID != message.ID {
					t.Errorf("%s: %+v, %v", lost, r, err)
				}
			}
			if n := len(p.Taken()); n != 1 {
				t.Errorf("%s: sent %d times", lost, n)
			}
		}
	}
	if !transport(t, newPhone(t)).HonoursID() {
		t.Error("the outbox is not told")
	}
}

func TestFate(t *testing.T) {
	p := newPhone(t)
	tr := transport(t, p)
	if _, found, err := tr.Fate(t.Context(), message); found || err != nil {
		t.Errorf("before: %v, %v", found, err)
	}
	p.Do(smstest.Order{Fate: smstest.TakeAndCut})
	_, _ = tr.Submit(t.Context(), message)
	p.mu.Lock()
	p.known[message.ID] = "Sent"
	p.mu.Unlock()
	if r, found, err := tr.Fate(t.Context(), message); !found || err != nil || r.Status != "Sent" || r.ProviderID != message.ID {
		t.Errorf("after: %+v, %v, %v", r, found, err)
	}
	p.Do(smstest.Order{Fate: smstest.Down})
	if _, _, err := tr.Fate(t.Context(), message); err == nil {
		t.Error("a phone that is off says something")
	}
	// The address has passed to a printer: its 404 says nothing about the text.
	printer := httptest.NewServer(http.NotFoundHandler())
	defer printer.Close()
	if _, found, err := transport(t, p, func(o *Options) { o.URL = printer.URL }).Fate(t.Context(), message); found || err == nil {
		t.Errorf("a printer's word: %v, %v", found, err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`{"id":"job-2","state":"Sent"}`)) }))
	defer other.Close()
	if _, found, err := transport(t, p, func(o *Options) { o.URL = other.URL }).Fate(t.Context(), message); found || err == nil {
		t.Errorf("another text's: %v, %v", found, err)
	}
	if _, err := transport(t, p, func(o *Options) { o.URL = other.URL }).Submit(t.Context(), message); sms.ClassOf(err) != sms.Ambiguous {
		t.Errorf("another text's: %v", err)
	}
}

func TestCheckAndRegister(t *testing.T) {
	p := newPhone(t)
	tr := transport(t, p)
	if err := tr.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := tr.Register(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if len(p.hooks) != 4 || p.hooks["sms:received"] != p.Hook+"/inbound" || p.hooks["sms:failed"] != p.Hook+"/status" {
		t.Error(p.hooks)
	}
	if err := transport(t, p, func(o *Options) { o.PublicURL = "http://192.168.1.5/textback" }).Register(t.Context()); sms.ClassOf(err) != sms.Misconfigured || !strings.Contains(err.Error(), "https://") {
		t.Error(err)
	}
	if err := transport(t, p, func(o *Options) { o.Password = "other" }).Check(t.Context()); sms.ClassOf(err) != sms.Unauthorized {
		t.Error(err)
	}
	printer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer printer.Close()
	if err := transport(t, p, func(o *Options) { o.URL = printer.URL }).Check(t.Context()); sms.ClassOf(err) != sms.Misconfigured {
		t.Error(err)
	}
	p.Do(smstest.Order{Fate: smstest.Down})
	if err := tr.Check(t.Context()); sms.ClassOf(err) != sms.Transient {
		t.Error(err)
	}
}

// The phone is told by itself, again after it was away or reset, and not without a URL.
func TestRun(t *testing.T) {
	p := newPhone(t)
	p.Do(smstest.Order{Fate: smstest.Down})
	said := &testkit.Log{}
	tr := transport(t, p, func(o *Options) {
		o.RegisterEvery = 10 * time.Millisecond
		o.Log = slog.New(slog.NewTextHandler(said, nil))
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx, &box{}) }()
	registered := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.hooks) == 4
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	until("an attempt in vain", func() bool { return strings.Contains(said.String(), "could not be told") })
	p.Do(smstest.Order{Fate: smstest.Take})
	until("registered once it is back", registered)
	p.mu.Lock()
	p.hooks = map[string]string{}
	p.mu.Unlock()
	until("registered again after a reset", registered)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "could not be told"); n != 1 || !strings.Contains(said.String(), "knows where") {
		t.Errorf("%d complaints: %s", n, said.String())
	}

	quiet := newPhone(t)
	ctx, stop = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := transport(t, quiet, func(o *Options) { o.PublicURL = "" }).Run(ctx, &box{}); err != nil || len(quiet.hooks) > 0 {
		t.Error(err, quiet.hooks)
	}
}

// box takes everything.
type box struct {
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (b *box) Received(_ context.Context, m sms.Inbound) error {
	b.inbound = append(b.inbound, m)
	return nil
}
func (b *box) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.receipts = append(b.receipts, r)
	return nil
}

func post(h http.Handler, path, body string, header http.Header) int {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func TestWebhookBelieves(t *testing.T) {
	p := newPhone(t)
	now := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	in := &box{}
	h := transport(t, p, func(o *Options) { o.Now = func() time.Time { return now } }).Webhook(in)
	body := `{"event":"sms:received","payload":{"messageId":"1","message":"hi","phoneNumber":"+12025550143","receivedAt":"2026-11-23T10:59:59Z"}}`
	good := sign(body, testKey, now)
	for name, c := range map[string]struct {
		path, body string
		header     http.Header
		want       int
	}{
		"good":                 {"/inbound", body, good, 200},
		"good, capitals":       {"/inbound", body, http.Header{"X-Timestamp": good["X-Timestamp"], "X-Signature": {strings.ToUpper(good.Get("X-Signature"))}}, 200},
		"4 minutes old":        {"/inbound", body, sign(body, testKey, now.Add(-4*time.Minute)), 200},
		"6 minutes old":        {"/inbound", body, sign(body, testKey, now.Add(-6*time.Minute)), 403},
		"from the future":      {"/inbound", body, sign(body, testKey, now.Add(6*time.Minute)), 403},
		"other key":            {"/inbound", body, sign(body, "other", now), 403},
		"no signature":         {"/inbound", body, http.Header{}, 403},
		"no time":              {"/inbound", body, http.Header{"X-Signature": good["X-Signature"]}, 403},
		"a blank was added":    {"/inbound", body + " ", good, 403},
		"time moved":           {"/inbound", body, http.Header{"X-Signature": good["X-Signature"], "X-Timestamp": {fmt.Sprint(now.Unix() + 1)}}, 403},
		"another path":         {"/", body, good, 403},
		"signed, not JSON":     {"/inbound", "hello", sign("hello", testKey, now), 400},
		"signed, from nobody":  {"/inbound", `{"event":"sms:received"}`, sign(`{"event":"sms:received"}`, testKey, now), 400},
		"signed, of no text":   {"/status", `{"event":"sms:sent"}`, sign(`{"event":"sms:sent"}`, testKey, now), 400},
		"signed, of no use":    {"/status", `{"event":"system:ping"}`, sign(`{"event":"system:ping"}`, testKey, now), 200},
		"signed, and too long": {"/inbound", strings.Repeat(" ", maxWebhook+1), sign(strings.Repeat(" ", maxWebhook+1), testKey, now), 413},
	} {
		if got := post(h, c.path, c.body, c.header); got != c.want {
			t.Errorf("%s: HTTP %d, want %d", name, got, c.want)
		}
	}
	if len(in.inbound) != 3 {
		t.Fatalf("%d texts", len(in.inbound))
	}
	if m := in.inbound[0]; m.ID != "1@2026-11-23T10:59:59Z" || m.At != now.Add(-time.Second) {
		t.Errorf("%+v", m)
	}
}

// Two equal texts have the same id in the app's event, and are two texts all the same.
func TestYesTwice(t *testing.T) {
	tr := transport(t, newPhone(t))
	p := payload{MessageID: "A1B2C3D4", Phone: "2025550143", Message: "yes", ReceivedAt: "2026-11-23T18:17:16.000+07:00"}
	first, _ := tr.inbound(p)
	p.ReceivedAt = "2026-11-24T09:00:00.000+07:00"
	second, _ := tr.inbound(p)
	if first.ID == second.ID || first.From != "+12025550143" || second.From != first.From {
		t.Errorf("%+v, %+v", first, second)
	}
}

func TestReasons(t *testing.T) {
	for s, want := range map[string]struct {
		class sms.Class
		code  string
	}{
		"Send result: RESULT_ERROR_NO_SERVICE":      {sms.Transient, "RESULT_ERROR_NO_SERVICE"},
		"Send result: RESULT_ERROR_RADIO_OFF":       {sms.Transient, "RESULT_ERROR_RADIO_OFF"},
		"Send result: RESULT_ERROR_LIMIT_EXCEEDED":  {sms.Throttled, "RESULT_ERROR_LIMIT_EXCEEDED"},
		"Send result: RESULT_ERROR_GENERIC_FAILURE": {sms.Rejected, "RESULT_ERROR_GENERIC_FAILURE"},
		"Delivery result from SC +12065550100: 70":  {sms.Transient, "70"},
		"Delivery result from SC +12065550100: 65":  {sms.NotMobile, "65"},
		"Delivery result from SC +12065550100: 99":  {sms.Transient, "99"},
		"Delivery result from SC +12065550100: 67":  {sms.Rejected, "67"},
		"TTL expired": {sms.Transient, "ttl_expired"},
		"Can't send message: the number +12025550143 is odd": {sms.Rejected, "failed"},
		"": {sms.Rejected, "failed"},
	} {
		if class, code := reason(s); class != want.class || code != want.code {
			t.Errorf("%q: %s, %s", s, class, code)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{URL: "http://192.168.1.20:8080", User: "sms", Password: "p", PublicURL: "https://office.example/textback/android", SigningKey: "k"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no URL":            func(o *Options) { o.URL = "" },
		"public, in clear":  func(o *Options) { o.URL = "http://sms.example" },
		"password in URL":   func(o *Options) { o.URL = "http://sms:secret@192.168.1.20" },
		"no password":       func(o *Options) { o.Password = "" },
		"no signing key":    func(o *Options) { o.SigningKey = "" },
		"webhooks in clear": func(o *Options) { o.PublicURL = "http://office.example" },
		"SIM":               func(o *Options) { o.SIM = -1 },
		"validity":          func(o *Options) { o.Validity = 1500 * time.Millisecond },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	f.Add(`{"event":"sms:received","payload":{"messageId":"1","message":"hi","sender":"+12025550143","receivedAt":"2026-11-23T10:59:59Z"}}`)
	f.Add(`{"event":"sms:failed","payload":{"messageId":"job-1","reason":"Delivery result from SC +1: 65","failedAt":"x"}}`)
	f.Add(`{"event":"sms:sent","payload":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		in := &box{}
		now := time.Unix(1795600000, 0)
		tr, err := New(Options{URL: "http://127.0.0.1:1", User: "u", Password: "p", PublicURL: "http://127.0.0.1:2", SigningKey: testKey, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		h := tr.Webhook(in)
		if post(h, "/inbound", body, sign(body, "other", now)) != 403 || len(in.inbound)+len(in.receipts) > 0 {
			t.Fatal("believed without the key")
		}
		code := post(h, "/inbound", body, sign(body, testKey, now))
		if code != 200 && code != 400 && code != 413 || code != 200 && len(in.inbound)+len(in.receipts) > 0 {
			t.Errorf("HTTP %d, %v %v", code, in.inbound, in.receipts)
		}
		for _, m := range in.inbound {
			if m.From == "" || strings.ContainsAny(m.ID, " \n\t") {
				t.Errorf("%+v", m)
			}
		}
		for _, r := range in.receipts {
			if r.MessageID == "" || r.Delivery == sms.Undelivered && r.Class == "" || strings.ContainsAny(r.Code, " +") {
				t.Errorf("%+v", r)
			}
		}
	})
}
