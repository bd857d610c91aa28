// Package once is in charge of one HTTP request to a provider, made at most
// once. Whoever submits a text over HTTP needs an answer to one question: may the
// text be on its way?
//
// Each request uses a connection of its own and HTTP/1.1. A reused connection
// that the provider closes in the same moment leaves a POST without an answer,
// and net/http resends requests that it believes repeatable; a fresh connection
// has neither trouble, and its cost, one TLS handshake a text, is nothing at an
// office's pace. Redirects are not followed, answers are bounded, and errors are
// in words of our own: net/http's quote URLs, and so passwords and numbers.
package once

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"textback/sms"
)

const (
	defaultConnectTimeout = 10 * time.Second
	defaultAnswerTimeout  = 30 * time.Second
	defaultMaxAnswer      = 1 << 20
)

// Options say how long to wait, how much to read and whom to trust. The zero
// value is usable.
type Options struct {
	ConnectTimeout time.Duration // to a usable connection, TLS included; zero is 10 s
	AnswerTimeout  time.Duration // from the request to the whole answer; zero is 30 s
	MaxAnswer      int64         // bytes of an answer's body; zero is 1 MiB

	// TLS is used for https: an own CA (see Trust), a client certificate. Nil is
	// what the host trusts.
	TLS *tls.Config
	// NoProxy ignores HTTPS_PROXY and its kin: a gateway on the office's own
	// network is not reached through them.
	NoProxy bool
}

// Client makes requests. It is safe for concurrent use and holds no connection
// between requests.
type Client struct {
	opt  Options
	http *http.Transport
}

// New returns a Client. It does not go to the network.
func New(opt Options) *Client {
	if opt.ConnectTimeout <= 0 {
		opt.ConnectTimeout = defaultConnectTimeout
	}
	if opt.AnswerTimeout <= 0 {
		opt.AnswerTimeout = defaultAnswerTimeout
	}
	if opt.MaxAnswer <= 0 {
		opt.MaxAnswer = defaultMaxAnswer
	}
	// Do's timer ends the wait. net/http goes on dialling behind its back; these
	// end that too, without ever speaking first.
	backstop := 2 * opt.ConnectTimeout
	http1 := new(http.Protocols)
	http1.SetHTTP1(true) // HTTP/2 requests are resent after GOAWAY and REFUSED_STREAM
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: backstop}).DialContext,
		TLSHandshakeTimeout:    backstop,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              http1,
	}
	if opt.TLS != nil {
		t.TLSClientConfig = opt.TLS.Clone()
	}
	if !opt.NoProxy {
		t.Proxy = http.ProxyFromEnvironment
	}
	return &Client{opt: opt, http: t}
}

// Trust returns TLS settings that trust the authorities in pem and no others.
func Trust(pem []byte) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// A Request is made by Get, Form, JSON or Raw; auth and further headers are set afterwards.
type Request struct {
	Method string
	URL    string // with its query; never printed
	Header http.Header
	Body   []byte // nil: none
}

// Get asks for u.
func Get(u string) *Request { return Raw(http.MethodGet, u, "", nil) }

// Form posts v as application/x-www-form-urlencoded.
func Form(u string, v url.Values) *Request {
	return Raw(http.MethodPost, u, "application/x-www-form-urlencoded", []byte(v.Encode()))
}

