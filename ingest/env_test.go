package ingest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/segmentio/kafka-go"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
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
	t      testing.TB
	conn   driver.Conn
	addr   string // of ClickHouse
	db     string
	broker string
	prefix string
	log    *servicetest.Log
}

var (
	prefixes atomic.Int64
	epoch    = time.Now().Unix() // before which nothing arrived
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
	e := &env{
		t:      t,
		broker: broker,
		conn:   tablestest.OpenIn(t, addr, database),
		addr:   addr,
		db:     database,
		prefix: fmt.Sprintf("t%d-%d.", epoch, prefixes.Add(1)),
		log:    new(servicetest.Log),
	}
	e.createTopics(partitions)
	return e
}

// createTopics creates the topics and waits until every partition has a leader, which Apache Kafka sees to only
// after it has answered.
func (e *env) createTopics(partitions int) {
	e.t.Helper()
	if err := topicsOf(e.broker, e.prefix, partitions).Create(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	c := newCluster(at(e.broker))
	defer c.close()
	topics := []string{e.prefix + schemas.TopicRejected, e.prefix + schemas.TopicRegistry}
	for _, t := range schemas.Types {
		topics = append(topics, e.prefix+t.Topic())
	}
	servicetest.Until(e.t, "the topics have leaders", func() bool {
		places, err := c.partitions(e.t.Context(), topics...)
		if err == nil {
			_, err = c.bounds(e.t.Context(), places)
		}
		return err == nil
	})
}

// eachKafka runs a test on the embedded broker and on Apache Kafka at once: everything must hold on both.
func eachKafka(t *testing.T, test func(t *testing.T, broker string)) {
	for name, start := range map[string]func(testing.TB) string{"embedded": servicetest.Kafka, "apache": servicetest.ApacheKafka} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// at is a cluster that lets anybody in.
func at(addrs ...string) Brokers { return Brokers{Addrs: addrs} }

// topicsOf are topics with so many partitions.
func topicsOf(broker, prefix string, partitions int) Topics {
	return Topics{Brokers: at(broker), Prefix: prefix, Partitions: partitions, Retention: 24 * time.Hour * DefaultRetentionDays}
}

func (e *env) config() Config {
	cfg := DefaultConfig()
	cfg.Brokers = at(e.broker)
	cfg.TopicPrefix = e.prefix
	cfg.Group = e.prefix + "ingest"
	cfg.UntilCaughtUp = true
	return cfg
}

func (e *env) deps() Deps {
	return Deps{ClickHouse: e.conn, Log: slog.New(slog.NewTextHandler(e.log, nil))}
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

// publish writes lines to their topics.
func (e *env) publish(lines ...string) Published {
	e.t.Helper()
	p := NewPublisher(at(e.broker), e.prefix, nil, nil)
	defer p.Close()
	done, err := p.Publish(e.t.Context(), strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		e.t.Fatal(err)
	}
	return done
}

// produce writes messages to one partition as they are.
func (e *env) produce(topic string, partition int, messages ...message) {
	e.t.Helper()
	c := newCluster(at(e.broker))
	defer c.close()
	if _, err := c.produce(e.t.Context(), newWaiter(slog.Default()), place{e.prefix + topic, partition}, messages); err != nil {
		e.t.Fatal(err)
	}
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

// read returns every record of a topic.
func (e *env) read(topic string) []kafka.Message {
	e.t.Helper()
	c := newCluster(at(e.broker))
	defer c.close()
	places, err := c.partitions(e.t.Context(), e.prefix+topic)
	if err != nil {
		e.t.Fatal(err)
	}
	all, err := c.bounds(e.t.Context(), places)
	if err != nil {
		e.t.Fatal(err)
	}
	var messages []kafka.Message
	for p, b := range all {
		for b.first < b.end {
			next, err := c.visit(e.t.Context(), p, b.first, 1<<20, time.Second, func(r *record) error {
				messages = append(messages, kafka.Message{Partition: p.partition, Offset: r.offset,
					Key: bytes.Clone(r.key), Value: bytes.Clone(r.value), Headers: headersOf(r.headers)})
				return nil
			})
			if err != nil {
				e.t.Fatal(err)
			}
			b.first = next
		}
	}
	return messages
}

// session is an agent session that lasts an hour.
func session(tenant, id string, revision int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":"agent.session","time":"2026-10-14T09:00:00Z",`+
		`"tenantid":%q,"data":{"agentId":"agent-1","startTime":"2026-10-14T08:00:00Z","endTime":"2026-10-14T09:00:00Z","revision":%d}}`,
		id, tenant, revision)
}

// sessions are n of them, of a few tenants.
func sessions(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = session(fmt.Sprintf("tenant-%d", i%5), fmt.Sprintf("s-%d", i), 0)
	}
	return lines
}

func messagesOf(lines ...string) []message {
	messages := make([]message, len(lines))
	for i, line := range lines {
		messages[i] = message{value: []byte(line)}
	}
	return messages
}

// header pairs up names and values.
func header(pairs ...string) []kafka.Header {
	var headers []kafka.Header
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, kafka.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return headers
}
