package clickhouse

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
)

// OldestChange returns when the oldest change was taken in that no finished pass rests on, in UTC epoch
// milliseconds, and whether there is any: of a batch of deliveries, when it was entered in the ledger, to the minute;
// of a registry command, when it arrived on Kafka, as far as registry_log has it.
func (s *Store) OldestChange(ctx context.Context) (sinceMS int64, any bool, err error) {
	pass, err := s.LastPass(ctx)
	if err != nil {
		return 0, false, err
	}
	next := map[aggregate.Position]int64{}
	for _, p := range pass.Positions {
		next[aggregate.Position{Topic: p.Topic, Partition: p.Partition}] = p.LastOffset + 1
	}
	ledger, err := s.Positions(ctx)
	if err != nil {
		return 0, false, err
	}
	oldest := func(row driver.Row) error {
		var since int64
		var n uint64
		if err := row.Scan(&since, &n); err != nil || n == 0 {
			return err
		}
		if !any || since < sinceMS {
			sinceMS, any = since, true
		}
		return nil
	}
	for _, p := range ledger {
		seen := next[aggregate.Position{Topic: p.Topic, Partition: p.Partition}]
		if p.LastOffset < seen {
			continue
		}
		if err := oldest(s.conn.QueryRow(ctx, `SELECT toUnixTimestamp64Milli(min(written_at)), count() FROM ingest_batches
			WHERE topic = ? AND partition = ? AND last_offset >= ?`, p.Topic, p.Partition, seen)); err != nil {
			return 0, false, err
		}
	}
	err = oldest(s.conn.QueryRow(ctx, `SELECT min(arrived_ms), count() FROM registry_log WHERE offset >= ?`, pass.RegistryOffset))
	return sinceMS, any, err
}
