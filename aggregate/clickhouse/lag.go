package clickhouse

import (
	"context"
	"strings"

	"apportion/aggregate"
	"apportion/schemas"
)

// LaggingSince returns when the oldest change was taken in that no finished pass is based on, in UTC epoch
// milliseconds, and whether there is any: of a batch of deliveries, when it was entered in the ledger, to the minute;
// of a command that changed a tenant, when it arrived on Kafka, as far as registry_log has it.
func (s *Store) LaggingSince(ctx context.Context) (sinceMS int64, found bool, err error) {
	pass, err := s.LastPass(ctx)
	if err != nil {
		return 0, false, err
	}
	return s.LaggingBehind(ctx, pass)
}

// LaggingBehind returns the same of a pass that has been read.
func (s *Store) LaggingBehind(ctx context.Context, pass aggregate.Pass) (sinceMS int64, found bool, err error) {
	next := map[schemas.TopicPartition]int64{}
	for _, p := range pass.Positions {
		next[schemas.TopicPartition{Topic: p.Topic, Partition: int(p.Partition)}] = p.LastOffset + 1
	}
	ledger, err := s.Positions(ctx)
	if err != nil {
		return 0, false, err
	}
	// The end of the ledger and what the pass has seen go along as constants: an index finds what lies between.
	unseen, values := []string{"false"}, []any{}
	for _, p := range ledger {
		if seen := next[schemas.TopicPartition{Topic: p.Topic, Partition: int(p.Partition)}]; p.LastOffset >= seen {
			unseen = append(unseen, "(topic = ? AND partition = ? AND last_offset >= ?)")
			values = append(values, p.Topic, p.Partition, seen)
		}
	}
	var n uint64
	err = s.conn.QueryRow(ctx, `
		SELECT toInt64(min(since_ms)), count() FROM (
			SELECT toUnixTimestamp64Milli(written_at) AS since_ms FROM ingest_batches WHERE `+strings.Join(unseen, " OR ")+`
			UNION ALL
			SELECT arrived_ms FROM registry_log
			WHERE offset >= ? AND accepted
				AND command IN ('put_tenant', 'set_licences', 'set_entry_points', 'change_telephony'))`, append(values,
		pass.RegistryOffset)...).
		Scan(&sinceMS, &n)
	return sinceMS, n > 0, err
}

// LastFinished returns when the last pass finished, in UTC epoch milliseconds, and whether any has.
func (s *Store) LastFinished(ctx context.Context) (ms int64, finished bool, err error) {
	var n uint64
	err = s.conn.QueryRow(ctx, `SELECT toUnixTimestamp64Milli(max(finished_at)), count() FROM usage_passes`).Scan(&ms, &n)
	return ms, n > 0, err
}
