package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"textback/cmd/textback/config"
	"textback/rules"
	"textback/sms"
	"textback/sms/androidgateway"
	"textback/sms/asterisk"
	"textback/sms/file"
	"textback/sms/httpapi"
	"textback/sms/sipmessage"
	"textback/sms/smpp"
	"textback/sms/spool"
	"textback/sms/telnyx"
	"textback/sms/twilio"
)

// openTransport builds one way out. It does not go to the network.
func openTransport(cfg *config.Config, name string, log *slog.Logger) (t sms.Transport, closeIt func(), err error) {
	closeIt = func() {}
	switch name {
	case config.TransportTwilio:
		opt := cfg.TwilioOptions()
		opt.Log = log
		t, err = twilio.New(opt)
	case config.TransportTelnyx:
		t, err = telnyx.New(cfg.TelnyxOptions())
	case config.TransportSMPP:
		opt, oerr := cfg.SMPPOptions(log)
		if oerr != nil {
			return nil, nil, oerr
		}
		t, err = smpp.New(opt)
	case config.TransportHTTP:
		t, err = httpapi.New(cfg.HTTPOptions())
	case config.TransportAndroid:
		opt := cfg.AndroidOptions()
		opt.Log = log
		t, err = androidgateway.New(opt)
	case config.TransportSIP:
		opt, oerr := cfg.SIPTextsOptions(log)
		if oerr != nil {
			return nil, nil, oerr
		}
		t, err = sipmessage.New(opt)
	case config.TransportAsterisk:
		t, err = asterisk.New(cfg.AsteriskTextsOptions(log))
	case config.TransportSpool:
		t, err = spool.Open(cfg.SpoolOptions(log))
	case config.TransportFile:
		f, ferr := file.Open(cfg.SMS.File.Path)
		if ferr != nil {
			return nil, nil, ferr
		}
		return f, func() { _ = f.Close() }, nil
	default:
		t = file.Log{Logger: log, ShowNumbers: cfg.Log.ShowNumbers}
	}
	return t, closeIt, err
}

// ways builds the ways out, in the order in which they are tried.
func (d *serving) ways() (ways []sms.Way, closeAll func(), err error) {
	var opened []func()
	closeAll = func() {
		for _, f := range opened {
			f()
		}
	}
	for _, name := range d.cfg.SMS.Transport {
		t, closeIt, err := openTransport(d.cfg, name, d.log)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		opened = append(opened, closeIt)
		ways = append(ways, sms.Way{Name: name, Transport: t, Regions: d.cfg.SMS.Regions[name], From: func(line string) string { return d.cfg.Sender(name, line) }})
	}
	if !d.cfg.SMS.Sends() {
		where := "here"
		if d.cfg.SMS.Transport[0] == config.TransportFile {
			where = "to " + d.cfg.SMS.File.Path
		}
		d.log.Warn("NO TEXT LEAVES THIS MACHINE: sms.transport is "+d.cfg.SMS.Transport[0]+"; what would be sent is written "+where, "mend", "set sms.transport to your provider once the account is there")
	}
	return ways, closeAll, nil
}

// across are the problems that only show when both files are held together.
func across(cfg *config.Config, r *rules.Rules) []config.Problem {
	return cfg.Across(r, func(name string, regions []string) (int, error) {
		if name == config.TransportFile {
			return 0, nil // to open it is to make the file
		}
		t, closeIt, err := openTransport(cfg, name, slog.New(slog.DiscardHandler))
		if err != nil {
			return 0, err
		}
		defer closeIt()
		return sms.TraitsOf(t).MaxSegments, wayIn(cfg, name, t, regions)
	})
}

// wayIn says why t may not text regions: nobody there could tell it to stop.
func wayIn(cfg *config.Config, name string, t sms.Transport, regions []string) error {
	if _, leaves := t.(sms.Declarer); !leaves {
		return nil // no text leaves this machine
	}
	return sms.CheckWayIn(name, sms.TraitsOf(t), regions, cfg.SMS.OptOutHandledBy)
}

// A checker can tell whether its provider is reached and takes the credentials.
type checker interface {
	Check(ctx context.Context) error
}

// providers looks at each way out, and whether STOP finds its way in.
func (d *doctor) providers(ctx context.Context, cfg *config.Config, r *rules.Rules) {
	for _, name := range cfg.SMS.Transport {
		what := "provider"
		if len(cfg.SMS.Transport) > 1 {
			what += " " + name
		}
		pctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		d.provider(pctx, cfg, name, what)
		cancel()
		d.optOut(ctx, cfg, r, name)
	}
}

