package sip

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"textback/pbx"
)

// endRoot ends a call: what the wire left open is settled first, because only
// now it is known that nothing more will come.
func (w *Witness) endRoot(h *hop, at time.Time, byCaller bool) {
	w.release(at)
	h.endedAt = at
	w.soon = append(w.soon, h.s)
	w.unlist(h)
	delete(w.alone, h)
	hungUp := at
	if !h.up() && !h.cancelAt.IsZero() && byCaller {
		hungUp = h.cancelAt
	}
	if h.role == fromTrunk {
		w.settle(h, at, byCaller)
	}
	h.hungUpAt = hungUp
	w.feed(h, pbx.LegHangup, hungUp, func(f *pbx.Fact) { f.Soft = !byCaller })
	if byCaller && h.ghost != nil {
		w.feed(h.ghost, pbx.LegEnded, hungUp, nil)
	}
	w.feed(h, pbx.LegEnded, at, nil)
}

// silent ends the legs of phones that never said a word: they are not there. The
// PBX may take a phone back some moments after it has ended the caller's leg, and a
// phone that is taken back has spoken.
func (w *Witness) silent(root *hop) {
	root.silenced = true
	for _, c := range root.children {
		if c.fed && c.open() && !c.replied && !c.up() {
			c.endedAt = root.hungUpAt
			w.feed(c, pbx.LegEnded, root.hungUpAt, func(f *pbx.Fact) {
				if root.cancelAt.IsZero() {
					f.Cause = 18 // no user responding
				}
			})
		}
	}
}

// settle decides about a call from outside what no single message says.
func (w *Witness) settle(h *hop, at time.Time, byCaller bool) {
	if h.bridged != nil || h.leg.Activity == pbx.ActivityMailbox {
		return
	}
	var tried []*hop
	for _, c := range h.children {
		if c.fed {
			tried = append(tried, c)
		}
	}
	if len(tried) == 0 {
		w.oneSided(h, at, byCaller)
		return
	}
	if !h.up() {
		return // the PBX never answered: nobody did
	}
	if h.ambiguous || slices.ContainsFunc(h.rivals, func(r *hop) bool {
		return slices.ContainsFunc(r.children, (*hop).up)
	}) {
		w.lost(h, pbx.GapOneSide, true)
		return
	}
	var last time.Time // when the last phone stopped
	elsewhere, unasked, undecided := false, false, false
	for _, c := range tried {
		elsewhere = elsewhere || c.elsewhere
		unasked = unasked || c.unasked
		undecided = undecided || c.open()
		if !c.cancelAt.IsZero() && !c.up() {
			last = maxTime(last, c.cancelAt)
		} else {
			last = maxTime(last, c.endedAt)
		}
	}
	if picks := h.pickedUp(last); elsewhere || len(picks) > 0 {
		switch {
		case len(picks) == 1 && picks[0].claimedBy(h) && (elsewhere || w.isPickup(picks[0].user)):
			by := picks[0]
			w.feed(by, pbx.LegDialed, h.upAt, func(f *pbx.Fact) { f.By = h.leg })
			w.bridge(h, by, h.upAt)
		case elsewhere:
			// The PBX told its phones that somebody took the call: on a leg that was not seen.
			w.lost(h, pbx.GapOneSide, false)
			w.answeredUnseen(h)
		default:
			w.lost(h, pbx.GapOneSide, true)
		}
		return
	}
	if unasked {
		// Why a phone was taken back is not known: it may be that a colleague took the call.
		w.lost(h, pbx.GapEventsLost, true)
		return
	}
	if undecided {
		return
	}
	w.lost(h, pbx.GapMachineKind, false)
	switch {
	case !h.upAt.Before(last.Add(-moved)):
		w.mailbox(h, "", h.upAt) // answered after the phones, by nobody
	case tried[len(tried)-1].again(tried):
		w.feed(h, pbx.Waiting, at, nil)
	case at.Sub(last) > 2*prompt:
		w.mailbox(h, "", last)
	}
}

// again tells whether the phone was tried before in the same call: only queues
// do that.
func (h *hop) again(tried []*hop) bool {
	for _, c := range tried {
		if c != h && c.user == h.user && c.dst == h.dst && c.role == h.role && !c.begun.After(h.begun) && !c.open() {
			return true
		}
	}
	return false
}

