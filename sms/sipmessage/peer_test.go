package sipmessage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"textback/sms"
	"textback/sms/smstest"
)

const password = "very-secret-word"

// peer plays a trunk: it challenges, registers, takes and refuses texts, and sends some.
type peer struct {
	t       testing.TB
	network string
	addr    string
	cert    tls.Certificate
	roots   *x509.CertPool

	challenge func(req *sip.Request) *digest.Challenge // nil: none
	ended     chan struct{}

	mu       sync.Mutex
	ua       *sipgo.UserAgent
	listener interface{ Close() error }
	conns    map[net.Conn]bool
	order    smstest.Order
	changed  chan struct{} // closed by the next Do
	taken    []sms.Message
	requests []*sip.Request // MESSAGEs, each transaction once
	contact  sip.Uri        // of the last registration
	expires  []int          // asked for by registrations
	answer   func(*sip.Request) *sip.Response
	granted  int  // seconds that registrations last; 0: as asked
	silent   bool // OPTIONS are not answered
}

func newPeer(t testing.TB, network string) *peer { return newPeerAt(t, network, "127.0.0.1:0") }

func newPeerAt(t testing.TB, network, addr string) *peer {
	p := &peer{t: t, network: network, order: smstest.Order{Fate: smstest.Take}, changed: make(chan struct{}), ended: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.challenge = func(*sip.Request) *digest.Challenge {
		return &digest.Challenge{Realm: "trunk", Nonce: "abc", Algorithm: "MD5", QOP: []string{"auth"}}
	}
	p.cert, p.roots = certificate(t)
	p.addr = addr
	p.start()
	t.Cleanup(func() {
		close(p.ended)
		p.stop()
	})
	return p
}

// set changes p while it runs.
func (p *peer) set(change func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// challengeWith makes p ask with chal, or not at all.
func (p *peer) challengeWith(chal func() *digest.Challenge) {
	p.set(func(p *peer) { p.challenge = func(*sip.Request) *digest.Challenge { return chal() } })
}

func noChallenge() *digest.Challenge { return nil }

var quiet = slog.New(slog.DiscardHandler)

func (p *peer) start() {
	ua, err := sipgo.NewUA(sipgo.WithUserAgenTLSConfig(&tls.Config{RootCAs: p.roots, ServerName: "127.0.0.1"}),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet), sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		p.t.Fatal(err)
	}
	srv, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		p.t.Fatal(err)
	}
	srv.OnMessage(p.message)
	srv.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		if silent {
			<-p.ended
			return
		}
		_ = tx.Respond(sip.NewResponseFromRequest(req, 404, "Not Found", nil)) // any answer will do
	})
	srv.OnRegister(p.register)
	var l interface{ Close() error }
	var serve func()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if p.network == UDP {
			var c net.PacketConn
			if c, err = net.ListenPacket("udp", p.addr); err == nil {
				p.addr, l, serve = c.LocalAddr().String(), c, func() { _ = srv.ServeUDP(c) }
				break
			}
		} else {
			var n net.Listener
			if n, err = net.Listen("tcp", p.addr); err == nil {
				p.addr = n.Addr().String()
				n = &tracked{Listener: n, p: p}
				l, serve = n, func() { _ = srv.ServeTCP(n) }
				if p.network == TLS {
					n = tls.NewListener(n, &tls.Config{Certificates: []tls.Certificate{p.cert}})
					serve = func() { _ = srv.ServeTLS(n) }
				}
				break
			}
		}
		if time.Now().After(end) {
			p.t.Fatal(err)
		}
	}
	p.mu.Lock()
	p.ua, p.listener = ua, l
	p.mu.Unlock()
	go serve()
}

// tracked remembers connections, so that they can be cut.
type tracked struct {
	net.Listener
	p *peer
}

func (l *tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.p.mu.Lock()
		l.p.conns[c] = true
		l.p.mu.Unlock()
	}
	return c, err
}

func (p *peer) stop() {
	p.mu.Lock()
	ua, l := p.ua, p.listener
	p.ua = nil
	p.mu.Unlock()
	if ua == nil {
		return
	}
	_ = l.Close()
	p.Drop()
	_ = ua.Close()
}

// Drop cuts every connection.
func (p *peer) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *peer) Do(o smstest.Order) {
	p.mu.Lock()
	was := p.order.Fate
	p.order = o
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	switch {
	case o.Fate == smstest.Down:
		p.stop()
	case was == smstest.Down:
		p.start()
	}
}

func (p *peer) Taken() []sms.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]sms.Message(nil), p.taken...)
}

func (p *peer) seen() []*sip.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*sip.Request(nil), p.requests...)
}

