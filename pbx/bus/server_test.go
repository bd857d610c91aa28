package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"textback/pbx"
	"textback/pbx/event"
)

// TestServeRefuses: what an admin can get wrong is an error in words and
// does not keep the directory locked.
func TestServeRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, _, account := newKey(t, nkeys.CreateAccount)
	for _, c := range []struct {
		name   string
		listen string
		spoil  func(dir string) error
		want   string
	}{
		{"no port", "127.0.0.1", nil, "want host:port"},
		{"a port by name", "127.0.0.1:nats", nil, `port "nats" is not a number`},
		{"a port that is taken", taken.Addr().String(), nil, "choose another port"},
		{"a damaged key", "", func(dir string) error { return os.WriteFile(KeyFile(dir, Sender), []byte("SUAx\n"), 0o600) }, "sender.nk"},
		{"an empty key", "", func(dir string) error { return os.WriteFile(KeyFile(dir, Reader), nil, 0o600) }, "delete the file to have a new key made"},
		{"a key of another kind", "", func(dir string) error { return os.WriteFile(KeyFile(dir, Admin), account, 0o600) }, "admin.nk"},
		{"a key that cannot be read", "", func(dir string) error { return os.Mkdir(KeyFile(dir, Watcher), 0o700) }, "read the key of role watcher"},
		{"no room for the store", "", func(dir string) error { return os.WriteFile(filepath.Join(dir, "nats", "jetstream"), nil, 0o600) }, "storage directory is not a directory"},
		{"a lock that is a directory", "", func(dir string) error { return os.Mkdir(filepath.Join(dir, "lock"), 0o700) }, "lock the state directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "nats"), 0o700); err != nil {
				t.Fatal(err)
			}
			if c.spoil != nil {
				if err := c.spoil(dir); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Serve(ServerOptions{StateDir: dir, Site: "hq", Listen: c.listen, MaxStore: 1 << 30, Log: testLog(t)})
			if err == nil {
				s.Close()
				t.Fatal("the server starts")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not say %q: %v", c.want, err)
			}
			if strings.Contains(c.name, "lock") {
				return
			}
			for _, bad := range append(roles, "jetstream") {
				if path := KeyFile(dir, bad); c.spoil != nil {
					os.RemoveAll(path)
					os.RemoveAll(filepath.Join(dir, "nats", "jetstream"))
				}
			}
			serve(t, dir, "").Close() // nothing holds the directory
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(ServerOptions{StateDir: file, Site: "hq"}); err == nil || !strings.Contains(err.Error(), "create the state directory") {
		t.Errorf("a file for a directory: %v", err)
	}
}

func TestServerHealth(t *testing.T) {
	s, err := Serve(ServerOptions{StateDir: filepath.Join(t.TempDir(), "made"), Site: "hq"}) // how much may be stored is found out
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Health(); err != nil {
		t.Errorf("healthy: %v", err)
	}
	if a := s.Addr(); a != "" {
		t.Errorf("a server without a port listens on %s", a)
	}
	select {
	case err := <-s.Failed():
		t.Errorf("failed: %v", err)
	default:
	}
	s.Close()
	s.Close() // twice is fine
	if s.Health() == nil {
		t.Error("a closed server is healthy")
	}
}

// TestKeysStay: a restart makes no new keys, so those copied elsewhere work on.
func TestKeysStay(t *testing.T) {
	dir := t.TempDir()
	read := func() string {
		var all string
		for _, r := range roles {
			b, err := os.ReadFile(KeyFile(dir, r))
			if err != nil {
				t.Fatal(err)
			}
			all += string(b)
		}
		return all
	}
	serve(t, dir, "").Close()
	was := read()
	serve(t, dir, "").Close()
	if is := read(); is != was || strings.Count(was, "\nSU") != len(roles)-1 {
		t.Error("the keys have changed, or are not one for each role")
	}
}

// TestRolesHearOnlyTheirs: a role listens to nothing that others are told.
func TestRolesHearOnlyTheirs(t *testing.T) {
	s, _ := started(t)
	for _, c := range []struct {
		role    Role
		subject string
		allowed bool
	}{
		{Watcher, "textback.v1.call.>", false},
		{Watcher, "textback.v1.sms.>", false},
		{Watcher, "_INBOX_admin.>", false},
		{Watcher, "_INBOX_watcher.>", true},
		{Watcher, ">", false},
		{Sender, "textback.in.v1.call.>", false},
		{Sender, "_INBOX_watcher.>", false},
		{Sender, "$JS.>", false},
		{Reader, "textback.v1.call.*.in.declined.*", true},
		{Reader, "textback.v1.live.>", true},
		{Reader, "textback.v1.sms.event.>", true},
		{Reader, "textback.v1.sms.job.>", false},
		{Reader, "textback.v1.conv.>", false},
		{Reader, "textback.v1.optout.>", false},
		{Reader, "textback.>", false},
		{Reader, "_INBOX_sender.>", false},
		{Admin, ">", true},
	} {
		nc := connect(t, s, c.role)
		if _, err := nc.SubscribeSync(c.subject); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := !errors.Is(nc.LastError(), nats.ErrPermissionViolation); got != c.allowed {
			t.Errorf("%s may listen to %s: %v, want %v", c.role, c.subject, got, c.allowed)
		}
		nc.Close()
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	s, _ := started(t)
	nc := connect(t, s, Admin)
	if err := Ensure(ctx(t), nc, testLog(t), jetstream.StreamConfig{Name: "T", Subjects: []string{"t.>"}, AllowAtomicPublish: true, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	msg := func(subject, expect string) *nats.Msg {
		m := &nats.Msg{Subject: subject, Data: []byte(subject)} // without a header map
		if expect != "" {
			m.Header = nats.Header{HdrExpectSeq: {expect}}
		}
		return m
	}
	if _, err := Batch(ctx(t), nc); err == nil {
		t.Error("an empty batch is stored")
	}
	seq, err := Batch(ctx(t), nc, msg("t.a", "0"), msg("t.b", "0"), msg("t.c", ""))
	if err != nil || seq != 3 {
		t.Fatalf("sequence %d, %v", seq, err)
	}
	for _, msgs := range [][]*nats.Msg{
		{msg("t.d", "0"), msg("t.a", "0"), msg("t.e", "")}, // in the middle
		{msg("t.d", ""), msg("t.a", "0")},                  // at the end
		{msg("t.a", "0")},                                  // alone
		{msg("t.d", "7"), msg("t.e", "")},                  // of a subject that is not there
	} {
		if _, err := Batch(ctx(t), nc, msgs...); !errors.Is(err, ErrWrongSequence) {
			t.Errorf("%v", err)
		}
	}
	all, err := GetAll(ctx(t), nc, "T", "t.>")
	if err != nil || len(all) != 3 {
		t.Errorf("%d messages are stored, want 3: %v", len(all), err)
	}
	if m, err := GetLast(ctx(t), nc, "T", "t.b"); err != nil || m.Seq != 2 || string(m.Data) != "t.b" || m.Header.Get("Nats-Batch-Sequence") != "2" {
		t.Errorf("%+v %v", m, err)
	}
}

// TestGetAllReadsAll, also more than the server gives at once, and more than it
// finds the last of.
func TestGetAllReadsAll(t *testing.T) {
	s := serve(t, t.TempDir(), "")
	nc := connect(t, s, Admin)
	if err := Ensure(ctx(t), nc, testLog(t), jetstream.StreamConfig{Name: "T", Subjects: []string{"t.>"}, AllowAtomicPublish: true, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, want := range []int{999, 1000, 1010, 2100} {
		for n < want {
			var msgs []*nats.Msg
			for ; n < want && len(msgs) < 500; n++ {
				msgs = append(msgs, &nats.Msg{Subject: fmt.Sprintf("t.%d", n)})
			}
			if _, err := Batch(ctx(t), nc, msgs...); err != nil {
				t.Fatal(err)
			}
		}
		seq, err := Publish(ctx(t), nc, &nats.Msg{Subject: "t.0", Data: []byte("again")})
		if err != nil {
			t.Fatal(err)
		}
		all, err := GetAll(ctx(t), nc, "T", "t.>")
		if err != nil || len(all) != want || !slices.ContainsFunc(all, func(m Msg) bool { return m.Subject == "t.0" && m.Seq == seq }) {
			t.Errorf("%d of %d messages, %v", len(all), want, err)
		}
		if !slices.IsSortedFunc(all, func(a, b Msg) int { return cmp.Compare(a.Seq, b.Seq) }) {
			t.Errorf("%d messages are in no order", want)
		}
	}
}

// TestEnsureSaysWhatIsInTheWay: somebody else's stream holds our subjects.
func TestEnsureSaysWhatIsInTheWay(t *testing.T) {
	s := serve(t, t.TempDir(), "")
	nc := connect(t, s, Admin)
	if err := Ensure(ctx(t), nc, testLog(t), jetstream.StreamConfig{Name: "MINE", Subjects: []string{"textback.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := EnsureStreams(ctx(t), nc, testLog(t)); err == nil || !strings.Contains(err.Error(), "create stream CALLS") || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("%v", err)
	}
}

// TestErrorsSayWhat was asked, also when there is no answer.
func TestErrorsSayWhat(t *testing.T) {
	s := serve(t, t.TempDir(), "") // no streams yet
	nc := connect(t, s, Admin)
	short := func() context.Context {
		c, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		t.Cleanup(cancel)
		return c
	}
	for what, err := range map[string]error{
		"publish textback.in.v1.call.x": second(Publish(short(), nc, nats.NewMsg("textback.in.v1.call.x"))),
		"read textback.v1.call.>":       second(GetLast(short(), nc, CallsStream, "textback.v1.call.>")),
		"read textback.v1.live.hq.*":    second(LiveCalls(short(), nc, "hq")),
		"read calls":                    Calls(short(), nc, time.Time{}, func(*pbx.Call) bool { return true }),
		"purge textback.v1.live.x":      Purge(short(), nc, LiveStream, "textback.v1.live.x"),
	} {
		if err == nil || !strings.Contains(err.Error(), what) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrWrongSequence) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestNoCallHoldsUpTheOthers: a call that can never be stored must not be tried
// for ever with all others behind it.
func TestNoCallHoldsUpTheOthers(t *testing.T) {
	s, dir := started(t)
	p, _ := publisher(t, s, dir, connect(t, s, Watcher))
	undecided := call(1)
	undecided.Outcome = ""
	if err := p.Finished(undecided); err == nil {
		t.Error("a call without outcome is taken over")
	}
	monster := call(2)
	long := strings.Repeat("\x01é", 200_000)
	monster.Caller.Name, monster.Caller.Raw, monster.Line.Name = long, long, long
	monster.AnsweredBy = &pbx.Answerer{Endpoint: long}
	for range 200 {
		monster.Attempts = append(monster.Attempts, pbx.Attempt{Endpoint: "PJSIP/101", Name: long[:3000], Result: pbx.ResultNoAnswer})
	}
	for _, c := range []*pbx.Call{monster, call(3)} {
		if err := p.Finished(c); err != nil {
			t.Fatal(err)
		}
	}
	drained(t, p)
	got := storedCalls(t, connect(t, s, Reader))
	if len(got) != 2 || got[0].ID != monster.ID || got[1].ID != call(3).ID {
		t.Fatalf("%d calls are stored", len(got))
	}
	if n := got[0].Caller.Name; len(n) == 0 || len(n) > 80 || !strings.HasPrefix(long, n) || len(got[0].Attempts) != 200 {
		t.Errorf("name %q, %d attempts", n, len(got[0].Attempts))
	}
	if len(monster.Caller.Name) != len(long) || len(monster.Attempts[0].Name) != 3000 {
		t.Error("the caller's own call was changed")
	}
}

// TestCallsStops when it is told to, and says which stored event it cannot read.
func TestCallsStops(t *testing.T) {
	s, dir := started(t)
	p, _ := publisher(t, s, dir, connect(t, s, Watcher))
	for i := range 3 {
		if err := p.Finished(call(i)); err != nil {
			t.Fatal(err)
		}
	}
	drained(t, p)
	n := 0
	if err := Calls(ctx(t), connect(t, s, Reader), time.Time{}, func(*pbx.Call) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d calls, %v", n, err)
	}
	admin := connect(t, s, Admin)
	if _, err := Publish(ctx(t), admin, &nats.Msg{Subject: event.IngestPrefix + "hq.in.busy.bad", Data: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	if err := Calls(ctx(t), admin, time.Time{}, func(*pbx.Call) bool { return true }); err == nil || !strings.Contains(err.Error(), fmt.Sprint("stored call ", event.PublicPrefix, "hq.in.busy.bad")) {
		t.Errorf("%v", err)
	}
}

// TestSpoolShrinks: once all is stored a long spool is emptied, and what comes
// then is spooled and stored like anything else.
func TestSpoolShrinks(t *testing.T) {
	s, dir := started(t)
	var stored, most atomic.Int64
	p, err := NewPublisher(PublisherOptions{NC: connect(t, s, Watcher), StateDir: dir,
		Stored: func(c *pbx.Call, took time.Duration) {
			if took < 0 {
				t.Errorf("call %s was stored %v before it ended", c.ID, -took)
			}
			stored.Add(1)
		},
		Backlog: func(n int) { most.Store(max(most.Load(), int64(n))) },
	})
	if err != nil {
		t.Fatal(err)
	}
	const n = 30
	for i := range n {
		c := call(i)
		c.Caller.Name = strings.Repeat("x", 50_000)
		if err := p.Finished(c); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		st, err := os.Stat(filepath.Join(dir, "calls.spool"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	if size() < n*50_000 {
		t.Errorf("%d calls are spooled in %d bytes", n, size())
	}
	c, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(c) }()
	defer func() { cancel(); <-done }()
	eventually(t, "all stored and the spool empty", func() bool { return stored.Load() == n && size() == 0 })
	if most.Load() != n {
		t.Errorf("the longest backlog told was %d, want %d", most.Load(), n)
	}
	if err := p.Finished(call(n)); err != nil {
		t.Fatal(err)
	}
	if size() == 0 {
		t.Error("nothing was spooled afterwards")
	}
	eventually(t, "one more stored", func() bool { return stored.Load() == n+1 })
	if got := storedCalls(t, connect(t, s, Reader)); len(got) != n+1 {
		t.Errorf("%d calls are stored, want %d", len(got), n+1)
	}
}

// TestLiveCatchesUp: what was said of live calls while NATS was away is made
// good when it is back, the last word of each only.
func TestLiveCatchesUp(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
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
	p, _ := publisher(t, nil, t.TempDir(), e.connect(ConnectOptions{Role: Watcher}))
	live := func(i int, s pbx.State) *pbx.Call {
		c := call(i)
		c.State, c.Outcome, c.Reason, c.EndedAt = s, "", "", time.Time{}
		return c
	}
	states := func() string {
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		calls, err := LiveCalls(short, admin, "")
		if err != nil {
			return err.Error()
		}
		m := map[string]pbx.State{}
		for _, c := range calls {
			m[c.ID] = c.State
		}
		return fmt.Sprint(m)
	}
	p.Live(live(1, pbx.StateStarting))
	p.Live(live(2, pbx.StateRinging))
	both := fmt.Sprint(map[string]pbx.State{call(1).ID: pbx.StateStarting, call(2).ID: pbx.StateRinging})
	eventually(t, "two live calls", func() bool { return states() == both })
	e.kill()
	p.Live(live(1, pbx.StateRinging))
	p.LiveEnd(call(2)) // never to be seen again
	p.Live(live(3, pbx.StateStarting))
	p.Live(live(1, pbx.StateAnswered))
	e.start()
	want := fmt.Sprint(map[string]pbx.State{call(1).ID: pbx.StateAnswered, call(3).ID: pbx.StateStarting})
	eventually(t, "the last word of each, and none of the call that ended", func() bool { return states() == want })
}
