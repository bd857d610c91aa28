package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"textback/pbx"
	"textback/pbx/event"
)

// Streams declared here.
const (
	CallsStream = "CALLS" // every finished outside call
	LiveStream  = "LIVE"  // calls in progress, the last word of each
)

// RefreshEvery is how often a call in progress is published again.
const RefreshEvery = time.Minute

// liveTTL makes the entries of a watcher that died vanish by themselves, after
// its restart has had time to look at them.
const liveTTL = 24 * time.Hour

// CheckServer refuses a server that cannot keep textback's promises: atomic
// batches, message schedules and TTLs came with 2.12 (API level 2).
func CheckServer(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	info, err := js.AccountInfo(ctx)
	if err != nil {
		if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("the NATS server %s has no JetStream: enable it, with sync_interval: always", nc.ConnectedUrlRedacted())
		}
		return fmt.Errorf("ask the NATS server for its JetStream API: %w", err)
	}
	if info.API.Level < 2 {
		return fmt.Errorf("the NATS server %s is version %s (JetStream API level %d): textback needs 2.12 or later (level 2), because texts are planned in atomic batches",
			nc.ConnectedUrlRedacted(), nc.ConnectedServerVersion(), info.API.Level)
	}
	return nil
}

// KeepCalls is how long finished calls are kept by default.
const KeepCalls = 90 * 24 * time.Hour

// EnsureStreams declares CALLS and LIVE and brings them back to what they
// should be if somebody changed them.
func EnsureStreams(ctx context.Context, nc *nats.Conn, log *slog.Logger) error {
	return EnsureStreamsFor(ctx, nc, log, KeepCalls)
}

// EnsureStreamsFor is EnsureStreams with another age at which calls, and the
// numbers in them, are forgotten.
func EnsureStreamsFor(ctx context.Context, nc *nats.Conn, log *slog.Logger, keep time.Duration) error {
	return Ensure(ctx, nc, log,
		jetstream.StreamConfig{
			Name: CallsStream, Description: "finished outside calls, one message each",
			Subjects: []string{event.IngestPrefix + ">"},
			// Watchers publish under another name, so that a call that is refused as
			// known is never seen by a subscriber of the public one.
			SubjectTransform: &jetstream.SubjectTransformConfig{Source: event.IngestPrefix + ">", Destination: event.PublicPrefix + ">"},
			RePublish:        &jetstream.RePublish{Source: event.PublicPrefix + ">", Destination: event.PublicPrefix + ">"},
			Storage:          jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxAge: keep, MaxBytes: 128 << 20, MaxMsgsPerSubject: 1, Duplicates: 10 * time.Minute, AllowDirect: true,
		},
		jetstream.StreamConfig{
			Name: LiveStream, Description: "outside calls in progress, the last word of each",
			Subjects: []string{event.LivePrefix + ">"},
			Storage:  jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
			MaxMsgsPerSubject: 1, MaxBytes: 16 << 20, MaxAge: liveTTL, Duplicates: time.Minute, AllowDirect: true,
		})
}

// Ensure declares streams and repairs those that differ. Messages are kept.
func Ensure(ctx context.Context, nc *nats.Conn, log *slog.Logger, want ...jetstream.StreamConfig) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, w := range want {
		have, err := js.Stream(ctx, w.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if _, err := js.CreateStream(ctx, w); err != nil {
				return fmt.Errorf("create stream %s: %w", w.Name, err)
			}
			log.Info("stream created", "stream", w.Name)
			continue
		case err != nil:
			return fmt.Errorf("look at stream %s: %w", w.Name, err)
		}
		c := have.CachedInfo().Config
		// A cluster's replicas and placement are its admin's business.
		w.Replicas, w.Placement = c.Replicas, c.Placement
		if sameStream(c, w) {
			continue
		}
		if _, err := js.UpdateStream(ctx, w); err != nil {
			return fmt.Errorf("repair stream %s: %w", w.Name, err)
		}
		log.Warn("a stream was not as it should be and has been repaired", "stream", w.Name)
	}
	return nil
}

