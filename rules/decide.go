package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx"
	"textback/rules/gsm7"
)

// Decide says what becomes of a call at the time now. It evaluates every guard
// and every rule up to the one that matches, so that the Decision explains
// itself; Suppressed is the first thing that stands against a text.
//
// Who asks what: Decide asks the rules and all guards, once, when the call has
// ended. The caller of Decide keeps the episode: it notes a first text when Send
// is true and leaves it unspent otherwise. OnLine alone is no reason against a
// text, and Decide only notes it. When the text is due, much can have happened:
// Recheck asks every guard but Duplicate again, which the planned text itself
// would fail, and there OnLine means to wait. The rules are not asked again: what
// was decided stays decided, also when other rules have come into force.
//
// f.Call must be set, and has ended.
func (r *Rules) Decide(f Facts, now time.Time) Decision {
	c := f.Call
	d := Decision{RulesVersion: r.version, Delay: r.file.Defaults.Delay, Window: r.file.Defaults.Window, Fresh: r.file.Defaults.Fresh}
	d.Guards = r.guards(f, now, d.Fresh)
	var matched *rule
	if c.Missed() {
		matched = r.match(c, &d)
	}
	if matched != nil {
		d.Rule, d.RuleLine = matched.Name, matched.line
		if matched.Delay != nil {
			d.Delay = *matched.Delay
		}
		if matched.Window != nil {
			d.Window = *matched.Window
		}
	}
	d.Guards = append(d.Guards, duplicate(f, now, d.Window))
	for _, g := range d.Guards {
		// On a line now is no reason against a text, only one to wait: the outbox does.
		if !g.OK && g.Name != OnLine && d.Suppressed == "" {
			d.Suppressed, d.Because = g.Name, g.Why
		}
	}
	d.DueAt = c.EndedAt.Add(d.Delay)
	switch {
	case d.DueAt.Before(now):
		d.DueAt = now
	case c.EndedAt.After(now): // the PBX's clock is ahead of ours: no reason to wait longer
		d.DueAt = now.Add(d.Delay)
	}
	switch {
	case matched == nil:
		if d.Suppressed == "" {
			d.Suppressed, d.Because = NoRule, "no rule matches this call"
		}
		return d
	case matched.msg == nil:
		if d.Suppressed == "" {
			d.Suppressed, d.Because = RuleSaysNo, "rule "+quote(matched.Name)+" sends nothing: "+matched.Nothing
		}
		return d
	}
	m := matched.msg
	d.Message = m.name
	body, err := m.fitted(r.values(c, d.DueAt))
	if err != nil {
		// It rendered in every branch when the file was read: what is left is a test of
		// a value's letters, such as {{if eq .Name "Al"}}{{index .Name 9}}{{end}}.
		if d.Suppressed == "" {
			d.Suppressed, d.Because = RuleSaysNo, m.called+" cannot be rendered: "+err.Error()
		}
		return d
	}
	d.Body = body
	d.Segments, d.Encoding = gsm7.Segments(body)
	if d.Send = d.Suppressed == ""; d.Send {
		d.Because = "rule " + quote(matched.Name) + " says so, and nothing stands against it"
	}
	return d
}

// Recheck asks the guards again when a text is due, those about duplicates
// excepted: the outbox itself holds that text's place in the episode. It
// returns the first that stands against it, empty for none.
func (r *Rules) Recheck(f Facts, now time.Time) (suppressed, because string) {
	for _, g := range r.guards(f, now, r.file.Defaults.Fresh) {
		if !g.OK {
			return g.Name, g.Why
		}
	}
	return "", ""
}

func quote(s string) string { return `"` + s + `"` }

