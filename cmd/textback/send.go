package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/rules"
	"textback/sms"
)

// sender builds the half of the daemon that turns events into texts.
func (d *serving) sender(ctx context.Context, nc *nats.Conn, ways ...sms.Way) (*sms.Sender, error) {
	cfg := d.cfg
	octx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	outs, err := sms.OpenOptOuts(octx, nc, d.key, cfg.StateDir)
	if err != nil {
		return nil, err
	}
	down, err := sms.Breakers(octx, nc) // an outage outlives restarts
	if err != nil {
		return nil, fmt.Errorf("read circuit breakers: %w", err)
	}
	for _, w := range ways {
		_, open := down[w.Name]
		d.m.transportWorks(w.Name, !open)
	}
	opt := sms.SenderOptions{
		NC: nc, Site: cfg.Site, Key: d.key, OptOuts: outs, Ways: ways,
		Rules:          func() sms.Decider { return d.rules.Load() },
		GotThroughTalk: cfg.SMS.GotThroughTalk,
		Alone:          cfg.NATS.URL == "",
		ShowNumbers:    cfg.Log.ShowNumbers,
		Log:            d.log.With("part", "sender"),
		BreakerMoved:   d.m.transportWorks,
		Observe: func(j *sms.Job) {
			if j.Kind != sms.Notice {
				d.m.texts.WithLabelValues(string(j.State), j.Why).Inc()
			}
		},
		Submitted: func(took time.Duration) { d.m.submit.Observe(took.Seconds()) },
	}
	if d.directory != nil {
		// What a lookup's silence means is in the contact; the directory itself tells of it.
		opt.Contact = func(ctx context.Context, n string) *rules.Contact { c, _ := d.directory.Contact(ctx, n); return c }
	}
	if err := d.listening(&opt); err != nil {
		return nil, err
	}
	return sms.NewSender(opt)
}

// jobCount is what a glance at the outbox shows.
type jobCount struct {
	Texts map[string]int    `json:"texts"`              // by state
	Tasks map[string]int    `json:"tasks"`              // "open", "late"
	Down  map[string]string `json:"breakers,omitempty"` // transports that texts wait for, and why
}

func countJobs(ctx context.Context, nc *nats.Conn) (n jobCount, err error) {
	n = jobCount{Texts: map[string]int{}, Tasks: map[string]int{}}
	if err := sms.Jobs(ctx, nc, func(j *sms.Job) {
		switch {
		case j.Kind == sms.Text:
			n.Texts[string(j.State)]++
		case j.Kind == sms.Task && j.State == sms.Waiting:
			n.Tasks["open"]++
			if j.Late {
				n.Tasks["late"]++
			}
		}
	}); err != nil {
		return n, err
	}
	n.Down, err = sms.Breakers(ctx, nc)
	return n, err
}

// callText is what became of a call's text. In 'textback calls --json' it stands as extension
// attributes of the event, which readers of events pass over.
type callText struct {
	State sms.State `json:"textstate,omitempty"`
	Why   string    `json:"textwhy,omitempty"`
}

func (t callText) String() string {
	if t.Why != "" {
		return string(t.State) + " (" + t.Why + ")"
	}
	return orDash(string(t.State))
}

// textsByCall is what became of each call's text, by the call's id.
func textsByCall(ctx context.Context, nc *nats.Conn) (map[string]callText, error) {
	out := map[string]callText{}
	err := sms.Jobs(ctx, nc, func(j *sms.Job) {
		if j.Kind != sms.Text || j.FollowUp {
			return
		}
		_, call, _ := strings.Cut(j.Call, "/")
		out[call] = callText{j.State, j.Why}
	})
	return out, err
}

type textsCmd struct {
	configFlag
	Held    bool   `xor:"what" help:"Only those whose fate an admin must settle."`
	Settle  string `xor:"what" placeholder:"JOB" help:"Settle a held text by hand; needs --sent or --not-sent."`
	Sent    bool   `xor:"fate" help:"With --settle: the provider did send it."`
	NotSent bool   `name:"not-sent" xor:"fate" help:"With --settle: it was not sent, and shall not be."`
	Cancel  string `xor:"what" placeholder:"JOB" help:"Cancel a text that is still to come, such as a follow-up."`
	JSON    bool   `name:"json" help:"Print JSON, one text a line."`
}

// Validate refuses a fate without a text and a text without a fate, as wrong usage.
func (c textsCmd) Validate() error {
	fate := c.Sent || c.NotSent
	switch {
	case c.Settle != "" && !fate:
		return errors.New("--settle needs --sent or --not-sent: look the text up at the provider first")
	case c.Settle == "" && fate:
		return errors.New("--sent and --not-sent need --settle with the job that 'textback texts --held' shows")
	}
	return nil
}

// Run lists texts, or settles one.
func (c textsCmd) Run(ctx context.Context, con console) error {
	return withNATS(ctx, con, c.Config, 30*time.Second, func(ctx context.Context, cfg *config.Config, nc *nats.Conn) error {
		return c.texts(ctx, con, nc, cfg.Keep())
	})
}

func (c textsCmd) texts(ctx context.Context, con console, nc *nats.Conn, keep sms.Retention) error {
	if c.Settle != "" {
		return sms.Resolve(ctx, nc, c.Settle, c.Sent, keep)
	}
	if c.Cancel != "" {
		return sms.End(ctx, nc, c.Cancel, "admin", keep)
	}
	tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	enc := lines(con.out)
	if !c.JSON {
		fmt.Fprintln(tw, "UPDATED\tTO\tSTATE\tWHY\tRULE\tTEXT\tJOB")
	}
	var werr error
	err := sms.Jobs(ctx, nc, func(j *sms.Job) {
		switch {
		case c.Held && j.State != sms.Held || j.Kind == sms.Task:
		case c.JSON:
			werr = errors.Join(werr, enc.Encode(j))
		default:
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.UpdatedAt.Local().Format("2006-01-02 15:04:05"), orDash(j.To), j.State, orDash(j.Because), orDash(j.Rule), orDash(j.Body), j.ID)
		}
	})
	return errors.Join(err, werr, tw.Flush())
}

// lines writes JSON, one value a line, with the words of texts as they are.
func lines(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
