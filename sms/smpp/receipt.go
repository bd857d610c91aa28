package smpp

import (
	"bytes"
	"math/big"
	"regexp"
	"strings"
	"sync"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
)

// receipt is what an SMSC says of a text that it took.
type receipt struct {
	id    string // as the SMSC writes it here
	state string // DELIVRD and so on
	code  string // the SMSC's or the network's error, empty for none
	class sms.Class
}

// words of message_state (5.2.28) as receipts in words have them (Appendix B).
var states = []string{1: "ENROUTE", 2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 6: "ACCEPTD", 7: "UNKNOWN", 8: "REJECTD"}

// What a state means. Everything else, UNKNOWN too, says nothing final.
var outcomes = map[string]struct {
	delivery sms.Delivery
	class    sms.Class
}{
	"DELIVRD": {sms.Delivered, ""},
	"EXPIRED": {sms.Undelivered, sms.Transient}, // the phone was off for all of its validity
	"DELETED": {sms.Undelivered, sms.Rejected},
	"UNDELIV": {sms.Undelivered, sms.Rejected},
	"REJECTD": {sms.Undelivered, sms.Rejected},
	// Not in the specification, but about.
	"DELIVERED":     {sms.Delivered, ""},
	"FAILED":        {sms.Undelivered, sms.Rejected},
	"REJECTED":      {sms.Undelivered, sms.Rejected},
	"UNDELIVERABLE": {sms.Undelivered, sms.Rejected},
}

// Errors of GSM networks in network_error_code with type 3 (TS 29.002, 17.6.6).
var network = map[uint32]sms.Class{1: sms.Invalid, 5: sms.Invalid, 9: sms.Rejected, 11: sms.NotMobile, 13: sms.Rejected, 27: sms.Transient, 31: sms.Transient, 32: sms.Transient, 34: sms.Transient}

// readReceipt reads a receipt: parameters first, then words. ok is false if there is neither an id nor a state.
func readReceipt(m pdu.Message, text []byte) (r receipt, ok bool) {
	r = parseReceipt(receiptText(m.Coding, text))
	if id := m.TLVs.Text(pdu.ReceiptedMessageID); id != "" {
		r.id = id
	}
	if s, found := m.TLVs.Number(pdu.MessageState); found && s > 0 && int(s) < len(states) {
		r.state = states[s]
	}
	if v, found := m.TLVs.Get(pdu.NetworkErrorCode); found && len(v) == 3 {
		n := uint32(v[1])<<8 | uint32(v[2])
		if n != 0 && r.code == "" {
			r.code = new(big.Int).SetUint64(uint64(n)).String()
		}
		if v[0] == 3 {
			r.class = network[n]
		}
	}
	return r, r.id != "" || r.state != ""
}

// ownWords is where the fields end and our own text begins.
var ownWords = regexp.MustCompile(`(?i)(^|\s)text:`)

// receiptText decodes a receipt's words. Some SMSCs write them in UCS-2 and do not say
// so, and nearly all the fields in ASCII whatever they say: an id's _ and $ are other
// characters in GSM-7.
func receiptText(coding byte, b []byte) string {
	if len(b) >= 4 && len(b)%2 == 0 && b[0] == 0 && b[2] == 0 {
		return gsm7.DecodeUCS2(b)
	}
	fields := b
	if at := ownWords.FindIndex(b); at != nil {
		fields = b[:at[0]]
	}
	if !bytes.ContainsFunc(fields, func(r rune) bool { return (r < ' ' || r > '~') && r != '\n' && r != '\r' }) {
		return string(fields)
	}
	text, _ := gsm7.Text(coding, b)
	return text
}

// parseReceipt reads "id:… sub:001 dlvrd:001 submit date:… done date:… stat:DELIVRD
// err:000 text:…" (Appendix B). Fields may be missing, in another order, and in
// capitals. What follows "text:" is our own text's beginning: it is not looked at.
func parseReceipt(text string) (r receipt) {
	const longest = 1000 // of the fields
	fields := strings.Fields(strings.ToValidUTF8(text[:min(len(text), longest)], ""))
	for i := 0; i < len(fields); i++ {
		key, value, found := strings.Cut(fields[i], ":")
		if !found {
			continue
		}
		key = strings.ToLower(key)
		if key == "text" {
			break
		}
		if value == "" && i+1 < len(fields) && !strings.Contains(fields[i+1], ":") {
			i++ // "id: 123"
			value = fields[i]
		}
		if len(value) > 64 {
			continue // no field is that long
		}
		switch {
		case key == "id" && r.id == "":
			r.id = value
		case key == "stat" && r.state == "":
			r.state = strings.ToUpper(value)
		case key == "err" && r.code == "" && strings.Trim(value, "0") != "":
			r.code = value
		}
	}
	return r
}

