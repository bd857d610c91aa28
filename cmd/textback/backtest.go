package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/rules"
	"textback/rules/simulate"
	"textback/rules/strict"
)

type backtestCmd struct {
	configFlag
	Since       days          `placeholder:"30d" help:"How far back: 30d, 12h. Without it 30 days of the daemon's calls, and all of those in files."`
	Rules       string        `placeholder:"NEW.yaml" help:"Other rules: what would differ is listed call by call."`
	From        []string      `placeholder:"FILE.jsonl" help:"Read calls from files (one CloudEvent a line, as 'textback calls --json' prints them) and not from the daemon; '-' is standard input. All of them count unless --since is given. Repeatable."`
	List        bool          `help:"List every missed call and what would become of it."`
	Office      bool          `help:"Beside it, what the office in fact did: called back, was reached by the caller, nobody. Tells how many texts were superfluous."`
	Soon        time.Duration `default:"15m" help:"With --office: a text is superfluous when its caller was reached within this time all the same."`
	ShowNumbers bool          `help:"Print phone numbers in full."`
	JSON        bool          `name:"json" help:"Print JSON."`
}

// days is a duration that may be given in days.
type days struct {
	time.Duration
	set bool
}

// UnmarshalText reads 30d, and whatever Go reads as a duration.
func (d *days) UnmarshalText(b []byte) (err error) {
	d.set = true
	if d.Duration, err = strict.Duration(string(b)); err != nil || d.Duration < 0 {
		return fmt.Errorf("%q is no time: write it like 30d or 12h", b)
	}
	return nil
}

// usualSince is how far back the daemon's calls are looked at unless --since says.
const usualSince = 30 * 24 * time.Hour

// Run puts stored calls through the rules, and through others, and tells what would
// have been sent. It sends nothing.
func (c backtestCmd) Run(ctx context.Context, con console) error {
	cfg, r, err := loadFiles(con, c.Config, config.LoadOpen)
	if err != nil {
		return err
	}
	calls, err := c.calls(ctx, con, cfg)
	if err != nil {
		return err
	}
	var since time.Time
	switch {
	case c.Since.set:
		since = time.Now().Add(-c.Since.Duration)
	case len(c.From) == 0:
		since = time.Now().Add(-usualSince)
	}
	book, problems := addressBook(cfg, false)
	for _, p := range problems {
		fmt.Fprintln(con.err, p)
	}
	options := func(r *rules.Rules) simulate.Options {
		return simulate.Options{Window: r.Window(), Contact: book.Lookup, GotThroughTalk: cfg.SMS.GotThroughTalk}
	}
	verdicts := func(r *rules.Rules) []*simulate.Verdict {
		// Those before count too: they tell who is known, and which episode is open.
		all := simulate.Run(r, simulate.Calls(calls), time.Time{}, options(r))
		return slices.DeleteFunc(all, func(v *simulate.Verdict) bool { return v.Call.EndedAt.Before(since) })
	}
	b := backtest{backtestCmd: c, zone: r.Zone(), old: verdicts(r)}
	if c.Rules != "" {
		other, problems := rules.Load(c.Rules)
		for _, p := range problems {
			fmt.Fprintln(con.err, p)
		}
		if other == nil {
			return errNotOK
		}
		b.now = verdicts(other)
		b.diff = simulate.Diff(b.old, b.now, r.Zone())
	}
	b.best = b.old
	if b.now != nil {
		b.best = b.now
	}
	if c.Office {
		b.facts = simulate.Office(b.best, calls, c.Soon, options(r))
	}
	if c.JSON {
		return b.json(con.out)
	}
	return b.print(con.out)
}

// calls are the stored ones, or those of files.
func (c backtestCmd) calls(ctx context.Context, con console, cfg *config.Config) (calls []*pbx.Call, err error) {
	if len(c.From) == 0 {
		nc, err := openNATS(ctx, cfg, bus.Admin)
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		err = bus.Calls(ctx, nc, time.Time{}, func(call *pbx.Call) bool {
			calls = append(calls, call)
			return true
		})
		return calls, err
	}
	for _, name := range c.From {
		in := con.in
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in = f
		}
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			if len(strings.TrimSpace(lines.Text())) == 0 {
				continue
			}
			call, err := event.Decode(lines.Bytes())
			if err != nil {
				return nil, fmt.Errorf("%s:%d: no call event: %w", name, n, err)
			}
			if call.EndedAt.IsZero() {
				return nil, fmt.Errorf("%s:%d: this call has not ended", name, n)
			}
			calls = append(calls, call)
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(calls) == 0 {
		return nil, errors.New("there is not a single call")
	}
	slices.SortStableFunc(calls, func(a, b *pbx.Call) int { return a.EndedAt.Compare(b.EndedAt) })
	// The same call twice, as where files overlap, is one call.
	seen := map[string]bool{}
	return slices.DeleteFunc(calls, func(c *pbx.Call) bool {
		id := event.ID(c)
		was := seen[id]
		seen[id] = true
		return was
	}), nil
}

