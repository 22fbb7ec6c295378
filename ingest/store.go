package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// clickHouse says what is awaited when the database is away.
const clickHouse = "ClickHouse"

// store is the ClickHouse database as ingest uses it.
type store struct{ conn driver.Conn }

// column is one column of an insert: a slice of what the column holds.
type column struct {
	name   string
	values any
}

// ledgerRow is a row of ingest_batches.
type ledgerRow struct {
	place
	first, last              int64
	read, accepted, rejected int
}

// insertTimeout bounds one attempt of an insert: a server that takes a
// connection and then says nothing is away, too.
const insertTimeout = time.Minute

// insertSettings: a batch may span more months than ClickHouse likes to see in
// one insert, and it is answered once it is in the table, not once it is
// queued. The server turns strings into LowCardinality faster than the driver.
var insertSettings = clickhouse.WithSettings(clickhouse.Settings{
	"max_partitions_per_insert_block":        0,
	"async_insert":                           0,
	"low_cardinality_allow_in_native_format": 0,
})

// insert writes columns of equal length to a table, in one block.
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
	batch, err := s.conn.PrepareBatch(ctx, query+")")
	if err != nil {
		return inserting(table, err)
	}
	defer batch.Close()
	for i, c := range columns {
		if err := batch.Column(i).Append(c.values); err != nil {
			return permanentError{fmt.Errorf("column %s of %s: %w", c.name, table, err)}
		}
	}
	return inserting(table, batch.Send())
}

// enter writes a row of the ledger. Written twice, it replaces itself.
func (s store) enter(ctx context.Context, r ledgerRow) error {
	return s.insert(ctx, "ingest_batches", []column{
		{"topic", []string{r.topic}},
		{"partition", []int32{int32(r.partition)}},
		{"first_offset", []int64{r.first}},
		{"last_offset", []int64{r.last}},
		{"read", []uint64{uint64(r.read)}},
		{"accepted", []uint64{uint64(r.accepted)}},
		{"rejected", []uint64{uint64(r.rejected)}},
	})
}

// positions returns the offset after the last one in the ledger, for each
// partition of the topics that it knows.
func (s store) positions(ctx context.Context, topics []string) (map[place]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	rows, err := s.conn.Query(ctx, `SELECT topic, partition, max(last_offset) + 1 FROM ingest_batches
		WHERE topic IN (?) GROUP BY topic, partition`, topics)
	if err != nil {
		return nil, explained(err)
	}
	defer rows.Close()
	next := make(map[place]int64)
	for rows.Next() {
		var p place
		var partition int32
		var offset int64
		if err := rows.Scan(&p.topic, &partition, &offset); err != nil {
			return nil, err
		}
		p.partition = int(partition)
		next[p] = offset
	}
	return next, rows.Err()
}

// check makes sure that the tables are there.
func (s store) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	for _, table := range []string{"usage_events", "rejected", "ingest_batches"} {
		rows, err := s.conn.Query(ctx, "SELECT * FROM "+table+" LIMIT 0")
		if err != nil {
			return explained(err)
		}
		rows.Close()
	}
	return nil
}

func inserting(table string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("inserting into %s: %w", table, explained(err))
}

// explained tells a database that lacks its tables, which waiting cannot mend,
// from one that is away.
func explained(err error) error {
	const (
		noSuchColumn    = 16
		unknownIdent    = 47
		unknownTable    = 60
		unknownDatabase = 81
	)
	var e *clickhouse.Exception
	if errors.As(err, &e) && slices.Contains([]int32{noSuchColumn, unknownIdent, unknownTable, unknownDatabase}, e.Code) {
		return permanentError{fmt.Errorf("the ClickHouse database is not set up for this version: run `apportion migrate` (%w)", err)}
	}
	return err
}
