package gsm7

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// Septets of the table in TS 23.038, 6.2.1 and 6.2.1.1, one of each row and
// column and all that are not where ASCII has them.
func TestEncode(t *testing.T) {
	for _, c := range []struct{ text, septets string }{
		{"@£$¥èéùìòÇ", "00010203040506070809"},
		{"\nØø\rÅå", "0a0b0c0d0e0f"},
		{"Δ_ΦΓΛΩΠΨΣΘΞ", "101112131415161718191a"},
		{"ÆæßÉ", "1c1d1e1f"},
		{" !\"#¤%&'()*+,-./", "202122232425262728292a2b2c2d2e2f"},
		{"0123456789:;<=>?", "303132333435363738393a3b3c3d3e3f"},
		{"¡AZÄÖÑÜ§", "40415a5b5c5d5e5f"},
		{"¿azäöñüà", "60617a7b7c7d7e7f"},
		{"\f^{}\\[~]|€", "1b0a1b141b281b291b2f1b3c1b3d1b3e1b401b65"},
	} {
		got, ok := Encode(nil, c.text)
		if hex.EncodeToString(got) != c.septets || !ok {
			t.Errorf("%q: %x %v, want %s", c.text, got, ok, c.septets)
		}
		if back := Decode(got); back != c.text {
			t.Errorf("%x: %q, want %q", got, back, c.text)
		}
	}
	for _, s := range []string{"ж", "a–b", "`", "\t", "\x1b", "😀", "\xff", "ç"} {
		if got, ok := Encode(nil, s); ok {
			t.Errorf("%q is %x", s, got)
		}
	}
}

// The alphabet has 127 characters and the escape, the extension table ten.
func TestWholeAlphabet(t *testing.T) {
	if n := utf8.RuneCountInString(basic); n != 128 {
		t.Fatalf("%d characters", n)
	}
	n := [3]int{}
	for r := rune(0); r <= utf8.MaxRune; r++ {
		n[septetsOf(r)]++
	}
	if n[1] != 127 || n[2] != 10 {
		t.Errorf("%d characters of one septet, %d of two", n[1], n[2])
	}
}

