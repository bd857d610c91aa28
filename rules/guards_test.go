package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"textback/pbx"
)

const one = "messages: {m: \"{{.Business}}\"}\nrules: [{send: m}]\n"

// Budgets, by what rules.yaml says and what is spent.
func TestBudgets(t *testing.T) {
	for _, c := range []struct {
		guards      string
		attestation string
		spent       Spent
		want        string // what Recheck says
	}{
		{"", "", Spent{Caller: 2, Prefix: 4, Minute: 9, DaySegments: 199, DayMoney: 1e12}, ""},
		{"", "", Spent{Caller: 3}, BudgetCaller},
		{"", "", Spent{Prefix: 5}, BudgetPrefix},
		{"", "", Spent{Minute: 10}, BudgetMinute},
		{"", "", Spent{DaySegments: 200}, BudgetDay},
		{"", "C", Spent{}, ""},
		{"", "C", Spent{Caller: 1}, BudgetCaller},
		{"", "c", Spent{Prefix: 2}, BudgetPrefix},
		{"", "C", Spent{Minute: 3}, BudgetMinute},
		{"", "B", Spent{Caller: 1, Prefix: 2, Minute: 3}, ""},
		{"", "A", Spent{Caller: 1, Prefix: 2, Minute: 3}, ""},
		{"", "", Spent{Caller: 1, Prefix: 2, Minute: 3}, ""}, // most PBXs do not say
		{"weak_attestation: {absent: true}", "", Spent{Caller: 1}, BudgetCaller},
		{"weak_attestation: {absent: true}", "A", Spent{Caller: 1}, ""},
		{"weak_attestation: {per_caller: off}", "C", Spent{Caller: 2}, ""},
		{"weak_attestation: {per_caller: off}", "C", Spent{Caller: 3}, BudgetCaller}, // those for all still hold
		{"weak_attestation: {per_caller: 9}", "C", Spent{Caller: 3}, BudgetCaller},
		{"budgets: {per_caller: off}, weak_attestation: {per_caller: off}", "C", Spent{Caller: 1000}, ""},
		{"budgets: {per_caller: 0}", "", Spent{}, BudgetCaller},
		{"budgets: {per_prefix: 0}", "", Spent{}, BudgetPrefix},
		{"budgets: {per_minute: 0}", "", Spent{}, BudgetMinute},
		{"budgets: {segments_per_day: 0}", "", Spent{}, BudgetDay},
		{"budgets: {per_caller: off, per_prefix: \"off\", per_minute: off, segments_per_day: off}", "", Spent{Caller: 1e6, Prefix: 1e6, Minute: 1e6, DaySegments: 1e6}, ""},
		{"budgets: {money_per_day: 1.00}, prices: {US: 0.4}", "", Spent{DayMoney: 600_000}, ""},
		{"budgets: {money_per_day: 1.00}, prices: {US: 0.4}", "", Spent{DayMoney: 600_001}, BudgetMoney},
		{"budgets: {money_per_day: 1}, prices: {CA: 0.1, default: 0.4}", "", Spent{DayMoney: 600_001}, BudgetMoney},
		{"budgets: {money_per_day: 0}, prices: {default: 0.000001}", "", Spent{}, BudgetMoney},
		{"budgets: {money_per_day: off}, prices: {default: 0.4}", "", Spent{DayMoney: 1e12}, ""},
	} {
		yaml := one
		if c.guards != "" {
			yaml += "guards: {" + c.guards + "}\n"
		}
		r := read(t, yaml)
		f := Facts{Call: call(pbx.RangOut, func(x *pbx.Call) { x.Caller.Attestation = c.attestation }), Spent: c.spent}
		if got, because := r.Recheck(f, open); got != c.want {
			t.Errorf("%s with %+v and attestation %q: %q (%s), want %q", c.guards, c.spent, c.attestation, got, because, c.want)
		}
		d := r.Decide(f, open)
		if d.Send != (c.want == "" || Waits(c.want)) || !d.Send && d.Suppressed != c.want {
			t.Errorf("%s with %+v and attestation %q: %q because %s", c.guards, c.spent, c.attestation, d.Suppressed, d.Because)
		}
	}
}

