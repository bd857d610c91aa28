// Package strict is in charge of reading YAML that people edit: it fills Go
// structs, takes nothing it does not know, and reports every problem at once,
// each with its place and its mend.
package strict

import (
	"bytes"
	"fmt"
	"io"
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

// A Path names a value: "pbx.asterisk.outside.contexts[0]".
type Path string

// At makes a Path of keys.
func At(keys ...string) Path { return Path(strings.Join(keys, ".")) }

// Key is the value under more keys.
func (p Path) Key(keys ...string) Path {
	for _, k := range keys {
		if p != "" {
			p += "."
		}
		p += Path(k)
	}
	return p
}

// Index is the i-th item, from 0.
func (p Path) Index(i int) Path { return p + Path("["+strconv.Itoa(i)+"]") }

// A Report collects problems and knows where each value stands.
type Report struct {
	File     string
	Problems []Problem
	nodes    map[Path]*yaml.Node
	unread   map[Path]bool // values that could not be read: what they lack is no second problem
	wrong    map[Path]bool // values with any problem that is no warning
	depth    int
	spent    int
}

// Parse fills v, a pointer to a struct whose fields carry their keys as yaml
// tags and hold the defaults, from b. Fields may be strings, bools, ints,
// durations, structs, pointers to these, slices, maps with string keys, and types
// that read themselves: Scalar, Either, Keyed. What
// a pointer points to is made with its method Defaults, if it has one. ok
// is false when b is not YAML at all, so that checking its values is idle.
// Sort brings the problems into the file's order in the end.
func Parse(file string, b []byte, v any) (r *Report, ok bool) {
	r = &Report{File: file, nodes: map[Path]*yaml.Node{}, unread: map[Path]bool{}, wrong: map[Path]bool{}}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case err == io.EOF: // empty: all defaults
		return r, true
	case err != nil:
		r.syntax(err)
		return r, false
	}
	r.nodes[""] = doc.Content[0]
	r.decode(doc.Content[0], "", reflect.ValueOf(v).Elem())
	var second yaml.Node
	if err := d.Decode(&second); err == nil {
		r.Add(&second, false, "a second document begins here: put everything into one")
	} else if err != io.EOF {
		r.syntax(err)
		return r, false
	}
	return r, true
}

// Sort brings the problems into the file's order.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
}

// Bad reports whether any problem is more than a warning.
func (r *Report) Bad() bool {
	return slices.ContainsFunc(r.Problems, func(p Problem) bool { return !p.Warning })
}

// Add reports a problem at a node, or of the whole file when it is nil.
func (r *Report) Add(n *yaml.Node, warning bool, format string, args ...any) {
	p := Problem{File: r.File, Text: fmt.Sprintf(format, args...), Warning: warning}
	if n != nil {
		p.Line, p.Col = n.Line, n.Column
	}
	r.Problems = append(r.Problems, p)
}

// Node returns the value at p, or the nearest one around it that the file has.
func (r *Report) Node(p Path) *yaml.Node {
	for {
		if n := r.nodes[p]; n != nil {
			return n
		}
		i := strings.LastIndexAny(string(p), ".[")
		if i < 0 {
			return r.nodes[""]
		}
		p = p[:i]
	}
}

// Has reports whether the file has a value at p.
func (r *Report) Has(p Path) bool { return r.nodes[p] != nil }

