package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/rules/gsm7"
)

func zoneOf(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Every minute around every change of the clock, in zones of every kind,
// against a clock that is looked at minute by minute.
func TestSpansAgainstTheZoneDatabase(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	fixed := []span{{0, 1440}, {0, 90}, {60, 120}, {90, 240}, {120, 180}, {135, 150}, {150, 600}, {0, 150}, {1380, 1440}, {1410, 1440}, {480, 1020}}
	days, changed := 0, 0
	for _, name := range []string{"America/New_York", "Europe/Berlin", "Europe/London", "Australia/Lord_Howe", "Antarctica/Troll", "America/Havana", "America/Santiago", "Asia/Beirut",
		"Africa/Cairo", "Atlantic/Azores", "America/Asuncion", "Africa/Casablanca", "America/Nuuk", "Asia/Gaza", "Pacific/Apia", "America/Caracas", "America/Phoenix", "Asia/Kolkata", "UTC"} {
		zone := zoneOf(t, name)
		for _, year := range []int{2011, 2016, 2026, 2027} {
			for at, n := time.Date(year, 1, 1, 12, 0, 0, 0, zone), 0; at.Year() == year; n++ {
				if _, until := at.ZoneBounds(); !until.IsZero() && until.Year() == year {
					at = until.In(zone)
					changed++
				} else if n > 0 {
					break
				}
				for back := -1; back <= 1; back++ {
					days++
					d := dateOf(dateOf(at).in(zone).AddDate(0, 0, back))
					spans := append(fixed[:len(fixed):len(fixed)], span{rnd.IntN(720), 720 + rnd.IntN(720)}, span{rnd.IntN(200), 200 + rnd.IntN(100)})
					minuteByMinute(t, d, spans, zone)
				}
			}
		}
	}
	if days < 200 || changed < 60 {
		t.Errorf("only %d days and %d changes of the clock were looked at", days, changed)
	}
}

// minuteByMinute walks through a day and some hours on either side, and slower
// where the clock changes.
func minuteByMinute(t *testing.T, d date, spans []span, zone *time.Location) {
	t.Helper()
	begin := d.in(zone).Add(-16 * time.Hour)
	var clock []time.Time
	for m := range 36 * 60 {
		clock = append(clock, begin.Add(time.Duration(m)*time.Minute).In(zone))
	}
	first := func(minute int) time.Time { // on day d, or when it is over
		for _, c := range clock {
			if on := dateOf(c); on > d || on == d && c.Hour()*60+c.Minute() >= minute {
				return c
			}
		}
		t.Fatalf("%d has no end in %s", d, zone)
		return time.Time{}
	}
	for _, s := range spans {
		from, to := first(s.from), first(s.to)
		if got := instant(d, s.from, zone); !got.Equal(from) {
			t.Errorf("%s: minute %d of %d is at %v, want %v", zone, s.from, d, got, from)
		}
		for i, c := range clock {
			change, _ := c.Add(3 * time.Hour).ZoneBounds()
			if dateOf(c) != d || i%17 != 0 && c.Sub(change).Abs() > 3*time.Hour && !c.Equal(from) && !c.Equal(to) {
				continue
			}
			if got, want := s.within(c), !c.Before(from) && c.Before(to); got != want {
				t.Errorf("%s: %v in %v: %v, want %v", zone, c, s, got, want)
				break
			}
		}
	}
}

// What an office is like around the changes, as its people would say.
func TestHoursAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		zone, hours string
		at          string // UTC
		want        string
		next        string // in the zone, empty while open
	}{
		// New York goes from 2:00 to 3:00 on 8 March 2026, and from 2:00 back to 1:00 on 1 November.
		{"America/New_York", `sun: "2:30-6:00"`, "2026-03-08T06:59:00Z", shut, "03:00 EDT"},
		{"America/New_York", `sun: "2:30-6:00"`, "2026-03-08T07:00:00Z", opened, ""},
		{"America/New_York", `sun: ["2:00-3:00", "8:00-9:00"]`, "2026-03-08T06:59:00Z", shut, "08:00 EDT"}, // the first never comes
		{"America/New_York", `sun: ["2:00-3:00", "8:00-9:00"]`, "2026-03-08T07:00:00Z", pause, "08:00 EDT"},
		{"America/New_York", `sun: ["1:00-2:30", "8:00-9:00"]`, "2026-03-08T06:59:00Z", opened, ""},
		{"America/New_York", `sun: ["1:00-2:30", "8:00-9:00"]`, "2026-03-08T07:00:00Z", pause, "08:00 EDT"},
		{"America/New_York", `sun: "1:30-4:00"`, "2026-11-01T05:29:00Z", shut, "01:30 EDT"},
		{"America/New_York", `sun: "1:30-4:00"`, "2026-11-01T05:30:00Z", opened, ""}, // EDT
		{"America/New_York", `sun: "1:30-4:00"`, "2026-11-01T06:10:00Z", opened, ""}, // 1:10 EST: nobody goes home for 20 minutes
		{"America/New_York", `sun: "1:30-4:00"`, "2026-11-01T09:00:00Z", shut, "01:30 EST"},
		{"America/New_York", `sun: "0:00-1:30"`, "2026-11-01T05:29:00Z", opened, ""},
		{"America/New_York", `sun: "0:00-1:30"`, "2026-11-01T05:30:00Z", shut, "00:00 EST"},
		{"America/New_York", `sun: "0:00-1:30"`, "2026-11-01T06:10:00Z", shut, "00:00 EST"}, // 1:10 once more
		// Berlin: 29 March and 25 October.
		{"Europe/Berlin", `sun: "2:15-2:45", mon: "8:00-9:00"`, "2026-03-29T00:59:00Z", shut, "08:00 CEST"},
		{"Europe/Berlin", `sun: "2:15-2:45", mon: "8:00-9:00"`, "2026-10-25T00:15:00Z", opened, ""},
		{"Europe/Berlin", `sun: "2:15-2:45", mon: "8:00-9:00"`, "2026-10-25T01:15:00Z", shut, "08:00 CET"}, // 2:15 once more
		// Lord Howe goes by half an hour: from 2:00 to 2:30 on 4 October, from 2:00 back to 1:30 on 5 April.
		{"Australia/Lord_Howe", `sun: "2:10-6:00"`, "2026-10-03T15:29:00Z", shut, "02:30 +11"},
		{"Australia/Lord_Howe", `sun: "2:10-6:00"`, "2026-10-03T15:30:00Z", opened, ""},
		{"Australia/Lord_Howe", `sun: "0:00-1:45"`, "2026-04-04T14:44:00Z", opened, ""},
		{"Australia/Lord_Howe", `sun: "0:00-1:45"`, "2026-04-04T15:10:00Z", shut, "00:00 +1030"},
		// Phoenix has no summer time.
		{"America/Phoenix", `sun: "2:30-6:00"`, "2026-03-08T09:30:00Z", opened, ""},
		{"America/Phoenix", `sun: "2:30-6:00"`, "2026-03-08T09:29:00Z", shut, "02:30 MST"},
	} {
		r := read(t, "hours: {"+c.hours+"}\n")
		s := *r.office.hours
		s.zone = zoneOf(t, c.zone)
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.at(at.In(s.zone)); got != c.want {
			t.Errorf("%s %s at %s: %s, want %s", c.zone, c.hours, c.at, got, c.want)
		}
		if next := s.next(at); c.next != "" && next.Format("15:04 MST") != c.next || c.next != "" && !next.After(at) {
			t.Errorf("%s %s at %s opens at %v, want %s", c.zone, c.hours, c.at, next, c.next)
		}
	}
}

