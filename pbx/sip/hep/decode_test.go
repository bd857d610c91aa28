package hep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestIPv6OfOldVersions(t *testing.T) {
	for _, family := range []byte{10, 24, 28, 30} {
		for version := byte(1); version <= 2; version++ {
			b := []byte{version, 40, family, 6, 0x13, 0xc4, 0x13, 0xce}
			b = append(append(b, bytes.Repeat([]byte{0x20}, 16)...), bytes.Repeat([]byte{0x30}, 16)...)
			if version == 2 {
				b = binary.LittleEndian.AppendUint32(b, 1795432636)
				b = binary.LittleEndian.AppendUint32(b, 984000)
				b = binary.LittleEndian.AppendUint16(b, 2001)
				b = append(b, 0, 0) // the struct's padding
			}
			var p Packet
			if err := Decode(append(b, invite...), &p); err != nil {
				t.Fatal(err)
			}
			if p.Src.String() != "[2020:2020:2020:2020:2020:2020:2020:2020]:5060" || p.Dst.Port() != 5070 || string(p.Payload) != invite || p.Version != version {
				t.Errorf("%+v", p)
			}
			if version == 2 && (p.Time.UnixMilli() != 1795432636984 || p.Agent != 2001) {
				t.Errorf("%v %d", p.Time, p.Agent)
			}
		}
	}
}

// Every packet cut anywhere is an error, not a panic or a shorter message.
func TestEveryCut(t *testing.T) {
	b := whole(chunk(0, 14, []byte("s3cret")), chunk(0, 17, []byte("c1")), chunk(0, 15, []byte(invite)))
	for i := range b {
		var p Packet
		if err := Decode(b[:i], &p); err == nil {
			t.Errorf("%d of %d bytes: %+v", i, len(b), p)
		}
	}
}

func TestAddressesThatAreNotGiven(t *testing.T) {
	var p Packet
	if err := Decode(packet(chunk(0, 7, u16(5060)), chunk(0, 4, []byte{192, 0, 2, 1}), chunk(0, 15, []byte(invite))), &p); err != nil {
		t.Fatal(err)
	}
	if p.Src != (netip.AddrPort{}) || p.Dst.String() != "192.0.2.1:0" {
		t.Errorf("%v > %v", p.Src, p.Dst)
	}
}

func TestCut(t *testing.T) {
	body := func(length, n int, name string) string {
		return strings.Replace(invite, "CSeq", name+": "+strconv.Itoa(length)+"\r\nCSeq", 1) + strings.Repeat("v", n)
	}
	tests := []struct {
		name, msg string
		cut       bool
	}{
		{"no body", invite, false},
		{"whole body", body(12, 12, "Content-Length"), false},
		{"more than its body", body(12, 13, "Content-Length"), false},
		{"body cut", body(12, 11, "Content-Length"), true},
		{"body gone, which is how FreeSWITCH cuts", body(12, 0, "content-length "), true},
		{"compact form", body(12, 11, "l"), true},
		{"in the head", invite[:60], true},
		{"before the empty line", invite[:len(invite)-2], true},
		{"bare LF", strings.ReplaceAll(invite, "\r\n", "\n"), false},
		{"ping before it", "\r\n" + invite, false},
		{"a length that is none", strings.Replace(invite, "CSeq", "Content-Length: many\r\nCSeq", 1), false},
		{"long, and of FreeSWITCH's bound by chance", invite + strings.Repeat("a", 16_000-len(invite)), false},
	}
	for _, tt := range tests {
		p, err := SIP(whole(chunk(0, 15, []byte(tt.msg))), "", time.Now())
		if err != nil || p.Cut != tt.cut {
			t.Errorf("%s: %v, %v", tt.name, p.Cut, err)
		}
	}
}

func TestNothingToHandOn(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		err  error
	}{
		{"RTCP", packet(chunk(0, 11, []byte{5}), chunk(0, 15, []byte("{}"))), ErrNotSIP},
		{"RTCP, packed", packet(chunk(0, 11, []byte{5}), chunk(0, 16, []byte("junk"))), ErrNotSIP},
		{"no payload: FreeSWITCH had a piece above 16,000 bytes", whole(), ErrNotSIP},
		{"an empty one", whole(chunk(0, 15, nil)), ErrNotSIP},
		{"an empty one, packed", whole(chunk(0, 16, deflate("", zlibWriter))), ErrNotSIP},
		{"packed, its end missing", whole(chunk(0, 16, deflate(invite, zlibWriter)[:40])), ErrPayload},
	}
	for _, tt := range tests {
		// As they are: the texts are labels, which must be few.
		if _, err := SIP(tt.b, "", time.Now()); err != tt.err {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
	}
}

func TestReplay(t *testing.T) {
	at := func(sec, usec uint32) []byte {
		return packet(chunk(0, 9, u32(sec)), chunk(0, 10, u32(usec)), chunk(0, 14, []byte("k")), chunk(0, 15, []byte(invite)))
	}
	r := Replay{Key: "k"}
	var got []int64
	for _, b := range [][]byte{at(1000, 984000), at(1000, 983000), at(1001, 5), at(0, 0), at(1002, 0)} {
		p, err := r.SIP(b, time.Unix(900, 0))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.At.UnixMicro())
	}
	want := []int64{1000984000, 1000984000, 1001000005, 1001000005, 1002000000}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %d, want %d", i, got[i], want[i])
		}
	}
	if _, err := (&Replay{Key: "other"}).SIP(at(1, 0), time.Now()); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
}
