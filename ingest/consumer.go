package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"apportion/schemas"
)

// consumer takes in one partition for as long as one generation of the group
// lasts.
type consumer struct {
	*Ingester
	place
	gen *kafka.Generation

	// The batch covers [first, next). Offsets without a record, as those of
	// transactions, are covered too.
	batch       *batch
	first, next int64
	began       time.Time // when the batch ceased to be empty
	end         int64     // of the partition, as last seen
}

func newConsumer(in *Ingester, gen *kafka.Generation, p place) *consumer {
	return &consumer{Ingester: in, place: p, gen: gen, batch: newBatch(p, in.types[p.topic])}
}

// maxWait is how long a broker may hold a fetch for want of records.
const maxWait = 500 * time.Millisecond

// run returns once the generation has ended, or with an error that waiting
// cannot mend or that means that the generation should end.
func (c *consumer) run(ctx context.Context) error {
	if err := c.resume(ctx); err != nil {
		return err
	}
	for {
		wait := maxWait
		if c.next > c.first {
			wait = max(0, min(wait, c.cfg.BatchAge-time.Since(c.began)))
		}
		c.at("before fetch")
		err := c.wait.do(ctx, c.kafka.String(), func(ctx context.Context) error {
			got, err := c.kafka.fetch(ctx, c.place, c.next, c.cfg.FetchBytes, wait, func(r *protocol.Record) error {
				return c.take(ctx, r)
			})
			if err == nil {
				c.advance(got.next)
				c.end = got.end
			}
			if errors.Is(err, kafka.OffsetOutOfRange) {
				return c.overtaken(ctx)
			}
			return err
		})
		if err != nil {
			return err
		}
		c.at("after fetch")
		if c.due() {
			if err := c.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// resume starts where the ledger ends, or at the first offset of a partition
// that the ledger does not know.
func (c *consumer) resume(ctx context.Context) error {
	var ledger map[place]int64
	err := c.wait.do(ctx, clickHouse, func(ctx context.Context) (err error) {
		ledger, err = c.store.positions(ctx, []string{c.topic})
		return err
	})
	if err != nil {
		return err
	}
	next, known := ledger[c.place]
	if !known {
		next = -1
	}
	return c.wait.do(ctx, c.kafka.String(), func(ctx context.Context) error { return c.seek(ctx, next) })
}

// seek goes to an offset, or to the first one where that no longer exists. A
// negative offset is none.
func (c *consumer) seek(ctx context.Context, next int64) error {
	all, err := c.kafka.bounds(ctx, []place{c.place})
	if err != nil {
		return err
	}
	b := all[c.place]
	switch {
	case next > b.end:
		return permanentError{errAhead(c.place, next, b)}
	case next < b.first:
		if next >= 0 {
			c.log.Error("deliveries are lost: Kafka deleted them before they were taken in; "+
				"lengthen the retention of the topic and have them published again",
				"topic", c.topic, "partition", c.partition, "first_lost", next, "last_lost", b.first-1)
		}
		next = b.first
	}
	c.first, c.next, c.end = next, next, b.end
	return nil
}

// overtaken goes on after deliveries that Kafka deleted while they were waited
// for. They stay a hole in the ledger, where the balance shows it (R22).
func (c *consumer) overtaken(ctx context.Context) error {
	if err := c.flush(ctx); err != nil {
		return err
	}
	return c.seek(ctx, c.next)
}

// errAhead says that the ledger has more than Kafka ever had.
func errAhead(p place, next int64, b bounds) error {
	return fmt.Errorf("the ledger has taken in %s up to offset %d, but Kafka has it only up to %d: the topic was made anew; "+
		"use another topic prefix, or the Kafka that belongs to this database", p, next-1, b.end-1)
}

// take adds a record to the batch, and writes the batch when it is full.
func (c *consumer) take(ctx context.Context, r *protocol.Record) error {
	c.at("before decode")
	if err := c.batch.add(r); err != nil {
		return err
	}
	c.at("after decode")
	c.advance(r.Offset + 1)
	if c.full() {
		return c.flush(ctx)
	}
	return nil
}

// advance extends the batch to an offset.
func (c *consumer) advance(next int64) {
	if next > c.next {
		if c.next == c.first {
			c.began = time.Now()
		}
		c.next = next
	}
}

func (c *consumer) full() bool {
	return c.batch.read() >= c.cfg.BatchRows || c.batch.bytes >= c.cfg.BatchBytes
}

// due reports whether there is a batch to write that waiting would not fill:
// also at the end of the partition, where that is all that is wanted.
func (c *consumer) due() bool {
	return c.next > c.first &&
		(time.Since(c.began) >= c.cfg.BatchAge || c.cfg.UntilCaughtUp && c.next >= c.end)
}

// errFenced means that the partition may belong to another consumer by now.
var errFenced = errors.New("the partition may have gone to another consumer")

// flush writes the batch: deliveries first, the ledger after, and Kafka's
// committed offset last, for tools to see.
//
// Two consumers in the ledger at once would count deliveries twice. So right
// before the entry the broker is asked for a commit of where the batch began,
// which is what stands already: it refuses one that comes from a generation
// that is over. The entry itself is not given up half-way when the generation
// ends, for it would then be unknown to the next consumer whether it stands;
// the group waits for this function before it lets go of the partition.
func (c *consumer) flush(ctx context.Context) error {
	if c.next == c.first {
		return nil
	}
	began := time.Now()
	if c.batch.accepted() > 0 {
		c.at("before insert")
		err := c.wait.do(ctx, clickHouse, func(ctx context.Context) error {
			return c.store.insert(ctx, "usage_events", c.batch.events())
		})
		if err != nil {
			return err
		}
		c.at("after insert")
	}
	inserting := time.Since(began)
	if len(c.batch.rejected) > 0 {
		c.at("before dead letters")
		if err := c.bury(ctx); err != nil {
			return err
		}
		c.at("after dead letters")
	}
	entry := ledgerRow{c.place, c.first, c.next - 1, c.batch.read(), c.batch.accepted(), len(c.batch.rejected)}
	err := c.wait.do(ctx, clickHouse, func(ctx context.Context) error {
		if err := c.commit(c.first); err != nil {
			return permanentError{errors.Join(errFenced, err)}
		}
		c.at("before ledger")
		if ctx.Err() != nil {
			return ctx.Err()
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		return c.store.enter(ctx, entry)
	})
	if err != nil {
		return err
	}
	c.at("after ledger")
	if err := c.commit(c.next); err != nil {
		c.log.Debug("the ledger is ahead of the committed offset", "topic", c.topic, "partition", c.partition, "error", err)
	}
	c.at("after commit")
	c.progress(Progress{
		Topic: c.topic, Partition: c.partition,
		First: c.first, Next: c.next, End: max(c.end, c.next),
		Accepted: entry.accepted, Rejected: entry.rejected, Codes: c.batch.codes(),
		Inserting: inserting,
	})
	c.batch.reset()
	c.first = c.next
	return nil
}

func (c *consumer) commit(offset int64) error {
	return c.gen.CommitOffsets(map[string]map[int]int64{c.topic: {c.partition: offset}})
}

// bury writes the refused deliveries to their table and topic. The topic may
// get one twice, when the process is killed in between; the headers tell.
func (c *consumer) bury(ctx context.Context) error {
	err := c.wait.do(ctx, clickHouse, func(ctx context.Context) error {
		return c.store.insert(ctx, "rejected", c.batch.deadLetters())
	})
	if err != nil {
		return err
	}
	c.at("between dead letters")
	letters := make([]message, len(c.batch.rejected))
	for i, r := range c.batch.rejected {
		letters[i] = message{key: r.key, value: r.value, headers: append(r.headers[:len(r.headers):len(r.headers)],
			kafka.Header{Key: "apportion-code", Value: []byte(r.why.Code)},
			kafka.Header{Key: "apportion-field", Value: []byte(r.why.Field)},
			kafka.Header{Key: "apportion-detail", Value: []byte(r.why.Detail)},
			kafka.Header{Key: "apportion-topic", Value: []byte(c.topic)},
			kafka.Header{Key: "apportion-partition", Value: strconv.AppendInt(nil, int64(c.partition), 10)},
			kafka.Header{Key: "apportion-offset", Value: strconv.AppendInt(nil, r.offset, 10)},
		)}
	}
	tooLarge, err := c.kafka.send(ctx, c.wait, c.cfg.TopicPrefix+schemas.TopicRejected, letters)
	for _, i := range tooLarge {
		c.log.Error("a refused delivery is too large for the dead letter topic; the table rejected has it",
			"topic", c.topic, "partition", c.partition, "offset", c.batch.rejected[i].offset)
	}
	return err
}
