// Package clickhouse keeps usage in ClickHouse: it reads usage_events and the ledger, which ingest writes, works
// out days in SQL, and writes usage_daily and the passes that put them in force. Billing reads
// the result through it.
//
// What the registry says comes in with each call and goes along with each query as external tables, so a query
// always sees one state of it, whole, and another state (an earlier one, or one that is only being considered)
// is just another argument.
package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// longest is how long before a day a session that reaches into it can have started: the event contract refuses
// longer ones (implausible_duration).
const longest = 31 * day

// day is that of UTC, in milliseconds.
const day = 24 * 3600_000

// Store is the [aggregate.Store] in ClickHouse. It is safe for concurrent use.
//
// Over a cluster every shard has the events and the figures of its own tenants, and works them out alone, with the
// same SQL as one server, on its own tables.
type Store struct {
	conn driver.Conn
	// shards gives conn alone where there is no cluster.
	shards func(context.Context) ([]driver.Conn, error)
	// spare is how many rows that are no longer in force are left alone in any case.
	spare uint64
}

// NewStore returns a store over a connection whose database has been migrated.
func NewStore(conn driver.Conn) *Store {
	return &Store{conn, func(context.Context) ([]driver.Conn, error) { return []driver.Conn{conn}, nil }, 10_000}
}

// NewClusterStore returns a store over a connection to the database of a cluster, which asks for connections to the
// database of each shard when it needs them. They are the same, in the same order, each time.
func NewClusterStore(conn driver.Conn, shards func(context.Context) ([]driver.Conn, error)) *Store {
	return &Store{conn, shards, 10_000}
}

// onShards does something on every shard at once, and returns what it came to on each.
func onShards[T any](ctx context.Context, s *Store, do func(ctx context.Context, shard driver.Conn) (T, error)) ([]T, error) {
	shards, err := s.shards(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]T, len(shards))
	group, ctx := errgroup.WithContext(ctx)
	for i, shard := range shards {
		group.Go(func() (err error) {
			if err := s.catchUp(ctx, shard); err != nil {
				return err
			}
			results[i], err = do(ctx, shard)
			return err
		})
	}
	return results, group.Wait()
}

// rows hands over what a query gives on the shard that has anything: it is about one tenant.
func (s *Store) rows(q *query, sql string, row func(driver.Rows) error) error {
	shards, err := s.shards(q.ctx)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		if err := s.catchUp(q.ctx, shard); err != nil {
			return err
		}
		if err := q.each(shard, sql, row); err != nil {
			return err
		}
	}
	return nil
}

// catchUp waits until the replica that answers has all that any replica of its shard had taken.
func (s *Store) catchUp(ctx context.Context, shard driver.Conn) error {
	if shard == s.conn {
		return nil // there is no cluster
	}
	var tables []string
	if err := shard.QueryRow(ctx, `SELECT groupArray(name) FROM system.tables
		WHERE database = currentDatabase() AND engine LIKE 'Replicated%' AND name LIKE 'usage%'`).Scan(&tables); err != nil {
		return err
	}
	for _, table := range tables {
		if err := shard.Exec(ctx, `SYSTEM SYNC REPLICA `+table+` LIGHTWEIGHT`); err != nil {
			return fmt.Errorf("waiting for a replica to catch up with %s: %w", table, err)
		}
	}
	return nil
}

// LastPass returns the pass that finished last.
func (s *Store) LastPass(ctx context.Context) (aggregate.Pass, error) {
	rows, err := s.conn.Query(ctx, `
		SELECT pass, registry_offset, rules,
			arrayMap(p -> p.1, positions), arrayMap(p -> p.2, positions), arrayMap(p -> p.3, positions)
		FROM usage_passes ORDER BY pass DESC, run DESC LIMIT 1`)
	if err != nil {
		return aggregate.Pass{}, err
	}
	defer rows.Close()
	var pass aggregate.Pass
	for rows.Next() {
		var topics []string
		var partitions []int32
		var offsets []int64
		if err := rows.Scan(&pass.Number, &pass.RegistryOffset, &pass.Rules, &topics, &partitions, &offsets); err != nil {
			return aggregate.Pass{}, err
		}
		for i := range topics {
			pass.Positions = append(pass.Positions, aggregate.Position{Topic: topics[i], Partition: partitions[i], LastOffset: offsets[i]})
		}
	}
	return pass, rows.Err()
}

