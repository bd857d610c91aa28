package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"textback/configs"
	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/rules"
	"textback/sms"
)

// demoCalls are recordings of a real Asterisk: what it told textback about
// four calls.
//
//go:embed demo/*.jsonl
var demoCalls embed.FS

type demoCmd struct{}

// Run plays recorded calls through the whole of textback: tracker, embedded
// NATS, rules, outbox. Only the PBX is a recording, and the provider prints.
func (demoCmd) Run(ctx context.Context, con console) error {
	dir, err := os.MkdirTemp("", "textback-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.NewTextHandler(con.err, &slog.HandlerOptions{Level: slog.LevelError}))
	r, problems := rules.Parse("configs/rules.yaml", configs.Rules)
	if r == nil {
		return fmt.Errorf("the shipped rules: %v", problems)
	}
	server, err := bus.Serve(bus.ServerOptions{StateDir: dir, Site: "demo", Log: quiet, MaxStore: 1 << 30})
	if err != nil {
		return err
	}
	defer server.Close()
	connect := func(role bus.Role) (*nats.Conn, error) {
		return bus.Connect(bus.ConnectOptions{Server: server, Role: role, Name: "demo", Log: quiet})
	}
	admin, err := connect(bus.Admin)
	if err != nil {
		return err
	}
	defer admin.Close()
	for _, ensure := range []func(context.Context, *nats.Conn, *slog.Logger) error{bus.EnsureStreams, sms.EnsureStreams} {
		if err := ensure(ctx, admin, quiet); err != nil {
			return err
		}
	}
	key, err := sms.OpenKey(ctx, admin, dir, true)
	if err != nil {
		return err
	}
	outs, err := sms.OpenOptOuts(ctx, admin, key, dir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	print := func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(con.out, format, a...)
	}
	decided := make(chan *sms.Job, 100)
	nc, err := connect(bus.Sender)
	if err != nil {
		return err
	}
	defer nc.Close()
	sender, err := sms.NewSender(sms.SenderOptions{NC: nc, Site: "demo", Key: key, OptOuts: outs, Rules: func() sms.Decider { return r },
		Transport: printer{print}, Alone: true, Log: quiet, Observe: func(j *sms.Job) { decided <- j }})
	if err != nil {
		return err
	}
	watcher, err := connect(bus.Watcher)
	if err != nil {
		return err
	}
	defer watcher.Close()
	pub, err := bus.NewPublisher(bus.PublisherOptions{NC: watcher, StateDir: dir, Log: quiet})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer func() { cancel(); parts.Wait() }()
	for _, run := range []func(context.Context) error{sender.Run, pub.Run} {
		parts.Add(1)
		go func() { defer parts.Done(); _ = run(ctx) }()
	}

	print("Recorded calls of a real Asterisk, through tracker, NATS, rules and outbox:\n")
	files, err := fs.Glob(demoCalls, "demo/*.jsonl")
	if err != nil {
		return err
	}
	for i, name := range files {
		b, err := demoCalls.ReadFile(name)
		if err != nil {
			return err
		}
		if err := playNow(b, path.Base(name), i, pub, print); err != nil {
			return err
		}
		for done := false; !done; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(30 * time.Second):
				return fmt.Errorf("%s: nothing was decided within 30 s", name)
			case j := <-decided:
				switch j.State {
				case sms.Scheduled:
					print("  rule %q: text %q in %v\n", j.Rule, j.Message, time.Until(j.DueAt).Round(time.Second))
				case sms.Submitting:
				case sms.Suppressed:
					print("  no text: %s\n", j.Because)
					done = true
				default:
					print("  %s\n", j.State)
					done = true
				}
			}
		}
	}
	print("\nEvery call above is an event on NATS, such as\n  nats sub 'textback.v1.call.*.in.declined.*'\nwould show it. Next: README, \"Attach it to Asterisk\".\n")
	return nil
}

// playNow feeds a recording as if its call were ending now.
func playNow(recording []byte, name string, n int, pub *bus.Publisher, print func(string, ...any)) error {
	t := pbx.NewTracker(pbx.Config{Site: "demo", Source: "ari", Region: "US"})
	var calls []*pbx.Call
	t.OnCall = func(c *pbx.Call) { calls = append(calls, c) }
	if err := ari.Replay(bytes.NewReader(recording), name, t); err != nil {
		return err
	}
	for _, c := range calls {
		shift := time.Since(c.EndedAt).Truncate(time.Millisecond)
		c.StartedAt, c.EndedAt = c.StartedAt.Add(shift), c.EndedAt.Add(shift)
		if !c.AnsweredAt.IsZero() {
			c.AnsweredAt = c.AnsweredAt.Add(shift)
		}
		// Each from a caller of its own, or the second would be a duplicate.
		c.Caller.Number = fmt.Sprintf("+1202555014%d", 3+n)
		c.Caller.Raw = c.Caller.Number
		print("\n%s  (%s)\n  event %s%s\n", name, sentence(c), event.PublicPrefix, event.Tail(c))
		if err := pub.Finished(c); err != nil {
			return err
		}
	}
	return nil
}

func sentence(c *pbx.Call) string {
	s := fmt.Sprintf("%s called, %s", c.Caller.Name, c.Outcome)
	if c.Reason != "" && string(c.Reason) != string(c.Outcome) {
		s += ", " + string(c.Reason)
	}
	return fmt.Sprintf("%s, rang %.1f s", s, c.Ring.Seconds())
}

// printer is the provider of the demo.
type printer struct{ print func(string, ...any) }

func (p printer) Submit(_ context.Context, m sms.Message) (sms.Receipt, error) {
	p.print("  to %s: %s\n", m.To, m.Body)
	return sms.Receipt{ProviderID: "printed"}, nil
}
