package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"textback/pbx/number"
	"textback/sms"
	"textback/sms/hook"
	"textback/sms/once"
)

const (
	maxBody   = 1 << 20
	maxEvents = 1000
)

// Webhook returns the handler of /inbound and /status. What one is sent by
// mistake of the other's is told apart where the Spec says by what (Event.When).
func (t *Transport) Webhook(in sms.Inbox) http.Handler { return &handler{t: t, in: in} }

type handler struct {
	t  *Transport
	in sms.Inbox
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := h.t
	kind, rest := "", ""
	for _, k := range []string{hook.Inbound, hook.Status} {
		if after, ok := strings.CutPrefix(r.URL.Path, k); ok && (after == "" || after[0] == '/') {
			kind, rest = k, after
		}
	}
	first, second := t.inbound, t.receipt
	if kind == hook.Status {
		first, second = second, first
	}
	// A path that is not ours and a sender who is not are answered alike.
	if kind == "" || first == nil && second == nil {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	body, ok := hook.Body(w, r, maxBody)
	if !ok {
		return
	}
	fields, formErr := formOf(r, body)
	if t.verifySecret() == "basic" && r.Header.Get("Authorization") == "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="textback"`) // some send credentials only when asked
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	if !t.authentic(r, rest, body, fields) {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	var answer *event
	for _, e := range []*event{first, second} {
		if e == nil || e == second && len(e.when) == 0 || !slices.Contains(e.Method, r.Method) {
			continue
		}
		items, err := e.items(r, body, fields, formErr)
		if err != nil {
			if e == second {
				continue
			}
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, item := range items {
			if !e.meets(item) {
				continue
			}
			answer = e
			if e == t.inbound {
				err = h.received(r, item)
			} else {
				err = h.reported(r, item)
			}
			var unreadable errUnreadable
			switch {
			case errors.As(err, &unreadable):
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			case err != nil:
				hook.Again(w) // not on disk, or not whole yet
				return
			}
		}
		if answer != nil {
			break
		}
	}
	if answer == nil {
		if first != nil {
			answer = first
		} else {
			answer = second
		}
		if !slices.Contains(answer.Method, r.Method) {
			http.Error(w, "this method is not used here", http.StatusMethodNotAllowed)
			return
		}
	}
	if answer.Answer == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	ct := answer.AnswerType
	if ct == "" {
		ct = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", ct)
	_, _ = io.WriteString(w, answer.Answer)
}

// errUnreadable is about an event that lacks what it must have. It never holds its fields.
type errUnreadable string

func (e errUnreadable) Error() string { return string(e) }

// formOf reads a form's fields. Nothing of them is an error until a form is wanted.
func formOf(r *http.Request, body []byte) (url.Values, error) {
	ct, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && ct == "application/x-www-form-urlencoded":
		return url.ParseQuery(string(body))
	case err == nil && ct == "multipart/form-data" && params["boundary"] != "":
		return multipartOf(params["boundary"], body)
	}
	return nil, errUnreadable("want a form (application/x-www-form-urlencoded)")
}

// items are the events in a request, as something that fields are taken from.
func (e *event) items(r *http.Request, body []byte, form url.Values, formErr error) ([]item, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errUnreadable("the query cannot be read")
	}
	switch e.Format {
	case "query":
		return []item{{form: query, query: query}}, nil
	case "form":
		if formErr != nil {
			return nil, errUnreadable("want a form (application/x-www-form-urlencoded)")
		}
		return []item{{form: form, query: query}}, nil
	}
	if !json.Valid(body) || !utf8.Valid(body) {
		return nil, errUnreadable("want JSON")
	}
	root := gjson.ParseBytes(body)
	if e.Each != "" && e.Each != "." {
		root = root.Get(e.Each)
	}
	if e.Each == "" {
		return []item{{json: root, query: query}}, nil
	}
	if !root.IsArray() {
		return nil, errUnreadable("want a list of events")
	}
	var out []item
	for _, v := range root.Array() {
		if len(out) == maxEvents {
			return nil, errUnreadable("too many events at once")
		}
		out = append(out, item{json: v, query: query})
	}
	return out, nil
}

// item is one event.
type item struct {
	form  url.Values
	json  gjson.Result
	query url.Values // of the URL, whatever the format
}

// get returns a field, empty when it is not there or not a single value.
func (i item) get(field string) string {
	switch {
	case field == "":
		return ""
	case strings.HasPrefix(field, "query:"):
		return i.query.Get(field[len("query:"):])
	case i.form != nil:
		return i.form.Get(field)
	}
	if v := i.json.Get(field); !v.IsArray() && !v.IsObject() {
		return v.String()
	}
	return ""
}

// short returns a field that is a word: an id, a code, a status.
func (i item) short(field string) string { return once.Word(i.get(field)).Clean() }

// id returns a field that names something: any printable characters, bounded.
func (i item) id(field string) string {
	s := i.get(field)
	if len(s) > 200 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }) {
		return ""
	}
	return s
}

