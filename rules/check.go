package rules

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx"
	"textback/rules/gsm7"
	"textback/rules/strict"
)

func (r *Rules) check(rep *strict.Report, src []byte) {
	f := &r.file
	switch {
	case !rep.Has("version"):
		rep.Problem("version", "put version: 1 at the top, so that a later textback knows how to read this")
	case f.Version != 1:
		rep.Problem("version", "version %d is not known here: this textback reads version 1", f.Version)
	}
	if strings.TrimSpace(f.Business.Name) == "" {
		rep.Problem(strict.At("business", "name"), "the business needs a name: people must know who texts them")
	}
	r.zone = time.UTC
	if f.Zone == "" {
		rep.Problem("timezone", "say where the office is: timezone: America/New_York")
	} else if z, err := time.LoadLocation(f.Zone); err != nil || f.Zone == "Local" {
		rep.Problem("timezone", "%q is no time zone: use a name of the zone database, such as America/New_York or Europe/Berlin", f.Zone)
	} else {
		r.zone = z
	}
	if len(f.Regions) == 0 && !rep.Wrong("regions") {
		rep.Problem("regions", "no region is left, so nobody would be texted: leave the key out for US, or name some")
	}
	for i, reg := range f.Regions {
		up := strings.ToUpper(reg)
		if phonenumbers.GetCountryCodeForRegion(up) == 0 {
			rep.Problem(strict.At("regions").Index(i), "%q is no region: use the two letters of ISO 3166, such as US or DE", reg)
		}
		f.Regions[i] = up
	}
	for _, d := range []struct {
		key string
		v   time.Duration
		max time.Duration
	}{{"delay", f.Defaults.Delay, time.Hour}, {"window", f.Defaults.Window, 30 * 24 * time.Hour}, {"fresh", f.Defaults.Fresh, 24 * time.Hour}} {
		r.checkDuration(rep, strict.At("defaults", d.key), d.v, d.max)
	}
	if f.Defaults.Delay >= f.Defaults.Fresh {
		rep.Problem(strict.At("defaults", "fresh"), "a text would be stale before its delay of %s is over: make fresh longer", human(f.Defaults.Delay))
	}
	r.checkHours(rep)
	used := map[string]bool{}
	r.checkRules(rep, used)
	r.checkMessages(rep, used, src)
}

func (r *Rules) checkDuration(rep *strict.Report, p strict.Path, d, most time.Duration) {
	if d < 0 || d > most {
		rep.Problem(p, "%s is out of range: it may be up to %s", human(d), human(most))
	}
}

var clock = regexp.MustCompile(`^([01]?\d|2[0-4]):([0-5]\d)$`)

func minutes(s string) (int, bool) {
	m := clock.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	var h, min int
	_, _ = fmt.Sscan(m[1], &h)
	_, _ = fmt.Sscanf(m[2], "%d", &min)
	return h*60 + min, h*60+min <= 24*60
}

func (r *Rules) checkHours(rep *strict.Report) {
	for day, d := range r.file.Hours.days() {
		for i, s := range d.list {
			p := strict.At("hours", d.key).Index(i)
			from, to, ok := strings.Cut(s, "-")
			a, okA := minutes(from)
			b, okB := minutes(to)
			switch {
			case !ok || !okA || !okB:
				rep.Problem(p, "%q is not a time span: write it like 8:00-17:30", s)
				continue
			case a >= b:
				rep.Problem(p, "%q ends before it begins: for a span past midnight, write 22:00-24:00 here and 0:00-6:00 at the next day", s)
				continue
			}
			for _, have := range r.hours[day] {
				if a < have.to && have.from < b {
					rep.Problem(p, "%q overlaps another span of this day", s)
				}
			}
			r.hours[day] = append(r.hours[day], span{a, b})
		}
		slices.SortFunc(r.hours[day], func(a, b span) int { return a.from - b.from })
	}
	for i, s := range r.file.ClosedOn {
		if _, err := time.Parse("2006-01-02", s); err != nil {
			rep.Problem(strict.At("closed_on").Index(i), "%q is not a date: write it like 2026-12-25", s)
			continue
		}
		r.closed[s] = true
	}
}

