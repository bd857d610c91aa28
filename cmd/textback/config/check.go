package config

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx/number"
	"textback/pbx/sip"
	"textback/rules/strict"
)

var (
	// A site is a token of NATS subjects and part of call ids.
	siteToken = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)
	appName   = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	// Devices have their technology in front; variables may be functions.
	deviceName   = regexp.MustCompile(`^[A-Za-z0-9_]+[:/][^\s,&*?#]{1,80}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\([^\s()]*\))?$`)
	regionCode   = regexp.MustCompile(`^[A-Z]{2}$`)
	accountSID   = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	serviceSID   = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
	// Senders with letters, as GSM 03.40 allows them: 11 characters.
	senderName = regexp.MustCompile(`^[a-zA-Z0-9 ]{1,11}$`)
	hasLetter  = regexp.MustCompile(`[a-zA-Z]`)
	shortCode  = regexp.MustCompile(`^[0-9]{3,8}$`)
)

// check reports what cannot work, fills in what follows from other keys, and
// reads the secrets. It goes on after every problem.
func (c *Config) check(r *report) {
	if !siteToken.MatchString(c.Site) {
		r.Problem(strict.At("site"), "%q cannot be a site: it becomes part of NATS subjects; use up to 32 letters, digits, - and _", c.Site)
	}
	if up := strings.ToUpper(c.Region); !regionCode.MatchString(up) || phonenumbers.GetCountryCodeForRegion(up) == 0 {
		r.Problem(strict.At("region"), "%q is no region: use the two letters of ISO 3166, such as US or DE", c.Region)
		c.Region = "US" // so that numbers below are judged at all
	} else {
		c.Region = up
	}
	c.StateDir = c.stateDir(r)
	c.checkPBX(r)
	c.checkLines(r)
	c.checkContacts(r)
	// Before what depends on it: who is called at a public URL must be able to tell its provider's calls.
	c.SMS.Twilio.PublicURL, c.SMS.Telnyx.PublicURL = c.Webhooks.URL(TransportTwilio), c.Webhooks.URL(TransportTelnyx)
	c.SMS.HTTP.PublicURL, c.SMS.Android.PublicURL = c.Webhooks.URL(TransportHTTP), c.Webhooks.URL(TransportAndroid)
	c.checkSMS(r)
	c.checkInbound(r)
	c.checkNATS(r)
	c.HTTP.Listen = listen(r, strict.At("http", "listen"), c.HTTP.Listen, "metrics and health have no password")
	if _, ok := levels[c.Log.Level]; !ok {
		r.OneOf(strict.At("log", "level"), "level", c.Log.Level, levelWords...)
	}
	if !slices.Contains(formats, c.Log.Format) {
		r.OneOf(strict.At("log", "format"), "format", c.Log.Format, formats...)
	}
}

// stateDir is the one that is configured, else systemd's, else the one that
// systemd would give.
func (c *Config) stateDir(r *report) string {
	if c.StateDir != "" {
		if !filepath.IsAbs(c.StateDir) {
			r.Problem(strict.At("state_dir"), "%q is a relative path: calls and opt-outs are kept there, so name it from the root: /var/lib/textback", c.StateDir)
		}
		return c.StateDir
	}
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return strings.SplitN(dir, ":", 2)[0] // systemd lists all of StateDirectory=
	}
	return "/var/lib/textback"
}

