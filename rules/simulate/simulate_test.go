package simulate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"textback/pbx"
	"textback/rules"
)

const policy = `
version: 1
business: {name: Miller}
timezone: America/New_York
hours: {mon: "8:00-17:00", tue: "8:00-17:00", wed: "8:00-17:00", thu: "8:00-17:00", fri: "8:00-17:00"}
guards: {prices: {default: 0.01}, budgets: {per_minute: 4, segments_per_day: 40}}
staff: {front: {email: front@example.com}}
messages:
  sorry: "Sorry. {{.Business}}"
  again: "{{.Business}} again"
rules:
  - {name: third, when: {attempts: {at_least: 3}}, nothing: they had one, task: {owner: front, within: 1h}, notify: front}
  - {name: hung up, when: {outcome: abandoned}, send: sorry, delay: 10s}
  - {name: missed, send: sorry, follow_ups: [{after: 20m, send: again}, {after: 1h, assign: front}]}
`

func load(t testing.TB, yaml string) *rules.Rules {
	t.Helper()
	r, problems := rules.Parse("rules.yaml", []byte(yaml))
	if r == nil {
		t.Fatal(problems)
	}
	return r
}

// monday is ten o'clock at the office.
var monday = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func missed(after time.Duration, o pbx.Outcome, number string) Event {
	end := monday.Add(after)
	c := &pbx.Call{ID: fmt.Sprint(after), Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: o, Reason: pbx.Reason(o), Certain: true, StartedAt: end.Add(-20 * time.Second), EndedAt: end,
		Ring: 20 * time.Second, Wait: 20 * time.Second, Caller: pbx.Caller{Number: number, Raw: number}, Line: pbx.Line{Number: "+12125550100"}}
	return Event{At: end, Kind: Call, Call: c, Number: number}
}

func answered(after, talk time.Duration, dir pbx.Direction, number string) Event {
	e := missed(after, pbx.Answered, number)
	e.Call.Direction, e.Call.Reason, e.Call.Talk, e.Call.StartedAt = dir, "", talk, e.At.Add(-talk)
	return e
}

const al, bo = "+12025550143", "+13105550188"

// fates are what became of everything, in a word each.
func fates(all []*Verdict) (words []string) {
	for _, v := range all {
		if v.Text() == nil {
			words = append(words, "no:"+v.NotSent())
		}
		for _, s := range v.Steps {
			w := s.Kind + ":" + string(s.State)
			if s.State == Cancelled {
				w = s.Kind + ":" + s.Why
			}
			words = append(words, w)
		}
	}
	return words
}

