package ingest

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas/tables/tablestest"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(victim); config != "" {
		beVictim(config)
	}
	servicetest.Main(m)
}

// env is a database and a set of topics of a test's own.
type env struct {
	*kafkatest.Env
	t    testing.TB
	conn driver.Conn
	addr string // of ClickHouse
	db   string
	log  *servicetest.Log
}

// epoch is an instant before which nothing arrived.
var epoch = time.Now().UnixMilli()

var (
	session    = kafkatest.Session
	sessions   = kafkatest.Sessions
	messagesOf = kafkatest.Messages
	header     = kafkatest.Headers
	eachKafka  = kafkatest.Each
)

// newEnv returns an env on the embedded broker whose topics have that many partitions.
func newEnv(t testing.TB, partitions int) *env {
	t.Helper()
	return newEnvOn(t, servicetest.Kafka(t), partitions)
}

// newEnvOn is newEnv on the given broker.
func newEnvOn(t testing.TB, broker string, partitions int) *env {
	t.Helper()
	addr, database := servicetest.Database(t)
	return &env{
		Env:  kafkatest.New(t, broker, partitions),
		t:    t,
		conn: tablestest.OpenIn(t, addr, database),
		addr: addr,
		db:   database,
		log:  new(servicetest.Log),
	}
}

func partition(topic string, number int) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: number}
}

func bounds(first, end int64) kafka.Bounds { return kafka.Bounds{First: first, End: end} }

func storeOf(conn driver.Conn) store { return newStore(conn, slog.New(slog.DiscardHandler)) }

func (e *env) ledger() *Ledger { return NewLedger(e.Client, e.conn, e.Prefix) }

func (e *env) deadLetters() DeadLetters { return DeadLetters{ClickHouse: e.conn, Kafka: e.Client} }

func (e *env) config() Config {
	cfg := DefaultConfig()
	cfg.TopicPrefix = e.Prefix
	cfg.Group = e.Prefix + "ingest"
	cfg.UntilCaughtUp = true
	return cfg
}

func (e *env) deps() Deps {
	log := slog.New(slog.NewTextHandler(e.log, nil))
	return Deps{Kafka: e.client(log), ClickHouse: e.conn, Log: log}
}

// ingest runs one Ingester until it has caught up.
func (e *env) ingest(cfg Config, deps Deps) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), servicetest.Patience)
	defer cancel()
	if err := New(cfg, deps).Run(ctx); err != nil {
		e.t.Fatal(err)
	}
	if ctx.Err() != nil {
		e.t.Fatalf("not caught up after 30 s; the log has:\n%s", e.log)
	}
}

// client returns a client that logs.
func (e *env) client(log *slog.Logger) *kafka.Client {
	client := kafka.NewClient(kafka.Brokers{Addrs: []string{e.Broker}}, log)
	e.t.Cleanup(func() { client.Close() })
	return client
}

// rows returns what a query gives, a line a row, cells parted by tabs.
func (e *env) rows(query string, args ...any) []string {
	e.t.Helper()
	rows, err := e.conn.Query(e.t.Context(), "SELECT toString(tuple(*)) FROM ("+query+")", args...)
	if err != nil {
		e.t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			e.t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		e.t.Fatal(err)
	}
	return lines
}

// exec runs a statement.
func (e *env) exec(query string) {
	e.t.Helper()
	if err := e.conn.Exec(e.t.Context(), query); err != nil {
		e.t.Fatal(err)
	}
}

// stored returns the contents of both tables, whatever the batches were.
func (e *env) stored() []string {
	e.t.Helper()
	return slices.Concat(
		e.rows("SELECT * FROM usage_events FINAL ORDER BY topic, partition, offset"),
		e.rows("SELECT * FROM rejected FINAL ORDER BY topic, partition, offset"))
}

// balanced fails the test unless every partition balances, and returns the
// sums of the ledger.
func (e *env) balanced() (accepted, rejected uint64) {
	e.t.Helper()
	balances, err := Balance(e.t.Context(), e.conn, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, b := range balances {
		if !b.Balanced() {
			e.t.Errorf("%s/%d does not balance: %q", b.Topic, b.Partition, b.Differences)
		}
		accepted += b.Accepted
		rejected += b.Rejected
	}
	return accepted, rejected
}

// taken returns the sum of what the ledger has accepted, also while a batch is under way.
func (e *env) taken() (accepted uint64) {
	e.t.Helper()
	if err := e.conn.QueryRow(e.t.Context(), "SELECT sum(accepted) FROM ingest_batches FINAL").Scan(&accepted); err != nil {
		e.t.Fatal(err)
	}
	return accepted
}
