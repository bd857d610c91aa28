package rules

import (
	"fmt"
	"os"
	"path/filepath"
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
		}{{"", Seen{}}, {"# with the lines of textback.yaml\n", seen}, {"# with stored calls\n", many}} {
			if x.what != "" && !strings.Contains(f, "people") {
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
