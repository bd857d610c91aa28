package bus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx"
	"textback/pbx/event"
)

// PublisherOptions say where calls are spooled and published.
type PublisherOptions struct {
	NC       *nats.Conn
	StateDir string
	Log      *slog.Logger
	// Stored, if set, is told of every stored call and how long after Finished.
	Stored func(c *pbx.Call, took time.Duration)
	// Backlog, if set, is told how many calls wait to be stored.
	Backlog func(n int)
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// A Publisher brings finished calls into CALLS exactly once, and calls in
// progress into LIVE. It is safe for concurrent use.
type Publisher struct {
	opt  PublisherOptions
	file *os.File

	mu      sync.Mutex
	size    int64
	pending []spooled            // finished calls not yet stored, oldest first
	live    map[string]*pbx.Call // calls in progress by live subject
	dirty   map[string]*pbx.Call // to be published; nil: to be removed
	wake    chan struct{}        // a call was spooled
	wakeL   chan struct{}        // dirty is not empty
}

type spooled struct {
	call *pbx.Call
	data []byte
	at   time.Time
}

// line is one line of the spool file.
type line struct {
	Call json.RawMessage `json:"call,omitempty"`
	Done string          `json:"done,omitempty"` // a call's id: it is stored
}

// NewPublisher opens the spool. Calls that an earlier process did not get
// stored are published first.
func NewPublisher(opt PublisherOptions) (*Publisher, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	path := filepath.Join(opt.StateDir, "calls.spool")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the spool of calls: %w", err)
	}
	p := &Publisher{opt: opt, file: f, live: map[string]*pbx.Call{}, dirty: map[string]*pbx.Call{}, wake: make(chan struct{}, 1), wakeL: make(chan struct{}, 1)}
	if err := p.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("read the spool of calls %s: %w", path, err)
	}
	return p, nil
}

