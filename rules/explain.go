package rules

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteText explains the decision to a person. Times are shown in zone.
func (d *Decision) WriteText(w io.Writer, zone *time.Location) error {
	var b strings.Builder
	switch {
	case d.Send:
		fmt.Fprintf(&b, "A text is sent, by rule %q (line %d), at %s (%s after the call).\n", d.Rule, d.RuleLine, d.DueAt.In(zone).Format("Mon 2 Jan 15:04:05 MST"), human(d.Delay))
		if slices.ContainsFunc(d.Guards, func(g Guard) bool { return g.Name == OnLine && !g.OK }) {
			b.WriteString("If the caller is still on a line then, it waits until that ends.\n")
		}
	default:
		fmt.Fprintf(&b, "No text is sent: %s.\n", d.Because)
	}
	if d.Body != "" {
		would := ""
		if !d.Send {
			would = " that would have been sent"
		}
		from := "the rule's own"
		if d.Message != "" {
			from = "message " + quote(d.Message)
		}
		fmt.Fprintf(&b, "\nThe text%s (%s, %d characters, %s, %s):\n  %s\n", would, from, len([]rune(d.Body)), segments(d.Segments), d.Encoding, strings.ReplaceAll(d.Body, "\n", "\n  "))
	}
	if len(d.Steps) > 0 {
		b.WriteString("\nRules, in order:\n")
		for _, s := range d.Steps {
			if s.Matched {
				fmt.Fprintf(&b, "  yes  %s (line %d)\n", s.Rule, s.Line)
			} else {
				fmt.Fprintf(&b, "  no   %s (line %d): %s\n", s.Rule, s.Line, s.Why)
			}
		}
	}
	b.WriteString("\nGuards on every text:\n")
	for _, g := range d.Guards {
		word := "ok  "
		if !g.OK {
			word = "no  "
			if g.Name == OnLine {
				word = "wait"
			}
		}
		fmt.Fprintf(&b, "  %s  %s\n", word, g.Why)
	}
	fmt.Fprintf(&b, "\nRules version %s.\n", d.RulesVersion)
	_, err := io.WriteString(w, b.String())
	return err
}
