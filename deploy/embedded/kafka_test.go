package embedded_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
)

func createTopic(t *testing.T, broker, topic string) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	resp, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}},
	})
	if err == nil {
		err = resp.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
}

func produce(ctx context.Context, broker, topic string, from, to int) error {
	w := &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, MaxAttempts: 1}
	defer w.Close()
	var messages []kafka.Message
	for i := from; i < to; i++ {
		messages = append(messages, kafka.Message{Value: []byte(strconv.Itoa(i))})
	}
	return w.WriteMessages(ctx, messages...)
}

// consume reads n records in a consumer group, expecting the numbers from first on, and commits them.
func consume(t *testing.T, broker, topic, group string, first, n int) {
	t.Helper()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, GroupID: group, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for i := first; i < first+n; i++ {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if got := string(m.Value); got != strconv.Itoa(i) || m.Offset != int64(i) {
			t.Fatalf("offset %d holds %s, want %d", m.Offset, got, i)
		}
		if err := r.CommitMessages(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKafkaKeepsRecordsAndOffsets(t *testing.T) {
	o := embedded.Options{Data: t.TempDir()}
	k, err := embedded.StartKafka(o)
	if err != nil {
		t.Fatal(err)
	}
	createTopic(t, k.Addr, "events")
	if err := produce(t.Context(), k.Addr, "events", 0, 10); err != nil {
		t.Fatal(err)
	}
	consume(t, k.Addr, "events", "metering", 0, 4)
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	if k, err = embedded.StartKafka(o); err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	consume(t, k.Addr, "events", "metering", 4, 6)
}

func TestEverythingKilled(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	data := t.TempDir()
	helper, broker, clickHouse := startHelper(t, data)
	createTopic(t, broker, "events")
	if err := produce(t.Context(), broker, "events", 0, 10); err != nil {
		t.Fatal(err)
	}
	consume(t, broker, "events", "metering", 0, 4)
	conn := connect(t, clickHouse, "default")
	exec1(t, conn, "CREATE DATABASE apportion")
	exec1(t, conn, "CREATE TABLE apportion.events (n UInt64) ENGINE = MergeTree ORDER BY n")
	exec1(t, conn, "INSERT INTO apportion.events SELECT number FROM numbers(1000)")

	dead := time.AfterFunc(300*time.Millisecond, func() { helper.Process.Kill() })
	acknowledged := 10
	for produce(t.Context(), broker, "events", acknowledged, acknowledged+1) == nil {
		acknowledged++
	}
	dead.Stop()
	helper.Wait()
	if acknowledged == 10 {
		t.Error("no record was acknowledged before the kill")
	}

	_, broker, clickHouse = startHelper(t, data)
	consume(t, broker, "events", "metering", 4, acknowledged-4)
	if got := scalar[uint64](t, connect(t, clickHouse, "apportion"), "SELECT count() FROM events"); got != 1000 {
		t.Errorf("%d rows after SIGKILL of both servers, want 1000", got)
	}
}

func TestTopicsAreNotMadeByMistake(t *testing.T) {
	broker := servicetest.Kafka(t)
	err := produce(t.Context(), broker, fmt.Sprintf("no-such-topic-%d", time.Now().UnixNano()), 0, 1)
	if err == nil || !strings.Contains(err.Error(), "Unknown Topic") {
		t.Errorf("a record for a topic that does not exist: %v", err)
	}
}

func TestTwoBrokersDoNotShareData(t *testing.T) {
	o := embedded.Options{Data: t.TempDir()}
	k, err := embedded.StartKafka(o)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	if _, err := embedded.StartKafka(o); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second broker on the same data: %v", err)
	}
	_, err = embedded.StartKafka(embedded.Options{KafkaPort: port(t, k.Addr)})
	if err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("a second broker on the same port: %v", err)
	}
}
