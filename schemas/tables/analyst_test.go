package tables_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables"
)

// Codes of ClickHouse.
const (
	timeoutExceeded    = 159
	readonly           = 164
	memoryExceeded     = 241
	settingConstrained = 452
	accessDenied       = 497
)

// An analyst reads every view, of the own tenant alone where there is one, changes nothing, and stays within limits. The
// embedded server keeps its users in XML, so this holds what the role may do; TestRoleInSQL holds how a server is told.
func TestAnalyst(t *testing.T) {
	servicetest.Heavy(t, "it starts servers of its own")
	options := embedded.Options{Data: t.TempDir(), Progress: os.Stderr}
	server, err := embedded.StartClickHouse(t.Context(), options)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	stop := server.Stop
	t.Cleanup(func() { stop() })
	as := func(user, database string) *sql.DB {
		db := ch.OpenDB(&ch.Options{Addr: []string{server.Addr}, Auth: ch.Auth{Database: database, Username: user}})
		t.Cleanup(func() { db.Close() })
		return db
	}
	outside := as("default", "")
	if _, err := outside.Exec("CREATE DATABASE usage"); err != nil {
		t.Fatal(err)
	}
	owner := as("default", "usage")
	if _, err := tables.Migrate(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	fillAnalysts(t, owner)
	for user, tenant := range map[string]string{"everyone": "", "of_acme": "acme"} {
		analyst, err := tables.NewAnalyst(t.Context(), owner, "usage", "", tenant)
		if err != nil {
			t.Fatal(err)
		}
		profiles, users := analyst.UsersXML(user)
		options.ClickHouseProfiles += profiles
		options.ClickHouseUsers += users
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if server, err = embedded.StartClickHouse(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	stop = server.Stop

	owner = as("default", "usage")
	everyone, ofAcme := as("everyone", "usage"), as("of_acme", "usage")
	all := views(t, owner, "")
	if len(all) < 9 {
		t.Fatal(all)
	}
	for _, view := range all {
		all := count(t, owner, "SELECT count() FROM (SELECT * FROM "+view+")")
		if all == 0 {
			t.Errorf("%s has no rows, so nothing is seen of it", view)
		}
		if seen := count(t, everyone, "SELECT count() FROM (SELECT * FROM "+view+")"); seen != all {
			t.Errorf("%s: an analyst of all tenants sees %d rows of %d", view, seen, all)
		}
		if slices.Contains([]string{"v_ingest_partitions", "v_seals", "v_removals"}, view) { // of no tenant
			refused(t, ofAcme, "SELECT * FROM "+view, accessDenied)
			continue
		}
		own := count(t, owner, "SELECT count() FROM (SELECT * FROM "+view+" WHERE tenant = 'acme')")
		if own == 0 || own == all {
			t.Errorf("%s has %d rows of acme, of %d: nothing is seen of it", view, own, all)
		}
		if seen := count(t, ofAcme, "SELECT count() FROM (SELECT * FROM "+view+")"); seen != own {
			t.Errorf("%s: acme's analyst sees %d rows, and acme has %d", view, seen, own)
		}
	}
	ownAlone(t, ofAcme, 25)
	for _, db := range []*sql.DB{everyone, ofAcme} {
		refused(t, db, "INSERT INTO usage_events (tenant) VALUES ('acme')", accessDenied, readonly)
		refused(t, db, "DELETE FROM invoice_lines WHERE true", accessDenied, readonly)
		refused(t, db, "DROP TABLE usage_daily", accessDenied, readonly)
		refused(t, db, "CREATE TABLE mine (a Int8) ENGINE = Memory", accessDenied, readonly)
		refused(t, db, "SELECT 1 SETTINGS max_execution_time = 0", settingConstrained)
		refused(t, db, "SELECT 1 SETTINGS max_execution_time = 61", settingConstrained)
		refused(t, db, "SELECT 1 SETTINGS max_memory_usage = 0", settingConstrained)
		refused(t, db, "SELECT 1 SETTINGS readonly = 0", settingConstrained, readonly)
		refused(t, db, "SELECT sum(sleepEachRow(1)) FROM numbers(30) SETTINGS max_execution_time = 1, function_sleep_max_microseconds_per_block = 100000000, max_block_size = 1",
			timeoutExceeded)
		refused(t, db, "SELECT length(groupArray(number)) FROM numbers(100000000) SETTINGS max_memory_usage = 10000000", memoryExceeded)
	}
	refused(t, ofAcme, "SELECT * FROM ingest_batches", accessDenied)
	refused(t, ofAcme, "SELECT * FROM goose_db_version", accessDenied)
}

// On a cluster an analyst of a tenant asks any node, and each applies the policies of whoever asks.
func TestAnalystOfCluster(t *testing.T) {
	servicetest.Heavy(t, "it starts servers of its own")
	// The tables of another cluster say what the role is of.
	addr, database := servicetest.Cluster(t)
	open := func(addr, database string) *sql.DB {
		return ch.OpenDB(&ch.Options{Addr: []string{addr}, Auth: ch.Auth{Database: database}, Settings: tables.Settings()})
	}
	migrate := func(addr string) *sql.DB {
		t.Helper()
		db := open(addr, "")
		t.Cleanup(func() { db.Close() })
		nodes, err := tables.Nodes(t.Context(), db, servicetest.ClusterName)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tables.MigrateCluster(t.Context(), servicetest.ClusterName, database, nodes, open); err != nil {
			t.Fatal(err)
		}
		return db
	}
	analyst, err := tables.NewAnalyst(t.Context(), migrate(addr), database, servicetest.ClusterName, "acme")
	if err != nil {
		t.Fatal(err)
	}
	options := embedded.Options{Data: t.TempDir()}
	options.ClickHouseProfiles, options.ClickHouseUsers = analyst.UsersXML("of_acme")
	servers, err := servicetest.StartCluster(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { servers.Stop() })
	migrate(servers[0].Addr)
	owner := open(servers[0].Addr, database)
	t.Cleanup(func() { owner.Close() })
	fillAnalysts(t, owner)
	for _, server := range servers {
		ofAcme := ch.OpenDB(&ch.Options{Addr: []string{server.Addr}, Auth: ch.Auth{Database: database, Username: "of_acme"}})
		t.Cleanup(func() { ofAcme.Close() })
		ownAlone(t, ofAcme, 50)
		for _, view := range []string{"v_events", "usage_events", "v_usage_daily", "v_tenants"} {
			if count(t, ofAcme, "SELECT count() FROM "+view) == 0 {
				t.Errorf("%s: acme's analyst sees nothing", view)
			}
		}
	}
}

// fillAnalysts gives every view rows of two tenants.
func fillAnalysts(t *testing.T, db *sql.DB) {
	t.Helper()
	if _, err := db.Exec(`INSERT INTO registry_log (offset, command, accepted, payload) VALUES
		(0, 'seal_periods', true, '{"data": {"through": "2026-03"}}'),
		(1, 'remove_deliveries', true, '{"data": {"removal": {"counts": [{"topic": "a", "partition": 0, "count": 5}]}}}')`); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{"acme", "other"} {
		for _, statement := range []string{
			`INSERT INTO usage_events (tenant, type, id, time_ms, occurred_ms, start_ms, end_ms, agent, topic, offset) VALUES ('$t', 'agent.session', '1', 1, 1, 1, 9, 'a', '$t', 0)`,
			`INSERT INTO usage_ranked VALUES ('$t', 0, 5)`,
			`INSERT INTO ingest_batches (topic, partition, first_offset, last_offset) VALUES ('$t', 0, 0, 0)`,
			`INSERT INTO usage_days (tenant, date, pass) VALUES ('$t', '2026-10-01', 1)`,
			`INSERT INTO usage_daily (tenant, date, meter, subscription, entitled, peak, events, changes, accepted, pass)
				VALUES ('$t', '2026-10-01', 'agent_standard', '', 1, 2, 1, [3, 5, 100000, 200000], 1, 1), ('$t', '2026-10-01', 'agent_standard', 'S', 1, 2, 1, [3, 5, 100000, 200000], 0, 1)`,
			`INSERT INTO registry_tenants (tenant, terms, commitments, prices, licences, entry_points, calendar, activity) VALUES ('$t',
				[('S', 'Sales', '', '', '', '', '', '2026-01-01', '2027-01-01')], [('S', 'Sales', 'm', 1, '2026-01-01', NULL)],
				[('S', 'Sales', 'k', 'm', 1, 'SEK', '2026-01-01', NULL)], [('u', 'agent', 'standard', 'S', 'Sales', '2026-01-01', NULL)],
				[('e', 'S', 'Sales', '2026-01-01', NULL)], [(1, 0, 'S', 'Sales')], [('S', 1, true, 'Sales')])`,
			`INSERT INTO findings (tenant, period, found) VALUES ('$t', '2026-10', [('c', 'R1', 1, ['x'], 'y')])`,
			`INSERT INTO issued_periods (tenant, seq, issue) VALUES ('$t', 1, toUUID(concat('00000000-0000-0000-0000-00000000000', if('$t' = 'acme', '1', '2'))))`,
			`INSERT INTO invoice_lines (tenant, subscription, issue) VALUES ('$t', 'S', toUUID(concat('00000000-0000-0000-0000-00000000000', if('$t' = 'acme', '1', '2'))))`,
		} {
			if _, err := db.Exec(strings.ReplaceAll(statement, "$t", tenant)); err != nil {
				t.Fatalf("%v in\n%s", err, statement)
			}
		}
	}
}

func count(t *testing.T, db *sql.DB, query string) (n uint64) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return n
}

// ownAlone expects acme's analyst to see no rows of others in so many tables and views that it is granted, or more.
func ownAlone(t *testing.T, db *sql.DB, atLeast int) {
	t.Helper()
	seen := 0
	for _, name := range granted(t, db) {
		if strings.HasSuffix(name, "usage_ranked") { // the positions of passes, of no tenant
			continue
		}
		if others := count(t, db, "SELECT countIf(tenant != 'acme') FROM "+name); others > 0 {
			t.Errorf("%s: acme's analyst sees %d rows of others", name, others)
		}
		seen++
	}
	if seen < atLeast {
		t.Errorf("acme's analyst is granted %d tables and views only", seen)
	}
}

// granted returns what a user is granted to read.
func granted(t *testing.T, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.Query("SHOW GRANTS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var grant string
		if err := rows.Scan(&grant); err != nil {
			t.Fatal(err)
		}
		m := grantOfTable.FindStringSubmatch(grant)
		if m == nil {
			t.Errorf("acme's analyst has more than tables to read: %s", grant)
			continue
		}
		names = append(names, m[1])
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

var grantOfTable = regexp.MustCompile(`^GRANT SELECT ON (\w+\.\w+) TO of_acme$`)

// refused expects a statement to fail with one of the codes.
func refused(t *testing.T, db *sql.DB, statement string, codes ...int32) {
	t.Helper()
	_, err := db.ExecContext(context.Background(), statement)
	var exception *ch.Exception
	if errors.As(err, &exception) {
		for _, code := range codes {
			if exception.Code == code {
				return
			}
		}
	}
	t.Errorf("%s: %v", statement, err)
}

// A server is told in SQL: each statement is one that it understands, and they say the same of the same tables.
func TestRoleInSQL(t *testing.T) {
	addr, database := servicetest.Database(t)
	db := ch.OpenDB(&ch.Options{Addr: []string{addr}, Auth: ch.Auth{Database: database}})
	defer db.Close()
	if _, err := tables.NewAnalyst(t.Context(), db, database, "", ""); err == nil || !strings.Contains(err.Error(), "apportion migrate") {
		t.Errorf("without tables: %v", err)
	}
	if _, err := tables.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cluster, tenant string }{{"", ""}, {"", "acme.se-1"}, {"metering", "acme"}} {
		analyst, err := tables.NewAnalyst(t.Context(), db, database, c.cluster, c.tenant)
		if err != nil {
			t.Fatal(err)
		}
		policies := 0
		for _, statement := range slices.Concat(analyst.SQL(), analyst.UserSQL("anna")) {
			var formatted string
			if err := db.QueryRow("SELECT formatQuerySingleLine(?)", statement).Scan(&formatted); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
			if c.cluster != "" && !strings.Contains(formatted, "ON CLUSTER") {
				t.Errorf("not on the cluster: %s", formatted)
			}
			if strings.HasPrefix(formatted, "CREATE ROW POLICY") {
				policies++
				if !strings.Contains(formatted, "USING tenant = '"+c.tenant+"' TO ") {
					t.Errorf("another policy: %s", formatted)
				}
			}
		}
		var want int
		if err := db.QueryRow(`SELECT toInt64(count()) FROM system.tables WHERE database = ? AND engine LIKE '%MergeTree' AND name IN (
			SELECT table FROM system.columns WHERE database = ? AND name = 'tenant')`, database, database).Scan(&want); err != nil {
			t.Fatal(err)
		}
		if c.tenant == "" {
			want = 0
		}
		if policies != want || c.tenant != "" && want < 10 {
			t.Errorf("%d row policies of %v, and %d tables have rows of tenants", policies, c, want)
		}
	}
}
