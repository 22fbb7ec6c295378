package clickhouse

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Findings keeps what was found, in the table findings, for people to query.
type Findings struct{ conn driver.Conn }

// NewFindings returns the findings over a connection whose database has been migrated.
func NewFindings(conn driver.Conn) *Findings { return &Findings{conn} }

// Keep keeps what was found, of each tenant in place of what was found before, unless that was at its issue.
func (s *Findings) Keep(ctx context.Context, looks []billing.Look) error {
	if len(looks) == 0 {
		return nil
	}
	batch, err := s.conn.PrepareBatch(ctx,
		`INSERT INTO findings (tenant, period, pass, registry_offset, looked_at, found, rank)`)
	if err != nil {
		return fmt.Errorf("writing findings: %w", err)
	}
	defer batch.Close()
	for _, l := range looks {
		found := tuples{}
		for _, f := range l.Findings {
			names := f.Names
			if names == nil {
				names = []string{}
			}
			found = append(found, []any{string(f.Code), f.Rule, f.Count, names, f.Advice})
		}
		rank := l.Pass
		if l.Issued {
			rank = math.MaxUint64
		}
		if err := batch.Append(l.Tenant, l.Period.String(), l.Pass, l.RegistryOffset, time.UnixMilli(l.AtMS),
			found, rank); err != nil {
			return fmt.Errorf("writing findings: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("writing findings: %w", err)
	}
	return nil
}

// List returns what was found last that is asked for, in the order of tenant, period and code.
func (s *Findings) List(ctx context.Context, ask billing.FindingFilter) ([]billing.KeptFinding, error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 2}))
	from := ""
	if ask.From != 0 {
		from = ask.From.String()
	}
	rows, err := s.conn.Query(ctx, `
		SELECT tenant, period, code, rule, count, names, advice, toUnixTimestamp64Milli(looked_at)
		FROM v_findings
		WHERE ({everyone:Bool} OR tenant IN {tenants:Array(String)}) AND ({code:String} = '' OR code = {code:String})
			AND period >= {from:String}
			AND (tenant, period, code) > ({after_tenant:String}, {after_period:String}, {after_code:String})
		ORDER BY tenant, period, code
		LIMIT {limit:Int64}`,
		clickhouse.Named("everyone", ask.Everyone), clickhouse.Named("tenants", append([]string{}, ask.Tenants...)),
		clickhouse.Named("code", string(ask.Code)), clickhouse.Named("from", from),
		clickhouse.Named("after_tenant", ask.AfterTenant),
		clickhouse.Named("after_period", ask.AfterPeriod), clickhouse.Named("after_code", ask.AfterCode),
		clickhouse.Named("limit", ask.Limit))
	if err != nil {
		return nil, fmt.Errorf("reading findings: %w", err)
	}
	defer rows.Close()
	var all []billing.KeptFinding
	for rows.Next() {
		var f billing.KeptFinding
		var period string
		var lookedMS int64
		if err := rows.Scan(&f.Tenant, &period, (*string)(&f.Code), &f.Rule, &f.Count, &f.Names, &f.Advice,
			&lookedMS); err != nil {
			return nil, fmt.Errorf("reading findings: %w", err)
		}
		if f.Period, err = civil.ParseMonth(period); err != nil {
			return nil, fmt.Errorf("reading findings: %w", err)
		}
		f.LookedAt = civil.Millis(lookedMS)
		all = append(all, f)
	}
	return all, rows.Err()
}

// appendFindings writes what was found at the issues among the commands.
func (l *RegistryLog) appendFindings(ctx context.Context, commands []registry.Decided) error {
	var looks []billing.Look
	for _, c := range commands {
		if c.Issued == nil {
			continue
		}
		if i, err := billing.IssueOf(*c.Issued); err == nil {
			looks = append(looks, i.Look())
		}
	}
	return NewFindings(l.conn).Keep(ctx, looks)
}
