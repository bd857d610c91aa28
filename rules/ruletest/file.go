// Package ruletest is in charge of the tests that an admin writes for rules.yaml:
// given a call and a clock, expect this text. Calls, replies and calls back of one
// caller follow each other as they would on a day; package simulate says what
// becomes of them.
package ruletest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/pbx/number"
	"textback/rules"
	"textback/rules/simulate"
	"textback/rules/strict"
)

// A Suite is a file of tests.
type Suite struct {
	File  string
	Rules string // the rules.yaml it is about, beside it unless absolute

	file file
	rep  *strict.Report
}

type file struct {
	Version  int                `yaml:"version"`
	Rules    string             `yaml:"rules"`
	Region   string             `yaml:"region"`
	At       string             `yaml:"at"`
	Contacts map[string]contact `yaml:"contacts"`
	Call     call               `yaml:"call"`
	Tests    []test             `yaml:"tests"`
}

type contact struct {
	Name      string   `yaml:"name"`
	FirstName string   `yaml:"first_name"`
	Language  string   `yaml:"language"`
	Groups    []string `yaml:"groups"`
	VIP       bool     `yaml:"vip"`
	DoNotText bool     `yaml:"do_not_text"`
	Blocked   bool     `yaml:"blocked"`
}

type test struct {
	Name   string  `yaml:"name"`
	At     string  `yaml:"at"`
	Call   *call   `yaml:"call"` // the short form of one step
	Expect *expect `yaml:"expect"`
	Steps  []step  `yaml:"steps"`
}

// step is one thing that happens.
type step struct {
	At         string         `yaml:"at"`
	After      *time.Duration `yaml:"after"` // the step before
	Call       *call          `yaml:"call"`
	Reply      *string        `yaml:"reply"`
	Stop       *bool          `yaml:"stop"`
	Start      *bool          `yaml:"start"`
	GotThrough *time.Duration `yaml:"got_through"` // the caller calls again and talks for so long
	CalledBack *time.Duration `yaml:"called_back"` // the office does
	ByHand     *bool          `yaml:"by_hand"`
	From       string         `yaml:"from"` // whose; the default is the last call's caller
	Expect     *expect        `yaml:"expect"`
}

// call is a missed call, and what is known beside it.
type call struct {
	Outcome     string            `yaml:"outcome"`
	Reason      string            `yaml:"reason"`
	Caller      string            `yaml:"caller"`
	Name        string            `yaml:"name"`
	Line        string            `yaml:"line"`
	LineName    string            `yaml:"line_name"`
	Ring        *time.Duration    `yaml:"ring"`
	Wait        *time.Duration    `yaml:"wait"`
	Queue       string            `yaml:"queue"`
	QueueWait   *time.Duration    `yaml:"queue_wait"`
	Menu        *bool             `yaml:"menu"`
	Forwarded   *bool             `yaml:"forwarded"`
	MessageLeft *bool             `yaml:"message_left"`
	Certain     *bool             `yaml:"certain"`
	Anonymous   *bool             `yaml:"anonymous"`
	Attestation string            `yaml:"attestation"`
	Tried       []string          `yaml:"tried"`
	PBX         map[string]string `yaml:"pbx"`

	Attempts int            `yaml:"attempts"`
	Known    *bool          `yaml:"known"`
	Contact  *contact       `yaml:"contact"`
	OptedOut *bool          `yaml:"opted_out"`
	Machine  string         `yaml:"machine"`
	OnLine   *time.Duration `yaml:"on_line"`
	Down     string         `yaml:"down"`
	Spent    *spent         `yaml:"spent"`
}

type spent struct {
	Caller   int         `yaml:"caller"`
	Prefix   int         `yaml:"prefix"`
	Minute   int         `yaml:"minute"`
	Segments int         `yaml:"segments"`
	Money    rules.Money `yaml:"money"`
}

