package rules

import (
	"fmt"
	"strings"
	"testing"

	"textback/pbx"
)

// twoHundred are 200 rules with conditions of every kind, of which the last one
// matches a call that rang out: each of the others has to be asked.
func twoHundred() string {
	var b strings.Builder
	b.WriteString(head + `
hours: {mon: ["8:00-12:00", "13:00-17:00"], tue: "8:00-17:00"}
closed_on: [2026-12-25]
lines: {"+12125550199": {language: es}}
guards: {budgets: {money_per_day: 5.00}, prices: {default: 0.0083}}
messages: {m: {en: "Hi{{with .Name}} {{.}}{{end}}, {{.Business}} missed you.{{with .NextOpening}} We open {{.}}.{{end}} Reply STOP to opt out.", es: "{{.Business}}"}}
rules:
`)
	kinds := []string{`outcome: declined, line: "+1212555%04d"`, `outcome: rang_out, line: "+1212555%04d"`, `caller: ["+1303555%04d", "+1416*"]`, `outcome: rang_out, ring: {under: 2s}, queue: "p%d"`,
		`hours: [holiday, break], queue: "q%d"`, `group: "group %d"`, `contact: vip, caller: "+1202555%04d"`, `dates: "2026-12-20..2026-12-31", tried: "1%d"`, `days: [sat, sun], time: "8:00-9:00", line: "l%d"`,
		`attempts: {at_least: 2}, line: "x%d"`, `pbx: {"Custom:DAYNIGHT%d": INUSE}`, `region: CA, line: "y%d"`, `open: false, line: "z%d"`}
	for i := range 199 {
		fmt.Fprintf(&b, "  - {name: r%d, when: {%s}, send: m}\n", i, fmt.Sprintf(kinds[i%len(kinds)], i))
	}
	b.WriteString("  - {name: last, when: {outcome: rang_out}, send: m, tags: [sales]}\n")
	return b.String()
}

// bench are rules and callers of whom half are in an address book of 50,000.
func bench(tb testing.TB) (r *Rules, facts func(i int) Facts) {
	tb.Helper()
	r, problems := Parse("rules.yaml", []byte(twoHundred()))
	if r == nil {
		tb.Fatal(problems)
	}
	book := map[string]*Contact{}
	numbers := make([]string, 100_000)
	calls := make([]*pbx.Call, len(numbers))
	for i := range numbers {
		numbers[i] = fmt.Sprintf("+1%d%07d", []int{212, 303, 415, 512, 617, 702, 808, 907, 202, 305}[i%10], 5550200+i/10)
		if i%2 == 0 {
			book[numbers[i]] = &Contact{Name: "Sarah Miller", FirstName: "Sarah", Language: "en", Groups: []string{"patients"}}
		}
		calls[i] = call(pbx.RangOut, func(c *pbx.Call) {
			c.Caller.Number, c.Caller.Attestation = numbers[i], []string{"A", "B", "C", ""}[i%4]
			c.Attempts = []pbx.Attempt{{Endpoint: "PJSIP/101", Extension: "101", Name: "Alice Desk"}}
		})
	}
	return r, func(i int) Facts {
		c := calls[i*7919%len(calls)]
		f := Facts{Call: c, Contact: book[c.Caller.Number]}
		f.Known = f.Contact != nil
		return f
	}
}

// BenchmarkDecide decides with 200 rules, of which the last one matches, and
// 50,000 contacts; and with the shipped ones.
func BenchmarkDecide(b *testing.B) {
	big, facts := bench(b)
	b.Run("200 rules, 50,000 contacts", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if d := big.Decide(facts(i), open); !d.Send || d.Rule != "last" {
				b.Fatal(d.Because)
			}
		}
	})
	small := shipped(b)
	b.Run("shipped rules", func(b *testing.B) {
		c := call(pbx.RangOut, nil)
		b.ReportAllocs()
		for b.Loop() {
			if d := small.Decide(Facts{Call: c}, open); !d.Send {
				b.Fatal(d.Because)
			}
		}
	})
	b.Run("explained", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			d := big.Decide(facts(i), open)
			if len(d.Steps()) != 200 || len(d.Guards()) < 20 {
				b.Fatal(d.Because)
			}
		}
	})
}

// BenchmarkRecheck asks the guards again.
func BenchmarkRecheck(b *testing.B) {
	r, facts := bench(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if why, because := r.Recheck(facts(i), open); why != "" {
			b.Fatal(because)
		}
	}
}

var raced bool // see race_test.go

// A decision is made for every call in the office: it takes no more than 10
// allocations, whether a text is sent or not.
func TestDecideAllocates(t *testing.T) {
	if raced {
		t.Skip("the race detector is on")
	}
	r, facts := bench(t)
	i, most := 0, 10.0
	if n := testing.AllocsPerRun(2000, func() { i++; r.Decide(facts(i), open) }); n > most {
		t.Errorf("%v allocations with 200 rules and 50,000 contacts", n)
	}
	small := shipped(t)
	for name, f := range map[string]Facts{
		"shipped":   {Call: call(pbx.RangOut, nil)},
		"closed":    {Call: call(pbx.RangOut, func(c *pbx.Call) { c.EndedAt = open.Add(-10 * 24 * 60 * 60e9) })},
		"said stop": {Call: call(pbx.RangOut, nil), OptedOut: true},
		"abroad":    {Call: call(pbx.RangOut, func(c *pbx.Call) { c.Caller.Number = "+14165550123" })},
		"duplicate": {Call: call(pbx.RangOut, nil), Episode: Episode{FirstTextAt: open}},
	} {
		if n := testing.AllocsPerRun(200, func() { small.Decide(f, open) }); n > most {
			t.Errorf("%v allocations: %s", n, name)
		}
	}
}
