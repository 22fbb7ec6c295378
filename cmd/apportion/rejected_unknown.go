package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/schemas/civil"
	"apportion/schemas/typo"
)

// unknownTenantsCommand shows what waits for a tenant.
const unknownTenantsCommand = "`apportion rejected list --unknown-tenant`"

// unknownTenantEntry is a delivery of a tenant that the registry does not have.
type unknownTenantEntry struct {
	Time      string   `json:"time"` // when it arrived on Kafka
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Tenant    string   `json:"tenantId"`
	Source    string   `json:"source"`
	ID        string   `json:"id"`
	Near      []string `json:"near"` // tenants that the registry has, the nearest first
}

// unknownTenantCount is how many there are of one tenant.
type unknownTenantCount struct {
	Tenant     string   `json:"tenantId"`
	Deliveries uint64   `json:"deliveries"`
	First      string   `json:"first"` // when the first and the last arrived on Kafka
	Last       string   `json:"last"`
	Near       []string `json:"near"`
}

const noneUnknown = "no delivery of a tenant that the registry does not have is chosen\n"

func (a *app) listUnknownTenants(ctx context.Context, filter ingest.RejectedFilter, limit int,
	summary, asCSV bool) error {
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return err
	}
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return err
	}
	waiting := ingest.UnknownTenants{ClickHouse: conn, Known: tenantIDs(state)}
	near := nearest(waiting.Known)
	if summary {
		return a.countUnknownTenants(ctx, waiting, filter, near, asCSV)
	}
	deliveries, err := waiting.List(ctx, filter, more(limit))
	if err != nil {
		return err
	}
	result := []unknownTenantEntry{}
	var rows, columns [][]string
	for _, d := range newest(a, deliveries, limit) {
		e := unknownTenantEntry{civil.FormatMillis(d.ArrivedMS), d.Topic, d.Partition, d.Offset,
			d.Tenant, d.Source, d.ID, near(d.Tenant)}
		result = append(result, e)
		rows = append(rows, []string{e.Time, d.RecordID.String(), escape(e.Tenant), event(e.Source, e.ID),
			strings.Join(e.Near, ", ")})
		columns = append(columns, []string{e.Time, e.Topic, strconv.Itoa(int(e.Partition)), strconv.FormatInt(e.Offset, 10),
			export.Guard(e.Tenant), export.Guard(e.Source), export.Guard(e.ID), strings.Join(e.Near, ", ")})
	}
	if asCSV {
		return a.printCSV([]string{"time", "topic", "partition", "offset", "tenant_id", "source", "id", "near"}, columns)
	}
	return a.print(result, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprint(w, noneUnknown)
			return
		}
		writeTable(w, []string{"TIME", "TOPIC/PARTITION/OFFSET", "TENANT", "SOURCE/ID", "DID YOU MEAN"}, rows)
	})
}

func (a *app) countUnknownTenants(ctx context.Context, waiting ingest.UnknownTenants, filter ingest.RejectedFilter,
	near func(tenant string) []string, asCSV bool) error {
	counts, err := waiting.Count(ctx, filter)
	if err != nil {
		return err
	}
	result := []unknownTenantCount{}
	var rows [][]string
	for _, n := range counts {
		c := unknownTenantCount{n.Tenant, n.Deliveries,
			civil.FormatMillis(n.FirstMS), civil.FormatMillis(n.LastMS), near(n.Tenant)}
		result = append(result, c)
		rows = append(rows, []string{export.Guard(escape(c.Tenant)), strconv.FormatUint(c.Deliveries, 10), c.First, c.Last,
			strings.Join(c.Near, ", ")})
	}
	if asCSV {
		return a.printCSV([]string{"tenant_id", "deliveries", "first", "last", "near"}, rows)
	}
	return a.print(result, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprint(w, noneUnknown)
			return
		}
		writeTable(w, []string{"TENANT", "DELIVERIES", "FIRST", "LAST", "DID YOU MEAN"}, rows, 2)
	})
}

// hintUnknownTenants says which of some tenants the registry does not have, to somebody who finds nothing refused of
// them: what waits for a tenant was accepted. Without a Kafka configured there is no registry to ask.
func (a *app) hintUnknownTenants(ctx context.Context, tenants []string) error {
	if len(tenants) == 0 || len(a.cfg.Kafka.Brokers) == 0 {
		return nil
	}
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return err
	}
	known := tenantIDs(state)
	for _, id := range tenants {
		if id != "" && state.Tenant(id) == nil {
			fmt.Fprintf(a.stderr, "deliveries of %q, a tenant that the registry lacks, are not refused but wait (R10): %s%s\n",
				id, unknownTenantsCommand, typo.Hint(id, known))
		}
	}
	return nil
}

func tenantIDs(state registry.State) (ids []string) {
	for _, t := range state.Tenants() {
		ids = append(ids, t.ID)
	}
	return ids
}

// nearest returns what finds the known tenants that another may be meant as, each once.
func nearest(known []string) func(tenant string) []string {
	const most = 3
	found := map[string][]string{}
	return func(tenant string) []string {
		if _, ok := found[tenant]; !ok {
			found[tenant] = append([]string{}, typo.Near(tenant, known, most)...)
		}
		return found[tenant]
	}
}
