package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/bus"
	"textback/rules"
	"textback/sms"
	"textback/sms/notify"
)

type doctorCmd struct {
	configFlag
	JSON bool `name:"json" help:"Print JSON, one check a line."`
}

// doctor prints one line per check; a line that is not well says how to mend it.
type doctor struct {
	con  console
	json bool
	sick bool
}

func (d *doctor) say(what string, err error, good string) {
	if err == nil {
		d.line("ok", what, good)
		return
	}
	d.sick = true
	d.line("SICK", what, err.Error())
}

func (d *doctor) note(what, text string) { d.line("note", what, text) }

func (d *doctor) line(level, what, text string) {
	if d.json {
		_ = lines(d.con.out).Encode(struct {
			Level string `json:"level"` // ok, sick, note
			What  string `json:"what"`
			Text  string `json:"text"`
		}{strings.ToLower(level), what, text})
		return
	}
	fmt.Fprintf(d.con.out, "%-5s %-11s %s\n", level, what, text)
}

// Run looks at everything that must work for a missed call to become a text.
// It sends nothing and disturbs no running daemon.
func (c doctorCmd) Run(ctx context.Context, con console) error {
	d := &doctor{con: con, json: c.JSON}
	cfg, problems := config.Load(c.Config)
	d.say("config", firstError(con, problems), c.Config)
	if d.sick {
		return errNotOK
	}
	r, rproblems := rules.Load(cfg.Rules)
	bad := 0
	for _, p := range rproblems {
		if !p.Warning {
			bad++
			fmt.Fprintln(con.err, p)
		}
	}
	if bad > 0 || r == nil {
		d.say("rules", fmt.Errorf("%s has %d errors: see 'textback check'", cfg.Rules, max(bad, 1)), "")
	} else {
		d.say("rules", nil, fmt.Sprintf("%s, version %s", cfg.Rules, r.Version()))
		for _, p := range cfg.Across(r, nil) { // how a STOP comes in is told below
			if p.Warning {
				d.note("rules", p.Text)
			} else {
				d.say("rules", errors.New(p.String()), "")
			}
		}
		if r.Shadow() {
			d.note("rules", "mode is shadow: no text is sent")
		}
	}
	d.contacts(ctx, cfg)
	if a := cfg.PBX.Asterisk; a != nil {
		d.asterisk(ctx, cfg)
	}
	d.nats(ctx, cfg)
	d.daemon(ctx, cfg)
	if cfg.PBX.SIP != nil {
		d.sip(ctx, cfg)
	}
	d.providers(ctx, cfg, r)
	d.mail(ctx, cfg)
	if d.sick {
		return errNotOK
	}
	return nil
}

// mail looks at the way to staff.
func (d *doctor) mail(ctx context.Context, cfg *config.Config) {
	s := cfg.Notify.SMTP
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	opt, err := cfg.NotifyOptions()
	var n *notify.Notifier
	if err == nil {
		n, err = notify.New(opt)
	}
	if err == nil {
		err = n.Check(ctx)
	}
	d.say("mail", err, "the mail server "+s.Host+" takes e-mail of ours")
}

func firstError(con console, problems []config.Problem) error {
	n := 0
	for _, p := range problems {
		if !p.Warning {
			n++
			fmt.Fprintln(con.err, p)
		}
	}
	if n > 0 {
		return fmt.Errorf("%d errors: see above", n)
	}
	return nil
}

