package sip

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"textback/pbx"
)

// response follows an answer to an INVITE.
func (w *Witness) response(s *session, p *Packet, m *message, late bool) {
	h := s.byBranch(m)
	if h == nil {
		if slices.ContainsFunc(s.hops, (*hop).up) {
			return // of a re-INVITE
		}
		w.unbegun(s, p, m, late)
		return
	}
	w.answer(h, p.At, m)
}

func (w *Witness) answer(h *hop, at time.Time, m *message) {
	if !h.open() || m.cseq < h.cseq {
		return
	}
	h.replied = true
	if m.toTag != "" && !slices.Contains(h.toTags, m.toTag) && len(h.toTags) < 32 {
		h.toTags = append(h.toTags, strings.Clone(m.toTag))
	}
	switch {
	case m.status == 180 || m.status == 183:
		h.tone = h.tone || m.status == 180
		w.rings(h, at)
	case m.status < 200:
	case m.status < 300:
		if h.role == fromTrunk && !h.up() {
			w.behind(h, m)
		}
		if m.expires > 0 {
			h.expires = time.Duration(m.expires) * time.Second
		}
		w.goesUp(h, at)
	case h.up():
	case m.status == 401 || m.status == 407 || m.status == 422:
		h.authAt = at
		w.soon = append(w.soon, h.s)
	default:
		w.final(h, at, m)
	}
}

// behind notes who answered a call that a proxy passed on: a proxy leaves the
// Contact as it is, where a back-to-back user agent puts its own.
func (w *Witness) behind(h *hop, m *message) {
	to := address(m.contact)
	a, err := netip.ParseAddr(strings.Trim(to.host, "[]"))
	if a = a.Unmap(); err != nil || !m.routed || a == h.dst || w.isPBX(a) || within(w.cfg.Trunks, a) {
		return
	}
	h.behind = a
	h.voiced = matches(w.cfg.Mailboxes, a, to.user) || matches(w.cfg.Services, a, to.user) || strings.Contains(strings.ToLower(m.agent), "voicemail")
}

// unbegun takes an answer to an INVITE that was not seen. It may only be late:
// the message is held for a moment. If it is not, the answer has to tell of it.
func (w *Witness) unbegun(s *session, p *Packet, m *message, late bool) {
	if !late {
		if len(w.held) < 10_000 {
			q := *p
			q.Payload = slices.Clone(p.Payload)
			w.held = append(w.held, q)
		}
		return
	}
	src, dst := p.Dst.Addr().Unmap(), p.Src.Addr().Unmap()
	inv := m.parties(p.Payload, false)
	w.own(p.Guess, src, dst)
	r := w.role(src, dst, p.Guess, inv.line, func() bool { return false })
	switch {
	case r == foreign:
		return
	case r.root() && (m.status >= 200 || m.status == 100 && m.toTag != ""):
		return // perhaps of a re-INVITE, in a call from before our time
	}
	if s == nil {
		s = w.newSession(m, m.fromTag, p.At)
	}
	h := w.newHop(s, r, p.At)
	h.src, h.dst, h.branch, h.cseq = src, dst, strings.Clone(m.branch), m.cseq
	h.user = strings.Clone(inv.line)
	w.name(h, &inv)
	h.under = strings.Clone(m.under)
	w.place(h, false, inv.withheld)
	w.answer(h, p.At, m)
}

