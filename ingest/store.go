package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"apportion/ingest/kafka"
	"apportion/schemas/retry"
)

// store is the ClickHouse database as ingest uses it.
type store struct {
	conn    driver.Conn
	service *retry.Service
}

func newStore(conn driver.Conn, log *slog.Logger) store {
	return store{conn, &retry.Service{Name: "ClickHouse", Log: log}}
}

// do repeats an attempt while ClickHouse is away, as [retry.Service.Do] says.
func (s store) do(ctx context.Context, try func(context.Context) error) error {
	return s.service.Do(ctx, func(ctx context.Context) error { return permanent(try(ctx)) })
}

// column is one column of an insert: a slice of what the column holds.
type column struct {
	name   string
	values any
}

// ledgerRow is a row of ingest_batches.
type ledgerRow struct {
	kafka.TopicPartition
	first, last              int64
	read, accepted, rejected int
	// runOffset is where the consumer began that has entered everything from there on.
	runOffset int64
}

// insertTimeout bounds one attempt of an insert: a server that takes a
// connection and then says nothing is away, too.
const insertTimeout = time.Minute

// insertSettings: a batch may span more months than ClickHouse likes to see in
// one insert. Replicas take several inserts at a time, since
// the order of rows that replace each other is nothing to them; they do so when
// parts are merged, because looking for them in every insert costs more than the
// rest of it. An insert that is made again is never left out for having been seen,
// since event_days_mv may not have seen it. The server turns strings into LowCardinality faster than the driver.
var insertSettings = clickhouse.WithSettings(clickhouse.Settings{
	"max_partitions_per_insert_block":        0,
	"insert_quorum_parallel":                 1,
	"insert_deduplicate":                     0,
	"optimize_on_insert":                     0,
	"low_cardinality_allow_in_native_format": 0,
})

// packetRows is about how many rows are sent at a time. The server puts them
// together again.
const packetRows = 8 * chunkRows

// insertEvents writes the accepted deliveries of a batch to usage_events.
func (s store) insertEvents(ctx context.Context, b *batch) error {
	const table = "usage_events"
	ctx, cancel := context.WithTimeout(clickhouse.Context(ctx, insertSettings), insertTimeout)
	defer cancel()
	columns := b.columns()
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	insert, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+")")
	if err != nil {
		return insertError(table, err)
	}
	defer insert.Close()
	memory := new(scratch)
	for i := range b.buffers {
		p := &b.buffers[i]
		for _, rows := range p.chunks {
			for j, c := range columns {
				if err := insert.Column(j).Append(c.values(rows, p.TopicPartition, memory)); err != nil {
					return retry.Permanent(fmt.Errorf("column %s of %s: %w", c.name, table, err))
				}
			}
			if insert.Rows() >= packetRows {
				if err := flush(ctx, insert); err != nil {
					return insertError(table, err)
				}
			}
		}
	}
	return insertError(table, insert.Send())
}

// flush sends what an insert has. The driver would wait without end for a server
// that keeps the connection and reads nothing.
func flush(ctx context.Context, insert driver.Batch) error {
	sent := make(chan error, 1)
	go func() {
		defer func() { // one that is given up loses its buffer while the driver writes it
			if fault := recover(); fault != nil && ctx.Err() == nil {
				panic(fault)
			}
		}()
		sent <- insert.Flush()
	}()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		insert.Abort()
		return ctx.Err()
	}
}

// insert writes columns of equal length to a table, at once.
func (s store) insert(ctx context.Context, table string, columns []column) error {
	ctx, cancel := context.WithTimeout(clickhouse.Context(ctx, insertSettings), insertTimeout)
	defer cancel()
	query := "INSERT INTO " + table + " ("
	for i, c := range columns {
		if i > 0 {
			query += ", "
		}
		query += c.name
	}
	insert, err := s.conn.PrepareBatch(ctx, query+")")
	if err != nil {
		return insertError(table, err)
	}
	defer insert.Close()
	for i, c := range columns {
		if err := insert.Column(i).Append(c.values); err != nil {
			return retry.Permanent(fmt.Errorf("column %s of %s: %w", c.name, table, err))
		}
	}
	return insertError(table, insert.Send())
}

