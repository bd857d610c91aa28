// Package httpapi is in charge of every provider and gateway that takes texts
// over an HTTP API of its own: what is particular to one is data, a Spec, and
// this package is what they have in common. Presets (presets/*.yaml) are Specs
// for Kannel, Vonage, Plivo, Bandwidth and SMSEagle; an admin writes one for any
// other in the same words.
//
// None of these providers takes an idempotency key, and none is asked for a
// fate: an attempt that ended without an answer stays ambiguous.
package httpapi

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/once"
)

// Options say which provider is spoken to, and as whom.
type Options struct {
	Preset string // one of Presets; or
	Custom *Spec  // a Spec; with a Preset its sections take the place of the preset's

	// URL is the Spec's {url}; it is needed where the Spec has no URL of its own.
	// Credentials travel in every request, so http:// is taken for loopback and
	// private addresses only.
	URL     string
	Account string // {account}
	User    string // {user}
	Secret  string // {secret}, and the password or token of auth
	Values  map[string]string
	// PrivateKey, in PEM form, signs requests where the Spec's auth is vonage.
	PrivateKey []byte
	// CA holds the authorities, in PEM form, that vouch for the provider's certificate; empty: those of the host.
	CA []byte

	// PublicURL is the URL below which Webhook's handler is reached. Empty: nothing
	// can be received. http:// is taken as for URL.
	PublicURL     string
	InboundUser   string
	InboundSecret string

	From     string        // for a Message that has no From
	Region   string        // ISO 3166, for local numbers of replies; empty is US
	Validity time.Duration // how long the provider may queue a text; 0 leaves it out

	PerMinute   int // 0 is the Spec's
	MaxSegments int // 0 is the Spec's
	AnswersStop bool

	ConnectTimeout time.Duration // zero is once's
	AnswerTimeout  time.Duration // zero is once's
	// PartsPatience is how long a part of a long reply waits for the others; zero is 2 minutes.
	PartsPatience time.Duration

	Now func() time.Time // time.Now when nil
}

// Transport speaks to one account. It is safe for concurrent use.
type Transport struct {
	opt   Options
	spec  Spec
	fixed map[string]string // values of the configuration
	program
	client *once.Client
	key    *rsa.PrivateKey

	mu   sync.Mutex
	sets map[string]*set
}

