package hep

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"textback/pbx/sip"
)

// messages are what a Kamailio's copies say, in order.
func messages(t *testing.T, file string) (out []sip.Packet) {
	r := Replay{Key: "s3cret"}
	for _, b := range datagrams(t, file) {
		p, err := r.SIP(b, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(out); n > 0 && p.At.Before(out[n-1].At) {
			t.Errorf("%s: %v after %v", file, p.At, out[n-1].At)
		}
		out = append(out, p)
	}
	return out
}

// The copies say what the wire said: each datagram of SIP was recorded beside them.
func TestCopiesAgainstTheWire(t *testing.T) {
	wire := map[string]int{}
	for _, b := range frameBytes(t, "testdata/s20_cancel_200_race.sip.pcap") {
		if len(b) < 42 || b[23] != 17 {
			continue
		}
		head := 14 + int(b[14]&15)*4
		addr := func(ip, port int) netip.AddrPort {
			a, _ := netip.AddrFromSlice(b[ip : ip+4])
			return netip.AddrPortFrom(a, uint16(b[port])<<8|uint16(b[port+1]))
		}
		wire[fmt.Sprintf("%v > %v %s", addr(26, head), addr(30, head+2), b[head+8:])]++
	}
	all := messages(t, "testdata/s20_cancel_200_race.hep.pcap")
	for _, p := range all {
		k := fmt.Sprintf("%v > %v %s", p.Src, p.Dst, p.Payload)
		if wire[k]--; wire[k] < 0 {
			t.Errorf("not on the wire: %.80s", k)
		}
		if p.Cut {
			t.Errorf("taken for cut: %.80s", k)
		}
	}
	if len(all) != 17 {
		t.Errorf("%d copies", len(all))
	}
	for k, n := range wire {
		if n > 0 {
			t.Errorf("no copy of %.80s", k)
		}
	}
}

// A call over TCP: the copies are whole messages, however they were segmented.
func TestCopiesOfTCP(t *testing.T) {
	all := messages(t, "testdata/s26_tcp_answered.hep.pcap")
	for _, p := range all {
		if p.Cut || !sip.Looks(p.Payload) || !p.Src.IsValid() || !p.Dst.IsValid() {
			t.Errorf("%v > %v: %.60q", p.Src, p.Dst, p.Payload)
		}
	}
	if len(all) != 13 {
		t.Errorf("%d copies", len(all))
	}
}
