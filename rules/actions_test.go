package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/event"
)

const actions = `
business: {name: Miller Dental, phone: "212-555-0100", booking: "https://book.example/miller?c={tag}"}
timezone: America/New_York
language: en
hours: {mon: "8:00-17:00", tue: "8:00-12:00"}
lines: {"+12125550110": {language: es, business: Servicio Miller}, "+12125550120": {language: pt}}
staff:
  reception: {email: front@example.com}
  sales: {text: "+1 202 555 0199", webhook: "https://hooks.example/textback", language: es}
guards: {prices: {US: 0.0083, default: 0.05}}
messages:
  missed: {en: "Hi{{with .Name}} {{.}}{{end}}, {{.Business}} missed you.{{with .NextOpening}} We open {{.}}.{{end}}", es: "{{with .Name}}{{.}}: {{end}}{{.Business}}.{{with .NextOpening}} Abrimos {{.}}.{{end}}", de: "{{.Business}}"}
  reminder: "{{.Business}}: book at {{.Booking}} or call {{.Phone}} ({{.Hours}})"
rules:
  - name: sales
    when: {line: sales*}
    send: missed
    delay: 1m
    follow_ups:
      - {after: 15m, send: reminder}
      - {after: 2h, assign: reception, within: 3h}
      - {after: 20h, text: "{{.Business}}: shall we call again?{{with .NextOpening}} We open {{.}}.{{end}}"}
    task: {owner: sales}
    notify: [reception, sales]
    tags: [sales, hot]
  - name: tasks only
    when: {outcome: declined}
    task: {owner: reception, within: 30m}
    follow_ups: [{after: 1h, assign: sales}]
  - name: nothing, but known
    when: {outcome: busy}
    nothing: they ring again
    notify: reception
  - name: all others
    send: missed
`

func reads(t testing.TB, yaml string) *Rules {
	t.Helper()
	r, problems := Parse("rules.yaml", []byte("version: 1\n"+yaml))
	if r == nil {
		t.Fatal(problems)
	}
	return r
}

func salesCall(change func(*pbx.Call)) *pbx.Call {
	return call(pbx.RangOut, func(c *pbx.Call) {
		c.Line.Name = "Sales"
		if change != nil {
			change(c)
		}
	})
}

func TestActions(t *testing.T) {
	r := reads(t, actions)
	c := salesCall(func(c *pbx.Call) { c.EndedAt = open.Add(9 * time.Hour) }) // 19:00
	now := c.EndedAt
	d := r.Decide(Facts{Call: c}, now)
	due := now.Add(time.Minute)
	if !d.Send || !d.DueAt.Equal(due) || d.Body != "Hi Sarah, Miller Dental missed you. We open tomorrow at 8:00." || d.Cost != 8300 || d.Language != "en" {
		t.Errorf("%+v", d)
	}
	if len(d.FollowUps) != 3 {
		t.Fatalf("%+v", d.FollowUps)
	}
	first, second, third := d.FollowUps[0], d.FollowUps[1], d.FollowUps[2]
	if want := "Miller Dental: book at https://book.example/miller?c=" + event.CallToken(c)[:10] + " or call 212-555-0100 (Mon 8:00-17:00; Tue 8:00-12:00)"; first.Body != want ||
		!first.DueAt.Equal(due.Add(15*time.Minute)) || first.Message != "reminder" || first.Segments != 1 || first.Encoding != "GSM-7" || first.Cost != 8300 || first.Task != nil {
		t.Errorf("%+v, want %s", first, want)
	}
	if !second.DueAt.Equal(due.Add(2*time.Hour)) || second.Body != "" || !reflect.DeepEqual(second.Task, &Task{"reception", due.Add(5 * time.Hour)}) {
		t.Errorf("%+v", second)
	}
	if third.Body != "Miller Dental: shall we call again? We open Monday at 8:00." || third.Message != "" { // read the day after, when that has closed
		t.Errorf("%+v", third)
	}
	if !reflect.DeepEqual(d.Task, &Task{"sales", now.Add(4 * time.Hour)}) || fmt.Sprint(d.Notify, d.Tags) != "[reception sales] [sales hot]" {
		t.Errorf("%+v %v %v", d.Task, d.Notify, d.Tags)
	}
	b, err := json.Marshal(d)
	var back Decision
	if err := json.Unmarshal(b, &back); err != nil || inJSON(t, back) != string(b) {
		t.Error(err, string(b))
	}
	if err != nil || !strings.Contains(string(b), `"task":{"owner":"sales","deadline":"2026-11-24T04:00:00Z"}`) || !strings.Contains(string(b), `"due_at":"2026-11-24T00:16:00Z"`) {
		t.Error(err, string(b))
	}
	if got := r.Staff(); len(got) != 2 || !reflect.DeepEqual(got[1], Staff{"sales", "", "+12025550199", "https://hooks.example/textback", "es"}) || got[0].Language != "en" {
		t.Errorf("%+v", got)
	}
	if s, ok := r.StaffNamed("reception"); !ok || s.Email != "front@example.com" {
		t.Errorf("%+v", s)
	}
	if _, ok := r.StaffNamed("nobody"); ok {
		t.Error("nobody is on the staff")
	}
}