// The text's own size counts.
func TestBudgetsCountTheText(t *testing.T) {
	r := read(t, "guards: {budgets: {segments_per_day: 10, money_per_day: 1.00}, prices: {US: 0.10}}\nmessages: {m: \"{{.Business}} "+strings.Repeat("x", 200)+"\"}\nrules: [{send: m}]\n")
	f := Facts{Call: call(pbx.RangOut, nil), Spent: Spent{DaySegments: 8, DayMoney: 800_000}}
	if d := r.Decide(f, open); !d.Send || d.Segments != 2 || d.Cost != 200_000 {
		t.Errorf("%+v %s", d, d.Because)
	}
	f.Spent.DaySegments = 9
	if d := r.Decide(f, open); d.Suppressed != BudgetDay {
		t.Errorf("%q", d.Suppressed)
	}
	f.Spent = Spent{DayMoney: 800_001}
	if d := r.Decide(f, open); d.Suppressed != BudgetMoney || d.Because != "0.800001 of 1.00 are spent today, and this text costs 0.20" {
		t.Errorf("%q %s", d.Suppressed, d.Because)
	}
	// When it is due, its size is the planned text's.
	f.Spent, f.Text = Spent{DaySegments: 9}, &DueText{Segments: 1}
	if why, _ := r.Recheck(f, open); why != "" {
		t.Error(why)
	}
	f.Text.Segments = 2
	if why, _ := r.Recheck(f, open); why != BudgetDay {
		t.Error(why)
	}
}

// Quiet hours bind follow-ups and what leaves long after the call; strict ones
// bind all. They are those of every zone the number may be in.
func TestQuietHours(t *testing.T) {
	evening := time.Date(2026, 11, 24, 0, 59, 0, 0, time.UTC) // 19:59 in New York, 16:59 in Los Angeles, 14:59 in Honolulu
	for _, c := range []struct {
		yaml, number string
		delay        time.Duration
		at           time.Time
		want         string
	}{
		{"", "+12025550143", 0, evening.Add(2 * time.Hour), ""},                            // at night, at once
		{"", "+12025550143", 5 * time.Minute, evening.Add(2 * time.Hour), ""},              // just so
		{"", "+12025550143", 5*time.Minute + time.Second, evening.Add(time.Hour), "quiet"}, // later than after_call
		{"", "+12025550143", 10 * time.Minute, evening, "quiet"},                           // it would leave at 20:09
		{"", "+13105550143", 10 * time.Minute, evening, ""},                                // in Los Angeles it is afternoon
		{"", "+13105550143", 10 * time.Minute, evening.Add(14 * time.Hour), "quiet"},       // and early morning then
		{"quiet_hours: {strict: true}", "+12025550143", 0, evening, ""},
		{"quiet_hours: {strict: true}", "+12025550143", 0, evening.Add(time.Minute), "quiet"},
		{"quiet_hours: {strict: true}", "+12025550143", time.Minute, evening, "quiet"}, // leaves at 20:00
		{"quiet_hours: {strict: true, texts: \"9:00-21:00\"}", "+12025550143", time.Minute, evening, ""},
		{"quiet_hours: {strict: true, texts: \"0:00-24:00\"}", "+12025550143", 0, evening.Add(6 * time.Hour), ""},
		{"quiet_hours: {after_call: 0s}", "+12025550143", 0, evening.Add(6 * time.Hour), ""},
		{"quiet_hours: {after_call: 0s}", "+12025550143", time.Second, evening.Add(6 * time.Hour), "quiet"},
		{"quiet_hours: {strict: true}", "+16055550143", 0, time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC), "quiet"}, // South Dakota: 8:30 in the east, 7:30 in the west
		{"quiet_hours: {strict: true}", "+16055550143", 0, time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC), ""},
	} {
		yaml := one
		if c.yaml != "" {
			yaml += "guards: {" + c.yaml + "}\n"
		}
		yaml = strings.Replace(yaml, "send: m}", fmt.Sprintf("send: m, delay: %s}", c.delay), 1)
		r := read(t, yaml)
		f := Facts{Call: call(pbx.RangOut, func(x *pbx.Call) { x.Caller.Number, x.EndedAt = c.number, c.at })}
		d := r.Decide(f, c.at)
		if got := d.Suppressed == QuietHours; got != (c.want != "") || !got && !d.Send {
			t.Errorf("%s %s +%s at %s: %q because %s", c.yaml, c.number, c.delay, c.at, d.Suppressed, d.Because)
		}
		if why, because := r.Recheck(f, c.at.Add(c.delay)); (why == QuietHours) != (c.want != "") {
			t.Errorf("%s %s +%s at %s, when due: %q because %s", c.yaml, c.number, c.delay, c.at, why, because)
		}
		// A follow-up is always bound.
		f.Text = &DueText{FollowUp: true, DueAt: c.at.Add(c.delay), PlannedAt: c.at}
		if why, _ := r.Recheck(f, c.at.Add(c.delay)); c.want != "" && why != QuietHours {
			t.Errorf("%s %s +%s at %s: a follow-up leaves (%q)", c.yaml, c.number, c.delay, c.at, why)
		}
	}
	r := read(t, one)
	f := Facts{Call: call(pbx.RangOut, func(x *pbx.Call) { x.EndedAt = evening }), Text: &DueText{FollowUp: true, DueAt: evening.Add(time.Minute), PlannedAt: evening}}
	if why, because := r.Recheck(f, evening.Add(time.Minute)); why != QuietHours || because != "it is 20:00 in America/New_York, where the number may be, and texts leave between 8:00 and 20:00" {
		t.Errorf("%q %s", why, because)
	}
}

