package tablestest

import (
	"fmt"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Month is a month of sessions to measure by.
type Month struct {
	// Topic is that of all deliveries, in eight partitions.
	Topic string
	// FromMS is when the 31 days begin, in UTC epoch milliseconds.
	FromMS int64
	// Tenants are tenant-0, which has a quarter of all sessions, and so on.
	Tenants, Sessions int
	// Deliveries are how many there are: those beyond the sessions are second revisions.
	Deliveries int
}

// FillMonth makes a month in the database itself, as ingest would have left it: a fifth of the sessions in the IVR,
// four a day of each agent.
func FillMonth(t testing.TB, conn driver.Conn, m Month) {
	t.Helper()
	if err := conn.Exec(ch.Context(t.Context(), ch.WithParameters(ch.Parameters{
		"n": fmt.Sprint(m.Sessions), "deliveries": fmt.Sprint(m.Deliveries), "tenants": fmt.Sprint(m.Tenants),
		"from": fmt.Sprint(m.FromMS), "topic": m.Topic,
	})), `
		INSERT INTO usage_events (tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms,
			agent, entry_point, channel, quantity, subscription, class, topic, partition, offset, arrived_ms)
		SELECT concat('tenant-', toString(tenant)), if(ivr, 'ivr.session', 'agent.session'), '/wxcc/eu1',
			lower(hex(sipHash128(event))), number >= {n:UInt64}, false,
			started + lasted, started, started, started + lasted, if(ivr, '', concat('agent-', toString(agent))),
			if(ivr, concat('ep-', toString(agent % 10)), ''), '', 0, '', '', {topic:String}, number % 8, intDiv(number, 8),
			started + lasted
		FROM (
			SELECT number, number % {n:UInt64} AS event, event % 5 = 1 AS ivr,
				if(event % 4 = 0, 0, 1 + cityHash64(event) % ({tenants:UInt64} - 1)) AS tenant,
				cityHash64(event, 3) % greatest(1, intDiv(if(tenant = 0, intDiv({n:UInt64}, 4),
					intDiv({n:UInt64} * 3, 4 * {tenants:UInt64})), 124)) AS agent,
				{from:Int64} + (cityHash64(event, 1) % (31 * 86400)) * 1000 AS started,
				if(ivr, 10000 + cityHash64(event, 2) % 240000, 60000 + cityHash64(event, 2) % 14400000) AS lasted
			FROM numbers({deliveries:UInt64}))`); err != nil {
		t.Fatal(err)
	}
	for partition := range 8 {
		last := (m.Deliveries - 1 - partition) / 8
		if err := conn.Exec(t.Context(), `
			INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected)
			VALUES (?, ?, 0, ?, ?, ?, 0)`, m.Topic, partition, last, last+1, last+1); err != nil {
			t.Fatal(err)
		}
	}
	// What ingest leaves is merged as it grows.
	for _, table := range []string{"usage_events", "event_days"} {
		if err := conn.Exec(t.Context(), "OPTIMIZE TABLE "+table); err != nil {
			t.Fatal(err)
		}
	}
}
