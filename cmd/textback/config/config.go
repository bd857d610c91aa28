// Package config is in charge of textback.yaml, the wiring: which PBX, which
// lines, which way out. What is sent to whom is rules.yaml's business.
package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"textback/pbx"
	"textback/pbx/sip"
	"textback/rules/strict"
	"textback/sms/twilio"
)

// Config is textback.yaml, checked, with its defaults filled in and its
// secrets read. Keys are described in configs/textback.yaml.
type Config struct {
	Site     string `yaml:"site"`
	Region   string `yaml:"region"`
	StateDir string `yaml:"state_dir"`
	Rules    string `yaml:"rules"` // path

	PBX      PBX      `yaml:"pbx"`
	Lines    []Line   `yaml:"lines"`
	Contacts Contacts `yaml:"contacts"`
	SMS      SMS      `yaml:"sms"`
	NATS     NATS     `yaml:"nats"`
	HTTP     HTTP     `yaml:"http"`
	Log      Log      `yaml:"log"`

	Webhooks  Webhooks  `yaml:"webhooks"`
	Notify    Notify    `yaml:"notify"`
	Retention Retention `yaml:"retention"`
	OptOuts   OptOuts   `yaml:"optouts"`

	file  *strict.Report `yaml:"-"` // where in the file values stand; nil without one
	dir   string         `yaml:"-"` // where relative names are looked for
	named []namedFile    `yaml:"-"` // by …_file keys
}

// PBX says where calls are seen.
type PBX struct {
	// Asterisk is nil when this host only sends: another one watches and
	// publishes to the NATS server of nats.url.
	Asterisk *Asterisk `yaml:"asterisk"`
	// SIP is the second witness, or the only one where there is no ARI; nil: none.
	SIP        *SIP          `yaml:"sip"`
	MaxCallAge time.Duration `yaml:"max_call_age"`
}

// Asterisk is one Asterisk's ARI.
type Asterisk struct {
	URL          string   `yaml:"url"`
	User         string   `yaml:"user"`
	PasswordFile string   `yaml:"password_file"`
	App          string   `yaml:"app"`
	Outside      Patterns `yaml:"outside"`
	Inside       Patterns `yaml:"inside"`

	States         []string      `yaml:"states"`
	Variables      []string      `yaml:"variables"`
	VariablesEvery time.Duration `yaml:"variables_every"`

	Password Secret `yaml:"-"`
}

// SIP is the signalling that is read along.
type SIP struct {
	PBX       []string `yaml:"pbx"`    // addresses and networks
	Trunks    []string `yaml:"trunks"` // the same
	Mailboxes []string `yaml:"mailboxes"`
	Services  []string `yaml:"services"`
	Pickups   []string `yaml:"pickup_codes"`
	AllPhones bool     `yaml:"all_phones"`
	HEP       HEP      `yaml:"hep"`
	Capture   Capture  `yaml:"capture"`
}

// HEP is where copies of SIP messages are received.
type HEP struct {
	Listen  string   `yaml:"listen"` // host:port, UDP and TCP; empty: nowhere
	KeyFile string   `yaml:"key_file"`
	Allow   []string `yaml:"allow"`

	Key Secret `yaml:"-"`
}

// Capture is where SIP messages are read off the wire.
type Capture struct {
	Interfaces  []string `yaml:"interfaces"`
	Ports       []string `yaml:"ports"` // numbers and ranges such as 5060-5069
	Promiscuous bool     `yaml:"promiscuous"`
}

// Patterns tell legs by the context or the endpoint they stand in; '*' stands
// for any run of characters. Nil lists mean the tracker's defaults.
type Patterns struct {
	Contexts  []string `yaml:"contexts"`
	Endpoints []string `yaml:"endpoints"`
}

// Line is one of the office's own numbers.
type Line struct {
	Number  string   `yaml:"number"` // E.164 once checked
	Dialed  []string `yaml:"dialed"`
	Name    string   `yaml:"name"`
	SMSFrom string   `yaml:"sms_from"`
}

