package ingest

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// AwaitCaughtUp waits until every partition has been taken in, by whichever
// consumer, to the end that it has when the call begins, and says so in the log
// while it waits. It consumes nothing itself. Its Ingester cannot be used again.
func (in *Ingester) AwaitCaughtUp(ctx context.Context) error {
	defer in.kafka.close()
	ends, err := in.start(ctx)
	if err != nil {
		return err
	}
	for said := time.Now(); ; {
		if done, err := in.caughtUp(ctx, ends); done || err != nil {
			return err
		}
		if now := time.Now(); now.Sub(said) >= sayEvery {
			said = now
			in.log.Warn("waiting for deliveries to be taken in")
		}
		if !sleep(ctx, 250*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// Lag is how many offsets of a partition are not taken in yet.
type Lag struct {
	Topic     string
	Partition int
	Offsets   int64
}

// Behind waits as [Ingester.AwaitCaughtUp] does, but gives up once the ledger has not moved for as long as patience
// says. It returns what was published when the call began and is still not taken in, by topic and partition.
func (in *Ingester) Behind(ctx context.Context, patience time.Duration) ([]Lag, error) {
	defer in.kafka.close()
	ends, err := in.start(ctx)
	if err != nil {
		return nil, err
	}
	moved, before := time.Now(), int64(-1)
	for {
		ledger, err := in.positions(ctx)
		if err != nil {
			return nil, err
		}
		lags := in.lags(ends, ledger)
		var left int64
		for _, l := range lags {
			left += l.Offsets
		}
		if left != before {
			moved, before = time.Now(), left
		}
		if left == 0 || time.Since(moved) >= patience {
			return lags, nil
		}
		if !sleep(ctx, 250*time.Millisecond) {
			return nil, context.Cause(ctx)
		}
	}
}

// lags returns how far the ledger is from the ends of the partitions that it has not reached. Topics left alone are
// no matter of waiting.
func (in *Ingester) lags(ends map[place]bounds, ledger map[place]int64) (lags []Lag) {
	for p, b := range ends {
		// What Kafka has deleted cannot be waited for.
		next := max(ledger[p], b.first)
		if next < b.end && in.leftAlone(p.topic) == nil {
			lags = append(lags, Lag{p.topic, p.partition, b.end - next})
		}
	}
	slices.SortFunc(lags, func(a, b Lag) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return lags
}
