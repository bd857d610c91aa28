package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"textback/cmd/textback/config"
	"textback/sms/webhook"
)

// What doctor says of a public URL, with the real listener and real metrics behind it.
func TestDoctorCallsThePublicURL(t *testing.T) {
	m := newMetrics()
	in := newInboundMetrics(m.reg)
	daemon := httptest.NewServer(m.handler())
	t.Cleanup(daemon.Close)
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	l, err := webhook.Listen(webhook.Options{Listen: "127.0.0.1:0", PublicURL: "https://office.example/textback", Transports: map[string]http.Handler{"twilio": refuse},
		Observe: func(transport, verdict string) { in.webhooks.WithLabelValues(transport, verdict).Inc() }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	target, _ := url.Parse("http://" + l.Addr())
	proxy := httputil.NewSingleHostReverseProxy(target)
	for name, c := range map[string]struct {
		front http.Handler // nil: nobody is there
		tls   bool
		want  string
	}{
		"leads here":      {proxy, false, "ok    webhooks    "},
		"path cut":        {http.StripPrefix("/textback", proxy), false, "another path"},
		"another server":  {http.NotFoundHandler(), false, "answers HTTP 404, and not from textback"},
		"sent elsewhere":  {http.RedirectHandler("https://office.example/", http.StatusMovedPermanently), false, "answers HTTP 301"},
		"own certificate": {proxy, true, "no certificate that providers would trust"},
		"nobody":          {nil, false, "note  webhooks    "},
	} {
		t.Run(name, func(t *testing.T) {
			front := httptest.NewUnstartedServer(c.front)
			front.Config.ErrorLog = log.New(io.Discard, "", 0)
			if c.tls {
				front.StartTLS()
			} else {
				front.Start()
			}
			defer front.Close()
			if c.front == nil {
				front.Close()
			}
			cfg := &config.Config{}
			cfg.HTTP.Listen = strings.TrimPrefix(daemon.URL, "http://")
			cfg.Webhooks = config.Webhooks{Listen: l.Addr(), PublicURL: front.URL + "/textback"}
			var out bytes.Buffer
			d := &doctor{con: console{nil, &out, &out}}
			d.webhook(t.Context(), cfg, "twilio")
			if !strings.Contains(out.String(), c.want) || strings.Count(out.String(), "\n") != 1 {
				t.Errorf("want %q:\n%s", c.want, &out)
			}
			if sick := !strings.HasPrefix(c.want, "ok") && !strings.HasPrefix(c.want, "note"); d.sick != sick {
				t.Errorf("sick: %v", d.sick)
			}
		})
	}
}
