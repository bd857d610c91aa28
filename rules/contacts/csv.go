package contacts

import (
	"slices"
	"strings"

	"textback/rules"
	"textback/rules/strict"
)

// maxQuotedLines is how many lines a quoted value may have. A quote that is
// never closed would take the rest of the file for one value.
const maxQuotedLines = 50

// maxColumns bounds a row: Google's export has some hundred.
const maxColumns = 1000

// delimiter is what separates the values of a table: commas, semicolons where the
// comma is for decimals (Excel in most of Europe), or tabs.
func delimiter(first string) byte {
	counts, quoted := map[byte]int{}, false
	for i := range len(first) {
		switch c := first[i]; {
		case c == '"':
			quoted = !quoted
		case !quoted:
			counts[c]++
		}
	}
	best := byte(',')
	for _, c := range []byte{';', '\t'} {
		if counts[c] > counts[best] {
			best = c
		}
	}
	return best
}

// A row is what stands between two ends of line outside of quotes.
type row struct {
	at     int
	values []place
}

// A splitter reads rows (RFC 4180, and what programs make of it).
type splitter struct {
	s     *source
	delim byte
	at    int
	r     row
}

// next returns the next row that is not blank; its values are good until then.
func (p *splitter) next() (*row, bool) {
	text := p.s.text
	for p.at < len(text) {
		p.r.at, p.r.values = p.at, p.r.values[:0]
		if !p.split() {
			end := strings.IndexByte(text[p.r.at:], '\n')
			if end < 0 {
				p.at = len(text)
			} else {
				p.at = p.r.at + end + 1
			}
			continue
		}
		for i := range p.r.values {
			if p.r.values[i].value != "" {
				return &p.r, true
			}
		}
	}
	return nil, false
}

// split reads the row at p.at; false when it cannot be read.
func (p *splitter) split() bool {
	text, i := p.s.text, p.at
	for {
		if len(p.r.values) == maxColumns {
			p.s.warn("rows that are too long", p.r.at, "this row is skipped: it has more than %d values", maxColumns)
			return false
		}
		begin := i
		value := ""
		if i < len(text) && text[i] == '"' {
			end, doubled, ok := closing(text, i+1)
			if !ok {
				p.s.warn("quotes that stay open", i, "this row is skipped: the quote that opens here is not closed")
				return false
			}
			if value = text[i+1 : end]; doubled {
				value = strings.ReplaceAll(value, `""`, `"`)
			}
			i = end + 1
			begin++
			rest := i
			for i < len(text) && text[i] != p.delim && text[i] != '\n' {
				i++
			}
			if rest != i { // "Bob" Smith
				value += text[rest:i]
			}
		} else {
			for i < len(text) && text[i] != p.delim && text[i] != '\n' {
				i++
			}
			value = text[begin:i]
		}
		p.r.values = append(p.r.values, place{value: strings.TrimSpace(value), at: begin})
		if i == len(text) {
			p.at = i
			return true
		}
		i++
		if text[i-1] == '\n' {
			p.at = i
			return true
		}
	}
}

// closing finds the quote that closes a value.
func closing(text string, from int) (end int, doubled, ok bool) {
	lines := 0
	for i := from; i < len(text); i++ {
		switch text[i] {
		case '\n':
			if lines++; lines > maxQuotedLines {
				return 0, false, false
			}
		case '"':
			if i+1 < len(text) && text[i+1] == '"' {
				doubled = true
				i++
				continue
			}
			return i, doubled, true
		}
	}
	return 0, false, false
}

// table reads a CSV file.
func (s *source) table() {
	p := splitter{s: s}
	first, _, _ := strings.Cut(s.text, "\n")
	if sep, ok := strings.CutPrefix(strings.ToLower(first), "sep="); ok && len(strings.TrimSpace(sep)) <= 1 && len(sep) > 0 {
		p.delim, p.at = sep[0], min(len(first)+1, len(s.text)) // Excel's own first line
	} else {
		p.delim = delimiter(first)
	}
	head, ok := p.next()
	if !ok {
		s.fail("this file is empty: its first line should name the columns, such as number,name,language,groups,vip,do_not_text")
		return
	}
	columns, width := s.columns(head), len(head.values)
	if columns == nil {
		return
	}
	n := strings.Count(s.text[p.at:], "\n") + 1
	s.people, s.numbers = make([]person, 0, n), make([]place, 0, n)
	for {
		r, ok := p.next()
		if !ok {
			return
		}
		if len(r.values) > width && slices.ContainsFunc(r.values[width:], func(v place) bool { return v.value != "" }) {
			s.warn("rows that are too long", r.values[width].at, "this row is skipped: it has %d values and the heading names %d columns; put values that hold a %s into quotes", len(r.values), width, delimiterNames[p.delim])
			continue
		}
		s.people = append(s.people, s.person(r, columns))
	}
}

