package rules

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteText explains the decision to a person. Times are shown in zone.
func (d *Decision) WriteText(w io.Writer, zone *time.Location) error {
	var b strings.Builder
	at := func(t time.Time) string { return t.In(zone).Format("Mon 2 Jan 15:04:05 MST") }
	steps, guards := d.Steps(), d.Guards()
	if d.Shadow {
		b.WriteString("Shadow mode: what follows is recorded, and nothing of it happens.\n")
	}
	switch {
	case d.Send:
		fmt.Fprintf(&b, "A text is sent, by rule %q (line %d), at %s (%s after the call).\n", d.Rule, d.RuleLine, at(d.DueAt), human(d.Delay))
		for _, wait := range []struct{ guard, says string }{
			{OnLine, "If the caller is still on a line then, it waits until that ends."},
			{BudgetMinute, "Too many texts have just left: it waits for its turn."},
			{Breaker, "The way out is closed: it waits until that is open again."},
		} {
			if slices.ContainsFunc(guards, func(g Guard) bool { return g.Name == wait.guard && !g.OK }) {
				b.WriteString(wait.says + "\n")
			}
		}
	default:
		fmt.Fprintf(&b, "No text is sent: %s.\n", d.Because)
	}
	if d.Body != "" {
		would := ""
		if !d.Send {
			would = " that would have been sent"
		}
		fmt.Fprintf(&b, "\nThe text%s (%s):\n  %s\n", would, d.about(d.Message, d.Body, d.Language, d.Segments, d.Encoding, d.Cost), indented(d.Body))
	}
	for _, f := range d.FollowUps {
		if f.Task != nil {
			fmt.Fprintf(&b, "\nFollow-up at %s: a task for %s, to call back until %s.\n", at(f.DueAt), f.Task.Owner, at(f.Task.Deadline))
		} else {
			fmt.Fprintf(&b, "\nFollow-up at %s, a text (%s):\n  %s\n", at(f.DueAt), d.about(f.Message, f.Body, f.Language, f.Segments, f.Encoding, f.Cost), indented(f.Body))
			if why := d.quiet(f.DueAt); why != "" {
				fmt.Fprintf(&b, "  It will not leave: %s.\n", why)
			}
		}
	}
	if len(d.FollowUps) > 0 {
		b.WriteString("A follow-up is cancelled by a reply, by getting through, by a call back, by opting out, and by hand.\n")
	}
	if d.Task != nil || d.Owed != nil || len(d.Notify) > 0 || len(d.Tags) > 0 {
		b.WriteString("\nBeside the text:\n")
	}
	if d.Task != nil {
		fmt.Fprintf(&b, "  a task for %s, to call back until %s\n", d.Task.Owner, at(d.Task.Deadline))
	}
	if d.Owed != nil && d.Task == nil {
		fmt.Fprintf(&b, "  a task for %s, to call back until %s, because it is too late for a text, or too much\n", cmp.Or(d.Owed.Owner, "whoever is there"), at(d.Owed.Deadline))
	}
	if len(d.Notify) > 0 {
		fmt.Fprintf(&b, "  %s told\n", are(d.Notify))
	}
	if len(d.Tags) > 0 {
		fmt.Fprintf(&b, "  tagged %s\n", strings.Join(d.Tags, ", "))
	}
	if len(steps) > 0 {
		b.WriteString("\nRules, in order:\n")
		for _, s := range steps {
			if s.Matched {
				fmt.Fprintf(&b, "  yes  %s (line %d)\n", s.Rule, s.Line)
			} else {
				fmt.Fprintf(&b, "  no   %s (line %d): %s\n", s.Rule, s.Line, s.Why)
			}
		}
	}
	b.WriteString("\nGuards on every text:\n")
	for _, g := range guards {
		word := "ok  "
		switch {
		case g.NotAsked:
			word = "?   "
		case !g.OK && Waits(g.Name):
			word = "wait"
		case !g.OK:
			word = "no  "
		}
		fmt.Fprintf(&b, "  %s  %s\n", word, g.Why)
	}
	fmt.Fprintf(&b, "\nRules version %s.\n", d.RulesVersion)
	_, err := io.WriteString(w, b.String())
	return err
}

// quiet is why a follow-up that is due at that time will be dropped, empty when it
// will not be.
func (d *Decision) quiet(due time.Time) string {
	if d.asked == nil {
		return ""
	}
	a := *d.asked
	a.f.Text = &DueText{FollowUp: true, DueAt: due}
	if a.leaves = due; a.ok(QuietHours) {
		return ""
	}
	a.no |= bit(QuietHours)
	return a.sentence(QuietHours)
}

// about says what is to be known of a text beside its letters.
func (d *Decision) about(message, body, language string, size int, encoding string, cost Money) string {
	s := "the rule's own"
	if message != "" {
		s = "message " + quote(message)
	}
	if language != "" && language != "en" {
		s += " in " + language
	}
	s += fmt.Sprintf(", %d characters, %s, %s", len([]rune(body)), segments(size), encoding)
	if cost > 0 {
		s += ", costs " + cost.String()
	}
	return s
}

func indented(s string) string { return strings.ReplaceAll(s, "\n", "\n  ") }

// are is "reception is", "reception and sales are".
func are(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " are"
}
