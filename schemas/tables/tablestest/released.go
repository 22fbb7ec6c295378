package tablestest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// A release of the tables is kept as files: schema.sql has what creates them, as ClickHouse showed it; frozen.sha256
// the hashes of the files of SQL that had made them; and rows/TABLE.native the rows of each that had any.
const (
	schemaFile = "schema.sql"
	// FrozenFile is in the form of sha256sum.
	FrozenFile = "frozen.sha256"
	rowsFolder = "rows"
)

// LoadReleased returns a new database as a release left it.
func LoadReleased(t testing.TB, dir string) (addr, database string) {
	t.Helper()
	addr, database = servicetest.Database(t)
	schema, err := os.ReadFile(filepath.Join(dir, schemaFile))
	if err != nil {
		t.Fatal(err)
	}
	var onceFilled []string
	for _, statement := range strings.Split(strings.TrimSuffix(string(schema), ";\n"), ";\n\n") {
		if strings.HasPrefix(statement, "CREATE TABLE") {
			overHTTP(t, database, statement, nil)
		} else { // a materialized view would fill a table twice
			onceFilled = append(onceFilled, statement)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, rowsFolder, "*.native"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no rows (%v)", dir, err)
	}
	for _, file := range files {
		rows, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		table := strings.TrimSuffix(filepath.Base(file), ".native")
		overHTTP(t, database, "INSERT INTO "+table+" FORMAT Native", rows)
	}
	for _, statement := range onceFilled {
		overHTTP(t, database, statement, nil)
	}
	return addr, database
}

var created = regexp.MustCompile(
	`(?m)^CREATE (?:TABLE IF NOT EXISTS|MATERIALIZED VIEW IF NOT EXISTS|OR REPLACE VIEW) (\w+)`)

// DumpReleased writes what LoadReleased reads, of a database on the binary's server. The files of SQL that made it are
// in a folder. What is in the database must not name the database.
func DumpReleased(t testing.TB, database, folder, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	tables, hashes := []string{"goose_db_version"}, ""
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, create := range created.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(tables, create[1]) {
				tables = append(tables, create[1])
			}
		}
		hashes += fmt.Sprintf("%x  %s\n", sha256.Sum256(text), filepath.Base(file))
	}
	if err := os.RemoveAll(filepath.Join(dir, rowsFolder)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, rowsFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	schema := ""
	for _, table := range tables {
		statement := overHTTP(t, database, "SELECT formatQuery(create_table_query) FROM system.tables "+
			"WHERE database = currentDatabase() AND name = '"+table+"' FORMAT TSVRaw", nil)
		schema += strings.TrimSpace(strings.ReplaceAll(string(statement), database+".", "")) + ";\n\n"
		if !bytes.HasPrefix(statement, []byte("CREATE TABLE")) {
			continue
		}
		if rows := overHTTP(t, database, "SELECT * FROM "+table+" FORMAT Native", nil); len(rows) > 0 {
			write(t, filepath.Join(dir, rowsFolder, table+".native"), rows)
		}
	}
	write(t, filepath.Join(dir, schemaFile), []byte(strings.TrimSuffix(schema, "\n")))
	write(t, filepath.Join(dir, FrozenFile), []byte(hashes))
}

func write(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// overHTTP sends a statement to the binary's server, with rows where it inserts any, and returns the answer.
func overHTTP(t testing.TB, database, statement string, rows []byte) []byte {
	t.Helper()
	query := url.Values{"database": {database}, "max_query_size": {"1000000"}}
	body := []byte(statement)
	if rows != nil {
		query.Set("query", statement)
		body = rows
	}
	response, err := http.Post("http://"+servicetest.ClickHouseHTTP(t)+"/?"+query.Encode(), "", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v %s in\n%s", err, answer, statement)
	}
	return answer
}
