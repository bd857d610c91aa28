package sipmessage

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"

	"textback/sms"
)

const (
	maxText  = 16 << 10
	maxParts = 16
	maxDepth = 3 // of wrappings: message/cpim in multipart, and one to spare
)

// content is what a body holds.
type content struct {
	text      string
	media     int
	at        time.Time
	note      *sms.DeliveryReceipt // without At
	composing bool
}

// unwrap reads a body of the given Content-Type and Content-Transfer-Encoding.
// ok is false for kinds that are not known.
func unwrap(kind, encoding string, body []byte, depth int) (c content, ok bool) {
	if depth > maxDepth {
		return c, false
	}
	mediaType, params := "text/plain", map[string]string{}
	if strings.TrimSpace(kind) != "" {
		var err error
		if mediaType, params, err = mime.ParseMediaType(kind); err != nil {
			// Parameters are often written carelessly; the kind is before them.
			mediaType, _, _ = strings.Cut(kind, ";")
			mediaType, params = strings.ToLower(strings.TrimSpace(mediaType)), map[string]string{}
		}
	}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body)))
		if err != nil {
			return c, false
		}
		body = b
	case "quoted-printable":
		b, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
		if err != nil {
			return c, false
		}
		body = b
	}
	switch {
	case mediaType == "text/plain":
		c.text, ok = decode(body, params["charset"])
		return c, ok
	case mediaType == "message/cpim":
		return cpim(body, depth)
	case mediaType == "message/imdn+xml":
		c.note = notification(body)
		return c, c.note != nil
	case mediaType == "application/im-iscomposing+xml":
		c.composing = true
		return c, true
	case strings.HasPrefix(mediaType, "multipart/"):
		return parts(body, params["boundary"], depth)
	}
	return c, false
}

// decode makes UTF-8 of a text: a stray byte must not cost a STOP.
func decode(body []byte, charset string) (string, bool) {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
	case "iso-8859-1", "iso-8859-15", "latin1", "windows-1252":
		b, err := charmap.Windows1252.NewDecoder().Bytes(body)
		if err != nil {
			return "", false
		}
		body = b
	default:
		return "", false
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(body), "\ufffd"), "\x00", ""), true
}

// cpim reads RFC 3862: headers of the message, a blank line, headers of the
// content, a blank line, the content.
func cpim(body []byte, depth int) (content, bool) {
	outer, rest, ok := head(body)
	if !ok {
		return content{}, false
	}
	inner, rest, ok := head(rest)
	if !ok {
		return content{}, false
	}
	c, ok := unwrap(inner.Get("Content-Type"), inner.Get("Content-Transfer-Encoding"), rest, depth+1)
	if at, err := time.Parse(time.RFC3339, outer.Get("DateTime")); err == nil {
		c.at = at
	}
	return c, ok
}

// head cuts header lines off, up to a blank line; lines may end in LF alone.
func head(b []byte) (textproto.MIMEHeader, []byte, bool) {
	h := textproto.MIMEHeader{}
	for range 100 {
		line, rest, found := bytes.Cut(b, []byte("\n"))
		if !found {
			return nil, nil, false
		}
		b = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return h, b, true
		}
		if name, value, ok := strings.Cut(string(line), ":"); ok {
			h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return nil, nil, false
}

// parts reads a multipart body: the first text is the text, the rest are attachments.
func parts(body []byte, boundary string, depth int) (c content, ok bool) {
	if boundary == "" {
		return c, false
	}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	found := false
	for n := 0; n < maxParts; n++ {
		p, err := r.NextRawPart()
		if err != nil {
			break
		}
		b, err := io.ReadAll(io.LimitReader(p, maxMessage))
		if err != nil {
			break
		}
		one, known := unwrap(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), b, depth+1)
		switch {
		case !known:
			c.media++
		case one.note != nil && !found:
			return one, true
		case found:
			c.media += 1 + one.media
		default:
			one.media += c.media
			c, found = one, true
		}
		ok = true
	}
	return c, ok
}

// notification reads RFC 5438, 7.2.1. Nil: not one.
func notification(body []byte) *sms.DeliveryReceipt {
	type status struct {
		Any []struct {
			XMLName xml.Name
		} `xml:",any"`
	}
	var n struct {
		XMLName    xml.Name `xml:"imdn"`
		MessageID  string   `xml:"message-id"`
		Delivery   *status  `xml:"delivery-notification>status"`
		Display    *status  `xml:"display-notification>status"`
		Processing *status  `xml:"processing-notification>status"`
	}
	if err := xml.Unmarshal(body, &n); err != nil {
		return nil
	}
	id := strings.TrimSpace(n.MessageID)
	if !idLike.MatchString(id) {
		return nil
	}
	r := &sms.DeliveryReceipt{ProviderID: id + "@textback", MessageID: id, Delivery: sms.EnRoute}
	if strings.HasPrefix(id, hashed) {
		r.MessageID = ""
	}
	for _, s := range []*status{n.Delivery, n.Display, n.Processing} {
		if s == nil || len(s.Any) == 0 {
			continue
		}
		r.Code = s.Any[0].XMLName.Local
		if !idLike.MatchString(r.Code) {
			return nil
		}
		switch r.Code {
		case "delivered", "displayed":
			r.Delivery = sms.Delivered
		case "failed":
			r.Delivery, r.Class = sms.Undelivered, sms.Rejected
		}
		return r // forbidden, error, stored, processed: it is on its way as far as anybody says
	}
	return nil
}

// wrap makes a message/cpim body that asks for notifications (RFC 5438, 6.1).
func wrap(from, to, host, id, text string, now time.Time) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <sip:%s@%s>\r\nTo: <sip:%s@%s>\r\nDateTime: %s\r\n", from, host, to, host, now.UTC().Format(time.RFC3339))
	b.WriteString("NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: " + id + "\r\n")
	b.WriteString("imdn.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\n")
	fmt.Fprintf(&b, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	return []byte(b.String())
}
