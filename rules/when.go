package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"textback/pbx"
)

// condition is one of a rule's conditions, in the order in which they are asked.
type condition int

const (
	none condition = iota // all hold
	cOutcome
	cReason
	cCertain
	cLine
	cCaller
	cNotCaller
	cAnonymous
	cInternal
	cRegion
	cContact
	cGroup
	cAttestation
	cAttempts
	cRing
	cWait
	cQueueWait
	cMessageLeft
	cOpen
	cHours
	cDates
	cDays
	cTime
	cQueue
	cMenu
	cForwarded
	cTried
	cPBX
)

// compiled is what is made of a rule's conditions when the file is read.
type compiled struct {
	outcomes uint32 // one bit for each of pbx.Outcomes; 0: any
	dates    []dates
	days     uint8 // one bit for each time.Weekday
	times    []span
}

// dates are days from the first to the last, both of them among them.
type dates struct{ first, last date }

// outcomeBit is o's place in compiled.outcomes, 0 for a word of a later version.
func outcomeBit(o pbx.Outcome) uint32 {
	for i, known := range pbx.Outcomes {
		if known == o {
			return 1 << i
		}
	}
	return 0
}

// contactWords are those of the condition contact.
var contactWords = []string{"new", "known", "vip", "blocked"}

// attestations are those of the condition attestation.
var attestations = []string{"A", "B", "C", "failed", "none"}

// hoursWords are those of the condition hours.
var hoursWords = []string{opened, shut, holiday, pause}

// matches the rules in their order. The first whose conditions all hold is it.
func (a *asked) match() *rule {
	bit := outcomeBit(a.f.Call.Outcome)
	for i := range a.r.file.Rules {
		ru := &a.r.file.Rules[i]
		if o := ru.When.compiled.outcomes; o != 0 && o&bit == 0 {
			continue // most rules are passed over for their outcome
		}
		if a.against(&ru.When) == none {
			return ru
		}
	}
	return nil
}

// against is the first condition that does not hold, none if all do.
func (a *asked) against(w *when) condition {
	c := a.f.Call
	switch {
	case len(w.Outcome) > 0 && !slices.Contains(w.Outcome, string(c.Outcome)):
		return cOutcome
	case len(w.Reason) > 0 && !slices.Contains(w.Reason, string(c.Reason)):
		return cReason
	case w.Certain != nil && c.Certain != *w.Certain:
		return cCertain
	case len(w.Line) > 0 && !onLine(w.Line, c.Line):
		return cLine
	case len(w.Caller) > 0 && !pbx.Match(w.Caller, c.Caller.Number):
		return cCaller
	case len(w.NotCaller) > 0 && pbx.Match(w.NotCaller, c.Caller.Number):
		return cNotCaller
	case w.Anonymous != nil && c.Caller.Anonymous != *w.Anonymous:
		return cAnonymous
	case w.Internal != nil && a.internal() != *w.Internal:
		return cInternal
	case len(w.Region) > 0 && !slices.Contains(w.Region, a.caller().region):
		return cRegion
	case len(w.Contact) > 0 && !slices.ContainsFunc(w.Contact, a.isContact):
		return cContact
	case len(w.Group) > 0 && !a.inGroup(w.Group):
		return cGroup
	case len(w.Attestation) > 0 && !slices.Contains(w.Attestation, attestation(c)):
		return cAttestation
	case w.Attempts != nil && !w.Attempts.holds(a.attempts()):
		return cAttempts
	case w.Ring != nil && !w.Ring.holds(c.Ring):
		return cRing
	case w.Wait != nil && !w.Wait.holds(c.Wait):
		return cWait
	case w.QueueWait != nil && (c.Queue == nil || !w.QueueWait.holds(c.Queue.Wait)):
		return cQueueWait
	case w.MessageLeft != nil && (c.Voicemail == nil || c.Voicemail.MessageLeft == nil || *c.Voicemail.MessageLeft != *w.MessageLeft):
		return cMessageLeft
	case w.Open != nil && (a.hours() == opened) != *w.Open:
		return cOpen
	case len(w.Hours) > 0 && !slices.Contains(w.Hours, a.hours()):
		return cHours
	case len(w.compiled.dates) > 0 && !slices.ContainsFunc(w.compiled.dates, a.onDates):
		return cDates
	case w.compiled.days != 0 && w.compiled.days&(1<<a.local().Weekday()) == 0:
		return cDays
	case len(w.compiled.times) > 0 && !slices.ContainsFunc(w.compiled.times, a.atTime):
		return cTime
	case len(w.Queue) > 0 && (c.Queue == nil || !pbx.Match(w.Queue, c.Queue.Name)):
		return cQueue
	case w.Menu != nil && c.Menu != *w.Menu:
		return cMenu
	case w.Forwarded != nil && c.Forwarded != *w.Forwarded:
		return cForwarded
	case len(w.Tried) > 0 && !tried(w.Tried, c.Attempts):
		return cTried
	}
	for i := range w.PBX {
		if v, known := c.PBX[w.PBX[i].Key]; !known || !pbx.Match(w.PBX[i].Value, v) {
			return cPBX
		}
	}
	return none
}

