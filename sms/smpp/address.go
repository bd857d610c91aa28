package smpp

import (
	"hash/fnv"
	"strings"

	"textback/pbx/number"
	"textback/rules/gsm7"
	"textback/sms/smpp/pdu"
)

// Fields' lengths without the zero at the end (4.4.1), and of a name on the air
// (TS 23.040, 9.1.2.5).
const (
	maxAddress   = 20
	maxName      = 11
	maxShortCode = 8
)

// outgoing makes an address of what a Message has: a number in E.164, a short code or
// a name.
func outgoing(s string, overrule *Kind) (a pdu.Address, ok bool) {
	number, plus := strings.CutPrefix(s, "+")
	switch digits := allDigits(number); {
	case number == "" || len(number) > maxAddress:
		return a, false
	case digits && plus:
		a = pdu.Address{TON: pdu.International, NPI: pdu.E164, Digits: number}
	case digits && len(number) <= maxShortCode:
		a = pdu.Address{TON: pdu.NetworkSpecific, Digits: number}
	case digits:
		a = pdu.Address{NPI: pdu.E164, Digits: number}
	case plus || len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return a, false
	default:
		a = pdu.Address{TON: pdu.Alphanumeric, Digits: s}
	}
	if overrule != nil {
		a.TON, a.NPI = overrule.TON, overrule.NPI
	}
	return a, true
}

// incoming makes E.164 of an address where that is certain. SMSCs are careless
// with types, so a number that says nothing of its own is read as one of region, then as
// one with its country code, and stays as it came if it is neither. A name is UTF-8, or else
// Latin-1: what is no UTF-8 would be another name once it has been stored.
func incoming(a pdu.Address, region string) string {
	s, _ := gsm7.Text(gsm7.CodingASCII, []byte(strings.TrimSpace(a.Digits)))
	digits := strings.TrimPrefix(s, "+")
	if a.TON == pdu.Alphanumeric || !allDigits(digits) || digits == "" {
		return s
	}
	if a.TON == pdu.International && len(digits) > maxShortCode || s != digits {
		return "+" + digits
	}
	if n := number.Parse(s, region); n.Kind == number.External {
		return n.E164
	}
	if a.TON != pdu.National && a.TON != pdu.NetworkSpecific && len(digits) > 10 {
		if n := number.Parse("+"+s, region); n.Kind == number.External {
			return n.E164
		}
	}
	return s
}

func allDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// reference is what fits of an id into a user_message_reference.
func reference(id string) []byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	n := h.Sum32()
	n ^= n >> 16
	return []byte{byte(n >> 8), byte(n)}
}
