package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web"
	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// BenchmarkAPI asks over HTTP what somebody looks at of a month of a million sessions, or of as many as
// APPORTION_BENCH_SESSIONS says, of a thousand tenants, one of which has a quarter of all; then it gives commands and
// publishes events. Beside it ingest, the registry and aggregation run and, where APPORTION_BENCH_INGEST says so, so many
// sessions of today come in each second. It reports how long answers take, and what one costs of the CPU: everything in
// this process and in ClickHouse, what comes in beside it too.
func BenchmarkAPI(b *testing.B) {
	s := startBenchAPI(b, fromEnvironment(b, "APPORTION_BENCH_SESSIONS", 1_000_000))
	invoice, line := s.overage(b)
	if rate := fromEnvironment(b, "APPORTION_BENCH_INGEST", 0); rate > 0 {
		s.pour(b, rate)
	}
	for _, route := range []struct{ name, path, has string }{
		{"tenants", "/tenants?limit=500", `"tenantId":"tenant-0"`},
		{"tenant", "/tenants/tenant-0", `"document":{"id":"tenant-0"`},
		{"usage", "/tenants/tenant-0/usage?limit=500&from=2026-10-01&to=2026-11-01", `"date":"2026-10-31"`},
		{"usageByMonth", "/tenants/tenant-0/usage?by=month&from=2026-10-01&to=2026-11-01", `"period":"2026-10"`},
		{"concurrency", "/tenants/tenant-0/concurrency?from=2026-10-14&to=2026-10-15&step=1m", `"peak":{"at":"2026-10-14T`},
		{"live", "/tenants/tenant-0/live", `"meter":"agent_standard"`},
		{"overage", "/tenants/tenant-0/periods/2026-10/overage", `"payer":"Sub0-0"`},
		{"overageOpen", "/tenants/tenant-0/periods/2026-11/overage", `"meter":"agent_standard"`},
		{"periods", "/periods?from=2026-10&to=2026-10", `"2026-10"`},
		{"periodsOpen", "/periods?from=2026-11&to=2026-11", `"2026-11"`},
		{"tenantPeriods", "/tenants/tenant-0/periods?from=2026-10&to=2026-10", `"2026-10"`},
		{"tenantPeriodsOpen", "/tenants/tenant-0/periods?from=2026-11&to=2026-11", `"2026-11"`},
		{"invoice", "/invoices/" + invoice, `"invoiceId":"` + invoice + `"`},
		{"explanation", fmt.Sprintf("/invoices/%s/lines/%d/explanation", invoice, line), `"instant":{`},
		{"pipeline", "/pipeline", `"dirtyDays":`},
	} {
		b.Run(route.name, func(b *testing.B) {
			s.ask(b, "finance", "GET", route.path, "").want(b, 200, route.has)
			s.measure(b, func(int) { s.send(b, "finance", "GET", route.path, "", 200) })
		})
	}
	b.Run("verdict", func(b *testing.B) {
		s.measure(b, func(n int) {
			s.send(b, "operator", "PUT", fmt.Sprintf("/tenants/tenant-%d/users/agent-%d/licences", n%benchTenants, n%60),
				fmt.Sprintf(`{"from":"2029-01-01","subscriptions":[{"id":"Sub%d-%d","class":"premium"}]}`, n%benchTenants, n%3), 200)
		})
	})
	b.Run("live after acknowledgement", func(b *testing.B) {
		var after []time.Duration
		for b.Loop() {
			before := s.live(b)
			event := benchSession("tenant-1", fmt.Sprintf("new-%03d", s.sent.Add(1)), time.Now().Add(-time.Minute), time.Time{})
			s.send(b, "publisher", "POST", "/events", "["+event+"]", 202)
			acknowledged := time.Now()
			for s.live(b) == before {
			}
			after = append(after, time.Since(acknowledged))
		}
		reportP95(b, after)
	})
	b.Run("events", s.publish)
}

