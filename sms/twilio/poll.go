package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"textback/sms"
	"textback/sms/once"
)

const (
	// A text may be listed later than one that was created after it.
	pollOverlap = 5 * time.Minute
	// How far back the first poll looks, for what came while nobody asked. The
	// provider keeps texts for months, an answer to a text of last week helps nobody.
	defaultLookback = 72 * time.Hour

	pollPage    = 20
	catchUpPage = 200
	// At catchUpPage: 10,000 texts.
	maxPages = 50

	// A text's fate is asked for this long, each time after twice as long a wait,
	// and so many at once.
	receiptWait = 24 * time.Hour
	maxAsks     = 10
	maxPending  = 1000
)

// poller reads the provider's list of texts again and again. All its times are
// the provider's, as far as the provider tells the time.
type poller struct {
	t  *Transport
	in sms.Inbox

	since   time.Time            // everything created before is known; zero: nothing is
	known   map[string]string    // id → status that the Inbox was told, of texts created since
	created map[string]time.Time // of the same
	pending map[string]*pending  // texts of ours on their way
	behind  bool                 // there may be much to read: the first time, and after a failure
	failing bool
}

// dated is a listed text and when it was created.
type dated struct {
	listed
	created time.Time
}

type pending struct {
	created, next time.Time
	wait          time.Duration
}