// What is asked again when a text is due, and of follow-ups only.
func TestRecheck(t *testing.T) {
	r := read(t, one)
	due := open.Add(2 * time.Hour) // of the follow-up: long after the call
	for _, c := range []struct {
		what string
		f    func(*Facts)
		now  time.Time
		want string
	}{
		{"due", func(f *Facts) {}, due, ""},
		{"the timer was early", func(f *Facts) {}, due.Add(-time.Second), ""},
		{"late", func(f *Facts) {}, due.Add(15 * time.Minute), ""},
		{"too late", func(f *Facts) {}, due.Add(15*time.Minute + time.Second), Stale},
		{"replied", func(f *Facts) { f.Replied = open.Add(time.Hour) }, due, Replied},
		{"replied before it was planned", func(f *Facts) { f.Replied = open }, due, ""},
		{"called back", func(f *Facts) { f.CalledBack = open.Add(time.Hour) }, due, CalledBack},
		{"called back before it was planned", func(f *Facts) { f.CalledBack = open.Add(-time.Hour) }, due, ""},
		{"got through", func(f *Facts) { f.GotThrough = open.Add(time.Hour) }, due, Reached},
		{"stop", func(f *Facts) { f.OptedOut = true }, due, SaidStop},
		{"on a line", func(f *Facts) { f.OnLine = true }, due, OnLine},
		{"down, and stop", func(f *Facts) { f.Down, f.OptedOut = "x", true }, due, SaidStop},
		{"down, and got through", func(f *Facts) { f.Down, f.GotThrough = "x", open.Add(time.Hour) }, due, Reached}, // no use in waiting
		{"down, and on a line", func(f *Facts) { f.Down, f.OnLine = "x", true }, due, Breaker},
		{"a duplicate", func(f *Facts) { f.Episode.FirstTextAt = open }, due, ""},
	} {
		f := Facts{Call: call(pbx.RangOut, nil), Text: &DueText{FollowUp: true, DueAt: due, PlannedAt: open.Add(time.Second), Segments: 1}}
		c.f(&f)
		if got, because := r.Recheck(f, c.now); got != c.want || (because == "") != (got == "") {
			t.Errorf("%s: %q because %q, want %q", c.what, got, because, c.want)
		}
	}
	// The first text itself: stale after its call, and replies do not count.
	f := Facts{Call: call(pbx.RangOut, nil), Text: &DueText{DueAt: open.Add(3 * time.Second), PlannedAt: open, Segments: 1}, Replied: open.Add(time.Second)}
	if got, because := r.Recheck(f, open.Add(15*time.Minute)); got != QuietHours && got != "" {
		t.Errorf("%q %s", got, because)
	}
	if got, _ := r.Recheck(f, open.Add(16*time.Minute)); got != Stale {
		t.Error(got)
	}
	// A call back counts from the call's end, whether it is heard of when the text is due or before.
	f.CalledBack = f.Call.EndedAt
	if got, _ := r.Recheck(f, open.Add(time.Minute)); got == CalledBack {
		t.Error(got)
	}
	f.CalledBack = f.Call.EndedAt.Add(time.Second)
	if got, because := r.Recheck(f, open.Add(time.Minute)); got != CalledBack || because == "" {
		t.Error(got, because)
	}
	if d := r.Decide(Facts{Call: f.Call, CalledBack: f.CalledBack}, open.Add(time.Minute)); d.Send || d.Suppressed != CalledBack {
		t.Errorf("%+v", d)
	}
}

