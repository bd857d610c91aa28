package twilio

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"textback/sms"
	"textback/sms/hook"
	"textback/sms/once"
)

// maxWebhook is ample: 1600 characters and ten pictures' links are 20 KB.
const maxWebhook = 64 << 10

// Signatures. Compatible providers name theirs after themselves and sign the same way.
var signatureHeaders = []string{"X-Twilio-Signature", "X-SignalWire-Signature"}

// nothingToSay is TwiML without a verb: the caller gets no automatic answer.
const nothingToSay = `<?xml version="1.0" encoding="UTF-8"?><Response></Response>`

// Webhook takes what the provider calls: "/inbound" below the public URL, to be
// set for the number or the messaging service in the provider's console (HTTP
// POST), and "/status", which every text names itself.
//
// A signature has no time in it, so whoever has seen one request can repeat it:
// the Inbox takes one id once, and nothing else follows from a repetition. The
// provider calls once and does not come again by itself; what was refused
// with 503 is found by polling, if Options.Poll is set.
func (t *Transport) Webhook(in sms.Inbox) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+hook.Inbound, func(w http.ResponseWriter, r *http.Request) {
		if f, ok := t.believed(w, r, hook.Inbound); ok {
			m, err := inbound(f)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if in.Received(r.Context(), m) != nil {
				hook.Again(w)
				return
			}
			w.Header().Set("Content-Type", "text/xml; charset=utf-8")
			_, _ = io.WriteString(w, nothingToSay)
		}
	})
	mux.HandleFunc("POST "+hook.Status, func(w http.ResponseWriter, r *http.Request) {
		if f, ok := t.believed(w, r, hook.Status); ok {
			d, err := receipt(f, hook.MessageID(r.URL.RawQuery))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if in.Receipt(r.Context(), d) != nil {
				hook.Again(w)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	})
	return mux
}

// believed reads a request and checks its signature. When ok is false it has answered.
func (t *Transport) believed(w http.ResponseWriter, r *http.Request, path string) (f fields, ok bool) {
	body, ok := hook.Body(w, r, maxWebhook)
	if !ok {
		return nil, false
	}
	form, err := parse(r.Header.Get("Content-Type"), body)
	// An unreadable body is nobody's secret, but who sends one without a signature is told nothing.
	if t.opt.PublicURL == "" || !t.signed(r, path, form, body) {
		http.Error(w, "the signature does not fit this URL and body", http.StatusForbidden)
		return nil, false
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, false
	}
	return fields(form), true
}

// parse reads a form, or the same names and values as a flat JSON object.
func parse(contentType string, body []byte) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, errors.New("no Content-Type")
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, errors.New("not a form")
		}
		return form, nil
	case "application/json":
		var flat map[string]once.Word
		if json.Unmarshal(body, &flat) != nil {
			return nil, errors.New("not a JSON object")
		}
		form := url.Values{}
		for k, v := range flat {
			form.Set(k, string(v))
		}
		return form, nil
	}
	return nil, errors.New("neither a form nor JSON")
}

// signed reports whether r bears a signature over the configured URL, the query
// that it came with, and what it says.
func (t *Transport) signed(r *http.Request, path string, form url.Values, body []byte) bool {
	target := t.opt.PublicURL + path
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	// The hash in the query stands for the body, and the query is signed.
	if hash := r.URL.Query()["bodySHA256"]; len(hash) > 0 {
		sum := sha256.Sum256(body)
		if len(hash) != 1 || subtle.ConstantTimeCompare([]byte(strings.ToLower(hash[0])), []byte(hex.EncodeToString(sum[:]))) != 1 {
			return false
		}
		form = nil
	} else if form == nil {
		return false
	}
	ok := 0
	for _, header := range signatureHeaders {
		for _, got := range r.Header.Values(header) {
			for _, u := range spellings(target) {
				ok |= subtle.ConstantTimeCompare([]byte(got), []byte(sign(t.opt.WebhookToken, u, form)))
			}
		}
	}
	return ok == 1
}

