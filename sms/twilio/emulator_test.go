package twilio

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/emulator"
)

// What the emulator of our tests answers is what the provider's own document
// describes: Prism stands between and refuses anything else.
func TestEmulatorKeepsToProvidersDocument(t *testing.T) {
	e := emulator.New()
	var behave emulator.Behaviour
	broken := false
	e.Behave = func(emulator.Text, int) emulator.Behaviour { return behave }
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		if broken {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"messages":[{"num_segments":1,"sid":"XX1"}]}`))
			return
		}
		e.ServeHTTP(w, r)
	})
	base := prism(t, "proxy", s.URL)
	account := func(o *Options) { o.AccountSID, o.AuthToken = e.AccountSID, e.AuthToken }
	service := func(o *Options) { o.MessagingServiceSID = "MG0123456789abcdef0123456789abcdef" }
	began := time.Now()
	for name, c := range map[string]struct {
		b      emulator.Behaviour
		change func(*Options)
		class  sms.Class
	}{
		"accepted":     {emulator.Accept, account, ""},
		"service":      {emulator.Accept, service, ""},
		"opted out":    {emulator.OptedOut, account, sms.OptedOut},
		"throttled":    {emulator.Throttle, account, sms.Throttled},
		"5xx":          {emulator.FailBefore, account, sms.Ambiguous},
		"taken, 5xx":   {emulator.FailAfter, account, sms.Ambiguous},
		"slow, but ok": {emulator.Slow(20 * time.Millisecond), account, ""},
	} {
		behave = c.b
		m := testMessage
		if name == "service" {
			m.To, m.From = "+12025550102", ""
		}
		before := len(e.Texts())
		_, err := transport(t, base, patient, account, c.change).Submit(t.Context(), m)
		if c.class == "" && err != nil || c.class != "" && sms.ClassOf(err) != c.class || len(e.Texts()) != before+1 {
			t.Errorf("%s: %v, %d submissions", name, err, len(e.Texts())-before)
		}
	}
	m := testMessage
	m.To, m.From = "+12025550102", ""
	if r, found, err := transport(t, base, patient, account, service).FateSince(t.Context(), m, began); !found || r.Status != "delivered" {
		t.Errorf("fate: %+v, %v, %v", r, found, err)
	}
	if err := transport(t, base, patient, account).Check(t.Context()); err != nil {
		t.Error(err)
	}

	// Texts from phones, on several pages, and what became of ours.
	for range pollPage + 3 {
		if _, err := e.Arrive(t.Context(), emulator.Text{From: testTo, To: testFrom, Body: testBody, Media: 1}); err != nil {
			t.Fatal(err)
		}
	}
	texts := e.Texts()
	taken := texts[slices.IndexFunc(texts, func(x emulator.Text) bool { return x.Accepted })].SID
	if err := e.Deliver(t.Context(), taken, "undelivered", 30006); err != nil {
		t.Fatal(err)
	}
	tr := transport(t, base, patient, account)
	in := &store{}
	p := &poller{t: tr, in: in, known: map[string]string{}, created: map[string]time.Time{}, pending: map[string]*pending{}}
	p.must(t)
	if len(in.inbound) != pollPage+3 || in.inbound[0].Body != testBody || in.inbound[0].Media != 1 {
		t.Errorf("%d texts: %+v", len(in.inbound), in.inbound)
	}
	if m, found, err := tr.message(t.Context(), taken); err != nil || !found || m.Status != "undelivered" || m.ErrorCode != "30006" {
		t.Errorf("one text: %+v, %v, %v", m, found, err)
	}
	if _, found, err := tr.message(t.Context(), "SM"+strings.Repeat("f", 32)); found {
		t.Errorf("a text that is not there: %v", err)
	}

	// That Prism does check answers.
	broken = true
	if err := transport(t, base, patient, account).Check(t.Context()); err == nil {
		t.Error("an answer that is not in the document was let through")
	}
}
