package hep

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"textback/pbx/sip"
)

// Options say where copies are received and whose are taken.
type Options struct {
	Listen string         // "host:port", for UDP and TCP alike
	Key    string         // what chunk 14 must hold; empty: anything
	Allow  []netip.Prefix // senders' addresses; nil: this host's loopback only
	Handle func(*sip.Packet)
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger
}

// Bounds of the listener.
const (
	maxConns    = 64
	idleTimeout = 10 * time.Minute
	readBuffer  = 4 << 20
	sayAgain    = time.Minute // between two log lines about one kind of bad packet
)

// A Listener receives HEP over UDP and TCP.
type Listener struct {
	opt Options
	udp *net.UDPConn
	tcp *net.TCPListener

	mu     sync.Mutex // one message at a time
	counts sip.Counts
	said   map[string]time.Time
	conns  map[net.Conn]struct{}
}

// loopback is who may send when nobody is named.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Listen opens the sockets. Anybody could forge what arrives from the network:
// beyond loopback it takes the names of the senders or a key.
func Listen(opt Options) (*Listener, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Allow == nil {
		opt.Allow = loopback
	}
	at, err := net.ResolveUDPAddr("udp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("HEP listener %q: %w", opt.Listen, err)
	}
	l := &Listener{opt: opt, said: map[string]time.Time{}, conns: map[net.Conn]struct{}{}}
	l.counts.Dropped = map[string]uint64{}
	if l.udp, err = net.ListenUDP("udp", at); err != nil {
		return nil, fmt.Errorf("HEP listener: %w", err)
	}
	_ = l.udp.SetReadBuffer(readBuffer)
	port := l.udp.LocalAddr().(*net.UDPAddr).Port
	if l.tcp, err = net.ListenTCP("tcp", &net.TCPAddr{IP: at.IP, Port: port, Zone: at.Zone}); err != nil {
		l.udp.Close()
		return nil, fmt.Errorf("HEP listener: %w", err)
	}
	return l, nil
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

// Run receives until ctx ends, then closes the sockets.
func (l *Listener) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.udp.Close()
		l.tcp.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.conns {
			c.Close()
		}
	})
	defer stop()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	wg.Go(func() { errs <- l.datagrams() })
	wg.Go(func() { errs <- l.accept(&wg) })
	err := <-errs
	l.udp.Close()
	l.tcp.Close()
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("HEP listener: %w", err)
}

func (l *Listener) datagrams() error {
	b := make([]byte, MaxPacket)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(b)
		if err != nil {
			var ne net.Error
			if errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) {
				return err
			}
			continue // an ICMP error of some packet of ours
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
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Packets++
	l.counts.Bytes += uint64(len(b))
	if !l.allowed(from.Addr()) {
		l.drop("not allowed", from)
		return
	}
	now := l.opt.Now()
	p, err := SIP(b, l.opt.Key, now)
	if err != nil {
		l.drop(reason(err), from)
		return
	}
	p.At = now // see the package comment
	l.counts.SIP++
	l.opt.Handle(&p)
}

func reason(err error) string {
	for _, e := range []error{ErrNotHEP, ErrTruncated, ErrKey, ErrNotSIP, ErrPayload} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "unreadable"
}

// drop counts a packet that is not taken, and says so now and then.
func (l *Listener) drop(why string, from netip.AddrPort) {
	l.counts.Dropped[why]++
	if why == ErrNotSIP.Error() {
		return // RTCP reports and the like: by design
	}
	if now := l.opt.Now(); now.Sub(l.said[why]) >= sayAgain {
		l.said[why] = now
		l.opt.Log.Warn("a HEP packet was dropped", "why", why, "from", from, "dropped", l.counts.Dropped[why])
	}
}

func (l *Listener) accept(wg *sync.WaitGroup) error {
	for {
		c, err := l.tcp.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			time.Sleep(100 * time.Millisecond) // out of descriptors
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		why := ""
		l.mu.Lock()
		switch {
		case !l.allowed(from.Addr()):
			why = "not allowed"
		case len(l.conns) >= maxConns:
			why = "too many connections"
		default:
			l.conns[c] = struct{}{}
			wg.Go(func() { l.stream(c, from) })
		}
		if why != "" {
			l.drop(why, from)
			c.Close()
		}
		l.mu.Unlock()
	}
}

// stream reads packets from a connection until it ends or sends something else.
func (l *Listener) stream(c net.Conn, from netip.AddrPort) {
	defer func() {
		c.Close()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	r := bufio.NewReaderSize(c, MaxPacket)
	for {
		_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
		head, err := r.Peek(6)
		if err != nil {
			if errors.Is(err, io.EOF) && len(head) > 0 {
				l.bad(ErrTruncated, from)
			}
			return
		}
		n, err := Length(head)
		if err != nil {
			l.bad(err, from)
			return
		}
		b, err := r.Peek(n)
		if err != nil {
			l.bad(ErrTruncated, from)
			return
		}
		l.take(b, from)
		_, _ = r.Discard(n)
	}
}

func (l *Listener) bad(err error, from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(reason(err), from)
}
