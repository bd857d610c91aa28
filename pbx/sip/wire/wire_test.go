package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"textback/pbx/sip"
)

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// message is a SIP message of about n bytes.
func message(id string, n int) []byte {
	body := strings.Repeat("a=line\r\n", max(0, n-200)/8)
	return fmt.Appendf(nil, "INVITE sip:5551000@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK%s\r\nCall-ID: %s\r\nCSeq: 1 INVITE\r\nContent-Length: %d\r\n\r\n%s", id, id, len(body), body)
}

func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, l...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b.Bytes())
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.IP{198, 51, 100, 7}, DstIP: net.IP{192, 0, 2, 10}, Id: 77}
}

func ip6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP("2001:db8::7"), DstIP: net.ParseIP("2001:db8::10")}
}

func udp() *layers.UDP { return &layers.UDP{SrcPort: 5060, DstPort: 5070} }

// collector gathers what an Assembler hands on.
type collector struct {
	*Assembler
	got []string
	cut int
}

func newCollector() *collector {
	c := &collector{}
	c.Assembler = NewAssembler(Options{Handle: func(p *sip.Packet) {
		id, _, _ := strings.Cut(string(p.Payload[bytes.Index(p.Payload, []byte("Call-ID: "))+9:]), "\r\n")
		c.got = append(c.got, fmt.Sprint(id, " ", p.Src, ">", p.Dst, " ", len(p.Payload)))
		if p.Cut {
			c.cut++
		}
	}})
	return c
}

func TestLinks(t *testing.T) {
	m := message("c1", 300)
	v4 := serialize(t, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(m))
	v6 := serialize(t, ip6(layers.IPProtocolUDP), udp(), gopacket.Payload(m))
	hop := serialize(t, ip6(layers.IPProtocolIPv6HopByHop), gopacket.Payload(append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, v6[40:]...)))
	ether := func(kind ...uint16) []byte {
		b := make([]byte, 12)
		for i, k := range kind {
			b = binary.BigEndian.AppendUint16(b, k)
			if i < len(kind)-1 {
				b = append(b, 0, 7) // VLAN 7
			}
		}
		return b
	}
	sll2 := append(binary.BigEndian.AppendUint16(nil, 0x0800), make([]byte, 18)...)
	pppoe := append(ether(0x8864), 0x11, 0, 0, 1, 0, byte(len(v4)+2), 0, 0x21)
	for _, tt := range []struct {
		name string
		link layers.LinkType
		b    []byte
		ip6  bool
	}{
		{"Ethernet", layers.LinkTypeEthernet, append(ether(0x0800), v4...), false},
		{"Ethernet, padded", layers.LinkTypeEthernet, append(append(ether(0x0800), v4...), 0, 0, 0, 0, 0, 0), false},
		{"Ethernet, IPv6", layers.LinkTypeEthernet, append(ether(0x86dd), v6...), true},
		{"IPv6 with a hop-by-hop header", layers.LinkTypeEthernet, append(ether(0x86dd), hop...), true},
		{"VLAN", layers.LinkTypeEthernet, append(ether(0x8100, 0x0800), v4...), false},
		{"VLAN in VLAN", layers.LinkTypeEthernet, append(ether(0x88a8, 0x8100, 0x0800), v4...), false},
		{"PPPoE", layers.LinkTypeEthernet, append(pppoe, v4...), false},
		{"cooked", layers.LinkTypeLinuxSLL, append(append(make([]byte, 14), 0x08, 0), v4...), false},
		{"cooked, version 2", linkSLL2, append(sll2, v4...), false},
		{"raw", layers.LinkTypeRaw, v4, false},
		{"raw, by its old number", linkRaw12, v6, true},
		{"loopback of BSD", layers.LinkTypeNull, append([]byte{2, 0, 0, 0}, v4...), false},
		{"PPP", layers.LinkTypePPP, append([]byte{0xff, 3, 0, 0x21}, v4...), false},
	} {
		c := newCollector()
		c.Frame(tt.link, tt.b, len(tt.b), at)
		want := fmt.Sprintf("[c1 198.51.100.7:5060>192.0.2.10:5070 %d]", len(m))
		if tt.ip6 {
			want = fmt.Sprintf("[c1 [2001:db8::7]:5060>[2001:db8::10]:5070 %d]", len(m))
		}
		if fmt.Sprint(c.got) != want || !Known(tt.link) {
			t.Errorf("%s: %v, want %s", tt.name, c.got, want)
		}
		// Cut anywhere it is no more than a cut message.
		for n := range tt.b {
			c := newCollector()
			c.Frame(tt.link, tt.b[:n], len(tt.b), at)
			if len(c.got) != c.cut && !strings.Contains(tt.name, "padded") {
				t.Fatalf("%s, cut at %d: %v, %d of them cut", tt.name, n, c.got, c.cut)
			}
		}
	}
	c := newCollector()
	arp := append(ether(0x0806), make([]byte, 28)...)
	c.Frame(layers.LinkTypeEthernet, arp, len(arp), at)
	rtp := serialize(t, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(append([]byte{0x80, 0, 1, 2}, make([]byte, 160)...)))
	if n := testing.AllocsPerRun(100, func() { c.Frame(layers.LinkTypeRaw, rtp, len(rtp), at) }); n > 0 {
		t.Errorf("%v allocations for a packet of RTP", n)
	}
	if len(c.got) != 0 || Known(layers.LinkType(105)) {
		t.Errorf("%v", c.got)
	}
}

