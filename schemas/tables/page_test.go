package tables_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	stores "apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

var update = flag.Bool("update", false, "rewrite docs/reference/tables.md from the tables and the examples")

func TestMain(m *testing.M) { servicetest.Main(m) }

// writers are the commands that fill the tables of each file.
var writers = map[string]string{
	"001_usage_events.sql": "`ingest`, `run`",
	"002_ingest.sql":       "`ingest`, `run`",
	"003_usage_daily.sql":  "`aggregate`, `run`",
	"004_registry.sql":     "`registry`, `bill hold`, `bill release`, `seal`, `run`",
	"005_invoices.sql":     "`bill issue`, `reconcile`, `run`",
	"006_views.sql":        "-",
}

const intro = `<!-- Written by: go test ./schemas/tables -update. The text comes from the comments in schemas/tables. -->

# Tables

All of them are in one ClickHouse database and are made by [schemas/tables](../../schemas/tables). Instants are UTC;
columns that end in ` + "`_ms`" + ` are epoch milliseconds. Dates are in the tenant's zone. ` + "`goose_db_version`" + ` belongs to the
migrations. On a cluster there are [two databases](../how-to/run-on-a-cluster.md#what-is-where) on every node.

A usage figure becomes current together with its whole day. The views show current figures, and are what
[questions](#questions) are asked of; they are cheap for whoever names the tenant, and cheaper with the date and the
meter. A period such as ` + "`2026-10`" + ` can be named in place of dates, and reads all dates of the tenant; ` + "`v_events`" + ` wants
the dates in UTC besides, as its questions show. [A role for analysts](../how-to/let-analysts-in.md) reads them and can
change nothing.
`

const questions = `## Questions

Each of these is a file in [schemas/tables/examples](../../schemas/tables/examples). The results are of
[a made October](../../schemas/tables/testdata/october.sql): acme in Stockholm has 10 seats from Sub1, its primary, and
15 from Sub2, as [the registry](../../schemas/tables/testdata/october.yaml) says.
`

// TestPage holds docs/reference/tables.md to the tables as they are, and to what the examples answer.
func TestPage(t *testing.T) {
	conn := october(t)
	page := intro + schema(t, conn) + "\n" + questions + examples(t, conn)

	path := filepath.Join("..", "..", "docs", "reference", "tables.md")
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(was), "\n"), strings.Split(page, "\n")
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("%s:%d is\n%s\nand would be\n%s\nRead the difference after go test ./schemas/tables -update", path, i+1, want[i], got[i])
		}
	}
	if len(want) != len(got) {
		t.Fatalf("%s has %d lines and would have %d: go test ./schemas/tables -update", path, len(want), len(got))
	}
}

// The page on clusters shows what a first migration applies.
func TestPageOfCluster(t *testing.T) {
	page := read(t, "../../docs/how-to/run-on-a-cluster.md")
	for file := range writers {
		if !strings.Contains(page, "applied "+file+"\n") {
			t.Errorf("%s is not among what is applied", file)
		}
	}
}

// october returns a connection to a database with the tables and the made month, aggregated.
func october(t *testing.T) driver.Conn {
	t.Helper()
	conn := tablestest.Open(t)
	for statement := range strings.SplitSeq(read(t, "testdata/october.sql"), ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%v in\n%s", err, statement)
		}
	}
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		t.Fatal(err)
	}
	doc, problems := registry.Parse("testdata/october.yaml", []byte(read(t, "testdata/october.yaml")))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	described := &doc.Tenants[0]
	tenant := described.Timelines(zone, 2)
	if err := stores.WriteTenants(t.Context(), conn, stores.TenantRow{Tenant: described, Version: 1, Lines: tenant, TZVersion: "2026a"}); err != nil {
		t.Fatal(err)
	}
	acme := aggregate.Snapshot{RegistryOffset: 1, Tenants: []aggregate.Tenant{{ID: "acme"}}, Timelines: aggregate.Timelines{"acme": aggregate.Known(tenant)}}
	if _, err := aggregate.Refresh(t.Context(), clickhouse.NewStore(conn), acme, aggregate.DefaultRules(), func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	return conn
}

var creates = regexp.MustCompile(`(?m)^CREATE (?:TABLE IF NOT EXISTS|MATERIALIZED VIEW IF NOT EXISTS|OR REPLACE VIEW) (\w+)`)

