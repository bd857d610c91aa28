package ruletest

import (
	"time"

	"textback/pbx"
	"textback/pbx/number"
)

// A Hypothetical is a call that nobody has made: what is not said is as it
// usually is. Tests and explain make calls of it.
type Hypothetical struct {
	Outcome, Reason       string // Reason follows from Outcome unless said
	Caller, Name          string
	Region                string // of a number without a country code
	Anonymous             bool
	Attestation           string
	Ring, Wait, QueueWait *time.Duration
	Queue                 string
	Menu, Forwarded       bool
	MessageLeft           *bool
	Certain               *bool
	Tried                 []string
	PBX                   map[string]string
	End                   time.Time
}

// Call is the call, without its line. The words in Outcome and Reason must be known ones.
func (h Hypothetical) Call() *pbx.Call {
	c := &pbx.Call{ID: "hypothetical", Direction: pbx.Inbound, State: pbx.StateEnded, Outcome: pbx.Outcome(h.Outcome), EndedAt: h.End,
		Menu: h.Menu, Forwarded: h.Forwarded, PBX: h.PBX, Certain: h.Outcome != string(pbx.Unknown)}
	if h.Certain != nil {
		c.Certain = *h.Certain
	}
	switch c.Outcome {
	case pbx.Answered, pbx.Unknown:
	case pbx.Abandoned:
		c.Reason = pbx.ReasonCallerHungUp
	case pbx.Unattended:
		c.Reason = pbx.ReasonNotTried
	case pbx.Voicemail:
		c.Reason = pbx.ReasonRangOut
		c.Voicemail = &pbx.Mailbox{MessageLeft: h.MessageLeft}
	default:
		c.Reason = pbx.Reason(c.Outcome)
	}
	if h.Reason != "" {
		c.Reason = pbx.Reason(h.Reason)
	}
	switch { // phones ring for a while unless the outcome says that none does
	case h.Ring != nil:
		c.Ring = *h.Ring
	case c.Reason == pbx.ReasonBusy, c.Reason == pbx.ReasonUnreachable, c.Reason == pbx.ReasonNotTried:
	default:
		c.Ring = 20 * time.Second
	}
	if c.Wait = c.Ring; h.Wait != nil {
		c.Wait = *h.Wait
	}
	if h.Queue != "" {
		c.Queue = &pbx.Queue{Name: h.Queue, Wait: c.Wait}
		if h.QueueWait != nil {
			c.Queue.Wait = *h.QueueWait
			if h.Wait == nil {
				c.Wait = max(c.Wait, c.Queue.Wait)
			}
		}
	}
	c.StartedAt = c.EndedAt.Add(-c.Wait)
	result := map[pbx.Reason]pbx.Result{pbx.ReasonDeclined: pbx.ResultDeclined, pbx.ReasonBusy: pbx.ResultBusy, pbx.ReasonUnreachable: pbx.ResultUnreachable,
		pbx.ReasonCallerHungUp: pbx.ResultCancelled}[c.Reason]
	if result == "" {
		result = pbx.ResultNoAnswer
	}
	for _, t := range h.Tried {
		a := pbx.Attempt{Endpoint: t, Extension: t, Name: t, Result: result, Ring: c.Ring}
		c.Attempts = append(c.Attempts, a)
	}
	n := number.Parse(h.Caller, h.Region)
	c.Caller = pbx.Caller{Number: n.E164, Raw: h.Caller, Name: h.Name, Anonymous: h.Anonymous || n.Kind == number.Anonymous, Attestation: h.Attestation}
	if c.Caller.Anonymous {
		c.Caller.Number = ""
	}
	if c.Caller.Attestation == "none" {
		c.Caller.Attestation = ""
	}
	return c
}
