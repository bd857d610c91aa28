package lab

import (
	"strings"

	"textback/pbx"
)

// unattended are menus and announcements.
func unattended() []Scenario {
	const menu = `
[ivr-{name}]
exten => s,1,Answer()
 same => n,Background(vm-goodbye&vm-goodbye)
 same => n,WaitExten(5)
exten => 1,1,Dial(PJSIP/{a},3)
 same => n,Hangup()
`
	return []Scenario{{
		Name: "menu_rang_out", About: "The caller presses 1 in a menu, the phone rings out.",
		plan: "Goto(ivr-{name},s,1)", further: menu,
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{keys: []key{{2 * second, "1"}}}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Menu: true, Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "menu_left", About: "The caller hangs up in a menu.",
		plan: "Goto(ivr-{name},s,1)", further: menu,
		callers: []caller{{talk: 2 * second}},
		Truth:   []Call{{Outcome: pbx.Unattended, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByCaller, Menu: true}},
	}, {
		Name: "menu_ran_out", About: "The caller presses nothing in a menu, the PBX hangs up.",
		plan: "Goto(ivr-{name},s,1)", further: strings.Replace(menu, "WaitExten(5)", "WaitExten(2)", 1),
		callers: []caller{{}},
		Truth:   []Call{{Outcome: pbx.Unattended, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByPBX, Menu: true}},
	}, {
		Name: "menu_read", About: "The caller presses 1 in a menu made with Read, the phone is answered.",
		plan:    "Answer()\nRead(CHOICE,beep,1,,1,5)\nDial(PJSIP/{a},8)",
		phones:  []phone{{role: "a", ring: 2 * second}},
		callers: []caller{{keys: []key{{second, "1"}}, talk: 4 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Menu: true, Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "closed_unanswered", About: "The caller hears that the office is closed without being charged for it.",
		plan:    "Progress()\nPlayback(vm-goodbye,noanswer)",
		callers: []caller{{fails: true}},
		Truth:   []Call{{Outcome: pbx.Unattended, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByPBX}},
	}, {
		Name: "closed", About: "The caller hears that the office is closed.",
		plan:    "Answer()\nPlayback(vm-goodbye)",
		callers: []caller{{}},
		Truth:   []Call{{Outcome: pbx.Unattended, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByPBX}},
	}}
}

// mailboxes are calls that end at voicemail. With option s the mailbox only
// beeps; with u it greets for so long that a caller leaves within.
func mailboxes() []Scenario {
	return []Scenario{{
		Name: "voicemail_message", About: "No phone is tried, the caller leaves a message.",
		plan:    "VoiceMail({a}@default,s)",
		callers: []caller{{tone: true, talk: 4 * second}},
		Truth:   []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByCaller, MessageLeft: yes()}},
	}, {
		Name: "voicemail_greeting", About: "No phone is tried, the caller hangs up in the greeting.",
		plan:    "VoiceMail({a}@default,u)",
		callers: []caller{{talk: 2 * second}},
		Truth:   []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByCaller, MessageLeft: no()}},
	}, {
		Name: "rang_out_message", About: "Phone rings out, the caller leaves a message.",
		plan:    "Dial(PJSIP/{a},3)\nVoiceMail({a}@default,s)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{tone: true, talk: 4 * second}},
		Truth: []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByCaller, MessageLeft: yes(), Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "rang_out_greeting", About: "Phone rings out, the caller hangs up in the mailbox's greeting.",
		plan:    "Dial(PJSIP/{a},3)\nVoiceMail({a}@default,u)",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByCaller, MessageLeft: no(), Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "declined_greeting", About: "Phone is declined, the caller hangs up in the mailbox's greeting.",
		plan:    "Dial(PJSIP/{a},8)\nVoiceMail({a}@default,u)",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}},
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonDeclined, EndedBy: pbx.EndedByCaller, MessageLeft: no(), Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}}}},
	}, {
		Name: "unregistered_greeting", About: "Phone is not registered, the caller hangs up in the mailbox's greeting.",
		plan: "Dial(PJSIP/{a},8)\nVoiceMail({a}@default,u)", unregistered: true,
		callers: []caller{{talk: 2 * second}},
		Truth: []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonUnreachable, EndedBy: pbx.EndedByCaller, MessageLeft: no(),
			Attempts: []Attempt{{"a", pbx.ResultUnreachable, 0}}}},
	}, {
		Name: "busy_message", About: "Phone is busy, the caller leaves a message.",
		plan:    "Dial(PJSIP/{a},8)\nVoiceMail({a}@default,bs)",
		phones:  []phone{{role: "a", status: 486}},
		callers: []caller{{tone: true, talk: 9 * second}},
		Truth: []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonBusy, EndedBy: pbx.EndedByCaller, MessageLeft: yes(),
			Attempts: []Attempt{{"a", pbx.ResultBusy, 0}}}},
	}}
}

