package wire

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A frame that the capture kept only in part says so, whatever its length fields
// say: segmentation offload writes none.
func TestCut(t *testing.T) {
	m := message("c1", 900)
	for name, b := range map[string][]byte{
		"IPv4": serialize(t, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(m)),
		"IPv6": serialize(t, ip6(layers.IPProtocolUDP), udp(), gopacket.Payload(m)),
	} {
		for _, offload := range []bool{false, true} {
			b := append([]byte(nil), b...)
			if offload && name == "IPv4" {
				binary.BigEndian.PutUint16(b[2:], 0)
			} else if offload {
				binary.BigEndian.PutUint16(b[4:], 0)
			}
			c := newCollector()
			c.Frame(layers.LinkTypeRaw, b, len(b), at)
			c.Frame(layers.LinkTypeRaw, b[:len(b)-1], len(b), at)
			c.Frame(layers.LinkTypeRaw, b[:300], len(b), at)
			if len(c.got) != 3 || c.cut != 2 {
				t.Errorf("%s, without lengths %v: %v, %d of them cut", name, offload, c.got, c.cut)
			}
		}
	}
}

// IPv6 extension headers hide the ports.
func TestExtensionHeaders(t *testing.T) {
	m := message("c1", 300)
	dgram := serialize(t, ip6(layers.IPProtocolUDP), udp(), gopacket.Payload(m))[40:]
	head := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	auth := []byte{17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} // RFC 4302: in units of four bytes, less two
	long := append([]byte{17, 2, 1, 20}, make([]byte, 20)...)
	many := []byte{}
	for range 20 {
		many = append(many, head(60)...)
	}
	for _, tt := range []struct {
		name  string
		first layers.IPProtocol
		heads []byte
		want  int
	}{
		{"hop-by-hop, routing, destination", 0, append(append(head(43), head(60)...), head(17)...), 1},
		{"authentication", 51, auth, 1},
		{"a long one", 60, long, 1},
		{"an atomic fragment", 44, []byte{17, 0, 0, 0, 0, 0, 0, 9}, 1},
		{"no next header", 59, nil, 0},
		{"more than anyone needs", 60, many, 0},
		{"encrypted", 50, nil, 0},
	} {
		b := serialize(t, ip6(tt.first), gopacket.Payload(append(append([]byte(nil), tt.heads...), dgram...)))
		c := newCollector()
		c.Frame(layers.LinkTypeRaw, b, len(b), at)
		if len(c.got) != tt.want {
			t.Errorf("%s: %v %v", tt.name, c.got, c.Counts().Dropped)
		}
		for n := range b {
			newCollector().Frame(layers.LinkTypeRaw, b[:n], len(b), at)
		}
	}
}

// Length fields that lie are no reason to read beyond them, nor to fall over.
func TestLengthsThatLie(t *testing.T) {
	m := message("c1", 300)
	v4 := serialize(t, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(m))
	for _, b := range [][]byte{v4, serialize(t, ip6(layers.IPProtocolUDP), udp(), gopacket.Payload(m)), segment(t, false, 1, "", string(m))} {
		for at2 := range 48 {
			for _, v := range []byte{0, 1, 0x0f, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff} {
				l := append([]byte(nil), b...)
				l[at2] = v
				for _, n := range []int{len(l), 60, 41, 21} {
					c := newCollector()
					c.Frame(layers.LinkTypeRaw, l[:n], len(l), at)
					c.Close()
				}
			}
		}
	}
	// IPv4 options.
	opt := ip4(layers.IPProtocolUDP)
	opt.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	b := serialize(t, opt, udp(), gopacket.Payload(m))
	c := newCollector()
	c.Frame(layers.LinkTypeRaw, b, len(b), at)
	if fmt.Sprint(c.got) != fmt.Sprintf("[c1 198.51.100.7:5060>192.0.2.10:5070 %d]", len(m)) {
		t.Errorf("options: %v", c.got)
	}
}
