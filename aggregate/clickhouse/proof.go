package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Proof counts the deliveries of the dates `[from, to)` as stored, up to the positions of a pass, of the tenants or,
// with nil, of all, and says what is wrong with the tables that are derived from them: in the order of tenant and date,
// those dates alone that have any. What it counts it takes from usage_events alone, with no SQL of what works days out,
// so a fault of either shows (R22).
func (s *Store) Proof(ctx context.Context, tenants []string, from, to civil.Date, pass aggregate.Pass,
	timelines aggregate.Timelines) ([]aggregate.Proof, error) {
	rules, err := pass.ParsedRules()
	if err != nil {
		return nil, err
	}
	parts, err := onShards(ctx, s, func(ctx context.Context, shard driver.Conn) ([]aggregate.Proof, error) {
		p := prover{shard: shard, tenants: tenants, from: from, to: to, pass: pass, rules: rules,
			timelines: timelines, proofs: map[tenantDay]*aggregate.Proof{}}
		return p.prove(ctx)
	})
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(x, y aggregate.Proof) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Date, y.Date))
	})
	return all, err
}

// prover makes the proofs of one shard.
type prover struct {
	shard     driver.Conn
	tenants   []string
	from, to  civil.Date
	pass      aggregate.Pass
	rules     aggregate.Rules // of the pass
	timelines aggregate.Timelines
	proofs    map[tenantDay]*aggregate.Proof
}

type tenantDay struct {
	tenant string
	day    civil.Date
}

// of returns the proof of a date.
func (p *prover) of(tenant string, date civil.Date) *aggregate.Proof {
	key := tenantDay{tenant, date}
	if p.proofs[key] == nil {
		p.proofs[key] = &aggregate.Proof{Tenant: tenant, Date: date}
	}
	return p.proofs[key]
}

func (p *prover) fault(tenant string, date civil.Date, format string, args ...any) {
	proof := p.of(tenant, date)
	proof.Faults = append(proof.Faults, fmt.Sprintf(format, args...))
}

