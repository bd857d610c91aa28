package pbx

import (
	"strings"
	"time"

	"textback/pbx/number"
)

// Q.850 causes that decide something here.
const (
	causeBusy      = 17 // user busy
	causeRejected  = 21 // call rejected
	causeRedirect  = 23 // redirected to new destination
	causeElsewhere = 26 // non-selected user clearing: answered elsewhere
)

// refusedByDevice tells whether the device itself refused. 486 and 600 after
// ringing count as a refusal by hand: several desk phones' reject key sends
// them (CALLS.md, trap 2).
func (a *attempt) refused() bool {
	switch a.sip {
	case 603, 486, 600:
		return true
	case 0:
		return a.cause == causeBusy || a.cause == causeRejected
	}
	return a.cause == causeRejected || a.cause == causeBusy
}

// fromDevice tells whether the leg's end came from the device and not from the
// PBX taking the call back, which leaves cause 0, 16, 26 or 127, or the cause of
// another phone of the group that had refused (CALLS.md, "declined").
func (a *attempt) fromDevice() bool {
	if a.own {
		return true
	}
	switch a.cause {
	case 0, 16, causeElsewhere, causeRedirect, 127:
		return false
	}
	return a.status != "CANCEL"
}

// givenUp tells whether the phone was still undecided when the caller left.
func (c *call) givenUp(a *attempt) bool {
	if c.hungUp {
		return !a.stoppedAt.Before(c.hungUpAt.Add(-100 * time.Millisecond))
	}
	// The hang-up itself was not seen; the PBX's own word on the Dial is left.
	return c.dialCancel && c.answeredAt.IsZero() && (a.status == "CANCEL" || a.status == "")
}

// result decides what became of one phone, once the call is over.
func (c *call) result(a *attempt) Result {
	answered := !c.answeredAt.IsZero()
	switch {
	case a.connected:
		return ResultAnswered
	case a.forwarded || a.cause == causeRedirect:
		return ResultForwarded
	case a.up:
		if answered && !a.stoppedAt.Before(c.tookAt()) {
			return ResultElsewhere
		}
		return ResultUnconfirmed
	case a.fromDevice() && a.refused():
		if a.rang {
			return ResultDeclined
		}
		if a.sip == 486 || a.sip == 600 || a.sip != 603 && a.cause == causeBusy {
			return ResultBusy
		}
		return ResultUnreachable
	case a.fromDevice():
		if a.rang {
			return ResultNoAnswer
		}
		return ResultUnreachable
	case a.status == "BUSY" && !a.rang:
		return ResultBusy
	case a.cause == causeElsewhere && answered, answered && a.status == "CANCEL" && !a.stoppedAt.Before(c.tookAt()):
		return ResultElsewhere
	case answered && !a.endedAt.IsZero() && a.stoppedAt.Sub(c.tookAt()).Abs() < time.Second && a.status != "NOANSWER":
		// Taken back in the same moment: a colleague picked the call up, whose own
		// leg the PBX puts in the place of this one.
		return ResultElsewhere
	case c.givenUp(a):
		return ResultCancelled
	case a.rang:
		return ResultNoAnswer
	}
	return ResultUnreachable
}

// tookAt is when the answering phone was picked up, which is a little before
// the caller was connected to it.
func (c *call) tookAt() time.Time {
	if c.answeredBy != nil && c.answeredBy.attempt != nil && c.answeredBy.call == c && !c.answeredBy.attempt.stoppedAt.IsZero() {
		return c.answeredBy.attempt.stoppedAt
	}
	return c.answeredAt
}

