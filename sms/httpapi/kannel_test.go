package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
	"textback/sms/smstest/kannel"
)

// office is a Kannel and the listener that it calls.
type office struct {
	*kannel.Kannel
	hook string

	mu      sync.Mutex
	handler http.Handler // of webhooks
}

func startKannel(t *testing.T) *office {
	k := &office{}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		h := k.handler
		k.mu.Unlock()
		if h == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.StripPrefix("/hook", h).ServeHTTP(w, r)
	}))
	t.Cleanup(hook.Close)
	k.hook = hook.URL + "/hook"
	k.Kannel = kannel.Start(t, kannel.Options{Secret: testSecret, Inbound: testInbound, Hook: k.hook})
	return k
}

// line is the suite's Peer: the way to the real Kannel, on which requests are
// lost, changed and cut.
type line struct {
	*office
	*smstest.Server

	fateMu sync.Mutex
	before smstest.Order
	from   int      // texts before this one are of earlier tests
	dlr    []string // each submission's dlr-url
}

func newLine(t *testing.T, k *office) *line {
	l := &line{office: k, from: len(k.Texts())}
	l.Server = smstest.Serve(t, l)
	l.Do(smstest.Order{Fate: smstest.Take})
	t.Cleanup(func() {
		l.Do(smstest.Order{Fate: smstest.Take})
		k.mu.Lock()
		defer k.mu.Unlock()
		k.handler = nil
	})
	return l
}

func (l *line) Do(o smstest.Order) {
	transient := smstest.Order{Fate: smstest.Refuse, Class: sms.Transient}
	switch {
	case o == transient:
		l.Ask("stop-smsc")
		l.Until("the link is stopped", func() bool { return !l.Online() })
	case l.before == transient:
		l.Ask("start-smsc")
		l.Plug()
	}
	l.before = o
	l.Server.Do(o)
}

func (l *line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	o := l.Order()
	l.fateMu.Lock()
	l.dlr = append(l.dlr, q.Get("dlr-url"))
	l.fateMu.Unlock()
	target, _ := url.Parse(l.Kannel.URL)
	proxy := httputil.NewSingleHostReverseProxy(target)
	switch {
	case o.Fate == smstest.Cut:
		panic(http.ErrAbortHandler)
	case o.Fate == smstest.Refuse && o.Class == sms.Unauthorized:
		q.Set("password", "other")
	case o.Fate == smstest.Refuse && o.Class == sms.Misconfigured:
		q.Del("from")
	}
	r.URL.RawQuery = q.Encode()
	if o.Fate == smstest.TakeAndHang || o.Fate == smstest.TakeAndCut {
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		if o.Fate == smstest.TakeAndHang {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	proxy.ServeHTTP(w, r)
}

func (l *line) Taken() []sms.Message {
	all := l.Texts()
	return all[min(l.from, len(all)):]
}

func (l *line) Serve(w sms.WebhookTaker, in sms.Inbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handler = w.Webhook(in)
}

// Reply sends one text from the phone. Kannel tries again by itself.
func (l *line) Reply(_ context.Context, m sms.Inbound) error {
	l.Plug(kannel.Say(m))
	return nil
}

// Report fills dlr-url in as Kannel does: the fake SMSC delivers everything, and
// at once. TestKannelByItself checks what Kannel sends.
func (l *line) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	l.fateMu.Lock()
	target := l.dlr[n]
	l.fateMu.Unlock()
	code := map[sms.Delivery]string{sms.EnRoute: "8", sms.Delivered: "1", sms.Undelivered: "2"}[d]
	target = strings.NewReplacer("%d", code, "%T", "1795647686").Replace(target)
	r, err := http.NewRequestWithContext(ctx, "GET", target, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

func TestKannel(t *testing.T) {
	k := startKannel(t)

	smstest.Run(t, smstest.Harness{
		Refusals: []sms.Class{sms.Transient, sms.Unauthorized, sms.Misconfigured},
		Fates:    everyFate,
		Again:    smstest.ByItself, // Kannel calls again until it is answered with 200
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			l := newLine(t, k)
			o := account("kannel", l.URL, k.hook)
			o.AnswerTimeout = smstest.Patience(t)
			tr, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			return tr, l
		},
	})
}

// book collects what a transport was given.
type book struct {
	mu       sync.Mutex
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
	err      error // what it answers instead
}

func (b *book) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.inbound = append(b.inbound, m)
	}
	return b.err
}