// Wrong reports whether p or anything in it has a problem that is no warning.
func (r *Report) Wrong(p Path) bool {
	for w, is := range r.wrong {
		if !is {
			continue // a warning
		}
		if rest, in := strings.CutPrefix(string(w), string(p)); in && (p == "" || rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// Doubtful reports whether p is wrong, or is missing and may stand in the file under a misspelt key.
func (r *Report) Doubtful(p Path) bool { return r.Wrong(p) || !r.Has(p) && r.wrong[""] }

// cannotRead reports a value that decode could not take.
func (r *Report) cannotRead(n *yaml.Node, p Path, format string, args ...any) {
	r.unread[p], r.wrong[p] = true, true
	r.Add(n, false, format, args...)
}

// Problem reports an error at p.
func (r *Report) Problem(p Path, format string, args ...any) { r.about(p, false, format, args...) }

// Near reports an error at the first place of the letters near in the value at
// p, which may span lines; at the value's beginning when they are not found.
func (r *Report) Near(p Path, src []byte, near, format string, args ...any) {
	r.near(p, false, src, near, format, args...)
}

// NearWarning is Near for what works all the same.
func (r *Report) NearWarning(p Path, src []byte, near, format string, args ...any) {
	r.near(p, true, src, near, format, args...)
}

func (r *Report) near(p Path, warning bool, src []byte, near, format string, args ...any) {
	n := r.nodes[p]
	if n == nil || near == "" || r.unread[p] {
		r.about(p, warning, format, args...)
		return
	}
	r.wrong[p] = r.wrong[p] || !warning
	lines := strings.Split(string(src), "\n")
	end := len(lines) // a value that spans lines ends before the next one
	for _, other := range r.nodes {
		if other.Line > n.Line {
			end = min(end, other.Line-1)
		}
	}
	at := yaml.Node{Line: n.Line, Column: n.Column}
	for i := n.Line - 1; i < end; i++ {
		line := []rune(lines[i]) // columns are characters
		from := 0
		if i == n.Line-1 {
			from = min(n.Column-1, len(line))
		}
		if before, _, found := strings.Cut(string(line[from:]), near); found {
			at.Line, at.Column = i+1, from+len([]rune(before))+1
			break
		}
	}
	r.Add(&at, warning, format, args...)
}

// Warning reports what works all the same.
func (r *Report) Warning(p Path, format string, args ...any) { r.about(p, true, format, args...) }

// about names the key when the file does not have it: then the position says too little.
func (r *Report) about(p Path, warning bool, format string, args ...any) {
	if r.unread[p] {
		return
	}
	r.wrong[p] = r.wrong[p] || !warning
	text := fmt.Sprintf(format, args...)
	if !r.Has(p) && !strings.Contains(text, string(p)) {
		text = string(p) + ": " + text
	}
	r.Add(r.Node(p), warning, "%s", text)
}

// OneOf reports a word that is none of words.
func (r *Report) OneOf(p Path, what, got string, words ...string) {
	r.Problem(p, "unknown %s %q%s (one of: %s)", what, got, DidYouMean(got, words), strings.Join(words, ", "))
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax reports that the file is not YAML. The parser tells the line only.
func (r *Report) syntax(err error) {
	p := Problem{File: r.File, Text: err.Error()}
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
		p.Text = "not valid YAML: " + m[2]
		if p.Line, _ = strconv.Atoi(m[1]); p.Line > 0 {
			p.Col = 1
		}
		if strings.Contains(m[2], "cannot start any token") {
			p.Text += ": indent with blanks, not with tabs, and quote values that begin with @ or `"
		}
	}
	r.Problems = append(r.Problems, p)
}

// A Scalar reads one single value of the file itself: a sum of money, a number
// or the word "off". Its error is what the admin reads.
type Scalar interface{ Scalar(value string) error }

// An Either may stand in the file in two ways. It returns what is to be filled,
// a pointer: one thing where a single value stands, another where keys do.
type Either interface{ Either(single bool) any }

// Keyed is a map whose keys the admin chooses, in the file's order.
type Keyed[T any] []Item[T]

// An Item is one key of a Keyed and its value.
type Item[T any] struct {
	Key   string
	Value T
}

// Get returns the value under key.
func (k Keyed[T]) Get(key string) (v T, ok bool) {
	for _, i := range k {
		if i.Key == key {
			return i.Value, true
		}
	}
	return v, false
}

// add makes room for a key's value.
func (k *Keyed[T]) add(key string) any {
	*k = append(*k, Item[T]{Key: key})
	return &(*k)[len(*k)-1].Value
}

func (k *Keyed[T]) reset() { *k = Keyed[T]{} }

// keyed is every Keyed.
type keyed interface {
	add(key string) any
	reset()
}

// Bounds against files made to exhaust: aliases of aliases grow without end.
const (
	maxDepth = 50
	maxNodes = 200_000
)

var durationType = reflect.TypeFor[time.Duration]()

func (r *Report) decode(n *yaml.Node, p Path, v reflect.Value) {
	if r.spent++; r.spent == maxNodes {
		r.Add(n, false, "this file is too large, or its aliases repeat too much")
	}
	if r.spent >= maxNodes {
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.depth--
		r.Add(n, false, "nested too deep")
		return
	}
	defer func() { r.depth-- }()
	for i := 0; n.Kind == yaml.AliasNode && i < 10; i++ {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "key:" with nothing after it is the default
	}
	if v.Type().PkgPath() != "" && r.itself(n, p, v) { // plain types have no methods
		return
	}
	switch {
	case v.Type() == durationType:
		r.duration(n, p, v)
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			if d, ok := v.Interface().(interface{ Defaults() }); ok {
				d.Defaults()
			}
		}
		r.decode(n, p, v.Elem())
	case v.Kind() == reflect.Struct:
		r.mapping(n, p, v)
	case v.Kind() == reflect.Map:
		r.anyKeys(n, p, v)
	case v.Kind() == reflect.Slice:
		items := []*yaml.Node{n} // one value may stand without a list
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		if len(items) > maxNodes {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i, item := range items {
			r.nodes[p.Index(i)] = item
			r.decode(item, p.Index(i), v.Index(i))
		}
	case n.Kind != yaml.ScalarNode:
		r.cannotRead(n, p, "want %s here, not a %s", want(v), kinds[n.Kind])
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			r.cannotRead(n, p, "%q is neither true nor false", n.Value)
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if err != nil {
			r.cannotRead(n, p, "%q is not a whole number", n.Value)
			return
		}
		v.SetInt(int64(i))
	case n.Tag == "!!bool":
		r.cannotRead(n, p, "want %s here: put %s in quotes if you mean the word", want(v), n.Value)
	default: // numbers too, as they are written: +12125550100 needs no quotes
		v.SetString(n.Value)
	}
}

// itself lets a type read itself that can.
func (r *Report) itself(n *yaml.Node, p Path, v reflect.Value) bool {
	switch self := v.Addr().Interface().(type) {
	case Scalar:
		if n.Kind != yaml.ScalarNode {
			r.cannotRead(n, p, "want a single value here, not a %s", kinds[n.Kind])
		} else if err := self.Scalar(n.Value); err != nil {
			r.cannotRead(n, p, "%s", err)
		}
	case Either:
		r.decode(n, p, reflect.ValueOf(self.Either(n.Kind != yaml.MappingNode)).Elem())
	case keyed:
		self.reset()
		r.pairs(n, p, func(key, value *yaml.Node) {
			r.nodes[p.Key(key.Value)] = value
			r.decode(value, p.Key(key.Value), reflect.ValueOf(self.add(key.Value)).Elem())
		})
	default:
		return false
	}
	return true
}

var kinds = map[yaml.Kind]string{yaml.MappingNode: "group of keys", yaml.SequenceNode: "list", yaml.ScalarNode: "single value"}

func want(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "a duration such as 20s"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.Int:
		return "a whole number"
	case v.Kind() == reflect.Struct, v.Kind() == reflect.Map:
		return "a group of keys"
	}
	return "a single value"
}

func (r *Report) duration(n *yaml.Node, p Path, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		r.cannotRead(n, p, "want %s here, not a %s", want(v), kinds[n.Kind])
		return
	}
	d, err := Duration(n.Value)
	if err == nil {
		v.SetInt(int64(d))
		return
	}
	if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
		r.cannotRead(n, p, "%q has no unit: write %ss, %sm or %sh", n.Value, n.Value, n.Value, n.Value)
		return
	}
	r.cannotRead(n, p, "%q is not a duration: write it like 20s, 15m, 12h or 2d", n.Value)
}

