package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
	"apportion/schemas/tables/tablestest"
)

const (
	pipelineEvents     = 2_000_000
	pipelinePartitions = 8
)

// BenchmarkPipeline takes in 2 M agent sessions of 8 partitions, by an Ingester
// in a process of its own, and by ClickHouse's Kafka table engine as the
// measure: at its best settings, with no validation and no ledger, into a table
// like ours. It prints a table rather than the usual line.
func BenchmarkPipeline(b *testing.B) {
	p := newPipeline(b)
	p.publish()
	p.warmUp()
	for b.Loop() {
		p.measure("our process alone: fetch", p.fetchAlone)
		p.measure("our process alone: fetch and decode", p.decodeAlone)
		p.measure("ingest", p.ours)
		p.complete("usage_events")
		if accepted, rejected := p.balanced(); accepted != pipelineEvents || rejected != 0 {
			b.Errorf("accepted %d, rejected %d", accepted, rejected)
		}
		for _, as := range []string{"ReplacingMergeTree", "MergeTree"} {
			p.measure("Kafka engine to "+as, func() taken { return p.engine(as) })
			p.complete("engine_events")
			p.clear()
		}
	}
	p.report()
}

// pipeline is what the benchmark works with.
type pipeline struct {
	*env
	server  *embedded.ClickHouse
	results []measured
}

// measured is one line of the report.
type measured struct {
	name             string
	took             time.Duration
	ours, clickHouse time.Duration // CPU
	kafka            time.Duration
	peak             int64 // bytes of our process, 0 where it is the benchmark's own
}

// taken is what a step reports of our process.
type taken struct {
	cpu  time.Duration
	peak int64
}

func newPipeline(b *testing.B) *pipeline {
	b.Helper()
	server, err := embedded.StartClickHouse(b.Context(), embedded.Options{Data: b.TempDir(), Progress: os.Stderr})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { server.Stop() })
	e := &env{
		Env:  kafkatest.New(b, servicetest.ApacheKafka(b), pipelinePartitions),
		t:    b,
		conn: tablestest.OpenIn(b, server.Addr, "default"),
		addr: server.DirectAddr(),
		db:   "default",
		log:  new(servicetest.Log),
	}
	return &pipeline{env: e, server: server}
}

// publish fills the topic with sessions of one month, in batches as large as
// producers make them.
func (p *pipeline) publish() {
	p.t.Helper()
	const chunk = 2000
	group, ctx := errgroup.WithContext(p.t.Context())
	for i := range pipelinePartitions {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for n := 0; n < pipelineEvents/pipelinePartitions; n += chunk {
				messages := make([]kafka.Message, chunk)
				for j := range messages {
					messages[j] = realistic(random, i, n+j)
				}
				if _, err := p.Client.Produce(ctx, p.Partition(schemas.TopicAgent, i), messages); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		p.t.Fatal(err)
	}
}

// warmUp has one delivery taken in: a new broker takes seconds to get ready for
// the first of all consumer groups.
func (p *pipeline) warmUp() {
	p.t.Helper()
	warm := *p.env
	warm.Env = kafkatest.New(p.t, p.Broker, 1)
	warm.Publish(sessions(1)...)
	warm.ingest(warm.config(), warm.deps())
}

// realistic is an agent session as a platform publishes it, of one of 200
// tenants with 40 agents each.
func realistic(random *rand.Rand, partition, n int) kafka.Message {
	tenant := fmt.Sprintf("tenant-%03d", partition+pipelinePartitions*random.IntN(25))
	const apart = 30 * 24 * time.Hour * pipelinePartitions / pipelineEvents
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * apart).
		Add(time.Duration(random.IntN(3_600_000)) * time.Millisecond)
	end := start.Add(time.Duration(random.IntN(36_000_000)) * time.Millisecond)
	const form = "2006-01-02T15:04:05.000Z"
	return kafka.Message{Key: []byte(tenant), Value: fmt.Appendf(nil,
		`{"specversion":"1.0","id":"%08x-%04x-4%03x-a%03x-%012x","source":"/wxcc/eu1","type":"agent.session","time":%q,"tenantid":%q,`+
			`"subject":"agents/%s","datacontenttype":"application/json","data":{"agentId":"agent-%d","startTime":%q,"endTime":%q,`+
			`"licenceClass":%q,"revision":0}}`,
		random.Uint32(), random.Uint32()>>16, random.Uint32()>>20, random.Uint32()>>20, random.Uint64()>>16,
		end.Format(form), tenant, tenant, random.IntN(40), start.Format(form), end.Format(form),
		[]string{"standard", "premium"}[random.IntN(2)])}
}

