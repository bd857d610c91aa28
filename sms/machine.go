package sms

import (
	"slices"
	"strings"
	"time"
)

// How a machine is told from a person, and for how long it is taken for one.
const (
	heardKept    = 20               // texts of a caller's that are remembered, without their words
	repeatWithin = time.Hour        // the same words this often within that: nobody types so
	repeats      = 3                //
	rateWithin   = 10 * time.Minute // more texts than this within that
	rateMost     = 10               //
	loopFor      = 24 * time.Hour   // a loop, or an address that is no phone
	awayFor      = time.Hour        // a phone that answers while its owner drives or is away
	noTextsFor   = 30 * 24 * time.Hour
)

// heard adds a text to those remembered, and says whether a machine sent it:
// why, and for how long. hash stands for its words,
// empty for a keyword: whoever is annoyed says STOP three times. own: it is ours.
func heard(before []Heard, from, hash string, auto, own bool, now time.Time) (all []Heard, machine string, long time.Duration) {
	all = append(slices.Clone(before), Heard{At: now.UTC(), Hash: hash})
	all = all[max(0, len(all)-heardKept):]
	same, lately := 0, 0
	for _, h := range all {
		age := now.Sub(h.At)
		if hash != "" && h.Hash == hash && age <= repeatWithin {
			same++
		}
		if age <= rateWithin {
			lately++
		}
	}
	switch {
	case own:
		return all, "it is a number of the office's own", loopFor
	case !strings.HasPrefix(from, "+"):
		return all, "it is a short code or a name, not a phone", loopFor
	case same >= repeats:
		return all, "it sends the same words again and again", loopFor
	case lately > rateMost:
		return all, "it sends more texts than a person types", loopFor
	case auto:
		return all, "it answers by itself (away or driving)", awayFor
	}
	return all, "", 0
}

// Auto reports whether body is what phones and offices answer by themselves.
func (k *Keywords) Auto(body string) bool {
	for _, c := range clausesOf(cut(body, maxHeard)) {
		for _, p := range k.auto {
			if p.in(c) {
				return true
			}
		}
	}
	return false
}

// machineNow says why a machine is at the other end, or that the number takes
// no texts; empty when neither is known. It is rules.Facts.Machine.
func (c *Caller) machineNow(now time.Time) string {
	if now.Before(c.MachineTill) {
		return c.Machine
	}
	return ""
}