// fragments cuts an IP payload into pieces of at most n bytes.
func cut4(t testing.TB, payload []byte, n int, id uint16) (out [][]byte) {
	for off := 0; off < len(payload); off += n {
		end := min(off+n, len(payload))
		h := ip4(layers.IPProtocolUDP)
		h.Id, h.FragOffset = id, uint16(off/8)
		if end < len(payload) {
			h.Flags = layers.IPv4MoreFragments
		}
		out = append(out, serialize(t, h, gopacket.Payload(payload[off:end])))
	}
	return out
}

func cut6(t testing.TB, payload []byte, n int, id uint32) (out [][]byte) {
	for off := 0; off < len(payload); off += n {
		end := min(off+n, len(payload))
		f := binary.BigEndian.AppendUint16([]byte{17, 0}, uint16(off))
		if end < len(payload) {
			f[3] |= 1
		}
		f = binary.BigEndian.AppendUint32(f, id)
		out = append(out, serialize(t, ip6(layers.IPProtocolIPv6Fragment), gopacket.Payload(append(f, payload[off:end]...))))
	}
	return out
}

func TestFragments(t *testing.T) {
	m := message("c1", 4000)
	payload := serialize(t, udp(), gopacket.Payload(m))
	give := func(frags ...[]byte) *collector {
		c := newCollector()
		for _, f := range frags {
			c.Frame(layers.LinkTypeRaw, f, len(f), at)
		}
		return c
	}
	for name, frags := range map[string][][]byte{"IPv4": cut4(t, payload, 1480, 9), "IPv6": cut6(t, payload, 1448, 9)} {
		reversed := slices.Clone(frags)
		slices.Reverse(reversed)
		for how, order := range map[string][][]byte{"in order": frags, "reversed": reversed, "twice": slices.Concat(frags[:2], frags)} {
			if c := give(order...); len(c.got) != 1 || !strings.HasSuffix(c.got[0], fmt.Sprint(" ", len(m))) {
				t.Errorf("%s %s: %v", name, how, c.got)
			}
		}
		if c := give(frags[1:]...); len(c.got) != 0 {
			t.Errorf("%s without its first: %v", name, c.got)
		}
	}
	// Overlapping fragments are dropped together (RFC 5722).
	over := cut4(t, payload, 1480, 9)
	other := cut4(t, payload, 1400, 9)
	if c := give(over[0], other[1], over[1], over[2]); len(c.got) != 0 || c.Counts().Dropped["bad fragment"] == 0 {
		t.Errorf("overlapping: %v %v", c.got, c.Counts())
	}
	// A flood of first fragments does not grow, and the next datagram is whole all the same.
	c := newCollector()
	for i := range 5000 {
		f := cut4(t, payload, 1480, uint16(i))[0]
		c.Frame(layers.LinkTypeRaw, f, len(f), at)
	}
	if n := len(c.frags.m); n > maxDatagrams {
		t.Errorf("%d datagrams wait", n)
	}
	for _, f := range cut4(t, payload, 1480, 60000) {
		c.Frame(layers.LinkTypeRaw, f, len(f), at)
	}
	if len(c.got) != 1 {
		t.Errorf("after a flood: %v", c.got)
	}
	c.Advance(at.Add(time.Minute))
	if len(c.frags.m) != 0 {
		t.Errorf("%d datagrams wait for ever", len(c.frags.m))
	}
}