// JSON posts v as application/json. v is one of ours, so it can be encoded;
// JSON panics if it cannot.
func JSON(u string, v any) *Request {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("once: %T cannot be JSON: %v", v, err))
	}
	return Raw(http.MethodPost, u, "application/json", bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// Raw is a request with any method, body and Content-Type (empty: none).
func Raw(method, u, contentType string, body []byte) *Request {
	r := &Request{Method: method, URL: u, Header: http.Header{"Accept": {"application/json"}, "User-Agent": {"textback"}}, Body: body}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// Basic sets a user and password, and returns r.
func (r *Request) Basic(user, password string) *Request {
	h := http.Request{Header: r.Header}
	h.SetBasicAuth(user, password)
	return r
}

// Bearer sets a key, and returns r.
func (r *Request) Bearer(key string) *Request {
	r.Header.Set("Authorization", "Bearer "+key)
	return r
}

// Answer is what came back, as far as it came.
type Answer struct {
	Sent   bool      // bytes of the request may have left
	Status int       // 0: no answer
	Date   time.Time // by the provider's clock; zero: not said
	Header http.Header
	Body   []byte // whole when there was no error
}

// Do makes one request. With an error, Answer says how far it came. The error
// names no address, credential, number or text.
func (c *Client) Do(ctx context.Context, r *Request) (Answer, error) {
	var a Answer
	// The deadline of the whole exchange starts again when the connection is
	// there, so that a slow connect does not shorten the wait for the answer.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.opt.ConnectTimeout, func() { cancel(errConnectTimeout) })
	defer func() { timer.Stop() }()

	// GotConn is the border: before it nothing of the request has been
	// written, after it nobody can tell. It runs on this goroutine, before the
	// write, and not at all for a CONNECT to a proxy.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		a.Sent = true
		if timer.Stop() {
			timer = time.AfterFunc(c.opt.AnswerTimeout, func() { cancel(errAnswerTimeout) })
		}
	}})

	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return a, errors.New("the URL cannot be requested")
	}
	// Without GetBody, and on a connection of its own, net/http has nothing to
	// send a second time (net/http, shouldRetryRequest and Request.isReplayable).
	req.GetBody = nil
	req.Header = r.Header.Clone()

	// RoundTrip, not http.Client: it follows no redirect and puts no URL into its errors.
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return a, plain(ctx, err)
	}
	defer resp.Body.Close()
	a.Status, a.Header = resp.StatusCode, resp.Header
	a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, c.opt.MaxAnswer+1))
	if err != nil {
		return a, plain(ctx, err)
	}
	if int64(len(a.Body)) > c.opt.MaxAnswer {
		return a, fmt.Errorf("the answer is longer than %d bytes", c.opt.MaxAnswer)
	}
	return a, nil
}

// Submit is Do for a request that hands over a text. A failure is Transient
// while nothing has left, Ambiguous once something may have. A status that came
// without its whole body is no failure, and Body is nil then: a refusal is known
// by its status alone, and an acceptance without its words is the caller's to judge.
func (c *Client) Submit(ctx context.Context, r *Request) (Answer, *sms.Error) {
	a, err := c.Do(ctx, r)
	switch {
	case err == nil:
		return a, nil
	case !a.Sent:
		return a, &sms.Error{Class: sms.Transient, Err: fmt.Errorf("before anything was sent: %w", err)}
	case a.Status == 0:
		return a, &sms.Error{Class: sms.Ambiguous, Err: fmt.Errorf("no answer: %w", err)}
	}
	a.Body = nil
	return a, nil
}

// ClassOfStatus sorts an HTTP status that is not 2xx, for when the provider's own code says
// nothing. 5xx is ambiguous: a gateway's bare 502 may come from behind the point
// at which the text was queued.
func ClassOfStatus(status int) sms.Class {
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
		return sms.Misconfigured // this URL does not take texts
	case status == http.StatusRequestTimeout:
		return sms.Ambiguous // gateways say 408 for a slow provider behind them too
	case status >= 400 && status <= 499:
		return sms.Rejected
	}
	return sms.Ambiguous // 5xx; 302 and 303, which may point at the result; anything unheard of
}

// BaseURL checks where requests go. Credentials travel in every request, so
// http:// is refused except to a loopback address, unless plain allows it (a
// gateway on the office's own network). A slash at the end is taken off.
func BaseURL(s string, plain bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(s, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("want https://host, with a path if the provider has one")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("credentials, query and fragment do not belong in it")
	}
	if u.Scheme == "http" && !plain && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("everything would travel in the clear to %s: use https://", u.Host)
	}
	return u, nil
}

// GatewayURL is BaseURL for what may stand in the office: http:// is taken for
// addresses of its own network, too.
func GatewayURL(s string) (*url.URL, error) {
	u, err := BaseURL(s, Near(s))
	if err != nil && strings.HasPrefix(s, "http://") {
		return u, fmt.Errorf("%w (http:// is for addresses of the office's own network, as numbers: http://192.168.1.20)", err)
	}
	return u, err
}

// Near reports whether s is the URL of this host or of the office's own network:
// a loopback, private or link-local address. A name is not looked up.
func Near(s string) bool {
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return loopback(u.Hostname()) || err == nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Word takes a JSON string or number and is empty for anything else: providers
// quote some of their numbers, compatible ones quote others, and one odd
// field must not make an accepted text unreadable.
type Word string

func (w *Word) UnmarshalJSON(b []byte) error {
	*w = ""
	switch c := b[0]; {
	case c == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*w = Word(s)
	case c == '-' || c >= '0' && c <= '9':
		*w = Word(b)
	}
	return nil
}

// Clean is w if it is a short word such as an id, a code or a status, and empty if it
// might be more than that: a provider's sentence may quote the number and the text.
func (w Word) Clean() string {
	if len(w) > 64 {
		return ""
	}
	for _, r := range w {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.' {
			return ""
		}
	}
	return string(w)
}