// sameStream compares what textback cares about.
func sameStream(a, b jetstream.StreamConfig) bool {
	key := func(c jetstream.StreamConfig) string {
		var transform, republish string
		if c.SubjectTransform != nil {
			transform = c.SubjectTransform.Source + ">" + c.SubjectTransform.Destination
		}
		if c.RePublish != nil {
			republish = c.RePublish.Source + ">" + c.RePublish.Destination
		}
		if c.MaxBytes <= 0 {
			c.MaxBytes = -1
		}
		if c.MaxMsgsPerSubject <= 0 {
			c.MaxMsgsPerSubject = -1
		}
		if c.MaxMsgs <= 0 {
			c.MaxMsgs = -1
		}
		return fmt.Sprint(c.Subjects, transform, republish, c.Storage, c.Retention, c.Discard, c.MaxAge, c.MaxBytes, c.MaxMsgs, c.MaxMsgsPerSubject,
			c.AllowDirect, c.AllowRollup, c.DenyDelete, c.DenyPurge, c.AllowMsgTTL, c.AllowAtomicPublish, c.AllowMsgSchedules, c.Description)
	}
	return key(a) == key(b)
}

// Errors that callers branch on.
var (
	// ErrWrongSequence: a record was not at the expected sequence. Somebody else
	// has written it, or one's own lost acknowledgement did.
	ErrWrongSequence = errors.New("record has changed")
	ErrNotFound      = errors.New("no such record")
)

// Headers of optimistic concurrency.
const (
	HdrExpectSeq     = "Nats-Expected-Last-Subject-Sequence"
	HdrExpectSubject = "Nats-Expected-Last-Subject-Sequence-Subject"
)

type pubAck struct {
	Error *apiError `json:"error"`
	Seq   uint64    `json:"seq"`
}

type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) err(what string) error {
	switch e.ErrCode {
	case 10071, 10164: // wrong last sequence, on one server and in a cluster
		return fmt.Errorf("%s: %w (%s)", what, ErrWrongSequence, e.Description)
	case 10037: // no message found
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return fmt.Errorf("%s: %s (error %d)", what, e.Description, e.ErrCode)
}

// WhileConnected ends, with nats.ErrDisconnected as its cause, when nc loses its
// connection: an answer never comes over one that broke, and waiting for it
// would hold up all else after NATS is back.
func WhileConnected(ctx context.Context, nc *nats.Conn) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	away := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		select {
		case <-away:
			cancel(nats.ErrDisconnected)
		case <-ctx.Done():
		}
		nc.RemoveStatusListener(away)
	}()
	return ctx, func() { cancel(nil) }
}

// request waits for one answer, as long as ctx and the connection last.
func request(ctx context.Context, nc *nats.Conn, m *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := WhileConnected(ctx, nc)
	defer cancel()
	r, err := nc.RequestMsgWithContext(ctx, m)
	return r, lost(ctx, err)
}

// lost says that it was the connection that ended ctx.
func lost(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), nats.ErrDisconnected) {
		return nats.ErrDisconnected
	}
	return err
}

// Publish stores one message and returns its sequence. An error that is not
// ErrWrongSequence leaves open whether it was stored.
func Publish(ctx context.Context, nc *nats.Conn, m *nats.Msg) (uint64, error) {
	r, err := request(ctx, nc, m)
	if err != nil {
		return 0, fmt.Errorf("publish %s: %w", m.Subject, err)
	}
	var ack pubAck
	if err := json.Unmarshal(r.Data, &ack); err != nil {
		return 0, fmt.Errorf("publish %s: acknowledgement: %w", m.Subject, err)
	}
	if ack.Error != nil {
		return 0, ack.Error.err("publish " + m.Subject)
	}
	return ack.Seq, nil
}

