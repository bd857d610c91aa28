// Package androidgateway is in charge of texts that an Android phone in the
// office sends: the app "SMS Gateway for Android" (capcom6/android-sms-gateway)
// with its local server, on the office's network.
//
// It is the one way out whose texts have ids that we choose and that are taken
// once: what was submitted under an id cannot be submitted again, so an attempt
// without an answer may simply be made again.
//
// Read in the app's source and documentation, not tried on a phone: that a
// repeated id sends nothing (versions before 2026 answer 202 as if for the first
// time, later ones 409), the fields of a message and its states, the six webhook
// events and their signature, that the app calls https:// and 127.0.0.1 only unless it
// is its "insecure" build, and that a message's id in sms:received is made of its
// words, so that two equal ones have the same. Tried here: everything this package does, against an
// emulator written from the same sources.
package androidgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"textback/sms"
	"textback/sms/hook"
	"textback/sms/once"
)

// Options say which phone sends. URL, User and Password are on the app's home
// screen once its local server is switched on.
type Options struct {
	URL      string // such as http://192.168.1.20:8080
	User     string
	Password string

	// PublicURL is the URL below which Webhook's handler is reached by the phone.
	// Empty: no replies, no receipts.
	PublicURL  string
	SigningKey string // of the app's webhooks: Settings → Webhooks → Signing Key; needed with PublicURL

	SIM       int           // 1 or 2; 0 leaves it to the app
	Region    string        // ISO 3166, for numbers that the phone shows without a country code; empty is US
	Validity  time.Duration // a text that the phone cannot send in this time is dropped; 0: never
	PerMinute int           // texts a minute; 0: no limit but the app's own

	ConnectTimeout time.Duration // zero is once's
	AnswerTimeout  time.Duration // zero is once's

	// RegisterEvery is how often Run tells the phone where its webhooks go: somebody
	// may have reset the app. Zero is an hour; after a failure it is a minute.
	RegisterEvery time.Duration
	// Log is told when the phone cannot be told, and when it can again; nil: nobody is.
	Log *slog.Logger

	Now func() time.Time // time.Now when nil
}

// Transport sends through one phone. It is safe for concurrent use.
type Transport struct {
	opt    Options
	base   string
	client *once.Client
}

