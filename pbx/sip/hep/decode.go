package hep

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"textback/pbx/sip"
)

// Why a packet is not taken; Counts name them by their first words.
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
	// freeswitchCut is the length at which FreeSWITCH cuts payloads.
	freeswitchCut = 16_000
)

// A Packet is one HEP packet. Its slices share the datagram's memory, unless the
// payload was compressed.
type Packet struct {
	Src, Dst    netip.AddrPort
	Time        time.Time // by the sender's clock; zero when it does not say
	Type        uint8     // 1 is SIP
	Agent       uint32
	Key         []byte
	Payload     []byte
	Correlation []byte
	Node        []byte
}

// Chunk types of HEPv3 for vendor 0.
const (
	chunkFamily      = 1
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

// Decode reads a HEP packet of any version into p.
func Decode(b []byte, p *Packet) error {
	*p = Packet{Type: 1}
	if len(b) >= 3 && (b[0] == 1 || b[0] == 2) && b[1] >= 16 {
		return decodeOld(b, p)
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
	var compressed []byte
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
			compressed = v
		case chunkCorrelation:
			p.Correlation = v
		case chunkNode:
			p.Node = v
		}
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	if sec != 0 {
		p.Time = time.Unix(int64(sec), int64(usec)*1000).UTC()
	}
	if compressed != nil {
		if p.Payload, err = inflate(compressed); err != nil {
			return fmt.Errorf("%w: %v", ErrPayload, err)
		}
	}
	return nil
}

// decodeOld reads HEP versions 1 and 2: a fixed header, no key.
func decodeOld(b []byte, p *Packet) error {
	version, length, family := b[0], int(b[1]), b[2]
	if length > len(b) {
		return ErrTruncated
	}
	size := 4
	switch family {
	case 2: // AF_INET
	case 10: // AF_INET6, as Linux counts
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
		// Kamailio and libcaptagent write these in the host's order: little-endian in practice.
		t := b[8+2*size:]
		p.Time = time.Unix(int64(binary.LittleEndian.Uint32(t)), int64(binary.LittleEndian.Uint32(t[4:]))*1000).UTC()
		p.Agent = uint32(binary.LittleEndian.Uint16(t[8:]))
	}
	p.Payload = b[want:]
	return nil
}

// inflate unpacks a zlib or gzip payload, up to MaxPacket bytes.
func inflate(b []byte) ([]byte, error) {
	var r io.ReadCloser
	var err error
	if len(b) > 1 && b[0] == 0x1f && b[1] == 0x8b {
		r, err = gzip.NewReader(bytes.NewReader(b))
	} else {
		r, err = zlib.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, MaxPacket+1))
	if err == nil && len(out) > MaxPacket {
		err = errors.New("longer than 65535 bytes")
	}
	return out, err
}

// SIP decodes a packet that must carry a SIP message and, where key is not empty,
// that key. The message's time is the sender's, or at where it has none.
func SIP(b []byte, key string, at time.Time) (sip.Packet, error) {
	var p Packet
	if err := Decode(b, &p); err != nil {
		return sip.Packet{}, err
	}
	if key != "" && subtle.ConstantTimeCompare(p.Key, []byte(key)) != 1 {
		return sip.Packet{}, ErrKey
	}
	if p.Type != 1 || len(p.Payload) == 0 {
		return sip.Packet{}, ErrNotSIP
	}
	if p.Time.IsZero() {
		p.Time = at
	}
	return sip.Packet{At: p.Time, Src: p.Src, Dst: p.Dst, Payload: p.Payload, Cut: len(p.Payload) == freeswitchCut, Guess: true}, nil
}
