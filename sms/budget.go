package sms

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/event"
	"textback/rules"
)

// spent is what automatic texts have used up, reserved in the batch that hands
// a text over: what is counted there is counted whatever becomes of the text.
// One record counts for the site, one for each prefix (a number without its last
// four digits) that was texted in the last hour.
type spent struct {
	Day      string      `json:"day,omitempty"` // of the business's zone
	Segments int         `json:"segments,omitempty"`
	Micros   int64       `json:"micros,omitempty"`
	Times    []time.Time `json:"times,omitempty"` // of the last minute; of a prefix, of the last hour
}

const (
	prefixDigits = 4
	prefixTTL    = 2 * time.Hour
	dayTTL       = 48 * time.Hour
)

func (s *Sender) siteBudget() string {
	return prefix + "budget.site." + event.SiteToken(s.opt.Site)
}

func (s *Sender) prefixBudget(to string) string {
	return prefix + "budget.prefix." + event.SiteToken(s.opt.Site) + "." + s.opt.Key.Caller(to[:max(0, len(to)-prefixDigits)]+"/prefix")
}

// budgets are a text's budgets as read, to be reserved on these versions.
type budgets struct {
	site, prefix       spent
	siteSeq, prefixSeq uint64
	day                string
}

// readBudgets reads what has been spent at now by others than this text.
func (s *Sender) readBudgets(ctx context.Context, to string, now time.Time) (b budgets, err error) {
	b.day = now.In(s.opt.Rules().Zone()).Format(time.DateOnly)
	if b.siteSeq, err = read(ctx, s.opt.NC, Stream, s.siteBudget(), &b.site); err != nil {
		return b, err
	}
	if b.prefixSeq, err = read(ctx, s.opt.NC, Stream, s.prefixBudget(to), &b.prefix); err != nil {
		return b, err
	}
	// At midnight another sender's clock may be a moment ahead: its day has begun.
	if tomorrow := now.In(s.opt.Rules().Zone()).AddDate(0, 0, 1).Format(time.DateOnly); b.site.Day != b.day && b.site.Day != tomorrow {
		b.site.Day, b.site.Segments, b.site.Micros = b.day, 0, 0
	}
	b.site.Times = since(b.site.Times, now, time.Minute)
	b.prefix.Times = since(b.prefix.Times, now, time.Hour)
	return b, nil
}

// facts are the budgets as rules want them.
func (b *budgets) facts(c *Caller, now time.Time) rules.Spent {
	return rules.Spent{Caller: len(since(c.Texts, now, 24*time.Hour)), Prefix: len(b.prefix.Times), Minute: len(b.site.Times),
		DaySegments: b.site.Segments, DayMoney: rules.Money(b.site.Micros)}
}

// reserve makes the messages that count j.
func (s *Sender) reserve(b budgets, j *Job, now time.Time) ([]*nats.Msg, error) {
	b.site.Segments += max(j.Segments, 1)
	b.site.Micros += j.Cost
	b.site.Times = append(b.site.Times, now.UTC())
	b.prefix.Times = append(b.prefix.Times, now.UTC())
	site, err := record(s.siteBudget(), &b.site, b.siteSeq, dayTTL)
	if err != nil {
		return nil, err
	}
	pre, err := record(s.prefixBudget(j.To), &b.prefix, b.prefixSeq, prefixTTL)
	return []*nats.Msg{site, pre}, err
}

// since are the times of the last d. Those further ahead than that are from before
// the clock was set back: kept, they would count until it gets there.
func since(ts []time.Time, now time.Time, d time.Duration) []time.Time {
	return slices.DeleteFunc(slices.Clone(ts), func(x time.Time) bool { return x.Before(now.Add(-d)) || x.After(now.Add(d)) })
}

func unmarshal(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("a record in NATS: %w", err)
	}
	return nil
}
