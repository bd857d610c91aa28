package telnyx

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/hook"
)

// store is an Inbox in memory.
type store struct {
	err      error
	hang     bool
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (s *store) wait(ctx context.Context) error {
	if s.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.err
}

func (s *store) Received(ctx context.Context, m sms.Inbound) error {
	err := s.wait(ctx)
	if err == nil {
		s.inbound = append(s.inbound, m)
	}
	return err
}

func (s *store) Receipt(ctx context.Context, r sms.DeliveryReceipt) error {
	err := s.wait(ctx)
	if err == nil {
		s.receipts = append(s.receipts, r)
	}
	return err
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func atNoon(o *Options) { o.Now = func() time.Time { return noon } }

// sign makes the headers of a body signed at a time.
func sign(key ed25519.PrivateKey, at time.Time, body string) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	return http.Header{timestampHeader: {stamp}, signatureHeader: {base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(stamp+"|"+body)))}}
}

func post(h http.Handler, path, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://made.up.example"+path, strings.NewReader(body))
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

type fields = map[string]any

// event is a webhook's body.
func event(kind string, payload fields) string {
	b, err := json.Marshal(fields{"data": fields{"record_type": "event", "id": "e1", "event_type": kind, "occurred_at": "2026-11-23T11:59:59.123Z", "payload": payload},
		"meta": fields{"attempt": 1, "delivered_to": public}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func received(change fields) string {
	p := fields{"record_type": "message", "direction": "inbound", "id": "7ee4241c-f127-47e5-9c34-3aac291f8058", "type": "SMS",
		"from": fields{"phone_number": testTo, "carrier": "T"}, "to": []fields{{"phone_number": testFrom, "status": "webhook_delivered"}},
		"text": "1 + 1 😀", "media": []fields{}, "received_at": "2026-11-23T11:59:58.000+00:00"}
	for k, v := range change {
		if p[k] = v; v == nil {
			delete(p, k)
		}
	}
	return event("message.received", p)
}

func TestInbound(t *testing.T) {
	plain := sms.Inbound{ID: "7ee4241c-f127-47e5-9c34-3aac291f8058", From: testTo, To: testFrom, Body: "1 + 1 😀", At: noon.Add(-2 * time.Second)}
	with := func(f func(*sms.Inbound)) *sms.Inbound { m := plain; f(&m); return &m }
	for name, c := range map[string]struct {
		change fields
		want   *sms.Inbound // nil: refused as no text
	}{
		"text":          {nil, &plain},
		"pictures":      {fields{"text": "", "media": []fields{{"url": "https://a.example"}, {"url": "https://b.example"}}}, with(func(m *sms.Inbound) { m.Body, m.Media = "", 2 })},
		"STOP":          {fields{"text": "stop", "autoresponse_type": "STOP"}, with(func(m *sms.Inbound) { m.Body, m.Keyword = "stop", "STOP" })},
		"help":          {fields{"autoresponse_type": "help"}, with(func(m *sms.Inbound) { m.Keyword = "HELP" })},
		"START":         {fields{"autoresponse_type": "START"}, with(func(m *sms.Inbound) { m.Keyword = "START" })},
		"another":       {fields{"autoresponse_type": "PAUSE"}, &plain},
		"no time":       {fields{"received_at": "yesterday"}, with(func(m *sms.Inbound) { m.At = time.Time{} })},
		"to is a word":  {fields{"to": "agent"}, with(func(m *sms.Inbound) { m.To = "" })},
		"to is nobody":  {fields{"to": nil}, with(func(m *sms.Inbound) { m.To = "" })},
		"no sender":     {fields{"from": nil}, nil},
		"no id":         {fields{"id": nil}, nil},
		"a strange id":  {fields{"id": "a b"}, nil},
		"text is a map": {fields{"text": fields{}}, nil},
	} {
		for _, path := range []string{"/inbound", "/status?job=1"} {
			in := &store{}
			body := received(c.change)
			w := post(transport(t, "https://sms.example", open, atNoon).Webhook(in), path, body, sign(private, noon, body))
			if c.want == nil {
				if w.Code != 400 || len(in.inbound) != 0 {
					t.Errorf("%s: HTTP %d, %+v", name, w.Code, in.inbound)
				}
				continue
			}
			if w.Code != 204 || len(in.inbound) != 1 {
				t.Errorf("%s: HTTP %d %s, %d texts", name, w.Code, w.Body, len(in.inbound))
				continue
			}
			got := in.inbound[0]
			if !got.At.Equal(c.want.At) {
				t.Errorf("%s: at %v", name, got.At)
			}
			if got.At = c.want.At; got != *c.want {
				t.Errorf("%s: %+v, want %+v", name, got, *c.want)
			}
		}
	}
}

func TestReceipts(t *testing.T) {
	tr := transport(t, "https://sms.example", open, atNoon)
	ours := hook.StatusURL(public, "a&b 1")
	for _, c := range []struct {
		kind, status, url string
		errors            []fields
		want              sms.DeliveryReceipt
	}{
		{"message.sent", "sent", ours, nil, sms.DeliveryReceipt{MessageID: "a&b 1", Delivery: sms.EnRoute, Code: "sent"}},
		{"message.finalized", "delivered", ours, nil, sms.DeliveryReceipt{MessageID: "a&b 1", Delivery: sms.Delivered, Code: "delivered"}},
		{"message.finalized", "delivery_unconfirmed", "", nil, sms.DeliveryReceipt{Delivery: sms.EnRoute, Code: "delivery_unconfirmed"}},
		{"message.finalized", "delivery_failed", "https://evil.example/status?job=1", []fields{{"code": "40001", "title": "Not routable"}},
			sms.DeliveryReceipt{Delivery: sms.Undelivered, Class: sms.NotMobile, Code: "40001"}},
		{"message.finalized", "sending_failed", public + "/inbound?job=1", []fields{{"code": "40300", "title": "Blocked due to STOP message"}},
			sms.DeliveryReceipt{Delivery: sms.Undelivered, Class: sms.OptedOut, Code: "40300"}},
		{"message.finalized", "sending_failed", public + "/status?%zz", []fields{{"code": "77777"}}, sms.DeliveryReceipt{Delivery: sms.Undelivered, Class: sms.Rejected, Code: "77777"}},
		{"message.finalized", "expired", "job=1", nil, sms.DeliveryReceipt{Delivery: sms.Undelivered, Class: sms.Rejected, Code: "expired"}},
		{"message.read", "read", "", nil, sms.DeliveryReceipt{Delivery: sms.Delivered, Code: "read"}},
	} {
		in := &store{}
		body := event(c.kind, fields{"id": "m1", "direction": "outbound", "to": []fields{{"phone_number": testTo, "status": c.status}}, "webhook_url": c.url, "errors": c.errors})
		// The address that was called says another job: it is not signed.
		w := post(tr.Webhook(in), "/status?job=forged", body, sign(private, noon, body))
		c.want.ProviderID, c.want.At = "m1", noon.Add(-877*time.Millisecond)
		if w.Code != 204 || len(in.receipts) != 1 || !in.receipts[0].At.Equal(c.want.At) {
			t.Errorf("%s: HTTP %d, %+v", c.status, w.Code, in.receipts)
			continue
		}
		if in.receipts[0].At = c.want.At; in.receipts[0] != c.want {
			t.Errorf("%s: %+v, want %+v", c.status, in.receipts[0], c.want)
		}
	}
	for body, want := range map[string]int{event("message.finalized", fields{}): 400, event("call.hangup", fields{"id": "x"}): 204, `{}`: 204, `[]`: 400, ``: 400} {
		in := &store{}
		if w := post(tr.Webhook(in), "/status", body, sign(private, noon, body)); w.Code != want || len(in.receipts)+len(in.inbound) != 0 {
			t.Errorf("%s: HTTP %d", body, w.Code)
		}
	}
}

func TestForgeries(t *testing.T) {
	body := received(nil)
	good := sign(private, noon, body)
	other := ed25519.NewKeyFromSeed(make([]byte, 32))
	with := func(f func(http.Header)) http.Header { h := good.Clone(); f(h); return h }
	for name, c := range map[string]struct {
		header http.Header
		body   string
		want   int
	}{
		"good":                     {good, body, 204},
		"five minutes old":         {sign(private, noon.Add(-5*time.Minute), body), body, 204},
		"five minutes ahead":       {sign(private, noon.Add(5*time.Minute), body), body, 204},
		"older":                    {sign(private, noon.Add(-5*time.Minute-time.Second), body), body, 403},
		"further ahead":            {sign(private, noon.Add(5*time.Minute+time.Second), body), body, 403},
		"another body":             {good, body + " ", 403},
		"nothing":                  {nil, body, 403},
		"another key":              {sign(other, noon, body), body, 403},
		"another time":             {with(func(h http.Header) { h.Set(timestampHeader, strconv.FormatInt(noon.Unix()+1, 10)) }), body, 403},
		"no time":                  {with(func(h http.Header) { h.Del(timestampHeader) }), body, 403},
		"no signature":             {with(func(h http.Header) { h.Del(signatureHeader) }), body, 403},
		"two signatures":           {with(func(h http.Header) { h.Add(signatureHeader, h.Get(signatureHeader)) }), body, 403},
		"short signature":          {with(func(h http.Header) { h.Set(signatureHeader, "AAAA") }), body, 403},
		"not base64":               {with(func(h http.Header) { h.Set(signatureHeader, "%") }), body, 403},
		"a time beyond all times":  {with(func(h http.Header) { h.Set(timestampHeader, "9223372036854775807") }), body, 403},
		"a time before all times":  {with(func(h http.Header) { h.Set(timestampHeader, "-1") }), body, 403},
		"the time in another hand": {with(func(h http.Header) { h.Set(timestampHeader, "+"+h.Get(timestampHeader)) }), body, 403},
		"too long":                 {good, strings.Repeat(" ", maxWebhook+1), 413},
	} {
		in := &store{}
		w := post(transport(t, "https://sms.example", open, atNoon).Webhook(in), "/inbound", c.body, c.header)
		if w.Code != c.want || (len(in.inbound) == 1) != (c.want == 204) {
			t.Errorf("%s: HTTP %d, want %d; %d texts", name, w.Code, c.want, len(in.inbound))
		}
		if w.Code >= 400 {
			discreet(t, errors.New(w.Body.String()))
		}
	}
	in := &store{}
	if w := post(transport(t, "https://sms.example", atNoon).Webhook(in), "/inbound", body, good); w.Code != 403 {
		t.Errorf("without a key: HTTP %d", w.Code)
	}
	h := transport(t, "https://sms.example", open, atNoon).Webhook(in)
	if w := post(h, "/other", body, good); w.Code != 404 {
		t.Errorf("elsewhere: HTTP %d", w.Code)
	}
	r := httptest.NewRequest("GET", "/inbound", nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 405 {
		t.Errorf("GET: HTTP %d", w.Code)
	}
}

func TestNotStored(t *testing.T) {
	for name, in := range map[string]*store{"full": {err: errors.New("disk full: /var/lib")}, "slow": {hang: true}} {
		body := received(nil)
		h := transport(t, "https://sms.example", open, atNoon).Webhook(in)
		w := post(h, "/inbound", body, sign(private, noon, body))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "/var") {
			t.Errorf("%s: HTTP %d: %s", name, w.Code, w.Body)
		}
		in.err, in.hang = nil, false
		if w := post(h, "/inbound", body, sign(private, noon, body)); w.Code != 204 || len(in.inbound) != 1 {
			t.Errorf("%s, the next time: HTTP %d", name, w.Code)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	f.Add(received(nil), "1795435200", "AAAA")
	f.Add(event("message.finalized", fields{"id": "m1", "to": []fields{{"status": "delivery_failed"}}, "errors": []fields{{"code": 1}}}), "", "")
	f.Add(`{"data":{"event_type":"message.received","payload":{"to":[1],"media":[{}],"from":null}}}`, "x", "%")
	f.Fuzz(func(t *testing.T, body, stamp, signature string) {
		tr, in := transport(t, "https://sms.example", open, atNoon), &store{}
		w := post(tr.Webhook(in), "/inbound", body, http.Header{timestampHeader: {stamp}, signatureHeader: {signature}})
		if w.Code < 300 || len(in.inbound)+len(in.receipts) != 0 {
			t.Fatalf("HTTP %d: believed without a signature", w.Code)
		}
		post(tr.Webhook(in), "/inbound", body, sign(private, noon, body))
		for _, m := range in.inbound {
			if m.ID == "" || m.From == "" {
				t.Errorf("%+v", m)
			}
		}
		for _, d := range in.receipts {
			if d.ProviderID == "" || d.Delivery == "" || (d.Delivery == sms.Undelivered) != (d.Class != "") {
				t.Errorf("%+v", d)
			}
		}
	})
}