func TestRun(t *testing.T) {
	r := load(t, policy)
	unknown := missed(time.Minute, pbx.Unknown, al)
	unknown.Call.Certain = false
	down, spent := missed(0, pbx.Abandoned, al), missed(0, pbx.RangOut, al)
	down.Given.Down, spent.Given.Spent.DaySegments = "the provider is away", 40
	const m = time.Minute
	for _, c := range []struct {
		name   string
		events []Event
		want   []string
	}{
		{"one call", []Event{missed(0, pbx.RangOut, al)}, []string{"text:sent", "follow_up:sent", "follow_up:open"}},
		{"three calls, one text", []Event{missed(0, pbx.RangOut, al), missed(m, pbx.Busy, al), missed(2*m, pbx.Busy, al)},
			[]string{"text:sent", "follow_up:sent", "follow_up:duplicate", "no:duplicate", "no:duplicate", "task:open", "notice:told"}},
		{"another day, another text", []Event{missed(0, pbx.Abandoned, al), missed(24*time.Hour, pbx.Abandoned, al)}, []string{"text:sent", "text:sent"}},
		{"got through before the text", []Event{missed(0, pbx.Abandoned, al), answered(9*time.Second, time.Second, pbx.Inbound, al)}, []string{"text:got_through"}},
		{"on the line when it is due, and reached then", []Event{missed(0, pbx.Abandoned, al), answered(m, 55*time.Second, pbx.Inbound, al)}, []string{"text:got_through"}},
		{"on the line when it is due, and missed again", []Event{missed(0, pbx.Abandoned, al), missed(25*time.Second, pbx.Abandoned, al)}, []string{"text:sent", "no:duplicate"}},
		{"another one gets through", []Event{missed(0, pbx.Abandoned, al), answered(9*time.Second, time.Second, pbx.Inbound, bo)}, []string{"text:sent"}},
		{"called back", []Event{missed(0, pbx.RangOut, al), answered(10*m, 30*time.Second, pbx.Outbound, al)}, []string{"text:sent", "follow_up:called_back", "follow_up:called_back"}},
		{"called back into a mailbox", []Event{missed(0, pbx.RangOut, al), answered(10*m, 5*time.Second, pbx.Outbound, al), missed(20*m, pbx.RangOut, al)},
			[]string{"text:sent", "follow_up:called_back", "follow_up:called_back", "no:duplicate", "follow_up:open"}},
		{"called back, after the task was given", []Event{missed(0, pbx.RangOut, al), answered(90*m, 30*time.Second, pbx.Outbound, al)}, []string{"text:sent", "follow_up:sent", "follow_up:done"}},
		{"an unknown call", []Event{missed(0, pbx.RangOut, al), unknown}, []string{"text:sent", "follow_up:not_certain", "follow_up:open"}},
		{"got through, and missed anew", []Event{missed(0, pbx.Abandoned, al), answered(10*m, m, pbx.Inbound, al), missed(20*m, pbx.Abandoned, al)}, []string{"text:sent", "text:sent"}},
		{"stop", []Event{missed(0, pbx.RangOut, al), {At: monday.Add(m), Kind: Stop, Number: al}, missed(24*time.Hour, pbx.RangOut, al)},
			[]string{"text:sent", "follow_up:opted_out", "follow_up:opted_out", "no:opted_out", "follow_up:open"}},
		{"reply", []Event{missed(0, pbx.RangOut, al), {At: monday.Add(m), Kind: Reply, Number: al}}, []string{"text:sent", "follow_up:replied", "follow_up:replied"}},
		{"a reply before the text", []Event{missed(0, pbx.Abandoned, al), {At: monday.Add(time.Second), Kind: Reply, Number: al}}, []string{"text:sent"}},
		{"at night the follow-up is dropped", []Event{missed(600*m-10*m, pbx.RangOut, al)}, []string{"text:sent", "follow_up:quiet_hours", "follow_up:open"}},
		{"no way out in time: a task in its place, done when they get through", []Event{down, answered(time.Hour, m, pbx.Inbound, al)}, []string{"text:stale", "owed:done"}},
		{"the day's segments are used up", []Event{spent}, []string{"no:budget_day", "follow_up:duplicate", "owed:open"}},
		{"nobody", nil, nil},
	} {
		if got := fates(Run(r, c.events, time.Time{}, Options{})); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %v\nwant %v", c.name, got, c.want)
		}
	}
	// Up to a time: what is due later is still to come.
	if got := fates(Run(r, []Event{missed(0, pbx.RangOut, al)}, monday.Add(30*m), Options{})); !slices.Equal(got, []string{"text:sent", "follow_up:sent", "follow_up:waiting"}) {
		t.Errorf("half an hour later: %v", got)
	}
}

// witness notes what Recheck said when.
type witness struct {
	*rules.Rules
	said map[string]string
}

func (w witness) Recheck(f rules.Facts, now time.Time) (string, string) {
	why, because := w.Rules.Recheck(f, now)
	w.said[fmt.Sprint(f.Call.ID, f.Text.DueAt, now)] = why
	return why, because
}

