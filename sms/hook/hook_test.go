package hook

import (
	"errors"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{"https://a.example/x/": "https://a.example/x", "https://a.example/it's": "https://a.example/it's", "http://a.example:1": "http://a.example:1",
		"ftp://a.example": "", "https://a.example/?x": "", "a.example": ""} {
		if got, err := PublicURL(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", in, got, err)
		}
	}
	for _, id := range []string{"job-1", "a&b=c d#e", "é"} {
		s := StatusURL("https://a.example", id)
		u, err := url.Parse(s)
		if err != nil || !strings.HasPrefix(s, "https://a.example/status?") || MessageID(u.RawQuery) != id {
			t.Errorf("%q: %s", id, s)
		}
	}
	if StatusURL("", "x") != "" || StatusURL("https://a.example", "") != "https://a.example/status" || MessageID("%zz") != "" || MessageID("") != "" {
		t.Error("no URL, or no id")
	}
}

func TestBody(t *testing.T) {
	for _, c := range []struct {
		body io.Reader
		want int
	}{{strings.NewReader("12345"), 200}, {strings.NewReader("123456"), 413}, {iotest.ErrReader(errors.New("secret")), 400}} {
		w := httptest.NewRecorder()
		b, ok := Body(w, httptest.NewRequest("POST", "/", c.body), 5)
		if w.Code != c.want || ok != (c.want == 200) || ok && string(b) != "12345" || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("HTTP %d, %q", w.Code, b)
		}
	}
}
