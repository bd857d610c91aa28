package hep

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"textback/pbx/sip"
)

// Options say where copies are received and whose are taken.
type Options struct {
	Listen string            // "host:port", for UDP and TCP alike; port 0 chooses one
	Key    string            // what chunk 14 must hold; empty: anything, versions 1 and 2 included
	Allow  []netip.Prefix    // senders' addresses; nil: this host's loopback only
	Handle func(*sip.Packet) // is given one message at a time, in order of arrival
	Now    func() time.Time  // nil means time.Now
	Log    *slog.Logger      // nil: nothing is logged
}

// Bounds of the listener.
const (
	maxConns      = 64
	idleTimeout   = time.Hour        // between packets: a sender may have nothing to say all night
	packetTimeout = 30 * time.Second // within one
	readBuffer    = 4 << 20          // some 4,000 messages
	sayAgain      = time.Minute      // between two log lines about one kind of bad packet
)

// Further reasons in the counts, beside those of SIP.
var (
	errNotAllowed = errors.New("not allowed")
	errConns      = errors.New("too many connections")
)

// A Listener receives HEP over UDP and TCP. On TCP packets are told apart by their
// length, which versions 1 and 2 do not have: they come by UDP only. Its methods
// are safe for concurrent use.
type Listener struct {
	opt Options
	udp *net.UDPConn
	tcp *net.TCPListener

	handling sync.Mutex // one message at a time
	packet   sip.Packet // the one

	mu     sync.Mutex
	counts sip.Counts
	said   map[string]time.Time
	conns  map[net.Conn]struct{}
}

// loopback is who may send when nobody is named.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Listen opens the sockets. Whoever can send a packet decides who is texted, so
// that an address beyond loopback takes the names of the senders or a key.
func Listen(opt Options) (*Listener, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	at, err := net.ResolveUDPAddr("udp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("HEP listener %q: %w", opt.Listen, err)
	}
	if !at.IP.IsLoopback() {
		switch {
		case opt.Key == "" && (opt.Allow == nil || slices.ContainsFunc(opt.Allow, everybody)):
			return nil, fmt.Errorf("HEP listener %q is open to the network, and whoever can send a packet there could make textback text strangers: name the senders' addresses, set a key, or listen on 127.0.0.1", opt.Listen)
		case opt.Allow == nil:
			opt.Log.Warn("HEP is received from this host only, though the listener's address is open to the network: name the senders' addresses", "listen", opt.Listen)
		}
	}
	if opt.Allow == nil {
		opt.Allow = loopback
	}
	l := &Listener{opt: opt, said: map[string]time.Time{}, conns: map[net.Conn]struct{}{}}
	l.counts.Dropped = map[string]uint64{}
	for range 10 { // the port that was chosen for UDP may be taken for TCP
		if err = l.open(*at); err == nil || at.Port != 0 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("HEP listener: %w", err)
	}
	_ = l.udp.SetReadBuffer(readBuffer)
	if n := bufferOf(l.udp); n < readBuffer {
		opt.Log.Warn("the kernel gives HEP a smaller buffer than asked for, and bursts of packets may be lost: raise net.core.rmem_max", "bytes", n, "asked", readBuffer)
	}
	return l, nil
}

func everybody(p netip.Prefix) bool { return p.Bits() == 0 }

func (l *Listener) open(at net.UDPAddr) (err error) {
	if l.udp, err = net.ListenUDP("udp", &at); err != nil {
		return err
	}
	at.Port = l.udp.LocalAddr().(*net.UDPAddr).Port
	if l.tcp, err = net.ListenTCP("tcp", &net.TCPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone}); err != nil {
		l.udp.Close()
	}
	return err
}

// bufferOf is how many bytes wait for us at most. Linux tells twice what was asked
// for, since it counts its own records too (socket(7)).
func bufferOf(c *net.UDPConn) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	return n / 2
}

// Addr is where the listener listens.
func (l *Listener) Addr() netip.AddrPort { return l.udp.LocalAddr().(*net.UDPAddr).AddrPort() }

