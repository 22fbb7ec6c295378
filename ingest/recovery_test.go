package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"apportion/deploy/embedded"
	"apportion/schemas"
)

// mixed are 180 deliveries: 140 good and 40 bad ones.
func mixed() []string {
	lines := sessions(120)
	for i := range 20 {
		lines = append(lines,
			fmt.Sprintf(`{"specversion":"1.0","id":"c%d","source":"/c","type":"connect.usage","time":"2026-%02d-14T08:00:00Z","tenantid":"t%d","data":{"channel":"sms","quantity":%d.5}}`, i, i%12+1, i%3, i+1),
			fmt.Sprintf(`{"specversion":"1.0","id":"c%d","source":"/c","type":"connect.usage","tenantid":"t%d"}`, i, i%3),
			"{")
	}
	return lines
}

func TestBatchesDoNotMatter(t *testing.T) {
	e := newEnv(t, 2)
	e.publish(mixed()...)
	var want []string
	for _, rows := range []int{1000, 7, 1} {
		cfg := e.config()
		cfg.BatchRows = rows
		cfg.FetchBytes = 10 * rows // smaller than a batch of the broker's
		e.ingest(cfg, e.deps())
		accepted, rejected := e.balanced()
		if accepted != 140 || rejected != 40 {
			t.Errorf("by %d rows: accepted %d, rejected %d", rows, accepted, rejected)
		}
		got := e.stored()
		if want == nil {
			want = got
		}
		if len(got) != 180 || !slices.Equal(got, want) {
			t.Errorf("by %d rows the tables have %d rows, and others than before", rows, len(got))
		}
		e.exec("TRUNCATE TABLE ingest_batches")
	}
}

// TestManyMonthsInOneBatch covers more partitions of the table than the 100 that
// ClickHouse takes in one insert by default.
func TestManyMonthsInOneBatch(t *testing.T) {
	e := newEnv(t, 1)
	var lines []string
	for year := range 10 {
		for month := range 12 {
			lines = append(lines, fmt.Sprintf(`{"specversion":"1.0","id":"%d-%d","source":"/c","type":"connect.usage",`+
				`"time":"%d-%02d-14T08:00:00Z","tenantid":"t","data":{"channel":"sms","quantity":1}}`, year, month, 2019+year, month+1))
		}
	}
	e.publish(lines...)
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

// TestCrashBetweenInsertAndLedger ends an Ingester at every step of a batch in
// turn, and has another one go on.
func TestCrashBetweenInsertAndLedger(t *testing.T) {
	e := newEnv(t, 1)
	e.publish(mixed()...)
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
	e := newEnv(t, 2)
	o := embedded.Options{Data: t.TempDir()}
	server, err := embedded.StartClickHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	e.conn = connect(t, server.Addr, "default")
	_, port, _ := strings.Cut(server.Addr, ":")
	fmt.Sscan(port, &o.ClickHousePort)

	cfg := e.config()
	cfg.UntilCaughtUp, cfg.BatchAge = false, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	e.publish(sessions(100)...)
	until(t, "100 deliveries are in", func() bool { a, _ := e.balanced(); return a == 100 })

	syscall.Kill(server.PID(), syscall.SIGKILL)
	server.Stop()
	e.publish(sessions(200)...)
	until(t, "the log says what is awaited", func() bool { return strings.Contains(e.log.String(), "waiting for ClickHouse") })
	if server, err = embedded.StartClickHouse(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	until(t, "300 deliveries are in", func() bool { a, _ := e.balanced(); return a == 300 })
	if !strings.Contains(e.log.String(), "ClickHouse answers again") {
		t.Errorf("the log has\n%s", e.log)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestKafkaGoesAwayAndComesBack(t *testing.T) {
	e := newEnv(t, 2)
	o := embedded.Options{Data: t.TempDir()}
	start := func() *embedded.Kafka {
		t.Helper()
		k, err := embedded.StartKafka(o)
		if err != nil {
			t.Fatal(err)
		}
		e.broker = k.Addr
		_, port, _ := strings.Cut(k.Addr, ":")
		fmt.Sscan(port, &o.KafkaPort)
		return k
	}
	k := start()
	if err := CreateTopics(t.Context(), at(e.broker), e.prefix, 2); err != nil {
		t.Fatal(err)
	}
	cfg := e.config()
	cfg.UntilCaughtUp, cfg.BatchAge = false, 10*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	e.publish(sessions(100)...)
	until(t, "100 deliveries are in", func() bool { a, _ := e.balanced(); return a == 100 })
	k.Stop()
	until(t, "the log says what is awaited", func() bool { return strings.Contains(e.log.String(), "waiting for Kafka at "+e.broker) })
	k = start()
	defer k.Stop()
	e.publish(sessions(200)...)
	until(t, "300 deliveries are in", func() bool { a, _ := e.balanced(); return a == 300 })
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestStopsWhileItsServicesAreAway(t *testing.T) {
	e := newEnv(t, 1)
	cfg := e.config()
	cfg.Brokers = at("127.0.0.1:1")
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- New(cfg, e.deps()).Run(ctx) }()
	until(t, "the log says what is awaited", func() bool { return strings.Contains(e.log.String(), "waiting for Kafka at 127.0.0.1:1") })
	began := time.Now()
	stop()
	if err := <-ran; err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("stopped after %v with %v", time.Since(began), err)
	}
}

// TestStopsWhileClickHouseHangs has a server that keeps its connections and
// says nothing, from before the start or from the middle of a batch on.
func TestStopsWhileClickHouseHangs(t *testing.T) {
	for _, hangsAt := range []string{"the start", "an insert"} {
		t.Run(hangsAt, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, 1)
			server, err := embedded.StartClickHouse(t.Context(), embedded.Options{Data: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Stop()
			e.conn = connect(t, server.Addr, "default")
			e.publish(sessions(10)...)
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
			if err := <-ran; err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("stopped after %v with %v", time.Since(began), err)
			}
		})
	}
}

func TestTwoIngestersShare(t *testing.T) {
	e := newEnv(t, 4)
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
			e.produce(schemas.TopicAgent, partition, messagesOf(session("t", fmt.Sprint(sent), 0))...)
			sent++
		}
	}
	arrived := func() bool { a, _ := e.balanced(); return a == sent }
	seen := func(m *member) int { mu.Lock(); defer mu.Unlock(); return len(m.seen) }

	one := join()
	feed()
	until(t, "one member has it all", func() bool { return arrived() && seen(one) == 4 })
	two := join()
	until(t, "the other member has a part", func() bool { feed(); return seen(two) >= 2 })
	until(t, "both together have it all", arrived)
	began := time.Now()
	one.stop()
	if err := <-one.ran; err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("left after %v with %v", time.Since(began), err)
	}
	until(t, "the other member has all", func() bool { feed(); return seen(two) == 4 })
	until(t, "all is in", arrived)
	two.stop()
	if err := <-two.ran; err != nil {
		t.Error(err)
	}
	if got := len(e.stored()); uint64(got) != sent {
		t.Errorf("%d of %d are stored", got, sent)
	}
}

