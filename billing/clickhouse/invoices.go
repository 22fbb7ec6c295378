package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Invoices is the [billing.Ledger] in ClickHouse: invoice_lines and issued_periods, which says why a claim is safe.
// It is safe for concurrent use.
type Invoices struct {
	conn driver.Conn
	// At, nil but in tests, is told of every point that Claim passes.
	At func(point string)
}

// NewInvoices returns the ledger over a connection whose database has been migrated.
func NewInvoices(conn driver.Conn) *Invoices { return &Invoices{conn: conn} }

func (s *Invoices) at(point string) {
	if s.At != nil {
		s.At(point)
	}
}

// sequential has what a replicated cluster needs for a reader to see all that was written before, and external
// tables of what is wanted.
func sequential(ctx context.Context, tables ...*ext.Table) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithExternalTable(tables...), clickhouse.WithSettings(clickhouse.Settings{
		"insert_quorum": "auto", "insert_quorum_parallel": 0, "select_sequential_consistency": 1,
	}))
}

// Claim writes the lines, and then the rows that claim their place in the tenants' chains: what is killed in between
// leaves lines that nothing points to.
func (s *Invoices) Claim(ctx context.Context, issues []billing.Issue) error {
	if len(issues) == 0 {
		return nil
	}
	s.at("before lines")
	if err := s.writeLines(ctx, issues); err != nil {
		return err
	}
	s.at("after lines")
	periods, err := s.conn.PrepareBatch(sequential(ctx), `INSERT INTO issued_periods (tenant, seq, period, issue, lines, issue_date, registry_offset, pass,
		positions, rules, tz_version, accepted, counted, duplicate, superseded, voided, unallocated, held, unmapped, open_sessions,
		unknown_subscription, conflicts)`)
	if err != nil {
		return err
	}
	defer periods.Close()
	for _, i := range issues {
		lines := 0
		for _, invoice := range i.Invoices {
			lines += len(invoice.Lines)
		}
		positions := make([][]any, len(i.Positions))
		for n, p := range i.Positions {
			positions[n] = []any{p.Topic, p.Partition, p.LastOffset}
		}
		b := i.Balance
		row := []any{i.Tenant, uint32(i.Seq), i.Period.String(), i.ID, uint64(lines), i.Date.Time(), i.RegistryOffset, i.Pass, positions, i.Rules, i.TZVersion}
		for _, n := range []int64{b.Accepted, b.Counted, b.Duplicate, b.Superseded, b.Voided, b.Unallocated, b.Held,
			b.Unmapped, b.OpenSessions, b.UnknownSubscription, b.Conflicts} {
			row = append(row, uint64(n))
		}
		if err := periods.Append(row...); err != nil {
			return err
		}
	}
	s.at("before claim")
	if err := periods.Send(); err != nil {
		return err
	}
	s.at("after claim")
	return nil
}

func (s *Invoices) writeLines(ctx context.Context, issues []billing.Issue) error {
	lines, err := s.conn.PrepareBatch(sequential(ctx), `INSERT INTO invoice_lines (tenant, subscription, period, issue, invoice, line_no, kind, meter,
		quantity, unit, unit_price, amount, currency, from_date, to_date, days, peak_ms, entitled, pool, corrects, corrects_kind, note)`)
	if err != nil {
		return err
	}
	defer lines.Close()
	for _, issue := range issues {
		for _, i := range issue.Invoices {
			for _, l := range i.Lines {
				if err := fits(l); err != nil {
					return fmt.Errorf("invoice %s line %d: %w", i.ID, l.No, err)
				}
				pool := make([][]any, len(l.Pool))
				for n, p := range l.Pool {
					pool[n] = []any{p.AtMS, p.Live, p.Entitled}
				}
				if err := lines.Append(i.Tenant, i.Subscription, i.Period.String(), issue.ID, i.ID, uint32(l.No), string(l.Kind), l.Meter,
					l.Quantity, l.Unit, price(l), l.Amount, i.Currency, l.From.Time(), l.To.Time(), uint32(l.Days), l.PeakMS, l.Entitled, pool,
					l.Corrects, string(l.CorrectsKind), l.Note); err != nil {
					return err
				}
			}
		}
	}
	return lines.Send()
}

