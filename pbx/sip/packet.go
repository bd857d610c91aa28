package sip

import (
	"net/netip"
	"time"
)

// A Packet is one SIP message as a capture point saw it. It is valid, with its
// Payload, until the function it was given to returns.
type Packet struct {
	At      time.Time      // by the capture point's clock
	Src     netip.AddrPort // where it was sent from; zero when not known
	Dst     netip.AddrPort
	Payload []byte // one whole message: head and body, or less when cut
	Cut     bool   // the capture point kept only a part of it
	Guess   bool   // the PBX sent this copy itself, and its own address in it may be a guess
}

// Counts are what a source of packets has met since it began. Packets that are
// dropped are counted by reason: a capture point that loses or forges is an
// admin's business.
type Counts struct {
	Packets uint64 // frames, datagrams or HEP packets read
	Bytes   uint64
	SIP     uint64            // messages handed on
	Dropped map[string]uint64 // by reason, one or two words: "bad key", "truncated", "no SIP"
}
