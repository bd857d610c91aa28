package rules

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"textback/rules/strict"
)

// A fault is what is wrong with a message's template.
type fault struct {
	text string
	near string // the letters it is about, so that they can be found in the file; may be empty
}

func (f fault) Error() string { return f.text }

// fields are the values' names, in the order in which they are shown.
var fields = func() (names []string) {
	for f := range reflect.TypeFor[values]().Fields() {
		names = append(names, f.Name)
	}
	return names
}()

var allFields = "{{." + strings.Join(fields, "}}, {{.") + "}}"

var (
	unknownFunc = regexp.MustCompile(`function "(\w+)" not defined`)
	onText      = regexp.MustCompile(`can't evaluate field (\w+) in type string`)
	position    = regexp.MustCompile(`^template: [^:]*(:\d+)?(:\d+)?: (executing "[^"]*" at <[^>]*>: )?`)
)

// compile reads a message's template and returns everything that is wrong with
// it: fields are looked for in all of its branches, not in those alone that
// some values happen to take.
func compile(called, language string, twelve bool, source string) (*text, []fault) {
	if strings.TrimSpace(source) == "" {
		return nil, []fault{{"it is empty", ""}}
	}
	t, err := template.New("message").Option("missingkey=error").Parse(source)
	if err != nil {
		return nil, []fault{inWords(err)}
	}
	m := &text{called: called, language: language, tmpl: t, words: wordsOf(language, twelve)}
	if t.Tree == nil || len(t.Templates()) > 1 {
		return nil, []fault{{"a message cannot hold templates of its own: leave out {{define}} and {{block}}", "define"}}
	}
	faults := m.look(t.Root, false)
	if len(faults) == 0 {
		m.steps, _ = stepsOf(t.Root, false)
	}
	return m, faults
}

// look walks the template. It allows what a text of single values needs: no
// loops, whose end nobody could wait for, and no templates within. Inside
// {{with}} the dot is a value.
func (m *text) look(n parse.Node, inWith bool) (faults []fault) {
	each := func(inWith bool, nodes ...parse.Node) {
		for _, n := range nodes {
			faults = append(faults, m.look(n, inWith)...)
		}
	}
	branch := func(b *parse.BranchNode, with bool) {
		each(inWith, b.Pipe)
		each(inWith || with, b.List)
		if b.ElseList != nil {
			each(inWith, b.ElseList)
		}
	}
	field := func(names []string, at string) {
		switch first := names[0]; {
		case !slices.Contains(fields, first):
			faults = append(faults, fault{fmt.Sprintf("there is no {{.%s}}%s (there are %s)", first, strict.DidYouMean(first, fields), allFields), at + "." + first})
		case len(names) > 1:
			faults = append(faults, fault{fmt.Sprintf("{{.%s}} is a text and has no parts: write {{.%s}}", strings.Join(names, "."), first), "." + strings.Join(names, ".")})
		case !slices.Contains(m.uses, first):
			m.uses = append(m.uses, first)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			each(inWith, n.Nodes...)
		}
	case *parse.ActionNode:
		each(inWith, n.Pipe)
	case *parse.IfNode:
		branch(&n.BranchNode, false)
	case *parse.WithNode:
		branch(&n.BranchNode, true)
	case *parse.RangeNode:
		return []fault{{"{{range}} has no use here: every value is a single one", "range"}}
	case *parse.TemplateNode:
		return []fault{{"{{template}} has no use here: a message stands by itself", "template"}}
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				each(inWith, c.Args...)
			}
		}
	case *parse.ChainNode:
		each(inWith, n.Node)
	case *parse.DotNode:
		if !inWith {
			faults = append(faults, fault{"a dot alone is a value only between {{with}} and {{end}}: write {{.Business}} and the like", "{{.}}"})
		}
	case *parse.FieldNode:
		field(n.Ident, "")
	case *parse.VariableNode:
		switch {
		case n.Ident[0] == "$" && len(n.Ident) > 1:
			field(n.Ident[1:], "$")
		case n.Ident[0] == "$":
			faults = append(faults, fault{"{{$}} alone is no value: write {{.Business}} and the like", "$"})
		}
	}
	return faults
}

// bare tells whether a template shows the value with that name where nothing has
// asked first whether there is one: outside of {{if}} and {{with}} that look at it.
func bare(n parse.Node, name string) bool {
	some := func(nodes []parse.Node) bool {
		return slices.ContainsFunc(nodes, func(n parse.Node) bool { return bare(n, name) })
	}
	branch := func(b *parse.BranchNode) bool {
		return !bare(b.Pipe, name) && (bare(b.List, name) || bare(b.ElseList, name))
	}
	switch n := n.(type) {
	case *parse.ListNode:
		return n != nil && some(n.Nodes)
	case *parse.ActionNode:
		return len(n.Pipe.Decl) == 0 && bare(n.Pipe, name) // what is put by may be asked later
	case *parse.IfNode:
		return branch(&n.BranchNode)
	case *parse.WithNode:
		return branch(&n.BranchNode)
	case *parse.PipeNode:
		return n != nil && slices.ContainsFunc(n.Cmds, func(c *parse.CommandNode) bool { return some(c.Args) })
	case *parse.FieldNode:
		return n.Ident[0] == name
	case *parse.VariableNode:
		return len(n.Ident) > 1 && n.Ident[0] == "$" && n.Ident[1] == name
	}
	return false
}

