package httpapi

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"textback/rules/strict"
	"textback/sms"
	"textback/sms/once"
)

// spec reads a Spec as an admin writes it.
func spec(t testing.TB, text string) *Spec {
	t.Helper()
	var s Spec
	r, ok := strict.Parse("spec.yaml", []byte(text), &s)
	if !ok || len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	return &s
}

// custom makes a transport of a Spec.
func custom(t testing.TB, text string, change ...func(*Options)) *Transport {
	t.Helper()
	o := account("", "http://127.0.0.1:1/base", "https://office.example/hook")
	o.Custom = spec(t, text)
	for _, c := range change {
		c(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

const someResponse = "response: {accepted: {status: 200}}\n"

var message = sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "1 + 1 = 2 & \"5€\"\n</b> 😀 \\ {to} %41"}

// Each value is escaped for the place that it stands in, and comes out of it as it was.
func TestEscaping(t *testing.T) {
	tr := custom(t, someResponse+`
request:
  url: "{url}/{account}/{id}/{to|digits}"
  query: {t: "{to}", b: "{body}", both: "{to},{from}", u: "{unicode?yes:no}", l: "{long?a b:c d}", v: "{validity}", n: "{none}"}
  headers: {X-To: "{to|00}", X-None: "{none}"}
  form: {b: "{body}", hex: "{body|hex}", seconds: "{validity}", minutes: "{validity_minutes}", enc: "{encoding} {segments}", e: "{expires}", n: "{none}"}
  callback: {id: "{id}", s: "%d&x=%T"}
needs: {}
receipt: {message_id: id, status: s, statuses: {"1": delivered}}
verify: {secret: "query:k"}
`, func(o *Options) {
		o.Account = "a/b?c#d é"
		o.Values = map[string]string{"none": ""}
		o.Now = func() time.Time { return time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC) }
	})
	r, err := tr.request(message)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	if u.Path != "/base/a/b?c#d é/job-1/12025550143" || !strings.HasPrefix(r.URL, "http://127.0.0.1:1/base/a%2Fb%3Fc%23d%20%C3%A9/job-1/") {
		t.Errorf("URL %s", r.URL)
	}
	q := u.Query()
	for key, want := range map[string]string{"t": message.To, "b": message.Body, "both": message.To + "," + message.From, "u": "yes", "l": "c d", "v": "900"} {
		if q.Get(key) != want {
			t.Errorf("query %s: %q", key, q.Get(key))
		}
	}
	f, err := url.ParseQuery(string(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"b": message.Body, "seconds": "900", "minutes": "15", "enc": "UCS-2 1", "e": "2026-11-23T11:15:00Z"} {
		if f.Get(key) != want {
			t.Errorf("form %s: %q", key, f.Get(key))
		}
	}
	if !strings.HasPrefix(f.Get("hex"), "00310020002B0020") || !strings.Contains(f.Get("hex"), "D83DDE00") {
		t.Errorf("hex %s", f.Get("hex"))
	}
	if q.Has("n") || f.Has("n") || r.Header.Values("X-None") != nil || r.Header.Get("X-To") != "0012025550143" {
		t.Errorf("%v, %v, %v", q, f, r.Header)
	}
	if got := tr.of(message).text["callback"]; got != "https://office.example/hook/status?k="+testInbound+"&id=job-1&s=%d&x=%T" {
		t.Errorf("callback %s", got)
	}
	quiet := custom(t, someResponse+`request: {url: "{url}/", form: {t: "{to}", b: "{body}", c: "{callback}", v: "{validity}"}}`, func(o *Options) { o.PublicURL, o.Validity = "", 0 })
	if r, _ := quiet.request(message); strings.Contains(string(r.Body), "c=") || strings.Contains(string(r.Body), "v=") {
		t.Errorf("%s", r.Body)
	}
}

func TestJSONAndXML(t *testing.T) {
	tr := custom(t, someResponse+`
request:
  url: "{url}/"
  json: |
    {"to": ["{to}", "{none}"], "text": "{body}", "n": "{validity}", "w": "{validity|text}", "mixed": "{segments} of {validity}", "deep": {"a": [{"b": "{id}"}], "gone": "{none}"},
     "true": true, "null": null, "number": 12345678901234567890, "brace": "{}{ x}{0}", "empty": {}}
`, func(o *Options) { o.Values = map[string]string{"none": ""} })
	r, err := tr.request(message)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"to":["+12025550143"],"text":` + quoted(message.Body) + `,"n":900,"w":"900","mixed":"1 of 900","deep":{"a":[{"b":"job-1"}]},"true":true,"null":null,"number":12345678901234567890,"brace":"{}{ x}{0}","empty":{}}`
	if string(r.Body) != want || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got  %s\nwant %s", r.Body, want)
	}

	tr = custom(t, someResponse+`request: {url: "{url}/", auth: bearer, xml: "<m to='{to}'><t>{body}</t></m>"}`)
	r, err = tr.request(message)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		To string `xml:"to,attr"`
		T  string `xml:"t"`
	}
	if err := xml.Unmarshal(r.Body, &m); err != nil || m.To != message.To || m.T != message.Body {
		t.Errorf("%+v, %v", m, err)
	}
	if r.Header.Get("Authorization") != "Bearer "+testSecret {
		t.Error("no bearer token")
	}

	tr = custom(t, someResponse+`request: {url: "{url}/", method: PUT, headers: {X-To: "{to}"}, text: "{body}"}`)
	if r, err = tr.request(message); err != nil || string(r.Body) != message.Body || r.Method != "PUT" {
		t.Errorf("%+v, %v", r, err)
	}
	odd := message
	odd.To = "+1\r\nX-Other: 1"
	if _, err := tr.request(odd); err == nil {
		t.Error("a header was forged")
	}
}

func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return strings.TrimSpace(b.String())
}

// Whatever the words are, they come out of every kind of body as they went in.
func FuzzRequest(f *testing.F) {
	f.Add("hello", "+12025550143", "job-1")
	f.Add("{body}{to|url}\x00\"\\", "{id}", "a&b=c#%d")
	form := custom(f, someResponse+`request: {url: "{url}/{id}", query: {q: "{body}"}, form: {b: "{body}", t: "{to}"}}`)
	tree := custom(f, someResponse+`request: {url: "{url}/", json: '{"b": "{body}", "x": "<{to}>"}'}`)
	markup := custom(f, someResponse+`request: {url: "{url}/", xml: '<m t="{to}">{body}</m>'}`)
	f.Fuzz(func(t *testing.T, body, to, id string) {
		if !utf8.ValidString(body) || !utf8.ValidString(to) || body == "" || to == "" || id == "" {
			return
		}
		m := sms.Message{ID: id, From: "+12125550100", To: to, Body: body}
		r, err := form.request(m)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(r.URL)
		if err != nil || u.Host != "127.0.0.1:1" || u.Query().Get("q") != body || u.Path != "/base/"+id || u.Fragment != "" {
			t.Errorf("%s: %v", r.URL, err)
		}
		v, err := url.ParseQuery(string(r.Body))
		if err != nil || v.Get("b") != body || v.Get("t") != to || len(v) != 2 {
			t.Errorf("%v, %v", v, err)
		}
		r, _ = tree.request(m)
		var j map[string]string
		if err := json.Unmarshal(r.Body, &j); err != nil || j["b"] != body || j["x"] != "<"+to+">" || len(j) != 2 {
			t.Errorf("%s: %v", r.Body, err)
		}
		r, _ = markup.request(m)
		var x struct {
			T string `xml:"t,attr"`
			B string `xml:",chardata"`
		}
		if err := xml.Unmarshal(r.Body, &x); err != nil {
			t.Errorf("%s: %v", r.Body, err)
		} else if !strings.ContainsFunc(body+to, func(r rune) bool { return r < ' ' || r > 0xd7ff || r == 0x85 || r == 0x2028 }) && (x.B != body || x.T != to) {
			t.Errorf("%s: %+v", r.Body, x) // what XML cannot hold is replaced
		}
	})
}

// Templates are an admin's: whatever is written, it is read or refused, and never panics.
func FuzzTemplate(f *testing.F) {
	f.Add("{to}{unicode?a:b}{body|hex|url}", `{"a": ["{to}"]}`)
	f.Add("{{{to}}}", `[[[["{x}"]]]]`)
	f.Fuzz(func(t *testing.T, s, j string) {
		v := values{text: map[string]string{"to": "T", "body": "B"}, flags: map[string]bool{}}
		if p, err := parse(s, []string{"to", "body"}); err == nil {
			got, _ := p.render(v, plainly)
			if !strings.Contains(s, "{") && got != s {
				t.Errorf("%q became %q", s, got)
			}
		} else if err.Error() == "" {
			t.Error("refused without a word")
		}
		if n, err := parseJSON(j, []string{"to", "body"}); err == nil {
			r := custom(t, someResponse+`request: {url: "{url}/", json: '{"b": "{body}", "t": "{to}"}'}`)
			r.json = &n
			q, _ := r.request(message)
			if !json.Valid(q.Body) {
				t.Errorf("%s became %s", j, q.Body)
			}
		}
	})
}

const verdicts = `
request: {url: "{url}/", form: {t: "{to}", b: "{body}"}}
response:
  accepted: {status: [200, 202], json: {r.status: "0|ok"}, text: '"status"'}
  id: json:r.id
  segments: json:r.parts
  code: json:r.status
  codes: {"9": opted_out, "21": no_credit, "70": ambiguous, "*": rejected}
  refused:
    - {status: [503], text: "(?i)^busy", class: transient}
    - {json: {r.why: ".*barred.*"}, class: region_denied}
  statuses: {"418": throttled, "404": invalid}
`

func TestVerdict(t *testing.T) {
	tr := custom(t, verdicts)
	plain := custom(t, `
request: {url: "{url}/", form: {t: "{to}", b: "{body}"}}
response: {accepted: {status: 200, text: '^OK '}, id: 'text:^OK ([0-9]+)', code: "header:X-Code", codes: {"5": throttled}}
`)
	for _, c := range []struct {
		tr     *Transport
		status int
		header string
		body   string
		class  sms.Class
		code   string
		id     string
	}{
		{tr, 200, "", `{"r":{"status":"ok","id":"a-1","parts":2}}`, "", "", "a-1"},
		{tr, 202, "", `{"r":{"status":0,"id":17,"parts":"2"}}`, "", "", "17"},
		{tr, 200, "", `{"r":{"status":"ok"}}`, sms.Ambiguous, "", ""},
		{tr, 200, "", `{"r":{"status":"ok","id":"the text to +12025550143"}}`, sms.Ambiguous, "", ""},
		{tr, 200, "", `{"r":{"status":"okay","id":"1"}}`, sms.Rejected, "okay", ""},
		{tr, 200, "", `{"r":{"status":"9"}}`, sms.OptedOut, "9", ""},
		{tr, 500, "", `{"r":{"status":9}}`, sms.OptedOut, "9", ""},
		{tr, 402, "", `{"r":{"status":"21"}}`, sms.NoCredit, "21", ""},
		{tr, 400, "", `{"r":{"status":"70"}}`, sms.Ambiguous, "70", ""},
		{tr, 400, "", `{"r":{"status":{"a":1}}}`, sms.Rejected, "", ""},
		{tr, 201, "", `{"r":{"status":"ok","id":"1"}}`, sms.Rejected, "ok", ""},
		{tr, 200, "", `{"r":{"why":"country barred"}}`, sms.RegionDenied, "", ""},
		{tr, 503, "", `Busy, later`, sms.Transient, "", ""},
		{tr, 503, "", `Bad gateway`, sms.Ambiguous, "", ""},
		{tr, 200, "", `<html>Please sign in to the hotel`, sms.Ambiguous, "", ""},
		{tr, 200, "", ``, sms.Ambiguous, "", ""},
		{tr, 204, "", ``, sms.Ambiguous, "", ""},
		{tr, 418, "", ``, sms.Throttled, "", ""},
		{tr, 404, "", ``, sms.Invalid, "", ""},
		{tr, 401, "", ``, sms.Unauthorized, "", ""},
		{tr, 429, "", ``, sms.Throttled, "", ""},
		{tr, 400, "", ``, sms.Rejected, "", ""},
		{tr, 302, "", ``, sms.Ambiguous, "", ""},
		{tr, 308, "", ``, sms.Misconfigured, "", ""},
		{plain, 200, "", "OK 17", "", "", "17"},
		{plain, 200, "", "OK no number", sms.Ambiguous, "", ""},
		{plain, 200, "", "well, OK 17", sms.Ambiguous, "", ""},
		{plain, 500, "5", "no", sms.Throttled, "5", ""},
		{plain, 400, "6", "no", sms.Rejected, "6", ""},
	} {
		a := once.Answer{Sent: true, Status: c.status, Header: http.Header{"X-Code": {c.header}}, Body: []byte(c.body)}
		r, class, code, err := c.tr.verdict(a)
		if class != c.class || code != c.code || r.ProviderID != c.id || (err == nil) != (c.class == "") {
			t.Errorf("HTTP %d %s: %+v, %q, %q, %v", c.status, c.body, r, class, code, err)
		}
		if c.id == "a-1" && r.Segments != 2 {
			t.Errorf("%d segments", r.Segments)
		}
	}
}

// No answer makes a panic, and only what matches is a yes.
func FuzzVerdict(f *testing.F) {
	f.Add(200, `{"r":{"status":"ok","id":"a-1"}}`)
	f.Add(503, "busy")
	f.Add(202, `{"message_uuid":["x"]}`)
	f.Add(202, "0: Accepted for delivery")
	all := []*Transport{custom(f, verdicts)}
	for _, p := range Presets {
		tr, err := New(account(p, "http://127.0.0.1:1", "https://office.example/hook"))
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, tr)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		for _, tr := range all {
			r, class, code, err := tr.verdict(once.Answer{Sent: true, Status: status, Header: http.Header{}, Body: []byte(body)})
			if err == nil && (status < 200 || status > 299 || body == "") || err == nil && tr.id.set() && r.ProviderID == "" || (err == nil) != (class == "") {
				t.Errorf("%s: HTTP %d %q: %+v, %s, %v", tr.name(), status, body, r, class, err)
			}
			if strings.ContainsAny(code+r.ProviderID, " +\n") || err != nil && len(body) > 20 && strings.Contains(err.Error(), body) {
				t.Errorf("%s: %q, %q, %v", tr.name(), code, r.ProviderID, err)
			}
		}
	})
}

func TestSubmitRefusesByItself(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"code":"%s"}`, strings.TrimPrefix(r.FormValue("t"), "+"))
	}))
	defer s.Close()
	const text = `
request: {url: "{url}/", form: {t: "{to}", b: "{body}", f: "{from}"}}
response: {accepted: {status: 200}, code: json:code, codes: {"1": invalid}}
max_segments: 2
per_minute: 90
`
	tr := custom(t, text, func(o *Options) { o.URL = s.URL })
	long := message
	long.Body = strings.Repeat("x", 400)
	if _, err := tr.Submit(t.Context(), long); sms.ClassOf(err) != sms.Rejected || asked != 0 {
		t.Errorf("%v, %d asked", err, asked)
	}
	nobody := message
	nobody.From = ""
	if _, err := tr.Submit(t.Context(), nobody); sms.ClassOf(err) != sms.Misconfigured || asked != 0 {
		t.Errorf("%v, %d asked", err, asked)
	}
	// A code that is the number is not shown.
	_, err := tr.Submit(t.Context(), message)
	if sms.ClassOf(err) != sms.Rejected || strings.Contains(err.Error(), "2025550143") || asked != 1 {
		t.Error(err)
	}
	if tt := tr.Traits(); tt.MaxSegments != 2 || tt.RatePerSecond != 1.5 || tt.Replies != sms.NoReplies || tt.Receipts || tt.AnswersStop {
		t.Errorf("%+v", tt)
	}
	from := custom(t, text, func(o *Options) { o.From, o.MaxSegments, o.PerMinute, o.AnswersStop = "Office", 1, 60, true })
	if r, _ := from.request(nobody); !strings.Contains(string(r.Body), "f=Office") {
		t.Errorf("%s", r.Body)
	}
	if tt := from.Traits(); tt.MaxSegments != 1 || tt.RatePerSecond != 1 || !tt.AnswersStop {
		t.Errorf("%+v", tt)
	}
}

