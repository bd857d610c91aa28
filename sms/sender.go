package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/pbx/number"
	"textback/rules"
)

// A Decider says what becomes of a call. *rules.Rules is one.
type Decider interface {
	Decide(f rules.Facts, now time.Time) rules.Decision
	Recheck(f rules.Facts, now time.Time) (suppressed, because string)
	Zone() *time.Location  // whose days budgets count
	Window() time.Duration // after which an episode closes
}

// An attemptAsker is a FateAsker that is told when the attempt was made, which
// it cannot know after a restart.
type attemptAsker interface {
	FateSince(ctx context.Context, m Message, attempted time.Time) (Receipt, bool, error)
}

// SenderOptions are a sender's parts. NC, Key, OptOuts, Rules, and Ways or
// Transport are needed.
type SenderOptions struct {
	NC      *nats.Conn
	Site    string
	Key     Key
	OptOuts *OptOuts
	Rules   func() Decider // asked at each decision: rules are reloaded

	Ways      []Way                    // in the order in which they are tried
	Transport Transport                // the only way, in place of Ways
	From      func(line string) string // the sender for a line's texts on the only way; may be nil

	// Contact, if set, looks a number up in address books. It must answer within
	// about a second, and nil when it cannot tell.
	Contact func(ctx context.Context, number string) *rules.Contact

	Inbox   InboxOptions  // how texts that arrive are taken
	Notices NoticeOptions // how staff is told

	Retention Retention // how long words and numbers are kept

	RetryPause time.Duration // before a text is tried again, longer each time (5 s, up to 2 min)
	BreakAfter int           // failures in a row that open a way's breaker (5)
	BreakPause time.Duration // for so long at first, longer each time (30 s, up to 10 min)

	GotThroughTalk time.Duration // talk time from which an outbound call counts as got through (20 s)
	SubmitTimeout  time.Duration // how long a provider may take to answer (40 s)
	Alone          bool          // no other sender shares the stream: whatever is submitting at start is dead
	ShowNumbers    bool          // numbers in logs in full
	Log            *slog.Logger
	Now            func() time.Time // nil means time.Now

	// Observe, if set, is told of every new state of a job.
	Observe func(j *Job)
	// BreakerMoved, if set, is told when a way's breaker opens or closes (works again).
	BreakerMoved func(way string, works bool)
	// Submitted, if set, is told how long the provider took.
	Submitted func(took time.Duration)
}

// A Sender plans a text for each call that deserves one and hands it over when
// it is due. Several may share one NATS server.
type Sender struct {
	opt     SenderOptions
	ways    []*Way
	owner   string
	planned atomic.Uint64 // last call's sequence that this process has planned
	locks   callerLocks
	handed  sync.Map // ids of jobs that the transport was given, until its answer is stored
	wg      sync.WaitGroup
	slots   chan struct{}   // bounds concurrent submissions
	tellers chan struct{}   // and concurrent notices
	money   sync.Mutex      // one reservation at a time in this process: budgets are records that all texts share
	quit    context.Context // ends some seconds after Run's: answers are stored until then

	unstored unstored
}

// Pauses and bounds.
const (
	lookAgain   = 2 * time.Second        // while a caller is on a line
	lookLater   = 5 * time.Second        // while budgets or breakers say wait; up to twice that
	maxTurn     = 30 * time.Second       // until a turn at the provider is asked for again
	catchUp     = 150 * time.Millisecond // while calls are still to be planned
	firstRetry  = 5 * time.Second
	maxRetry    = 2 * time.Minute
	auditEvery  = time.Minute
	requestTime = 10 * time.Second
)

