package sms

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"textback/pbx/testkit"
)

// A STOP that cannot be stored is seen: in the log once, and in the sender's health until it is.
func TestUnstoredIsSeen(t *testing.T) {
	o := open(t, t.TempDir())
	var log testkit.Log
	var late atomic.Int64 // how far the sender's clock is ahead
	s := o.sender("1s", &desk{}, func(opt *SenderOptions) {
		opt.Log = slog.New(slog.NewTextHandler(&log, nil))
		opt.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	in := s.Inbox("smpp", Traits{})
	path := filepath.Join(o.dir, optOutsFile)
	stop, reply := inboundText("1", sarah, "STOP"), inboundText("2", bob, "Can I come at 5?")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	const bad, good = "what arrives cannot be stored", "what arrives is stored again"
	see := func(what string, well bool, bads, goods int) {
		t.Helper()
		if err := s.Storing(); (err == nil) != well {
			t.Errorf("%s: %v", what, err)
		}
		if n := strings.Count(log.String(), bad); n != bads {
			t.Errorf("%s: said %d times that it fails", what, n)
		}
		if n := strings.Count(log.String(), good); n != goods {
			t.Errorf("%s: said %d times that it works", what, n)
		}
	}
	see("at first", true, 0, 0)
	for range 3 { // the provider offers it again and again
		if in.Received(o.ctx(), stop) == nil {
			t.Fatal("it was stored")
		}
		see("not stored", false, 1, 0)
		o.give(in, reply) // what needs no list is, and that is no sign
		see("another is", false, 1, 0)
	}
	if strings.Contains(log.String(), "2025550143") || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "transport=smpp") {
		t.Error(log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	o.give(in, stop)
	see("stored", true, 1, 1)

	// Receipts are seen too. Who called and went away is nobody's failure.
	gone, cancel := context.WithCancel(o.ctx())
	cancel()
	receipt := DeliveryReceipt{ProviderID: "p1", Delivery: Delivered, At: time.Now()}
	if in.Receipt(gone, receipt) == nil {
		t.Fatal("stored by who is gone")
	}
	see("gone", true, 1, 1)
	short, cancel2 := context.WithTimeout(o.ctx(), time.Nanosecond)
	defer cancel2()
	if in.Receipt(short, receipt) == nil {
		t.Fatal("stored in no time")
	}
	see("a receipt", false, 2, 1)
	// Its provider gives up: the next that is stored shows that all is well.
	late.Store(int64(2 * offeredAgain))
	o.give(in, reply)
	see("given up", true, 2, 2)
	if in.Receipt(short, receipt) == nil {
		t.Fatal("stored in no time")
	}
	see("again", false, 3, 2)
	late.Add(int64(2 * unstoredKnown)) // and nothing comes any more
	see("long ago", true, 3, 2)
}
