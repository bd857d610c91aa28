package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"textback/rules/strict"
	"textback/sms"
	"textback/sms/smpp"
	"textback/sms/smpp/pdu"
)

// TransportSMPP is a value of SMS.Transport.
const TransportSMPP = "smpp"

// SMPP is an account at a provider's SMSC.
type SMPP struct {
	Address      string            `yaml:"address"` // host:port
	TLS          SMPPTLS           `yaml:"tls"`
	SystemID     string            `yaml:"system_id"`
	PasswordFile string            `yaml:"password_file"`
	SystemType   string            `yaml:"system_type"`
	FromTON      *int              `yaml:"from_ton"` // nil: as the sender looks
	FromNPI      *int              `yaml:"from_npi"`
	ToTON        *int              `yaml:"to_ton"`
	ToNPI        *int              `yaml:"to_npi"`
	Long         string            `yaml:"long_messages"`
	Alphabet     string            `yaml:"alphabet"`
	Validity     time.Duration     `yaml:"validity"`
	Reference    bool              `yaml:"reference"`
	ReceiptIDs   string            `yaml:"receipt_ids"`
	Codes        map[string]string `yaml:"codes"` // the provider's status: class
	Window       int               `yaml:"window"`
	Rate         int               `yaml:"rate"`         // texts a second; 0: not known
	MaxSegments  int               `yaml:"max_segments"` // 0: no limit
	Enquire      time.Duration     `yaml:"enquire_interval"`

	Password Secret `yaml:"-"`
}

