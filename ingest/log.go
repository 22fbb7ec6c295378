package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/segmentio/kafka-go"
)

// ErrStop, returned by the callback of ReadLog or TailLog, ends the reading
// before the record that it was called for, without an error.
var ErrStop = errors.New("stop reading")

// ReadLog reads a log, which is the only partition of the topic, from an offset to the
// end that it has when the call begins. It hands each value, null as nil, to
// the callback, with its offset and Kafka timestamp in UTC epoch milliseconds,
// and returns the offset to go on from. While Kafka is away it waits. An error
// of the callback ends it, and is returned.
func ReadLog(ctx context.Context, brokers Brokers, topic string, from int64,
	record func(offset, arrivedMS int64, value []byte) error) (next int64, err error) {
	return readLog(ctx, brokers, topic, from, false, record)
}

// TailLog is ReadLog that goes on, waiting for more, until ctx is done, which
// is no error, or the callback ends it.
func TailLog(ctx context.Context, brokers Brokers, topic string, from int64,
	record func(offset, arrivedMS int64, value []byte) error) (next int64, err error) {
	return readLog(ctx, brokers, topic, from, true, record)
}

// logFetchBytes is how much of a log to fetch at a time.
const logFetchBytes = 1 << 20

func readLog(ctx context.Context, brokers Brokers, topic string, from int64, tail bool,
	visit func(offset, arrivedMS int64, value []byte) error) (next int64, err error) {
	c := newCluster(brokers)
	defer c.close()
	wait := newWaiter(slog.Default())
	p := place{topic, 0}
	next = from
	var b bounds
	var last logRecord // that was handed on
	var disturbed bool // Kafka refused something: it may be another topic now
	err = wait.do(ctx, c.String(), func(ctx context.Context) (err error) {
		b, err = c.logBounds(ctx, p, from)
		return err
	})
	for err == nil && (tail || next < b.end) {
		err = wait.do(ctx, c.String(), func(ctx context.Context) error {
			if disturbed && next > from {
				if err := c.sameLog(ctx, p, last); err != nil {
					return err
				}
			}
			whole := false
			after, err := c.visit(ctx, p, next, logFetchBytes, maxWait, func(r *record) error {
				if !whole { // the topic may have gained partitions meanwhile
					if err := c.checkLog(ctx, topic); err != nil {
						return err
					}
					whole = true
				}
				if !tail && r.offset >= b.end {
					return permanentError{ErrStop}
				}
				value := bytes.Clone(r.value)
				if err := visit(r.offset, r.timeMS, value); err != nil {
					return permanentError{err}
				}
				next, last = r.offset+1, logRecord{r.offset, value}
				return nil
			})
			disturbed = err != nil
			if err == nil {
				next = after
			}
			if errors.Is(err, kafka.OffsetOutOfRange) {
				_, err = c.logBounds(ctx, p, next)
			}
			return err
		})
	}
	var permanent permanentError
	switch {
	case errors.Is(err, ErrStop), tail && ctx.Err() != nil:
		return next, nil
	case errors.As(err, &permanent):
		return next, permanent.error
	}
	return next, err
}

// logBounds returns the bounds of a log and makes sure that the offset is one
// to read from. A log is a fold's only source: with a part of it missing there
// is no going on.
func (c *cluster) logBounds(ctx context.Context, p place, from int64) (bounds, error) {
	if err := c.checkLog(ctx, p.topic); err != nil {
		return bounds{}, err
	}
	all, err := c.bounds(ctx, []place{p})
	if err != nil {
		return bounds{}, err
	}
	b := all[p]
	switch {
	case from < b.first:
		err = fmt.Errorf("%s no longer has its records %d to %d: it must keep all (retention.ms=-1); %s", p, from, b.first-1, fillAgain)
	case from > b.end:
		err = OtherLogError{p.topic, fmt.Sprintf("it was read up to offset %d, and has %d records now", from-1, b.end)}
	default:
		return b, nil
	}
	return bounds{}, permanentError{err}
}

