package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"textback/pbx"
)

// guardNames are the guards on every text in their order. Replied is asked of
// follow-ups only, when those are due.
var guardNames = [...]string{NotMissed, Stale, NotCertain, Anonymous, Internal, InvalidNumber, Region, NumberType, SaidStop, DoNotText, BlockedOne, Machine,
	Attestation, QuietHours, BudgetCaller, BudgetPrefix, BudgetMinute, BudgetDay, BudgetMoney, Breaker, Reached, CalledBack, Replied, OnLine, Duplicate}

// bit is a guard's place in asked.no.
func bit(name string) uint32 { return 1 << slices.Index(guardNames[:], name) }

// follows tells whether it is a follow-up that is due.
func (a *asked) follows() bool { return a.f.Text != nil && a.f.Text.FollowUp }

// ask asks all guards.
func (a *asked) ask() {
	for i, name := range guardNames {
		if !a.ok(name) {
			a.no |= 1 << i
		}
	}
}

// first is the first guard that stands against a text for good, else the first
// that passes by itself, empty for none.
func (a *asked) first() string {
	wait := ""
	for i, name := range guardNames {
		switch {
		case a.no&(1<<i) == 0:
		case !Waits(name):
			return name
		case wait == "":
			wait = name
		}
	}
	return wait
}

// ok tells whether a guard lets a text through.
func (a *asked) ok(name string) bool {
	c, s := a.f.Call, &a.f.Spent
	switch name {
	case NotMissed:
		return c.Missed()
	case Stale:
		return !c.EndedAt.IsZero() && a.age() <= a.fresh
	case NotCertain:
		return c.Certain
	case Anonymous:
		return !c.Caller.Anonymous
	case Internal:
		// Whoever shows our own number is a phone of ours, or forged it: the text would come back to us.
		return !a.internal()
	case InvalidNumber:
		return a.caller().valid || c.Caller.Anonymous
	case Region:
		return !a.caller().valid || a.inRegion()
	case NumberType:
		return !a.caller().valid || !a.inRegion() || slices.Contains(a.r.file.NumberTypes, a.caller().kind)
	case SaidStop:
		return !a.f.OptedOut
	case DoNotText:
		return a.f.Contact == nil || !a.f.Contact.DoNotText
	case BlockedOne:
		return a.f.Contact == nil || !a.f.Contact.Blocked
	case Machine:
		return a.f.Machine == ""
	case Attestation:
		return !strings.EqualFold(c.Caller.Attestation, "failed")
	case QuietHours:
		if !a.quietBinds() || !a.caller().valid || !a.inRegion() {
			return true
		}
		_, where := a.r.numbers.elsewhere(c.Caller.Number, a.caller().region, a.leaves, a.r.file.Guards.QuietHours.span)
		return where == ""
	case BudgetCaller:
		return !a.budgets().PerCaller.reached(s.Caller)
	case BudgetPrefix:
		return !a.budgets().PerPrefix.reached(s.Prefix)
	case BudgetMinute:
		return !a.budgets().PerMinute.reached(s.Minute)
	case BudgetDay:
		l := a.r.file.Guards.Budgets.SegmentsPerDay
		return l.off || s.DaySegments+a.size <= l.n
	case BudgetMoney:
		b := a.r.file.Guards.Budgets.MoneyPerDay
		return b.off || s.DayMoney+a.cost <= b.most
	case Breaker:
		return a.f.Down == ""
	case Reached:
		return a.f.GotThrough.IsZero() || !a.f.GotThrough.After(c.EndedAt)
	case CalledBack:
		since := c.EndedAt
		if a.follows() {
			since = a.f.Text.PlannedAt
		}
		return !a.f.CalledBack.After(since)
	case Replied:
		return !a.follows() || a.f.Replied.IsZero() || !a.f.Replied.After(a.f.Text.PlannedAt)
	case OnLine:
		return !a.f.OnLine
	case Duplicate:
		last, _ := a.lastText()
		return last.IsZero() || a.now.Sub(last) >= a.window
	}
	return false
}

func (a *asked) inRegion() bool { return slices.Contains(a.r.file.Regions, a.caller().region) }

// age is how late the text is: counted from the call's end, and for a follow-up
// from when it was to leave.
func (a *asked) age() time.Duration {
	if a.follows() {
		return a.now.Sub(a.f.Text.DueAt)
	}
	return a.now.Sub(a.f.Call.EndedAt)
}

