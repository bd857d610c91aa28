package sms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/testkit"
	"textback/rules"
)

func (o *office) callerRecord(number string) (rec Caller) {
	o.t.Helper()
	if _, err := read(o.ctx(), o.nc, Stream, callerSubject(o.key.Caller(number)), &rec); err != nil {
		o.t.Fatal(err)
	}
	return rec
}

func (o *office) store(subject string, v any) {
	o.t.Helper()
	m, err := record(subject, v, 0, jobTTL)
	if err == nil {
		_, err = bus.Publish(o.ctx(), o.nc, m)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func answerOf(c Class) error { return &Error{Class: c, Err: errors.New(string(c))} }

// What a text has reserved itself is no reason against trying it again.
func TestOwnReservationDoesNotCancel(t *testing.T) {
	o := open(t, t.TempDir())
	a, b := &desk{answer: func(int, Message) error { return answerOf(Transient) }}, &desk{}
	p := policy{recheck: func(f rules.Facts) (string, string) {
		if f.Spent.Caller >= 1 {
			return rules.BudgetCaller, "1 of 1"
		}
		return "", ""
	}}
	o.under(nil, p, func(s *SenderOptions) {
		s.Transport, s.Ways = nil, []Way{{Transport: named{a, "a"}}, {Transport: named{b, "b"}}}
	})
	o.state(o.finish(missed(sarah)), Sent)
}

// A callback that staff has done by hand is not owed a second time, and what
// follows its call can be stored.
func TestCallbackDoneBeforeTheTextFailed(t *testing.T) {
	o := open(t, t.TempDir())
	refused := make(chan bool)
	d := &desk{answer: func(int, Message) error { <-refused; return answerOf(Blocked) }}
	o.under(d, policy{decide: func(f rules.Facts, d *rules.Decision) {
		d.Task = &rules.Task{Owner: "reception", Deadline: f.Call.EndedAt.Add(time.Hour)}
	}}, nil)
	c := missed(sarah)
	o.finish(c)
	task := strings.TrimSuffix(jobID(c), "1") + "t"
	o.jobState(task, Waiting)
	o.eventually("handed over", func() bool { return len(d.texts()) == 1 })
	if err := End(o.ctx(), o.nc, task, "Ann", Retention{}); err != nil {
		t.Fatal(err)
	}
	close(refused)
	o.state(c.ID, Failed)
	if j := o.all()[task]; j.State != Done {
		t.Errorf("%+v", j)
	}
}

// The callback owed to a caller who shows no number ends by hand like any other.
func TestAnonymousCallbackEndsByHand(t *testing.T) {
	o := open(t, t.TempDir())
	o.under(&desk{}, policy{decide: func(f rules.Facts, d *rules.Decision) {
		d.Task = &rules.Task{Owner: "reception", Deadline: f.Call.EndedAt.Add(time.Hour)}
	}}, nil)
	c := missed("")
	c.Caller = pbx.Caller{Raw: "anonymous", Anonymous: true}
	o.finish(c)
	id := strings.TrimSuffix(jobID(c), "1") + "t"
	o.jobState(id, Waiting)
	if err := End(o.ctx(), o.nc, id, "Ann", Retention{}); err != nil {
		t.Fatal(err)
	}
	o.jobState(id, Done)
}

// Once an attempt's fate is unknown, a refusal of the next one under the same id
// says nothing of the first: no other way may try.
func TestNoFailoverAfterUnclearAttempt(t *testing.T) {
	for _, class := range []Class{Throttled, RegionDenied} {
		t.Run(string(class), func(t *testing.T) {
			o := open(t, t.TempDir())
			a := &desk{same: true, answer: func(n int, _ Message) error {
				switch n {
				case 1:
					return answerOf(Ambiguous)
				case 2:
					return answerOf(class)
				}
				return nil
			}}
			b := &desk{}
			o.under(nil, policy{}, func(s *SenderOptions) {
				s.Transport, s.Ways, s.RetryPause = nil, []Way{{Transport: named{a, "a"}}, {Transport: named{b, "b"}}}, 100*time.Millisecond
			})
			c := missed(sarah)
			o.finish(c)
			o.state(c.ID, Sent)
			if len(b.texts()) != 0 || len(a.texts()) != 3 || o.jobs()[c.ID].Transport != "a" {
				t.Errorf("%d and %d attempts", len(a.texts()), len(b.texts()))
			}
		})
	}
}

// A second submission under the same id is a submission: whoever has said stop
// or got through by then is not texted by it.
func TestUnclearAttemptIsNotRepeatedAfterStop(t *testing.T) {
	for name, what := range map[string]func(o *office){
		"stop": func(o *office) {
			if err := o.out.Set(o.ctx(), sarah, true, ByAdmin); err != nil {
				t.Fatal(err)
			}
		},
		"got through": func(o *office) {
			c := missed(sarah)
			c.Outcome, c.Reason, c.Talk = pbx.Answered, "", time.Minute
			o.finish(c)
			o.eventually("planned", func() bool { return o.callerRecord(sarah).GotThrough.Equal(c.EndedAt) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, t.TempDir())
			stored := make(chan struct{})
			d := &desk{same: true, answer: func(int, Message) error { <-stored; return answerOf(Ambiguous) }}
			o.under(d, policy{}, func(s *SenderOptions) { s.RetryPause = 50 * time.Millisecond })
			c := missed(sarah)
			o.finish(c)
			o.eventually("handed over", func() bool { return len(d.texts()) == 1 })
			what(o)
			close(stored)
			o.state(c.ID, Held)
			if len(d.texts()) != 1 {
				t.Errorf("%d attempts", len(d.texts()))
			}
		})
	}
}

// The answer to a keyword has one way only: others that have not refused it are
// no reason to try that one again at once.
func TestAnswerPausesBetweenAttempts(t *testing.T) {
	o := open(t, t.TempDir())
	a, b := &desk{answer: func(int, Message) error { return answerOf(Transient) }}, &desk{}
	s := o.under(nil, policy{}, func(s *SenderOptions) {
		s.Transport, s.Ways = nil, []Way{{Transport: named{a, "a"}}, {Transport: named{b, "b"}}}
	})
	if err := s.Inbox("a", Traits{}).Received(o.ctx(), Inbound{ID: "1", From: sarah, To: "+12125550100", Body: "HELP", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var j *Job
	o.eventually("refused", func() bool {
		for _, x := range o.all() {
			if x.Kind == Answer && x.Attempt > 0 && x.State == Scheduled {
				j = x
			}
		}
		return j != nil
	})
	if j.DueAt.Sub(j.SubmittedAt) < s.opt.RetryPause || strings.Contains(j.Because, "tried with") {
		t.Errorf("%+v", j)
	}
}

// A way that has just refused a text gets it again only after a pause, though
// another one, which is broken, has not refused it.
func TestPauseWhileTheOtherWayIsBroken(t *testing.T) {
	o := open(t, t.TempDir())
	a, b := &desk{answer: func(int, Message) error { return answerOf(Throttled) }}, &desk{}
	o.store(breakerSubject("b"), breaker{Failures: 5, Until: time.Now().Add(time.Hour), Changed: time.Now()})
	o.under(nil, policy{}, func(s *SenderOptions) {
		s.Transport, s.Ways, s.BreakAfter = nil, []Way{{Transport: named{a, "a"}}, {Transport: named{b, "b"}}}, 100
	})
	c := missed(sarah)
	o.finish(c)
	o.eventually("a pause", func() bool {
		j := o.jobs()[c.ID]
		return j != nil && j.Attempt > 0 && j.State == Scheduled && j.DueAt.Sub(j.SubmittedAt) > time.Second
	})
	if n := len(a.texts()); n > 3 {
		t.Errorf("%d attempts at once", n)
	}
}

// Somebody who calls again and again is owed one callback, and what is open of
// theirs stays small: a transaction reads and ends all of it.
func TestManyCallsOneFollowUpTask(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	o.under(d, policy{decide: reminded(2 * time.Second)}, nil)
	var last *pbx.Call
	for range 5 {
		last = missed(sarah)
		o.finish(last)
	}
	o.state(last.ID, Suppressed)
	if rec := o.callerRecord(sarah); len(rec.Open) > 3 {
		t.Errorf("%d jobs are open", len(rec.Open))
	}
}

// Two follow-ups to the same owner open one callback.
func TestOneOpenCallbackForAnOwner(t *testing.T) {
	o := open(t, t.TempDir())
	c := missed(sarah)
	task := &rules.Task{Owner: "reception", Deadline: c.EndedAt.Add(time.Hour)}
	o.under(&desk{}, policy{decide: func(f rules.Facts, d *rules.Decision) {
		d.Task = task
		d.FollowUps = []rules.FollowUp{{DueAt: f.Call.EndedAt.Add(time.Second), Task: task}}
	}}, nil)
	o.finish(c)
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"t", Waiting)
	if j := o.jobState(base+"2", Cancelled); j.Why != rules.Duplicate {
		t.Errorf("%+v", j)
	}
	o.state(c.ID, Sent) // until then it is open
	if rec := o.callerRecord(sarah); len(rec.Open) != 0 || len(rec.Tasks) != 1 {
		t.Errorf("%+v", rec)
	}
}

// Jobs whose records have aged out do not stay among the open ones.
func TestAgedJobsAreNotOpen(t *testing.T) {
	o := open(t, t.TempDir())
	o.store(callerSubject(o.key.Caller(sarah)), Caller{Open: []string{"gone-1"}, Tasks: []string{"gone-t"}})
	o.under(&desk{}, policy{}, nil)
	o.state(o.finish(missed(sarah)), Sent)
	if rec := o.callerRecord(sarah); len(rec.Open)+len(rec.Tasks) != 0 {
		t.Errorf("%+v", rec)
	}
}

// A text that was definitely not taken is not its episode's text: the next call has one.
func TestFailedTextGivesItsPlaceBack(t *testing.T) {
	for name, settle := range map[string]bool{"refused": false, "by hand": true} {
		t.Run(name, func(t *testing.T) {
			o := open(t, t.TempDir())
			d := &desk{answer: func(n int, _ Message) error {
				switch {
				case n > 1:
					return nil
				case settle:
					return answerOf(Ambiguous)
				}
				return answerOf(Rejected)
			}}
			o.under(d, policy{}, nil)
			c, again := missed(sarah), missed(sarah)
			o.finish(c)
			if settle {
				o.state(c.ID, Held)
				if err := Resolve(o.ctx(), o.nc, jobID(c), false, Retention{}); err != nil {
					t.Fatal(err)
				}
			}
			o.state(c.ID, Failed)
			again.EndedAt = again.EndedAt.Add(time.Millisecond)
			o.finish(again)
			o.state(again.ID, Sent)
		})
	}
}

// An older text's end does not give back the place of a newer one.
func TestOnlyTheNewestGivesBack(t *testing.T) {
	now := time.Now()
	c := &Caller{FirstTextAt: now, TextFor: now}
	c.closed(&Job{ID: "old", First: true, State: Cancelled, CallEndedAt: now.Add(-time.Minute)})
	if c.FirstTextAt.IsZero() {
		t.Error("the newer text's place is gone")
	}
	c.closed(&Job{ID: "new", First: true, State: Cancelled, CallEndedAt: now})
	if !c.FirstTextAt.IsZero() {
		t.Error("kept")
	}
}

// A receipt that says that a text will not arrive leaves the office with a callback.
func TestUndeliveredIsOwedACallback(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var clock ahead
	s := o.under(d, policy{decide: reminded(10 * time.Minute)}, func(s *SenderOptions) { s.Now = clock.now })
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Sent)
	if err := s.Inbox("transport", Traits{}).Receipt(o.ctx(), DeliveryReceipt{ProviderID: "SM" + jobID(c), Delivery: Undelivered, Class: Rejected, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"t", Waiting)
	clock.set(11 * time.Minute)
	s.bring(o.ctx(), base+"2", s.step) // its timer, ahead of the wall clock
	if j := o.jobState(base+"2", Cancelled); j.Why != "no_first_text" {
		t.Errorf("%+v", j)
	}
}

// In shadow mode nothing leaves any more, not even what was planned before.
func TestShadowHoldsBackWhatIsPlanned(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	live, shadow := parsed(t, "0s"), (*rules.Rules)(nil)
	shadow, problems := rules.Parse("rules.yaml", []byte(fmt.Sprintf(testRules, "0s")+"mode: shadow\n"))
	if shadow == nil {
		t.Fatal(problems)
	}
	now := live
	o.store(jobSubject("0123-1"), &Job{ID: "0123-1", Call: "hq/x", Site: "hq", Caller: o.key.Caller(sarah), To: sarah, Line: "+12125550100", State: Scheduled, First: true,
		CallEndedAt: time.Now(), DueAt: time.Now().Add(-time.Second), CreatedAt: time.Now(), FreshUntil: time.Now().Add(time.Minute)})
	now = shadow
	o.sender("0s", d, func(s *SenderOptions) { s.Rules = func() Decider { return now } })
	o.jobState("0123-1", Shadow)
	if len(d.texts()) != 0 {
		t.Error("a text has left")
	}
}

// Clocks are set: what lies far in the future is no reason to wait for it.
func TestClockStepsBack(t *testing.T) {
	now := time.Now()
	b := &breaker{Failures: 5, Until: now.AddDate(1, 0, 0), Changed: now.AddDate(1, 0, 0).Add(-time.Minute)}
	if !b.probes("x-1", now, time.Minute) {
		t.Error("the breaker is open for a year")
	}
	b = &breaker{Failures: 5, Until: now.Add(-time.Second), Changed: now.Add(-time.Minute), Probe: now.AddDate(1, 0, 0)}
	if !b.probes("x-1", now, time.Minute) {
		t.Error("a text is finding out for a year")
	}
	if got := since([]time.Time{now.AddDate(1, 0, 0), now.Add(time.Second), now.Add(-time.Hour)}, now, time.Minute); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// Two senders whose clocks differ a little at midnight count the same day.
func TestBudgetAtMidnight(t *testing.T) {
	o := open(t, t.TempDir())
	s, err := NewSender(SenderOptions{NC: o.connect(bus.Sender), Site: "hq", Key: o.key, OptOuts: o.out, Rules: func() Decider { return parsed(t, "0s") }, Transport: &desk{}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 7, 1, 23, 59, 59, 0, s.opt.Rules().Zone())
	o.store(s.siteBudget(), spent{Day: "2026-07-02", Segments: 7})
	if b, err := s.readBudgets(o.ctx(), sarah, at); err != nil || b.site.Segments != 7 || b.site.Day != "2026-07-02" {
		t.Errorf("%+v %v", b.site, err)
	}
	if b, err := s.readBudgets(o.ctx(), sarah, at.AddDate(0, 0, 3)); err != nil || b.site.Segments != 0 {
		t.Errorf("%+v %v", b.site, err)
	}
}

// Who finds out is one text: it may be asked about twice.
func TestProbeBelongsToItsText(t *testing.T) {
	o := open(t, t.TempDir())
	s, err := NewSender(SenderOptions{NC: o.connect(bus.Sender), Site: "hq", Key: o.key, OptOuts: o.out, Rules: func() Decider { return parsed(t, "0s") }, Transport: &desk{}})
	if err != nil {
		t.Fatal(err)
	}
	w, now := s.ways[0], time.Now()
	o.store(breakerSubject(w.Name), breaker{Failures: 5, Until: now.Add(-time.Second), Changed: now.Add(-time.Minute)})
	for range 2 { // the batch was refused: another sender's text was counted first
		if why, err := s.broken(o.ctx(), w, "a-1", now); why != "" || err != nil {
			t.Error(why, err)
		}
		if why, err := s.down(o.ctx(), "a-1", sarah, now); why != "" || err != nil {
			t.Error(why, err)
		}
	}
	if why, _ := s.broken(o.ctx(), w, "b-1", now); why == "" {
		t.Error("two texts find out")
	}
	if why, _ := s.down(o.ctx(), "b-1", sarah, now); why == "" {
		t.Error("two texts find out")
	}
}

// The answer of whoever submitted is better than another sender's guess.
func TestLateAnswerSettlesHeld(t *testing.T) {
	o := open(t, t.TempDir())
	at := make(chan bool)
	d := &desk{answer: func(int, Message) error { <-at; return nil }}
	o.under(d, policy{}, nil)
	c := missed(sarah)
	o.finish(c)
	o.eventually("handed over", func() bool { return len(d.texts()) == 1 })
	// Another sender, whose clock is ahead, takes this one for dead.
	var j Job
	seq, err := read(o.ctx(), o.nc, Stream, jobSubject(jobID(c)), &j)
	if err != nil {
		t.Fatal(err)
	}
	j.State = Held
	m, err := record(jobSubject(j.ID), &j, seq, jobTTL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Publish(context.Background(), o.nc, m); err != nil {
		t.Fatal(err)
	}
	close(at)
	if j := o.jobState(jobID(c), Sent); j.ProviderID == "" {
		t.Errorf("%+v", j)
	}
}

// Nobody is owed a callback who has got through while the provider thought about it.
func TestNoCallbackForWhoHasGotThrough(t *testing.T) {
	o := open(t, t.TempDir())
	at := make(chan bool)
	d := &desk{answer: func(int, Message) error { <-at; return answerOf(Rejected) }}
	o.under(d, policy{}, nil)
	c := missed(sarah)
	o.finish(c)
	o.eventually("handed over", func() bool { return len(d.texts()) == 1 })
	through := missed(sarah)
	through.Outcome, through.Reason, through.Talk = pbx.Answered, "", time.Minute
	through.EndedAt = c.EndedAt.Add(time.Second)
	o.finish(through)
	o.eventually("planned", func() bool { return !o.callerRecord(sarah).GotThrough.IsZero() })
	close(at)
	o.state(c.ID, Failed)
	for _, j := range o.all() {
		if j.Kind == Task {
			t.Errorf("%+v", j)
		}
	}
}

// A later callback that is planned is no reason against an earlier one.
func TestEarlierFollowUpTaskIsPlanned(t *testing.T) {
	o := open(t, t.TempDir())
	after := 48 * time.Hour
	o.under(&desk{}, policy{decide: func(f rules.Facts, d *rules.Decision) {
		due := f.Call.EndedAt.Add(after)
		d.FollowUps = []rules.FollowUp{{DueAt: due, Task: &rules.Task{Owner: "reception", Deadline: due.Add(time.Hour)}}}
		after = time.Hour
	}}, nil)
	c, again := missed(sarah), missed(sarah)
	o.finish(c)
	o.finish(again)
	for _, c := range []*pbx.Call{c, again} {
		o.jobState(strings.TrimSuffix(jobID(c), "1")+"2", Scheduled)
	}
}

// The provider's turns are for texts that can leave: whoever is on a line takes
// none, and a turn that is far off holds up nobody else.
func TestTurns(t *testing.T) {
	o := open(t, t.TempDir())
	r := parsed(t, "0s")
	s, err := NewSender(SenderOptions{NC: o.connect(bus.Sender), Site: "hq", Key: o.key, OptOuts: o.out, Rules: func() Decider { return r },
		Ways: []Way{{Transport: &desk{}, Rate: 0.001}}})
	if err != nil {
		t.Fatal(err)
	}
	live := missed(sarah)
	live.State, live.Outcome, live.Reason, live.EndedAt = pbx.StateAnswered, "", "", time.Time{}
	o.pub.Live(live)
	o.eventually("live", func() bool { all, err := bus.LiveCalls(o.ctx(), o.nc, ""); return err == nil && len(all) == 1 })
	j := &Job{ID: "0123-1", Call: "hq/x", Site: "hq", Caller: o.key.Caller(sarah), To: sarah, Line: "+12125550100", State: Scheduled, First: true,
		CallEndedAt: time.Now(), DueAt: time.Now(), CreatedAt: time.Now(), FreshUntil: time.Now().Add(time.Minute)}
	var again errAgain
	if _, err := s.handOver(o.ctx(), j, 0); !errors.As(err, &again) || s.ways[0].limit.Tokens() < 1 {
		t.Errorf("%v, %v turns are left", err, s.ways[0].limit.Tokens())
	}
	j.To = bob
	if err := s.pace(o.ctx(), j); err != nil {
		t.Error(err)
	}
	if err := s.pace(o.ctx(), j); !errors.As(err, &again) || again.after != maxTurn {
		t.Errorf("%v", err)
	}
	j.Tried = []string{s.ways[0].Name} // refused by the only way, it is that one's turn again
	if err := s.pace(o.ctx(), j); !errors.As(err, &again) || again.after != maxTurn {
		t.Errorf("%v", err)
	}
}

// What turns out to have been sent is part of what was said.
func TestHeldThatWasSentIsInTheConversation(t *testing.T) {
	for name, settle := range map[string]func(o *office, s *Sender, id string) error{
		"by hand": func(o *office, s *Sender, id string) error { return Resolve(o.ctx(), o.nc, id, true, Retention{}) },
		"by a receipt": func(o *office, s *Sender, id string) error {
			return s.Inbox("transport", Traits{}).Receipt(o.ctx(), DeliveryReceipt{MessageID: id, ProviderID: "1", Delivery: EnRoute})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, t.TempDir())
			s := o.under(&desk{answer: func(int, Message) error { return answerOf(Ambiguous) }}, policy{}, nil)
			c := missed(sarah)
			o.finish(c)
			o.state(c.ID, Held)
			if err := settle(o, s, jobID(c)); err != nil {
				t.Fatal(err)
			}
			o.state(c.ID, Sent)
			if said, err := Conversation(o.ctx(), o.nc, o.key.Caller(sarah)); err != nil || len(said) != 1 || said[0].Body == "" {
				t.Errorf("%+v %v", said, err)
			}
		})
	}
}

// Nobody knows whether the first text went out: what follows it waits for the word of a
// person, and goes with it.
func TestFollowUpOfHeld(t *testing.T) {
	for name, sent := range map[string]bool{"it was sent": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := open(t, t.TempDir())
			o.under(&desk{answer: func(n int, _ Message) error {
				if n == 1 {
					return answerOf(Ambiguous)
				}
				return nil
			}}, policy{decide: reminded(time.Second)}, nil)
			c := missed(sarah)
			o.finish(c)
			o.state(c.ID, Held)
			base := strings.TrimSuffix(jobID(c), "1")
			due := o.jobState(base+"2", Scheduled).DueAt
			o.eventually("the follow-up has been looked at", func() bool { return time.Now().After(due.Add(time.Second)) })
			o.jobState(base+"2", Scheduled)
			if err := Resolve(o.ctx(), o.nc, jobID(c), sent, Retention{}); err != nil {
				t.Fatal(err)
			}
			want := Cancelled
			if sent {
				want = Sent
			}
			o.jobState(base+"2", want)
		})
	}
}

// A NATS server elsewhere has a clock of its own: by that a live call is stale or not.
func TestOnLineByTheServersClock(t *testing.T) {
	o := open(t, t.TempDir())
	r := parsed(t, "0s")
	s, err := NewSender(SenderOptions{NC: o.connect(bus.Sender), Site: "hq", Key: o.key, OptOuts: o.out, Rules: func() Decider { return r }, Transport: &desk{},
		Now: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	live := missed(sarah)
	live.State, live.Outcome, live.Reason, live.EndedAt = pbx.StateAnswered, "", "", time.Time{}
	o.pub.Live(live)
	o.eventually("live", func() bool { all, err := bus.LiveCalls(o.ctx(), o.nc, ""); return err == nil && len(all) == 1 })
	if on, err := s.onLine(o.ctx(), &Job{To: sarah, Call: "hq/x"}); !on || err != nil {
		t.Error(on, err)
	}
	if on, err := s.onLine(o.ctx(), &Job{To: bob, Call: "hq/x"}); on || err != nil {
		t.Error(on, err)
	}
}

// A carrier's word that somebody has said stop is on the list before anything says that
// it was heard: a crash in between, or a full disk, has it come again.
func TestOptOutByReceiptIsNotLost(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s := o.under(d, policy{decide: reminded(time.Hour)}, nil)
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Sent)
	r := DeliveryReceipt{MessageID: jobID(c), Delivery: Undelivered, Class: OptedOut, Code: "21610"}
	path := o.out.path
	o.out.path = path + "/no such folder"
	if err := s.Inbox("transport", Traits{}).Receipt(o.ctx(), r); err == nil {
		t.Fatal("stored where it cannot be")
	}
	o.out.path = path
	if err := s.Inbox("transport", Traits{}).Receipt(o.ctx(), r); err != nil {
		t.Fatal(err)
	}
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || !out {
		t.Error(out, err)
	}
	// What was planned ends at once.
	if j := o.all()[strings.TrimSuffix(jobID(c), "1")+"2"]; j.State != Cancelled || j.Why != rules.SaidStop {
		t.Errorf("%+v", j)
	}
}

// The carrier's refusal of somebody who has opted out is not settled before the list has it.
func TestOptOutByRefusalIsNotLost(t *testing.T) {
	o := open(t, t.TempDir())
	path, mended := o.out.path, make(chan struct{})
	o.out.path = path + "/no such folder"
	d := &desk{answer: func(int, Message) error { return answerOf(OptedOut) }}
	o.under(d, policy{}, func(s *SenderOptions) {
		s.Log = slog.New(&onError{f: func() { // tried in vain
			select {
			case <-mended:
			default:
				close(mended)
			}
		}})
	})
	c := missed(sarah)
	o.finish(c)
	<-mended
	if j := o.jobs()[c.ID]; j == nil || j.State != Submitting {
		t.Errorf("%+v", j)
	}
	o.out.mu.Lock()
	o.out.path = path
	o.out.mu.Unlock()
	o.state(c.ID, Failed)
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || !out {
		t.Error(out, err)
	}
}

// onError is a log that tells of errors.
type onError struct {
	slog.Handler
	f func()
}

func (h *onError) Enabled(context.Context, slog.Level) bool { return true }

func (h *onError) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.f()
	}
	return nil
}

func (h *onError) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *onError) WithGroup(string) slog.Handler      { return h }

