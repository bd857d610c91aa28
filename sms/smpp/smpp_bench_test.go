package smpp

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"textback/sms/smpp/pdu"
	"textback/sms/smpp/smsc"
)

// gate holds every submit until it is opened, and tells when a number of them has passed.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
	left atomic.Int64
	done chan struct{}
}

func (g *gate) shut(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.done = make(chan struct{}), make(chan struct{})
	g.left.Store(int64(n))
}

func (g *gate) pass(pdu.Message, int) smsc.Behaviour {
	g.mu.Lock()
	open, done := g.open, g.done
	g.mu.Unlock()
	<-open
	if g.left.Add(-1) == 0 {
		close(done)
	}
	return smsc.Accept
}

// How many submits a second go to the same SMSC, on the same machine, with the same window, by
// us and by Kannel's own SMPP client. Both have all texts at hand when the clock
// starts: Kannel in its queue, ours in goroutines that wait for a place in the window. The
// clock stops when the SMSC has answered the last.
func BenchmarkSubmit(b *testing.B) {
	const body = "Miller Dental: sorry we missed your call! Reply here or call back at 212 555 0100. Reply STOP to opt out."
	run := func(b *testing.B, g *gate, load func(n int)) {
		g.shut(b.N)
		b.StopTimer()
		if load(b.N); b.Failed() {
			b.FailNow()
		}
		runtime.GC()
		b.StartTimer()
		began := time.Now()
		close(g.open)
		select {
		case <-g.done:
		case <-time.After(time.Minute):
			b.Fatal("not all texts came")
		}
		b.StopTimer()
		b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "submits/s")
	}
	b.Run("textback", func(b *testing.B) {
		s, g := listen(b), &gate{}
		s.Behave = g.pass
		opt := options(b, s.Addr())
		opt.AnswerTimeout, opt.Window = time.Minute, kannelWindow
		tr := transport(b, opt)
		stop := keep(b, tr, &inbox{})
		defer stop()
		var wg sync.WaitGroup
		run(b, g, func(n int) {
			var next atomic.Int64
			for range min(n, 4*kannelWindow) {
				wg.Go(func() {
					for next.Add(1) <= int64(n) {
						if _, err := tr.Submit(b.Context(), message(body)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			until(b, "the window is full", func() bool { return s.Seen() > 0 })
		})
		wg.Wait()
	})
	s, g := listen(b), &gate{}
	s.Behave = g.pass
	k := startKannel(b, s) // here: what is begun in Run ends with each of its rounds
	b.Run("kannel", func(b *testing.B) {
		run(b, g, func(n int) {
			var wg sync.WaitGroup
			var next atomic.Int64
			for range 8 {
				wg.Go(func() {
					for next.Add(1) <= int64(n) {
						if err := k.submit("", body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	})
}
