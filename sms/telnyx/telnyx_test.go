package telnyx

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
)

var _ interface {
	sms.Transport
	sms.Declarer
	sms.WebhookTaker
} = (*Transport)(nil)

const (
	testKey     = "KEY0123456789ABCDEF_s3cr3t"
	testProfile = "0f512bda-ae1e-4597-8e11-e5f5686b97d3"
	testFrom    = "+12125550100"
	testTo      = "+12025550143"
	testBody    = "Hi Sarah & co, <we> missed your call: 100% + 1 😀"
	public      = "https://sms.example.com/textback/telnyx"
	taken       = `{"data":{"record_type":"message","direction":"outbound","id":"40385f64-5717-4562-b3fc-2c963f66afa6","type":"SMS","parts":2,"to":[{"phone_number":"+12025550143","status":"queued","carrier":"T"}],"errors":[]}}`
)

var testMessage = sms.Message{ID: "job-1", From: testFrom, To: testTo, Body: testBody}

// The account's key, and what it signs with.
var (
	private   = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes, no ."))
	publicKey = base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
)

func transport(t testing.TB, base string, change ...func(*Options)) *Transport {
	t.Helper()
	opt := Options{APIKey: testKey, BaseURL: base, ConnectTimeout: 5 * time.Second, AnswerTimeout: smstest.Patience(t)}
	for _, f := range change {
		f(&opt)
	}
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func open(o *Options) { o.PublicURL, o.PublicKey = public, publicKey }

func provider(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func mustFail(t *testing.T, err error, want sms.Class, code string) {
	t.Helper()
	smstest.Fails(t, err, want, code, secrets...)
}

func discreet(t *testing.T, err error) {
	t.Helper()
	smstest.Discreet(t, err, secrets...)
}

var secrets = []string{testKey, testTo[1:], testFrom[1:], "Sarah", "missed", "Bearer", testProfile}

func TestSubmitRequest(t *testing.T) {
	type fields = map[string]any
	for name, c := range map[string]struct {
		from   string
		change func(*Options)
		want   fields
	}{
		"the message's sender":     {testFrom, func(o *Options) {}, fields{"from": testFrom}},
		"before the account's":     {testFrom, func(o *Options) { o.From, o.MessagingProfileID = "+12125550199", testProfile }, fields{"from": testFrom}},
		"the account's":            {"", func(o *Options) { o.From = "+12125550199" }, fields{"from": "+12125550199"}},
		"a number pool":            {"", func(o *Options) { o.MessagingProfileID = testProfile }, fields{"messaging_profile_id": testProfile}},
		"a number pool for a line": {testProfile, func(o *Options) { o.From = "+12125550199" }, fields{"messaging_profile_id": testProfile}},
		"a name":                   {"Miller", func(o *Options) { o.MessagingProfileID = testProfile }, fields{"from": "Miller", "messaging_profile_id": testProfile}},
		"a short code":             {"12345", func(o *Options) { o.MessagingProfileID = testProfile }, fields{"from": "12345"}},
		"receipts":                 {testFrom, open, fields{"from": testFrom, "webhook_url": public + "/status?job=job-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := provider(t, func(w http.ResponseWriter, r *http.Request) {
				var got fields
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				want := fields{"to": testTo, "text": testBody, "type": "SMS"}
				for k, v := range c.want {
					want[k] = v
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				if r.Method != "POST" || r.URL.String() != "/v2/messages" || r.Header.Get("Authorization") != "Bearer "+testKey || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("got %s %s %v", r.Method, r.URL, r.Header)
				}
				io.WriteString(w, taken)
			})
			m := testMessage
			m.From = c.from
			r, err := transport(t, s.URL+"/", c.change).Submit(t.Context(), m)
			if want := (sms.Receipt{ProviderID: "40385f64-5717-4562-b3fc-2c963f66afa6", Segments: 2, Status: "queued"}); err != nil || r != want {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	m := testMessage
	m.From = ""
	_, err := transport(t, "http://127.0.0.1:1").Submit(t.Context(), m)
	mustFail(t, err, sms.Misconfigured, "")
}

// refusal is an answer as the provider words it: numbers are quoted.
func refusal(code, title string) string {
	return fmt.Sprintf(`{"errors":[{"code":%q,"title":%q,"detail":"Messages cannot be sent from '%s' to '%s'"}]}`, code, title, testFrom, testTo)
}

func TestSubmitAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		class  sms.Class // empty: accepted
		code   string
	}{
		{200, taken, "", ""},
		{200, `{"data":{"id":"x","parts":"1","to":"+1","errors":null}}`, "", ""},
		{200, `{"data":{"id":`, sms.Ambiguous, ""},
		{200, ``, sms.Ambiguous, ""}, {200, `null`, sms.Ambiguous, ""}, {200, `[]`, sms.Ambiguous, ""}, {200, `{"data":{"id":null}}`, sms.Ambiguous, ""},
		{200, "<html>Please sign in to the hotel's network", sms.Ambiguous, ""},
		{200, `{"data":{"id":"x","to":[{"status":"sending_failed"}],"errors":[{"code":"40015"}]}}`, sms.Blocked, "40015"},
		{200, `{"data":{"id":"x","to":[{"status":"delivery_failed"}]}}`, sms.Rejected, ""},

		{400, refusal("40300", "Blocked due to STOP message"), sms.OptedOut, "40300"},
		{400, refusal("40300", "Blocked"), sms.Rejected, "40300"},
		{400, refusal("40001", "Not routable"), sms.NotMobile, "40001"},
		{400, refusal("40310", "Invalid 'to' address"), sms.Invalid, "40310"},
		{400, refusal("40012", ""), sms.Invalid, "40012"},
		{400, refusal("40003", ""), sms.Blocked, "40003"}, {400, refusal("40015", ""), sms.Blocked, "40015"}, {400, refusal("40322", ""), sms.Blocked, "40322"},
		{429, refusal("10011", "Too many requests"), sms.Throttled, "10011"},
		{400, refusal("40011", ""), sms.Throttled, "40011"}, {400, refusal("40016", ""), sms.Throttled, "40016"}, {400, refusal("40018", ""), sms.Throttled, "40018"}, {400, refusal("40318", ""), sms.Throttled, "40318"},
		{400, refusal("40010", ""), sms.Misconfigured, "40010"}, {400, refusal("40305", ""), sms.Misconfigured, "40305"}, {400, refusal("40329", ""), sms.Misconfigured, "40329"},
		{400, refusal("40309", ""), sms.RegionDenied, "40309"},
		{400, refusal("40004", ""), sms.Transient, "40004"}, {400, refusal("40006", ""), sms.Transient, "40006"},
		{401, refusal("10009", "Authentication failed"), sms.Unauthorized, "10009"}, {403, refusal("10010", ""), sms.Unauthorized, "10010"},
		{402, refusal("20100", "Insufficient funds"), sms.NoCredit, "20100"},
		{400, `{"errors":[{"code":"99999"},{"code":40310}]}`, sms.Invalid, "40310"},

		{400, refusal("99999", ""), sms.Rejected, "99999"}, {422, refusal("99999", ""), sms.Rejected, "99999"}, {400, `{"errors":[{"code":"see ` + testTo + `"}]}`, sms.Rejected, ""},
		{400, ``, sms.Rejected, ""}, {401, ``, sms.Unauthorized, ""}, {402, ``, sms.NoCredit, ""}, {403, `<html>`, sms.Unauthorized, ""}, {404, ``, sms.Misconfigured, ""},
		{408, ``, sms.Ambiguous, ""}, {429, ``, sms.Throttled, ""}, {301, ``, sms.Misconfigured, ""}, {302, ``, sms.Ambiguous, ""},
		{500, refusal("10007", "Unexpected error"), sms.Ambiguous, "10007"}, {502, `<html>`, sms.Ambiguous, ""}, {503, ``, sms.Ambiguous, ""}, {504, ``, sms.Ambiguous, ""},
		{503, refusal("40310", ""), sms.Invalid, "40310"},
	} {
		t.Run(fmt.Sprintf("%d_%s", c.status, c.code), func(t *testing.T) {
			s := provider(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			r, err := transport(t, s.URL).Submit(t.Context(), testMessage)
			if c.class != "" {
				mustFail(t, err, c.class, c.code)
			} else if err != nil || r.ProviderID == "" {
				t.Errorf("got %+v, %v; want a receipt", r, err)
			}
		})
	}
}

// Every class of the table in words that an admin can act on.
func TestCodes(t *testing.T) {
	for code, m := range codes {
		if m.class == "" || m.words == "" || m.class == sms.Ambiguous {
			t.Errorf("%s: %+v", code, m)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{APIKey: testKey, PublicURL: public, PublicKey: publicKey, MessagingProfileID: testProfile}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no key":                func(o *Options) { o.APIKey = "" },
		"two lines":             func(o *Options) { o.APIKey += "\nx" },
		"in the clear":          func(o *Options) { o.BaseURL = "http://sms.example" },
		"profile":               func(o *Options) { o.MessagingProfileID = "my profile" },
		"public URL":            func(o *Options) { o.PublicURL = "sms.example.com" },
		"public URL, no key":    func(o *Options) { o.PublicKey = "" },
		"public key, cut":       func(o *Options) { o.PublicKey = publicKey[:40] },
		"public key, not a key": func(o *Options) { o.PublicKey = testKey },
	} {
		opt := good
		change(&opt)
		if _, err := New(opt); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			discreet(t, err)
		}
	}
}

func TestTraits(t *testing.T) {
	if got := transport(t, "https://sms.example").Traits(); got != (sms.Traits{Name: "telnyx", Replies: sms.NoReplies, MaxSegments: 10}) {
		t.Errorf("%+v", got)
	}
	got := transport(t, "https://sms.example", open, func(o *Options) { o.AnswersStop = true }).Traits()
	if got != (sms.Traits{Name: "telnyx", Replies: sms.ByWebhook, Receipts: true, MaxSegments: 10, AnswersStop: true}) {
		t.Errorf("%+v", got)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		profile, body string
		status        int
		path          string
		class         sms.Class
	}{
		{"", `{"data":[]}`, 200, "/v2/messaging_profiles?page%5Bsize%5D=1", ""},
		{testProfile, `{"data":{"id":"x"}}`, 200, "/v2/messaging_profiles/" + testProfile, ""},
		{testProfile, refusal("10005", "Resource not found"), 404, "/v2/messaging_profiles/" + testProfile, sms.Misconfigured},
		{"", `<html>`, 200, "", sms.Misconfigured},
		{"", refusal("10009", ""), 401, "", sms.Unauthorized},
		{"", ``, 503, "", sms.Transient},
	} {
		s := provider(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" || c.path != "" && r.URL.RequestURI() != c.path || r.Header.Get("Authorization") != "Bearer "+testKey {
				t.Errorf("got %s %s", r.Method, r.URL)
			}
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		err := transport(t, s.URL, func(o *Options) { o.MessagingProfileID = c.profile }).Check(t.Context())
		if c.class == "" && err != nil || c.class != "" && sms.ClassOf(err) != c.class {
			t.Errorf("HTTP %d %s: got %v", c.status, c.body, err)
		}
		if err != nil {
			discreet(t, err)
		}
	}
	if err := transport(t, "http://127.0.0.1:1").Check(t.Context()); sms.ClassOf(err) != sms.Transient {
		t.Errorf("got %v", err)
	}
}
