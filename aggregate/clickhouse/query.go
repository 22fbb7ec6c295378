package clickhouse

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// query gathers what goes along with one query: external tables and parameters.
type query struct {
	ctx        context.Context
	tables     []*ext.Table
	parameters clickhouse.Parameters
	// scattered says that the days of inputs are too few of those between the first of any and the last of any to read
	// all between.
	scattered bool
	err       error
}

func newQuery(ctx context.Context) *query {
	return &query{ctx: ctx, parameters: clickhouse.Parameters{}}
}

// table declares an external table by the names and types of its columns, and returns what appends a row.
func (q *query) table(name string, namesAndTypes ...string) func(values ...any) {
	var columns []func(*ext.Table) error
	for i := 0; i < len(namesAndTypes); i += 2 {
		columns = append(columns, ext.Column(namesAndTypes[i], column.Type(namesAndTypes[i+1])))
	}
	table, err := ext.NewTable(name, columns...)
	if err != nil {
		q.err = err
		return func(...any) {}
	}
	q.tables = append(q.tables, table)
	return func(values ...any) {
		if err := table.Append(values...); err != nil && q.err == nil {
			q.err = fmt.Errorf("table %s: %w", name, err)
		}
	}
}

// inputs adds all that daily reads besides the deliveries. The days of a tenant are in order.
func (q *query) inputs(days []aggregate.Day, timelines aggregate.Timelines, rules aggregate.Rules, now int64) *query {
	byTenant := map[string][]aggregate.Day{}
	var tenants []string
	for _, d := range days {
		if byTenant[d.Tenant] == nil {
			tenants = append(tenants, d.Tenant)
		}
		byTenant[d.Tenant] = append(byTenant[d.Tenant], d)
	}
	concerned := func(tenant string) bool { return byTenant[tenant] != nil }
	of := make(map[string]uint32, len(tenants)) // numbers them from 1
	for i, tenant := range tenants {
		of[tenant] = uint32(i + 1)
	}

	numbers := map[[2]string]uint64{} // of subscriptions, by tenant and id
	name := q.table("names", "number", "UInt64", "subscription", "String")
	number := func(tenant, subscription string) uint64 {
		key := [2]string{tenant, subscription}
		if numbers[key] == 0 && subscription != "" {
			numbers[key] = uint64(len(numbers) + 1)
			name(numbers[key], subscription)
		}
		return numbers[key]
	}
	subscription := q.table("subscriptions", "of", "UInt32", "subscription", "String", "number", "UInt64", "from_ms", "Int64", "active", "Bool")
	for _, s := range timelines.Active {
		if concerned(s.Tenant) {
			subscription(of[s.Tenant], s.Subscription, number(s.Tenant, s.Subscription), s.FromMS, s.Active)
		}
	}
	mapping := q.table("mappings", "of", "UInt32", "is_ivr", "UInt8", "name", "String", "from_ms", "Int64", "number", "UInt64", "premium", "Bool")
	for _, s := range timelines.Agents {
		if concerned(s.Tenant) {
			mapping(of[s.Tenant], uint8(0), s.Agent, s.FromMS, number(s.Tenant, s.Subscription), s.Premium)
		}
	}
	for _, s := range timelines.EntryPoints {
		if concerned(s.Tenant) {
			mapping(of[s.Tenant], uint8(1), s.EntryPoint, s.FromMS, number(s.Tenant, s.Subscription), false)
		}
	}
	entitlement := q.table("entitlements", "tenant", "String", "subscription", "String", "meter", "String", "from_ms", "Int64", "quantity", "Int64")
	for _, s := range timelines.Entitlements {
		if concerned(s.Tenant) {
			entitlement(s.Tenant, s.Subscription, s.Meter, s.FromMS, s.Quantity)
		}
	}
	primaries := map[string][]aggregate.PrimaryStep{}
	for _, s := range timelines.Primary {
		if concerned(s.Tenant) {
			primaries[s.Tenant] = append(primaries[s.Tenant], s)
		}
	}

	read := q.table("tenants", "tenant", "String", "of", "UInt32")
	calendar := q.table("calendar", "tenant", "String", "of", "UInt32", "day", "UInt32", "date", "Date32", "from_ms", "Int64", "to_ms", "Int64",
		"wanted", "Bool", "unknown_tenant", "Bool", "payer", "UInt64")
	type date struct {
		tenant string
		day    civil.Date
	}
	var whole, before []date // in UTC
	reach := max(longest, openMS(rules))
	begin, end := int64(math.MaxInt64), int64(0) // of the wanted days
	dayNumber := uint32(0)
	for _, tenant := range tenants {
		wanted := byTenant[tenant]
		zone := timelines.Zones[tenant]
		if zone == nil {
			zone = civil.UTC
		}
		read(tenant, of[tenant])
		begin, end = min(begin, wanted[0].FromMS), max(end, wanted[len(wanted)-1].ToMS)
		steps, next := primaries[tenant], 0
		for len(wanted) > 0 {
			n := stretch(wanted, reach)
			of, first, last := of[tenant], wanted[0], wanted[n-1]
			at := civil.UTC.DateOf(first.FromMS - reach)
			for _, d := range wanted[:n] {
				for ; at < civil.UTC.DateOf(d.FromMS); at++ {
					before = append(before, date{tenant, at})
				}
				for ; at <= civil.UTC.DateOf(d.ToMS-1); at++ {
					whole = append(whole, date{tenant, at})
				}
			}
			for _, d := range aggregate.Days(tenant, zone, zone.DateOf(floorDay(first.FromMS-reach)), last.Date+1) {
				for next < len(steps) && steps[next].FromMS <= d.FromMS {
					next++
				}
				var payer uint64
				if next > 0 {
					payer = number(tenant, steps[next-1].Subscription)
				}
				isWanted := len(wanted) > 0 && wanted[0].Date == d.Date
				if isWanted {
					wanted = wanted[1:]
				}
				if d.ToMS-d.FromMS >= 1<<27 && q.err == nil {
					q.err = fmt.Errorf("%s of %s is longer than the 37 hours that a date can have", d.Date, tenant)
				}
				calendar(tenant, of, dayNumber, d.Date.Time(), d.FromMS, d.ToMS, isWanted, len(steps) == 0, payer)
				dayNumber++
			}
			// A session that runs on after the last day must not run into the first of the next stretch. No day has
			// fewer than 22 hours.
			dayNumber += uint32(reach/(22*3600_000)) + 10
		}
	}
	if q.scattered = 2*int64(len(whole)) < int64(len(tenants))*((floorDay(end+day-1)-floorDay(begin))/day); q.scattered {
		for name, dates := range map[string][]date{"dates": whole, "dates_before": before} {
			add := q.table(name, "tenant", "String", "day", "Int64")
			for _, d := range dates {
				add(d.tenant, int64(d.day))
			}
		}
	}
	q.parameter("lo", floorDay(begin-reach))
	q.parameter("from", floorDay(begin))
	q.parameter("first", begin)
	q.parameter("to", floorDay(end+day-1))
	q.parameter("now", now)
	q.parameter("open_ms", openMS(rules))
	q.parameter("longest", max(longest, openMS(rules)))
	return q
}

