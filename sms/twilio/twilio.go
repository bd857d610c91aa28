// Package twilio is in charge of handing texts to Twilio, or to any provider
// that speaks Twilio's 2010-04-01 Messages resource under another base URL.
//
// The provider takes no idempotency key, so everything here serves one
// question: may the text be on its way? Each Submit uses a connection of its
// own and one HTTP/1.1 request. A reused connection that the provider closes
// in the same moment leaves a POST without an answer, and net/http resends
// requests it believes repeatable; a fresh connection has neither trouble, and
// its cost, one TLS handshake a text, is nothing at an office's pace.
package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"textback/sms"
)

// DefaultBaseURL is Twilio's own API.
const DefaultBaseURL = "https://api.twilio.com"

const (
	defaultConnectTimeout = 10 * time.Second
	defaultAnswerTimeout  = 30 * time.Second

	// An answer is about 1 KB, a page of the message list about 50 KB.
	maxAnswer = 1 << 20
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

	// Now is time.Now when nil.
	Now func() time.Time
}

// Transport sends through one account. It is safe for concurrent use.
type Transport struct {
	opt      Options
	base     *url.URL
	user     string
	password string
	http     *http.Transport

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
	base, err := url.Parse(opt.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, errors.New("twilio: base URL: want https://host, with a path in front of /2010-04-01 if the provider has one")
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("twilio: base URL: credentials, query and fragment do not belong in it")
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) {
		return nil, fmt.Errorf("twilio: base URL http://%s: credentials would travel in the clear: use https://", base.Host)
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
	if t.opt.ConnectTimeout <= 0 {
		t.opt.ConnectTimeout = defaultConnectTimeout
	}
	if t.opt.AnswerTimeout <= 0 {
		t.opt.AnswerTimeout = defaultAnswerTimeout
	}
	if t.opt.Now == nil {
		t.opt.Now = time.Now
	}
	// do's timer ends the wait. net/http goes on dialling behind its back; these
	// end that too, without ever speaking first.
	backstop := 2 * t.opt.ConnectTimeout
	http1 := new(http.Protocols)
	http1.SetHTTP1(true) // HTTP/2 requests are resent after GOAWAY and REFUSED_STREAM
	t.http = &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: backstop}).DialContext,
		TLSHandshakeTimeout:    backstop,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              http1,
	}
	return t, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
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
	t.remember(m.ID)
	a, err := t.do(ctx, http.MethodPost, t.messagesURL(nil), form)
	if err != nil {
		if !a.sent {
			return sms.Receipt{}, failure(sms.Transient, "", fmt.Errorf("submit: before anything was sent: %w", err))
		}
		if a.status == 0 {
			return sms.Receipt{}, failure(sms.Ambiguous, "", fmt.Errorf("submit: no answer: %w", err))
		}
		// The status came, its body did not: a refusal is known by its status alone.
		a.body = nil
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

// answer is what came back, as far as it came.
type answer struct {
	sent   bool // bytes of the request may have left
	status int  // 0: no answer
	date   time.Time
	body   []byte
}

// do makes one request on a connection of its own. With an error, answer says
// how far it came. The error names no address, credential, number or text.
func (t *Transport) do(ctx context.Context, method string, u *url.URL, form url.Values) (answer, error) {
	var a answer
	// The deadline of the whole exchange starts again when the connection is
	// there, so that a slow connect does not shorten the wait for the answer.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(t.opt.ConnectTimeout, func() { cancel(errConnectTimeout) })
	defer func() { timer.Stop() }()

	// GotConn is the border: before it nothing of the request has been
	// written, after it nobody can tell. It runs on this goroutine, before the
	// write, and not at all for a CONNECT to a proxy.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		a.sent = true
		if timer.Stop() {
			timer = time.AfterFunc(t.opt.AnswerTimeout, func() { cancel(errAnswerTimeout) })
		}
	}})

	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return a, errors.New("the base URL cannot be requested")
	}
	// Without GetBody, and without an Idempotency-Key header, net/http has
	// nothing to send a second time (net/http, Request.isReplayable).
	req.GetBody = nil
	req.SetBasicAuth(t.user, t.password)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "textback")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}

	// RoundTrip, not http.Client: it follows no redirect and puts no URL into its errors.
	resp, err := t.http.RoundTrip(req)
	if err != nil {
		return a, plain(ctx, err)
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	a.date, _ = http.ParseTime(resp.Header.Get("Date"))
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return a, plain(ctx, err)
	}
	if len(a.body) > maxAnswer {
		return a, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return a, nil
}

