package once

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
)

const (
	testToken = "s3cr3t-auth-token"
	testTo    = "+12025550143"
	testBody  = "Hi Sarah & co, sorry we missed your call: 100% + 1 😀"
	created   = `{"sid":"SM1"}`
)

// client makes a Client that is as patient as a busy machine needs.
func client(change ...func(*Options)) *Client {
	opt := Options{ConnectTimeout: 20 * time.Second, AnswerTimeout: 20 * time.Second}
	for _, f := range change {
		f(&opt)
	}
	return New(opt)
}

// text is a request that holds what must not be shown.
func text(base string) *Request {
	return Form(base+"/send?password="+testToken, url.Values{"To": {testTo}, "Body": {testBody}}).Basic("office", testToken)
}

// judged is Submit with the answer sorted as a transport does.
func judged(c *Client, ctx context.Context, r *Request) *sms.Error {
	a, err := c.Submit(ctx, r)
	switch {
	case err != nil:
		return err
	case a.Status < 200 || a.Status > 299:
		return &sms.Error{Class: ClassOfStatus(a.Status), Err: errors.New("refused")}
	case a.Body == nil:
		return &sms.Error{Class: sms.Ambiguous, Err: errors.New("no word")}
	}
	return nil
}

func provider(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// mustFail checks an error's class and that it keeps what is private.
func mustFail(t *testing.T, err *sms.Error, want sms.Class) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want class %s", want)
	}
	smstest.Fails(t, err, want, "", testToken, testTo[1:], "Sarah", "missed", "Basic ", "password", "/send")
}

// tcp serves each connection with handle and counts them.
func tcp(t *testing.T, handle func(net.Conn)) (addr string, connections *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int32)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			wg.Go(func() {
				defer c.Close()
				done := context.AfterFunc(t.Context(), func() { c.Close() })
				defer done()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String(), connections
}

// readRequest reads one whole request and returns its bytes.
func readRequest(c net.Conn) []byte {
	var raw bytes.Buffer
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &raw)))
	if err == nil {
		io.Copy(io.Discard, req.Body)
	}
	return raw.Bytes()
}

func TestFaults(t *testing.T) {
	hang := func(c net.Conn) { io.Copy(io.Discard, c) }
	reset := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }
	// A reset that comes while connecting is a refusal; the first byte proves that it came later.
	first := func(c net.Conn) { c.Read(make([]byte, 1)) }
	for _, c := range []struct {
		name   string
		scheme string
		handle func(net.Conn) // nil: nobody listens
		want   sms.Class
		says   string
		hangs  bool
	}{
		{"refused", "http", nil, sms.Transient, "connection refused", false},
		{"TLS never answered", "https", hang, sms.Transient, "timed out while connecting", true},
		{"TLS closed", "https", func(net.Conn) {}, sms.Transient, "", false},
		{"TLS reset", "https", reset, sms.Transient, "", false},
		{"not TLS", "https", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); hang(c) }, sms.Transient, "does not speak TLS", false},

		{"closed unread", "http", func(net.Conn) {}, sms.Ambiguous, "", false},
		{"reset at the first byte", "http", func(c net.Conn) { first(c); reset(c) }, sms.Ambiguous, "", false},
		{"closed after the request", "http", func(c net.Conn) { readRequest(c) }, sms.Ambiguous, "closed", false},
		{"reset after the request", "http", func(c net.Conn) { readRequest(c); reset(c) }, sms.Ambiguous, "reset", false},
		{"no answer", "http", hang, sms.Ambiguous, "timed out while waiting for the answer", true},
		{"garbage that quotes the request", "http", func(c net.Conn) { b := readRequest(c); c.Write(b); io.WriteString(c, testBody+testTo) }, sms.Ambiguous, "did not speak HTTP", false},
		{"bad header that quotes the request", "http", func(c net.Conn) {
			readRequest(c)
			fmt.Fprintf(c, "HTTP/1.1 201 Created\r\n%s %s\r\n\r\n", testBody, testToken)
		}, sms.Ambiguous, "", false},
		{"endless header", "http", func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 201 Created\r\nX: ")
			for {
				if _, err := c.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		}, sms.Ambiguous, "", false},
		{"endless body", "http", func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 201 Created\r\n\r\n")
			for {
				if _, err := c.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		}, sms.Ambiguous, "", false},
		{"taken, cut in the body", "http", func(c net.Conn) {
			readRequest(c)
			fmt.Fprintf(c, "HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s", len(created)+1, created)
		}, sms.Ambiguous, "", false},
		{"taken, body never comes", "http", func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n")
			hang(c)
		}, sms.Ambiguous, "", true},
		{"refused, body never comes", "http", func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\n")
			hang(c)
		}, sms.Rejected, "", true},
		{"interim answers only", "http", func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n")
		}, sms.Ambiguous, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := "127.0.0.1:1"
			connections := new(atomic.Int32)
			if c.handle != nil {
				addr, connections = tcp(t, c.handle)
			}
			err := judged(client(func(o *Options) {
				switch {
				case c.hangs && c.scheme == "https":
					o.ConnectTimeout = 2 * time.Second
				case c.hangs:
					o.AnswerTimeout = 2 * time.Second
				}
			}), t.Context(), text(c.scheme+"://"+addr))
			mustFail(t, err, c.want)
			if !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
			if n := connections.Load(); c.handle != nil && n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

