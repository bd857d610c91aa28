package httpapi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"textback/rules/gsm7"
	"textback/rules/strict"
	"textback/sms"
	"textback/sms/hook"
)

// Placeholders that every template knows, beside those of the configuration.
// Numbers are those that stand as numbers in JSON.
var (
	placeholders = []string{"to", "from", "body", "id", "segments", "encoding", "validity", "validity_minutes", "expires", "callback"}
	numbers      = map[string]bool{"segments": true, "validity": true, "validity_minutes": true}
	// flags choose between two words: {unicode?2:0}.
	flags = []string{"unicode", "long"}
	// filters change a value: {to|digits}.
	filters = map[string]func(string) string{
		"plus":   plainly,
		"digits": digitsOf,
		"00":     zeros,
		"url":    url.QueryEscape,
		"hex":    utf16hex,
		"text":   plainly, // makes a word of a number, in JSON
	}
)

func digitsOf(s string) string {
	if e164.MatchString(s) {
		return s[1:]
	}
	return s
}

func zeros(s string) string {
	if e164.MatchString(s) {
		return "00" + s[1:]
	}
	return s
}

var e164 = regexp.MustCompile(`^\+[0-9]{7,15}$`)

// utf16hex is how gateways of the GSM world take Unicode: four digits a unit.
func utf16hex(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u>>8), byte(u))
	}
	return strings.ToUpper(hex.EncodeToString(b))
}

// placeholder is "{name}", "{name|filter|filter}" or "{flag?yes:no}". A brace that
// is not followed by a small letter is a brace.
var placeholder = regexp.MustCompile(`\{([a-z][a-z0-9_]*)((?:\|[a-z0-9]+)*)(?:\?([^{}:]*):([^{}:]*))?\}`)

// A template is text with placeholders.
type template struct{ pieces []piece }

// A piece is literal text, or a placeholder's name.
type piece struct {
	literal string
	name    string
	filters []string
	yes, no string // for a flag
	flag    bool
}

// parse reads s. known says which names the configuration fills.
func parse(s string, known []string) (template, error) {
	var t template
	for {
		at := placeholder.FindStringSubmatchIndex(s)
		if at == nil {
			break
		}
		if at[0] > 0 {
			t.pieces = append(t.pieces, piece{literal: s[:at[0]]})
		}
		p := piece{name: s[at[2]:at[3]], flag: at[6] >= 0}
		if p.flag {
			p.yes, p.no = s[at[6]:at[7]], s[at[8]:at[9]]
			if !slices.Contains(flags, p.name) {
				return t, fmt.Errorf("{%s?…:…} asks for something that is not yes or no%s (one of: %s)", p.name, strict.DidYouMean(p.name, flags), strings.Join(flags, ", "))
			}
		} else if !slices.Contains(known, p.name) {
			return t, fmt.Errorf("unknown placeholder {%s}%s (one of: %s)", p.name, strict.DidYouMean(p.name, known), strings.Join(known, ", "))
		}
		for f := range strings.SplitSeq(strings.TrimPrefix(s[at[4]:at[5]], "|"), "|") {
			if f == "" {
				continue
			}
			if filters[f] == nil {
				names := slices.Sorted(maps.Keys(filters))
				return t, fmt.Errorf("unknown filter %q%s (one of: %s)", f, strict.DidYouMean(f, names), strings.Join(names, ", "))
			}
			p.filters = append(p.filters, f)
		}
		t.pieces = append(t.pieces, p)
		s = s[at[1]:]
	}
	if s != "" {
		t.pieces = append(t.pieces, piece{literal: s})
	}
	return t, nil
}

// has reports whether name stands in t.
func (t template) has(name string) bool {
	return slices.ContainsFunc(t.pieces, func(p piece) bool { return p.name == name })
}

// number reports whether t is a number and nothing else.
func (t template) number() bool {
	return len(t.pieces) == 1 && numbers[t.pieces[0].name] && len(t.pieces[0].filters) == 0
}

// values are what placeholders stand for.
type values struct {
	text  map[string]string
	flags map[string]bool
}

// render replaces the placeholders, each value through escape. empty is true when
// there are placeholders and none of them has a value: then whoever can leaves
// the whole thing out.
func (t template) render(v values, escape func(string) string) (s string, empty bool) {
	var b strings.Builder
	named, filled := false, false
	for _, p := range t.pieces {
		switch {
		case p.name == "":
			b.WriteString(p.literal)
		case p.flag:
			filled = true
			if v.flags[p.name] {
				b.WriteString(p.yes)
			} else {
				b.WriteString(p.no)
			}
		default:
			named = true
			value := v.text[p.name]
			for _, f := range p.filters {
				value = filters[f](value)
			}
			if value != "" {
				filled = true
				b.WriteString(escape(value))
			}
		}
	}
	return b.String(), named && !filled
}

