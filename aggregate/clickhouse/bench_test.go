package clickhouse_test

import (
	"fmt"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas/civil"
)

// fillMonth makes sessions of October 2026 in the database itself: of so many tenants, the first with a quarter
// of all, each agent with four sessions a day, a fiftieth of the events with a second revision.
func fillMonth(b *testing.B, conn driver.Conn, sessions, tenants int) {
	b.Helper()
	from := civil.UTC.Start(civil.NewDate(2026, 10, 1))
	if err := conn.Exec(ch.Context(b.Context(), ch.WithParameters(ch.Parameters{
		"n": fmt.Sprint(sessions), "tenants": fmt.Sprint(tenants), "from": fmt.Sprint(from),
	})), `
		INSERT INTO usage_events (tenant, type, source, id, revision, voided, time_ms, at_ms, start_ms, end_ms,
			agent, entry_point, channel, quantity, subscription, class, topic, partition, offset, arrived_ms)
		SELECT concat('tenant-', toString(tenant)), 'agent.session', '/wxcc', toString(event), number >= {n:UInt64}, false,
			started + lasted, started, started, started + lasted, concat('agent-', toString(intDiv(event, 124) % 1000)),
			'', '', 0, '', '', 'usage', 0, number, 0
		FROM (
			SELECT number, number % {n:UInt64} AS event,
				if(event % 4 = 0, 0, cityHash64(event) % {tenants:UInt64}) AS tenant,
				{from:Int64} + (cityHash64(event, 1) % (31 * 86400)) * 1000 AS started,
				60000 + cityHash64(event, 2) % 14400000 AS lasted
			FROM numbers({n:UInt64} + intDiv({n:UInt64}, 50)))`); err != nil {
		b.Fatal(err)
	}
	if err := conn.Exec(b.Context(), `INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected)
		VALUES ('usage', 0, 0, 1000000000000, 0, 0, 0)`); err != nil {
		b.Fatal(err)
	}
}

// month is a registry of so many tenants in one zone, each with one subscription.
func month(b *testing.B, tenants int) aggregate.Snapshot {
	b.Helper()
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		b.Fatal(err)
	}
	s := aggregate.Snapshot{Offset: 1}
	s.Timelines.Zones = map[string]*civil.Zone{}
	for i := range tenants {
		id := fmt.Sprintf("tenant-%d", i)
		subscription := "Sub" + id
		s.Tenants = append(s.Tenants, aggregate.Tenant{ID: id, Zone: zone, Version: 0})
		s.Timelines.Zones[id] = zone
		s.Timelines.Primary = append(s.Timelines.Primary, aggregate.PrimaryStep{Tenant: id, FromMS: aggregate.Start, Subscription: subscription})
		s.Timelines.Active = append(s.Timelines.Active, aggregate.ActiveStep{Tenant: id, Subscription: subscription, FromMS: aggregate.Start, Active: true})
	}
	return s
}

// BenchmarkRefresh works a month of sessions out from scratch.
func BenchmarkRefresh(b *testing.B) {
	for _, sessions := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			conn := open(b)
			fillMonth(b, conn, sessions, 1000)
			registry := month(b, 1000)
			store := clickhouse.NewStore(conn)
			for b.Loop() {
				if err := conn.Exec(b.Context(), "TRUNCATE TABLE usage_passes"); err != nil {
					b.Fatal(err)
				}
				if _, err := aggregate.Refresh(b.Context(), store, registry, aggregate.DefaultRules(), func(int, int) {}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(sessions)/b.Elapsed().Seconds(), "sessions/s")
		})
	}
}
