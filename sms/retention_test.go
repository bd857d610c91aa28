package sms

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx/bus"
	"textback/rules"
)

// everything reads all messages of all streams.
func (o *office) everything() (out []string) {
	js, err := jetstream.New(o.nc)
	if err != nil {
		o.t.Fatal(err)
	}
	names := js.StreamNames(o.ctx())
	for name := range names.Name() {
		// Not FetchNoWait: what does not come within a second it passes over without a word.
		err := bus.Each(o.ctx(), o.nc, name, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}, func(m jetstream.Msg, _ uint64) (bool, error) {
			out = append(out, m.Subject()+" "+fmt.Sprint(m.Headers())+" "+string(m.Data()))
			return true, nil
		})
		if err != nil {
			o.t.Fatal(err)
		}
	}
	if err := names.Err(); err != nil {
		o.t.Fatal(err)
	}
	return out
}

func TestExportAndForget(t *testing.T) {
	dir := t.TempDir()
	o, d, b := open(t, dir), &desk{}, &bell{}
	s := o.under(d, policy{decide: func(f rules.Facts, x *rules.Decision) {
		reminded(time.Hour)(f, x)
		x.Notify = []string{"front", "boss"}
	}}, staffed(b, front, mobile))
	in := s.Inbox("transport", Traits{})
	c, other := missed(sarah), missed(bob)
	o.finish(c)
	o.finish(other)
	o.state(c.ID, Sent)
	o.state(other.ID, Sent)
	o.give(in, inboundText("MO1", sarah, "my secret words"))
	o.give(in, inboundText("MO2", bob, "bob's words"))
	if err := in.Receipt(o.ctx(), DeliveryReceipt{MessageID: jobID(c), Delivery: Delivered}); err != nil {
		t.Fatal(err)
	}
	o.give(in, inboundText("MO3", sarah, "STOP"))
	if err := Note(o.ctx(), o.nc, o.key, sarah, "n1", "front", "called about the secret crown"); err != nil {
		t.Fatal(err)
	}
	o.eventually("all is quiet", func() bool {
		for _, j := range o.all() {
			if j.State == Submitting || j.State == Scheduled && j.DueAt.Before(time.Now().Add(time.Minute)) {
				return false
			}
		}
		return len(d.answers(sarah)) == 1 && len(o.said(sarah, SaidOut)) == 2 // what was sent is kept after the job says so
	})

	k, err := Export(o.ctx(), o.nc, o.key, sarah)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Calls) != 1 || len(k.Conversation) != 5 || k.OptOut == nil || !k.OptOut.Out || k.Caller == nil {
		t.Errorf("%d calls, %d texts, %d said, %+v", len(k.Calls), len(k.Texts), len(k.Conversation), k.OptOut)
	}
	j, err := json.Marshal(k)
	if err != nil || !bytes.Contains(j, []byte("my secret words")) || bytes.Contains(j, []byte("bob's words")) || bytes.Contains(j, []byte(bob)) {
		t.Errorf("%v %s", err, j)
	}

	did, err := Forget(o.ctx(), o.nc, o.key, sarah)
	if err != nil {
		t.Fatal(err)
	}
	if did.Calls != 1 || did.Said != 5 || did.Texts == 0 || !did.OptedOut || did.Busy != 0 || did.NumberInOptOut {
		t.Errorf("%+v", did)
	}
	bobs := 0
	for _, m := range o.everything() {
		if strings.Contains(m, sarah) || strings.Contains(m, sarah[1:]) || strings.Contains(m, "secret") {
			t.Errorf("still there: %s", m)
		}
		if strings.Contains(m, bob) {
			bobs++
		}
	}
	if bobs < 4 {
		t.Errorf("others are forgotten too: %d", bobs)
	}
	if out, err := o.out.Out(o.ctx(), sarah); err != nil || !out {
		t.Error("the opt-out is forgotten")
	}
	next := missed(sarah)
	o.finish(next)
	o.state(next.ID, Suppressed)
	// Offered again, it stays forgotten.
	o.give(in, inboundText("MO1", sarah, "my secret words"))
	if got := o.said(sarah, SaidIn); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	// Nor is it in the copy of opt-outs.
	copied, err := os.ReadFile(filepath.Join(dir, "optouts.jsonl"))
	if err != nil || bytes.Contains(copied, []byte(sarah[2:])) {
		t.Errorf("%v %s", err, copied)
	}
	if again, err := Forget(o.ctx(), o.nc, o.key, sarah); err != nil || again.Calls != 1 || again.Said != 0 {
		t.Errorf("%+v %v", again, err)
	}
}

func TestOldWordsAreForgotten(t *testing.T) {
	o, d := open(t, t.TempDir()), &desk{}
	var mu sync.Mutex
	var skew time.Duration
	s := o.sender("0s", d, func(s *SenderOptions) {
		staffed(nil)(s)
		s.Retention = Retention{Bodies: time.Hour, Numbers: 3 * time.Hour}
		s.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(skew) }
	})
	c := missed(sarah)
	o.finish(c)
	o.state(c.ID, Sent)
	for _, x := range []struct {
		age      time.Duration
		body, to bool
	}{{30 * time.Minute, true, true}, {2 * time.Hour, false, true}, {4 * time.Hour, false, false}} {
		mu.Lock()
		skew = x.age
		mu.Unlock()
		if err := s.forgetOld(o.ctx()); err != nil {
			t.Fatal(err)
		}
		if j := o.jobs()[c.ID]; (j.Body != "") != x.body || (j.To != "") != x.to || j.State != Sent || j.Rule == "" {
			t.Errorf("after %v: %+v", x.age, j)
		}
	}
	js, err := jetstream.New(o.nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := EnsureStreamsFor(o.ctx(), o.nc, o.log, Retention{Bodies: 90 * 24 * time.Hour, Numbers: 48 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(o.ctx(), ConvStream)
	if err != nil || st.CachedInfo().Config.MaxAge != 48*time.Hour {
		t.Errorf("words are kept longer than numbers: %v %v", st.CachedInfo().Config.MaxAge, err)
	}
}
