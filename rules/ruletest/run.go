package ruletest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"textback/pbx"
	"textback/pbx/number"
	"textback/rules"
	"textback/rules/simulate"
	"textback/rules/strict"
)

// A Failure is one expectation that was not met.
type Failure struct {
	File      string
	Line, Col int
	Test      string
	Step      int    // from 1; 0 when the test has one call only
	Key       string // of expect
	Want, Got string
}

// String is the failure for people; texts that differ are set below each other.
func (f Failure) String() string {
	where := fmt.Sprintf("%s:%d:%d: test %q", f.File, f.Line, f.Col, f.Test)
	if f.Step > 0 {
		where += fmt.Sprintf(", step %d", f.Step)
	}
	s := fmt.Sprintf("%s: %s\n    want %s\n    got  %s", where, f.Key, f.Want, f.Got)
	if f.Key == "text" && strings.HasPrefix(f.Got, `"`) {
		s += "\n         " + strings.Repeat(" ", alike(f.Want, f.Got)) + "^"
	}
	return s
}

// alike is how many letters two texts begin with in common.
func alike(a, b string) int {
	x, y := []rune(a), []rune(b)
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}

// A Result is what running a Suite came to.
type Result struct {
	Tests    int
	Failures []Failure
	Problems []strict.Problem // names in the tests that rules.yaml does not have
	Matched  map[string]bool  // rules that a test's call has come to
}

// Failed is how many tests have at least one failure.
func (r *Result) Failed() int {
	seen := map[string]bool{}
	for _, f := range r.Failures {
		seen[f.Test] = true
	}
	return len(seen)
}

// Run runs the tests against rules.
func (s *Suite) Run(r *rules.Rules) Result {
	res := Result{Matched: map[string]bool{}}
	before := len(s.rep.Problems)
	s.checkNames(r)
	if more := s.rep.Problems[before:]; len(more) > 0 {
		res.Problems = slices.Clone(more)
		s.rep.Problems = s.rep.Problems[:before]
		return res
	}
	for i := range s.file.Tests {
		res.Tests++
		s.run(r, i, &res)
	}
	return res
}

// checkNames looks whether the tests speak of what rules.yaml has.
func (s *Suite) checkNames(r *rules.Rules) {
	before := len(s.rep.Problems)
	names, messages, staff := r.RuleNames(), r.MessageNames(), []string{}
	for _, p := range r.Staff() {
		staff = append(staff, p.Name)
	}
	expects := func(p strict.Path, e *expect) {
		if e == nil {
			return
		}
		s.word(p.Key("rule"), "rule", e.Rule, names)
		s.word(p.Key("send"), "message", e.Send, messages)
		for i, n := range e.Notify {
			s.word(p.Key("notify").Index(i), "member of staff", n, staff)
		}
		for i, f := range e.FollowUps {
			s.word(p.Key("follow_ups").Index(i).Key("send"), "message", f.Send, messages)
			s.word(p.Key("follow_ups").Index(i).Key("assign"), "member of staff", f.Assign, staff)
		}
		if e.Task != nil {
			s.word(p.Key("task", "owner"), "member of staff", e.Task.Owner, staff)
		}
	}
	for i, t := range s.file.Tests {
		p := strict.At("tests").Index(i)
		expects(p.Key("expect"), t.Expect)
		for j, st := range t.Steps {
			sp := p.Key("steps").Index(j)
			expects(sp.Key("expect"), st.Expect)
			s.times(sp.Key("at"), st.At, r.Zone())
		}
		s.times(p.Key("at"), t.At, r.Zone())
	}
	s.times("at", s.file.At, r.Zone())
	if len(s.rep.Problems) == before { // else their times may be none
		s.checkOrder(r.Zone())
	}
}

