package clickhouse

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// Proof counts the deliveries of the dates `[from, to)` as stored, up to the positions of a pass, of the tenants or,
// with nil, of all, as far as they have a zone: in the order of tenant and date, those dates alone that have any. It reads usage_events and nothing
// that is derived from it, and it shares no SQL with what works days out, so a fault of either shows (R22).
func (s *Store) Proof(ctx context.Context, tenants []string, from, to civil.Date, pass aggregate.Pass, zones map[string]*civil.Zone) ([]aggregate.Proof, error) {
	known := known(aggregate.Extent{Positions: pass.Positions, ArrivedBy: aggregate.Settled})
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) ([]aggregate.Proof, error) {
		of, err := proof(ctx, shard, tenants, from, to, known, zones)
		if err != nil {
			return nil, err
		}
		missing, err := missing(ctx, shard, tenants, from, to, known, zones)
		return append(of, missing...), err
	})
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(x, y aggregate.Proof) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Date, y.Date))
	})
	return all, err
}

// An identity with one row is one event with one delivery. Of the others deliveries are counted by place, since a row
// that came twice may not be merged yet, and the winner says on which date the event is, wherever its deliveries are.
const proved = `WITH (
		SELECT groupArray(identity) FROM (
			SELECT identity FROM usage_events WHERE tenant IN (SELECT tenant FROM wanted) GROUP BY identity HAVING count() > 1)
	) AS several
	SELECT p.tenant AS tenant, c.date AS date,
		toInt64(countIf(p.kind = 0) + uniqExactIf((p.topic, p.partition, p.offset), p.kind = 1)), toInt64(countIf(p.kind != 1))
	FROM (
		SELECT tenant, at_ms, topic, partition, offset, toUInt8(identity IN (SELECT arrayJoin(several))) AS kind FROM usage_events
		WHERE tenant IN (SELECT tenant FROM wanted) AND at_ms >= {lo:Int64} AND at_ms < {hi:Int64} AND $known
		UNION ALL
		SELECT tenant, argMax(u.at_ms, (u.revision, u.time_ms, u.content)) AS at_ms, '', 0, 0, 2 FROM usage_events AS u
		WHERE tenant IN (SELECT tenant FROM wanted) AND identity IN (SELECT arrayJoin(several)) AND $known
		GROUP BY tenant, source, id
	) AS p
	ASOF INNER JOIN dates AS c ON p.tenant = c.tenant AND p.at_ms >= c.from_ms
	WHERE p.at_ms < c.to_ms
	GROUP BY tenant, date`

func proof(ctx context.Context, shard driver.Conn, tenants []string, from, to civil.Date, known string, zones map[string]*civil.Zone) ([]aggregate.Proof, error) {
	lo, hi := civil.UTC.Start(from-1), civil.UTC.Start(to+1) // dates of a zone are never a day from those of UTC
	within := newQuery(ctx)
	within.parameter("lo", lo)
	within.parameter("hi", hi)
	q := newQuery(ctx)
	q.parameter("lo", lo)
	q.parameter("hi", hi)
	wanted, dates := q.table("wanted", "tenant", "String"), q.table("dates", "tenant", "String", "date", "Date32", "from_ms", "Int64", "to_ms", "Int64")
	chosen := within.table("chosen", "tenant", "String")
	for _, t := range tenants {
		chosen(t)
	}
	of := ""
	if tenants != nil {
		of = ` AND tenant IN (SELECT tenant FROM chosen)`
	}
	last := map[string]civil.Date{} // of the dates that were added
	if err := within.each(shard, `SELECT tenant, toInt64(intDiv(at_ms, 86400000)) AS day FROM usage_events
		WHERE at_ms >= {lo:Int64} AND at_ms < {hi:Int64}`+of+` GROUP BY tenant, day ORDER BY tenant, day`, func(rows driver.Rows) error {
		var tenant string
		var n int64
		if err := rows.Scan(&tenant, &n); err != nil {
			return err
		}
		zone := zones[tenant]
		if zone == nil {
			return nil
		}
		after, known := last[tenant]
		if !known {
			wanted(tenant)
			after = from - 1
		}
		// A date of UTC has parts of two of the zone.
		first, end := max(after+1, zone.DateOf(n*day)), min(to, zone.DateOf(n*day+day-1)+1)
		for _, d := range aggregate.Days(tenant, zone, first, end) {
			dates(tenant, d.Date.Time(), d.FromMS, d.ToMS)
		}
		last[tenant] = max(after, end-1)
		return nil
	}); err != nil {
		return nil, err
	}
	var all []aggregate.Proof
	err := q.each(shard, strings.ReplaceAll(proved, "$known", known), func(rows driver.Rows) error {
		var p aggregate.Proof
		var date time.Time
		if err := rows.Scan(&p.Tenant, &date, &p.Deliveries, &p.Events); err != nil {
			return err
		}
		p.Date = civil.DateOfTime(date)
		all = append(all, p)
		return nil
	})
	return all, err
}

// missing returns the dates that a session of an earlier one lasts into, and that no figures are in force for. Such a date
// need not have any delivery of its own.
func missing(ctx context.Context, shard driver.Conn, tenants []string, from, to civil.Date, known string, zones map[string]*civil.Zone) ([]aggregate.Proof, error) {
	q := newQuery(ctx)
	q.parameter("lo", civil.UTC.Start(from-1)-longest)
	q.parameter("hi", civil.UTC.Start(to+1))
	q.parameter("from", int64(from))
	q.parameter("to", int64(to))
	wanted := q.table("wanted", "tenant", "String")
	for _, t := range tenants {
		wanted(t)
	}
	of := ""
	if tenants != nil {
		of = ` AND tenant IN (SELECT tenant FROM wanted)`
	}
	type date struct {
		tenant string
		date   civil.Date
	}
	inForce, lasting := map[date]bool{}, map[date]bool{}
	if err := q.each(shard, `SELECT DISTINCT tenant, date FROM usage_days
		WHERE toInt32(date) >= {from:Int32} AND toInt32(date) < {to:Int32}`+of, func(rows driver.Rows) error {
		var tenant string
		var at time.Time
		err := rows.Scan(&tenant, &at)
		inForce[date{tenant, civil.DateOfTime(at)}] = true
		return err
	}); err != nil {
		return nil, err
	}
	// Of the sessions that begin in one quarter of an hour, as zones have them, the one that ends last tells.
	err := q.each(shard, `SELECT tenant, max(at_ms), max(end_ms) FROM usage_events
		WHERE at_ms >= {lo:Int64} AND at_ms < {hi:Int64} AND start_ms >= 0 AND end_ms > start_ms AND `+known+of+`
		GROUP BY tenant, intDiv(at_ms, 900000)`, func(rows driver.Rows) error {
		var tenant string
		var first, last int64
		if err := rows.Scan(&tenant, &first, &last); err != nil {
			return err
		}
		if zone := zones[tenant]; zone != nil {
			for _, d := range aggregate.Days(tenant, zone, max(from, zone.DateOf(first)+1), min(to, zone.DateOf(last-1)+1)) {
				lasting[date{tenant, d.Date}] = true
			}
		}
		return nil
	})
	var all []aggregate.Proof
	for d := range lasting {
		if !inForce[d] {
			all = append(all, aggregate.Proof{Tenant: d.tenant, Date: d.date, Missing: true})
		}
	}
	return all, err
}
