package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A Problem is one thing an admin should mend.
type Problem struct {
	File      string
	Line, Col int // from 1; 0 when the problem is the whole file
	Text      string
	Warning   bool // textback works all the same
}

func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Col)
	}
	if p.Warning {
		return s + ": warning: " + p.Text
	}
	return s + ": " + p.Text
}

// Load reads and checks the file at name, and the secrets it names. It returns
// every problem it finds, in the file's order; the Config is usable when none
// is more than a warning.
func Load(name string) (*Config, []Problem) {
	b, err := os.ReadFile(name)
	if err != nil {
		text := plainPath(err).Error()
		if errors.Is(err, fs.ErrNotExist) {
			text = "there is no such file: begin with configs/textback.yaml, or name another one with --config"
		} else if text = strings.TrimPrefix(text, name); text != "" {
			text = strings.TrimLeft(text, ": ")
		}
		return defaults(), []Problem{{File: name, Text: text}}
	}
	return parse(name, b)
}

// parse is Load of a file whose bytes are b; name says where other files are
// looked for.
func parse(name string, b []byte) (*Config, []Problem) {
	r := &report{file: name, nodes: map[path]*yaml.Node{}}
	if dir, err := filepath.Abs(filepath.Dir(name)); err == nil {
		r.dir = dir
	} else {
		r.dir = filepath.Dir(name)
	}
	c := defaults()
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case err == io.EOF: // empty: all defaults
	case err != nil:
		r.syntax(err)
		return c, r.problems
	default:
		r.nodes[""] = doc.Content[0]
		r.decode(doc.Content[0], "", reflect.ValueOf(c).Elem())
		var second yaml.Node
		if err := d.Decode(&second); err == nil {
			r.add(&second, false, "a second document begins here: put everything into one")
		} else if err != io.EOF {
			r.syntax(err)
		}
	}
	// With neither witness configured this host watches an Asterisk of its own, unless it is
	// one that only sends what others put on an external server.
	if c.PBX.Asterisk == nil && c.PBX.SIP == nil && c.NATS.URL == "" {
		a := asteriskDefaults()
		c.PBX.Asterisk = &a
	}
	c.check(r)
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	return c, r.problems
}

// A path names a value: "pbx.asterisk.outside.contexts[0]".
type path string

func at(keys ...string) path { return path(strings.Join(keys, ".")) }

func (p path) key(keys ...string) path {
	for _, k := range keys {
		if p != "" {
			p += "."
		}
		p += path(k)
	}
	return p
}

func (p path) index(i int) path { return p + path("["+strconv.Itoa(i)+"]") }

// report collects problems and knows where each value stands.
type report struct {
	file, dir string
	nodes     map[path]*yaml.Node
	problems  []Problem
}

func (r *report) add(n *yaml.Node, warning bool, format string, args ...any) {
	p := Problem{File: r.file, Text: fmt.Sprintf(format, args...), Warning: warning}
	if n != nil {
		p.Line, p.Col = n.Line, n.Column
	}
	r.problems = append(r.problems, p)
}

// node returns the value at p, or the nearest one around it that the file has.
func (r *report) node(p path) *yaml.Node {
	for {
		if n := r.nodes[p]; n != nil {
			return n
		}
		i := strings.LastIndexAny(string(p), ".[")
		if i < 0 {
			return nil
		}
		p = p[:i]
	}
}

func (r *report) has(p path) bool { return r.nodes[p] != nil }

func (r *report) problem(p path, format string, args ...any) { r.about(p, false, format, args...) }
func (r *report) warning(p path, format string, args ...any) { r.about(p, true, format, args...) }

// about names the key when the file does not have it: then the position says too little.
func (r *report) about(p path, warning bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !r.has(p) && !strings.Contains(text, string(p)) {
		text = string(p) + ": " + text
	}
	r.add(r.node(p), warning, "%s", text)
}

// oneOf reports a word that is none of words.
func (r *report) oneOf(p path, got string, words ...string) {
	r.problem(p, "unknown %s %q%s (one of: %s)", p[strings.LastIndexByte(string(p), '.')+1:], got, didYouMean(got, words), strings.Join(words, ", "))
}