// fromEnvironment returns the number that a variable has, if it has one.
func fromEnvironment(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// benchAPI is a server beside which ingest, the registry and aggregation run.
type benchAPI struct {
	apiServer
	name     string // of the database, and the prefix of the topics
	services *services
	sent     atomic.Int64
}

// measure reports the 95th percentile of how long something takes, and what it costs.
func (s *benchAPI) measure(b *testing.B, do func(n int)) {
	b.Helper()
	var took []time.Duration
	cpu, queries := s.cost(b)
	for b.Loop() {
		began := time.Now()
		do(len(took))
		took = append(took, time.Since(began))
	}
	cpuAfter, queriesAfter := s.cost(b)
	reportP95(b, took)
	n := float64(len(took))
	b.ReportMetric(float64((cpuAfter-cpu).Milliseconds())/n, "cpu-ms/op")
	b.ReportMetric(float64(queriesAfter-queries)/n, "queries/op")
}

func reportP95(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}

// cost returns the CPU time of this process and of ClickHouse until now, and how many queries there were.
func (s *benchAPI) cost(b *testing.B) (cpu time.Duration, queries int64) {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	var us int64
	if err := s.services.conn.QueryRow(b.Context(), `SELECT toInt64(sumIf(value, event != 'Query')), toInt64(sumIf(value, event = 'Query'))
		FROM system.events WHERE event IN ('UserTimeMicroseconds', 'SystemTimeMicroseconds', 'Query')`).Scan(&us, &queries); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano() + 1000*us), queries
}

// send sends a request and reads the answer, and nothing else: what ask looks at besides takes longer than some answers.
func (s *benchAPI) send(b testing.TB, as, method, path, body string, status int) []byte {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), method, s.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.tokens[as])
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(body, "[") {
		request.Header.Set("Content-Type", "application/cloudevents-batch+json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status || status == 202 && !bytes.Contains(content, []byte(`"rejected":[]`)) {
		b.Fatalf("%s %s: %d, %v\n%s", method, path, response.StatusCode, err, content)
	}
	return content
}

// live returns how many agents tenant-1 has live.
func (s *benchAPI) live(b testing.TB) (n int64) {
	b.Helper()
	var live struct{ Meters []struct{ Live int64 } }
	if err := json.Unmarshal(s.send(b, "finance", "GET", "/tenants/tenant-1/live", "", 200), &live); err != nil {
		b.Fatal(err)
	}
	for _, m := range live.Meters {
		n += m.Live
	}
	return n
}

// publish posts a hundred batches of a thousand sessions, eight at once.
func (s *benchAPI) publish(b *testing.B) {
	const batches, batch, callers = 100, 1000, 8
	var bodies []string
	for range batches {
		var events []string
		for range batch {
			n := s.sent.Add(1)
			events = append(events, benchSession(fmt.Sprint("tenant-", n%10), fmt.Sprintf("sent-%d", n),
				time.Now().Add(-time.Hour), time.Now()))
		}
		bodies = append(bodies, "["+strings.Join(events, ",")+"]")
	}
	cpu, _ := s.cost(b)
	for b.Loop() {
		group := errgroup.Group{}
		group.SetLimit(callers)
		for _, body := range bodies {
			group.Go(func() error {
				s.send(b, "publisher", "POST", "/events", body, 202)
				return nil
			})
		}
		group.Wait()
	}
	cpuAfter, _ := s.cost(b)
	b.ReportMetric(float64(b.N*batches*batch)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpuAfter-cpu).Microseconds())/float64(b.N*batches*batch), "cpu-us/event")
}

