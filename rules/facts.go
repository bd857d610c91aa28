package rules

import (
	"time"

	"textback/pbx"
)

// Facts are everything a decision may look at. They are gathered by the edges;
// Decide asks nobody else.
type Facts struct {
	Call     *pbx.Call
	Episode  Episode // of this caller with this business
	OptedOut bool    // the caller has said stop
	OnLine   bool    // the caller is on a line or in a queue right now
	Ours     bool    // the caller's number is one of the office's own lines (textback.yaml)
	// GotThrough is when this caller last got through (CALLS.md, vocabulary),
	// zero if never. Later than the call's end, it makes a text pointless.
	GotThrough time.Time
	// CalledBack is when an outbound call to this caller was last answered,
	// Replied when a text of theirs last came; zero if never.
	CalledBack, Replied time.Time

	Contact *Contact // nil: in no address book
	Known   bool     // has called or been texted before, in this episode or an earlier one
	Machine string   // why whoever answers at this number is taken for a machine; empty: a person
	Spent   Spent    // what budgets have been used up, this text not counted
	Down    string   // why the way out is closed by its circuit breaker; empty: it is open

	// Text is the text that is due, for Recheck; nil for Decide.
	Text *DueText
}

// DueText is what Recheck must know of a planned text.
type DueText struct {
	FollowUp  bool
	DueAt     time.Time // when it was to leave
	PlannedAt time.Time // replies, calls back and the like before this do not count against it
	Segments  int
}

// Spent is what automatic texts have used of the budgets.
type Spent struct {
	Caller      int // texts to this caller in the last 24 h
	Prefix      int // texts in the last hour to numbers that differ in their last 4 digits only
	Minute      int // texts in the last 60 s, to anybody
	DaySegments int // segments on this day of the business's zone
	DayMoney    Money
}

// Money is in millionths of the admin's currency.
type Money int64

// Contact is what an address book says of a caller.
type Contact struct {
	Name      string // in full
	FirstName string // empty: made of Name where that is a person's
	Language  string // ISO 639-1, "es"; empty: the line's
	Groups    []string
	VIP       bool
	DoNotText bool
	Blocked   bool
}

// Episode is what is remembered of a caller between calls. The zero value is a
// caller never heard of, or one whose episode has closed.
type Episode struct {
	OpenedAt    time.Time // the first missed call
	FirstTextAt time.Time // when the episode's first text was planned; zero if none was
	LastTextAt  time.Time // last text or reply
	Calls       int       // missed calls so far in this episode, this one not counted
}
