package config

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/rules/strict"
	"textback/sms"
	"textback/sms/androidgateway"
	"textback/sms/httpapi"
	"textback/sms/smpp"
	"textback/sms/telnyx"
	"textback/sms/twilio"
)

var update = flag.Bool("update", false, "write the golden files anew")

// folder returns a directory with the secrets that examples name.
func folder(t *testing.T) string {
	t.Helper()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	t.Setenv("STATE_DIRECTORY", "")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"ari_password": "hush-ari\n", "twilio_auth_token": "hush-token\r\n", "twilio_api_key_secret": "hush-key",
		"smpp_password": "hush-pwd", "long_password": strings.Repeat("hush", 20), "nats.creds": "x", "nats-ca.pem": "x",
		"empty": "", "blank": " \n", "two_lines": "a\nb\n", "padded": " hush \n",
		"torn_key.pem": "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n",
	} {
		write(t, filepath.Join(dir, "secrets", name), content, 0o600)
	}
	write(t, filepath.Join(dir, "open_to_all"), "hush-open", 0o644)
	return dir
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// load loads content as DIR/textback.yaml and returns its problems, one a line.
func load(t *testing.T, dir, content string) (*Config, string) {
	t.Helper()
	path := filepath.Join(dir, "textback.yaml")
	write(t, path, content, 0o644)
	c, problems := Load(path)
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, p)
	}
	return c, strings.ReplaceAll(b.String(), dir, "DIR")
}

func mustLoad(t *testing.T, dir, content string) *Config {
	t.Helper()
	c, problems := load(t, dir, content)
	if problems != "" {
		t.Fatalf("problems:\n%s", problems)
	}
	return c
}

