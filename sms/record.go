package sms

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/bus"
)

// State is where a job stands. See the package comment for the whole machine.
type State string

const (
	Scheduled  State = "scheduled"  // waits for its due time
	Submitting State = "submitting" // is, or was when the process died, with the provider
	Sent       State = "sent"       // the provider took it
	Failed     State = "failed"     // the provider refused it for good, or it was not taken while fresh
	Held       State = "held"       // its fate cannot be known: an admin decides
	Cancelled  State = "cancelled"  // planned, then made pointless before it left
	Suppressed State = "suppressed" // decided against
	Shadow     State = "shadow"     // decided for, and only recorded: mode: shadow
	Waiting    State = "open"       // a task: somebody has to call back
	Done       State = "done"       // a task: the caller was reached; a notice: staff was told
)

// Kind is what a job is for. Texts are the empty kind.
type Kind string

const (
	Text   Kind = ""       // an automatic text to a caller
	Answer Kind = "answer" // the one answer to a keyword (STOP, HELP), to whoever sent it
	Task   Kind = "task"   // a callback that staff owes a caller
	Notice Kind = "notice" // word to staff
)

// Job is one text, planned or decided against, for one call. The record under
// textback.v1.sms.job.<id> is the truth about it.
type Job struct {
	ID           string    `json:"id"`
	Kind         Kind      `json:"kind,omitempty"`
	Call         string    `json:"call"` // the event's id: site/call
	Site         string    `json:"site"`
	Caller       string    `json:"caller"` // key of the caller's record
	To           string    `json:"to,omitempty"`
	From         string    `json:"from,omitempty"`
	Line         string    `json:"line,omitempty"`
	Body         string    `json:"body,omitempty"`
	Segments     int       `json:"segments,omitempty"`
	Rule         string    `json:"rule,omitempty"`
	Message      string    `json:"message,omitempty"`
	RulesVersion string    `json:"rules_version,omitempty"`
	State        State     `json:"state"`
	Why          string    `json:"why,omitempty"`     // a word: the guard, or the provider's error class
	Because      string    `json:"because,omitempty"` // a sentence
	CallEndedAt  time.Time `json:"call_ended_at"`
	DueAt        time.Time `json:"due_at,omitzero"`
	FreshUntil   time.Time `json:"fresh_until,omitzero"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
	Attempt      int       `json:"attempt,omitempty"`     // submissions begun
	Owner        string    `json:"owner,omitempty"`       // the process that submits
	SubmittedAt  time.Time `json:"submitted_at,omitzero"` // when the last submission began, before its guards were asked
	ProviderID   string    `json:"provider_id,omitempty"`
	ProviderCode string    `json:"provider_code,omitempty"`
	First        bool      `json:"first,omitempty"` // it is its episode's first text
	FollowUp     bool      `json:"follow_up,omitempty"`

	// Transport is the way out that the last attempt took, or that is tied to the
	// text: what it began nobody else may take over.
	Transport string   `json:"transport,omitempty"`
	Tried     []string `json:"tried,omitempty"` // ways that have refused it
	Tags      []string `json:"tags,omitempty"`
	Language  string   `json:"language,omitempty"`
	Cost      int64    `json:"cost_micros,omitempty"` // millionths of the admin's currency
	Reserved  bool     `json:"reserved,omitempty"`    // budgets have counted it
	Unclear   bool     `json:"unclear,omitempty"`     // an attempt's fate is unknown: only its own way may repeat it, under the same id

	Attestation string `json:"attestation,omitempty"` // of the call's number

	// Of a task: who owes it until when, and whether its owner was told that it is late.
	// Of a text: who owes the callback that takes its place when it cannot leave in time.
	TaskOwner string    `json:"task_owner,omitempty"`
	Deadline  time.Time `json:"deadline,omitzero"`
	Late      bool      `json:"late,omitempty"`

	// Of a notice: who is told (a name of staff) and how ("email", "webhook", "text").
	Staff   string `json:"staff,omitempty"`
	Channel string `json:"channel,omitempty"`
	Subject string `json:"subject,omitempty"`
	Count   int    `json:"count,omitempty"` // of a digest: how many notices are in it

	// What became of the text after the provider took it.
	Delivery    Delivery  `json:"delivery,omitempty"`
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
}

// Open reports whether the job may still become something by itself.
func (j *Job) Open() bool { return j.State == Scheduled || j.State == Submitting }

// Caller is what is remembered of a caller, under textback.v1.sms.caller.<key>.
// Every plan and every submission is made against one version of it.
type Caller struct {
	OpenedAt    time.Time `json:"opened_at,omitzero"`     // of the episode
	FirstTextAt time.Time `json:"first_text_at,omitzero"` // when the episode's first text was planned
	LastTextAt  time.Time `json:"last_text_at,omitzero"`
	TextFor     time.Time `json:"text_for,omitzero"` // end of the newest call that a text was planned for
	Calls       int       `json:"calls,omitempty"`   // missed calls in the episode
	GotThrough  time.Time `json:"got_through,omitzero"`
	Open        []string  `json:"open,omitempty"`   // jobs that may still become texts
	StopAt      time.Time `json:"stop_at,omitzero"` // last opt-out or its withdrawal: any change here stops a submission half way

	KnownSince  time.Time   `json:"known_since,omitzero"` // first call or text either way
	CalledBack  time.Time   `json:"called_back,omitzero"` // last answered call of ours to them
	RepliedAt   time.Time   `json:"replied_at,omitzero"`  // last text of theirs
	Texts       []time.Time `json:"texts,omitempty"`      // automatic texts of the last 24 h
	Tasks       []string    `json:"tasks,omitempty"`      // callbacks that are owed
	Heard       []Heard     `json:"heard,omitempty"`      // their last texts, to tell a machine by
	Machine     string      `json:"machine,omitempty"`    // why a machine is at the other end; empty: a person
	MachineTill time.Time   `json:"machine_till,omitzero"`
	HelpedAt    time.Time   `json:"helped_at,omitzero"`  // when HELP was last answered
	StopTold    bool        `json:"stop_told,omitempty"` // their STOP is confirmed; until they say START
}

// soberly forgets what lies in the future, so that a clock which was wrong once does not
// have a caller passed over until it gets there. A PBX whose zone is wrong is ahead by
// hours, and what it tells of counts.
func (c *Caller) soberly(now time.Time) {
	const most = 24 * time.Hour
	ahead := func(t time.Time) bool { return t.After(now.Add(most)) }
	for _, t := range []*time.Time{&c.OpenedAt, &c.FirstTextAt, &c.LastTextAt, &c.TextFor, &c.GotThrough, &c.CalledBack, &c.RepliedAt, &c.HelpedAt} {
		if ahead(*t) {
			*t = time.Time{}
		}
	}
	if ahead(c.MachineTill.Add(-noTextsFor)) {
		c.Machine, c.MachineTill = "", time.Time{}
	}
	c.Heard = slices.DeleteFunc(c.Heard, func(h Heard) bool { return ahead(h.At) })
}

// unreadable stands in the record of a caller of whom what was remembered cannot be
// read: perhaps they have had a text, or got through. So they get none for a while.
const (
	unreadable    = "what was remembered of this caller could not be read"
	unreadableFor = 24 * time.Hour
)

// unreadableText tells whether err is of the record of the text itself, and says so in the
// log: it does not pass. Any other record that cannot be read is no reason to drop a text.
func (s *Sender) unreadableText(id string, err error) bool {
	d, ok := errors.AsType[*damaged](err)
	if !ok || d.subject != jobSubject(id) {
		return false
	}
	s.opt.Log.Error("a text's record cannot be read; it is left alone", "job", id, "error", err)
	return true
}

// readCaller reads what is remembered of a caller, and the version of that. A record that
// is damaged is begun anew, so that one caller's never holds up all others.
func readCaller(ctx context.Context, nc *nats.Conn, key string, c *Caller, now time.Time) (uint64, error) {
	seq, err := read(ctx, nc, Stream, callerSubject(key), c)
	if d, ok := errors.AsType[*damaged](err); ok {
		*c = Caller{KnownSince: now.UTC(), Machine: unreadable, MachineTill: now.Add(unreadableFor).UTC()}
		seq, err = d.seq, nil
	}
	return seq, err
}

func (s *Sender) readCaller(ctx context.Context, key string, c *Caller, now time.Time) (uint64, error) {
	seq, err := readCaller(ctx, s.opt.NC, key, c, now)
	if c.Machine == unreadable && c.KnownSince.Equal(now) {
		s.opt.Log.Error("what was remembered of a caller could not be read and is begun anew; they get no text for a day", "record", callerSubject(key), "version", seq)
	}
	c.soberly(now)
	return seq, err
}

// Heard is one text of a caller's, without its words.
type Heard struct {
	At   time.Time `json:"at"`
	Hash string    `json:"hash"` // of its words, keyed
}

// Subjects of the stream SMS. Ids and keys are hex and '-': safe tokens.
const (
	Stream       = "SMS"
	OptOutStream = "OPTOUT"
	prefix       = "textback.v1.sms."
	optOutPrefix = "textback.v1.optout."
)

func jobSubject(id string) string            { return prefix + "job." + id }
func callerSubject(k string) string          { return prefix + "caller." + k }
func timerSubject(id string) string          { return prefix + "timer." + id }
func dueSubject(id string) string            { return prefix + "due." + id }
func inSubject(id string) string             { return prefix + "in." + id }
func pidSubject(hash string) string          { return prefix + "pid." + hash }
func earlySubject(hash string) string        { return prefix + "early." + hash }
func staffSubject(hash string) string        { return prefix + "staff." + hash }
func tellSubject(id string) string           { return prefix + "tell." + id }
func optOutSubject(k string) string          { return optOutPrefix + k }
func eventSubject(id string, s State) string { return prefix + "event." + id + "." + string(s) }

// How long records live.
const (
	jobTTL    = 90 * 24 * time.Hour
	callerTTL = jobTTL // written with each step of a job's: it lives as long as what it names
	dueTTL    = 48 * time.Hour
	inTTL     = 90 * 24 * time.Hour // how long a text that is offered again is known
	pidTTL    = 30 * 24 * time.Hour // how long a receipt finds its text
	earlyTTL  = time.Hour           // how long a receipt waits for our own record of its text
)

// Caller is the key of a number's records.
func (k Key) Caller(number string) string {
	m := hmac.New(sha256.New, k)
	m.Write([]byte(number))
	return hex.EncodeToString(m.Sum(nil)[:10])
}

// hash makes a token of what tells one thing from another, keyed so that nobody
// finds a number or words by trying.
func (k Key) hash(parts ...string) string {
	m := hmac.New(sha256.New, k)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s;", len(p), p)
	}
	return hex.EncodeToString(m.Sum(nil)[:12])
}

// record makes a message of v that must find its subject at sequence seq.
func record(subject string, v any, seq uint64, ttl time.Duration) (*nats.Msg, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", subject, err)
	}
	m := message(subject, b, ttl)
	m.Header.Set(bus.HdrExpectSeq, fmt.Sprint(seq))
	return m, nil
}

func message(subject string, data []byte, ttl time.Duration) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = data
	m.Header.Set("Nats-TTL", fmt.Sprintf("%ds", int(ttl/time.Second)))
	return m
}

// timer makes the schedule that wakes job id at t. It is a hint: whoever gets
// it looks at the job.
func timer(id string, t time.Time) *nats.Msg {
	m := message(timerSubject(id), nil, max(time.Until(t), 0)+26*time.Hour)
	// Not in whole seconds: that would fire early.
	m.Header.Set("Nats-Schedule", "@at "+t.UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", dueSubject(id))
	m.Header.Set("Nats-Schedule-TTL", fmt.Sprintf("%ds", int(dueTTL/time.Second)))
	return m
}

// happenedAs makes the event of a job's new state, for whoever listens.
func happenedAs(j *Job, as State, ttl time.Duration) (*nats.Msg, error) {
	e := *j
	e.Body, e.Subject = "", "" // what was written stays between the caller and the office
	b, err := json.Marshal(&e)
	if err != nil {
		return nil, err
	}
	return message(eventSubject(j.ID, as), b, ttl), nil
}
