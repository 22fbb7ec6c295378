package main

import (
	"strconv"
	"time"

	"apportion/ingest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics is what this process tells Prometheus.
type metrics struct {
	registry     *prometheus.Registry
	deliveries   *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	batches      *prometheus.HistogramVec
	inserting    *prometheus.HistogramVec
	lastProgress *prometheus.GaugeVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apportion_deliveries_total", Help: "Deliveries that this process took in, by topic and outcome (accepted, rejected).",
		}, []string{"topic", "outcome"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apportion_rejected_total", Help: "Deliveries that this process refused, by topic and code of the event contract.",
		}, []string{"topic", "code"}),
		batches: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apportion_batch_deliveries", Help: "Deliveries in a batch.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 10),
		}, []string{"topic"}),
		inserting: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apportion_insert_seconds", Help: "Time that ClickHouse took to take the deliveries of a batch, attempts that failed included.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}, []string{"topic"}),
		lastProgress: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apportion_last_progress_timestamp_seconds", Help: "When this process last finished a batch of a partition.",
		}, []string{"topic", "partition"}),
	}
	m.registry.MustRegister(m.deliveries, m.rejected, m.batches, m.inserting, m.lastProgress,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observe counts a batch that is done.
func (m *metrics) observe(p ingest.Progress) {
	m.deliveries.WithLabelValues(p.Topic, "accepted").Add(float64(p.Accepted))
	m.deliveries.WithLabelValues(p.Topic, "rejected").Add(float64(p.Rejected))
	for code, n := range p.Codes {
		m.rejected.WithLabelValues(p.Topic, string(code)).Add(float64(n))
	}
	m.batches.WithLabelValues(p.Topic).Observe(float64(p.Accepted + p.Rejected))
	m.inserting.WithLabelValues(p.Topic).Observe(p.Inserting.Seconds())
	m.lastProgress.WithLabelValues(p.Topic, strconv.Itoa(p.Partition)).Set(float64(time.Now().UnixMilli()) / 1000)
}

// lag collects the lag of every partition from a monitor.
type lag struct{ monitor *ingest.Monitor }

var lagDesc = prometheus.NewDesc("apportion_lag_offsets",
	"Offsets of a partition that no process of the group has taken in yet, as of the last look.", []string{"topic", "partition"}, nil)

// Describe and Collect make a lag a prometheus.Collector.
func (l lag) Describe(ch chan<- *prometheus.Desc) { ch <- lagDesc }

func (l lag) Collect(ch chan<- prometheus.Metric) {
	for _, p := range l.monitor.Lags() {
		ch <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(p.Offsets), p.Topic, strconv.Itoa(p.Partition))
	}
}