// New checks opt and returns a Transport. It does not go to the network; see Check.
func New(opt Options) (*Transport, error) {
	// Texts go over the office's network in the clear, as the app's local server knows no TLS.
	base, err := once.GatewayURL(opt.URL)
	if err != nil {
		return nil, fmt.Errorf("androidgateway: URL: %w", err)
	}
	if opt.User == "" || opt.Password == "" {
		return nil, errors.New("androidgateway: user and password: want those on the app's home screen")
	}
	if opt.PublicURL != "" {
		if _, err := once.GatewayURL(opt.PublicURL); err != nil {
			return nil, fmt.Errorf("androidgateway: public URL: %w", err)
		}
		if opt.SigningKey == "" {
			return nil, errors.New("androidgateway: signing key: webhooks prove by it where they come from; it is in the app's settings under Webhooks")
		}
		opt.PublicURL = strings.TrimSuffix(opt.PublicURL, "/")
	}
	if opt.SIM < 0 || opt.SIM > 8 {
		return nil, fmt.Errorf("androidgateway: SIM %d: want its number from 1, or 0 for the app's choice", opt.SIM)
	}
	if opt.Validity < 0 || opt.Validity%time.Second != 0 {
		return nil, fmt.Errorf("androidgateway: validity %s: want whole seconds", opt.Validity)
	}
	if opt.Region == "" {
		opt.Region = "US"
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.RegisterEvery <= 0 {
		opt.RegisterEvery = time.Hour
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Transport{opt: opt, base: base.String(),
		client: once.New(once.Options{ConnectTimeout: opt.ConnectTimeout, AnswerTimeout: opt.AnswerTimeout, MaxAnswer: 256 << 10, NoProxy: once.Near(opt.URL)})}, nil
}

// Traits tells that replies and receipts come by webhook, if the phone can reach us.
func (t *Transport) Traits() sms.Traits {
	tt := sms.Traits{Name: "android", Replies: sms.NoReplies, RatePerSecond: float64(t.opt.PerMinute) / 60}
	if t.opt.PublicURL != "" {
		tt.Replies, tt.Receipts = sms.ByWebhook, true
	}
	return tt
}

// HonoursID: the app sends what it has under one id once.
func (t *Transport) HonoursID() bool { return true }

// outgoing is a message as the app's local server takes it.
type outgoing struct {
	ID       string   `json:"id"`
	Text     text     `json:"textMessage"`
	To       []string `json:"phoneNumbers"`
	SIM      int      `json:"simNumber,omitempty"`
	TTL      int      `json:"ttl,omitempty"` // seconds
	Receipt  bool     `json:"withDeliveryReport"`
	Priority int      `json:"priority,omitempty"`
}

type text struct {
	Text string `json:"text"`
}

// incoming is what is read of the app's answers about a message.
type incoming struct {
	ID    once.Word `json:"id"`
	State once.Word `json:"state"` // Pending, Processed, Sent, Delivered, Failed
}

// Submit hands m to the phone. Its errors are *sms.Error. A text that the phone
// has under this id already counts as taken: it was.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	if m.ID == "" {
		return sms.Receipt{}, failure(sms.Misconfigured, errors.New("submit: a text without an id could be sent twice"))
	}
	out := outgoing{ID: m.ID, Text: text{m.Body}, To: []string{m.To}, SIM: t.opt.SIM, TTL: int(t.opt.Validity / time.Second), Receipt: true}
	// The number has been checked; the app's own check knows fewer numbering plans.
	a, failed := t.client.Submit(ctx, t.as(once.JSON(t.base+"/message?skipPhoneValidation=true", out)))
	if failed != nil {
		return sms.Receipt{}, failure(failed.Class, fmt.Errorf("submit: %w", failed.Err))
	}
	switch {
	case a.Status == http.StatusConflict:
		return sms.Receipt{ProviderID: m.ID, Status: "taken before"}, nil
	case a.Status >= 200 && a.Status <= 299:
		var r incoming
		if json.Unmarshal(a.Body, &r) != nil || string(r.ID) != m.ID {
			return sms.Receipt{}, failure(sms.Ambiguous, fmt.Errorf("submit: HTTP %d, but not from the app: check url", a.Status))
		}
		return sms.Receipt{ProviderID: m.ID, Status: r.State.Clean()}, nil
	case a.Status == http.StatusBadRequest && strings.Contains(string(a.Body), "already expired"):
		return sms.Receipt{}, failure(sms.Misconfigured, errors.New("submit: the phone takes the text for stale: its clock is wrong, or validity is too short"))
	}
	return sms.Receipt{}, failure(once.ClassOfStatus(a.Status), fmt.Errorf("submit: HTTP %d: %s", a.Status, advice(a.Status)))
}

// Fate asks the phone what became of m. found is false only when a gateway that
// takes our password says that it never had the id: the address may have passed to
// another device.
func (t *Transport) Fate(ctx context.Context, m sms.Message) (sms.Receipt, bool, error) {
	a, err := t.client.Do(ctx, t.as(once.Get(t.base+"/message/"+url.PathEscape(m.ID))))
	if err != nil {
		return sms.Receipt{}, false, fmt.Errorf("androidgateway: ask for fate: %w", err)
	}
	switch a.Status {
	case http.StatusOK:
		var r incoming
		if json.Unmarshal(a.Body, &r) != nil || string(r.ID) != m.ID {
			return sms.Receipt{}, false, errors.New("androidgateway: ask for fate: HTTP 200, but not from the app: check url")
		}
		return sms.Receipt{ProviderID: m.ID, Status: r.State.Clean()}, true, nil
	case http.StatusNotFound:
		if err := t.Check(ctx); err != nil {
			return sms.Receipt{}, false, fmt.Errorf("androidgateway: ask for fate: HTTP 404, and it is not sure that this is the phone: %w", err)
		}
		return sms.Receipt{}, false, nil
	}
	return sms.Receipt{}, false, fmt.Errorf("androidgateway: ask for fate: HTTP %d: %s", a.Status, advice(a.Status))
}

