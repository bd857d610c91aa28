package sms_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/rules"
	"textback/sms"
	"textback/sms/twilio"
)

// TestMain turns the test program into the daemon's inside when it is started as one.
func TestMain(m *testing.M) {
	if args := os.Getenv("TEXTBACK_TEST_CHAOS"); args != "" {
		child(args)
	}
	os.Exit(m.Run())
}

const chaosRules = `
version: 1
business: {name: Miller Dental}
timezone: America/New_York
guards: {quiet_hours: {texts: "0:00-24:00"}, budgets: {per_caller: "off", per_prefix: "off", per_minute: "off", segments_per_day: "off"}}
messages:
  missed: "Hi{{with .Name}} {{.}}{{end}}, sorry we missed you. {{.Business}}"
rules:
  - name: at once
    when: {outcome: rang_out}
    delay: 0s
    send: missed
  - name: later
    when: {outcome: declined}
    delay: 1500ms
    send: missed
  - name: much later
    when: {outcome: busy}
    delay: 4s
    send: missed
`

// args tell a child where its state and the provider are, and where it shall
// stop to be killed: at a point in the life of the text to one number.
type args struct {
	Dir, URL, Account, Token string
	Hold, Number             string
}

// report is what a child finds in its stores.
type report struct {
	Spooled   int      // calls in the spool that are not stored
	Stored    []string // calls in CALLS
	Jobs      []sms.Job
	Unplanned uint64 // calls that the planner has not acknowledged
	Waiting   uint64 // due messages not yet delivered
	Unacked   int    // due messages delivered and not acknowledged
}

// inside is what the daemon is made of, without its shell.
type inside struct {
	args
	server *bus.Server // nil: URL of an external one
	nats   string
	log    *slog.Logger
	say    func(format string, a ...any)
	admin  *nats.Conn
	pub    *bus.Publisher
	out    *sms.OptOuts
	sender *sms.Sender
}

// at says that a point is reached, and stays there for good if the kill is to come.
func (n *inside) at(point, number string) {
	if n.Hold == point && n.Number == number {
		n.say("at %s %s", point, number)
		select {}
	}
}

// heldTransport is Twilio's transport with the points around it.
type heldTransport struct {
	*twilio.Transport
	n *inside
}

func (h heldTransport) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	r, err := h.Transport.Submit(ctx, m)
	h.n.at("answered", m.To)
	return r, err
}

func (h heldTransport) FateSince(ctx context.Context, m sms.Message, at time.Time) (sms.Receipt, bool, error) {
	r, found, err := h.Transport.FateSince(ctx, m, at)
	h.n.at("asked", m.To)
	return r, found, err
}

// heldRules are the real rules with the points before a plan and a submission.
type heldRules struct {
	*rules.Rules
	n *inside
}

func (h heldRules) Decide(f rules.Facts, now time.Time) rules.Decision {
	h.n.at("planning", f.Call.Caller.Number)
	return h.Rules.Decide(f, now)
}

func (h heldRules) Recheck(f rules.Facts, now time.Time) (string, string) {
	h.n.at("due", f.Call.Caller.Number)
	return h.Rules.Recheck(f, now)
}

func (n *inside) connect(ctx context.Context, r bus.Role) (*nats.Conn, error) {
	nc, err := bus.Connect(bus.ConnectOptions{Server: n.server, URL: n.nats, Role: r, Log: n.log})
	if err != nil {
		return nil, err
	}
	return nc, bus.WaitConnected(ctx, nc)
}

// open declares everything and starts nothing.
func (n *inside) open(ctx context.Context) error {
	var err error
	if n.nats == "" {
		if n.server, err = bus.Serve(bus.ServerOptions{StateDir: n.Dir, Site: "hq", MaxStore: 1 << 30, Log: n.log}); err != nil {
			return err
		}
	}
	if n.admin, err = n.connect(ctx, bus.Admin); err != nil {
		return err
	}
	if err := errors.Join(bus.EnsureStreams(ctx, n.admin, n.log), sms.EnsureStreams(ctx, n.admin, n.log)); err != nil {
		return err
	}
	// What a killed process had in hand comes again soon, and now and then too soon.
	for stream, name := range map[string]string{bus.CallsStream: "planner", sms.Stream: "sender"} {
		if err := n.ackWait(ctx, stream, name); err != nil {
			return err
		}
	}
	key, err := sms.OpenKey(ctx, n.admin, n.Dir, true)
	if err != nil {
		return err
	}
	nc, err := n.connect(ctx, bus.Sender)
	if err != nil {
		return err
	}
	if n.out, err = sms.OpenOptOuts(ctx, nc, key, n.Dir); err != nil {
		return err
	}
	watcher, err := n.connect(ctx, bus.Watcher)
	if err != nil {
		return err
	}
	n.pub, err = bus.NewPublisher(bus.PublisherOptions{NC: watcher, StateDir: n.Dir, Log: n.log,
		Stored: func(c *pbx.Call, _ time.Duration) { n.at("stored", c.Caller.Number) }})
	if err != nil {
		return err
	}
	tr, err := twilio.New(twilio.Options{AccountSID: n.Account, AuthToken: n.Token, BaseURL: n.URL, AnswerTimeout: 4 * time.Second})
	if err != nil {
		return err
	}
	r, problems := rules.Parse("rules.yaml", []byte(chaosRules))
	if r == nil {
		return fmt.Errorf("rules: %v", problems)
	}
	n.sender, err = sms.NewSender(sms.SenderOptions{NC: nc, Site: "hq", Key: key, OptOuts: n.out, Log: n.log, Alone: true, SubmitTimeout: 10 * time.Second, BreakPause: 300 * time.Millisecond,
		Transport: heldTransport{tr, n}, Rules: func() sms.Decider { return heldRules{r, n} },
		Observe: func(j *sms.Job) { n.at(string(j.State), j.To) }})
	return err
}

