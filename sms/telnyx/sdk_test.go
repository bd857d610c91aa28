package telnyx

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
)

// The provider's own SDK: it believes the webhooks that our handler believes and no
// others, and sends the request that ours must be like.
const sdk = "telnyx@7.24.0"

func TestTelnyxSDK(t *testing.T) {
	dir := smstest.NPM(t, sdk)
	type webhook struct {
		Body    string            `json:"body"`
		Headers map[string]string `json:"headers"`
	}
	flat := func(h http.Header) map[string]string {
		m := map[string]string{}
		for k, v := range h {
			m[strings.ToLower(k)] = v[0]
		}
		return m
	}
	body, now := received(fields{"text": "Grüße 😀 <&> \"it\""}), time.Now()
	late := received(fields{"text": "late"})
	webhooks := []webhook{
		{body, flat(sign(private, now, body))},
		{body, flat(sign(private, now.Add(-4*time.Minute), body))},
		{body + " ", flat(sign(private, now, body))},
		{late, flat(sign(private, now.Add(-6*time.Minute), late))},
		{late, flat(sign(private, now.Add(6*time.Minute), late))},
		{body, nil},
	}
	type request struct{ Method, Path, Type, Auth, Body string }
	var got struct {
		Webhooks []struct{ ID, Refused string }
		Requests []request
	}
	smstest.Node(t, dir, "testdata/sdk.js", fields{"key": testKey, "publicKey": publicKey, "profile": testProfile, "webhooks": webhooks,
		"message": fields{"from": testFrom, "to": testTo, "text": testBody, "type": "SMS", "webhook_url": public + "/status?job=job-1"}}, &got)

	for i, w := range webhooks {
		in := &store{}
		h := http.Header{}
		for k, v := range w.Headers {
			h.Set(k, v)
		}
		code := post(transport(t, "https://sms.example", open).Webhook(in), "/inbound", w.Body, h).Code
		theirs := got.Webhooks[i]
		if (code == 204) != (theirs.Refused == "") || i < 2 && (code != 204 || theirs.ID != in.inbound[0].ID) || i >= 2 && code != 403 {
			t.Errorf("%d: HTTP %d; the SDK: %+v", i, code, theirs)
		}
	}

	var ours []request
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		ours = append(ours, request{r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(b)})
		io.WriteString(w, taken)
	})
	if _, err := transport(t, s.URL, open).Submit(t.Context(), sms.Message{ID: "job-1", From: testFrom, To: testTo, Body: testBody}); err != nil {
		t.Fatal(err)
	}
	if err := transport(t, s.URL, func(o *Options) { o.MessagingProfileID = testProfile }).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(ours) != 2 || len(got.Requests) != 2 {
		t.Fatalf("%d of ours, %d of theirs", len(ours), len(got.Requests))
	}
	for i := range ours {
		a, b := ours[i], got.Requests[i]
		var x, y any
		_ = json.Unmarshal([]byte(a.Body), &x)
		_ = json.Unmarshal([]byte(b.Body), &y)
		if !reflect.DeepEqual(x, y) || i == 0 && x == nil {
			t.Errorf("our body %v, theirs %v", x, y)
		}
		a.Body, b.Body = "", ""
		if a != b {
			t.Errorf("our request %+v, theirs %+v", a, b)
		}
	}
}
