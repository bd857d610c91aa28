package contacts

import (
	"io"
	"mime/quotedprintable"
	"strings"
)

func isCard(text string) bool {
	t := strings.TrimLeft(text[:min(len(text), 1000)], " \t\n")
	return len(t) >= 11 && strings.EqualFold(t[:11], "BEGIN:VCARD")
}

// A property is one line of a card (RFC 6350 3.3), unfolded.
type property struct {
	at       int
	name     string // in capitals, without its group
	params   []string
	value    string
	encoding string // of 2.1: QUOTED-PRINTABLE or BASE64
	charset  string
}

// cards reads a vCard file: 3.0 (RFC 2426), 4.0 (RFC 6350) and what phones still
// write as 2.1.
func (s *source) cards() {
	var p *card
	var prop property
	n := strings.Count(s.text, "BEGIN:VCARD")
	s.people, s.numbers = make([]person, 0, n), make([]place, 0, n+n/4)
	for at := 0; at < len(s.text); {
		var line string
		begin := at
		line, at = s.unfold(at)
		if strings.TrimSpace(line) == "" {
			continue
		}
		if !prop.parse(line) {
			s.warn("lines that are no properties", begin, "this line is skipped: a property looks like TEL:+12025550143")
			continue
		}
		prop.at = begin
		if prop.encoding == "QUOTED-PRINTABLE" {
			// Its lines end with "=" where they go on.
			for strings.HasSuffix(prop.value, "=") && at < len(s.text) {
				more := s.text[at:]
				if end := strings.IndexByte(more, '\n'); end >= 0 {
					more = more[:end]
				}
				at += min(len(more)+1, len(s.text)-at)
				prop.value = prop.value[:len(prop.value)-1] + more
			}
			if b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(prop.value))); err == nil {
				prop.value = string(b)
			}
		}
		if prop.charset != "" && !strings.EqualFold(prop.charset, "utf-8") {
			prop.value = charset(prop.charset, prop.value)
		}
		switch {
		case prop.name == "BEGIN":
			if strings.EqualFold(strings.TrimSpace(prop.value), "VCARD") {
				if p != nil {
					s.warn("cards without an end", p.person.at, "this card has no END:VCARD before the next one begins")
					s.people = append(s.people, p.done(s))
				}
				p = &card{person: person{at: begin, from: len(s.numbers)}}
			}
		case p == nil:
			s.warn("lines outside of cards", begin, "this line stands outside of a card and is skipped")
		case prop.name == "END":
			s.people = append(s.people, p.done(s))
			p = nil
		default:
			p.add(s, &prop)
		}
	}
	if p != nil {
		s.warn("cards without an end", p.person.at, "this card has no END:VCARD: the file may be cut off")
		s.people = append(s.people, p.done(s))
	}
}

// unfold returns the logical line at an offset, and where the next one begins.
// Lines that begin with a blank go on with the one before (RFC 6350 3.2).
func (s *source) unfold(at int) (line string, next int) {
	cut := func() string {
		rest := s.text[at:]
		if end := strings.IndexByte(rest, '\n'); end >= 0 {
			at += end + 1
			return rest[:end]
		}
		at = len(s.text)
		return rest
	}
	line = cut()
	if at >= len(s.text) || s.text[at] != ' ' && s.text[at] != '\t' {
		return line, at
	}
	var b strings.Builder
	b.WriteString(line)
	for at < len(s.text) && (s.text[at] == ' ' || s.text[at] == '\t') {
		b.WriteString(cut()[1:])
	}
	return b.String(), at
}