// pour publishes so many sessions of today each second until the benchmark ends.
func (s *benchAPI) pour(b *testing.B, rate int) {
	b.Helper()
	const ticks = 20 // a second
	producer := s.services.kafka.NewProducer()
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	began := time.Now()
	group.Go(func() error {
		sent := 0
		for ctx.Err() == nil {
			due := int(time.Since(began).Seconds() * float64(rate))
			records := make([]kafka.TopicMessage, max(0, min(due-sent, rate/ticks*4)))
			for i := range records {
				n := sent + i
				tenant := fmt.Sprint("tenant-", n%benchTenants)
				if n%4 == 0 {
					tenant = "tenant-0"
				}
				records[i] = kafka.TopicMessage{Topic: s.name + "." + schemas.TopicAgent, Message: kafka.Message{Key: []byte(tenant),
					Value: []byte(benchSession(tenant, fmt.Sprintf("poured-%d", n), time.Now().Add(-10*time.Minute), time.Now()))}}
			}
			if len(records) > 0 {
				if err := producer.Write(ctx, records); err != nil {
					return err
				}
			}
			sent += len(records)
			time.Sleep(time.Second / ticks)
		}
		b.Logf("%d sessions came in beside it, %.0f a second", sent, float64(sent)/time.Since(began).Seconds())
		return nil
	})
	b.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil && ctx.Err() == nil {
			b.Error(err)
		}
	})
}

// benchSession is a session of an agent in structured mode; without an end it is open.
func benchSession(tenant, id string, start, end time.Time) string {
	ended := ""
	if !end.IsZero() {
		ended = fmt.Sprintf(`,"endTime":%q`, end.UTC().Format(rfc3339Millis))
	}
	began := start.UTC().Format(rfc3339Millis)
	return fmt.Sprintf(`{"specversion":"1.0","type":"agent.session","source":"/wxcc/eu1","id":%q,"tenantid":%q,"time":%q,`+
		`"data":{"agentId":%q,"startTime":%q%s}}`, id, tenant, began, "agent-"+id[max(0, len(id)-3):], began, ended)
}

const rfc3339Millis = "2006-01-02T15:04:05.000Z"

// startBenchAPI starts the API on a month whose sessions were made in the database itself, as of a topic that Kafka does
// not have, and issues it.
func startBenchAPI(b *testing.B, sessions int) *benchAPI {
	b.Helper()
	kafka, clickHouse := servicetest.Kafka(b), servicetest.ClickHouse(b)
	dir := b.TempDir()
	name := fmt.Sprintf("api_bench_%d", apiServers.Add(1))
	s := &benchAPI{apiServer: apiServer{config: filepath.Join(dir, "apportion.yaml"), tokens: map[string]string{}}, name: name}
	if err := os.WriteFile(s.config, fmt.Appendf(nil,
		"kafka: {brokers: ['%s'], topicPrefix: %s., group: %[2]s, partitions: 4}\nclickhouse: {addr: ['%s'], database: %[2]s}\n"+
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
	tablestest.FillMonth(b, conn, tablestest.Month{Topic: "made", FromMS: zone.Start(civil.NewDate(2026, 10, 1)),
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
	s.run(b, a)
	var tokens []auth.Token
	for name, grant := range map[string]access.Grant{
		"finance": {Role: access.Finance}, "operator": {Role: access.Operator},
		"publisher": {Role: access.Publisher, Sources: []string{"/wxcc/eu1"}, Tenants: []string{"tenant-0", "tenant-1", "tenant-2",
			"tenant-3", "tenant-4", "tenant-5", "tenant-6", "tenant-7", "tenant-8", "tenant-9"}},
	} {
		token, err := access.NewToken(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		s.tokens[name] = token
		tokens = append(tokens, auth.Token{Name: name, SHA256: access.HashToken(token), Grants: []access.Grant{grant}})
	}
	limits := web.DefaultConfig()
	limits.Rate, limits.Burst, limits.HeavyRate, limits.HeavyBurst = 1e6, 1e6, 1e6, 1e6
	server := httptest.NewServer(a.newWeb(limits, s.services, auth.NewTokens(tokens, time.Now)).Handler())
	b.Cleanup(server.Close)
	b.Cleanup(http.DefaultClient.CloseIdleConnections)
	s.url = server.URL
	return s
}

// run runs what the API is served beside until the benchmark ends.
func (s *benchAPI) run(b *testing.B, a *app) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx, []string{"ingest", "registry", "aggregate"}) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	})
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
