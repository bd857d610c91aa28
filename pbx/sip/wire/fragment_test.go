package wire

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// piece is one fragment of an IPv4 datagram, anywhere in it.
func piece(t testing.TB, id uint16, off int, more bool, b []byte) []byte {
	h := ip4(layers.IPProtocolUDP)
	h.Id, h.FragOffset = id, uint16(off/8)
	if more {
		h.Flags = layers.IPv4MoreFragments
	}
	return serialize(t, h, gopacket.Payload(b))
}

// Anyone can send fragments that make no datagram: their lengths may even add up.
func TestFragmentsThatLie(t *testing.T) {
	eight := make([]byte, 8)
	for name, frags := range map[string][][]byte{
		"one beyond the end":         {piece(t, 1, 0, true, eight), piece(t, 1, 800, true, eight), piece(t, 1, 16, false, eight)},
		"one beyond the end, first":  {piece(t, 1, 65480, true, eight), piece(t, 1, 8, false, eight)},
		"two ends":                   {piece(t, 1, 16, false, eight), piece(t, 1, 8, false, eight), piece(t, 1, 0, true, eight)},
		"an end before the rest":     {piece(t, 1, 32, true, eight), piece(t, 1, 8, false, eight), piece(t, 1, 0, true, eight)},
		"past the longest datagram":  {piece(t, 1, 65528, true, make([]byte, 64))},
		"nothing in them":            {piece(t, 1, 800, true, nil), piece(t, 1, 8, false, nil), piece(t, 1, 0, true, eight)},
		"the end alone, and nothing": {piece(t, 1, 8, false, nil), piece(t, 1, 0, true, nil)},
	} {
		c := newCollector()
		for _, f := range frags {
			c.Frame(layers.LinkTypeRaw, f, len(f), at)
		}
		if len(c.got) != 0 {
			t.Errorf("%s: %v", name, c.got)
		}
		c.Advance(at.Add(time.Minute))
		if len(c.frags.m) != 0 {
			t.Errorf("%s: %d datagrams wait for ever", name, len(c.frags.m))
		}
		if len(c.Counts().Dropped) == 0 {
			t.Errorf("%s: not counted", name)
		}
	}
}

// What an admin is told of: a datagram whose fragments did not all come.
func TestFragmentsLostAreCounted(t *testing.T) {
	payload := serialize(t, udp(), gopacket.Payload(message("c1", 4000)))
	c := newCollector()
	for i := range 3 {
		for _, f := range cut4(t, payload, 1480, uint16(i))[:2] {
			c.Frame(layers.LinkTypeRaw, f, len(f), at)
		}
	}
	c.Advance(at.Add(10 * time.Second))
	if n := c.Counts().Dropped["fragment lost"]; n != 0 || len(c.frags.m) != 3 {
		t.Errorf("given up too early: %d, %d wait", n, len(c.frags.m))
	}
	c.Advance(at.Add(31 * time.Second))
	if n := c.Counts().Dropped["fragment lost"]; n != 3 || len(c.got) != 0 {
		t.Errorf("%d counted as lost, %v", n, c.got)
	}
	f := cut4(t, payload, 1480, 9)[0]
	c.Frame(layers.LinkTypeRaw, f, len(f), at.Add(32*time.Second))
	c.Close()
	if n := c.Counts().Dropped["fragment lost"]; n != 4 {
		t.Errorf("the last one, when the capture ends: %d", n)
	}
	// Fragments of anything else are nobody's business.
	c = newCollector()
	other := cut4(t, serialize(t, udp(), gopacket.Payload(make([]byte, 4000))), 1480, 9)
	for i := range 2000 {
		for n, f := range other[:2] {
			if i%2 == 0 || n > 0 { // the filter of an interface drops first ones
				binary.BigEndian.PutUint16(f[4:], uint16(i))
				c.Frame(layers.LinkTypeRaw, f, len(f), at)
			}
		}
	}
	c.Advance(at.Add(time.Minute))
	if len(c.Counts().Dropped) != 0 || len(c.frags.m) != 0 {
		t.Errorf("of anything else: %v", c.Counts().Dropped)
	}
}

// Whole datagrams leave nothing behind, even if time is never told to pass, and are
// not counted as lost when others press for their place.
func TestFragmentsLeaveNothing(t *testing.T) {
	payload := serialize(t, udp(), gopacket.Payload(message("c1", 4000)))
	c := newCollector()
	const n = 20_000
	frags := cut4(t, payload, 1480, 0)
	for i := range n {
		for _, f := range frags {
			binary.BigEndian.PutUint16(f[4:], uint16(i)) // the same numbers again and again
			c.Frame(layers.LinkTypeRaw, f, len(f), at)
		}
	}
	if len(c.got) != n || len(c.frags.m) != 0 || len(c.frags.order) > 2*maxDatagrams {
		t.Errorf("%d messages, %d wait, %d keys kept", len(c.got), len(c.frags.m), len(c.frags.order))
	}
	// One id used again: what begins last is given up last.
	c = newCollector()
	give := func(id int, frags ...[]byte) {
		for _, f := range frags {
			binary.BigEndian.PutUint16(f[4:], uint16(id))
			c.Frame(layers.LinkTypeRaw, f, len(f), at)
		}
	}
	give(7, frags...)
	for i := range maxDatagrams - 1 {
		give(1000+i, frags[0])
	}
	give(7, frags[0])
	give(5000, frags[0]) // presses the oldest out, which is 1000
	give(7, frags[1:]...)
	if len(c.got) != 2 || c.Counts().Dropped["fragment lost"] != 1 {
		t.Errorf("%d messages, %v", len(c.got), fmt.Sprint(c.Counts().Dropped))
	}
}
