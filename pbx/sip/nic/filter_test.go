package nic

import (
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
)

// Every port at the edges of every range, from and to, over all that carries them.
func TestFilterEdges(t *testing.T) {
	var many []Ports
	in := map[uint16]bool{}
	for i := range uint16(maxRanges) {
		p := Ports{5000 + 10*i, 5000 + 10*i + 3}
		if i%3 == 0 {
			p.Last = p.First
		}
		many = append(many, p)
		for n := p.First; n <= p.Last; n++ {
			in[n] = true
		}
	}
	many[0], many[len(many)-1] = Ports{1, 1}, Ports{65535, 65535}
	delete(in, 5000)
	for n := 5000 + 10*uint16(maxRanges-1); n < 5000+10*uint16(maxRanges); n++ {
		delete(in, n)
	}
	in[1], in[65535] = true, true
	for _, raw := range []bool{false, true} {
		prog, err := Filter(many, raw, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bpf.Assemble(prog); err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(prog)
		if err != nil {
			t.Fatal(err)
		}
		ports := []uint16{0, 1, 2, 65534, 65535}
		for n := uint16(4995); n < 5000+10*maxRanges+5; n++ {
			ports = append(ports, n)
		}
		for _, port := range ports {
			for _, back := range []bool{false, true} {
				src, dst := uint16(40000), port
				if back {
					src, dst = dst, src
				}
				for name, l := range map[string][]gopacket.SerializableLayer{
					"IPv4 UDP":              {v4(17), &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}},
					"IPv4 TCP":              {v4(6), &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), DataOffset: 5}},
					"IPv4 with options UDP": {options(), &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}},
					"IPv6 UDP":              {v6(17), &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}},
				} {
					kind := layers.EthernetTypeIPv4
					if name == "IPv6 UDP" {
						kind = layers.EthernetTypeIPv6
					}
					if !raw {
						l = append([]gopacket.SerializableLayer{ether(kind)}, l...)
					}
					whole := frame(t, append(l, gopacket.Payload(make([]byte, 40)))...)
					if n, err := vm.Run(whole); err != nil || (n > 0) != in[port] || n > 0 && n < len(whole) {
						t.Fatalf("%s, %d > %d (raw %v): keeps %d, %v", name, src, dst, raw, n, err)
					}
				}
			}
		}
	}
}

// A frame too short for its headers is dropped, by the kernel's rule that a load
// beyond the end ends the program.
func TestFilterShort(t *testing.T) {
	for _, raw := range []bool{false, true} {
		prog, err := Filter([]Ports{{5060, 5060}}, raw, false)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(prog)
		if err != nil {
			t.Fatal(err)
		}
		l := []gopacket.SerializableLayer{options(), &layers.UDP{SrcPort: 1, DstPort: 5060}}
		ports := 24 + 4
		if !raw {
			l, ports = append([]gopacket.SerializableLayer{ether(layers.EthernetTypeIPv4)}, l...), ports+14
		}
		b := frame(t, l...)
		for n := range b {
			if keep, err := vm.Run(b[:n]); err != nil || (keep > 0) != (n >= ports) {
				t.Errorf("raw %v, %d bytes: keeps %d, %v", raw, n, keep, err)
			}
		}
	}
}

func ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: kind}
}

func v4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.IP{198, 51, 100, 7}, DstIP: net.IP{192, 0, 2, 10}}
}

func v6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP("2001:db8::7"), DstIP: net.ParseIP("2001:db8::10")}
}

// options is an IPv4 header that is longer than usual.
func options() *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: 17, SrcIP: net.IP{198, 51, 100, 7}, DstIP: net.IP{192, 0, 2, 10},
		Options: []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}}
}
