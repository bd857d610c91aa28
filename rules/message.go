package rules

import (
	"bytes"
	"cmp"
	"errors"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx"
	"textback/pbx/event"
	"textback/rules/gsm7"
)

// message is what can be said, in one language or several.
type message struct {
	name   string // in rules.yaml; empty for a rule's own text
	called string // in problems: message "missed", the text of rule "one ring"
	texts  map[string]*text
	one    *text // of a message that has one text for all languages
}

// text is a message in one language.
type text struct {
	called   string // message "missed", message "missed" in es
	language string
	tmpl     *template.Template
	uses     []string // the values' names
	steps    []step   // the template in a form that renders fast; nil for one with functions
	words    *words
}

// in is the message in the first of languages that it has. The last is the
// default, which every message has.
func (m *message) in(languages ...string) *text {
	if m.one != nil {
		return m.one
	}
	for _, l := range languages {
		if t := m.texts[l]; t != nil {
			return t
		}
	}
	return nil
}

// values are what a message may use. A value that is not known is empty, so
// that {{with .Name}} {{.}}{{end}} leaves nothing.
type values struct {
	Name        string // the caller's first name, when it can be trusted to be one
	FirstName   string // the same
	Business    string
	Line        string // the line's name
	LineNumber  string
	Phone       string // where to call back
	Wait        string // "2 minutes"
	Queue       string
	Hours       string // "Mon-Thu 8:00-12:00, 13:00-17:00; Fri 8:00-13:00"
	NextOpening string // "at 8:00", "tomorrow at 8:00", "Monday at 8:00"; empty while the office is open
	Booking     string // the link, with the call's tag
}

// longestNumber is the longest number of a line that rules.yaml names; when it names none, one as long as the examples of the
// regions that are texted.
func (r *Rules) longestNumber() (longest string) {
	longer := func(n string) {
		if len(n) > len(longest) {
			longest = n
		}
	}
	named := func(pattern string) {
		if strings.HasPrefix(pattern, "+") && len(pattern) <= 16 && !strings.Contains(pattern, "*") && looksLikeNumber(pattern) {
			longer(pattern)
		}
	}
	for _, l := range r.file.Lines {
		named(l.Key)
	}
	for i := range r.file.Rules {
		for _, pattern := range r.file.Rules[i].When.Line {
			named(pattern)
		}
	}
	if longest == "" {
		for _, region := range r.file.Regions {
			longer(exampleNumber(region, phonenumbers.FIXED_LINE))
			longer(exampleNumber(region, phonenumbers.MOBILE))
		}
	}
	if longest == "" {
		longest = "+12125550100"
	}
	return longest
}

// worst is the longest rendering to be expected of a text about calls to a line of that number.
func (r *Rules) worst(t *text, number string) values {
	longer := func(s *string, others ...string) {
		for _, o := range others {
			if n, _ := gsm7.Segments(o); n > 1 || len(o) > len(*s) {
				*s = o
			}
		}
	}
	v := values{Name: "Maximiliane", FirstName: "Maximiliane", Line: "Front desk and reception", LineNumber: number,
		Phone: cmp.Or(r.file.Business.Phone, number), Queue: "support", Wait: t.words.minutes(59), Booking: r.booking(sampleTag)}
	for _, o := range r.offices() {
		longer(&v.Business, o.business)
		longer(&v.Phone, cmp.Or(o.phone, number))
		if o.hours.any {
			longer(&v.Hours, t.words.week(o.hours))
			monday := time.Date(2026, 9, 21, 10, 30, 0, 0, time.UTC)
			for month := range 12 {
				longer(&v.NextOpening, t.words.opening(time.Date(2027, time.Month(month+1), 23, 10, 30, 0, 0, time.UTC), monday))
			}
			for day := range 7 {
				longer(&v.NextOpening, t.words.opening(monday.AddDate(0, 0, day), monday))
			}
		}
	}
	return v
}

// sampleTag is as long as every call's tag.
const sampleTag = "0123456789"

