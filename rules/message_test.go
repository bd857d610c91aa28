package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/rules/gsm7"
)

const head = "version: 1\nbusiness: {name: Miller Dental}\ntimezone: America/New_York\n"

// read reads what has no problem but warnings.
func read(t testing.TB, yaml string) *Rules {
	t.Helper()
	r, problems := Parse("rules.yaml", []byte(head+yaml))
	if r == nil {
		t.Fatal(problems)
	}
	return r
}

func TestPlacesAndTitles(t *testing.T) {
	for shown, want := range map[string]string{
		"DALLAS TX": "", "New York NY": "", "TORONTO ON": "", "Dr. Sarah Miller": "", "Mrs Miller": "", "Miller Dental": "",
		"OUT OF AREA": "", "Sarah Caller": "Sarah", "UNKNOWN CALLER": "", "O'BRIEN,SHANE": "Shane", "MILLER, SARAH J": "Sarah", "Łukasz Nowak": "Łukasz", "ÉLODIE PETIT": "Élodie",
		"Sarah Miller Inc.": "", "+1 202 555": "", "Sarah\nMiller": "Sarah", "👋 Sarah": "", "Sarah\x00 Miller": "",
		"Wolfeschlegelsteinhausen Bergerdorff": "", "محمد علي": "محمد",
	} {
		if got := firstName(shown); got != want {
			t.Errorf("firstName(%q) = %q, want %q", shown, got, want)
		}
	}
}

// Whatever a carrier shows as a name: the text is whole, and no name makes it
// cost another segment.
func TestOddNames(t *testing.T) {
	r := read(t, `
messages:
  short: "Hi{{with .Name}} {{.}}{{end}}, {{.Business}} missed you."
  full: "Hi{{with .Name}} {{.}}{{end}}, `+strings.Repeat("x", 134)+` {{.Business}}"
  russian: "{{with .Name}}{{.}}, {{end}}мы вам перезвоним. {{.Business}}"
rules:
  - {name: short, when: {outcome: busy}, send: short}
  - {name: full, when: {outcome: declined}, send: full}
  - {name: russian, when: {outcome: rang_out}, send: russian}
`)
	for _, c := range []struct {
		outcome  pbx.Outcome
		name     string
		greeting string
		segments int
	}{
		{pbx.Busy, "Sarah Miller", "Hi Sarah, ", 1},
		{pbx.Busy, "", "Hi, ", 1},
		{pbx.Busy, "Jürgen Müller", "Hi Jürgen, ", 1},
		{pbx.Busy, "Łukasz Nowak", "Hi Łukasz, ", 1},   // 70 are enough
		{pbx.Declined, "Łukasz Nowak", "Hi, ", 1},      // three segments with the name
		{pbx.Declined, "Al Miller", "Hi Al, ", 1},      // fits
		{pbx.Declined, "Maximilian Miller", "Hi, ", 1}, // does not
		{pbx.RangOut, "Łukasz Nowak", "Łukasz, ", 1},
		{pbx.Busy, "{{.Business}} x", "Hi, ", 1},
		{pbx.Busy, "<b>Sarah</b> Miller", "Hi, ", 1},
	} {
		d := r.Decide(Facts{Call: call(c.outcome, func(p *pbx.Call) { p.Caller.Name = c.name })}, open)
		if !d.Send || !strings.HasPrefix(d.Body, c.greeting) || d.Segments != c.segments {
			t.Errorf("%s %q: %q in %d segments %s", c.outcome, c.name, d.Body, d.Segments, d.Because)
		}
	}
}

