package sms

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/rules"
	"textback/rules/simulate"
)

// What 'textback test' and 'backtest' foretell is what the sender does: random
// small histories go through both, and what became of each call must be the same
// to the second. TEXTBACK_SEED repeats one history.
func TestSenderDoesWhatSimulationForetells(t *testing.T) {
	o := open(t, t.TempDir())
	if s := os.Getenv("TEXTBACK_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := newHistory(seed).differs(o); err != nil {
			t.Fatal(err)
		}
		return
	}
	patience := 8 * time.Second
	if testing.Short() {
		patience = 2 * time.Second
	}
	n := 0
	for seed, start := uint64(time.Now().UnixNano()), time.Now(); n < 400 && (n < 5 || time.Since(start) < patience); seed++ {
		h := newHistory(seed)
		if err := h.differs(o); err != nil {
			t.Fatalf("TEXTBACK_SEED=%d\n%v\n%s", seed, err, h)
		}
		n++
	}
	t.Logf("%d histories", n)
}

// history is rules and what happens under them.
type history struct {
	seed     uint64
	rnd      *mathrand.Rand
	text     string
	rules    *rules.Rules
	contacts map[string]*rules.Contact
	events   []simulate.Event
}

const ourLine = "+12125550100"

func newHistory(seed uint64) *history {
	h := &history{seed: seed, rnd: mathrand.New(mathrand.NewPCG(seed, 11))}
	h.makeRules()
	h.contacts = map[string]*rules.Contact{}
	if h.chance(3) {
		h.contacts[h.number()] = &rules.Contact{Name: "Ann Lee", VIP: h.chance(2), DoNotText: h.chance(3), Blocked: h.chance(4)}
	}
	h.makeEvents()
	return h
}

func (h *history) chance(oneIn int) bool { return h.rnd.IntN(oneIn) == 0 }

func pick[T any](h *history, of ...T) T { return of[h.rnd.IntN(len(of))] }

// number is a caller's: few, so that they call again, and most of one prefix.
func (h *history) number() string {
	return pick(h, sarah, sarah, bob, "+12025550143", "+12025550144", "+13105550199")
}

func (h *history) makeRules() {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nbusiness: {name: Miller Dental}\ntimezone: America/New_York\n")
	fmt.Fprintf(&b, "defaults: {delay: %s, window: %s, fresh: %s}\n", pick(h, "0s", "3s", "3s", "2m", "10m"), pick(h, "1h", "12h", "36h"), pick(h, "15m", "15m", "1h"))
	fmt.Fprintf(&b, "guards:\n  budgets: {per_caller: %s, per_prefix: %s, per_minute: %s, segments_per_day: %s, money_per_day: %s}\n",
		pick(h, `"off"`, "0", "1", "2", "3"), pick(h, `"off"`, "1", "3"), pick(h, `"off"`, "1", "2", "10"), pick(h, `"off"`, "2", "4", "200"), pick(h, "0.02", "1.00", "5.00"))
	fmt.Fprintf(&b, "  quiet_hours: {texts: %s, strict: %v, after_call: %s}\n  prices: {default: 0.0083}\n", pick(h, `"8:00-20:00"`, `"0:00-24:00"`), h.chance(3), pick(h, "5m", "1m"))
	fmt.Fprintf(&b, "staff: {reception: {email: front@example.com}, boss: {email: boss@example.com}}\n")
	fmt.Fprintf(&b, "messages: {missed: \"Sorry we missed you. Miller Dental\", reminder: \"Still there? Miller Dental\"}\nrules:\n")
	if h.chance(3) {
		fmt.Fprintf(&b, "  - {name: busy, when: {outcome: busy}, nothing: they know, notify: [boss]}\n")
	}
	if h.chance(4) {
		fmt.Fprintf(&b, "  - {name: again, when: {attempts: {at_least: 2}}, task: {owner: %s, within: 1h}}\n", pick(h, "boss", "reception"))
	}
	if h.chance(4) {
		fmt.Fprintf(&b, "  - {name: newcomer, when: {contact: new}, send: missed, delay: %s}\n", pick(h, "0s", "30s", "5m"))
	}
	fmt.Fprintf(&b, "  - name: missed\n    when: {outcome: [rang_out, declined, abandoned, voicemail, busy]}\n    send: missed\n")
	if h.chance(3) {
		fmt.Fprintf(&b, "    task: {owner: reception, within: 2h}\n")
	}
	if h.chance(3) {
		fmt.Fprintf(&b, "    notify: [boss]\n")
	}
	if !h.chance(3) {
		fmt.Fprintf(&b, "    follow_ups:\n")
		for minutes, more := 0, h.rnd.IntN(3)+1; more > 0; more-- {
			minutes += pick(h, 1, 5, 15, 60)
			if h.chance(2) {
				fmt.Fprintf(&b, "      - {after: %dm, send: reminder}\n", minutes)
			} else {
				fmt.Fprintf(&b, "      - {after: %dm, assign: %s, within: 1h}\n", minutes, pick(h, "reception", "boss"))
			}
		}
	}
	h.text = b.String()
	var problems []rules.Problem
	if h.rules, problems = rules.Parse("rules.yaml", []byte(h.text)); h.rules == nil {
		panic(fmt.Sprint(problems, "\n", h.text))
	}
}

