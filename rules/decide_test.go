package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx"
)

// Each guard alone stands against a text that would leave without it; with all
// of them against it, the first in the order is the one that is named.
func TestEachGuard(t *testing.T) {
	r := read(t, "guards: {quiet_hours: {strict: true}, budgets: {money_per_day: 5.00}, prices: {US: 0.0083}}\nmessages: {m: \"{{.Business}}\"}\nrules: [{send: m}]\n")
	fine := func() Facts { return Facts{Call: call(pbx.RangOut, nil)} }
	if d := r.Decide(fine(), open); !d.Send {
		t.Fatal(d.Because)
	}
	against := []struct {
		name string
		make func(*Facts)
	}{
		{NotMissed, func(f *Facts) { f.Call.Direction = pbx.Outbound }},
		{Stale, func(f *Facts) { f.Call.EndedAt = open.Add(-time.Hour) }},
		{NotCertain, func(f *Facts) { f.Call.Certain, f.Call.Gaps = false, []pbx.Gap{pbx.GapEventsLost} }},
		{Anonymous, func(f *Facts) { f.Call.Caller.Anonymous = true }},
		{Internal, func(f *Facts) { f.Call.Caller.Number = f.Call.Line.Number }},
		{InvalidNumber, func(f *Facts) { f.Call.Caller.Number = "+1202555" }},
		{Region, func(f *Facts) { f.Call.Caller.Number = "+14165550123" }},     // Toronto
		{NumberType, func(f *Facts) { f.Call.Caller.Number = "+18005550123" }}, // toll-free
		{SaidStop, func(f *Facts) { f.OptedOut = true }},
		{DoNotText, func(f *Facts) { with(f).DoNotText = true }},
		{BlockedOne, func(f *Facts) { with(f).Blocked = true }},
		{Machine, func(f *Facts) { f.Machine = "it answers each text with the same words" }},
		{Attestation, func(f *Facts) { f.Call.Caller.Attestation = "failed" }},
		{QuietHours, func(f *Facts) { f.Call.Caller.Number = "+18085550143" }}, // it is 5 in the morning in Honolulu
		{BudgetCaller, func(f *Facts) { f.Spent.Caller = 3 }},
		{BudgetPrefix, func(f *Facts) { f.Spent.Prefix = 5 }},
		{BudgetMinute, func(f *Facts) { f.Spent.Minute = 10 }},
		{BudgetDay, func(f *Facts) { f.Spent.DaySegments = 200 }},
		{BudgetMoney, func(f *Facts) { f.Spent.DayMoney = 4_995_000 }},
		{Breaker, func(f *Facts) { f.Down = "the provider has refused 5 texts in a row" }},
		{Reached, func(f *Facts) { f.GotThrough = open.Add(time.Second) }},
		{CalledBack, func(f *Facts) { f.CalledBack = open.Add(time.Second) }},
		{OnLine, func(f *Facts) { f.OnLine = true }},
		{Duplicate, func(f *Facts) { f.Episode.FirstTextAt = open.Add(-time.Hour) }},
	}
	var order []string
	for _, g := range r.Decide(fine(), open).Guards() {
		order = append(order, g.Name)
		if !g.OK || g.Why == "" {
			t.Errorf("%+v", g)
		}
	}
	for i, a := range against {
		if len(order) != len(against) || order[i] != a.name {
			t.Fatalf("guards are %v", order)
		}
		f := fine()
		a.make(&f)
		d := r.Decide(f, open)
		switch {
		case Waits(a.name):
			if !d.Send || d.Suppressed != "" {
				t.Errorf("%s drops the text: it should only wait", a.name)
			}
		case d.Send || d.Suppressed != a.name || d.Because == "":
			t.Errorf("%s: %q because %q", a.name, d.Suppressed, d.Because)
		}
		for j, g := range d.Guards() {
			if a.name == NumberType && g.Name == QuietHours {
				continue // a toll-free number may be anywhere, and somewhere it is too early
			}
			if g.OK == (j == i) || g.Why == "" || j == i && !Waits(a.name) && g.Why != d.Because {
				t.Errorf("%s: %+v", a.name, g)
			}
		}
		// Asked again when the text is due: the same word, but for duplicates.
		want := a.name
		if want == Duplicate {
			want = ""
		}
		if got, why := r.Recheck(f, open); got != want || (why == "") != (want == "") {
			t.Errorf("asked again with %s: %q because %q", a.name, got, why)
		}
		f = fine()
		for _, later := range against[i:] {
			if !slices.Contains([]string{Internal, InvalidNumber, Region, NumberType, QuietHours}, later.name) || later.name == a.name {
				later.make(&f) // one number cannot be wrong in two ways
			}
		}
		first := a.name
		if Waits(first) { // what is for good comes first
			first = map[string]string{BudgetMinute: BudgetDay, Breaker: Reached, OnLine: Duplicate}[a.name]
		}
		if d := r.Decide(f, open); d.Suppressed != first {
			t.Errorf("with everything from %s on against it: %q", a.name, d.Suppressed)
		}
	}
}

