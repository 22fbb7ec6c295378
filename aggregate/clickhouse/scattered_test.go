package clickhouse_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
	"apportion/schemas/timeline"
)

// connectUsage is one message of a tenant.
func connectUsage(tenant, id string, atMS int64) schemas.Event {
	return schemas.Event{Tenant: tenant, Type: schemas.ConnectUsage, Source: "/t", ID: id, TimeMS: atMS, StartMS: schemas.Absent, EndMS: schemas.Absent,
		Channel: "sms", Quantity: 1_000_000}
}

// two are tenants that the registry knows; who else sends usage is unknown.
func two() aggregate.Snapshot {
	var s aggregate.Snapshot
	s.RegistryOffset = 1
	s.Timelines = aggregate.Timelines{}
	for _, tenant := range []string{"acme", "beta"} {
		s.Tenants = append(s.Tenants, aggregate.Tenant{ID: tenant})
		s.Timelines[tenant] = aggregate.Known(timeline.Tenant{Zone: civil.UTC, Primary: always("Sub-" + tenant),
			Active: map[string]timeline.Line[bool]{"Sub-" + tenant: always(true)}})
	}
	return s
}

// TestScatteredDates: usage on thousands of dates out of the blue takes a few queries and a few parts, whoever sends
// it.
func TestScatteredDates(t *testing.T) {
	servicetest.Heavy(t, "it inserts thousands of deliveries")
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	const n = 2000
	random := rand.New(rand.NewPCG(1, 2))
	var deliveries []schemas.Event
	dates := map[civil.Date]bool{}
	months := map[civil.Month]bool{}
	for i := range n {
		known, unknown := civil.Date(1096+random.IntN(2_930_000)), civil.Date(1096+random.IntN(2_930_000))
		dates[known], months[unknown.Month()] = true, true
		deliveries = append(deliveries, connectUsage("acme", fmt.Sprint(i), civil.UTC.Start(known)+36_000_000), connectUsage("nobody", fmt.Sprint(i), civil.UTC.Start(unknown)+36_000_000))
	}
	insert(t, conn, 0, deliveries)
	insert(t, conn, int64(len(deliveries)), deliveries[:2]) // of either one, twice
	pieces := 0
	report, err := aggregate.Refresh(t.Context(), counting{store, &pieces}, two(), aggregate.DefaultRules(), func(int, int) {})
	if err != nil || report.Days != len(dates)+len(months) {
		t.Fatalf("%+v, %v; want %d days", report, err, len(dates)+len(months))
	}
	if pieces != 1 {
		t.Errorf("the days were computed by %d queries, want 1", pieces)
	}
	var parts uint64
	if err := conn.QueryRow(t.Context(), `SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table IN ('usage_events', 'usage_daily')`).Scan(&parts); err != nil {
		t.Fatal(err)
	}
	if parts > 2*140 {
		t.Errorf("the usage of %d dates is in %d parts", len(dates), parts)
	}
	sum := inForce(t, conn)
	if acme, want := sum["acme"], (aggregate.Balance{Accepted: n + 1, Counted: n, Duplicate: 1}); acme != want {
		t.Errorf("acme has %+v, want %+v", acme, want)
	}
	if nobody, want := sum["nobody"], (aggregate.Balance{Accepted: n + 1, UnknownTenant: n + 1}); nobody != want {
		t.Errorf("nobody has %+v, want %+v", nobody, want)
	}

	// Once the registry knows the tenant, nothing of it is unknown any more.
	known := two()
	known.RegistryOffset = 2
	known.Tenants = append(known.Tenants, aggregate.Tenant{ID: "nobody", Version: 1})
	known.Timelines["nobody"] = aggregate.Known(timeline.Tenant{Zone: civil.UTC, Primary: always("Sub-n")})
	if _, err := aggregate.Refresh(t.Context(), store, known, aggregate.DefaultRules(), func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	now := inForce(t, conn)["nobody"]
	if want := (aggregate.Balance{Accepted: n + 1, Counted: n, Duplicate: 1}); now != want {
		t.Errorf("once known nobody has %+v, want %+v", now, want)
	}
}

// inForce sums up the balances of all days of each tenant.
func inForce(t *testing.T, conn driver.Conn) map[string]aggregate.Balance {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT tenant, toInt64(sum(accepted)), toInt64(sum(events)), toInt64(sum(duplicate)), toInt64(sum(unknown_tenant))
		FROM usage_current WHERE subscription = '' GROUP BY tenant`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	sums := map[string]aggregate.Balance{}
	for rows.Next() {
		var tenant string
		var b aggregate.Balance
		if err := rows.Scan(&tenant, &b.Accepted, &b.Counted, &b.Duplicate, &b.UnknownTenant); err != nil {
			t.Fatal(err)
		}
		sums[tenant] = b
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return sums
}

// counting counts the pieces of a pass.
type counting struct {
	*clickhouse.Store
	pieces *int
}

func (c counting) Recompute(ctx context.Context, shard int, pass aggregate.Pass, days []aggregate.Day, timelines aggregate.Timelines, rules aggregate.Rules) error {
	*c.pieces++
	return c.Store.Recompute(ctx, shard, pass, days, timelines, rules)
}

// TestDamagedRow: a row that no event can have leaves its tenant behind, and the others become current.
func TestDamagedRow(t *testing.T) {
	servicetest.Heavy(t, "it inserts thousands of deliveries")
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	at := civil.UTC.Start(civil.NewDate(2026, 10, 14)) + 36_000_000
	session := schemas.Event{Tenant: "beta", Type: schemas.AgentSession, Source: "/t", ID: "s", TimeMS: at, StartMS: at, EndMS: at + 400*86_400_000, Agent: "a"}
	insert(t, conn, 0, []schemas.Event{connectUsage("acme", "1", at), session})
	report, err := aggregate.Refresh(t.Context(), store, two(), aggregate.DefaultRules(), func(int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Behind) != 1 || report.Behind[0].Tenant != "beta" || !strings.Contains(report.Behind[0].Reason, "longer than any event can have") {
		t.Errorf("left behind: %v; want beta, for its session", report.Behind)
	}
	last, err := store.LastPass(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, behind := last.BehindOn("beta"); !behind {
		t.Errorf("the pass says that %v is behind, want beta", last.Behind)
	}
	figures, err := store.Load(t.Context(), nil, civil.NewDate(2026, 10, 1), civil.NewDate(2026, 11, 1))
	if err != nil || len(figures.Balances) != 1 || figures.Balances[0].Tenant != "acme" || figures.Balances[0].Counted != 1 {
		t.Errorf("current are %+v, %v; want the message of acme alone", figures, err)
	}

	// So does working everything out again, also where the pass before knew of no damage.
	if err := conn.Exec(t.Context(), `TRUNCATE TABLE usage_days`); err != nil {
		t.Fatal(err)
	}
	if last.Behind = nil; store.Finish(t.Context(), last) != nil {
		t.Fatal("the pass cannot be recorded")
	}
	report, err = aggregate.Rebuild(t.Context(), store, two(), aggregate.DefaultRules(), nil, nil, func(int, int) {})
	if err != nil || len(report.Behind) != 1 || report.Behind[0].Tenant != "beta" {
		t.Errorf("a rebuild: %+v, %v; want beta left behind", report, err)
	}
	if acme := inForce(t, conn)["acme"]; acme.Counted != 1 {
		t.Errorf("after a rebuild acme has %+v, want its message", acme)
	}
	if last, err = store.LastPass(t.Context()); err != nil || len(last.Behind) != 1 {
		t.Errorf("the rebuild is recorded as %+v, %v; want beta behind", last, err)
	}

	// Once the row is gone the next pass has the tenant again.
	if err := conn.Exec(t.Context(), `DELETE FROM usage_events WHERE id = 's'`); err != nil {
		t.Fatal(err)
	}
	insert(t, conn, 2, []schemas.Event{connectUsage("beta", "2", at)})
	if report, err = aggregate.Refresh(t.Context(), store, two(), aggregate.DefaultRules(), func(int, int) {}); err != nil || len(report.Behind) != 0 {
		t.Errorf("%+v, %v; want nobody left behind", report, err)
	}
}
