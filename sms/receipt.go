package sms

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"textback/pbx/bus"
)

// takesNoTexts is why a number is not texted that the provider says takes none. A
// text from it, or time, shows better: numbers are ported, landlines enabled.
const takesNoTexts = "the provider says that this number takes no texts"

const carrierSaysStop = "the carrier says that the caller has opted out"

func pidHash(k Key, transport, pid string) string { return k.hash("pid", transport, pid) }

// pointer leads from a provider's id to our job.
type pointer struct {
	Job string `json:"job"`
}

// indexed has a sent job found by its provider's id.
func (tx *callerTx) indexed(j *Job) {
	if j.ProviderID == "" {
		return
	}
	// Two texts with one id, at a provider that counts in small numbers: the last.
	m := message(pidSubject(pidHash(tx.s.opt.Key, j.Transport, j.ProviderID)), fmt.Appendf(nil, `{"job":%q}`, j.ID), pidTTL)
	tx.also = append(tx.also, m)
}

// unreachable remembers that a number takes no texts, so that it is not texted
// in vain: rules.Facts.Machine carries it.
func (tx *callerTx) unreachable(failed bool, class Class, code string) {
	if !failed || class != NotMobile && class != Invalid {
		return
	}
	tx.Caller.Machine, tx.Caller.MachineTill = takesNoTexts, tx.now.Add(noTextsFor).UTC()
	tx.touch()
}

// receipt stores a provider's word on what became of a text in the job, by compare
// and set; repeated and late ones change nothing. One that comes before our own
// answer is stored waits under textback.v1.sms.early.<hash>, where whoever stores
// that answer looks.
func (b *inbox) receipt(ctx context.Context, r DeliveryReceipt) error {
	r.Code = cleanAddress(r.Code)
	if r.ProviderID == "" && r.MessageID == "" || r.Delivery == "" {
		return nil // about nothing
	}
	if done, err := b.s.receipt(ctx, b.transport, &r); done || err != nil {
		return err
	}
	if err := b.s.park(ctx, b.transport, &r); err != nil {
		return err
	}
	// It may have been stored in between.
	_, err := b.s.receipt(ctx, b.transport, &r)
	return err
}

// receipt stores r in its job. done is false when there is no such job yet.
func (s *Sender) receipt(ctx context.Context, transport string, r *DeliveryReceipt) (done bool, err error) {
	id := r.MessageID
	if !jobToken(id) {
		id = ""
	}
	if id == "" {
		var p pointer
		if _, err := read(ctx, s.opt.NC, Stream, pidSubject(pidHash(s.opt.Key, transport, r.ProviderID)), &p); err != nil {
			return false, err
		}
		id = p.Job
	}
	if id == "" {
		return false, nil
	}
	return s.receiptFor(ctx, transport, id, r)
}

// jobToken reports whether an id that came from outside can be one of ours.
func jobToken(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	return token(id) == id
}

// isAbout reports whether r can be about j's last attempt. A provider echoes our id with
// what became of an attempt that it had refused, too: another transport's word is
// about that, and so is another provider's id where there was one. Of a first attempt,
// other ids are those of later segments.
func (j *Job) isAbout(transport string, r *DeliveryReceipt) bool {
	if j.Transport != "" && j.Transport != transport {
		return false
	}
	return j.Attempt <= 1 || r.ProviderID == "" || j.ProviderID == "" || r.ProviderID == j.ProviderID
}

// carrierStop puts j's caller on the list, because the carrier says that they have opted out.
func (s *Sender) carrierStop(ctx context.Context, j *Job) error {
	return s.opt.OptOuts.set(ctx, OptOut{Key: j.Caller, Out: true, At: s.opt.Now().UTC(), Source: ByCarrier, Number: j.To})
}

