package bus

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"textback/pbx/event"
	"textback/pbx/testkit"
)

// natsServer builds the nats-server program of the version in go.mod, once.
var natsServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "textback-nats-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	path := filepath.Join(dir, "nats-server")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

var builtDir string

// external is a nats-server in a process of its own, as an admin runs one.
type external struct {
	t    testing.TB
	path string // the program
	conf string // its configuration file
	addr string
	cmd  *exec.Cmd
	out  *os.File
}

// newExternal writes a configuration for a server on a free port; more is added to it.
func newExternal(t testing.TB, more string) *external {
	t.Helper()
	path, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	return externalOf(t, path, more)
}

func externalOf(t testing.TB, path, more string) *external {
	t.Helper()
	dir := t.TempDir()
	e := &external{t: t, path: path, conf: filepath.Join(dir, "nats.conf"), addr: testkit.FreeAddr(t)}
	conf := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always, max_file: 1G }\n%s\n", e.addr, filepath.Join(dir, "store"), more)
	if err := os.WriteFile(e.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if e.out, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.kill()
		e.out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(e.out.Name())
			t.Logf("nats-server said:\n%s", b[max(0, len(b)-8000):])
		}
	})
	return e
}

// start runs the server and waits until its port is open.
func (e *external) start() {
	e.t.Helper()
	l, err := testkit.Listen(e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	l.Close()
	e.cmd = exec.Command(e.path, "-c", e.conf)
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	eventually(e.t, "nats-server listens", func() bool {
		c, err := net.Dial("tcp", e.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// kill is kill -9: nothing is flushed, nothing said goodbye to.
func (e *external) kill() {
	if e.cmd != nil {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		e.cmd = nil
	}
}

// said is how often the server has said something.
func (e *external) said(what string) int {
	b, err := os.ReadFile(e.out.Name())
	if err != nil {
		e.t.Fatal(err)
	}
	return bytes.Count(b, []byte(what))
}

func (e *external) url(scheme string) string { return scheme + "://" + e.addr }

func (e *external) connect(opt ConnectOptions) *nats.Conn {
	e.t.Helper()
	if opt.URL == "" {
		opt.URL = e.url("nats")
	}
	opt.Log = testLog(e.t)
	nc, err := Connect(opt)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(nc.Close)
	return nc
}

// certificates makes a CA and certificates signed by it, and returns the path
// of each as a PEM file with its key beside it.
func certificates(t testing.TB) (ca, server, client string) {
	t.Helper()
	dir := t.TempDir()
	var parent *x509.Certificate
	var parentKey *ecdsa.PrivateKey
	make1 := func(name string, c *x509.Certificate) string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		if parent == nil {
			parent, parentKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+".pem")
		for p, b := range map[string]*pem.Block{path: {Type: "CERTIFICATE", Bytes: der}, path + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
			if err := os.WriteFile(p, pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	ca = make1("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	server = make1("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	client = make1("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return ca, server, client
}

func newKey(t testing.TB, create func() (nkeys.KeyPair, error)) (kp nkeys.KeyPair, public string, seed []byte) {
	t.Helper()
	kp, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = kp.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if seed, err = kp.Seed(); err != nil {
		t.Fatal(err)
	}
	return kp, public, seed
}

// operator makes an operator, an account with JetStream and a user of it: the
// server's configuration and the user's .creds file.
func operator(t testing.TB) (conf, creds string) {
	t.Helper()
	okp, opub, _ := newKey(t, nkeys.CreateOperator)
	akp, apub, _ := newKey(t, nkeys.CreateAccount)
	_, sysPub, _ := newKey(t, nkeys.CreateAccount)
	_, upub, useed := newKey(t, nkeys.CreateUser)
	encode := func(c jwt.Claims, by nkeys.KeyPair) string {
		token, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	oc := jwt.NewOperatorClaims(opub)
	oc.SystemAccount = sysPub
	ac := jwt.NewAccountClaims(apub)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	conf = fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }\n",
		encode(oc, okp), sysPub, apub, encode(ac, okp), sysPub, encode(jwt.NewAccountClaims(sysPub), okp))
	uc := jwt.NewUserClaims(upub)
	uc.IssuerAccount = apub
	file, err := jwt.FormatUserConfig(encode(uc, akp), useed)
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(t.TempDir(), "textback.creds")
	if err := os.WriteFile(creds, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return conf, creds
}

// onceEach holds that calls 0 to n-1 are stored exactly once and that the
// subscription saw each exactly once, then nothing more.
func onceEach(t testing.TB, nc *nats.Conn, seen *witness, n int) {
	t.Helper()
	stored := map[string]int{}
	for _, c := range storedCalls(t, nc) {
		stored[c.ID]++
	}
	for i := range n {
		if id := call(i).ID; stored[id] != 1 {
			t.Errorf("call %s is stored %d times", id, stored[id])
		}
	}
	if len(stored) != n {
		t.Errorf("%d calls are stored, want %d", len(stored), n)
	}
	for id, times := range seen.all() {
		if times != 1 {
			t.Errorf("a subscriber saw call %s %d times", id, times)
		}
	}
}

// witness counts the calls that a subscriber of the public subject sees.
type witness struct {
	mu   sync.Mutex
	seen map[string]int
}

func watchPublic(t testing.TB, nc *nats.Conn) *witness {
	t.Helper()
	w := &witness{seen: map[string]int{}}
	_, err := nc.Subscribe(event.PublicPrefix+">", func(m *nats.Msg) {
		c, err := event.Decode(m.Data)
		if err != nil {
			t.Errorf("%s: %v", m.Subject, err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen[c.ID]++
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *witness) all() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := make(map[string]int, len(w.seen))
	for k, v := range w.seen {
		m[k] = v
	}
	return m
}

// TestExternalServer runs the publisher against a nats-server of its own,
// which is killed in the middle again and again.
func TestExternalServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	ca, cert, client := certificates(t)
	_, user, seed := newKey(t, nkeys.CreateUser)
	key := filepath.Join(t.TempDir(), "textback.nk")
	if err := os.WriteFile(key, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	authorization := fmt.Sprintf("authorization { users: [ { nkey: %s } ] }\n", user)
	tls := fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", cert, cert+".key")
	mutual := fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\n", cert, cert+".key", ca)
	accounts, creds := operator(t)

	for _, c := range []struct {
		name, conf, scheme string
		opt                ConnectOptions
		wrong              map[string]ConnectOptions // must not get in
		wrongSays          map[string]string         // and is told why
	}{
		{"plain", "", "nats", ConnectOptions{}, nil, nil},
		{"TLS and an nkey", tls + authorization, "tls", ConnectOptions{CAFile: ca, KeyFile: key},
			map[string]ConnectOptions{"no CA": {KeyFile: key}, "no key": {CAFile: ca}},
			map[string]string{"no CA": "unknown authority", "no key": "uthorization"}},
		{"mutual TLS and a credentials file", mutual + accounts, "tls", ConnectOptions{CAFile: ca, CertFile: client, TLSKeyFile: client + ".key", CredentialsFile: creds},
			map[string]ConnectOptions{"no client certificate": {CAFile: ca, CredentialsFile: creds}, "no credentials": {CAFile: ca, CertFile: client, TLSKeyFile: client + ".key"}},
			map[string]string{"no client certificate": "certificate", "no credentials": "uthorization"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newExternal(t, c.conf)
			c.opt.URL, c.opt.Role = e.url(c.scheme), Watcher
			nc := e.connect(c.opt) // before the server is there
			e.start()
			admin := e.connect(c.opt)
			if err := WaitConnected(ctx(t), admin); err != nil {
				t.Fatal(err)
			}
			if err := CheckServer(ctx(t), admin); err != nil {
				t.Fatal(err)
			}
			if err := EnsureStreams(ctx(t), admin, testLog(t)); err != nil {
				t.Fatal(err)
			}
			for name, opt := range c.wrong {
				opt.URL, opt.Role = c.opt.URL, Watcher
				wrong := e.connect(opt)
				// Between two attempts there is no error.
				eventually(t, name+": refused with "+c.wrongSays[name], func() bool {
					short, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
					defer cancel()
					err := WaitConnected(short, wrong)
					return err != nil && strings.Contains(err.Error(), c.wrongSays[name])
				})
				wrong.Close()
			}
			seen := watchPublic(t, admin)
			p, _ := publisher(t, nil, t.TempDir(), nc)
			const n, kills = 60, 3
			for i := range n {
				if err := p.Finished(call(i)); err != nil {
					t.Fatal(err)
				}
				if i%(n/kills) == n/kills/2 { // in the middle of storing
					e.kill()
				}
				if i%(n/kills) == n/kills-1 {
					e.start()
					eventually(t, "stored again", func() bool { return p.Backlog() < n/kills/2 })
				}
			}
			drained(t, p)
			if err := WaitConnected(ctx(t), admin); err != nil {
				t.Fatal(err)
			}
			e.kill() // and what was acknowledged is on disk
			e.start()
			eventually(t, "streams are back", func() bool {
				short, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, err := GetLast(short, admin, CallsStream, event.PublicPrefix+">")
				return err == nil
			})
			onceEach(t, admin, seen, n)
			// The subscription outlived every kill: what is stored now is seen.
			if err := p.Finished(call(n)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the subscriber sees the next call", func() bool { return seen.all()[call(n).ID] == 1 })
		})
	}
}

// TestRefusalIsTold looks at what an admin finds in the journal when the server
// is not there, and then wants a certificate that textback was not given: each
// reason once, not as often as textback tries.
func TestRefusalIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	ca, cert, _ := certificates(t)
	e := newExternal(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\n", cert, cert+".key", ca))
	var journal testkit.Log
	nc, err := Connect(ConnectOptions{URL: e.url("tls"), Role: Watcher, CAFile: ca, Log: slog.New(slog.NewTextHandler(&journal, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	eventually(t, "no server is told", func() bool { return len(journal.Lines("connection refused")) > 0 })
	e.start()
	eventually(t, "the refusal is told", func() bool { return len(journal.Lines("certificate required")) > 0 })
	eventually(t, "the server refuses again and again", func() bool { return e.said("provide a certificate") > 5 })
	// A machine under load may have another reason in between, such as a timeout.
	ports, last := regexp.MustCompile(`127\.0\.0\.1:\d+`), ""
	for line := range strings.Lines(journal.String()) {
		if _, reason, ok := strings.Cut(line, " error="); ok {
			if reason = ports.ReplaceAllString(reason, ""); reason == last {
				t.Errorf("told twice running: %s\n%s", reason, journal.String())
			}
			last = reason
		}
	}
}

// TestRefusedForAWhile has a server that does not know textback's user yet: an
// admin who mends that need not restart textback.
func TestRefusedForAWhile(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	_, user, seed := newKey(t, nkeys.CreateUser)
	_, other, _ := newKey(t, nkeys.CreateUser)
	key := filepath.Join(t.TempDir(), "textback.nk")
	if err := os.WriteFile(key, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	e := newExternal(t, fmt.Sprintf("authorization { users: [ { nkey: %s } ] }\n", other))
	e.start()
	nc := e.connect(ConnectOptions{KeyFile: key, Role: Watcher})
	eventually(t, "refused more than twice", func() bool {
		if nc.IsClosed() {
			t.Fatalf("textback gave up: %v", nc.LastError())
		}
		return e.said("authentication error") > 2
	})
	b, err := os.ReadFile(e.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.conf, bytes.ReplaceAll(b, []byte(other), []byte(user)), 0o600); err != nil {
		t.Fatal(err)
	}
	e.kill()
	e.start()
	if err := WaitConnected(ctx(t), nc); err != nil {
		t.Fatal(err)
	}
}

// oldServer is the nats-server that Debian packages, too old for textback. In
// CI it is fetched, without being installed or started; elsewhere the test is
// skipped unless it is there.
func oldServer(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("nats-server"); err == nil {
		return path
	}
	if os.Getenv("CI") != "true" {
		t.Skip("Debian's nats-server is not installed")
	}
	dir := t.TempDir()
	run := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
		}
		return nil
	}
	if run("apt-get", "-o", "Acquire::Retries=5", "download", "-qq", "nats-server") != nil {
		if err := run("apt-get", "-o", "Acquire::Retries=5", "update", "-qq"); err != nil {
			t.Fatal(err)
		}
		if err := run("apt-get", "-o", "Acquire::Retries=5", "download", "-qq", "nats-server"); err != nil {
			t.Fatal(err)
		}
	}
	debs, err := filepath.Glob(filepath.Join(dir, "nats-server_*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("downloaded %v (%v)", debs, err)
	}
	if err := run("dpkg-deb", "-x", debs[0], "root"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"usr/sbin/nats-server", "usr/bin/nats-server"} {
		if p = filepath.Join(dir, "root", p); exec.Command(p, "--version").Run() == nil {
			return p
		}
	}
	t.Fatal("the package holds no nats-server that runs")
	return ""
}

// TestOldServerIsRefused: with less than atomic batches textback cannot keep
// its promises, and says so instead of trying.
func TestOldServerIsRefused(t *testing.T) {
	path := oldServer(t)
	version, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`v2\.([0-9]|1[01])\.`).Match(version) {
		t.Skipf("this nats-server is not too old: %s", version)
	}
	e := externalOf(t, path, "")
	// Servers of that age cannot sync every write.
	b, err := os.ReadFile(e.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.conf, bytes.ReplaceAll(b, []byte("sync_interval: always, "), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	e.start()
	nc := e.connect(ConnectOptions{Role: Watcher})
	if err := WaitConnected(ctx(t), nc); err != nil {
		t.Fatal(err)
	}
	err = CheckServer(ctx(t), nc)
	if err == nil {
		t.Fatalf("%s is accepted", version)
	}
	for _, want := range []string{nc.ConnectedServerVersion(), "2.12", "atomic batches", e.url("nats")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

// TestServerWithoutJetStreamIsRefused in words, not with "no responders".
func TestServerWithoutJetStreamIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	e := newExternal(t, "")
	if err := os.WriteFile(e.conf, fmt.Appendf(nil, "listen: %q\n", e.addr), 0o600); err != nil {
		t.Fatal(err)
	}
	e.start()
	nc := e.connect(ConnectOptions{Role: Watcher})
	if err := WaitConnected(ctx(t), nc); err != nil {
		t.Fatal(err)
	}
	if err := CheckServer(ctx(t), nc); err == nil || !strings.Contains(err.Error(), "has no JetStream: enable it") {
		t.Errorf("%v", err)
	}
}

// TestSeveralURLs: of the servers named one may be away, and another is taken
// when the one in use dies.
func TestSeveralURLs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	a, b := newExternal(t, ""), newExternal(t, "")
	b.start()
	nc := a.connect(ConnectOptions{URL: a.url("nats") + "," + b.url("nats"), Role: Sender})
	if err := WaitConnected(ctx(t), nc); err != nil {
		t.Fatal(err)
	}
	if got := nc.ConnectedUrl(); got != b.url("nats") {
		t.Errorf("connected to %s", got)
	}
	a.start()
	b.kill()
	eventually(t, "connected to the other one", func() bool { return nc.IsConnected() && nc.ConnectedUrl() == a.url("nats") })
}
