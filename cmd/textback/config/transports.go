package config

import (
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"textback/rules/strict"
)

// The transports without an account.
const (
	TransportLog  = "log"
	TransportFile = "file"
)

// transports are the values of sms.transport and what reads each one's section.
var transports = []struct {
	name  string
	check func(*Config, *report)
}{
	{TransportLog, nil},
	{TransportFile, nil},
	{TransportTwilio, (*Config).checkTwilio},
	{TransportTelnyx, (*Config).checkTelnyx},
	{TransportSMPP, (*Config).checkSMPP},
	{TransportHTTP, (*Config).checkHTTP},
	{TransportAndroid, (*Config).checkAndroid},
	{TransportSIP, (*Config).checkSIPTexts},
	{TransportAsterisk, (*Config).checkAsteriskTexts},
	{TransportSpool, (*Config).checkSpool},
}

func transportNames() (names []string) {
	for _, t := range transports {
		names = append(names, t.name)
	}
	return names
}

// checkTransports reports what is wrong with the ways out and reads their secrets.
func (c *Config) checkTransports(r *report) {
	s, where := &c.SMS, strict.At("sms", "transport")
	if len(s.Transport) == 0 {
		r.Problem(where, "no transport is left: name one (%s), or leave the key out for log", strings.Join(transportNames(), ", "))
	}
	for i, name := range s.Transport {
		p := where
		if len(s.Transport) > 1 {
			p = where.Index(i)
		}
		k := slices.IndexFunc(transportNames(), func(n string) bool { return n == name })
		switch {
		case k < 0:
			r.OneOf(p, "transport", name, transportNames()...)
			continue
		case slices.Contains(s.Transport[:i], name):
			r.Problem(p, "%s stands here twice: what one has refused it would only refuse again", name)
			continue
		case transports[k].check == nil && len(s.Transport) > 1:
			r.Problem(p, "%s sends nothing, so it cannot stand beside others", name)
		case transports[k].check != nil:
			transports[k].check(c, r)
		}
	}
	for name, regions := range s.Regions {
		p := strict.At("sms", "regions").Key(name)
		if !slices.Contains(s.Transport, name) {
			r.Problem(p, "%s is not among sms.transport", name)
		}
		if len(regions) == 0 {
			r.Problem(p, "no region is left, so %s would never be used: leave the key out for all regions", name)
		}
		for i, reg := range regions {
			up := strings.ToUpper(reg)
			if phonenumbers.GetCountryCodeForRegion(up) == 0 {
				r.Problem(p.Index(i), "%q is no region: use the two letters of ISO 3166, such as US or DE", reg)
			}
			regions[i] = up
		}
	}
	for name, from := range s.Senders {
		p := strict.At("sms", "senders").Key(name)
		if !slices.Contains(s.Transport, name) {
			r.Problem(p, "%s is not among sms.transport", name)
		}
		s.Senders[name] = c.sender(r, p, from)
	}
}

// Sends tells whether any text leaves this machine.
func (s *SMS) Sends() bool {
	return !slices.Contains(s.Transport, TransportLog) && !slices.Contains(s.Transport, TransportFile)
}

// Sender returns the Message.From of a text that leaves by a transport and is
// about a call to line (E.164): sms.senders' for the transport, else the line's
// sms_from, else sms.from, else the account's messaging service or profile,
// else the number that was called. Empty means there is none.
func (c *Config) Sender(transport, line string) string {
	if from := c.SMS.Senders[transport]; from != "" {
		return from
	}
	for _, l := range c.Lines {
		if l.Number == line && l.SMSFrom != "" {
			return l.SMSFrom
		}
	}
	switch {
	case c.SMS.From != "":
		return c.SMS.From
	case transport == TransportTwilio && c.SMS.Twilio.MessagingServiceSID != "":
		return c.SMS.Twilio.MessagingServiceSID
	case transport == TransportTelnyx && c.SMS.Telnyx.MessagingProfileID != "":
		return c.SMS.Telnyx.MessagingProfileID
	}
	return line
}
