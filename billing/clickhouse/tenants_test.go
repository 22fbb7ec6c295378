package clickhouse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// table returns the rows of a query, their values apart by bars.
func table(t *testing.T, conn driver.Conn, query string) (lines []string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT concatWithSeparator('|', * APPLY(x -> ifNull(toString(x), '-'))) FROM ("+query+")")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

const twoDepartments = `
tenants:
- id: acme
  name: Acme AB
  timeZone: Europe/Stockholm
  telephony: webex_calling
  subscriptions:
  - {id: S1, name: Service, licenceModel: concurrent, plan: flex3, deployment: cloud, currency: SEK, billing: monthly,
     terms: [{from: 2026-01-01, to: 2027-01-01}, {from: 2027-03-01, to: 2028-01-01}], cancelled: 2027-06-01,
     versions: [
       {from: 2026-01-01, commitments: {agent_standard: 10, addon.wfo: 3}, prices: {commitment: {agent_standard: "900"}, connect: {sms: "0.35"}}},
       {from: 2026-07-01, commitments: {agent_standard: 12}, prices: {overage: {agent_standard: "1100.5"}}}]}
  - {id: S2, name: Sales, licenceModel: concurrent, plan: flex, deployment: hybrid, currency: SEK, billing: prepaid,
     terms: [{from: 2026-02-01, to: 2027-01-01}], versions: [{from: 2026-02-01}]}
  licences:
  - {user: anna, role: agent, class: premium, subscription: S2, from: 2026-02-01, to: 2026-05-01}
  - {user: anna, role: admin, class: standard, subscription: S1, from: 2026-04-01}
  entryPoints:
  - {entryPoint: Orders, subscription: S2, from: 2026-02-01}
`

// The views of the registry show each tenant as the last command left it, whatever comes again or late.
func TestRegistryViews(t *testing.T) {
	conn := tablestest.Open(t)
	log := clickhouse.NewRegistryLog(conn, func(context.Context) (driver.Conn, error) { return conn, nil })
	var state registry.State
	give := func(document string) (decided []registry.Decided) {
		t.Helper()
		doc, problems := registry.Parse("test", []byte(document))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, c := range registry.Plan(state, doc, 0) {
			payload, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var d registry.Decided
			if state, d = state.Take(registry.Record{Offset: state.Offset() + 1, Payload: payload}); !d.Verdict.Accepted {
				t.Fatal(d.Verdict.Refusals)
			}
			decided = append(decided, d)
		}
		return decided
	}
	first := give(twoDepartments)
	before := state
	if err := log.Append(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got := table(t, conn, "SELECT * FROM v_tenants"); len(got) != 0 {
		t.Errorf("a verdict waits for the tenant to be written: %q", got)
	}
	if err := log.CompleteTenants(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	for view, want := range map[string][]string{
		"v_tenants": {"acme|Acme AB|Europe/Stockholm|webex_calling|0|" + civil.Edition()},
		"v_subscriptions": {
			"acme|S1|Service|concurrent|flex3|cloud|SEK|monthly|2026-01-01|2027-01-01",
			"acme|S1|Service|concurrent|flex3|cloud|SEK|monthly|2027-03-01|2027-06-01",
			"acme|S2|Sales|concurrent|flex|hybrid|SEK|prepaid|2026-02-01|2027-01-01",
		},
		"v_primaries": {
			"acme|S1|Service|2026-01-01|2027-01-01",
			"acme|S1|Service|2027-03-01|2027-06-01",
		},
		"v_departments": {"acme|S1|Service", "acme|S2|Sales"},
		"v_commitments": {
			"acme|S1|Service|addon.wfo|3|2026-01-01|2026-07-01",
			"acme|S1|Service|agent_standard|10|2026-01-01|2026-07-01",
			"acme|S1|Service|agent_standard|12|2026-07-01|-",
		},
		"v_prices": {
			"acme|S1|Service|commitment|agent_standard|900|SEK|2026-01-01|2026-07-01",
			"acme|S1|Service|connect|connect.sms|0.35|SEK|2026-01-01|2026-07-01",
			"acme|S1|Service|overage|agent_standard|1100.5|SEK|2026-07-01|-",
		},
		"v_licences": {
			"acme|anna|admin|standard|S1|Service|2026-04-01|-",
			"acme|anna|agent|premium|S2|Sales|2026-02-01|2026-05-01",
		},
		"v_entry_points": {"acme|Orders|S2|Sales|2026-02-01|-"},
	} {
		if got := table(t, conn, "SELECT * FROM "+view+" ORDER BY ALL"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", view, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}

	give(strings.NewReplacer("name: Sales", "name: Orders", "entryPoint: Orders", "entryPoint: Shop").Replace(twoDepartments))
	for _, state := range []registry.State{state, before, {}} {
		if err := log.CompleteTenants(t.Context(), state, "acme"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"acme|Shop|S2|Orders|2026-02-01|-"}
	if got := table(t, conn, "SELECT * FROM v_entry_points"); !reflect.DeepEqual(got, want) {
		t.Errorf("after a change: %q", got)
	}
}

// Whoever completes the tenants writes those that are missing, as they stood before, or of other time zone data, and
// leaves the rest alone.
func TestCompleteTenants(t *testing.T) {
	conn := tablestest.Open(t)
	log := clickhouse.NewRegistryLog(conn, func(context.Context) (driver.Conn, error) { return conn, nil })
	doc, problems := registry.Parse("test", []byte(twoDepartments))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var state registry.State
	for i, c := range registry.Plan(state, doc, 0) {
		state, _ = state.Apply(int64(i), c)
	}
	state, verdict := state.Apply(1, registry.Command{ID: "c", Source: "test", TenantID: "acme", Command: registry.ChangeTelephony,
		Telephony: "vpop", Reason: "moved"})
	if !verdict.Accepted {
		t.Fatal(verdict.Refusals)
	}
	for _, c := range []struct{ insert, only, want string }{
		{"", "other", ""},
		{"", "", "acme|1|" + civil.Edition()}, // of an upgrade
		{"('acme', 0, '" + civil.Edition() + "')", "acme", "acme|1|" + civil.Edition()}, // whoever gave the last command was killed
		{"('acme', 1, '1999a')", "", "acme|1|" + civil.Edition()},
		{"('acme', 7, 'other')", "", "acme|7|other"}, // somebody's who has read further
	} {
		if c.insert != "" {
			exec(t, conn, "TRUNCATE TABLE registry_tenants")
			exec(t, conn, "INSERT INTO registry_tenants (tenant, version, tz_version) VALUES "+c.insert)
		}
		var only []string
		if c.only != "" {
			only = []string{c.only}
		}
		if err := log.CompleteTenants(t.Context(), state, only...); err != nil {
			t.Fatal(err)
		}
		got := table(t, conn, "SELECT tenant, version, tz_version FROM registry_tenants FINAL")
		if strings.Join(got, " ") != c.want {
			t.Errorf("after %q: %q, want %q", c.insert, got, c.want)
		}
	}
}

// Tenants are written some at a time, however many there are; where that was ended, the rest are completed.
func TestManyTenants(t *testing.T) {
	conn := tablestest.Open(t)
	log := clickhouse.NewRegistryLog(conn, func(context.Context) (driver.Conn, error) { return conn, nil })
	var state registry.State
	const many = 250
	for i := range many {
		id := fmt.Sprint("t", i)
		doc, problems := registry.Parse("test", []byte(strings.NewReplacer("acme", id, "S1", id+"S1", "S2", id+"S2").Replace(twoDepartments)))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, c := range registry.Plan(state, doc, 0) {
			state, _ = state.Apply(int64(i), c)
		}
	}
	batches := 0
	log.Failpoint = func(string) {
		if batches++; batches == 2 {
			panic("killed")
		}
	}
	func() {
		defer func() { recover() }()
		log.CompleteTenants(t.Context(), state)
	}()
	count := func() string { return table(t, conn, "SELECT count() FROM v_tenants")[0] }
	if got := count(); got != "100" {
		t.Errorf("killed at the second batch: %s tenants", got)
	}
	if err := log.CompleteTenants(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != fmt.Sprint(many) || batches != 4 {
		t.Errorf("%s tenants after %d batches", got, batches)
	}
}

// The calendar gives every instant the date that the zone gives it: around midnights that are skipped, or come twice.
func TestCalendarShowsDates(t *testing.T) {
	conn := tablestest.Open(t)
	const hour = 3600_000
	for _, c := range []struct{ zone, from, to string }{
		{"America/Havana", "2026-10-30", "2026-11-04"}, {"America/Sao_Paulo", "2018-11-02", "2018-11-07"},
		{"Pacific/Apia", "2011-12-28", "2012-01-02"}, {"America/St_Johns", "2006-10-27", "2006-11-01"},
		{"Europe/Stockholm", "2026-03-27", "2026-04-02"}, {"Asia/Kolkata", "2026-01-01", "2026-01-03"}, {"America/Los_Angeles", "1970-01-01", "1970-01-03"},
	} {
		zone, err := civil.LoadZone(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		row := clickhouse.TenantRow{Tenant: &registry.Tenant{ID: c.zone, TimeZone: c.zone}}
		row.Lines.Zone = zone
		if err := clickhouse.WriteTenants(t.Context(), conn, row); err != nil {
			t.Fatal(err)
		}
		from, _ := civil.ParseDate(c.from)
		to, _ := civil.ParseDate(c.to)
		var want []string
		for ms := max(0, zone.Start(from)); ms < zone.Start(to); ms += hour / 4 {
			for _, ms := range []int64{max(0, ms-1), ms} {
				want = append(want, zone.DateOf(ms).String())
			}
		}
		begin := max(0, zone.Start(from))
		got := table(t, conn, fmt.Sprintf(`SELECT toDate32(toInt32(intDiv(ms + x.2 + 86400000, 86400000) - 1))
			FROM (SELECT '%[3]s' AS tenant, greatest(toInt64(0), toInt64(%[1]d + intDiv(number, 2) * 900000 - 1 + number %% 2)) AS ms FROM numbers(2 * %[2]d)) AS e
			ASOF JOIN (SELECT tenant, x.1 AS from_ms, x FROM registry_tenants ARRAY JOIN calendar AS x) AS c
				ON e.tenant = c.tenant AND e.ms >= c.from_ms ORDER BY e.ms`, begin, len(want)/2, c.zone))
		if !reflect.DeepEqual(got, want) {
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Errorf("%s: instant %d of %d is on another date: %q", c.zone, i, len(want), want[i])
					break
				}
			}
		}
	}
}
