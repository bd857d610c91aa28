package strict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A Hint is what a struct's fields cannot say of a key.
type Hint struct {
	Text    string   // for people, shown by editors
	Words   []string // the values there are, beside none
	Pattern string   // of a text
	Must    bool     // the key has to stand there
	Example string
}

// Hints are a schema's, by keys as in a Path. An index is left out, a key that
// the admin chooses is "*": "rules.when.outcome", "messages.*".
type Hints map[string]Hint

// A describer is a type with its own way to be read, so with a schema of its own.
type describer interface{ Schema() map[string]any }

// Schema is a JSON Schema (draft 2020-12) of what Parse takes into a struct
// like v, which holds the defaults. It takes everything that Parse takes: what it
// refuses, Parse refuses too. It returns an error for a hint about a key that is not there.
func Schema(id, title string, v any, hints Hints) ([]byte, error) {
	s := schema{hints: hints, used: map[string]bool{}, defs: map[string]any{}}
	top := s.of("", reflect.ValueOf(v).Elem())
	top["$schema"], top["$id"], top["title"] = "https://json-schema.org/draft/2020-12/schema", id, title
	if len(s.defs) > 0 {
		top["$defs"] = s.defs
	}
	for p := range hints {
		if !s.used[p] {
			return nil, fmt.Errorf("schema %s: there is no key %q", id, p)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(top)
	return b.Bytes(), err
}

// Keys are those that Parse takes into a struct like v, written as in Hints.
func Keys(v any) []string {
	s := schema{used: map[string]bool{}, defs: map[string]any{}}
	s.of("", reflect.ValueOf(v).Elem())
	return slices.Sorted(maps.Keys(s.used))
}

type schema struct {
	hints Hints
	used  map[string]bool
	defs  map[string]any
}

// Patterns of what stands as text in YAML.
const (
	durationPattern = `^(\d{1,5}d|(\d{1,5}d|[-+])?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$`
	wholePattern    = `^[-+]?\d+$`
)

// of is the schema of the values that v may take. Every key may stand with nothing
// after it, which is the default, hence null everywhere.
func (s *schema) of(p string, v reflect.Value) map[string]any {
	h := s.hints[p]
	s.used[p] = true
	m := s.shape(p, v, h)
	if h.Text != "" {
		m["description"] = h.Text
	}
	if h.Example != "" {
		m["examples"] = []any{h.Example}
	}
	return m
}

func (s *schema) shape(p string, v reflect.Value, h Hint) map[string]any {
	key := func(k string) string {
		if p == "" {
			return k
		}
		return p + "." + k
	}
	if d, ok := reflect.New(v.Type()).Interface().(describer); ok {
		return d.Schema()
	}
	switch self := reflect.New(v.Type()).Interface().(type) {
	case Scalar:
		return map[string]any{"type": []string{"string", "number", "boolean", "null"}}
	case Either:
		single := s.shape(p, reflect.ValueOf(self.Either(true)).Elem(), h)
		return map[string]any{"anyOf": []any{single, s.shape(p, reflect.ValueOf(self.Either(false)).Elem(), h)}}
	case keyed:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": s.of(key("*"), reflect.ValueOf(self.add("")).Elem())}
	}
	switch {
	case v.Type() == durationType:
		m := map[string]any{"type": []string{"string", "integer", "null"}, "pattern": durationPattern, "minimum": 0, "maximum": 0}
		if !v.IsZero() {
			m["default"] = Short(time.Duration(v.Int()))
		}
		return m
	case v.Kind() == reflect.Pointer:
		to := v.Elem()
		if v.IsNil() {
			made := reflect.New(v.Type().Elem())
			if d, ok := made.Interface().(interface{ Defaults() }); ok {
				d.Defaults()
			}
			to = made.Elem()
		}
		return s.shape(p, to, h)
	case v.Kind() == reflect.Struct:
		keys, must := map[string]any{}, []string{}
		for i := range v.NumField() {
			k := v.Type().Field(i).Tag.Get("yaml")
			if k == "-" || k == "" {
				continue
			}
			keys[k] = s.of(key(k), v.Field(i))
			if s.hints[key(k)].Must {
				must = append(must, k)
			}
		}
		m := map[string]any{"type": []string{"object", "null"}, "properties": keys, "additionalProperties": false}
		if len(must) > 0 {
			slices.Sort(must)
			m["required"], m["type"] = must, "object" // nothing is too little
		}
		return m
	case v.Kind() == reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": s.of(key("*"), reflect.New(v.Type().Elem()).Elem())}
	case v.Kind() == reflect.Slice:
		item := s.shape(p, reflect.New(v.Type().Elem()).Elem(), h)
		if v.Type().Elem().Kind() == reflect.Struct { // stands twice below
			s.defs[p] = item
			item = map[string]any{"$ref": "#/$defs/" + p}
		}
		list := map[string]any{"type": "array", "items": item}
		if n := v.Len(); n > 0 && v.Type().Elem().Kind() == reflect.String {
			list["default"] = v.Interface()
		}
		return map[string]any{"anyOf": []any{list, item}} // one value may stand without a list
	case v.Kind() == reflect.Bool:
		m := map[string]any{"type": []string{"boolean", "null"}}
		if v.Bool() {
			m["default"] = true
		}
		return m
	case v.Kind() == reflect.Int:
		m := map[string]any{"type": []string{"integer", "string", "null"}, "pattern": wholePattern}
		if v.Int() != 0 {
			m["default"] = v.Int()
		}
		return m
	}
	m := map[string]any{"type": []string{"string", "number", "null"}}
	if len(h.Words) > 0 {
		words := []any{}
		for _, w := range h.Words {
			words = append(words, w)
		}
		m = map[string]any{"anyOf": []any{map[string]any{"enum": words}, map[string]any{"type": "null"}}}
	} else if h.Pattern != "" {
		m["pattern"] = h.Pattern
	}
	if v.Kind() == reflect.String && v.String() != "" {
		m["default"] = v.String()
	}
	return m
}

// Short is a duration as people write it: 15m, not 15m0s.
func Short(d time.Duration) string {
	s := d.String()
	if t := strings.TrimSuffix(s, "m0s"); t != s {
		s = t + "m"
	}
	if t := strings.TrimSuffix(s, "h0m"); t != s {
		s = t + "h"
	}
	return s
}
