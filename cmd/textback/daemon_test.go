package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"textback/pbx/testkit"
)

// process is 'textback serve' as a process of its own, as systemd would start it.
type process struct {
	t     *testing.T
	dir   string
	conf  string
	http  string
	nats  string
	cmd   *exec.Cmd
	ended chan error
	log   *testkit.Log
	said  *testkit.Log // to the service manager, a message a line
}

// newDaemon writes the configuration of a daemon. pbx is its section of textback.yaml; without
// it copies of SIP messages are waited for, and the daemon is ready at once. nats is where an
// external server is, empty for the embedded one.
func newDaemon(t *testing.T, pbx, nats string) *process {
	t.Helper()
	d := &process{t: t, dir: t.TempDir(), http: testkit.FreeAddr(t), nats: nats, log: &testkit.Log{}, said: &testkit.Log{}}
	server := "url: 'nats://" + nats + "'"
	if nats == "" {
		d.nats = testkit.FreeAddr(t)
		server = "listen: '" + d.nats + "'"
	}
	if pbx == "" {
		pbx = fmt.Sprintf("sip: {pbx: [192.0.2.1], trunks: [192.0.2.2], hep: {listen: '%s'}}", testkit.FreeAddr(t))
	}
	d.conf = filepath.Join(d.dir, "textback.yaml")
	d.write("rules.yaml", officeRules)
	d.write("ari_password", "x")
	d.write("textback.yaml", fmt.Sprintf("state_dir: %s/state\nnats: {%s}\nhttp: {listen: '%s'}\npbx: {%s}\n", d.dir, server, d.http, pbx))
	t.Cleanup(func() {
		d.signal(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the daemon's log:\n%s\nand what it said to systemd:\n%s", d.log, d.said)
		}
	})
	return d
}

func (d *process) write(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// start begins it, as another user if uid is not 0.
func (d *process) start(uid uint32, args ...string) {
	d.t.Helper()
	// TestMain makes the test's own binary textback where it is called so.
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.dir, "textback")
	if _, err := os.Stat(path); err != nil {
		b, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(path, b, 0o755)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	sock := filepath.Join(d.dir, "notify")
	_ = os.Remove(sock)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"})
	if err != nil {
		d.t.Fatal(err)
	}
	said := d.said
	go func() {
		for buf := make([]byte, 4096); ; {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			fmt.Fprintln(said, strings.ReplaceAll(string(buf[:n]), "\n", " "))
		}
	}()
	d.cmd = exec.Command(path, append([]string{"serve", "--config", d.conf}, args...)...)
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+sock, "CREDENTIALS_DIRECTORY=", "STATE_DIRECTORY=", "WATCHDOG_USEC=300000")
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		d.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
		for _, p := range []string{d.dir, sock} {
			if err := os.Chown(p, int(uid), int(uid)); err != nil {
				d.t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Dir(d.dir), 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait(); l.Close() }(d.cmd, d.ended)
}

// signal sends it one, and waits for its end unless that is SIGHUP.
func (d *process) signal(s syscall.Signal) (err error) {
	if d.cmd == nil {
		return nil
	}
	_ = d.cmd.Process.Signal(s)
	if s != syscall.SIGHUP {
		err, d.cmd = <-d.ended, nil
	}
	return err
}

// until waits for something to become true while the daemon runs.
func (d *process) until(what string, f func() bool) {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-d.ended:
			d.ended <- err
			d.t.Fatalf("%s: the daemon ended: %v", what, err)
		default:
		}
		if time.Now().After(end) {
			d.t.Fatalf("never: %s", what)
		}
	}
}

