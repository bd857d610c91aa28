package rules

import (
	"slices"
	"time"
)

// span is a part of a day, in minutes of its clock: from 0 to 24*60.
type span struct{ from, to int }

// date is a calendar day as one number, 20261225, so that it can be compared.
type date int32

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date(y*10000 + int(m)*100 + d)
}

// in gives the time of d's noon: every day has one, in every zone.
func (d date) in(zone *time.Location) time.Time {
	return time.Date(int(d)/10000, time.Month(int(d)/100%100), int(d)%100, 12, 0, 0, 0, zone)
}

func parseDate(s string) (date, bool) {
	t, err := time.Parse("2006-01-02", s)
	return dateOf(t), err == nil
}

// instant is the first time of day d at which its clock shows minute or later:
// what does not exist when clocks go forward is passed over, and of what comes
// twice when they go back the first counts, as in RFC 5545, 3.3.5. Minute 24*60 is
// the next day's beginning.
func instant(d date, minute int, zone *time.Location) time.Time {
	if minute >= 24*60 {
		d, minute = dateOf(d.in(zone).AddDate(0, 0, 1)), minute-24*60
	}
	y, m, day := int(d)/10000, time.Month(int(d)/100%100), int(d)%100
	t := time.Date(y, m, day, 0, minute, 0, 0, zone)
	from, until := t.ZoneBounds()
	switch shown := int(dateOf(t))*24*60 + t.Hour()*60 + t.Minute(); { // a number that grows with the clock; gaps between days do not matter
	case shown > int(d)*24*60+minute: // it fell into a gap, whose end is where the later zone begins
		return from.In(zone)
	case shown < int(d)*24*60+minute:
		return until.In(zone)
	}
	if from.IsZero() {
		return t
	}
	// Before the last change the same clock time may have been shown already.
	_, before := from.Add(-time.Nanosecond).In(zone).Zone()
	_, now := t.Zone()
	if earlier := t.Add(time.Duration(now-before) * time.Second); earlier.Before(t) && earlier.Before(from) {
		return earlier
	}
	return t
}

// changes tells whether the zone's clock is put on that day.
func changes(t time.Time) bool {
	from, until := t.ZoneBounds()
	return !from.IsZero() && t.Sub(from) < 25*time.Hour || !until.IsZero() && until.Sub(t) < 25*time.Hour
}

// within tells whether t, in its own zone, is in the span of its day.
func (s span) within(t time.Time) bool {
	if !changes(t) {
		m := t.Hour()*60 + t.Minute()
		return s.from <= m && m < s.to
	}
	d := dateOf(t)
	return !t.Before(instant(d, s.from, t.Location())) && t.Before(instant(d, s.to, t.Location()))
}

// What an office's hours say of a time: the words of the condition hours.
const (
	opened  = "open"
	shut    = "closed"
	holiday = "holiday" // closed for the whole day, because of its date
	pause   = "break"   // between two spans of one day
)

// schedule is when an office is open.
type schedule struct {
	zone  *time.Location
	week  [7][]span
	dates map[date]special
	any   bool // hours are known at all
}

// special is a date with other hours than its weekday, none for a holiday.
type special struct {
	spans []span
	name  string // of the holiday, where the calendar tells
}

// on returns the spans of a day, and what makes it special.
func (s *schedule) on(d date, weekday time.Weekday) ([]span, special, bool) {
	if sp, ok := s.dates[d]; ok {
		return sp.spans, sp, true
	}
	return s.week[weekday], special{}, false
}

// at says what the hours say of t, which is in the schedule's zone.
func (s *schedule) at(t time.Time) string {
	spans, _, byDate := s.on(dateOf(t), t.Weekday())
	if byDate && len(spans) == 0 {
		return holiday
	}
	var before, after bool
	plain, m := !changes(t), t.Hour()*60+t.Minute()
	for _, sp := range spans {
		switch {
		case sp.within(t):
			return opened
		case plain && m < sp.from, !plain && t.Before(instant(dateOf(t), sp.from, s.zone)):
			after = true
		default:
			before = true
		}
	}
	if before && after {
		return pause
	}
	return shut
}

// furthest is how far ahead an opening is looked for: longer than any holidays.
const furthest = 62

// next is the first opening after t, zero when there is none in sight.
func (s *schedule) next(t time.Time) time.Time {
	t = t.In(s.zone)
	noon := dateOf(t).in(s.zone)
	for n := range furthest {
		day := noon.AddDate(0, 0, n)
		spans, _, _ := s.on(dateOf(day), day.Weekday())
		for _, sp := range spans {
			from := instant(dateOf(day), sp.from, s.zone)
			if from.After(t) && from.Before(instant(dateOf(day), sp.to, s.zone)) { // one may lie in the hour that is skipped
				return from
			}
		}
	}
	return time.Time{}
}

// groups are runs of weekdays, from Monday on, that have the same spans.
type group struct {
	first, last int // days after Monday
	spans       []span
}

func (s *schedule) groups() (gs []group) {
	for i := range 7 {
		spans := s.week[(i+1)%7]
		if n := len(gs); n > 0 && gs[n-1].last == i-1 && slices.Equal(gs[n-1].spans, spans) {
			gs[n-1].last = i
		} else {
			gs = append(gs, group{i, i, spans})
		}
	}
	return slices.DeleteFunc(gs, func(g group) bool { return len(g.spans) == 0 })
}
