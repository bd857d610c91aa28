package telnyx

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/hook"
	"textback/sms/smstest"
)

// peer plays the provider for the suite.
type peer struct {
	*smstest.Server
	t   *testing.T
	own string // where the transport's handler really is

	mu    sync.Mutex
	taken []submission
}

// refusals are a code for each class.
var refusals = map[sms.Class]struct {
	status      int
	code, title string
}{
	sms.OptedOut:      {400, "40300", "Blocked due to STOP message"},
	sms.NotMobile:     {400, "40001", "Not routable"},
	sms.Invalid:       {400, "40310", "Invalid 'to' address"},
	sms.Blocked:       {400, "40322", "Blocked due to content"},
	sms.Throttled:     {429, "10011", "Too many requests"},
	sms.Misconfigured: {400, "40305", "Invalid 'from' address"},
	sms.RegionDenied:  {400, "40309", "Invalid destination region"},
	sms.Unauthorized:  {401, "10009", "Authentication failed"},
	sms.NoCredit:      {402, "20100", "Insufficient funds"},
	sms.Transient:     {400, "40006", "Recipient unavailable"},
	sms.Rejected:      {400, "40302", "Message too large"},
	sms.Ambiguous:     {500, "10007", "Unexpected error"},
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var s submission
	if r.URL.Path != "/v2/messages" || r.Header.Get("Authorization") != "Bearer "+testKey || json.NewDecoder(r.Body).Decode(&s) != nil {
		w.WriteHeader(404)
		return
	}
	// The provider's guide to long texts: this is the answer where its profile does not cut them itself.
	if n, _ := gsm7.Segments(s.Text); n > 10 {
		w.WriteHeader(400)
		fmt.Fprint(w, refusal("40302", "Message too large"))
		return
	}
	order, id := p.Order(), ""
	p.mu.Lock()
	if order.Fate == smstest.Take || order.Fate == "" || order.Fate == smstest.TakeAndHang || order.Fate == smstest.TakeAndCut {
		p.taken = append(p.taken, s)
		id = fmt.Sprintf("40385f64-0000-4000-8000-%012d", len(p.taken))
	}
	p.mu.Unlock()
	switch order.Fate {
	case smstest.Refuse:
		f := refusals[order.Class]
		w.WriteHeader(f.status)
		fmt.Fprint(w, refusal(f.code, f.title))
	case smstest.TakeAndHang:
		<-r.Context().Done()
	case smstest.TakeAndCut, smstest.Cut:
		panic(http.ErrAbortHandler)
	default:
		n, _ := gsm7.Segments(s.Text)
		_ = json.NewEncoder(w).Encode(fields{"data": fields{"id": id, "parts": n, "to": []fields{{"phone_number": s.To, "status": "queued"}}}})
	}
}

func (p *peer) Taken() (all []sms.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.taken {
		all = append(all, sms.Message{From: s.From, To: s.To, Body: s.Text})
	}
	return all
}

func (p *peer) Serve(h sms.WebhookTaker, in sms.Inbox) {
	s := httptest.NewServer(http.StripPrefix("/textback/telnyx", h.Webhook(in)))
	p.t.Cleanup(s.Close)
	p.own = s.URL
}

// call posts a signed event to a URL of the transport's.
func (p *peer) call(ctx context.Context, u, body string) error {
	r, err := http.NewRequestWithContext(ctx, "POST", strings.Replace(u, "https://sms.example.com", p.own, 1), strings.NewReader(body))
	if err != nil {
		return err
	}
	for k, v := range sign(private, time.Now(), body) {
		r.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

func (p *peer) Reply(ctx context.Context, m sms.Inbound) error {
	return p.call(ctx, public+"/inbound", received(fields{"id": m.ID, "from": fields{"phone_number": m.From}, "to": []fields{{"phone_number": m.To}}, "text": m.Body}))
}

func (p *peer) Report(ctx context.Context, n int, d sms.Delivery, class sms.Class) error {
	p.mu.Lock()
	s := p.taken[n]
	p.mu.Unlock()
	kind, status, errors := "message.finalized", "delivered", []fields{}
	switch d {
	case sms.EnRoute:
		kind, status = "message.sent", "sent"
	case sms.Undelivered:
		status, errors = "delivery_failed", []fields{{"code": refusals[class].code, "title": refusals[class].title}}
	}
	if u, err := url.Parse(s.WebhookURL); err != nil || !strings.HasPrefix(s.WebhookURL, public) || hook.MessageID(u.RawQuery) == "" {
		return fmt.Errorf("the text says %q is called", s.WebhookURL)
	}
	return p.call(ctx, s.WebhookURL, event(kind, fields{"id": fmt.Sprintf("40385f64-0000-4000-8000-%012d", n+1), "direction": "outbound", "from": fields{"phone_number": s.From},
		"to": []fields{{"phone_number": s.To, "status": status}}, "errors": errors, "webhook_url": s.WebhookURL}))
}

func TestConformance(t *testing.T) {
	h := smstest.Harness{Fates: []smstest.Fate{smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut, smstest.Down}}
	for class := range refusals {
		h.Refusals = append(h.Refusals, class)
	}
	h.New = func(t *testing.T) (sms.Transport, smstest.Peer) {
		p := &peer{t: t}
		p.Server = smstest.Serve(t, p)
		return transport(t, p.URL, open), p
	}
	smstest.Run(t, h)
}
