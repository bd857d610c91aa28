package sms

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx"
	"textback/pbx/bus"
)

func answered(c *pbx.Call) *pbx.Call {
	c.Outcome, c.Reason, c.Talk = pbx.Answered, "", time.Second
	return c
}

// A process was killed with a call in hand: one that got through. Planning what
// came later must not pass for having planned everything.
func TestCallInHandOfADeadProcess(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	o.sender("1m", d, nil)
	pending := o.finish(missed(sarah))
	o.state(pending, Scheduled)
	last := len(o.stops) - 1
	o.stops[last]()
	o.stops = o.stops[:last]

	o.finish(answered(missed(sarah)))
	o.eventually("stored", func() bool { return o.pub.Backlog() == 0 })
	js, err := jetstream.New(o.nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := bus.PlannerConsumer()
	cfg.AckWait = 3 * time.Second
	planner, err := js.UpdateConsumer(o.ctx(), bus.CallsStream, cfg)
	if err != nil {
		t.Fatal(err)
	}
	inHand, err := planner.Fetch(1)
	if err != nil {
		t.Fatal(err)
	}
	if m := <-inHand.Messages(); m == nil {
		t.Fatal(inHand.Error())
	}
	later := o.finish(missed(bob))
	var clock ahead
	clock.set(2 * time.Minute) // both are due
	o.sender("1m", d, func(s *SenderOptions) { s.Now = clock.now })
	o.state(pending, Cancelled)
	o.state(later, Sent)
	if got := d.texts(); len(got) != 1 || got[0].To != bob {
		t.Errorf("%+v", got)
	}
}

// A call that got through is told late, after a newer missed call has its text.
// It does not open the way for a second one.
func TestGotThroughIsToldLate(t *testing.T) {
	for name, delay := range map[string]string{"text on its way": "1m", "text sent": "0s"} {
		t.Run(name, func(t *testing.T) {
			o, d := open(t, t.TempDir()), &desk{}
			var clock ahead
			s := o.sender(delay, d, func(s *SenderOptions) { s.Now = clock.now })
			through := answered(missed(sarah))
			through.EndedAt = through.EndedAt.Add(-time.Minute)
			call := missed(sarah)
			first := o.finish(call)
			if delay == "0s" {
				o.state(first, Sent)
			} else {
				o.state(first, Scheduled)
			}
			o.finish(through)
			o.eventually("it is planned", func() bool { return o.callerRecord(sarah).GotThrough.Equal(through.EndedAt) })
			clock.set(2 * time.Minute)
			s.bring(o.ctx(), jobID(call), s.step) // its timer, ahead of the wall clock
			o.state(first, Sent)
			o.state(o.finish(missed(sarah)), Suppressed)
			if got := d.texts(); len(got) != 1 {
				t.Errorf("%d texts", len(got))
			}
		})
	}
}

// A job was stored as submitting, and NATS went away before the sender knew.
// Nobody has submitted it: the same process must, if nothing stands against it now.
func TestSubmittingWithoutKnowing(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s := o.sender("10m", d, nil)
	stored := func(call string) {
		o.state(call, Scheduled)
		j := o.jobs()[call]
		seq, err := read(o.ctx(), o.nc, Stream, jobSubject(j.ID), j)
		if err != nil {
			t.Fatal(err)
		}
		j.State, j.Owner, j.Attempt, j.SubmittedAt, j.DueAt = Submitting, s.owner, 1, time.Now(), time.Now()
		m, err := record(jobSubject(j.ID), j, seq, jobTTL)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*nats.Msg{m, message(dueSubject(j.ID), nil, dueTTL)} {
			if _, err := bus.Publish(o.ctx(), o.nc, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	fine := o.finish(missed(sarah))
	stop := o.finish(missed(bob))
	o.state(stop, Scheduled)
	// On the list alone: Set would end the text before it could be stored as submitting.
	if err := o.out.set(o.ctx(), OptOut{Key: o.key.Caller(bob), Out: true, At: time.Now().UTC(), Source: ByAdmin, Number: bob}); err != nil {
		t.Fatal(err)
	}
	stored(fine)
	stored(stop)
	o.state(fine, Sent)
	o.state(stop, Cancelled)
	if got := d.texts(); len(got) != 1 || got[0].To != sarah {
		t.Errorf("%+v", got)
	}
}