// finish settles every attempt's result.
func (t *Tracker) finish(c *call) {
	for _, a := range c.attempts {
		a.Result = c.result(a)
		a.SIPStatus, a.Q850Cause = a.sip, a.cause
		if !a.fromDevice() {
			a.SIPStatus = 0
			if a.status == "CANCEL" && a.cause != causeElsewhere {
				a.Q850Cause = 0 // another leg's
			}
		}
		if a.Q850Cause < 1 || a.Q850Cause > 127 {
			a.Q850Cause = 0
		}
		if a.SIPStatus < 100 || a.SIPStatus > 699 {
			a.SIPStatus = 0
		}
		if !c.counts(a) {
			continue
		}
		if !a.stopped && !a.connected && c.answeredAt.IsZero() {
			// Neither the phone nor the PBX said how this one ended.
			c.addGap(GapNoFinal)
		}
	}
	if c.answeredAt.IsZero() {
		for _, a := range c.attempts {
			if a.taken && c.counts(a) {
				// The PBX connected the caller with this phone, and nobody saw a bridge:
				// it is not for us to say that nobody spoke.
				c.addGap(GapEventsLost)
				c.doubt = true
			}
			if by := a.leg.by; !a.rang && by != nil && by.progressed && !by.anyRang(c) {
				c.addGap(GapEventsLost)
			}
		}
	}
	// The queue says that the caller left although nobody saw the hang-up, and
	// not that it gave up itself: one of the two facts is missing.
	if c.queueAband && !c.queueGave && !c.hungUp && c.answeredAt.IsZero() && c.mailbox == nil {
		c.addGap(GapEventsLost)
	}
}

// anyRang tells whether any phone that l dialled for c has rung.
func (l *leg) anyRang(c *call) bool {
	for _, a := range c.attempts {
		if a.leg.by == l && a.rang {
			return true
		}
	}
	return false
}

// classify decides outcome and reason (CALLS.md, "Outcomes").
func (c *call) classify(out *Call) {
	if !c.answeredAt.IsZero() {
		out.Outcome, out.Certain = Answered, true
		return
	}
	if c.doubt {
		out.Outcome, out.Reason, out.Certain = Unknown, "", false
		return
	}
	out.Certain = true
	for _, g := range c.gaps {
		if g != GapMachineKind && g != GapOneSide {
			out.Certain = false
		}
	}
	without := c.withoutMailbox()
	if c.mailbox != nil {
		out.Outcome = Voicemail
		switch without {
		case Abandoned, Unattended:
			out.Reason = ReasonNotTried
		default:
			out.Reason = Reason(without)
		}
		return
	}
	out.Outcome = without
	switch without {
	case Abandoned:
		out.Reason = ReasonCallerHungUp
	case Unattended:
		out.Reason = ReasonNotTried
	default:
		out.Reason = Reason(without)
	}
}

// withoutMailbox is the outcome as if there were no mailbox and no answer.
func (c *call) withoutMailbox() Outcome {
	tried, rang, busy, sentOn, undecided := 0, false, false, 0, c.undecided
	for _, a := range c.attempts {
		if !c.counts(a) {
			continue
		}
		tried++
		rang = rang || a.rang
		busy = busy || a.Result == ResultBusy
		undecided = undecided || a.Result == ResultCancelled
		if a.Result == ResultForwarded {
			sentOn++
		}
		if a.Result == ResultUnconfirmed {
			rang = true // a phone that was picked up counts as having rung
		}
	}
	if c.mailbox == nil {
		// Every phone having sent the call on, the one it was sent to is undecided.
		undecided = undecided || tried > 0 && sentOn == tried
		if c.hungUp && (undecided || c.wasQueueing) || !c.hungUp && c.dialCancel {
			return Abandoned
		}
		if !c.hungUp && c.queueAband && !c.queueGave && c.queue != nil {
			return Abandoned
		}
	}
	switch {
	case tried == 0:
		return Unattended
	case rang && c.lastStop != nil && c.lastStop.Result == ResultDeclined:
		return Declined
	case rang:
		return RangOut
	case busy:
		return Busy
	}
	return Unreachable
}

