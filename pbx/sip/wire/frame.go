package wire

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"

	"textback/pbx/sip"
)

// Options say what an Assembler does with what it finds.
type Options struct {
	Handle func(*sip.Packet)
	// HEP, if set, unwraps datagrams and connections that look like HEP; at is
	// the capture's time.
	HEP func(b []byte, at time.Time) (sip.Packet, error)
}

// An Assembler turns frames into SIP messages. It is not safe for concurrent use.
type Assembler struct {
	opt    Options
	counts sip.Counts
	frags  fragments
	tcp    streams
	packet sip.Packet
}

// NewAssembler makes an Assembler.
func NewAssembler(opt Options) *Assembler {
	a := &Assembler{opt: opt}
	a.counts.Dropped = map[string]uint64{}
	a.tcp.init(a)
	return a
}

// Counts tells what has been read so far. The map is the Assembler's own.
func (a *Assembler) Counts() sip.Counts { return a.counts }

func (a *Assembler) drop(why string) { a.counts.Dropped[why]++ }

// Frame takes one frame of a link type, of which original bytes were on the wire.
func (a *Assembler) Frame(link layers.LinkType, b []byte, original int, at time.Time) {
	a.counts.Packets++
	a.counts.Bytes += uint64(original)
	ip, ok := network(link, b)
	if !ok {
		return // ARP and the like
	}
	a.Datagram(ip, at)
}

// Link types by their numbers in pcap files, where layers has other names or none.
const (
	linkRaw12 layers.LinkType = 12 // LINKTYPE_RAW as OpenBSD and old files have it
	linkRaw14 layers.LinkType = 14
	linkSLL2  layers.LinkType = 276
)

// Known tells whether frames of a link type can be read.
func Known(link layers.LinkType) bool {
	switch link {
	case layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, linkSLL2, layers.LinkTypeRaw, linkRaw12, linkRaw14, layers.LinkTypeIPv4, layers.LinkTypeIPv6,
		layers.LinkTypeNull, layers.LinkTypeLoop, layers.LinkTypePPP:
		return true
	}
	return false
}

// network strips the link header. ok is false when no IP follows.
func network(link layers.LinkType, b []byte) (ip []byte, ok bool) {
	var proto uint16
	switch link {
	case layers.LinkTypeEthernet:
		if len(b) < 14 {
			return nil, false
		}
		proto, b = binary.BigEndian.Uint16(b[12:]), b[14:]
	case layers.LinkTypeLinuxSLL:
		if len(b) < 16 {
			return nil, false
		}
		proto, b = binary.BigEndian.Uint16(b[14:]), b[16:]
	case linkSLL2:
		if len(b) < 20 {
			return nil, false
		}
		proto, b = binary.BigEndian.Uint16(b), b[20:]
	case layers.LinkTypeRaw, linkRaw12, linkRaw14, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return b, len(b) > 0
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		if len(b) < 4 {
			return nil, false
		}
		return b[4:], len(b) > 4 // IP tells its version itself
	case layers.LinkTypePPP:
		if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
			b = b[2:]
		}
		return ppp(b)
	default:
		return nil, false
	}
	for {
		switch proto {
		case 0x8100, 0x88a8, 0x9100: // VLAN tags, one in another (802.1ad)
			if len(b) < 4 {
				return nil, false
			}
			proto, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case 0x8864: // PPPoE session (RFC 2516)
			if len(b) < 8 {
				return nil, false
			}
			return ppp(b[6:])
		case 0x0800, 0x86dd:
			return b, len(b) > 0
		default:
			return nil, false
		}
	}
}

func ppp(b []byte) ([]byte, bool) {
	if len(b) < 3 {
		return nil, false
	}
	p := binary.BigEndian.Uint16(b)
	return b[2:], p == 0x0021 || p == 0x0057
}

// IP protocol numbers.
const (
	protoTCP = 6
	protoUDP = 17
)

// Datagram takes one IP packet.
func (a *Assembler) Datagram(b []byte, at time.Time) {
	if len(b) == 0 {
		return
	}
	switch b[0] >> 4 {
	case 4:
		if len(b) < 20 {
			a.drop("truncated")
			return
		}
		head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if head < 20 || head > len(b) || total != 0 && total < head {
			a.drop("truncated")
			return
		}
		cut := false
		if total == 0 { // segmentation offload: the length is the frame's
			total = len(b)
		}
		if total <= len(b) {
			b = b[:total]
		} else {
			cut = true
		}
		src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		frag := binary.BigEndian.Uint16(b[6:])
		if frag&0x3fff != 0 {
			k := fragKey{src: src, dst: dst, id: uint32(binary.BigEndian.Uint16(b[4:])), proto: b[9]}
			a.fragment(k, int(frag&0x1fff)*8, frag&0x2000 != 0, b[head:], cut, at)
			return
		}
		a.transport(b[9], src, dst, b[head:], cut, at)
	case 6:
		a.ipv6(b, at)
	}
}

