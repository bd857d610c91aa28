// Package asterisk is in charge of texts through an Asterisk that holds the
// office's trunk itself: out by ARI's PUT /endpoints/sendMessage, in by the
// TextMessageReceived events of an ARI application that has subscribed to the
// trunk's endpoint. Neither needs a line of dialplan or of pjsip.conf.
//
// What Asterisk's answer is worth (seen on 16.28 and 22.10, both by ARI, by AMI's
// MessageSend and by a MESSAGE that the dialplan passes on): 202 says that Asterisk
// has queued the text for an endpoint that exists. Whether the carrier takes or
// refuses it, or is there at all, Asterisk drops without a word, and nobody can ask
// later. So "taken" means here: by Asterisk. Definite are: no such endpoint, an
// endpoint that Asterisk itself finds offline (asked before), wrong credentials. A
// carrier that speaks SIP MESSAGE with us directly answers for itself: where that is
// possible, package sipmessage is the better way.
//
// What comes in is as fragile: Asterisk says 202 to the carrier before anybody has
// stored the text, says so with no application connected too, and never offers it again. While the
// connection is away, replies are lost; while the Inbox refuses, they wait here.
package asterisk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"textback/pbx/number"
	"textback/sms"
	"textback/sms/once"
)

// Options say which Asterisk, and which of its endpoints leads outside.
type Options struct {
	URL      string // of Asterisk's HTTP server, with its prefix if it has one, without /ari
	User     string // of ari.conf, with read_only=no
	Password string
	App      string // ARI application name, an own one; a number is added for each connection

	// Endpoint is the trunk's name in pjsip.conf. Domain is where its numbers live
	// (sip:+12025550143@Domain); it may have a port.
	Endpoint string
	Domain   string
	Digits   bool // numbers as 12025550143 instead of +12025550143

	// AssertedIdentity adds P-Asserted-Identity with the line's number.
	AssertedIdentity bool

	Region        string  // ISO 3166: where numbers without a country code are at home
	RatePerSecond float64 // told to others only

	ConnectTimeout time.Duration // zero is 10 s
	AnswerTimeout  time.Duration // zero is 30 s
	PingEvery      time.Duration // how often the event socket is tried, and how long it may take; zero is 10 s
	MinPause       time.Duration // before connecting again, doubled up to 30 s; zero is 1 s

	Log *slog.Logger // nil: silent
	Now func() time.Time
}

// Transport sends and receives through one Asterisk. It is safe for concurrent use.
type Transport struct {
	opt  Options
	base *url.URL
	http *once.Client
	log  *slog.Logger

	mu   sync.Mutex
	turn int64
}

var (
	_ sms.Transport = (*Transport)(nil)
	_ sms.Declarer  = (*Transport)(nil)
	_ sms.Runner    = (*Transport)(nil)

	// EndpointName and DomainName are what the two options may look like: both
	// become part of addresses.
	EndpointName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	DomainName   = regexp.MustCompile(`^([a-zA-Z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(:[0-9]{1,5})?$`)

	appName    = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	numberLike = regexp.MustCompile(`^\+?[0-9]{2,20}$`)
)

// maxBody is what Asterisk passes on whole in one request (RFC 3428, 8: 1300 bytes
// with the heads, of which Asterisk writes about 500).
const maxBody = 800

// New checks opt and returns a Transport. It does not go to the network.
func New(opt Options) (*Transport, error) {
	base, err := once.BaseURL(opt.URL, true)
	if err != nil {
		return nil, fmt.Errorf("asterisk: url: %w", err)
	}
	if opt.User == "" || strings.Contains(opt.User, ":") {
		return nil, errors.New("asterisk: user: want the name of a section of ari.conf with type=user")
	}
	if !appName.MatchString(opt.App) {
		return nil, errors.New("asterisk: app: letters, digits, dots, - and _ are allowed")
	}
	if !EndpointName.MatchString(opt.Endpoint) {
		return nil, errors.New("asterisk: endpoint: want the trunk's name in pjsip.conf")
	}
	if !DomainName.MatchString(opt.Domain) {
		return nil, errors.New("asterisk: domain: want the carrier's host, with its port if it is not the usual one")
	}
	if opt.PingEvery <= 0 {
		opt.PingEvery = 10 * time.Second
	}
	if opt.MinPause <= 0 {
		opt.MinPause = time.Second
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	t := &Transport{opt: opt, base: base, log: opt.Log,
		// Asterisk is on this host or beside it.
		http: once.New(once.Options{ConnectTimeout: opt.ConnectTimeout, AnswerTimeout: opt.AnswerTimeout, NoProxy: true})}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	return t, nil
}

// Traits implements sms.Declarer. There are no receipts, and a text that Asterisk
// has taken may have been refused by the carrier: see the package comment.
func (t *Transport) Traits() sms.Traits {
	return sms.Traits{Name: "asterisk", Replies: sms.BySession, RatePerSecond: t.opt.RatePerSecond, MaxSegments: maxBody / 153}
}

// Submit hands m to Asterisk in one attempt. Its errors are *sms.Error. The
// receipt has no ProviderID: Asterisk gives none.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	if !numberLike.MatchString(m.To) {
		return sms.Receipt{}, failure(sms.Invalid, 0, errors.New("the recipient is not a number"))
	}
	if len(m.Body) > maxBody {
		return sms.Receipt{}, failure(sms.Rejected, 0, fmt.Errorf("the text has %d bytes; Asterisk can send %d in one SIP MESSAGE", len(m.Body), maxBody))
	}
	from, err := t.address(m.From)
	if err != nil {
		return sms.Receipt{}, failure(sms.Misconfigured, 0, err)
	}
	if err := t.ready(ctx); err != nil {
		return sms.Receipt{}, err
	}
	to, _ := t.address(m.To)
	variables := map[string]string{"X-Textback-ID": clean(m.ID)} // a header, for those who read the carrier's side
	if t.opt.AssertedIdentity {
		variables["P-Asserted-Identity"] = "<" + from + ">"
	}
	// All of it in the body: Asterisk cuts long request lines off, and logs them.
	a, failed := t.http.Submit(ctx, t.request(http.MethodPut, "/endpoints/sendMessage", nil, map[string]any{
		"to": "pjsip:" + t.opt.Endpoint + "/" + to, "from": from, "body": m.Body, "variables": variables,
	}))
	switch {
	case failed != nil:
		return sms.Receipt{}, failure(failed.Class, 0, failed.Err)
	case a.Status/100 == 2:
		return sms.Receipt{Status: strconv.Itoa(a.Status)}, nil
	}
	return sms.Receipt{}, refusal(a.Status)
}

