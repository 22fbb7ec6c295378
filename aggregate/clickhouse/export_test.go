package clickhouse

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
)

// NewStoreWithSpare returns a store that clears figures superseded as soon as they are that many more than the
// others.
func NewStoreWithSpare(conn driver.Conn, spare uint64) *Store {
	s := NewStore(conn)
	s.spare = spare
	return s
}

// EachOfStage hands over the rows of a query that comes after the expressions of daily, over the inputs.
func EachOfStage(ctx context.Context, conn driver.Conn, in aggregate.Inputs, query string, row func(driver.Rows) error) error {
	q := newQuery(ctx)
	if err := noteSeveralDays(ctx, conn, nil, in.Bound.Positions); err != nil {
		return err
	}
	return q.inputs(in).each(conn, "WITH "+q.dailyOf(in.Bound)+"\n"+query, row)
}

// Comment finds comments in SQL.
var Comment = comment

// Printed returns the statements that record which events are on several days and that compute the figures of the
// inputs, with all that goes along written into them.
func Printed(in aggregate.Inputs) (statements []string, err error) {
	q := newQuery(context.Background()).inputs(in)
	if q.err != nil {
		return nil, q.err
	}
	var tables []string
	for _, t := range q.tables {
		tables = append(tables, fmt.Sprintf("    %s AS (SELECT * FROM %s)", t.Name(), printedTable(t)))
	}
	query := strings.Join(tables, ",\n") + ",\n" + q.dailyOf(in.Bound) + "\n" + text("figures")
	for name, value := range q.parameters {
		query = regexp.MustCompile(`\{`+name+`:(\w+)\}`).ReplaceAllString(query, "to${1}("+value+")")
	}
	return []string{fill(text("several_days"), "$new", "true"), "WITH\n" + query}, nil
}

func printedTable(t *ext.Table) string {
	if t.Block().Rows() == 0 {
		return "null(" + quoted(t.Structure()) + ")"
	}
	values := []string{quoted(t.Structure())}
	for i := range t.Block().Rows() {
		var row []string
		for _, column := range t.Block().Columns {
			switch value := column.Row(i, false).(type) {
			case time.Time:
				row = append(row, quoted(value.Format(time.DateOnly)))
			case string:
				row = append(row, quoted(value))
			default:
				row = append(row, fmt.Sprint(value))
			}
		}
		values = append(values, "("+strings.Join(row, ", ")+")")
	}
	return "values(" + strings.Join(values, ", ") + ")"
}
