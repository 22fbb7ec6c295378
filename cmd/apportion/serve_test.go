package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Readiness says why it is refused, and metrics have what an operator alerts on.
func TestHealthAndMetrics(t *testing.T) {
	m := newMetrics()
	m.observe(ingest.Progress{TopicPartition: kafka.TopicPartition{Topic: "usage.agent.v1", Partition: 3}, Accepted: 7, Rejected: 2, Inserting: 40 * time.Millisecond,
		Codes: map[schemas.Code]int{"missing_field": 2}})
	var trouble []string
	server := httptest.NewServer(healthHandler(func() []string { return trouble }, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})))
	defer server.Close()
	if code, body := get(t, http.DefaultClient, server.URL+"/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz without trouble: %d %q", code, body)
	}
	trouble = []string{"usage.agent.v1/0: nothing taken in for 31s, with 119 offsets waiting"}
	if code, body := get(t, http.DefaultClient, server.URL+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, trouble[0]) {
		t.Errorf("/readyz with trouble: %d %q", code, body)
	}
	if code, body := get(t, http.DefaultClient, server.URL+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	_, body := get(t, http.DefaultClient, server.URL+"/metrics")
	for _, want := range []string{
		`apportion_deliveries_total{outcome="accepted",topic="usage.agent.v1"} 7`,
		`apportion_deliveries_total{outcome="rejected",topic="usage.agent.v1"} 2`,
		`apportion_rejected_total{code="missing_field",topic="usage.agent.v1"} 2`,
		`apportion_batch_deliveries_sum{topic="usage.agent.v1"} 9`,
		`apportion_insert_seconds_sum{topic="usage.agent.v1"} 0.04`,
		`apportion_last_progress_timestamp_seconds{partition="3",topic="usage.agent.v1"}`,
		`apportion_zone_data_age_days{edition="`,
		`apportion_zone_data_old{edition="` + civil.Edition() + `",machine="` + machineEdition(machineZones) + `"} `,
		`apportion_build_info{commit="` + thisBuild().Commit + `",goversion="` + runtime.Version() + `",schema_from="6",schema_to="7",version="0.1.0"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// What a firing found is as it was last known: a firing that failed before it knew leaves it. A period that was issued is
// due no more, and what is of one kind of difference is not of another.
func TestFiringsAreCounted(t *testing.T) {
	m := newMetrics()
	m.registry.MustRegister(m.ofSchedule()...)
	m.observeFiring(service.Firing{Issued: 5, Due: 3, Stopped: map[schemas.Code]int{schemas.Held: 2, schemas.Unbalanced: 1},
		Differences: &service.LedgerDifferences{Topics: []string{"a"}, Holes: 2, Partitions: []string{"b", "c", "d", "e", "f"}},
		Findings:    map[schemas.Code]int64{schemas.UnknownTenant: 4}})
	m.observeFiring(service.Firing{Err: errors.New("ClickHouse is away")})
	m.holds(t, map[string]float64{
		`apportion_due_periods`:                        3,
		`apportion_stopped_periods{code="held"}`:       2,
		`apportion_stopped_periods{code="unbalanced"}`: 1,
		`apportion_balance_differences{kind="hole"}`:   2,
		`apportion_balance_differences{kind="rows"}`:   3,
		`apportion_balance_differences{kind="topic"}`:  1,
		`apportion_findings{code="unknown_tenant"}`:    4,
		`apportion_issued_periods_total`:               5,
		`apportion_issue_runs_failed_total`:            1,
	})
	m.observeFiring(service.Firing{Stopped: map[schemas.Code]int{}, Differences: &service.LedgerDifferences{}, Findings: map[schemas.Code]int64{}})
	m.holds(t, map[string]float64{`apportion_due_periods`: 0, `apportion_balance_differences{kind="rows"}`: 0})
}

// A verdict counts by its command, one that the program does not know as unknown, and a refused command once by each
// code.
func TestVerdictsAreCounted(t *testing.T) {
	m := newMetrics()
	m.registry.MustRegister(m.ofRegistry()...)
	verdict := func(command string, codes ...schemas.Code) registry.Decided {
		d := registry.Decided{Command: registry.Command{Command: command}, Verdict: registry.Verdict{Accepted: len(codes) == 0}}
		for _, code := range codes {
			d.Verdict.Refusals = append(d.Verdict.Refusals, registry.Refusal{Code: code})
		}
		return d
	}
	m.observeVerdicts([]registry.Decided{verdict("put_tenant"), verdict("put_tenant"),
		verdict("put_tenant", "invalid_field", "invalid_field", "unknown_field"), verdict("drop_table", "malformed_command")})
	m.holds(t, map[string]float64{
		`apportion_registry_verdicts_total{command="put_tenant",outcome="accepted"}`:   2,
		`apportion_registry_verdicts_total{command="put_tenant",outcome="refused"}`:    1,
		`apportion_registry_refused_total{code="invalid_field",command="put_tenant"}`:  1,
		`apportion_registry_refused_total{code="unknown_field",command="put_tenant"}`:  1,
		`apportion_registry_verdicts_total{command="unknown",outcome="refused"}`:       1,
		`apportion_registry_refused_total{code="malformed_command",command="unknown"}`: 1,
	})
}

// holds fails unless the metrics have these values, named as /metrics writes them.
func (m *metrics) holds(t *testing.T, want map[string]float64) {
	t.Helper()
	server := httptest.NewServer(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	defer server.Close()
	_, body := get(t, http.DefaultClient, server.URL)
	for name, value := range want {
		if line := fmt.Sprintf("%s %g\n", name, value); !strings.Contains(body, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

// get returns the status and the body of what is served at an address.
func get(t testing.TB, client *http.Client, url string) (status int, body string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}
