package telnyx

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"textback/sms"
	"textback/sms/hook"
)

const (
	// A webhook of a text with ten recipients and pictures is 10 KB.
	maxWebhook = 128 << 10
	// A signature is this old at most, by either clock.
	replayWindow = 5 * time.Minute
	// The provider waits two seconds for an answer, then calls again.
	patience = 1800 * time.Millisecond

	signatureHeader = "Telnyx-Signature-Ed25519"
	timestampHeader = "Telnyx-Timestamp"
)

// messageID is our id in a webhook URL of ours. It is read from what is signed:
// the address that a request was really sent to is not.
func (t *Transport) messageID(u string) string {
	query, ours := strings.CutPrefix(u, t.opt.PublicURL+hook.Status+"?")
	if !ours {
		return ""
	}
	return hook.MessageID(query)
}

// Webhook takes what the provider calls: "/inbound" below the public URL, to be set as
// the messaging profile's webhook URL (API v2), and "/status", which every text
// names itself. Both take every kind of event: the profile's URL is also
// called when the text's own has failed.
//
// Within five minutes a request can be repeated by who has seen it: the Inbox
// takes one id once, and nothing else follows from a repetition.
func (t *Transport) Webhook(in sms.Inbox) http.Handler {
	take := func(w http.ResponseWriter, r *http.Request) {
		body, ok := hook.Body(w, r, maxWebhook)
		if !ok {
			return
		}
		if !t.signed(r.Header, body) {
			http.Error(w, "the signature does not fit the body, or it is old", http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		switch err := t.event(ctx, in, body); {
		case errors.Is(err, errNotStored):
			hook.Again(w)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+hook.Inbound, take)
	mux.HandleFunc("POST "+hook.Status, take)
	return mux
}

var errNotStored = errors.New("not stored")

// signed reports whether body bears the account's signature, made just now.
func (t *Transport) signed(h http.Header, body []byte) bool {
	stamps, signatures := h.Values(timestampHeader), h.Values(signatureHeader)
	if t.key == nil || len(stamps) != 1 || len(signatures) != 1 {
		return false
	}
	seconds, err := strconv.ParseInt(stamps[0], 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return false
	}
	if age := t.opt.Now().Sub(time.Unix(seconds, 0)); age > replayWindow || age < -replayWindow {
		return false
	}
	signature, err := base64.StdEncoding.DecodeString(signatures[0])
	if err != nil {
		return false
	}
	// Verify is given public things only and needs no constant time.
	return ed25519.Verify(t.key, append([]byte(stamps[0]+"|"), body...), signature)
}

// event gives what a believed webhook tells to the Inbox.
func (t *Transport) event(ctx context.Context, in sms.Inbox, body []byte) error {
	var e struct {
		Data struct {
			EventType  string  `json:"event_type"`
			OccurredAt string  `json:"occurred_at"`
			Payload    message `json:"payload"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &e) != nil {
		return errors.New("not an event")
	}
	p := e.Data.Payload
	switch e.Data.EventType {
	case "message.received":
		m, err := inbound(p)
		if err != nil {
			return err
		}
		if in.Received(ctx, m) != nil {
			return errNotStored
		}
	case "message.sent", "message.finalized", "message.read":
		d := receipt(p)
		if d.ProviderID == "" {
			return errors.New("not a receipt: the id is missing")
		}
		d.MessageID, d.At = t.messageID(p.WebhookURL), when(e.Data.OccurredAt)
		if in.Receipt(ctx, d) != nil {
			return errNotStored
		}
	}
	// Other events are none of ours; refused, they would come again and again.
	return nil
}

// inbound makes a text of a message.received event.
func inbound(p message) (sms.Inbound, error) {
	m := sms.Inbound{ID: p.ID.Clean(), From: p.From.PhoneNumber, Body: p.Text, Media: len(p.Media), At: when(p.ReceivedAt)}
	if m.ID == "" || m.From == "" {
		return sms.Inbound{}, errors.New("not a text: the id or the sender is missing")
	}
	// Of several recipients (a group) the first is ours, or as good as any.
	if len(p.To) > 0 {
		m.To = p.To[0].PhoneNumber
	}
	switch k := strings.ToUpper(string(p.AutoresponseType)); k {
	case "STOP", "START", "HELP":
		m.Keyword = k
	}
	return m, nil
}

// receipt makes a delivery receipt of one of the events about a text of ours.
func receipt(p message) sms.DeliveryReceipt {
	status := p.status().Clean()
	d := sms.DeliveryReceipt{ProviderID: p.ID.Clean(), Delivery: final(status), Code: status}
	if d.Delivery == sms.Undelivered {
		class, code := classOf(p.Errors)
		if d.Class = class; class == "" {
			d.Class = sms.Rejected
		}
		if code != "" {
			d.Code = code
		}
	}
	return d
}

// when reads the provider's time, and is zero if that is not one.
func when(s string) time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return at
}
