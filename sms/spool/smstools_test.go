package spool

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
)

// program finds a daemon that Debian packages, or ends the test.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("real part, left out by -short")
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	smstest.Unavailable(t, "%s is not installed (apt: %s)", name, pkg)
	return ""
}

// folders makes the directories of a spool.
func folders(t *testing.T, kind Kind) Options {
	t.Helper()
	dir := t.TempDir()
	opt := Options{Kind: kind, Region: "US", Number: "+12125550100", Report: kind == Smstools, Poll: 50 * time.Millisecond, Settle: 200 * time.Millisecond,
		StateFile: filepath.Join(dir, "spool.jsonl")}
	for name, to := range map[string]*string{"outgoing": &opt.Outgoing, "incoming": &opt.Incoming, "sent": &opt.Sent, "failed": &opt.Failed} {
		*to = filepath.Join(dir, name)
		if err := os.Mkdir(*to, 0o770); err != nil {
			t.Fatal(err)
		}
	}
	return opt
}

func open(t *testing.T, opt Options) *Transport {
	t.Helper()
	tr, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// run starts a daemon and ends it with the test, by its process group.
func run(t *testing.T, log string, args ...string) (stop func()) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
			out.Close()
		})
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			for _, f := range []string{log, filepath.Join(filepath.Dir(log), "smsd.log")} {
				if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
					t.Logf("%s:\n%s", filepath.Base(f), b[max(0, len(b)-6000):])
				}
			}
		}
	})
	return stop
}

// smsd starts a real smsd between opt's directories and m.
func smsd(t *testing.T, opt *Options, m *modem) (stop func()) {
	t.Helper()
	path := program(t, "smsd", "smstools")
	dir := filepath.Dir(opt.Outgoing)
	checked := filepath.Join(dir, "checked")
	opt.Checked = checked
	if err := os.MkdirAll(checked, 0o770); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "smsd.conf")
	text := fmt.Sprintf(`devices = GSM1
outgoing = %s
checked = %s
incoming = %s
sent = %s
failed = %s
logfile = %s/smsd.log
infofile = %s/smsd.working
pidfile = %s/smsd.pid
loglevel = 6
delaytime = 1
delaytime_mainprocess = 1
errorsleeptime = 1
blocktime = 1
autosplit = 3
receive_before_send = no
shell_test = no
terminal = yes

[GSM1]
device = @%s
incoming = high
startsleeptime = 0
check_network = 0
report = no
send_retries = 1
pre_init = no
status_signal_quality = no
`, opt.Outgoing, checked, opt.Incoming, opt.Sent, opt.Failed, dir, dir, dir, m.l.Addr())
	// As in an office, it is another user who reaches our files by the group.
	if u, err := user.Lookup("smsd"); err == nil && os.Geteuid() == 0 {
		text = "user = smsd\ngroup = smsd\n" + text
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // t.TempDir lets nobody else in
			t.Fatal(err)
		}
		for _, d := range []string{dir, opt.Outgoing, checked, opt.Incoming, opt.Sent, opt.Failed} {
			if err := os.Chown(d, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return run(t, filepath.Join(dir, "smsd.out"), path, "-c", conf, "-t")
}

// smsdPeer is a real smsd with a modem behind it.
type smsdPeer struct {
	*modem
	t   *testing.T
	opt Options
}

// cmsOf is what the modem says to refuse in a class.
var cmsOf = map[sms.Class]int{sms.Rejected: 21, sms.Throttled: 42}

// Do also takes the directory away from us, which is not the modem's to do.
func (p smsdPeer) Do(o smstest.Order) {
	if o.Fate == smstest.Refuse && o.Class == sms.Misconfigured {
		gone(p.t, p.opt)
		return
	}
	p.modem.Do(o)
	if o.Fate == smstest.Refuse {
		p.mu.Lock()
		p.refuse = cmsOf[o.Class]
		p.mu.Unlock()
	}
}

// gone takes the outgoing directory away, as a mount that is missing.
func gone(t *testing.T, opt Options) {
	t.Helper()
	if err := os.Rename(opt.Outgoing, opt.Outgoing+"-gone"); err != nil {
		t.Fatal(err)
	}
}

func (p smsdPeer) Reply(_ context.Context, m sms.Inbound) error {
	p.deliver(m.From, m.Body)
	return nil
}

func (p smsdPeer) Report(_ context.Context, n int, d sms.Delivery, _ sms.Class) error {
	p.report(n, map[sms.Delivery]byte{sms.EnRoute: 0x20, sms.Delivered: 0, sms.Undelivered: 0x41}[d])
	return nil
}

// The suite of all transports, on a real smsd.
func TestSmstoolsSuite(t *testing.T) {
	t.Parallel()
	program(t, "smsd", "smstools")
	smstest.Run(t, smstest.Harness{
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			m := newModem(t)
			opt := folders(t, Smstools)
			opt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			smsd(t, &opt, m)
			return open(t, opt), smsdPeer{m, t, opt}
		},
		Refusals:     []sms.Class{sms.Misconfigured},
		RefusedLater: []sms.Class{sms.Rejected, sms.Throttled}, // and Invalid in TestSmsdOnce
		Again:        smstest.ByItself,                         // the file stays where it is
	})
}

