package clickhouse_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
	"apportion/schemas/timeline"
)

// halting is a store whose passes halt where a test wants them to.
type halting struct {
	*clickhouse.Store
	beforeDays, beforeEnd func()
}

func (h halting) Recompute(ctx context.Context, shard int, pass aggregate.Pass, days []aggregate.Day, timelines aggregate.Timelines, rules aggregate.Rules) error {
	if h.beforeDays != nil {
		h.beforeDays()
	}
	return h.Store.Recompute(ctx, shard, pass, days, timelines, rules)
}

func (h halting) Finish(ctx context.Context, pass aggregate.Pass) error {
	if h.beforeEnd != nil {
		h.beforeEnd()
	}
	return h.Store.Finish(ctx, pass)
}

func always[V comparable](value V) timeline.Line[V] {
	return timeline.Line[V]{{FromMS: timeline.Start, Value: value}}
}

// registryAt is a registry with one tenant whose primary is given, changed by the last command.
func registryAt(offset int64, primary string) aggregate.Snapshot {
	return aggregate.Snapshot{RegistryOffset: offset, Tenants: []aggregate.Tenant{{ID: "a", Version: offset - 1}},
		Timelines: aggregate.Timelines{"a": aggregate.Known(timeline.Tenant{Zone: civil.UTC, Primary: always(primary)})}}
}

func message(id string, day int) schemas.Event {
	return schemas.Event{Tenant: "a", Source: "/s", ID: id, Type: schemas.ConnectUsage, Channel: "sms", Quantity: 1_000_000,
		TimeMS: civil.UTC.Start(civil.NewDate(2026, 10, day)), StartMS: schemas.Absent, EndMS: schemas.Absent}
}

// usageOf lists dates with their subscriptions and peaks.
func usageOf(t *testing.T, conn driver.Conn) []string {
	t.Helper()
	figures, err := clickhouse.NewStore(conn).Load(t.Context(), nil, civil.NewDate(2026, 10, 1), civil.NewDate(2026, 11, 1))
	if err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, u := range figures.Usage {
		if u.Subscription != "" {
			of = append(of, fmt.Sprintf("%s %s %d", u.Date, u.Subscription, u.Peak))
		}
	}
	return of
}

// TestPassesThatCross: a pass with an older registry and a newer ledger that ends after one with a newer registry
// leaves no day as the older registry would have it.
func TestPassesThatCross(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	pass := func(s aggregate.Store, r aggregate.Snapshot) {
		if _, err := aggregate.Refresh(context.Background(), s, r, aggregate.DefaultRules(), func(int, int) {}); err != nil {
			t.Error(err)
		}
	}
	insert(t, conn, 0, []schemas.Event{message("0", 14)})
	pass(store, registryAt(1, "S1"))
	insert(t, conn, 1, []schemas.Event{message("1", 20)})

	newer, older := make(chan bool), make(chan bool)
	newerGoes, olderGoes := make(chan bool), make(chan bool)
	newerDone, olderDone := make(chan bool), make(chan bool)
	halted := false
	go func() {
		defer close(newerDone)
		pass(halting{Store: store, beforeDays: func() {
			if !halted {
				halted = true
				close(newer)
				<-newerGoes
			}
		}}, registryAt(2, "S2"))
	}()
	<-newer
	insert(t, conn, 2, []schemas.Event{message("2", 25), message("3", 25), message("4", 25)})
	go func() {
		defer close(olderDone)
		pass(halting{Store: store, beforeEnd: func() { close(older); <-olderGoes }}, registryAt(1, "S1"))
	}()
	<-older
	close(newerGoes)
	<-newerDone
	pass(store, registryAt(2, "S2"))
	close(olderGoes)
	<-olderDone
	pass(store, registryAt(2, "S2"))
	if got, want := usageOf(t, conn), []string{"2026-10-14 S2 0", "2026-10-20 S2 0", "2026-10-25 S2 0"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestShorterOpenSessions: days that an open session ran on into by other rules are computed again too (R12).
func TestShorterOpenSessions(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	start := civil.UTC.Start(civil.NewDate(2026, 10, 9)) + 8*3600_000
	insert(t, conn, 0, []schemas.Event{{Tenant: "a", Source: "/s", ID: "x", Type: schemas.AgentSession, Agent: "g", TimeMS: start, StartMS: start, EndMS: schemas.Absent}})
	for hours, want := range map[int][]string{
		72: {"2026-10-09 S1 1", "2026-10-10 S1 1", "2026-10-11 S1 1", "2026-10-12 S1 1"},
		24: {"2026-10-09 S1 1", "2026-10-10 S1 1"},
	} {
		for _, other := range []int{72, hours} {
			if _, err := aggregate.Refresh(t.Context(), store, registryAt(1, "S1"), aggregate.Rules{OpenSessionHours: other}, func(int, int) {}); err != nil {
				t.Fatal(err)
			}
		}
		if got := usageOf(t, conn); !slices.Equal(got, want) {
			t.Errorf("after %d hours %q, want %q", hours, got, want)
		}
	}
}