// Positions returns the end of the ledger.
func (s *Store) Positions(ctx context.Context) ([]aggregate.Position, error) {
	rows, err := s.conn.Query(ctx, `
		SELECT topic, partition, max(last_offset) FROM ingest_batches GROUP BY topic, partition ORDER BY topic, partition`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var positions []aggregate.Position
	for rows.Next() {
		var p aggregate.Position
		if err := rows.Scan(&p.Topic, &p.Partition, &p.LastOffset); err != nil {
			return nil, err
		}
		positions = append(positions, p)
	}
	return positions, rows.Err()
}

// Touched returns the UTC dates that need working out, by shard and tenant, with the number of deliveries that stand
// on each.
func (s *Store) Touched(ctx context.Context, after, upTo []aggregate.Position, tenants []string, rules aggregate.Rules) ([]map[string]map[civil.Date]int64, error) {
	return onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (map[string]map[civil.Date]int64, error) {
		return touched(ctx, shard, after, upTo, tenants, rules)
	})
}

func touched(ctx context.Context, shard driver.Conn, after, upTo []aggregate.Position, tenants []string, rules aggregate.Rules) (map[string]map[civil.Date]int64, error) {
	if err := place(ctx, shard, after, upTo); err != nil {
		return nil, err
	}
	var of []string
	if arrived := within(after, upTo); arrived != nowhere {
		of = append(of, strings.ReplaceAll(ofArrived, "$arrived", arrived))
	}
	if after == nil {
		of = []string{"true"}
	} else if len(tenants) > 0 {
		of = append(of, "tenant IN (SELECT tenant FROM whole)")
	}
	if len(of) == 0 {
		return nil, nil
	}
	q := newQuery(ctx)
	q.parameter("open_ms", openMS(rules))
	whole := q.table("whole", "tenant", "String")
	for _, t := range tenants {
		whole(t)
	}
	dates := map[string]map[civil.Date]int64{}
	err := q.each(shard, `
		SELECT tenant, toInt64(intDiv(at_ms, 86400000)) AS first, toInt64(intDiv(`+until+`, 86400000)) AS last, toInt64(count())
		FROM usage_events WHERE `+within(nil, upTo)+` AND (`+strings.Join(of, " OR ")+`)
		GROUP BY tenant, first, last`,
		func(rows driver.Rows) error {
			var tenant string
			var first, last, deliveries int64
			if err := rows.Scan(&tenant, &first, &last, &deliveries); err != nil {
				return err
			}
			// A session that lasts longer than any that is accepted can only be one whose row is damaged.
			if first < 0 || last-first > longest/day+1 || last > math.MaxInt32 {
				return fmt.Errorf("usage_events holds a session of %s from day %d to %d that no event can have; restore the table", tenant, first, last)
			}
			if dates[tenant] == nil {
				dates[tenant] = map[civil.Date]int64{}
			}
			for date := first; date <= last; date++ {
				dates[tenant][civil.Date(date)] += 0
			}
			dates[tenant][civil.Date(first)] += deliveries
			return nil
		})
	if err != nil || after == nil { // all of them have been counted
		return dates, err
	}
	return dates, weigh(ctx, shard, dates)
}

// ofArrived is true of every delivery of an event that has one among those that arrived.
const ofArrived = `(tenant, ` + identity + `) IN (SELECT tenant, ` + identity + ` FROM usage_events WHERE $arrived)
	AND (tenant, intDiv(at_ms, 86400000)) IN (
		SELECT tenant, intDiv(at_ms, 86400000) FROM usage_events WHERE $arrived
		UNION ALL
		SELECT tenant, day FROM usage_moved WHERE (tenant, identity) IN (SELECT tenant, ` + identity + ` FROM usage_events WHERE $arrived))`

