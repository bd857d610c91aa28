package hep

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"textback/pbx/sip"
)

const invite = "INVITE sip:5551000@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n"

// chunk writes one HEPv3 chunk.
func chunk(vendor, typ uint16, v []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, vendor)
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, uint16(6+len(v)))
	return append(b, v...)
}

// packet writes a HEPv3 packet of chunks.
func packet(chunks ...[]byte) []byte {
	body := bytes.Join(chunks, nil)
	b := append([]byte("HEP3"), 0, 0)
	binary.BigEndian.PutUint16(b[4:], uint16(6+len(body)))
	return append(b, body...)
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func whole(more ...[]byte) []byte {
	return packet(append([][]byte{
		chunk(0, 1, []byte{2}), chunk(0, 2, []byte{17}), chunk(0, 3, []byte{198, 51, 100, 7}), chunk(0, 4, []byte{192, 0, 2, 1}),
		chunk(0, 7, u16(5060)), chunk(0, 8, u16(5070)), chunk(0, 9, u32(1795432636)), chunk(0, 10, u32(984000)), chunk(0, 11, []byte{1}),
		chunk(0, 12, u32(22)),
	}, more...)...)
}

func deflate(s string, w func(io.Writer) io.WriteCloser) []byte {
	var b bytes.Buffer
	z := w(&b)
	_, _ = io.WriteString(z, s)
	z.Close()
	return b.Bytes()
}

func zlibWriter(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
func gzipWriter(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func TestDecode(t *testing.T) {
	payload := chunk(0, 15, []byte(invite))
	v6 := packet(chunk(0, 5, bytes.Repeat([]byte{0x20}, 16)), chunk(0, 6, bytes.Repeat([]byte{0x30}, 16)), payload)
	old := []byte{1, 16, 2, 17, 0x13, 0xc4, 0x13, 0xce, 198, 51, 100, 7, 192, 0, 2, 1}
	old2 := append([]byte{2, 16, 2, 17, 0x13, 0xc4, 0x13, 0xce, 198, 51, 100, 7, 192, 0, 2, 1}, make([]byte, 12)...)
	binary.LittleEndian.PutUint32(old2[16:], 1795432636)
	tests := []struct {
		name string
		b    []byte
		err  error
	}{
		{"whole", whole(payload), nil},
		{"the other magic", append([]byte("EEP3"), whole(payload)[4:]...), nil},
		{"bytes after the packet", append(whole(payload), "junk"...), nil},
		{"a vendor's chunks, and types of the future", whole(payload, chunk(0x10, 15, []byte("not this")), chunk(0, 999, []byte("x"))), nil},
		{"correlation id, node, key", whole(chunk(0, 17, []byte("c1")), chunk(0, 19, []byte("pbx")), chunk(0, 14, []byte("s3cret")), payload), nil},
		{"zlib", whole(chunk(0, 16, deflate(invite, zlibWriter))), nil},
		{"gzip", whole(chunk(0, 16, deflate(invite, gzipWriter))), nil},
		{"IPv6", v6, nil},
		{"version 1", append(old, invite...), nil},
		{"version 2", append(old2, invite...), nil},
		{"version 2 as FreeSWITCH counts its length", append(append([]byte{2, 28}, old2[2:]...), invite...), nil},
		{"version 1, cut", old[:12], ErrTruncated},
		{"version 2, cut before its time", old2[:16], ErrTruncated},
		{"version 2, cut in its time", old2[:27], ErrTruncated},
		{"version 1, another family", append([]byte{1, 16, 7}, old[3:]...), ErrNotHEP},
		{"not HEP", []byte(invite), ErrNotHEP},
		{"empty", nil, ErrNotHEP},
		{"magic alone", []byte("HEP3"), ErrNotHEP},
		{"shorter than it says", whole(payload)[:100], ErrTruncated},
		{"length below its own head", []byte("HEP3\x00\x05abc"), ErrTruncated},
		{"a chunk shorter than its head", packet([]byte{0, 0, 0, 15, 0, 5}), ErrTruncated},
		{"a chunk longer than the packet", packet([]byte{0, 0, 0, 15, 0, 60, 1}), ErrTruncated},
		{"half a chunk", packet([]byte{0, 0, 0}), ErrTruncated},
		{"an address of three bytes", packet(chunk(0, 3, []byte{1, 2, 3})), ErrTruncated},
		{"IPv6 in an IPv4 chunk", packet(chunk(0, 3, make([]byte, 16))), ErrTruncated},
		{"a port of one byte", packet(chunk(0, 7, []byte{1})), ErrTruncated},
		{"a time of two bytes", packet(chunk(0, 9, []byte{1, 2})), ErrTruncated},
		{"a type of no byte", packet(chunk(0, 11, nil)), ErrTruncated},
		{"compressed junk", whole(chunk(0, 16, []byte("junk"))), ErrPayload},
		{"a bomb", whole(chunk(0, 16, deflate(strings.Repeat("a", 1<<20), zlibWriter))), ErrPayload},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Packet
			err := Decode(tt.b, &p)
			if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
				t.Fatalf("%v, want %v", err, tt.err)
			}
			if err == nil && string(p.Payload) != invite {
				t.Errorf("payload %q", p.Payload)
			}
			if err == nil && tt.name != "IPv6" && (p.Src != netip.MustParseAddrPort("198.51.100.7:5060") || p.Dst.Addr() != netip.MustParseAddr("192.0.2.1")) {
				t.Errorf("%v > %v", p.Src, p.Dst)
			}
			if tt.name == "whole" && (p.Time.UnixMilli() != 1795432636984 || p.Agent != 22) || tt.name == "version 2" && p.Time.Unix() != 1795432636 {
				t.Errorf("%v %d", p.Time, p.Agent)
			}
		})
	}
	for _, key := range []string{"wrong", "s3cre", "s3cretx", ""} {
		_, err := SIP(whole(chunk(0, 14, []byte(key)), chunk(0, 16, []byte("not unpacked"))), "s3cret", time.Now())
		if !errors.Is(err, ErrKey) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	if _, err := SIP(append(old, invite...), "s3cret", time.Now()); !errors.Is(err, ErrKey) {
		t.Errorf("version 1 has no key: %v", err)
	}
}

// frameBytes are the frames of a capture.
func frameBytes(t testing.TB, file string) (out [][]byte) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, _, err := r.ReadPacketData()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
}

