// Package simulate is in charge of what would happen: calls, replies and the
// passing of time go in, and what the sender would do with each missed call comes
// out. It is pure. Its verdicts are the planner's, because Decide and Recheck are asked as
// package sms asks them; what lies between them (episodes, budgets, timers, what cancels
// what) is kept here in memory, for many days in a moment.
package simulate

import (
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/rules"
)

// A Policy decides. *rules.Rules is one.
type Policy interface {
	Decide(f rules.Facts, now time.Time) rules.Decision
	Recheck(f rules.Facts, now time.Time) (suppressed, because string)
	Zone() *time.Location // whose days the daily budgets count
}

// Options say what is not in the events.
type Options struct {
	Window  time.Duration                      // after which an episode closes; default 12 h
	Contact func(number string) *rules.Contact // the address book; nil: none
	// GotThroughTalk is from which talk time on an outbound call counts as got through (CALLS.md, vocabulary);
	// default 20 s, as the sender's.
	GotThroughTalk time.Duration
	Own            func(number string) bool // whether a number is the office's own; nil: none is
}

func (o *Options) defaults() {
	if o.Window == 0 {
		o.Window = 12 * time.Hour
	}
	if o.GotThroughTalk == 0 {
		o.GotThroughTalk = 20 * time.Second
	}
}

// talked tells whether an answered call is one in which caller and office spoke: a mailbox answers outbound calls, too.
func (o *Options) talked(c *pbx.Call) bool {
	return c.Outcome == pbx.Answered && (c.Direction == pbx.Inbound || c.Talk >= o.GotThroughTalk)
}

// Kind is what happens in an Event.
type Kind string

const (
	Call  Kind = "call"  // a call of either direction has ended
	Reply Kind = "reply" // a text of the caller comes
	Stop  Kind = "stop"  // the caller says stop
	Start Kind = "start" // and lifts it
	Hand  Kind = "hand"  // somebody in the office settles it by hand
)

// An Event is something that happens at a time.
type Event struct {
	At     time.Time
	Kind   Kind
	Call   *pbx.Call
	Number string // of whom, E.164; a call's is its caller
	Given  Given  // for a missed call
}

// Given is what else holds when a call has ended, where it does not follow from the
// events before.
type Given struct {
	Attempts  int           // missed calls of this episode, this one counted; 0: as they were
	Known     bool          // has called or been texted before
	OptedOut  bool          // has said stop
	Machine   string        // why whoever answers there is taken for a machine
	OnLine    time.Duration // the caller is on another line for so long yet
	Spent     rules.Spent   // beside what the events spent
	Down      string        // why the way out is closed
	LastReach time.Time     // when the caller got through last
}

// State is what became of a Step.
type State string

const (
	Sent      State = "sent"      // the text left
	Cancelled State = "cancelled" // something came in between: Why
	Open      State = "open"      // the task was given to its owner
	Done      State = "done"      // and the caller was reached
	Told      State = "told"      // staff were told
	Waiting   State = "waiting"   // still to come when the events end
)

// A Step is one thing that follows a missed call.
type Step struct {
	Kind     string // "text", "follow_up", "task", "owed" (a task in place of a text that could not be sent) or "notice"
	State    State
	DueAt    time.Time
	At       time.Time // when its state came about
	Why      string    // a guard's name, or "by_hand"
	Because  string
	Message  string
	Body     string
	Segments int
	Cost     rules.Money
	Task     *rules.Task
	Staff    string // of a notice
}

// A Verdict is what becomes of one missed call.
type Verdict struct {
	Call     *pbx.Call
	Decision rules.Decision
	Steps    []*Step
}

// Text is the step of the first text, nil when none was planned.
func (v *Verdict) Text() *Step {
	if len(v.Steps) > 0 && v.Steps[0].Kind == "text" {
		return v.Steps[0]
	}
	return nil
}

// Why a step was cancelled, beside the guards' names.
const (
	ByHand      = "by_hand"       // somebody in the office did it
	NoFirstText = "no_first_text" // a follow-up whose first text did not go out
)

// lookAgain is how long a due text waits before the guards that only make it
// wait are asked again.
const lookAgain = 2 * time.Second

// caller is what the sender's record of a caller holds.
type caller struct {
	opened, first, last, textFor time.Time // of the episode; textFor: the end of the newest call that has a text
	calls                        int
	reached, calledBack, replied time.Time
	known, stopped               bool
	machine                      string
	lines                        []span // when the caller is on a line
	open                         []*pending
}

type span struct{ from, to time.Time }

// pending is a step that may still come to something.
type pending struct {
	step    *Step
	verdict *Verdict
	who     *caller
	given   Given
	planned time.Time
	at      time.Time // when it is looked at next
	order   int
}