// schema describes the tables and views in the order of the files.
func schema(t *testing.T, conn driver.Conn) string {
	var overview, body strings.Builder
	overview.WriteString("\n| table | written by | what it has |\n|---|---|---|\n")
	files, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	described := []string{"goose_db_version"}
	for _, file := range files {
		for _, create := range creates.FindAllStringSubmatch(read(t, file), -1) {
			name := create[1]
			described = append(described, name)
			table := rows(t, conn, `SELECT engine, comment, sorting_key, partition_key FROM system.tables WHERE database = currentDatabase() AND name = '`+name+`'`)
			engine, comment, sortingKey, partitionKey := table[1][0], table[1][1], table[1][2], table[1][3]
			if comment == "" || writers[file] == "" {
				t.Errorf("%s in %s wants a comment, and the file a command in writers", name, file)
			}
			by := writers[file]
			if strings.HasSuffix(engine, "View") {
				by = "a view"
			}
			fmt.Fprintf(&overview, "| [`%s`](#%[1]s) | %s | %s |\n", name, by, cell(comment))

			fmt.Fprintf(&body, "\n## %s\n\n%s.\n", name, sentence(comment))
			switch {
			case partitionKey != "":
				fmt.Fprintf(&body, "\n`%s`, ordered by `%s`, partitioned by `%s`.\n", engine, sortingKey, partitionKey)
			case sortingKey != "":
				fmt.Fprintf(&body, "\n`%s`, ordered by `%s`.\n", engine, sortingKey)
			}
			columns := rows(t, conn, `SELECT name, type, default_kind, comment FROM system.columns WHERE database = currentDatabase() AND table = '`+name+`' ORDER BY position`)
			if !slices.ContainsFunc(columns[1:], func(c []string) bool { return c[3] != "" }) {
				continue // a view that has the columns of a table
			}
			body.WriteString("\n| column | type | |\n|---|---|---|\n")
			for _, c := range columns[1:] {
				if c[3] == "" {
					t.Errorf("column %s of %s has no comment", c[0], name)
				}
				kind := "`" + c[1] + "`"
				if c[2] == "ALIAS" {
					kind += ", computed when read"
				}
				fmt.Fprintf(&body, "| `%s` | %s | %s |\n", c[0], kind, cell(c[3]))
			}
		}
	}
	for _, there := range rows(t, conn, `SELECT name FROM system.tables WHERE database = currentDatabase()`)[1:] {
		if !slices.Contains(described, there[0]) {
			t.Errorf("%s is described nowhere: it is in no file of schemas/tables", there[0])
		}
	}
	return overview.String() + body.String()
}

// examples shows each question, its query, and what it answers.
func examples(t *testing.T, conn driver.Conn) string {
	var b strings.Builder
	files, err := filepath.Glob("examples/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		var question, query []string
		for line := range strings.Lines(read(t, file)) {
			if text, comment := strings.CutPrefix(line, "-- "); comment {
				question = append(question, strings.TrimSpace(text))
			} else {
				query = append(query, line)
			}
		}
		asked, more, ok := strings.Cut(strings.Join(question, " "), "?")
		if !ok {
			t.Fatalf("%s does not begin with a comment that asks a question", file)
		}
		fmt.Fprintf(&b, "\n### %s?\n\n", asked)
		if more = strings.TrimSpace(more); more != "" {
			b.WriteString(more + "\n\n")
		}
		fmt.Fprintf(&b, "```sql\n%s```\n\n", strings.Join(query, ""))
		answer := rows(t, conn, strings.Join(query, ""))
		if len(answer) < 2 {
			t.Errorf("%s has no rows for the made month, so nothing is seen of it", file)
		}
		for i, row := range answer {
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
			if i == 0 {
				b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
			}
		}
	}
	return b.String()
}

// rows returns the names of the columns and then the rows of a query, as ClickHouse writes the values.
func rows(t *testing.T, conn driver.Conn, query string) [][]string {
	t.Helper()
	// One thread, so that the rows keep their order.
	ctx := ch.Context(context.Background(), ch.WithSettings(ch.Settings{"max_threads": 1}))
	result, err := conn.Query(ctx, `SELECT * APPLY(toString) FROM (`+query+`)`)
	if err != nil {
		t.Fatalf("%v in\n%s", err, query)
	}
	defer result.Close()
	var header []string
	for _, name := range result.Columns() {
		header = append(header, strings.TrimSuffix(strings.TrimPrefix(name, "toString("), ")"))
	}
	all := [][]string{header}
	for result.Next() {
		values := make([]*string, len(header))
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		if err := result.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(header))
		for i, value := range values {
			if value != nil {
				row[i] = *value
			}
		}
		all = append(all, row)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// cell makes a comment fit for a cell of a table, where < would begin HTML and | another cell.
func cell(comment string) string {
	return strings.NewReplacer("<", `\<`, "|", `\|`).Replace(comment)
}

// sentence begins with a capital, unless it begins with the name of a table.
func sentence(comment string) string {
	if first, _, _ := strings.Cut(comment, " "); comment == "" || strings.Contains(first, "_") {
		return cell(comment)
	}
	return strings.ToUpper(comment[:1]) + cell(comment[1:])
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