// enter writes rows of the ledger, at most one of each partition. One that does
// not come after everything that the ledger has of its partition is not written:
// then it is a refusedEntry, unless it is there already, from an attempt whose
// answer was lost. The look and the write are not one step: another consumer, or
// an attempt given up that ClickHouse is still at, may write the same offsets in
// between. Balance counts those once, as long as their runs differ. So every
// attempt has a run of its own; tried has those of the attempts before it.
func (s store) enter(ctx context.Context, entries []ledgerRow, run uuid.UUID, tried ...uuid.UUID) error {
	var topics []string
	var partitions []int32
	var first, last, runOffsets []int64
	var read, accepted, rejected []uint64
	for _, e := range entries {
		topics, partitions = append(topics, e.Topic), append(partitions, int32(e.Partition))
		first, last, runOffsets = append(first, e.first), append(last, e.last), append(runOffsets, e.runOffset)
		read = append(read, uint64(e.read))
		accepted, rejected = append(accepted, uint64(e.accepted)), append(rejected, uint64(e.rejected))
	}
	err := s.conn.Exec(ctx, `INSERT INTO ingest_batches
			(topic, partition, first_offset, last_offset, read, accepted, rejected, run_offset, run)
		SELECT topic, partition, first_offset, last_offset, read, accepted, rejected, run_offset, toUUID(?) FROM (
			SELECT toString(e.1) AS topic, toInt32(e.2) AS partition, toInt64(e.3) AS first_offset, toInt64(e.4) AS last_offset,
				e.5 AS read, e.6 AS accepted, e.7 AS rejected, toInt64(e.8) AS run_offset
			FROM (SELECT arrayJoin(arrayZip(?, ?, ?, ?, ?, ?, ?, ?)) AS e)) AS entries
		LEFT ANY JOIN (
			SELECT toString(topic) AS topic, partition, last_offset + 1 AS next FROM v_ingest_partitions
			WHERE topic IN (?)) AS ledger
		USING (topic, partition)
		WHERE next <= first_offset`,
		run.String(), topics, partitions, first, last, read, accepted, rejected, runOffsets, topics)
	if err != nil {
		return insertError("ingest_batches", err)
	}
	// Spelled out, they are found by the key.
	var keys []string
	var values []any
	runs := []string{run.String()}
	for _, t := range tried {
		runs = append(runs, t.String())
	}
	for _, e := range entries {
		keys = append(keys, "topic = ? AND partition = ? AND run_offset = ? AND run IN (?) AND last_offset = ?")
		values = append(values, e.Topic, int32(e.Partition), e.runOffset, runs, e.last)
	}
	var entered uint64
	err = s.conn.QueryRow(ctx, `SELECT uniqExact(topic, partition) FROM ingest_batches WHERE `+strings.Join(keys, " OR "),
		values...).Scan(&entered)
	if err != nil || entered == uint64(len(entries)) {
		return schemaError(err)
	}
	next, err := s.positions(ctx, topics)
	if err != nil {
		return err
	}
	e := entries[max(0, slices.IndexFunc(entries, func(e ledgerRow) bool { return next[e.TopicPartition] > e.first }))]
	return retry.Permanent(refusedEntry{e, next[e.TopicPartition]})
}

// positions returns the offset after the last one in the ledger, for each
// partition of the topics that it knows.
func (s store) positions(ctx context.Context, topics []string) (map[kafka.TopicPartition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	rows, err := s.conn.Query(ctx,
		`SELECT topic, partition, last_offset + 1 FROM v_ingest_partitions WHERE topic IN (?)`, topics)
	if err != nil {
		return nil, schemaError(err)
	}
	defer rows.Close()
	next := make(map[kafka.TopicPartition]int64)
	for rows.Next() {
		var p kafka.TopicPartition
		var partition int32
		var offset int64
		if err := rows.Scan(&p.Topic, &partition, &offset); err != nil {
			return nil, err
		}
		p.Partition = int(partition)
		next[p] = offset
	}
	return next, rows.Err()
}

// named returns parameters of a query about one partition: topic, partition, and pairs of a name and a number.
func named(p kafka.TopicPartition, pairs ...any) []any {
	parameters := []any{
		driver.NamedValue{Name: "topic", Value: p.Topic},
		driver.NamedValue{Name: "partition", Value: fmt.Sprint(p.Partition)},
	}
	for i := 0; i < len(pairs); i += 2 {
		parameters = append(parameters, driver.NamedValue{Name: pairs[i].(string), Value: fmt.Sprint(pairs[i+1])})
	}
	return parameters
}

// check makes sure that the tables are there.
func (s store) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	for _, table := range []string{"usage_events", "rejected", "ingest_batches"} {
		rows, err := s.conn.Query(ctx, "SELECT * FROM "+table+" LIMIT 0")
		if err != nil {
			return schemaError(err)
		}
		rows.Close()
	}
	return nil
}

func insertError(table string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("inserting into %s: %w", table, schemaError(err))
}

// SchemaError says that the database lacks tables, or columns of them.
type SchemaError struct{ error }

func (e SchemaError) Error() string {
	return fmt.Sprintf("the ClickHouse database is not set up for this version: "+
		"create its tables by a migration (%v)", e.error)
}

func (e SchemaError) Unwrap() error { return e.error }

// schemaError distinguishes a database that lacks its tables from one that is away.
func schemaError(err error) error {
	const (
		noSuchColumn    = 16
		unknownIdent    = 47
		unknownTable    = 60
		unknownDatabase = 81
	)
	var e *clickhouse.Exception
	if errors.As(err, &e) && slices.Contains([]int32{noSuchColumn, unknownIdent, unknownTable, unknownDatabase}, e.Code) {
		return SchemaError{err}
	}
	return err
}

// permanent marks a [SchemaError] as one that trying again cannot fix.
func permanent(err error) error {
	if errors.As(err, new(SchemaError)) {
		return retry.Permanent(err)
	}
	return err
}
