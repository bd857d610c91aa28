package rules

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"textback/pbx"
	"textback/rules/gsm7"
)

// values are what a message may use. A value that is not known is empty, so
// that {{with .Name}} {{.}}{{end}} leaves nothing.
type values struct {
	Name        string // the caller's first name, when what the PBX shows is a person's
	Business    string
	Line        string // the line's name
	LineNumber  string
	Wait        string // "2 minutes"
	Queue       string
	NextOpening string // "at 8:00", "tomorrow at 8:00", "Monday at 8:00"; empty while open
}

// worst is the longest rendering to be expected.
func worst(r *Rules) values {
	return values{Name: "Maximiliane", Business: r.file.Business.Name, Line: "Front desk and reception", LineNumber: "+12125550100",
		Wait: "59 minutes", Queue: "support", NextOpening: "September 23 at 10:30"}
}

// bounded takes what could become a text, and not what printf can blow up.
type bounded struct{ bytes.Buffer }

var errTooLong = errors.New("it is far too long for a text")

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > 16<<10 {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}

var blanks = regexp.MustCompile(`[ \t]{2,}`)

// render gives the text or nothing: a template that fails half way leaves no part.
func (m *message) render(v values) (string, error) {
	var b bounded
	if err := m.tmpl.Execute(&b, v); errors.Is(err, errTooLong) {
		return "", fault{errTooLong.Error(), ""}
	} else if err != nil {
		return "", inWords(err)
	}
	s := strings.TrimSpace(blanks.ReplaceAllString(gsm7.Normalize(b.String()), " "))
	switch {
	case s == "":
		return "", fault{"nothing is left of it when its values are unknown", ""}
	case strings.Contains(s, "%!"): // what printf leaves where it fails
		return "", fault{"printf does not fit its values: " + quote(s), "printf"}
	}
	return s, nil
}

// fitted renders for a call. A name is worth having, but not another segment:
// carriers show long ones, and one letter that GSM-7 lacks would take the text
// to UCS-2. Then the text goes without it.
func (m *message) fitted(v values) (string, error) {
	s, err := m.render(v)
	if err != nil || v.Name == "" {
		return s, err
	}
	with, _ := gsm7.Segments(s)
	if with == 1 {
		return s, nil
	}
	v.Name = ""
	plain, err := m.render(v)
	if err != nil {
		return s, nil
	}
	if without, _ := gsm7.Segments(plain); without < with {
		return plain, nil
	}
	return s, nil
}

// values are what is known of a call, in the words of a text that is read at read.
func (r *Rules) values(c *pbx.Call, read time.Time) values {
	v := values{Name: firstName(c.Caller.Name), Business: r.file.Business.Name, Line: c.Line.Name, LineNumber: c.Line.Number,
		NextOpening: r.nextOpening(c.EndedAt, read)}
	if c.Queue != nil {
		v.Queue = c.Queue.Name
	}
	switch m := int(c.Wait.Round(time.Minute) / time.Minute); {
	case m == 1:
		v.Wait = "a minute"
	case m > 1:
		v.Wait = fmt.Sprintf("%d minutes", m)
	}
	return v
}

// open tells whether the office is open at t.
func (r *Rules) open(t time.Time) bool {
	t = t.In(r.zone)
	if r.closed[t.Format("2006-01-02")] {
		return false
	}
	m := t.Hour()*60 + t.Minute()
	for _, s := range r.hours[t.Weekday()] {
		if s.from <= m && m < s.to {
			return true
		}
	}
	return false
}

// nextOpening says when the office opens next after t, for a text that is read
// at read: "tomorrow" means another day once midnight has passed between the
// two. It is empty while the office is open, when there are no hours, or when it
// stays closed for two weeks.
func (r *Rules) nextOpening(t, read time.Time) string {
	if !r.hasHours() || r.open(t) {
		return ""
	}
	t, read = t.In(r.zone), read.In(r.zone)
	now, today := t.Hour()*60+t.Minute(), noon(read)
	for d := range 15 {
		day := noon(t.AddDate(0, 0, d))
		if r.closed[day.Format("2006-01-02")] {
			continue
		}
		for _, s := range r.hours[day.Weekday()] {
			if d == 0 && s.from <= now {
				continue
			}
			at := fmt.Sprintf("at %d:%02d", s.from/60, s.from%60)
			switch days := int((day.Sub(today) + 12*time.Hour) / (24 * time.Hour)); { // days of 23 and 25 hours too
			case days <= 0:
				return at
			case days == 1:
				return "tomorrow " + at
			case days < 7:
				return day.Weekday().String() + " " + at
			}
			return day.Format("January 2") + " " + at
		}
	}
	return ""
}

func noon(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, t.Location())
}