func (c *Config) checkPBX(r *report) {
	if c.PBX.MaxCallAge < time.Minute || c.PBX.MaxCallAge > 7*24*time.Hour {
		r.Problem(strict.At("pbx", "max_call_age"), "%s is out of range: a call that never ends is closed after this long; use 1m to 168h, 12h is usual", c.PBX.MaxCallAge)
	}
	if c.PBX.SIP != nil {
		c.checkSIP(r)
	}
	a := c.PBX.Asterisk
	if a == nil {
		return
	}
	where := strict.At("pbx", "asterisk")
	if u, err := url.Parse(a.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		r.Problem(where.Key("url"), "want the address of Asterisk's HTTP server (http.conf), such as http://127.0.0.1:8088")
	} else if u.User != nil {
		r.Problem(where.Key("url"), "credentials do not belong in the URL: use user and password_file")
	} else if strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/ari") {
		r.Problem(where.Key("url"), "leave out /ari at the end: it is added; only a prefix set in http.conf belongs here")
	} else if u.Scheme == "http" && !loopbackHost(u.Hostname()) {
		r.Warning(where.Key("url"), "the ARI password crosses the network in the clear: use https://, or run textback beside Asterisk")
	}
	if a.User == "" || strings.Contains(a.User, ":") {
		r.Problem(where.Key("user"), "want the name of a section of ari.conf with type=user")
	}
	if !appName.MatchString(a.App) {
		r.Problem(where.Key("app"), "%q cannot be an ARI application name: use letters, digits, - _ and .", a.App)
	}
	a.Password = r.secret(where.Key("password_file"), a.PasswordFile, "the password of ARI user "+strconv.Quote(a.User)+" (ari.conf)")
	for key, p := range map[string]Patterns{"outside": a.Outside, "inside": a.Inside} {
		for list, patterns := range map[string][]string{"contexts": p.Contexts, "endpoints": p.Endpoints} {
			for i, s := range patterns {
				w := where.Key(key, list).Index(i)
				switch {
				case strings.TrimSpace(s) == "" || s != strings.TrimSpace(s):
					r.Problem(w, "%q is not a pattern: use a name such as from-trunk, with * for any run of characters", s)
				case strings.Trim(s, "*") == "":
					r.Problem(w, "%q matches everything: then no call is told from another; name the trunk's, such as from-trunk*", s)
				case list == "endpoints" && !strings.ContainsAny(s, "/*"):
					r.Problem(w, "%q matches no endpoint: they have their technology in front, such as PJSIP/%s", s, s)
				}
			}
		}
	}
	a.checkStates(r, where)
	if len(a.Inside.Endpoints) > 0 {
		r.Problem(where.Key("inside", "endpoints"), "inside takes contexts only: what is not outside is inside")
	}
	if a.Outside.Contexts != nil && len(a.Outside.Contexts) == 0 && len(a.Outside.Endpoints) == 0 {
		r.Problem(where.Key("outside", "contexts"), "an empty list leaves no call to come from outside: leave the key out for the defaults")
	}
}

// maxAsked bounds states and variables: each variable is a request every few seconds.
const maxAsked = 50

func (a *Asterisk) checkStates(r *report, where strict.Path) {
	seen := map[string]bool{}
	for i, s := range a.States {
		w := where.Key("states").Index(i)
		switch {
		case !deviceName.MatchString(s):
			r.Problem(w, "%q is no device: they have their technology in front, such as Custom:DAYNIGHT0 or PJSIP/101 (\"core show hints\" shows them behind the colon)", s)
		case seen[s]:
			r.Problem(w, "%s stands here twice", s)
		}
		seen[s] = true
	}
	for i, s := range a.Variables {
		w := where.Key("variables").Index(i)
		switch {
		case strings.HasPrefix(s, "${") || strings.HasPrefix(s, "$["):
			r.Problem(w, "write %s without ${ and }", s)
		case !variableName.MatchString(s):
			r.Problem(w, "%q is no variable: use the name of a global one, such as NIGHTMODE, or a function such as GLOBAL(NIGHTMODE)", s)
		case strings.HasPrefix(s, "DB("):
			// Seen on 16 and 22: HTTP 500, on a call too.
			r.Warning(w, "Asterisk does not tell its database to ARI, so no rule that asks for it matches: follow a device state instead (FreePBX's switch DAYNIGHT/C0 is Custom:DAYNIGHT0 too)")
		case seen[s]:
			r.Problem(w, "%s stands here twice", s)
		}
		seen[s] = true
	}
	if len(a.States) > maxAsked {
		r.Problem(where.Key("states"), "at most %d devices are followed, and these are %d", maxAsked, len(a.States))
	}
	if len(a.Variables) > maxAsked {
		r.Problem(where.Key("variables"), "at most %d variables are asked for, and these are %d", maxAsked, len(a.Variables))
	}
	if a.VariablesEvery < time.Second || a.VariablesEvery > time.Hour {
		r.Problem(where.Key("variables_every"), "%s is out of range: variables are asked for this often; use 1s to 1h", a.VariablesEvery)
	}
}