// Counts tells what has been received so far.
func (l *Listener) Counts() sip.Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.Dropped = maps.Clone(c.Dropped)
	return c
}

// Run receives until ctx ends, then closes the sockets and waits for the message
// being handled. It is called once.
func (l *Listener) Run(ctx context.Context) error {
	stop := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.datagrams()) })
	wg.Go(func() { cancel(l.accept(ctx, &wg)) })
	<-ctx.Done()
	stopped, err := stop.Err() != nil, context.Cause(ctx)
	l.udp.Close()
	l.tcp.Close()
	l.mu.Lock()
	for c := range l.conns {
		c.Close()
	}
	l.mu.Unlock()
	wg.Wait()
	if stopped {
		return nil
	}
	return fmt.Errorf("HEP listener: %w", err)
}

func (l *Listener) datagrams() error {
	b := make([]byte, MaxPacket)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of memory
			continue
		}
		l.take(b[:n], from)
	}
}

func (l *Listener) allowed(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range l.opt.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// take handles one packet, from whichever socket.
func (l *Listener) take(b []byte, from netip.AddrPort) {
	l.handling.Lock()
	defer l.handling.Unlock()
	now := l.opt.Now()
	err := errNotAllowed
	if l.allowed(from.Addr()) {
		l.packet, err = SIP(b, l.opt.Key, now)
	}
	l.mu.Lock()
	l.counts.Packets++
	l.counts.Bytes += uint64(len(b))
	if err == nil {
		l.counts.SIP++
	} else {
		hint := ""
		if err == ErrKey && b[0] < 3 {
			hint = "HEP version 1 and 2 carry no key: set the sender to version 3"
		}
		l.drop(err, from, hint)
	}
	l.mu.Unlock()
	if err != nil {
		return
	}
	l.packet.At = now // see the package comment
	l.opt.Handle(&l.packet)
}

// drop counts what is not taken, and says so now and then. l.mu is held.
func (l *Listener) drop(err error, from netip.AddrPort, hint string) {
	why := err.Error()
	l.counts.Dropped[why]++
	if err == ErrNotSIP {
		return // RTCP reports and the like: by design
	}
	now := l.opt.Now()
	if last, ok := l.said[why]; ok && now.Sub(last) < sayAgain {
		return
	}
	l.said[why] = now
	log := l.opt.Log
	if hint != "" {
		log = log.With("hint", hint)
	}
	log.Warn("a HEP packet was dropped", "why", why, "from", netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), "dropped", l.counts.Dropped[why])
}

func (l *Listener) accept(ctx context.Context, wg *sync.WaitGroup) error {
	for {
		c, err := l.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		l.mu.Lock()
		switch {
		case ctx.Err() != nil: // Run has closed the others
			c.Close()
		case !l.allowed(from.Addr()):
			l.drop(errNotAllowed, from, "")
			c.Close()
		case len(l.conns) >= maxConns:
			l.drop(errConns, from, "")
			c.Close()
		default:
			l.conns[c] = struct{}{}
			wg.Go(func() { l.stream(c, from) })
		}
		l.mu.Unlock()
	}
}

// stream reads packets from a connection until it ends, is idle for too long or
// sends something else. The other end then connects anew.
func (l *Listener) stream(c net.Conn, from netip.AddrPort) {
	defer func() {
		c.Close()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	err := frames(c, func(b []byte) { l.take(b, from) })
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(err, from, "")
}

// frames gives each packet of a connection to take. It returns nil where the
// connection ended between packets.
func frames(c net.Conn, take func([]byte)) error {
	r := bufio.NewReaderSize(c, MaxPacket)
	for {
		_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
		if _, err := r.Peek(1); err != nil {
			return nil
		}
		_ = c.SetReadDeadline(time.Now().Add(packetTimeout))
		head, err := r.Peek(6)
		if err != nil {
			return ErrTruncated
		}
		n, err := Length(head)
		if err != nil {
			return err
		}
		b, err := r.Peek(n)
		if err != nil {
			return ErrTruncated
		}
		take(b)
		_, _ = r.Discard(n)
	}
}
