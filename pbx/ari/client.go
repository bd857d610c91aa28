package ari

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/tidwall/gjson"

	"textback/pbx"
)

// Options say how to reach Asterisk.
type Options struct {
	URL      string // of Asterisk's HTTP server: "http://127.0.0.1:8088", with its prefix if it has one
	User     string
	Password string
	App      string // ARI application name; Turn's number is added
	Log      *slog.Logger

	// Turn yields the number of the next connection: no two of them should ever
	// have the same application name. When a client vanishes in the middle of
	// events, Asterisk 22 can keep that connection's session locked for ever;
	// whoever takes over its name then waits for ever too. nil counts from 1.
	Turn func() int

	// States are devices whose state is followed, such as "Custom:DAYNIGHT0".
	// Variables are global variables, such as "NIGHTMODE", that are asked for again and
	// again, and functions, such as "GLOBAL(NIGHTMODE)", that are while calls are up.
	// Client.States tells them.
	States    []string
	Variables []string

	// Record, if set, is given every raw event before it is decoded.
	Record func(event []byte)
	// Observe, if set, is told about the connection; see Observer.
	Observe Observer

	// Zero values mean the defaults in parentheses.
	PingEvery time.Duration // how often the peer is asked for a pong (10 s)
	PingWait  time.Duration // how long it may take (10 s)
	MinPause  time.Duration // first pause before connecting again (250 ms)
	MaxPause  time.Duration // longest pause (15 s)
	AuthPause time.Duration // pause after a refused password (1 min)

	VariablesEvery time.Duration // how often variables are asked for (10 s)
}

// Observer is told what metrics and health pages want to know. Nil members
// are not called.
type Observer struct {
	Attached func(version string) // connected and reconciled
	Lost     func(err error)
	Event    func(lag time.Duration) // one event fed, this long after it was received
	Queue    func(depth int)         // most events that waited lately
	Bad      func(err error)         // an event that could not be read
}

// A Client keeps a tracker fed from one Asterisk for as long as it runs.
type Client struct {
	opt  Options
	base *url.URL
	http *http.Client
	t    *pbx.Tracker
	dec  Decoder
	q    *queue
	do   chan func() // work for the goroutine that owns the tracker

	app      string // of the present connection
	turn     int
	pbxAt    time.Time // the PBX's clock ...
	pbxSeen  time.Time // ... when ours said this
	attached bool

	states    *states
	stateKeys map[string]string // by the device's name in small letters: as the admin writes it
	refresh   chan struct{}
	said      map[string]bool // guarded by states.mu
}

type message struct {
	data []byte
	at   time.Time
	err  error     // the connection is lost
	snap *snapshot // what the PBX had right after connecting
}

type snapshot struct {
	legs    []pbx.Leg
	bridges []pbx.Bridge
	now     time.Time // by the PBX's clock, zero if it would not tell
	version string
	asked   asked
}

// NewClient checks the options and makes a Client for t, whose callbacks run
// on the goroutine that calls Run.
func NewClient(opt Options, t *pbx.Tracker) (*Client, error) {
	base, err := url.Parse(opt.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("the URL of Asterisk, %q: want http://host:8088", opt.URL)
	}
	base.Path = strings.TrimSuffix(strings.TrimSuffix(base.Path, "/"), "/ari")
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&opt.PingEvery, 10*time.Second)
	def(&opt.PingWait, 10*time.Second)
	def(&opt.MinPause, 250*time.Millisecond)
	def(&opt.MaxPause, 15*time.Second)
	def(&opt.AuthPause, time.Minute)
	def(&opt.VariablesEvery, 10*time.Second)
	if opt.App == "" {
		opt.App = "textback"
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.Proxy = nil // a PBX is never behind a web proxy
	tr.ResponseHeaderTimeout = 15 * time.Second
	keys := map[string]string{}
	for _, device := range opt.States {
		keys[strings.ToLower(device)] = device
	}
	return &Client{opt: opt, base: base, t: t, q: newQueue(), do: make(chan func(), 64),
		states: newStates(&opt), stateKeys: keys, refresh: make(chan struct{}, 1), said: map[string]bool{},
		http: &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// errStatus is an HTTP answer that is not what was asked for.
type errStatus struct {
	what string
	code int
}

func (e *errStatus) Error() string {
	return fmt.Sprintf("%s: HTTP %d %s", e.what, e.code, http.StatusText(e.code))
}

func status(err error) int {
	var e *errStatus
	if errors.As(err, &e) {
		return e.code
	}
	return 0
}

// errNoAnswer is a request that Asterisk did not answer.
type errNoAnswer struct {
	what string
	err  error
}

func (e *errNoAnswer) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }

func (e *errNoAnswer) Unwrap() error { return e.err }

// errReplaced is Asterisk's word that somebody else took our application name.
var errReplaced = errors.New("the PBX gave the application name to another program")

// Run connects, follows, and connects again until ctx ends. It returns nil
// then. All the tracker's callbacks run on the calling goroutine.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	wg.Add(1)
	go func() {
		defer wg.Done()
		c.connect(ctx)
	}()
	c.follow(ctx)
	cancel()
	wg.Wait()
	return nil
}

