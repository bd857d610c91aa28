package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"textback/pbx"
)

// metrics is what Prometheus and the health page show.
type metrics struct {
	reg       *prometheus.Registry
	attached  prometheus.Gauge
	events    prometheus.Counter
	badEvents prometheus.Counter
	lag       prometheus.Histogram
	queue     prometheus.Gauge
	backlog   prometheus.Gauge
	stored    prometheus.Histogram
	calls     *prometheus.CounterVec // direction: inbound, outbound; outcome: pbx.Outcomes
	texts     *prometheus.CounterVec // state: sent, failed, held, suppressed, cancelled, retried; why: an error class or the reason of a suppression
	submit    prometheus.Histogram
	transport *prometheus.GaugeVec // transport: as in sms.transport

	mu     sync.Mutex
	pbx    map[pbx.Witness]sight
	checks map[string]func() error
	since  time.Time
}

// fast are buckets from a tenth of a millisecond to some seconds.
var fast = prometheus.ExponentialBuckets(0.0001, 3, 11)

func newMetrics() *metrics {
	m := &metrics{reg: prometheus.NewRegistry(), pbx: map[pbx.Witness]sight{}, checks: map[string]func() error{}, since: time.Now(),
		attached:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "textback_pbx_attached", Help: "1 while events of the PBX are followed."}),
		events:    prometheus.NewCounter(prometheus.CounterOpts{Name: "textback_pbx_events_total", Help: "Events read from the PBX."}),
		badEvents: prometheus.NewCounter(prometheus.CounterOpts{Name: "textback_pbx_bad_events_total", Help: "Events of the PBX that could not be read."}),
		lag:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "textback_pbx_event_lag_seconds", Help: "From an event's arrival to the end of its work.", Buckets: fast}),
		queue:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "textback_pbx_queue", Help: "Most events that waited lately."}),
		backlog:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "textback_calls_spooled", Help: "Finished calls that are not stored in NATS yet."}),
		stored:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "textback_call_stored_seconds", Help: "From a call's end as seen here to its being stored.", Buckets: fast}),
		calls:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "textback_calls_total", Help: "Finished outside calls."}, []string{"direction", "outcome"}),
		texts:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "textback_texts_total", Help: "What became of texts."}, []string{"state", "why"}),
		submit:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "textback_submit_seconds", Help: "How long the provider took to answer.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		transport: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "textback_transport_up", Help: "1 while texts may leave by the transport; 0 while its circuit breaker is open."}, []string{"transport"}),
	}
	m.reg.MustRegister(m.attached, m.events, m.badEvents, m.lag, m.queue, m.backlog, m.stored, m.calls, m.texts, m.submit, m.transport,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// transportWorks notes that a way out works, or that its breaker is open.
func (m *metrics) transportWorks(way string, works bool) {
	up := 0.0
	if works {
		up = 1
	}
	m.transport.WithLabelValues(way).Set(up)
}

// sight is whether a witness sees the PBX, in words.
type sight struct {
	words string
	well  bool
}

// sees notes whether a witness of the PBX sees it. Before the first word of one that is
// configured it does not.
func (m *metrics) sees(w pbx.Witness, yes bool, words string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pbx[w] = sight{words, yes}
}

// check adds a part that the health page asks. It is asked at each request.
func (m *metrics) check(part string, f func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks[part] = f
}

// health is every part's state, and which of them are not well.
func (m *metrics) health() (parts map[string]string, bad []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	parts, bad = map[string]string{}, []string{}
	var words []string
	blind := false
	for _, w := range []pbx.Witness{pbx.Inside, pbx.Aside} {
		if s, configured := m.pbx[w]; configured {
			words, blind = append(words, s.words), blind || !s.well
		}
	}
	if len(words) > 0 {
		parts["pbx"] = strings.Join(words, "; ")
	}
	if blind {
		bad = append(bad, "pbx")
	}
	for part, f := range m.checks {
		parts[part] = "ok"
		if err := f(); err != nil {
			parts[part], bad = err.Error(), append(bad, part)
		}
	}
	slices.Sort(bad)
	return parts, bad
}

// handler serves /metrics and /healthz: 200 when all is well, else 503, with
// the parts as JSON either way. Whoever restarts daemons must not ask here: a PBX or a
// provider that is away is not mended by that.
func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		parts, bad := m.health()
		w.Header().Set("Content-Type", "application/json")
		if len(bad) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": len(bad) == 0, "bad": bad, "version": version, "up_seconds": int(time.Since(m.since).Seconds()), "parts": parts})
	})
	return mux
}