// wait waits for a condition.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// box is an Inbox.
type box struct {
	mu       sync.Mutex
	refuse   error
	tried    []string // bodies, also of what was refused
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (b *box) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried = append(b.tried, m.Body)
	if b.refuse == nil {
		b.inbound = append(b.inbound, m)
	}
	return b.refuse
}

func (b *box) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse == nil {
		b.receipts = append(b.receipts, r)
	}
	return b.refuse
}

// last is the newest receipt.
func (b *box) last() sms.DeliveryReceipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.receipts) == 0 {
		return sms.DeliveryReceipt{}
	}
	return b.receipts[len(b.receipts)-1]
}

// begin runs a transport until stop, or the end of the test.
func begin(t *testing.T, tr *Transport, in sms.Inbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, in) }()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	wait(t, "it runs", func() bool { tr.mu.Lock(); defer tr.mu.Unlock(); return tr.ledger != nil })
	return stop
}

const to = "+12025550143"

func text(id, body string) sms.Message {
	return sms.Message{ID: id, From: "+12125550100", To: to, Body: body}
}

// A text is one text whatever happens to its file: smsd moves it twice, and a
// repeat comes before and after, from this process and from the next.
func TestSmsdOnce(t *testing.T) {
	t.Parallel()
	m := newModem(t)
	opt := folders(t, Smstools)
	stopSmsd := smsd(t, &opt, m)
	in := &box{}
	tr := open(t, opt)
	stop := begin(t, tr, in)
	submit := func(id, body string) {
		t.Helper()
		if r, err := tr.Submit(t.Context(), text(id, body)); err != nil || r.ProviderID != id {
			t.Fatal(r, err)
		}
	}
	// What is not in its place yet, smsd passes over.
	if err := os.WriteFile(filepath.Join(opt.Outgoing, aside("waiting-1")), smstoolsFile(text("waiting-1", "waiting"), false), 0o660); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		submit("job-1", "@ first \u00a0€ 😀")
	}
	wait(t, "sent", func() bool { return in.last().Code == "sent" })
	submit("job-1", "again")
	stop()
	tr = open(t, opt)
	begin(t, tr, in)
	submit("job-1", "and again")
	m.Do(smstest.Order{Fate: smstest.Refuse})
	submit("job-2", "refused")
	wait(t, "failed", func() bool { return in.last().MessageID == "job-2" })
	if r := in.last(); r.Delivery != sms.Undelivered || r.Class != sms.Invalid || r.Code != "28" {
		t.Errorf("failed: %+v", r)
	}
	submit("job-2", "refused again")
	m.Do(smstest.Order{})
	submit("job-3", "@@ at last")
	wait(t, "the third", func() bool { return len(m.Taken()) >= 2 })
	wait(t, "receipt of the third", func() bool { return in.last().MessageID == "job-3" })
	stopSmsd()
	got := m.Taken()
	if len(got) != 2 || got[0].Body != "@ first \u00a0€ 😀" || got[1].Body != "@@ at last" {
		t.Errorf("sent: %q", got)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.receipts) != 3 {
		t.Errorf("each fate should be told once: %+v", in.receipts)
	}
}

// A text that waits for a dead modem is taken back when it is stale, and not sent
// when the modem comes back.
func TestSmsdDeadModem(t *testing.T) {
	t.Parallel()
	m := newModem(t)
	opt := folders(t, Smstools)
	opt.Expire = 8 * time.Second // smsd must have taken it by then
	addr := m.l.Addr().String()
	m.l.Close()
	m.drop()
	smsd(t, &opt, m)
	in := &box{}
	tr := open(t, opt)
	begin(t, tr, in)
	if _, err := tr.Submit(t.Context(), text("job-1", "stale")); err != nil {
		t.Fatal(err)
	}
	waiting := filepath.Join(opt.Checked, "textback-job-1")
	wait(t, "smsd has it", func() bool { _, err := os.Stat(waiting); return err == nil })
	wait(t, "taken back", func() bool { r := in.last(); return r.MessageID == "job-1" && r.Class == sms.Transient })
	wait(t, "gone", func() bool { left, _ := filepath.Glob(waiting + "*"); return len(left) == 0 })
	if _, err := tr.Submit(t.Context(), text("job-1", "stale")); sms.ClassOf(err) != sms.Transient {
		t.Errorf("a repeat: %v", err)
	}
	m2 := modemAt(t, addr)
	// Until smsd has found the modem again, these are taken back too.
	for i := 2; len(m2.Taken()) == 0; i++ {
		if i > 60 {
			t.Fatal("the modem does not come back")
		}
		if _, err := tr.Submit(t.Context(), text(fmt.Sprintf("job-%d", i), "fresh")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	for _, got := range m2.Taken() {
		if got.Body != "fresh" {
			t.Errorf("sent: %q", got)
		}
	}
}