// What comes too late for a text is owed a callback, where nothing but time stands against it.
func TestOwed(t *testing.T) {
	r := read(t, `
staff: {reception: {email: desk@example.com}, boss: {email: boss@example.com}}
messages: {m: "{{.Business}}"}
rules:
  - {when: {outcome: busy}, nothing: as we like}
  - {when: {outcome: declined}, send: m, task: {owner: boss, within: 2h}}
  - {when: {outcome: abandoned}, nothing: as we like, task: {owner: boss, within: 2h}}
  - {when: {outcome: voicemail}, send: m, follow_ups: [{after: 1h, assign: boss, within: 1h}]}
  - {when: {outcome: unreachable}, send: m}
  - {send: m, notify: [reception]}
`)
	owes := func(owner string, in time.Duration) string { return fmt.Sprint(owner, " ", in) }
	for _, c := range []struct {
		what    string
		outcome pbx.Outcome
		late    time.Duration
		change  func(f *Facts)
		want    string
	}{
		{"in time", pbx.RangOut, time.Minute, nil, ""},
		{"late", pbx.RangOut, time.Hour, nil, owes("reception", OwedWithin)},
		{"a weekend later", pbx.RangOut, 62 * time.Hour, nil, owes("reception", OwedWithin)},
		{"a week later", pbx.RangOut, 7 * 24 * time.Hour, nil, ""},
		{"nobody is named", pbx.Unreachable, time.Hour, nil, owes("", OwedWithin)},
		{"the follow-up's owner", pbx.Voicemail, time.Hour, nil, owes("boss", OwedWithin)},
		{"the rule's own task", pbx.Declined, time.Hour, nil, owes("boss", 2*time.Hour)},
		{"a task without a text", pbx.Abandoned, time.Hour, nil, owes("boss", 2*time.Hour)},
		{"a task whatever stands against a text", pbx.Declined, time.Hour, func(f *Facts) { f.OptedOut = true }, owes("boss", 2*time.Hour)},
		{"no text was wanted", pbx.Busy, time.Hour, nil, ""},
		{"opted out", pbx.RangOut, time.Hour, func(f *Facts) { f.OptedOut = true }, ""},
		{"got through", pbx.RangOut, time.Hour, func(f *Facts) { f.GotThrough = open.Add(time.Minute) }, ""},
		{"got through, with a task", pbx.Declined, time.Hour, func(f *Facts) { f.GotThrough = open.Add(time.Minute) }, ""},
		{"called back", pbx.RangOut, time.Hour, func(f *Facts) { f.CalledBack = open.Add(time.Minute) }, ""},
		{"not certain", pbx.Declined, time.Hour, func(f *Facts) { f.Call.Certain = false }, ""},
		{"texted before", pbx.RangOut, time.Hour, func(f *Facts) { f.Episode.FirstTextAt = open.Add(-time.Minute) }, ""},
		{"the day's budget", pbx.RangOut, time.Minute, func(f *Facts) { f.Spent.DaySegments = 200 }, owes("reception", OwedWithin)},
		{"the day's budget, opted out", pbx.RangOut, time.Minute, func(f *Facts) { f.Spent.DaySegments, f.OptedOut = 200, true }, ""},
	} {
		f := Facts{Call: call(c.outcome, nil)}
		if c.change != nil {
			c.change(&f)
		}
		now, got := open.Add(c.late), ""
		d := r.Decide(f, now)
		if d.Owed != nil {
			got = owes(d.Owed.Owner, d.Owed.Deadline.Sub(now))
		}
		if got != c.want {
			t.Errorf("%s: owed %q, want %q (%s)", c.what, got, c.want, d.Because)
		}
	}
}

