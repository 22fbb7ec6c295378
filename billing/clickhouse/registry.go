// Package clickhouse keeps in ClickHouse what billing and the registry come to: the verdicts on registry commands, and
// what they issued, as the log of commands has it, and the lines of what was issued. Usage itself is read through
// aggregate/clickhouse; from here the API and people read what became of it.
package clickhouse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/billing"
	"apportion/billing/registry"
)

// RegistryLog keeps what the command topic comes to: the verdicts, in registry_log, what is issued, in issued_periods,
// and the tenants, in registry_tenants. The topic decides; the tables tell people, and the API, what became of a
// command and why.
type RegistryLog struct {
	conn  driver.Conn
	first First
	// Failpoint, nil but in tests, is told of every step that Append passes.
	Failpoint func(step string)
}

// NewRegistryLog returns the log over a connection whose database has been migrated.
func NewRegistryLog(conn driver.Conn, first First) *RegistryLog {
	return &RegistryLog{conn: conn, first: first}
}

// LastOffset returns the offset of the last command in the log, -1 for none.
func (l *RegistryLog) LastOffset(ctx context.Context) (int64, error) {
	var offset int64
	err := l.conn.QueryRow(ctx, `SELECT if(count() = 0, -1, max(offset)) FROM registry_log`).Scan(&offset)
	if err != nil {
		return 0, fmt.Errorf("reading registry_log: %w", err)
	}
	return offset, nil
}

