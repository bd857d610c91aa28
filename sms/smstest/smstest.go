// Package smstest is in charge of the one suite that every transport passes: a
// text is taken, refused in each class, throttled, lost before and after bytes
// have left; receipts, replies and STOP come back; long texts and emoji arrive as
// they were written; a broken connection heals.
//
// A transport's tests give the suite a Harness: how to make the transport, and a
// Peer that plays the provider. The Peer is the transport's own emulator, or a
// wrapper around a part that we did not write.
package smstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
)

// Fate is what a Peer does with a submission.
type Fate string

const (
	Take        Fate = "take"          // accept, and say so
	Refuse      Fate = "refuse"        // refuse definitely, in the Class of the Order
	Down        Fate = "down"          // cannot be reached: no byte of the text leaves us
	TakeAndHang Fate = "take and hang" // accept, and never answer
	TakeAndCut  Fate = "take and cut"  // accept, and break the connection without an answer
	Cut         Fate = "cut"           // read the request, drop it, break the connection
)

// An Order tells a Peer what to do with the submissions to come.
type Order struct {
	Fate  Fate
	Class sms.Class // with Refuse
}

// A Peer plays the provider.
type Peer interface {
	// Do sets what becomes of the submissions from now on.
	Do(Order)
	// Taken are the texts accepted so far, oldest first, with their words as a
	// handset would show them. ID may be empty where the protocol carries none.
	Taken() []sms.Message
}

// A Replier is a Peer from which texts come (MO).
type Replier interface {
	// Reply sends m to the transport, and returns nil once the transport has said
	// that it has it. Called again with the same m it is the same text again.
	Reply(ctx context.Context, m sms.Inbound) error
}

// A Reporter is a Peer that sends delivery receipts.
type Reporter interface {
	// Report sends a receipt for the nth text taken (from 0). class is empty for
	// delivered; a Peer that cannot tell classes apart ignores it.
	Report(ctx context.Context, n int, d sms.Delivery, class sms.Class) error
}

// A Dropper is a Peer that can break every connection there is.
type Dropper interface{ Drop() }

// A Harness is one transport under test.
type Harness struct {
	// New makes a transport and its peer, which end with t. Timeouts should be set
	// so that a hanging peer is given up within about a second.
	New func(t *testing.T) (sms.Transport, Peer)
	// From and To are used in texts; the defaults are numbers of the US.
	From, To string
	// Refusals are the classes that the peer can refuse in. They should be all
	// that the protocol can express.
	Refusals []sms.Class
	// Fates are those, beside Take and Refuse, that the protocol can meet.
	// Hanging and cutting ones must come out Ambiguous.
	Fates []Fate
	// NoEmoji says why the other side cannot carry characters outside the BMP.
	NoEmoji string
}

// inbox collects what arrives; refuse makes it say no.
type inbox struct {
	mu       sync.Mutex
	refuse   bool
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

var errFull = errors.New("not on disk")

func (b *inbox) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse {
		return errFull
	}
	b.inbound = append(b.inbound, m)
	return nil
}

func (b *inbox) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse {
		return errFull
	}
	b.receipts = append(b.receipts, r)
	return nil
}

func (b *inbox) got() ([]sms.Inbound, []sms.DeliveryReceipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.inbound), slices.Clone(b.receipts)
}

// WebhookPeer is a Peer that calls the transport's handler; Run hands it over.
type WebhookPeer interface {
	Serve(h sms.WebhookTaker, in sms.Inbox)
}

// Texts that must arrive as they were written.
var words = map[string]string{
	"plain":             "Miller Dental: sorry we missed you! Reply STOP to opt out.",
	"signs":             "1 + 1 = 2 & 100% of \"it\"; a=b#c?d/e\\f <g> 'h'",
	"lines":             "first line\nsecond line",
	"GSM-7 extension":   "costs 5€ [or] {6} ~ ^7|8\\",
	"umlauts":           "Grüße aus Köln, à bientôt ñ",
	"two segments":      strings.Repeat("0123456789 ", 20) + "end",
	"UCS-2":             "Привет! 你好",
	"emoji":             "see you 😀👍🏽",
	"two UCS-2 parts":   strings.Repeat("до свидания ", 9) + "😀",
	"escape at the end": strings.Repeat("x", 152) + "€" + strings.Repeat("y", 20),
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	if h.From == "" {
		h.From = "+12125550100"
	}
	if h.To == "" {
		h.To = "+12025550143"
	}
	t.Run("traits", func(t *testing.T) { h.traits(t) })
	t.Run("taken", func(t *testing.T) { h.taken(t) })
	t.Run("refused", func(t *testing.T) { h.refused(t) })
	t.Run("lost", func(t *testing.T) { h.lost(t) })
	t.Run("receipt", func(t *testing.T) { h.receipt(t) })
	t.Run("reply", func(t *testing.T) { h.reply(t) })
	t.Run("reconnect", func(t *testing.T) { h.reconnect(t) })
}

