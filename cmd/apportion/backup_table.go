package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// backedColumn is a column of a table as a backup has it: whole numbers as such, and all else as the text that
// ClickHouse writes of it and reads back as the same value, so that every tool can read the file.
type backedColumn struct {
	name, kind string // kind is the type in ClickHouse, without what it aggregates by
	number     bool
	nullable   bool
}

var (
	wholeNumberRE = regexp.MustCompile(`^(U?Int(8|16|32)|Int64)$`)
	aggregatedRE  = regexp.MustCompile(`^SimpleAggregateFunction\(\w+, (.+)\)$`)
)

// backedColumns returns the columns of a table that are written, and not computed from others, in the order in which
// Parquet has them.
func backedColumns(ctx context.Context, conn driver.Conn, table string) ([]backedColumn, error) {
	rows, err := conn.Query(ctx, `SELECT name, type FROM system.columns
		WHERE database = currentDatabase() AND table = ? AND default_kind NOT IN ('MATERIALIZED', 'ALIAS')`, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var columns []backedColumn
	for rows.Next() {
		var c backedColumn
		if err := rows.Scan(&c.name, &c.kind); err != nil {
			return nil, err
		}
		if inner := aggregatedRE.FindStringSubmatch(c.kind); inner != nil {
			c.kind = inner[1]
		}
		c.number, c.nullable = wholeNumberRE.MatchString(c.kind), strings.HasPrefix(c.kind, "Nullable(")
		columns = append(columns, c)
	}
	slices.SortFunc(columns, func(x, y backedColumn) int { return strings.Compare(x.name, y.name) })
	return columns, rows.Err()
}

// backUpTable writes the rows of a table that are wanted as a Parquet file, and counts them. Each, which may be nil, is
// called with every row by column.
func backUpTable(ctx context.Context, conn driver.Conn, w io.Writer, table, where string,
	each func(row map[string]any)) (count int64, err error) {
	columns, err := backedColumns(ctx, conn, table)
	if err != nil {
		return 0, err
	}
	group, selected := parquet.Group{}, make([]string, len(columns))
	for i, c := range columns {
		node, expression := parquet.String(), "toString(t.`"+c.name+"`)"
		if c.number {
			node, expression = parquet.Int(64), "toInt64(t.`"+c.name+"`)"
		}
		if c.nullable {
			node = parquet.Optional(node)
		}
		group[c.name], selected[i] = node, expression
	}
	out := parquet.NewWriter(w, parquet.NewSchema(table, group), parquet.CreatedBy("apportion", "", ""),
		parquet.Compression(&zstd.Codec{}), parquet.MaxRowsPerRowGroup(rowGroup))
	rows, err := conn.Query(ctx, "SELECT "+strings.Join(selected, ", ")+" FROM "+table+" AS t "+where)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		values := make([]any, len(columns))
		for i, c := range columns {
			switch {
			case c.number:
				values[i] = new(int64)
			case c.nullable:
				values[i] = new(*string)
			default:
				values[i] = new(string)
			}
		}
		if err := rows.Scan(values...); err != nil {
			return count, err
		}
		if _, err := out.WriteRows([]parquet.Row{backedRow(columns, values, each)}); err != nil {
			return count, err
		}
		count++
	}
	return count, errors.Join(rows.Err(), out.Close())
}

// backedRow makes a row of Parquet of the values that were read.
func backedRow(columns []backedColumn, values []any, each func(map[string]any)) parquet.Row {
	row, byName := make(parquet.Row, len(columns)), map[string]any{}
	for i, c := range columns {
		switch v := values[i].(type) {
		case *int64:
			row[i], byName[c.name] = parquet.Int64Value(*v).Level(0, 0, i), *v
		case *string:
			row[i], byName[c.name] = parquet.ByteArrayValue([]byte(*v)).Level(0, 0, i), *v
		case **string:
			if row[i] = parquet.NullValue().Level(0, 0, i); *v != nil {
				row[i] = parquet.ByteArrayValue([]byte(**v)).Level(0, 1, i)
			}
		}
	}
	if each != nil {
		each(byName)
	}
	return row
}

// restoredAtOnce is how many rows go back to a table at once.
const restoredAtOnce = 20_000

// restoreTable puts the rows of a file back into a table, which has the columns of the file, at the least, and counts
// them.
func restoreTable(ctx context.Context, conn driver.Conn, path, table string) (count int64, err error) {
	columns, err := backedColumns(ctx, conn, table)
	if err != nil {
		return 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	in := parquet.NewReader(file)
	defer in.Close()
	at := map[string]int{} // the place of a column in the file
	for i, of := range in.Schema().Columns() {
		at[of[0]] = i
	}
	columns = slices.DeleteFunc(columns, func(c backedColumn) bool { _, has := at[c.name]; return !has })
	if len(columns) != len(at) {
		return 0, fmt.Errorf("%s has columns that the table %s lacks; "+
			"restore it with the release that wrote it, or a later one", path, table)
	}
	rows := make([]parquet.Row, 1000)
	for done := false; !done; {
		var batch *ext.Table
		if batch, err = backedBatch(columns); err != nil {
			return count, err
		}
		n := 0
		for n < restoredAtOnce && !done {
			read, err := in.ReadRows(rows)
			for _, row := range rows[:read] {
				if err := appendBacked(batch, columns, at, row); err != nil {
					return count, err
				}
			}
			n += read
			if done = errors.Is(err, io.EOF); err != nil && !done {
				return count, fmt.Errorf("%s: %w", path, err)
			}
		}
		if n == 0 {
			break
		}
		if err := insertBacked(ctx, conn, table, columns, batch); err != nil {
			return count, fmt.Errorf("restoring %s: %w", table, err)
		}
		count += int64(n)
	}
	return count, nil
}

// backedBatch returns an external table for rows of a backup.
func backedBatch(columns []backedColumn) (*ext.Table, error) {
	var of []func(*ext.Table) error
	for _, c := range columns {
		kind := "String"
		if c.number {
			kind = "Int64"
		}
		if c.nullable {
			kind = "Nullable(" + kind + ")"
		}
		of = append(of, ext.Column(c.name, column.Type(kind)))
	}
	return ext.NewTable("backed_up", of...)
}

func appendBacked(batch *ext.Table, columns []backedColumn, at map[string]int, row parquet.Row) error {
	values := make([]any, len(columns))
	for i, c := range columns {
		v := row[at[c.name]]
		switch {
		case c.number:
			values[i] = v.Int64()
		case c.nullable && v.IsNull():
			values[i] = (*string)(nil)
		case c.nullable:
			text := string(v.ByteArray())
			values[i] = &text
		default:
			values[i] = string(v.ByteArray())
		}
	}
	return batch.Append(values...)
}

func insertBacked(ctx context.Context, conn driver.Conn, table string, columns []backedColumn, batch *ext.Table) error {
	var names, values []string
	for _, c := range columns {
		names = append(names, "`"+c.name+"`")
		values = append(values, "CAST(`"+c.name+"` AS "+c.kind+")")
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithExternalTable(batch), clickhouse.WithSettings(clickhouse.Settings{
		// Usage may be of any dates, and lines are seen by whoever reads after.
		"max_partitions_per_insert_block": 0, "insert_quorum": "auto", "insert_quorum_parallel": 0,
	}))
	return conn.Exec(ctx, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(values, ", ")+
		" FROM backed_up")
}