// backtest is what came out.
type backtest struct {
	backtestCmd
	zone  *time.Location
	old   []*simulate.Verdict // by the rules in force
	now   []*simulate.Verdict // by others; nil: none
	best  []*simulate.Verdict // what is listed: by the others if there are any
	diff  []simulate.Difference
	facts []simulate.Fact
}

func (b *backtest) print(w io.Writer) error {
	bw := bufio.NewWriter(w)
	sum := simulate.Sum(b.best)
	if len(b.best) == 0 {
		fmt.Fprintln(bw, "no missed calls in this time")
		return bw.Flush()
	}
	day := func(v *simulate.Verdict) string { return v.Call.EndedAt.In(b.zone).Format("Mon 2 Jan 2006") }
	fmt.Fprintf(bw, "%d missed calls, %s to %s\n", sum.Missed, day(b.best[0]), day(b.best[len(b.best)-1]))
	if b.now == nil {
		b.sums(bw, "", sum)
	} else {
		b.sums(bw, "in force: ", simulate.Sum(b.old))
		b.sums(bw, "new:      ", sum)
	}
	b.counts(bw, sum)
	if b.facts != nil {
		b.office(bw)
	}
	if b.List {
		fmt.Fprintln(bw)
		tw := tabwriter.NewWriter(bw, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "ENDED\tCALLER\tOUTCOME\tRULE\tWHAT"+map[bool]string{true: "\tTHE OFFICE"}[b.facts != nil])
		for i, v := range b.best {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s", b.at(v), shown(&v.Call.Caller, b.ShowNumbers), v.Call.Outcome, dash(v.Decision.Rule), v.Says(b.zone))
			if b.facts != nil {
				fmt.Fprintf(tw, "\t%s", did(b.facts[i]))
			}
			fmt.Fprintln(tw)
		}
		_ = tw.Flush()
	}
	if b.now != nil {
		fmt.Fprintf(bw, "\n%d of %d calls differ\n", len(b.diff), len(b.old))
		for _, d := range b.diff {
			fmt.Fprintf(bw, "%s  %s  %s, call %s\n  in force  %s: %s\n  new       %s: %s\n", b.at(d.Old), shown(&d.Call.Caller, b.ShowNumbers), d.Call.Outcome, d.Call.ID,
				dash(d.Old.Decision.Rule), d.OldSays, dash(d.New.Decision.Rule), d.NewSays)
		}
	}
	return bw.Flush()
}

func (b *backtest) at(v *simulate.Verdict) string {
	return v.Call.EndedAt.In(b.zone).Format("2006-01-02 15:04")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (b *backtest) sums(w io.Writer, what string, s simulate.Report) {
	people, cost := "people", "cost "+s.Cost.String()
	if s.People == 1 {
		people = "person"
	}
	if s.Cost == 0 && s.Segments > 0 {
		cost = "at a cost that guards.prices does not tell"
	}
	fmt.Fprintf(w, "%s%d texts and %d follow-ups to %d %s, %d segments, %s, %d tasks (rules version %s)\n",
		what, s.Texts, s.FollowUps, s.People, people, s.Segments, cost, s.Tasks, s.Version)
}

func (b *backtest) counts(w io.Writer, s simulate.Report) {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "RULE\tCALLS\tTEXTS\tSEGMENTS\tCOST")
	for _, n := range s.Rules {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%s\n", n.Rule, n.Calls, n.Texts, n.Segments, n.Cost)
	}
	_ = tw.Flush()
	if len(s.Not) == 0 {
		return
	}
	fmt.Fprintln(w)
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NO TEXT\tCALLS")
	why := slices.Sorted(maps.Keys(s.Not))
	slices.SortStableFunc(why, func(x, y string) int { return s.Not[y] - s.Not[x] })
	for _, y := range why {
		fmt.Fprintf(tw, "%s\t%d\n", y, s.Not[y])
	}
	_ = tw.Flush()
}