// NewSender makes a Sender; Run starts it.
func NewSender(opt SenderOptions) (*Sender, error) {
	if opt.Transport != nil && len(opt.Ways) == 0 {
		opt.Ways = []Way{{Transport: opt.Transport, From: opt.From}}
	}
	if opt.NC == nil || opt.Rules == nil || len(opt.Ways) == 0 || len(opt.Key) == 0 || opt.OptOuts == nil {
		return nil, errors.New("a sender needs NATS, a key, opt-outs, rules and a transport")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&opt.GotThroughTalk, 20*time.Second)
	def(&opt.SubmitTimeout, 40*time.Second)
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := opt.Inbox.defaults(); err != nil {
		return nil, err
	}
	opt.Notices.defaults()
	def(&opt.RetryPause, firstRetry)
	def(&opt.BreakPause, breakPause)
	if opt.BreakAfter == 0 {
		opt.BreakAfter = breakAfter
	}
	host, _ := os.Hostname()
	s := &Sender{opt: opt, owner: host + "-" + nuid.Next(), slots: make(chan struct{}, 16), tellers: make(chan struct{}, 4)}
	for _, w := range opt.Ways {
		w.init()
		if w.Name == "" {
			w.Name = "transport"
		}
		if slices.ContainsFunc(s.ways, func(have *Way) bool { return have.Name == w.Name }) {
			return nil, fmt.Errorf("two transports are called %q: a job could not say by which it left", w.Name)
		}
		s.ways = append(s.ways, &w)
	}
	return s, nil
}

// Run plans and sends until ctx ends, then waits for what is with the provider.
func (s *Sender) Run(ctx context.Context) error {
	js, err := jetstream.New(s.opt.NC)
	if err != nil {
		return err
	}
	quit, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s.quit = quit
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.opt.SubmitTimeout, stop) })()
	s.audit(ctx, true)
	var loops sync.WaitGroup
	loops.Add(5)
	go func() { defer loops.Done(); s.retain(ctx) }()
	go func() { defer loops.Done(); s.consume(ctx, js, bus.CallsStream, "planner", s.planMsg) }()
	go func() { defer loops.Done(); s.consume(ctx, js, Stream, "staff", s.tellMsg) }()
	go func() { defer loops.Done(); s.consume(ctx, js, Stream, "sender", s.dueMsg) }()
	go func() {
		defer loops.Done()
		t := time.NewTicker(auditEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				s.audit(ctx, false)
			}
		}
	}()
	loops.Wait()
	s.wg.Wait()
	return nil
}

