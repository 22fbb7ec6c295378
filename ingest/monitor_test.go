package ingest

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"apportion/ingest/kafka"
)

// A backlog that the ledger does not move on is trouble; one that it does move on, however slowly, is not.
func TestMonitorTellsStuckFromSlow(t *testing.T) {
	p, other := partition("usage.agent.v1", 0), partition("usage.agent.v1", 1)
	m := &Monitor{partitions: make(map[kafka.TopicPartition]*watched)}
	start := time.Unix(1_800_000_000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	if got := m.unreadyAt(at(0)); !slices.Equal(got, []string{"starting"}) {
		t.Errorf("before the first look: %q, want starting", got)
	}
	m.polled = true
	for _, step := range []struct {
		second, next, end int
		want              []string
	}{
		{0, 0, 100, nil},
		{25, 1, 100, nil}, // slow
		{50, 1, 100, nil}, // 25 s without a move
		{56, 1, 120, []string{"usage.agent.v1/0: nothing taken in for 31s, with 119 offsets waiting"}},
		{60, 2, 120, nil},
		{300, 120, 120, nil}, // nothing left
		{900, 120, 121, nil}, // the first after a long rest has only just come
		{931, 120, 121, []string{"usage.agent.v1/0: nothing taken in for 31s, with 1 offsets waiting"}},
	} {
		if step.second == 900 {
			m.observe(map[kafka.TopicPartition]kafka.Bounds{p: bounds(0, 120), other: {}}, map[kafka.TopicPartition]int64{p: 120}, at(900))
		}
		m.observe(map[kafka.TopicPartition]kafka.Bounds{p: bounds(0, int64(step.end)), other: {}}, map[kafka.TopicPartition]int64{p: int64(step.next)}, at(step.second))
		if got := m.unreadyAt(at(step.second)); !slices.Equal(got, step.want) {
			t.Errorf("after %d s: %q, want %q", step.second, got, step.want)
		}
	}
	// Kafka has deleted what was next, and all of what there was.
	m.observe(map[kafka.TopicPartition]kafka.Bounds{p: bounds(125, 130), other: bounds(7, 7)}, map[kafka.TopicPartition]int64{p: 120}, at(940))
	want := []Observation{{p, 125, 130, 5, -5}, {other, 7, 7, 0, -7}}
	if got := m.Observations(); !slices.Equal(got, want) {
		t.Errorf("seen %v, want %v", got, want)
	}
	if got := m.unreadyAt(at(980)); !slices.Equal(got, []string{"usage.agent.v1/0: nothing taken in for 40s, with 5 offsets waiting"}) {
		t.Errorf("trouble %q", got)
	}
}

// The monitor sees the real ledger and the real ends.
func TestMonitorSeesLag(t *testing.T) { eachKafka(t, testMonitorSeesLag) }

func testMonitorSeesLag(t *testing.T, broker string) {
	e := newEnvOn(t, broker, 1)
	e.Publish(session("acme", "1", 0), session("acme", "2", 0), "not JSON")
	m := NewMonitor(e.Client, e.conn, e.Prefix, slog.New(slog.DiscardHandler))
	if err := m.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := m.Observations()[0], (Observation{e.Partition("usage.agent.v1", 0), 0, 3, 3, 0}); got != want {
		t.Errorf("before: %v, want %v", got, want)
	}
	ledger := NewLedger(e.Client, e.conn, e.Prefix)
	if since, waiting, err := ledger.WaitingSince(t.Context()); err != nil || !waiting || since <= 0 {
		t.Errorf("what is published waits since %d, %t, %v", since, waiting, err)
	}
	e.ingest(e.config(), e.deps())
	if _, waiting, err := ledger.WaitingSince(t.Context()); err != nil || waiting {
		t.Errorf("what is taken in waits: %t, %v", waiting, err)
	}
	if err := m.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := ledger.Observations(t.Context()); err != nil || !slices.Equal(got, m.Observations()) {
		t.Errorf("the ledger sees %v, %v, and the monitor %v", got, err, m.Observations())
	}
	if got, want := m.Observations()[0], (Observation{e.Partition("usage.agent.v1", 0), 3, 3, 0, 3}); got != want {
		t.Errorf("after: %v, want %v", got, want)
	}
	if got := m.Unready(); len(got) > 0 {
		t.Errorf("trouble: %q", got)
	}
	e.exec("DROP TABLE ingest_batches")
	if err := m.poll(t.Context()); err == nil || len(m.Unready()) != 1 {
		t.Errorf("without the ledger: %v, trouble %q; want one", err, m.Unready())
	}
}
