// Package clickhouse keeps usage in ClickHouse: it reads usage_events and the ledger, which ingest writes, works
// out days in SQL, and writes usage_daily, usage_balance and the passes that put them in force. Billing reads
// the result through it.
//
// What the registry says comes in with each call and goes along with each query as external tables, so a query
// always sees one state of it, whole, and another state (an earlier one, or one that is only being considered)
// is just another argument.
package clickhouse

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// longest is how long before a day a session that reaches into it can have started: the event contract refuses
// longer ones (implausible_duration).
const longest = 31 * 24 * 3600_000

// Store is the [aggregate.Store] in ClickHouse. It is safe for concurrent use.
type Store struct {
	conn driver.Conn
	// spare is how many rows that are no longer in force are left alone in any case.
	spare uint64
}

// NewStore returns a store over a connection whose database has been migrated.
func NewStore(conn driver.Conn) *Store { return &Store{conn, 10_000} }

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

// Touched returns the UTC dates that need working out, by tenant.
func (s *Store) Touched(ctx context.Context, after, upTo []aggregate.Position, tenants []string, rules aggregate.Rules) (map[string][]civil.Date, error) {
	q := newQuery(ctx)
	type partition struct {
		topic     string
		partition int32
	}
	done := map[partition]int64{}
	for _, p := range after {
		done[partition{p.Topic, p.Partition}] = p.LastOffset
	}
	spans := q.table("spans", "topic", "String", "partition", "Int32", "after_offset", "Int64", "last_offset", "Int64")
	for _, p := range upTo {
		from, ok := done[partition{p.Topic, p.Partition}]
		if !ok {
			from = -1
		}
		spans(p.Topic, p.Partition, from, p.LastOffset)
	}
	whole := q.table("whole", "tenant", "String")
	for _, t := range tenants {
		whole(t)
	}
	q.parameter("open_ms", openMS(rules))
	q.parameter("longest", longest)
	// A session without a start is a void and lasts nowhere; none that lasts longer than the longest is accepted.
	rows, err := q.run(s.conn, `
		SELECT tenant, groupUniqArrayArray(range(intDiv(at_ms, 86400000), intDiv(until_ms, 86400000) + 1))
		FROM (
			SELECT tenant, at_ms,
				multiIf(start_ms < 0, at_ms, end_ms < 0, start_ms + {open_ms:Int64}, least(end_ms, start_ms + {longest:Int64})) AS until_ms
			FROM usage_events
			INNER JOIN spans ON usage_events.topic = spans.topic AND usage_events.partition = spans.partition
			WHERE offset <= last_offset AND (tenant IN (SELECT tenant FROM whole)
				OR (tenant, source, id) IN (
					SELECT tenant, source, id FROM usage_events
					INNER JOIN spans ON usage_events.topic = spans.topic AND usage_events.partition = spans.partition
					WHERE offset > after_offset AND offset <= last_offset)))
		GROUP BY tenant`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	touched := map[string][]civil.Date{}
	for rows.Next() {
		var tenant string
		var days []int64
		if err := rows.Scan(&tenant, &days); err != nil {
			return nil, err
		}
		for _, d := range days {
			if d > math.MaxInt32 {
				return nil, fmt.Errorf("usage_events holds a date %d that no event can have; restore the table", d)
			}
			touched[tenant] = append(touched[tenant], civil.Date(d))
		}
	}
	return touched, rows.Err()
}

// WorkOut writes the usage and the balance of the days and then puts them in force.
func (s *Store) WorkOut(ctx context.Context, pass aggregate.Pass, days []aggregate.Day, timelines aggregate.Timelines, rules aggregate.Rules) error {
	stamp := fmt.Sprintf(", toUInt64(%d) AS pass, toUUID('%s') AS run", pass.Number, pass.Run)
	inputs := func() *query {
		return newQuery(ctx).inputs(days, aggregate.Extent{Positions: pass.Positions, ArrivedBy: aggregate.Settled}, timelines, rules, aggregate.Settled)
	}
	if err := inputs().exec(s.conn, `INSERT INTO usage_daily (tenant, date, meter, subscription, peak, peak_ms, events, milliseconds, units, agents, pass, run)
		WITH `+usage+` SELECT tenant, date, meter, subscription, peak, peak_ms, events, milliseconds, units, agents`+stamp+` FROM daily`); err != nil {
		return err
	}
	if err := inputs().exec(s.conn, `INSERT INTO usage_balance (tenant, date, accepted, counted, duplicate, superseded, voided, unallocated, held,
			unmapped, open_sessions, unknown_subscription, conflicts, pass, run)
		WITH `+balance+` SELECT *`+stamp+` FROM balance`); err != nil {
		return err
	}
	return newQuery(ctx).days(days).exec(s.conn, `INSERT INTO usage_days (tenant, date, pass, run) SELECT tenant, date`+stamp+` FROM days`)
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
	return s.clear(ctx)
}

// clear deletes what lower passes have left behind of days that a higher one has put in force. Nobody reads
// it any more, and a pass that is still under way with such a number has lost the day already.
func (s *Store) clear(ctx context.Context) error {
	var rows, inForce uint64
	if err := s.conn.QueryRow(ctx, `SELECT (SELECT count() FROM usage_daily), (SELECT count() FROM v_usage_daily)`).Scan(&rows, &inForce); err != nil {
		return err
	}
	if rows <= 2*inForce+s.spare {
		return nil
	}
	for _, table := range []string{"usage_daily", "usage_balance", "usage_days"} {
		if err := s.conn.Exec(ctx, `DELETE FROM `+table+` WHERE (tenant, date, pass) IN (
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
	inputs := func() *query {
		q := newQuery(ctx)
		q.parameters["from"], q.parameters["to"] = from.String(), to.String()
		wanted := q.table("wanted", "tenant", "String")
		for _, t := range tenants {
			wanted(t)
		}
		return q
	}
	return figures(s.conn, inputs(), `WITH daily AS (SELECT * FROM v_usage_daily`+where+`)`,
		inputs(), `WITH balance AS (SELECT * FROM v_usage_balance`+where+`)`)
}

// Fresh works the figures of the days out from the deliveries of the extent, at a `now` of R12, and
// stores nothing: what a preview needs, and what may be asked of a registry that does not stand (yet).
func (s *Store) Fresh(ctx context.Context, days []aggregate.Day, extent aggregate.Extent, timelines aggregate.Timelines, rules aggregate.Rules, now int64) (*aggregate.Figures, error) {
	inputs := func() *query { return newQuery(ctx).inputs(days, extent, timelines, rules, now) }
	return figures(s.conn, inputs(), `WITH `+usage, inputs(), `WITH `+balance)
}

// figures reads a common table expression `daily` and one called `balance`.
func figures(conn driver.Conn, usageInputs *query, daily string, balanceInputs *query, balance string) (*aggregate.Figures, error) {
	f := &aggregate.Figures{Agents: map[aggregate.AgentsOf]int64{}}
	rows, err := usageInputs.run(conn, daily+`
		SELECT tenant, meter, subscription, grouping(date) = 0 AS dated, date, max(peak), max(peak_ms), sum(events), sum(milliseconds), sum(units),
			uniqExactMerge(agents)
		FROM daily
		GROUP BY GROUPING SETS ((tenant, meter, subscription, date), (tenant, meter, subscription))
		ORDER BY tenant, date, meter, subscription`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var u aggregate.Usage
		var dated bool
		var date time.Time
		var peak, events, agents uint64
		if err := rows.Scan(&u.Tenant, &u.Meter, &u.Subscription, &dated, &date, &peak, &u.PeakMS, &events, &u.Milliseconds, &u.Units, &agents); err != nil {
			return nil, err
		}
		if !dated {
			f.Agents[aggregate.AgentsOf{Tenant: u.Tenant, Meter: u.Meter, Subscription: u.Subscription}] = int64(agents)
			continue
		}
		u.Date, u.Peak, u.Events, u.Agents = civil.DateOfTime(date), int64(peak), int64(events), int64(agents)
		f.Usage = append(f.Usage, u)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	balances, err := balanceInputs.run(conn, balance+`
		SELECT tenant, date, toInt64(accepted), toInt64(counted), toInt64(duplicate), toInt64(superseded), toInt64(voided), toInt64(unallocated),
			toInt64(held), toInt64(unmapped), toInt64(open_sessions), toInt64(unknown_subscription), toInt64(conflicts)
		FROM balance ORDER BY tenant, date`)
	if err != nil {
		return nil, err
	}
	defer balances.Close()
	for balances.Next() {
		var b aggregate.DayBalance
		var date time.Time
		if err := balances.Scan(&b.Tenant, &date, &b.Accepted, &b.Counted, &b.Duplicate, &b.Superseded, &b.Voided, &b.Unallocated,
			&b.Held, &b.Unmapped, &b.OpenSessions, &b.UnknownSubscription, &b.Conflicts); err != nil {
			return nil, err
		}
		b.Date = civil.DateOfTime(date)
		f.Balances = append(f.Balances, b)
	}
	return f, balances.Err()
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

// days adds what is to be worked out.
func (q *query) days(days []aggregate.Day) *query {
	add := q.table("days", "tenant", "String", "date", "Date32", "from_ms", "Int64", "to_ms", "Int64")
	for _, d := range days {
		add(d.Tenant, d.Date.Time(), d.FromMS, d.ToMS)
	}
	return q
}

// positions adds up to where the ledger is read.
func (q *query) positions(positions []aggregate.Position) {
	add := q.table("positions", "topic", "String", "partition", "Int32", "last_offset", "Int64")
	for _, p := range positions {
		add(p.Topic, p.Partition, p.LastOffset)
	}
}

// inputs adds all that the queries of this package read besides the deliveries.
func (q *query) inputs(days []aggregate.Day, extent aggregate.Extent, timelines aggregate.Timelines, rules aggregate.Rules, now int64) *query {
	q.days(days)
	q.positions(extent.Positions)
	primary := q.table("primaries", "tenant", "String", "from_ms", "Int64", "subscription", "String")
	for _, s := range timelines.Primary {
		primary(s.Tenant, s.FromMS, s.Subscription)
	}
	subscription := q.table("subscriptions", "tenant", "String", "subscription", "String", "from_ms", "Int64", "active", "Bool")
	for _, s := range timelines.Active {
		subscription(s.Tenant, s.Subscription, s.FromMS, s.Active)
	}
	agent := q.table("agents", "tenant", "String", "agent", "String", "from_ms", "Int64", "subscription", "String", "premium", "Bool")
	for _, s := range timelines.Agents {
		agent(s.Tenant, s.Agent, s.FromMS, s.Subscription, s.Premium)
	}
	entryPoint := q.table("entry_points", "tenant", "String", "entry_point", "String", "from_ms", "Int64", "subscription", "String")
	for _, s := range timelines.EntryPoints {
		entryPoint(s.Tenant, s.EntryPoint, s.FromMS, s.Subscription)
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, d := range days {
		lo, hi = min(lo, d.FromMS), max(hi, d.ToMS)
	}
	q.parameter("lo", lo-max(longest, openMS(rules)))
	q.parameter("hi", hi)
	q.parameter("now", now)
	q.parameter("arrived_by", extent.ArrivedBy)
	q.parameter("open_ms", openMS(rules))
	return q
}

func (q *query) parameter(name string, value int64) {
	q.parameters[name] = strconv.FormatInt(value, 10)
}

func (q *query) context() context.Context {
	return clickhouse.Context(q.ctx, clickhouse.WithExternalTable(q.tables...), clickhouse.WithParameters(q.parameters))
}

func (q *query) run(conn driver.Conn, sql string) (driver.Rows, error) {
	if q.err != nil {
		return nil, q.err
	}
	return conn.Query(q.context(), sql)
}

func (q *query) exec(conn driver.Conn, sql string) error {
	if q.err != nil {
		return q.err
	}
	return conn.Exec(q.context(), sql)
}