func (s *Sender) receiptFor(ctx context.Context, transport, id string, r *DeliveryReceipt) (done bool, err error) {
	err = s.retry(ctx, func() error {
		var j Job
		var learned Class // from a text that could not be delivered
		jseq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &j)
		if err != nil {
			return err
		}
		// Submitting: the answer is being stored; whoever stores it looks for us.
		done = jseq > 0 && j.State != Submitting && j.State != Scheduled
		if !done || j.State != Sent && j.State != Held {
			return nil
		}
		if !j.isAbout(transport, r) {
			if r.Class == OptedOut && r.Delivery == Undelivered { // of the caller it is true all the same
				return s.carrierStop(ctx, &j)
			}
			return nil
		}
		changed := false
		if j.State == Held {
			// The provider speaks of it, so it had taken it.
			s.set(&j, Sent, "", "a receipt shows that the provider took it")
			changed = true
			if j.Kind != Notice && j.Body != "" {
				if err := outgoing(&j).keep(ctx, s.opt.NC); err != nil {
					return err
				}
			}
		}
		if r.ProviderID != "" && j.ProviderID == "" {
			j.ProviderID, changed = r.ProviderID, true
		}
		switch final := j.Delivery == Delivered || j.Delivery == Undelivered; {
		case r.Delivery == EnRoute && !changed: // not worth a write
		case r.Delivery == EnRoute && j.Delivery != "":
		case !final, j.Delivery == Undelivered && r.Delivery == Delivered: // the handset has it after all
			j.Delivery, j.DeliveredAt, changed = r.Delivery, r.At.UTC(), true
			if r.At.IsZero() {
				j.DeliveredAt = s.opt.Now().UTC()
			}
			if r.Delivery != EnRoute {
				j.ProviderCode = cmp.Or(r.Code, j.ProviderCode)
			}
			if r.Delivery == Undelivered {
				j.Why, j.Because, learned = string(r.Class), "the provider could not deliver it", r.Class
			}
		}
		if learned == OptedOut {
			// On the list first: what is stored after it is not asked about again.
			if err := s.carrierStop(ctx, &j); err != nil {
				return err
			}
		}
		if !changed {
			return nil
		}
		j.UpdatedAt = s.opt.Now().UTC()
		return s.withCallerOnce(ctx, j.Caller, func(tx *callerTx) error {
			t := tx.job(&j, jseq)
			tx.put(t)
			tx.indexed(t)
			tx.unreachable(learned != "", learned, t.ProviderCode)
			if learned == OptedOut {
				tx.optedOut(carrierSaysStop)
			}
			if learned != "" && learned != OptedOut && t.Kind == Text && !t.FollowUp && !tx.reached(t) && !tx.RepliedAt.After(t.CallEndedAt) {
				s.owe(tx, t, "", time.Time{}, "the text was not delivered")
			}
			if t.Delivery == Delivered || t.Delivery == Undelivered {
				e, err := happenedAs(t, State(t.Delivery), s.opt.Retention.numbers())
				if err != nil {
					return err
				}
				tx.also = append(tx.also, e)
			}
			return nil
		})
	})
	return done, err
}

// park keeps a receipt whose text is not known yet. Several of them: the last
// word that is final.
func (s *Sender) park(ctx context.Context, transport string, r *DeliveryReceipt) error {
	for _, subject := range s.earlySubjects(transport, r.ProviderID, r.MessageID) {
		err := s.retry(ctx, func() error {
			var have DeliveryReceipt
			seq, err := read(ctx, s.opt.NC, Stream, subject, &have)
			if err != nil {
				return err
			}
			if have.Delivery == Delivered || have.Delivery == Undelivered && r.Delivery != Delivered || have.Delivery == EnRoute && r.Delivery == EnRoute {
				return nil
			}
			m, err := record(subject, r, seq, earlyTTL)
			if err != nil {
				return err
			}
			_, err = bus.Publish(ctx, s.opt.NC, m)
			return err
		})
		if err != nil {
			return fmt.Errorf("keep a receipt that came early: %w", err)
		}
	}
	return nil
}

func (s *Sender) earlySubjects(transport, pid, job string) (out []string) {
	if pid != "" {
		out = append(out, earlySubject(pidHash(s.opt.Key, transport, pid)))
	}
	if jobToken(job) {
		out = append(out, earlySubject(s.opt.Key.hash("job", transport, job)))
	}
	return out
}

// settled does what follows the storing of a text's fate, and again when its
// wake-up comes again: its words join the conversation, and a receipt that came
// early is heard.
func (s *Sender) settled(ctx context.Context, j *Job) error {
	if j.State != Sent && j.State != Held {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if j.State == Sent && j.Kind != Notice && j.Body != "" {
		if err := outgoing(j).keep(ctx, s.opt.NC); err != nil {
			return err
		}
	}
	for _, subject := range s.earlySubjects(j.Transport, j.ProviderID, j.ID) {
		var r DeliveryReceipt
		seq, err := read(ctx, s.opt.NC, Stream, subject, &r)
		if err != nil {
			return err
		}
		if seq > 0 {
			if _, err := s.receiptFor(ctx, j.Transport, j.ID, &r); err != nil {
				return err
			}
		}
	}
	return nil
}
