package main

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	usage "apportion/aggregate/clickhouse"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web"
	"apportion/ingest"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// metrics is what this process tells Prometheus.
type metrics struct {
	registry     *prometheus.Registry
	deliveries   *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	sent         *prometheus.CounterVec
	sentRefused  *prometheus.CounterVec
	batches      *prometheus.HistogramVec
	inserting    *prometheus.HistogramVec
	lastProgress *prometheus.GaugeVec

	// Those of aggregation, of the schedule, of registry_log and of the API are there only in a process that has them: a
	// time of the last issue that is 0 would alarm somebody.
	dirtyDays     prometheus.Gauge
	passes        prometheus.Histogram
	passFailures  prometheus.Counter
	tenantsBehind prometheus.Gauge

	clockDifference prometheus.Gauge
	lastIssue       prometheus.Gauge
	issueFailures   prometheus.Counter
	issuedPeriods   prometheus.Counter
	due             prometheus.Gauge
	stopped         *prometheus.GaugeVec
	differences     *prometheus.GaugeVec
	findings        *prometheus.GaugeVec

	requests        *prometheus.CounterVec
	answering       *prometheus.HistogramVec
	signIns         *prometheus.CounterVec
	verdicts        *prometheus.CounterVec
	commandsRefused *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		deliveries: counters("apportion_deliveries_total",
			"Deliveries that this process took in, by topic and outcome (accepted, rejected).", "topic", "outcome"),
		rejected: counters("apportion_rejected_total",
			"Deliveries that this process refused, by topic and code of the event contract.", "topic", "code"),
		sent: counters("apportion_sent_events_total",
			"Events that this process was sent over HTTP, by outcome (accepted, rejected).", "outcome"),
		sentRefused: counters("apportion_sent_refused_total",
			"Events that this process was sent over HTTP and refused, by code.", "code"),
		batches: histograms("apportion_batch_deliveries", "Deliveries in a batch.",
			prometheus.ExponentialBuckets(1, 4, 10), "topic"),
		inserting: histograms("apportion_insert_seconds",
			"Time that ClickHouse took to take the deliveries of a batch, attempts that failed included.",
			prometheus.ExponentialBuckets(0.005, 2, 14), "topic"),
		lastProgress: gauges("apportion_last_progress_timestamp_seconds",
			"When this process last finished a batch of a partition.", "topic", "partition"),

		dirtyDays: gauge("apportion_dirty_days",
			"Tenant days that this process's pass of aggregation has still to compute; 0 between passes."),
		passes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "apportion_pass_seconds",
			Help:    "Time that this process's passes of aggregation took, those that had no day to compute left out.",
			Buckets: prometheus.ExponentialBuckets(0.02, 2, 14),
		}),
		passFailures: counter("apportion_passes_failed_total",
			"Passes of aggregation that failed in this process; each is made again."),
		tenantsBehind: gauge("apportion_tenants_behind",
			"Tenants whose days the last pass of aggregation could not compute; they are not issued."),

		clockDifference: gauge("apportion_clock_difference_seconds",
			"How far this process's clock is ahead of ClickHouse's, as of the schedule's last firing; "+
				"negative when it is behind."),
		lastIssue: gauge("apportion_last_issue_run_timestamp_seconds",
			"When this process's schedule last issued what was due, were it nothing."),
		issueFailures: counter("apportion_issue_runs_failed_total",
			"Firings of this process's schedule that failed; each is tried again."),
		issuedPeriods: counter("apportion_issued_periods_total",
			"Periods of tenants that this process's schedule issued."),
		due: gauge("apportion_due_periods",
			"Periods of tenants that are due and that this process's schedule did not issue when it last fired."),
		differences: gauges("apportion_balance_differences",
			"What did not balance between the topics and what was taken in when this process's schedule last fired, "+
				"by kind (hole, rows, topic).", "kind"),
		stopped: gauges("apportion_stopped_periods",
			"Periods of tenants that are due and were stopped when this process's schedule last fired, "+
				"by code (held, missing_price, unbalanced).", "code"),
		findings: gauges("apportion_findings",
			"Tenants whose last issue has a finding, as of the schedule's last firing, by code; "+
				"of unknown_tenant, tenants that the registry lacks.", "code"),

		requests: counters("apportion_http_requests_total",
			"Requests of the API and its pages that this process answered, by method, route and status.",
			"method", "route", "status"),
		answering: histograms("apportion_http_request_seconds",
			"Time that this process took to answer requests of the API and its pages.",
			[]float64{0.01, 0.05, 0.25, 1, 5, 30}, "method", "route"),
		signIns: counters("apportion_sign_ins_total",
			"Sign-ins of browsers that ended in this process, by outcome (accepted, refused).", "outcome"),
		verdicts: counters("apportion_registry_verdicts_total",
			"Registry commands whose verdict this process recorded, by command and outcome (accepted, refused).",
			"command", "outcome"),
		commandsRefused: counters("apportion_registry_refused_total",
			"Registry commands that were refused and whose verdict this process recorded, by command and code.",
			"command", "code"),
	}
	m.registry.MustRegister(m.deliveries, m.rejected, m.sent, m.sentRefused, m.batches, m.inserting, m.lastProgress,
		buildInfo(), zoneData{machineEdition(machineZones)},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) ofAggregation() []prometheus.Collector {
	return []prometheus.Collector{m.dirtyDays, m.passes, m.passFailures, m.tenantsBehind}
}

