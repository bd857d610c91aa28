package sms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
)

const testRules = `
version: 1
business: {name: Miller Dental}
timezone: America/New_York
guards: {quiet_hours: {texts: "0:00-24:00"}, budgets: {per_caller: "off", per_prefix: "off", per_minute: "off", segments_per_day: "off"}}
defaults: {delay: %s}
messages:
  missed: "Hi{{with .Name}} {{.}}{{end}}, sorry we missed you. {{.Business}}"
rules:
  - name: nobody reachable
    when: {outcome: unreachable}
    nothing: "they hear an announcement"
  - name: missed
    when: {outcome: [rang_out, declined, busy, abandoned, voicemail]}
    send: missed
`

func parsed(t testing.TB, delay string) *rules.Rules {
	t.Helper()
	r, problems := rules.Parse("rules.yaml", fmt.Appendf(nil, testRules, delay))
	if r == nil {
		t.Fatal(problems)
	}
	return r
}

// desk is a transport that answers what the test says and counts.
type desk struct {
	mu     sync.Mutex
	got    []Message
	answer func(n int, m Message) error // n counts from 1 over all messages
	fate   func(m Message) (bool, error)
	same   bool // honours ids
}

func (d *desk) Submit(ctx context.Context, m Message) (Receipt, error) {
	d.mu.Lock()
	d.got = append(d.got, m)
	n, answer := len(d.got), d.answer
	d.mu.Unlock()
	if answer != nil {
		if err := answer(n, m); err != nil {
			return Receipt{}, err
		}
	}
	return Receipt{ProviderID: "SM" + m.ID, Segments: 1}, nil
}

func (d *desk) HonoursID() bool { return d.same }

func (d *desk) Fate(_ context.Context, m Message) (Receipt, bool, error) {
	if d.fate == nil {
		return Receipt{}, false, errors.New("cannot be asked")
	}
	found, err := d.fate(m)
	return Receipt{ProviderID: "found"}, found, err
}

func (d *desk) texts() []Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Message(nil), d.got...)
}

// office is NATS, the publisher's streams and as many senders as wanted.
type office struct {
	t      testing.TB
	dir    string
	server *bus.Server
	nc     *nats.Conn // admin
	pub    *bus.Publisher
	key    Key
	out    *OptOuts
	log    *slog.Logger
	stops  []func()
	conns  []*nats.Conn
}

func open(t testing.TB, dir string) *office {
	t.Helper()
	o := &office{t: t, dir: dir, log: slog.New(slog.DiscardHandler)}
	if testing.Verbose() {
		o.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	if o.server, err = bus.Serve(bus.ServerOptions{StateDir: dir, Site: "hq", MaxStore: 1 << 30, Log: o.log}); err != nil {
		t.Fatal(err)
	}
	o.nc = o.connect(bus.Admin)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, ensure := range []func(context.Context, *nats.Conn, *slog.Logger) error{bus.EnsureStreams, EnsureStreams} {
		if err := ensure(ctx, o.nc, o.log); err != nil {
			t.Fatal(err)
		}
	}
	if o.key, err = OpenKey(ctx, o.nc, dir, true); err != nil {
		t.Fatal(err)
	}
	if o.out, err = OpenOptOuts(ctx, o.connect(bus.Sender), o.key, dir); err != nil {
		t.Fatal(err)
	}
	if o.pub, err = bus.NewPublisher(bus.PublisherOptions{NC: o.connect(bus.Watcher), StateDir: dir, Log: o.log}); err != nil {
		t.Fatal(err)
	}
	o.run(o.pub.Run)
	t.Cleanup(o.close)
	return o
}

func (o *office) connect(r bus.Role) *nats.Conn {
	nc, err := bus.Connect(bus.ConnectOptions{Server: o.server, Role: r, Log: o.log})
	if err != nil {
		o.t.Fatal(err)
	}
	o.conns = append(o.conns, nc)
	return nc
}

func (o *office) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f(ctx) }()
	o.stops = append(o.stops, func() { cancel(); <-done })
}

func (o *office) close() {
	for i := len(o.stops) - 1; i >= 0; i-- {
		o.stops[i]()
	}
	o.stops = nil
	for _, nc := range o.conns { // or they try to connect again until the process ends
		nc.Close()
	}
	o.conns = nil
	o.server.Close()
}