type expect struct {
	Rule       string         `yaml:"rule"`
	Send       string         `yaml:"send"`
	Text       string         `yaml:"text"`
	Contains   []string       `yaml:"contains"`
	Suppressed string         `yaml:"suppressed"`
	Guards     []string       `yaml:"guards"`
	Language   string         `yaml:"language"`
	Segments   *int           `yaml:"segments"`
	After      *time.Duration `yaml:"after"`
	At         string         `yaml:"at"`
	Becomes    string         `yaml:"becomes"`
	FollowUps  []followUp     `yaml:"follow_ups"`
	Task       *task          `yaml:"task"`
	Notify     []string       `yaml:"notify"`
	Tags       []string       `yaml:"tags"`
	Shadow     *bool          `yaml:"shadow"`
}

type followUp struct {
	After    *time.Duration `yaml:"after"`
	Send     string         `yaml:"send"`
	Text     string         `yaml:"text"`
	Contains []string       `yaml:"contains"`
	Assign   string         `yaml:"assign"`
	Within   *time.Duration `yaml:"within"`
	Becomes  string         `yaml:"becomes"`
}

type task struct {
	Owner   string         `yaml:"owner"`
	Within  *time.Duration `yaml:"within"`
	Becomes string         `yaml:"becomes"`
}

// Suppressed are the words for why a text is not sent.
var suppressed = []string{rules.NotMissed, rules.Stale, rules.NotCertain, rules.Anonymous, rules.Internal, rules.InvalidNumber, rules.Region,
	rules.NumberType, rules.SaidStop, rules.DoNotText, rules.BlockedOne, rules.Machine, rules.Attestation, rules.QuietHours, rules.BudgetCaller,
	rules.BudgetPrefix, rules.BudgetMinute, rules.BudgetDay, rules.BudgetMoney, rules.Breaker, rules.Reached, rules.OnLine, rules.Duplicate,
	rules.Replied, rules.CalledBack, rules.NoRule, rules.RuleSaysNo}

// fates are the words for what becomes of something: a state, or why it was cancelled.
var fates = slices.Concat([]string{string(simulate.Sent), string(simulate.Cancelled), string(simulate.Open), string(simulate.Done), string(simulate.Waiting), simulate.ByHand, simulate.NoFirstText}, suppressed)

// Parse reads a file of tests. The Suite is nil when a problem is more than a warning.
func Parse(name string, b []byte) (*Suite, []strict.Problem) {
	s := &Suite{File: name, file: defaults()}
	rep, ok := strict.Parse(name, b, &s.file)
	s.rep = rep
	if ok {
		s.check()
	}
	rep.Sort()
	s.Rules = s.file.Rules
	if rep.Bad() {
		return nil, rep.Problems
	}
	return s, rep.Problems
}

func defaults() file { return file{Rules: "rules.yaml", Region: "US"} }

