package sipmessage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"textback/sms"
)

type meaning struct {
	class sms.Class
	words string
}

// codes are final answers to a MESSAGE. What is not here goes by its first digit.
var codes = map[int]meaning{
	400: {sms.Rejected, "the server finds the request wrong"},
	401: {sms.Unauthorized, "user or password is wrong"},
	402: {sms.NoCredit, "the server wants payment"},
	403: {sms.Rejected, "refused: the account may not text, or not this number, or not from this sender"},
	404: {sms.Rejected, "the server knows no such number, or, if it is a PBX, has no dialplan for texts"}, // not Invalid: each caller would be taken for one who gets no texts
	405: {sms.Misconfigured, "the server takes no texts"},
	406: {sms.Misconfigured, "the server does not take this kind of content"},
	407: {sms.Unauthorized, "user or password is wrong"},
	410: {sms.Invalid, "the number is gone"},
	413: {sms.Rejected, "the text is too long for the server"},
	414: {sms.Rejected, "the address is too long for the server"},
	415: {sms.Misconfigured, "the server does not take this kind of content"},
	416: {sms.Misconfigured, "the server does not understand the address"},
	420: {sms.Misconfigured, "the server does not know an extension that was asked for"},
	421: {sms.Misconfigured, "the server asks for an extension that is not known here"},
	429: {sms.Throttled, "too many texts at once"},
	480: {sms.Transient, "the recipient cannot be reached at the moment"},
	481: {sms.Transient, "the server has lost the thread"},
	482: {sms.Misconfigured, "the request went in a circle"},
	483: {sms.Misconfigured, "the request went in a circle"},
	484: {sms.Invalid, "the number is incomplete"},
	485: {sms.Invalid, "the number is ambiguous"},
	486: {sms.Transient, "the recipient is busy"},
	488: {sms.Misconfigured, "the server does not take this kind of request"},
	501: {sms.Misconfigured, "the server takes no texts"},
	503: {sms.Transient, "the server cannot work at the moment"},
	505: {sms.Misconfigured, "the server speaks another version of SIP"},
	513: {sms.Rejected, "the text is too long for the server"},
	600: {sms.Transient, "the recipient is busy"},
	603: {sms.Rejected, "declined"},
	604: {sms.Invalid, "the number exists nowhere"},
	606: {sms.Misconfigured, "the server does not take this kind of request"},
	607: {sms.Blocked, "the recipient finds it unwanted (RFC 8197)"},
	608: {sms.Blocked, "a filter took it for unwanted (RFC 8688)"},

	// The server had no answer, or no good one, from somebody behind it, who may
	// have the text. RFC 3261, 16.7 makes a 500 of a 503 from there, too.
	408: {sms.Ambiguous, "the server waited in vain for the one behind it"},
	500: {sms.Ambiguous, "the server, or one behind it, failed at it"},
	502: {sms.Ambiguous, "the server behind it gave a bad answer"},
	504: {sms.Ambiguous, "the server waited in vain for the one behind it"},
}

// verdict makes a classed error of a final answer that is not 2xx. Its reason
// phrase is left out: it may quote the number.
func (t *Transport) verdict(res *sip.Response, answered bool) error {
	code := res.StatusCode
	m, ok := codes[code]
	if !ok {
		m = unheardOf(code)
	}
	switch code {
	case 401, 407:
		switch {
		case t.opt.User == "":
			m.words = "the server wants a user and a password"
		case !answered:
			m.words = "the server asks for a way of authentication that is not known here"
		}
	case 503, 480, 429, 486, 413:
		if wait := retryAfter(res); wait > 0 {
			if code == 503 || code == 429 {
				m.class = sms.Throttled
				t.mu.Lock()
				t.away = t.opt.Now().Add(min(wait, maxRetryAfter))
				t.mu.Unlock()
			}
			m.words += fmt.Sprintf(" (it said: for %s)", wait)
		}
	}
	return failure(m.class, code, errors.New(m.words))
}

func unheardOf(code int) meaning {
	switch {
	case code >= 300 && code <= 399:
		// Nothing was done there, and a text follows no pointer to a stranger.
		return meaning{sms.Misconfigured, "the server points to another one: set that as the server"}
	case code >= 400 && code <= 499, code >= 600 && code <= 699:
		return meaning{sms.Rejected, "refused"}
	}
	return meaning{sms.Ambiguous, "an answer that is not known here"}
}

// retryAfter reads RFC 3261, 20.33: seconds, then perhaps a comment and parameters.
func retryAfter(res *sip.Response) time.Duration {
	h := res.GetHeader("Retry-After")
	if h == nil {
		return 0
	}
	v := strings.TrimSpace(h.Value())
	if i := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		v = v[:i]
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// failure keeps Submit's returns short.
func failure(class sms.Class, code int, err error) error {
	e := &sms.Error{Class: class, Err: fmt.Errorf("sip: submit: %w", err)}
	if code != 0 {
		e.Code = strconv.Itoa(code)
	}
	return e
}