// refusals are answers of each class that SIP can express.
var refusals = map[sms.Class]int{
	sms.Transient: 480, sms.Throttled: 503, sms.Invalid: 604, sms.Blocked: 608, sms.Misconfigured: 415,
	sms.Unauthorized: 401, sms.NoCredit: 402, sms.Rejected: 403,
}

// authentic checks the answer to our challenge with the library's own arithmetic.
func (p *peer) authentic(req *sip.Request) (*digest.Challenge, bool) {
	p.mu.Lock()
	challenge := p.challenge
	p.mu.Unlock()
	chal := challenge(req)
	if chal == nil {
		return nil, true
	}
	h := req.GetHeader("Authorization")
	if h == nil {
		return chal, false
	}
	got, err := digest.ParseCredentials(h.Value())
	if err != nil || got.Nonce != chal.Nonce {
		return chal, false
	}
	want, err := digest.Digest(chal, digest.Options{Method: string(req.Method), URI: req.Recipient.String(), Username: "office", Password: password, Count: got.Nc, Cnonce: got.Cnonce})
	return chal, err == nil && got.Response == want.Response && got.URI == req.Recipient.String()
}

func (p *peer) reject(req *sip.Request, tx sip.ServerTransaction, chal *digest.Challenge) {
	res := sip.NewResponseFromRequest(req, 401, "Unauthorized", nil)
	// RFC 8760: the best first; this one nobody knows.
	res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="trunk", nonce="x", algorithm=SHA-3000`))
	res.AppendHeader(sip.NewHeader("WWW-Authenticate", chal.String()))
	_ = tx.Respond(res)
}

func (p *peer) message(req *sip.Request, tx sip.ServerTransaction) {
	p.mu.Lock()
	p.requests = append(p.requests, req.Clone())
	order, changed, answer := p.order, p.changed, p.answer
	p.mu.Unlock()
	if answer != nil {
		if res := answer(req); res != nil {
			_ = tx.Respond(res)
			return
		}
	}
	if chal, ok := p.authentic(req); !ok {
		p.reject(req, tx, chal)
		return
	}
	cut := func() {
		if p.network == UDP {
			select { // its repetitions are swallowed as long as this lasts
			case <-changed:
			case <-p.ended:
			}
			return
		}
		p.Drop()
	}
	switch order.Fate {
	case smstest.Refuse:
		res := sip.NewResponseFromRequest(req, refusals[order.Class], "Refused to "+req.To().Address.User, nil)
		if order.Class == sms.Throttled {
			res.AppendHeader(sip.NewHeader("Retry-After", "1 (tired);duration=5"))
		}
		_ = tx.Respond(res)
		return
	case smstest.Cut:
		cut()
		return
	}
	c, _ := unwrap(req.ContentType().Value(), "", req.Body(), 0)
	p.mu.Lock()
	p.taken = append(p.taken, sms.Message{ID: strings.TrimSuffix(string(*req.CallID()), "@textback"),
		From: req.From().Address.User, To: req.Recipient.User, Body: c.text})
	p.mu.Unlock()
	switch order.Fate {
	case smstest.TakeAndCut:
		cut()
	case smstest.TakeAndHang:
		select {
		case <-changed:
		case <-p.ended:
		}
	default:
		_ = tx.Respond(sip.NewResponseFromRequest(req, 100, "Trying", nil))
		_ = tx.Respond(sip.NewResponseFromRequest(req, 202, "Accepted", nil))
	}
}

func (p *peer) register(req *sip.Request, tx sip.ServerTransaction) {
	if chal, ok := p.authentic(req); !ok {
		p.reject(req, tx, chal)
		return
	}
	expires, _ := strconv.Atoi(req.GetHeader("Expires").Value())
	if expires > 0 && expires < 60 {
		res := sip.NewResponseFromRequest(req, 423, "Interval Too Brief", nil)
		res.AppendHeader(sip.NewHeader("Min-Expires", "60"))
		_ = tx.Respond(res)
		return
	}
	p.mu.Lock()
	p.contact = *req.Contact().Address.Clone()
	p.expires = append(p.expires, expires)
	if p.granted > 0 && expires > 0 {
		expires = p.granted
	}
	p.mu.Unlock()
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	if expires > 0 {
		res.AppendHeader(sip.NewHeader("Contact", "<"+req.Contact().Address.String()+">;expires="+strconv.Itoa(expires)))
	}
	_ = tx.Respond(res)
}

func (p *peer) registered() (sip.Uri, []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.contact, append([]int(nil), p.expires...)
}

// send makes a request to where the transport is registered, by the connection
// that it has made.
func (p *peer) send(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, _ := p.registered(); c.Host != "" {
			break
		}
		if time.Now().After(end) {
			return nil, errors.New("nobody has registered")
		}
	}
	contact, _ := p.registered()
	p.mu.Lock()
	ua := p.ua
	p.mu.Unlock()
	if ua == nil {
		return nil, errors.New("the peer is down")
	}
	req.SetDestination(contact.HostPort())
	req.SetTransport(strings.ToUpper(p.network))
	if p.network == UDP {
		a, _ := net.ResolveUDPAddr("udp", p.addr)
		req.Laddr = sip.Addr{IP: a.IP, Port: a.Port}
	}
	client, err := sipgo.NewClient(ua)
	if err != nil {
		return nil, err
	}
	return client.Do(ctx, req)
}

func (p *peer) incoming(from, to, callID, kind, body string) *sip.Request {
	contact, _ := p.registered()
	req := sip.NewRequest(sip.MESSAGE, sip.Uri{Scheme: "sip", User: "office", Host: "127.0.0.1", Port: contact.Port})
	f := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: from, Host: "trunk.example"}}
	f.Params.Add("tag", "x")
	req.AppendHeader(f)
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: to, Host: "trunk.example"}})
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: sip.MESSAGE})
	req.AppendHeader(sip.NewHeader("Content-Type", kind))
	req.SetBody([]byte(body))
	return req
}

func (p *peer) Reply(ctx context.Context, m sms.Inbound) error {
	return p.offer(ctx, p.incoming(m.From, m.To, m.ID, "text/plain;charset=utf-8", m.Body))
}

func (p *peer) offer(ctx context.Context, req *sip.Request) error {
	res, err := p.send(ctx, req)
	if err != nil {
		return err
	}
	if !res.IsSuccess() {
		return fmt.Errorf("%d", res.StatusCode)
	}
	return nil
}

func (p *peer) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	word := map[sms.Delivery]string{
		sms.EnRoute:     "<processing-notification><status><stored/></status></processing-notification>",
		sms.Delivered:   "<delivery-notification><status><delivered/></status></delivery-notification>",
		sms.Undelivered: "<delivery-notification><status><failed/></status></delivery-notification>",
	}[d]
	m := p.Taken()[n]
	body := "From: <sip:x@y>\r\nTo: <sip:z@y>\r\nDateTime: 2026-11-23T11:17:40Z\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n" +
		`<?xml version="1.0" encoding="UTF-8"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>` + m.ID +
		"</message-id><datetime>2026-11-23T11:17:40Z</datetime>" + word + "</imdn>"
	return p.offer(ctx, p.incoming("+12025550143", "+12125550100", "report-"+string(d), "message/cpim", body))
}

// plainPeer is one that knows nothing of receipts.
type plainPeer struct{ p *peer }

func (p plainPeer) Do(o smstest.Order)                             { p.p.Do(o) }
func (p plainPeer) Taken() []sms.Message                           { return p.p.Taken() }
func (p plainPeer) Drop()                                          { p.p.Drop() }
func (p plainPeer) Reply(ctx context.Context, m sms.Inbound) error { return p.p.Reply(ctx, m) }

func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trunk"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// options are for a transport that registers with p.
func (p *peer) options() Options {
	return Options{Server: p.addr, Network: p.network, TLS: &tls.Config{RootCAs: p.roots}, User: "office", Password: password, Register: true,
		Region: "US", ConnectTimeout: 5 * time.Second, AnswerTimeout: smstest.Patience(p.t), Expires: 30 * time.Second}
}

func TestConformance(t *testing.T) {
	all := []sms.Class{sms.Transient, sms.Throttled, sms.Invalid, sms.Blocked, sms.Misconfigured, sms.Unauthorized, sms.NoCredit, sms.Rejected}
	for _, network := range []string{UDP, TCP, TLS} {
		for _, receipts := range []bool{false, true} {
			if receipts && network == TCP {
				continue // nothing that TLS does not show
			}
			t.Run(fmt.Sprintf("%s receipts %v", network, receipts), func(t *testing.T) {
				t.Parallel()
				h := smstest.Harness{Refusals: all, Spare: true, Fates: []smstest.Fate{smstest.Down, smstest.TakeAndHang, smstest.Cut}}
				if network != UDP {
					h.Fates = append(h.Fates, smstest.TakeAndCut)
				}
				h.New = func(t *testing.T) (sms.Transport, smstest.Peer) {
					p := newPeer(t, network)
					opt := p.options()
					opt.Notifications = receipts
					tr, err := New(opt)
					if err != nil {
						t.Fatal(err)
					}
					if receipts {
						return tr, p
					}
					return tr, plainPeer{p}
				}
				smstest.Run(t, h)
			})
		}
	}
}
