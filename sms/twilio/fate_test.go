package twilio

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"textback/sms"
)

var _ interface {
	sms.Transport
	sms.FateAsker
} = (*Transport)(nil)

func TestFate(t *testing.T) {
	attempted := time.Date(2026, 11, 23, 11, 17, 40, 600e6, time.UTC)
	type fields = map[string]any
	text := func(change fields) fields {
		m := fields{"sid": "SM1", "status": "sent", "num_segments": "1", "direction": "outbound-api",
			"to": testTo, "from": testFrom, "messaging_service_sid": nil, "body": testBody,
			"date_created": attempted.Truncate(time.Second).Format(time.RFC1123Z), "date_sent": nil}
		for k, v := range change {
			m[k] = v
		}
		return m
	}
	at := func(d time.Duration) fields { return fields{"date_created": attempted.Add(d).Format(time.RFC1123Z)} }
	full := func(n int, d time.Duration) (page []fields) {
		for i := range n {
			page = append(page, text(fields{"sid": fmt.Sprint("SM", i+100), "body": "another", "date_created": attempted.Add(d).Format(time.RFC1123Z)}))
		}
		return page
	}
	for _, c := range []struct {
		name  string
		page  []fields
		more  bool
		found bool
	}{
		{"one like it", []fields{text(nil)}, false, true},
		{"still in the queue", []fields{text(fields{"status": "queued"})}, false, true},
		{"failed is taken", []fields{text(fields{"status": "failed", "error_code": 30003})}, false, true},
		{"among others", []fields{text(fields{"sid": "SM2", "body": "another"}), text(nil), text(fields{"sid": "SM3", "from": "+12125550199"})}, false, true},
		{"on trial", []fields{text(fields{"body": trialPrefix + testBody})}, false, true},
		{"more, but older", append(full(2, -time.Hour), text(nil)), true, true},

		{"nothing", []fields{}, false, false},
		{"two like it", []fields{text(nil), text(fields{"sid": "SM2"})}, false, false},
		{"yesterday's", []fields{text(at(-24 * time.Hour))}, false, false},
		{"a minute before", []fields{text(at(-time.Minute))}, false, false},
		{"an hour later", []fields{text(at(time.Hour))}, false, false},
		{"inbound", []fields{text(fields{"direction": "inbound"})}, false, false},
		{"another recipient", []fields{text(fields{"to": "+12025550144"})}, false, false},
		{"another sender", []fields{text(fields{"from": "+12125550199"})}, false, false},
		{"sender not told", []fields{text(fields{"from": nil})}, false, false},
		{"words rewritten", []fields{text(fields{"body": "Hi Sarah"})}, false, false},
		{"words not kept", []fields{text(fields{"body": ""})}, false, false},
		{"no date", []fields{text(fields{"date_created": nil})}, false, false},
		{"a full page since", append(full(49, time.Minute), text(nil)), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := provider(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" || r.URL.Query().Get("To") != testTo || r.URL.Query().Get("PageSize") != "50" || len(r.URL.Query()) != 2 {
					t.Errorf("got %s %s", r.Method, r.URL)
				}
				w.Header().Set("Date", attempted.Add(time.Minute).Format(http.TimeFormat))
				answer := fields{"messages": c.page, "next_page_uri": nil}
				if c.more {
					answer["next_page_uri"] = "/2010-04-01/next?Page=1"
				}
				json.NewEncoder(w).Encode(answer)
			})
			// Our clock is an hour ahead of the provider's.
			skew := time.Hour
			tr := transport(t, s.URL, func(o *Options) { o.Now = func() time.Time { return attempted.Add(time.Minute + skew) } })
			r, found, err := tr.FateSince(t.Context(), testMessage, attempted.Add(skew))
			if c.found {
				if err != nil || !found || r.ProviderID != "SM1" || r.Segments != 1 {
					t.Errorf("got %+v, %v, %v", r, found, err)
				}
				return
			}
			if found || !errors.Is(err, ErrCannotTell) {
				t.Errorf("got %+v, %v, %v; want it not to tell", r, found, err)
			}
			discreet(t, err)
		})
	}
}

// Fate knows when this process tried, and only that.
func TestFateOfOwnAttempt(t *testing.T) {
	var page string
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			m := map[string]any{"messages": []any{map[string]any{"sid": "SM1", "status": "queued", "direction": "outbound-api", "to": r.FormValue("To"),
				"from": r.FormValue("From"), "body": r.FormValue("Body"), "date_created": time.Now().UTC().Format(time.RFC1123Z)}}}
			b, _ := json.Marshal(m)
			page = string(b)
			w.WriteHeader(502)
			return
		}
		io.WriteString(w, page)
	})
	tr := transport(t, s.URL)
	if _, _, err := tr.Fate(t.Context(), testMessage); !errors.Is(err, ErrCannotTell) {
		t.Errorf("before any attempt: got %v", err)
	}
	_, err := tr.Submit(t.Context(), testMessage)
	mustFail(t, err, sms.Ambiguous, "")
	r, found, err := tr.Fate(t.Context(), testMessage)
	if err != nil || !found || r.ProviderID != "SM1" {
		t.Errorf("got %+v, %v, %v", r, found, err)
	}
}

func TestFateOfMessagingService(t *testing.T) {
	const service = "MG0123456789abcdef0123456789abcdef"
	now := time.Now()
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"messages":[{"sid":"SM1","direction":"outbound-api","to":%q,"from":null,"messaging_service_sid":%q,"body":%q,"date_created":%q}]}`,
			testTo, service, testBody, now.UTC().Format(time.RFC1123Z))
	})
	m := testMessage
	m.From = ""
	tr := transport(t, s.URL, func(o *Options) { o.MessagingServiceSID = service })
	if _, found, err := tr.FateSince(t.Context(), m, now); err != nil || !found {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestFateCannotBeAsked(t *testing.T) {
	for _, answer := range []struct {
		status int
		body   string
	}{{500, ""}, {401, `{"code":20003}`}, {200, "<html>"}, {200, `{}`}, {200, `{"messages":[{"to":1}]}`}} {
		s := provider(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(answer.status)
			io.WriteString(w, answer.body)
		})
		_, found, err := transport(t, s.URL).FateSince(t.Context(), testMessage, time.Now())
		if found || err == nil {
			t.Errorf("%+v: got %v, %v", answer, found, err)
		} else {
			discreet(t, err)
		}
	}
	_, found, err := transport(t, "http://127.0.0.1:1").FateSince(t.Context(), testMessage, time.Now())
	if found || err == nil {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	tr := transport(t, "http://127.0.0.1:1")
	for i := range 2 * maxAttempts {
		tr.remember(fmt.Sprint(i))
		tr.remember(fmt.Sprint(i))
	}
	if len(tr.attempts) != maxAttempts || len(tr.order) != maxAttempts {
		t.Errorf("%d attempts, %d in order", len(tr.attempts), len(tr.order))
	}
}
