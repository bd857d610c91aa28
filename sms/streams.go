package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx/bus"
)

// EnsureStreams declares SMS, OPTOUT and CONV and the consumers that senders
// share, with the default retention.
func EnsureStreams(ctx context.Context, nc *nats.Conn, log *slog.Logger) error {
	return EnsureStreamsFor(ctx, nc, log, Retention{})
}

// EnsureStreamsFor is EnsureStreams with a retention.
func EnsureStreamsFor(ctx context.Context, nc *nats.Conn, log *slog.Logger, keep Retention) error {
	err := bus.Ensure(ctx, nc, log,
		jetstream.StreamConfig{
			Name: Stream, Description: "jobs, callers, timers and events of texts: one transaction domain",
			Subjects: []string{prefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			// The last word on a subject is the record. No age and no size limit:
			// they would drop schedules silently; every message has a TTL.
			MaxMsgsPerSubject: 1, Duplicates: 2 * time.Minute, AllowDirect: true,
			AllowAtomicPublish: true, AllowMsgSchedules: true, AllowMsgTTL: true,
			AllowRollup: true, // the server sets it with schedules
		},
		jetstream.StreamConfig{
			Name: OptOutStream, Description: "who has said stop: never rolled up, deleted or aged",
			Subjects: []string{optOutPrefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			Duplicates: 2 * time.Minute, DenyDelete: true, DenyPurge: true, AllowDirect: true,
		},
		jetstream.StreamConfig{
			Name: ConvStream, Description: "what was said with callers, for as long as bodies are kept",
			Subjects: []string{convPrefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxAge: keep.bodies(), MaxBytes: 64 << 20, MaxMsgsPerSubject: 1, Duplicates: 2 * time.Minute, AllowDirect: true,
		})
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, bus.CallsStream, bus.PlannerConsumer()); err != nil {
		return fmt.Errorf("declare the planner's consumer: %w", err)
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, Stream, dueConsumer()); err != nil {
		return fmt.Errorf("declare the sender's consumer: %w", err)
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, Stream, staffConsumer()); err != nil {
		return fmt.Errorf("declare the consumer of notices to staff: %w", err)
	}
	return nil
}

func dueConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{Durable: "sender", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * time.Minute, MaxAckPending: 256,
		MaxDeliver: -1, FilterSubject: prefix + "due.>", DeliverPolicy: jetstream.DeliverAllPolicy}
}

// read decodes the record under subject into v and returns its sequence, 0 and
// no error when there is none.
func read(ctx context.Context, nc *nats.Conn, stream, subject string, v any) (uint64, error) {
	m, err := bus.GetLast(ctx, nc, stream, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(m.Data, v); err != nil {
		return 0, &damaged{subject, m.Seq, err}
	}
	return m.Seq, nil
}

// damaged is the error of a record that is there and cannot be read: it does not pass by itself.
type damaged struct {
	subject string
	seq     uint64
	err     error
}

func (d *damaged) Error() string { return fmt.Sprintf("record %s: %v", d.subject, d.err) }

func (d *damaged) Unwrap() error { return d.err }

// Jobs reads every job, newest decision last, and gives each to f.
func Jobs(ctx context.Context, nc *nats.Conn, f func(*Job)) error {
	all, err := allOf[Job](ctx, nc, Stream, prefix+"job.*")
	if err != nil {
		return fmt.Errorf("read jobs: %w", err)
	}
	for _, j := range all {
		f(j)
	}
	return nil
}
