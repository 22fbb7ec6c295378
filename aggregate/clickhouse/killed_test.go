package clickhouse_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

var errKilled = errors.New("killed")

// mortal is a connection of a process that is killed after some statements that write: none of its later ones arrives.
type mortal struct {
	driver.Conn
	left *atomic.Int64
}

func (m mortal) Exec(ctx context.Context, query string, args ...any) error {
	if m.left.Add(-1) < 0 {
		return errKilled
	}
	return m.Conn.Exec(ctx, query, args...)
}

func (m mortal) PrepareBatch(ctx context.Context, query string, opts ...driver.PrepareBatchOption) (driver.Batch, error) {
	if m.left.Add(-1) < 0 {
		return nil, errKilled
	}
	return m.Conn.PrepareBatch(ctx, query, opts...)
}

// TestKilledPasses kills passes before each of their statements, again and again, and lets others run at the same time.
// Whatever is left behind, every day shows its old figures or its new ones, whole; in the end the new ones.
func TestKilledPasses(t *testing.T) {
	servicetest.Heavy(t, "it kills passes at every statement")
	draws(servicetest.Draws(2, 25)) // of which each is killed some twenty times
	defer draws(usual())
	conn := tablestest.Open(t)
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, conn)
		w := drawWorld(t)
		deliveries := rapid.SliceOfN(rapid.Custom(w.drawEvent), 1, 40).Draw(t, "deliveries")
		cut := rapid.IntRange(0, len(deliveries)).Draw(t, "cut")
		insert(t, conn, 0, deliveries[:cut])
		refresh(t, clickhouse.NewStore(conn), w, aggregate.DefaultRules())
		insert(t, conn, int64(cut), deliveries[cut:])

		before, after := w.figuresByDay(deliveries[:cut]), w.figuresByDay(deliveries)
		for statements := int64(0); ; statements++ {
			var together errgroup.Group
			var mu sync.Mutex
			killed := 0
			for range rapid.IntRange(1, 2).Draw(t, "at once") {
				var left atomic.Int64
				left.Store(statements)
				together.Go(func() error {
					_, err := aggregate.Refresh(context.Background(), clickhouse.NewStore(mortal{conn, &left}), w.registry, aggregate.DefaultRules(), func(int, int) {})
					if errors.Is(err, errKilled) {
						mu.Lock()
						defer mu.Unlock()
						killed++
						return nil
					}
					return err
				})
			}
			if err := together.Wait(); err != nil {
				t.Fatal(err)
			}
			got := w.storedByDay(t, conn)
			for day := range mergedKeys(before, after, got) {
				if g := got[day]; !slices.Equal(g, before[day]) && !slices.Equal(g, after[day]) {
					t.Fatalf("after %d statements %v shows\n%q\nneither the old\n%q\nnor the new\n%q", statements, day, g, before[day], after[day])
				}
			}
			if killed == 0 {
				for day := range mergedKeys(after, got) {
					if !slices.Equal(got[day], after[day]) {
						t.Fatalf("in the end %v shows\n%q\nwant\n%q", day, got[day], after[day])
					}
				}
				return
			}
		}
	})
}

type tenantDate struct {
	tenant string
	date   civil.Date
}

func byDay(f *aggregate.Figures) map[tenantDate][]string {
	days := map[tenantDate][]string{}
	for i, u := range f.Usage {
		key := tenantDate{u.Tenant, u.Date}
		days[key] = append(days[key], rows(f.Usage[i:i+1])...)
	}
	for i, b := range f.Balances {
		key := tenantDate{b.Tenant, b.Date}
		days[key] = append(days[key], rows(f.Balances[i:i+1])...)
	}
	return days
}

// figuresByDay are the figures of the reference, with room for sessions that reach beyond the days drawn.
func (w world) figuresByDay(deliveries []schemas.Event) map[tenantDate][]string {
	var days []aggregate.Day
	for _, tenant := range []string{"a", "b", "unknown"} {
		days = append(days, aggregate.Days(tenant, w.zone(tenant), (w.days[0].Date-40).Month().First(), w.days[0].Date+50)...)
	}
	usage, balances := aggregate.Reference(deliveries, aggregate.Inputs{Days: days, Timelines: w.registry.Timelines, Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime})
	return byDay(&aggregate.Figures{Usage: usage, Balances: unknownByMonth(balances)})
}

func (w world) storedByDay(t failer, conn driver.Conn) map[tenantDate][]string {
	t.Helper()
	stored, err := clickhouse.NewStore(conn).Load(context.Background(), nil, (w.days[0].Date - 40).Month().First(), w.days[0].Date+50)
	if err != nil {
		t.Fatal(err)
	}
	return byDay(stored)
}

func mergedKeys(of ...map[tenantDate][]string) map[tenantDate]bool {
	all := map[tenantDate]bool{}
	for _, m := range of {
		for key := range m {
			all[key] = true
		}
	}
	return all
}
