// Package rules is in charge of the policy in rules.yaml: reading and checking
// it, and deciding what becomes of a call. Decide is pure: facts and the time
// go in, a Decision with all its reasons comes out.
package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"text/template"
	"time"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx"
	"textback/rules/gsm7"
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
	Send    string         `yaml:"send"`
	Nothing string         `yaml:"nothing"`
	Delay   *time.Duration `yaml:"delay"`
	Window  *time.Duration `yaml:"window"`

	line int
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
	name string
	tmpl *template.Template
}

// Load reads and checks rules.yaml. The Rules are nil when a problem is more
// than a warning.
func Load(path string) (*Rules, []Problem) {
	b, err := os.ReadFile(path)
	if err != nil {
		text := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			text = "there is no such file: begin with configs/rules.yaml, or name another one as rules: in textback.yaml"
		}
		return nil, []Problem{{File: path, Text: text}}
	}
	return Parse(filepath.Clean(path), b)
}

// Parse is Load for bytes already read; name stands in problems.
func Parse(name string, b []byte) (*Rules, []Problem) {
	sum := sha256.Sum256(b)
	r := &Rules{version: hex.EncodeToString(sum[:4]), closed: map[string]bool{}, messages: map[string]*message{}}
	r.file.Defaults = defaults{Delay: 3 * time.Second, Window: 12 * time.Hour, Fresh: 15 * time.Minute}
	r.file.Regions = []string{"US"}
	rep, ok := strict.Parse(name, b, &r.file)
	if ok {
		r.check(rep)
	}
	rep.Sort()
	if rep.Bad() {
		return nil, rep.Problems
	}
	return r, rep.Problems
}

// Version names the file's content: it changes with every edit.
func (r *Rules) Version() string { return r.version }

// Business is the business's name.
func (r *Rules) Business() string { return r.file.Business.Name }

// Zone is the business's time zone.
func (r *Rules) Zone() *time.Location { return r.zone }

func (r *Rules) check(rep *strict.Report) {
	f := &r.file
	switch {
	case !rep.Has("version"):
		rep.Problem("version", "put version: 1 at the top, so that a later textback knows how to read this")
	case f.Version != 1:
		rep.Problem("version", "version %d is not known here: this textback reads version 1", f.Version)
	}
	if strings.TrimSpace(f.Business.Name) == "" {
		rep.Problem(strict.At("business", "name"), "the business needs a name: people must know who texts them")
	}
	r.zone = time.UTC
	if f.Zone == "" {
		rep.Problem("timezone", "say where the office is: timezone: America/New_York")
	} else if z, err := time.LoadLocation(f.Zone); err != nil || f.Zone == "Local" {
		rep.Problem("timezone", "%q is no time zone: use a name of the zone database, such as America/New_York or Europe/Berlin", f.Zone)
	} else {
		r.zone = z
	}
	for i, reg := range f.Regions {
		up := strings.ToUpper(reg)
		if phonenumbers.GetCountryCodeForRegion(up) == 0 {
			rep.Problem(strict.At("regions").Index(i), "%q is no region: use the two letters of ISO 3166, such as US or DE", reg)
		}
		f.Regions[i] = up
	}
	for _, d := range []struct {
		key string
		v   time.Duration
		max time.Duration
	}{{"delay", f.Defaults.Delay, time.Hour}, {"window", f.Defaults.Window, 30 * 24 * time.Hour}, {"fresh", f.Defaults.Fresh, 24 * time.Hour}} {
		r.checkDuration(rep, strict.At("defaults", d.key), d.v, d.max)
	}
	if f.Defaults.Delay >= f.Defaults.Fresh {
		rep.Problem(strict.At("defaults", "fresh"), "a text would be stale before its delay of %v is over: make fresh longer", f.Defaults.Delay)
	}
	r.checkHours(rep)
	used := map[string]bool{}
	r.checkRules(rep, used)
	r.checkMessages(rep, used)
}

func (r *Rules) checkDuration(rep *strict.Report, p strict.Path, d, most time.Duration) {
	if d < 0 || d > most {
		rep.Problem(p, "%v is out of range: 0s to %v", d, most)
	}
}

var clock = regexp.MustCompile(`^([01]?\d|2[0-4]):([0-5]\d)$`)

func minutes(s string) (int, bool) {
	m := clock.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	var h, min int
	_, _ = fmt.Sscan(m[1], &h)
	_, _ = fmt.Sscanf(m[2], "%d", &min)
	return h*60 + min, h*60+min <= 24*60
}

