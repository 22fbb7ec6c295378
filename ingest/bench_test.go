package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/protocol"

	"apportion/schemas"
)

// BenchmarkBatch decodes deliveries into columns.
func BenchmarkBatch(b *testing.B) {
	values := make([][]byte, 10_000)
	bytes := 0
	for i, line := range sessions(len(values)) {
		values[i] = []byte(line)
		bytes += len(line)
	}
	batch := newBatch(place{"usage.agent.v1", 0}, schemas.AgentSession)
	b.SetBytes(int64(bytes / len(values)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(values) == 0 {
			batch.reset()
		}
		record := protocol.Record{Offset: int64(i), Value: protocol.NewBytes(values[i%len(values)])}
		if err := batch.add(&record); err != nil {
			b.Fatal(err)
		}
	}
	if len(batch.rejected) > 0 {
		b.Fatal(batch.rejected[0].why)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkInsert inserts full batches.
func BenchmarkInsert(b *testing.B) {
	e := newEnv(b, 1)
	batch := newBatch(place{"usage.agent.v1", 0}, schemas.AgentSession)
	for i, line := range sessions(50_000) {
		if err := batch.add(&protocol.Record{Offset: int64(i), Value: protocol.NewBytes([]byte(line))}); err != nil {
			b.Fatal(err)
		}
	}
	store := store{e.conn}
	for b.Loop() {
		if err := store.insert(b.Context(), "usage_events", batch.events()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batch.accepted())/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkPublish publishes files of 100,000 deliveries.
func BenchmarkPublish(b *testing.B) {
	e := newEnv(b, 4)
	file := strings.Join(sessions(100_000), "\n")
	p := NewPublisher(at(e.broker), e.prefix, nil, nil)
	defer p.Close()
	for b.Loop() {
		if _, err := p.Publish(b.Context(), strings.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkIngest takes in 400,000 deliveries from Kafka to ClickHouse.
func BenchmarkIngest(b *testing.B) {
	e := newEnv(b, 4)
	for i := range 4 {
		lines := sessions(100_000)
		for j := range lines {
			lines[j] = session(fmt.Sprintf("tenant-%d", j%100), fmt.Sprintf("s-%d-%d", i, j), 0)
		}
		e.publish(lines...)
	}
	for b.Loop() {
		e.ingest(e.config(), e.deps())
		b.StopTimer()
		e.exec("TRUNCATE TABLE ingest_batches")
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*400_000/b.Elapsed().Seconds(), "deliveries/s")
}
