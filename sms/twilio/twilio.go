// Package twilio is in charge of handing texts to Twilio, or to any provider
// that speaks Twilio's 2010-04-01 Messages resource under another base URL.
//
// The provider takes no idempotency key, so every text is one request of package
// once, and everything here serves one question: may the text be on its way?
package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"textback/sms"
	"textback/sms/hook"
	"textback/sms/once"
)

// DefaultBaseURL is Twilio's own API.
const DefaultBaseURL = "https://api.twilio.com"

const (
	// A text has at most 1600 characters, which is ten whole segments of GSM-7
	// and more of UCS-2.
	maxSegments = 10
	// A page of the message list is about 1 KB a text, ten at worst.
	maxAnswer = 4 << 20
)

// Options say which account sends, and how. Either AuthToken, or APIKeySID and
// APIKeySecret, must be set.
type Options struct {
	AccountSID   string
	AuthToken    string
	APIKeySID    string
	APIKeySecret string

	// BaseURL is DefaultBaseURL when empty. Credentials travel in every
	// request, so http:// is refused except to a loopback address.
	BaseURL string

	// From (a number, short code or sender name) or MessagingServiceSID is used
	// for a Message that has no From of its own. At most one may be set.
	From                string
	MessagingServiceSID string

	// Validity is how long the provider may queue a text before it must drop
	// it: a text must not arrive hours after its call. Whole seconds from 1 s to
	// 10 h; zero leaves it to the provider (Twilio: 10 h).
	Validity time.Duration

	ConnectTimeout time.Duration // to a usable connection, TLS included; zero is 10 s
	AnswerTimeout  time.Duration // from the request to the whole answer; zero is 30 s

	// PublicURL is where the provider reaches the Webhook handler, such as
	// https://sms.example.com/textback/twilio; empty: nowhere. Every text then asks
	// for receipts to be sent there.
	PublicURL string
	// WebhookToken is what the provider signs its requests to us with. The default is the
	// AuthToken. With an API key, or where the provider has a signing key of its own, it must be set.
	WebhookToken string

	// Poll is how often the list of texts is asked for what came in; zero: never.
	// Beside a PublicURL it finds what came while the URL could not be reached.
	Poll     time.Duration
	Lookback time.Duration // how far back the first poll looks; zero is 72 h
	// Numbers are those of the office. Texts to and from others of the account's are left
	// out of a poll; without any, all are taken for the office's.
	Numbers []string

	// AnswersStop: the provider confirms STOP and answers HELP by itself. Twilio does
	// for all but short codes, unless it was asked to leave that to the account.
	AnswersStop bool

	// Log is told when polling fails and when it works again; nil: nobody is.
	Log *slog.Logger
	// Now is time.Now when nil.
	Now func() time.Time
}

// Transport sends through one account. It is safe for concurrent use.
type Transport struct {
	opt      Options
	base     *url.URL
	user     string
	password string
	http     *once.Client

	mu       sync.Mutex
	attempts map[string]time.Time // when the last Submit of a Message.ID began, for Fate
	order    []string             // its keys, oldest first
}

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	serviceSID = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
)