// place records on which dates in UTC the events of new deliveries stand, and which of them stand on more than one.
// Rows that come twice change nothing.
func place(ctx context.Context, shard driver.Conn, after, upTo []aggregate.Position) error {
	arrived := within(after, upTo)
	if arrived == nowhere {
		return nil
	}
	if err := newQuery(ctx).exec(shard, `INSERT INTO usage_places (tenant, identity, day)
		SELECT tenant, `+identity+`, intDiv(at_ms, 86400000) FROM usage_events WHERE `+arrived+`
		SETTINGS optimize_on_insert = 0`); err != nil {
		return fmt.Errorf("recording the dates of events: %w", err)
	}
	of := "true"
	if after != nil {
		of = `(tenant, identity) IN (SELECT tenant, ` + identity + ` FROM usage_events WHERE ` + arrived + `)`
	}
	// Grouping by one number is much the quickest. Where events of two tenants share it, both are read for nothing.
	if err := newQuery(ctx).exec(shard, `INSERT INTO usage_moved (tenant, identity, day)
		SELECT tenant, identity, day FROM usage_places WHERE `+of+` AND identity IN (
			SELECT identity FROM usage_places WHERE `+of+` GROUP BY identity HAVING min(day) < max(day))`); err != nil {
		return fmt.Errorf("recording the events that stand on several dates: %w", err)
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
		SELECT tenant, toInt64(intDiv(at_ms, 86400000)) AS day, toInt64(count()) FROM usage_events
		WHERE (tenant, intDiv(at_ms, 86400000)) IN (SELECT tenant, day FROM dates)
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

// within is true of the deliveries that lie behind some positions of the ledger and up to others. It spells the places
// out, because then the index of places can tell which granules to leave out; no join and no function could.
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
			spans = append(spans, fmt.Sprintf("topic = %s AND partition = %d AND offset <= %d", quoted(p.Topic), p.Partition, p.LastOffset))
		case from < p.LastOffset:
			spans = append(spans, fmt.Sprintf("topic = %s AND partition = %d AND offset > %d AND offset <= %d", quoted(p.Topic), p.Partition, from, p.LastOffset))
		}
	}
	if len(spans) == 0 {
		return nowhere
	}
	return "((" + strings.Join(spans, ") OR (") + "))"
}

// known is true of the deliveries of an extent, and quick where most are.
func known(extent aggregate.Extent) string {
	var topics []string
	partitions, ends := map[string][]string{}, map[string][]string{}
	for _, p := range extent.Positions {
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
		fmt.Fprintf(&of, "topic = %s, transform(partition, [%s], [%s], toInt64(-1)), ", quoted(topic), strings.Join(partitions[topic], ", "), strings.Join(ends[topic], ", "))
	}
	return fmt.Sprintf("offset <= multiIf(%stoInt64(-1)) AND arrived_ms <= %d", of.String(), extent.ArrivedBy)
}

// quoted writes a string as SQL does.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// WorkOut writes the usage and the balance of the days and then puts them in force.
func (s *Store) WorkOut(ctx context.Context, shard int, pass aggregate.Pass, days []aggregate.Day, timelines aggregate.Timelines, rules aggregate.Rules) error {
	stamp := fmt.Sprintf(", toUInt64(%d) AS pass, toUUID('%s') AS run", pass.Number, pass.Run)
	shards, err := s.shards(ctx)
	if err != nil {
		return err
	}
	extent := aggregate.Extent{Positions: pass.Positions, ArrivedBy: aggregate.Settled}
	if err := newQuery(ctx).inputs(days, timelines, rules, aggregate.Settled).exec(shards[shard],
		`INSERT INTO usage_daily (`+figureColumns+`, changes, pass, run)
		WITH `+dailyOf(extent)+` SELECT `+figureColumns+`, changes`+stamp+` FROM daily`); err != nil {
		return err
	}
	q := newQuery(ctx)
	add := q.table("days", "tenant", "String", "date", "Date32")
	for _, d := range days {
		add(d.Tenant, d.Date.Time())
	}
	return q.exec(shards[shard], `INSERT INTO usage_days (tenant, date, pass, run) SELECT tenant, date`+stamp+` FROM days`)
}

