package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"textback/cmd/textback/config"
	"textback/rules/contacts"
	"textback/rules/strict"
	"textback/sms/directory"
)

// openDirectory reads the address books and makes ready to look callers up.
func (d *serving) openDirectory() (*directory.Directory, error) {
	opt := d.cfg.Directory(d.key.Caller)
	opt.Log = d.log.With("part", "contacts")
	if opt.Lookup != nil {
		lookups := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "textback_contact_lookups_total",
			Help: "Callers looked up: cached, stale, asked or failed."}, []string{"what"}) // what: the words of directory.Cached
		d.m.reg.MustRegister(lookups)
		opt.Lookup.Observe = func(what string) { lookups.WithLabelValues(what).Inc() }
	}
	dir, problems, err := directory.Open(opt)
	logProblems(d.log, problems)
	if err != nil {
		return nil, fmt.Errorf("contacts.lookup: %w", err)
	}
	if dir == nil {
		return nil, fmt.Errorf("the address books have errors: see 'textback check'")
	}
	if n := dir.Len(); n > 0 {
		d.log.Info("address books are read", "numbers", n)
	}
	return dir, nil
}

func logProblems(log *slog.Logger, problems []strict.Problem) {
	for _, p := range problems {
		level := slog.LevelError
		if p.Warning {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, p.String())
	}
}

// contacts tells whether callers can be looked up.
func (d *doctor) contacts(ctx context.Context, cfg *config.Config) {
	if len(cfg.Contacts.Files) > 0 {
		book, problems := contacts.Open(cfg.Contacts.Files, cfg.AddressBooks())
		if book == nil {
			d.say("contacts", fmt.Errorf("the address books have errors: see 'textback check'"), "")
		} else {
			d.say("contacts", nil, fmt.Sprintf("%d numbers in %d files, %d warnings", book.Len(), len(cfg.Contacts.Files), len(problems)))
		}
	}
	if cfg.Contacts.Lookup == nil {
		return
	}
	opt := cfg.Directory(nil).Lookup
	opt.RefusalsFile = "" // the daemon's
	l, err := directory.NewLookup(*opt)
	if err != nil {
		d.say("lookup", err, "")
		return
	}
	defer l.Close()
	// Asked for the office's own number where there is one: nobody else's business is touched.
	n := "+12025550100"
	if len(cfg.Lines) > 0 {
		n = cfg.Lines[0].Number
	}
	begin := time.Now()
	found, err := l.Probe(ctx, n)
	took := time.Since(begin).Round(time.Millisecond)
	if err != nil {
		err = fmt.Errorf("the server of contacts.lookup: %w", err)
	}
	answer := "answers that it does not know the office's own number"
	if found {
		answer = "knows the office's own number"
	}
	d.say("lookup", err, fmt.Sprintf("%s, after %v", answer, took))
}
