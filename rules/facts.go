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
	// GotThrough is when this caller last got through (CALLS.md, vocabulary),
	// zero if never. Later than the call's end, it makes a text pointless.
	GotThrough time.Time
}

// Episode is what is remembered of a caller between calls. The zero value is a
// caller never heard of, or one whose episode has closed.
type Episode struct {
	OpenedAt    time.Time // the first missed call
	FirstTextAt time.Time // when the episode's first text was planned; zero if none was
	LastTextAt  time.Time // last text or reply
	Calls       int       // missed calls so far in this episode, this one not counted
}
