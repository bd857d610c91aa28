package sip

import (
	"strconv"
	"strings"
	"unsafe"
)

// message is what a tolerant scan finds in one SIP message: the keys of dialog
// and transaction, and the raw values of the headers that say something about a
// call. Its strings share the payload's memory. The scan forgives what strict
// parsers do not: bare LF, leading blank lines, a start line without a phrase,
// odd spacing, headers that cannot be parsed, a missing body.
type message struct {
	method string // of a request; empty in a response
	status int    // of a response
	uri    string // request URI

	callID     string
	from, to   string // whole header values, and their tags
	fromTag    string
	toTag      string
	cseq       uint32
	cseqMethod string
	branch     string // of the top Via
	under      string // branch of the Via below it: the hop that a proxy sends on
	contact    string
	reason     []string // RFC 3326; there may be several lines

	asserted   string // P-Asserted-Identity, the first
	remote     string // Remote-Party-ID, the calling party's
	called     string // P-Called-Party-ID
	privacy    string
	diversion  string
	history    string
	identity   string // RFC 8224
	attested   string // P-Attestation-Indicator and its kin
	replaces   string
	referTo    string
	sessionID  string // RFC 7989
	icid       string // P-Charging-Vector
	origCallID string // what B2BUAs call the other leg's Call-ID
	agent      string // User-Agent or Server
	routed     bool   // Record-Route: a proxy stays on the way
	expires    int    // Session-Expires in seconds (RFC 4028); 0: none

	body string
}

// Names of the headers that matter, long and compact (RFC 3261, 7.3.3).
type headerID uint8

const (
	hNone headerID = iota
	hVia
	hFrom
	hTo
	hCallID
	hCSeq
	hContact
	hReason
	hAsserted
	hRemote
	hCalled
	hPrivacy
	hDiversion
	hHistory
	hIdentity
	hAttested
	hReplaces
	hReferTo
	hSessionID
	hCharging
	hOrigCallID
	hAgent
	hRecordRoute
	hExpires
)

var headerNames = map[string]headerID{
	"via": hVia, "v": hVia, "from": hFrom, "f": hFrom, "to": hTo, "t": hTo, "call-id": hCallID, "i": hCallID,
	"cseq": hCSeq, "contact": hContact, "m": hContact, "reason": hReason,
	"p-asserted-identity": hAsserted, "remote-party-id": hRemote, "p-called-party-id": hCalled, "privacy": hPrivacy,
	"diversion": hDiversion, "history-info": hHistory, "identity": hIdentity, "y": hIdentity,
	"p-attestation-indicator": hAttested, "x-attestation-indicator": hAttested, "p-attestation-level": hAttested,
	"replaces": hReplaces, "refer-to": hReferTo, "r": hReferTo, "session-id": hSessionID, "p-charging-vector": hCharging,
	"x-cid": hOrigCallID, "x-call-id": hOrigCallID, "x-original-call-id": hOrigCallID, "x-orig-call-id": hOrigCallID, "x-callid": hOrigCallID,
	"user-agent": hAgent, "server": hAgent, "record-route": hRecordRoute, "session-expires": hExpires, "x": hExpires,
}

// calls tells whether a method can belong to a call. Registrations, options
// pings, subscriptions and messages, most of what an office's wire carries, can not.
func callMethod(m string) bool {
	switch m {
	case "INVITE", "ACK", "BYE", "CANCEL", "REFER", "UPDATE":
		return true
	}
	return false
}

// scan reads a message. ok is false for what is no SIP, or no part of a call.
func scan(payload []byte, m *message) (ok bool) {
	reason := m.reason[:0]
	*m = message{reason: reason}
	s := unsafe.String(unsafe.SliceData(payload), len(payload))
	for len(s) > 0 && (s[0] == '\r' || s[0] == '\n') {
		s = s[1:]
	}
	line, s := cutLine(s)
	if !m.startLine(line) {
		return false
	}
	var lower [32]byte
	for s != "" {
		line, s = cutLine(s)
		if line == "" {
			m.body = s
			break
		}
		// A folded line goes on with blank space (RFC 3261, 7.3.1).
		for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
			more, rest := cutLine(s)
			line, s = line+" "+strings.TrimLeft(more, " \t"), rest
		}
		colon := strings.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		name := strings.TrimRight(line[:colon], " \t")
		if len(name) > len(lower) {
			continue
		}
		for i := 0; i < len(name); i++ {
			c := name[i]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower[i] = c
		}
		id := headerNames[string(lower[:len(name)])]
		if id == hNone {
			continue
		}
		if !m.header(id, strings.Trim(line[colon+1:], " \t")) {
			return false
		}
	}
	if m.method == "" && !callMethod(m.cseqMethod) {
		return false
	}
	return m.callID != ""
}

