package wire

import (
	"bytes"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// FuzzFragments is told by each three bytes where a fragment of one datagram
// lies, how long it is and whether more follow. Only what is there comes out.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 1, 1, 100, 1, 1, 2, 1, 0})
	f.Add([]byte{4, 1, 1, 1, 1, 0, 0, 1, 1})
	f.Add([]byte{0, 13, 1, 13, 13, 1, 26, 13, 0})
	whole := serialize(f, udp(), gopacket.Payload(message("c1", 2000)))
	whole = whole[:len(whole)/8*8]
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCollector()
		frags := len(b) / 3
		for ; len(b) >= 3; b = b[3:] {
			off, n := min(int(b[0])*8, len(whole)), int(b[1])*8
			p := piece(t, 7, off, b[2]&1 != 0, whole[off:min(off+n, len(whole))])
			c.Frame(layers.LinkTypeRaw, p, len(p), at)
		}
		if len(c.got) > frags {
			t.Errorf("%v", c.got)
		}
		c.Advance(at.Add(time.Minute))
		if len(c.frags.m) != 0 || len(c.frags.order) != 0 {
			t.Errorf("%d datagrams wait, %d keys", len(c.frags.m), len(c.frags.order))
		}
	})
}

// FuzzSegments cuts a stream of messages into segments, which come in any order,
// twice or never: each message comes out once at most, in order, and nothing stays.
func FuzzSegments(f *testing.F) {
	f.Add([]byte{0, 200, 0, 1, 200, 0, 2, 200, 0}, uint32(1))
	f.Add([]byte{0, 255, 0, 2, 255, 0, 1, 100, 0, 3, 255, 2, 0, 9, 1}, uint32(0xffffff00))
	var stream []byte
	for _, id := range []string{"a", "b", "c", "d"} {
		stream = append(stream, message(id, 300)...)
	}
	f.Fuzz(func(t *testing.T, b []byte, isn uint32) {
		c := newCollector()
		now := at
		for ; len(b) >= 3; b = b[3:] {
			off := min(int(b[0])*16, len(stream))
			s := segment(t, false, isn+uint32(off), "", string(stream[off:min(off+int(b[1])*4, len(stream))]))
			c.Frame(layers.LinkTypeRaw, s, len(s), now)
			now = now.Add(time.Duration(b[2]) * 20 * time.Millisecond)
		}
		c.Advance(now.Add(10 * time.Second))
		last := ""
		for _, id := range bytes.Fields([]byte(ids(c))) {
			if string(id) <= last {
				t.Errorf("%q", ids(c))
			}
			last = string(id)
		}
		c.Advance(now.Add(time.Hour))
		if c.tcp.live != 0 || len(c.tcp.known) != 0 {
			t.Errorf("%d held, %d known", c.tcp.live, len(c.tcp.known))
		}
	})
}
