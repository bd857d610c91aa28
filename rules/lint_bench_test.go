package rules

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLint lints rules that are as hard to hold against each other as can be: all ask the same conditions, each is
// covered in part, and the last by all of them together.
func BenchmarkLint(b *testing.B) {
	for _, n := range []int{200, 2000} {
		var y strings.Builder
		y.WriteString("version: 1\nbusiness: {name: X}\ntimezone: UTC\nhours: {mon: [\"8:00-12:00\", \"13:00-17:00\"]}\nmessages: {m: \"X: reply or call us. STOP\"}\nrules:\n")
		for i := range n {
			fmt.Fprintf(&y, "  - {name: r%d, when: {outcome: [busy, declined], line: [a%d, b%d, c%d], days: [mon, tue], hours: [open, break]}, send: m}\n", i, i, i, i+1)
		}
		b.Run(fmt.Sprint(n, " rules"), func(b *testing.B) {
			for b.Loop() {
				r, problems := Parse("rules.yaml", []byte(y.String()))
				if r == nil {
					b.Fatal(problems)
				}
				_ = r.Lint(theDay, Seen{})
			}
		})
	}
}