// load reads what an earlier process left. A torn last line, from a power cut
// in the middle of a write, was never promised to anybody.
func (p *Publisher) load() error {
	r := bufio.NewReader(p.file)
	done := map[string]bool{}
	var calls []spooled
	var good int64
	for {
		b, err := r.ReadBytes('\n')
		if err == io.EOF {
			if len(b) > 0 {
				p.opt.Log.Warn("the last line of the spool of calls is torn and was dropped: the power failed while it was written", "bytes", len(b))
			}
			break
		}
		if err != nil {
			return err
		}
		good += int64(len(b))
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			p.opt.Log.Error("a line of the spool of calls cannot be read and was passed over", "error", err)
			continue
		}
		if l.Done != "" {
			done[l.Done] = true
			continue
		}
		c, err := event.Decode(l.Call)
		if err != nil {
			p.opt.Log.Error("a call in the spool cannot be read and was passed over", "error", err)
			continue
		}
		calls = append(calls, spooled{c, l.Call, p.opt.Now()})
	}
	for _, c := range calls {
		if !done[event.ID(c.call)] {
			p.pending = append(p.pending, c)
		}
	}
	if len(p.pending) == 0 {
		good = 0
	}
	if err := p.file.Truncate(good); err != nil {
		return err
	}
	if _, err := p.file.Seek(good, io.SeekStart); err != nil {
		return err
	}
	p.size = good
	if n := len(p.pending); n > 0 {
		p.opt.Log.Info("calls of the last run are still to be published", "calls", n)
		p.kick(p.wake)
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	// The file's name too outlives a power cut from here on.
	dir, err := os.Open(p.opt.StateDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (p *Publisher) kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Finished takes over a finished call: when it returns nil the call is on disk
// and will be stored, whatever happens. Until then it stays in LIVE: whoever
// finds a caller on no line finds in CALLS how the call ended.
func (p *Publisher) Finished(c *pbx.Call) error {
	if c.Outcome == "" {
		// No subject can be made for it: it would be tried for ever, and every
		// call behind it would wait.
		return fmt.Errorf("call %s has no outcome", c.ID)
	}
	data, err := encode(c, c.EndedAt)
	if err != nil {
		return err
	}
	// Not by json.Marshal, which would escape & and < in names: after a restart
	// the event is the same to the byte.
	b := slices.Concat([]byte(`{"call":`), data, []byte("}"))
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.opt.Now()
	if err := p.append(b, true); errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("call %s came after the publisher had ended: %w", c.ID, err)
	} else if err != nil {
		// The disk is full or broken. The call is published from memory all the same.
		p.opt.Log.Error("a call could not be spooled; a kill before it is stored loses it", "call", c.ID, "error", err)
	}
	p.pending = append(p.pending, spooled{c, data, at})
	p.kick(p.wake)
	if p.opt.Backlog != nil {
		p.opt.Backlog(len(p.pending))
	}
	return nil
}

// maxEvent is far above any honest call and half of what the server takes.
const maxEvent = 128 << 10

// encode writes the call's event. Texts of a length that only an attack has
// are cut: the server would refuse them for ever, and every call behind them
// would wait.
func encode(c *pbx.Call, now time.Time) ([]byte, error) {
	data, err := event.Encode(c, now)
	if err != nil || len(data) <= maxEvent {
		return data, err
	}
	cut := func(s *string) { *s = strings.ToValidUTF8((*s)[:min(len(*s), 80)], "") }
	short := *c
	for _, s := range []*string{&short.Caller.Raw, &short.Caller.Name, &short.Caller.Attestation, &short.Line.Raw, &short.Line.Name} {
		cut(s)
	}
	if short.AnsweredBy != nil {
		by := *short.AnsweredBy
		cut(&by.Endpoint)
		cut(&by.Extension)
		cut(&by.Name)
		short.AnsweredBy = &by
	}
	short.Attempts = slices.Clone(c.Attempts)
	for i := range short.Attempts {
		a := &short.Attempts[i]
		cut(&a.Endpoint)
		cut(&a.Extension)
		cut(&a.Name)
	}
	return event.Encode(&short, now)
}

func (p *Publisher) append(b []byte, sync bool) error {
	n, err := p.file.Write(append(b, '\n'))
	if err != nil {
		// A partial line would spoil the next one.
		_ = p.file.Truncate(p.size)
		_, _ = p.file.Seek(p.size, io.SeekStart)
		return err
	}
	p.size += int64(n)
	if sync {
		return p.file.Sync()
	}
	return nil
}

// Live tells of a call in progress. It never waits.
func (p *Publisher) Live(c *pbx.Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := event.LiveSubject(c)
	p.live[s], p.dirty[s] = c, c
	p.kick(p.wakeL)
}

// LiveEnd tells that a call is not in progress any more.
func (p *Publisher) LiveEnd(c *pbx.Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLive(c)
}

func (p *Publisher) endLive(c *pbx.Call) {
	s := event.LiveSubject(c)
	delete(p.live, s)
	p.dirty[s] = nil
	p.kick(p.wakeL)
}

// Backlog tells how many calls wait to be stored.
func (p *Publisher) Backlog() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending)
}

// Run publishes until ctx ends, then closes the spool. What is not stored by
// then stays spooled for the next start.
func (p *Publisher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { defer wg.Done(); p.runLive(ctx) }()
	p.runCalls(ctx)
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.file.Close()
}

