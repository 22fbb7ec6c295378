package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
	"apportion/schemas/tables/tablestest"
)

// mixed are 180 deliveries: 140 good and 40 bad ones.
func mixed() []string { return mixedOf(120, 20) }

// mixedOf are as many deliveries of sessions, and as many threes of a good and two bad ones.
func mixedOf(good, threes int) []string {
	lines := sessions(good)
	for i := range threes {
		lines = append(lines,
			fmt.Sprintf(`{"specversion":"1.0","id":"c%d","source":"/c","type":"connect.usage","time":"2026-%02d-14T08:00:00Z","tenantid":"t%d","data":{"channel":"sms","quantity":%d.5}}`, i, i%12+1, i%3, i+1),
			fmt.Sprintf(`{"specversion":"1.0","id":"c%d","source":"/c","type":"connect.usage","tenantid":"t%d"}`, i, i%3),
			"{")
	}
	return lines
}

func TestBatchesDoNotMatter(t *testing.T) { eachKafka(t, testBatchesDoNotMatter) }

func testBatchesDoNotMatter(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 2)
	good, threes := servicetest.Draws(15, 120), servicetest.Draws(5, 20)
	e.Publish(mixedOf(good, threes)...)
	var want []string
	for _, rows := range []int{1000, 7, 1} {
		cfg := e.config()
		cfg.BatchRows = rows
		cfg.FetchBytes = 10 * rows // smaller than a batch of the broker's
		e.ingest(cfg, e.deps())
		accepted, rejected := e.balanced()
		if accepted != uint64(good+threes) || rejected != uint64(2*threes) {
			t.Errorf("by %d rows: accepted %d, rejected %d", rows, accepted, rejected)
		}
		got := e.stored()
		if want == nil {
			want = got
		}
		if len(got) != good+3*threes || !slices.Equal(got, want) {
			t.Errorf("by %d rows the tables have %d rows, and others than before", rows, len(got))
		}
		e.exec("TRUNCATE TABLE ingest_batches")
	}
}

// TestManyMonthsInOneBatch covers more partitions of the table than the 100 that
// ClickHouse takes in one insert by default.
func TestManyMonthsInOneBatch(t *testing.T) { eachKafka(t, testManyMonthsInOneBatch) }

func testManyMonthsInOneBatch(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 1)
	var lines []string
	for year := range 10 {
		for month := range 12 {
			lines = append(lines, fmt.Sprintf(`{"specversion":"1.0","id":"%d-%d","source":"/c","type":"connect.usage",`+
				`"time":"%d-%02d-14T08:00:00Z","tenantid":"t","data":{"channel":"sms","quantity":1}}`, year, month, 2019+year, month+1))
		}
	}
	e.Publish(lines...)
	e.ingest(e.config(), e.deps())
	if accepted, _ := e.balanced(); accepted != 120 {
		t.Errorf("accepted %d", accepted)
	}
}

// failing is a connection on which some inserts fail.
type failing struct {
	driver.Conn
	fails func(query string) error
}

func (f failing) PrepareBatch(ctx context.Context, query string, o ...driver.PrepareBatchOption) (driver.Batch, error) {
	if err := f.fails(query); err != nil {
		return nil, err
	}
	return f.Conn.PrepareBatch(ctx, query, o...)
}

func (f failing) Exec(ctx context.Context, query string, args ...any) error {
	if err := f.fails(query); err != nil {
		return err
	}
	return f.Conn.Exec(ctx, query, args...)
}

// TestCrashBetweenInsertAndLedger ends an Ingester at every step of a batch in
// turn, and has another one go on.
func TestCrashBetweenInsertAndLedger(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	eachKafka(t, testCrashBetweenInsertAndLedger)
}

