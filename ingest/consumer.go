package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"apportion/schemas"
)

// consumer takes in one partition for as long as one generation of the group
// lasts: it fetches and decodes deliveries into its lane of the writer's block.
type consumer struct {
	*writer
	place
	lane    int
	next    int64 // the offset to fetch from
	typ     schemas.Type
	decoder schemas.Decoder
	event   schemas.Event
}

func newConsumer(w *writer, lane int) *consumer {
	p := w.places[lane]
	return &consumer{writer: w, place: p, lane: lane, typ: w.types[p.topic]}
}

const (
	// maxWait is how long a broker may hold a fetch for want of records.
	maxWait = 500 * time.Millisecond
	// maxRun is how many records are decoded before another consumer, or the
	// age of the block, may have it passed on.
	maxRun = 1024
)

// run returns once the generation has ended, or with an error that waiting
// cannot mend or that means that the generation should end.
func (c *consumer) run(ctx context.Context) error {
	if err := c.resume(ctx); err != nil {
		return err
	}
	for {
		if c.leftAlone(c.topic) != nil {
			// Others go on. What was found is looked at again when the group is next divided up.
			<-ctx.Done()
			return nil
		}
		c.at("before fetch")
		err := c.wait.do(ctx, c.kafka.String(), func(ctx context.Context) error {
			got, err := c.kafka.fetch(ctx, c.place, c.next, c.cfg.FetchBytes, maxWait)
			if errors.Is(err, kafka.OffsetOutOfRange) {
				return c.overtaken(ctx)
			}
			if err != nil {
				return err
			}
			defer got.close()
			c.at("after fetch")
			return c.take(ctx, got)
		})
		if err != nil {
			return err
		}
	}
}

// take decodes what was fetched.
func (c *consumer) take(ctx context.Context, got *records) error {
	for more := true; more; {
		err := c.fill(ctx, c.lane, func(l *lane) error {
			l.end = got.end
			for range min(maxRun, c.cfg.BatchRows) {
				r, err := got.read()
				if r == nil || err != nil {
					more = false
					c.advance(l, got.next)
					return err
				}
				c.at("before decode")
				if why := c.decoder.Decode(c.typ, r.headers, r.value, &c.event); why != nil {
					l.reject(why, r)
				} else {
					l.accept(&c.event, r)
				}
				c.at("after decode")
				c.advance(l, got.next)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// At the end of what is wanted, waiting would not fill the block.
	if c.cfg.UntilCaughtUp && c.next >= got.end && c.atEnd() {
		return c.sealOpen(ctx)
	}
	return nil
}

func (c *consumer) advance(l *lane, next int64) { l.next, c.next = next, next }

// resume starts where the ledger ends, or at the offset 0 of a partition that
// the ledger does not know.
func (c *consumer) resume(ctx context.Context) error {
	next, err := c.writer.resume(ctx, c.place)
	if err != nil {
		return err
	}
	if c.leftAlone(c.topic) != nil {
		return nil
	}
	return c.wait.do(ctx, c.kafka.String(), func(ctx context.Context) error { return c.seek(ctx, next) })
}

// seek goes to an offset, or to the first one where that no longer exists.
func (c *consumer) seek(ctx context.Context, next int64) error {
	all, err := c.kafka.bounds(ctx, []place{c.place})
	if err != nil {
		return err
	}
	b := all[c.place]
	switch {
	case next > b.end:
		c.leave(c.topic, errOther(c.place, fmt.Sprintf("the ledger has taken it in up to offset %d, but Kafka has it only up to %d", next-1, b.end-1)))
		return nil
	case next < b.first:
		c.sayLost(c.place, next, b.first)
		next = b.first
	}
	// What was taken in before a gap is in the ledger apart from what comes after.
	if err := c.sealOpen(ctx); err != nil {
		return err
	}
	return c.fill(ctx, c.lane, func(l *lane) error {
		l.first, l.run, l.end = next, next, b.end
		c.advance(l, next)
		return nil
	})
}

// sayLost says what Kafka has deleted before the first offset that it has now.
func (in *Ingester) sayLost(p place, next, first int64) {
	in.log.Error("deliveries are lost: Kafka deleted them before they were taken in; "+
		"lengthen the retention of the topic, have them published again, and accept the hole with `apportion ledger accept`",
		"topic", p.topic, "partition", p.partition, "first_lost", next, "last_lost", first-1)
}

// overtaken goes on after deliveries that Kafka deleted while they were waited
// for. They stay a hole in the ledger, where the balance shows it (R22).
func (c *consumer) overtaken(ctx context.Context) error {
	return c.seek(ctx, c.next)
}
