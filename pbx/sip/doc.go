// Package sip is in charge of the second witness: it reads the SIP messages
// between trunk, PBX and phones and makes of them the same leg facts that
// pbx/ari makes of events. It does no I/O and has no clock: packages hep, pcap
// and nic bring the messages and their times.
package sip
