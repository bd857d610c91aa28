package sms

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"textback/pbx/bus"
	"textback/rules"
)

// Whatever is offered in whatever order, any number of times, to several senders,
// while calls are missed and NATS goes away and comes back: each text counts
// once, who said STOP last is out, nothing leaves for them after that, and who
// says STOP only is told so once.
func TestInboundProperty(t *testing.T) {
	seeds := 3
	if testing.Short() {
		seeds = 1
	}
	for i := range seeds {
		seed := uint64(time.Now().UnixNano()) + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { inboundProperty(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func inboundProperty(t *testing.T, rnd *rand.Rand) {
	const callers, each = 6, 7
	number := func(c int) string { return fmt.Sprintf("+120255501%02d", c) }
	says := []string{"are you open today?", "please call me", "STOP", "Stop texting me", "START", "HELP", "ok then", "arrêtez", "thanks"}
	base := time.Now().Add(-time.Minute).Truncate(time.Second)
	words := map[Keyword]int{}
	var all []Inbound
	last, stops, starts := map[string]Keyword{}, map[string]int{}, map[string]int{}
	k, err := NewKeywords(KeywordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for c := range callers {
		for i := range each {
			m := Inbound{ID: fmt.Sprintf("%d-%d", c, i), From: number(c), To: "+12125550100", Body: says[rnd.IntN(len(says))], At: base.Add(time.Duration(i) * time.Second)}
			if c == 0 && i%3 == 1 {
				m.Body = fmt.Sprint("hello ", i)
			} else if c == 0 {
				m.Body = "STOP" // one who says nothing but stop
			}
			if c == 1 {
				m.Body = fmt.Sprint("hello ", i) // and one who never does
			}
			kw, _ := k.Find(m.Body)
			if kw == NoKeyword {
				m.Body += fmt.Sprint(" ", i) // the same again and again would be a machine
			}
			words[kw]++
			switch kw {
			case Stop:
				last[m.From] = kw
				stops[m.From]++
			case Start:
				last[m.From] = kw
				starts[m.From]++
			}
			all = append(all, m)
		}
	}
	dir, d, b := t.TempDir(), &desk{}, &bell{}
	taken := map[string]bool{}
	var mu sync.Mutex
	var o *office
	for phase := range 4 {
		o = open(t, dir)
		var ins []Inbox
		for range 2 {
			s := o.under(d, policy{decide: reminded(time.Hour)}, func(s *SenderOptions) {
				staffed(b, front)(s)
				s.Alone = false
				s.Notices.Limit = 1000
			})
			ins = append(ins, s.Inbox("transport", Traits{}))
		}
		if phase == 0 {
			for c := range callers {
				o.finish(missed(number(c)))
			}
			o.eventually("calls are planned", func() bool { return len(o.all()) >= 3*callers })
		}
		var wg sync.WaitGroup
		order := rnd.Perm(len(all))
		if phase < 3 { // some now, some later
			order = order[:len(order)*(phase+1)/4]
		}
		ctx, cancel := context.WithCancel(context.Background())
		for n, i := range order {
			m := all[i]
			wait := time.Duration(rnd.IntN(200)) * time.Millisecond
			wg.Add(1)
			go func() {
				defer wg.Done()
				time.Sleep(wait)
				for range 1 + n%3 {
					octx, done := context.WithTimeout(ctx, 2*time.Minute)
					err := ins[n%2].Received(octx, m)
					done()
					mu.Lock()
					taken[m.ID] = taken[m.ID] || err == nil
					mu.Unlock()
					if err != nil && phase == 3 {
						t.Errorf("%s: %v", m.ID, err)
					}
				}
			}()
		}
		if phase < 3 {
			time.Sleep(time.Duration(50+rnd.IntN(150)) * time.Millisecond)
			cancel()
			o.close()
		}
		wg.Wait()
		cancel()
	}
	o.eventually("all is quiet", func() bool {
		for _, j := range o.all() {
			if j.State == Submitting || j.State == Scheduled && j.DueAt.Before(time.Now().Add(time.Minute)) {
				return false
			}
		}
		return true
	})
	for _, m := range all {
		if !taken[m.ID] {
			t.Errorf("%s was never taken", m.ID)
		}
	}
	answers := map[string]int{}
	for _, m := range d.texts() {
		answers[m.ID]++
		if answers[m.ID] > 1 {
			t.Errorf("job %s left %d times", m.ID, answers[m.ID])
		}
	}
	notices := map[string]int{}
	jobs := o.all()
	for _, j := range jobs {
		if j.Kind == Notice {
			notices[j.Caller]++
		}
	}
	for c := range callers {
		n, key := number(c), o.key.Caller(number(c))
		if got := len(o.said(n, SaidIn)); got != each {
			t.Errorf("caller %d: %d texts are kept of %d", c, got, each)
		}
		if notices[key] != each {
			t.Errorf("caller %d: staff has %d notices of %d texts", c, notices[key], each)
		}
		out, err := o.out.Out(o.ctx(), n)
		if err != nil {
			t.Fatal(err)
		}
		if last[n] == Stop && !out || last[n] == NoKeyword && out {
			t.Errorf("caller %d: said %q last and is out: %v", c, last[n], out)
		}
		confirmed := 0
		for _, j := range jobs {
			if j.Caller == key && j.Kind == Answer && j.Message == string(Stop) && j.State == Sent {
				confirmed++
			}
		}
		if starts[n] == 0 && stops[n] > 0 && confirmed != 1 || confirmed > starts[n]+1 {
			t.Errorf("caller %d: %d STOPs, %d STARTs, %d confirmations", c, stops[n], starts[n], confirmed)
		}
		for _, j := range jobs {
			if j.Caller != key || j.Kind != Text || !j.FollowUp {
				continue
			}
			if j.State != Cancelled || j.Why != rules.SaidStop && j.Why != rules.Replied {
				t.Errorf("caller %d: a follow-up is %s %s", c, j.State, j.Why)
			}
		}
	}
	for id, j := range jobs {
		if j.Kind != Text || j.FollowUp || j.State != Sent || starts[j.To] > 0 || stops[j.To] == 0 {
			continue
		}
		begun, err := bus.GetLast(o.ctx(), o.nc, Stream, eventSubject(id, Submitting))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if kw, _ := k.Find(m.Body); m.From != j.To || kw != Stop {
				continue
			}
			mark, err := bus.GetLast(o.ctx(), o.nc, Stream, inSubject(o.key.hash("id", "transport", m.ID)))
			if err != nil {
				t.Fatal(err)
			}
			if mark.Seq < begun.Seq {
				t.Errorf("the text to %s left after their STOP", j.To)
			}
		}
	}
	t.Logf("%v, %d texts left", words, len(d.texts()))
}
