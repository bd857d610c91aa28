package emulator_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"textback/sms/emulator"
)

// office is where the provider calls, and what it said there.
func office(t *testing.T, e *emulator.Emulator, status *int) *[]url.Values {
	t.Helper()
	var calls []url.Values
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		form, err := url.ParseQuery(string(b))
		if err != nil || r.Header.Get("X-Twilio-Signature") != emulator.Sign(e.AuthToken, "https://office.example"+r.URL.RequestURI(), form) {
			t.Errorf("%s: %q is not signed: %v", r.URL, b, err)
		}
		calls = append(calls, form)
		w.WriteHeader(*status)
	}))
	t.Cleanup(s.Close)
	e.Reach = func(u string) string { return strings.Replace(u, "https://office.example", s.URL, 1) }
	return &calls
}

func TestReply(t *testing.T) {
	e, status := emulator.New(), 200
	calls := office(t, e, &status)
	// Listed only, without a webhook.
	sid, err := e.Reply(t.Context(), "+12025550143", "+12125550100", "stop")
	if err != nil || len(*calls) != 0 || len(e.Received()) != 1 || e.Received()[0].SID != sid || !e.Received()[0].Inbound {
		t.Fatalf("%v, %d calls, %+v", err, len(*calls), e.Received())
	}
	e.InboundURL, e.OptOuts = "https://office.example/inbound?a=1", true
	if err := e.Repeat(t.Context(), sid); err != nil {
		t.Error(err)
	}
	if got := (*calls)[0]; got.Get("MessageSid") != sid || got.Get("Body") != "stop" || got.Get("OptOutType") != "STOP" || got.Get("From") != "+12025550143" || got.Get("NumMedia") != "0" {
		t.Errorf("%v", got)
	}
	if _, err := e.Arrive(t.Context(), emulator.Text{From: "+12025550143", To: "+12125550100", Body: "please stop by", Media: 2}); err != nil {
		t.Error(err)
	}
	if got := (*calls)[1]; got.Has("OptOutType") || got.Get("NumMedia") != "2" || got.Get("MessageSid") == sid {
		t.Errorf("%v", got)
	}
	status = 503
	if err := e.Repeat(t.Context(), sid); err == nil || len(e.Received()) != 2 {
		t.Error("a webhook that refuses is told of")
	}
	if e.Repeat(t.Context(), "SM1") == nil {
		t.Error("no such reply")
	}
}

func TestDeliver(t *testing.T) {
	e, status := emulator.New(), 204
	calls := office(t, e, &status)
	form := url.Values{"To": {message.To}, "From": {message.From}, "Body": {message.Body}, "StatusCallback": {"https://office.example/status?job=1"}}
	r := httptest.NewRequest("POST", "/2010-04-01/Accounts/"+e.AccountSID+"/Messages.json", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(e.AccountSID, e.AuthToken)
	w := httptest.NewRecorder()
	if e.ServeHTTP(w, r); w.Code != 201 {
		t.Fatal(w.Code)
	}
	sid := e.Texts()[0].SID
	if err := e.Deliver(t.Context(), sid, "undelivered", 30006); err != nil {
		t.Error(err)
	}
	if got := (*calls)[0]; got.Get("MessageSid") != sid || got.Get("MessageStatus") != "undelivered" || got.Get("ErrorCode") != "30006" {
		t.Errorf("%v", got)
	}
	if x := e.Texts()[0]; x.Status != "undelivered" || x.Code != 30006 || x.Updated.IsZero() {
		t.Errorf("%+v", x)
	}
	if e.Deliver(t.Context(), "SM1", "sent", 0) == nil {
		t.Error("no such text")
	}
	if status = 500; e.Deliver(t.Context(), sid, "delivered", 0) == nil {
		t.Error("a callback that fails is told of")
	}
}
