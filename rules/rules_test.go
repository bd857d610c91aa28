package rules

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/pbx"
	"textback/rules/gsm7"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := string(b); got != want {
		t.Errorf("differs from %s (go test ./rules -update writes it anew); got:\n%s", path, got)
	}
}

// Every kind of mistake, and what an admin reads about it: one golden file
// holds all the messages, so that they can be read as an admin would.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r, problems := Parse(filepath.Base(f), b)
		if len(problems) == 0 {
			t.Errorf("%s: no problem found", f)
		}
		bad, last := false, 0
		for _, p := range problems {
			fmt.Fprintln(&all, p)
			bad = bad || !p.Warning
			if p.Line < last {
				t.Errorf("%s: not in the file's order: %s", f, p)
			}
			last = p.Line
		}
		if (r == nil) != bad {
			t.Errorf("%s: rules %v with problems %v", f, r != nil, problems)
		}
		fmt.Fprintln(&all)
	}
	golden(t, "problems.txt", all.String())
}

func shipped(t testing.TB) *Rules {
	t.Helper()
	r, problems := Load("../configs/rules.yaml")
	if r == nil || len(problems) > 0 {
		t.Fatalf("the shipped rules: %v", problems)
	}
	return r
}

// open is a Monday at ten, when the shipped office is open.
var open = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func call(o pbx.Outcome, change func(*pbx.Call)) *pbx.Call {
	c := &pbx.Call{ID: "1", Site: "hq", Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: o, Reason: pbx.Reason(o), Certain: true,
		Caller: pbx.Caller{Number: "+12025550143", Raw: "2025550143", Name: "SARAH MILLER"}, Line: pbx.Line{Number: "+12125550100", Name: "Front desk"},
		EndedAt: open, StartedAt: open.Add(-20 * time.Second), Ring: 20 * time.Second, Wait: 20 * time.Second}
	switch o { // the others' reason is their outcome
	case pbx.Voicemail:
		c.Reason = pbx.ReasonRangOut
	case pbx.Abandoned:
		c.Reason = pbx.ReasonCallerHungUp
	case pbx.Unattended:
		c.Reason = pbx.ReasonNotTried
	case pbx.Answered, pbx.Unknown:
		c.Reason = ""
	}
	if change != nil {
		change(c)
	}
	return c
}

func left(v bool) func(*pbx.Call) {
	return func(c *pbx.Call) { c.Voicemail = &pbx.Mailbox{MessageLeft: &v} }
}

