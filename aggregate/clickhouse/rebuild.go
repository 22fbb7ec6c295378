package clickhouse

import (
	"context"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Refill records in event_days again the dates in UTC of the deliveries. Rows that come twice change nothing;
// DirtyDays, asked from the beginning, fills events_on_several_days from it, and usage_outranked.
func (s *Store) Refill(ctx context.Context, tenants []string) error {
	_, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (struct{}, error) {
		q := newQuery(ctx)
		of := ""
		q.tenants("wanted", tenants)
		if tenants != nil {
			of = ` WHERE tenant IN (SELECT tenant FROM wanted)`
		}
		return struct{}{}, q.exec(shard, `INSERT INTO event_days (tenant, identity, day)
			SELECT tenant, identity, toInt32(intDiv(occurred_ms, 86400000)) FROM usage_events`+of)
	})
	return err
}

// Highest returns the highest number of a pass that any day is current by.
func (s *Store) Highest(ctx context.Context) (uint64, error) {
	of, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (n uint64, err error) {
		err = shard.QueryRow(ctx, `SELECT greatest((SELECT max(pass) FROM usage_days),
			(SELECT max(pass) FROM usage_days_copy))`).Scan(&n)
		return n, err
	})
	if err != nil {
		return 0, err
	}
	return slices.Max(of), nil
}

// Clear deletes what is no longer current.
func (s *Store) Clear(ctx context.Context) error {
	_, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (struct{}, error) {
		return struct{}{}, drop(ctx, shard)
	})
	return err
}
