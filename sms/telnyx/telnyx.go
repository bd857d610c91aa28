// Package telnyx is in charge of handing texts to Telnyx (Messaging API v2) and
// of taking what its webhooks tell.
//
// The provider takes no idempotency key and keeps no reference of ours: a text
// whose answer was lost cannot be looked up, because it can be asked for by the
// provider's id only. With a public URL, though, every text names a webhook URL
// that holds our id, and the provider repeats that URL inside what it signs: so
// the first receipt tells by name that the text was taken after all.
package telnyx

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"textback/sms"
	"textback/sms/hook"
	"textback/sms/once"
)

// DefaultBaseURL is Telnyx's API.
const DefaultBaseURL = "https://api.telnyx.com"

// The provider splits a text into at most ten parts.
const maxSegments = 10

// Options say which account sends, and how.
type Options struct {
	APIKey  string
	BaseURL string // DefaultBaseURL when empty; http:// to a loopback address only

	// From (a number, short code or sender name) or MessagingProfileID is used for a
	// Message that has no From of its own. A profile as sender means the profile's number
	// pool, and is needed as well when a name sends.
	From               string
	MessagingProfileID string

	// PublicURL is where the provider reaches the Webhook handler, such as
	// https://sms.example.com/textback/telnyx; empty: nowhere. PublicKey, in base64,
	// is the account's, with which it signs; it must be set then.
	PublicURL string
	PublicKey string

	// AnswersStop: the messaging profile has auto-responses for STOP and HELP. By
	// default it has none: STOP blocks the number, so that nothing sent
	// afterwards arrives, and HELP is left to us.
	AnswersStop bool

	ConnectTimeout time.Duration // to a usable connection, TLS included; zero is 10 s
	AnswerTimeout  time.Duration // from the request to the whole answer; zero is 30 s

	// Now is time.Now when nil.
	Now func() time.Time
}

// Transport sends through one account. It is safe for concurrent use.
type Transport struct {
	opt  Options
	base string
	key  ed25519.PublicKey // nil: no webhooks
	http *once.Client
}

var (
	profileID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	letter    = regexp.MustCompile(`[A-Za-z]`)
)

// New checks opt and returns a Transport. It does not go to the network; see
// Check.
func New(opt Options) (*Transport, error) {
	if opt.BaseURL == "" {
		opt.BaseURL = DefaultBaseURL
	}
	base, err := once.BaseURL(opt.BaseURL, false)
	if err != nil {
		return nil, fmt.Errorf("telnyx: base URL: %w", err)
	}
	if opt.APIKey == "" || strings.ContainsAny(opt.APIKey, " \t\r\n") {
		return nil, errors.New("telnyx: API key: want the one that begins with KEY, from the portal's API Keys page")
	}
	if opt.MessagingProfileID != "" && !profileID.MatchString(opt.MessagingProfileID) {
		return nil, errors.New("telnyx: messaging profile id: want the 36 characters that the portal shows")
	}
	t := &Transport{base: base.String()}
	if opt.PublicURL != "" {
		if opt.PublicURL, err = hook.PublicURL(opt.PublicURL); err != nil {
			return nil, fmt.Errorf("telnyx: public URL: %w", err)
		}
		if opt.PublicKey == "" {
			return nil, errors.New("telnyx: webhooks are signed: the account's public key is needed, from the portal's Keys & Credentials page")
		}
	}
	if opt.PublicKey != "" {
		if t.key, err = ParsePublicKey(opt.PublicKey); err != nil {
			return nil, fmt.Errorf("telnyx: public key: %w", err)
		}
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	t.opt = opt
	t.http = once.New(once.Options{ConnectTimeout: opt.ConnectTimeout, AnswerTimeout: opt.AnswerTimeout})
	return t, nil
}

// ParsePublicKey reads an account's public key as the portal shows it.
func ParsePublicKey(s string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, errors.New("want 44 characters that end in =, as the portal shows them")
	}
	return b, nil
}

// Traits tells how replies and receipts arrive: by webhook or not at all, the
// provider has no list of what came in.
func (t *Transport) Traits() sms.Traits {
	tr := sms.Traits{Name: "telnyx", Replies: sms.NoReplies, MaxSegments: maxSegments, AnswersStop: t.opt.AnswersStop}
	if t.opt.PublicURL != "" {
		tr.Replies, tr.Receipts = sms.ByWebhook, true
	}
	return tr
}

// submission is the request's body.
type submission struct {
	From               string `json:"from,omitempty"`
	MessagingProfileID string `json:"messaging_profile_id,omitempty"`
	To                 string `json:"to"`
	Text               string `json:"text"`
	Type               string `json:"type"`
	WebhookURL         string `json:"webhook_url,omitempty"`
}

