// Package contacts is in charge of address books: CSV and vCard files become a
// Book that tells what the office knows of a caller by the number alone. Rows
// that cannot be read are skipped and told of, never silently.
package contacts

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"textback/rules"
	"textback/rules/strict"
)

// Options say how files are read.
type Options struct {
	// Region is where numbers without a country code are at home: ISO 3166, "US".
	Region string
	// Columns are headings of CSV files that stand for a field, by the field's name
	// (see Fields). They come first; without any, usual headings are known.
	Columns map[string][]string
	// Thorough holds every number against its numbering plan and tells of those that
	// do not exist. They do no harm, since nobody calls from them, and looking takes
	// time: little in North America and for the region's own numbers, for others
	// forty times as long as reading.
	Thorough bool
}

// A Book is one or more address books, joined. It never changes: any number
// of goroutines may look things up.
type Book struct{ people map[string]entry }

// An entry is a contact and where its number stood first.
type entry struct {
	*rules.Contact
	source, person int32
}

// Of makes a Book of contacts by E.164 number.
func Of(people map[string]rules.Contact) *Book {
	b := &Book{people: make(map[string]entry, len(people))}
	for n, c := range people {
		b.people[n] = entry{Contact: &c}
	}
	return b
}

// Lookup returns who has the number, nil when nobody does. The Contact belongs
// to the Book: nobody may change it.
func (b *Book) Lookup(e164 string) *rules.Contact {
	if b == nil {
		return nil
	}
	return b.people[e164].Contact
}

// Len is how many numbers the Book knows.
func (b *Book) Len() int {
	if b == nil {
		return 0
	}
	return len(b.people)
}

// maxFile bounds a file: 50,000 contacts with photos left out are 20 MB at most.
const maxFile = 256 << 20

// Open reads files, whose kind follows from their content. It returns every
// problem, in the files' order; the Book is nil when one is more than a warning.
func Open(files []string, opt Options) (*Book, []strict.Problem) {
	var all []*source
	for _, name := range files {
		b, err := read(name)
		if err != nil {
			all = append(all, &source{name: name, problems: []strict.Problem{{File: name, Text: err.Error()}}})
			continue
		}
		all = append(all, parse(name, b, &opt))
	}
	return join(all, &opt)
}

// Parse is Open of one file whose bytes are b.
func Parse(name string, b []byte, opt Options) (*Book, []strict.Problem) {
	return join([]*source{parse(name, b, &opt)}, &opt)
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err == nil {
		defer f.Close()
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil {
			if !info.Mode().IsRegular() {
				return nil, errors.New("this is not a file")
			}
			b := make([]byte, 0, min(info.Size(), maxFile)+512)
			for err == nil && len(b) <= maxFile {
				b = slices.Grow(b, 512)
				var n int
				n, err = f.Read(b[len(b):cap(b)])
				b = b[:len(b)+n]
			}
			if err == io.EOF {
				return b, nil
			}
			if err == nil {
				return nil, errors.New("this file is too large for an address book: leave photos out of it")
			}
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("this file cannot be read by this user")
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return nil, err
}

// A source is one file on its way into a Book.
type source struct {
	name     string
	text     string // the whole file, UTF-8, lines ended by \n
	opt      *Options
	people   []person
	numbers  []place // of all people
	problems []strict.Problem
	left     map[string]int // problems beyond perKind, by kind
	seen     map[string]int // problems by kind

	groups    memory[groupList]
	languages memory[language]
	answers   memory[answer]
}

// A person is one row or card.
type person struct {
	contact  rules.Contact
	at       int // where it begins
	from, to int // its numbers among the source's
}

// A place is a value and where in the text it stands.
type place struct {
	value string
	at    int
	e164  string // of value, once known
	why   string // value is no number
}

func parse(name string, b []byte, opt *Options) *source {
	s := &source{name: name, opt: opt, left: map[string]int{}, seen: map[string]int{},
		groups: memory[groupList]{}, languages: memory[language]{}, answers: memory[answer]{}}
	var note string
	if s.text, note = decode(b); note != "" {
		s.warn("encoding", -1, "%s", note)
	}
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case strings.HasPrefix(s.text, "PK\x03\x04"):
		s.problems = nil
		s.fail("this is a spreadsheet, not a CSV file: save it as \"CSV UTF-8\"")
	case strings.IndexByte(s.text, 0) >= 0:
		s.problems = nil
		s.fail("this is no text: want a CSV or vCard file")
	case isCard(s.text):
		s.cards()
	case ext == ".vcf" || ext == ".vcard":
		s.fail("this is no vCard file: it does not begin with BEGIN:VCARD")
	default:
		s.table()
	}
	return s
}

// perKind is how many problems of one kind are told of in full: a column that
// was misunderstood is wrong in every row.
const perKind = 10

// warn tells of what is at an offset of the text; -1 is the whole file.
func (s *source) warn(kind string, at int, format string, args ...any) {
	if !s.tell(kind) {
		return
	}
	s.seen[kind]++
	p := strict.Problem{File: s.name, Warning: true, Text: fmt.Sprintf(format, args...)}
	if at >= 0 {
		p.Line, p.Col = s.position(at)
	}
	s.problems = append(s.problems, p)
}

// tell counts a problem, and says whether it is one of the first of its kind.
func (s *source) tell(kind string) bool {
	if s.seen[kind] < perKind {
		return true
	}
	s.left[kind]++
	return false
}

func (s *source) fail(format string, args ...any) {
	s.problems = append(s.problems, strict.Problem{File: s.name, Text: fmt.Sprintf(format, args...)})
}

// position is the line and column of an offset, both from 1; columns are characters.
func (s *source) position(at int) (line, col int) {
	at = min(at, len(s.text))
	start := strings.LastIndexByte(s.text[:at], '\n') + 1
	return 1 + strings.Count(s.text[:start], "\n"), 1 + utf8.RuneCountInString(s.text[start:at])
}

// shown is a value as it stands in problems, which also reach the log: phone
// numbers do not.
func shown(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r >= '0' && r <= '9' {
			out[i] = '#'
		}
	}
	if len(out) > 30 {
		out = append(out[:29], '…')
	}
	return string(out)
}