// inWords puts a template's error in an admin's words.
func inWords(err error) fault {
	switch m := err.Error(); {
	case unknownFunc.MatchString(m):
		f := unknownFunc.FindStringSubmatch(m)[1]
		return fault{fmt.Sprintf("%q is no function; a value begins with a dot: {{.%s}} (there are %s)", f, f, allFields), f}
	case onText.MatchString(m):
		f := onText.FindStringSubmatch(m)[1]
		return fault{fmt.Sprintf("between {{with}} and {{end}} the dot is the value itself: write {{.}} there, or {{$.%s}}", f), "." + f}
	case strings.HasSuffix(m, "unexpected EOF"):
		return fault{"an {{if}} or {{with}} has no {{end}}", ""}
	case strings.Contains(m, "unexpected {{end}}"):
		return fault{"an {{end}} has no {{if}} or {{with}}", ""}
	case strings.Contains(m, "unclosed action"):
		return fault{"a {{ has no }}", ""}
	default:
		return fault{position.ReplaceAllString(m, ""), ""}
	}
}

// extremes are the values with each of those that the text uses once there,
// at its longest, and once unknown: every way through its branches. Then come
// short ones, which {{slice}} may stumble over. The last has none but those that
// are always there.
func (m *text) extremes(longest values, always ...string) (all []values) {
	var uses []string
	for _, u := range m.uses {
		if !slices.Contains(always, u) {
			uses = append(uses, u)
		}
	}
	for mask := range 1 << len(uses) {
		v := longest
		for i, u := range uses {
			if mask&(1<<i) != 0 {
				reflect.ValueOf(&v).Elem().FieldByName(u).SetString("")
			}
		}
		all = append(all, v)
	}
	short := values{Name: "Al", FirstName: "Al", Business: longest.Business, Line: "x", LineNumber: "+12", Phone: longest.Phone, Wait: "a minute", Queue: "x",
		Hours: longest.Hours, NextOpening: "at 8:00", Booking: longest.Booking}
	return slices.Insert(all, len(all)-1, short)
}

// A step of a template: letters as they are, a value, or a part for the case
// that a value is known and one for the case that it is not. Most messages need no
// more, and text/template takes many allocations for it.
type step struct {
	letters string
	value   int // index into fields, or one of the following
	with    bool
	then    []step
	other   []step
}

const (
	noValue  = -1
	theValue = -2 // the dot within {{with}}
)

// stepsOf turns a template into steps, ok false when it does more than they can.
// Inside {{with}} the dot is its value.
func stepsOf(n parse.Node, inWith bool) (steps []step, ok bool) {
	value := func(p *parse.PipeNode) (int, bool) {
		if p == nil || len(p.Decl) > 0 || len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
			return noValue, false
		}
		switch n := p.Cmds[0].Args[0].(type) {
		case *parse.FieldNode:
			if len(n.Ident) == 1 && !inWith {
				return slices.Index(fields, n.Ident[0]), true
			}
		case *parse.VariableNode:
			if len(n.Ident) == 2 && n.Ident[0] == "$" {
				return slices.Index(fields, n.Ident[1]), true
			}
		case *parse.DotNode:
			if inWith {
				return theValue, true
			}
		}
		return noValue, false
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil, true
		}
		steps = make([]step, 0, len(n.Nodes))
		for _, in := range n.Nodes {
			s, ok := stepsOf(in, inWith)
			if !ok {
				return nil, false
			}
			steps = append(steps, s...)
		}
		return steps, true
	case *parse.TextNode:
		return []step{{letters: string(n.Text), value: noValue}}, true
	case *parse.ActionNode:
		v, ok := value(n.Pipe)
		return []step{{value: v}}, ok
	case *parse.WithNode, *parse.IfNode:
		b, with := (*parse.BranchNode)(nil), false
		if w, is := n.(*parse.WithNode); is {
			b, with = &w.BranchNode, true
		} else {
			b = &n.(*parse.IfNode).BranchNode
		}
		v, ok := value(b.Pipe)
		if !ok {
			return nil, false
		}
		s := step{value: v, with: with}
		var otherOK bool
		if s.then, ok = stepsOf(b.List, inWith || with); !ok || s.then == nil {
			return nil, false
		}
		if s.other, otherOK = stepsOf(b.ElseList, inWith); !otherOK {
			return nil, false
		}
		return []step{s}, true
	}
	return nil, false
}

// appendSteps renders into b.
func appendSteps(b []byte, steps []step, v *values, dot string) []byte {
	for i := range steps {
		s := &steps[i]
		var is string
		switch s.value {
		case noValue:
			b = append(b, s.letters...)
			continue
		case theValue:
			is = dot
		default:
			is = v.at(s.value)
		}
		switch {
		case s.then == nil:
			b = append(b, is...)
		case is == "":
			b = appendSteps(b, s.other, v, dot)
		case s.with:
			b = appendSteps(b, s.then, v, is)
		default:
			b = appendSteps(b, s.then, v, dot)
		}
	}
	return b
}

// at is the value with that index in fields.
func (v *values) at(i int) string {
	return *[...]*string{&v.Name, &v.FirstName, &v.Business, &v.Line, &v.LineNumber, &v.Phone, &v.Wait, &v.Queue, &v.Hours, &v.NextOpening, &v.Booking}[i]
}
