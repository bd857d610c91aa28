package sms

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"textback/pbx"
)

// BenchmarkFinishedToSubmit is the way of a text without a delay, with every
// write synced: from the tracker's verdict (Finished) to the provider's request
// (Submit), one call after the other. A bare loop of write and fsync on the same
// disk, in the same run, tells what the disk alone takes.
func BenchmarkFinishedToSubmit(b *testing.B) {
	dir := b.TempDir()
	o := open(b, dir)
	arrived := make(chan time.Time, 1)
	o.sender("0s", arrival{arrived}, nil)
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line := make([]byte, 600)
	var whole, bare []time.Duration
	for i := range b.N {
		start := time.Now()
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		bare = append(bare, time.Since(start))
		c := missed("")
		c.Caller.Number = "+1" + []string{"202", "212", "312", "415", "617"}[i%5] + "555" + string([]byte{'0' + byte(i/5%10), '1' + byte(i/50%9), '0' + byte(i/500%10), '0' + byte(i/5000%10)})
		start = time.Now()
		o.finish(c)
		select {
		case at := <-arrived:
			whole = append(whole, at.Sub(start))
		case <-time.After(200 * time.Millisecond):
			// The rules did not text this one (a number not in use): not counted.
		}
	}
	if len(whole) == 0 {
		b.Fatal("no text at all")
	}
	quantiles := func(name string, d []time.Duration) {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(d[len(d)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	quantiles("text", whole)
	quantiles("fsync", bare)
	b.ReportMetric(0, "ns/op")
}

type arrival struct{ at chan time.Time }

func (a arrival) Submit(context.Context, Message) (Receipt, error) {
	select {
	case a.at <- time.Now():
	default:
	}
	return Receipt{ProviderID: "x"}, nil
}

// BenchmarkOutbox is how many texts a second leave when many callers are missed
// at once, every write synced, and beside it, in the same run, how many one
// gets by writing and syncing a line a text to a file: the least that not losing
// one costs on this disk.
func BenchmarkOutbox(b *testing.B) {
	dir := b.TempDir()
	o := open(b, dir)
	var left atomic.Int64
	all := make(chan struct{})
	r := parsed(b, "0s")
	n := int64(b.N)
	o.sender("0s", counter{func() {
		if left.Add(1) == n {
			close(all)
		}
	}}, func(s *SenderOptions) { s.Rules = func() Decider { return policy{Rules: r} } })
	calls := make([]*pbx.Call, b.N)
	for i := range calls {
		calls[i] = missed(fmt.Sprintf("+1%d%d%04d", []int{202, 212, 312, 415, 617}[i%5], 200+i/5%700, 1000+i/3500))
	}
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ResetTimer()
	start := time.Now()
	for _, c := range calls {
		if err := o.pub.Finished(c); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-all:
	case <-time.After(5 * time.Minute):
		b.Fatalf("%d of %d texts left", left.Load(), n)
	}
	outbox := time.Since(start)
	b.StopTimer()
	start = time.Now()
	line := make([]byte, 600)
	for range calls {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	bare := time.Since(start)
	b.ReportMetric(float64(n)/outbox.Seconds(), "texts/s")
	b.ReportMetric(float64(n)/bare.Seconds(), "fsyncs/s")
	b.ReportMetric(0, "ns/op")
}

type counter struct{ one func() }

func (c counter) Submit(context.Context, Message) (Receipt, error) {
	c.one()
	return Receipt{ProviderID: "x"}, nil
}
