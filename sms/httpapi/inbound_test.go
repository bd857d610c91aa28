package httpapi

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"textback/sms"
)

const someRequest = `
request: {url: "{url}/", form: {t: "{to}", b: "{body}"}}
response: {accepted: {status: 200}}
`

const someInbound = someRequest + `
inbound: {event: {format: json, time: at}, from: from, to: to, text: text, id: id}
receipt: {event: {format: json}, id: id, message_id: job, status: status, statuses: {ok: delivered, bad: undelivered}, code: code, codes: {"4": opted_out}}
`

// call gives h a request and returns the status.
func call(h http.Handler, method, target, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for name, v := range header {
		r.Header[name] = v
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const hello = `{"from":"12025550143","to":"12125550100","text":"hi","id":"1","at":"2026-11-23T11:17:16.984Z"}`

// Each way to prove where a webhook comes from, and what does not.
func TestBelieves(t *testing.T) {
	now := time.Unix(1795600000, 0)
	ts := fmt.Sprint(now.Unix())
	hexOf := func(b []byte) string { return hex.EncodeToString(b) }
	b64 := base64.StdEncoding.EncodeToString
	for name, c := range map[string]struct {
		verify string
		good   [][3]string // target, header, its value
		bad    [][3]string
	}{
		"query":  {`{secret: "query:k"}`, [][3]string{{"/inbound?k=" + testInbound}}, [][3]string{{"/inbound"}, {"/inbound?k="}, {"/inbound?k=" + testInbound + "x"}, {"/inbound?k=x&k=" + testInbound}, {"/inbound?K=" + testInbound}}},
		"header": {`{secret: "header:X-Token"}`, [][3]string{{"/inbound", "X-Token", testInbound}}, [][3]string{{"/inbound"}, {"/inbound", "X-Token", "x"}, {"/inbound?X-Token=" + testInbound}}},
		"field":  {`{secret: "field:auth.k"}`, nil, [][3]string{{"/inbound"}, {"/inbound?auth.k=" + testInbound}}},
		"path":   {`{secret: path}`, [][3]string{{"/inbound/" + testInbound}}, [][3]string{{"/inbound"}, {"/inbound/"}, {"/inbound/x"}, {"/inbound/" + testInbound + "/x"}, {"/inboundx/" + testInbound}, {"/" + testInbound}}},
		"basic": {`{secret: basic}`, [][3]string{{"/inbound", "Authorization", "Basic " + b64([]byte("hook:"+testInbound))}},
			[][3]string{{"/inbound", "Authorization", "Basic " + b64([]byte("hook:x"))}, {"/inbound", "Authorization", "Basic " + b64([]byte("x:"+testInbound))}, {"/inbound", "Authorization", "Bearer " + testInbound}}},
		"hmac": {`{signature: hmac, header: X-Sig}`, [][3]string{{"/inbound", "X-Sig", hexOf(mac(sha256.New, testInbound, hello))}, {"/inbound", "X-Sig", strings.ToUpper(hexOf(mac(sha256.New, testInbound, hello)))}},
			[][3]string{{"/inbound"}, {"/inbound", "X-Sig", hexOf(mac(sha256.New, "x", hello))}, {"/inbound", "X-Sig", hexOf(mac(sha256.New, testInbound, hello+" "))}, {"/inbound", "X-Sig", hexOf(mac(sha256.New, "", hello))}}},
		"hmac with the API's secret": {`{signature: hmac, header: X-Sig, key: secret}`, [][3]string{{"/inbound", "X-Sig", hexOf(mac(sha256.New, testSecret, hello))}}, [][3]string{{"/inbound", "X-Sig", hexOf(mac(sha256.New, testInbound, hello))}}},
		"hmac, sha1, base64, prefix": {`{signature: hmac, header: X-Sig, hash: sha1, encoding: base64, prefix: "sha1="}`, [][3]string{{"/inbound", "X-Sig", "sha1=" + b64(mac(sha1.New, testInbound, hello))}},
			[][3]string{{"/inbound", "X-Sig", b64(mac(sha1.New, testInbound, hello))}, {"/inbound", "X-Sig", "sha1=" + hexOf(mac(sha1.New, testInbound, hello))}}},
		"hmac, sha512, over the URL": {`{signature: hmac, header: X-Sig, hash: sha512, over: "{method} {url} {body}"}`,
			[][3]string{{"/inbound?a=b%20c", "X-Sig", hexOf(mac(sha512.New, testInbound, "POST https://office.example/hook/inbound?a=b%20c "+hello))}},
			[][3]string{{"/inbound?a=b+c", "X-Sig", hexOf(mac(sha512.New, testInbound, "POST https://office.example/hook/inbound?a=b%20c "+hello))}, {"/inbound", "X-Sig", hexOf(mac(sha512.New, testInbound, "POST http://example.com/inbound "+hello))}}},
		"vonage": {`{signature: vonage}`, [][3]string{{"/inbound", "Authorization", "Bearer " + vonageToken(hello, testInbound, now)}, {"/inbound", "Authorization", "Bearer " + vonageToken(hello, testInbound, now.Add(-4*time.Minute))}},
			[][3]string{{"/inbound"}, {"/inbound", "Authorization", vonageToken(hello, testInbound, now)}, {"/inbound", "Authorization", "Bearer " + vonageToken(hello, "x", now)}, {"/inbound", "Authorization", "Bearer " + vonageToken(hello+" ", testInbound, now)},
				{"/inbound", "Authorization", "Bearer " + vonageToken(hello, testInbound, now.Add(-6*time.Minute))}, {"/inbound", "Authorization", "Bearer " + vonageToken(hello, testInbound, now.Add(6*time.Minute))},
				{"/inbound", "Authorization", "Bearer " + unsigned(hello, now)}, {"/inbound", "Authorization", "Bearer a.b"}, {"/inbound", "Authorization", "Bearer .."}}},
		"both": {`{secret: "query:k", signature: hmac, header: X-Sig}`, [][3]string{{"/inbound?k=" + testInbound, "X-Sig", hexOf(mac(sha256.New, testInbound, hello))}},
			[][3]string{{"/inbound?k=" + testInbound}, {"/inbound", "X-Sig", hexOf(mac(sha256.New, testInbound, hello))}}},
	} {
		in := &book{}
		tr := custom(t, someInbound+"verify: "+c.verify, func(o *Options) { o.Now = func() time.Time { return now } })
		h := tr.Webhook(in)
		for i, x := range c.good {
			if w := call(h, "POST", x[0], hello, http.Header{http.CanonicalHeaderKey(x[1]): {x[2]}}); w.Code != 200 {
				t.Errorf("%s: %d: HTTP %d", name, i, w.Code)
			}
		}
		if got, _ := in.got(); len(got) != len(c.good) || len(got) > 0 && (got[0].From != "+12025550143" || got[0].To != "+12125550100" || got[0].ID != "1" || got[0].Body != "hi" || got[0].At.UnixMilli() != 1795432636984) {
			t.Errorf("%s: %+v", name, got)
		}
		for i, x := range c.bad {
			if w := call(h, "POST", x[0], hello, http.Header{http.CanonicalHeaderKey(x[1]): {x[2]}}); w.Code != 403 || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%s: bad %d: HTTP %d", name, i, w.Code)
			}
		}
		if got, _ := in.got(); len(got) != len(c.good) {
			t.Errorf("%s: %d texts were believed", name, len(got))
		}
	}
	// The secret may stand in the JSON itself.
	within := `{"auth":{"k":"` + testInbound + `"},` + hello[1:]
	for body, want := range map[string]int{within: 200, strings.Replace(within, testInbound, "x", 1): 403, within[1:]: 403, strings.Replace(within, `"`+testInbound+`"`, `["`+testInbound+`"]`, 1): 403} {
		if w := call(custom(t, someInbound+`verify: {secret: "field:auth.k"}`).Webhook(&book{}), "POST", "/inbound", body, nil); w.Code != want {
			t.Errorf("%s: HTTP %d", body, w.Code)
		}
	}
	// With a time in the signature, it is old after five minutes.
	tr := custom(t, someInbound+`verify: {signature: hmac, header: X-Sig, over: "{timestamp}.{body}", timestamp_header: X-Time}`, func(o *Options) { o.Now = func() time.Time { return now } })
	h := tr.Webhook(&book{})
	for shift, want := range map[time.Duration]int{0: 200, 4 * time.Minute: 200, -4 * time.Minute: 200, 6 * time.Minute: 403, -6 * time.Minute: 403} {
		ts := fmt.Sprint(now.Add(shift).Unix())
		if w := call(h, "POST", "/inbound", hello, http.Header{"X-Sig": {hexOf(mac(sha256.New, testInbound, ts+"."+hello))}, "X-Time": {ts}}); w.Code != want {
			t.Errorf("%s: HTTP %d", shift, w.Code)
		}
	}
	if w := call(h, "POST", "/inbound", hello, http.Header{"X-Sig": {hexOf(mac(sha256.New, testInbound, ts+"."+hello))}, "X-Time": {ts + "0"}}); w.Code != 403 {
		t.Errorf("another time: HTTP %d", w.Code)
	}
	// Who sends credentials only when asked is asked.
	tr = custom(t, someInbound+`verify: {secret: basic}`)
	if w := call(tr.Webhook(&book{}), "POST", "/inbound", hello, nil); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("HTTP %d", w.Code)
	}
}