// Do runs f on the goroutine that owns the tracker, if Run still runs.
func (c *Client) Do(ctx context.Context, f func()) {
	select {
	case c.do <- f:
	case <-ctx.Done():
	}
}

// follow owns the tracker.
func (c *Client) follow(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	gauge := time.NewTicker(10 * time.Second)
	defer gauge.Stop()
	var batch []message
	warned := false
	for {
		var wake <-chan time.Time
		if next := c.t.Next(); !next.IsZero() && c.attached {
			timer.Reset(max(next.Sub(c.pbxNow()), 0) + time.Millisecond)
			wake = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case f := <-c.do:
			f()
		case <-wake:
			c.t.Advance(c.pbxNow())
		case <-gauge.C:
			depth := c.q.depth()
			if c.opt.Observe.Queue != nil {
				c.opt.Observe.Queue(depth)
			}
			switch {
			case depth > 5000 && !warned:
				warned = true
				c.opt.Log.Warn("events from Asterisk wait in the queue: this machine or its disk is too slow; nothing is dropped", "waiting", depth)
			case depth < 100 && warned:
				warned = false
				c.opt.Log.Info("the queue of events from Asterisk is short again", "waiting", depth)
			}
		case <-c.q.ready:
			batch = c.q.take(batch)
			for i := range batch {
				c.handle(&batch[i])
				batch[i] = message{}
				if ctx.Err() != nil {
					return
				}
			}
		}
	}
}

// pbxNow is the PBX's clock, carried on from its last word.
func (c *Client) pbxNow() time.Time {
	if c.pbxSeen.IsZero() {
		return time.Now()
	}
	return c.pbxAt.Add(time.Since(c.pbxSeen))
}

func (c *Client) handle(m *message) {
	switch {
	case m.err != nil:
		if c.attached {
			c.attached = false
			c.states.forget(c.pbxNow())
			c.t.Lost(c.pbxNow())
			if c.opt.Observe.Lost != nil {
				c.opt.Observe.Lost(m.err)
			}
		}
	case m.snap != nil:
		if !m.snap.now.IsZero() {
			c.pbxAt, c.pbxSeen = m.snap.now, m.at
		}
		for device, state := range m.snap.asked.states {
			if !c.states.heardSince(device, m.snap.asked.began) {
				c.states.set(device, state, c.pbxNow())
			}
		}
		c.t.Attached(c.pbxNow(), m.snap.legs, m.snap.bridges)
		c.attached = true
		if c.opt.Observe.Attached != nil {
			c.opt.Observe.Attached(m.snap.version)
		}
	case c.deviceState(m):
		if c.opt.Observe.Event != nil {
			c.opt.Observe.Event(time.Since(m.at))
		}
	default:
		f, err := c.dec.Decode(m.data)
		if err != nil {
			c.opt.Log.Warn("an event from Asterisk could not be read and was passed over", "error", err)
			if c.opt.Observe.Bad != nil {
				c.opt.Observe.Bad(err)
			}
			return
		}
		if f != nil {
			c.pbxAt, c.pbxSeen = f.At, m.at
			c.t.Feed(f)
		}
		if c.opt.Observe.Event != nil {
			c.opt.Observe.Event(time.Since(m.at))
		}
	}
}

