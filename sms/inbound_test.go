package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
)

// bell is a Notifier that remembers.
type bell struct {
	mu     sync.Mutex
	got    []Notification
	answer func(n int, x Notification) error
}

func (b *bell) Notify(_ context.Context, x Notification) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, x)
	if b.answer != nil {
		return b.answer(len(b.got), x)
	}
	return nil
}

func (b *bell) rung() []Notification {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Notification(nil), b.got...)
}

var front = rules.Staff{Name: "front", Email: "front@example.com"}

// staffed gives an office staff, and a business.
func staffed(b *bell, staff ...rules.Staff) func(*SenderOptions) {
	return func(s *SenderOptions) {
		s.Inbox.Business = func() string { return "Miller Dental" }
		s.Inbox.Own = func(n string) bool { return n == "+12125550100" }
		s.Inbox.Tell = func(string) (names []string) {
			for _, st := range staff {
				names = append(names, st.Name)
			}
			return names
		}
		if b != nil {
			s.Notices.Notifier = b
		}
		s.Notices.Staff = func(name string) (rules.Staff, bool) {
			for _, st := range staff {
				if st.Name == name {
					return st, true
				}
			}
			return rules.Staff{}, false
		}
	}
}

func inboundText(id, from, body string) Inbound {
	return Inbound{ID: id, From: from, To: "+12125550100", Body: body, At: time.Now()}
}

func (o *office) give(in Inbox, m Inbound) {
	o.t.Helper()
	if err := in.Received(o.ctx(), m); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) caller(number string) (c Caller) {
	if _, err := read(o.ctx(), o.nc, Stream, callerSubject(o.key.Caller(number)), &c); err != nil {
		o.t.Fatal(err)
	}
	return c
}

// answers are the texts that went to number beside those about calls.
func (d *desk) answers(number string) (out []Message) {
	for _, m := range d.texts() {
		if m.To == number && strings.HasSuffix(m.ID, "-a") {
			out = append(out, m)
		}
	}
	return out
}

func (o *office) said(number, way string) (out []*Said) {
	all, err := Conversation(o.ctx(), o.nc, o.key.Caller(number))
	if err != nil {
		o.t.Fatal(err)
	}
	for _, x := range all {
		if x.Way == way {
			out = append(out, x)
		}
	}
	return out
}

func TestReplyJoinsTheEpisode(t *testing.T) {
	o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
	s := o.under(d, policy{decide: reminded(time.Hour)}, staffed(b, front))
	events, err := o.nc.SubscribeSync("textback.v1.sms.event.*.received")
	if err != nil {
		t.Fatal(err)
	}
	c := missed(sarah)
	o.finish(c)
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"1", Sent)
	in := s.Inbox("desk", Traits{})
	m := inboundText("MO1", sarah, "Can you call me back after 3?")
	for range 5 { // the provider offers it again and again
		o.give(in, m)
	}
	for _, step := range []string{"2", "3"} {
		if j := o.jobState(base+step, Cancelled); j.Why != rules.Replied {
			t.Errorf("%+v", j)
		}
	}
	o.eventually("staff is told", func() bool { return len(b.rung()) > 0 })
	if rec := o.caller(sarah); rec.RepliedAt.IsZero() || !rec.LastTextAt.Equal(rec.RepliedAt) || len(rec.Heard) != 1 || rec.Machine != "" {
		t.Errorf("%+v", rec)
	}
	if got := b.rung(); len(got) != 1 || got[0].Channel != ByEmail || got[0].To.Email != front.Email || got[0].Word != ReplyCame || !strings.Contains(got[0].Body, "after 3?") || !strings.Contains(got[0].Subject, sarah) {
		t.Errorf("%+v", got)
	}
	e, err := events.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var r Reply
	if err := json.Unmarshal(e.Data, &r); err != nil || r.From != sarah || r.Body != m.Body || r.Keyword != "" {
		t.Errorf("%s %v", e.Data, err)
	}
	if e, err := events.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("a second event: %s", e.Data)
	}
	if got := o.said(sarah, SaidIn); len(got) != 1 || got[0].Body != m.Body {
		t.Errorf("%+v", got)
	}
	o.eventually("it is kept", func() bool { return len(o.said(sarah, SaidOut)) > 0 })
	if got := o.said(sarah, SaidOut); len(got) != 1 || !strings.Contains(got[0].Body, "sorry we missed you") || got[0].Number != sarah {
		t.Errorf("%+v", got)
	}
	if n := len(d.texts()); n != 1 {
		t.Errorf("%d texts: a reply is not answered", n)
	}
}

