package ingest

import (
	"context"
	"errors"

	"apportion/ingest/kafka"
	"apportion/schemas"
)

// consumer takes in one partition for as long as one generation of the group
// lasts: it fetches and decodes deliveries into its buffer of the writer's batch.
type consumer struct {
	*writer
	kafka.TopicPartition
	index   int   // of its partition in the generation
	next    int64 // the offset to fetch from
	typ     schemas.Type
	decoder schemas.Decoder
	event   schemas.Event
}

func newConsumer(w *writer, index int) *consumer {
	p := w.gen.Partitions[index]
	return &consumer{writer: w, TopicPartition: p, index: index, typ: w.types[p.Topic]}
}

// maxRun is how many records are decoded before another consumer, or the age of the batch, may have it passed on.
const maxRun = 1024

// run returns once the generation has ended, or with an error that waiting
// cannot fix or that means that the generation should end.
func (c *consumer) run(ctx context.Context) error {
	if err := c.resume(ctx); err != nil {
		return err
	}
	for {
		if c.excluded(c.Topic) != nil {
			// Others go on. The topic is compared again when the partitions are next divided up.
			<-ctx.Done()
			return nil
		}
		c.failpoint("before fetch")
		err := c.kafka.Do(ctx, func(ctx context.Context) error {
			got, err := c.kafka.Fetch(ctx, c.TopicPartition, c.next, c.cfg.FetchBytes, kafka.MaxWait)
			if errors.Is(err, kafka.ErrOffsetOutOfRange) {
				// Kafka deleted what was next while it was waited for. It stays a hole in the ledger, where the
				// balance shows it (R22).
				return c.seek(ctx, c.next)
			}
			if err != nil {
				return err
			}
			defer got.Close()
			c.failpoint("after fetch")
			return c.take(ctx, got)
		})
		if err != nil {
			return err
		}
	}
}

// take decodes what was fetched.
func (c *consumer) take(ctx context.Context, got *kafka.Records) error {
	for more := true; more; {
		err := c.fill(ctx, c.index, func(p *partitionBuffer) error {
			p.end = got.End
			for range min(maxRun, c.cfg.BatchRows) {
				r, err := got.Read()
				if r == nil || err != nil {
					more = false
					c.advance(p, got.Next)
					return err
				}
				c.failpoint("before decode")
				if why := c.decoder.Decode(c.typ, r.Headers, r.Value, &c.event); why != nil {
					p.reject(why, r)
				} else {
					p.accept(&c.event, r)
				}
				c.failpoint("after decode")
				c.advance(p, got.Next)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// At the end of what is wanted, waiting would not fill the batch.
	if c.cfg.UntilCaughtUp && c.next >= got.End && c.atEnd() {
		return c.sealOpen(ctx)
	}
	return nil
}

func (c *consumer) advance(p *partitionBuffer, next int64) { p.next, c.next = next, next }

// resume starts where the ledger ends, or at the offset 0 of a partition that
// the ledger does not know.
func (c *consumer) resume(ctx context.Context) error {
	next, err := c.writer.resume(ctx, c.TopicPartition)
	if err != nil {
		return err
	}
	if c.excluded(c.Topic) != nil {
		return nil
	}
	return c.kafka.Do(ctx, func(ctx context.Context) error { return c.seek(ctx, next) })
}

// seek goes to an offset, or to the first one where that no longer exists.
func (c *consumer) seek(ctx context.Context, next int64) error {
	all, err := c.kafka.Bounds(ctx, c.TopicPartition)
	if err != nil {
		return err
	}
	b := all[c.TopicPartition]
	switch {
	case next > b.End:
		c.exclude(c.Topic, shorter(c.TopicPartition, next, b.End))
		return nil
	case next < b.First:
		c.logLost(c.TopicPartition, next, b.First)
		next = b.First
	}
	// What was taken in before a gap is in the ledger apart from what comes after.
	if err := c.sealOpen(ctx); err != nil {
		return err
	}
	return c.fill(ctx, c.index, func(p *partitionBuffer) error {
		p.first, p.runOffset, p.end = next, next, b.End
		c.advance(p, next)
		return nil
	})
}

// logLost says what Kafka has deleted before the first offset that it has now.
func (in *Ingester) logLost(p kafka.TopicPartition, next, first int64) {
	in.log.Error("deliveries are lost: Kafka deleted them before they were taken in; "+
		"lengthen the retention of the topic, have them published again, and accept the hole in the ledger",
		"topic", p.Topic, "partition", p.Partition, "first_lost", next, "last_lost", first-1)
}
