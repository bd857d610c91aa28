package smpp

import (
	"fmt"

	"textback/sms"
	"textback/sms/smpp/pdu"
)

type meaning struct {
	class sms.Class
	words string
}

// statuses are those of the specification (5.1.3), and what was added in 5.0 and is
// answered to 3.4 too. Each is definite: a submit_sm_resp with an error means that there
// is no message. Those that are not here, the vendors' own among them, are refusals
// without a class; Options.Codes tells of them.
var statuses = map[pdu.Status]meaning{
	0x01: {sms.Rejected, "the text is longer than the provider takes"},
	0x02: {sms.Misconfigured, "the provider does not understand our submits: ask it which version and parameters it wants"},
	0x03: {sms.Misconfigured, "the provider does not take this command: ask whether the account may send and receive (transceiver)"},
	0x04: {sms.Transient, "the session is not bound any more"},
	0x05: {sms.Transient, "the account has a session already: another program's, or an old one of ours that the provider has not given up yet"},
	0x06: {sms.Misconfigured, "the provider does not take this priority"},
	0x07: {sms.Misconfigured, "the provider gives no receipts to this account"},
	0x08: {sms.Transient, "a system error at the provider"},
	0x0a: {sms.Misconfigured, "the sender is not one of this account"},
	0x0b: {sms.Invalid, "not a valid number"},
	0x0c: {sms.Rejected, "the provider's id of the text is wrong"},
	0x0d: {sms.Unauthorized, "the provider refuses the session: check system_id and password"},
	0x0e: {sms.Unauthorized, "the password is wrong"},
	0x0f: {sms.Unauthorized, "the system id is wrong"},
	0x11: {sms.Rejected, "the provider could not cancel the text"},
	0x13: {sms.Rejected, "the provider could not replace the text"},
	0x14: {sms.Throttled, "the provider's queue is full"},
	0x15: {sms.Misconfigured, "the service type is wrong"},
	0x33: {sms.Rejected, "the number of recipients is wrong"},
	0x40: {sms.Misconfigured, "the kind of the recipient is wrong"},
	0x42: {sms.Rejected, "a text like it is there already, or may not replace another"},
	0x43: {sms.Misconfigured, "the provider takes no user data headers: try long_messages sar or payload"},
	0x45: {sms.Rejected, "the provider could not submit the text"},
	0x48: {sms.Misconfigured, "the sender's type of number is wrong: ask the provider which, and set from_ton"},
	0x49: {sms.Misconfigured, "the sender's numbering plan is wrong: ask the provider which, and set from_npi"},
	0x50: {sms.Misconfigured, "the recipient's type of number is wrong: ask the provider which, and set to_ton"},
	0x51: {sms.Misconfigured, "the recipient's numbering plan is wrong: ask the provider which, and set to_npi"},
	0x53: {sms.Misconfigured, "the system type is wrong: ask the provider which it wants"},
	0x54: {sms.Misconfigured, "the provider does not take this replacing"},
	0x58: {sms.Throttled, "too many texts at once"},
	0x61: {sms.Misconfigured, "the provider does not take this time of delivery"},
	0x62: {sms.Misconfigured, "the provider does not take this validity: set validity to 0s"},
	0x64: {sms.Transient, "the receiver cannot take it now"},
	0x65: {sms.Rejected, "the receiver will not take it"},
	0x66: {sms.Rejected, "the receiver refused it"},
	0xc0: {sms.Misconfigured, "the provider does not understand our optional parameters"},
	0xc1: {sms.Misconfigured, "the provider takes none of our optional parameters: set reference to false, and long_messages to udh"},
	0xc2: {sms.Misconfigured, "the provider expects a parameter of another length"},
	0xc3: {sms.Misconfigured, "the provider expects a parameter that is not there"},
	0xc4: {sms.Misconfigured, "the provider does not take the value of an optional parameter"},
	0xfe: {sms.Rejected, "the text could not be delivered"},
	0xff: {sms.Rejected, "the provider refused it without a reason"},

	0x100: {sms.Unauthorized, "the account may not use this service"},
	0x101: {sms.Unauthorized, "the account may not do this"},
	0x102: {sms.Transient, "the service is not there now"},
	0x103: {sms.Unauthorized, "the service is denied to this account"},
	0x104: {sms.Misconfigured, "the provider does not take this coding: ask which alphabets it takes"},
}

// refusal makes a classed error of a status other than OK.
func (t *Transport) refusal(what string, s pdu.Status) error {
	m, ok := statuses[s]
	if !ok {
		m = meaning{sms.Rejected, "see the provider's list of error codes, and name what it means under codes"}
	}
	if c, overruled := t.opt.Codes[s]; overruled {
		m.class = c
	}
	return failure(m.class, s.String(), fmt.Errorf("%s: %s", what, m.words))
}