// Batch stores messages of one stream all or none (ADR-50) and returns the
// last one's sequence. An error that is not ErrWrongSequence leaves open
// whether the batch was stored.
func Batch(ctx context.Context, nc *nats.Conn, msgs ...*nats.Msg) (uint64, error) {
	if len(msgs) == 0 {
		return 0, errors.New("empty batch")
	}
	id := nuid.Next()
	for i, m := range msgs {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(msgs)-1 {
			m.Header.Del("Nats-Batch-Commit")
			if err := nc.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("batch: publish %s: %w", m.Subject, err)
			}
			continue
		}
		m.Header.Set("Nats-Batch-Commit", "1")
	}
	return Publish(ctx, nc, msgs[len(msgs)-1])
}

// Msg is a stored message.
type Msg struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// GetLast reads the last message of a subject (wildcards allowed) from the
// stream's leader: never from a replica that may be behind.
func GetLast(ctx context.Context, nc *nats.Conn, stream, subject string) (*Msg, error) {
	req, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, err
	}
	what := "read " + subject
	r, err := request(ctx, nc, &nats.Msg{Subject: "$JS.API.STREAM.MSG.GET." + stream, Data: req})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var resp struct {
		Error   *apiError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Hdrs    []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(r.Data, &resp); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if resp.Error != nil {
		return nil, resp.Error.err(what)
	}
	if resp.Message == nil {
		return nil, fmt.Errorf("%s: an answer without a message", what)
	}
	m := &Msg{Subject: resp.Message.Subject, Seq: resp.Message.Seq, Time: resp.Message.Time, Data: resp.Message.Data, Header: nats.Header{}}
	if len(resp.Message.Hdrs) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(resp.Message.Hdrs); err != nil {
			return nil, fmt.Errorf("%s: headers: %w", what, err)
		}
	}
	return m, nil
}

// GetAll reads the last message of every subject that matches, in the order in which they
// were stored; of a subject that is written meanwhile, the one before or the new one. On a
// cluster a replica may answer, a moment behind.
func GetAll(ctx context.Context, nc *nats.Conn, stream, filter string) ([]Msg, error) {
	out, more, err := directGet(ctx, nc, stream, filter, map[string]any{"multi_last": []string{filter}, "batch": pageSize})
	if err != nil || !more {
		return out, err
	}
	// The server finds the last of 1,024 subjects at most. All messages in their order
	// end with the same.
	last := map[string]int{}
	out = nil
	for seq := uint64(1); more; seq = out[len(out)-1].Seq + 1 {
		var page []Msg
		if page, more, err = directGet(ctx, nc, stream, filter, map[string]any{"next_by_subj": filter, "seq": seq, "batch": pageSize}); err != nil {
			return nil, err
		}
		if out = append(out, page...); len(page) == 0 {
			break
		}
	}
	for i, m := range out {
		last[m.Subject] = i
	}
	all := out[:0]
	for i, m := range out {
		if last[m.Subject] == i {
			all = append(all, m)
		}
	}
	return all, nil
}

// pageSize is how many messages are asked for at once.
const pageSize = 1000

// directGet reads messages until the server says that it is the end. more says that
// it was not the end of all there are.
func directGet(ctx context.Context, nc *nats.Conn, stream, filter string, ask map[string]any) (out []Msg, more bool, err error) {
	what := "read " + filter
	req, err := json.Marshal(ask)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := WhileConnected(ctx, nc)
	defer cancel()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", what, err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, req); err != nil {
		return nil, false, fmt.Errorf("%s: %w", what, err)
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", what, lost(ctx, err))
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end; nothing there
			pending := m.Header.Get("Nats-Num-Pending")
			return out, pending != "" && pending != "0", nil
		case "413": // too many subjects
			return nil, true, nil
		default:
			return nil, false, fmt.Errorf("%s: %s %s", what, status, m.Header.Get("Description"))
		}
		seq, _ := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		at, _ := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
		out = append(out, Msg{Subject: m.Header.Get("Nats-Subject"), Seq: seq, Time: at, Header: m.Header, Data: m.Data})
	}
}

// Live is a call in progress and when the watcher last spoke of it. One that
// was not refreshed for three minutes may be over unseen.
type Live struct {
	*pbx.Call
	Refreshed time.Time
}