// connect keeps a connection up. It logs each change once: the first failure
// of a kind, and the recovery.
func (c *Client) connect(ctx context.Context) {
	pause, said := c.opt.MinPause, ""
	for ctx.Err() == nil {
		start := time.Now()
		up, err := c.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if up {
			if time.Since(start) > 10*time.Second {
				pause = c.opt.MinPause
			}
		}
		kind, wait := "unreachable", pause
		msg := "Asterisk is not there yet; trying again, with pauses of up to " + c.opt.MaxPause.String()
		level := slog.LevelWarn
		switch code := status(err); {
		case errors.Is(err, errReplaced):
			kind, wait, level = "replaced", c.opt.AuthPause, slog.LevelError
			msg = "another program has connected to Asterisk with the same ARI application name and Asterisk serves only one: stop it, or give this one another name (pbx.asterisk.app)"
		case up:
			kind, msg = "lost", "the connection to Asterisk broke; connecting again"
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			kind, wait, level = "auth", c.opt.AuthPause, slog.LevelError
			msg = "Asterisk refuses user or password: check ari.conf against pbx.asterisk in the configuration; trying again every " + wait.String()
		case code == http.StatusNotFound || code == http.StatusServiceUnavailable:
			kind = "starting"
			msg = "Asterisk answers but ARI is not there (yet): it may be starting, or res_ari is not loaded; trying again"
		}
		if kind != said || kind == "lost" {
			said = kind
			c.opt.Log.Log(ctx, level, msg, "url", c.opt.URL, "error", err)
		}
		if wait == pause {
			pause = min(pause*2, c.opt.MaxPause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
	}
}

// session is one connection from dialling to its end. up tells whether it came
// as far as being followed.
func (c *Client) session(ctx context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.turn++
	if c.opt.Turn != nil {
		c.turn = c.opt.Turn()
	}
	c.app = fmt.Sprintf("%s-%d", c.opt.App, c.turn)
	ws, err := c.dial(ctx)
	if err != nil {
		return false, err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(16 << 20)

	readErr := make(chan error, 1)
	var replaced atomic.Bool
	go func() {
		for {
			// Not with ctx: that would break the connection off at once, and Asterisk
			// takes it better when it is closed in order.
			_, data, err := ws.Read(context.WithoutCancel(ctx))
			if err != nil {
				readErr <- err
				return
			}
			if c.opt.Record != nil {
				c.opt.Record(data)
			}
			if len(data) < 1000 && gjson.GetBytes(data, "type").Str == "ApplicationReplaced" {
				replaced.Store(true)
			}
			c.q.put(message{data: data, at: time.Now()})
		}
	}()
	fail := func(err error) (bool, error) {
		if ctx.Err() != nil {
			_ = ws.Close(websocket.StatusNormalClosure, "")
		}
		cancel()
		_ = ws.CloseNow()
		<-readErr
		c.q.put(message{err: err, at: time.Now()})
		return up, err
	}

	snap, err := c.snapshot(ctx)
	if err != nil {
		return fail(err)
	}
	// Everything queued so far was sent before the snapshot was taken, or while
	// it was: the tracker gets it first.
	c.q.put(message{snap: snap, at: time.Now()})
	up = true
	c.opt.Log.Info("attached to Asterisk", "url", c.opt.URL, "version", snap.version, "channels", len(snap.legs))

	var variables sync.WaitGroup
	defer variables.Wait()
	vctx, stop := context.WithCancel(ctx)
	defer stop()
	variables.Go(func() { c.watchVariables(vctx) })

	ping := time.NewTicker(c.opt.PingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return fail(ctx.Err())
		case err := <-readErr:
			readErr <- err
			if replaced.Load() {
				err = errReplaced
			}
			return fail(fmt.Errorf("read events: %w", err))
		case <-ping.C:
			pctx, done := context.WithTimeout(ctx, c.opt.PingWait)
			err := ws.Ping(pctx)
			done()
			if err != nil && ctx.Err() == nil {
				return fail(fmt.Errorf("no pong from Asterisk within %v: it hangs or the network does: %w", c.opt.PingWait, err))
			}
		}
	}
}

func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	u := *c.base
	u.Path += "/ari/events"
	u.RawQuery = url.Values{"app": {c.app}, "subscribeAll": {"true"}}.Encode()
	dctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	h := http.Header{}
	req := http.Request{Header: h}
	req.SetBasicAuth(c.opt.User, c.opt.Password)
	ws, resp, err := websocket.Dial(dctx, u.String(), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: h, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &errStatus{"open the event socket", resp.StatusCode}
		}
		var op *net.OpError
		if errors.As(err, &op) {
			err = op
		}
		return nil, fmt.Errorf("open the event socket: %w", err)
	}
	return ws, nil
}