func TestCheck(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || r.Header.Get("Authorization") != "" || r.URL.RawQuery != "" {
			t.Errorf("%s was told %s", r.URL, r.Header)
		}
		w.WriteHeader(404)
	}))
	tr, err := New(account("plivo", s.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Check(t.Context()); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := tr.Check(t.Context()); sms.ClassOf(err) != sms.Transient || strings.Contains(err.Error(), "acc1") {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := account("plivo", "https://sms.example", "https://office.example/hook")
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no preset":            func(o *Options) { o.Preset = "" },
		"unknown preset":       func(o *Options) { o.Preset = "pigeon" },
		"a path":               func(o *Options) { o.Preset = "../presets/plivo" },
		"in the clear":         func(o *Options) { o.URL = "http://sms.example" },
		"webhooks in clear":    func(o *Options) { o.PublicURL = "http://office.example" },
		"password in the URL":  func(o *Options) { o.URL = "https://u:secret-x@sms.example" },
		"no account":           func(o *Options) { o.Account = "" },
		"no secret":            func(o *Options) { o.Secret = "" },
		"no inbound secret":    func(o *Options) { o.InboundSecret = "" },
		"short inbound secret": func(o *Options) { o.InboundSecret = "secret-x" },
		"secret with a line":   func(o *Options) { o.Secret = "secret-x\r\nX: y" },
		"validity":             func(o *Options) { o.Validity = time.Millisecond },
		"broken section":       func(o *Options) { o.Custom = &Spec{Request: &Request{URL: "x"}} },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "secret-x") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Sections of one's own beside a preset.
	o := good
	o.Custom = spec(t, `response: {accepted: {status: 299}}`)
	tr, err := New(o)
	if err != nil || !tr.accepted.met(once.Answer{Status: 299}) || tr.inbound == nil {
		t.Errorf("%v", err)
	}
}
