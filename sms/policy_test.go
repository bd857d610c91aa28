package sms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
)

// policy adds to the rules what a test wants of them.
type policy struct {
	*rules.Rules
	decide  func(f rules.Facts, d *rules.Decision)
	recheck func(f rules.Facts) (string, string)
}

func (p policy) Decide(f rules.Facts, now time.Time) rules.Decision {
	d := p.Rules.Decide(f, now)
	if p.decide != nil {
		p.decide(f, &d)
	}
	return d
}

func (p policy) Recheck(f rules.Facts, now time.Time) (string, string) {
	if p.recheck != nil {
		if why, because := p.recheck(f); why != "" {
			return why, because
		}
	}
	return p.Rules.Recheck(f, now)
}

// all are all jobs by id.
func (o *office) all() map[string]*Job {
	out := map[string]*Job{}
	if err := Jobs(o.ctx(), o.nc, func(j *Job) { out[j.ID] = j }); err != nil {
		o.t.Fatal(err)
	}
	return out
}

func (o *office) jobState(id string, st State) *Job {
	o.t.Helper()
	o.eventually(id+" "+string(st), func() bool { j := o.all()[id]; return j != nil && j.State == st })
	return o.all()[id]
}

func (o *office) under(d *desk, p policy, change func(*SenderOptions)) *Sender {
	p.Rules = parsed(o.t, "0s")
	return o.sender("0s", d, func(s *SenderOptions) {
		s.Rules = func() Decider { return p }
		if change != nil {
			change(s)
		}
	})
}

// reminded has a reminder follow after d, and a callback after that.
func reminded(after time.Duration) func(f rules.Facts, d *rules.Decision) {
	return func(f rules.Facts, d *rules.Decision) {
		d.FollowUps = []rules.FollowUp{{DueAt: f.Call.EndedAt.Add(after + time.Hour), Task: &rules.Task{Owner: "reception", Deadline: f.Call.EndedAt.Add(after + 2*time.Hour)}}}
		if d.Send {
			d.FollowUps = append([]rules.FollowUp{{DueAt: f.Call.EndedAt.Add(after), Message: "reminder", Body: "still there?", Segments: 1}}, d.FollowUps...)
		}
	}
}

// A call from another line of the office gets no text; and none that is planned
// when that line becomes known leaves.
func TestOwnLines(t *testing.T) {
	for _, late := range []bool{false, true} {
		o, d := open(t, t.TempDir()), &desk{}
		o.under(d, policy{decide: func(f rules.Facts, d *rules.Decision) {
			if f.Ours != (f.Call.Caller.Number == bob) {
				t.Errorf("a number that ends in %s: ours %v", f.Call.Caller.Number[len(f.Call.Caller.Number)-4:], f.Ours)
			}
			if late {
				d.Send, d.Suppressed, d.Because = true, "", "a test wants it"
			}
		}}, func(s *SenderOptions) { s.Inbox.Own = func(n string) bool { return n == bob } })
		want := Suppressed
		if late {
			want = Cancelled
		}
		c := missed(bob)
		o.finish(c)
		o.state(c.ID, want)
		if j := o.jobs()[c.ID]; j.Why != rules.Internal {
			t.Errorf("%s because %q", j.Why, j.Because)
		}
		o.state(o.finish(missed(sarah)), Sent)
		if n := len(d.texts()); n != 1 {
			t.Errorf("%d texts", n)
		}
		o.close()
	}
}

func TestFollowUps(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	o.under(d, policy{decide: reminded(time.Second)}, nil)
	c := missed(sarah)
	o.finish(c)
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"1", Sent)
	j := o.jobState(base+"2", Sent)
	if got := d.texts(); len(got) != 2 || got[1].Body != "still there?" || got[1].ID != j.ID || !j.FollowUp {
		t.Errorf("%+v", got)
	}
	o.jobState(base+"3", Scheduled)
}

