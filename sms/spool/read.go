package spool

import (
	"bytes"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"textback/pbx/number"
	"textback/rules/gsm7"
	"textback/sms"
)

// A received file is one text or report, as far as it can be read.
type received struct {
	inbound *sms.Inbound
	report  *statusReport
}

// A statusReport is the network's word on a text that was sent.
type statusReport struct {
	ref, from, status string
	at                time.Time
}

var errNotText = errors.New("it holds no text that can be read")

// header reads the lines above the first empty one. smsd's values are ASCII.
func header(b []byte) (h map[string]string, body []byte) {
	h = map[string]string{}
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 {
			return h, b
		}
		if k, v, ok := strings.Cut(string(line), ":"); ok && h[k] == "" {
			h[k] = strings.TrimSpace(v)
		}
	}
	return h, nil
}

// readSmstools reads a file of smsd's incoming or report directory.
func readSmstools(b []byte, opt *Options) (received, error) {
	h, body := header(b)
	if h["From"] == "" {
		return received{}, errors.New("it has no From: line")
	}
	if h["Error"] != "" {
		return received{}, errors.New("smsd could not read the text")
	}
	from := sender(h["From"], h["From_TOA"], opt.Region)
	at := stamp(h["Sent"])
	if rest, ok := bytes.CutPrefix(body, []byte("SMS STATUS REPORT")); ok {
		rh, _ := header(bytes.TrimLeft(rest, "\r\n"))
		return received{report: &statusReport{ref: rh["Message_id"], from: from, status: rh["Status"], at: stamp(rh["Discharge_timestamp"])}}, nil
	}
	m := sms.Inbound{From: from, To: opt.Number, At: at}
	switch alphabet := strings.ToLower(h["Alphabet"] + "   ")[:3]; alphabet {
	case "ucs", "chi", "uni":
		m.Body = gsm7.DecodeUCS2(body)
	case "utf":
		m.Body = strings.ToValidUTF8(string(body), "\uFFFD")
	case "gsm":
		m.Body = gsm7.Decode(body)
	case "bin":
		m.Media = 1
	default:
		// "ISO" is written in UTF-8 with incoming_utf8.
		if utf8.Valid(body) {
			m.Body = string(body)
		} else {
			m.Body, _ = charmap.ISO8859_15.NewDecoder().String(string(body))
		}
	}
	return received{inbound: &m}, nil
}

// sender is who a text is from. smsd leaves the plus sign out.
func sender(from, toa, region string) string {
	if strings.Trim(from, "0123456789") != "" || strings.Contains(toa, "alpha") {
		return from
	}
	if strings.Contains(toa, "international") || toa == "" && len(from) >= 10 {
		return "+" + from
	}
	if n := number.Parse(from, region); n.Kind == number.External {
		return n.E164
	}
	return from
}

// stamp reads smsd's times, which are the network's local ones without a zone:
// good for the day, so one that is not within a day of now is not said.
func stamp(s string) time.Time {
	t, err := time.ParseInLocation("06-01-02 15:04:05", s, time.Local)
	if err != nil {
		return time.Time{}
	}
	return t
}

// status sorts TP-Status (TS 23.040, 9.2.3.15), which smsd writes as
// "0,Ok,short message received by the SME".
func (r *statusReport) delivery() (sms.Delivery, sms.Class, string, bool) {
	code, _, _ := strings.Cut(r.status, ",")
	n, err := strconv.Atoi(strings.TrimSpace(code))
	if err != nil || n < 0 || n > 255 {
		return "", "", "", false
	}
	switch {
	case n < 0x20:
		return sms.Delivered, "", code, true
	case n < 0x40:
		return sms.EnRoute, "", code, true
	}
	class := sms.Rejected
	switch n {
	case 0x41, 0x45: // incompatible destination, no interworking
		class = sms.NotMobile
	case 0x43: // not obtainable
		class = sms.Invalid
	case 0x46: // validity expired
		class = sms.Transient
	default:
		if n >= 0x60 && n < 0x80 {
			class = sms.Transient
		}
	}
	return sms.Undelivered, class, code, true
}

// causes are +CMS ERROR codes that say more than "refused" (TS 24.011, E.2; TS 27.005, 3.2.5).
var causes = map[int]sms.Class{
	1: sms.Invalid, 28: sms.Invalid, // unassigned, unidentified
	8: sms.Rejected, 10: sms.Misconfigured, 21: sms.Rejected, 29: sms.Misconfigured, 50: sms.Misconfigured, 69: sms.Misconfigured,
	27: sms.Transient, 30: sms.Misconfigured, 38: sms.Transient, 41: sms.Transient, 42: sms.Throttled, 47: sms.Transient,
	193: sms.Misconfigured, // no SMSC subscription
	310: sms.Misconfigured, 311: sms.Unauthorized, 312: sms.Unauthorized, 313: sms.Misconfigured, 316: sms.Unauthorized,
	330: sms.Misconfigured, 331: sms.Transient, 332: sms.Transient,
}

