package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Role is what a connection to the embedded server may do.
type Role string

const (
	Watcher Role = "watcher" // publishes calls and live calls
	Sender  Role = "sender"  // plans and sends texts
	Reader  Role = "reader"  // listens to events and reads their history
	Admin   Role = "admin"   // everything: declares streams, mends by hand
)

var roles = []Role{Watcher, Sender, Reader, Admin}

// ServerOptions say how the embedded server runs.
type ServerOptions struct {
	StateDir string // created if missing; the server keeps everything below it
	Site     string
	Listen   string // "host:port"; empty: no port is opened
	MaxStore int64  // bytes JetStream may use; 0: half of the free space, at most 4 GiB
	Log      *slog.Logger
}

// A Server is the NATS server inside textback.
type Server struct {
	ns     *server.Server
	lock   *os.File
	dir    string
	failed chan error
	once   sync.Once
}

// Serve starts the embedded server and returns when clients can connect.
func Serve(opt ServerOptions) (*Server, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Join(opt.StateDir, "nats"), 0o700); err != nil {
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	lock, err := flock(filepath.Join(opt.StateDir, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Server{lock: lock, dir: opt.StateDir, failed: make(chan error, 1)}
	users, err := s.users()
	if err != nil {
		lock.Close()
		return nil, err
	}
	if opt.MaxStore == 0 {
		if opt.MaxStore, err = maxStore(opt.StateDir); err != nil {
			lock.Close()
			return nil, err
		}
	}
	o := &server.Options{
		ServerName: "textback-" + opt.Site,
		DontListen: opt.Listen == "",
		JetStream:  true, StoreDir: filepath.Join(opt.StateDir, "nats"),
		JetStreamDomain: "textback-" + opt.Site,
		// Explicit, and well below the free space: a full disk would latch
		// JetStream's writes until a restart, this limit is a clean error.
		JetStreamMaxStore:  opt.MaxStore,
		JetStreamMaxMemory: 64 << 20,
		// Without it every acknowledged write since the last writeback is lost
		// when the power fails.
		SyncAlways:             true,
		NoSigs:                 true, // else the server would exit the process on SIGINT
		DisableJetStreamBanner: true,
		MaxPayload:             256 << 10,
		Nkeys:                  users,
		AuthTimeout:            handshakeTime.Seconds(),
	}
	// A domain would change $JS.API subjects only for leaf nodes; in the same
	// account both forms answer.
	if opt.Listen != "" {
		host, port, err := net.SplitHostPort(opt.Listen)
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("nats.listen %q: want host:port: %w", opt.Listen, err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("nats.listen %q: port %q is not a number", opt.Listen, port)
		}
		o.Host, o.Port = host, n
		if n == 0 {
			o.Port = server.RANDOM_PORT
		}
		// A port that is taken would make the server exit from a goroutine of
		// its own; found out here, it is an ordinary error.
		if n != 0 {
			l, err := net.Listen("tcp", opt.Listen)
			if err != nil {
				lock.Close()
				return nil, fmt.Errorf("nats.listen: %w (another NATS server? choose another port, or use that server with nats.url)", err)
			}
			l.Close()
		}
	}
	ns, err := server.NewServer(o)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	s.ns = ns
	ns.SetLoggerV2(&logger{log: opt.Log.With("part", "nats"), failed: s.failed}, false, false, false)
	ns.Start()
	if err := s.ready(time.Minute); err != nil {
		s.Close()
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	return s, nil
}

// ready waits until clients can connect, and no longer than until the server
// has said that it cannot start.
func (s *Server) ready(within time.Duration) error {
	for end := time.Now().Add(within); ; {
		ok := s.ns.ReadyForConnections(100 * time.Millisecond)
		select {
		case err := <-s.failed:
			return err
		default:
		}
		if ok {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not ready after %v", within)
		}
	}
}

// Failed yields an error if the server dies by itself; textback should end then.
func (s *Server) Failed() <-chan error { return s.failed }

// Addr is where the server listens, empty if it does not.
func (s *Server) Addr() string {
	if a := s.ns.Addr(); a != nil {
		return a.String()
	}
	return ""
}

// Health is nil while JetStream can write.
func (s *Server) Health() error {
	if h := s.ns.Healthz(nil); h.StatusCode != 200 {
		return fmt.Errorf("embedded NATS server: %s %s", h.Status, h.Error)
	}
	return nil
}

// Close stops the server and waits for it. It may be called twice.
func (s *Server) Close() {
	s.once.Do(func() {
		if s.ns != nil {
			s.ns.Shutdown()
			s.ns.WaitForShutdown()
		}
		s.lock.Close()
	})
}

// flock takes the state directory for this process: two servers on one
// directory would both start and spoil each other's files.
func flock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("the state directory %s is in use by another textback (process %s): stop that one, or give this one a state_dir of its own",
			filepath.Dir(path), strings.TrimSpace(string(b)))
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return f, nil
}

// minStore is what the streams reserve, and room for the outbox.
const minStore = 256 << 20

// maxStore is half of what is free, at most 4 GiB.
func maxStore(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 1 << 30, nil
	}
	half := int64(st.Bavail) * st.Bsize / 2
	if half < minStore {
		return 0, fmt.Errorf("only %d MB are free in %s and textback needs %d: free some, or move state_dir", half>>19, dir, 2*minStore>>20)
	}
	return min(half, 4<<30), nil
}

// users makes or reads each role's key and returns it with its rights.
func (s *Server) users() ([]*server.NkeyUser, error) {
	var users []*server.NkeyUser
	for _, r := range roles {
		seed, err := key(KeyFile(s.dir, r), r)
		if err != nil {
			return nil, err
		}
		kp, err := nkeys.FromSeed(seed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w (delete the file to have a new key made)", KeyFile(s.dir, r), err)
		}
		pub, err := kp.PublicKey()
		if err != nil {
			return nil, err
		}
		if !nkeys.IsValidPublicUserKey(pub) {
			return nil, fmt.Errorf("%s: not a user's key (delete the file to have a new key made)", KeyFile(s.dir, r))
		}
		users = append(users, &server.NkeyUser{Nkey: pub, Permissions: permissions(r)})
	}
	return users, nil
}

// KeyFile is where the embedded server keeps a role's nkey seed. Whoever can
// read it has the role.
func KeyFile(stateDir string, r Role) string {
	return filepath.Join(stateDir, "nats", string(r)+".nk")
}

func key(path string, r Role) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		return []byte(strings.TrimSpace(string(b))), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the key of role %s: %w", r, err)
	}
	kp, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	seed, err := kp.Seed()
	if err != nil {
		return nil, err
	}
	mode := os.FileMode(0o600)
	if r == Reader {
		mode = 0o640
	}
	tmp := path + ".new"
	if err := writeSynced(tmp, append(seed, '\n'), mode); err != nil {
		return nil, fmt.Errorf("make the key of role %s: %w", r, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("make the key of role %s: %w", r, err)
	}
	return seed, nil
}