func plainly(s string) string { return s }

func inXML(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}

// A node is a piece of JSON whose strings are templates.
type node struct {
	kind  byte // '{', '[', '"' or 0 for a literal
	keys  []string
	items []node
	leaf  template
	raw   json.RawMessage
}

const maxJSONDepth = 20

// parseJSON reads a JSON template.
func parseJSON(s string, known []string) (node, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	n, err := parseNode(d, known, 0)
	if err != nil {
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &syntax):
			return n, fmt.Errorf("not valid JSON: line %d of it: %v", 1+strings.Count(s[:min(int(syntax.Offset), len(s))], "\n"), err)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return n, errors.New("not valid JSON: it ends in the middle")
		}
		return n, err
	}
	if _, err := d.Token(); err != io.EOF {
		return n, errors.New("not valid JSON: something follows after its end")
	}
	return n, nil
}

func parseNode(d *json.Decoder, known []string, depth int) (node, error) {
	if depth > maxJSONDepth {
		return node{}, errors.New("nested too deep")
	}
	tok, err := d.Token()
	if err != nil {
		return node{}, err
	}
	switch x := tok.(type) {
	case json.Delim:
		n := node{kind: byte(x)}
		for d.More() {
			if n.kind == '{' {
				key, err := d.Token()
				if err != nil {
					return n, err
				}
				n.keys = append(n.keys, key.(string))
			}
			item, err := parseNode(d, known, depth+1)
			if err != nil {
				return n, err
			}
			n.items = append(n.items, item)
		}
		_, err := d.Token() // its end
		return n, err
	case string:
		t, err := parse(x, known)
		return node{kind: '"', leaf: t}, err
	}
	raw, err := json.Marshal(tok)
	return node{raw: raw}, err
}

// has reports whether name stands anywhere in n.
func (n node) has(name string) bool {
	return n.leaf.has(name) || slices.ContainsFunc(n.items, func(i node) bool { return i.has(name) })
}

// write appends n. A member whose placeholders are all empty is left out.
func (n node) write(b *bytes.Buffer, v values) {
	switch n.kind {
	case '{', '[':
		b.WriteByte(n.kind)
		first := true
		for i, item := range n.items {
			if item.kind == '"' {
				if _, empty := item.leaf.render(v, plainly); empty {
					continue
				}
			}
			if !first {
				b.WriteByte(',')
			}
			first = false
			if n.kind == '{' {
				writeString(b, n.keys[i])
				b.WriteByte(':')
			}
			item.write(b, v)
		}
		b.WriteByte(n.kind + 2) // ASCII: '{' and '}', '[' and ']'
	case '"':
		s, _ := n.leaf.render(v, plainly)
		if n.leaf.number() && s != "" {
			b.WriteString(s)
			return
		}
		writeString(b, s)
	default:
		b.Write(n.raw)
	}
}

func writeString(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)         // a buffer takes everything
	b.Truncate(b.Len() - 1) // the newline
}

// of returns what the placeholders stand for in one message.
func (t *Transport) of(m sms.Message) values {
	segments, encoding := gsm7.Segments(m.Body)
	from := m.From
	if from == "" {
		from = t.opt.From
	}
	v := values{text: maps.Clone(t.fixed), flags: map[string]bool{"unicode": encoding != "GSM-7", "long": segments > 1}}
	form := filters[t.numbers]
	v.text["to"], v.text["from"], v.text["body"], v.text["id"] = form(m.To), form(from), m.Body, m.ID
	v.text["segments"], v.text["encoding"] = strconv.Itoa(segments), encoding
	if d := t.opt.Validity; d > 0 {
		v.text["validity"] = strconv.Itoa(int(d / time.Second))
		v.text["validity_minutes"] = strconv.Itoa(max(1, int(d/time.Minute)))
		v.text["expires"] = t.opt.Now().Add(d).UTC().Format(time.RFC3339)
	}
	v.text["callback"] = t.callback(v)
	return v
}

// callback is the URL that receipts of this message are sent to, with what the
// provider shall give back; empty when nothing can be received.
func (t *Transport) callback(v values) string {
	if t.opt.PublicURL == "" || t.spec.Receipt == nil {
		return ""
	}
	u := t.opt.PublicURL + hook.Status
	var query []string
	if where, name, _ := strings.Cut(t.verifySecret(), ":"); where == "path" {
		u += "/" + url.PathEscape(t.opt.InboundSecret)
	} else if where == "query" || where == "field" {
		query = append(query, url.QueryEscape(name)+"="+url.QueryEscape(t.opt.InboundSecret))
	}
	for _, p := range t.back {
		s, _ := p.value.render(v, url.QueryEscape)
		query = append(query, url.QueryEscape(p.name)+"="+s)
	}
	if len(query) > 0 {
		u += "?" + strings.Join(query, "&")
	}
	return u
}
