package sms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"textback/rules"
)

var (
	mobile = rules.Staff{Name: "boss", Text: "+12025550199"}
	both   = rules.Staff{Name: "desk", Email: "desk@example.com", Webhook: "https://hook.example/x"}
)

func (o *office) notices(st State) (out []*Job) {
	for _, j := range o.all() {
		if j.Kind == Notice && j.State == st {
			out = append(out, j)
		}
	}
	return out
}

// A rule's notify, a task and its lateness reach staff by every way they have, once.
func TestStaffIsTold(t *testing.T) {
	o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
	o.under(d, policy{decide: func(f rules.Facts, x *rules.Decision) {
		x.Notify = []string{"desk", "boss", "nobody", "desk"}
		x.Tags = []string{"sales"}
		x.Task = &rules.Task{Owner: "desk", Deadline: time.Now().Add(700 * time.Millisecond)}
	}}, staffed(b, both, mobile))
	c := missed(sarah)
	for range 3 {
		o.finish(c)
	}
	o.eventually("all told", func() bool { return len(b.rung()) == 6 && len(d.texts()) == 2 })
	by := map[string]int{}
	for _, n := range b.rung() {
		by[n.Channel+" "+string(n.Word)]++
		if n.To.Name != "desk" || n.Number != sarah || n.Line != c.Line.Number {
			t.Errorf("%+v", n)
		}
		if n.Word == CallMissed && (!strings.Contains(n.Subject, sarah) || !strings.Contains(n.Body, "sales")) {
			t.Errorf("%+v", n)
		}
	}
	if len(by) != 6 {
		t.Errorf("%v", by)
	}
	o.eventually("the boss's text", func() bool { return len(o.notices(Sent)) == 1 })
	o.eventually("the caller's is kept", func() bool { return len(o.said(sarah, SaidOut)) > 0 })
	for _, m := range d.texts() {
		if m.To == mobile.Text && (m.Body != "Missed call "+c.EndedAt.Format("15:04")+": "+sarah+" on +12125550100" || m.From == "") {
			t.Errorf("%+v", m)
		}
	}
	// A text to staff is none of the caller's.
	if got := o.said(sarah, SaidOut); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// Staff calls back whom no text goes to: they are told who it was.
func TestCallWithoutTextNamesTheCaller(t *testing.T) {
	o, b := open(t, t.TempDir()), &bell{}
	o.under(&desk{}, policy{decide: func(f rules.Facts, d *rules.Decision) {
		d.Send, d.Suppressed, d.Because = false, rules.RuleSaysNo, "rule sends nothing"
		d.Notify, d.Task = []string{"front"}, &rules.Task{Owner: "front", Deadline: f.Call.EndedAt.Add(time.Hour)}
	}}, staffed(b, front))
	c := missed(sarah)
	o.finish(c)
	o.eventually("told of both", func() bool { return len(b.rung()) == 2 })
	for _, x := range b.rung() {
		if !strings.Contains(x.Subject, sarah) || x.Number != sarah {
			t.Errorf("%+v", x)
		}
	}
	if j := o.jobState(strings.TrimSuffix(jobID(c), "1")+"t", Waiting); j.To != sarah {
		t.Errorf("%+v", j)
	}
}

// A mail server that is away for a while, one that refuses, and one that hangs: no
// text waits for it, and nothing is lost.
func TestStaffCannotBeTold(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	hang := make(chan struct{})
	b := &bell{}
	b.answer = func(n int, x Notification) error {
		switch {
		case x.Channel == ByStaffHook:
			return &Error{Class: Rejected, Err: errors.New("gone")}
		case n < 3:
			return &Error{Class: Transient, Err: errors.New("away")}
		}
		return nil
	}
	var mu sync.Mutex
	var skew time.Duration
	s := o.under(d, policy{}, func(s *SenderOptions) {
		staffed(b, both)(s)
		s.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(skew) }
	})
	o.give(s.Inbox("desk", Traits{}), inboundText("1", sarah, "hello"))
	o.eventually("refused for good", func() bool { return len(o.notices(Failed)) == 1 })
	o.eventually("to be tried again", func() bool {
		j := o.notices(Scheduled)
		return len(j) == 1 && j[0].Attempt == 1 && j[0].DueAt.After(j[0].UpdatedAt.Add(5*time.Second))
	})
	for n := 2; n <= 3; n++ {
		mu.Lock()
		skew += time.Minute
		mu.Unlock()
		j := append(o.notices(Scheduled), o.notices(Done)...)
		if len(j) != 1 {
			t.Fatalf("%+v", j)
		}
		// The timer would fire in its own time; this is what it says.
		for _, job := range j {
			if err := s.toStaff(o.ctx(), job.ID); err != nil {
				t.Fatal(err)
			}
		}
		want := n
		o.eventually("tried again", func() bool {
			j := append(o.notices(Scheduled), o.notices(Done)...)
			return len(j) == 1 && j[0].Attempt == want || len(o.notices(Done)) == 1
		})
	}
	o.eventually("told", func() bool { return len(o.notices(Done)) == 1 })
	// All tellers hang; a missed call is texted all the same.
	b.mu.Lock()
	b.answer = func(int, Notification) error { b.mu.Unlock(); <-hang; b.mu.Lock(); return nil }
	b.mu.Unlock()
	defer close(hang)
	for i := range 12 {
		o.give(s.Inbox("desk", Traits{}), inboundText(fmt.Sprint("h", i), fmt.Sprintf("+120255502%02d", i), "hello"))
	}
	c := missed(bob)
	c.EndedAt = c.EndedAt.Add(skew)
	o.finish(c)
	o.state(c.ID, Sent)
}