// cutLine splits off the first line, ended by CRLF or by a bare LF.
func cutLine(s string) (line, rest string) {
	i := strings.IndexByte(s, '\n')
	if i < 0 {
		return strings.TrimSuffix(s, "\r"), ""
	}
	line, rest = s[:i], s[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest
}

func (m *message) startLine(line string) bool {
	if len(line) > 8 && strings.EqualFold(line[:8], "SIP/2.0 ") {
		code := strings.TrimLeft(line[8:], " ")
		if len(code) < 3 || len(code) > 3 && code[3] != ' ' {
			return false
		}
		n, err := strconv.Atoi(code[:3])
		m.status = n
		return err == nil && n >= 100 && n <= 699
	}
	sp := strings.IndexByte(line, ' ')
	if sp <= 0 {
		return false
	}
	m.method = line[:sp]
	if !callMethod(m.method) {
		return false
	}
	rest := strings.Trim(line[sp:], " ")
	end := strings.LastIndexByte(rest, ' ')
	if end <= 0 || !strings.EqualFold(rest[end+1:], "SIP/2.0") {
		return false
	}
	m.uri = strings.TrimRight(rest[:end], " ")
	return true
}

// header takes over one header's value. It is false when the message turns out
// not to belong to a call.
func (m *message) header(id headerID, v string) bool {
	first := func(to *string) {
		if *to == "" {
			*to = v
		}
	}
	switch id {
	case hVia:
		// Several may stand in one line, and each in a line of its own.
		for v != "" && m.under == "" {
			var one string
			one, v = cutValue(v)
			if b := param(one, "branch"); b != "" {
				if m.branch == "" {
					m.branch = b
				} else {
					m.under = b
				}
			}
		}
	case hFrom:
		if m.from == "" {
			m.from, m.fromTag = v, tag(v)
		}
	case hTo:
		if m.to == "" {
			m.to, m.toTag = v, tag(v)
		}
	case hCallID:
		first(&m.callID)
	case hCSeq:
		f := strings.Fields(v)
		if len(f) < 2 {
			return true
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return true
		}
		m.cseq, m.cseqMethod = uint32(n), f[1]
		return callMethod(m.cseqMethod)
	case hContact:
		first(&m.contact)
	case hReason:
		m.reason = append(m.reason, v)
	case hAsserted:
		first(&m.asserted)
	case hRemote:
		if p := param(v, "party"); m.remote == "" && (p == "" || strings.EqualFold(p, "calling")) {
			m.remote = v
		}
	case hCalled:
		first(&m.called)
	case hPrivacy:
		first(&m.privacy)
	case hDiversion:
		first(&m.diversion)
	case hHistory:
		first(&m.history)
	case hIdentity:
		first(&m.identity)
	case hAttested:
		first(&m.attested)
	case hReplaces:
		first(&m.replaces)
	case hReferTo:
		first(&m.referTo)
	case hSessionID:
		first(&m.sessionID)
	case hCharging:
		if m.icid == "" {
			m.icid = strings.Trim(param(v, "icid-value"), `"`)
		}
	case hOrigCallID:
		first(&m.origCallID)
	case hAgent:
		first(&m.agent)
	case hRecordRoute:
		m.routed = true
	case hExpires:
		v, _, _ = strings.Cut(v, ";")
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && n >= 90 && n <= 7*24*3600 {
			m.expires = n // RFC 4028, 4: 90 s is the least
		}
	}
	return true
}

// cutValue splits a list of header values at its first comma that stands
// neither in quotes nor between angle brackets.
func cutValue(v string) (one, rest string) {
	quoted, angled := false, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angled = true
		case c == '>':
			angled = false
		case c == ',' && !angled:
			return strings.TrimRight(v[:i], " \t"), strings.TrimLeft(v[i+1:], " \t")
		}
	}
	return v, ""
}

// afterAddress is what follows a name-addr or addr-spec: its header parameters.
// Without angle brackets every parameter is the header's (RFC 3261, 20.10).
func afterAddress(v string) string {
	quoted := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			if end := strings.IndexByte(v[i:], '>'); end >= 0 {
				return v[i+end+1:]
			}
			return ""
		}
	}
	if i := strings.IndexByte(v, ';'); i >= 0 {
		return v[i:]
	}
	return ""
}

// tag is the tag parameter of a From or To value, whatever its case and spacing.
func tag(v string) string { return param(afterAddress(v), "tag") }

// param is the value of a ;name=value parameter, without regard to case and
// blanks. Values keep their quotes.
func param(s, name string) string {
	for {
		i := strings.IndexByte(s, ';')
		if i < 0 {
			return ""
		}
		s = strings.TrimLeft(s[i+1:], " \t")
		if len(s) < len(name) || !strings.EqualFold(s[:len(name)], name) {
			continue
		}
		v := strings.TrimLeft(s[len(name):], " \t")
		if v == "" || v[0] != '=' {
			continue
		}
		v = strings.TrimLeft(v[1:], " \t")
		end := len(v)
		if v != "" && v[0] == '"' {
			if q := strings.IndexByte(v[1:], '"'); q >= 0 {
				return v[:q+2]
			}
		}
		for j := 0; j < len(v); j++ {
			if c := v[j]; c == ';' || c == ',' || c == ' ' || c == '\t' || c == '>' {
				end = j
				break
			}
		}
		return v[:end]
	}
}

// reasonCause is the cause that a message's Reason headers give for protocol
// "SIP" or "Q.850" (RFC 3326). ok is false when there is none.
func (m *message) reasonCause(protocol string) (cause int, ok bool) {
	for _, line := range m.reason {
		for line != "" {
			var one string
			one, line = cutValue(line)
			p, _, _ := strings.Cut(one, ";")
			if !strings.EqualFold(strings.TrimSpace(p), protocol) {
				continue
			}
			if n, err := strconv.Atoi(strings.Trim(param(one, "cause"), `"`)); err == nil {
				return n, true
			}
		}
	}
	return 0, false
}

// elsewhere tells whether a message says that somebody else took the call.
func (m *message) elsewhere() bool {
	if n, ok := m.reasonCause("SIP"); ok && n >= 200 && n < 300 {
		return true
	}
	n, ok := m.reasonCause("Q.850")
	return ok && n == 26
}

// origin is the o= line of an SDP body (RFC 8866, 5.2), which names a media
// session whoever passes it on.
func (m *message) origin() string {
	for s := m.body; s != ""; {
		var line string
		if line, s = cutLine(s); strings.HasPrefix(line, "o=") {
			return line
		}
	}
	return ""
}
