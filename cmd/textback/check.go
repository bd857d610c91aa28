package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
)

type checkCmd struct {
	configFlag
	Calls bool `help:"Hold the rules against the stored calls, and fail when the daemon cannot be asked for them. Otherwise that is done where it answers at once."`
}

// Run reads all configuration as serve would and prints every problem.
func (c checkCmd) Run(ctx context.Context, con console) error {
	cfg, r, err := loadConfig(con, c.Config)
	if err != nil {
		return err
	}
	book, problems := addressBook(cfg, true)
	seen, err := c.seen(ctx, cfg)
	if err != nil {
		return err
	}
	bad := false
	for _, p := range slices.Concat(problems, across(cfg, r), r.Lint(time.Now(), seen)) {
		fmt.Fprintln(con.err, p)
		bad = bad || !p.Warning
	}
	if bad {
		return errNotOK
	}
	fmt.Fprintf(con.out, "%s and %s are fine (rules version %s)\n", c.Config, cfg.Rules, r.Version())
	if n := book.Len(); n > 0 {
		fmt.Fprintf(con.out, "%d numbers are in the address books\n", n)
	}
	return nil
}

// seen gathers which lines and queues there are.
func (c checkCmd) seen(ctx context.Context, cfg *config.Config) (rules.Seen, error) {
	var configured []pbx.Line
	for _, l := range cfg.Lines {
		configured = append(configured, pbx.Line{Number: l.Number, Name: l.Name})
		for _, d := range l.Dialed {
			configured = append(configured, pbx.Line{Number: l.Number, Name: l.Name, Raw: d})
		}
	}
	plain, full := rules.Seen{Lines: configured}, rules.Seen{Lines: configured}
	patience := time.Minute
	if !c.Calls {
		// A check is asked for often, also where no daemon runs: not answered, not said.
		patience = time.Second
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