// replay gives held messages of a session that is known now.
func (w *Witness) replay(s *session) {
	for i := 0; i < len(w.held); i++ {
		p := w.held[i]
		var m message
		if !scan(p.Payload, &m) || m.callID != s.key.callID {
			continue
		}
		w.held = slices.Delete(w.held, i, i+1)
		i--
		if h := s.byBranch(&m); h != nil {
			w.answer(h, maxTime(p.At, h.begun), &m)
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *Witness) rings(h *hop, at time.Time) {
	h.lastRing = at
	if !h.rangAt.IsZero() || h.up() {
		return
	}
	h.rangAt = at
	if h.fed && !h.role.root() {
		h.leg.State = pbx.LegRinging
		w.feed(h, pbx.LegSeen, at, nil)
	}
}

func (w *Witness) goesUp(h *hop, at time.Time) {
	if h.up() || !h.open() {
		return
	}
	h.upAt, h.authAt = at, time.Time{}
	h.leg.State = pbx.LegUp
	root := h.root()
	if h.fed {
		w.feed(h, pbx.LegSeen, at, nil)
	}
	switch {
	case root == nil:
	case h.role == toMailbox || h.role == toService:
		w.machine(h)
	default:
		w.connect(root, at)
	}
	if h.role.root() && h.replaces != "" {
		// A colleague takes over a call that rings or talks elsewhere.
		if taken := w.dialog(h.replaces); taken != nil {
			if r := taken.root(); r != nil && r != h && r.open() {
				w.bridge(r, h, at)
			}
		}
	}
	switch {
	case h.role == fromPhone && len(h.children) == 0:
		w.alone[h] = true
		for _, r := range w.lately(at) {
			if o := r.root; o.role == fromTrunk && o.up() && at.Sub(o.upAt) <= moved {
				o.picks, h.claims = append(o.picks, h), append(h.claims, o)
			}
		}
	case h.role == fromTrunk:
		for o := range w.alone {
			if at.Sub(o.upAt) <= pickupTakes {
				h.picks, o.claims = append(h.picks, o), append(o.claims, h)
			}
		}
	}
	if root != nil {
		w.move(root, at)
	}
}

// connect joins a root that was answered with the phone that answered it.
func (w *Witness) connect(root *hop, at time.Time) {
	if !root.up() || !root.open() {
		return
	}
	var by *hop
	for _, c := range root.children {
		if c.fed && c.up() && c.open() && (by == nil || c.upAt.After(by.upAt)) {
			by = c
		}
	}
	if by == nil {
		// Only the moment had told whose leg it was; now the answers tell better.
		for _, r := range root.rivals {
			for _, c := range r.children {
				if !r.up() && c.fed && c.up() && c.open() {
					by = c
				}
			}
		}
	}
	if by != nil && root.bridged != by {
		w.bridge(root, by, at)
	}
}

func (w *Witness) bridge(root, with *hop, at time.Time) {
	root.bridged = with
	if with.role == toPhone && root.open() {
		w.note(root, "e", suffix(with.user))
	}
	w.feed(with, pbx.LegBridged, at, func(f *pbx.Fact) {
		f.Bridge = pbx.Bridge{ID: "sip/" + root.leg.ID, Members: []string{root.leg.ID, with.leg.ID}}
	})
}

// machine notes that another host took the call, with no person behind it.
func (w *Witness) machine(h *hop) {
	root := h.parent
	if h.role == toService {
		w.lost(root, pbx.GapMachineKind, false)
		return
	}
	w.mailbox(root, address(h.diverted).user, h.upAt)
}

func (w *Witness) mailbox(root *hop, box string, at time.Time) {
	root.leg.Activity, root.leg.Data = pbx.ActivityMailbox, box
	w.feed(root, pbx.LegSeen, at, nil)
}

// causes are the Q.850 causes of SIP statuses (RFC 3398, 8.2.6.1, and what
// Asterisk makes of them).
var causes = map[int]int{
	401: 21, 402: 21, 403: 21, 404: 1, 405: 63, 406: 79, 407: 21, 408: 18, 410: 22, 413: 127, 414: 127, 415: 79, 416: 127, 420: 127, 421: 127,
	423: 127, 480: 19, 481: 41, 482: 25, 483: 25, 484: 28, 485: 1, 486: 17, 488: 65, 500: 41, 501: 79, 502: 38, 503: 34, 504: 102, 505: 127,
	513: 127, 600: 17, 603: 21, 604: 1, 606: 65,
}

// final follows a final answer other than 2xx and challenges.
func (w *Witness) final(h *hop, at time.Time, m *message) {
	h.status = m.status
	if h.cause, h.said = m.reasonCause("Q.850"); !h.said || h.cause < 1 || h.cause > 127 {
		h.cause, h.said = causes[m.status], false
	}
	switch {
	case h.role.root():
		w.endRoot(h, at, m.status == 487 || !h.cancelAt.IsZero())
		return
	case m.status == 487 && h.cancelAt.IsZero():
		h.unasked, h.cancelAt = true, at
		h.elsewhere = m.elsewhere()
	case m.status >= 300 && m.status < 400:
		h.forward = strings.Clone(address(m.contact).user)
		if h.forward == "" {
			h.forward = "?"
		}
		if h.parent != nil {
			w.sent(h.parent, h.forward)
		}
	}
	w.ended(h, at)
}

// ack tells a final answer that was not seen: the ACK of a refusal has the
// INVITE's branch, that of a 2xx one of its own (RFC 3261, 17.1.1.3 and 13.2.2.4).
func (w *Witness) ack(s *session, p *Packet, m *message) {
	if h := s.byBranch(m); h != nil {
		if h.open() && !h.up() && h.authAt.IsZero() {
			h.replied, h.ackedAt = true, p.At // the refusal may only be late
			w.soon = append(w.soon, s)
		}
		return
	}
	var of *hop
	for _, h := range s.hops {
		if h.cseq != m.cseq || !h.open() || h.up() {
			continue
		}
		if len(s.hops) == 1 || h.src == p.Src.Addr().Unmap() && h.dst == p.Dst.Addr().Unmap() && (len(h.toTags) == 0 || slices.Contains(h.toTags, m.toTag)) {
			of = h
		}
	}
	if of != nil {
		w.goesUp(of, p.At)
	}
}

// refused ends a hop whose refusal was not seen, only that it was acknowledged.
func (w *Witness) refused(h *hop) {
	if !h.cancelAt.IsZero() {
		h.status = 487
	}
	if h.role.root() {
		w.endRoot(h, h.ackedAt, h.status == 487)
	} else {
		w.ended(h, h.ackedAt)
	}
}

// bye ends a dialog, by its own request or by the answer to it.
func (w *Witness) bye(s *session, p *Packet, m *message, byCaller bool) {
	other := m.toTag
	if !byCaller {
		other = m.fromTag
	}
	end := func(roots bool) {
		for _, h := range s.hops {
			if !h.open() || h.role.root() != roots || len(h.toTags) > 0 && !slices.Contains(h.toTags, other) {
				continue
			}
			if !h.up() {
				// A dialog is ended that nobody was seen to accept.
				if root := h.root(); root != nil {
					w.lost(root, pbx.GapEventsLost, true)
				}
				h.upAt = p.At
			}
			h.byDevice = !byCaller
			if roots {
				w.endRoot(h, p.At, byCaller)
			} else {
				w.ended(h, p.At)
			}
		}
	}
	// Through a proxy both hops see one BYE: whoever sent it ends first.
	end(byCaller)
	end(!byCaller)
}

// ended is the end of a leg to a phone or to outside.
func (w *Witness) ended(h *hop, at time.Time) {
	first := h.open()
	if first {
		h.endedAt = at
	}
	root := h.parent
	if root == nil || !h.fed {
		return
	}
	w.move(root, at)
	if !root.open() && !first {
		return
	}
	switch {
	case h.up():
		w.feed(h, pbx.LegHangup, at, func(f *pbx.Fact) { f.Soft = !h.byDevice })
		w.feed(h, pbx.LegEnded, at, nil)
		// A transfer: the caller goes on with whoever is left.
		other := root.bridged
		for _, c := range root.children {
			if (other == nil || !other.open()) && c.fed && c.up() && c.open() {
				other = c
			}
		}
		if other != nil && other.open() && root.open() && root.up() {
			w.bridge(root, other, at)
		}
	case h.status == 487, !h.cancelAt.IsZero() && (h.status == 480 || h.status == 408):
		w.missedRinging(h, h.cancelAt)
		w.feed(h, pbx.LegEnded, h.cancelAt, func(f *pbx.Fact) {
			if h.elsewhere {
				f.Cause = 26
			}
		})
	case h.forward != "":
		w.feed(h, pbx.LegDialed, at, func(f *pbx.Fact) { f.By, f.Forward = root.leg, h.forward })
		w.feed(h, pbx.LegEnded, at, func(f *pbx.Fact) { f.Cause, f.SIPStatus = 23, h.status })
	case h.status == 0 && h.replied:
		w.lost(root, pbx.GapNoFinal, false)
		w.feed(h, pbx.LegEnded, at, nil)
	case h.status == 0:
		w.feed(h, pbx.LegEnded, at, func(f *pbx.Fact) { f.Cause = 18 }) // no user responding
	default:
		w.missedRinging(h, at)
		own := func(f *pbx.Fact) { f.Cause, f.SIPStatus = h.cause, h.status }
		w.feed(h, pbx.LegHangup, at, own)
		w.feed(h, pbx.LegEnded, at, own)
	}
}

// missedRinging looks for signs that a phone rang unseen: it took its time to
// answer, and the caller was told of ringing that no phone accounts for, or
// could not be told because the PBX had answered or rung before.
func (w *Witness) missedRinging(h *hop, at time.Time) {
	took := at.Sub(h.begun)
	if !h.rangAt.IsZero() || !h.replied || took < prompt {
		return
	}
	root := h.parent
	for _, c := range root.children {
		if c != h && !c.rangAt.IsZero() && c.rangAt.Before(at) && (c.open() || c.endedAt.After(h.begun)) && !root.up() {
			if took < 3*prompt {
				return
			}
		}
	}
	told := root.lastRing.After(h.begun)
	if told || h.unheard || took >= 3*prompt && (root.up() || !root.rangAt.IsZero()) {
		w.lost(root, pbx.GapEventsLost, false)
	}
}
