package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
	"textback/rules/strict"
	"textback/sms"
	"textback/sms/directory"
)

// configFlag is shared by every subcommand that reads the configuration.
type configFlag struct {
	Config string `default:"/etc/textback/textback.yaml" help:"Path of textback.yaml." type:"path"`
}

type serveCmd struct {
	configFlag
	Watch  bool   `xor:"half" help:"Watch the PBX and publish calls only; needs an external NATS server."`
	Send   bool   `xor:"half" help:"Plan and send texts only; needs an external NATS server."`
	Record string `placeholder:"FILE" help:"Also append every raw event of the PBX to FILE, for 'textback replay'."`
}

// loadConfig reads both files, prints every problem and fails if one is more
// than a warning.
func loadConfig(con console, path string) (*config.Config, *rules.Rules, error) {
	return loadFiles(con, path, config.Load)
}

func loadFiles(con console, path string, load func(string) (*config.Config, []config.Problem)) (*config.Config, *rules.Rules, error) {
	cfg, r, problems := readFiles(path, load)
	if printed(con, problems) > 0 || r == nil {
		return nil, nil, errNotOK
	}
	return cfg, r, nil
}

// readFiles reads both files as far as they can be read, see rules.LoadPart.
func readFiles(path string, load func(string) (*config.Config, []config.Problem)) (*config.Config, *rules.Rules, []config.Problem) {
	cfg, problems := load(path)
	if _, err := os.Stat(cfg.Rules); err != nil && !cfg.Sure("rules") {
		return cfg, nil, problems // where the rules are is not known
	}
	r, more := rules.LoadPart(cfg.Rules)
	return cfg, r, append(problems, more...)
}

// printed prints problems and counts those that are more than warnings.
func printed(con console, problems []config.Problem) (bad int) {
	for _, p := range problems {
		fmt.Fprintln(con.err, p)
		if !p.Warning {
			bad++
		}
	}
	return bad
}

// fit prints where the two files do not fit together, and tells whether that is nowhere.
func fit(con console, cfg *config.Config, r *rules.Rules) bool {
	ok := true
	for _, p := range across(cfg, r) {
		fmt.Fprintln(con.err, p)
		ok = ok && p.Warning
	}
	return ok
}

func (s serveCmd) Run(ctx context.Context, con console) error {
	// First of all: until it is listened to, it ends the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	cfg, r, err := loadConfig(con, s.Config)
	if err != nil {
		return err
	}
	if !s.Watch && !fit(con, cfg, r) {
		return errNotOK
	}
	log := newLog(con.err, cfg.Log)
	if (s.Watch || s.Send) && cfg.NATS.URL == "" {
		return errors.New("--watch and --send need nats.url: the two halves meet on a NATS server outside of both")
	}
	if !s.Send && cfg.PBX.Asterisk == nil && cfg.PBX.SIP == nil {
		if !s.Watch {
			s.Send = true
		} else {
			return errors.New("--watch needs pbx.asterisk or pbx.sip in the configuration")
		}
	}
	if s.Record != "" && cfg.PBX.Asterisk == nil {
		return errors.New("--record writes the events of an Asterisk, and pbx.asterisk is not configured; record SIP with a capture tool")
	}
	d := &serving{cfg: cfg, log: log, m: newMetrics(), configPath: s.Config, hup: hup, told: make(chan struct{})}
	d.rules.Store(r)
	return d.run(ctx, s)
}