// Run polls for texts from phones and for what became of ours, until ctx ends.
// Without Options.Poll it waits for that only. Texts that the Inbox has not
// taken are given again; after a restart all of the last days are, and
// the Inbox tells by their ids which are new.
func (t *Transport) Run(ctx context.Context, in sms.Inbox) error {
	if t.opt.Poll <= 0 {
		<-ctx.Done()
		return nil
	}
	p := &poller{t: t, in: in, known: map[string]string{}, created: map[string]time.Time{}, pending: map[string]*pending{}, behind: true}
	tick := time.NewTicker(t.opt.Poll)
	defer tick.Stop()
	for {
		err := p.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		p.say(err)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// say logs the first failure of a row, and its end.
func (p *poller) say(err error) {
	log := p.t.opt.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	switch {
	case err != nil && !p.failing:
		log.Warn("texts from phones cannot be fetched from the provider; asked again until they can", "transport", "twilio", "error", err)
	case err == nil && p.failing:
		log.Info("texts from phones are fetched from the provider again", "transport", "twilio")
	}
	p.failing = err != nil
}

// poll reads the list, newest first, back to what is known, and gives what it read
// oldest first. since moves on only when everything up to it was read and stored.
func (p *poller) poll(ctx context.Context) error {
	size := pollPage
	if p.behind {
		size = catchUpPage
	}
	p.behind = true
	query := url.Values{"PageSize": {strconv.Itoa(size)}}
	var now time.Time
	var failed, incomplete error
	var fresh []dated
pages:
	for n := 0; ; n++ {
		if n == maxPages {
			// The oldest are given up, lest nothing newer is ever known.
			incomplete = fmt.Errorf("twilio: poll: more than %d texts since the last time: older ones were not read", maxPages*size)
			break
		}
		l, err := p.t.list(ctx, query)
		if err != nil {
			failed = fmt.Errorf("twilio: poll: %w", err)
			break
		}
		if n == 0 {
			if now = l.date; now.IsZero() {
				now = p.t.opt.Now()
			}
			if p.since.IsZero() {
				p.since = now.Add(-p.t.opt.Lookback)
			}
		}
		older := len(l.messages) > 0
		for _, m := range l.messages {
			created, err := mail.ParseDate(m.DateCreated)
			if err != nil {
				failed = errors.New("twilio: poll: a message without a date of creation")
				break pages
			}
			if created.Before(p.since) {
				continue
			}
			older = false
			fresh = append(fresh, dated{m, created})
		}
		// The list's order is by a date that a text may yet lack, so one old text
		// is no end: a page of them is.
		if older || l.next == nil {
			break
		}
		query = l.next
	}
	if failed != nil && !p.failing {
		return failed // all of it is read again; a second time what is there is not kept waiting
	}
	// In the order in which they were said: STOP and then START is not START and then
	// STOP. The list is newest first, and its dates are of whole seconds.
	slices.Reverse(fresh)
	slices.SortStableFunc(fresh, func(a, b dated) int { return a.created.Compare(b.created) })
	waits := map[string]bool{}
	for _, m := range fresh {
		who := ""
		if m.From != nil && m.Direction == "inbound" { // what is ours has no order
			who = *m.From
		}
		if who != "" && waits[who] {
			continue // for one before it
		}
		if err := p.take(ctx, m.listed, m.created, now); err != nil {
			failed, waits[who] = err, true // the others may be stored all the same
		}
	}
	if err := p.ask(ctx, now); err != nil && incomplete == nil {
		incomplete = err // it is asked again; what came in does not wait for it
	}
	if failed != nil {
		return failed
	}
	if until := now.Add(-pollOverlap); until.After(p.since) {
		p.since = until
	}
	for id, c := range p.created {
		if c.Before(p.since) {
			delete(p.created, id)
			delete(p.known, id)
		}
	}
	p.behind = false
	return incomplete
}

// take gives one listed text to the Inbox, unless it has it.
func (p *poller) take(ctx context.Context, m listed, created, now time.Time) error {
	id, status := m.SID.Clean(), m.Status.Clean()
	if id == "" || !p.t.concerns(m) {
		return nil
	}
	switch told, ok := p.known[id]; {
	case m.Direction == "inbound":
		if ok {
			return nil
		}
		if status == "receiving" {
			return nil // its words or pictures are not all there
		}
		in := sms.Inbound{ID: id, To: m.To, Body: strings.ToValidUTF8(m.Body, "\uFFFD"), At: created}
		if m.From != nil {
			in.From = *m.From
		}
		in.Media, _ = strconv.Atoi(string(m.NumMedia))
		if err := p.in.Received(ctx, in); err != nil {
			return errors.New("twilio: poll: a text could not be stored")
		}
	case strings.HasPrefix(m.Direction, "outbound"):
		d := delivery(m.SID, m.Status, m.ErrorCode)
		if d.Delivery == sms.EnRoute {
			if p.pending[id] == nil && len(p.pending) < maxPending {
				p.pending[id] = &pending{created: created, next: now.Add(pollOverlap), wait: pollOverlap}
			}
		} else {
			delete(p.pending, id)
		}
		if ok && told == status {
			return nil
		}
		d.At = updated(m)
		if err := p.in.Receipt(ctx, d); err != nil {
			return errors.New("twilio: poll: a receipt could not be stored")
		}
	default:
		return nil
	}
	p.known[id], p.created[id] = status, created
	return nil
}

// updated is when m's status changed, if it says so.
func updated(m listed) time.Time {
	at, err := mail.ParseDate(m.DateUpdated)
	if err != nil {
		return time.Time{}
	}
	return at
}

// ask looks after texts of ours that are too old for the list's newest pages and still on their way.
func (p *poller) ask(ctx context.Context, now time.Time) error {
	asked := 0
	for id, w := range p.pending {
		switch {
		case now.Sub(w.created) > receiptWait:
			delete(p.pending, id) // nobody knows, and nobody will
		case w.next.After(now) || !w.created.Before(p.since):
		case asked < maxAsks:
			asked++
			m, found, err := p.t.message(ctx, id)
			if err != nil {
				return fmt.Errorf("twilio: ask for a receipt: %w", err)
			}
			if !found {
				delete(p.pending, id) // deleted in the console
				continue
			}
			w.wait *= 2
			w.next = now.Add(w.wait)
			d := delivery(once.Word(id), m.Status, m.ErrorCode)
			if d.Delivery == sms.EnRoute {
				continue
			}
			d.At = updated(m)
			if err := p.in.Receipt(ctx, d); err != nil {
				return errors.New("twilio: poll: a receipt could not be stored")
			}
			delete(p.pending, id)
		}
	}
	return nil
}

// concerns reports whether m is to or from the office. An account may have other
// numbers, whose texts are none of ours.
func (t *Transport) concerns(m listed) bool {
	if len(t.opt.Numbers) == 0 {
		return true
	}
	ours := m.To
	if m.Direction != "inbound" {
		if m.From == nil {
			return false
		}
		ours = *m.From
	}
	return slices.Contains(t.opt.Numbers, ours)
}

// page is one page of the list of texts.
type page struct {
	messages []listed
	next     url.Values // of the page after it; nil: there is none
	date     time.Time
}

func (t *Transport) list(ctx context.Context, query url.Values) (page, error) {
	a, err := t.http.Do(ctx, t.as(once.Get(t.messagesURL(query))))
	if err != nil {
		return page{}, err
	}
	if a.Status != http.StatusOK {
		return page{}, fmt.Errorf("HTTP %d", a.Status)
	}
	var l struct {
		Messages    []listed `json:"messages"`
		NextPageURI *string  `json:"next_page_uri"`
	}
	if err := json.Unmarshal(a.Body, &l); err != nil || l.Messages == nil {
		return page{}, errors.New("not a list of messages")
	}
	p := page{messages: l.Messages, date: a.Date}
	if l.NextPageURI != nil && *l.NextPageURI != "" {
		// Its query only: credentials go to no address that an answer names.
		u, err := url.Parse(*l.NextPageURI)
		if err != nil || u.RawQuery == "" {
			return page{}, errors.New("a link to the next page that cannot be read")
		}
		p.next = u.Query()
	}
	return p, nil
}

// message asks for one text.
func (t *Transport) message(ctx context.Context, id string) (m listed, found bool, err error) {
	a, err := t.http.Do(ctx, t.as(once.Get(t.resource("Messages/"+id, nil))))
	switch {
	case err != nil:
		return listed{}, false, err
	case a.Status == http.StatusNotFound:
		return listed{}, false, nil
	case a.Status != http.StatusOK:
		return listed{}, false, fmt.Errorf("HTTP %d", a.Status)
	case json.Unmarshal(a.Body, &m) != nil:
		return listed{}, false, errors.New("not a message")
	}
	return m, true, nil
}
