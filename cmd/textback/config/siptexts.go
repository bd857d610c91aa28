package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"textback/pbx/sip"
	"textback/rules/strict"
	"textback/sms/asterisk"
	"textback/sms/sipmessage"
)

// Values of SMS.Transport.
const (
	TransportSIP      = "sip"
	TransportAsterisk = "asterisk"
)

// SIPTexts is a trunk, gateway or PBX that texts go to as SIP MESSAGE.
type SIPTexts struct {
	Server           string        `yaml:"server"`    // host or host:port
	Transport        string        `yaml:"transport"` // udp, tcp or tls
	TLS              SIPTextsTLS   `yaml:"tls"`
	User             string        `yaml:"user"`
	PasswordFile     string        `yaml:"password_file"`
	Domain           string        `yaml:"domain"`
	From             string        `yaml:"from"`    // fromNumber or fromAccount
	Numbers          string        `yaml:"numbers"` // numbersE164 or numbersDigits
	AssertedIdentity bool          `yaml:"asserted_identity"`
	Register         bool          `yaml:"register"`
	Expires          time.Duration `yaml:"expires"`
	Listen           string        `yaml:"listen"` // host:port; empty: a port of the system's choice
	Advertise        string        `yaml:"advertise"`
	Allow            []string      `yaml:"allow"`
	Validity         time.Duration `yaml:"validity"`
	Receipts         bool          `yaml:"receipts"`
	MaxSize          int           `yaml:"max_size"` // bytes
	Probe            bool          `yaml:"probe"`
	RatePerMinute    int           `yaml:"rate_per_minute"` // 0: no limit

	Password Secret `yaml:"-"`
}