// quietBinds tells whether quiet hours are asked for at all: the answer to a call
// just made goes out at night too, unless they are strict (SMS.md, opt-out and decency).
func (a *asked) quietBinds() bool {
	q := &a.r.file.Guards.QuietHours
	return q.Strict || a.follows() || a.leaves.Sub(a.f.Call.EndedAt) > q.AfterCall
}

// weak tells whether nobody vouches for the caller's number.
func (a *asked) weak() bool {
	at := a.f.Call.Caller.Attestation
	return strings.EqualFold(at, "C") || at == "" && a.r.file.Guards.Weak.Absent
}

// budgets are those that hold for this caller.
func (a *asked) budgets() budgets {
	b := a.r.file.Guards.Budgets
	if a.weak() {
		w := &a.r.file.Guards.Weak
		b.PerCaller, b.PerPrefix, b.PerMinute = b.PerCaller.tighter(w.PerCaller), b.PerPrefix.tighter(w.PerPrefix), b.PerMinute.tighter(w.PerMinute)
	}
	return b
}

// lastText is when the episode that is still open was last about texts, zero if never.
func (a *asked) lastText() (t time.Time, what string) {
	// CALLS.md, episode: it closes so long after its last text or reply, not after its first.
	e := &a.f.Episode
	if !e.FirstTextAt.IsZero() && e.LastTextAt.After(e.FirstTextAt) {
		return e.LastTextAt, "this caller's last text or reply"
	}
	return e.FirstTextAt, "this caller's text"
}

// guards are the guards' say, in words.
func (a *asked) guards() []Guard {
	b := *a // several may ask at once
	gs := make([]Guard, 0, len(guardNames))
	for i, name := range guardNames {
		if !a.follows() && name == Replied {
			continue
		}
		gs = append(gs, Guard{Name: name, OK: a.no&(1<<i) == 0, Why: b.sentence(name)})
	}
	return gs
}

// unlimited tells whether it is a budget that nothing can use up.
func (a *asked) unlimited(name string) bool {
	b := a.budgets()
	return map[string]bool{BudgetCaller: b.PerCaller.off, BudgetPrefix: b.PerPrefix.off, BudgetMinute: b.PerMinute.off, BudgetDay: b.SegmentsPerDay.off, BudgetMoney: b.MoneyPerDay.off}[name]
}

