package clickhouse

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Noted finds what is to be said of single events that start on the days and, where after is not nil, have a delivery
// behind those positions (R24), in the order of tenant and code.
func (s *Store) Noted(ctx context.Context, in aggregate.Inputs, after []aggregate.Position) ([]aggregate.Noted, error) {
	arrived := "true"
	if after != nil {
		arrived = `cityHash64(tenant, source, id) IN (SELECT identity FROM usage_events
			WHERE tenant IN (SELECT tenant FROM tenants) AND ` + within(after, in.Bound.Positions) + `)`
	}
	all, err := onPieces(ctx, s, in, func(shard driver.Conn, q *query) (some []aggregate.Noted, err error) {
		findings := fill(text("findings"), "$arrived", arrived, "$most", mostNames)
		err = q.each(shard, `WITH `+q.over(attributed, in.Bound)+"\n"+findings,
			func(rows driver.Rows) error {
				var n aggregate.Noted
				var pairs [][]any
				var sources, ids []string
				if err := rows.Scan(&n.Tenant, (*string)(&n.Code), &n.Count, &pairs, &sources, &ids); err != nil {
					return err
				}
				n.Events = eventNames(sources, ids)
				some = append(some, n)
				return nil
			})
		return some, err
	})
	slices.SortStableFunc(all, func(x, y aggregate.Noted) int { return cmp.Compare(x.Tenant, y.Tenant) })
	return all, err
}

// mostNames is [aggregate.MostNames] as SQL has it.
var mostNames = strconv.Itoa(aggregate.MostNames)

func eventNames(sources, ids []string) (names []aggregate.EventName) {
	for n := range sources {
		names = append(names, aggregate.EventName{Source: sources[n], ID: ids[n]})
	}
	return names
}

// AtPeaks finds what is live at the peaks that somebody should look at (R24), of those alone that have any; the days
// are those that the peaks lie on.
func (s *Store) AtPeaks(ctx context.Context, in aggregate.Inputs, peaks []aggregate.PeakAt) (
	[]aggregate.AtPeak, error) {
	meters := []string{"", schemas.AgentStandard, schemas.AgentPremium, schemas.IVRPort} // by meter_number
	return onPieces(ctx, s, in, func(shard driver.Conn, q *query) (some []aggregate.AtPeak, err error) {
		if found, err := q.atPeaksAny(shard, in); err != nil || !found {
			return nil, err
		}
		wanted := q.table("peaks", "tenant", "String", "meter", "UInt16", "peak_ms", "Int64")
		for _, p := range peaks {
			wanted(p.Tenant, uint16(slices.Index(meters, p.Meter)), p.AtMS)
		}
		err = q.each(shard, `WITH `+q.over(attributed, in.Bound)+",\n"+fill(text("peaks"), "$most", mostNames),
			func(rows driver.Rows) error {
				var a aggregate.AtPeak
				var meter uint16
				var sources, ids []string
				if err := rows.Scan(&a.Tenant, &meter, &a.AtMS, &a.Agents, &a.Open, &sources, &ids); err != nil {
					return err
				}
				a.Meter, a.OpenEvents = meters[meter], eventNames(sources, ids)
				some = append(some, a)
				return nil
			})
		return some, err
	})
}

// atPeaksAny reports whether there is anything near the days for AtPeaks to find, which is mostly not so and is soon
// asked: agents that may be alike, or a session that may have no end.
func (q *query) atPeaksAny(shard driver.Conn, in aggregate.Inputs) (found bool, err error) {
	ask := newQuery(q.ctx).reading()
	var tenants []string
	for _, d := range in.Days {
		tenants = append(tenants, d.Tenant)
	}
	ask.tenants("tenants", slices.Compact(tenants))
	ask.parameters["lo"], ask.parameters["to"] = q.parameters["lo"], q.parameters["to"]
	err = ask.each(shard, fill(text("peaks_any"), "$known", known(in.Bound)), func(driver.Rows) error {
		found = true
		return nil
	})
	return found, err
}

// Unbilled returns the dates of the tenants that have usage which no invoice will carry, and those from a date on that
// have any usage, by tenant and date.
func (s *Store) Unbilled(ctx context.Context, tenants []string, from civil.Date) (map[string][]civil.Date, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (map[string][]civil.Date, error) {
		q := newQuery(ctx)
		q.parameter("from", int64(from))
		q.tenants("wanted", tenants)
		dates := map[string][]civil.Date{}
		err := q.each(shard, `SELECT tenant, date FROM usage_current
			WHERE tenant IN (SELECT tenant FROM wanted) AND subscription = ''
				AND (unallocated > 0 OR toInt32(date) >= {from:Int32} AND accepted > 0)
			GROUP BY tenant, date ORDER BY tenant, date`, func(rows driver.Rows) error {
			var tenant string
			var date time.Time
			if err := rows.Scan(&tenant, &date); err != nil {
				return err
			}
			dates[tenant] = append(dates[tenant], civil.DateOfTime(date))
			return nil
		})
		return dates, err
	})
	if err != nil {
		return nil, err
	}
	all := map[string][]civil.Date{}
	for _, part := range parts {
		for tenant, dates := range part {
			all[tenant] = dates
		}
	}
	return all, nil
}

