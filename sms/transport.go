package sms

import (
	"context"
	"errors"
	"fmt"
)

// A Message is one text on its way to a provider.
type Message struct {
	ID   string // the job id: the provider's idempotency key or client reference, where it takes one
	From string // E.164 number of the line, or whatever the transport's account calls its sender
	To   string // E.164
	Body string
}

// A Receipt is a provider's definite word that it took a Message.
type Receipt struct {
	ProviderID string // the provider's own id of the text
	Segments   int    // as the provider counts, 0 when it does not say
	Status     string // the provider's own status word
}

// A Transport hands one text to a provider. Submit makes exactly one attempt:
// no retry, no redirect, no second connection after bytes have left. A nil
// error means the provider definitely took the text. Any other error should
// be, or wrap, an *Error; one that does not is treated as Ambiguous.
// Implementations are safe for concurrent use.
type Transport interface {
	Submit(ctx context.Context, m Message) (Receipt, error)
}

// An Idempotent transport's provider takes a second Submit with the same
// Message.ID for the same text, so an ambiguous answer may be asked again.
type Idempotent interface {
	HonoursID() bool
}

// A FateAsker can ask the provider what became of a Message whose Submit
// ended ambiguously. found is false when the provider definitely does not
// know it; an error means it could not be asked or cannot tell.
type FateAsker interface {
	Fate(ctx context.Context, m Message) (r Receipt, found bool, err error)
}

// Class sorts what a provider or the way to it said, by what must happen next.
type Class string

const (
	Ambiguous     Class = "ambiguous"       // the text may or may not be on its way: never repeat by oneself
	Transient     Class = "transient"       // definitely not taken; may be tried again while fresh
	Throttled     Class = "throttled"       // definitely not taken; try again later
	OptedOut      Class = "opted_out"       // the recipient has said stop, at the carrier
	NotMobile     Class = "not_a_mobile"    // the number takes no texts
	Invalid       Class = "invalid"         // no such number
	Blocked       Class = "blocked_content" // the carrier refuses these words
	RegionDenied  Class = "region_denied"   // the account may not text there
	Misconfigured Class = "misconfigured"   // our sender or settings are wrong: an admin must act
	Unauthorized  Class = "auth"            // the credentials are wrong: an admin must act
	NoCredit      Class = "no_credit"       // the account is empty: an admin must act
	Rejected      Class = "rejected"        // definitely refused, for a reason that has no class of its own
)

// Retryable reports whether the same text may be submitted again by itself
// while it is fresh. Classes that an admin must mend are retryable: the text
// goes out if they are mended in time.
func (c Class) Retryable() bool {
	switch c {
	case Transient, Throttled, Misconfigured, Unauthorized, NoCredit:
		return true
	}
	return false
}

// Error is what a Transport answers when the text was not, or perhaps not, taken.
type Error struct {
	Class Class
	Code  string // the provider's own code, kept as it came
	Err   error  // what was attempted and what happened; never holds secrets, numbers or bodies
}

func (e *Error) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("%s (provider code %s): %v", e.Class, e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Class, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf tells err's class: Ambiguous unless err wraps an *Error that says otherwise.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Ambiguous
}
