package ruletest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/rules"
	"textback/rules/strict"
	"textback/rules/strict/schematest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs tests of a file of ours against rules beside it.
func run(t *testing.T, path string, b []byte) (Result, *rules.Rules) {
	t.Helper()
	s, problems := Parse(filepath.Base(path), b)
	if s == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	r, more := rules.Load(filepath.Join(filepath.Dir(path), s.Rules))
	if r == nil {
		t.Fatal(more)
	}
	return s.Run(r), r
}

// The shipped tests pass, and no shipped rule is without one.
func TestShipped(t *testing.T) {
	const path = "../../configs/rules.test.yaml"
	res, r := run(t, path, read(t, path))
	for _, f := range res.Failures {
		t.Error(f)
	}
	for _, p := range res.Problems {
		t.Error(p)
	}
	if res.Tests < 15 || res.Failed() != 0 {
		t.Errorf("%d tests, %d failed", res.Tests, res.Failed())
	}
	for _, n := range r.RuleNames() {
		if !res.Matched[n] {
			t.Errorf("no shipped test comes to rule %q", n)
		}
	}
}

// What is true passes, in every way to say it; what becomes of follow-ups and tasks as well.
func TestPasses(t *testing.T) {
	res, _ := run(t, "testdata/passes.yaml", read(t, "testdata/passes.yaml"))
	for _, f := range res.Failures {
		t.Error(f)
	}
	for _, p := range res.Problems {
		t.Error(p)
	}
	if res.Tests == 0 {
		t.Error("no tests")
	}
}

// What is not true fails, each key of expect, and a golden file holds what is said of it.
func TestFails(t *testing.T) {
	res, _ := run(t, "testdata/fails.yaml", read(t, "testdata/fails.yaml"))
	var b strings.Builder
	said := map[string]bool{}
	for _, f := range res.Failures {
		fmt.Fprintln(&b, f)
		said[f.Key] = true
	}
	golden(t, "testdata/fails.txt", b.String())
	if res.Failed() != res.Tests {
		t.Errorf("%d of %d tests failed", res.Failed(), res.Tests)
	}
	for _, k := range strict.Keys(new(expect)) {
		switch {
		case k == "" || strings.Contains(k, "."), k == "guards" && said["guard that says no"], k == "follow_ups" && said["follow-up 1"]:
		case !said[k]:
			t.Errorf("no test fails by %s", k)
		}
	}
}

// Every message about a file that is wrong.
func TestProblems(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) < 3 {
		t.Fatal(files)
	}
	r, problems := rules.Load("testdata/rules.yaml")
	if r == nil {
		t.Fatal(problems)
	}
	sch, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	schema := schematest.Compile(t, sch)
	var b strings.Builder
	for _, f := range files {
		content := read(t, f)
		s, problems := Parse(filepath.Base(f), content)
		if s != nil {
			problems = s.Run(r).Problems
		}
		if len(problems) == 0 {
			t.Errorf("%s: no problem found", f)
		}
		var said strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&said, p)
		}
		b.WriteString(said.String() + "\n")
		if schematest.Visible(said.String()) && schematest.Validate(schema, content) == nil {
			t.Errorf("%s: the schema finds nothing", f)
		}
	}
	golden(t, "testdata/problems.txt", b.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(read(t, path)); got != want {
		t.Errorf("differs from %s (-update writes it anew); got:\n%s", path, got)
	}
}

func TestSchema(t *testing.T) {
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	schematest.Fresh(t, "../../configs/rules.test.schema.json", b, *update)
	s := schematest.Compile(t, b)
	for _, f := range []string{"../../configs/rules.test.yaml", "testdata/passes.yaml", "testdata/fails.yaml"} {
		if err := schematest.Validate(s, read(t, f)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	h, f := hints(), defaults()
	for _, k := range strict.Keys(&f) {
		if k != "" && h[k].Text == "" {
			t.Errorf("schema.go does not describe %s", k)
		}
	}
}

func TestClock(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 3, 7, 12, 0, 0, 0, zone)
	for s, want := range map[string]string{
		"2026-11-23 10:00": "2026-11-23T15:00:00Z", "2026-11-23T10:00:30": "2026-11-23T15:00:30Z", "9:05": "2026-03-07T14:05:00Z",
		"10:00:01": "2026-03-07T15:00:01Z", "2026-11-23T10:00:00+01:00": "2026-11-23T09:00:00Z",
		"2026-03-08 02:30": "summer time begins", "tomorrow": "is no time", "25:00": "is no time", "2026-02-30 10:00": "is no time",
	} {
		got, err := Clock(s, day, zone)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", s, err, want)
			}
		} else if got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %s, want %s", s, got.UTC().Format(time.RFC3339), want)
		}
	}
	if _, err := Clock("10:00", time.Time{}, zone); err == nil {
		t.Error("a time without any date")
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml", "../../configs/rules.test.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			f.Add(read(f, name))
		}
	}
	r, problems := rules.Load("testdata/rules.yaml")
	if r == nil {
		f.Fatal(problems)
	}
	sch, err := Schema()
	if err != nil {
		f.Fatal(err)
	}
	schema := schematest.Compile(f, sch)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, problems := Parse("rules.test.yaml", b)
		if s == nil {
			if !slices.ContainsFunc(problems, func(p strict.Problem) bool { return !p.Warning && p.Text != "" }) {
				t.Fatal("refused without a word")
			}
			return
		}
		if err := schematest.Validate(schema, b); err != nil {
			t.Fatalf("%q is read, and the schema says: %v", b, err)
		}
		for _, x := range s.Run(r).Failures {
			if x.String() == "" || x.Line == 0 {
				t.Fatalf("%+v", x)
			}
		}
	})
}