// Reaching finds the accepted deliveries behind some positions and up to others of events that have one before an
// instant given of their tenant, in UTC epoch milliseconds: by tenant, how many events there are, and the first of
// them. What a revision has moved across the instant counts too, whichever way (R8).
func (s *Store) Reaching(ctx context.Context, before map[string]int64, after, upTo []aggregate.Position) (
	[]aggregate.Noted, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (some []aggregate.Noted, err error) {
		q := newQuery(ctx)
		wanted := q.table("wanted", "tenant", "String", "before_ms", "Int64")
		for _, tenant := range slices.Sorted(maps.Keys(before)) {
			wanted(tenant, before[tenant])
		}
		sql := fill(text("reaching"), "$arrived", within(after, upTo), "$most", mostNames)
		err = q.each(shard, sql, func(rows driver.Rows) error {
			var n aggregate.Noted
			var pairs [][]any
			var sources, ids []string
			if err := rows.Scan(&n.Tenant, &n.Count, &pairs, &sources, &ids); err != nil {
				return err
			}
			n.Code, n.Events = schemas.Sealed, eventNames(sources, ids)
			some = append(some, n)
			return nil
		})
		return some, err
	})
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(x, y aggregate.Noted) int { return cmp.Compare(x.Tenant, y.Tenant) })
	return all, err
}

// UnknownTenants returns the tenants that the registry did not know when their usage was computed, in byte order (R22).
func (s *Store) UnknownTenants(ctx context.Context) ([]string, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (tenants []string, err error) {
		const unknown = `SELECT DISTINCT tenant FROM usage_current WHERE unknown_tenant > 0 ORDER BY tenant`
		err = newQuery(ctx).each(shard, unknown, func(rows driver.Rows) error {
			var tenant string
			err := rows.Scan(&tenant)
			tenants = append(tenants, tenant)
			return err
		})
		return tenants, err
	})
	return slices.Sorted(slices.Values(slices.Concat(parts...))), err
}

// refusedAny reports whether there is anything for Refused to look at, which is mostly not so and is soon asked.
func (s *Store) refusedAny(
	ctx context.Context, tenants []string, after, upTo []aggregate.Position,
) (found bool, err error) {
	q := newQuery(ctx)
	q.tenants("wanted", tenants)
	err = q.each(s.conn, `SELECT 1 FROM rejected WHERE tenant IN (SELECT tenant FROM wanted)
		AND source != '' AND id != '' AND `+within(after, upTo)+` LIMIT 1`, func(driver.Rows) error {
		found = true
		return nil
	})
	return found, err
}

// Refused returns, of the tenants, what was refused behind some positions and up to others: of events that have an
// accepted delivery each refused one, in the order of events and places; of the others how many events there are, and
// the first of them (R24).
func (s *Store) Refused(ctx context.Context, tenants []string, after, upTo []aggregate.Position) (
	corrections []aggregate.Refused, others []aggregate.Noted, err error) {
	// The replicas catch up.
	_, err = onShards(ctx, s, func(context.Context, driver.Conn) (struct{}, error) { return struct{}{}, nil })
	if err != nil {
		return nil, nil, err
	}
	if found, err := s.refusedAny(ctx, tenants, after, upTo); err != nil || !found {
		return nil, nil, err
	}
	ask := func(sql string, row func(driver.Rows) error) error {
		q := newQuery(ctx)
		q.tenants("wanted", tenants)
		refused := fill(text("refused"), "$refused_within", within(after, upTo), "$accepted_within", within(nil, upTo))
		return q.each(s.conn, refused+"\n"+sql, row)
	}
	err = ask(text("refused_corrections"), func(rows driver.Rows) error {
		var r aggregate.Refused
		var payload string
		var names, values []string
		if err := rows.Scan(&r.Tenant, &r.Source, &r.ID, &r.Revision, &r.TimeMS, &r.TimeRevision,
			&r.Topic, &r.Partition, &r.Offset, (*string)(&r.Code), &r.Field, &payload, &names, &values); err != nil {
			return err
		}
		r.Value = []byte(payload)
		for n := range names {
			r.Headers = append(r.Headers, schemas.Header{Key: names[n], Value: []byte(values[n])})
		}
		corrections = append(corrections, r)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	err = ask(fill(text("refused_others"), "$most", mostNames), func(rows driver.Rows) error {
		var n aggregate.Noted
		var pairs [][]any
		var sources, ids []string
		if err := rows.Scan(&n.Tenant, &n.Count, &pairs, &sources, &ids); err != nil {
			return err
		}
		n.Events = eventNames(sources, ids)
		others = append(others, n)
		return nil
	})
	return corrections, others, err
}
