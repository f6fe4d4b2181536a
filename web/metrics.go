package web

import (
	"context"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	prometheuscollectors "github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// getMetrics writes the counters of the service in the text format of
// Prometheus, from a registry of its own.
func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheuscollectors.NewGoCollector(), prometheuscollectors.NewProcessCollector(prometheuscollectors.ProcessCollectorOpts{}))
	reg.MustRegister(s.measure(r.Context()))
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// snapshot is what one scrape gets.
type snapshot struct{ list []prometheus.Metric }

// Describe describes nothing: the names of rigs come and go.
func (snapshot) Describe(chan<- *prometheus.Desc) {}

// Collect hands over the figures.
func (m snapshot) Collect(to chan<- prometheus.Metric) {
	for _, x := range m.list {
		to <- x
	}
}

// add appends a figure; labels are names and values in turn.
func (m *snapshot) add(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
	names, values := split(labels)
	m.list = append(m.list, prometheus.MustNewConstMetric(prometheus.NewDesc("pneudaq_"+name, help, names, nil), kind, value, values...))
}

func (m *snapshot) count(name, help string, value uint64, labels ...string) {
	m.add(prometheus.CounterValue, name, help, float64(value), labels...)
}

func (m *snapshot) gauge(name, help string, value float64, labels ...string) {
	m.add(prometheus.GaugeValue, name, help, value, labels...)
}

// histogram appends a histogram of milliseconds in seconds.
func (m *snapshot) histogram(name, help string, h Histogram, labels ...string) {
	names, values := split(labels)
	buckets := map[float64]uint64{}
	total := uint64(0)
	for i, n := range h.Counts {
		total += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]/1e3] = total
		}
	}
	m.list = append(m.list, prometheus.MustNewConstHistogram(prometheus.NewDesc("pneudaq_"+name, help, names, nil), total, h.SumMS/1e3, buckets, values...))
}

func split(labels []string) (names, values []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return names, values
}

func truth(b bool) float64 { //nolint:revive // it converts, it does not steer
	if b {
		return 1
	}
	return 0
}

func (s *Server) measure(ctx context.Context) snapshot {
	var m snapshot
	m.gauge("build_info", "Version of the program; always 1.", 1, "version", s.o.Version)
	m.gauge("start_time_seconds", "When the service started, Unix seconds.", float64(s.started)/1e9)
	complete := true
	if s.o.Health != nil {
		h, err := s.health(ctx, Viewer, English)
		if err == nil {
			m.health(&h)
		}
		complete = complete && err == nil
	}
	if s.o.Rigs != nil {
		rigs, err := s.rigs(ctx)
		for i := range rigs {
			m.rig(&rigs[i])
		}
		complete = complete && err == nil
	}
	if s.o.Ledger != nil {
		open, err := s.o.Ledger.Open(ctx)
		for i := range open {
			m.recording(&open[i])
		}
		complete = complete && err == nil
	}
	m.gauge("scrape_complete", "1 if every part of the service answered.", truth(complete))
	m.gauge("live_streams", "Live streams that are open.", float64(s.o.Hub.number()))
	m.count("live_blocks_dropped_total", "Committed blocks that were not shown live; they are stored.", s.o.Hub.dropped.Load())
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	for k, n := range s.counters.by {
		m.count("http_requests_total", "Requests answered.", n, "method", k.method, "route", k.route, "status", strconv.Itoa(k.status))
	}
	return m
}

