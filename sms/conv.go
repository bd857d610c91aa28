package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/bus"
)

// ConvStream holds what was said, under textback.v1.conv.<caller>.<in|out|note>.<id>:
// each text once, for as long as bodies are kept.
const (
	ConvStream = "CONV"
	convPrefix = "textback.v1.conv."
)

func convSubject(caller, way, id string) string { return convPrefix + caller + "." + way + "." + id }

// Said is one text of a conversation, or a note of the staff's.
type Said struct {
	ID        string    `json:"id"`  // of the inbound text, or of the job
	Way       string    `json:"way"` // "in", "out", "note"
	At        time.Time `json:"at"`  // when it was received or sent, by our clock
	Caller    string    `json:"caller"`
	Number    string    `json:"number"` // the caller's
	Line      string    `json:"line,omitempty"`
	Body      string    `json:"body,omitempty"`
	Media     int       `json:"media,omitempty"`
	Transport string    `json:"transport,omitempty"`
	Keyword   Keyword   `json:"keyword,omitempty"`
	By        string    `json:"by,omitempty"` // who wrote a note
}

// The ways of Said.
const (
	SaidIn   = "in"
	SaidOut  = "out"
	SaidNote = "note"
)

// keep stores x unless it is stored, and gives what is stored.
func (x *Said) keep(ctx context.Context, nc *nats.Conn) error {
	subject := convSubject(x.Caller, x.Way, x.ID)
	b, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("encode %s: %w", subject, err)
	}
	m := nats.NewMsg(subject)
	m.Data = b
	m.Header.Set(bus.HdrExpectSeq, "0")
	_, err = bus.Publish(ctx, nc, m)
	if errors.Is(err, bus.ErrWrongSequence) {
		_, err = read(ctx, nc, ConvStream, subject, x)
	}
	return err
}

// outgoing is what a job that was sent said.
func outgoing(j *Job) *Said {
	return &Said{ID: j.ID, Way: SaidOut, At: j.UpdatedAt, Caller: j.Caller, Number: j.To, Line: j.From, Body: j.Body, Transport: j.Transport}
}

// Conversation reads what was said with the caller of that key, oldest first;
// an empty key means everybody.
func Conversation(ctx context.Context, nc *nats.Conn, key string) ([]*Said, error) {
	if key == "" {
		key = "*"
	}
	out, err := allOf[Said](ctx, nc, ConvStream, convPrefix+key+".>")
	if err != nil {
		return nil, fmt.Errorf("read conversations: %w", err)
	}
	slices.SortStableFunc(out, func(a, b *Said) int { return a.At.Compare(b.At) })
	return out, nil
}

// Note keeps a note of the staff's in a caller's conversation.
func Note(ctx context.Context, nc *nats.Conn, key Key, number, id, by, body string) error {
	x := &Said{ID: id, Way: SaidNote, At: time.Now().UTC(), Caller: key.Caller(number), Number: number, Body: body, By: by}
	return x.keep(ctx, nc)
}