// A text says nothing about a call whose own text is only just due.
func TestReplyLeavesAFirstTextAlone(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var clock ahead
	s := o.sender("1m", d, func(s *SenderOptions) { staffed(nil)(s); s.Now = clock.now })
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Scheduled)
	o.give(s.Inbox("desk", Traits{}), inboundText("MO1", sarah, "are you open?"))
	clock.set(2 * time.Minute)
	s.bring(o.ctx(), jobID(c), s.step) // its timer, ahead of the wall clock
	o.state(c.ID, Sent)
}

func TestStop(t *testing.T) {
	o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
	s := o.under(d, policy{decide: reminded(time.Hour)}, staffed(b, front))
	c := missed(sarah)
	o.finish(c)
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"1", Sent)
	in := s.Inbox("desk", Traits{})
	for range 4 {
		o.give(in, inboundText("MO1", sarah, "Please stop texting me"))
	}
	for i := range 3 { // and says it again, to another line too
		m := inboundText(fmt.Sprint("MO2", i), sarah, "STOP")
		m.To = "+12125550110"
		o.give(in, m)
	}
	for _, step := range []string{"2", "3"} {
		if j := o.jobState(base+step, Cancelled); j.Why != rules.SaidStop {
			t.Errorf("%+v", j)
		}
	}
	o.eventually("the confirmation", func() bool { return len(d.answers(sarah)) > 0 })
	other := missed(sarah)
	other.Line.Number = "+12125550110"
	o.finish(other)
	o.state(other.ID, Suppressed)
	if j := o.jobs()[other.ID]; j.Why != rules.SaidStop {
		t.Errorf("%+v", j)
	}
	o.eventually("the staff hears of it", func() bool { return len(b.rung()) == 4 })
	got := d.answers(sarah)
	if len(got) != 1 || got[0].From != "+12125550100" || !strings.HasPrefix(got[0].Body, "Miller Dental: you are unsubscribed") {
		t.Errorf("%+v", got)
	}
	// START, and a STOP that was said before it but comes late does not matter to it; one said after does.
	back := inboundText("MO3", sarah, "Start")
	o.give(in, back)
	o.give(in, back)
	o.eventually("welcome again", func() bool { return len(d.answers(sarah)) == 2 })
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || out {
		t.Errorf("still out: %v", err)
	}
	if got := d.answers(sarah)[1].Body; !strings.Contains(got, "again") {
		t.Error(got)
	}
	o.give(in, inboundText("MO4", sarah, "stop"))
	o.eventually("confirmed again", func() bool { return len(d.answers(sarah)) == 3 })
	late := inboundText("MO5", sarah, "START")
	late.At = back.At.Add(-time.Minute) // sent before that STOP
	o.give(in, late)
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || !out {
		t.Errorf("an old START lifts a newer STOP: %v", err)
	}
	time.Sleep(200 * time.Millisecond)
	if n := len(d.answers(sarah)); n != 3 {
		t.Errorf("%d answers", n)
	}
}

func TestCarrierAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		traits  Traits
		keyword string
		body    string
		out     bool
	}{
		"the carrier answers STOP":   {Traits{AnswersStop: true}, "", "STOP", true},
		"it says that it did":        {Traits{}, "STOP", "STOP", true},
		"in words we do not know":    {Traits{}, "STOP", "xyzzy", true},
		"it answers HELP":            {Traits{}, "HELP", "HELP", false},
		"STOP beats its HELP":        {Traits{AnswersStop: true}, "HELP", "arrêtez", true},
		"a short code asks for help": {Traits{}, "", "HELP", false},
	} {
		t.Run(name, func(t *testing.T) {
			o, d := open(t, t.TempDir()), &desk{}
			s := o.sender("0s", d, staffed(nil))
			m := inboundText("MO1", bob, c.body)
			if strings.HasPrefix(name, "a short") {
				m.From = "73737"
			}
			m.Keyword = c.keyword
			o.give(s.Inbox("desk", c.traits), m)
			if out, err := o.out.Out(o.ctx(), m.From); err != nil || out != c.out {
				t.Errorf("out: %v %v", out, err)
			}
			for id, j := range o.all() {
				t.Errorf("job %s: %+v", id, j)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	o, d, now := open(t, t.TempDir()), &desk{}, time.Now()
	var mu sync.Mutex
	s := o.sender("0s", d, func(s *SenderOptions) {
		staffed(nil)(s)
		s.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		s.Inbox.Phone = func(string) string { return "212 555 0100" }
	})
	in := s.Inbox("desk", Traits{})
	for i := range 3 {
		o.give(in, inboundText(fmt.Sprint(i), bob, "help"))
	}
	o.eventually("the answer", func() bool { return len(d.answers(bob)) == 1 })
	if got := d.answers(bob)[0].Body; !strings.Contains(got, "Miller Dental") || !strings.Contains(got, "212 555 0100") {
		t.Error(got)
	}
	mu.Lock()
	now = now.Add(25 * time.Hour)
	mu.Unlock()
	o.give(in, inboundText("later", bob, "Ayuda"))
	o.eventually("the next day's answer", func() bool { return len(d.answers(bob)) == 2 })
	if got := d.answers(bob)[1].Body; !strings.Contains(got, "le escribimos") {
		t.Error(got)
	}
}

// STOP, stored, wins over every submission that has not begun; and no
// confirmation comes twice, whatever is offered again and while it is.
func TestStopWinsOverWhatHasNotBegun(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s := o.sender("1s", d, func(s *SenderOptions) {
		staffed(nil)(s)
		r := parsed(t, "1s")
		s.Rules = func() Decider { return policy{Rules: r} }
	})
	in := s.Inbox("desk", Traits{})
	const n = 40
	number := func(i int) string { return fmt.Sprintf("+120255501%02d", i) }
	for i := range n {
		o.finish(missed(number(i)))
	}
	o.eventually("planned", func() bool { return len(o.all()) >= n })
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			time.Sleep(time.Duration(900+5*i) * time.Millisecond) // about when they are due
			m := inboundText("MO", number(i), "STOP")
			m.ID += number(i)
			for range 3 {
				if err := in.Received(context.Background(), m); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	o.eventually("all over", func() bool {
		for _, j := range o.all() {
			if j.Open() {
				return false
			}
		}
		return true
	})
	sent := 0
	for id, j := range o.all() {
		if j.Kind != Text {
			continue
		}
		if j.State == Cancelled {
			continue
		}
		sent++
		begun, err := bus.GetLast(o.ctx(), o.nc, Stream, eventSubject(id, Submitting))
		if err != nil {
			t.Fatal(err)
		}
		mark, err := bus.GetLast(o.ctx(), o.nc, Stream, inSubject(o.key.hash("id", "desk", "MO"+j.To)))
		if err != nil {
			t.Fatal(err)
		}
		if begun.Seq > mark.Seq {
			t.Errorf("%s was begun at %d, after the STOP at %d", id, begun.Seq, mark.Seq)
		}
	}
	t.Logf("%d of %d had begun", sent, n)
	for i := range n {
		if got := d.answers(number(i)); len(got) != 1 {
			t.Errorf("%d confirmations to number %d", len(got), i)
		}
	}
}

// NATS goes away and comes back while texts arrive; they are offered until they
// are taken, and again.
func TestReceivedOverRestarts(t *testing.T) {
	dir, d := t.TempDir(), &desk{}
	o := open(t, dir)
	b := &bell{}
	s := o.sender("0s", d, staffed(b, front))
	stop, hi := inboundText("MO1", sarah, "STOP"), inboundText("MO2", bob, "hello")
	o.give(s.Inbox("desk", Traits{}), stop)
	o.give(s.Inbox("desk", Traits{}), hi)
	for range 3 {
		o.close()
		if err := s.Inbox("desk", Traits{}).Received(shortly(t), inboundText("MO3", sarah, "hm")); err == nil {
			t.Error("taken without NATS")
		}
		o = open(t, dir)
		s = o.sender("0s", d, staffed(b, front))
		for range 2 {
			o.give(s.Inbox("desk", Traits{}), stop)
			o.give(s.Inbox("desk", Traits{}), hi)
		}
	}
	o.eventually("answered and told", func() bool { return len(d.answers(sarah)) == 1 && len(b.rung()) >= 2 })
	time.Sleep(300 * time.Millisecond)
	if got := d.texts(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || !out {
		t.Errorf("forgotten: %v", err)
	}
	if len(o.said(sarah, SaidIn)) != 1 || len(o.said(bob, SaidIn)) != 1 {
		t.Error("said twice")
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// A STOP whose batch is never stored has stopped all the same, and the next
// offer of it confirms once.
func TestStopHalfTaken(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s := o.sender("0s", d, staffed(nil))
	m := inboundText("MO1", sarah, "STOP")
	r := (&inbox{s: s, transport: "desk"}).reply(m)
	// What Received does first, then the process dies.
	if _, err := o.out.stop(o.ctx(), OptOut{Key: r.Caller, Out: true, At: time.Now().UTC(), Source: ByKeyword, By: r.ID, Said: r.At}); err != nil {
		t.Fatal(err)
	}
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Suppressed)
	for range 3 {
		o.give(s.Inbox("desk", Traits{}), m)
	}
	o.eventually("confirmed", func() bool { return len(d.answers(sarah)) == 1 })
}

func TestTextsWithoutIDs(t *testing.T) {
	o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
	s := o.sender("0s", d, staffed(b, front))
	in := s.Inbox("desk", Traits{})
	m := Inbound{From: sarah, To: "+12125550100", Body: "ok", At: time.Now()}
	o.give(in, m)
	o.give(in, m)
	m.At = m.At.Add(time.Second) // said again
	o.give(in, m)
	o.give(in, Inbound{From: sarah, Body: "\xff\x00evil\x1b[2J", At: time.Now()})
	o.eventually("told", func() bool { return len(b.rung()) == 3 })
	got := o.said(sarah, SaidIn)
	if len(got) != 3 {
		t.Fatalf("%d texts", len(got))
	}
	if strings.ContainsAny(got[2].Body, "\x00\x1b") || !strings.Contains(got[2].Body, "evil") {
		t.Errorf("%q", got[2].Body)
	}
}

func TestMachines(t *testing.T) {
	o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
	s := o.under(d, policy{decide: reminded(time.Hour)}, staffed(b, front))
	in := s.Inbox("desk", Traits{})
	c := missed(sarah)
	o.finish(c)
	base := strings.TrimSuffix(jobID(c), "1")
	o.jobState(base+"1", Sent)
	for i := range 6 {
		o.give(in, inboundText(fmt.Sprint(i), sarah, "I'm driving right now. I'll get back to you."))
	}
	rec := o.caller(sarah)
	if rec.Machine == "" || !rec.MachineTill.After(time.Now()) || !rec.RepliedAt.IsZero() {
		t.Errorf("%+v", rec)
	}
	if j := o.all()[base+"2"]; j.State != Scheduled {
		t.Errorf("a machine's text counts as a reply: %+v", j)
	}
	// STOP from a machine is obeyed, and not answered.
	o.give(in, inboundText("stop", sarah, "STOP"))
	if out, _ := o.out.Out(o.ctx(), sarah); !out {
		t.Error("a machine's STOP is not obeyed")
	}
	o.eventually("told once", func() bool { return len(b.rung()) == 1 })
	time.Sleep(100 * time.Millisecond)
	if n := len(b.rung()); n != 1 || !strings.Contains(b.rung()[0].Body, "machine") {
		t.Errorf("%+v", b.rung())
	}
	if n := len(d.answers(sarah)); n != 0 {
		t.Errorf("%d answers to a machine", n)
	}
	// Not texted: a call from it is decided against.
	o.give(in, inboundText("own", "+12125550100", "hello myself"))
	if rec := o.caller("+12125550100"); rec.Machine == "" {
		t.Error("our own number is a person")
	}
}

func TestHeard(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(hash string, ago ...time.Duration) (h []Heard) {
		for _, a := range ago {
			h = append(h, Heard{At: now.Add(-a), Hash: hash})
		}
		return h
	}
	many := func(n int, every time.Duration) (h []Heard) {
		for i := range n {
			h = append(h, Heard{At: now.Add(-time.Duration(n-i) * every), Hash: fmt.Sprint(i)})
		}
		return h
	}
	for name, c := range map[string]struct {
		before    []Heard
		from      string
		auto, own bool
		machine   bool
	}{
		"a first text":               {nil, sarah, false, false, false},
		"the same words twice":       {at("x", time.Minute), sarah, false, false, false},
		"the same words three times": {at("x", 2*time.Minute, time.Minute), sarah, false, false, true},
		"STOP, STOP, STOP":           {at("", 2*time.Minute, time.Minute), sarah, false, false, false},
		"the same words over days":   {at("x", 48*time.Hour, 24*time.Hour), sarah, false, false, false},
		"ten texts in ten minutes":   {many(9, time.Minute), sarah, false, false, false},
		"more than a person types":   {many(10, time.Minute/2), sarah, false, false, true},
		"a long talk":                {many(19, 2*time.Minute), sarah, false, false, false},
		"away":                       {nil, sarah, true, false, true},
		"ourselves":                  {nil, "+12125550100", false, true, true},
		"a short code":               {nil, "73737", false, false, true},
		"a name":                     {nil, "AMAZON", false, false, true},
		"nobody":                     {nil, "", false, false, true},
	} {
		hash := "x"
		if strings.HasPrefix(name, "STOP") {
			hash = ""
		}
		all, why, long := heard(c.before, c.from, hash, c.auto, c.own, now)
		if (why != "") != c.machine || (long > 0) != c.machine || len(all) != min(len(c.before)+1, heardKept) {
			t.Errorf("%s: %q %v, %d kept", name, why, long, len(all))
		}
	}
}

func TestReceipts(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s := o.sender("0s", d, staffed(nil))
	in := s.Inbox("transport", Traits{})
	events, err := o.nc.SubscribeSync("textback.v1.sms.event.*.*")
	if err != nil {
		t.Fatal(err)
	}
	give := func(r DeliveryReceipt) {
		t.Helper()
		if err := in.Receipt(o.ctx(), r); err != nil {
			t.Fatal(err)
		}
	}
	send := func(number string) *Job {
		c := missed(number)
		o.finish(c)
		o.state(c.ID, Sent)
		return o.jobs()[c.ID]
	}
	j := send(sarah)
	late := time.Now().UTC().Truncate(time.Second)
	for _, r := range []DeliveryReceipt{
		{ProviderID: j.ProviderID, Delivery: EnRoute}, {ProviderID: j.ProviderID, Delivery: Delivered, Code: "0", At: late},
		{ProviderID: j.ProviderID, Delivery: Delivered, At: late.Add(time.Hour)}, {ProviderID: j.ProviderID, Delivery: EnRoute}, {ProviderID: j.ProviderID, Delivery: Undelivered, Class: OptedOut, Code: "9"},
		{ProviderID: "nobody's", Delivery: Delivered}, {Delivery: Delivered}, {MessageID: "../../x", Delivery: Delivered}, {MessageID: "textback.v1", Delivery: Delivered},
	} {
		give(r)
	}
	if got := o.all()[j.ID]; got.Delivery != Delivered || !got.DeliveredAt.Equal(late) || got.State != Sent || got.ProviderCode != "0" {
		t.Errorf("%+v", got)
	}
	if out, _ := o.out.Out(o.ctx(), sarah); out {
		t.Error("a late word of a text that was delivered")
	}
	delivered := 0
	for {
		m, err := events.NextMsg(100 * time.Millisecond)
		if err != nil {
			break
		}
		if strings.HasSuffix(m.Subject, ".delivered") {
			delivered++
		}
	}
	if delivered != 1 {
		t.Errorf("%d events", delivered)
	}
	// Undelivered: what it says of the number is remembered.
	j = send(bob)
	give(DeliveryReceipt{MessageID: j.ID, Delivery: Undelivered, Class: NotMobile, Code: "30006"})
	if got := o.all()[j.ID]; got.Delivery != Undelivered || got.Why != string(NotMobile) || got.ProviderCode != "30006" {
		t.Errorf("%+v", got)
	}
	if rec := o.caller(bob); rec.Machine != takesNoTexts || rec.MachineTill.Before(time.Now().Add(24*time.Hour)) {
		t.Errorf("%+v", rec)
	}
	// …until a text comes from it.
	o.give(in, inboundText("MO1", bob, "I can text"))
	if rec := o.caller(bob); rec.Machine != "" {
		t.Errorf("%+v", rec)
	}
	give(DeliveryReceipt{MessageID: j.ID, Delivery: Delivered})
	if got := o.all()[j.ID]; got.Delivery != Delivered {
		t.Errorf("the handset has it after all: %+v", got)
	}
	carol := "+12025550145"
	j = send(carol)
	give(DeliveryReceipt{ProviderID: j.ProviderID, Delivery: Undelivered, Class: OptedOut})
	if out, _ := o.out.Out(o.ctx(), carol); !out {
		t.Error("an opt-out at the carrier is not learned")
	}
}

// Receipts that come while our own answer is still on its way, and of a text
// whose fate we do not know.
func TestReceiptsComeEarly(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var in Inbox
	ready := make(chan struct{})
	d.answer = func(_ int, m Message) error {
		<-ready
		r := DeliveryReceipt{ProviderID: "SM" + m.ID, Delivery: Delivered}
		if m.To == bob {
			r = DeliveryReceipt{MessageID: m.ID, ProviderID: "found out later", Delivery: Delivered}
		}
		for range 2 {
			if err := in.Receipt(context.Background(), r); err != nil {
				t.Error(err)
			}
		}
		if m.To == bob {
			return &Error{Class: Ambiguous, Err: errors.New("no answer")}
		}
		return nil
	}
	s := o.sender("0s", d, staffed(nil))
	in = s.Inbox("transport", Traits{})
	close(ready)
	first, second := missed(sarah), missed(bob)
	o.finish(first)
	o.finish(second)
	for _, c := range []*pbx.Call{first, second} {
		o.eventually("delivered", func() bool { j := o.jobs()[c.ID]; return j != nil && j.State == Sent && j.Delivery == Delivered })
	}
	if j := o.jobs()[second.ID]; j.ProviderID != "found out later" {
		t.Errorf("%+v", j)
	}
	// Held, then a receipt comes.
	d.mu.Lock()
	d.answer = func(int, Message) error { return &Error{Class: Ambiguous, Err: errors.New("no answer")} }
	d.mu.Unlock()
	third := missed("+12025550145")
	o.finish(third)
	o.state(third.ID, Held)
	if err := in.Receipt(o.ctx(), DeliveryReceipt{MessageID: jobID(third), Delivery: EnRoute}); err != nil {
		t.Fatal(err)
	}
	o.state(third.ID, Sent)
}

// A provider echoes our id with what became of an attempt that it had refused: that says
// nothing of the attempt that was taken.
func TestReceiptOfAnEarlierAttempt(t *testing.T) {
	o := open(t, t.TempDir())
	ins := map[string]Inbox{}
	word := func(in, pid string, d Delivery) DeliveryReceipt {
		return DeliveryReceipt{MessageID: in, ProviderID: pid, Delivery: d, Class: map[Delivery]Class{Undelivered: Rejected}[d]}
	}
	a := &desk{answer: func(_ int, m Message) error {
		if err := ins["a"].Receipt(context.Background(), word(m.ID, "", Delivered)); err != nil {
			t.Error(err)
		}
		return answerOf(Transient)
	}}
	b := &desk{answer: func(n int, m Message) error {
		if n > 1 {
			return nil
		}
		if err := ins["b"].Receipt(context.Background(), word(m.ID, "refused", Undelivered)); err != nil {
			t.Error(err)
		}
		return answerOf(Transient)
	}}
	s := o.sender("0s", nil, func(s *SenderOptions) {
		staffed(nil)(s)
		s.Transport, s.Ways, s.RetryPause = nil, []Way{{Transport: named{a, "a"}}, {Transport: named{b, "b"}}}, 50*time.Millisecond
		s.BreakAfter = 100
	})
	ins["a"], ins["b"] = s.Inbox("a", Traits{}), s.Inbox("b", Traits{})
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Sent)
	j := o.jobs()[c.ID]
	if j.Transport != "b" || j.Attempt < 3 {
		t.Fatalf("%+v", j)
	}
	for _, x := range []struct {
		in   string
		r    DeliveryReceipt
		want Delivery
	}{
		{"b", word(j.ID, "SMx", EnRoute), ""},
		{"a", word(j.ID, "", Undelivered), ""},
		{"a", word(j.ID, j.ProviderID, Undelivered), ""},
		{"b", word(j.ID, "refused", Undelivered), ""},
		{"b", word(j.ID, j.ProviderID, EnRoute), ""},
		{"b", word(j.ID, "", Delivered), Delivered},
	} {
		if err := ins[x.in].Receipt(o.ctx(), x.r); err != nil {
			t.Fatal(err)
		}
		if got := o.jobs()[c.ID]; got.Delivery != x.want || got.State != Sent {
			t.Errorf("%s says %+v: %+v", x.in, x.r, got)
		}
	}
	// What it says of the caller counts.
	r := word(j.ID, "", Undelivered)
	r.Class = OptedOut
	if err := ins["a"].Receipt(o.ctx(), r); err != nil {
		t.Fatal(err)
	}
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || !out || o.jobs()[c.ID].Delivery != Delivered {
		t.Errorf("out: %v %v", out, err)
	}
}

// A provider that does not say which number was texted: the answer comes from
// the sender of the way that the question came by.
func TestAnswerWhereTheRecipientIsNotSaid(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	s := o.sender("0s", nil, func(s *SenderOptions) {
		staffed(nil)(s)
		s.Transport, s.Ways = nil, []Way{{Transport: named{d, "a"}, From: func(string) string { return "+12125550111" }}}
	})
	o.give(s.Inbox("a", Traits{}), Inbound{ID: "1", From: sarah, Body: "STOP", At: time.Now()})
	o.eventually("the confirmation", func() bool { return len(d.texts()) == 1 })
	if got := d.texts()[0]; got.To != sarah || got.From != "+12125550111" {
		t.Errorf("%+v", got)
	}
}

// A transport that gives neither id nor time: a keyword said again is told from one
// offered again by what the list says, and doubt falls towards stop.
func TestKeywordsWithoutIDAndTime(t *testing.T) {
	for name, c := range map[string]struct {
		says    string
		out     bool
		answers int // "unsubscribed" and "again"
		told    int // notices
	}{
		"stop, offered again":                     {"STOP STOP STOP", true, 1, 1},
		"stop, start, stop":                       {"STOP START STOP", true, 3, 3},
		"stop, start, stop, offered again":        {"STOP START STOP STOP", true, 3, 3},
		"stop, start, start offered again":        {"STOP START START", false, 2, 2},
		"start offered again after a stop":        {"STOP START STOP START", true, 3, 4},
		"nothing to lift, and again after a stop": {"START STOP START", true, 1, 3},
		"in other words it is another text":       {"START STOP start", false, 2, 3},
		"the same, once it is too old for that":   {"START STOP later START", false, 2, 3},
		"in the next ten minutes":                 {"START STOP soon START", true, 1, 3},
		"stop, in the next ten minutes":           {"STOP START soon STOP", true, 3, 3},
		"longer":                                  {"please-stop-texting-me START please-stop-texting-me", true, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			o, d, b := open(t, t.TempDir()), &desk{}, &bell{}
			var mu sync.Mutex
			now := time.Now().Truncate(noIDWithin)
			s := o.sender("0s", d, func(s *SenderOptions) {
				staffed(b, front)(s)
				s.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
			})
			in := s.Inbox("desk", Traits{})
			for _, body := range strings.Fields(c.says) {
				mu.Lock()
				switch body {
				case "later":
					now = now.Add(offerWithin)
				case "soon":
					now = now.Add(noIDWithin)
				default:
					now = now.Add(time.Second)
				}
				mu.Unlock()
				if body != "later" && body != "soon" {
					o.give(in, Inbound{From: sarah, To: "+12125550100", Body: strings.ReplaceAll(body, "-", " ")})
					o.eventually("answers have left", func() bool {
						for _, j := range o.all() {
							if j.Kind == Answer && j.Open() {
								return false
							}
						}
						return true
					})
				}
			}
			if out, err := o.out.Out(o.ctx(), sarah); err != nil || out != c.out {
				t.Errorf("out: %v %v", out, err)
			}
			if n := len(d.answers(sarah)); n != c.answers {
				t.Errorf("%d answers, want %d", n, c.answers)
			}
			o.eventually("staff is told", func() bool { return len(b.rung()) >= c.told })
			if got := b.rung(); len(got) != c.told {
				t.Errorf("%d notices, want %d: %+v", len(got), c.told, got)
			} else if said := slices.ContainsFunc(got, func(x Notification) bool { return strings.Contains(x.Body, "optout remove") }); said != (c.out && strings.HasSuffix(c.says, "START")) {
				t.Errorf("staff is told of the doubt: %v, in %+v", said, got) // four are told at once: in no order
			}
		})
	}
}

// A sender that dies between the list and the rest: what is offered again ends it.
func TestStopSaidAgainIsTakenToItsEnd(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var mu sync.Mutex
	now := time.Now().Truncate(noIDWithin)
	s := o.sender("0s", d, func(s *SenderOptions) {
		staffed(nil)(s)
		s.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); now = now.Add(time.Second); return now }
	})
	in := s.Inbox("desk", Traits{})
	m := Inbound{From: sarah, To: "+12125550100", Body: "STOP"}
	o.give(in, m)
	o.eventually("an answer", func() bool { return len(d.answers(sarah)) == 1 })
	o.give(in, Inbound{From: sarah, To: "+12125550100", Body: "START"})
	o.eventually("two answers", func() bool { return len(d.answers(sarah)) == 2 })
	r := in.(*inbox).reply(m)
	if err := in.(*inbox).tell(o.ctx(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := o.out.stop(o.ctx(), OptOut{Key: r.Caller, Out: true, At: s.opt.Now().UTC(), Source: ByKeyword, By: r.ID, Said: r.At}); err != nil {
		t.Fatal(err)
	}
	o.give(in, m)
	o.eventually("the confirmation", func() bool { return len(d.answers(sarah)) == 3 })
	o.give(in, m)
	if got := o.said(sarah, SaidIn); len(got) != 3 {
		t.Errorf("%d texts are kept", len(got))
	}
}