func TestShippedRules(t *testing.T) {
	r := shipped(t)
	for _, c := range []struct {
		name string
		call *pbx.Call
		want string // rule, or !why
		says string
	}{
		{"rang out", call(pbx.RangOut, nil), "rang out or declined", "Hi Sarah, sorry we missed you!"},
		{"declined, no name", call(pbx.Declined, func(c *pbx.Call) { c.Caller.Name = "WIRELESS CALLER" }), "rang out or declined", "Hi, sorry we missed you!"},
		{"voicemail with message", call(pbx.Voicemail, left(true)), "message left", "we got your message"},
		{"voicemail without", call(pbx.Voicemail, left(false)), "mailbox, but no message", "sorry we missed you"},
		{"voicemail, not known", call(pbx.Voicemail, func(c *pbx.Call) { c.Voicemail = &pbx.Mailbox{} }), "mailbox, but no message", "sorry we missed you"},
		{"after hours", call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = open.Add(8 * time.Hour) }), "after hours", "We open tomorrow at 8 AM."},
		{"lunch", call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = open.Add(150 * time.Minute) }), "after hours", "We open at 1 PM."},
		{"Friday evening", call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = open.AddDate(0, 0, 4).Add(8 * time.Hour) }), "after hours", "We open Monday at 8 AM."},
		{"one ring", call(pbx.Abandoned, func(c *pbx.Call) { c.Ring, c.Wait = time.Second, 2*time.Second }), "!" + RuleSaysNo, ""},
		{"gave up", call(pbx.Abandoned, nil), "gave up ringing", "sorry we missed you"},
		{"left the queue", call(pbx.Abandoned, func(c *pbx.Call) { c.Queue = &pbx.Queue{Name: "support"} }), "left the queue", "sorry for the wait"},
		{"busy", call(pbx.Busy, nil), "busy or not reachable", "all our phones are busy"},
		{"menu only", call(pbx.Unattended, nil), "!" + RuleSaysNo, ""},
		{"answered", call(pbx.Answered, nil), "!" + NotMissed, ""},
		{"unknown", call(pbx.Unknown, func(c *pbx.Call) { c.Certain = false }), "!" + NotMissed, ""},
		{"outbound", call(pbx.RangOut, func(c *pbx.Call) { c.Direction = pbx.Outbound }), "!" + NotMissed, ""},
		{"not certain", call(pbx.RangOut, func(c *pbx.Call) { c.Certain = false }), "!" + NotCertain, ""},
		{"withheld", call(pbx.RangOut, func(c *pbx.Call) { c.Caller = pbx.Caller{Anonymous: true} }), "!" + Anonymous, ""},
		{"internal", call(pbx.RangOut, func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "101"} }), "!" + Internal, ""},
		{"abroad", call(pbx.RangOut, func(c *pbx.Call) { c.Caller.Number = "+442079460123" }), "!" + Region, ""},
		{"Jamaica shares +1", call(pbx.RangOut, func(c *pbx.Call) { c.Caller.Number = "+18765550123" }), "!" + Region, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := r.Decide(Facts{Call: c.call}, c.call.EndedAt)
			got := d.Rule
			if !d.Send {
				got = "!" + d.Suppressed
			}
			if got != c.want || d.Send && (!strings.Contains(d.Body, c.says) || d.Segments != 1 || d.Encoding != "GSM-7") {
				t.Errorf("%s %q (%d segments %s), want %s %q; because %s", got, d.Body, d.Segments, d.Encoding, c.want, c.says, d.Because)
			}
			if !d.Send && d.Because == "" {
				t.Error("no reason is given")
			}
			var b strings.Builder
			if err := d.WriteText(&b, r.Zone()); err != nil || strings.Contains(b.String(), "<no value>") || !strings.Contains(b.String(), r.Version()) {
				t.Errorf("explained: %s %v", b.String(), err)
			}
		})
	}
}

func TestGuards(t *testing.T) {
	r := shipped(t)
	c := call(pbx.RangOut, nil)
	for _, g := range []struct {
		f    Facts
		now  time.Time
		want string
	}{
		{Facts{Call: c}, open.Add(14 * time.Minute), ""},
		{Facts{Call: c}, open.Add(16 * time.Minute), Stale},
		{Facts{Call: c, OptedOut: true}, open, SaidStop},
		{Facts{Call: c, GotThrough: open.Add(time.Second)}, open, Reached},
		{Facts{Call: c, GotThrough: open.Add(-time.Second)}, open, ""},
		{Facts{Call: c, Episode: Episode{FirstTextAt: open.Add(-11 * time.Hour)}}, open, Duplicate},
		{Facts{Call: c, Episode: Episode{FirstTextAt: open.Add(-12 * time.Hour)}}, open, ""},
		// The episode closes 12 h after its last text or reply, not after its first (CALLS.md).
		{Facts{Call: c, Episode: Episode{FirstTextAt: open.Add(-20 * time.Hour), LastTextAt: open.Add(-11 * time.Hour)}}, open, Duplicate},
		{Facts{Call: c, Episode: Episode{FirstTextAt: open.Add(-20 * time.Hour), LastTextAt: open.Add(-12 * time.Hour)}}, open, ""},
		{Facts{Call: c, Episode: Episode{FirstTextAt: open.Add(-time.Hour), LastTextAt: open.Add(-13 * time.Hour)}}, open, Duplicate}, // of an older one
		{Facts{Call: c, Episode: Episode{LastTextAt: open.Add(-time.Hour)}}, open, ""},                                                // its first text was cancelled
		{Facts{Call: c, OnLine: true}, open, ""}, // a reason to wait, not to drop
	} {
		if d := r.Decide(g.f, g.now); d.Suppressed != g.want || d.Send != (g.want == "") {
			t.Errorf("%+v at %v: %q, want %q", g.f, g.now.Sub(open), d.Suppressed, g.want)
		}
	}
	if why, _ := r.Recheck(Facts{Call: c, OnLine: true}, open); why != OnLine {
		t.Errorf("due while on a line: %q", why)
	}
}

