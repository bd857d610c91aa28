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
// problems. Package strict reads the YAML, package gsm7 counts segments.
package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
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
	zone     *time.Location
	hours    [7][]span
	closed   map[string]bool // "2026-12-25"
	messages map[string]*message
}

// file is rules.yaml as it stands.
type file struct {
	Version  int               `yaml:"version"`
	Business business          `yaml:"business"`
	Zone     string            `yaml:"timezone"`
	Regions  []string          `yaml:"regions"`
	Hours    hours             `yaml:"hours"`
	ClosedOn []string          `yaml:"closed_on"`
	Defaults defaults          `yaml:"defaults"`
	Messages map[string]string `yaml:"messages"`
	Rules    []rule            `yaml:"rules"`
}

type business struct {
	Name string `yaml:"name"`
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

// days are in time.Weekday's order.
func (h *hours) days() [7]struct {
	key  string
	list []string
} {
	type day = struct {
		key  string
		list []string
	}
	return [7]day{{"sun", h.Sun}, {"mon", h.Mon}, {"tue", h.Tue}, {"wed", h.Wed}, {"thu", h.Thu}, {"fri", h.Fri}, {"sat", h.Sat}}
}

type defaults struct {
	Delay  time.Duration `yaml:"delay"`
	Window time.Duration `yaml:"window"`
	Fresh  time.Duration `yaml:"fresh"`
}

type rule struct {
	Name    string         `yaml:"name"`
	When    when           `yaml:"when"`
	Send    string         `yaml:"send"` // a message's name
	Text    string         `yaml:"text"` // or a message of the rule's own
	Nothing string         `yaml:"nothing"`
	Delay   *time.Duration `yaml:"delay"`
	Window  *time.Duration `yaml:"window"`

	line int
	msg  *message               // what is sent, nil for nothing
	not  map[pbx.Outcome]string // what is said of calls with another outcome
}

// when holds a rule's conditions; all that are set must hold.
type when struct {
	Outcome     []string `yaml:"outcome"`
	Reason      []string `yaml:"reason"`
	Line        []string `yaml:"line"`
	Caller      []string `yaml:"caller"`
	NotCaller   []string `yaml:"not_caller"`
	Ring        *between `yaml:"ring"`
	Wait        *between `yaml:"wait"`
	MessageLeft *bool    `yaml:"message_left"`
	Open        *bool    `yaml:"open"`
	Queue       []string `yaml:"queue"`
	Menu        *bool    `yaml:"menu"`
	Forwarded   *bool    `yaml:"forwarded"`
}

type between struct {
	Under   *time.Duration `yaml:"under"`
	AtLeast *time.Duration `yaml:"at_least"`
}

type span struct{ from, to int } // minutes of the day

type message struct {
	name   string // in rules.yaml; empty for a rule's own text
	called string // in problems: message "missed", the text of rule "one ring"
	tmpl   *template.Template
	uses   []string // the values' names
}

// Load reads and checks rules.yaml. The Rules are nil when a problem is more
// than a warning.
func Load(path string) (*Rules, []Problem) {
	b, err := os.ReadFile(path)
	if err != nil {
		text := "it cannot be read: " + err.Error()
		var at *fs.PathError // names the file again
		if errors.As(err, &at) {
			text = "it cannot be read: " + at.Err.Error()
		}
		if errors.Is(err, fs.ErrNotExist) {
			text = "there is no such file: begin with configs/rules.yaml, or name another one as rules: in textback.yaml"
		}
		return nil, []Problem{{File: path, Text: text}}
	}
	return Parse(filepath.Clean(path), b)
}

// Parse is Load for bytes already read; name stands in problems.
func Parse(name string, b []byte) (*Rules, []Problem) {
	r, rep := readAll(name, b)
	if rep.Bad() {
		return nil, rep.Problems
	}
	return r, rep.Problems
}

// readAll is Parse that returns the rules whatever is wrong with them.
func readAll(name string, b []byte) (*Rules, *strict.Report) {
	sum := sha256.Sum256(b)
	r := &Rules{version: hex.EncodeToString(sum[:4]), closed: map[string]bool{}, messages: map[string]*message{}}
	r.file.Defaults = defaults{Delay: 3 * time.Second, Window: 12 * time.Hour, Fresh: 15 * time.Minute}
	r.file.Regions = []string{"US"}
	rep, ok := strict.Parse(name, b, &r.file)
	if ok {
		r.check(rep, b)
	}
	rep.Sort()
	return r, rep
}

// Version names the file's content: it changes with every edit.
func (r *Rules) Version() string { return r.version }

// Business is the business's name.
func (r *Rules) Business() string { return r.file.Business.Name }

// Zone is the business's time zone.
func (r *Rules) Zone() *time.Location { return r.zone }
