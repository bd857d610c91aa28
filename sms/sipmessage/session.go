package sipmessage

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
	"golang.org/x/time/rate"

	"textback/sms"
)

const (
	// A connection costs memory; the peers are one trunk's few addresses.
	maxConnections = 64
	// A request's parts are kept in memory; UDP can carry no more than this.
	maxMessage = 64 << 10

	// Requests over UDP: a flood with a forged address must not fill the memory.
	requestsPerSecond = 50
	requestsAtOnce    = 200

	maxAddresses = 4 // of the server, tried in turn before a text leaves
)

// sipgo has one logger for what is told no other, and writes there about the
// reference counts of its connections. It can only be set before anything runs.
func init() { sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) }

// session is one open socket, or one listener and the connections beside it.
type session struct {
	t     *Transport
	in    sms.Inbox
	ua    *sipgo.UserAgent
	local netip.AddrPort // where we listen; zero: nowhere (TCP and TLS)
	udp   sip.Addr       // the same for sipgo: UDP requests leave by the socket that listens
	close []func()
	done  chan struct{} // closed when the listener has ended

	requests *rate.Limiter // that come in by UDP
	slots    chan struct{}
	ending   chan struct{} // closed when no more is taken in
	mu       sync.Mutex    // orders handlers.Add before handlers.Wait
	handlers sync.WaitGroup
	workers  sync.WaitGroup
}

// Run keeps the socket open, the server informed where we are, and hands what
// comes in to in. It ends when ctx does, after texts and replies under way have their answers.
func (t *Transport) Run(ctx context.Context, in sms.Inbox) error {
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, 30*time.Second) {
		s, err := t.open(in)
		if err != nil {
			t.log.Error("the SIP socket cannot be opened; no text leaves or arrives this way", "error", err, "again_in", pause)
			sleep(ctx, pause)
			continue
		}
		pause = time.Second
		t.mu.Lock()
		t.sess = s
		t.mu.Unlock()
		s.serve(ctx)
		t.mu.Lock()
		t.sess = nil
		t.mu.Unlock()
		t.inflight.Wait()
		s.shut()
	}
	return nil
}

// Reach tells whether anybody answers at the server. It registers nothing and
// sends no text, so it may be asked beside a transport at work.
func Reach(ctx context.Context, opt Options) error {
	opt.Listen, opt.Register, opt.NoProbe = "", false, false
	t, err := New(opt)
	if err != nil {
		return err
	}
	s, err := t.open(nil)
	if err != nil {
		return err
	}
	defer s.shut()
	ctx, cancel := context.WithTimeout(ctx, t.opt.ConnectTimeout)
	defer cancel()
	_, err = s.reach(ctx)
	return err
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// open binds and builds; it does not go to the network.
func (t *Transport) open(in sms.Inbox) (*session, error) {
	s := &session{t: t, in: in, done: make(chan struct{}), ending: make(chan struct{}), slots: make(chan struct{}, maxHandlers),
		requests: rate.NewLimiter(requestsPerSecond, requestsAtOnce)}
	// sipgo logs whole messages that it cannot read, words and numbers and all.
	silent := slog.New(slog.DiscardHandler)
	parser := sip.NewParser()
	parser.MaxMessageLength = maxMessage
	conf := &tls.Config{}
	if t.opt.TLS != nil {
		conf = t.opt.TLS.Clone()
	}
	conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12)
	client := conf.Clone()
	if client.ServerName == "" {
		client.ServerName = t.host
	}
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("textback"), sipgo.WithUserAgentParser(parser), sipgo.WithUserAgenTLSConfig(client),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(silent), sip.WithTransportLayerReadFilter(s.filter)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(silent), sip.WithTransactionLayerTerminateOnConnClose(),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		return nil, err
	}
	s.ua = ua
	srv, err := sipgo.NewServer(ua, sipgo.WithServerLogger(silent))
	if err != nil {
		return nil, err
	}
	srv.OnMessage(s.message)
	srv.OnOptions(s.options)
	srv.OnNoRoute(s.other)

	switch listen := t.opt.Listen; {
	case t.opt.Network == UDP:
		if listen == "" {
			listen = ":0"
		}
		c, err := net.ListenPacket("udp", listen)
		if err != nil {
			return nil, plain(err)
		}
		s.local = c.LocalAddr().(*net.UDPAddr).AddrPort()
		a := c.LocalAddr().(*net.UDPAddr)
		s.udp = sip.Addr{IP: a.IP, Port: a.Port}
		s.close = append(s.close, func() { _ = c.Close() })
		s.workers.Go(func() { defer close(s.done); _ = srv.ServeUDP(c) })
		// sipgo would open a second socket for a request that comes before it knows this one.
		for range 1000 {
			if conn, err := ua.TransportLayer().GetConnection("udp", s.udp.String()); err == nil && conn != nil {
				_, _ = conn.TryClose()
				break
			}
			time.Sleep(time.Millisecond)
		}
	case listen != "":
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return nil, plain(err)
		}
		s.local = l.Addr().(*net.TCPAddr).AddrPort()
		l = &gate{Listener: l, allowed: t.allowed}
		s.close = append(s.close, func() { _ = l.Close() })
		s.workers.Go(func() {
			defer close(s.done)
			if t.opt.Network == TLS {
				_ = srv.ServeTLS(tls.NewListener(l, conf))
			} else {
				_ = srv.ServeTCP(l)
			}
		})
	}
	return s, nil
}

