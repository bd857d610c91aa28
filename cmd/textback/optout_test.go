package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An export that fails leaves no file that looks like a list and is in the way of the next attempt.
func TestExportLeavesNoPart(t *testing.T) {
	dir := t.TempDir()
	config, list := filepath.Join(dir, "textback.yaml"), filepath.Join(dir, "list.csv")
	if err := os.WriteFile(config, fmt.Appendf(nil, "state_dir: %s\nnats: {listen: \"127.0.0.1:1\"}\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // no daemon runs, the second time neither
		var out, errs bytes.Buffer
		if code := run([]string{"optout", "export", list, "--config", config}, console{nil, &out, &errs}); code != exitNotOK {
			t.Errorf("exit %d\n%s%s", code, &out, &errs)
		}
		if _, err := os.Stat(list); !errors.Is(err, os.ErrNotExist) || strings.Contains(errs.String(), "exists") {
			t.Errorf("there is a file: %v; %s", err, &errs)
		}
	}
	full := errors.New("no space is left")
	err := createWhole(list, func(w io.Writer) error {
		_, _ = io.WriteString(w, "number,hash\n")
		return full
	})
	if _, e := os.Stat(list); !errors.Is(err, full) || !errors.Is(e, os.ErrNotExist) {
		t.Errorf("got %v, and the file: %v", err, e)
	}
	if err := createWhole(list, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Error(err)
	}
	if err := createWhole(list, func(io.Writer) error { return nil }); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if b, _ := os.ReadFile(list); string(b) != "x" {
		t.Errorf("a file that was there is touched: %q", b)
	}
}