// somebody are random facts; a caller of the shipped kind more often than not.
func somebody(rnd *rand.Rand) (Facts, time.Time) {
	pick := func(n int) bool { return rnd.IntN(n) == 0 }
	c := call(pbx.Outcomes[1+rnd.IntN(len(pbx.Outcomes)-2)], nil)
	if pick(9) {
		c.Outcome = pbx.Outcomes[rnd.IntN(len(pbx.Outcomes))]
	}
	c.Certain = !pick(9)
	c.Caller.Anonymous = pick(12)
	c.Caller.Number = []string{"+12025550143", "+13105550143", "+18085550143", "+16055550143", "+442079460123", "+18005550123", "", "+1", c.Line.Number}[rnd.IntN(9)*rnd.IntN(2)]
	c.Caller.Attestation = []string{"", "A", "B", "C", "failed"}[rnd.IntN(5)*rnd.IntN(2)]
	c.Ring, c.Wait = time.Duration(rnd.IntN(30))*time.Second, time.Duration(rnd.IntN(60))*time.Second
	c.EndedAt = open.Add(time.Duration(rnd.IntN(7*24*60)) * time.Minute)
	if pick(3) {
		left(pick(2))(c)
	}
	f := Facts{Call: c, OptedOut: pick(12), OnLine: pick(9), Known: pick(2)}
	if pick(2) {
		f.Contact = &Contact{FirstName: "Ann", VIP: pick(3), Blocked: pick(9), DoNotText: pick(9), Language: []string{"", "en", "es"}[rnd.IntN(3)]}
	}
	if pick(9) {
		f.GotThrough = c.EndedAt.Add(time.Duration(rnd.IntN(100)-50) * time.Second)
	}
	if pick(6) {
		f.Episode.FirstTextAt = c.EndedAt.Add(-time.Duration(rnd.IntN(24)) * time.Hour)
	}
	if pick(3) {
		f.Spent = Spent{rnd.IntN(5), rnd.IntN(8), rnd.IntN(14), rnd.IntN(220), Money(rnd.IntN(6_000_000))}
	}
	if pick(12) {
		f.Down = "the provider does not answer"
	}
	if pick(12) {
		f.Machine = "a short code"
	}
	return f, c.EndedAt.Add(time.Duration(rnd.IntN(17)) * time.Minute)
}

// worse are facts that speak against a text more than they did. Each changes one thing.
var worse = []func(f *Facts){
	func(f *Facts) { f.OptedOut = true },
	func(f *Facts) { f.OnLine = true },
	func(f *Facts) { f.GotThrough = f.Call.EndedAt.Add(time.Minute) },
	func(f *Facts) { f.Machine = "it answers at once" },
	func(f *Facts) { f.Down = "no credit" },
	func(f *Facts) { f.Contact = &Contact{Blocked: true} },
	func(f *Facts) { f.Contact = &Contact{DoNotText: true} },
	func(f *Facts) { f.Spent.Caller++ },
	func(f *Facts) { f.Spent.Prefix++ },
	func(f *Facts) { f.Spent.Minute++ },
	func(f *Facts) { f.Spent.DaySegments += 7 },
	func(f *Facts) { f.Spent.DayMoney += 50_000 },
	func(f *Facts) { f.Call.Certain = false },
	func(f *Facts) { f.Call.Caller.Anonymous = true },
	func(f *Facts) { f.Call.Caller.Attestation = "failed" },
	func(f *Facts) { f.Call.Caller.Number = "+442079460123" },
	func(f *Facts) { f.Call.Caller.Number = f.Call.Line.Number },
	func(f *Facts) { f.Call.Caller.Number = "" },
	func(f *Facts) { f.Call.Outcome = pbx.Answered },
	func(f *Facts) { f.Episode.FirstTextAt = f.Call.EndedAt },
}

