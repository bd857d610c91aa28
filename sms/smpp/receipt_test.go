package smpp

import (
	"strings"
	"testing"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
)

func TestReadReceipt(t *testing.T) {
	tlv := func(tag pdu.Tag, v string) pdu.TLV { return pdu.TLV{Tag: tag, Value: []byte(v)} }
	const usual = "id:0123456789 sub:001 dlvrd:001 submit date:2611251200 done date:2611251201 stat:DELIVRD err:000 text:Miller Dental: sorry"
	for _, c := range []struct {
		what     string
		text     string
		coding   byte
		tlvs     pdu.TLVs
		id       string
		delivery sms.Delivery
		class    sms.Class
		code     string
	}{
		{"as in Appendix B", usual, 0, nil, "0123456789", sms.Delivered, "", "DELIVRD"},
		{"parameters alone", "", 0, pdu.TLVs{tlv(pdu.ReceiptedMessageID, "abc\x00"), tlv(pdu.MessageState, "\x02")}, "abc", sms.Delivered, "", "DELIVRD"},
		{"parameters win", usual, 0, pdu.TLVs{tlv(pdu.ReceiptedMessageID, "abc"), tlv(pdu.MessageState, "\x05")}, "abc", sms.Undelivered, sms.Rejected, "UNDELIV"},
		{"an impossible state does not", usual, 0, pdu.TLVs{tlv(pdu.MessageState, "\x63")}, "0123456789", sms.Delivered, "", "DELIVRD"},
		{"UCS-2", string(gsm7.EncodeUCS2(nil, usual)), 8, nil, "0123456789", sms.Delivered, "", "DELIVRD"},
		{"UCS-2 that says it is not", string(gsm7.EncodeUCS2(nil, usual)), 0, nil, "0123456789", sms.Delivered, "", "DELIVRD"},
		{"small letters, blanks, no text", "ID: 77 Stat: undeliv Err: 045", 3, nil, "77", sms.Undelivered, sms.Rejected, "UNDELIV 045"},
		{"another order", "stat:EXPIRED id:77 err:0", 0, nil, "77", sms.Undelivered, sms.Transient, "EXPIRED"},
		{"our own words are not read", "id:77 stat:ACCEPTD text:id:88 stat:UNDELIV err:9", 0, nil, "77", sms.EnRoute, "", "ACCEPTD"},
		{"on its way", "id:77 stat:ENROUTE err:000", 0, nil, "77", sms.EnRoute, "", "ENROUTE"},
		{"nobody knows", "id:77 stat:UNKNOWN err:000", 0, nil, "77", sms.EnRoute, "", "UNKNOWN"},
		{"a word of its own", "id:77 stat:BUFFERED err:000", 0, nil, "77", sms.EnRoute, "", "BUFFERED"},
		{"refused", "id:77 stat:REJECTD err:0A1", 0, nil, "77", sms.Undelivered, sms.Rejected, "REJECTD 0A1"},
		{"no such subscriber", "id:77 stat:UNDELIV", 0, pdu.TLVs{tlv(pdu.NetworkErrorCode, "\x03\x00\x01")}, "77", sms.Undelivered, sms.Invalid, "UNDELIV 1"},
		{"no texts on this line", "id:77 stat:UNDELIV err:000", 0, pdu.TLVs{tlv(pdu.NetworkErrorCode, "\x03\x00\x0b")}, "77", sms.Undelivered, sms.NotMobile, "UNDELIV 11"},
		{"another network's code", "id:77 stat:UNDELIV err:000", 0, pdu.TLVs{tlv(pdu.NetworkErrorCode, "\x02\x00\x0b")}, "77", sms.Undelivered, sms.Rejected, "UNDELIV 11"},
		{"delivered, whatever the code", "id:77 stat:DELIVRD", 0, pdu.TLVs{tlv(pdu.NetworkErrorCode, "\x03\x00\x01")}, "77", sms.Delivered, "", "DELIVRD 1"},
		{"ids with characters that GSM-7 has elsewhere", "id:a_b$c@[x] stat:DELIVRD err:000 text:caf\x05 \x00", 0, nil, "a_b$c@[x]", sms.Delivered, "", "DELIVRD"},
		{"the same, in lines", "id:a_b$c\r\nstat:DELIVRD", 0, nil, "a_b$c", sms.Delivered, "", "DELIVRD"},
		{"no id", "stat:DELIVRD", 0, nil, "", sms.Delivered, "", "DELIVRD"},
		{"an id without end", "id:" + strings.Repeat("7", 65) + " stat:DELIVRD", 0, nil, "", sms.Delivered, "", "DELIVRD"},
	} {
		r, ok := readReceipt(pdu.Message{Coding: c.coding, TLVs: c.tlvs}, []byte(c.text))
		d, class := r.outcome()
		if !ok || r.id != c.id || d != c.delivery || class != c.class || r.words() != c.code {
			t.Errorf("%s: %+v %v: %s %s, want %s %s %s %q", c.what, r, ok, d, class, c.id, c.delivery, c.class, c.code)
		}
	}
	for _, text := range []string{"", "hello", "id: stat:", "text:id:1 stat:DELIVRD", strings.Repeat("x", 5000) + " id:1"} {
		if r, ok := readReceipt(pdu.Message{}, []byte(text)); ok {
			t.Errorf("%q is %+v", text, r)
		}
	}
}

