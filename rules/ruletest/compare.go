package ruletest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"textback/rules"
	"textback/rules/simulate"
	"textback/rules/strict"
)

// comparison holds a verdict against what is expected of it.
type comparison struct {
	s    *Suite
	p    strict.Path
	test string
	step int
	v    *simulate.Verdict
	zone *time.Location
	res  *Result
}

func (c *comparison) fail(p strict.Path, key, want, got string) {
	n := c.s.rep.Node(p)
	c.res.Failures = append(c.res.Failures, Failure{File: c.s.File, Line: n.Line, Col: n.Column, Test: c.test, Step: c.step, Key: key, Want: want, Got: got})
}

// fate is what became of a step: its state, or why it was cancelled.
func fate(s *simulate.Step) string {
	if s.State == simulate.Cancelled {
		return cmp.Or(s.Why, string(s.State))
	}
	return string(s.State)
}

func became(s *simulate.Step, want string) bool { return string(s.State) == want || fate(s) == want }

func (c *comparison) all(e *expect) {
	d := &c.v.Decision
	what := "nothing is sent: " + d.Suppressed + ", " + d.Because
	if d.Send {
		what = "a text is sent: " + cmp.Or(d.Message, fmt.Sprintf("%q", d.Body))
	}
	if e.Rule != "" && e.Rule != d.Rule {
		got := "no rule matches"
		if d.Rule != "" {
			got = fmt.Sprintf("%s (line %d)", d.Rule, d.RuleLine)
		}
		for _, s := range d.Steps() {
			if s.Rule == e.Rule && !s.Matched {
				got += fmt.Sprintf("; %s does not match: %s", e.Rule, s.Why)
			}
		}
		c.fail(c.p.Key("rule"), "rule", e.Rule, got)
	}
	if e.Send != "" && (!d.Send || d.Message != e.Send) {
		c.fail(c.p.Key("send"), "send", e.Send, what)
	}
	if e.Text != "" && (!d.Send || d.Body != e.Text) {
		got := what
		if d.Send {
			got = fmt.Sprintf("%q", d.Body)
		}
		c.fail(c.p.Key("text"), "text", fmt.Sprintf("%q", e.Text), got)
	}
	for i, part := range e.Contains {
		if !d.Send || !strings.Contains(d.Body, part) {
			got := what
			if d.Send {
				got = fmt.Sprintf("%q", d.Body)
			}
			c.fail(c.p.Key("contains").Index(i), "contains", fmt.Sprintf("%q", part), got)
		}
	}
	if e.Suppressed != "" && e.Suppressed != d.Suppressed {
		c.fail(c.p.Key("suppressed"), "suppressed", e.Suppressed, what)
	}
	for i, g := range e.Guards {
		if slices.ContainsFunc(d.Guards(), func(have rules.Guard) bool { return have.Name == g && !have.OK }) {
			continue
		}
		var no []string
		for _, have := range d.Guards() {
			if !have.OK {
				no = append(no, have.Name)
			}
		}
		c.fail(c.p.Key("guards").Index(i), "guard that says no", g, list(no))
	}
	if e.Language != "" && e.Language != d.Language {
		c.fail(c.p.Key("language"), "language", e.Language, cmp.Or(d.Language, "none"))
	}
	if e.Segments != nil && *e.Segments != d.Segments {
		c.fail(c.p.Key("segments"), "segments", fmt.Sprint(*e.Segments), fmt.Sprint(d.Segments))
	}
	due := d.DueAt
	if e.After != nil && (!d.Send || !due.Equal(c.v.Call.EndedAt.Add(*e.After))) {
		c.fail(c.p.Key("after"), "after", strict.Short(*e.After), c.due(what))
	}
	if e.At != "" {
		if want, err := clock(e.At, c.v.Call.EndedAt, c.zone); err != nil || !d.Send || !due.Truncate(time.Second).Equal(want.Truncate(time.Second)) {
			c.fail(c.p.Key("at"), "at", e.At, c.due(what))
		}
	}
	if t := c.v.Text(); e.Becomes != "" && (t == nil || !became(t, e.Becomes)) {
		got := what
		if t != nil {
			got = fate(t) + because(t)
		}
		c.fail(c.p.Key("becomes"), "becomes", e.Becomes, got)
	}
	if e.FollowUps != nil {
		c.followUps(e.FollowUps)
	}
	if e.Task != nil {
		c.task(e.Task)
	}
	if c.s.rep.Has(c.p.Key("notify")) && !slices.Equal(e.Notify, d.Notify) {
		c.fail(c.p.Key("notify"), "notify", list(e.Notify), list(d.Notify))
	}
	if c.s.rep.Has(c.p.Key("tags")) && !slices.Equal(e.Tags, d.Tags) {
		c.fail(c.p.Key("tags"), "tags", list(e.Tags), list(d.Tags))
	}
	if e.Shadow != nil && *e.Shadow != d.Shadow {
		c.fail(c.p.Key("shadow"), "shadow", fmt.Sprint(*e.Shadow), fmt.Sprint(d.Shadow))
	}
}

