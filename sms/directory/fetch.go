package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"textback/rules"
	"textback/rules/contacts"
)

// maxAnswer bounds what is read of an answer: it is about one person.
const maxAnswer = 256 << 10

// fill puts a number into the URL.
func fill(template, e164 string) string {
	return strings.NewReplacer("{number}", url.QueryEscape(e164), "{digits}", strings.TrimPrefix(e164, "+")).Replace(template)
}

// fetch asks once. Its errors hold no number: net/http's own ones quote the URL.
func (l *Lookup) fetch(ctx context.Context, e164 string) (*rules.Contact, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fill(l.opt.URL, e164), nil)
	if err != nil {
		return nil, errors.New("the URL cannot be used")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "textback")
	for k, v := range l.opt.Headers {
		req.Header.Set(k, v)
	}
	resp, err := l.opt.RoundTripper.RoundTrip(req) // no redirects: they could carry the secret elsewhere
	if err != nil {
		return nil, l.plain(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone, code == http.StatusNoContent:
		return nil, nil
	case code != http.StatusOK:
		return nil, fmt.Errorf("HTTP %d %s", code, http.StatusText(code))
	case err != nil:
		return nil, l.plain(ctx, err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the answer is longer than %d KB", maxAnswer>>10)
	}
	return read(b, l.opt.Fields)
}

func (l *Lookup) plain(ctx context.Context, err error) error {
	var op *net.OpError
	var notTLS tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("no answer within %v", l.opt.Timeout)
	case errors.As(err, &verify):
		return errors.New("its certificate is not trusted")
	case errors.As(err, &notTLS):
		return errors.New("it does not speak TLS: use http://, or another port")
	case errors.As(err, &op) && op.Op == "dial":
		return errors.New("it cannot be reached")
	}
	return errors.New("the connection broke, or what answers does not speak HTTP")
}

// read makes a contact of an answer, nil when it holds nobody.
func read(b []byte, fields map[string]string) (*rules.Contact, error) {
	if !gjson.ValidBytes(b) {
		return nil, errors.New("the answer is not JSON")
	}
	c, found := contacts.FromFields(func(field string) (values []string) {
		path := fields[field]
		if path == "" {
			return nil
		}
		v := gjson.GetBytes(b, path)
		if !v.IsArray() {
			if v.Exists() && v.Type != gjson.Null {
				values = append(values, v.String())
			}
			return values
		}
		for _, item := range v.Array() {
			if values = append(values, item.String()); len(values) == 100 {
				break
			}
		}
		return values
	})
	if !found {
		return nil, nil
	}
	return &c, nil
}
