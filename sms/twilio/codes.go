package twilio

import "textback/sms"

type meaning struct {
	class sms.Class
	words string
}

// codes are those of Twilio's error codes that are definite: the text was not
// sent. Twilio warns that it changes them, so a code that is not here falls
// back on the HTTP status and nothing depends on the list being complete. 3xxxx codes mostly
// arrive in delivery receipts, a few also in the answer to a submit.
var codes = map[string]meaning{
	"20003": {sms.Unauthorized, "the account SID and the token or API key do not belong together, or the account has no credit"},
	"20005": {sms.Unauthorized, "the account is not active: look at its console"},
	"20006": {sms.Unauthorized, "the API key may not do this"},
	"20008": {sms.Unauthorized, "these are test credentials: use the live ones"},
	"20403": {sms.Unauthorized, "the account may not do this"},
	"20404": {sms.Misconfigured, "no such account at this base URL: check account_sid and base_url"},

	"20429": {sms.Throttled, "too many requests at once"},
	"14107": {sms.Throttled, "too many texts at once"},
	"21611": {sms.Throttled, "the sender's queue at the provider is full"},
	"30001": {sms.Throttled, "the sender's queue at the provider is full"},
	"30022": {sms.Throttled, "the carrier's rate limit for this campaign is reached"},
	"30023": {sms.Throttled, "the carrier's daily limit for this brand is reached"},

	"21610": {sms.OptedOut, "the recipient has sent STOP to this sender"},

	"21614": {sms.NotMobile, "the number takes no texts"},
	"21635": {sms.NotMobile, "the number is a landline"},
	"30006": {sms.NotMobile, "the number is a landline or its carrier cannot be reached"},

	"21211": {sms.Invalid, "not a valid number"},
	"21214": {sms.Invalid, "the number cannot be reached"},
	"21217": {sms.Invalid, "not a valid number"},
	"21266": {sms.Invalid, "sender and recipient are the same number"},
	"21268": {sms.Invalid, "a premium or information number"},
	"30005": {sms.Invalid, "no such number"},

	"30007": {sms.Blocked, "the carrier's filter took it for spam"},

	"21408": {sms.RegionDenied, "the account may not text this country: allow it under Geo Permissions"},

	"21212": {sms.Misconfigured, "the sender is not a valid number"},
	"21603": {sms.Misconfigured, "there is no sender: set from or messaging_service_sid"},
	"21606": {sms.Misconfigured, "the sender is not a text-capable number of this account"},
	"21608": {sms.Misconfigured, "a trial account texts verified numbers only: upgrade it"},
	"21609": {sms.Misconfigured, "the provider cannot call the URL for receipts: check the webhooks' public_url"},
	"21659": {sms.Misconfigured, "the sender is not a number of this provider"},
	"21660": {sms.Misconfigured, "the sender is not a number of this account"},
	"21661": {sms.Misconfigured, "the sender cannot send texts"},
	"21701": {sms.Misconfigured, "the messaging service does not exist"},
	"21703": {sms.Misconfigured, "the messaging service has no sender"},
	"21705": {sms.Misconfigured, "the messaging service SID is not valid"},
	"30002": {sms.Misconfigured, "the account is suspended: look at its console"},
	"30024": {sms.Misconfigured, "the sender is not provisioned with the carrier"},
	"30032": {sms.Misconfigured, "the toll-free sender is not verified"},
	"30034": {sms.Misconfigured, "the sender is not registered for business texting (A2P 10DLC)"},

	"30003": {sms.Transient, "the phone is switched off or out of reach"},
	"30008": {sms.Transient, "the carrier gives no reason"},

	"21602": {sms.Rejected, "the text is empty"},
	"21612": {sms.Rejected, "the sender cannot reach this recipient"},
	"21617": {sms.Rejected, "the text is longer than 1600 characters"},
	"30004": {sms.Rejected, "the recipient or the carrier blocks texts"},
	"30036": {sms.Rejected, "the text waited in the provider's queue longer than its validity"},
}

// ClassOfCode tells the class of one of Twilio's error codes, from an answer
// or from a delivery receipt. ok is false for codes that are not known to mean
// that the text was not sent.
func ClassOfCode(code string) (class sms.Class, ok bool) {
	m, ok := codes[code]
	return m.class, ok
}
