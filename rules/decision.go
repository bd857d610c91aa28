package rules

import (
	"encoding/json"
	"time"
)

// Why nothing is sent: Decision.Suppressed.
const (
	NotMissed     = "not_missed"     // the call was not a missed one
	Stale         = "stale"          // the call ended too long ago
	NotCertain    = "not_certain"    // somebody may have taken it
	Anonymous     = "anonymous"      // the caller withheld the number
	Internal      = "internal"       // the caller shows the line's own number
	InvalidNumber = "invalid_number" // an extension, junk, or no valid number
	Region        = "region"         // a number of a region that is not texted
	SaidStop      = "opted_out"      // the caller has said stop
	Reached       = "got_through"    // the caller has been reached since
	NoRule        = "no_rule"        // no rule matches
	RuleSaysNo    = "rule_says_no"   // the rule that matches sends nothing
	Duplicate     = "duplicate"      // this episode has had its first text
	OnLine        = "on_line"        // the caller is on a line right now: wait
)

// A Decision is what becomes of one call, and why.
type Decision struct {
	Send         bool          `json:"send"`
	Rule         string        `json:"rule,omitempty"` // the rule that matched
	RuleLine     int           `json:"rule_line,omitempty"`
	Message      string        `json:"message,omitempty"` // its name in rules.yaml, empty for a rule's own text
	Body         string        `json:"body,omitempty"`    // rendered, in GSM-7 where possible
	Segments     int           `json:"segments,omitempty"`
	Encoding     string        `json:"encoding,omitempty"` // "GSM-7" or "UCS-2"
	Delay        time.Duration `json:"-"`                  // these three in seconds: see MarshalJSON
	DueAt        time.Time     `json:"due_at,omitzero"`
	Window       time.Duration `json:"-"` // duplicate protection
	Fresh        time.Duration `json:"-"` // how old the call may be when the text leaves
	Suppressed   string        `json:"suppressed,omitempty"`
	Because      string        `json:"because,omitempty"` // a sentence for people, whether a text is sent or not
	RulesVersion string        `json:"rules_version"`
	Steps        []Step        `json:"steps,omitempty"`
	Guards       []Guard       `json:"guards,omitempty"`
}

// plainDecision is a Decision without its methods.
type plainDecision Decision

// inSeconds is how a Decision stands in JSON: durations as seconds and times in
// UTC, like everywhere in textback's JSON.
type inSeconds struct {
	plainDecision
	Delay  float64 `json:"delay_seconds"`
	Window float64 `json:"window_seconds"`
	Fresh  float64 `json:"fresh_seconds"`
}

// MarshalJSON writes durations as delay_seconds, window_seconds and fresh_seconds.
func (d Decision) MarshalJSON() ([]byte, error) {
	d.DueAt = d.DueAt.UTC()
	return json.Marshal(inSeconds{plainDecision(d), d.Delay.Seconds(), d.Window.Seconds(), d.Fresh.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Decision) UnmarshalJSON(b []byte) error {
	var in inSeconds
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*d = Decision(in.plainDecision)
	for _, x := range []struct {
		to      *time.Duration
		seconds float64
	}{{&d.Delay, in.Delay}, {&d.Window, in.Window}, {&d.Fresh, in.Fresh}} {
		*x.to = time.Duration(x.seconds * float64(time.Second)).Round(time.Microsecond)
	}
	return nil
}

// A Step is one rule's say, in the order of the file, up to the one that matched.
type Step struct {
	Rule    string `json:"rule"`
	Line    int    `json:"line"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

// A Guard is a condition on every text, whatever the rules say.
type Guard struct {
	Name string `json:"name"` // one of the words above
	OK   bool   `json:"ok"`
	Why  string `json:"why"`
}