// gate lets in the addresses that may send, and not too many of their connections.
type gate struct {
	net.Listener
	allowed func(netip.Addr) bool
	open    atomic.Int64
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && g.allowed(a.AddrPort().Addr()) && g.open.Add(1) <= maxConnections {
			return &counted{Conn: c, open: &g.open}, nil
		} else if ok && g.allowed(a.AddrPort().Addr()) {
			g.open.Add(-1)
		}
		_ = c.Close()
	}
}

type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// filter drops what comes from strangers before anything of it is read. Over UDP a
// source address can be forged: a network that lets such packets in could make us
// hear replies that nobody wrote. TLS, or a firewall, closes that.
func (s *session) filter(from sip.TransportReadProps, data []byte) ([]byte, error) {
	var a netip.Addr
	switch r := from.RemoteAddr.(type) {
	case *net.UDPAddr:
		a = r.AddrPort().Addr()
	case *net.TCPAddr:
		a = r.AddrPort().Addr()
	}
	if !s.t.allowed(a) {
		return nil, nil
	}
	// Each request over UDP is remembered for 32 s, to know its repetitions. Who is
	// not heard repeats it; answers to ours are never dropped.
	if s.t.opt.Network == UDP && !bytes.HasPrefix(data, []byte("SIP/2.0 ")) && !s.requests.Allow() {
		return nil, nil
	}
	return data, nil
}

// allowed tells who may send to us: the server, and whom the admin has named.
func (t *Transport) allowed(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t.opt.Allow {
		if p.Contains(a) {
			return true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.servers[a]
	return ok
}

// serve lasts until ctx ends or the listener breaks.
func (s *session) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var w sync.WaitGroup
	defer w.Wait()
	if s.t.opt.Register {
		w.Go(func() { s.register(ctx) })
	} else {
		// Nobody may send to us before we know the server's addresses.
		w.Go(func() { s.lookUp(ctx) })
	}
	select {
	case <-ctx.Done():
	case <-s.done:
		s.t.log.Error("the SIP socket broke and is opened again")
	}
	cancel()
}

// shut ends everything that open began.
func (s *session) shut() {
	s.mu.Lock()
	close(s.ending)
	s.mu.Unlock()
	s.handlers.Wait()
	for _, c := range s.close {
		c()
	}
	_ = s.ua.Close()
	s.workers.Wait()
}

// lookUp keeps the server's addresses fresh where texts come in without a registration.
func (s *session) lookUp(ctx context.Context) {
	for ctx.Err() == nil {
		pause := 10 * time.Minute
		if _, err := s.t.resolve(ctx); err != nil {
			pause = 10 * time.Second
		}
		sleep(ctx, pause)
	}
}

// resolve returns where the server is, best first, and remembers its addresses as allowed.
func (t *Transport) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	type target struct {
		host string
		port int
	}
	targets := []target{{t.host, t.port}}
	_, notAddress := netip.ParseAddr(t.host)
	if t.port == 0 && notAddress != nil {
		// RFC 3263, 4.2, as far as an office's trunk needs it.
		service, proto := "sip", t.opt.Network
		if proto == TLS {
			service, proto = "sips", TCP
		}
		if _, found, err := net.DefaultResolver.LookupSRV(ctx, service, proto, t.host); err == nil && len(found) > 0 {
			targets = targets[:0]
			for _, f := range found {
				targets = append(targets, target{strings.TrimSuffix(f.Target, "."), int(f.Port)})
			}
		}
	}
	var out []netip.AddrPort
	var failed error
	for _, x := range targets {
		if x.port == 0 {
			x.port = 5060
			if t.opt.Network == TLS {
				x.port = 5061
			}
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", x.host)
		if err != nil {
			failed = err
			continue
		}
		for _, ip := range ips {
			out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(x.port)))
		}
	}
	if len(out) == 0 {
		return nil, plain(failed)
	}
	out = out[:min(len(out), maxAddresses)]
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.opt.Now()
	for _, a := range out {
		t.servers[a.Addr()] = now
	}
	// An address that the server had an hour ago may be somebody else's by now.
	for a, seen := range t.servers {
		if now.Sub(seen) > time.Hour {
			delete(t.servers, a)
		}
	}
	return out, nil
}

