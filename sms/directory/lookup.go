package directory

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"textback/rules"
)

// LookupOptions say what is asked, and how patiently.
type LookupOptions struct {
	// URL is asked with GET. {number} in it becomes the number in E.164, escaped;
	// {digits} the same without its plus sign.
	URL     string
	Headers map[string]string // secrets among them are never logged
	// Fields are the places of the contact's fields (contacts.Fields) in the JSON
	// answer, as paths: "person.name", "results.0.tags". Nil means DefaultFields.
	Fields map[string]string
	// SilenceForbids means that a caller of whom the lookup never told is not texted
	// while it does not answer.
	SilenceForbids bool

	// Where "do not text" and "blocked" are kept for the time when the lookup does
	// not answer; empty: in memory only. Hide makes of a number what stands there.
	RefusalsFile string
	Hide         func(e164 string) string

	// Zero values mean the defaults in parentheses.
	Timeout    time.Duration // how long a caller's Contact waits, and the server has to answer (800 ms)
	Fresh      time.Duration // how long an answer is taken without asking again (1 h)
	FreshNone  time.Duration // the same when nobody was found (5 min)
	Stale      time.Duration // how old an answer may be that is used while it is asked again behind it (24 h)
	MaxCached  int           // numbers (10,000)
	Concurrent int           // questions at once (4)
	FirstPause time.Duration // how long nothing is asked after failuresToPause failures (10 s); doubled up to ...
	LastPause  time.Duration // ... this (5 min)

	RoundTripper http.RoundTripper // nil: a client of its own
	Log          *slog.Logger
	// Observe, if set, is told what became of each Contact: one of Cached, Stale,
	// Asked, Failed.
	Observe func(what string)
}

// What Observe is told.
const (
	Cached = "cached" // answered from memory
	Stale  = "stale"  // answered from memory, asked again behind it
	Asked  = "asked"  // waited for the answer
	Failed = "failed" // no answer
)

// DefaultFields are where fields are looked for in answers: under their names.
var DefaultFields = map[string]string{"name": "name", "first_name": "first_name", "last_name": "last_name", "language": "language", "groups": "groups",
	"vip": "vip", "do_not_text": "do_not_text", "blocked": "blocked"}

// failuresToPause in a row and the lookup is left alone for a while.
const failuresToPause = 5

// waiting bounds the questions that wait for their turn, as a multiple of those
// under way: more could not be answered in time.
const waiting = 16

// A Lookup asks an HTTP server who a caller is. It is safe for concurrent use.
type Lookup struct {
	opt    LookupOptions
	host   string // for logs: the rest of the URL may hold more than it should
	ctx    context.Context
	cancel context.CancelFunc
	asking sync.WaitGroup
	turn   chan struct{}
	kept   *refusals

	mu       sync.Mutex
	closed   bool
	cache    map[string]*list.Element
	recent   list.List // of *answer, most recently used first
	flights  map[string]*flight
	failures int // in a row
	pause    time.Duration
	until    time.Time // nothing is asked before
	probing  bool      // the one question after a pause is under way
	said     string    // what was logged of the present failure
}

// An answer is what the lookup said of a number.
type answer struct {
	number  string
	contact *rules.Contact // nil: nobody has it
	at      time.Time
}

// A flight is a question under way, for everybody who waits for it.
type flight struct {
	done   chan struct{}
	answer *answer
	err    error
}

var (
	errPaused = errors.New("the lookup has failed several times and is left alone for a while")
	errBusy   = errors.New("too many questions wait for the lookup")
	errClosed = errors.New("textback is stopping")
)

// NewLookup makes a Lookup. Nothing is asked yet.
func NewLookup(opt LookupOptions) (*Lookup, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&opt.Timeout, 800*time.Millisecond)
	def(&opt.Fresh, time.Hour)
	def(&opt.FreshNone, 5*time.Minute)
	def(&opt.Stale, 24*time.Hour)
	def(&opt.FirstPause, 10*time.Second)
	def(&opt.LastPause, 5*time.Minute)
	if opt.MaxCached <= 0 {
		opt.MaxCached = 10_000
	}
	if opt.Concurrent <= 0 {
		opt.Concurrent = 4
	}
	if opt.Fields == nil {
		opt.Fields = DefaultFields
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Observe == nil {
		opt.Observe = func(string) {}
	}
	if !strings.Contains(opt.URL, "{number}") && !strings.Contains(opt.URL, "{digits}") {
		return nil, errors.New("the lookup's URL needs {number} or {digits} where the caller's number goes")
	}
	u, err := url.Parse(fill(opt.URL, "+12125550100"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the lookup's URL should look like https://crm.example.com/lookup?number={number}")
	}
	if opt.RoundTripper == nil {
		tr := http.DefaultTransport.(*http.Transport).Clone()
		tr.MaxIdleConnsPerHost = opt.Concurrent
		tr.MaxResponseHeaderBytes = 64 << 10
		opt.RoundTripper = tr
	}
	kept, err := openRefusals(opt.RefusalsFile, opt.Hide)
	if err != nil {
		return nil, fmt.Errorf("what the lookup said of callers who are not texted: %w", err)
	}
	l := &Lookup{opt: opt, host: u.Host, turn: make(chan struct{}, opt.Concurrent), kept: kept, cache: map[string]*list.Element{}, flights: map[string]*flight{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Close ends questions under way and waits for them.
func (l *Lookup) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.asking.Wait()
	if t, ok := l.opt.RoundTripper.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	l.kept.close()
}

// Contact is Directory.Contact of the lookup alone.
func (l *Lookup) Contact(ctx context.Context, e164 string) (*rules.Contact, error) {
	now := time.Now()
	l.mu.Lock()
	old := l.cached(e164)
	if old != nil {
		fresh := l.fresh(old, now)
		if fresh || now.Sub(old.at) < l.opt.Stale {
			what := Cached
			if !fresh {
				what = Stale
				_, _ = l.ask(e164, now)
			}
			l.mu.Unlock()
			l.opt.Observe(what)
			return old.contact, nil
		}
	}
	f, err := l.ask(e164, now)
	l.mu.Unlock()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, l.opt.Timeout)
		defer cancel()
		select {
		case <-f.done:
			if err = f.err; err == nil {
				l.opt.Observe(Asked)
				return f.answer.contact, nil
			}
		case <-ctx.Done():
			err = fmt.Errorf("no answer within %v", l.opt.Timeout)
		}
	}
	l.opt.Observe(Failed)
	if old != nil {
		return old.contact, err // the last good one, however old
	}
	return l.without(e164), err
}

// without is what holds of a number for which there is no answer.
func (l *Lookup) without(e164 string) *rules.Contact {
	noText, blocked := l.kept.of(e164)
	noText = noText || l.opt.SilenceForbids
	if !noText && !blocked {
		return nil
	}
	return &rules.Contact{DoNotText: noText, Blocked: blocked}
}

// Prefetch is Directory.Prefetch.
func (l *Lookup) Prefetch(e164 string) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.cached(e164); old == nil || !l.fresh(old, now) {
		_, _ = l.ask(e164, now)
	}
}

