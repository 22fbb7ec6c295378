package clickhouse

import (
	"cmp"
	"context"
	"slices"
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
	curves, err := s.Curves(ctx, in)
	if err != nil {
		return nil, err
	}
	var profiles []aggregate.Profile
	for _, c := range curves {
		profiles = append(profiles, aggregate.Profile{Tenant: c.Tenant, Date: c.Date, Meter: c.Meter,
			Points: c.Steps(byDate[tenantDate{c.Tenant, c.Date}], aggregate.ProfileStep)})
	}
	return profiles, nil
}

// Curves computes the concurrency of the tenants as a whole over each of the days, as Compute does, in the order of
// tenant, date and meter; one without anybody live has no curve.
func (s *Store) Curves(ctx context.Context, in aggregate.Inputs) ([]aggregate.Curve, error) {
	curves, err := onPieces(ctx, s, in, func(shard driver.Conn, q *query) (curves []aggregate.Curve, err error) {
		err = q.reading().each(shard, `WITH `+q.dailyOf(in.Bound)+`
			SELECT tenant, date, meter, subscription, changes FROM daily
			WHERE subscription = '' AND notEmpty(changes) ORDER BY tenant, date, meter`, addCurve(&curves))
		return curves, err
	})
	slices.SortStableFunc(curves, func(a, b aggregate.Curve) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return curves, err
}

// CurvesOf returns the concurrency over the dates `[from, to)` of a tenant, as the current figures have it, in the order
// of date, meter and subscription.
func (s *Store) CurvesOf(ctx context.Context, tenant string, of aggregate.CurveFilter, from, to civil.Date) (
	curves []aggregate.Curve, err error) {
	q := newQuery(ctx).reading()
	where := q.usageOf(tenant, of.Meter, from, to)
	if !of.BySubscription {
		where += ` AND subscription = ''`
	} else {
		where += ` AND subscription != ''`
	}
	err = s.rows(q, `SELECT tenant, date, meter, subscription, changes FROM usage_current
		WHERE `+where+` AND notEmpty(changes) ORDER BY date, meter, subscription`, addCurve(&curves))
	return curves, err
}

func addCurve(curves *[]aggregate.Curve) func(driver.Rows) error {
	return func(rows driver.Rows) error {
		var c aggregate.Curve
		var date time.Time
		if err := rows.Scan(&c.Tenant, &date, &c.Meter, &c.Subscription, &c.Changes); err != nil {
			return err
		}
		c.Date = civil.DateOfTime(date)
		*curves = append(*curves, c)
		return nil
	}
}
