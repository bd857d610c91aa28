package config

import (
	"crypto/x509"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/pbx/sip"
	"textback/rules/strict"
	"textback/sms"
	"textback/sms/notify"
)

// Replies says how texts that arrive are taken.
type Replies struct {
	Tell      []string `yaml:"tell"`      // names of staff; nil: all of them
	Languages []string `yaml:"languages"` // in which STOP is heard; nil: all that are known
	StopWords []string `yaml:"stop_words"`
	YesStarts bool     `yaml:"yes_starts"`
	Language  string   `yaml:"language"` // of answers when the keyword does not tell
	Answers   Answers  `yaml:"answers"`
}

// Answers are the words that answer keywords, by language.
type Answers struct {
	Stop  map[string]string `yaml:"stop"`
	Start map[string]string `yaml:"start"`
	Help  map[string]string `yaml:"help"`
}

// Webhooks is the listener that providers call.
type Webhooks struct {
	Listen         string   `yaml:"listen"` // host:port; empty: nowhere
	PublicURL      string   `yaml:"public_url"`
	TLS            Keypair  `yaml:"tls"`
	TrustedProxies []string `yaml:"trusted_proxies"`
}

// Keypair is a server's certificate, as paths that exist.
type Keypair struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// URL is where providers reach a transport, empty if they cannot.
func (w Webhooks) URL(transport string) string {
	if w.PublicURL == "" {
		return ""
	}
	return strings.TrimSuffix(w.PublicURL, "/") + "/" + transport
}

// Proxies are those that are believed; nil means this host.
func (w Webhooks) Proxies() []netip.Prefix { return prefixes(w.TrustedProxies) }

// Notify is how staff is told.
type Notify struct {
	SMTP              *SMTP         `yaml:"smtp"` // nil: no e-mail
	WebhookSecretFile string        `yaml:"webhook_secret_file"`
	Limit             int           `yaml:"limit"`
	Window            time.Duration `yaml:"window"`

	WebhookSecret Secret `yaml:"-"`
}

// SMTP is the office's mail server.
type SMTP struct {
	Host         string `yaml:"host"`
	Port         int    `yaml:"port"`
	TLS          string `yaml:"tls"`
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	From         string `yaml:"from"`
	CAFile       string `yaml:"ca_file"` // path, found

	Password Secret `yaml:"-"`
}

// Retention is how long words and numbers are kept.
type Retention struct {
	Bodies  time.Duration `yaml:"bodies"`
	Numbers time.Duration `yaml:"numbers"`
}

// OptOuts says what the list of opt-outs holds.
type OptOuts struct {
	Store string `yaml:"store"` // StoreHash or StoreNumber
}

// The values of OptOuts.Store.
const (
	StoreHash   = "hash"
	StoreNumber = "number"
)

func (c *Config) inboundDefaults() {
	c.SMS.Replies.Language = "en"
	c.Notify = Notify{Limit: 10, Window: 10 * time.Minute}
	c.Retention = Retention{Bodies: sms.DefaultBodies, Numbers: sms.DefaultNumbers}
	c.OptOuts.Store = StoreHash
}

