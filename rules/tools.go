package rules

import "time"

// What tools ask of rules beside decisions.

// RuleNames are the rules' in their order.
func (r *Rules) RuleNames() (names []string) {
	for i := range r.file.Rules {
		names = append(names, r.file.Rules[i].Name)
	}
	return names
}

// MessageNames are the messages' in their order.
func (r *Rules) MessageNames() (names []string) {
	for _, m := range r.file.Messages {
		names = append(names, m.Key)
	}
	return names
}

// Window is for how long one text per caller is enough: when an episode closes.
// What a rule says instead is never longer.
func (r *Rules) Window() time.Duration { return r.file.Defaults.Window }