// checkOrder reports steps that happen before those above them. They would be put into the order of their times, and "the
// step before" and "the last caller" would mean others than the reader thinks.
func (s *Suite) checkOrder(zone *time.Location) {
	for i := range s.file.Tests {
		now := s.begins(&s.file.Tests[i], zone)
		var before time.Time
		for j := range s.file.Tests[i].Steps {
			st := &s.file.Tests[i].Steps[j]
			now = st.when(now, zone)
			if j > 0 && now.Before(before) {
				const layout = "2006-01-02 15:04:05"
				s.rep.Problem(strict.At("tests").Index(i).Key("steps").Index(j).Key("at"),
					"time does not run backwards: this is %s, and the step above happens at %s; put the steps into the order of their times, or give the date where this is another day",
					now.In(zone).Format(layout), before.In(zone).Format(layout))
			}
			before = now // who talks may be called meanwhile
			now = now.Add(st.talk())
		}
	}
}

// begins is the test's own time, or the file's.
func (s *Suite) begins(t *test, zone *time.Location) time.Time {
	now, _ := clock(s.file.At, time.Time{}, zone)
	if t.At != "" {
		now, _ = clock(t.At, now, zone)
	}
	return now
}

// when is the time of a step, now that of the end of the one before.
func (st *step) when(now time.Time, zone *time.Location) time.Time {
	switch {
	case st.At != "":
		now, _ = clock(st.At, now, zone)
	case st.After != nil:
		now = now.Add(*st.After)
	}
	return now
}

// talk is for how long a step goes on.
func (st *step) talk() time.Duration {
	switch {
	case st.CalledBack != nil:
		return *st.CalledBack
	case st.GotThrough != nil:
		return *st.GotThrough
	}
	return 0
}

func (s *Suite) times(p strict.Path, at string, zone *time.Location) {
	if at == "" {
		return
	}
	if _, err := clock(at, time.Unix(1e9, 0), zone); err != nil {
		s.rep.Problem(p, "%v", err)
	}
}

// planned is a call of a test and what is expected of it.
type planned struct {
	at     time.Time
	step   int
	expect *expect
	path   strict.Path
	call   *pbx.Call
}

func (s *Suite) run(r *rules.Rules, i int, res *Result) {
	t, p := &s.file.Tests[i], strict.At("tests").Index(i)
	zone := r.Zone()
	steps, single := t.Steps, t.Call != nil
	if single {
		steps = []step{{Call: t.Call, Expect: t.Expect}}
	}
	now := s.begins(t, zone)
	book := map[string]*rules.Contact{}
	for n, c := range s.file.Contacts {
		book[number.Parse(n, s.file.Region).E164] = c.contact()
	}
	var events []simulate.Event
	var plans []planned
	last := number.Parse(s.file.Call.Caller, s.file.Region).E164
	for j := range steps {
		st, sp := &steps[j], p
		if !single {
			sp = p.Key("steps").Index(j)
		}
		now = st.when(now, zone)
		from := last
		if st.From != "" {
			from = number.Parse(st.From, s.file.Region).E164
		}
		e := simulate.Event{At: now, Number: from}
		switch {
		case st.Call != nil:
			c, given, who := s.call(st.Call, now, fmt.Sprintf("%d-%d", i, j))
			if who != nil {
				book[c.Caller.Number] = who
			}
			e.Kind, e.Call, e.Given, e.Number = simulate.Call, c, given, c.Caller.Number
			if c.Caller.Number != "" {
				last = c.Caller.Number
			}
			n := j + 1
			if single {
				n = 0
			}
			plans = append(plans, planned{now, n, st.Expect, sp.Key("expect"), c})
		case st.GotThrough != nil, st.CalledBack != nil:
			dir, talk := pbx.Inbound, st.talk()
			if st.CalledBack != nil {
				dir = pbx.Outbound
			}
			c := &pbx.Call{ID: fmt.Sprintf("%d-%d", i, j), Direction: dir, State: pbx.StateEnded, Outcome: pbx.Answered, Certain: true, Talk: talk,
				StartedAt: now, AnsweredAt: now, EndedAt: now.Add(talk), Caller: pbx.Caller{Number: from}}
			now = c.EndedAt
			e = simulate.Event{At: now, Kind: simulate.Call, Call: c, Number: from}
		case st.Reply != nil:
			e.Kind = simulate.Reply
		case st.Stop != nil:
			e.Kind = simulate.Stop
		case st.Start != nil:
			e.Kind = simulate.Start
		case st.ByHand != nil:
			e.Kind = simulate.Hand
		}
		events = append(events, e)
	}
	verdicts := simulate.Run(r, events, time.Time{}, simulate.Options{Window: r.Window(), Contact: func(n string) *rules.Contact { return book[n] }})
	for _, v := range verdicts {
		if v.Decision.Rule != "" {
			res.Matched[v.Decision.Rule] = true
		}
	}
	for _, pl := range plans {
		if pl.expect == nil {
			continue
		}
		at := slices.IndexFunc(verdicts, func(v *simulate.Verdict) bool { return v.Call == pl.call })
		var v *simulate.Verdict
		if at < 0 { // not a missed call
			v = &simulate.Verdict{Call: pl.call, Decision: r.Decide(rules.Facts{Call: pl.call}, pl.at)}
		} else {
			v = verdicts[at]
		}
		c := comparison{s: s, p: pl.path, test: t.Name, step: pl.step, v: v, zone: zone, res: res}
		c.all(pl.expect)
	}
}

