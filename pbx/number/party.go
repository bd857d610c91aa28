package number

import (
	"regexp"
	"strings"
)

var (
	plusDigits = regexp.MustCompile(`^\+[0-9]{7,15}$`)
	bareDigits = regexp.MustCompile(`^[0-9]{8,15}$`)
	senderName = regexp.MustCompile(`^[\p{L}\p{N} +*#._-]{1,20}$`)
)

// Party is who a text is from or to, as a provider or a handset shows it: E.164
// where s is a number, with or without its plus, otherwise a short code or a name
// as it is, and empty for what is neither. Digits alone are read as an international
// number first, or, with local, as region's own first.
func Party(s, region string, local bool) string {
	s = strings.TrimSpace(s)
	if plusDigits.MatchString(s) {
		return s
	}
	here := Parse(s, region)
	if local && here.Kind == External {
		return here.E164
	}
	if digits := strings.TrimPrefix(s, "00"); bareDigits.MatchString(digits) {
		if n, ok := valid("+"+digits, region); ok {
			return n.E164
		}
	}
	if here.Kind == External {
		return here.E164
	}
	if senderName.MatchString(s) {
		return s
	}
	return ""
}