func because(s *simulate.Step) string {
	if s.Because == "" {
		return ""
	}
	return ", " + s.Because
}

// due is when the text is, as both keys for it could say.
func (c *comparison) due(what string) string {
	d := &c.v.Decision
	if !d.Send {
		return what
	}
	return fmt.Sprintf("%s (%s after the call)", d.DueAt.In(c.zone).Format("2006-01-02 15:04:05"), strict.Short(d.DueAt.Sub(c.v.Call.EndedAt)))
}

func list(ss []string) string {
	if len(ss) == 0 {
		return "none"
	}
	return strings.Join(ss, ", ")
}

func (c *comparison) followUps(want []followUp) {
	var have []*simulate.Step
	for _, s := range c.v.Steps {
		if s.Kind == "follow_up" {
			have = append(have, s)
		}
	}
	for i := range max(len(want), len(have)) {
		p, key := c.p.Key("follow_ups").Index(i), fmt.Sprintf("follow-up %d", i+1)
		switch {
		case i >= len(have):
			c.fail(p, key, want[i].String(), "there is none")
			continue
		case i >= len(want):
			c.fail(c.p.Key("follow_ups"), key, "there is none", c.followUp(have[i]))
			continue
		}
		w, h := want[i], have[i]
		after := c.after(h)
		ok := (w.After == nil || *w.After == after) && (w.Send == "" || h.Task == nil && h.Message == w.Send) && (w.Text == "" || h.Body == w.Text) &&
			(w.Assign == "" || h.Task != nil && h.Task.Owner == w.Assign) && (w.Within == nil || h.Task != nil && h.Task.Deadline.Sub(h.DueAt) == *w.Within) &&
			(w.Becomes == "" || became(h, w.Becomes))
		for _, part := range w.Contains {
			ok = ok && strings.Contains(h.Body, part)
		}
		if !ok {
			c.fail(p, key, w.String(), c.followUp(h))
		}
	}
}

// after is how long after the first text's due time a step is due.
func (c *comparison) after(s *simulate.Step) time.Duration { return s.DueAt.Sub(c.v.Decision.DueAt) }

func (w followUp) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if w.After != nil {
		add("after %s", strict.Short(*w.After))
	}
	if w.Send != "" {
		add("send %s", w.Send)
	}
	if w.Text != "" {
		add("text %q", w.Text)
	}
	for _, p := range w.Contains {
		add("containing %q", p)
	}
	if w.Assign != "" {
		add("assign %s", w.Assign)
	}
	if w.Within != nil {
		add("within %s", strict.Short(*w.Within))
	}
	if w.Becomes != "" {
		add("becomes %s", w.Becomes)
	}
	return strings.Join(parts, ", ")
}

func (c *comparison) followUp(s *simulate.Step) string {
	after := c.after(s)
	w := followUp{After: &after, Send: s.Message, Becomes: fate(s)}
	if s.Message == "" || s.Body != "" {
		w.Text = s.Body
	}
	if s.Task != nil {
		within := s.Task.Deadline.Sub(s.DueAt)
		w.Assign, w.Within = s.Task.Owner, &within
	}
	return w.String() + because(s)
}

func (c *comparison) task(w *task) {
	for _, s := range c.v.Steps {
		if s.Kind != "task" {
			continue
		}
		within := s.Task.Deadline.Sub(c.v.Call.EndedAt)
		if w.Owner != "" && w.Owner != s.Task.Owner || w.Within != nil && *w.Within != within || w.Becomes != "" && !became(s, w.Becomes) {
			c.fail(c.p.Key("task"), "task", w.String(), (&task{s.Task.Owner, &within, fate(s)}).String())
		}
		return
	}
	c.fail(c.p.Key("task"), "task", w.String(), "there is none")
}

func (w *task) String() string {
	var parts []string
	if w.Owner != "" {
		parts = append(parts, "of "+w.Owner)
	}
	if w.Within != nil {
		parts = append(parts, "within "+strict.Short(*w.Within))
	}
	if w.Becomes != "" {
		parts = append(parts, "becomes "+w.Becomes)
	}
	return cmp.Or(strings.Join(parts, ", "), "any")
}
