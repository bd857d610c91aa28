package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx"
	"textback/pbx/event"
)

func testLog(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func serve(t testing.TB, dir, listen string) *Server {
	t.Helper()
	s, err := Serve(ServerOptions{StateDir: dir, Site: "hq", Listen: listen, Log: testLog(t), MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t testing.TB, s *Server, r Role) *nats.Conn {
	t.Helper()
	nc, err := Connect(ConnectOptions{Server: s, Role: r, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

func started(t testing.TB) (*Server, string) {
	t.Helper()
	dir := t.TempDir()
	s := serve(t, dir, "")
	nc := connect(t, s, Admin)
	if err := CheckServer(ctx(t), nc); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2; i++ { // declaring twice changes nothing
		if err := EnsureStreams(ctx(t), nc, testLog(t)); err != nil {
			t.Fatal(err)
		}
	}
	return s, dir
}

func call(i int) *pbx.Call {
	at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Minute)
	return &pbx.Call{ID: fmt.Sprintf("1795432636.%d", i), Site: "hq", Source: "ari", Direction: pbx.Inbound, State: pbx.StateEnded,
		Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, Caller: pbx.Caller{Number: "+12025550143", Raw: "2025550143"},
		Line: pbx.Line{Number: "+12125550100"}, StartedAt: at, EndedAt: at.Add(10 * time.Second), Certain: true}
}

// publisher runs until stop is called.
func publisher(t testing.TB, s *Server, dir string, nc *nats.Conn) (*Publisher, func()) {
	t.Helper()
	p, err := NewPublisher(PublisherOptions{NC: nc, StateDir: dir, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	c, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(c) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return p, stop
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func storedCalls(t testing.TB, nc *nats.Conn) []*pbx.Call {
	t.Helper()
	var out []*pbx.Call
	if err := Calls(ctx(t), nc, time.Time{}, func(c *pbx.Call) bool { out = append(out, c); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFinishedCallIsStoredOnceAndPublic(t *testing.T) {
	s, dir := started(t)
	reader := connect(t, s, Reader)
	sub, err := reader.SubscribeSync("textback.v1.call.*.in.rang_out.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Flush(); err != nil {
		t.Fatal(err)
	}
	p, _ := publisher(t, s, dir, connect(t, s, Watcher))
	c := call(1)
	p.Live(c)
	for i := 0; i < 3; i++ {
		if err := p.Finished(c); err != nil {
			t.Fatal(err)
		}
	}
	other := *c
	other.Outcome, other.Reason = pbx.Busy, pbx.ReasonBusy // a second verdict on the same call
	if err := p.Finished(&other); err != nil {
		t.Fatal(err)
	}
	if err := p.Finished(call(2)); err != nil {
		t.Fatal(err)
	}
	drained(t, p)
	admin := connect(t, s, Admin)
	got := storedCalls(t, admin)
	if len(got) != 2 || got[0].ID != c.ID || got[0].Outcome != pbx.RangOut || got[1].ID != call(2).ID {
		t.Errorf("stored: %+v", got)
	}
	for i := 1; i <= 2; i++ {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(m.Subject, "2025550143") || !strings.HasPrefix(m.Subject, "textback.v1.call.hq.in.rang_out.") {
			t.Errorf("subject %s", m.Subject)
		}
		if c, err := event.Decode(m.Data); err != nil || c.ID != call(i).ID {
			t.Errorf("event %d: %v %v", i, c, err)
		}
	}
	if m, err := sub.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("one more: %s", m.Subject)
	}
	eventually(t, "not live any more", func() bool {
		l, err := LiveCalls(ctx(t), admin, "hq")
		return err == nil && len(l) == 0
	})
}

// drained waits until all is stored. It gives up when nothing has been for half a
// minute: how long all takes is the disk's affair.
func drained(t testing.TB, p *Publisher) {
	t.Helper()
	left, since := p.Backlog(), time.Now()
	for left > 0 {
		if time.Since(since) > 30*time.Second {
			t.Fatalf("never: all stored; %d calls wait", left)
		}
		time.Sleep(2 * time.Millisecond)
		if n := p.Backlog(); n < left {
			left, since = n, time.Now()
		}
	}
}

func TestCallsSince(t *testing.T) {
	s, dir := started(t)
	p, _ := publisher(t, s, dir, connect(t, s, Watcher))
	for i := 0; i < 1200; i++ { // more than one fetch
		if err := p.Finished(call(i)); err != nil {
			t.Fatal(err)
		}
	}
	drained(t, p)
	got := storedCalls(t, connect(t, s, Reader))
	if len(got) != 1200 || got[0].ID != call(0).ID || got[1199].ID != call(1199).ID {
		t.Errorf("%d calls", len(got))
	}
	n := 0
	if err := Calls(ctx(t), connect(t, s, Reader), time.Now().Add(time.Hour), func(*pbx.Call) bool { n++; return true }); err != nil || n != 0 {
		t.Errorf("%d calls of the future, %v", n, err)
	}
}

func TestSpoolOutlivesAway(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "")
	if err := EnsureStreams(ctx(t), connect(t, s, Admin), testLog(t)); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, s, Watcher)
	p, stop := publisher(t, s, dir, nc)
	if err := p.Finished(call(1)); err != nil {
		t.Fatal(err)
	}
	drained(t, p)
	s.Close() // NATS is away
	for i := 2; i <= 5; i++ {
		if err := p.Finished(call(i)); err != nil {
			t.Fatal(err)
		}
	}
	stop() // and the daemon ends
	// The power failed in the middle of a write.
	f, err := os.OpenFile(filepath.Join(dir, "calls.spool"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"call":{"specv`)
	f.Close()

	s = serve(t, dir, "")
	p, stop = publisher(t, s, dir, connect(t, s, Watcher))
	if err := p.Finished(call(6)); err != nil {
		t.Fatal(err)
	}
	drained(t, p)
	if got := storedCalls(t, connect(t, s, Reader)); len(got) != 6 {
		t.Errorf("%d calls stored, want 6", len(got))
	}
	stop()
	p, _ = publisher(t, s, dir, connect(t, s, Watcher))
	if n := p.Backlog(); n != 0 {
		t.Errorf("%d calls are published again although all were stored", n)
	}
}

func TestLiveCalls(t *testing.T) {
	s, dir := started(t)
	p, _ := publisher(t, s, dir, connect(t, s, Watcher))
	a, b := call(1), call(2)
	for _, c := range []*pbx.Call{a, b} {
		c.State, c.Outcome, c.Reason, c.EndedAt = pbx.StateRinging, "", "", time.Time{}
		p.Live(c)
	}
	sender := connect(t, s, Sender)
	var live []Live
	eventually(t, "both live", func() bool {
		var err error
		live, err = LiveCalls(ctx(t), sender, "hq")
		return err == nil && len(live) == 2
	})
	if live[0].Stale(time.Now()) || !live[0].Stale(time.Now().Add(4*time.Minute)) {
		t.Errorf("refreshed %v", live[0].Refreshed)
	}
	if other, err := LiveCalls(ctx(t), sender, "branch"); err != nil || len(other) != 0 {
		t.Errorf("branch: %v %v", other, err)
	}
	p.LiveEnd(a)
	eventually(t, "one live", func() bool {
		live, err := LiveCalls(ctx(t), sender, "")
		return err == nil && len(live) == 1 && live[0].ID == b.ID && live[0].State == pbx.StateRinging
	})
}

// A sender asks LIVE, then CALLS. A call that is in neither for a moment is one
// that got through unnoticed: a text about an earlier call would leave.
func TestFinishedCallIsLiveUntilStored(t *testing.T) {
	s, dir := started(t)
	admin := connect(t, s, Admin)
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx(t), CallsStream); err != nil { // nothing can be stored for now
		t.Fatal(err)
	}
	isLive := func() bool {
		l, err := LiveCalls(ctx(t), admin, "")
		if err != nil {
			t.Fatal(err)
		}
		return len(l) > 0
	}
	p, stop := publisher(t, s, dir, connect(t, s, Watcher))
	live := call(1)
	live.State, live.Outcome, live.Reason, live.EndedAt = pbx.StateRinging, "", "", time.Time{}
	p.Live(live)
	eventually(t, "live", isLive)
	if err := p.Finished(call(1)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if !isLive() {
			t.Fatal("in LIVE no more, in CALLS not yet")
		}
		time.Sleep(2 * time.Millisecond)
	}
	stop() // neither does the next process forget it
	if err := EnsureStreams(ctx(t), admin, testLog(t)); err != nil {
		t.Fatal(err)
	}
	publisher(t, s, dir, connect(t, s, Watcher))
	eventually(t, "live no more", func() bool { return !isLive() })
	if got := storedCalls(t, admin); len(got) != 1 {
		t.Errorf("in LIVE no more, and %d calls stored", len(got))
	}
}

func TestRightsOfRoles(t *testing.T) {
	s, _ := started(t)
	for _, c := range []struct {
		role    Role
		subject string
		allowed bool
	}{
		{Watcher, "textback.in.v1.call.hq.in.busy.x", true},
		{Watcher, "textback.v1.live.hq.x", true},
		{Watcher, "textback.v1.sms.job.x", false},
		{Watcher, "textback.v1.optout.x", false},
		{Watcher, "$JS.API.STREAM.DELETE.CALLS", false},
		{Sender, "textback.v1.sms.job.x", true},
		{Sender, "textback.in.v1.call.hq.in.busy.x", false},
		{Sender, "$JS.API.STREAM.PURGE.CALLS", false},
		{Sender, "$JS.API.STREAM.DELETE.OPTOUT", false},
		{Reader, "textback.in.v1.call.hq.in.busy.x", false},
		{Reader, "textback.v1.sms.job.x", false},
		{Reader, "$JS.API.STREAM.MSG.GET.SMS", false},
		{Reader, "$JS.API.STREAM.INFO.CALLS", true},
	} {
		denied := make(chan error, 1)
		nc, err := Connect(ConnectOptions{Server: s, Role: c.role})
		if err != nil {
			t.Fatal(err)
		}
		nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })
		if err := nc.Publish(c.subject, nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		got := true
		if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
			got = false
		}
		if got != c.allowed {
			t.Errorf("%s may publish %s: %v, want %v", c.role, c.subject, got, c.allowed)
		}
		nc.Close()
	}
}

func TestPortAndKeys(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "127.0.0.1:0")
	if err := EnsureStreams(ctx(t), connect(t, s, Admin), testLog(t)); err != nil {
		t.Fatal(err)
	}
	nc, err := Connect(ConnectOptions{URL: "nats://" + s.Addr(), KeyFile: KeyFile(dir, Reader), Role: Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := WaitConnected(ctx(t), nc); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(KeyFile(dir, Sender)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	stranger, err := nats.Connect("nats://" + s.Addr())
	if err == nil {
		stranger.Close()
		t.Error("connected without a key")
	}
	if _, err := Serve(ServerOptions{StateDir: t.TempDir(), Site: "hq", Listen: s.Addr()}); err == nil || !strings.Contains(err.Error(), "nats.listen") {
		t.Errorf("port taken: %v", err)
	}
	if _, err := Serve(ServerOptions{StateDir: dir, Site: "hq"}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("directory taken: %v", err)
	}
}

func TestRepairsStreams(t *testing.T) {
	s, _ := started(t)
	nc := connect(t, s, Admin)
	if _, err := nc.Request("$JS.API.STREAM.UPDATE.LIVE", []byte(`{"name":"LIVE","subjects":["textback.v1.live.>"],"max_msgs_per_subject":7,"storage":"file","retention":"limits","discard":"old","num_replicas":1,"duplicate_window":60000000000,"allow_direct":true,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"max_consumers":-1}`), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := EnsureStreams(ctx(t), nc, slog.New(slog.NewTextHandler(&said, nil))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "repaired") || !strings.Contains(said.String(), "LIVE") || strings.Contains(said.String(), "CALLS") {
		t.Errorf("log: %q", said.String())
	}
}

func TestGetLastOfNothing(t *testing.T) {
	s, _ := started(t)
	nc := connect(t, s, Admin)
	if _, err := GetLast(ctx(t), nc, CallsStream, "textback.v1.call.nobody.>"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}