func (b *book) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.receipts = append(b.receipts, r)
	}
	return b.err
}

func (b *book) got() ([]sms.Inbound, []sms.DeliveryReceipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sms.Inbound(nil), b.inbound...), append([]sms.DeliveryReceipt(nil), b.receipts...)
}

// What Kannel does by itself, without anything of ours in between but the handler.
func TestKannelByItself(t *testing.T) {
	k := startKannel(t)
	tr, err := New(account("kannel", k.URL, k.hook))
	if err != nil {
		t.Fatal(err)
	}
	in := &book{}
	k.mu.Lock()
	k.handler = tr.Webhook(in)
	k.mu.Unlock()

	// A receipt for "handed to the SMSC" and one for "the handset has it", with our
	// id. Kannel sends both at the same moment: either may come first.
	m := sms.Message{ID: "job-1.a_b", From: "+12125550100", To: "+12025550143", Body: "Miller & Söhne: 100% + €5 [ok]"}
	if _, err := tr.Submit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	k.Until("two receipts", func() bool { _, r := in.got(); return len(r) == 2 })
	_, receipts := in.got()
	for _, r := range receipts {
		if r.MessageID != m.ID || r.Class != "" || time.Since(r.At).Abs() > time.Minute {
			t.Errorf("%+v", r)
		}
	}
	if a, b := receipts[0].Delivery, receipts[1].Delivery; a == b || a == sms.Undelivered || b == sms.Undelivered {
		t.Errorf("%s, %s", a, b)
	}
	// Kannel's word comes when it has written to the phone's side, which may not have read yet.
	k.Until("the phone shows it", func() bool { return len(k.Texts()) > 0 })
	if got := k.Texts(); len(got) != 1 || got[0].Body != m.Body {
		t.Errorf("the phone shows %v", got)
	}

	// A long reply comes in parts from the network and as one from Kannel; its time and id are told.
	for _, part := range []string{"%01 first half, 😀-free", "%02 & second half"} {
		k.Plug("+12025550143 +12125550100 udh-text %05%00%03%09%02" + part)
	}
	k.Until("the long reply", func() bool { m, _ := in.got(); return len(m) == 1 })
	texts, _ := in.got()
	if r := texts[0]; !strings.HasPrefix(r.Body, "first half") || !strings.HasSuffix(r.Body, "& second half") || r.ID == "" || r.From != m.To || time.Since(r.At).Abs() > time.Minute {
		t.Errorf("%+v", r)
	}

	// What is no text is none, and nothing is ever said back to the phone by Kannel itself.
	k.Plug("+12025550143 +12125550100 data %00%01%02%ff")
	k.Plug("+12025550143 +12125550100 text last")
	k.Until("the last one", func() bool { m, _ := in.got(); return len(m) == 2 })
	if texts, _ = in.got(); texts[1].Body != "last" {
		t.Errorf("%+v", texts[1])
	}
	if got := k.Texts(); len(got) != 1 {
		t.Errorf("Kannel answers by itself: %v", got)
	}

	// With no phone side Kannel takes the text and keeps it.
	k.Unplug()
	k.Until("the link is down", func() bool { return !k.Online() })
	m.ID, m.Body = "job-2", "kept"
	if _, err := tr.Submit(t.Context(), m); err != nil {
		t.Error(err)
	}
	k.Plug()
	k.Until("the kept text", func() bool { got := k.Texts(); return len(got) == 2 && got[1].Body == "kept" })
}