func TestFollowUpsEndWhenTheCallerIsReached(t *testing.T) {
	for name, change := range map[string]func(c *pbx.Call){
		"got through": func(c *pbx.Call) { c.Outcome, c.Reason, c.Talk = pbx.Answered, "", time.Second },
		"called back": func(c *pbx.Call) {
			c.Direction, c.Outcome, c.Reason, c.Talk = pbx.Outbound, pbx.Answered, "", time.Minute
		},
		"called back, briefly": func(c *pbx.Call) {
			c.Direction, c.Outcome, c.Reason, c.Talk = pbx.Outbound, pbx.Answered, "", time.Second
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, d := open(t, t.TempDir()), &desk{}
			o.under(d, policy{decide: reminded(time.Hour)}, nil)
			c := missed(sarah)
			o.finish(c)
			base := strings.TrimSuffix(jobID(c), "1")
			o.jobState(base+"1", Sent)
			later := missed(sarah)
			change(later)
			o.finish(later)
			for _, step := range []string{"2", "3"} {
				if j := o.jobState(base+step, Cancelled); j.Because == "" || j.Why != rules.Reached && j.Why != rules.CalledBack {
					t.Errorf("%+v", j)
				}
			}
			var rec Caller
			if _, err := read(o.ctx(), o.nc, Stream, callerSubject(o.key.Caller(sarah)), &rec); err != nil || len(rec.Open)+len(rec.Tasks) != 0 || rec.KnownSince.IsZero() {
				t.Errorf("%+v %v", rec, err)
			}
		})
	}
}

// A follow-up has nothing to follow when its text did not go out; and by hand.
func TestFollowUpWithoutFirst(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{answer: func(int, Message) error { return &Error{Class: Blocked, Err: errors.New("spam")} }}
	o.under(d, policy{decide: reminded(time.Second)}, nil)
	c := missed(sarah)
	o.finish(c)
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"1", Failed)
	if j := o.jobState(base+"2", Cancelled); j.Why != "no_first_text" {
		t.Errorf("%+v", j)
	}
	// What could not be sent is a callback, owned by whoever the rule names.
	if j := o.jobState(base+"t", Waiting); j.Kind != Task || j.TaskOwner != "reception" || j.To != sarah || j.Deadline.IsZero() {
		t.Errorf("%+v", j)
	}
	if err := End(o.ctx(), o.nc, base+"3", "admin", Retention{}); err != nil {
		t.Error(err)
	}
	if err := End(o.ctx(), o.nc, base+"3", "admin", Retention{}); !errors.Is(err, ErrOver) {
		t.Errorf("ended twice: %v", err)
	}
	if err := End(o.ctx(), o.nc, base+"t", "admin", Retention{}); err != nil {
		t.Error(err)
	}
	o.jobState(base+"t", Done)
	if len(d.texts()) != 1 {
		t.Errorf("%v", d.texts())
	}
}

func TestTasks(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	o.under(d, policy{decide: func(f rules.Facts, d *rules.Decision) {
		d.Task = &rules.Task{Owner: "reception", Deadline: f.Call.EndedAt.Add(time.Second)}
	}}, nil)
	hidden := missed("")
	hidden.Caller = pbx.Caller{Raw: "anonymous", Anonymous: true}
	o.finish(hidden)
	o.jobState(strings.TrimSuffix(jobID(hidden), "1")+"t", Waiting) // people can act where no text goes

	c, again := missed(sarah), missed(sarah)
	o.finish(c)
	id := strings.TrimSuffix(jobID(c), "1") + "t"
	o.jobState(id, Waiting)
	o.finish(again)
	o.state(again.ID, Suppressed)
	if j := o.all()[strings.TrimSuffix(jobID(again), "1")+"t"]; j != nil {
		t.Error("two callbacks are owed to one caller")
	}
	o.eventually("late", func() bool { j := o.all()[id]; return j != nil && j.Late })
	perhaps := missed(sarah)
	perhaps.Outcome, perhaps.Reason, perhaps.Certain = pbx.Unknown, "", false
	o.finish(perhaps)
	mailbox := missed(sarah)
	mailbox.Direction, mailbox.Outcome, mailbox.Reason, mailbox.Talk = pbx.Outbound, pbx.Answered, "", time.Second
	o.finish(mailbox)
	o.eventually("both are planned", func() bool {
		var rec Caller
		_, err := read(o.ctx(), o.nc, Stream, callerSubject(o.key.Caller(sarah)), &rec)
		return err == nil && rec.CalledBack.Equal(mailbox.EndedAt)
	})
	if j := o.all()[id]; j.State != Waiting {
		t.Errorf("their mailbox ended a callback: %+v", j)
	}
	reached := missed(sarah)
	reached.Direction, reached.Outcome, reached.Reason, reached.Talk = pbx.Outbound, pbx.Answered, "", time.Minute
	o.finish(reached)
	o.jobState(id, Done)
}

func TestShadow(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	after := reminded(time.Second)
	o.under(d, policy{decide: func(f rules.Facts, d *rules.Decision) { d.Shadow = true; after(f, d) }}, nil)
	c, again := missed(sarah), missed(sarah)
	o.finish(c)
	o.state(c.ID, Shadow)
	j := o.jobs()[c.ID]
	if j.Body == "" || j.RulesVersion == "" || j.To != sarah {
		t.Errorf("%+v", j)
	}
	o.jobState(strings.TrimSuffix(j.ID, "1")+"2", Shadow)
	o.finish(again)
	o.state(again.ID, Suppressed) // the episode has had what would have been its text
	if len(d.texts()) != 0 {
		t.Error("shadow mode has sent a text")
	}
}