// reach returns an address of the server at which somebody answers. No word of a text has left yet.
func (s *session) reach(ctx context.Context) (netip.AddrPort, error) {
	all, err := s.t.resolve(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if s.t.opt.NoProbe {
		return all[0], nil
	}
	for i, to := range all {
		// One dead address must not use up the time of the others.
		pctx, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			pctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(all)-i))
		}
		if err = s.probe(pctx, to); err != nil && s.t.opt.Network != UDP && pctx.Err() == nil {
			err = s.probe(pctx, to) // the connection was an old one, closed over there in the meantime
		}
		cancel()
		if err == nil {
			return to, nil
		}
	}
	if errors.Is(err, errNoAnswer) {
		err = errors.New("the server does not answer (if it answers texts but never OPTIONS: set probe to false)")
	}
	return netip.AddrPort{}, err
}

// probe asks whether anybody is there. Any answer says so.
func (s *session) probe(ctx context.Context, to netip.AddrPort) error {
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: uriHost(s.t.opt.Domain)})
	user := s.t.opt.User
	if user == "" {
		user = "textback"
	}
	s.t.head(req, user, "", sip.GenerateTagN(24)+"@textback")
	_, err := s.transact(ctx, req, to)
	return err
}

var (
	errNotSent  = errors.New("nothing was sent")
	errNoAnswer = errors.New("no answer")
	errBroken   = errors.New("the connection broke before the answer")
)

// do sends req and answers challenges. errNotSent means that no attempt of it
// can have been taken; with any other error one may have been.
func (s *session) do(ctx context.Context, req *sip.Request, to netip.AddrPort) (*sip.Response, error) {
	for try := 1; ; try++ {
		res, err := s.transact(ctx, req, to)
		if err != nil || res.StatusCode != 401 && res.StatusCode != 407 || !s.authorize(req, res, try) {
			return res, err
		}
		req.CSeq().SeqNo++
	}
}

// transact is one transaction: over UDP it is repeated under the same branch
// until an answer comes.
func (s *session) transact(ctx context.Context, req *sip.Request, to netip.AddrPort) (*sip.Response, error) {
	via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(s.t.opt.Network)}
	via.Params.Add("branch", sip.GenerateBranchN(20))
	via.Params.Add("rport", "") // RFC 3581
	if s.t.opt.Network == UDP {
		via.Host, via.Port = s.contact(to)
		req.Laddr = s.udp
	} // else sipgo takes the connection's own
	req.RemoveHeader("Via")
	req.PrependHeader(via)
	req.SetDestination(to.String())
	tx, err := s.ua.TransactionLayer().NewClientTransaction(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, plain(err))
	}
	defer tx.Terminate()
	if err := tx.Init(); err != nil {
		if errors.Is(err, sip.ErrUDPMTUCongestion) {
			return nil, fmt.Errorf("%w: %w", errNotSent, sip.ErrUDPMTUCongestion)
		}
		if s.t.opt.Network == UDP {
			return nil, fmt.Errorf("%w: %w", errNotSent, plain(err)) // a datagram goes whole or not at all
		}
		return nil, fmt.Errorf("%w: %w", errBroken, plain(err))
	}
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			if errors.Is(tx.Err(), sip.ErrTransactionTimeout) {
				return nil, errNoAnswer
			}
			return nil, errBroken
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errNoAnswer, context.Cause(ctx))
		}
	}
}

