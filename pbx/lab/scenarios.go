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

// write writes every scenario down. Phones ring for 2 to 4 seconds: long
// enough to tell apart, short enough to wait for.
func write() []Scenario {
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
		Name: "abandoned", About: "The caller hangs up while the phone rings.",
		plan:    "Dial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{cancel: 3 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 3 * second}}}},
	}}
}
