// Package smpp is in charge of handing texts to an SMSC over SMPP 3.4, and of
// taking its receipts and replies from the same session. Run keeps one
// transceiver session; Submit sends over whichever session there is.
//
// # May the text be on its way?
//
// A submit_sm whose octets may have left, and whose response did not come, is
// Ambiguous: the protocol has no way to ask for a message of which one does not
// know the SMSC's id. If the response comes later over the same session after all, it is
// handed to the Inbox as a receipt. A response that refuses is definite, and so is a text
// for which there was no session or no place in the window: nothing of it was written.
//
// # Long texts
//
// A text of several segments is several submit_sm, unless the SMSC cuts it
// (message_payload). They go out one after the other, each after the
// response to the one before. If the first is refused, nothing was taken and the refusal is the answer. Once
// it was taken there is no way back: cancel_sm is optional, and may come late.
// So a later part that was definitely not taken (throttled, queue full, no session) is offered
// again while Submit may last: that finishes the text, and cannot double
// it. If it is refused for good, or its fate is not known, the text is Ambiguous whatever
// the refusal says, because phones show what they have got, some at once and
// some after hours: the text sent again, or by another provider, would be a second one.
//
// # Replies
//
// A deliver_sm is answered once the Inbox has taken what it carries, and with
// ESME_RX_T_APPN, for which SMSCs offer it again, if not. Parts of long replies
// are no exception: an SMSC with a window of one sends the second part only after
// the answer to the first, so each part is put on disk and then answered. See parts.go.
package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
)

// A LongWay is how a text of several segments is submitted.
type LongWay string

const (
	ByUDH     LongWay = "udh"     // parts with a user data header: what nearly all SMSCs take
	BySAR     LongWay = "sar"     // parts with the sar_ parameters, of which the SMSC makes the header
	ByPayload LongWay = "payload" // in one piece as message_payload; the SMSC cuts it
)

// An IDForm is how receipts write the ids that responses to submits gave.
type IDForm string

const (
	IDsLearned IDForm = ""        // as they are, or in the other base: found out by the first that fits
	IDsSame    IDForm = "same"    // as they are
	IDsDecimal IDForm = "decimal" // responses hexadecimal, receipts decimal
	IDsHex     IDForm = "hex"     // responses decimal, receipts hexadecimal
)

// MaxPassword is more than the specification's 8 (4.1.1), which many SMSCs do not keep to.
const MaxPassword = 64

const defaultConnectTimeout = 10 * time.Second

// A Kind is a type of number and a numbering plan.
type Kind struct{ TON, NPI byte }

// Options say which SMSC, as whom, and how. Address, SystemID and Dir must be set.
type Options struct {
	Address string      // host:port
	TLS     *tls.Config // nil: in the clear

	SystemID, Password, SystemType string

	// From is used for a Message that has no From of its own.
	From string
	// Source and Destination overrule what follows from an address's look: a
	// plus sign makes it international, letters alphanumeric, and few digits a
	// short code (network specific).
	Source, Destination *Kind
	// Region (ISO 3166-1) is where replies' national numbers are from.
	Region string

	Long LongWay // ByUDH when empty
	// Latin1 says that the SMSC's default alphabet (data_coding 0) is Latin-1.
	Latin1 bool
	// Validity is how long the SMSC may try to deliver a text; zero leaves it to the SMSC.
	Validity time.Duration
	// Reference puts a number made of Message.ID into submits (user_message_reference),
	// which some SMSCs repeat in receipts, and others refuse.
	Reference  bool
	ReceiptIDs IDForm
	// Codes are classes of statuses that are the provider's own, or mean something else there.
	Codes map[pdu.Status]sms.Class

	// Dir is where parts of long replies wait for the others. It is made if it is not there.
	Dir string

	Window      int     // submits without a response at most; zero is 10
	Rate        float64 // declared as Traits.RatePerSecond
	MaxSegments int     // a longer text is refused unsent; declared as Traits.MaxSegments; zero is no limit but the protocol's 255

	ConnectTimeout time.Duration // to a bound session; zero is 10 s
	AnswerTimeout  time.Duration // for the response to a submit; zero is 30 s
	EnquireEvery   time.Duration // without a word from the SMSC; zero is 30 s
	EnquireTimeout time.Duration // for the answer to that; zero is 10 s
	MinPause       time.Duration // before the first attempt to connect again; zero is 1 s
	MaxPause       time.Duration // it doubles up to this; zero is 1 min
	Settled        time.Duration // a session that lasted this long starts the pauses anew; zero is 30 s
	PartsPatience  time.Duration // after which an incomplete reply is given as it is; zero is 1 h

	Log *slog.Logger     // slog.Default() when nil
	Now func() time.Time // time.Now when nil
}

