package rules

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/rules/gsm7"
	"textback/rules/strict"
)

// Lint finds what works and is hardly meant: rules that overlap, calls that no rule decides
// about, messages that leave people without a way to go on, holidays about to run
// out. All are warnings. Unlike what Parse finds it may depend on the day, hence now, and on
// which lines and queues there are.
func (r *Rules) Lint(now time.Time, seen Seen) []Problem {
	rep := &strict.Report{}
	*rep = *r.rep
	rep.Problems = nil
	l := linter{r, rep, now}
	l.overlaps()
	l.gaps(seen)
	l.messages()
	l.numbers(seen)
	l.openings()
	l.hours()
	l.languages()
	l.deadlines()
	l.staff()
	l.seen(seen)
	rep.Sort()
	return rep.Problems
}

type linter struct {
	r   *Rules
	rep *strict.Report
	now time.Time
}

// alike tells whether two rules do the same.
func alike(a, b *rule) bool {
	same := func(x, y *time.Duration) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	return a.Send == b.Send && a.Text == b.Text && (a.Nothing == "") == (b.Nothing == "") && same(a.Delay, b.Delay) && same(a.Window, b.Window) &&
		slices.Equal(a.FollowUps, b.FollowUps) && (a.Task == nil) == (b.Task == nil) && (a.Task == nil || *a.Task == *b.Task) &&
		slices.Equal(a.Notify, b.Notify) && slices.Equal(a.Tags, b.Tags)
}

// overlaps warns of two mistakes with the order of rules that are no dead rules.
//
// One is a value that a rule names and never gets: of outcome: [declined, busy], the declined calls
// may all be decided by a rule above. The other is two rules that ask exactly the
// same conditions, of which some call fulfils both, though neither holds all calls of the other, and
// which do different things. Rules that ask different conditions overlap all the time, and that is what the
// order is for: nothing is said of those.
func (l *linter) overlaps() {
	var earlier []*rule
	asking := map[string][]*rule{} // by the conditions they have
	for i := range l.r.file.Rules {
		ru, p := &l.r.file.Rules[i], strict.At("rules").Index(i)
		said := l.unreached(p, ru, earlier)
		keys := strings.Join(ru.When.keys(), " ")
		for _, e := range asking[keys] {
			if !said && keys != "" && meet(&e.When, &ru.When) && !alike(e, ru) && !wider(&ru.When, &e.When) && !wider(&e.When, &ru.When) {
				l.rep.Warning(p, "rules %q (line %d) and %q overlap: a call that fulfils the conditions of both is decided by the former, because it stands above; say in one of them what only the other is for",
					e.Name, e.line, ru.Name)
				break
			}
		}
		asking[keys] = append(asking[keys], ru)
		earlier = append(earlier, ru)
	}
}

// keys are the conditions that are set.
func (w *when) keys() (keys []string) {
	v := reflect.ValueOf(w).Elem()
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "" && !v.Field(i).IsZero() {
			keys = append(keys, key)
		}
	}
	return keys
}

// unreached warns of values that a rule names and no call brings to it.
func (l *linter) unreached(p strict.Path, ru *rule, earlier []*rule) (said bool) {
	part := ru.When
	for _, x := range []struct {
		key  string
		list *[]string
	}{{"outcome", &part.Outcome}, {"reason", &part.Reason}, {"line", &part.Line}, {"caller", &part.Caller}, {"region", &part.Region}, {"contact", &part.Contact},
		{"group", &part.Group}, {"attestation", &part.Attestation}, {"hours", &part.Hours}, {"days", &part.Days}, {"queue", &part.Queue}, {"tried", &part.Tried}} {
		all := *x.list
		for j, word := range all {
			if len(all) == 1 {
				break // then the whole rule would be dead
			}
			*x.list = []string{word}
			if x.key == "days" {
				part.compiled.days = 1 << max(0, slices.Index(weekdays[:], word))
			}
			if i := slices.IndexFunc(earlier, func(e *rule) bool { return wider(&e.When, &part) }); i >= 0 {
				l.rep.Warning(p.Key("when", x.key).Index(j), "no call with %s %s comes to rule %q: rule %q in line %d matches them all", x.key, word, ru.Name, earlier[i].Name, earlier[i].line)
				said = true
			}
		}
		*x.list, part.compiled.days = all, ru.When.compiled.days
	}
	return said
}

