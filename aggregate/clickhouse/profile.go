package clickhouse

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Profile returns the concurrency over each of the days, as Compute would have it, in the order of tenant, date and
// meter. What a pass has stored of them is read, which costs a small part of computing it.
func (s *Store) Profile(ctx context.Context, in aggregate.Inputs) ([]aggregate.Profile, error) {
	curves, stored, err := s.storedCurves(ctx, in)
	if err == nil && !stored {
		curves, err = onPieces(ctx, s, in, func(shard driver.Conn, q *query) (curves []aggregate.Curve, err error) {
			err = q.reading().each(shard, `WITH `+q.dailyOf(in.Bound)+`
				SELECT tenant, date, meter, subscription, changes FROM daily
				WHERE subscription = '' AND notEmpty(changes) ORDER BY tenant, date, meter`, addCurve(&curves))
			return curves, err
		})
	}
	byDate := map[tenantDay]aggregate.Day{}
	for _, d := range in.Days {
		byDate[tenantDay{d.Tenant, d.Date}] = d
	}
	var profiles []aggregate.Profile
	for _, c := range curves {
		profiles = append(profiles, aggregate.Profile{Tenant: c.Tenant, Date: c.Date, Meter: c.Meter,
			Points: c.Steps(byDate[tenantDay{c.Tenant, c.Date}], aggregate.ProfileStep)})
	}
	slices.SortStableFunc(profiles, func(a, b aggregate.Profile) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return profiles, err
}

// storedCurves returns the concurrency of the tenants over the days as it is stored, and whether that is of the inputs.
func (s *Store) storedCurves(ctx context.Context, in aggregate.Inputs) (curves []aggregate.Curve, of bool, err error) {
	if in.Pass == 0 || in.NowMS != aggregate.EndOfTime {
		return nil, false, nil
	}
	onDays := func(ctx context.Context) *query {
		q := newQuery(ctx).reading()
		add := q.table("days", "tenant", "String", "date", "Date32")
		for _, d := range in.Days {
			add(d.Tenant, d.Date.Time())
		}
		return q
	}
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (curves []aggregate.Curve, err error) {
		err = onDays(ctx).each(shard, `SELECT tenant, date, meter, subscription, changes FROM usage_current
			WHERE (tenant, date) IN (SELECT tenant, date FROM days) AND subscription = '' AND notEmpty(changes)
			ORDER BY tenant, date, meter`, addCurve(&curves))
		return curves, err
	})
	if err != nil {
		return nil, false, err
	}
	// Asked afterwards: a pass that comes in between is seen.
	newest, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (pass uint64, err error) {
		err = onDays(ctx).each(shard, `SELECT max(pass) FROM usage_days
			WHERE (tenant, date) IN (SELECT tenant, date FROM days)`, func(rows driver.Rows) error { return rows.Scan(&pass) })
		return pass, err
	})
	return slices.Concat(parts...), err == nil && slices.Max(newest) <= in.Pass, err
}

// Sessions finds who is live on the days until the now of the inputs, from the deliveries within the bound: each
// session of the agent and IVR meters that counts. It is planned in a part of the time that daily takes.
func (s *Store) Sessions(ctx context.Context, in aggregate.Inputs) ([]aggregate.LiveSession, error) {
	meters := []string{"", schemas.AgentStandard, schemas.AgentPremium, schemas.IVRPort} // by meter_number
	return onPieces(ctx, s, in, func(shard driver.Conn, q *query) (all []aggregate.LiveSession, err error) {
		err = q.reading().each(shard, `WITH `+q.over(attributed, in.Bound)+`
			SELECT meter_number, if(is_agent, agent, concat(source, char(0), id)), start_ms, ends_ms, n.subscription
			FROM attributed AS a INNER JOIN names AS n ON a.number = n.number
			WHERE counts AND NOT is_connect AND start_ms < {now:Int64} AND ends_ms > {first:Int64}`,
			func(rows driver.Rows) error {
				var l aggregate.LiveSession
				var meter uint16
				if err := rows.Scan(&meter, &l.Who, &l.From, &l.To, &l.Subscription); err != nil {
					return err
				}
				l.Meter = meters[meter]
				all = append(all, l)
				return nil
			})
		return all, err
	})
}

// CurvesOf returns the concurrency over the dates `[from, to)` of a tenant, as the current figures have it, in the
// order of date, meter and subscription.
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