// Probe asks for a number once, past cache and pauses, as doctor does.
func (l *Lookup) Probe(ctx context.Context, e164 string) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.opt.Timeout)
	defer cancel()
	c, err := l.fetch(ctx, e164)
	return c != nil, err
}

func (l *Lookup) fresh(a *answer, now time.Time) bool {
	limit := l.opt.Fresh
	if a.contact == nil {
		limit = l.opt.FreshNone
	}
	return now.Sub(a.at) < limit
}

// cached returns the last answer, and remembers that it was wanted. l.mu is held.
func (l *Lookup) cached(e164 string) *answer {
	e := l.cache[e164]
	if e == nil {
		return nil
	}
	l.recent.MoveToFront(e)
	return e.Value.(*answer)
}

// ask joins the question under way for a number, or begins one. l.mu is held.
func (l *Lookup) ask(e164 string, now time.Time) (*flight, error) {
	if f := l.flights[e164]; f != nil {
		return f, nil
	}
	probe := false
	switch {
	case l.closed:
		return nil, errClosed
	case l.failures >= failuresToPause:
		if l.probing || now.Before(l.until) {
			return nil, errPaused
		}
		probe = true
	case len(l.flights) >= l.opt.Concurrent*waiting:
		return nil, errBusy
	}
	l.probing = l.probing || probe
	f := &flight{done: make(chan struct{})}
	l.flights[e164] = f
	l.asking.Add(1)
	go func() {
		defer l.asking.Done()
		l.fly(f, e164, probe)
	}()
	return f, nil
}

// fly asks and spreads the answer. Nobody who waits can cut it short: the answer
// serves others too, and counts from its turn, so that a queue here is not taken
// for a fault there.
func (l *Lookup) fly(f *flight, e164 string, probe bool) {
	patience := time.NewTimer(l.opt.Timeout)
	defer patience.Stop()
	var c *rules.Contact
	var err error
	overdue := false
	select {
	case l.turn <- struct{}{}:
		ctx, cancel := context.WithTimeout(l.ctx, l.opt.Timeout)
		c, err = l.fetch(ctx, e164)
		cancel()
		<-l.turn
	case <-patience.C:
		err, overdue = errBusy, true
	case <-l.ctx.Done():
		err = errClosed
	}
	stop := l.ctx.Err() != nil
	var keepErr error
	if err == nil {
		keepErr = l.kept.set(e164, c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flights, e164)
	if probe {
		l.probing = false
	}
	switch {
	case err == nil:
		f.answer = &answer{e164, c, time.Now()}
		l.store(f.answer)
		if l.said != "" {
			l.opt.Log.Info("the lookup of callers answers again", "host", l.host)
		}
		l.failures, l.pause, l.said = 0, 0, ""
	case !stop && !overdue: // whose turn did not come has not heard anything
		l.failed(err)
	}
	f.err = err
	close(f.done)
	if keepErr != nil {
		l.opt.Log.Error("what the lookup says of callers who are not texted cannot be kept on disk", "error", keepErr)
	}
}

// failed counts a failure and says the first of a kind. l.mu is held.
func (l *Lookup) failed(err error) {
	if l.failures++; l.failures >= failuresToPause {
		if l.pause == 0 {
			l.pause = l.opt.FirstPause
		} else {
			l.pause = min(2*l.pause, l.opt.LastPause)
		}
		l.until = time.Now().Add(l.pause)
	}
	if l.said == err.Error() {
		return
	}
	first := l.said == ""
	l.said = err.Error()
	if first {
		without := "callers are treated as if it knew nothing of them"
		if l.opt.SilenceForbids {
			without = "callers of whom it never told are not texted"
		}
		l.opt.Log.Warn("the lookup of callers fails; while it does, "+without, "host", l.host, "error", err)
		return
	}
	l.opt.Log.Warn("the lookup of callers still fails, in another way", "host", l.host, "error", err)
}

// store keeps an answer. l.mu is held.
func (l *Lookup) store(a *answer) {
	if e := l.cache[a.number]; e != nil {
		e.Value = a
		l.recent.MoveToFront(e)
		return
	}
	l.cache[a.number] = l.recent.PushFront(a)
	if l.recent.Len() > l.opt.MaxCached {
		last := l.recent.Back()
		delete(l.cache, last.Value.(*answer).number)
		l.recent.Remove(last)
	}
}