// Transport submits over the session that Run keeps. It is safe for concurrent use.
type Transport struct {
	opt   Options
	book  book
	parts *parts
	ref   atomic.Uint32 // of the last long text

	mu      sync.Mutex
	session *session // nil: none is bound
	why     error    // why no text is taken up: an *sms.Error; nil: they are
	active  int      // texts in Submit's hands
	idle    chan struct{}
}

var _ interface {
	sms.Transport
	sms.Declarer
	sms.Runner
} = (*Transport)(nil)

// New checks opt and returns a Transport. It does not go to the network; Run does.
func New(opt Options) (*Transport, error) {
	if _, port, err := net.SplitHostPort(opt.Address); err != nil || port == "" {
		return nil, errors.New("smpp: address: want host:port, such as smpp.example.com:2775")
	}
	// The specification's limits (4.1.1), less the zero at the end.
	switch {
	case opt.SystemID == "" || len(opt.SystemID) > 15:
		return nil, errors.New("smpp: system id: want 1 to 15 characters")
	case len(opt.Password) > MaxPassword:
		return nil, fmt.Errorf("smpp: password: want at most %d characters", MaxPassword)
	case len(opt.SystemType) > 12:
		return nil, errors.New("smpp: system type: want at most 12 characters")
	case opt.Validity < 0 || opt.Validity > MaxValidity:
		return nil, fmt.Errorf("smpp: validity %s: want at most %s", opt.Validity, MaxValidity)
	case opt.Dir == "":
		return nil, errors.New("smpp: there is no directory for parts of long replies")
	}
	switch opt.Long {
	case "":
		opt.Long = ByUDH
	case ByUDH, BySAR, ByPayload:
	default:
		return nil, fmt.Errorf("smpp: long texts: %q is none of udh, sar, payload", opt.Long)
	}
	switch opt.ReceiptIDs {
	case IDsLearned, IDsSame, IDsDecimal, IDsHex:
	default:
		return nil, fmt.Errorf("smpp: receipt ids: %q is none of same, decimal, hex", opt.ReceiptIDs)
	}
	if opt.Window <= 0 {
		opt.Window = 10
	}
	for _, d := range []struct {
		value   *time.Duration
		instead time.Duration
	}{
		{&opt.ConnectTimeout, defaultConnectTimeout}, {&opt.AnswerTimeout, 30 * time.Second}, {&opt.EnquireEvery, 30 * time.Second},
		{&opt.EnquireTimeout, 10 * time.Second}, {&opt.MinPause, time.Second}, {&opt.MaxPause, time.Minute},
		{&opt.Settled, 30 * time.Second}, {&opt.PartsPatience, time.Hour},
	} {
		if *d.value <= 0 {
			*d.value = d.instead
		}
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	p, err := openParts(opt.Dir, opt.Now)
	if err != nil {
		return nil, err
	}
	t := &Transport{opt: opt, parts: p, idle: make(chan struct{}, 1), why: failure(sms.Transient, "", errors.New("there is no session with the provider yet"))}
	t.book.form = opt.ReceiptIDs
	t.ref.Store(rand.Uint32()) // a phone must not join texts from before a restart with those after
	return t, nil
}

// Traits tells what the session can do.
func (t *Transport) Traits() sms.Traits {
	return sms.Traits{Name: "smpp", Replies: sms.BySession, Receipts: true, RatePerSecond: t.opt.Rate, MaxSegments: t.opt.MaxSegments}
}

// Submit hands m to the SMSC in one attempt; see the package's description for
// texts of several segments. Its errors are *sms.Error.
func (t *Transport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	bodies, segments, err := t.compose(m)
	if err != nil {
		return sms.Receipt{}, err
	}
	if err := t.begin(); err != nil {
		return sms.Receipt{}, err
	}
	defer t.finish()
	text := &sent{message: m.ID, parts: len(bodies)}
	first := ""
	for i, body := range bodies {
		id, err := t.submitPart(ctx, body, text, i > 0)
		if err != nil {
			if i > 0 {
				err = incomplete(err, i, len(bodies))
			}
			return sms.Receipt{}, err
		}
		if i == 0 {
			first = id
		}
	}
	return sms.Receipt{ProviderID: first, Segments: segments}, nil
}

// begin takes up a text, and finish lets go of it: Run does not end between the
// parts of one.
func (t *Transport) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why != nil {
		return t.why
	}
	t.active++
	return nil
}