func (c *Config) checkInbound(r *report) {
	re, where := &c.SMS.Replies, strict.At("sms", "replies")
	for i, l := range re.Languages {
		if !slices.Contains(sms.Languages(), l) {
			r.OneOf(where.Key("languages").Index(i), "language", l, sms.Languages()...)
		}
	}
	if !slices.Contains(sms.Languages(), re.Language) {
		r.OneOf(where.Key("language"), "language", re.Language, sms.Languages()...)
	}
	for i, w := range re.StopWords {
		if _, err := sms.NewKeywords(sms.KeywordOptions{Stop: []string{w}}); err != nil {
			r.Problem(where.Key("stop_words").Index(i), "%v", err)
		}
	}
	for name, texts := range map[string]map[string]string{"stop": re.Answers.Stop, "start": re.Answers.Start, "help": re.Answers.Help} {
		for lang, text := range texts {
			if bad := (sms.Answers{}).Check(text); bad != "" {
				r.Problem(where.Key("answers", name, lang), "%s", bad)
			}
		}
	}
	c.checkWebhooks(r)
	c.checkNotify(r)
	ret, at := &c.Retention, strict.At("retention")
	if ret.Bodies < 24*time.Hour || ret.Bodies > 10*365*24*time.Hour {
		r.Problem(at.Key("bodies"), "%s is out of range: words of texts are kept for at least 24h; 720h is 30 days", ret.Bodies)
	}
	if ret.Numbers < 48*time.Hour || ret.Numbers > 10*365*24*time.Hour {
		r.Problem(at.Key("numbers"), "%s is out of range: calls and their numbers are kept for at least 48h; 2160h is 90 days", ret.Numbers)
	}
	if ret.Bodies > ret.Numbers {
		r.Problem(at.Key("bodies"), "words cannot be kept longer (%s) than the numbers they belong to (%s)", ret.Bodies, ret.Numbers)
	}
	if s := c.OptOuts.Store; s != StoreHash && s != StoreNumber {
		r.OneOf(strict.At("optouts", "store"), "store", s, StoreHash, StoreNumber)
	}
}

func (c *Config) checkWebhooks(r *report) {
	w, where := &c.Webhooks, strict.At("webhooks")
	if w.Listen == "" || w.Listen == off {
		w.Listen = ""
		if w.PublicURL != "" {
			r.Problem(where.Key("public_url"), "nothing listens behind it: set webhooks.listen, such as 127.0.0.1:9471")
		}
		return
	}
	w.TLS.CertFile, w.TLS.KeyFile = r.path(where.Key("tls", "cert_file"), w.TLS.CertFile), r.path(where.Key("tls", "key_file"), w.TLS.KeyFile)
	if (w.TLS.CertFile == "") != (w.TLS.KeyFile == "") {
		r.Problem(where.Key("tls"), "cert_file and key_file belong together: one of them is missing")
	}
	why := "it speaks no TLS: let a proxy on this host do that, or set tls"
	if w.TLS.CertFile != "" {
		// Open to the network, in TLS: that is what it is for.
		w.Listen = address(r, where.Key("listen"), w.Listen)
	} else {
		w.Listen = listen(r, where.Key("listen"), w.Listen, why)
	}
	u, err := url.Parse(w.PublicURL)
	switch {
	case w.PublicURL == "":
		r.Problem(where.Key("listen"), "providers sign the URL they call, so set webhooks.public_url to what they are given, such as https://sms.example.com/textback")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		r.Problem(where.Key("public_url"), "want https://host, with a path if you like")
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		r.Warning(where.Key("public_url"), "what callers write would cross the network in the clear: use https://%s", u.Host)
	case strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/.") || u.EscapedPath() != u.Path:
		r.Problem(where.Key("public_url"), "write its path plainly: letters, digits, - and _")
	}
	for i, p := range w.TrustedProxies {
		if _, err := sip.ParsePrefix(p); err != nil {
			r.Problem(where.Key("trusted_proxies").Index(i), "%q is no address: name the proxies that stand in front, such as 192.0.2.10", p)
		}
	}
}

