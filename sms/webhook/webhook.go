// Package webhook is in charge of the one listener that strangers may reach: where
// providers call us. It knows nothing of what they say; it lets through what goes to
// a transport's path, whole, bounded and in time, and nothing else.
//
// Whoever knocks is told nothing: another path is 404 without a word. Senders whose
// requests are refused again and again are told to stay away for a while, and the log
// hears no more of them. What a transport believes is never limited by sender, because a
// provider's whole fleet, and strangers beside it, may stand behind one address. So each
// request for a transport is looked at, which bounds on bodies and time keep cheap.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Options are a server's parts. Listen, PublicURL and Transports are needed.
type Options struct {
	Listen    string // host:port
	PublicURL string // as providers know it; its path stands in front of every transport's
	// CertFile and KeyFile are set where no proxy in front speaks TLS. They are read
	// again when they change.
	CertFile, KeyFile string
	// Proxies are believed when they say in X-Forwarded-For who called them; nil: this host.
	Proxies    []netip.Prefix
	Transports map[string]http.Handler // by name: what follows the path of PublicURL

	MaxConns    int           // open connections (512)
	MaxPerHost  int           // of one address, proxies aside (128): a provider's fleet may keep many
	MaxBody     int64         // bytes (64 KB)
	MaxRefused  int           // requests of one sender that may be refused within a minute (30)
	HeaderTime  time.Duration // how long a request's header may take (5 s)
	RequestTime time.Duration // and the whole of it (10 s); what handles it has as long
	IdleTime    time.Duration // between requests (15 s)

	// Observe, if set, is told what became of each request. transport is empty for
	// paths of nobody. Verdicts: taken, asked (for a password, of a sender that gave none), not_believed, bad,
	// too_big, too_many, again, failed.
	Observe func(transport, verdict string)
	Log     *slog.Logger
	Now     func() time.Time
}

// Server listens. It is made by Listen and runs until its Run's context ends.
type Server struct {
	opt  Options
	path string
	l    net.Listener
	http *http.Server
	bad  refusals
}

// Listen opens the listener.
func Listen(opt Options) (*Server, error) {
	s, err := newServer(opt)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("webhooks.listen: %w", err)
	}
	s.l = &limited{Listener: l, s: s, open: map[netip.Addr]int{}}
	if opt.CertFile != "" {
		c := &certificate{cert: opt.CertFile, key: opt.KeyFile, now: s.opt.Now, log: s.opt.Log}
		if _, err := c.get(nil); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("webhooks.tls: %w", err)
		}
		s.l = tls.NewListener(s.l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"http/1.1"}})
	}
	return s, nil
}

func newServer(opt Options) (*Server, error) {
	u, err := url.Parse(opt.PublicURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("webhooks.public_url is no URL")
	}
	defInt(&opt.MaxConns, 512)
	defInt(&opt.MaxPerHost, 128)
	defInt(&opt.MaxRefused, 30)
	if opt.MaxBody == 0 {
		opt.MaxBody = 64 << 10
	}
	defTime(&opt.HeaderTime, 5*time.Second)
	defTime(&opt.RequestTime, 10*time.Second)
	defTime(&opt.IdleTime, 15*time.Second)
	if opt.Proxies == nil {
		opt.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if opt.Observe == nil {
		opt.Observe = func(string, string) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Server{opt: opt, path: strings.TrimSuffix(u.Path, "/"), bad: refusals{most: opt.MaxRefused, m: map[netip.Addr]*refused{}}}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: opt.HeaderTime, ReadTimeout: opt.RequestTime, WriteTimeout: 2*opt.RequestTime + 5*time.Second, IdleTimeout: opt.IdleTime,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)} // it quotes what strangers sent
	return s, nil
}

func defInt(n *int, v int) {
	if *n == 0 {
		*n = v
	}
}

func defTime(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.l.Addr().String() }

