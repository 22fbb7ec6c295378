package ingest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// message is a record to be written. A nil key or value is null, which an
// empty one is not.
type message struct {
	key, value []byte
	headers    []kafka.Header
}

// size is at least what the message takes in a record batch.
func (m *message) size() int {
	const overhead = 40
	n := overhead + len(m.key) + len(m.value)
	for _, h := range m.headers {
		n += overhead + len(h.Key) + len(h.Value)
	}
	return n
}

// maxRequestBytes keeps a request of several messages below what a broker
// takes by default. A single message may be larger.
const maxRequestBytes = 900_000

// requests cuts messages into runs that a broker takes at once by default, each of at least one.
func requests(messages []message) iter.Seq[[]message] {
	return func(yield func([]message) bool) {
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

// send writes messages to a topic, each to the partition that Java's producers
// would choose for its key, in order within a partition. It returns once all
// replicas have them. A message may be written twice when an answer is lost.
//
// Messages that the broker refuses for their size are left out; their indexes
// are returned.
func (c *cluster) send(ctx context.Context, wait *waiter, topic string, messages []message) (tooLarge []int, err error) {
	var places []place
	err = wait.do(ctx, c.String(), func(ctx context.Context) (err error) {
		places, err = c.partitions(ctx, topic)
		return err
	})
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(places))
	for i, p := range places {
		numbers[i] = p.partition
	}
	slices.Sort(numbers)
	chosen := make(map[int][]int) // by partition, indexes of messages
	for i := range messages {
		p := kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: messages[i].key}, numbers...)
		chosen[p] = append(chosen[p], i)
	}
	refused := make(chan int, len(messages))
	group, ctx := errgroup.WithContext(ctx)
	for partition, indexes := range chosen {
		group.Go(func() error {
			mine := make([]message, len(indexes))
			for n, i := range indexes {
				mine[n] = messages[i]
			}
			for request := range requests(mine) {
				_, err := c.produce(ctx, wait, place{topic, partition}, request)
				switch {
				case errors.Is(err, kafka.MessageSizeTooLarge) && len(request) == 1:
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
var refusals = []kafka.Error{
	kafka.MessageSizeTooLarge,
	kafka.RecordListTooLarge,
	kafka.InvalidTopic,
	kafka.InvalidTimestamp,
	kafka.TopicAuthorizationFailed,
	kafka.ClusterAuthorizationFailed,
	kafka.PolicyViolation,
}

// produce writes messages to a partition as one batch, all or none, and returns
// the offset of the first.
func (c *cluster) produce(ctx context.Context, wait *waiter, p place, messages []message) (first int64, err error) {
	err = wait.do(ctx, c.String(), func(ctx context.Context) error {
		records := make([]kafka.Record, len(messages))
		for i, m := range messages {
			records[i] = kafka.Record{Key: kafka.NewBytes(m.key), Value: kafka.NewBytes(m.value), Headers: m.headers}
		}
		response, err := c.client.Produce(ctx, &kafka.ProduceRequest{
			Topic:        p.topic,
			Partition:    p.partition,
			RequiredAcks: kafka.RequireAll,
			Compression:  kafka.Snappy,
			Records:      kafka.NewRecordReader(records...),
		})
		if err == nil {
			err = response.Error
		}
		if err != nil {
			err = fmt.Errorf("writing to %s: %w", p, err)
			var code kafka.Error
			if errors.As(err, &code) && slices.Contains(refusals, code) {
				return permanentError{err}
			}
			return err
		}
		first = response.BaseOffset
		return nil
	})
	return first, err
}