// meet tells whether some call fulfils both a and b, which ask the same conditions. Where it is not
// certain it says no.
func meet(a, b *when) bool {
	words := func(a, b []string) bool {
		return len(a) == 0 || slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
	}
	patterns := func(a, b []string) bool {
		return len(a) == 0 || slices.ContainsFunc(a, func(x string) bool {
			return slices.ContainsFunc(b, func(y string) bool { return pbx.Match([]string{x}, y) || pbx.Match([]string{y}, x) })
		})
	}
	// Of two patterns one lies within the other. That is what both let in, unless one of the rules takes it out again.
	callers := func() bool {
		out := func(x string) bool { return pbx.Match(a.NotCaller, x) || pbx.Match(b.NotCaller, x) }
		return len(a.Caller) == 0 || slices.ContainsFunc(a.Caller, func(x string) bool {
			return slices.ContainsFunc(b.Caller, func(y string) bool {
				return pbx.Match([]string{x}, y) && !out(y) || pbx.Match([]string{y}, x) && !out(x)
			})
		})
	}
	flag := func(a, b *bool) bool { return a == nil || *a == *b }
	spans := func(a, b []span) bool {
		return len(a) == 0 || slices.ContainsFunc(a, func(x span) bool {
			return slices.ContainsFunc(b, func(y span) bool { return x.from < y.to && y.from < x.to })
		})
	}
	days := func(a, b []dates) bool {
		return len(a) == 0 || slices.ContainsFunc(a, func(x dates) bool {
			return slices.ContainsFunc(b, func(y dates) bool { return x.first <= y.last && y.first <= x.last })
		})
	}
	pbxStates := func() bool {
		for _, x := range a.PBX {
			if y, ok := b.PBX.Get(x.Key); ok && !patterns(x.Value, y) {
				return false
			}
		}
		return true
	}
	return words(a.Outcome, b.Outcome) && words(a.Reason, b.Reason) && flag(a.Certain, b.Certain) && patterns(a.Line, b.Line) && callers() &&
		flag(a.Anonymous, b.Anonymous) && flag(a.Internal, b.Internal) && words(a.Region, b.Region) && words(a.Contact, b.Contact) && patterns(a.Group, b.Group) &&
		words(a.Attestation, b.Attestation) && meetCounts(a.Attempts, b.Attempts) && meetBetween(a.Ring, b.Ring) && meetBetween(a.Wait, b.Wait) &&
		meetBetween(a.QueueWait, b.QueueWait) && flag(a.MessageLeft, b.MessageLeft) && flag(a.Open, b.Open) && words(a.Hours, b.Hours) &&
		days(a.compiled.dates, b.compiled.dates) && words(a.Days, b.Days) && spans(a.compiled.times, b.compiled.times) && patterns(a.Queue, b.Queue) &&
		flag(a.Menu, b.Menu) && flag(a.Forwarded, b.Forwarded) && patterns(a.Tried, b.Tried) && pbxStates()
}

func meetBetween(a, b *between) bool {
	if a == nil || b == nil {
		return true
	}
	return (a.Under == nil || b.AtLeast == nil || *b.AtLeast < *a.Under) && (b.Under == nil || a.AtLeast == nil || *a.AtLeast < *b.Under)
}

func meetCounts(a, b *count) bool {
	if a == nil || b == nil {
		return true
	}
	return (a.Under == nil || b.AtLeast == nil || *b.AtLeast < *a.Under) && (b.Under == nil || a.AtLeast == nil || *a.AtLeast < *b.Under)
}

// said is one text of a message, as far as it can be told from the letters.
type said struct {
	p        strict.Path
	called   string
	text     string
	language string
}

// texts are a message's in all its languages.
func (l *linter) texts(p strict.Path, called string, m languages) (all []said) {
	if m.All != "" {
		return []said{{p, called, m.All, l.r.file.Language}}
	}
	for _, t := range m.By {
		all = append(all, said{p.Key(t.Key), called + " in " + t.Key, t.Value, language(t.Key)})
	}
	return all
}

