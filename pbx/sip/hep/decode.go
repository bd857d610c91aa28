package hep

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"time"

	"textback/pbx/sip"
)

// Why a packet is not taken. Decode and SIP return these as they are: their
// texts are the reasons in sip.Counts.
var (
	ErrNotHEP    = errors.New("no HEP")
	ErrTruncated = errors.New("truncated")
	ErrKey       = errors.New("bad key")
	ErrNotSIP    = errors.New("no SIP") // a copy of something else: RTCP reports, logs
	ErrPayload   = errors.New("bad payload")
)

const (
	// MaxPacket is the longest packet taken: what a length field can say.
	MaxPacket = 1<<16 - 1
	sipType   = 1 // chunk 11
)

// A Packet is one HEP packet. Its slices share the datagram's memory, unless the
// payload was compressed.
type Packet struct {
	Src, Dst    netip.AddrPort
	Time        time.Time // by the sender's clock; zero when it does not say
	Type        uint8     // 1 is SIP
	Version     uint8     // 1 to 3
	Agent       uint32
	Key         []byte
	Payload     []byte
	Correlation []byte
	Node        []byte

	deflated []byte // chunk 16, until inflate
}

// Chunk types of HEPv3 for vendor 0.
const (
	chunkSrc4        = 3
	chunkDst4        = 4
	chunkSrc6        = 5
	chunkDst6        = 6
	chunkSrcPort     = 7
	chunkDstPort     = 8
	chunkSeconds     = 9
	chunkMicros      = 10
	chunkType        = 11
	chunkAgent       = 12
	chunkKey         = 14
	chunkPayload     = 15
	chunkCompressed  = 16
	chunkCorrelation = 17
	chunkNode        = 19
)

// Length is how long the packet is that begins b, of which six bytes must be
// there. It is how packets are told apart in a stream.
func Length(b []byte) (int, error) {
	if len(b) < 6 || string(b[:4]) != "HEP3" && string(b[:4]) != "EEP3" {
		return 0, ErrNotHEP
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < 6 {
		return 0, ErrTruncated
	}
	return n, nil
}

// Decode reads a HEP packet of any version into p. What follows the packet in b
// is passed over. It is safe for concurrent use with different p.
func Decode(b []byte, p *Packet) error {
	if err := p.decode(b); err != nil {
		return err
	}
	return p.inflate()
}

func (p *Packet) decode(b []byte) error {
	*p = Packet{Type: sipType, Version: 3}
	if len(b) >= 3 && (b[0] == 1 || b[0] == 2) && b[1] >= 16 {
		return p.decodeOld(b)
	}
	n, err := Length(b)
	if err != nil {
		return err
	}
	if n > len(b) {
		return ErrTruncated
	}
	var src, dst netip.Addr
	var srcPort, dstPort uint16
	var sec, usec uint32
	for b = b[6:n]; len(b) > 0; {
		if len(b) < 6 {
			return ErrTruncated
		}
		vendor, typ, size := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), int(binary.BigEndian.Uint16(b[4:]))
		if size < 6 || size > len(b) {
			return ErrTruncated
		}
		v := b[6:size]
		b = b[size:]
		if vendor != 0 {
			continue
		}
		switch typ {
		case chunkSrc4, chunkDst4, chunkSrc6, chunkDst6:
			a, ok := netip.AddrFromSlice(v)
			if !ok || a.Is4() != (typ <= chunkDst4) {
				return ErrTruncated
			}
			if typ == chunkSrc4 || typ == chunkSrc6 {
				src = a.Unmap()
			} else {
				dst = a.Unmap()
			}
		case chunkSrcPort, chunkDstPort:
			if len(v) != 2 {
				return ErrTruncated
			}
			if typ == chunkSrcPort {
				srcPort = binary.BigEndian.Uint16(v)
			} else {
				dstPort = binary.BigEndian.Uint16(v)
			}
		case chunkSeconds, chunkMicros, chunkAgent:
			if len(v) != 4 {
				return ErrTruncated
			}
			n := binary.BigEndian.Uint32(v)
			switch typ {
			case chunkSeconds:
				sec = n
			case chunkMicros:
				usec = n
			default:
				p.Agent = n
			}
		case chunkType:
			if len(v) != 1 {
				return ErrTruncated
			}
			p.Type = v[0]
		case chunkKey:
			p.Key = v
		case chunkPayload:
			p.Payload = v
		case chunkCompressed:
			p.deflated = v
		case chunkCorrelation:
			p.Correlation = v
		case chunkNode:
			p.Node = v
		}
	}
	// A port alone tells nothing.
	if src.IsValid() {
		p.Src = netip.AddrPortFrom(src, srcPort)
	}
	if dst.IsValid() {
		p.Dst = netip.AddrPortFrom(dst, dstPort)
	}
	if sec != 0 {
		p.Time = time.Unix(int64(sec), int64(usec)*1000).UTC()
	}
	return nil
}

