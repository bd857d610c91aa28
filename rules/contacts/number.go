package contacts

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"textback/pbx/number"
)

// A plan reads numbers as they are dialled in one region.
type plan struct {
	region string
	code   string // its country code

	blocks *sync.Map // first six digits of the North American plan: whether there are such numbers
}

func planOf(region string) plan {
	p := plan{region: region, blocks: new(sync.Map)}
	if c := phonenumbers.GetCountryCodeForRegion(region); c > 0 {
		p.code = strconv.Itoa(c)
	}
	return p
}

// trunkZero are country codes whose national numbers begin with a 0 that is
// left out behind the code, and of which nothing else is left out.
var trunkZero = map[string]bool{"27": true, "31": true, "32": true, "33": true, "41": true, "43": true, "44": true, "46": true, "49": true, "61": true, "64": true, "353": true}

// noTrunk are country codes behind which the national number stands as it is.
var noTrunk = map[string]bool{"30": true, "34": true, "45": true, "47": true, "48": true, "351": true, "352": true, "420": true}

// e164 reads a number as people write it into address books, or says in why
// what is wrong with it. The common forms are read by hand, without asking
// whether the number exists: the library takes 30 µs to tell, and a number that
// does not exist is never looked up.
func (p plan) e164(s string, thorough bool) (e164, why string) {
	var buf [24]byte
	n, plus, odd := 0, false, ""
scan:
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			if n == len(buf) {
				return "", "it has too many digits"
			}
			buf[n] = c
			n++
		case c == '+' && n == 0 && !plus:
			plus = true
		case c == '(' && plus && strings.HasPrefix(s[i:], "(0)"):
			i += 2 // +49 (0)30: the 0 is for those who dial without the code
		case c == ' ' || c == '-' || c == '.' || c == '(' || c == ')' || c == '/' || c == '\t':
		case n >= 7 && (c == 'x' || c == 'X' || c == ';' || c == '#' || c == 'e' || c == 'E'):
			odd = s[i:]
			break scan
		case n == 0 && (c == '=' || c == '"' || c == '\''): // how spreadsheets are told not to reckon
		case c == '"' && i == len(s)-1:
		case c >= 0x80 || n > 0 && (c == ',' || c == 'e' || c == 'E'):
			return p.unusual(s, thorough)
		default:
			return "", "it is no phone number"
		}
	}
	d := buf[:n]
	if odd != "" && !extension.MatchString(odd) {
		if rounded.MatchString(strings.TrimSpace(s)) {
			return "", tooRound
		}
		return "", "it is no phone number"
	}
	switch {
	case n == 0:
		return "", "it has no digits"
	case plus && known(d):
		e164 = "+" + string(d)
	case plus:
	case p.code == "1" && n == 11 && d[0] == '1' && nanp(d[1:]):
		e164 = "+" + string(d)
	case p.code == "1" && n == 10 && nanp(d):
		e164 = "+1" + string(d)
	case n >= 9 && n <= 12 && d[0] == '0' && d[1] != '0' && trunkZero[p.code]:
		e164 = "+" + p.code + string(d[1:])
	}
	if e164 != "" && (!thorough || p.exists(e164)) {
		return e164, ""
	}
	raw := string(d)
	if plus {
		raw = "+" + raw
	}
	switch got := number.Parse(raw, p.region); {
	case got.Kind == number.External:
		return got.E164, ""
	case got.Kind == number.Internal:
		return "", "it is an extension or a short code, and callers from outside do not show those"
	case plus:
		return "", "no such number exists"
	}
	return "", "no such number exists in " + p.region + ": write it with its country code, such as +12125550100"
}

// exists tells of a number in E.164 that its plan has such numbers, in a small part of
// the time that number.Parse takes. False means no more than that it must be asked.
func (p plan) exists(e164 string) bool {
	if e164[1] == '1' {
		// The plan hands out blocks of ten thousand (47 CFR 52.20): the last four digits tell nothing.
		block := e164[:len(e164)-4]
		is, known := p.blocks.Load(block)
		if !known {
			is = number.Parse(e164, p.region).Kind == number.External
			p.blocks.Store(block, is)
		}
		return is.(bool)
	}
	digits, own := strings.CutPrefix(e164[1:], p.code)
	if !own || digits[0] == '0' {
		return false
	}
	national, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return false
	}
	code, err := strconv.ParseInt(p.code, 10, 32)
	if err != nil {
		return false
	}
	of := int32(code)
	return phonenumbers.IsValidNumberForRegion(&phonenumbers.PhoneNumber{CountryCode: &of, NationalNumber: &national}, p.region)
}

const tooRound = "a spreadsheet has rounded it: format the column as text and enter it again"

var (
	extension = regexp.MustCompile(`^(?i:;?ext?=?\.?|x|#) ?[0-9 ]{1,8}$`)
	rounded   = regexp.MustCompile(`^[0-9][.,][0-9]+[eE]\+?[0-9]+$`)
)

// unusual reads a number with characters beyond ASCII or a number that a
// spreadsheet has made something else of.
func (p plan) unusual(s string, thorough bool) (e164, why string) {
	if rounded.MatchString(strings.TrimSpace(s)) {
		return "", tooRound
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r < 0x80:
			return r
		case unicode.Is(unicode.Cf, r): // iPhones copy numbers with marks of direction around
			return -1
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r), r == 0x2212:
			return ' '
		case r >= 0xFF10 && r <= 0xFF19:
			return r - 0xFF10 + '0'
		case r == 0xFF0B:
			return '+'
		}
		return '?'
	}, s)
	if strings.ContainsAny(clean, "?,") {
		return "", "it is no phone number"
	}
	if clean == s {
		return "", "it is no phone number"
	}
	return p.e164(clean, thorough)
}

// nanp reports whether d can be a number of the North American plan.
func nanp(d []byte) bool { return len(d) == 10 && d[0] >= '2' && d[3] >= '2' }

// known reports whether d, which follows a plus sign, is in E.164 already.
func known(d []byte) bool {
	if len(d) < 9 || len(d) > 15 {
		return false
	}
	if d[0] == '1' {
		return nanp(d[1:])
	}
	return d[2] != '0' && (trunkZero[string(d[:2])] || noTrunk[string(d[:2])]) ||
		d[3] != '0' && (trunkZero[string(d[:3])] || noTrunk[string(d[:3])])
}