var inDays = regexp.MustCompile(`^(\d{1,5})d`)

// Duration reads what Go reads as a duration, and whole days before it: 2d, 1d12h. A day is 24 hours.
func Duration(s string) (time.Duration, error) {
	m := inDays.FindStringSubmatch(s)
	if m == nil {
		return time.ParseDuration(s)
	}
	n, _ := strconv.Atoi(m[1])
	d := time.Duration(n) * 24 * time.Hour
	rest := s[len(m[0]):]
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || rest[0] == '-' || rest[0] == '+' || d+more < d {
		return 0, fmt.Errorf("%q is no duration", s)
	}
	return d + more, nil
}

func (r *Report) mapping(n *yaml.Node, p Path, v reflect.Value) {
	fields := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "-" && key != "" {
			fields[key] = v.Field(i)
			names = append(names, key)
		}
	}
	var meant []string
	r.pairs(n, p, func(key, value *yaml.Node) {
		f, ok := fields[key.Value]
		if !ok {
			r.wrong[p] = true
			meant = append(meant, nearest(key.Value, names))
			r.Add(key, false, "unknown key %q%s (one of: %s)", key.Value, DidYouMean(key.Value, names), strings.Join(names, ", "))
			return
		}
		r.nodes[p.Key(key.Value)] = value
		r.decode(value, p.Key(key.Value), f)
	})
	for _, name := range meant {
		if name != "" && !r.Has(p.Key(name)) {
			r.wrong[p.Key(name)] = true // misspelt: nobody need be told that it is missing too
		}
	}
}

