package twilio

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"textback/sms"
	"textback/sms/hook"
)

var _ interface {
	sms.Declarer
	sms.WebhookTaker
	sms.Runner
} = (*Transport)(nil)

const public = "https://sms.example.com/textback/twilio"

// store is an Inbox in memory.
type store struct {
	err      error
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (s *store) Received(_ context.Context, m sms.Inbound) error {
	if s.err == nil {
		s.inbound = append(s.inbound, m)
	}
	return s.err
}

func (s *store) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	if s.err == nil {
		s.receipts = append(s.receipts, r)
	}
	return s.err
}

func open(o *Options) { o.PublicURL = public }

// The provider's published example, and its SDK's treatment of repeated names.
func TestSignatureVectors(t *testing.T) {
	form := url.Values{"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675309"}, "Digits": {"1234"}, "From": {"+14158675309"}, "To": {"+18005551212"}}
	if got := sign("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", form); got != "RSOYDt4T1cUTdK1PDd93/VVr8B8=" {
		t.Errorf("got %s", got)
	}
	u := "https://mycompany.com/a"
	if sign("12345", u, url.Values{"A": {"2", "1", "2"}}) != sign("12345", u+"A1A2", nil) {
		t.Error("each value once, in order")
	}
}

func TestSpellings(t *testing.T) {
	for in, want := range map[string][]string{
		"https://a.example/x?b=1:2":     {"https://a.example/x?b=1:2", "https://a.example:443/x?b=1:2"},
		"https://a.example:8443/x":      {"https://a.example/x", "https://a.example:8443/x"},
		"http://[::1]:9471/it%27s?b='c": {"http://[::1]/it%27s?b='c", "http://[::1]:9471/it%27s?b='c"},
		"http://127.0.0.1/":             {"http://127.0.0.1/", "http://127.0.0.1:80/"},
	} {
		if got := spellings(in); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q", in, got)
		}
	}
}

// A call to a webhook.
type call struct {
	method, path, contentType, body string
	header                          http.Header
}

