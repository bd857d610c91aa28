package rules

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"textback/rules/strict"
	"textback/rules/strict/schematest"
)

// Editors complete and check rules.yaml by a schema that is made of the structs.
func TestSchema(t *testing.T) {
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	schematest.Fresh(t, "../configs/rules.schema.json", b, *update)
	s := schematest.Compile(t, b)
	shipped, err := os.ReadFile("../configs/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := schematest.Validate(s, shipped); err != nil {
		t.Errorf("the shipped rules: %v", err)
	}
	if !strings.HasPrefix(string(shipped), "# yaml-language-server: $schema=rules.schema.json\n") {
		t.Error("configs/rules.yaml does not name its schema, so that editors do not find it")
	}
	// Wrong files of whose problems a schema can know: keys, types, words.
	seen := 0
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		_, problems := Parse(filepath.Base(f), content)
		for _, p := range problems {
			said.WriteString(p.String() + "\n")
		}
		switch err := schematest.Validate(s, content); {
		case schematest.Visible(said.String()):
			seen++
			if err == nil {
				t.Errorf("%s: the schema finds nothing, check does:\n%s", f, said.String())
			}
		case err != nil && !slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning }):
			t.Errorf("%s: the schema finds what is no problem: %v", f, err)
		}
	}
	if seen < 7 {
		t.Errorf("only %d wrong files", seen)
	}
}

// Every key has its description.
func TestSchemaDescribes(t *testing.T) {
	f := empty()
	h := hints()
	for _, k := range strict.Keys(&f) {
		if k != "" && h[k].Text == "" {
			t.Errorf("rules/schema.go does not describe %s", k)
		}
	}
}

// What check takes is never red in an editor.
func FuzzSchema(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.yaml")
	for _, name := range append(files, "../configs/rules.yaml") {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("version: 1\nbusiness: {name: X}\ntimezone: UTC\nguards: {budgets: {per_caller: off, money_per_day: \"5.00\"}, prices: {US: 0.0083}}\ndefaults: {delay: 0}\n"))
	f.Add([]byte("version: 1\nbusiness: {name: X}\ntimezone: UTC\ndefaults: {window: 2d, fresh: 0d1h, delay: 0d}\nrules:\n  - {text: X, window: 1d12h}\n"))
	b, err := Schema()
	if err != nil {
		f.Fatal(err)
	}
	s := schematest.Compile(f, b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, problems := Parse("rules.yaml", b)
		if r == nil {
			return
		}
		if err := schematest.Validate(s, b); err != nil {
			t.Fatalf("%q is read (%v), and the schema says: %v", b, problems, err)
		}
	})
}
