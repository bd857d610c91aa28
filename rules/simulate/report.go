package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/rules"
)

// Calls are events of stored calls, in the order in which they ended.
func Calls(calls []*pbx.Call) []Event {
	var all []Event
	for _, c := range calls {
		all = append(all, Event{At: c.EndedAt, Kind: Call, Call: c})
	}
	return all
}

// A Report sums verdicts up.
type Report struct {
	Version   string         `json:"rules_version"`
	Missed    int            `json:"missed_calls"`
	Texts     int            `json:"texts"`
	FollowUps int            `json:"follow_ups"` // texts among them
	Tasks     int            `json:"tasks"`      // that were given to somebody
	Segments  int            `json:"segments"`
	Cost      rules.Money    `json:"cost_micros"`
	People    int            `json:"people"` // who got at least one text
	Rules     []RuleCount    `json:"rules"`
	Not       map[string]int `json:"not_sent"` // calls without a first text, by the reason
}

// A RuleCount is one rule's part in it.
type RuleCount struct {
	Rule     string      `json:"rule"`
	Line     int         `json:"line"`
	Calls    int         `json:"calls"` // that it matched
	Texts    int         `json:"texts"`
	Segments int         `json:"segments"`
	Cost     rules.Money `json:"cost_micros"`
}

// Sum makes the report.
func Sum(all []*Verdict) Report {
	r := Report{Rules: []RuleCount{}, Not: map[string]int{}}
	people := map[string]bool{}
	by := map[string]*RuleCount{}
	for _, v := range all {
		r.Version = v.Decision.RulesVersion
		r.Missed++
		if why := v.NotSent(); why != "" {
			r.Not[why]++
		}
		n := &RuleCount{}
		if v.Decision.Rule != "" {
			if by[v.Decision.Rule] == nil {
				by[v.Decision.Rule] = &RuleCount{Rule: v.Decision.Rule, Line: v.Decision.RuleLine}
			}
			n = by[v.Decision.Rule]
		}
		n.Calls++
		for _, s := range v.Steps {
			switch {
			case s.Task != nil && (s.State == Open || s.State == Done):
				r.Tasks++
			case s.State == Sent:
				if s.Kind == "text" {
					r.Texts++
				} else {
					r.FollowUps++
				}
				n.Texts++
				n.Segments += s.Segments
				n.Cost += s.Cost
				r.Segments += s.Segments
				r.Cost += s.Cost
				people[v.Call.Caller.Number] = true
			}
		}
	}
	for _, n := range by {
		r.Rules = append(r.Rules, *n)
	}
	slices.SortFunc(r.Rules, func(a, b RuleCount) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.Rule, b.Rule)) })
	r.People = len(people)
	return r
}

// NotSent is why the call's first text did not leave, empty when it did.
func (v *Verdict) NotSent() string {
	t := v.Text()
	switch {
	case t == nil:
		return cmp.Or(v.Decision.Suppressed, rules.NoRule)
	case t.State == Sent:
		return ""
	}
	return cmp.Or(t.Why, string(t.State))
}

// Says is what becomes of the call in a few words, the same for two verdicts that are alike.
func (v *Verdict) Says(zone *time.Location) string {
	var parts []string
	if t := v.Text(); t == nil {
		parts = append(parts, "no text ("+cmp.Or(v.Decision.Suppressed, rules.NoRule)+")")
	}
	for _, s := range v.Steps {
		what := ""
		switch {
		case s.Staff != "":
			what = "tells " + s.Staff
		case s.Task != nil:
			what = "task of " + cmp.Or(s.Task.Owner, "nobody") + " until " + s.Task.Deadline.In(zone).Format("Mon 15:04")
		default:
			what = fmt.Sprintf("%q", s.Body)
		}
		switch s.State {
		case Cancelled:
			what += " cancelled (" + s.Why + ")"
		case Sent:
			what += " at " + s.At.In(zone).Format("15:04:05")
		}
		parts = append(parts, what)
	}
	if len(v.Decision.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(v.Decision.Tags, ", "))
	}
	return strings.Join(parts, "; ")
}

// A Difference is a call of which two sets of rules make something else.
type Difference struct {
	Call     *pbx.Call
	Old, New *Verdict
	OldSays  string
	NewSays  string
}

// Diff compares what two sets of rules make of the same calls. The rule's name alone is no difference.
func Diff(old, now []*Verdict, zone *time.Location) (all []Difference) {
	for i := range min(len(old), len(now)) {
		a, b := old[i].Says(zone), now[i].Says(zone)
		if a != b {
			all = append(all, Difference{old[i].Call, old[i], now[i], a, b})
		}
	}
	return all
}

// What the office in fact did about a missed call.
const (
	CalledBack = "called_back" // the office called and talked to the caller
	Tried      = "tried"       // it called, and did not reach them
	GotThrough = "got_through" // the caller called again and was answered
	Nobody     = "nobody"      // nothing of the kind within a day
)

// A Fact is what the office in fact did about a missed call.
type Fact struct {
	Verdict *Verdict
	What    string
	After   time.Duration // the missed call
	// Superfluous: a text would have left, and the caller was reached soon after it all the same.
	Superfluous bool
}

// Office holds verdicts against what the office did, as far as its calls tell, within a day. A caller who
// is reached within soon of the text hardly needed one.
func Office(all []*Verdict, calls []*pbx.Call, soon time.Duration, opt Options) (facts []Fact) {
	opt.defaults()
	by := map[string][]*pbx.Call{}
	for _, c := range calls {
		if n := c.Caller.Number; n != "" {
			by[n] = append(by[n], c)
		}
	}
	for _, list := range by {
		slices.SortStableFunc(list, func(a, b *pbx.Call) int { return a.StartedAt.Compare(b.StartedAt) })
	}
	for _, v := range all {
		end := v.Call.EndedAt
		f := Fact{Verdict: v, What: Nobody}
		for _, c := range by[v.Call.Caller.Number] {
			after := c.StartedAt.Sub(end)
			if after < 0 || after > 24*time.Hour || c == v.Call {
				continue
			}
			reached := opt.talked(c)
			switch {
			case reached && c.Direction == pbx.Inbound:
				f.What, f.After = GotThrough, after
			case reached:
				f.What, f.After = CalledBack, after
			case c.Direction == pbx.Outbound && f.What == Nobody:
				f.What, f.After = Tried, after
			}
			if reached {
				break
			}
		}
		if t := v.Text(); t != nil && t.State == Sent && (f.What == CalledBack || f.What == GotThrough) {
			f.Superfluous = end.Add(f.After).Sub(t.At) <= soon
		}
		facts = append(facts, f)
	}
	return facts
}
