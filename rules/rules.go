// Package rules is in charge of the policy in rules.yaml: reading and checking
// it, and deciding what becomes of a call. Decide is pure: facts and the time
// go in, a Decision with all its reasons comes out.
//
// Two things must agree before a text leaves. The rules, one ordered list of
// which the first match wins, say what is sent after which call. The guards,
// the same for every text whatever the rules say, are asked in a fixed order
// when a call has ended (Decide) and again when its text is due (Recheck).
//
// What can be found out about rules.yaml is found out when it is read: each
// message is rendered in every branch, and rules that no call reaches are
// problems. Lint finds what works and is hardly meant. Package strict reads the
// YAML, package ical holidays, package gsm7 counts segments.
package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"textback/pbx"
	"textback/rules/strict"
)

// Problem is one thing wrong with rules.yaml.
type Problem = strict.Problem

// Rules are a checked rules.yaml. They do not change and are safe for
// concurrent use.
type Rules struct {
	file     file
	version  string
	named    []string // files beside it
	zone     *time.Location
	office   *office // where no line says otherwise
	lines    []*office
	numbers  numbers
	messages map[string]*message
	staff    []Staff
	rep      *strict.Report // where everything stands, for Lint
}

// file is rules.yaml as it stands.
type file struct {
	Version     int                     `yaml:"version"`
	Business    business                `yaml:"business"`
	Mode        string                  `yaml:"mode"`
	Zone        string                  `yaml:"timezone"`
	Language    string                  `yaml:"language"`
	Clock       string                  `yaml:"clock"` // "24h" or "12h": how texts tell times
	Regions     []string                `yaml:"regions"`
	NumberTypes []string                `yaml:"number_types"`
	Hours       hours                   `yaml:"hours"`
	Exceptions  strict.Keyed[[]string]  `yaml:"exceptions"`
	ClosedOn    []string                `yaml:"closed_on"`
	Holidays    []string                `yaml:"holidays"`
	Lines       strict.Keyed[line]      `yaml:"lines"`
	Defaults    defaults                `yaml:"defaults"`
	Guards      guards                  `yaml:"guards"`
	Staff       strict.Keyed[staff]     `yaml:"staff"`
	Messages    strict.Keyed[languages] `yaml:"messages"`
	Rules       []rule                  `yaml:"rules"`
}

type business struct {
	Name    string `yaml:"name"`
	Phone   string `yaml:"phone"`   // where to call back, as it is to be written in texts; empty: the line that was called
	Booking string `yaml:"booking"` // a URL; {tag} in it becomes the call's
}

// line is what differs on a line. A key that is set stands in place of the
// business's own; one that is not leaves it in force.
type line struct {
	Business   string                  `yaml:"business"`
	Phone      string                  `yaml:"phone"` // where to call back; empty: the line itself
	Language   string                  `yaml:"language"`
	Zone       string                  `yaml:"timezone"`
	Hours      *hours                  `yaml:"hours"`
	Exceptions *strict.Keyed[[]string] `yaml:"exceptions"`
	ClosedOn   *[]string               `yaml:"closed_on"`
	Holidays   *[]string               `yaml:"holidays"`
}

type hours struct {
	Mon []string `yaml:"mon"`
	Tue []string `yaml:"tue"`
	Wed []string `yaml:"wed"`
	Thu []string `yaml:"thu"`
	Fri []string `yaml:"fri"`
	Sat []string `yaml:"sat"`
	Sun []string `yaml:"sun"`
}

// weekdays are the keys of hours and the words of days, in time.Weekday's order.
var weekdays = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// days are in time.Weekday's order.
func (h *hours) days() [7][]string {
	return [7][]string{h.Sun, h.Mon, h.Tue, h.Wed, h.Thu, h.Fri, h.Sat}
}

type defaults struct {
	Delay  time.Duration `yaml:"delay"`
	Window time.Duration `yaml:"window"`
	Fresh  time.Duration `yaml:"fresh"`
}

type guards struct {
	QuietHours quietHours       `yaml:"quiet_hours"`
	Budgets    budgets          `yaml:"budgets"`
	Weak       weakAttestation  `yaml:"weak_attestation"`
	Prices     map[string]Money `yaml:"prices"` // of one segment, by region; "default" for the others
}

type quietHours struct {
	Texts     string        `yaml:"texts"`      // when texts may leave, in every zone the number may be in
	Strict    bool          `yaml:"strict"`     // binds every text
	AfterCall time.Duration `yaml:"after_call"` // not strict: binds follow-ups, and texts later than this after the call

	span span
}

type budgets struct {
	PerCaller      limit  `yaml:"per_caller"`       // texts in 24 h
	PerPrefix      limit  `yaml:"per_prefix"`       // texts in an hour to numbers that differ in their last 4 digits only
	PerMinute      limit  `yaml:"per_minute"`       // texts to anybody
	SegmentsPerDay limit  `yaml:"segments_per_day"` // of the business's zone
	MoneyPerDay    budget `yaml:"money_per_day"`
}

