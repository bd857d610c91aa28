package pcap

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"textback/pbx/sip"
	"textback/pbx/sip/hep"
	"textback/pbx/sip/wire"
)

// A file cut anywhere gives what came before, and says that it was cut unless the
// cut is between two packets.
func TestCutAnywhere(t *testing.T) {
	for name, b := range files(t) {
		whole, _, _ := read(bytes.NewReader(b))
		quiet, before := 0, 0
		for n := range b {
			got, counts, err := read(bytes.NewReader(b[:n]))
			if len(got) < before || len(got) > len(whole) || uint64(len(got)) != counts.SIP {
				t.Fatalf("%s cut at %d: %v after %d", name, n, got, before)
			}
			before = len(got)
			switch {
			case err == nil:
				quiet++
			case !strings.HasPrefix(err.Error(), "call.pcap: after packet "):
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
		// After the header, after each packet and after a second interface.
		if quiet > 4 || strings.Contains(name, "compressed") && quiet > 0 {
			t.Errorf("%s: %d cuts were not noticed", name, quiet)
		}
	}
}

// A disk that fails in the middle is told of as what it is.
func TestReadFails(t *testing.T) {
	broken := errors.New("input/output error")
	for name, b := range files(t) {
		r := io.MultiReader(bytes.NewReader(b[:len(b)-8]), iotest.ErrReader(broken))
		if _, _, err := read(r); err == nil || strings.Contains(name, "microseconds") && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _, err := read(iotest.OneByteReader(bytes.NewReader(b))); err != nil || len(got) != 2 {
			t.Errorf("%s, byte by byte: %v %v", name, got, err)
		}
	}
}

// The messages of real captures, each whole, of TCP and in HEP too.
func TestMessagesOfRealCaptures(t *testing.T) {
	for name, want := range map[string]string{
		"s01_answered_callerbye.sip.pcap":  "INVITE SIP/2.0 INVITE SIP/2.0 SIP/2.0 SIP/2.0 SIP/2.0 ACK ACK BYE BYE SIP/2.0 SIP/2.0",
		"s26_tcp_answered.sip.pcap":        "INVITE SIP/2.0 SIP/2.0 SIP/2.0 ACK BYE SIP/2.0",
		"s17_ring_then_voicemail.hep.pcap": "INVITE SIP/2.0 INVITE SIP/2.0 SIP/2.0 INVITE CANCEL SIP/2.0 SIP/2.0 SIP/2.0 ACK ACK SIP/2.0 ACK BYE BYE SIP/2.0 SIP/2.0",
		"s07_decline603.trunk.pcap":        "INVITE SIP/2.0 SIP/2.0 SIP/2.0 ACK",
	} {
		f, err := os.Open("../../../testdata/captures/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		_, err = Read(f, name, wire.Options{
			Handle: func(p *sip.Packet) { w, _, _ := strings.Cut(string(p.Payload), " "); got = append(got, w) },
			HEP:    func(b []byte, at time.Time) (sip.Packet, error) { return hep.SIP(b, "s3cret", at) },
		})
		f.Close()
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v %v", name, strings.Join(got, " "), err)
		}
	}
}
