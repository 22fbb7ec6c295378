// Package kafka is the client of Kafka: it creates and checks the topics, publishes deliveries from files, appends
// to and reads the log of registry commands, and hands ingest the partitions of a consumer group and their records.
// Records come from the brokers and go to callbacks; what they mean is for the callers to say.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"apportion/schemas"
	"apportion/schemas/retry"
)

// TopicPartition is one partition of a topic; the topic's prefix is included.
type TopicPartition = schemas.TopicPartition

// Bounds are the offsets that a partition has: [First, End). Kafka has deleted those before First. Records of
// transactions still open lie beyond End.
type Bounds struct{ First, End int64 }

// ErrOffsetOutOfRange is the error of reading from an offset that a partition does not have.
var ErrOffsetOutOfRange error = kafkago.OffsetOutOfRange

// Client is a connection to a Kafka cluster. It connects when it is first used, and everything of the program can
// share one.
type Client struct {
	// Log says what Kafka keeps the program waiting for.
	Log *slog.Logger

	brokers   Brokers
	service   retry.Service
	addr      net.Addr
	transport *kafkago.Transport
	client    *kafkago.Client
}

// NewClient returns a Client of a cluster. The log may be nil.
func NewClient(brokers Brokers, log *slog.Logger) *Client {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	transport, addr := brokers.transport(), kafkago.TCP(brokers.Addrs...)
	return &Client{
		Log:       log,
		brokers:   brokers,
		service:   retry.Service{Name: brokers.String(), Log: log, Refused: refused},
		addr:      addr,
		transport: transport,
		client:    &kafkago.Client{Addr: addr, Transport: transport, Timeout: 15 * time.Second},
	}
}

// Close lets go of the connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// String names the cluster in messages.
func (c *Client) String() string { return c.service.Name }

// Do repeats an attempt while Kafka is away, as [retry.Service.Do] says.
func (c *Client) Do(ctx context.Context, try func(context.Context) error) error {
	return c.service.Do(ctx, try)
}

// Partitions lists those of the topics. A topic that does not exist is a permanent error.
func (c *Client) Partitions(ctx context.Context, topics ...string) ([]TopicPartition, error) {
	metadata, err := c.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, err
	}
	var partitions []TopicPartition
	for _, t := range metadata.Topics {
		if errors.Is(t.Error, kafkago.UnknownTopicOrPartition) {
			return nil, retry.Permanent(NoTopicError{c.String(), t.Name})
		}
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			partitions = append(partitions, TopicPartition{Topic: t.Name, Partition: p.ID})
		}
	}
	return partitions, nil
}

// NoTopicError says that a topic does not exist.
type NoTopicError struct{ cluster, topic string }

func (e NoTopicError) Error() string {
	return fmt.Sprintf("%s has no topic %s: create the topics by a migration", e.cluster, e.topic)
}

// Bounds returns the offsets that each partition has now.
func (c *Client) Bounds(ctx context.Context, partitions ...TopicPartition) (map[TopicPartition]Bounds, error) {
	request := make(map[string][]kafkago.OffsetRequest)
	for _, p := range partitions {
		request[p.Topic] = append(request[p.Topic],
			kafkago.FirstOffsetOf(p.Partition), kafkago.LastOffsetOf(p.Partition))
	}
	response, err := c.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Topics:         request,
		IsolationLevel: kafkago.ReadCommitted,
	})
	if err != nil {
		return nil, err
	}
	all := make(map[TopicPartition]Bounds, len(partitions))
	for topic, offsets := range response.Topics {
		for _, p := range offsets {
			if p.Error != nil {
				return nil, fmt.Errorf("offsets of %s/%d: %w", topic, p.Partition, p.Error)
			}
			all[TopicPartition{Topic: topic, Partition: p.Partition}] = Bounds{p.FirstOffset, p.LastOffset}
		}
	}
	if len(all) < len(partitions) {
		return nil, fmt.Errorf("%s told the offsets of %d partitions out of %d", c, len(all), len(partitions))
	}
	return all, nil
}

// MaxWait is how long a broker may keep a fetch waiting when there are no records.
const MaxWait = 500 * time.Millisecond

// Fetch asks for the records of a partition from an offset on. It waits for the first one, at most for the given
// time. What is read is bounded by maxBytes or, if that is greater, by the first batch: brokers give that one whole.
func (c *Client) Fetch(ctx context.Context, p TopicPartition, from int64, maxBytes int, wait time.Duration) (
	*Records, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+c.client.Timeout)
	defer cancel()
	message, err := c.transport.RoundTrip(ctx, c.addr, &fetch.Request{
		ReplicaID:   -1,
		MaxWaitTime: int32(wait.Milliseconds()),
		MinBytes:    1,
		// One partition is asked for, and bounded below. A broker that stops at this
		// bound instead may forget to say which transactions were aborted.
		MaxBytes:       math.MaxInt32,
		IsolationLevel: int8(kafkago.ReadCommitted),
		SessionID:      -1,
		SessionEpoch:   -1,
		Topics: []fetch.RequestTopic{{
			Topic: p.Topic,
			Partitions: []fetch.RequestPartition{{
				Partition:          int32(p.Partition),
				CurrentLeaderEpoch: -1,
				FetchOffset:        from,
				LogStartOffset:     -1,
				PartitionMaxBytes:  int32(min(maxBytes, math.MaxInt32)),
			}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", p, err)
	}
	response := message.(*fetchResponse)
	if response.ErrorCode != 0 {
		return nil, fmt.Errorf("fetching %s: %w", p, kafkago.Error(response.ErrorCode))
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("fetching %s: the broker answered for %d topics", p, len(response.Topics))
	}
	partition := &response.Topics[0].Partitions[0]
	if partition.ErrorCode != 0 {
		return nil, fmt.Errorf("fetching %s from %d: %w", p, from, kafkago.Error(partition.ErrorCode))
	}
	r := &Records{
		Next: from, End: partition.LastStableOffset, partition: p, from: from,
		aborted: abortedTransactions{pending: partition.AbortedTransactions},
		fetched: partition.Batches.data,
	}
	if r.fetched != nil {
		r.batches = *r.fetched
	}
	return r, nil
}

// Visit fetches once and hands each record to a function, in order; a record is valid during its visit only. An
// error of the function ends it and is returned as it is. next is the offset to fetch from next.
func (c *Client) Visit(ctx context.Context, p TopicPartition, from int64, maxBytes int, wait time.Duration,
	visit func(*Record) error) (next int64, err error) {
	records, err := c.Fetch(ctx, p, from, maxBytes, wait)
	if err != nil {
		return from, err
	}
	defer records.Close()
	for {
		r, err := records.Read()
		if r == nil || err != nil {
			return records.Next, err
		}
		if err := visit(r); err != nil {
			return records.Next, err
		}
	}
}