func (r *Rules) checkHours(rep *strict.Report) {
	for day, d := range r.file.Hours.days() {
		for i, s := range d.list {
			p := strict.At("hours", d.key).Index(i)
			from, to, ok := strings.Cut(s, "-")
			a, okA := minutes(from)
			b, okB := minutes(to)
			switch {
			case !ok || !okA || !okB:
				rep.Problem(p, "%q is not a time span: write it like 8:00-17:30", s)
				continue
			case a >= b:
				rep.Problem(p, "%q ends before it begins: for a span past midnight, write 22:00-24:00 here and 0:00-6:00 at the next day", s)
				continue
			}
			for _, have := range r.hours[day] {
				if a < have.to && have.from < b {
					rep.Problem(p, "%q overlaps another span of this day", s)
				}
			}
			r.hours[day] = append(r.hours[day], span{a, b})
		}
		slices.SortFunc(r.hours[day], func(a, b span) int { return a.from - b.from })
	}
	for i, s := range r.file.ClosedOn {
		if _, err := time.Parse("2006-01-02", s); err != nil {
			rep.Problem(strict.At("closed_on").Index(i), "%q is not a date: write it like 2026-12-25", s)
			continue
		}
		r.closed[s] = true
	}
}

func (r *Rules) checkRules(rep *strict.Report, used map[string]bool) {
	var outcomes, reasons []string
	for _, o := range pbx.Outcomes {
		outcomes = append(outcomes, string(o))
	}
	for _, o := range pbx.Reasons {
		reasons = append(reasons, string(o))
	}
	var names []string
	for n := range r.file.Messages {
		names = append(names, n)
	}
	sort.Strings(names)
	if len(r.file.Rules) == 0 {
		rep.Warning("rules", "there are no rules, so nothing is ever sent")
	}
	seen := map[string]int{}
	for i := range r.file.Rules {
		ru, p := &r.file.Rules[i], strict.At("rules").Index(i)
		if n := rep.Node(p); n != nil {
			ru.line = n.Line
		}
		if ru.Name == "" {
			ru.Name = fmt.Sprintf("rule %d", i+1)
		}
		if line, twice := seen[ru.Name]; twice {
			rep.Problem(p.Key("name"), "another rule is called %q already, in line %d: explain could not tell them apart", ru.Name, line)
		}
		seen[ru.Name] = ru.line
		switch {
		case ru.Send != "" && ru.Nothing != "":
			rep.Problem(p.Key("nothing"), "at most one of send and nothing may be set")
		case ru.Send == "" && !rep.Has(p.Key("nothing")):
			rep.Problem(p, "rule %q does nothing and does not say so: add send: with a message's name, or nothing: with the reason", ru.Name)
		case ru.Send != "":
			used[ru.Send] = true
			if _, ok := r.file.Messages[ru.Send]; !ok {
				rep.OneOf(p.Key("send"), "message", ru.Send, names...)
			}
		}
		if ru.Delay != nil {
			r.checkDuration(rep, p.Key("delay"), *ru.Delay, time.Hour)
			if *ru.Delay >= r.file.Defaults.Fresh {
				rep.Problem(p.Key("delay"), "the text would be stale (defaults.fresh is %v) before its delay is over", r.file.Defaults.Fresh)
			}
		}
		if ru.Window != nil {
			r.checkDuration(rep, p.Key("window"), *ru.Window, 30*24*time.Hour)
		}
		w, wp := &ru.When, p.Key("when")
		for j, o := range w.Outcome {
			switch {
			case !slices.Contains(outcomes, o):
				rep.OneOf(wp.Key("outcome").Index(j), "outcome", o, outcomes[1:len(outcomes)-1]...)
			case o == string(pbx.Answered), o == string(pbx.Unknown):
				rep.Problem(wp.Key("outcome").Index(j), "a call that is %s is never texted, so this cannot match: leave it out", o)
			}
		}
		for j, o := range w.Reason {
			if !slices.Contains(reasons, o) {
				rep.OneOf(wp.Key("reason").Index(j), "reason", o, reasons...)
			}
		}
		r.checkBetween(rep, wp.Key("ring"), w.Ring)
		r.checkBetween(rep, wp.Key("wait"), w.Wait)
		if w.MessageLeft != nil && len(w.Outcome) > 0 && !slices.Contains(w.Outcome, string(pbx.Voicemail)) {
			rep.Problem(wp.Key("message_left"), "only a call with outcome voicemail has a message: add voicemail to outcome, or leave this out")
		}
		if w.Open != nil && !r.hasHours() {
			rep.Problem(wp.Key("open"), "there are no hours in this file, so nobody knows when the office is open: add hours:")
		}
		for _, list := range []struct {
			key  string
			list []string
		}{{"caller", w.Caller}, {"not_caller", w.NotCaller}} {
			for j, c := range list.list {
				if !strings.HasPrefix(c, "+") && !strings.HasPrefix(c, "*") {
					rep.Problem(wp.Key(list.key).Index(j), "%q is matched against numbers like +12025550143: begin with + and the country code", c)
				}
			}
		}
		for j := range i {
			if wider(&r.file.Rules[j].When, w) {
				rep.Problem(p, "rule %q is never reached: rule %q in line %d matches every call that it does; move it up, or delete it", ru.Name, r.file.Rules[j].Name, r.file.Rules[j].line)
				break
			}
		}
	}
}