// A clock that was a year ahead for an hour: nobody is passed over for a year.
func TestClockThatWasAhead(t *testing.T) {
	now := time.Now()
	year := now.AddDate(1, 0, 0)
	c := Caller{OpenedAt: year, FirstTextAt: year, LastTextAt: year, TextFor: year, GotThrough: year, CalledBack: year, RepliedAt: year, HelpedAt: year,
		Machine: "it answers by itself", MachineTill: year, Heard: []Heard{{At: year}, {At: now}}, StopTold: true}
	c.soberly(now)
	if !reflect.DeepEqual(c, Caller{Heard: []Heard{{At: now}}, StopTold: true}) {
		t.Errorf("%+v", c)
	}
	// A PBX whose zone is wrong, and what has just been learned.
	soon := now.Add(14 * time.Hour)
	c = Caller{GotThrough: soon, Machine: takesNoTexts, MachineTill: now.Add(noTextsFor + time.Minute)}
	was := c
	if c.soberly(now); !reflect.DeepEqual(c, was) {
		t.Errorf("%+v", c)
	}
}

// A call back during an attempt that is refused: no second attempt.
func TestCalledBackWhileSubmitting(t *testing.T) {
	o := open(t, t.TempDir())
	c := missed(sarah)
	d := &desk{answer: func(n int, _ Message) error {
		if n > 1 {
			return nil
		}
		back := missed(sarah)
		back.Direction, back.Outcome, back.Reason, back.AnsweredAt, back.Talk = pbx.Outbound, pbx.Answered, "", c.EndedAt.Add(time.Second), 5*time.Second
		back.StartedAt, back.EndedAt = c.EndedAt.Add(time.Second), c.EndedAt.Add(6*time.Second)
		o.finish(back)
		o.eventually("the call back is planned", func() bool {
			var rec Caller
			_, err := read(o.ctx(), o.nc, Stream, callerSubject(o.key.Caller(sarah)), &rec)
			return err == nil && rec.CalledBack.Equal(back.EndedAt)
		})
		return answerOf(Throttled)
	}}
	o.under(d, policy{}, func(s *SenderOptions) { s.RetryPause = time.Millisecond })
	o.finish(c)
	o.state(c.ID, Cancelled)
	if j := o.jobs()[c.ID]; j.Why != rules.CalledBack || len(d.texts()) != 1 {
		t.Errorf("%s, %d attempts", j.Why, len(d.texts()))
	}
}

// What a caller shows who is no number stands neither in the job nor in the log.
func TestOddNumberIsMasked(t *testing.T) {
	var log testkit.Log
	o := open(t, t.TempDir())
	o.under(&desk{}, policy{}, func(s *SenderOptions) { s.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	c := missed("")
	c.Caller.Raw = "+15550143209"
	o.finish(c)
	o.state(c.ID, Suppressed)
	if j := o.jobs()[c.ID]; j.Why != rules.InvalidNumber || strings.Contains(j.Because, "50143") || !strings.Contains(j.Because, "+15*******09") {
		t.Errorf("%s: %s", j.Why, j.Because)
	}
	o.eventually("it is logged", func() bool { return strings.Contains(log.String(), "invalid_number") }) // after it is stored
	if s := log.String(); strings.Contains(s, "50143") {
		t.Error(s)
	}
}
