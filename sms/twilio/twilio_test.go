package twilio

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
)

const (
	testAccount = "AC0123456789abcdef0123456789abcdef"
	testToken   = "s3cr3t-auth-token"
	testFrom    = "+12125550100"
	testTo      = "+12025550143"
	testBody    = "Hi Sarah & co, sorry we missed your call: 100% + 1 😀"
	created     = `{"sid":"SM00000000000000000000000000000001","status":"queued","num_segments":"2","error_code":null,"code":null}`
)

var testMessage = sms.Message{ID: "job-1", From: testFrom, To: testTo, Body: testBody}

// transport returns a Transport to base.
func transport(t *testing.T, base string, change ...func(*Options)) *Transport {
	t.Helper()
	opt := Options{AccountSID: testAccount, AuthToken: testToken, BaseURL: base,
		ConnectTimeout: 20 * time.Second, AnswerTimeout: 20 * time.Second}
	for _, f := range change {
		f(&opt)
	}
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func provider(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// mustFail checks an error's class and that it keeps what is private.
func mustFail(t *testing.T, err error, want sms.Class, code string) {
	t.Helper()
	smstest.Fails(t, err, want, code, secrets...)
}

func discreet(t *testing.T, err error) {
	t.Helper()
	smstest.Discreet(t, err, secrets...)
}

var secrets = []string{testToken, testTo, testTo[1:], testFrom[1:], "Sarah", "missed", testAccount, "Basic ", "PageSize"}

func TestSubmitRequest(t *testing.T) {
	const service = "MG0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		name   string
		change func(*Options)
		from   string
		want   map[string]string
		user   string
		pass   string
	}{
		{"the message's sender", func(o *Options) {}, testFrom, map[string]string{"From": testFrom}, testAccount, testToken},
		{"the account's sender", func(o *Options) { o.From = "+12125550199" }, "", map[string]string{"From": "+12125550199"}, testAccount, testToken},
		{"the message's before the account's", func(o *Options) { o.MessagingServiceSID = service }, testFrom, map[string]string{"From": testFrom}, testAccount, testToken},
		{"a messaging service", func(o *Options) { o.MessagingServiceSID = service }, "", map[string]string{"MessagingServiceSid": service}, testAccount, testToken},
		{"a messaging service for one line", func(o *Options) {}, service, map[string]string{"MessagingServiceSid": service}, testAccount, testToken},
		{"a validity", func(o *Options) { o.Validity = 15 * time.Minute }, testFrom, map[string]string{"From": testFrom, "ValidityPeriod": "900"}, testAccount, testToken},
		{"an API key", func(o *Options) { o.AuthToken, o.APIKeySID, o.APIKeySecret = "", "SK1", "shh" }, testFrom, map[string]string{"From": testFrom}, "SK1", "shh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := provider(t, func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				want := map[string]string{"To": testTo, "Body": testBody}
				for k, v := range c.want {
					want[k] = v
				}
				for k, v := range want {
					if got := r.PostForm[k]; len(got) != 1 || got[0] != v {
						t.Errorf("form %s: got %q, want %q", k, got, v)
					}
				}
				if len(r.PostForm) != len(want) {
					t.Errorf("form: got %v, want %v", r.PostForm, want)
				}
				if r.Method != "POST" || r.URL.String() != "/space/2010-04-01/Accounts/"+testAccount+"/Messages.json" {
					t.Errorf("got %s %s", r.Method, r.URL)
				}
				if u, p, _ := r.BasicAuth(); u != c.user || p != c.pass {
					t.Errorf("credentials: got %q, %q", u, p)
				}
				for _, h := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
					if r.Header.Get(h) != "" {
						t.Errorf("%s is set: net/http would resend the request", h)
					}
				}
				w.WriteHeader(201)
				io.WriteString(w, created)
			})
			m := testMessage
			m.From = c.from
			r, err := transport(t, s.URL+"/space/", c.change).Submit(t.Context(), m)
			if want := (sms.Receipt{ProviderID: "SM00000000000000000000000000000001", Segments: 2, Status: "queued"}); err != nil || r != want {
				t.Errorf("got %+v, %v; want %+v", r, err, want)
			}
		})
	}
}

