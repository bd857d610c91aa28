// Package notify is in charge of telling the office's own people: by e-mail
// through their mail server, and by webhook to a program of theirs. It makes one
// attempt; the sender's outbox decides about others, so a notice may come twice
// and never gets lost.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	gomail "github.com/wneessen/go-mail"

	"textback/sms"
)

// Options say how staff is reached. Without SMTP there is no e-mail.
type Options struct {
	Site string
	SMTP *SMTP
	// Secret signs webhooks; empty: they are not signed.
	Secret string
	Now    func() time.Time
}

// SMTP is the office's mail server.
type SMTP struct {
	Host string
	Port int    // 0: 587, 465 with implicit TLS, 25 without
	TLS  string // StartTLS (the default), ImplicitTLS or NoTLS
	User string // empty: no login
	Password,
	From string // "Miller Dental <textback@example.com>"
	Roots *x509.CertPool // nil: the system's
}

// How the connection to a mail server is encrypted.
const (
	StartTLS    = "starttls"
	ImplicitTLS = "implicit"
	NoTLS       = "none" // a server on this host
)

// Notifier tells staff. It is safe for concurrent use.
type Notifier struct {
	opt  Options
	http *http.Transport
}

var _ sms.Notifier = (*Notifier)(nil)

// New checks the options; nothing is connected to.
func New(opt Options) (*Notifier, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if s := opt.SMTP; s != nil {
		if _, err := mail.ParseAddress(s.From); err != nil {
			return nil, errors.New("the sender of e-mails is no address: want one such as textback@example.com")
		}
		if s.Host == "" {
			return nil, errors.New("the mail server has no name")
		}
		if s.User != "" && s.TLS == NoTLS && !loopback(s.Host) {
			return nil, errors.New("a password would cross the network in the clear: use starttls or implicit")
		}
	}
	return &Notifier{opt: opt, http: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 20 * time.Second,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}, nil
}

// Notify makes one attempt.
func (n *Notifier) Notify(ctx context.Context, x sms.Notification) error {
	if x.Channel == sms.ByEmail {
		return n.email(ctx, x)
	}
	return n.webhook(ctx, x)
}

func (n *Notifier) email(ctx context.Context, x sms.Notification) error {
	s := n.opt.SMTP
	if s == nil {
		return &sms.Error{Class: sms.Rejected, Err: errors.New("no mail server is configured (notify.smtp)")}
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.Subject(line(x.Subject))
	m.SetDateWithValue(n.opt.Now())
	from, err := mail.ParseAddress(s.From)
	if err == nil {
		err = m.From(from.String())
	}
	if err == nil {
		err = m.To(x.To.Email)
	}
	if err != nil {
		return &sms.Error{Class: sms.Invalid, Err: errors.New("the e-mail address cannot be used")}
	}
	// The same when it is tried again: most mailboxes then show one.
	_, domain, _ := strings.Cut(from.Address, "@")
	m.SetMessageIDWithValue("textback." + x.ID + "@" + domain)
	// RFC 3834: no "out of office" shall answer this.
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader("X-Auto-Response-Suppress", "All")
	m.SetBodyString(gomail.TypeTextPlain, x.Body+"\n")

	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	if err := c.DialWithContext(ctx); err != nil {
		return &sms.Error{Class: sms.Transient, Err: fmt.Errorf("connect to the mail server: %w", words(ctx, err))}
	}
	defer func() { _ = c.Close() }()
	if err := c.Send(m); err != nil {
		// What the server said may quote the address: its code is enough.
		class, code := sms.Transient, ""
		var se *gomail.SendError
		if errors.As(err, &se) && se.ErrorCode() != 0 {
			code = strconv.Itoa(se.ErrorCode())
			if !se.IsTemp() && se.ErrorCode() >= 500 && (se.Reason == gomail.ErrSMTPRcptTo) {
				class = sms.Rejected // no such mailbox
			}
		}
		return &sms.Error{Class: class, Code: code, Err: errors.New("the mail server did not take the e-mail")}
	}
	return nil
}

// Check connects to the mail server and logs in, and sends nothing.
func (n *Notifier) Check(ctx context.Context) error {
	c, err := n.opt.SMTP.client(ctx)
	if err != nil {
		return err
	}
	if err := c.DialWithContext(ctx); err != nil {
		return fmt.Errorf("connect to the mail server: %w", words(ctx, err))
	}
	_ = c.Close()
	return nil
}

// client speaks to the mail server. It looks at ctx until it is connected only;
// after that its own timeout holds.
func (s *SMTP) client(ctx context.Context) (*gomail.Client, error) {
	timeout := 20 * time.Second
	if end, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(end)), time.Millisecond)
	}
	o := []gomail.Option{gomail.WithTimeout(timeout), gomail.WithTLSConfig(&tls.Config{ServerName: s.Host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}), gomail.WithoutNoop()}
	port := s.Port
	switch s.TLS {
	case ImplicitTLS:
		o = append(o, gomail.WithSSL())
		port = or(port, 465)
	case NoTLS:
		o = append(o, gomail.WithTLSPolicy(gomail.NoTLS))
		port = or(port, 25)
	default:
		o = append(o, gomail.WithTLSPolicy(gomail.TLSMandatory))
		port = or(port, 587)
	}
	o = append(o, gomail.WithPort(port))
	if s.User != "" {
		auth := gomail.SMTPAuthAutoDiscover
		if s.TLS == NoTLS {
			auth = gomail.SMTPAuthPlainNoEnc // this host only: New has looked
		}
		o = append(o, gomail.WithSMTPAuth(auth), gomail.WithUsername(s.User), gomail.WithPassword(s.Password))
	}
	c, err := gomail.NewClient(s.Host, o...)
	if err != nil {
		return nil, &sms.Error{Class: sms.Rejected, Err: errors.New("the settings of the mail server cannot work")}
	}
	return c, nil
}

