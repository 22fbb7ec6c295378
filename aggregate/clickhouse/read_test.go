package clickhouse

import (
	"context"
	"errors"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/schemas/tables/tablestest"
)

// What only reads is refused to write, and may not take longer than its context lets it.
func TestReadingIsBounded(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	var refused *ch.Exception
	const insert = `INSERT INTO usage_days (tenant, date, pass) SELECT 'acme', toDate32('2026-10-14'), 1`
	if err := newQuery(t.Context()).reading().exec(conn, insert); !errors.As(err, &refused) || refused.Code != 164 {
		t.Errorf("a write came to %v, want what is read-only", err)
	}
	if err := newQuery(t.Context()).exec(conn, insert); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	err := newQuery(ctx).reading().each(conn, `SELECT toInt64(getSetting('max_execution_time'))`, func(rows driver.Rows) error {
		var seconds int64
		err := rows.Scan(&seconds)
		if seconds < 3000 || seconds > 3700 {
			t.Errorf("it may take %d s, and its context lets it take an hour", seconds)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