// measure times a step, and what it costs everybody.
func (p *pipeline) measure(name string, step func() taken) {
	p.t.Helper()
	clickHouse, broker := p.cpu(p.server.PID()), p.cpu(kafkaPID())
	began := time.Now()
	got := step()
	p.results = append(p.results, measured{
		name: name, took: time.Since(began), ours: got.cpu, peak: got.peak,
		clickHouse: p.cpu(p.server.PID()) - clickHouse, kafka: p.cpu(kafkaPID()) - broker,
	})
}

// ours runs an Ingester in a process of its own.
func (p *pipeline) ours() taken {
	p.t.Helper()
	p.exec("TRUNCATE TABLE ingest_batches")
	p.exec("TRUNCATE TABLE usage_events")
	cfg := p.config()
	config, err := json.Marshal(victimConfig{cfg, p.Broker, p.addr, p.db})
	if err != nil {
		p.t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), victim+"="+string(config))
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		p.t.Fatal(err)
	}
	// The kernel's own record of the peak begins with that of the process that
	// started this one.
	var peak int64
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				p.t.Fatal(err)
			}
			return taken{child.ProcessState.UserTime() + child.ProcessState.SystemTime(), peak}
		case <-time.After(20 * time.Millisecond):
			peak = max(peak, peakMemory(child.Process.Pid))
		}
	}
}

// peakMemory is the most memory that a process has had so far, in bytes.
func peakMemory(pid int) (kib int64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if _, after, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
		fmt.Sscan(string(after), &kib)
	}
	return kib << 10
}

// engine has ClickHouse itself consume the topic.
//
// Into a ReplacingMergeTree it looks in each insert for rows that replace each
// other, which no setting of a Kafka table prevents, and which ingest does not
// ask for. How fast it is without shows in a plain MergeTree.
func (p *pipeline) engine(as string) taken {
	p.t.Helper()
	var partition, order string
	if err := p.conn.QueryRow(p.t.Context(), `SELECT partition_key, sorting_key FROM system.tables
		WHERE database = currentDatabase() AND name = 'usage_events'`).Scan(&partition, &order); err != nil {
		p.t.Fatal(err)
	}
	p.exec(`CREATE TABLE engine_events AS usage_events ENGINE = ` + as + `
		PARTITION BY ` + partition + ` ORDER BY (` + order + `) SETTINGS auto_statistics_types = ''`)
	p.exec(fmt.Sprintf(`CREATE TABLE queue (raw String) ENGINE = Kafka SETTINGS
		kafka_broker_list = '%s', kafka_topic_list = '%s', kafka_group_name = 'engine-%d', kafka_format = 'RawBLOB',
		kafka_num_consumers = 2, kafka_thread_per_consumer = 1, kafka_max_block_size = 262144, kafka_flush_interval_ms = 1000`,
		p.Broker, p.Prefix+schemas.TopicAgent, time.Now().UnixNano()))
	p.exec(`CREATE MATERIALIZED VIEW consumer TO engine_events AS
		WITH JSONExtract(raw, 'Tuple(id String, source String, time String, tenantid String, data Tuple(agentId String, startTime String, endTime String,
				licenceClass String, revision Int32, voided Bool, subscriptionId String))') AS e,
			toUnixTimestamp64Milli(parseDateTime64BestEffort(e.data.startTime, 3, 'UTC')) AS start
		SELECT e.tenantid AS tenant, 'agent.session' AS type, e.source AS source, e.id AS id, e.data.revision AS revision, e.data.voided AS voided,
			toUnixTimestamp64Milli(parseDateTime64BestEffort(e.time, 3, 'UTC')) AS time_ms, start AS occurred_ms, start AS start_ms,
			toUnixTimestamp64Milli(parseDateTime64BestEffort(e.data.endTime, 3, 'UTC')) AS end_ms, e.data.agentId AS agent,
			e.data.subscriptionId AS subscription, e.data.licenceClass AS class,
			_topic AS topic, _partition AS partition, _offset AS offset, toUnixTimestamp64Milli(assumeNotNull(_timestamp_ms)) AS arrived_ms
		FROM queue`)
	until := time.Now().Add(2 * time.Minute)
	for p.rows("SELECT count() FROM engine_events")[0] != fmt.Sprintf("(%d)", pipelineEvents) {
		if time.Now().After(until) {
			p.t.Fatalf("the engine has only %s", p.rows("SELECT count() FROM engine_events")[0])
		}
		time.Sleep(100 * time.Millisecond)
	}
	return taken{}
}

