package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"textback/cmd/textback/config"
	"textback/pbx/number"
	"textback/sms"
)

type optoutCmd struct {
	Add    optoutAddCmd    `cmd:"" help:"Never text these numbers again."`
	Remove optoutRemoveCmd `cmd:"" help:"These numbers welcome texts again."`
	Check  optoutCheckCmd  `cmd:"" help:"Tell whether a number has opted out; exit code 1 if so."`
	List   optoutListCmd   `cmd:"" help:"List who has opted out: numbers only where optouts.store is number."`
	Import optoutImportCmd `cmd:"" help:"Never text again whom another system's list names: CSV, JSON lines, or a number a line."`
	Export optoutExportCmd `cmd:"" help:"Write the list as CSV, or as JSON lines if FILE ends in .jsonl; - is standard output."`
}

type optoutAddCmd struct {
	configFlag
	Numbers []string `arg:"" name:"number"`
}

type optoutRemoveCmd struct {
	configFlag
	Numbers []string `arg:"" name:"number"`
}

type optoutCheckCmd struct {
	configFlag
	Number string `arg:""`
}

func (c optoutAddCmd) Run(ctx context.Context, con console) error {
	return withOptOuts(ctx, con, c.Config, c.Numbers, func(ctx context.Context, o *sms.OptOuts, n string) error {
		return o.Set(ctx, n, true, "admin")
	})
}

func (c optoutRemoveCmd) Run(ctx context.Context, con console) error {
	return withOptOuts(ctx, con, c.Config, c.Numbers, func(ctx context.Context, o *sms.OptOuts, n string) error {
		return o.Set(ctx, n, false, "admin")
	})
}

func (c optoutCheckCmd) Run(ctx context.Context, con console) error {
	return withOptOuts(ctx, con, c.Config, []string{c.Number}, func(ctx context.Context, o *sms.OptOuts, n string) error {
		out, err := o.Out(ctx, n)
		switch {
		case err != nil:
			return err
		case out:
			fmt.Fprintln(con.out, n, "has opted out: it is never texted")
			return errNotOK
		}
		fmt.Fprintln(con.out, n, "has not opted out")
		return nil
	})
}

