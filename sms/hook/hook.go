// Package hook is in charge of what transports share whose providers call a URL
// of ours: the URL that carries our id out and back, a body of bounded length, and
// the answers.
package hook

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"textback/sms/once"
)

// Below a transport's public URL: texts from phones come to Inbound, receipts to Status.
const (
	Inbound = "/inbound"
	Status  = "/status"
)

// reference holds our Message.ID in the URL for receipts. A provider that calls it
// tells by name even what became of a text whose answer was lost.
const reference = "job"

// PublicURL checks where a provider reaches a transport's handler, and takes a
// slash off its end. http:// is the configuration's to warn of: what comes is signed all
// the same, and no credentials of ours go there. The rest stays as it is written: it may be signed letter by letter.
func PublicURL(s string) (string, error) {
	if _, err := once.BaseURL(s, true); err != nil {
		return "", err
	}
	return strings.TrimSuffix(s, "/"), nil
}

// StatusURL is where receipts of the text with an id of ours go. It is empty without a public URL.
func StatusURL(public, id string) string {
	switch {
	case public == "":
		return ""
	case id == "":
		return public + Status
	}
	return public + Status + "?" + url.Values{reference: {id}}.Encode()
}

// MessageID is our id in the query of such a URL, if it holds one.
func MessageID(query string) string {
	q, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return q.Get(reference)
}

// Body reads a whole body of at most limit bytes. When ok is false it has answered.
func Body(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body, true
	}
	status := http.StatusBadRequest
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		status = http.StatusRequestEntityTooLarge
	}
	http.Error(w, "the body cannot be read", status)
	return nil, false
}

// Again asks the provider to call once more, because the Inbox has not taken what came.
func Again(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, "not stored: try again", http.StatusServiceUnavailable)
}