// with is the caller's entry in the address book.
func with(f *Facts) *Contact {
	if f.Contact == nil {
		f.Contact = &Contact{}
	}
	return f.Contact
}

func TestDue(t *testing.T) {
	r := shipped(t)
	c := call(pbx.RangOut, nil)
	for _, x := range []struct {
		after, want time.Duration // the call's end
	}{
		{0, 3 * time.Second}, {time.Second, 3 * time.Second}, {3 * time.Second, 3 * time.Second}, {time.Minute, time.Minute},
		{-2 * time.Second, time.Second}, {-time.Hour, 3*time.Second - time.Hour}, // the PBX's clock is ahead
	} {
		if d := r.Decide(Facts{Call: c}, open.Add(x.after)); !d.Send || d.DueAt.Sub(open) != x.want {
			t.Errorf("decided %v after the call: due %v after it, want %v; %s", x.after, d.DueAt.Sub(open), x.want, d.Because)
		}
	}
	d := r.Decide(Facts{Call: call(pbx.Abandoned, nil)}, open)
	if d.Delay != 10*time.Second || d.Window != 12*time.Hour || d.Fresh != 15*time.Minute || d.RulesVersion != r.Version() {
		t.Errorf("%+v", d)
	}
	if d := r.Decide(Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = time.Time{} })}, open); d.Suppressed != Stale || !strings.Contains(d.Because, "has not ended") {
		t.Errorf("%+v", d)
	}
}

func TestWindowOfARule(t *testing.T) {
	r := read(t, "messages: {m: \"{{.Business}}\"}\nrules:\n - {name: a, when: {outcome: busy}, send: m, window: 1h, delay: 0s}\n - {name: b, send: m}\n")
	f := Facts{Call: call(pbx.Busy, nil), Episode: Episode{FirstTextAt: open.Add(-61 * time.Minute)}}
	if d := r.Decide(f, open); !d.Send || d.Window != time.Hour || !d.DueAt.Equal(open) {
		t.Errorf("%+v", d)
	}
	f.Call = call(pbx.RangOut, nil)
	if d := r.Decide(f, open); d.Suppressed != Duplicate {
		t.Errorf("%+v", d)
	}
}

