package twilio

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/emulator"
	"textback/sms/smstest"
)

// The provider's own SDK: it makes signatures that we must believe, believes ours,
// and sends the request that ours must be like.
const sdk = "twilio@6.2.0"

func TestTwilioSDK(t *testing.T) {
	dir := smstest.NPM(t, sdk)
	type params = map[string]any
	type signed struct {
		Token     string `json:"token"`
		URL       string `json:"url"`
		Params    params `json:"params,omitempty"`
		Body      string `json:"body,omitempty"`
		Signature string `json:"signature"`

		form url.Values
	}
	with := func(token, u string, form url.Values) signed {
		p := params{}
		for k, v := range form {
			if p[k] = v[0]; len(v) > 1 {
				p[k] = v
			}
		}
		return signed{Token: token, URL: u, Params: p, Signature: sign(token, u, form), form: form}
	}
	forms := []signed{
		with(testToken, public+"/inbound", text(nil)),
		with(testToken, public+"/inbound", text(url.Values{"Body": {"Grüße 😀\r\nline +&=%"}, "MediaUrl0": {"https://a.example/?b=c"}, "NumMedia": {"1"}})),
		with(testToken, public+"/status?job=a%26b+1", url.Values{"MessageSid": {"SM1"}, "MessageStatus": {"sent"}}),
		with(testToken, public+"/inbound", text(url.Values{"Tag": {"b", "a", "b"}})),
		with(testToken, "https://sms.example.com:8443/x/inbound", text(url.Values{"Body": {""}})),
		with("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", url.Values{"CallSid": {"CA1234567890ABCDE"}, "From": {"+14158675309"}}),
	}
	const json = `{"MessageSid":"SM1","From":"` + testTo + `","Body":"hi 😀"}`
	sum := sha256.Sum256([]byte(json))
	hashed := public + "/inbound?bodySHA256=" + hex.EncodeToString(sum[:])
	bodies := []signed{{Token: testToken, URL: hashed, Body: json, Signature: sign(testToken, hashed, nil)}}

	var got struct {
		Forms, Bodies []struct {
			Expected string
			Valid    bool
		}
		Request struct{ Method, Path, Type, Auth, Body string }
	}
	callback := public + "/status?job=job-1"
	smstest.Node(t, dir, "testdata/sdk.js", map[string]any{"forms": forms, "bodies": bodies, "account": testAccount, "token": testToken,
		"message": params{"to": testTo, "from": testFrom, "body": testBody, "validityPeriod": 900, "statusCallback": callback}}, &got)

	for i, f := range forms {
		if g := got.Forms[i]; !g.Valid || g.Expected != f.Signature {
			t.Errorf("%s %v: ours %s, theirs %s, valid: %v", f.URL, f.Params, f.Signature, g.Expected, g.Valid)
		}
		// Theirs, through the handler.
		base, path, _ := strings.Cut(f.URL, "/inbound")
		if strings.Contains(f.URL, "/status") || path != "" || strings.Contains(f.URL, "myapp") {
			continue
		}
		in := &store{}
		tr := transport(t, "https://sms.example", func(o *Options) { o.PublicURL, o.WebhookToken = base, f.Token })
		w := call{path: "/inbound", contentType: formType, body: f.form.Encode(), header: http.Header{"X-Twilio-Signature": {got.Forms[i].Expected}}}.do(tr.Webhook(in))
		if w.Code != 200 || len(in.inbound) != 1 {
			t.Errorf("%s: HTTP %d", f.URL, w.Code)
		}
		if e := emulator.Sign(f.Token, f.URL, f.form); len(f.form["Tag"]) == 0 && e != f.Signature {
			t.Errorf("the emulator signs %s", e)
		}
	}
	for i, b := range bodies {
		if g := got.Bodies[i]; !g.Valid || g.Expected != b.Signature {
			t.Errorf("JSON: ours %s, theirs %s, valid: %v", b.Signature, g.Expected, g.Valid)
		}
	}

	var ours struct{ Method, Path, Type, Auth, Body string }
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		ours.Method, ours.Path, ours.Type, ours.Auth, ours.Body = r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(b)
		w.WriteHeader(201)
		io.WriteString(w, created)
	})
	if _, err := transport(t, s.URL, open, func(o *Options) { o.Validity = 15 * time.Minute }).Submit(t.Context(), sms.Message{ID: "job-1", From: testFrom, To: testTo, Body: testBody}); err != nil {
		t.Fatal(err)
	}
	a, err1 := url.ParseQuery(ours.Body)
	b, err2 := url.ParseQuery(got.Request.Body)
	if err1 != nil || err2 != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("our form %v, theirs %v", a, b)
	}
	ours.Body, got.Request.Body = "", ""
	if ours != got.Request {
		t.Errorf("our request %+v, theirs %+v", ours, got.Request)
	}
}