func TestValues(t *testing.T) {
	r := read(t, `
hours: {mon: "8:00-12:00", thu: "9:30-17:00"}
closed_on: [2026-11-26, 2026-12-03]
messages: {m: "{{.Business}}|{{.Line}}|{{.LineNumber}}|{{.Wait}}|{{.Queue}}|{{.NextOpening}}"}
rules: [{send: m}]
`)
	for _, c := range []struct {
		ended, wait, want string
	}{
		{"2026-11-23T10:00", "29s", "Miller Dental|Front desk|+12125550100||support|"},
		{"2026-11-23T07:59", "31s", "Miller Dental|Front desk|+12125550100|a minute|support|at 8:00"},
		{"2026-11-22T23:59", "5m", "Miller Dental|Front desk|+12125550100|5 minutes|support|tomorrow at 8:00"},
		{"2026-11-23T12:00", "0s", "Miller Dental|Front desk|+12125550100||support|November 30 at 8:00"}, // Thanksgiving is closed
		{"2026-11-30T12:00", "0s", "Miller Dental|Front desk|+12125550100||support|December 7 at 8:00"},
		{"2026-12-08T12:00", "0s", "Miller Dental|Front desk|+12125550100||support|Thursday at 9:30"},
	} {
		at, err := time.ParseInLocation("2006-01-02T15:04", c.ended, r.Zone())
		if err != nil {
			t.Fatal(err)
		}
		d := r.Decide(Facts{Call: call(pbx.RangOut, func(p *pbx.Call) {
			p.EndedAt, p.Queue = at, &pbx.Queue{Name: "support"}
			p.Wait, _ = time.ParseDuration(c.wait)
		})}, at)
		if d.Body != c.want || !d.Send {
			t.Errorf("%s: %q, want %q; %s", c.ended, d.Body, c.want, d.Because)
		}
	}
}

// "Tomorrow" is the day after the one on which the text is read, which need not
// be the one on which the call ended.
func TestNextOpeningAcrossMidnight(t *testing.T) {
	r := read(t, `
hours: {mon: "8:00-12:00", thu: "0:00-1:00", sun: "1:00-4:00"}
messages: {m: "{{.Business}}|{{.NextOpening}}"}
rules: [{send: m, delay: 3s}]
`)
	for ended, want := range map[string]string{
		"2026-11-22T23:59:56": "tomorrow at 8:00",
		"2026-11-22T23:59:58": "at 8:00",
		"2026-11-21T23:59:58": "at 1:00",
		"2026-11-20T23:59:58": "tomorrow at 1:00",
		"2026-11-25T23:59:58": "at 0:00",
		"2026-11-15T04:00:00": "tomorrow at 8:00",
		"2026-10-31T23:59:58": "at 1:00",          // a day of 25 hours
		"2026-10-30T23:59:58": "tomorrow at 1:00", // before it
		"2026-11-01T12:00:00": "tomorrow at 8:00", // on it
		"2026-03-07T12:00:00": "tomorrow at 1:00", // before one of 23 hours
		"2026-03-08T12:00:00": "tomorrow at 8:00", // on it
		"2026-03-05T23:59:58": "Sunday at 1:00",   // across it
		"2026-10-29T23:59:58": "Sunday at 1:00",   // across one of 25 hours
		"2026-11-23T12:00:00": "Thursday at 0:00", // three days
		"2026-11-26T01:00:00": "Sunday at 1:00",   // three days
		"2026-11-19T23:59:59": "Sunday at 1:00",   // read on a Friday
		"2026-11-18T23:59:57": "at 0:00",          // read at the very opening
		"2026-11-18T23:59:56": "tomorrow at 0:00", // one second before
	} {
		at, err := time.ParseInLocation("2006-01-02T15:04:05", ended, r.Zone())
		if err != nil {
			t.Fatal(err)
		}
		d := r.Decide(Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = at })}, at)
		if d.Body != "Miller Dental|"+want {
			t.Errorf("%s: %q, want %q; %s", ended, d.Body, want, d.Because)
		}
	}
}

// A rule may hold its text itself.
func TestOwnText(t *testing.T) {
	r := read(t, `rules: [{name: own, text: "Hi{{with .Name}} {{.}}{{end}}, {{.Business}} here."}]`)
	d := r.Decide(Facts{Call: call(pbx.Busy, nil)}, open)
	if !d.Send || d.Body != "Hi Sarah, Miller Dental here." || d.Message != "" || d.Rule != "own" {
		t.Errorf("%+v", d)
	}
	var b strings.Builder
	if err := d.WriteText(&b, r.Zone()); err != nil || !strings.Contains(b.String(), "The text (the rule's own, 29 characters, 1 segment, GSM-7):") {
		t.Error(b.String(), err)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"SARAH MILLER", "Miller, Sarah", "Łukasz Nowak", "{{.}} x", "a\xff b", "ǅ x"} {
		f.Add(s)
	}
	r := read(f, "messages: {m: \"Hi{{with .Name}} {{.}}{{end}}, {{.Business}} missed you.\"}\nrules: [{send: m}]\n")
	f.Fuzz(func(t *testing.T, s string) {
		d := r.Decide(Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.Caller.Name = s })}, open)
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(d.Body, "Hi"), " "), ",")
		if !d.Send || d.Segments != 1 || !strings.HasSuffix(d.Body, ", Miller Dental missed you.") || strings.ContainsAny(name, "<>{}%0123456789 \n") {
			t.Errorf("%q gives %q", s, d.Body)
		}
		if gsm7.Normalize(d.Body) != d.Body {
			t.Errorf("%q is not normalised", d.Body)
		}
	})
}