func (p *prover) prove(ctx context.Context) ([]aggregate.Proof, error) {
	lasting, onDates, err := p.count(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.days(ctx, onDates); err != nil {
		return nil, err
	}
	if err := p.current(ctx, lasting); err != nil {
		return nil, err
	}
	var all []aggregate.Proof
	for _, proof := range p.proofs {
		all = append(all, *proof)
	}
	return all, nil
}

// query returns one that has the parameters lo and hi, whole dates of UTC that have all of the dates asked for, and
// fills in what SQL leaves open: $of stands for the tenants asked for, $known for the deliveries of the pass.
func (p *prover) query(ctx context.Context, sql string) (*query, string) {
	q := newQuery(ctx)
	q.parameter("from", int64(p.from))
	q.parameter("to", int64(p.to))
	q.parameter("lo", civil.UTC.Start(p.from-1)) // dates of a zone are never a day from those of UTC
	q.parameter("hi", civil.UTC.Start(p.to+1))
	q.parameter("open_ms", openMS(p.rules))
	q.parameter("reach", max(schemas.MaxSessionMS, openMS(p.rules)))
	of := "true"
	q.tenants("chosen", p.tenants)
	if p.tenants != nil {
		of = `tenant IN (SELECT tenant FROM chosen)`
	}
	bound := aggregate.ReadBound{Positions: p.pass.Positions, ArrivedBy: aggregate.EndOfTime}
	return q, fill(sql, "$of", of, "$known", known(bound))
}

// What is counted of a date of a tenant, where `at` is the date of UTC times atDay, and of how many instants at which a
// date begins anywhere lie before on it: with these, there are whole dates of every zone.
const (
	allRows    = iota // rows, and when the last session of these ends
	rows              // of identities with several rows: the rows,
	records           // the records on Kafka,
	winners           // the events,
	identities        // the identities, by date of UTC,
	unnoted           // and those of them that events_on_several_days lacks
	lastingOn         // when the last session of those that begin before all of the dates ends
)

const atDay = 128

// counting returns the query with the instants at which dates begin. Without any, no date has deliveries of its own.
func counting(cuts []int64) string {
	sql := text("lasting")
	if len(cuts) > 0 {
		sql = text("proof") + "\nUNION ALL\n" + sql
	}
	for _, instant := range []string{"occurred_ms", "won", "a", "p.4"} {
		at := fmt.Sprintf("toUInt32(intDiv(%s, 86400000) * %d", instant, atDay)
		for _, cut := range cuts[min(1, len(cuts)):] {
			at += fmt.Sprintf(" + (%s %% 86400000 >= %d)", instant, cut)
		}
		sql = strings.ReplaceAll(sql, "$at("+instant+")", at+")")
	}
	for name, n := range map[string]int{"allRows": allRows, "rows": rows, "records": records, "winners": winners,
		"identities": identities,
		"unnoted":    unnoted, "lastingOn": lastingOn, "day": atDay} {
		sql = strings.ReplaceAll(sql, "$"+name, fmt.Sprint(n))
	}
	return sql
}

// count counts deliveries and events. It returns the dates that a session of an earlier one lasts into, which need not
// have any delivery of their own, and how many identities are on each date of UTC.
func (p *prover) count(ctx context.Context) (lasting map[tenantDay]bool, onDates map[tenantDay]int64, err error) {
	cuts, err := p.cuts(ctx)
	if err != nil {
		return nil, nil, err
	}
	q, sql := p.query(ctx, counting(cuts))
	lasting, onDates = map[tenantDay]bool{}, map[tenantDay]int64{}
	lastsInto := func(tenant string, zone *civil.Zone, after civil.Date, until int64) {
		for _, d := range aggregate.Days(tenant, zone, max(p.from, after+1), min(p.to, zone.DateOf(until-1)+1)) {
			lasting[tenantDay{tenant, d.Date}] = true
		}
	}
	err = q.each(p.shard, sql, func(result driver.Rows) error {
		var what uint8
		var tenant string
		var at uint32
		var n, last int64
		if err := result.Scan(&what, &tenant, &at, &n, &last); err != nil {
			return err
		}
		utc, zone := civil.Date(at/atDay), p.timelines.Zone(tenant)
		var deliveries, events int64
		switch what {
		case allRows:
			deliveries, events = n, n
			onDates[tenantDay{tenant, utc}] += n
		case rows:
			deliveries, events = -n, -n
			onDates[tenantDay{tenant, utc}] -= n
		case records:
			deliveries = n
		case winners:
			events = n
		case identities:
			onDates[tenantDay{tenant, utc}] += n
		case unnoted:
			if p.from <= utc && utc < p.to {
				p.fault(tenant, utc, "events_on_several_days lacks %d of the events that are on several dates of UTC", n)
			}
		case lastingOn:
			if zone != nil {
				lastsInto(tenant, zone, p.from-1, last)
			}
		}
		if zone == nil || what > winners {
			return nil
		}
		date := zone.DateOf(civil.UTC.Start(utc) + cuts[at%atDay])
		if what == allRows {
			lastsInto(tenant, zone, date, last)
		}
		if date >= p.from && date < p.to {
			proof := p.of(tenant, date)
			proof.Deliveries += deliveries
			proof.Events += events
		}
		return nil
	})
	return lasting, onDates, err
}

// cuts returns at which milliseconds of dates of UTC that have deliveries a date of any of the zones begins, in order,
// from 0 on; none where no date has any.
func (p *prover) cuts(ctx context.Context) ([]int64, error) {
	zones := map[*civil.Zone]bool{}
	for _, tenant := range p.timelines {
		zones[tenant.Zone] = true
	}
	found := map[int64]bool{}
	q, sql := p.query(ctx, `SELECT DISTINCT toInt64(intDiv(occurred_ms, 86400000)) FROM usage_events
		WHERE $of AND occurred_ms >= {lo:Int64} AND occurred_ms < {hi:Int64}`)
	err := q.each(p.shard, sql, func(rows driver.Rows) error {
		var utc int64
		if err := rows.Scan(&utc); err != nil {
			return err
		}
		found[0] = true
		for zone := range zones {
			for date := zone.DateOf(utc * day); date <= zone.DateOf(utc*day+day-1); date++ {
				if start := zone.Start(date); start >= utc*day {
					found[start-utc*day] = true
				}
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// days finds the dates of UTC on which event_days has fewer events than there are. Rows that came twice, or are of
// deliveries that the pass does not know, only make it look closer.
func (p *prover) days(ctx context.Context, onDates map[tenantDay]int64) error {
	suspects := map[string]bool{}
	has := map[tenantDay]int64{}
	look := func(count, and string) error {
		q, sql := p.query(ctx, `SELECT tenant, toInt64(day), toInt64(`+count+`) FROM event_days
			WHERE $of AND day >= {from:Int64} AND day < {to:Int64}`+and+` GROUP BY tenant, day`)
		add := q.table("suspects", "tenant", "String")
		for tenant := range suspects {
			add(tenant)
		}
		return q.each(p.shard, sql, func(rows driver.Rows) error {
			var tenant string
			var utc, n int64
			err := rows.Scan(&tenant, &utc, &n)
			has[tenantDay{tenant, civil.Date(utc)}] = n
			return err
		})
	}
	if err := look("count()", ""); err != nil {
		return err
	}
	for key, n := range onDates {
		if key.day >= p.from && key.day < p.to && has[key] != n {
			suspects[key.tenant] = true
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	if err := look("uniqExact(identity)", ` AND tenant IN (SELECT tenant FROM suspects)`); err != nil {
		return err
	}
	for key, n := range onDates {
		if key.day >= p.from && key.day < p.to && has[key] < n {
			p.fault(key.tenant, key.day, "event_days has %d of the %d events of the date of UTC", has[key], n)
		}
	}
	return nil
}

// current compares the current days with what was written with them, and to the dates that have to have figures.
func (p *prover) current(ctx context.Context, lasting map[tenantDay]bool) error {
	q, sql := p.query(ctx, text("current_days"))
	if err := q.each(p.shard, sql, func(rows driver.Rows) error {
		var tenant string
		var n int64
		var pass, copied, told, figures uint64
		var right bool
		if err := rows.Scan(&tenant, &n, &pass, &copied, &told, &figures, &right); err != nil {
			return err
		}
		date := civil.Date(n)
		if pass > 0 {
			delete(lasting, tenantDay{tenant, date})
		}
		switch {
		case pass == 0 && !lasting[tenantDay{tenant, date}]:
			p.fault(tenant, date, "no figures are current, and those of pass %d were: usage_days has lost rows", copied)
		case pass == 0:
		case pass < copied:
			p.fault(tenant, date, "the figures of pass %d are current, and those of pass %d were: usage_days has lost rows",
				pass, copied)
		case pass > copied:
			p.fault(tenant, date, "the figures of pass %d are current, and usage_days_copy does not have them: it has lost rows",
				pass)
		case pass > p.pass.Pass:
			p.fault(tenant, date, "the figures of pass %d are current, and the last pass that was finished is %d: "+
				"it is under way, or usage_passes has lost rows", pass, p.pass.Pass)
		}
		switch {
		case pass == 0 || right:
		case figures != told:
			p.fault(tenant, date, "usage_daily has %d rows, and %d were written", figures, told)
		default:
			p.fault(tenant, date, "usage_daily has other figures than were written")
		}
		return nil
	}); err != nil {
		return err
	}
	for d := range lasting {
		p.fault(d.tenant, d.day, "a session lasts into the date, and no figures are current for it")
	}
	return nil
}
