package lab

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"textback/pbx"
)

// A Scenario is something that happens to one call, or to a few, with the
// truth about each. It has numbers, phones, queues and parking places of its
// own, so any set of different scenarios can run on one PBX at once.
type Scenario struct {
	Name  string // a word, fit for a file name
	About string // one sentence
	Line  string // the number dialled, or shown to the outside, E.164
	// Number is the outside party's, E.164, and unlike any other scenario's;
	// where the caller withholds it only Line tells the scenario's calls.
	Number string
	Truth  []Call // what is to be published, in order of time; empty for internal calls

	index        int
	plan         string // what the line does: one application a line
	further      string // more of extensions.conf
	queue        string // the body of the queue named after the scenario
	phones       []phone
	callers      []caller
	unregistered bool // phone a has no address the PBX knows
}

// phonesPerScenario bounds the phones of one scenario.
const phonesPerScenario = 3

// A Call is the truth about a call. What the zero value of a field leaves
// open, Diff does not look at.
type Call struct {
	Direction   pbx.Direction
	Outcome     pbx.Outcome
	Reason      pbx.Reason    // compared even when empty
	Anonymous   bool          // compared always
	Attempts    []Attempt     // in any order; compared even when empty
	Ring        time.Duration // compared always
	MessageLeft *bool         // of voicemail
	EndedBy     pbx.EndedBy   // empty: cannot be told, or does not matter
	Queue       string        // compared always
	Menu        bool          // compared always
	Forwarded   bool          // compared always
	AnsweredBy  string        // extension; "" when nobody did or it is External
	External    bool          // somebody outside the office answered
	Talk        time.Duration // 0: open
}

// An Attempt is the truth about one phone that was tried.
type Attempt struct {
	Phone  string // the extension; "" is a phone outside
	Result pbx.Result
	Ring   time.Duration
}

// Tolerance is how far from the truth a measured duration may lie.
const Tolerance = 1500 * time.Millisecond

// Extension is the number of the scenario's phone with a role, "a" to "c".
func (s *Scenario) Extension(role string) string {
	return fmt.Sprint(1000 + 10*s.index + int(role[0]-'a') + 1)
}

// did is the line as the trunk dials it.
func (s *Scenario) did() string { return strings.TrimPrefix(s.Line, "+1") }

// lot is the scenario's parking extension; slot is the one place of the lot.
func (s *Scenario) lot() string  { return fmt.Sprint(3000 + 10*s.index) }
func (s *Scenario) slot() string { return fmt.Sprint(3000 + 10*s.index + 1) }

// mobile is the outside number that a phone of the office forwards to.
func (s *Scenario) mobile() string { return fmt.Sprintf("64655501%02d", s.index) }

// fill puts the scenario's numbers in place of {a}, {did} and so on.
func (s *Scenario) fill(text string) string {
	return strings.NewReplacer(
		"{a}", s.Extension("a"), "{b}", s.Extension("b"), "{c}", s.Extension("c"),
		"{did}", s.did(), "{name}", s.Name, "{lot}", s.lot(), "{slot}", s.slot(), "{mobile}", s.mobile(),
		"{out}", strings.TrimPrefix(s.Number, "+1"),
	).Replace(text)
}

func (s *Scenario) fillKeys(keys []key) (filled []key) {
	for _, k := range keys {
		filled = append(filled, key{k.after, s.fill(k.digits)})
	}
	return filled
}

// Scenarios lists everything the lab can play, the same on every Version.
func Scenarios() []Scenario { return scenarios() }

var scenarios = sync.OnceValue(func() []Scenario {
	all := slices.Concat(plain(), groups(), forwards(), transfers(), confirmations(), unattended(), mailboxes(), queues(), others())
	for i := range all {
		s := &all[i]
		s.index = i
		s.Line = fmt.Sprintf("+121255501%02d", i)
		s.Number = fmt.Sprintf("+120255501%02d", i)
		for j := range s.Truth {
			c := &s.Truth[j]
			if c.AnsweredBy != "" {
				c.AnsweredBy = s.Extension(c.AnsweredBy)
			}
			c.Queue = s.fill(c.Queue)
			for k := range c.Attempts {
				if a := &c.Attempts[k]; a.Phone != "" {
					a.Phone = s.Extension(a.Phone)
				}
			}
			if c.Direction == "" {
				c.Direction = pbx.Inbound
			}
		}
	}
	return all
})

// Named picks scenarios by name, and panics on a name there is not.
func Named(names ...string) (picked []Scenario) {
	for _, name := range names {
		n := len(picked)
		for _, s := range Scenarios() {
			if s.Name == name {
				picked = append(picked, s)
			}
		}
		if len(picked) == n {
			panic("lab: no scenario is called " + name)
		}
	}
	return picked
}