func TestSubmitWithoutSender(t *testing.T) {
	m := testMessage
	m.From = ""
	_, err := transport(t, "http://127.0.0.1:1").Submit(t.Context(), m)
	mustFail(t, err, sms.Misconfigured, "")
}

func TestSubmitAnswers(t *testing.T) {
	envelope := func(code int) string {
		// As Twilio words it: the number is quoted.
		return fmt.Sprintf(`{"code":%d,"message":"The 'To' number %s cannot: %s","more_info":"https://www.twilio.com/docs/errors/%d","status":400}`, code, testTo, "Hi Sarah", code)
	}
	for _, c := range []struct {
		status int
		body   string
		class  sms.Class // empty: accepted
		code   string
	}{
		{201, created, "", ""},
		{200, created, "", ""},
		{202, `{"sid":"6f1b0f7c-7b1c-4f0e-8f0a-0f5f6d0c9b1a","status":"accepted","num_segments":0,"subresource_uris":[1],"to":{}}`, "", ""},
		{201, `{"sid":`, sms.Ambiguous, ""},
		{201, ``, sms.Ambiguous, ""},
		{201, `null`, sms.Ambiguous, ""},
		{201, `[]`, sms.Ambiguous, ""},
		{201, `{}`, sms.Ambiguous, ""},
		{201, `{"sid":null}`, sms.Ambiguous, ""},
		{204, ``, sms.Ambiguous, ""},
		{200, "<html>Please sign in to the hotel's network", sms.Ambiguous, ""},
		{200, strings.Repeat(" ", maxAnswer) + created, sms.Ambiguous, ""},
		{200, envelope(21610), sms.OptedOut, "21610"},
		{200, envelope(99999), sms.Ambiguous, ""},
		{201, `{"sid":"SM1","status":"failed","error_code":30007}`, sms.Blocked, "30007"},
		{201, `{"sid":"SM1","status":"undelivered","error_code":null}`, sms.Rejected, ""},

		{400, envelope(21610), sms.OptedOut, "21610"},
		{400, envelope(21614), sms.NotMobile, "21614"},
		{400, envelope(21635), sms.NotMobile, "21635"},
		{400, envelope(30006), sms.NotMobile, "30006"},
		{400, envelope(21211), sms.Invalid, "21211"},
		{400, envelope(30005), sms.Invalid, "30005"},
		{400, envelope(30007), sms.Blocked, "30007"},
		{429, envelope(20429), sms.Throttled, "20429"},
		{400, envelope(21611), sms.Throttled, "21611"},
		{400, envelope(30022), sms.Throttled, "30022"},
		{400, envelope(30023), sms.Throttled, "30023"},
		{400, envelope(21606), sms.Misconfigured, "21606"},
		{400, envelope(30032), sms.Misconfigured, "30032"},
		{400, envelope(30034), sms.Misconfigured, "30034"},
		{403, envelope(21408), sms.RegionDenied, "21408"},
		{400, envelope(30003), sms.Transient, "30003"},
		{400, envelope(30008), sms.Transient, "30008"},
		{401, envelope(20003), sms.Unauthorized, "20003"},
		{400, `{"code":"21610"}`, sms.OptedOut, "21610"},

		{400, envelope(29999), sms.Rejected, "29999"},
		{400, `{"code":"see ` + testTo + `"}`, sms.Rejected, ""},
		{400, ``, sms.Rejected, ""},
		{401, ``, sms.Unauthorized, ""},
		{402, ``, sms.NoCredit, ""},
		{403, `<html>`, sms.Unauthorized, ""},
		{404, envelope(20404), sms.Misconfigured, "20404"},
		{404, `<html>`, sms.Misconfigured, ""},
		{405, ``, sms.Misconfigured, ""},
		{407, ``, sms.Misconfigured, ""},
		{408, ``, sms.Ambiguous, ""},
		{409, ``, sms.Rejected, ""},
		{415, ``, sms.Misconfigured, ""},
		{429, ``, sms.Throttled, ""},
		{429, envelope(29998), sms.Throttled, "29998"},
		{500, envelope(20500), sms.Ambiguous, "20500"},
		{500, envelope(21610), sms.OptedOut, "21610"},
		{502, `<html>Bad gateway`, sms.Ambiguous, ""},
		{503, ``, sms.Ambiguous, ""},
		{503, envelope(20429), sms.Throttled, "20429"},
		{504, ``, sms.Ambiguous, ""},
		{999, ``, sms.Ambiguous, ""},
	} {
		t.Run(fmt.Sprintf("%d_%s", c.status, c.code), func(t *testing.T) {
			s := provider(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			r, err := transport(t, s.URL).Submit(t.Context(), testMessage)
			if c.class != "" {
				mustFail(t, err, c.class, c.code)
				return
			}
			if err != nil || r.ProviderID == "" {
				t.Errorf("got %+v, %v; want a receipt", r, err)
			}
		})
	}
}

// What went wrong on the way keeps package once's class.
func TestSubmitLost(t *testing.T) {
	_, err := transport(t, "http://127.0.0.1:1").Submit(t.Context(), testMessage)
	mustFail(t, err, sms.Transient, "")
	s := provider(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	_, err = transport(t, s.URL).Submit(t.Context(), testMessage)
	mustFail(t, err, sms.Ambiguous, "")
	s = provider(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(201)
		io.WriteString(w, created)
	})
	_, err = transport(t, s.URL).Submit(t.Context(), testMessage)
	mustFail(t, err, sms.Ambiguous, "")
}

func TestSubmitConcurrently(t *testing.T) {
	var got sync.Map
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		if _, twice := got.LoadOrStore(r.FormValue("Body"), true); twice {
			t.Error("a text came twice")
		}
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"sid":"SM%s","status":"queued","num_segments":"1"}`, r.FormValue("Body"))
	})
	tr := transport(t, s.URL, func(o *Options) { o.ConnectTimeout, o.AnswerTimeout = 10*time.Second, 10*time.Second })
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			m := testMessage
			m.ID, m.Body = fmt.Sprint("job-", i), fmt.Sprint(i)
			if r, err := tr.Submit(t.Context(), m); err != nil || r.ProviderID != "SM"+m.Body {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	wg.Wait()
}

func TestNewRefuses(t *testing.T) {
	good := Options{AccountSID: testAccount, AuthToken: testToken}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no account":              func(o *Options) { o.AccountSID = "" },
		"not Twilio's account id": func(o *Options) { o.AccountSID = "project-1" },
		"path in the account":     func(o *Options) { o.BaseURL, o.AccountSID = "https://sms.example", "a/../b" },
		"no credentials":          func(o *Options) { o.AuthToken = "" },
		"half an API key":         func(o *Options) { o.AuthToken, o.APIKeySID = "", "SK1" },
		"both credentials":        func(o *Options) { o.APIKeySID, o.APIKeySecret = "SK1", "shh" },
		"two senders":             func(o *Options) { o.From, o.MessagingServiceSID = testFrom, "MG1" },
		"in the clear":            func(o *Options) { o.BaseURL = "http://sms.example" },
		"no scheme":               func(o *Options) { o.BaseURL = "sms.example" },
		"password in the URL":     func(o *Options) { o.BaseURL = "https://u:" + testToken + "@sms.example" },
		"query":                   func(o *Options) { o.BaseURL = "https://sms.example?a=b" },
		"not a URL":               func(o *Options) { o.BaseURL = "https://sms.example/%zz" + testToken },
		"validity too long":       func(o *Options) { o.Validity = 11 * time.Hour },
		"validity not in seconds": func(o *Options) { o.Validity = 1500 * time.Millisecond },
	} {
		opt := good
		change(&opt)
		_, err := New(opt)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		discreet(t, err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		class  sms.Class
	}{
		{200, `{"messages":[]}`, ""},
		{200, `<html>`, sms.Misconfigured},
		{401, `{"code":20003}`, sms.Unauthorized},
		{404, ``, sms.Misconfigured},
		{503, ``, sms.Transient},
	} {
		s := provider(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" {
				t.Errorf("got %s", r.Method)
			}
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		err := transport(t, s.URL).Check(t.Context())
		if c.class == "" {
			if err != nil {
				t.Error(err)
			}
		} else if sms.ClassOf(err) != c.class {
			t.Errorf("HTTP %d: got %v, want class %s", c.status, err, c.class)
		} else {
			discreet(t, err)
		}
	}
	err := transport(t, "http://127.0.0.1:1").Check(t.Context())
	if sms.ClassOf(err) != sms.Transient {
		t.Errorf("got %v", err)
	}
}