// New checks opt and returns a Transport. It does not go to the network.
func New(opt Options) (*Transport, error) {
	spec, problems := opt.spec()
	if len(problems) == 0 {
		problems = opt.check(spec)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("httpapi: %s: %s", problems[0].at, problems[0].text)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.PartsPatience <= 0 {
		opt.PartsPatience = 2 * time.Minute
	}
	if opt.Region == "" {
		opt.Region = "US"
	}
	opt.PublicURL = strings.TrimSuffix(opt.PublicURL, "/")
	if opt.URL == "" {
		opt.URL = spec.URL
	}
	t := &Transport{opt: opt, spec: spec, sets: map[string]*set{}}
	t.fixed = map[string]string{"url": strings.TrimSuffix(opt.URL, "/"), "account": opt.Account, "user": opt.User, "secret": opt.Secret}
	for name, value := range opt.Values {
		t.fixed[name] = value
	}
	p, problems := compile(spec, opt.known(spec))
	if len(problems) > 0 {
		return nil, fmt.Errorf("httpapi: %s: %s", problems[0].at, problems[0].text)
	}
	t.program = p
	o := once.Options{ConnectTimeout: opt.ConnectTimeout, AnswerTimeout: opt.AnswerTimeout, MaxAnswer: maxAnswer, NoProxy: once.Near(opt.URL)}
	if len(opt.CA) > 0 {
		o.TLS, _ = once.Trust(opt.CA) // check has read it
	}
	if len(opt.PrivateKey) > 0 {
		t.key, _ = privateKey(opt.PrivateKey) // the same
	}
	t.client = once.New(o)
	return t, nil
}

const maxAnswer = 256 << 10

// name is what errors call the transport.
func (t *Transport) name() string {
	if t.opt.Preset != "" {
		return t.opt.Preset
	}
	return "httpapi"
}

// Traits tells what the Spec says. Without a public URL nothing comes back.
func (t *Transport) Traits() sms.Traits {
	perMinute, segments := t.opt.PerMinute, t.opt.MaxSegments
	if perMinute == 0 {
		perMinute = t.spec.PerMinute
	}
	if segments == 0 {
		segments = t.spec.MaxSegments
	}
	tt := sms.Traits{Name: "http", Replies: sms.NoReplies, RatePerSecond: float64(perMinute) / 60, MaxSegments: segments,
		AnswersStop: t.spec.AnswersStop || t.opt.AnswersStop}
	if t.opt.PublicURL != "" {
		tt.Receipts = t.spec.Receipt != nil
		if t.spec.Inbound != nil {
			tt.Replies = sms.ByWebhook
		}
	}
	return tt
}

// Submit hands m to the provider in one attempt. Its errors are *sms.Error.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	n, _ := gsm7.Segments(m.Body)
	if most := t.Traits().MaxSegments; most > 0 && n > most {
		return sms.Receipt{}, t.failure(sms.Rejected, "", fmt.Errorf("submit: the text has %d segments, and %d is the most this way", n, most))
	}
	if m.From == "" && t.opt.From == "" && t.needsSender {
		return sms.Receipt{}, t.failure(sms.Misconfigured, "", errors.New("submit: no sender: set sms.from"))
	}
	req, err := t.request(m)
	if err != nil {
		return sms.Receipt{}, t.failure(sms.Misconfigured, "", fmt.Errorf("submit: %w", err))
	}
	a, failed := t.client.Submit(ctx, req)
	if failed != nil {
		return sms.Receipt{}, t.failure(failed.Class, "", fmt.Errorf("submit: %w", failed.Err))
	}
	r, class, code, err := t.verdict(a)
	if strings.Contains(code, strings.TrimPrefix(m.To, "+")) {
		code = "" // a number is not a code
	}
	if err != nil {
		return sms.Receipt{}, t.failure(class, code, fmt.Errorf("submit: %w", err))
	}
	return r, nil
}

// target is the URL without its query. {url} is a URL already, and stands at the beginning.
func (t *Transport) target(v values) string {
	base := ""
	if t.base > 0 {
		base = v.text["url"]
	}
	rest, _ := template{t.url.pieces[t.base:]}.render(v, url.PathEscape)
	return base + rest
}

// request fills the template.
func (t *Transport) request(m sms.Message) (*once.Request, error) {
	v := t.of(m)
	target := t.target(v)
	if q := pairs(t.query, v).Encode(); q != "" {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + q
	}
	var body []byte
	contentType := ""
	switch {
	case t.form != nil:
		body, contentType = []byte(pairs(t.form, v).Encode()), "application/x-www-form-urlencoded"
	case t.json != nil:
		var b bytes.Buffer
		t.json.write(&b, v)
		body, contentType = b.Bytes(), "application/json"
	case t.xml != nil:
		s, _ := t.xml.render(v, inXML)
		body, contentType = []byte(s), "text/xml; charset=utf-8"
	case t.text != nil:
		s, _ := t.text.render(v, plainly)
		body, contentType = []byte(s), "text/plain; charset=utf-8"
	}
	r := once.Raw(t.method, target, contentType, body)
	for _, h := range t.headers {
		s, empty := h.value.render(v, plainly)
		if empty {
			continue
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("the header %s would have a control character in it", h.name)
		}
		r.Header.Set(h.name, s)
	}
	switch {
	case t.auth == "vonage" && t.key != nil:
		token, err := vonageAccess(t.key, v.text["application"], t.opt.Now())
		if err != nil {
			return nil, err
		}
		r.Bearer(token)
	case t.auth == "basic", t.auth == "vonage":
		user, _ := t.user.render(v, plainly)
		r.Basic(user, t.opt.Secret)
	case t.auth == "bearer":
		r.Bearer(t.opt.Secret)
	}
	return r, nil
}