// tighter are guards, each of them a line more in rules.yaml than the one with the same key before.
var tighter = []string{
	"quiet_hours: {strict: true}", "quiet_hours: {after_call: 0s}", "quiet_hours: {texts: \"10:00-16:00\"}", "budgets: {per_caller: 0}", "budgets: {per_prefix: 1}", "budgets: {per_minute: 2}",
	"budgets: {segments_per_day: 100}", "budgets: {money_per_day: 2.00}, prices: {default: 0.05}", "weak_attestation: {absent: true}", "weak_attestation: {per_caller: 0}",
}

// A text never leaves when any guard says no, whatever the order in which they
// are asked; a guard more, or a fact worse, never makes a text of none.
func TestGuardProperties(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	base := `
language: en
hours: {mon: "8:00-17:00", tue: "8:00-17:00", wed: "8:00-17:00", thu: "8:00-17:00", fri: "8:00-13:00"}
messages: {m: {en: "{{.Business}}{{with .NextOpening}} {{.}}{{end}}", es: "{{.Business}} {{.Name}}"}}
rules:
  - {when: {contact: vip}, send: m, delay: 0s}
  - {when: {contact: blocked}, send: m}
  - {when: {attestation: [failed, C], outcome: busy}, send: m}
  - {when: {certain: false, outcome: declined}, send: m}
  - {when: {anonymous: true}, send: m}
  - {when: {outcome: voicemail, message_left: true}, nothing: a mailbox}
  - {when: {contact: new, outcome: abandoned}, nothing: x}
  - {when: {open: false}, send: m, delay: 6m}
  - {send: m, window: 6h}
`
	loose := read(t, base)
	var strict []*Rules
	for _, g := range tighter {
		strict = append(strict, read(t, base+"guards: {"+g+"}\n"))
	}
	strict = append(strict, read(t, base+"number_types: [mobile]\n"), read(t, base+"regions: [CA]\n"), read(t, base+"defaults: {fresh: 10m}\n"))
	sent, kept, changed := 0, 0, 0
	for range 1500 {
		f, now := somebody(rnd)
		d := loose.Decide(f, now)
		against, names := false, rnd.Perm(len(guardNames))
		fresh := &asked{r: loose, f: f, now: now, office: loose.office, fresh: d.Fresh, window: d.Window, leaves: d.DueAt, size: max(d.Segments, 1), cost: d.Cost}
		for _, i := range names { // in any order, by somebody who has asked nothing yet
			ok := fresh.ok(guardNames[i])
			if against = against || !ok && !Waits(guardNames[i]); ok != (d.asked.no&(1<<i) == 0) {
				t.Fatalf("%s depends on the order (seed %d): %+v", guardNames[i], seed, f)
			}
		}
		sends := d.asked.matched != nil && d.asked.matched.msg != nil
		if d.Send != (sends && !against) || d.Send != (d.Suppressed == "") || d.Send && d.Body == "" || d.Because == "" {
			t.Fatalf("sent %v, a guard stands against it: %v (seed %d): %+v %+v", d.Send, against, seed, f, d)
		}
		f.Text = &DueText{DueAt: d.DueAt, PlannedAt: now, Segments: max(d.Segments, 1), FollowUp: rnd.IntN(2) == 0}
		if why, because := loose.Recheck(f, now); (why == "") != (because == "") || why == "" && against && d.Suppressed != Duplicate && d.Suppressed != QuietHours && !(d.Suppressed == Stale && f.Text.FollowUp) {
			t.Fatalf("due, and %q says nothing (seed %d): %+v", d.Suppressed, seed, f)
		}
		f.Text = nil
		if d.Send {
			sent++
		}
		for i, r := range strict {
			if s := r.Decide(f, now); s.Send && !d.Send {
				t.Fatalf("a guard more (%d) makes a text of none (%s) (seed %d): %+v", i, d.Because, seed, f)
			} else if s.Send != d.Send {
				changed++
			} else if s.Send {
				kept++
			}
		}
		for i, w := range worse {
			bad, c := f, *f.Call
			bad.Call = &c
			w(&bad)
			if s := loose.Decide(bad, now); s.Send && !d.Send {
				t.Fatalf("a fact worse (%d) makes a text of none (%s) (seed %d): %+v", i, d.Because, seed, bad)
			}
		}
	}
	if sent < 100 || kept < 100 || changed < 100 {
		t.Errorf("%d texts, %d kept and %d taken away by guards: the property is hardly tested", sent, kept, changed)
	}
}
