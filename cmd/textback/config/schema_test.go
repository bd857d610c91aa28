package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"textback/rules/strict"
	"textback/rules/strict/schematest"
)

// Editors complete and check textback.yaml by a schema that is made of the structs.
func TestSchema(t *testing.T) {
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	schematest.Fresh(t, filepath.Join(examples, "textback.schema.json"), b, *update)
	s := schematest.Compile(t, b)
	files, _ := filepath.Glob(filepath.Join(examples, "*.yaml"))
	for _, f := range files {
		if strings.Contains(f, "rules") {
			continue
		}
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := schematest.Validate(s, content); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if !strings.Contains(string(content), "# yaml-language-server: $schema=textback.schema.json\n") {
			t.Errorf("%s does not name its schema, so that editors do not find it", f)
		}
	}
	// Wrong files of whose problems a schema can know: keys, types, words.
	seen := 0
	files, _ = filepath.Glob("testdata/*.yaml")
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := os.ReadFile(strings.TrimSuffix(f, ".yaml") + ".golden")
		if !schematest.Visible(string(said)) {
			continue
		}
		seen++
		if schematest.Validate(s, content) == nil {
			t.Errorf("%s: the schema finds nothing, check does:\n%s", f, said)
		}
	}
	if seen < 7 {
		t.Errorf("only %d wrong files", seen)
	}
}

// Every key has its description, from the shipped file's comments; groups may speak for themselves.
func TestSchemaDescribes(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(examples, "textback.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	keys := strict.Keys(defaults())
	have := descriptions(keys, string(b))
	for _, k := range keys {
		group := slices.ContainsFunc(keys, func(o string) bool { return strings.HasPrefix(o, k+".") })
		if k != "" && !group && have[k] == "" && !strings.HasSuffix(k, ".*") && k != "pbx.asterisk.inside.endpoints" { // keys that the admin chooses; what check refuses
			t.Errorf("configs/textback.yaml has no comment at %s", k)
		}
	}
}

// What loads is never red in an editor.
func FuzzSchema(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", filepath.Join(examples, "*.yaml")} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil {
				f.Add(b)
			}
		}
	}
	f.Add([]byte("sms: {got_through_talk: 0, twilio: {validity: \"1h2m\"}}"))
	f.Add([]byte("pbx: {max_call_age: 1d}\nsms: {got_through_talk: 0d1m, twilio: {validity: 0d2h30m}}"))
	b, err := Schema()
	if err != nil {
		f.Fatal(err)
	}
	s := schematest.Compile(f, b)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		_, problems := parse(filepath.Join(dir, "textback.yaml"), b, true)
		if slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning }) {
			return
		}
		if err := schematest.Validate(s, b); err != nil {
			t.Fatalf("%q loads, and the schema says: %v", b, err)
		}
	})
}