func TestEveryCompression(t *testing.T) {
	e := newEnv(t, 1)
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		client, err := kgo.NewClient(kgo.SeedBrokers(e.broker), kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(e.prefix+schemas.TopicAgent))
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
func TestTransactions(t *testing.T) {
	e := newEnv(t, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(e.broker), kgo.TransactionalID(e.prefix), kgo.DefaultProduceTopic(e.prefix+schemas.TopicAgent))
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

func TestRetentionOvertakes(t *testing.T) {
	e := newEnv(t, 1)
	e.produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.ingest(e.config(), e.deps())
	e.produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	remove := kmsg.NewPtrDeleteRecordsRequest()
	remove.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic:      e.prefix + schemas.TopicAgent,
		Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 15}},
	}}
	request(e, remove)
	e.ingest(e.config(), e.deps())
	if !strings.Contains(e.log.String(), "level=ERROR") || !strings.Contains(e.log.String(), "first_lost=10 last_lost=14") {
		t.Errorf("the log has\n%s", e.log)
	}
	balances, err := Balance(t.Context(), e.conn)
	if err != nil {
		t.Fatal(err)
	}
	if len(balances) != 1 || !slices.Equal(balances[0].Differences, []string{"offsets 10-14 were never taken in"}) || balances[0].Accepted != 15 {
		t.Errorf("the balance is %+v", balances)
	}
}

func TestTopicMadeAnew(t *testing.T) {
	e := newEnv(t, 1)
	e.produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	e.exec("INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) VALUES ('" +
		e.prefix + schemas.TopicAgent + "', 0, 0, 99, 100, 100, 0)")
	for _, caughtUp := range []bool{true, false} {
		cfg := e.config()
		cfg.UntilCaughtUp = caughtUp
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := New(cfg, e.deps()).Run(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "up to offset 99, but Kafka has it only up to 9") {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestNotMigrated(t *testing.T) {
	e := newEnv(t, 1)
	cfg := e.config()
	cfg.TopicPrefix = "absent."
	err := New(cfg, e.deps()).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no topic absent.usage.agent.v1: run `apportion migrate`") {
		t.Errorf("without topics: %v", err)
	}
	e.exec("DROP TABLE rejected SYNC")
	err = New(e.config(), e.deps()).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "run `apportion migrate`") {
		t.Errorf("without tables: %v", err)
	}
}

// TestFenced has a consumer that lost its partition and does not know it yet.
func TestFenced(t *testing.T) {
	e := newEnv(t, 1)
	e.produce(schemas.TopicAgent, 0, messagesOf(sessions(10)...)...)
	cfg := e.config()
	cfg.UntilCaughtUp = false
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	deps := e.deps()
	var once sync.Once
	deps.ClickHouse = failing{e.conn, func(query string) error {
		if strings.HasPrefix(query, "INSERT INTO usage_events") {
			once.Do(func() { e.evict(cfg.Group) })
		}
		return nil
	}}
	go func() { ran <- New(cfg, deps).Run(ctx) }()
	until(t, "the deliveries are in", func() bool { a, _ := e.balanced(); return a == 10 })
	if !strings.Contains(e.log.String(), "resuming from the ledger") {
		t.Errorf("nobody was fenced; the log has\n%s", e.log)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// evict removes every member of a group.
func (e *env) evict(group string) {
	e.t.Helper()
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{group}
	for _, member := range request(e, describe).(*kmsg.DescribeGroupsResponse).Groups[0].Members {
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = group, member.MemberID
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member.MemberID}}
		request(e, leave)
	}
}

// request asks the broker something that kafka-go cannot.
func request(e *env, r kmsg.Request) kmsg.Response {
	e.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(e.broker))
	if err != nil {
		e.t.Fatal(err)
	}
	defer client.Close()
	response, err := client.Request(e.t.Context(), r)
	if err != nil {
		e.t.Fatal(err)
	}
	return response
}
