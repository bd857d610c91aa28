package sipmessage

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// What the sign of life before each text costs: the same submits with it and
// without, each challenged and answered, over UDP on loopback.
func BenchmarkSubmit(b *testing.B) {
	for _, noProbe := range []bool{false, true} {
		b.Run(fmt.Sprintf("probe=%v", !noProbe), func(b *testing.B) {
			p := newPeer(b, UDP)
			opt := p.options()
			opt.Register, opt.NoProbe = false, noProbe
			tr, err := New(opt)
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = tr.Run(ctx, &box{}) }()
			defer func() { stop(); <-done }()
			open := func() bool {
				s := tr.enter()
				if s != nil {
					tr.inflight.Done()
				}
				return s != nil
			}
			for !open() {
				time.Sleep(time.Millisecond)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tr.Submit(b.Context(), text); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
		})
	}
}
