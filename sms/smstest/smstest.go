// Package smstest is in charge of the one suite that every transport passes: a
// text is taken, refused in each class, throttled, too long, lost before and after
// bytes have left; receipts, replies and STOP come back, and come again when they could
// not be stored; long texts and emoji arrive as they were written; a broken
// connection heals. A case that a transport cannot have is not run, so that what
// is counted is what was proved.
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

// Again is how a reply comes a second time that could not be stored the first time.
type Again string

const (
	// Offered: the transport has the peer know, so that Reply is an error, and the peer
	// offers the same text again.
	Offered Again = ""
	// ByItself: Reply cannot tell. The text waits, and comes without being offered.
	ByItself Again = "by itself"
	// Never: what stands between drops it, and this case is not run.
	Never Again = "never"
)

// Patience is how long a transport under test should wait for an answer: longer than a busy
// machine takes, but for the cases in which none comes.
func Patience(t testing.TB) time.Duration {
	if name := t.Name(); strings.HasSuffix(name, "/take_and_hang") || strings.HasSuffix(name, "/cut") {
		return 4 * time.Second
	}
	return 30 * time.Second
}

// A Harness is one transport under test.
type Harness struct {
	// New makes a transport and its peer, which end with t. It waits for answers as long as
	// Patience says.
	New func(t *testing.T) (sms.Transport, Peer)
	// From and To are used in texts; the defaults are numbers of the US.
	From, To string
	// Refusals are the classes that the peer can refuse in. They should be all
	// that the protocol can express.
	Refusals []sms.Class
	// RefusedLater are those in which it refuses what Submit has handed over: a receipt tells.
	RefusedLater []sms.Class
	// Fates are those, beside Take and Refuse, that the protocol can meet.
	// Hanging and cutting ones must come out Ambiguous.
	Fates []Fate
	// Spare says that a text of one segment more than declared may still go out,
	// because the limit is one of bytes: two more may not.
	Spare bool
	// Again is what becomes of replies that could not be stored.
	Again Again
	// NoEmoji says why the other side cannot carry characters outside the BMP.
	NoEmoji string
}

// inbox collects what arrives; refuse makes it say no.
type inbox struct {
	mu       sync.Mutex
	refuse   bool
	refused  []sms.Inbound
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
}

var errFull = errors.New("not on disk")

