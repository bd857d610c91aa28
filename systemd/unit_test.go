// Package systemd_test checks the unit files with systemd's own tools. They read
// the files only: test machines need no running systemd, and whether the service
// works inside its sandbox is not shown here.
package systemd_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// analyze returns the path of systemd-analyze. In CI it is installed when
// missing; elsewhere the test is skipped.
func analyze(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("systemd-analyze"); err == nil {
		return path
	}
	if os.Getenv("CI") != "true" {
		t.Skip("systemd-analyze is not installed")
	}
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "systemd"}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("apt-get %v: %v\n%s", args, err, out)
		}
	}
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// install copies the unit and the named drop-ins to a directory of the test's
// own, with this test's executable in place of one that is not installed.
func install(t *testing.T, dropIns ...string) (unit string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := append([]string{"textback.service"}, dropIns...)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "/usr/local/bin/textback", self)
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "textback.service")
}

func dropIns(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("textback.service.d/*.conf")
	if err != nil || len(found) < 2 {
		t.Fatalf("drop-ins: got %v, %v", found, err)
	}
	return found
}

// verify returns what systemd-analyze verify complains about.
func verify(t *testing.T, unit string) string {
	t.Helper()
	out, err := exec.Command(analyze(t), "verify", unit).CombinedOutput()
	if err != nil && len(out) == 0 {
		return err.Error()
	}
	return string(out)
}

func TestVerify(t *testing.T) {
	sets := [][]string{nil, dropIns(t)}
	for _, d := range dropIns(t) {
		sets = append(sets, []string{d})
	}
	for _, set := range sets {
		if out := verify(t, install(t, set...)); out != "" {
			t.Errorf("with %v:\n%s", set, out)
		}
	}
}

