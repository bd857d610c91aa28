package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/number"
	"textback/rules"
	"textback/rules/ruletest"
	"textback/rules/simulate"
)

type explainCmd struct {
	configFlag
	Call string `placeholder:"ID" help:"A stored call, as 'textback calls' shows it, with what the calls before it tell of its caller."`

	Caller      string            `help:"Caller's number."`
	Name        string            `help:"Caller's name as the PBX shows it."`
	Line        string            `help:"The line called: its number, or what the trunk dials."`
	Outcome     string            `help:"One of answered, voicemail, abandoned, unattended, declined, rang_out, busy, unreachable, unknown."`
	Reason      string            `help:"Why nobody answered; the default follows from the outcome."`
	Ring        *time.Duration    `help:"How long phones rang; the default is 20s where the outcome has them ring."`
	Wait        *time.Duration    `help:"How long the caller waited; the default is the ring time."`
	Queue       string            `help:"The queue the caller waited in."`
	QueueWait   *time.Duration    `help:"How long the caller waited there; the default is the whole wait."`
	Menu        bool              `help:"A menu was heard."`
	Forwarded   bool              `help:"A phone sent the call on."`
	Message     bool              `help:"The caller left a voicemail message."`
	Uncertain   bool              `help:"It is not proven that nobody answered."`
	Attestation string            `enum:",A,B,C,failed,none" default:"" help:"Who vouches for the caller's number (STIR/SHAKEN): A, B, C, failed or none."`
	Tried       []string          `placeholder:"PHONE" help:"A phone that was tried: extension, name or endpoint. Repeatable."`
	PBX         map[string]string `name:"pbx" mapsep:"none" placeholder:"KEY=VALUE" help:"A device state or variable of the PBX at the call's end. Repeatable."`

	Attempts    int               `default:"1" help:"The how-many-th missed call of this caller's episode it is."`
	Known       bool              `help:"The caller has called or been texted before."`
	Contact     string            `placeholder:"NAME" help:"The caller is in the address book by this name; without this, --group and the like the address books are asked."`
	Group       []string          `help:"A group of the contact. Repeatable."`
	VIP         bool              `name:"vip" help:"The contact is a VIP."`
	Language    string            `help:"The contact's language: en, es, …"`
	DoNotText   bool              `help:"The contact wants no texts."`
	Blocked     bool              `help:"The contact is blocked."`
	OptedOut    bool              `help:"The caller has said stop."`
	OnLine      bool              `help:"The caller is on a line right now."`
	Machine     string            `placeholder:"WHY" help:"Whoever answers at this number is taken for a machine."`
	TextedAgo   time.Duration     `help:"How long ago this episode had its text."`
	Spent       map[string]string `mapsep:"none" placeholder:"BUDGET=N" help:"What is used up: caller, prefix, minute, segments or money. Repeatable."`
	BreakerOpen bool              `help:"The way out is closed by its circuit breaker."`

	At   string `help:"When the call ended: RFC 3339, 2026-11-23 18:30 at the office, or 18:30 today; the default is now."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Validate refuses what describes no call, as wrong usage.
func (c explainCmd) Validate() error {
	if c.Call != "" {
		return nil
	}
	_, err := c.hypothetical(pbx.Config{Region: "US"}, time.UTC, time.Now())
	return err
}

// Run tells what would become of a call, and why. It sends nothing.
func (c explainCmd) Run(ctx context.Context, con console) error {
	cfg, r, err := loadFiles(con, c.Config, config.LoadOpen)
	if err != nil {
		return err
	}
	var d rules.Decision
	if c.Call != "" {
		d, err = c.stored(ctx, con, cfg, r)
	} else {
		var f rules.Facts
		if f, err = c.hypothetical(cfg.Tracker(), r.Zone(), time.Now()); err != nil {
			err = usage(err)
		} else {
			if f.Contact == nil { // as it is in the address books
				book, problems := addressBook(cfg, false)
				for _, p := range problems {
					fmt.Fprintln(con.err, p)
				}
				f.Contact = book.Lookup(f.Call.Caller.Number)
				f.Known = f.Known || f.Contact != nil
			}
			d = r.Decide(f, f.Call.EndedAt)
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(d)
	}
	return d.WriteText(con.out, r.Zone())
}

// stored decides about a stored call as it was decided then, with what the calls before
// it tell. Replies and opt-outs are not among them.
func (c explainCmd) stored(ctx context.Context, con console, cfg *config.Config, r *rules.Rules) (d rules.Decision, err error) {
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err != nil {
		return d, err
	}
	defer nc.Close()
	var before []*pbx.Call
	var call *pbx.Call
	if err := bus.Calls(ctx, nc, time.Time{}, func(have *pbx.Call) bool {
		before = append(before, have)
		if have.ID == c.Call {
			call = have
		}
		return true
	}); err != nil {
		return d, err
	}
	if call == nil {
		return d, fmt.Errorf("no call %q is stored: 'textback calls' lists them", c.Call)
	}
	book, problems := addressBook(cfg, false)
	for _, p := range problems {
		fmt.Fprintln(con.err, p)
	}
	for _, v := range simulate.Run(r, simulate.Calls(before), time.Time{}, simulate.Options{Window: r.Window(), Contact: book.Lookup, GotThroughTalk: cfg.SMS.GotThroughTalk}) {
		if v.Call == call {
			return v.Decision, nil
		}
	}
	return r.Decide(rules.Facts{Call: call}, call.EndedAt), nil // not a missed call
}

func oneOf[T ~string](what, got string, words []T) error {
	for _, w := range words {
		if string(w) == got {
			return nil
		}
	}
	return fmt.Errorf("unknown %s %q (one of: %v)", what, got, words)
}

func (c explainCmd) hypothetical(t pbx.Config, zone *time.Location, now time.Time) (f rules.Facts, err error) {
	if c.Caller == "" || c.Outcome == "" {
		return f, errors.New("explain needs --caller and --outcome, or --call with a stored call's id")
	}
	if err := oneOf("outcome", c.Outcome, pbx.Outcomes); err != nil {
		return f, err
	}
	if c.Reason != "" {
		if err := oneOf("reason", c.Reason, pbx.Reasons); err != nil {
			return f, err
		}
	}
	if c.Attempts < 1 {
		return f, errors.New("--attempts counts this call: 1 is the first")
	}
	end := now
	if c.At != "" {
		if end, err = ruletest.Clock(c.At, now, zone); err != nil {
			return f, fmt.Errorf("--at: %w", err)
		}
	}
	certain := !c.Uncertain && c.Outcome != string(pbx.Unknown)
	call := ruletest.Hypothetical{Outcome: c.Outcome, Reason: c.Reason, Caller: c.Caller, Name: c.Name, Region: t.Region, Attestation: c.Attestation,
		Ring: c.Ring, Wait: c.Wait, QueueWait: c.QueueWait, Queue: c.Queue, Menu: c.Menu, Forwarded: c.Forwarded, MessageLeft: &c.Message,
		Certain: &certain, Tried: c.Tried, PBX: c.PBX, End: end}.Call()
	call.Site = t.Site
	call.Line = pbx.NewTracker(t).Line(c.Line)
	f = rules.Facts{Call: call, OptedOut: c.OptedOut, OnLine: c.OnLine, Known: c.Known || c.Contact != "" || c.Attempts > 1, Machine: c.Machine}
	if c.Contact != "" || len(c.Group) > 0 || c.VIP || c.DoNotText || c.Blocked || c.Language != "" {
		f.Contact, f.Known = &rules.Contact{Name: c.Contact, Groups: c.Group, VIP: c.VIP, Language: c.Language, DoNotText: c.DoNotText, Blocked: c.Blocked}, true
	}
	if f.Episode.Calls = c.Attempts - 1; f.Episode.Calls > 0 {
		f.Episode.OpenedAt = call.StartedAt
	}
	if c.TextedAgo > 0 {
		f.Known, f.Episode.FirstTextAt = true, end.Add(-c.TextedAgo)
	}
	if c.BreakerOpen {
		f.Down = "--breaker-open says so"
	}
	for key, v := range c.Spent {
		n, err := strconv.Atoi(v)
		switch key {
		case "caller":
			f.Spent.Caller = n
		case "prefix":
			f.Spent.Prefix = n
		case "minute":
			f.Spent.Minute = n
		case "segments":
			f.Spent.DaySegments = n
		case "money":
			err = f.Spent.DayMoney.Scalar(v)
		default:
			return f, fmt.Errorf("--spent %s: unknown budget (one of: caller, prefix, minute, segments, money)", key)
		}
		if err != nil || n < 0 {
			return f, fmt.Errorf("--spent %s=%s: want a number", key, v)
		}
	}
	return f, nil
}

// shown is a number for people: in full only when asked for.
func shown(c *pbx.Caller, full bool) string {
	switch {
	case c.Anonymous:
		return "withheld"
	case full && c.Number != "":
		return c.Number
	case full:
		return c.Raw
	}
	return number.Mask(c.Number)
}
