package sip

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// crlf writes a message with the line ends of the wire.
func crlf(s string) []byte {
	return []byte(strings.ReplaceAll(strings.TrimLeft(s, "\n"), "\n", "\r\n"))
}

// Messages as other makers write them, and as RFC 4475 tortures parsers: what
// the scan must find in each, and whether sipgo reads it at all.
func TestScan(t *testing.T) {
	tests := []struct {
		name    string
		msg     []byte
		ok      bool
		want    message // the fields that are set are compared
		library bool
	}{
		{"plain INVITE", crlf(`
INVITE sip:5551000@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1
From: "Sarah" <sip:+12025550143@198.51.100.7>;tag=a1
To: <sip:5551000@192.0.2.1>
Call-ID: c1
CSeq: 7 INVITE
Max-Forwards: 70
Content-Length: 0

`), true, message{method: "INVITE", uri: "sip:5551000@192.0.2.1", callID: "c1", fromTag: "a1", cseq: 7, cseqMethod: "INVITE", branch: "z9hG4bK1"}, true},
		{"compact names, several Vias in a line", crlf(`
SIP/2.0 180 Ringing
v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2;rport=5060, SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1
f: sip:+12025550143@198.51.100.7;tag=a1
t: <sip:101@192.0.2.101>;tag=b2
i: c1
CSeq: 7 INVITE
l: 0

`), true, message{status: 180, callID: "c1", fromTag: "a1", toTag: "b2", branch: "z9hG4bK2", under: "z9hG4bK1"}, true},
		{"upper-case tag, blanks around it (RFC 4475, 3.1.1.1)", crlf(`
SIP/2.0 200 OK
VIA:   SIP/2.0/UDP 192.0.2.2;branch = z9hG4bK3
From : "J Rosenberg \\\"" <sip:jdrosen@example.com> ;  TAG = 98asjd8
TO : sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
Call-ID : 0ha0isndaksdj
cseq: 8   INVITE

`), true, message{status: 200, callID: "0ha0isndaksdj", fromTag: "98asjd8", toTag: "1918181833n", branch: "z9hG4bK3", cseq: 8, cseqMethod: "INVITE"}, false},
		{"folded lines", crlf(`
INVITE sip:1@x SIP/2.0
Via: SIP/2.0/UDP 192.0.2.2
 ;branch=z9hG4bK4
From: <sip:a@x>
	;tag=f
To: <sip:1@x>
Call-ID: c
CSeq:
  9
  INVITE

`), true, message{branch: "z9hG4bK4", fromTag: "f", cseq: 9, cseqMethod: "INVITE"}, true},
		{"no phrase", crlf(`
SIP/2.0 486
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
From: <sip:a@x>;tag=f
To: <sip:b@x>;tag=t
Call-ID: c
CSeq: 1 INVITE

`), true, message{status: 486, toTag: "t"}, false},
		{"bare line feeds", []byte("BYE sip:b@x SIP/2.0\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=f\nTo: <sip:b@x>;tag=t\nCall-ID: c\nCSeq: 2 BYE\n\n"), true,
			message{method: "BYE", callID: "c", fromTag: "f", toTag: "t"}, false},
		{"blank lines before", append([]byte("\r\n\r\n"), crlf("ACK sip:b@x SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=f\nTo: <sip:b@x>;tag=t\nCall-ID: c\nCSeq: 2 ACK\n\n")...), true,
			message{method: "ACK", toTag: "t"}, false},
		{"a header without a colon, one that is not UTF-8, a body that is cut", crlf("INVITE sip:b@x SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nnonsense\nX-\xff\xfe: \xff\nFrom: <sip:a@x>;tag=f\nTo: <sip:b@x>\nCall-ID: c\nCSeq: 2 INVITE\nContent-Length: 9000\n\nv=0\no=- 1 2 IN IP4 192.0.2.1\n"), true,
			message{callID: "c", fromTag: "f"}, false},
		{"a tag inside the address is not the header's", crlf(`
INVITE sip:b@x SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
From: "a;tag=quoted" <sip:a@x;tag=uri>;tag=mine
To: <sip:b@x;tag=uri>
Call-ID: c
CSeq: 2 INVITE

`), true, message{fromTag: "mine", toTag: ""}, true},
		{"Reason headers, SIP and Q.850, in one line and in two", crlf(`
CANCEL sip:b@x SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
From: <sip:a@x>;tag=f
To: <sip:b@x>
Call-ID: c
CSeq: 2 CANCEL
Reason: Q.850 ;cause=26 ;text="a;cause=5", SIP;cause=200;text="Call completed elsewhere"

`), true, message{method: "CANCEL"}, true},
		{"registration", crlf("REGISTER sip:x SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nCall-ID: c\nCSeq: 2 REGISTER\n\n"), false, message{}, false},
		{"answer to an options ping", crlf("SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nCall-ID: c\nCSeq: 2 OPTIONS\n\n"), false, message{}, false},
		{"no Call-ID", crlf("BYE sip:x SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nCSeq: 2 BYE\n\n"), false, message{}, false},
		{"another protocol", crlf("GET / HTTP/1.1\nHost: x\n\n"), false, message{}, false},
		{"another version", crlf("INVITE sip:x SIP/7.0\nCall-ID: c\nCSeq: 1 INVITE\n\n"), false, message{}, false},
		{"a status that is none", crlf("SIP/2.0 4294967301 better not break\nCall-ID: c\nCSeq: 1 INVITE\n\n"), false, message{}, false},
		{"empty", nil, false, message{}, false},
		{"keep-alive", []byte("\r\n\r\n"), false, message{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m message
			if ok := scan(tt.msg, &m); ok != tt.ok {
				t.Fatalf("scan says %v, want %v: %+v", ok, tt.ok, m)
			}
			if !tt.ok {
				return
			}
			for _, f := range []struct{ field, got, want string }{
				{"method", m.method, tt.want.method}, {"uri", m.uri, tt.want.uri}, {"Call-ID", m.callID, tt.want.callID}, {"From tag", m.fromTag, tt.want.fromTag},
				{"CSeq method", m.cseqMethod, tt.want.cseqMethod}, {"branch", m.branch, tt.want.branch}, {"second branch", m.under, tt.want.under},
			} {
				if f.want != "" && f.got != f.want {
					t.Errorf("%s is %q, want %q", f.field, f.got, f.want)
				}
			}
			if m.toTag != tt.want.toTag || m.status != tt.want.status || tt.want.cseq != 0 && m.cseq != tt.want.cseq {
				t.Errorf("To tag %q, status %d, CSeq %d; want %q %d %d", m.toTag, m.status, m.cseq, tt.want.toTag, tt.want.status, tt.want.cseq)
			}
			if m.method == "CANCEL" {
				if n, ok := m.reasonCause("Q.850"); n != 26 || !ok || !m.elsewhere() {
					t.Errorf("Q.850 cause %d %v, elsewhere %v", n, ok, m.elsewhere())
				}
			}
			// Where the library reads the message too, it finds the same.
			lib, err := sip.ParseMessage(tt.msg)
			if (err == nil) != tt.library && tt.library {
				t.Errorf("sipgo: %v", err)
			}
			if err != nil || !tt.library {
				return
			}
			tag, _ := lib.From().Params.Get("tag")
			if string(*lib.CallID()) != m.callID || tag != m.fromTag || lib.CSeq().SeqNo != m.cseq {
				t.Errorf("sipgo finds %s %s %d, the scan %s %s %d", *lib.CallID(), tag, lib.CSeq().SeqNo, m.callID, m.fromTag, m.cseq)
			}
		})
	}
}