// stretch returns how many of the days, which are in order, to number together: up to one that no session that begins
// on or before them reaches.
func stretch(days []aggregate.Day, reach int64) int {
	n := 1
	for n < len(days) && days[n].FromMS-reach < days[n-1].ToMS+2*day {
		n++
	}
	return n
}

// floorDay returns the start of the date in UTC that an instant lies in.
func floorDay(ms int64) int64 { return civil.UTC.Start(civil.UTC.DateOf(ms)) }

func (q *query) parameter(name string, value int64) {
	q.parameters[name] = strconv.FormatInt(value, 10)
}

func (q *query) context() context.Context {
	return clickhouse.Context(q.ctx, clickhouse.WithExternalTable(q.tables...), clickhouse.WithParameters(q.parameters),
		clickhouse.WithSettings(clickhouse.Settings{
			// Looking for chains of comparisons takes half of the time in which daily is planned, and finds none.
			"optimize_and_compare_chain": 0,
			// Compiling its many expressions takes longer than it saves.
			"compile_expressions": 0,
			// What a query inserts is written by as many threads as work it out, which is what ClickHouse makes of more.
			// It would want 4 GiB for each, and its threads write blocks of at most 256 MiB.
			"max_insert_threads":                            1024,
			"max_insert_threads_min_free_memory_per_thread": 0,
			// A date of a tenant is worked out whole, however much there is of it: what does not fit goes to the disk.
			"max_bytes_ratio_before_external_group_by": "0.5",
			"max_bytes_ratio_before_external_sort":     "0.5",
			// Usage may be of any dates, and so in any number of partitions.
			"max_partitions_per_insert_block": 0,
		}))
}

func (q *query) run(conn driver.Conn, sql string) (driver.Rows, error) {
	if q.err != nil {
		return nil, q.err
	}
	return conn.Query(q.context(), sql)
}

// each reads the rows of a query one by one.
func (q *query) each(conn driver.Conn, sql string, row func(driver.Rows) error) error {
	rows, err := q.run(conn, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (q *query) exec(conn driver.Conn, sql string) error {
	if q.err != nil {
		return q.err
	}
	return conn.Exec(q.context(), sql)
}
