package rules

import (
	"strings"
	"testing"

	"textback/pbx"
)

// linted are the warnings of Lint that hold some words.
func linted(t *testing.T, yaml string, seen Seen, words string) (found []string) {
	t.Helper()
	for _, p := range read(t, yaml).Lint(theDay, seen) {
		if strings.Contains(p.Text, words) {
			found = append(found, p.Text)
		}
	}
	return found
}

// Rules may decide line by line and region by region: only where one is left out there is a gap.
func TestGapsByLineAndRegion(t *testing.T) {
	desks := Seen{Lines: []pbx.Line{{Number: "+12125550100", Name: "Front desk"}, {Number: "+12125550100", Name: "Front desk", Raw: "5551000"}, {Number: "+12125550110", Name: "Service"}}}
	three := Seen{Lines: append(desks.Lines[:len(desks.Lines):len(desks.Lines)], pbx.Line{Number: "+12125550120", Name: "Sales"}, pbx.Line{Number: "+12125550130", Name: "Night"})}
	stored := Seen{}
	for i := range enough {
		stored.Call(&pbx.Call{Line: []pbx.Line{{Number: "+12125550100"}, {Number: "+12125550110"}}[i%2]})
	}
	const all = "are voicemail, abandoned, unattended, declined, rang_out, busy, unreachable "
	for _, c := range []struct {
		name, rules string
		seen        Seen
		want        []string // the beginnings of what is said
	}{
		{"each line has its rule", "rules: [{when: {line: Front desk}, nothing: a}, {when: {line: Service}, nothing: b}]", desks, nil},
		{"by number and by what is dialled", "rules: [{when: {line: \"5551000\"}, nothing: a}, {when: {line: \"+1212555011*\"}, nothing: b}]", desks, nil},
		{"a line is left out", "rules: [{when: {line: Front desk}, nothing: a}]", desks, []string{"calls to Service that " + all + "at any hour"}},
		{"two lines are left out", "rules: [{when: {line: [Front desk, Service]}, nothing: a}]", three, []string{"calls to Sales or Night that " + all}},
		{"one line lacks one outcome", "rules: [{when: {line: Front desk}, nothing: a}, {when: {line: Service, outcome: [voicemail, abandoned, unattended, declined, rang_out, busy]}, nothing: b}]", desks,
			[]string{"calls to Service that are unreachable at any hour"}},
		{"no line is known", "rules: [{when: {line: Front desk}, nothing: a}, {when: {line: Service}, nothing: b}]", Seen{}, []string{"calls that " + all}},
		{"stored calls tell the lines", "rules: [{when: {line: \"+12125550100\"}, nothing: a}, {when: {line: \"+12125550110\"}, nothing: b}]", stored, nil},
		{"lines of rules.yaml", "lines: {Service: {language: en}, \"front*\": {language: en}}\nrules: [{when: {line: \"f*\"}, nothing: a}, {when: {line: Service}, nothing: b}]", Seen{}, []string{"calls to any other line that "}},
		{"a line has hours of its own", "hours: {mon: \"8:00-17:00\"}\nlines: {Service: {hours: {mon: [\"8:00-12:00\", \"13:00-17:00\"]}}}\nrules: [{when: {hours: [open, closed]}, nothing: a}]", desks,
			[]string{"calls to Service that " + all + "when the hours say break, one on Mon 30 Nov 2026 12:00"}},
		{"one region that is not the usual one", "regions: [GB]\nrules: [{when: {region: GB}, nothing: a}]", Seen{}, nil},
		{"by numbers", "regions: [GB, DE]\nrules: [{when: {caller: [\"+44*\", \"+49*\"]}, nothing: a}]", Seen{}, nil},
		{"a region is left out", "regions: [US, CA, GB]\nrules: [{when: {region: US}, nothing: a}, {when: {region: GB}, nothing: a}]", Seen{}, []string{"calls from CA that " + all}},
		{"a region on a line", "regions: [US, CA]\nrules: [{when: {line: Front desk}, nothing: a}, {when: {region: US}, nothing: a}]", desks, []string{"calls to Service from CA that " + all}},
		{"something of each", "regions: [US, CA]\nrules: [{when: {line: Front desk, region: US}, nothing: a}]", desks,
			[]string{"calls to Front desk from CA that ", "calls to Service that "}},
	} {
		var got []string
		for _, w := range linted(t, c.rules, c.seen, "no rule decides about ") {
			got = append(got, strings.TrimPrefix(w, "no rule decides about "))
		}
		ok := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}