// pickedUp are the colleagues who may have taken the call while its phones rang:
// each was answered by the PBX itself, in the moment in which the caller was, and
// still talks. The last phone stopped at last.
func (h *hop) pickedUp(last time.Time) (picks []*hop) {
	if h.upAt.Sub(last) > pickupTakes {
		return nil
	}
	for _, o := range h.picks {
		if o.open() && len(o.children) == 0 && o.bridged == nil {
			picks = append(picks, o)
		}
	}
	return picks
}

// claimedBy tells whether no other call can be the one that h picked up.
func (h *hop) claimedBy(root *hop) bool {
	for _, o := range h.claims {
		if o != root && len(o.children) > 0 && (o.bridged == nil || o.bridged == h) {
			return false
		}
	}
	return true
}

// isPickup knows the codes that take a call from another phone.
func (w *Witness) isPickup(user string) bool {
	if strings.HasPrefix(user, "**") && len(user) > 2 {
		return true
	}
	return pbx.Match(w.cfg.Pickups, user)
}

// unseen makes a leg that was not observed but must have been there.
func (w *Witness) unseen(root *hop, at time.Time) *hop {
	u := &hop{s: root.s, role: toPhone, begun: at, parent: root, fed: true}
	u.leg = pbx.Leg{ID: root.leg.ID + "/unseen", Name: "SIP/unseen-1", State: pbx.LegDown, Context: InsideContext, Activity: pbx.ActivityDialed, CreatedAt: at, Unseen: true}
	w.feed(u, pbx.LegCreated, at, nil)
	w.feed(u, pbx.LegDialed, at, func(f *pbx.Fact) { f.By = root.leg })
	return u
}

// answeredUnseen connects a caller with a person on a leg that was not seen.
func (w *Witness) answeredUnseen(root *hop) {
	u := w.unseen(root, root.upAt)
	u.leg.State = pbx.LegUp
	w.feed(u, pbx.LegSeen, root.upAt, nil)
	w.bridge(root, u, root.upAt)
}

// oneSided decides about a call none of whose phones was seen. What the trunk
// was told must do.
func (w *Witness) oneSided(h *hop, at time.Time, byCaller bool) {
	all := w.cfg.AllPhones && !h.ambiguous && len(h.rivals) == 0
	if h.up() {
		switch {
		case h.behind.IsValid() && !h.voiced:
			// Through a proxy, from a host that is no machine that anybody named: a phone.
			w.lost(h, pbx.GapOneSide, false)
			w.answeredUnseen(h)
			return
		case matches(w.cfg.Mailboxes, netip.Addr{}, h.user):
			w.mailbox(h, "", h.upAt) // the line is a mailbox's
			return
		case all, matches(w.cfg.Services, netip.Addr{}, h.user):
			w.lost(h, pbx.GapMachineKind, false) // menu, announcement or mailbox
		default:
			w.lost(h, pbx.GapOneSide, true)
		}
		return
	}
	if all && (byCaller || h.said && h.cause == 16) {
		if byCaller && at.Sub(h.begun) < 600*time.Millisecond {
			w.lost(h, pbx.GapEventsLost, false) // too short for a lost INVITE to have been repeated (timer A)
		}
		return // no phone was tried: the PBX ended the call in good order
	}
	if !all {
		w.lost(h, pbx.GapOneSide, false)
	}
	switch {
	case h.status >= 300 && h.status < 400:
		w.lost(h, pbx.GapOneSide, true) // redirected: who knows where to
		return
	case h.status == 0 && !byCaller:
		w.lost(h, pbx.GapNoFinal, true)
		return
	case h.rangAt.IsZero() && !byCaller && !slices.Contains([]int{404, 410, 484, 604}, h.status):
		if took := at.Sub(h.begun); took > prompt && took < 30*time.Second {
			w.lost(h, pbx.GapEventsLost, false) // nothing takes that long without ringing
		}
	}
	if !h.rangAt.IsZero() && !h.tone {
		w.lost(h, pbx.GapMachineKind, false) // early media: a ringing phone or an announcement
	}
	u := w.unseen(h, h.begun)
	if !h.rangAt.IsZero() {
		u.leg.State = pbx.LegRinging
		w.feed(u, pbx.LegSeen, h.rangAt, nil)
	}
	if byCaller {
		h.ghost = u // undecided when the caller left; endRoot ends it
		return
	}
	status, cause := h.status, h.cause
	if h.said {
		status = 0 // a B2BUA has few words of its own: Asterisk says 603 for a normal end and 403 for a refusal
	}
	own := func(f *pbx.Fact) { f.SIPStatus, f.Cause = status, cause }
	w.feed(u, pbx.LegHangup, at, own)
	w.feed(u, pbx.LegEnded, at, own)
}