// Run serves until ctx ends, then lets requests end that have begun.
func (s *Server) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(s.l) }()
	select {
	case err := <-done:
		return fmt.Errorf("webhooks: %w", err)
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if s.http.Shutdown(sctx) != nil {
		_ = s.http.Close()
	}
	<-done
	return nil
}

// ServeHTTP takes one request to its transport.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, known := s.sender(r)
	now := s.opt.Now()
	tooMany := known && s.bad.tooMany(who, now)
	name, rest, h := s.route(r)
	switch {
	case h == nil && tooMany:
		goAway(w)
		s.opt.Observe("", "too_many")
		return
	case h == nil:
		s.refused(who, known, now)
		w.WriteHeader(http.StatusNotFound)
		s.opt.Observe("", "bad")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.opt.MaxBody))
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		s.refused(who, known, now)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		s.opt.Observe(name, "too_big")
		return
	case err != nil: // it stopped in the middle, or was too slow
		s.refused(who, known, now)
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestTimeout)
		s.opt.Observe(name, "bad")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.opt.RequestTime)
	defer cancel()
	// What the transport sees is what follows its path. The URL that signatures are
	// over is its own configuration's, never this one.
	inner := r.Clone(ctx)
	inner.URL = &url.URL{Path: rest, RawQuery: r.URL.RawQuery}
	inner.RequestURI, inner.Body, inner.ContentLength = "", io.NopCloser(bytes.NewReader(body)), int64(len(body))
	a := &answer{ResponseWriter: w, tooMany: tooMany}
	verdict := s.handle(name, h, a, inner)
	if verdict == "bad" || verdict == "not_believed" {
		s.refused(who, known, now)
	}
	s.opt.Observe(name, verdict)
}

// handle gives the request to the transport's handler, and contains what that does.
func (s *Server) handle(name string, h http.Handler, a *answer, r *http.Request) (verdict string) {
	defer func() {
		if p := recover(); p != nil {
			// Not p itself: it may quote what was sent.
			s.opt.Log.Error("a webhook's handler broke", "transport", name, "kind", fmt.Sprintf("%T", p))
			if a.code == 0 {
				a.WriteHeader(http.StatusServiceUnavailable)
			}
			verdict = "failed"
		}
	}()
	h.ServeHTTP(a, r)
	switch {
	case a.code == http.StatusUnauthorized && r.Header.Get("Authorization") == "" && a.Header().Get("WWW-Authenticate") != "":
		// RFC 7235, 2.1: the first request of a client may be the question how to identify itself.
		return "asked"
	case a.unheard:
		return "too_many"
	case a.code == http.StatusForbidden || a.code == http.StatusUnauthorized:
		s.opt.Log.Warn("a webhook was not believed: somebody else sent it, or the secret or public_url differs from the provider's", "transport", name)
		return "not_believed"
	case a.code == http.StatusRequestEntityTooLarge:
		return "too_big"
	case a.code >= 500:
		return "again"
	case a.code >= 400:
		return "bad"
	}
	return "taken"
}

// answer remembers the status. One that was refused too often is told to go away
// instead of being refused again.
type answer struct {
	http.ResponseWriter
	tooMany bool
	code    int
	unheard bool // goAway was said instead
}

func (a *answer) WriteHeader(code int) {
	if a.code != 0 {
		return
	}
	a.code = code
	if a.tooMany && (code == http.StatusForbidden || code == http.StatusUnauthorized && a.Header().Get("WWW-Authenticate") == "") {
		a.unheard = true
		goAway(a.ResponseWriter)
		return
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.unheard {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}

func goAway(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "60")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusTooManyRequests)
}

// route finds the transport of a path, and what follows. Only the plainest spelling
// of a path leads anywhere.
func (s *Server) route(r *http.Request) (name, rest string, h http.Handler) {
	p := r.URL.Path
	if r.Method != http.MethodPost && r.Method != http.MethodGet || r.URL.EscapedPath() != p || strings.Contains(p, "//") || strings.Contains(p, "/.") {
		return "", "", nil
	}
	p, ok := strings.CutPrefix(p, s.path+"/")
	if !ok {
		return "", "", nil
	}
	name, rest, _ = strings.Cut(p, "/")
	return name, "/" + rest, s.opt.Transports[name]
}