// build makes the public Call of what is known now. Outcome and reason are
// left to classify.
func (t *Tracker) build(c *call) *Call {
	out := &Call{
		ID: c.id, Site: t.cfg.Site, Source: t.cfg.Source, Direction: c.dir, State: StateStarting,
		StartedAt: c.started, AnsweredAt: c.answeredAt, EndedAt: c.endedAt,
		Ring: c.ring, Menu: c.menu, Forwarded: c.forwarded, Gaps: append([]Gap(nil), c.gaps...),
	}
	t.parties(c, out)
	if c.ringing > 0 && c.endedAt.IsZero() {
		out.Ring += max(t.now.Sub(c.ringFrom), 0)
	}
	upTo := c.endedAt
	if upTo.IsZero() {
		upTo = t.now
	}
	if c.hungUp && !c.endedAt.IsZero() && c.hungUpAt.Before(upTo) {
		upTo = c.hungUpAt
	}
	switch {
	case !c.answeredAt.IsZero():
		out.Wait = c.answeredAt.Sub(c.started)
		out.Talk = max(upTo.Sub(c.answeredAt), 0)
		if by := c.answerer; by.Endpoint != "" {
			out.AnsweredBy = &by
		}
	case c.mailbox != nil:
		out.Wait = c.mailboxAt.Sub(c.started)
	default:
		out.Wait = upTo.Sub(c.started)
	}
	out.Wait = max(out.Wait, 0)
	if c.mailbox != nil && c.answeredAt.IsZero() {
		box := *c.mailbox
		out.Voicemail = &box
	}
	if c.queue != nil {
		q := *c.queue
		if c.queueing {
			q.Wait = max(t.now.Sub(c.queueFrom), 0)
		}
		out.Queue = &q
	}
	for _, a := range c.attempts {
		if c.counts(a) && !(a.leg != nil && a.leg.Unseen) {
			out.Attempts = append(out.Attempts, a.Attempt)
		}
	}
	switch {
	case !c.endedAt.IsZero():
		out.State = StateEnded
		switch {
		case c.calleeEnded != nil:
			out.EndedBy = EndedByCallee
		case c.hungUp, c.dialCancel && !c.softHangup:
			out.EndedBy = EndedByCaller
		case c.softHangup:
			out.EndedBy = EndedByPBX
		}
	case !c.answeredAt.IsZero():
		out.State = StateAnswered
	case c.ringLive:
		out.State = StateRinging
	}
	return out
}

// parties fills in who called and which line, parsing numbers only when they
// have changed since the last time.
func (t *Tracker) parties(c *call, out *Call) {
	raw, name, line := c.root.Number, c.root.Person, c.root.Exten
	if c.dir == Outbound {
		raw, name = c.dialTo, ""
		line = c.root.Number
		for _, a := range c.attempts {
			if a.external && a.leg != nil && a.leg.OtherNum != "" {
				line = a.leg.OtherNum // the caller ID shown to the outside party
			}
		}
	}
	if raw != c.numRaw || c.num.Kind == "" {
		c.numRaw, c.num = raw, t.parse(raw)
	}
	out.Caller = Caller{Number: c.num.E164, Raw: raw, Name: callerName(name, raw)}
	if c.dir == Inbound {
		out.Caller.Attestation = c.root.Attestation
	}
	if c.dir == Inbound && (c.withheld || c.num.Kind == number.Anonymous || number.Withheld(name) && c.num.E164 == "") {
		out.Caller.Anonymous = true
		out.Caller.Number = ""
		if number.Withheld(out.Caller.Name) {
			out.Caller.Name = ""
		}
	}
	if line != c.lineRaw || c.line.Raw == "" {
		c.lineRaw, c.line = line, t.lineOf(line)
	}
	out.Line = c.line
}

// parse reads a number, and remembers it for the next time: lines and regular
// callers come again, and reading takes longer than all else about a call.
func (t *Tracker) parse(raw string) number.Number {
	if n, ok := t.numbers[raw]; ok {
		return n
	}
	n := number.Parse(raw, t.cfg.Region)
	if t.numbers == nil || len(t.numbers) >= maxNumbers {
		t.numbers = map[string]number.Number{}
	}
	if len(raw) <= 32 {
		t.numbers[strings.Clone(raw)] = n
	}
	return n
}

// callerName is the name shown, unless it only repeats the number.
func callerName(name, raw string) string {
	name = strings.TrimSpace(name)
	if name == raw || strings.Trim(name, "+0123456789 ()-.") == "" {
		return ""
	}
	return name
}

// Line is the line that raw, as a trunk dials it, belongs to.
func (t *Tracker) Line(raw string) Line { return t.lineOf(raw) }

func (t *Tracker) lineOf(raw string) Line {
	l := Line{Raw: raw, Number: t.parse(raw).E164}
	for _, n := range t.cfg.Lines {
		if glob(n.Raw, raw) || n.Number != "" && n.Number == l.Number {
			if n.Number != "" {
				l.Number = n.Number
			}
			l.Name = n.Name
			break
		}
	}
	return l
}