// Budgets count what was handed over, once each, whoever it goes to.
func TestBudgetsAreCounted(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var mu sync.Mutex
	seen := map[string]rules.Spent{}
	o.under(d, policy{decide: func(f rules.Facts, d *rules.Decision) {
		d.Cost = 8300
		mu.Lock()
		seen[f.Call.ID] = f.Spent
		mu.Unlock()
	}}, nil)
	numbers := []string{"+12025550110", "+12025550111", "+12025550112", "+13125550113"}
	for _, n := range numbers {
		o.state(o.finish(missed(n)), Sent)
	}
	last := missed("+12025550114")
	o.state(o.finish(last), Sent)
	again := missed("+12025550110")
	o.state(o.finish(again), Suppressed)
	mu.Lock()
	defer mu.Unlock()
	if s := seen[last.ID]; s != (rules.Spent{Prefix: 3, Minute: 4, DaySegments: 4, DayMoney: 4 * 8300}) {
		t.Errorf("%+v", s)
	}
	if s := seen[again.ID]; s.Caller != 1 || s.Prefix != 4 || s.Minute != 5 {
		t.Errorf("%+v", s)
	}
}

// Many at once, in two senders: the budget holds exactly.
func TestBudgetHoldsUnderLoad(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	p := policy{recheck: func(f rules.Facts) (string, string) {
		if f.Spent.DaySegments >= 7 {
			return rules.BudgetDay, "the day's segments are used up"
		}
		return "", ""
	}}
	for range 2 {
		o.under(d, p, func(s *SenderOptions) { s.Alone = false })
	}
	for i := range 20 {
		o.finish(missed(fmt.Sprintf("+1202555%04d", 100+i)))
	}
	o.eventually("all are decided", func() bool {
		sent, cancelled := 0, 0
		for _, j := range o.jobs() {
			switch j.State {
			case Sent:
				sent++
			case Cancelled:
				cancelled++
			}
		}
		return sent == 7 && cancelled == 13
	})
	tasks := 0
	for _, j := range o.all() {
		if j.Kind == Task && j.State == Waiting {
			tasks++
		}
	}
	if len(d.texts()) != 7 || tasks != 13 {
		t.Errorf("%d texts, %d callbacks", len(d.texts()), tasks)
	}
}

func TestBreaker(t *testing.T) {
	o := open(t, t.TempDir())
	var mu sync.Mutex
	down := true
	d := &desk{answer: func(int, Message) error {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return &Error{Class: Unauthorized, Code: "20003", Err: errors.New("credentials")}
		}
		return nil
	}}
	moved := make(chan bool, 10)
	var clock ahead
	first := o.under(d, policy{}, func(s *SenderOptions) {
		s.BreakPause, s.Now = time.Minute, clock.now
		s.BreakerMoved = func(_ string, works bool) { moved <- works }
	})
	id := o.finish(missed(sarah))
	o.eventually("refused once", func() bool { return len(d.texts()) == 1 })
	if <-moved {
		t.Error("it works?")
	}
	// What is planned now waits; another process knows it too.
	b := missed(bob)
	o.finish(b)
	o.state(b.ID, Scheduled)
	if why, err := first.down(o.ctx(), "", bob, time.Now()); err != nil || !strings.Contains(why, "has failed 1 times in a row (auth)") {
		t.Errorf("%q %v", why, err)
	}
	if open, err := Breakers(o.ctx(), o.nc); err != nil || len(open) != 1 || !strings.Contains(open["transport"], "tried again at") {
		t.Errorf("%v %v", open, err)
	}
	mu.Lock()
	down = false
	mu.Unlock()
	clock.set(2 * time.Minute)
	for _, call := range []string{id, b.ID} {
		o.state(call, Sent)
	}
	if works := <-moved; !works {
		t.Error("it never worked again")
	}
	if open, err := Breakers(o.ctx(), o.nc); err != nil || len(open) != 0 {
		t.Errorf("%v %v", open, err)
	}
}

