package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/pbx/testkit"
	"textback/sms"
)

// listing is a provider with a clock of its own: our emulator's clock is real.
type listing struct {
	mu        sync.Mutex
	now       time.Time
	texts     []map[string]any // newest first
	asked     []string
	between   func(page int) // called before a page is answered
	fail      int            // HTTP status instead of an answer
	elsewhere string         // host in links to the next page
}

func (l *listing) add(id, direction, status string, created time.Time, change map[string]any) {
	m := map[string]any{"sid": id, "direction": direction, "status": status, "date_created": created.Format(time.RFC1123Z), "date_updated": created.Format(time.RFC1123Z),
		"from": testTo, "to": testFrom, "body": "from " + id, "num_media": "0", "error_code": nil, "messaging_service_sid": nil}
	if direction != "inbound" {
		m["from"], m["to"] = testFrom, testTo
	}
	for k, v := range change {
		m[k] = v
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = slices.Insert(l.texts, 0, m)
}

func (l *listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, _ := strconv.Atoi(q.Get("PageSize"))
	page, _ := strconv.Atoi(q.Get("Page"))
	if l.between != nil {
		l.between(page)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, r.URL.RequestURI())
	w.Header().Set("Date", l.now.UTC().Format(http.TimeFormat))
	if l.fail != 0 {
		w.WriteHeader(l.fail)
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/2010-04-01/Accounts/"+testAccount+"/Messages/"); ok {
		i := slices.IndexFunc(l.texts, func(m map[string]any) bool { return m["sid"].(string)+".json" == id })
		if i < 0 {
			w.WriteHeader(404)
			return
		}
		json.NewEncoder(w).Encode(l.texts[i])
		return
	}
	from, to := min(page*size, len(l.texts)), min(page*size+size, len(l.texts))
	doc := map[string]any{"messages": l.texts[from:to], "next_page_uri": nil}
	if doc["messages"] == nil {
		doc["messages"] = []any{}
	}
	if to < len(l.texts) {
		doc["next_page_uri"] = fmt.Sprintf("%s/2010-04-01/next.json?PageSize=%d&Page=%d&PageToken=x", l.elsewhere, size, page+1)
	}
	json.NewEncoder(w).Encode(doc)
}

// requests returns and forgets what was asked for.
func (l *listing) requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.asked = nil }()
	return l.asked
}

func polling(t *testing.T, l *listing, change ...func(*Options)) (*poller, *store) {
	t.Helper()
	s := httptest.NewServer(l)
	t.Cleanup(s.Close)
	tr := transport(t, s.URL, append([]func(*Options){patient}, change...)...)
	in := &store{}
	return &poller{t: tr, in: in, known: map[string]string{}, created: map[string]time.Time{}, pending: map[string]*pending{}, behind: true}, in
}

