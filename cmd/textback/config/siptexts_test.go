package config

import (
	"strings"
	"testing"

	"textback/sms/asterisk"
	"textback/sms/sipmessage"
)

// What passes here passes in the transport, so that serve cannot fail where check did not.
func TestSIPTextsOptions(t *testing.T) {
	dir := folder(t)
	for _, c := range []string{
		"server: 127.0.0.1, register: true, user: office, password_file: ari_password",
		"server: '[::1]:5070', listen: '127.0.0.1:5062', from: account, user: office, numbers: digits, rate_per_minute: 10, receipts: true",
		"server: 192.168.1.5:5060, transport: tcp, max_size: 4000, register: true, user: '+12125550100', validity: 0s, probe: false, domain: pbx.example.com",
		"server: sip.example.com, transport: tls, register: true, user: office, expires: 1h, advertise: '198.51.100.7:5061', allow: [198.51.100.0/24]",
	} {
		cfg := mustLoad(t, dir, "sms: {transport: sip, sip: {"+c+"}}")
		opt, err := cfg.SIPTextsOptions(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sipmessage.New(opt); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		if strings.Contains(c, "password") && opt.Password != "hush-ari" {
			t.Errorf("%s: the secret is not passed on", c)
		}
	}
	// A file that is there but holds no certificate is told at start.
	cfg := mustLoad(t, dir, "sms: {transport: sip, sip: {server: x.example.com, transport: tls, register: true, user: a, tls: {ca_file: nats-ca.pem}}}")
	if _, err := cfg.SIPTextsOptions(nil); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Error(err)
	}
}

func TestAsteriskTextsOptions(t *testing.T) {
	for _, c := range []string{"endpoint: trunk, domain: sip.example.com", "endpoint: trunk_1, domain: '192.0.2.1:5070', app: texts, numbers: digits, rate_per_minute: 60"} {
		opt := mustLoad(t, folder(t), "sms: {transport: asterisk, asterisk: {"+c+"}}").AsteriskTextsOptions(nil)
		if _, err := asterisk.New(opt); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		if opt.Password != "hush-ari" || opt.URL != "http://127.0.0.1:8088" {
			t.Errorf("%s: the way to Asterisk is not passed on", c)
		}
	}
}