// What happens beside a text when a guard stands against it: staff can still act.
func TestActionsWithoutText(t *testing.T) {
	r := reads(t, actions)
	for _, c := range []struct {
		what            string
		f               func(*Facts)
		now             time.Duration
		tasks, followed bool // the rule's task, its follow-up tasks
		told            bool
	}{
		{"said stop", func(f *Facts) { f.OptedOut = true }, 0, true, true, true},
		{"withheld", func(f *Facts) { f.Call.Caller = pbx.Caller{Anonymous: true} }, 0, true, true, true},
		{"not certain", func(f *Facts) { f.Call.Certain = false }, 0, true, true, true},
		{"a duplicate", func(f *Facts) { f.Episode.FirstTextAt = open }, 0, true, true, true},
		{"blocked", func(f *Facts) { f.Contact = &Contact{Blocked: true} }, 0, true, true, true},
		{"got through", func(f *Facts) { f.GotThrough = open.Add(time.Minute) }, time.Minute, false, false, true},
		{"stale", func(f *Facts) {}, 16 * time.Minute, false, false, false},
		{"not missed", func(f *Facts) { f.Call.Outcome = pbx.Answered }, 0, false, false, false},
	} {
		f := Facts{Call: salesCall(nil)}
		c.f(&f)
		d := r.Decide(f, open.Add(c.now))
		if d.Send || (d.Task != nil) != c.tasks || (len(d.FollowUps) > 0) != c.followed || (len(d.Notify) > 0) != c.told || (len(d.Tags) > 0) != c.told {
			t.Errorf("%s: %+v", c.what, d)
		}
		for _, fu := range d.FollowUps {
			if fu.Body != "" || fu.Task == nil {
				t.Errorf("%s: a text follows none: %+v", c.what, fu)
			}
		}
	}
	d := r.Decide(Facts{Call: call(pbx.Declined, nil)}, open)
	if d.Send || d.Suppressed != RuleSaysNo || d.Because != `rule "tasks only" sends no text` || d.Task == nil || len(d.FollowUps) != 1 || !d.FollowUps[0].Task.Deadline.Equal(open.Add(5*time.Hour+3*time.Second)) {
		t.Errorf("%+v %+v", d, d.FollowUps)
	}
	d = r.Decide(Facts{Call: call(pbx.Busy, nil)}, open)
	if d.Send || d.Because != `rule "nothing, but known" sends nothing: they ring again` || len(d.Notify) != 1 {
		t.Errorf("%+v", d)
	}
}

