// Package directory is in charge of what is known of a caller: the address books
// of files first, then what a lookup over HTTP adds, such as a CRM's. It answers
// in bounded time and never with less caution than the last good answer had:
// who is not to be texted stays so while the lookup is silent.
package directory

import (
	"context"
	"log/slog"
	"sync/atomic"

	"textback/rules"
	"textback/rules/contacts"
	"textback/rules/strict"
)

// Options say where callers are looked up.
type Options struct {
	Files    []string // address books
	Contacts contacts.Options
	Lookup   *LookupOptions // nil: files only
	Log      *slog.Logger
}

// A Directory knows callers. It is safe for concurrent use.
type Directory struct {
	opt    Options
	book   atomic.Pointer[contacts.Book]
	lookup *Lookup
}

// Open reads the address books. It returns every problem with them; the
// Directory is nil when one is more than a warning. An error is about the lookup.
func Open(opt Options) (*Directory, []strict.Problem, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	d := &Directory{opt: opt}
	problems := d.Reload()
	if d.book.Load() == nil {
		return nil, problems, nil
	}
	if opt.Lookup != nil {
		o := *opt.Lookup
		if o.Log == nil {
			o.Log = opt.Log
		}
		var err error
		if d.lookup, err = NewLookup(o); err != nil {
			return nil, problems, err
		}
	}
	return d, problems, nil
}

// Reload reads the address books again. When one has an error the old ones
// stay in force.
func (d *Directory) Reload() []strict.Problem {
	book, problems := contacts.Open(d.opt.Files, d.opt.Contacts)
	if book != nil {
		d.book.Store(book)
	}
	return problems
}

// Len is how many numbers the address books have.
func (d *Directory) Len() int { return d.book.Load().Len() }

// Contact tells who has a number, nil when nobody knows. It takes no longer than
// the lookup's timeout, and no time at all for a caller that was asked for lately.
// An error says that the lookup did not answer; the Contact is then what may be
// relied upon without it, with DoNotText set where the lookup's silence forbids a
// text. The Contact is shared: nobody may change it.
func (d *Directory) Contact(ctx context.Context, e164 string) (*rules.Contact, error) {
	c := d.book.Load().Lookup(e164)
	if d.lookup == nil || e164 == "" {
		return c, nil
	}
	more, err := d.lookup.Contact(ctx, e164)
	return contacts.Merge(c, more), err
}

// Prefetch has the lookup asked for a number in the background, so that the
// answer is there when the call ends. Calls ring longer than lookups take.
func (d *Directory) Prefetch(e164 string) {
	if d.lookup != nil && e164 != "" {
		d.lookup.Prefetch(e164)
	}
}

// Close ends what runs in the background.
func (d *Directory) Close() {
	if d.lookup != nil {
		d.lookup.Close()
	}
}