// decodeOld reads HEP versions 1 and 2: a fixed header, no key. Its length counts
// version 2's time for FreeSWITCH (28 for IPv4) and not for Kamailio (16), so that
// the length that counts is the family's.
func (p *Packet) decodeOld(b []byte) error {
	version, length, family := b[0], int(b[1]), b[2]
	p.Version = version
	if length > len(b) {
		return ErrTruncated
	}
	size := 4
	switch family {
	case 2: // AF_INET
	case 10, 24, 28, 30: // AF_INET6 on Linux, NetBSD and OpenBSD, FreeBSD, macOS
		size = 16
	default:
		return ErrNotHEP
	}
	want := 8 + 2*size
	if version == 2 {
		want += 12
	}
	if length < 8+2*size || len(b) < want {
		return ErrTruncated
	}
	src, _ := netip.AddrFromSlice(b[8 : 8+size])
	dst, _ := netip.AddrFromSlice(b[8+size : 8+2*size])
	p.Src = netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(b[4:]))
	p.Dst = netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(b[6:]))
	if version == 2 {
		// Little-endian: Kamailio says so, the others use their host's order.
		t := b[8+2*size:]
		p.Time = time.Unix(int64(binary.LittleEndian.Uint32(t)), int64(binary.LittleEndian.Uint32(t[4:]))*1000).UTC()
		p.Agent = uint32(binary.LittleEndian.Uint16(t[8:]))
	}
	p.Payload = b[want:]
	return nil
}

// inflate unpacks a zlib or gzip payload, up to MaxPacket bytes.
func (p *Packet) inflate() error {
	b := p.deflated
	if b == nil {
		return nil
	}
	var r io.ReadCloser
	var err error
	if len(b) > 1 && b[0] == 0x1f && b[1] == 0x8b {
		r, err = gzip.NewReader(bytes.NewReader(b))
	} else {
		r, err = zlib.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		return ErrPayload
	}
	defer r.Close()
	p.Payload, err = io.ReadAll(io.LimitReader(r, MaxPacket+1))
	if err != nil || len(p.Payload) > MaxPacket {
		p.Payload = nil
		return ErrPayload
	}
	p.deflated = nil
	return nil
}

// SIP decodes a packet that must carry a SIP message and, where key is not empty,
// that key: versions 1 and 2 carry none. The message's time is the sender's, or at
// where it has none. Nothing is unpacked for those without the key.
func SIP(b []byte, key string, at time.Time) (sip.Packet, error) {
	var p Packet
	if err := p.decode(b); err != nil {
		return sip.Packet{}, err
	}
	if key != "" && subtle.ConstantTimeCompare(p.Key, []byte(key)) != 1 {
		return sip.Packet{}, ErrKey
	}
	if p.Type != sipType {
		return sip.Packet{}, ErrNotSIP
	}
	if err := p.inflate(); err != nil {
		return sip.Packet{}, err
	}
	if len(p.Payload) == 0 {
		return sip.Packet{}, ErrNotSIP
	}
	if p.Time.IsZero() {
		p.Time = at
	}
	return sip.Packet{At: p.Time, Src: p.Src, Dst: p.Dst, Payload: p.Payload, Cut: cut(p.Payload), Guess: true}, nil
}

// cut tells whether the end of a message is missing. FreeSWITCH copies a message
// piece by piece for as long as the sum is no more than 16,000 bytes: what it cuts
// may have any length.
func cut(b []byte) bool {
	b = bytes.TrimLeft(b, "\r\n")
	length := 0
	for {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		if !ended {
			return true
		}
		b = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return len(b) < length
		}
		if line[0]|0x20 != 'c' && line[0]|0x20 != 'l' {
			continue
		}
		name, v, _ := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if bytes.EqualFold(name, []byte("Content-Length")) || bytes.EqualFold(name, []byte("l")) {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 31); err == nil {
				length = int(n)
			}
		}
	}
}

// A Replay decodes HEP that was recorded, when the time of arrival tells nothing,
// or another day: messages have their sender's time, which is held back where it
// would go back, since the order of the record is the order of arrival. The zero
// value is ready and takes any key. It is not safe for concurrent use.
type Replay struct {
	Key string

	last time.Time
}

// SIP is the function SIP with times that never go back.
func (r *Replay) SIP(b []byte, at time.Time) (sip.Packet, error) {
	p, err := SIP(b, r.Key, at)
	if err != nil {
		return p, err
	}
	if p.At.Before(r.last) {
		p.At = r.last
	}
	r.last = p.At
	return p, nil
}
