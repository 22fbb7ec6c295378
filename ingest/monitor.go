package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/ingest/kafka"
	"apportion/schemas/retry"
)

// Monitor watches from outside whether deliveries are taken in: it compares
// where each partition ends with where the ledger does. It does not ask the
// consumers, so that one that hangs, or of which there is none, cannot pass
// for healthy; and it sees the whole group, whichever process it runs in.
type Monitor struct {
	usage
	log *slog.Logger
	// Check, which may be nil, is asked at every poll: an error of it is why nothing is ready.
	Check func(context.Context) error

	mu         sync.Mutex
	partitions map[kafka.TopicPartition]*watched
	failure    error // why the last poll failed
	polled     bool
	others     map[string]error // topics that are not those that were taken in
	compared   time.Time        // when they were last compared
}

// watched is what a Monitor knows of a partition.
type watched struct {
	Observation
	// moved is when the ledger last moved, or last had nothing left to take in.
	moved time.Time
}

const (
	// pollEvery is how often a Monitor polls.
	pollEvery = 5 * time.Second
	// stuckAfter is how long a backlog may stand without the ledger moving:
	// longer than a rebalance and a restart take together.
	stuckAfter = 30 * time.Second
)

// NewMonitor returns a Monitor that does nothing until Run.
func NewMonitor(client *kafka.Client, conn driver.Conn, topicPrefix string, log *slog.Logger) *Monitor {
	return &Monitor{
		usage:      newUsage(client, conn, topicPrefix, log),
		log:        log,
		partitions: make(map[kafka.TopicPartition]*watched),
	}
}

// Run polls every few seconds until ctx is done.
func (m *Monitor) Run(ctx context.Context) {
	for {
		if err := m.poll(ctx); err != nil && ctx.Err() == nil {
			m.log.Debug("the state of ingest is unknown", "error", err)
		}
		if !retry.Sleep(ctx, pollEvery) {
			return
		}
	}
}

func (m *Monitor) poll(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, pollEvery)
	defer cancel()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.failure, m.polled = err, true
	}()
	partitions, err := m.kafka.Partitions(ctx, m.topics()...)
	if err != nil {
		return fmt.Errorf("%s: %w", m.kafka, err)
	}
	ends, err := m.kafka.Bounds(ctx, partitions...)
	if err != nil {
		return fmt.Errorf("%s: %w", m.kafka, err)
	}
	if m.Check != nil {
		if err := m.Check(ctx); err != nil {
			return err
		}
	}
	ledger, err := m.store.positions(ctx, m.topics())
	if err != nil {
		return fmt.Errorf("%s: %w", m.store.service.Name, err)
	}
	if err := m.compareTopics(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observe(ends, ledger, time.Now())
	return nil
}

// compareEvery is how often the topics are compared with what was taken in, which costs more than a poll.
const compareEvery = time.Minute

// compareTopics finds out whether the topics are those that were taken in.
func (m *Monitor) compareTopics(ctx context.Context) error {
	if time.Since(m.compared) < compareEvery {
		return nil
	}
	others, err := m.compareOnce(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.others, m.compared = others, time.Now()
	return nil
}

// observe notes where the partitions end and where the ledger does.
func (m *Monitor) observe(ends map[kafka.TopicPartition]kafka.Bounds, ledger map[kafka.TopicPartition]int64,
	now time.Time) {
	for p, b := range ends {
		found := observationOf(p, b, ledger[p])
		w := m.partitions[p]
		if w == nil {
			w = &watched{moved: now}
			m.partitions[p] = w
		}
		if found.Next != w.Next || found.Lag == 0 {
			w.moved = now
		}
		w.Observation = found
	}
}

// Observation is a partition as somebody found it.
type Observation struct {
	kafka.TopicPartition
	// Next is the next offset that is to be taken in and that Kafka still has, End the end of the partition.
	Next, End int64
	// Lag is how many offsets are not taken in yet.
	Lag int64
	// Retained is how far the ledger is past the first offset that Kafka has. Below 0 Kafka has deleted deliveries
	// that were not taken in.
	Retained int64
}

// Observations returns every partition, by topic and partition.
func (m *Monitor) Observations() []Observation {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Observation
	for _, p := range m.inOrder() {
		all = append(all, m.partitions[p].Observation)
	}
	return all
}

// observationOf returns what there is to be seen of a partition whose next offset is to be taken in.
func observationOf(p kafka.TopicPartition, b kafka.Bounds, ledger int64) Observation {
	next := max(ledger, b.First) // what Kafka has deleted cannot be waited for
	return Observation{p, next, b.End, max(0, b.End-next), ledger - b.First}
}

func (m *Monitor) inOrder() []kafka.TopicPartition {
	return slices.SortedFunc(maps.Keys(m.partitions), kafka.TopicPartition.Compare)
}

// Unready returns why deliveries are not being taken in, in words; nothing
// while they are.
func (m *Monitor) Unready() []string { return m.unreadyAt(time.Now()) }

func (m *Monitor) unreadyAt(now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.polled {
		return []string{"starting"}
	}
	if m.failure != nil {
		return []string{m.failure.Error()}
	}
	var stuck []string
	for _, topic := range slices.Sorted(maps.Keys(m.others)) {
		stuck = append(stuck, m.others[topic].Error())
	}
	for _, p := range m.inOrder() {
		w := m.partitions[p]
		if idle := now.Sub(w.moved); w.Lag > 0 && idle > stuckAfter {
			stuck = append(stuck, fmt.Sprintf("%s: nothing taken in for %s, with %d offsets waiting",
				p, idle.Round(time.Second), w.Lag))
		}
	}
	return stuck
}
