package clickhouse

import (
	"context"
	"fmt"

	"apportion/billing"
	"apportion/schemas/civil"
)

// IssuedPeriods returns which periods of which tenants are issued, from a period on, without what is on them.
func (s *Invoices) IssuedPeriods(ctx context.Context, from civil.Month) (map[billing.TenantPeriod]bool, error) {
	rows, err := s.conn.Query(sequential(ctx), `SELECT tenant, period FROM v_issued_periods WHERE period >= ?`, from.String())
	if err != nil {
		return nil, fmt.Errorf("reading issued_periods: %w", err)
	}
	defer rows.Close()
	issued := map[billing.TenantPeriod]bool{}
	for rows.Next() {
		var tenant, period string
		if err := rows.Scan(&tenant, &period); err != nil {
			return nil, err
		}
		month, err := civil.ParseMonth(period)
		if err != nil {
			return nil, fmt.Errorf("issued_periods: %w; restore the table from a backup", err)
		}
		issued[billing.TenantPeriod{Tenant: tenant, Period: month}] = true
	}
	return issued, rows.Err()
}
