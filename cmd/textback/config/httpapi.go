package config

import (
	"strings"
	"time"

	"textback/rules/strict"
	"textback/sms/androidgateway"
	"textback/sms/httpapi"
	"textback/sms/once"
)

// Values of SMS.Transport.
const (
	TransportHTTP    = "http"
	TransportAndroid = "android"
)

// HTTPAPI is a provider or gateway with an HTTP API of its own.
type HTTPAPI struct {
	Preset            string            `yaml:"preset"`
	URL               string            `yaml:"url"`
	Account           string            `yaml:"account"`
	User              string            `yaml:"user"`
	SecretFile        string            `yaml:"secret_file"`
	PrivateKeyFile    string            `yaml:"private_key_file"`
	CAFile            string            `yaml:"ca_file"`
	Values            map[string]string `yaml:"values"`
	InboundUser       string            `yaml:"inbound_user"`
	InboundSecretFile string            `yaml:"inbound_secret_file"`
	Validity          time.Duration     `yaml:"validity"`
	PerMinute         int               `yaml:"per_minute"`
	MaxSegments       int               `yaml:"max_segments"`
	AnswersStop       bool              `yaml:"answers_stop"`
	Custom            *httpapi.Spec     `yaml:"custom"`

	Secret        Secret `yaml:"-"`
	InboundSecret Secret `yaml:"-"`
	PrivateKey    Secret `yaml:"-"` // PEM
	CA            Secret `yaml:"-"` // PEM, and no secret
	// PublicURL is where the provider reaches us; empty: nowhere.
	PublicURL string `yaml:"-"`
}

// Android is a phone with the app SMS Gateway for Android.
type Android struct {
	URL            string        `yaml:"url"`
	User           string        `yaml:"user"`
	PasswordFile   string        `yaml:"password_file"`
	SigningKeyFile string        `yaml:"signing_key_file"`
	SIM            int           `yaml:"sim"`
	Validity       time.Duration `yaml:"validity"`
	PerMinute      int           `yaml:"per_minute"`

	Password   Secret `yaml:"-"`
	SigningKey Secret `yaml:"-"`
	// PublicURL is where the phone reaches us; empty: nowhere.
	PublicURL string `yaml:"-"`
}

// HTTPOptions returns what package httpapi must know.
func (c *Config) HTTPOptions() httpapi.Options {
	h := c.SMS.HTTP
	return httpapi.Options{Preset: h.Preset, Custom: h.Custom, URL: h.URL, Account: h.Account, User: h.User, Secret: h.Secret.Reveal(), Values: h.Values,
		PrivateKey: []byte(h.PrivateKey.Reveal()), CA: []byte(h.CA.Reveal()),
		PublicURL: h.PublicURL, InboundUser: h.InboundUser, InboundSecret: h.InboundSecret.Reveal(), From: c.SMS.From, Region: c.Region,
		Validity: h.Validity, PerMinute: h.PerMinute, MaxSegments: h.MaxSegments, AnswersStop: h.AnswersStop}
}

// AndroidOptions returns what package androidgateway must know.
func (c *Config) AndroidOptions() androidgateway.Options {
	a := c.SMS.Android
	return androidgateway.Options{URL: a.URL, User: a.User, Password: a.Password.Reveal(), PublicURL: a.PublicURL, SigningKey: a.SigningKey.Reveal(),
		SIM: a.SIM, Region: c.Region, Validity: a.Validity, PerMinute: a.PerMinute}
}

func (c *Config) checkHTTP(r *report) {
	h, where := &c.SMS.HTTP, strict.At("sms", "http")
	if h.SecretFile != "" {
		h.Secret = r.secret(where.Key("secret_file"), h.SecretFile, "the provider's password, token or key")
	}
	if h.InboundSecretFile != "" {
		h.InboundSecret = r.secret(where.Key("inbound_secret_file"), h.InboundSecretFile, "the secret with which replies and receipts prove where they come from")
	}
	if h.PrivateKeyFile != "" {
		h.PrivateKey = r.pem(where.Key("private_key_file"), h.PrivateKeyFile, "the application's private key")
	}
	if h.CAFile != "" {
		h.CA = r.pem(where.Key("ca_file"), h.CAFile, "the certificate of who vouches for the gateway's")
	}
	opt := c.HTTPOptions()
	// Whether a secret's file is there has been said; without leave to read it, it counts as good.
	if opt.Secret == "" && h.SecretFile != "" {
		opt.Secret = hidden
	}
	if opt.InboundSecret == "" && h.InboundSecretFile != "" {
		opt.InboundSecret = hidden + hidden
	}
	if len(opt.PrivateKey) == 0 && h.PrivateKeyFile != "" {
		opt.Secret, opt.Account = hidden, hidden
	}
	for _, p := range opt.Problems() {
		at := where.Key(string(p.Key))
		if p.Key == "public_url" {
			if p.Warning {
				continue // checkWebhooks warns of the same
			}
			at = strict.At("webhooks", "public_url") // that it is made of
		}
		if p.Warning {
			r.Warning(at, "%s", p.Text)
		} else {
			r.Problem(at, "%s", p.Text)
		}
	}
}

func (c *Config) checkAndroid(r *report) {
	a, where := &c.SMS.Android, strict.At("sms", "android")
	switch _, err := once.GatewayURL(a.URL); {
	case a.URL == "":
		r.Problem(where.Key("url"), "sms.transport is android, so sms.android.url is needed: the local address that the app shows on its home screen, such as http://192.168.1.20:8080")
	case err != nil:
		r.Problem(where.Key("url"), "%v", err)
	}
	if a.User == "" {
		r.Problem(where.Key("user"), "want the user that the app shows on its home screen under Local server")
	}
	if a.PasswordFile == "" {
		r.Problem(where.Key("password_file"), "sms.transport is android, so sms.android.password_file is needed: the file holds the password that the app shows under Local server")
	} else {
		a.Password = r.secret(where.Key("password_file"), a.PasswordFile, "the password that the app shows under Local server")
	}
	if a.SigningKeyFile != "" {
		a.SigningKey = r.secret(where.Key("signing_key_file"), a.SigningKeyFile, "the signing key in the app's settings, under Webhooks")
	} else if a.PublicURL != "" {
		r.Problem(where.Key("signing_key_file"), "webhooks.public_url is set, and the app signs what it sends there: signing_key_file is needed, from the app's settings under Webhooks")
	}
	if a.SIM < 0 || a.SIM > 8 {
		r.Problem(where.Key("sim"), "%d is no SIM card: use 1 for the first one, or 0 for the app's choice", a.SIM)
	}
	if a.Validity < 0 || a.Validity > 48*time.Hour || a.Validity%time.Second != 0 {
		r.Problem(where.Key("validity"), "%s is out of range: use whole seconds up to 48h, or 0s for a text that never becomes stale", a.Validity)
	}
	if a.PerMinute < 0 {
		r.Problem(where.Key("per_minute"), "%d is out of range: texts a minute, 0 for no limit but the app's own", a.PerMinute)
	}
	if c.SMS.From != "" && !strings.HasPrefix(c.SMS.From, "+") {
		r.Warning(strict.At("sms", "from"), "a phone sends under the number of its SIM card, whatever stands here")
	}
}