// weakAttestation are the budgets of calls whose number nobody vouches for
// (STIR/SHAKEN attestation C).
type weakAttestation struct {
	PerCaller limit `yaml:"per_caller"`
	PerPrefix limit `yaml:"per_prefix"`
	PerMinute limit `yaml:"per_minute"`
	Absent    bool  `yaml:"absent"` // also for calls without any attestation; false, because most PBXs never see one
}

type staff struct {
	Email    string `yaml:"email"`
	Text     string `yaml:"text"`
	Webhook  string `yaml:"webhook"`
	Language string `yaml:"language"`
}

// languages is one text for everybody, or one each for several languages.
type languages struct {
	All string               // one text
	By  strict.Keyed[string] // or by language
}

// Either makes one text of a single value, and several of keys.
func (l *languages) Either(single bool) any {
	if single {
		return &l.All
	}
	return &l.By
}

type rule struct {
	Name      string         `yaml:"name"`
	When      when           `yaml:"when"`
	Send      string         `yaml:"send"` // a message's name
	Text      string         `yaml:"text"` // or a message of the rule's own
	Nothing   string         `yaml:"nothing"`
	Delay     *time.Duration `yaml:"delay"`
	Window    *time.Duration `yaml:"window"`
	FollowUps []followUp     `yaml:"follow_ups"`
	Task      *task          `yaml:"task"`
	Notify    []string       `yaml:"notify"`
	Tags      []string       `yaml:"tags"`

	line   int
	msg    *message // what is sent, nil for nothing
	allows string   // why a text is sent
}

// followUp is a text or a task, some time after the first text.
type followUp struct {
	After  time.Duration `yaml:"after"`
	Send   string        `yaml:"send"`
	Text   string        `yaml:"text"`
	Assign string        `yaml:"assign"` // staff
	Within time.Duration `yaml:"within"`

	msg *message
}

type task struct {
	Owner  string        `yaml:"owner"` // staff
	Within time.Duration `yaml:"within"`
}

// defaultWithin is how long a callback task may take unless its rule says.
const defaultWithin = 4 * time.Hour

// Defaults are what a task has unless told otherwise.
func (t *task) Defaults() { t.Within = defaultWithin }

// when holds a rule's conditions; all that are set must hold.
type when struct {
	Outcome     []string               `yaml:"outcome"`
	Reason      []string               `yaml:"reason"`
	Certain     *bool                  `yaml:"certain"`
	Line        []string               `yaml:"line"`
	Caller      []string               `yaml:"caller"`
	NotCaller   []string               `yaml:"not_caller"`
	Anonymous   *bool                  `yaml:"anonymous"`
	Internal    *bool                  `yaml:"internal"`
	Region      []string               `yaml:"region"`
	Contact     []string               `yaml:"contact"`
	Group       []string               `yaml:"group"`
	Attestation []string               `yaml:"attestation"`
	Attempts    *count                 `yaml:"attempts"`
	Ring        *between               `yaml:"ring"`
	Wait        *between               `yaml:"wait"`
	QueueWait   *between               `yaml:"queue_wait"`
	MessageLeft *bool                  `yaml:"message_left"`
	Open        *bool                  `yaml:"open"`
	Hours       []string               `yaml:"hours"`
	Dates       []string               `yaml:"dates"`
	Days        []string               `yaml:"days"`
	Time        []string               `yaml:"time"`
	Queue       []string               `yaml:"queue"`
	Menu        *bool                  `yaml:"menu"`
	Forwarded   *bool                  `yaml:"forwarded"`
	Tried       []string               `yaml:"tried"`
	PBX         strict.Keyed[[]string] `yaml:"pbx"`

	compiled compiled
}

type between struct {
	Under   *time.Duration `yaml:"under"`
	AtLeast *time.Duration `yaml:"at_least"`
}

// count is between for whole numbers.
type count struct {
	Under   *int `yaml:"under"`
	AtLeast *int `yaml:"at_least"`
}

// Load reads and checks rules.yaml. The Rules are nil when a problem is more
// than a warning.
func Load(path string) (*Rules, []Problem) {
	r, problems := LoadPart(path)
	if r == nil || r.rep.Bad() {
		return nil, problems
	}
	return r, problems
}

// LoadPart is Load for whoever looks for problems only: rules with errors are returned too, and must
// decide about nothing; Sure tells what is right in them. Nil is what is no YAML, or no file.
func LoadPart(path string) (*Rules, []Problem) {
	b, err := os.ReadFile(path)
	if err != nil {
		text := "it cannot be read: " + plainly(err)
		if errors.Is(err, fs.ErrNotExist) {
			text = "there is no such file: begin with configs/rules.yaml, or name another one as rules: in textback.yaml"
		}
		return nil, []Problem{{File: path, Text: text}}
	}
	r, rep := readAll(filepath.Clean(path), b, func(name string) ([]byte, error) { return readBeside(path, name) })
	if r.zone == nil { // nothing has been looked at
		return nil, rep.Problems
	}
	return r, rep.Problems
}

