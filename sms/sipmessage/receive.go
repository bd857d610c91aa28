package sipmessage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"textback/sms"
)

const (
	// So many texts are written to disk at once; the next is asked to come again.
	maxHandlers = 16
	// The sender repeats a request for 32 s and gives up then.
	storeTimeout = 10 * time.Second
	retrySeconds = "30"

	methods = "MESSAGE, OPTIONS"
	accepts = "text/plain, message/cpim, message/imdn+xml, multipart/mixed, multipart/related"
)

// outcome is what an incoming MESSAGE is, or why it is not taken.
type outcome struct {
	text    *sms.Inbound
	receipt *sms.DeliveryReceipt
	code    int // 0: taken
	reason  string
	header  sip.Header
}

// message takes a MESSAGE. sipgo answers retransmissions of one that has its
// answer, and swallows those of one that is still being written.
func (s *session) message(req *sip.Request, tx sip.ServerTransaction) {
	s.mu.Lock()
	select {
	case <-s.ending:
		s.mu.Unlock()
		s.later(req, tx)
		return
	default:
	}
	s.handlers.Add(1)
	s.mu.Unlock()
	defer s.handlers.Done()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.later(req, tx)
		return
	}
	o := s.t.read(req)
	if o.code != 0 {
		respond(req, tx, o.code, o.reason, o.header)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	var err error
	switch {
	case o.text != nil:
		err = s.in.Received(ctx, *o.text)
	case o.receipt != nil:
		err = s.in.Receipt(ctx, *o.receipt)
	}
	if err != nil {
		s.t.log.Error("a text that came by SIP could not be stored; its sender was asked to send it again", "error", err)
		s.later(req, tx)
		return
	}
	respond(req, tx, 200, "OK", nil)
}

func (s *session) later(req *sip.Request, tx sip.ServerTransaction) {
	respond(req, tx, 503, "Service Unavailable", sip.NewHeader("Retry-After", retrySeconds))
}

func (s *session) options(req *sip.Request, tx sip.ServerTransaction) {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(sip.NewHeader("Allow", methods))
	res.AppendHeader(sip.NewHeader("Accept", accepts))
	_ = tx.Respond(res)
}

// other refuses calls and everything else.
func (s *session) other(req *sip.Request, tx sip.ServerTransaction) {
	switch req.Method {
	case sip.ACK: // never answered
	case sip.CANCEL:
		respond(req, tx, 481, "Call/Transaction Does Not Exist", nil)
	default:
		respond(req, tx, 405, "Method Not Allowed", sip.NewHeader("Allow", methods))
	}
}

// respond sends a final answer. Where that fails the sender repeats its request.
func respond(req *sip.Request, tx sip.ServerTransaction, code int, reason string, h sip.Header) {
	res := sip.NewResponseFromRequest(req, code, reason, nil)
	if h != nil {
		res.AppendHeader(h)
	}
	_ = tx.Respond(res)
}

// read makes a text or a receipt of a MESSAGE. It does no I/O.
func (t *Transport) read(req *sip.Request) outcome {
	from, to, callID, cseq := req.From(), req.To(), req.CallID(), req.CSeq()
	if from == nil || to == nil || callID == nil || cseq == nil {
		return outcome{code: 400, reason: "Bad Request"}
	}
	if h := req.GetHeader("Require"); h != nil {
		// RFC 3261, 8.2.2.3: we know no extension that could be required.
		return outcome{code: 420, reason: "Bad Extension", header: sip.NewHeader("Unsupported", h.Value())}
	}
	if h := req.GetHeader("Content-Encoding"); h != nil && !strings.EqualFold(strings.TrimSpace(h.Value()), "identity") {
		return outcome{code: 415, reason: "Unsupported Media Type", header: sip.NewHeader("Accept-Encoding", "identity")}
	}
	kind := ""
	if h := req.ContentType(); h != nil {
		kind = h.Value()
	} else if h := req.GetHeader("c"); h != nil {
		kind = h.Value()
	}
	c, ok := unwrap(kind, "", req.Body(), 0)
	if !ok {
		return outcome{code: 415, reason: "Unsupported Media Type", header: sip.NewHeader("Accept", accepts)}
	}
	if len(c.text) > maxText {
		return outcome{code: 413, reason: "Request Entity Too Large"}
	}
	if c.composing {
		return outcome{} // "is typing" (RFC 3994): nothing to keep
	}
	at := c.at
	if h := req.GetHeader("Date"); h != nil && at.IsZero() {
		at, _ = http.ParseTime(strings.TrimSpace(h.Value()))
	}
	if c.note != nil {
		r := *c.note
		r.At = at
		return outcome{receipt: &r}
	}
	m := &sms.Inbound{
		ID:    inboundID(string(*callID), cseq.SeqNo),
		From:  t.phone(sender(req, from)),
		Body:  c.text,
		Media: c.media,
		At:    at,
	}
	// To is what the phone wrote to; the request's own address may be only the
	// account that we are registered as. A PBX that makes a request of its own says it
	// in P-Called-Party-ID (RFC 7315, 4.2).
	for _, user := range []string{headerUser(req, "P-Called-Party-ID"), userOf(&to.Address), userOf(&req.Recipient)} {
		if user != "" && user != t.opt.User {
			m.To = t.phone(user)
			break
		}
	}
	if m.From == "" {
		return outcome{code: 400, reason: "Bad Request"}
	}
	return outcome{text: m}
}

// sender is who the trunk says it is, else who the text says it is.
func sender(req *sip.Request, from *sip.FromHeader) string {
	if user := headerUser(req, "P-Asserted-Identity"); user != "" {
		return user
	}
	return userOf(&from.Address)
}

// headerUser is the user part of the first address in headers of that name.
func headerUser(req *sip.Request, name string) string {
	for _, h := range req.GetHeaders(name) {
		for one := range strings.SplitSeq(h.Value(), ",") {
			var u sip.Uri
			params := sip.NewParams()
			if _, err := sip.ParseAddressValue(strings.TrimSpace(one), &u, &params); err == nil && userOf(&u) != "" {
				return userOf(&u)
			}
		}
	}
	return ""
}

// userOf is the user part without parameters (RFC 3966 numbers carry some) and
// without a number's visual separators.
func userOf(u *sip.Uri) string {
	user := u.User
	if user == "" {
		user = u.Raw() // tel:
	}
	user, _, _ = strings.Cut(user, ";")
	if len(user) > 64 {
		return ""
	}
	bare := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()", r) {
			return -1
		}
		return r
	}, user)
	if numberLike.MatchString(bare) {
		return bare
	}
	return user
}

// inboundID is the same for the same text, whatever way it comes a second time.
func inboundID(callID string, seq uint32) string {
	id := callID + "/" + strconv.FormatUint(uint64(seq), 10)
	if len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		sum := sha256.Sum256([]byte(id))
		return hex.EncodeToString(sum[:])
	}
	return id
}
