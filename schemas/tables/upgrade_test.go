package tables_test

import (
	"strings"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables"
	"apportion/schemas/tables/tablestest"
)

// Several migrations at once leave what one does.
func TestMigrationsAtOnce(t *testing.T) {
	one := definitions(t, tablestest.Open(t))
	if strings.Count(one, "CREATE ") < 40 {
		t.Fatalf("one migration makes\n%s", one)
	}
	for range servicetest.Draws(1, 20) {
		addr, database := servicetest.Database(t)
		var all errgroup.Group
		for range 3 {
			all.Go(func() error {
				db := ch.OpenDB(tablestest.Options(addr, database))
				defer db.Close()
				_, err := tables.Migrate(t.Context(), db)
				return err
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		if several := definitions(t, tablestest.OpenIn(t, addr, database)); several != one {
			t.Errorf("several make\n%s\nand one\n%s", several, one)
		}
	}
}

// definitions returns those of the tables and views of a database as text, and its version.
func definitions(t *testing.T, conn driver.Conn) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT replaceAll(create_table_query, currentDatabase() || '.', '') FROM system.tables
		WHERE database = currentDatabase() ORDER BY name
		UNION ALL SELECT toString(arraySort(groupUniqArray(version_id))) FROM goose_db_version WHERE is_applied`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var definition string
		if err := rows.Scan(&definition); err != nil {
			t.Fatal(err)
		}
		all = append(all, definition)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}
