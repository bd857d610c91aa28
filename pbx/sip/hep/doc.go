// Package hep is in charge of SIP messages that others send us in copies: the
// Homer Encapsulation Protocol, versions 1 to 3, as Asterisk's res_hep, Kamailio,
// OpenSIPS and FreeSWITCH speak it.
//
// # Whom to believe
//
// What arrives decides who is texted, so a forged packet would make textback text
// strangers. Packets come from allowed addresses only, this host's loopback if none
// are named, and with the key where one is set. A listener beyond loopback with
// neither is refused. The key is weak: version 3 carries it in clear, versions 1 and
// 2, of which 1 is Kamailio's default, not at all: they are refused where a key is
// set. UDP's source addresses can be forged; across a network that others use, a
// tunnel is better than either.
//
// # Whose time
//
// Senders' clocks are no guide to order. Asterisk stamps what it received to the
// millisecond and what it sent to the microsecond, Kamailio stamps neighbours in
// the wrong order, and two hosts' clocks may differ. A live message's time is
// therefore that of its arrival, by our clock (Listener). What was recorded keeps
// its sender's time, which a Replay does not let go back.
//
// # What senders do
//
// FreeSWITCH leaves out the rest of a message that would be longer than 16,000 bytes
// from the first piece on that does not fit: a packet without a payload is one of
// them. Of IPv6 addresses it copies four bytes, of another field: they mean nothing.
// OpenSIPS may compress payloads. Asterisk's own address in its copies is a guess,
// and its correlation id (chunk 17) does not join the legs of a call: it is read and
// not used. Version 2's time is little-endian, all of version 3 big-endian.
package hep
