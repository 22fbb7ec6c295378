package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	usage "apportion/aggregate/clickhouse"
	stores "apportion/billing/clickhouse"
	"apportion/billing/service"
	"apportion/cmd/apportion/config"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/retry"
	"apportion/schemas/tables"
)

// connections are those of a command to the servers that are configured, opened when they are first asked for.
type connections struct {
	cfg config.Config
	log *slog.Logger
	// onFailpoint, nil but in tests, is told of every step of an issue.
	onFailpoint func(step string)

	// lasting is whether the command runs until it is interrupted: its log says how it is.
	lasting      bool
	schemaLogged sync.Once

	conn    driver.Conn // see clickhouse
	opening sync.Mutex  // of those below
	client  *kafka.Client
	shards  []driver.Conn // see openShards
	closers []func() error
}

// failpoint says that an issue has come to a step. Tests find the steps in the source.
func (c *connections) failpoint(step string) {
	if c.onFailpoint != nil {
		c.onFailpoint(step)
	}
}

// close closes what is open.
func (c *connections) close() (err error) {
	for _, closer := range c.closers {
		err = errors.Join(err, closer())
	}
	return err
}

// kafka returns the client of Kafka, which the command's end closes, or says how to configure it.
func (c *connections) kafka() (*kafka.Client, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.client == nil {
		brokers, err := c.brokers()
		if err != nil {
			return nil, err
		}
		c.client = kafka.NewClient(brokers, c.log)
		c.closers = append(c.closers, c.client.Close)
	}
	return c.client, nil
}

// brokers returns the Kafka cluster, or says how to configure it.
func (c *connections) brokers() (brokers kafka.Brokers, err error) {
	k := c.cfg.Kafka
	if len(k.Brokers) == 0 {
		return brokers, notConfigured("Kafka", "kafka.brokers")
	}
	brokers.Addrs = k.Brokers
	if brokers.TLS, err = k.TLS.Load("kafka.tls"); err != nil {
		return brokers, usageError{err}
	}
	if k.SASL.Mechanism != "" {
		if brokers.SASL, err = kafka.SASL(k.SASL.Mechanism, k.SASL.User, k.SASL.Password); err != nil {
			return brokers, usagef("kafka.sasl: %w", err)
		}
		c.warnOfClearPassword()
	}
	return brokers, nil
}

// warnOfClearPassword says that whoever reads along learns Kafka's password, if that is so.
func (c *connections) warnOfClearPassword() {
	if k := c.cfg.Kafka; k.SASL.Mechanism == "PLAIN" && !k.TLS.Enabled {
		c.log.Warn("kafka.sasl.mechanism PLAIN sends the password in the clear; set kafka.tls.enabled, or use SCRAM-SHA-512")
	}
}

// topic returns the name that a topic of the event contract has here.
func (c *connections) topic(name string) string { return c.cfg.Kafka.TopicPrefix + name }

// clickhouseOptions returns what both interfaces of the driver connect with, or says how to configure it.
func (c *connections) clickhouseOptions() (*clickhouse.Options, error) {
	to := c.cfg.ClickHouse
	if len(to.Addr) == 0 {
		return nil, notConfigured("ClickHouse", "clickhouse.addr")
	}
	secure, err := to.TLS.Load("clickhouse.tls")
	if err != nil {
		return nil, usageError{err}
	}
	options := &clickhouse.Options{
		Addr:         to.Addr,
		TLS:          secure,
		Auth:         clickhouse.Auth{Database: to.Database, Username: to.User, Password: to.Password},
		Compression:  &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
		Settings:     tables.Settings(),
		MaxOpenConns: 64, // ingest uses one for each partition
		MaxIdleConns: 16,
	}
	if to.Cluster != "" {
		options.Settings = tables.Settings(clusterSettings)
	}
	return options, nil
}

// clickhouse returns the connection to ClickHouse, which the command's end closes, once the server has answered.
func (c *connections) clickhouse(ctx context.Context) (driver.Conn, error) {
	if c.conn != nil {
		return c.conn, nil
	}
	options, err := c.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	if err := c.checkDatabase(ctx, *options); err != nil {
		return nil, err
	}
	conn, err := c.openClickHouse()
	if err != nil {
		return nil, err
	}
	return conn, c.checkSchema(ctx)
}