func (t *Transport) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active--; t.active == 0 {
		select {
		case t.idle <- struct{}{}:
		default:
		}
	}
}

// drain takes up no more texts and waits until the last is finished, or done is closed.
func (t *Transport) drain(done <-chan struct{}) {
	t.mu.Lock()
	t.why = failure(sms.Transient, "", errStopping)
	t.mu.Unlock()
	for {
		t.mu.Lock()
		n := t.active
		t.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-t.idle:
		case <-done:
			return
		}
	}
}

// incomplete is err once some parts were taken.
func incomplete(err error, taken, of int) error {
	e := &sms.Error{Class: sms.Ambiguous, Err: fmt.Errorf("smpp: submit: %d of %d parts were taken, the phone may show them: %w", taken, of, err)}
	var cause *sms.Error
	if errors.As(err, &cause) {
		e.Code = cause.Code
	}
	return e
}

// submitPart submits one part. A later one that was definitely not taken, and
// may be taken later, is offered again until ctx ends or for as long as a
// response may take.
func (t *Transport) submitPart(ctx context.Context, body []byte, of *sent, later bool) (id string, err error) {
	end := time.NewTimer(t.opt.AnswerTimeout)
	defer end.Stop()
	for pause := t.opt.MinPause; ; pause = min(2*pause, t.opt.MaxPause) {
		if id, err = t.submitOnce(ctx, body, of); err == nil || !later || !sms.ClassOf(err).Retryable() {
			return id, err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-end.C:
			again.Stop()
			return "", err
		case <-ctx.Done():
			again.Stop()
			return "", err
		}
	}
}

func (t *Transport) submitOnce(ctx context.Context, body []byte, of *sent) (id string, err error) {
	t.mu.Lock()
	s, why := t.session, t.why
	t.mu.Unlock()
	if s == nil {
		return "", why
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.done:
		return "", failure(sms.Transient, "", fmt.Errorf("submit: before anything was sent: %w", s.cause()))
	case <-ctx.Done():
		return "", failure(sms.Transient, "", fmt.Errorf("submit: before anything was sent: %w", context.Cause(ctx)))
	}
	// The id is noted before the next PDU is read, which may be its receipt.
	note := func(a pdu.PDU, late bool) {
		if a.Status != pdu.OK || a.Command != pdu.SubmitSM|pdu.Response {
			return
		}
		id, _ := pdu.ParseID(a.Body)
		if first, whole := t.book.taken(of, id); late && whole {
			// Submit could not tell; this does.
			select {
			case s.late <- sms.DeliveryReceipt{ProviderID: first, MessageID: of.message, Delivery: sms.EnRoute}:
			default:
			}
		}
	}
	a, sent, err := s.request(ctx, pdu.SubmitSM, body, t.opt.AnswerTimeout, note)
	switch {
	case err != nil && !sent:
		return "", failure(sms.Transient, "", fmt.Errorf("submit: before anything was sent: %w", err))
	case err != nil:
		return "", failure(sms.Ambiguous, "", fmt.Errorf("submit: no answer: %w", err))
	case a.Status == pdu.WrongBindState:
		s.retire(fmt.Errorf("submit: %w (status %s)", errDisowned, a.Status))
		return "", t.refusal("submit", a.Status)
	case a.Status != pdu.OK:
		return "", t.refusal("submit", a.Status)
	case a.Command != pdu.SubmitSM|pdu.Response:
		return "", failure(sms.Ambiguous, "", errors.New("submit: the answer is to something else"))
	}
	id, _ = pdu.ParseID(a.Body)
	return id, nil
}