// Check tells whether a text would be handed over now; nothing is sent.
func (t *Transport) Check(ctx context.Context) error { return t.ready(ctx) }

// ready asks for the endpoint's state before the words leave: an endpoint that is
// qualified or registered and does not answer would swallow them.
func (t *Transport) ready(ctx context.Context) error {
	a, err := t.http.Do(ctx, t.request(http.MethodGet, "/endpoints/PJSIP/"+t.opt.Endpoint, nil, nil))
	if err != nil {
		return failure(sms.Transient, 0, fmt.Errorf("nothing was sent: %w", err))
	}
	if a.Status/100 != 2 {
		e := refusal(a.Status)
		if e.Class == sms.Ambiguous {
			e.Class = sms.Transient // the text itself has not left
		}
		return e
	}
	var ep struct {
		State string `json:"state"`
	}
	if json.Unmarshal(a.Body, &ep) == nil && ep.State == "offline" {
		return failure(sms.Transient, 0, errors.New("the trunk is offline, says Asterisk"))
	}
	return nil
}

// address is a number's, or a name's if it can stand in one.
func (t *Transport) address(who string) (string, error) {
	if numberLike.MatchString(who) {
		if t.opt.Digits {
			who = strings.TrimPrefix(who, "+")
		}
	} else if !EndpointName.MatchString(who) {
		return "", errors.New("the sender cannot stand in a SIP address: set sms.from to a number")
	}
	return "sip:" + who + "@" + t.opt.Domain, nil
}

// request makes one ARI request; credentials go into a header, never into the URL.
func (t *Transport) request(method, path string, query url.Values, body any) *once.Request {
	u := *t.base
	u.Path += "/ari" + path
	u.RawQuery = query.Encode()
	r := once.Get(u.String())
	if body != nil {
		r = once.JSON(u.String(), body)
	}
	r.Method = method
	(&http.Request{Header: r.Header}).SetBasicAuth(t.opt.User, t.opt.Password)
	return r
}

func clean(id string) string {
	if EndpointName.MatchString(id) {
		return id
	}
	return "-"
}

// phone makes E.164 of an address such as "<sip:+12025550143@trunk>" or
// "pjsip:+12125550100@office"; what is no number stays as it is shown.
// With Digits a number is an international one first.
func (t *Transport) phone(address string) string {
	s := address
	if _, rest, ok := strings.Cut(s, "<"); ok {
		s, _, _ = strings.Cut(rest, ">")
	}
	if _, rest, ok := strings.Cut(s, ":"); ok {
		s = rest
	}
	s, _, _ = strings.Cut(s, "@")
	s, _, _ = strings.Cut(s, ";")
	if len(s) > 64 {
		return ""
	}
	if n := number.Party(s, t.opt.Region, !t.opt.Digits); n != "" {
		return n
	}
	return s
}

var advice = map[int]string{
	400: "Asterisk finds the request wrong",
	401: "user or password is wrong (ari.conf)",
	403: "this user may only read: set read_only=no in ari.conf",
	404: "Asterisk knows no such endpoint: look at \"pjsip show endpoints\"",
}

// refusal sorts an HTTP status of ARI's.
func refusal(status int) *sms.Error {
	words, ok := advice[status]
	if !ok {
		words = "not taken"
	}
	return failure(once.ClassOfStatus(status), status, errors.New(words))
}

// failure keeps returns short.
func failure(class sms.Class, status int, err error) *sms.Error {
	e := &sms.Error{Class: class, Err: fmt.Errorf("asterisk: submit: %w", err)}
	if status != 0 {
		e.Code = strconv.Itoa(status)
	}
	return e
}