// calendar is a holiday file.
const calendar = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20201225\nRRULE:FREQ=YEARLY\nSUMMARY:Christmas Day\nEND:VEVENT\nBEGIN:VEVENT\nDTSTART:20261126\nDURATION:P2D\nSUMMARY:Thanksgiving\nEND:VEVENT\nEND:VCALENDAR\n"

// readWith reads rules that name files.
func readWith(t testing.TB, yaml string, files map[string]string) *Rules {
	t.Helper()
	r, rep := readAll("rules.yaml", []byte(head+yaml), func(name string) ([]byte, error) { return []byte(files[name]), nil })
	if rep.Bad() {
		t.Fatal(rep.Problems)
	}
	return r
}

// Exceptions before holidays before weekdays; and what differs on a line.
func TestOffices(t *testing.T) {
	r := readWith(t, `
hours: {mon: ["8:00-12:00", "13:00-17:00"], thu: "8:00-17:00", fri: "8:00-17:00"}
exceptions: {"2026-11-27": ["10:00-12:00"], "2026-12-03": []}
closed_on: [2026-12-07]
holidays: days.ics
language: en
lines:
  "+12125550110": {hours: {mon: "0:00-24:00", thu: "0:00-24:00", fri: "0:00-24:00"}, closed_on: [], holidays: [], exceptions: {}, business: Miller Emergency}
  "service*": {timezone: Europe/Berlin, language: es}
messages: {m: {en: "{{.Business}}|{{.NextOpening}}", es: "{{.Business}}/{{.NextOpening}}"}}
rules: [{send: m}]
`, map[string]string{"days.ics": calendar})
	main, emergency, service := pbx.Line{Number: "+12125550100"}, pbx.Line{Number: "+12125550110"}, pbx.Line{Number: "+12125550120", Name: "Service line"}
	for _, c := range []struct {
		line pbx.Line
		at   string // UTC
		want string
		body string
	}{
		{main, "2026-11-23T15:00:00Z", opened, "Miller Dental|"},
		{main, "2026-11-23T17:30:00Z", pause, "Miller Dental|at 13:00"},
		{main, "2026-11-23T12:00:00Z", shut, "Miller Dental|at 8:00"},
		{main, "2026-11-26T15:00:00Z", holiday, "Miller Dental|tomorrow at 10:00"}, // Thanksgiving
		{main, "2026-11-27T14:30:00Z", shut, "Miller Dental|at 10:00"},             // a holiday with an exception
		{main, "2026-11-27T15:30:00Z", opened, "Miller Dental|"},
		{main, "2026-12-03T15:30:00Z", holiday, "Miller Dental|tomorrow at 8:00"}, // by exception
		{main, "2026-12-07T15:30:00Z", holiday, "Miller Dental|Thursday at 8:00"},
		{main, "2029-12-25T15:30:00Z", holiday, "Miller Dental|Thursday at 8:00"}, // a Tuesday
		{emergency, "2026-11-26T15:00:00Z", opened, "Miller Emergency|"},
		{emergency, "2026-12-07T03:00:00Z", shut, "Miller Emergency|tomorrow at 0:00"},
		{service, "2026-11-23T08:00:00Z", opened, "Miller Dental/"},
		{service, "2026-11-23T15:00:00Z", opened, "Miller Dental/"},
		{service, "2026-11-23T16:00:00Z", shut, "Miller Dental/el viernes a las 10:00"}, // Thursday is a holiday there too
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		d := r.Decide(Facts{Call: call(pbx.RangOut, func(x *pbx.Call) { x.Line, x.EndedAt = c.line, at })}, at)
		if d.asked.hours() != c.want || d.Body != c.body {
			t.Errorf("%v at %s: %s and %q, want %s and %q", c.line, c.at, d.asked.hours(), d.Body, c.want, c.body)
		}
	}
	if c := r.office.closing; c.last != 20601225 || !c.endless || len(r.office.hours.sorted()) < 40 {
		t.Errorf("%+v", c)
	}
	if r.lines[0].closing != (closing{}) {
		t.Errorf("%+v", r.lines[0].closing)
	}
}

