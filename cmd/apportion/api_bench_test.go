package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web"
	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// BenchmarkAPI asks over HTTP what somebody looks at of a month of a million sessions, or of as many as
// APPORTION_BENCH_SESSIONS says, of a thousand tenants, one of which has a quarter of all. It reports how long the
// slowest of twenty answers takes.
func BenchmarkAPI(b *testing.B) {
	sessions := 1_000_000
	if s := os.Getenv("APPORTION_BENCH_SESSIONS"); s != "" {
		var err error
		if sessions, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	s := startBenchAPI(b, sessions)
	invoice, line := s.overage(b)
	for _, route := range []struct{ name, path, has string }{
		{"tenants", "/tenants?limit=500", `"tenantId":"tenant-0"`},
		{"tenant", "/tenants/tenant-0", `"document":{"id":"tenant-0"`},
		{"usage", "/tenants/tenant-0/usage?limit=500&from=2026-10-01&to=2026-11-01", `"date":"2026-10-31"`},
		{"concurrency", "/tenants/tenant-0/concurrency?from=2026-10-14&to=2026-10-15&step=1m", `"peak":{"at":"2026-10-14T`},
		{"live", "/tenants/tenant-0/live", `"meter":"agent_standard"`},
		{"overage", "/tenants/tenant-0/periods/2026-10/overage", `"payer":"Sub0-0"`},
		{"periods", "/periods?from=2026-10&to=2026-10", `"2026-10"`},
		{"tenantPeriods", "/tenants/tenant-0/periods?from=2026-10&to=2026-10", `"2026-10"`},
		{"invoice", "/invoices/" + invoice, `"invoiceId":"` + invoice + `"`},
		{"explanation", fmt.Sprintf("/invoices/%s/lines/%d/explanation", invoice, line), `"instant":{`},
		{"pipeline", "/pipeline", `"dirtyDays":0`},
	} {
		b.Run(route.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				s.ask(b, s.next(), "GET", route.path, "").want(b, 200, route.has)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			p95 := took[min(len(took)-1, len(took)*95/100)]
			b.ReportMetric(float64(p95.Microseconds())/1000, "p95-ms")
		})
	}
}

// benchAPI is a server that many subjects ask, so that none asks too often.
type benchAPI struct {
	apiServer
	services *services
	asked    int
}

const benchSubjects = 2000

func (s *benchAPI) next() string {
	s.asked++
	return fmt.Sprint("finance-", s.asked%benchSubjects)
}

// startBenchAPI starts the API on a month whose sessions were made in the database itself, and issues it.
func startBenchAPI(b *testing.B, sessions int) *benchAPI {
	b.Helper()
	kafka, clickHouse := servicetest.Kafka(b), servicetest.ClickHouse(b)
	dir := b.TempDir()
	s := &benchAPI{apiServer: apiServer{config: filepath.Join(dir, "apportion.yaml"), tokens: map[string]string{}}}
	name := fmt.Sprintf("api_bench_%d", apiServers.Add(1))
	if err := os.WriteFile(s.config, fmt.Appendf(nil,
		"kafka: {brokers: ['%s'], topicPrefix: %s., group: %[2]s, partitions: 1}\nclickhouse: {addr: ['%s'], database: %[2]s}\n"+
			"seller: {name: Seller AB, address: {country: SE}, vatId: SE556677889901}\n", kafka, name, clickHouse), 0o600); err != nil {
		b.Fatal(err)
	}
	document := filepath.Join(dir, "registry.json")
	if err := os.WriteFile(document, benchRegistry(b), 0o600); err != nil {
		b.Fatal(err)
	}
	environ := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "APPORTION_BENCH_") })
	do := func(command string) {
		b.Helper()
		var output bytes.Buffer
		if code := run(b.Context(), append(strings.Fields(command), "--config", s.config), environ, strings.NewReader(""), &output, &output); code != exitDone {
			b.Fatalf("apportion %s: exit code %d\n%s", command, code, &output)
		}
	}
	do("migrate")
	do("registry apply -f " + document)
	a := &app{environ: environ, stdout: io.Discard, stderr: io.Discard}
	var err error
	if a.cfg, a.sources, err = config.Load(s.config, nil, nil); err != nil {
		b.Fatal(err)
	}
	a.log = newLogger(io.Discard, a.cfg)
	conn, err := a.openClickHouse()
	if err != nil {
		b.Fatal(err)
	}
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		b.Fatal(err)
	}
	tablestest.FillMonth(b, conn, tablestest.Month{Topic: name + ".usage.agent.v1", FromMS: zone.Start(civil.NewDate(2026, 10, 1)),
		Tenants: benchTenants, Sessions: sessions, Deliveries: sessions + sessions/50})
	do("aggregate --until-caught-up")
	if s.services, err = a.newServices(conn); err != nil {
		b.Fatal(err)
	}
	s.services.invoices.Ledger = trusted{s.services.invoices.Ledger}
	result, err := s.services.invoices.Issue(b.Context(), person(), service.IssueRequest{
		Period: civil.NewMonth(2026, 10), NowMS: time.Now().UnixMilli()})
	if err != nil || result.Issued != benchTenants {
		b.Fatal(result, err)
	}
	var tokens []auth.Token
	for n := range benchSubjects {
		token, err := access.NewToken(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprint("finance-", n)
		s.tokens[name] = token
		tokens = append(tokens, auth.Token{Name: name, SHA256: access.HashToken(token), Grants: []access.Grant{{Role: access.Finance}}})
	}
	server := httptest.NewServer(a.newWeb(web.DefaultConfig(), s.services, auth.NewTokens(tokens, time.Now)).Handler())
	b.Cleanup(server.Close)
	b.Cleanup(http.DefaultClient.CloseIdleConnections)
	s.url = server.URL
	return s
}