// ahead is a clock that is ahead of the wall clock by what a test says.
type ahead struct{ by atomic.Int64 }

func (a *ahead) set(d time.Duration) { a.by.Store(int64(d)) }
func (a *ahead) now() time.Time      { return time.Now().Add(time.Duration(a.by.Load())) }

func (o *office) sender(delay string, tr Transport, change func(*SenderOptions)) *Sender {
	o.t.Helper()
	r := parsed(o.t, delay)
	opt := SenderOptions{NC: o.connect(bus.Sender), Site: "hq", Key: o.key, OptOuts: o.out, Rules: func() Decider { return r },
		Transport: tr, Log: o.log, Alone: true, SubmitTimeout: 30 * time.Second}
	if change != nil {
		change(&opt)
	}
	s, err := NewSender(opt)
	if err != nil {
		o.t.Fatal(err)
	}
	o.run(s.Run)
	return s
}

func (o *office) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	o.t.Cleanup(cancel)
	return ctx
}

// jobs are the jobs of first texts by the call they belong to.
func (o *office) jobs() map[string]*Job {
	out := map[string]*Job{}
	if err := Jobs(o.ctx(), o.nc, func(j *Job) {
		if j.Kind == Text && !j.FollowUp {
			out[strings.TrimPrefix(j.Call, "hq/")] = j
		}
	}); err != nil {
		o.t.Fatal(err)
	}
	return out
}

func (o *office) eventually(what string, ok func() bool) {
	o.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			for id, j := range o.jobs() {
				o.t.Logf("call %s: %s %s %s", id, j.State, j.Why, j.Because)
			}
			o.t.Fatalf("never: %s", what)
		}
	}
}

func (o *office) state(call string, st State) {
	o.t.Helper()
	o.eventually(call+" "+string(st), func() bool { j := o.jobs()[call]; return j != nil && j.State == st })
}

var serial atomic.Int64 // some tests run side by side

// missed is a fresh missed call.
func missed(number string) *pbx.Call {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &pbx.Call{ID: fmt.Sprintf("call-%d", serial.Add(1)), Site: "hq", Source: "ari", Direction: pbx.Inbound, State: pbx.StateEnded,
		Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, Caller: pbx.Caller{Number: number, Raw: number, Name: "Sarah Miller"},
		Line: pbx.Line{Number: "+12125550100", Raw: "5551000"}, StartedAt: now.Add(-10 * time.Second), EndedAt: now, Ring: 10 * time.Second, Certain: true}
}

func (o *office) finish(c *pbx.Call) string {
	o.t.Helper()
	if err := o.pub.Finished(c); err != nil {
		o.t.Fatal(err)
	}
	return c.ID
}

const sarah, bob = "+12025550143", "+12025550144"

func TestMissedCallBecomesOneText(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	o.sender("0s", d, func(s *SenderOptions) { s.From = func(string) string { return "+12125550111" } })
	c := missed(sarah)
	for range 3 { // the watcher tells it again and again
		o.finish(c)
	}
	o.state(c.ID, Sent)
	other := missed(bob)
	other.Caller.Name = ""
	o.finish(other)
	o.state(other.ID, Sent)
	got := d.texts()
	if len(got) != 2 || got[0].To != sarah || got[0].From != "+12125550111" || got[0].Body != "Hi Sarah, sorry we missed you. Miller Dental" ||
		got[1].Body != "Hi, sorry we missed you. Miller Dental" {
		t.Errorf("%+v", got)
	}
	if j := o.jobs()[c.ID]; j.ProviderID != "SM"+j.ID || j.Attempt != 1 || j.Rule != "missed" || j.RulesVersion == "" {
		t.Errorf("%+v", j)
	}
}

func TestOneTextPerEpisode(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	o.sender("0s", d, nil)
	first := o.finish(missed(sarah))
	o.state(first, Sent)
	second := o.finish(missed(sarah))
	o.state(second, Suppressed)
	if j := o.jobs()[second]; j.Why != rules.Duplicate {
		t.Errorf("%s: %s", j.Why, j.Because)
	}
	// Got through: the episode closes, the next missed call opens another.
	through := missed(sarah)
	through.Outcome, through.Reason, through.AnsweredAt, through.Talk = pbx.Answered, "", through.StartedAt.Add(time.Second), time.Minute
	o.finish(through)
	third := missed(sarah)
	third.EndedAt = through.EndedAt.Add(time.Millisecond)
	o.finish(third)
	o.state(third.ID, Sent)
	if n := len(d.texts()); n != 2 {
		t.Errorf("%d texts", n)
	}
}