// figureColumns are those of daily and usage_daily alike.
const figureColumns = `tenant, date, meter, subscription, entitled, peak, peak_ms, events, milliseconds, units, agents,
	accepted, duplicate, superseded, voided, unallocated, held, unmapped, open_sessions, unknown_subscription, conflicts`

func dailyOf(extent aggregate.Extent) string {
	return strings.ReplaceAll(daily, "$known", known(extent))
}

// Finish records the pass, and clears away figures that are no longer in force once they are most of what there is.
func (s *Store) Finish(ctx context.Context, pass aggregate.Pass) error {
	positions := make([][]any, len(pass.Positions))
	for i, p := range pass.Positions {
		positions[i] = []any{p.Topic, p.Partition, p.LastOffset}
	}
	batch, err := s.conn.PrepareBatch(ctx, `INSERT INTO usage_passes (pass, run, registry_offset, positions, rules)`)
	if err != nil {
		return err
	}
	defer batch.Close()
	if err := batch.Append(pass.Number, pass.Run, pass.RegistryOffset, positions, pass.Rules); err != nil {
		return err
	}
	if err := batch.Send(); err != nil {
		return err
	}
	_, err = onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (struct{}, error) {
		return struct{}{}, clear(ctx, shard, s.spare)
	})
	return err
}

// clear deletes what lower passes have left behind of days that a higher one has put in force. Nobody reads
// it any more, and a pass that is still under way with such a number has lost the day already.
func clear(ctx context.Context, shard driver.Conn, spare uint64) error {
	var rows, inForce uint64
	if err := shard.QueryRow(ctx, `SELECT (SELECT count() FROM usage_daily), (SELECT count() FROM v_usage_daily)`).Scan(&rows, &inForce); err != nil {
		return err
	}
	if rows <= 2*inForce+spare {
		return nil
	}
	for _, table := range []string{"usage_daily", "usage_days"} {
		if err := shard.Exec(ctx, `DELETE FROM `+table+` WHERE (tenant, date, pass) IN (
			SELECT tenant, date, pass FROM `+table+` AS t
			INNER JOIN (SELECT tenant, date, max(pass) AS force FROM usage_days GROUP BY tenant, date) AS d USING (tenant, date)
			WHERE pass < force)`); err != nil {
			return fmt.Errorf("clearing %s: %w", table, err)
		}
	}
	return nil
}

// Stored returns the figures of the dates `[from, to)` of the tenants, or with nil of all, as the days in force
// have them.
func (s *Store) Stored(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error) {
	where := ` WHERE date >= toDate32({from:String}) AND date < toDate32({to:String})`
	if tenants != nil {
		where += ` AND tenant IN (SELECT tenant FROM wanted)`
	}
	return s.figures(ctx, func(ctx context.Context, shard driver.Conn, f *aggregate.Figures) error {
		q := newQuery(ctx)
		q.parameters["from"], q.parameters["to"] = from.String(), to.String()
		wanted := q.table("wanted", "tenant", "String")
		for _, t := range tenants {
			wanted(t)
		}
		return q.figures(shard, `daily AS (SELECT * FROM v_usage_figures`+where+`)`, f)
	})
}

// Fresh works the figures of the days out from the deliveries of the extent, at a `now` of R12, and keeps nothing of
// them: what a preview needs, and what may be asked of a registry that does not stand (yet).
func (s *Store) Fresh(ctx context.Context, days []aggregate.Day, extent aggregate.Extent, timelines aggregate.Timelines, rules aggregate.Rules, now int64) (*aggregate.Figures, error) {
	last, err := s.LastPass(ctx)
	if err != nil {
		return nil, err
	}
	return s.figures(ctx, func(ctx context.Context, shard driver.Conn, f *aggregate.Figures) error {
		chunks, err := prepare(ctx, shard, last, days, extent)
		if err != nil {
			return err
		}
		for _, chunk := range chunks {
			if err := newQuery(ctx).inputs(chunk, timelines, rules, now).figures(shard, dailyOf(extent), f); err != nil {
				return err
			}
		}
		return nil
	})
}