// spellings are u with and without its port: providers are not of one mind
// about which of them they sign.
func spellings(u string) []string {
	p, err := url.Parse(u)
	if err != nil {
		return nil
	}
	scheme, rest, _ := strings.Cut(u, "://")
	rest = strings.TrimPrefix(rest, p.Host)
	host, port := strings.TrimSuffix(p.Host, ":"+p.Port()), p.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[scheme]
	}
	return []string{scheme + "://" + host + rest, scheme + "://" + host + ":" + port + rest}
}

// sign makes the provider's signature: base64 of HMAC-SHA1 over the URL and, sorted,
// each name with each of its values.
func sign(token, u string, form url.Values) string {
	mac := hmac.New(sha1.New, []byte(token))
	io.WriteString(mac, u)
	for _, k := range slices.Sorted(maps.Keys(form)) {
		for _, v := range slices.Compact(slices.Sorted(slices.Values(form[k]))) {
			io.WriteString(mac, k+v)
		}
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// fields are a believed request's.
type fields url.Values

// one returns the value of the first of names that is there. ok is false when it
// comes twice with different values: then nobody can say which is meant.
func (f fields) one(names ...string) (v string, ok bool) {
	for _, name := range names {
		all := f[name]
		if len(all) == 0 {
			continue
		}
		for _, v := range all[1:] {
			if v != all[0] {
				return "", false
			}
		}
		return strings.ToValidUTF8(all[0], "\uFFFD"), true
	}
	return "", true
}

// inbound makes a text of a request to the inbound webhook.
func inbound(f fields) (sms.Inbound, error) {
	var m sms.Inbound
	var media, keyword string
	for _, want := range []struct {
		to    *string
		names []string
	}{{&m.ID, []string{"MessageSid", "SmsMessageSid", "SmsSid"}}, {&m.From, []string{"From"}}, {&m.To, []string{"To"}},
		{&m.Body, []string{"Body"}}, {&media, []string{"NumMedia"}}, {&keyword, []string{"OptOutType"}}} {
		var ok bool
		if *want.to, ok = f.one(want.names...); !ok {
			return sms.Inbound{}, errors.New(want.names[0] + " comes twice")
		}
	}
	if m.ID = once.Word(m.ID).Clean(); m.ID == "" || m.From == "" {
		return sms.Inbound{}, errors.New("not a text: MessageSid or From is missing")
	}
	n, _ := strconv.Atoi(media)
	m.Media = max(n, 0)
	switch keyword {
	case "STOP", "START", "HELP":
		m.Keyword = keyword
	}
	return m, nil
}

// receipt makes a delivery receipt of a request to the status callback.
func receipt(f fields, messageID string) (sms.DeliveryReceipt, error) {
	id, ok1 := f.one("MessageSid", "SmsSid")
	status, ok2 := f.one("MessageStatus", "SmsStatus")
	code, ok3 := f.one("ErrorCode")
	if !ok1 || !ok2 || !ok3 {
		return sms.DeliveryReceipt{}, errors.New("a field comes twice")
	}
	d := delivery(once.Word(id), once.Word(status), once.Word(code))
	if d.ProviderID == "" || once.Word(status).Clean() == "" {
		return sms.DeliveryReceipt{}, errors.New("not a receipt: MessageSid or MessageStatus is missing")
	}
	d.MessageID = messageID
	return d, nil
}

// delivery sorts the provider's status word and error code.
func delivery(id, status, code once.Word) sms.DeliveryReceipt {
	d := sms.DeliveryReceipt{ProviderID: id.Clean(), Delivery: sms.EnRoute, Code: status.Clean()}
	switch d.Code {
	case "delivered", "read", "partially_delivered":
		d.Delivery = sms.Delivered
	case "undelivered", "failed", "canceled":
		d.Delivery, d.Class = sms.Undelivered, sms.Rejected
		// 0 is said where there is no error.
		if c := code.Clean(); c != "" && c != "0" {
			d.Code = c
			if class, ok := ClassOfCode(c); ok {
				d.Class = class
			}
		}
	}
	return d
}