func (h *history) makeEvents() {
	// The night in which summer time begins in New York is among these.
	at := time.Date(2024, 3, 8, 12+h.rnd.IntN(12), h.rnd.IntN(60), 0, 0, time.UTC)
	for i := range 3 + h.rnd.IntN(10) {
		at = at.Add(pick[time.Duration](h, 1, 7, 20, 90, 400, 1200, 2400, 4000, 9000, 30_000, 50_000) * time.Second)
		e := simulate.Event{At: at, Kind: pick(h, simulate.Call, simulate.Call, simulate.Call, simulate.Call, simulate.Call, simulate.Reply, simulate.Stop, simulate.Start, simulate.Hand), Number: h.number()}
		if h.chance(2) && (e.Kind == simulate.Stop || e.Kind == simulate.Hand) {
			e.Kind = simulate.Reply
		}
		if e.Kind == simulate.Call {
			e.Call, e.Number = h.call(i, at), ""
		}
		h.events = append(h.events, e)
	}
}

func (h *history) call(i int, end time.Time) *pbx.Call {
	c := missed(h.number())
	c.ID, c.Site = fmt.Sprintf("%d-%d", h.seed, i), fmt.Sprintf("s%d", h.seed)
	c.StartedAt, c.EndedAt = end.Add(-pick(h, 5*time.Second, 20*time.Second, 2*time.Minute, 15*time.Minute)), end
	answered := func(talk time.Duration) {
		c.Outcome, c.Reason, c.Talk = pbx.Answered, "", min(talk, end.Sub(c.StartedAt))
		c.AnsweredAt = end.Add(-c.Talk)
	}
	switch h.rnd.IntN(14) {
	case 0, 1:
		answered(pick(h, time.Second, 19*time.Second, time.Minute))
	case 2, 3:
		c.Direction = pbx.Outbound
		answered(pick(h, time.Second, 19*time.Second, 20*time.Second, time.Minute))
	case 4:
		c.Direction = pbx.Outbound // and nobody took it
	case 5:
		c.Outcome, c.Reason, c.Certain, c.Gaps = pbx.Unknown, "", false, []pbx.Gap{pbx.GapEventsLost}
		if h.chance(2) {
			c.Direction = pbx.Outbound
		}
	case 6:
		c.Caller = pbx.Caller{Anonymous: true}
	case 7:
		c.Caller = pick(h, pbx.Caller{Number: ourLine, Raw: ourLine}, pbx.Caller{Raw: "101"}, pbx.Caller{Number: "+442079460000", Raw: "+442079460000"})
	case 8:
		c.Outcome, c.Reason = pbx.Busy, pbx.ReasonBusy
	case 9:
		c.Outcome, c.Reason, c.Certain = pbx.RangOut, pbx.ReasonRangOut, false
	}
	return c
}

