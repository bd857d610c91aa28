package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"textback/pbx/sip"
)

// talk gives segments to a collector, a millisecond apart.
func talk(c *collector, now time.Time, segments ...[]byte) time.Time {
	for _, s := range segments {
		c.Frame(layers.LinkTypeRaw, s, len(s), now)
		now = now.Add(time.Millisecond)
	}
	return now
}

func ids(c *collector) string {
	var out []string
	for _, g := range c.got {
		id, _, _ := strings.Cut(g, " ")
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

// The ports of a phone's connection are often used again.
func TestTCPConnectionAgain(t *testing.T) {
	a, b := string(message("a", 300)), string(message("b", 300))
	n := uint32(len(a))
	for _, tt := range []struct {
		name string
		end  [][]byte
	}{
		{"after FIN of both", [][]byte{segment(t, false, 101+n, "F", ""), segment(t, true, 501, "F", "")}},
		{"after FIN of one", [][]byte{segment(t, false, 101+n, "F", "")}},
		{"after RST of one", [][]byte{segment(t, false, 101+n, "R", "")}},
		{"after RST of the other", [][]byte{segment(t, true, 501, "R", "")}},
		{"after a silent end", nil},
	} {
		c := newCollector()
		now := talk(c, at, segment(t, false, 100, "S", ""), segment(t, true, 500, "S", ""), segment(t, false, 101, "", a))
		now = talk(c, now, tt.end...)
		// Sequence numbers begin anywhere, above the old ones or below.
		for i, isn := range []uint32{90_000_000, 3_000_000_000} {
			now = talk(c, now.Add(time.Second), segment(t, false, isn, "S", ""), segment(t, true, isn+7, "S", ""), segment(t, false, isn+1, "", b))
			if want := "a" + strings.Repeat(" b", i+1); ids(c) != want {
				t.Errorf("%s, begun again %d times: %q, want %q; %v", tt.name, i+1, ids(c), want, c.Counts().Dropped)
			}
		}
	}
}

// A capture that begins in the middle of a message takes up the next one.
func TestTCPMiddle(t *testing.T) {
	a, b, d := string(message("a", 600)), string(message("b", 300)), string(message("d", 300))
	c := newCollector()
	talk(c, at, segment(t, false, 1, "", a[300:]+b), segment(t, false, uint32(1+len(a[300:]+b)), "", d), segment(t, true, 1, "", "SIP/2.0 200 OK\r\nCall-ID: r\r\nContent-Length: 0\r\n\r\n"))
	if ids(c) != "d r" {
		t.Errorf("%q", ids(c))
	}
	// Pings are no reason to hold anything, nor to lose anything.
	c = newCollector()
	talk(c, at, segment(t, false, 1, "", a), segment(t, false, uint32(1+len(a)), "", "\r\n\r\n"), segment(t, true, 1, "", "\r\n"), segment(t, false, uint32(5+len(a)), "", "\r\n\r\n"+b))
	if ids(c) != "a b" || len(c.Counts().Dropped) != 0 {
		t.Errorf("%q %v", ids(c), c.Counts().Dropped)
	}
}

// What a lost segment costs, and that the stream goes on.
func TestTCPLost(t *testing.T) {
	m := make([]string, 8)
	var starts []uint32
	seq := uint32(0xfffff000) // wraps around on the way
	for i := range m {
		m[i] = string(message(fmt.Sprint("m", i), 900))
		starts, seq = append(starts, seq), seq+uint32(len(m[i]))
	}
	c := newCollector()
	for i := range m {
		if i != 3 {
			s := segment(t, false, starts[i], "", m[i])
			c.Frame(layers.LinkTypeRaw, s, len(s), at)
		}
	}
	if ids(c) != "m0 m1 m2" {
		t.Errorf("before the gap: %q", ids(c))
	}
	c.Advance(at.Add(3 * time.Second))
	if ids(c) != "m0 m1 m2 m4 m5 m6 m7" || c.Counts().Dropped["segment lost"] != 1 {
		t.Errorf("after the gap: %q %v", ids(c), c.Counts().Dropped)
	}
	// It comes after all: too late, and no harm.
	talk(c, at.Add(4*time.Second), segment(t, false, starts[3], "", m[3]), segment(t, false, seq, "", string(message("z", 300))))
	if ids(c) != "m0 m1 m2 m4 m5 m6 m7 z" {
		t.Errorf("after the late one: %q", ids(c))
	}
	// Connections that miss a segment and go on for ever stay bounded.
	c = newCollector()
	talk(c, at, segment(t, false, 1, "", m[0]))
	for i := range 500 {
		talk(c, at, segment(t, false, uint32(100_000+i*900), "", string(message(fmt.Sprint("x", i), 900))))
	}
	if len(c.got) < 100 {
		t.Errorf("%d messages, the rest waits in memory", len(c.got))
	}
}

// Connections beyond the bound are counted, and cost the known ones nothing.
func TestTCPManyFlows(t *testing.T) {
	c := newCollector()
	m := string(message("a", 200))
	s := segment(t, false, 1, "", m)
	for i := range maxFlows + 100 {
		binary.BigEndian.PutUint32(s[12:], 0x0a000000+uint32(i))
		c.Frame(layers.LinkTypeRaw, s, len(s), at)
	}
	if len(c.tcp.known) != maxFlows || len(c.got) != maxFlows || c.Counts().Dropped["too many connections"] != 100 {
		t.Errorf("%d known, %d messages, %v", len(c.tcp.known), len(c.got), c.Counts().Dropped)
	}
	c.Advance(at.Add(flowIdle + time.Minute))
	if len(c.tcp.known) != 0 || c.tcp.live != 0 {
		t.Errorf("%d known for ever, %d held", len(c.tcp.known), c.tcp.live)
	}
	c.got = nil
	talk(c, at.Add(flowIdle+2*time.Minute), segment(t, false, 1, "", m))
	if len(c.got) != 1 {
		t.Errorf("the next one: %v", c.got)
	}
}

// HEP over TCP may be split anywhere.
func TestTCPHEP(t *testing.T) {
	packet := append([]byte("HEP3\x00\x40"), make([]byte, 58)...)
	whole := string(slices.Concat(packet, packet, packet))
	for cut := 6; cut < len(whole); cut++ {
		for second := cut; second < min(cut+5, len(whole)); second++ {
			c := newCollector()
			c.opt.HEP = func(b []byte, at time.Time) (sip.Packet, error) {
				if len(b) != 64 || string(b[:4]) != "HEP3" {
					t.Errorf("cut at %d: %q", cut, b)
				}
				return sip.Packet{At: at, Src: netip.MustParseAddrPort("1.2.3.4:5"), Dst: netip.MustParseAddrPort("5.6.7.8:9"), Payload: message("h", 300)}, nil
			}
			talk(c, at, segment(t, false, 1, "", whole[:cut]), segment(t, false, uint32(1+cut), "", whole[cut:second]), segment(t, false, uint32(1+second), "", whole[second:]))
			if len(c.got) != 3 {
				t.Errorf("cut at %d and %d: %d packets, %v", cut, second, len(c.got), c.Counts().Dropped)
			}
		}
	}
}

// A lost segment of HEP costs its packets; junk is passed over.
func TestTCPHEPLost(t *testing.T) {
	packet := string(append([]byte("HEP3\x00\x40"), make([]byte, 58)...))
	c := newCollector()
	c.opt.HEP = func(b []byte, at time.Time) (sip.Packet, error) {
		return sip.Packet{At: at, Payload: message("h", 300)}, nil
	}
	talk(c, at, segment(t, false, 1, "", packet+packet[:20]), segment(t, false, 165, "", packet[30:]+packet+packet[:10]), segment(t, false, 165+34+64+10, "", packet[10:]))
	c.Advance(at.Add(3 * time.Second))
	if len(c.got) != 3 || c.Counts().Dropped["segment lost"] != 1 || c.Counts().Dropped["no HEP"] != 1 {
		t.Errorf("%d packets, %v", len(c.got), c.Counts().Dropped)
	}
	c.got = nil
	talk(c, at.Add(4*time.Second), segment(t, false, 165+34+128, "", "HEP3\x00\x01what is this"+packet))
	if len(c.got) != 1 {
		t.Errorf("after junk: %d packets, %v", len(c.got), c.Counts().Dropped)
	}
}

// A connection that was cut off comes again without its SYN seen, with a ping first.
func TestTCPAgainUnseen(t *testing.T) {
	c := newCollector()
	a, b := string(message("a", 300)), string(message("b", 300))
	talk(c, at, segment(t, false, 4_000_000_000, "", a), segment(t, false, 2_500_000_000, "", "\r\n\r\n"), segment(t, false, 2_500_000_004, "", b))
	if ids(c) != "a b" {
		t.Errorf("%q %v", ids(c), c.Counts().Dropped)
	}
}

// A clock that is set back does not stop time.
func TestTCPClockSetBack(t *testing.T) {
	c := newCollector()
	c.Advance(at.Add(5 * time.Hour))
	a, b := string(message("a", 300)), string(message("b", 300))
	talk(c, at, segment(t, false, 1, "", a), segment(t, false, 5000, "", b))
	c.Advance(at.Add(3 * time.Second))
	if ids(c) != "a b" {
		t.Errorf("%q", ids(c))
	}
}
