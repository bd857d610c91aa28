// Package schematest is in charge of holding JSON Schemas against YAML files in
// tests, with a validator that is not ours.
package schematest

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// Compile reads a schema; one that is no valid draft 2020-12 fails the test.
func Compile(t testing.TB, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Validate holds YAML against a schema. What is no YAML is as wrong.
func Validate(s *jsonschema.Schema, b []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return err
	}
	if len(doc.Content) == 0 {
		return s.Validate(nil)
	}
	return s.Validate(value(doc.Content[0], 0))
}

// value is a node as editors see it: dates are texts there.
func value(n *yaml.Node, depth int) any {
	if depth > 60 {
		return nil
	}
	switch n.Kind {
	case yaml.AliasNode:
		return value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			list = append(list, value(c, depth+1))
		}
		return list
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = value(n.Content[i+1], depth+1)
		}
		return m
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		b, err := strconv.ParseBool(n.Value)
		if err != nil {
			return n.Value
		}
		return b
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return float64(i)
		}
		return 1e30
	case "!!float":
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && f-f == 0 {
			return f
		}
		return 0.5
	}
	return n.Value
}

// Fresh compares a checked-in schema with what the code says now, or writes it.
func Fresh(t testing.TB, path string, now []byte, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, now) {
		t.Errorf("%s is not what the code says: write it anew with -update", path)
	}
}

var visible = regexp.MustCompile(`(?m)unknown key|not valid YAML|has no unit|is not a duration|is neither true nor false|is not a whole number|: want (a|true)|put version: 1|^.*: unknown (outcome|reason|transport|level|format|mode|kind of contact|attestation|state of the hours) `)

// Visible tells whether one of the problems is of those that a schema can see:
// unknown keys, wrong types, words that there are not.
func Visible(problems string) bool { return visible.MatchString(problems) }