// contact is where the server reaches us.
func (s *session) contact(to netip.AddrPort) (host string, port int) {
	if s.t.opt.Advertise != "" {
		host, port, _ = splitHostPort(s.t.opt.Advertise)
		return uriHost(host), port
	}
	ip := s.local.Addr()
	if !ip.IsValid() || ip.IsUnspecified() {
		// No packet is sent: the kernel is asked which address it would use.
		if c, err := net.Dial("udp", to.String()); err == nil {
			ip = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
			_ = c.Close()
		}
	}
	return uriHost(ip.Unmap().WithZone("").String()), int(s.local.Port())
}

// authorize answers a challenge (RFC 3261, 22; RFC 7616; RFC 8760: the server's
// first choice that is known here). It reports false when there is no use in asking again.
func (s *session) authorize(req *sip.Request, res *sip.Response, try int) bool {
	challenge, answer := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		challenge, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	if s.t.opt.User == "" || try > 3 {
		return false
	}
	for _, h := range res.GetHeaders(challenge) {
		chal, err := digest.ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		chal.Algorithm = strings.ToUpper(chal.Algorithm) // as several servers write it
		if !digest.CanDigest(chal) {
			continue
		}
		if req.GetHeader(answer) != nil && !chal.Stale {
			return false // asked a second time with a nonce that is still good: it is the password
		}
		cred, err := digest.Digest(chal, digest.Options{Method: req.Method.String(), URI: req.Recipient.String(), Username: s.t.opt.User, Password: s.t.opt.Password, Count: 1})
		if err != nil {
			continue
		}
		req.RemoveHeader(answer)
		req.AppendHeader(sip.NewHeader(answer, cred.String()))
		s.t.challenged.Store(true)
		return true
	}
	return false
}

// register keeps the server informed, and unregisters at the end.
func (s *session) register(ctx context.Context) {
	t, pause, registered := s.t, 2*time.Second, false
	callID, asked := sip.GenerateTagN(24)+"@textback", t.opt.Expires
	seq := uint32(t.opt.Now().Unix()) & 0x3fffffff
	once := func(ctx context.Context, expires time.Duration) (time.Duration, error) {
		pctx, cancel := context.WithTimeout(ctx, t.opt.ConnectTimeout)
		to, err := s.reach(pctx)
		cancel()
		if err != nil {
			return 0, err
		}
		ctx, cancel = context.WithTimeout(ctx, t.opt.AnswerTimeout)
		defer cancel()
		req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: uriHost(t.opt.Domain)})
		t.head(req, t.opt.User, t.opt.User, callID)
		seq++
		req.CSeq().SeqNo = seq
		host, port := s.bound(to)
		contact := "<sip:" + t.opt.User + "@" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
		if t.opt.Network != UDP {
			contact += ";transport=" + t.opt.Network
		}
		req.AppendHeader(sip.NewHeader("Contact", contact+">"))
		req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(expires/time.Second))))
		res, err := s.do(ctx, req, to)
		seq = req.CSeq().SeqNo
		if err != nil {
			return 0, err
		}
		if res.StatusCode == 423 {
			if h := res.GetHeader("Min-Expires"); h != nil {
				if n, err := strconv.ParseUint(strings.TrimSpace(h.Value()), 10, 20); err == nil && time.Duration(n)*time.Second > asked {
					asked = time.Duration(n) * time.Second
					return 0, errTooBrief
				}
			}
		}
		if !res.IsSuccess() {
			why := codes[res.StatusCode].words
			if res.StatusCode != 401 && res.StatusCode != 407 {
				why = "refused"
			}
			return 0, fmt.Errorf("the server said %d: %s", res.StatusCode, why)
		}
		return granted(res, net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)), expires), nil
	}
	for ctx.Err() == nil {
		expires, err := once(ctx, asked)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errTooBrief) {
			continue // asked has grown, so this ends
		}
		if err != nil {
			if registered || pause == 2*time.Second {
				t.log.Warn("not registered with the SIP server: replies do not arrive", "error", err)
			}
			registered = false
			t.heard(fmt.Errorf("not registered with the SIP server, so replies and STOP do not arrive: %w", err))
			sleep(ctx, pause)
			pause = min(2*pause, 2*time.Minute)
			continue
		}
		if !registered {
			t.log.Info("registered with the SIP server", "expires", expires)
		}
		registered, pause = true, 2*time.Second
		t.heard(nil)
		// Signs of life until half of the time is over; they keep a NAT's door open
		// and notice a connection that is gone, and with it the way back to us.
		for end := t.opt.Now().Add(max(expires/2, time.Second)); ctx.Err() == nil && t.opt.Now().Before(end); {
			sleep(ctx, min(t.opt.KeepAlive, end.Sub(t.opt.Now())))
			if t.opt.NoProbe || !t.opt.Now().Before(end) {
				continue
			}
			pctx, cancel := context.WithTimeout(ctx, t.opt.ConnectTimeout)
			before := s.flow()
			_, err := s.reach(pctx)
			cancel()
			if err != nil || before != s.flow() {
				break // gone, or reached by a new connection, of which the registration knows nothing
			}
		}
	}
	if registered {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		_, _ = once(bye, 0)
		cancel()
	}
}