// spending is one text that left.
type spending struct {
	at       time.Time
	number   string
	segments int
	cost     rules.Money
}

// office is the sender in small.
type office struct {
	policy  Policy
	opt     Options
	callers map[string]*caller
	due     []*pending
	spent   []spending
	made    int
	all     []*Verdict
}

// Run lets the events happen in the order of their times, and then whatever is due
// up to until (zero: everything). It returns a verdict for each missed call.
func Run(p Policy, events []Event, until time.Time, opt Options) []*Verdict {
	opt.defaults()
	o := &office{policy: p, opt: opt, callers: map[string]*caller{}}
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(b.At) })
	for _, e := range events {
		if c := e.Call; c != nil && c.Caller.Number != "" && c.EndedAt.After(c.StartedAt) {
			// Known from the call's beginning, as from the live events.
			who := o.caller(c.Caller.Number)
			who.lines = append(who.lines, span{c.StartedAt, c.EndedAt})
		}
	}
	for _, e := range events {
		o.advance(e.At)
		switch e.Kind {
		case Call:
			o.call(e)
		default:
			o.hears(e)
		}
	}
	o.advance(until)
	return o.all
}

func (o *office) caller(number string) *caller {
	c := o.callers[number]
	if c == nil {
		c = &caller{}
		o.callers[number] = c
	}
	return c
}

// advance does what is due before t; everything if t is zero.
func (o *office) advance(t time.Time) {
	for len(o.due) > 0 {
		next := slices.MinFunc(o.due, func(a, b *pending) int {
			if c := a.at.Compare(b.at); c != 0 {
				return c
			}
			return a.order - b.order
		})
		// What ends at the very moment is heard of first: the sender waits for it.
		if !t.IsZero() && !next.at.Before(t) {
			return
		}
		o.look(next, next.at)
	}
}

// call takes in a finished call.
func (o *office) call(e Event) {
	c := e.Call
	who := &caller{}
	if c.Caller.Number != "" {
		who = o.caller(c.Caller.Number)
	}
	if c.Missed() {
		o.missed(e, who)
		return
	}
	answered := c.Outcome == pbx.Answered
	switch {
	case answered && c.Direction == pbx.Outbound:
		// A mailbox answers too: only a talk ends the episode, but what is pending ends with any.
		who.calledBack = later(who.calledBack, c.EndedAt)
		if o.opt.talked(c) {
			o.through(who, c)
		}
		o.cancel(who, c.EndedAt, e.At, rules.CalledBack, "the office has called back", o.opt.talked(c))
	case answered:
		o.through(who, c)
		o.cancel(who, c.EndedAt, e.At, rules.Reached, "the caller has got through", true)
	case c.Outcome == pbx.Unknown:
		o.cancel(who, c.EndedAt, e.At, rules.NotCertain, "a later call may have been answered", false)
	}
	who.known = who.known || answered || c.Outcome == pbx.Unknown
}

func (o *office) through(who *caller, c *pbx.Call) {
	who.reached = later(who.reached, c.EndedAt)
	if !who.textFor.After(c.EndedAt) { // else this one is told late, and a newer episode goes on
		who.closeEpisode()
	}
}

func (who *caller) closeEpisode() {
	who.opened, who.first, who.last, who.calls = time.Time{}, time.Time{}, time.Time{}, 0
}

// hears takes in what comes by text, or from the office.
func (o *office) hears(e Event) {
	who := o.caller(e.Number)
	kind := e.Kind
	if kind == Start && !who.stopped {
		kind = Reply // nothing to lift: they say something else
	}
	who.known = who.known || kind != Hand // whoever texts is known, by a STOP too
	switch kind {
	case Reply:
		who.replied = later(who.replied, e.At)
		if !who.opened.IsZero() {
			who.last = later(who.last, e.At)
		}
		o.cancel(who, e.At, e.At, rules.Replied, "the caller has answered", false)
	case Stop:
		who.stopped = true
		o.cancel(who, e.At, e.At, rules.SaidStop, "the caller has said stop", false)
	case Start:
		who.stopped = false
	case Hand:
		o.cancel(who, e.At, e.At, ByHand, "somebody in the office has settled it", true)
	}
}

// cancel ends what is pending for a caller, calls that ended after before excepted:
// those are about something newer. Open tasks are done when the caller was reached.
func (o *office) cancel(who *caller, before, now time.Time, why, because string, reached bool) {
	for _, p := range slices.Clone(who.open) {
		if p.verdict.Call.EndedAt.After(before) {
			continue
		}
		switch {
		case p.step.State == Open && reached:
			o.end(p, Done, now, why, because)
		case p.step.State == Open, p.step.Task != nil && why == rules.NotCertain: // people will find out
		case why == rules.Replied && p.step.Kind == "text": // about the call before: the first text is owed all the same
		default:
			o.end(p, Cancelled, now, why, because)
		}
	}
}