// guards are the conditions on every text, in their order.
func (r *Rules) guards(f Facts, now time.Time, fresh time.Duration) []Guard {
	c := f.Call
	gs := make([]Guard, 0, 10)
	add := func(name string, ok bool, yes, no string) {
		g := Guard{name, ok, yes}
		if !ok {
			g.Why = no
		}
		gs = append(gs, g)
	}
	what := "the call was " + string(c.Outcome)
	if c.Direction == pbx.Outbound {
		what = "the call went out"
	}
	add(NotMissed, c.Missed(), "nobody took the call", what)
	switch age := now.Sub(c.EndedAt); {
	case c.EndedAt.IsZero():
		add(Stale, false, "", "the call has not ended, or when is not known")
	case age > fresh:
		add(Stale, false, "", "the call ended "+ago(age)+", and a text later than "+human(fresh)+" after a call only puzzles people")
	default:
		add(Stale, true, "the call ended "+ago(age), "")
	}
	why := "it is certain that nobody took it"
	if !c.Certain {
		why = "it is not certain that nobody took the call"
		for i, g := range c.Gaps {
			if i == 0 {
				why += ":"
			} else {
				why += ";"
			}
			why += " " + firstOf(gaps[g], string(g))
		}
	}
	add(NotCertain, c.Certain, why, why)
	add(Anonymous, !c.Caller.Anonymous, "the caller shows a number", "the caller withheld the number")
	// Whoever shows our own number is a phone of ours, or forged it: the text would come back to us.
	add(Internal, c.Caller.Number == "" || c.Caller.Number != c.Line.Number, "the number is not the office's own", "the caller shows the office's own number")
	region, valid := "", false
	if n := c.Caller.Number; n != "" {
		if p, err := phonenumbers.Parse(n, ""); err == nil {
			region = phonenumbers.GetRegionCodeForNumber(p)
			valid = phonenumbers.IsValidNumberForRegion(p, region)
		}
	}
	number, from := "the number is valid", "numbers of "+region+" are texted"
	if !valid {
		number, from = "there is no number to look at", "there is no region to look at"
	}
	add(InvalidNumber, valid || c.Caller.Anonymous, number, "what the caller shows ("+quote(firstOf(c.Caller.Raw, c.Caller.Number))+") is no number that can be texted")
	add(Region, !valid || slices.Contains(r.file.Regions, region), from,
		"numbers of "+region+" are not texted (regions: "+strings.Join(r.file.Regions, ", ")+")")
	add(SaidStop, !f.OptedOut, "the caller has not said stop", "the caller has said stop")
	reached := !f.GotThrough.IsZero() && f.GotThrough.After(c.EndedAt)
	add(Reached, !reached, "the caller has not got through since", "the caller has got through since")
	add(OnLine, !f.OnLine, "the caller is not on a line", "the caller is on a line right now")
	return gs
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

func duplicate(f Facts, now time.Time, window time.Duration) Guard {
	// CALLS.md, episode: it closes so long after its last text or reply, not after its first.
	t, what := f.Episode.FirstTextAt, "this caller's text"
	if !t.IsZero() && f.Episode.LastTextAt.After(t) {
		t, what = f.Episode.LastTextAt, "this caller's last text or reply"
	}
	if t.IsZero() || now.Sub(t) >= window {
		return Guard{Duplicate, true, "no other text went to this caller within " + human(window)}
	}
	return Guard{Duplicate, false, fmt.Sprintf("%s of %s is still within the window of %s", what, ago(now.Sub(t)), human(window))}
}

// match tries the rules in order and notes each one's say.
func (r *Rules) match(c *pbx.Call, d *Decision) *rule {
	d.Steps = make([]Step, 0, len(r.file.Rules))
	for i := range r.file.Rules {
		ru := &r.file.Rules[i]
		why := ru.not[c.Outcome] // made when the file was read: most rules are passed over for their outcome
		if why == "" {
			why = r.against(&ru.When, c)
		}
		d.Steps = append(d.Steps, Step{Rule: ru.Name, Line: ru.line, Matched: why == "", Why: why})
		if why == "" {
			return ru
		}
	}
	return nil
}

// outcomeNot is what is said of calls whose outcome is none of w's.
func (w *when) outcomeNot() map[pbx.Outcome]string {
	if len(w.Outcome) == 0 {
		return nil
	}
	m := map[pbx.Outcome]string{}
	for _, o := range pbx.Outcomes {
		if !slices.Contains(w.Outcome, string(o)) {
			m[o] = "outcome is " + string(o) + ", not " + strings.Join(w.Outcome, " or ")
		}
	}
	return m
}

// against is the first condition that does not hold, empty if all do.
func (r *Rules) against(w *when, c *pbx.Call) string {
	switch {
	case len(w.Outcome) > 0 && !slices.Contains(w.Outcome, string(c.Outcome)): // a word of a later version
		return "outcome is " + string(c.Outcome) + ", not " + strings.Join(w.Outcome, " or ")
	case len(w.Reason) > 0 && !slices.Contains(w.Reason, string(c.Reason)):
		return "reason is " + string(c.Reason) + ", not " + strings.Join(w.Reason, " or ")
	case len(w.Line) > 0 && !pbx.Match(w.Line, c.Line.Name) && !pbx.Match(w.Line, c.Line.Number) && !pbx.Match(w.Line, c.Line.Raw):
		return "the line is " + firstOf(c.Line.Name, c.Line.Number, c.Line.Raw) + ", not " + strings.Join(w.Line, " or ")
	case len(w.Caller) > 0 && !pbx.Match(w.Caller, c.Caller.Number):
		return "the caller's number does not match " + strings.Join(w.Caller, " or ")
	case len(w.NotCaller) > 0 && pbx.Match(w.NotCaller, c.Caller.Number):
		return "the caller's number matches not_caller"
	}
	if why := outside(w.Ring, c.Ring, "it rang for"); why != "" {
		return why
	}
	if why := outside(w.Wait, c.Wait, "the caller waited for"); why != "" {
		return why
	}
	if w.MessageLeft != nil {
		switch {
		case c.Voicemail == nil:
			return "the caller did not reach a mailbox"
		case c.Voicemail.MessageLeft == nil:
			return "whether a message was left is not known"
		case *c.Voicemail.MessageLeft != *w.MessageLeft:
			return map[bool]string{true: "a message was left", false: "no message was left"}[*c.Voicemail.MessageLeft]
		}
	}
	if w.Open != nil && r.open(c.EndedAt) != *w.Open {
		return map[bool]string{true: "the office was closed", false: "the office was open"}[*w.Open]
	}
	if len(w.Queue) > 0 && (c.Queue == nil || !pbx.Match(w.Queue, c.Queue.Name)) {
		return "the caller was not in queue " + strings.Join(w.Queue, " or ")
	}
	if w.Menu != nil && c.Menu != *w.Menu {
		return map[bool]string{true: "no menu was heard", false: "a menu was heard"}[*w.Menu]
	}
	if w.Forwarded != nil && c.Forwarded != *w.Forwarded {
		return map[bool]string{true: "the call was not forwarded", false: "the call was forwarded"}[*w.Forwarded]
	}
	return ""
}

func outside(b *between, d time.Duration, what string) string {
	if b == nil {
		return ""
	}
	switch {
	case b.Under != nil && d >= *b.Under:
		return fmt.Sprintf("%s %s, not under %s", what, human(d), human(*b.Under))
	case b.AtLeast != nil && d < *b.AtLeast:
		return fmt.Sprintf("%s %s, not at least %s", what, human(d), human(*b.AtLeast))
	}
	return ""
}

func firstOf(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return "unknown"
}

// human writes a duration as people do: "1.5 s", "15 min", "12 h", "30 days".
func human(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + human(-d)
	case d >= 72*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()/24), ".0") + " days"
	case d < time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case d < time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Minutes()), ".0") + " min"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()), ".0") + " h"
}

func ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return human(d) + " ago"
}
