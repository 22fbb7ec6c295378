package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	usage "apportion/aggregate/clickhouse"
	"apportion/schemas/tables"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// clusterSettings are for connections to the database of a cluster. An insert is done once most replicas of each
// of its shards have it. What was issued, and where the ledger ends, is read as the last insert left it; for that,
// ClickHouse wants one insert into a table at a time. Servers ask one replica of a shard before another, so that it
// is the one that was written to. What a query looks up in a second table is asked of all shards.
var clusterSettings = clickhouse.Settings{
	"insert_quorum":                 "auto",
	"insert_quorum_parallel":        0,
	"select_sequential_consistency": 1,
	"load_balancing":                "in_order",
	"distributed_product_mode":      "global",
}

// shardSettings are for connections to a shard. Aggregation waits for the replica to catch up before it reads, so
// reading needs nothing more. Figures out of force are deleted without waiting for replicas that are away; each finds
// them by itself, and one that knows less of what is in force deletes fewer.
var shardSettings = clickhouse.Settings{
	"insert_quorum":                    "auto",
	"lightweight_deletes_sync":         1,
	"allow_nondeterministic_mutations": 1,
}

// usage returns the store of daily usage, which connects to the shards of the cluster, if there is one, when it is
// first asked for anything that they have.
func (a *app) usage(conn driver.Conn) *usage.Store {
	if a.cfg.ClickHouse.Cluster == "" {
		return usage.NewStore(conn)
	}
	return usage.NewClusterStore(conn, a.openShards)
}

// nodes returns the nodes of the cluster as the configured server knows them.
func (a *app) nodes(ctx context.Context) ([]tables.Node, error) {
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	options.Auth.Database = ""
	db := clickhouse.OpenDB(options)
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return nil, a.explain(err)
	}
	return tables.Nodes(ctx, db, a.cfg.ClickHouse.Cluster)
}

// openShards connects to every shard of the cluster, if there is one, and makes sure that each is the shard that its
// tables were created for. The command's end closes the connections.
func (a *app) openShards(ctx context.Context) ([]driver.Conn, error) {
	a.opening.Lock()
	defer a.opening.Unlock()
	if a.cfg.ClickHouse.Cluster == "" || a.shards != nil {
		return a.shards, nil
	}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	options, err := a.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	var shards []driver.Conn
	for i := 0; i < len(nodes); {
		first, of := nodes[i], *options
		of.Addr, of.Settings = nil, tables.Settings(shardSettings)
		for ; i < len(nodes) && nodes[i].Shard == first.Shard; i++ {
			of.Addr = append(of.Addr, nodes[i].Addr)
		}
		of.Auth.Database = tables.ShardDatabase(options.Auth.Database)
		if err := a.checkShard(ctx, first, of); err != nil {
			return nil, err
		}
		shard, err := clickhouse.Open(&of)
		if err != nil {
			return nil, err
		}
		shards = append(shards, shard)
		a.closers = append(a.closers, shard.Close)
	}
	a.shards = shards
	return shards, nil
}

// checkShard asks on a connection that names no database, as checkDatabase does.
func (a *app) checkShard(ctx context.Context, node tables.Node, options clickhouse.Options) error {
	database := options.Auth.Database
	options.Auth.Database = ""
	db := clickhouse.OpenDB(&options)
	defer db.Close()
	var comment string
	err := db.QueryRowContext(ctx, `SELECT comment FROM system.databases WHERE name = ?`, database).Scan(&comment)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s has no database %s; `apportion migrate` creates it on every node of the cluster", node.Addr, database)
	}
	if err != nil {
		return fmt.Errorf("asking %s, %s: %w", node.Addr, node.Layout, err)
	}
	if err := node.CheckLayout(comment); err != nil {
		return usageError{err}
	}
	return nil
}

// checkCluster makes sure that the tables are over the cluster that is configured, or over none. A command that took
// one for the other would read a part of what there is, or insert what does not stand yet.
func (a *app) checkCluster(ctx context.Context, db *sql.DB) error {
	over, there, err := tables.Over(ctx, db, a.cfg.ClickHouse.Database)
	switch configured := a.cfg.ClickHouse.Cluster; {
	case err != nil || !there || over == configured:
		return err
	case over == "":
		return usagef("clickhouse.cluster is %s, but the tables of the database %s are of one server; leave it out, or choose another clickhouse.database",
			configured, a.cfg.ClickHouse.Database)
	default:
		return usagef("the tables of the database %s are over the cluster %s; set clickhouse.cluster to it", a.cfg.ClickHouse.Database, over)
	}
}

// migrateCluster creates the databases and tables that are not there on every node of the cluster.
func (a *app) migrateCluster(ctx context.Context, options *clickhouse.Options) (applied []string, err error) {
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	return tables.MigrateCluster(ctx, a.cfg.ClickHouse.Cluster, options.Auth.Database, nodes, func(addr, database string) *sql.DB {
		of := *options
		of.Addr, of.Auth.Database = []string{addr}, database
		return clickhouse.OpenDB(&of)
	})
}