func (t *Transport) messagesURL(query url.Values) *url.URL {
	u := *t.base
	u.Path += "/2010-04-01/Accounts/" + t.opt.AccountSID + "/Messages.json"
	u.RawPath = ""
	u.RawQuery = query.Encode()
	return &u
}

// result is what is read of an answer to a submit: of Twilio's Message
// resource, or of its error envelope, whose status is the HTTP one.
type result struct {
	SID         word `json:"sid"`
	Status      word `json:"status"`
	NumSegments word `json:"num_segments"`
	ErrorCode   word `json:"error_code"`
	Code        word `json:"code"`
}

// word takes a JSON string or number and is empty for anything else: Twilio
// quotes some of its numbers, compatible providers quote others, and one odd
// field must not make an accepted text unreadable.
type word string

func (w *word) UnmarshalJSON(b []byte) error {
	*w = ""
	switch c := b[0]; {
	case c == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*w = word(s)
	case c == '-' || c >= '0' && c <= '9':
		*w = word(b)
	}
	return nil
}

// verdict makes a receipt or a classed error of a complete answer.
func (t *Transport) verdict(a answer) (sms.Receipt, error) {
	var r result
	if json.Unmarshal(a.body, &r) != nil {
		r = result{}
	}
	code := clean(string(r.Code))
	if a.status >= 200 && a.status <= 299 {
		id := clean(string(r.SID))
		if class, refused := ClassOfCode(code); refused && id == "" {
			return sms.Receipt{}, failure(class, code, fmt.Errorf("submit: HTTP %d: %s", a.status, t.advice(code)))
		}
		if id == "" {
			// Most likely it was taken, but a captive portal says 200 too.
			return sms.Receipt{}, failure(sms.Ambiguous, "", fmt.Errorf("submit: HTTP %d without a message id", a.status))
		}
		status := clean(string(r.Status))
		if status == "failed" || status == "undelivered" || status == "canceled" {
			// Taken and refused at once: it will not go out.
			code := clean(string(r.ErrorCode))
			class, ok := ClassOfCode(code)
			if !ok {
				class = sms.Rejected
			}
			return sms.Receipt{}, failure(class, code, fmt.Errorf("submit: taken and %s at once: %s", status, t.advice(code)))
		}
		n, _ := strconv.Atoi(string(r.NumSegments))
		return sms.Receipt{ProviderID: id, Segments: max(n, 0), Status: status}, nil
	}
	return sms.Receipt{}, failure(classify(a.status, code), code, fmt.Errorf("submit: HTTP %d: %s", a.status, t.advice(code)))
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
	switch {
	case status == http.StatusTooManyRequests:
		return sms.Throttled
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return sms.Unauthorized
	case status == http.StatusPaymentRequired:
		return sms.NoCredit
	case status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect:
		return sms.Misconfigured // asks for the same request elsewhere: nothing was done here
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusProxyAuthRequired,
		status == http.StatusNotAcceptable, status == http.StatusUnsupportedMediaType:
		return sms.Misconfigured // no Messages resource at this base URL for this account
	case status == http.StatusRequestTimeout:
		return sms.Ambiguous // gateways say 408 for a slow provider behind them too
	case status >= 400 && status <= 499:
		return sms.Rejected
	}
	return sms.Ambiguous // 5xx; 302 and 303, which may point at the result; anything unheard of
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

// clean keeps a short word of the provider's and drops anything that might be more than that.
func clean(s string) string {
	if len(s) > 64 {
		return ""
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return ""
		}
	}
	return s
}

// failure keeps Submit's returns short.
func failure(class sms.Class, code string, err error) error {
	return &sms.Error{Class: class, Code: code, Err: fmt.Errorf("twilio: %w", err)}
}