// A first contact says who writes and how to stop, also when nothing is known
// of the caller, and is one segment at its longest.
func TestShippedMessages(t *testing.T) {
	r := shipped(t)
	if len(r.messages) < 5 {
		t.Error(len(r.messages))
	}
	for name, m := range r.messages {
		x := m.in("en")
		for _, v := range x.extremes(r.worst(x, r.longestNumber()), "Business") {
			body, err := x.render(&v)
			if n, enc := gsm7.Segments(body); err != nil || n != 1 || enc != "GSM-7" ||
				!strings.Contains(body, "Miller Dental") || !strings.HasSuffix(body, "Reply STOP to opt out.") || strings.Contains(body, " ,") || strings.Contains(body, "  ") {
				t.Errorf("%s: %q in %d segments of %s, %v", name, body, n, enc, err)
			}
		}
	}
}

// The longest text is one about a line with a long number: of those known, else as the regions have them.
func TestLongNumbers(t *testing.T) {
	fill := func(n int) string {
		return "{{.Business}}" + strings.Repeat("x", 160-len("Miller Dental")-n) + "{{.Phone}}"
	}
	takesTwo := func(problems []Problem) bool {
		return slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.Text, "takes up to 2 segments") })
	}
	for _, c := range []struct {
		yaml string
		room int  // for the number
		two  bool // what is told when the file is read
	}{
		{"", 12, false}, {"", 11, true},
		{"regions: [GB]\n", 13, false}, {"regions: [GB]\n", 12, true},
		{"regions: [US, DE]\n", 14, false}, {"regions: [US, DE]\n", 13, true},
		{"lines: {\"+442079460123\": {language: en}}\n", 13, false}, {"lines: {\"+442079460123\": {language: en}}\n", 12, true},
		{"regions: [US, DE]\nlines: {\"+12125550110\": {language: en}, Service: {language: en}, \"+4930*\": {language: en}}\n", 12, false},
	} {
		_, problems := Parse("rules.yaml", []byte(head+c.yaml+"rules: [{text: \""+fill(c.room)+"\"}]\n"))
		if takesTwo(problems) != c.two {
			t.Errorf("%q with room for %d: %v", c.yaml, c.room, problems)
		}
	}
	_, problems := Parse("rules.yaml", []byte(head+"rules: [{when: {line: \"+442079460123\"}, text: \""+fill(12)+"\"}]\n"))
	if !takesTwo(problems) {
		t.Error("the line that a rule names is not looked at")
	}

	// textback.yaml and stored calls may know of longer ones.
	long := pbx.Line{Number: "+442079460123", Name: "London"}
	var stored Seen
	stored.Call(&pbx.Call{Line: long})
	r := read(t, "messages: {m: {en: \""+fill(12)+"\", es: \""+fill(13)+"\"}, n: \""+fill(12)+"\"}\nrules:\n  - {when: {outcome: busy}, send: m}\n  - {send: n, follow_ups: [{after: 1h, text: \""+fill(12)+"\"}]}\n")
	for _, x := range []struct {
		seen Seen
		want int
	}{{Seen{}, 0}, {Seen{Lines: []pbx.Line{{Number: "+12125550100"}}}, 0}, {Seen{Lines: []pbx.Line{{Number: "+12125550100"}, long}}, 3}, {stored, 3}} {
		n := 0
		for _, p := range r.Lint(theDay, x.seen) {
			if strings.Contains(p.Text, "takes up to 2 segments on line London, whose number has 12 digits") {
				n++
			}
		}
		if n != x.want {
			t.Errorf("%+v: %d warnings, want %d", x.seen, n, x.want)
		}
	}
	r = read(t, "rules: [{text: \""+strings.Replace(fill(12), ".Phone", ".Line", 1)+"\"}]\n")
	if problems := r.Lint(theDay, stored); takesTwo(problems) {
		t.Errorf("without a number in it: %v", problems)
	}
}
