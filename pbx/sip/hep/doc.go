// Package hep is in charge of SIP messages that others send us in copies: the
// Homer Encapsulation Protocol, versions 1 to 3, as Asterisk's res_hep, Kamailio,
// OpenSIPS and FreeSWITCH speak it.
//
// What arrives decides who is texted, so a forged packet would make textback
// text strangers: packets come from allowed addresses only, with the key where
// one is set, and the listener is on loopback unless told otherwise.
//
// Senders' clocks are no guide to order. Asterisk stamps what it received to the
// millisecond and what it sent to the microsecond, Kamailio stamps neighbours in
// the wrong order: a live message's time is that of its arrival.
package hep
