package nic

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"textback/pbx"
	"textback/pbx/sip"
)

// perSecond is the load of BenchmarkLoopback.
const perSecond = 20_000

// Calls over a real loopback interface, 20,000 messages a second, through packet
// socket, witness and tracker. A message that is lost is an error. "taskset -c 0"
// in front of the command keeps sender and receiver on one core.
func BenchmarkLoopback(b *testing.B) {
	if os.Getenv(inside) == "" {
		b.Skip("packet sockets need root")
	}
	var seen, calls atomic.Int64
	tr := pbx.NewTracker(sip.Tracker(pbx.Config{Site: "hq", Region: "US"}))
	tr.OnCall = func(*pbx.Call) { calls.Add(1) }
	w := sip.NewWitness(sip.Config{AllPhones: true}, tr.Feed)
	c, err := Open(Options{Interface: "lo", Ports: []Ports{{5060, 5060}}, Handle: func(p *sip.Packet) {
		w.Handle(p)
		seen.Add(1)
	}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	conn, err := net.Dial("udp4", "127.0.0.1:5060")
	if err != nil {
		b.Fatal(err)
	}
	sink, err := net.ListenPacket("udp4", "127.0.0.1:5060")
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	lines := []string{"INVITE sip:5551000@127.0.0.1 SIP/2.0", "SIP/2.0 180 Ringing", "SIP/2.0 486 Busy Here", "ACK sip:5551000@127.0.0.1 SIP/2.0"}
	methods := []string{"INVITE", "INVITE", "INVITE", "ACK"}
	began := time.Now()
	for i := range b.N {
		if due := began.Add(time.Duration(i) * time.Second / perSecond); i%20 == 0 {
			time.Sleep(time.Until(due))
		}
		k, id := i%4, i/4
		fmt.Fprintf(conn, "%s\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK%d\r\nFrom: <sip:+1202%07d@127.0.0.1>;tag=f%d\r\nTo: <sip:5551000@127.0.0.1>\r\nCall-ID: c%d\r\nCSeq: 1 %s\r\nContact: <sip:x@127.0.0.1>\r\nUser-Agent: office\r\nContent-Length: 0\r\n\r\n",
			lines[k], id, 2000000+id%7999999, id, id, methods[k])
	}
	took := time.Since(began)
	for end := time.Now().Add(5 * time.Second); seen.Load() < int64(b.N) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "sent/s")
	b.ReportMetric(float64(int64(b.N)-seen.Load()), "lost")
	cancel()
	<-done
	if lost := int64(b.N) - seen.Load(); lost > 0 {
		b.Errorf("%d of %d messages were lost, %d by the kernel", lost, b.N, c.Counts().Dropped["kernel"])
	}
}