func (c *Config) checkSIP(r *report) {
	s, where := c.PBX.SIP, strict.At("pbx", "sip")
	for key, list := range map[string][]string{"pbx": s.PBX, "trunks": s.Trunks} {
		for i, a := range list {
			if _, err := sip.ParsePrefix(a); err != nil {
				r.Problem(where.Key(key).Index(i), "%q is no address: use one such as 192.0.2.10, or a network such as 198.51.100.0/24", a)
			}
		}
	}
	if len(s.Trunks) == 0 {
		r.Problem(where.Key("trunks"), "name the addresses or networks that your carrier's calls come from: only what comes from them comes from outside, and scanners knock on every SIP port")
	}
	for i, a := range s.Trunks {
		if p, err := sip.ParsePrefix(a); err == nil && p.Bits() == 0 {
			r.Problem(where.Key("trunks").Index(i), "%s is everybody: then scanners count as callers; name your carrier's networks", a)
		}
	}
	for key, list := range map[string][]string{"mailboxes": s.Mailboxes, "services": s.Services, "pickup_codes": s.Pickups} {
		for i, t := range list {
			if strings.TrimSpace(t) != t || strings.Trim(t, "*") == "" || strings.ContainsAny(t, " \t@") {
				r.Problem(where.Key(key).Index(i), "%q is neither an address nor a number: write the number as the PBX dials it, * allowed", t)
			}
		}
	}
	if s.HEP.Listen == "" && len(s.Capture.Interfaces) == 0 {
		r.Problem(where, "nothing is read: set hep.listen, capture.interfaces, or both")
	}
	if hep := where.Key("hep"); s.HEP.Listen != "" {
		for i, a := range s.HEP.Allow {
			if _, err := sip.ParsePrefix(a); err != nil {
				r.Problem(hep.Key("allow").Index(i), "%q is no address: name the hosts that send copies, such as 192.0.2.10", a)
			}
		}
		if s.HEP.KeyFile != "" {
			s.HEP.Key = r.secret(hep.Key("key_file"), s.HEP.KeyFile, "the key that senders put into their HEP packets")
		}
		host, port, err := net.SplitHostPort(s.HEP.Listen)
		n, e := strconv.Atoi(port)
		switch {
		case err != nil || e != nil || n < 0 || n > 65535:
			r.Problem(hep.Key("listen"), "%q is not an address to listen on: use 127.0.0.1:9060", s.HEP.Listen)
		case !loopbackHost(host) && len(s.HEP.Allow) == 0:
			r.Problem(hep.Key("listen"), "%s is open to the network, and whoever can send a packet there could make textback text strangers: name the senders in allow", s.HEP.Listen)
		}
	}
	if len(s.Capture.Ports) == 0 {
		s.Capture.Ports = []string{"5060"}
	}
	for i, p := range s.Capture.Ports {
		if _, _, ok := PortRange(p); !ok {
			r.Problem(where.Key("capture", "ports").Index(i), "%q is no port: use a number such as 5060 or a range such as 5060-5069", p)
		}
	}
	for i, name := range s.Capture.Interfaces {
		if len(name) == 0 || len(name) > 15 || strings.ContainsAny(name, "/ \t") {
			r.Problem(where.Key("capture", "interfaces").Index(i), "%q is no interface: \"ip link\" lists them", name)
		}
	}
}

// PortRange reads a port or a range of ports.
func PortRange(s string) (first, last uint16, ok bool) {
	a, b, two := strings.Cut(s, "-")
	if !two {
		b = a
	}
	x, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	y, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	return uint16(x), uint16(y), err1 == nil && err2 == nil && x > 0 && x <= y
}

