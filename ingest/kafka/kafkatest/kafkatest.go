// Package kafkatest gives tests topics of their own on the embedded broker and on Apache Kafka. What a test puts there
// comes from itself and is read back by it, or by the ingest that it runs.
package kafkatest

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/schemas"
)

// Env is a set of topics of a test's own.
type Env struct {
	T      testing.TB
	Broker string
	Prefix string
	Client *kafka.Client
}

var (
	prefixes atomic.Int64
	began    = time.Now().Unix() // Apache Kafka outlives the process
)

// New returns an Env on a broker whose topics have that many partitions.
func New(t testing.TB, broker string, partitions int) *Env {
	t.Helper()
	e := &Env{
		T:      t,
		Broker: broker,
		Prefix: fmt.Sprintf("t%d-%d.", began, prefixes.Add(1)),
		Client: Connect(t, kafka.Brokers{Addrs: []string{broker}}),
	}
	e.CreateTopics(partitions)
	return e
}

// Connect returns a client that the end of the test closes.
func Connect(t testing.TB, brokers kafka.Brokers) *kafka.Client {
	client := kafka.NewClient(brokers, nil)
	t.Cleanup(func() { client.Close() })
	return client
}

// Each runs a test on the embedded broker and on Apache Kafka at once: everything must hold on both.
func Each(t *testing.T, test func(t *testing.T, broker string)) {
	for name, start := range map[string]func(testing.TB) string{
		"embedded": servicetest.Kafka, "apache": servicetest.ApacheKafka,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// Topics are those of a prefix with so many partitions.
func Topics(prefix string, partitions int) kafka.Topics {
	return kafka.Topics{Prefix: prefix, Partitions: partitions, Retention: 24 * time.Hour * kafka.DefaultRetentionDays}
}

// CreateTopics creates the topics and waits until every partition has a leader, which Apache Kafka sees to only
// after it has answered.
func (e *Env) CreateTopics(partitions int) {
	e.T.Helper()
	ctx := e.T.Context()
	if err := e.Client.CreateTopics(ctx, Topics(e.Prefix, partitions)); err != nil {
		e.T.Fatal(err)
	}
	topics := []string{e.Prefix + schemas.TopicRejected, e.Prefix + schemas.TopicRegistry}
	for _, t := range schemas.Types {
		topics = append(topics, e.Prefix+t.Topic())
	}
	servicetest.Until(e.T, "the topics have leaders", func() bool {
		all, err := e.Client.Partitions(ctx, topics...)
		if err == nil {
			_, err = e.Client.Bounds(ctx, all...)
		}
		return err == nil
	})
}

// Partition names a partition of a topic, whose prefix is left out.
func (e *Env) Partition(topic string, partition int) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: e.Prefix + topic, Partition: partition}
}

// Publish writes lines to their topics.
func (e *Env) Publish(lines ...string) kafka.Published {
	e.T.Helper()
	p := e.Client.NewPublisher(e.Prefix, nil)
	done, err := p.Publish(e.T.Context(), strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		e.T.Fatal(err)
	}
	return done
}

// Produce writes messages to one partition as they are.
func (e *Env) Produce(topic string, partition int, messages ...kafka.Message) {
	e.T.Helper()
	if _, err := e.Client.Produce(e.T.Context(), e.Partition(topic, partition), messages); err != nil {
		e.T.Fatal(err)
	}
}

// Record is a record, and its partition.
type Record struct {
	kafka.Record
	Partition int
}

// Read returns every record of a topic.
func (e *Env) Read(topic string) (records []Record) {
	e.T.Helper()
	ctx := e.T.Context()
	partitions, err := e.Client.Partitions(ctx, e.Prefix+topic)
	if err != nil {
		e.T.Fatal(err)
	}
	all, err := e.Client.Bounds(ctx, partitions...)
	if err != nil {
		e.T.Fatal(err)
	}
	for p, b := range all {
		for b.First < b.End {
			next, err := e.Client.Visit(ctx, p, b.First, 1<<20, time.Second, func(r *kafka.Record) error {
				copied := kafka.Record{Offset: r.Offset, TimeMS: r.TimeMS, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
				for _, h := range r.Headers {
					copied.Headers = append(copied.Headers,
						schemas.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)})
				}
				records = append(records, Record{copied, p.Partition})
				return nil
			})
			if err != nil {
				e.T.Fatal(err)
			}
			b.First = next
		}
	}
	return records
}

// Ask asks the broker something that the client cannot.
func (e *Env) Ask(r kmsg.Request) kmsg.Response {
	e.T.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(e.Broker))
	if err != nil {
		e.T.Fatal(err)
	}
	defer client.Close()
	response, err := client.Request(e.T.Context(), r)
	if err != nil {
		e.T.Fatal(err)
	}
	return response
}

func (e *Env) succeeds(code int16) {
	e.T.Helper()
	if err := kerr.ErrorForCode(code); err != nil {
		e.T.Fatal(err)
	}
}

// DeleteTopic deletes a topic.
func (e *Env) DeleteTopic(topic string) {
	e.T.Helper()
	name := e.Prefix + topic
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames = []string{name}
	remove.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	e.succeeds(e.Ask(remove).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode)
}

// AddPartition gives a topic of one partition a second one.
func (e *Env) AddPartition(topic string) {
	e.T.Helper()
	add := kmsg.NewPtrCreatePartitionsRequest()
	of := kmsg.NewCreatePartitionsRequestTopic()
	of.Topic, of.Count = e.Prefix+topic, 2
	add.Topics, add.TimeoutMillis = append(add.Topics, of), 15_000
	e.succeeds(e.Ask(add).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode)
}

// DeleteRecords deletes those of partition 0 before an offset, as retention does.
func (e *Env) DeleteRecords(topic string, before int64) {
	e.T.Helper()
	remove := kmsg.NewPtrDeleteRecordsRequest()
	remove.Topics = []kmsg.DeleteRecordsRequestTopic{{
		Topic:      e.Prefix + topic,
		Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: before}},
	}}
	e.succeeds(e.Ask(remove).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode)
}

// Session is an agent session that lasts an hour.
func Session(tenant, id string, revision int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":"agent.session",`+
		`"time":"2026-10-14T09:00:00Z","tenantid":%q,"data":{"agentId":"agent-1",`+
		`"startTime":"2026-10-14T08:00:00Z","endTime":"2026-10-14T09:00:00Z","revision":%d}}`,
		id, tenant, revision)
}

// Sessions are n of them, of a few tenants.
func Sessions(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = Session(fmt.Sprintf("tenant-%d", i%5), fmt.Sprintf("s-%d", i), 0)
	}
	return lines
}

// Messages are lines without keys.
func Messages(lines ...string) []kafka.Message {
	messages := make([]kafka.Message, len(lines))
	for i, line := range lines {
		messages[i] = kafka.Message{Value: []byte(line)}
	}
	return messages
}

// Headers pairs up names and values.
func Headers(pairs ...string) (headers []schemas.Header) {
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, schemas.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return headers
}