// Last returns the last command in the log as it came, by its offset; -1 for none.
func (l *RegistryLog) Last(ctx context.Context) (offset int64, payload []byte, err error) {
	rows, err := l.conn.Query(ctx, `SELECT offset, payload FROM registry_log ORDER BY offset DESC LIMIT 1`)
	if err != nil {
		return 0, nil, fmt.Errorf("reading registry_log: %w", err)
	}
	defer rows.Close()
	offset = -1
	for rows.Next() {
		if err := rows.Scan(&offset, &payload); err != nil {
			return 0, nil, fmt.Errorf("reading registry_log: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, nil, fmt.Errorf("reading registry_log: %w", err)
	}
	return offset, payload, nil
}

// Commands returns all commands in the log, by their offset.
func (l *RegistryLog) Commands(ctx context.Context) ([]registry.Kept, error) {
	rows, err := l.conn.Query(ctx, `SELECT offset, tenant, payload FROM registry_log FINAL ORDER BY offset`)
	if err != nil {
		return nil, fmt.Errorf("reading registry_log: %w", err)
	}
	defer rows.Close()
	var all []registry.Kept
	for rows.Next() {
		var k registry.Kept
		if err := rows.Scan(&k.Offset, &k.Tenant, &k.Payload); err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, rows.Err()
}

// Append writes the commands and what they issued, all or none; those that are there already stay as they are. To leave
// no hole, it must be given all that follow LastOffset.
func (l *RegistryLog) Append(ctx context.Context, commands []registry.Decided) error {
	if len(commands) == 0 {
		return nil
	}
	// The verdicts last: LastOffset says that nothing before it is missing in any of these tables.
	if err := l.appendIssues(ctx, commands); err != nil {
		return fmt.Errorf("writing issued_periods: %w", err)
	}
	if err := l.appendFindings(ctx, commands); err != nil {
		return err
	}
	if err := l.appendVerdicts(ctx, commands); err != nil {
		return fmt.Errorf("writing registry_log: %w", err)
	}
	return nil
}

func (l *RegistryLog) failpoint(step string) {
	if l.Failpoint != nil {
		l.Failpoint(step)
	}
}

func (l *RegistryLog) appendIssues(ctx context.Context, commands []registry.Decided) error {
	batch, err := l.conn.PrepareBatch(ctx, `
		INSERT INTO issued_periods (tenant, seq, period, issue, lines, lines_hash, hash, previous, command_offset,
			tenant_version, issued_by, issued_at, issue_date, registry_offset, pass, positions, rules, tz_version,
			accepted, counted, duplicate, superseded, voided, unallocated, unknown_tenant,
			unmapped, open_sessions, unknown_subscription, conflicts, departments)`)
	if err != nil {
		return err
	}
	defer batch.Close()
	for _, c := range commands {
		if c.Issued == nil {
			continue
		}
		i, err := billing.IssueOf(*c.Issued)
		if err != nil {
			continue // whoever bills the tenant says so
		}
		positions := make([][]any, len(i.Positions))
		for n, p := range i.Positions {
			positions[n] = []any{p.Topic, p.Partition, p.LastOffset}
		}
		b := i.Balance
		row := []any{i.Tenant, uint32(i.Seq), i.Period.String(), i.ID, uint64(i.Lines), i.LinesHash, i.Hash, i.Previous,
			c.Verdict.Offset, i.Base, i.By.String(), time.UnixMilli(i.AtMS), i.Date.Time(), i.RegistryOffset, i.Pass,
			positions, string(i.Rules), i.TZVersion}
		for _, n := range []int64{b.Accepted, b.Counted, b.Duplicate, b.Superseded, b.Voided, b.Unallocated, b.UnknownTenant,
			b.Unmapped, b.OpenSessions, b.UnknownSubscription, b.Conflicts} {
			row = append(row, uint64(n))
		}
		departments := [][]any{}
		for _, s := range c.Tenant().Subscriptions {
			departments = append(departments, []any{s.ID, s.Name})
		}
		row = append(row, departments)
		if err := batch.Append(row...); err != nil {
			return err
		}
	}
	if batch.Rows() == 0 {
		return nil
	}
	l.failpoint("before issued periods")
	if err := batch.Send(); err != nil {
		return err
	}
	l.failpoint("after issued periods")
	return nil
}

func (l *RegistryLog) appendVerdicts(ctx context.Context, commands []registry.Decided) error {
	batch, err := l.conn.PrepareBatch(ctx, `
		INSERT INTO registry_log (offset, arrived_ms, tenant, source, command_id, command, given_by, accepted, refusals,
			payload)`)
	if err != nil {
		return err
	}
	defer batch.Close()
	for _, c := range commands {
		refusals := make([][]any, len(c.Verdict.Refusals))
		for i, r := range c.Verdict.Refusals {
			refusals[i] = []any{string(r.Code), r.Field, r.Value, r.Message}
		}
		if err := batch.Append(c.Offset, c.ArrivedMS, c.Command.TenantID, c.Command.Source, c.Command.ID,
			c.Command.Command, c.Command.By.String(), c.Verdict.Accepted, refusals, string(c.Payload)); err != nil {
			return fmt.Errorf("at offset %d: %w", c.Offset, err)
		}
	}
	return batch.Send()
}

// IssuedHashes returns what issued_periods has: of each row the place in a tenant's chain, and the hash.
func (l *RegistryLog) IssuedHashes(ctx context.Context) ([]registry.IssuedHash, error) {
	rows, err := l.conn.Query(ctx, `
		SELECT tenant, seq, period, hash FROM issued_periods FINAL ORDER BY tenant, seq, issue`)
	if err != nil {
		return nil, fmt.Errorf("reading issued_periods: %w", err)
	}
	defer rows.Close()
	var all []registry.IssuedHash
	for rows.Next() {
		var i registry.IssuedHash
		var seq uint32
		if err := rows.Scan(&i.Tenant, &seq, &i.Period, &i.Hash); err != nil {
			return nil, err
		}
		i.Seq = int(seq)
		all = append(all, i)
	}
	return all, rows.Err()
}

// Rebuild makes the tables what the commands come to, which must be all there are, with the state after them: it writes
// all, and deletes issues that they do not have.
func (l *RegistryLog) Rebuild(ctx context.Context, state registry.State, commands []registry.Decided) error {
	if err := l.Append(ctx, commands); err != nil {
		return err
	}
	if err := l.writeTenants(ctx, state, slices.Sorted(maps.Keys(state.Versions()))); err != nil {
		return err
	}
	conn, err := l.first(ctx)
	if err == nil {
		err = conn.Exec(ctx, `DELETE FROM issued_periods WHERE hash NOT IN (
			SELECT lower(hex(SHA256(payload))) FROM registry_log FINAL WHERE command = 'claim_issue' AND accepted)`)
	}
	if err != nil {
		return fmt.Errorf("deleting what the log does not have: %w", err)
	}
	return nil
}
