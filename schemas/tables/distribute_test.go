package tables_test

import (
	"database/sql"
	"maps"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables"
)

// A table over the shards that is right is left alone; another is replaced, without being away for whoever reads.
func TestTablesOverShards(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	addr, database := servicetest.Cluster(t)
	open := func(addr, database string) *sql.DB {
		return ch.OpenDB(&ch.Options{Addr: []string{addr}, Auth: ch.Auth{Database: database}, Settings: tables.Settings()})
	}
	server := open(addr, "")
	defer server.Close()
	nodes, err := tables.Nodes(t.Context(), server, servicetest.ClusterName)
	if err != nil {
		t.Fatal(err)
	}
	migrate := func() map[string]string {
		t.Helper()
		if _, err := tables.MigrateCluster(t.Context(), servicetest.ClusterName, database, nodes, open); err != nil {
			t.Fatal(err)
		}
		return uuids(t, server, database)
	}
	first := migrate()
	if again := migrate(); !maps.Equal(first, again) {
		t.Errorf("tables that were right have been replaced:\n%v\n%v", first, again)
	}

	stop, read := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				read <- nil
				return
			default:
			}
			var n uint64
			if err := server.QueryRow("SELECT count() FROM " + database + ".v_ingest_partitions").Scan(&n); err != nil {
				read <- err
				return
			}
		}
	}()
	for _, change := range []string{
		"COMMENT COLUMN topic 'was called so'", "ADD COLUMN more String", "DROP COLUMN unbroken", "RENAME COLUMN covered TO sum", "MODIFY COLUMN read String",
	} {
		if _, err := server.Exec("ALTER TABLE " + database + ".v_ingest_partitions " + change); err != nil {
			t.Fatal(err)
		}
		fixed := migrate()
		if fixed["v_ingest_partitions"] == first["v_ingest_partitions"] {
			t.Errorf("%s: was left alone", change)
		}
		first["v_ingest_partitions"] = fixed["v_ingest_partitions"]
		if !maps.Equal(first, fixed) {
			t.Errorf("%s: others have been replaced:\n%v\n%v", change, first, fixed)
		}
	}
	if _, err := server.Exec("CREATE OR REPLACE TABLE " + database + ".rejected AS " + database + "_shard.rejected ENGINE = Distributed(" +
		servicetest.ClusterName + ", " + database + "_shard, rejected, 0)"); err != nil {
		t.Fatal(err)
	}
	wrong := uuids(t, server, database)["rejected"]
	if migrate()["rejected"] == wrong {
		t.Error("a table that spreads its rows in another way was left alone")
	}
	close(stop)
	if err := <-read; err != nil {
		t.Errorf("reading while tables are replaced: %v", err)
	}
}

// uuids returns what tells the tables of a database from others of the same names.
func uuids(t *testing.T, db *sql.DB, database string) map[string]string {
	t.Helper()
	rows, err := db.Query("SELECT name, toString(uuid) FROM system.tables WHERE database = ?", database)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	of := map[string]string{}
	for rows.Next() {
		var name, uuid string
		if err := rows.Scan(&name, &uuid); err != nil {
			t.Fatal(err)
		}
		of[name] = uuid
	}
	if err := rows.Err(); err != nil || len(of) < 15 {
		t.Fatal(of, err)
	}
	return of
}