// beside returns name as a path, relative ones beside the file.
func (r *report) beside(name string) string { return inside(r.dir, name) }

// path finds the file that a …_file key names and returns its path.
func (r *report) path(p path, name string) string {
	if name == "" {
		return ""
	}
	found, _, err := find(name, r.dir)
	if err != nil {
		r.problem(p, "%v", err)
	}
	return found
}

// secret reads the file that a …_file key names. what says what belongs into it.
func (r *report) secret(p path, name, what string) Secret {
	s, warning, err := readSecret(name, r.dir)
	if err != nil {
		r.problem(p, "%v: it should hold %s", err, what)
	}
	if warning != "" {
		r.warning(p, "%s: chmod 600 it", warning)
	}
	return s
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax reports that the file is not YAML. The parser tells the line only.
func (r *report) syntax(err error) {
	p := Problem{File: r.file, Text: err.Error()}
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
		p.Text = "not valid YAML: " + m[2]
		if p.Line, _ = strconv.Atoi(m[1]); p.Line > 0 {
			p.Col = 1
		}
		if strings.Contains(m[2], "cannot start any token") {
			p.Text += ": indent with blanks, not with tabs, and quote values that begin with @ or `"
		}
	}
	r.problems = append(r.problems, p)
}

var durationType = reflect.TypeFor[time.Duration]()

// decode fills v, whose fields carry their keys as yaml tags, from n.
func (r *report) decode(n *yaml.Node, p path, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && v.Kind() != reflect.Pointer {
		return // "key:" with nothing after it is the default
	}
	switch {
	case v.Type() == durationType:
		r.duration(n, v)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if a, ok := v.Interface().(*Asterisk); ok {
			*a = asteriskDefaults()
		}
		r.decode(n, p, v.Elem())
	case v.Kind() == reflect.Struct:
		r.mapping(n, p, v)
	case v.Kind() == reflect.Slice:
		items := []*yaml.Node{n} // one value may stand without a list
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i, item := range items {
			r.nodes[p.index(i)] = item
			r.decode(item, p.index(i), v.Index(i))
		}
	case n.Kind != yaml.ScalarNode:
		r.add(n, false, "want %s here, not a %s", want(v), kinds[n.Kind])
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			r.add(n, false, "%q is neither true nor false", n.Value)
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case n.Tag == "!!bool":
		r.add(n, false, "want %s here: put %s in quotes if you mean the word", want(v), n.Value)
	default: // numbers too, as they are written: +12125550100 needs no quotes
		v.SetString(n.Value)
	}
}

var kinds = map[yaml.Kind]string{yaml.MappingNode: "group of keys", yaml.SequenceNode: "list", yaml.ScalarNode: "single value"}

func want(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "a duration such as 20s"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.Struct:
		return "a group of keys"
	}
	return "a single value"
}

func (r *report) duration(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		r.add(n, false, "want %s here, not a %s", want(v), kinds[n.Kind])
		return
	}
	d, err := time.ParseDuration(n.Value)
	if err == nil {
		v.SetInt(int64(d))
		return
	}
	if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
		r.add(n, false, "%q has no unit: write %ss, %sm or %sh", n.Value, n.Value, n.Value, n.Value)
		return
	}
	r.add(n, false, "%q is not a duration: write it like 20s, 15m or 12h", n.Value)
}

func (r *report) mapping(n *yaml.Node, p path, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.add(n, false, "want a group of keys here, not a %s", kinds[n.Kind])
		return
	}
	fields := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "-" {
			fields[key] = v.Field(i)
			names = append(names, key)
		}
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		if line, twice := seen[name]; twice {
			r.add(key, false, "%s stands here a second time: it is set in line %d already", name, line)
			continue
		}
		seen[name] = key.Line
		f, ok := fields[name]
		if !ok {
			r.add(key, false, "unknown key %q%s (one of: %s)", name, didYouMean(name, names), strings.Join(names, ", "))
			continue
		}
		r.nodes[p.key(name)] = value
		r.decode(value, p.key(name), f)
	}
}

// didYouMean returns "; did you mean X?" for the nearest of words, or nothing
// when none is near.
func didYouMean(got string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := distance(strings.ToLower(got), w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of letters to change, insert, leave out or swap with their neighbour.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
