package clickhouse

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// DirtyDays returns the UTC dates that have to be computed, by shard and tenant, with the number of deliveries that are
// on each.
func (s *Store) DirtyDays(ctx context.Context, after, upTo []aggregate.Position, changed []aggregate.Changed,
	rules aggregate.Rules) ([]map[string]map[civil.Date]int64, error) {
	return onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (map[string]map[civil.Date]int64, error) {
		return dirtyDays(ctx, shard, after, upTo, changed, rules)
	})
}

func dirtyDays(ctx context.Context, shard driver.Conn, after, upTo []aggregate.Position, changed []aggregate.Changed,
	rules aggregate.Rules) (map[string]map[civil.Date]int64, error) {
	if err := noteSeveralDays(ctx, shard, after, upTo); err != nil {
		return nil, err
	}
	if err := noteOutranked(ctx, shard, after, upTo); err != nil {
		return nil, err
	}
	return findDirty(ctx, shard, after, upTo, changed, rules)
}

// CountDirty counts the dates that DirtyDays would return, and notes nothing: those of events that deliveries have just
// moved to several dates may be left out.
func (s *Store) CountDirty(ctx context.Context, after, upTo []aggregate.Position, changed []aggregate.Changed,
	rules aggregate.Rules) (days int, err error) {
	counts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (n int, err error) {
		found, err := findDirty(ctx, shard, after, upTo, changed, rules)
		for _, dates := range found {
			n += len(dates)
		}
		return n, err
	})
	for _, n := range counts {
		days += n
	}
	return days, err
}

// findDirty finds the dates once it is noted which deliveries win.
func findDirty(ctx context.Context, shard driver.Conn, after, upTo []aggregate.Position, changed []aggregate.Changed,
	rules aggregate.Rules) (map[string]map[civil.Date]int64, error) {
	// Of those that changed from some instant on, the least instant is that of all: it marks more, and costs no look-up.
	var tenants, later []string
	least := int64(math.MaxInt64)
	for _, c := range changed {
		if c.FromMS == timeline.Start {
			tenants = append(tenants, c.Tenant)
		} else {
			later, least = append(later, c.Tenant), min(least, c.FromMS)
		}
	}
	var of []string
	if arrived := within(after, upTo); arrived != nowhere {
		of = append(of, fill(text("arrived"), "$arrived", arrived))
	}
	if after == nil {
		of = []string{"true"}
	} else {
		if len(tenants) > 0 {
			of = append(of, "tenant IN (SELECT tenant FROM whole)")
		}
		if len(later) > 0 {
			of = append(of, "tenant IN (SELECT tenant FROM later) AND occurred_ms >= {later_ms:Int64}")
		}
	}
	if len(of) == 0 {
		return nil, nil
	}
	dates := dates{}
	q := newQuery(ctx)
	q.parameter("open_ms", openMS(rules))
	q.parameter("later_ms", least)
	q.tenants("whole", tenants)
	q.tenants("later", later)
	query := fill(text("dirty_days"), "$known", within(nil, upTo), "$dirty", strings.Join(of, " OR "))
	if err := q.each(shard, query, dates.markSessions); err != nil {
		return nil, err
	}
	// Under other rules sessions may have run on into days that they no longer touch, and a date of UTC has a part of the
	// tenant's of that name (R12). What was counted of it while it was unknown is on days that it may not have (R22).
	which := "true"
	if after != nil {
		which = "tenant IN (SELECT tenant FROM whole)"
		if err := weigh(ctx, shard, dates); err != nil || len(tenants) == 0 {
			return dates, err
		}
	}
	return dates, q.each(shard, `SELECT DISTINCT tenant, toInt64(dateDiff('day', toDate32('1970-01-01'), date))
		FROM (SELECT tenant, date FROM usage_days UNION ALL SELECT tenant, date FROM usage_days_copy) WHERE `+which,
		func(rows driver.Rows) error {
			var tenant string
			var date int64
			err := rows.Scan(&tenant, &date)
			dates.mark(tenant, date, 0)
			return err
		})
}

// dates are dates of UTC by tenant, with the number of deliveries that are on each.
type dates map[string]map[civil.Date]int64

func (d dates) mark(tenant string, date, deliveries int64) {
	if d[tenant] == nil {
		d[tenant] = map[civil.Date]int64{}
	}
	d[tenant][civil.Date(date)] += deliveries
}

// markSessions marks the dates of sessions that begin on one date and end on another.
func (d dates) markSessions(rows driver.Rows) error {
	var tenant string
	var first, last, deliveries int64
	if err := rows.Scan(&tenant, &first, &last, &deliveries); err != nil {
		return err
	}
	// A session that lasts longer than any that is accepted can only be one whose row is damaged, which is said when its
	// first day is computed.
	if first < 0 || last-first > schemas.MaxSessionMS/day+1 || last > math.MaxInt32 {
		first = min(max(first, 0), math.MaxInt32)
		last = first
	}
	for date := first; date <= last; date++ {
		d.mark(tenant, date, 0)
	}
	d.mark(tenant, first, deliveries)
	return nil
}

// noteSeveralDays records which events of new deliveries are on more than one date in UTC. Rows that come twice change
// nothing.
func noteSeveralDays(ctx context.Context, shard driver.Conn, after, upTo []aggregate.Position) error {
	arrived := within(after, upTo)
	if arrived == nowhere {
		return nil
	}
	of := "true"
	if after != nil {
		of = `(tenant, identity) IN (SELECT tenant, identity FROM usage_events WHERE ` + arrived + `)`
	}
	if err := newQuery(ctx).exec(shard, fill(text("several_days"), "$new", of)); err != nil {
		return fmt.Errorf("recording the events that are on several dates: %w", err)
	}
	return nil
}

