package clickhouse

import (
	"context"
	"fmt"
	"maps"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/schemas/civil"
)

// MonthsChangedSince returns the months of each of the tenants, or with nil of all, that have a day whose current
// figures are of a pass after the given one, with the number of the last such pass.
func (s *Store) MonthsChangedSince(ctx context.Context, tenants []string, after uint64) (
	map[string]map[civil.Month]uint64, error) {
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) (
		map[string]map[civil.Month]uint64, error) {
		q := newQuery(ctx)
		where := "pass > {after:UInt64}"
		if tenants != nil {
			q.tenants("wanted", tenants)
			where += " AND tenant IN (SELECT tenant FROM wanted)"
		}
		q.parameters["after"] = fmt.Sprint(after)
		changed := map[string]map[civil.Month]uint64{}
		return changed, q.each(shard, `
			SELECT tenant, toInt32(toYear(date)), toInt32(toMonth(date)), max(pass) FROM usage_days
			WHERE `+where+`
			GROUP BY ALL`, func(rows driver.Rows) error {
			var tenant string
			var year, month int32
			var pass uint64
			if err := rows.Scan(&tenant, &year, &month, &pass); err != nil {
				return err
			}
			if changed[tenant] == nil {
				changed[tenant] = map[civil.Month]uint64{}
			}
			changed[tenant][civil.NewMonth(int(year), int(month))] = pass
			return nil
		})
	})
	changed := map[string]map[civil.Month]uint64{}
	for _, of := range parts {
		maps.Copy(changed, of)
	}
	return changed, err
}
