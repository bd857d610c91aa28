package pbx

import (
	"slices"
	"strings"
	"time"
)

// Pauses of a Merger.
const (
	// pairWait is how long a call that one witness saw may wait for the other to
	// see it too.
	pairWait = 1500 * time.Millisecond
	// endWait is how long one witness may take to see the end that the other saw.
	endWait = 3 * time.Second
	// sameStart is how far apart two witnesses may see one call begin.
	sameStart = 3 * time.Second
)

// A Merger makes one call of what two witnesses saw of it: the first knows
// the PBX from within (ARI), the second reads along (SIP). Both must have seen a
// call the same way for it to be certain when both saw the whole of it; where
// only one did, that one counts. Like the Trackers that feed it, it has no clock,
// does no I/O, and is not safe for concurrent use.
type Merger struct {
	OnCall func(*Call) // a call is over; once per call
	OnLive func(*Call) // a call in progress has changed

	now      time.Time
	attached [2]bool
	since    [2]time.Time // attached without a break
	open     []*joint
	past     []*joint                // published without one of the witnesses, which may yet speak
	spent    [2]map[string]time.Time // calls of a witness that were published without its word, and when
}

// Witness says who saw a call.
type Witness uint8

const (
	Inside Witness = iota // the PBX's own events
	Aside                 // the wire
)

// joint is one call as one witness or both see it.
type joint struct {
	seen     [2]*Call // newest word of each
	firstAt  time.Time
	over     [2]bool
	overAt   time.Time // when the first of them saw the end
	id       string    // under which it is live; empty: not told yet
	deadline time.Time
}

// Attach tells whether a witness sees the PBX from now on.
func (m *Merger) Attach(w Witness, yes bool, now time.Time) {
	m.Advance(now)
	if yes && !m.attached[w] {
		m.since[w] = now
	}
	m.attached[w] = yes
	m.settle()
}

// Live takes a witness's word on a call in progress.
func (m *Merger) Live(w Witness, c *Call, now time.Time) {
	m.Advance(now)
	if j := m.find(w, c, now); j != nil {
		j.seen[w] = c
		m.tell(j)
	}
}

// Call takes a witness's verdict on a finished call.
func (m *Merger) Call(w Witness, c *Call, now time.Time) {
	m.Advance(now)
	if j := m.find(w, c, now); j != nil {
		j.seen[w], j.over[w] = c, true
		if j.overAt.IsZero() {
			j.overAt = now
		}
	}
	m.settle()
}

// Open tells how many calls wait for their end or for the other witness.
func (m *Merger) Open() int { return len(m.open) }

// Tracks reports whether a call is in progress, or waits to be published, under
// this ID with either witness.
func (m *Merger) Tracks(id string) bool {
	for _, j := range m.open {
		if j.id == id || j.seen[0] != nil && j.seen[0].ID == id || j.seen[1] != nil && j.seen[1].ID == id {
			return true
		}
	}
	return false
}

// find is the joint that a witness's call belongs to; nil when that call was
// published before this witness spoke of it.
func (m *Merger) find(w Witness, c *Call, now time.Time) *joint {
	if _, published := m.spent[w][c.ID]; published {
		return nil
	}
	for _, j := range m.open {
		if s := j.seen[w]; s != nil && s.ID == c.ID {
			return j
		}
	}
	best := nearest(m.open, w, c, now)
	if best == nil {
		if late := nearest(m.past, w, c, now); late != nil {
			late.seen[w] = c
			m.spend(w, c.ID)
			return nil
		}
		best = &joint{firstAt: now, deadline: now.Add(pairWait)}
		m.open = append(m.open, best)
	}
	return best
}

// nearest is the joint that only the other witness has seen and that began with c.
func nearest(joints []*joint, w Witness, c *Call, now time.Time) (best *joint) {
	var near time.Duration
	for _, j := range joints {
		o := j.seen[1-w]
		if j.seen[w] != nil || o == nil || !sameCall(o, c) {
			continue
		}
		// The PBX's clock and ours may differ; what is seen at once began at once.
		apart := min(o.StartedAt.Sub(c.StartedAt).Abs(), now.Sub(j.firstAt).Abs())
		if apart <= sameStart && (best == nil || apart < near) {
			best, near = j, apart
		}
	}
	return best
}

func (m *Merger) spend(w Witness, id string) {
	if m.spent[w] == nil {
		m.spent[w] = map[string]time.Time{}
	}
	m.spent[w][id] = m.now
}

// sameCall tells whether two witnesses may speak of one call.
func sameCall(a, b *Call) bool {
	return a.Direction == b.Direction && sameParty(a.Caller.Number, a.Caller.Raw, b.Caller.Number, b.Caller.Raw, a.Caller.Anonymous || b.Caller.Anonymous) &&
		sameParty(a.Line.Number, a.Line.Raw, b.Line.Number, b.Line.Raw, false)
}

func sameParty(num, raw, num2, raw2 string, hidden bool) bool {
	if num != "" && num2 != "" {
		return num == num2
	}
	if raw == "" || raw2 == "" || hidden {
		return true
	}
	a, b := strings.TrimPrefix(raw, "+"), strings.TrimPrefix(raw2, "+")
	return strings.HasSuffix(a, b) || strings.HasSuffix(b, a)
}

// tell passes a live call on, under one ID for as long as it lasts: the PBX's,
// unless the PBX was not to be asked when it began.
func (m *Merger) tell(j *joint) {
	c := j.seen[Inside]
	if c == nil {
		if m.attached[Inside] && m.now.Before(j.deadline) && j.id == "" {
			return
		}
		c = j.seen[Aside]
	}
	if j.over[0] || j.over[1] {
		return
	}
	if j.id == "" {
		j.id = c.ID
	}
	if m.OnLive != nil {
		out := *c
		out.ID = j.id
		m.OnLive(&out)
	}
}