// fewArrivals are deliveries so few that comparing all with each other is quicker than reading twice.
const fewArrivals = 10_000

// arrivals returns how many offsets lie between positions.
func arrivals(after, upTo []aggregate.Position) (n int64) {
	type partition struct {
		topic  string
		number int32
	}
	done := map[partition]int64{}
	for _, p := range after {
		done[partition{p.Topic, p.Partition}] = p.LastOffset + 1
	}
	for _, p := range upTo {
		n += p.LastOffset + 1 - done[partition{p.Topic, p.Partition}]
	}
	return n
}

// noteOutranked records which deliveries do not win their event, and then that this is known of the new ones. The
// events that are on several dates are recorded before, since all of their deliveries are looked at.
func noteOutranked(ctx context.Context, shard driver.Conn, after, upTo []aggregate.Position) error {
	arrived := within(after, upTo)
	if arrived == nowhere {
		return nil
	}
	of := "true"
	if after != nil {
		of = fill(text("arrived"), "$arrived", arrived)
	}
	bound := known(aggregate.ReadBound{Positions: upTo, ArrivedBy: aggregate.EndOfTime})
	several := "true"
	if after == nil || arrivals(after, upTo) > fewArrivals {
		// Grouping by one number is much the quickest, and leaves little to look at.
		several = fill(`identity IN (
			SELECT identity FROM usage_events WHERE $new AND $known GROUP BY identity HAVING count() > 1)`,
			"$new", of, "$known", bound)
	}
	query := fill(text("outranked"), "$new", of, "$known", bound, "$several", several)
	if err := newQuery(ctx).exec(shard, query); err != nil {
		return fmt.Errorf("recording the deliveries that do not win their events: %w", err)
	}
	batch, err := shard.PrepareBatch(ctx, `INSERT INTO usage_ranked (topic, partition, last_offset)`)
	if err != nil {
		return err
	}
	defer batch.Close()
	for _, p := range upTo {
		if err := batch.Append(p.Topic, p.Partition, p.LastOffset); err != nil {
			return err
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("recording up to where it is known which deliveries win: %w", err)
	}
	return nil
}

// weigh counts the deliveries of the dates.
func weigh(ctx context.Context, shard driver.Conn, dates map[string]map[civil.Date]int64) error {
	q := newQuery(ctx)
	add := q.table("dates", "tenant", "String", "day", "Int64")
	for tenant, of := range dates {
		for date := range of {
			add(tenant, int64(date))
		}
	}
	return q.each(shard, `
		SELECT tenant, toInt64(intDiv(occurred_ms, 86400000)) AS day, toInt64(count()) FROM usage_events
		WHERE (tenant, intDiv(occurred_ms, 86400000)) IN (SELECT tenant, day FROM dates)
		GROUP BY tenant, day`, func(rows driver.Rows) error {
		var tenant string
		var date, n int64
		if err := rows.Scan(&tenant, &date, &n); err != nil {
			return err
		}
		dates[tenant][civil.Date(date)] = n
		return nil
	})
}

// nowhere is the condition that no delivery fulfils.
const nowhere = "false"

// within is true of the deliveries that lie behind some positions of the ledger and up to others. It spells the offsets
// out, because then the index of offsets tells which granules to leave out; no join and no function could.
func within(after, upTo []aggregate.Position) string {
	done := map[string]map[int32]int64{}
	for _, p := range after {
		if done[p.Topic] == nil {
			done[p.Topic] = map[int32]int64{}
		}
		done[p.Topic][p.Partition] = p.LastOffset
	}
	var spans []string
	for _, p := range upTo {
		from, ok := done[p.Topic][p.Partition]
		switch {
		case !ok:
			spans = append(spans, fmt.Sprintf("topic = %s AND partition = %d AND offset <= %d",
				quoted(p.Topic), p.Partition, p.LastOffset))
		case from < p.LastOffset:
			spans = append(spans, fmt.Sprintf("topic = %s AND partition = %d AND offset > %d AND offset <= %d",
				quoted(p.Topic), p.Partition, from, p.LastOffset))
		}
	}
	if len(spans) == 0 {
		return nowhere
	}
	return "((" + strings.Join(spans, ") OR (") + "))"
}

// known is true of the deliveries of an bound, and quick where most are.
func known(bound aggregate.ReadBound) string {
	var topics []string
	partitions, ends := map[string][]string{}, map[string][]string{}
	for _, p := range bound.Positions {
		if partitions[p.Topic] == nil {
			topics = append(topics, p.Topic)
		}
		partitions[p.Topic] = append(partitions[p.Topic], fmt.Sprintf("toInt32(%d)", p.Partition))
		ends[p.Topic] = append(ends[p.Topic], fmt.Sprintf("toInt64(%d)", p.LastOffset))
	}
	if len(topics) == 0 {
		return nowhere
	}
	var of strings.Builder
	for _, topic := range topics {
		fmt.Fprintf(&of, "topic = %s, transform(partition, [%s], [%s], toInt64(-1)), ", quoted(topic),
			strings.Join(partitions[topic], ", "), strings.Join(ends[topic], ", "))
	}
	return fmt.Sprintf("offset <= multiIf(%stoInt64(-1)) AND arrived_ms <= %d", of.String(), bound.ArrivedBy)
}

// quoted writes a string as SQL does.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
