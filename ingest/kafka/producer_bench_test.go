package kafka_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
)

// BenchmarkProducer writes sessions in batches of 1,000, as many callers at once do, and the same by Publish from a
// file: it reports sessions a second, and how many times as long the batches take.
func BenchmarkProducer(b *testing.B) {
	const sessions, batch, callers = 200_000, 1000, 16
	e := kafkatest.New(b, servicetest.Kafka(b), 4)
	var lines [][]byte
	for i := range sessions {
		lines = append(lines, []byte(kafkatest.Session(fmt.Sprint("tenant-", i%200), fmt.Sprint("agent-", i%1000), i)))
	}
	file := bytes.Join(lines, []byte("\n"))
	var batches, published time.Duration
	for b.Loop() {
		producer := e.Client.NewProducer()
		began := time.Now()
		group, ctx := errgroup.WithContext(b.Context())
		group.SetLimit(callers)
		for from := 0; from < sessions; from += batch {
			group.Go(func() error {
				records := make([]kafka.TopicMessage, batch)
				for i := range records {
					records[i] = kafka.TopicMessage{Topic: e.Prefix + schemas.TopicAgent, Message: kafka.Message{
						Key: fmt.Append(nil, "tenant-", (from+i)%200), Value: lines[from+i]}}
				}
				return producer.Write(ctx, records)
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		batches += time.Since(began)
		began = time.Now()
		if _, err := e.Client.NewPublisher(e.Prefix, nil).Publish(b.Context(), bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
		published += time.Since(began)
	}
	b.ReportMetric(float64(b.N)*sessions/batches.Seconds(), "sessions/s")
	b.ReportMetric(batches.Seconds()/published.Seconds(), "times-publish")
}
