package clickhouse

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// OldestChange returns when the oldest change was taken in that no finished pass rests on, in UTC epoch
// milliseconds, and whether there is any: of a batch of deliveries, when it was entered in the ledger; of a registry
// command, when it arrived on Kafka, as far as registry_log has it.
func (s *Store) OldestChange(ctx context.Context) (sinceMS int64, any bool, err error) {
	pass, err := s.LastPass(ctx)
	if err != nil {
		return 0, false, err
	}
	q := newQuery(ctx)
	seen := q.table("seen", "topic", "String", "partition", "Int32", "next", "Int64")
	for _, p := range pass.Positions {
		seen(p.Topic, p.Partition, p.LastOffset+1)
	}
	q.parameter("registry_offset", pass.RegistryOffset)
	var n uint64
	err = q.each(s.conn, `
		SELECT toInt64(min(since_ms)), count() FROM (
			SELECT toUnixTimestamp64Milli(written_at) AS since_ms FROM ingest_batches
			LEFT JOIN seen ON ingest_batches.topic = seen.topic AND ingest_batches.partition = seen.partition
			WHERE last_offset >= seen.next
			UNION ALL
			SELECT arrived_ms FROM registry_log WHERE offset >= {registry_offset:Int64})`,
		func(rows driver.Rows) error { return rows.Scan(&sinceMS, &n) })
	return sinceMS, n > 0, err
}