// sentence is what a guard says, for or against.
func (a *asked) sentence(name string) string {
	c, f, s := a.f.Call, &a.f, &a.f.Spent
	ok := a.no&bit(name) == 0
	say := func(yes, no string) string {
		if ok {
			return yes
		}
		return no
	}
	switch name {
	case NotMissed:
		if c.Direction == pbx.Outbound {
			return say("", "the call went out")
		}
		return say("nobody took the call", "the call was "+string(c.Outcome))
	case Stale:
		switch age := a.age(); {
		case c.EndedAt.IsZero():
			return "the call has not ended, or when is not known"
		case a.follows() && age <= 0:
			return "the text is due"
		case a.follows():
			return say("the text was due "+ago(age), "the text was due "+ago(age)+", and one more than "+human(a.fresh)+" late only puzzles people")
		case ok:
			return "the call ended " + ago(age)
		default:
			return "the call ended " + ago(age) + ", and a text later than " + human(a.fresh) + " after a call only puzzles people"
		}
	case NotCertain:
		if ok {
			return "it is certain that nobody took it"
		}
		why := "it is not certain that nobody took the call"
		for i, g := range c.Gaps {
			if i == 0 {
				why += ":"
			} else {
				why += ";"
			}
			why += " " + orUnknown(gaps[g], string(g))
		}
		return why
	case Anonymous:
		return say("the caller shows a number", "the caller withheld the number")
	case Internal:
		if !ok && c.Caller.Number == "" {
			return "the caller shows " + quote(c.Caller.Raw) + ", an extension or a short number, which cannot be texted"
		}
		return say("the number is not the office's own", "the caller shows the office's own number")
	case InvalidNumber:
		if ok && !a.caller().valid {
			return "there is no number to look at"
		}
		return say("the number is valid", "what the caller shows ("+quote(orUnknown(c.Caller.Raw, c.Caller.Number))+") is no number that can be texted")
	case Region:
		if !a.caller().valid {
			return "there is no region to look at"
		}
		return say("numbers of "+a.caller().region+" are texted", "numbers of "+a.caller().region+" are not texted (regions: "+strings.Join(a.r.file.Regions, ", ")+")")
	case NumberType:
		if !a.caller().valid || !a.inRegion() {
			return "there is no type of number to look at"
		}
		kind := strings.ReplaceAll(a.caller().kind, "_", " ")
		return say("it is a number that can be texted ("+kind+")", "it is a number that is not texted ("+kind+"; number_types: "+strings.Join(a.r.file.NumberTypes, ", ")+")")
	case SaidStop:
		return say("the caller has not said stop", "the caller has said stop")
	case DoNotText:
		return say("no address book says not to text", "the address book says not to text this caller")
	case BlockedOne:
		return say("no address book blocks the caller", "the address book blocks this caller")
	case Machine:
		return say("nothing says that a machine answers there", "a machine seems to answer there: "+f.Machine)
	case Attestation:
		if at := c.Caller.Attestation; ok && at != "" {
			return "the carrier does not call the number forged (attestation " + at + ")"
		}
		return say("no carrier calls the number forged", "the carrier calls the number forged (attestation failed)")
	case QuietHours:
		q := &a.r.file.Guards.QuietHours
		switch {
		case !a.caller().valid || !a.inRegion():
			return "there is no zone to look at"
		case !a.quietBinds():
			return "it leaves within " + human(q.AfterCall) + " after the call, so quiet hours do not count"
		case ok:
			return "it is between " + strings.Replace(q.Texts, "-", " and ", 1) + " wherever the number may be"
		}
		zone, where := a.r.numbers.elsewhere(c.Caller.Number, a.caller().region, a.leaves, q.span)
		if zone == nil {
			return "where the number is, and so what time it is there, is not known"
		}
		return "it is " + a.leaves.In(zone).Format("15:04") + " in " + where + ", where the number may be, and texts leave between " + strings.Replace(q.Texts, "-", " and ", 1)
	case BudgetCaller:
		return used(ok, a.budgets().PerCaller, s.Caller, "automatic texts to this caller in 24 h", a.weakly())
	case BudgetPrefix:
		return used(ok, a.budgets().PerPrefix, s.Prefix, "texts in an hour to numbers like this one", a.weakly())
	case BudgetMinute:
		return used(ok, a.budgets().PerMinute, s.Minute, "texts in a minute", a.weakly())
	case BudgetDay:
		l := a.r.file.Guards.Budgets.SegmentsPerDay
		if l.off {
			return "segments have no daily limit"
		}
		return fmt.Sprintf("%d of %d segments are used today, and this text takes %d", s.DaySegments, l.n, a.size)
	case BudgetMoney:
		b := a.r.file.Guards.Budgets.MoneyPerDay
		if b.off {
			return "money has no daily limit"
		}
		return fmt.Sprintf("%s of %s are spent today, and this text costs %s", s.DayMoney, b.most, a.cost)
	case Breaker:
		return say("the way out is open", "the way out is closed: "+f.Down)
	case Reached:
		return say("the caller has not got through since", "the caller has got through since")
	case CalledBack:
		return say("nobody has called back since", "the office has called back since")
	case Replied:
		return say("the caller has not replied since", "the caller has replied since")
	case OnLine:
		return say("the caller is not on a line", "the caller is on a line right now")
	case Duplicate:
		last, what := a.lastText()
		if ok {
			return "no other text went to this caller within " + human(a.window)
		}
		return what + " of " + ago(a.now.Sub(last)) + " is still within the window of " + human(a.window)
	}
	return ""
}

// used is what a budget says.
func used(ok bool, l limit, spent int, what, weakly string) string {
	switch {
	case l.off:
		return "there is no limit to " + what
	case ok:
		return fmt.Sprintf("%d of %d %s%s", spent, l.n, what, weakly)
	}
	return fmt.Sprintf("%d of %d %s are used up%s", spent, l.n, what, weakly)
}

// weakly is added where the budgets are tighter for this caller than for others.
func (a *asked) weakly() string {
	if a.weak() {
		return " (nobody vouches for the number: attestation " + attestation(a.f.Call) + ")"
	}
	return ""
}

// gaps are pbx.Gaps in words.
var gaps = map[pbx.Gap]string{
	pbx.GapAttachedLate:     "it was under way before textback saw the PBX",
	pbx.GapEventsLost:       "the connection to the PBX broke meanwhile",
	pbx.GapOneSide:          "only one side of it was seen",
	pbx.GapWitnessDisagrees: "two sources tell different stories",
	pbx.GapNoFinal:          "how a part of it ended was not seen",
	pbx.GapForcedClose:      "its end was not seen",
	pbx.GapMachineKind:      "a machine answered, which kind is not known",
}
