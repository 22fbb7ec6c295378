package ingest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/retry"
)

// Ledger is what was taken in of the usage topics, beside what is on Kafka (R22). It waits while Kafka is away, and
// says so in the log of the client.
type Ledger struct{ usage }

// NewLedger returns the Ledger of the topics with a prefix.
func NewLedger(client *kafka.Client, conn driver.Conn, topicPrefix string) *Ledger {
	return &Ledger{newUsage(client, conn, topicPrefix, client.Log)}
}

// Bounds returns the offsets that Kafka has of every partition.
func (l *Ledger) Bounds(ctx context.Context) (map[kafka.TopicPartition]kafka.Bounds, error) {
	return l.bounds(ctx)
}

// Balance returns the balance of every partition, as [Balance] does.
func (l *Ledger) Balance(ctx context.Context, accepted ...Hole) ([]PartitionBalance, error) {
	bounds, err := l.bounds(ctx)
	if err != nil {
		return nil, err
	}
	return Balance(ctx, l.store.conn, bounds, accepted...)
}

// CountRejected counts the refused deliveries by code.
func (l *Ledger) CountRejected(ctx context.Context) (map[schemas.Code]uint64, error) {
	counts, err := DeadLetters{ClickHouse: l.store.conn}.Count(ctx, RejectedFilter{})
	byCode := make(map[schemas.Code]uint64)
	for _, c := range counts {
		byCode[c.Code] += c.Deliveries
	}
	return byCode, err
}

// OtherTopics says of each topic that is not the one that was taken in why.
func (l *Ledger) OtherTopics(ctx context.Context) (differences []string, err error) {
	others, err := l.compare(ctx)
	for _, topic := range slices.Sorted(maps.Keys(others)) {
		differences = append(differences, strings.Split(others[topic].Error(), "\n")...)
	}
	return differences, err
}

// Observations returns every partition as it is now, by topic and partition.
func (l *Ledger) Observations(ctx context.Context) (all []Observation, err error) {
	ends, err := l.bounds(ctx)
	if err != nil {
		return nil, err
	}
	ledger, err := l.positions(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range slices.SortedFunc(maps.Keys(ends), kafka.TopicPartition.Compare) {
		all = append(all, observationOf(p, ends[p], ledger[p]))
	}
	return all, nil
}

// WaitingSince returns when the oldest delivery arrived on Kafka that is not taken in yet, in UTC epoch milliseconds,
// and whether there is any.
func (l *Ledger) WaitingSince(ctx context.Context) (sinceMS int64, found bool, err error) {
	partitions, err := l.Observations(ctx)
	if err != nil {
		return 0, false, err
	}
	for _, p := range partitions {
		first := errors.New("that is the oldest of the partition")
		for from := p.Next; from < p.End; {
			next, err := l.kafka.Visit(ctx, p.TopicPartition, from, 1, 0, func(r *kafka.Record) error {
				if !found || r.TimeMS < sinceMS {
					sinceMS, found = r.TimeMS, true
				}
				return first
			})
			if errors.Is(err, first) || errors.Is(err, kafka.ErrOffsetOutOfRange) || next == from {
				break // deleted meanwhile, or nothing but what Kafka skips
			}
			if err != nil {
				return 0, false, err
			}
			from = next
		}
	}
	return sinceMS, found, nil
}

// AwaitCaughtUp waits until every partition has been taken in, by whichever consumer, to the end that it has when the
// call begins.
func (l *Ledger) AwaitCaughtUp(ctx context.Context) error {
	logged := time.Now()
	return l.follow(ctx, func(lags []Lag) (done bool) {
		if now := time.Now(); len(lags) > 0 && now.Sub(logged) >= retry.LogEvery {
			logged = now
			l.kafka.Log.Warn("waiting for deliveries to be taken in")
		}
		return len(lags) == 0
	})
}

// Behind waits as AwaitCaughtUp does, but gives up once the ledger has not moved for as long as patience says. It
// returns what was published when the call began and is still not taken in, by topic and partition.
func (l *Ledger) Behind(ctx context.Context, patience time.Duration) (left []Lag, err error) {
	moved, before := time.Now(), int64(-1)
	err = l.follow(ctx, func(lags []Lag) (done bool) {
		left = lags
		var offsets int64
		for _, lag := range lags {
			offsets += lag.Offsets
		}
		if offsets != before {
			moved, before = time.Now(), offsets
		}
		return offsets == 0 || time.Since(moved) >= patience
	})
	return left, err
}
