package main

import (
	"context"
	"fmt"
	"time"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/rules"
)

type checkCmd struct {
	configFlag
	Calls bool `help:"Hold the rules against the stored calls too; it is an error when the daemon's NATS does not answer. Without this flag they are looked at where NATS answers at once."`
}

// Run reads all configuration as serve would and prints every problem.
func (c checkCmd) Run(ctx context.Context, con console) error {
	cfg, r, err := loadConfig(con, c.Config)
	if err != nil {
		return err
	}
	seen := rules.Seen{}
	for _, l := range cfg.Lines {
		seen.Lines = append(seen.Lines, pbx.Line{Number: l.Number, Name: l.Name})
	}
	// Stored calls tell which lines and queues there are. A check is asked for often, also where
	// no daemon runs: not reached, not said.
	nctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !c.Calls {
		nctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
	}
	if nc, err := openNATS(nctx, cfg, bus.Admin); err == nil {
		defer nc.Close()
		err = bus.Calls(nctx, nc, time.Time{}, func(call *pbx.Call) bool {
			seen.Call(call)
			return true
		})
		if err != nil && c.Calls {
			return err
		}
	} else if c.Calls {
		return err
	}
	for _, p := range r.Lint(time.Now(), seen) {
		fmt.Fprintln(con.err, p)
	}
	fmt.Fprintf(con.out, "%s and %s are fine (rules version %s)\n", c.Config, cfg.Rules, r.Version())
	return nil
}