// Whatever the facts: when any guard says no, nothing is sent; deciding twice
// gives the same; and one more reason against a text never makes one.
func TestDecideProperties(t *testing.T) {
	r := shipped(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) bool { return rnd.IntN(n) == 0 }
	sent := 0
	for range 2_000 {
		c := call(pbx.Outcomes[rnd.IntN(len(pbx.Outcomes))], nil)
		c.Certain = !pick(5)
		c.Caller.Anonymous = pick(8)
		c.Caller.Number = []string{"+12025550143", "+442079460123", "", "+1"}[rnd.IntN(4)*rnd.IntN(2)]
		c.Ring, c.Wait = time.Duration(rnd.IntN(30))*time.Second, time.Duration(rnd.IntN(60))*time.Second
		c.EndedAt = open.Add(time.Duration(rnd.IntN(7*24*60)) * time.Minute)
		if pick(3) {
			left(pick(2))(c)
		}
		f := Facts{Call: c, OptedOut: pick(6)}
		if pick(6) {
			f.GotThrough = c.EndedAt.Add(time.Duration(rnd.IntN(100)-50) * time.Second)
		}
		if pick(4) {
			f.Episode.FirstTextAt = c.EndedAt.Add(-time.Duration(rnd.IntN(24)) * time.Hour)
		}
		now := c.EndedAt.Add(time.Duration(rnd.IntN(20)) * time.Minute)
		d := r.Decide(f, now)
		if d.Send != (d.Suppressed == "") || d.Send && d.Body == "" {
			t.Fatalf("%+v", d)
		}
		no := slices.ContainsFunc(d.Guards(), func(g Guard) bool { return !g.OK && !Waits(g.Name) })
		if no && d.Send {
			t.Fatalf("a guard says no and a text is sent: %+v", d)
		}
		if inJSON(t, d) != inJSON(t, r.Decide(f, now)) {
			t.Fatal("decided twice, differently")
		}
		if d.Send {
			sent++
			f.OptedOut = true
			if r.Decide(f, now).Send {
				t.Fatal("a text to somebody who has said stop")
			}
		}
	}
	if sent < 100 {
		t.Errorf("only %d of the cases send: the property is hardly tested", sent)
	}
}

func TestFirstName(t *testing.T) {
	for shown, want := range map[string]string{
		"Sarah Miller": "Sarah", "SARAH MILLER": "Sarah", "MILLER, SARAH": "Sarah", "sarah miller": "Sarah", "Anna-Lena Graf": "Anna-Lena",
		"ANNA-LENA GRAF": "Anna-Lena", "LeAnn Jones": "LeAnn", "Sarah": "", "WIRELESS CALLER": "", "NEW YORK CITY": "", "Miller Dental LLC": "",
		"2025550143": "", "": "", "J. Smith": "", "Spam Risk": "", "A B C D": "", "Sarah {{.}}": "",
		// In capitals and without a comma most carriers put the surname first, and companies look the same.
		"MILLER SARAH": "Sarah", "SMITH JOHN": "John", "JOHN SMITH": "John", "GARCIA JOSE M": "Jose", "JOSE M GARCIA": "Jose", "VAN DYKE MARY": "Mary",
		"SARAH THOMAS": "Sarah", "THOMAS SARAH": "Sarah", "TAYLOR GREENE": "Taylor", "GREENE TAYLOR": "Taylor", "THOMAS TAYLOR": "", "MARY ANN": "", "SMITH J": "",
		"PIZZA HUT": "", "HOME DEPOT": "", "WELLS FARGO": "", "BEST BUY": "", "US CELLULAR": "", "VERIZON WIRELES": "", "Google Voice": "", "Front Desk": "",
		"SAN JOSE": "", "VIRGINIA BEACH": "", "ST PAUL": "", "DALLAS, TX": "", "MILLER, J": "", "smith john": "John", "XANTHIPPE PEREZ": "", "Xanthippe Perez": "", "LEE, ANN": "Ann",
	} {
		if got := firstName(shown, false); got != want {
			t.Errorf("firstName(%q) = %q, want %q", shown, got, want)
		}
	}
}