// parse reads [group.]NAME[;params]:value.
func (p *property) parse(line string) bool {
	*p = property{params: p.params[:0]}
	quoted, begin, named := false, 0, false
	take := func(part string) {
		if !named {
			named = true
			if i := strings.LastIndexByte(part, '.'); i >= 0 {
				part = part[i+1:]
			}
			p.name = strings.ToUpper(strings.TrimSpace(part))
			return
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			value = key // 2.1: TEL;CELL
		}
		switch {
		case strings.EqualFold(key, "ENCODING"), !ok && strings.EqualFold(value, "QUOTED-PRINTABLE"), !ok && strings.EqualFold(value, "BASE64"):
			p.encoding = strings.ToUpper(value)
		case strings.EqualFold(key, "CHARSET"):
			p.charset = strings.Trim(value, `"`)
		default:
			p.params = append(p.params, part)
		}
	}
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ';':
			take(line[begin:i])
			begin = i + 1
		case c == ':':
			take(line[begin:i])
			p.value = line[i+1:]
			return p.name != ""
		}
	}
	return false
}

// is reports whether the property has a TYPE.
func (p *property) is(typ string) bool {
	for _, param := range p.params {
		key, value, ok := strings.Cut(param, "=")
		if !ok {
			value = key
		} else if !strings.EqualFold(key, "TYPE") {
			continue
		}
		for t := range strings.SplitSeq(strings.Trim(value, `"`), ",") {
			if strings.EqualFold(strings.TrimSpace(t), typ) {
				return true
			}
		}
	}
	return false
}

// A card is a person in the making.
type card struct {
	person            person
	full, first, last string
}

func (p *card) add(s *source, prop *property) {
	c := &p.person.contact
	switch prop.name {
	case "TEL":
		v := prop.value
		if rest, ok := cutPrefixFold(v, "tel:"); ok { // 4.0: a URI (RFC 3966)
			number, params, _ := strings.Cut(rest, ";")
			v = number
			for param := range strings.SplitSeq(params, ";") {
				if context, ok := cutPrefixFold(param, "phone-context="); ok && strings.HasPrefix(context, "+") && !strings.HasPrefix(number, "+") {
					v = context + number
				}
			}
		} else {
			v = unescape(v)
		}
		if v = strings.TrimSpace(v); v == "" || prop.is("fax") && !prop.is("voice") && !prop.is("cell") {
			return
		}
		s.numbers = append(s.numbers, place{value: v, at: prop.at})
	case "FN":
		if p.full == "" {
			p.full = unescape(prop.value)
		}
	case "N":
		if parts := split(prop.value, ';'); p.first == "" && p.last == "" {
			p.last = unescape(parts[0])
			if len(parts) > 1 {
				p.first = unescape(parts[1])
			}
		}
	case "ORG":
		if p.full == "" && p.first == "" && p.last == "" {
			p.full = unescape(split(prop.value, ';')[0])
		}
	case "LANG", "LANGUAGE", "X-LANGUAGE":
		s.language(c, place{value: unescape(prop.value), at: prop.at})
	case "CATEGORIES":
		for _, g := range split(prop.value, ',') {
			addGroups(c, s.groups.of(unescape(g), groupsOf))
		}
	case "X-VIP":
		s.flag(&c.VIP, place{value: prop.value, at: prop.at}, prop.name, false)
	case "X-DO-NOT-TEXT":
		s.flag(&c.DoNotText, place{value: prop.value, at: prop.at}, prop.name, true)
	case "X-BLOCKED":
		s.flag(&c.Blocked, place{value: prop.value, at: prop.at}, prop.name, true)
	}
}

func (p *card) done(s *source) person {
	name(&p.person.contact, p.full, p.first, p.last)
	p.person.to = len(s.numbers)
	return p.person
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// split cuts a value at separators that are not escaped.
func split(s string, sep byte) []string {
	var out []string
	begin := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			out = append(out, s[begin:i])
			begin = i + 1
		}
	}
	return append(out, s[begin:])
}

var escapes = strings.NewReplacer(`\n`, "\n", `\N`, "\n", `\,`, ",", `\;`, ";", `\\`, `\`, `\:`, ":")

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	return escapes.Replace(s)
}
