package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// TenantRow is what registry_tenants has of a tenant.
type TenantRow struct {
	Tenant *registry.Tenant
	// Version is the offset of the last command that changed it.
	Version int64
	// Lines are what the rules make of it, in the time zone data of the edition TZVersion.
	Lines     timeline.Tenant
	TZVersion string
}

// CompleteTenants writes the tenants of a state, or those named, that registry_tenants has not, or has as they stood
// before, or has by other time zone data.
func (l *RegistryLog) CompleteTenants(ctx context.Context, state registry.State, only ...string) error {
	rows, err := l.conn.Query(ctx, `SELECT tenant, version, tz_version FROM registry_tenants FINAL
		WHERE empty({only:Array(String)}) OR tenant IN {only:Array(String)}`, clickhouse.Named("only", only))
	if err != nil {
		return fmt.Errorf("reading registry_tenants: %w", err)
	}
	defer rows.Close()
	missing := state.Versions()
	if len(only) > 0 {
		maps.DeleteFunc(missing, func(id string, _ int64) bool { return !slices.Contains(only, id) })
	}
	for rows.Next() {
		var tenant, tzVersion string
		var version int64
		if err := rows.Scan(&tenant, &version, &tzVersion); err != nil {
			return err
		}
		if wanted := missing[tenant]; version > wanted || version == wanted && tzVersion == civil.Edition() {
			delete(missing, tenant)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading registry_tenants: %w", err)
	}
	return l.writeTenants(ctx, state, slices.Sorted(maps.Keys(missing)))
}

// newTenantRow computes a tenant's timelines. The factor of the IVR has no part in what usage is attributed to.
func newTenantRow(t *registry.Tenant, version int64) TenantRow {
	zone, err := civil.LoadZone(t.TimeZone)
	if err != nil {
		zone = civil.UTC // the time zone data in use lack it; whoever computes its usage says so
	}
	return TenantRow{Tenant: t, Version: version, Lines: t.Timelines(zone, 1), TZVersion: civil.Edition()}
}

// tenantsPerBatch is how many tenants are written at a time: those of a large registry need not be in memory at once.
const tenantsPerBatch = 100

// writeTenants writes tenants as they stand. Wherever it ends, they are missing or whole, and can be written again.
func (l *RegistryLog) writeTenants(ctx context.Context, state registry.State, ids []string) error {
	for batch := range slices.Chunk(ids, tenantsPerBatch) {
		rows := make([]TenantRow, len(batch))
		for i, id := range batch {
			rows[i] = newTenantRow(state.Tenant(id), state.Base(id))
		}
		l.failpoint("before tenants")
		if err := WriteTenants(ctx, l.conn, rows...); err != nil {
			return fmt.Errorf("writing registry_tenants: %w", err)
		}
	}
	return nil
}

// WriteTenants writes rows of registry_tenants. One that is there already stays as it is.
func WriteTenants(ctx context.Context, conn driver.Conn, rows ...TenantRow) error {
	batch, err := conn.PrepareBatch(ctx, `
		INSERT INTO registry_tenants (tenant, version, tz_version, name, time_zone, telephony,
			terms, commitments, prices, licences, entry_points, calendar, activity, mappings)`)
	if err != nil {
		return err
	}
	defer batch.Close()
	for _, r := range rows {
		t := r.Tenant
		names := map[string]string{}
		for _, s := range t.Subscriptions {
			names[s.ID] = s.Name
		}
		d := describe(t, names)
		if err := batch.Append(t.ID, r.Version, r.TZVersion, t.Name, t.TimeZone, t.Telephony,
			d.terms, d.commitments, d.prices, d.licences, d.entryPoints,
			calendar(dateShifts(r.Lines.Zone), r.Lines.Primary, names), activity(r.Lines.Active, names),
			mappings(r.Lines, names)); err != nil {
			return fmt.Errorf("%s: %w", t.ID, err)
		}
	}
	return batch.Send()
}

// tuples are the value of a column that is an array of tuples.
type tuples [][]any

// description is what the registry says of a tenant, with the dates of everything.
type description struct{ terms, commitments, prices, licences, entryPoints tuples }

func describe(t *registry.Tenant, names map[string]string) description {
	d := description{terms: tuples{}, commitments: tuples{}, prices: tuples{}, licences: tuples{}, entryPoints: tuples{}}
	for i := range t.Subscriptions {
		s := &t.Subscriptions[i]
		for _, term := range s.ActiveTerms() {
			d.terms = append(d.terms, []any{s.ID, s.Name, s.LicenceModel, s.Plan, s.Deployment, s.Currency, s.Billing,
				date(term.From), date(term.To)})
		}
		versions := slices.SortedFunc(slices.Values(s.Versions),
			func(a, b registry.Version) int { return cmp.Compare(a.From, b.From) })
		for n, v := range versions {
			to := civil.NoDate
			if n+1 < len(versions) {
				to = versions[n+1].From
			}
			for _, meter := range slices.Sorted(maps.Keys(v.Commitments)) {
				d.commitments = append(d.commitments,
					[]any{s.ID, s.Name, meter, v.Commitments[meter], date(v.From), openDate(to)})
			}
			price := func(kind, prefix string, of map[string]decimal.Decimal) {
				for _, meter := range slices.Sorted(maps.Keys(of)) {
					d.prices = append(d.prices,
						[]any{s.ID, s.Name, kind, prefix + meter, of[meter], s.Currency, date(v.From), openDate(to)})
				}
			}
			price("commitment", "", v.Prices.Commitment)
			price("overage", "", v.Prices.Overage)
			price("connect", schemas.ConnectPrefix, v.Prices.Connect)
		}
	}
	for _, l := range t.Licences {
		d.licences = append(d.licences,
			[]any{l.User, l.Role, l.Class, l.Subscription, names[l.Subscription], date(l.From), openDate(l.To)})
	}
	for _, e := range t.EntryPoints {
		d.entryPoints = append(d.entryPoints,
			[]any{e.EntryPoint, e.Subscription, names[e.Subscription], date(e.From), openDate(e.To)})
	}
	return d
}

// date returns a date as Date32 has it, which ends with the year 2299.
func date(d civil.Date) time.Time { return min(d, civil.NewDate(2299, 12, 31)).Time() }

// openDate is date for one that may be absent.
func openDate(d civil.Date) *time.Time {
	if d == civil.NoDate {
		return nil
	}
	t := date(d)
	return &t
}

// calendar has, from each instant on, what makes the date in UTC that of the tenant, and the primary.
func calendar(shifts timeline.Line[int64], primary timeline.Line[string], names map[string]string) tuples {
	var instants []int64
	for _, s := range shifts {
		instants = append(instants, s.FromMS)
	}
	for _, s := range primary {
		instants = append(instants, s.FromMS)
	}
	slices.Sort(instants)
	rows := tuples{}
	for _, ms := range slices.Compact(instants) {
		subscription := primary.At(ms)
		rows = append(rows, []any{ms, shifts.At(ms), subscription, names[subscription]})
	}
	return rows
}

// zoneShifts has the dateShifts of zones, by *civil.Zone: the data in use has one of each name.
var zoneShifts sync.Map

// dateShifts returns what to add to an instant so that its date in UTC is its date in the zone: for every date until
// the end of 2100, in the order of time. It must not be changed.
func dateShifts(zone *civil.Zone) timeline.Line[int64] {
	if known, ok := zoneShifts.Load(zone); ok {
		return known.(timeline.Line[int64])
	}
	line := computeDateShifts(zone)
	zoneShifts.Store(zone, line)
	return line
}

func computeDateShifts(zone *civil.Zone) timeline.Line[int64] {
	const day = 24 * 3600_000
	var line timeline.Line[int64]
	var before int64 // the start of the date before
	for d := civil.NewDate(1970, 1, 1); d <= civil.NewDate(2100, 12, 31); d++ {
		start := zone.Start(d)
		step := timeline.Step[int64]{FromMS: start, Value: int64(d)*day - start}
		if line == nil {
			step.FromMS = timeline.Start
		} else if step.FromMS > before+day {
			step.FromMS = before + day // the end of a day that is longer than others
		}
		before = start
		for len(line) > 0 && line[len(line)-1].FromMS >= step.FromMS {
			line = line[:len(line)-1] // a date that the zone skips
		}
		if len(line) == 0 || line[len(line)-1].Value != step.Value {
			line = append(line, step)
		}
	}
	return line
}

func activity(active map[string]timeline.Line[bool], names map[string]string) tuples {
	rows := tuples{}
	for _, s := range slices.Sorted(maps.Keys(active)) {
		for _, step := range active[s] {
			rows = append(rows, []any{s, step.FromMS, step.Value, names[s]})
		}
	}
	return rows
}

func mappings(lines timeline.Tenant, names map[string]string) tuples {
	rows := tuples{}
	for _, agent := range slices.Sorted(maps.Keys(lines.Agents)) {
		for _, step := range lines.Agents[agent] {
			m := step.Value
			rows = append(rows, []any{false, agent, step.FromMS, m.Subscription, names[m.Subscription], m.Premium})
		}
	}
	for _, entryPoint := range slices.Sorted(maps.Keys(lines.EntryPoints)) {
		for _, step := range lines.EntryPoints[entryPoint] {
			rows = append(rows, []any{true, entryPoint, step.FromMS, step.Value, names[step.Value], false})
		}
	}
	return rows
}
