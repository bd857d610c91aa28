package nic

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"textback/pbx/sip"
)

const inside = "TEXTBACK_NIC_INSIDE"

// The tests run in a network namespace of their own, whose loopback is theirs.
func TestMain(m *testing.M) {
	if os.Getenv("TEXTBACK_NIC_CHILD") != "" {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v: %s\n", err, out)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if e, ok := err.(*exec.ExitError); ok && e.ExitCode() > 0 {
			os.Exit(e.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "enter a namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func needs(t *testing.T) {
	t.Helper()
	if os.Getenv(inside) == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("packet sockets need root")
		}
		t.Skip("packet sockets need root")
	}
}

func frame(t *testing.T, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, l...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The filter in a virtual machine: what it lets through of each kind of frame.
func TestFilter(t *testing.T) {
	v4 := func(proto layers.IPProtocol, frag uint16, flags layers.IPv4Flag) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}, FragOffset: frag, Flags: flags}
	}
	v6 := func(next layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	}
	udp := func(src, dst int) *layers.UDP {
		return &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
	}
	tcp := func(src, dst int) *layers.TCP {
		return &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst)}
	}
	ether := func(kind layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: kind}
	}
	body := gopacket.Payload("something")
	options := v4(layers.IPProtocolUDP, 0, 0)
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	tests := []struct {
		name string
		l    []gopacket.SerializableLayer
		keep bool
	}{
		{"to 5060", []gopacket.SerializableLayer{v4(17, 0, 0), udp(999, 5060), body}, true},
		{"from 5060", []gopacket.SerializableLayer{v4(17, 0, 0), udp(5060, 999), body}, true},
		{"within the range", []gopacket.SerializableLayer{v4(17, 0, 0), udp(999, 5085), body}, true},
		{"its ends", []gopacket.SerializableLayer{v4(17, 0, 0), udp(5080, 5090), body}, true},
		{"beside the range", []gopacket.SerializableLayer{v4(17, 0, 0), udp(5079, 5091), body}, false},
		{"TCP", []gopacket.SerializableLayer{v4(6, 0, 0), tcp(40000, 5060), body}, true},
		{"RTP", []gopacket.SerializableLayer{v4(17, 0, 0), udp(10000, 20000), body}, false},
		{"ICMP", []gopacket.SerializableLayer{v4(1, 0, 0), body}, false},
		{"IP options", []gopacket.SerializableLayer{options, udp(1, 5060), body}, true},
		{"first fragment of SIP", []gopacket.SerializableLayer{v4(17, 0, layers.IPv4MoreFragments), udp(1, 5060), body}, true},
		{"first fragment of something else", []gopacket.SerializableLayer{v4(17, 0, layers.IPv4MoreFragments), udp(1, 2), body}, false},
		{"a later fragment", []gopacket.SerializableLayer{v4(17, 100, 0), body}, true},
		{"IPv6", []gopacket.SerializableLayer{v6(17), udp(1, 5060), body}, true},
		{"IPv6 TCP", []gopacket.SerializableLayer{v6(6), tcp(5060, 9), body}, true},
		{"IPv6 RTP", []gopacket.SerializableLayer{v6(17), udp(1, 2), body}, false},
		{"IPv6 fragment", []gopacket.SerializableLayer{v6(44), body}, true},
		{"IPv6 ICMP", []gopacket.SerializableLayer{v6(58), body}, false},
	}
	for _, raw := range []bool{false, true} {
		prog, err := Filter([]Ports{{5060, 5060}, {5080, 5090}}, raw, false)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(prog)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			l := tt.l
			if !raw {
				kind := layers.EthernetTypeIPv4
				if strings.Contains(tt.name, "IPv6") {
					kind = layers.EthernetTypeIPv6
				}
				l = append([]gopacket.SerializableLayer{ether(kind)}, l...)
			}
			n, err := vm.Run(frame(t, l...))
			if err != nil || (n > 0) != tt.keep {
				t.Errorf("%s (raw %v): keeps %d, %v; want %v", tt.name, raw, n, err, tt.keep)
			}
		}
		if !raw {
			for kind, keep := range map[layers.EthernetType]bool{layers.EthernetTypeARP: false, layers.EthernetTypeDot1Q: true, layers.EthernetTypeQinQ: true} {
				if n, _ := vm.Run(frame(t, ether(kind), gopacket.Payload(make([]byte, 60)))); (n > 0) != keep {
					t.Errorf("%v: keeps %d", kind, n)
				}
			}
		}
	}
	var many []Ports
	for i := range uint16(maxRanges) {
		many = append(many, Ports{5000 + 4*i, 5001 + 4*i})
	}
	if _, err := Filter(many, false, true); err != nil {
		t.Error(err)
	}
	if _, err := Filter(append(many, Ports{1, 1}), false, false); err == nil {
		t.Error("more ranges than fit are taken")
	}
	if _, err := Filter(nil, false, false); err == nil {
		t.Error("no ports are taken")
	}
}

// seen gathers messages by their Call-ID.
type seen struct {
	mu sync.Mutex
	n  map[string]int
	by map[string]sip.Packet
}

func (s *seen) handle(p *sip.Packet) {
	_, rest, _ := strings.Cut(string(p.Payload), "Call-ID: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[id]++
	s.by[id] = *p
}

func (s *seen) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[id]
}