// compose makes the bodies of the submit_sm that m needs.
func (t *Transport) compose(m sms.Message) (bodies [][]byte, segments int, err error) {
	from := m.From
	if from == "" {
		from = t.opt.From
	}
	base := pdu.Message{Registered: pdu.WantReceipt, Validity: relative(t.opt.Validity)}
	var ok bool
	if base.Source, ok = outgoing(from, t.opt.Source); !ok {
		return nil, 0, failure(sms.Misconfigured, "", errors.New("submit: the sender is no number, short code, or name of at most 11 characters"))
	}
	if base.Destination, ok = outgoing(m.To, t.opt.Destination); !ok {
		return nil, 0, failure(sms.Invalid, "", errors.New("submit: the recipient is not a number"))
	}
	if m.Body == "" {
		return nil, 0, failure(sms.Rejected, "", errors.New("submit: the text is empty"))
	}
	if t.opt.Reference {
		base.TLVs = pdu.TLVs{{Tag: pdu.UserMessageReference, Value: reference(m.ID)}}
	}
	texts, encode := t.split(m.Body, &base.Coding)
	segments = len(texts)
	if segments > 255 {
		return nil, 0, failure(sms.Rejected, "", errors.New("submit: the text needs more than 255 segments"))
	}
	if most := t.opt.MaxSegments; most > 0 && segments > most {
		return nil, 0, failure(sms.Rejected, "", fmt.Errorf("submit: the text has %d segments, and %d is the most this way", segments, most))
	}
	if segments == 1 {
		base.Short = encode(nil, m.Body)
		return [][]byte{base.Append(nil)}, 1, nil
	}
	if t.opt.Long == ByPayload {
		base.TLVs = append(base.TLVs, pdu.TLV{Tag: pdu.MessagePayload, Value: encode(nil, m.Body)})
		return [][]byte{base.Append(nil)}, segments, nil
	}
	ref := t.ref.Add(1)
	for i, text := range texts {
		part := base
		if t.opt.Long == BySAR {
			part.TLVs = append(base.TLVs[:len(base.TLVs):len(base.TLVs)], pdu.TLV{Tag: pdu.SARReference, Value: []byte{byte(ref >> 8), byte(ref)}},
				pdu.TLV{Tag: pdu.SARTotal, Value: []byte{byte(segments)}}, pdu.TLV{Tag: pdu.SARSequence, Value: []byte{byte(i + 1)}})
			part.Short = encode(nil, text)
		} else {
			part.ESMClass |= pdu.HasHeader
			part.Short = encode(gsm7.Part{Ref: uint16(byte(ref)), Total: byte(segments), Seq: byte(i + 1)}.Header(), text)
		}
		bodies = append(bodies, part.Append(nil))
	}
	return bodies, segments, nil
}

// split cuts body into segments, and tells how they are written.
func (t *Transport) split(body string, coding *byte) (texts []string, encode func(dst []byte, s string) []byte) {
	texts, encoding := gsm7.Split(body)
	switch {
	case encoding != "GSM-7" || t.opt.Latin1 && strings.ContainsFunc(body, func(r rune) bool { return r > 0xff }):
		*coding = gsm7.CodingUCS2
		return gsm7.SplitUCS2(body), gsm7.EncodeUCS2
	case t.opt.Latin1:
		return texts, func(dst []byte, s string) []byte {
			for _, r := range s {
				dst = append(dst, byte(r))
			}
			return dst
		}
	}
	return texts, func(dst []byte, s string) []byte {
		dst, _ = gsm7.Encode(dst, s)
		return dst
	}
}

