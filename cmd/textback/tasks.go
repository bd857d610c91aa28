package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/sms"
)

type tasksCmd struct {
	configFlag
	All   bool   `help:"Those that are done or cancelled too, and those still to come."`
	Owner string `help:"Only those of this member of staff."`
	Done  string `placeholder:"TASK" help:"Somebody has called back: end this task. One that is still to come is cancelled."`
	By    string `default:"admin" help:"With --done: who did."`
	JSON  bool   `name:"json" help:"Print JSON, one task a line."`
}

// Run lists the callbacks that are owed, or ends one.
func (c tasksCmd) Run(ctx context.Context, con console) error {
	return withNATS(ctx, con, c.Config, 30*time.Second, func(ctx context.Context, cfg *config.Config, nc *nats.Conn) error {
		if c.Done != "" {
			return sms.End(ctx, nc, c.Done, c.By, cfg.Keep())
		}
		return c.list(ctx, con, nc)
	})
}

func (c tasksCmd) list(ctx context.Context, con console, nc *nats.Conn) error {
	var tasks []*sms.Job
	err := sms.Jobs(ctx, nc, func(j *sms.Job) {
		if j.Kind == sms.Task && (c.All || j.State == sms.Waiting) && (c.Owner == "" || j.TaskOwner == c.Owner) {
			tasks = append(tasks, j)
		}
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(tasks, func(a, b *sms.Job) int { return a.Deadline.Compare(b.Deadline) })
	if c.JSON {
		enc := json.NewEncoder(con.out)
		for _, j := range tasks {
			if err := enc.Encode(j); err != nil {
				return err
			}
		}
		return nil
	}
	if len(tasks) == 0 {
		fmt.Fprintln(con.out, "no callback is owed")
		return nil
	}
	tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "UNTIL\tCALL BACK\tLINE\tOWNER\tSTATE\tWHY\tTASK")
	for _, j := range tasks {
		state := string(j.State)
		if j.Late && j.State == sms.Waiting {
			state = "LATE"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.Deadline.Local().Format("2006-01-02 15:04"), orDash(j.To), orDash(j.Line), orDash(j.TaskOwner), state, orDash(j.Because), j.ID)
	}
	return tw.Flush()
}
