package spool

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"textback/rules/gsm7"
	"textback/sms"
)

// smstoolsFile is a text as smsd reads it. The alphabet is named and the text
// written in it, so that smsd converts nothing: what it cannot convert it drops.
func smstoolsFile(m sms.Message, report bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "To: %s\n", strings.TrimPrefix(m.To, "+"))
	septets, ok := forSmsd(m.Body)
	if ok {
		b.WriteString("Alphabet: GSM\n")
	} else {
		b.WriteString("Alphabet: UCS2\n")
	}
	b.WriteString("Autosplit: 3\n")
	if report {
		b.WriteString("Report: yes\n")
	} else {
		b.WriteString("Report: no\n")
	}
	fmt.Fprintf(&b, "%s %s\n\n", idHeader, m.ID)
	if ok {
		b.Write(septets)
	} else {
		b.Write(gsm7.EncodeUCS2(nil, unbroken(m.Body)))
	}
	return b.Bytes()
}

// forSmsd is a text in septets; ok is false when GSM-7 cannot carry it, or when
// smsd, which counts septets, would cut an escape from what follows it: then UCS-2 is
// longer and right.
func forSmsd(body string) (septets []byte, ok bool) {
	if septets, ok = gsm7.Encode(nil, body); !ok || len(septets) <= 160 {
		return septets, ok
	}
	for i := 153; i < len(septets); i += 153 {
		if septets[i-1] == 0x1B {
			return nil, false
		}
	}
	return septets, true
}

// idHeader carries our id where smsd gives files names of its own; it passes over
// headers that it does not know.
const idHeader = "X-Textback:"

// perPart is how many UTF-16 units smsd puts into each part of a long text.
const perPart = 67

// unbroken has no character of two units where smsd would cut it in two: it
// counts units. A zero-width space stands before such a one.
func unbroken(s string) string {
	units := utf16.Encode([]rune(s))
	if len(units) <= 70 {
		return s
	}
	var out []uint16
	for _, u := range units {
		if u >= 0xD800 && u < 0xDC00 && len(out)%perPart == perPart-1 {
			out = append(out, 0x200B)
		}
		out = append(out, u)
	}
	return string(utf16.Decode(out))
}

// gammuFile is a text as a backup file, the one form in which gammu-smsd sends
// every character: text files are read in its locale's charset. The parts are ours.
func gammuFile(m sms.Message, report bool) (name string, content []byte) {
	now := time.Now().UTC()
	name = fmt.Sprintf("OUTC%s_00_%s_%s.smsbackup", now.Format("20060102_150405"), m.To, m.ID)
	parts, encoding := gsm7.Split(m.Body)
	pdu, coding := "Submit", "Unicode_No_Compression"
	if report {
		pdu = "Status_Report" // gammu's word for one that wants a report
	}
	if encoding == "GSM-7" {
		coding = "Default_No_Compression"
	}
	ref := byte(0)
	for _, c := range []byte(m.ID) {
		ref = ref*31 + c
	}
	var b bytes.Buffer
	for i, part := range parts {
		units := utf16.Encode([]rune(part))
		fmt.Fprintf(&b, "[SMSBackup%03d]\nPDU = %s\nDateTime = %s\nState = UnSent\nNumber = \"%s\"\nNumberUnicode = %s\n",
			i, pdu, now.Format("20060102T150405Z"), m.To, hexUnits(utf16.Encode([]rune(m.To))))
		if len(parts) > 1 {
			fmt.Fprintf(&b, "UDH = 050003%02X%02X%02X\n", ref, len(parts), i+1)
		}
		for j := 0; j*50 < len(units) || j == 0; j++ {
			fmt.Fprintf(&b, "Text%02d = %s\n", j, hexUnits(units[j*50:min(len(units), j*50+50)]))
		}
		fmt.Fprintf(&b, "Coding = %s\nFolder = 1\nLength = %d\nClass = -1\nReplySMSC = False\nRejectDuplicates = False\nReplaceMessage = 0\nMessageReference = 0\n\n", coding, len(units))
	}
	return name, b.Bytes()
}

func hexUnits(units []uint16) string {
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = append(b, byte(u>>8), byte(u))
	}
	return strings.ToUpper(hex.EncodeToString(b))
}