// booking is the link for a call with that tag.
func (r *Rules) booking(tag string) string {
	return strings.ReplaceAll(r.file.Business.Booking, "{tag}", tag)
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
func (t *text) render(v *values) (string, error) {
	if t.steps != nil {
		s := tidy(string(appendSteps(make([]byte, 0, 320), t.steps, v, "")))
		if s == "" {
			return "", errNothing
		}
		return s, nil
	}
	var b bounded
	if err := t.tmpl.Execute(&b, v); errors.Is(err, errTooLong) {
		return "", fault{errTooLong.Error(), ""}
	} else if err != nil {
		return "", inWords(err)
	}
	s := tidy(b.String())
	switch {
	case s == "":
		return "", errNothing
	case strings.Contains(s, "%!"): // what printf leaves where it fails
		return "", fault{"printf does not fit its values: " + quote(s), "printf"}
	}
	return s, nil
}

var errNothing = fault{"nothing is left of it when its values are unknown", ""}

// tidy leaves single blanks and characters of the GSM alphabet where it can.
func tidy(s string) string {
	s = gsm7.Normalize(s)
	if strings.Contains(s, "  ") {
		s = blanks.ReplaceAllString(s, " ")
	}
	return strings.TrimSpace(s)
}

// fitted renders for a call. A name is worth having, but not another segment:
// carriers show long ones, and one letter that GSM-7 lacks would take the text
// to UCS-2. Then the text goes without it.
func (t *text) fitted(v *values) (string, error) {
	s, err := t.render(v)
	if err != nil || v.Name == "" {
		return s, err
	}
	with, _ := gsm7.Segments(s)
	if with == 1 {
		return s, nil
	}
	less := *v
	less.Name, less.FirstName = "", ""
	plain, err := t.render(&less)
	if err != nil {
		return s, nil
	}
	if without, _ := gsm7.Segments(plain); without < with {
		return plain, nil
	}
	return s, nil
}

// values are what is known of the call, in the words of a text that is read at
// read. Those that the text does not use stay empty.
func (a *asked) values(t *text, read time.Time) values {
	c := a.f.Call
	var v values
	for _, use := range t.uses {
		switch use {
		case "Name", "FirstName":
			v.Name = a.firstName()
			v.FirstName = v.Name
		case "Business":
			v.Business = a.office.business
		case "Line":
			v.Line = c.Line.Name
		case "LineNumber":
			v.LineNumber = c.Line.Number
		case "Phone":
			v.Phone = cmp.Or(a.office.phone, c.Line.Number)
		case "Queue":
			if c.Queue != nil {
				v.Queue = c.Queue.Name
			}
		case "Wait":
			if m := int(c.Wait.Round(time.Minute) / time.Minute); m > 0 {
				v.Wait = t.words.minutes(m)
			}
		case "Hours":
			v.Hours = t.words.week(a.office.hours)
		case "NextOpening":
			v.NextOpening = a.nextOpening(t.words, read)
		case "Booking":
			v.Booking = a.r.booking(Tag(c))
		}
	}
	return v
}

// Tag is what {tag} in the booking link becomes: the beginning of the call's
// token in NATS subjects, so that a click can be told from which call it came.
func Tag(c *pbx.Call) string { return event.CallToken(c)[:len(sampleTag)] }

// firstName is the address book's, else what the PBX shows when that looks like a person's.
func (a *asked) firstName() string {
	if c := a.f.Contact; c != nil {
		if c.FirstName != "" {
			return c.FirstName
		}
		if n := firstName(c.Name, true); n != "" {
			return n
		}
	}
	return firstName(a.f.Call.Caller.Name, false)
}

// justOpened is for how long after an opening a text still tells of it: it was on
// its way when the office opened, and "We open at 8:00" reads right a few minutes later.
const justOpened = time.Hour

// nextOpening says when the office opens next, for a text that is read at read.
// It is empty while the office is open, when there are no hours, or when no
// opening is in sight. A caller who found the office closed and reads this soon after
// it has opened is told of that opening.
func (a *asked) nextOpening(w *words, read time.Time) string {
	s, ended := a.office.hours, a.f.Call.EndedAt
	if !s.any {
		return ""
	}
	is := a.hours()
	if read.After(ended) {
		is = s.at(read.In(s.zone))
	} else {
		read = ended
	}
	var next time.Time
	switch {
	case is != opened:
		next = s.next(read)
	case a.hours() != opened:
		from := read.Add(-justOpened - 1) // next is after what it is given
		if from.Before(ended) {
			from = ended
		}
		if next = s.next(from); next.After(read) {
			return ""
		}
	}
	if next.IsZero() {
		return ""
	}
	return w.opening(next, read)
}
