package emulator

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The provider waits so long for an answer to a call of its own.
const patience = 15 * time.Second

// Received are the texts that phones have sent, oldest first.
func (e *Emulator) Received() []Text {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Text, len(e.inbound))
	for i, t := range e.inbound {
		out[i] = *t
	}
	return out
}

// Reply is a text from a phone to a number of the account: it is listed from now
// on, and the webhook is called if there is one. The error says that the webhook
// did not take it; the provider lets it rest then, and so does Reply. Repeat calls again.
func (e *Emulator) Reply(ctx context.Context, from, to, body string) (sid string, err error) {
	return e.Arrive(ctx, Text{From: from, To: to, Body: body})
}

// Arrive is Reply for a text that may bring Media.
func (e *Emulator) Arrive(ctx context.Context, text Text) (sid string, err error) {
	t := &Text{From: text.From, To: text.To, Body: text.Body, Media: text.Media, At: time.Now(), Status: "received", Inbound: true}
	e.mu.Lock()
	e.inbound = append(e.inbound, t)
	t.SID = fmt.Sprintf("SM1%031x", len(e.inbound))
	e.mu.Unlock()
	return t.SID, e.Repeat(ctx, t.SID)
}

// Repeat calls the webhook with a text that Reply has brought.
func (e *Emulator) Repeat(ctx context.Context, sid string) error {
	e.mu.Lock()
	i := slices.IndexFunc(e.inbound, func(t *Text) bool { return t.SID == sid })
	if i < 0 {
		e.mu.Unlock()
		return errors.New("emulator: no such reply")
	}
	t := *e.inbound[i]
	e.mu.Unlock()
	if e.InboundURL == "" {
		return nil
	}
	form := url.Values{
		"ToCountry": {"US"}, "SmsMessageSid": {t.SID}, "NumMedia": {strconv.Itoa(t.Media)}, "FromZip": {""}, "SmsSid": {t.SID}, "SmsStatus": {"received"},
		"Body": {t.Body}, "FromCountry": {"US"}, "To": {t.To}, "NumSegments": {"1"}, "MessageSid": {t.SID}, "AccountSid": {e.AccountSID},
		"From": {t.From}, "ApiVersion": {"2010-04-01"},
	}
	if keyword := strings.ToUpper(strings.TrimSpace(t.Body)); e.OptOuts && (keyword == "STOP" || keyword == "START" || keyword == "HELP") {
		form.Set("OptOutType", keyword)
	}
	return e.call(ctx, e.InboundURL, form)
}

// Deliver changes what is said of a text that was taken ("sent", "delivered",
// "undelivered" …), with an error code or 0, and calls its StatusCallback if it has one.
func (e *Emulator) Deliver(ctx context.Context, sid, status string, code int) error {
	e.mu.Lock()
	i := slices.IndexFunc(e.texts, func(t *Text) bool { return t.SID == sid })
	if i < 0 {
		e.mu.Unlock()
		return errors.New("emulator: no such text")
	}
	e.texts[i].Status, e.texts[i].Code, e.texts[i].Updated = status, code, time.Now()
	t := *e.texts[i]
	e.mu.Unlock()
	if t.StatusCallback == "" {
		return nil
	}
	form := url.Values{"SmsSid": {t.SID}, "SmsStatus": {status}, "MessageStatus": {status}, "To": {t.To}, "MessageSid": {t.SID},
		"AccountSid": {e.AccountSID}, "From": {t.From}, "ApiVersion": {"2010-04-01"}}
	if code != 0 {
		form.Set("ErrorCode", strconv.Itoa(code))
	}
	return e.call(ctx, t.StatusCallback, form)
}

// call posts a signed form to a URL of the client's.
func (e *Emulator) call(ctx context.Context, u string, form url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at := u
	if e.Reach != nil {
		at = e.Reach(u)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	r.Header.Set("X-Twilio-Signature", Sign(e.AuthToken, u, form))
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("emulator: the webhook answers HTTP %d: %s", resp.StatusCode, strings.TrimSpace(string(b)))
	}
	return nil
}

// Sign is the signature that the provider puts on a form posted to u.
func Sign(token, u string, form url.Values) string {
	text := u
	for _, name := range slices.Sorted(maps.Keys(form)) {
		text += name + form.Get(name)
	}
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
