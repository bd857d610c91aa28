package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/pbx"
)

// Whatever rules there are: of a rule that is said never to be reached, no call is decided by it, and no call
// with a value that is said never to come to a rule does.
func TestNeverReached(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	some := func(words ...string) string {
		rnd.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		return strings.Join(words[:1+rnd.IntN(len(words))], ", ")
	}
	conditions := []func() string{
		func() string {
			return "outcome: [" + some("voicemail", "abandoned", "declined", "rang_out", "busy") + "]"
		},
		func() string { return "reason: [" + some("declined", "rang_out", "busy", "caller_hung_up") + "]" },
		func() string { return "hours: [" + some("open", "closed", "holiday", "break") + "]" },
		func() string { return fmt.Sprintf("open: %v", rnd.IntN(2) == 0) },
		func() string { return "days: [" + some("mon", "tue", "wed", "thu", "fri", "sat", "sun") + "]" },
		func() string { return fmt.Sprintf("ring: {at_least: %ds}", rnd.IntN(3)*5) },
		func() string { return fmt.Sprintf("ring: {under: %ds}", 5+rnd.IntN(3)*5) },
		func() string { return "contact: [" + some("new", "known", "vip", "blocked") + "]" },
		func() string { return fmt.Sprintf("attempts: {at_least: %d}", 1+rnd.IntN(3)) },
		func() string { return "caller: [" + some(`"+1202*"`, `"+1212*"`, `"+12025550143"`) + "]" },
		func() string { return `not_caller: "+1212*"` },
		func() string { return fmt.Sprintf("menu: %v", rnd.IntN(2) == 0) },
		func() string { return fmt.Sprintf("anonymous: %v", rnd.IntN(2) == 0) },
		func() string { return fmt.Sprintf("forwarded: %v", rnd.IntN(2) == 0) },
		func() string { return "group: staff" },
		func() string { return "time: [" + some(`"8:00-12:00"`, `"9:00-11:00"`, `"10:00-17:00"`) + "]" },
		func() string {
			return "dates: [" + some(`"2026-11-20..2026-11-30"`, `"2026-11-24"`, `"2026-12-25"`) + "]"
		},
	}
	dead, gone := 0, 0
	for range 200 {
		var b strings.Builder
		b.WriteString("version: 1\nbusiness: {name: X}\ntimezone: UTC\nhours: {mon: [\"8:00-12:00\", \"13:00-17:00\"], tue: \"8:00-17:00\", sat: \"9:00-12:00\"}\nclosed_on: 2026-11-25\nrules:\n")
		n := 3 + rnd.IntN(6)
		for i := range n {
			used := map[string]bool{}
			var when []string
			for range rnd.IntN(3) {
				c := conditions[rnd.IntN(len(conditions))]()
				if key, _, _ := strings.Cut(c, ":"); !used[key] {
					used[key] = true
					when = append(when, c)
				}
			}
			if len(when) == 0 {
				when = append(when, conditions[0]())
			}
			fmt.Fprintf(&b, "  - {name: r%d, when: {%s}, nothing: test %d}\n", i, strings.Join(when, ", "), i)
		}
		r, rep := readAll("rules.yaml", []byte(b.String()), nil)
		never := map[string]bool{}
		for _, p := range rep.Problems {
			if name, _, ok := strings.Cut(strings.TrimPrefix(p.Text, `rule "`), `" is never reached`); ok {
				never[name] = true
			}
		}
		dead += len(never)
		type value struct{ rule, key, word string }
		lost := map[value]bool{}
		for _, p := range r.Lint(theDay, Seen{}) {
			var v value
			if _, err := fmt.Sscanf(p.Text, "no call with %s %s comes to rule %q", &v.key, &v.word, &v.rule); err == nil && v.key != "caller" {
				lost[v] = true
			}
		}
		gone += len(lost)
		for range 300 {
			k := kinds[rnd.IntN(len(kinds))]
			c := call(k.outcome, func(c *pbx.Call) {
				c.Reason = k.reason
				c.Ring = time.Duration(rnd.IntN(20)) * time.Second
				if !k.rang() {
					c.Ring = 0
				}
				c.EndedAt = time.Date(2026, 11, 20+rnd.IntN(14), rnd.IntN(24), rnd.IntN(60), 0, 0, time.UTC)
				c.Caller.Number = []string{"+12025550143", "+12025550144", "+12125550199", "+13105550100"}[rnd.IntN(4)]
				c.Menu, c.Forwarded, c.Caller.Anonymous = rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0
			})
			f := Facts{Call: c, Known: rnd.IntN(2) == 0, Episode: Episode{Calls: rnd.IntN(4)}}
			if rnd.IntN(3) == 0 {
				f.Contact = &Contact{VIP: rnd.IntN(2) == 0, Blocked: rnd.IntN(2) == 0, Groups: []string{"staff", "friends"}[rnd.IntN(2):][:1]}
			}
			d := r.Decide(f, c.EndedAt)
			if never[d.Rule] {
				t.Fatalf("rule %s is said never to be reached, and decides about %+v with %+v:\n%s", d.Rule, *c, f, b.String())
			}
			hours := r.office.hours.at(c.EndedAt)
			for _, v := range []value{{d.Rule, "outcome", string(c.Outcome)}, {d.Rule, "reason", string(c.Reason)}, {d.Rule, "hours", hours},
				{d.Rule, "days", weekdays[c.EndedAt.Weekday()]}} {
				if lost[v] {
					t.Fatalf("no call with %s %s is said to come to rule %s, and %+v does:\n%s", v.key, v.word, v.rule, *c, b.String())
				}
			}
		}
	}
	if dead < 20 || gone < 20 {
		t.Errorf("only %d dead rules and %d values: hardly tested", dead, gone)
	}
}

