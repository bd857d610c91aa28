package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/pbx"
)

// theDay is when tests lint.
var theDay = time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)

// Everything that Lint finds: one golden file holds all the messages.
func TestLint(t *testing.T) {
	files, err := filepath.Glob("testdata/lint/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	seen := Seen{Lines: []pbx.Line{{Number: "+12125550100", Name: "Front desk"}, {Number: "+12125550110", Name: "Reception"}}}
	many := Seen{}
	for i := range enough {
		many.Call(&pbx.Call{Line: pbx.Line{Number: fmt.Sprintf("+121255501%02d", i), Name: "Front desk"}, Queue: &pbx.Queue{Name: "support"}})
	}
	abroad := Seen{Lines: []pbx.Line{{Number: "+12125550110", Name: "Reception"}, {Number: "+4930901820123", Name: "Berlin"}}}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r, problems := Parse(filepath.Base(f), b)
		if r == nil {
			t.Fatal(problems)
		}
		for _, p := range problems {
			t.Errorf("not for Lint: %s", p)
		}
		for _, x := range []struct {
			what string
			seen Seen
			only string // for files that have this in their name
		}{{"", Seen{}, ""}, {"# with the lines of textback.yaml\n", seen, "people"}, {"# with stored calls\n", many, "people"}, {"# with a line abroad\n", abroad, "lines"}} {
			if !strings.Contains(f, x.only) {
				continue
			}
			all.WriteString(x.what)
			for _, p := range r.Lint(theDay, x.seen) {
				if !p.Warning || p.Line == 0 {
					t.Errorf("%+v", p)
				}
				fmt.Fprintln(&all, p)
			}
			fmt.Fprintln(&all)
		}
	}
	golden(t, "lint.txt", all.String())
}

// What says how to stop, and what only seems to; what is a way to go on, and what only seems to be.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		language, text string
		stop           bool
		ways           int
	}{
		{"en", "{{.Business}}: we will call you back. Reply STOP to opt out.", true, 1},
		{"en", "{{.Business}}: we will call you back. Text 'STOP' to end.", true, 1},
		{"en", "{{.Business}}: we will call you back, or reply here. Reply with STOP to opt out, reply HELP for help", true, 2},
		{"en", "{{.Business}}: we will call you back. To opt out, reply stop", true, 1},
		{"en", "{{.Business}}: reply or call us, or stop by our office any time", false, 2},
		{"en", "{{.Business}}: Stop by our office any time, reply or call us", false, 2},
		{"en", "{{.Business}}: reply or call us. STOP ends this", true, 2},
		{"en", "{{.Business}}: reply or call us. Stop to end", true, 2},
		{"en", "{{.Business}}: reply or call us. Opt out: {{.Booking}}", true, 3},
		{"en-US", "Bye. {{.Business}}", false, 0},
		{"es", "{{.Business}}: le llamaremos. Responda STOP para no recibir mensajes", true, 1},
		{"es", "{{.Business}}: le llamaremos. Responda con \"BAJA\" para cancelar", true, 1},
		{"es", "{{.Business}}: le llamaremos o responda aquí. Envíe ALTO para terminar", true, 2},
		{"es", "{{.Business}}: en plena temporada baja, responda o llame al {{.Phone}}", false, 2},
		{"de", "{{.Business}}: wir rufen zurück. Mit STOP antworten beendet dies", true, 1},
		{"de", "{{.Business}}: wir rufen zurück. Antworten Sie mit STOPP", true, 1},
		{"de", "{{.Business}}: wir rufen zurück, oder antworten Sie hier. Abmelden mit STOP", true, 2},
		{"de", "{{.Business}}: non-stop für Sie da: antworten Sie oder rufen Sie an", false, 2},
		{"fr", "{{.Business}}: nous vous rappelons. Répondez STOP pour ne plus recevoir", true, 1},
		{"fr", "{{.Business}}: nous vous rappelons. Envoyez « ARRÊT » pour arrêter", true, 1},
		{"fr", "{{.Business}}: nous vous rappelons, ou écrivez-nous. STOP au 36180", true, 2},
		{"fr", "{{.Business}}: premier arrêt Opéra, répondez ou appelez", false, 2},
		{"it", "{{.Business}}: ciao, stop per finire", true, -1},
	} {
		stop, ways := true, 2
		r, problems := Parse("rules.yaml", []byte("version: 1\ntimezone: UTC\nlanguage: "+c.language[:2]+"\nbusiness: {name: X, booking: \"https://book.example\"}\nmessages: {m: {"+c.language+": "+fmt.Sprintf("%q", c.text)+"}}\nrules: [{send: m}]\n"))
		if r == nil {
			t.Fatal(problems)
		}
		for _, p := range r.Lint(theDay, Seen{}) {
			switch {
			case strings.Contains(p.Text, "does not say how to stop"):
				stop = false
			case strings.Contains(p.Text, "offers one way"):
				ways = 1
			case strings.Contains(p.Text, "tells nobody how to go on"):
				ways = 0
			}
		}
		if stop != c.stop || c.ways >= 0 && ways != min(c.ways, 2) {
			t.Errorf("%s %q: stop %v, %d ways", c.language, c.text, stop, ways)
		}
	}
}

// Every first text may be the first that somebody gets, whatever its rule asks.
func TestFirstTexts(t *testing.T) {
	for _, when := range []string{"contact: new", "contact: vip", "contact: known", "attempts: {at_least: 2}", "group: friends"} {
		if w := linted(t, "rules: [{when: {"+when+"}, text: \"{{.Business}}: reply or call us\"}]", Seen{}, "may be the first text"); len(w) != 1 {
			t.Errorf("%s: %q", when, w)
		}
	}
	if w := linted(t, "rules: [{text: \"{{.Business}}: reply or call us. STOP\", follow_ups: [{after: 1h, text: \"{{.Business}}: reply or call us\"}]}]", Seen{}, "may be the first text"); len(w) != 0 {
		t.Error(w)
	}
}