// messages warns of texts that leave people without a way to go on, or, where they are the
// first that somebody gets, without a word of how to stop.
func (l *linter) messages() {
	type use struct{ first, any bool }
	uses := map[string]use{}
	look := func(s said, first bool) {
		if words := ways[s.language]; words != nil {
			var has []string
			goingOn := s.text
			if how := howToStop[s.language]; how != nil { // "Reply STOP" is no way to go on
				goingOn = how.ReplaceAllString(s.text, " ")
			}
			for _, way := range []string{"reply", "call back", "book"} {
				if words[way].MatchString(goingOn) || way == "call back" && strings.Contains(s.text, ".Phone") || way == "book" && strings.Contains(s.text, ".Booking") {
					has = append(has, way)
				}
			}
			switch len(has) {
			case 0:
				l.rep.Warning(s.p, "%s tells nobody how to go on: offer two ways of reply, call back, book ({{.Booking}})", s.called)
			case 1:
				l.rep.Warning(s.p, "%s offers one way to go on (%s): offer a second of reply, call back, book ({{.Booking}}), for those to whom the first is none", s.called, has[0])
			}
		}
		if first && !saysStop(s.text, s.language) {
			l.rep.Warning(s.p, "%s may be the first text that somebody gets, and does not say how to stop: add a word such as \"Reply STOP to opt out\"", s.called)
		}
	}
	for i := range l.r.file.Rules {
		ru, p := &l.r.file.Rules[i], strict.At("rules").Index(i)
		// Whatever a rule asks, its text may be the first one. Who is known, or calls again, need not have been texted:
		// the call before may have come to a rule that sends nothing, or a guard stood against its text. And where
		// it was texted, this one is mostly none: one is enough within the window.
		if ru.Send != "" {
			uses[ru.Send] = use{true, true}
		}
		if ru.Text != "" {
			look(said{p.Key("text"), "the text of rule " + quote(ru.Name), ru.Text, l.r.file.Language}, true)
		}
		for j, fu := range ru.FollowUps {
			if fu.Send != "" {
				u := uses[fu.Send]
				uses[fu.Send] = use{u.first, true}
			}
			if fu.Text != "" {
				look(said{p.Key("follow_ups").Index(j).Key("text"), "the follow-up text of rule " + quote(ru.Name), fu.Text, l.r.file.Language}, false)
			}
		}
	}
	for _, m := range l.r.file.Messages {
		if u := uses[m.Key]; u.any {
			for _, s := range l.texts(strict.At("messages").Key(m.Key), "message "+quote(m.Key), m.Value) {
				look(s, u.first)
			}
		}
	}
}

// numbers warns of texts that take another segment on a line whose number is longer than rules.yaml lets one expect.
func (l *linter) numbers(s Seen) {
	expected := l.r.longestNumber()
	longest := pbx.Line{Number: expected}
	for _, have := range s.all() {
		if len(have.Number) > len(longest.Number) {
			longest = have
		}
	}
	if longest.Number == expected {
		return
	}
	l.r.eachText(func(p strict.Path, t *text) {
		if !slices.Contains(t.uses, "LineNumber") && !slices.Contains(t.uses, "Phone") {
			return
		}
		if n := l.r.most(t, longest.Number); n > l.r.most(t, expected) {
			l.rep.Warning(p, "%s takes up to %s on line %s, whose number has %d digits: each is paid for; 160 characters fit into one",
				t.called, segments(n), cmp.Or(longest.Name, longest.Number), len(longest.Number)-1)
		}
	})
}

// TooLong warns of texts that may take more segments than a transport carries, on one of the lines
// with these numbers or on those that rules.yaml expects.
func (r *Rules) TooLong(transport string, carries int, numbers []string) []Problem {
	rep := &strict.Report{}
	*rep = *r.rep
	rep.Problems = nil
	number := r.longestNumber()
	for _, n := range numbers {
		if len(n) > len(number) {
			number = n
		}
	}
	r.eachText(func(p strict.Path, t *text) {
		if n := r.most(t, number); n > carries {
			rep.Warning(p, "%s takes up to %s, and %s carries %d at most: a text that is longer is not sent by it; make it shorter", t.called, segments(n), transport, carries)
		}
	})
	rep.Sort()
	return rep.Problems
}