// writeSynced is os.WriteFile, and a power cut afterwards leaves no empty file.
func writeSynced(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// permissions are each role's least rights. An empty allow list would mean
// everything, so every list is written out.
func permissions(r Role) *server.Permissions {
	p := &server.Permissions{Subscribe: &server.SubjectPermission{Allow: []string{inboxPrefix(r) + ".>"}}}
	switch r {
	case Watcher:
		p.Publish = &server.SubjectPermission{Allow: []string{
			"textback.in.v1.call.>", "textback.v1.live.>",
			"$JS.API.INFO", "$JS.API.STREAM.MSG.GET.CALLS", "$JS.API.DIRECT.GET.LIVE", "$JS.API.STREAM.PURGE.LIVE",
		}}
	case Sender:
		p.Publish = &server.SubjectPermission{Allow: []string{
			"textback.v1.sms.>", "textback.v1.optout.>", "textback.v1.conv.>",
			"$JS.API.INFO", "$JS.API.DIRECT.GET.LIVE",
			"$JS.API.STREAM.MSG.GET.SMS", "$JS.API.STREAM.MSG.GET.OPTOUT", "$JS.API.STREAM.MSG.GET.CONV", "$JS.API.STREAM.MSG.GET.CALLS",
			"$JS.API.STREAM.INFO.*", "$JS.API.DIRECT.GET.SMS", "$JS.API.DIRECT.GET.OPTOUT",
			"$JS.API.CONSUMER.CREATE.CALLS.>", "$JS.API.CONSUMER.CREATE.SMS.>", "$JS.API.CONSUMER.CREATE.OPTOUT.>", "$JS.API.CONSUMER.CREATE.CONV.>",
			"$JS.API.CONSUMER.DELETE.SMS.>", "$JS.API.CONSUMER.DELETE.OPTOUT.>", "$JS.API.CONSUMER.DELETE.CONV.>",
			"$JS.API.CONSUMER.INFO.*.*", "$JS.API.CONSUMER.MSG.NEXT.*.*", "$JS.ACK.>", "$JS.FC.>",
		}}
	case Reader:
		p.Subscribe.Allow = append(p.Subscribe.Allow, "textback.v1.call.>", "textback.v1.live.>", "textback.v1.sms.event.>", "_INBOX.>")
		p.Publish = &server.SubjectPermission{Allow: []string{
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.CALLS", "$JS.API.STREAM.INFO.LIVE",
			"$JS.API.STREAM.MSG.GET.CALLS", "$JS.API.DIRECT.GET.CALLS.>", "$JS.API.DIRECT.GET.CALLS", "$JS.API.DIRECT.GET.LIVE",
			"$JS.API.CONSUMER.CREATE.CALLS", "$JS.API.CONSUMER.CREATE.CALLS.>", "$JS.API.CONSUMER.INFO.CALLS.*",
			"$JS.API.CONSUMER.DELETE.CALLS.*", "$JS.API.CONSUMER.MSG.NEXT.CALLS.*", "$JS.ACK.CALLS.>", "$JS.FC.>",
		}}
	case Admin:
		p.Publish = &server.SubjectPermission{Allow: []string{">"}}
		p.Subscribe = &server.SubjectPermission{Allow: []string{">"}}
	}
	return p
}

func inboxPrefix(r Role) string { return "_INBOX_" + string(r) }

// logger hands the server's words to slog. Fatalf does not end the process:
// the daemon does, in its own order.
type logger struct {
	log    *slog.Logger
	failed chan error
}

func (l *logger) Noticef(f string, a ...any) { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l *logger) Warnf(f string, a ...any)   { l.log.Warn(fmt.Sprintf(f, a...)) }
func (l *logger) Errorf(f string, a ...any)  { l.log.Error(fmt.Sprintf(f, a...)) }
func (l *logger) Debugf(f string, a ...any)  {}
func (l *logger) Tracef(f string, a ...any)  {}
func (l *logger) Fatalf(f string, a ...any) {
	err := fmt.Errorf(f, a...)
	l.log.Error("embedded NATS server failed", "error", err)
	select {
	case l.failed <- err:
	default:
	}
}

// ConnectOptions say whom to connect to, and as what.
type ConnectOptions struct {
	Server *Server // the embedded one, or
	URL    string  // an external one; several with commas

	Role            Role
	KeyFile         string // nkey seed, for an embedded server in another process
	CredentialsFile string // of an external server
	CAFile          string
	CertFile        string
	TLSKeyFile      string
	Name            string
	Log             *slog.Logger
}

// handshakeTime is how long a connection's greeting may take. A host that stands still
// for a moment must not make the daemon end: to the embedded server it connects once.
const handshakeTime = 10 * time.Second

// Connect makes a connection that comes back by itself for as long as it takes.
// To an external server it returns before that server is there.
func Connect(opt ConnectOptions) (*nats.Conn, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	log := opt.Log.With("part", "nats", "as", opt.Role)
	told := &refusals{log: log}
	o := []nats.Option{
		nats.Name("textback " + string(opt.Role) + " " + opt.Name),
		nats.Timeout(handshakeTime), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectJitter(200*time.Millisecond, time.Second),
		// A server that refuses us is asked again until its admin has mended that.
		nats.IgnoreAuthErrorAbort(),
		// A publish that failed must not be stored later behind our back.
		nats.ReconnectBufSize(-1),
		nats.CustomInboxPrefix(inboxPrefix(opt.Role)),
		nats.SetCustomDialer(&alertDialer{net.Dialer{Timeout: nats.DefaultTimeout}}),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			if !nc.IsConnected() {
				told.tell(err)
				return
			}
			log.Error("NATS", "error", err)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { told.tell(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to NATS broke; connecting again", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			told.forget()
			log.Info("connected to NATS again", "url", c.ConnectedUrlRedacted())
		}),
	}
	url := opt.URL
	if opt.Server != nil {
		o = append(o, nats.InProcessServer(opt.Server.ns))
		opt.KeyFile, url = KeyFile(opt.Server.dir, opt.Role), ""
	} else {
		o = append(o, nats.RetryOnFailedConnect(true))
	}
	if opt.KeyFile != "" {
		k, err := nats.NkeyOptionFromSeed(opt.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("key of role %s: %w", opt.Role, err)
		}
		o = append(o, k)
	}
	if opt.CredentialsFile != "" {
		o = append(o, nats.UserCredentials(opt.CredentialsFile))
	}
	if opt.CAFile != "" {
		o = append(o, nats.RootCAs(opt.CAFile))
	}
	if opt.CertFile != "" {
		o = append(o, nats.ClientCert(opt.CertFile, opt.TLSKeyFile))
	}
	nc, err := nats.Connect(url, o...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if !nc.IsConnected() {
		// Until the first success no handler is called for a server that is
		// there and refuses us.
		go func() {
			for !nc.IsConnected() && !nc.IsClosed() {
				told.tell(nc.LastError())
				time.Sleep(time.Second)
			}
			told.forget()
		}()
	}
	return nc, nil
}

// refusals tells why a connection does not come about: each reason once, not
// at every attempt.
type refusals struct {
	log *slog.Logger

	mu   sync.Mutex
	last string
}

func (r *refusals) tell(err error) {
	if err == nil || errors.Is(err, nats.ErrNoServers) { // the reason itself comes beside it
		return
	}
	reason := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok {
		reason = op.Err.Error() // without the ports, which differ each time
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason == r.last {
		return
	}
	r.last = reason
	r.log.Warn("no connection to NATS; trying again until there is one", "error", err)
}

func (r *refusals) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = ""
}

// alertDialer makes connections on which the server's last word is heard. A
// TLS 1.3 server refuses a client's certificate after the client's side of the
// handshake is over (RFC 8446, 4.4.2.4): its alert is under way while NATS's
// client already writes, and that write fails, "broken pipe", before the alert
// is read, so the admin never learns what the server wants.
type alertDialer struct{ net.Dialer }

func (d *alertDialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &alertConn{Conn: c}, nil
}

// alertConn leaves it to the next read to tell that the peer closed: that read
// returns what the peer said before. A write into a connection that the peer
// has just closed reports success on any TCP connection, so nobody may rely on
// its error.
type alertConn struct{ net.Conn }

func (c *alertConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return len(b), nil
	}
	return n, err
}

// WaitConnected returns once nc is connected, or with ctx's error and what the
// server said last.
func WaitConnected(ctx context.Context, nc *nats.Conn) error {
	var said error
	for !nc.IsConnected() {
		if err := nc.LastError(); err != nil {
			said = err
		}
		select {
		case <-ctx.Done():
			if said != nil {
				return fmt.Errorf("connect to NATS: %w (%w)", ctx.Err(), said)
			}
			return fmt.Errorf("connect to NATS: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