// Health is why what is sent to us does not arrive; nil while it does, as far as
// can be known: only a registration is answered.
func (t *Transport) Health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.deaf
}

func (t *Transport) heard(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deaf = err
}

// bound is the address that a registration names: for TCP and TLS without a
// listener that of the connection itself.
func (s *session) bound(to netip.AddrPort) (host string, port int) {
	if !s.local.IsValid() && s.t.opt.Advertise == "" {
		if a := s.connection(to); a != nil {
			if tcp, ok := a.(*net.TCPAddr); ok {
				return tcp.AddrPort().Addr().Unmap().String(), tcp.Port
			}
		}
	}
	return s.contact(to)
}

func (s *session) connection(to netip.AddrPort) net.Addr {
	c, err := s.ua.TransportLayer().GetConnection(s.t.opt.Network, to.String())
	if err != nil || c == nil {
		return nil
	}
	defer func() { _, _ = c.TryClose() }()
	return c.LocalAddr()
}

// flow tells one connection to the server from the next (RFC 5626); for UDP there is one.
func (s *session) flow() string {
	if s.t.opt.Network == UDP {
		return ""
	}
	s.t.mu.Lock()
	var all []netip.Addr
	for a := range s.t.servers {
		all = append(all, a)
	}
	s.t.mu.Unlock()
	port := s.t.port
	if port == 0 {
		port = sip.DefaultPort(s.t.opt.Network)
	}
	var flows []string
	for _, a := range all {
		if c := s.connection(netip.AddrPortFrom(a, uint16(port))); c != nil {
			flows = append(flows, c.String())
		}
	}
	slices.Sort(flows)
	return strings.Join(flows, " ")
}

var errTooBrief = errors.New("the server wants longer registrations")

var expiresParam = regexp.MustCompile(`(?i);\s*expires\s*=\s*"?([0-9]{1,8})`)

// granted is how long the server keeps our contact.
func granted(res *sip.Response, contact string, asked time.Duration) time.Duration {
	seconds := func(v string) (time.Duration, bool) {
		n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 31)
		return time.Duration(n) * time.Second, err == nil && n > 0
	}
	for _, h := range res.GetHeaders("Contact") {
		for one := range strings.SplitSeq(h.Value(), ",") {
			if m := expiresParam.FindStringSubmatch(one); m != nil && strings.Contains(one, contact) {
				if d, ok := seconds(m[1]); ok {
					return d
				}
			}
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		if d, ok := seconds(h.Value()); ok {
			return d
		}
	}
	return asked
}

// plain says what happened on the way in words of our own: sipgo's errors hold addresses and start lines.
func plain(err error) error {
	var (
		dns     *net.DNSError
		errno   syscall.Errno
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		timeout net.Error
	)
	switch {
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return errors.New("the server's name is not known to the name server")
		}
		return errors.New("the name server does not answer")
	case errors.As(err, &unknown):
		return errors.New("the server's certificate is signed by nobody this host trusts")
	case errors.As(err, &host):
		return errors.New("the server's certificate is for another host")
	case errors.As(err, &invalid), errors.As(err, &verify):
		return errors.New("the server's certificate is not valid")
	case errors.As(err, &record):
		return errors.New("the server does not speak TLS")
	case errors.As(err, &alert):
		return errors.New("the server refused TLS")
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("timed out: %w", context.DeadlineExceeded)
	}
	return errors.New("no connection")
}
