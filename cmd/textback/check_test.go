package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check by root warns of what the service, where one is installed, could not read.
func TestCheckWarnsOfWhatTheServiceCannotRead(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "etc/textback/textback.yaml")
	unit := fmt.Sprintf("[Service]\nDynamicUser=yes\nExecStart=/usr/local/bin/textback serve --config %s\n", config)
	for name, text := range map[string]string{
		"etc/systemd/system/textback.service": unit,
		"etc/textback/textback.yaml":          "state_dir: /nonexistent\nnats: {listen: \"off\"}\n",
		"etc/textback/ari_password":           "secret\n",
		"etc/textback/rules.yaml":             "version: 1\nbusiness: {name: Miller}\ntimezone: America/New_York\nrules: [{name: all, nothing: test}]\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wasRoot, was := unitRoot, isRoot
	t.Cleanup(func() { unitRoot, isRoot = wasRoot, was })
	check := func(root string, asRoot bool) (said string) {
		t.Helper()
		unitRoot, isRoot = root, func() bool { return asRoot }
		var out, errs bytes.Buffer
		if code := run([]string{"check", "--config", config}, console{nil, &out, &errs}); code != exitOK {
			t.Errorf("exit %d: warnings alone are no error\n%s", code, &errs)
		}
		return errs.String()
	}
	const cannot = "the service textback cannot read"
	if got := check(dir, true); strings.Count(got, cannot) != 3 || !strings.Contains(got, "LoadCredential=ari_password:") {
		t.Errorf("as root:\n%s", got)
	}
	if got := check(dir, false) + check(t.TempDir(), true); strings.Contains(got, cannot) {
		t.Errorf("as somebody else, or without the unit:\n%s", got)
	}
}
