package nic

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"textback/pbx/sip"
)

// device makes an interface of its own, whose incoming frames are what is written to it.
func device(t *testing.T, name string, flags uint16) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no interfaces of our own: %v", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(flags | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	ip(t, "link", "set", name, "up")
	return f
}

func captureOn(t *testing.T, name string) (*seen, *Capture) {
	t.Helper()
	s := &seen{n: map[string]int{}, by: map[string]sip.Packet{}}
	c, err := Open(Options{Interface: name, Ports: []Ports{{5060, 5069}}, Promiscuous: true, Handle: s.handle})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, c
}

func write(t *testing.T, f *os.File, b []byte) {
	t.Helper()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

func datagram(t *testing.T, id string, port layers.UDPPort, six bool) []byte {
	u, body := &layers.UDP{SrcPort: 40000, DstPort: port}, gopacket.Payload(message(id, 300))
	if six {
		return frame(t, v6(17), u, body)
	}
	return frame(t, v4(17), u, body)
}

// Ethernet as a mirror port has it: for other hosts, tagged once and twice.
func TestEthernet(t *testing.T) {
	needs(t)
	f := device(t, "mirror0", unix.IFF_TAP)
	s, c := captureOn(t, "mirror0")
	mac := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	want := []string{}
	for name, head := range map[string][]uint16{"plain": {}, "vlan": {0x8100, 7}, "qinq": {0x88a8, 9, 0x8100, 7}, "old": {0x9100, 9, 0x8100, 7}} {
		for _, six := range []bool{false, true} {
			id := fmt.Sprint(name, six)
			b := slices.Clone(mac)
			for _, h := range head {
				b = binary.BigEndian.AppendUint16(b, h)
			}
			kind := uint16(0x0800)
			if six {
				kind = 0x86dd
			}
			b = append(binary.BigEndian.AppendUint16(b, kind), datagram(t, id, 5060, six)...)
			write(t, f, b)
			want = append(want, id)
		}
	}
	ppp := datagram(t, "pppoe", 5060, false)
	head := append(slices.Clone(mac), 0x88, 0x64, 0x11, 0, 0, 1)
	head = binary.BigEndian.AppendUint16(head, uint16(len(ppp)+2))
	write(t, f, append(append(head, 0, 0x21), ppp...))
	write(t, f, append(append(slices.Clone(mac), 8, 0), datagram(t, "other", 9999, false)...))
	write(t, f, append(append(slices.Clone(mac), 8, 0), datagram(t, "last", 5069, false)...))
	for _, id := range append(want, "pppoe", "last") {
		eventually(t, id+" is seen", func() bool { return s.count(id) > 0 })
		if p := s.get(id); s.count(id) != 1 || p.Cut || p.Src.Port() != 40000 {
			t.Errorf("%s: %d times, %v > %v", id, s.count(id), p.Src, p.Dst)
		}
	}
	if s.count("other") != 0 {
		t.Error("a port that was not asked for was read")
	}
	eventually(t, "counts", func() bool { return c.Counts().SIP == uint64(len(want)+2) })
}

// A tunnel has no link header. It goes away and another of its name comes.
func TestTunnel(t *testing.T) {
	needs(t)
	f := device(t, "tunnel0", unix.IFF_TUN)
	s, c := captureOn(t, "tunnel0")
	if c.link != layers.LinkTypeRaw {
		t.Fatalf("read as %v", c.link)
	}
	for _, six := range []bool{false, true} {
		id := fmt.Sprint("tunnel", six)
		write(t, f, datagram(t, id, 5060, six))
		eventually(t, id+" is seen", func() bool { return s.count(id) == 1 })
	}
	f.Close()
	if _, err := net.InterfaceByName("tunnel0"); err == nil {
		t.Fatal("it did not go away")
	}
	f = device(t, "tunnel0", unix.IFF_TUN)
	n := 0
	eventually(t, "a message of the new one", func() bool {
		n++
		write(t, f, datagram(t, fmt.Sprint("new", n), 5060, false))
		for i := range n {
			if s.count(fmt.Sprint("new", i)) > 0 {
				return true
			}
		}
		return false
	})
}

func (s *seen) get(id string) sip.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id]
}
