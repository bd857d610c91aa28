package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"textback/cmd/textback/config"
	"textback/pbx"
	"textback/pbx/sip"
	"textback/pbx/sip/hep"
	"textback/pbx/sip/nic"
)

// A source brings SIP messages until ctx ends.
type source interface {
	Run(ctx context.Context) error
	Counts() sip.Counts
}

// tap is the second witness: it reads SIP from its sources and follows the calls.
type tap struct {
	log     *slog.Logger
	sources map[string]source

	mu      sync.Mutex
	witness *sip.Witness
	tracker *pbx.Tracker
}

// newTap opens the sources, so that what is wrong with them is an error at start.
func newTap(cfg *config.Config, log *slog.Logger, m *metrics) (*tap, error) {
	t := &tap{log: log.With("part", "sip"), sources: map[string]source{}}
	t.tracker = pbx.NewTracker(sip.Tracker(cfg.Tracker()))
	t.witness = sip.NewWitness(cfg.Witness(), t.tracker.Feed)
	t.witness.Warn = func(w sip.Warning) { t.log.Warn(w.Text, "call", w.CallID) }
	if h := cfg.PBX.SIP.HEP; h.Listen != "" {
		l, err := hep.Listen(hep.Options{Listen: h.Listen, Key: h.Key.Reveal(), Allow: cfg.HEPAllow(), Handle: t.handle, Log: t.log})
		if err != nil {
			return nil, err
		}
		t.sources["hep"] = l
	}
	c := cfg.PBX.SIP.Capture
	var ports []nic.Ports
	for _, p := range c.Ports {
		first, last, _ := config.PortRange(p)
		ports = append(ports, nic.Ports{First: first, Last: last})
	}
	for _, name := range c.Interfaces {
		in, err := nic.Open(nic.Options{Interface: name, Ports: ports, Promiscuous: c.Promiscuous, Handle: t.handle, Log: t.log})
		if err != nil {
			return nil, err
		}
		t.sources[name] = in
	}
	m.reg.MustRegister(t)
	return t, nil
}

// handle takes one message from any source.
func (t *tap) handle(p *sip.Packet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.witness.Handle(p)
}

// do runs f while no message is worked on.
func (t *tap) do(f func(*pbx.Tracker)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.tracker)
}

// run follows the sources until ctx ends. One that fails is opened again by its
// own means or ends the daemon: a witness must not go blind unnoticed.
func (t *tap) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, len(t.sources))
	for name, s := range t.sources {
		wg.Go(func() {
			if err := s.Run(ctx); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("%s: %w", name, err)
				cancel()
			}
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-tick.C:
			t.do(func(tr *pbx.Tracker) {
				t.witness.Advance(now)
				tr.Advance(now)
			})
		}
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

var (
	sipPackets = prometheus.NewDesc("textback_sip_packets_total", "Frames, datagrams or HEP packets read.", []string{"source"}, nil)
	sipDropped = prometheus.NewDesc("textback_sip_dropped_total", "Packets that were not taken.", []string{"source", "why"}, nil)
	sipHanded  = prometheus.NewDesc("textback_sip_messages_total", "SIP messages read.", []string{"source"}, nil)
	sipDialogs = prometheus.NewDesc("textback_sip_dialogs", "Dialogs known, those that ended lately included.", nil, nil)
	sipUnclear = prometheus.NewDesc("textback_sip_unclear_legs_total", "Legs of the PBX that belong to no call, or to one of several.", []string{"why"}, nil)
)

// Describe names the tap's metrics.
func (t *tap) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sipPackets, sipDropped, sipHanded, sipDialogs, sipUnclear} {
		ch <- d
	}
}

// Collect reads the tap's metrics.
func (t *tap) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for name, s := range t.sources {
		c := s.Counts()
		counter(sipPackets, c.Packets, name)
		counter(sipHanded, c.SIP, name)
		for why, n := range c.Dropped {
			counter(sipDropped, n, name, why)
		}
	}
	t.mu.Lock()
	stats, open := t.witness.Stats, t.witness.Open()
	t.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(sipDialogs, prometheus.GaugeValue, float64(open))
	counter(sipUnclear, stats.Ambiguous, "ambiguous")
	counter(sipUnclear, stats.Orphans, "of no call")
	counter(sipUnclear, stats.Foreign, "not at this PBX")
}