// segment is one TCP segment as a raw IP packet.
func segment(t testing.TB, back bool, seq uint32, flags string, payload string) []byte {
	h := ip4(layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 5060, Seq: seq, Ack: 1, Window: 65535, ACK: true, DataOffset: 5,
		SYN: strings.Contains(flags, "S"), FIN: strings.Contains(flags, "F"), RST: strings.Contains(flags, "R"), PSH: payload != ""}
	if back {
		h.SrcIP, h.DstIP = h.DstIP, h.SrcIP
		tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
	}
	return serialize(t, h, tcp, gopacket.Payload(payload))
}

func TestTCP(t *testing.T) {
	a, b, answer := string(message("a", 700)), string(message("b", 500)), "SIP/2.0 200 OK\r\nCall-ID: r\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
	whole := a + "\r\n\r\n" + b
	feed := func(c *collector, seqs ...[]byte) {
		for i, s := range seqs {
			c.Frame(layers.LinkTypeRaw, s, len(s), at.Add(time.Duration(i)*time.Millisecond))
		}
	}
	for _, start := range []uint32{1000, 0xffffff00} { // the second wraps around
		for cut := 1; cut < len(whole); cut += 7 {
			c := newCollector()
			feed(c, segment(t, false, start, "", whole[:cut]), segment(t, false, start+uint32(cut), "", whole[cut:]), segment(t, true, 9, "", answer))
			if len(c.got) != 3 || !strings.HasPrefix(c.got[0], "a 198.51.100.7:40000>192.0.2.10:5060") || !strings.HasPrefix(c.got[2], "r 192.0.2.10:5060>198.51.100.7:40000") {
				if !(cut < 12 && len(c.got) >= 1) { // too little to know the connection by
					t.Fatalf("start %d, cut at %d: %v", start, cut, c.got)
				}
			}
		}
	}
	one, two, three := whole[:400], whole[400:900], whole[900:]
	s1, s2, s3 := segment(t, false, 1, "", one), segment(t, false, 401, "", two), segment(t, false, 901, "", three)
	for name, order := range map[string][][]byte{"out of order": {s1, s3, s2}, "sent again": {s1, s1, s2, s2, s1, s3}} {
		c := newCollector()
		feed(c, order...)
		if len(c.got) != 2 {
			t.Errorf("%s: %v %v", name, c.got, c.Counts())
		}
	}
	// A lost segment costs its message, not those after it.
	c := newCollector()
	feed(c, s1, s3)
	next := segment(t, false, uint32(1+len(whole)), "", string(message("c", 300)))
	c.Frame(layers.LinkTypeRaw, next, len(next), at.Add(time.Second))
	if len(c.got) != 0 {
		t.Errorf("before the gap is given up: %v", c.got)
	}
	c.Advance(at.Add(10 * time.Second))
	if len(c.got) == 0 || !strings.HasPrefix(c.got[len(c.got)-1], "c ") || c.Counts().Dropped["segment lost"] == 0 {
		t.Errorf("after a lost segment: %v %v", c.got, c.Counts())
	}
	// Other protocols leave no state behind.
	c = newCollector()
	feed(c, segment(t, false, 1, "S", ""), segment(t, false, 2, "", "GET / HTTP/1.1\r\n\r\n"))
	if len(c.tcp.known) != 0 || len(c.got) != 0 {
		t.Errorf("%v %v", c.tcp.known, c.got)
	}
}

