package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// named is allocated with who and which event it is.
var named = strings.NewReplacer(
	"$named", "source, id,",
	"$looked", `
			c.wanted AS wanted, e.tenant AS tenant, e.source AS source, e.id AS id, e.agent AS agent, e.occurred_ms AS occurred_ms`,
).Replace(allocated)

// Noted finds what is to be said of single events that start on the days and, where after is not nil, have a delivery
// behind those positions (R24), in the order of tenant and code.
func (s *Store) Noted(ctx context.Context, in aggregate.Inputs, after []aggregate.Position) ([]aggregate.Noted, error) {
	arrived := "true"
	if after != nil {
		arrived = `cityHash64(tenant, source, id) IN (SELECT identity FROM usage_events WHERE tenant IN (SELECT tenant FROM tenants) AND ` + within(after, in.Bound.Positions) + `)`
	}
	all, err := onPieces(ctx, s, in, func(shard driver.Conn, q *query) (some []aggregate.Noted, err error) {
		err = q.each(shard, fmt.Sprintf(`WITH `+q.over(named, in.Bound)+`
			SELECT tenant, code, toInt64(count()), groupArraySorted(%d)((source, id)) AS events, arrayMap(e -> e.1, events), arrayMap(e -> e.2, events)
			FROM (
				SELECT tenant, source, id, arrayJoin(arrayFilter(c -> c != '', [
					if(%s, '%s', ''), if(stands AND occurred_ms > {now:Int64}, '%s', ''), if(%s, '%s', ''), if(%s, '%s', ''), if(%s, '%s', ''), if(%s, '%s', '')])) AS code
				FROM allocated WHERE wanted)
			WHERE %s
			GROUP BY tenant, code ORDER BY tenant, code`, aggregate.MostNames,
			isUnallocated, schemas.NeverBilled, schemas.Ahead, isOpen, schemas.OpenSession, isUnmapped, schemas.Unmapped,
			isUnknown, schemas.UnknownSubscription, isConflict, schemas.Conflict, arrived),
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

func eventNames(sources, ids []string) (names []aggregate.EventName) {
	for n := range sources {
		names = append(names, aggregate.EventName{Source: sources[n], ID: ids[n]})
	}
	return names
}

// AtPeaks finds what is live at the peaks that somebody should look at (R24), of those alone that have any; the days are
// those that the peaks lie on.
func (s *Store) AtPeaks(ctx context.Context, in aggregate.Inputs, peaks []aggregate.PeakAt) ([]aggregate.AtPeak, error) {
	meters := []string{"", schemas.AgentStandard, schemas.AgentPremium, schemas.IVRPort} // by meterNumber
	return onPieces(ctx, s, in, func(shard driver.Conn, q *query) (some []aggregate.AtPeak, err error) {
		wanted := q.table("peaks", "tenant", "String", "meter", "UInt16", "peak_ms", "Int64")
		for _, p := range peaks {
			wanted(p.Tenant, uint16(slices.Index(meters, p.Meter)), p.AtMS)
		}
		err = q.each(shard, fmt.Sprintf(`WITH `+q.over(named, in.Bound)+`,
			live AS (
				SELECT a.tenant AS tenant, p.meter AS meter, p.peak_ms AS peak_ms, a.is_agent AS is_agent, a.agent AS agent, a.source AS source, a.id AS id, %s AS open,
					lowerUTF8(replaceRegexpAll(agent, '^[\\s\\p{Z}]+|[\\s\\p{Z}]+$', '')) AS person
				FROM (SELECT *, %s AS meter_number, %s AS ends_ms FROM allocated WHERE counts AND NOT is_connect) AS a
				INNER JOIN peaks AS p ON a.tenant = p.tenant AND a.meter_number = p.meter
				WHERE a.start_ms <= p.peak_ms AND p.peak_ms < a.ends_ms
			),
			alike AS (
				SELECT tenant, meter, peak_ms, groupUniqArray(agent) AS agents FROM live WHERE is_agent
				GROUP BY tenant, meter, peak_ms, person HAVING length(agents) > 1
			)
			SELECT tenant, meter, peak_ms, arraySort(groupArrayArray(agents)), toInt64(sum(n)), arrayMap(e -> e.1, groupArrayArray(events)), arrayMap(e -> e.2, groupArrayArray(events)) FROM (
				SELECT tenant, meter, peak_ms, agents, 0 AS n, []::Array(Tuple(String, String)) AS events FROM alike
				UNION ALL
				SELECT tenant, meter, peak_ms, []::Array(String), count(), groupArraySorted(%d)((source, id)) FROM live WHERE open GROUP BY tenant, meter, peak_ms)
			GROUP BY tenant, meter, peak_ms ORDER BY tenant, meter, peak_ms`, isOpen, meterNumber, endsMS, aggregate.MostNames),
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

// Unbilled returns the dates of the tenants on which usage stands that no invoice will carry, and those from a date on that
// have any usage, by tenant and date.
func (s *Store) Unbilled(ctx context.Context, tenants []string, from civil.Date) (map[string][]civil.Date, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (map[string][]civil.Date, error) {
		q := newQuery(ctx)
		q.parameter("from", int64(from))
		wanted := q.table("wanted", "tenant", "String")
		for _, t := range tenants {
			wanted(t)
		}
		dates := map[string][]civil.Date{}
		err := q.each(shard, `SELECT tenant, date FROM v_usage_current
			WHERE tenant IN (SELECT tenant FROM wanted) AND subscription = '' AND (unallocated > 0 OR toInt32(date) >= {from:Int32} AND accepted > 0)
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

// UnknownTenants returns the tenants that the registry did not know when their usage was worked out, in byte order (R22).
func (s *Store) UnknownTenants(ctx context.Context) ([]string, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (tenants []string, err error) {
		err = newQuery(ctx).each(shard, `SELECT DISTINCT tenant FROM v_usage_current WHERE unknown_tenant > 0 ORDER BY tenant`, func(rows driver.Rows) error {
			var tenant string
			err := rows.Scan(&tenant)
			tenants = append(tenants, tenant)
			return err
		})
		return tenants, err
	})
	return slices.Sorted(slices.Values(slices.Concat(parts...))), err
}

// Refused returns, of the tenants, what was refused behind some positions and up to others: of events that have an
// accepted delivery each refused one, in the order of events and places; of the others how many events there are, and the
// first of them (R24).
func (s *Store) Refused(ctx context.Context, tenants []string, after, upTo []aggregate.Position) (corrections []aggregate.Refused, others []aggregate.Noted, err error) {
	_, err = onShards(ctx, s, func(context.Context, driver.Conn) (struct{}, error) { return struct{}{}, nil }) // the replicas catch up
	if err != nil {
		return nil, nil, err
	}
	ask := func(sql string, row func(driver.Rows) error) error {
		q := newQuery(ctx)
		wanted := q.table("wanted", "tenant", "String")
		for _, t := range tenants {
			wanted(t)
		}
		// One that was inserted again, or judged anew, is the row that came last.
		return q.each(s.conn, `WITH refused AS (
				SELECT tenant, source, id, topic, partition, offset, code, field, payload, headers, cityHash64(tenant, source, id) AS identity FROM rejected FINAL
				WHERE tenant IN (SELECT tenant FROM wanted) AND source != '' AND id != '' AND `+within(after, upTo)+`),
			accepted AS (
				SELECT tenant, source, id, max(e.revision) AS revision, max((e.time_ms, e.revision)) AS latest FROM usage_events AS e
				WHERE tenant IN (SELECT tenant FROM wanted) AND identity IN (SELECT identity FROM refused) AND `+within(nil, upTo)+`
				GROUP BY tenant, source, id)
			`+sql, row)
	}
	err = ask(`SELECT r.tenant, r.source, r.id, a.revision, a.latest.1, a.latest.2, r.topic, r.partition, r.offset, r.code, r.field, r.payload, r.headers.name, r.headers.value
		FROM refused AS r INNER JOIN accepted AS a ON r.tenant = a.tenant AND r.source = a.source AND r.id = a.id
		ORDER BY r.tenant, r.source, r.id, r.topic, r.partition, r.offset`, func(rows driver.Rows) error {
		var r aggregate.Refused
		var payload string
		var names, values []string
		if err := rows.Scan(&r.Tenant, &r.Source, &r.ID, &r.Revision, &r.TimeMS, &r.TimeRevision, &r.Topic, &r.Partition, &r.Offset, (*string)(&r.Code), &r.Field, &payload, &names, &values); err != nil {
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
	err = ask(fmt.Sprintf(`SELECT tenant, toInt64(count()), groupArraySorted(%d)((source, id)) AS events, arrayMap(e -> e.1, events), arrayMap(e -> e.2, events)
		FROM (SELECT DISTINCT tenant, source, id FROM refused WHERE (tenant, source, id) NOT IN (SELECT tenant, source, id FROM accepted))
		GROUP BY tenant ORDER BY tenant`, aggregate.MostNames), func(rows driver.Rows) error {
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