// New checks opt and returns a Transport. It does not go to the network; see
// Check.
func New(opt Options) (*Transport, error) {
	if opt.BaseURL == "" {
		opt.BaseURL = DefaultBaseURL
	}
	opt.BaseURL = strings.TrimSuffix(opt.BaseURL, "/")
	base, err := once.BaseURL(opt.BaseURL, false)
	if err != nil {
		return nil, fmt.Errorf("twilio: base URL: %w", err)
	}
	// Compatible providers have account ids of other shapes; one with a slash would change the path.
	if opt.AccountSID == "" || strings.ContainsAny(opt.AccountSID, "/?#% \t\r\n") {
		return nil, errors.New("twilio: account SID: want the one that begins with AC on the console's front page")
	}
	if opt.BaseURL == DefaultBaseURL && !accountSID.MatchString(opt.AccountSID) {
		return nil, errors.New("twilio: account SID: want AC and 32 hexadecimal digits")
	}
	t := &Transport{opt: opt, base: base, attempts: map[string]time.Time{}}
	switch {
	case opt.APIKeySID != "" && opt.APIKeySecret != "" && opt.AuthToken == "":
		t.user, t.password = opt.APIKeySID, opt.APIKeySecret
	case opt.AuthToken != "" && opt.APIKeySID == "" && opt.APIKeySecret == "":
		t.user, t.password = opt.AccountSID, opt.AuthToken
	default:
		return nil, errors.New("twilio: credentials: want the auth token, or an API key's SID and secret")
	}
	if opt.From != "" && opt.MessagingServiceSID != "" {
		return nil, errors.New("twilio: at most one of a sender and a messaging service SID may be set")
	}
	if opt.Validity < 0 || opt.Validity > 10*time.Hour || opt.Validity%time.Second != 0 {
		return nil, fmt.Errorf("twilio: validity %s: want whole seconds, at most 10h", opt.Validity)
	}
	if opt.PublicURL != "" {
		if t.opt.PublicURL, err = hook.PublicURL(opt.PublicURL); err != nil {
			return nil, fmt.Errorf("twilio: public URL: %w", err)
		}
		if t.opt.WebhookToken == "" {
			t.opt.WebhookToken = opt.AuthToken
		}
		if t.opt.WebhookToken == "" {
			return nil, errors.New("twilio: webhooks are signed with the account's auth token, not with the API key: the webhook token is needed too")
		}
	}
	if opt.Poll < 0 || opt.Lookback < 0 {
		return nil, errors.New("twilio: poll and look back: not before now")
	}
	if t.opt.Lookback == 0 {
		t.opt.Lookback = defaultLookback
	}
	if t.opt.Now == nil {
		t.opt.Now = time.Now
	}
	t.http = once.New(once.Options{ConnectTimeout: opt.ConnectTimeout, AnswerTimeout: opt.AnswerTimeout, MaxAnswer: maxAnswer})
	return t, nil
}

// Traits tells how replies and receipts arrive.
func (t *Transport) Traits() sms.Traits {
	tr := sms.Traits{Name: "twilio", Replies: sms.NoReplies, Receipts: t.opt.PublicURL != "" || t.opt.Poll > 0,
		MaxSegments: maxSegments, AnswersStop: t.opt.AnswersStop}
	switch {
	case t.opt.PublicURL != "":
		tr.Replies = sms.ByWebhook
	case t.opt.Poll > 0:
		tr.Replies = sms.ByPoll
	}
	return tr
}

// Submit hands m to the provider in one attempt. Its errors are *sms.Error. A
// ctx that ends after the request has left makes the text ambiguous, so give
// it one that outlives an orderly shutdown; Submit's own timeouts are
// Options.ConnectTimeout and Options.AnswerTimeout.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	form := url.Values{"To": {m.To}, "Body": {m.Body}}
	key, sender := t.sender(m)
	if sender == "" {
		return sms.Receipt{}, failure(sms.Misconfigured, "", errors.New("submit: no sender: set from or messaging_service_sid"))
	}
	form.Set(key, sender)
	if t.opt.Validity > 0 {
		form.Set("ValidityPeriod", strconv.Itoa(int(t.opt.Validity/time.Second)))
	}
	if u := hook.StatusURL(t.opt.PublicURL, m.ID); u != "" {
		form.Set("StatusCallback", u)
	}
	t.remember(m.ID)
	a, lost := t.http.Submit(ctx, t.as(once.Form(t.messagesURL(nil), form)))
	if lost != nil {
		return sms.Receipt{}, failure(lost.Class, "", fmt.Errorf("submit: %w", lost.Err))
	}
	return t.verdict(a)
}