func message(id string, body int) string {
	b := strings.Repeat("a=line\r\n", body/8)
	return fmt.Sprintf("INVITE sip:5551000@x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK%s\r\nCall-ID: %s\r\nCSeq: 1 INVITE\r\nContent-Length: %d\r\n\r\n%s", id, id, len(b), b)
}

func capture(t *testing.T) (*seen, *Capture) {
	t.Helper()
	s := &seen{n: map[string]int{}, by: map[string]sip.Packet{}}
	c, err := Open(Options{Interface: "lo", Ports: []Ports{{5060, 5069}}, Handle: s.handle})
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

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// Real packets on a real interface, each seen once.
func TestCapture(t *testing.T) {
	needs(t)
	s, c := capture(t)
	send := func(network, to, id string, body int) {
		t.Helper()
		if strings.HasPrefix(network, "tcp") {
			l, err := net.Listen(network, to)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if in, err := l.Accept(); err == nil {
					_, _ = in.Read(make([]byte, 1<<16))
				}
			}()
		}
		conn, err := net.Dial(network, to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(message(id, body))); err != nil {
			t.Fatal(err)
		}
		eventually(t, id+" is seen", func() bool { return s.count(id) > 0 })
	}
	send("udp4", "127.0.0.1:5060", "udp4", 300)
	send("udp6", "[::1]:5060", "udp6", 300)
	send("tcp4", "127.0.0.1:5061", "tcp4", 3000)
	send("tcp6", "[::1]:5062", "tcp6", 300)
	ip(t, "link", "set", "lo", "mtu", "1400")
	send("udp4", "127.0.0.1:5060", "fragments4", 4000)
	send("udp6", "[::1]:5060", "fragments6", 4000)
	// Another port is nobody's business.
	conn, err := net.Dial("udp4", "127.0.0.1:9999")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte(message("other", 10)))
	send("udp4", "127.0.0.1:5069", "last", 100)
	for _, id := range []string{"udp4", "udp6", "tcp4", "tcp6", "fragments4", "fragments6", "last"} {
		if n := s.count(id); n != 1 {
			t.Errorf("%s was seen %d times", id, n)
		}
		if p := s.by[id]; p.Cut || time.Since(p.At).Abs() > time.Minute || !p.Dst.Addr().IsLoopback() {
			t.Errorf("%s: %v > %v at %v", id, p.Src, p.Dst, p.At)
		}
	}
	if s.count("other") != 0 {
		t.Error("a port that was not asked for was read")
	}
	eventually(t, "counts", func() bool { return c.Counts().SIP == 7 })

	// The interface goes away, and comes back.
	ip(t, "link", "set", "lo", "down")
	time.Sleep(300 * time.Millisecond)
	ip(t, "link", "set", "lo", "up")
	n := 0
	eventually(t, "a message after the interface came back", func() bool {
		n++
		if conn, err := net.Dial("udp4", "127.0.0.1:5060"); err == nil {
			_, _ = conn.Write([]byte(message(fmt.Sprint("back", n), 10)))
			conn.Close()
			time.Sleep(100 * time.Millisecond)
		}
		return s.count(fmt.Sprint("back", n)) > 0
	})
}

func TestOpenRefuses(t *testing.T) {
	needs(t)
	if _, err := Open(Options{Interface: "nosuch0", Ports: []Ports{{5060, 5060}}}); err == nil || !strings.Contains(err.Error(), "no such interface") {
		t.Errorf("%v", err)
	}
	ip(t, "link", "set", "lo", "down")
	defer ip(t, "link", "set", "lo", "up")
	if _, err := Open(Options{Interface: "lo", Ports: []Ports{{5060, 5060}}}); err == nil || !strings.Contains(err.Error(), "down") {
		t.Errorf("%v", err)
	}
}

// CAP_NET_RAW is enough, and less is not.
func TestRights(t *testing.T) {
	needs(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, caps := range [][]uintptr{{unix.CAP_NET_RAW}, nil} {
		cmd := exec.Command(self, "-test.run=^TestRightsChild$", "-test.v")
		cmd.Env = append(os.Environ(), "TEXTBACK_NIC_CHILD=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}, AmbientCaps: caps}
		// The test binary lies in a directory that only root may enter: run it from a copy.
		dir, err := os.MkdirTemp("/tmp", "nic")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		_ = os.Chmod(dir, 0o755)
		b, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path = dir + "/nic.test"
		if err := os.WriteFile(cmd.Path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		opened := strings.Contains(string(out), "opened")
		if opened != (caps != nil) {
			t.Errorf("with capabilities %v: %v\n%s", caps, err, out)
		}
		if caps == nil && !strings.Contains(string(out), "it takes CAP_NET_RAW") {
			t.Errorf("without: %s", out)
		}
	}
}

func TestRightsChild(t *testing.T) {
	if os.Getenv("TEXTBACK_NIC_CHILD") == "" {
		return
	}
	c, err := Open(Options{Interface: "lo", Ports: []Ports{{5060, 5060}}, Promiscuous: true})
	if err != nil {
		t.Fatal(err)
	}
	c.ring.Close()
	t.Log("opened")
}
