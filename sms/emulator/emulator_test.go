package emulator_test

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/emulator"
	"textback/sms/twilio"
)

var message = sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "Sorry we missed you. Miller Dental"}

// serve starts e and returns the real transport to it.
func serve(t *testing.T, e *emulator.Emulator, patience time.Duration) *twilio.Transport {
	t.Helper()
	s := httptest.NewUnstartedServer(e)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	tr, err := twilio.New(twilio.Options{AccountSID: e.AccountSID, AuthToken: e.AuthToken, BaseURL: s.URL, AnswerTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// The transport takes every behaviour for what it is, and whatever the
// provider took can be found in its list, once.
func TestBehaviours(t *testing.T) {
	for name, c := range map[string]struct {
		b     emulator.Behaviour
		class sms.Class // empty: taken
		code  string
	}{
		"accepted":             {b: emulator.Accept},
		"slow":                 {b: emulator.Slow(50 * time.Millisecond)},
		"accepted, cut":        {emulator.TakeAndCut, sms.Ambiguous, ""},
		"cut":                  {emulator.CutOff, sms.Ambiguous, ""},
		"5xx before accepting": {emulator.FailBefore, sms.Ambiguous, "20503"},
		"5xx after accepting":  {emulator.FailAfter, sms.Ambiguous, "20500"},
		"throttled":            {emulator.Throttle, sms.Throttled, "20429"},
		"hangs":                {emulator.Hang, sms.Ambiguous, ""},
		"accepted, hangs":      {emulator.TakeAndHang, sms.Ambiguous, ""},
		"opted out":            {emulator.OptedOut, sms.OptedOut, "21610"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := emulator.New()
			e.Behave = func(emulator.Text, int) emulator.Behaviour { return c.b }
			moments := make(chan emulator.Moment, 3)
			e.At = func(m emulator.Moment, _ emulator.Text) { moments <- m }
			tr := serve(t, e, time.Minute)
			hasty := tr
			if c.b.Status == 0 && !c.b.Cut { // it is waited out
				hasty = serve(t, e, 2*time.Second)
			}
			began := time.Now()
			r, err := hasty.Submit(t.Context(), message)
			var failed *sms.Error
			switch {
			case c.class == "" && (err != nil || r.ProviderID != e.Texts()[0].SID):
				t.Errorf("got %+v, %v; want it taken", r, err)
			case c.class != "" && (!errors.As(err, &failed) || failed.Class != c.class || failed.Code != c.code):
				t.Errorf("got %v, want class %s, code %q", err, c.class, c.code)
			}
			if clear := c.class != sms.Ambiguous; c.b.Clear() != clear {
				t.Errorf("Clear says %v", c.b.Clear())
			}
			if got, want := e.Counts()[message.To] == 1, c.b.Take; got != want {
				t.Errorf("accepted: %v, want %v", got, want)
			}
			f, found, err := tr.FateSince(t.Context(), message, began)
			if found != c.b.Take || found && f.ProviderID != e.Texts()[0].SID || e.Texts()[0].Listed.IsZero() == found {
				t.Errorf("fate: got %+v, %v, %v", f, found, err)
			}
			e.Mute(true)
			if _, found, err := tr.FateSince(t.Context(), message, began); found || err == nil || errors.Is(err, twilio.ErrCannotTell) {
				t.Errorf("fate of a mute provider: got %v, %v", found, err)
			}
			want := []emulator.Moment{emulator.Arrived}
			if c.b.Take {
				want = append(want, emulator.Accepted)
			}
			if c.b.Status != 0 {
				want = append(want, emulator.Answered)
			}
			for _, m := range want {
				if got := <-moments; got != m {
					t.Errorf("moment %s, want %s", got, m)
				}
			}
		})
	}
}

func TestAccountIsChecked(t *testing.T) {
	e := emulator.New()
	tr := serve(t, e, time.Minute)
	if err := tr.Check(t.Context()); err != nil {
		t.Error(err)
	}
	e.AuthToken = "another"
	if _, err := tr.Submit(t.Context(), message); sms.ClassOf(err) != sms.Unauthorized || len(e.Texts()) != 0 {
		t.Errorf("got %v", err)
	}
}

// A list longer than a page says so, and its pages hold each text once.
func TestPages(t *testing.T) {
	e := emulator.New()
	tr := serve(t, e, time.Minute)
	for range 51 {
		if _, err := tr.Submit(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := tr.FateSince(t.Context(), message, time.Now().Add(-time.Second)); !errors.Is(err, twilio.ErrCannotTell) {
		t.Errorf("got %v", err)
	}
	n := 0
	for _, x := range e.Texts() {
		if !x.Listed.IsZero() {
			n++
		}
	}
	if n != 50 {
		t.Errorf("%d texts on the first page", n)
	}
}
