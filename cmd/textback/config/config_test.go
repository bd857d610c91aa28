package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/sms"
	"textback/sms/smpp"
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
			c.SMS.Transport != TransportLog || c.SMS.File.Path != "/var/lib/textback/texts.jsonl" || c.NATS.Listen != "127.0.0.1:4222" ||
			c.HTTP.Listen != "127.0.0.1:9470" || c.Log.Level != "info" {
			t.Errorf("%q: got %+v", content, c)
		}
	}
}

const configs = "../../../configs"

// The shipped examples load, without so much as a warning.
func TestExamples(t *testing.T) {
	dir := folder(t)
	files, _ := filepath.Glob(filepath.Join(configs, "*.yaml"))
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
	b, err := os.ReadFile(filepath.Join(configs, "textback.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	example, empty := mustLoad(t, dir, string(b)), mustLoad(t, dir, "")
	if len(example.Lines) != 2 {
		t.Errorf("got %d lines", len(example.Lines))
	}
	example.Lines = nil
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
	} {
		if got := mustLoad(t, folder(t), c.yaml).Sender(c.called); got != c.want {
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
	more, _ := filepath.Glob(filepath.Join(configs, "*.yaml"))
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