func (p *Publisher) runCalls(ctx context.Context) {
	pause, failing := 50*time.Millisecond, false
	for {
		p.mu.Lock()
		var next spooled
		if len(p.pending) > 0 {
			next = p.pending[0]
		}
		waiting := len(p.pending)
		p.mu.Unlock()
		if next.call == nil {
			select {
			case <-ctx.Done():
				return
			case <-p.wake:
				continue
			}
		}
		err := p.store(ctx, next)
		if err == nil {
			if failing {
				p.opt.Log.Info("calls are being stored again", "waiting", waiting)
			}
			pause, failing = 50*time.Millisecond, false
			p.stored(next)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if !failing {
			failing = true
			p.opt.Log.Error("a call could not be stored in NATS; it is safe in the spool and tried again until it is", "call", next.call.ID, "waiting", waiting, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(pause*2, 5*time.Second)
	}
}

// store publishes one call. Another verdict on the same call may already be
// stored: the first one counts, for everybody.
func (p *Publisher) store(ctx context.Context, s spooled) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m := nats.NewMsg(event.IngestPrefix + event.Tail(s.call))
	m.Data = s.data
	m.Header.Set(HdrExpectSeq, "0")
	m.Header.Set(HdrExpectSubject, event.StoredFilter(s.call))
	m.Header.Set("ce-id", event.ID(s.call))
	m.Header.Set("ce-type", event.Type)
	_, err := Publish(ctx, p.opt.NC, m)
	if !errors.Is(err, ErrWrongSequence) {
		return err
	}
	have, err := GetLast(ctx, p.opt.NC, CallsStream, event.StoredFilter(s.call))
	if err != nil {
		return err
	}
	if c, err := event.Decode(have.Data); err == nil && event.ID(c) == event.ID(s.call) {
		if !bytes.Equal(have.Data, s.data) {
			p.opt.Log.Warn("this call is stored already, with another verdict; the stored one stays", "call", s.call.ID, "stored", c.Outcome, "refused", s.call.Outcome)
		}
		return nil
	}
	// Two calls with one hash: not to be expected before the sun burns out.
	p.opt.Log.Error("another call is stored under this call's subject; it is dropped", "call", s.call.ID, "subject", have.Subject)
	return nil
}

func (p *Publisher) stored(s spooled) {
	p.mu.Lock()
	p.pending = p.pending[1:]
	n := len(p.pending)
	if n == 0 {
		p.pending = nil
	}
	p.endLive(s.call)
	// Not synced: if it is lost, the call is published again and found stored.
	if b, err := json.Marshal(line{Done: event.ID(s.call)}); err == nil {
		_ = p.append(b, false)
	}
	if n == 0 && p.size > 1<<20 {
		if err := p.file.Truncate(0); err == nil {
			p.size = 0
			_, _ = p.file.Seek(0, io.SeekStart)
		}
	}
	p.mu.Unlock()
	if p.opt.Backlog != nil {
		p.opt.Backlog(n)
	}
	if p.opt.Stored != nil {
		p.opt.Stored(s.call, p.opt.Now().Sub(s.at))
	}
}

func (p *Publisher) runLive(ctx context.Context) {
	refresh := time.NewTicker(RefreshEvery)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			p.mu.Lock()
			for s, c := range p.live {
				p.dirty[s] = c
			}
			p.mu.Unlock()
		case <-p.wakeL:
		}
		if err := p.flushLive(ctx); err != nil && ctx.Err() == nil {
			p.opt.Log.Debug("live calls could not be published; tried again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
				p.kick(p.wakeL)
			}
		}
	}
}

func (p *Publisher) flushLive(ctx context.Context) error {
	p.mu.Lock()
	dirty := p.dirty
	p.dirty = make(map[string]*pbx.Call)
	p.mu.Unlock()
	var failed error
	for s, c := range dirty {
		if err := p.publishLive(ctx, s, c); err != nil {
			failed = err
			p.mu.Lock()
			if _, newer := p.dirty[s]; !newer {
				p.dirty[s] = c
			}
			p.mu.Unlock()
		}
	}
	return failed
}

func (p *Publisher) publishLive(ctx context.Context, subject string, c *pbx.Call) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if c == nil {
		return Purge(ctx, p.opt.NC, LiveStream, subject)
	}
	data, err := encode(c, p.opt.Now())
	if err != nil {
		p.opt.Log.Error("a live call cannot be encoded", "call", c.ID, "error", err)
		return nil
	}
	m := nats.NewMsg(subject)
	m.Data = data
	_, err = Publish(ctx, p.opt.NC, m)
	return err
}

// Purge removes every message of a subject.
func Purge(ctx context.Context, nc *nats.Conn, stream, subject string) error {
	req, err := json.Marshal(map[string]string{"filter": subject})
	if err != nil {
		return err
	}
	r, err := request(ctx, nc, &nats.Msg{Subject: "$JS.API.STREAM.PURGE." + stream, Data: req})
	if err != nil {
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	var resp pubAck
	if err := json.Unmarshal(r.Data, &resp); err != nil {
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	if resp.Error != nil {
		return resp.Error.err("purge " + subject)
	}
	return nil
}