// unsigned is a token that says itself that nobody signed it.
func unsigned(body string, at time.Time) string {
	_, rest, _ := strings.Cut(vonageToken(body, testInbound, at), ".")
	claims, _, _ := strings.Cut(rest, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + claims + "."
}

func TestWebhookAnswers(t *testing.T) {
	const lock = "verify: {secret: 'query:k'}\n"
	key := "?k=" + testInbound
	in := &book{}
	both := custom(t, someInbound+lock).Webhook(in)
	form := custom(t, someRequest+lock+`
inbound: {event: {method: [GET, POST], format: query, answer: "<ok/>", answer_type: application/xml}, from: f, text: t, numbers: local, keyword: k2, keywords: {out: STOP}, media: m}
`).Webhook(in)
	posted := custom(t, someRequest+lock+`inbound: {event: {}, from: f, text: t, charset: c}`).Webhook(in)
	multi := "--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n12345\r\n--b\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nh\u00e9\r\n--b--\r\n"
	formType := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	for name, c := range map[string]struct {
		h              http.Handler
		method, target string
		body           string
		header         http.Header
		want           int
		texts          int
	}{
		"text":                   {both, "POST", "/inbound" + key, hello, nil, 200, 1},
		"receipt":                {both, "POST", "/status" + key, `{"id":"1","status":"ok"}`, nil, 200, 0},
		"neither":                {both, "POST", "/" + key, hello, nil, 403, 0},
		"not JSON":               {both, "POST", "/inbound" + key, "hi", nil, 400, 0},
		"not UTF-8":              {both, "POST", "/inbound" + key, "{\"from\":\"12025550143\",\"text\":\"\xff\"}", nil, 400, 0},
		"from nobody":            {both, "POST", "/inbound" + key, `{"text":"hi"}`, nil, 400, 0},
		"from a thing":           {both, "POST", "/inbound" + key, `{"from":{"a":1},"text":"hi"}`, nil, 400, 0},
		"about nothing":          {both, "POST", "/status" + key, `{"status":"ok"}`, nil, 400, 0},
		"GET":                    {both, "GET", "/inbound" + key, "", nil, 405, 0},
		"too long":               {both, "POST", "/inbound" + key, strings.Repeat(" ", maxBody+1), nil, 413, 0},
		"query":                  {form, "GET", "/inbound" + key + "&f=2025550143&t=a%2Bb+c&k2=out&m=3", "", nil, 200, 1},
		"query, nobody listens":  {form, "GET", "/status" + key + "&f=2025550143&t=x", "", nil, 200, 0},
		"query that is none":     {form, "GET", "/inbound" + key + "&f=%zz", "", nil, 400, 0},
		"form":                   {posted, "POST", "/inbound" + key, "f=Office&t=a%2Bb+c", formType, 200, 1},
		"form that is none":      {posted, "POST", "/inbound" + key, "f=%zz", formType, 400, 0},
		"no form":                {posted, "POST", "/inbound" + key, "{}", nil, 400, 0},
		"form in parts":          {posted, "POST", "/inbound" + key, multi, http.Header{"Content-Type": {"multipart/form-data; boundary=b"}}, 200, 1},
		"form in broken parts":   {posted, "POST", "/inbound" + key, multi[:40], http.Header{"Content-Type": {"multipart/form-data; boundary=b"}}, 400, 0},
		"UTF-16":                 {posted, "POST", "/inbound" + key, "f=12345&t=%D8%3D%DE%00&c=UTF-16BE", formType, 200, 1},
		"UTF-16, half":           {posted, "POST", "/inbound" + key, "f=12345&t=%D8%3D%DE&c=UTF-16BE", formType, 400, 0},
		"Latin":                  {posted, "POST", "/inbound" + key, "f=12345&t=%e9&c=ISO-8859-1", formType, 200, 1},
		"bytes that are nothing": {posted, "POST", "/inbound" + key, "f=12345&t=a%ff", formType, 200, 1},
	} {
		before, _ := in.got()
		w := call(c.h, c.method, c.target, c.body, c.header)
		after, _ := in.got()
		if w.Code != c.want || len(after)-len(before) != c.texts {
			t.Errorf("%s: HTTP %d, %d texts: %s", name, w.Code, len(after)-len(before), w.Body)
			continue
		}
		if c.texts == 0 {
			continue
		}
		m := after[len(after)-1]
		want := map[string]string{"text": "hi", "query": "a+b c", "form": "a+b c", "form in parts": "hé", "UTF-16": "😀", "Latin": "é", "bytes that are nothing": "a\uFFFD"}[name]
		if m.Body != want {
			t.Errorf("%s: %q", name, m.Body)
		}
		if name == "query" && (m.From != "+12025550143" || m.Keyword != "STOP" || m.Media != 3 || w.Body.String() != "<ok/>" || w.Header().Get("Content-Type") != "application/xml") {
			t.Errorf("%s: %+v, %s", name, m, w.Body)
		}
	}
	// What cannot be stored must come again.
	in.mu.Lock()
	in.err = errors.New("disk full")
	in.mu.Unlock()
	if w := call(both, "POST", "/inbound"+key, hello, nil); w.Code != 503 || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("HTTP %d", w.Code)
	}
	if w := call(both, "POST", "/status"+key, `{"id":"1","status":"ok"}`, nil); w.Code != 503 {
		t.Errorf("HTTP %d", w.Code)
	}
}