// A storm does not flood staff: what is more than a few comes as one digest, and
// everything is in it or was told.
func TestDigest(t *testing.T) {
	o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
	// The window begins and ends when the test says so: how long all of this takes is the machine's business.
	var clock atomic.Int64
	began := time.Now()
	s := o.under(d, policy{}, func(s *SenderOptions) {
		staffed(b, front, mobile)(s)
		s.Notices.Limit, s.Notices.Window = 3, 2*time.Second
		s.Now = func() time.Time { return began.Add(time.Duration(clock.Load())) }
	})
	const n = 25
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			o.give(s.Inbox("desk", Traits{}), inboundText(fmt.Sprint(i), fmt.Sprintf("+120255503%02d", i), "hello"))
		}()
	}
	wg.Wait()
	told := func() (lines, mails int) {
		for _, x := range b.rung() {
			mails++
			if x.Word == ManyThings {
				lines += strings.Count(x.Body, "\n")
			} else {
				lines++
			}
		}
		return lines, mails
	}
	o.eventually("the rest waits in digests", func() bool {
		for _, j := range append(o.notices(Scheduled), o.notices(Submitting)...) {
			if j.Count == 0 {
				return false
			}
		}
		return true
	})
	clock.Store(int64(3 * time.Second))
	o.eventually("all of it is told", func() bool { lines, _ := told(); return lines >= n })
	o.eventually("nothing waits", func() bool { return len(o.notices(Scheduled))+len(o.notices(Submitting)) == 0 })
	lines, mails := told()
	if lines != n || mails != 3+1 {
		t.Errorf("%d lines in %d mails", lines, mails)
	}
	texts := 0
	for _, m := range d.texts() {
		if m.To == mobile.Text {
			if texts++; m.From != "+12125550100" {
				t.Errorf("from %q: %s", m.From, m.Body)
			}
		}
	}
	if texts != 3+1 {
		t.Errorf("%d texts to the boss", texts)
	}
}

// Whoever wants to be forgotten goes out of a digest that is still to come; the others
// stay in it, and nobody's export shows them.
func TestForgottenInADigest(t *testing.T) {
	o, b := open(t, t.TempDir()), &bell{}
	s := o.under(&desk{}, policy{}, func(s *SenderOptions) {
		staffed(b, front)(s)
		s.Notices.Limit, s.Notices.Window = 1, 30*24*time.Hour // not while the test runs, but for once in a month
	})
	numbers := []string{"+12025550301", "+12025550302", "+12025550303", "+12025550304"}
	for i, n := range numbers {
		o.give(s.Inbox("desk", Traits{}), inboundText(fmt.Sprint(i), n, "hello"))
	}
	var d *Job
	o.eventually("a digest", func() bool {
		for _, j := range o.notices(Scheduled) {
			d = j
		}
		return d != nil && d.Count == 3
	})
	lines := slices.Collect(strings.Lines(d.Body))
	who := numbers[slices.IndexFunc(numbers, func(n string) bool { return strings.Contains(lines[1], n) })]
	k, err := Export(o.ctx(), o.nc, o.key, who)
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(k.Texts, func(j *Job) bool { return j.ID == d.ID }); i < 0 || k.Texts[i].Body != lines[1] {
		t.Errorf("%d: %+v", i, k.Texts)
	}
	if _, err := Forget(o.ctx(), o.nc, o.key, who); err != nil {
		t.Fatal(err)
	}
	if j := o.all()[d.ID]; j.State != Scheduled || j.Body != lines[0]+lines[2] {
		t.Errorf("%+v", j)
	}
}

// A notice that was with the mail server when the process died is told again; a
// text to a mobile never twice.
func TestNoticesOverAKill(t *testing.T) {
	dir, d, b := t.TempDir(), &desk{}, &bell{}
	o := open(t, dir)
	now := time.Now().UTC()
	for ch, j := range map[string]*Job{
		ByEmail:      {ID: "x-n1", Staff: "front"},
		ByMobileText: {ID: "x-n2", Staff: "boss", To: mobile.Text, From: "+12125550100", Transport: "transport"},
	} {
		j.Kind, j.Channel, j.State, j.Owner, j.Attempt, j.SubmittedAt, j.Body, j.Message = Notice, ch, Submitting, "a dead one", 1, now, "news", string(ReplyCame)
		j.FreshUntil, j.DueAt, j.CreatedAt, j.Caller = now.Add(time.Hour), now, now, o.key.Caller(mobile.Text)
		s := &Sender{opt: SenderOptions{Now: time.Now}}
		msgs, err := s.jobMsgs(j, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			if _, err := o.nc.RequestMsg(m, 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.under(d, policy{}, staffed(b, front, mobile))
	o.jobState("x-n1", Done)
	o.jobState("x-n2", Held)
	if len(d.texts()) != 0 || len(b.rung()) != 1 {
		t.Errorf("%d texts, %d mails", len(d.texts()), len(b.rung()))
	}
}

func TestHeldTextIsTold(t *testing.T) {
	o, b := open(t, t.TempDir()), &bell{}
	d := &desk{answer: func(int, Message) error { return &Error{Class: Ambiguous, Err: errors.New("no answer")} }}
	o.under(d, policy{}, staffed(b, front))
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Held)
	o.eventually("told", func() bool { return len(b.rung()) == 1 })
	if got := b.rung()[0]; got.Word != TextHeld || !strings.Contains(got.Body, jobID(c)) {
		t.Errorf("%+v", got)
	}
}