func newLog(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.SlogLevel()}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	if os.Getenv("JOURNAL_STREAM") != "" {
		// journald stamps every line itself.
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// serving owns every part of the running daemon and its lifetime.
type serving struct {
	cfg        *config.Config
	log        *slog.Logger
	m          *metrics
	rules      atomic.Pointer[rules.Rules]
	directory  *directory.Directory // nil where only calls are watched
	configPath string
	inbox      *inboundMetrics
	key        sms.Key // of callers; nil where only calls are watched
	hup        <-chan os.Signal
	told       chan struct{} // closed when the service manager is told that the daemon is ready
}

// run starts the parts in order, waits, and stops them in the reverse order.
func (d *serving) run(ctx context.Context, s serveCmd) (err error) {
	cfg, log := d.cfg, d.log
	log.Info("textback starts", "version", version, "site", cfg.Site, "rules", d.rules.Load().Version(), "state", cfg.StateDir)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	var server *bus.Server
	if cfg.NATS.URL == "" {
		if server, err = bus.Serve(bus.ServerOptions{StateDir: cfg.StateDir, Site: cfg.Site, Listen: cfg.NATS.Listen, Log: log}); err != nil {
			return err
		}
		defer server.Close()
		d.m.check("nats", server.Health)
		go func() {
			select {
			case err := <-server.Failed():
				fail(err)
			case <-ctx.Done():
			}
		}()
	} else if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return err
	}
	var conns connections
	connect := func(role bus.Role) (*nats.Conn, error) {
		return conns.add(bus.Connect(bus.ConnectOptions{Server: server, URL: cfg.NATS.URL, Role: role, CredentialsFile: cfg.NATS.CredentialsFile,
			CAFile: cfg.NATS.TLS.CAFile, CertFile: cfg.NATS.TLS.CertFile, TLSKeyFile: cfg.NATS.TLS.KeyFile, Name: cfg.Site, Log: log}))
	}
	if server == nil {
		d.m.check("nats", conns.Health)
	}
	if !s.Send && cfg.PBX.Asterisk != nil {
		d.m.sees(pbx.Inside, false, "not attached to Asterisk yet")
	}
	if !s.Send && cfg.PBX.SIP != nil {
		d.m.sees(pbx.Aside, false, "not reading SIP yet")
	}
	// Before anything that may be waited for: who asks how textback is gets an answer.
	stopHTTP, err := d.serveHTTP()
	if err != nil {
		return err
	}
	defer stopHTTP()
	if err := d.prepare(ctx, connect, !s.Watch); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	ways, closeWays, err := d.ways()
	if err != nil {
		return err
	}
	defer closeWays()

	var halves sync.WaitGroup
	half := func(name string, run func(context.Context) error) {
		halves.Add(1)
		go func() {
			defer halves.Done()
			if err := run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		}()
	}
	ready := make(chan struct{})
	var w *watcher
	if !s.Send {
		nc, err := connect(bus.Watcher)
		if err != nil {
			return err
		}
		defer nc.Close()
		record, closeRecord, err := recorder(s.Record, log)
		if err != nil {
			return err
		}
		defer closeRecord()
		if w, err = newWatcher(cfg, nc, log, d.m, record); err != nil {
			return err
		}
		half("watcher", w.run)
		ready = w.attached
	} else {
		close(ready)
	}
	if !s.Watch {
		nc, err := connect(bus.Sender)
		if err != nil {
			return err
		}
		defer nc.Close()
		if d.directory, err = d.openDirectory(); err != nil {
			return err
		}
		defer d.directory.Close()
		sender, err := d.sender(ctx, nc, ways...)
		if err != nil {
			return err
		}
		parts, err := d.inbound(sender, ways)
		if err != nil {
			return err
		}
		if d.rules.Load().Shadow() {
			d.sayMode(d.rules.Load())
		}
		// First those that hold sessions: a text that waits would find none.
		for _, p := range parts {
			half(p.name, p.run)
		}
		half("sender", sender.Run)
	}
	go d.systemd(ctx, ready, w)
	for {
		select {
		case <-d.hup:
			d.reload()
			continue
		case <-ctx.Done():
		}
		break
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	log.Info("textback stops")
	halves.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// connections are those to NATS, for their health.
type connections struct {
	mu  sync.Mutex
	all []*nats.Conn
}

func (c *connections) add(nc *nats.Conn, err error) (*nats.Conn, error) {
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, nc)
	}
	return nc, err
}

// Health is nil while all that are in use are connected.
func (c *connections) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = slices.DeleteFunc(c.all, (*nats.Conn).IsClosed)
	for _, nc := range c.all {
		if !nc.IsConnected() {
			return errors.New("not connected to the NATS server")
		}
	}
	return nil
}