// What is known of a caller, and yes and no, leave no call to a rule below.
func TestDead(t *testing.T) {
	for _, c := range []struct {
		above []string
		rule  string
		dead  bool
	}{
		{[]string{"contact: known"}, "contact: vip", true},
		{[]string{"contact: known"}, "contact: [vip, blocked]", true},
		{[]string{"contact: known"}, "contact: [vip, new]", false},
		{[]string{"contact: vip"}, "contact: known", false},
		{[]string{"contact: known"}, "group: friends", true},
		{[]string{"contact: known"}, "attempts: {at_least: 2}", true},
		{[]string{"contact: known"}, "attempts: {at_least: 1}", false},
		{[]string{"contact: new"}, "contact: known", false},
		{[]string{"contact: [new, known]"}, "menu: true", true},
		{[]string{"contact: new", "contact: known"}, "menu: true", true},
		{[]string{"contact: new", "contact: vip"}, "menu: true", false},
		{[]string{"anonymous: true", "anonymous: false"}, "outcome: busy", true},
		{[]string{"anonymous: true", "anonymous: false"}, "", true},
		{[]string{"anonymous: true", "anonymous: false, outcome: busy"}, "outcome: busy", true},
		{[]string{"anonymous: true", "anonymous: false, outcome: busy"}, "outcome: [busy, declined]", false},
		{[]string{"anonymous: true", "menu: true"}, "outcome: busy", false},
		{[]string{"menu: true, forwarded: true", "menu: true, forwarded: false", "menu: false"}, "outcome: busy", true},
		{[]string{"menu: true, forwarded: true", "menu: false, forwarded: false"}, "outcome: busy", false},
		{[]string{"message_left: true", "message_left: false"}, "outcome: voicemail", false}, // it may not be known
	} {
		y := "version: 1\nbusiness: {name: X}\ntimezone: UTC\nrules:\n"
		for _, w := range append(slices.Clone(c.above), c.rule) {
			if y += "  - {nothing: x"; w != "" {
				y += ", when: {" + w + "}"
			}
			y += "}\n"
		}
		_, problems := Parse("rules.yaml", []byte(y))
		dead := slices.ContainsFunc(problems, func(p Problem) bool {
			return strings.HasPrefix(p.Text, fmt.Sprintf(`rule "rule %d" is never reached`, len(c.above)+1))
		})
		if dead != c.dead || len(problems) > 1 || len(problems) == 1 && !dead {
			t.Errorf("%q under %q: dead %v, want %v (%v)", c.rule, c.above, dead, c.dead, problems)
		}
	}
}

// Where two rules are said to overlap there is a call that fulfils the conditions of both.
func TestMeet(t *testing.T) {
	rules := func(a, b string) (*when, *when) {
		r, rep := readAll("rules.yaml", []byte("version: 1\nbusiness: {name: X}\ntimezone: UTC\nhours: {mon: \"8:00-12:00\"}\nrules:\n  - {when: {"+a+"}, nothing: x}\n  - {when: {"+b+"}, nothing: y}\n"), nil)
		if slices.ContainsFunc(rep.Problems, func(p Problem) bool { return !strings.Contains(p.Text, "never reached") }) {
			t.Fatal(rep.Problems)
		}
		return &r.file.Rules[0].When, &r.file.Rules[1].When
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"outcome: busy", "outcome: [busy, declined]", true},
		{"outcome: busy", "outcome: declined", false},
		{"ring: {under: 5s}", "ring: {at_least: 5s}", false},
		{"ring: {under: 6s}", "ring: {at_least: 5s}", true},
		{"attempts: {under: 3}", "attempts: {at_least: 3}", false},
		{"attempts: {under: 4}", "attempts: {at_least: 3}", true},
		{"open: true", "open: false", false},
		{"days: [mon, tue]", "days: [wed, tue]", true},
		{"days: mon", "days: tue", false},
		{`time: "8:00-9:00"`, `time: "9:00-10:00"`, false},
		{`time: "8:00-9:01"`, `time: "9:00-10:00"`, true},
		{`dates: "2026-12-01..2026-12-24"`, `dates: "2026-12-24"`, true},
		{`dates: "2026-12-01..2026-12-23"`, `dates: "2026-12-24"`, false},
		{`caller: "+1202*"`, `caller: "+12025550143"`, true},
		{`caller: "+1212*"`, `caller: "+12025550143"`, false},
		{`caller: "+1202*", not_caller: "+1212*"`, `caller: "+1*", not_caller: "+1202*"`, false},
		{`caller: "+1202*", not_caller: "+12025550199"`, `caller: "+1*", not_caller: "+1212*"`, true},
		{`caller: ["+1202*", "+1310*"], not_caller: "+12025550199"`, `caller: "+1*", not_caller: "+1202*"`, true},
		{`caller: ["+1202*", "+1310*"], not_caller: "+1310555*"`, `caller: ["+1202*", "+1310555*"], not_caller: "+1202*"`, false},
		{`not_caller: "+1212*"`, `not_caller: "+1202*"`, true},
		{`line: [a, b]`, `line: [c, "b*"]`, true},
		{`pbx: {N: "1"}`, `pbx: {N: "2"}`, false},
		{`pbx: {N: "1"}`, `pbx: {M: "2"}`, true},
		{`group: a`, `group: b`, false},
	} {
		a, b := rules(c.a, c.b)
		if meet(a, b) != c.want || meet(b, a) != c.want {
			t.Errorf("{%s} and {%s}: %v, %v, want %v", c.a, c.b, meet(a, b), meet(b, a), c.want)
		}
	}
}
