package sms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"textback/pbx/bus"
	"textback/pbx/number"
)

// A Way is one transport that texts may leave by. Of several, a text takes the
// first that serves its region and works.
type Way struct {
	Name      string // as in sms.transport; it stands in jobs, so that what one way began no other one ends
	Transport Transport
	Regions   []string                 // of recipients (ISO 3166); empty: all
	From      func(line string) string // the sender for a line's texts; nil: the line itself
	Rate      float64                  // texts a second at most; 0: what the transport declares

	limit *rate.Limiter
}

// init fills in what follows from the transport.
func (w *Way) init() {
	t := TraitsOf(w.Transport)
	if w.Name == "" {
		w.Name = t.Name
	}
	if w.From == nil {
		w.From = func(line string) string { return line }
	}
	if w.Rate == 0 {
		w.Rate = t.RatePerSecond
	}
	if w.Rate > 0 {
		w.limit = rate.NewLimiter(rate.Limit(w.Rate), max(1, int(w.Rate)))
	}
}

// TraitsOf are t's Traits, none for a transport that declares none.
func TraitsOf(t Transport) Traits {
	if d, ok := t.(Declarer); ok {
		return d.Traits()
	}
	return Traits{}
}

func (w *Way) serves(region string) bool {
	return len(w.Regions) == 0 || slices.Contains(w.Regions, region)
}

// way finds a way by its name. A job of an earlier version has none: with one
// way only, it is that one's.
func (s *Sender) way(name string) *Way {
	for _, w := range s.ways {
		if w.Name == name || name == "" && len(s.ways) == 1 {
			return w
		}
	}
	return nil
}

// fits are the ways that may carry j, in the order in which they are tried: those
// that serve its recipient; for an answer, the one that the question came by.
func (s *Sender) fits(j *Job) (ways []*Way) {
	if w := s.way(j.Transport); j.Kind == Answer && w != nil {
		return []*Way{w}
	}
	region := number.Parse(j.To, "").Region
	for _, w := range s.ways {
		if w.serves(region) {
			ways = append(ways, w)
		}
	}
	return ways
}

// next is the way that is j's turn, breakers aside: the first that has not refused
// it, and the first of all when each has. Nil: none serves its recipient.
func (s *Sender) next(j *Job) *Way {
	if w := s.untried(j); w != nil {
		return w
	}
	if fits := s.fits(j); len(fits) > 0 {
		return fits[0]
	}
	return nil
}

// untried is the first way that may carry j and has not refused it, nil if there is none.
func (s *Sender) untried(j *Job) *Way {
	fits := s.fits(j)
	if i := slices.IndexFunc(fits, func(w *Way) bool { return !slices.Contains(j.Tried, w.Name) }); i >= 0 {
		return fits[i]
	}
	return nil
}

// pick chooses the way that j's next attempt takes: the first that serves the
// recipient, whose breaker is not open, and has not refused this text. When
// all have refused it, the first is tried again; that is what pauses are for. A
// way whose breaker asks for a probe is given one text. It is nil when every breaker is open.
func (s *Sender) pick(ctx context.Context, j *Job, now time.Time) (*Way, error) {
	fits := s.fits(j)
	if s.untried(j) == nil {
		j.Tried = nil
	}
	for _, w := range fits {
		if slices.Contains(j.Tried, w.Name) {
			continue
		}
		if why, err := s.broken(ctx, w, j.ID, now); err != nil || why == "" {
			return w, err
		}
	}
	// Those left have refused this text, and the others are broken.
	for _, w := range fits {
		if slices.Contains(j.Tried, w.Name) {
			if why, err := s.broken(ctx, w, j.ID, now); err != nil || why == "" {
				return w, err
			}
		}
	}
	return nil, nil
}

// breaker is the circuit breaker of one way, under
// textback.v1.sms.breaker.<way>: it is on disk because an outage outlives restarts.
type breaker struct {
	Failures int       `json:"failures"`            // in a row
	Until    time.Time `json:"until,omitzero"`      // open (nothing passes) until then; zero: it is closed, all is well
	Pauses   int       `json:"pauses,omitempty"`    // in a row: each is longer
	Probe    time.Time `json:"probe,omitzero"`      // when the text left that finds out whether it works again
	Prober   string    `json:"prober,omitempty"`    // that text's job
	Why      string    `json:"why,omitempty"`       // the last failure's class
	Since    time.Time `json:"since,omitzero"`      // of the first failure in the row
	Changed  time.Time `json:"changed_at,omitzero"` // when it opened
}

func breakerSubject(way string) string { return prefix + "breaker." + token(way) }

// token is a name as a subject's token.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
}

// Breaker options' defaults: so many failures in a row open it for a while,
// and for longer each time a probe fails.
const (
	breakAfter    = 5
	breakPause    = 30 * time.Second
	breakPauseMax = 10 * time.Minute
)

