package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx/bus"
	"textback/pbx/event"
)

// Retention is how long what was written, and to whom, is remembered. Opt-outs
// are kept for ever.
type Retention struct {
	Bodies  time.Duration // words of texts either way (30 days)
	Numbers time.Duration // phone numbers in calls, texts and events (90 days)
}

// What is kept by default.
const (
	DefaultBodies  = 30 * 24 * time.Hour
	DefaultNumbers = 90 * 24 * time.Hour
)

func (r Retention) numbers() time.Duration {
	if r.Numbers == 0 {
		return DefaultNumbers
	}
	return r.Numbers
}

// bodies are never kept longer than the numbers they belong to.
func (r Retention) bodies() time.Duration {
	b := r.Bodies
	if b == 0 {
		b = DefaultBodies
	}
	return min(b, r.numbers())
}

const retainEvery = time.Hour

// retain forgets, every hour, what is older than it may be. Streams and TTLs do
// most of that; jobs outlive their words.
func (s *Sender) retain(ctx context.Context) {
	t := time.NewTicker(retainEvery)
	defer t.Stop()
	for {
		if err := s.forgetOld(ctx); err != nil && ctx.Err() == nil {
			s.opt.Log.Error("old words and numbers could not be forgotten; tried again in an hour", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (s *Sender) forgetOld(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	now, keep := s.opt.Now(), s.opt.Retention
	var ids []string
	if err := Jobs(ctx, s.opt.NC, func(j *Job) {
		c := *j
		if c.scrub(now, keep) {
			ids = append(ids, j.ID)
		}
	}); err != nil {
		return err
	}
	for _, id := range ids {
		err := s.retry(ctx, func() error {
			var j Job
			seq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &j)
			if err != nil || seq == 0 || !j.scrub(now, keep) {
				return err
			}
			return putScrubbed(ctx, s.opt.NC, &j, seq, now)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// putScrubbed stores a job that has lost words or numbers. It lives no longer for that.
func putScrubbed(ctx context.Context, nc *nats.Conn, j *Job, seq uint64, now time.Time) error {
	m, err := record(jobSubject(j.ID), j, seq, max(j.UpdatedAt.Add(jobTTL).Sub(now), time.Hour))
	if err != nil {
		return err
	}
	_, err = bus.Publish(ctx, nc, m)
	return err
}

// over reports whether nothing becomes of the job any more.
func (j *Job) over() bool { return !j.Open() && j.State != Waiting && j.State != Held }

// scrub takes out what is too old to be kept, and tells whether that was anything.
func (j *Job) scrub(now time.Time, keep Retention) bool {
	if !j.over() {
		return false
	}
	was := j.Body + j.Subject + j.To
	age := now.Sub(j.UpdatedAt)
	if age > keep.bodies() {
		j.Body, j.Subject = "", ""
	}
	if age > keep.numbers() {
		j.To = ""
	}
	return was != j.Body+j.Subject+j.To
}

// Known is all that is known of a number.
type Known struct {
	Number       string            `json:"number"`
	Key          string            `json:"key"` // what stands for the number in subjects
	OptOut       *OptOut           `json:"opt_out,omitempty"`
	Caller       *Caller           `json:"caller,omitempty"`
	Calls        []json.RawMessage `json:"calls"`
	Texts        []*Job            `json:"texts"` // and tasks, and notices to staff
	Conversation []*Said           `json:"conversation"`

	callSeqs []uint64
}

// Export gathers all that is known of a number.
func Export(ctx context.Context, nc *nats.Conn, key Key, number string) (*Known, error) {
	k := &Known{Number: number, Key: key.Caller(number), Calls: []json.RawMessage{}, Texts: []*Job{}, Conversation: []*Said{}}
	var x OptOut
	if seq, err := read(ctx, nc, OptOutStream, optOutSubject(k.Key), &x); err != nil {
		return nil, err
	} else if seq > 0 {
		k.OptOut = &x
	}
	var c Caller
	if seq, err := readCaller(ctx, nc, k.Key, &c, time.Now()); err != nil {
		return nil, err
	} else if seq > 0 {
		k.Caller = &c
	}
	conv, err := Conversation(ctx, nc, k.Key)
	if err != nil {
		return nil, err
	}
	k.Conversation = append(k.Conversation, conv...)
	err = Jobs(ctx, nc, func(j *Job) {
		// A notice by text belongs to the staff's own number.
		if j.Caller == k.Key || j.names(number) {
			if j.Count > 0 { // the rest is about others
				j.Body = linesOf(j.Body, number, true)
			}
			k.Texts = append(k.Texts, j)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(k.Texts, func(a, b *Job) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return k, k.calls(ctx, nc)
}

// names tells whether the number stands in the job.
func (j *Job) names(number string) bool {
	return j.To == number || j.Kind == Notice && strings.Contains(j.Body+j.Subject, number)
}

// linesOf are body's lines that name the number, or those that do not.
func linesOf(body, number string, naming bool) string {
	var b strings.Builder
	for line := range strings.Lines(body) {
		if strings.Contains(line, number) == naming {
			b.WriteString(line)
		}
	}
	return b.String()
}

// leaveOut takes the lines about a number out of a digest that is still to come. The
// others are about others.
func leaveOut(ctx context.Context, nc *nats.Conn, id, number string) error {
	for {
		var j Job
		seq, err := read(ctx, nc, Stream, jobSubject(id), &j)
		if err != nil || seq == 0 || j.State != Scheduled {
			return err // once it is over, its words go
		}
		j.Body = linesOf(j.Body, number, false)
		m, err := record(jobSubject(id), &j, seq, jobTTL)
		if err != nil {
			return err
		}
		if _, err := bus.Publish(ctx, nc, m); !errors.Is(err, bus.ErrWrongSequence) {
			return err
		}
	}
}

// calls reads the stored calls from and to the number.
func (k *Known) calls(ctx context.Context, nc *nats.Conn) error {
	err := bus.Each(ctx, nc, bus.CallsStream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}, func(m jetstream.Msg, seq uint64) (bool, error) {
		// One that cannot be read is nobody's.
		if c, err := event.Decode(m.Data()); err == nil && c.Caller.Number == k.Number {
			k.Calls, k.callSeqs = append(k.Calls, m.Data()), append(k.callSeqs, seq)
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("read calls: %w", err)
	}
	return nil
}

// Forgotten says what Forget did, and what is left.
type Forgotten struct {
	Calls, Texts, Said, Cancelled int
	OptedOut                      bool // the opt-out stays: it has to
	NumberInOptOut                bool // with the number, because optouts.store was number
	Busy                          int  // texts that are with the provider or held: settle them, then forget again
}

// Forget makes textback forget a number: calls, words, texts, and what was
// remembered of the caller. What was planned for them is cancelled. The opt-out
// stays, as a hash that only the number leads to. It needs an admin's rights.
func Forget(ctx context.Context, nc *nats.Conn, key Key, number string) (*Forgotten, error) {
	k, err := Export(ctx, nc, key, number)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	texts, err := js.Stream(ctx, Stream)
	if err != nil {
		return nil, err
	}
	did := &Forgotten{OptedOut: k.OptOut != nil && k.OptOut.Out, NumberInOptOut: k.OptOut != nil && k.OptOut.Number != ""}
	// Planned ones first, so that nothing new comes of them.
	for _, j := range k.Texts {
		if j.State != Scheduled && j.State != Waiting {
			continue
		}
		if j.Kind == Notice && j.Count > 0 && j.Caller != k.Key {
			if err := leaveOut(ctx, nc, j.ID, number); err != nil {
				return did, err
			}
			continue
		}
		switch err := End(ctx, nc, j.ID, "forget", Retention{}); {
		case err == nil:
			did.Cancelled++
		case !errors.Is(err, ErrOver) && !errors.Is(err, bus.ErrNotFound):
			return did, err
		}
	}
texts:
	for _, old := range k.Texts {
		busy := false
		for {
			var j Job
			seq, err := read(ctx, nc, Stream, jobSubject(old.ID), &j)
			if err != nil {
				return did, err
			}
			if seq > 0 && j.Caller != k.Key && !j.names(number) {
				continue texts // a digest, which others are in too
			}
			if busy = seq > 0 && !j.over(); seq == 0 || busy {
				break
			}
			j.Body, j.Subject = "", ""
			if j.To == number {
				j.To = ""
			}
			if err = putScrubbed(ctx, nc, &j, seq, time.Now()); err == nil {
				break
			} else if !errors.Is(err, bus.ErrWrongSequence) {
				return did, err
			}
		}
		if busy {
			did.Busy++
			continue
		}
		if err := texts.Purge(ctx, jetstream.WithPurgeSubject(eventSubject(old.ID, "*"))); err != nil {
			return did, fmt.Errorf("forget the events of a text: %w", err)
		}
		did.Texts++
	}
	for _, x := range k.Conversation {
		if x.Way == SaidIn {
			if err := texts.Purge(ctx, jetstream.WithPurgeSubject(eventSubject(x.ID, "*"))); err != nil {
				return did, fmt.Errorf("forget the event of a reply: %w", err)
			}
		}
	}
	conv, err := js.Stream(ctx, ConvStream)
	if err != nil {
		return did, err
	}
	if err := conv.Purge(ctx, jetstream.WithPurgeSubject(convPrefix+k.Key+".>")); err != nil {
		return did, fmt.Errorf("forget a conversation: %w", err)
	}
	did.Said = len(k.Conversation)
	calls, err := js.Stream(ctx, bus.CallsStream)
	if err != nil {
		return did, err
	}
	for _, seq := range k.callSeqs {
		if err := calls.SecureDeleteMsg(ctx, seq); err != nil {
			return did, fmt.Errorf("forget a call: %w", err)
		}
		did.Calls++
	}
	if did.Busy > 0 {
		return did, nil // whoever stores their fate needs the caller's record
	}
	if err := texts.Purge(ctx, jetstream.WithPurgeSubject(callerSubject(k.Key))); err != nil {
		return did, fmt.Errorf("forget what was remembered of the caller: %w", err)
	}
	return did, nil
}