func testCrashBetweenInsertAndLedger(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Publish(mixed()...)
	for _, table := range []string{"usage_events", "rejected", "ingest_batches"} {
		for after := range 3 {
			ctx, crash := context.WithCancel(t.Context())
			deps := e.deps()
			var n atomic.Int64
			deps.ClickHouse = failing{e.conn, func(query string) error {
				if strings.HasPrefix(query, "INSERT INTO "+table) && n.Add(1) > int64(after) {
					crash()
					return errors.New("crashed")
				}
				return nil
			}}
			cfg := e.config()
			cfg.BatchRows = 10
			if err := New(cfg, deps).Run(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.ingest(e.config(), e.deps())
	if accepted, rejected := e.balanced(); accepted != 140 || rejected != 40 {
		t.Errorf("accepted %d, rejected %d", accepted, rejected)
	}
	if got := len(e.stored()); got != 180 {
		t.Errorf("the tables have %d rows", got)
	}
}

func TestClickHouseGoesAwayAndComesBack(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	eachKafka(t, testClickHouseGoesAwayAndComesBack)
}

func testClickHouseGoesAwayAndComesBack(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 2)
	o := embedded.Options{Data: t.TempDir()}
	server, err := embedded.StartClickHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	e.conn = tablestest.OpenIn(t, server.Addr, "default")
	_, port, _ := strings.Cut(server.Addr, ":")
	fmt.Sscan(port, &o.ClickHousePort)

	cfg := e.config()
	cfg.UntilCaughtUp, cfg.BatchAge = false, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	e.Publish(sessions(100)...)
	servicetest.Until(t, "100 deliveries are in", func() bool { return e.taken() == 100 })

	syscall.Kill(server.PID(), syscall.SIGKILL)
	server.Stop()
	e.Publish(sessions(200)...)
	servicetest.Until(t, "the log says what is awaited", func() bool { return strings.Contains(e.log.String(), "waiting for ClickHouse") })
	if server, err = embedded.StartClickHouse(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	servicetest.Until(t, "300 deliveries are in", func() bool { return e.taken() == 300 })
	if !strings.Contains(e.log.String(), "ClickHouse answers again") {
		t.Errorf("the log has\n%s", e.log)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestKafkaGoesAwayAndComesBack(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	t.Parallel() // most of it is waiting
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		o := embedded.Options{Data: t.TempDir()}
		var k *embedded.Kafka
		start := func() {
			t.Helper()
			var err error
			if k, err = embedded.StartKafka(o, kfake.GroupMinSessionTimeout(100*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}
		start()
		defer func() { k.Stop() }()
		_, port, _ := strings.Cut(k.Addr, ":")
		fmt.Sscan(port, &o.KafkaPort)
		kafkaGoesAwayAndComesBack(t, k.Addr, func() { k.Stop() }, start)
	})
	t.Run("apache", func(t *testing.T) {
		t.Parallel()
		a := servicetest.StartApacheKafka(t)
		start := func() {
			t.Helper()
			if err := a.Start(); err != nil {
				t.Fatal(err)
			}
		}
		kafkaGoesAwayAndComesBack(t, a.Addr, a.Stop, start)
		kafkaGoesAwayAndComesBack(t, a.Addr, a.Kill, start)
	})
}

func kafkaGoesAwayAndComesBack(t *testing.T, broker string, stop, start func()) {
	e := newEnvOn(t, broker, 2)
	cfg := e.config()
	cfg.UntilCaughtUp, cfg.BatchAge = false, 10*time.Millisecond
	cfg.SessionTimeout = time.Second // which the group waits for before it divides up again
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	e.Publish(sessions(100)...)
	servicetest.Until(t, "100 deliveries are in", func() bool { return e.taken() == 100 })
	stop()
	servicetest.Until(t, "the log says what is awaited", func() bool { return strings.Contains(e.log.String(), "waiting for Kafka at "+e.Broker) })
	start()
	e.Publish(sessions(200)...)
	servicetest.Until(t, "300 deliveries are in", func() bool { return e.taken() == 300 })
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	e.balanced()
}

func TestStopsWhileItsServicesAreAway(t *testing.T) {
	e := newEnv(t, 1)
	deps := e.deps()
	deps.Kafka = kafka.NewClient(kafka.Brokers{Addrs: []string{"127.0.0.1:1"}}, deps.Log)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(e.config(), deps).Run(ctx) }()
	servicetest.Until(t, "the log says what is awaited", func() bool { return strings.Contains(e.log.String(), "waiting for Kafka at 127.0.0.1:1") })
	began := time.Now()
	stop()
	if err := <-ran; err != nil || time.Since(began) > time.Minute {
		t.Errorf("stopped after %v with %v", time.Since(began), err)
	}
}

// TestStopsWhileClickHouseHangs has a server that keeps its connections and
// says nothing, from before the start or from the middle of a batch on.
func TestStopsWhileClickHouseHangs(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	for _, hangsAt := range []string{"the start", "an insert"} {
		t.Run(hangsAt, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, 1)
			server, err := embedded.StartClickHouse(t.Context(), embedded.Options{Data: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Stop()
			e.conn = tablestest.OpenIn(t, server.Addr, "default")
			e.Publish(sessions(10)...)
			hang := sync.OnceFunc(func() { syscall.Kill(server.PID(), syscall.SIGSTOP) })
			defer syscall.Kill(server.PID(), syscall.SIGCONT)
			hung := make(chan bool, 10)
			deps := e.deps()
			deps.ClickHouse = failing{e.conn, func(query string) error {
				hang()
				hung <- true
				return nil
			}}
			if hangsAt == "the start" {
				hang()
				hung <- true
			}
			ctx, stop := context.WithCancel(t.Context())
			ran := make(chan error)
			go func() { ran <- New(e.config(), deps).Run(ctx) }()
			<-hung
			time.Sleep(200 * time.Millisecond)
			began := time.Now()
			stop()
			if err := <-ran; err != nil || time.Since(began) > time.Minute {
				t.Errorf("stopped after %v with %v", time.Since(began), err)
			}
		})
	}
}

func TestTwoIngestersShare(t *testing.T) { eachKafka(t, testTwoIngestersShare) }

func testTwoIngestersShare(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 4)
	cfg := e.config()
	cfg.UntilCaughtUp, cfg.BatchAge = false, 10*time.Millisecond
	type member struct {
		stop context.CancelFunc
		ran  chan error
		seen map[int]bool
	}
	var mu sync.Mutex
	join := func() *member {
		ctx, stop := context.WithCancel(t.Context())
		m := &member{stop, make(chan error), map[int]bool{}}
		deps := e.deps()
		deps.Progress = func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			m.seen[p.Partition] = true
		}
		go func() { m.ran <- New(cfg, deps).Run(ctx) }()
		return m
	}
	sent := uint64(0)
	feed := func() {
		for partition := range 4 {
			e.Produce(schemas.TopicAgent, partition, messagesOf(session("t", fmt.Sprint(sent), 0))...)
			sent++
		}
	}
	arrived := func() bool { return e.taken() == sent }
	seen := func(m *member) int { mu.Lock(); defer mu.Unlock(); return len(m.seen) }

	one := join()
	feed()
	servicetest.Until(t, "one member has it all", func() bool { return arrived() && seen(one) == 4 })
	two := join()
	servicetest.Until(t, "the other member has a part", func() bool { feed(); return seen(two) >= 2 })
	servicetest.Until(t, "both together have it all", arrived)
	began := time.Now()
	one.stop()
	if err := <-one.ran; err != nil || time.Since(began) > time.Minute {
		t.Errorf("left after %v with %v", time.Since(began), err)
	}
	servicetest.Until(t, "the other member has all", func() bool { feed(); return seen(two) == 4 })
	servicetest.Until(t, "all is in", arrived)
	two.stop()
	if err := <-two.ran; err != nil {
		t.Error(err)
	}
	if got := len(e.stored()); uint64(got) != sent {
		t.Errorf("%d of %d are stored", got, sent)
	}
}

func TestEveryCompression(t *testing.T) { eachKafka(t, testEveryCompression) }

func testEveryCompression(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		client, err := kgo.NewClient(kgo.SeedBrokers(e.Broker), kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(e.Prefix+schemas.TopicAgent))
		if err != nil {
			t.Fatal(err)
		}
		var records []*kgo.Record
		for i := range 100 {
			records = append(records, kgo.StringRecord(session("t", fmt.Sprint(name, i), 0)))
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	e.ingest(e.config(), e.deps())
	if accepted, rejected := e.balanced(); accepted != 500 || rejected != 0 {
		t.Errorf("accepted %d, rejected %d", accepted, rejected)
	}
}

// TestTransactions has deliveries that were taken back by their producer: they
// never were deliveries, and their offsets count as taken in.
func TestTransactions(t *testing.T) { eachKafka(t, testTransactions) }

func testTransactions(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(e.Broker), kgo.TransactionalID(e.Prefix), kgo.DefaultProduceTopic(e.Prefix+schemas.TopicAgent))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for j := range 3 {
			r := kgo.StringRecord(session("t", fmt.Sprintf("%v-%d-%d", end, i, j), 0))
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	for _, rows := range []int{1000, 1} {
		cfg := e.config()
		cfg.BatchRows, cfg.FetchBytes = rows, rows
		e.ingest(cfg, e.deps())
		if accepted, rejected := e.balanced(); accepted != 6 || rejected != 0 {
			t.Errorf("accepted %d, rejected %d", accepted, rejected)
		}
		if got := e.rows("SELECT count(), countIf(startsWith(id, 'true')) FROM usage_events FINAL"); got[0] != "(6,6)" {
			t.Errorf("stored, and committed: %s", got)
		}
		e.exec("TRUNCATE TABLE ingest_batches")
	}
}

// TestAbortedAtTheEnd has nothing but what was taken back after the last delivery.
func TestAbortedAtTheEnd(t *testing.T) { eachKafka(t, testAbortedAtTheEnd) }

func testAbortedAtTheEnd(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(5)...)...)
	e.ingest(e.config(), e.deps())
	client, err := kgo.NewClient(kgo.SeedBrokers(e.Broker), kgo.TransactionalID(e.Prefix), kgo.DefaultProduceTopic(e.Prefix+schemas.TopicAgent))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), kgo.StringRecord(session("t", "open", 0))).FirstErr(); err != nil {
		t.Fatal(err)
	}
	e.ingest(e.config(), e.deps()) // it is not waited for while it is open
	if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	e.ingest(e.config(), e.deps())
	if got := e.rows("SELECT last_offset, read FROM v_ingest_partitions"); !slices.Equal(got, []string{"(6,5)"}) {
		t.Errorf("the ledger ends with %v, want the mark of the end of the transaction at 6, and 5 read", got)
	}
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(2)...)...)
	e.ingest(e.config(), e.deps())
	if accepted, rejected := e.balanced(); accepted != 7 || rejected != 0 {
		t.Errorf("accepted %d, rejected %d", accepted, rejected)
	}
}