// Every message an admin may read. testdata/*.yaml are wrong files, the golden
// files beside them what is said of them.
func TestProblems(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.yaml")
	if len(files) < 5 {
		t.Fatalf("only %d files", len(files))
	}
	dir := folder(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, got := load(t, dir, string(b))
			if strings.Contains(got, "hush") {
				t.Errorf("a secret is told:\n%s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				write(t, golden, got, 0o644)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, problems := Load(filepath.Join(t.TempDir(), "textback.yaml"))
	if len(problems) != 1 || !strings.Contains(problems[0].String(), "textback.yaml: there is no such file") {
		t.Errorf("got %v", problems)
	}
	_, problems = Load(t.TempDir())
	if len(problems) != 1 || !strings.Contains(problems[0].String(), "is a directory") {
		t.Errorf("got %v", problems)
	}
}

func TestEmptyFile(t *testing.T) {
	dir := folder(t)
	for _, content := range []string{"", "# nothing\n", "---\n", "pbx:\nsms:\n  transport:\n", "pbx: {asterisk: }"} {
		c := mustLoad(t, dir, content)
		a := c.PBX.Asterisk
		if c.Site != "office" || c.Region != "US" || c.StateDir != "/var/lib/textback" || c.Rules != filepath.Join(dir, "rules.yaml") ||
			a == nil || a.URL != "http://127.0.0.1:8088" || a.User != "textback" || a.App != "textback" || a.Password.Reveal() != "hush-ari" ||
			!slices.Equal(c.SMS.Transport, []string{TransportLog}) || c.SMS.File.Path != "/var/lib/textback/texts.jsonl" || c.NATS.Listen != "127.0.0.1:4222" ||
			c.HTTP.Listen != "127.0.0.1:9470" || c.Log.Level != "info" {
			t.Errorf("%q: got %+v", content, c)
		}
	}
}

const examples = "../../../configs"

// The shipped examples load, without so much as a warning.
func TestExamples(t *testing.T) {
	dir := folder(t)
	files, _ := filepath.Glob(filepath.Join(examples, "*.yaml"))
	loaded := 0
	for _, file := range files {
		if strings.Contains(filepath.Base(file), "rules") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := load(t, dir, string(b)); problems != "" {
			t.Errorf("%s:\n%s", file, problems)
		}
		loaded++
	}
	if loaded < 4 {
		t.Errorf("only %d examples", loaded)
	}
}

// textback.yaml says that it shows the defaults, and it shows every key.
func TestReferenceExample(t *testing.T) {
	dir := folder(t)
	b, err := os.ReadFile(filepath.Join(examples, "textback.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	example, empty := mustLoad(t, dir, string(b)), mustLoad(t, dir, "")
	if len(example.Lines) != 2 {
		t.Errorf("got %d lines", len(example.Lines))
	}
	example.Lines, example.file, empty.file = nil, nil, nil
	if !reflect.DeepEqual(example, empty) {
		t.Errorf("the example is not the default:\n%+v\n%+v", example, empty)
	}
	// With every commented key in force, only what excludes each other and files
	// that are not there are reported: no key is misspelt.
	commented := regexp.MustCompile(`(?m)^( *)# ( *)(- |[a-z_]+:( |$))`).ReplaceAllString(string(b), "$1$2$3$4")
	_, problems := load(t, dir, commented)
	for p := range strings.Lines(problems) {
		if strings.Contains(p, "unknown key") || strings.Contains(p, "not valid YAML") {
			t.Error(p)
		}
	}
	var keys func(v reflect.Type)
	keys = func(v reflect.Type) {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return
		}
		for i := range v.NumField() {
			f := v.Field(i)
			if key := f.Tag.Get("yaml"); key != "-" {
				if !regexp.MustCompile(`(?m)^[ #-]*` + key + `:`).Match(b) {
					t.Errorf("configs/textback.yaml does not show %s", key)
				}
				keys(f.Type)
			}
		}
	}
	keys(reflect.TypeFor[Config]())
}

func TestTracker(t *testing.T) {
	c := mustLoad(t, folder(t), `
site: hq
region: de
pbx:
  asterisk:
    outside: {contexts: [carrier*], endpoints: PJSIP/trunk}
    inside: {contexts: [phones]}
  max_call_age: 2h
lines:
  - {number: 030 901820, dialed: [901820, 0309018*], name: Zentrale}
  - {number: "+12125550100"}
`)
	want := pbx.Config{Site: "hq", Source: "ari", Region: "DE", MaxAge: 2 * time.Hour,
		OutsideContexts: []string{"carrier*"}, OutsideEndpoints: []string{"PJSIP/trunk"}, InsideContexts: []string{"phones"},
		Lines: []pbx.LineName{
			{Raw: "901820", Number: "+4930901820", Name: "Zentrale"},
			{Raw: "0309018*", Number: "+4930901820", Name: "Zentrale"},
			{Raw: "+12125550100", Number: "+12125550100"},
			{Raw: "12125550100", Number: "+12125550100"},
		}}
	if got := c.Tracker(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSender(t *testing.T) {
	const twilio = "sms: {transport: twilio, twilio: {account_sid: AC00000000000000000000000000000000, auth_token_file: twilio_auth_token%s}%s}\n"
	const lines = "lines: [{number: +12125550100}, {number: +12125550110, sms_from: (212) 555-0111}]\n"
	const service = "MG00000000000000000000000000000000"
	const telnyx = "sms: {transport: telnyx, telnyx: {api_key_file: ari_password, messaging_profile_id: 00000000-0000-0000-0000-000000000000}}\n"
	for _, c := range []struct{ yaml, called, want string }{
		{lines, "+12125550100", "+12125550100"},
		{lines, "+12125550110", "+12125550111"},
		{lines, "", ""},
		{lines + "sms: {from: 2125550199}", "+12125550100", "+12125550199"},
		{lines + "sms: {from: 2125550199}", "", "+12125550199"},
		{lines + "sms: {from: My Office}", "+12125550110", "+12125550111"},
		{lines + fmt.Sprintf(twilio, ", messaging_service_sid: "+service, ""), "+12125550100", service},
		{lines + fmt.Sprintf(twilio, ", messaging_service_sid: "+service, ""), "+12125550110", "+12125550111"},
		{lines + fmt.Sprintf(twilio, "", ""), "+12125550100", "+12125550100"},
		{lines + fmt.Sprintf(twilio, "", ", from: 12345"), "+12125550100", "12345"},
		{lines + telnyx, "+12125550100", "00000000-0000-0000-0000-000000000000"},
		{lines + telnyx, "+12125550110", "+12125550111"},
		{lines + "sms: {from: 12345, transport: log, senders: {log: 67890}}", "+12125550110", "67890"},
	} {
		cfg := mustLoad(t, folder(t), c.yaml)
		if got := cfg.Sender(cfg.SMS.Transport[0], c.called); got != c.want {
			t.Errorf("%s\n%s: got %q, want %q", c.yaml, c.called, got, c.want)
		}
	}
}

// What passes here passes in the transport, so that serve cannot fail where check did not.
func TestTwilioOptions(t *testing.T) {
	dir := folder(t)
	const account = "account_sid: AC00000000000000000000000000000000, "
	for _, c := range []string{
		account + "auth_token_file: twilio_auth_token",
		account + "api_key_sid: SK1, api_key_secret_file: twilio_api_key_secret, validity: 0s",
		"account_sid: project-1, auth_token_file: twilio_auth_token, base_url: https://sms.example.com/api/laml/",
		account + "auth_token_file: twilio_auth_token, base_url: http://127.0.0.1:8080, validity: 10h",
		account + "auth_token_file: twilio_auth_token, messaging_service_sid: MG00000000000000000000000000000000",
	} {
		opt := mustLoad(t, dir, "sms: {transport: twilio, twilio: {"+c+"}}").TwilioOptions()
		if _, err := twilio.New(opt); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		if opt.AuthToken+opt.APIKeySecret != "hush-token" && opt.AuthToken+opt.APIKeySecret != "hush-key" {
			t.Errorf("%s: the secret is not passed on", c)
		}
	}
}

// The same for SMPP.
func TestSMPPOptions(t *testing.T) {
	dir := folder(t)
	const account = "address: 127.0.0.1:2775, system_id: office, password_file: smpp_password"
	for _, c := range []string{
		account,
		account + ", long_messages: sar, alphabet: latin1, validity: 0s, window: 1, rate: 5, max_segments: 3, enquire_interval: 1m",
		account + ", from_ton: 5, from_npi: 0, to_ton: 0, to_npi: 1, receipt_ids: decimal, reference: true, system_type: VMA",
		account + `, codes: {"0x444": opted_out, "1093": no_credit}, tls: {enabled: true, server_name: smpp.example.com}`,
	} {
		c := mustLoad(t, dir, "state_dir: "+dir+"\nsms: {transport: smpp, smpp: {"+c+"}}")
		opt, err := c.SMPPOptions(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := smpp.New(opt); err != nil {
			t.Errorf("%v: %v", c.SMS.SMPP, err)
		}
		if opt.Password != "hush-pwd" || opt.Dir != filepath.Join(dir, "smpp") {
			t.Errorf("%v: the secret or the directory is not passed on", c.SMS.SMPP)
		}
	}
	opt, err := mustLoad(t, dir, "sms: {transport: smpp, smpp: {"+account+`, codes: {"0x444": opted_out}, from_ton: 5, from_npi: 0, validity: 20m, long_messages: payload, tls: {enabled: true}}}`).SMPPOptions(nil)
	if err != nil || opt.Codes[0x444] != sms.OptedOut || opt.Source == nil || *opt.Source != (smpp.Kind{TON: 5}) || opt.Destination != nil || opt.Validity != 20*time.Minute ||
		opt.Long != smpp.ByPayload || opt.TLS == nil || opt.ReceiptIDs != smpp.IDsLearned || opt.Region != "US" {
		t.Errorf("%+v %v", opt, err)
	}
	// A file that is there but holds no certificate is told at start.
	if _, err := mustLoad(t, dir, "sms: {transport: smpp, smpp: {"+account+", tls: {enabled: true, ca_file: nats-ca.pem}}}").SMPPOptions(nil); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Error(err)
	}
}

// How replies come in, by what is configured.
func TestTwilioReplies(t *testing.T) {
	dir := folder(t)
	const token, key = "auth_token_file: twilio_auth_token", "api_key_sid: SK1, api_key_secret_file: twilio_api_key_secret"
	const lines = "lines: [{number: +12125550100}, {number: +12125550110, sms_from: (212) 555-0111}]\n"
	for _, c := range []struct {
		lines, keys, from string
		public            bool
		poll              time.Duration
		webhookToken      string
		numbers           []string
		stop              bool
	}{
		{keys: token, poll: 15 * time.Second, stop: true},
		{keys: token, public: true, poll: 5 * time.Minute, stop: true},
		{keys: token + ", poll: off", public: true, stop: true},
		{keys: token + ", poll: 1m, answers_stop: false", poll: time.Minute},
		{keys: token + ", base_url: https://sms.example.com", poll: 15 * time.Second},
		{keys: token + ", base_url: https://sms.example.com, answers_stop: true", poll: 15 * time.Second, stop: true},
		{keys: key + ", webhook_token_file: twilio_auth_token", public: true, poll: 5 * time.Minute, webhookToken: "hush-token", stop: true},
		{lines: lines, keys: token, poll: 15 * time.Second, numbers: []string{"+12125550100", "+12125550110", "+12125550111"}, stop: true},
		{lines: lines, keys: token, from: "12345", poll: 15 * time.Second, numbers: []string{"+12125550100", "+12125550110", "+12125550111", "12345"}, stop: true},
		{keys: token, from: "12345", poll: 15 * time.Second, numbers: []string{"12345"}, stop: true},
		{lines: lines, keys: token + ", messaging_service_sid: MG00000000000000000000000000000000", poll: 15 * time.Second, stop: true},
		{lines: strings.Replace(lines, "(212) 555-0111", "MG00000000000000000000000000000000", 1), keys: token, poll: 15 * time.Second, stop: true},
	} {
		content := c.lines + "sms: {transport: twilio, from: \"" + c.from + "\", twilio: {account_sid: AC00000000000000000000000000000000, " + c.keys + "}}"
		cfg, problems := reachable(t, dir, content, c.public)
		if problems != "" {
			t.Errorf("%s: %s", content, problems)
		}
		o := cfg.TwilioOptions()
		if o.Poll != c.poll || o.WebhookToken != c.webhookToken || !slices.Equal(o.Numbers, c.numbers) || o.AnswersStop != c.stop || (o.PublicURL != "") != c.public {
			t.Errorf("%s: got %+v", content, o)
		}
		if _, err := twilio.New(o); err != nil {
			t.Errorf("%s: %v", content, err)
		}
	}
	// A URL for the provider to call needs what its signatures are checked with.
	for content, want := range map[string]string{
		"sms: {transport: twilio, twilio: {account_sid: AC00000000000000000000000000000000, " + key + "}}": "webhook_token_file is needed too",
		"sms: {transport: telnyx, telnyx: {api_key_file: ari_password}}":                                   "sms.telnyx.public_key is needed",
	} {
		if _, problems := reachable(t, dir, content, true); !strings.Contains(problems, want) {
			t.Errorf("%s: got %s", content, problems)
		}
		if _, problems := reachable(t, dir, content, false); problems != "" {
			t.Errorf("%s: got %s", content, problems)
		}
	}
}

// reachable is load of a host that providers can, or cannot, reach.
func reachable(t *testing.T, dir, content string, public bool) (*Config, string) {
	t.Helper()
	c := defaults()
	read, ok := strict.Parse(filepath.Join(dir, "textback.yaml"), []byte(content), c)
	if !ok {
		t.Fatalf("%s: %v", content, read.Problems)
	}
	if public {
		c.SMS.Twilio.PublicURL, c.SMS.Telnyx.PublicURL = "https://sms.example.com/textback/twilio", "https://sms.example.com/textback/telnyx"
	}
	r := &report{Report: read, dir: dir}
	c.checkLines(r)
	c.checkSMS(r)
	return c, strings.Trim(fmt.Sprint(r.Problems), "[]")
}

func TestTelnyxOptions(t *testing.T) {
	dir := folder(t)
	const key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" // RFC 8032, test 1
	write(t, filepath.Join(dir, "telnyx_public_key"), key+"\n", 0o600)
	for keys, want := range map[string]telnyx.Options{
		"api_key_file: ari_password": {APIKey: "hush-ari", From: "+12125550100"},
		"api_key_file: ari_password, public_key: " + key + ", messaging_profile_id: 00000000-0000-0000-0000-000000000000, answers_stop: true": {
			APIKey: "hush-ari", From: "+12125550100", PublicKey: key, MessagingProfileID: "00000000-0000-0000-0000-000000000000", AnswersStop: true},
		"api_key_file: ari_password, public_key_file: telnyx_public_key, base_url: http://127.0.0.1:1": {APIKey: "hush-ari", From: "+12125550100", PublicKey: key, BaseURL: "http://127.0.0.1:1"},
	} {
		for _, public := range []bool{false, want.PublicKey != ""} {
			c, problems := reachable(t, dir, "sms: {transport: telnyx, from: (212) 555-0100, telnyx: {"+keys+"}}", public)
			if want.PublicURL = c.SMS.Telnyx.PublicURL; problems != "" || !reflect.DeepEqual(c.TelnyxOptions(), want) {
				t.Errorf("%s: %s: got %+v", keys, problems, c.TelnyxOptions())
			}
			if _, err := telnyx.New(c.TelnyxOptions()); err != nil {
				t.Errorf("%s: %v", keys, err)
			}
		}
	}
}

// Only a host without an Asterisk of its own and with an external server watches nothing.
func TestWatching(t *testing.T) {
	dir := folder(t)
	for content, want := range map[string]bool{
		"":                               true,
		"nats: {url: nats://a:4222}":     false,
		"nats: {url: nats://a}\npbx: {}": false,
		"nats: {url: nats://a}\npbx: {asterisk: {}}":                                 true,
		"pbx: {sip: {trunks: 192.0.2.1, capture: {interfaces: eth0}}}":               true,
		"pbx: {asterisk: {}, sip: {trunks: 192.0.2.1, capture: {interfaces: eth0}}}": true,
	} {
		c := mustLoad(t, dir, content)
		if got := c.PBX.Asterisk != nil || c.PBX.SIP != nil; got != want {
			t.Errorf("%s: watching %v", content, got)
		}
	}
}

func TestSecretPlaces(t *testing.T) {
	dir := folder(t)
	password := func() string { return mustLoad(t, dir, "").PBX.Asterisk.Password.Reveal() }
	if got := password(); got != "hush-ari" {
		t.Errorf("from secrets: got %q", got)
	}
	write(t, filepath.Join(dir, "ari_password"), "beside", 0o600)
	if got := password(); got != "beside" {
		t.Errorf("from beside the file: got %q", got)
	}
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if got := password(); got != "beside" {
		t.Errorf("not among the credentials: got %q", got)
	}
	// systemd makes them 0440 or 0400 in a directory of the service's own.
	write(t, filepath.Join(credentials, "ari_password"), "credential", 0o444)
	if got := password(); got != "credential" {
		t.Errorf("from the credentials: got %q", got)
	}
	absolute := filepath.Join(dir, "secrets", "ari_password")
	if got := mustLoad(t, dir, "pbx: {asterisk: {password_file: "+absolute+"}}").PBX.Asterisk.Password.Reveal(); got != "hush-ari" {
		t.Errorf("absolute: got %q", got)
	}
	// A name with a folder in it is no credential.
	write(t, filepath.Join(credentials, "x"), "credential", 0o400)
	if got := mustLoad(t, dir, "pbx: {asterisk: {password_file: secrets/ari_password}}").PBX.Asterisk.Password.Reveal(); got != "hush-ari" {
		t.Errorf("in a folder: got %q", got)
	}
}

func TestSecretHides(t *testing.T) {
	c := mustLoad(t, folder(t), "")
	j, _ := json.Marshal(c)
	for _, s := range []string{fmt.Sprint(c.PBX.Asterisk), fmt.Sprintf("%+v %#v %q %x", *c.PBX.Asterisk, *c.PBX.Asterisk, c.PBX.Asterisk.Password, c.PBX.Asterisk.Password), string(j)} {
		if strings.Contains(s, "hush") || strings.Contains(s, fmt.Sprintf("%x", "hush")) {
			t.Errorf("the secret is printed: %s", s)
		}
	}
}

func TestStateDirectory(t *testing.T) {
	dir := folder(t)
	t.Setenv("STATE_DIRECTORY", "/var/lib/private/textback:/var/lib/other")
	if got := mustLoad(t, dir, "").StateDir; got != "/var/lib/private/textback" {
		t.Errorf("got %s", got)
	}
	if got := mustLoad(t, dir, "state_dir: /srv/textback").StateDir; got != "/srv/textback" {
		t.Errorf("got %s", got)
	}
}

func TestOff(t *testing.T) {
	c := mustLoad(t, folder(t), "http: {listen: off}\nnats: {listen: off}")
	if c.HTTP.Listen != "" || c.NATS.Listen != "" {
		t.Errorf("got %+v, %+v", c.HTTP, c.NATS)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	more, _ := filepath.Glob(filepath.Join(examples, "*.yaml"))
	for _, file := range slices.Concat(files, more) {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		_, problems := parse(filepath.Join(dir, "textback.yaml"), b, false)
		for _, p := range problems {
			if p.Text == "" || strings.Contains(p.String(), "\n") {
				t.Errorf("a problem should be one line: %q", p)
			}
		}
	})
}

// Whoever only explains or lists needs no right to read secrets.
func TestLoadOpen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "textback.yaml")
	write(t, name, "pbx: {asterisk: {password_file: ari_password}}\nsms: {transport: twilio, twilio: {account_sid: AC00000000000000000000000000000000, auth_token_file: token}}\n", 0o644)
	if c, problems := LoadOpen(name); len(problems) > 0 || c.PBX.Asterisk.Password != "" {
		t.Errorf("%v", problems)
	}
	if _, problems := Load(name); len(problems) != 2 {
		t.Errorf("%v", problems)
	}
}

// What passes here passes in the transports, and the secrets reach them.
func TestHTTPOptions(t *testing.T) {
	dir := folder(t)
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
	for _, c := range []string{
		"preset: kannel, url: 'http://127.0.0.1:13013', user: office, secret_file: twilio_auth_token",
		"preset: vonage, account: abcd1234, secret_file: twilio_auth_token, inbound_secret_file: hook",
		"preset: vonage, private_key_file: key.pem, values: {application: a}, secret_file: twilio_auth_token",
		"preset: plivo, account: MAXX, secret_file: twilio_auth_token, per_minute: 10",
		"preset: bandwidth, account: 9, user: u, secret_file: twilio_auth_token, values: {application: a}, validity: 0s",
		"preset: smseagle, url: 'https://sms.example', secret_file: twilio_auth_token, max_segments: 3",
		"secret_file: twilio_auth_token, values: {office: hq}, custom: {request: {url: 'https://sms.example/{office}', form: {t: '{to}', b: '{body}'}}, response: {accepted: {status: 200}}}",
	} {
		write(t, filepath.Join(dir, "secrets", "hook"), "hush-signature-secret", 0o600)
		write(t, filepath.Join(dir, "secrets", "key.pem"), string(key), 0o600)
		conf := mustLoad(t, dir, "sms: {transport: http, from: 2125550100, http: {"+c+"}}")
		opt := conf.HTTPOptions()
		if opt.Secret != "hush-token" || opt.From != "+12125550100" || opt.Region != "US" || strings.Contains(c, "hook") && opt.InboundSecret != "hush-signature-secret" {
			t.Errorf("%s: %+v", c, opt)
		}
		if _, err := httpapi.New(opt); err != nil {
			t.Errorf("%s: %v", c, err)
		}
		if printed := fmt.Sprintf("%+v %#v", conf.SMS.HTTP, conf.SMS.HTTP); strings.Contains(printed, "hush") || strings.Contains(printed, "RSA") {
			t.Errorf("%s: a secret is printed", c)
		}
	}
	opt := mustLoad(t, dir, "sms: {transport: android, android: {url: 'http://192.168.1.20:8080', user: sms, password_file: ari_password, signing_key_file: twilio_auth_token, sim: 2}}").AndroidOptions()
	opt.PublicURL = "https://office.example/textback/android"
	if _, err := androidgateway.New(opt); err != nil || opt.Password != "hush-ari" || opt.SigningKey != "hush-token" || opt.SIM != 2 || opt.Validity != 15*time.Minute {
		t.Errorf("%+v, %v", opt, err)
	}
	if _, said := load(t, dir, "sms: {transport: http, http: {preset: vonage, private_key_file: key.pem}}"); !strings.Contains(said, "values.application is needed: the id of the application whose private key it is\n") {
		t.Error(said)
	}
	// Without leave to read secrets, they count as good.
	name := filepath.Join(dir, "textback.yaml")
	for _, h := range []string{"account: a, secret_file: nowhere, inbound_secret_file: nowhere", "private_key_file: nowhere, ca_file: nowhere, values: {application: a}"} {
		write(t, name, "sms: {transport: http, http: {preset: vonage, "+h+"}}\n", 0o644)
		if _, problems := LoadOpen(name); len(problems) > 0 {
			t.Error(problems)
		}
	}
}

// What is in the files of tls shows when a transport is opened; its errors name the key.
func TestTLSFilesOfTransports(t *testing.T) {
	dir := folder(t)
	for transport, settings := range map[string]string{
		"smpp": "address: smpp.example.com:2775, system_id: office, password_file: ari_password, tls: {enabled: true, ",
		"sip":  "server: sip.example.com, user: office, register: true, transport: tls, tls: {",
	} {
		for file, want := range map[string]string{
			"ca_file: nats-ca.pem":                          "ca_file: there is no certificate in it",
			"ca_file: gone.pem":                             "ca_file: " + filepath.Join(dir, "secrets", "gone.pem") + ": no such file or directory",
			"cert_file: nats-ca.pem, key_file: nats-ca.pem": "cert_file: tls: failed to find any PEM data in certificate input",
		} {
			gone := filepath.Join(dir, "secrets", "gone.pem")
			write(t, gone, "x", 0o600)
			c, problems := load(t, dir, "sms: {transport: "+transport+", "+transport+": {"+settings+file+"}}}")
			if c == nil || strings.Contains(problems, "sms."+transport+".tls") {
				t.Fatal(problems)
			}
			if err := os.Remove(gone); err != nil { // between check and serve
				t.Fatal(err)
			}
			_, err := c.SMPPOptions(nil)
			if transport == "sip" {
				_, err = c.SIPTextsOptions(nil)
			}
			if want := "sms." + transport + ".tls." + want; err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
}

// Root may read everything, so what others read of a file they may not is made here.
func TestPlainPath(t *testing.T) {
	if err := plainPath(&fs.PathError{Op: "open", Path: "/etc/key", Err: fs.ErrPermission}); err.Error() != "/etc/key cannot be read by this user" {
		t.Error(err)
	}
}

// The provider that configs/textback.yaml describes, key by key, is one that works.
func TestCustomExample(t *testing.T) {
	dir := folder(t)
	b, err := os.ReadFile(filepath.Join(examples, "textback.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, custom, _ := strings.Cut(string(b), "\n    # custom:\n")
	custom, _, _ = strings.Cut(custom, "\n\n")
	custom = regexp.MustCompile(`(?m)^    # ?`).ReplaceAllString(custom, "    ")
	c, problems := load(t, dir, "sms:\n  transport: http\n  http:\n    account: a\n    secret_file: twilio_auth_token\n    custom:\n"+custom+"\n")
	if problems != "" {
		t.Errorf("%s\n%s", problems, custom)
	}
	opt := c.HTTPOptions()
	opt.PublicURL, opt.InboundSecret = "https://office.example/textback/http", "0123456789abcdef"
	tr, err := httpapi.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if tt := tr.Traits(); tt.MaxSegments != 6 || tt.RatePerSecond != 1 || !tt.AnswersStop && c.SMS.HTTP.Custom.AnswersStop || !tt.Receipts {
		t.Errorf("%+v", tt)
	}
}

// HELP names a number that rings, not one that only texts.
func TestLineOfTexts(t *testing.T) {
	c := &Config{Lines: []Line{{Number: "+12125550101", SMSFrom: "+12125550199"}, {Number: "+12125550100", Name: "Front desk"}, {Number: "+12125550102"}}}
	for from, want := range map[string]string{
		"+12125550102": "+12125550102", // a line that texts itself
		"+12125550199": "+12125550101", // the sender of one line
		"+12125550150": "+12125550100", // one that all others share
		"":             "+12125550100", // nobody says which
	} {
		if got := c.LineOfTexts(from); got.Number != want {
			t.Errorf("%s: %s, want %s", from, got.Number, want)
		}
	}
	if got := (&Config{}).LineOfTexts("+12125550150"); got.Number != "+12125550150" {
		t.Error(got)
	}
}