func (r *Rules) checkRules(rep *strict.Report, used map[string]bool) {
	var outcomes, reasons []string
	for _, o := range pbx.Outcomes {
		outcomes = append(outcomes, string(o))
	}
	for _, o := range pbx.Reasons {
		reasons = append(reasons, string(o))
	}
	names := slices.Sorted(maps.Keys(r.file.Messages))
	if len(r.file.Rules) == 0 && !rep.Wrong("rules") {
		rep.Warning("rules", "there are no rules, so nothing is ever sent")
	}
	seen := map[string]int{}
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		if n := rep.Node(p); n != nil {
			ru.line = n.Line
		}
		ru.not = ru.When.outcomeNot()
		if ru.Name == "" {
			ru.Name = fmt.Sprintf("rule %d", i+1)
		}
		if line, twice := seen[ru.Name]; twice {
			rep.Problem(p.Key("name"), "another rule is called %q already, in line %d: explain could not tell them apart", ru.Name, line)
		}
		seen[ru.Name] = ru.line
		switch {
		case rep.Wrong(p.Key("send")) || rep.Wrong(p.Key("text")) || rep.Wrong(p.Key("nothing")):
		case ru.Send != "" && ru.Text != "":
			used[ru.Send] = true // who means this one must be told once, not twice
			rep.Problem(p.Key("text"), "at most one of send and text may be set: send names a message, text is one")
		case (ru.Send != "" || ru.Text != "") && rep.Has(p.Key("nothing")):
			used[ru.Send] = true
			rep.Problem(p.Key("nothing"), "at most one of send, text and nothing may be set")
		case rep.Has(p.Key("nothing")):
			for _, key := range []string{"delay", "window"} {
				if rep.Has(p.Key(key)) {
					rep.Warning(p.Key(key), "%s has no effect: rule %q sends nothing", key, ru.Name)
				}
			}
			if strings.TrimSpace(ru.Nothing) == "" {
				rep.Problem(p.Key("nothing"), "say why nothing is sent: people will ask, and explain answers with it")
			}
		case ru.Send == "" && ru.Text == "":
			rep.Problem(p, "rule %q does nothing and does not say so: add send: with a message's name, text: with one of its own, or nothing: with the reason", ru.Name)
		case ru.Send != "":
			used[ru.Send] = true
			if _, ok := r.file.Messages[ru.Send]; !ok {
				rep.OneOf(p.Key("send"), "message", ru.Send, names...)
			}
		}
		if ru.Delay != nil {
			r.checkDuration(rep, p.Key("delay"), *ru.Delay, time.Hour)
			if *ru.Delay >= r.file.Defaults.Fresh {
				rep.Problem(p.Key("delay"), "the text would be stale (defaults.fresh is %s) before its delay is over", human(r.file.Defaults.Fresh))
			}
		}
		if ru.Window != nil {
			r.checkDuration(rep, p.Key("window"), *ru.Window, 30*24*time.Hour)
		}
		w, wp := &ru.When, p.Key("when")
		for j, o := range w.Outcome {
			switch {
			case !slices.Contains(outcomes, o):
				if word := meant[strings.ToLower(o)]; word != "" {
					rep.Problem(wp.Key("outcome").Index(j), "unknown outcome %q; did you mean %s? (one of: %s)", o, word, strings.Join(outcomes[1:len(outcomes)-1], ", "))
					continue
				}
				rep.OneOf(wp.Key("outcome").Index(j), "outcome", o, outcomes[1:len(outcomes)-1]...)
			case o == string(pbx.Answered), o == string(pbx.Unknown):
				rep.Problem(wp.Key("outcome").Index(j), "a call that is %s is never texted, so this cannot match: leave it out", o)
			}
		}
		for j, o := range w.Reason {
			if !slices.Contains(reasons, o) {
				rep.OneOf(wp.Key("reason").Index(j), "reason", o, reasons...)
			}
		}
		if !rep.Wrong(wp.Key("outcome")) && !rep.Wrong(wp.Key("reason")) {
			r.checkPossible(rep, wp, w)
		}
		r.checkEmpty(rep, wp, w)
		r.checkBetween(rep, wp.Key("ring"), w.Ring)
		r.checkBetween(rep, wp.Key("wait"), w.Wait)
		if w.Open != nil && !r.hasHours() {
			rep.Problem(wp.Key("open"), "there are no hours in this file, so nobody knows when the office is open: add hours:")
		}
		r.checkNumbers(rep, wp, w)
	}
	r.checkDead(rep)
}

