package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What an admin is told by status when the daemon can be asked for its health only, or when
// somebody else answers in its place.
func TestStatusTellsWhatItCannot(t *testing.T) {
	foreign := func(body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	for name, c := range map[string]struct {
		answers http.Handler
		out     string // "" for nothing
		err     string
	}{
		"no right to ask NATS": {newMetrics().handler(), "textback devel is ", "texts, callbacks and calls in progress cannot be told: "},
		"another JSON service": {foreign(`{"status":"UP"}`), "", "is not textback"},
		"another with version": {foreign(`{"ok":true,"version":"7.1"}`), "", "is not textback"},
		"null":                 {foreign(`null`), "", "is not textback"},
		"a web page":           {foreign(`<html>`), "", "is not textback"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.answers)
			defer s.Close()
			dir := t.TempDir()
			file := filepath.Join(dir, "textback.yaml")
			// The state directory has no admin.nk: so it looks to whoever may not read it.
			yaml := fmt.Sprintf("state_dir: %s\nhttp: {listen: %q}\nsms: {transport: log}\npbx: {asterisk: {url: \"http://127.0.0.1:1\"}}\n", dir, s.Listener.Addr().String())
			if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "ari_password"), []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"status"}, {"status", "--json"}} {
				var out, errs bytes.Buffer
				code := run(append(args, "--config", file), console{nil, &out, &errs})
				if code != exitNotOK {
					t.Errorf("%v: exit %d, want 1", args, code)
				}
				if strings.Contains(out.String(), "0 sent") || strings.Contains(out.String(), `"texts"`) {
					t.Errorf("%v invents figures:\n%s", args, &out)
				}
				if !strings.Contains(errs.String(), c.err) {
					t.Errorf("%v does not say %q: %q", args, c.err, &errs)
				}
				if c.out == "" {
					if out.Len() > 0 {
						t.Errorf("%v of a stranger prints %q", args, &out)
					}
					continue
				}
				if len(args) == 1 {
					if !strings.HasPrefix(out.String(), c.out) {
						t.Errorf("%v: %q", args, &out)
					}
					continue
				}
				var got map[string]any
				if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["cannot_tell"] == nil || got["version"] == nil {
					t.Errorf("%v: %v in %s", args, err, &out)
				}
			}
			if c.out == "" {
				var out bytes.Buffer
				run([]string{"doctor", "--config", file}, console{nil, &out, &out})
				if !strings.Contains(out.String(), "SICK  daemon") {
					t.Errorf("doctor takes it for textback:\n%s", &out)
				}
			}
		})
	}
}
