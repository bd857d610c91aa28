package pbx

import "time"

// Direction tells who started a call that crosses the office's border. Calls
// inside the office have no Direction because they are never published.
type Direction string

const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

// Outcome is where a call ended. The constants are listed in the order in
// which they are tried: the first that is true is the outcome.
type Outcome string

const (
	Answered    Outcome = "answered"    // a person and the caller were connected
	Voicemail   Outcome = "voicemail"   // no person; the caller reached a mailbox
	Abandoned   Outcome = "abandoned"   // the caller hung up while a phone was undecided or while queueing
	Unattended  Outcome = "unattended"  // no phone was tried: menu, announcement, closed, queue without agents
	Declined    Outcome = "declined"    // the last phone to stop ringing was refused by hand
	RangOut     Outcome = "rang_out"    // phones rang, nobody took it
	Busy        Outcome = "busy"        // none rang, at least one was busy
	Unreachable Outcome = "unreachable" // none rang: unregistered, do-not-disturb, congestion
	Unknown     Outcome = "unknown"     // the evidence cannot say whether a person answered
)

// Outcomes lists every Outcome in its deciding order.
var Outcomes = []Outcome{Answered, Voicemail, Abandoned, Unattended, Declined, RangOut, Busy, Unreachable, Unknown}

// Reason says why no person answered, also when a mailbox then took the call.
// It is empty for answered and unknown calls.
type Reason string

const (
	ReasonRangOut      Reason = "rang_out"
	ReasonDeclined     Reason = "declined"
	ReasonBusy         Reason = "busy"
	ReasonUnreachable  Reason = "unreachable"
	ReasonCallerHungUp Reason = "caller_hung_up"
	ReasonNotTried     Reason = "not_tried"
)

// Reasons lists every Reason.
var Reasons = []Reason{ReasonRangOut, ReasonDeclined, ReasonBusy, ReasonUnreachable, ReasonCallerHungUp, ReasonNotTried}

// Result is what became of one phone that was tried.
type Result string

const (
	ResultAnswered    Result = "answered"
	ResultNoAnswer    Result = "no_answer"
	ResultDeclined    Result = "declined"
	ResultBusy        Result = "busy"
	ResultUnreachable Result = "unreachable"
	ResultCancelled   Result = "cancelled"   // the caller gave up while it rang
	ResultElsewhere   Result = "elsewhere"   // a colleague took the call
	ResultForwarded   Result = "forwarded"   // the phone sent the call on (SIP 302)
	ResultUnconfirmed Result = "unconfirmed" // picked up, never connected to the caller
)

// Results lists every Result.
var Results = []Result{ResultAnswered, ResultNoAnswer, ResultDeclined, ResultBusy, ResultUnreachable,
	ResultCancelled, ResultElsewhere, ResultForwarded, ResultUnconfirmed}

// Gap names evidence that is missing from a Call.
type Gap string

const (
	GapAttachedLate     Gap = "attached_late"     // the call was up before textback saw the PBX
	GapEventsLost       Gap = "events_lost"       // the connection to the PBX broke during the call
	GapOneSide          Gap = "one_side"          // only the trunk side or only the phones were visible
	GapWitnessDisagrees Gap = "witness_disagrees" // two sources tell different stories
	GapNoFinal          Gap = "no_final"          // a leg never showed how it ended
	GapForcedClose      Gap = "forced_close"      // closed by age, not by an end
	GapMachineKind      Gap = "machine_kind"      // a machine answered, which kind is not known
)

// Gaps lists every Gap.
var Gaps = []Gap{GapAttachedLate, GapEventsLost, GapOneSide, GapWitnessDisagrees, GapNoFinal, GapForcedClose, GapMachineKind}

// EndedBy says who ended a call.
type EndedBy string

const (
	EndedByCaller EndedBy = "caller"
	EndedByPBX    EndedBy = "pbx"
	EndedByCallee EndedBy = "callee"
)

// State is how far a call has come; only live calls have a State other than Ended.
type State string

const (
	StateStarting State = "starting"
	StateRinging  State = "ringing"
	StateAnswered State = "answered"
	StateEnded    State = "ended"
)

// A Call is everything that happened from the outside leg's creation to its
// end. Zero times, nil pointers and empty strings mean unknown or not
// applicable. Durations are never negative.
type Call struct {
	ID        string // unique within Site: the outside leg's id at the PBX
	Site      string // the admin's name for this office
	Source    string // who saw it: "ari", "sip"
	Direction Direction
	State     State
	Outcome   Outcome // empty while the call lives and nothing is decided
	Reason    Reason
	Caller    Caller // always the outside party, outbound too
	Line      Line   // always our number

	StartedAt  time.Time
	AnsweredAt time.Time // when the person was connected
	EndedAt    time.Time // zero while the call lives

	Ring time.Duration // at least one real phone rang (union over phones)
	Wait time.Duration // from the start to the person, the mailbox or the end
	Talk time.Duration // from AnsweredAt to the end

	AnsweredBy *Answerer
	EndedBy    EndedBy
	Voicemail  *Mailbox
	Queue      *Queue
	Menu       bool // a menu (Background, Read, WaitExten) ran
	Forwarded  bool // a phone sent the call on
	Attempts   []Attempt
	Certain    bool // it is proven whether a person answered
	Gaps       []Gap

	// PBX holds device states and variables of the PBX that the admin asked for, as
	// they were when the call ended: "Custom:DAYNIGHT0": "INUSE".
	PBX map[string]string
}

// Missed reports whether nobody in the office took this inbound call. An
// unknown outcome is not a missed call.
func (c *Call) Missed() bool {
	return c.Direction == Inbound && c.Outcome != "" && c.Outcome != Answered && c.Outcome != Unknown
}

// HasGap reports whether g is among the call's gaps.
func (c *Call) HasGap(g Gap) bool {
	for _, have := range c.Gaps {
		if have == g {
			return true
		}
	}
	return false
}

// Caller is the outside party of a call.
type Caller struct {
	Number      string // E.164, empty when there is none that can be trusted to be one
	Raw         string // as the PBX showed it
	Name        string
	Anonymous   bool   // withheld: by presentation, by Privacy, or by the name of the number
	Attestation string // STIR/SHAKEN: "A", "B", "C", "failed", or empty when the PBX does not say
}

// Line is the office's own number in a call.
type Line struct {
	Number string // E.164, empty when Raw cannot be made one
	Raw    string // the extension dialled on the trunk, or the outbound caller ID
	Name   string // the admin's name for it
}

// Answerer is the person's phone that was connected to the caller.
type Answerer struct {
	Endpoint  string // "PJSIP/101"
	Extension string
	Name      string
	External  bool // the phone lies outside the office (forwarded to a mobile)
}

// Mailbox is the voicemail box a caller reached.
type Mailbox struct {
	Mailbox     string // "101@default"; empty when not known which
	MessageLeft *bool  // nil: not known
}

// Queue is the last queue a caller waited in.
type Queue struct {
	Name string
	Wait time.Duration
}

// Attempt is one phone tried for a call.
type Attempt struct {
	Endpoint  string // "PJSIP/101"
	Extension string
	Name      string
	Result    Result
	Ring      time.Duration
	SIPStatus int // final SIP status of the phone's leg, 0 when not known
	Q850Cause int // ITU-T Q.850 cause of the leg's end, 0 when not known
}
