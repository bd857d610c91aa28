package lab

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"textback/pbx"
)

// Compare matches finished calls with the truth about scenarios that were
// played, and says in one sentence each what differs. Calls of other numbers
// are differences too.
func Compare(played []Scenario, calls []*pbx.Call) (differences []string) {
	rest := slices.Clone(calls)
	slices.SortStableFunc(rest, func(a, b *pbx.Call) int { return a.StartedAt.Compare(b.StartedAt) })
	for _, s := range played {
		var got []*pbx.Call
		rest = slices.DeleteFunc(rest, func(c *pbx.Call) bool {
			mine := c.Caller.Number == s.Number || c.Caller.Number == "" && c.Line.Number == s.Line
			if mine {
				got = append(got, c)
			}
			return mine
		})
		for i := range max(len(s.Truth), len(got)) {
			at := s.Name
			if len(s.Truth) > 1 {
				at = fmt.Sprintf("%s, call %d", s.Name, i+1)
			}
			switch {
			case i >= len(got):
				differences = append(differences, fmt.Sprintf("%s: no call, want %s", at, s.Truth[i].Outcome))
			case i >= len(s.Truth):
				differences = append(differences, fmt.Sprintf("%s: a call too many: %s %s to %s", at, got[i].Direction, got[i].Outcome, got[i].Line.Number))
			default:
				for _, d := range s.Truth[i].Diff(got[i]) {
					differences = append(differences, at+": "+d)
				}
				if got[i].Line.Number != s.Line {
					differences = append(differences, fmt.Sprintf("%s: line is %q, want %s", at, got[i].Line.Number, s.Line))
				}
			}
		}
	}
	for _, c := range rest {
		differences = append(differences, fmt.Sprintf("a call of nobody's: %s %s %s to %s", c.Direction, c.Outcome, c.Caller.Raw, c.Line.Raw))
	}
	return differences
}

// Diff says what a call has that differs from the truth.
func (want Call) Diff(got *pbx.Call) (differences []string) {
	differ := func(field string, got, want any) {
		if got != want {
			differences = append(differences, fmt.Sprintf("%s is %v, want %v", field, got, want))
		}
	}
	duration := func(field string, got, want time.Duration) {
		if (got - want).Abs() > Tolerance {
			differ(field, got, want)
		}
	}
	differ("direction", got.Direction, want.Direction)
	differ("outcome", got.Outcome, want.Outcome)
	differ("reason", got.Reason, want.Reason)
	differ("certain", got.Certain, true)
	differ("gaps", fmt.Sprint(got.Gaps), "[]")
	differ("anonymous", got.Caller.Anonymous, want.Anonymous)
	differ("menu", got.Menu, want.Menu)
	differ("forwarded", got.Forwarded, want.Forwarded)
	duration("ring", got.Ring, want.Ring)
	if want.Talk != 0 {
		duration("talk", got.Talk, want.Talk)
	}
	if want.EndedBy != "" {
		differ("ended by", got.EndedBy, want.EndedBy)
	}
	queue := ""
	if got.Queue != nil {
		queue = got.Queue.Name
	}
	differ("queue", queue, want.Queue)

	by, external := "", false
	if got.AnsweredBy != nil {
		if external = got.AnsweredBy.External; !external {
			by = got.AnsweredBy.Extension
		}
	}
	differ("answered by", by, want.AnsweredBy)
	differ("answered outside", external, want.External)

	left := "no mailbox"
	if got.Voicemail != nil {
		left = message(got.Voicemail.MessageLeft)
	}
	if want.Outcome == pbx.Voicemail {
		differ("message left", left, message(want.MessageLeft))
	} else {
		differ("mailbox", left, "no mailbox")
	}
	return append(differences, diffAttempts(got.Attempts, want.Attempts)...)
}

func message(left *bool) string {
	if left == nil {
		return "unknown"
	}
	return fmt.Sprint(*left)
}

func diffAttempts(got []pbx.Attempt, want []Attempt) []string {
	have := make([]Attempt, len(got))
	for i, a := range got {
		have[i] = Attempt{a.Extension, a.Result, a.Ring.Round(10 * time.Millisecond)}
		if len(a.Extension) != len("1001") {
			have[i].Phone = "" // outside
		}
	}
	order := func(a, b Attempt) int {
		return cmp.Or(cmp.Compare(a.Phone, b.Phone), cmp.Compare(a.Result, b.Result), cmp.Compare(a.Ring, b.Ring))
	}
	sorted := slices.Clone(want)
	slices.SortFunc(sorted, order)
	slices.SortFunc(have, order)
	if slices.EqualFunc(have, sorted, func(a, b Attempt) bool {
		return a.Phone == b.Phone && a.Result == b.Result && (a.Ring-b.Ring).Abs() <= Tolerance
	}) {
		return nil
	}
	return []string{fmt.Sprintf("attempts are %v, want %v", have, sorted)}
}