func withOptOuts(ctx context.Context, con console, path string, numbers []string, f func(context.Context, *sms.OptOuts, string) error) error {
	cfg, err := loadWiring(con, path)
	if err != nil {
		return err
	}
	var all []string
	for _, n := range numbers {
		n, err := e164(n, cfg.Region)
		if err != nil {
			return err
		}
		all = append(all, n)
	}
	return openOptOuts(ctx, con, path, 30*time.Second, func(ctx context.Context, outs *sms.OptOuts) error {
		for _, n := range all {
			if err := f(ctx, outs, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func openOptOuts(ctx context.Context, con console, path string, within time.Duration, f func(ctx context.Context, outs *sms.OptOuts) error) error {
	return withKey(ctx, con, path, within, func(ctx context.Context, cfg *config.Config, nc *nats.Conn, key sms.Key) error {
		outs, err := sms.OpenOptOuts(ctx, nc, key, cfg.StateDir)
		if err != nil {
			return err
		}
		outs.Keep = cfg.Keep()
		if cfg.OptOuts.Store == config.StoreNumber {
			outs.KeepNumbers()
		}
		return f(ctx, outs)
	})
}

// withKey is withNATS with the key of callers. None is made: whatever is stored under a new one, no
// sender would find.
func withKey(ctx context.Context, con console, path string, within time.Duration, f func(ctx context.Context, cfg *config.Config, nc *nats.Conn, key sms.Key) error) error {
	return withNATS(ctx, con, path, within, func(ctx context.Context, cfg *config.Config, nc *nats.Conn) error {
		key, err := sms.LoadKey(cfg.StateDir)
		if err == nil {
			err = key.Fits(ctx, nc)
		}
		if err != nil {
			return err
		}
		return f(ctx, cfg, nc, key)
	})
}

// e164 is what an admin wrote as it is stored; what is no number is wrong usage.
func e164(raw, region string) (string, error) {
	p := number.Parse(raw, region)
	if p.Kind != number.External {
		return "", usage(fmt.Errorf("%q is no phone number in region %s: write it with its country code, +12025550143", raw, region))
	}
	return p.E164, nil
}

type optoutListCmd struct {
	configFlag
	JSON bool `name:"json" help:"Print JSON, one opt-out a line."`
}

func (c optoutListCmd) Run(ctx context.Context, con console) error {
	return openOptOuts(ctx, con, c.Config, time.Minute, func(ctx context.Context, outs *sms.OptOuts) error {
		if c.JSON {
			_, _, err := optoutExportCmd{File: ".jsonl"}.write(ctx, con.out, outs)
			return err
		}
		tw := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "SINCE\tNUMBER\tSAID BY\tHASH")
		n, hidden := 0, 0
		err := outs.Each(ctx, func(x sms.OptOut) {
			if !x.Out {
				return
			}
			n++
			if x.Number == "" {
				hidden++
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", x.At.Local().Format("2006-01-02 15:04"), orDash(x.Number), x.Source, x.Key)
		})
		if err = errors.Join(err, tw.Flush()); err != nil {
			return err
		}
		fmt.Fprintf(con.out, "%d have opted out", n)
		if hidden > 0 {
			fmt.Fprintf(con.out, "; of %d only a hash is kept: 'textback optout check NUMBER' tells whether a number is among them", hidden)
		}
		fmt.Fprintln(con.out)
		return nil
	})
}

type optoutExportCmd struct {
	configFlag
	File string `arg:""`
}

// exported is one line of an exported list.
type exported struct {
	Number string    `json:"number,omitempty"`
	Hash   string    `json:"hash"`
	At     time.Time `json:"at"`
	Source string    `json:"source"`
}

// Run writes the list. There is a file only when all of it could be written.
func (c optoutExportCmd) Run(ctx context.Context, con console) error {
	hidden, n := 0, 0
	err := openOptOuts(ctx, con, c.Config, time.Minute, func(ctx context.Context, outs *sms.OptOuts) error {
		write := func(w io.Writer) (err error) {
			n, hidden, err = c.write(ctx, w, outs)
			return err
		}
		if c.File == "-" {
			return write(con.out)
		}
		return createWhole(c.File, write)
	})
	if err == nil && c.File != "-" {
		fmt.Fprintf(con.out, "%d opt-outs written\n", n)
	}
	if err == nil && hidden > 0 {
		fmt.Fprintf(con.err, "%d of %d are hashes only, which lead to nobody without this office's key (caller.key): with 'optouts: {store: number}' those from then on have their number\n", hidden, n)
	}
	return err
}

// createWhole makes a file, readable by this user alone, that f fills. None is left when it cannot
// be filled: a part would look like the whole, and be in the way of the next attempt.
func createWhole(name string, f func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(f(file), file.Close()); err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// write returns how many there are, and how many of them are hashes only.
func (c optoutExportCmd) write(ctx context.Context, w io.Writer, outs *sms.OptOuts) (n, hidden int, err error) {
	table, lines := csv.NewWriter(w), json.NewEncoder(w)
	asJSON := strings.HasSuffix(c.File, ".jsonl")
	var werr error
	if !asJSON {
		werr = table.Write([]string{"number", "hash", "at", "source"})
	}
	if err := outs.Each(ctx, func(x sms.OptOut) {
		if !x.Out || werr != nil {
			return
		}
		n++
		if x.Number == "" {
			hidden++
		}
		if asJSON {
			werr = lines.Encode(exported{x.Number, x.Key, x.At, x.Source})
		} else {
			werr = table.Write([]string{x.Number, x.Key, x.At.Format(time.RFC3339), x.Source})
		}
	}); err != nil {
		return n, hidden, err
	}
	table.Flush()
	return n, hidden, errors.Join(werr, table.Error())
}

type optoutImportCmd struct {
	configFlag
	File   string `arg:"" help:"- is standard input."`
	Column string `default:"number" help:"The column, or the key of JSON lines, that holds the number."`
}

func (c optoutImportCmd) Run(ctx context.Context, con console) error {
	r := con.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	cfg, err := loadWiring(con, c.Config)
	if err != nil {
		return err
	}
	// All of it is read, and found good, before the first is stored.
	numbers, bad, err := readNumbers(r, c.Column, cfg.Region)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	for _, b := range bad {
		fmt.Fprintf(con.err, "%s:%s\n", c.File, b)
	}
	if len(bad) > 0 {
		return fmt.Errorf("nothing has been imported: mend these lines first")
	}
	added := 0
	err = openOptOuts(ctx, con, c.Config, time.Hour, func(ctx context.Context, outs *sms.OptOuts) error {
		for _, n := range numbers {
			out, err := outs.Out(ctx, n)
			if err != nil {
				return err
			}
			if out {
				continue
			}
			if err := outs.Set(ctx, n, true, sms.ByImport); err != nil {
				return err
			}
			added++
		}
		return nil
	})
	fmt.Fprintf(con.out, "%d numbers read, %d added, the others had opted out already\n", len(numbers), added)
	return err
}

// readNumbers reads a list in any of three shapes. bad are lines without a number.
func readNumbers(r io.Reader, column, region string) (numbers, bad []string, err error) {
	br := bufio.NewReader(r)
	if bom, _ := br.Peek(3); string(bom) == "\ufeff" {
		_, _ = br.Discard(3)
	}
	take := func(line int, s string) {
		p := number.Parse(strings.TrimSpace(s), region)
		if p.Kind != number.External {
			bad = append(bad, fmt.Sprintf("%d: %q is no phone number in region %s", line, s, region))
			return
		}
		numbers = append(numbers, p.E164)
	}
	first, _ := br.Peek(1)
	if string(first) == "{" {
		sc := bufio.NewScanner(br)
		sc.Buffer(nil, 1<<20)
		for line := 1; sc.Scan(); line++ {
			if strings.TrimSpace(sc.Text()) == "" {
				continue
			}
			var x map[string]any
			if err := json.Unmarshal(sc.Bytes(), &x); err != nil {
				return nil, nil, fmt.Errorf("line %d: %w", line, err)
			}
			s, ok := x[column].(string)
			if !ok || s == "" {
				bad = append(bad, fmt.Sprintf("%d: it has no %q", line, column))
				continue
			}
			take(line, s)
		}
		return numbers, bad, sc.Err()
	}
	cr := csv.NewReader(br)
	cr.FieldsPerRecord = -1
	at := 0
	for first := true; ; first = false {
		rec, err := cr.Read()
		if err == io.EOF {
			return numbers, bad, nil
		}
		if err != nil {
			return nil, nil, err
		}
		line, _ := cr.FieldPos(0)
		if first && number.Parse(strings.TrimSpace(rec[0]), region).Kind != number.External || first && len(rec) > 1 {
			at = -1
			for i, h := range rec {
				if strings.EqualFold(strings.TrimSpace(h), column) {
					at = i
				}
			}
			if at < 0 {
				return nil, nil, fmt.Errorf("line 1 has no column %q: name the one that holds the number with --column", column)
			}
			continue
		}
		if at >= len(rec) {
			bad = append(bad, fmt.Sprintf("%d: it has no %q", line, column))
			continue
		}
		take(line, rec[at])
	}
}
