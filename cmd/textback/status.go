package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
)

type natsConn = nats.Conn

type health struct {
	OK        bool              `json:"ok"`
	Version   string            `json:"version"`
	UpSeconds int               `json:"up_seconds"`
	Parts     map[string]string `json:"parts"`
	Bad       []string          `json:"bad"` // parts that are not well
}

// askHealth asks the running daemon how it is.
func askHealth(ctx context.Context, cfg *config.Config) (*health, error) {
	if cfg.HTTP.Listen == "" {
		return nil, errors.New("the daemon cannot be asked how it is: http.listen is off in the configuration")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+cfg.HTTP.Listen+"/healthz", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("textback does not answer at %s: is it running ('systemctl status textback')?", cfg.HTTP.Listen)
	}
	defer resp.Body.Close()
	var h health
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&h); err != nil || h.Version == "" || h.Parts == nil {
		return nil, fmt.Errorf("what answers at %s is not textback: does another program listen there? 'http: {listen: …}' gives textback another address", cfg.HTTP.Listen)
	}
	return &h, nil
}

// askMetrics asks the running daemon for a counter, summed up by its first label.
func askMetrics(ctx context.Context, cfg *config.Config, name string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+cfg.HTTP.Listen+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("textback does not answer at %s: is it running?", cfg.HTTP.Listen)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("metrics of textback at %s: %w", cfg.HTTP.Listen, err)
	}
	got := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{\w+="([^"]*)"[^}]*\} (\S+)$`).FindAllSubmatch(b, -1) {
		n, _ := strconv.ParseFloat(string(m[2]), 64)
		got[string(m[1])] += n
	}
	return got, nil
}

// loadWiring reads textback.yaml only, without its secrets; its errors are printed.
func loadWiring(con console, path string) (*config.Config, error) {
	cfg, problems := config.LoadOpen(path)
	if err := firstError(con, problems); err != nil {
		return nil, errNotOK
	}
	return cfg, nil
}

// withNATS gives f the wiring and the running daemon's NATS, as an admin, within
// a time.
func withNATS(ctx context.Context, con console, path string, within time.Duration, f func(ctx context.Context, cfg *config.Config, nc *nats.Conn) error) error {
	cfg, err := loadWiring(con, path)
	if err != nil {
		return err
	}
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return f(ctx, cfg, nc)
}

type statusCmd struct {
	configFlag
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints how the daemon is and which calls are in progress.
func (s statusCmd) Run(ctx context.Context, con console) error {
	cfg, err := loadWiring(con, s.Config)
	if err != nil {
		return err
	}
	h, err := askHealth(ctx, cfg)
	if err != nil {
		return err
	}
	live, jobs, cannot := askNATS(ctx, cfg)
	if s.JSON {
		out := struct {
			*health
			Live *[]event.Event `json:"live,omitempty"`
			*jobCount
			Cannot string `json:"cannot_tell,omitempty"` // why live, texts and tasks are missing
		}{health: h}
		if cannot == nil {
			out.jobCount, out.Live = &jobs, &[]event.Event{}
			for _, l := range live {
				*out.Live = append(*out.Live, event.New(l.Call, l.Refreshed))
			}
		} else {
			out.Cannot = cannot.Error()
		}
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(out); err != nil {
			return err
		}
	} else {
		s.printHealth(con, h)
		if cannot == nil {
			s.print(con, live, jobs)
		}
	}
	if cannot != nil {
		return fmt.Errorf("texts, callbacks and calls in progress cannot be told: %w", cannot)
	}
	if !h.OK {
		return errNotOK
	}
	return nil
}

// askNATS asks the running daemon's NATS for the calls in progress and the outbox.
func askNATS(ctx context.Context, cfg *config.Config) (live []bus.Live, jobs jobCount, err error) {
	nc, err := openNATS(ctx, cfg, bus.Admin)
	if err != nil {
		return nil, jobs, err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if live, err = bus.LiveCalls(ctx, nc, cfg.Site); err != nil {
		return nil, jobs, err
	}
	jobs, err = countJobs(ctx, nc)
	return live, jobs, err
}

func (s statusCmd) printHealth(con console, h *health) {
	word := "well"
	if !h.OK {
		word = "NOT WELL"
	}
	fmt.Fprintf(con.out, "textback %s is %s, up %v\n", h.Version, word, time.Duration(h.UpSeconds)*time.Second)
	var parts []string
	for p := range h.Parts {
		parts = append(parts, p)
	}
	sort.Strings(parts)
	for _, p := range parts {
		fmt.Fprintf(con.out, "  %-8s %s\n", p, h.Parts[p])
	}
}

func (s statusCmd) print(con console, live []bus.Live, jobs jobCount) {
	texts := jobs.Texts
	fmt.Fprintf(con.out, "texts of the last 90 days: %d sent, %d waiting, %d held for you, %d failed, %d not sent by decision\n",
		texts["sent"], texts["scheduled"]+texts["submitting"], texts["held"], texts["failed"], texts["suppressed"]+texts["cancelled"])
	if n := texts["shadow"]; n > 0 {
		fmt.Fprintf(con.out, "  and %d that mode: shadow only recorded\n", n)
	}
	for _, way := range slices.Sorted(maps.Keys(jobs.Down)) {
		fmt.Fprintf(con.out, "texts wait: %s\n", jobs.Down[way])
	}
	fmt.Fprintf(con.out, "%d callbacks are owed, %d of them late ('textback tasks')\n", jobs.Tasks["open"], jobs.Tasks["late"])
	fmt.Fprintf(con.out, "%d calls in progress\n", len(live))
	for _, l := range live {
		who := l.Caller.Number
		if l.Caller.Anonymous {
			who = "withheld"
		} else if who == "" {
			who = l.Caller.Raw
		}
		fmt.Fprintf(con.out, "  %s %s, %s at %s, since %s\n", l.Direction, who, l.State, lineName(l.Line), l.StartedAt.Local().Format("15:04:05"))
	}
}

type callsCmd struct {
	configFlag
	Since  days `default:"24h" help:"How far back: 30d, 12h."`
	Missed bool `help:"Missed calls only."`
	JSON   bool `name:"json" help:"Print one CloudEvent per line, with what became of the text as textstate and textwhy."`
}

// Run prints stored calls, oldest first, and what was decided for each.
func (c callsCmd) Run(ctx context.Context, con console) error {
	return withNATS(ctx, con, c.Config, 5*time.Minute, func(ctx context.Context, _ *config.Config, nc *nats.Conn) error { return c.list(ctx, con, nc) })
}

func (c callsCmd) list(ctx context.Context, con console, nc *nats.Conn) error {
	texts, err := textsByCall(ctx, nc)
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(tw, "STARTED\tDIR\tCALLER\tLINE\tOUTCOME\tREASON\tRING\tWAIT\tWHO WAS TRIED\tTEXT\tCALL")
	}
	var werr error
	enc := lines(con.out)
	err = bus.Calls(ctx, nc, time.Now().Add(-c.Since.Duration), func(call *pbx.Call) bool {
		if c.Missed && !call.Missed() {
			return true
		}
		if c.JSON {
			werr = enc.Encode(struct {
				event.Event
				callText
			}{event.New(call, call.EndedAt), texts[call.ID]})
			return werr == nil
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", callRow(call), texts[call.ID], call.ID)
		return true
	})
	if err == nil {
		err = werr
	}
	if ferr := tw.Flush(); err == nil {
		err = ferr
	}
	return err
}