// begin makes a running transport.
func (h *Harness) begin(t *testing.T) (sms.Transport, Peer, *inbox) {
	t.Helper()
	tr, p := h.New(t)
	in := &inbox{}
	if w, ok := tr.(sms.WebhookTaker); ok {
		if wp, ok := p.(WebhookPeer); ok {
			wp.Serve(w, in)
		}
	}
	if r, ok := tr.(sms.Runner); ok {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx, in) }()
		t.Cleanup(func() {
			stop()
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Error("Run does not end with its context")
			}
		})
	}
	return tr, p, in
}

func (h *Harness) message(id, body string) sms.Message {
	return sms.Message{ID: id, From: h.From, To: h.To, Body: body}
}

// submit makes one attempt. A session that is still being built answers
// Transient: that is waited out, as the outbox does.
func (h *Harness) submit(t *testing.T, tr sms.Transport, m sms.Message) (sms.Receipt, error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := tr.Submit(ctx, m)
		cancel()
		if _, session := tr.(sms.Runner); !session || err == nil || sms.ClassOf(err) != sms.Transient || time.Now().After(end) {
			return r, err
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (h *Harness) traits(t *testing.T) {
	tr, p, _ := h.begin(t)
	d, ok := tr.(sms.Declarer)
	if !ok {
		t.Fatal("it declares no traits")
	}
	tt := d.Traits()
	_, webhook := tr.(sms.WebhookTaker)
	_, runner := tr.(sms.Runner)
	_, replies := p.(Replier)
	_, reports := p.(Reporter)
	switch tt.Replies {
	case sms.NoReplies:
	case sms.ByWebhook:
		if !webhook {
			t.Error("replies come by webhook, and there is no handler")
		}
	case sms.ByPoll, sms.BySession, sms.BySpool:
		if !runner {
			t.Errorf("replies come by %s, and nothing runs", tt.Replies)
		}
	default:
		t.Errorf("replies come by %q", tt.Replies)
	}
	if tt.Name == "" || replies != (tt.Replies != sms.NoReplies) || reports != tt.Receipts {
		t.Errorf("%+v does not fit its peer", tt)
	}
}

func (h *Harness) taken(t *testing.T) {
	tr, p, _ := h.begin(t)
	var want []string
	for name, body := range words {
		if h.NoEmoji != "" && strings.ContainsFunc(body, func(r rune) bool { return r > 0xffff }) {
			t.Logf("left out %q: %s", name, h.NoEmoji)
			continue
		}
		r, err := h.submit(t, tr, h.message("job-"+strings.ReplaceAll(name, " ", "-"), body))
		if d, ok := tr.(sms.Declarer); ok {
			if n, _ := gsm7.Segments(body); d.Traits().MaxSegments > 0 && n > d.Traits().MaxSegments {
				// Too long for this way: refused definitely, and nothing of it goes out.
				if class := sms.ClassOf(err); err == nil || class == sms.Ambiguous || class.Retryable() || len(p.Taken()) != len(want) {
					t.Errorf("%s: %d segments of at most %d: %v, %d taken", name, n, d.Traits().MaxSegments, err, len(p.Taken())-len(want))
				}
				continue
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n, _ := gsm7.Segments(body); r.Segments != 0 && r.Segments != n {
			t.Errorf("%s: %d segments, want %d", name, r.Segments, n)
		}
		want = append(want, body)
		var got []sms.Message
		until(t, "taken: "+name, func() bool { got = p.Taken(); return len(got) == len(want) })
		last := got[len(got)-1]
		if last.Body != body || digits(last.To) != digits(h.To) {
			t.Errorf("%s: the handset shows %q to %s, want %q to %s", name, last.Body, last.To, body, h.To)
		}
		if last.From != "" && digits(last.From) != digits(h.From) {
			t.Errorf("%s: from %s, want %s", name, last.From, h.From)
		}
	}
}

// digits is a number without its plus: some protocols carry the type apart.
func digits(s string) string { return strings.TrimPrefix(s, "+") }

func (h *Harness) refused(t *testing.T) {
	for _, class := range h.Refusals {
		t.Run(string(class), func(t *testing.T) {
			tr, p, _ := h.begin(t)
			p.Do(Order{Fate: Refuse, Class: class})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var err error
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				_, err = tr.Submit(ctx, h.message("refused", "refused"))
				if got := sms.ClassOf(err); err != nil && (got == class || got != sms.Transient) {
					break // while a session is being built the answer is Transient
				}
			}
			if err == nil || sms.ClassOf(err) != class {
				t.Fatalf("%v, want class %s", err, class)
			}
			h.discreet(t, err)
			if got := p.Taken(); len(got) != 0 {
				t.Errorf("refused and taken: %v", got)
			}
		})
	}
}

// discreet looks for what no error may hold.
func (h *Harness) discreet(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{h.To, digits(h.To), "secret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows %q: %v", secret, err)
		}
	}
}

func (h *Harness) lost(t *testing.T) {
	for _, f := range h.Fates {
		t.Run(string(f), func(t *testing.T) {
			tr, p, _ := h.begin(t)
			if _, err := h.submit(t, tr, h.message("first", "first")); err != nil {
				t.Fatal(err)
			}
			until(t, "the first is taken", func() bool { return len(p.Taken()) == 1 })
			p.Do(Order{Fate: f})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := tr.Submit(ctx, h.message("second", "second secret"))
			want := sms.Ambiguous
			if f == Down {
				want = sms.Transient
			}
			if err == nil || sms.ClassOf(err) != want {
				t.Fatalf("%v, want class %s", err, want)
			}
			h.discreet(t, err)
			if n := len(p.Taken()); f == TakeAndHang || f == TakeAndCut {
				until(t, "it was taken once", func() bool { return len(p.Taken()) == 2 })
			} else if n != 1 {
				t.Errorf("%d texts taken", n)
			}
			// It heals, and nothing is sent a second time behind our back.
			before := len(p.Taken())
			p.Do(Order{Fate: Take})
			if _, err := h.submit(t, tr, h.message("third", "third")); err != nil {
				t.Fatalf("after %s: %v", f, err)
			}
			until(t, "the third is taken", func() bool { return len(p.Taken()) == before+1 })
			if last := p.Taken()[before]; last.Body != "third" {
				t.Errorf("taken: %q", last.Body)
			}
		})
	}
}

func (h *Harness) receipt(t *testing.T) {
	tr, p, in := h.begin(t)
	rep, ok := p.(Reporter)
	if !ok {
		t.Log("no receipts in this protocol")
		return
	}
	r, err := h.submit(t, tr, h.message("receipt-1", "tell me"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "taken", func() bool { return len(p.Taken()) == 1 })
	for _, d := range []sms.Delivery{sms.EnRoute, sms.Delivered, sms.Undelivered} {
		_, before := in.got()
		class := sms.Class("")
		if d == sms.Undelivered {
			class = sms.NotMobile
		}
		if err := rep.Report(t.Context(), 0, d, class); err != nil {
			t.Fatalf("%s: %v", d, err)
		}
		until(t, fmt.Sprintf("a receipt that says %s", d), func() bool {
			_, now := in.got()
			for _, x := range now[len(before):] {
				if x.Delivery == d && (x.ProviderID == r.ProviderID && r.ProviderID != "" || x.MessageID == "receipt-1") {
					if d == sms.Undelivered && x.Class == "" {
						t.Error("undelivered without a class")
					}
					return true
				}
			}
			return false
		})
	}
}

func (h *Harness) reply(t *testing.T) {
	tr, p, in := h.begin(t)
	rep, ok := p.(Replier)
	if !ok {
		t.Log("no way in")
		return
	}
	if _, err := h.submit(t, tr, h.message("before", "before")); err != nil {
		t.Fatal(err)
	}
	for i, body := range []string{"STOP", "Yes please, call me at 5 + 30 min & thanks", "Grüße [ok] 5€", "d'accord 😀", strings.Repeat("a long answer ", 20) + "end"} {
		if h.NoEmoji != "" && strings.ContainsFunc(body, func(r rune) bool { return r > 0xffff }) {
			continue
		}
		m := sms.Inbound{ID: fmt.Sprintf("mo%d", i), From: h.To, To: h.From, Body: body}
		before, _ := in.got()
		if err := rep.Reply(t.Context(), m); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		until(t, fmt.Sprintf("reply %q", body), func() bool { now, _ := in.got(); return len(now) > len(before) })
		now, _ := in.got()
		got := now[len(before)]
		if got.Body != body || got.From != h.To || got.To != "" && digits(got.To) != digits(h.From) {
			t.Errorf("%+v, want %+v", got, m)
		}
	}
	// What could not be stored comes again, and is told apart by the same id.
	in.mu.Lock()
	in.refuse = true
	in.mu.Unlock()
	m := sms.Inbound{ID: "again", From: h.To, To: h.From, Body: "once more"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	_ = rep.Reply(ctx, m)
	cancel()
	in.mu.Lock()
	in.refuse = false
	in.mu.Unlock()
	before, _ := in.got()
	_ = rep.Reply(t.Context(), m)
	until(t, "the reply that could not be stored at first", func() bool { now, _ := in.got(); return len(now) > len(before) })
	now, _ := in.got()
	if got := now[len(before)]; got.Body != m.Body || got.From != m.From {
		t.Errorf("%+v, want %+v", got, m)
	}
}

func (h *Harness) reconnect(t *testing.T) {
	tr, p, _ := h.begin(t)
	d, ok := p.(Dropper)
	if !ok {
		t.Log("nothing to break")
		return
	}
	for i := range 3 {
		id := fmt.Sprintf("round-%d", i)
		if _, err := h.submit(t, tr, h.message(id, id)); err != nil {
			t.Fatal(err)
		}
		until(t, id, func() bool { return len(p.Taken()) == i+1 })
		d.Drop()
	}
}