// figures returns the figures that are added on every shard, those of each tenant together as one shard has them.
func (s *Store) figures(ctx context.Context, add func(ctx context.Context, shard driver.Conn, f *aggregate.Figures) error) (*aggregate.Figures, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (*aggregate.Figures, error) {
		f := &aggregate.Figures{Agents: map[aggregate.AgentsOf]int64{}}
		return f, add(ctx, shard, f)
	})
	if err != nil {
		return nil, err
	}
	all := parts[0]
	for _, f := range parts[1:] {
		all.Usage, all.Balances = append(all.Usage, f.Usage...), append(all.Balances, f.Balances...)
		maps.Copy(all.Agents, f.Agents)
	}
	slices.SortStableFunc(all.Usage, func(a, b aggregate.Usage) int { return cmp.Compare(a.Tenant, b.Tenant) })
	slices.SortStableFunc(all.Balances, func(a, b aggregate.DayBalance) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return all, nil
}

// prepare cuts days into pieces for a query each. Ingest may be ahead of the last pass, so it also records the dates
// that deliveries stand on.
func prepare(ctx context.Context, shard driver.Conn, last aggregate.Pass, days []aggregate.Day, extent aggregate.Extent) ([][]aggregate.Day, error) {
	if err := place(ctx, shard, last.Positions, extent.Positions); err != nil {
		return nil, err
	}
	return byTenant(ctx, shard, days)
}

// byTenant cuts days so that a query reads no more deliveries than it should, every tenant's days whole: a count
// of distinct agents is of all of them.
func byTenant(ctx context.Context, shard driver.Conn, days []aggregate.Day) ([][]aggregate.Day, error) {
	dates := map[string]map[civil.Date]int64{}
	for _, d := range days {
		if dates[d.Tenant] == nil {
			dates[d.Tenant] = map[civil.Date]int64{}
		}
		dates[d.Tenant][d.Date] = 0
	}
	if err := weigh(ctx, shard, dates); err != nil {
		return nil, err
	}
	var chunks [][]aggregate.Day
	var weight int64
	for i, d := range days {
		if i == 0 || d.Tenant != days[i-1].Tenant {
			var of int64
			for _, n := range dates[d.Tenant] {
				of += n
			}
			if weight += of; i == 0 || weight > aggregate.MostDeliveries {
				chunks, weight = append(chunks, nil), of
			}
		}
		chunks[len(chunks)-1] = append(chunks[len(chunks)-1], d)
	}
	return chunks, nil
}

// figures adds what a common table expression `daily` has, in the order of tenant, date, meter and subscription.
func (q *query) figures(conn driver.Conn, daily string, f *aggregate.Figures) error {
	return q.each(conn, `WITH `+daily+`
		SELECT tenant, meter, subscription, grouping(date) = 0 AS dated, date, max(peak), max(peak_ms), sum(events), sum(milliseconds), sum(units),
			uniqExactMerge(agents), toInt64(sum(accepted)), toInt64(sum(duplicate)), toInt64(sum(superseded)), toInt64(sum(voided)),
			toInt64(sum(unallocated)), toInt64(sum(held)), toInt64(sum(unmapped)), toInt64(sum(open_sessions)),
			toInt64(sum(unknown_subscription)), toInt64(sum(conflicts))
		FROM daily
		GROUP BY GROUPING SETS ((tenant, meter, subscription, date), (tenant, meter, subscription))
		ORDER BY tenant, date, meter, subscription`, func(rows driver.Rows) error {
		var u aggregate.Usage
		var b aggregate.Balance
		var dated bool
		var date time.Time
		var peak, events, agents uint64
		if err := rows.Scan(&u.Tenant, &u.Meter, &u.Subscription, &dated, &date, &peak, &u.PeakMS, &events, &u.Milliseconds, &u.Units, &agents,
			&b.Accepted, &b.Duplicate, &b.Superseded, &b.Voided, &b.Unallocated, &b.Held, &b.Unmapped, &b.OpenSessions, &b.UnknownSubscription,
			&b.Conflicts); err != nil {
			return err
		}
		u.Date, u.Peak, u.Events, u.Agents = civil.DateOfTime(date), int64(peak), int64(events), int64(agents)
		switch {
		case !dated && u.Meter != "":
			f.Agents[aggregate.AgentsOf{Tenant: u.Tenant, Meter: u.Meter, Subscription: u.Subscription}] = u.Agents
		case dated && u.Meter != "":
			f.Usage = append(f.Usage, u)
		}
		if dated && u.Subscription == "" {
			b.Counted = u.Events
		}
		// A date that sessions only run on into has no deliveries of its own.
		if dated && b != (aggregate.Balance{}) {
			if last := len(f.Balances) - 1; last >= 0 && f.Balances[last].Tenant == u.Tenant && f.Balances[last].Date == u.Date {
				f.Balances[last].Balance = f.Balances[last].Add(b)
			} else {
				f.Balances = append(f.Balances, aggregate.DayBalance{Tenant: u.Tenant, Date: u.Date, Balance: b})
			}
		}
		return nil
	})
}

