package hep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"
	"time"
)

// seeds are real packets and one of each kind that we write.
func seeds(t testing.TB) [][]byte {
	all := datagrams(t, "testdata/kamailio.pcap")[:3]
	old := []byte{2, 28, 2, 17, 0x13, 0xc4, 0x13, 0xce, 198, 51, 100, 7, 192, 0, 2, 1}
	return append(all,
		whole(chunk(0, 16, deflate(invite, zlibWriter))),
		whole(chunk(0, 16, deflate(invite, gzipWriter))),
		whole(chunk(9, 15, []byte("x")), chunk(0, 17, []byte("c1")), chunk(0, 19, []byte("pbx")), chunk(0, 15, []byte(invite))),
		append(append(old, make([]byte, 12)...), invite...))
}

func FuzzDecode(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	reasons := []error{ErrNotHEP, ErrTruncated, ErrKey, ErrNotSIP, ErrPayload}
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		p, err := SIP(b, "", time.Unix(1, 0))
		switch {
		case err != nil && !slices.Contains(reasons, err):
			t.Errorf("an error that is no reason: %v", err)
		case err == nil && (len(p.Payload) == 0 || len(p.Payload) > max(MaxPacket, len(b)) || p.At.IsZero()):
			t.Errorf("%d bytes of payload from %d at %v", len(p.Payload), len(b), p.At)
		}
		if !bytes.Equal(b, was) {
			t.Error("the datagram was written to")
		}
		var whole Packet
		key := "s3cret"
		if Decode(b, &whole) == nil && string(whole.Key) != key {
			if _, err := SIP(b, key, time.Unix(1, 0)); err != ErrKey {
				t.Errorf("key %q is taken: %v", whole.Key, err)
			}
		}
	})
}

// A segments is a connection that gives b in pieces.
type segments struct {
	net.Conn
	b    []byte
	size int
}

func (s *segments) SetReadDeadline(time.Time) error { return nil }

func (s *segments) Read(b []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, errors.New("ended")
	}
	n := copy(b, s.b[:min(s.size, len(s.b))])
	s.b = s.b[n:]
	return n, nil
}

// A stream gives the same packets however it is segmented, each of its own length,
// and all bytes up to where it goes wrong.
func FuzzFrames(f *testing.F) {
	all := seeds(f)
	f.Add(slices.Concat(all[:6]...), uint16(1))
	f.Add(slices.Concat(all[0], all[1], []byte("GET / HTTP/1.1\r\n\r\n"), all[2]), uint16(100))
	f.Add(slices.Concat(all[0], all[1][:50]), uint16(7))
	f.Add([]byte("HEP3\x00\x05HEP3\x00\x06"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		read := func(size int) (out []byte, n int, err error) {
			err = frames(&segments{b: b, size: size}, func(p []byte) {
				if int(binary.BigEndian.Uint16(p[4:])) != len(p) {
					t.Errorf("%d bytes: %x", len(p), p[:6])
				}
				out, n = append(out, p...), n+1
			})
			return
		}
		one, n1, err1 := read(len(b) + 1)
		two, n2, err2 := read(int(size%2000) + 1)
		if n1 != n2 || err1 != err2 || !bytes.Equal(one, two) {
			t.Errorf("%d packets and %v, in pieces %d and %v", n1, err1, n2, err2)
		}
		if !bytes.HasPrefix(b, one) || err1 == nil && len(one) != len(b) {
			t.Errorf("%d of %d bytes, %v", len(one), len(b), err1)
		}
	})
}
