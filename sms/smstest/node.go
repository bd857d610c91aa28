package smstest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Unavailable skips, but not in CI: there a real part that is missing is a failure.
func Unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// NPM returns a directory whose node_modules holds packages ("name@version") and what
// they need. They are installed once into the lab directory (TEXTBACK_LAB_DIR,
// by default textback-lab in the user's cache directory), without running any
// script of theirs.
func NPM(t *testing.T, packages ...string) string {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("real part, left out by -short")
	}
	lab := os.Getenv("TEXTBACK_LAB_DIR")
	if lab == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			Unavailable(t, "lab directory: %v", err)
		}
		lab = filepath.Join(cache, "textback-lab")
	}
	if err := os.MkdirAll(lab, 0o755); err != nil {
		t.Fatal(err)
	}
	name := "npm-" + strings.NewReplacer("@", "_", "/", "_").Replace(strings.Join(packages, ""))
	lock, err := os.OpenFile(filepath.Join(lab, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(lab, name)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	tmp, err := os.MkdirTemp(lab, "npm-tmp-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	// An own package.json, or npm would install into one of a parent directory.
	if err := os.WriteFile(filepath.Join(tmp, "package.json"), []byte(`{"private":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", append([]string{"install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}, packages...)...)
	npm.Dir = tmp
	npm.WaitDelay = 5 * time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		Unavailable(t, "npm install: %v\n%s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Node runs a script of the test's own with the packages in dir (see NPM). The
// script reads in as JSON from its standard input and writes JSON, which goes into out.
func Node(t *testing.T, dir, script string, in, out any) {
	t.Helper()
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	script, err = filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	// require looks beside the script first, and there is nothing; then here.
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("node %s: %v\n%s", filepath.Base(script), err, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		t.Fatalf("node %s: %v\n%s%s", filepath.Base(script), err, stdout.String(), stderr.String())
	}
}
