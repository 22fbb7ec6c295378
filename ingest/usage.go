package ingest

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
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

// UsageBounds returns the offsets that Kafka has of the partitions of deliveries. While Kafka is away it waits.
func UsageBounds(ctx context.Context, client *kafka.Client, topicPrefix string) (
	map[kafka.TopicPartition]kafka.Bounds, error) {
	u := newUsage(client, nil, topicPrefix, client.Log)
	return u.bounds(ctx)
}

// OtherTopics says of each usage topic that is not the one that was taken in why (R22). While Kafka or ClickHouse
// are away it waits.
func OtherTopics(ctx context.Context, client *kafka.Client, conn driver.Conn, topicPrefix string) (
	differences []string, err error) {
	u := newUsage(client, conn, topicPrefix, client.Log)
	others, err := u.compare(ctx)
	for _, topic := range slices.Sorted(maps.Keys(others)) {
		differences = append(differences, strings.Split(others[topic].Error(), "\n")...)
	}
	return differences, err
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

// AwaitCaughtUp waits until every partition has been taken in, by whichever consumer, to the end that it has when the
// call begins, and says so in the log of the client while it waits.
func AwaitCaughtUp(ctx context.Context, client *kafka.Client, conn driver.Conn, topicPrefix string) error {
	u := newUsage(client, conn, topicPrefix, client.Log)
	logged := time.Now()
	return u.follow(ctx, func(lags []Lag) (done bool) {
		if now := time.Now(); len(lags) > 0 && now.Sub(logged) >= retry.LogEvery {
			logged = now
			client.Log.Warn("waiting for deliveries to be taken in")
		}
		return len(lags) == 0
	})
}

// Behind waits as [AwaitCaughtUp] does, but gives up once the ledger has not moved for as long as patience says. It
// returns what was published when the call began and is still not taken in, by topic and partition.
func Behind(ctx context.Context, client *kafka.Client, conn driver.Conn, topicPrefix string,
	patience time.Duration) ([]Lag, error) {
	u := newUsage(client, conn, topicPrefix, client.Log)
	var left []Lag
	moved, before := time.Now(), int64(-1)
	err := u.follow(ctx, func(lags []Lag) (done bool) {
		left = lags
		var offsets int64
		for _, l := range lags {
			offsets += l.Offsets
		}
		if offsets != before {
			moved, before = time.Now(), offsets
		}
		return offsets == 0 || time.Since(moved) >= patience
	})
	return left, err
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