func openMS(rules aggregate.Rules) int64 { return int64(rules.OpenSessionHours) * 3600_000 }

// query gathers what goes along with one query: external tables and parameters.
type query struct {
	ctx        context.Context
	tables     []*ext.Table
	parameters clickhouse.Parameters
	err        error
}

func newQuery(ctx context.Context) *query {
	return &query{ctx: ctx, parameters: clickhouse.Parameters{}}
}

// table declares an external table by the names and types of its columns, and returns what appends a row.
func (q *query) table(name string, namesAndTypes ...string) func(values ...any) {
	var columns []func(*ext.Table) error
	for i := 0; i < len(namesAndTypes); i += 2 {
		columns = append(columns, ext.Column(namesAndTypes[i], column.Type(namesAndTypes[i+1])))
	}
	table, err := ext.NewTable(name, columns...)
	if err != nil {
		q.err = err
		return func(...any) {}
	}
	q.tables = append(q.tables, table)
	return func(values ...any) {
		if err := table.Append(values...); err != nil && q.err == nil {
			q.err = fmt.Errorf("table %s: %w", name, err)
		}
	}
}

// inputs adds all that daily reads besides the deliveries. The days of a tenant are in order, and the deliveries of all
// tenants are read from the first day of any to the last of any.
func (q *query) inputs(days []aggregate.Day, timelines aggregate.Timelines, rules aggregate.Rules, now int64) *query {
	byTenant := map[string][]aggregate.Day{}
	var tenants []string
	for _, d := range days {
		if byTenant[d.Tenant] == nil {
			tenants = append(tenants, d.Tenant)
		}
		byTenant[d.Tenant] = append(byTenant[d.Tenant], d)
	}
	concerned := func(tenant string) bool { return byTenant[tenant] != nil }

	numbers := map[[2]string]uint64{} // of subscriptions, by tenant and id
	name := q.table("names", "number", "UInt64", "subscription", "String")
	number := func(tenant, subscription string) uint64 {
		key := [2]string{tenant, subscription}
		if numbers[key] == 0 && subscription != "" {
			numbers[key] = uint64(len(numbers) + 1)
			name(numbers[key], subscription)
		}
		return numbers[key]
	}
	subscription := q.table("subscriptions", "tenant", "String", "subscription", "String", "number", "UInt64", "from_ms", "Int64", "active", "Bool")
	for _, s := range timelines.Active {
		if concerned(s.Tenant) {
			subscription(s.Tenant, s.Subscription, number(s.Tenant, s.Subscription), s.FromMS, s.Active)
		}
	}
	mapping := q.table("mappings", "tenant", "String", "is_ivr", "UInt8", "name", "String", "from_ms", "Int64", "number", "UInt64", "premium", "Bool")
	for _, s := range timelines.Agents {
		if concerned(s.Tenant) {
			mapping(s.Tenant, uint8(0), s.Agent, s.FromMS, number(s.Tenant, s.Subscription), s.Premium)
		}
	}
	for _, s := range timelines.EntryPoints {
		if concerned(s.Tenant) {
			mapping(s.Tenant, uint8(1), s.EntryPoint, s.FromMS, number(s.Tenant, s.Subscription), false)
		}
	}
	entitlement := q.table("entitlements", "tenant", "String", "subscription", "String", "meter", "String", "from_ms", "Int64", "quantity", "Int64")
	for _, s := range timelines.Entitlements {
		if concerned(s.Tenant) {
			entitlement(s.Tenant, s.Subscription, s.Meter, s.FromMS, s.Quantity)
		}
	}
	primaries := map[string][]aggregate.PrimaryStep{}
	for _, s := range timelines.Primary {
		if concerned(s.Tenant) {
			primaries[s.Tenant] = append(primaries[s.Tenant], s)
		}
	}

	read := q.table("tenants", "tenant", "String")
	calendar := q.table("calendar", "tenant", "String", "day", "UInt32", "date", "Date32", "from_ms", "Int64", "to_ms", "Int64",
		"wanted", "Bool", "held", "Bool", "payer", "UInt64")
	reach := max(longest, openMS(rules))
	begin, end := int64(math.MaxInt64), int64(0) // of the wanted days
	dayNumber := uint32(0)
	for _, tenant := range tenants {
		wanted := byTenant[tenant]
		zone := timelines.Zones[tenant]
		if zone == nil {
			zone = civil.UTC
		}
		first, last := wanted[0], wanted[len(wanted)-1]
		read(tenant)
		begin, end = min(begin, first.FromMS), max(end, last.ToMS)
		steps, next := primaries[tenant], 0
		for _, d := range aggregate.Days(tenant, zone, zone.DateOf(floorDay(first.FromMS-reach)), last.Date+1) {
			for next < len(steps) && steps[next].FromMS <= d.FromMS {
				next++
			}
			var payer uint64
			if next > 0 {
				payer = number(tenant, steps[next-1].Subscription)
			}
			isWanted := len(wanted) > 0 && wanted[0].Date == d.Date
			if isWanted {
				wanted = wanted[1:]
			}
			calendar(tenant, dayNumber, d.Date.Time(), d.FromMS, d.ToMS, isWanted, len(steps) == 0, payer)
			dayNumber++
		}
		// A session that runs on after the last day must not run into the first of the next tenant.
		dayNumber += longest/day + 10
	}
	q.parameter("lo", floorDay(begin-reach))
	q.parameter("from", floorDay(begin))
	q.parameter("first", begin)
	q.parameter("to", floorDay(end+day-1))
	q.parameter("now", now)
	q.parameter("open_ms", openMS(rules))
	return q
}

// floorDay returns the start of the date in UTC that an instant lies in.
func floorDay(ms int64) int64 { return civil.UTC.Start(civil.UTC.DateOf(ms)) }

func (q *query) parameter(name string, value int64) {
	q.parameters[name] = strconv.FormatInt(value, 10)
}

func (q *query) context() context.Context {
	return clickhouse.Context(q.ctx, clickhouse.WithExternalTable(q.tables...), clickhouse.WithParameters(q.parameters),
		// Looking for chains of comparisons takes half of the time in which daily is planned, and finds none.
		clickhouse.WithSettings(clickhouse.Settings{"optimize_and_compare_chain": 0}))
}

func (q *query) run(conn driver.Conn, sql string) (driver.Rows, error) {
	if q.err != nil {
		return nil, q.err
	}
	return conn.Query(q.context(), sql)
}

// each reads the rows of a query one by one.
func (q *query) each(conn driver.Conn, sql string, row func(driver.Rows) error) error {
	rows, err := q.run(conn, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (q *query) exec(conn driver.Conn, sql string) error {
	if q.err != nil {
		return q.err
	}
	return conn.Exec(q.context(), sql)
}
