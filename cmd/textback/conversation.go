package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/sms"
)

// withNumber gives f a number as it is stored, NATS and the key of callers; without a number NATS alone.
func withNumber(ctx context.Context, con console, path, raw string, f func(ctx context.Context, nc *nats.Conn, key sms.Key, number string) error) error {
	if raw == "" {
		return withNATS(ctx, con, path, 2*time.Minute, func(ctx context.Context, _ *config.Config, nc *nats.Conn) error { return f(ctx, nc, nil, "") })
	}
	cfg, err := loadWiring(con, path)
	if err != nil {
		return err
	}
	number, err := e164(raw, cfg.Region)
	if err != nil {
		return err
	}
	return withKey(ctx, con, path, 2*time.Minute, func(ctx context.Context, _ *config.Config, nc *nats.Conn, key sms.Key) error {
		return f(ctx, nc, key, number)
	})
}

type repliesCmd struct {
	configFlag
	Number string `arg:"" optional:"" help:"Show the whole conversation with this number."`
	Since  days   `default:"7d" help:"How far back, without a number: 30d, 12h."`
	JSON   bool   `name:"json" help:"Print one text per line as JSON."`
}

// Run lists conversations that callers have written in, the newest last; or shows one.
func (c repliesCmd) Run(ctx context.Context, con console) error {
	return withNumber(ctx, con, c.Config, c.Number, func(ctx context.Context, nc *nats.Conn, key sms.Key, number string) error {
		who := ""
		if number != "" {
			who = key.Caller(number)
		}
		all, err := sms.Conversation(ctx, nc, who)
		if err != nil {
			return err
		}
		if c.JSON {
			enc := json.NewEncoder(con.out)
			for _, x := range all {
				if who != "" || time.Since(x.At) <= c.Since.Duration {
					if err := enc.Encode(x); err != nil {
						return err
					}
				}
			}
			return nil
		}
		if who != "" {
			printConversation(con, all, number)
			return nil
		}
		// One line a conversation: the last that they wrote, and how many.
		last, count, answered := map[string]*sms.Said{}, map[string]int{}, map[string]bool{}
		var order []string
		for _, x := range all {
			switch {
			case x.Way == sms.SaidIn && time.Since(x.At) <= c.Since.Duration:
				last[x.Caller], answered[x.Caller] = x, false
				count[x.Caller]++
			case x.Way == sms.SaidOut:
				answered[x.Caller] = true
			}
		}
		for _, x := range all {
			if last[x.Caller] == x {
				order = append(order, x.Caller)
			}
		}
		tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "LAST WROTE\tFROM\tTO\tTEXTS\tSAYS")
		for _, k := range order {
			x := last[k]
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\n", x.At.Local().Format("2006-01-02 15:04"), orDash(x.Number), orDash(x.Line), count[k], oneLine(says(x), 70))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		if len(order) == 0 {
			fmt.Fprintln(con.out, "nobody has written")
		}
		return nil
	})
}

func printConversation(con console, all []*sms.Said, number string) {
	if len(all) == 0 {
		fmt.Fprintln(con.out, "nothing is kept of a conversation with", number)
	}
	day := ""
	for _, x := range all {
		at := x.At.Local()
		if d := at.Format("Monday, 2 January 2006"); d != day {
			day = d
			fmt.Fprintln(con.out, d)
		}
		who := "they"
		switch x.Way {
		case sms.SaidOut:
			who = "we"
		case sms.SaidNote:
			who = "note"
		}
		// What strangers write shall not draw on the terminal: Received has taken control characters out.
		body := strings.ReplaceAll(says(x), "\n", "\n               ")
		fmt.Fprintf(con.out, "  %s  %-5s %s\n", at.Format("15:04"), who, body)
	}
}

func says(x *sms.Said) string {
	s := x.Body
	if x.Media > 0 {
		s = strings.TrimSpace(fmt.Sprintf("%s [%d pictures or files]", s, x.Media))
	}
	if x.Keyword != sms.NoKeyword {
		s += " (" + string(x.Keyword) + ")"
	}
	return s
}

func oneLine(s string, most int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return string(r)
}

type forgetCmd struct {
	configFlag
	Number string `arg:""`
	Yes    bool   `help:"Do not ask."`
}

// Run makes textback forget a number and says what it did.
func (c forgetCmd) Run(ctx context.Context, con console) error {
	return withNumber(ctx, con, c.Config, c.Number, func(ctx context.Context, nc *nats.Conn, key sms.Key, number string) error {
		if !c.Yes {
			fmt.Fprintf(con.out, "Forget all calls, texts and words of %s? This cannot be undone. [y/N] ", number)
			var answer string
			if _, err := fmt.Fscanln(con.in, &answer); err != nil || !strings.HasPrefix(strings.ToLower(answer), "y") {
				fmt.Fprintln(con.out, "nothing was done")
				return errNotOK
			}
		}
		did, err := sms.Forget(ctx, nc, key, number)
		if did != nil {
			fmt.Fprintf(con.out, "forgotten: %d calls, %d texts of conversations, words and number in %d jobs; %d planned were cancelled\n", did.Calls, did.Said, did.Texts, did.Cancelled)
		}
		if err != nil {
			return err
		}
		switch {
		case did.OptedOut && did.NumberInOptOut:
			fmt.Fprintln(con.out, "kept: the opt-out, with the number, because optouts.store is number and that list cannot be changed")
		case did.OptedOut:
			fmt.Fprintln(con.out, "kept: the opt-out, as a hash; without it they would be texted again")
		}
		fmt.Fprintln(con.out, "not reached from here: backups, the file of sms.transport: file, what the provider keeps, mail and webhooks to staff, and the PBX's own records")
		if did.Busy > 0 {
			fmt.Fprintf(con.out, "%d texts are with the provider or held: settle them ('textback texts --held'), then forget once more\n", did.Busy)
			return errNotOK
		}
		return nil
	})
}

type exportCmd struct {
	configFlag
	Number string `arg:""`
	Out    string `placeholder:"FILE" help:"Write to FILE, readable by you alone, in place of standard output."`
}

// Run prints all that is known of a number as JSON.
func (c exportCmd) Run(ctx context.Context, con console) error {
	return withNumber(ctx, con, c.Config, c.Number, func(ctx context.Context, nc *nats.Conn, key sms.Key, number string) error {
		k, err := sms.Export(ctx, nc, key, number)
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(k, "", "  ")
		if err != nil {
			return err
		}
		b = append(b, '\n')
		if c.Out != "" {
			return os.WriteFile(c.Out, b, 0o600)
		}
		_, err = con.out.Write(b)
		return err
	})
}
