package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The unit and its drop-ins as systemd merges them.
func TestInstalledService(t *testing.T) {
	root := t.TempDir()
	if s := InstalledService(root); s != nil {
		t.Fatalf("no unit is installed: %+v", s)
	}
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shipped, err := os.ReadFile("../../../systemd/textback.service")
	if err != nil {
		t.Fatal(err)
	}
	write("usr/lib/systemd/system/textback.service", string(shipped))
	write("usr/lib/systemd/system/textback.service.d/twilio.conf", "[Service]\nLoadCredential=vendor:/x\n")
	write("etc/systemd/system/textback.service.d/twilio.conf", "[Service]\nLoadCredential=twilio_auth_token:/etc/textback/secrets/twilio_auth_token\n")
	write("etc/systemd/system/textback.service.d/shared-files.conf", "[Service]\n# SupplementaryGroups=7\nSupplementaryGroups=4711 4712\n[Unit]\nDynamicUser=no\n")
	s := InstalledService(root)
	if s == nil || s.Config != "/etc/textback/textback.yaml" || !s.Dynamic || !s.noHome || !s.ownTmp || s.opened != "/etc/textback" {
		t.Fatalf("got %+v", s)
	}
	if got := fmt.Sprint(s.Credentials, s.groups); got != "map[ari_password:true twilio_auth_token:true] map[4711:true 4712:true]" {
		t.Error("credentials and groups:", got)
	}
	write("etc/systemd/system/textback.service.d/00-sip-only.conf", "[Service]\nLoadCredential=\nExecStart=\nExecStart=/opt/textback \\\n  serve --config=/srv/t.yaml\n")
	if s = InstalledService(root); s.Credentials["ari_password"] || !s.Credentials["twilio_auth_token"] || s.Config != "/srv/t.yaml" {
		t.Errorf("got %+v", s)
	}
}

// Files that root reads and a service with a user of its own cannot.
func TestUnreadable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	// Others may pass, so that the modes below decide.
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755)); err != nil {
		t.Fatal(err)
	}
	yaml := `region: US
contacts: {files: [people.csv, vip/people.csv, open.csv, group.csv], lookup: {url: "https://crm.example/{number}", bearer_file: crm_token}}
rules: rules.yaml
sms:
  transport: twilio
  from: "+12125550100"
  twilio: {account_sid: AC00000000000000000000000000000000, auth_token_file: secrets/twilio}
`
	for name, mode := range map[string]os.FileMode{"textback.yaml": 0o600, "rules.yaml": 0o640, "people.csv": 0o600, "vip/people.csv": 0o644, "open.csv": 0o644, "group.csv": 0o640,
		"days.ics": 0o600, "secrets/ari_password": 0o600, "secrets/crm_token": 0o600, "secrets/twilio": 0o600} {
		text := "x\n"
		if name == "textback.yaml" {
			text = yaml
		}
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "vip"), 0o700); err != nil {
		t.Fatal(err)
	}
	const group = 4711
	if err := os.Chown(filepath.Join(dir, "group.csv"), -1, group); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("only root may give files to a group:", err)
	}
	c, problems := Load(filepath.Join(dir, "textback.yaml"))
	if slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning }) {
		t.Fatal(problems)
	}
	beside := []string{filepath.Join(dir, "days.ics")}
	s := &Service{Dynamic: true, Credentials: map[string]bool{"ari_password": true}, groups: map[uint32]bool{group: true}}
	var got strings.Builder
	for _, p := range c.Unreadable(s, beside) {
		if !p.Warning {
			t.Errorf("more than a warning: %v", p)
		}
		fmt.Fprintln(&got, strings.ReplaceAll(p.String(), dir, "/etc/textback"))
	}
	const mend = "chmod o+r it, or where not everybody may read it, give it to the group of the drop-in shared-files.conf"
	want := `/etc/textback/textback.yaml:1:1: warning: the service textback cannot read this file, for it belongs to others: chmod o+r it; there are no secrets in it
/etc/textback/textback.yaml:2:20: warning: the service textback cannot read /etc/textback/people.csv: ` + mend + `
/etc/textback/textback.yaml:2:32: warning: the service textback cannot read /etc/textback/vip/people.csv, for the folder /etc/textback/vip is closed to it: put it into /etc/textback, and ` + mend + `
/etc/textback/textback.yaml:2:129: warning: the service textback cannot read /etc/textback/secrets/crm_token, for it belongs to others: load it, by the drop-in of its kind or by a line of your own (systemctl edit textback): LoadCredential=crm_token:/etc/textback/secrets/crm_token
/etc/textback/textback.yaml:3:8: warning: the service textback cannot read /etc/textback/rules.yaml: ` + mend + `
/etc/textback/textback.yaml:3:8: warning: the service textback cannot read /etc/textback/days.ics: ` + mend + `
/etc/textback/textback.yaml:7:78: warning: the service textback cannot read /etc/textback/secrets/twilio, for it belongs to others: load it, by the drop-in of its kind or by a line of your own (systemctl edit textback): LoadCredential=twilio:/etc/textback/secrets/twilio, and name it twilio here
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
	s.Dynamic = false // a user whom the admin has chosen may own files
	if got := c.Unreadable(s, beside); len(got) > 0 {
		t.Error(got)
	}
	for file, want := range map[string]string{"/home/ann/people.csv": "homes are hidden from it", "/tmp/people.csv": "it has a /tmp of its own", "/etc/passwd": "", "/homely": ""} {
		if got := (&Service{noHome: true, ownTmp: true}).unread(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}
