package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Exit codes are a contract: 2 is wrong usage, of every subcommand, whatever else is not fine. 1 is
// what cannot be read, such as a daemon that does not run.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "textback.yaml")
	// It has a sound configuration, and no daemon.
	for name, content := range map[string]string{
		"textback.yaml": "region: US\nstate_dir: " + dir + "\nnats: {listen: \"127.0.0.1:1\"}\nhttp: {listen: \"127.0.0.1:1\"}\npbx: {asterisk: {url: \"http://127.0.0.1:1\"}}\n",
		"ari_password":  "secret\n",
		"rules.yaml":    "version: 1\nbusiness: {name: Miller}\ntimezone: America/New_York\nrules:\n  - {name: missed, text: \"{{.Business}} missed you. Reply or call us. STOP ends this.\"}\n",
		"admin.nk":      "no key\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, c := range []struct {
		want int
		args string // split at blanks
		says string
	}{
		{2, "serve --watch --send", "can't be used together"},
		{2, "serve now", "unexpected argument"},
		{2, "replay", "expected"},
		{2, "replay --region ZZ x.jsonl", "is no region"},
		{2, "replay --region germany x.jsonl", "is no region"},
		{2, "replay --pbx office x.jsonl", "want an address"},
		{1, "replay --region de nowhere.jsonl", "nowhere.jsonl"},
		{2, "check rules.yaml", "unexpected argument"},
		{0, "check", ""},
		{2, "explain", "explain needs --caller and --outcome"},
		{2, "explain --caller 2025550143", "explain needs --caller and --outcome"},
		{2, "explain --caller 2025550143 --outcome missed", "unknown outcome"},
		{2, "explain --caller 2025550143 --outcome busy --reason late", "unknown reason"},
		{2, "explain --caller 2025550143 --outcome busy --at noon", "is no time"},
		{2, "explain --caller 2025550143 --outcome busy --attempts 0", "1 is the first"},
		{2, "explain --caller 2025550143 --outcome busy --spent cents=1", "unknown budget"},
		{2, "explain --caller 2025550143 --outcome busy --spent caller=x", "want a number"},
		{0, "explain --caller 2025550143 --outcome busy", ""},
		{1, "explain --call 1700000000.1", ""},
		{2, "test", "expected"},
		{1, "test nowhere.yaml", "nowhere.yaml"},
		{2, "backtest --since yesterday", "is no time"},
		{1, "backtest --since 30d", ""},
		{2, "schema", "expected"},
		{2, "schema calls", "must be one of"},
		{2, "doctor asterisk", "unexpected argument"},
		{1, "doctor", ""},
		{2, "status calls", "unexpected argument"},
		{1, "status", "does not answer"},
		{2, "calls --since yesterday", "is no time"},
		{1, "calls --since 30d", ""},
		{2, "texts --sent", "need --settle"},
		{2, "texts --not-sent", "need --settle"},
		{2, "texts --settle JOB", "needs --sent or --not-sent"},
		{2, "texts --settle JOB --sent --not-sent", "can't be used together"},
		{2, "texts --settle JOB --sent --cancel JOB", "can't be used together"},
		{2, "texts --held --cancel JOB", "can't be used together"},
		{1, "texts --settle JOB --sent", ""},
		{2, "tasks now", "unexpected argument"},
		{1, "tasks", ""},
		{2, "replies --since soon", "is no time"},
		{2, "replies Sarah", "is no phone number"},
		{1, "replies --since 30d", ""},
		{1, "replies 2025550143", ""},
		{2, "export", "expected"},
		{2, "export Sarah", "is no phone number"},
		{1, "export 2025550143", ""},
		{2, "forget", "expected"},
		{2, "forget Sarah", "is no phone number"},
		{1, "forget 2025550143", ""},
		{2, "optout", "expected"},
		{2, "optout add", "expected"},
		{2, "optout add 2025550143 Sarah", "is no phone number"},
		{2, "optout remove Sarah", "is no phone number"},
		{2, "optout check Sarah", "is no phone number"}, // not 1, which says that she has opted out
		{2, "optout list all", "unexpected argument"},
		{2, "optout import", "expected"},
		{1, "optout import nowhere.csv", "nowhere.csv"},
		{2, "optout export", "expected"},
		{1, "optout export -", ""},
		{2, "demo now", "unexpected argument"},
		{2, "version now", "unexpected argument"},
		{0, "version", ""},
	} {
		args := strings.Fields(c.args)
		seen[args[0]] = true
		if args[0] == "optout" && len(args) > 1 {
			seen["optout "+args[1]] = true
		}
		switch args[0] {
		case "replay", "test", "schema", "demo", "version":
		default:
			if len(args) > 1 || args[0] != "optout" {
				args = append(args, "--config", file)
			}
		}
		var out, errs bytes.Buffer
		if got := run(args, console{strings.NewReader(""), &out, &errs}); got != c.want || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", c.args, got, c.want, c.says, &out, &errs)
		}
	}
	for _, cmd := range kong.Must(new(cli)).Model.Leaves(false) {
		name := cmd.Name
		if cmd.Parent.Type == kong.CommandNode {
			name = cmd.Parent.Name + " " + name
		}
		if !seen[name] {
			t.Errorf("no line for %q", name)
		}
	}
}
