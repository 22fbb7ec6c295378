// Package clickhouse keeps in ClickHouse what billing and the registry come to: the verdicts on registry commands,
// and what was issued. Usage itself is read through aggregate/clickhouse; from here the API and people read what
// became of it.
package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/billing/registry"
)

// RegistryLog keeps the verdicts on registry commands, in registry_log. The command topic decides what stands;
// the log tells people, and the API, what became of a command and why.
type RegistryLog struct {
	conn driver.Conn
}

// NewRegistryLog returns the log over a connection whose database has been migrated.
func NewRegistryLog(conn driver.Conn) *RegistryLog { return &RegistryLog{conn} }

// Judged is a record of the command topic with what became of it.
type Judged struct {
	Offset    int64 // of this record; the verdict's is that of the command's first delivery
	ArrivedMS int64 // its Kafka timestamp, UTC epoch milliseconds
	Payload   []byte
	Command   registry.Command
	Verdict   registry.Verdict
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
	err = l.conn.QueryRow(ctx, `SELECT offset, payload FROM registry_log ORDER BY offset DESC LIMIT 1`).Scan(&offset, &payload)
	if errors.Is(err, sql.ErrNoRows) {
		return -1, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading registry_log: %w", err)
	}
	return offset, payload, nil
}

// Append writes the commands, all or none; those that are there already stay as they are. To leave no hole, it
// must be given all that follow LastOffset.
func (l *RegistryLog) Append(ctx context.Context, commands []Judged) error {
	if len(commands) == 0 {
		return nil
	}
	batch, err := l.conn.PrepareBatch(ctx,
		`INSERT INTO registry_log (offset, arrived_ms, tenant, source, command_id, command, accepted, refusals, payload)`)
	if err != nil {
		return fmt.Errorf("writing registry_log: %w", err)
	}
	defer batch.Close()
	for _, c := range commands {
		refusals := make([][]any, len(c.Verdict.Refusals))
		for i, r := range c.Verdict.Refusals {
			refusals[i] = []any{r.Code, r.Field, r.Value, r.Message}
		}
		if err := batch.Append(c.Offset, c.ArrivedMS, c.Command.TenantID, c.Command.Source, c.Command.ID, c.Command.Command,
			c.Verdict.Accepted, refusals, string(c.Payload)); err != nil {
			return fmt.Errorf("writing registry_log at offset %d: %w", c.Offset, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("writing registry_log: %w", err)
	}
	return nil
}
