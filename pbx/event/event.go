// Package event is in charge of the contract that integrators rely on: how a
// pbx.Call is written as a CloudEvent, which NATS subject it travels on, and
// what each field means. The JSON Schema beside this file is the same contract
// for other languages. Within v1 fields are only ever added.
package event

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"textback/pbx"
)

// Schema is the JSON Schema (draft 2020-12) of an event.
//
//go:embed call.v1.schema.json
var Schema []byte

// Constants of the CloudEvents 1.0 envelope.
const (
	SpecVersion     = "1.0"
	Type            = "textback.call.v1"
	LiveType        = "textback.live.v1"
	DataContentType = "application/json"
	DataSchema      = "urn:textback:schema:call:v1"
)

// Time is an instant in UTC with millisecond precision (RFC 3339). The zero
// value is left out of JSON with omitzero.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the instant in UTC with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 instant.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return err
	}
	// A zone can carry a year over the edge of what RFC 3339 can write.
	if t.Time = at.UTC().Truncate(time.Millisecond); t.Year() < 0 || t.Year() > 9999 {
		return fmt.Errorf("time %s: the year is not one of four digits", s)
	}
	return nil
}

// Seconds is a duration written as a JSON number of seconds, to the millisecond.
type Seconds float64

// maxSeconds keeps what others wrote within a time.Duration.
const maxSeconds = 100 * 365 * 24 * 3600

func seconds(d time.Duration) *Seconds {
	s := Seconds(min(max(d, 0).Round(time.Millisecond).Seconds(), maxSeconds))
	return &s
}

func (s *Seconds) duration() time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(min(max(float64(*s), 0), maxSeconds) * float64(time.Second)).Round(time.Millisecond)
}

