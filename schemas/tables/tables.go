// Package tables has every ClickHouse table and view of the project, as SQL that is embedded in the binary.
// [Migrate] creates them or brings an older set up to date; the comments in the SQL say what each holds.
// [MigrateCluster] does so over a cluster. Ingest and aggregation write the tables, billing and analysts read them.
package tables

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed *.sql
var migrations embed.FS

// Migrate applies to the database what it does not have yet, in the order of the file names, and returns the
// names of the files that it applied. Statements can be repeated, so a run that was killed is simply run again, and two
// at once do no harm. Tables that are newer than this release works with are left alone: a [VersionError].
func Migrate(ctx context.Context, db *sql.DB) (applied []string, err error) {
	return migrate(ctx, db, migrations)
}

func migrate(ctx context.Context, db *sql.DB, files fs.FS) (applied []string, err error) {
	var database string
	if err := db.QueryRowContext(ctx, "SELECT currentDatabase()").Scan(&database); err != nil {
		return nil, err
	}
	stands, err := version(ctx, db, database)
	if err != nil {
		return nil, err
	}
	if works := (Window{oldest, newest(files) + 1}); stands > works.To {
		return nil, VersionError{stands, works}
	}
	provider, err := goose.NewProvider(goose.DialectClickHouse, db, files)
	if err != nil {
		return nil, fmt.Errorf("reading the embedded tables: %w", err)
	}
	results, err := provider.Up(ctx)
	for _, result := range results {
		applied = append(applied, result.Source.Path)
	}
	if err != nil {
		return applied, fmt.Errorf("creating the tables: %w", err)
	}
	return applied, nil
}
