package config

import (
	"regexp"

	"textback/rules/strict"
	"textback/sms/once"
	"textback/sms/telnyx"
)

// TransportTelnyx is a value of SMS.Transport.
const TransportTelnyx = "telnyx"

// Telnyx is an account at Telnyx.
type Telnyx struct {
	APIKeyFile         string `yaml:"api_key_file"`
	MessagingProfileID string `yaml:"messaging_profile_id"`
	PublicKey          string `yaml:"public_key"`
	PublicKeyFile      string `yaml:"public_key_file"`
	AnswersStop        bool   `yaml:"answers_stop"`
	BaseURL            string `yaml:"base_url"`

	APIKey Secret `yaml:"-"`
	// PublicURL is where the provider reaches us; empty: nowhere.
	PublicURL string `yaml:"-"`
}

var messagingProfile = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// TelnyxOptions returns what package telnyx must know.
func (c *Config) TelnyxOptions() telnyx.Options {
	t := c.SMS.Telnyx
	return telnyx.Options{APIKey: t.APIKey.Reveal(), BaseURL: t.BaseURL, From: c.SMS.From, MessagingProfileID: t.MessagingProfileID,
		PublicURL: t.PublicURL, PublicKey: t.PublicKey, AnswersStop: t.AnswersStop}
}

func (c *Config) checkTelnyx(r *report) {
	t, where := &c.SMS.Telnyx, strict.At("sms", "telnyx")
	if t.APIKeyFile == "" {
		r.Problem(where, "sms.transport is telnyx, so sms.telnyx.api_key_file is needed: the file holds the key from the portal's API Keys page")
	} else {
		t.APIKey = r.secret(where.Key("api_key_file"), t.APIKeyFile, "an API key of the account")
	}
	if t.MessagingProfileID != "" && !messagingProfile.MatchString(t.MessagingProfileID) {
		r.Problem(where.Key("messaging_profile_id"), "%q is not a messaging profile's id: want the 36 characters that the portal shows under Messaging", t.MessagingProfileID)
	}
	if hasLetter.MatchString(c.SMS.From) && t.MessagingProfileID == "" {
		r.Problem(strict.At("sms", "from"), "%q is a name, and Telnyx sends under a name only with sms.telnyx.messaging_profile_id", c.SMS.From)
	}
	key := where.Key("public_key")
	switch {
	case t.PublicKey != "" && t.PublicKeyFile != "":
		r.Problem(where.Key("public_key_file"), "at most one of public_key and public_key_file may be set")
	case t.PublicKeyFile != "":
		// Not a secret, but found and read as one: one line in a file.
		key = where.Key("public_key_file")
		t.PublicKey = r.secret(key, t.PublicKeyFile, "the account's public key").Reveal()
	}
	switch {
	case t.PublicKey != "":
		if _, err := telnyx.ParsePublicKey(t.PublicKey); err != nil {
			r.Problem(key, "not a public key: %v (under Keys & Credentials)", err)
		}
	case t.PublicURL != "" && !r.open:
		r.Problem(where, "webhooks.public_url is set, and Telnyx signs what it sends there: sms.telnyx.public_key is needed, from the portal's Keys & Credentials page")
	}
	if t.BaseURL != "" {
		if _, err := once.BaseURL(t.BaseURL, false); err != nil {
			r.Problem(where.Key("base_url"), "%v", err)
		}
	}
}