func (m *metrics) ofSchedule() []prometheus.Collector {
	return []prometheus.Collector{m.clockDifference, m.lastIssue, m.issueFailures, m.issuedPeriods, m.due, m.stopped,
		m.differences, m.findings}
}

func (m *metrics) ofRegistry() []prometheus.Collector {
	return []prometheus.Collector{m.verdicts, m.commandsRefused}
}

func (m *metrics) ofHTTP() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.answering, m.signIns}
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// buildInfo says which release this process is of: it is always 1.
func buildInfo() prometheus.Collector {
	b := thisBuild()
	g := gauges("apportion_build_info", "The release, and the versions of the schema that it works with; always 1.",
		"version", "commit", "goversion", "schema_from", "schema_to")
	g.WithLabelValues(b.Version, b.Commit, b.Go,
		strconv.FormatInt(b.Schema.From, 10), strconv.FormatInt(b.Schema.To, 10)).Set(1)
	return g
}

// zoneData collects how the time zone data in use is, on a machine whose own is of an edition.
type zoneData struct{ machine string }

var (
	zoneDataAgeDesc = prometheus.NewDesc("apportion_zone_data_age_days",
		"Days since the time zone data in use was made, by its edition.", []string{"edition"}, nil)
	zoneDataOldDesc = prometheus.NewDesc("apportion_zone_data_old",
		"1 while the time zone data in use is older than a year, or than the machine's own, else 0.",
		[]string{"edition", "machine"}, nil)
)

// Describe and Collect make it a prometheus.Collector.
func (zoneData) Describe(ch chan<- *prometheus.Desc) {
	ch <- zoneDataAgeDesc
	ch <- zoneDataOldDesc
}

