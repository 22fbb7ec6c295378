package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Invoices is the [billing.Ledger] in ClickHouse: invoice_lines and issued_periods.
type Invoices struct {
	conn driver.Conn
}

// NewInvoices returns the ledger over a connection whose database has been migrated.
func NewInvoices(conn driver.Conn) *Invoices { return &Invoices{conn} }

// Issue writes the lines, and then the rows that put them in force: what is killed in between leaves lines that
// nothing points to, and the period open.
func (s *Invoices) Issue(ctx context.Context, issues []billing.Issue) error {
	lines, err := s.conn.PrepareBatch(ctx, `INSERT INTO invoice_lines (tenant, subscription, period, issue, invoice, line_no, kind, meter,
		quantity, unit, unit_price, amount, currency, from_date, to_date, peak_ms, corrects, note)`)
	if err != nil {
		return err
	}
	defer lines.Close()
	periods, err := s.conn.PrepareBatch(ctx, `INSERT INTO issued_periods (tenant, period, issue, lines, registry_offset, pass, tz_version)`)
	if err != nil {
		return err
	}
	defer periods.Close()
	for _, issue := range issues {
		id := uuid.New()
		var n uint64
		for _, i := range issue.Invoices {
			for _, l := range i.Lines {
				if err := fits(l); err != nil {
					return fmt.Errorf("invoice %s line %d: %w", i.ID, l.No, err)
				}
				if err := lines.Append(i.Tenant, i.Subscription, i.Period.String(), id, i.ID, uint32(l.No), string(l.Kind), l.Meter,
					l.Quantity, l.Unit, price(l), l.Amount, i.Currency, l.From.Time(), l.To.Time(), l.PeakMS, l.Corrects, l.Note); err != nil {
					return err
				}
				n++
			}
		}
		if err := periods.Append(issue.Tenant, issue.Period.String(), id, n, issue.RegistryOffset, issue.Pass, issue.TZVersion); err != nil {
			return err
		}
	}
	if err := lines.Send(); err != nil {
		return err
	}
	return periods.Send()
}

// fits checks what the driver would otherwise cut off without a word: more decimals or digits than the columns
// have.
func fits(l billing.Line) error {
	for _, n := range []struct {
		what   string
		value  decimal.Decimal
		places int32
	}{{"quantity", l.Quantity, 6}, {"unit price", l.UnitPrice.Decimal, 6}, {"amount", l.Amount, 4}} {
		if !n.value.Equal(n.value.Truncate(n.places)) || len(n.value.Truncate(0).Coefficient().String()) > 38-int(n.places) {
			return fmt.Errorf("%s %s has more digits than an invoice can hold", n.what, n.value)
		}
	}
	return nil
}

func price(l billing.Line) *decimal.Decimal {
	if !l.UnitPrice.Valid {
		return nil
	}
	return &l.UnitPrice.Decimal
}

// Issued returns what has been issued of a period, by tenant, its invoices in the byte order of subscriptions.
func (s *Invoices) Issued(ctx context.Context, period civil.Month) (map[string]billing.Issue, error) {
	issued := map[string]billing.Issue{}
	ids := map[uuid.UUID]uint64{}
	rows, err := s.conn.Query(ctx, `SELECT tenant, issue, lines, registry_offset, pass, tz_version FROM issued_periods
		WHERE period = ? ORDER BY tenant, written_at, issue LIMIT 1 BY tenant`, period.String())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		issue := billing.Issue{Period: period}
		var id uuid.UUID
		var lines uint64
		if err := rows.Scan(&issue.Tenant, &id, &lines, &issue.RegistryOffset, &issue.Pass, &issue.TZVersion); err != nil {
			return nil, err
		}
		issued[issue.Tenant] = issue
		ids[id] = lines
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	lines, err := s.conn.Query(ctx, `SELECT issue, tenant, subscription, invoice, line_no, kind, meter, quantity, unit, unit_price, amount, currency,
			from_date, to_date, peak_ms, corrects, note
		FROM invoice_lines WHERE period = ? ORDER BY tenant, subscription, line_no`, period.String())
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	for lines.Next() {
		var id uuid.UUID
		var invoice billing.Invoice
		var l billing.Line
		var no uint32
		var kind string
		var unitPrice *decimal.Decimal
		var from, to time.Time
		if err := lines.Scan(&id, &invoice.Tenant, &invoice.Subscription, &invoice.ID, &no, &kind, &l.Meter, &l.Quantity, &l.Unit, &unitPrice,
			&l.Amount, &invoice.Currency, &from, &to, &l.PeakMS, &l.Corrects, &l.Note); err != nil {
			return nil, err
		}
		if _, inForce := ids[id]; !inForce {
			continue
		}
		ids[id]--
		l.No, l.Kind, l.From, l.To = int(no), billing.Kind(kind), civil.DateOfTime(from), civil.DateOfTime(to)
		if unitPrice != nil {
			l.UnitPrice = decimal.NewNullDecimal(*unitPrice)
		}
		issue := issued[invoice.Tenant]
		last := len(issue.Invoices) - 1
		if last < 0 || issue.Invoices[last].ID != invoice.ID {
			invoice.Period = period
			invoice.MinorUnits, _ = registry.MinorUnits(invoice.Currency)
			issue.Invoices = append(issue.Invoices, invoice)
			last++
		}
		issue.Invoices[last].Lines = append(issue.Invoices[last].Lines, l)
		issue.Invoices[last].Total = issue.Invoices[last].Total.Add(l.Amount)
		issued[invoice.Tenant] = issue
	}
	for id, missing := range ids {
		if missing != 0 {
			return nil, fmt.Errorf("issue %s of %s lacks %d of its lines in invoice_lines; restore the table from a backup", id, period, missing)
		}
	}
	return issued, lines.Err()
}
