// Package sipmessage is in charge of texts as SIP MESSAGE requests (RFC 3428),
// through the office's own trunk, a GSM gateway or a PBX: out by Submit, in as
// replies over the same socket or connection.
//
// What the other side's answer is worth: 200 means that the next hop has taken the
// text, 202 that it will try. A trunk that hands texts to a mobile network says no
// more than that, and receipts (RFC 5438) are known to few. An Asterisk in between
// says 202 to everything its dialplan takes and drops the answer of what comes
// behind it.
//
// Nobody can be asked afterwards, so everything here serves one question: may the
// text be on its way? Before the words leave, an OPTIONS request finds out whether
// somebody is there; over UDP silence could otherwise not be told from a lost
// answer. The text then leaves in one transaction, which UDP repeats under the
// same branch (RFC 3261, 17.1.2): for the receiver that is one request. A new
// branch is used only after a definite answer: a challenge.
//
// The Call-ID is made of the job id, so that both sides' logs can be laid side by
// side. It does not make a second Submit harmless: receivers know a request again
// by its branch, for 32 s at most, and a PBX in between makes a Call-ID of its own.
//
// Replies are acknowledged once they are stored. A carrier that is told 503 may send
// its text again; an Asterisk in between never does, whatever it is told.
package sipmessage

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/time/rate"

	"textback/pbx/number"
	"textback/sms"
)

// Networks that SIP travels by.
const (
	UDP = "udp"
	TCP = "tcp"
	TLS = "tls"
)

const (
	// RFC 3428, 8: a MESSAGE must not be longer than 1300 bytes unless everything
	// on its way is known to take more.
	defaultMaxSize = 1300
	maxMaxSize     = 60 << 10

	defaultConnectTimeout = 5 * time.Second
	defaultAnswerTimeout  = 32 * time.Second // 64*T1, timer F of RFC 3261
	defaultExpires        = 10 * time.Minute
	defaultKeepAlive      = 30 * time.Second

	// A server may ask us to stay away, but not so long that no text would ever be
	// fresh enough again.
	maxRetryAfter = 5 * time.Minute
)

// Options say who the server is, who we are, and what may come in.
type Options struct {
	// Server is where requests are sent: a host or an address, with or without a
	// port. Without one, a name is looked up as a service (SRV) first.
	Server  string
	Network string      // UDP (when empty), TCP or TLS
	TLS     *tls.Config // for TLS: roots of trust, and our certificate if we listen; may be nil

	// User and Password answer the server's challenge. Both may be empty: many
	// trunks know a PBX by its address.
	User     string
	Password string
	Domain   string // stands in every address; the server's host when empty

	// Digits writes numbers as 12025550143 instead of +12025550143. As user: the From
	// header names User, as registrars often demand, and the line stands in
	// P-Asserted-Identity alone.
	Digits           bool
	FromUser         bool
	AssertedIdentity bool          // add P-Asserted-Identity (RFC 3325) with the line's number
	Validity         time.Duration // how long the text is worth sending on (Expires); zero: not said
	Notifications    bool          // ask for delivery notifications (RFC 5438), in a message/cpim body
	MaxSize          int           // bytes of a whole request; 1300 when zero. UDP takes no more than that

	// Register keeps a registration with the server, so that it knows where
	// replies shall go, through a NAT too.
	Register bool
	Expires  time.Duration // asked for; the server may grant less; zero is 10 min

	// Listen is host:port to which MESSAGE requests are sent; empty: a port that
	// the system chooses, which only a registration makes known. Advertise is the host:port that
	// the server shall see where a NAT hides the real one.
	Listen    string
	Advertise string
	// Allow names who else than the server may send: nobody when empty.
	Allow []netip.Prefix

	Region        string  // ISO 3166: where numbers without a country code are at home
	RatePerSecond float64 // 0: no limit

	// NoProbe leaves out the OPTIONS request before a text, for servers that never
	// answer any. Then a server that is away makes a text ambiguous over UDP.
	NoProbe bool

	ConnectTimeout time.Duration // to a usable connection and the probe's answer; zero is 5 s
	AnswerTimeout  time.Duration // from the request to its final answer; zero is 32 s
	KeepAlive      time.Duration // between signs of life while registered; zero is 30 s

	Log *slog.Logger     // nil: silent
	Now func() time.Time // time.Now when nil
}