// logRecord is a record that was read from a log.
type logRecord struct {
	offset int64
	value  []byte
}

// OtherLogError says that a log is not the one that was read before.
type OtherLogError struct{ topic, what string }

func (e OtherLogError) Error() string {
	return fmt.Sprintf("%s is not the topic that was read before: %s. It was made anew, cut or replaced, or belongs to another Kafka, "+
		"and nothing more of it is read. Point kafka.brokers at the Kafka that belongs to this database; or, if the topic was lost, "+
		"write it again with `apportion registry restore`",
		e.topic, e.what)
}

// SameLog returns an [OtherLogError] unless a log has, at an offset, the value that was read from it before. While
// Kafka is away it waits.
func SameLog(ctx context.Context, brokers Brokers, topic string, offset int64, value []byte) error {
	c := newCluster(brokers)
	defer c.close()
	err := newWaiter(slog.Default()).do(ctx, c.String(), func(ctx context.Context) error {
		if err := c.checkLog(ctx, topic); err != nil {
			return err
		}
		return c.sameLog(ctx, place{topic, 0}, logRecord{offset, value})
	})
	var permanent permanentError
	if errors.As(err, &permanent) {
		return permanent.error
	}
	return err
}

func (c *cluster) sameLog(ctx context.Context, p place, had logRecord) error {
	other := func(format string, args ...any) error {
		return permanentError{OtherLogError{p.topic, fmt.Sprintf(format, args...)}}
	}
	all, err := c.bounds(ctx, []place{p})
	if err != nil {
		return err
	}
	switch b := all[p]; {
	case had.offset >= b.end:
		return other("it was read up to offset %d, and has %d records now", had.offset, b.end)
	case had.offset < b.first:
		return other("its records before offset %d are gone", b.first)
	}
	found := errors.New("found")
	same := false
	_, err = c.visit(ctx, p, had.offset, 1, 0, func(r *record) error {
		same = r.offset == had.offset && bytes.Equal(r.value, had.value)
		return found
	})
	switch {
	case err != nil && err != found:
		return err
	case !same:
		return other("at offset %d it has another record now", had.offset)
	}
	return nil
}

// checkLog makes sure that a log is the whole of its topic.
func (c *cluster) checkLog(ctx context.Context, topic string) error {
	places, err := c.partitions(ctx, topic)
	if err == nil && len(places) > 1 {
		err = permanentError{fmt.Errorf("%s has %d partitions, and must have 1: %s", topic, len(places), onePartition)}
	}
	return err
}

// LogRecord is a record to be appended to a log.
type LogRecord struct {
	Key   string
	Value []byte
}

// AppendLog writes records to the end of a log, which is the only
// partition of the topic, in order, and returns the offset of the last of them. While Kafka is
// away it waits. When it fails, the first of them may have been written; and when
// an answer of Kafka is lost some may be written a second time: a reader must
// recognise what it has had.
func AppendLog(ctx context.Context, brokers Brokers, topic string, records ...LogRecord) (last int64, err error) {
	if len(records) == 0 {
		return 0, errors.New("there is nothing to append")
	}
	c := newCluster(brokers)
	defer c.close()
	wait := newWaiter(slog.Default())
	p := place{topic, 0}
	err = wait.do(ctx, c.String(), func(ctx context.Context) error {
		return c.checkLog(ctx, topic)
	})
	if err != nil {
		return 0, err
	}
	messages := make([]message, len(records))
	for i, r := range records {
		messages[i] = message{key: []byte(r.Key), value: r.Value}
	}
	for request := range requests(messages) {
		first, err := c.produce(ctx, wait, p, request)
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			return 0, fmt.Errorf("a record of %d bytes is too large for %s; raise its max.message.bytes: %w", len(request[0].value), topic, err)
		}
		if err != nil {
			return 0, err
		}
		last = first + int64(len(request)) - 1
	}
	return last, nil
}
