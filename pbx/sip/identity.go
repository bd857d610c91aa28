package sip

import (
	"encoding/base64"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tidwall/gjson"

	"textback/pbx/number"
)

// invite is what an INVITE says about who calls whom.
type invite struct {
	line        string // user part that was dialled
	caller      string // the caller's number
	name        string
	withheld    bool
	attestation string
	target      sip.Uri // the request URI
}

// parties reads an INVITE with sipgo. Where sipgo refuses the message, the
// scan's raw values serve: a strict parser must not cost a call.
func (m *message) parties(payload []byte, trusted bool) invite {
	var inv invite
	var from, to person
	msg, err := sip.ParseMessage(payload)
	if req, ok := msg.(*sip.Request); ok && err == nil && req.From() != nil && req.To() != nil {
		inv.target = req.Recipient
		from = personOf(&req.From().Address, req.From().DisplayName)
		to = personOf(&req.To().Address, req.To().DisplayName)
	} else {
		inv.target = uriOf(m.uri)
		from, to = address(m.from), address(m.to)
	}
	inv.line = userOf(&inv.target)
	if !digits(inv.line) {
		// A registered trunk is called by its account's name; the number stands elsewhere.
		if p := address(m.called); m.called != "" && digits(p.user) {
			inv.line = p.user
		} else if digits(to.user) {
			inv.line = to.user
		}
	}
	if inv.line == "" {
		inv.line = to.user
	}
	inv.caller, inv.name = from.user, from.name
	// From can say anything; what the carrier asserts comes first (RFC 3325, 9.1).
	said := from
	if trusted {
		for _, v := range []string{m.asserted, m.remote} {
			if one, _ := cutValue(v); one != "" {
				if p := address(one); p.user != "" && !number.Withheld(p.user) {
					inv.caller, said = p.user, p
					if p.name != "" {
						inv.name = p.name
					}
					break
				}
			}
		}
	}
	inv.withheld = number.Withheld(from.user) || from.host == "anonymous.invalid" || number.Withheld(from.name) && from.user == "" ||
		hasToken(m.privacy, "id") || hasToken(m.privacy, "user") || strings.EqualFold(param(afterAddress(m.remote), "privacy"), "full")
	inv.attestation = m.attestation(said)
	return inv
}

// hasToken looks for a value in a list separated by ';' (RFC 3323, 4.2).
func hasToken(list, token string) bool {
	for list != "" {
		var one string
		one, list, _ = strings.Cut(list, ";")
		if strings.EqualFold(strings.TrimSpace(one), token) {
			return true
		}
	}
	return false
}

// person is one name-addr.
type person struct {
	user, host, name string
	verstat          string
}

// address reads a header value such as `"Sarah" <sip:+12025550143@x;user=phone>;tag=1`.
func address(v string) person {
	if v == "" {
		return person{}
	}
	var u sip.Uri
	params := sip.NewParams()
	if name, err := sip.ParseAddressValue(v, &u, &params); err == nil {
		return personOf(&u, name)
	}
	// What stands between the brackets, or before the parameters.
	uri, name := v, ""
	if i := strings.IndexByte(v, '<'); i >= 0 {
		name, uri = strings.Trim(strings.TrimSpace(v[:i]), `"`), v[i+1:]
		if j := strings.IndexByte(uri, '>'); j >= 0 {
			uri = uri[:j]
		}
	}
	u = uriOf(uri)
	return personOf(&u, name)
}

func personOf(u *sip.Uri, name string) person {
	p := person{user: userOf(u), host: u.Host, name: strings.TrimSpace(name)}
	if v, ok := u.UriParams.Get("verstat"); ok {
		p.verstat = v
	}
	// RFC 3966 parameters ride in the user part: "+12025550143;verstat=...".
	if p.verstat == "" {
		p.verstat = param(u.User+u.Raw(), "verstat")
	}
	return p
}

// uriOf reads a URI, by hand where sipgo refuses it.
func uriOf(s string) sip.Uri {
	var u sip.Uri
	if sip.ParseUri(s, &u) == nil {
		return u
	}
	u = sip.Uri{}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		s = s[i+1:]
	}
	user, host, ok := strings.Cut(s, "@")
	if !ok {
		user, host = "", s
	}
	if i := strings.IndexAny(host, ";?:"); i >= 0 {
		host = host[:i]
	}
	u.User, u.Host = user, host
	return u
}

// userOf is the user part without parameters and visual separators: a number
// where it is one.
func userOf(u *sip.Uri) string {
	user := u.User
	if user == "" {
		user = u.Raw() // tel:
	}
	if i := strings.IndexByte(user, ';'); i >= 0 {
		user = user[:i]
	}
	if !strings.ContainsAny(user, "-.()") {
		return user
	}
	bare := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()", r) {
			return -1
		}
		return r
	}, user)
	if digits(bare) {
		return bare
	}
	return user
}

// digits tells whether s is a number as it stands in a URI.
func digits(s string) bool {
	s = strings.TrimPrefix(s, "+")
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && s[i] != '*' && s[i] != '#' {
			return false
		}
	}
	return true
}

// attestation is the STIR/SHAKEN verdict on the caller's number: what the
// carrier that verified it says ("A", "B", "C", "failed"), in an indicator
// header or as verstat (ATIS-1000074, 3GPP TS 24.229); else the level that an
// Identity header claims (RFC 8588), unless verstat says that it is not so.
func (m *message) attestation(said person) string {
	verstat := said.verstat
	if strings.Contains(strings.ToLower(verstat), "failed") {
		return "failed"
	}
	if a := strings.ToUpper(strings.TrimSpace(m.attested)); a == "A" || a == "B" || a == "C" {
		return a
	}
	if strings.HasPrefix(strings.ToLower(verstat), "tn-validation-passed-") {
		if a := strings.ToUpper(verstat[len("tn-validation-passed-"):]); a == "A" || a == "B" || a == "C" {
			return a
		}
	}
	if strings.EqualFold(verstat, "No-TN-Validation") {
		return ""
	}
	token, _, _ := strings.Cut(m.identity, ";")
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return ""
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return ""
	}
	switch a := gjson.GetBytes(claims, "attest").Str; a {
	case "A", "B", "C":
		return a
	}
	return ""
}