// Carriers show companies and places as well as people, in any case of letters. An
// address book is trusted.
func TestNoNames(t *testing.T) {
	for _, c := range []struct{ shown, want, book string }{
		{"BOSTON, MASS", "", "Mass"}, {"Berlin, Deutschland", "", "Deutschland"}, {"Susan Park", "Susan", "Susan"}, {"Sarah M.", "Sarah", "Sarah"}, {"SARAH M", "", ""},
		{"British Gas", "", "British"}, {"BRITISH GAS", "", ""}, {"Royal Mail", "", "Royal"}, {"Tesco Stores", "", "Tesco"}, {"Miami Florida", "", "Miami"},
		{"Smith John", "", "Smith"}, {"SMITH JOHN", "John", "John"}, {"AUSTIN TEXAS", "", "Austin"}, {"Austin Texas", "", "Austin"}, {"GEORGIA POWER", "", "Georgia"},
		{"Georgia Power", "", "Georgia"}, {"Georgia Miller", "Georgia", "Georgia"}, {"GEORGIA MILLER", "Georgia", "Georgia"}, {"ATLANTA GEORGIA", "", "Georgia"}, {"Atlanta Georgia", "", "Atlanta"},
		{"ATLANTA, GEORGIA", "", "Georgia"}, {"MILLER, GEORGIA", "Georgia", "Georgia"}, {"JACKSON, TENNESSEE", "", "Tennessee"}, {"KOWALSKI, CHARLOTTE", "Charlotte", "Charlotte"},
		{"SEATTLE, WASHINGTON", "", "Washington"}, {"WASHINGTON, DENZEL", "Denzel", "Denzel"}, {"Sarah Washington", "Sarah", "Sarah"}, {"EVERETT WASHINGTON", "", "Everett"},
		{"Virginia Tech", "", "Virginia"}, {"RICHMOND VIRGINIA", "", "Virginia"}, {"Dallas Cowboys", "", "Dallas"}, {"Dallas Johnson", "Dallas", "Dallas"}, {"Charlotte Observer", "", "Charlotte"},
		{"Grace Baptist", "", "Grace"}, {"Rose Florist", "", "Rose"}, {"Sarah House", "", "Sarah"}, {"Crystal Clear", "", "Crystal"}, {"Mercedes Benz", "", "Mercedes"}, {"Mercedes Garcia", "Mercedes", "Mercedes"},
		{"Harley Davidson", "", "Harley"}, {"Holly Springs", "", "Holly"}, {"Lincoln Park", "", "Lincoln"}, {"Virginia O'Brien", "Virginia", "Virginia"},
		{"Casa Maria", "", "Casa"}, {"Chez Louise", "", "Chez"}, {"Thomas Cook", "Thomas", "Thomas"}, {"James Thomas", "James", "James"}, {"Sarah Thomas", "Sarah", "Sarah"},
		{"José García", "José", "José"}, {"Zoë Miller", "Zoë", "Zoë"}, {"Société Générale", "", "Société"}, {"Søren Holm", "Søren", "Søren"}, {"MÜLLER JÜRGEN", "Jürgen", "Müller"},
		{"Xanthippe Perez", "", "Xanthippe"}, {"XANTHIPPE PEREZ", "", ""}, {"Wireless Caller", "", ""}, {"Miller Dental", "", ""},
	} {
		if got := firstName(c.shown, false); got != c.want {
			t.Errorf("the PBX shows %q: %q, want %q", c.shown, got, c.want)
		}
		if got := firstName(c.shown, true); got != c.book {
			t.Errorf("the address book has %q: %q, want %q", c.shown, got, c.book)
		}
	}
}