// datagrams are the UDP payloads of a capture.
func datagrams(t testing.TB, file string) (out [][]byte) {
	for _, b := range frameBytes(t, file) {
		if len(b) > 42 && b[23] == 17 {
			out = append(out, b[14+int(b[14]&15)*4+8:])
		}
	}
	return out
}

// What a real Kamailio sent.
func TestKamailio(t *testing.T) {
	all := datagrams(t, "testdata/kamailio.pcap")
	for _, b := range all {
		p, err := SIP(b, "s3cret", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(p.Payload, []byte("SIP/2.0")) || !p.Src.IsValid() || p.At.Year() != 2026 {
			t.Errorf("%v > %v at %v: %.40q", p.Src, p.Dst, p.At, p.Payload)
		}
	}
	if len(all) != 18 {
		t.Errorf("%d packets", len(all))
	}
}

// listener runs a Listener and gives what it hands on.
func listener(t *testing.T, opt Options) (*Listener, chan string) {
	t.Helper()
	got := make(chan string, 100)
	opt.Handle = func(p *sip.Packet) { got <- p.Src.String() + " " + string(p.Payload) }
	l, err := Listen(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l, got
}

func dropped(t *testing.T, l *Listener, why string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); l.Counts().Dropped[why] == 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nothing was dropped as %q: %+v", why, l.Counts())
		}
	}
}

func TestListener(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		if c, err := net.ListenPacket("udp", addr); err != nil {
			t.Logf("not tested: %v", err) // a host without IPv6
			continue
		} else {
			c.Close()
		}
		l, got := listener(t, Options{Listen: addr, Key: "s3cret"})
		good := whole(chunk(0, 14, []byte("s3cret")), chunk(0, 15, []byte(invite)))
		want := "198.51.100.7:5060 " + invite

		u, err := net.Dial("udp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		_, _ = u.Write(good)
		if s := <-got; s != want {
			t.Errorf("%q", s)
		}
		_, _ = u.Write(whole(chunk(0, 14, []byte("guess")), chunk(0, 15, []byte(invite))))
		dropped(t, l, "bad key")
		_, _ = u.Write([]byte("HEP3\x00"))
		dropped(t, l, "no HEP")
		_, _ = u.Write(packet(chunk(0, 14, []byte("s3cret")), chunk(0, 11, []byte{5}), chunk(0, 15, []byte("{}"))))
		dropped(t, l, "no SIP")

		// TCP: byte by byte, then two packets in one write, then junk, which ends this connection alone.
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, b := range good {
			_, _ = c.Write([]byte{b})
		}
		_, _ = c.Write(append(bytes.Clone(good), good...))
		for range 3 {
			if s := <-got; s != want {
				t.Errorf("%q", s)
			}
		}
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\n"))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("junk does not end the connection")
		}
		c2, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c2.Write(good)
		if s := <-got; s != want {
			t.Errorf("%q", s)
		}
		_, _ = c2.Write(good[:20])
		c2.Close()
		dropped(t, l, "truncated")
		if n := l.Counts(); n.SIP != 5 {
			t.Errorf("%+v", n)
		}
	}
}

func TestListenerTakesFromNamedSendersOnly(t *testing.T) {
	l, got := listener(t, Options{Listen: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.7/32")}})
	send := func(from string) {
		u, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		_, _ = u.Write(whole(chunk(0, 15, []byte(invite))))
	}
	send("127.0.0.8")
	dropped(t, l, "not allowed")
	send("127.0.0.7")
	<-got
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger may connect")
	}
}