// Who calls, in all the ways in which trunks say it.
func TestParties(t *testing.T) {
	const passport = "eyJhbGciOiJFUzI1NiJ9.eyJhdHRlc3QiOiJCIiwib3JpZyI6eyJ0biI6IjEyMDI1NTUwMTQzIn19.c2ln"
	tests := []struct {
		name, headers, uri                string
		line, caller, person, attestation string
		withheld                          bool
	}{
		{"From alone", "", "sip:5551000@x", "5551000", "+12025550143", "Sarah", "", false},
		{"asserted identity before From", "P-Asserted-Identity: \"S. Caller\" <sip:+12025550199@carrier;user=phone>", "sip:5551000@x", "5551000", "+12025550199", "S. Caller", "", false},
		{"asserted twice, sip and tel", "P-Asserted-Identity: <tel:+1-202-555-0177>, <sip:x@y>", "sip:5551000@x", "5551000", "+12025550177", "Sarah", "", false},
		{"Remote-Party-ID of the calling party", "Remote-Party-ID: <sip:9@x>;party=called\nRemote-Party-ID: <sip:+12025550178@x>;party=calling;privacy=off", "sip:5551000@x", "5551000", "+12025550178", "Sarah", "", false},
		{"Remote-Party-ID asks for privacy", "Remote-Party-ID: <sip:+12025550178@x>;party=calling;privacy=full", "sip:5551000@x", "5551000", "+12025550178", "Sarah", "", true},
		{"Privacy: id", "P-Asserted-Identity: <sip:+12025550199@carrier>\nPrivacy: id;critical", "sip:5551000@x", "5551000", "+12025550199", "Sarah", "", true},
		{"Privacy: none", "Privacy: none", "sip:5551000@x", "5551000", "+12025550143", "Sarah", "", false},
		{"tel: URI", "", "tel:+1-212-555-0100", "+12125550100", "+12025550143", "Sarah", "", false},
		{"parameters in the user part", "", "sip:+12125550100;npdi;rn=+1999@x;user=phone", "+12125550100", "+12025550143", "Sarah", "", false},
		{"registered trunk, number in To", "", "sip:account-17@x", "5551000", "+12025550143", "Sarah", "", false},
		{"registered trunk, P-Called-Party-ID", "P-Called-Party-ID: <sip:5552000@x>", "sip:account-17@x", "5552000", "+12025550143", "Sarah", "", false},
		{"verstat with a level", "P-Asserted-Identity: <sip:+12025550199;verstat=TN-Validation-Passed-A@carrier>", "sip:5551000@x", "5551000", "+12025550199", "Sarah", "A", false},
		{"verstat as URI parameter, failed", "P-Asserted-Identity: <sip:+12025550199@carrier;verstat=TN-Validation-Failed>\nIdentity: " + passport + ";info=<https://c>", "sip:5551000@x", "5551000", "+12025550199", "Sarah", "failed", false},
		{"Identity alone", "Identity: " + passport + ";info=<https://cert.example/c.pem>;alg=ES256;ppt=shaken", "sip:5551000@x", "5551000", "+12025550143", "Sarah", "B", false},
		{"Identity that nobody verified", "P-Asserted-Identity: <sip:+12025550199;verstat=No-TN-Validation@c>\nIdentity: " + passport, "sip:5551000@x", "5551000", "+12025550199", "Sarah", "", false},
		{"indicator", "P-Attestation-Indicator: C", "sip:5551000@x", "5551000", "+12025550143", "Sarah", "C", false},
		{"Identity that is none", "Identity: a.b.c", "sip:5551000@x", "5551000", "+12025550143", "Sarah", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := "INVITE " + tt.uri + " SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\nFrom: \"Sarah\" <sip:+12025550143@198.51.100.7>;tag=a1\nTo: <sip:5551000@192.0.2.1>\nCall-ID: c1\nCSeq: 7 INVITE\n"
			if tt.headers != "" {
				head += tt.headers + "\n"
			}
			// The second time sipgo refuses the message, and the raw values must do.
			for _, odd := range []string{"", "this line has no colon\n"} {
				b := crlf(head + odd + "\n")
				var m message
				if !scan(b, &m) {
					t.Fatal("no SIP")
				}
				if _, err := sip.ParseMessage(b); (err == nil) != (odd == "") {
					t.Fatalf("sipgo: %v", err)
				}
				got := m.parties(b, true)
				if got.line != tt.line || got.caller != tt.caller || got.name != tt.person || got.attestation != tt.attestation || got.withheld != tt.withheld {
					t.Errorf("odd %v: line %q caller %q name %q attestation %q withheld %v", odd != "", got.line, got.caller, got.name, got.attestation, got.withheld)
				}
			}
			var m message
			b := crlf(head + "\n")
			scan(b, &m)
			if got := m.parties(b, false); strings.Contains(tt.headers, "sip:+12025550199") && got.caller != "+12025550143" {
				t.Errorf("a phone asserted who it is: %q", got.caller)
			}
		})
	}
	for _, from := range []string{"\"Anonymous\" <sip:anonymous@anonymous.invalid>", "sip:anonymous@x", "<sip:restricted@x>", "<sip:unavailable@x>", "<sip:+12025550143@anonymous.invalid>"} {
		b := crlf("INVITE sip:1@x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: " + from + ";tag=a\nTo: <sip:1@x>\nCall-ID: c\nCSeq: 1 INVITE\n\n")
		var m message
		scan(b, &m)
		if !m.parties(b, true).withheld {
			t.Errorf("From: %s is not taken for withheld", from)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(crlf("INVITE sip:1@x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: \"a\" <sip:a@x>;tag=a\nTo: <sip:1@x>\nCall-ID: c\nCSeq: 1 INVITE\nReason: Q.850;cause=16\nIdentity: a.e30.c\nReplaces: c;to-tag=1;from-tag=2\nRefer-To: <sip:1@x?Replaces=c%3Bto-tag%3D1>\n\no=- 1 1\n"))
	f.Add(crlf("SIP/2.0 180 Ringing\nv: SIP/2.0/UDP x;branch=1,SIP/2.0/UDP y;branch=2\nf: a;tag=1\nt: b;tag=2\ni: c\nCSeq: 1 INVITE\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if !scan(b, &m) {
			return
		}
		m.parties(b, true)
		m.elsewhere()
		m.origin()
		dialogOf(m.replaces)
		address(m.referTo)
		if m.callID == "" || m.method == "" && (m.status < 100 || m.status > 699) {
			t.Errorf("%+v", m)
		}
	})
}