// optOut tells how a STOP reaches textback.
func (d *doctor) optOut(ctx context.Context, cfg *config.Config, r *rules.Rules, name string) {
	if name == config.TransportFile {
		return // no text leaves, and to open it is to make the file, which must be the daemon's
	}
	t, closeIt, err := openTransport(cfg, name, slog.New(slog.DiscardHandler))
	if err != nil {
		return // told already
	}
	defer closeIt()
	if _, leaves := t.(sms.Declarer); !leaves {
		return
	}
	traits, regions := sms.TraitsOf(t), cfg.SMS.Regions[name]
	if len(regions) == 0 && r != nil {
		regions = r.Regions()
	}
	none := "no replies arrive, and no region that it texts asks for a way in"
	if by := cfg.SMS.OptOutHandledBy; by != "" {
		none = "no replies arrive; STOP is heard by: " + by
	}
	how := map[sms.ReplyWay]string{
		sms.ByWebhook: "replies and STOP are expected at " + cfg.Webhooks.URL(name) + "/inbound: set it at the provider",
		sms.ByPoll:    "the provider is asked for replies and STOP", sms.BySession: "replies and STOP come over the same session",
		sms.BySpool: "replies and STOP are read from the spool", sms.NoReplies: none,
	}[traits.Replies]
	if _, tells := t.(sms.Runner); tells && traits.Replies == sms.ByWebhook && name == config.TransportAndroid {
		how = "replies and STOP are expected at " + cfg.Webhooks.URL(name) + "/inbound: textback tells the phone so by itself"
	}
	d.say("opt-out", sms.CheckWayIn(name, traits, regions, cfg.SMS.OptOutHandledBy), how)
	if _, called := t.(sms.WebhookTaker); called && cfg.Webhooks.Listen != "" && cfg.HTTP.Listen != "" {
		d.webhook(ctx, cfg, name)
	}
}

// webhook calls a transport's public URL as a stranger would, who is sent away, and
// asks the daemon whether that was it.
func (d *doctor) webhook(ctx context.Context, cfg *config.Config, name string) {
	seen := func() (here, elsewhere float64, err error) {
		n, err := askMetrics(ctx, cfg, "textback_webhooks_total")
		return n[name], n[""], err
	}
	here, elsewhere, err := seen()
	if err != nil {
		return // that the daemon does not answer is told already
	}
	u := cfg.Webhooks.URL(name) + "/inbound"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		d.say("webhooks", err, "")
		return
	}
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		d.say("webhooks", fmt.Errorf("%s has no certificate that providers would trust: %w", u, cert.Err), "")
		return
	case err != nil:
		d.note("webhooks", "the public URL cannot be called from here, which a firewall may be the reason of; see whether the provider can: "+err.Error())
		return
	}
	resp.Body.Close()
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		nowHere, nowElsewhere, err := seen()
		switch {
		case err != nil:
			return
		case nowHere > here:
			d.say("webhooks", nil, u+" leads to textback")
			return
		case nowElsewhere > elsewhere:
			d.say("webhooks", fmt.Errorf("%s leads to textback under another path: the proxy must pass the path on as it is", u), "")
			return
		case time.Now().After(end):
			d.say("webhooks", fmt.Errorf("%s answers HTTP %d, and not from textback: the proxy in front must pass it on to %s", u, resp.StatusCode, cfg.Webhooks.Listen), "")
			return
		}
	}
}

func (d *doctor) provider(ctx context.Context, cfg *config.Config, name, what string) {
	if !cfg.SMS.Sends() {
		d.note(what, "sms.transport is "+name+": no text leaves this machine")
		return
	}
	switch name { // those whose session only serve may hold
	case config.TransportSMPP:
		opt, err := cfg.SMPPOptions(nil)
		if err == nil {
			err = smpp.Reach(ctx, opt)
		}
		d.say(what, err, "the SMSC at "+cfg.SMS.SMPP.Address+" can be reached; whether it takes the password stands in the line of the daemon: a second session may end the first")
		return
	case config.TransportSIP:
		opt, err := cfg.SIPTextsOptions(nil)
		if err == nil {
			err = sipmessage.Reach(ctx, opt)
		}
		d.say(what, err, "the SIP server "+cfg.SMS.SIP.Server+" answers; user and password are tried with the first text")
		return
	}
	t, closeIt, err := openTransport(cfg, name, slog.New(slog.DiscardHandler))
	if err != nil {
		d.say(what, err, "")
		return
	}
	defer closeIt()
	fine := "the account answers"
	switch name {
	case config.TransportAsterisk:
		fine = "Asterisk would take texts for endpoint " + cfg.SMS.Asterisk.Endpoint + "; what the carrier does with them it does not tell"
	case config.TransportSpool:
		fine = "the directories of " + cfg.SMS.Spool.Kind + " can be used; whether its modem works, its own log tells"
	case config.TransportHTTP:
		fine = "it can be reached; whether it takes the credentials shows with the first text"
		if setup := cfg.HTTPOptions().Setup(); setup != "" {
			d.note(what+"'s side", setup)
		}
	}
	if c, ok := t.(checker); ok {
		d.say(what, c.Check(ctx), fine)
	} else {
		d.note(what, name+" cannot be asked without sending a text")
	}
}
