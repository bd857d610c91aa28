package rules

import (
	"encoding/json"
	"slices"
	"time"
)

// Why nothing is sent: Decision.Suppressed.
const (
	NotMissed     = "not_missed"     // the call was not a missed one
	Stale         = "stale"          // the call ended too long ago
	NotCertain    = "not_certain"    // somebody may have taken it
	Anonymous     = "anonymous"      // the caller withheld the number
	Internal      = "internal"       // the caller shows an extension, or a number of the office's own
	InvalidNumber = "invalid_number" // junk, or no valid number
	Region        = "region"         // a number of a region that is not texted
	SaidStop      = "opted_out"      // the caller has said stop
	Reached       = "got_through"    // the caller has been reached since
	NoRule        = "no_rule"        // no rule matches
	RuleSaysNo    = "rule_says_no"   // the rule that matches sends nothing
	Duplicate     = "duplicate"      // this episode has had its first text
	OnLine        = "on_line"        // the caller is on a line right now: wait

	NumberType   = "number_type"   // a landline, a premium number and the like
	DoNotText    = "do_not_text"   // the address book says so
	BlockedOne   = "blocked"       // the address book says so
	Machine      = "machine"       // an auto-responder, a short code, a loop
	Attestation  = "attestation"   // the number is forged (STIR/SHAKEN)
	QuietHours   = "quiet_hours"   // it is night where the number may be
	BudgetCaller = "budget_caller" // this caller has had enough texts
	BudgetPrefix = "budget_prefix" // numbers like this one have had enough texts: a dialler
	BudgetMinute = "budget_minute" // too many texts at once: wait
	BudgetDay    = "budget_day"    // the day's segments are used up
	BudgetMoney  = "budget_money"  // the day's money is used up
	Breaker      = "breaker"       // the way out is broken: wait
	Replied      = "replied"       // the caller has answered since (follow-ups)
	CalledBack   = "called_back"   // the office has called back since
)

// Waits tells whether what stands against a text passes by itself: while the
// call is fresh, the text waits for it. Everything else cancels the text.
func Waits(suppressed string) bool {
	return suppressed == OnLine || suppressed == BudgetMinute || suppressed == Breaker
}

// Late tells whether a text that could not leave for this reason leaves the office with a
// callback: the caller was to be texted, and nothing is wrong with them.
func Late(suppressed string) bool {
	return suppressed == Stale || suppressed == BudgetDay || suppressed == BudgetMoney
}

// A Decision is what becomes of one call, and why. Its explanation (Steps,
// Guards) is worded when somebody asks for it, so the call that was decided about
// must stay as it was.
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
	Language     string        `json:"language,omitempty"` // of the message chosen
	Cost         Money         `json:"cost_micros,omitempty"`
	Shadow       bool          `json:"shadow,omitempty"` // mode: shadow: record it, send nothing

	// What the rule that matched wants beside the text. It happens for every fresh
	// missed call, whether a text is sent or not.
	FollowUps []FollowUp `json:"follow_ups,omitempty"` // texts among them only when Send
	Task      *Task      `json:"task,omitempty"`
	Notify    []string   `json:"notify,omitempty"` // names of staff
	Tags      []string   `json:"tags,omitempty"`

	// Owed is the callback that is owed because the text, or a stale call's task, could not
	// come in time: textback was away, or the day's budget is used up.
	Owed *Task `json:"owed,omitempty"`

	asked *asked // what can explain it; nil for one that was read from JSON
	told  *told  // its explanation as read from JSON

	unasked []string // guards about which nobody was asked
}

// told is an explanation in words.
type told struct {
	steps  []Step
	guards []Guard
}

// Steps are the rules' say, in the order of the file, up to the one that
// matched. There are none for a call that was not missed.
func (d Decision) Steps() []Step {
	switch {
	case d.asked != nil:
		return d.asked.steps()
	case d.told != nil:
		return d.told.steps
	}
	return nil
}

// Guards are the guards' say, in their order.
func (d Decision) Guards() []Guard {
	switch {
	case d.asked != nil:
		gs := d.asked.guards()
		for i := range gs {
			if g := &gs[i]; g.OK && slices.Contains(d.unasked, g.Name) && !d.asked.unlimited(g.Name) {
				g.NotAsked, g.Why = true, "not asked: "+matters[g.Name]
			}
		}
		return gs
	case d.told != nil:
		return d.told.guards
	}
	return nil
}

// NotAsked says that the facts were silent about what some guards ask, because
// nobody knew: they let the text through, and their say is no finding.
func (d *Decision) NotAsked(guards ...string) { d.unasked = guards }

// matters are what guards ask that only a running daemon knows.
var matters = map[string]string{
	SaidStop:     "whether the caller has said stop",
	Machine:      "whether a machine answers there",
	BudgetCaller: "how many texts this caller has had",
	BudgetPrefix: "how many texts numbers like this one have had",
	BudgetMinute: "how many texts have just left",
	BudgetDay:    "how many segments are used today",
	BudgetMoney:  "how much is spent today",
	Breaker:      "whether the way out is open",
	Reached:      "whether the caller has got through since",
	CalledBack:   "whether the office has called back since",
	OnLine:       "whether the caller is on a line",
	Duplicate:    "whether this caller has just had a text",
}

// A FollowUp happens a while after the first text unless the caller has been
// reached, has replied, or has said stop by then. It is a text or a task.
type FollowUp struct {
	DueAt    time.Time `json:"due_at"`
	Message  string    `json:"message,omitempty"`
	Body     string    `json:"body,omitempty"`
	Segments int       `json:"segments,omitempty"`
	Encoding string    `json:"encoding,omitempty"`
	Language string    `json:"language,omitempty"`
	Cost     Money     `json:"cost_micros,omitempty"`
	Task     *Task     `json:"task,omitempty"`
}

// A Task is a caller to be called back.
type Task struct {
	Owner    string    `json:"owner"` // name of staff
	Deadline time.Time `json:"deadline"`
}

// Staff is somebody who is told of things and owns tasks.
type Staff struct {
	Name     string
	Email    string
	Text     string // E.164
	Webhook  string // https URL
	Language string
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
	Steps  []Step  `json:"steps,omitempty"`
	Guards []Guard `json:"guards,omitempty"`
}

// MarshalJSON writes durations as delay_seconds, window_seconds and fresh_seconds.
func (d Decision) MarshalJSON() ([]byte, error) {
	d.DueAt = d.DueAt.UTC()
	if d.Task != nil {
		t := *d.Task
		t.Deadline = t.Deadline.UTC()
		d.Task = &t
	}
	if d.Owed != nil {
		t := *d.Owed
		t.Deadline = t.Deadline.UTC()
		d.Owed = &t
	}
	d.FollowUps = slices.Clone(d.FollowUps)
	for i := range d.FollowUps {
		f := &d.FollowUps[i]
		f.DueAt = f.DueAt.UTC()
		if f.Task != nil {
			t := *f.Task
			t.Deadline = t.Deadline.UTC()
			f.Task = &t
		}
	}
	return json.Marshal(inSeconds{plainDecision(d), d.Delay.Seconds(), d.Window.Seconds(), d.Fresh.Seconds(), d.Steps(), d.Guards()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Decision) UnmarshalJSON(b []byte) error {
	var in inSeconds
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*d = Decision(in.plainDecision)
	if in.Steps != nil || in.Guards != nil {
		d.told = &told{in.Steps, in.Guards}
	}
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
	// NotAsked: nobody knew what it asks, so that it stood against nothing.
	NotAsked bool `json:"not_asked,omitempty"`
}
