package ingest

import (
	"context"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// UnknownTenants are the deliveries of tenants that the registry does not have. They are accepted, and wait for their
// tenant (R10).
type UnknownTenants struct {
	ClickHouse driver.Conn
	// Known are the tenants that the registry has.
	Known []string
}

// UnknownTenant is how many deliveries of one there are.
type UnknownTenant struct {
	Tenant     string
	Deliveries uint64
	// FirstMS and LastMS are the least and greatest Kafka timestamp, in UTC epoch milliseconds.
	FirstMS, LastMS int64
}

// List returns the deliveries that the filter chooses, newest first, at most limit of them unless that is 0.
func (u UnknownTenants) List(ctx context.Context, f RejectedFilter, limit int) ([]Acceptance, error) {
	ctx, err := u.known(ctx)
	if err != nil {
		return nil, err
	}
	where, args := f.where()
	query := acceptances + unknown + where + `
		ORDER BY arrived_ms DESC, topic, partition, offset DESC LIMIT 1 BY topic, partition, offset`
	if limit > 0 {
		query += " LIMIT " + strconv.Itoa(limit)
	}
	return collect(ctx, u.ClickHouse, scanAcceptance, query, args...)
}

// Count counts those that the filter chooses by tenant, the most first.
func (u UnknownTenants) Count(ctx context.Context, f RejectedFilter) ([]UnknownTenant, error) {
	ctx, err := u.known(ctx)
	if err != nil {
		return nil, err
	}
	where, args := f.where()
	return collect(ctx, u.ClickHouse, func(rows driver.Rows) (n UnknownTenant, err error) {
		return n, rows.Scan(&n.Tenant, &n.Deliveries, &n.FirstMS, &n.LastMS)
	}, `SELECT tenant, uniqExact(topic, partition, offset) AS deliveries, min(arrived_ms), max(arrived_ms)`+unknown+where+`
		GROUP BY tenant ORDER BY deliveries DESC, tenant`, args...)
}

const unknown = ` FROM usage_events WHERE tenant NOT IN (SELECT tenant FROM known) AND `

// known adds the known tenants to a query.
func (u UnknownTenants) known(ctx context.Context) (context.Context, error) {
	table, err := ext.NewTable("known", ext.Column("tenant", "String"))
	if err != nil {
		return nil, err
	}
	for _, tenant := range u.Known {
		if err := table.Append(tenant); err != nil {
			return nil, err
		}
	}
	return clickhouse.Context(ctx, clickhouse.WithExternalTable(table)), nil
}