// Random days of an office: no text leaves unless Recheck says so at that moment, no budget is ever exceeded, nobody gets two first
// texts in one episode, the same events come to the same, and a caller who says stop is never texted again.
func TestRunProperties(t *testing.T) {
	r := load(t, policy)
	rnd := rand.New(rand.NewPCG(3, 5))
	texts, waited := 0, 0
	for range 60 {
		var events []Event
		numbers := []string{al, bo, "+12025550144", "+12025550145", "+12025550177", "+13105550189", "+12125550123", "+12125550124"}
		stopped := map[string]time.Time{}
		for range 150 {
			n := numbers[rnd.IntN(len(numbers))]
			after := time.Duration(rnd.IntN(2*24*3600)) * time.Second
			if rnd.IntN(2) == 0 { // a flood
				after = time.Duration(rnd.IntN(900)) * time.Second
			}
			switch rnd.IntN(12) {
			case 0:
				events = append(events, answered(after, time.Duration(rnd.IntN(60))*time.Second, pbx.Inbound, n))
			case 1:
				events = append(events, answered(after, time.Duration(rnd.IntN(60))*time.Second, pbx.Outbound, n))
			case 2:
				events = append(events, Event{At: monday.Add(after), Kind: Reply, Number: n})
			case 3:
				if rnd.IntN(4) == 0 {
					at := monday.Add(after)
					events = append(events, Event{At: at, Kind: Stop, Number: n})
					if s, ok := stopped[n]; !ok || at.Before(s) {
						stopped[n] = at
					}
				}
			default:
				e := missed(after, []pbx.Outcome{pbx.RangOut, pbx.Abandoned, pbx.Busy, pbx.Declined}[rnd.IntN(4)], n)
				e.Call.ID = fmt.Sprint(len(events))
				events = append(events, e)
			}
		}
		w := witness{r, map[string]string{}}
		all := Run(w, events, time.Time{}, Options{})
		if !reflect.DeepEqual(fates(all), fates(Run(r, events, time.Time{}, Options{}))) {
			t.Fatal("run twice, differently")
		}
		var sent []*Step
		numberOf := map[*Step]string{}
		for _, v := range all {
			for _, s := range v.Steps {
				if s.State == Waiting {
					t.Fatalf("left over: %+v", s)
				}
				if s.State != Sent {
					continue
				}
				texts++
				if s.At.After(s.DueAt) {
					waited++
				}
				if why, asked := w.said[fmt.Sprint(v.Call.ID, s.DueAt, s.At)]; !asked || why != "" {
					t.Fatalf("a text left at %v without Recheck's consent (%q, %v)", s.At, why, asked)
				}
				if at, ok := stopped[v.Call.Caller.Number]; ok && !s.At.Before(at) {
					t.Fatalf("a text at %v to somebody who said stop at %v", s.At, at)
				}
				if late := s.At.Sub(v.Call.EndedAt); s.Kind == "text" && late > 15*time.Minute {
					t.Fatalf("a text %v after its call", late)
				}
				sent, numberOf[s] = append(sent, s), v.Call.Caller.Number
			}
		}
		for _, s := range sent {
			var caller, pre, minute, day int
			y, mo, d := s.At.In(r.Zone()).Date()
			for _, o := range sent {
				ago := s.At.Sub(o.At)
				if ago < 0 {
					continue
				}
				if numberOf[o] == numberOf[s] && ago < 24*time.Hour {
					caller++
				}
				if numberOf[o][:8] == numberOf[s][:8] && ago < time.Hour {
					pre++
				}
				if ago < time.Minute {
					minute++
				}
				if oy, om, od := o.At.In(r.Zone()).Date(); oy == y && om == mo && od == d {
					day += o.Segments
				}
			}
			if caller > 3 || pre > 5 || minute > 4 || day > 40 {
				t.Fatalf("too many texts at %v: %d to the caller, %d to the prefix, %d in a minute, %d segments", s.At, caller, pre, minute, day)
			}
		}
	}
	if texts < 1000 || waited < 30 {
		t.Errorf("%d texts, %d that waited: hardly tested", texts, waited)
	}
}

func TestSumAndDiff(t *testing.T) {
	r := load(t, policy)
	other := load(t, `
version: 1
business: {name: Miller}
timezone: America/New_York
rules:
  - {name: missed, when: {outcome: rang_out}, text: "{{.Business}} missed you", tags: [x]}
  - {name: others, when: {outcome: declined}, nothing: test}
`)
	events := []Event{missed(0, pbx.RangOut, al), missed(time.Minute, pbx.RangOut, al), missed(time.Hour, pbx.Abandoned, bo), missed(2*time.Hour, pbx.Busy, "")}
	a, b := Run(r, events, time.Time{}, Options{}), Run(other, events, time.Time{}, Options{})
	s := Sum(a)
	if s.Missed != 4 || s.Texts != 2 || s.FollowUps != 1 || s.People != 2 || s.Segments != 3 || s.Cost != 30_000 || s.Tasks != 2 || // one callback for each caller

		!reflect.DeepEqual(s.Not, map[string]int{"duplicate": 1, "invalid_number": 1}) || len(s.Rules) != 2 || s.Rules[0].Rule != "hung up" || s.Rules[1].Calls != 3 {
		t.Errorf("%+v", s)
	}
	diff := Diff(a, b, r.Zone())
	if len(diff) != 4 || diff[2].NewSays != "no text (no_rule)" || diff[0].NewSays != `"Miller missed you" at 10:00:03; tags x` {
		t.Errorf("%+v", diff)
	}
	if d := Diff(a, a, r.Zone()); len(d) != 0 {
		t.Errorf("rules differ from themselves: %+v", d)
	}
}