// Transport sends and receives by way of one server. It is safe for concurrent
// use. Texts leave only while Run runs.
type Transport struct {
	opt     Options
	host    string // of the server
	port    int    // 0: none given
	log     *slog.Logger
	limiter *rate.Limiter

	mu       sync.Mutex
	sess     *session // nil: Run does not run
	away     time.Time
	deaf     error                    // why replies do not arrive; nil: they do
	servers  map[netip.Addr]time.Time // addresses of the server, and when they were last looked up
	inflight sync.WaitGroup

	challenged atomic.Bool // the server wants to know who asks, and we can tell
}

var (
	_ sms.Transport = (*Transport)(nil)
	_ sms.Declarer  = (*Transport)(nil)
	_ sms.Runner    = (*Transport)(nil)

	numberLike = regexp.MustCompile(`^\+?[0-9]{2,20}$`)
	userLike   = regexp.MustCompile(`^[a-zA-Z0-9+._~!$&'()*,;=-]{1,64}$`)
	hostLike   = regexp.MustCompile(`^[a-zA-Z0-9.-]{1,253}$|^\[?[0-9a-fA-F:.]{2,45}\]?$`)
	idLike     = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,100}$`)
)

// New checks opt and returns a Transport. It does not go to the network.
func New(opt Options) (*Transport, error) {
	t := &Transport{opt: opt, log: opt.Log, servers: map[netip.Addr]time.Time{}}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	o := &t.opt
	switch o.Network {
	case "":
		o.Network = UDP
	case UDP, TCP, TLS:
	default:
		return nil, fmt.Errorf("sip: network %q: want udp, tcp or tls", o.Network)
	}
	var err error
	if t.host, t.port, err = SplitServer(o.Server); err != nil {
		return nil, fmt.Errorf("sip: server: %w", err)
	}
	if o.Domain == "" {
		o.Domain = t.host
	}
	if !hostLike.MatchString(o.Domain) {
		return nil, errors.New("sip: domain: want a host name or an address")
	}
	if o.User != "" && !userLike.MatchString(o.User) {
		return nil, errors.New("sip: user: want the name of a SIP account, without sip: and domain")
	}
	if o.User == "" && (o.Register || o.FromUser || o.Password != "") {
		return nil, errors.New("sip: a registration, a password, or a sender that is the account: each needs a user")
	}
	if o.MaxSize == 0 {
		o.MaxSize = defaultMaxSize
	}
	if o.MaxSize < 600 || o.MaxSize > maxMaxSize || o.Network == UDP && o.MaxSize > defaultMaxSize {
		return nil, errors.New("sip: size of a request: want 600 to 1300 bytes over UDP, to 61440 over TCP and TLS")
	}
	if o.Listen != "" {
		if _, _, err := splitHostPort(o.Listen); err != nil {
			return nil, fmt.Errorf("sip: listen: %w", err)
		}
		if o.Network == TLS && (o.TLS == nil || len(o.TLS.Certificates) == 0 && o.TLS.GetCertificate == nil) {
			return nil, errors.New("sip: listen: TLS needs a certificate of ours")
		}
	}
	if o.Advertise != "" {
		if host, port, err := splitHostPort(o.Advertise); err != nil || port == 0 || !hostLike.MatchString(host) {
			return nil, errors.New("sip: advertise: want host:port as the server sees it")
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.ConnectTimeout, defaultConnectTimeout}, {&o.AnswerTimeout, defaultAnswerTimeout}, {&o.Expires, defaultExpires}, {&o.KeepAlive, defaultKeepAlive}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.RatePerSecond > 0 {
		t.limiter = rate.NewLimiter(rate.Limit(o.RatePerSecond), 1)
	}
	if opt.Register {
		t.deaf = errors.New("not registered with the SIP server yet, so replies and STOP do not arrive")
	}
	return t, nil
}

// ValidUser and ValidDomain tell what Options.User and Options.Domain may be.
func ValidUser(s string) bool   { return userLike.MatchString(s) }
func ValidDomain(s string) bool { return hostLike.MatchString(s) }

// SplitServer reads a server's host and port; port is 0 where there is none.
func SplitServer(s string) (host string, port int, err error) {
	host = s
	if ip, e := netip.ParseAddr(strings.Trim(s, "[]")); e == nil {
		return ip.String(), 0, nil
	}
	if strings.Contains(s, ":") {
		if host, port, err = splitHostPort(s); err == nil && port == 0 {
			err = errNotServer
		}
	}
	if err != nil || !hostLike.MatchString(host) {
		return "", 0, errNotServer
	}
	return host, port, nil
}

var errNotServer = errors.New("want a host such as sip.example.com or 192.0.2.10, with :port if it is not the usual one")

func splitHostPort(s string) (string, int, error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, errors.New("want host:port")
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, errors.New("want host:port")
	}
	return host, int(port), nil
}

// Traits implements sms.Declarer.
func (t *Transport) Traits() sms.Traits {
	tr := sms.Traits{
		Name:          "sip",
		Replies:       sms.NoReplies,
		Receipts:      t.opt.Notifications,
		RatePerSecond: t.opt.RatePerSecond,
		// The limit is one of bytes; a segment of GSM-7 is 153 of them.
		MaxSegments: max(1, (t.opt.MaxSize-t.heads())/153),
	}
	if t.opt.Listen != "" || t.opt.Register {
		tr.Replies = sms.BySession
	}
	return tr
}

// Submit hands m to the server in one attempt. Its errors are *sms.Error. A ctx
// that ends after the text has left makes it ambiguous. The receipt's ProviderID
// is the Call-ID.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	if !numberLike.MatchString(m.To) {
		return sms.Receipt{}, failure(sms.Invalid, 0, errors.New("the recipient is not a number"))
	}
	s := t.enter()
	if s == nil {
		return sms.Receipt{}, failure(sms.Transient, 0, errors.New("the SIP socket is not open yet"))
	}
	defer t.inflight.Done()
	if wait := t.stayAway(); wait > 0 {
		return sms.Receipt{}, failure(sms.Throttled, 503, fmt.Errorf("the server asked to be left alone for another %s", wait.Round(time.Second)))
	}
	if t.limiter != nil {
		lctx, cancel := context.WithTimeout(ctx, t.opt.AnswerTimeout)
		err := t.limiter.Wait(lctx)
		cancel()
		if err != nil {
			return sms.Receipt{}, failure(sms.Throttled, 0, errors.New("more texts at once than the rate limit lets out"))
		}
	}
	req, err := t.request(m)
	if err != nil {
		return sms.Receipt{}, err
	}

	cctx, cancel := context.WithTimeout(ctx, t.opt.ConnectTimeout)
	to, err := s.reach(cctx)
	cancel()
	if err != nil {
		return sms.Receipt{}, failure(sms.Transient, 0, fmt.Errorf("nothing was sent: %w", err))
	}

	actx, cancel := context.WithTimeout(ctx, t.opt.AnswerTimeout)
	defer cancel()
	res, err := s.do(actx, req, to)
	switch {
	case errors.Is(err, errNotSent):
		if errors.Is(err, sip.ErrUDPMTUCongestion) {
			return sms.Receipt{}, failure(sms.Rejected, 0, fmt.Errorf("the text makes a request that is longer than UDP may carry (%d bytes): use tcp or tls, or fewer words", defaultMaxSize))
		}
		return sms.Receipt{}, failure(sms.Transient, 0, err)
	case err != nil:
		return sms.Receipt{}, failure(sms.Ambiguous, 0, err)
	}
	if res.IsSuccess() {
		return sms.Receipt{ProviderID: string(*req.CallID()), Status: strconv.Itoa(res.StatusCode)}, nil
	}
	return sms.Receipt{}, t.verdict(res, req.GetHeader("Authorization") != nil || req.GetHeader("Proxy-Authorization") != nil)
}

// enter hands out the running session; the caller ends its use with inflight.Done.
func (t *Transport) enter() *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sess != nil {
		t.inflight.Add(1)
	}
	return t.sess
}

func (t *Transport) stayAway() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.away.Sub(t.opt.Now())
}

// heads is how many bytes a request has beside the words, with the longest Call-ID that we
// make, and the answer to a challenge where we can give one.
func (t *Transport) heads() int {
	// An id that must be hashed; the three bytes of words stand for the digits that Content-Length gains.
	req, err := t.build(sms.Message{ID: "?", From: "+12125550100", To: "+12025550143", Body: "xxx"})
	if err != nil {
		return 0 // there is no sender: nothing goes out at all
	}
	return len(req.String()) + t.toCome(t.opt.User != "")
}

// request builds the MESSAGE, without Via, and refuses one that is too long.
func (t *Transport) request(m sms.Message) (*sip.Request, error) {
	req, err := t.build(m)
	if err != nil {
		return nil, err
	}
	if size := len(req.String()) + t.toCome(t.challenged.Load()); size > t.opt.MaxSize {
		return nil, failure(sms.Rejected, 0, fmt.Errorf("the text makes a request of %d bytes; %d are allowed (RFC 3428, 8)", size, t.opt.MaxSize))
	}
	return req, nil
}

func (t *Transport) build(m sms.Message) (*sip.Request, error) {
	from := m.From
	if from == "" || t.opt.FromUser {
		from = t.opt.User
	}
	if from == "" {
		return nil, failure(sms.Misconfigured, 0, errors.New("no sender: set sms.from"))
	}
	callID := t.callID(m.ID)
	req := sip.NewRequest(sip.MESSAGE, sip.Uri{Scheme: "sip", User: t.user(m.To), Host: uriHost(t.opt.Domain)})
	t.head(req, t.user(from), t.user(m.To), callID)
	if (t.opt.AssertedIdentity || t.opt.FromUser) && m.From != "" {
		req.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<sip:"+t.user(m.From)+"@"+uriHost(t.opt.Domain)+">"))
	}
	now := t.opt.Now()
	if t.opt.Validity > 0 {
		// RFC 3428, 7: Expires is meant with the Date beside it.
		req.AppendHeader(sip.NewHeader("Date", sipDate(now)))
		req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(t.opt.Validity/time.Second))))
	}
	if t.opt.Notifications {
		req.AppendHeader(sip.NewHeader("Content-Type", "message/cpim"))
		req.SetBody(wrap(t.user(from), t.user(m.To), uriHost(t.opt.Domain), messageID(callID), m.Body, now))
	} else {
		req.AppendHeader(sip.NewHeader("Content-Type", "text/plain;charset=UTF-8"))
		req.SetBody([]byte(m.Body))
	}
	return req, nil
}

// toCome is how long a request may grow: by Via, and over UDP, which carries no more, by
// the answer to a challenge where the server makes them. It is better refused now than
// after the challenge.
func (t *Transport) toCome(challenged bool) int {
	if t.opt.Network == UDP && challenged {
		return 450
	}
	return 120
}

// head adds what every request has, but for Via.
func (t *Transport) head(req *sip.Request, from, to, callID string) {
	host := uriHost(t.opt.Domain)
	f := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: from, Host: host}}
	f.Params.Add("tag", sip.GenerateTagN(16))
	req.AppendHeader(f)
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: to, Host: host}})
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	// RFC 3261, 8.1.1.5: by the clock, so that a later attempt under the same Call-ID has a higher one.
	req.AppendHeader(&sip.CSeqHeader{SeqNo: uint32(t.opt.Now().Unix()) & 0x3fffffff, MethodName: req.Method})
	mf := sip.MaxForwardsHeader(70)
	req.AppendHeader(&mf)
	req.AppendHeader(sip.NewHeader("User-Agent", "textback"))
	req.SetTransport(strings.ToUpper(t.opt.Network))
	req.SetBody(nil)
}

// hashed begins a Call-ID whose job id cannot stand in one.
const hashed = "h."

// callID is the same for every attempt at one text.
func (t *Transport) callID(id string) string {
	if !idLike.MatchString(id) {
		sum := sha256.Sum256([]byte(id))
		id = hashed + hex.EncodeToString(sum[:16])
	}
	return id + "@textback"
}

// messageID is what a delivery notification names: a Call-ID without its host.
func messageID(callID string) string { return strings.TrimSuffix(callID, "@textback") }

// user writes a number as the server wants it, and anything else so that it can
// stand in an address.
func (t *Transport) user(s string) string {
	if numberLike.MatchString(s) {
		if t.opt.Digits {
			return strings.TrimPrefix(s, "+")
		}
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if userLike.MatchString(s[i : i+1]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// phone is the other way round: E.164 where it is a number, else what is shown. With
// Digits a number is an international one first.
func (t *Transport) phone(user string) string {
	if n := number.Party(user, t.opt.Region, !t.opt.Digits); n != "" {
		return n
	}
	return user
}

// uriHost puts an IPv6 address into brackets.
func uriHost(h string) string {
	if strings.Contains(h, ":") && !strings.HasPrefix(h, "[") {
		return "[" + h + "]"
	}
	return h
}

// sipDate is RFC 3261's: always GMT.
func sipDate(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05") + " GMT" }