func (h *history) String() string {
	b := &strings.Builder{}
	fmt.Fprintln(b, h.text)
	for _, e := range h.events {
		fmt.Fprintf(b, "%s %s %s", e.At.Format("2 15:04:05"), e.Kind, e.Number)
		if c := e.Call; c != nil {
			fmt.Fprintf(b, "%s %s %s, up %v, talk %v, certain %v", c.Caller.Number, c.Direction, c.Outcome, c.EndedAt.Sub(c.StartedAt), c.Talk, c.Certain)
		}
		fmt.Fprintln(b)
	}
	for n, c := range h.contacts {
		fmt.Fprintf(b, "contact %s: %+v\n", n, *c)
	}
	return b.String()
}

func (h *history) contact(n string) *rules.Contact { return h.contacts[n] }

// differs lets both go through the history and tells where they part.
func (h *history) differs(o *office) error {
	foretold := map[string]string{}
	for _, v := range simulate.Run(h.rules, h.events, time.Time{}, simulate.Options{Window: h.rules.Window(), Contact: h.contact}) {
		foretold[v.Call.ID] = inWords(v)
	}
	came, err := h.happens(o)
	if err != nil {
		return err
	}
	for _, e := range h.events {
		if e.Call == nil || foretold[e.Call.ID] == came[e.Call.ID] {
			continue
		}
		return fmt.Errorf("the call that ended at %s:\nforetold:\n%scame:\n%s", e.At.Format("2 15:04:05"), foretold[e.Call.ID], came[e.Call.ID])
	}
	return nil
}

func stepInWords(what string, state State, why string, at time.Time, owner string) string {
	if state == Sent {
		why = at.UTC().Format("at 2 15:04:05")
	}
	return fmt.Sprintf("  %s %s %s %s\n", what, state, why, owner)
}

