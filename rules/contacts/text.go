package contacts

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// decode makes UTF-8 of a file, with \n at the ends of lines. note says what was
// guessed.
func decode(b []byte) (text, note string) {
	switch {
	case bytes.HasPrefix(b, []byte{0xEF, 0xBB, 0xBF}):
		b = b[3:]
	case bytes.HasPrefix(b, []byte{0xFF, 0xFE}): // Excel's "Unicode text"
		return lines(wide(b[2:], binary.LittleEndian)), ""
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}):
		return lines(wide(b[2:], binary.BigEndian)), ""
	}
	if utf8.Valid(b) {
		return lines(string(b)), ""
	}
	if bytes.Contains(b[:min(len(b), 1<<20)], []byte("CHARSET")) {
		return lines(string(b)), "" // vCard 2.1 tells it at each value
	}
	return lines(charset("windows-1252", string(b))), "this file is not UTF-8 and is read as Windows-1252: if names look wrong, save it as \"CSV UTF-8\""
}

func wide(b []byte, order binary.ByteOrder) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = order.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

func lines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

var charsets = map[string]*charmap.Charmap{
	"iso-8859-1": charmap.Windows1252, "latin1": charmap.Windows1252, "us-ascii": charmap.Windows1252, "windows-1252": charmap.Windows1252,
	"iso-8859-2": charmap.ISO8859_2, "iso-8859-15": charmap.ISO8859_15, "windows-1250": charmap.Windows1250,
	"windows-1251": charmap.Windows1251, "koi8-r": charmap.KOI8R, "windows-1253": charmap.Windows1253, "windows-1254": charmap.Windows1254,
}

// charset makes UTF-8 of s. Charsets that are not known leave s as it is.
func charset(name, s string) string {
	if m := charsets[strings.ToLower(name)]; m != nil {
		if out, err := m.NewDecoder().String(s); err == nil {
			return out
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

const maxName = 100

// clean makes one line of a value: no control characters, single blanks, a
// bounded length. It keeps nothing of the file in memory.
func clean(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' && (c != ' ' || i == 0 || i == len(s)-1 || s[i-1] == ' ') || c >= 0x7F {
			plain = false
			break
		}
	}
	if plain && len(s) <= maxName {
		return strings.Clone(s)
	}
	words := strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	s = strings.Join(words, " ")
	s = strings.Map(func(r rune) rune {
		// Marks of direction and the like: they would turn the text around them.
		if unicode.Is(unicode.Cf, r) && r != 0x200D || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	return clip(s, maxName)
}

func clip(s string, runes int) string {
	if utf8.RuneCountInString(s) <= runes {
		return s
	}
	return string([]rune(s)[:runes])
}

var unaccented = strings.NewReplacer("ä", "a", "á", "a", "à", "a", "â", "a", "ã", "a", "å", "a", "ö", "o", "ó", "o", "ò", "o", "ô", "o", "õ", "o", "ø", "o",
	"ü", "u", "ú", "u", "ù", "u", "û", "u", "é", "e", "è", "e", "ê", "e", "ë", "e", "í", "i", "ì", "i", "î", "i", "ï", "i", "ç", "c", "ñ", "n", "ß", "ss")

// fold leaves the letters and digits of a heading or a word, in small letters
// and without accents.
func fold(s string) string {
	s = unaccented.Replace(strings.ToLower(s))
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}