func TestDecidedAgainst(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	if err := o.out.Set(o.ctx(), "+12025550199", true, "admin"); err != nil {
		t.Fatal(err)
	}
	o.sender("0s", d, nil)
	for why, change := range map[string]func(c *pbx.Call){
		rules.NotCertain:    func(c *pbx.Call) { c.Certain, c.Gaps = false, []pbx.Gap{pbx.GapEventsLost} },
		rules.Anonymous:     func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "anonymous", Anonymous: true} },
		rules.InvalidNumber: func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "sip:junk"} },
		rules.Internal:      func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "101"} },
		rules.Region:        func(c *pbx.Call) { c.Caller.Number = "+493012345678" },
		rules.Stale:         func(c *pbx.Call) { c.EndedAt = c.EndedAt.Add(-time.Hour) },
		rules.SaidStop:      func(c *pbx.Call) { c.Caller.Number = "+12025550199" },
		rules.RuleSaysNo:    func(c *pbx.Call) { c.Outcome, c.Reason = pbx.Unreachable, pbx.ReasonUnreachable },
		rules.NoRule:        func(c *pbx.Call) { c.Outcome, c.Reason = pbx.Unattended, pbx.ReasonNotTried },
	} {
		c := missed(bob)
		change(c)
		o.finish(c)
		o.state(c.ID, Suppressed)
		if j := o.jobs()[c.ID]; j.Why != why || j.Because == "" || j.Body != "" {
			t.Errorf("%s: %s %q %q", why, j.Why, j.Because, j.Body)
		}
	}
	// Of these, only what came too late leaves a callback.
	var owed []string
	for id, j := range o.all() {
		if j.Kind == Task {
			owed = append(owed, j.Because)
			if j.State != Waiting || j.To != bob || j.Deadline.IsZero() {
				t.Errorf("%s: %+v", id, j)
			}
		}
	}
	if len(owed) != 1 || !strings.Contains(owed[0], "ago") {
		t.Errorf("owed: %q", owed)
	}
	// None of these has spent Bob's episode.
	o.state(o.finish(missed(bob)), Sent)
	if n := len(d.texts()); n != 1 {
		t.Errorf("%d texts", n)
	}
}

func TestGettingThroughCancels(t *testing.T) {
	for name, change := range map[string]func(c *pbx.Call){
		"inbound answered": func(c *pbx.Call) { c.Outcome, c.Reason, c.Talk = pbx.Answered, "", time.Second },
		"called back": func(c *pbx.Call) {
			c.Direction, c.Outcome, c.Reason, c.Talk = pbx.Outbound, pbx.Answered, "", time.Minute
		},
		"called back for seconds": func(c *pbx.Call) {
			c.Direction, c.Outcome, c.Reason, c.Talk = pbx.Outbound, pbx.Answered, "", time.Second
		},
		"perhaps answered": func(c *pbx.Call) { c.Outcome, c.Reason, c.Certain = pbx.Unknown, "", false },
	} {
		t.Run(name, func(t *testing.T) {
			o, d := open(t, t.TempDir()), &desk{}
			o.sender("10m", d, nil)
			id := o.finish(missed(sarah))
			o.state(id, Scheduled)
			later := missed(sarah)
			change(later)
			o.finish(later)
			o.state(id, Cancelled)
			if len(d.texts()) != 0 {
				t.Error("a text left all the same")
			}
			var c Caller
			if _, err := read(o.ctx(), o.nc, Stream, callerSubject(o.key.Caller(sarah)), &c); err != nil || !c.FirstTextAt.IsZero() || len(c.Open) != 0 {
				t.Errorf("the episode is spent: %+v %v", c, err)
			}
		})
	}
}

func TestProviderAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		fate  func(Message) (bool, error)
		state State
		why   string
	}{
		"refused for good": {err: &Error{Class: NotMobile, Code: "21614", Err: errors.New("landline")}, state: Failed, why: string(NotMobile)},
		"opted out":        {err: &Error{Class: OptedOut, Code: "21610", Err: errors.New("stop")}, state: Failed, why: string(OptedOut)},
		"fate unknown":     {err: &Error{Class: Ambiguous, Err: errors.New("timeout")}, state: Held, why: string(Ambiguous)},
		"unclassed error":  {err: errors.New("boom"), state: Held, why: string(Ambiguous)},
		"found":            {err: errors.New("boom"), fate: func(Message) (bool, error) { return true, nil }, state: Sent},
		"not found":        {err: errors.New("boom"), fate: func(Message) (bool, error) { return false, nil }, state: Held, why: string(Ambiguous)},
		"throttled":        {err: &Error{Class: Throttled, Code: "20429", Err: errors.New("slow down")}, state: Scheduled, why: string(Throttled)},
	} {
		t.Run(name, func(t *testing.T) {
			o, d := open(t, t.TempDir()), &desk{answer: func(int, Message) error { return c.err }, fate: c.fate}
			// A pause that outlasts the test: what was throttled is tried once.
			o.sender("0s", d, func(s *SenderOptions) { s.RetryPause = time.Minute })
			id := o.finish(missed(sarah))
			o.eventually(string(c.state), func() bool { j := o.jobs()[id]; return j != nil && j.State == c.state && j.Attempt == 1 })
			j := o.jobs()[id]
			if j.Why != c.why {
				t.Errorf("why %q", j.Why)
			}
			var e *Error
			if errors.As(c.err, &e) && j.ProviderCode != e.Code {
				t.Errorf("code %q", j.ProviderCode)
			}
			if n := len(d.texts()); n != 1 {
				t.Errorf("%d submissions", n)
			}
			out, err := o.out.Out(o.ctx(), sarah)
			if err != nil || out != (c.why == string(OptedOut)) {
				t.Errorf("opted out: %v %v", out, err)
			}
			if c.state == Held {
				if err := Resolve(o.ctx(), o.nc, j.ID, true, Retention{}); err != nil {
					t.Fatal(err)
				}
				if err := Resolve(o.ctx(), o.nc, j.ID, true, Retention{}); !errors.Is(err, ErrNotHeld) {
					t.Errorf("resolved twice: %v", err)
				}
				o.state(id, Sent)
			}
		})
	}
}

func TestRetriesWhatWasNotTaken(t *testing.T) {
	o := open(t, t.TempDir())
	var mu sync.Mutex
	skew := time.Duration(0) // the test's clock runs ahead, so that nobody waits
	d := &desk{answer: func(n int, _ Message) error {
		if n < 3 {
			mu.Lock()
			skew += time.Minute
			mu.Unlock()
			return &Error{Class: Transient, Err: errors.New("connection refused")}
		}
		return nil
	}}
	s := o.sender("0s", d, func(s *SenderOptions) {
		s.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(skew) }
	})
	id := o.finish(missed(sarah))
	o.eventually("sent", func() bool {
		j := o.jobs()[id]
		if j == nil {
			return false
		}
		if j.State == Scheduled {
			_ = s.bring(o.ctx(), j.ID, s.step) // its timer, ahead of the wall clock
		}
		return j.State == Sent && j.Attempt == 3
	})
}

func TestStopStoredFirstWins(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var clock ahead
	s := o.sender("1m", d, func(s *SenderOptions) { s.Now = clock.now })
	id := o.finish(missed(sarah))
	o.state(id, Scheduled)
	// On the list alone: Set would end the text before it is due.
	if err := o.out.set(o.ctx(), OptOut{Key: o.key.Caller(sarah), Out: true, At: time.Now().UTC(), Source: ByAdmin, Number: sarah}); err != nil {
		t.Fatal(err)
	}
	clock.set(2 * time.Minute)
	s.bring(o.ctx(), o.jobs()[id].ID, s.step) // its timer, ahead of the wall clock
	o.state(id, Cancelled)
	if j := o.jobs()[id]; j.Why != rules.SaidStop || len(d.texts()) != 0 {
		t.Errorf("%s, %d texts", j.Why, len(d.texts()))
	}
}