// openClickHouse returns the same for those that wait for the server by themselves.
func (c *connections) openClickHouse() (driver.Conn, error) {
	if c.conn != nil {
		return c.conn, nil
	}
	options, err := c.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	if c.conn, err = clickhouse.Open(options); err != nil {
		return nil, err
	}
	c.closers = append(c.closers, c.conn.Close)
	return c.conn, nil
}

// checkDatabase makes sure that the server answers and has the database, and so has every shard of the cluster, if
// there is one. It asks on a connection that names none,
// because the embedded server ends at a handshake that it refuses, and is away until it is started again.
func (c *connections) checkDatabase(ctx context.Context, options clickhouse.Options) error {
	database := options.Auth.Database
	options.Auth.Database = ""
	db := clickhouse.OpenDB(&options)
	defer db.Close()
	there, err := c.checkCluster(ctx, db)
	if err != nil {
		return err
	}
	if !there {
		var n uint64
		const databases = "SELECT count() FROM system.databases WHERE name = ?"
		if err := db.QueryRowContext(ctx, databases, database).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("ClickHouse has no database %s; `apportion migrate` creates it", database)
		}
	}
	_, err = c.openShards(ctx)
	return err
}

// unknownTable is ClickHouse's code for a table that does not exist.
const unknownTable = 60

// checkSchema refuses tables of a version that this release does not work with, of whichever shard.
func (c *connections) checkSchema(ctx context.Context) error {
	conns := []driver.Conn{c.conn}
	if c.cfg.ClickHouse.Cluster != "" {
		var err error
		if conns, err = c.openShards(ctx); err != nil {
			return err
		}
	}
	for i, conn := range conns {
		var version int64
		var refused *clickhouse.Exception
		err := conn.QueryRow(ctx, tables.VersionQuery).Scan(&version)
		if errors.As(err, &refused) && refused.Code == unknownTable {
			version, err = 0, nil
		}
		if err != nil {
			return c.connectError(err)
		}
		if err := tables.Works().Check(version); err != nil {
			if len(conns) > 1 {
				err = fmt.Errorf("on shard %d: %w", i+1, err)
			}
			return retry.Permanent(schemaError(err))
		}
		c.logSchema(version)
	}
	return nil
}

// schemaError gives a version of tables that is not worked with its code, and says what to do. Other errors stay.
func schemaError(err error) error {
	var version tables.VersionError
	if !errors.As(err, &version) {
		return err
	}
	code := schemas.SchemaOlder
	if version.Newer() {
		code = schemas.SchemaNewer
	}
	return &service.Error{Code: code, Message: fmt.Sprintf("%v (release %s, %s); %s", err, release, code, code.Advice())}
}

// ClickHouse's codes for a setting that the user's profile fixes: all of them, or one by a constraint.
const (
	readonlyProfile    = 164
	settingConstrained = 452
)

// connectError says what to do about an error of connecting to ClickHouse.
func (c *connections) connectError(err error) error {
	var refused *clickhouse.Exception
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && (refused.Code == readonlyProfile || refused.Code == settingConstrained):
		return retry.Permanent(fmt.Errorf(
			"ClickHouse does not let the user %s have a setting that a right result depends on: %w; "+
				"lift `readonly` or the constraint in the user's profile, or set clickhouse.user to another",
			c.cfg.ClickHouse.User, err))
	case errors.As(err, &refused) && refused.Code == authenticationFailed:
		why, _, _ := strings.Cut(refused.Message, "\n") // then comes where some others keep their passwords
		return retry.Permanent(fmt.Errorf(
			"ClickHouse does not let the user %s in: %s; set clickhouse.user and clickhouse.password",
			c.cfg.ClickHouse.User, why))
	case errors.As(err, &refused):
		return err
	}
	return fmt.Errorf(
		"ClickHouse at %s does not answer: %w; check clickhouse.addr, or start it with `apportion dev --data DIR`",
		strings.Join(c.cfg.ClickHouse.Addr, ", "), err)
}

func notConfigured(server, key string) error {
	return usagef("no %s configured: start `apportion dev --data DIR` and pass --config DIR/apportion.yaml, or set %s",
		server, key)
}

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
// reading needs nothing more. Superseded figures are deleted without waiting for replicas that are away; each finds
// them by itself, and one that knows less of what is current deletes fewer.
var shardSettings = clickhouse.Settings{
	"insert_quorum":                    "auto",
	"lightweight_deletes_sync":         1,
	"allow_nondeterministic_mutations": 1,
}

