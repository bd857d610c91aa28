package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// seen counts verdicts.
type seen struct {
	mu sync.Mutex
	m  map[string]int
}

func (s *seen) observe(transport, verdict string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]int{}
	}
	s.m[strings.TrimPrefix(transport+" "+verdict, " ")]++
}

func (s *seen) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[what]
}

// provider is a transport's handler: it believes those who say "please".
func provider(got *[]string, mu *sync.Mutex) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		*got = append(*got, r.Method+" "+r.URL.String()+" "+string(b))
		mu.Unlock()
		switch {
		case strings.Contains(string(b), "panic"):
			panic("quoting " + string(b))
		case strings.Contains(string(b), "again"):
			w.WriteHeader(http.StatusServiceUnavailable)
		case !strings.Contains(string(b), "please"):
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = io.WriteString(w, "<Response/>")
		}
	})
}

func started(t *testing.T, opt Options) *Server {
	t.Helper()
	opt.Listen = "127.0.0.1:0"
	if opt.PublicURL == "" {
		opt.PublicURL = "https://sms.example/textback/"
	}
	s, err := Listen(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestOnlyTheirPaths(t *testing.T) {
	var got []string
	var mu sync.Mutex
	var log bytes.Buffer
	v := &seen{}
	s, err := newServer(Options{PublicURL: "https://sms.example/textback", Transports: map[string]http.Handler{"twilio": provider(&got, &mu)}, Observe: v.observe,
		Log: slog.New(slog.NewTextHandler(&log, nil)), MaxRefused: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"POST", "/textback/twilio/inbound?a=1&b=%2B", "please", 200},
		{"POST", "/textback/twilio/status", "please", 200},
		{"GET", "/textback/twilio/inbound", "please", 200},
		{"POST", "/textback/twilio", "please", 200},
		{"POST", "/textback/twilio/inbound", "secret +12025550143", 403},
		{"POST", "/textback/twilio/inbound", "again", 503},
		{"POST", "/textback/twilio/inbound", "panic +12025550143", 503},
		{"POST", "/textback/twilio/inbound", strings.Repeat("x", 64<<10+1), 413},
		{"POST", "/textback/telnyx/inbound", "please", 404}, {"POST", "/textback/", "please", 404}, {"POST", "/textback", "please", 404}, {"POST", "/", "please", 404}, {"POST", "/twilio/inbound", "please", 404},
		{"POST", "/textback/../textback/twilio/inbound", "please", 404}, {"POST", "/textback//twilio/inbound", "please", 404}, {"POST", "/textback/%74wilio/inbound", "please", 404}, {"POST", "/textback/twilio/..%2f", "please", 404},
		{"POST", "/textbacktwilio/inbound", "please", 404}, {"GET", "/metrics", "", 404}, {"GET", "/healthz", "", 404}, {"GET", "/debug/pprof/", "", 404}, {"PUT", "/textback/twilio/inbound", "please", 404}, {"TRACE", "/textback/twilio/inbound", "please", 404},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.code)
		}
		if w.Code == 404 && w.Body.Len() > 0 {
			t.Errorf("%s: says %q", c.path, w.Body)
		}
	}
	if len(got) != 7 || got[0] != "POST /inbound?a=1&b=%2B please" || got[3] != "POST / please" {
		t.Errorf("%q", got)
	}
	if s := log.String(); strings.Contains(s, "2025550143") || strings.Contains(s, "secret +") || !strings.Contains(s, "transport=twilio") {
		t.Errorf("logged: %s", s)
	}
	for verdict, n := range map[string]int{"twilio taken": 4, "twilio not_believed": 1, "twilio again": 1, "twilio failed": 1, "twilio too_big": 1, "bad": 15} {
		if v.count(verdict) != n {
			t.Errorf("%s: %d, want %d", verdict, v.count(verdict), n)
		}
	}
}