// Holidays run out, however they are written.
func TestHolidaysRunOut(t *testing.T) {
	const rest = "hours: {mon: \"8:00-17:00\"}\nrules: [{nothing: x}]\n"
	for _, c := range []struct {
		yaml string
		want string // says this, and stands there
	}{
		{"exceptions: {\"2026-12-25\": []}\n", "4:13 is on 2026-12-25"},
		{"exceptions: {\"2026-11-01\": [], \"2026-12-24\": \"8:00-12:00\"}\n", "4:13 was on 2026-11-01"},
		{"exceptions: {\"2026-12-24\": \"8:00-12:00\"}\n", ""},
		{"exceptions: {\"2026-12-25\": [], \"2027-12-25\": []}\n", ""},
		{"closed_on: 2026-12-25\nexceptions: {\"2027-12-24\": []}\n", ""},
		{"closed_on: 2026-12-25\nexceptions: {\"2026-12-26\": []}\n", "4:12 is on 2026-12-26"},
		{"lines: {Service: {exceptions: {\"2026-12-25\": []}}}\n", "4:31 is on 2026-12-25"},
		{"closed_on: 2026-12-25\nlines: {Service: {exceptions: {\"2026-12-24\": \"8:00-12:00\"}}}\n", "4:12 is on 2026-12-25"},
	} {
		var got []string
		for _, p := range read(t, c.yaml+rest).Lint(theDay, Seen{}) {
			if words, _, ok := strings.Cut(strings.TrimPrefix(p.Text, "the last holiday that is known "), ": add the next ones"); ok {
				got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Col, words))
			}
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%q: %q, want %q", c.yaml, got, c.want)
		}
	}
}

// A line speaks a language in which there is something to say.
func TestLineLanguages(t *testing.T) {
	const lines = "lines: {Service: {language: fr}, Sales: {language: es-MX}, Desk: {language: en}, Night: {business: Y}}\nrules: [{send: m}]\n"
	for messages, want := range map[string]string{
		"messages: {m: x}\n": "fr es",
		"messages: {m: {en: x, fr-CA: y}, n: {en: x, es: y}}\n":     "",
		"messages: {m: {en: x, fr: y}, n: {en: x, de: y}}\n":        "es",
		"language: fr\nmessages: {m: {fr: x}, n: {fr: z, es: y}}\n": "en",
	} {
		var got []string
		for _, w := range linted(t, messages+lines, Seen{}, "no message has a text in ") {
			got = append(got, strings.Trim(strings.Fields(w)[6], ","))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", messages, got, want)
		}
	}
}

// The shipped rules are as one should write them.
func TestLintShipped(t *testing.T) {
	for _, p := range shipped(t).Lint(theDay.AddDate(0, -3, 0), Seen{}) {
		t.Error(p)
	}
}

// Whatever is read can be linted.
func FuzzLint(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.yaml")
	for _, name := range append(files, "../configs/rules.yaml") {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _ := Parse("rules.yaml", b)
		if r == nil {
			return
		}
		for _, p := range r.Lint(theDay, Seen{Lines: []pbx.Line{{Name: "x"}}}) {
			if !p.Warning || p.Text == "" || strings.Contains(p.Text, "%!") || strings.Contains(p.Text, "\n") {
				t.Fatalf("%+v", p)
			}
		}
	})
}

// A transport that carries less than the rules allow: every text that may be longer is named where it stands.
func TestTooLong(t *testing.T) {
	long := strings.Repeat("We are at the station. ", 20) // 460 characters: 4 segments with the rest
	file := "version: 1\nbusiness: {name: Miller}\ntimezone: UTC\nregions: [US]\nmessages:\n  short: '{{.Business}}'\n" +
		"  long: {en: '{{.Business}}: reply', es: '" + long + "{{.Business}}'}\n" +
		"rules:\n  - {name: a, when: {outcome: busy}, send: short}\n  - {name: b, when: {outcome: declined}, text: '" + long + "{{.Business}}'}\n" +
		"  - {name: c, send: long, follow_ups: [{after: 1h, text: '" + long + "{{.Business}}'}]}\n"
	r, problems := Parse("rules.yaml", []byte(file))
	if r == nil {
		t.Fatal(problems)
	}
	var said []string
	for _, p := range r.TooLong("sip", 3, nil) {
		said = append(said, p.String())
	}
	const rest = " takes up to 4 segments, and sip carries 3 at most: a text that is longer is not sent by it; make it shorter"
	want := []string{
		`rules.yaml:7:42: warning: message "long" in es` + rest,
		`rules.yaml:10:48: warning: the text of rule "b"` + rest,
		`rules.yaml:11:58: warning: follow-up 1 of rule "c"` + rest,
	}
	if !slices.Equal(said, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(said, "\n     "), strings.Join(want, "\n     "))
	}
	if p := r.TooLong("sip", 4, nil); len(p) > 0 {
		t.Error(p)
	}
	// A line's number may be what makes it too long.
	tight := "{{.Business}} {{.LineNumber}} " + strings.Repeat("x", 160-len("Miller  ")-len("+12125550100"))
	if r, problems = Parse("rules.yaml", []byte("version: 1\nbusiness: {name: Miller}\ntimezone: UTC\nrules:\n  - {text: '"+tight+"'}\n")); r == nil {
		t.Fatal(problems)
	}
	for number, want := range map[string]int{"+12125550100": 0, "+4930901820123": 1} {
		if p := r.TooLong("sip", 1, []string{"+12125550100", number}); len(p) != want {
			t.Errorf("%s: %v", number, p)
		}
	}
}
