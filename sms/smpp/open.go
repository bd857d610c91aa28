package smpp

import (
	"crypto/tls"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

const tcpEstablished = 1 // linux/include/net/tcp_states.h

// stillOpen reports whether the other side has not closed c, as far as this host's
// kernel knows: it knows a little before the reader does. What is written to a
// connection closed by an SMSC that found it idle gets no answer, and would be
// a text of unknown fate for nothing.
func stillOpen(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	open := true
	if rc.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		open = err != nil || info.State == tcpEstablished
	}) != nil {
		return false // closed by ourselves
	}
	return open
}
