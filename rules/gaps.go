package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx"
)

// gaps warns of outcomes about which no rule decides: of the plainest calls that there are, from
// somebody new, on each line and from each region, at an hour of each kind.
func (l *linter) gaps(seen Seen) {
	if len(l.r.file.Rules) == 0 {
		return // told
	}
	lines, regions := l.lineSamples(seen), l.regionSamples()
	hours := map[*schedule]map[string]time.Time{}
	missing := map[[2]int]map[string][]kind{} // by line and region, then by what the hours say
	var groups []gapGroup
	for i := range lines {
		s := lines[i].hours
		if hours[s] == nil {
			hours[s] = l.examples(s)
		}
		for j := range regions {
			at := [2]int{i, j}
			missing[at] = map[string][]kind{}
			for h, t := range hours[s] {
				for _, k := range kinds {
					if !l.decided(k, t, lines[i].line, regions[j].number) {
						missing[at][h] = append(missing[at][h], k)
					}
				}
			}
			// Those with the same gaps are told of together.
			g := slices.IndexFunc(groups, func(g gapGroup) bool {
				first := g.at[0]
				return maps.EqualFunc(missing[first], missing[at], slices.Equal) && maps.EqualFunc(hours[lines[first[0]].hours], hours[s], func(_, _ time.Time) bool { return true })
			})
			if g < 0 {
				g, groups = len(groups), append(groups, gapGroup{})
			}
			groups[g].at = append(groups[g].at, at)
		}
	}
	for _, g := range groups {
		for _, part := range g.parts() {
			first := part.at[0]
			where := ""
			if n := part.different(0); n < len(lines) {
				where += " to " + either(part.names(0, func(i int) []string { return lines[i].names }))
			}
			if n := part.different(1); n < len(regions) {
				where += " from " + either(part.names(1, func(j int) []string { return regions[j].names }))
			}
			l.gap(missing[first], hours[lines[first[0]].hours], lines[first[0]].hours.zone, where)
		}
	}
}

// gap tells of calls about which no rule decides, by what the hours say.
func (l *linter) gap(missing map[string][]kind, hours map[string]time.Time, zone *time.Location, where string) {
	open := map[string][]string{} // by the kinds of calls, the hours at which nothing is decided
	var order []string
	for _, h := range hourKinds {
		if len(missing[h]) == 0 {
			continue
		}
		what := inKinds(missing[h])
		if len(open[what]) == 0 {
			order = append(order, what)
		}
		open[what] = append(open[what], h)
	}
	for _, what := range order {
		hs := open[what]
		example := hours[hs[0]].In(zone).Format("Mon 2 Jan 2006 15:04")
		when := "at any hour"
		if len(hs) < len(hours) {
			when = "when the hours say " + strings.Join(hs, " or ")
		}
		l.rep.Warning("rules", "no rule decides about calls%s that are %s %s, one on %s for instance: nothing is sent; add a rule for them, or one that says nothing: with the reason", where, what, when, example)
	}
}

// gapGroup are lines and regions, by their places in their lists, whose calls have the same gaps.
type gapGroup struct{ at [][2]int }

// different is how many lines (0) or regions (1) are among them.
func (g gapGroup) different(which int) int { return len(g.places(which)) }

func (g gapGroup) places(which int) (all []int) {
	for _, at := range g.at {
		if !slices.Contains(all, at[which]) {
			all = append(all, at[which])
		}
	}
	return all
}

func (g gapGroup) names(which int, of func(int) []string) (all []string) {
	for _, i := range g.places(which) {
		all = append(all, of(i)...)
	}
	return all
}

// parts are the group itself where it is all of some lines from all of some regions, else one part for each line.
func (g gapGroup) parts() (all []gapGroup) {
	if len(g.at) == g.different(0)*g.different(1) {
		return []gapGroup{g}
	}
	for _, i := range g.places(0) {
		all = append(all, gapGroup{slices.DeleteFunc(slices.Clone(g.at), func(at [2]int) bool { return at[0] != i })})
	}
	return all
}

// either is "a, b or c", and not all of very many.
func either(words []string) string {
	const most = 5
	if n := len(words); n > most {
		words = append(slices.Clone(words[:most-1]), fmt.Sprintf("%d others", n-most+1))
	}
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return words[0]
}

// lineSample is a line to try calls on, for all those that the rules do not tell apart.
type lineSample struct {
	line  pbx.Line
	names []string
	hours *schedule
}