// SMS is the way out.
type SMS struct {
	Transport      []string            `yaml:"transport"` // those of a text's region are tried in this order
	Regions        map[string][]string `yaml:"regions"`   // of recipients, by transport; none: all
	Senders        map[string]string   `yaml:"senders"`   // by transport
	From           string              `yaml:"from"`
	GotThroughTalk time.Duration       `yaml:"got_through_talk"`
	File           File                `yaml:"file"`
	Twilio         Twilio              `yaml:"twilio"`
	SMPP           SMPP                `yaml:"smpp"`
	Telnyx         Telnyx              `yaml:"telnyx"`
	SIP            SIPTexts            `yaml:"sip"`
	Asterisk       AsteriskTexts       `yaml:"asterisk"`
	HTTP           HTTPAPI             `yaml:"http"`
	Android        Android             `yaml:"android"`
	Spool          Spool               `yaml:"spool"`

	Replies Replies `yaml:"replies"`
	// OptOutHandledBy says who hears STOP where the transport brings no replies.
	OptOutHandledBy string `yaml:"opt_out_handled_by"`
}

// TransportTwilio is a value of SMS.Transport.
const TransportTwilio = "twilio"

// The words that some keys take.
var (
	levelWords = []string{"debug", "info", "warn", "error"}
	formats    = []string{"text", "json"}
)

// File is the transport that appends to a file.
type File struct {
	Path string `yaml:"path"`
}

// Twilio is an account at Twilio or at a provider that speaks its API.
type Twilio struct {
	AccountSID          string        `yaml:"account_sid"`
	AuthTokenFile       string        `yaml:"auth_token_file"`
	APIKeySID           string        `yaml:"api_key_sid"`
	APIKeySecretFile    string        `yaml:"api_key_secret_file"`
	MessagingServiceSID string        `yaml:"messaging_service_sid"`
	BaseURL             string        `yaml:"base_url"`
	Validity            time.Duration `yaml:"validity"`
	Poll                string        `yaml:"poll"` // an interval, or off; empty: see PollEvery
	WebhookTokenFile    string        `yaml:"webhook_token_file"`
	AnswersStop         *bool         `yaml:"answers_stop"` // nil: Twilio does, others do not

	AuthToken    Secret        `yaml:"-"`
	APIKeySecret Secret        `yaml:"-"`
	WebhookToken Secret        `yaml:"-"`
	PollEvery    time.Duration `yaml:"-"` // 0: never
	// PublicURL is where the provider reaches us; empty: nowhere.
	PublicURL string `yaml:"-"`
}

// How often Twilio is asked for what came in: often where that is the only way
// in, and where it has a URL to call, for what came while that did not answer.
const (
	pollAlone  = 15 * time.Second
	pollBeside = 5 * time.Minute
)

// NATS is the server that events, jobs and timers live on: an embedded one
// when URL is empty.
type NATS struct {
	URL             string `yaml:"url"`
	CredentialsFile string `yaml:"credentials_file"` // path, found
	TLS             TLS    `yaml:"tls"`
	Listen          string `yaml:"listen"` // host:port of the embedded server; empty: in process only
}

