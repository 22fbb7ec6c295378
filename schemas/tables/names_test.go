package tables_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables"
)

// lastAlias finds the names that views give to what they select from, each at the end of a line.
var lastAlias = regexp.MustCompile(`(?m)^\s*(?:FROM\b|(?:\w+ )*JOIN\b|\)).* AS (\w+)$`)

// ClickHouse keeps a view with the database before each table. Where a view calls what it selects from by the name of
// the database, that is looked for in there. Quoted names have a space, which no database may have.
func TestDatabaseCalledAsAnAlias(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	names := map[string]bool{"days": true} // which one was once
	files, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range lastAlias.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	for _, name := range []string{"b", "u", "e", "whole", "own", "lines"} {
		if !names[name] {
			t.Errorf("no view has the alias %s any more: name another here", name)
		}
	}
	for name := range names {
		t.Run(name, func(t *testing.T) {
			db := ch.OpenDB(&ch.Options{Addr: []string{servicetest.DatabaseCalled(t, name)},
				Auth: ch.Auth{Database: name}, Settings: tables.Settings()})
			defer db.Close()
			if _, err := tables.Migrate(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			using := views(t, db, `\bAS `+name+`\b`)
			if len(using) == 0 && name != "days" {
				t.Error("no view has the alias")
			}
			for _, view := range using {
				var n uint64
				if err := db.QueryRow("SELECT count() FROM " + view + " WHERE NOT ignore(*)").Scan(&n); err != nil {
					t.Errorf("%s: %v", view, err)
				}
			}
		})
	}
}

// views returns the names of the views of a database whose queries match a pattern.
func views(t *testing.T, db *sql.DB, pattern string) (names []string) {
	t.Helper()
	rows, err := db.Query(`SELECT name FROM system.tables
		WHERE database = currentDatabase() AND engine = 'View' AND match(as_select, ?) ORDER BY name`, pattern)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}
