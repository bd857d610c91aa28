package nic

import (
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// On an interface that is never silent, time passes all the same: what a lost
// segment holds up is given up.
func TestBusyInterface(t *testing.T) {
	needs(t)
	s, c := capture(t)
	raw, err := net.Dial("ip4:tcp", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	segment := func(seq uint32, payload string) {
		h := &layers.TCP{SrcPort: 40404, DstPort: 5063, Seq: seq, Ack: 1, ACK: true, DataOffset: 5, Window: 65535}
		if _, err := raw.Write(frame(t, h, gopacket.Payload(payload))); err != nil {
			t.Fatal(err)
		}
	}
	other, err := net.Dial("udp4", "127.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	segment(1, message("busy1", 100))
	eventually(t, "the first message", func() bool { return s.count("busy1") == 1 })
	segment(5000, message("busy2", 100)) // what is between them is lost
	for end := time.Now().Add(20 * time.Second); s.count("busy2") == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: the message after a lost segment")
		}
		_, _ = other.Write([]byte(message("noise", 100)))
	}
	eventually(t, "the loss is counted", func() bool { return c.Counts().Dropped["segment lost"] == 1 })
}
