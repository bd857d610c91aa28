package lab

import (
	"time"

	"textback/pbx"
)

const (
	second = time.Second
	half   = time.Second / 2
)

func yes() *bool { b := true; return &b }
func no() *bool  { return new(bool) }

// plain is one phone, or one after the other. Phones ring for 2 to 4 seconds:
// long enough to tell apart, short enough to wait for.
func plain() []Scenario {
	return []Scenario{{
		Name: "answered_caller_ends", About: "Phone rings, is answered, the caller hangs up.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "answered_callee_ends", About: "Phone rings, is answered, the person in the office hangs up.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: 2 * second, hangup: 2 * second}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCallee, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "rang_out", About: "Phone rings until the PBX gives up.",
		plan:    "Dial(PJSIP/{a},3)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "declined_603", About: "Phone rings, its reject key sends 603.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Declined, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByPBX, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}}}},
	}, {
		Name: "declined_486", About: "Phone rings, its reject key sends 486.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 486}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Declined, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByPBX, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}}}},
	}, {
		Name: "declined_announcement", About: "Phone is declined, the caller hangs up in the announcement that follows.",
		plan:    "Dial(PJSIP/{a},8)\nPlayback(vm-goodbye&vm-goodbye&vm-goodbye)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}},
		callers: []caller{{talk: 1 * second}},
		Truth: []Call{{Outcome: pbx.Declined, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByCaller, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}}}},
	}, {
		Name: "busy", About: "Phone is busy and says 486 at once.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", status: 486}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Busy, Reason: pbx.ReasonBusy, EndedBy: pbx.EndedByPBX,
			Attempts: []Attempt{{"a", pbx.ResultBusy, 0}}}},
	}, {
		Name: "dnd", About: "Phone is set to do not disturb and says 480 at once.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", status: 480}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Unreachable, Reason: pbx.ReasonUnreachable, EndedBy: pbx.EndedByPBX,
			Attempts: []Attempt{{"a", pbx.ResultUnreachable, 0}}}},
	}, {
		Name: "phone_gives_up", About: "Phone rings and stops by itself with 480.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 480}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 2 * second}}}},
	}, {
		Name: "phone_times_out", About: "Phone rings and stops by itself with 408.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 408}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 2 * second}}}},
	}, {
		Name: "mute", About: "Phone is registered and never says a word.",
		plan:    "Dial(PJSIP/{a},3)",
		phones:  []phone{{role: "a", mute: true}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Unreachable, Reason: pbx.ReasonUnreachable, EndedBy: pbx.EndedByPBX,
			Attempts: []Attempt{{"a", pbx.ResultUnreachable, 0}}}},
	}, {
		Name: "early_media", About: "Phone rings with a sound of its own until the PBX gives up.",
		plan:    "Dial(PJSIP/{a},3)",
		phones:  []phone{{role: "a", early: true, ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "unregistered", About: "Phone is not registered.",
		plan: "Dial(PJSIP/{a},8)", unregistered: true,
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Unreachable, Reason: pbx.ReasonUnreachable, EndedBy: pbx.EndedByPBX,
			Attempts: []Attempt{{"a", pbx.ResultUnreachable, 0}}}},
	}, {
		Name: "abandoned", About: "The caller hangs up while the phone rings.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{cancel: 3 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 3 * second}}}},
	}, {
		Name: "abandoned_unrung", About: "The caller hangs up before the phone rings.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", mute: true}},
		callers: []caller{{unrung: true, cancel: 3 * half}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 0}}}},
	}, {
		Name: "one_ring", About: "The caller hangs up as soon as the phone rings.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{cancel: 300 * time.Millisecond}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Ring: 300 * time.Millisecond,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 300 * time.Millisecond}}}},
	}, {
		Name: "chain_declined_rang_out", About: "First phone is declined, the next one rings out.",
		plan:    "Dial(PJSIP/{a},8)\nDial(PJSIP/{b},3)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}, {role: "b", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 5 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}, {"b", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "chain_rang_out_declined", About: "First phone rings out, the next one is declined.",
		plan:    "Dial(PJSIP/{a},2)\nDial(PJSIP/{b},8)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: 2 * second, status: 603}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Declined, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByPBX, Ring: 4 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 2 * second}, {"b", pbx.ResultDeclined, 2 * second}}}},
	}, {
		Name: "chain_declined_busy", About: "First phone is declined, the next one is busy.",
		plan:    "Dial(PJSIP/{a},8)\nDial(PJSIP/{b},8)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}, {role: "b", status: 486}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Declined, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByPBX, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}, {"b", pbx.ResultBusy, 0}}}},
	}, {
		Name: "chain_rang_out_answered", About: "First phone rings out, the next one answers.",
		plan:    "Dial(PJSIP/{a},2)\nDial(PJSIP/{b},8)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "b", EndedBy: pbx.EndedByCaller, Ring: 4 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 2 * second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}}
}