// onLine tells whether the line's name, its number or what was dialled is among the patterns.
func onLine(patterns []string, l pbx.Line) bool {
	return pbx.Match(patterns, l.Name) || pbx.Match(patterns, l.Number) || pbx.Match(patterns, l.Raw)
}

// internal tells whether the caller is a phone of ours: it shows an extension,
// the line's own number, or one of the office's other lines.
func (a *asked) internal() bool {
	c := a.f.Call
	if c.Caller.Number != "" {
		return a.f.Ours || c.Caller.Number == c.Line.Number
	}
	return extension(c.Caller.Raw)
}

// extension tells whether a number that is none of the public network's looks like a
// phone of the office: two to six digits, as package number has it.
func extension(raw string) bool {
	return len(raw) >= 2 && len(raw) <= 6 && strings.Trim(raw, "0123456789") == ""
}

// attestation is what the carrier vouches for, in the words of the rules.
func attestation(c *pbx.Call) string {
	if c.Caller.Attestation == "" {
		return "none"
	}
	return c.Caller.Attestation
}

func tried(patterns []string, attempts []pbx.Attempt) bool {
	for i := range attempts {
		if at := &attempts[i]; pbx.Match(patterns, at.Extension) || pbx.Match(patterns, at.Name) || pbx.Match(patterns, at.Endpoint) {
			return true
		}
	}
	return false
}

// holds tells whether d is between the two.
func (b *between) holds(d time.Duration) bool {
	return (b.Under == nil || d < *b.Under) && (b.AtLeast == nil || d >= *b.AtLeast)
}

func (b *count) holds(n int) bool {
	return (b.Under == nil || n < *b.Under) && (b.AtLeast == nil || n >= *b.AtLeast)
}

// attempts are the missed calls of this episode, this one among them.
func (a *asked) attempts() int { return a.f.Episode.Calls + 1 }

// isContact tells whether one of contactWords is true of the caller.
func (a *asked) isContact(word string) bool {
	c := a.f.Contact
	known := c != nil || a.f.Known || a.f.Episode.Calls > 0
	switch word {
	case "new":
		return !known
	case "known":
		return known
	case "vip":
		return c != nil && c.VIP
	case "blocked":
		return c != nil && c.Blocked
	}
	return false
}

func (a *asked) inGroup(patterns []string) bool {
	return a.f.Contact != nil && slices.ContainsFunc(a.f.Contact.Groups, func(g string) bool { return pbx.Match(patterns, g) })
}

func (a *asked) onDates(d dates) bool {
	on := dateOf(a.local())
	return d.first <= on && on <= d.last
}

func (a *asked) atTime(s span) bool { return s.within(a.local()) }