// most is how many segments a text takes at most on a line of that number.
func (r *Rules) most(t *text, number string) (most int) {
	all := r.extremes(t, number)
	for i := range all {
		if body, err := t.render(&all[i]); err == nil {
			n, _ := gsm7.Segments(body)
			most = max(most, n)
		}
	}
	return most
}

// eachText calls f with every text that has no problem, and where it stands.
func (r *Rules) eachText(f func(p strict.Path, t *text)) {
	look := func(p strict.Path, t *text) {
		if t != nil {
			f(p, t)
		}
	}
	for _, item := range r.file.Messages {
		p, m := strict.At("messages").Key(item.Key), r.messages[item.Key]
		if m == nil {
			continue
		}
		look(p, m.one)
		for _, t := range item.Value.By {
			look(p.Key(t.Key), m.texts[language(t.Key)])
		}
	}
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		if ru.Text != "" && ru.msg != nil {
			look(p.Key("text"), ru.msg.one)
		}
		for j, fu := range ru.FollowUps {
			if fu.Text != "" && fu.msg != nil {
				look(p.Key("follow_ups").Index(j).Key("text"), fu.msg.one)
			}
		}
	}
}

// languages warns of lines with a language in which nothing can be said.
func (l *linter) languages() {
	spoken := map[string]bool{l.r.file.Language: true}
	for _, m := range l.r.file.Messages {
		for _, t := range m.Value.By {
			spoken[language(t.Key)] = true
		}
	}
	for i := range l.r.file.Lines {
		if lang := l.r.lines[i].language; l.r.file.Lines[i].Value.Language != "" && !spoken[lang] {
			l.rep.Warning(strict.At("lines").Key(l.r.file.Lines[i].Key, "language"), "no message has a text in %s, so callers of this line get %s: write messages as {%s: …, %s: …}",
				lang, l.r.file.Language, l.r.file.Language, lang)
		}
	}
}

// openings warns of texts that tell the next opening without asking whether there is one, where
// they can be read while the office is open: "We open ." puzzles.
func (l *linter) openings() {
	said := map[*message]bool{}
	look := func(m *message, own strict.Path, when string) {
		if m == nil || said[m] {
			return
		}
		said[m] = true
		warn := func(p strict.Path, t *text) {
			switch {
			case t == nil || !bare(t.tmpl.Root, "NextOpening"):
			case !l.r.hasHours():
				l.rep.Warning(p, "%s: {{.NextOpening}} is always empty, because this file has no hours: add hours:, or leave it out", t.called)
			default:
				l.rep.Warning(p, "%s: {{.NextOpening}} is empty when the office is open, and %s: write {{with .NextOpening}}We open {{.}}.{{end}}", t.called, when)
			}
		}
		if m.name == "" {
			warn(own, m.one)
			return
		}
		p := strict.At("messages").Key(m.name)
		warn(p, m.one)
		item, _ := l.r.file.Messages.Get(m.name)
		for _, by := range item.By {
			warn(p.Key(by.Key), m.texts[language(by.Key)])
		}
	}
	var earlier []*rule
	for i := range l.r.file.Rules {
		ru, p := &l.r.file.Rules[i], strict.At("rules").Index(i)
		if ru.msg != nil && l.whileOpen(ru, earlier) {
			look(ru.msg, p.Key("text"), "rule "+quote(ru.Name)+" may send this then")
		}
		for j := range ru.FollowUps {
			look(ru.FollowUps[j].msg, p.Key("follow_ups").Index(j).Key("text"), "a follow-up of rule "+quote(ru.Name)+" may be read then")
		}
		earlier = append(earlier, ru)
	}
}