func (c *contact) contact() *rules.Contact {
	return &rules.Contact{Name: c.Name, FirstName: c.FirstName, Language: c.Language, Groups: c.Groups, VIP: c.VIP, DoNotText: c.DoNotText, Blocked: c.Blocked}
}

// call makes a call of what the step says and what the file's call says for all.
func (s *Suite) call(c *call, end time.Time, id string) (*pbx.Call, simulate.Given, *rules.Contact) {
	all := &s.file.Call
	text := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	h := Hypothetical{
		Outcome: text(c.Outcome, all.Outcome), Reason: text(c.Reason, all.Reason), Caller: text(c.Caller, all.Caller), Name: text(c.Name, all.Name),
		Queue: text(c.Queue, all.Queue), Attestation: text(c.Attestation, all.Attestation),
		Ring: first(c.Ring, all.Ring), Wait: first(c.Wait, all.Wait), QueueWait: first(c.QueueWait, all.QueueWait),
		Menu: is(c.Menu, all.Menu), Forwarded: is(c.Forwarded, all.Forwarded), Anonymous: is(c.Anonymous, all.Anonymous),
		Tried: c.Tried, PBX: c.PBX, End: end, Region: s.file.Region,
	}
	if h.MessageLeft = c.MessageLeft; h.MessageLeft == nil {
		h.MessageLeft = all.MessageLeft
	}
	if h.Certain = c.Certain; h.Certain == nil {
		h.Certain = all.Certain
	}
	if h.Tried == nil {
		h.Tried = all.Tried
	}
	if h.PBX == nil {
		h.PBX = all.PBX
	}
	call := h.Call()
	call.ID = id
	line := text(c.Line, all.Line)
	call.Line = pbx.Line{Raw: line, Name: text(c.LineName, all.LineName)}
	if n := number.Parse(line, s.file.Region); n.Kind == number.External {
		call.Line.Number = n.E164
	} else if call.Line.Name == "" {
		call.Line.Name = line
	}
	g := simulate.Given{Attempts: max(c.Attempts, all.Attempts*b2i(c.Attempts == 0)), Known: is(c.Known, all.Known), OptedOut: is(c.OptedOut, all.OptedOut),
		Machine: text(c.Machine, all.Machine), Down: text(c.Down, all.Down)}
	if d := first(c.OnLine, all.OnLine); d != nil {
		g.OnLine = *d
	}
	sp := c.Spent
	if sp == nil {
		sp = all.Spent
	}
	if sp != nil {
		g.Spent = rules.Spent{Caller: sp.Caller, Prefix: sp.Prefix, Minute: sp.Minute, DaySegments: sp.Segments, DayMoney: sp.Money}
	}
	who := c.Contact
	if who == nil {
		who = all.Contact
	}
	if who == nil {
		return call, g, nil
	}
	return call, g, who.contact()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func first(a, b *time.Duration) *time.Duration {
	if a != nil {
		return a
	}
	return b
}

func is(a, b *bool) bool {
	if a == nil {
		a = b
	}
	return a != nil && *a
}