func TestConditions(t *testing.T) {
	some := func(change func(*pbx.Call)) Facts { return Facts{Call: call(pbx.RangOut, change)} }
	other := func(o pbx.Outcome, change func(*pbx.Call)) Facts { return Facts{Call: call(o, change)} }
	facts := func(change func(*Facts)) Facts {
		f := some(nil)
		change(&f)
		return f
	}
	later := func(d time.Duration) Facts { return some(func(c *pbx.Call) { c.EndedAt = open.Add(d) }) }
	known := facts(func(f *Facts) { f.Known = true })
	vip := facts(func(f *Facts) { f.Contact = &Contact{VIP: true, Groups: []string{"Patients", "board"}} })
	asked := map[string]bool{}
	for _, c := range []struct {
		when string
		yes  Facts
		no   Facts
		why  string
	}{
		{"outcome: [declined, rang_out]", some(nil), other(pbx.Busy, nil), "outcome is busy, not declined or rang_out"},
		{"outcome: rang_out", some(nil), other("later_word", nil), "outcome is later_word, not rang_out"},
		{"reason: declined", other(pbx.Voicemail, func(c *pbx.Call) { c.Reason = pbx.ReasonDeclined }), some(nil), "reason is rang_out, not declined"},
		{"certain: true", some(nil), some(func(c *pbx.Call) { c.Certain = false }), "it is not certain that nobody took the call"},
		{"certain: false", some(func(c *pbx.Call) { c.Certain = false }), some(nil), "it is certain that nobody took the call"},
		{"line: front*", some(nil), some(func(c *pbx.Call) { c.Line.Name = "Back" }), "the line is Back, not front*"},
		{"line: +12125550100", some(nil), some(func(c *pbx.Call) { c.Line = pbx.Line{} }), "the line is unknown, not +12125550100"},
		{"line: 5551000", some(func(c *pbx.Call) { c.Line.Raw = "5551000" }), some(nil), "the line is Front desk, not 5551000"},
		{"caller: [+1212*, +1202*]", some(nil), some(func(c *pbx.Call) { c.Caller.Number = "+13035550143" }), "the caller's number does not match +1212* or +1202*"},
		{"not_caller: +1303*", some(nil), some(func(c *pbx.Call) { c.Caller.Number = "+13035550143" }), "the caller's number matches not_caller"},
		{"anonymous: true", some(func(c *pbx.Call) { c.Caller = pbx.Caller{Anonymous: true} }), some(nil), "the caller shows a number"},
		{"anonymous: false", some(nil), some(func(c *pbx.Call) { c.Caller = pbx.Caller{Anonymous: true} }), "the caller withheld the number"},
		{"internal: true", some(func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "101"} }), some(nil), "the caller is no phone of the office"},
		{"internal: true", some(func(c *pbx.Call) { c.Caller.Number = c.Line.Number }), some(func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "sip:junk"} }), "the caller is no phone of the office"},
		{"internal: false", some(nil), some(func(c *pbx.Call) { c.Caller = pbx.Caller{Raw: "101"} }), "the caller is a phone of the office"},
		{"region: [CA, us]", some(nil), some(func(c *pbx.Call) { c.Caller.Number = "+4915112345678" }), "the caller's number is of DE, not CA or US"},
		{"region: CA", some(func(c *pbx.Call) { c.Caller.Number = "+14165550123" }), some(func(c *pbx.Call) { c.Caller.Number = "" }), "the caller's number is of no region"},
		{"contact: new", some(nil), known, "the caller is known, but in no address book, not new"},
		{"contact: known", known, some(nil), "the caller is new, not known"},
		{"contact: [known]", facts(func(f *Facts) { f.Contact = &Contact{} }), some(nil), "the caller is new, not known"},
		{"contact: known", facts(func(f *Facts) { f.Episode.Calls = 1 }), some(nil), "the caller is new, not known"},
		{"contact: vip", vip, known, "the caller is known, but in no address book, not vip"},
		{"contact: [new, blocked]", facts(func(f *Facts) { f.Contact = &Contact{Blocked: true} }), vip, "the caller is known and vip, not new or blocked"},
		{"group: [patients, staff]", vip, some(nil), "the caller is in no address book, so in no group"},
		{"group: staff", facts(func(f *Facts) { f.Contact = &Contact{Groups: []string{"Staff"}} }), vip, "the caller is in Patients and board, not in staff"},
		{"group: sta*", facts(func(f *Facts) { f.Contact = &Contact{Groups: []string{"staff"}} }), facts(func(f *Facts) { f.Contact = &Contact{} }), "the caller is in no group"},
		{"attestation: [A, B]", some(func(c *pbx.Call) { c.Caller.Attestation = "B" }), some(nil), "the number's attestation is none, not A or B"},
		{"attestation: none", some(nil), some(func(c *pbx.Call) { c.Caller.Attestation = "C" }), "the number's attestation is C, not none"},
		{"attempts: {at_least: 2}", facts(func(f *Facts) { f.Episode.Calls = 1 }), some(nil), "it is missed call 1 of this caller, not number 2 or later"},
		{"attempts: {at_least: 2, under: 3}", facts(func(f *Facts) { f.Episode.Calls = 1 }), facts(func(f *Facts) { f.Episode.Calls = 2 }), "it is missed call 3 of this caller, not one before number 3"},
		{"ring: {under: 21s}", some(nil), some(func(c *pbx.Call) { c.Ring = 21 * time.Second }), "it rang for 21 s, not under 21 s"},
		{"ring: {at_least: 20s}", some(nil), some(func(c *pbx.Call) { c.Ring = 19500 * time.Millisecond }), "it rang for 19.5 s, not at least 20 s"},
		{"wait: {at_least: 10s, under: 30s}", some(nil), some(func(c *pbx.Call) { c.Wait = 90 * time.Second }), "the caller waited for 1.5 min, not under 30 s"},
		{"queue_wait: {at_least: 1m}", some(func(c *pbx.Call) { c.Queue = &pbx.Queue{Wait: time.Minute} }), some(func(c *pbx.Call) { c.Queue = &pbx.Queue{Wait: 59 * time.Second} }), "the caller was in the queue for 59 s, not at least 1 min"},
		{"queue_wait: {under: 1m}", some(func(c *pbx.Call) { c.Queue = &pbx.Queue{} }), some(nil), "the caller was in no queue"},
		{"message_left: true", other(pbx.Voicemail, left(true)), other(pbx.Voicemail, left(false)), "no message was left"},
		{"message_left: false", other(pbx.Voicemail, left(false)), other(pbx.Voicemail, left(true)), "a message was left"},
		{"message_left: false", other(pbx.Voicemail, left(false)), other(pbx.Voicemail, func(c *pbx.Call) { c.Voicemail = &pbx.Mailbox{} }), "whether a message was left is not known"},
		{"message_left: false", other(pbx.Voicemail, left(false)), some(nil), "the caller did not reach a mailbox"},
		{"open: true", some(nil), later(12 * time.Hour), "the office was closed"},
		{"open: true", some(nil), later(150 * time.Minute), "the office was closed (break)"},
		{"open: true", some(nil), later(3 * 24 * time.Hour), "the office was closed (holiday: Thanksgiving)"},
		{"open: false", later(12 * time.Hour), some(nil), "the office was open"},
		{"hours: open", some(nil), later(150 * time.Minute), "it was a break, not open"},
		{"hours: [break, holiday]", later(150 * time.Minute), some(nil), "the office was open, not break or holiday"},
		{"hours: holiday", later(3 * 24 * time.Hour), later(12 * time.Hour), "the office was closed, not holiday"},
		{"hours: closed", later(12 * time.Hour), later(3 * 24 * time.Hour), "it was a holiday: Thanksgiving, not closed"},
		{"dates: [2026-07-04, 2026-11-20..2026-11-23]", some(nil), later(14 * time.Hour), "the day is 2026-11-24, not 2026-07-04 or 2026-11-20..2026-11-23"},
		{"days: [sun, Mon]", some(nil), later(24 * time.Hour), "the day is a tue, not sun or mon"},
		{"time: [8:00-9:00, 9:30-10:01]", some(nil), later(time.Minute), "the time is 10:01, not 8:00-9:00 or 9:30-10:01"},
		{"queue: sup*", some(func(c *pbx.Call) { c.Queue = &pbx.Queue{Name: "support"} }), some(nil), "the caller was not in queue sup*"},
		{"menu: true", some(func(c *pbx.Call) { c.Menu = true }), some(nil), "no menu was heard"},
		{"menu: false", some(nil), some(func(c *pbx.Call) { c.Menu = true }), "a menu was heard"},
		{"forwarded: true", some(func(c *pbx.Call) { c.Forwarded = true }), some(nil), "the call was not forwarded"},
		{"forwarded: false", some(nil), some(func(c *pbx.Call) { c.Forwarded = true }), "the call was forwarded"},
		{"tried: [102, alice*]", some(tries("101", "Alice Desk")), some(tries("101", "Bob")), "none of the phones tried is 102 or alice*"},
		{"tried: PJSIP/101", some(tries("101", "")), some(nil), "none of the phones tried is PJSIP/101"},
		{"pbx: {NIGHT: [1, yes], \"Custom:DAYNIGHT0\": inuse}", some(state("NIGHT", "1", "Custom:DAYNIGHT0", "INUSE")), some(state("NIGHT", "1", "Custom:DAYNIGHT0", "NOT_INUSE")), "Custom:DAYNIGHT0 is NOT_INUSE at the PBX, not inuse"},
		{"pbx: {NIGHT: 1}", some(state("NIGHT", "1")), some(nil), "what NIGHT is at the PBX is not known"},
	} {
		key, _, _ := strings.Cut(c.when, ":")
		asked[key] = true
		r := readWith(t, "hours: {mon: [\"8:00-12:00\", \"13:00-17:00\"], thu: \"8:00-17:00\"}\nholidays: a.ics\nmessages: {m: \"{{.Business}}\"}\nrules: [{name: x, when: {"+c.when+"}, send: m}]\n", map[string]string{"a.ics": calendar})
		if d := r.Decide(c.yes, c.yes.Call.EndedAt); d.Rule != "x" || !d.Steps()[0].Matched {
			t.Errorf("%s does not match: %s %+v", c.when, d.Because, d.Steps())
		}
		d := r.Decide(c.no, c.no.Call.EndedAt)
		if steps := d.Steps(); d.Rule != "" || len(steps) != 1 || steps[0].Matched || steps[0].Why != c.why {
			t.Errorf("%s: %s %+v, want %q", c.when, d.Suppressed, steps, c.why)
		}
	}
	for f := range reflect.TypeFor[when]().Fields() {
		if key := f.Tag.Get("yaml"); key != "" && !asked[key] {
			t.Errorf("condition %s is not in the table", key)
		}
	}
}