// sender is the address that a request comes from. known is false when a proxy
// does not say: then senders cannot be told apart.
func (s *Server) sender(r *http.Request) (who netip.Addr, known bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	who = ap.Addr().Unmap()
	if !s.proxy(who) {
		return group(who), true
	}
	// The last entry is the proxy's own word; those before it are the stranger's.
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return netip.Addr{}, false
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return netip.Addr{}, false
		}
		if a = a.Unmap(); !s.proxy(a) {
			return group(a), true
		}
	}
	return netip.Addr{}, false
}

func (s *Server) proxy(a netip.Addr) bool {
	for _, p := range s.opt.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// group is what one subscriber has: a /64 of IPv6.
func group(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

func (s *Server) refused(who netip.Addr, known bool, now time.Time) {
	if known {
		s.bad.add(who, now)
	}
}

// refusals counts, by sender, what was refused in the current minute. Its memory
// is bounded: with more senders than that, the oldest counts are forgotten.
type refusals struct {
	mu   sync.Mutex
	most int
	m    map[netip.Addr]*refused
}

type refused struct {
	n     int
	since time.Time
}

const maxSenders = 4096

func (r *refusals) tooMany(who netip.Addr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.m[who]
	return x != nil && now.Sub(x.since) < time.Minute && x.n >= r.most
}

func (r *refusals) add(who netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.m[who]
	if x == nil || now.Sub(x.since) >= time.Minute {
		if x == nil && len(r.m) >= maxSenders {
			r.forget(now)
		}
		x = &refused{since: now}
		r.m[who] = x
	}
	x.n++
}

// forget drops what is over, or else any quarter.
func (r *refusals) forget(now time.Time) {
	for a, x := range r.m {
		if now.Sub(x.since) >= time.Minute {
			delete(r.m, a)
		}
	}
	for a := range r.m {
		if len(r.m) < maxSenders*3/4 {
			return
		}
		delete(r.m, a)
	}
}

// limited is a listener with so many connections at once, and so many from one
// address: the others are closed at once, so that who waits is somebody new.
type limited struct {
	net.Listener
	s     *Server
	mu    sync.Mutex
	total int
	open  map[netip.Addr]int
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ap, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		who := group(ap.Addr().Unmap())
		l.mu.Lock()
		full := l.total >= l.s.opt.MaxConns || l.open[who] >= l.s.opt.MaxPerHost && !l.s.proxy(who)
		if !full {
			l.total++
			l.open[who]++
		}
		l.mu.Unlock()
		if full {
			_ = c.Close()
			l.s.opt.Observe("", "too_many")
			continue
		}
		return &counted{Conn: c, l: l, who: who}, nil
	}
}

type counted struct {
	net.Conn
	l    *limited
	who  netip.Addr
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		c.l.total--
		if c.l.open[c.who]--; c.l.open[c.who] <= 0 {
			delete(c.l.open, c.who)
		}
	})
	return c.Conn.Close()
}

// certificate is read again when its file has changed.
type certificate struct {
	cert, key string
	now       func() time.Time
	log       *slog.Logger
	mu        sync.Mutex
	have      *tls.Certificate
	changed   time.Time
	looked    time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.have != nil && now.Sub(c.looked) < 10*time.Second {
		return c.have, nil
	}
	c.looked = now
	st, err := os.Stat(c.cert)
	if err == nil && c.have != nil && st.ModTime().Equal(c.changed) {
		return c.have, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.cert, c.key)
	}
	if err != nil {
		if c.have == nil {
			return nil, err
		}
		c.log.Error("the new certificate cannot be used; the old one stays", "error", err)
		return c.have, nil
	}
	c.have, c.changed = &pair, st.ModTime()
	return c.have, nil
}
