package rules

import (
	"slices"

	"textback/pbx"
)

// wider tells whether a matches every call that b matches.
func wider(a, b *when) bool {
	lists := func(a, b []string) bool {
		if len(a) == 0 {
			return true
		}
		if len(b) == 0 {
			return false
		}
		for _, x := range b {
			if !slices.Contains(a, x) {
				return false
			}
		}
		return true
	}
	// A pattern that matches another one's letters, stars included, matches all that the other one does.
	patterns := func(a, b []string) bool {
		if len(a) == 0 {
			return true
		}
		for _, x := range b {
			if !pbx.Match(a, x) {
				return false
			}
		}
		return len(b) > 0
	}
	flag := func(a, b *bool) bool { return a == nil || b != nil && *a == *b }
	within := func(a, b *between) bool {
		if a == nil {
			return true
		}
		if b == nil {
			return false
		}
		return (a.Under == nil || b.Under != nil && *b.Under <= *a.Under) && (a.AtLeast == nil || b.AtLeast != nil && *b.AtLeast >= *a.AtLeast)
	}
	counts := func(a, b *count) bool {
		return a == nil || b != nil && (a.Under == nil || b.Under != nil && *b.Under <= *a.Under) && (a.AtLeast == nil || b.AtLeast != nil && *b.AtLeast >= *a.AtLeast)
	}
	// Each part of b lies in one of a's: what several of a's parts cover together is not looked for.
	times := func(a, b []span) bool {
		return len(a) == 0 || len(b) > 0 && !slices.ContainsFunc(b, func(x span) bool {
			return !slices.ContainsFunc(a, func(y span) bool { return y.from <= x.from && x.to <= y.to })
		})
	}
	calendar := func(a, b []dates) bool {
		return len(a) == 0 || len(b) > 0 && !slices.ContainsFunc(b, func(x dates) bool {
			return !slices.ContainsFunc(a, func(y dates) bool { return y.first <= x.first && x.last <= y.last })
		})
	}
	weekly := func(a, b uint8) bool { return a == 0 || b != 0 && b&^a == 0 }
	for i := range a.PBX {
		have, ok := b.PBX.Get(a.PBX[i].Key)
		if !ok || !patterns(a.PBX[i].Value, have) {
			return false
		}
	}
	if !(lists(a.Region, b.Region) && lists(a.Contact, b.Contact) && patterns(a.Group, b.Group) && lists(a.Attestation, b.Attestation) &&
		patterns(a.Tried, b.Tried) && flag(a.Certain, b.Certain) && flag(a.Anonymous, b.Anonymous) && flag(a.Internal, b.Internal) && counts(a.Attempts, b.Attempts) &&
		within(a.QueueWait, b.QueueWait) && calendar(a.compiled.dates, b.compiled.dates) && weekly(a.compiled.days, b.compiled.days) && times(a.compiled.times, b.compiled.times)) {
		return false
	}
	return lists(a.Outcome, b.Outcome) && lists(a.Reason, b.Reason) && patterns(a.Line, b.Line) && patterns(a.Caller, b.Caller) &&
		patterns(a.Queue, b.Queue) && (len(a.NotCaller) == 0 || patterns(b.NotCaller, a.NotCaller) && len(b.NotCaller) > 0) && within(a.Ring, b.Ring) && within(a.Wait, b.Wait) &&
		flag(a.MessageLeft, b.MessageLeft) && flag(a.Menu, b.Menu) && flag(a.Forwarded, b.Forwarded) && (a.Open == nil && len(a.Hours) == 0 || b.hourSet()&^a.hourSet() == 0)
}

// hourSet are those of hoursWords that the conditions open and hours let in, a bit each.
func (w *when) hourSet() (set uint8) {
	for i, word := range hoursWords {
		if (w.Open == nil || *w.Open == (word == opened)) && (len(w.Hours) == 0 || slices.Contains(w.Hours, word)) {
			set |= 1 << i
		}
	}
	return set
}

// covering returns the earlier rules that, each or together, match every call
// that w matches; none when some call gets past them. Together they are tried
// kind of call by kind of call, and by what the hours say; by the day of the week where an
// earlier rule asks for it.
func covering(earlier []*rule, w *when) []*rule {
	weekly := false
	for _, e := range earlier {
		if wider(&e.When, w) {
			return []*rule{e}
		}
		weekly = weekly || e.When.compiled.days != 0
	}
	days := []uint8{w.compiled.days}
	if weekly {
		days = nil
		for i := range weekdays {
			if bit := uint8(1) << i; w.compiled.days == 0 || w.compiled.days&bit != 0 {
				days = append(days, bit)
			}
		}
	}
	var by []*rule
	set := w.hourSet()
	part := *w
	part.Open = nil
	for _, k := range w.kinds() {
		part.Outcome, part.Reason = []string{string(k.outcome)}, []string{string(k.reason)}
		for i, word := range hoursWords {
			if set&(1<<i) == 0 {
				continue
			}
			part.Hours = []string{word}
			for _, part.compiled.days = range days {
				i := slices.IndexFunc(earlier, func(e *rule) bool { return wider(&e.When, &part) })
				if i < 0 {
					return nil
				}
				if !slices.Contains(by, earlier[i]) {
					by = append(by, earlier[i])
				}
			}
		}
	}
	return by
}