// What is planned for later ends with the admin's command, not when it comes due.
func TestOptOutByHandEndsWhatIsPlanned(t *testing.T) {
	o := open(t, t.TempDir())
	o.under(&desk{}, policy{decide: reminded(time.Hour)}, nil)
	c := missed(bob)
	o.finish(c)
	o.state(c.ID, Sent)
	if err := o.out.Set(o.ctx(), bob, true, ByAdmin); err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(jobID(c), "1")
	if two, three := o.all()[base+"2"], o.all()[base+"3"]; two.Why != rules.SaidStop || three.Why != rules.SaidStop || two.State != Cancelled || three.State != Cancelled {
		t.Errorf("%+v %+v", two, three)
	}
}

func TestOptOutsSurviveTheLossOfEither(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	if err := o.out.Set(o.ctx(), sarah, true, "admin"); err != nil {
		t.Fatal(err)
	}
	if err := o.out.Set(o.ctx(), bob, true, "admin"); err != nil {
		t.Fatal(err)
	}
	if err := o.out.Set(o.ctx(), bob, false, "admin"); err != nil {
		t.Fatal(err)
	}
	o.close()
	if err := os.RemoveAll(dir + "/nats/jetstream"); err != nil { // the stream is lost
		t.Fatal(err)
	}
	o = open(t, dir)
	check := func() {
		t.Helper()
		a, err1 := o.out.Out(o.ctx(), sarah)
		b, err2 := o.out.Out(o.ctx(), bob)
		n, err3 := o.out.Count(o.ctx())
		if !a || b || n != 1 || errors.Join(err1, err2, err3) != nil {
			t.Errorf("sarah %v bob %v count %d %v", a, b, n, errors.Join(err1, err2, err3))
		}
	}
	check()
	o.close()
	if err := os.Remove(dir + "/optouts.jsonl"); err != nil { // the copy is lost
		t.Fatal(err)
	}
	o = open(t, dir)
	check()
	if b, err := os.ReadFile(dir + "/optouts.jsonl"); err != nil || strings.Contains(string(b), "2025550143") || strings.Count(string(b), "\n") < 1 {
		t.Errorf("copy %q %v", b, err)
	}
}

func TestCallerOnALineWaits(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	talking := missed(sarah)
	talking.State, talking.Outcome, talking.Reason, talking.EndedAt = pbx.StateAnswered, "", "", time.Time{}
	o.pub.Live(talking)
	o.eventually("live", func() bool { l, err := bus.LiveCalls(o.ctx(), o.nc, "hq"); return err == nil && len(l) == 1 })
	o.sender("0s", d, nil)
	id := o.finish(missed(sarah))
	o.state(id, Scheduled)
	ended := *talking
	ended.State, ended.Outcome, ended.EndedAt, ended.AnsweredAt, ended.Talk = pbx.StateEnded, pbx.Answered, time.Now().UTC(), talking.StartedAt, time.Minute
	o.finish(&ended)
	o.state(id, Cancelled)
	if j := o.jobs()[id]; j.Why != rules.Reached || len(d.texts()) != 0 {
		t.Errorf("%s, %d texts", j.Why, len(d.texts()))
	}
}

func TestSeveralSenders(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	for range 3 {
		o.sender("0s", d, func(s *SenderOptions) { s.Alone = false })
	}
	var ids []string
	for i := range 40 {
		ids = append(ids, o.finish(missed(fmt.Sprintf("+120255501%02d", i%20))))
	}
	o.eventually("all decided", func() bool {
		jobs := o.jobs()
		for _, id := range ids {
			if j := jobs[id]; j == nil || j.Open() {
				return false
			}
		}
		return true
	})
	to := map[string]int{}
	for _, m := range d.texts() {
		to[m.To]++
	}
	for n, k := range to {
		if k != 1 {
			t.Errorf("%d texts to %s", k, n)
		}
	}
	if len(to) != 20 {
		t.Errorf("%d callers were texted", len(to))
	}
}

func TestRestartInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	o, d := open(t, dir), &desk{}
	o.sender("2s", d, nil)
	id := o.finish(missed(sarah))
	// On a slow machine it may have left before it is seen here: then there is less to see below.
	o.eventually("planned", func() bool { return o.jobs()[id] != nil })
	o.close()
	o = open(t, dir) // the delay survives
	o.sender("2s", d, nil)
	o.state(id, Sent)
	if len(d.texts()) != 1 {
		t.Errorf("%d texts", len(d.texts()))
	}
}