// whileOpen tells whether some call comes to a rule while the office is open.
func (l *linter) whileOpen(ru *rule, earlier []*rule) bool {
	if !l.r.hasHours() {
		return true // nobody knows
	}
	w := ru.When
	if w.hourSet()&1 == 0 { // the first of hoursWords
		return false
	}
	yes := true
	w.Open, w.Hours = &yes, nil
	if len(covering(earlier, &w)) > 0 {
		return false // rules above take those calls
	}
	meets := func(d date, day time.Weekday, spans []span) bool {
		if w.compiled.days != 0 && w.compiled.days&(1<<day) == 0 || d != 0 && len(w.compiled.dates) > 0 &&
			!slices.ContainsFunc(w.compiled.dates, func(x dates) bool { return x.first <= d && d <= x.last }) {
			return false
		}
		return slices.ContainsFunc(spans, func(s span) bool {
			return len(w.compiled.times) == 0 || slices.ContainsFunc(w.compiled.times, func(t span) bool { return t.from < s.to && s.from < t.to })
		})
	}
	return slices.ContainsFunc(l.r.offices(), func(o *office) bool {
		for day, spans := range o.hours.week {
			if meets(0, time.Weekday(day), spans) {
				return true
			}
		}
		for d, sp := range o.hours.dates {
			if meets(d, d.in(time.UTC).Weekday(), sp.spans) {
				return true
			}
		}
		return false
	})
}

// runningOut is how long before the last holiday that is known its end is told.
const runningOut = 60 * 24 * time.Hour

// hours warns of holidays about to run out, of dates that are past, and of times that a day does not have.
func (l *linter) hours() {
	today := dateOf(l.now.In(l.r.zone))
	check := func(p strict.Path, o *office) {
		if c := o.closing; c.last != 0 && !c.endless && c.last < dateOf(l.now.Add(runningOut).In(l.r.zone)) {
			where := p.Key("exceptions")
			for _, key := range []string{"holidays", "closed_on"} {
				if l.rep.Has(p.Key(key)) {
					where = p.Key(key)
				}
			}
			verb := "is"
			if c.last < today {
				verb = "was"
			}
			l.rep.Warning(where, "the last holiday that is known %s on %s: add the next ones, or the office counts as open then", verb, c.last.in(time.UTC).Format("2006-01-02"))
		}
	}
	check("", l.r.office)
	l.exceptions("exceptions", l.r.file.Exceptions, l.r.zone, today)
	for i, o := range l.r.lines {
		line, p := &l.r.file.Lines[i].Value, strict.At("lines").Key(l.r.file.Lines[i].Key)
		// Exceptions of its own may hold its holidays; those of the whole office are told of once.
		if line.ClosedOn != nil || line.Holidays != nil || line.Exceptions != nil && o.closing.last != l.r.office.closing.last {
			check(p, o)
		}
		if line.Exceptions != nil {
			l.exceptions(p.Key("exceptions"), *line.Exceptions, o.hours.zone, today)
		}
	}
	for i := range l.r.file.Rules {
		w, p := &l.r.file.Rules[i].When, strict.At("rules").Index(i).Key("when", "dates")
		if d := w.compiled.dates; len(d) > 0 && !slices.ContainsFunc(d, func(d dates) bool { return d.last >= today }) {
			l.rep.Warning(p, "all of these dates are past, so rule %q matches no call any more", l.r.file.Rules[i].Name)
		}
	}
}

// exceptions warns of dates that are past, and of times that they do not have because clocks go forward.
func (l *linter) exceptions(p strict.Path, list strict.Keyed[[]string], zone *time.Location, today date) {
	past := 0
	for _, e := range list {
		d, ok := parseDate(e.Key)
		if !ok {
			continue
		}
		if d < today {
			past++
		}
		for i, s := range e.Value {
			from, to, _ := strings.Cut(s, "-")
			for _, clock := range []string{from, to} {
				m, ok := minutes(clock)
				if !ok || m >= 24*60 {
					continue
				}
				y, mo, day := d.in(zone).Date()
				t := time.Date(y, mo, day, m/60, m%60, 0, 0, zone)
				if t.Hour()*60+t.Minute() != m {
					l.rep.Warning(p.Key(e.Key).Index(i), "there is no %s on that day in %s: clocks go forward", strings.TrimSpace(clock), zone)
				}
			}
		}
	}
	if past > 0 && past == len(list) {
		l.rep.Warning(p, "all of these dates are past")
	}
}

