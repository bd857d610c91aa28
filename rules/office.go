package rules

import (
	"maps"
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/rules/ical"
	"textback/rules/strict"
)

// office is what stands behind a line: its hours, its language and the name that
// texts about its calls give.
type office struct {
	patterns []string // of lines; none for where no line says otherwise
	business string
	language string
	hours    *schedule
	closing  closing
}

// closing is until when the holidays of an office are known.
type closing struct {
	last    date // the last holiday, 0: none
	endless bool // some recur without end
}

// officeOf is the first of lines that the call's line matches.
func (r *Rules) officeOf(l pbx.Line) *office {
	for _, o := range r.lines {
		if onLine(o.patterns, l) {
			return o
		}
	}
	return r.office
}

// offices are all of them.
func (r *Rules) offices() []*office { return append([]*office{r.office}, r.lines...) }

// closed are days, and what they are called.
type closed struct {
	days    map[date]special
	endless bool
}

// checkOffices makes the office and what differs on its lines.
func (r *Rules) checkOffices(rep *strict.Report, beside func(string) ([]byte, error)) {
	f, read := &r.file, map[string]closed{}
	holidays := func(p strict.Path, list []string) (all []closed) {
		for i, name := range list {
			c, ok := read[name]
			if !ok {
				c = checkHolidays(rep, p.Index(i), name, beside)
				read[name] = c
			}
			all = append(all, c)
		}
		return all
	}
	week, any := checkWeek(rep, "hours", &f.Hours)
	closedOn := checkClosed(rep, "closed_on", f.ClosedOn)
	inFiles := holidays("holidays", f.Holidays)
	exceptions := checkExceptions(rep, "exceptions", f.Exceptions)
	r.office = &office{business: f.Business.Name, language: f.Language}
	r.office.hours, r.office.closing = scheduleOf(r.zone, week, any, closedOn, inFiles, exceptions)
	for i := range f.Lines {
		l, p := &f.Lines[i].Value, strict.At("lines").Key(f.Lines[i].Key)
		pattern := f.Lines[i].Key
		if plain := separators.Replace(pattern); strings.HasPrefix(pattern, "+") && plain != pattern && looksLikeNumber(pattern) {
			rep.Problem(p, "%q is compared with the line's name and its number, and numbers are written without blanks and signs: write %s", pattern, plain)
		}
		for _, earlier := range r.lines {
			if pbx.Match(earlier.patterns, pattern) {
				rep.Problem(p, "no line gets here: %s above matches it already", earlier.patterns[0])
			}
		}
		o := &office{patterns: []string{pattern}, business: r.office.business, language: r.office.language}
		if rep.Has(p.Key("business")) {
			if o.business = l.Business; strings.TrimSpace(l.Business) == "" {
				rep.Problem(p.Key("business"), "the business needs a name: people must know who texts them")
			}
		}
		if l.Language != "" {
			o.language = r.checkLanguage(rep, p.Key("language"), l.Language)
		}
		zone, lineWeek, lineAny, lineClosed, lineFiles, lineExceptions := r.zone, week, any, closedOn, inFiles, exceptions
		if l.Zone != "" {
			if z := zoneNamed(rep, p.Key("timezone"), l.Zone); z != nil {
				zone = z
			}
		}
		if l.Hours != nil {
			lineWeek, lineAny = checkWeek(rep, p.Key("hours"), l.Hours)
		}
		if l.ClosedOn != nil {
			lineClosed = checkClosed(rep, p.Key("closed_on"), *l.ClosedOn)
		}
		if l.Holidays != nil {
			lineFiles = holidays(p.Key("holidays"), *l.Holidays)
		}
		if l.Exceptions != nil {
			lineExceptions = checkExceptions(rep, p.Key("exceptions"), *l.Exceptions)
		}
		o.hours, o.closing = scheduleOf(zone, lineWeek, lineAny, lineClosed, lineFiles, lineExceptions)
		r.lines = append(r.lines, o)
	}
}

// scheduleOf puts an office's hours together. Exceptions are the last word on a date.
func scheduleOf(zone *time.Location, week [7][]span, any bool, closedOn map[date]special, files []closed, exceptions map[date]special) (*schedule, closing) {
	s, c := &schedule{zone: zone, week: week, any: any, dates: map[date]special{}}, closing{}
	for _, f := range files {
		maps.Copy(s.dates, f.days)
		c.endless = c.endless || f.endless
	}
	for d := range closedOn {
		if _, named := s.dates[d]; !named {
			s.dates[d] = special{}
		}
	}
	for d := range s.dates {
		c.last = max(c.last, d)
	}
	for d, sp := range exceptions {
		if s.dates[d] = sp; len(sp.spans) == 0 {
			c.last = max(c.last, d)
		}
	}
	return s, c
}

func checkWeek(rep *strict.Report, p strict.Path, h *hours) (week [7][]span, any bool) {
	for day, list := range h.days() {
		week[day] = checkSpans(rep, p.Key(weekdays[day]), list)
		any = any || len(week[day]) > 0
	}
	return week, any
}

func checkClosed(rep *strict.Report, p strict.Path, list []string) map[date]special {
	days := map[date]special{}
	for i, s := range list {
		d, ok := parseDate(s)
		if !ok {
			rep.Problem(p.Index(i), "%q is not a date: write it like 2026-12-25", s)
			continue
		}
		days[d] = special{}
	}
	return days
}

func checkExceptions(rep *strict.Report, p strict.Path, list strict.Keyed[[]string]) map[date]special {
	days := map[date]special{}
	for _, e := range list {
		d, ok := parseDate(e.Key)
		switch {
		case !ok:
			rep.Problem(p.Key(e.Key), "%q is not a date: write it like 2026-12-24", e.Key)
		case e.Value == nil && !rep.Wrong(p.Key(e.Key)):
			rep.Problem(p.Key(e.Key), `say which hours that day has: ["8:00-12:00"], or [] when it is closed`)
		default:
			days[d] = special{spans: checkSpans(rep, p.Key(e.Key), e.Value)}
		}
	}
	return days
}

// Holidays are read for these years: rules have no clock.
var (
	firstHoliday = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	lastHoliday  = time.Date(2060, 12, 31, 0, 0, 0, 0, time.UTC)
)

// checkHolidays reads an iCalendar file.
func checkHolidays(rep *strict.Report, p strict.Path, name string, beside func(string) ([]byte, error)) (c closed) {
	if name == "" {
		rep.Problem(p, "say which file: holidays: holidays.ics")
		return c
	}
	b, err := beside(name)
	if err != nil {
		rep.Problem(p, "%s cannot be read: %s", name, plainly(err))
		return c
	}
	cal, err := ical.Read(b, firstHoliday, lastHoliday)
	if err != nil {
		rep.Problem(p, "%s: %s", name, err)
		return c
	}
	switch {
	case len(cal.Days) == 0 && cal.Timed > 0:
		rep.Warning(p, "%s has no holidays: only whole-day events count, and its %d events have times", name, cal.Timed)
	case len(cal.Days) == 0:
		rep.Warning(p, "%s has no holidays", name)
	}
	c = closed{days: map[date]special{}, endless: cal.Endless}
	for _, d := range cal.Days {
		c.days[dateOf(d.Date)] = special{name: d.Name}
	}
	return c
}

// sorted are the dates on which the office is closed, in order.
func (s *schedule) sorted() (ds []date) {
	for d, sp := range s.dates {
		if len(sp.spans) == 0 {
			ds = append(ds, d)
		}
	}
	slices.Sort(ds)
	return ds
}