// clear drops what the engine made.
func (p *pipeline) clear() {
	p.t.Helper()
	for _, table := range []string{"consumer", "queue", "engine_events"} {
		p.exec("DROP TABLE " + table + " SYNC")
	}
}

// complete makes sure that a table has every delivery once.
func (p *pipeline) complete(table string) {
	p.t.Helper()
	if got, want := p.rows("SELECT count(), uniqExact(partition, offset) FROM " + table)[0],
		fmt.Sprintf("(%d,%[1]d)", pipelineEvents); got != want {
		p.t.Errorf("%s has %s rows and distinct ones, not %s", table, got, want)
	}
}

// fetchAlone reads the topic and does nothing with it.
func (p *pipeline) fetchAlone() taken {
	return p.alone(func(kafka.TopicPartition) func(*kafka.Record) { return func(*kafka.Record) {} })
}

// decodeAlone reads the topic into rows that go nowhere.
func (p *pipeline) decodeAlone() taken {
	return p.alone(func(p kafka.TopicPartition) func(*kafka.Record) {
		l := &partitionBuffer{TopicPartition: p}
		var decoder schemas.Decoder
		var event schemas.Event
		return func(r *kafka.Record) {
			if len(l.chunks) == 2 {
				l.chunks[0].free()
				l.chunks = append(l.chunks[:0], l.chunks[1])
			}
			if why := decoder.Decode(schemas.AgentSession, nil, r.Value, &event); why != nil {
				panic(why)
			}
			l.accept(&event, r)
		}
	})
}

func (p *pipeline) alone(visitor func(kafka.TopicPartition) func(*kafka.Record)) taken {
	p.t.Helper()
	before := p.self()
	group, ctx := errgroup.WithContext(p.t.Context())
	for i := range pipelinePartitions {
		group.Go(func() error {
			from := p.Partition(schemas.TopicAgent, i)
			visit := visitor(from)
			for next := int64(0); next < pipelineEvents/pipelinePartitions; {
				var err error
				next, err = p.Client.Visit(ctx, from, next, DefaultConfig().FetchBytes, time.Second, func(r *kafka.Record) error {
					visit(r)
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		p.t.Fatal(err)
	}
	return taken{cpu: p.self() - before}
}

// self is the CPU time of this process.
func (p *pipeline) self() time.Duration { return p.cpu(os.Getpid()) }

// cpu is the CPU time that a process has used, to the 10 ms.
func (p *pipeline) cpu(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// kafkaPID finds the broker among the children of this process, or returns 0.
func kafkaPID() int {
	var children []byte
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	for _, task := range tasks {
		more, _ := os.ReadFile(task)
		children = append(append(children, ' '), more...)
	}
	for _, child := range strings.Fields(string(children)) {
		if line, err := os.ReadFile("/proc/" + child + "/cmdline"); err == nil && bytes.Contains(line, []byte("\x00kafka.Kafka\x00")) {
			pid, _ := strconv.Atoi(child)
			return pid
		}
	}
	return 0
}

// report prints what was measured.
func (p *pipeline) report() {
	var engine time.Duration
	for _, m := range p.results {
		if m.name == "Kafka engine to ReplacingMergeTree" {
			engine = m.took
		}
	}
	fmt.Printf("\n%d deliveries of %d bytes in %d partitions; %s\n", pipelineEvents, len(realistic(rand.New(rand.NewPCG(1, 1)), 0, 0).Value),
		pipelinePartitions, p.machine())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tdeliveries/s\tto the engine\tCPU s/M: ours\tClickHouse\tKafka\tpeak MiB\t")
	perMillion := func(d time.Duration) float64 { return d.Seconds() / pipelineEvents * 1e6 }
	for _, m := range p.results {
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t\n", m.name, pipelineEvents/m.took.Seconds(), engine.Seconds()/m.took.Seconds(),
			perMillion(m.ours), perMillion(m.clickHouse), perMillion(m.kafka), m.peak>>20)
	}
	w.Flush()
}

// machine says what this was measured on.
func (p *pipeline) machine() string {
	model, memory := "", ""
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(info), "model name\t: "); ok {
			model, _, _ = strings.Cut(after, "\n")
		}
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory = strings.Join(strings.Fields(strings.SplitN(string(info), "\n", 2)[0])[1:], " ")
	}
	return fmt.Sprintf("%d cores of %s, %s; %s, ClickHouse %s", runtime.NumCPU(), model, memory, runtime.Version(),
		strings.Trim(p.rows("SELECT version()")[0], "(')"))
}