// Submit hands m to the provider in one attempt. Its errors are *sms.Error. A
// ctx that ends after the request has left makes the text ambiguous, so give
// it one that outlives an orderly shutdown; Submit's own timeouts are
// Options.ConnectTimeout and Options.AnswerTimeout.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	s := submission{From: m.From, To: m.To, Text: m.Body, Type: "SMS", WebhookURL: hook.StatusURL(t.opt.PublicURL, m.ID)}
	if s.From == "" {
		s.From = t.opt.From
	}
	switch {
	case s.From == "" && t.opt.MessagingProfileID == "":
		return sms.Receipt{}, failure(sms.Misconfigured, "", errors.New("submit: no sender: set from or messaging_profile_id"))
	case s.From == "":
		s.MessagingProfileID = t.opt.MessagingProfileID
	case profileID.MatchString(s.From):
		s.From, s.MessagingProfileID = "", s.From
	case letter.MatchString(s.From):
		s.MessagingProfileID = t.opt.MessagingProfileID
	}
	a, lost := t.http.Submit(ctx, once.JSON(t.base+"/v2/messages", s).Bearer(t.opt.APIKey))
	if lost != nil {
		return sms.Receipt{}, failure(lost.Class, "", fmt.Errorf("submit: %w", lost.Err))
	}
	return verdict(a)
}

// message is what is read of the provider's message, in answers and in webhooks.
type message struct {
	ID               once.Word         `json:"id"`
	Direction        once.Word         `json:"direction"`
	Parts            once.Word         `json:"parts"`
	From             party             `json:"from"`
	To               parties           `json:"to"`
	Text             string            `json:"text"`
	Media            []json.RawMessage `json:"media"`
	AutoresponseType once.Word         `json:"autoresponse_type"`
	WebhookURL       string            `json:"webhook_url"`
	ReceivedAt       string            `json:"received_at"`
	Errors           []problem         `json:"errors"`
}

type party struct {
	PhoneNumber string    `json:"phone_number"`
	Status      once.Word `json:"status"`
}

// parties is a list of recipients. Of other message types it is one string: that
// is nobody then.
type parties []party

func (p *parties) UnmarshalJSON(b []byte) error {
	*p = nil
	if b[0] != '[' {
		return nil
	}
	return json.Unmarshal(b, (*[]party)(p))
}

// status is that of the one recipient a text of ours has.
func (m message) status() once.Word {
	if len(m.To) == 0 {
		return ""
	}
	return m.To[0].Status
}

// verdict makes a receipt or a classed error of an answer.
func verdict(a once.Answer) (sms.Receipt, error) {
	var r struct {
		Data   message   `json:"data"`
		Errors []problem `json:"errors"`
	}
	readable := json.Unmarshal(a.Body, &r) == nil
	if !readable {
		r.Data, r.Errors = message{}, nil
	}
	if a.Status >= 200 && a.Status <= 299 {
		id, status := r.Data.ID.Clean(), r.Data.status().Clean()
		if id == "" {
			// Most likely it was taken, but a captive portal says 200 too.
			return sms.Receipt{}, failure(sms.Ambiguous, "", fmt.Errorf("submit: HTTP %d without a message id", a.Status))
		}
		if final(status) == sms.Undelivered {
			class, code := classOf(r.Data.Errors)
			if class == "" {
				class = sms.Rejected
			}
			return sms.Receipt{}, failure(class, code, fmt.Errorf("submit: taken and %s at once: %s", status, advice(code)))
		}
		n, _ := strconv.Atoi(string(r.Data.Parts))
		return sms.Receipt{ProviderID: id, Segments: max(n, 0), Status: status}, nil
	}
	class, code := classOf(r.Errors)
	if class == "" {
		class = once.ClassOfStatus(a.Status)
	}
	return sms.Receipt{}, failure(class, code, fmt.Errorf("submit: HTTP %d: %s", a.Status, advice(code)))
}

// Check asks for the messaging profile, or for any, to see that the provider can be
// reached and takes the key. It sends nothing. Its errors are *sms.Error, in
// words for an admin.
func (t *Transport) Check(ctx context.Context) error {
	u := t.base + "/v2/messaging_profiles"
	if t.opt.MessagingProfileID != "" {
		u += "/" + t.opt.MessagingProfileID
	} else {
		u += "?" + url.Values{"page[size]": {"1"}}.Encode()
	}
	a, err := t.http.Do(ctx, once.Get(u).Bearer(t.opt.APIKey))
	if err != nil {
		return failure(sms.Transient, "", fmt.Errorf("check: %w", err))
	}
	var r struct {
		Data   json.RawMessage `json:"data"`
		Errors []problem       `json:"errors"`
	}
	readable := json.Unmarshal(a.Body, &r) == nil
	switch {
	case a.Status == http.StatusOK && (!readable || r.Data == nil):
		return failure(sms.Misconfigured, "", errors.New("check: HTTP 200, but not from the Messaging API: check base_url"))
	case a.Status == http.StatusOK:
		return nil
	case a.Status == http.StatusNotFound && t.opt.MessagingProfileID != "":
		return failure(sms.Misconfigured, "", errors.New("check: HTTP 404: no such messaging profile: check messaging_profile_id"))
	}
	class, code := classOf(r.Errors)
	if class == "" {
		class = once.ClassOfStatus(a.Status)
	}
	if class == sms.Ambiguous {
		class = sms.Transient // nothing was submitted
	}
	return failure(class, code, fmt.Errorf("check: HTTP %d: %s", a.Status, advice(code)))
}

// failure keeps returns short.
func failure(class sms.Class, code string, err error) error {
	return &sms.Error{Class: class, Code: code, Err: fmt.Errorf("telnyx: %w", err)}
}