func tries(extension, name string) func(*pbx.Call) {
	return func(c *pbx.Call) {
		c.Attempts = []pbx.Attempt{{Extension: "199"}, {Endpoint: "PJSIP/" + extension, Extension: extension, Name: name}}
	}
}

func state(pairs ...string) func(*pbx.Call) {
	return func(c *pbx.Call) {
		c.PBX = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			c.PBX[pairs[i]] = pairs[i+1]
		}
	}
}

// Explained decisions in one golden file, to be read as an admin would.
func TestWriteText(t *testing.T) {
	r := shipped(t)
	var b strings.Builder
	for _, x := range []struct {
		what string
		f    Facts
		now  time.Duration
	}{
		{"rang out", Facts{Call: call(pbx.RangOut, nil)}, 0},
		{"texted already, and on a line", Facts{Call: call(pbx.Declined, nil), Episode: Episode{FirstTextAt: open.Add(-time.Hour)}, OnLine: true}, 0},
		{"on a line", Facts{Call: call(pbx.Busy, nil), OnLine: true}, 0},
		{"one ring", Facts{Call: call(pbx.Abandoned, func(c *pbx.Call) { c.Ring, c.Wait = time.Second, 2*time.Second })}, 0},
		{"everything is against it", Facts{OptedOut: true, GotThrough: open.Add(time.Minute), Call: call(pbx.RangOut, func(c *pbx.Call) {
			c.Certain, c.Gaps = false, []pbx.Gap{pbx.GapAttachedLate, pbx.GapNoFinal}
			c.Caller = pbx.Caller{Raw: "101"}
		})}, time.Hour},
		{"after hours, on a holiday", Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = open.AddDate(0, 0, 32) })}, 32 * 24 * time.Hour},
		{"too many at once, by a new caller", Facts{Call: call(pbx.RangOut, nil), Spent: Spent{Minute: 10}, Down: "the provider has refused 5 texts in a row"}, 0},
		{"answered", Facts{Call: call(pbx.Answered, nil)}, 0},
		{"withheld", Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.Caller = pbx.Caller{Anonymous: true, Raw: "anonymous"} })}, 0},
	} {
		d := r.Decide(x.f, open.Add(x.now))
		d.RulesVersion = "0a1b2c3d" // does not change with each edit of the example
		fmt.Fprintf(&b, "### %s\n", x.what)
		if err := d.WriteText(&b, r.Zone()); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	// One with everything that a rule can want.
	d := reads(t, actions).Decide(Facts{Call: salesCall(nil), Contact: &Contact{FirstName: "Ana", Language: "es"}}, open)
	d.RulesVersion = "0a1b2c3d"
	b.WriteString("### with follow-ups, a task and more\n")
	if err := d.WriteText(&b, r.Zone()); err != nil {
		t.Fatal(err)
	}
	golden(t, "explained.txt", b.String())
}

