// Package gsm7 is in charge of how a text is cut into segments: the GSM 7-bit
// default alphabet and its extension table (3GPP TS 23.038, 6.2.1), UCS-2 for
// everything else, and the room a concatenation header takes.
package gsm7

import "strings"

// Room in one segment and in each of several, in septets and UTF-16 units.
const (
	Single, Multi         = 160, 153
	SingleUCS2, MultiUCS2 = 70, 67
)

const basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ!\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
const extension = "\f^{}\\[~]|€"

// septets are what characters take, 0 for those that are not in the alphabet.
// All but the Euro sign stand below U+0400.
var septets = func() (m [0x400]uint8) {
	for _, r := range basic {
		m[r] = 1
	}
	for _, r := range extension {
		if r < rune(len(m)) {
			m[r] = 2 // the escape and the character
		}
	}
	return m
}()

func septetsOf(r rune) int {
	switch {
	case r >= 0 && r < rune(len(septets)):
		return int(septets[r])
	case r == '€':
		return 2
	}
	return 0
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
		if septetsOf(r) == 0 {
			return r, true
		}
	}
	return 0, false
}

// Segments tells how many segments s needs and in which encoding, "GSM-7" or
// "UCS-2". An empty text needs one. An escape and its character stay in one
// segment, and so do the halves of a surrogate pair.
func Segments(s string) (n int, encoding string) {
	if _, foreign := Foreign(s); foreign {
		return count(s, SingleUCS2, MultiUCS2, func(r rune) int {
			if r > 0xffff {
				return 2
			}
			return 1
		}), "UCS-2"
	}
	return count(s, Single, Multi, septetsOf), "GSM-7"
}

func count(s string, single, multi int, size func(rune) int) int {
	total := 0
	for _, r := range s {
		total += size(r)
	}
	if total <= single {
		return 1
	}
	n, room := 1, multi
	for _, r := range s {
		if k := size(r); k > room {
			n, room = n+1, multi-k
		} else {
			room -= k
		}
	}
	return n
}
