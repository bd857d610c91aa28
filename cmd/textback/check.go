package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
)

type checkCmd struct {
	configFlag
	JSON  bool `name:"json" help:"Print JSON on standard output, one problem a line: nothing is wrong where nothing comes."`
	Calls bool `help:"Hold the rules against the stored calls, and fail when the daemon cannot be asked for them. Otherwise that is done where it answers at once."`
}

// Run reads all configuration as serve would and prints every problem: what one file has wrong keeps
// nothing back of the other, nor of the address books.
func (c checkCmd) Run(ctx context.Context, con console) error {
	cfg, r, problems := readFiles(c.Config, config.Load)
	sound := !slices.ContainsFunc(problems, func(p config.Problem) bool { return !p.Warning })
	book, more := addressBook(cfg, true)
	problems = append(problems, more...)
	problems = append(problems, across(cfg, r)...)
	problems = append(problems, unreadable(c.Config, cfg, r)...)
	// Of a list of rules with holes nothing can be said that stays true once they are mended.
	if r != nil && r.Sure("") {
		var seen rules.Seen
		if sound {
			var err error
			if seen, err = c.seen(ctx, cfg); err != nil {
				c.print(con, problems)
				return err
			}
		} else if cfg.Sure("lines") {
			seen.Lines = configured(cfg)
		}
		problems = append(problems, r.Lint(time.Now(), seen)...)
	}
	if c.print(con, problems) > 0 || r == nil {
		return errNotOK
	}
	if c.JSON {
		return nil
	}
	fmt.Fprintf(con.out, "%s and %s are fine (rules version %s)\n", c.Config, cfg.Rules, r.Version())
	if n := book.Len(); n > 0 {
		fmt.Fprintf(con.out, "%d numbers are in the address books\n", n)
	}
	return nil
}

// print is printed, for people or programs.
func (c checkCmd) print(con console, problems []config.Problem) (bad int) {
	if !c.JSON {
		return printed(con, problems)
	}
	enc := lines(con.out)
	for _, p := range problems {
		level := "warning"
		if !p.Warning {
			level = "error"
			bad++
		}
		_ = enc.Encode(struct {
			File   string `json:"file"`
			Line   int    `json:"line,omitempty"` // of the whole file without one
			Column int    `json:"column,omitempty"`
			Level  string `json:"level"` // error, warning
			Text   string `json:"text"`
		}{p.File, p.Line, p.Col, level, p.Text})
	}
	return bad
}

// Where the service's unit is looked for, and whether all files can be read here.
var (
	unitRoot = "/"
	isRoot   = func() bool { return os.Geteuid() == 0 && os.Getenv("CREDENTIALS_DIRECTORY") == "" }
)

// unreadable warns of what root, who checks, can read and the service cannot, where systemd will
// run it by this configuration.
func unreadable(path string, cfg *config.Config, r *rules.Rules) []config.Problem {
	s := config.InstalledService(unitRoot)
	if s == nil || s.Config != path || !isRoot() {
		return nil
	}
	var beside []string
	if r != nil {
		beside = r.Files()
	}
	return cfg.Unreadable(s, beside)
}

// configured are the lines of textback.yaml, by all that they are called.
func configured(cfg *config.Config) (all []pbx.Line) {
	for _, l := range cfg.Lines {
		all = append(all, pbx.Line{Number: l.Number, Name: l.Name})
		for _, d := range l.Dialed {
			all = append(all, pbx.Line{Number: l.Number, Name: l.Name, Raw: d})
		}
	}
	return all
}

// glance is how long a check may look for stored calls that nobody asked for.
var glance = time.Second

// seen gathers which lines and queues there are.
func (c checkCmd) seen(ctx context.Context, cfg *config.Config) (rules.Seen, error) {
	lines := configured(cfg)
	plain, full := rules.Seen{Lines: lines}, rules.Seen{Lines: lines}
	patience := time.Minute
	if !c.Calls {
		// A check is asked for often, also where no daemon runs: not answered, not said.
		patience = glance
		if cfg.NATS.URL == "" {
			conn, err := net.DialTimeout("tcp", cfg.NATS.Listen, patience)
			if err != nil {
				return plain, nil
			}
			conn.Close()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err == nil {
		defer nc.Close()
		err = bus.Calls(ctx, nc, time.Time{}, func(call *pbx.Call) bool {
			full.Call(call)
			return true
		})
	}
	switch {
	case err == nil:
		return full, nil
	case c.Calls:
		return plain, err
	}
	return plain, nil // not a part of the calls: what is not in it may be in the rest
}