// checkDead reports rules that no call can reach. Rules with problems of their
// own are left out: nobody knows what they are meant to match.
func (r *Rules) checkDead(rep *strict.Report) {
	var earlier []*rule
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		if rep.Wrong(p.Key("when")) || rep.Wrong(p) && !rep.Has(p.Key("when")) {
			continue
		}
		switch by := covering(earlier, &ru.When); len(by) {
		case 0:
		case 1:
			rep.Problem(p, "rule %q is never reached: rule %q in line %d matches every call that this one would; move this one above it, or delete it", ru.Name, by[0].Name, by[0].line)
		default:
			var names []string
			for _, b := range by {
				names = append(names, fmt.Sprintf("%q (line %d)", b.Name, b.line))
			}
			rep.Problem(p, "rule %q is never reached: rules %s together match every call that this one would; move this one above them, or delete it", ru.Name, strings.Join(names, ", "))
		}
		earlier = append(earlier, ru)
	}
}

// meant are words that people and PBXes use for an outcome.
var meant = map[string]string{
	"no_answer": "rang_out", "noanswer": "rang_out", "no answer": "rang_out", "unanswered": "rang_out", "missed": "rang_out", "timeout": "rang_out",
	"rejected": "declined", "refused": "declined", "reject": "declined", "cancelled": "abandoned", "canceled": "abandoned", "cancel": "abandoned",
	"hung_up": "abandoned", "hangup": "abandoned", "engaged": "busy", "offline": "unreachable", "unavailable": "unreachable", "dnd": "unreachable",
	"chanunavail": "unreachable", "congestion": "unreachable", "unregistered": "unreachable", "mailbox": "voicemail", "message": "voicemail",
	"menu": "unattended", "closed": "unattended", "not_tried": "unattended",
}

// A kind of call: what its outcome and reason are.
type kind struct {
	outcome pbx.Outcome
	reason  pbx.Reason
}

// kinds are all kinds of missed calls (CALLS.md, outcomes).
var kinds = func() (all []kind) {
	for _, o := range pbx.Outcomes {
		switch o {
		case pbx.Answered, pbx.Unknown:
		case pbx.Voicemail: // what it would have been without the mailbox
			for _, r := range pbx.Reasons {
				all = append(all, kind{o, r})
			}
		case pbx.Abandoned:
			all = append(all, kind{o, pbx.ReasonCallerHungUp})
		case pbx.Unattended:
			all = append(all, kind{o, pbx.ReasonNotTried})
		default:
			all = append(all, kind{o, pbx.Reason(o)})
		}
	}
	return all
}()

// rang tells whether a phone can have rung in such a call.
func (k kind) rang() bool {
	return k.reason != pbx.ReasonBusy && k.reason != pbx.ReasonUnreachable && k.reason != pbx.ReasonNotTried
}

// kinds are those that w lets in.
func (w *when) kinds() (some []kind) {
	for _, k := range kinds {
		if (len(w.Outcome) == 0 || slices.Contains(w.Outcome, string(k.outcome))) && (len(w.Reason) == 0 || slices.Contains(w.Reason, string(k.reason))) &&
			(w.MessageLeft == nil || k.outcome == pbx.Voicemail) { // no other call has a message
			some = append(some, k)
		}
	}
	return some
}

