// Package number is in charge of what a PBX shows as a caller or line number:
// it makes E.164 of what is one and says what the rest is (withheld, internal,
// junk). It never guesses: a number that is not valid in its region's numbering
// plan is no number.
package number

import (
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Kind sorts what was shown.
type Kind string

const (
	External  Kind = "external"  // a valid public number; E164 is set
	Internal  Kind = "internal"  // two to six digits: an extension, a short code, a service number
	Anonymous Kind = "anonymous" // withheld or not sent
	Junk      Kind = "junk"      // anything else
)

// Number is what was shown and what it means.
type Number struct {
	Kind   Kind
	E164   string // "+12025550143", only when Kind is External
	Region string // ISO 3166-1 alpha-2 region of the number, only when Kind is External
}

// maxRaw bounds what is given to the parser: E.164 has 15 digits, and caller
// IDs come from strangers.
const maxRaw = 40

// withheld are the words that stand where a number should when it is withheld.
// The first four are user parts of RFC 3323 and RFC 3325 practice; the others
// are what PBXs and carriers write.
var withheld = map[string]bool{
	"anonymous": true, "unavailable": true, "restricted": true, "unknown": true,
	"private": true, "withheld": true, "blocked": true, "nocallerid": true, "noid": true,
	"privatenumber": true, "unknownnumber": true, "unknowncaller": true, "anonymouscaller": true, "asterisk": true,
	"<unknown>": true, "id_unavailable": true, "outofarea": true, "null": true,
}

var unspaced = strings.NewReplacer(" ", "", "-", "", ".", "")

// Withheld reports whether s is a word that stands for a withheld number.
func Withheld(s string) bool {
	if len(s) > 64 || s != "" && (s[0] == '+' || s[0] >= '1' && s[0] <= '9') {
		return false // a number, as most are
	}
	return withheld[strings.ToLower(unspaced.Replace(strings.TrimSpace(s)))]
}

// Region tells whether s is a region (two letters of ISO 3166, in either case) with a numbering plan.
func Region(s string) bool {
	return len(s) == 2 && phonenumbers.GetCountryCodeForRegion(strings.ToUpper(s)) != 0
}

// Parse reads raw as dialled in region (ISO 3166-1 alpha-2, such as "US").
func Parse(raw, region string) Number {
	s := strings.TrimSpace(raw)
	if s == "" || Withheld(s) {
		return Number{Kind: Anonymous}
	}
	if i := strings.IndexByte(s, '@'); i >= 0 {
		s = s[:i]
		if Withheld(s) {
			return Number{Kind: Anonymous}
		}
	}
	if len(s) > maxRaw {
		return Number{Kind: Junk}
	}
	digits := 0
	for i, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r == '+' && i == 0, r == ' ', r == '-', r == '.', r == '(', r == ')', r == '/':
		default:
			return Number{Kind: Junk}
		}
	}
	switch {
	case digits == 0:
		return Number{Kind: Junk}
	case digits <= 6 && s[0] != '+':
		return Number{Kind: Internal}
	}
	if n, ok := valid(s, region); ok {
		return n
	}
	// Carriers also send E.164 without its plus sign: 4930901820 in Germany. Taken
	// only for the region's own country code: with others the digits could as well
	// be a local number, and a guess would text a stranger.
	if cc := phonenumbers.GetCountryCodeForRegion(region); cc != 0 && strings.HasPrefix(s, strconv.Itoa(cc)) {
		if n, ok := valid("+"+s, region); ok {
			return n
		}
	}
	return Number{Kind: Junk}
}

func valid(s, region string) (Number, bool) {
	p, err := phonenumbers.Parse(s, region)
	if err != nil || !phonenumbers.IsValidNumber(p) {
		return Number{}, false
	}
	return Number{Kind: External, E164: phonenumbers.Format(p, phonenumbers.E164), Region: phonenumbers.GetRegionCodeForNumber(p)}, true
}

// Mask hides the middle of a phone number: "+12025550143" becomes "+12*******43".
// Senders that are names or short codes stay as they are.
func Mask(s string) string {
	digits := 0
	for _, r := range s {
		if r >= '0' && r <= '9' {
			digits++
		}
	}
	if digits < 7 {
		return s
	}
	b, seen := []byte(s), 0
	for i, c := range b {
		if c >= '0' && c <= '9' {
			if seen >= 2 && seen < digits-2 {
				b[i] = '*'
			}
			seen++
		}
	}
	return string(b)
}
