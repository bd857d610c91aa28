package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/pbx/number"
	"textback/rules"
	"textback/rules/ruletest"
	"textback/rules/simulate"
	"textback/sms"
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

	Attempts    *int              `placeholder:"N" help:"The how-many-th missed call of this caller's episode it is; by default the first, or the next that the daemon knows of."`
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

	Offline bool `help:"Do not ask the daemon what it knows of the caller."`

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
	if c.Call != "" {
		return c.explainStored(ctx, con, cfg, r)
	}
	f, err := c.hypothetical(cfg.Tracker(), r.Zone(), time.Now())
	if err != nil {
		return usage(err)
	}
	if f.Contact == nil { // as it is in the address books
		book, problems := addressBook(cfg, false)
		for _, p := range problems {
			fmt.Fprintln(con.err, p)
		}
		f.Contact = book.Lookup(f.Call.Caller.Number)
		f.Known = f.Known || f.Contact != nil
	}
	f.Ours = cfg.Own()(f.Call.Caller.Number)
	err = c.present(ctx, cfg, r, &f)
	d := r.Decide(f, f.Call.EndedAt)
	note := "What is said of the caller and the budgets is how they are now, as the daemon has it."
	if err != nil {
		d.NotAsked(c.unasked()...)
		note = "Nobody was asked what stands behind a question mark: " + err.Error() + "."
	}
	if c.JSON {
		return printJSON(con, d)
	}
	if err := d.WriteText(con.out, r.Zone()); err != nil {
		return err
	}
	fmt.Fprintln(con.out, note)
	return nil
}