// Check sees whether the phone can be reached and takes the password. It sends nothing.
func (t *Transport) Check(ctx context.Context) error {
	a, err := t.client.Do(ctx, t.as(once.Get(t.base+"/")))
	if err != nil {
		return failure(sms.Transient, fmt.Errorf("check: %w: is the phone on, in the office's network, and the app's local server online?", err))
	}
	var r struct {
		Status string `json:"status"`
		Model  string `json:"model"`
	}
	switch {
	case a.Status != http.StatusOK:
		class := once.ClassOfStatus(a.Status)
		if class == sms.Ambiguous {
			class = sms.Transient // nothing was submitted
		}
		return failure(class, fmt.Errorf("check: HTTP %d: %s", a.Status, advice(a.Status)))
	case json.Unmarshal(a.Body, &r) != nil || r.Status != "ok" || r.Model == "":
		return failure(sms.Misconfigured, errors.New("check: something answers there, but not the app: check url"))
	}
	return nil
}

// events are those that are of use, each with where it goes below PublicURL.
var events = map[string]string{"sms:received": hook.Inbound, "sms:sent": hook.Status, "sms:delivered": hook.Status, "sms:failed": hook.Status}

// Run keeps the phone's webhooks registered, until ctx ends. Submit does without it.
func (t *Transport) Run(ctx context.Context, _ sms.Inbox) error {
	for failed := false; t.opt.PublicURL != ""; {
		err := t.Register(ctx)
		pause := t.opt.RegisterEvery
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !failed {
				t.opt.Log.Error("the phone could not be told where replies and receipts go; trying again every minute", "error", err)
			}
			pause = min(pause, time.Minute)
		case failed:
			t.opt.Log.Info("the phone knows where replies and receipts go")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	<-ctx.Done()
	return nil
}

// Register tells the phone where its webhooks go. Doing it again changes nothing:
// each has an id of its own.
func (t *Transport) Register(ctx context.Context) error {
	if t.opt.PublicURL == "" {
		return failure(sms.Misconfigured, errors.New("register webhooks: there is no public URL"))
	}
	for event, path := range events {
		a, err := t.client.Do(ctx, t.as(once.JSON(t.base+"/webhooks", map[string]string{
			"id": "textback-" + strings.ReplaceAll(event, ":", "-"), "event": event, "url": t.opt.PublicURL + path})))
		switch {
		case err != nil:
			return failure(sms.Transient, fmt.Errorf("register webhooks: %w", err))
		case a.Status == http.StatusBadRequest:
			return failure(sms.Misconfigured, errors.New("register webhooks: the app does not take this URL: it wants https:// with a certificate that the phone trusts (http:// only in its insecure build)"))
		case a.Status < 200 || a.Status > 299:
			return failure(once.ClassOfStatus(a.Status), fmt.Errorf("register webhooks: HTTP %d: %s", a.Status, advice(a.Status)))
		}
	}
	return nil
}

// as adds who we are.
func (t *Transport) as(r *once.Request) *once.Request { return r.Basic(t.opt.User, t.opt.Password) }

// advice says a status to an admin. What the app says itself may quote the text.
func advice(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "user and password are not those on the app's home screen"
	case status == http.StatusNotFound:
		return "the app's local server has no such address: check url"
	case status == http.StatusBadRequest:
		return "the app does not take this text"
	case status >= 500:
		return "the app failed"
	}
	return "not an answer of the app's"
}

func failure(class sms.Class, err error) error {
	return &sms.Error{Class: class, Err: fmt.Errorf("androidgateway: %w", err)}
}