// One URL for everything, where the events say what they are.
func TestMisdirected(t *testing.T) {
	tr := custom(t, someRequest+`
verify: {secret: "query:k"}
inbound: {event: {format: json, each: list, when: {kind: mo}}, from: from, text: text, media: pictures}
receipt: {event: {format: json, each: list, when: {kind: "dlr|fail"}, time: at, time_format: unix}, id: id, status: s, statuses: {a: delivered, b: undelivered}, code: c, codes: {"4": opted_out, "*": transient}}
`)
	for _, path := range []string{"/inbound", "/status"} {
		in := &book{}
		h := tr.Webhook(in)
		for _, body := range []string{
			`{"list":[{"kind":"mo","from":"12025550143","text":"a","pictures":["x","y"]},{"kind":"mo","from":"12025550144","text":"b"}]}`,
			`{"list":[{"kind":"dlr","id":"1","s":"a","c":"4","at":1795432636.5},{"kind":"dlr","id":"2","s":"b","c":"4"},{"kind":"fail","id":"3","s":"b","c":"5"},{"kind":"dlr","id":"4","s":"b"},{"kind":"dlr","id":"5","s":"new word"}]}`,
			`{"list":[{"kind":"ping"}]}`, `{"list":[]}`,
		} {
			if w := call(h, "POST", path+"?k="+testInbound, body, nil); w.Code != 200 {
				t.Errorf("%s: HTTP %d for %s", path, w.Code, body)
			}
		}
		if w := call(h, "POST", path+"?k="+testInbound, `{"list":{}}`, nil); w.Code != 400 {
			t.Errorf("%s: HTTP %d", path, w.Code)
		}
		texts, receipts := in.got()
		if len(texts) != 2 || texts[0].Media != 2 || texts[1].Media != 0 {
			t.Errorf("%s: %+v", path, texts)
		}
		if len(receipts) != 5 {
			t.Fatalf("%s: %+v", path, receipts)
		}
		for i, want := range []sms.DeliveryReceipt{
			{ProviderID: "1", Delivery: sms.Delivered, Code: "a", At: time.UnixMilli(1795432636500).UTC()},
			{ProviderID: "2", Delivery: sms.Undelivered, Code: "4", Class: sms.OptedOut},
			{ProviderID: "3", Delivery: sms.Undelivered, Code: "5", Class: sms.Transient},
			{ProviderID: "4", Delivery: sms.Undelivered, Code: "b", Class: sms.Transient},
			{ProviderID: "5", Delivery: sms.EnRoute},
		} {
			if receipts[i] != want {
				t.Errorf("%s: %+v, want %+v", path, receipts[i], want)
			}
		}
	}
}

