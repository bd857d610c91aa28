package lab

import "textback/pbx"

// groups are several phones at once.
func groups() []Scenario {
	return []Scenario{{
		Name: "group_rang_out", About: "Three phones ring, nobody answers.",
		plan:    "Dial(PJSIP/{a}&PJSIP/{b}&PJSIP/{c},3)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: until}, {role: "c", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}, {"b", pbx.ResultNoAnswer, 3 * second}, {"c", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "group_answered", About: "Two phones ring, the second answers.",
		plan:    "Dial(PJSIP/{a}&PJSIP/{b},8)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "b", EndedBy: pbx.EndedByCaller, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultElsewhere, 2 * second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "group_one_declines", About: "Two phones ring, one is declined, the other rings on in vain.",
		plan:    "Dial(PJSIP/{a}&PJSIP/{b},4)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}, {role: "b", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 4 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}, {"b", pbx.ResultNoAnswer, 4 * second}}}},
	}, {
		Name: "group_declined_last", About: "Two phones ring, one stops by itself, the other is then declined.",
		plan:    "Dial(PJSIP/{a}&PJSIP/{b},8)",
		phones:  []phone{{role: "a", ring: second, status: 480}, {role: "b", ring: 3 * second, status: 603}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Declined, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByPBX, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, second}, {"b", pbx.ResultDeclined, 3 * second}}}},
	}, {
		Name: "group_abandoned", About: "Two phones ring, one is declined, the caller leaves while the other rings on.",
		plan:    "Dial(PJSIP/{a}&PJSIP/{b},8)",
		phones:  []phone{{role: "a", ring: second, status: 603}, {role: "b", ring: until}},
		callers: []caller{{cancel: 3 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, second}, {"b", pbx.ResultCancelled, 3 * second}}}},
	}, {
		Name: "group_busy_dnd", About: "Two phones, one busy, one set to do not disturb: none rings.",
		plan:    "Dial(PJSIP/{a}&PJSIP/{b},8)",
		phones:  []phone{{role: "a", status: 486}, {role: "b", status: 480}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.Busy, Reason: pbx.ReasonBusy, EndedBy: pbx.EndedByPBX,
			Attempts: []Attempt{{"a", pbx.ResultBusy, 0}, {"b", pbx.ResultUnreachable, 0}}}},
	}, {
		Name: "group_mobile", About: "A desk phone and a mobile outside ring, the mobile answers.",
		plan:    "Dial(PJSIP/{a}&Local/{mobile}@from-internal/n,8)",
		phones:  []phone{{role: "a", ring: until}, {role: "far", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, External: true, EndedBy: pbx.EndedByCaller, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultElsewhere, 2 * second}, {"", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "group_local_rang_out", About: "Two phones behind Local channels ring out.",
		plan:    "Dial(Local/{a}@from-internal/n&Local/{b}@from-internal/n,3)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}, {"b", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "group_local_answered", About: "Two phones behind Local channels that stay for the conversation, the second answers.",
		plan:    "Dial(Local/{a}@from-internal/n&Local/{b}@from-internal/n,8)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "b", EndedBy: pbx.EndedByCaller, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultElsewhere, 2 * second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "group_local_optimized", About: "Two phones behind Local channels that step out of the conversation, the second answers and hangs up.",
		plan:    "Dial(Local/{a}@from-internal&Local/{b}@from-internal,8)",
		phones:  []phone{{role: "a", ring: until}, {role: "b", ring: 2 * second, hangup: 2 * second}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "b", EndedBy: pbx.EndedByCallee, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultElsewhere, 2 * second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}}
}

// confirmations are follow-me calls: who picks up must press 1 to take the call.
func confirmations() []Scenario {
	return []Scenario{{
		Name: "confirmation_refused", About: "Follow-me: somebody, or a mailbox, picks up and never presses 1.",
		plan:    "Dial(PJSIP/{a},8,U(sub-confirm))",
		phones:  []phone{{role: "a", ring: 2 * second}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultUnconfirmed, 2 * second}}}},
	}, {
		Name: "confirmation_accepted", About: "Follow-me: somebody picks up and presses 1.",
		plan:    "Dial(PJSIP/{a},8,U(sub-confirm))",
		phones:  []phone{{role: "a", ring: 2 * second, keys: []key{{3 * half, "1"}}}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, 2 * second}}}},
	}}
}

// others are calls of more than one caller, of unknown ones, inside and out of the office.
func others() []Scenario {
	return []Scenario{{
		Name: "two_at_once", About: "One number calls twice at once, gives up once and is never answered.",
		plan:    "Dial(PJSIP/{a},4)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{cancel: 2 * second}, {after: second, fails: true}},
		Truth: []Call{
			{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Ring: 2 * second,
				Attempts: []Attempt{{"a", pbx.ResultCancelled, 2 * second}}},
			{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Ring: 4 * second,
				Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 4 * second}}},
		},
	}, {
		Name: "anonymous", About: "A caller who withholds the number hangs up while the phone rings.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{secret: true, cancel: 2 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Anonymous: true, Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 2 * second}}}},
	}, {
		Name: "internal", About: "One desk phone calls another: nothing is published.",
		phones:  []phone{{role: "a", ring: second}},
		callers: []caller{{from: "b", to: "{a}", talk: second}},
	}, {
		Name: "outbound_answered", About: "The office calls out and is answered.",
		phones:  []phone{{role: "far", ring: 2 * second}},
		callers: []caller{{from: "a", to: "{out}", talk: 2 * second}},
		Truth: []Call{{Direction: pbx.Outbound, Outcome: pbx.Answered, External: true, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "outbound_rang_out", About: "The office calls out, nobody answers.",
		phones:  []phone{{role: "far", ring: until}},
		callers: []caller{{from: "a", to: "{out}", fails: true}},
		Truth: []Call{{Direction: pbx.Outbound, Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, Ring: 4 * second,
			Attempts: []Attempt{{"", pbx.ResultNoAnswer, 4 * second}}}},
	}, {
		Name: "outbound_given_up", About: "The office calls out and gives up while it rings.",
		phones:  []phone{{role: "far", ring: until}},
		callers: []caller{{from: "a", to: "{out}", cancel: 2 * second}},
		Truth: []Call{{Direction: pbx.Outbound, Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, Ring: 2 * second,
			Attempts: []Attempt{{"", pbx.ResultCancelled, 2 * second}}}},
	}, {
		Name: "outbound_busy", About: "The office calls out, the line is busy.",
		phones:  []phone{{role: "far", status: 486}},
		callers: []caller{{from: "a", to: "{out}", fails: true}},
		Truth: []Call{{Direction: pbx.Outbound, Outcome: pbx.Busy, Reason: pbx.ReasonBusy,
			Attempts: []Attempt{{"", pbx.ResultBusy, 0}}}},
	}}
}