// health is what /healthz says; code is 0 where nobody answers.
func (d *process) health() (h health, code int) {
	resp, err := http.Get("http://" + d.http + "/healthz")
	if err != nil {
		return h, 0
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(b, &h); err != nil {
		d.t.Fatalf("%v: %s", err, b)
	}
	return h, resp.StatusCode
}

// cli runs a subcommand in this process, as this user.
func (d *process) cli(want int, args ...string) string {
	d.t.Helper()
	var out bytes.Buffer
	if code := run(append(args, "--config", d.conf), console{strings.NewReader(""), &out, &out}); code != want {
		d.t.Errorf("%v: exit %d\n%s", args, code, &out)
	}
	return out.String()
}

// The daemon has a user of its own, the admin is root: what either writes, both can use.
func TestRootAndDaemon(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start the daemon as another user")
	}
	const uid = 54321
	d := newDaemon(t, "", "")
	ready := func() { d.until("ready", func() bool { return strings.Contains(d.said.String(), "READY=1") }) }
	for _, before := range []string{"", "state/optouts.jsonl"} { // of an earlier version, which made the file with the first opt-out
		d.start(uid)
		ready()
		if before != "" {
			if err := os.Remove(filepath.Join(d.dir, before)); err != nil {
				t.Fatal(err)
			}
		}
		d.cli(0, "optout", "add", "+1202555014"+fmt.Sprint(3+len(before)%2))
		d.cli(1, "doctor") // no SIP has come yet
		if err := d.signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		d.said = &testkit.Log{}
	}
	d.start(uid)
	ready()
	d.cli(1, "optout", "check", "+12025550143")
	d.cli(1, "optout", "check", "+12025550144")
	err := filepath.WalkDir(filepath.Join(d.dir, "state"), func(path string, e os.DirEntry, err error) error {
		var info os.FileInfo
		if err == nil {
			info, err = e.Info()
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // NATS writes beside a file and renames
		}
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("%s is not the daemon's", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Where the key is not, the command line stores nothing, and says where it belongs.
func TestKeyIsElsewhere(t *testing.T) {
	d := newDaemon(t, "", "")
	d.start(0)
	d.until("ready", func() bool { return strings.Contains(d.said.String(), "READY=1") })
	key := filepath.Join(d.dir, "state", "caller.key")
	d.cli(0, "optout", "add", "+12025550143")
	kept, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"optout", "add", "+12025550144"}, {"optout", "check", "+12025550143"}, {"optout", "list"}, {"export", "+12025550143"}, {"replies", "+12025550143"}} {
		if out := d.cli(1, args...); !strings.Contains(out, key+" is not there") {
			t.Errorf("%v: %s", args, out)
		}
	}
	d.cli(0, "replies")
	if _, err := os.Stat(key); err == nil {
		t.Error("a key was made")
	}
	if err := d.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.start(0)
	if err := <-d.ended; err == nil {
		t.Error("the daemon started without the key")
	}
	d.cmd = nil
	if !strings.Contains(d.log.String(), "restore it from a backup") {
		t.Error("nothing says what to do")
	}
	d.said = &testkit.Log{}
	for _, k := range []struct{ key, says string }{{strings.Repeat("ab", 32), "made with another key"}, {string(kept), "has opted out"}} {
		if err := os.WriteFile(key, []byte(k.key), 0o600); err != nil {
			t.Fatal(err)
		}
		if k.key == string(kept) {
			d.start(0)
			d.until("ready", func() bool { return strings.Contains(d.said.String(), "READY=1") })
			if out := d.cli(1, "optout", "check", "+12025550143"); !strings.Contains(out, k.says) {
				t.Error(out)
			}
			continue
		}
		d.start(0)
		if err := <-d.ended; err == nil || !strings.Contains(d.log.String(), k.says) {
			t.Errorf("another key: %v", err)
		}
		d.cmd = nil
	}
}

// explain asks the daemon how the caller stands, and says so where it could not.
func TestExplainAsks(t *testing.T) {
	d := newDaemon(t, "", "")
	explain := func(more ...string) string {
		t.Helper()
		return d.cli(0, append([]string{"explain", "--caller", "+12025550143", "--outcome", "rang_out"}, more...)...)
	}
	says := func(out string, want, not string) {
		t.Helper()
		if !strings.Contains(out, want) || strings.Contains(out, not) {
			t.Errorf("want %q and not %q:\n%s", want, not, out)
		}
	}
	const unknown, now = "not asked: whether the caller has said stop", "how they are now"
	says(explain(), unknown, now)
	d.start(0)
	d.until("ready", func() bool { return strings.Contains(d.said.String(), "READY=1") })
	says(explain(), "ok    the caller has not said stop", unknown)
	says(explain(), now, "question mark")
	says(explain("--spent", "caller=3"), "No text is sent: 3 of 3 automatic texts", unknown)
	says(explain("--opted-out"), "No text is sent: the caller has said stop", unknown)
	d.cli(0, "optout", "add", "+12025550143")
	says(explain(), "No text is sent: the caller has said stop", unknown)
	says(explain("--offline"), unknown, "No text is sent")
	if err := os.Remove(filepath.Join(d.dir, "state", "caller.key")); err != nil {
		t.Fatal(err)
	}
	says(explain(), unknown, now)
}