// While a breaker is open nothing is submitted, and one text finds out when it may close.
func TestBreakerLetsOneThrough(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s, err := NewSender(SenderOptions{NC: o.connect(bus.Sender), Site: "hq", Key: o.key, OptOuts: o.out, Rules: func() Decider { return parsed(t, "0s") }, Transport: d})
	if err != nil {
		t.Fatal(err)
	}
	w, now := s.ways[0], time.Now()
	for i := range breakAfter {
		if why, err := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now); why != "" || err != nil {
			t.Fatalf("open after %d failures: %s %v", i, why, err)
		}
		s.observe(o.ctx(), w, Ambiguous, now)
	}
	if why, _ := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now.Add(breakPause-time.Second)); why == "" {
		t.Error("not open")
	}
	now = now.Add(breakPause)
	if why, _ := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now); why != "" {
		t.Error("no text may find out:", why)
	}
	if why, _ := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now); why == "" {
		t.Error("two texts find out")
	}
	s.observe(o.ctx(), w, Throttled, now) // it found out: no
	if why, _ := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now.Add(2*breakPause-time.Second)); why == "" {
		t.Error("the second pause is not longer")
	}
	now = now.Add(2 * breakPause)
	if why, _ := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now); why != "" {
		t.Error(why)
	}
	s.observe(o.ctx(), w, NotMobile, now) // a word about the recipient: it lives
	if why, _ := s.broken(o.ctx(), w, fmt.Sprint(rand.N(1<<60)), now); why != "" {
		t.Error(why)
	}
}

// named is a desk with a name of its own.
type named struct {
	*desk
	name string
}

func (n named) Traits() Traits { return Traits{Name: n.name, Replies: NoReplies} }

func TestFailover(t *testing.T) {
	refuse := func(c Class) func(int, Message) error {
		return func(int, Message) error { return &Error{Class: c, Err: errors.New("no")} }
	}
	for name, c := range map[string]struct {
		first  func(int, Message) error
		state  State
		second int
	}{
		"works":                           {nil, Sent, 0},
		"cannot be reached":               {refuse(Transient), Sent, 1},
		"throttles":                       {refuse(Throttled), Sent, 1},
		"has no credit":                   {refuse(NoCredit), Sent, 1},
		"does not go there":               {refuse(RegionDenied), Sent, 1},
		"may have taken it":               {refuse(Ambiguous), Held, 0},
		"says that they have said stop":   {refuse(OptedOut), Failed, 0},
		"says that it is no mobile":       {refuse(NotMobile), Failed, 0},
		"has words that it does not like": {refuse(Blocked), Failed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o, a, b := open(t, t.TempDir()), &desk{answer: c.first}, &desk{}
			o.sender("0s", nil, func(s *SenderOptions) {
				s.Transport = nil
				s.Ways = []Way{{Name: "abroad", Transport: named{&desk{}, "abroad"}, Regions: []string{"DE"}},
					{Transport: named{a, "a"}}, {Transport: named{b, "b"}, From: func(string) string { return "short" }}}
			})
			id := o.finish(missed(sarah))
			o.state(id, c.state)
			if len(a.texts()) != 1 || len(b.texts()) != c.second {
				t.Errorf("%d and %d attempts", len(a.texts()), len(b.texts()))
			}
			j := o.jobs()[id]
			if want := map[int]string{0: "a", 1: "b"}[c.second]; j.Transport != want {
				t.Errorf("left by %q", j.Transport)
			}
			if c.second == 1 && (j.From != "short" || b.texts()[0].From != "short") {
				t.Errorf("from %q", j.From)
			}
		})
	}
}

// A text whose fate is open when a process dies is asked for at the transport
// that it was handed to, and held when that one is gone.
func TestFateBelongsToItsWay(t *testing.T) {
	o := open(t, t.TempDir())
	asked := 0
	a := &desk{fate: func(Message) (bool, error) { asked++; return true, nil }}
	c := missed(sarah)
	for i, way := range []string{"a", "gone"} {
		j := &Job{ID: fmt.Sprintf("0123-%d", i), Call: "hq/" + c.ID + way, Caller: o.key.Caller(sarah), To: sarah, State: Submitting, Attempt: 1, Owner: "dead",
			Transport: way, SubmittedAt: time.Now(), FreshUntil: time.Now().Add(time.Minute)}
		m, err := record(jobSubject(j.ID), j, 0, jobTTL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bus.Publish(context.Background(), o.nc, m); err != nil {
			t.Fatal(err)
		}
	}
	o.sender("0s", nil, func(s *SenderOptions) {
		s.Transport, s.Ways = nil, []Way{{Transport: named{a, "a"}}, {Transport: named{&desk{}, "b"}}}
	})
	o.jobState("0123-0", Sent)
	o.jobState("0123-1", Held)
	if asked != 1 || len(a.texts()) != 0 {
		t.Errorf("asked %d times, %d texts", asked, len(a.texts()))
	}
}