// Next is when Advance has something to do; zero if nothing waits.
func (m *Merger) Next() time.Time {
	var next time.Time
	for _, j := range m.open {
		if at := m.due(j); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// due is when a joint is to be looked at again.
func (m *Merger) due(j *joint) time.Time {
	switch {
	case j.over[0] || j.over[1]:
		at := j.overAt.Add(endWait)
		if j.seen[0] == nil || j.seen[1] == nil {
			at = j.deadline
		} else if !j.over[Inside] && m.attached[Inside] {
			return time.Time{} // the PBX will say
		}
		return at
	case j.id == "":
		return j.deadline
	}
	return time.Time{}
}

// Advance lets time pass.
func (m *Merger) Advance(now time.Time) {
	if now.After(m.now) {
		m.now = now
	}
	m.settle()
	old := 0
	for old < len(m.past) && m.now.Sub(m.past[old].overAt) > time.Minute {
		old++
	}
	m.past = slices.Delete(m.past, 0, old)
	for w := range m.spent {
		for id, at := range m.spent[w] {
			if m.now.Sub(at) > 2*DefaultMaxAge {
				delete(m.spent[w], id)
			}
		}
	}
}

// Flush publishes what has ended at either witness: nothing more will come.
func (m *Merger) Flush(now time.Time) {
	m.Advance(now)
	m.attached = [2]bool{}
	m.now = now.Add(endWait + pairWait)
	m.settle()
	m.now = now
}

func (m *Merger) settle() {
	kept := m.open[:0]
	var done []*joint
	for _, j := range m.open {
		switch {
		case m.finished(j):
			done = append(done, j)
			continue
		case j.id == "" && !j.over[0] && !j.over[1] && !m.now.Before(j.deadline):
			m.tell(j)
		}
		kept = append(kept, j)
	}
	clear(m.open[len(kept):])
	m.open = kept
	for _, j := range done {
		for w := range j.seen {
			if j.seen[w] == nil {
				m.past = append(m.past, j)
			} else if !j.over[w] {
				m.spend(Witness(w), j.seen[w].ID)
			}
		}
		out := m.verdict(j)
		if m.OnCall != nil {
			m.OnCall(out)
		}
	}
}

func (m *Merger) finished(j *joint) bool {
	switch {
	case j.over[0] && j.over[1]:
		return true
	case !j.over[0] && !j.over[1]:
		return false
	}
	w := Inside
	if j.over[Aside] {
		w = Aside
	}
	other := 1 - w
	waited := m.now.Sub(j.overAt)
	switch {
	case j.seen[other] == nil:
		// The wire may carry no trace of the call; the PBX knows every one of its own.
		return !m.attached[other] || !m.now.Before(j.deadline)
	case other == Inside && m.attached[Inside]:
		return false
	default:
		return waited >= endWait
	}
}

// verdict makes one call of both.
func (m *Merger) verdict(j *joint) *Call {
	in, by := j.seen[Inside], j.seen[Aside]
	if !j.over[Inside] {
		in = nil
	}
	if !j.over[Aside] {
		by = nil
	}
	var out Call
	switch {
	case by == nil:
		out = *in
	case in == nil:
		out = *by
		if m.attached[Inside] && j.seen[Inside] == nil && m.since[Inside].Before(j.firstAt) && by.Outcome != Unknown {
			// A call that the PBX knows nothing of.
			out.disagree(false)
		}
	default:
		out = both(in, by)
	}
	if j.id != "" {
		out.ID = j.id
	}
	return &out
}

// disagree marks a call on which the witnesses differ: nobody is texted on it.
// Where they differ on whether a person answered, nothing is known.
func (c *Call) disagree(whether bool) {
	c.Gaps = append(append([]Gap(nil), c.Gaps...), GapWitnessDisagrees)
	c.Certain = false
	if whether {
		c.Outcome, c.Reason, c.Voicemail, c.AnsweredBy = Unknown, "", nil, nil
		c.AnsweredAt, c.Talk = time.Time{}, 0
	}
}

// both compares what two witnesses saw from its beginning to its end.
func both(in, by *Call) Call {
	out := *in
	if out.Caller.Attestation == "" {
		out.Caller.Attestation = by.Caller.Attestation
	}
	switch {
	case in.Certain && by.Certain:
		switch {
		case (in.Outcome == Answered) != (by.Outcome == Answered):
			out.disagree(true)
		case in.Outcome != by.Outcome || in.Reason != by.Reason:
			// What the wire cannot tell is no contradiction.
			if !by.HasGap(GapMachineKind) && !by.HasGap(GapOneSide) {
				out.disagree(false)
			}
		}
	case by.Certain:
		if in.Outcome == by.Outcome && in.Reason == by.Reason {
			out.Certain, out.Gaps = true, by.Gaps
			return out
		}
		out = *by
		out.ID, out.Caller, out.Line = in.ID, in.Caller, in.Line
		if in.Outcome == Voicemail && by.HasGap(GapMachineKind) && by.Outcome != Answered {
			out.Outcome, out.Voicemail = Voicemail, in.Voicemail
			if by.Outcome == Unattended {
				out.Reason = ReasonNotTried
			}
		}
	case !in.Certain:
		for _, g := range by.Gaps {
			if !out.HasGap(g) {
				out.Gaps = append(append([]Gap(nil), out.Gaps...), g)
			}
		}
	}
	return out
}