func (r *Rules) hasHours() bool {
	for _, d := range r.hours {
		if len(d) > 0 {
			return true
		}
	}
	return false
}

func (r *Rules) checkBetween(rep *strict.Report, p strict.Path, b *between) {
	if b == nil {
		return
	}
	if b.Under == nil && b.AtLeast == nil {
		rep.Problem(p, "say under: 3s, at_least: 20s, or both")
	}
	if b.Under != nil && *b.Under <= 0 {
		rep.Problem(p.Key("under"), "nothing is under %v", *b.Under)
	}
	if b.Under != nil && b.AtLeast != nil && *b.AtLeast >= *b.Under {
		rep.Problem(p, "no time is at least %v and under %v", *b.AtLeast, *b.Under)
	}
}

// wider tells whether a matches every call that b matches.
func wider(a, b *when) bool {
	lists := func(a, b []string) bool {
		if len(a) == 0 {
			return true
		}
		if len(b) == 0 {
			return false
		}
		for _, x := range b {
			if !slices.Contains(a, x) {
				return false
			}
		}
		return true
	}
	flag := func(a, b *bool) bool { return a == nil || b != nil && *a == *b }
	span := func(a, b *between) bool {
		if a == nil {
			return true
		}
		if b == nil {
			return false
		}
		return (a.Under == nil || b.Under != nil && *b.Under <= *a.Under) && (a.AtLeast == nil || b.AtLeast != nil && *b.AtLeast >= *a.AtLeast)
	}
	return lists(a.Outcome, b.Outcome) && lists(a.Reason, b.Reason) && lists(a.Line, b.Line) && lists(a.Caller, b.Caller) &&
		lists(a.Queue, b.Queue) && (len(a.NotCaller) == 0 || slices.Equal(a.NotCaller, b.NotCaller)) && span(a.Ring, b.Ring) && span(a.Wait, b.Wait) &&
		flag(a.MessageLeft, b.MessageLeft) && flag(a.Open, b.Open) && flag(a.Menu, b.Menu) && flag(a.Forwarded, b.Forwarded)
}

func (r *Rules) checkMessages(rep *strict.Report, used map[string]bool) {
	var names []string
	for n := range r.file.Messages {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, name := range names {
		p := strict.At("messages").Key(name)
		m, err := compile(name, r.file.Messages[name])
		if err != nil {
			rep.Problem(p, "message %q: %v", name, err)
			continue
		}
		r.messages[name] = m
		if !used[name] {
			rep.Warning(p, "message %q is used by no rule", name)
		}
		for _, v := range []values{worst(r), {Business: r.file.Business.Name}} {
			body, err := m.render(v)
			if err != nil {
				rep.Problem(p, "message %q: %v", name, err)
				break
			}
			if v.Name == "" {
				if r.file.Business.Name != "" && !strings.Contains(body, gsm7.Normalize(r.file.Business.Name)) {
					rep.Warning(p, "message %q does not name the business: write {{.Business}}, people must know who texts them", name)
				}
				continue
			}
			n, _ := gsm7.Segments(body)
			if c, foreign := gsm7.Foreign(body); foreign {
				rep.Warning(p, "message %q holds %q, which SMS can carry only in an encoding with 70 characters a segment: it takes %d segments; leave it out if you can", name, c, n)
			} else if n > 1 {
				rep.Warning(p, "message %q takes up to %d segments (%d characters with a long name): each is paid for; 160 characters fit into one", name, n, len([]rune(body)))
			}
		}
	}
}