// A proxy that refuses CONNECT has seen nothing of the text.
func TestProxyRefuses(t *testing.T) {
	for _, status := range []int{403, 407, 502} {
		proxy := provider(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "CONNECT" {
				t.Errorf("the proxy got a %s", r.Method)
			}
			w.WriteHeader(status)
		})
		tr, base := client(), "https://sms.example"
		u, _ := url.Parse(proxy.URL)
		u.User = url.UserPassword("office", testToken)
		tr.http.Proxy = http.ProxyURL(u)
		err := judged(tr, t.Context(), text(base))
		mustFail(t, err, sms.Transient)
	}
}

func TestUnknownHost(t *testing.T) {
	err := judged(client(), t.Context(), text("https://provider.invalid"))
	mustFail(t, err, sms.Transient)
}

func TestCertificates(t *testing.T) {
	var requests atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.ProtoMajor != 1 {
			t.Errorf("%s was spoken: HTTP/2 requests may be resent", r.Proto)
		}
		w.WriteHeader(201)
		io.WriteString(w, created)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)

	tr, base := client(), s.URL
	err := judged(tr, t.Context(), text(base))
	mustFail(t, err, sms.Transient)
	if !strings.Contains(err.Error(), "nobody this host trusts") {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 0 {
		t.Fatalf("%d requests over a connection nobody vouches for", n)
	}
	own, e := Trust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	if e != nil {
		t.Fatal(e)
	}
	tr = client(func(o *Options) { o.TLS = own })
	if err := judged(tr, t.Context(), text(base)); err != nil {
		t.Error(err)
	}
}

// Wherever the connection breaks, the request is made once.
func TestNeverRepeated(t *testing.T) {
	var whole []byte
	addr, _ := tcp(t, func(c net.Conn) {
		whole = readRequest(c)
		fmt.Fprintf(c, "HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s", len(created), created)
	})
	if err := judged(client(), t.Context(), text("http://"+addr)); err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut <= len(whole); cut += 7 {
		var earlier atomic.Int32
		addr, connections := tcp(t, func(c net.Conn) {
			if earlier.Add(1) == 1 { // offers to keep the connection, which a second request must not use
				readRequest(c)
				fmt.Fprintf(c, "HTTP/1.1 201 Created\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", len(created), created)
				if n, _ := c.Read(make([]byte, 1)); n > 0 {
					t.Error("the connection was used twice")
				}
				return
			}
			io.ReadFull(c, make([]byte, cut))
			if cut%2 == 0 {
				c.(*net.TCPConn).SetLinger(0)
			}
		})
		tr, base := client(), "http://"+addr
		if err := judged(tr, t.Context(), text(base)); err != nil {
			t.Fatal(err)
		}
		err := judged(tr, t.Context(), text(base))
		mustFail(t, err, sms.Ambiguous)
		if n := connections.Load(); n != 2 {
			t.Fatalf("cut after %d bytes: %d connections for two submits", cut, n)
		}
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	addr, connections := tcp(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1)) // it has left
		cancel(context.DeadlineExceeded)
		io.Copy(io.Discard, c)
	})
	tr, base := client(func(o *Options) { o.AnswerTimeout = time.Minute }), "http://"+addr
	err := judged(tr, ctx, text(base))
	mustFail(t, err, sms.Ambiguous)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want it to wrap context.DeadlineExceeded", err)
	}
	before := connections.Load()
	err = judged(tr, ctx, text(base)) // ended before it began
	mustFail(t, err, sms.Transient)
	if connections.Load() != before {
		t.Error("a connection was made for a context that had ended")
	}
}