func (c *Config) checkLines(r *report) {
	dialed := map[string]int{}
	for i := range c.Lines {
		l, where := &c.Lines[i], strict.At("lines").Index(i)
		n := number.Parse(l.Number, c.Region)
		if n.Kind != number.External {
			r.Problem(where.Key("number"), "%q is not a valid number in %s: write it with its country code, such as +12125550100", l.Number, c.Region)
		} else {
			l.Number = n.E164
			if len(l.Dialed) == 0 { // trunks that send E.164, with its plus sign or without
				l.Dialed = []string{n.E164, n.E164[1:]}
			}
		}
		for j, d := range l.Dialed {
			w := where.Key("dialed").Index(j)
			if strings.TrimSpace(d) == "" || strings.ContainsAny(d, " \t") {
				r.Problem(w, "%q is not what a trunk dials: use what the PBX shows as the called number, with * for any run of characters", d)
				continue
			}
			switch first, twice := dialed[d]; {
			case twice && first == i:
				r.Problem(w, "%q stands here twice", d)
			case twice:
				r.Problem(w, "%q belongs to %s already: a call can be to one line only", d, c.Lines[first].Number)
			}
			dialed[d] = i
		}
		if l.SMSFrom != "" {
			l.SMSFrom = c.sender(r, where.Key("sms_from"), l.SMSFrom)
		}
	}
}

// sender returns from as providers want it.
func (c *Config) sender(r *report, where strict.Path, from string) string {
	switch n := number.Parse(from, c.Region); {
	case n.Kind == number.External:
		return n.E164
	case serviceSID.MatchString(from), shortCode.MatchString(from):
	case senderName.MatchString(from) && hasLetter.MatchString(from):
	default:
		r.Problem(where, "%q cannot send: use a number with its country code, a short code, or a name of at most 11 letters and digits", from)
	}
	return from
}

func (c *Config) checkSMS(r *report) {
	s := &c.SMS
	if s.From != "" {
		s.From = c.sender(r, strict.At("sms", "from"), s.From)
	}
	if s.GotThroughTalk < 0 || s.GotThroughTalk > time.Hour {
		r.Problem(strict.At("sms", "got_through_talk"), "%s is out of range: an answered call to the caller counts as having got through after this long; use 0s to 1h", s.GotThroughTalk)
	}
	s.File.Path = inside(c.StateDir, s.File.Path)
	c.checkTransports(r)
}

func (c *Config) checkTwilio(r *report) {
	t, where := &c.SMS.Twilio, strict.At("sms", "twilio")
	switch compatible := t.BaseURL != ""; {
	case t.AccountSID == "":
		r.Problem(where.Key("account_sid"), "sms.transport is twilio, so sms.twilio.account_sid is needed: it is on the front page of the provider's console")
	case !compatible && !accountSID.MatchString(t.AccountSID):
		r.Problem(where.Key("account_sid"), "%q is not an account SID: want AC and 32 hexadecimal digits (an API key's SID, SK…, goes into api_key_sid)", t.AccountSID)
	case compatible && strings.ContainsAny(t.AccountSID, "/?#% \t"):
		r.Problem(where.Key("account_sid"), "%q is not an account id", t.AccountSID)
	}
	switch {
	case t.AuthTokenFile != "" && (t.APIKeySID != "" || t.APIKeySecretFile != ""):
		r.Problem(where.Key("auth_token_file"), "at most one of auth_token_file and api_key_sid with api_key_secret_file may be set")
	case t.AuthTokenFile != "":
		t.AuthToken = r.secret(where.Key("auth_token_file"), t.AuthTokenFile, "the account's auth token")
	case t.APIKeySID != "" && t.APIKeySecretFile != "":
		t.APIKeySecret = r.secret(where.Key("api_key_secret_file"), t.APIKeySecretFile, "the secret of API key "+t.APIKeySID)
	case t.APIKeySID != "":
		r.Problem(where.Key("api_key_sid"), "an API key needs api_key_secret_file too")
	case t.APIKeySecretFile != "":
		r.Problem(where.Key("api_key_secret_file"), "an API key needs api_key_sid too")
	default:
		r.Problem(where, "sms.transport is twilio, so sms.twilio.auth_token_file is needed, or api_key_sid with api_key_secret_file")
	}
	if t.MessagingServiceSID != "" {
		if c.SMS.From != "" {
			r.Problem(where.Key("messaging_service_sid"), "at most one of sms.from and sms.twilio.messaging_service_sid may be set")
		}
		if t.BaseURL == "" && !serviceSID.MatchString(t.MessagingServiceSID) {
			r.Problem(where.Key("messaging_service_sid"), "%q is not a messaging service SID: want MG and 32 hexadecimal digits", t.MessagingServiceSID)
		}
	}
	if t.BaseURL != "" {
		u, err := url.Parse(t.BaseURL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			r.Problem(where.Key("base_url"), "want https://host, with a path if the provider has one in front of /2010-04-01")
		case u.Scheme == "http" && !loopbackHost(u.Hostname()):
			r.Problem(where.Key("base_url"), "credentials and texts would cross the network in the clear: use https://%s", u.Host)
		}
	}
	if t.Validity < 0 || t.Validity > 10*time.Hour || t.Validity%time.Second != 0 {
		r.Problem(where.Key("validity"), "%s is out of range: use whole seconds up to 10h, or 0s to leave it to the provider", t.Validity)
	}
	c.checkTwilioReplies(r)
}

