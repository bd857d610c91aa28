package ical

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func date(s string) time.Time {
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		panic(err)
	}
	return t
}

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

var from, until = date("2025-01-01"), date("2028-12-31")

// event wraps lines into a calendar with one event, as programs do.
func calendar(events ...string) []byte {
	var b strings.Builder
	b.WriteString("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n")
	for _, e := range events {
		b.WriteString("BEGIN:VEVENT\r\n" + strings.ReplaceAll(e, "\n", "\r\n") + "\r\nEND:VEVENT\r\n")
	}
	b.WriteString("END:VCALENDAR\r\n")
	return []byte(b.String())
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		what   string
		events []string
		want   string // days, and names where they are set
	}{
		{"one day", []string{"DTSTART;VALUE=DATE:20261225\nSUMMARY:Christmas Day"}, "2026-12-25 Christmas Day"},
		{"its end is the next day", []string{"DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261226"}, "2026-12-25"},
		{"three days", []string{"DTSTART;VALUE=DATE:20261230\nDTEND;VALUE=DATE:20270102"}, "2026-12-30, 2026-12-31, 2027-01-01"},
		{"by duration", []string{"DTSTART;VALUE=DATE:20261230\nDURATION:P2D"}, "2026-12-30, 2026-12-31"},
		{"a week", []string{"DTSTART:20260803\nDURATION:P1W"}, "2026-08-03, 2026-08-04, 2026-08-05, 2026-08-06, 2026-08-07, 2026-08-08, 2026-08-09"},
		{"an end before the beginning", []string{"DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261224"}, "2026-12-25"},
		{"midnight to midnight", []string{"DTSTART;TZID=\"Eastern: US\":20261225T000000\nDTEND;TZID=x:20261226T000000"}, "2026-12-25"},
		{"marked as a whole day", []string{"DTSTART:20261225T050000Z\nDTEND:20261226T050000Z\nX-MICROSOFT-CDO-ALLDAYEVENT:TRUE"}, "2026-12-25"},
		{"a meeting", []string{"DTSTART:20261225T100000\nDTEND:20261225T110000"}, "; 1 timed"},
		{"no beginning", []string{"SUMMARY:x"}, "; 1 timed"},
		{"cancelled", []string{"DTSTART:20261225\nSTATUS:CANCELLED"}, ""},
		{"folded and escaped", []string{"DTSTART;\n VALUE=DATE:2026\n 1225\nSUMMARY:Christmas\\, \n Day\\; off\\nthanks"}, "2026-12-25 Christmas, Day; off thanks"},
		{"an alarm inside", []string{"DTSTART:20261225\nSUMMARY:Day\nBEGIN:VALARM\nSUMMARY:Alarm\nDTSTART:20260101\nEND:VALARM"}, "2026-12-25 Day"},
		{"every year", []string{"DTSTART:20200704\nRRULE:FREQ=YEARLY"}, "2025-07-04, 2026-07-04, 2027-07-04, 2028-07-04; endless"},
		{"Thanksgiving", []string{"DTSTART:20201126\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"}, "2025-11-27, 2026-11-26, 2027-11-25, 2028-11-23; endless"},
		{"Memorial Day", []string{"DTSTART:20200525\nRRULE:FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO"}, "2025-05-26, 2026-05-25, 2027-05-31, 2028-05-29; endless"},
		{"until", []string{"DTSTART:20200704\nRRULE:FREQ=YEARLY;UNTIL=20260704"}, "2025-07-04, 2026-07-04"},
		{"a number of times", []string{"DTSTART:20260704\nRRULE:FREQ=YEARLY;COUNT=2"}, "2026-07-04, 2027-07-04"},
		{"every other year, two days", []string{"DTSTART:20251231\nDURATION:P2D\nRRULE:FREQ=YEARLY;INTERVAL=2"}, "2025-12-31, 2026-01-01, 2027-12-31, 2028-01-01; endless"},
		{"except and besides", []string{"DTSTART:20250704\nRRULE:FREQ=YEARLY;UNTIL=20280704\nEXDATE;VALUE=DATE:20260704,20270704\nRDATE:20260703"}, "2025-07-04, 2026-07-03, 2028-07-04"},
		{"moved", []string{"UID:a\nDTSTART:20250704\nRRULE:FREQ=YEARLY;COUNT=3\nSUMMARY:July 4", "UID:a\nRECURRENCE-ID:20260704\nDTSTART:20260703\nSUMMARY:observed"}, "2025-07-04 July 4, 2026-07-03 observed, 2027-07-04 July 4"},
		{"called off once", []string{"UID:a\nDTSTART:20250704\nRRULE:FREQ=YEARLY;COUNT=2", "UID:a\nRECURRENCE-ID:20260704\nDTSTART:20260704\nSTATUS:CANCELLED"}, "2025-07-04"},
		{"the same day twice", []string{"DTSTART:20261225\nSUMMARY:a", "DTSTART:20261225\nSUMMARY:b"}, "2026-12-25 a"},
		{"the 29th of February", []string{"DTSTART:20240229\nRRULE:FREQ=YEARLY"}, "2028-02-29; endless"},
		{"never", []string{"DTSTART:20240229\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, ""},
		{"an observance", []string{"DTSTART;VALUE=DATE:20260214\nSUMMARY:Valentine's Day\nDESCRIPTION:Observance\\nTo hide observances\\, go to Settings", "DTSTART:20270214\nSUMMARY:Valentine's Day\nDESCRIPTION:OBSERVANCE",
			"DTSTART:20261225\nSUMMARY:Christmas\nDESCRIPTION:Public holiday", "DTSTART:20261226\nSUMMARY:Open day\nDESCRIPTION:Observances are fine"},
			"2026-12-25 Christmas, 2026-12-26 Open day; observed: Valentine's Day"},
		{"a holiday that is an observance too", []string{"DTSTART:20261225\nSUMMARY:x\nDESCRIPTION:Observance", "DTSTART:20261225\nSUMMARY:Christmas\nDESCRIPTION:Public holiday"}, "2026-12-25 Christmas; observed: x"},
		{"outside what is asked for", []string{"DTSTART:20191225", "DTSTART:20301225"}, ""},
		{"a century", []string{"DTSTART:20250101\nDTEND:21250101"}, fmt.Sprintf("%d days", longest)},
	} {
		got, err := Read(calendar(c.events...), from, until, zone("America/New_York"))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		var days []string
		for _, d := range got.Days {
			days = append(days, strings.TrimSpace(d.Date.Format("2006-01-02")+" "+d.Name))
		}
		s := strings.Join(days, ", ")
		if len(days) > 20 {
			s = fmt.Sprintf("%d days", len(days))
		}
		if got.Endless {
			s += "; endless"
		}
		if got.Timed > 0 {
			s += fmt.Sprintf("; %d timed", got.Timed)
		}
		if len(got.Observances) > 0 {
			s += "; observed: " + strings.Join(got.Observances, ", ")
		}
		if s != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, s, c.want)
		}
	}
}

