package sip

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// A PBX is a back-to-back user agent: the leg to the phone has a Call-ID, tags
// and Vias of its own. What still tells whose leg it is, best first: a header in
// which the PBX names the other leg, the Via or Call-ID that a proxy passes on,
// Session-ID (RFC 7989) or icid (RFC 7315), the SDP origin where media is not
// proxied, where a phone or a transfer sent the call, the caller's last digits,
// and at last the moment alone.

// list enters an open root in the index.
func (w *Witness) list(h *hop) {
	w.note(h, "#", h.s.key.callID)
	w.note(h, "s", h.sessionID)
	w.note(h, "i", h.icid)
	w.note(h, "o", h.origin)
	w.note(h, "c", h.caller)
	if h.role == fromPhone {
		w.note(h, "d", suffix(h.user))
	}
}

// sent notes that root was sent on to user.
func (w *Witness) sent(root *hop, user string) { w.note(root, "t", suffix(user)) }

// note enters root in the index under one more key.
func (w *Witness) note(root *hop, kind, v string) {
	if k := kind + v; v != "" && len(root.listed) < 64 && !slices.Contains(root.listed, k) {
		w.index[k] = append(w.index[k], root)
		root.listed = append(root.listed, k)
	}
}

func (w *Witness) unlist(h *hop) {
	for _, k := range h.listed {
		kept := slices.DeleteFunc(w.index[k], func(o *hop) bool { return o == h })
		if len(kept) == 0 {
			delete(w.index, k)
		} else {
			w.index[k] = kept
		}
	}
	h.listed = nil
}

// move notes that something happened in root's call that may make the PBX
// begin another leg.
func (w *Witness) move(root *hop, at time.Time) {
	root.movedAt = maxTime(root.movedAt, at)
	w.recent = append(w.recent, move{root, at})
}

// parentOf finds the root whose call a leg of the PBX belongs to; nil when none
// does, or more than one may.
func (w *Witness) parentOf(h *hop) *hop {
	for _, o := range h.s.hops {
		if o != h && h.under != "" && o.branch == h.under {
			return o.root()
		}
	}
	for _, o := range h.s.hops {
		if o != h && o.role.root() && o.open() {
			return o
		}
	}
	for _, k := range []string{"#" + h.orig, "#" + h.s.key.callID, "s" + h.sessionID, "i" + h.icid, "o" + h.origin} {
		if len(k) > 1 {
			if found := w.index[k]; len(found) == 1 {
				return found[0]
			}
		}
	}
	// Where it was sent to is surer than who called.
	if found := w.index["t"+suffix(h.user)]; len(found) == 1 {
		return found[0]
	}
	var found []*hop
	if h.role == toTrunk {
		found = w.index["d"+suffix(h.user)]
	}
	if len(found) == 0 && h.caller != "" {
		found = w.index["c"+h.caller]
	}
	if by := w.index["e"+h.caller]; len(by) == 1 && h.caller != "" && !slices.ContainsFunc(found, func(r *hop) bool { return r.bridged == nil }) {
		return by[0] // whoever took the call asks a colleague before handing it over
	}
	if len(found) > 0 {
		return w.pick(h, found)
	}
	if w.phones[h.caller] {
		return nil // a colleague's, from whom no call was seen
	}
	// The PBX shows its line, a name or nobody as the caller: only the moment is left.
	var only *hop
	for _, r := range w.lately(h.begun) {
		if number := digits(h.caller) && h.caller != suffix(r.root.user); r.root.open() && r.root.bridged == nil && r.root != only && !number {
			if only != nil {
				return nil
			}
			only = r.root
		}
	}
	return only
}

// lately are the moves within a moment before at.
func (w *Witness) lately(at time.Time) []move {
	i := len(w.recent)
	for i > 0 && at.Sub(w.recent[i-1].at) <= moved {
		i--
	}
	return w.recent[i:]
}

// root is the hop itself or the one whose call it belongs to.
func (h *hop) root() *hop {
	if h.role.root() {
		return h
	}
	return h.parent
}

// pick chooses among roots that a leg's number fits. Calls in conversation come
// last. Between several the moment decides when it is plain: a PBX begins its
// legs within milliseconds of what makes it do so.
func (w *Witness) pick(h *hop, found []*hop) *hop {
	var open []*hop
	for _, r := range found {
		if r.bridged == nil {
			open = append(open, r)
		}
	}
	if len(open) == 0 {
		open = found
	}
	if len(open) == 1 {
		return open[0]
	}
	near, next := time.Duration(-1), time.Duration(-1)
	var best *hop
	for _, r := range open {
		d := h.begun.Sub(r.movedAt).Abs()
		switch {
		case near < 0 || d < near:
			near, next, best = d, near, r
		case next < 0 || d < next:
			next = d
		}
	}
	if near > moved/2 || next < near+20*time.Millisecond || next < 4*near {
		best = nil
		w.Stats.Ambiguous++
	}
	for _, r := range open {
		r.ambiguous = r.ambiguous || best == nil
		for _, o := range open {
			if o != r && !slices.Contains(r.rivals, o) && len(r.rivals) < 16 {
				r.rivals = append(r.rivals, o)
			}
		}
	}
	if best == nil && w.Warn != nil {
		w.Warn(Warning{CallID: h.s.key.callID, Text: "a leg to " + h.leg.Name + " might belong to several calls of one caller; none of them is credited with it"})
	}
	return best
}

// uuid is the sender's half of a Session-ID (RFC 7989, 5), empty when null.
func uuid(v string) string {
	v, _, _ = strings.Cut(v, ";")
	v = strings.TrimSpace(v)
	if strings.Trim(v, "0") == "" {
		return ""
	}
	return v
}

// dialogOf reads a Replaces value (RFC 3891): the Call-ID and both tags of the
// dialog that is taken over.
func dialogOf(v string) (callID, toTag, fromTag string, ok bool) {
	callID, _, ok = strings.Cut(v, ";")
	return strings.TrimSpace(callID), param(v, "to-tag"), param(v, "from-tag"), ok && callID != ""
}

// dialog finds the hop of a dialog that a Replaces value names.
func (w *Witness) dialog(replaces string) *hop {
	callID, to, from, ok := dialogOf(replaces)
	if !ok {
		return nil
	}
	for _, t := range []string{from, to} {
		if s := w.sessions[key{callID, t}]; s != nil && len(s.hops) > 0 {
			return s.hops[len(s.hops)-1]
		}
	}
	return nil
}

// refer follows a transfer: the caller's call is sent to somebody else, or joined
// with the call that asked them first (RFC 3515, RFC 3891).
func (w *Witness) refer(s *session, m *message) {
	var root *hop
	for _, h := range s.hops {
		if r := h.root(); r != nil && r.open() {
			root = r
		}
	}
	if root == nil || m.referTo == "" {
		return
	}
	to := address(m.referTo)
	w.sent(root, to.user)
	i := strings.Index(strings.ToLower(m.referTo), "replaces=")
	if i < 0 {
		return
	}
	v := m.referTo[i+len("replaces="):]
	if j := strings.IndexAny(v, ">&"); j >= 0 {
		v = v[:j]
	}
	if plain, err := url.QueryUnescape(v); err == nil {
		v = plain
	}
	asked := w.dialog(v)
	if asked == nil || asked.root() == nil || asked.root() == root {
		return
	}
	// Phones send the transfer in either of the two dialogs.
	consult := asked.root()
	if root.role != fromTrunk && consult.role == fromTrunk {
		root, consult = consult, root
	}
	if root.up() && consult.bridged != nil && consult.bridged.open() {
		w.bridge(root, consult.bridged, w.now)
	}
}