// anyKeys fills a map, whose keys the admin chooses.
func (r *Report) anyKeys(n *yaml.Node, p Path, v reflect.Value) {
	m := reflect.MakeMap(v.Type())
	v.Set(m)
	r.pairs(n, p, func(key, value *yaml.Node) {
		r.nodes[p.Key(key.Value)] = value
		item := reflect.New(v.Type().Elem()).Elem()
		r.decode(value, p.Key(key.Value), item)
		m.SetMapIndex(reflect.ValueOf(key.Value), item)
	})
}

// pairs gives each key once to f.
func (r *Report) pairs(n *yaml.Node, p Path, f func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.cannotRead(n, p, "want a group of keys here, not a %s", kinds[n.Kind])
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Tag == "!!merge":
			r.wrong[p] = true
			r.Add(key, false, "<< is not read here: write the keys out, or use one *alias for the whole value")
			continue
		case key.Kind != yaml.ScalarNode || key.Value == "" || key.Tag == "!!null":
			r.wrong[p] = true
			r.Add(key, false, "a key is wanted here: a word before the colon")
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.wrong[p] = true
			r.Add(key, false, "%s stands here a second time: it is set in line %d already", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, value)
	}
}

// DidYouMean returns "; did you mean X?" for the nearest of words, or nothing
// when none is near.
func DidYouMean(got string, words []string) string {
	if best := nearest(got, words); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

func nearest(got string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if len(got) > 64 {
			break
		}
		if d := distance(strings.ToLower(got), strings.ToLower(w)); d < least && d <= len(w)/2 {
			best, least = w, d
		}
	}
	for i := 0; i < len(words) && best == ""; i++ { // monday for mon, tel for telephone
		if g, w := strings.ToLower(got), strings.ToLower(words[i]); len(g) <= 64 && len(g) >= 3 && len(w) >= 3 && (strings.HasPrefix(g, w) || strings.HasPrefix(w, g)) {
			best = words[i]
		}
	}
	return best
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
