// Package clickhouse keeps usage in ClickHouse: it reads usage_events and the ledger, which ingest writes, computes
// days in SQL, and writes usage_daily and the passes that make them current. Billing reads
// the result through it.
//
// What the registry says comes in with each call and goes along with each query as external tables, so a query
// always sees one state of it, whole, and another state (an earlier one, or one that is only being considered)
// is just another argument.
package clickhouse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// day is that of UTC, in milliseconds.
const day = 24 * 3600_000

// Store is the [aggregate.Store] in ClickHouse. It is safe for concurrent use.
//
// Over a cluster every shard has the events and the figures of its own tenants, and computes them alone, with the
// same SQL as one server, on its own tables.
type Store struct {
	conn driver.Conn
	// shards gives conn alone where there is no cluster.
	shards func(context.Context) ([]driver.Conn, error)
	// spare is how many rows that are no longer current are left alone in any case.
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
func onShards[T any](ctx context.Context, s *Store,
	do func(ctx context.Context, shard driver.Conn) (T, error)) ([]T, error) {
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
		WHERE database = currentDatabase() AND engine LIKE 'Replicated%'
			AND (name LIKE 'usage%' OR name LIKE 'event%')`).Scan(&tables); err != nil {
		return err
	}
	for _, table := range tables {
		if err := shard.Exec(ctx, `SYSTEM SYNC REPLICA `+table+` LIGHTWEIGHT`); err != nil {
			return fmt.Errorf("waiting for a replica to catch up with %s: %w", table, err)
		}
	}
	return nil
}

// LastPass returns the highest pass that has finished. Before the first it has the number alone that passes begin with:
// where the passes are lost, above that of all days, so that the next wins over them.
func (s *Store) LastPass(ctx context.Context) (aggregate.Pass, error) {
	rows, err := s.conn.Query(ctx, `
		SELECT pass, attempt, registry_offset, rules, tz_version,
			arrayMap(p -> p.1, positions), arrayMap(p -> p.2, positions), arrayMap(p -> p.3, positions),
			arrayMap(b -> b.1, behind), arrayMap(b -> b.2, behind)
		FROM usage_passes ORDER BY pass DESC, attempt DESC LIMIT 1`)
	if err != nil {
		return aggregate.Pass{}, err
	}
	defer rows.Close()
	var pass aggregate.Pass
	for rows.Next() {
		var topics []string
		var partitions []int32
		var offsets []int64
		var behind, reasons []string
		var rules string
		if err := rows.Scan(&pass.Pass, &pass.Attempt, &pass.RegistryOffset, &rules, &pass.TZVersion,
			&topics, &partitions, &offsets, &behind, &reasons); err != nil {
			return aggregate.Pass{}, err
		}
		pass.Rules = json.RawMessage(rules)
		for i := range behind {
			pass.Behind = append(pass.Behind, aggregate.Behind{Tenant: behind[i], Reason: reasons[i]})
		}
		for i := range topics {
			pass.Positions = append(pass.Positions, aggregate.Position{
				Topic: topics[i], Partition: partitions[i], LastOffset: offsets[i]})
		}
	}
	if err := rows.Err(); err != nil || pass.Pass > 0 {
		return pass, err
	}
	pass.Pass, err = s.Highest(ctx)
	return pass, err
}

// Positions returns the end of the ledger.
func (s *Store) Positions(ctx context.Context) ([]aggregate.Position, error) {
	rows, err := s.conn.Query(ctx, `
		SELECT topic, partition, last_offset FROM v_ingest_partitions ORDER BY topic, partition`)
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

// Recompute writes the usage and the balance of the days, and makes them current.
func (s *Store) Recompute(ctx context.Context, shard int, pass aggregate.Pass, days []aggregate.Day,
	timelines aggregate.Timelines, rules aggregate.Rules) error {
	shards, err := s.shards(ctx)
	if err != nil {
		return err
	}
	bound := aggregate.ReadBound{Positions: pass.Positions, ArrivedBy: aggregate.EndOfTime}
	var known, unknown []aggregate.Day
	for _, d := range days {
		if timelines.Zone(d.Tenant) != nil {
			known = append(known, d)
		} else {
			unknown = append(unknown, d)
		}
	}
	if len(known) > 0 {
		q := newQuery(ctx).inputs(aggregate.Inputs{
			Days: known, Bound: bound, Timelines: timelines, Rules: rules, NowMS: aggregate.EndOfTime})
		stamp(q, pass)
		if err := q.exec(shards[shard], `INSERT INTO usage_daily (`+figureColumns+`, pass, attempt)
			WITH `+q.dailyOf(bound)+` SELECT `+figureColumns+`, {pass:UInt64}, {attempt:UUID} FROM daily`); err != nil {
			return fault(err)
		}
	}
	if len(unknown) > 0 {
		if err := countUnknown(ctx, shards[shard], unknown, bound, pass); err != nil {
			return err
		}
	}
	q := newQuery(ctx)
	stamp(q, pass)
	add := q.table("days", "tenant", "String", "date", "Date32")
	for _, d := range days {
		add(d.Tenant, d.Date.Time())
	}
	return q.exec(shards[shard], `INSERT INTO usage_days (tenant, date, pass, attempt, row_count, checksum)
		`+text("days"))
}

// stamp gives a query the parameters of a pass that it writes figures of.
func stamp(q *query, pass aggregate.Pass) {
	q.parameters["pass"] = strconv.FormatUint(pass.Pass, 10)
	q.parameters["attempt"] = pass.Attempt.String()
}

// countUnknown counts the deliveries of months of tenants that the registry does not know (R22).
func countUnknown(ctx context.Context, shard driver.Conn, months []aggregate.Day, bound aggregate.ReadBound,
	pass aggregate.Pass) error {
	q := newQuery(ctx)
	stamp(q, pass)
	add := q.table("months", "tenant", "String", "date", "Date32", "from_ms", "Int64", "to_ms", "Int64")
	lo, hi := months[0].FromMS, months[0].ToMS
	for _, m := range months {
		add(m.Tenant, m.Date.Time(), m.FromMS, m.ToMS)
		lo, hi = min(lo, m.FromMS), max(hi, m.ToMS)
	}
	q.parameter("lo", lo)
	q.parameter("hi", hi)
	return q.exec(shard, `INSERT INTO usage_daily (tenant, date, begins_ms, accepted, unknown_tenant, pass, attempt)
		SELECT *, {pass:UInt64}, {attempt:UUID} FROM (`+fill(text("unknown_tenants"), "$known", known(bound))+`)`)
}

// serverWide are ClickHouse's codes for what is wrong with a server or the way to it, and not with a query's data.
var serverWide = []int32{
	3, 60, 81, // database or table unknown
	159, 202, 209, 210, 279, 394, // time, queries, network, cancelled
	164, 192, 194, 497, 516, // access
	242, 243, 252, 319, 999, // read-only, disk full, too many parts, replicas, Keeper
}

// fault tells what the data is to blame for from what concerns everybody.
func fault(err error) error {
	var refused *clickhouse.Exception
	if errors.As(err, &refused) && !slices.Contains(serverWide, refused.Code) {
		return &aggregate.Fault{Err: err}
	}
	return err
}

// figureColumns are those of daily and usage_daily alike.
const figureColumns = `tenant, date, meter, subscription, entitled, peak, peak_ms, events, milliseconds, units, agents,
	accepted, duplicate, superseded, voided, unallocated, unknown_tenant, unmapped, open_sessions,
	unknown_subscription, conflicts, begins_ms, changes`

// Finish records the pass, and clears away figures that are no longer current once they are most of what there is.
func (s *Store) Finish(ctx context.Context, pass aggregate.Pass) error {
	positions := make([][]any, len(pass.Positions))
	for i, p := range pass.Positions {
		positions[i] = []any{p.Topic, p.Partition, p.LastOffset}
	}
	behind := make([][]any, len(pass.Behind))
	for i, b := range pass.Behind {
		behind[i] = []any{b.Tenant, b.Reason}
	}
	batch, err := s.conn.PrepareBatch(ctx, `INSERT INTO usage_passes
		(pass, attempt, registry_offset, positions, rules, tz_version, behind)`)
	if err != nil {
		return err
	}
	defer batch.Close()
	if err := batch.Append(pass.Pass, pass.Attempt, pass.RegistryOffset, positions, string(pass.Rules),
		pass.TZVersion, behind); err != nil {
		return err
	}
	if err := batch.Send(); err != nil {
		return err
	}
	_, err = onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (struct{}, error) {
		return struct{}{}, clearSuperseded(ctx, shard, s.spare)
	})
	return err
}

// clearSuperseded deletes what lower passes have left behind of days that a higher one has made current. Nobody reads
// it any more, and a pass that is still under way with such a number has lost the day already.
func clearSuperseded(ctx context.Context, shard driver.Conn, spare uint64) error {
	var rows, current uint64
	if err := shard.QueryRow(ctx, `SELECT (SELECT count() FROM usage_daily), (SELECT count() FROM usage_current)`).
		Scan(&rows, &current); err != nil {
		return err
	}
	if rows <= 2*current+spare {
		return nil
	}
	return drop(ctx, shard)
}

func drop(ctx context.Context, shard driver.Conn) error {
	for _, table := range []string{"usage_daily", "usage_days", "usage_days_copy"} {
		// ClickHouse keeps the statement with the database before each table, so an alias must be no database's name.
		if err := shard.Exec(ctx, `DELETE FROM `+table+` WHERE (tenant, date, pass) IN (
			SELECT tenant, date, pass FROM `+table+`
			INNER JOIN (SELECT tenant, date, max(pass) AS newest FROM usage_days GROUP BY tenant, date) AS "current days"
			USING (tenant, date)
			WHERE pass < newest)`); err != nil {
			return fmt.Errorf("clearing %s: %w", table, err)
		}
	}
	return nil
}

// Load returns the figures of the dates `[from, to)` of the tenants, or with nil of all, as the current days
// have them.
func (s *Store) Load(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error) {
	// By numbers, since toDate32 knows no date after 2299.
	where := ` WHERE toInt32(date) >= {from:Int32} AND toInt32(date) < {to:Int32}`
	if tenants != nil {
		where += ` AND tenant IN (SELECT tenant FROM wanted)`
	}
	return s.figures(ctx, func(ctx context.Context, shard driver.Conn, f *aggregate.Figures) error {
		q := newQuery(ctx)
		q.parameter("from", int64(from))
		q.parameter("to", int64(to))
		q.tenants("wanted", tenants)
		return q.figures(shard, `daily AS (SELECT * FROM usage_current`+where+`)`, f)
	})
}

// Compute computes the figures of the days from the deliveries within the bound, and keeps nothing of them:
// what a preview needs, and what may be asked of a registry that is only considered.
func (s *Store) Compute(ctx context.Context, in aggregate.Inputs) (*aggregate.Figures, error) {
	last, err := s.LastPass(ctx)
	if err != nil {
		return nil, err
	}
	return s.figures(ctx, func(ctx context.Context, shard driver.Conn, f *aggregate.Figures) error {
		return eachPiece(ctx, shard, last, in, func(q *query) error {
			return q.figures(shard, q.dailyOf(in.Bound), f)
		})
	})
}

// onPieces does something, on every shard, with the queries that read the events of the days, a piece of the days each,
// and returns all results.
func onPieces[T any](ctx context.Context, s *Store, in aggregate.Inputs,
	do func(shard driver.Conn, q *query) ([]T, error)) ([]T, error) {
	if len(in.Days) == 0 {
		return nil, nil
	}
	last, err := s.LastPass(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (all []T, err error) {
		err = eachPiece(ctx, shard, last, in, func(q *query) error {
			some, err := do(shard, q)
			all = append(all, some...)
			return err
		})
		return all, err
	})
	return slices.Concat(parts...), err
}

func eachPiece(ctx context.Context, shard driver.Conn, last aggregate.Pass, in aggregate.Inputs,
	do func(q *query) error) error {
	pieces, err := prepare(ctx, shard, last, in)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		if err := do(newQuery(ctx).inputs(piece)); err != nil {
			return err
		}
	}
	return nil
}

// figures returns the figures that are added on every shard, those of each tenant together as one shard has them.
func (s *Store) figures(ctx context.Context,
	add func(ctx context.Context, shard driver.Conn, f *aggregate.Figures) error) (*aggregate.Figures, error) {
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
// of deliveries.
func prepare(ctx context.Context, shard driver.Conn, last aggregate.Pass, in aggregate.Inputs) (
	pieces []aggregate.Inputs, err error) {
	if err := noteSeveralDays(ctx, shard, last.Positions, in.Bound.Positions); err != nil {
		return nil, err
	}
	days, err := byTenant(ctx, shard, in.Days)
	for _, piece := range days {
		in.Days = piece
		pieces = append(pieces, in)
	}
	return pieces, err
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
	return q.each(conn, `WITH `+daily+"\n"+text("figures"), func(rows driver.Rows) error {
		var u aggregate.Usage
		var b aggregate.Balance
		var date time.Time
		var peak, events, agents, agentsOverMonth uint64
		if err := rows.Scan(&u.Tenant, &u.Meter, &u.Subscription, &date, &peak, &u.PeakMS, &events, &u.Milliseconds,
			&u.Units, &agents, &agentsOverMonth,
			&b.Accepted, &b.Duplicate, &b.Superseded, &b.Voided, &b.Unallocated, &b.UnknownTenant, &b.Unmapped,
			&b.OpenSessions, &b.UnknownSubscription, &b.Conflicts); err != nil {
			return err
		}
		u.Date, u.Peak, u.Events, u.Agents = civil.DateOfTime(date), int64(peak), int64(events), int64(agents)
		if u.Meter != "" {
			of := aggregate.AgentsOf{Tenant: u.Tenant, Period: u.Date.Month(), Meter: u.Meter, Subscription: u.Subscription}
			f.Agents[of] = int64(agentsOverMonth)
			f.Usage = append(f.Usage, u)
		}
		if u.Subscription == "" {
			b.Counted = u.Events
		}
		// A date that sessions only run on into has no deliveries of its own.
		if b == (aggregate.Balance{}) {
			return nil
		}
		if last := len(f.Balances) - 1; last >= 0 && f.Balances[last].Tenant == u.Tenant && f.Balances[last].Date == u.Date {
			f.Balances[last].Balance = f.Balances[last].Add(b)
		} else {
			f.Balances = append(f.Balances, aggregate.DayBalance{Tenant: u.Tenant, Date: u.Date, Balance: b})
		}
		return nil
	})
}

func openMS(rules aggregate.Rules) int64 { return int64(rules.OpenSessionHours) * 3600_000 }
