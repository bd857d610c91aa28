package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"textback/pbx/event"
)

// Real captures come out as their TRUTH.tsv says, told who is who and not.
func TestCaptures(t *testing.T) {
	dir := "../../testdata/captures"
	b, err := os.ReadFile(filepath.Join(dir, "TRUTH.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for n, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Split(line, "\t")
		if n == 0 {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, f[0]))
		if err != nil || len(files) == 0 {
			t.Errorf("TRUTH.tsv:%d: no file %s", n+1, f[0])
		}
		for _, file := range files {
			name := filepath.Base(file)
			// A more exact line follows a pattern, or stood before it.
			if f[0] != name && strings.Contains(string(b), "\n"+name[:3]+"_*"+name[strings.IndexByte(name, '.'):]+"\t") && !strings.HasSuffix(f[0], name[strings.IndexByte(name, '.'):]) {
				continue
			}
			seen[name] = true
			who := []string{"--pbx", "127.0.0.10", "--trunk", "127.0.0.2", "--mailbox", "127.0.0.30"}
			if strings.HasPrefix(name, "ast22") {
				who = []string{"--pbx", "127.0.0.1", "--trunk", "127.0.0.10"}
			}
			for _, flags := range [][]string{who, nil} {
				var out, errs bytes.Buffer
				args := append(append([]string{"replay", "--json", "--hep-key", "s3cret"}, flags...), file)
				if code := run(args, console{strings.NewReader(""), &out, &errs}); code != 0 || strings.Count(out.String(), "\n") != 1 {
					t.Errorf("%s: exit %d, %d calls, %s", name, code, strings.Count(out.String(), "\n"), errs.String())
					continue
				}
				c, err := event.Decode(bytes.TrimSpace(out.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				if string(c.Outcome) != f[1] || string(c.Reason) != f[2] || c.Certain != (f[1] != "unknown") || c.Source != "sip" {
					t.Errorf("%s, told who is who %v: %s %s, certain %v, want %s %s", name, flags != nil, c.Outcome, c.Reason, c.Certain, f[1], f[2])
				}
				if !json.Valid(out.Bytes()) {
					t.Error("no JSON")
				}
			}
		}
	}
	all, _ := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if len(seen) != len(all) {
		t.Errorf("the truth is known of %d files, %d are there", len(seen), len(all))
	}
	var out, errs bytes.Buffer
	if code := run([]string{"replay", "--hep-key", "wrong", dir + "/s01_answered_callerbye.hep.pcap"}, console{strings.NewReader(""), &out, &errs}); code != 1 || !strings.Contains(errs.String(), "another key") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
	if code := run([]string{"replay", "--trunk", "carrier.example", dir + "/s06_busy486.sip.pcap"}, console{strings.NewReader(""), &out, &errs}); code != exitUsage {
		t.Errorf("exit %d", code)
	}
}
