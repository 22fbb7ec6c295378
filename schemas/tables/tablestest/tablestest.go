// Package tablestest gives tests databases that have the tables of the project. They are on the servers of
// servicetest, each is a test's own, and what the test puts there goes when it ends.
package tablestest

import (
	"database/sql"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables"
)

// Options are those of a connection as the program opens it.
func Options(addr, database string) *ch.Options {
	return &ch.Options{Addr: []string{addr}, Auth: ch.Auth{Database: database}, Settings: tables.Settings()}
}

// Open returns a connection to a new database that has the tables. Each change may alter how it is opened.
func Open(t testing.TB, changes ...func(*ch.Options)) driver.Conn {
	t.Helper()
	addr, database := servicetest.Database(t)
	return OpenIn(t, addr, database, changes...)
}

// OpenIn is Open for a database that exists and has no tables yet.
func OpenIn(t testing.TB, addr, database string, changes ...func(*ch.Options)) driver.Conn {
	t.Helper()
	db := ch.OpenDB(Options(addr, database))
	defer db.Close()
	if _, err := tables.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return Connect(t, addr, database, changes...)
}

// OpenCluster returns a connection to a new database over the two shards of a cluster, and one to each shard.
func OpenCluster(t testing.TB) (conn driver.Conn, shards []driver.Conn) {
	t.Helper()
	addr, database := servicetest.Cluster(t)
	db := ch.OpenDB(Options(addr, ""))
	defer db.Close()
	nodes, err := tables.Nodes(t.Context(), db, servicetest.ClusterName)
	if err != nil {
		t.Fatal(err)
	}
	open := func(addr, database string) *sql.DB { return ch.OpenDB(Options(addr, database)) }
	if _, err := tables.MigrateCluster(t.Context(), servicetest.ClusterName, database, nodes, open); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		shards = append(shards, Connect(t, n.Addr, tables.ShardDatabase(database)))
	}
	return Connect(t, addr, database), shards
}

// Connect returns a connection to a database. Each change may alter how it is opened.
func Connect(t testing.TB, addr, database string, changes ...func(*ch.Options)) driver.Conn {
	t.Helper()
	options := Options(addr, database)
	for _, change := range changes {
		change(options)
	}
	conn, err := ch.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
