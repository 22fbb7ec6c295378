package clickhouse

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// reading keeps a query from writing anything, whatever it says. How long it may take is up to the deadline of its
// context, which the driver gives the server as max_execution_time.
func (q *query) reading() *query {
	q.readOnly = true
	return q
}

// usageOf adds the parameters of a condition on usage_current, which it returns: a tenant, a meter, empty for all, and
// the dates `[from, to)`.
func (q *query) usageOf(tenant, meter string, from, to civil.Date) string {
	q.parameters["tenant"], q.parameters["meter"] = tenant, meter
	q.parameter("from", int64(from))
	q.parameter("to", int64(to))
	// By numbers, since toDate32 knows no date after 2299.
	return `tenant = {tenant:String} AND meter != '' AND ({meter:String} = '' OR meter = {meter:String})
			AND toInt32(date) >= {from:Int32} AND toInt32(date) < {to:Int32}`
}

// Peaks returns the peaks of a tenant as a whole on the dates `[from, to)`, as the current figures have them, in the
// order of date and meter. It reads nothing else, which is little where many agents are counted.
func (s *Store) Peaks(ctx context.Context, tenant string, from, to civil.Date) (all []aggregate.Usage, err error) {
	q := newQuery(ctx).reading()
	where := q.usageOf(tenant, "", from, to)
	err = s.rows(q, `SELECT date, meter, toInt64(peak), peak_ms FROM usage_current
		WHERE `+where+` AND subscription = '' AND peak > 0 ORDER BY date, meter`, func(rows driver.Rows) error {
		u := aggregate.Usage{Tenant: tenant}
		var date time.Time
		if err := rows.Scan(&date, &u.Meter, &u.Peak, &u.PeakMS); err != nil {
			return err
		}
		u.Date = civil.DateOfTime(date)
		all = append(all, u)
		return nil
	})
	return all, err
}

// Readings returns the usage of a tenant that is asked for, as the current figures have it, in the order of date or
// month, meter and subscription.
func (s *Store) Readings(ctx context.Context, ask aggregate.ReadingFilter) (all []aggregate.Reading, err error) {
	q := newQuery(ctx).reading()
	where := q.usageOf(ask.Tenant, ask.Meter, ask.From, ask.To)
	q.parameters["subscription"] = ask.Subscription
	q.parameters["after_meter"], q.parameters["after_subscription"] = ask.After.Meter, ask.After.Subscription
	q.parameter("after", ask.After.At)
	q.parameter("limit", int64(ask.Limit))
	at, group := "toInt64(toInt32(date))", "date"
	if ask.ByMonth {
		at = "toInt64((toYear(date) - 1970) * 12 + toMonth(date) - 1)"
		group = at
	}
	// Of a month the peak is the greatest of its days, the earliest of equal ones, with what was committed on that day.
	err = s.rows(q, `
		SELECT at, meter, subscription, top.1, -top.2, top.3, events, milliseconds, units, agents FROM (
			SELECT `+at+` AS at, meter, subscription, max((toInt64(u.peak), -u.peak_ms, u.entitled)) AS top,
				toInt64(sum(u.events)) AS events, sum(u.milliseconds) AS milliseconds, sum(u.units) AS units,
				toInt64(uniqExactMerge(u.agents)) AS agents
			FROM usage_current AS u
			WHERE `+where+` AND ({subscription:String} = '' OR subscription = {subscription:String})
			GROUP BY `+group+`, meter, subscription)
		WHERE (at, meter, subscription) > ({after:Int64}, {after_meter:String}, {after_subscription:String})
		ORDER BY at, meter, subscription
		LIMIT {limit:Int64}`, func(rows driver.Rows) error {
		var r aggregate.Reading
		if err := rows.Scan(&r.At, &r.Meter, &r.Subscription, &r.Peak, &r.PeakMS, &r.Entitled, &r.Events,
			&r.Milliseconds, &r.Units, &r.Agents); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	})
	return all, err
}
