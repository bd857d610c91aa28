package httpapi

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"textback/sms"
	"textback/sms/smstest"
)

// The providers' own SDKs. Versions are pinned.
var sdks = []string{"@vonage/server-sdk@3.27.0", "plivo@4.79.0", "bandwidth-sdk@8.1.4"}

// request is what a provider would have been sent.
type request struct {
	method, path, auth string
	body               map[string]any
}

// capture answers every provider's submission with yes, and keeps it.
func capture(t *testing.T) (base string, got func() map[string]request) {
	var mu sync.Mutex
	seen := map[string]request{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		q := request{method: r.Method, path: r.URL.RequestURI(), auth: r.Header.Get("Authorization")}
		_ = json.Unmarshal(b, &q.body)
		provider := "bandwidth"
		switch {
		case strings.HasPrefix(q.path, "/v1/messages"):
			provider = "vonage"
		case strings.HasPrefix(q.path, "/v1/Account"):
			provider = "plivo"
		}
		mu.Lock()
		seen[provider] = q
		mu.Unlock()
		answer(w, 202, map[string]any{"message_uuid": []string{"1"}, "id": "1", "message": "queued", "api_id": "1"})
	}))
	t.Cleanup(s.Close)
	return s.URL, func() map[string]request {
		mu.Lock()
		defer mu.Unlock()
		out := seen
		seen = map[string]request{}
		return out
	}
}

type plivoSigned struct {
	Method    string            `json:"method"`
	URI       string            `json:"uri"`
	Nonce     string            `json:"nonce"`
	Token     string            `json:"token"`
	Signature string            `json:"signature"`
	Params    map[string]string `json:"params"`
	V2        bool              `json:"v2"`
	want      bool
}

