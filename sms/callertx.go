package sms

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/bus"
)

// A callerTx is one caller's record and open jobs, read together, and what
// shall be stored of them in one batch.
type callerTx struct {
	Caller
	Key  string
	Open []*Job // jobs of Caller.Open and Caller.Tasks, oldest first

	s       *Sender
	now     time.Time
	seqs    map[string]uint64
	changed []*Job
	dirty   bool
	budgets budgets // as the guards saw them
	also    []*nats.Msg
}

// withCaller gives f a caller and stores what f changed, all or nothing. f runs
// again, on what is there then, when somebody else was faster. Nothing is
// stored when f changed nothing.
func (s *Sender) withCaller(ctx context.Context, key string, f func(tx *callerTx) error) error {
	return s.retry(ctx, func() error { return s.withCallerOnce(ctx, key, f) })
}

// withCallerOnce is withCaller that answers bus.ErrWrongSequence when somebody
// else was faster.
func (s *Sender) withCallerOnce(ctx context.Context, key string, f func(tx *callerTx) error) error {
	tx := &callerTx{Key: key, s: s, now: s.opt.Now(), seqs: map[string]uint64{}}
	cseq, err := uint64(0), error(nil)
	if key != "" { // a caller who shows no number is nobody that anything is remembered of
		if cseq, err = s.readCaller(ctx, key, &tx.Caller, tx.now); err != nil {
			return err
		}
	}
	for _, id := range slices.Concat(tx.Caller.Open, tx.Caller.Tasks) {
		var j Job
		seq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &j)
		if s.unreadableText(id, err) {
			seq, err = 0, nil
		}
		if err != nil {
			return err
		}
		if seq == 0 { // its record has aged out, or is lost
			tx.Caller.closed(&Job{ID: id})
			continue
		}
		tx.seqs[id] = seq
		tx.Open = append(tx.Open, &j)
	}
	if err := f(tx); err != nil || !tx.dirty && len(tx.changed) == 0 && len(tx.also) == 0 {
		return err
	}
	msgs := tx.also
	for _, j := range tx.changed {
		part, err := s.jobMsgs(j, tx.seqs[j.ID])
		if err != nil {
			return err
		}
		msgs = append(msgs, part...)
	}
	if key != "" {
		m, err := record(callerSubject(key), &tx.Caller, cseq, callerTTL)
		if err != nil {
			return err
		}
		msgs = append(msgs, m)
	}
	if _, err := bus.Batch(ctx, s.opt.NC, msgs...); err != nil {
		return err
	}
	for _, j := range tx.changed {
		s.told(j)
	}
	return nil
}

// knownSince notes that the caller was heard of at t.
func (tx *callerTx) knownSince(t time.Time) {
	if tx.KnownSince.IsZero() || t.Before(tx.KnownSince) {
		tx.KnownSince = t
		tx.touch()
	}
}

// touch has the caller's record stored.
func (tx *callerTx) touch() { tx.dirty = true }

// set brings a job into another state.
func (tx *callerTx) set(j *Job, st State, why, because string) {
	tx.s.set(j, st, why, because)
	tx.put(j)
}

// put has a job stored as it stands.
func (tx *callerTx) put(j *Job) {
	if !j.Open() && j.State != Waiting {
		tx.Caller.closed(j)
	}
	if !slices.Contains(tx.changed, j) {
		tx.changed = append(tx.changed, j)
	}
}

// add has a new job stored, and woken when it is due. It must not exist yet.
func (tx *callerTx) add(j *Job) {
	tx.changed = append(tx.changed, j)
	switch j.State {
	case Scheduled:
		tx.Caller.Open = append(tx.Caller.Open, j.ID)
		tx.also = append(tx.also, wakeAt(j, tx.now))
	case Waiting:
		tx.Caller.Tasks = append(tx.Caller.Tasks, j.ID)
		if !j.Deadline.IsZero() {
			tx.also = append(tx.also, timer(j.ID, j.Deadline))
		}
	}
}

// wakeAt makes the message that wakes a job at its due time: a schedule, or
// the hint itself when that is past, for which a schedule takes 250 ms.
func wakeAt(j *Job, now time.Time) *nats.Msg {
	if j.DueAt.After(now) {
		return timer(j.ID, j.DueAt)
	}
	return message(dueSubject(j.ID), nil, dueTTL)
}