// queues are calls that wait for an agent.
func queues() []Scenario {
	return []Scenario{{
		Name: "queue_abandoned", About: "The caller leaves a queue while an agent's phone rings.",
		plan: "Answer()\nQueue({name})", queue: "timeout = 10\nretry = 1\nmember => PJSIP/{a}",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{talk: 3 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Queue: "{name}", Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 3 * second}}}},
	}, {
		Name: "queue_declined", About: "The agent declines, the caller then leaves the queue.",
		plan: "Answer()\nQueue({name})", queue: "timeout = 10\nretry = 5\nmember => PJSIP/{a}",
		phones:  []phone{{role: "a", ring: 2 * second, status: 603}},
		callers: []caller{{talk: 4 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Queue: "{name}", Ring: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultDeclined, 2 * second}}}},
	}, {
		Name: "queue_timeout", About: "The queue gives the caller up while an agent's phone rings.",
		plan: "Answer()\nQueue({name},,,,3)", queue: "timeout = 10\nretry = 1\nmember => PJSIP/{a}",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Queue: "{name}", Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "queue_retries", About: "The queue rings the agent's phone twice and gives the caller up.",
		plan: "Answer()\nQueue({name},,,,5)", queue: "timeout = 2\nretry = 1\nmember => PJSIP/{a}",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Queue: "{name}", Ring: 4 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 2 * second}, {"a", pbx.ResultNoAnswer, 2 * second}}}},
	}, {
		Name: "queue_answered", About: "An agent answers a queued caller.",
		plan: "Answer()\nQueue({name})", queue: "timeout = 10\nretry = 1\nmember => PJSIP/{a}",
		phones:  []phone{{role: "a", ring: 2 * second}},
		callers: []caller{{talk: 4 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Queue: "{name}", Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, 2 * second}}}},
	}, {
		Name: "queue_empty", About: "The queue has no agents and does not let the caller in.",
		plan: "Answer()\nQueue({name})\nPlayback(vm-goodbye)", queue: "joinempty = no",
		callers: []caller{{}},
		Truth:   []Call{{Outcome: pbx.Unattended, Reason: pbx.ReasonNotTried, EndedBy: pbx.EndedByPBX, Queue: "{name}"}},
	}, {
		Name: "queue_message", About: "The queue gives the caller up, who leaves a message.",
		plan: "Answer()\nQueue({name},,,,3)\nVoiceMail({a}@default,s)", queue: "timeout = 10\nretry = 1\nmember => PJSIP/{a}",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{tone: true, talk: 7 * second}},
		Truth: []Call{{Outcome: pbx.Voicemail, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByCaller, Queue: "{name}", MessageLeft: yes(), Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "queue_local_abandoned", About: "An agent behind a Local channel does not answer, the caller leaves.",
		plan: "Answer()\nQueue({name})", queue: "timeout = 10\nretry = 1\nmember => Local/{a}@from-internal/n",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{talk: 3 * second}},
		Truth: []Call{{Outcome: pbx.Abandoned, Reason: pbx.ReasonCallerHungUp, EndedBy: pbx.EndedByCaller, Queue: "{name}", Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultCancelled, 3 * second}}}},
	}, {
		Name: "queue_local_timeout", About: "An agent behind a Local channel does not answer, the queue gives up.",
		plan: "Answer()\nQueue({name},,,,3)", queue: "timeout = 10\nretry = 1\nmember => Local/{a}@from-internal/n",
		phones:  []phone{{role: "a", ring: until}},
		callers: []caller{{}},
		Truth: []Call{{Outcome: pbx.RangOut, Reason: pbx.ReasonRangOut, EndedBy: pbx.EndedByPBX, Queue: "{name}", Ring: 3 * second,
			Attempts: []Attempt{{"a", pbx.ResultNoAnswer, 3 * second}}}},
	}, {
		Name: "queue_local_answered", About: "An agent behind a Local channel answers.",
		plan: "Answer()\nQueue({name})", queue: "timeout = 10\nretry = 1\nmember => Local/{a}@from-internal/n",
		phones:  []phone{{role: "a", ring: 2 * second}},
		callers: []caller{{talk: 4 * second}},
		Truth: []Call{{Outcome: pbx.Answered, AnsweredBy: "a", EndedBy: pbx.EndedByCaller, Queue: "{name}", Ring: 2 * second, Talk: 2 * second,
			Attempts: []Attempt{{"a", pbx.ResultAnswered, 2 * second}}}},
	}}
}