// end takes a step off the pending ones.
func (o *office) end(p *pending, s State, now time.Time, why, because string) {
	p.step.State, p.step.At, p.step.Why, p.step.Because = s, now, why, because
	o.due = slices.DeleteFunc(o.due, func(x *pending) bool { return x == p })
	if s == Open {
		return // until the caller is reached
	}
	p.who.open = slices.DeleteFunc(p.who.open, func(x *pending) bool { return x == p })
	if p.step.Kind == "text" && s == Cancelled && rules.Late(why) {
		o.owe(p.verdict, p.who, p.given, now, "no text could be sent: "+because)
	}
	if p.step.Kind == "text" && s == Cancelled {
		if p.who.first.Equal(p.planned) {
			p.who.first = time.Time{} // the episode has its first text still to come
		}
	}
}

// owed tells whether a call back is owed already by owner, empty: by anybody.
func (who *caller) owed(owner string) bool {
	return slices.ContainsFunc(who.open, func(p *pending) bool {
		return p.step.State == Open && (owner == "" || p.step.Task.Owner == owner)
	})
}

// owe makes the task to call a caller back who was to be texted, unless one is open already.
func (o *office) owe(v *Verdict, who *caller, g Given, now time.Time, because string) {
	if who.owed("") {
		return
	}
	owner := ""
	for _, fu := range slices.Backward(v.Decision.FollowUps) {
		if fu.Task != nil {
			owner = fu.Task.Owner
		}
	}
	if t := v.Decision.Task; t != nil {
		owner = t.Owner
	} else if len(v.Decision.Notify) > 0 {
		owner = v.Decision.Notify[0]
	}
	s := &Step{Kind: "owed", State: Open, DueAt: now, At: now, Because: because, Task: &rules.Task{Owner: owner, Deadline: now.Add(rules.OwedWithin)}}
	v.Steps = append(v.Steps, s)
	who.open = append(who.open, &pending{step: s, verdict: v, who: who, given: g, planned: now, at: now})
}

// missed decides about a missed call, as the planner does.
func (o *office) missed(e Event, who *caller) {
	c, now := e.Call, e.At
	g := e.Given
	who.known = who.known || g.Known
	who.stopped = who.stopped || g.OptedOut
	who.reached = later(who.reached, g.LastReach)
	if g.Machine != "" {
		who.machine = g.Machine
	}
	if g.OnLine > 0 {
		who.lines = append(who.lines, span{now.Add(-time.Second), now.Add(g.OnLine)})
	}
	// The episode closes so long after its last text or reply; without one, after its first call.
	since := later(who.first, who.last)
	if since.IsZero() {
		since = who.opened
	}
	if !since.IsZero() && now.Sub(since) >= o.opt.Window {
		who.closeEpisode()
	}
	if g.Attempts > 0 {
		who.calls = g.Attempts - 1
	}
	f := o.facts(c, who, g, now)
	d := o.policy.Decide(f, now)
	v := &Verdict{Call: c, Decision: d}
	o.all = append(o.all, v)
	plan := func(s *Step) {
		v.Steps = append(v.Steps, s)
		p := &pending{step: s, verdict: v, who: who, given: g, planned: now, at: s.DueAt, order: o.made}
		o.made++
		who.open = append(who.open, p)
		o.due = append(o.due, p)
	}
	if d.Send {
		plan(&Step{Kind: "text", State: Waiting, DueAt: d.DueAt, Message: d.Message, Body: d.Body, Segments: d.Segments, Cost: d.Cost})
		who.first = now
		who.textFor = later(who.textFor, c.EndedAt)
	}
	planned := slices.Clone(who.open)
	for _, fu := range d.FollowUps {
		// Who calls again and again is owed one callback: the one that is planned.
		if fu.Task != nil && slices.ContainsFunc(planned, func(p *pending) bool {
			return p.step.Task != nil && p.step.State == Waiting && p.step.Task.Owner == fu.Task.Owner && !p.step.DueAt.After(fu.DueAt)
		}) {
			continue
		}
		plan(&Step{Kind: "follow_up", State: Waiting, DueAt: fu.DueAt, Message: fu.Message, Body: fu.Body, Segments: fu.Segments, Cost: fu.Cost, Task: fu.Task})
	}
	if d.Task != nil && !who.owed(d.Task.Owner) {
		s := &Step{Kind: "task", State: Open, DueAt: now, At: now, Task: d.Task}
		v.Steps = append(v.Steps, s)
		who.open = append(who.open, &pending{step: s, verdict: v, who: who, given: g, planned: now, at: now})
	}
	if d.Task == nil && d.Owed != nil {
		o.owe(v, who, g, now, d.Because)
	}
	for _, name := range d.Notify {
		v.Steps = append(v.Steps, &Step{Kind: "notice", State: Told, DueAt: now, At: now, Staff: name})
	}
	if who.opened.IsZero() {
		who.opened = c.EndedAt
	}
	who.calls++
	who.known = true
}

