package sms

import (
	"fmt"
	"slices"
	"strings"
)

// optOutRegions are those where who is texted for business must be able to say stop
// by answering, or as simply. Not legal advice; where in doubt it is listed.
//
//	US: 47 CFR 64.1200(a)(10), any reasonable means, a reply with STOP among them; CTIA Messaging Principles 5.1
//	CA: Canada's Anti-Spam Legislation, s. 11, by the same means as the message
//	GB: Privacy and Electronic Communications Regulations 2003, reg. 22(3)(c)
//	AU: Spam Act 2003, s. 18, a functional unsubscribe facility
//	NZ: Unsolicited Electronic Messages Act 2007, s. 11, by the same means
//	SG: Spam Control Act 2007, second schedule; ZA: ECT Act s. 45 with POPIA s. 69
//	EU and EEA, CH: Directive 2002/58/EC, art. 13(2) and (4), an address to which a request to stop may be sent; CH: UWG art. 3(1)(o)
var optOutRegions = strings.Fields("US CA PR VI GU AS MP GB AU NZ SG ZA CH AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE IS LI NO")

// NeedsWayIn reports whether texts to region need a way in for STOP.
func NeedsWayIn(region string) bool { return slices.Contains(optOutRegions, region) }

// CheckWayIn says why a transport may not text regions: nobody could tell it to
// stop. handledBy is who hears STOP in its place, as the configuration states
// (sms.opt_out_handled_by): the carrier, a provider's list, a telephone number in every text.
func CheckWayIn(name string, t Traits, regions []string, handledBy string) error {
	if t.Replies != NoReplies && t.Replies != "" || strings.TrimSpace(handledBy) != "" {
		return nil
	}
	var bound []string
	for _, r := range regions {
		if NeedsWayIn(r) && !slices.Contains(bound, r) {
			bound = append(bound, r)
		}
	}
	if len(bound) == 0 {
		return nil
	}
	return fmt.Errorf("nobody who is texted by %s could say stop, for it brings no replies, and in %s one must be able to: give it a way in (most providers call webhooks.public_url), or say who hears it in sms.opt_out_handled_by", name, strings.Join(bound, ", "))
}