// The contact's language, else the line's, else the default; the words of times follow.
func TestLanguages(t *testing.T) {
	r := reads(t, actions)
	closed := open.Add(9 * time.Hour)
	for _, c := range []struct {
		line, contact, want, lang string
	}{
		{"+12125550100", "", "Hi Sarah, Miller Dental missed you. We open tomorrow at 8:00.", "en"},
		{"+12125550100", "es-MX", "Sarah: Miller Dental. Abrimos mañana a las 8:00.", "es"},
		{"+12125550100", "ES", "Sarah: Miller Dental. Abrimos mañana a las 8:00.", "es"},
		{"+12125550100", "de", "Miller Dental", "de"},
		{"+12125550100", "fr", "Hi Sarah, Miller Dental missed you. We open tomorrow at 8:00.", "en"},
		{"+12125550110", "", "Sarah: Servicio Miller. Abrimos mañana a las 8:00.", "es"},
		{"+12125550110", "en", "Hi Sarah, Servicio Miller missed you. We open tomorrow at 8:00.", "en"},
		{"+12125550110", "fr", "Sarah: Servicio Miller. Abrimos mañana a las 8:00.", "es"},
		{"+12125550120", "", "Hi Sarah, Miller Dental missed you. We open tomorrow at 8:00.", "en"},
	} {
		f := Facts{Call: call(pbx.RangOut, func(x *pbx.Call) { x.Line.Number, x.EndedAt = c.line, closed })}
		if c.contact != "" {
			f.Contact = &Contact{Language: c.contact}
		}
		if d := r.Decide(f, closed); d.Body != c.want || d.Language != c.lang {
			t.Errorf("%s, contact speaks %q: %s %q, want %s %q", c.line, c.contact, d.Language, d.Body, c.lang, c.want)
		}
	}
}

func TestNamesOfContacts(t *testing.T) {
	r := read(t, "messages: {m: \"{{.FirstName}}|{{.Name}}|{{.Business}}\"}\nrules: [{send: m}]\n")
	for _, c := range []struct {
		contact *Contact
		shown   string
		want    string
	}{
		{nil, "SARAH MILLER", "Sarah"},
		{&Contact{}, "SARAH MILLER", "Sarah"},
		{&Contact{FirstName: "Sally"}, "SARAH MILLER", "Sally"},
		{&Contact{Name: "Sally Miller"}, "SARAH MILLER", "Sally"},
		{&Contact{Name: "Miller Dental"}, "", ""},
		{&Contact{Name: "Sally Miller", FirstName: "Sal"}, "WIRELESS CALLER", "Sal"},
	} {
		d := r.Decide(Facts{Call: call(pbx.RangOut, func(x *pbx.Call) { x.Caller.Name = c.shown }), Contact: c.contact}, open)
		if want := c.want + "|" + c.want + "|Miller Dental"; d.Body != want {
			t.Errorf("%+v, %q: %q, want %q", c.contact, c.shown, d.Body, want)
		}
	}
}

// Where to call back: what rules.yaml says, else the line.
func TestPhone(t *testing.T) {
	r := read(t, "messages: {m: \"{{.Business}} {{.Phone}}\"}\nrules: [{send: m}]\n")
	if d := r.Decide(Facts{Call: call(pbx.RangOut, nil)}, open); d.Body != "Miller Dental +12125550100" {
		t.Error(d.Body)
	}
	// A line without a number of its own: there is none to say, and none is said.
	if d := r.Decide(Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.Line.Number = "" })}, open); d.Body != "Miller Dental" {
		t.Errorf("%q", d.Body)
	}
	if p := r.Phone(pbx.Line{}); p != "" {
		t.Error(p)
	}
	const lines = `lines: {"+12125550110": {phone: "212-555-0119 ext. 7"}, "+12125550120": {business: Miller Emergency}, "+12125550130": {phone: ""}}` + "\n"
	r = reads(t, "business: {name: Miller Dental, phone: 212-555-0101}\ntimezone: America/New_York\n"+lines+"messages: {m: \"{{.Business}} {{.Phone}}\"}\nrules: [{send: m}]\n")
	for line, want := range map[string]string{"+12125550100": "Miller Dental 212-555-0101", "+12125550110": "Miller Dental 212-555-0119 ext. 7", "+12125550120": "Miller Emergency 212-555-0101", "+12125550130": "Miller Dental +12125550130"} {
		if d := r.Decide(Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.Line.Number = line })}, open); d.Body != want {
			t.Errorf("%s: %q, want %q", line, d.Body, want)
		}
	}
	if x := r.messages["m"].one; !strings.HasSuffix(r.worst(x, r.longestNumber()).Phone, "ext. 7") {
		t.Errorf("the longest is %q", r.worst(x, r.longestNumber()).Phone)
	}
}

