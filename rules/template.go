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
func compile(name, called, text string) (*message, []fault) {
	if strings.TrimSpace(text) == "" {
		return nil, []fault{{"it is empty", ""}}
	}
	t, err := template.New("message").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, []fault{inWords(err)}
	}
	m := &message{name: name, called: called, tmpl: t}
	if t.Tree == nil || len(t.Templates()) > 1 {
		return nil, []fault{{"a message cannot hold templates of its own: leave out {{define}} and {{block}}", "define"}}
	}
	return m, m.look(t.Root)
}

// look walks the template. It allows what a text of single values needs: no
// loops, whose end nobody could wait for, and no templates within.
func (m *message) look(n parse.Node) (faults []fault) {
	each := func(nodes ...parse.Node) {
		for _, n := range nodes {
			faults = append(faults, m.look(n)...)
		}
	}
	branch := func(b *parse.BranchNode) {
		each(b.Pipe, b.List)
		if b.ElseList != nil {
			each(b.ElseList)
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
			each(n.Nodes...)
		}
	case *parse.ActionNode:
		each(n.Pipe)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		return []fault{{"{{range}} has no use here: every value is a single one", "range"}}
	case *parse.TemplateNode:
		return []fault{{"{{template}} has no use here: a message stands by itself", "template"}}
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				each(c.Args...)
			}
		}
	case *parse.ChainNode:
		each(n.Node)
	case *parse.FieldNode:
		field(n.Ident, "")
	case *parse.VariableNode:
		if n.Ident[0] == "$" && len(n.Ident) > 1 {
			field(n.Ident[1:], "$")
		}
	}
	return faults
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

// extremes are the values with each of those that the message uses once there,
// at its longest, and once unknown: every way through its branches. Then come
// short ones, which {{slice}} may stumble over. The last has none.
func (m *message) extremes(longest values) (all []values) {
	var uses []string
	for _, u := range m.uses {
		if u != "Business" { // is always there
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
	short := values{Name: "Al", Business: longest.Business, Line: "x", LineNumber: "+12", Wait: "a minute", Queue: "x", NextOpening: "at 8:00"}
	return slices.Insert(all, len(all)-1, short)
}
