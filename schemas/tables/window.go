package tables

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Window has the versions of the schema that a release works with, both ends included. The version of a schema is the
// number of the last file of SQL that was applied.
type Window struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// oldest is the first version that has all that this release reads and writes.
const oldest = 6

// Works returns the versions that this release works with. It ends one after the newest that this release makes: each
// release has one file at most, which takes nothing away that the release before it uses. So either can be stopped and
// started while tables are newer than it, and what was upgraded can be put back by one release.
func Works() Window { return Window{oldest, Newest() + 1} }

// Has reports whether a version is in the window.
func (w Window) Has(version int64) bool { return w.From <= version && version <= w.To }

func (w Window) String() string {
	return strconv.FormatInt(w.From, 10) + " to " + strconv.FormatInt(w.To, 10)
}

// Newest returns the version that [Migrate] brings tables to.
func Newest() int64 { return newest(migrations) }

func newest(files fs.FS) (version int64) {
	names, _ := fs.Glob(files, "*.sql")
	for _, name := range names {
		version = max(version, numberOf(name))
	}
	return version
}

// numberOf returns the version that a file of SQL brings tables to.
func numberOf(name string) int64 {
	digits, _, _ := strings.Cut(name, "_")
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

// version returns that of the tables of a database, 0 where it has none of ours or is not there.
func version(ctx context.Context, db *sql.DB, database string) (version int64, err error) {
	var there bool
	if err := db.QueryRowContext(ctx, `
		SELECT count() > 0 FROM system.tables WHERE database = ? AND name = 'goose_db_version'`,
		database).Scan(&there); err != nil || !there {
		return 0, err
	}
	query := strings.Replace(VersionQuery, "FROM ", "FROM `"+database+"`.", 1)
	return version, db.QueryRowContext(ctx, query).Scan(&version)
}

// VersionQuery asks for the version of the tables of the database that a connection is to; of those over a cluster,
// that of a shard. It fails with ClickHouse's code for a table that does not exist where there is none of ours.
const VersionQuery = `SELECT max(version_id) FROM goose_db_version WHERE is_applied`

// VersionError says that tables are of a version that is not in a window.
type VersionError struct {
	Version int64
	Window  Window
}

// Check returns a [VersionError] where the window does not have the version.
func (w Window) Check(version int64) error {
	if w.Has(version) {
		return nil
	}
	return VersionError{version, w}
}

// Newer tells tables that are too new from those that are too old.
func (e VersionError) Newer() bool { return e.Version > e.Window.To }

func (e VersionError) Error() string {
	return fmt.Sprintf("the tables are of version %d of the schema, and this release works with %v", e.Version, e.Window)
}
