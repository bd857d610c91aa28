package sip

import (
	"bytes"
	"strconv"
)

const (
	// maxMessage is the longest message a stream holds together, head and body.
	maxMessage = 64 << 10
	// maxHead is how far the end of a head may be.
	maxHead = 16 << 10
)

// A Stream finds the SIP messages in one direction of a TCP connection. They are
// told apart by Content-Length (RFC 3261, 18.3), with keep-alive pings between
// them (RFC 5626, 3.5.1). What is not SIP is passed over up to the next line that
// begins a message, so that a Stream may join a connection at any point. The
// zero value is ready. It is not safe for concurrent use.
type Stream struct {
	buf  []byte // what is left of earlier segments
	lost bool   // bytes are missing: what comes begins in the middle of a message
}

// Lost tells that bytes are missing before the next Feed. A message that was
// begun is given up.
func (s *Stream) Lost() { s.buf, s.lost = s.buf[:0], true }

// Idle reports whether nothing is held.
func (s *Stream) Idle() bool { return len(s.buf) == 0 }

// Feed takes the next bytes of the stream and gives each whole message to handle,
// which must not keep it. It returns how many bytes belonged to no message.
func (s *Stream) Feed(b []byte, handle func(msg []byte)) (junk int) {
	held := len(s.buf) > 0
	if held {
		s.buf = append(s.buf, b...)
		b = s.buf
	}
	for {
		b = bytes.TrimLeft(b, "\r\n") // pings
		if len(b) == 0 {
			break
		}
		n, state := messageLen(b, s.lost)
		switch state {
		case whole:
			s.lost = false
			handle(b[:n])
			b = b[n:]
			continue
		case noSIP:
			// Up to the next line that begins a message.
			skip := nextStart(b)
			junk += skip
			s.lost = false
			b = b[skip:]
			continue
		}
		if len(b) > maxMessage {
			junk += len(b)
			b = nil
		}
		break
	}
	switch {
	case len(b) == 0:
		s.buf = s.buf[:0]
		if cap(s.buf) > maxHead {
			s.buf = nil
		}
	case held:
		s.buf = append(s.buf[:0], b...) // b lies behind in the same memory
	default:
		s.buf = append(s.buf, b...)
	}
	return junk
}

type framing uint8

const (
	more framing = iota
	whole
	noSIP
)

// messageLen is how long the message is that begins b.
func messageLen(b []byte, lost bool) (int, framing) {
	line := bytes.IndexByte(b, '\n')
	if line < 0 {
		if len(b) > 4<<10 || !plausible(b) {
			return 0, noSIP
		}
		return 0, more
	}
	if !startsMessage(b[:line]) {
		return 0, noSIP
	}
	head := headLen(b)
	if head < 0 {
		if len(b) > maxHead {
			return 0, noSIP
		}
		return 0, more
	}
	if head > maxHead {
		return 0, noSIP
	}
	body := contentLength(b[:head])
	if body > maxMessage-maxHead {
		return 0, noSIP
	}
	if n := head + body; n <= len(b) {
		return n, whole
	}
	return 0, more
}

// headLen is where the body begins, after an empty line; below 0 when that has
// not come yet.
func headLen(b []byte) int {
	for i := 0; ; {
		nl := bytes.IndexByte(b[i:], '\n')
		if nl < 0 {
			return -1
		}
		i += nl + 1
		switch rest := b[i:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 2
		}
	}
}

// startsMessage tells whether a whole line is a start line.
func startsMessage(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if bytes.HasPrefix(line, []byte("SIP/2.0 ")) {
		return len(line) >= 11
	}
	if !bytes.HasSuffix(line, []byte(" SIP/2.0")) {
		return false
	}
	sp := bytes.IndexByte(line, ' ')
	return sp > 0 && sp < 20 && method(line[:sp])
}

func method(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return len(b) > 0
}

// plausible tells whether b, which ends within a line, may begin a message.
func plausible(b []byte) bool {
	const version = "SIP/2.0 "
	if n := min(len(b), len(version)); string(b[:n]) == version[:n] {
		return true
	}
	sp := bytes.IndexByte(b, ' ')
	if sp < 0 {
		return len(b) < 20 && method(b)
	}
	return sp < 20 && method(b[:sp])
}

// nextStart is how many bytes to pass over: at least one line.
func nextStart(b []byte) int {
	for i := 0; i < len(b); {
		nl := bytes.IndexByte(b[i:], '\n')
		if nl < 0 {
			if i > 0 && plausible(b[i:]) {
				return i
			}
			return len(b)
		}
		if i > 0 && startsMessage(b[i:i+nl]) {
			return i
		}
		i += nl + 1
	}
	return len(b)
}

// contentLength is the length of the body that a head announces; 0 without one,
// though on a stream there must be one.
func contentLength(head []byte) int {
	for len(head) > 0 {
		line := head
		if nl := bytes.IndexByte(head, '\n'); nl >= 0 {
			line, head = head[:nl], head[nl+1:]
		} else {
			head = nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		name := bytes.TrimRight(line[:colon], " \t")
		if !(len(name) == 1 && (name[0] == 'l' || name[0] == 'L')) && !bytes.EqualFold(name, []byte("Content-Length")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line[colon+1:])), 10, 31)
		if err != nil {
			return 0
		}
		return int(n)
	}
	return 0
}

// Looks tells whether a datagram may be a SIP message, by its first line alone.
func Looks(b []byte) bool {
	b = bytes.TrimLeft(b, "\r\n")
	if len(b) < 12 {
		return false
	}
	if string(b[:8]) == "SIP/2.0 " {
		return true
	}
	if b[0] < 'A' || b[0] > 'Z' {
		return false
	}
	line := b
	if nl := bytes.IndexByte(b[:min(len(b), 4<<10)], '\n'); nl >= 0 {
		line = b[:nl]
	}
	return startsMessage(line)
}

// methods of SIP (RFC 3261 and its extensions).
var methods = []string{"INVITE ", "ACK ", "BYE ", "CANCEL ", "REGISTER ", "OPTIONS ", "SUBSCRIBE ", "NOTIFY ", "MESSAGE ", "INFO ", "UPDATE ", "PRACK ", "REFER ", "PUBLISH "}

// Begins tells whether a segment may begin a SIP message, of whose first line it
// may hold a part only.
func Begins(b []byte) bool {
	b = bytes.TrimLeft(b, "\r\n")
	if bytes.HasPrefix(b, []byte("SIP/2.0 ")) {
		return true
	}
	for _, m := range methods {
		if bytes.HasPrefix(b, []byte(m)) {
			return true
		}
	}
	return false
}
