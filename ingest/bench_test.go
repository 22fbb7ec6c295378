package ingest

import (
	"fmt"
	"strings"
	"testing"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

// BenchmarkRows decodes deliveries into columns.
func BenchmarkRows(b *testing.B) {
	records := make([]kafka.Record, 10_000)
	bytes := 0
	for i, line := range sessions(len(records)) {
		records[i] = kafka.Record{Offset: int64(i), Value: []byte(line)}
		bytes += len(line)
	}
	var decoder schemas.Decoder
	var event schemas.Event
	rows := new(rows)
	b.SetBytes(int64(bytes / len(records)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if rows.len() == chunkRows {
			rows.reset()
		}
		r := &records[i%len(records)]
		if why := decoder.Decode(schemas.AgentSession, nil, r.Value, &event); why != nil {
			b.Fatal(why)
		}
		rows.append(&event, r)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkInsert inserts full batches.
func BenchmarkInsert(b *testing.B) {
	e := newEnv(b, 1)
	batch := newBatch([]kafka.TopicPartition{partition("usage.agent.v1", 0)}, nil)
	var decoder schemas.Decoder
	var event schemas.Event
	for i, line := range sessions(DefaultConfig().BatchRows) {
		if why := decoder.Decode(schemas.AgentSession, nil, []byte(line), &event); why != nil {
			b.Fatal(why)
		}
		batch.buffers[0].accept(&event, &kafka.Record{Offset: int64(i)})
	}
	store := storeOf(e.conn)
	b.ReportAllocs()
	for b.Loop() {
		if err := store.insertEvents(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batch.accepted())/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkPublish publishes files of 100,000 deliveries.
func BenchmarkPublish(b *testing.B) {
	e := newEnv(b, 4)
	file := strings.Join(sessions(100_000), "\n")
	p := e.Client.NewPublisher(e.Prefix, nil)
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
		e.Publish(lines...)
	}
	for b.Loop() {
		e.ingest(e.config(), e.deps())
		b.StopTimer()
		e.exec("TRUNCATE TABLE ingest_batches")
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*400_000/b.Elapsed().Seconds(), "deliveries/s")
}