// facts are what is known of a call's caller at a time.
func (o *office) facts(c *pbx.Call, who *caller, g Given, now time.Time) rules.Facts {
	f := rules.Facts{Call: c, OptedOut: who.stopped, GotThrough: who.reached, CalledBack: who.calledBack, Replied: who.replied,
		Episode: rules.Episode{OpenedAt: who.opened, FirstTextAt: who.first, LastTextAt: who.last, Calls: who.calls},
		Known:   who.known, Ours: o.opt.Own != nil && o.opt.Own(c.Caller.Number), Machine: who.machine, Down: g.Down, Spent: o.spentBy(c.Caller.Number, now)}
	if o.opt.Contact != nil {
		f.Contact = o.opt.Contact(c.Caller.Number)
	}
	f.Known = f.Known || f.Contact != nil
	f.OnLine = !who.free(now).IsZero()
	f.Spent.Caller += g.Spent.Caller
	f.Spent.Prefix += g.Spent.Prefix
	f.Spent.Minute += g.Spent.Minute
	f.Spent.DaySegments += g.Spent.DaySegments
	f.Spent.DayMoney += g.Spent.DayMoney
	return f
}

// free is when the lines end that the caller is on at t; zero: on none.
func (who *caller) free(t time.Time) (at time.Time) {
	for _, l := range who.lines {
		if !l.from.After(t) && l.to.After(t) {
			at = later(at, l.to)
		}
	}
	return at
}

// look does the step that is due, or lets it wait.
func (o *office) look(p *pending, now time.Time) {
	if p.step.Task != nil {
		// Of a caller without a number nothing is remembered.
		if p.verdict.Call.Caller.Number != "" && p.who.owed(p.step.Task.Owner) {
			o.end(p, Cancelled, now, rules.Duplicate, "a callback is owed already")
			return
		}
		o.end(p, Open, now, "", "")
		return
	}
	if first := p.verdict.Text(); p.step.Kind == "follow_up" && first != nil {
		switch first.State {
		case Sent:
		case Waiting:
			p.at = now.Add(lookAgain)
			return
		default:
			o.end(p, Cancelled, now, NoFirstText, "the first text did not go out")
			return
		}
	}
	f := o.facts(p.verdict.Call, p.who, p.given, now)
	f.Text = &rules.DueText{FollowUp: p.step.Kind == "follow_up", DueAt: p.step.DueAt, PlannedAt: p.planned, Segments: p.step.Segments}
	why, because := o.policy.Recheck(f, now)
	if late := now.Sub(p.verdict.Call.EndedAt); why == "" && p.step.Kind == "text" && late > p.verdict.Decision.Fresh || now.Sub(p.step.DueAt) > 24*time.Hour {
		why, because = rules.Stale, "the call ended too long ago"
	}
	switch {
	case why == "":
		p.who.last = later(p.who.last, now)
		o.spent = append(o.spent, spending{now, p.verdict.Call.Caller.Number, p.step.Segments, p.step.Cost})
		o.end(p, Sent, now, "", "")
	case rules.Waits(why):
		p.step.Why, p.step.Because = why, because
		p.at = now.Add(lookAgain)
		if free := p.who.free(now); why == rules.OnLine && free.After(p.at) {
			p.at = free
		}
	default:
		o.end(p, Cancelled, now, why, because)
	}
}

// spentBy is what the texts that have left use up of the budgets of a text to number.
func (o *office) spentBy(number string, now time.Time) (s rules.Spent) {
	zone := o.policy.Zone()
	if zone == nil {
		zone = time.UTC
	}
	y, m, d := now.In(zone).Date()
	midnight := time.Date(y, m, d, 0, 0, 0, 0, zone)
	for i := len(o.spent) - 1; i >= 0; i-- {
		x := o.spent[i]
		ago := now.Sub(x.at)
		if ago > 25*time.Hour {
			break
		}
		if x.number == number && ago <= 24*time.Hour {
			s.Caller++
		}
		if prefix(x.number) == prefix(number) && ago <= time.Hour {
			s.Prefix++
		}
		if ago <= time.Minute {
			s.Minute++
		}
		if !x.at.Before(midnight) {
			s.DaySegments += x.segments
			s.DayMoney += x.cost
		}
	}
	return s
}

// prefix is what numbers have in common that differ in their last 4 digits only.
func prefix(number string) string {
	return strings.TrimSuffix(number, number[max(0, len(number)-4):])
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
