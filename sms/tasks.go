package sms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/rules"
)

// planBeside plans what the rule wants beside the first text: follow-ups, a
// callback, word to staff. It happens whether a text is sent or not, once for a
// fresh call; of a stale one the callback alone is left.
func (s *Sender) planBeside(tx *callerTx, c *pbx.Call, first *Job, d *rules.Decision) {
	base := event.CallToken(c)
	if d.Task != nil {
		first.TaskOwner = d.Task.Owner
	} else if len(d.Notify) > 0 {
		first.TaskOwner = d.Notify[0]
	} else if d.Owed != nil {
		first.TaskOwner = d.Owed.Owner
	}
	step := 2
	for _, fu := range d.FollowUps {
		// Who calls again and again is owed one callback: the one that is planned.
		if fu.Task != nil && slices.ContainsFunc(tx.Open, func(j *Job) bool {
			return j.Kind == Task && j.State == Scheduled && j.TaskOwner == fu.Task.Owner && !j.DueAt.After(fu.DueAt)
		}) {
			continue
		}
		j := s.newJob(tx, c, fmt.Sprintf("%s-%d", base, step), d)
		step++
		j.FollowUp, j.DueAt = true, fu.DueAt.UTC()
		j.FreshUntil = fu.DueAt.Add(d.Fresh)
		if fu.Task != nil {
			j.Kind, j.TaskOwner, j.Deadline = Task, fu.Task.Owner, fu.Task.Deadline.UTC()
			first.TaskOwner = cmp.Or(first.TaskOwner, fu.Task.Owner)
		} else {
			j.From, j.Body, j.Segments, j.Message, j.Language = first.From, fu.Body, fu.Segments, fu.Message, d.Language
			j.Cost = int64(fu.Cost)
		}
		s.set(j, Scheduled, "", "")
		if d.Shadow {
			s.set(j, Shadow, "shadow", "mode is shadow: decided and recorded, not done")
		}
		tx.add(j)
	}
	switch {
	case d.Shadow:
	case d.Task != nil:
		s.owe(tx, first, d.Task.Owner, d.Task.Deadline, "rule "+d.Rule+" asks for a call back")
	case d.Owed != nil:
		s.owe(tx, first, "", d.Owed.Deadline, first.Because)
	}
	if !d.Shadow {
		tx.tell(d.Notify, CallMissed, first)
	}
}

// owe adds the task to call a caller back, unless one is owed already.
func (s *Sender) owe(tx *callerTx, about *Job, owner string, deadline time.Time, because string) {
	if tx.owed(owner) {
		return
	}
	base := strings.TrimRight(about.ID, "0123456789")
	id := base + "t"
	if about.FollowUp {
		id += about.ID[len(base):]
	}
	if s.exists(id) {
		return // it was owed for this very call, and is settled
	}
	if deadline.IsZero() {
		deadline = tx.now.Add(rules.OwedWithin)
	}
	t := &Job{ID: id, Kind: Task, Call: about.Call, Site: about.Site, Caller: tx.Key, To: about.To, Line: about.Line, Rule: about.Rule,
		RulesVersion: about.RulesVersion, CallEndedAt: about.CallEndedAt, CreatedAt: tx.now.UTC(), TaskOwner: cmp.Or(owner, about.TaskOwner),
		Deadline: deadline.UTC(), Tags: about.Tags}
	s.set(t, Waiting, "", because)
	tx.add(t)
	s.tellOwner(tx, t)
}

// owed tells whether owner has to call this caller back already; no owner: anybody.
func (tx *callerTx) owed(owner string) bool {
	return slices.ContainsFunc(tx.Open, func(j *Job) bool {
		return j.Kind == Task && j.State == Waiting && (owner == "" || j.TaskOwner == owner)
	})
}

// reached tells whether the caller and the office have talked since j's call.
func (tx *callerTx) reached(j *Job) bool {
	return tx.GotThrough.After(j.CallEndedAt) || tx.CalledBack.After(j.CallEndedAt)
}

// tellOwner has a task's owner told of it.
func (s *Sender) tellOwner(tx *callerTx, t *Job) {
	word := TaskOpened
	if t.Late {
		word = TaskLate
	}
	if t.TaskOwner != "" {
		tx.tell([]string{t.TaskOwner}, word, t)
	}
}

