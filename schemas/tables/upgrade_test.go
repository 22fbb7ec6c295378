package tables_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

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

// next are the files of SQL with one more, as a release to come has them.
func next(t *testing.T) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	for _, of := range []fs.FS{tables.Migrations, os.DirFS("testdata/next")} {
		names, err := fs.Glob(of, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := fs.ReadFile(of, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: text}
		}
	}
	return files
}

// TestUpgrade: the tables of each release, with their rows, get what a release to come adds, and no more; several
// migrations at once, and again, do the same. They are then as tables that are created by the same files.
func TestUpgrade(t *testing.T) {
	files := next(t)
	addr, database := servicetest.Database(t)
	fresh := ch.OpenDB(tablestest.Options(addr, database))
	defer fresh.Close()
	if applied, err := tables.MigrateFiles(t.Context(), fresh, files); err != nil || len(applied) != 7 {
		t.Fatalf("%v, %v", applied, err)
	}
	want := definitions(t, tablestest.Connect(t, addr, database))
	for _, dir := range released(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			addr, database := tablestest.LoadReleased(t, dir)
			db := ch.OpenDB(tablestest.Options(addr, database))
			defer db.Close()
			before, err := tables.PlanFiles(t.Context(), db, database, files)
			if err != nil || before.Version < 6 || len(before.Steps) != 7-int(before.Version) || before.Steps[0].SQL == "" {
				t.Errorf("before: %+v, %v", before, err)
			}
			if rows(t, tablestest.Connect(t, addr, database), "SELECT count() FROM usage_events")[1][0] == "0" {
				t.Error("there are no rows")
			}
			var all errgroup.Group
			for range 2 {
				all.Go(func() error {
					_, err := tables.MigrateFiles(t.Context(), db, files)
					return err
				})
			}
			if err := all.Wait(); err != nil {
				t.Fatal(err)
			}
			after, err := tables.PlanFiles(t.Context(), db, database, files)
			if err != nil || after.Version != 7 || len(after.Steps) > 0 {
				t.Errorf("after: %+v, %v", after, err)
			}
			if got := definitions(t, tablestest.Connect(t, addr, database)); got != want {
				t.Errorf("upgraded they are\n%s\nand created\n%s", got, want)
			}
			// This release knows nothing of the added file, and leaves it alone.
			if applied, err := tables.Migrate(t.Context(), db); err != nil || len(applied) > 0 {
				t.Errorf("this release does %v over them: %v", applied, err)
			}
		})
	}
}

// released returns where the tables of each release are kept, the latest last.
func released(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("released/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no release is kept: %v", err)
	}
	return dirs
}

// TestReleasedFilesAreFrozen: what a release has applied stays as it is, and each release has one file more at most, so
// that the one before works with it.
func TestReleasedFilesAreFrozen(t *testing.T) {
	frozen := map[string]bool{}
	for _, dir := range released(t) {
		for line := range strings.Lines(read(t, filepath.Join(dir, tablestest.FrozenFile))) {
			hash, file, _ := strings.Cut(strings.TrimSpace(line), "  ")
			frozen[file] = true
			if got := fmt.Sprintf("%x", sha256.Sum256([]byte(read(t, file)))); got != hash {
				t.Errorf("%s was released with %s, and tables that it made are not changed by an edit of it: put it back as it was "+
					"(git checkout), and add a file of SQL with the next number that alters them", file, filepath.Base(dir))
			}
		}
	}
	files, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > len(frozen)+1 {
		t.Errorf("%d files of SQL are newer than the last release, which works with one: put them into one", len(files)-len(frozen))
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