// pairs fills a form or query. What has only empty placeholders is left out.
func pairs(list []pair, v values) url.Values {
	out := url.Values{}
	for _, p := range list {
		if s, empty := p.value.render(v, plainly); !empty {
			out.Set(p.name, s)
		}
	}
	return out
}

// Check sees whether the provider can be reached. Whether it takes the
// credentials shows with the first text: what asks for that differs.
func (t *Transport) Check(ctx context.Context) error {
	target, _ := url.Parse(t.target(t.of(sms.Message{})))
	a, err := t.client.Do(ctx, once.Get(target.Scheme+"://"+target.Host+"/"))
	if err != nil && a.Status == 0 {
		return t.failure(sms.Transient, "", fmt.Errorf("check: %w", err))
	}
	return nil
}

// failure keeps returns short.
func (t *Transport) failure(class sms.Class, code string, err error) error {
	return &sms.Error{Class: class, Code: code, Err: fmt.Errorf("%s: %w", t.name(), err)}
}

// verdict makes a receipt or a classed error of an answer.
func (t *Transport) verdict(a once.Answer) (r sms.Receipt, class sms.Class, code string, err error) {
	if t.accepted.met(a) {
		r.ProviderID = t.id.word(a)
		if t.id.set() && r.ProviderID == "" {
			// Most likely it was taken, but a captive portal says 200 too.
			return r, sms.Ambiguous, "", fmt.Errorf("HTTP %d that looks like yes, without a message id", a.Status)
		}
		fmt.Sscanf(t.segments.word(a), "%d", &r.Segments)
		r.Segments = max(r.Segments, 0)
		r.Status = "accepted"
		return r, "", "", nil
	}
	code = t.code.word(a)
	for _, refusal := range t.refused {
		if refusal.met(a) {
			return r, refusal.class, code, fmt.Errorf("HTTP %d: %s", a.Status, words[refusal.class])
		}
	}
	if class, ok := lookup(t.codes, code); ok {
		return r, class, code, fmt.Errorf("HTTP %d: %s", a.Status, words[class])
	}
	class, ok := t.statuses[a.Status]
	if !ok {
		class = sms.Ambiguous
		if a.Status < 200 || a.Status > 299 {
			class = once.ClassOfStatus(a.Status)
		}
	}
	return r, class, code, fmt.Errorf("HTTP %d: %s", a.Status, words[class])
}

// lookup finds code, or what stands for every other one.
func lookup(codes map[string]sms.Class, code string) (sms.Class, bool) {
	if code == "" {
		return "", false
	}
	if c, ok := codes[code]; ok {
		return c, true
	}
	c, ok := codes["*"]
	return c, ok
}

// words say a class to an admin: providers' own sentences may quote the number and the text.
var words = map[sms.Class]string{
	sms.Ambiguous:     "not an answer that means yes or no",
	sms.Transient:     "not taken for now",
	sms.Throttled:     "too many texts at once",
	sms.OptedOut:      "the recipient has sent STOP",
	sms.NotMobile:     "the number takes no texts",
	sms.Invalid:       "no such number",
	sms.Blocked:       "the words were taken for spam",
	sms.RegionDenied:  "the account may not text there",
	sms.Misconfigured: "the request or the sender is not what the provider wants: check the sms.http section and the account",
	sms.Unauthorized:  "the credentials are wrong",
	sms.NoCredit:      "the account has no credit",
	sms.Rejected:      "refused",
}

// classes are the words of Codes, Statuses and Refusals.
var classes = func() (out []string) {
	for c := range words {
		out = append(out, string(c))
	}
	slices.Sort(out)
	return out
}()

var _ http.Handler = (*handler)(nil)