// fits checks what the driver would otherwise cut off without a word: more decimals or digits than the columns
// have.
func fits(l billing.Line) error {
	for _, n := range []struct {
		what   string
		value  decimal.Decimal
		places int32
	}{{"quantity", l.Quantity, 6}, {"unit price", l.UnitPrice.Decimal, 6}, {"amount", l.Amount, 4}} {
		if !n.value.Equal(n.value.Truncate(n.places)) || n.value.Abs().GreaterThanOrEqual(decimal.New(1, 38-n.places)) {
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

// wanted returns an external table of that name.
func wanted(columns ...string) (*ext.Table, error) {
	var of []func(*ext.Table) error
	for _, name := range columns {
		kind := "String"
		if name == "issue" {
			kind = "UUID"
		}
		of = append(of, ext.Column(name, column.Type(kind)))
	}
	return ext.NewTable("wanted", of...)
}

// Issues returns the issues in force, without their invoices.
func (s *Invoices) Issues(ctx context.Context, tenants []string) (map[string][]billing.Issue, error) {
	table, err := wanted("tenant")
	if err != nil {
		return nil, err
	}
	where := ""
	if tenants != nil {
		where = "WHERE tenant IN (SELECT tenant FROM wanted)"
	}
	for _, t := range tenants {
		if err := table.Append(t); err != nil {
			return nil, err
		}
	}
	rows, err := s.conn.Query(sequential(ctx, table), `
		SELECT tenant, seq, period, issue, issue_date, registry_offset, pass,
			arrayMap(p -> p.1, positions), arrayMap(p -> p.2, positions), arrayMap(p -> p.3, positions), rules, tz_version,
			toInt64(accepted), toInt64(counted), toInt64(duplicate), toInt64(superseded), toInt64(voided), toInt64(unallocated), toInt64(held),
			toInt64(unmapped), toInt64(open_sessions), toInt64(unknown_subscription), toInt64(conflicts)
		FROM issued_periods `+where+`
		ORDER BY tenant, seq, _block_number LIMIT 1 BY tenant, seq`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	issues := map[string][]billing.Issue{}
	for rows.Next() {
		var i billing.Issue
		var seq uint32
		var period string
		var date time.Time
		var topics []string
		var partitions []int32
		var offsets []int64
		b := &i.Balance
		if err := rows.Scan(&i.Tenant, &seq, &period, &i.ID, &date, &i.RegistryOffset, &i.Pass, &topics, &partitions, &offsets, &i.Rules, &i.TZVersion,
			&b.Accepted, &b.Counted, &b.Duplicate, &b.Superseded, &b.Voided, &b.Unallocated, &b.Held,
			&b.Unmapped, &b.OpenSessions, &b.UnknownSubscription, &b.Conflicts); err != nil {
			return nil, err
		}
		i.Seq, i.Date = int(seq), civil.DateOfTime(date)
		if i.Period, err = civil.ParseMonth(period); err != nil {
			return nil, fmt.Errorf("issued_periods: %w", err)
		}
		for n := range topics {
			i.Positions = append(i.Positions, aggregate.Position{Topic: topics[n], Partition: partitions[n], LastOffset: offsets[n]})
		}
		if before := len(issues[i.Tenant]); i.Seq != before+1 {
			return nil, fmt.Errorf("issued_periods lacks issue %d of tenant %s; restore the table from a backup", before+1, i.Tenant)
		}
		issues[i.Tenant] = append(issues[i.Tenant], i)
	}
	return issues, rows.Err()
}

// Invoices returns the invoices of issues by their ID, those of each in the byte order of subscriptions.
func (s *Invoices) Invoices(ctx context.Context, issues []billing.Issue) (map[uuid.UUID][]billing.Invoice, error) {
	table, err := wanted("period", "tenant", "issue")
	if err != nil {
		return nil, err
	}
	for _, i := range issues {
		if err := table.Append(i.Period.String(), i.Tenant, i.ID); err != nil {
			return nil, err
		}
	}
	ctx = sequential(ctx, table)
	invoices := map[uuid.UUID][]billing.Invoice{}
	read := map[uuid.UUID]uint64{}
	if err := s.eachLine(ctx, func(issue uuid.UUID, of billing.Invoice, l billing.Line) {
		last := len(invoices[issue]) - 1
		if last < 0 || invoices[issue][last].ID != of.ID {
			invoices[issue] = append(invoices[issue], of)
			last++
		}
		i := &invoices[issue][last]
		i.Lines, i.Total = append(i.Lines, l), i.Total.Add(l.Amount)
		read[issue]++
	}); err != nil {
		return nil, err
	}
	rows, err := s.conn.Query(ctx, `SELECT issue, any(lines) FROM issued_periods WHERE (tenant, issue) IN (SELECT tenant, issue FROM wanted) GROUP BY issue`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var issue uuid.UUID
		var lines uint64
		if err := rows.Scan(&issue, &lines); err != nil {
			return nil, err
		}
		if read[issue] != lines {
			return nil, fmt.Errorf("issue %s has %d of its %d lines in invoice_lines; restore the table from a backup", issue, read[issue], lines)
		}
	}
	return invoices, rows.Err()
}

// eachLine reads the lines of the issues wanted, in the order of subscriptions and their numbers.
func (s *Invoices) eachLine(ctx context.Context, line func(issue uuid.UUID, of billing.Invoice, l billing.Line)) error {
	rows, err := s.conn.Query(ctx, `
		SELECT issue, tenant, subscription, period, invoice, line_no, kind, meter, quantity, unit, unit_price, amount, currency, from_date, to_date,
			days, peak_ms, entitled, arrayMap(p -> p.1, pool), arrayMap(p -> p.2, pool), arrayMap(p -> p.3, pool), corrects, corrects_kind, note
		FROM invoice_lines WHERE (period, tenant, issue) IN (SELECT period, tenant, issue FROM wanted)
		ORDER BY subscription, line_no`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var issue uuid.UUID
		var of billing.Invoice
		var l billing.Line
		var no, days uint32
		var period, kind, correctsKind string
		var unitPrice *decimal.Decimal
		var from, to time.Time
		var at, live, entitled []int64
		if err := rows.Scan(&issue, &of.Tenant, &of.Subscription, &period, &of.ID, &no, &kind, &l.Meter, &l.Quantity, &l.Unit, &unitPrice, &l.Amount, &of.Currency,
			&from, &to, &days, &l.PeakMS, &l.Entitled, &at, &live, &entitled, &l.Corrects, &correctsKind, &l.Note); err != nil {
			return err
		}
		if of.Period, err = civil.ParseMonth(period); err != nil {
			return fmt.Errorf("invoice_lines: %w", err)
		}
		of.MinorUnits, _ = registry.MinorUnits(of.Currency)
		l.No, l.Kind, l.CorrectsKind, l.Days = int(no), billing.Kind(kind), billing.Kind(correctsKind), int(days)
		l.From, l.To = civil.DateOfTime(from), civil.DateOfTime(to)
		if unitPrice != nil {
			l.UnitPrice = decimal.NewNullDecimal(*unitPrice)
		}
		for n := range at {
			l.Pool = append(l.Pool, billing.PoolPoint{AtMS: at[n], Live: live[n], Entitled: entitled[n]})
		}
		line(issue, of, l)
	}
	return rows.Err()
}