// checkPossible reports conditions that no call can fulfil together.
func (r *Rules) checkPossible(rep *strict.Report, wp strict.Path, w *when) {
	some := w.kinds()
	switch {
	case len(some) == 0 && w.MessageLeft != nil && len(w.Outcome) > 0 && !slices.Contains(w.Outcome, string(pbx.Voicemail)):
		rep.Problem(wp.Key("message_left"), "only a call with outcome voicemail has a message: add voicemail to outcome, or leave this out")
	case len(some) == 0 && len(w.Outcome) > 0 && len(w.Reason) > 0:
		rep.Problem(wp.Key("reason"), "a call with outcome %s never has reason %s: see the table of outcomes in the README", strings.Join(w.Outcome, " or "), strings.Join(w.Reason, " or "))
	case len(some) > 0 && w.Ring != nil && w.Ring.AtLeast != nil && *w.Ring.AtLeast > 0 && !slices.ContainsFunc(some, kind.rang):
		what := "outcome " + strings.Join(w.Outcome, " or ")
		if len(w.Reason) > 0 {
			what = "reason " + strings.Join(w.Reason, " or ")
		}
		rep.Problem(wp.Key("ring", "at_least"), "no phone rings in a call with %s, so this cannot match: leave ring out", what)
	}
}

// separators are what people write into numbers.
var separators = strings.NewReplacer(" ", "", "-", "", ".", "", "/", "", "(", "", ")", "", "\u00a0", "")

// looksLikeNumber tells whether s is digits and stars once separators are out.
func looksLikeNumber(s string) bool {
	s = strings.TrimPrefix(separators.Replace(s), "+")
	return s != "" && strings.Trim(s, "0123456789*") == ""
}

// checkNumbers reports patterns that no number can match as numbers are
// written here: a caller on such a list would be texted, or not, unnoticed.
func (r *Rules) checkNumbers(rep *strict.Report, wp strict.Path, w *when) {
	for _, list := range []struct {
		key  string
		list []string
	}{{"caller", w.Caller}, {"not_caller", w.NotCaller}} {
		for j, c := range list.list {
			p := wp.Key(list.key).Index(j)
			switch plain := separators.Replace(c); {
			case c == "":
			case !strings.HasPrefix(c, "+") && !strings.HasPrefix(c, "*"):
				rep.Problem(p, "%q is matched against numbers like +12025550143: begin with + and the country code", c)
			case !looksLikeNumber(c):
				rep.Problem(p, "%q is matched against numbers like +12025550143: only digits may follow, and * for any", c)
			case plain != c:
				rep.Problem(p, "%q matches no number, because numbers are written without blanks and signs here: write %s", c, plain)
			case !strings.Contains(c, "*"):
				if n, err := phonenumbers.Parse(c, ""); err != nil || !phonenumbers.IsValidNumber(n) {
					rep.Warning(p, "%s is no valid number, so no caller has it: look at its digits, or end it with * for all that begin so", c)
				}
			}
		}
	}
	for j, l := range w.Line {
		if plain := separators.Replace(l); strings.HasPrefix(l, "+") && plain != l && looksLikeNumber(l) {
			rep.Warning(wp.Key("line").Index(j), "%q is compared with the line's name and its number, and numbers are written without blanks and signs: write %s if this is one", l, plain)
		}
	}
	if len(w.Caller) > 0 && len(w.NotCaller) > 0 && !rep.Wrong(wp.Key("caller")) && !rep.Wrong(wp.Key("not_caller")) &&
		!slices.ContainsFunc(w.Caller, func(c string) bool { return !pbx.Match(w.NotCaller, c) }) {
		rep.Problem(wp.Key("not_caller"), "this takes out every number that caller lets in, so nothing is left to match")
	}
}

// checkEmpty reports conditions without a value: left alone they would match
// every call, which is hardly what they were written for.
func (r *Rules) checkEmpty(rep *strict.Report, wp strict.Path, w *when) {
	v := reflect.ValueOf(w).Elem()
	if n := rep.Node(wp); rep.Has(wp) && !rep.Wrong(wp) && len(n.Content) == 0 && n.Alias == nil {
		rep.Problem(wp, "when is empty, so the rule would match every call: give it conditions, or leave it out if that is meant")
	}
	for i := range v.NumField() {
		key, f := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		p := wp.Key(key)
		if !rep.Has(p) || rep.Wrong(p) {
			continue
		}
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 {
			rep.Problem(p, "%s is empty: give it a value, or leave it out if any will do", key)
			continue
		}
		if list, ok := f.Interface().([]string); ok {
			for j, s := range list {
				if s == "" {
					rep.Problem(p.Index(j), "%s is empty here: give it a value, or leave it out if any will do", key)
				}
			}
		}
	}
}