// lineSamples are the lines that there are: those of textback.yaml; where it names none, those of many stored calls, or else
// those of which rules.yaml says something, and one of which it does not.
func (l *linter) lineSamples(s Seen) (samples []lineSample) {
	all := slices.Clone(s.Lines)
	switch {
	case len(all) > 0:
	case s.calls >= enough:
		all = s.all()
	default:
		for _, ln := range l.r.file.Lines {
			// A name with a star is matched by those patterns that match all that it does.
			if strings.HasPrefix(ln.Key, "+") {
				all = append(all, pbx.Line{Number: ln.Key})
			} else {
				all = append(all, pbx.Line{Name: ln.Key})
			}
		}
		all = append(all, pbx.Line{})
	}
	byRules := map[string]int{}
	for _, line := range all {
		// Calls to it have one of the numbers that the trunk dials for it, where those are known.
		if line.Raw == "" && slices.ContainsFunc(all, func(x pbx.Line) bool { return x.Raw != "" && x.Name == line.Name && x.Number == line.Number }) {
			continue
		}
		var alike strings.Builder
		o := l.r.office
		for i, x := range l.r.lines {
			if onLine(x.patterns, line) {
				fmt.Fprintf(&alike, "office %d ", i)
				o = x
				// Its hours are its own only where they are said to be.
				if f := l.r.file.Lines[i].Value; f.Hours == nil && f.Exceptions == nil && f.ClosedOn == nil && f.Holidays == nil && f.Zone == "" {
					o = l.r.office
					alike.Reset()
				}
				break
			}
		}
		for i := range l.r.file.Rules {
			if w := &l.r.file.Rules[i].When; len(w.Line) > 0 && onLine(w.Line, line) {
				fmt.Fprintf(&alike, "%d ", i)
			}
		}
		name := cmp.Or(line.Name, line.Number, line.Raw, "any other line")
		if at, ok := byRules[alike.String()]; !ok {
			byRules[alike.String()] = len(samples)
			samples = append(samples, lineSample{line, []string{name}, o.hours})
		} else if !slices.Contains(samples[at].names, name) {
			samples[at].names = append(samples[at].names, name)
		}
	}
	return samples
}

// regionSample is a region to try calls from, for all those that the rules do not tell apart.
type regionSample struct {
	number string
	names  []string
}

// regionSamples are numbers of the regions that are texted.
func (l *linter) regionSamples() (samples []regionSample) {
	byRules := map[string]int{}
	for _, region := range l.r.file.Regions {
		number := exampleNumber(region, phonenumbers.MOBILE)
		var alike strings.Builder
		for i := range l.r.file.Rules {
			w := &l.r.file.Rules[i].When
			if len(w.Region) > 0 || len(w.Caller) > 0 || len(w.NotCaller) > 0 {
				fmt.Fprint(&alike, slices.Contains(w.Region, region), pbx.Match(w.Caller, number), pbx.Match(w.NotCaller, number))
			}
		}
		if at, ok := byRules[alike.String()]; ok {
			samples[at].names = append(samples[at].names, region)
			continue
		}
		byRules[alike.String()] = len(samples)
		samples = append(samples, regionSample{number, []string{region}})
	}
	return samples
}

// exampleNumber is a number of the region, of that type where it has such.
func exampleNumber(region string, t phonenumbers.PhoneNumberType) string {
	n := phonenumbers.GetExampleNumberForType(region, t)
	if n == nil {
		n = phonenumbers.GetExampleNumber(region)
	}
	if n == nil {
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// hourKinds are what the hours may say, in the order in which gaps are told.
var hourKinds = []string{opened, shut, pause, holiday}

// examples finds a time to come for each of hourKinds that the hours have. Without
// hours any time does.
func (l *linter) examples(s *schedule) map[string]time.Time {
	now := l.now.In(s.zone).Truncate(30 * time.Minute)
	if !s.any {
		return map[string]time.Time{shut: now}
	}
	found := map[string]time.Time{}
	var tried [7]bool // weekdays that have nothing new to show
	noon := dateOf(now).in(s.zone)
	for n := range 366 {
		day := noon.AddDate(0, 0, n)
		d := dateOf(day)
		_, _, byDate := s.on(d, day.Weekday())
		if !byDate && tried[day.Weekday()] {
			continue
		}
		tried[day.Weekday()] = tried[day.Weekday()] || n > 0 && !byDate // the first day is not a whole one
		for m := 0; m < 24*60; m += 30 {
			t := instant(d, m, s.zone)
			if t.Before(now) {
				continue
			}
			if k := s.at(t); found[k].IsZero() {
				found[k] = t
			}
		}
		if len(found) == len(hourKinds) {
			break
		}
	}
	return found
}

// decided tells whether some rule matches the plain calls of a kind.
func (l *linter) decided(k kind, at time.Time, line pbx.Line, caller string) bool {
	c := &pbx.Call{Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: k.outcome, Reason: k.reason, Certain: true, EndedAt: at,
		Caller: pbx.Caller{Number: caller, Raw: caller}, Line: line, Wait: 20 * time.Second}
	if k.rang() {
		c.Ring = 20 * time.Second
	}
	c.StartedAt = at.Add(-c.Wait)
	messages := []*bool{nil}
	if k.outcome == pbx.Voicemail {
		yes, no := true, false
		messages = []*bool{&yes, &no, nil}
	}
	for _, m := range messages {
		if k.outcome == pbx.Voicemail {
			c.Voicemail = &pbx.Mailbox{MessageLeft: m}
		}
		a := &asked{r: l.r, f: Facts{Call: c}, now: at, office: l.r.officeOf(line)}
		if a.match() == nil {
			return false
		}
	}
	return true
}

// inKinds names kinds of calls: "busy", "voicemail (reason busy or declined)".
func inKinds(some []kind) string {
	reasons := map[pbx.Outcome][]string{}
	for _, k := range some {
		reasons[k.outcome] = append(reasons[k.outcome], string(k.reason))
	}
	var parts []string
	for _, o := range pbx.Outcomes {
		switch rs := reasons[o]; {
		case len(rs) == 0:
		case o == pbx.Voicemail && len(rs) < len(pbx.Reasons):
			parts = append(parts, fmt.Sprintf("%s (reason %s)", o, strings.Join(rs, " or ")))
		default:
			parts = append(parts, string(o))
		}
	}
	return strings.Join(parts, ", ")
}
