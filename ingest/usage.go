package ingest

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/retry"
)

// usage is the usage topics of a prefix: what Kafka has of them, and what the ledger says was taken in.
type usage struct {
	kafka *kafka.Client
	store store
	types map[string]schemas.Type // by topic, prefix included
}

func newUsage(client *kafka.Client, conn driver.Conn, topicPrefix string, log *slog.Logger) usage {
	u := usage{client, newStore(conn, log), make(map[string]schemas.Type)}
	for _, t := range schemas.Types {
		u.types[topicPrefix+t.Topic()] = t
	}
	return u
}

// topics returns the names of the topics, prefix included.
func (u *usage) topics() []string { return slices.Sorted(maps.Keys(u.types)) }

// bounds returns the offsets that Kafka has of every partition now.
func (u *usage) bounds(ctx context.Context) (all map[kafka.TopicPartition]kafka.Bounds, err error) {
	err = u.kafka.Do(ctx, func(ctx context.Context) error {
		partitions, err := u.kafka.Partitions(ctx, u.topics()...)
		if err == nil {
			all, err = u.kafka.Bounds(ctx, partitions...)
		}
		return err
	})
	return all, err
}

// positions returns the offset after the last one in the ledger, for each partition that it knows.
func (u *usage) positions(ctx context.Context) (ledger map[kafka.TopicPartition]int64, err error) {
	err = u.store.do(ctx, func(ctx context.Context) (err error) {
		ledger, err = u.store.positions(ctx, u.topics())
		return err
	})
	return ledger, err
}

// caughtUpEvery is how often the ledger is asked whether it has caught up.
const caughtUpEvery = 250 * time.Millisecond

// Lag is how many offsets of a partition are not taken in yet.
type Lag struct {
	kafka.TopicPartition
	Offsets int64
}

// lags returns how far the ledger is from the ends of the partitions that it has not reached.
func lags(ends map[kafka.TopicPartition]kafka.Bounds, ledger map[kafka.TopicPartition]int64) (lags []Lag) {
	for p, b := range ends {
		// What Kafka has deleted cannot be waited for.
		if next := max(ledger[p], b.First); next < b.End {
			lags = append(lags, Lag{p, b.End - next})
		}
	}
	slices.SortFunc(lags, func(a, b Lag) int { return a.Compare(b.TopicPartition) })
	return lags
}

// follow tells a function again and again how far the ledger is from where the partitions end when the call begins,
// until the function is done. Topics that are not those that were taken in are left out: nobody takes them in.
func (u *usage) follow(ctx context.Context, tell func([]Lag) (done bool)) error {
	ends, err := u.bounds(ctx)
	if err != nil {
		return err
	}
	if err := u.store.do(ctx, u.store.check); err != nil {
		return err
	}
	others, err := u.compare(ctx)
	if err != nil {
		return err
	}
	for topic, why := range others {
		u.kafka.Log.Error("a topic is not taken in", "topic", topic, "error", why)
	}
	maps.DeleteFunc(ends, func(p kafka.TopicPartition, _ kafka.Bounds) bool { return others[p.Topic] != nil })
	for {
		ledger, err := u.positions(ctx)
		if err != nil {
			return err
		}
		if tell(lags(ends, ledger)) {
			return nil
		}
		if !retry.Sleep(ctx, caughtUpEvery) {
			return context.Cause(ctx)
		}
	}
}
