package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// BenchmarkEvents reads what explains a peak of the tenant that has a quarter of all sessions of a month, one that
// bills by the head, and what verifies either.
func BenchmarkEvents(b *testing.B) {
	for _, sessions := range []int{1_000_000, 10_000_000} {
		conn := open(b)
		fillMonth(b, conn, sessions, 1000)
		store := clickhouse.NewStore(conn)
		positions, err := store.Positions(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		extent := aggregate.Extent{Positions: positions, ArrivedBy: aggregate.Settled}
		from := civil.UTC.Start(civil.NewDate(2026, 10, 1))
		to := civil.UTC.Start(civil.NewDate(2026, 11, 1))
		peak := from + 14*24*3600_000 + 10*3600_000
		agents := []schemas.Type{schemas.AgentSession}
		for _, c := range []struct {
			name   string
			wanted aggregate.Wanted
		}{
			{"peak", aggregate.Wanted{Tenant: "tenant-0", Types: agents, FromMS: peak - 31*24*3600_000, ToMS: peak + 1, LiveAt: &peak}},
			{"heads", aggregate.Wanted{Tenant: "tenant-0", Types: agents, FromMS: from, ToMS: to, Class: "standard", OneEach: true}},
			{"all", aggregate.Wanted{Tenant: "tenant-0", Types: agents, FromMS: from - 31*24*3600_000, ToMS: to}},
		} {
			b.Run(fmt.Sprintf("sessions=%d/%s", sessions, c.name), func(b *testing.B) {
				events, deliveries := 0, 0
				start := time.Now()
				for b.Loop() {
					events, deliveries = 0, 0
					if err := store.Events(b.Context(), extent, c.wanted, func(event []aggregate.Delivery) error {
						events++
						deliveries += len(event)
						return nil
					}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(time.Since(start).Milliseconds())/float64(b.N), "ms/op")
				b.ReportMetric(float64(events), "events")
				b.ReportMetric(float64(deliveries), "deliveries")
			})
		}
	}
}