// call makes one REST request and returns the body of a 2xx answer.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	u := *c.base
	u.Path += "/ari" + path
	u.RawQuery = query.Encode()
	what := method + " /ari" + path
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), in)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(c.opt.User, c.opt.Password)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &errNoAnswer{what, errors.Unwrap(err)} // without the URL, which has names in it
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, &errStatus{what, resp.StatusCode}
	}
	return b, nil
}

// snapshot asks for the event filter, then for what is up.
func (c *Client) snapshot(ctx context.Context) (*snapshot, error) {
	s := &snapshot{}
	if err := c.filter(ctx); err != nil {
		if code := status(err); code == 0 || code == http.StatusUnauthorized {
			return nil, err
		}
		c.opt.Log.Debug("this Asterisk does not filter events by type; all of them are read", "error", err)
	}
	if v, err := c.Version(ctx); err == nil {
		s.version = v
	}
	var err error
	if s.asked, err = c.askStates(ctx); err != nil {
		return nil, err
	}
	s.now, _ = c.Clock(ctx)
	b, err := c.call(ctx, "GET", "/channels", nil, nil)
	if err != nil {
		return nil, err
	}
	for _, v := range gjson.ParseBytes(b).Array() {
		var l pbx.Leg
		channel(&l, v.Raw)
		if l.ID != "" {
			s.legs = append(s.legs, l)
		}
	}
	if b, err = c.call(ctx, "GET", "/bridges", nil, nil); err != nil {
		return nil, err
	}
	for _, v := range gjson.ParseBytes(b).Array() {
		var br pbx.Bridge
		bridge(&br, v.Raw)
		if br.ID != "" {
			s.bridges = append(s.bridges, br)
		}
	}
	return s, nil
}

// filter asks Asterisk (16.3 and later) to send only the types that are read.
func (c *Client) filter(ctx context.Context) error {
	type typ struct {
		Type string `json:"type"`
	}
	var want struct {
		Allowed []typ `json:"allowed"`
	}
	if len(c.opt.States) > 0 {
		want.Allowed = append(want.Allowed, typ{deviceStateChanged})
	}
	for _, t := range Types {
		want.Allowed = append(want.Allowed, typ{t})
	}
	_, err := c.call(ctx, "PUT", "/applications/"+url.PathEscape(c.app)+"/eventFilter", nil, want)
	return err
}

// Version asks Asterisk for its version.
func (c *Client) Version(ctx context.Context) (string, error) {
	b, err := c.call(ctx, "GET", "/asterisk/info", url.Values{"only": {"system"}}, nil)
	if err != nil {
		return "", err
	}
	return gjson.GetBytes(b, "system.version").Str, nil
}

// Clock asks Asterisk for its time.
func (c *Client) Clock(ctx context.Context) (time.Time, error) {
	b, err := c.call(ctx, "GET", "/asterisk/ping", nil, nil)
	if err != nil {
		return time.Time{}, err
	}
	return parseTime(gjson.GetBytes(b, "timestamp").Str)
}

// Probe opens and closes the event socket once, as doctor does. It uses an
// application name of its own, so that it takes nothing from a running daemon.
func (c *Client) Probe(ctx context.Context) error {
	probe := *c
	probe.app = c.opt.App + "-doctor"
	ws, err := probe.dial(ctx)
	if err != nil {
		return err
	}
	return ws.Close(websocket.StatusNormalClosure, "")
}

// Status is the HTTP status in err, 0 when Asterisk did not answer at all.
func Status(err error) int { return status(err) }

// AskWithheld finds out whether a caller asked not to be shown, which events
// do not tell, and feeds it to the tracker. It returns at once.
func (c *Client) AskWithheld(ctx context.Context, legID string) {
	go func() {
		b, err := c.call(ctx, "GET", "/channels/"+url.PathEscape(legID)+"/variable", url.Values{"variable": {"CALLERID(num-pres)"}}, nil)
		if err != nil {
			return // the leg is gone, or the function is not loaded: the number is taken as shown
		}
		if strings.HasPrefix(gjson.GetBytes(b, "value").Str, "prohib") {
			c.Do(ctx, func() { c.t.Withhold(legID) })
		}
	}()
}