// SMPPTLS says how the SMSC is known, and how we are.
type SMPPTLS struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"ca_file"`
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

func smppDefaults() SMPP {
	return SMPP{Long: string(smpp.ByUDH), Alphabet: "gsm7", ReceiptIDs: "auto", Window: 10, Validity: 15 * time.Minute, Enquire: 30 * time.Second}
}

// classes are those that a provider's own status may stand for: definite ones.
var classes = []string{string(sms.Transient), string(sms.Throttled), string(sms.OptedOut), string(sms.NotMobile), string(sms.Invalid), string(sms.Blocked),
	string(sms.RegionDenied), string(sms.Misconfigured), string(sms.Unauthorized), string(sms.NoCredit), string(sms.Rejected)}

func (c *Config) checkSMPP(r *report) {
	s, where := &c.SMS.SMPP, strict.At("sms", "smpp")
	host, port, err := net.SplitHostPort(s.Address)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case s.Address == "":
		r.Problem(where.Key("address"), "sms.transport is smpp, so sms.smpp.address is needed: the provider's SMSC as host:port, such as smpp.example.com:2775")
	case err != nil || host == "" || perr != nil || n == 0:
		r.Problem(where.Key("address"), "%q is not an address: write host:port, such as smpp.example.com:2775", s.Address)
	case !s.TLS.Enabled && !loopbackHost(host):
		r.Warning(where.Key("address"), "the password, numbers and texts cross the network in the clear: set tls.enabled: true if the provider has a TLS port, or reach it through a VPN")
	}
	switch {
	case s.SystemID == "":
		r.Problem(where.Key("system_id"), "sms.transport is smpp, so sms.smpp.system_id is needed: the account's name at the SMSC")
	case len(s.SystemID) > 15:
		r.Problem(where.Key("system_id"), "%q is too long: a system id has at most 15 characters", s.SystemID)
	}
	if s.PasswordFile == "" {
		r.Problem(where.Key("password_file"), "sms.transport is smpp, so sms.smpp.password_file is needed")
	} else if s.Password = r.secret(where.Key("password_file"), s.PasswordFile, "the account's password at the SMSC"); len(s.Password) > smpp.MaxPassword {
		r.Problem(where.Key("password_file"), "the password in it is longer than the %d characters that an SMSC may take", smpp.MaxPassword)
	}
	if len(s.SystemType) > 12 {
		r.Problem(where.Key("system_type"), "%q is too long: a system type has at most 12 characters, and most providers want none", s.SystemType)
	}
	c.checkSMPPTLS(r, where.Key("tls"))
	for _, kind := range []struct {
		ton, npi string
		t, n     *int
	}{{"from_ton", "from_npi", s.FromTON, s.FromNPI}, {"to_ton", "to_npi", s.ToTON, s.ToNPI}} {
		if (kind.t == nil) != (kind.n == nil) {
			key := kind.ton
			if kind.t == nil {
				key = kind.npi
			}
			r.Problem(where.Key(key), "%s and %s belong together: one of them is missing", kind.ton, kind.npi)
		}
		for key, v := range map[string]*int{kind.ton: kind.t, kind.npi: kind.n} {
			if v != nil && (*v < 0 || *v > 255) {
				r.Problem(where.Key(key), "%d is out of range: use 0 to 255, 1 is usual", *v)
			}
		}
	}
	for key, one := range map[string]struct {
		value string
		of    []string
	}{
		"long_messages": {s.Long, []string{string(smpp.ByUDH), string(smpp.BySAR), string(smpp.ByPayload)}},
		"alphabet":      {s.Alphabet, []string{"gsm7", "latin1"}},
		"receipt_ids":   {s.ReceiptIDs, []string{"auto", string(smpp.IDsSame), string(smpp.IDsDecimal), string(smpp.IDsHex)}},
	} {
		if !slices.Contains(one.of, one.value) {
			r.OneOf(where.Key(key), strings.ReplaceAll(key, "_", " "), one.value, one.of...)
		}
	}
	for code, class := range s.Codes {
		if _, ok := parseStatus(code); !ok {
			r.Problem(where.Key("codes", code), "%q is not a status: write it as the log shows it, such as 0x00000444", code)
		}
		if !slices.Contains(classes, class) {
			r.OneOf(where.Key("codes", code), "class", class, classes...)
		}
	}
	if s.Validity < 0 || s.Validity > smpp.MaxValidity || s.Validity%time.Second != 0 {
		r.Problem(where.Key("validity"), "%s is out of range: use whole seconds up to %.0fh, or 0s to leave it to the provider", s.Validity, smpp.MaxValidity.Hours())
	}
	for _, in := range []struct {
		key            string
		value, min, to int
		say            string
	}{
		{"window", s.Window, 1, 1000, "how many submits may be without an answer; 10 is usual"},
		{"rate", s.Rate, 0, 10000, "texts a second that the account allows, 0 for no limit known"},
		{"max_segments", s.MaxSegments, 0, 255, "segments that one text may have, 0 for no limit"},
	} {
		if in.value < in.min || in.value > in.to {
			r.Problem(where.Key(in.key), "%d is out of range: use %d to %d, %s", in.value, in.min, in.to, in.say)
		}
	}
	if s.Enquire < time.Second || s.Enquire > time.Hour {
		r.Problem(where.Key("enquire_interval"), "%s is out of range: a silent SMSC is asked whether it is there after this long; use 1s to 1h, 30s is usual", s.Enquire)
	}
}

func (c *Config) checkSMPPTLS(r *report, where strict.Path) {
	t := &c.SMS.SMPP.TLS
	for key, v := range map[string]string{"ca_file": t.CAFile, "cert_file": t.CertFile, "server_name": t.ServerName} {
		if v != "" && !t.Enabled {
			r.Problem(where.Key(key), "%s does nothing without tls.enabled: true", key)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		r.Problem(where, "cert_file and key_file belong together: one of them is missing")
	}
	t.CAFile = r.path(where.Key("ca_file"), t.CAFile)
	t.CertFile = r.path(where.Key("cert_file"), t.CertFile)
	t.KeyFile = r.path(where.Key("key_file"), t.KeyFile)
}

// parseStatus reads 0x00000444, or a decimal number.
func parseStatus(s string) (pdu.Status, bool) {
	n, err := strconv.ParseUint(s, 0, 32)
	return pdu.Status(n), err == nil && n != 0
}

// SMPPOptions returns what package smpp must know. It reads the files of tls.
func (c *Config) SMPPOptions(log *slog.Logger) (smpp.Options, error) {
	s := c.SMS.SMPP
	o := smpp.Options{Address: s.Address, SystemID: s.SystemID, Password: s.Password.Reveal(), SystemType: s.SystemType, From: c.SMS.From, Region: c.Region,
		Long: smpp.LongWay(s.Long), Latin1: s.Alphabet == "latin1", Validity: s.Validity, Reference: s.Reference, Window: s.Window, Rate: float64(s.Rate),
		MaxSegments: s.MaxSegments, EnquireEvery: s.Enquire, Dir: filepath.Join(c.StateDir, "smpp"), Log: log,
		Source: kind(s.FromTON, s.FromNPI), Destination: kind(s.ToTON, s.ToNPI)}
	if s.ReceiptIDs != "auto" {
		o.ReceiptIDs = smpp.IDForm(s.ReceiptIDs)
	}
	if len(s.Codes) > 0 {
		o.Codes = map[pdu.Status]sms.Class{}
		for _, code := range slices.Sorted(maps.Keys(s.Codes)) {
			status, _ := parseStatus(code)
			o.Codes[status] = sms.Class(s.Codes[code])
		}
	}
	var err error
	if s.TLS.Enabled {
		o.TLS, err = s.TLS.client()
	}
	return o, err
}

func kind(ton, npi *int) *smpp.Kind {
	if ton == nil || npi == nil {
		return nil
	}
	return &smpp.Kind{TON: byte(*ton), NPI: byte(*npi)}
}

func (t SMPPTLS) client() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("sms.smpp.tls.ca_file: %w", plainPath(err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("sms.smpp.tls.ca_file: there is no certificate in it")
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("sms.smpp.tls.cert_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
