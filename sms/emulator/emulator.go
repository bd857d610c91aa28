// Package emulator is in charge of a stand-in for Twilio's Messages resource
// that tests talk to. What it took is its own truth: it lives in the test's
// process, outlives a killed daemon, and tells afterwards how many texts each
// number got. It proves behaviour; that its answers have the provider's shape
// is checked against the provider's own document.
package emulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"textback/rules/gsm7"
)

// Behaviour is what becomes of one submission. The zero value hangs.
type Behaviour struct {
	Take   bool          // the text is accepted: it goes out, whatever is answered
	Status int           // answered afterwards; 0: nothing is answered until the client goes
	Code   int           // the provider's error code of a refusal
	Cut    bool          // the connection is cut instead of an answer
	Delay  time.Duration // before the answer
}

// Behaviours by name.
var (
	Accept      = Behaviour{Take: true, Status: http.StatusCreated}
	TakeAndCut  = Behaviour{Take: true, Cut: true}
	CutOff      = Behaviour{Cut: true}
	FailBefore  = Behaviour{Status: http.StatusServiceUnavailable, Code: 20503}
	FailAfter   = Behaviour{Take: true, Status: http.StatusInternalServerError, Code: 20500}
	Throttle    = Behaviour{Status: http.StatusTooManyRequests, Code: 20429}
	Hang        = Behaviour{}
	TakeAndHang = Behaviour{Take: true}
	OptedOut    = Behaviour{Status: http.StatusBadRequest, Code: 21610}
)

// Slow accepts and answers late.
func Slow(d time.Duration) Behaviour { b := Accept; b.Delay = d; return b }

// Clear reports whether the client can know from the answer what became of the text.
func (b Behaviour) Clear() bool {
	return !b.Cut && (b.Take && b.Status == http.StatusCreated || !b.Take && b.Status >= 400 && b.Status < 500)
}

// Moment is a point in a submission's life.
type Moment string

const (
	Arrived  Moment = "arrived"  // the request is read, nothing is decided
	Accepted Moment = "accepted" // the text goes out, nothing is answered yet
	Answered Moment = "answered" // the answer has left
)

// Text is one submission.
type Text struct {
	SID, From, Service, To, Body string    // From is empty when a messaging service sends
	At                           time.Time // it arrived
	Accepted                     bool
	Answered                     int       // HTTP status of the answer that left, 0: none
	Listed                       time.Time // when a list last held it
	Clear                        bool      // its Behaviour told the client what became of it

	StatusCallback string    // where receipts go; empty: nowhere
	Status         string    // what a list says of it: "delivered", unless Deliver said otherwise
	Code           int       // why it was not delivered
	Updated        time.Time // when Deliver was last told of it
	Inbound        bool      // it came from a phone (see Reply)
	Media          int       // pictures that came with it
}

// Emulator is an http.Handler. Set its functions before it serves.
type Emulator struct {
	AccountSID, AuthToken string

	// Behave, if set, chooses what becomes of the nth submission (from 1) to a number.
	Behave func(t Text, n int) Behaviour
	// At, if set, is told of each moment and holds the submission there until it returns.
	At func(m Moment, t Text)

	// InboundURL, if set, is called with each Reply, as a number's webhook is.
	InboundURL string
	// Reach, if set, tells where a URL of the client's is really called: a public
	// name may not lead to the client of a test. Signatures are over the URL itself.
	Reach func(u string) string
	// OptOuts makes the messaging service's Advanced Opt-Out tell which replies are keywords.
	OptOuts bool

	mu      sync.Mutex
	texts   []*Text // oldest first
	inbound []*Text // the same
	mute    bool
}

// New makes an emulator with an account of its own.
func New() *Emulator {
	return &Emulator{AccountSID: "AC" + strings.Repeat("0e", 16), AuthToken: "emulated"}
}

// Mute makes the list of messages unavailable: no fate can be asked.
func (e *Emulator) Mute(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mute = on
}

// Texts are all submissions, taken or not, oldest first.
func (e *Emulator) Texts() []Text {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Text, len(e.texts))
	for i, t := range e.texts {
		out[i] = *t
	}
	return out
}

// Counts are the texts accepted for each number: what the callers' phones show.
func (e *Emulator) Counts() map[string]int {
	n := map[string]int{}
	for _, t := range e.Texts() {
		if t.Accepted {
			n[t.To]++
		}
	}
	return n
}

func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	switch {
	case user != e.AccountSID || password != e.AuthToken:
		refuse(w, http.StatusUnauthorized, 20003)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, strings.TrimSuffix(e.path("Messages/"), ".json")):
		e.one(w, r)
	case r.URL.Path != e.path("Messages"):
		refuse(w, http.StatusNotFound, 20404)
	case r.Method == http.MethodPost:
		e.submit(w, r)
	case r.Method == http.MethodGet:
		e.list(w, r)
	default:
		refuse(w, http.StatusMethodNotAllowed, 20004)
	}
}

func (e *Emulator) path(of string) string {
	return "/2010-04-01/Accounts/" + e.AccountSID + "/" + of + ".json"
}

// maxBody is how long a text may be, in characters, of which emoji count as two
// (the provider's page on error 21617).
const maxBody = 1600