// Some programs write whole days as times in UTC. They are those of the office.
func TestWholeDaysInUTC(t *testing.T) {
	const marked = "\nX-MICROSOFT-CDO-ALLDAYEVENT:TRUE"
	for _, c := range []struct{ zone, event, want string }{
		{"Europe/Berlin", "DTSTART:20261224T230000Z\nDTEND:20261225T230000Z" + marked, "2026-12-25"},
		{"Europe/Berlin", "DTSTART:20260730T220000Z\nDTEND:20260801T220000Z" + marked, "2026-07-31, 2026-08-01"},
		{"Europe/Berlin", "DTSTART:20260328T230000Z\nDTEND:20260329T220000Z" + marked, "2026-03-29"}, // a day of 23 hours
		{"Europe/Berlin", "DTSTART:20261224T230000Z" + marked, "2026-12-25"},
		{"Europe/Berlin", "DTSTART:20261224T230000Z\nDTEND:20261225T230000Z", "2026-12-25"}, // no mark, but from midnight to midnight
		{"Europe/Berlin", "DTSTART:20261224T220000Z\nDTEND:20261225T220000Z", ""},           // an hour off: no whole day
		{"Europe/Berlin", "DTSTART:20261225T000000Z\nDTEND:20261226T000000Z", "2026-12-25"},
		{"Europe/Berlin", "DTSTART:20261225T000000Z\nDTEND:20261226T000000Z" + marked, "2026-12-25"},
		{"Europe/Berlin", "DTSTART;TZID=Europe/Berlin:20261225T000000\nDTEND;TZID=Europe/Berlin:20261226T000000" + marked, "2026-12-25"},
		{"Europe/London", "DTSTART:20261224T230000Z\nDTEND:20261225T230000Z" + marked, "2026-12-25"}, // written in Berlin
		{"Europe/London", "DTSTART:20261225T000000Z\nDTEND:20261226T000000Z" + marked, "2026-12-25"},
		{"Europe/London", "DTSTART:20260830T230000Z\nDTEND:20260831T230000Z" + marked, "2026-08-31"}, // summer time
		{"America/New_York", "DTSTART:20261225T050000Z\nDTEND:20261226T050000Z" + marked, "2026-12-25"},
		{"America/New_York", "DTSTART:20261225T000000Z\nDTEND:20261226T000000Z" + marked, "2026-12-25"},
		{"Australia/Sydney", "DTSTART:20261224T130000Z\nDTEND:20261225T130000Z" + marked, "2026-12-25"},
		{"Pacific/Honolulu", "DTSTART:20261225T100000Z\nDTEND:20261226T100000Z" + marked, "2026-12-25"},
		{"Asia/Kolkata", "DTSTART:20261224T183000Z\nDTEND:20261225T183000Z" + marked, "2026-12-25"},
		// In a series everything is so.
		{"Europe/Berlin", "DTSTART:20250703T220000Z\nDTEND:20250704T220000Z\nRRULE:FREQ=YEARLY;UNTIL=20270703T220000Z" + marked, "2025-07-04, 2026-07-04, 2027-07-04"},
		{"Europe/Berlin", "DTSTART:20250703T220000Z\nDTEND:20250704T220000Z\nRRULE:FREQ=YEARLY;COUNT=3\nEXDATE:20260703T220000Z\nRDATE:20261224T230000Z" + marked, "2025-07-04, 2026-12-25, 2027-07-04"},
		{"America/New_York", "DTSTART:20250704T040000Z\nDTEND:20250705T040000Z\nRRULE:FREQ=YEARLY;UNTIL=20270704T040000Z" + marked, "2025-07-04, 2026-07-04, 2027-07-04"},
	} {
		got, err := Read(calendar(c.event), from, until, zone(c.zone))
		if err != nil {
			t.Errorf("%s %s: %v", c.zone, c.event, err)
			continue
		}
		var days []string
		for _, d := range got.Days {
			days = append(days, d.Date.Format("2006-01-02"))
		}
		if s := strings.Join(days, ", "); s != c.want || (c.want == "") != (got.Timed == 1) {
			t.Errorf("%s %s: %s (%d with times)\nwant %s", c.zone, strings.ReplaceAll(c.event, "\n", " "), s, got.Timed, c.want)
		}
	}
}

