package sms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
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

// Traits is what a transport declares about itself. Nothing in it changes
// while the transport lives.
type Traits struct {
	Name     string   // as in sms.transport: "twilio", "smpp"
	Replies  ReplyWay // how MO texts arrive; NoReplies where there is no way in
	Receipts bool     // delivery receipts arrive

	// RatePerSecond is how many texts a second the account may submit at most; 0: no
	// limit is known. MaxSegments is how long one text may be; 0: no limit of its own.
	RatePerSecond float64
	MaxSegments   int

	// AnswersStop: the carrier or provider confirms STOP and answers HELP itself,
	// so that an answer of ours would be a second one.
	AnswersStop bool
}

// ReplyWay is how MO texts and delivery receipts reach us.
type ReplyWay string

const (
	NoReplies ReplyWay = "none"
	ByWebhook ReplyWay = "webhook" // the provider calls a URL of ours
	ByPoll    ReplyWay = "poll"    // we ask the provider
	BySession ReplyWay = "session" // over the connection that texts leave by
	BySpool   ReplyWay = "spool"   // files in a directory
)

// A Declarer tells its Traits. Every transport that leaves the machine is one.
// Whether an unknown fate can be asked is told by being a FateAsker, and
// whether an id may be submitted twice by being Idempotent.
type Declarer interface {
	Traits() Traits
}

// An Inbound is one text from a phone to a number of ours (MO).
type Inbound struct {
	ID   string    // the provider's own id; empty where it gives none, then sender, time and words stand for it
	From string    // E.164; otherwise what the provider shows (a short code, a name)
	To   string    // our number, in the same way; empty where the provider does not say
	Body string    // UTF-8, joined if it came in parts; may be empty (a picture alone)
	At   time.Time // when the provider got it; zero: not said

	// Keyword is what the provider took the text for: "STOP", "START", "HELP", or
	// empty. A provider that says so has acted on it, and has answered.
	Keyword string
	// Media is how many pictures or other attachments came with it.
	Media int
}

// Delivery is what became of a text after the provider took it.
type Delivery string

const (
	EnRoute     Delivery = "en_route"    // queued, buffered, sent on: not final
	Delivered   Delivery = "delivered"   // the handset has it; final
	Undelivered Delivery = "undelivered" // it will not arrive; final
)

// A DeliveryReceipt is a provider's later word on a text that it took.
type DeliveryReceipt struct {
	ProviderID string // the provider's id of the text, as in Receipt; may be empty when MessageID is not
	MessageID  string // our Message.ID, where the provider echoes it
	Delivery   Delivery
	Class      Class  // why it was not delivered; empty otherwise
	Code       string // the provider's own code or status word, kept as it came
	At         time.Time
}

// An Inbox takes what arrives. Both methods return nil once it is on disk; a
// transport acknowledges to its provider only then, and lets the provider offer
// it again otherwise. The same thing may be given any number of times. They
// are safe for concurrent use.
type Inbox interface {
	Received(ctx context.Context, m Inbound) error
	Receipt(ctx context.Context, r DeliveryReceipt) error
}

// A Runner is a transport with a life of its own: a session that is kept, a
// list that is polled, a spool that is watched. Run returns when ctx ends, after
// what it was doing is done; it copes with every failure of the other side by
// itself. Submit outside of Run's time is answered with Transient.
type Runner interface {
	Run(ctx context.Context, in Inbox) error
}

// A WebhookTaker is a transport whose provider calls a URL of ours. Its handler
// is given requests below that URL with the path cut down to what follows, such
// as "/inbound" or "/status", whole bodies of bounded length, and a context that
// ends before the provider's patience does. It checks signatures over the exact
// bytes and the configured public URL, never one rebuilt from headers. It answers
// 2xx only once the Inbox has taken what came, 403 when it does not believe the
// sender, and 503 when the provider shall try again.
type WebhookTaker interface {
	Webhook(in Inbox) http.Handler
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
