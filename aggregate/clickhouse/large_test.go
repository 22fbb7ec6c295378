package clickhouse_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/civil"
	"apportion/schemas/tables"
	"apportion/schemas/tables/tablestest"
)

// TestLargeDay: a date of one tenant, which no query can be cut below, is computed, proved and previewed in bounded
// memory. APPORTION_LARGE_DAY=20000000 APPORTION_LARGE_MEMORY=4294967296 is a day of twenty million deliveries on a
// small server.
func TestLargeDay(t *testing.T) {
	servicetest.Heavy(t, "it aggregates a day of many deliveries")
	t.Parallel()
	setting := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	n, memory := setting("APPORTION_LARGE_DAY", servicetest.Draws(300_000, 2_000_000)), setting("APPORTION_LARGE_MEMORY", servicetest.Draws(120<<20, 400<<20))
	addr, database := servicetest.Database(t)
	fillDay(t, tablestest.OpenIn(t, addr, database), n)
	conn, err := ch.Open(&ch.Options{Addr: []string{addr}, Auth: ch.Auth{Database: database},
		Settings: tables.Settings(map[string]any{"max_memory_usage": memory})})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	store := clickhouse.NewStore(conn)
	registry := two()
	if _, err := aggregate.Refresh(t.Context(), store, registry, aggregate.DefaultRules(), func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	pass, err := store.LastPass(t.Context())
	if err != nil || len(pass.Behind) > 0 {
		t.Fatalf("%v, left behind: %v", err, pass.Behind)
	}
	figures, err := store.Load(t.Context(), nil, largeDay, largeDay+1)
	if err != nil {
		t.Fatal(err)
	}
	events, deliveries := int64(n), int64(n+n/50)
	if want := (aggregate.Balance{Accepted: deliveries, Counted: events, Superseded: deliveries - events}); len(figures.Balances) != 1 || withoutNotes(figures.Balances[0].Balance) != want {
		t.Errorf("the day has %+v, want %+v", figures.Balances, want)
	}
	proofs, err := store.Proof(t.Context(), nil, largeDay, largeDay+1, pass, registry.Timelines)
	if err != nil || len(proofs) != 1 || proofs[0].Deliveries != deliveries || proofs[0].Events != events || proofs[0].Faults != nil {
		t.Errorf("proved are %+v, %v; want %d deliveries of %d events", proofs, err, deliveries, events)
	}
	days := aggregate.Days("acme", civil.UTC, largeDay, largeDay+1)
	in := aggregate.Inputs{Days: days, Bound: aggregate.ReadBound{Positions: pass.Positions, ArrivedBy: aggregate.EndOfTime},
		Timelines: registry.Timelines, Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime}
	if _, err := store.Compute(t.Context(), in); err != nil {
		t.Error("computed afresh: ", err)
	}
	if _, err := store.Profile(t.Context(), in); err != nil {
		t.Error("the profile: ", err)
	}
	if _, err := aggregate.Rebuild(t.Context(), store, registry, aggregate.DefaultRules(), nil, nil, func(int, int) {}); err != nil {
		t.Error("computed again: ", err)
	}
	if last, err := store.LastPass(t.Context()); err != nil || len(last.Behind) > 0 {
		t.Errorf("computed again: %v, left behind: %v", err, last.Behind)
	}
}

// withoutNotes leaves what is to be reported of events out of a balance.
func withoutNotes(b aggregate.Balance) aggregate.Balance {
	b.Unmapped, b.OpenSessions, b.UnknownSubscription, b.Conflicts = 0, 0, 0, 0
	return b
}

var largeDay = civil.NewDate(2026, 10, 14)

// fillDay makes sessions of one date of acme, four of each agent, a fifth of them in the IVR, and a fiftieth of them
// with a second revision.
func fillDay(t *testing.T, conn driver.Conn, n int) {
	t.Helper()
	if err := conn.Exec(ch.Context(t.Context(), ch.WithParameters(ch.Parameters{"n": fmt.Sprint(n), "from": fmt.Sprint(civil.UTC.Start(largeDay))})), `
		INSERT INTO usage_events (tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms,
			agent, entry_point, channel, quantity, subscription, class, topic, partition, offset, arrived_ms)
		SELECT 'acme', if(ivr, 'ivr.session', 'agent.session'), '/wxcc/eu1', lower(hex(sipHash128(event))), number >= {n:UInt64}, false,
			started + lasted, started, started, started + lasted, if(ivr, '', concat('agent-', toString(cityHash64(event) % intDiv({n:UInt64}, 5)))),
			if(ivr, 'ep', ''), '', 0, '', '', 'usage', 0, number, started + lasted
		FROM (
			SELECT number, number % {n:UInt64} AS event, event % 5 = 1 AS ivr,
				{from:Int64} + (cityHash64(event, 1) % 72000) * 1000 AS started, 10000 + cityHash64(event, 2) % 14000000 AS lasted
			FROM numbers({n:UInt64} + intDiv({n:UInt64}, 50)))`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), `INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected)
		VALUES ('usage', 0, 0, ?, ?, ?, 0)`, n+n/50-1, n+n/50, n+n/50); err != nil {
		t.Fatal(err)
	}
}
