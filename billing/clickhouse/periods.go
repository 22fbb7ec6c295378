package clickhouse

import (
	"context"
	"fmt"

	"apportion/schemas/civil"
)

// PeriodsFrom returns the periods, from one on, of which anything has been issued, in order.
func (s *Invoices) PeriodsFrom(ctx context.Context, period civil.Month) ([]civil.Month, error) {
	rows, err := s.conn.Query(ctx, `SELECT DISTINCT period FROM issued_periods WHERE period >= ? ORDER BY period`, period.String())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var periods []civil.Month
	for rows.Next() {
		var written string
		if err := rows.Scan(&written); err != nil {
			return nil, err
		}
		p, err := civil.ParseMonth(written)
		if err != nil {
			return nil, fmt.Errorf("issued_periods: %w", err)
		}
		periods = append(periods, p)
	}
	return periods, rows.Err()
}