// office sums up what the office did.
func (b *backtest) office(w io.Writer) {
	after := map[string][]time.Duration{}
	texts, superfluous, alone := 0, 0, 0
	for _, f := range b.facts {
		after[f.What] = append(after[f.What], f.After)
		if t := f.Verdict.Text(); t == nil || t.State != simulate.Sent {
			continue
		}
		texts++
		if f.Superfluous {
			superfluous++
		}
		if f.What == simulate.Nobody || f.What == simulate.Tried {
			alone++
		}
	}
	median := func(what string) string {
		list := after[what]
		if len(list) == 0 {
			return ""
		}
		slices.Sort(list)
		return fmt.Sprintf(" (half of them within %s)", strict.Short(list[len(list)/2].Round(time.Second)))
	}
	fmt.Fprintf(w, "\nWhat the office did, within a day:\n")
	fmt.Fprintf(w, "  called back and talked     %d%s\n", len(after[simulate.CalledBack]), median(simulate.CalledBack))
	fmt.Fprintf(w, "  the caller got through     %d%s\n", len(after[simulate.GotThrough]), median(simulate.GotThrough))
	fmt.Fprintf(w, "  called, reached nobody     %d%s\n", len(after[simulate.Tried]), median(simulate.Tried))
	fmt.Fprintf(w, "  nothing                    %d\n", len(after[simulate.Nobody]))
	fmt.Fprintf(w, "Of %d texts, %d would have been superfluous: the caller was reached within %s all the same. %d would have gone to people whom nobody spoke to within a day.\n",
		texts, superfluous, strict.Short(b.Soon), alone)
}

func did(f simulate.Fact) string {
	after := strict.Short(f.After.Round(time.Second))
	s := map[string]string{simulate.CalledBack: "called back after " + after, simulate.GotThrough: "the caller got through after " + after,
		simulate.Tried: "called after " + after + ", reached nobody", simulate.Nobody: "nothing"}[f.What]
	if f.Superfluous {
		s += " (text superfluous)"
	}
	return s
}

// The JSON of backtest.
type (
	backtestJSON struct {
		Sum         simulate.Report  `json:"sum"`
		New         *simulate.Report `json:"new,omitempty"` // with --rules
		Calls       []callJSON       `json:"calls"`         // by the new rules if there are any
		Differences []diffJSON       `json:"differences,omitempty"`
	}
	callJSON struct {
		Call       string     `json:"call"`
		EndedAt    time.Time  `json:"ended_at"`
		Caller     string     `json:"caller"`
		Outcome    string     `json:"outcome"`
		Rule       string     `json:"rule,omitempty"`
		Suppressed string     `json:"suppressed,omitempty"`
		Steps      []stepJSON `json:"steps"`
		Office     string     `json:"office,omitempty"`
		After      float64    `json:"office_after_seconds,omitempty"`
		Needless   bool       `json:"superfluous,omitempty"`
	}
	stepJSON struct {
		Kind     string      `json:"kind"`
		State    string      `json:"state"`
		DueAt    time.Time   `json:"due_at"`
		At       time.Time   `json:"at,omitzero"`
		Why      string      `json:"why,omitempty"`
		Message  string      `json:"message,omitempty"`
		Body     string      `json:"body,omitempty"`
		Segments int         `json:"segments,omitempty"`
		Cost     rules.Money `json:"cost_micros,omitempty"`
		Owner    string      `json:"owner,omitempty"`
		Deadline time.Time   `json:"deadline,omitzero"`
		Staff    string      `json:"staff,omitempty"`
	}
	diffJSON struct {
		Call    string `json:"call"`
		OldRule string `json:"old_rule,omitempty"`
		NewRule string `json:"new_rule,omitempty"`
		Old     string `json:"old"`
		New     string `json:"new"`
	}
)

func (b *backtest) json(w io.Writer) error {
	out := backtestJSON{Sum: simulate.Sum(b.old), Calls: []callJSON{}}
	if b.now != nil {
		s := simulate.Sum(b.now)
		out.New = &s
	}
	for i, v := range b.best {
		c := callJSON{Call: event.ID(v.Call), EndedAt: v.Call.EndedAt.UTC(), Caller: shown(&v.Call.Caller, b.ShowNumbers), Outcome: string(v.Call.Outcome),
			Rule: v.Decision.Rule, Suppressed: v.Decision.Suppressed, Steps: []stepJSON{}}
		for _, s := range v.Steps {
			j := stepJSON{Kind: s.Kind, State: string(s.State), DueAt: s.DueAt.UTC(), At: s.At.UTC(), Why: s.Why, Message: s.Message, Body: s.Body,
				Segments: s.Segments, Cost: s.Cost, Staff: s.Staff}
			if s.Task != nil {
				j.Owner, j.Deadline = s.Task.Owner, s.Task.Deadline.UTC()
			}
			c.Steps = append(c.Steps, j)
		}
		if b.facts != nil {
			c.Office, c.After, c.Needless = b.facts[i].What, b.facts[i].After.Seconds(), b.facts[i].Superfluous
		}
		out.Calls = append(out.Calls, c)
	}
	for _, d := range b.diff {
		out.Differences = append(out.Differences, diffJSON{event.ID(d.Call), d.Old.Decision.Rule, d.New.Decision.Rule, d.OldSays, d.NewSays})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}