func (d *doctor) asterisk(ctx context.Context, cfg *config.Config) {
	a := cfg.PBX.Asterisk
	client, err := ari.NewClient(ari.Options{URL: a.URL, User: a.User, Password: a.Password.Reveal(), App: a.App}, pbx.NewTracker(cfg.Tracker()))
	if err != nil {
		d.say("asterisk", err, "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	version, err := client.Version(ctx)
	switch ari.Status(err) {
	case 0:
		if err != nil {
			err = fmt.Errorf("%w: is Asterisk running, and http.conf enabled with bindaddr and bindport as in pbx.asterisk.url (%s)?", err, a.URL)
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fmt.Errorf("%w: user %q or its password is not what ari.conf says", err, a.User)
	case http.StatusNotFound:
		err = fmt.Errorf("%w: ARI is not there: is ari.conf enabled, is res_ari loaded ('module show like res_ari'), has http.conf a prefix?", err)
	case http.StatusServiceUnavailable:
		err = fmt.Errorf("%w: Asterisk is still starting", err)
	}
	d.say("asterisk", err, "version "+version+" at "+a.URL)
	if err != nil {
		return
	}
	if major, _, _ := strings.Cut(version, "."); major != "" {
		if n, err := strconv.Atoi(major); err == nil && n < 16 {
			d.note("asterisk", "versions before 16 are not tested")
		}
	}
	err = client.Probe(ctx)
	if code := ari.Status(err); code == http.StatusForbidden {
		err = fmt.Errorf("%w: set read_only=no for user %q in ari.conf", err, a.User)
	}
	d.say("events", err, "the event socket opens")
	for _, device := range a.States {
		state, err := client.AskState(ctx, device)
		d.pbxValue("state", device, state, err, "has the dialplan or a phone ever set it?")
	}
	for _, name := range a.Variables {
		if strings.HasSuffix(name, ")") {
			d.note("variable", name+" is a function: Asterisk tells it while a call is up only, and the log says if it does not")
			continue
		}
		value, err := client.AskVariable(ctx, name)
		d.pbxValue("variable", name, value, err, "there is no such variable, or it is empty")
	}
	if at, err := client.Clock(ctx); err == nil && !at.IsZero() {
		if off := time.Since(at).Abs(); off > 5*time.Second {
			d.say("clock", fmt.Errorf("this host and Asterisk are %v apart: run NTP on both, or fresh calls look stale", off.Round(time.Second)), "")
		} else {
			d.say("clock", nil, "agrees with Asterisk's")
		}
	}
}

// pbxValue tells what the PBX says of something that rules may ask for.
func (d *doctor) pbxValue(what, name, value string, err error, mend string) {
	switch {
	case err != nil:
		d.note(what, fmt.Sprintf("Asterisk does not tell %s, so no rule that asks for it matches: %v", name, err))
	case value == "":
		d.note(what, fmt.Sprintf("Asterisk does not know %s, so no rule that asks for it matches: %s", name, mend))
	default:
		d.say(what, nil, name+" is "+value)
	}
}

// openNATS connects a subcommand to the server of the running daemon.
func openNATS(ctx context.Context, cfg *config.Config, role bus.Role) (nc *natsConn, err error) {
	opt := bus.ConnectOptions{Role: role, URL: cfg.NATS.URL, CredentialsFile: cfg.NATS.CredentialsFile,
		CAFile: cfg.NATS.TLS.CAFile, CertFile: cfg.NATS.TLS.CertFile, TLSKeyFile: cfg.NATS.TLS.KeyFile, Name: "cli"}
	if cfg.NATS.URL == "" {
		if cfg.NATS.Listen == "" {
			return nil, errors.New("nats.listen is off, so the running daemon cannot be asked: set it to 127.0.0.1:4222")
		}
		opt.URL, opt.KeyFile = "nats://"+cfg.NATS.Listen, bus.KeyFile(cfg.StateDir, role)
		if _, err := os.Stat(opt.KeyFile); err != nil {
			if errors.Is(err, os.ErrPermission) {
				return nil, fmt.Errorf("%w: run this as root or as textback's own user", err)
			}
			return nil, fmt.Errorf("%w: has textback ever run with this state_dir?", err)
		}
	}
	c, err := bus.Connect(opt)
	if err != nil {
		return nil, err
	}
	wctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := bus.WaitConnected(wctx, c); err != nil {
		c.Close()
		if cfg.NATS.URL != "" {
			return nil, fmt.Errorf("NATS server at %s: %w", cfg.NATS.URL, err)
		}
		return nil, fmt.Errorf("no NATS server at %s (is textback running? 'systemctl status textback'): %w", opt.URL, err)
	}
	return c, nil
}

func (d *doctor) nats(ctx context.Context, cfg *config.Config) {
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err != nil {
		d.say("nats", err, "")
		return
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d.say("nats", bus.CheckServer(ctx, nc), "version "+nc.ConnectedServerVersion())
	for _, s := range []string{bus.CallsStream, bus.LiveStream, sms.Stream, sms.OptOutStream, sms.ConvStream} {
		if _, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+s, nil); err != nil {
			d.say("stream", fmt.Errorf("%s: %w", s, err), "")
		}
	}
	if cfg.NATS.URL != "" {
		d.note("nats", "whether the server syncs every write (jetstream: sync_interval: always) cannot be seen from here: make sure it does")
	}
}

func (d *doctor) daemon(ctx context.Context, cfg *config.Config) {
	if cfg.HTTP.Listen == "" {
		d.note("daemon", "http.listen is off: health cannot be asked")
		return
	}
	h, err := askHealth(ctx, cfg)
	if err != nil {
		d.say("daemon", err, "")
		return
	}
	var bad []string
	for _, part := range h.Bad {
		bad = append(bad, part+": "+h.Parts[part])
	}
	if len(bad) > 0 {
		d.say("daemon", errors.New(strings.Join(bad, "; ")), "")
		return
	}
	d.say("daemon", nil, fmt.Sprintf("version %s, up %v", h.Version, (time.Duration(h.UpSeconds)*time.Second).String()))
}

// sip asks the running daemon what it has read.
func (d *doctor) sip(ctx context.Context, cfg *config.Config) {
	if cfg.HTTP.Listen == "" {
		return
	}
	got, err := askMetrics(ctx, cfg, "textback_sip_messages_total")
	if err != nil {
		d.say("sip", err, "")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		err = nil
		if got[name] == 0 {
			err = errors.New("no SIP message has come yet: does the PBX talk on this interface and these ports, unencrypted?")
			if name == "hep" {
				err = fmt.Errorf("no copy has come yet: does the PBX send HEP to %s, with the right key, from an allowed address? dropped packets are in the log", cfg.PBX.SIP.HEP.Listen)
			}
		}
		d.say("sip "+name, err, fmt.Sprintf("%.0f messages read", got[name]))
	}
}