// broken says why w's breaker lets no text through now, empty when it does. When
// a pause is over, one text is let through to find out: whoever notes that first is
// it, and still is when it is asked about again because it could not be stored.
func (s *Sender) broken(ctx context.Context, w *Way, job string, now time.Time) (why string, err error) {
	var b breaker
	seq, err := read(ctx, s.opt.NC, Stream, breakerSubject(w.Name), &b)
	if err != nil || b.Until.IsZero() {
		return "", err
	}
	why = b.why(w.Name)
	if !b.probes(job, now, s.opt.SubmitTimeout) {
		return why, nil
	}
	b.Probe, b.Prober = now.UTC(), job
	m, err := record(breakerSubject(w.Name), &b, seq, callerTTL)
	if err != nil {
		return "", err
	}
	if _, err := bus.Publish(ctx, s.opt.NC, m); errors.Is(err, bus.ErrWrongSequence) {
		return why, nil
	} else if err != nil {
		return "", err
	}
	s.opt.Log.Info("a text finds out whether the provider works again", "transport", w.Name)
	return "", nil
}

func (b *breaker) why(way string) string {
	return fmt.Sprintf("%s has failed %d times in a row (%s); it is tried again at %s", way, b.Failures, b.Why, b.Until.UTC().Format(time.RFC3339))
}

// clocksDiffer is by how much another sender's clock may be ahead; one further ahead
// was our own, before it was set back.
const clocksDiffer = time.Minute

// probes tells whether an open breaker's pause is over and no other text is finding out already.
func (b *breaker) probes(job string, now time.Time, submit time.Duration) bool {
	ahead := func(t time.Time) bool { return t.After(now.Add(clocksDiffer)) }
	return (!now.Before(b.Until) || ahead(b.Changed)) && (!now.Before(b.Probe.Add(submit)) || ahead(b.Probe) || job != "" && b.Prober == job)
}

// observe tells w's breaker what an attempt came to. A word about the text or
// its recipient is a sign of life; silence, throttling and trouble with our
// account are not. Wrong credentials and an empty account open it at once: nothing
// but an admin mends them.
func (s *Sender) observe(ctx context.Context, w *Way, class Class, now time.Time) {
	bad := class == Ambiguous || class.Retryable()
	err := s.retry(ctx, func() error {
		var b breaker
		seq, err := read(ctx, s.opt.NC, Stream, breakerSubject(w.Name), &b)
		if err != nil {
			return err
		}
		was := !b.Until.IsZero()
		if !bad {
			if seq == 0 || b.Failures == 0 && !was {
				return nil
			}
			b = breaker{}
		} else {
			if b.Failures++; b.Failures == 1 {
				b.Since = now.UTC()
			}
			b.Why = string(class)
			probed := was && !b.Probe.IsZero()
			if probed || b.Failures >= s.opt.BreakAfter && !was || (class == Unauthorized || class == NoCredit) && !was {
				pause := s.opt.BreakPause
				for range b.Pauses {
					pause = min(2*pause, breakPauseMax)
				}
				b.Pauses++
				b.Until, b.Probe, b.Prober, b.Changed = now.Add(pause).UTC(), time.Time{}, "", now.UTC()
			}
		}
		m, err := record(breakerSubject(w.Name), &b, seq, callerTTL)
		if err != nil {
			return err
		}
		if _, err := bus.Publish(ctx, s.opt.NC, m); err != nil {
			return err
		}
		switch is := !b.Until.IsZero(); {
		case is && !was:
			s.opt.Log.Error("the provider fails again and again: texts wait", "transport", w.Name, "failures", b.Failures, "class", b.Why, "until", b.Until.Format(time.RFC3339))
		case !is && was:
			s.opt.Log.Info("the provider works again", "transport", w.Name)
		}
		if s.opt.BreakerMoved != nil {
			s.opt.BreakerMoved(w.Name, b.Until.IsZero())
		}
		return nil
	})
	if err != nil {
		s.opt.Log.Error("the circuit breaker could not be stored", "transport", w.Name, "error", err)
	}
}

// down says why no way works just now, for Facts.Down; empty while one does.
// Unlike pick it lets no probe out.
func (s *Sender) down(ctx context.Context, job, to string, now time.Time) (string, error) {
	why := ""
	for _, w := range s.fits(&Job{To: to}) {
		var b breaker
		if _, err := read(ctx, s.opt.NC, Stream, breakerSubject(w.Name), &b); err != nil {
			return "", err
		}
		if b.Until.IsZero() || b.probes(job, now, s.opt.SubmitTimeout) {
			return "", nil
		}
		why = b.why(w.Name)
	}
	return why, nil
}

// Breakers are the ways whose breakers are open just now, and why.
func Breakers(ctx context.Context, nc *nats.Conn) (map[string]string, error) {
	msgs, err := bus.GetAll(ctx, nc, Stream, prefix+"breaker.*")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, m := range msgs {
		var b breaker
		if err := unmarshal(m.Data, &b); err != nil {
			return nil, err
		}
		if !b.Until.IsZero() {
			way := strings.TrimPrefix(m.Subject, prefix+"breaker.")
			out[way] = b.why(way)
		}
	}
	return out, nil
}
