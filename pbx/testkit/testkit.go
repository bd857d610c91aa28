// Package testkit holds what tests of several packages need: a log that is read
// while it is written, and ports that a peer can leave and take again.
package testkit

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Log is a log that may be read while it is written.
type Log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Lines are the lines that hold what.
func (l *Log) Lines(what string) (out []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, what) {
			out = append(out, line)
		}
	}
	return out
}

// Listen listens at a TCP address where somebody has listened before. Somebody else may
// hold the port for a moment, as the near end of a connection: that is waited out, for up
// to 20 s.
func Listen(addr string) (net.Listener, error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l, err := net.Listen("tcp", addr)
		if err == nil || time.Now().After(end) {
			return l, err
		}
	}
}

var given sync.Map // addresses

// FreeAddr is a TCP address of loopback where nobody listens. No address is given twice
// within a process: each is free only until it is used.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		if _, twice := given.LoadOrStore(addr, true); !twice {
			return addr
		}
	}
}
