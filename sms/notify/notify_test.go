package notify

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"textback/rules"
	"textback/sms"
	"textback/sms/smstest"
)

func notice(channel string) sms.Notification {
	return sms.Notification{ID: "abc-n1", Word: sms.ReplyCame, Channel: channel, Subject: "Text from +12025550143 – Grüße\r\nBcc: evil@example.com", Body: "+12025550143 writes:\n\nCall me – 5 € 😀\n.\nQUIT\n" + strings.Repeat("long ", 400),
		Call: "hq/c1", Number: "+12025550143", Line: "+12125550100", At: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC),
		To: rules.Staff{Name: "front", Email: "front@example.com"}}
}

// pair makes a certificate for 127.0.0.1 and the pool that trusts it.
func pair(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(c)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})), roots
}

type mailGot struct {
	From, To, Subject, Text, ID, Auto, Type, User string
	TLS                                           bool
	Port                                          int
}

// mailServer is npm's smtp-server with mailparser behind it.
func mailServer(t *testing.T, mode, user, password string) (port int, roots *x509.CertPool, next func() mailGot) {
	t.Helper()
	dir := smstest.NPM(t, "smtp-server@3.21.6", "mailparser@3.14.2")
	cert, key, roots := pair(t)
	cfg, err := json.Marshal(map[string]string{"mode": mode, "user": user, "password": password, "cert": cert, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/smtp.js")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", script)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"), "SMTP_CONFIG="+string(cfg))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := make(chan mailGot, 10)
	go func() {
		defer close(lines)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var g mailGot
			if json.Unmarshal(sc.Bytes(), &g) == nil {
				lines <- g
			}
		}
	}()
	next = func() mailGot {
		t.Helper()
		select {
		case g, ok := <-lines:
			if !ok {
				t.Fatal("the mail server has ended")
			}
			return g
		case <-time.After(30 * time.Second):
			t.Fatal("no mail came")
		}
		return mailGot{}
	}
	return next().Port, roots, next
}