func (n *inside) ackWait(ctx context.Context, stream, name string) error {
	js, err := jetstream.New(n.admin)
	if err != nil {
		return err
	}
	c, err := js.Consumer(ctx, stream, name)
	if err != nil {
		return err
	}
	cfg := c.CachedInfo().Config
	cfg.AckWait = 500 * time.Millisecond
	_, err = js.UpdateConsumer(ctx, stream, cfg)
	return err
}

// report reads every store.
func (n *inside) report(ctx context.Context) (report, error) {
	r := report{Spooled: n.pub.Backlog()}
	err := errors.Join(
		bus.Calls(ctx, n.admin, time.Time{}, func(c *pbx.Call) bool { r.Stored = append(r.Stored, c.ID); return true }),
		sms.Jobs(ctx, n.admin, func(j *sms.Job) { r.Jobs = append(r.Jobs, *j) }))
	js, jerr := jetstream.New(n.admin)
	if err = errors.Join(err, jerr); err != nil {
		return r, err
	}
	planner, err := js.Consumer(ctx, bus.CallsStream, "planner")
	if err != nil {
		return r, err
	}
	due, err := js.Consumer(ctx, sms.Stream, "sender")
	if err != nil {
		return r, err
	}
	i := planner.CachedInfo()
	r.Unplanned = i.NumPending + uint64(i.NumAckPending)
	i = due.CachedInfo()
	r.Waiting, r.Unacked = i.NumPending, i.NumAckPending
	return r, nil
}

// finish does what the watcher does with a call. One that got through is in
// LIVE before it ends.
func (n *inside) finish(ctx context.Context, c *pbx.Call) error {
	if !c.Missed() {
		l := *c
		l.State, l.Outcome, l.EndedAt, l.Talk = pbx.StateAnswered, "", time.Time{}, 0
		n.pub.Live(&l)
		for seen := false; !seen; time.Sleep(time.Millisecond) {
			live, err := bus.LiveCalls(ctx, n.admin, "")
			if err != nil {
				return err
			}
			for _, x := range live {
				seen = seen || x.ID == c.ID
			}
		}
		n.say("live %s", c.ID)
	}
	if err := n.pub.Finished(c); err != nil {
		return err
	}
	n.say("done %s", c.ID)
	return nil
}

// child is the killed process: it takes orders from its standard input.
func child(in string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(3)
		}
	}
	var mu sync.Mutex
	n := &inside{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	n.say = func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", a...)
	}
	fail(json.Unmarshal([]byte(in), &n.args))
	// With a deadline: without one each request to JetStream has five seconds.
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	fail(n.open(ctx))
	fail(n.out.Set(ctx, stopNumber, true, "admin"))
	tell := func(what string) {
		r, err := n.report(ctx)
		fail(err)
		b, err := json.Marshal(r)
		fail(err)
		n.say("%s %s", what, b)
	}
	tell("ready")
	go func() { fail(n.pub.Run(ctx)) }()
	go func() { fail(n.sender.Run(ctx)) }()
	orders := bufio.NewReader(os.Stdin)
	for {
		line, err := orders.ReadString('\n')
		fail(err)
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "call":
			c, err := event.Decode([]byte(rest))
			fail(err)
			fail(n.finish(ctx, c))
		case "state":
			tell("state")
		case "wake": // timers fire twice
			fail(sms.Jobs(ctx, n.admin, func(j *sms.Job) {
				m := nats.NewMsg("textback.v1.sms.due." + j.ID)
				_, err := bus.Publish(ctx, n.admin, m)
				fail(err)
			}))
			n.say("woken")
		}
	}
}
