package tables

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"
)

// Over a cluster there are two databases on every node. ShardDatabase has the tables and views of the SQL as they
// are, each shard with its own rows. The database itself has for each of them a Distributed table of the same name,
// which reads them all, and which an insert reaches the right shard through.

// shardedBy has the tables whose rows are spread over the shards, with the expression that says to which a row
// goes. All rows of a tenant's usage are on one, so that a shard works its tenants out alone; and all rows of a
// place on Kafka, which replace each other. The other tables are small, and are on the first shard.
var shardedBy = map[string]string{
	"usage_events":           "cityHash64(tenant)",
	"event_days":             "cityHash64(tenant)",
	"events_on_several_days": "cityHash64(tenant)",
	"usage_days":             "cityHash64(tenant)",
	"usage_days_copy":        "cityHash64(tenant)",
	"usage_daily":            "cityHash64(tenant)",
	"usage_outranked":        "cityHash64(tenant)",
	"registry_tenants":       "cityHash64(tenant)",
	"rejected":               "cityHash64(topic, partition, offset)",
}

// ShardDatabase returns the name of the database that has on each node of a cluster what its shard has of a database.
func ShardDatabase(database string) string { return database + "_shard" }

// Node is a server of a cluster.
type Node struct {
	// Addr is its native address, host:port.
	Addr string
	// Shard is the number of its shard, from 1. Those of one shard are replicas of each other.
	Shard int
	// Layout says which of how many shards it is, in words: which tenants it has depends on that. It is the comment
	// of the ShardDatabase.
	Layout string
}

// wrap says on which node an error was.
func (n Node) wrap(err error) error { return fmt.Errorf("on %s, %s: %w", n.Addr, n.Layout, err) }

// Nodes returns the nodes of a cluster as a server of it knows them, by shard and replica.
func Nodes(ctx context.Context, db *sql.DB, cluster string) ([]Node, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT host_name, port, shard_num, shard_weight, internal_replication FROM system.clusters
		WHERE cluster = ? ORDER BY shard_num, replica_num`, cluster)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var nodes []Node
	var replicating []bool
	weights := map[int]string{}
	for rows.Next() {
		var host string
		var port uint16
		var shard, weight uint32
		var internal uint8
		if err := rows.Scan(&host, &port, &shard, &weight, &internal); err != nil {
			return nil, err
		}
		nodes = append(nodes, Node{Addr: net.JoinHostPort(host, strconv.Itoa(int(port))), Shard: int(shard)})
		weights[int(shard)] = strconv.Itoa(int(weight))
		replicating = append(replicating, internal == 1)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("ClickHouse knows no cluster %s; define it in remote_servers of every node", cluster)
	}
	if len(nodes) > len(weights) && slices.Contains(replicating, false) {
		return nil, fmt.Errorf("the cluster %s has replicas, so every shard of it in remote_servers needs "+
			"<internal_replication>true</internal_replication>", cluster)
	}
	var all []string
	for _, shard := range slices.Sorted(maps.Keys(weights)) {
		all = append(all, weights[shard])
	}
	for i := range nodes {
		nodes[i].Layout = fmt.Sprintf("shard %d of %d, of the weights %s",
			nodes[i].Shard, len(weights), strings.Join(all, ", "))
	}
	return nodes, nil
}

// Over returns the cluster that the tables of a database are over, empty for one whose tables are its own; there is
// false when it has none of ours.
func Over(ctx context.Context, db *sql.DB, database string) (cluster string, there bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT extract(engine_full, '^Distributed\\(\'([^\']*)') FROM system.tables
		WHERE database = ? AND name = 'usage_events'`, database).Scan(&cluster)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return cluster, err == nil, err
}

// MigrateCluster does on every node of a cluster what Migrate does on one server, and returns the names of the
// files that it applied on any. The connections that open returns may be to a database, or to none. It needs no
// ON CLUSTER: a node that is added is simply brought up to date, and one that is away does not keep the others from it.
func MigrateCluster(
	ctx context.Context, cluster, database string, nodes []Node, open func(addr, database string) *sql.DB,
) ([]string, error) {
	applied := map[string]bool{}
	var failed error
	onEach := func(do func(node Node, open func(database string) *sql.DB) error) {
		for _, node := range nodes {
			if err := do(node, func(database string) *sql.DB { return open(node.Addr, database) }); err != nil {
				failed = errors.Join(failed, node.wrap(err))
			}
		}
	}
	onEach(func(node Node, open func(database string) *sql.DB) error {
		db := open("")
		defer db.Close()
		keeper, err := hasKeeper(ctx, db)
		if err != nil {
			return err
		}
		if !keeper && slices.ContainsFunc(nodes, func(n Node) bool { return n.Shard == node.Shard && n.Addr != node.Addr }) {
			return errors.New("the shard has replicas, and no Keeper that they could agree through; configure one on every node")
		}
		if err := refuseDatabases(ctx, db, cluster, database, node); err != nil {
			return err
		}
		for _, step := range createShard(database, node) {
			if _, err := db.ExecContext(ctx, step.SQL); err != nil {
				return err
			}
		}
		shard := open(ShardDatabase(database))
		defer shard.Close()
		files, err := migrate(ctx, shard, shardFiles(keeper))
		for _, name := range files {
			applied[name] = true
		}
		return err
	})
	if failed == nil {
		onEach(func(_ Node, open func(database string) *sql.DB) error {
			db := open(database)
			defer db.Close()
			return distribute(ctx, db, cluster, database)
		})
	}
	return slices.Sorted(maps.Keys(applied)), failed
}

