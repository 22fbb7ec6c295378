package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	usage "apportion/aggregate/clickhouse"
	"apportion/billing"
	"apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/ingest/kafka"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// memoryLog is a command log that is read only.
type memoryLog struct {
	service.CommandLog
	values [][]byte
}

func (l *memoryLog) Read(_ context.Context, from int64, visit kafka.LogVisitor) (int64, error) {
	for offset := from; offset < int64(len(l.values)); offset++ {
		if err := visit(offset, 0, l.values[offset]); err != nil {
			return 0, err
		}
	}
	return int64(len(l.values)), nil
}

// BenchmarkPreview previews one tenant of ten thousand, each with ten subscriptions and a hundred licences: a million.
// The registry has been read.
func BenchmarkPreview(b *testing.B) {
	const tenants = 10_000
	log := &memoryLog{}
	for i := range tenants {
		tenant := registry.Tenant{ID: fmt.Sprint("t", i), Name: "T", TimeZone: "Europe/Stockholm", Telephony: "vpop"}
		for j := range 10 {
			doc, problems := registry.Parse("", fmt.Appendf(nil, `tenants: [{id: x, name: x, timeZone: UTC, telephony: vpop, subscriptions: [
				{id: t%d-%d, name: x, licenceModel: concurrent, plan: flex, deployment: cloud, currency: SEK, billing: monthly,
				 terms: [{from: 2024-01-01, to: 2029-01-01}], versions: [{from: 2024-01-01, commitments: {agent_standard: 10},
				 prices: {commitment: {agent_standard: "900.00"}, overage: {agent_standard: "1100.00"}}}]}]}]`, i, j))
			if len(problems) > 0 {
				b.Fatal(problems)
			}
			tenant.Subscriptions = append(tenant.Subscriptions, doc.Tenants[0].Subscriptions...)
		}
		for u := range 100 {
			tenant.Licences = append(tenant.Licences, registry.Licence{User: fmt.Sprint("agent-", u), Role: "agent", Class: registry.Standard,
				Subscription: tenant.Subscriptions[u%10].ID, From: civil.NewDate(2024, 1, 1), To: civil.NoDate})
		}
		value, err := json.Marshal(registry.Command{ID: "c", Source: "s", TenantID: tenant.ID, Command: registry.PutTenant, Base: registry.NoBase, Tenant: &tenant})
		if err != nil {
			b.Fatal(err)
		}
		log.values = append(log.values, value)
	}
	conn := tablestest.Open(b)
	r := service.NewRegistry(log, nil, time.Now)
	began := time.Now()
	if _, err := r.CatchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("read in %v", time.Since(began))
	first := func(context.Context) (driver.Conn, error) { return conn, nil }
	invoices := service.NewInvoices(service.InvoiceDeps{Registry: r, Usage: usage.NewStore(conn), Lines: clickhouse.NewLines(conn, first),
		Rules: billing.DefaultRules(), Clock: time.Now})
	for b.Loop() {
		draft, err := invoices.Preview(b.Context(), service.PreviewRequest{Period: civil.NewMonth(2026, 10), Tenants: []string{"t77"},
			NowMS: civil.UTC.Start(civil.NewDate(2026, 10, 20))})
		if err != nil || len(draft.Invoices) != 10 {
			b.Fatal(len(draft.Invoices), err)
		}
	}
}
