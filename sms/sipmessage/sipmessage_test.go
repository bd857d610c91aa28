package sipmessage

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"textback/sms"
)

// box is an inbox that can refuse.
type box struct {
	mu       sync.Mutex
	err      error
	texts    []sms.Inbound
	receipts []sms.DeliveryReceipt
}

func (b *box) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.texts = append(b.texts, m)
	}
	return b.err
}

func (b *box) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.receipts = append(b.receipts, r)
	}
	return b.err
}

func (b *box) got() []sms.Inbound {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sms.Inbound(nil), b.texts...)
}

func (b *box) refuse(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = nil
	if yes {
		b.err = errors.New("the disk is full")
	}
}

// running is a transport that runs until the test ends; in may be nil.
func running(t *testing.T, opt Options, in *box) *Transport {
	t.Helper()
	if in == nil {
		in = &box{}
	}
	tr, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = tr.Run(ctx, in) }()
	t.Cleanup(func() { stop(); <-done })
	until(t, "the socket is open", func() bool {
		s := tr.enter()
		if s != nil {
			tr.inflight.Done()
		}
		return s != nil
	})
	return tr
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