// TestPartitionAdded has a topic gain a partition while an Ingester runs, which takes it in without a restart.
func TestPartitionAdded(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	t.Parallel() // most of it is waiting
	eachKafka(t, testPartitionAdded)
}

func testPartitionAdded(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	cfg := e.config()
	cfg.UntilCaughtUp, cfg.BatchAge = false, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	servicetest.Until(t, "10 deliveries are in", func() bool { return e.taken() == 10 })
	e.AddPartition(schemas.TopicAgent)
	e.Produce(schemas.TopicAgent, 1, messagesOf(sessions(5)...)...)
	servicetest.Until(t, "15 deliveries are in", func() bool { return e.taken() == 15 })
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	e.balanced()
}

func TestRetentionOvertakes(t *testing.T) { eachKafka(t, testRetentionOvertakes) }

func testRetentionOvertakes(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.ingest(e.config(), e.deps())
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.DeleteRecords(schemas.TopicAgent, 15)
	e.ingest(e.config(), e.deps())
	if !strings.Contains(e.log.String(), "level=ERROR") || !strings.Contains(e.log.String(), "first_lost=10 last_lost=14") {
		t.Errorf("the log has\n%s", e.log)
	}
	balances, err := Balance(t.Context(), e.conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(balances) != 1 || !slices.Equal(balances[0].Differences, []string{
		e.Prefix + "usage.agent.v1/0: no batch of the ledger has the offsets 10-14"}) || balances[0].Accepted != 15 {
		t.Errorf("the balance is %+v", balances)
	}
}

func TestTopicRecreated(t *testing.T) { eachKafka(t, testTopicRecreated) }

func testTopicRecreated(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.exec("INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) VALUES ('" +
		e.Prefix + schemas.TopicAgent + "', 0, 0, 99, 100, 100, 0)")
	if err := New(e.config(), e.deps()).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "up to offset 99, but Kafka has it only up to 9") {
		t.Errorf("the error is %v", err)
	}
}

