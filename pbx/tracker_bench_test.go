package pbx

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkCallsInProgress tells the memory that calls in progress take: two
// legs each, ringing. Compare 1,000 with 10,000: what a call costs must not
// grow with their number.
func BenchmarkCallsInProgress(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				tr := NewTracker(Config{Region: "US"})
				at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
				for i := range n {
					in := Leg{ID: fmt.Sprintf("1795432636.%d", 2*i), Name: fmt.Sprintf("PJSIP/trunk-%08x", 2*i), State: LegRing,
						Context: "from-trunk", Exten: "5551000", Number: "+12025550143", Person: "Sarah Miller", CreatedAt: at}
					out := Leg{ID: fmt.Sprintf("1795432636.%d", 2*i+1), Name: fmt.Sprintf("PJSIP/101-%08x", 2*i+1), State: LegDown,
						Context: "from-internal", Number: "101", Person: "Alice Desk", CreatedAt: at}
					tr.Feed(&Fact{Kind: LegCreated, At: at, Leg: in})
					tr.Feed(&Fact{Kind: LegCreated, At: at, Leg: out})
					tr.Feed(&Fact{Kind: LegDialed, At: at, Leg: out, By: in})
					tr.Feed(&Fact{Kind: LegDialed, At: at, Leg: out, By: in, Dial: "RINGING"})
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				if calls, _ := tr.Open(); calls != n {
					b.Fatalf("%d calls", calls)
				}
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/call")
				runtime.KeepAlive(tr)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
