package sms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Received takes one text, exactly once however often it is offered.
func (b *inbox) Received(ctx context.Context, m Inbound) error {
	r := b.reply(m)
	return b.s.unstored.note(ctx, b.s.opt.Log, b.transport, "text "+r.ID, b.s.opt.Now(), b.received(ctx, m, r))
}

// Receipt takes a provider's word on what became of a text.
func (b *inbox) Receipt(ctx context.Context, r DeliveryReceipt) error {
	return b.s.unstored.note(ctx, b.s.opt.Log, b.transport, "receipt "+r.ProviderID+" "+r.MessageID, b.s.opt.Now(), b.receipt(ctx, r))
}

// unstored are the texts and receipts that could not be stored when they were last
// offered. Providers offer them again, each in its manner and most without a word:
// that a STOP is not heard must be seen.
type unstored struct {
	mu    sync.Mutex
	items map[string]unstoredItem
	spell bool // said in the log
}

type unstoredItem struct {
	transport string
	at        time.Time
	err       error
}

// Bounds.
const (
	offeredAgain   = time.Minute      // what is offered again is so by then, or by the provider's longer pauses
	unstoredKnown  = 10 * time.Minute // after which nobody offers it any more
	maxUnstored    = 1000
	unstoredAdvice = "what its sender asks for, STOP among it, is not done yet"
)

// note keeps whether something was stored, and gives back err. One line in the log
// begins a spell of failures, and one ends it.
func (u *unstored) note(ctx context.Context, log *slog.Logger, transport, id string, now time.Time, err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) {
		return err // the daemon stops, or who called has gone: it is offered again
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	id = transport + " " + id
	if err != nil {
		if u.items == nil {
			u.items = map[string]unstoredItem{}
		}
		if _, known := u.items[id]; known || len(u.items) < maxUnstored {
			u.items[id] = unstoredItem{transport, now, err}
		}
		if !u.spell {
			u.spell = true
			log.Error("what arrives cannot be stored: it is taken when it is offered again, and until then "+unstoredAdvice, "transport", transport, "error", err)
		}
		return err
	}
	delete(u.items, id)
	u.forget(now, offeredAgain) // storing works: only what fails by itself is left
	if u.spell && len(u.items) == 0 {
		u.spell = false
		log.Info("what arrives is stored again", "transport", transport)
	}
	return nil
}

func (u *unstored) forget(now time.Time, after time.Duration) {
	for id, x := range u.items {
		if now.Sub(x.at) >= after {
			delete(u.items, id)
		}
	}
}

// Storing is nil while texts and receipts that arrive can be stored.
func (s *Sender) Storing() error {
	u := &s.unstored
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(s.opt.Now(), unstoredKnown)
	for _, x := range u.items {
		return fmt.Errorf("%d texts or receipts that came in could not be stored, one of them by %s: %w", len(u.items), x.transport, x.err)
	}
	return nil
}
