package sms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/pbx/number"
	"textback/rules"
)

// dueMsg looks at the job that a due message names. The message itself proves
// nothing: timers fire twice, acknowledgements get lost.
func (s *Sender) dueMsg(ctx context.Context, m jetstream.Msg) {
	s.woken(ctx, m, "due.", s.slots, s.step)
}

// woken brings the job that m names on, once there is a slot for it.
func (s *Sender) woken(ctx context.Context, m jetstream.Msg, kind string, slots chan struct{}, step func(context.Context, string) error) {
	id := strings.TrimPrefix(m.Subject(), prefix+kind)
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer func() { <-slots }()
		if s.bring(ctx, id, step) {
			_ = m.Ack()
		}
	}()
}

// bring takes steps with a job as far as it goes now. done is false when ctx ended
// first: then the message comes again.
func (s *Sender) bring(ctx context.Context, id string, step func(context.Context, string) error) (done bool) {
	conflicts := 0
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		// What has begun is ended in order, whatever ctx says.
		wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.SubmitTimeout+6*requestTime)
		err := step(wctx, id)
		cancel()
		var again errAgain
		switch {
		case err == nil:
			return true
		case s.unreadableText(id, err):
			return true
		case errors.As(err, &again):
			if err = s.wake(ctx, id, s.opt.Now().Add(again.after)); err == nil {
				return true
			}
		}
		if s.quit.Err() != nil {
			return false
		}
		if !errors.Is(err, bus.ErrWrongSequence) {
			s.opt.Log.Error("a due text could not be looked at; trying again", "job", id, "error", err)
		} else {
			pause = time.Millisecond << min(conflicts/4, 8)
			conflicts++
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// wake sets the job's timer.
func (s *Sender) wake(ctx context.Context, id string, at time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	_, err := bus.Publish(ctx, s.opt.NC, timer(id, at))
	return err
}

// step reads the job and does the next thing. ErrWrongSequence means that
// somebody else did something meanwhile.
func (s *Sender) step(ctx context.Context, id string) error {
	var j Job
	jseq, err := read(ctx, s.opt.NC, Stream, jobSubject(id), &j)
	if err != nil {
		return err
	}
	if jseq == 0 {
		return nil // its record has aged out
	}
	if j.Kind == Notice {
		return s.toStaff(ctx, id) // on a road of their own, so that a mail server never holds up a text
	}
	unlock := s.locks.lock(j.Caller)
	defer unlock()
	if jseq, err = read(ctx, s.opt.NC, Stream, jobSubject(id), &j); err != nil || jseq == 0 {
		return err
	}
	now := s.opt.Now()
	switch {
	case j.Kind == Task:
		return s.stepTask(ctx, &j, jseq, now)
	case j.State == Submitting && s.neverHanded(&j):
		// This process stored it and was never told so, because NATS went away.
		// All guards are asked again.
	case j.State == Submitting:
		return s.recover(ctx, &j, jseq, now)
	case j.State != Scheduled:
		return s.settled(ctx, &j)
	case j.DueAt.After(now.Add(5 * time.Millisecond)):
		return errAgain{j.DueAt.Sub(now)}
	}
	w, err := s.handOver(ctx, &j, jseq)
	if err != nil || w == nil {
		return err
	}
	s.told(&j)
	return s.submit(ctx, &j, w)
}

// handOver asks all guards about a due job and brings it to submitting, by the
// way it returns; or to where a guard sends it, and returns none.
func (s *Sender) handOver(ctx context.Context, j *Job, jseq uint64) (*Way, error) {
	if err := s.pace(ctx, j); err != nil {
		return nil, err
	}
	// On a line now? Asked first; then every call that had ended by then must have
	// been planned, so that a call that got through cannot fall between the two.
	f := j.facts()
	asked := s.opt.Now() // a call that begins later is not seen
	if j.Kind == Text {  // what answers a keyword, or goes to staff, is about no call
		var err error
		if f.OnLine, err = s.onLine(ctx, j); err != nil {
			return nil, err
		}
		if err := s.caughtUp(ctx, j.DueAt); err != nil {
			return nil, err
		}
	}
	if j.FollowUp {
		if why, because, err := s.leads(ctx, j); err != nil {
			return nil, err
		} else if why != "" {
			s.set(j, Cancelled, why, because)
			return nil, s.finish(ctx, j, jseq)
		}
	}
	if s.opt.Contact != nil {
		f.Contact = s.opt.Contact(ctx, j.To)
	}

	s.money.Lock()
	defer s.money.Unlock()
	now := s.opt.Now()
	tx := &callerTx{Key: j.Caller, s: s, now: now}
	cseq, err := s.readCaller(ctx, j.Caller, &tx.Caller, tx.now)
	if err != nil {
		return nil, err
	}
	if err := s.known(ctx, tx, &f, j.ID, j.To); err != nil {
		return nil, err
	}
	if j.Reserved {
		f.Spent = rules.Spent{} // it is counted there itself: it had its place when that was reserved
	}
	if r, ok := s.opt.Rules().(interface{ Shadow() bool }); ok && r.Shadow() && j.Kind == Text {
		s.set(j, Shadow, "shadow", "mode has become shadow: not sent")
		return nil, s.finish(ctx, j, jseq)
	}
	why, because := s.recheck(j, f, now)
	if why == "" && now.After(j.FreshUntil) {
		why, because = rules.Stale, "it is too late for it"
	}
	switch why {
	case "":
	case rules.OnLine:
		return nil, errAgain{lookAgain}
	case rules.BudgetMinute, rules.Breaker:
		return nil, errAgain{spread(lookLater)}
	case rules.Stale:
		if j.Attempt > 0 {
			s.set(j, Failed, "expired", "the provider did not take it while it was fresh")
			return nil, s.finish(ctx, j, jseq)
		}
		fallthrough
	default:
		s.set(j, Cancelled, why, because)
		return nil, s.finish(ctx, j, jseq)
	}
	if s.next(j) == nil {
		s.set(j, Failed, string(RegionDenied), "no transport serves numbers of "+number.Parse(j.To, "").Region)
		return nil, s.finish(ctx, j, jseq)
	}
	w, err := s.pick(ctx, j, now)
	switch {
	case err != nil:
		return nil, err
	case w == nil: // every breaker is open
		return nil, errAgain{spread(lookLater)}
	}

	s.set(j, Submitting, "", "")
	j.Attempt++
	j.Owner, j.SubmittedAt, j.Transport = s.owner, asked.UTC(), w.Name
	if j.Kind == Text || j.From == "" { // an answer comes from the number that was texted
		j.From = w.From(j.Line)
	}
	var also []*nats.Msg
	if j.Kind == Text && !j.Reserved {
		j.Reserved = true
		if also, err = s.reserve(tx.budgets, j, now); err != nil {
			return nil, err
		}
		tx.Caller.Texts = append(since(tx.Caller.Texts, now, 24*time.Hour), now.UTC())
	}
	msgs, err := s.jobMsgs(j, jseq)
	if err != nil {
		return nil, err
	}
	// The caller's record and the budgets must still be those that the guards were asked about.
	m, err := record(callerSubject(j.Caller), &tx.Caller, cseq, callerTTL)
	if err != nil {
		return nil, err
	}
	if _, err := bus.Batch(ctx, s.opt.NC, append(append(msgs, also...), m)...); err != nil {
		if errors.Is(err, bus.ErrWrongSequence) {
			return nil, err
		}
		// Stored or not? The record tells; owner and attempt are this one's alone.
		var have Job
		if _, rerr := read(ctx, s.opt.NC, Stream, jobSubject(j.ID), &have); rerr != nil || have.State != Submitting || have.Owner != j.Owner || have.Attempt != j.Attempt {
			return nil, errors.Join(err, rerr)
		}
	}
	return w, nil
}

// recheck asks what stands against handing j over, as its kind wants.
func (s *Sender) recheck(j *Job, f rules.Facts, now time.Time) (why, because string) {
	switch {
	case j.Kind == Text:
		return s.opt.Rules().Recheck(f, now)
	case j.Kind == Answer: // it is asked for
		return j.recheckAnswer(f.OptedOut, now)
	case j.Kind == Notice && f.OptedOut:
		return rules.SaidStop, "whoever has this number has said stop"
	}
	return "", ""
}

// spread keeps jobs that wait for the same thing from looking all at once.
func spread(d time.Duration) time.Duration { return d + rand.N(d) }

// pace waits for the turn that the provider's rate leaves this text. A turn that is
// far off is not waited for here, where others wait for a slot; and whoever has to
// wait anyway takes none.
func (s *Sender) pace(ctx context.Context, j *Job) error {
	w := s.next(j)
	if w == nil || w.limit == nil || s.opt.Now().After(j.FreshUntil) {
		return nil // a stale one does not leave
	}
	if j.Kind == Text {
		if on, err := s.onLine(ctx, j); err != nil {
			return err
		} else if on {
			return errAgain{lookAgain}
		}
	}
	if j.FollowUp {
		if _, _, err := s.leads(ctx, j); err != nil {
			return err
		}
	}
	turn := w.limit.Reserve()
	d := turn.Delay()
	if d > lookAgain {
		turn.Cancel()
		return errAgain{min(d, maxTurn)}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// leads tells why a follow-up has nothing to follow: its first text did not go out.
// While that is not known, it waits for a person to find out, for as long as it is fresh.
func (s *Sender) leads(ctx context.Context, j *Job) (why, because string, err error) {
	var first Job
	seq, err := read(ctx, s.opt.NC, Stream, jobSubject(firstID(j.ID)), &first)
	switch {
	case err != nil:
		return "", "", err
	case seq > 0 && (first.Open() || first.State == Held && s.opt.Now().Before(j.FreshUntil)):
		return "", "", errAgain{spread(lookLater)}
	case seq == 0 || first.State != Sent || first.Delivery == Undelivered:
		return "no_first_text", "the first text did not go out", nil
	}
	return "", "", nil
}

// firstID is the id of the first text of the call that job id belongs to.
func firstID(id string) string { return id[:strings.LastIndexByte(id, '-')+1] + "1" }

// facts are what a due job tells the guards by itself.
func (j *Job) facts() rules.Facts {
	return rules.Facts{Call: j.call(), Text: &rules.DueText{FollowUp: j.FollowUp, DueAt: j.DueAt, PlannedAt: j.CreatedAt, Segments: j.Segments}}
}

// call is what the guards must know of a planned job's call.
func (j *Job) call() *pbx.Call {
	return &pbx.Call{Direction: pbx.Inbound, Outcome: pbx.RangOut, Certain: true, EndedAt: j.CallEndedAt,
		Caller: pbx.Caller{Number: j.To, Raw: j.To, Attestation: j.Attestation}, Line: pbx.Line{Number: j.Line}}
}

// onLine tells whether the job's caller is on a line or in a queue right now.
func (s *Sender) onLine(ctx context.Context, j *Job) (bool, error) {
	live, err := bus.LiveCalls(ctx, s.opt.NC, "")
	if err != nil {
		return false, err
	}
	now := s.opt.Now()
	for _, l := range live {
		if l.Caller.Number != j.To || event.ID(l.Call) == j.Call {
			continue
		}
		if l.Stale(now) {
			// It bears the time of NATS, whose clock may not be ours.
			if now, err = s.serverTime(ctx); err != nil {
				return false, err
			}
		}
		if !l.Stale(now) {
			return true, nil
		}
	}
	return false, nil
}

// serverTime is what NATS's clock shows.
func (s *Sender) serverTime(ctx context.Context) (time.Time, error) {
	ctx, cancel := bus.WhileConnected(ctx, s.opt.NC)
	defer cancel()
	js, err := jetstream.New(s.opt.NC)
	if err != nil {
		return time.Time{}, err
	}
	st, err := js.Stream(ctx, bus.LiveStream)
	if err != nil {
		return time.Time{}, err
	}
	return st.CachedInfo().TimeStamp, nil
}

// caughtUp waits, a little, until every call stored by now has been planned. A
// job that has been due for long looks less often.
func (s *Sender) caughtUp(ctx context.Context, due time.Time) error {
	ctx, cancel := bus.WhileConnected(ctx, s.opt.NC)
	defer cancel()
	js, err := jetstream.New(s.opt.NC)
	if err != nil {
		return err
	}
	st, err := js.Stream(ctx, bus.CallsStream)
	if err != nil {
		return err
	}
	last := st.CachedInfo().State.LastSeq
	// A text without a delay is due while its own call is being acknowledged:
	// that takes a moment, not a timer.
	for range 30 {
		if s.planned.Load() >= last {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	cons, err := st.Consumer(ctx, "planner")
	if err != nil {
		return err
	}
	info := cons.CachedInfo()
	if info.AckFloor.Stream >= last || info.NumPending == 0 && info.NumAckPending == 0 {
		return nil
	}
	return errAgain{min(max(catchUp, s.opt.Now().Sub(due)/4), lookLater)}
}

// submit hands the job over and stores the answer.
func (s *Sender) submit(ctx context.Context, j *Job, w *Way) error {
	s.handed.Store(j.ID, true)
	sctx, cancel := context.WithTimeout(ctx, s.opt.SubmitTimeout)
	start := time.Now()
	r, err := w.Transport.Submit(sctx, j.message())
	cancel()
	if s.opt.Submitted != nil {
		s.opt.Submitted(time.Since(start))
	}
	s.observe(ctx, w, class(err), s.opt.Now())
	if err := s.answer(ctx, j, w, r, err); err != nil {
		return err
	}
	s.handed.Delete(j.ID)
	return nil
}

func (j *Job) message() Message { return Message{ID: j.ID, From: j.From, To: j.To, Body: j.Body} }

// neverHanded reports whether j is this process's to submit and was not handed
// to the transport. It needs the caller's lock: under it nobody is just about to.
func (s *Sender) neverHanded(j *Job) bool {
	_, handed := s.handed.Load(j.ID)
	return j.Owner == s.owner && !handed
}

// answer stores what a submission came to. It is repeated until it is stored:
// only this process knows it.
func (s *Sender) answer(ctx context.Context, j *Job, w *Way, r Receipt, err error) error {
	attempt := j.Attempt
	var e *Error
	if errors.As(err, &e) {
		j.ProviderCode = e.Code
	}
	switch class := class(err); {
	case err == nil:
		s.set(j, Sent, "", "")
		j.ProviderID = r.ProviderID
		if r.Segments > 0 {
			j.Segments = r.Segments
		}
	case class == Ambiguous, j.Unclear && (class.Retryable() || class == RegionDenied):
		// A refusal of this attempt says nothing of one before it.
		return s.ambiguous(ctx, j, w, err)
	case class.Retryable() || class == RegionDenied:
		// It was definitely not taken: another way may.
		now, refused := s.opt.Now(), slices.Contains(j.Tried, w.Name)
		if !refused {
			j.Tried = append(j.Tried, w.Name)
		}
		retryAt, next := now.Add(s.pauseAfter(j.Attempt)), s.untried(j)
		if next != nil && !refused { // refused again: the next one is broken, or it would have had it
			retryAt = now
		}
		switch {
		case class == RegionDenied && next == nil:
			s.set(j, Failed, string(class), err.Error())
		case retryAt.After(j.FreshUntil):
			s.set(j, Failed, string(class), "not taken while it was fresh: "+err.Error())
		case next != nil:
			s.set(j, Scheduled, string(class), "tried with "+next.Name+": "+err.Error())
			j.DueAt = retryAt.UTC()
		default:
			s.set(j, Scheduled, string(class), "tried again: "+err.Error())
			j.DueAt = retryAt.UTC()
		}
	default:
		s.set(j, Failed, string(class), err.Error())
	}
	return s.store(j, attempt, class(err) == OptedOut)
}

func class(err error) Class {
	if err == nil {
		return ""
	}
	return ClassOf(err)
}

// pauseAfter grows with each attempt.
func (s *Sender) pauseAfter(attempt int) time.Duration {
	d := s.opt.RetryPause
	for ; attempt > 1 && d < maxRetry; attempt-- {
		d *= 2
	}
	return min(d, maxRetry)
}

// ambiguous deals with a text that may or may not be on its way.
func (s *Sender) ambiguous(ctx context.Context, j *Job, w *Way, cause error) error {
	if t, ok := w.Transport.(Idempotent); ok && t.HonoursID() && s.opt.Now().Before(j.FreshUntil) {
		// The same id again is the same text, for this provider.
		s.opt.Log.Warn("the provider's answer is not clear; asking again with the same id", "job", j.ID, "error", cause)
		return errAgain{s.opt.RetryPause}
	}
	return s.ask(ctx, j, w, fmt.Sprintf("it is not known whether the provider took it: %v", cause))
}

// ask asks the provider what became of a text that is not to be submitted again,
// and holds it when that does not tell.
func (s *Sender) ask(ctx context.Context, j *Job, w *Way, because string) error {
	m := j.message()
	r, found, err := Receipt{}, false, errors.New("the provider cannot be asked")
	switch t := w.Transport.(type) {
	case attemptAsker:
		r, found, err = t.FateSince(ctx, m, j.SubmittedAt)
	case FateAsker:
		r, found, err = t.Fate(ctx, m)
	}
	if err == nil && found {
		s.set(j, Sent, "", "found at the provider after an unclear answer")
		j.ProviderID = r.ProviderID
		return s.store(j, j.Attempt, false)
	}
	// Not found is not proof: the provider may list it late. Held, for a person.
	return s.hold(j, because)
}

// recover looks at a job that is submitting: with a process that lives, or
// with one that died.
func (s *Sender) recover(ctx context.Context, j *Job, jseq uint64, now time.Time) error {
	w := s.way(j.Transport)
	if w == nil {
		return s.hold(j, "the transport "+j.Transport+", which it was handed to, is not configured any more")
	}
	if j.Owner == s.owner {
		if t, ok := w.Transport.(Idempotent); ok && t.HonoursID() {
			return s.again(ctx, j, w, jseq)
		}
		return nil // with another goroutine of this process, which stores the answer until it is stored
	}
	dead := j.SubmittedAt.Add(s.opt.SubmitTimeout + 15*time.Second)
	if !s.opt.Alone && now.Before(dead) {
		return errAgain{dead.Sub(now)}
	}
	if t, ok := w.Transport.(Idempotent); ok && t.HonoursID() {
		return s.again(ctx, j, w, jseq)
	}
	return s.ambiguous(ctx, j, w, errors.New("textback ended between the hand-over and the answer"))
}

// again submits a second time under the same id, to a provider for which that
// is the same text.
func (s *Sender) again(ctx context.Context, j *Job, w *Way, jseq uint64) error {
	if s.opt.Now().After(j.FreshUntil) {
		return s.ask(ctx, j, w, "its fate was not known before it became stale")
	}
	f := j.facts()
	if j.Kind == Text {
		var err error
		if f.OnLine, err = s.onLine(ctx, j); err != nil {
			return err
		}
		if err := s.caughtUp(ctx, j.SubmittedAt); err != nil {
			return err
		}
	}
	tx := &callerTx{Key: j.Caller, s: s, now: s.opt.Now()}
	cseq, err := s.readCaller(ctx, j.Caller, &tx.Caller, tx.now)
	if err != nil {
		return err
	}
	if err := s.known(ctx, tx, &f, j.ID, j.To); err != nil {
		return err
	}
	f.Spent, f.Down = rules.Spent{}, "" // it is counted, and it is this way that must answer
	why, because := s.recheck(j, f, tx.now)
	switch {
	case rules.Waits(why):
		return errAgain{lookAgain}
	case why != "":
		return s.ask(ctx, j, w, "its fate is not known, and it is not to be sent any more: "+because)
	}
	j.Attempt++
	j.Owner, j.SubmittedAt, j.UpdatedAt, j.Unclear = s.owner, tx.now.UTC(), tx.now.UTC(), true
	m, err := record(jobSubject(j.ID), j, jseq, jobTTL)
	if err != nil {
		return err
	}
	// The caller's record must still be the one that was asked about, as for the first attempt.
	c, err := record(callerSubject(j.Caller), &tx.Caller, cseq, callerTTL)
	if err != nil {
		return err
	}
	// Whoever began may have handed it over: whatever comes of storing this, it never
	// is a text that was not.
	s.handed.Store(j.ID, true)
	if _, err := bus.Batch(ctx, s.opt.NC, m, c); err != nil {
		return err
	}
	return s.submit(ctx, j, w)
}

func (s *Sender) hold(j *Job, because string) error {
	s.handed.Delete(j.ID)
	s.set(j, Held, string(Ambiguous), because)
	return s.store(j, j.Attempt, false)
}

// store writes the answer to attempt into the job's record. Nobody else may
// answer it, so it is written on whatever version the record has now.
func (s *Sender) store(j *Job, attempt int, optedOut bool) error {
	// On the list before the job is settled: nothing asks about it again after that.
	for pause := 50 * time.Millisecond; optedOut; pause = min(2*pause, 2*time.Second) {
		octx, cancel := context.WithTimeout(s.quit, requestTime)
		err := s.carrierStop(octx, j)
		cancel()
		if err == nil {
			break
		}
		s.opt.Log.Error("an opt-out learned from the provider could not be stored; trying again", "job", j.ID, "error", err)
		select {
		case <-s.quit.Done():
			return fmt.Errorf("store the opt-out that job %s was refused by: %w", j.ID, s.quit.Err())
		case <-time.After(pause):
		}
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		rctx, cancel := context.WithTimeout(s.quit, requestTime)
		var have Job
		jseq, err := read(rctx, s.opt.NC, Stream, jobSubject(j.ID), &have)
		// Held by another sender, whose clock is ahead, while the provider took its time: this is
		// no guess.
		guessed := have.State == Held && have.Owner == s.owner && j.State == Sent
		if err == nil && (have.State != Submitting && !guessed || have.Attempt != attempt) {
			cancel()
			return s.settled(s.quit, &have) // stored already: the acknowledgement was lost
		}
		if err == nil {
			err = s.finish(rctx, j, jseq)
		}
		cancel()
		if err == nil {
			return s.settled(s.quit, j)
		}
		if !errors.Is(err, bus.ErrWrongSequence) {
			s.opt.Log.Error("a provider's answer could not be stored; trying again", "job", j.ID, "state", j.State, "error", err)
		}
		select {
		case <-s.quit.Done():
			return fmt.Errorf("store the answer of job %s: %w", j.ID, s.quit.Err())
		case <-time.After(pause):
		}
	}
}

// finish stores a job's new state together with its caller's record. What could
// not be sent in time leaves the office with a callback instead of a late text.
func (s *Sender) finish(ctx context.Context, j *Job, jseq uint64) error {
	return s.withCallerOnce(ctx, j.Caller, func(tx *callerTx) error {
		t := tx.job(j, jseq)
		tx.put(t)
		if t.Kind == Text && (t.State == Sent || t.State == Held) {
			tx.LastTextAt = tx.now.UTC()
			tx.touch()
		}
		if t.State == Sent {
			tx.indexed(t)
		}
		if t.State == Held && t.Kind != Notice {
			names := []string{t.TaskOwner}
			if t.TaskOwner == "" {
				names = s.opt.Inbox.Tell(t.Line)
			}
			tx.tell(names, TextHeld, t)
		}
		tx.unreachable(t.State == Failed, Class(t.Why), t.ProviderCode)
		if t.State == Failed && t.Why == string(OptedOut) && t.Kind != Notice {
			tx.optedOut(carrierSaysStop)
		}
		if t.State == Scheduled {
			tx.also = append(tx.also, wakeAt(t, tx.now))
		}
		late := t.State == Failed && t.Why != string(OptedOut) || t.State == Cancelled && rules.Late(t.Why)
		if t.Kind == Text && !t.FollowUp && late && !tx.reached(t) {
			s.owe(tx, t, "", time.Time{}, "no text could be sent: "+t.Because)
		}
		return nil
	})
}

// audit finds jobs whose wake-up was lost and jobs whose sender has died.
func (s *Sender) audit(ctx context.Context, start bool) {
	actx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	now := s.opt.Now()
	var late []string
	err := Jobs(actx, s.opt.NC, func(j *Job) {
		switch {
		case j.State == Waiting && !j.Late && !j.Deadline.IsZero() && now.Sub(j.Deadline) > auditEvery,
			j.State == Scheduled && now.Sub(j.DueAt) > auditEvery,
			j.State == Scheduled && start && now.After(j.DueAt),
			j.State == Submitting && j.Owner != s.owner && (start || now.Sub(j.SubmittedAt) > s.opt.SubmitTimeout+auditEvery),
			j.State == Submitting && j.Owner == s.owner && now.Sub(j.SubmittedAt) > 2*s.opt.SubmitTimeout+auditEvery:
			late = append(late, j.ID)
		}
	})
	if err != nil {
		if ctx.Err() == nil {
			s.opt.Log.Error("jobs could not be looked through; tried again in a minute", "error", err)
		}
		return
	}
	for _, id := range late {
		if _, err := bus.Publish(actx, s.opt.NC, message(dueSubject(id), nil, dueTTL)); err != nil && ctx.Err() == nil {
			s.opt.Log.Error("a late job could not be woken", "job", id, "error", err)
		}
	}
}

// ErrNotHeld is the answer to resolving a job that waits for nobody.
var ErrNotHeld = errors.New("the job is not held")

// Resolve settles a held job by hand: the admin found out that the text was
// sent, or that it was not and shall not be. Then the caller's next call is texted about again.
func Resolve(ctx context.Context, nc *nats.Conn, id string, sent bool, keep Retention) error {
	for {
		var j Job
		seq, err := read(ctx, nc, Stream, jobSubject(id), &j)
		switch {
		case err != nil:
			return err
		case seq == 0:
			return fmt.Errorf("job %s: %w", id, bus.ErrNotFound)
		case j.State != Held:
			return fmt.Errorf("job %s is %s: %w", id, j.State, ErrNotHeld)
		}
		j.State, j.Why, j.Because, j.UpdatedAt = Failed, "by_hand", "the admin says that it was not sent", time.Now().UTC()
		if sent {
			j.State, j.Because = Sent, "the admin says that it was sent"
		}
		if err = putByHand(ctx, nc, &j, seq, keep); err == nil && sent && j.Kind != Notice && j.Body != "" {
			return outgoing(&j).keep(ctx, nc)
		}
		if err == nil || !errors.Is(err, bus.ErrWrongSequence) {
			return err
		}
	}
}
