package rules

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"textback/rules/gsm7"
)

// asked is one decision at work: the facts, and what has been found out of them
// so far. The Decision keeps it to explain itself.
type asked struct {
	r   *Rules
	f   Facts
	now time.Time

	office  *office
	matched *rule
	fresh   time.Duration
	window  time.Duration
	leaves  time.Time // when the text is to leave
	size    int       // its segments
	cost    Money
	no      uint32 // the guards that stand against a text, one bit each

	says string    // what the hours say at the call's end, once somebody has asked
	end  time.Time // the call's end in the office's zone, once somebody has asked
	who  *caller   // what the caller's number is, once somebody has asked
	seen caller
}

// local is the call's end in the zone of the line.
func (a *asked) local() time.Time {
	if a.end.IsZero() {
		a.end = a.f.Call.EndedAt.In(a.office.hours.zone)
	}
	return a.end
}

// hours is what the line's hours say of the call's end: one of hoursWords.
func (a *asked) hours() string {
	if a.says == "" {
		a.says = a.office.hours.at(a.local())
	}
	return a.says
}

// caller is what the caller's number is.
func (a *asked) caller() *caller {
	if a.who == nil {
		a.seen = a.r.numbers.look(a.f.Call.Caller.Number)
		a.who = &a.seen
	}
	return a.who
}

// Decide says what becomes of a call at the time now. It asks every guard and
// every rule up to the one that matches, so that the Decision can explain itself;
// Suppressed is the first thing that stands against a text for good.
//
// Who asks what: Decide asks the rules and all guards, once, when the call has
// ended. The caller of Decide keeps the episode: it notes a first text when Send
// is true and leaves it unspent otherwise. What passes by itself (Waits) is no
// reason against a text, and Decide only notes it. When the text is due, much can
// have happened: Recheck asks every guard but Duplicate again, which the planned
// text itself would fail, and there those mean to wait. The rules are not asked
// again: what was decided stays decided, also when other rules have come into force.
//
// f.Call must be set, and has ended. What the Decision points to must not be changed.
func (r *Rules) Decide(f Facts, now time.Time) Decision {
	c := f.Call
	a := &asked{r: r, f: f, now: now, office: r.officeOf(c.Line), fresh: r.file.Defaults.Fresh, window: r.file.Defaults.Window, size: 1}
	d := Decision{RulesVersion: r.version, Delay: r.file.Defaults.Delay, Fresh: a.fresh, Shadow: r.Shadow(), asked: a}
	if c.Missed() {
		a.matched = a.match()
	}
	ru := a.matched
	if ru != nil {
		d.Rule, d.RuleLine = ru.Name, ru.line
		if ru.Delay != nil {
			d.Delay = *ru.Delay
		}
		if ru.Window != nil {
			a.window = *ru.Window
		}
	}
	d.Window = a.window
	d.DueAt = c.EndedAt.Add(d.Delay)
	switch {
	case d.DueAt.Before(now):
		d.DueAt = now
	case c.EndedAt.After(now): // the PBX's clock is ahead of ours: no reason to wait longer
		d.DueAt = now.Add(d.Delay)
	}
	a.leaves = d.DueAt
	var failed error
	if ru != nil && ru.msg != nil {
		var t *text
		if t, d.Body, failed = a.say(ru.msg, d.DueAt); failed == nil {
			d.Message, d.Language = ru.msg.name, t.language
			d.Segments, d.Encoding = gsm7.Segments(d.Body)
			d.Cost = r.Price(a.caller().region, d.Segments)
			a.size, a.cost = d.Segments, d.Cost
		}
	}
	a.ask()
	first := a.first()
	switch {
	case first != "" && !Waits(first):
		d.Suppressed, d.Because = first, a.sentence(first)
	case ru == nil:
		d.Suppressed, d.Because = NoRule, "no rule matches this call"
	case ru.msg == nil && ru.Nothing != "":
		d.Suppressed, d.Because = RuleSaysNo, "rule "+quote(ru.Name)+" sends nothing: "+ru.Nothing
	case ru.msg == nil:
		d.Suppressed, d.Because = RuleSaysNo, "rule "+quote(ru.Name)+" sends no text"
	case failed != nil:
		// It rendered in every branch when the file was read: what is left is a test of
		// a value's letters, such as {{if eq .Name "Al"}}{{index .Name 9}}{{end}}.
		d.Suppressed, d.Because = RuleSaysNo, ru.msg.called+" cannot be rendered: "+failed.Error()
	default:
		d.Send, d.Because = true, a.allows()
	}
	if ru != nil && a.no&(bit(NotMissed)|bit(Stale)) == 0 {
		a.beside(ru, &d)
	}
	if ru != nil && !d.Send && failed == nil {
		d.Owed = a.owed(ru)
	}
	return d
}

// What could not be done in time is owed for so long: over a weekend, not for the
// calls of a month ago that a new sender finds.
const owedFor = 72 * time.Hour

// OwedWithin is how long a callback may take that nobody set a deadline for.
const OwedWithin = 4 * time.Hour

