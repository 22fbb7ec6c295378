package kafka

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"apportion/schemas"
	"apportion/schemas/retry"
)

// Message is a record to be written. A nil key or value is null, which an
// empty one is not.
type Message struct {
	Key, Value []byte
	Headers    []schemas.Header
}

// size is at least what the message takes in a record batch.
func (m *Message) size() int {
	const overhead = 40
	n := overhead + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += overhead + len(h.Key) + len(h.Value)
	}
	return n
}

// maxRequestBytes keeps a request of several messages below what a broker
// takes by default. A single message may be larger.
const maxRequestBytes = 900_000

// requests cuts messages into runs that a broker takes at once by default, each of at least one.
func requests(messages []Message) iter.Seq[[]Message] {
	return func(yield func([]Message) bool) {
		for len(messages) > 0 {
			n, size := 1, messages[0].size()
			for n < len(messages) && size+messages[n].size() <= maxRequestBytes {
				size += messages[n].size()
				n++
			}
			if !yield(messages[:n]) {
				return
			}
			messages = messages[n:]
		}
	}
}

// Send writes messages to a topic, each to the partition that Java's producers
// would choose for its key, in order within a partition. It returns once all
// replicas have them. A message may be written twice when an answer is lost.
//
// Messages that the broker refuses for their size are left out; their indexes
// are returned.
func (c *Client) Send(ctx context.Context, topic string, messages []Message) (tooLarge []int, err error) {
	var partitions []TopicPartition
	err = c.Do(ctx, func(ctx context.Context) (err error) {
		partitions, err = c.Partitions(ctx, topic)
		return err
	})
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(partitions))
	for i, p := range partitions {
		numbers[i] = p.Partition
	}
	slices.Sort(numbers)
	chosen := make(map[int][]int) // by partition, indexes of messages
	for i := range messages {
		p := kafkago.Murmur2Balancer{}.Balance(kafkago.Message{Key: messages[i].Key}, numbers...)
		chosen[p] = append(chosen[p], i)
	}
	refused := make(chan int, len(messages))
	group, ctx := errgroup.WithContext(ctx)
	for partition, indexes := range chosen {
		group.Go(func() error {
			mine := make([]Message, len(indexes))
			for n, i := range indexes {
				mine[n] = messages[i]
			}
			for request := range requests(mine) {
				_, err := c.Produce(ctx, TopicPartition{Topic: topic, Partition: partition}, request)
				switch {
				case errors.Is(err, kafkago.MessageSizeTooLarge) && len(request) == 1:
					refused <- indexes[0]
				case err != nil:
					return err
				}
				indexes = indexes[len(request):]
			}
			return nil
		})
	}
	err = group.Wait()
	close(refused)
	for i := range refused {
		tooLarge = append(tooLarge, i)
	}
	slices.Sort(tooLarge)
	return tooLarge, err
}

// refusals are the broker's answers that repeating would not change.
var refusals = []kafkago.Error{
	kafkago.MessageSizeTooLarge,
	kafkago.RecordListTooLarge,
	kafkago.InvalidTopic,
	kafkago.InvalidTimestamp,
	kafkago.TopicAuthorizationFailed,
	kafkago.ClusterAuthorizationFailed,
	kafkago.PolicyViolation,
}

// compression is the one codec that all Kafka clients read by themselves: kafkajs has no other, and kafka-python needs
// a library more for Snappy. Others read the dead letters and the registry's commands.
const compression = kafkago.Gzip

// Produce writes messages to a partition as one batch, all or none, and returns
// the offset of the first.
func (c *Client) Produce(ctx context.Context, p TopicPartition, messages []Message) (first int64, err error) {
	err = c.Do(ctx, func(ctx context.Context) error {
		records := make([]kafkago.Record, len(messages))
		for i, m := range messages {
			records[i] = kafkago.Record{Key: kafkago.NewBytes(m.Key), Value: kafkago.NewBytes(m.Value)}
			for _, h := range m.Headers {
				records[i].Headers = append(records[i].Headers, kafkago.Header(h))
			}
		}
		response, err := c.client.Produce(ctx, &kafkago.ProduceRequest{
			Topic:        p.Topic,
			Partition:    p.Partition,
			RequiredAcks: kafkago.RequireAll,
			Compression:  compression,
			Records:      kafkago.NewRecordReader(records...),
		})
		if err == nil {
			err = response.Error
		}
		if err != nil {
			err = fmt.Errorf("writing to %s: %w", p, err)
			var code kafkago.Error
			if errors.As(err, &code) && slices.Contains(refusals, code) {
				return retry.Permanent(err)
			}
			return err
		}
		first = response.BaseOffset
		return nil
	})
	return first, err
}