// deadlines warns of follow-ups that come when their rule's task is overdue, or when the
// episode has closed.
func (l *linter) deadlines() {
	for i := range l.r.file.Rules {
		ru, p := &l.r.file.Rules[i], strict.At("rules").Index(i)
		window := l.r.file.Defaults.Window
		if ru.Window != nil {
			window = *ru.Window
		}
		for j, fu := range ru.FollowUps {
			fp := p.Key("follow_ups").Index(j).Key("after")
			switch {
			case ru.Task != nil && fu.After >= ru.Task.Within:
				l.rep.Warning(fp, "this follow-up comes %s after the text, when the rule's task is overdue already (within: %s)", human(fu.After), human(ru.Task.Within))
			case fu.After > window:
				l.rep.Warning(fp, "this follow-up comes %s after the text, when the episode has closed already (window: %s)", human(fu.After), human(window))
			}
		}
	}
}

// staff warns of people whom no rule names.
func (l *linter) staff() {
	used := map[string]bool{}
	for i := range l.r.file.Rules {
		ru := &l.r.file.Rules[i]
		for _, n := range ru.Notify {
			used[n] = true
		}
		for _, fu := range ru.FollowUps {
			used[fu.Assign] = true
		}
		if ru.Task != nil {
			used[ru.Task.Owner] = true
		}
	}
	for i, s := range l.r.file.Staff {
		// The first of them gets what could not be sent in time.
		if i > 0 && !used[s.Key] {
			l.rep.Warning(strict.At("staff").Key(s.Key), "no rule tells %s anything or gives a task: name them in notify, task or assign", s.Key)
		}
	}
}

// Unmailed warns of everybody who is to be told by e-mail, for an office that has no
// mail server configured.
func (r *Rules) Unmailed() []Problem {
	rep := &strict.Report{}
	*rep = *r.rep
	rep.Problems = nil
	for _, s := range r.file.Staff {
		other := ""
		switch {
		case s.Value.Email == "":
			continue
		case s.Value.Text == "" && s.Value.Webhook == "":
			other = " and has no other way to be told"
		}
		rep.Warning(strict.At("staff").Key(s.Key, "email"), "no e-mail can be sent: %s is told by e-mail%s, and textback.yaml names no mail server (notify.smtp)", s.Key, other)
	}
	return rep.Problems
}

// Seen are the lines and queues that there are: from textback.yaml, and from stored calls.
type Seen struct {
	Lines  []pbx.Line // configured ones
	calls  int
	lines  map[pbx.Line]bool
	queues map[string]bool
}

// Call takes a stored call in.
func (s *Seen) Call(c *pbx.Call) {
	if s.lines == nil {
		s.lines, s.queues = map[pbx.Line]bool{}, map[string]bool{}
	}
	s.calls++
	s.lines[c.Line] = true
	if c.Queue != nil {
		s.queues[c.Queue.Name] = true
	}
}

// all are the lines of textback.yaml, then those of stored calls, in an order that is always the same.
func (s *Seen) all() []pbx.Line {
	return slices.Concat(s.Lines, slices.SortedFunc(maps.Keys(s.lines), func(a, b pbx.Line) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Raw, b.Raw))
	}))
}

// enough is how many calls must be stored before something counts as never seen.
const enough = 100

// seen warns of lines and queues in the rules that there are none of.
func (l *linter) seen(s Seen) {
	all := s.all()
	line := func(p strict.Path, pattern string) {
		if slices.ContainsFunc(all, func(have pbx.Line) bool { return onLine([]string{pattern}, have) }) {
			return
		}
		switch {
		case s.calls >= enough:
			l.rep.Warning(p, "line %q was never called: none of %d stored calls came by it, and textback.yaml has no such line", pattern, s.calls)
		case len(s.Lines) > 0:
			l.rep.Warning(p, "textback.yaml has no line %q: look at its lines, their names and numbers", pattern)
		}
	}
	for _, ln := range l.r.file.Lines {
		line(strict.At("lines").Key(ln.Key), ln.Key)
	}
	for i := range l.r.file.Rules {
		w, p := &l.r.file.Rules[i].When, strict.At("rules").Index(i).Key("when")
		for j, pattern := range w.Line {
			line(p.Key("line").Index(j), pattern)
		}
		for j, q := range w.Queue {
			if s.calls >= enough && !slices.ContainsFunc(slices.Collect(maps.Keys(s.queues)), func(have string) bool { return pbx.Match([]string{q}, have) }) {
				l.rep.Warning(p.Key("queue").Index(j), "no caller was ever in queue %q: none of %d stored calls", q, s.calls)
			}
		}
	}
}