// owed is the callback that takes the place of what came too late, or of a text for
// which the day has no budget left, where nothing else stands against it.
func (a *asked) owed(ru *rule) *Task {
	late := bit(Stale) | bit(BudgetDay) | bit(BudgetMoney)
	rest := a.no &^ (late | bit(OnLine) | bit(BudgetMinute) | bit(Breaker))
	stale := a.no&bit(Stale) != 0
	if stale && !a.r.file.Guards.QuietHours.Strict {
		rest &^= bit(QuietHours) // in time it would have left at night, too
	}
	wanted := ru.msg != nil && a.no&late != 0 && rest == 0
	if stale && ru.Task != nil { // whatever stands against a text
		wanted = a.no&(bit(NotMissed)|bit(NotCertain)|bit(Reached)|bit(CalledBack)) == 0
	}
	if !wanted || a.now.Sub(a.f.Call.EndedAt) > owedFor {
		return nil
	}
	t := &Task{Deadline: a.now.Add(OwedWithin)}
	switch {
	case ru.Task != nil:
		t.Owner, t.Deadline = ru.Task.Owner, a.now.Add(ru.Task.Within)
	case len(ru.Notify) > 0:
		t.Owner = ru.Notify[0]
	default:
		for i := range ru.FollowUps {
			if t.Owner == "" {
				t.Owner = ru.FollowUps[i].Assign
			}
		}
	}
	return t
}

// allows is why a text is sent.
func (a *asked) allows() string { return a.matched.allows }

// beside notes what the rule wants beside its text.
func (a *asked) beside(ru *rule, d *Decision) {
	d.Notify, d.Tags = ru.Notify, ru.Tags
	if a.no&bit(Reached) != 0 {
		return // nobody need be called back who has been reached
	}
	if ru.Task != nil {
		d.Task = &Task{Owner: ru.Task.Owner, Deadline: a.f.Call.EndedAt.Add(ru.Task.Within)}
	}
	for i := range ru.FollowUps {
		fu := &ru.FollowUps[i]
		next := FollowUp{DueAt: d.DueAt.Add(fu.After)}
		switch {
		case fu.Assign != "":
			next.Task = &Task{Owner: fu.Assign, Deadline: next.DueAt.Add(fu.Within)}
		case !d.Send || fu.msg == nil:
			continue // what follows a text needs the text
		default:
			t, body, err := a.say(fu.msg, next.DueAt)
			if err != nil {
				continue // as above: only letters that nobody foresaw
			}
			next.Message, next.Body, next.Language = fu.msg.name, body, t.language
			next.Segments, next.Encoding = gsm7.Segments(body)
			next.Cost = a.r.Price(a.caller().region, next.Segments)
		}
		d.FollowUps = append(d.FollowUps, next)
	}
}

// say renders a message for this caller, to be read at read.
func (a *asked) say(m *message, read time.Time) (*text, string, error) {
	var theirs string
	if a.f.Contact != nil {
		theirs = language(a.f.Contact.Language)
	}
	t := m.in(theirs, a.office.language, a.r.file.Language)
	v := a.values(t, read)
	s, err := t.fitted(&v)
	return t, s, err
}

// language is the language of a tag such as es-MX.
func language(tag string) string {
	if i := strings.IndexAny(tag, "-_"); i > 0 {
		tag = tag[:i]
	}
	return strings.ToLower(tag)
}

// Recheck asks the guards again when a text is due, those about duplicates
// excepted: the outbox itself holds that text's place in the episode. It
// returns the first that stands against it for good, else the first that passes
// by itself (Waits), empty for none. A follow-up, as f.Text says, is stale when
// it is late itself, and is not wanted any more once the caller has replied or has
// been called back.
func (r *Rules) Recheck(f Facts, now time.Time) (suppressed, because string) {
	a := &asked{r: r, f: f, now: now, office: r.officeOf(f.Call.Line), fresh: r.file.Defaults.Fresh, window: r.file.Defaults.Window, leaves: now, size: 1}
	if f.Text != nil && f.Text.Segments > 0 {
		a.size = f.Text.Segments
	}
	a.cost = r.Price(a.caller().region, a.size)
	a.ask()
	a.no &^= bit(Duplicate)
	if first := a.first(); first != "" {
		return first, a.sentence(first)
	}
	return "", ""
}

// steps are the rules' say, in words.
func (a *asked) steps() []Step {
	if !a.f.Call.Missed() {
		return nil
	}
	b := *a // several may ask at once
	steps := make([]Step, 0, len(a.r.file.Rules))
	for i := range a.r.file.Rules {
		ru := &a.r.file.Rules[i]
		s := Step{Rule: ru.Name, Line: ru.line, Matched: ru == a.matched}
		if !s.Matched {
			s.Why = b.why(&ru.When, b.against(&ru.When))
		}
		if steps = append(steps, s); s.Matched {
			break
		}
	}
	return steps
}

func quote(s string) string { return `"` + s + `"` }

// orUnknown is the first that is not empty, for explanations: "unknown" stands in for none.
func orUnknown(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return "unknown"
}

// human writes a duration as people do: "1.5 s", "15 min", "12 h", "30 days".
func human(d time.Duration) string {
	in := func(n float64, unit string) string {
		var b [32]byte
		digits, _ := bytes.CutSuffix(strconv.AppendFloat(b[:0], n, 'f', 1, 64), []byte(".0"))
		return string(append(digits, unit...))
	}
	switch {
	case d < 0:
		return "-" + human(-d)
	case d >= 72*time.Hour:
		return in(d.Hours()/24, " days")
	case d < time.Minute:
		return in(d.Seconds(), " s")
	case d < time.Hour:
		return in(d.Minutes(), " min")
	}
	return in(d.Hours(), " h")
}

func ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return human(d) + " ago"
}
