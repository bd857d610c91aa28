package rules

import (
	"fmt"
	"strings"
	"testing"

	"textback/configs"
)

// BenchmarkParse reads and checks the shipped rules, and beside them 200 rules
// that all have to be compared with each other.
func BenchmarkParse(b *testing.B) {
	var many strings.Builder
	many.WriteString(head + "hours: {mon: \"8:00-17:00\"}\nmessages: {m: \"{{.Business}}: hello{{with .Name}}, {{.}}{{end}}\"}\nrules:\n")
	for i := range 200 {
		fmt.Fprintf(&many, "  - {name: r%d, when: {line: \"+1212555%04d\", ring: {under: 5s}}, send: m}\n", i, i)
	}
	for _, x := range []struct {
		name string
		yaml []byte
	}{{"shipped", configs.Rules}, {"200 rules", []byte(many.String())}} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, problems := Parse("rules.yaml", x.yaml); r == nil {
					b.Fatal(problems)
				}
			}
		})
	}
}
