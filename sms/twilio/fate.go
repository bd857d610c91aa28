package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	fatePage = 50

	// date_created has whole seconds, and the Date header with which clocks are
	// compared another rounding.
	fateSlack = 2 * time.Second

	// A text of the attempt is created while the attempt lasts, or moments after
	// our side gave up on it. A later one is somebody else's.
	fateWindow = 10 * time.Minute

	// An account on trial puts this in front of every text.
	trialPrefix = "Sent from your Twilio trial account - "

	maxAttempts = 4096
)

// ErrCannotTell is wrapped by Fate's errors when the provider was asked and
// its answer decides nothing.
var ErrCannotTell = errors.New("twilio: the provider's list cannot tell")

// remember notes when the last Submit of a message began.
func (t *Transport) remember(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.attempts[id]; !ok {
		t.order = append(t.order, id)
	}
	t.attempts[id] = t.opt.Now()
	for len(t.order) > maxAttempts {
		delete(t.attempts, t.order[0])
		t.order = slices.Delete(t.order, 0, 1)
	}
}

// Fate asks what became of the last Submit of m by this process. After a
// restart it cannot tell, because it does not know when the attempt was made;
// FateSince can.
func (t *Transport) Fate(ctx context.Context, m sms.Message) (sms.Receipt, bool, error) {
	t.mu.Lock()
	attempted, ok := t.attempts[m.ID]
	t.mu.Unlock()
	if !ok {
		return sms.Receipt{}, false, fmt.Errorf("%w: the attempt was made by another process", ErrCannotTell)
	}
	return t.FateSince(ctx, m, attempted)
}

// listed is what is read of a message in the provider's list.
type listed struct {
	result
	Direction           string    `json:"direction"`
	To                  string    `json:"to"`
	From                *string   `json:"from"`
	MessagingServiceSID *string   `json:"messaging_service_sid"`
	Body                string    `json:"body"`
	DateCreated         string    `json:"date_created"`
	DateUpdated         string    `json:"date_updated"`
	NumMedia            once.Word `json:"num_media"`
}

// FateSince asks what became of m, submitted at attempted by this host's
// clock. The provider keeps no reference of ours, so it looks through the texts
// to the same recipient for one with the same sender and words created in the
// ten minutes from the attempt: exactly one is the answer. A receipt says that
// the provider took the text, not that it arrived: its Status may be "failed".
//
// found is never false with a nil error. A request still on its way, a list
// that lags behind, and a service that rewrites bodies (smart encoding, link
// shortening, content retention) all look like a text that was never taken, and
// a second text is worse than one that waits for an admin.
//
// The list is asked by recipient only. Its filter by date looks at the date of
// sending, which a text still in the queue does not have.
func (t *Transport) FateSince(ctx context.Context, m sms.Message, attempted time.Time) (sms.Receipt, bool, error) {
	l, err := t.list(ctx, url.Values{"To": {m.To}, "PageSize": {strconv.Itoa(fatePage)}})
	if err != nil {
		return sms.Receipt{}, false, fmt.Errorf("twilio: ask for fate: %w", err)
	}
	if !l.date.IsZero() {
		attempted = attempted.Add(l.date.Sub(t.opt.Now())) // by the provider's clock
	}
	from, to := attempted.Add(-fateSlack), attempted.Add(fateWindow)

	key, sender := t.sender(m)
	var matches []listed
	oldest := to
	for _, r := range l.messages {
		created, err := mail.ParseDate(r.DateCreated)
		if err != nil {
			return sms.Receipt{}, false, fmt.Errorf("%w: a message without a date of creation", ErrCannotTell)
		}
		if created.Before(oldest) {
			oldest = created
		}
		if created.Before(from) || created.After(to) || r.SID.Clean() == "" || r.To != m.To || !strings.HasPrefix(r.Direction, "outbound") {
			continue
		}
		have := r.From
		if key == "MessagingServiceSid" {
			have = r.MessagingServiceSID
		}
		if have == nil || *have != sender || strings.TrimPrefix(r.Body, trialPrefix) != m.Body {
			continue
		}
		matches = append(matches, r)
	}
	switch {
	case l.next != nil && !oldest.Before(from):
		return sms.Receipt{}, false, fmt.Errorf("%w: more than %d texts to one recipient since the attempt", ErrCannotTell, len(l.messages))
	case len(matches) == 0:
		return sms.Receipt{}, false, fmt.Errorf("%w: no text like it is listed", ErrCannotTell)
	case len(matches) > 1:
		return sms.Receipt{}, false, fmt.Errorf("%w: %d texts like it are listed", ErrCannotTell, len(matches))
	}
	r := matches[0]
	n, _ := strconv.Atoi(string(r.NumSegments))
	return sms.Receipt{ProviderID: string(r.SID), Segments: max(n, 0), Status: r.Status.Clean()}, true, nil
}

// Check asks the provider for one message of the list, to see that it can be
// reached and takes the credentials. It sends nothing. Its errors are
// *sms.Error, in words for an admin.
func (t *Transport) Check(ctx context.Context) error {
	// The list, not the account: a standard API key may not read the account.
	a, err := t.http.Do(ctx, t.as(once.Get(t.messagesURL(url.Values{"PageSize": {"1"}}))))
	if err != nil {
		return failure(sms.Transient, "", fmt.Errorf("check: %w", err))
	}
	var r struct {
		Code     once.Word       `json:"code"`
		Messages json.RawMessage `json:"messages"`
	}
	readable := json.Unmarshal(a.Body, &r) == nil
	if a.Status == http.StatusOK {
		if !readable || r.Messages == nil {
			return failure(sms.Misconfigured, "", errors.New("check: HTTP 200, but not from a Messages resource: check base_url"))
		}
		return nil
	}
	code := r.Code.Clean()
	class := classify(a.Status, code)
	if class == sms.Ambiguous {
		class = sms.Transient // nothing was submitted
	}
	return failure(class, code, fmt.Errorf("check: HTTP %d: %s", a.Status, t.advice(code)))
}
