package clickhouse

import (
	"context"

	"apportion/aggregate"
)

func (s *Store) Profile(context.Context, []aggregate.Day, aggregate.Extent, aggregate.Timelines, aggregate.Rules, int64) ([]aggregate.Profile, error) {
	return nil, nil
}