// trusted is a ledger of deliveries that were never on Kafka: nothing is compared with it.
type trusted struct{ service.Ledger }

func (trusted) Behind(context.Context, time.Duration) ([]ingest.Lag, error) { return nil, nil }
func (trusted) OtherTopics(context.Context) ([]string, error)               { return nil, nil }
func (trusted) Balance(context.Context, ...ingest.Hole) ([]ingest.PartitionBalance, error) {
	return nil, nil
}

// overage returns the overage line of the largest tenant.
func (s *benchAPI) overage(b *testing.B) (invoice string, line int) {
	b.Helper()
	result, err := s.services.invoices.Issued(b.Context(), civil.NewMonth(2026, 10))
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range result.Invoices {
		for _, l := range i.Lines {
			if i.Tenant == "tenant-0" && l.Kind == "overage" && l.Meter == "agent_standard" {
				return i.ID, l.No
			}
		}
	}
	b.Fatal("the largest tenant has no overage")
	return "", 0
}

const benchTenants = 1000

// benchRegistry is a document of a thousand tenants, each with three subscriptions and sixty users.
func benchRegistry(b *testing.B) []byte {
	b.Helper()
	type object = map[string]any
	var tenants []object
	for n := range benchTenants {
		var subscriptions, licences []object
		prices := object{"agent_standard": "900", "agent_premium": "1200", "ivr_port": "45"}
		for i := range 3 {
			subscriptions = append(subscriptions, object{"id": fmt.Sprintf("Sub%d-%d", n, i), "name": "Department",
				"licenceModel": registry.Concurrent, "plan": "flex3", "deployment": "cloud", "currency": "SEK", "billing": registry.Monthly,
				"terms": []object{{"from": fmt.Sprintf("2024-01-0%d", i+1), "to": "2030-01-01"}},
				"versions": []object{{"from": "2024-01-01", "commitments": object{"agent_standard": 10},
					"prices": object{"commitment": prices, "overage": prices}}}})
		}
		for user := range 60 {
			licences = append(licences, object{"user": fmt.Sprint("agent-", user), "role": "agent", "class": registry.Standard,
				"subscription": fmt.Sprintf("Sub%d-%d", n, user%3), "from": "2024-01-01"})
		}
		tenants = append(tenants, object{"id": fmt.Sprint("tenant-", n), "name": "Tenant", "timeZone": "Europe/Stockholm",
			"telephony": "webex_calling", "subscriptions": subscriptions, "licences": licences})
	}
	document, err := json.Marshal(object{"tenants": tenants})
	if err != nil {
		b.Fatal(err)
	}
	return document
}