func (e *Emulator) submit(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, 20001)
		return
	}
	f := r.PostForm
	for _, need := range []struct {
		value string
		code  int
	}{{f.Get("To"), 21604}, {f.Get("From") + f.Get("MessagingServiceSid"), 21603}, {f.Get("Body"), 21602}} {
		if need.value == "" {
			refuse(w, http.StatusBadRequest, need.code)
			return
		}
	}
	if len(utf16.Encode([]rune(f.Get("Body")))) > maxBody {
		refuse(w, http.StatusBadRequest, 21617)
		return
	}
	t := &Text{From: f.Get("From"), Service: f.Get("MessagingServiceSid"), To: f.Get("To"), Body: f.Get("Body"), At: time.Now(),
		StatusCallback: f.Get("StatusCallback"), Status: "delivered"}
	e.mu.Lock()
	e.texts = append(e.texts, t)
	t.SID = fmt.Sprintf("SM%032x", len(e.texts))
	n := 0
	for _, o := range e.texts {
		if o.To == t.To {
			n++
		}
	}
	e.mu.Unlock()
	b := Accept
	if e.Behave != nil {
		b = e.Behave(*t, n)
	}
	e.change(t, Arrived, func() { t.Clear = b.Clear() })
	if b.Take {
		e.change(t, Accepted, func() { t.Accepted = true })
	}
	if b.Delay > 0 {
		select {
		case <-time.After(b.Delay):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case b.Cut:
		panic(http.ErrAbortHandler)
	case b.Status == 0:
		<-r.Context().Done()
		return
	case b.Status >= 400:
		refuse(w, b.Status, b.Code)
	default:
		answer(w, b.Status, e.message(t, "queued"))
	}
	_ = http.NewResponseController(w).Flush()
	e.change(t, Answered, func() { t.Answered = b.Status })
}

// change notes what happened to t, then tells of it.
func (e *Emulator) change(t *Text, m Moment, f func()) {
	e.mu.Lock()
	f()
	now := *t
	e.mu.Unlock()
	if e.At != nil {
		e.At(m, now)
	}
}

// one answers with one text.
func (e *Emulator) one(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mute {
		refuse(w, http.StatusServiceUnavailable, 20503)
		return
	}
	for _, t := range e.all() {
		if r.URL.Path == e.path("Messages/"+t.SID) {
			answer(w, http.StatusOK, e.message(t, t.Status))
			return
		}
	}
	refuse(w, http.StatusNotFound, 20404)
}

// all are the texts that a list can hold, in both directions, newest first.
func (e *Emulator) all() []*Text {
	all := slices.Clone(e.inbound)
	for _, t := range e.texts {
		if t.Accepted {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b *Text) int { return b.At.Compare(a.At) })
	return all
}

// list answers a query by recipient and sender, newest text first, page by page.
func (e *Emulator) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("PageSize"))
	if err != nil || size < 1 || size > 1000 {
		size = 50
	}
	page, _ := strconv.Atoi(q.Get("Page"))
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mute {
		refuse(w, http.StatusServiceUnavailable, 20503)
		return
	}
	found := []map[string]any{}
	more := false
	skip := max(page, 0) * size
	for _, t := range e.all() {
		if q.Get("To") != "" && t.To != q.Get("To") || q.Get("From") != "" && t.From != q.Get("From") {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if more = len(found) == size; more {
			break
		}
		t.Listed = time.Now()
		found = append(found, e.message(t, t.Status))
	}
	uri := func(page int) string {
		v := maps.Clone(q)
		v.Set("Page", strconv.Itoa(page))
		v.Set("PageSize", strconv.Itoa(size))
		return e.path("Messages") + "?" + url.Values(v).Encode()
	}
	doc := map[string]any{"messages": found, "page": page, "page_size": size, "start": page * size, "end": page*size + max(len(found)-1, 0),
		"uri": uri(page), "first_page_uri": uri(0), "next_page_uri": nil, "previous_page_uri": nil}
	if more {
		doc["next_page_uri"] = uri(page + 1)
	}
	if page > 0 {
		doc["previous_page_uri"] = uri(page - 1)
	}
	answer(w, http.StatusOK, doc)
}

// message is Twilio's Message resource.
func (e *Emulator) message(t *Text, status string) map[string]any {
	created, updated := t.At.UTC().Format(time.RFC1123Z), t.At.UTC().Format(time.RFC1123Z)
	if !t.Updated.IsZero() {
		updated = t.Updated.UTC().Format(time.RFC1123Z)
	}
	segments, _ := gsm7.Segments(t.Body)
	m := map[string]any{
		"account_sid": e.AccountSID, "api_version": "2010-04-01", "sid": t.SID, "to": t.To, "from": null(t.From), "body": t.Body,
		"messaging_service_sid": null(t.Service), "direction": "outbound-api", "status": status, "num_media": "0",
		"num_segments": strconv.Itoa(segments), "price": nil, "price_unit": "USD",
		"error_code": nil, "error_message": nil, "date_created": created, "date_updated": updated, "date_sent": nil,
		"uri":              e.path("Messages/" + t.SID),
		"subresource_uris": map[string]any{"media": e.path("Messages/" + t.SID + "/Media")},
	}
	if status != "queued" {
		m["date_sent"] = created
	}
	if t.Inbound {
		m["direction"], m["num_media"] = "inbound", strconv.Itoa(t.Media)
	}
	if t.Code != 0 {
		m["error_code"], m["error_message"] = t.Code, "emulated"
	}
	return m
}

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func refuse(w http.ResponseWriter, status, code int) {
	answer(w, status, map[string]any{"code": code, "message": "emulated: " + http.StatusText(status), "more_info": fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code), "status": status})
}

func answer(w http.ResponseWriter, status int, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
