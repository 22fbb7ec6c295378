package clickhouse

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// query gathers what goes along with one query: external tables and parameters.
type query struct {
	ctx        context.Context
	tables     []*ext.Table
	parameters clickhouse.Parameters
	// scattered says that the days of inputs are too few of those between the first of any and the last of any to read
	// all between.
	scattered bool
	readOnly  bool // see reading
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

// tenants declares an external table of tenants.
func (q *query) tenants(name string, tenants []string) {
	add := q.table(name, "tenant", "String")
	for _, t := range tenants {
		add(t)
	}
}

// inputs adds all that daily reads besides the deliveries. The days of a tenant are in order.
func (q *query) inputs(in aggregate.Inputs) *query {
	byTenant := map[string][]aggregate.Day{}
	var tenants []string
	for _, d := range in.Days {
		if byTenant[d.Tenant] == nil {
			tenants = append(tenants, d.Tenant)
		}
		byTenant[d.Tenant] = append(byTenant[d.Tenant], d)
	}
	number := q.timelines(tenants, in.Timelines)
	c := q.calendar(tenants, byTenant, in.Timelines, number, max(schemas.MaxSessionMS, openMS(in.Rules)))
	q.parameter("lo", floorDay(c.begin-c.reach))
	q.parameter("from", floorDay(c.begin))
	q.parameter("first", c.begin)
	q.parameter("to", floorDay(c.end+day-1))
	q.parameter("now", in.NowMS)
	q.parameter("open_ms", openMS(in.Rules))
	q.parameter("longest", c.reach)
	return q
}

// timelines adds what the registry says of the tenants, keys in byte order so that equal registries give equal queries,
// and returns what gives a subscription its number; 0 is none.
func (q *query) timelines(tenants []string, timelines aggregate.Timelines) (
	number func(tenant, subscription string) uint64) {
	numbers := map[[2]string]uint64{} // by tenant and id
	name := q.table("names", "number", "UInt64", "subscription", "String")
	number = func(tenant, subscription string) uint64 {
		key := [2]string{tenant, subscription}
		if numbers[key] == 0 && subscription != "" {
			numbers[key] = uint64(len(numbers) + 1)
			name(numbers[key], subscription)
		}
		return numbers[key]
	}
	read := q.table("tenants", "tenant", "String", "of", "UInt32")
	subscription := q.table("subscriptions", "of", "UInt32", "subscription", "String", "number", "UInt64",
		"from_ms", "Int64", "active", "Bool")
	mapping := q.table("mappings", "of", "UInt32", "is_ivr", "UInt8", "name", "String", "from_ms", "Int64",
		"number", "UInt64", "premium", "Bool")
	entitlement := q.table("entitlements", "tenant", "String", "subscription", "String", "meter", "String",
		"from_ms", "Int64", "quantity", "Int64")
	for i, id := range tenants {
		of := uint32(i + 1)
		read(id, of)
		known, ok := timelines[id]
		if !ok {
			continue
		}
		tenant := known.Lines()
		for _, s := range slices.Sorted(maps.Keys(tenant.Active)) {
			for _, step := range tenant.Active[s] {
				subscription(of, s, number(id, s), step.FromMS, step.Value)
			}
		}
		for _, agent := range slices.Sorted(maps.Keys(tenant.Agents)) {
			for _, step := range tenant.Agents[agent] {
				mapping(of, uint8(0), agent, step.FromMS, number(id, step.Value.Subscription), step.Value.Premium)
			}
		}
		for _, entryPoint := range slices.Sorted(maps.Keys(tenant.EntryPoints)) {
			for _, step := range tenant.EntryPoints[entryPoint] {
				mapping(of, uint8(1), entryPoint, step.FromMS, number(id, step.Value), false)
			}
		}
		for _, e := range slices.SortedFunc(maps.Keys(tenant.Entitlements), timeline.EntitlementOf.Compare) {
			for _, step := range tenant.Entitlements[e] {
				entitlement(id, e.Subscription, e.Meter, step.FromMS, step.Value)
			}
		}
	}
	return number
}

// calendar is which dates a query is about.
type calendar struct {
	// reach is how long before a day a session that reaches into it can have begun.
	reach int64
	// begin and end are those of the wanted days.
	begin, end int64
	// read are the dates of UTC that the wanted days lie in, and before those on which a session that reaches into one
	// can have begun.
	read, before []tenantDay
}

// calendar adds the dates of the tenants: the wanted ones, and those before on which a session that reaches into one
// can have begun.
func (q *query) calendar(tenants []string, byTenant map[string][]aggregate.Day, timelines aggregate.Timelines,
	number func(tenant, subscription string) uint64, reach int64) calendar {
	c := calendar{reach: reach, begin: math.MaxInt64}
	add := q.table("calendar", "tenant", "String", "of", "UInt32", "day", "UInt32", "date", "Date32",
		"from_ms", "Int64", "to_ms", "Int64",
		"wanted", "Bool", "unknown_tenant", "Bool", "payer", "UInt64")
	dayNumber := uint32(0)
	for i, id := range tenants {
		wanted := byTenant[id]
		tenant := timeline.Tenant{Zone: civil.UTC}
		registry, known := timelines[id]
		if known {
			tenant = registry.Lines()
		}
		c.begin, c.end = min(c.begin, wanted[0].FromMS), max(c.end, wanted[len(wanted)-1].ToMS)
		for len(wanted) > 0 {
			n := stretch(wanted, reach)
			c.stretch(id, wanted[:n])
			first, last := wanted[0], wanted[n-1]
			for _, d := range aggregate.Days(id, tenant.Zone, tenant.Zone.DateOf(floorDay(first.FromMS-reach)), last.Date+1) {
				isWanted := len(wanted) > 0 && wanted[0].Date == d.Date
				if isWanted {
					wanted = wanted[1:]
				}
				if d.ToMS-d.FromMS >= 1<<27 && q.err == nil {
					q.err = fmt.Errorf("%s of %s is longer than the 37 hours that a date can have", d.Date, id)
				}
				add(id, uint32(i+1), dayNumber, d.Date.Time(), d.FromMS, d.ToMS, isWanted, !known,
					number(id, tenant.Primary.At(d.FromMS)))
				dayNumber++
			}
			// A session that runs on after the last day must not run into the first of the next stretch. No day has
			// fewer than 22 hours.
			dayNumber += uint32(reach/(22*3600_000)) + 10
		}
	}
	all := int64(len(tenants)) * ((floorDay(c.end+day-1) - floorDay(c.begin)) / day)
	if q.scattered = 2*int64(len(c.read)) < all; q.scattered {
		for name, dates := range map[string][]tenantDay{"dates": c.read, "dates_before": c.before} {
			add := q.table(name, "tenant", "String", "day", "Int64")
			for _, d := range dates {
				add(d.tenant, int64(d.day))
			}
		}
	}
	return c
}

// stretch adds the dates of UTC of a stretch of wanted days.
func (c *calendar) stretch(tenant string, wanted []aggregate.Day) {
	date := civil.UTC.DateOf(wanted[0].FromMS - c.reach)
	for _, d := range wanted {
		for ; date < civil.UTC.DateOf(d.FromMS); date++ {
			c.before = append(c.before, tenantDay{tenant, date})
		}
		for ; date <= civil.UTC.DateOf(d.ToMS-1); date++ {
			c.read = append(c.read, tenantDay{tenant, date})
		}
	}
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

// settings go along with every query.
var settings = func() clickhouse.Settings {
	s := clickhouse.Settings{
		// Compiling the many expressions of daily takes longer than it saves.
		"compile_expressions": 0,
		// What a query inserts is written by as many threads as compute it, which is what ClickHouse makes of more.
		// It would want 4 GiB for each, and its threads write blocks of at most 256 MiB.
		"max_insert_threads":                            1024,
		"max_insert_threads_min_free_memory_per_thread": 0,
		// A date of a tenant is computed whole, however much there is of it: what does not fit goes to the disk.
		"max_bytes_ratio_before_external_group_by": "0.5",
		"max_bytes_ratio_before_external_sort":     "0.5",
		// Usage may be of any dates, and so in any number of partitions.
		"max_partitions_per_insert_block": 0,
	}
	for _, pass := range needlessPasses {
		s["optimize_"+pass] = 0
	}
	return s
}()

// needlessPasses look for expressions that could be written better, of which these queries have none. Each goes through
// the whole of a query, and together they take more than half of the time in which daily is planned.
var needlessPasses = []string{
	"aggregators_of_group_by_keys", "and_compare_chain", "arithmetic_operations_in_aggregate_functions",
	"empty_string_comparisons", "extract_common_expressions", "group_by_function_keys",
	"injective_functions_in_group_by", "injective_functions_in_limit_by", "injective_functions_inside_uniq",
	"inverse_dictionary_lookup", "limit_by_function_keys", "multiif_to_if", "normalize_count_variants", "or_like_chain",
	"redundant_comparisons", "redundant_functions_in_order_by", "rewrite_aggregate_function_with_if",
	"rewrite_array_exists_to_has", "rewrite_has_to_in", "rewrite_like_perfect_affix", "rewrite_regexp_functions",
	"rewrite_sum_if_to_count_if", "syntax_fuse_functions", "time_filter_with_preimage",
	"truncate_order_by_after_group_by_keys", "uniq_to_count",
}

func (q *query) context() context.Context {
	settings := maps.Clone(settings)
	if q.readOnly {
		settings["readonly"] = 2 // which leaves it the other settings
	}
	return clickhouse.Context(q.ctx, clickhouse.WithExternalTable(q.tables...), clickhouse.WithParameters(q.parameters),
		clickhouse.WithSettings(settings))
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
