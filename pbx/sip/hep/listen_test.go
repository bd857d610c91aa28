package hep

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"textback/pbx/sip"
	"textback/pbx/testkit"
)

func slogTo(l *testkit.Log) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func dial(t *testing.T, network string, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOpenToTheNetwork(t *testing.T) {
	senders := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	all := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::/0")}
	tests := []struct {
		listen, key string
		allow       []netip.Prefix
		refused     bool
		warned      bool
	}{
		{"127.0.0.1:0", "", nil, false, false},
		{"127.9.8.7:0", "", nil, false, false},
		{"localhost:0", "", nil, false, false},
		{"127.0.0.1:0", "", all, false, false},
		{"0.0.0.0:0", "", nil, true, false},
		{":0", "", nil, true, false},
		{"[::]:0", "", nil, true, false},
		{"0.0.0.0:0", "", all, true, false},
		{"0.0.0.0:0", "s3cret", all, false, false},
		{"0.0.0.0:0", "", senders, false, false},
		{"0.0.0.0:0", "s3cret", nil, false, true},
	}
	for _, tt := range tests {
		var w testkit.Log
		l, err := Listen(Options{Listen: tt.listen, Key: tt.key, Allow: tt.allow, Log: slogTo(&w), Handle: func(*sip.Packet) {}})
		if err == nil {
			l.udp.Close()
			l.tcp.Close()
		}
		if (err != nil) != tt.refused || err != nil && !strings.Contains(err.Error(), "set a key") {
			t.Errorf("%s, key %q, %v: %v", tt.listen, tt.key, tt.allow, err)
		}
		if warned := len(w.Lines("this host only")) > 0; warned != tt.warned {
			t.Errorf("%s, key %q, %v: warned %v", tt.listen, tt.key, tt.allow, warned)
		}
	}
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:sip:x", "127.0.0.1:70000"} {
		if l, err := Listen(Options{Listen: bad, Handle: func(*sip.Packet) {}}); err == nil {
			t.Errorf("%q is taken", bad)
			l.udp.Close()
			l.tcp.Close()
		}
	}
}

// What the kernel gave is said when it is less, and only then.
func TestSmallBuffer(t *testing.T) {
	var w testkit.Log
	l, _ := listener(t, Options{Listen: "127.0.0.1:0", Log: slogTo(&w)})
	n := bufferOf(l.udp)
	if n <= 0 {
		t.Errorf("a buffer of %d bytes", n)
	}
	if said := len(w.Lines("net.core.rmem_max")) > 0; said != (n < readBuffer) {
		t.Errorf("a buffer of %d bytes; said: %v", n, said)
	}
}

// Messages have the time of their arrival, whatever their sender says.
func TestArrival(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	got := make(chan time.Time, 1)
	l, err := Listen(Options{Listen: "127.0.0.1:0", Now: func() time.Time { return now }, Handle: func(p *sip.Packet) { got <- p.At }})
	if err != nil {
		t.Fatal(err)
	}
	runs(t, l)
	_, _ = dial(t, "udp", l).Write(whole(chunk(0, 15, []byte(invite))))
	if at := <-got; !at.Equal(now) {
		t.Errorf("at %v", at)
	}
}

