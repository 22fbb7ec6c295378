package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"apportion/ingest/kafka"
	"apportion/ingest/kafka/kafkatest"
	"apportion/schemas"
)

func TestWritesGzip(t *testing.T) { kafkatest.Each(t, testWritesGzip) }

// testWritesGzip: dead letters are read by the teams that sent them, and gzip is the one codec that all of their
// clients have.
func testWritesGzip(t *testing.T, broker string) {
	e := kafkatest.New(t, broker, 1)
	topic := e.Prefix + schemas.TopicRejected
	if _, err := e.Client.Send(t.Context(), topic, []kafka.Message{{Value: []byte("refused")}}); err != nil {
		t.Fatal(err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fetches := reader.PollFetches(t.Context())
	records := fetches.Records()
	if fetches.Err() != nil || len(records) != 1 || string(records[0].Value) != "refused" {
		t.Fatalf("read %d records, %v", len(records), fetches.Err())
	}
	const gzip = 1 // Kafka's number of it
	if got := records[0].Attrs.CompressionType(); got != gzip {
		t.Errorf("compressed by codec %d, want %d", got, gzip)
	}
}