func (c *Config) checkNotify(r *report) {
	n, where := &c.Notify, strict.At("notify")
	if n.Limit < 1 || n.Limit > 1000 {
		r.Problem(where.Key("limit"), "%d is out of range: so many notices a person gets one by one within notify.window; use 1 to 1000", n.Limit)
	}
	if n.Window < time.Minute || n.Window > 24*time.Hour {
		r.Problem(where.Key("window"), "%s is out of range: use 1m to 24h", n.Window)
	}
	if n.WebhookSecretFile != "" {
		n.WebhookSecret = r.secret(where.Key("webhook_secret_file"), n.WebhookSecretFile, "the secret that signs webhooks to staff")
	}
	s := n.SMTP
	if s == nil {
		return
	}
	at := where.Key("smtp")
	if s.Host == "" {
		r.Problem(at.Key("host"), "name the mail server, such as smtp.example.com")
	}
	if a, err := mail.ParseAddress(s.From); err != nil || a.Address == "" {
		r.Problem(at.Key("from"), "want who e-mails come from, such as textback@example.com")
	}
	if s.Port < 0 || s.Port > 65535 {
		r.Problem(at.Key("port"), "%d is no port", s.Port)
	}
	switch s.TLS {
	case "":
		s.TLS = notify.StartTLS
	case notify.StartTLS, notify.ImplicitTLS, notify.NoTLS:
	default:
		r.OneOf(at.Key("tls"), "tls", s.TLS, notify.StartTLS, notify.ImplicitTLS, notify.NoTLS)
	}
	if s.TLS == notify.NoTLS && !loopbackHost(s.Host) {
		if s.User != "" {
			r.Problem(at.Key("tls"), "the password would cross the network in the clear: use starttls or implicit")
		} else {
			r.Warning(at.Key("tls"), "what callers write crosses the network in the clear: use starttls or implicit")
		}
	}
	switch {
	case s.User != "" && s.PasswordFile == "":
		r.Problem(at.Key("user"), "a login needs password_file too")
	case s.User == "" && s.PasswordFile != "":
		r.Problem(at.Key("password_file"), "a login needs user too")
	case s.PasswordFile != "":
		s.Password = r.secret(at.Key("password_file"), s.PasswordFile, "the password of "+s.User+" at the mail server")
	}
	s.CAFile = r.path(at.Key("ca_file"), s.CAFile)
}

// NotifyOptions returns what package notify must know.
func (c *Config) NotifyOptions() (notify.Options, error) {
	o := notify.Options{Site: c.Site, Secret: c.Notify.WebhookSecret.Reveal()}
	s := c.Notify.SMTP
	if s == nil {
		return o, nil
	}
	o.SMTP = &notify.SMTP{Host: s.Host, Port: s.Port, TLS: s.TLS, User: s.User, Password: s.Password.Reveal(), From: s.From}
	if s.CAFile != "" {
		b, err := os.ReadFile(s.CAFile)
		if err != nil {
			return o, err
		}
		o.SMTP.Roots = x509.NewCertPool()
		o.SMTP.Roots.AppendCertsFromPEM(b)
	}
	return o, nil
}

// InboxOptions returns what is in the configuration of how texts are taken.
func (c *Config) InboxOptions() (sms.InboxOptions, error) {
	re := c.SMS.Replies
	k, err := sms.NewKeywords(sms.KeywordOptions{Languages: re.Languages, Stop: re.StopWords, YesStarts: re.YesStarts})
	if err != nil {
		return sms.InboxOptions{}, err
	}
	return sms.InboxOptions{Keywords: k, Language: re.Language, Answers: sms.Answers{sms.Stop: re.Answers.Stop, sms.Start: re.Answers.Start, sms.Help: re.Answers.Help},
		Own: c.Own()}, nil
}

// Own tells the office's own numbers: its lines, and those that its texts come from.
func (c *Config) Own() func(number string) bool {
	own := map[string]bool{}
	for _, l := range c.Lines {
		own[l.Number], own[l.SMSFrom] = true, true
	}
	own[c.SMS.From] = true
	delete(own, "")
	return func(n string) bool { return own[n] }
}

// LineOfTexts is the line on whose behalf texts leave from a number, for one that all lines
// share the first line: whoever calls back at a number that only texts reaches nobody.
func (c *Config) LineOfTexts(from string) pbx.Line {
	for _, by := range []func(l Line) bool{
		func(l Line) bool { return from != "" && l.Number == from },
		func(l Line) bool { return from != "" && l.SMSFrom == from },
		func(l Line) bool { return l.SMSFrom == "" },
	} {
		if i := slices.IndexFunc(c.Lines, by); i >= 0 {
			return pbx.Line{Number: c.Lines[i].Number, Name: c.Lines[i].Name}
		}
	}
	return pbx.Line{Number: from}
}

// Keep is the retention as package sms takes it.
func (c *Config) Keep() sms.Retention {
	return sms.Retention{Bodies: c.Retention.Bodies, Numbers: c.Retention.Numbers}
}