// checkTwilioReplies is about what the provider sends to us, or is asked for.
func (c *Config) checkTwilioReplies(r *report) {
	t, where := &c.SMS.Twilio, strict.At("sms", "twilio")
	switch t.Poll {
	case off:
	case "":
		if t.PollEvery = pollAlone; t.PublicURL != "" {
			t.PollEvery = pollBeside
		}
	default:
		d, err := time.ParseDuration(t.Poll)
		if err != nil || d < time.Second || d > time.Hour {
			r.Problem(where.Key("poll"), "%q is not an interval for asking what came in: use 1s to 1h, such as 15s, or off", t.Poll)
		}
		t.PollEvery = d
	}
	switch {
	case t.WebhookTokenFile != "":
		t.WebhookToken = r.secret(where.Key("webhook_token_file"), t.WebhookTokenFile, "what the provider signs its requests with: the account's auth token, or a signing key of its own")
	case t.PublicURL != "" && t.APIKeySID != "":
		r.Problem(where, "webhooks.public_url is set, and the provider signs what it sends there with the account's auth token, not with the API key: sms.twilio.webhook_token_file is needed too")
	}
}

func (c *Config) checkNATS(r *report) {
	n, where := &c.NATS, strict.At("nats")
	if n.URL == "" {
		n.Listen = listen(r, where.Key("listen"), n.Listen, "it is then the way into every call and text of the office")
		for key, v := range map[string]string{"credentials_file": n.CredentialsFile, "tls": n.TLS.CAFile + n.TLS.CertFile + n.TLS.KeyFile} {
			if v != "" {
				r.Problem(where.Key(key), "%s is for an external server: set nats.url too, or leave both out for the embedded one", key)
			}
		}
		return
	}
	if r.Has(where.Key("listen")) {
		r.Problem(where.Key("listen"), "at most one of nats.url and nats.listen may be set: with a URL there is no embedded server to listen")
	}
	n.Listen = ""
	for _, s := range strings.Split(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			r.Problem(where.Key("url"), "want nats://host:4222 or tls://host:4222, several separated by commas")
		case u.User != nil:
			r.Problem(where.Key("url"), "credentials do not belong in the URL: use credentials_file")
		}
	}
	if (n.TLS.CertFile == "") != (n.TLS.KeyFile == "") {
		r.Problem(where.Key("tls"), "cert_file and key_file belong together: one of them is missing")
	}
	n.CredentialsFile = r.path(where.Key("credentials_file"), n.CredentialsFile)
	n.TLS.CAFile = r.path(where.Key("tls", "ca_file"), n.TLS.CAFile)
	n.TLS.CertFile = r.path(where.Key("tls", "cert_file"), n.TLS.CertFile)
	n.TLS.KeyFile = r.path(where.Key("tls", "key_file"), n.TLS.KeyFile)
}

// listen returns the address to listen on, empty for off.
func listen(r *report, where strict.Path, addr, why string) string {
	if addr == off {
		return ""
	}
	addr = address(r, where, addr)
	if host, _, err := net.SplitHostPort(addr); err == nil && !loopbackHost(host) {
		r.Warning(where, "%s is open to the network: %s", addr, why)
	}
	return addr
}

// address is an address to listen on, empty if it is none.
func address(r *report, where strict.Path, addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
		r.Problem(where, "%q is not an address to listen on: use 127.0.0.1:PORT, or off", addr)
		return ""
	}
	return addr
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// inside returns name as a path, relative ones below dir.
func inside(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