func TestSummerTime(t *testing.T) {
	r, problems := Parse("rules.yaml", []byte("version: 1\nbusiness: {name: X}\ntimezone: America/New_York\nhours: {sun: [\"1:00-4:00\"]}\n"))
	if r == nil {
		t.Fatal(problems)
	}
	for at, want := range map[string]bool{
		"2026-03-08T06:59:59Z": true, "2026-03-08T07:00:00Z": true, "2026-03-08T08:00:00Z": false, // 1:59:59 EST, 3:00 EDT, 4:00 EDT
		"2026-11-01T05:30:00Z": true, "2026-11-01T06:30:00Z": true, "2026-11-01T09:00:00Z": false, // 1:30 EDT, 1:30 EST, 4:00 EST
	} {
		tm, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.office.hours.at(tm.In(r.zone)) == opened; got != want {
			t.Errorf("open at %s: %v", at, got)
		}
	}
}

// Rules on disk: what they name is read beside them.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "rules.yaml")
	load := func(yaml string) (*Rules, string) {
		t.Helper()
		put("rules.yaml", head+yaml)
		r, problems := Load(path)
		return r, strings.ReplaceAll(fmt.Sprint(problems), dir+"/", "")
	}
	put("a.ics", calendar)
	put("b.ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20270701\nEND:VEVENT\nEND:VCALENDAR\n")
	put("timed.ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20270701T100000\nDTEND:20270701T110000\nEND:VEVENT\nEND:VCALENDAR\n")
	put("empty.ics", "BEGIN:VCALENDAR\nEND:VCALENDAR\n")
	put("page.ics", "<html>not found</html>")
	put("large.ics", strings.Repeat("x", largest+1))
	r, said := load("hours: {mon: \"8:00-17:00\"}\nholidays: [a.ics, b.ics, " + filepath.Join(dir, "b.ics") + "]\nrules: [{nothing: x}]\n")
	if r == nil || said != "[]" || r.office.closing.last != 20601225 {
		t.Fatal(said)
	}
	if _, sp, ok := r.office.hours.on(20270701, time.Thursday); !ok || len(sp.spans) > 0 {
		t.Error("b.ics is not read")
	}
	for file, want := range map[string]string{
		"none.ics": "[rules.yaml:4:11: none.ics cannot be read: no such file or directory]", "page.ics": "[rules.yaml:4:11: page.ics: it is no iCalendar file: BEGIN:VCALENDAR is missing]",
		"large.ics": "[rules.yaml:4:11: large.ics cannot be read: it is larger than 4 MB]", "timed.ics": "[rules.yaml:4:11: warning: timed.ics has no holidays: only whole-day events count, and its 1 event is none, such as one on 2027-07-01]",
		"empty.ics": "[rules.yaml:4:11: warning: empty.ics has no holidays]", ".": "[rules.yaml:4:11: . cannot be read: is a directory]",
	} {
		if r, said := load("holidays: " + file + "\nrules: [{nothing: x}]\n"); said != want || (r == nil) == strings.Contains(want, "warning") {
			t.Errorf("%s: %s, want %s", file, said, want)
		}
	}
	// What is left out of a file is told once, however many offices read it; and each reads it in its own zone.
	put("mixed.ics", "BEGIN:VCALENDAR\n"+
		"BEGIN:VEVENT\nSUMMARY:Party\nDTSTART:20261218T160000\nDTEND:20261218T200000\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nSUMMARY:Closing early\nDTSTART:20261224T120000\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nSUMMARY:Valentine's Day\nDTSTART:20270214\nDESCRIPTION:Observance\\nTo hide observances\\, go to the settings\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nSUMMARY:Tax Day\nDTSTART:20270415\nDESCRIPTION:Observance\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nSUMMARY:Christmas\nDTSTART:20261225\nDESCRIPTION:Public holiday\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nSUMMARY:Retreat\nDTSTART:20261230T230000Z\nDTEND:20261231T230000Z\nX-MICROSOFT-CDO-ALLDAYEVENT:TRUE\nEND:VEVENT\nEND:VCALENDAR\n")
	r, said = load("hours: {mon: \"8:00-17:00\"}\nholidays: mixed.ics\nclosed_on: [2027-04-15]\nlines: {a: {holidays: mixed.ics, timezone: Asia/Kolkata}, b: {holidays: mixed.ics}}\nrules: [{nothing: x}]\n")
	want := `[rules.yaml:5:11: warning: mixed.ics: 2 events are no whole days and are left out, such as "Party" on 2026-12-18: only whole-day events count, so the office is open then unless closed_on: or exceptions: say otherwise ` +
		`rules.yaml:5:11: warning: mixed.ics: 2 observances are left out, such as "Valentine's Day": no public holiday, by the calendar's own word, so the office is open then; closed_on: closes on one anyway]`
	if r == nil || said != want {
		t.Fatal(said)
	}
	for _, x := range []struct {
		o    *office
		want string
	}{{r.office, "[20261225 20261231 20270415]"}, {r.lines[0], "[20261225 20261231 20270415]"}, {r.lines[1], "[20261225 20261231 20270415]"}} {
		if got := fmt.Sprint(x.o.hours.sorted()); got != x.want {
			t.Errorf("%v: closed on %s, want %s", x.o.patterns, got, x.want)
		}
	}
	put("one.ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261225\nEND:VEVENT\nBEGIN:VEVENT\nDTSTART:20261218T160000\nDTEND:20261218T200000\nEND:VEVENT\n"+
		"BEGIN:VEVENT\nSUMMARY:Tax Day\nDTSTART:20270415\nDESCRIPTION:Observance\nEND:VEVENT\nEND:VCALENDAR\n")
	_, said = load("hours: {mon: \"8:00-17:00\"}\nholidays: one.ics\nrules: [{nothing: x}]\n")
	if !strings.Contains(said, "one.ics: 1 event is no whole day and is left out, such as one on 2026-12-18: only") || !strings.Contains(said, `one.ics: 1 observance is left out, such as "Tax Day": no public`) {
		t.Error(said)
	}
	put("timed2.ics", "BEGIN:VCALENDAR\n"+strings.Repeat("BEGIN:VEVENT\nSUMMARY:Party\nDTSTART:20270701T100000\nDTEND:20270701T110000\nEND:VEVENT\n", 2)+"END:VCALENDAR\n")
	_, said = load("hours: {mon: \"8:00-17:00\"}\nholidays: timed2.ics\nrules: [{nothing: x}]\n")
	if !strings.Contains(said, `only whole-day events count, and its 2 events are none, such as "Party" on 2027-07-01`) {
		t.Error(said)
	}
	if _, problems := Load(filepath.Join(dir, "no.yaml")); len(problems) != 1 || !strings.Contains(problems[0].Text, "there is no such file") {
		t.Error(problems)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, name := range append(files, "../configs/rules.yaml") {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("a: &a [*a, *a]"))
	f.Add([]byte("version: 1\n" + actions))
	f.Add([]byte(twoHundred()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, problems := Parse("rules.yaml", b)
		if r == nil && len(problems) == 0 {
			t.Fatal("refused without a word")
		}
		for _, p := range problems {
			if p.Text == "" || p.Line < 0 {
				t.Fatalf("%+v", p)
			}
		}
		if r != nil {
			f := Facts{Call: salesCall(func(c *pbx.Call) {
				c.Queue, c.PBX, c.EndedAt = &pbx.Queue{Name: "support", Wait: time.Minute}, map[string]string{"NIGHT": "1"}, open.AddDate(0, 0, len(b)%365)
			}), Known: true, Contact: &Contact{FirstName: "Ana", Language: "es", Groups: []string{"patients"}}}
			d := r.Decide(f, f.Call.EndedAt)
			for _, fu := range d.FollowUps {
				if (fu.Body == "") == (fu.Task == nil) || fu.DueAt.Before(d.DueAt) {
					t.Fatalf("%+v", fu)
				}
			}
			for _, s := range d.Steps() {
				if s.Matched == (s.Why != "") {
					t.Fatalf("%+v", s)
				}
			}
			for _, g := range d.Guards() {
				if g.Why == "" || !g.OK && !Waits(g.Name) && d.Send {
					t.Fatalf("%+v", g)
				}
			}
			if d.Send && (d.Body == "" || strings.Contains(d.Body, "<no value>")) {
				t.Fatalf("%+v", d)
			}
			if n, enc := gsm7.Segments(d.Body); d.Send && (n != d.Segments || enc != d.Encoding) {
				t.Fatalf("%d %s", n, enc)
			}
		}
	})
}
