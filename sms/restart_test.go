package sms_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"textback/pbx"
	"textback/pbx/testkit"
	"textback/sms"
	"textback/sms/emulator"
)

// natsServer starts a server on port, 0 for any, that another one may have had before.
func natsServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	} else {
		l, err := testkit.Listen(fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	ns, err := server.NewServer(&server.Options{ServerName: "outside", Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return ns
}

// TestNATSRestartsMidRun takes the NATS server away from a sender at work. What
// the provider answers meanwhile is kept until it can be stored.
func TestNATSRestartsMidRun(t *testing.T) {
	const callers, every = 40, 8
	store := t.TempDir()
	ns := natsServer(t, store, 0)
	defer func() { ns.Shutdown(); ns.WaitForShutdown() }()
	url := ns.ClientURL()
	var port int
	if _, err := fmt.Sscanf(url, "nats://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}

	emu := emulator.New()
	var mu sync.Mutex
	taken := 0
	away := make(chan chan struct{})
	emu.At = func(m emulator.Moment, _ emulator.Text) {
		if m != emulator.Accepted {
			return
		}
		mu.Lock()
		taken++
		restart := taken%every == 0
		mu.Unlock()
		if restart { // it answers only once NATS is away
			down := make(chan struct{})
			away <- down
			<-down
		}
	}
	s := httptest.NewServer(emu)
	defer s.Close()

	n := &inside{args: args{Dir: t.TempDir(), URL: s.URL, Account: emu.AccountSID, Token: emu.AuthToken}, nats: url,
		log: slog.New(slog.DiscardHandler), say: func(string, ...any) {}}
	ctx, stop := context.WithCancel(context.Background())
	if err := n.open(ctx); err != nil {
		t.Fatal(err)
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	for _, run := range []func(context.Context) error{n.pub.Run, n.sender.Run} {
		parts.Add(1)
		go func() { defer parts.Done(); _ = run(ctx) }()
	}

	x := &chaos{t: t}
	calls := 0
	go func() {
		for i := range callers {
			number := x.newNumber()
			for range 1 + i%4/3 { // every fourth calls twice
				c := x.call(number, pbx.RangOut)
				c.EndedAt = time.Now().UTC().Truncate(time.Millisecond)
				c.StartedAt = c.EndedAt.Add(-10 * time.Second)
				if err := n.pub.Finished(c.Call); err != nil {
					t.Error(err)
				}
				mu.Lock()
				calls++
				mu.Unlock()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	restarts := 0
	states := map[sms.State]int{}
	for end := time.After(4 * time.Minute); ; {
		select {
		case down := <-away:
			ns.Shutdown()
			ns.WaitForShutdown()
			close(down)
			time.Sleep(100 * time.Millisecond)
			ns = natsServer(t, store, port)
			restarts++
			continue
		case <-end:
			t.Fatalf("never done: %d calls, texts %v, jobs %v", calls, emu.Counts(), states)
		case <-time.After(50 * time.Millisecond):
		}
		rctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		r, err := n.report(rctx)
		cancel()
		if err != nil {
			continue
		}
		last := map[string]sms.State{} // one that changes meanwhile is read twice
		for _, j := range r.Jobs {
			last[j.ID] = j.State
		}
		clear(states)
		for _, st := range last {
			states[st]++
		}
		if states[sms.Sent]+states[sms.Suppressed] == callers*5/4 && r.Waiting == 0 && r.Unacked == 0 {
			break
		}
	}
	counts := emu.Counts()
	for number, n := range counts {
		if n != 1 {
			t.Errorf("%s: %d texts", number, n)
		}
	}
	if len(counts) != callers || len(emu.Texts()) != callers || states[sms.Sent] != callers || restarts < callers/every {
		t.Errorf("%d callers, %d texts, %d submissions, jobs %v, %d restarts", callers, len(counts), len(emu.Texts()), states, restarts)
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d calls of %d callers, %d restarts: jobs %v", calls, callers, restarts, states)
}