// Vonage's older SMS API, as an admin would write it: long replies come in parts.
const nexmo = `
url: https://rest.nexmo.com
request:
  url: "{url}/sms/json"
  numbers: digits
  form: {api_key: "{account}", api_secret: "{secret}", to: "{to}", from: "{from}", text: "{body}", type: "{unicode?unicode:text}", client-ref: "{id}", callback: "{callback}"}
response:
  accepted: {status: 200, json: {messages.0.status: "0"}}
  id: json:messages.0.message-id
  code: json:messages.0.status
  codes: {"1": throttled, "4": auth, "9": no_credit, "15": misconfigured, "*": rejected}
inbound:
  event: {method: [GET], format: query, time: message-timestamp, time_format: "YYYY-MM-DD hh:mm:ss"}
  from: msisdn
  to: to
  text: text
  id: messageId
  parts: {ref: concat-ref, number: concat-part, total: concat-total}
verify: {secret: path}
`

func partOf(ref string, n, total int, text string) string {
	return "/inbound/" + testInbound + "?" + url.Values{"msisdn": {"12025550143"}, "to": {"12125550100"}, "text": {text}, "messageId": {fmt.Sprintf("%s-%d", ref, n)}, "message-timestamp": {"2026-11-23 11:17:16"},
		"concat": {"true"}, "concat-ref": {ref}, "concat-part": {fmt.Sprint(n)}, "concat-total": {fmt.Sprint(total)}}.Encode()
}