var cmsError = regexp.MustCompile(`CM[SE] ERROR: *(\d+)`)

// failure sorts why smsd gave a text up.
func failure(h map[string]string) (class sms.Class, code string) {
	m := cmsError.FindStringSubmatch(h["Fail_reason"])
	if m == nil {
		return sms.Rejected, ""
	}
	n, _ := strconv.Atoi(m[1])
	if class = causes[n]; class == "" {
		class = sms.Rejected
	}
	return class, m[1]
}

// ofGammu are the names of gammu-smsd's files: what the files of one text share, and the
// part.
var ofGammu = regexp.MustCompile(`^IN(\d{8}_\d{6}_\d+_(.*))_(\d+)\.(txt|bin|smsbackup)$`)

// readGammu reads the files of one text, in order. Each is a backup file, which
// may hold several parts, or the text alone.
func readGammu(name string, files [][]byte, opt *Options) (received, error) {
	m := sms.Inbound{To: opt.Number}
	match := ofGammu.FindStringSubmatch(name)
	if match == nil {
		return received{}, errNotText
	}
	m.From = match[2]
	m.At, _ = time.ParseInLocation("20060102_150405", match[1][:15], time.Local)
	for _, b := range files {
		switch {
		case match[4] == "bin":
			m.Media = 1
		case match[4] == "smsbackup", bytes.Contains(b[:min(len(b), 1000)], []byte("[SMSBackup000]")): // InboxFormat = detail
			text, from, report, err := backup(b)
			if err != nil {
				return received{}, err
			}
			if report {
				return received{}, nil // without a reference that would tell of which text
			}
			if m.Body += text; from != "" {
				m.From = from
			}
		default:
			m.Body += unicodeText(b)
		}
	}
	if strings.TrimLeft(m.From, "+0123456789") == "" && !strings.HasPrefix(m.From, "+") {
		m.From = sender(m.From, "national", opt.Region)
	}
	return received{inbound: &m}, nil
}

// unicodeText reads InboxFormat = unicode (UTF-16 with or without its mark) or
// standard (the locale's charset, which is UTF-8 nowadays).
func unicodeText(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}):
		return gsm7.DecodeUCS2(b[2:])
	case bytes.HasPrefix(b, []byte{0xFF, 0xFE}):
		return gsm7.DecodeUCS2(swapped(b[2:]))
	case len(b)%2 == 0 && bytes.IndexByte(b, 0) >= 0:
		return gsm7.DecodeUCS2(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

func swapped(b []byte) []byte {
	out := slices.Clone(b[:len(b)/2*2])
	for i := 0; i+1 < len(out); i += 2 {
		out[i], out[i+1] = out[i+1], out[i]
	}
	return out
}

// backup reads a backup file: its parts in their order, joined.
func backup(b []byte) (text, from string, report bool, err error) {
	type part struct {
		seq  int
		text []uint16
	}
	var parts []part
	var p *part
	var seen map[string]bool
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[SMSBackup") {
			parts = append(parts, part{seq: len(parts) + 1})
			p, seen = &parts[len(parts)-1], map[string]bool{}
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if !ok || p == nil || seen[key] {
			continue // gammu repeats a part's lines when it notes the network's reference
		}
		seen[key] = true
		switch {
		case key == "Number":
			from = strings.Trim(value, `"`)
		case key == "PDU":
			report = report || value == "Status_Report"
		case key == "UDH":
			if udh, err := hex.DecodeString(value); err == nil {
				if h, _, err := gsm7.ParseHeader(udh); err == nil && h != nil {
					p.seq = int(h.Seq)
				}
			}
		case strings.HasPrefix(key, "Text"):
			raw, err := hex.DecodeString(value)
			if err != nil {
				return "", "", false, errNotText
			}
			for i := 0; i+1 < len(raw); i += 2 {
				p.text = append(p.text, uint16(raw[i])<<8|uint16(raw[i+1]))
			}
		}
	}
	if len(parts) == 0 {
		return "", "", false, errNotText
	}
	slices.SortStableFunc(parts, func(a, b part) int { return a.seq - b.seq })
	var all []uint16
	for _, p := range parts {
		all = append(all, p.text...)
	}
	return string(utf16.Decode(all)), from, report, nil
}