func (b *inbox) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse {
		b.refused = append(b.refused, m)
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

// full makes it refuse, or take again, and returns what it has refused.
func (b *inbox) full(yes bool) []sms.Inbound {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = yes
	return slices.Clone(b.refused)
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

// Run runs the cases that the transport can have.
func Run(t *testing.T, h Harness) {
	if h.From == "" {
		h.From = "+12125550100"
	}
	if h.To == "" {
		h.To = "+12025550143"
	}
	// What there is to try shows in a transport that is made and never runs.
	tr, p := h.New(t)
	_, replies := p.(Replier)
	_, reports := p.(Reporter)
	_, drops := p.(Dropper)
	for _, c := range []struct {
		name string
		has  bool
		run  func(*testing.T)
	}{
		{"traits", true, h.traits},
		{"taken", true, h.taken},
		{"oversized", most(tr) > 0, h.oversized},
		{"refused", len(h.Refusals)+len(h.RefusedLater) > 0, h.refused},
		{"lost", len(h.Fates) > 0, h.lost},
		{"receipt", reports, h.receipt},
		{"reply", replies, h.reply},
		{"again", replies && h.Again != Never, h.again},
		{"reconnect", drops, h.reconnect},
	} {
		if c.has {
			t.Run(c.name, c.run)
		}
	}
}

// most is how many segments a text may have; 0: there is no limit.
func most(tr sms.Transport) int {
	if d, ok := tr.(sms.Declarer); ok {
		return d.Traits().MaxSegments
	}
	return 0
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
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, err := tr.Submit(ctx, m)
		cancel()
		if _, session := tr.(sms.Runner); !session || err == nil || sms.ClassOf(err) != sms.Transient || time.Now().After(end) {
			return r, err
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
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
		if n, _ := gsm7.Segments(body); most(tr) > 0 && n > most(tr) {
			if !definite(err) && !(h.Spare && err == nil) || err != nil && len(p.Taken()) != len(want) {
				t.Errorf("%s: %d segments of at most %d: %v, %d taken", name, n, most(tr), err, len(p.Taken())-len(want))
			}
			if err != nil {
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

// definite reports whether err says that nothing was taken, and that another attempt is in vain.
func definite(err error) bool {
	class := sms.ClassOf(err)
	return err != nil && class != sms.Ambiguous && !class.Retryable()
}

// oversized: as many segments as the transport declares go out, and one more does not.
func (h *Harness) oversized(t *testing.T) {
	tr, p, _ := h.begin(t)
	full := func(segments int) string {
		size := 153
		if segments == 1 {
			size = 160
		}
		body := strings.Repeat("0123456789 ", segments*size/11+1)[:segments*size]
		if n, _ := gsm7.Segments(body); n != segments {
			t.Fatalf("%d segments, want %d", n, segments)
		}
		return body
	}
	if _, err := h.submit(t, tr, h.message("before", "before")); err != nil {
		t.Fatal(err)
	}
	n := most(tr) // now that it knows its peer
	if _, err := h.submit(t, tr, h.message("fits", full(n))); err != nil {
		t.Fatalf("%d segments, as many as it declares: %v", n, err)
	}
	until(t, "what fits is taken", func() bool { return len(p.Taken()) == 2 })
	long := n + 1
	if h.Spare {
		long++
	}
	_, err := h.submit(t, tr, h.message("too-long", full(long)))
	if !definite(err) {
		t.Fatalf("%d segments of at most %d: %v, want a definite refusal", long, n, err)
	}
	h.discreet(t, err)
	// Nothing of it comes behind the next text either.
	if _, err := h.submit(t, tr, h.message("after", "after")); err != nil {
		t.Fatal(err)
	}
	until(t, "the next is taken", func() bool { return len(p.Taken()) > 2 })
	if got := p.Taken(); len(got) != 3 || got[1].Body != full(n) || got[2].Body != "after" {
		t.Errorf("taken: %q", got)
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
	for _, class := range h.RefusedLater {
		t.Run("later, "+string(class), func(t *testing.T) { h.refusedLater(t, class) })
	}
}

func (h *Harness) refusedLater(t *testing.T, class sms.Class) {
	tr, p, in := h.begin(t)
	p.Do(Order{Fate: Refuse, Class: class})
	if _, err := h.submit(t, tr, h.message("refused", "refused")); err != nil {
		t.Fatal(err)
	}
	var last sms.DeliveryReceipt
	until(t, "a receipt of what was refused", func() bool {
		if _, all := in.got(); len(all) > 0 {
			last = all[len(all)-1]
		}
		return last.MessageID == "refused" && last.Delivery == sms.Undelivered
	})
	if last.Class != class {
		t.Errorf("%+v, want class %s", last, class)
	}
	if got := p.Taken(); len(got) != 0 {
		t.Errorf("refused and taken: %v", got)
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
	rep := p.(Reporter)
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
	rep := p.(Replier)
	if _, err := h.submit(t, tr, h.message("before", "before")); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
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
		if got.ID != "" && ids[got.ID] {
			t.Errorf("two texts with the id %q", got.ID)
		}
		ids[got.ID] = true
	}
}

// again: what could not be stored is not answered as if it were, comes again, and
// is told apart by the same id.
func (h *Harness) again(t *testing.T) {
	tr, p, in := h.begin(t)
	rep := p.(Replier)
	if _, err := h.submit(t, tr, h.message("before", "before")); err != nil {
		t.Fatal(err)
	}
	in.full(true)
	m := sms.Inbound{ID: "again", From: h.To, To: h.From, Body: "once more"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	err := rep.Reply(ctx, m)
	cancel()
	if (err != nil) != (h.Again == Offered) {
		t.Fatalf("a reply that could not be stored: the peer is told %v", err)
	}
	until(t, "the reply is refused", func() bool { return len(in.full(true)) > 0 })
	refused := in.full(false)
	if h.Again == Offered {
		if err := rep.Reply(t.Context(), m); err != nil {
			t.Fatalf("offered again: %v", err)
		}
	}
	until(t, "the reply that could not be stored at first", func() bool { now, _ := in.got(); return len(now) > 0 })
	now, _ := in.got()
	for _, got := range append(refused, now...) {
		if got.Body != m.Body || got.From != m.From || got.ID != now[0].ID {
			t.Errorf("%+v, want %+v with the id %q", got, m, now[0].ID)
		}
	}
}

func (h *Harness) reconnect(t *testing.T) {
	tr, p, _ := h.begin(t)
	d := p.(Dropper)
	for i := range 3 {
		id := fmt.Sprintf("round-%d", i)
		if _, err := h.submit(t, tr, h.message(id, id)); err != nil {
			t.Fatal(err)
		}
		until(t, id, func() bool { return len(p.Taken()) == i+1 })
		d.Drop()
	}
}