func (z zoneData) Collect(ch chan<- prometheus.Metric) {
	data, now, old := civil.InUse(), time.Now(), 0.0
	if staleZones(data, z.machine, now) != "" {
		old = 1
	}
	ch <- prometheus.MustNewConstMetric(zoneDataOldDesc, prometheus.GaugeValue, old, data.Edition, z.machine)
	if !data.Date.IsZero() { // of data that does not say, it is not known
		days := int(now.Sub(data.Date).Hours() / 24)
		ch <- prometheus.MustNewConstMetric(zoneDataAgeDesc, prometheus.GaugeValue, float64(days), data.Edition)
	}
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

// observeEvents counts events that were sent over HTTP.
func (m *metrics) observeEvents(accepted int, refused []service.RefusedAt) {
	m.sent.WithLabelValues("accepted").Add(float64(accepted))
	m.sent.WithLabelValues("rejected").Add(float64(len(refused)))
	for _, r := range refused {
		m.sentRefused.WithLabelValues(string(r.Code)).Inc()
	}
}

// observeFiring counts what a firing of the scheduler did.
func (m *metrics) observeFiring(f service.Firing) {
	m.clockDifference.Set(f.ClockAhead.Seconds())
	m.issuedPeriods.Add(float64(f.Issued))
	for code, n := range f.Findings {
		m.findings.WithLabelValues(string(code)).Set(float64(n))
	}
	if f.Stopped != nil {
		m.due.Set(float64(f.Due))
	}
	if d := f.Differences; d != nil {
		m.differences.WithLabelValues("hole").Set(float64(d.Holes))
		m.differences.WithLabelValues("rows").Set(float64(len(d.Partitions) - d.Holes))
		m.differences.WithLabelValues("topic").Set(float64(len(d.Topics)))
	}
	if f.Findings != nil || len(f.Stopped) > 0 {
		m.stopped.Reset()
		for code, n := range f.Stopped {
			m.stopped.WithLabelValues(string(code)).Set(float64(n))
		}
	}
	if f.Err != nil {
		m.issueFailures.Inc()
		return
	}
	m.lastIssue.SetToCurrentTime()
}

// watch has the use cases over HTTP counted.
func (m *metrics) watch(s *services) {
	m.registry.MustRegister(m.ofHTTP()...)
	s.events.Observe, s.answered, s.signedIn = m.observeEvents, m.answered, m.signedIn
}

// answered counts an answer to a request.
func (m *metrics) answered(a web.Answer) {
	m.requests.WithLabelValues(a.Method, a.Route, strconv.Itoa(a.Status)).Inc()
	m.answering.WithLabelValues(a.Method, a.Route).Observe(a.Took.Seconds())
}

// signedIn counts a sign-in that ended.
func (m *metrics) signedIn(accepted bool) { m.signIns.WithLabelValues(outcome(accepted)).Inc() }

// observeVerdicts counts commands by their verdicts; those of a kind that the program does not know as one.
func (m *metrics) observeVerdicts(decided []registry.Decided) {
	for _, d := range decided {
		command := "unknown"
		if slices.Contains(registry.Commands, d.Command.Command) {
			command = d.Command.Command
		}
		m.verdicts.WithLabelValues(command, outcome(d.Verdict.Accepted)).Inc()
		var codes []schemas.Code
		for _, r := range d.Verdict.Refusals {
			if !slices.Contains(codes, r.Code) { // a command counts once, however many fields have the fault
				codes = append(codes, r.Code)
				m.commandsRefused.WithLabelValues(command, string(r.Code)).Inc()
			}
		}
	}
}

func outcome(accepted bool) string {
	if accepted {
		return "accepted"
	}
	return "refused"
}

// lag collects from a monitor how far the ledger is from both ends of every partition.
type lag struct{ monitor *ingest.Monitor }

var (
	lagDesc = prometheus.NewDesc("apportion_lag_offsets",
		"Offsets of a partition that no process of the group has taken in yet, as of the last look.",
		[]string{"topic", "partition"}, nil)
	retainedDesc = prometheus.NewDesc("apportion_ledger_retained_offsets",
		"Offsets by which the ledger is past the first one that Kafka has of a partition, as of the last look; "+
			"below 0 Kafka has deleted what was not taken in.",
		[]string{"topic", "partition"}, nil)
)

// Describe and Collect make a lag a prometheus.Collector.
func (l lag) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagDesc
	ch <- retainedDesc
}

func (l lag) Collect(ch chan<- prometheus.Metric) {
	for _, p := range l.monitor.Observations() {
		gauge := func(desc *prometheus.Desc, offsets int64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(offsets),
				p.Topic, strconv.Itoa(p.Partition))
		}
		gauge(lagDesc, p.Lag)
		gauge(retainedDesc, p.Retained)
	}
}

// aggregationLag collects how old the oldest change is that the daily figures do not show yet, whichever process is to
// compute it.
type aggregationLag struct {
	store *usage.Store
	log   *slog.Logger
}

var aggregationLagDesc = prometheus.NewDesc("apportion_aggregation_lag_seconds",
	"Age of the oldest change that the daily usage is not based on yet, from when it was taken in: of a batch of "+
		"deliveries, from its entry in the ledger; of a registry command, from its arrival on Kafka. "+
		"0 when all are current.", nil, nil)

// Describe and Collect make it a prometheus.Collector.
func (u aggregationLag) Describe(ch chan<- *prometheus.Desc) { ch <- aggregationLagDesc }

func (u aggregationLag) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	age, err := service.DailyAge(ctx, u.store, time.Now())
	if err != nil {
		// Left out, not 0: what is not known must not pass for current.
		u.log.Debug("the age of the oldest change is not known", "error", err)
		return
	}
	ch <- prometheus.MustNewConstMetric(aggregationLagDesc, prometheus.GaugeValue, age.Seconds())
}