// hasKeeper tells a server that can replicate.
func hasKeeper(ctx context.Context, db *sql.DB) (has bool, err error) {
	return has, db.QueryRowContext(ctx, `
		SELECT count() > 0 FROM system.tables WHERE database = 'system' AND name = 'zookeeper'`).Scan(&has)
}

// refuseDatabases refuses databases of a node that are there already and are not the cluster's: the tables of one
// server, whose rows a table over the cluster would take the place of, and those of another layout, since tenants would
// from then on have rows on two shards.
func refuseDatabases(ctx context.Context, db *sql.DB, cluster, database string, node Node) error {
	if over, there, err := Over(ctx, db, database); err != nil {
		return err
	} else if there && over != cluster {
		return fmt.Errorf("the database %s has tables that are not over the cluster %s; "+
			"choose another for clickhouse.database",
			database, cluster)
	}
	var comment string
	const comments = `SELECT comment FROM system.databases WHERE name = ?`
	err := db.QueryRowContext(ctx, comments, ShardDatabase(database)).Scan(&comment)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return node.CheckLayout(comment)
}

// createShard creates both databases of a node. The names need no quoting but `…`: the configuration allows letters,
// digits and underscores alone.
func createShard(database string, node Node) []Step {
	shard := createDatabase(ShardDatabase(database))
	shard.SQL += " COMMENT '" + node.Layout + "'"
	return []Step{createDatabase(database), shard}
}

// CheckLayout returns an error unless the comment of a ShardDatabase says that it was made for the node as it is
// in the cluster now.
func (n Node) CheckLayout(comment string) error {
	if comment == n.Layout {
		return nil
	}
	return fmt.Errorf("%s is %s now, and its tables were created as %q: tenants would have rows on two shards; "+
		"put the cluster back as it was, or take everything in again into another clickhouse.database",
		n.Addr, n.Layout, comment)
}

var engine = regexp.MustCompile(`(?m)^ENGINE = (\w*MergeTree)(?:\((.+)\))?$`)

// shardFiles returns the SQL as it is for the nodes of a cluster, which replicate if they can.
func shardFiles(replicated bool) fs.FS {
	if !replicated {
		return migrations
	}
	files := fstest.MapFS{}
	names, _ := fs.Glob(migrations, "*.sql")
	for _, name := range names {
		text, _ := fs.ReadFile(migrations, name)
		files[name] = &fstest.MapFile{Data: engine.ReplaceAllFunc(text, func(clause []byte) []byte {
			m := engine.FindSubmatch(clause)
			args := `'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'`
			if len(m[2]) > 0 {
				args += ", " + string(m[2])
			}
			return fmt.Appendf(nil, "ENGINE = Replicated%s(%s)", m[1], args)
		})}
	}
	return files
}

// distribute puts a Distributed table over every table and view of a shard. It leaves those alone that are right, and
// replaces others in one step, so that nobody finds none.
func distribute(ctx context.Context, db *sql.DB, cluster, database string) error {
	steps, err := undistributed(ctx, db, cluster, database)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if _, err := db.ExecContext(ctx, step.SQL); err != nil {
			return fmt.Errorf("putting a table over %s: %w", step.Name, err)
		}
	}
	return nil
}

// undistributed returns what there is to be done for a Distributed table to be over every table and view of a shard.
func undistributed(ctx context.Context, db *sql.DB, cluster, database string) (steps []Step, err error) {
	shard := ShardDatabase(database)
	over, err := layouts(ctx, db, database)
	if err != nil {
		return nil, err
	}
	under, err := layouts(ctx, db, shard)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(under)) {
		engine := fmt.Sprintf("Distributed('%s', '%s', '%s', %s)", cluster, shard, name, cmp.Or(shardedBy[name], "0"))
		if over[name] == (layout{engine, under[name].columns}) {
			continue
		}
		steps = append(steps, Step{shard + "." + name, fmt.Sprintf(
			"CREATE OR REPLACE TABLE `%[1]s`.%[3]s AS `%[2]s`.%[3]s ENGINE = %[4]s", database, shard, name, engine)})
	}
	return steps, nil
}

// layout is what makes one table over the shards the same as another.
type layout struct{ engine, columns string }

// layouts returns those of a database's tables and views.
func layouts(ctx context.Context, db *sql.DB, database string) (map[string]layout, error) {
	rows, err := db.QueryContext(ctx, `SELECT table, any(engine_full), toString(arraySort(groupArray(
			(position, name, type, default_kind, default_expression, columns.comment, compression_codec))))
		FROM system.columns AS columns
		INNER JOIN (SELECT name AS table, engine_full FROM system.tables
			WHERE database = ? AND name NOT LIKE 'goose%' AND engine != 'MaterializedView') AS tables USING (table)
		WHERE database = ? GROUP BY table`, database, database)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	of := map[string]layout{}
	for rows.Next() {
		var name string
		var l layout
		if err := rows.Scan(&name, &l.engine, &l.columns); err != nil {
			return nil, err
		}
		of[name] = l
	}
	return of, rows.Err()
}
