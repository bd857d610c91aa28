package pcap

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"textback/pbx/sip"
	"textback/pbx/sip/hep"
	"textback/pbx/sip/wire"
)

var at = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

// packet is a raw IP packet with a SIP message.
func packet(t testing.TB, id string, ethernet bool) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{198, 51, 100, 7}, DstIP: net.IP{192, 0, 2, 10}}
	l := []gopacket.SerializableLayer{ip, &layers.UDP{SrcPort: 5060, DstPort: 5060}, gopacket.Payload("INVITE sip:1@x SIP/2.0\r\nCall-ID: " + id + "\r\nCSeq: 1 INVITE\r\n\r\n")}
	if ethernet {
		l = append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}}, l...)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, l...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b.Bytes())
}

func info(b []byte, n int) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: at.Add(time.Duration(n) * time.Second), CaptureLength: len(b), Length: len(b)}
}

// read lists the Call-IDs and times of a capture.
func read(r io.Reader) (got []string, counts sip.Counts, err error) {
	counts, err = Read(r, "call.pcap", wire.Options{Handle: func(p *sip.Packet) {
		_, rest, _ := strings.Cut(string(p.Payload), "Call-ID: ")
		id, _, _ := strings.Cut(rest, "\r\n")
		got = append(got, id+" "+p.At.UTC().Format("15:04:05.000000"))
	}})
	return got, counts, err
}

// files are one capture in every format.
func files(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, nano := range map[string]bool{"microseconds": false, "nanoseconds": true} {
		var b bytes.Buffer
		w := pcapgo.NewWriter(&b)
		if nano {
			w = pcapgo.NewWriterNanos(&b)
		}
		if err := w.WriteFileHeader(65536, layers.LinkTypeRaw); err != nil {
			t.Fatal(err)
		}
		for i, id := range []string{"a", "b"} {
			p := packet(t, id, false)
			if err := w.WritePacket(info(p, i), p); err != nil {
				t.Fatal(err)
			}
		}
		out[name] = b.Bytes()
	}
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.AddInterface(pcapgo.NgInterface{Name: "eth1", LinkType: layers.LinkTypeEthernet, TimestampResolution: 9, SnapLength: 65536})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"a", "b"} {
		p := packet(t, id, i == 1)
		ci := info(p, i)
		if i == 1 {
			ci.InterfaceIndex = second
		}
		if err := w.WritePacket(ci, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	out["pcapng, two interfaces"] = b.Bytes()
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	_, _ = zw.Write(b.Bytes())
	zw.Close()
	out["pcapng, compressed"] = z.Bytes()
	z = bytes.Buffer{}
	zw = gzip.NewWriter(&z)
	_, _ = zw.Write(out["microseconds"])
	zw.Close()
	out["pcap, compressed"] = z.Bytes()
	return out
}

func TestFormats(t *testing.T) {
	for name, b := range files(t) {
		got, counts, err := read(bytes.NewReader(b))
		if fmt.Sprint(got) != "[a 12:00:00.123456 b 12:00:01.123456]" || err != nil || counts.Packets != 2 || counts.SIP != 2 {
			t.Errorf("%s: %v %v %+v", name, got, err, counts)
		}
		if !Magic([4]byte(b)) {
			t.Errorf("%s is not known for a capture", name)
		}
	}
}

func TestBadFiles(t *testing.T) {
	f := files(t)
	whole := f["microseconds"]
	strange := slices.Clone(whole)
	strange[20] = 105 // 802.11
	for _, tt := range []struct {
		name string
		b    []byte
		want string
		got  int
	}{
		{"empty", nil, "too short", 0},
		{"text", []byte("this is no capture at all, is it?"), "not a capture", 0},
		{"header alone, cut", whole[:20], "not a capture", 0},
		{"no packets", whole[:24], "", 0},
		{"ends within a packet", whole[:len(whole)-5], "call.pcap: after packet 1: the file ends in the middle of a packet", 1},
		{"ends within a packet's header", whole[:len(whole)-len(packet(t, "b", false))-3], "after packet 1: the file ends in the middle", 1},
		{"another kind of link", strange, "after packet 1: link type 105", 0},
		{"compressed, cut", f["pcap, compressed"][:len(f["pcap, compressed"])-12], "call.pcap: after packet", 0},
		{"compressed nothing", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}, "holds nothing", 0},
		{"pcapng, cut", f["pcapng, two interfaces"][:len(f["pcapng, two interfaces"])-9], "after packet 1", 1},
	} {
		got, _, err := read(bytes.NewReader(tt.b))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if len(got) < tt.got {
			t.Errorf("%s: what came before is lost: %v", tt.name, got)
		}
	}
}

// Real captures: plain, TCP, HEP.
func TestRealCaptures(t *testing.T) {
	dir := "../../../testdata/captures"
	all, _ := filepath.Glob(filepath.Join(dir, "*.pcap"))
	if len(all) < 20 {
		t.Fatalf("only %d captures", len(all))
	}
	for _, name := range all {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		counts, err := Read(f, name, wire.Options{
			Handle: func(p *sip.Packet) {
				n++
				if !p.Src.IsValid() || !p.Dst.IsValid() || p.Cut || !sip.Looks(p.Payload) {
					t.Errorf("%s: %v > %v: %.40q", name, p.Src, p.Dst, p.Payload)
				}
			},
			HEP: func(b []byte, at time.Time) (sip.Packet, error) { return hep.SIP(b, "s3cret", at) },
		})
		f.Close()
		if err != nil || n < 5 || uint64(n) != counts.SIP || len(counts.Dropped) > 0 {
			t.Errorf("%s: %d messages, %+v, %v", name, n, counts, err)
		}
		if !strings.Contains(name, "tcp") && counts.Packets != counts.SIP {
			t.Errorf("%s: %+v", name, counts)
		}
	}
}

func FuzzRead(f *testing.F) {
	for name, b := range files(f) {
		if !strings.Contains(name, "compressed") {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		_, _, err := read(bytes.NewReader(b))
		if err != nil && !strings.Contains(err.Error(), "call.pcap: after packet") {
			t.Errorf("%v", err)
		}
	})
}