func (m *snapshot) health(h *HealthReport) {
	m.gauge("clock_synchronised", "1 if the kernel says that the clock is synchronised.", truth(h.Clock.Synchronised))
	m.gauge("clock_estimated_error_seconds", "Error of the clock as the kernel estimates it.", h.Clock.EstimatedErrorMS/1e3)
	m.gauge("clock_drift_seconds", "Wall clock minus the service's time.", h.Clock.DriftMS/1e3)
	m.count("clock_steps_total", "Steps of the wall clock.", uint64(max(0, h.Clock.Steps)))
	m.gauge("store_bytes", "Size of the store.", float64(h.Store.Bytes))
	m.count("store_written_bytes_total", "Bytes written to the store.", h.Store.Written)
	if h.Store.DaysLeft != nil {
		m.gauge("store_days_left", "Days until the store is full.", *h.Store.DaysLeft)
	}
	m.histogram("commit_seconds", "Time that a commit took.", h.Store.Commit)
	m.histogram("age_at_durability_seconds", "Age of a sample when it became durable.", h.Store.Age)
	for i := range h.Forwarders {
		f := &h.Forwarders[i]
		m.gauge("forwarder_up", "1 if the destination takes data.", truth(f.State == "ok"), "sink", f.Name)
		m.gauge("forwarder_stored", "Scans stored for the destination.", float64(f.Stored), "sink", f.Name)
		m.gauge("forwarder_waiting", "Scans that wait for the destination.", float64(f.Waiting), "sink", f.Name)
		m.gauge("forwarder_delivered", "Scans that the destination has acknowledged.", float64(f.Delivered), "sink", f.Name)
		m.gauge("forwarder_refused", "Scans that the destination refused for good.", float64(f.Refused), "sink", f.Name)
		m.gauge("forwarder_last_answer_seconds", "When the destination last took data, Unix seconds.", float64(f.LastAnswer)/1e9, "sink", f.Name)
	}
	severities := map[string]int{SeverityError: 0, SeverityWarning: 0}
	for i := range h.Problems {
		severities[h.Problems[i].Severity]++
	}
	for name, n := range severities {
		m.gauge("problems", "Problems that somebody must look at.", float64(n), "severity", name)
	}
}

func (m *snapshot) rig(r *Rig) {
	m.gauge("rig_armed", "1 if setpoints may be written.", truth(r.Armed), "rig", r.Name)
	for i := range r.Groups {
		g := &r.Groups[i]
		m.count("slots_stored_total", "Slots with a scan.", g.Stored, "rig", r.Name, "group", g.Name)
		for why, n := range g.Missed {
			m.count("slots_missed_total", "Slots without a scan, by reason.", n, "rig", r.Name, "group", g.Name, "reason", why.String())
		}
		m.gauge("group_running", "1 if the group is acquired.", truth(g.Running), "rig", r.Name, "group", g.Name)
		m.gauge("group_last_seconds", "Time of the newest scan, Unix seconds.", float64(g.Last)/1e9, "rig", r.Name, "group", g.Name)
	}
	for i := range r.Buses {
		b := &r.Buses[i]
		at := []string{"rig", r.Name, "bus", b.Name}
		m.gauge("bus_up", "1 if the bus is connected.", truth(b.Up), at...)
		m.count("bus_reconnects_total", "Connections made again.", b.Reconnects, at...)
		m.count("bus_requests_total", "Requests sent.", b.Stats.Requests, at...)
		m.count("bus_answers_total", "Valid answers.", b.Stats.Answers, at...)
		m.count("bus_timeouts_total", "Requests without an answer in time.", b.Stats.Timeouts, at...)
		m.count("bus_late_total", "Answers that came too late and were dropped.", b.Stats.Late, at...)
		m.count("bus_duplicate_total", "Answers that came twice.", b.Stats.Duplicate, at...)
		m.count("bus_crc_total", "Answers with a wrong check sum.", b.Stats.CRC, at...)
		m.count("bus_messages_total", "Messages received from a broker.", b.Stats.Messages, at...)
		m.count("bus_quarantined_total", "Messages that were not usable.", b.Stats.Quarantine, at...)
		for code, n := range b.Stats.Exceptions {
			m.count("bus_exceptions_total", "Exceptions, by code.", n, append(at, "code", code)...)
		}
		m.histogram("bus_round_trip_seconds", "Time from request to answer.", b.Stats.RoundTrip, at...)
	}
}

func (m *snapshot) recording(r *RecordState) {
	at := []string{"rig", r.Rig}
	m.gauge("recording_planned", "Slots planned in the open recording.", float64(r.Planned), at...)
	m.gauge("recording_stored", "Slots stored in the open recording.", float64(r.Stored), at...)
	m.gauge("recording_unexplained", "Slots of the open recording without exactly one account.", float64(r.Unexplained), at...)
	for why, n := range r.Missing {
		m.gauge("recording_missing", "Slots of the open recording covered by a gap, by reason.", float64(n), append(at, "reason", why.String())...)
	}
}