func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &book{}
		h := custom(t, nexmo, func(o *Options) { o.URL, o.Now = "", time.Now }).Webhook(in)
		var wg sync.WaitGroup
		codes := make([]int, 4)
		for _, n := range []int{3, 1, 2} {
			wg.Go(func() { codes[n] = call(h, "GET", partOf("r1", n, 3, fmt.Sprintf("part %d ", n)), "", nil).Code })
			synctest.Wait()
			time.Sleep(time.Second)
		}
		wg.Wait()
		texts, _ := in.got()
		if len(texts) != 1 || texts[0].Body != "part 1 part 2 part 3 " || texts[0].ID != "r1-1" || texts[0].At.IsZero() || codes[1]+codes[2]+codes[3] != 600 {
			t.Fatalf("%+v, %v", texts, codes)
		}
		// A part that comes again has been taken.
		if c := call(h, "GET", partOf("r1", 2, 3, "part 2 "), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}

		// Alone, it is kept by the provider; when the other comes, both are there.
		if c := call(h, "GET", partOf("r2", 2, 2, "b"), "", nil).Code; c != 503 {
			t.Errorf("HTTP %d", c)
		}
		time.Sleep(30 * time.Second)
		if c := call(h, "GET", partOf("r2", 1, 2, "a"), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
		if c := call(h, "GET", partOf("r2", 2, 2, "b"), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
		if texts, _ = in.got(); len(texts) != 2 || texts[1].Body != "ab" {
			t.Errorf("%+v", texts)
		}

		// What stays alone is stored as it is, in the end, and what comes too late too.
		if c := call(h, "GET", partOf("r3", 1, 2, "STOP and "), "", nil).Code; c != 503 {
			t.Errorf("HTTP %d", c)
		}
		time.Sleep(3 * time.Minute)
		if c := call(h, "GET", partOf("r3", 1, 2, "STOP and "), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
		if c := call(h, "GET", partOf("r3", 2, 2, "thanks"), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
		if texts, _ = in.got(); len(texts) != 4 || texts[2].Body != "STOP and " || texts[3].Body != "thanks" {
			t.Errorf("%+v", texts)
		}

		// Nothing is acknowledged that is not on disk.
		in.mu.Lock()
		in.err = errors.New("disk full")
		in.mu.Unlock()
		wg.Go(func() { codes[1] = call(h, "GET", partOf("r4", 1, 2, "a"), "", nil).Code })
		synctest.Wait()
		codes[2] = call(h, "GET", partOf("r4", 2, 2, "b"), "", nil).Code
		wg.Wait()
		if codes[1] != 503 || codes[2] != 503 {
			t.Errorf("%v", codes)
		}
		in.mu.Lock()
		in.err = nil
		in.mu.Unlock()
		if c := call(h, "GET", partOf("r4", 1, 2, "a"), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
		if texts, _ = in.got(); len(texts) != 5 || texts[4].Body != "ab" {
			t.Errorf("%+v", texts)
		}

		// The reference comes round within the hour: other words under it are another text, the
		// same under another id too, and neither hides what is offered again.
		again := func(id, body string, n int) int {
			return call(h, "GET", strings.Replace(partOf("r8", n, 2, body), "messageId=r8-", "messageId="+id, 1), "", nil).Code
		}
		pair := func(id, a, b string) {
			t.Helper()
			wg.Go(func() { codes[1] = again(id+"1", a, 1) })
			synctest.Wait()
			codes[2] = again(id+"2", b, 2)
			if wg.Wait(); codes[1] != 200 || codes[2] != 200 {
				t.Errorf("%s: %v", id, codes)
			}
		}
		pair("a", "please ", "stop")
		pair("b", "and ", "more")
		pair("c", "please ", "stop")
		pair("a", "please ", "stop") // offered again
		if texts, _ = in.got(); len(texts) != 8 || texts[5].Body != "please stop" || texts[6].Body != "and more" || texts[7].Body != "please stop" || texts[7].ID != "c11" {
			t.Errorf("%+v", texts[5:])
		}
		// Half of one, then another: the half is stored, and what comes of it after all.
		if c := again("d1", "half ", 1); c != 503 {
			t.Errorf("HTTP %d", c)
		}
		pair("e", "a ", "whole")
		if c := again("d1", "half ", 1); c != 200 {
			t.Errorf("HTTP %d", c)
		}
		if texts, _ = in.got(); len(texts) != 10 || texts[8].Body != "half " || texts[9].Body != "a whole" {
			t.Errorf("%+v", texts[8:])
		}

		// Numbers that make no sense, and another sender's with the same reference.
		for _, bad := range [][2]int{{0, 2}, {3, 2}, {1, 0}, {1, maxParts + 1}} {
			if c := call(h, "GET", partOf("r5", bad[0], bad[1], "x"), "", nil).Code; c != 400 {
				t.Errorf("part %v: HTTP %d", bad, c)
			}
		}
		if c := call(h, "GET", partOf("r6", 1, 2, "mine"), "", nil).Code; c != 503 {
			t.Errorf("HTTP %d", c)
		}
		if c := call(h, "GET", strings.Replace(partOf("r6", 2, 2, "theirs"), "12025550143", "12025550144", 1), "", nil).Code; c != 503 {
			t.Errorf("HTTP %d", c)
		}
		if c := call(h, "GET", "/inbound/"+testInbound+"?msisdn=12025550143&text=short&messageId=s", "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
		// However many are begun, memory is bounded.
		for i := range maxSets + 10 {
			r := httptest.NewRequest("GET", partOf(fmt.Sprintf("flood-%d", i), 1, 2, "x"), nil)
			ctx, cancel := context.WithTimeout(r.Context(), 0)
			h.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
			cancel()
		}
		time.Sleep(2 * time.Hour)
		if c := call(h, "GET", partOf("r7", 1, 1, "one of one"), "", nil).Code; c != 200 {
			t.Errorf("HTTP %d", c)
		}
	})
}

// The same Spec hands texts in.
func TestNexmo(t *testing.T) {
	answers := map[string]string{"0": `{"message-count":"1","messages":[{"to":"12025550143","message-id":"0C000000217B7F02","status":"0"}]}`, "4": `{"messages":[{"status":"4"}]}`, "33": `{"messages":[{"status":"33","error-text":"x"}]}`}
	status := "0"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sms/json" || r.FormValue("api_secret") != testSecret || r.FormValue("type") != "unicode" || r.FormValue("text") != message.Body || r.FormValue("to") != "12025550143" {
			t.Errorf("%v", r.Form)
		}
		_, _ = w.Write([]byte(answers[status]))
	}))
	defer s.Close()
	tr := custom(t, nexmo, func(o *Options) { o.URL = s.URL })
	if r, err := tr.Submit(t.Context(), message); err != nil || r.ProviderID != "0C000000217B7F02" {
		t.Errorf("%+v, %v", r, err)
	}
	for code, class := range map[string]sms.Class{"4": sms.Unauthorized, "33": sms.Rejected} {
		status = code
		if _, err := tr.Submit(t.Context(), message); sms.ClassOf(err) != class {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// Whatever is sent, nobody is believed without the secrets, and who is believed
// makes no panic and no text from nobody.
func FuzzWebhook(f *testing.F) {
	now := time.Unix(1795600000, 0)
	type way struct {
		tr   *Transport
		sign func(r *http.Request, body string)
	}
	key := func(name string) func(*http.Request, string) {
		return func(r *http.Request, _ string) {
			if r.URL.RawQuery != "" {
				r.URL.RawQuery += "&"
			}
			r.URL.RawQuery += name + "=" + testInbound
		}
	}
	ways := map[string]way{}
	for _, name := range Presets {
		o := account(name, "http://127.0.0.1:1", "https://office.example/hook")
		o.Now = func() time.Time { return now }
		tr, err := New(o)
		if err != nil {
			f.Fatal(err)
		}
		sign := map[string]func(*http.Request, string){"kannel": key("secret"), "smseagle": key("apikey"),
			"bandwidth": func(r *http.Request, _ string) { r.SetBasicAuth("hook", testInbound) },
			"vonage": func(r *http.Request, body string) {
				r.Header.Set("Authorization", "Bearer "+vonageToken(body, testInbound, now))
			},
			"plivo": func(r *http.Request, _ string) {
				key("secret")(r, "")
				r.Header.Set("X-Plivo-Signature-V2-Nonce", "1")
				r.Header.Set("X-Plivo-Signature-V2", base64.StdEncoding.EncodeToString(mac(sha256.New, testSecret, "https://office.example/hook"+r.URL.EscapedPath()+"1")))
			}}[name]
		ways[name] = way{tr, sign}
	}
	f.Add(true, "from=%2B12025550143&text=hi&charset=UTF-8&id=1&secret=x", "application/x-www-form-urlencoded", "From=12025550143&Text=x&Type=sms&sender=1&text=2")
	f.Add(false, "id=job-1&status=8", "application/json", `[{"type":"message-failed","errorCode":4720,"message":{"id":"1","tag":"t"}}]`)
	f.Add(true, "", "application/json", hello)
	f.Add(false, "", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"Status\"\r\n\r\nsent\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, inbound bool, query, contentType, body string) {
		if strings.Contains(query+body, "secret") || strings.ContainsFunc(query+contentType, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return
		}
		path := map[bool]string{true: "/inbound", false: "/status"}[inbound]
		for name, w := range ways {
			for _, method := range []string{"GET", "POST"} {
				for _, believed := range []bool{false, true} {
					r := httptest.NewRequest(method, path, strings.NewReader(body))
					r.URL.RawQuery = query
					r.Header.Set("Content-Type", contentType)
					if believed {
						w.sign(r, body)
					}
					in := &book{}
					out := httptest.NewRecorder()
					w.tr.Webhook(in).ServeHTTP(out, r)
					texts, receipts := in.got()
					if !believed && (len(texts)+len(receipts) > 0 || out.Code != 403 && out.Code != 401) {
						t.Fatalf("%s: HTTP %d, %v, %v without a secret", name, out.Code, texts, receipts)
					}
					if out.Code == 503 || out.Code == 500 {
						t.Errorf("%s: HTTP %d", name, out.Code)
					}
					for _, m := range texts {
						if m.From == "" || !utf8.ValidString(m.Body) || strings.ContainsAny(m.ID, " \n") {
							t.Errorf("%s: %+v", name, m)
						}
					}
					for _, d := range receipts {
						if d.ProviderID+d.MessageID == "" || d.Delivery == "" || (d.Delivery == sms.Undelivered) != (d.Class != "") || strings.ContainsAny(d.Code, " +\n") {
							t.Errorf("%s: %+v", name, d)
						}
					}
				}
			}
		}
	})
}

func FuzzJWT(f *testing.F) {
	now := time.Unix(1795600000, 0)
	f.Add(vonageToken(hello, testInbound, now), hello)
	f.Add("a.b.c", "")
	f.Fuzz(func(t *testing.T, token, body string) {
		if vonage(token, "a key that nobody has signed with", []byte(body), now) {
			t.Error("believed")
		}
		if vonage(token, testInbound, []byte(body), now) && token != vonageToken(body, testInbound, now) {
			var c any
			part := strings.Split(token, ".")
			if !decoded(part[1], &c) {
				t.Error("believed, and cannot be read")
			}
		}
	})
}

// A receipt names our text even where the answer to the submission was lost.
func TestPlivoNamesOurText(t *testing.T) {
	tr, err := New(account("plivo", "https://sms.example", "https://office.example/hook"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(tr.of(message).text["callback"], "/hook")
	in := &book{}
	body := "MessageUUID=u-1&Status=failed&ErrorCode=200"
	path, _, _ := strings.Cut(rest, "?")
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Plivo-Signature-V2-Nonce": {"1"},
		"X-Plivo-Signature-V2": {base64.StdEncoding.EncodeToString(mac(sha256.New, testSecret, "https://office.example/hook"+path+"1"))}}
	if w := call(tr.Webhook(in), "POST", rest, body, header); w.Code != 200 {
		t.Fatalf("HTTP %d", w.Code)
	}
	_, receipts := in.got()
	if want := (sms.DeliveryReceipt{ProviderID: "u-1", MessageID: "job-1", Delivery: sms.Undelivered, Class: sms.OptedOut, Code: "200"}); len(receipts) != 1 || receipts[0] != want {
		t.Errorf("%+v", receipts)
	}
	// V3, where it comes, is what counts: a good V2 beside it does not help.
	header["X-Plivo-Signature-V3"], header["X-Plivo-Signature-V3-Nonce"] = []string{"x"}, []string{"1"}
	if w := call(tr.Webhook(in), "POST", rest, body, header); w.Code != 403 {
		t.Errorf("HTTP %d", w.Code)
	}
	v := url.Values{"MessageUUID": {"u-1"}, "Status": {"failed"}, "ErrorCode": {"200"}}
	message := "https://office.example/hook/status?id=job-1&secret=" + testInbound + "." + flat(v, "", "") + ".1"
	header["X-Plivo-Signature-V3"] = []string{"other, " + base64.StdEncoding.EncodeToString(mac(sha256.New, testSecret, message))}
	if w := call(tr.Webhook(in), "POST", rest, body, header); w.Code != 200 {
		t.Errorf("HTTP %d", w.Code)
	}
	if w := call(tr.Webhook(in), "POST", rest, body+"0", header); w.Code != 403 {
		t.Errorf("other words: HTTP %d", w.Code)
	}
}
