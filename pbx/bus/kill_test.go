package bus

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"textback/pbx/event"
)

// TestMain turns the test program into a watcher when it is started as one.
func TestMain(m *testing.M) {
	if url := os.Getenv("TEXTBACK_TEST_WATCHER"); url != "" {
		childWatcher(url, os.Args[1], os.Args[2])
	}
	code := m.Run()
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(code)
}

// childWatcher finishes calls from the given number on for as long as it lives
// and says each one's number once Finished has returned.
func childWatcher(url, dir, from string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	var i int
	_, err := fmt.Sscan(from, &i)
	fail(err)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	nc, err := Connect(ConnectOptions{URL: url, Role: Watcher, Log: log})
	fail(err)
	p, err := NewPublisher(PublisherOptions{NC: nc, StateDir: dir, Log: log})
	fail(err)
	go func() { fail(p.Run(context.Background())) }()
	for ; ; i++ {
		fmt.Println("begin", i)
		fail(p.Finished(call(i)))
		fmt.Println("done", i)
		if i%8 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestWatcherKilled kills the watching process at points it does not choose,
// now and then the server too. A call whose Finished returned is stored once.
func TestWatcherKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := newExternal(t, "")
	e.start()
	admin := e.connect(ConnectOptions{Role: Admin})
	if err := WaitConnected(ctx(t), admin); err != nil {
		t.Fatal(err)
	}
	if err := EnsureStreams(ctx(t), admin, testLog(t)); err != nil {
		t.Fatal(err)
	}
	seen := watchPublic(t, admin)
	dir := t.TempDir()
	begun, promised := map[string]bool{}, map[string]bool{}
	next := 0
	for round := range 16 {
		switch round % 4 {
		case 1:
			e.kill() // NATS is away for this round
		case 2:
			e.start()
		}
		cmd := exec.Command(self, dir, fmt.Sprint(next))
		cmd.Env = append(os.Environ(), "TEXTBACK_TEST_WATCHER="+e.url("nats"))
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		killAt := rand.IntN(120)
		for n := 0; lines.Scan(); n++ {
			var word string
			var i int
			if _, err := fmt.Sscan(lines.Text(), &word, &i); err != nil {
				t.Fatalf("the child says %q: %v", lines.Text(), err)
			}
			begun[call(i).ID] = true
			if word == "done" {
				promised[call(i).ID] = true
			}
			next = max(next, i+1) // an id is never used again
			if n == killAt {
				if round%4 == 3 {
					e.kill() // server and watcher in one moment
				}
				_ = cmd.Process.Kill()
				// What it had said before is read to the end.
			}
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != -1 {
			t.Fatalf("round %d: the child ended by itself with %d: %s", round, code, said.String())
		}
		if round%4 == 3 {
			e.start()
		}
	}
	// The last start finds what is left.
	p, stop := publisher(t, nil, dir, e.connect(ConnectOptions{Role: Watcher}))
	drained(t, p)
	stop()
	if err := WaitConnected(ctx(t), admin); err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for _, c := range storedCalls(t, admin) {
		stored[c.ID]++
	}
	for id := range promised {
		if stored[id] != 1 {
			t.Errorf("call %s: Finished had returned and it is stored %d times", id, stored[id])
		}
	}
	for id, n := range stored {
		if n != 1 || !begun[id] {
			t.Errorf("call %s is stored %d times (begun: %v)", id, n, begun[id])
		}
	}
	for id, n := range seen.all() {
		if n != 1 || stored[id] != 1 {
			t.Errorf("a subscriber saw call %s %d times, stored %d times", id, n, stored[id])
		}
	}
	t.Logf("%d calls begun, %d promised, %d stored, %d seen by the subscriber", len(begun), len(promised), len(stored), len(seen.all()))
	if len(promised) < 100 {
		t.Errorf("only %d calls were finished", len(promised))
	}
}

// spoolOf finishes calls 0 to n-1 while nobody publishes and returns the spool file.
func spoolOf(t *testing.T, dir string, n int) string {
	t.Helper()
	p, err := NewPublisher(PublisherOptions{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := p.Finished(call(i)); err != nil {
			t.Fatal(err)
		}
	}
	p.file.Close()
	return filepath.Join(dir, "calls.spool")
}

// TestTornLastLine cuts the spool at every byte of its last line, as a power
// cut may: the calls before are there, and what is written next can be read.
func TestTornLastLine(t *testing.T) {
	whole, err := os.ReadFile(spoolOf(t, t.TempDir(), 3))
	if err != nil {
		t.Fatal(err)
	}
	start := strings.LastIndexByte(strings.TrimSuffix(string(whole), "\n"), '\n') + 1
	dir := t.TempDir()
	path := filepath.Join(dir, "calls.spool")
	for cut := start; cut <= len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := 2
		if cut == len(whole) {
			want = 3
		}
		var said strings.Builder
		open := func() *Publisher {
			p, err := NewPublisher(PublisherOptions{StateDir: dir, Log: slog.New(slog.NewTextHandler(&said, nil))})
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			return p
		}
		p := open()
		if got := p.Backlog(); got != want {
			t.Fatalf("cut at %d: %d calls, want %d", cut, got, want)
		}
		if torn := cut > start && cut < len(whole); strings.Contains(said.String(), "torn") != torn {
			t.Fatalf("cut at %d: the log says %q", cut, said.String())
		}
		if err := p.Finished(call(9)); err != nil {
			t.Fatal(err)
		}
		p.file.Close()
		p = open()
		if got := p.Backlog(); got != want+1 || p.pending[want].call.ID != call(9).ID {
			t.Fatalf("cut at %d: %d calls after the next was written", cut, got)
		}
		p.file.Close()
	}
}

// TestDamagedLine: one line that cannot be read does not take the others with it.
func TestDamagedLine(t *testing.T) {
	dir := t.TempDir()
	path := spoolOf(t, dir, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(b), "\n")
	for _, bad := range []string{"\x00\x00\x00\x00\n", "{}\n", `{"call":{"type":"textback.call.v9"}}` + "\n", "\n"} {
		if err := os.WriteFile(path, []byte(lines[0]+bad+lines[2]), 0o600); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		p, err := NewPublisher(PublisherOptions{StateDir: dir, Log: slog.New(slog.NewTextHandler(&said, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if p.Backlog() != 2 || !strings.Contains(said.String(), "passed over") {
			t.Errorf("%q: %d calls, the log says %q", bad, p.Backlog(), said.String())
		}
		p.file.Close()
	}
}

// TestSpoolHoldsTheEvent: what is published after a restart is to the byte what
// would have been published before, so a lost acknowledgement is recognised.
func TestSpoolHoldsTheEvent(t *testing.T) {
	dir := t.TempDir()
	c := call(1)
	c.Caller.Name, c.ID = "Müller & Söhne <Zürich> \u2028", "\xff\xfe@203.0.113.9"
	p, err := NewPublisher(PublisherOptions{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Finished(c); err != nil {
		t.Fatal(err)
	}
	p.file.Close()
	again, err := NewPublisher(PublisherOptions{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.file.Close()
	if len(again.pending) != 1 {
		t.Fatalf("%d calls", len(again.pending))
	}
	if was, is := string(p.pending[0].data), string(again.pending[0].data); was != is {
		t.Errorf("before the restart\n%s\nafter\n%s", was, is)
	}
	if was, is := event.StoredFilter(c), event.StoredFilter(again.pending[0].call); was != is {
		t.Errorf("before the restart %s, after %s", was, is)
	}
}

// TestDiskFull runs the publisher where no file may grow: it says so, goes on
// from memory, and spools again as soon as it can.
func TestDiskFull(t *testing.T) {
	if os.Getenv("TEXTBACK_TEST_DISK_FULL") == "" {
		// The limit holds for a whole process: it gets one of its own.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestDiskFull$", "-test.v")
		cmd.Env = append(os.Environ(), "TEXTBACK_TEST_DISK_FULL=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestDiskFull") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	var said strings.Builder
	p, err := NewPublisher(PublisherOptions{StateDir: dir, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Finished(call(0)); err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limited := was
	limited.Cur = uint64(p.size) + 100 // the next line fits in part
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		if err := p.Finished(call(i)); err != nil {
			t.Error(err)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(said.String(), "could not be spooled"); n != 3 {
		t.Errorf("it was said %d times, want 3: %s", n, said.String())
	}
	if p.Backlog() != 4 {
		t.Errorf("%d calls wait to be stored, want 4: those that are not on disk too", p.Backlog())
	}
	if err := p.Finished(call(4)); err != nil {
		t.Fatal(err)
	}
	back, err := NewPublisher(PublisherOptions{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	back.file.Close()
	var ids []string
	for _, s := range back.pending {
		ids = append(ids, s.call.ID)
	}
	if want := []string{call(0).ID, call(4).ID}; fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Errorf("the spool holds %v, want %v: no line may be spoilt by a partial one", ids, want)
	}
	s, _ := started(t)
	p.opt.NC = connect(t, s, Watcher)
	c, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(c) }()
	drained(t, p)
	if got := storedCalls(t, connect(t, s, Reader)); len(got) != 5 {
		t.Errorf("%d calls are stored, want 5: those that were not on disk too", len(got))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := p.Finished(call(5)); err == nil {
		t.Error("a publisher that has ended takes a call over")
	}
}
