package clickhouse

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// Profile computes the concurrency over each of the days, as Compute does, in the order of tenant, date and meter.
func (s *Store) Profile(ctx context.Context, in aggregate.Inputs) ([]aggregate.Profile, error) {
	type tenantDate struct {
		tenant string
		date   civil.Date
	}
	byDate := map[tenantDate]aggregate.Day{}
	for _, d := range in.Days {
		byDate[tenantDate{d.Tenant, d.Date}] = d
	}
	profiles, err := onPieces(ctx, s, in, func(shard driver.Conn, q *query) (profiles []aggregate.Profile, err error) {
		err = q.each(shard, `WITH `+q.dailyOf(in.Bound)+`
			SELECT tenant, date, meter, changes FROM daily
			WHERE subscription = '' AND notEmpty(changes) ORDER BY tenant, date, meter`, func(rows driver.Rows) error {
			var p aggregate.Profile
			var date time.Time
			var changes []uint32
			if err := rows.Scan(&p.Tenant, &date, &p.Meter, &changes); err != nil {
				return err
			}
			p.Date = civil.DateOfTime(date)
			p.Points = points(byDate[tenantDate{p.Tenant, p.Date}], changes)
			profiles = append(profiles, p)
			return nil
		})
		return profiles, err
	})
	slices.SortStableFunc(profiles, func(a, b aggregate.Profile) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return profiles, err
}

// points gives the greatest concurrency in each stretch of a day: what it is as the stretch begins, or becomes in it.
// The column usage_daily.changes says what changes are.
func points(day aggregate.Day, changes []uint32) []aggregate.ProfilePoint {
	var points []aggregate.ProfilePoint
	var live int64
	lasts := day.ToMS - day.FromMS
	for from := int64(0); from < lasts; from += aggregate.ProfileStep {
		most := int64(-1)
		end := sort.Search(len(changes), func(i int) bool {
			return int64(changes[i]) >= 2*min(from+aggregate.ProfileStep, lasts)
		})
		for i, c := range changes[:end] {
			if most < 0 && int64(c) >= 2*(from+1) {
				most = live // before anything changes, but not before the changes of the first instant are complete
			}
			live += 2*int64(c%2) - 1
			if last := i == end-1 || changes[i+1]/2 != c/2; last {
				most = max(most, live)
			}
		}
		points = append(points, aggregate.ProfilePoint{AtMS: day.FromMS + from, Live: max(most, live)})
		changes = changes[end:]
	}
	return points
}