// Other holidays are other rules.
func TestVersionKnowsTheHolidays(t *testing.T) {
	yaml := "holidays: [a.ics]\n"
	a := readWith(t, yaml, map[string]string{"a.ics": calendar})
	b := readWith(t, yaml, map[string]string{"a.ics": strings.Replace(calendar, "20261126", "20261127", 1)})
	if a.Version() == b.Version() || a.Version() != readWith(t, yaml, map[string]string{"a.ics": calendar}).Version() {
		t.Error(a.Version(), b.Version())
	}
	if _, problems := Parse("rules.yaml", []byte(head+yaml)); len(problems) == 0 || !strings.Contains(fmt.Sprint(problems), "only rules that are read from a file can name others") {
		t.Error(problems)
	}
}

func TestWords(t *testing.T) {
	r := read(t, `hours: {mon: ["8:00-12:00", "13:00-17:00"], tue: ["8:00-12:00", "13:00-17:00"], wed: "8:00-12:00", sat: "0:00-24:00", sun: "0:00-24:00"}`+"\n")
	all := read(t, `hours: {mon: "0:00-24:00", tue: "0:00-24:00", wed: "0:00-24:00", thu: "0:00-24:00", fri: "0:00-24:00", sat: "0:00-24:00", sun: "0:00-24:00"}`+"\n")
	day := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) // a Monday
	in := func(days, hour int) time.Time { return time.Date(2026, 11, 23+days, hour, 5, 0, 0, time.UTC) }
	for lang, want := range map[string]string{
		"en": "at 17:05|tomorrow at 8:05|Saturday at 1:05|November 30 at 8:05|February 1 at 8:05|a minute|2 minutes|Mon-Tue 8:00-12:00, 13:00-17:00; Wed 8:00-12:00; Sat-Sun 24 h|24 h",
		"es": "a las 17:05|mañana a las 8:05|el sabado a la 1:05|el 30 de noviembre a las 8:05|el 1 de febrero a las 8:05|un minuto|2 minutos|lun-mar 8:00-12:00, 13:00-17:00; mié 8:00-12:00; sab-dom 24 h|24 h",
		"de": "um 17:05 Uhr|morgen um 8:05 Uhr|am Samstag um 1:05 Uhr|am 30. November um 8:05 Uhr|am 1. Februar um 8:05 Uhr|eine Minute|2 Minuten|Mo-Di 8:00-12:00, 13:00-17:00; Mi 8:00-12:00; Sa-So 24 Std.|24 Std.",
		"fr": "à 17h05|demain à 8h05|samedi à 1h05|le 30 novembre à 8h05|le 1er février à 8h05|une minute|2 minutes|lun-mar 8h00-12h00, 13h00-17h00; mer 8h00-12h00; sam-dim 24h|24h",
		"pl": "17:05|24.11. 8:05|28.11. 1:05|30.11. 8:05|1.2. 8:05|1 min|2 min|1-2 8:00-12:00, 13:00-17:00; 3 8:00-12:00; 6-7 24 h|24 h",
	} {
		w := wordsOf(lang, false)
		got := strings.Join([]string{w.opening(in(0, 17), day), w.opening(in(1, 8), day), w.opening(in(5, 1), day), w.opening(in(7, 8), day), w.opening(in(70, 8), day), w.minutes(1), w.minutes(2),
			w.week(r.office.hours), w.week(all.office.hours)}, "|")
		if got != want {
			t.Errorf("%s: %s\nwant %s", lang, got, want)
		}
	}
	// Where people have a clock of twelve hours, midnight and noon are 12.
	days := read(t, `clock: 12h
hours: {mon: ["0:00-8:30", "12:00-13:00", "17:30-24:00"]}`+"\n")
	for lang, want := range map[string]string{
		"en": "at 12:05 AM|at 1:05 AM|at 12:05 PM|tomorrow at 1:05 PM|Saturday at 11:05 PM|at 5 PM|Mon 12 AM-8:30 AM, 12 PM-1 PM, 5:30 PM-12 AM",
		"es": "a las 12:05 am|a la 1:05 am|a las 12:05 pm|mañana a la 1:05 pm|el sabado a las 11:05 pm|a las 5 pm|lun 12 am-8:30 am, 12 pm-1 pm, 5:30 pm-12 am",
		"de": "um 0:05 Uhr|um 1:05 Uhr|um 12:05 Uhr|morgen um 13:05 Uhr|am Samstag um 23:05 Uhr|um 17:00 Uhr|Mo 0:00-8:30, 12:00-13:00, 17:30-24:00",
	} {
		w := wordsOf(lang, true)
		got := strings.Join([]string{w.opening(in(0, 0), day), w.opening(in(0, 1), day), w.opening(in(0, 12), day), w.opening(in(1, 13), day), w.opening(in(5, 23), day),
			w.opening(in(0, 17).Add(-5*time.Minute), day), w.week(days.office.hours)}, "|")
		if got != want {
			t.Errorf("%s: %s\nwant %s", lang, got, want)
		}
	}
	// All of them are of the GSM alphabet: one letter more would halve the room.
	for lang := range spoken {
		w := wordsOf(lang, true)
		for i := range 400 {
			if s := w.opening(in(i, i%24), day); !gsm(s) {
				t.Errorf("%s: %q", lang, s)
			}
		}
		if s := w.week(r.office.hours) + w.minutes(5); !gsm(s) {
			t.Errorf("%s: %q", lang, s)
		}
	}
}

func gsm(s string) bool {
	_, foreign := gsm7.Foreign(s)
	return !foreign
}
