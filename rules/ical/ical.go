// Package ical is in charge of reading holidays from iCalendar files (RFC 5545)
// as calendars export them and authorities publish them: the days on which an
// all-day event lies. It is tolerant, because the admin did not write the file and
// cannot mend it: what is no all-day event is counted and passed over.
//
// Lines and events are read here; what a recurrence rule means is rrule-go's part.
package ical

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/teambition/rrule-go"
)

// A Day is one on which an event lies. Its Date is midnight in UTC, which says
// nothing of the zone: it is the day of whoever keeps the calendar.
type Day struct {
	Date time.Time
	Name string
}

// A Calendar is what was read from one file.
type Calendar struct {
	Days    []Day // in order, each date once
	Endless bool  // some event recurs without end, so that Days end with the time asked for only
	Timed   int   // events with a time of day, and others that are no whole days: not read
	Example Day   // one of those, for an admin to know them by; its Date may be zero
	// Observances are the names of the days that Google's calendars of public holidays mark as
	// such: remarkable, and no holidays. They are not among Days.
	Observances []string
}

// Bounds against files made to exhaust.
const (
	mostEvents = 5000
	mostDays   = 50_000
	longest    = 400 // days of one event
	mostIdle   = 20  // rules that give no day at all, which takes long to find out
)

// event is one VEVENT.
type event struct {
	uid, name, rule string
	start, end      stamp
	days            int // by DURATION; 0: not said
	allDay          bool
	cancelled       bool
	observance      bool
	instead         stamp // RECURRENCE-ID: the day of the series that this one replaces
	without, also   []stamp

	zone      *time.Location // of the office
	asWritten bool           // its times are the office's, although they are called UTC
}

// stamp is a date or a time as clocks show it, in UTC for want of a better zone.
type stamp struct {
	time.Time
	timed bool
	utc   bool // it is really UTC: written with Z
}

// Read reads the days from one date to another, both of them among them. Whole days that
// are written as times in UTC are those of zone.
func Read(b []byte, from, until time.Time, zone *time.Location) (*Calendar, error) {
	events, err := parse(b)
	if err != nil {
		return nil, err
	}
	c := &Calendar{}
	replaced := map[string][]time.Time{} // by UID
	for i := range events {
		e := &events[i]
		e.settle(zone)
		if !e.instead.IsZero() {
			replaced[e.uid] = append(replaced[e.uid], e.day(e.instead))
		}
	}
	seen := map[time.Time]bool{}
	idle := 0
	for i := range events {
		e := &events[i]
		switch {
		case e.cancelled:
			continue
		case e.start.IsZero() || e.start.timed && !e.midnights():
			if c.Timed++; c.Example.Date.IsZero() && !e.start.IsZero() {
				c.Example = Day{e.day(e.start), e.name}
			}
			continue
		case e.observance:
			if !slices.Contains(c.Observances, e.name) {
				c.Observances = append(c.Observances, e.name)
			}
			continue
		}
		starts := e.each(e.also)
		if e.rule == "" {
			starts = append(starts, e.day(e.start))
		} else {
			some, ends, err := e.recurs(until)
			if err != nil {
				return nil, err
			}
			if len(some) == 0 {
				if idle++; idle > mostIdle {
					return nil, fmt.Errorf("more than %d of its recurring events never come", mostIdle)
				}
			}
			c.Endless = c.Endless || !ends
			starts = append(starts, some...)
		}
		gone := e.each(e.without)
		if e.instead.IsZero() {
			gone = append(gone, replaced[e.uid]...)
		}
		for _, s := range starts {
			if slices.ContainsFunc(gone, s.Equal) {
				continue
			}
			for d := range e.length() {
				day := s.AddDate(0, 0, d)
				if day.Before(from) || day.After(until) || seen[day] {
					continue
				}
				seen[day] = true
				if c.Days = append(c.Days, Day{day, e.name}); len(c.Days) > mostDays {
					return nil, fmt.Errorf("it has more than %d days", mostDays)
				}
			}
		}
	}
	slices.SortStableFunc(c.Days, func(a, b Day) int { return cmp.Compare(a.Date.Unix(), b.Date.Unix()) })
	return c, nil
}