// MaxValidity is what the relative form's days hold.
const MaxValidity = 99 * 24 * time.Hour

// relative is d as a period from now: YYMMDDhhmmss000R (7.1.1.2).
func relative(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	s := int(d / time.Second)
	return fmt.Sprintf("0000%02d%02d%02d%02d000R", s/86400, s/3600%24, s/60%60, s%60)
}

// Run keeps a session with the SMSC, and gives in what comes over it, until ctx
// ends. Then nothing new is submitted, what is under way is waited for, and the session is
// unbound.
func (t *Transport) Run(ctx context.Context, in sms.Inbox) error {
	if err := os.MkdirAll(t.opt.Dir, 0o700); err != nil {
		return fmt.Errorf("smpp: the directory for parts of long replies: %w", err)
	}
	pause := t.opt.MinPause
	for {
		s, err := t.open(ctx)
		if err == nil {
			t.opt.Log.Info("the SMPP session is bound", "address", t.opt.Address)
			t.set(s, nil)
			began := time.Now()
			err = s.serve(ctx, in)
			if time.Since(began) >= t.opt.Settled {
				pause = t.opt.MinPause
			}
		}
		var e *sms.Error
		if !errors.As(err, &e) {
			err = failure(sms.Transient, "", fmt.Errorf("there is no session with the provider: %w", err))
		}
		t.set(nil, err)
		if ctx.Err() != nil {
			return nil
		}
		// Half of the pause is random, so that all clients of a restarted SMSC do not come at once.
		wait := pause/2 + rand.N(pause/2+1)
		t.opt.Log.Warn("no SMPP session; connecting again", "address", t.opt.Address, "error", err, "pause", wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, t.opt.MaxPause)
	}
}

func (t *Transport) set(s *session, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session, t.why = s, why
}

// Health is why nothing leaves and nothing comes in now; nil while a session is bound.
func (t *Transport) Health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why
}

// open connects and binds.
func (t *Transport) open(ctx context.Context) (*session, error) {
	dctx, cancel := context.WithTimeout(ctx, t.opt.ConnectTimeout)
	defer cancel()
	conn, err := t.opt.connect(dctx)
	if err != nil {
		return nil, err
	}
	s := newSession(t, conn)
	go s.read()
	b := pdu.Bind{SystemID: t.opt.SystemID, Password: t.opt.Password, SystemType: t.opt.SystemType, Version: 0x34}
	a, _, err := s.request(dctx, pdu.BindTransceiver, b.Append(nil), t.opt.ConnectTimeout, nil)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		err = errors.New("bind: the provider closed the connection without an answer: it may not know this host's address")
	case err != nil:
		err = fmt.Errorf("bind: %w", err)
	case a.Status != pdu.OK:
		err = t.refusal("bind", a.Status)
	default:
		return s, nil
	}
	s.end(err)
	<-s.done
	return nil, err
}

// Reach connects to the SMSC of opt, with TLS if that is set, and leaves again
// without binding: where the account may have one session, a second one would
// disturb a running daemon.
func Reach(ctx context.Context, opt Options) error {
	if opt.ConnectTimeout <= 0 {
		opt.ConnectTimeout = defaultConnectTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, opt.ConnectTimeout)
	defer cancel()
	conn, err := opt.connect(ctx)
	if err != nil {
		return failure(sms.Transient, "", err)
	}
	return conn.Close()
}

// connect makes a connection, secure if that is asked for.
func (opt *Options) connect(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", opt.Address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if opt.TLS == nil {
		return conn, nil
	}
	c := opt.TLS.Clone()
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(opt.Address)
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}

// failure keeps returns short.
func failure(class sms.Class, code string, err error) error {
	return &sms.Error{Class: class, Code: code, Err: fmt.Errorf("smpp: %w", err)}
}