func (c call) do(h http.Handler) *httptest.ResponseRecorder {
	if c.method == "" {
		c.method = "POST"
	}
	r := httptest.NewRequest(c.method, "http://made.up.example"+c.path, strings.NewReader(c.body))
	r.Header.Set("X-Forwarded-Host", "another.example")
	for k, v := range c.header {
		r.Header[http.CanonicalHeaderKey(k)] = v
	}
	if c.contentType != "" {
		r.Header.Set("Content-Type", c.contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const formType = "application/x-www-form-urlencoded; charset=UTF-8"

// signedCall is a call with a right signature.
func signedCall(path string, form url.Values) call {
	return call{path: path, contentType: formType, body: form.Encode(), header: http.Header{"X-Twilio-Signature": {sign(testToken, public+path, form)}}}
}

func text(change url.Values) url.Values {
	f := url.Values{"MessageSid": {"SM1"}, "From": {testTo}, "To": {testFrom}, "Body": {"1 + 1 = 2 & 😀"}, "NumMedia": {"0"}, "AccountSid": {testAccount}}
	for k, v := range change {
		if f[k] = v; v == nil {
			delete(f, k)
		}
	}
	return f
}

func TestInbound(t *testing.T) {
	plain := sms.Inbound{ID: "SM1", From: testTo, To: testFrom, Body: "1 + 1 = 2 & 😀"}
	with := func(f func(*sms.Inbound)) *sms.Inbound { m := plain; f(&m); return &m }
	for name, c := range map[string]struct {
		form url.Values
		want *sms.Inbound // nil: refused as no text
	}{
		"text":                 {text(nil), &plain},
		"picture alone":        {text(url.Values{"Body": {""}, "NumMedia": {"2"}}), with(func(m *sms.Inbound) { m.Body, m.Media = "", 2 })},
		"no body at all":       {text(url.Values{"Body": nil}), with(func(m *sms.Inbound) { m.Body = "" })},
		"STOP, acted on":       {text(url.Values{"Body": {"stop"}, "OptOutType": {"STOP"}}), with(func(m *sms.Inbound) { m.Body, m.Keyword = "stop", "STOP" })},
		"START":                {text(url.Values{"OptOutType": {"START"}}), with(func(m *sms.Inbound) { m.Keyword = "START" })},
		"HELP":                 {text(url.Values{"OptOutType": {"HELP"}}), with(func(m *sms.Inbound) { m.Keyword = "HELP" })},
		"a new keyword":        {text(url.Values{"OptOutType": {"PAUSE"}}), &plain},
		"media, not a number":  {text(url.Values{"NumMedia": {"-3"}}), &plain},
		"older name of the id": {text(url.Values{"MessageSid": nil, "SmsSid": {"SM1"}}), &plain},
		"twice the same":       {text(url.Values{"From": {testTo, testTo}}), &plain},
		"others twice":         {text(url.Values{"Tag": {"b", "a"}}), &plain},
		"not UTF-8":            {text(url.Values{"Body": {"a\xff"}}), with(func(m *sms.Inbound) { m.Body = "a\uFFFD" })},
		"channel":              {text(url.Values{"From": {"whatsapp:" + testTo}}), with(func(m *sms.Inbound) { m.From = "whatsapp:" + testTo })},
		"two bodies":           {text(url.Values{"Body": {"yes", "STOP"}}), nil},
		"two senders":          {text(url.Values{"From": {testTo, testFrom}}), nil},
		"no sender":            {text(url.Values{"From": nil}), nil},
		"no id":                {text(url.Values{"MessageSid": nil}), nil},
		"a sentence as id":     {text(url.Values{"MessageSid": {"x y"}}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := &store{}
			w := signedCall("/inbound", c.form).do(transport(t, "https://sms.example", open).Webhook(in))
			if c.want == nil {
				if w.Code != 400 || len(in.inbound) != 0 {
					t.Errorf("HTTP %d, %+v", w.Code, in.inbound)
				}
				return
			}
			if w.Code != 200 || len(in.inbound) != 1 || in.inbound[0] != *c.want {
				t.Errorf("HTTP %d: %+v, want %+v", w.Code, in.inbound, *c.want)
			}
			if w.Body.String() != nothingToSay || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
				t.Errorf("answered %q", w.Body)
			}
		})
	}
}

func TestReceipts(t *testing.T) {
	for _, c := range []struct {
		status, code string
		want         sms.Delivery
		class        sms.Class
		says         string
	}{
		{"queued", "", sms.EnRoute, "", "queued"}, {"sending", "", sms.EnRoute, "", "sending"}, {"sent", "", sms.EnRoute, "", "sent"},
		{"accepted", "", sms.EnRoute, "", "accepted"}, {"a_new_one", "", sms.EnRoute, "", "a_new_one"},
		{"delivered", "", sms.Delivered, "", "delivered"}, {"read", "", sms.Delivered, "", "read"}, {"delivered", "0", sms.Delivered, "", "delivered"},
		{"undelivered", "30006", sms.Undelivered, sms.NotMobile, "30006"}, {"undelivered", "30007", sms.Undelivered, sms.Blocked, "30007"},
		{"failed", "21610", sms.Undelivered, sms.OptedOut, "21610"}, {"failed", "39999", sms.Undelivered, sms.Rejected, "39999"},
		{"undelivered", "", sms.Undelivered, sms.Rejected, "undelivered"}, {"failed", "0", sms.Undelivered, sms.Rejected, "failed"}, {"canceled", "", sms.Undelivered, sms.Rejected, "canceled"},
	} {
		in := &store{}
		tr := transport(t, "https://sms.example", open)
		path := strings.TrimPrefix(hook.StatusURL(public, "a&b 1"), public)
		w := signedCall(path, url.Values{"MessageSid": {"SM1"}, "MessageStatus": {c.status}, "ErrorCode": {c.code}}).do(tr.Webhook(in))
		want := sms.DeliveryReceipt{ProviderID: "SM1", MessageID: "a&b 1", Delivery: c.want, Class: c.class, Code: c.says}
		if w.Code != 204 || len(in.receipts) != 1 || in.receipts[0] != want {
			t.Errorf("%s %s: HTTP %d, %+v, want %+v", c.status, c.code, w.Code, in.receipts, want)
		}
	}
	for name, f := range map[string]url.Values{
		"no id": {"MessageStatus": {"sent"}}, "no status": {"MessageSid": {"SM1"}}, "two": {"MessageSid": {"SM1", "SM2"}, "MessageStatus": {"sent"}},
	} {
		if w := signedCall("/status", f).do(transport(t, "https://sms.example", open).Webhook(&store{})); w.Code != 400 {
			t.Errorf("%s: HTTP %d", name, w.Code)
		}
	}
}

// Whatever is not signed for this URL and these bytes reaches no Inbox.
func TestForgeries(t *testing.T) {
	good := signedCall("/inbound", text(nil))
	json := `{"MessageSid":"SM1","From":"` + testTo + `","Body":"hi"}`
	sum := sha256.Sum256([]byte(json))
	hashed := "/inbound?bodySHA256=" + hex.EncodeToString(sum[:])
	signature := func(token, u string, f url.Values) http.Header {
		return http.Header{"X-Twilio-Signature": {sign(token, u, f)}}
	}
	for name, c := range map[string]struct {
		change func(*call)
		want   int
	}{
		"good": {func(c *call) {}, 200},
		"signed with the port": {func(c *call) {
			c.header = signature(testToken, "https://sms.example.com:443/textback/twilio/inbound", text(nil))
		}, 200},
		"a query of the admin's": {func(c *call) { *c = signedCall("/inbound?site=hq&x=%27", text(nil)) }, 200},
		"another provider's name for it": {func(c *call) {
			c.header = http.Header{"X-Signalwire-Signature": c.header["X-Twilio-Signature"]}
		}, 200},
		"JSON": {func(c *call) {
			*c = call{path: hashed, contentType: "application/json", body: json, header: signature(testToken, public+hashed, nil)}
		}, 200},

		"no signature":     {func(c *call) { c.header = nil }, 403},
		"empty signature":  {func(c *call) { c.header = http.Header{"X-Twilio-Signature": {""}} }, 403},
		"another token":    {func(c *call) { c.header = signature("another", public+"/inbound", text(nil)) }, 403},
		"an empty token":   {func(c *call) { c.header = signature("", public+"/inbound", text(nil)) }, 403},
		"another body":     {func(c *call) { c.body += "&Extra=1" }, 403},
		"a word changed":   {func(c *call) { c.body = strings.Replace(c.body, "1", "2", 1) }, 403},
		"another path":     {func(c *call) { c.path = "/status" }, 403},
		"a query added":    {func(c *call) { c.path += "?a=1" }, 403},
		"the caller's URL": {func(c *call) { c.header = signature(testToken, "http://made.up.example/inbound", text(nil)) }, 403},
		"X-Forwarded-Host": {func(c *call) { c.header = signature(testToken, "https://another.example/inbound", text(nil)) }, 403},
		"in the clear": {func(c *call) {
			c.header = signature(testToken, strings.Replace(public, "https", "http", 1)+"/inbound", text(nil))
		}, 403},
		"JSON, another body": {func(c *call) {
			*c = call{path: hashed, contentType: "application/json", body: json + " ", header: signature(testToken, public+hashed, nil)}
		}, 403},
		"JSON, hash not signed": {func(c *call) {
			*c = call{path: hashed, contentType: "application/json", body: json, header: signature(testToken, public+"/inbound", nil)}
		}, 403},
		"JSON, two hashes": {func(c *call) {
			p := hashed + "&bodySHA256=00"
			*c = call{path: p, contentType: "application/json", body: json, header: signature(testToken, public+p, nil)}
		}, 403},
		"JSON without a hash": {func(c *call) { c.contentType, c.body = "application/json", json }, 403},
		"no Content-Type":     {func(c *call) { c.contentType = "" }, 403},
		"multipart":           {func(c *call) { c.contentType = "multipart/form-data; boundary=x" }, 403},
		"not a form":          {func(c *call) { c.body = "a=%zz" }, 403},
		"not a form, the bare URL signed": {func(c *call) {
			c.body, c.header = "a=%zz", signature(testToken, public+"/inbound", nil)
		}, 403},
		"too long":  {func(c *call) { c.body = strings.Repeat("a", maxWebhook+1) }, 413},
		"GET":       {func(c *call) { c.method = "GET" }, 405},
		"elsewhere": {func(c *call) { c.path = "/" }, 404},
		"below":     {func(c *call) { c.path = "/inbound/x" }, 404},
	} {
		t.Run(name, func(t *testing.T) {
			in := &store{}
			x := good
			c.change(&x)
			w := x.do(transport(t, "https://sms.example", open).Webhook(in))
			if w.Code != c.want || (len(in.inbound) == 1) != (c.want == 200) {
				t.Errorf("HTTP %d, want %d; %d texts", w.Code, c.want, len(in.inbound))
			}
			if w.Code >= 400 {
				discreet(t, errors.New(w.Body.String()))
			}
		})
	}
	// Without a URL of ours nothing can be signed for it.
	in := &store{}
	for _, h := range []http.Header{good.header, signature(testToken, "/inbound", text(nil)), signature("", "/inbound", text(nil)), signature("", "/inbound://", text(nil)), signature("", "/inbound://:", text(nil))} {
		x := good
		x.header = h
		if w := x.do(transport(t, "https://sms.example").Webhook(in)); w.Code != 403 || len(in.inbound) != 0 {
			t.Errorf("HTTP %d", w.Code)
		}
	}
}

// With an API key, and at providers that sign with a key of their own.
func TestWebhookToken(t *testing.T) {
	tr := transport(t, "https://sms.example", open, func(o *Options) {
		o.AuthToken, o.APIKeySID, o.APIKeySecret, o.WebhookToken = "", "SK1", "shh", "signing"
	})
	c := signedCall("/inbound", text(nil))
	if w := c.do(tr.Webhook(&store{})); w.Code != 403 {
		t.Errorf("HTTP %d", w.Code)
	}
	c.header.Set("X-Twilio-Signature", sign("signing", public+"/inbound", text(nil)))
	if w := c.do(tr.Webhook(&store{})); w.Code != 200 {
		t.Errorf("HTTP %d", w.Code)
	}
}

func TestNotStored(t *testing.T) {
	in := &store{err: errors.New("disk full: /var/lib")}
	h := transport(t, "https://sms.example", open).Webhook(in)
	for _, c := range []call{signedCall("/inbound", text(nil)), signedCall("/status", url.Values{"MessageSid": {"SM1"}, "MessageStatus": {"sent"}})} {
		w := c.do(h)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "/var") {
			t.Errorf("HTTP %d: %s", w.Code, w.Body)
		}
		in.err = nil
		if w := c.do(h); w.Code > 299 {
			t.Errorf("the next time: HTTP %d", w.Code)
		}
		in.err = errors.New("disk full")
	}
}

func TestTraits(t *testing.T) {
	for _, c := range []struct {
		url, poll, stop bool
		want            sms.ReplyWay
	}{{false, false, false, sms.NoReplies}, {false, true, true, sms.ByPoll}, {true, false, true, sms.ByWebhook}, {true, true, false, sms.ByWebhook}} {
		got := transport(t, "https://sms.example", func(o *Options) {
			if o.AnswersStop = c.stop; c.url {
				open(o)
			}
			if c.poll {
				o.Poll = 1
			}
		}).Traits()
		if got.Name != "twilio" || got.Replies != c.want || got.Receipts != (c.url || c.poll) || got.AnswersStop != c.stop || got.MaxSegments != 10 {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	f.Add("/inbound", formType, text(nil).Encode(), "")
	f.Add("/inbound?bodySHA256=00", "application/json", `{"MessageSid":1,"From":[],"Body":"x"}`, "x")
	f.Add("/status?job=1&job=2", formType, "MessageSid=SM1&MessageStatus=sent&a=%zz;b", "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
	f.Fuzz(func(t *testing.T, path, contentType, body, signature string) {
		if u, err := url.Parse("http://a" + path); err != nil || u.Host != "a" {
			return
		}
		r, err := http.NewRequest("POST", "http://a"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		tr, in := transport(t, "https://sms.example", open), &store{}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("X-Twilio-Signature", signature)
		w := httptest.NewRecorder()
		tr.Webhook(in).ServeHTTP(w, r)
		if len(in.inbound)+len(in.receipts) != 0 || w.Code < 300 {
			t.Fatalf("HTTP %d: believed without a signature", w.Code)
		}
		// The same, signed: whatever the words, it is answered and what is taken can be used.
		form, _ := parse(contentType, []byte(body))
		target := public + r.URL.Path
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		r, _ = http.NewRequest("POST", "http://a"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("X-Twilio-Signature", sign(testToken, target, form))
		w = httptest.NewRecorder()
		tr.Webhook(in).ServeHTTP(w, r)
		for _, m := range in.inbound {
			if m.ID == "" || m.From == "" || m.Media < 0 || strings.ToValidUTF8(m.Body, "") != m.Body {
				t.Errorf("%+v", m)
			}
		}
		for _, d := range in.receipts {
			if d.ProviderID == "" || d.Delivery == "" || (d.Delivery == sms.Undelivered) != (d.Class != "") {
				t.Errorf("%+v", d)
			}
		}
	})
}
