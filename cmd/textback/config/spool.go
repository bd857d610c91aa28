package config

import (
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"textback/pbx/number"
	"textback/rules/strict"
	"textback/sms/spool"
)

// TransportSpool is a value of SMS.Transport.
const TransportSpool = "spool"

// Spool is the directories of a daemon that drives a GSM modem.
type Spool struct {
	Kind     string        `yaml:"kind"` // spool.Smstools or spool.Gammu
	Outgoing string        `yaml:"outgoing"`
	Incoming string        `yaml:"incoming"`
	Sent     string        `yaml:"sent"`
	Failed   string        `yaml:"failed"`
	Checked  string        `yaml:"checked"`
	Reports  string        `yaml:"reports"`
	Number   string        `yaml:"number"` // E.164 once checked
	Report   bool          `yaml:"report"`
	Expire   time.Duration `yaml:"expire"`
}

func spoolDefaults() Spool { return Spool{Report: true, Expire: 15 * time.Minute} }

// spools are the directories that Debian's packages use.
var spools = map[spool.Kind]Spool{
	spool.Smstools: {Outgoing: "/var/spool/sms/outgoing", Incoming: "/var/spool/sms/incoming", Sent: "/var/spool/sms/sent", Failed: "/var/spool/sms/failed", Checked: "/var/spool/sms/checked"},
	spool.Gammu:    {Outgoing: "/var/spool/gammu/outbox", Incoming: "/var/spool/gammu/inbox", Sent: "/var/spool/gammu/sent", Failed: "/var/spool/gammu/error"},
}

func (c *Config) checkSpool(r *report) {
	s, where := &c.SMS.Spool, strict.At("sms", "spool")
	kind := spool.Kind(s.Kind)
	usual, ok := spools[kind]
	switch {
	case s.Kind == "":
		r.Problem(where.Key("kind"), "sms.transport is spool, so sms.spool.kind is needed: smstools or gammu")
	case !ok:
		r.OneOf(where.Key("kind"), "kind", s.Kind, string(spool.Smstools), string(spool.Gammu))
	}
	for _, d := range []struct {
		key   string
		dir   *string
		usual string
		only  spool.Kind
	}{{"outgoing", &s.Outgoing, usual.Outgoing, ""}, {"incoming", &s.Incoming, usual.Incoming, ""}, {"sent", &s.Sent, usual.Sent, ""}, {"failed", &s.Failed, usual.Failed, ""},
		{"checked", &s.Checked, usual.Checked, spool.Smstools}, {"reports", &s.Reports, "", spool.Smstools}} {
		switch {
		case *d.dir == off && d.key != "outgoing":
			*d.dir = ""
			continue
		case *d.dir == "":
			*d.dir = d.usual
			continue
		case ok && d.only != "" && kind != d.only:
			r.Problem(where.Key(d.key), "%s has no such directory", s.Kind)
		case !filepath.IsAbs(*d.dir):
			r.Problem(where.Key(d.key), "%q is a relative path: name the directory from the root, as in the daemon's own configuration", *d.dir)
		}
	}
	if s.Number != "" {
		if n := number.Parse(s.Number, c.Region); n.Kind == number.External {
			s.Number = n.E164
		} else {
			r.Problem(where.Key("number"), "%q is not a valid number in %s: write the SIM's with its country code", s.Number, c.Region)
		}
	}
	if s.Expire < time.Minute || s.Expire > 24*time.Hour {
		r.Problem(where.Key("expire"), "%s is out of range: a text that the daemon has not taken after this long is taken back; use 1m to 24h", s.Expire)
	}
	if ok && !r.Wrong(where) {
		// Directories come with the daemon: without them serve could send nothing.
		if err := spool.Check(c.SpoolOptions(nil)); err != nil {
			r.Warning(where, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
}

// SpoolOptions returns what package spool must know.
func (c *Config) SpoolOptions(log *slog.Logger) spool.Options {
	s := c.SMS.Spool
	return spool.Options{Kind: spool.Kind(s.Kind), Outgoing: s.Outgoing, Incoming: s.Incoming, Sent: s.Sent, Failed: s.Failed, Checked: s.Checked, Reports: s.Reports,
		StateFile: filepath.Join(c.StateDir, "spool.jsonl"), Number: s.Number, Region: c.Region, Report: s.Report, Expire: s.Expire, Log: log}
}