func TestMailThroughARealServer(t *testing.T) {
	for name, c := range map[string]struct{ mode, tls, user string }{
		"STARTTLS with a login":     {"starttls", StartTLS, "textback"},
		"implicit TLS with a login": {"implicit", ImplicitTLS, "textback"},
		"STARTTLS without":          {"starttls", "", ""},
		"this host, in the clear":   {"none", NoTLS, ""},
		"this host, with a login":   {"none", NoTLS, "textback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, roots, next := mailServer(t, c.mode, c.user, "s3cret")
			n, err := New(Options{Site: "hq", SMTP: &SMTP{Host: "127.0.0.1", Port: port, TLS: c.tls, User: c.user, Password: "s3cret", From: "Müller Dental <textback@example.com>", Roots: roots}})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Check(t.Context()); err != nil {
				t.Error(err)
			}
			x := notice(sms.ByEmail)
			if err := n.Notify(t.Context(), x); err != nil {
				t.Fatal(err)
			}
			g := next()
			if g.From != `"Müller Dental" <textback@example.com>` && g.From != `Müller Dental <textback@example.com>` || g.To != "front@example.com" || g.Subject != "Text from +12025550143 – Grüße Bcc: evil@example.com" ||
				strings.TrimSpace(g.Text) != strings.TrimSpace(x.Body) || g.ID != "<textback.abc-n1@example.com>" || g.Auto != "auto-generated" || g.Type != "text/plain" {
				t.Errorf("%+v", g)
			}
			if g.TLS != (c.mode != "none") || g.User != c.user {
				t.Errorf("TLS %v, user %q", g.TLS, g.User)
			}
			for to, want := range map[string]sms.Class{"nobody@example.com": sms.Rejected, "later@example.com": sms.Transient} {
				x.To.Email = to
				if err := n.Notify(t.Context(), x); sms.ClassOf(err) != want || strings.Contains(err.Error(), to) {
					t.Errorf("%s: %v", to, err)
				}
			}
			if c.user == "" {
				return
			}
			n, err = New(Options{SMTP: &SMTP{Host: "127.0.0.1", Port: port, TLS: c.tls, User: c.user, Password: "wrong", From: "a@example.com", Roots: roots}})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "password") {
				t.Errorf("%v", err)
			}
			if err := n.Notify(t.Context(), notice(sms.ByEmail)); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "wrong") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A password or a notice never goes over a connection that is not what was asked for.
func TestMailServerThatCannotBeTrusted(t *testing.T) {
	port, _, _ := mailServer(t, "starttls", "", "")
	_, _, others := pair(t)
	n, err := New(Options{SMTP: &SMTP{Host: "127.0.0.1", Port: port, From: "a@example.com", Roots: others}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(t.Context(), notice(sms.ByEmail)); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
	plain, _, _ := mailServer(t, "none", "", "")
	n, err = New(Options{SMTP: &SMTP{Host: "127.0.0.1", Port: plain, From: "a@example.com", Roots: others}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(t.Context(), notice(sms.ByEmail)); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("%v", err)
	}
}

func TestMailOptions(t *testing.T) {
	for name, s := range map[string]*SMTP{
		"no sender":             {Host: "mail"},
		"no host":               {From: "a@example.com"},
		"password in the clear": {Host: "mail.example.com", From: "a@example.com", User: "u", TLS: NoTLS},
	} {
		if _, err := New(Options{SMTP: s}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	n, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Notify(t.Context(), notice(sms.ByEmail)); sms.ClassOf(err) != sms.Rejected {
		t.Errorf("%v", err)
	}
	// Nobody is there, or says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err = New(Options{SMTP: &SMTP{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, From: "a@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := n.Notify(ctx, notice(sms.ByEmail)); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
	l.Close()
	if err := n.Notify(t.Context(), notice(sms.ByEmail)); sms.ClassOf(err) != sms.Transient || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

func TestWebhook(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	status := http.StatusNoContent
	var body []byte
	var sig, ctype string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		sig, ctype = r.Header.Get(SignatureHeader), r.Header.Get("Content-Type")
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	n, err := New(Options{Site: "hq", Secret: "k3y", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	x := notice(sms.ByStaffHook)
	x.To.Webhook = srv.URL + "/hook?token=secret"
	if err := n.Notify(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	var e struct {
		SpecVersion, ID, Source, Type, Subject string
		Data                                   Notice
	}
	if err := json.Unmarshal(body, &e); err != nil || e.SpecVersion != "1.0" || e.ID != x.ID || e.Source != "/textback/hq" || e.Type != "textback.notice.v1" || e.Data.Text != x.Body || e.Data.Number != x.Number || e.Data.Staff != "front" {
		t.Errorf("%s %v", body, err)
	}
	if sig != Sign("k3y", now, body) || !strings.HasPrefix(ctype, "application/cloudevents+json") {
		t.Errorf("%s %s", sig, ctype)
	}
	// A vector, made with: printf '1900000000.{}' | openssl dgst -sha256 -hmac k3y
	if got, want := Sign("k3y", now, []byte("{}")), "t=1900000000,v1=216ed7e95f148f8790eacacd79c3001c6303b7737df2c4cf67922fab1aa7008b"; got != want {
		t.Errorf("%s", got)
	}
	for code, want := range map[int]sms.Class{500: sms.Transient, 404: sms.Transient, 302: sms.Transient, 410: sms.Rejected, 429: sms.Transient} {
		status = code
		if err := n.Notify(t.Context(), x); sms.ClassOf(err) != want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, bad := range []string{"http://example.com/x", "ftp://example.com", "://", "", "https://"} {
		x.To.Webhook = bad
		if err := n.Notify(t.Context(), x); sms.ClassOf(err) != sms.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
	srv.Close()
	x.To.Webhook = srv.URL + "/hook?token=secret"
	if err := n.Notify(t.Context(), x); sms.ClassOf(err) != sms.Transient || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}
