package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"textback/cmd/textback/config"
	"textback/rules"
)

// New rules are taken into use when they check out, alone and beside textback.yaml;
// the old ones stay otherwise, and the log says why.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const office = "version: 1\nbusiness: {name: Miller}\ntimezone: Europe/Berlin\nregions: [%s]\nmode: %s\nstaff: {%s: {text: \"+12025550199\"}}\nrules:\n  - {name: all, nothing: %s}\n"
	file := func(region, mode, staff, why string) string { return fmt.Sprintf(office, region, mode, staff, why) }
	write("key", "secret\n")
	// Nobody in Japan need be able to answer; in the US they must.
	path := write("textback.yaml", fmt.Sprintf("state_dir: %s\npbx: {sip: {pbx: [192.0.2.1], trunks: [192.0.2.2], hep: {listen: \"127.0.0.1:9060\"}}}\n"+
		"sms: {transport: telnyx, from: \"+12125550100\", telnyx: {api_key_file: key}, replies: {tell: [front]}}\n", dir))
	write("rules.yaml", file("JP", "live", "front", "a"))
	cfg, problems := config.Load(path)
	r, more := rules.Load(cfg.Rules)
	if len(problems) > 0 || r == nil {
		t.Fatal(problems, more)
	}
	var log bytes.Buffer
	d := &serving{cfg: cfg, log: slog.New(slog.NewTextHandler(&log, nil)), m: newMetrics()}
	d.rules.Store(r)
	var err error
	if d.directory, err = d.openDirectory(); err != nil {
		t.Fatal(err)
	}
	defer d.directory.Close()
	for _, x := range []struct {
		rules string
		taken bool
		says  string
	}{
		{file("JP", "live", "front", "b"), true, "rules reloaded"},
		{file("JP", "life", "front", "c"), false, "unknown mode"},
		{"rules: {", false, "not valid YAML"},
		{file("US", "live", "front", "c"), false, "could say stop"},
		{file("JP", "live", "back", "c"), false, `\"front\" is not on the staff`},
		{file("JP", "shadow", "front", "c"), true, "NO TEXT IS SENT"},
		{file("JP", "live", "front", "d"), true, "texts are sent"},
	} {
		log.Reset()
		before := d.rules.Load()
		write("rules.yaml", x.rules)
		d.reload()
		if taken := d.rules.Load() != before; taken != x.taken || !strings.Contains(log.String(), x.says) {
			t.Errorf("taken %v, want %v and %q:\n%s", taken, x.taken, x.says, log.String())
		}
		if !x.taken && !strings.Contains(log.String(), "the old ones stay in force") {
			t.Error(log.String())
		}
	}
}