// Files are those that were read beside rules.yaml: holidays.
func (r *Rules) Files() (all []string) {
	for _, name := range r.named {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(r.rep.File), name)
		}
		all = append(all, name)
	}
	return all
}

// Sure reports whether there is no error in a section of the file, or in all of it when section is empty.
func (r *Rules) Sure(section string) bool {
	if section == "" {
		return !r.rep.Bad()
	}
	return !r.rep.Doubtful(strict.At(section))
}

// plainly is an error without the file's name, which stands in front already.
func plainly(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}

// Parse is Load for bytes already read; name stands in problems. What they name
// beside them, holidays, is not read: Parse opens no files.
func Parse(name string, b []byte) (*Rules, []Problem) {
	r, rep := readAll(name, b, nil)
	return r.unlessBad(rep)
}

func (r *Rules) unlessBad(rep *strict.Report) (*Rules, []Problem) {
	if rep.Bad() {
		return nil, rep.Problems
	}
	return r, rep.Problems
}

// largest is the size up to which a file beside rules.yaml is read.
const largest = 4 << 20

// readBeside reads a file that rules.yaml at path names.
func readBeside(path, name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err == nil && len(b) > largest {
		err = errors.New("it is larger than 4 MB")
	}
	return b, err
}

// empty is what an empty rules.yaml means.
func empty() file {
	return file{
		Mode: "live", Language: "en", Regions: []string{"US"}, NumberTypes: slices.Clone(textable),
		Defaults: defaults{Delay: 3 * time.Second, Window: 12 * time.Hour, Fresh: 15 * time.Minute},
		Guards: guards{ // SMS.md, safety defaults
			QuietHours: quietHours{Texts: "8:00-20:00", AfterCall: 5 * time.Minute},
			Budgets:    budgets{PerCaller: limit{n: 3}, PerPrefix: limit{n: 5}, PerMinute: limit{n: 10}, SegmentsPerDay: limit{n: 200}, MoneyPerDay: budget{off: true}},
			Weak:       weakAttestation{PerCaller: limit{n: 1}, PerPrefix: limit{n: 2}, PerMinute: limit{n: 3}},
		},
	}
}

// readAll is Parse that returns the rules whatever is wrong with them. Files
// beside rules.yaml are read with beside, nil for none.
func readAll(name string, b []byte, beside func(string) ([]byte, error)) (*Rules, *strict.Report) {
	r := &Rules{messages: map[string]*message{}, file: empty()}
	version := sha256.New()
	version.Write(b)
	rep, ok := strict.Parse(name, b, &r.file)
	r.rep = rep
	if ok {
		r.check(rep, b, func(name string) ([]byte, error) {
			if beside == nil {
				return nil, errors.New("only rules that are read from a file can name others")
			}
			r.named = append(r.named, name)
			b, err := beside(name)
			version.Write(b) // other holidays are other rules
			return b, err
		})
	}
	r.version = hex.EncodeToString(version.Sum(nil)[:4])
	rep.Sort()
	return r, rep
}

// Version names the file's content, holidays included: it changes with every edit.
func (r *Rules) Version() string { return r.version }

// Phone is where to call back about calls to a line, as {{.Phone}} says it.
func (r *Rules) Phone(l pbx.Line) string { return cmp.Or(r.officeOf(l).phone, l.Number) }

// Business is the business's name.
func (r *Rules) Business() string { return r.file.Business.Name }

// Zone is the business's time zone.
func (r *Rules) Zone() *time.Location { return r.zone }

// Regions are those whose numbers are texted (ISO 3166).
func (r *Rules) Regions() []string { return slices.Clone(r.file.Regions) }

// Shadow tells whether decisions are recorded only (mode: shadow).
func (r *Rules) Shadow() bool { return r.file.Mode == "shadow" }

// Staff are those who can be told of things, in the file's order.
func (r *Rules) Staff() []Staff { return slices.Clone(r.staff) }

// StaffNamed returns one of the staff.
func (r *Rules) StaffNamed(name string) (s Staff, ok bool) {
	for _, s := range r.staff {
		if s.Name == name {
			return s, true
		}
	}
	return s, false
}

// Price is what a text of so many segments costs to a number of region, in the
// admin's currency; 0 when rules.yaml names no price.
func (r *Rules) Price(region string, segments int) Money {
	p, ok := r.file.Guards.Prices[region]
	if !ok {
		p = r.file.Guards.Prices["default"]
	}
	return p * Money(segments)
}