// Who is refused again and again is told to go away; others are not, and neither is
// anybody behind a proxy that does not say who calls, nor who is believed.
func TestRefusedAgainAndAgain(t *testing.T) {
	var got []string
	var mu sync.Mutex
	now := time.Unix(1_900_000_000, 0)
	s, err := newServer(Options{PublicURL: "https://sms.example", Transports: map[string]http.Handler{"twilio": provider(&got, &mu)}, MaxRefused: 3, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(remote, forwarded, body string) int {
		r := httptest.NewRequest("POST", "/twilio/inbound", strings.NewReader(body))
		r.RemoteAddr = remote
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	for i, want := range []int{403, 403, 403, 429, 429} {
		if code := ask("192.0.2.1:1000", "", "x"); code != want {
			t.Errorf("request %d: %d", i, code)
		}
	}
	if code := ask("192.0.2.1:1", "198.51.100.1", "x"); code != 429 {
		t.Errorf("a stranger's X-Forwarded-For is believed: %d", code)
	}
	for range 3 {
		if code := ask("192.0.2.1:1000", "", "please"); code != 200 {
			t.Errorf("the provider, at the same address: %d", code)
		}
		if code := ask("192.0.2.1:1000", "", "x"); code != 429 {
			t.Errorf("and again a stranger: %d", code)
		}
	}
	r := httptest.NewRequest("POST", "/nowhere", nil)
	r.RemoteAddr = "192.0.2.1:1000"
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a path of nobody: %d", w.Code)
	}
	if code := ask("192.0.2.2:1000", "", "please"); code != 200 {
		t.Errorf("somebody else: %d", code)
	}
	for i, want := range []int{403, 403, 403, 429} {
		if code := ask("127.0.0.1:1000", fmt.Sprintf("10.9.8.%d, 203.0.113.5", i), "x"); code != want {
			t.Errorf("through the proxy, %d: %d", i, code)
		}
	}
	for range 10 {
		if code := ask("127.0.0.1:1000", "", "x"); code != 403 {
			t.Errorf("a proxy that does not say: %d", code)
		}
	}
	for i := range 4 { // one subscriber's IPv6
		if code := ask(fmt.Sprintf("[2001:db8::%d]:1", i), "", "x"); (code == 429) != (i == 3) {
			t.Errorf("IPv6 %d: %d", i, code)
		}
	}
	now = now.Add(61 * time.Second)
	if code := ask("192.0.2.1:1000", "", "please"); code != 200 {
		t.Errorf("a minute later: %d", code)
	}
	for i := range 3 * maxSenders {
		s.bad.add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(s.bad.m) > maxSenders {
		t.Errorf("%d senders remembered", len(s.bad.m))
	}
}

// A provider that shows its password only when asked for it is asked each time, which is
// no reason to refuse it.
func TestAsked(t *testing.T) {
	v, log := &seen{}, bytes.Buffer{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, pw, _ := r.BasicAuth(); pw {
		case "":
			w.Header().Set("WWW-Authenticate", `Basic realm="textback"`)
			http.Error(w, "no", http.StatusUnauthorized)
		case "right":
		default:
			http.Error(w, "no", http.StatusForbidden)
		}
	})
	s, err := newServer(Options{PublicURL: "https://sms.example", Transports: map[string]http.Handler{"bandwidth": h}, MaxRefused: 3, Observe: v.observe, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(password string) int {
		r := httptest.NewRequest("POST", "/bandwidth/inbound", nil)
		if password != "" {
			r.SetBasicAuth("u", password)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	for range 20 {
		if a, b := ask(""), ask("right"); a != 401 || b != 200 {
			t.Fatalf("%d %d", a, b)
		}
	}
	if v.count("bandwidth asked") != 20 || v.count("bandwidth taken") != 20 || log.Len() > 0 {
		t.Errorf("%v %s", v.m, &log)
	}
	for i, want := range []int{403, 403, 403, 429, 429} {
		if code := ask("wrong"); code != want {
			t.Errorf("%d: %d", i, code)
		}
	}
	if a, b := ask(""), ask("right"); a != 401 || b != 200 {
		t.Errorf("after somebody else's wrong ones: %d %d", a, b)
	}
	if v.count("bandwidth not_believed") != 3 || v.count("bandwidth too_many") != 2 || strings.Count(log.String(), "not believed") != 3 {
		t.Errorf("%v %s", v.m, &log)
	}
}

// Slow ones are cut off, many of them do not keep others out.
func TestSlowloris(t *testing.T) {
	var got []string
	var mu sync.Mutex
	v := &seen{}
	s := started(t, Options{Transports: map[string]http.Handler{"twilio": provider(&got, &mu)}, MaxPerHost: 4, MaxConns: 8, HeaderTime: 2 * time.Second, RequestTime: 4 * time.Second,
		Observe: v.observe, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	from := func(ip string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		return c
	}
	var slow []net.Conn
	for i := range 8 {
		c := from("127.0.0.2")
		if _, err := io.WriteString(c, "POST /textback/twilio/inbound HTTP/1.1\r\nHost: x\r\n"); err != nil && i < 4 {
			t.Error(err)
		}
		slow = append(slow, c)
	}
	ask := func(c net.Conn) (int, error) {
		if _, err := io.WriteString(c, "POST /textback/twilio/inbound HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nConnection: close\r\n\r\nplease"); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, nil
	}
	if code, err := ask(from("127.0.0.3")); code != 200 {
		t.Errorf("somebody else is kept out: %d %v", code, err)
	}
	for _, c := range slow {
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "i/o timeout") {
			t.Errorf("a slow one is still listened to: %v", err)
		}
	}
	if v.count("too_many") < 4 {
		t.Errorf("%d closed at once", v.count("too_many"))
	}
	// A body that never ends.
	c := from("127.0.0.2")
	if _, err := io.WriteString(c, "POST /textback/twilio/inbound HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nplea"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && resp.StatusCode == 200 {
		t.Error("half a body is taken")
	}
	// And all have their turn again.
	if code, err := ask(from("127.0.0.2")); code != 200 {
		t.Errorf("%d %v", code, err)
	}
}

func TestItsOwnTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool()
	write := func(serial int64) {
		t.Helper()
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
		if err != nil {
			t.Fatal(err)
		}
		kb, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: kb}, cert: {Type: "CERTIFICATE", Bytes: der}} {
			if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(cert, time.Now(), time.Unix(1_900_000_000+serial, 0)); err != nil {
			t.Fatal(err)
		}
		x, _ := x509.ParseCertificate(der)
		roots.AddCert(x)
	}
	write(1)
	var got []string
	var mu sync.Mutex
	var tmu sync.Mutex
	now := time.Now()
	s := started(t, Options{CertFile: cert, KeyFile: key, Transports: map[string]http.Handler{"twilio": provider(&got, &mu)}, Now: func() time.Time { tmu.Lock(); defer tmu.Unlock(); return now }})
	serial := func() int64 {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
		defer tr.CloseIdleConnections()
		req, _ := http.NewRequest("POST", "https://"+s.Addr()+"/textback/twilio/x", strings.NewReader("please"))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 || resp.ProtoMajor != 1 {
			t.Errorf("%s %s", resp.Status, resp.Proto)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Error(n)
	}
	write(2)
	tmu.Lock()
	now = now.Add(time.Minute)
	tmu.Unlock()
	if n := serial(); n != 2 {
		t.Errorf("the new certificate is not used: %d", n)
	}
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	tmu.Lock()
	now = now.Add(time.Minute)
	tmu.Unlock()
	if n := serial(); n != 2 {
		t.Errorf("a broken certificate replaces the old one: %d", n)
	}
	if _, err := Listen(Options{Listen: "127.0.0.1:0", PublicURL: "https://x", CertFile: cert, KeyFile: key}); err == nil {
		t.Error("a broken certificate is taken at the start")
	}
}

// Whatever comes over the wire, only the transport's own path reaches it, and
// the server lives.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"POST /textback/twilio/inbound HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nplease", "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x02", "POST /textback/twilio/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nplease\r\n0\r\n\r\n",
		"POST http://evil/textback/twilio/../x HTTP/1.1\r\nHost: y\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /textback/twilio/%00 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ,,\xff\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = "127.0.0.1:1"
		var path string
		s, err := newServer(Options{PublicURL: "https://sms.example/textback", Transports: map[string]http.Handler{"twilio": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path = r.URL.Path
			b, err := io.ReadAll(r.Body)
			if err != nil || len(b) > 64<<10 {
				t.Errorf("a body of %d bytes, %v", len(b), err)
			}
		})}})
		if err != nil {
			t.Fatal(err)
		}
		asked := r.URL.Path
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if path != "" && asked != "/textback/twilio"+path && asked+"/" != "/textback/twilio"+path {
			t.Errorf("%q reaches %q", asked, path)
		}
		if w.Code == 404 && w.Body.Len() > 0 {
			t.Errorf("says %q", w.Body)
		}
	})
}
