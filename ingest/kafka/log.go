package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"apportion/schemas/retry"
)

// Log is a log of records in one order, that of the only partition of a topic. The registry's commands are one.
type Log struct {
	client    *Client
	partition TopicPartition
}

// NewLog returns the log that a topic is.
func (c *Client) NewLog(topic string) *Log {
	return &Log{c, TopicPartition{Topic: topic, Partition: 0}}
}

// ErrStop ends Read or Tail, whose callback returns it, before the record that it was called for, without an error.
var ErrStop = errors.New("stop reading")

// Read reads the log from an offset to the end that it has when the call begins. It hands each value, null as nil, to
// the callback, with its offset and Kafka timestamp in UTC epoch milliseconds, and returns the offset to go on from.
// While Kafka is away it waits. An error of the callback ends it, and is returned.
func (l *Log) Read(ctx context.Context, from int64, visit LogVisitor) (next int64, err error) {
	return l.read(ctx, from, false, visit)
}

// Tail is Read that goes on, waiting for more, until ctx is done, which is no error, or the callback ends it.
func (l *Log) Tail(ctx context.Context, from int64, visit LogVisitor) (next int64, err error) {
	return l.read(ctx, from, true, visit)
}

// LogVisitor is called with each record of a log.
type LogVisitor func(offset, arrivedMS int64, value []byte) error

// logFetchBytes is how much of a log to fetch at a time.
const logFetchBytes = 1 << 20

func (l *Log) read(ctx context.Context, from int64, tail bool, visit LogVisitor) (next int64, err error) {
	next = from
	var b Bounds
	var last readRecord // that was handed on
	var disturbed bool  // Kafka refused something: it may be another topic now
	err = l.client.Do(ctx, func(ctx context.Context) (err error) {
		b, err = l.bounds(ctx, from)
		return err
	})
	for err == nil && (tail || next < b.End) {
		err = l.client.Do(ctx, func(ctx context.Context) error {
			if disturbed && next > from {
				if err := l.same(ctx, last); err != nil {
					return err
				}
			}
			whole := false
			after, err := l.client.Visit(ctx, l.partition, next, logFetchBytes, MaxWait, func(r *Record) error {
				if !whole { // the topic may have gained partitions meanwhile
					if err := l.check(ctx); err != nil {
						return err
					}
					whole = true
				}
				if !tail && r.Offset >= b.End {
					return retry.Permanent(ErrStop)
				}
				value := bytes.Clone(r.Value)
				if err := visit(r.Offset, r.TimeMS, value); err != nil {
					return retry.Permanent(err)
				}
				next, last = r.Offset+1, readRecord{r.Offset, value}
				return nil
			})
			disturbed = err != nil
			if err == nil {
				next = after
			}
			if errors.Is(err, kafkago.OffsetOutOfRange) {
				_, err = l.bounds(ctx, next)
			}
			return err
		})
	}
	if errors.Is(err, ErrStop) || tail && ctx.Err() != nil {
		return next, nil
	}
	return next, err
}

// bounds returns the bounds of the log and makes sure that the offset is one
// to read from. A log is a fold's only source: with a part of it missing there
// is no going on.
func (l *Log) bounds(ctx context.Context, from int64) (Bounds, error) {
	if err := l.check(ctx); err != nil {
		return Bounds{}, err
	}
	all, err := l.client.Bounds(ctx, l.partition)
	if err != nil {
		return Bounds{}, err
	}
	b := all[l.partition]
	switch {
	case from < b.First:
		err = BrokenLogError{fmt.Sprintf("%s no longer has its records %d to %d: it must keep all (retention.ms=-1); %s",
			l.partition, from, b.First-1, refill)}
	case from > b.End:
		err = OtherLogError{l.partition.Topic,
			fmt.Sprintf("it was read up to offset %d, and has %d records now", from-1, b.End)}
	default:
		return b, nil
	}
	return Bounds{}, retry.Permanent(err)
}

// readRecord is a record that was read from a log.
type readRecord struct {
	offset int64
	value  []byte
}

// BrokenLogError says that a log has lost records, or may have some where they are not read.
type BrokenLogError struct{ what string }

func (e BrokenLogError) Error() string { return e.what }

// OtherLogError says that a log is not the one that was read before.
type OtherLogError struct{ topic, what string }

func (e OtherLogError) Error() string {
	return fmt.Sprintf("%s is not the topic that was read before: %s. It was recreated, cut or replaced, "+
		"or belongs to another Kafka, and nothing more of it is read. Point kafka.brokers at the Kafka that belongs "+
		"to this database; or, if the topic was lost, restore the registry from registry_log", e.topic, e.what)
}

// Same returns an [OtherLogError] unless the log has, at an offset, the value that was read from it before. While
// Kafka is away it waits.
func (l *Log) Same(ctx context.Context, offset int64, value []byte) error {
	return l.client.Do(ctx, func(ctx context.Context) error {
		if err := l.check(ctx); err != nil {
			return err
		}
		return l.same(ctx, readRecord{offset, value})
	})
}

func (l *Log) same(ctx context.Context, had readRecord) error {
	other := func(format string, args ...any) error {
		return retry.Permanent(OtherLogError{l.partition.Topic, fmt.Sprintf(format, args...)})
	}
	all, err := l.client.Bounds(ctx, l.partition)
	if err != nil {
		return err
	}
	switch b := all[l.partition]; {
	case had.offset >= b.End:
		return other("it was read up to offset %d, and has %d records now", had.offset, b.End)
	case had.offset < b.First:
		return other("its records before offset %d are gone", b.First)
	}
	found := errors.New("found")
	same := false
	_, err = l.client.Visit(ctx, l.partition, had.offset, 1, 0, func(r *Record) error {
		same = r.Offset == had.offset && bytes.Equal(r.Value, had.value)
		return found
	})
	switch {
	case err != nil && !errors.Is(err, found):
		return err
	case !same:
		return other("at offset %d it has another record now", had.offset)
	}
	return nil
}

// check makes sure that the log is the whole of its topic.
func (l *Log) check(ctx context.Context) error {
	topic := l.partition.Topic
	partitions, err := l.client.Partitions(ctx, topic)
	if err == nil && len(partitions) > 1 {
		err = retry.Permanent(BrokenLogError{
			fmt.Sprintf("%s has %d partitions, and must have 1: %s", topic, len(partitions), onePartition)})
	}
	return err
}

// LogRecord is a record to be appended to a log.
type LogRecord struct {
	Key   string
	Value []byte
}

// Append writes records to the end of the log, in order, and returns the offset of the last of them. While Kafka is
// away it waits. When it fails, the first of them may have been written; and when an answer of Kafka is lost some may
// be written a second time: a reader must recognise what it has had.
func (l *Log) Append(ctx context.Context, records ...LogRecord) (last int64, err error) {
	if len(records) == 0 {
		return 0, errors.New("there is nothing to append")
	}
	if err := l.client.Do(ctx, l.check); err != nil {
		return 0, err
	}
	messages := make([]Message, len(records))
	for i, r := range records {
		messages[i] = Message{Key: []byte(r.Key), Value: r.Value}
	}
	for request := range requests(messages) {
		first, err := l.client.Produce(ctx, l.partition, request)
		if errors.Is(err, kafkago.MessageSizeTooLarge) {
			return 0, fmt.Errorf("a record of %d bytes is too large for %s; raise its max.message.bytes: %w",
				len(request[0].Value), l.partition.Topic, err)
		}
		if err != nil {
			return 0, err
		}
		last = first + int64(len(request)) - 1
	}
	return last, nil
}