func TestNotMigrated(t *testing.T) { eachKafka(t, testNotMigrated) }

func testNotMigrated(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	cfg := e.config()
	cfg.TopicPrefix = "absent."
	err := New(cfg, e.deps()).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no topic absent.usage.agent.v1: create the topics by a migration") {
		t.Errorf("without topics: %v", err)
	}
	e.exec("DROP TABLE rejected SYNC")
	err = New(e.config(), e.deps()).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "create its tables by a migration") {
		t.Errorf("without tables: %v", err)
	}
}

// TestFenced has a consumer that lost its partition and does not know it yet.
func TestFenced(t *testing.T) { eachKafka(t, testFenced) }

func testFenced(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	cfg := e.config()
	cfg.UntilCaughtUp = false
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	deps := e.deps()
	var inserts atomic.Int64
	deps.ClickHouse = failing{e.conn, func(query string) error {
		if strings.HasPrefix(query, "INSERT INTO usage_events") && inserts.Add(1) == 1 {
			e.evict(cfg.Group)
		}
		return nil
	}}
	go func() { ran <- New(cfg, deps).Run(ctx) }()
	servicetest.Until(t, "the deliveries are in", func() bool { return e.taken() == 10 })
	// Whether the commit is refused or the heartbeat comes first, the batch is not entered, and is inserted again.
	if n := inserts.Load(); n < 2 {
		t.Errorf("%d insert: a consumer that was evicted entered its batch; the log has\n%s", n, e.log)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestLedgerRefusesWhatItHas has a consumer that was halted between its last
// sign of life and its entry, while another one went on.
func TestLedgerRefusesWhatItHas(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnv(t, 1)
	s := storeOf(e.conn)
	p, q := partition("usage.agent.v1", 0), partition("usage.agent.v1", 1)
	entries := []ledgerRow{{p, 0, 9, 10, 10, 0, 0}, {q, 5, 9, 5, 4, 1, 5}}
	var tried []uuid.UUID
	for attempt := range 2 {
		run := uuid.New()
		if err := s.enter(t.Context(), entries, run, tried...); err != nil {
			t.Errorf("attempt %d: %v", attempt, err)
		}
		tried = append(tried, run)
	}
	for _, late := range []ledgerRow{{p, 0, 19, 20, 20, 0, 0}, {p, 3, 9, 7, 7, 0, 3}, {p, 0, 4, 5, 5, 0, 0}} {
		if err := s.enter(t.Context(), []ledgerRow{late}, uuid.New()); !errors.Is(err, errFenced) {
			t.Errorf("%v: %v", late, err)
		}
	}
	if err := s.enter(t.Context(), []ledgerRow{{p, 10, 10, 1, 1, 0, 10}}, uuid.New()); err != nil {
		t.Error(err)
	}
	got := e.rows("SELECT partition, first_offset, last_offset, read, accepted, rejected FROM ingest_batches FINAL ORDER BY ALL")
	if want := []string{"(0,0,9,10,10,0)", "(0,10,10,1,1,0)", "(1,5,9,5,4,1)"}; !slices.Equal(got, want) {
		t.Errorf("the ledger has %s, not %s", got, want)
	}
}

// evict removes every member of a group.
func (e *env) evict(group string) {
	e.t.Helper()
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{group}
	for _, member := range e.Ask(describe).(*kmsg.DescribeGroupsResponse).Groups[0].Members {
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = group, member.MemberID
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member.MemberID}}
		e.Ask(leave)
	}
}