func inJSON(t testing.TB, d Decision) string {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecisionJSON(t *testing.T) {
	d := shipped(t).Decide(Facts{Call: call(pbx.RangOut, nil)}, open)
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"delay_seconds":3,`, `"window_seconds":43200,`, `"fresh_seconds":900`, `"due_at":"2026-11-23T15:00:03Z"`, `"because":"rule \"rang out or declined\" says so`} {
		if !strings.Contains(string(b), part) {
			t.Errorf("%s lacks %s", b, part)
		}
	}
	var back Decision
	if err := json.Unmarshal(b, &back); err != nil || inJSON(t, back) != string(b) || len(back.Guards()) == 0 || len(back.Steps()) == 0 {
		t.Errorf("%v:\n%s\n%+v", err, b, back)
	}
}

// For random rules and calls: what decides is the first rule whose conditions
// hold, none after it is looked at, and a rule that is called dead, or impossible, never decides.
func TestFirstMatchWins(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 4))
	conditions := []string{"outcome: busy", "outcome: [rang_out, declined]", "outcome: voicemail", "outcome: [busy, unreachable, abandoned, unattended]", "reason: declined", "line: Front*", "line: [Back, Front desk]",
		"caller: +1202*", "caller: +12025550143", "not_caller: [+1202*, +1303*]", "not_caller: +1202*", "ring: {under: 5s}", "ring: {under: 10s, at_least: 2s}", "wait: {at_least: 8s}", "message_left: true", "message_left: false",
		"open: true", "open: false", "queue: \"*\"", "queue: support", "menu: true", "forwarded: false",
		"reason: [busy, not_tried]", "reason: [rang_out, caller_hung_up]", "ring: {at_least: 1s}",
		"certain: true", "anonymous: false", "internal: false", "region: [US, CA]", "region: US", "contact: [known, vip]", "contact: vip", "contact: new", "group: [pat*, staff]", "group: patients",
		"attestation: [A, none]", "attestation: none", "attempts: {at_least: 2}", "attempts: {at_least: 2, under: 4}", "queue_wait: {under: 30s}", "queue_wait: {under: 10s}",
		"hours: [closed, holiday]", "hours: closed", "dates: \"2026-11-01..2026-11-30\"", "dates: [2026-11-23, 2026-11-24]", "days: [mon, tue]", "days: mon", "time: [\"0:00-12:00\", \"13:00-20:00\"]", "time: \"9:00-11:00\"",
		"tried: [1*, Bob]", "tried: 101", "pbx: {NIGHT: [\"1\", \"0\"]}", "pbx: {NIGHT: \"1\"}", "pbx: {NIGHT: \"1\", DAY: \"*\"}"}
	dead, impossible, decided := 0, 0, 0
	for range 1500 {
		var b strings.Builder
		b.WriteString(head + "hours: {mon: \"8:00-17:00\"}\nclosed_on: [2026-11-24]\nrules:\n")
		n := 2 + rnd.IntN(7)
		for i := range n {
			keys := map[string]string{}
			for range 1 + rnd.IntN(2) {
				c := conditions[rnd.IntN(len(conditions))]
				key, _, _ := strings.Cut(c, ":")
				keys[key] = c
			}
			var list []string
			for _, c := range keys {
				list = append(list, c)
			}
			slices.Sort(list)
			fmt.Fprintf(&b, "  - {name: r%d, when: {%s}, nothing: test}\n", i, strings.Join(list, ", "))
		}
		r, rep := readAll("rules.yaml", []byte(b.String()), nil)
		never := map[string]bool{}
		for _, p := range rep.Problems {
			if name, _, ok := strings.Cut(strings.TrimPrefix(p.Text, "rule \""), "\" is never reached"); ok {
				never[name] = true
				dead++
			}
		}
		cannot := map[int]bool{} // by line
		for _, p := range rep.Problems {
			for _, says := range []string{"cannot match", "nothing is left to match", "never has reason", "only a call with outcome voicemail"} {
				if strings.Contains(p.Text, says) && !cannot[p.Line] {
					cannot[p.Line] = true
					impossible++
				}
			}
		}
		for range 30 {
			c := call(pbx.Outcomes[1+rnd.IntN(len(pbx.Outcomes)-2)], nil)
			if c.Outcome == pbx.Voicemail {
				c.Voicemail, c.Reason = &pbx.Mailbox{}, pbx.Reasons[rnd.IntN(len(pbx.Reasons))]
				if left := rnd.IntN(2) == 0; rnd.IntN(3) > 0 {
					c.Voicemail.MessageLeft = &left
				}
			}
			c.Line.Name = []string{"Front desk", "Back", ""}[rnd.IntN(3)]
			c.Caller.Number = []string{"+12025550143", "+12025550144", "+13035550143", "+12125550143"}[rnd.IntN(4)]
			c.Ring, c.Wait = time.Duration(rnd.IntN(12))*time.Second, time.Duration(rnd.IntN(12))*time.Second
			if !(kind{c.Outcome, c.Reason}).rang() {
				c.Ring = 0
			}
			c.EndedAt = open.Add(time.Duration(rnd.IntN(24)+24*rnd.IntN(2)*rnd.IntN(12)) * time.Hour)
			if rnd.IntN(3) == 0 {
				c.Queue = &pbx.Queue{Name: []string{"support", "sales"}[rnd.IntN(2)]}
			}
			c.Menu, c.Forwarded = rnd.IntN(2) == 0, rnd.IntN(2) == 0
			if c.Queue != nil {
				c.Queue.Wait = time.Duration(rnd.IntN(40)) * time.Second
			}
			c.Certain, c.Caller.Attestation = rnd.IntN(4) > 0, []string{"", "A", "B"}[rnd.IntN(3)]
			c.Caller.Anonymous = rnd.IntN(9) == 0
			if rnd.IntN(2) == 0 {
				c.Attempts = []pbx.Attempt{{Extension: []string{"101", "102", "201"}[rnd.IntN(3)], Name: []string{"", "Bob"}[rnd.IntN(2)]}}
				c.PBX = map[string]string{"NIGHT": []string{"0", "1"}[rnd.IntN(2)]}
			}
			f := Facts{Call: c, Known: rnd.IntN(2) == 0, Episode: Episode{Calls: rnd.IntN(5)}}
			if rnd.IntN(2) == 0 {
				f.Contact = &Contact{VIP: rnd.IntN(2) == 0, Groups: [][]string{nil, {"patients"}, {"staff", "x"}}[rnd.IntN(3)]}
			}
			d := r.Decide(f, c.EndedAt)
			first := slices.IndexFunc(r.file.Rules, func(ru rule) bool { return (&asked{r: r, f: f, office: r.office}).against(&ru.When) == none })
			switch {
			case first < 0:
				if d.Rule != "" || len(d.Steps()) != n || d.Suppressed != NoRule && c.Certain && !c.Caller.Anonymous {
					t.Fatalf("none holds, %q decides of\n%s", d.Rule, b.String())
				}
			case d.Rule != r.file.Rules[first].Name || len(d.Steps()) != first+1 || !d.Steps()[first].Matched:
				t.Fatalf("%q decides, want rule %d of\n%s", d.Rule, first, b.String())
			case cannot[d.RuleLine]:
				t.Fatalf("%q decides about %+v and was said to match nothing in\n%s", d.Rule, c, b.String())
			case never[d.Rule]:
				t.Fatalf("%q decides about %+v and was called dead in\n%s", d.Rule, c, b.String())
			default:
				decided++
			}
		}
	}
	if dead < 20 || impossible < 20 || decided < 1000 {
		t.Errorf("only %d dead and %d impossible rules and %d decisions: the property is hardly tested", dead, impossible, decided)
	}
}

func TestGapsHaveWords(t *testing.T) {
	for _, g := range pbx.Gaps {
		if gaps[g] == "" {
			t.Errorf("%s has no words", g)
		}
	}
	if len(gaps) != len(pbx.Gaps) {
		t.Error("words for a gap that does not exist")
	}
}

// One Rules serves many at once.
func TestAtOnce(t *testing.T) {
	r := shipped(t)
	f := Facts{Call: call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = open.Add(9 * time.Hour) })}
	d := r.Decide(f, f.Call.EndedAt)
	want := inJSON(t, d)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if got, again := inJSON(t, r.Decide(f, f.Call.EndedAt)), inJSON(t, d); got != want || again != want {
					t.Errorf("%s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
