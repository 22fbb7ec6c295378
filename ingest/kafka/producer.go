package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"golang.org/x/sync/semaphore"
)

// TopicMessage is a record to be written to a topic, whose prefix is included.
type TopicMessage struct {
	Topic string
	Message
}

// Producer writes records of many callers at once, those that come together in one request to a broker. It is safe for
// several goroutines, connects when it is first used, and lives as long as its client.
type Producer struct {
	writer *kafkago.Writer
	room   *semaphore.Weighted // bytes
}

const (
	// lingers is for how long a request waits for more records.
	lingers = 5 * time.Millisecond
	// mostRecords is how many records a request has, at the most. The writer allocates room for as many at once.
	mostRecords = 1000
	// maxUnderWay is how many bytes are written at a time. Those of callers who have stopped waiting count, too: a Kafka
	// that is away must not fill the memory.
	maxUnderWay = 64 << 20
	// givesUp is when the records of a caller who has stopped waiting are not waited for any longer, either.
	givesUp = 2 * time.Minute
)

// NewProducer returns a Producer to the client's cluster.
func (c *Client) NewProducer() *Producer {
	return &Producer{
		room: semaphore.NewWeighted(maxUnderWay),
		writer: &kafkago.Writer{
			Addr: c.addr, Transport: c.transport, Balancer: kafkago.Murmur2Balancer{}, Compression: compression,
			RequiredAcks: kafkago.RequireAll, BatchSize: mostRecords, BatchBytes: maxRequestBytes, BatchTimeout: lingers,
			WriteBackoffMin: 20 * time.Millisecond, WriteBackoffMax: time.Second,
		},
	}
}

// Write writes records, each to the partition that Java's producers would choose for its key, in order within a
// partition, and returns once all replicas have them. After an error some of them may be there, and where ctx ended
// they may still be written: to write them again does no harm to deliveries (R8). Their memory must not be used
// again. A record and its headers must not be larger than a request to a broker.
func (p *Producer) Write(ctx context.Context, records []TopicMessage) error {
	messages := make([]kafkago.Message, len(records))
	var headers []kafkago.Header // of all records, which is much less to allocate
	size := 0
	for i := range records {
		r := &records[i]
		size += r.size()
		first := len(headers)
		for _, h := range r.Headers {
			headers = append(headers, kafkago.Header(h))
		}
		messages[i] = kafkago.Message{Topic: r.Topic, Key: r.Key, Value: r.Value,
			Headers: headers[first:len(headers):len(headers)]}
	}
	taken := min(int64(size), maxUnderWay)
	if err := p.room.Acquire(ctx, taken); err != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		defer p.room.Release(taken)
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), givesUp)
		defer cancel()
		done <- p.writer.WriteMessages(writing, messages...)
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-done:
		return writeError(err)
	}
}

// writeError returns the first of the errors of single records.
func writeError(err error) error {
	var each kafkago.WriteErrors
	if errors.As(err, &each) {
		for _, one := range each {
			if one != nil {
				return fmt.Errorf("writing to Kafka: %w", one)
			}
		}
	}
	return err
}