func (s *Suite) check() {
	f, rep := &s.file, s.rep
	switch {
	case !rep.Has("version"):
		rep.Problem("version", "put version: 1 at the top, so that a later textback knows how to read this")
	case f.Version != 1:
		rep.Problem("version", "version %d is not known here: this textback reads version 1", f.Version)
	}
	s.checkClock("at", f.At, false)
	for n := range f.Contacts {
		if number.Parse(n, f.Region).Kind != number.External {
			rep.Problem(strict.At("contacts").Key(n), "%q is no number: write it with its country code, such as +12025550143", n)
		}
	}
	s.checkCall(strict.At("call"), &f.Call)
	if len(f.Tests) == 0 && !rep.Wrong("tests") {
		rep.Problem("tests", "there are no tests")
	}
	seen := map[string]int{}
	for i := range f.Tests {
		t, p := &f.Tests[i], strict.At("tests").Index(i)
		if t.Name == "" {
			t.Name = fmt.Sprintf("test %d", i+1)
		}
		if line, twice := seen[t.Name]; twice {
			rep.Problem(p.Key("name"), "another test is called %q already, in line %d", t.Name, line)
		}
		seen[t.Name] = rep.Node(p).Line
		switch {
		case rep.Wrong(p):
		case t.Call == nil && len(t.Steps) == 0:
			rep.Problem(p, "test %q has no call: add call: with its outcome, or steps: for several", t.Name)
		case t.Call != nil && len(t.Steps) > 0:
			rep.Problem(p.Key("steps"), "at most one of call and steps may be set: put the call into the first step")
		case t.Call == nil && t.Expect != nil:
			rep.Problem(p.Key("expect"), "with steps, each step has its own expect")
		}
		if t.Call != nil {
			s.checkCall(p.Key("call"), t.Call)
			s.checkOutcome(p.Key("call"), t.Call)
		}
		s.checkExpect(p.Key("expect"), t.Expect, true)
		expects := t.Expect != nil
		if t.At == "" && f.At == "" && !rep.Wrong(p) && (len(t.Steps) == 0 || t.Steps[0].At == "") {
			rep.Problem(p, "say when: at: \"2026-11-23 10:00\", here or at the top for all tests")
		}
		s.checkClock(p.Key("at"), t.At, f.At != "")
		for j := range t.Steps {
			st, sp := &t.Steps[j], p.Key("steps").Index(j)
			expects = expects || st.Expect != nil
			s.checkStep(sp, st, j == 0, j > 0 || t.At != "" || f.At != "")
		}
		if !expects && !rep.Wrong(p) {
			rep.Problem(p, "test %q expects nothing, so it cannot fail: add expect:", t.Name)
		}
	}
}

// checkStep checks a step. dated: there is a time before it, whose day a time without a date is on.
func (s *Suite) checkStep(p strict.Path, st *step, first, dated bool) {
	n := 0
	for _, is := range []bool{st.Call != nil, st.Reply != nil, st.Stop != nil, st.Start != nil, st.GotThrough != nil, st.CalledBack != nil, st.ByHand != nil} {
		if is {
			n++
		}
	}
	if n != 1 && !s.rep.Wrong(p) {
		s.rep.Problem(p, "one thing happens in a step: call, reply, stop, start, got_through, called_back or by_hand")
	}
	if st.At != "" && st.After != nil {
		s.rep.Problem(p.Key("after"), "at most one of at and after may be set")
	}
	if st.After != nil && *st.After < 0 {
		s.rep.Problem(p.Key("after"), "time does not run backwards")
	}
	if first && st.Call == nil && st.From == "" && s.file.Call.Caller == "" && n == 1 {
		s.rep.Problem(p, "nobody has called yet: say who it is with from:")
	}
	s.checkClock(p.Key("at"), st.At, dated)
	if st.From != "" && number.Parse(st.From, s.file.Region).Kind != number.External {
		s.rep.Problem(p.Key("from"), "%q is no number", st.From)
	}
	if st.Call != nil {
		s.checkCall(p.Key("call"), st.Call)
		s.checkOutcome(p.Key("call"), st.Call)
	}
	s.checkExpect(p.Key("expect"), st.Expect, st.Call != nil)
}

func (s *Suite) checkOutcome(p strict.Path, c *call) {
	if c.Outcome == "" && s.file.Call.Outcome == "" && !s.rep.Wrong(p) {
		s.rep.Problem(p, "say where the call ended: outcome: rang_out, for one")
	}
}

// checkClock checks a time. dated: it may be one without a date, for there is a day that it is on.
func (s *Suite) checkClock(p strict.Path, at string, dated bool) {
	if at == "" || s.rep.Wrong(p) {
		return
	}
	var like time.Time
	if dated {
		like = time.Unix(0, 0)
	}
	if _, err := clock(at, like, time.UTC); err != nil {
		s.rep.Problem(p, "%v", err)
	}
}

func words[T ~string](all []T) (ss []string) {
	for _, w := range all {
		ss = append(ss, string(w))
	}
	return ss
}