func TestDecodeUnknown(t *testing.T) {
	for in, want := range map[string]string{
		"1b61":   "a",  // an unknown extension is its basic character
		"1b1b":   " ",  // the table of a table that does not exist
		"1b1b61": " a", // and what follows is not part of it
		"611b":   "a ", // an escape before nothing
		"e1":     "a",  // an eighth bit means nothing
		"":       "",
	} {
		b, _ := hex.DecodeString(in)
		if got := Decode(b); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// Packed texts as phones send them in PDUs.
func TestPack(t *testing.T) {
	for _, c := range []struct {
		text, packed string
		fill         int
	}{
		{"hellohello", "e8329bfd4697d9ec37", 0},
		{"1234567", "31d98c56b3dd00", 0},  // seven bits are left over: zeros, which read as @ but for the count
		{"12345678", "31d98c56b3dd70", 0}, // eight septets fill seven octets
		{"€", "9b32", 0},                  // 1b 65
		{"hi", "d069", 1},                 // behind a header of six octets
		{"", "", 0}, {"@", "00", 0},       // the count tells them apart
		{"AAAAAAAA", "82c1603018180c06", 1}, // nine septets' room less the fill
	} {
		septets, ok := Encode(nil, c.text)
		if !ok {
			t.Fatal(c.text)
		}
		got := Pack(septets, c.fill)
		if c.text != "AAAAAAAA" && hex.EncodeToString(got) != c.packed {
			t.Errorf("%q: %x, want %s", c.text, got, c.packed)
		}
		if back := Unpack(got, len(septets), c.fill); !bytes.Equal(back, septets) {
			t.Errorf("%q: %x comes back as %x", c.text, septets, back)
		}
	}
	if got := Unpack([]byte{1, 2}, 100, 0); len(got) != 2 {
		t.Errorf("two octets hold %d septets", len(got))
	}
	for n, want := range map[int]int{0: 0, 1: 6, 6: 1, 7: 0, 13: 1} {
		if got := Fill(n); got != want {
			t.Errorf("%d octets are followed by %d bits, want %d", n, got, want)
		}
	}
	// Room in 140 octets: 160 septets, 153 behind a header of six, 152 behind one of seven.
	for header, room := range map[int]int{0: Single, 6: Multi, 7: 152} {
		if n := header + len(Pack(make([]byte, room), Fill(header))); n > 140 {
			t.Errorf("%d septets behind %d octets need %d octets", room, header, n)
		}
		if n := header + len(Pack(make([]byte, room+1), Fill(header))); n <= 140 {
			t.Errorf("%d septets behind %d octets fit", room+1, header)
		}
	}
}

func TestUCS2(t *testing.T) {
	for text, want := range map[string]string{"Aж": "00410436", "😀": "d83dde00", "\xff": "fffd", "": ""} {
		if got := EncodeUCS2(nil, text); hex.EncodeToString(got) != want {
			t.Errorf("%q: %x, want %s", text, got, want)
		}
	}
	for in, want := range map[string]string{
		"00410436":         "Aж",
		"feff0041":         "A", // a mark of the byte order is no character
		"fffe41003604":     "Aж",
		"d83dde00":         "😀",
		"d83d0041":         "\ufffdA", // half a pair
		"004100":           "A",       // half a unit
		"":                 "",
		"0e2a0e270e310e2a": "สวัส",
	} {
		b, _ := hex.DecodeString(in)
		if got := DecodeUCS2(b); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		what   string
		coding byte
		in     string
		want   string
		binary bool
	}{
		{"default", 0, "\x00\x1b\x65", "@€", false},
		{"default, but Latin-1", 0, "Gr\xfc\xdfe", "Grüße", false},
		{"default, but UTF-8", 0, "Grüße", "Grüße", false},
		{"ASCII", 1, "a@b_c$", "a@b_c$", false},
		{"ASCII, but Latin-1", 1, "caf\xe9", "café", false},
		{"Latin-1", 3, "caf\xe9 @", "café @", false},
		{"octets that are text", 4, "STOP\n", "STOP\n", false},
		{"octets", 4, "\x01\x06\x23", "", true},
		{"octets of another kind", 2, "\xff\xfe\x00", "", true},
		{"Cyrillic", 6, "\xbf\xe0\xd8\xd2\xd5\xe2\xf0", "Привет№", false},
		{"Hebrew", 7, "\xf9\xec\xe5\xed", "שלום", false},
		{"UTF-16", 8, "\x04\x36\xd8\x3d\xde\x00", "ж😀", false},
		{"shown at once", 0x10, "\x00", "@", false},
		{"shown at once in UCS-2", 0x18, "\x04\x36", "ж", false},
		{"general, octets", 0x14, "\x01", "", true},
		{"class 0", 0xf0, "\x00", "@", false},
		{"class 0, octets", 0xf4, "\x01", "", true},
		{"message waiting", 0xc8, "\x00", "@", false},
		{"message waiting in UCS-2", 0xe8, "\x04\x36", "ж", false},
		{"reserved", 0x0b, "caf\xe9", "café", false},
	} {
		if got, binary := Text(c.coding, []byte(c.in)); got != c.want || binary != c.binary {
			t.Errorf("%s: %q %v, want %q %v", c.what, got, binary, c.want, c.binary)
		}
	}
}

func TestHeader(t *testing.T) {
	for _, p := range []Part{{Ref: 0xa5, Total: 3, Seq: 1}, {Ref: 0, Total: 255, Seq: 255}, {Ref: 0xbeef, Total: 2, Seq: 2, Wide: true}} {
		got, rest, err := ParseHeader(append(p.Header(), "text"...))
		if err != nil || got == nil || *got != p || string(rest) != "text" {
			t.Errorf("%+v comes back as %+v %q %v", p, got, rest, err)
		}
	}
	if b := (Part{Ref: 0xa5, Total: 3, Seq: 1}).Header(); hex.EncodeToString(b) != "050003a50301" {
		t.Errorf("%x", b)
	}
	if b := (Part{Ref: 0xbeef, Total: 3, Seq: 1, Wide: true}).Header(); hex.EncodeToString(b) != "060804beef0301" {
		t.Errorf("%x", b)
	}
	for _, c := range []struct {
		in   string
		part *Part
		rest string
		bad  bool
	}{
		{"0061", nil, "a", false}, // a header of nothing
		{"00", nil, "", false},    // and nothing behind it
		{"0b05040b8423f0000301020161", &Part{Ref: 1, Total: 2, Seq: 1}, "a", false}, // ports before it
		{"050003010200", nil, "", false},                                            // the zeroth
		{"050003010203", nil, "", false},                                            // the third of two
		{"050003010001", nil, "", false},                                            // one of none
		{"050004010201", nil, "", true},                                             // an element longer than the header
		{"0a0003010201000302020261", &Part{Ref: 2, Total: 2, Seq: 2}, "a", false},
		{"", nil, "", true},
		{"05000301", nil, "", true},
		{"0100", nil, "", true},
		{"02700061", nil, "a", false},
	} {
		b, _ := hex.DecodeString(c.in)
		part, rest, err := ParseHeader(b)
		if (err != nil) != c.bad || string(rest) != c.rest || (part == nil) != (c.part == nil) || part != nil && *part != *c.part {
			t.Errorf("%s: %+v %q %v, want %+v %q", c.in, part, rest, err, c.part, c.rest)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, s := range []string{"", "a", strings.Repeat("a", 160), strings.Repeat("a", 161), strings.Repeat("a", 152) + "€" + strings.Repeat("a", 152),
		strings.Repeat("ж", 66) + "😀" + strings.Repeat("ж", 66), strings.Repeat("€", 81), strings.Repeat("😀", 100), "ж" + strings.Repeat("€", 80)} {
		agree(t, s)
	}
}

// agree checks that the parts of s are what Segments counts, fit, and join.
func agree(t *testing.T, s string) {
	t.Helper()
	parts, enc := Split(s)
	n, want := Segments(s)
	if len(parts) != n || enc != want || strings.Join(parts, "") != s {
		t.Fatalf("%q: %d parts of %s, want %d of %s", s, len(parts), enc, n, want)
	}
	single, multi := Single, Multi
	if enc == "UCS-2" {
		single, multi = SingleUCS2, MultiUCS2
	}
	var joined strings.Builder
	for i, p := range parts {
		room := multi
		if n == 1 {
			room = single
		} else if p == "" {
			t.Errorf("%q: part %d is empty", s, i)
		}
		var size int
		if enc == "UCS-2" {
			b := EncodeUCS2(nil, p)
			size = len(b) / 2
			joined.WriteString(DecodeUCS2(b))
			if utf8.ValidString(s) && !utf8.ValidString(p) || strings.HasPrefix(p, "\ufeff") && !strings.Contains(s, "\ufeff") {
				t.Errorf("%q: part %d is %q", s, i, p)
			}
		} else {
			b, ok := Encode(nil, p)
			if !ok || len(b) > 0 && b[len(b)-1] == escape {
				t.Errorf("%q: part %d is %x", s, i, b)
			}
			if back := Unpack(Pack(b, Fill(6)), len(b), Fill(6)); !bytes.Equal(back, b) {
				t.Errorf("%x comes back as %x", b, back)
			}
			size = len(b)
			joined.WriteString(Decode(b))
		}
		if size > room {
			t.Errorf("%q: part %d takes %d of %d", s, i, size, room)
		}
	}
	if got := joined.String(); got != strings.ReplaceAll(s, "\ufffe", "\ufffd") && !strings.ContainsRune(s, '\ufeff') && utf8.ValidString(s) {
		t.Errorf("%q arrives as %q", s, got)
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "Hi Sarah", strings.Repeat("€", 81), strings.Repeat("a", 152) + "€" + strings.Repeat("b", 160), strings.Repeat("😀", 36), "\xff", "\ufeffж", "\ufffeж"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { agree(t, s) })
}

// Whatever comes, it is read, and what was read can be written again.
func FuzzText(f *testing.F) {
	f.Add(byte(0), []byte("\x00\x1b\x65"))
	f.Add(byte(8), []byte("\x04\x36\xd8\x3d"))
	f.Add(byte(4), []byte("\x01"))
	f.Add(byte(8), []byte("\x04\x36\xff\xfe"))
	f.Fuzz(func(t *testing.T, coding byte, b []byte) {
		text, binary := Text(coding, b)
		if !utf8.ValidString(text) || binary && text != "" {
			t.Errorf("%d %x: %q %v", coding, b, text, binary)
		}
		if again := Decode(b); len(again) > 0 {
			septets, ok := Encode(nil, again)
			if !ok || Decode(septets) != again {
				t.Errorf("%x is %q, which is %x", b, again, septets)
			}
		}
		if s := DecodeUCS2(b); DecodeUCS2(EncodeUCS2(nil, s)) != s && !strings.HasPrefix(s, "\ufeff") {
			t.Errorf("%x is %q", b, s)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("\x05\x00\x03\xa5\x02\x01text"))
	f.Add([]byte("\x06\x08\x04\xbe\xef\x02\x01text"))
	f.Add([]byte("\x0b\x05\x04\x0b\x84\x23\xf0\x00\x03\x01\x02\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, rest, err := ParseHeader(b)
		switch {
		case err != nil:
			if p != nil || rest != nil {
				t.Errorf("%x: %+v %x beside an error", b, p, rest)
			}
		case !bytes.HasSuffix(b, rest) || len(b) != 1+int(b[0])+len(rest):
			t.Errorf("%x: rest %x", b, rest)
		case p != nil:
			if p.Seq == 0 || p.Seq > p.Total {
				t.Errorf("%x: %+v", b, p)
			}
			if again, _, err := ParseHeader(p.Header()); err != nil || again == nil || *again != *p {
				t.Errorf("%+v comes back as %+v %v", p, again, err)
			}
		}
	})
}

// A text in the mix that offices send: one segment, several, and Cyrillic.
var mix = []string{
	"Miller Dental: sorry we missed your call! Reply here or call back at 212 555 0100. Reply STOP to opt out.",
	strings.Repeat("Grüße aus Köln: wir haben bis 18 Uhr geöffnet [5€]. ", 5),
	strings.Repeat("Извините, мы не смогли ответить. ", 5) + "😀",
}

// naive counts and encodes as one would at first: a set of characters and a loop over runes.
type naive map[rune]int

func newNaive() naive {
	m := naive{}
	for i, r := range []rune(basic) {
		m[r] = i
	}
	for r, c := range extended {
		m[r] = escape<<8 | int(c)
	}
	return m
}

func (m naive) segments(s string) int {
	total, foreign := 0, false
	for _, r := range s {
		c, ok := m[r]
		if !ok {
			foreign = true
			break
		}
		if total++; c > 0xff {
			total++
		}
	}
	if foreign {
		total = 0
		for _, r := range s {
			total += utf16.RuneLen(r)
		}
		if total <= SingleUCS2 {
			return 1
		}
		n, room := 1, MultiUCS2
		for _, r := range s {
			k := utf16.RuneLen(r)
			if k > room {
				n, room = n+1, MultiUCS2
			}
			room -= k
		}
		return n
	}
	if total <= Single {
		return 1
	}
	n, room := 1, Multi
	for _, r := range s {
		k := 1
		if m[r] > 0xff {
			k = 2
		}
		if k > room {
			n, room = n+1, Multi
		}
		room -= k
	}
	return n
}

func (m naive) encode(s string) (out []byte, ok bool) {
	for _, r := range s {
		c, ok := m[r]
		if !ok {
			return nil, false
		}
		if c > 0xff {
			out = append(out, byte(c>>8))
		}
		out = append(out, byte(c))
	}
	return out, true
}

func BenchmarkSegments(b *testing.B) {
	m := newNaive()
	for _, s := range mix {
		if n, _ := Segments(s); n != m.segments(s) {
			b.Fatalf("%q: %d and %d", s, n, m.segments(s))
		}
	}
	var sum int
	run := func(name string, f func(s string) int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				for _, s := range mix {
					sum += f(s)
				}
			}
		})
	}
	run("table", func(s string) int { n, _ := Segments(s); return n })
	run("naive", m.segments)
}

func BenchmarkEncode(b *testing.B) {
	m := newNaive()
	var sum int
	run := func(name string, f func(s string) ([]byte, bool)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				for _, s := range mix[:2] {
					out, _ := f(s)
					sum += len(out)
				}
			}
		})
	}
	buf := make([]byte, 0, 1024)
	run("table", func(s string) ([]byte, bool) { return Encode(buf, s) })
	run("naive", m.encode)
}
