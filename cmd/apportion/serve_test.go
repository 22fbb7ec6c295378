package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

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
	get := func(path string) (int, string) {
		t.Helper()
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz without trouble: %d %q", code, body)
	}
	trouble = []string{"usage.agent.v1/0: nothing taken in for 31s, with 119 offsets waiting"}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, trouble[0]) {
		t.Errorf("/readyz with trouble: %d %q", code, body)
	}
	if code, body := get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	_, body := get("/metrics")
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