// That a mistake in the unit or in a drop-in is found at all.
func TestVerifyFindsMistakes(t *testing.T) {
	for _, name := range []string{"textback.service", "textback.service.d/twilio.conf"} {
		unit := install(t, dropIns(t)...)
		file, err := os.OpenFile(filepath.Join(filepath.Dir(unit), name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(file, "[Service]\nProtectSistem=strict")
		file.Close()
		if out := verify(t, unit); !strings.Contains(out, "ProtectSistem") {
			t.Errorf("%s: a misspelt key passes: %q", name, out)
		}
	}
}

// Worst exposure that is accepted, of 10. The rating differs a little between versions of systemd.
const (
	worst          = 1.3
	worstCapturing = 1.9
	capture        = "textback.service.d/sip-capture.conf"
	shared         = "textback.service.d/spool.conf"
)

var overall = regexp.MustCompile(`Overall exposure level for textback.service: ([0-9.]+) (\w+)`)

func TestExposure(t *testing.T) {
	b, err := os.ReadFile("textback.service")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`this ([0-9.]+) of 10 \(lower is better; (systemd \d+)\)`).FindSubmatch(b)
	if said == nil {
		t.Fatal("textback.service does not say its exposure")
	}
	version, err := exec.Command(analyze(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	// What reads packets off the wire, or shares a spool with another user, has more
	// rights, and is rated by itself.
	harmless := slices.DeleteFunc(dropIns(t), func(d string) bool { return d == capture || d == shared })
	for _, set := range [][]string{nil, harmless, {capture}, {shared}} {
		worst := worst
		if len(set) == 1 {
			worst = worstCapturing
		}
		unit := install(t, set...)
		out, err := exec.Command(analyze(t), "security", "--offline=yes", "--no-pager",
			"--threshold="+strconv.Itoa(int(worst*10)), unit).CombinedOutput()
		m := overall.FindSubmatch(out)
		if err != nil || m == nil {
			t.Errorf("with %v: %v\n%s", set, err, out)
			continue
		}
		t.Logf("exposure with %d drop-ins: %s of 10, %s", len(set), m[1], m[2])
		if worst != worstCapturing && strings.HasPrefix(string(version), string(said[2])+" ") && string(m[1]) != string(said[1]) {
			t.Errorf("with %v: exposure is %s, textback.service says %s", set, m[1], said[1])
		}
	}
}

// Every secret that the shipped configuration names is loaded by the unit or a
// drop-in, or stands in one as a line to copy.
func TestSecretsAreLoaded(t *testing.T) {
	conf, err := os.ReadFile("../configs/textback.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var loads strings.Builder
	for _, name := range append(dropIns(t), "textback.service") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		loads.Write(b)
	}
	named := regexp.MustCompile(`(?m)^[ #]*(\w+_file): ([a-z_]+|nats\.creds|webhook-[a-z]+\.pem)(?: |$)`).FindAllStringSubmatch(string(conf), -1)
	if len(named) < 10 {
		t.Fatalf("only %d secrets are named", len(named))
	}
	for _, n := range named {
		if n[1] == "public_key_file" {
			continue // not a secret
		}
		if !strings.Contains(loads.String(), "LoadCredential="+n[2]+":/etc/textback/secrets/"+n[2]+"\n") {
			t.Errorf("%s: nothing loads %s", n[1], n[2])
		}
	}
}

// assignments returns the keys and values of a unit file in order.
func assignments(t *testing.T, text string) (all [][2]string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			all = append(all, [2]string{key, value})
		}
	}
	return all
}

// An empty assignment forgets what came before, also what other drop-ins have set, and systemd
// reads them in the order of their names.
func TestWhatForgetsComesFirst(t *testing.T) {
	first := true
	for _, name := range dropIns(t) { // sorted
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		forgets := strings.HasPrefix(filepath.Base(name), "0")
		for _, a := range assignments(t, string(b)) {
			if a[1] == "" && !forgets {
				t.Errorf("%s has an empty %s=, which others that sort before it lose their values by: begin its name with 00- or 01-", name, a[0])
			}
		}
		if forgets && !first {
			t.Errorf("%s sorts after one that forgets nothing", name)
		}
		first = forgets
	}
}

// What the service would be given with several drop-ins, in the order in which systemd itself merges them.
func TestSecretsOfMergedUnit(t *testing.T) {
	for _, set := range [][]string{
		nil,
		{"00-sip-only"}, {"00-sip-only", "android", "contacts", "http", "notify", "smpp"},
		{"01-send"}, {"00-sip-only", "01-send"}, {"01-send", "android", "contacts", "notify"},
		{"01-watch"}, {"00-sip-only", "01-watch"},
	} {
		root := t.TempDir()
		to := filepath.Join(root, "etc/systemd/system")
		files := []string{"textback.service"}
		want := map[string]bool{"ari_password": true}
		for _, name := range set {
			name = "textback.service.d/" + name + ".conf"
			files = append(files, name)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range assignments(t, string(b)) {
				switch id, _, _ := strings.Cut(a[1], ":"); {
				case a[0] != "LoadCredential":
				case id == "":
					delete(want, "ari_password")
				default:
					want[id] = true
				}
			}
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		merged, err := exec.Command(analyze(t), "--root="+root, "--no-pager", "cat-config", "systemd/system/textback.service").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, merged)
		}
		got, starts := map[string]bool{}, 0
		for _, a := range assignments(t, string(merged)) {
			switch {
			case a[0] == "LoadCredential" && a[1] == "":
				clear(got)
			case a[0] == "LoadCredential":
				id, _, _ := strings.Cut(a[1], ":")
				got[id] = true
			case a[0] == "ExecStart" && a[1] == "":
				starts = 0
			case a[0] == "ExecStart":
				starts++
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("with %v the service is given %v, want %v", set, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		if starts != 1 {
			t.Errorf("with %v the service has %d ExecStart", set, starts)
		}
	}
}

// The list in the unit's head names every drop-in there is.
func TestUnitNamesDropIns(t *testing.T) {
	b, err := os.ReadFile("textback.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dropIns(t) {
		if !strings.Contains(string(b), filepath.Base(d)+" ") && !strings.Contains(string(b), filepath.Base(d)+":") {
			t.Errorf("textback.service does not name %s", d)
		}
	}
}