// Receipts find their text though the SMSC writes ids in two ways, and once it is
// known which, ids from before a restart are turned too.
func TestIDForms(t *testing.T) {
	for _, c := range []struct {
		what            string
		form            IDForm
		given, receipt  string
		unknown, passed string // afterwards
	}{
		{"as they are", IDsLearned, "abc-1", "abc-1", "42", "42"},
		{"zeros in front", IDsLearned, "42", "0000000042", "0000000043", "0000000043"},
		{"capitals", IDsLearned, "00ABCDEF", "abcdef", "aa", "aa"},
		{"hexadecimal, then decimal", IDsLearned, "1A2B3C", "0001715004", "1715005", "1a2b3d"},
		{"decimal, then hexadecimal", IDsLearned, "1715004", "1A2B3C", "1A2B3D", "1715005"},
		{"configured, decimal", IDsDecimal, "1A2B3C", "1715004", "1715005", "1a2b3d"},
		{"configured, hexadecimal", IDsHex, "1715004", "1A2B3C", "1A2B3D", "1715005"},
		{"configured, the same", IDsSame, "16", "16", "10", "10"},
	} {
		b := book{form: c.form}
		b.taken(&sent{message: "job", parts: 1}, c.given)
		if r, ok := b.receipt(receipt{id: c.receipt, state: "DELIVRD"}); !ok || r.ProviderID != c.given || r.MessageID != "job" || r.Delivery != sms.Delivered {
			t.Errorf("%s: %+v", c.what, r)
		}
		if r, ok := b.receipt(receipt{id: c.unknown, state: "DELIVRD"}); !ok || r.ProviderID != c.passed || r.MessageID != "" {
			t.Errorf("%s: an unknown id becomes %+v", c.what, r)
		}
	}
	// Once ids are known to be the same, a number that looks like another's other form is not it.
	var b book
	b.taken(&sent{message: "job-1", parts: 1}, "16")
	b.taken(&sent{message: "job-2", parts: 1}, "20")
	b.receipt(receipt{id: "20", state: "DELIVRD"})
	if r, ok := b.receipt(receipt{id: "10", state: "UNDELIV"}); !ok || r.MessageID != "" {
		t.Errorf("%+v", r)
	}
}

// A text of three parts has arrived when all three have; one that is lost is a text that is lost.
func TestReceiptsOfParts(t *testing.T) {
	var b book
	text := &sent{message: "job", parts: 3}
	for _, id := range []string{"1", "2", "3"} {
		b.taken(text, id)
	}
	for i, c := range []struct {
		id, state string
		want      sms.Delivery
	}{
		{"2", "DELIVRD", sms.EnRoute},
		{"2", "DELIVRD", sms.EnRoute}, // offered again
		{"1", "ENROUTE", sms.EnRoute},
		{"1", "DELIVRD", sms.EnRoute},
		{"3", "UNDELIV", sms.Undelivered},
		{"3", "DELIVRD", sms.Delivered},
	} {
		if r, ok := b.receipt(receipt{id: c.id, state: c.state}); !ok || r.Delivery != c.want || r.ProviderID != "1" || r.MessageID != "job" {
			t.Errorf("%d: %+v, want %s", i, r, c.want)
		}
	}
	// Part 2 was refused: that part 1 is on a phone does not make it a text that was sent.
	half := &sent{message: "half", parts: 2}
	b.taken(half, "h1")
	for _, state := range []string{"ENROUTE", "DELIVRD"} {
		if r, ok := b.receipt(receipt{id: "h1", state: state}); ok {
			t.Errorf("%s of half a text: %+v", state, r)
		}
	}
	if r, ok := b.receipt(receipt{id: "h1", state: "UNDELIV"}); !ok || r.MessageID != "half" || r.Delivery != sms.Undelivered {
		t.Errorf("half a text did not arrive: %+v", r)
	}
	// Part 1 may arrive before part 2 is taken.
	slow := &sent{message: "slow", parts: 2}
	b.taken(slow, "s1")
	if r, ok := b.receipt(receipt{id: "s1", state: "DELIVRD"}); ok {
		t.Errorf("%+v", r)
	}
	b.taken(slow, "s2")
	if r, ok := b.receipt(receipt{id: "s2", state: "DELIVRD"}); !ok || r.MessageID != "slow" || r.Delivery != sms.Delivered {
		t.Errorf("%+v", r)
	}
	// The book is bounded.
	for i := range maxTexts + 10 {
		b.taken(&sent{parts: 1}, "x"+strings.Repeat("y", i%7)+string(rune('a'+i%26))+plainID(string(rune(0x4e00+i))))
	}
	if len(b.known) > maxTexts || len(b.order) > maxTexts {
		t.Errorf("%d texts are remembered", len(b.known))
	}
}

func FuzzReceiptText(f *testing.F) {
	f.Add("id:0123456789 sub:001 dlvrd:001 submit date:2611251200 done date:2611251201 stat:DELIVRD err:000 text:hi", byte(0))
	f.Add("id: 1 stat: expired", byte(3))
	f.Add("\x00i\x00d\x00:\x001", byte(8))
	f.Fuzz(func(t *testing.T, text string, coding byte) {
		r, ok := readReceipt(pdu.Message{Coding: coding}, []byte(text))
		if ok != (r.id != "" || r.state != "") || len(r.id) > 64 || len(r.state) > 200 || len(r.code) > 64 {
			t.Errorf("%q: %+v %v", text, r, ok)
		}
		for _, s := range []string{r.id, r.state, r.code} {
			if strings.ContainsAny(s, " \n\r\t") {
				t.Errorf("%q: %+v", text, r)
			}
		}
		var b book
		b.taken(&sent{message: "job", parts: 1}, "1a")
		out, ok := b.receipt(r)
		if !ok || out.Delivery == "" || out.Delivery == sms.Undelivered && out.Class == "" || out.Delivery != sms.Undelivered && out.Class != "" {
			t.Errorf("%q: %+v", text, out)
		}
	})
}
