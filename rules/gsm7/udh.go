package gsm7

import (
	"encoding/binary"
	"errors"
)

// A Part says which part of which text a segment is.
type Part struct {
	Ref        uint16 // the same in all parts of one text
	Total, Seq byte   // Seq counts from 1
	Wide       bool   // Ref has 16 bits, not 8
}

// Information elements of a user data header (TS 23.040, 9.2.3.24).
const (
	concat8, concat16 = 0x00, 0x08
)

// Header returns p as a whole user data header: 6 octets, or 7 with a wide
// reference, for which Multi and MultiUCS2 leave no room.
func (p Part) Header() []byte {
	if p.Wide {
		return []byte{6, concat16, 4, byte(p.Ref >> 8), byte(p.Ref), p.Total, p.Seq}
	}
	return []byte{5, concat8, 3, byte(p.Ref), p.Total, p.Seq}
}

var errHeader = errors.New("the user data header is longer than the text")

// ParseHeader reads the user data header that b begins with, and returns what
// stands behind it. part is nil if the header does not say that the text is one of
// several; elements of other kinds are passed over. With an error nothing of b can
// be trusted to be text.
func ParseHeader(b []byte) (part *Part, rest []byte, err error) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return nil, nil, errHeader
	}
	h, rest := b[1:1+int(b[0])], b[1+int(b[0]):]
	for len(h) > 0 {
		if len(h) < 2 || int(h[1]) > len(h)-2 {
			return nil, nil, errHeader
		}
		id, v := h[0], h[2:2+int(h[1])]
		h = h[2+int(h[1]):]
		var p Part
		switch {
		case id == concat8 && len(v) == 3:
			p = Part{Ref: uint16(v[0]), Total: v[1], Seq: v[2]}
		case id == concat16 && len(v) == 4:
			p = Part{Ref: binary.BigEndian.Uint16(v), Total: v[2], Seq: v[3], Wide: true}
		default:
			continue
		}
		// Zeros, and numbers beyond the total, are to be ignored (9.2.3.24.1). The
		// last element of a kind counts (9.2.3.24).
		if p.Total > 0 && p.Seq > 0 && p.Seq <= p.Total {
			part = &p
		}
	}
	return part, rest, nil
}
