package hep

import (
	"net/netip"
	"testing"
	"time"

	"textback/pbx/sip"
)

func BenchmarkDecode(b *testing.B) {
	all := datagrams(b, "testdata/kamailio.pcap")
	b.ReportAllocs()
	var p Packet
	for i := range b.N {
		if err := Decode(all[i%len(all)], &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeCompressed(b *testing.B) {
	one := whole(chunk(0, 16, deflate(invite, zlibWriter)))
	b.ReportAllocs()
	var p Packet
	for range b.N {
		if err := Decode(one, &p); err != nil {
			b.Fatal(err)
		}
	}
}

// All that a listener does with a datagram.
func BenchmarkTake(b *testing.B) {
	all := datagrams(b, "testdata/kamailio.pcap")
	l := &Listener{opt: Options{Key: "s3cret", Allow: loopback, Now: time.Now, Handle: func(*sip.Packet) {}}}
	from := netip.MustParseAddrPort("127.0.0.1:40000")
	b.ReportAllocs()
	for i := range b.N {
		l.take(all[i%len(all)], from)
	}
	if n := l.Counts(); n.SIP != uint64(b.N) {
		b.Fatalf("%+v", n)
	}
}
