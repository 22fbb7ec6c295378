package tables

import (
	"io/fs"
	"regexp"
	"strconv"
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

var numbered = regexp.MustCompile(`^(\d+)_\w+\.sql$`)

func newest(files fs.FS) (version int64) {
	names, _ := fs.Glob(files, "*.sql")
	for _, name := range names {
		if m := numbered.FindStringSubmatch(name); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			version = max(version, n)
		}
	}
	return version
}
