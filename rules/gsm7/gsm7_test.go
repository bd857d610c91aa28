package gsm7

import (
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

func TestSegments(t *testing.T) {
	a := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		what, text string
		want       int
		encoding   string
	}{
		{"empty", "", 1, "GSM-7"},
		{"full", a(160), 1, "GSM-7"},
		{"one over", a(161), 2, "GSM-7"},
		{"two full", a(306), 2, "GSM-7"},
		{"two full and one", a(307), 3, "GSM-7"},
		{"80 euros are full", strings.Repeat("€", 80), 1, "GSM-7"},
		{"a euro takes two", a(159) + "€", 2, "GSM-7"},
		// 152 septets leave one free in the first segment: the escape may not stand there alone.
		{"escape not split", a(152) + "€" + a(152), 3, "GSM-7"},
		{"escape fits", a(151) + "€" + a(153), 2, "GSM-7"},
		{"all of the alphabet", "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ\f^{}\\[~]|€", 1, "GSM-7"},
		{"full in UCS-2", strings.Repeat("ж", 70), 1, "UCS-2"},
		{"one over in UCS-2", strings.Repeat("ж", 71), 2, "UCS-2"},
		{"two full in UCS-2", strings.Repeat("ж", 134), 2, "UCS-2"},
		{"an emoji takes two", strings.Repeat("ж", 69) + "😀", 2, "UCS-2"},
		{"35 emoji are full", strings.Repeat("😀", 35), 1, "UCS-2"},
		{"pair not split", strings.Repeat("ж", 66) + "😀" + strings.Repeat("ж", 66), 3, "UCS-2"},
		{"pair fits", strings.Repeat("ж", 65) + "😀" + strings.Repeat("ж", 67), 2, "UCS-2"},
		{"broken UTF-8", "a\xff", 1, "UCS-2"},
	} {
		if n, enc := Segments(c.text); n != c.want || enc != c.encoding {
			t.Errorf("%s: %d segments of %s, want %d of %s", c.what, n, enc, c.want, c.encoding)
		}
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"Don’t reply":               "Don't reply",
		"“Hi” – we’re closed…":      `"Hi" - we're closed...`,
		"8\u00a0am\u202f—\u2009now": "8 am - now",
		"a\r\nb\rc":                 "a\nb\nc",
		"\ufeffzero\u200bwidth":     "zerowidth",
		"Łukasz 😀":                  "Łukasz 😀",
		"`quoted´":                  "'quoted'",
	} {
		if got := Normalize(in); got != want {
			t.Errorf("Normalize(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestForeign(t *testing.T) {
	if r, found := Foreign("Grüße, {Jörg} @ 5€ – no"); !found || r != '–' {
		t.Errorf("got %q %v", r, found)
	}
	if r, found := Foreign(Normalize("Grüße, {Jörg} @ 5€ – yes")); found {
		t.Errorf("got %q", r)
	}
}

// slow cuts as a phone would read: it returns the segments themselves.
func slow(s string, single, multi int, size func(rune) int) []string {
	total := 0
	for _, r := range s {
		total += size(r)
	}
	if total <= single {
		return []string{s}
	}
	var parts []string
	for s != "" {
		used, end := 0, 0
		for end < len(s) {
			r, n := utf8.DecodeRuneInString(s[end:])
			if used += size(r); used > multi {
				break
			}
			end += n
		}
		parts, s = append(parts, s[:end]), s[end:]
	}
	return parts
}

func FuzzSegments(f *testing.F) {
	for _, s := range []string{"", "Hi Sarah", strings.Repeat("€", 81), strings.Repeat("a", 152) + "€" + strings.Repeat("b", 160), strings.Repeat("😀", 36), "a\r\u200b\nb", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		plain := Normalize(s)
		if again := Normalize(plain); again != plain {
			t.Errorf("Normalize is not done at once: %q, then %q", plain, again)
		}
		for _, s := range []string{s, plain} {
			n, enc := Segments(s)
			var parts []string
			if _, foreign := Foreign(s); foreign != (enc == "UCS-2") {
				t.Fatalf("%q is %s", s, enc)
			} else if foreign {
				parts = slow(s, SingleUCS2, MultiUCS2, func(r rune) int { return len(utf16.Encode([]rune{r})) })
			} else {
				parts = slow(s, Single, Multi, func(r rune) int {
					if strings.ContainsRune("\f^{}\\[~]|€", r) {
						return 2
					}
					return 1
				})
			}
			if n != len(parts) {
				t.Errorf("%q needs %d segments, not %d", s, len(parts), n)
			}
		}
		before, _ := Segments(s)
		if after, _ := Segments(plain); after > before && !strings.Contains(s, "…") {
			t.Errorf("Normalize makes %q longer: %d, then %d", s, before, after)
		}
	})
}
