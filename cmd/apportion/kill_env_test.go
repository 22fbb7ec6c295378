package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"apportion/aggregate"
	"apportion/billing/service"
	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest"
	"apportion/schemas"
)

// sessionTime is how long a consumer may give no sign of life: short, because nearly all of them die.
const sessionTime = 250 * time.Millisecond

// orders are what a victim is to do beside its work.
type orders struct {
	// When it passes Point for the time that Passing counts, it says so and sends itself Signal.
	Point   string
	Passing int64
	Signal  syscall.Signal
	// Rows is how many deliveries its batches have.
	Rows int
}

// victim is a program of its own, `victim ORDERS ARGS...`: that of this package with those arguments, but for an
// ingest or an issue that follows orders.
func victim() {
	var o orders
	if err := json.Unmarshal([]byte(os.Args[1]), &o); err != nil {
		panic(err)
	}
	servicetest.EndWithTest()
	var passed atomic.Int64
	pass := func(point string) {
		if point != o.Point || passed.Add(1) != o.Passing {
			return
		}
		fmt.Println(at(point))
		syscall.Kill(os.Getpid(), o.Signal)
		// A signal may take effect a moment later, and nothing may be done in that moment.
		time.Sleep(50 * time.Millisecond)
	}
	a := &app{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, connections: connections{onFailpoint: pass}}
	a.ingestTuning = func(cfg *ingest.Config, deps *ingest.Deps) {
		cfg.BatchRows, cfg.FetchBytes, cfg.BatchAge = max(1, o.Rows), 4000, 10*time.Millisecond
		cfg.SessionTimeout = sessionTime
		deps.Failpoint = pass
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(runApp(ctx, a, os.Args[2:]))
}

// at is what a victim says at a point.
func at(point string) string { return "at the point " + point }

// broker is a program of its own, `broker PORT DIR`: Kafka as embedded, in a process that can be killed.
func broker() {
	port, err := strconv.Atoi(os.Args[1])
	if err == nil {
		var k *embedded.Kafka
		if k, err = embedded.StartKafka(embedded.Options{Data: os.Args[2], KafkaPort: port}, kfake.GroupMinSessionTimeout(sessionTime)); err == nil {
			fmt.Println(k.Addr)
			servicetest.EndWithTest()
			select {}
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// servers are a broker and a ClickHouse on their own data and ports, which they have again after they were killed.
type servers struct {
	t          *testing.T
	dir        string
	broker     *servicetest.Process
	kafka      string // address of the broker
	clickHouse string // and of ClickHouse
	own        *embedded.ClickHouse

	mu        sync.Mutex
	scenarios int
	killed    map[string]int // how often, by what and where
}

// names is how many scenarios there are on any servers.
var names atomic.Int64

// sharedServers are those of the test binary, for tests that kill neither.
func sharedServers(t *testing.T) *servers {
	t.Helper()
	return &servers{t: t, kafka: servicetest.Kafka(t), clickHouse: servicetest.ClickHouse(t), killed: make(map[string]int)}
}

// count counts a process that was killed.
func (s *servers) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed[what]++
}

func startServers(t *testing.T) *servers {
	t.Helper()
	return startServersIn(t, t.TempDir())
}

func startServersIn(t *testing.T, dir string) *servers {
	t.Helper()
	s := &servers{t: t, dir: dir, killed: make(map[string]int)}
	var err error
	if s.own, err = embedded.StartClickHouse(t.Context(), embedded.Options{Data: s.dir, Progress: os.Stderr}); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := s.own.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.clickHouse = s.own.Addr
	s.startBroker("0")
	return s
}

func (s *servers) startBroker(port string) {
	s.t.Helper()
	s.broker = servicetest.Start(s.t, "broker", port, s.dir)
	s.broker.Says("\n")
	s.kafka = strings.TrimSpace(s.broker.Output.String())
}

// killBroker kills the broker and starts it again.
func (s *servers) killBroker() {
	s.t.Helper()
	s.broker.Kill()
	s.count("the broker")
	_, port, _ := net.SplitHostPort(s.kafka)
	s.startBroker(port)
}

// killClickHouse kills ClickHouse, which is started again by itself.
func (s *servers) killClickHouse() {
	s.t.Helper()
	if err := syscall.Kill(s.own.PID(), syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	s.count("ClickHouse")
}

// partitions is how many each topic has.
const partitions = 3

// scenario is a database and topics of its own, to which deliveries are published.
type scenario struct {
	*servers
	t      *testing.T
	config string // names the file
	prefix string
	db     driver.Conn
	client *kgo.Client

	made  int              // deliveries
	acked map[place]string // values of those that the broker took
}

// place is where a delivery is on Kafka.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// unmigrated is a scenario without tables and topics.
func (s *servers) unmigrated(t *testing.T) *scenario {
	t.Helper()
	s.mu.Lock()
	s.scenarios++
	s.mu.Unlock()
	name := fmt.Sprintf("scenario%d", names.Add(1))
	c := &scenario{servers: s, t: t, config: filepath.Join(t.TempDir(), "apportion.yaml"), prefix: name + ".", acked: make(map[place]string)}
	if err := os.WriteFile(c.config, fmt.Appendf(nil, "kafka: {brokers: ['%s'], topicPrefix: %s, group: %s, partitions: %d}\nclickhouse: {addr: ['%s'], database: %[3]s}\n"+
		"seller: {name: Seller AB, address: {country: SE}, vatId: SE556677889901}\n",
		s.kafka, c.prefix, name, partitions, s.clickHouse), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	c.db, err = clickhouse.Open(&clickhouse.Options{Addr: []string{s.clickHouse}, Auth: clickhouse.Auth{Database: name}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.db.Close() })
	return c
}

func (s *servers) scenario(t *testing.T) *scenario {
	t.Helper()
	c := s.unmigrated(t)
	document := filepath.Join(t.TempDir(), "registry.yaml")
	if err := os.WriteFile(document, []byte(registryDocument()), 0o600); err != nil {
		t.Fatal(err)
	}
	c.apportion("migrate")
	c.apportion("registry", "apply", "-f", document)

	var err error
	c.client, err = kgo.NewClient(kgo.SeedBrokers(s.kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		// It repeats what was not answered, and a delivery may be there twice, as from any platform.
		kgo.DisableIdempotentWrite(), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	return c
}

// apportion runs a command of the program to its end and returns what it prints.
func (s *scenario) apportion(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), servicetest.Patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, append(args, "--config", s.config), os.Environ(), strings.NewReader(""), &stdout, &stderr); code != exitDone {
		s.t.Fatalf("apportion %s: exit code %d\n%s%s", strings.Join(args, " "), code, &stdout, &stderr)
	}
	return stdout.String()
}

// ingest starts a victim.
func (s *scenario) ingest(o orders) *servicetest.Process {
	s.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return servicetest.Start(s.t, "victim", string(text), "ingest", "--config", s.config, "--set", "clickhouse.addr="+s.clickHouse)
}

// taken counts the deliveries in the ledger.
func (s *scenario) taken() (n uint64, err error) {
	err = s.db.QueryRow(s.t.Context(), "SELECT sum(read) FROM ingest_batches FINAL").Scan(&n)
	return n, err
}

// getsOn waits until so many more deliveries are in the ledger.
func (s *scenario) getsOn(by uint64, living ...*servicetest.Process) {
	s.t.Helper()
	var begin uint64
	known := false
	servicetest.Until(s.t, fmt.Sprintf("%d more deliveries are in", by), func() bool {
		s.t.Helper()
		for _, p := range living {
			p.Runs()
		}
		n, err := s.taken()
		if err != nil {
			return false // ClickHouse is away
		}
		if !known {
			begin, known = n, true
		}
		return n >= begin+by
	})
}

// mostBehind is how many deliveries are published before they are taken in.
const mostBehind = 150

// publishing publishes some deliveries again and again, as long as they are taken in, until the function that it
// returns is called.
func (s *scenario) publishing() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			// Not more than is of use: what is published has to be taken in by batches of a few rows.
			if n, err := s.taken(); err == nil && uint64(s.made) > n+mostBehind {
				pause(ctx)
				continue
			}
			for _, r := range s.client.ProduceSync(ctx, s.deliveries(45)...) {
				switch {
				case r.Err == nil:
					s.acked[place{r.Record.Topic, r.Record.Partition, r.Record.Offset}] = string(r.Record.Value)
				case ctx.Err() == nil:
					s.t.Error(r.Err)
				}
			}
			pause(ctx)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	s.t.Cleanup(stop)
	return stop
}

// pause waits between one look at a running program and the next.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// tenants that send usage; the registry knows all but the last.
var tenants = []string{"acme", "globex", "initech", "nobody"}

func registryDocument() string {
	var b strings.Builder
	b.WriteString("tenants:\n")
	for _, tenant := range tenants[:len(tenants)-1] {
		fmt.Fprintf(&b, `- id: %[1]s
  name: %[1]s
  timeZone: Etc/UTC
  telephony: webex_calling
  subscriptions:
  - {id: Sub-%[1]s, name: X, licenceModel: concurrent, plan: flex3, deployment: cloud, currency: EUR, billing: monthly, terms: [{from: 2024-01-01, to: 2027-01-01}], versions: [{from: 2024-01-01}]}
`, tenant)
	}
	return b.String()
}

// deliveries makes up the next ones: of ten, five are events of their own, one is a repeat, one a revision, one a
// void, and two are to be refused.
func (s *scenario) deliveries(n int) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		number := s.made
		s.made++
		event, revision, voided := number, 0, false
		switch number % 10 {
		case 1:
			event = number - 1
		case 2:
			event, revision = number-2, 1
		case 5:
			event, revision, voided = number-1, 1, true
		}
		typ := schemas.Types[event%len(schemas.Types)]
		tenant := tenants[event%len(tenants)]
		start := time.Date(2026, 10, 1+event%28, 8, 0, 0, event%1000*1_000_000, time.UTC)
		data := ""
		switch typ {
		case schemas.AgentSession:
			data = fmt.Sprintf(`"agentId":"agent-%d","startTime":%q,"endTime":%q,"licenceClass":"premium"`, event%7, instant(start), instant(start.Add(time.Hour)))
		case schemas.IVRSession:
			data = fmt.Sprintf(`"entryPointId":"ep-%d","startTime":%q,"endTime":%q`, event%3, instant(start), instant(start.Add(time.Minute)))
		case schemas.ConnectUsage:
			data = fmt.Sprintf(`"channel":"sms","quantity":%d.%06d`, 1+event%9, event%1_000_000)
		}
		value := fmt.Sprintf(`{"specversion":"1.0","id":"e%d","source":"/test","type":%q,"time":%q,"tenantid":%q,"data":{%s,"revision":%d,"voided":%t}}`,
			event, typ, instant(start), tenant, data, revision, voided)
		if number%10 == 7 || number%10 == 9 {
			value = spoilt[number/10%len(spoilt)](value)
		}
		records[i] = &kgo.Record{
			Topic:     s.prefix + typ.Topic(),
			Partition: int32(number / len(schemas.Types) % partitions),
			Key:       []byte(tenant),
			Value:     []byte(value),
			Headers:   []kgo.RecordHeader{{Key: "number", Value: strconv.AppendInt(nil, int64(number), 10)}},
		}
	}
	return records
}

// spoilt are ways in which a delivery is to be refused.
var spoilt = []func(string) string{
	func(v string) string { return v[:len(v)/2] },
	func(v string) string { return strings.Replace(v, `"tenantid"`, `"tenant"`, 1) },
	func(v string) string { return strings.Replace(v, `"1.0"`, `"0.3"`, 1) },
	func(v string) string { return strings.Replace(v, `"revision":0`, `"revision":-1`, 1) },
	func(v string) string { return strings.Replace(v, `"type":"`, `"type":"un`, 1) },
}

func instant(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

// storedEvent is a row of usage_events but for its place.
type storedEvent struct {
	Tenant, Type, Source, ID   string
	Revision                   int32
	Voided                     bool
	Time, At, Start, End       int64
	Agent, EntryPoint, Channel string
	Quantity                   int64 // millionths
	Subscription, Class        string
	Arrived                    int64
}

// storedRefusal is a row of rejected but for its place.
type storedRefusal struct {
	Arrived                     int64
	Code, Field, Value, Message string
	Tenant, Source, ID          string
	Key, Payload, Headers       string
}

// check takes in what is left and holds everything to what is on the broker: the ledger covers every offset once,
// the tables have every delivery once, as it is, and the balance of R22 holds.
func (s *scenario) check() {
	s.t.Helper()
	s.apportion("ingest", "--until-caught-up")

	events, refusals, ends := make(map[place]storedEvent), make(map[place]storedRefusal), make(map[place]int64)
	var decoder schemas.Decoder
	types := make(map[string]schemas.Type)
	for _, t := range schemas.Types {
		types[s.prefix+t.Topic()] = t
	}
	for _, r := range s.read(slices.Collect(maps.Keys(types))...) {
		at := place{r.Topic, r.Partition, r.Offset}
		if acked, ok := s.acked[at]; ok && acked != string(r.Value) {
			s.t.Fatalf("the broker has another value at %v than it took there", at)
		}
		delete(s.acked, at)
		end := place{topic: r.Topic, partition: r.Partition}
		ends[end] = max(ends[end], r.Offset+1)
		var headers []schemas.Header
		var text []string
		for _, h := range r.Headers {
			headers = append(headers, schemas.Header(h))
			text = append(text, h.Key+"="+string(h.Value))
		}
		var e schemas.Event
		if why := decoder.Decode(types[r.Topic], headers, r.Value, &e); why != nil {
			refusals[at] = storedRefusal{r.Timestamp.UnixMilli(), string(why.Code), why.Field, why.Value, why.Message,
				why.Tenant, why.Source, why.ID, string(r.Key), string(r.Value), strings.Join(text, ",")}
			continue
		}
		events[at] = storedEvent{e.Tenant, e.Type.String(), e.Source, e.ID, e.Revision, e.Voided, e.TimeMS, e.OccurredMS(), e.StartMS, e.EndMS,
			e.Agent, e.EntryPoint, e.Channel, e.Quantity, e.Subscription, e.Class, r.Timestamp.UnixMilli()}
	}
	if len(s.acked) > 0 {
		s.t.Fatalf("the broker lost %d deliveries that it took, such as %v", len(s.acked), slices.Collect(maps.Keys(s.acked))[0])
	}
	if len(events) == 0 || len(refusals) == 0 {
		s.t.Fatalf("%d good and %d bad deliveries prove nothing", len(events), len(refusals))
	}

	balances, err := ingest.Balance(s.t.Context(), s.db, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range balances {
		end := place{topic: b.Topic, partition: int32(b.Partition)}
		if n := ends[end]; b.Offsets != (ingest.OffsetRange{First: 0, Last: n - 1}) || b.Read != uint64(n) {
			s.t.Errorf("%s/%d: the ledger has %d deliveries at %v, and not %d", b.Topic, b.Partition, b.Read, b.Offsets, n)
		}
		for _, d := range b.Differences {
			s.t.Error(d)
		}
		delete(ends, end)
	}
	if len(ends) > 0 {
		s.t.Errorf("the ledger knows nothing of %v", ends)
	}

	compare(s.t, "usage_events", events, rows(s, `SELECT DISTINCT topic, partition, offset, tenant, toString(type), source, id, revision,
		voided, time_ms, occurred_ms, start_ms, end_ms, agent, entry_point, channel, toInt64(quantity * 1000000), subscription, toString(class), arrived_ms
		FROM usage_events`, func(e *storedEvent) []any {
		return []any{&e.Tenant, &e.Type, &e.Source, &e.ID, &e.Revision, &e.Voided, &e.Time, &e.At, &e.Start, &e.End,
			&e.Agent, &e.EntryPoint, &e.Channel, &e.Quantity, &e.Subscription, &e.Class, &e.Arrived}
	}))
	compare(s.t, "rejected", refusals, rows(s, `SELECT DISTINCT topic, partition, offset, arrived_ms, code, field, value, message, tenant,
		source, id, key, payload, arrayStringConcat(arrayMap(h -> concat(h.1, '=', h.2), headers), ',') FROM rejected`, func(r *storedRefusal) []any {
		return []any{&r.Arrived, &r.Code, &r.Field, &r.Value, &r.Message, &r.Tenant, &r.Source, &r.ID, &r.Key, &r.Payload, &r.Headers}
	}))

	letters := make(map[place]int)
	for _, r := range s.read(s.prefix + schemas.TopicRejected) {
		headers := make(map[string]string)
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		var at place
		at.topic = headers["apportion-topic"]
		fmt.Sscan(headers["apportion-partition"], &at.partition)
		fmt.Sscan(headers["apportion-offset"], &at.offset)
		if want := refusals[at]; want.Payload != string(r.Value) || want.Code != headers["apportion-code"] {
			s.t.Fatalf("a dead letter says that it is of %v, which is another delivery", at)
		}
		letters[at]++
	}
	if len(letters) != len(refusals) {
		s.t.Errorf("%d of %d refused deliveries are in the topic of dead letters", len(letters), len(refusals))
	}

	var r service.Reconciliation
	if err := json.Unmarshal([]byte(s.apportion("reconcile", "--period", "2026-10", "--json")), &r); err != nil {
		s.t.Fatal(err)
	}
	got, want := r.Total, expectedBalance(events)
	got.Counted, got.Unallocated, got.Unmapped = got.Counted+got.Unallocated, 0, 0
	if got != want {
		s.t.Errorf("the balance is %+v, and not %+v", got, want)
	}
	s.t.Logf("%d accepted, %d rejected", len(events), len(refusals))
}

// read returns every record of the topics.
func (s *scenario) read(topics ...string) []*kgo.Record {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), servicetest.Patience)
	defer cancel()
	from := make(map[string]map[int32]kgo.Offset)
	ask := make(map[string][]kafka.OffsetRequest)
	for _, topic := range topics {
		from[topic] = make(map[int32]kgo.Offset)
		for p := range partitions {
			from[topic][int32(p)] = kgo.NewOffset().AtStart()
			ask[topic] = append(ask[topic], kafka.LastOffsetOf(p))
		}
	}
	// A transport of its own: the shared one has connections to brokers that have been killed.
	transport := new(kafka.Transport)
	defer transport.CloseIdleConnections()
	offsets, err := (&kafka.Client{Addr: kafka.TCP(s.kafka), Transport: transport}).ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: ask})
	if err != nil {
		s.t.Fatal(err)
	}
	var there int64
	for _, partitions := range offsets.Topics {
		for _, p := range partitions {
			there += p.LastOffset
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka), kgo.ConsumePartitions(from))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for int64(len(records)) < there {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatalf("reading %d of %d records: %v", len(records), there, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// rows returns by place what a query gives. A place that it gives twice fails the test.
func rows[T any](s *scenario, query string, fields func(*T) []any) map[place]T {
	s.t.Helper()
	result, err := s.db.Query(s.t.Context(), query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer result.Close()
	all := make(map[place]T)
	for result.Next() {
		var at place
		var row T
		if err := result.Scan(append([]any{&at.topic, &at.partition, &at.offset}, fields(&row)...)...); err != nil {
			s.t.Fatal(err)
		}
		if other, ok := all[at]; ok {
			s.t.Errorf("two different rows are of %v: %+v and %+v", at, other, row)
		}
		all[at] = row
	}
	if err := result.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// compare reports what of a table is missing, too much or different, one of each.
func compare[T comparable](t *testing.T, table string, want, got map[place]T) {
	t.Helper()
	missing, different, surplus := 0, 0, 0
	for at, w := range want {
		g, ok := got[at]
		switch {
		case !ok:
			if missing++; missing == 1 {
				t.Errorf("%s lacks %v: %+v", table, at, w)
			}
		case g != w:
			if different++; different == 1 {
				t.Errorf("%s has %+v at %v, and not %+v", table, g, at, w)
			}
		}
	}
	for at, g := range got {
		if _, ok := want[at]; !ok {
			if surplus++; surplus == 1 {
				t.Errorf("%s has at %v what was never published: %+v", table, at, g)
			}
		}
	}
	if missing+different+surplus > 0 {
		t.Errorf("%s: %d of %d rows are missing, %d different, %d too much", table, missing, len(want), different, surplus)
	}
}

// expectedBalance sorts deliveries as R8 and R22 do. Those that count and those that are not allocated are in one:
// which they are is the registry's to say.
func expectedBalance(events map[place]storedEvent) aggregate.Balance {
	type identity struct{ tenant, source, id string }
	type content struct {
		revision int32
		voided   bool
	}
	deliveries := make(map[identity][]content)
	var b aggregate.Balance
	for _, e := range events {
		if b.Accepted++; e.Tenant == tenants[len(tenants)-1] {
			b.UnknownTenant++
			continue
		}
		id := identity{e.Tenant, e.Source, e.ID}
		deliveries[id] = append(deliveries[id], content{e.Revision, e.Voided})
	}
	for _, all := range deliveries {
		slices.SortFunc(all, func(a, b content) int { return cmp.Compare(a.revision, b.revision) })
		distinct := slices.Compact(slices.Clone(all))
		b.Duplicate += int64(len(all) - len(distinct))
		b.Superseded += int64(len(distinct) - 1)
		if distinct[len(distinct)-1].voided {
			b.Voided++
		} else {
			b.Counted++
		}
	}
	return b
}