func (a *Assembler) ipv6(b []byte, at time.Time) {
	if len(b) < 40 {
		a.drop("truncated")
		return
	}
	next, size := b[6], int(binary.BigEndian.Uint16(b[4:]))
	src, dst := netip.AddrFrom16([16]byte(b[8:24])).Unmap(), netip.AddrFrom16([16]byte(b[24:40])).Unmap()
	b = b[40:]
	cut := false
	switch {
	case size == 0:
	case size <= len(b):
		b = b[:size]
	default:
		cut = true
	}
	for range 8 {
		switch next {
		case 0, 43, 60, 135, 139, 140: // hop-by-hop, routing, destination, mobility, HIP, shim6
			if len(b) < 8 || len(b) < (int(b[1])+1)*8 {
				a.drop("truncated")
				return
			}
			next, b = b[0], b[(int(b[1])+1)*8:]
		case 51: // authentication header
			if len(b) < 8 || len(b) < (int(b[1])+2)*4 {
				a.drop("truncated")
				return
			}
			next, b = b[0], b[(int(b[1])+2)*4:]
		case 44: // fragment (RFC 8200, 4.5)
			if len(b) < 8 {
				a.drop("truncated")
				return
			}
			off := binary.BigEndian.Uint16(b[2:])
			k := fragKey{src: src, dst: dst, id: binary.BigEndian.Uint32(b[4:]), proto: b[0]}
			if off == 0 || off&0xfff9 == 0 { // an atomic fragment is whole
				next, b = b[0], b[8:]
				continue
			}
			a.fragment(k, int(off&0xfff8), off&1 != 0, b[8:], cut, at)
			return
		default:
			a.transport(next, src, dst, b, cut, at)
			return
		}
	}
	a.drop("too many headers")
}

func (a *Assembler) transport(proto uint8, src, dst netip.Addr, b []byte, cut bool, at time.Time) {
	switch proto {
	case protoUDP:
		if len(b) < 8 {
			a.drop("truncated")
			return
		}
		s, d := netip.AddrPortFrom(src, binary.BigEndian.Uint16(b)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
		if n := int(binary.BigEndian.Uint16(b[4:])); n > len(b) {
			cut = true
		} else if n >= 8 {
			b = b[:n]
		}
		a.payload(s, d, b[8:], cut, at)
	case protoTCP:
		a.tcp.segment(src, dst, b, at)
	}
}

// payload takes what one datagram carries.
func (a *Assembler) payload(src, dst netip.AddrPort, b []byte, cut bool, at time.Time) {
	if sip.Looks(b) {
		a.message(src, dst, b, cut, at)
		return
	}
	if a.opt.HEP != nil && looksHEP(b) {
		a.hep(b, at)
	}
}

func (a *Assembler) message(src, dst netip.AddrPort, b []byte, cut bool, at time.Time) {
	a.counts.SIP++
	a.packet = sip.Packet{At: at, Src: src, Dst: dst, Payload: b, Cut: cut}
	a.opt.Handle(&a.packet)
}

// looksHEP knows HEP by its magic, and versions 1 and 2 by their fixed header.
func looksHEP(b []byte) bool {
	if len(b) < 16 {
		return false
	}
	if m := string(b[:4]); m == "HEP3" || m == "EEP3" {
		return true
	}
	return (b[0] == 1 || b[0] == 2) && (b[1] == 16 && b[2] == 2 || b[1] == 40 && b[2] == 10) && b[3] == protoUDP
}

func (a *Assembler) hep(b []byte, at time.Time) {
	p, err := a.opt.HEP(b, at)
	if err != nil {
		a.drop(err.Error())
		return
	}
	a.counts.SIP++
	a.packet = p
	a.opt.Handle(&a.packet)
}

// Advance lets time pass: what was lost of streams and datagrams is given up.
func (a *Assembler) Advance(now time.Time) {
	a.expireFragments(now)
	a.tcp.expire(now)
}

// Close gives up what is incomplete.
func (a *Assembler) Close() {
	a.closeFragments()
	a.tcp.close()
}