// midnights tells whether an event with times lasts from midnight to midnight:
// so some programs write whole days.
func (e *event) midnights() bool {
	start, end := e.local(e.start), e.local(e.end)
	return e.allDay || isMidnight(start) && end.After(start) && isMidnight(end)
}

// settle finds out what the event's times in UTC mean to an office in zone. A whole
// day there begins at another time in UTC; but some programs write it from midnight to midnight
// all the same, and call that UTC.
func (e *event) settle(zone *time.Location) {
	e.zone = zone
	e.asWritten = e.start.utc && isMidnight(e.start.Time) && (e.end.IsZero() || isMidnight(e.end.Time)) && !isMidnight(wall(e.start.Time, zone))
}

// local is a time of the event's as clocks of the office show it.
func (e *event) local(s stamp) time.Time {
	switch {
	case !s.utc || s.IsZero() || e.asWritten:
		return s.Time
	case e.allDay: // by somebody in another zone, perhaps: then it begins near midnight
		return midnight(wall(s.Time, e.zone).Add(12 * time.Hour))
	}
	return wall(s.Time, e.zone)
}

// day is that of a time of the event's.
func (e *event) day(s stamp) time.Time { return midnight(e.local(s)) }

func (e *event) each(some []stamp) (days []time.Time) {
	for _, s := range some {
		days = append(days, e.day(s))
	}
	return days
}

// wall is what clocks in zone show at t, written as UTC.
func wall(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.Add(time.Duration(offset) * time.Second)
}

func midnight(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }

func isMidnight(t time.Time) bool { return t.Equal(midnight(t)) }

// length is how many days the event takes. Its end is the day after the last
// one (RFC 5545, 3.6.1); without one it takes a day.
func (e *event) length() int {
	n := e.days
	if start, end := e.local(e.start), e.local(e.end); end.After(start) {
		n = int(midnight(end).Sub(midnight(start)) / (24 * time.Hour))
	}
	return min(max(n, 1), longest)
}

// recurs gives the days on which the event begins, up to until.
func (e *event) recurs(until time.Time) (starts []time.Time, ends bool, err error) {
	wrong := func(why string) ([]time.Time, bool, error) {
		return nil, false, fmt.Errorf("how %q recurs cannot be read (%s)", e.name, why)
	}
	o, err := rrule.StrToROption(e.rule)
	if err != nil {
		return wrong("RRULE:" + e.rule)
	}
	if o.Freq > rrule.DAILY {
		return wrong("a whole day cannot recur within a day")
	}
	if !o.Until.IsZero() && !isMidnight(o.Until) && e.start.timed && untilUTC.MatchString(e.rule) {
		o.Until = e.day(stamp{o.Until, true, true})
	}
	o.Dtstart = e.day(e.start)
	if o.Dtstart.Year() < 1 { // rrule-go panics
		return wrong("it begins before the year 1")
	}
	o.Byhour, o.Byminute, o.Bysecond = nil, nil, nil
	r, err := rrule.NewRRule(*o)
	if err != nil {
		return wrong(err.Error())
	}
	for next := r.Iterator(); ; {
		t, more := next()
		if !more {
			return starts, true, nil
		}
		if t.After(until) {
			return starts, o.Count > 0 || !o.Until.IsZero(), nil
		}
		if starts = append(starts, t); len(starts) > mostDays {
			return nil, false, fmt.Errorf("%q has more than %d days", e.name, mostDays)
		}
	}
}

// parse reads the events of the file.
func parse(b []byte) (events []event, err error) {
	var e *event // the one that is being read
	inner := 0   // how deep in components of the event, such as its alarms
	begun := false
	for line := range unfolded(b) {
		name, value := split(line)
		switch {
		case name == "BEGIN" && strings.EqualFold(value, "VCALENDAR"):
			begun = true
		case name == "BEGIN" && e != nil:
			inner++
		case name == "BEGIN" && strings.EqualFold(value, "VEVENT"):
			if len(events) == mostEvents {
				return nil, fmt.Errorf("it has more than %d events", mostEvents)
			}
			e = &event{}
		case name == "END" && inner > 0:
			inner--
		case name == "END" && e != nil && strings.EqualFold(value, "VEVENT"):
			events = append(events, *e)
			e = nil
		case e != nil && inner == 0:
			e.property(name, value)
		}
	}
	if !begun {
		return nil, errors.New("it is no iCalendar file: BEGIN:VCALENDAR is missing")
	}
	if e != nil {
		return nil, errors.New("it ends in the middle of an event")
	}
	return events, nil
}

