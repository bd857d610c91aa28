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
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return nil, fmt.Errorf("health of textback at %s: %w", cfg.HTTP.Listen, err)
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
	var live []bus.Live
	var jobs jobCount
	if nc, err := openNATS(ctx, cfg, bus.Admin); err != nil {
		h.Parts["calls"] = err.Error()
	} else {
		defer nc.Close()
		qctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if live, err = bus.LiveCalls(qctx, nc, cfg.Site); err != nil {
			return err
		}
		if jobs, err = countJobs(qctx, nc); err != nil {
			return err
		}
	}
	if s.JSON {
		out := struct {
			*health
			Live []event.Event `json:"live"`
			jobCount
		}{h, []event.Event{}, jobs}
		for _, l := range live {
			out.Live = append(out.Live, event.New(l.Call, l.Refreshed))
		}
		enc := json.NewEncoder(con.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(out); err != nil {
			return err
		}
	} else {
		s.print(con, h, live, jobs)
	}
	if !h.OK {
		return errNotOK
	}
	return nil
}

func (s statusCmd) print(con console, h *health, live []bus.Live, jobs jobCount) {
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
	Since  time.Duration `default:"24h" help:"How far back."`
	Missed bool          `help:"Missed calls only."`
	JSON   bool          `name:"json" help:"Print one CloudEvent per line."`
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
	err = bus.Calls(ctx, nc, time.Now().Add(-c.Since), func(call *pbx.Call) bool {
		if c.Missed && !call.Missed() {
			return true
		}
		if c.JSON {
			var b []byte
			if b, werr = event.Encode(call, call.EndedAt); werr == nil {
				_, werr = fmt.Fprintf(con.out, "%s\n", b)
			}
			return werr == nil
		}
		text := texts[call.ID]
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", callRow(call), text, call.ID)
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