// stepTask brings a task on: a planned one opens, an open one becomes late.
func (s *Sender) stepTask(ctx context.Context, j *Job, jseq uint64, now time.Time) error {
	at := j.DueAt
	if j.State == Waiting {
		at = j.Deadline
	}
	switch {
	case j.State != Scheduled && j.State != Waiting, j.State == Waiting && (j.Late || j.Deadline.IsZero()):
		return nil
	case at.After(now.Add(5 * time.Millisecond)):
		return errAgain{at.Sub(now)}
	}
	if j.State == Scheduled {
		// A call that got through by then must have been planned before this opens.
		if err := s.caughtUp(ctx, j.DueAt); err != nil {
			return err
		}
	}
	return s.withCallerOnce(ctx, j.Caller, func(tx *callerTx) error {
		t := tx.job(j, jseq)
		if t.State == Waiting {
			t.Late = true
			tx.set(t, Waiting, "late", "nobody has called back by the deadline")
			s.tellOwner(tx, t)
			return nil
		}
		if tx.reached(t) {
			tx.set(t, Cancelled, rules.Reached, "the caller has been reached")
			return nil
		}
		if tx.RepliedAt.After(t.CreatedAt) {
			tx.set(t, Cancelled, rules.Replied, "the caller has replied: that conversation goes on")
			return nil
		}
		if tx.owed(t.TaskOwner) {
			tx.set(t, Cancelled, rules.Duplicate, "a callback is owed already")
			return nil
		}
		tx.Caller.Open = slices.DeleteFunc(tx.Caller.Open, func(id string) bool { return id == t.ID })
		tx.Caller.Tasks = append(tx.Caller.Tasks, t.ID)
		tx.set(t, Waiting, "", "the caller has not been reached")
		tx.also = append(tx.also, timer(t.ID, t.Deadline))
		s.tellOwner(tx, t)
		return nil
	})
}

// job is j as one of the transaction's jobs, to be stored on version seq.
func (tx *callerTx) job(j *Job, seq uint64) *Job {
	tx.seqs[j.ID] = seq
	for i, have := range tx.Open {
		if have.ID == j.ID {
			tx.Open[i] = j
			return j
		}
	}
	tx.Open = append(tx.Open, j)
	return j
}

// ErrOver is the answer to ending a job that has ended.
var ErrOver = errors.New("the job is over")

// End ends a job by hand: a planned text or task is cancelled, an open task is done.
// keep is how long the event of it may be kept, for it names the number.
func End(ctx context.Context, nc *nats.Conn, id, by string, keep Retention) error {
	for {
		var j Job
		seq, err := read(ctx, nc, Stream, jobSubject(id), &j)
		switch {
		case err != nil:
			return err
		case seq == 0:
			return fmt.Errorf("job %s: %w", id, bus.ErrNotFound)
		case j.State != Scheduled && j.State != Waiting:
			return fmt.Errorf("job %s is %s: %w", id, j.State, ErrOver)
		}
		j.Why, j.Because, j.UpdatedAt = "by_hand", "ended by "+by, time.Now().UTC()
		owed := j.State == Waiting // what has not opened yet was asked of nobody
		if j.State = Cancelled; owed && by != "" {
			j.State = Done
		}
		if err = putByHand(ctx, nc, &j, seq, keep); err == nil || !errors.Is(err, bus.ErrWrongSequence) {
			return err
		}
	}
}

// putByHand stores a job that was ended by hand, on version seq, and what that
// means to its caller.
func putByHand(ctx context.Context, nc *nats.Conn, j *Job, seq uint64, keep Retention) error {
	m, err := record(jobSubject(j.ID), j, seq, jobTTL)
	if err != nil {
		return err
	}
	e, err := happenedAs(j, j.State, keep.numbers())
	if err != nil {
		return err
	}
	msgs := []*nats.Msg{m, e}
	if j.Caller != "" {
		var c Caller
		cseq, err := readCaller(ctx, nc, j.Caller, &c, time.Now())
		if err != nil {
			return err
		}
		c.closed(j)
		cm, err := record(callerSubject(j.Caller), &c, cseq, callerTTL)
		if err != nil {
			return err
		}
		msgs = append(msgs, cm)
	}
	_, err = bus.Batch(ctx, nc, msgs...)
	return err
}