func TestOffice(t *testing.T) {
	r := load(t, policy)
	outbound := missed(45*time.Minute, pbx.RangOut, bo)
	outbound.Call.Direction = pbx.Outbound
	events := []Event{
		missed(0, pbx.RangOut, al), answered(12*time.Minute, 30*time.Second, pbx.Outbound, al),
		missed(0, pbx.RangOut, bo), outbound, answered(50*time.Minute, 5*time.Second, pbx.Outbound, bo), answered(3*time.Hour, time.Minute, pbx.Inbound, bo),
		missed(0, pbx.RangOut, "+12125550123"), answered(30*time.Hour, time.Minute, pbx.Outbound, "+12125550123"),
		missed(0, pbx.RangOut, "+12125550199"), answered(10*time.Minute, 5*time.Second, pbx.Outbound, "+12125550199"),
	}
	var calls []*pbx.Call
	for _, e := range events {
		calls = append(calls, e.Call)
	}
	type row struct {
		what        string
		after       time.Duration
		superfluous bool
	}
	var got []row
	for _, f := range Office(Run(r, events, time.Time{}, Options{}), calls, 15*time.Minute, Options{}) {
		got = append(got, row{f.What, f.After, f.Superfluous})
	}
	want := []row{{CalledBack, 11*time.Minute + 30*time.Second, true}, {GotThrough, 179 * time.Minute, false}, {Nobody, 0, false}, {Tried, 10*time.Minute - 5*time.Second, false}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// From which talk time on a call back ends the episode and settles the task is the office's own.
func TestGotThroughTalk(t *testing.T) {
	r := load(t, policy)
	back := answered(2*time.Minute, 10*time.Second, pbx.Outbound, al)
	events := []Event{missed(0, pbx.RangOut, al), back, missed(time.Hour, pbx.RangOut, al)}
	for _, c := range []struct {
		talk time.Duration
		why  string // of the second call's text
		what string
	}{
		{0, rules.Duplicate, Tried}, {5 * time.Second, "", CalledBack}, {10 * time.Second, "", CalledBack}, {11 * time.Second, rules.Duplicate, Tried},
	} {
		opt := Options{GotThroughTalk: c.talk}
		all := Run(r, events, time.Time{}, opt)
		if got := all[1].Decision.Suppressed; got != c.why {
			t.Errorf("got through after %v: the second call is %q, want %q", c.talk, got, c.why)
		}
		if got := Office(all, []*pbx.Call{events[0].Call, back.Call, events[2].Call}, time.Hour, opt)[0].What; got != c.what {
			t.Errorf("got through after %v: the office %s, want %s", c.talk, got, c.what)
		}
	}
}

// A month of a busy office: 1,500 calls a day.
func BenchmarkMonth(b *testing.B) {
	yaml, err := os.ReadFile("../../configs/rules.yaml")
	if err != nil {
		b.Fatal(err)
	}
	r := load(b, string(yaml))
	rnd := rand.New(rand.NewPCG(1, 2))
	var events []Event
	for range 45_000 {
		e := missed(time.Duration(rnd.IntN(30*24*3600))*time.Second, []pbx.Outcome{pbx.RangOut, pbx.Abandoned, pbx.Busy, pbx.Declined}[rnd.IntN(4)], fmt.Sprintf("+1202555%04d", rnd.IntN(10_000)))
		events = append(events, e)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(Run(r, events, time.Time{}, Options{})); n != len(events) {
			b.Fatal(n)
		}
	}
}
