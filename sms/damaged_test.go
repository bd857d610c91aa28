package sms

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/bus"
	"textback/pbx/testkit"
	"textback/rules"
)

// damage stores what no record is.
func (o *office) damage(subject string) {
	o.t.Helper()
	if _, err := bus.Publish(o.ctx(), o.nc, &nats.Msg{Subject: subject, Data: []byte(`{"calls":"thr`)}); err != nil {
		o.t.Fatal(err)
	}
}

// A caller whose record cannot be read gets no text, since it may have said that
// they had one; all others get theirs.
func TestDamagedCaller(t *testing.T) {
	o := open(t, t.TempDir())
	k := o.key.Caller(sarah)
	o.damage(callerSubject(k))
	due := &Job{ID: "abc-1", Call: "hq/before", Site: "hq", Caller: k, To: sarah, State: Scheduled, Body: "hello", Segments: 1,
		CallEndedAt: time.Now(), DueAt: time.Now(), FreshUntil: time.Now().Add(time.Hour)}
	o.store(jobSubject(due.ID), due)
	if _, err := bus.Publish(o.ctx(), o.nc, message(dueSubject(due.ID), nil, dueTTL)); err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	o.sender("0s", d, nil)
	first := o.finish(missed(sarah))
	other := o.finish(missed(bob))
	o.state(other, Sent)
	o.state(first, Suppressed)
	o.jobState(due.ID, Cancelled)
	for _, j := range []*Job{o.jobs()[first], o.all()[due.ID]} {
		if j.Why != rules.Machine || !strings.Contains(j.Because, unreadable) {
			t.Errorf("job %s: %s, %s", j.ID, j.Why, j.Because)
		}
	}
	if rec := o.callerRecord(sarah); rec.Calls != 1 || rec.MachineTill.IsZero() {
		t.Errorf("the record is not begun anew: %+v", rec)
	}
	for _, m := range d.texts() {
		if m.To != bob {
			t.Errorf("a text to %s", m.To)
		}
	}
}

// By hand a caller whose record cannot be read can still be put on the list of
// opt-outs, exported and forgotten.
func TestDamagedCallerByHand(t *testing.T) {
	for name, do := range map[string]func(o *office) error{
		"opt-out": func(o *office) error { return o.out.Set(o.ctx(), sarah, true, "test") },
		"export": func(o *office) error {
			_, err := Export(o.ctx(), o.nc, o.key, sarah)
			return err
		},
		"forget": func(o *office) error {
			_, err := Forget(o.ctx(), o.nc, o.key, sarah)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, t.TempDir())
			o.damage(callerSubject(o.key.Caller(sarah)))
			if err := do(o); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A text whose record cannot be read is left alone; its caller's next call is
// decided like any other.
func TestDamagedText(t *testing.T) {
	o := open(t, t.TempDir())
	o.damage(jobSubject("abc-1"))
	o.store(callerSubject(o.key.Caller(sarah)), &Caller{Open: []string{"abc-1"}})
	if _, err := bus.Publish(o.ctx(), o.nc, message(dueSubject("abc-1"), nil, dueTTL)); err != nil {
		t.Fatal(err)
	}
	o.sender("0s", &desk{}, nil)
	o.finish(missed(sarah))
	o.eventually("planned, and nothing waits", func() bool {
		rec := o.callerRecord(sarah)
		return rec.Calls == 1 && len(rec.Open) == 0
	})
	if err := Jobs(o.ctx(), o.nc, func(*Job) {}); err == nil || !strings.Contains(err.Error(), jobSubject("abc-1")) {
		t.Errorf("the list says: %v", err)
	}
}

// Only a text's own record makes it hopeless: while another that it needs cannot be
// read, the text waits.
func TestDamagedBesideAText(t *testing.T) {
	o := open(t, t.TempDir())
	k := o.key.Caller(sarah)
	o.damage(optOutSubject(k))
	due := &Job{ID: "abc-1", Call: "hq/before", Site: "hq", Caller: k, To: sarah, State: Scheduled, Body: "hello", Segments: 1,
		CallEndedAt: time.Now(), DueAt: time.Now(), FreshUntil: time.Now().Add(time.Hour)}
	o.store(jobSubject(due.ID), due)
	if _, err := bus.Publish(o.ctx(), o.nc, message(dueSubject(due.ID), nil, dueTTL)); err != nil {
		t.Fatal(err)
	}
	var log testkit.Log
	o.sender("0s", &desk{}, func(s *SenderOptions) { s.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	o.eventually("it is tried", func() bool { return strings.Contains(log.String(), "could not be looked at") })
	if strings.Contains(log.String(), "left alone") {
		t.Error(log.String())
	}
	if err := o.out.publish(o.ctx(), OptOut{Key: k, At: time.Now().UTC(), Source: ByAdmin}, anySeq); err != nil {
		t.Fatal(err)
	}
	o.jobState(due.ID, Sent)
}