func (s *Suite) word(p strict.Path, what, got string, all []string) {
	if got != "" && !slices.Contains(all, got) {
		s.rep.OneOf(p, what, got, all...)
	}
}

var attestations = []string{"A", "B", "C", "failed", "none"}

func (s *Suite) checkCall(p strict.Path, c *call) {
	s.word(p.Key("outcome"), "outcome", c.Outcome, words(pbx.Outcomes))
	s.word(p.Key("reason"), "reason", c.Reason, words(pbx.Reasons))
	s.word(p.Key("attestation"), "attestation", c.Attestation, attestations)
	if c.Attempts < 0 {
		s.rep.Problem(p.Key("attempts"), "this call is counted: 1 is the first")
	}
	for key, d := range map[string]*time.Duration{"ring": c.Ring, "wait": c.Wait, "queue_wait": c.QueueWait, "on_line": c.OnLine} {
		if d != nil && *d < 0 {
			s.rep.Problem(p.Key(key), "no time is less than nothing")
		}
	}
}

func (s *Suite) checkExpect(p strict.Path, e *expect, ofCall bool) {
	switch {
	case e == nil:
		return
	case !ofCall:
		s.rep.Problem(p, "only a call is decided about: say what becomes of it at its own step, with becomes")
		return
	case !s.rep.Wrong(p) && len(s.rep.Node(p).Content) == 0:
		s.rep.Problem(p, "expect is empty: say send, text, suppressed or what else is to be seen")
	}
	s.word(p.Key("suppressed"), "reason", e.Suppressed, suppressed)
	s.word(p.Key("becomes"), "word", e.Becomes, fates)
	for i, g := range e.Guards {
		s.word(p.Key("guards").Index(i), "guard", g, suppressed)
	}
	for i, f := range e.FollowUps {
		s.word(p.Key("follow_ups").Index(i).Key("becomes"), "word", f.Becomes, fates)
	}
	if e.Task != nil {
		s.word(p.Key("task", "becomes"), "word", e.Task.Becomes, fates)
	}
	if e.Suppressed != "" && (e.Send != "" || e.Text != "" || len(e.Contains) > 0 || e.Becomes != "") {
		s.rep.Problem(p.Key("suppressed"), "a text is sent or suppressed, not both: leave out one of them")
	}
	s.checkClock(p.Key("at"), e.At, true)
}

var layouts = []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"}

var timeOfDay = regexp.MustCompile(`^\d{1,2}:\d{2}(:\d{2})?$`)

// clock reads a time as it is written in tests. One without a date is on the day of like,
// which is zero when there must be one.
func clock(s string, like time.Time, zone *time.Location) (time.Time, error) {
	s = strings.TrimSpace(s)
	full := s
	if timeOfDay.MatchString(s) {
		if like.IsZero() {
			return like, fmt.Errorf("%q has no date: write it like 2026-11-23 10:00", s)
		}
		if len(s) == 4 || len(s) == 7 {
			s = "0" + s
		}
		full = like.In(zone).Format("2006-01-02 ") + s
	}
	for _, l := range layouts {
		t, err := time.ParseInLocation(l, full, zone)
		if err != nil {
			continue
		}
		if got := t.In(zone).Format(l); l != time.RFC3339 && got != full {
			return t, fmt.Errorf("%q is a time that this day does not have in %s: summer time begins", s, zone)
		}
		return t, nil
	}
	if like.IsZero() {
		return time.Time{}, fmt.Errorf("%q is no time: write it like 2026-11-23 10:00", s)
	}
	return time.Time{}, fmt.Errorf("%q is no time: write it like 2026-11-23 10:00, or 10:00 where the day is clear", s)
}

// Clock is clock for others: "2026-11-23 10:00", "10:00" on the day of like, RFC 3339.
func Clock(s string, like time.Time, zone *time.Location) (time.Time, error) {
	return clock(s, like, zone)
}
