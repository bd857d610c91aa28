package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"textback/cmd/textback/config"
	"textback/rules"
	"textback/sms"
	"textback/sms/notify"
	"textback/sms/webhook"
)

// A part is something that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// inboundMetrics count what comes in and what staff is told.
type inboundMetrics struct {
	texts    *prometheus.CounterVec // transport: as in sms.transport; as: reply, stop, start, help, machine
	webhooks *prometheus.CounterVec // transport, empty for paths of nobody; verdict: taken, asked, not_believed, bad, too_big, too_many, again, failed
	notices  *prometheus.CounterVec // channel: email, webhook; word: sms.Word; ok: true, false
}

func newInboundMetrics(reg prometheus.Registerer) *inboundMetrics {
	m := &inboundMetrics{
		texts:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "textback_texts_received_total", Help: "Texts that arrived, by what they were taken for."}, []string{"transport", "as"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "textback_webhooks_total", Help: "Requests to the listener for webhooks."}, []string{"transport", "verdict"}),
		notices:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "textback_notices_total", Help: "Attempts at telling staff by e-mail or webhook."}, []string{"channel", "word", "ok"}),
	}
	reg.MustRegister(m.texts, m.webhooks, m.notices)
	return m
}

// listening completes a sender's options with how texts are taken and staff is told.
func (d *serving) listening(opt *sms.SenderOptions) error {
	cfg, m := d.cfg, newInboundMetrics(d.m.reg)
	d.inbox = m
	inbox, err := cfg.InboxOptions()
	if err != nil {
		return err
	}
	inbox.Business = func() string { return d.rules.Load().Business() }
	inbox.Phone = func(to string) string { return d.rules.Load().Phone(cfg.LineOfTexts(to)) }
	inbox.Heard = func(transport, as string) { m.texts.WithLabelValues(transport, as).Inc() }
	inbox.Tell = func(string) []string {
		if cfg.SMS.Replies.Tell != nil {
			return cfg.SMS.Replies.Tell
		}
		var names []string
		for _, s := range d.rules.Load().Staff() {
			names = append(names, s.Name)
		}
		return names
	}
	nopt, err := cfg.NotifyOptions()
	if err != nil {
		return err
	}
	n, err := notify.New(nopt)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	opt.Inbox, opt.Retention = inbox, cfg.Keep()
	opt.Notices = sms.NoticeOptions{Notifier: n, Limit: cfg.Notify.Limit, Window: cfg.Notify.Window, Zone: func() *time.Location { return d.rules.Load().Zone() },
		Told: func(channel string, word sms.Word, ok bool) {
			m.notices.WithLabelValues(channel, string(word), strconv.FormatBool(ok)).Inc()
		},
		Staff: func(name string) (rules.Staff, bool) { return d.rules.Load().StaffNamed(name) }}
	if cfg.OptOuts.Store == config.StoreNumber {
		opt.OptOuts.KeepNumbers()
	}
	return nil
}

// inbound are the parts that bring in what callers and providers say: transports
// with a life of their own, and the listener for those that are called.
func (d *serving) inbound(s *sms.Sender, ways []sms.Way) ([]part, error) {
	var parts []part
	hooks := map[string]http.Handler{}
	d.m.check("replies", s.Storing)
	for _, w := range ways {
		if err := wayIn(d.cfg, w.Name, w.Transport, d.regions(w)); err != nil {
			return nil, err
		}
		in := s.Inbox(w.Name, sms.TraitsOf(w.Transport))
		if h, ok := w.Transport.(interface{ Health() error }); ok { // it holds a session
			d.m.check("texts by "+w.Name, h.Health)
		}
		if r, ok := w.Transport.(sms.Runner); ok {
			parts = append(parts, part{w.Name, func(ctx context.Context) error { return r.Run(ctx, in) }})
		}
		if h, ok := w.Transport.(sms.WebhookTaker); ok {
			hooks[w.Name] = h.Webhook(in)
		}
	}
	c := d.cfg.Webhooks
	if c.Listen == "" {
		return parts, nil
	}
	l, err := webhook.Listen(webhook.Options{Listen: c.Listen, PublicURL: c.PublicURL, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, Proxies: c.Proxies(), Transports: hooks,
		Observe: func(transport, verdict string) { d.inbox.webhooks.WithLabelValues(transport, verdict).Inc() }, Log: d.log.With("part", "webhooks")})
	if err != nil {
		return nil, err
	}
	for name := range hooks {
		d.log.Info("providers may call", "transport", name, "url", c.URL(name))
	}
	return append(parts, part{"webhooks", l.Run}), nil
}

// regions are those whose numbers are texted by a way.
func (d *serving) regions(w sms.Way) []string {
	if len(w.Regions) > 0 {
		return w.Regions
	}
	return d.rules.Load().Regions()
}