// join makes a Book of all sources.
func join(all []*source, opt *Options) (*Book, []strict.Problem) {
	total := 0
	for _, s := range all {
		s.normalise(planOf(opt.Region))
		total += len(s.numbers)
	}
	book := &Book{people: make(map[string]entry, total)}
	for i, s := range all {
		s.join(book, all, int32(i))
	}
	var problems []strict.Problem
	bad := false
	for _, s := range all {
		slices.SortStableFunc(s.problems, func(a, b strict.Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
		})
		for _, kind := range slices.Sorted(maps.Keys(s.left)) {
			s.problems = append(s.problems, strict.Problem{File: s.name, Warning: true, Text: fmt.Sprintf("%d more of this kind: %s", s.left[kind], kind)})
		}
		for _, p := range s.problems {
			bad = bad || !p.Warning
		}
		problems = append(problems, s.problems...)
	}
	if bad {
		return nil, problems
	}
	return book, problems
}

// normalise makes E.164 of every number, on all processors.
func (s *source) normalise(p plan) {
	n := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for part := range slices.Chunk(s.numbers, max(len(s.numbers)/n+1, 500)) {
		wg.Go(func() {
			for i := range part {
				part[i].e164, part[i].why = p.e164(part[i].value, s.opt.Thorough)
			}
		})
	}
	wg.Wait()
}

const twiceKind = "numbers that stand twice"

// join puts the source's people into the book; it is the self-th of all.
func (s *source) join(book *Book, all []*source, self int32) {
	none, noneAt := 0, -1
	for i := range s.people {
		p := &s.people[i]
		good := 0
		for _, n := range s.numbers[p.from:p.to] {
			if n.why != "" {
				s.warn("numbers that are none", n.at, "%q is left out: %s", shown(n.value), n.why)
				continue
			}
			good++
			had, twice := book.people[n.e164]
			if !twice {
				book.people[n.e164] = entry{&p.contact, self, int32(i)}
				continue
			}
			if had.source == self && had.person == int32(i) {
				continue // the same one twice on one card
			}
			merged, differ := merge(*had.Contact, p.contact)
			book.people[n.e164] = entry{&merged, had.source, had.person}
			if !s.tell(twiceKind) {
				continue
			}
			other := all[had.source]
			line, _ := other.position(other.people[had.person].at)
			what := "what they say is joined"
			if differ {
				what += ", and texts use neither name"
			}
			s.warn(twiceKind, n.at, "this number stands in line %d of %s already: %s", line, other.name, what)
		}
		if p.from == p.to {
			if none++; none == 1 {
				noneAt = p.at
			}
		} else if good == 0 {
			s.warn("contacts left out", p.at, "this contact is left out: none of its numbers could be read")
		}
	}
	switch none {
	case 0:
	case 1:
		s.warn("no number", noneAt, "this contact has no number and is left out")
	default:
		s.warn("no number", noneAt, "%d contacts have no number and are left out; this is the first", none)
	}
}

// merge joins what two entries say of one number. What forbids wins over what
// allows; differ tells that it belongs to people of different names.
func merge(a, b rules.Contact) (c rules.Contact, differ bool) {
	c = a
	if a.Name == "" {
		c.Name, c.FirstName = b.Name, cmp.Or(b.FirstName, a.FirstName)
	} else if b.Name != "" {
		if differ = !strings.EqualFold(a.Name, b.Name); differ {
			// Staff see both; nobody is greeted by the other's name: a name with a
			// slash in it is no person's.
			if !strings.Contains(" / "+a.Name+" / ", " / "+b.Name+" / ") {
				c.Name = clip(a.Name+" / "+b.Name, maxName)
			}
			c.FirstName = ""
		} else {
			c.FirstName = cmp.Or(a.FirstName, b.FirstName)
		}
	}
	switch {
	case a.Language == "":
		c.Language = b.Language
	case b.Language != "" && b.Language != a.Language:
		c.Language = "" // the line's
	}
	if len(b.Groups) > 0 {
		c.Groups = slices.Clone(a.Groups)
		for _, g := range b.Groups {
			if !slices.Contains(c.Groups, g) {
				c.Groups = append(c.Groups, g)
			}
		}
	}
	c.VIP = a.VIP || b.VIP
	c.DoNotText = a.DoNotText || b.DoNotText
	c.Blocked = a.Blocked || b.Blocked
	return c, differ
}

// Merge joins what two sources say of a caller, either of which may be nil:
// the second adds to the first, and do-not-text and blocked hold whoever says so.
func Merge(first, more *rules.Contact) *rules.Contact {
	switch {
	case first == nil:
		return more
	case more == nil:
		return first
	}
	c := *first
	if c.Name == "" {
		c.Name, c.FirstName = more.Name, cmp.Or(c.FirstName, more.FirstName)
	} else if strings.EqualFold(c.Name, more.Name) {
		c.FirstName = cmp.Or(c.FirstName, more.FirstName)
	}
	c.Language = cmp.Or(c.Language, more.Language)
	joined, _ := merge(rules.Contact{Groups: c.Groups}, rules.Contact{Groups: more.Groups})
	c.Groups = joined.Groups
	c.VIP = c.VIP || more.VIP
	c.DoNotText = c.DoNotText || more.DoNotText
	c.Blocked = c.Blocked || more.Blocked
	return &c
}