// Event is one CloudEvent in structured JSON mode.
type Event struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`
	Source          string `json:"source"`
	Type            string `json:"type"`
	Time            Time   `json:"time"`
	Subject         string `json:"subject,omitempty"`
	DataContentType string `json:"datacontenttype"`
	DataSchema      string `json:"dataschema"`
	Data            Data   `json:"data"`
}

// Data is the call. Absent means unknown.
type Data struct {
	Site       string        `json:"site"`
	Source     string        `json:"source"`
	Direction  pbx.Direction `json:"direction"`
	State      pbx.State     `json:"state,omitempty"` // live events only
	Outcome    pbx.Outcome   `json:"outcome,omitempty"`
	Reason     pbx.Reason    `json:"reason,omitempty"`
	Caller     Caller        `json:"caller"`
	Line       Line          `json:"line"`
	StartedAt  Time          `json:"started_at"`
	AnsweredAt Time          `json:"answered_at,omitzero"`
	EndedAt    Time          `json:"ended_at,omitzero"`
	Ring       *Seconds      `json:"ring_seconds,omitempty"`
	Wait       *Seconds      `json:"wait_seconds,omitempty"`
	Talk       *Seconds      `json:"talk_seconds,omitempty"`
	AnsweredBy *Answerer     `json:"answered_by,omitempty"`
	EndedBy    pbx.EndedBy   `json:"ended_by,omitempty"`
	Voicemail  *Mailbox      `json:"voicemail,omitempty"`
	Queue      *Queue        `json:"queue,omitempty"`
	Menu       bool          `json:"menu"`
	Forwarded  bool          `json:"forwarded"`
	Attempts   []Attempt     `json:"attempts"`
	Certain    bool          `json:"certain"`
	Gaps       []pbx.Gap     `json:"gaps"`

	PBX map[string]string `json:"pbx,omitempty"` // finished calls only
}

// Caller mirrors pbx.Caller.
type Caller struct {
	Number      string `json:"number,omitempty"`
	Raw         string `json:"raw,omitempty"`
	Name        string `json:"name,omitempty"`
	Anonymous   bool   `json:"anonymous"`
	Attestation string `json:"attestation,omitempty"`
}

// Line mirrors pbx.Line.
type Line struct {
	Number string `json:"number,omitempty"`
	Raw    string `json:"raw,omitempty"`
	Name   string `json:"name,omitempty"`
}

// Answerer mirrors pbx.Answerer.
type Answerer struct {
	Endpoint  string `json:"endpoint"`
	Extension string `json:"extension,omitempty"`
	Name      string `json:"name,omitempty"`
	External  bool   `json:"external"`
}

// Mailbox mirrors pbx.Mailbox.
type Mailbox struct {
	Mailbox     string `json:"mailbox,omitempty"`
	MessageLeft *bool  `json:"message_left,omitempty"`
}

// Queue mirrors pbx.Queue.
type Queue struct {
	Name string   `json:"name"`
	Wait *Seconds `json:"wait_seconds,omitempty"`
}

// Attempt mirrors pbx.Attempt.
type Attempt struct {
	Endpoint  string     `json:"endpoint"`
	Extension string     `json:"extension,omitempty"`
	Name      string     `json:"name,omitempty"`
	Result    pbx.Result `json:"result,omitempty"` // absent in a live event while undecided
	Ring      *Seconds   `json:"ring_seconds,omitempty"`
	SIPStatus int        `json:"sip_status,omitempty"`
	Q850Cause int        `json:"q850_cause,omitempty"`
}

// ID is the event's id: site and call. Consumers dedupe by it. Bytes that are
// not UTF-8 (a SIP Call-ID may have them) stand in it as JSON will write them,
// so that a call has one id and one subject before and after it was spooled.
func ID(c *pbx.Call) string {
	id := c.Site + "/" + c.ID
	if !utf8.ValidString(id) {
		id = string([]rune(id))
	}
	return id
}

// New wraps a finished call in an event, stamped with the call's end. A call
// that still lives becomes a live event, stamped with now.
func New(c *pbx.Call, now time.Time) Event {
	e := Event{
		SpecVersion: SpecVersion, ID: ID(c), Source: "/textback/" + c.Site, Type: Type, Time: Time{c.EndedAt},
		DataContentType: DataContentType, DataSchema: DataSchema,
		Subject: c.Line.Number,
		Data: Data{
			Site: c.Site, Source: c.Source, Direction: c.Direction, Outcome: c.Outcome, Reason: c.Reason,
			Caller: Caller(c.Caller), Line: Line(c.Line),
			StartedAt: Time{c.StartedAt}, AnsweredAt: Time{c.AnsweredAt}, EndedAt: Time{c.EndedAt},
			Ring: seconds(c.Ring), Wait: seconds(c.Wait), EndedBy: c.EndedBy,
			Menu: c.Menu, Forwarded: c.Forwarded, Certain: c.Certain,
			Attempts: make([]Attempt, 0, len(c.Attempts)), Gaps: append([]pbx.Gap{}, c.Gaps...),
			PBX: maps.Clone(c.PBX),
		},
	}
	if e.Subject == "" {
		e.Subject = c.Line.Raw
	}
	d := &e.Data
	if c.State != pbx.StateEnded {
		e.Type, e.Time, d.State = LiveType, Time{now}, c.State
	}
	if !c.AnsweredAt.IsZero() || c.Talk > 0 {
		d.Talk = seconds(c.Talk)
	}
	if c.AnsweredBy != nil {
		d.AnsweredBy = (*Answerer)(c.AnsweredBy)
	}
	if c.Voicemail != nil {
		d.Voicemail = (*Mailbox)(c.Voicemail)
	}
	if c.Queue != nil {
		d.Queue = &Queue{Name: c.Queue.Name, Wait: seconds(c.Queue.Wait)}
	}
	for _, a := range c.Attempts {
		d.Attempts = append(d.Attempts, Attempt{Endpoint: a.Endpoint, Extension: a.Extension, Name: a.Name,
			Result: a.Result, Ring: seconds(a.Ring), SIPStatus: a.SIPStatus, Q850Cause: a.Q850Cause})
	}
	return e
}

// Encode writes the event as one line of JSON without a trailing newline.
func Encode(c *pbx.Call, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(New(c, now)); err != nil {
		return nil, fmt.Errorf("encode call %s: %w", ID(c), err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// Decode reads an event back into a call. Unknown fields are ignored, as the
// contract asks of every reader.
func Decode(b []byte) (*pbx.Call, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("decode call event: %w", err)
	}
	if e.Type != Type && e.Type != LiveType {
		return nil, fmt.Errorf("decode call event %q: type is %q, not %s", e.ID, e.Type, Type)
	}
	d := &e.Data
	id, ok := strings.CutPrefix(e.ID, d.Site+"/")
	if !ok || id == "" || d.Site == "" {
		return nil, fmt.Errorf("decode call event: id %q does not begin with its site %q", e.ID, d.Site)
	}
	c := &pbx.Call{
		ID: id, Site: d.Site, Source: d.Source, Direction: d.Direction, State: d.State, Outcome: d.Outcome,
		Reason: d.Reason, Caller: pbx.Caller(d.Caller), Line: pbx.Line(d.Line),
		StartedAt: d.StartedAt.Time, AnsweredAt: d.AnsweredAt.Time, EndedAt: d.EndedAt.Time,
		Ring: d.Ring.duration(), Wait: d.Wait.duration(), Talk: d.Talk.duration(),
		AnsweredBy: (*pbx.Answerer)(d.AnsweredBy), EndedBy: d.EndedBy, Voicemail: (*pbx.Mailbox)(d.Voicemail),
		Menu: d.Menu, Forwarded: d.Forwarded, Certain: d.Certain, Gaps: d.Gaps, PBX: d.PBX,
	}
	if e.Type == Type {
		c.State = pbx.StateEnded
	}
	if d.Queue != nil {
		c.Queue = &pbx.Queue{Name: d.Queue.Name, Wait: d.Queue.Wait.duration()}
	}
	for _, a := range d.Attempts {
		c.Attempts = append(c.Attempts, pbx.Attempt{Endpoint: a.Endpoint, Extension: a.Extension, Name: a.Name,
			Result: a.Result, Ring: a.Ring.duration(), SIPStatus: a.SIPStatus, Q850Cause: a.Q850Cause})
	}
	return c, nil
}

// CallToken is the call's one token in subjects: a hash, so that neither
// phone numbers nor characters NATS reserves can stand there.
func CallToken(c *pbx.Call) string {
	sum := sha256.Sum256([]byte(ID(c)))
	return hex.EncodeToString(sum[:10])
}

// SiteToken makes a site name fit for one subject token. Site names in the
// configuration are checked to be tokens already; this guards other callers.
func SiteToken(site string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, site)
}

// Subject prefixes of the contract.
const (
	PublicPrefix = "textback.v1.call."    // what integrators subscribe to
	IngestPrefix = "textback.in.v1.call." // where the watcher publishes
	LivePrefix   = "textback.v1.live."    // calls in progress
)

// Tail is what a call's ingest and public subject share:
// <site>.<in|out>.<outcome>.<call>.
func Tail(c *pbx.Call) string {
	dir := "in"
	if c.Direction == pbx.Outbound {
		dir = "out"
	}
	return SiteToken(c.Site) + "." + dir + "." + string(c.Outcome) + "." + CallToken(c)
}

// StoredFilter matches every subject under which this call can be stored,
// whatever its direction and outcome: the subject of the expected-last-sequence
// check that keeps a second verdict out.
func StoredFilter(c *pbx.Call) string {
	return PublicPrefix + SiteToken(c.Site) + ".*.*." + CallToken(c)
}

// LiveSubject is where the call's state is kept while it lasts.
func LiveSubject(c *pbx.Call) string {
	return LivePrefix + SiteToken(c.Site) + "." + CallToken(c)
}
