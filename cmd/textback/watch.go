package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/bus"
	"textback/pbx/number"
)

// watcher is the half of the daemon that turns what the PBX does into events.
type watcher struct {
	cfg     *config.Config
	nc      *nats.Conn
	log     *slog.Logger
	pub     *bus.Publisher
	tracker *pbx.Tracker // of the PBX's events
	client  *ari.Client  // nil without pbx.asterisk
	tap     *tap         // nil without pbx.sip
	m       *metrics

	mu     sync.Mutex
	merger *pbx.Merger // with both witnesses

	doneMu sync.Mutex
	done   map[string]bool // calls finished before the last run's were looked at; nil afterwards

	attached chan struct{} // closed when first attached
	once     sync.Once
}

func newWatcher(cfg *config.Config, nc *nats.Conn, log *slog.Logger, m *metrics, record func([]byte)) (*watcher, error) {
	w := &watcher{cfg: cfg, nc: nc, log: log, m: m, done: map[string]bool{}, attached: make(chan struct{})}
	var err error
	w.pub, err = bus.NewPublisher(bus.PublisherOptions{NC: nc, StateDir: cfg.StateDir, Log: log,
		Stored:  func(c *pbx.Call, took time.Duration) { m.stored.Observe(took.Seconds()) },
		Backlog: func(n int) { m.backlog.Set(float64(n)) },
	})
	if err != nil {
		return nil, err
	}
	if cfg.PBX.SIP != nil {
		if w.tap, err = newTap(cfg, log, m); err != nil {
			return nil, err
		}
	}
	a := cfg.PBX.Asterisk
	if a == nil {
		return w, nil
	}
	w.tracker = pbx.NewTracker(cfg.Tracker())
	w.client, err = ari.NewClient(ari.Options{
		URL: a.URL, User: a.User, Password: a.Password.Reveal(), App: a.App, Log: log.With("part", "asterisk"), Record: record,
		States: a.States, Variables: a.Variables, VariablesEvery: a.VariablesEvery,
		Turn: turns(filepath.Join(cfg.StateDir, "ari.turn"), log),
		Observe: ari.Observer{
			Attached: func(version string) {
				m.attached.Set(1)
				m.sees(pbx.Inside, true, "attached to Asterisk "+version)
				w.sees(pbx.Inside, true)
				w.once.Do(func() { close(w.attached) })
			},
			Lost: func(err error) {
				m.attached.Set(0)
				m.sees(pbx.Inside, false, "not attached to Asterisk: "+err.Error())
				w.sees(pbx.Inside, false)
			},
			Event: func(lag time.Duration) { m.events.Inc(); m.lag.Observe(lag.Seconds()) },
			Queue: func(n int) { m.queue.Set(float64(n)) },
			Bad:   func(error) { m.badEvents.Inc() },
		},
	}, w.tracker)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// turns counts connections to the PBX across restarts, in a small file.
func turns(path string, log *slog.Logger) func() int {
	said := false
	return func() int {
		b, _ := os.ReadFile(path)
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		n++
		if err := os.WriteFile(path, []byte(strconv.Itoa(n)+"\n"), 0o600); err != nil && !said {
			said = true
			log.Warn("connections to the PBX cannot be counted", "error", err)
			n = int(time.Now().Unix())
		}
		return n
	}
}

// run follows the PBX until ctx ends. What is finished by then is spooled.
func (w *watcher) run(ctx context.Context) error {
	live, over := w.pub.Live, w.finished
	if w.client != nil && w.tap != nil {
		w.merger = &pbx.Merger{OnCall: w.finished, OnLive: w.pub.Live}
	}
	by := func(wit pbx.Witness) (func(*pbx.Call), func(*pbx.Call)) {
		if w.merger == nil {
			return live, over
		}
		return func(c *pbx.Call) { w.merging(func(m *pbx.Merger, now time.Time) { m.Live(wit, c, now) }) },
			func(c *pbx.Call) { w.merging(func(m *pbx.Merger, now time.Time) { m.Call(wit, c, now) }) }
	}
	warn := func(warn pbx.Warning) { w.log.Warn(warningText(warn)) }

	pctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	sctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var pub, witnesses sync.WaitGroup
	var perr error
	pub.Go(func() { perr = w.pub.Run(pctx) })
	witnesses.Go(func() { w.leftovers(sctx) })
	if w.client != nil {
		var onLive func(*pbx.Call)
		onLive, w.tracker.OnCall = by(pbx.Inside)
		w.tracker.OnLive = func(c *pbx.Call) {
			if c.State == pbx.StateStarting && c.Direction == pbx.Inbound && !c.HasGap(pbx.GapAttachedLate) {
				w.client.AskWithheld(sctx, c.ID)
				w.client.RefreshVariables(c.ID, c.StartedAt)
			}
			onLive(c)
		}
		w.tracker.OnWarn = warn
		witnesses.Go(func() { fail(w.client.Run(sctx)) })
	}
	if w.tap != nil {
		w.tap.tracker.OnLive, w.tap.tracker.OnCall = by(pbx.Aside)
		w.tap.tracker.OnWarn = warn
		w.sees(pbx.Aside, true)
		w.m.sees(pbx.Aside, true, "reading SIP")
		if w.client == nil {
			w.m.attached.Set(1)
			w.once.Do(func() { close(w.attached) })
		}
		witnesses.Go(func() { fail(w.tap.run(sctx)) })
	}
	if w.merger != nil {
		witnesses.Go(func() { w.clock(sctx) })
	}
	witnesses.Wait()
	if w.merger != nil {
		w.merging((*pbx.Merger).Flush)
	}
	// The publisher has what was finished on disk; a moment more, and most of it
	// is stored before the server goes.
	for end := time.Now().Add(2 * time.Second); w.pub.Backlog() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	pub.Wait()
	if err := context.Cause(sctx); err != nil && ctx.Err() == nil {
		return err
	}
	return perr
}

// merging gives f the merger, one at a time.
func (w *watcher) merging(f func(*pbx.Merger, time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.merger, time.Now())
}

// sees tells the merger which witness sees the PBX.
func (w *watcher) sees(wit pbx.Witness, yes bool) {
	if w.merger != nil {
		w.merging(func(m *pbx.Merger, now time.Time) { m.Attach(wit, yes, now) })
	}
}

// clock lets time pass for the merger.
func (w *watcher) clock(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			w.mu.Lock()
			w.merger.Advance(now)
			w.mu.Unlock()
		}
	}
}