// inWords is a verdict in the words of the sender's jobs.
func inWords(v *simulate.Verdict) string {
	d := &v.Decision
	lines := []string{fmt.Sprintf("  rule %q\n", d.Rule)}
	if !d.Send {
		lines = append(lines, stepInWords("1", Suppressed, d.Suppressed, time.Time{}, ""))
	}
	n := 1
	for _, s := range v.Steps {
		what, owner := "", ""
		switch s.Kind {
		case "text":
			what = "1"
		case "follow_up":
			n++
			what = fmt.Sprint(n)
		case "task", "owed":
			what = "t"
		case "notice":
			continue
		}
		if s.Task != nil {
			owner = s.Task.Owner
		}
		state := map[simulate.State]State{simulate.Sent: Sent, simulate.Cancelled: Cancelled, simulate.Open: Waiting, simulate.Done: Done, simulate.Waiting: Scheduled}[s.State]
		lines = append(lines, stepInWords(what, state, s.Why, s.At, owner))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// happens lets the sender go through the history, by a clock of its own and
// with its timers rung by hand. A job that waits is looked at as often as in the
// simulation: how often is not what is asked here.
func (h *history) happens(o *office) (map[string]string, error) {
	key := make(Key, 32)
	_, _ = rand.Read(key)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc := o.nc
	outs, err := OpenOptOuts(ctx, nc, key, o.t.TempDir())
	if err != nil {
		return nil, err
	}
	site, now := fmt.Sprintf("s%d", h.seed), h.events[0].At
	jobs, order, wakes := map[string]*Job{}, map[string]int{}, map[string]time.Time{}
	s, err := NewSender(SenderOptions{NC: nc, Site: site, Key: key, OptOuts: outs, Rules: func() Decider { return h.rules }, Transport: &desk{},
		Contact: func(_ context.Context, n string) *rules.Contact { return h.contact(n) }, Alone: true, Log: o.log, Now: func() time.Time { return now },
		Observe: func(j *Job) {
			if _, ok := order[j.ID]; !ok {
				order[j.ID] = len(order)
			}
			jobs[j.ID] = j
			if j.State == Scheduled {
				wakes[j.ID] = j.DueAt
			} else {
				delete(wakes, j.ID)
			}
		}})
	if err != nil {
		return nil, err
	}
	s.quit = ctx
	inbox := s.Inbox("transport", Traits{AnswersStop: true})

	// Calls are in progress from their beginning on.
	type moment struct {
		at time.Time
		do func() error
	}
	var moments []moment
	for i, e := range h.events {
		if c := e.Call; c != nil && c.Caller.Number != "" {
			moments = append(moments, moment{c.StartedAt, func() error { return live(ctx, nc, c) }})
		}
		moments = append(moments, moment{e.At, func() error {
			switch {
			case e.Call != nil:
				if err := bus.Purge(ctx, nc, bus.LiveStream, event.LiveSubject(e.Call)); err != nil {
					return err
				}
				return s.plan(ctx, e.Call)
			case e.Kind == simulate.Hand:
				for _, id := range slices.Sorted(maps.Keys(jobs)) {
					if j := jobs[id]; j.Caller == key.Caller(e.Number) && (j.State == Scheduled || j.State == Waiting) {
						if err := End(ctx, nc, id, "admin", Retention{}); err != nil {
							return err
						}
						if _, err := read(ctx, nc, Stream, jobSubject(id), j); err != nil {
							return err
						}
						delete(wakes, id)
					}
				}
				return nil
			}
			body := map[simulate.Kind]string{simulate.Reply: fmt.Sprint("hello, number ", i), simulate.Stop: "STOP", simulate.Start: "START"}[e.Kind]
			return inbox.Received(ctx, Inbound{ID: fmt.Sprint(i), From: e.Number, To: ourLine, Body: body, At: e.At})
		}})
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return a.at.Compare(b.at) })
	ring := func(before time.Time) error {
		for {
			next := ""
			for id, at := range wakes {
				if next == "" || at.Before(wakes[next]) || at.Equal(wakes[next]) && order[id] < order[next] {
					next = id
				}
			}
			if next == "" || !before.IsZero() && !wakes[next].Before(before) {
				return nil
			}
			if wakes[next].After(now) {
				now = wakes[next]
			}
			id := next
			delete(wakes, id)
			var again errAgain
			switch err := s.step(ctx, id); {
			case errors.As(err, &again):
				at := now.Add(lookAgain)
				if again.after == lookAgain { // on a line: until it ends
					for _, e := range h.events {
						if c := e.Call; c != nil && c.Caller.Number == jobs[id].To && !c.StartedAt.After(now) && c.EndedAt.After(at) {
							at = c.EndedAt
						}
					}
				}
				wakes[id] = at
			case err != nil:
				return err
			}
		}
	}
	for _, m := range moments {
		if err := ring(m.at); err != nil {
			return nil, err
		}
		now = m.at
		if err := m.do(); err != nil {
			return nil, err
		}
	}
	if err := ring(time.Time{}); err != nil {
		return nil, err
	}

	lines := map[string][]string{}
	for id, j := range jobs {
		_, call, _ := strings.Cut(j.Call, "/")
		_, what, _ := strings.Cut(id, "-")
		if i := strings.LastIndexByte(id, '-'); i >= 0 {
			what = id[i+1:]
		}
		owner, why := "", j.Why
		if j.Kind == Task {
			owner = j.TaskOwner
			if j.State == Waiting {
				why = "" // late or not
			}
		}
		lines[call] = append(lines[call], stepInWords(what, j.State, why, j.UpdatedAt, owner))
		if what == "1" {
			lines[call] = append(lines[call], fmt.Sprintf("  rule %q\n", j.Rule))
		}
	}
	out := map[string]string{}
	for call, l := range lines {
		slices.Sort(l)
		out[call] = strings.Join(l, "")
	}
	return out, nil
}

// live tells that a call is in progress.
func live(ctx context.Context, nc *nats.Conn, c *pbx.Call) error {
	up := *c
	up.State, up.Outcome, up.Reason, up.EndedAt, up.AnsweredAt, up.Talk, up.Gaps, up.Certain = pbx.StateRinging, "", "", time.Time{}, time.Time{}, 0, nil, false
	data, err := event.Encode(&up, c.StartedAt)
	if err != nil {
		return err
	}
	m := nats.NewMsg(event.LiveSubject(c))
	m.Data = data
	_, err = bus.Publish(ctx, nc, m)
	return err
}
