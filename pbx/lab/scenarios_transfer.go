package lab

import "textback/pbx"

// forwards are phones that send their calls on with 302.
func forwards() []Scenario {
	return []Scenario{{
		Name: "forward_answered", About: "Phone forwards to another one, which answers.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: second, status: 302, contact: "{b}"}, {role: "b", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "b", EndedBy: pbx.EndedByCaller, Forwarded: true, Ring: 3 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultForwarded, second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "forward_rang_out", About: "Phone forwards to another one, which rings out.",
		plan:    "Dial(PJSIP/{a},4)",
		phones:  []phone{{role: "a", ring: second, status: 302, contact: "{b}"}, {role: "b", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Forwarded: true, Ring: 4 * second,
			Attempts: []Attempt{{"a", pbx.ResultForwarded, second}, {"b", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "forward_outside_rang_out", About: "Phone forwards to a mobile outside the office, which rings out.",
		plan:    "Dial(PJSIP/{a},4)",
		phones:  []phone{{role: "a", ring: second, status: 302, contact: "{mobile}"}, {role: "far", ring: until}},
		callers: []caller{{fails: true}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Forwarded: true, Ring: 4 * second,
			Attempts: []Attempt{{"a", pbx.ResultForwarded, second}, {"", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "forward_outside", About: "Phone forwards to a mobile outside the office, which answers.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: second, status: 302, contact: "{mobile}"}, {role: "far", ring: 2 * second}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Answered, External: true, EndedBy: pbx.EndedByCaller, Forwarded: true, Ring: 3 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultForwarded, second}, {"", pbx.ResultAnswered, 2 * second}}}},
	}}
}

// transfers are calls that change hands.
func transfers() []Scenario {
	return []Scenario{{
		Name: "pickup", About: "Phone rings, a colleague picks the call up at another one.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{talk: 2 * second}, {after: 2 * second, from: "b", to: "*8"}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "b", EndedBy: pbx.EndedByCaller, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultElsewhere, 2 * second}, {"b", pbx.ResultAnswered, 0}}}},
	}, {
		Name: "blind_transfer_rang_out", About: "Answered, then transferred to a phone that rings out.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: second, refer: "{b}"}, {role: "b", ring: until}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByPBX, Ring: 5 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, second}, {"b", pbx.ResultNoAnswer, 4 * second}}}},
	}, {
		Name: "blind_transfer_answered", About: "Answered, then transferred to a phone that answers.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: second, refer: "{b}"}, {role: "b", ring: 2 * second}},
		callers: []caller{{talk: 5 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "attended_transfer", About: "Answered, the colleague is asked first and then takes the call.",
		plan: "Dial(PJSIP/{a},8,tT)",
		phones: []phone{{role: "a", ring: second, keys: []key{{second, "*2"}, {half, "{b}"}}, hangup: 4 * second},
			{role: "b", ring: 2 * second}},
		callers: []caller{{talk: 10 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "attended_transfer_refer", About: "Answered, the desk phone asks a colleague in a second call and joins the two.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: second}, {role: "b", ring: 2 * second}},
		callers: []caller{{talk: 7 * second}, {after: 2 * second, from: "a", to: "{b}", talk: second, joins: true}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Ring: 3 * second, Talk: 7 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, second}, {"b", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "park_retrieved", About: "Answered, parked, and taken back at another phone.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: second, refer: "{lot}"}},
		callers: []caller{{talk: 6 * second}, {after: 7 * half, from: "b", to: "{slot}"}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Ring: second, Talk: 6 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, second}}}},
	}, {
		Name: "park_forgotten", About: "Answered, parked, and nobody comes back.",
		plan:    "Dial(PJSIP/{a},8,tT)",
		phones:  []phone{{role: "a", ring: second, refer: "{lot}"}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByPBX, Ring: second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, second}}}},
	}}
}