func runs(t *testing.T, l *Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOldVersionsHaveNoKey(t *testing.T) {
	old := append([]byte{1, 16, 2, 17, 0x13, 0xc4, 0x13, 0xce, 198, 51, 100, 7, 192, 0, 2, 1}, invite...)
	l, got := listener(t, Options{Listen: "127.0.0.1:0"})
	_, _ = dial(t, "udp", l).Write(old)
	if s := <-got; s != "198.51.100.7:5060 "+invite {
		t.Errorf("%q", s)
	}
	var w testkit.Log
	l, _ = listener(t, Options{Listen: "127.0.0.1:0", Key: "s3cret", Log: slogTo(&w)})
	_, _ = dial(t, "udp", l).Write(old)
	dropped(t, l, "bad key")
	if len(w.Lines("set the sender to version 3")) != 1 {
		t.Errorf("%q", w.Lines(""))
	}
}

// One line a minute for each reason, with the address and the number so far.
func TestDroppedIsSaid(t *testing.T) {
	var w testkit.Log
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	l, err := Listen(Options{Listen: "127.0.0.1:0", Key: "s3cret", Log: slogTo(&w), Handle: func(*sip.Packet) {}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.udp.Close()
	defer l.tcp.Close()
	from := netip.MustParseAddrPort("[::ffff:127.0.0.1]:4000")
	wrong := whole(chunk(0, 14, []byte("guess")), chunk(0, 15, []byte(invite)))
	for range 5 {
		l.take(wrong, from)
		l.take([]byte("x"), from)
		l.take(wrong, netip.MustParseAddrPort("192.0.2.66:5"))
	}
	for why, address := range map[string]string{"bad key": "from=127.0.0.1:4000", "no HEP": "from=127.0.0.1:4000", "not allowed": "from=192.0.2.66:5"} {
		if s := w.Lines(why); len(s) != 1 || !strings.Contains(s[0], address) || l.Counts().Dropped[why] != 5 {
			t.Errorf("%s: %q, %+v", why, s, l.Counts())
		}
	}
	now = now.Add(sayAgain)
	l.take(wrong, from)
	if s := w.Lines("bad key"); len(s) != 2 || !strings.Contains(s[1], "dropped=6") {
		t.Errorf("%q", s)
	}
	if c := l.Counts(); c.Packets != 16 || c.SIP != 0 {
		t.Errorf("%+v", c)
	}
}

// Run ends though connections are open, one within a packet, and one handler is
// only just done.
func TestRunEnds(t *testing.T) {
	handled := make(chan struct{}, 1)
	l, err := Listen(Options{Listen: "127.0.0.1:0", Handle: func(*sip.Packet) { handled <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	good := whole(chunk(0, 15, []byte(invite)))
	a, b := dial(t, "tcp", l), dial(t, "tcp", l)
	_, _ = a.Write(good)
	<-handled
	_, _ = b.Write(append(bytes.Clone(good), good[:30]...))
	<-handled
	cancel(fmt.Errorf("the daemon stops"))
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := l.Counts().SIP; n != 2 {
		t.Errorf("%d messages", n)
	}
}

// A connection that is accepted when Run has closed the others is closed too.
func TestAcceptedAtTheEnd(t *testing.T) {
	l, err := Listen(Options{Listen: "127.0.0.1:0", Handle: func(*sip.Packet) {}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.accept(ctx, &wg) })
	if _, err := dial(t, "tcp", l).Read(make([]byte, 1)); err == nil {
		t.Error("stays open")
	}
	l.udp.Close()
	l.tcp.Close()
	wg.Wait()
	if n := len(l.conns); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// Without its sockets the listener says so, and leaves nobody hanging.
func TestRunWithoutSockets(t *testing.T) {
	l, err := Listen(Options{Listen: "127.0.0.1:0", Handle: func(*sip.Packet) {}})
	if err != nil {
		t.Fatal(err)
	}
	dial(t, "tcp", l)
	l.udp.Close()
	if err := l.Run(context.Background()); err == nil {
		t.Error("no error")
	}
}

func TestTooManyConnections(t *testing.T) {
	l, got := listener(t, Options{Listen: "127.0.0.1:0"})
	good := whole(chunk(0, 15, []byte(invite)))
	var conns []net.Conn
	for range maxConns {
		c := dial(t, "tcp", l)
		_, _ = c.Write(good)
		<-got
		conns = append(conns, c)
	}
	if _, err := dial(t, "tcp", l).Read(make([]byte, 1)); err == nil {
		t.Error("one too many stays open")
	}
	dropped(t, l, "too many connections")
	_, _ = conns[0].Write(good)
	<-got
	conns[1].Close() // makes room
	for {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write(good)
		select {
		case <-got:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Many senders over both transports: one message at a time, none lost, and Counts
// may be asked by the handler.
func TestOneAtATime(t *testing.T) {
	const senders, each = 8, 50
	var busy sync.Mutex
	all := make(chan struct{}, 2*senders*each)
	var l *Listener
	l, err := Listen(Options{Listen: "127.0.0.1:0", Handle: func(p *sip.Packet) {
		if !busy.TryLock() {
			t.Error("two at a time")
			return
		}
		defer busy.Unlock()
		time.Sleep(50 * time.Microsecond) // the others have time to come in
		if string(p.Payload) != invite || l.Counts().SIP == 0 {
			t.Errorf("%q", p.Payload)
		}
		all <- struct{}{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	runs(t, l)
	good := whole(chunk(0, 15, []byte(invite)))
	for i := range senders {
		c := dial(t, []string{"udp", "tcp"}[i%2], l)
		go func() {
			for range each {
				_, _ = c.Write(good)
			}
		}()
	}
	for range senders * each {
		<-all
	}
}

// A connection may be silent for long between packets, not within one.
func TestSilence(t *testing.T) {
	good := whole(chunk(0, 15, []byte(invite)))
	for name, tt := range map[string]struct {
		last []byte
		err  error
		wait time.Duration
	}{
		"between packets": {nil, nil, 59*time.Minute + idleTimeout},
		"within a head":   {good[:3], ErrTruncated, 59*time.Minute + packetTimeout},
		"within a packet": {good[:50], ErrTruncated, 59*time.Minute + packetTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			defer theirs.Close()
			go func() {
				_, _ = theirs.Write(good)
				time.Sleep(59 * time.Minute)
				_, _ = theirs.Write(append(bytes.Clone(good), tt.last...))
			}()
			n, start := 0, time.Now()
			err := frames(ours, func([]byte) { n++ })
			if waited := time.Since(start); err != tt.err || n != 2 || waited != tt.wait {
				t.Errorf("%s: %v after %v and %d packets", name, err, waited, n)
			}
		})
	}
}
