// Package systemd_test checks the unit files with systemd's own tools. They read
// the files only: test machines need no running systemd, and whether the service
// works inside its sandbox is not shown here.
package systemd_test

import (
	"fmt"
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
	named := regexp.MustCompile(`(?m)^[ #]*(\w+_file): ([a-z_]+)(?: |$)`).FindAllStringSubmatch(string(conf), -1)
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