// Stale reports whether the watcher has been silent about the call for too long.
func (l Live) Stale(now time.Time) bool { return now.Sub(l.Refreshed) > 3*RefreshEvery }

// LiveCalls reads the calls in progress at site, at every site if it is empty.
func LiveCalls(ctx context.Context, nc *nats.Conn, site string) ([]Live, error) {
	filter := event.LivePrefix + ">"
	if site != "" {
		filter = event.LivePrefix + event.SiteToken(site) + ".*"
	}
	msgs, err := GetAll(ctx, nc, LiveStream, filter)
	if err != nil {
		return nil, err
	}
	var out []Live
	for _, m := range msgs {
		c, err := event.Decode(m.Data)
		if err != nil {
			return nil, fmt.Errorf("live call %s: %w", m.Subject, err)
		}
		out = append(out, Live{c, m.Time})
	}
	return out, nil
}

// Calls reads the stored calls that ended since, oldest first, and gives each
// to f until f returns false.
func Calls(ctx context.Context, nc *nats.Conn, since time.Time, f func(*pbx.Call) bool) error {
	cc := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	if !since.IsZero() {
		cc.DeliverPolicy, cc.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	err := Each(ctx, nc, CallsStream, cc, func(m jetstream.Msg, _ uint64) (bool, error) {
		c, err := event.Decode(m.Data())
		if err != nil {
			return false, fmt.Errorf("stored call %s: %w", m.Subject(), err)
		}
		return f(c), nil
	})
	if err != nil {
		return fmt.Errorf("read calls: %w", err)
	}
	return nil
}

// Each gives f a stream's messages, as cc chooses them, and their sequences, in
// their order, up to the last one there is or until f wants no more. An interruption
// is an error, never the end. A subject's older message may come before its last
// one, even where cc asks for the last of each.
func Each(ctx context.Context, nc *nats.Conn, stream string, cc jetstream.OrderedConsumerConfig, f func(m jetstream.Msg, seq uint64) (more bool, err error)) error {
	ctx, cancel := WhileConnected(ctx, nc)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	st, err := js.Stream(ctx, stream)
	if err != nil {
		return lost(ctx, err)
	}
	cons, err := st.OrderedConsumer(ctx, cc)
	if err != nil {
		return lost(ctx, err)
	}
	defer DropConsumer(ctx, st, cons)
	if cons.CachedInfo().NumPending == 0 {
		return nil
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(500))
	if err != nil {
		return lost(ctx, err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for over := false; ; {
		m, err := it.Next(jetstream.NextMaxWait(2 * time.Second))
		switch {
		case ctx.Err() != nil:
			return lost(ctx, ctx.Err())
		case errors.Is(err, nats.ErrTimeout):
			// What was pending may have been deleted meanwhile. Or it is on its way: then it is here soon.
			if over {
				return nil
			}
			info, err := cons.Info(ctx)
			if err != nil {
				return lost(ctx, err)
			}
			over = info.NumPending == 0
			continue
		case err != nil:
			return err
		}
		over = false
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if more, err := f(m, meta.Sequence.Stream); err != nil || !more || meta.NumPending == 0 {
			return err
		}
	}
}

// DropConsumer removes a consumer that is no longer read from: left to its
// inactivity timeout, many of them would reach the server's limit.
func DropConsumer(ctx context.Context, s jetstream.Stream, c jetstream.Consumer) {
	if info := c.CachedInfo(); info != nil {
		_ = s.DeleteConsumer(ctx, info.Name)
	}
}

// PlannerConsumer is the durable consumer that plans texts from CALLS. One call
// at a time, among all senders: the next comes once this one is acknowledged, so
// that after a kill too each caller's calls are planned in their order and
// whoever has planned the last call knows that all before it are planned.
func PlannerConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: "planner", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Second, MaxAckPending: 1, MaxDeliver: -1,
		FilterSubject: event.PublicPrefix + ">", DeliverPolicy: jetstream.DeliverAllPolicy,
	}
}