// usage returns the store of daily usage, which connects to the shards of the cluster, if there is one, when it is
// first asked for anything that they have.
func (c *connections) usage(conn driver.Conn) *usage.Store {
	if c.cfg.ClickHouse.Cluster == "" {
		return usage.NewStore(conn)
	}
	return usage.NewClusterStore(conn, c.openShards)
}

// nodes returns the nodes of the cluster as the configured server knows them.
func (c *connections) nodes(ctx context.Context) ([]tables.Node, error) {
	options, err := c.clickhouseOptions()
	if err != nil {
		return nil, err
	}
	options.Auth.Database = ""
	db := clickhouse.OpenDB(options)
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return nil, c.connectError(err)
	}
	return tables.Nodes(ctx, db, c.cfg.ClickHouse.Cluster)
}

// openShards connects to every shard of the cluster, if there is one, and makes sure that each is the shard that its
// tables were created for. The command's end closes the connections.
func (c *connections) openShards(ctx context.Context) ([]driver.Conn, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.cfg.ClickHouse.Cluster == "" || c.shards != nil {
		return c.shards, nil
	}
	nodes, err := c.nodes(ctx)
	if err != nil {
		return nil, err
	}
	options, err := c.clickhouseOptions()
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
		if err := c.checkShard(ctx, first, of); err != nil {
			return nil, err
		}
		shard, err := clickhouse.Open(&of)
		if err != nil {
			return nil, err
		}
		shards = append(shards, shard)
		c.closers = append(c.closers, shard.Close)
	}
	c.shards = shards
	return shards, nil
}

// checkShard asks on a connection that names no database, as checkDatabase does.
func (c *connections) checkShard(ctx context.Context, node tables.Node, options clickhouse.Options) error {
	database := options.Auth.Database
	options.Auth.Database = ""
	db := clickhouse.OpenDB(&options)
	defer db.Close()
	var comment string
	err := db.QueryRowContext(ctx, `SELECT comment FROM system.databases WHERE name = ?`, database).Scan(&comment)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s has no database %s; `apportion migrate` creates it on every node of the cluster",
			node.Addr, database)
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
// It reports also whether there are any.
func (c *connections) checkCluster(ctx context.Context, db *sql.DB) (there bool, err error) {
	over, there, err := tables.Over(ctx, db, c.cfg.ClickHouse.Database)
	switch configured := c.cfg.ClickHouse.Cluster; {
	case err != nil:
		return false, c.connectError(err)
	case !there || over == configured:
		return there, nil
	case over == "":
		return there, usagef("clickhouse.cluster is %s, but the tables of the database %s are of one server; "+
			"leave it out, or choose another clickhouse.database",
			configured, c.cfg.ClickHouse.Database)
	default:
		return there, usagef("the tables of the database %s are over the cluster %s; set clickhouse.cluster to it",
			c.cfg.ClickHouse.Database, over)
	}
}

// migrateCluster creates the databases and tables that are not there on every node of the cluster.
func (c *connections) migrateCluster(ctx context.Context, options *clickhouse.Options) (applied []string, err error) {
	nodes, err := c.nodes(ctx)
	if err != nil {
		return nil, err
	}
	open := func(addr, database string) *sql.DB {
		of := *options
		of.Addr, of.Auth.Database = []string{addr}, database
		return clickhouse.OpenDB(&of)
	}
	applied, err = tables.MigrateCluster(ctx, c.cfg.ClickHouse.Cluster, options.Auth.Database, nodes, open)
	return applied, schemaError(err)
}

// first connects to the database that has the rows of the tables which are not spread over the cluster, if there is
// one.
func (c *connections) first(conn driver.Conn) stores.First {
	return func(ctx context.Context) (driver.Conn, error) {
		if c.cfg.ClickHouse.Cluster == "" {
			return conn, nil
		}
		shards, err := c.openShards(ctx)
		if err != nil {
			return nil, err
		}
		return shards[0], nil
	}
}

// invoiceLines returns the lines of what is issued.
func (c *connections) invoiceLines(conn driver.Conn) *stores.Lines {
	lines := stores.NewLines(conn, c.first(conn))
	lines.Failpoint = c.failpoint
	return lines
}

// verdicts returns the tables of what was decided on commands.
func (c *connections) verdicts(conn driver.Conn) *stores.RegistryLog {
	log := stores.NewRegistryLog(conn, c.first(conn))
	log.Failpoint = c.failpoint
	return log
}
