package sms

import (
	"testing"
	"time"

	"textback/pbx"
	"textback/rules"
)

// What is known of a caller now, as a plan would have it; asking changes nothing.
func TestPresent(t *testing.T) {
	o := open(t, t.TempDir())
	now := time.Now().UTC().Truncate(time.Second)
	s := o.sender("10s", &desk{}, func(opt *SenderOptions) { opt.Now = func() time.Time { return now } })
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	o.store(callerSubject(o.key.Caller(sarah)), &Caller{OpenedAt: ago(2 * time.Hour), FirstTextAt: ago(time.Hour), LastTextAt: ago(time.Hour), Calls: 2, GotThrough: ago(3 * time.Hour), CalledBack: ago(4 * time.Hour),
		RepliedAt: ago(5 * time.Hour), KnownSince: ago(6 * time.Hour), Texts: []time.Time{ago(time.Hour), ago(30 * time.Hour)}, Machine: "it repeats itself", MachineTill: now.Add(time.Hour)})
	if err := o.out.Set(o.ctx(), sarah, true, ByAdmin); err != nil {
		t.Fatal(err)
	}
	o.store(breakerSubject(s.ways[0].Name), &breaker{Failures: 5, Until: now.Add(time.Hour), Changed: now, Why: "transient"})
	var f rules.Facts
	for range 2 {
		f = rules.Facts{Call: &pbx.Call{Caller: pbx.Caller{Number: sarah}}}
		if err := s.Present(o.ctx(), &f); err != nil {
			t.Fatal(err)
		}
	}
	e := rules.Episode{OpenedAt: ago(2 * time.Hour), FirstTextAt: ago(time.Hour), LastTextAt: ago(time.Hour), Calls: 2}
	if !f.OptedOut || !f.Known || f.Machine != "it repeats itself" || f.Down == "" || f.Spent.Caller != 1 || f.Episode != e ||
		!f.GotThrough.Equal(ago(3*time.Hour)) || !f.CalledBack.Equal(ago(4*time.Hour)) || !f.Replied.Equal(ago(5*time.Hour)) {
		t.Errorf("%+v", f)
	}
	for _, n := range []string{bob, ""} { // nobody has heard of them
		f = rules.Facts{Call: &pbx.Call{Caller: pbx.Caller{Number: n}}}
		if err := s.Present(o.ctx(), &f); err != nil || f.OptedOut || f.Known || f.Machine != "" || f.Episode != (rules.Episode{}) {
			t.Errorf("%q: %+v %v", n, f, err)
		}
	}
	if got := o.callerRecord(sarah); got.Calls != 2 {
		t.Errorf("%+v", got)
	}
}
