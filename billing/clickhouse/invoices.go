package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Lines is [billing.Lines] in ClickHouse: the table invoice_lines. It is safe for concurrent use.
type Lines struct {
	conn  driver.Conn
	first First
	// Failpoint, nil but in tests, is told of every step that Write passes.
	Failpoint func(step string)
}

// First connects to the database that has the rows of the tables which are not spread over a cluster: rows can be
// deleted there alone.
type First func(ctx context.Context) (driver.Conn, error)

// NewLines returns the lines over a connection whose database has been migrated.
func NewLines(conn driver.Conn, first First) *Lines { return &Lines{conn: conn, first: first} }

func (s *Lines) failpoint(step string) {
	if s.Failpoint != nil {
		s.Failpoint(step)
	}
}

// sequential has what a replicated cluster needs for a reader to see all that was written before, and external
// tables of what is wanted.
func sequential(ctx context.Context, tables ...*ext.Table) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithExternalTable(tables...), clickhouse.WithSettings(clickhouse.Settings{
		"insert_quorum": "auto", "insert_quorum_parallel": 0, "select_sequential_consistency": 1,
	}))
}

// Write stores the lines of the issues; they are on disk when it returns.
func (s *Lines) Write(ctx context.Context, issues []billing.Issue) error {
	s.failpoint("before lines")
	if err := s.write(ctx, issues); err != nil {
		return fmt.Errorf("writing invoice_lines: %w", err)
	}
	s.failpoint("after lines")
	return nil
}

// Delete removes the lines of the issues.
func (s *Lines) Delete(ctx context.Context, issues []billing.Issue) error {
	if len(issues) == 0 {
		return nil
	}
	var ids []string
	for _, i := range issues {
		ids = append(ids, i.ID.String())
	}
	if err := s.delete(ctx, ids); err != nil {
		return fmt.Errorf("deleting the lines of issues that came too late from invoice_lines: %w", err)
	}
	return nil
}

// deletes is how often lines are deleted, as long as any is left.
const deletes = 10

// delete repeats itself, because ClickHouse loses deletes: of several at the same time, of different rows in one part,
// it can carry out some only, and answers all as if done (https://github.com/Altinity/ClickHouse/issues/2331).
func (s *Lines) delete(ctx context.Context, ids []string) error {
	conn, err := s.first(ctx)
	if err != nil {
		return err
	}
	var left uint64
	for range deletes {
		if err := conn.Exec(ctx, `DELETE FROM invoice_lines WHERE issue IN (?)`, ids); err != nil {
			return err
		}
		err := conn.QueryRow(sequential(ctx), `SELECT count() FROM invoice_lines WHERE issue IN (?)`, ids).Scan(&left)
		if err != nil || left == 0 {
			return err
		}
	}
	return fmt.Errorf("%d are there still, after %d attempts", left, deletes)
}

func (s *Lines) write(ctx context.Context, issues []billing.Issue) error {
	lines, err := s.conn.PrepareBatch(sequential(ctx), `
		INSERT INTO invoice_lines (tenant, subscription, period, issue, invoice, line_no, kind, meter, quantity, unit,
			unit_price, amount, currency, from_date, to_date, days, peak_ms, entitled, pool, corrects, corrects_kind, note)`)
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
					pool[n] = []any{int64(p.AtMS), p.Live, p.Entitled}
				}
				if err := lines.Append(i.Tenant, i.Subscription, i.Period.String(), issue.ID, i.ID,
					uint32(l.No), string(l.Kind), l.Meter, l.Quantity, l.Unit, price(l), l.Amount, i.Currency,
					l.From.Time(), l.To.Time(), uint32(l.Days), l.PeakMS, l.Entitled, pool,
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

// wanted returns the issues as an external table, in the order of the key of invoice_lines.
func wanted(issues []billing.Issue) (*ext.Table, error) {
	table, err := ext.NewTable("wanted",
		ext.Column("period", "String"), ext.Column("tenant", "String"), ext.Column("issue", "UUID"))
	if err != nil {
		return nil, err
	}
	for _, i := range issues {
		if err := table.Append(i.Period.String(), i.Tenant, i.ID); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// Invoices returns the invoices of issues by their ID, those of each in the byte order of subscriptions.
func (s *Lines) Invoices(ctx context.Context, issues []billing.Issue) (map[uuid.UUID][]billing.Invoice, error) {
	table, err := wanted(issues)
	if err != nil {
		return nil, err
	}
	invoices := map[uuid.UUID][]billing.Invoice{}
	err = s.eachLine(sequential(ctx, table), func(issue uuid.UUID, of billing.Invoice, l billing.Line) {
		last := len(invoices[issue]) - 1
		if last < 0 || invoices[issue][last].ID != of.ID {
			invoices[issue] = append(invoices[issue], of)
			last++
		}
		i := &invoices[issue][last]
		i.Lines, i.Total = append(i.Lines, l), i.Total.Add(l.Amount)
	})
	if err != nil {
		return nil, fmt.Errorf("reading invoice_lines: %w", err)
	}
	return invoices, nil
}

// eachLine reads the lines of the issues wanted, in the order of subscriptions and their numbers.
func (s *Lines) eachLine(ctx context.Context, line func(issue uuid.UUID, of billing.Invoice, l billing.Line)) error {
	rows, err := s.conn.Query(ctx, `
		SELECT issue, tenant, subscription, period, invoice, line_no, kind, meter, quantity, unit, unit_price, amount,
			currency, from_date, to_date, days, peak_ms, entitled,
			arrayMap(p -> p.1, pool), arrayMap(p -> p.2, pool), arrayMap(p -> p.3, pool), corrects, corrects_kind, note
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
		if err := rows.Scan(&issue, &of.Tenant, &of.Subscription, &period, &of.ID, &no, &kind, &l.Meter, &l.Quantity,
			&l.Unit, &unitPrice, &l.Amount, &of.Currency, &from, &to, &days, &l.PeakMS, &l.Entitled,
			&at, &live, &entitled, &l.Corrects, &correctsKind, &l.Note); err != nil {
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
			l.Pool = append(l.Pool, billing.PoolPoint{AtMS: civil.Millis(at[n]), Live: live[n], Entitled: entitled[n]})
		}
		line(issue, of, l)
	}
	return rows.Err()
}