// outcome says r in our words.
func (r receipt) outcome() (d sms.Delivery, c sms.Class) {
	o, ok := outcomes[r.state]
	if !ok {
		return sms.EnRoute, ""
	}
	if o.delivery == sms.Undelivered && r.class != "" {
		return o.delivery, r.class
	}
	return o.delivery, o.class
}

// words is r's state and error as they came: "UNDELIV 027".
func (r receipt) words() string { return strings.TrimSpace(r.state + " " + r.code) }

// maxTexts is how many texts are remembered, for their receipts: days of an office's.
const maxTexts = 20_000

// book remembers which ids the SMSC gave to which text. Receipts of texts from before
// a restart are passed on under the SMSC's id as it is, and a text of several parts then has
// the fate of its first.
type book struct {
	mu    sync.Mutex
	form  IDForm
	known map[string]*sent // by plainID
	order []string
}

// sent is one text. Its fields belong to the book.
type sent struct {
	message string // Message.ID
	parts   int
	taken   int             // parts that the SMSC has
	first   string          // its id of the first
	arrived map[string]bool // plain ids of parts that have
}

// taken notes the id of the next part of a text. It returns that of the first, and
// whether the SMSC has all parts now.
func (b *book) taken(s *sent, id string) (first string, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.taken++; s.taken == 1 {
		s.first = id
	}
	first, whole = s.first, s.taken == s.parts
	if id == "" {
		return first, whole
	}
	if b.known == nil {
		b.known = map[string]*sent{}
	}
	key := plainID(id)
	if _, ok := b.known[key]; !ok {
		b.order = append(b.order, key)
	}
	b.known[key] = s
	if len(b.order) > maxTexts {
		delete(b.known, b.order[0])
		b.order = b.order[1:]
	}
	return first, whole
}

// plainID leaves out what SMSCs are not consistent in: case and leading zeros.
func plainID(id string) string {
	id = strings.ToLower(strings.TrimSpace(id))
	if short := strings.TrimLeft(id, "0"); short != "" {
		return short
	}
	return id
}

// find returns the text that a receipt's id belongs to, or nil, and the id in the form of
// the responses.
func (b *book) find(id string) (s *sent, key string) {
	same, decimal, hex := plainID(id), rebase(id, 10, 16), rebase(id, 16, 10)
	for _, try := range []struct {
		form IDForm
		key  string
	}{{IDsSame, same}, {IDsDecimal, decimal}, {IDsHex, hex}} {
		if try.key == "" || b.form != IDsLearned && b.form != try.form {
			continue
		}
		if s := b.known[try.key]; s != nil {
			b.form = try.form
			return s, try.key
		}
	}
	switch b.form {
	case IDsDecimal:
		return nil, decimal
	case IDsHex:
		return nil, hex
	}
	return nil, id
}

// rebase writes a number in another base, or returns "".
func rebase(id string, from, to int) string {
	n, ok := new(big.Int).SetString(plainID(id), from)
	if !ok || len(id) > 32 || n.Sign() < 0 {
		return ""
	}
	return n.Text(to)
}

// receipt turns what the SMSC says into what became of the text. A text of
// several parts has arrived when all have, and has not if one has not. While the SMSC
// does not have all parts, or never got them, there is nothing to tell but that: a receipt
// would show a text as sent of which half is missing.
func (b *book) receipt(r receipt) (out sms.DeliveryReceipt, tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out = sms.DeliveryReceipt{ProviderID: r.id, Code: r.words()}
	out.Delivery, out.Class = r.outcome()
	s, key := b.find(r.id)
	if s == nil {
		if key != "" {
			out.ProviderID = key
		}
		return out, true
	}
	out.ProviderID, out.MessageID = s.first, s.message
	if s.parts > 1 && out.Delivery == sms.Delivered {
		if s.arrived == nil {
			s.arrived = map[string]bool{}
		}
		if s.arrived[key] = true; len(s.arrived) < s.parts {
			out.Delivery = sms.EnRoute
		}
	}
	return out, s.taken >= s.parts || out.Delivery == sms.Undelivered
}