// TestCaughtUpWhileMoreArrives has the ledger get ahead of the ends that the run began with.
func TestCaughtUpWhileMoreArrives(t *testing.T) { eachKafka(t, testCaughtUpWhileMoreArrives) }

func testCaughtUpWhileMoreArrives(t *testing.T, broker string) {
	servicetest.Heavy(t, "it takes several seconds")
	e := newEnvOn(t, broker, 2)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.Produce(schemas.TopicAgent, 1, messagesOf(sessions(10)...)...)
	deps := e.deps()
	var once sync.Once
	deps.ClickHouse = failing{e.conn, func(query string) error {
		if strings.HasPrefix(query, "INSERT INTO usage_events") {
			once.Do(func() {
				e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
				e.Produce(schemas.TopicAgent, 1, messagesOf(sessions(10)...)...)
			})
		}
		return nil
	}}
	cfg := e.config()
	cfg.BatchRows = 3
	e.ingest(cfg, deps)
	if accepted, _ := e.balanced(); accepted < 20 {
		t.Errorf("caught up after %d of 20", accepted)
	}
}

// cut is a connection that ends after it has received so many bytes.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestConnectionsBreakAnywhere cuts every connection, at first after a few bytes and then after ever more, so that
// some are cut in the midst of a batch, and of a record.
func TestConnectionsBreakAnywhere(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	t.Parallel() // most of it is waiting
	eachKafka(t, testConnectionsBreakAnywhere)
}

