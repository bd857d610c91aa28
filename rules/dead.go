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
	if !(lists(a.Region, b.Region) && widerContact(a, b) && patterns(a.Group, b.Group) && lists(a.Attestation, b.Attestation) &&
		patterns(a.Tried, b.Tried) && flag(a.Certain, b.Certain) && flag(a.Anonymous, b.Anonymous) && flag(a.Internal, b.Internal) && counts(a.Attempts, b.Attempts) &&
		within(a.QueueWait, b.QueueWait) && calendar(a.compiled.dates, b.compiled.dates) && weekly(a.compiled.days, b.compiled.days) && times(a.compiled.times, b.compiled.times)) {
		return false
	}
	return lists(a.Outcome, b.Outcome) && lists(a.Reason, b.Reason) && patterns(a.Line, b.Line) && patterns(a.Caller, b.Caller) &&
		patterns(a.Queue, b.Queue) && (len(a.NotCaller) == 0 || patterns(b.NotCaller, a.NotCaller) && len(b.NotCaller) > 0) && within(a.Ring, b.Ring) && within(a.Wait, b.Wait) &&
		flag(a.MessageLeft, b.MessageLeft) && flag(a.Menu, b.Menu) && flag(a.Forwarded, b.Forwarded) && (a.Open == nil && len(a.Hours) == 0 || b.hourSet()&^a.hourSet() == 0)
}

// widerContact is wider for the condition contact, whose words are not all apart: whoever is known is not new, and the other
// way round; a VIP, who is blocked, who is in a group and who calls again is known.
func widerContact(a, b *when) bool {
	has := func(word string) bool { return slices.Contains(a.Contact, word) }
	switch {
	case len(a.Contact) == 0, has("new") && has("known"):
		return true
	case has("known") && (len(b.Group) > 0 || b.Attempts != nil && b.Attempts.AtLeast != nil && *b.Attempts.AtLeast > 1):
		return true
	case len(b.Contact) == 0:
		return false
	}
	return !slices.ContainsFunc(b.Contact, func(word string) bool {
		return !has(word) && !(has("known") && (word == "vip" || word == "blocked"))
	})
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
// earlier rule asks for it, and by yes and no, new and known, where earlier rules ask for both.
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
	covered := func() bool { return coveredPart(earlier, &part, w, set, days, &by) }
	for _, split := range splits(earlier, w) {
		whole := covered
		covered = func() bool {
			for side := range 2 {
				split(&part, side)
				if !whole() {
					return false
				}
			}
			return true
		}
	}
	if !covered() {
		return nil
	}
	return by
}

// splits are ways to make two parts of all calls that w matches, by conditions of which earlier rules ask for both sides.
func splits(earlier []*rule, w *when) (all []func(part *when, side int)) {
	for _, of := range []func(*when) **bool{
		func(w *when) **bool { return &w.Certain }, func(w *when) **bool { return &w.Anonymous }, func(w *when) **bool { return &w.Internal },
		func(w *when) **bool { return &w.Menu }, func(w *when) **bool { return &w.Forwarded },
	} {
		asks := func(want bool) bool {
			return slices.ContainsFunc(earlier, func(e *rule) bool { b := *of(&e.When); return b != nil && *b == want })
		}
		if *of(w) == nil && asks(true) && asks(false) {
			all = append(all, func(part *when, side int) { *of(part) = &[]bool{true, false}[side] })
		}
	}
	asks := func(word string) bool {
		return slices.ContainsFunc(earlier, func(e *rule) bool { return slices.Contains(e.When.Contact, word) })
	}
	if len(w.Contact) == 0 && asks("new") && asks("known") {
		all = append(all, func(part *when, side int) { part.Contact = []string{contactWords[side]} })
	}
	return all
}

// coveredPart tells whether earlier rules match every call that part does, which is w but for what it is split by. It
// adds them to by.
func coveredPart(earlier []*rule, whole, w *when, set uint8, days []uint8, by *[]*rule) bool {
	part := *whole
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
					return false
				}
				if !slices.Contains(*by, earlier[i]) {
					*by = append(*by, earlier[i])
				}
			}
		}
	}
	return true
}