func TestRequests(t *testing.T) {
	var got *http.Request
	var body string
	s := provider(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "whole")
	})
	const form, js = "application/x-www-form-urlencoded", "application/json"
	for _, c := range []struct {
		r                               *Request
		method, contentType, body, auth string
	}{
		{Get(s.URL + "/x?a=%2B"), "GET", "", "", ""},
		{Form(s.URL+"/x?a=%2B", url.Values{"b": {"1 + 1"}}), "POST", form, "b=1+%2B+1", ""},
		{JSON(s.URL+"/x?a=%2B", map[string]string{"b": "<&>"}).Bearer("k"), "POST", js, `{"b":"<&>"}`, "Bearer k"},
		{Raw("PUT", s.URL+"/x?a=%2B", "text/plain", []byte("b")).Basic("u", "p"), "PUT", "text/plain", "b", "Basic dTpw"},
	} {
		c.r.Header.Set("X-Own", "1")
		a, err := New(Options{NoProxy: true}).Do(t.Context(), c.r)
		if err != nil || !a.Sent || a.Status != http.StatusAccepted || string(a.Body) != "whole" || a.Date.IsZero() || a.Header.Get("X-Answer") != "yes" {
			t.Errorf("%s: %+v, %v", c.method, a, err)
		}
		if got.Method != c.method || got.URL.RawQuery != "a=%2B" || body != c.body || got.Header.Get("Content-Type") != c.contentType ||
			got.Header.Get("Authorization") != c.auth || got.Header.Get("X-Own") != "1" || got.UserAgent() != "textback" {
			t.Errorf("got %s %s %v, %q", got.Method, got.URL, got.Header, body)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := provider(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("x", 11)) })
	for limit, fits := range map[int64]bool{10: false, 11: true} {
		a, err := client(func(o *Options) { o.MaxAnswer = limit }).Do(t.Context(), Get(s.URL))
		if (err == nil) != fits || a.Status != 200 {
			t.Errorf("%d: %v, %v", limit, a.Status, err)
		}
	}
}

func TestNoRedirects(t *testing.T) {
	var elsewhere atomic.Int32
	target := provider(t, func(w http.ResponseWriter, r *http.Request) { elsewhere.Add(1) })
	for status, class := range map[int]sms.Class{
		301: sms.Misconfigured, 307: sms.Misconfigured, 308: sms.Misconfigured, 302: sms.Ambiguous, 303: sms.Ambiguous,
	} {
		s := provider(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", target.URL)
			w.WriteHeader(status)
		})
		mustFail(t, judged(client(), t.Context(), text(s.URL)), class)
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestClassOfStatus(t *testing.T) {
	for status, want := range map[int]sms.Class{
		400: sms.Rejected, 401: sms.Unauthorized, 402: sms.NoCredit, 403: sms.Unauthorized, 404: sms.Misconfigured, 405: sms.Misconfigured,
		407: sms.Misconfigured, 408: sms.Ambiguous, 409: sms.Rejected, 415: sms.Misconfigured, 422: sms.Rejected, 429: sms.Throttled,
		500: sms.Ambiguous, 502: sms.Ambiguous, 503: sms.Ambiguous, 999: sms.Ambiguous,
	} {
		if got := ClassOfStatus(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://sms.example/": "https://sms.example", "https://sms.example/api/laml": "https://sms.example/api/laml",
		"http://127.0.0.1:8080": "http://127.0.0.1:8080", "http://localhost": "http://localhost", "http://[::1]:1": "http://[::1]:1",
		"http://sms.example": "", "http://192.0.2.1": "", "sms.example": "", "ftp://sms.example": "", "": "",
		"https://u:" + testToken + "@sms.example": "", "https://sms.example?a=" + testToken: "", "https://sms.example/%zz" + testToken: "",
	} {
		u, err := BaseURL(in, false)
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q: got %v, %v", in, u, err)
		}
		if err != nil && strings.Contains(err.Error(), testToken) {
			t.Errorf("%q: %v", in, err)
		}
	}
	if _, err := BaseURL("http://192.0.2.1:8080", true); err != nil {
		t.Error(err)
	}
}

func TestTrust(t *testing.T) {
	if _, err := Trust([]byte("not PEM")); err == nil {
		t.Error("no certificate was trusted")
	}
}

func TestWord(t *testing.T) {
	for in, want := range map[string]string{
		`"SM1"`: "SM1", `21610`: "21610", `-1`: "-1", `null`: "", `{"a":1}`: "", `[1]`: "", `true`: "", `"a-b_c.d"`: "a-b_c.d",
		`"see +12025550143"`: "", `"` + strings.Repeat("x", 65) + `"`: "",
	} {
		var w Word
		if err := json.Unmarshal([]byte(in), &w); err != nil || w.Clean() != want {
			t.Errorf("%s: got %q, %v", in, w.Clean(), err)
		}
	}
}

func TestGatewayURL(t *testing.T) {
	for u, good := range map[string]bool{
		"https://sms.example/x/": true, "http://127.0.0.1:1": true, "http://localhost": true, "http://[::1]:8080": true, "http://192.168.1.20:8080": true,
		"http://10.0.0.1": true, "http://[fd00::1]": true, "http://169.254.1.1": true,
		"http://8.8.8.8": false, "http://sms.example": false, "http://gateway": false, "http://192.168.1.20.example": false,
		"http://u:p@192.168.1.20": false, "ftp://192.168.1.20": false, "": false, "https://sms.example?a=b": false,
	} {
		got, err := GatewayURL(u)
		if (err == nil) != good || err == nil && strings.HasSuffix(got.String(), "/") {
			t.Errorf("%q: %v, %v", u, got, err)
		}
	}
}
