package telnyx

import (
	"strings"

	"textback/sms"
	"textback/sms/once"
)

// problem is one of the errors in an answer or a receipt.
type problem struct {
	Code  once.Word `json:"code"`
	Title string    `json:"title"`
}

type meaning struct {
	class sms.Class
	words string
}

// stopped is said of numbers that have sent STOP, and of a few others.
const stopped = "40300"

// codes are those of the provider's error codes that are definite: the text was
// not sent. A code that is not here falls back on the HTTP status.
var codes = map[string]meaning{
	"10009": {sms.Unauthorized, "the API key is not accepted"},
	"10010": {sms.Unauthorized, "the API key may not do this"},
	"20100": {sms.NoCredit, "the account has no credit"},

	"10011": {sms.Throttled, "too many requests at once"},
	"40011": {sms.Throttled, "too many texts at once"},
	"40016": {sms.Throttled, "the carrier's daily limit for this brand is reached"},
	"40018": {sms.Throttled, "the carrier's rate limit for this campaign is reached"},
	"40318": {sms.Throttled, "the sender's queue at the provider is full"},

	stopped: {sms.Rejected, "the provider blocks texts from this sender to this recipient"},

	"40001": {sms.NotMobile, "the number is a landline or cannot be reached"},

	"10002": {sms.Invalid, "not a valid number"},
	"10016": {sms.Invalid, "not a number with its country code"},
	"40012": {sms.Invalid, "not a valid number"},
	"40310": {sms.Invalid, "not a valid number"},

	"40002": {sms.Blocked, "the carrier's filter took it for spam"},
	"40003": {sms.Blocked, "the carrier blocks this sender as a source of spam"},
	"40015": {sms.Blocked, "the provider's filter took it for spam"},
	"40322": {sms.Blocked, "the provider refuses these words"},

	"40309": {sms.RegionDenied, "the messaging profile may not text this country: allow it among its destinations"},

	"40010": {sms.Misconfigured, "the sender is not registered for business texting (A2P 10DLC)"},
	"40013": {sms.Misconfigured, "the sender is not a valid number"},
	"40305": {sms.Misconfigured, "the sender is not a number of a messaging profile of this account"},
	"40312": {sms.Misconfigured, "the messaging profile is switched off"},
	"40315": {sms.Misconfigured, "the provider has paused this sender: too few of its texts arrive"},
	"40321": {sms.Misconfigured, "the messaging profile has no number that can send"},
	"40329": {sms.Misconfigured, "the toll-free sender is not verified"},

	"40004": {sms.Transient, "the recipient's carrier gives no reason"},
	"40006": {sms.Transient, "the recipient's carrier cannot be reached"},

	"40005": {sms.Rejected, "the text waited in a queue longer than its validity"},
	"40008": {sms.Rejected, "the carrier did not accept the text"},
	"40009": {sms.Rejected, "the text holds characters that cannot be sent"},
	"40014": {sms.Rejected, "the text waited in the provider's queue longer than its validity"},
	"40302": {sms.Rejected, "the text is too long"},
	"40316": {sms.Rejected, "the text is empty"},
}

// classOf tells the class of the first of errors that is known, and its code.
// Without a known one the class is empty, and code the first that is a code.
func classOf(errors []problem) (class sms.Class, code string) {
	for _, e := range errors {
		c := e.Code.Clean()
		if m, ok := codes[c]; ok {
			if c == stopped && strings.Contains(strings.ToUpper(e.Title), "STOP") {
				return sms.OptedOut, c
			}
			return m.class, c
		}
		if code == "" {
			code = c
		}
	}
	return "", code
}

// advice says code in words of our own: the provider's sentences quote numbers.
func advice(code string) string {
	if m, ok := codes[code]; ok {
		return m.words
	}
	if code == "" {
		return "refused without a provider code"
	}
	return "see the provider's list of error codes"
}

// final sorts the provider's word for the state of a text.
func final(status string) sms.Delivery {
	switch status {
	case "delivered", "read":
		return sms.Delivered
	case "sending_failed", "delivery_failed", "expired", "cancelled":
		return sms.Undelivered
	}
	// delivery_unconfirmed among them: the carrier gives no receipts, and the text
	// may well have arrived.
	return sms.EnRoute
}
