package smstest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"textback/sms"
)

// HTTP is a Peer that plays a provider with an HTTP API. What is particular to
// the provider are its three functions; the fates of a submission are here.
type HTTP struct {
	// Read reads a submission. A request that is none is answered by Read itself,
	// which returns false then.
	Read func(w http.ResponseWriter, r *http.Request) (sms.Message, bool)
	// Accept answers the nth text taken (from 0).
	Accept func(w http.ResponseWriter, n int, m sms.Message)
	// Refuse answers with a refusal of class.
	Refuse func(w http.ResponseWriter, class sms.Class)

	*Server // the provider

	mu    sync.Mutex
	taken []sms.Message
	ended chan struct{}

	// Hook is the URL below which the transport's webhooks are reached once Serve
	// has been called.
	Hook    string
	handler http.Handler
}

// NewHTTP starts the provider and the listener of webhooks; both end with t.
func NewHTTP(t *testing.T) *HTTP {
	p := &HTTP{ended: make(chan struct{})}
	p.Server = Serve(t, http.HandlerFunc(p.submission))
	p.Do(Order{Fate: Take})
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		h := p.handler
		p.mu.Unlock()
		if h == nil {
			http.Error(w, "no handler", http.StatusNotFound)
			return
		}
		http.StripPrefix("/hook", h).ServeHTTP(w, r)
	}))
	p.Hook = hook.URL + "/hook"
	t.Cleanup(func() {
		close(p.ended)
		hook.Close()
	})
	return p
}

// Taken are the texts accepted so far.
func (p *HTTP) Taken() []sms.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.taken)
}

// Serve is told where webhooks go.
func (p *HTTP) Serve(w sms.WebhookTaker, in sms.Inbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = w.Webhook(in)
}

func (p *HTTP) submission(w http.ResponseWriter, r *http.Request) {
	m, ok := p.Read(w, r)
	if !ok {
		return
	}
	o := p.Order()
	p.mu.Lock()
	n := len(p.taken)
	if o.Fate == Take || o.Fate == TakeAndHang || o.Fate == TakeAndCut {
		p.taken = append(p.taken, m)
	}
	p.mu.Unlock()
	switch o.Fate {
	case Take:
		p.Accept(w, n, m)
	case Refuse:
		p.Refuse(w, o.Class)
	case TakeAndHang:
		select {
		case <-r.Context().Done():
		case <-p.ended:
		}
	default:
		panic(http.ErrAbortHandler) // the connection breaks
	}
}

// Post calls a webhook and is an error unless the transport has it.
func (p *HTTP) Post(ctx context.Context, method, target string, header http.Header, body string) error {
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return err
	}
	for name, v := range header {
		r.Header[name] = v
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

// Form is a header and body for Post.
func Form(v url.Values) (http.Header, string) {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, v.Encode()
}