func TestHEPInside(t *testing.T) {
	c := newCollector()
	asked := 0
	c.opt.HEP = func(b []byte, at time.Time) (sip.Packet, error) {
		asked++
		return sip.Packet{At: at, Src: netip.MustParseAddrPort("1.2.3.4:5"), Dst: netip.MustParseAddrPort("5.6.7.8:9"), Payload: message("h", 300)}, nil
	}
	hep := append([]byte("HEP3\x00\x20"), make([]byte, 26)...)
	b := serialize(t, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(hep))
	c.Frame(layers.LinkTypeRaw, b, len(b), at)
	s := segment(t, false, 1, "", string(hep)+string(hep[:10]))
	c.Frame(layers.LinkTypeRaw, s, len(s), at)
	s = segment(t, false, 43, "", string(hep[10:]))
	c.Frame(layers.LinkTypeRaw, s, len(s), at)
	if asked != 3 || len(c.got) != 3 || !strings.HasPrefix(c.got[0], "h 1.2.3.4:5>5.6.7.8:9") {
		t.Errorf("asked %d times: %v", asked, c.got)
	}
}

func FuzzFrame(f *testing.F) {
	payload := serialize(f, udp(), gopacket.Payload(message("c1", 900)))
	for _, fr := range slices.Concat(cut4(f, payload, 400, 9), cut6(f, payload, 400, 9)) {
		f.Add(uint16(layers.LinkTypeRaw), fr, 20)
	}
	f.Add(uint16(1), append(append(make([]byte, 12), 0x81, 0, 0, 7, 8, 0), serialize(f, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(message("v", 300)))...), 3)
	f.Add(uint16(101), segment(f, false, 7, "", string(message("t", 300))), 33)
	f.Fuzz(func(t *testing.T, link uint16, b []byte, cut int) {
		c := newCollector()
		c.opt.HEP = func([]byte, time.Time) (sip.Packet, error) { return sip.Packet{}, fmt.Errorf("no HEP") }
		if cut < 0 || cut > len(b) {
			cut = len(b) / 2
		}
		for i, f := range [][]byte{b, b[:cut], b[cut:], b} {
			c.Frame(layers.LinkType(link), f, len(f), at.Add(time.Duration(i)*time.Second))
		}
		c.Advance(at.Add(time.Hour))
		c.Close()
		if len(c.frags.m) != 0 {
			t.Errorf("%d datagrams wait", len(c.frags.m))
		}
	})
}

// Packets per second on what an office's wire carries: 80 of 100 are RTP. Beside it,
// in one run, the library's decode of every layer (its own SIP layer too, which here
// is left to package sip), and its fastest one, of the headers alone.
func BenchmarkFrames(b *testing.B) {
	var mix [][]byte
	rtp := serialize(b, ip4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 10_000, DstPort: 20_000}, gopacket.Payload(append([]byte{0x80, 0, 1, 2}, make([]byte, 168)...)))
	reg := serialize(b, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(bytes.Replace(message("r", 500), []byte("INVITE"), []byte("REGISTER"), 2)))
	call := serialize(b, ip4(layers.IPProtocolUDP), udp(), gopacket.Payload(message("c", 800)))
	for range 80 {
		mix = append(mix, rtp)
	}
	for range 10 {
		mix = append(mix, reg, call)
	}
	b.Run("textback", func(b *testing.B) {
		b.ReportAllocs()
		a := NewAssembler(Options{Handle: func(*sip.Packet) {}})
		for i := range b.N {
			p := mix[i%len(mix)]
			a.Frame(layers.LinkTypeRaw, p, len(p), at)
		}
		if n := a.Counts().SIP; n != uint64(b.N/100*20+max(0, b.N%100-80)) {
			b.Fatalf("%d of %d are SIP", n, b.N)
		}
	})
	b.Run("library, headers", func(b *testing.B) {
		b.ReportAllocs()
		var ip layers.IPv4
		var udp layers.UDP
		var payload gopacket.Payload
		parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &udp, &payload)
		parser.IgnoreUnsupported = true
		var found []gopacket.LayerType
		n := 0
		for i := range b.N {
			if err := parser.DecodeLayers(mix[i%len(mix)], &found); err != nil {
				b.Fatal(err)
			}
			if sip.Looks(udp.Payload) {
				n++
			}
		}
		if b.N > 100 && n == 0 {
			b.Fatal("no SIP")
		}
	})
	b.Run("library, everything", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			p := gopacket.NewPacket(mix[i%len(mix)], layers.LayerTypeIPv4, gopacket.DecodeOptions{Lazy: false, NoCopy: true})
			if p.TransportLayer() == nil {
				b.Fatal("no UDP")
			}
		}
	})
}