// why says in words that c does not hold.
func (a *asked) why(w *when, c condition) string {
	call := a.f.Call
	either := func(words []string) string { return strings.Join(words, " or ") }
	not := func(b *bool, yes, no string) string { // the condition wants *b, so the opposite is the case
		if *b {
			return no
		}
		return yes
	}
	switch c {
	case cOutcome:
		return "outcome is " + string(call.Outcome) + ", not " + either(w.Outcome)
	case cReason:
		return "reason is " + string(call.Reason) + ", not " + either(w.Reason)
	case cCertain:
		return not(w.Certain, "it is certain that nobody took the call", "it is not certain that nobody took the call")
	case cLine:
		return "the line is " + orUnknown(call.Line.Name, call.Line.Number, call.Line.Raw) + ", not " + either(w.Line)
	case cCaller:
		return "the caller's number does not match " + either(w.Caller)
	case cNotCaller:
		return "the caller's number matches not_caller"
	case cAnonymous:
		return not(w.Anonymous, "the caller withheld the number", "the caller shows a number")
	case cInternal:
		return not(w.Internal, "the caller is a phone of the office", "the caller is no phone of the office")
	case cRegion:
		if r := a.caller().region; r != "" {
			return "the caller's number is of " + r + ", not " + either(w.Region)
		}
		return "the caller's number is of no region"
	case cContact:
		is := []string{"new"}
		switch {
		case !a.isContact("new") && a.f.Contact == nil:
			is[0] = "known, but in no address book"
		case !a.isContact("new"):
			is[0] = "known"
		}
		for _, word := range contactWords[2:] {
			if a.isContact(word) {
				is = append(is, word)
			}
		}
		return "the caller is " + strings.Join(is, " and ") + ", not " + either(w.Contact)
	case cGroup:
		if a.f.Contact == nil {
			return "the caller is in no address book, so in no group"
		}
		if len(a.f.Contact.Groups) == 0 {
			return "the caller is in no group"
		}
		return "the caller is in " + strings.Join(a.f.Contact.Groups, " and ") + ", not in " + either(w.Group)
	case cAttestation:
		return "the number's attestation is " + attestation(call) + ", not " + either(w.Attestation)
	case cAttempts:
		b := w.Attempts
		if b.Under != nil && a.attempts() >= *b.Under {
			return fmt.Sprintf("it is missed call %d of this caller, not one before number %d", a.attempts(), *b.Under)
		}
		return fmt.Sprintf("it is missed call %d of this caller, not number %d or later", a.attempts(), *b.AtLeast)
	case cRing:
		return w.Ring.outside(call.Ring, "it rang for")
	case cWait:
		return w.Wait.outside(call.Wait, "the caller waited for")
	case cQueueWait:
		if call.Queue == nil {
			return "the caller was in no queue"
		}
		return w.QueueWait.outside(call.Queue.Wait, "the caller was in the queue for")
	case cMessageLeft:
		switch {
		case call.Voicemail == nil:
			return "the caller did not reach a mailbox"
		case call.Voicemail.MessageLeft == nil:
			return "whether a message was left is not known"
		}
		return not(w.MessageLeft, "a message was left", "no message was left")
	case cOpen:
		if *w.Open {
			return "the office was closed" + a.closedFor()
		}
		return "the office was open"
	case cHours:
		return a.hoursNow() + ", not " + either(w.Hours)
	case cDates:
		return "the day is " + a.local().Format("2006-01-02") + ", not " + either(w.Dates)
	case cDays:
		return "the day is a " + weekdays[a.local().Weekday()] + ", not " + either(w.Days)
	case cTime:
		return "the time is " + a.local().Format("15:04") + ", not " + either(w.Time)
	case cQueue:
		return "the caller was not in queue " + either(w.Queue)
	case cMenu:
		return not(w.Menu, "a menu was heard", "no menu was heard")
	case cForwarded:
		return not(w.Forwarded, "the call was forwarded", "the call was not forwarded")
	case cTried:
		return "none of the phones tried is " + either(w.Tried)
	case cPBX:
		for _, p := range w.PBX {
			switch v, known := call.PBX[p.Key]; {
			case !known:
				return "what " + p.Key + " is at the PBX is not known"
			case !pbx.Match(p.Value, v):
				return p.Key + " is " + v + " at the PBX, not " + either(p.Value)
			}
		}
	}
	return ""
}

// outside says how d is not between the two.
func (b *between) outside(d time.Duration, what string) string {
	if b.Under != nil && d >= *b.Under {
		return fmt.Sprintf("%s %s, not under %s", what, human(d), human(*b.Under))
	}
	return fmt.Sprintf("%s %s, not at least %s", what, human(d), human(*b.AtLeast))
}

// closedFor says why the office was closed, where that is not the time of day.
func (a *asked) closedFor() string {
	switch a.hours() {
	case holiday:
		return " (holiday" + a.holidayName() + ")"
	case pause:
		return " (break)"
	}
	return ""
}

// holidayName is what the calendar calls the day, with a colon in front.
func (a *asked) holidayName() string {
	if _, sp, _ := a.office.hours.on(dateOf(a.local()), a.local().Weekday()); sp.name != "" {
		return ": " + sp.name
	}
	return ""
}

// hoursNow says what the hours are at the call's end.
func (a *asked) hoursNow() string {
	switch a.hours() {
	case opened:
		return "the office was open"
	case holiday:
		return "it was a holiday" + a.holidayName()
	case pause:
		return "it was a break"
	}
	return "the office was closed"
}