func or(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}

// line makes one header line of s.
func line(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)), " ")
}

// A Notice is the data of a webhook's CloudEvent, of type textback.notice.v1.
type Notice struct {
	Word    sms.Word  `json:"word"` // what it is about: "reply", "call_missed" …
	Staff   string    `json:"staff"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	Call    string    `json:"call,omitempty"`
	Number  string    `json:"number,omitempty"` // the caller's
	Line    string    `json:"line,omitempty"`
	At      time.Time `json:"at"`
}

// SignatureHeader carries t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">.
const SignatureHeader = "Textback-Signature"

// Sign makes the value of SignatureHeader.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

func (n *Notifier) webhook(ctx context.Context, x sms.Notification) error {
	u, err := url.Parse(x.To.Webhook)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return &sms.Error{Class: sms.Invalid, Err: errors.New("the webhook's URL cannot be used: want https://")}
	}
	body, err := json.Marshal(struct {
		SpecVersion string    `json:"specversion"`
		ID          string    `json:"id"`
		Source      string    `json:"source"`
		Type        string    `json:"type"`
		Time        time.Time `json:"time"`
		Subject     string    `json:"subject,omitempty"`
		ContentType string    `json:"datacontenttype"`
		Data        Notice    `json:"data"`
	}{"1.0", x.ID, "/textback/" + n.opt.Site, "textback.notice.v1", x.At.UTC(), x.Line, "application/json",
		Notice{x.Word, x.To.Name, x.Subject, x.Body, x.Call, x.Number, x.Line, x.At.UTC()}})
	if err != nil {
		return &sms.Error{Class: sms.Rejected, Err: errors.New("encode a webhook")}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return &sms.Error{Class: sms.Invalid, Err: errors.New("the webhook's URL cannot be used")}
	}
	req.Header.Set("Content-Type", "application/cloudevents+json; charset=UTF-8")
	req.Header.Set("User-Agent", "textback")
	if n.opt.Secret != "" {
		req.Header.Set(SignatureHeader, Sign(n.opt.Secret, n.opt.Now(), body))
	}
	// No client: it would follow redirects, and its errors quote the URL, which may
	// hold a token.
	resp, err := n.http.RoundTrip(req)
	if err != nil {
		return &sms.Error{Class: sms.Transient, Err: fmt.Errorf("call the webhook: %w", words(ctx, err))}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 16<<10)
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusGone:
		return &sms.Error{Class: sms.Rejected, Code: "410", Err: errors.New("the webhook wants no more notices")}
	}
	return &sms.Error{Class: sms.Transient, Code: strconv.Itoa(resp.StatusCode), Err: errors.New("the webhook did not take the notice")}
}

// words says what happened on the way without what the other side said, which may
// quote addresses.
func words(ctx context.Context, err error) error {
	var (
		dns     *net.DNSError
		errno   syscall.Errno
		unknown x509.UnknownAuthorityError
		cert    *tls.CertificateVerificationError
		nerr    net.Error
	)
	switch {
	case ctx.Err() != nil, errors.As(err, &nerr) && nerr.Timeout():
		return errors.New("it took too long")
	case errors.As(err, &dns):
		return errors.New("its name is not known")
	case errors.As(err, &unknown):
		return errors.New("its certificate is signed by nobody this host trusts")
	case errors.As(err, &cert):
		return errors.New("its certificate is not valid for it")
	case errors.As(err, &errno):
		return errno
	case strings.Contains(err.Error(), "STARTTLS"):
		return errors.New("it offers no STARTTLS")
	case strings.Contains(strings.ToLower(err.Error()), "auth"):
		return errors.New("it refuses the user and password")
	}
	return errors.New("it did not answer as it should")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
