package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/number"
	"textback/rules"
)

type checkCmd struct{ configFlag }

// Run reads all configuration as serve would and prints every problem.
func (c checkCmd) Run(con console) error {
	cfg, r, err := loadConfig(con, c.Config)
	if err != nil {
		return err
	}
	book, err := checkContacts(con, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(con.out, "%s and %s are fine (rules version %s)\n", c.Config, cfg.Rules, r.Version())
	if len(cfg.Contacts.Files) > 0 {
		fmt.Fprintf(con.out, "%d numbers are in the address books\n", book.Len())
	}
	return nil
}

type explainCmd struct {
	configFlag
	Call    string        `placeholder:"ID" help:"A stored call, as 'textback calls' shows it."`
	Caller  string        `help:"Caller's number."`
	Name    string        `help:"Caller's name as the PBX shows it."`
	Line    string        `help:"The line called: its number, or what the trunk dials."`
	Outcome string        `help:"One of answered, voicemail, abandoned, unattended, declined, rang_out, busy, unreachable, unknown."`
	Reason  string        `help:"Why nobody answered; the default follows from the outcome."`
	Ring    time.Duration `help:"How long phones rang." default:"20s"`
	Wait    time.Duration `help:"How long the caller waited; the default is the ring time."`
	Queue   string        `help:"The queue the caller waited in."`
	Message bool          `help:"The caller left a voicemail message."`
	At      string        `help:"When the call ended: RFC 3339, or 15:04 today at the office; the default is now."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Run tells what would become of a call, and why. It sends nothing.
func (c explainCmd) Run(ctx context.Context, con console) error {
	cfg, r, err := loadFiles(con, c.Config, config.LoadOpen)
	if err != nil {
		return err
	}
	now := time.Now()
	var call *pbx.Call
	if c.Call != "" {
		nc, err := openNATS(ctx, cfg, bus.Admin)
		if err != nil {
			return err
		}
		defer nc.Close()
		if err := bus.Calls(ctx, nc, time.Time{}, func(have *pbx.Call) bool {
			if have.ID == c.Call {
				call = have
			}
			return call == nil
		}); err != nil {
			return err
		}
		if call == nil {
			return fmt.Errorf("no call %q is stored: 'textback calls' lists them", c.Call)
		}
		now = call.EndedAt // as it was decided then
	} else if call, err = c.hypothetical(cfg.Tracker(), r.Zone(), now); err != nil {
		return err
	} else {
		now = call.EndedAt
	}
	d := r.Decide(rules.Facts{Call: call}, now)
	if c.JSON {
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(d)
	}
	return d.WriteText(con.out, r.Zone())
}

func (c explainCmd) hypothetical(t pbx.Config, zone *time.Location, now time.Time) (*pbx.Call, error) {
	if c.Caller == "" || c.Outcome == "" {
		return nil, errors.New("explain needs --caller and --outcome, or --call with a stored call's id")
	}
	call := &pbx.Call{ID: "hypothetical", Site: t.Site, Direction: pbx.Inbound, State: pbx.StateEnded, Certain: true, EndedAt: now, Ring: c.Ring, Wait: c.Wait}
	if call.Wait == 0 {
		call.Wait = c.Ring
	}
	for _, o := range pbx.Outcomes {
		if string(o) == c.Outcome {
			call.Outcome = o
		}
	}
	if call.Outcome == "" {
		return nil, fmt.Errorf("unknown outcome %q (one of: %v)", c.Outcome, pbx.Outcomes)
	}
	switch call.Outcome {
	case pbx.Answered, pbx.Unknown:
		call.Certain = call.Outcome == pbx.Answered
	case pbx.Abandoned:
		call.Reason = pbx.ReasonCallerHungUp
	case pbx.Unattended:
		call.Reason = pbx.ReasonNotTried
	case pbx.Voicemail:
		call.Reason = pbx.ReasonRangOut
		left := c.Message
		call.Voicemail = &pbx.Mailbox{MessageLeft: &left}
	default:
		call.Reason = pbx.Reason(call.Outcome)
	}
	if c.Reason != "" {
		call.Reason = ""
		for _, r := range pbx.Reasons {
			if string(r) == c.Reason {
				call.Reason = r
			}
		}
		if call.Reason == "" {
			return nil, fmt.Errorf("unknown reason %q (one of: %v)", c.Reason, pbx.Reasons)
		}
	}
	if c.Queue != "" {
		call.Queue = &pbx.Queue{Name: c.Queue, Wait: call.Wait}
	}
	if c.At != "" {
		at, err := time.Parse(time.RFC3339, c.At)
		if err != nil {
			clock, cerr := time.Parse("15:04", c.At)
			if cerr != nil {
				return nil, fmt.Errorf("--at %q: want 2026-11-23T18:30:00-05:00 or 18:30", c.At)
			}
			day := now.In(zone)
			at = time.Date(day.Year(), day.Month(), day.Day(), clock.Hour(), clock.Minute(), 0, 0, zone)
		}
		call.EndedAt = at
	}
	call.StartedAt = call.EndedAt.Add(-call.Wait)
	n := number.Parse(c.Caller, t.Region)
	call.Caller = pbx.Caller{Number: n.E164, Raw: c.Caller, Name: c.Name, Anonymous: n.Kind == number.Anonymous}
	call.Line = pbx.NewTracker(t).Line(c.Line)
	return call, nil
}
