package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The README's commands that install, below a root of the test's own: what they leave is complete,
// and check finds it sound once there is a password.
func TestInstallAsReadmeSays(t *testing.T) {
	_, block, found := strings.Cut(readme(t), "as root, in the source's folder:\n\n")
	block, _, _ = strings.Cut(block, "\n\n")
	if !found || !strings.Contains(block, "make build\n") {
		t.Fatalf("README has no commands that install: %q", block)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, dir := range []string{"/usr/local/bin", "/etc/systemd/system"} { // every host has these
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(line)
		if line == "make build" {
			continue // CI makes it
		}
		line = strings.Replace(line, " textback /usr/local/bin/", " "+self+" /usr/local/bin/textback", 1)
		line = regexp.MustCompile(` /(etc|usr)/`).ReplaceAllString(line, " "+root+"/$1/")
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	etc := root + "/etc/textback/"
	secret, err := os.OpenFile(etc+"secrets/ari_password", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = secret.WriteString("secret\n")
	secret.Close()
	if info, err := os.Stat(etc + "secrets/ari_password"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"textback.yaml", "rules.yaml"} {
		b, err := os.ReadFile(etc + name)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`^# yaml-language-server: \$schema=(\S+)\n`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("%s names no schema", name)
		}
		if _, err := os.Stat(etc + string(m[1])); err != nil {
			t.Error("what editors check by is not installed:", err)
		}
	}
	var out bytes.Buffer
	if code := run([]string{"check", "--config", etc + "textback.yaml"}, console{nil, &out, &out}); code != exitOK {
		t.Errorf("check: exit %d\n%s", code, &out)
	}
	for _, unit := range []string{"textback.service", "textback.service.d"} {
		if _, err := os.Stat(root + "/etc/systemd/system/" + unit); err != nil {
			t.Error(err)
		}
	}
}

// The README's table names every subcommand, and no flag that there is not.
func TestReadmeNamesCommands(t *testing.T) {
	_, table, _ := strings.Cut(readme(t), "\n| command | does |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	ticks := regexp.MustCompile("`[^`]+`").FindAllString(table, -1)
	flags, json := map[string]bool{}, map[string]bool{}
	for _, leaf := range kong.Must(new(cli)).Model.Leaves(false) {
		if leaf.Name != "demo" && leaf.Name != "version" && !slices.ContainsFunc(ticks, func(s string) bool { return slices.Contains(strings.Fields(strings.Trim(s, "`")), leaf.Name) }) {
			t.Errorf("the table lacks %s", leaf.FullPath())
		}
		for _, f := range leaf.Flags {
			flags["--"+f.Name] = true
			if f.Name == "json" {
				json[leaf.Name] = true
			}
		}
	}
	for _, f := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(table, -1) {
		if !flags[f] {
			t.Errorf("no command has %s", f)
		}
	}
	var told []string
	for row := range strings.Lines(table) {
		names := strings.Fields(strings.NewReplacer("|", " ", "`", " ", ",", " ").Replace(strings.SplitN(row, "|", 3)[1]))
		has := slices.ContainsFunc(names, func(n string) bool { return json[n] })
		if strings.Contains(row, "`--json`") && !has {
			t.Errorf("no --json: %s", row)
		}
		if strings.Contains(row, "`--json`") {
			told = append(told, names...)
		}
	}
	for name := range json {
		if !slices.Contains(told, name) {
			t.Errorf("the table does not say that %s has --json", name)
		}
	}
}