func printJSON(con console, v any) error {
	enc := json.NewEncoder(con.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// aboutNow is how far from now a call may have ended about which the daemon's present says something.
const aboutNow = 15 * time.Minute

// present completes f with what the daemon knows of the caller now. What the command
// line says counts more.
func (c explainCmd) present(ctx context.Context, cfg *config.Config, r *rules.Rules, f *rules.Facts) error {
	if c.Offline {
		return errors.New("--offline")
	}
	if now := time.Now(); f.Call.EndedAt.Before(now.Add(-aboutNow)) || f.Call.EndedAt.After(now.Add(aboutNow)) {
		return errors.New("--at is another time than now")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err != nil {
		return err
	}
	defer nc.Close()
	key, err := sms.LoadKey(cfg.StateDir)
	if err == nil {
		err = key.Fits(ctx, nc)
	}
	if err != nil {
		return err
	}
	outs, err := sms.OpenOptOuts(ctx, nc, key, "") // to read is enough: no copy
	if err != nil {
		return err
	}
	var ways []sms.Way
	for _, name := range cfg.SMS.Transport {
		ways = append(ways, sms.Way{Name: name, Regions: cfg.SMS.Regions[name]})
	}
	s, err := sms.NewSender(sms.SenderOptions{NC: nc, Site: cfg.Site, Key: key, OptOuts: outs, Ways: ways, Rules: func() sms.Decider { return r }})
	if err != nil {
		return err
	}
	is := rules.Facts{Call: f.Call, Contact: f.Contact}
	if err := s.Present(ctx, &is); err != nil {
		return err
	}
	f.OptedOut, f.OnLine, f.Known = f.OptedOut || is.OptedOut, f.OnLine || is.OnLine, f.Known || is.Known
	f.GotThrough, f.CalledBack, f.Replied = is.GotThrough, is.CalledBack, is.Replied
	if f.Machine == "" {
		f.Machine = is.Machine
	}
	if f.Down == "" {
		f.Down = is.Down
	}
	said, e := f.Episode, is.Episode
	if c.Attempts != nil {
		e.OpenedAt, e.Calls = said.OpenedAt, said.Calls
	}
	if c.TextedAgo > 0 {
		e.FirstTextAt, e.LastTextAt = said.FirstTextAt, time.Time{}
	}
	f.Episode = e
	for name, of := range budgetFlags {
		if _, said := c.Spent[name]; !said {
			of.take(&f.Spent, &is.Spent)
		}
	}
	return nil
}

// budgetFlags are the budgets of --spent.
var budgetFlags = map[string]struct {
	guard string
	take  func(to, from *rules.Spent)
}{
	"caller":   {rules.BudgetCaller, func(to, from *rules.Spent) { to.Caller = from.Caller }},
	"prefix":   {rules.BudgetPrefix, func(to, from *rules.Spent) { to.Prefix = from.Prefix }},
	"minute":   {rules.BudgetMinute, func(to, from *rules.Spent) { to.Minute = from.Minute }},
	"segments": {rules.BudgetDay, func(to, from *rules.Spent) { to.DaySegments = from.DaySegments }},
	"money":    {rules.BudgetMoney, func(to, from *rules.Spent) { to.DayMoney = from.DayMoney }},
}

// unasked are the guards about which the command line says nothing and the daemon was not asked.
func (c explainCmd) unasked() []string {
	names := []string{rules.Reached, rules.CalledBack}
	for guard, said := range map[string]bool{rules.SaidStop: c.OptedOut, rules.Machine: c.Machine != "", rules.Breaker: c.BreakerOpen, rules.OnLine: c.OnLine, rules.Duplicate: c.TextedAgo > 0} {
		if !said {
			names = append(names, guard)
		}
	}
	for name, of := range budgetFlags {
		if _, said := c.Spent[name]; !said {
			names = append(names, of.guard)
		}
	}
	return names
}

// explainStored tells of a stored call what was decided and became of it, and what
// would be decided by the rules as they are.
func (c explainCmd) explainStored(ctx context.Context, con console, cfg *config.Config, r *rules.Rules) error {
	d, jobs, err := c.stored(ctx, con, cfg, r)
	if err != nil {
		return err
	}
	if c.JSON {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		more, err := json.Marshal(jobs)
		if err != nil {
			return err
		}
		// A decision's members, and one more.
		return printJSON(con, json.RawMessage(string(b[:len(b)-1])+`,"stored":`+string(more)+"}"))
	}
	writeJobs(con.out, jobs, r.Zone())
	fmt.Fprintln(con.out, "\nBy the rules as they are now:")
	return d.WriteText(con.out, r.Zone())
}

// writeJobs tells what was decided about a call and became of it.
func writeJobs(w io.Writer, jobs []*sms.Job, zone *time.Location) {
	if len(jobs) == 0 {
		fmt.Fprintln(w, "Of what was decided about this call nothing is stored: it was not missed, nobody planned its text yet, or it is longer ago than texts are kept.")
		return
	}
	fmt.Fprintln(w, "What was decided, and became of it:")
	for _, j := range jobs {
		what := "text"
		switch {
		case j.Kind == sms.Task:
			what = "callback"
		case j.FollowUp:
			what = "follow-up"
		}
		fmt.Fprintf(w, "  %s %s: %s", what, j.ID, j.State)
		if j.Why != "" {
			fmt.Fprintf(w, " (%s)", j.Why)
		}
		if j.Because != "" {
			fmt.Fprintf(w, ": %s", j.Because)
		}
		fmt.Fprintf(w, "\n    by rule %q, rules version %s, decided %s", j.Rule, orDash(j.RulesVersion), j.CreatedAt.In(zone).Format("Mon 2 Jan 15:04:05 MST"))
		if j.UpdatedAt.After(j.CreatedAt) {
			fmt.Fprintf(w, ", last changed %s", j.UpdatedAt.In(zone).Format("Mon 2 Jan 15:04:05 MST"))
		}
		fmt.Fprintln(w)
		if j.Attempt > 0 {
			attempts := "attempts"
			if j.Attempt == 1 {
				attempts = "attempt"
			}
			fmt.Fprintf(w, "    %d %s, by %s", j.Attempt, attempts, orDash(j.Transport))
			if j.ProviderCode != "" {
				fmt.Fprintf(w, ", the provider's code %s", j.ProviderCode)
			}
			if j.ProviderID != "" {
				fmt.Fprintf(w, ", its id %s", j.ProviderID)
			}
			if j.Delivery != "" {
				fmt.Fprintf(w, ", %s", j.Delivery)
			}
			fmt.Fprintln(w)
		}
	}
}

// stored decides about a stored call as it was decided then, with what the calls before
// it tell. Replies and opt-outs are not among them.
func (c explainCmd) stored(ctx context.Context, con console, cfg *config.Config, r *rules.Rules) (d rules.Decision, jobs []*sms.Job, err error) {
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err != nil {
		return d, nil, err
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
		return d, nil, err
	}
	if call == nil {
		return d, nil, fmt.Errorf("no call %q is stored: 'textback calls' lists them", c.Call)
	}
	jobs = []*sms.Job{}
	if err := sms.Jobs(ctx, nc, func(j *sms.Job) {
		if j.Call == event.ID(call) && (j.Kind == sms.Text || j.Kind == sms.Task) {
			jobs = append(jobs, j)
		}
	}); err != nil {
		return d, nil, err
	}
	slices.SortStableFunc(jobs, func(a, b *sms.Job) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID)) })
	book, problems := addressBook(cfg, false)
	for _, p := range problems {
		fmt.Fprintln(con.err, p)
	}
	for _, v := range simulate.Run(r, simulate.Calls(before), time.Time{}, simulate.Options{Window: r.Window(), Contact: book.Lookup, GotThroughTalk: cfg.SMS.GotThroughTalk, Own: cfg.Own()}) {
		if v.Call == call {
			d = v.Decision
			d.NotAsked(rules.SaidStop, rules.Machine, rules.Breaker) // calls do not tell
			return d, jobs, nil
		}
	}
	return r.Decide(rules.Facts{Call: call}, call.EndedAt), jobs, nil // not a missed call
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
	attempts := 1
	if c.Attempts != nil {
		attempts = *c.Attempts
	}
	if attempts < 1 {
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
	f = rules.Facts{Call: call, OptedOut: c.OptedOut, OnLine: c.OnLine, Known: c.Known || c.Contact != "" || attempts > 1, Machine: c.Machine}
	if c.Contact != "" || len(c.Group) > 0 || c.VIP || c.DoNotText || c.Blocked || c.Language != "" {
		f.Contact, f.Known = &rules.Contact{Name: c.Contact, Groups: c.Group, VIP: c.VIP, Language: c.Language, DoNotText: c.DoNotText, Blocked: c.Blocked}, true
	}
	if f.Episode.Calls = attempts - 1; f.Episode.Calls > 0 {
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
