package agreement

import (
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/lab"
	"textback/pbx/sip"

	library "github.com/emiago/sipgo/sip"
)

// Messages per second through witness and tracker, beside what the library takes
// to parse the same messages, in one run.
func BenchmarkWitness(b *testing.B) {
	ps := recorded(b, lab.Versions[0])
	b.Run("witness", func(b *testing.B) {
		b.ReportAllocs()
		tr := pbx.NewTracker(sip.Tracker(pbx.Config{Site: "lab", Region: "US"}))
		calls := 0
		tr.OnCall = func(*pbx.Call) { calls++ }
		w := sip.NewWitness(config(lab.Versions[0], true), tr.Feed)
		span := ps[len(ps)-1].At.Sub(ps[0].At) + 40*time.Second
		for i := range b.N {
			p := ps[i%len(ps)]
			p.At = p.At.Add(time.Duration(i/len(ps)) * span)
			w.Handle(&p)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		if b.N > 2*len(ps) && calls == 0 {
			b.Error("no calls")
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := library.ParseMessage(ps[i%len(ps)].Payload); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	})
}