// sender tells the form's key and value of who m comes from.
func (t *Transport) sender(m sms.Message) (key, value string) {
	from := m.From
	if from == "" {
		from = t.opt.From
	}
	if from == "" {
		from = t.opt.MessagingServiceSID
	}
	if serviceSID.MatchString(from) {
		return "MessagingServiceSid", from
	}
	return "From", from
}

// as puts the account's credentials on r.
func (t *Transport) as(r *once.Request) *once.Request { return r.Basic(t.user, t.password) }

func (t *Transport) messagesURL(query url.Values) string { return t.resource("Messages", query) }

func (t *Transport) resource(name string, query url.Values) string {
	u := *t.base
	u.Path += "/2010-04-01/Accounts/" + t.opt.AccountSID + "/" + name + ".json"
	u.RawPath = ""
	u.RawQuery = query.Encode()
	return u.String()
}

// result is what is read of an answer to a submit: of Twilio's Message
// resource, or of its error envelope, whose status is the HTTP one.
type result struct {
	SID         once.Word `json:"sid"`
	Status      once.Word `json:"status"`
	NumSegments once.Word `json:"num_segments"`
	ErrorCode   once.Word `json:"error_code"`
	Code        once.Word `json:"code"`
}

// verdict makes a receipt or a classed error of a complete answer.
func (t *Transport) verdict(a once.Answer) (sms.Receipt, error) {
	var r result
	if json.Unmarshal(a.Body, &r) != nil {
		r = result{}
	}
	code := r.Code.Clean()
	if a.Status >= 200 && a.Status <= 299 {
		id := r.SID.Clean()
		if class, refused := ClassOfCode(code); refused && id == "" {
			return sms.Receipt{}, failure(class, code, fmt.Errorf("submit: HTTP %d: %s", a.Status, t.advice(code)))
		}
		if id == "" {
			// Most likely it was taken, but a captive portal says 200 too.
			return sms.Receipt{}, failure(sms.Ambiguous, "", fmt.Errorf("submit: HTTP %d without a message id", a.Status))
		}
		status := r.Status.Clean()
		if status == "failed" || status == "undelivered" || status == "canceled" {
			// Taken and refused at once: it will not go out.
			code := r.ErrorCode.Clean()
			class, ok := ClassOfCode(code)
			if !ok {
				class = sms.Rejected
			}
			return sms.Receipt{}, failure(class, code, fmt.Errorf("submit: taken and %s at once: %s", status, t.advice(code)))
		}
		n, _ := strconv.Atoi(string(r.NumSegments))
		return sms.Receipt{ProviderID: id, Segments: max(n, 0), Status: status}, nil
	}
	return sms.Receipt{}, failure(classify(a.Status, code), code, fmt.Errorf("submit: HTTP %d: %s", a.Status, t.advice(code)))
}

// classify sorts a refusal. A code that stands for a definite refusal holds
// under every status: the provider's own program has read the request and
// said no. Everything else goes by status, and there 5xx is ambiguous: Twilio's
// 20500 and a gateway's bare 502 alike may come from behind the point at
// which the text was queued.
func classify(status int, code string) sms.Class {
	if c, ok := ClassOfCode(code); ok {
		return c
	}
	return once.ClassOfStatus(status)
}

// advice says code in words of our own: the provider's sentence may quote the
// number and the text.
func (t *Transport) advice(code string) string {
	if s, ok := codes[code]; ok {
		return s.words
	}
	switch {
	case code == "":
		return "refused without a provider code"
	case t.opt.BaseURL == DefaultBaseURL:
		return "see https://www.twilio.com/docs/api/errors/" + code
	}
	return "see the provider's list of error codes"
}

// failure keeps Submit's returns short.
func failure(class sms.Class, code string, err error) error {
	return &sms.Error{Class: class, Code: code, Err: fmt.Errorf("twilio: %w", err)}
}