var delimiterNames = map[byte]string{',': "comma", ';': "semicolon", '\t': "tab"}

// columns tells the field of each column, nil when the table cannot be used.
func (s *source) columns(head *row) []string {
	out := make([]string, len(head.values))
	chosen := map[string]bool{}
	for field, names := range s.opt.Columns {
		for i, h := range head.values {
			for _, n := range names {
				if fold(n) == fold(h.value) && h.value != "" {
					out[i], chosen[field] = field, true
				}
			}
		}
		if !chosen[field] && len(names) > 0 {
			s.warn("columns", head.at, "no column is headed %q, as contacts.columns.%s says", names[0], field)
		}
	}
	have := map[string]int{}
	for i, h := range head.values {
		field := out[i]
		if field == "" {
			if field = heading(h.value); chosen[field] {
				continue
			}
			out[i] = field
		}
		if field == "" {
			continue
		}
		if have[field]++; have[field] == 2 && field != "number" && field != "groups" {
			s.warn("columns", h.at, "a second column for %s: only the first that is filled in counts", field)
		}
	}
	if have["number"] == 0 {
		line, col := s.position(head.at)
		s.problems = append(s.problems, strict.Problem{File: s.name, Line: line, Col: col,
			Text: "no column holds phone numbers: head one \"number\", or name it in contacts.columns.number"})
		return nil
	}
	return out
}

// person reads one row.
func (s *source) person(r *row, columns []string) person {
	var full, first, last string
	p := person{at: r.at, from: len(s.numbers)}
	c := &p.contact
	for i := range min(len(r.values), len(columns)) {
		v := &r.values[i]
		if v.value == "" {
			continue
		}
		switch columns[i] {
		case "number":
			s.numbers = addNumbers(s.numbers, *v)
		case "name":
			if full == "" {
				full = v.value
			}
		case "first_name":
			if first == "" {
				first = v.value
			}
		case "last_name":
			if last == "" {
				last = v.value
			}
		case "groups":
			addGroups(c, s.groups.of(v.value, groupsOf))
		case "language":
			s.language(c, *v)
		case "vip":
			s.flag(&c.VIP, *v, "vip", false)
		case "do_not_text":
			s.flag(&c.DoNotText, *v, "do_not_text", true)
		case "blocked":
			s.flag(&c.Blocked, *v, "blocked", true)
		}
	}
	name(c, full, first, last)
	p.to = len(s.numbers)
	return p
}

func (s *source) language(c *rules.Contact, v place) {
	if c.Language != "" {
		return
	}
	l := s.languages.of(v.value, languageOf)
	if c.Language = l.code; !l.ok {
		s.warn("languages", v.at, "%q is no language that is known: write its two letters, such as en or es", shown(v.value))
	}
}

// flag reads a place for yes or no. What forbids is taken for said when it is
// neither, since whoever writes "since May" into that column means it.
func (s *source) flag(to *bool, v place, field string, forbids bool) {
	switch s.answers.of(v.value, answerOf) {
	case isYes:
		*to = true
	case isNeither:
		taken := "no"
		if forbids {
			taken = "yes"
			*to = true
		}
		s.warn("values that are neither yes nor no", v.at, "%s: %q is neither yes nor no and is taken for %s", field, shown(v.value), taken)
	}
}

// addNumbers takes one value, in which several numbers may stand (Google: "a ::: b").
func addNumbers(to []place, v place) []place {
	if !strings.ContainsAny(v.value, ":;,|\n") {
		return append(to, v)
	}
	for part := range strings.FieldsFuncSeq(strings.ReplaceAll(v.value, ";ext=", " x"), func(r rune) bool { return r == ':' || r == ';' || r == '|' || r == '\n' || r == ',' }) {
		if part = strings.TrimSpace(part); part != "" && strings.ContainsAny(part, "0123456789") {
			to = append(to, place{value: part, at: v.at})
		}
	}
	return to
}
