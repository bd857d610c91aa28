package androidgateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"textback/pbx/number"
	"textback/sms"
	"textback/sms/hook"
	"textback/sms/once"
)

const (
	maxWebhook = 256 << 10
	// window is how far a signature's time may be from ours; each attempt is signed anew.
	window = 5 * time.Minute
)

// event is one webhook call.
type event struct {
	ID      string  `json:"id"`
	Event   string  `json:"event"`
	Payload payload `json:"payload"`
}

// payload has the fields of every event that is of use.
type payload struct {
	MessageID string `json:"messageId"`
	Phone     string `json:"phoneNumber"` // the other side, until sender and recipient came
	Sender    string `json:"sender"`
	Recipient string `json:"recipient"`

	Message    string `json:"message"`
	ReceivedAt string `json:"receivedAt"`

	SentAt      string `json:"sentAt"`
	DeliveredAt string `json:"deliveredAt"`
	FailedAt    string `json:"failedAt"`
	Reason      string `json:"reason"`
}

// Webhook returns the handler of /inbound and /status; either takes every event.
func (t *Transport) Webhook(in sms.Inbox) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := hook.Body(w, r, maxWebhook)
		if !ok {
			return
		}
		known := r.URL.Path == hook.Inbound || r.URL.Path == hook.Status
		if !known || r.Method != http.MethodPost || t.opt.PublicURL == "" ||
			!signed(r.Header.Get("X-Signature"), r.Header.Get("X-Timestamp"), t.opt.SigningKey, body, t.opt.Now()) {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		var e event
		if json.Unmarshal(body, &e) != nil || !utf8.Valid(body) {
			http.Error(w, "not an event of the app's", http.StatusBadRequest)
			return
		}
		var err error
		switch e.Event {
		case "sms:received":
			m, ok := t.inbound(e.Payload)
			if !ok {
				http.Error(w, "the event does not say whom the text is from", http.StatusBadRequest)
				return
			}
			err = in.Received(r.Context(), m)
		case "sms:sent", "sms:delivered", "sms:failed":
			d, ok := receipt(e)
			if !ok {
				http.Error(w, "the event does not say which text it is about", http.StatusBadRequest)
				return
			}
			err = in.Receipt(r.Context(), d)
		}
		if err != nil {
			hook.Again(w)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// signed checks a hexadecimal HMAC-SHA256 over the exact bytes and the time after them.
func signed(signature, timestamp, key string, body []byte, now time.Time) bool {
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || key == "" || now.Sub(time.Unix(at, 0)).Abs() > window {
		return false
	}
	got, err := hex.DecodeString(signature)
	m := hmac.New(sha256.New, []byte(key))
	m.Write(body)
	m.Write([]byte(timestamp))
	return err == nil && hmac.Equal(got, m.Sum(nil))
}

// inbound makes a reply of an event.
func (t *Transport) inbound(p payload) (sms.Inbound, bool) {
	from := p.Sender
	if from == "" {
		from = p.Phone
	}
	m := sms.Inbound{From: number.Party(from, t.opt.Region, true), To: number.Party(p.Recipient, t.opt.Region, true), Body: p.Message, At: when(p.ReceivedAt)}
	if id := p.MessageID; id != "" && len(id) <= 100 && len(p.ReceivedAt) <= 64 {
		// The app makes the id of the words: a second "yes" has the id of the first.
		m.ID = strings.Join(strings.Fields(id+"@"+p.ReceivedAt), "_")
	}
	return m, m.From != ""
}

var (
	androidError = regexp.MustCompile(`\b(RESULT_[A-Z_]{3,50})\b`)
	lastNumber   = regexp.MustCompile(`: (\d{1,3})$`)
)

// receipt makes a receipt of an event. Each part of a long text has its own.
func receipt(e event) (sms.DeliveryReceipt, bool) {
	id := once.Word(e.Payload.MessageID).Clean()
	d := sms.DeliveryReceipt{ProviderID: id, MessageID: id}
	switch e.Event {
	case "sms:sent":
		d.Delivery, d.Code, d.At = sms.EnRoute, "sent", when(e.Payload.SentAt)
	case "sms:delivered":
		d.Delivery, d.Code, d.At = sms.Delivered, "delivered", when(e.Payload.DeliveredAt)
	default:
		d.Delivery, d.At = sms.Undelivered, when(e.Payload.FailedAt)
		d.Class, d.Code = reason(e.Payload.Reason)
	}
	return d, id != ""
}

// reason sorts why a text failed, in the app's words: Android's name of an
// error, or the status in the network's delivery report (3GPP TS 23.040, 9.2.3.15).
// The words themselves may hold numbers.
func reason(s string) (sms.Class, string) {
	if m := androidError.FindStringSubmatch(s); m != nil {
		switch code := m[1]; {
		case strings.Contains(code, "NO_SERVICE"), strings.Contains(code, "RADIO"), strings.Contains(code, "NETWORK"), strings.Contains(code, "MODEM"):
			return sms.Transient, code
		case strings.Contains(code, "LIMIT_EXCEEDED"):
			return sms.Throttled, code
		case strings.Contains(code, "FDN"), strings.Contains(code, "SHORT_CODE"):
			return sms.Misconfigured, code
		default:
			return sms.Rejected, code
		}
	}
	if m := lastNumber.FindStringSubmatch(s); m != nil && strings.HasPrefix(s, "Delivery result") {
		switch n, _ := strconv.Atoi(m[1]); {
		case n == 65, n == 69: // incompatible destination, no interworking
			return sms.NotMobile, m[1]
		case n == 70, n >= 96: // validity expired; temporary, and no more attempts
			return sms.Transient, m[1]
		}
		return sms.Rejected, m[1]
	}
	if strings.HasPrefix(s, "TTL expired") {
		return sms.Transient, "ttl_expired"
	}
	return sms.Rejected, "failed"
}

// when reads a time with the phone's own offset; zero when it cannot be read.
func when(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