func (p *poller) must(t *testing.T) {
	t.Helper()
	if err := p.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func ids(in []sms.Inbound) (all []string) {
	for _, m := range in {
		all = append(all, m.ID)
	}
	slices.Sort(all)
	return all
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestPollReads(t *testing.T) {
	l := &listing{now: noon}
	l.add("OLD", "inbound", "received", noon.Add(-73*time.Hour), nil)
	l.add("SM1", "inbound", "received", noon.Add(-71*time.Hour), map[string]any{"num_media": "2", "body": ""})
	l.add("SM2", "inbound", "receiving", noon.Add(-time.Second), nil)
	l.add("SM3", "inbound", "received", noon, map[string]any{"body": "1 + 1 😀"})
	p, in := polling(t, l)
	p.must(t)
	want := []sms.Inbound{{ID: "SM1", From: testTo, To: testFrom, At: noon.Add(-71 * time.Hour), Media: 2},
		{ID: "SM3", From: testTo, To: testFrom, Body: "1 + 1 😀", At: noon}}
	if !slices.EqualFunc(in.inbound, want, func(a, b sms.Inbound) bool { same := a.At.Equal(b.At); a.At = b.At; return same && a == b }) {
		t.Errorf("got %+v, want %+v", in.inbound, want)
	}
	// Complete now; what is known is not given again.
	l.mu.Lock()
	l.texts[1]["status"] = "received"
	l.mu.Unlock()
	l.now = noon.Add(time.Minute)
	for range 3 {
		p.must(t)
	}
	if got := ids(in.inbound); !slices.Equal(got, []string{"SM1", "SM2", "SM3"}) {
		t.Errorf("got %q", got)
	}
	// A late one, created before others that are known.
	l.add("SM4", "inbound", "received", noon.Add(-4*time.Minute), nil)
	p.must(t)
	if got := ids(in.inbound); !slices.Contains(got, "SM4") {
		t.Errorf("got %q", got)
	}
	l.now = noon.Add(time.Hour)
	p.must(t)
	if len(p.known) != 0 || len(p.created) != 0 {
		t.Errorf("still remembered: %v, %v", p.known, p.created)
	}
}

// However many came, on however many pages, while more come: each is given once.
func TestPollPages(t *testing.T) {
	l := &listing{now: noon, elsewhere: "https://evil.example"}
	for i := range 3*catchUpPage + 7 {
		l.add(fmt.Sprint("SM", i), "inbound", "received", noon.Add(time.Duration(i-1000)*time.Second), nil)
	}
	more := 0
	l.between = func(page int) {
		if page > 0 { // the pages move on under our hands
			more++
			l.add(fmt.Sprint("MORE", more), "inbound", "received", noon, nil)
		}
	}
	p, in := polling(t, l)
	p.must(t)
	l.between = nil
	if n := len(l.requests()); n != 4 {
		t.Errorf("%d requests", n)
	}
	p.must(t)
	got := ids(in.inbound)
	if len(got) != 3*catchUpPage+7+more || len(slices.Compact(got)) != len(in.inbound) {
		t.Errorf("%d texts, %d of them different, want %d", len(in.inbound), len(slices.Compact(got)), 3*catchUpPage+7+more)
	}
	// From then on one small page.
	l.now = noon.Add(time.Hour)
	p.must(t)
	l.requests()
	p.must(t)
	if got := l.requests(); len(got) != 1 || !strings.HasSuffix(got[0], "?PageSize=20") {
		t.Errorf("asked for %q", got)
	}
}

// What was said while nobody asked is given as it was said, over pages and within a second.
func TestPollOldestFirst(t *testing.T) {
	l := &listing{now: noon}
	var want []string
	for i := range catchUpPage + 50 {
		id := fmt.Sprint("SM", i)
		l.add(id, "inbound", "received", noon.Add(time.Duration(i/3-1000)*time.Second), nil)
		want = append(want, id)
	}
	given := func(in *store) (got []string) {
		for _, m := range in.inbound {
			got = append(got, m.ID)
		}
		return got
	}
	p, in := polling(t, l)
	p.must(t)
	if got := given(in); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	// The second page cannot be read: at first nothing is given, then what is there.
	for _, failing := range []bool{false, true} {
		p, in = polling(t, l)
		l.between = func(page int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.fail = 0; page > 0 {
				l.fail = 500
			}
		}
		p.failing = failing
		if err := p.poll(t.Context()); err == nil {
			t.Error("a page was not read, and nothing is said")
		}
		if got := given(in); len(got) > 0 != failing || failing && !slices.Equal(got, want[50:]) {
			t.Errorf("failing %v: got %q", failing, got)
		}
	}
	// One that is not stored holds back what the same phone said after it, and nobody else.
	l.between, l.fail = nil, 0
	l.texts = nil
	l.add("A1", "inbound", "received", noon, map[string]any{"from": "+12025550101"})
	l.add("A2", "inbound", "received", noon, map[string]any{"from": "+12025550101"})
	l.add("B1", "inbound", "received", noon, map[string]any{"from": "+12025550102"})
	p, in = polling(t, l)
	p.in = once1{in, &sync.Once{}}
	if err := p.poll(t.Context()); err == nil {
		t.Error("a text was not stored, and nothing is said")
	}
	p.must(t)
	if got := given(in); !slices.Equal(got, []string{"B1", "A1", "A2"}) {
		t.Errorf("got %q", got)
	}
}

// once1 refuses the first text.
type once1 struct {
	*store
	once *sync.Once
}

func (o once1) Received(ctx context.Context, m sms.Inbound) (err error) {
	if o.once.Do(func() { err = errors.New("disk full") }); err != nil {
		return err
	}
	return o.store.Received(ctx, m)
}

// Too many pages: the newest are taken, it is said, and the next poll is none the worse.
func TestPollTooMuch(t *testing.T) {
	l := &listing{now: noon}
	for i := range 10 {
		l.add(fmt.Sprint("SM", i), "inbound", "received", noon.Add(-time.Minute), nil)
	}
	p, in := polling(t, l)
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", noon.Format(http.TimeFormat))
		fmt.Fprintf(w, `{"messages":[{"sid":"SM1","direction":"inbound","status":"received","date_created":%q}],"next_page_uri":"/x?Page=1"}`, noon.Format(time.RFC1123Z))
	}
	s := provider(t, endless)
	p.t = transport(t, s.URL, patient)
	if err := p.poll(t.Context()); err == nil || !strings.Contains(err.Error(), "older ones were not read") {
		t.Errorf("got %v", err)
	}
	if len(in.inbound) != 1 || p.since != noon.Add(-pollOverlap) {
		t.Errorf("%d texts, since %v", len(in.inbound), p.since)
	}
}

// What is not stored, or could not be read, holds everything back.
func TestPollLosesNothing(t *testing.T) {
	l := &listing{now: noon}
	l.add("SM1", "inbound", "received", noon, nil)
	p, in := polling(t, l)
	in.err = errors.New("disk full")
	for i := range 3 {
		l.now = noon.Add(time.Duration(i) * time.Hour)
		err := p.poll(t.Context())
		if err == nil || strings.Contains(err.Error(), "disk") {
			t.Errorf("got %v", err)
		}
	}
	in.err = nil
	l.fail = 500
	l.add("SM2", "inbound", "received", noon, nil)
	if err := p.poll(t.Context()); err == nil {
		t.Error("HTTP 500 is no answer")
	} else {
		discreet(t, err)
	}
	l.fail = 0
	p.must(t)
	if got := ids(in.inbound); !slices.Equal(got, []string{"SM1", "SM2"}) {
		t.Errorf("got %q", got)
	}
}

func TestPollOddLists(t *testing.T) {
	for _, body := range []string{``, `{}`, `{"messages":1}`, `{"messages":[{"sid":"SM1","direction":"inbound"}]}`, `{"messages":[],"next_page_uri":"%zz"}`, `{"messages":[],"next_page_uri":"/no/query"}`} {
		s := provider(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) })
		p, in := polling(t, &listing{})
		p.t = transport(t, s.URL, patient)
		if err := p.poll(t.Context()); err == nil || len(in.inbound) != 0 {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// An account's other numbers are none of ours.
func TestPollNumbers(t *testing.T) {
	l := &listing{now: noon}
	l.add("SM1", "inbound", "received", noon, nil)
	l.add("SM2", "inbound", "received", noon, map[string]any{"to": "+12125550177"})
	l.add("SM3", "inbound", "received", noon, map[string]any{"to": "12345"})
	l.add("SM4", "outbound-api", "delivered", noon, nil)
	l.add("SM5", "outbound-api", "delivered", noon, map[string]any{"from": "+12125550177"})
	l.add("SM6", "outbound-api", "delivered", noon, map[string]any{"from": nil})
	l.add("SM7", "outbound-api", "delivered", noon, map[string]any{"from": "12345"})
	l.add("SM8", "sideways", "delivered", noon, nil)
	p, in := polling(t, l, func(o *Options) { o.Numbers = []string{testFrom, "12345"} })
	p.must(t)
	if got := ids(in.inbound); !slices.Equal(got, []string{"SM1", "SM3"}) {
		t.Errorf("texts: %q", got)
	}
	var got []string
	for _, r := range in.receipts {
		got = append(got, r.ProviderID)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"SM4", "SM7"}) {
		t.Errorf("receipts: %q", got)
	}
	p, in = polling(t, l)
	if p.must(t); len(in.inbound) != 3 || len(in.receipts) != 4 {
		t.Errorf("without numbers: %d texts, %d receipts", len(in.inbound), len(in.receipts))
	}
}

func TestPollReceipts(t *testing.T) {
	l := &listing{now: noon}
	for i := range maxAsks + 5 {
		l.add(fmt.Sprint("SM", i), "outbound-api", "sent", noon, nil)
	}
	l.add("GONE", "outbound-api", "sent", noon, nil)
	p, in := polling(t, l)
	p.must(t)
	p.must(t)
	if len(in.receipts) != maxAsks+6 || in.receipts[0].Delivery != sms.EnRoute || !in.receipts[0].At.Equal(noon) {
		t.Fatalf("%d receipts: %+v", len(in.receipts), in.receipts)
	}
	// Seen in the list while that is young enough, asked for one by one afterwards.
	l.texts[1]["status"], l.texts[1]["error_code"] = "undelivered", 30006
	l.now = noon.Add(time.Minute)
	p.must(t)
	last := in.receipts[len(in.receipts)-1]
	if last.ProviderID != l.texts[1]["sid"] || last.Delivery != sms.Undelivered || last.Class != sms.NotMobile || last.Code != "30006" {
		t.Errorf("%+v", last)
	}
	l.now = noon.Add(time.Hour)
	p.must(t)             // since moves past all of them
	l.texts = l.texts[1:] // the last is deleted
	for _, m := range l.texts {
		m["status"] = "delivered"
	}
	in.receipts = nil
	for round := 0; len(p.pending) > 0 && round < 5; round++ {
		l.requests()
		p.must(t)
		if n := len(l.requests()); round == 0 && n != maxAsks+1 || n > maxAsks+1 {
			t.Errorf("%d requests in round %d", n, round)
		}
	}
	delivered := 0
	for _, r := range in.receipts {
		if r.Delivery == sms.Delivered {
			delivered++
		}
	}
	if len(p.pending) != 0 || delivered < maxAsks+4 {
		t.Errorf("%d pending, %d delivered", len(p.pending), delivered)
	}
}

// A text that never gets a receipt is asked for less and less often, and then no more.
func TestPollGivesUp(t *testing.T) {
	l := &listing{now: noon}
	l.add("SM1", "outbound-api", "sent", noon, nil)
	p, in := polling(t, l)
	asks := 0
	for l.now = noon; l.now.Before(noon.Add(30 * time.Hour)); l.now = l.now.Add(time.Minute) {
		p.must(t)
		for _, r := range l.requests() {
			if strings.Contains(r, "/SM1.json") {
				asks++
			}
		}
	}
	if asks < 3 || asks > 12 || len(p.pending) != 0 || len(in.receipts) != 1 {
		t.Errorf("%d asks, %d pending, %d receipts", asks, len(p.pending), len(in.receipts))
	}
	// What cannot be asked holds nothing else back.
	l.now = noon
	l.texts = nil
	l.add("SM2", "outbound-api", "sent", noon.Add(-time.Hour), nil)
	p, in = polling(t, l)
	p.must(t)
	l.texts[0]["sid"] = "a/b"
	l.texts[0]["status"] = 1
	l.now = noon.Add(10 * time.Minute)
	p.must(t)
	if p.since != l.now.Add(-pollOverlap) {
		t.Errorf("since %v", p.since)
	}
	_ = in
}

// Run says once that it cannot, once that it can again, and ends with its context.
func TestRun(t *testing.T) {
	l := &listing{now: noon, fail: 503}
	l.add("SM1", "inbound", "received", noon, nil)
	s := httptest.NewServer(l)
	t.Cleanup(s.Close)
	var logged testkit.Log
	log := slog.New(slog.NewTextHandler(&logged, nil))
	tr := transport(t, s.URL, patient, func(o *Options) { o.Poll, o.Log = time.Millisecond, log })
	ctx, stop := context.WithCancel(t.Context())
	in := &store{}
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx, in) }()
	wait := func(what string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			got := strings.Count(logged.String(), what)
			if got > 0 || time.Now().After(end) {
				if got != 1 {
					t.Fatalf("%q is logged %d times: %s", what, got, logged.String())
				}
				return
			}
		}
	}
	wait("cannot be fetched")
	for n := 0; n < 5; n += len(l.requests()) {
		time.Sleep(time.Millisecond)
	}
	l.mu.Lock()
	l.fail = 0
	l.mu.Unlock()
	wait("are fetched from the provider again")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(in.inbound) != 1 {
		t.Errorf("%+v", in.inbound)
	}
	discreet(t, errors.New(logged.String()))

	// Without an interval it asks nothing.
	ctx, stop = context.WithCancel(t.Context())
	tr = transport(t, s.URL)
	l.requests()
	go func() { done <- tr.Run(ctx, in) }()
	stop()
	if err := <-done; err != nil || len(l.requests()) != 0 {
		t.Errorf("%v", err)
	}
}
