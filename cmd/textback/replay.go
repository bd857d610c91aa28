package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/event"
)

type replayCmd struct {
	JSON    bool     `name:"json" help:"Print one CloudEvent per line, outbound calls too."`
	Region  string   `default:"US" help:"Region (ISO 3166) of numbers without a country code."`
	Site    string   `default:"replay" help:"Site name in the events."`
	Outside []string `help:"Patterns of contexts that calls from outside come in by; the defaults fit stock Asterisk and FreePBX."`
	Files   []string `arg:"" name:"file" help:"Recordings (.jsonl: one raw ARI event per line); '-' reads standard input."`
}

func (r replayCmd) Run(con console) error {
	tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	if !r.JSON {
		fmt.Fprintln(tw, "STARTED\tDIR\tCALLER\tLINE\tOUTCOME\tREASON\tRING\tWAIT\tWHO WAS TRIED")
	}
	var bad error
	for _, file := range r.Files {
		var werr error
		t := pbx.NewTracker(pbx.Config{Site: r.Site, Source: "ari", Region: strings.ToUpper(r.Region), OutsideContexts: r.Outside})
		t.OnCall = func(c *pbx.Call) {
			if r.JSON {
				b, err := event.Encode(c, c.EndedAt)
				if err == nil {
					_, err = fmt.Fprintf(con.out, "%s\n", b)
				}
				werr = errors.Join(werr, err)
				return
			}
			fmt.Fprintln(tw, callRow(c))
		}
		t.OnWarn = func(w pbx.Warning) { fmt.Fprintln(con.err, "textback: "+warningText(w)) }
		err := replayFile(con, file, t)
		bad = errors.Join(bad, err, werr)
	}
	if err := tw.Flush(); err != nil {
		bad = errors.Join(bad, err)
	}
	return bad
}

func replayFile(con console, file string, t *pbx.Tracker) error {
	if file == "-" {
		return ari.Replay(con.in, "stdin", t)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if err == nil && isCapture(magic) {
		return fmt.Errorf("%s: is a packet capture; this version reads recordings of ARI events only", file)
	}
	_ = n
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return ari.Replay(f, file, t)
}

// isCapture knows pcap in both byte orders and resolutions, and pcapng.
func isCapture(m [4]byte) bool {
	switch m {
	case [4]byte{0xd4, 0xc3, 0xb2, 0xa1}, [4]byte{0xa1, 0xb2, 0xc3, 0xd4},
		[4]byte{0x4d, 0x3c, 0xb2, 0xa1}, [4]byte{0xa1, 0xb2, 0x3c, 0x4d}, [4]byte{0x0a, 0x0d, 0x0d, 0x0a}:
		return true
	}
	return false
}

// callRow is a call as one tab-separated row for people.
func callRow(c *pbx.Call) string {
	caller := c.Caller.Number
	switch {
	case c.Caller.Anonymous:
		caller = "withheld"
	case caller == "":
		caller = c.Caller.Raw
	}
	if c.Caller.Name != "" {
		caller += " " + c.Caller.Name
	}
	line := c.Line.Name
	if line == "" {
		line = c.Line.Number
	}
	if line == "" {
		line = c.Line.Raw
	}
	outcome := string(c.Outcome)
	if c.Voicemail != nil && c.Voicemail.MessageLeft != nil {
		outcome += map[bool]string{true: " (message)", false: " (no message)"}[*c.Voicemail.MessageLeft]
	}
	if !c.Certain {
		outcome += " (not certain)"
	}
	reason := string(c.Reason)
	if reason == "" {
		reason = "-"
	}
	var tried []string
	for _, a := range c.Attempts {
		who := a.Extension
		if who == "" {
			who = a.Endpoint
		}
		tried = append(tried, who+" "+string(a.Result))
	}
	if tried == nil {
		tried = []string{"-"}
	}
	dir := "in"
	if c.Direction == pbx.Outbound {
		dir = "out"
	}
	return strings.Join([]string{c.StartedAt.Local().Format("2006-01-02 15:04:05"), dir, caller, line, outcome, reason,
		shortSeconds(c.Ring), shortSeconds(c.Wait), strings.Join(tried, ", ")}, "\t")
}

func shortSeconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// warningText puts a tracker's warning in an admin's words.
func warningText(w pbx.Warning) string {
	if w.Context != "" {
		return fmt.Sprintf("calls come in by context %q (%s), which is neither known as outside nor as inside, so they are not watched; "+
			"if they come from outside, add %q to pbx.asterisk.outside.contexts", w.Context, w.Endpoint, w.Context)
	}
	return fmt.Sprintf("call %s never ended and was closed by age", w.CallID)
}