// SIPTextsTLS says how the server is known, and how we are.
type SIPTextsTLS struct {
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// AsteriskTexts is a trunk of the Asterisk in pbx.asterisk.
type AsteriskTexts struct {
	Endpoint         string `yaml:"endpoint"`
	Domain           string `yaml:"domain"`
	App              string `yaml:"app"`
	Numbers          string `yaml:"numbers"` // as in SIPTexts
	AssertedIdentity bool   `yaml:"asserted_identity"`
	RatePerMinute    int    `yaml:"rate_per_minute"` // 0: no limit
}

const (
	fromNumber    = "number"
	fromAccount   = "account"
	numbersE164   = "e164"
	numbersDigits = "digits"
)

func sipTextsDefaults() SIPTexts {
	return SIPTexts{Transport: sipmessage.UDP, From: fromNumber, Numbers: numbersE164, Expires: 10 * time.Minute, Validity: 15 * time.Minute, MaxSize: 1300, Probe: true}
}

func asteriskTextsDefaults() AsteriskTexts {
	return AsteriskTexts{App: "textback-texts", Numbers: numbersE164}
}

func (c *Config) checkSIPTexts(r *report) {
	s, where := &c.SMS.SIP, strict.At("sms", "sip")
	host, _, err := sipmessage.SplitServer(s.Server)
	switch {
	case s.Server == "":
		r.Problem(where.Key("server"), "sms.transport is sip, so sms.sip.server is needed: the trunk, gateway or PBX that takes SIP MESSAGE, such as sip.example.com")
	case err != nil:
		r.Problem(where.Key("server"), "%q is no server: %v", s.Server, err)
	case s.Transport != sipmessage.TLS && !loopbackHost(host) && !privateHost(host):
		r.Warning(where.Key("transport"), "texts cross the network in the clear, and over udp a reply can be forged by whoever forges the server's address: use tls if the server has it")
	}
	switch s.Transport {
	case sipmessage.UDP, sipmessage.TCP, sipmessage.TLS:
	default:
		r.OneOf(where.Key("transport"), "transport", s.Transport, sipmessage.UDP, sipmessage.TCP, sipmessage.TLS)
	}
	c.checkSIPTextsAccount(r, where)
	checkNumbers(r, where, s.Numbers, s.RatePerMinute)
	if s.Expires < time.Minute || s.Expires > 24*time.Hour {
		r.Problem(where.Key("expires"), "%s is out of range: a registration is asked for this long; use 1m to 24h, 10m is usual", s.Expires)
	}
	if s.Validity < 0 || s.Validity > 24*time.Hour || s.Validity%time.Second != 0 {
		r.Problem(where.Key("validity"), "%s is out of range: use whole seconds up to 24h, or 0s to leave it out", s.Validity)
	}
	switch most := 60 << 10; {
	case s.Transport == sipmessage.UDP && (s.MaxSize < 600 || s.MaxSize > 1300):
		r.Problem(where.Key("max_size"), "%d is out of range: over udp a request has at most 1300 bytes (RFC 3261); use 600 to 1300, or tcp or tls", s.MaxSize)
	case s.MaxSize < 600 || s.MaxSize > most:
		r.Problem(where.Key("max_size"), "%d is out of range: use 600 to %d bytes, 1300 is what RFC 3428 allows on unknown ways", s.MaxSize, most)
	}
	for i, a := range s.Allow {
		if p, err := sip.ParsePrefix(a); err != nil {
			r.Problem(where.Key("allow").Index(i), "%q is no address: use one such as 192.0.2.10, or a network such as 198.51.100.0/24", a)
		} else if p.Bits() == 0 {
			r.Problem(where.Key("allow").Index(i), "%s is everybody: then strangers write replies; name your carrier's networks", a)
		}
	}
	c.checkSIPTextsSocket(r, where)
}

func (c *Config) checkSIPTextsAccount(r *report, where strict.Path) {
	s := &c.SMS.SIP
	if s.From != fromNumber && s.From != fromAccount {
		r.OneOf(where.Key("from"), "from", s.From, fromNumber, fromAccount)
	}
	switch {
	case s.User == "" && s.PasswordFile != "":
		r.Problem(where.Key("password_file"), "a password needs user too")
	case s.User == "" && s.Register:
		r.Problem(where.Key("register"), "a registration needs user, and mostly password_file")
	case s.User == "" && s.From == fromAccount:
		r.Problem(where.Key("from"), "from: account needs user")
	case s.User != "" && !sipmessage.ValidUser(s.User):
		r.Problem(where.Key("user"), "%q is no SIP user: leave out sip: and what follows @ (that is domain)", s.User)
	}
	if s.PasswordFile != "" {
		s.Password = r.secret(where.Key("password_file"), s.PasswordFile, "the password of SIP user "+strconv.Quote(s.User))
	}
	if s.Domain != "" && !sipmessage.ValidDomain(s.Domain) {
		r.Problem(where.Key("domain"), "%q is no domain: use a host name or an address, without sip: and without a port", s.Domain)
	}
}

func (c *Config) checkSIPTextsSocket(r *report, where strict.Path) {
	s := &c.SMS.SIP
	for key, v := range map[string]string{"listen": s.Listen, "advertise": s.Advertise} {
		host, port, err := net.SplitHostPort(v)
		n, perr := strconv.ParseUint(port, 10, 16)
		if v != "" && (err != nil || perr != nil || key == "advertise" && (host == "" || n == 0)) {
			r.Problem(where.Key(key), "%q is not an address: use host:port, such as 192.0.2.20:5062", v)
		}
	}
	for key, v := range map[string]string{"ca_file": s.TLS.CAFile, "cert_file": s.TLS.CertFile, "key_file": s.TLS.KeyFile} {
		if v != "" && s.Transport != sipmessage.TLS {
			r.Problem(where.Key("tls", key), "%s does nothing without transport: tls", key)
		}
	}
	switch {
	case (s.TLS.CertFile == "") != (s.TLS.KeyFile == ""):
		r.Problem(where.Key("tls"), "cert_file and key_file belong together: one of them is missing")
	case s.Transport == sipmessage.TLS && s.Listen != "" && s.TLS.CertFile == "":
		r.Problem(where.Key("listen"), "whoever connects here by TLS wants a certificate: set tls.cert_file and tls.key_file, or register instead of listening")
	}
	s.TLS.CAFile = r.path(where.Key("tls", "ca_file"), s.TLS.CAFile)
	s.TLS.CertFile = r.path(where.Key("tls", "cert_file"), s.TLS.CertFile)
	s.TLS.KeyFile = r.path(where.Key("tls", "key_file"), s.TLS.KeyFile)
	if s.Listen == "" && !s.Register {
		r.Warning(where, "with neither register nor listen no reply arrives, and no STOP: see to it that the carrier handles STOP itself")
	}
}

func checkNumbers(r *report, where strict.Path, numbers string, rate int) {
	if numbers != numbersE164 && numbers != numbersDigits {
		r.OneOf(where.Key("numbers"), "numbers", numbers, numbersE164, numbersDigits)
	}
	if rate < 0 || rate > 60000 {
		r.Problem(where.Key("rate_per_minute"), "%d is out of range: use 0 to 60000 texts a minute, 0 for no limit", rate)
	}
}

func privateHost(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsPrivate()
}

func (c *Config) checkAsteriskTexts(r *report) {
	a, where := &c.SMS.Asterisk, strict.At("sms", "asterisk")
	if c.PBX.Asterisk == nil {
		r.Problem(strict.At("sms", "transport"), "texts through Asterisk go by pbx.asterisk, and there is none on this host")
	}
	switch {
	case a.Endpoint == "":
		r.Problem(where.Key("endpoint"), "sms.transport is asterisk, so sms.asterisk.endpoint is needed: the trunk's name in pjsip.conf (\"pjsip show endpoints\" lists them)")
	case !asterisk.EndpointName.MatchString(a.Endpoint):
		r.Problem(where.Key("endpoint"), "%q is no endpoint: use its name in pjsip.conf, without PJSIP/", a.Endpoint)
	}
	switch {
	case a.Domain == "":
		r.Problem(where.Key("domain"), "sms.transport is asterisk, so sms.asterisk.domain is needed: the carrier's host, as in the trunk's contact")
	case !asterisk.DomainName.MatchString(a.Domain):
		r.Problem(where.Key("domain"), "%q is no host: use sip.example.com, with :port if it is not 5060", a.Domain)
	}
	if !appName.MatchString(a.App) {
		r.Problem(where.Key("app"), "%q cannot be an ARI application name: use letters, digits, - _ and .", a.App)
	} else if c.PBX.Asterisk != nil && a.App == c.PBX.Asterisk.App {
		r.Problem(where.Key("app"), "%q is the application that watches calls (pbx.asterisk.app): this one needs a name of its own", a.App)
	}
	checkNumbers(r, where, a.Numbers, a.RatePerMinute)
}

// SIPTextsOptions returns what package sipmessage must know. It reads the files of tls.
func (c *Config) SIPTextsOptions(log *slog.Logger) (sipmessage.Options, error) {
	s := c.SMS.SIP
	o := sipmessage.Options{Server: s.Server, Network: s.Transport, User: s.User, Password: s.Password.Reveal(), Domain: s.Domain,
		Digits: s.Numbers == numbersDigits, FromUser: s.From == fromAccount, AssertedIdentity: s.AssertedIdentity, Validity: s.Validity,
		Notifications: s.Receipts, MaxSize: s.MaxSize, Register: s.Register, Expires: s.Expires, Listen: s.Listen, Advertise: s.Advertise,
		Allow: prefixes(s.Allow), Region: c.Region, RatePerSecond: float64(s.RatePerMinute) / 60, NoProbe: !s.Probe, Log: log}
	var err error
	if s.Transport == sipmessage.TLS {
		o.TLS, err = s.TLS.config()
	}
	return o, err
}

func (t SIPTextsTLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("sms.sip.tls.ca_file: %w", plainPath(err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("sms.sip.tls.ca_file: there is no certificate in it")
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("sms.sip.tls.cert_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// AsteriskTextsOptions returns what package asterisk must know.
func (c *Config) AsteriskTextsOptions(log *slog.Logger) asterisk.Options {
	a, p := c.SMS.Asterisk, c.PBX.Asterisk
	return asterisk.Options{URL: p.URL, User: p.User, Password: p.Password.Reveal(), App: a.App, Endpoint: a.Endpoint, Domain: a.Domain,
		Digits: a.Numbers == numbersDigits, AssertedIdentity: a.AssertedIdentity, Region: c.Region, RatePerSecond: float64(a.RatePerMinute) / 60, Log: log}
}