// consume gives a consumer's messages to handle, one by one, and comes back
// after every failure.
func (s *Sender) consume(ctx context.Context, js jetstream.JetStream, stream, durable string, handle func(context.Context, jetstream.Msg)) {
	pause, said := 100*time.Millisecond, false
	for ctx.Err() == nil {
		err := func() error {
			cctx, cancel := context.WithTimeout(ctx, requestTime)
			defer cancel()
			cons, err := js.Consumer(cctx, stream, durable)
			if err != nil {
				return err
			}
			it, err := cons.Messages(jetstream.PullMaxMessages(64), jetstream.PullHeartbeat(5*time.Second), jetstream.PullExpiry(15*time.Second))
			if err != nil {
				return err
			}
			stop := context.AfterFunc(ctx, it.Stop)
			defer stop()
			defer it.Stop()
			for {
				m, err := it.Next()
				if err != nil {
					return err
				}
				if said {
					said = false
					s.opt.Log.Info("reading from NATS again", "consumer", durable)
				}
				pause = 100 * time.Millisecond
				handle(ctx, m)
			}
		}()
		if ctx.Err() != nil {
			return
		}
		if !said && !errors.Is(err, jetstream.ErrNoHeartbeat) {
			said = true
			s.opt.Log.Warn("reading from NATS failed; trying again", "consumer", durable, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// planMsg plans one call. Calls are planned one after the other: that keeps
// each caller's order, and a plan takes milliseconds.
func (s *Sender) planMsg(ctx context.Context, m jetstream.Msg) {
	c, err := event.Decode(m.Data())
	if err != nil {
		s.opt.Log.Error("a call in NATS cannot be read and is passed over", "subject", m.Subject(), "error", err)
		_ = m.Term()
		return
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		pctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*requestTime)
		err := s.plan(pctx, c)
		cancel()
		if err == nil {
			break
		}
		s.opt.Log.Error("a call could not be planned; trying again", "call", c.ID, "error", err)
		_ = m.InProgress()
		select {
		case <-ctx.Done():
			return // not acknowledged: it comes again
		case <-time.After(pause):
		}
	}
	if meta, err := m.Metadata(); err == nil {
		s.planned.Store(meta.Sequence.Stream)
	}
	_ = m.Ack()
}

// jobID is the job of a call's first text. The same call has the same job,
// however often it is planned.
func jobID(c *pbx.Call) string { return event.CallToken(c) + "-1" }

// plan decides what becomes of a call and stores it, all or nothing.
func (s *Sender) plan(ctx context.Context, c *pbx.Call) error {
	number := c.Caller.Number
	if c.Missed() {
		return s.planMissed(ctx, c)
	}
	if number == "" {
		return nil
	}
	answered := c.Outcome == pbx.Answered
	through := answered && (c.Direction == pbx.Inbound || c.Talk >= s.opt.GotThroughTalk)
	if !answered && c.Outcome != pbx.Unknown {
		return nil // an outbound call that nobody took
	}
	why, because := rules.Reached, "the caller has been reached"
	switch {
	case !answered:
		why, because = rules.NotCertain, "a later call may have been answered"
	case c.Direction == pbx.Outbound:
		why, because = rules.CalledBack, "the office has called back"
	}
	return s.withCaller(ctx, s.opt.Key.Caller(number), func(tx *callerTx) error {
		rec := &tx.Caller
		tx.knownSince(c.StartedAt)
		if answered && c.Direction == pbx.Outbound && rec.CalledBack.Before(c.EndedAt) {
			rec.CalledBack = c.EndedAt
			tx.touch()
		}
		if through && rec.GotThrough.Before(c.EndedAt) {
			rec.GotThrough = c.EndedAt
			// Told late, after a newer call has had its text: that one's episode goes on.
			if !rec.TextFor.After(c.EndedAt) {
				rec.closeEpisode()
			}
			tx.touch()
		}
		for _, j := range tx.Open {
			switch {
			case j.CallEndedAt.After(c.EndedAt): // it is about a call that ended after this one began
			case j.Kind == Task && j.State == Waiting:
				if through {
					tx.set(j, Done, why, because)
				}
			case j.Kind == Task && !answered: // people will find out
			case j.State == Scheduled && (j.Kind == Text || j.Kind == Task):
				tx.set(j, Cancelled, why, because)
			}
		}
		return nil
	})
}

// lastWord is when the episode's last text or reply was, or else its first call:
// from then on it waits to close.
func (c *Caller) lastWord() time.Time {
	last := c.FirstTextAt
	if c.LastTextAt.After(last) {
		last = c.LastTextAt
	}
	if last.IsZero() {
		return c.OpenedAt
	}
	return last
}

// closeEpisode forgets what belonged to an episode; what is still open stays open.
func (c *Caller) closeEpisode() {
	c.OpenedAt, c.FirstTextAt, c.LastTextAt, c.Calls = time.Time{}, time.Time{}, time.Time{}, 0
}

// closed takes a job off the open ones. One that never left gives its episode's
// first text back, unless a newer call has had its own.
func (c *Caller) closed(j *Job) {
	is := func(id string) bool { return id == j.ID }
	c.Open, c.Tasks = slices.DeleteFunc(c.Open, is), slices.DeleteFunc(c.Tasks, is)
	if j.First && (j.State == Cancelled || j.State == Failed) && !c.TextFor.After(j.CallEndedAt) {
		c.FirstTextAt = time.Time{}
	}
}

// planMissed decides about a missed call.
func (s *Sender) planMissed(ctx context.Context, c *pbx.Call) error {
	id, k := jobID(c), ""
	f := rules.Facts{Call: c}
	if c.Caller.Number != "" {
		k = s.opt.Key.Caller(c.Caller.Number)
		if s.opt.Contact != nil {
			f.Contact = s.opt.Contact(ctx, c.Caller.Number)
		}
	}
	return s.withCaller(ctx, k, func(tx *callerTx) error {
		var have Job
		if seq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &have); err != nil || seq > 0 {
			return err // planned before: the acknowledgement was lost
		}
		rec := &tx.Caller
		if err := s.remembered(ctx, tx, &f, id); err != nil {
			return err
		}
		d := s.opt.Rules().Decide(f, tx.now)
		j := s.newJob(tx, c, id, &d)
		j.Message, j.Language, j.FreshUntil = d.Message, d.Language, c.EndedAt.Add(d.Fresh)
		switch {
		case d.Send:
			j.From, j.Body, j.Segments, j.Cost, j.DueAt, j.First = s.ways[0].From(c.Line.Number), d.Body, d.Segments, int64(d.Cost), d.DueAt.UTC(), true
			s.set(j, Scheduled, "", "")
			if d.Shadow {
				s.set(j, Shadow, "shadow", "mode is shadow: decided and recorded, not sent")
				rec.LastTextAt = tx.now.UTC()
			}
			rec.FirstTextAt = tx.now.UTC()
			if rec.TextFor.Before(c.EndedAt) {
				rec.TextFor = c.EndedAt
			}
		default:
			s.set(j, Suppressed, d.Suppressed, masked(c, d.Because))
		}
		tx.add(j)
		s.planBeside(tx, c, j, &d)
		if k != "" {
			if rec.OpenedAt.IsZero() {
				rec.OpenedAt = c.EndedAt
			}
			rec.Calls++
			tx.knownSince(c.StartedAt)
			tx.touch()
		}
		return nil
	})
}

// masked is a sentence about a call without what the caller shows: a job is logged, and
// found by its caller's key alone when that is to be forgotten.
func masked(c *pbx.Call, sentence string) string {
	for _, shown := range []string{c.Caller.Raw, c.Caller.Number} {
		if shown != "" {
			sentence = strings.ReplaceAll(sentence, shown, number.Mask(shown))
		}
	}
	return sentence
}

// newJob is what all jobs of a call have in common.
func (s *Sender) newJob(tx *callerTx, c *pbx.Call, id string, d *rules.Decision) *Job {
	return &Job{ID: id, Call: event.ID(c), Site: c.Site, Caller: tx.Key, To: c.Caller.Number, Line: c.Line.Number, Rule: d.Rule, RulesVersion: d.RulesVersion,
		CallEndedAt: c.EndedAt, CreatedAt: tx.now.UTC(), Tags: d.Tags, Attestation: c.Caller.Attestation}
}

// remembered is known, and the caller's episode, which time may have closed.
func (s *Sender) remembered(ctx context.Context, tx *callerTx, f *rules.Facts, job string) error {
	if err := s.known(ctx, tx, f, job, f.Call.Caller.Number); err != nil {
		return err
	}
	rec := &tx.Caller
	if last := rec.lastWord(); !last.IsZero() && tx.now.Sub(last) >= s.opt.Rules().Window() {
		rec.closeEpisode()
	}
	f.Episode = rules.Episode{OpenedAt: rec.OpenedAt, FirstTextAt: rec.FirstTextAt, LastTextAt: rec.LastTextAt, Calls: rec.Calls}
	return nil
}

// Present completes f with what is known at this moment of the caller of f.Call, as
// if that call had just ended. Nothing is stored.
func (s *Sender) Present(ctx context.Context, f *rules.Facts) error {
	n := f.Call.Caller.Number
	if n == "" {
		return nil
	}
	tx := &callerTx{Key: s.opt.Key.Caller(n), s: s, now: s.opt.Now()}
	if _, err := s.readCaller(ctx, tx.Key, &tx.Caller, tx.now); err != nil {
		return err
	}
	if err := s.remembered(ctx, tx, f, ""); err != nil {
		return err
	}
	var err error
	f.OnLine, err = s.onLine(ctx, &Job{To: n})
	return err
}

// known gathers what is known of a number's caller beside the call itself.
func (s *Sender) known(ctx context.Context, tx *callerTx, f *rules.Facts, job, to string) (err error) {
	if to == "" {
		return nil
	}
	rec := &tx.Caller
	f.Ours = s.opt.Inbox.Own(to)
	if f.OptedOut, err = s.opt.OptOuts.out(ctx, tx.Key); err != nil {
		return err
	}
	f.GotThrough, f.CalledBack, f.Replied = rec.GotThrough, rec.CalledBack, rec.RepliedAt
	f.Known = f.Contact != nil || !rec.KnownSince.IsZero()
	if rec.Machine != "" && tx.now.Before(rec.MachineTill) {
		f.Machine = rec.Machine
	}
	if tx.budgets, err = s.readBudgets(ctx, to, tx.now); err != nil {
		return err
	}
	f.Spent = tx.budgets.facts(rec, tx.now)
	f.Down, err = s.down(ctx, job, to, tx.now)
	return err
}

// retry repeats f while somebody else was faster.
func (s *Sender) retry(ctx context.Context, f func() error) error {
	for n := range math.MaxInt {
		err := f()
		if !errors.Is(err, bus.ErrWrongSequence) || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Duration(min(n, 100)) * 100 * time.Microsecond)
	}
	return bus.ErrWrongSequence
}

func (s *Sender) set(j *Job, st State, why, because string) {
	j.State, j.Why, j.Because, j.UpdatedAt = st, why, because, s.opt.Now().UTC()
}

// jobMsgs are the job's record, made on version seq, and its event.
func (s *Sender) jobMsgs(j *Job, seq uint64) ([]*nats.Msg, error) {
	m, err := record(jobSubject(j.ID), j, seq, jobTTL)
	if err != nil {
		return nil, err
	}
	e, err := happenedAs(j, j.State, s.opt.Retention.numbers())
	if err != nil {
		return nil, err
	}
	return []*nats.Msg{m, e}, nil
}

// told logs and counts a job's new state, once it is stored.
func (s *Sender) told(j *Job) {
	if s.opt.Observe != nil {
		now := *j // the job goes on, the observer may look later
		s.opt.Observe(&now)
	}
	_, call, _ := strings.Cut(j.Call, "/")
	to := j.To
	if !s.opt.ShowNumbers {
		to = number.Mask(to)
	}
	level := slog.LevelInfo
	switch j.State {
	case Held:
		level = slog.LevelError
	case Failed:
		level = slog.LevelWarn
	case Submitting:
		level = slog.LevelDebug
	}
	a := []any{"call", call, "job", j.ID, "state", j.State}
	for _, kv := range [][2]string{{"why", j.Why}, {"because", j.Because}, {"rule", j.Rule}, {"to", to}, {"provider_id", j.ProviderID}, {"provider_code", j.ProviderCode}} {
		if kv[1] != "" {
			a = append(a, kv[0], kv[1])
		}
	}
	if j.State == Scheduled {
		a = append(a, "due", j.DueAt.Format(time.RFC3339), "segments", j.Segments)
	}
	s.opt.Log.Log(context.Background(), level, "text", a...)
}

// callerLocks keep one caller's texts in order within this process.
type callerLocks struct {
	mu sync.Mutex
	m  map[string]*callerLock
}

type callerLock struct {
	sync.Mutex
	users int
}

func (l *callerLocks) lock(k string) (unlock func()) {
	l.mu.Lock()
	if l.m == nil {
		l.m = map[string]*callerLock{}
	}
	c := l.m[k]
	if c == nil {
		c = &callerLock{}
		l.m[k] = c
	}
	c.users++
	l.mu.Unlock()
	c.Lock()
	return func() {
		c.Unlock()
		l.mu.Lock()
		if c.users--; c.users == 0 {
			delete(l.m, k)
		}
		l.mu.Unlock()
	}
}

// allOf reads the newest record under each subject that matches, in the order in which they
// were stored.
func allOf[T any](ctx context.Context, nc *nats.Conn, stream, filter string) ([]*T, error) {
	msgs, err := bus.GetAll(ctx, nc, stream, filter)
	if err != nil {
		return nil, err
	}
	var out []*T
	for _, m := range msgs {
		var v T
		if err := json.Unmarshal(m.Data, &v); err != nil {
			return nil, &damaged{m.Subject, m.Seq, err}
		}
		out = append(out, &v)
	}
	return out, nil
}

var _ Decider = (*rules.Rules)(nil)

// errAgain asks for a job to be looked at again after a while.
type errAgain struct{ after time.Duration }

func (e errAgain) Error() string { return fmt.Sprintf("look again in %v", e.after) }