func testConnectionsBreakAnywhere(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Produce(schemas.TopicAgent, 0, messagesOf(sessions(500)...)...)
	cfg := e.config()
	cfg.BatchRows, cfg.FetchBytes = 50, 1000
	var cuts atomic.Int64
	deps := e.deps()
	deps.Kafka = kafkatest.Connect(t, kafka.Brokers{Addrs: []string{broker}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &cut{conn, 400 << (cuts.Add(1) / 2)}, err
	}})
	ctx, cancel := context.WithTimeout(t.Context(), servicetest.Patience)
	defer cancel()
	if err := New(cfg, deps).Run(ctx); err != nil || ctx.Err() != nil {
		t.Fatalf("ended with %v, %v; the log has\n%s", err, ctx.Err(), e.log)
	}
	if accepted, rejected := e.balanced(); accepted != 500 || rejected != 0 {
		t.Errorf("accepted %d, rejected %d", accepted, rejected)
	}
	if cuts.Load() < 6 {
		t.Errorf("only %d connections were made", cuts.Load())
	}
}

// TestCompaction has offsets that no longer exist, in the midst of a partition. Usage topics are not to be compacted,
// but where somebody does, what is left is taken in.
func TestCompaction(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	t.Parallel()
	e := newEnvOn(t, servicetest.ApacheKafka(t), 1)
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: e.Prefix + schemas.TopicAgent}
	for name, value := range map[string]string{"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"} {
		resource.Configs = append(resource.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Value: &value})
	}
	alter.Resources = append(alter.Resources, resource)
	if r := e.Ask(alter).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; r.ErrorCode != 0 {
		t.Fatal(r.ErrorMessage)
	}
	produced := 0
	left := func() int { return len(e.Read(schemas.TopicAgent)) }
	produceUntil := func(what string, holds func() bool) {
		servicetest.Until(t, what, func() bool {
			for range 10 {
				line := session("t", fmt.Sprint(produced), 0)
				e.Produce(schemas.TopicAgent, 0, kafka.Message{Key: []byte{byte(produced % 3)}, Value: []byte(line)})
				produced++
			}
			time.Sleep(200 * time.Millisecond)
			return holds()
		})
	}
	produceUntil("records are compacted away", func() bool { return left() < produced })
	e.ingest(e.config(), e.deps())
	// The topic is the same when none of the last that were taken in is there any more.
	taken := int64(produced)
	produceUntil("all that was taken in is compacted away", func() bool { return e.Read(schemas.TopicAgent)[0].Offset >= taken })
	e.ingest(e.config(), e.deps())
	balances, err := Balance(t.Context(), e.conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := balances[0]
	if !b.Balanced() || b.Offsets != (OffsetRange{0, int64(produced - 1)}) || b.Accepted >= uint64(produced) || b.Accepted < 3 {
		t.Errorf("%d were produced, %d are left; the balance is %+v", produced, left(), b)
	}
}

// TestDiskIsFull has ClickHouse refuse inserts without space, into each of the tables in turn.
func TestDiskIsFull(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	t.Parallel()
	e := newEnv(t, 1)
	for i, table := range []string{"usage_events", "rejected", "ingest_batches"} {
		e.Publish(mixed()...)
		e.exec("ALTER TABLE " + table + " MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000")
		ctx, cancel := context.WithTimeout(t.Context(), servicetest.Patience)
		ran := make(chan error, 1)
		go func() { ran <- New(e.config(), e.deps()).Run(ctx) }()
		servicetest.Until(t, "the log says what is missing", func() bool {
			return strings.Count(e.log.String(), "waiting for ClickHouse") > i && strings.Contains(e.log.String(), "inserting into "+table)
		})
		e.exec("ALTER TABLE " + table + " RESET SETTING min_free_disk_bytes_to_perform_insert")
		if err := <-ran; err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		cancel()
		if accepted, rejected := e.balanced(); accepted != 140*uint64(i+1) || rejected != 40*uint64(i+1) {
			t.Errorf("accepted %d, rejected %d", accepted, rejected)
		}
	}
}

// There is no test of clocks that jump: no reading of one is kept or compared over a restart. What has been taken in
// is known by offset, the time a delivery arrived is Kafka's, and waits are measured by Go's monotonic clock.
