package sms

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A lost key is told of; a new one in its place would void every opt-out.
func TestKeyLost(t *testing.T) {
	const lost, other = "is lost", "made with another key"
	for name, c := range map[string]struct {
		optOut bool                                 // somebody has said stop
		ruin   func(t *testing.T, o *office) string // gives the directory to open the key in
		alone  bool
		want   string
	}{
		"nothing happened":    {true, func(_ *testing.T, o *office) string { return o.dir }, true, ""},
		"lost, with opt-outs": {true, func(t *testing.T, o *office) string { remove(t, o, "caller.key"); return o.dir }, true, lost},
		"lost with the copy":  {true, func(t *testing.T, o *office) string { remove(t, o, "caller.key", optOutsFile); return o.dir }, true, lost},
		"lost, nobody is out": {false, func(t *testing.T, o *office) string { remove(t, o, "caller.key"); return o.dir }, true, ""},
		"lost, an empty copy": {false, func(t *testing.T, o *office) string {
			remove(t, o, "caller.key")
			write(t, o, optOutsFile, "")
			return o.dir
		}, true, ""},
		"lost with NATS": {false, func(t *testing.T, o *office) string {
			remove(t, o, "caller.key")
			write(t, o, optOutsFile, "{}\n")
			return o.dir
		}, true, lost},
		"damaged": {false, func(t *testing.T, o *office) string { write(t, o, "caller.key", "zz"); return o.dir }, true, "is damaged"},
		"another's, with opt-outs": {true, func(t *testing.T, o *office) string {
			write(t, o, "caller.key", strings.Repeat("ab", 32))
			return o.dir
		}, true, other},
		"restored into a fresh install": {false, func(t *testing.T, o *office) string {
			write(t, o, "caller.key", strings.Repeat("ab", 32))
			return o.dir
		}, true, ""},
		"a second sender, with opt-outs": {true, func(t *testing.T, _ *office) string { return t.TempDir() }, false, lost},
		"a second sender":                {false, func(t *testing.T, _ *office) string { return t.TempDir() }, false, other},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := open(t, t.TempDir())
			if c.optOut {
				if err := o.out.Set(o.ctx(), sarah, true, ByAdmin); err != nil {
					t.Fatal(err)
				}
			}
			dir := c.ruin(t, o)
			before, _ := os.ReadFile(keyFile(dir))
			k, err := OpenKey(o.ctx(), o.nc, dir, c.alone)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "caller.key") {
					t.Errorf("%v, want %q", err, c.want)
				}
				if after, _ := os.ReadFile(keyFile(dir)); string(after) != string(before) {
					t.Error("a key was made all the same")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := OpenKey(o.ctx(), o.nc, dir, c.alone)
			if err != nil || string(again) != string(k) {
				t.Errorf("opened again: %v", err)
			}
			if err := k.Fits(o.ctx(), o.nc); err != nil {
				t.Error(err)
			}
			if string(o.key) != string(k) && !errors.Is(o.key.Fits(o.ctx(), o.nc), errOtherKey) {
				t.Error("the former key still fits")
			}
		})
	}
}

// Only who sends makes a key.
func TestLoadKeyMakesNone(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadKey(dir)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), keyFile(dir)) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v", left)
	}
}

func remove(t *testing.T, o *office, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(o.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, o *office, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