// Advance lets time pass: messages that were ahead of others are taken as they
// are, challenges that nobody answered become refusals, dialogs without an end
// are given up, ended ones forgotten.
func (w *Witness) Advance(now time.Time) {
	if !now.After(w.now) {
		return
	}
	w.now = now
	if now.Sub(w.swept) < sweepEvery {
		return
	}
	w.swept = now
	w.release(now.Add(-early))
	kept := w.orphans[:0]
	for _, o := range w.orphans {
		if now.Sub(o.begun) < orphaned {
			kept = append(kept, o)
		} else {
			w.Stats.Orphans++
		}
	}
	clear(w.orphans[len(kept):])
	w.orphans = kept
	old := 0
	for old < len(w.recent) && now.Sub(w.recent[old].at) > 4*moved {
		old++
	}
	w.recent = slices.Delete(w.recent, 0, old)
	late := w.soon[:0]
	for _, s := range w.soon {
		if w.look(s, now); s.soon() {
			late = append(late, s)
		}
	}
	clear(w.soon[len(late):])
	w.soon = late
	if now.Sub(w.lookedAt) < lookEvery {
		return
	}
	w.lookedAt = now
	for k, s := range w.sessions {
		if w.look(s, now) {
			delete(w.sessions, k)
		}
	}
}

// soon tells whether something of the session is decided within moments.
func (s *session) soon() bool {
	for _, h := range s.hops {
		if h.open() && !h.up() && (!h.ackedAt.IsZero() || !h.authAt.IsZero()) || !h.open() && h.role.root() && !h.silenced {
			return true
		}
	}
	return false
}

// release takes messages held since before as they are: what they belong to was
// not seen.
func (w *Witness) release(before time.Time) {
	for len(w.held) > 0 && !w.held[0].At.After(before) {
		p := w.held[0]
		w.held = w.held[1:]
		var m message
		if scan(p.Payload, &m) {
			w.handle(&p, &m, true)
		}
	}
	if len(w.held) == 0 {
		w.held = nil
	}
}

// look reports whether a session can be forgotten.
func (w *Witness) look(s *session, now time.Time) bool {
	silent := now.Sub(s.last)
	forget := silent >= linger
	for _, h := range s.hops {
		switch root := h.root(); {
		case !h.open():
			if h.role.root() && !h.silenced && now.Sub(h.endedAt) >= early/2 {
				w.silent(h)
			}
			if now.Sub(h.endedAt) < linger {
				forget = false
			}
			continue
		case h.up():
			if root == nil || !root.open() && now.Sub(root.endedAt) > linger {
				h.endedAt = now // nobody's leg any more
			} else if h.expires > 0 && silent > h.expires {
				// Nobody refreshed it: its BYE was lost.
				w.lost(root, pbx.GapNoFinal, false)
				if h.role.root() {
					w.endRoot(h, now, false)
				} else {
					w.ended(h, now)
				}
			}
		case !h.ackedAt.IsZero():
			if now.Sub(h.ackedAt) >= early/2 {
				w.refused(h)
			}
		case !h.authAt.IsZero():
			if now.Sub(h.authAt) > challenge {
				h.status, h.cause, h.authAt = 403, 21, time.Time{}
				if h.role.root() {
					w.endRoot(h, now, false)
				} else {
					w.ended(h, now)
				}
			}
		case silent <= timerC:
		case h.role.root():
			w.lost(h, pbx.GapNoFinal, true)
			h.endedAt, h.hungUpAt = now, now
			w.unlist(h)
			w.feed(h, pbx.LegEnded, now, nil)
		default:
			w.ended(h, now)
		}
		forget = false
	}
	return forget
}

// Flush takes what is held as it is: nothing more will come. Time goes on by a
// minute, so that what had ended is settled.
func (w *Witness) Flush() {
	w.release(w.now)
	w.Advance(w.now.Add(time.Minute))
}

// Now is the time that the Witness has reached.
func (w *Witness) Now() time.Time { return w.now }

// Next is when Advance has something to do although no message comes; zero if
// nothing waits.
func (w *Witness) Next() time.Time {
	if len(w.sessions) == 0 && len(w.held) == 0 {
		return time.Time{}
	}
	return w.swept.Add(sweepEvery)
}