// meets reports whether i is what e is about.
func (e *event) meets(i item) bool {
	for field, want := range e.when {
		if !want.MatchString(i.get(field)) {
			return false
		}
	}
	return true
}

// at is when it happened; zero when that is not said or cannot be read.
func (e *event) at(i item) time.Time {
	s := i.get(e.Time)
	if s == "" || len(s) > 64 {
		return time.Time{}
	}
	l, _ := layout(e.TimeFormat) // compile has read it
	switch l {
	case "unix", "unix_ms":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f <= 0 || f > 1e14 {
			return time.Time{}
		}
		if l == "unix_ms" {
			return time.UnixMilli(int64(f)).UTC()
		}
		return time.UnixMilli(int64(f * 1000)).UTC()
	}
	t, err := time.Parse(l, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

var timeParts = strings.NewReplacer("YYYY", "2006", "MM", "01", "DD", "02", "hh", "15", "mm", "04", "ss", "05")

// layout makes Go's of a time format.
func layout(s string) (string, error) {
	switch s {
	case "", "rfc3339":
		return time.RFC3339, nil
	case "unix", "unix_ms":
		return s, nil
	}
	for _, p := range []string{"YYYY", "MM", "DD", "hh", "mm"} {
		if !strings.Contains(s, p) {
			return "", fmt.Errorf("%q is no time format: use rfc3339, unix, unix_ms, or one such as \"YYYY-MM-DD hh:mm:ss\" (UTC)", s)
		}
	}
	return timeParts.Replace(s), nil
}

// party makes E.164 of a number if it is one; short codes and names stay.
func (t *Transport) party(s, numbers string) string {
	return number.Party(s, t.opt.Region, numbers == "local")
}

// received hands one text from a phone to the Inbox.
func (h *handler) received(r *http.Request, i item) error {
	t, spec := h.t, h.t.spec.Inbound
	m := sms.Inbound{ID: i.id(spec.ID), From: t.party(i.get(spec.From), spec.Numbers), To: t.party(i.get(spec.To), spec.Numbers), At: t.inbound.at(i)}
	if m.From == "" {
		return errUnreadable("the event does not say whom the text is from")
	}
	body, err := decode(i.get(spec.Text), i.get(spec.Charset))
	if err != nil {
		return err
	}
	m.Body = body
	if m.ID != "" && len(spec.IDWith) > 0 {
		h := sha256.New()
		for _, field := range append([]string{spec.ID}, spec.IDWith...) {
			fmt.Fprintf(h, "%q ", i.get(field))
		}
		m.ID = hex.EncodeToString(h.Sum(nil)[:16])
	}
	if k := i.get(spec.Keyword); k != "" {
		m.Keyword = spec.Keywords[k]
	}
	if spec.Media != "" {
		m.Media = i.count(spec.Media)
	}
	if spec.Parts != nil && i.get(spec.Parts.Ref) != "" {
		return h.part(r, m, i)
	}
	return h.in.Received(r.Context(), m)
}

// count is a number, or how long a list is.
func (i item) count(field string) int {
	if i.form == nil {
		if v := i.json.Get(field); v.IsArray() {
			return len(v.Array())
		}
	}
	n, _ := strconv.Atoi(i.get(field))
	return min(max(n, 0), 100)
}

// decode makes UTF-8 of a text. Gateways hand on what the handset sent.
func decode(s, charset string) (string, error) {
	switch strings.ToUpper(strings.TrimSpace(charset)) {
	case "UTF-16BE", "UCS-2", "UCS2", "ISO-10646-UCS-2":
		if len(s)%2 != 0 {
			return "", errUnreadable("the text is not whole: half a character at its end")
		}
		u := make([]uint16, len(s)/2)
		for i := range u {
			u[i] = uint16(s[2*i])<<8 | uint16(s[2*i+1])
		}
		return string(utf16.Decode(u)), nil
	case "ISO-8859-1", "LATIN1":
		r := make([]rune, len(s))
		for i := range len(s) {
			r[i] = rune(s[i])
		}
		return string(r), nil
	}
	return strings.ToValidUTF8(s, "\uFFFD"), nil
}

// reported hands one delivery receipt to the Inbox.
func (h *handler) reported(r *http.Request, i item) error {
	t, spec := h.t, h.t.spec.Receipt
	d := sms.DeliveryReceipt{ProviderID: i.id(spec.ID), MessageID: i.id(spec.MessageID), At: t.receipt.at(i)}
	if d.ProviderID == "" && d.MessageID == "" {
		return errUnreadable("the receipt does not say which text it is about")
	}
	status := i.short(spec.Status)
	d.Delivery = t.deliveries[status]
	if d.Delivery == "" {
		d.Delivery = sms.EnRoute // a word we never heard is not final
	}
	d.Code = status
	if d.Delivery == sms.Undelivered {
		if code := i.short(spec.Code); code != "" {
			d.Code = code
		}
		class, ok := lookup(t.receiptCodes, d.Code)
		if !ok {
			class = sms.Rejected
		}
		d.Class = class
	}
	return h.in.Receipt(r.Context(), d)
}