// TLS files for an external NATS server, as paths that exist.
type TLS struct {
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// HTTP is where metrics and health are served.
type HTTP struct {
	Listen string `yaml:"listen"` // host:port; empty: nowhere
}

// Log says what is logged and how.
type Log struct {
	Level       string `yaml:"level"`
	Format      string `yaml:"format"`
	ShowNumbers bool   `yaml:"show_numbers"`
}

// SlogLevel is Level for slog.
func (l Log) SlogLevel() slog.Level { return levels[l.Level] }

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// off is what an admin writes for an address at which nothing shall listen.
const off = "off"

// defaults returns what an empty textback.yaml means.
func defaults() *Config {
	c := &Config{
		Site:   "office",
		Region: "US",
		Rules:  "rules.yaml",
		PBX:    PBX{MaxCallAge: pbx.DefaultMaxAge},
		SMS: SMS{
			Transport: []string{TransportLog},
			// CALLS.md, "got through": mailboxes answer outbound calls too.
			GotThroughTalk: 20 * time.Second,
			File:           File{Path: "texts.jsonl"},
			// A text is retried for 15 minutes here; the provider must not keep it longer.
			Twilio:   Twilio{Validity: 15 * time.Minute},
			SMPP:     smppDefaults(),
			SIP:      sipTextsDefaults(),
			Asterisk: asteriskTextsDefaults(),
			HTTP:     HTTPAPI{Validity: 15 * time.Minute},
			Android:  Android{Validity: 15 * time.Minute},
			Spool:    spoolDefaults(),
		},
		NATS: NATS{Listen: "127.0.0.1:4222"},
		HTTP: HTTP{Listen: "127.0.0.1:9470"},
		Log:  Log{Level: "info", Format: "text"},
	}
	c.inboundDefaults()
	return c
}

// Defaults fills in what an empty pbx.asterisk means.
func (a *Asterisk) Defaults() {
	*a = Asterisk{URL: "http://127.0.0.1:8088", User: "textback", PasswordFile: "ari_password", App: "textback", VariablesEvery: 10 * time.Second}
}

// Witness returns what the reader of SIP must know. pbx.sip must be set.
func (c *Config) Witness() sip.Config {
	s := c.PBX.SIP
	w := sip.Config{PBX: prefixes(s.PBX), Trunks: prefixes(s.Trunks), AllPhones: s.AllPhones, Pickups: s.Pickups}
	for _, t := range s.Mailboxes {
		w.Mailboxes = append(w.Mailboxes, sip.ParseTarget(t))
	}
	for _, t := range s.Services {
		w.Services = append(w.Services, sip.ParseTarget(t))
	}
	return w
}

// HEPAllow returns who may send copies; nil means this host alone.
func (c *Config) HEPAllow() []netip.Prefix { return prefixes(c.PBX.SIP.HEP.Allow) }

// prefixes reads what check has found to be readable.
func prefixes(all []string) (out []netip.Prefix) {
	for _, s := range all {
		if p, err := sip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// Tracker returns what the tracker must know.
func (c *Config) Tracker() pbx.Config {
	t := pbx.Config{Site: c.Site, Source: "ari", Region: c.Region, MaxAge: c.PBX.MaxCallAge}
	if a := c.PBX.Asterisk; a != nil {
		t.OutsideContexts, t.OutsideEndpoints, t.InsideContexts = a.Outside.Contexts, a.Outside.Endpoints, a.Inside.Contexts
	}
	for _, l := range c.Lines {
		for _, d := range l.Dialed {
			t.Lines = append(t.Lines, pbx.LineName{Raw: d, Number: l.Number, Name: l.Name})
		}
	}
	return t
}

// TwilioOptions returns what package twilio must know.
func (c *Config) TwilioOptions() twilio.Options {
	t := c.SMS.Twilio
	answers := t.BaseURL == ""
	if t.AnswersStop != nil {
		answers = *t.AnswersStop
	}
	return twilio.Options{AccountSID: t.AccountSID, AuthToken: t.AuthToken.Reveal(), APIKeySID: t.APIKeySID, APIKeySecret: t.APIKeySecret.Reveal(),
		BaseURL: t.BaseURL, From: c.SMS.From, MessagingServiceSID: t.MessagingServiceSID, Validity: t.Validity,
		PublicURL: t.PublicURL, WebhookToken: t.WebhookToken.Reveal(), Poll: t.PollEvery, Numbers: c.senders(), AnswersStop: answers}
}

// senders are the numbers that texts of the office come from, and so those that replies
// go to. Nil means that they are not all known: any of the account's may be one.
func (c *Config) senders() (all []string) {
	if c.SMS.From == "" && len(c.Lines) == 0 || c.SMS.Twilio.MessagingServiceSID != "" {
		return nil
	}
	for _, l := range c.Lines {
		all = append(all, l.Number, l.SMSFrom)
	}
	all = append(all, c.SMS.From)
	if slices.ContainsFunc(all, serviceSID.MatchString) {
		return nil
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}
