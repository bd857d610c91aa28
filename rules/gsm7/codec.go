package gsm7

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// letters are the basic alphabet by septet, behind the extension table by septet.
var letters, extensions = func() (b, e [128]rune) {
	for i, r := range []rune(basic) {
		b[i] = r
	}
	for r, c := range extended {
		e[c] = r
	}
	return b, e
}()

// Encode appends s in septets to dst, one to an octet, as SMPP carries them. ok is
// false, and what was appended worthless, if GSM-7 cannot carry s.
func Encode(dst []byte, s string) (septets []byte, ok bool) {
	for _, r := range s {
		switch c := codeOf(r); {
		case c == 0:
			return dst, false
		case c >= inExtension:
			dst = append(dst, escape, byte(c))
		default:
			dst = append(dst, byte(c))
		}
	}
	return dst, true
}

// Decode reads septets, one to an octet; the eighth bits are ignored. An
// unknown character behind an escape is the one of the basic alphabet, and an
// escape behind an escape, or at the end, is a space (TS 23.038, 6.2.1.1).
func Decode(septets []byte) string {
	var b strings.Builder
	b.Grow(len(septets))
	for i := 0; i < len(septets); i++ {
		c := septets[i] & 0x7f
		if c != escape {
			b.WriteRune(letters[c])
			continue
		}
		if i++; i == len(septets) {
			b.WriteByte(' ')
			break
		}
		switch c = septets[i] & 0x7f; {
		case c == escape:
			b.WriteByte(' ')
		case extensions[c] != 0:
			b.WriteRune(extensions[c])
		default:
			b.WriteRune(letters[c])
		}
	}
	return b.String()
}

// Pack puts septets, one to an octet, into octets without gaps (TS 23.038, 6.1.2.1),
// behind fill zero bits, of which a header needs Fill of its length. Bits left
// over in the last octet are zero.
func Pack(septets []byte, fill int) []byte {
	out := make([]byte, (fill+7*len(septets)+7)/8)
	for i, c := range septets {
		at := fill + 7*i
		wide := uint16(c&0x7f) << (at % 8)
		out[at/8] |= byte(wide)
		if wide > 0xff {
			out[at/8+1] |= byte(wide >> 8)
		}
	}
	return out
}

// Unpack is the reverse of Pack for n septets, or for as many of them as octets hold.
func Unpack(octets []byte, n, fill int) []byte {
	n = max(0, min(n, (8*len(octets)-fill)/7))
	out := make([]byte, n)
	for i := range out {
		at := fill + 7*i
		wide := uint16(octets[at/8])
		if at/8+1 < len(octets) {
			wide |= uint16(octets[at/8+1]) << 8
		}
		out[i] = byte(wide>>(at%8)) & 0x7f
	}
	return out
}

// Fill is how many bits stand between a header of n octets and the first packed
// septet: septets begin at a multiple of seven bits (TS 23.040, 9.2.3.24).
func Fill(n int) int { return (7 - 8*n%7) % 7 }

// EncodeUCS2 appends s in UTF-16, big end first, to dst: what phones make of UCS-2.
// Bytes that are no UTF-8 become U+FFFD, and so does U+FFFE, which is no character:
// at the start of a message it would turn the order of all octets round.
func EncodeUCS2(dst []byte, s string) []byte {
	for _, r := range s {
		if r == 0xfffe {
			r = utf8.RuneError
		}
		if a, b := utf16.EncodeRune(r); r > 0xffff {
			dst = binary.BigEndian.AppendUint16(dst, uint16(a))
			dst = binary.BigEndian.AppendUint16(dst, uint16(b))
		} else {
			dst = binary.BigEndian.AppendUint16(dst, uint16(r))
		}
	}
	return dst
}

// DecodeUCS2 reads UTF-16, big end first unless a byte order mark says otherwise.
// Half a pair becomes U+FFFD, as U+FFFE does; an odd octet at the end is dropped.
func DecodeUCS2(b []byte) string {
	var order binary.ByteOrder = binary.BigEndian
	if len(b) >= 2 {
		switch {
		case b[0] == 0xfe && b[1] == 0xff:
			b = b[2:]
		case b[0] == 0xff && b[1] == 0xfe:
			b, order = b[2:], binary.LittleEndian
		}
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		if units[i] = order.Uint16(b[2*i:]); units[i] == 0xfffe {
			units[i] = utf8.RuneError
		}
	}
	return string(utf16.Decode(units))
}

// Data codings as SMPP numbers them (SMPP 3.4, 5.2.19). From 16 up they are
// those of TS 23.038, 4.
const (
	CodingDefault = 0 // GSM-7, one septet to an octet
	CodingASCII   = 1
	CodingLatin1  = 3
	CodingBinary  = 4
	CodingUCS2    = 8
)

// Text reads what came with a data coding. It is tolerant, because senders are
// careless: octets above 0x7f in a coding of seven bits are taken for UTF-8 if they are that
// and for Latin-1 otherwise, and so is every coding that is not known. binary
// reports that the coding says it is no text, and that it does not look like one.
func Text(coding byte, b []byte) (text string, binary bool) {
	switch alphabet(coding) {
	case CodingDefault:
		if !sevenBits(b) {
			return guess(b), false
		}
		return Decode(b), false
	case CodingUCS2:
		return DecodeUCS2(b), false
	case CodingLatin1:
		return latin1(b), false
	case cyrillic:
		return single(b, func(c byte) rune {
			switch {
			case c <= 0xa0 || c == 0xad:
				return rune(c)
			case c == 0xf0:
				return '№'
			case c == 0xfd:
				return '§'
			}
			return rune(c) + 0x0360
		}), false
	case hebrew:
		return single(b, func(c byte) rune {
			switch {
			case c >= 0xe0 && c <= 0xfa:
				return rune(c) - 0xe0 + 0x05d0
			case c == 0xaa:
				return '×'
			case c == 0xba:
				return '÷'
			}
			return rune(c)
		}), false
	case CodingBinary:
		if !utf8.Valid(b) || strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' }) {
			return "", true
		}
		return string(b), false
	}
	return guess(b), false
}

const cyrillic, hebrew = 6, 7 // ISO 8859-5 and -8

// alphabet reduces a data coding to one of those below 16.
func alphabet(c byte) byte {
	switch {
	case c == 2:
		return CodingBinary
	case c < 0x10:
		return c
	case c < 0x40: // general group: bits 3 and 2 are the alphabet
		switch c >> 2 & 3 {
		case 0:
			return CodingDefault
		case 2:
			return CodingUCS2
		}
		return CodingBinary
	case c >= 0xc0 && c < 0xe0: // message waiting, GSM-7
		return CodingDefault
	case c >= 0xe0 && c < 0xf0: // message waiting, UCS-2
		return CodingUCS2
	case c >= 0xf0: // bit 2: 8-bit data
		if c&4 != 0 {
			return CodingBinary
		}
		return CodingDefault
	}
	return c
}

func sevenBits(b []byte) bool {
	for _, c := range b {
		if c > 0x7f {
			return false
		}
	}
	return true
}

// guess reads octets that nobody told the alphabet of.
func guess(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return latin1(b)
}

func latin1(b []byte) string { return single(b, func(c byte) rune { return rune(c) }) }

func single(b []byte, letter func(byte) rune) string {
	var s strings.Builder
	s.Grow(len(b))
	for _, c := range b {
		s.WriteRune(letter(c))
	}
	return s.String()
}