// alive returns once the goroutines that own the trackers have come round.
func (w *watcher) alive(ctx context.Context, done func()) {
	if w.tap != nil {
		w.tap.do(func(*pbx.Tracker) {})
	}
	if w.client != nil {
		w.client.Do(ctx, done)
		return
	}
	done()
}

func (w *watcher) finished(c *pbx.Call) {
	w.doneMu.Lock()
	if w.done != nil {
		w.done[c.ID] = true
	}
	w.doneMu.Unlock()
	w.m.calls.WithLabelValues(string(c.Direction), string(c.Outcome)).Inc()
	if w.client != nil {
		c.PBX = w.client.States(c.EndedAt)
	}
	if err := w.pub.Finished(c); err != nil {
		w.log.Error("a call could not be published", "call", c.ID, "error", err)
	}
	caller := c.Caller.Number
	if caller == "" {
		caller = c.Caller.Raw
	}
	if !w.cfg.Log.ShowNumbers {
		caller = number.Mask(caller)
	}
	w.log.Info("call", "call", c.ID, "direction", c.Direction, "outcome", c.Outcome, "reason", c.Reason, "caller", caller,
		"line", lineName(c.Line), "ring", c.Ring.Round(time.Millisecond), "wait", c.Wait.Round(time.Millisecond), "certain", c.Certain, "gaps", c.Gaps)
}

func lineName(l pbx.Line) string {
	switch {
	case l.Name != "":
		return l.Name
	case l.Number != "":
		return l.Number
	}
	return l.Raw
}

// leftovers closes the calls that were in progress when the last run ended and
// are not any more: they ended unseen.
func (w *watcher) leftovers(ctx context.Context) {
	var live []bus.Live
	for {
		lctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		var err error
		live, err = bus.LiveCalls(lctx, w.nc, w.cfg.Site)
		cancel()
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	select {
	case <-ctx.Done():
		return
	case <-w.attached:
	}
	if w.client != nil {
		w.client.Do(ctx, func() { w.closeUnseen(live) })
	} else {
		w.closeUnseen(live)
	}
}

// closeUnseen publishes what is left of calls that no witness follows any more.
func (w *watcher) closeUnseen(live []bus.Live) {
	for _, l := range live {
		w.doneMu.Lock()
		known := w.done[l.ID]
		w.doneMu.Unlock()
		known = known || w.tracker != nil && w.tracker.Tracks(l.ID)
		if w.merger != nil {
			w.merging(func(m *pbx.Merger, _ time.Time) { known = known || m.Tracks(l.ID) })
		}
		if w.tap != nil {
			w.tap.do(func(t *pbx.Tracker) { known = known || t.Tracks(l.ID) })
		}
		if !known {
			w.finished(endedUnseen(l))
		}
	}
	w.doneMu.Lock()
	w.done = nil
	w.doneMu.Unlock()
}

// endedUnseen is what can honestly be said of a call whose end nobody saw.
func endedUnseen(l bus.Live) *pbx.Call {
	c := *l.Call
	c.State, c.EndedAt, c.EndedBy, c.Reason = pbx.StateEnded, l.Refreshed, "", ""
	if c.EndedAt.Before(c.StartedAt) {
		c.EndedAt = c.StartedAt
	}
	if !c.HasGap(pbx.GapEventsLost) {
		c.Gaps = append(c.Gaps, pbx.GapEventsLost)
	}
	c.Outcome, c.Certain = pbx.Unknown, false
	if !c.AnsweredAt.IsZero() {
		c.Outcome, c.Certain = pbx.Answered, true
		c.Talk = max(c.EndedAt.Sub(c.AnsweredAt), 0)
	} else {
		c.AnsweredBy = nil
	}
	for i := range c.Attempts {
		if c.Attempts[i].Result == "" {
			c.Attempts[i].Result = pbx.ResultUnreachable
			if c.Attempts[i].Ring > 0 {
				c.Attempts[i].Result = pbx.ResultNoAnswer
			}
		}
	}
	return &c
}
