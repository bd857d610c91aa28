package smstest

import (
	"io"
	"log"
	"net/http"
	"sync"
	"testing"
	"time"

	"textback/pbx/testkit"
)

// A Server is a provider's HTTP API on loopback that can go down, so that
// connections are refused, and come back at the same address. Its handler may
// cut a connection by panicking with http.ErrAbortHandler. Up, Down and Do are for one goroutine.
type Server struct {
	URL string

	t    *testing.T
	addr string
	h    http.Handler
	srv  *http.Server // nil while down

	mu    sync.Mutex
	order Order
}

// Do is a Peer's: the handler asks Order what to do.
func (s *Server) Do(o Order) {
	s.t.Helper()
	s.mu.Lock()
	s.order = o
	s.mu.Unlock()
	if o.Fate == Down {
		s.Down()
	} else {
		s.Up()
	}
}

// Order is what Do was told last.
func (s *Server) Order() Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// Serve starts a Server, which ends with the test.
func Serve(t *testing.T, h http.Handler) *Server {
	t.Helper()
	s := &Server{t: t, addr: "127.0.0.1:0", h: h}
	s.Up()
	s.URL = "http://" + s.addr
	t.Cleanup(s.Down)
	return s
}

// Down refuses connections from now on and breaks those there are.
func (s *Server) Down() {
	if s.srv != nil {
		_ = s.srv.Close()
		s.srv = nil
	}
}

// Up takes connections again.
func (s *Server) Up() {
	s.t.Helper()
	if s.srv != nil {
		return
	}
	l, err := testkit.Listen(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.srv = &http.Server{Handler: s.h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func(srv *http.Server) { _ = srv.Serve(l) }(s.srv)
}
