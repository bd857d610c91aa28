package sms

import "time"

// Retention is how long what was written, and to whom, is remembered. Opt-outs
// are kept for ever.
type Retention struct {
	Bodies  time.Duration // words of texts either way (30 days)
	Numbers time.Duration // phone numbers in calls, texts and events (90 days)
}

// What is kept by default, and at most.
const (
	DefaultBodies  = 30 * 24 * time.Hour
	DefaultNumbers = 90 * 24 * time.Hour
)

func (r Retention) numbers() time.Duration {
	if r.Numbers == 0 {
		return DefaultNumbers
	}
	return r.Numbers
}

// bodies are never kept longer than the numbers they belong to.
func (r Retention) bodies() time.Duration {
	b := r.Bodies
	if b == 0 {
		b = DefaultBodies
	}
	return min(b, r.numbers())
}