func TestSDKs(t *testing.T) {
	dir := smstest.NPM(t, sdks...)
	base, got := capture(t)
	now := time.Now()
	at := now.UTC().Truncate(time.Second)
	m := sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "1 + 1 = 2 & \"5€\"; <b>\n😀 é"}

	type vonageSigned struct {
		Token string `json:"token"`
		Key   string `json:"key"`
		want  bool
	}
	tokens := []vonageSigned{
		{vonageToken(`{"a":1}`, testInbound, now), testInbound, true},
		{vonageToken(`{"a":1}`, testInbound, now), "another", false},
		{vonageToken(`{"a":1}`, testInbound, now) + "x", testInbound, false},
	}
	params := map[string]string{"From": "12025550143", "To": "12125550100", "Text": "1 + 1 = 2 & é 😀", "MessageUUID": "u"}
	form := url.Values{}
	for k, v := range params {
		form.Set(k, v)
	}
	var signed []plivoSigned
	for _, uri := range []string{"https://office.example/textback/http/inbound", "https://office.example:8443/textback/http/status?secret=a-b_c&id=job-1", "https://office.example/inbound?b=2&a=1"} {
		for _, method := range []string{"POST", "GET"} {
			p := params
			f := form
			if method == "GET" {
				p, f = map[string]string{}, nil
			}
			u, _ := url.Parse(uri)
			q, _ := url.ParseQuery(u.RawQuery)
			message := "https://" + u.Host + u.Path
			if len(q)+len(f) > 0 {
				message += "?" + flat(q, "=", "&")
			}
			if len(q) > 0 && len(f) > 0 {
				message += "."
			}
			message += flat(f, "", "") + ".12345"
			s := base64.StdEncoding.EncodeToString(mac(sha256.New, testSecret, message))
			signed = append(signed, plivoSigned{method, uri, "12345", testSecret, s, p, false, true}, plivoSigned{method, uri, "12345", testSecret, "other," + s, p, false, true},
				plivoSigned{method, uri, "12346", testSecret, s, p, false, false}, plivoSigned{method, uri + "x", "12345", testSecret, s, p, false, false},
				plivoSigned{method, uri, "12345", "another", s, p, false, false})
		}
		bare, _, _ := strings.Cut(uri, "?")
		s := base64.StdEncoding.EncodeToString(mac(sha256.New, testSecret, bare+"12345"))
		signed = append(signed, plivoSigned{"POST", uri, "12345", testSecret, s, nil, true, true}, plivoSigned{"POST", uri, "1", testSecret, s, nil, true, false})
	}
	const callback = "https://office.example/hook/status"
	var out struct {
		Sent   map[string]any
		Vonage []bool
		Plivo  []bool
		Token  string
		Body   string
		Access struct {
			Ours, Theirs struct{ Header, Payload map[string]any }
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	o := account("vonage", base, "https://office.example/hook")
	o.PrivateKey = private
	o.Values["application"] = "app-1"
	app, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := app.request(m)
	if err != nil {
		t.Fatal(err)
	}
	access, bearer := strings.CutPrefix(shown.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		t.Fatal("no token")
	}
	smstest.Node(t, dir, "testdata/sdk.js", map[string]any{"base": base, "account": "acc1", "user": "office", "secret": testSecret,
		"message": map[string]any{"id": m.ID, "to": m.To, "from": m.From, "text": m.Body, "ttl": 900, "callback": callback, "application": "app-1", "expires": at.Add(15 * time.Minute)},
		"tokens":  tokens, "plivo": signed, "pem": string(private), "access": access,
		"publicPem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}, &out)
	theirs := got()

	// Our requests are theirs, field by field.
	for _, name := range []string{"vonage", "plivo", "bandwidth"} {
		t.Run(name, func(t *testing.T) {
			o := account(name, base, "https://office.example/hook")
			o.Now = func() time.Time { return at }
			tr, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = tr.Submit(t.Context(), m) // the answer is not this provider's in all
			ours, want := got()[name], theirs[name]
			if want.path == "" {
				t.Fatalf("the SDK sent nothing: %v", out.Sent[name])
			}
			if ours.method != want.method || ours.path != want.path || ours.auth != want.auth {
				t.Errorf("ours %s %s, theirs %s %s, credentials alike: %v", ours.method, ours.path, want.method, want.path, ours.auth == want.auth)
			}
			if name == "plivo" { // the id in the URL is ours to add
				if u := str(ours.body["url"]); u != callback+"?secret="+testInbound+"&id=job-1" {
					t.Errorf("url is %q", u)
				}
				ours.body["url"] = callback
			}
			if name == "bandwidth" { // times are written in two ways
				for _, r := range []request{ours, want} {
					e, err := time.Parse(time.RFC3339, str(r.body["expiration"]))
					if err != nil || !e.Equal(at.Add(15*time.Minute)) {
						t.Errorf("expiration is %v", r.body["expiration"])
					}
					delete(r.body, "expiration")
				}
			}
			for _, key := range slices.Sorted(maps.Keys(want.body)) {
				if !reflect.DeepEqual(ours.body[key], want.body[key]) {
					t.Errorf("%s: ours %#v, theirs %#v", key, ours.body[key], want.body[key])
				}
				delete(ours.body, key)
			}
			if len(ours.body) > 0 {
				t.Errorf("only ours: %v", ours.body)
			}
		})
	}

	// The token of an application has what theirs has, and Vonage's library believes it.
	ours, theirToken := out.Access.Ours, out.Access.Theirs
	for key := range theirToken.Payload {
		if ours.Payload[key] == nil {
			t.Errorf("our token lacks %s", key)
		}
	}
	life := func(p map[string]any) any { e, _ := p["exp"].(float64); i, _ := p["iat"].(float64); return e - i }
	if !reflect.DeepEqual(ours.Header, theirToken.Header) || ours.Payload["application_id"] != "app-1" || life(ours.Payload) != life(theirToken.Payload) || len(ours.Payload) != len(theirToken.Payload) {
		t.Errorf("ours %v, theirs %v", ours, theirToken)
	}
	again, _ := app.request(m)
	if again.Header.Get("Authorization") == shown.Header.Get("Authorization") {
		t.Error("the same token twice")
	}

	// Signatures, both ways.
	for i, want := range tokens {
		if out.Vonage[i] != want.want {
			t.Errorf("Vonage's SDK says %v of token %d", out.Vonage[i], i)
		}
	}
	if !vonage(out.Token, testSecret, []byte(out.Body), time.Now()) {
		t.Error("a token made by Vonage's library is not believed")
	}
	if vonage(out.Token, testSecret, []byte(out.Body+" "), time.Now()) || vonage(out.Token, "another", []byte(out.Body), time.Now()) || vonage(out.Token, testSecret, []byte(out.Body), time.Now().Add(6*time.Minute)) {
		t.Error("a token is believed of another body, key or time")
	}
	for i, s := range signed {
		ours := s.V2 && plivoV2(s.URI, s.Nonce, s.Signature, s.Token) || !s.V2 && plivoV3(s.Method, s.URI, s.Nonce, s.Signature, s.Token, values1(s.Params))
		if ours != s.want || out.Plivo[i] != s.want {
			t.Errorf("%+v: ours says %v, Plivo's SDK %v", s, ours, out.Plivo[i])
		}
	}
	if t.Failed() {
		t.Logf("%v", out.Sent)
	}
}

func values1(m map[string]string) url.Values {
	v := url.Values{}
	for k, s := range m {
		v.Set(k, s)
	}
	return v
}

// The examples in Bandwidth's own OpenAPI document are read as what they are.
func TestSDKsBandwidthExamples(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(smstest.NPM(t, sdks...), "node_modules/bandwidth-sdk/bandwidth.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Examples map[string]struct{ Value any }
		}
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	tr, err := New(account("bandwidth", "https://sms.example", "https://office.example/hook"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path    string
		receipt sms.DeliveryReceipt
		inbound sms.Inbound
	}{
		"messageSendingCallbackExample":      {"/status", sms.DeliveryReceipt{Delivery: sms.EnRoute, ProviderID: "1593110555875xo7watq5px6rbe5d", Code: "message-sending"}, sms.Inbound{}},
		"messageSentCallbackExample":         {"/status", sms.DeliveryReceipt{Delivery: sms.EnRoute, ProviderID: "1593110555875xo7watq5px6rbe5d", Code: "message-sent"}, sms.Inbound{}},
		"smsMessageDeliveredCallbackExample": {"/status", sms.DeliveryReceipt{Delivery: sms.Delivered, ProviderID: "14762070468292kw2fuqty55yp2b2", Code: "message-delivered"}, sms.Inbound{}},
		"messageFailedCallbackExample":       {"/status", sms.DeliveryReceipt{Delivery: sms.Undelivered, ProviderID: "14762070468292kw2fuqty55yp2b2", Code: "4432", Class: sms.RegionDenied}, sms.Inbound{}},
		"smsMessageReceivedCallbackExample":  {"/inbound", sms.DeliveryReceipt{}, sms.Inbound{From: "+12345678902", To: "+12345678901"}},
		"mmsMessageReceivedCallbackExample":  {"/inbound", sms.DeliveryReceipt{}, sms.Inbound{From: "+12345678902", To: "+12345678901", Media: 1}},
	} {
		v := doc.Components.Examples[name].Value
		if v == nil {
			t.Errorf("%s is not in the document", name)
			continue
		}
		if _, list := v.([]any); !list {
			v = []any{v} // as the documentation of webhooks says they come
		}
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		in := &book{}
		r := httptest.NewRequest("POST", c.path, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth("hook", testInbound)
		w := httptest.NewRecorder()
		tr.Webhook(in).ServeHTTP(w, r)
		texts, receipts := in.got()
		if w.Code != 200 || len(texts)+len(receipts) != 1 {
			t.Errorf("%s: HTTP %d, %d texts, %d receipts\n%s", name, w.Code, len(texts), len(receipts), body)
			continue
		}
		if c.path == "/inbound" {
			if len(texts) != 1 || texts[0].From == "" || texts[0].To == "" || texts[0].ID == "" || texts[0].At.IsZero() || (texts[0].Media > 0) != (c.inbound.Media > 0) {
				t.Errorf("%s: %+v", name, texts)
			}
			continue
		}
		if len(receipts) != 1 {
			t.Errorf("%s: taken for a text", name)
			continue
		}
		d := receipts[0]
		if d.Delivery != c.receipt.Delivery || d.ProviderID != c.receipt.ProviderID || d.Code != c.receipt.Code || d.Class != c.receipt.Class || d.At.IsZero() {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// Public vectors of Plivo's third scheme, from its own test suites; the values are theirs.
func TestPlivoVectors(t *testing.T) {
	const (
		token = "Y2Q2ZDgxZmY5YWRiOTI5YmQ1Njg0MTAxZWIyOTc4"
		nonce = "31627761595286130198"
		bare  = "https://plivobin.non-prod.plivops.com/api/v1/validate_signature03.xml"
	)
	params := values1(map[string]string{
		"Direction": "outbound", "From": "19792014278", "ALegUUID": "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36", "CallStatus": "in-progress", "BillRate": "0.002",
		"ParentAuthID": "MANWVLYTK4ZWU1YTY4QA", "To": "sip:PlivoSignature382029104058171078704104@phone-qa.voice.plivodev.com", "ALegRequestUUID": "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36",
		"CallUUID": "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36", "RequestUUID": "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36",
		"SIP-H-To": "<sip:PlivoSignature382029104058171078704104@52.9.11.55;transport=udp>;tag=1", "SessionStart": "2020-04-08 11:34:33.238707", "Event": "StartApp",
	})
	for _, c := range []struct {
		method, url, signature string
	}{
		{"POST", bare + "/?a=b&c=d", "k7Pusd4OxCIjR5IfA9iedDNu/h/gbdYqdzG/MiYtd1c="},
		{"POST", bare, "iAjE5QqI37mbkYe4w3jTMudqEzbDufdqi7sYwTu64e0="},
		// Of a GET the parameters are its query.
		{"GET", bare + "/?a=b&c=d&" + params.Encode(), "UBq8jAtd32wR8EK9VgxbBn4n5rpI/l1H9iN4WfSEHFQ="},
		{"GET", bare + "?" + params.Encode(), "i/MQsaQSAd6fiKhOh2qeeeLHZ9faldADSb3/7+Akfbc="},
	} {
		form := params
		if c.method == "GET" {
			form = nil
		}
		if !plivoV3(c.method, c.url, nonce, c.signature, token, form) {
			t.Errorf("%s %s is not believed", c.method, c.url)
		}
		if plivoV3(c.method, c.url, nonce, strings.ToLower(c.signature), token, form) || plivoV3(c.method, c.url, "", c.signature, token, form) || plivoV3(c.method, c.url, nonce, c.signature, "", form) {
			t.Errorf("%s %s is believed of anything", c.method, c.url)
		}
	}
	if !plivoV2("https://answer.url", "12345", "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=", "my_auth_token") {
		t.Error("the second scheme's vector is not believed")
	}
}
