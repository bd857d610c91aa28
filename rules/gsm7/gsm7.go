// Package gsm7 is in charge of how a text is cut into segments and written in
// octets: the GSM 7-bit default alphabet and its extension table (3GPP TS 23.038,
// 6.2.1), UCS-2 for everything else, and the header by which a phone joins
// segments again (3GPP TS 23.040, 9.2.3.24). National shift tables are not used.
package gsm7

import (
	"strings"
	"unicode/utf8"
)

// Room in one segment and in each of several, in septets and UTF-16 units.
const (
	Single, Multi         = 160, 153
	SingleUCS2, MultiUCS2 = 70, 67
)

// basic is the default alphabet in its order: a septet is its place.
const basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"

// extended are the characters behind an escape (6.2.1.1).
var extended = map[rune]byte{'\f': 0x0a, '^': 0x14, '{': 0x28, '}': 0x29, '\\': 0x2f, '[': 0x3c, '~': 0x3d, ']': 0x3e, '|': 0x40, '€': 0x65}

// code holds what stands for a character: the septet, with inBasic or inExtension;
// 0 means that GSM-7 cannot carry it. Everything but the euro lies below 0x400
// (Latin and Greek), so a character costs one look into a table.
var code = func() (t [0x400]uint16) {
	for i, r := range []rune(basic) {
		if r != escapeMark {
			t[r] = inBasic | uint16(i)
		}
	}
	for r, c := range extended {
		if r != '€' {
			t[r] = inExtension | uint16(c)
		}
	}
	return t
}()

const (
	escape      = 0x1b
	escapeMark  = '\x1b' // stands at the escape's place in basic
	inBasic     = 1 << 8
	inExtension = 2 << 8
	euro        = inExtension | 0x65
)

// codeOf returns r's entry of the table.
func codeOf(r rune) uint16 {
	if uint32(r) < uint32(len(code)) {
		return code[r]
	}
	if r == '€' {
		return euro
	}
	return 0
}

// septetsOf is how many septets r takes: 1, 2 with the escape, or 0 for none at all.
func septetsOf(r rune) int { return int(codeOf(r) >> 8) }

// unitsOf is how many UTF-16 units r takes.
func unitsOf(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// plain are characters that word processors put in and that have an equal in
// the GSM alphabet: one of them would more than halve the room.
var plain = strings.NewReplacer("‘", "'", "’", "'", "‚", "'", "‛", "'", "“", `"`, "”", `"`, "„", `"`, "«", `"`, "»", `"`,
	"–", "-", "—", "-", "‐", "-", "‑", "-", "−", "-", "…", "...", "\u00a0", " ", "\u202f", " ", "\u2009", " ", "\u200b", "", "\ufeff", "",
	"•", "-", "\r\n", "\n", "\r", "\n", "\t", " ", "`", "'", "´", "'")

// Normalize replaces typographic characters by their equals in the GSM
// alphabet, so that counts hold on every transport, and bytes that are no UTF-8
// by a question mark. Other characters stay.
func Normalize(s string) string {
	for _, r := range s {
		if septetsOf(r) == 0 || r == '\r' {
			return plain.Replace(strings.ToValidUTF8(s, "?"))
		}
	}
	return s // most texts
}

// Foreign returns the first character that GSM-7 cannot carry.
func Foreign(s string) (r rune, found bool) {
	for _, r := range s {
		if codeOf(r) == 0 {
			return r, true
		}
	}
	return 0, false
}

// Segments tells how many segments s needs and in which encoding, "GSM-7" or
// "UCS-2". An empty text needs one. An escape and its character stay in one
// segment, and so do the halves of a surrogate pair.
func Segments(s string) (n int, encoding string) {
	m := weigh(s)
	return m.segments(), m.encoding()
}

// A weight is what one pass over a text tells.
type weight struct {
	septets, units int
	foreign        bool // GSM-7 cannot carry it; septets and gsm mean nothing then
	gsm, ucs       int  // segments, if it takes several
}

func weigh(s string) weight {
	w := weight{gsm: 1, ucs: 1}
	roomGSM, roomUCS := Multi, MultiUCS2
	for i := 0; i < len(s); {
		septets, units := 0, 1
		switch c := s[i]; {
		case c < utf8.RuneSelf:
			septets = int(code[c] >> 8)
			i++
		case c >= 0xc2 && c < 0xe0 && i+1 < len(s) && s[i+1]&0xc0 == 0x80: // two bytes, as most letters beyond ASCII have
			if r := int(c&0x1f)<<6 | int(s[i+1]&0x3f); r < len(code) {
				septets = int(code[r] >> 8)
			}
			i += 2
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			septets, units = septetsOf(r), unitsOf(r)
			i += n
		}
		if septets == 0 {
			w.foreign = true
		}
		w.septets += septets
		w.units += units
		// A character that does not fit begins the next segment.
		if roomGSM -= septets; roomGSM < 0 {
			w.gsm, roomGSM = w.gsm+1, Multi-septets
		}
		if roomUCS -= units; roomUCS < 0 {
			w.ucs, roomUCS = w.ucs+1, MultiUCS2-units
		}
	}
	return w
}

func (w weight) encoding() string {
	if w.foreign {
		return "UCS-2"
	}
	return "GSM-7"
}

func (w weight) segments() int {
	switch {
	case w.foreign && w.units <= SingleUCS2, !w.foreign && w.septets <= Single:
		return 1
	case w.foreign:
		return w.ucs
	}
	return w.gsm
}

// cut returns how many bytes of s go into its first segment of several.
func (w weight) cut(s string) int {
	room := Multi
	if w.foreign {
		room = MultiUCS2
	}
	for i, r := range s {
		if w.foreign {
			room -= unitsOf(r)
		} else {
			room -= septetsOf(r)
		}
		if room < 0 {
			return i
		}
	}
	return len(s)
}

// Split returns the text of each segment, as many as Segments says, in the same
// encoding throughout. Joined they are s again.
func Split(s string) (parts []string, encoding string) {
	w := weigh(s)
	return w.split(s), w.encoding()
}

// SplitUCS2 is Split for a way out that cannot carry s in GSM-7, though phones could.
func SplitUCS2(s string) []string {
	w := weigh(s)
	w.foreign = true
	return w.split(s)
}

func (w weight) split(s string) []string {
	n := w.segments()
	if n == 1 {
		return []string{s}
	}
	parts := make([]string, 0, n)
	for s != "" {
		i := w.cut(s)
		parts, s = append(parts, s[:i]), s[i:]
	}
	return parts
}