// prepare checks the server and declares the streams, for as long as it takes
// an external server to be there, and opens the key of callers where texts are sent.
func (d *serving) prepare(ctx context.Context, connect func(bus.Role) (*nats.Conn, error), sends bool) error {
	nc, err := connect(bus.Admin)
	if err != nil {
		return err
	}
	defer nc.Close()
	if !nc.IsConnected() {
		d.log.Warn("the NATS server is not there yet; waiting", "url", d.cfg.NATS.URL)
		_, _ = daemon.SdNotify(false, "STATUS=waiting for the NATS server")
	}
	if err := bus.WaitConnected(ctx, nc); err != nil {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := bus.CheckServer(cctx, nc); err != nil {
		return err
	}
	if d.cfg.NATS.URL != "" {
		d.log.Warn("an external NATS server must run with jetstream { sync_interval: always }, or a power cut there can lose or repeat texts; this cannot be seen from here", "server", nc.ConnectedServerVersion())
	}
	if err := bus.EnsureStreamsFor(cctx, nc, d.log, d.cfg.Retention.Numbers); err != nil {
		return err
	}
	if err := sms.EnsureStreamsFor(cctx, nc, d.log, d.cfg.Keep()); err != nil || !sends {
		return err
	}
	d.key, err = sms.OpenKey(cctx, nc, d.cfg.StateDir, d.cfg.NATS.URL == "")
	return err
}

// serveHTTP serves metrics and health.
func (d *serving) serveHTTP() (stop func(), err error) {
	if d.cfg.HTTP.Listen == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", d.cfg.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	srv := &http.Server{Handler: d.m.handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	return func() { _ = srv.Close(); <-done }, nil
}

// recorder appends raw events to a file, one a line.
func recorder(path string, log *slog.Logger) (record func([]byte), closeFile func(), err error) {
	if path == "" {
		return nil, func() {}, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("--record: %w", err)
	}
	var failed atomic.Bool
	return func(b []byte) {
		line := make([]byte, 0, len(b)+1)
		if _, err := f.Write(append(append(line, b...), '\n')); err != nil && !failed.Swap(true) {
			log.Error("events are not recorded any more", "error", err)
		}
	}, func() { _ = f.Close() }, nil
}

// reload takes new rules and address books into use if they check out; the old ones stay otherwise.
func (d *serving) reload() {
	select {
	case <-d.told:
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading+fmt.Sprintf("\nMONOTONIC_USEC=%d", monotonicUsec()))
		defer func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }()
	default:
		// The end of a reload is READY=1: said now, it would say that the PBX is attached.
	}
	if d.directory != nil && len(d.cfg.Contacts.Files) > 0 {
		problems := d.directory.Reload()
		logProblems(d.log, problems)
		if slices.ContainsFunc(problems, func(p strict.Problem) bool { return !p.Warning }) {
			d.log.Error("the new address books have errors; the old ones stay in force", "numbers", d.directory.Len())
		} else {
			d.log.Info("address books reloaded", "numbers", d.directory.Len())
		}
	}
	cur := d.rules.Load()
	r, problems := rules.Load(d.cfg.Rules)
	bad := r == nil
	if !bad && d.directory != nil { // what is only watched is neither texted nor told
		misfits := across(d.cfg, r)
		bad = slices.ContainsFunc(misfits, func(p config.Problem) bool { return !p.Warning })
		problems = append(problems, misfits...)
	}
	logProblems(d.log, problems)
	if bad {
		d.log.Error("the new rules have errors; the old ones stay in force", "rules", cur.Version())
		return
	}
	d.rules.Store(r)
	d.log.Info("rules reloaded", "rules", r.Version(), "before", cur.Version())
	if r.Shadow() != cur.Shadow() {
		d.sayMode(r)
	}
}

// sayMode tells whether texts leave: who forgets about shadow mode believes that they do.
func (d *serving) sayMode(r *rules.Rules) {
	if r.Shadow() {
		d.log.Warn("NO TEXT IS SENT: mode is shadow; what would be sent is recorded, and 'textback backtest --office' holds it against what the office did", "mend", "set mode: live in rules.yaml and reload")
	} else {
		d.log.Info("mode is live: texts are sent")
	}
}

// monotonicUsec is CLOCK_MONOTONIC, which systemd wants with RELOADING=1.
func monotonicUsec() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / 1000
}

// systemd says when the daemon is ready (attached to the PBX), what it waits
// for, and, while its parts answer, that it lives.
func (d *serving) systemd(ctx context.Context, ready <-chan struct{}, w *watcher) {
	_, _ = daemon.SdNotify(false, "STATUS=waiting for the PBX")
	select {
	case <-ctx.Done():
		return
	case <-ready:
	}
	close(d.told) // first, so that a reload in between is announced
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=attached to the PBX")
	d.log.Info("textback is ready")
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		alive := make(chan struct{})
		if w != nil {
			// The goroutines that own the trackers must come round.
			w.alive(ctx, func() { close(alive) })
		} else {
			close(alive)
		}
		select {
		case <-ctx.Done():
			return
		case <-alive:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
