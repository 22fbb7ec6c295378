package ingest

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// RefusedCorrection is a refused delivery of an event that has been accepted in
// another delivery: what the event says now may not be what its source means,
// and that must not pass unseen (R22).
type RefusedCorrection struct {
	Tenant    string `json:"tenant"`
	Source    string `json:"source"`
	ID        string `json:"id"`
	Code      string `json:"code"`
	Field     string `json:"field,omitempty"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// RefusedCorrections returns the refused deliveries of events that have an
// accepted delivery whose start (for Connect, time) lies in [fromMS, toMS),
// UTC epoch milliseconds, by tenant, source, id and place.
func RefusedCorrections(ctx context.Context, conn driver.Conn, fromMS, toMS int64) ([]RefusedCorrection, error) {
	rows, err := conn.Query(ctx, `
		SELECT tenant, source, id, code, field, topic, partition, offset FROM rejected
		WHERE id != '' AND (tenant, source, id) IN (
			SELECT tenant, source, id FROM usage_events
			WHERE at_ms >= ? AND at_ms < ? AND (tenant, source, id) IN (SELECT tenant, source, id FROM rejected))
		ORDER BY tenant, source, id, topic, partition, offset
		LIMIT 1 BY topic, partition, offset`, fromMS, toMS)
	if err != nil {
		return nil, explained(err)
	}
	defer rows.Close()
	found := []RefusedCorrection{}
	for rows.Next() {
		var c RefusedCorrection
		if err := rows.Scan(&c.Tenant, &c.Source, &c.ID, &c.Code, &c.Field, &c.Topic, &c.Partition, &c.Offset); err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, rows.Err()
}