// property takes one line of an event. What cannot be read is as if it were not there.
func (e *event) property(name, value string) {
	switch name {
	case "UID":
		e.uid = value
	case "SUMMARY":
		e.name = unescaped.Replace(value)
	case "DESCRIPTION":
		e.observance = observance.MatchString(value)
	case "DTSTART":
		e.start, _ = when(value)
	case "DTEND":
		e.end, _ = when(value)
	case "DURATION":
		e.days = days(value)
	case "RRULE":
		e.rule = strings.ToUpper(value)
	case "STATUS":
		e.cancelled = strings.EqualFold(value, "CANCELLED")
	case "X-MICROSOFT-CDO-ALLDAYEVENT":
		e.allDay = strings.EqualFold(value, "TRUE")
	case "RECURRENCE-ID":
		e.instead, _ = when(value)
	case "EXDATE", "RDATE":
		for v := range strings.SplitSeq(value, ",") {
			t, ok := when(v)
			switch {
			case !ok:
			case name == "EXDATE":
				e.without = append(e.without, t)
			default:
				e.also = append(e.also, t)
			}
		}
	}
}

// observance is how the descriptions of days in Google's calendars of public
// holidays begin that are none.
var observance = regexp.MustCompile(`(?i)^\s*observance\s*(\\n|$)`)

var untilUTC = regexp.MustCompile(`\bUNTIL=\d{8}T\d{6}Z`)

// when reads a date or a time. Named zones do not matter: whole days are those of
// whoever keeps the calendar.
func when(s string) (stamp, bool) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse("20060102", s); err == nil {
		return stamp{Time: t}, true
	}
	clock, utc := strings.CutSuffix(s, "Z")
	if t, err := time.Parse("20060102T150405", clock); err == nil {
		return stamp{t, true, utc}, true
	}
	return stamp{}, false
}

// days reads a DURATION of whole days or weeks: P1D, P2W.
func days(s string) int {
	s, ok := strings.CutPrefix(strings.TrimPrefix(s, "+"), "P")
	if !ok || s == "" {
		return 0
	}
	n, err := strconv.Atoi(s[:len(s)-1])
	switch unit := s[len(s)-1]; {
	case err != nil || n < 0 || n > longest:
		return 0
	case unit == 'W':
		return n * 7
	case unit == 'D':
		return n
	}
	return 0
}

var unescaped = strings.NewReplacer(`\n`, " ", `\N`, " ", `\,`, ",", `\;`, ";", `\\`, `\`)

// split takes a content line apart: its name and its value. A colon in a quoted
// parameter is none. What the parameters say can be seen from the values.
func split(line string) (name, value string) {
	quoted := false
	for i, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			name, _, _ = strings.Cut(line[:i], ";")
			return strings.ToUpper(strings.TrimSpace(name)), line[i+1:]
		}
	}
	return "", ""
}

// unfolded gives the file's lines. One that begins with a blank belongs to the
// one before it (RFC 5545, 3.1).
func unfolded(b []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		s := strings.TrimPrefix(strings.ToValidUTF8(string(b), "?"), "\ufeff")
		var line strings.Builder
		for l := range strings.SplitSeq(s, "\n") {
			l = strings.TrimSuffix(l, "\r")
			if l != "" && (l[0] == ' ' || l[0] == '\t') {
				line.WriteString(l[1:])
				continue
			}
			if line.Len() > 0 && !yield(line.String()) {
				return
			}
			line.Reset()
			line.WriteString(l)
		}
		if line.Len() > 0 {
			yield(line.String())
		}
	}
}
