package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/event"
	"textback/pbx/number"
	"textback/pbx/sip"
	"textback/pbx/sip/hep"
	"textback/pbx/sip/pcap"
	"textback/pbx/sip/wire"
)

type replayCmd struct {
	JSON    bool     `name:"json" help:"Print one CloudEvent per line, outbound calls too."`
	Region  string   `default:"US" help:"Region (ISO 3166) of numbers without a country code."`
	Site    string   `default:"replay" help:"Site name in the events."`
	Outside []string `help:"Patterns of contexts that calls from outside come in by; the defaults fit stock Asterisk and FreePBX."`

	PBX       []string `name:"pbx" sep:"none" placeholder:"ADDR" help:"Captures: an address or network of the PBX. Repeatable."`
	Trunk     []string `sep:"none" placeholder:"ADDR" help:"Captures: an address or network that calls from outside come from. Without any, the first host to be called is taken for the PBX. Repeatable."`
	Mailbox   []string `sep:"none" placeholder:"ADDR" help:"Captures: an address or a number at which a mailbox answers. Repeatable."`
	AllPhones bool     `help:"Captures: every phone's messages are in it, so that a call answered with no phone in sight reached a machine."`
	HEPKey    string   `name:"hep-key" placeholder:"KEY" help:"Captures: the key of HEP packets in it; others are passed over."`

	Files []string `arg:"" name:"file" help:"Recordings (.jsonl: one raw ARI event per line) and captures (.pcap, .pcapng, HEP inside is unwrapped); '-' reads standard input."`
}

func (r replayCmd) Run(con console) error {
	tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	if !r.JSON {
		fmt.Fprintln(tw, "STARTED\tDIR\tCALLER\tLINE\tOUTCOME\tREASON\tRING\tWAIT\tWHO WAS TRIED")
	}
	var bad error
	for _, file := range r.Files {
		var werr error
		on := func(t *pbx.Tracker) *pbx.Tracker {
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
			return t
		}
		err := r.file(con, file, r.witness(), on)
		bad = errors.Join(bad, err, werr)
	}
	if err := tw.Flush(); err != nil {
		bad = errors.Join(bad, err)
	}
	return bad
}

// Validate refuses addresses and regions that are none, as wrong usage.
func (r replayCmd) Validate() error {
	if !number.Region(r.Region) {
		return fmt.Errorf("--region %q is no region: use the two letters of ISO 3166, such as US or DE", r.Region)
	}
	for flag, list := range map[string][]string{"--pbx": r.PBX, "--trunk": r.Trunk} {
		for _, s := range list {
			if _, err := sip.ParsePrefix(s); err != nil {
				return fmt.Errorf("%s %q: want an address such as 192.0.2.10, or a network such as 198.51.100.0/24", flag, s)
			}
		}
	}
	return nil
}

// witness is who is who in captures.
func (r replayCmd) witness() sip.Config {
	w := sip.Config{AllPhones: r.AllPhones}
	for _, s := range r.PBX {
		p, _ := sip.ParsePrefix(s)
		w.PBX = append(w.PBX, p)
	}
	for _, s := range r.Trunk {
		p, _ := sip.ParsePrefix(s)
		w.Trunks = append(w.Trunks, p)
	}
	for _, s := range r.Mailbox {
		w.Mailboxes = append(w.Mailboxes, sip.ParseTarget(s))
	}
	return w
}

// file plays one recording or capture.
func (r replayCmd) file(con console, name string, who sip.Config, on func(*pbx.Tracker) *pbx.Tracker) error {
	in, shown := con.in, "stdin"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in, shown = f, name
	}
	buffered := bufio.NewReader(in)
	cfg := pbx.Config{Site: r.Site, Source: "ari", Region: strings.ToUpper(r.Region), OutsideContexts: r.Outside}
	if head, err := buffered.Peek(4); err != nil || !pcap.Magic([4]byte(head)) {
		return ari.Replay(buffered, shown, on(pbx.NewTracker(cfg)))
	}
	t := on(pbx.NewTracker(sip.Tracker(cfg)))
	w := sip.NewWitness(who, t.Feed)
	w.Warn = func(warn sip.Warning) {
		fmt.Fprintf(con.err, "textback: %s: call %s: %s\n", shown, warn.CallID, warn.Text)
	}
	counts, err := pcap.Read(buffered, shown, wire.Options{
		Handle: w.Handle,
		HEP:    func(b []byte, at time.Time) (sip.Packet, error) { return hep.SIP(b, r.HEPKey, at) },
	})
	w.Flush()
	t.Flush(w.Now())
	if n := counts.Dropped[hep.ErrKey.Error()]; n > 0 {
		err = errors.Join(err, fmt.Errorf("%s: %d HEP packets have another key than --hep-key says", shown, n))
	}
	if err == nil && counts.SIP == 0 {
		err = fmt.Errorf("%s: no SIP in %d packets; was it encrypted (TLS), or captured elsewhere?", shown, counts.Packets)
	}
	return err
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
