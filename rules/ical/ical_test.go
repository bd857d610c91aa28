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
		{"outside what is asked for", []string{"DTSTART:20191225", "DTSTART:20301225"}, ""},
		{"a century", []string{"DTSTART:20250101\nDTEND:21250101"}, fmt.Sprintf("%d days", longest)},
	} {
		got, err := Read(calendar(c.events...), from, until)
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
		if s != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, s, c.want)
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
		{string(calendar(strings.Split(strings.Repeat("DTSTART:20261225|", mostEvents+1), "|")...)), "more than 5000 events"},
		{string(calendar(strings.Split(strings.Repeat("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30|", mostIdle+1), "|")...)), "never come"},
	} {
		if _, err := Read([]byte(c.file), from, until); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %s", c.file, err, c.want)
		}
	}
	// Programs on other systems leave out carriage returns, or begin with a mark.
	b := []byte("\ufeff" + strings.ReplaceAll(string(calendar("DTSTART:20261225")), "\r\n", "\n"))
	if c, err := Read(b, from, until); err != nil || len(c.Days) != 1 {
		t.Error(c, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(calendar("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227\nSUMMARY:Christmas"))
	f.Add(calendar("UID:a\nDTSTART:20200704\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;UNTIL=20300101\nEXDATE:20260704", "UID:a\nRECURRENCE-ID:20260704\nDTSTART:20260703"))
	f.Add(calendar("DTSTART:20261225T000000\nDTEND:20261226T000000\nRRULE:FREQ=WEEKLY;INTERVAL=3;COUNT=5;BYSETPOS=-1;WKST=SU\nRDATE:20260101,20260102"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Read(b, from, until)
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