func (r *Rules) hasHours() bool {
	for _, d := range r.hours {
		if len(d) > 0 {
			return true
		}
	}
	return false
}

func (r *Rules) checkBetween(rep *strict.Report, p strict.Path, b *between) {
	if b == nil {
		return
	}
	if b.Under == nil && b.AtLeast == nil && !rep.Wrong(p) {
		rep.Problem(p, "say under: 3s, at_least: 20s, or both")
	}
	if b.Under != nil && *b.Under <= 0 {
		rep.Problem(p.Key("under"), "no time is under %s", human(*b.Under))
	}
	if b.AtLeast != nil && *b.AtLeast < 0 {
		rep.Problem(p.Key("at_least"), "no time is less than nothing")
	}
	if b.Under != nil && b.AtLeast != nil && *b.AtLeast >= *b.Under {
		rep.Problem(p, "no time is at least %s and under %s", human(*b.AtLeast), human(*b.Under))
	}
}

func (r *Rules) checkMessages(rep *strict.Report, used map[string]bool, src []byte) {
	for _, name := range slices.Sorted(maps.Keys(r.file.Messages)) {
		p := strict.At("messages").Key(name)
		m := r.checkTemplate(rep, p, src, name, "message "+quote(name), r.file.Messages[name])
		if m == nil {
			continue
		}
		r.messages[name] = m
		if !used[name] {
			rep.Warning(p, "message %q is used by no rule", name)
		}
	}
	for i := range r.file.Rules {
		switch ru := &r.file.Rules[i]; {
		case ru.Send != "":
			ru.msg = r.messages[ru.Send]
		case ru.Text != "":
			ru.msg = r.checkTemplate(rep, strict.At("rules").Index(i).Key("text"), src, "", "the text of rule "+quote(ru.Name), ru.Text)
		}
	}
}

// checkTemplate returns nil when the template at p has a problem.
func (r *Rules) checkTemplate(rep *strict.Report, p strict.Path, src []byte, name, called, text string) *message {
	if rep.Wrong(p) {
		return nil
	}
	m, faults := compile(name, called, text)
	if len(faults) == 0 {
		faults = r.checkMessage(rep, p, m)
	}
	for _, f := range faults {
		rep.Near(p, src, f.near, "%s: %s", called, f.text)
	}
	if len(faults) > 0 {
		return nil
	}
	return m
}

// mostSegments is where a text is no text any more; providers refuse more.
const mostSegments = 10

// checkMessage renders the message in every way and warns of what costs or
// puzzles.
func (r *Rules) checkMessage(rep *strict.Report, p strict.Path, m *message) []fault {
	most, longest := 0, ""
	all := m.extremes(worst(r))
	for i, v := range all {
		body, err := m.render(v)
		var f fault
		switch {
		case errors.As(err, &f):
			return []fault{f}
		case err != nil:
			return []fault{{err.Error(), ""}}
		}
		if n, _ := gsm7.Segments(body); n > most || n == most && len(body) > len(longest) {
			most, longest = n, body
		}
		if i == len(all)-1 && r.file.Business.Name != "" && !strings.Contains(body, gsm7.Normalize(r.file.Business.Name)) {
			rep.Warning(p, "%s does not name the business: write {{.Business}}, people must know who texts them", m.called)
		}
	}
	switch c, foreign := gsm7.Foreign(longest); {
	case most > mostSegments:
		return []fault{{fmt.Sprintf("it takes up to %d segments; %d are the most that can be sent", most, mostSegments), ""}}
	case foreign:
		rep.Warning(p, "%s holds %q, which SMS can carry only in an encoding with 70 characters a segment: it takes up to %s; leave it out if you can", m.called, c, segments(most))
	case most > 1:
		rep.Warning(p, "%s takes up to %s (%d characters when everything is long): each is paid for; 160 characters fit into one", m.called, segments(most), len([]rune(longest)))
	}
	return nil
}

// segments is "1 segment", "2 segments".
func segments(n int) string {
	if n == 1 {
		return "1 segment"
	}
	return fmt.Sprintf("%d segments", n)
}