// Shadow mode decides as always and says so.
func TestShadow(t *testing.T) {
	r := read(t, "mode: shadow\n"+one)
	d := r.Decide(Facts{Call: call(pbx.RangOut, nil)}, open)
	var b strings.Builder
	if err := d.WriteText(&b, r.Zone()); err != nil || !r.Shadow() || !d.Shadow || !d.Send || !strings.HasPrefix(b.String(), "Shadow mode: ") || !strings.Contains(inJSON(t, d), `"shadow":true`) {
		t.Errorf("%+v %s", d, b.String())
	}
	if read(t, "mode: live\n"+one).Shadow() || read(t, one).Shadow() {
		t.Error("live is the default")
	}
}

func TestPrices(t *testing.T) {
	r := read(t, "guards: {prices: {us: 0.01, default: 1}}\n"+one)
	if r.Price("US", 2) != 20_000 || r.Price("CA", 3) != 3_000_000 || read(t, one).Price("US", 1) != 0 {
		t.Error(r.Price("US", 2), r.Price("CA", 3))
	}
	for m, want := range map[Money]string{0: "0.00", 8300: "0.0083", 5_000_000: "5.00", 1: "0.000001", -1_500_000: "-1.50", 12_340_000: "12.34"} {
		if m.String() != want {
			t.Errorf("%d is %s, want %s", m, m, want)
		}
	}
}

// What the steps render is what text/template renders, for messages of every
// shape that they take and whatever values are known.
func TestStepsAgreeWithTemplates(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	var make func(depth int, in bool) string
	make = func(depth int, in bool) string {
		var b strings.Builder
		for range 1 + rnd.IntN(3) {
			field := fields[rnd.IntN(len(fields))]
			if in {
				field = "$." + field
			} else {
				field = "." + field
			}
			other := ""
			if depth > 0 && rnd.IntN(2) == 0 {
				other = "{{else}}" + make(depth-1, in)
			}
			switch n := rnd.IntN(7); {
			case n == 0 && depth > 0:
				b.WriteString("{{with " + field + "}}" + make(depth-1, true) + other + "{{end}}")
			case n == 1 && depth > 0:
				b.WriteString("{{if " + field + "}}" + make(depth-1, in) + other + "{{end}}")
			case n == 2 && depth > 0:
				b.WriteString("{{with " + field + "}}a{{else with " + field + "}}b{{else}}c{{end}}")
			case n == 3 && in:
				b.WriteString("<{{.}}>")
			case n == 4:
				b.WriteString(" x {{- " + field + " -}} y{{/* a comment */}}")
			case n == 5:
				b.WriteString("it’s\t“so” {{\"quoted\"}}")
			default:
				b.WriteString("{{" + field + "}}")
			}
		}
		return b.String()
	}
	fast, slow := 0, 0
	for range 3000 {
		source := make(3, false)
		x, faults := compile("a message", "en", false, source)
		if len(faults) > 0 {
			t.Fatalf("%s: %v (seed %d)", source, faults, seed)
		}
		if x.steps == nil {
			slow++
			continue
		}
		fast++
		var v values
		for i := range fields {
			if rnd.IntN(2) == 0 {
				*[]*string{&v.Name, &v.FirstName, &v.Business, &v.Line, &v.LineNumber, &v.Phone, &v.Wait, &v.Queue, &v.Hours, &v.NextOpening, &v.Booking}[i] = fields[i] + " é’"
			}
		}
		got, err := x.render(&v)
		x.steps = nil
		want, werr := x.render(&v)
		if got != want || (err == nil) != (werr == nil) {
			t.Fatalf("%s: %q %v, want %q %v (seed %d)", source, got, err, want, werr, seed)
		}
	}
	if fast < 500 || slow < 100 {
		t.Errorf("%d of %d messages render by steps", fast, fast+slow)
	}
	if len(fields) != 11 {
		t.Error("values.at and this test name each field")
	}
	for i, f := range fields {
		v := values{}
		reflect.ValueOf(&v).Elem().FieldByName(f).SetString("here")
		if v.at(i) != "here" {
			t.Errorf("%s is not at %d", f, i)
		}
	}
}