func TestCannotRead(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"", "BEGIN:VCALENDAR is missing"},
		{"<html>", "BEGIN:VCALENDAR is missing"},
		{"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261225\n", "ends in the middle"},
		{string(calendar("DTSTART:20261225\nSUMMARY:Day\nRRULE:FREQ=SOMETIMES")), `how "Day" recurs cannot be read`},
		{string(calendar("DTSTART:20261225\nSUMMARY:Day\nRRULE:FREQ=HOURLY")), "cannot recur within a day"},
		{string(calendar("DTSTART:00000101\nRRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=1TH")), "before the year 1"},
		{string(calendar(strings.Split(strings.Repeat("DTSTART:20261225|", mostEvents+1), "|")...)), "more than 5000 events"},
		{string(calendar(strings.Split(strings.Repeat("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30|", mostIdle+1), "|")...)), "never come"},
	} {
		if _, err := Read([]byte(c.file), from, until, time.UTC); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %s", c.file, err, c.want)
		}
	}
	// Programs on other systems leave out carriage returns, or begin with a mark.
	b := []byte("\ufeff" + strings.ReplaceAll(string(calendar("DTSTART:20261225")), "\r\n", "\n"))
	if c, err := Read(b, from, until, time.UTC); err != nil || len(c.Days) != 1 {
		t.Error(c, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(calendar("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227\nSUMMARY:Christmas"))
	f.Add(calendar("UID:a\nDTSTART:20200704\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;UNTIL=20300101\nEXDATE:20260704", "UID:a\nRECURRENCE-ID:20260704\nDTSTART:20260703"))
	f.Add(calendar("DTSTART:20261225T000000\nDTEND:20261226T000000\nRRULE:FREQ=WEEKLY;INTERVAL=3;COUNT=5;BYSETPOS=-1;WKST=SU\nRDATE:20260101,20260102"))
	f.Add(calendar("DTSTART:20261224T230000Z\nDTEND:20261225T230000Z\nX-MICROSOFT-CDO-ALLDAYEVENT:TRUE\nRRULE:FREQ=YEARLY;UNTIL=20281224T230000Z\nEXDATE:20271224T230000Z", "DTSTART:20260214\nDESCRIPTION:Observance"))
	berlin := zone("Europe/Berlin")
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Read(b, from, until, berlin)
		if (c == nil) == (err == nil) {
			t.Fatal(c, err)
		}
		if err != nil {
			return
		}
		for i, d := range c.Days {
			if d.Date.Before(from) || d.Date.After(until) || i > 0 && !d.Date.After(c.Days[i-1].Date) || !d.Date.Equal(midnight(d.Date)) {
				t.Fatalf("%d: %v", i, d)
			}
		}
	})
}
