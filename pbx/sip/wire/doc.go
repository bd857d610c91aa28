// Package wire is in charge of the way from captured frames to SIP messages: link
// headers with VLAN tags, IPv4 and IPv6 with fragments, UDP, and TCP streams. It
// does no I/O; packages pcap and nic bring the frames.
//
// Most of an office's packets are RTP. They are told from SIP by a walk over the
// headers and a look at the first line, without an allocation; only fragments and
// the segments of connections that have shown SIP go further.
package wire
