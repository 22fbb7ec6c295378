package clickhouse_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	stores "apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
	"apportion/schemas/tables/tablestest"
	"apportion/schemas/timeline"
)

// TestViewsAgreeWithReference: whatever the deliveries and the clocks, the views for analysts show what plain Go
// makes of them.
func TestViewsAgreeWithReference(t *testing.T) {
	servicetest.Heavy(t, "it takes hundreds of queries")
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, conn)
		w := drawWorld(t)
		pools := w.entitle(t)
		deliveries := rapid.SliceOfN(rapid.Custom(w.drawEvent), 30, 60).Draw(t, "deliveries")
		w.describe(t, conn)
		// Sessions of the world reach at most this far from its days.
		var days []aggregate.Day
		for _, tenant := range []string{"a", "b", "unknown"} {
			days = append(days, aggregate.Days(tenant, w.zone(tenant), w.days[0].Date-40, w.days[0].Date+50)...)
		}
		const events = `
			SELECT tenant, date, period, type, meter, subscription, (if(subscription = '', '', concat(' of ', subscription)) = department)::Bool,
				attributed_by, unmapped, unknown_subscription, source, id, revision, start_ms, end_ms, milliseconds
			FROM v_events`
		// What has come after a pass is not known yet, and outranks what was known before once it is.
		early := rapid.IntRange(0, len(deliveries)).Draw(t, "early")
		insert(t, conn, 0, deliveries[:early])
		refresh(t, store, w, aggregate.DefaultRules())
		insert(t, conn, int64(early), deliveries[early:])
		compare(t, "v_events of the first pass", selected(t, conn, events), w.events(deliveries[:early], days))
		refresh(t, store, w, aggregate.DefaultRules())
		used := w.use(deliveries, days)
		compare(t, "v_usage_daily", selected(t, conn, `
			SELECT tenant, date, meter, subscription, events, agents FROM v_usage_daily WHERE events > 0`), used.distinct(dayOf))
		compare(t, "v_distinct_agents", selected(t, conn, `
			SELECT tenant, period, meter, subscription, sessions, agents FROM v_distinct_agents WHERE sessions > 0`), used.distinct(monthOf))
		compare(t, "v_events", selected(t, conn, events), w.events(deliveries, days))
		compare(t, "v_usage_balance_monthly", selected(t, conn, `
			SELECT tenant, period, accepted, counted, duplicate, superseded, voided, unallocated, unknown_tenant, difference,
				unmapped, open_sessions, unknown_subscription, conflicts
			FROM v_usage_balance_monthly WHERE accepted > 0`), months(deliveries, w, days))
		compare(t, "v_concurrency", selected(t, conn, `
			SELECT tenant, date, meter, subscription, toUnixTimestamp(minute), peak, entitled FROM v_concurrency`), used.minutes(pools))
		compare(t, "v_overage_by_department", selected(t, conn, `
			SELECT tenant, period, meter, date, peak_ms, live, pool, excess, subscription, contributed, committed FROM v_overage_by_department`), used.overage(pools))
	})
}

// pools is what is entitled, by tenant, subscription and meter, in the order of time.
type pools map[aggregate.AgentsOf]timeline.Line[int64]

// entitle lets the subscriptions commit to this and that.
func (w *world) entitle(t *rapid.T) pools {
	p := pools{}
	add := func(tenant, subscription, meter string, fromMS, quantity int64) {
		of := aggregate.AgentsOf{Tenant: tenant, Meter: meter, Subscription: subscription}
		p[of] = append(p[of], timeline.Step[int64]{FromMS: fromMS, Value: quantity})
		w.registry.Timelines[tenant].Lines().Entitlements[timeline.EntitlementOf{Subscription: subscription, Meter: meter}] = p[of]
	}
	for _, tenant := range w.registry.Tenants {
		timelines := w.registry.Timelines[tenant.ID].Lines()
		timelines.Entitlements = map[timeline.EntitlementOf]timeline.Line[int64]{}
		w.registry.Timelines[tenant.ID] = aggregate.Known(timelines)
		for _, meter := range []string{schemas.AgentStandard, schemas.AgentPremium, schemas.IVRPort} {
			change := rapid.SampledFrom(w.days[:3]).Draw(t, "change").Date
			var sums [2]int64
			for _, s := range []string{"S1", "S2"} {
				for i, from := range []int64{timeline.Start, w.registry.Timelines.Zone(tenant.ID).Start(change)} {
					quantity := rapid.Int64Range(0, 1).Draw(t, "committed")
					add(tenant.ID, s, meter, from, quantity)
					sums[i] += quantity
				}
			}
			add(tenant.ID, "", meter, timeline.Start, sums[0])
			add(tenant.ID, "", meter, w.registry.Timelines.Zone(tenant.ID).Start(change), sums[1])
		}
	}
	return p
}

func (p pools) of(u usage) int64 {
	return p[aggregate.AgentsOf{Tenant: u.Tenant, Meter: u.meter, Subscription: u.subscription}].At(u.FromMS)
}

// usage names a row of usage_daily.
type usage struct {
	aggregate.Day
	meter, subscription string
}

func (u usage) period() string { return u.Date.String()[:len("2026-10")] }

// uses is who is live, and who starts, by row.
type uses map[usage]*use

type use struct {
	live   []aggregate.Interval
	starts []string
}

// use attributes the sessions and cuts them at the midnights.
func (w world) use(deliveries []schemas.Event, days []aggregate.Day) uses {
	used := uses{}
	for _, c := range aggregate.ResolveRevisions(deliveries) {
		a := w.registry.Timelines.Attribute(&c.Event)
		if !c.Wins || c.Voided || a.UnknownTenant || a.Subscription == "" {
			continue
		}
		who := cmp.Or(c.Agent, c.Source+" "+c.ID)
		var from, to int64
		if c.Type != schemas.ConnectUsage {
			from, to = aggregate.DefaultRules().Live(&c.Event, aggregate.EndOfTime)
		}
		for _, day := range days {
			starts := day.FromMS <= c.OccurredMS() && c.OccurredMS() < day.ToMS
			part := aggregate.Interval{Who: who, From: max(from, day.FromMS), To: min(to, day.ToMS)}
			if day.Tenant != c.Tenant || !starts && part.From >= part.To {
				continue
			}
			for _, subscription := range []string{"", a.Subscription} {
				u := used[usage{day, a.Meter, subscription}]
				if u == nil {
					u = &use{}
					used[usage{day, a.Meter, subscription}] = u
				}
				if starts {
					u.starts = append(u.starts, who)
				}
				if part.From < part.To {
					u.live = append(u.live, part)
				}
			}
		}
	}
	return used
}

func dayOf(u usage) string   { return u.Date.String() }
func monthOf(u usage) string { return u.period() }

// distinct counts the sessions that start, and whose they are, by what a row is of: of months agents alone.
func (used uses) distinct(by func(usage) string) (lines []string) {
	starts := map[string][]string{}
	for u, of := range used {
		if isAgent := strings.HasPrefix(u.meter, "agent_"); len(of.starts) > 0 && (isAgent || by(u) == dayOf(u)) {
			row := fmt.Sprint(u.Tenant, " ", by(u), " ", u.meter, " ", u.subscription)
			starts[row] = append(starts[row], of.starts...)
		}
	}
	for row, who := range starts {
		distinct := 0
		if strings.Contains(row, " agent_") {
			distinct = len(slices.Compact(slices.Sorted(slices.Values(who))))
		}
		lines = append(lines, fmt.Sprint(row, " ", len(who), " ", distinct))
	}
	return sorted(lines)
}

// describe gives the world's tenants to the views, each subscription with a name.
func (w world) describe(t failer, conn driver.Conn) {
	t.Helper()
	var rows []stores.TenantRow
	for _, tenant := range w.registry.Tenants {
		lines := w.registry.Timelines[tenant.ID].Lines()
		described := &registry.Tenant{ID: tenant.ID, TimeZone: lines.Zone.Name()}
		for s := range lines.Active {
			described.Subscriptions = append(described.Subscriptions, registry.Subscription{ID: s, Name: " of " + s})
		}
		rows = append(rows, stores.TenantRow{Tenant: described, Lines: lines})
	}
	if err := stores.WriteTenants(context.Background(), conn, rows...); err != nil {
		t.Fatal(err)
	}
}

// events are the winners that are not voided, as plain Go attributes them.
func (w world) events(deliveries []schemas.Event, days []aggregate.Day) (lines []string) {
	for _, c := range aggregate.ResolveRevisions(deliveries) {
		if !c.Wins || c.Voided {
			continue
		}
		a := w.registry.Timelines.Attribute(&c.Event)
		at := slices.IndexFunc(days, func(d aggregate.Day) bool {
			return d.Tenant == c.Tenant && d.FromMS <= c.OccurredMS() && c.OccurredMS() < d.ToMS
		})
		by := cmp.Or(string(a.By), "unallocated")
		meter := a.Meter
		if a.UnknownTenant {
			// Without licences the class that is named decides.
			by, meter = "unknown_tenant", aggregate.Timelines{c.Tenant: aggregate.Known(timeline.Tenant{})}.Attribute(&c.Event).Meter
		}
		start, end, lasted := c.StartMS, c.EndMS, int64(0)
		if c.Type == schemas.ConnectUsage {
			start, end = schemas.Absent, schemas.Absent
		}
		if end >= 0 {
			lasted = end - start
		}
		period := usage{Day: days[at]}.period()
		lines = append(lines, fmt.Sprint(c.Tenant, " ", days[at].Date, " ", period, " ", c.Type, " ", meter, " ", a.Subscription, " true ", by, " ",
			a.Unmapped, " ", a.UnknownSubscription, " ", c.Source, " ", c.ID, " ", c.Revision, " ", start, " ", end, " ", lasted))
	}
	return sorted(lines)
}

func months(deliveries []schemas.Event, w world, days []aggregate.Day) (lines []string) {
	_, balances := aggregate.Reference(deliveries, aggregate.Inputs{Days: days, Timelines: w.registry.Timelines, Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime})
	by := map[string]aggregate.Balance{}
	for _, b := range balances {
		of := b.Tenant + " " + usage{Day: aggregate.Day{Date: b.Date}}.period()
		by[of] = by[of].Add(b.Balance)
	}
	for of, b := range by {
		lines = append(lines, fmt.Sprint(of, " ", b.Accepted, " ", b.Counted, " ", b.Duplicate, " ", b.Superseded, " ", b.Voided, " ", b.Unallocated, " ",
			b.UnknownTenant, " ", b.Difference(), " ", b.Unmapped, " ", b.OpenSessions, " ", b.UnknownSubscription, " ", b.Conflicts))
	}
	return sorted(lines)
}

// minutes takes the peak of each minute by itself.
func (used uses) minutes(p pools) (lines []string) {
	const minute = 60_000
	for u, by := range used {
		if len(by.live) == 0 {
			continue
		}
		first := slices.MinFunc(by.live, func(a, b aggregate.Interval) int { return cmp.Compare(a.From, b.From) }).From
		last := slices.MaxFunc(by.live, func(a, b aggregate.Interval) int { return cmp.Compare(a.To, b.To) }).To
		for m := first / minute; m*minute < last; m++ {
			var within []aggregate.Interval
			for _, i := range by.live {
				if i.From < (m+1)*minute && i.To > m*minute {
					within = append(within, aggregate.Interval{Who: i.Who, From: max(i.From, m*minute), To: min(i.To, (m+1)*minute)})
				}
			}
			peak, _ := aggregate.Peak(within)
			lines = append(lines, fmt.Sprint(u.Tenant, " ", u.Date, " ", u.meter, " ", u.subscription, " ", m*60, " ", peak, " ", p.of(u)))
		}
	}
	return sorted(lines)
}

// overage looks at every instant at which somebody begins to be live.
func (used uses) overage(p pools) (lines []string) {
	type month struct{ tenant, period, meter string }
	type peak struct {
		usage
		at, live, pool int64
	}
	peaks := map[month]peak{}
	for u, by := range used {
		if pool := p.of(u); u.subscription == "" && (pool > 0 || len(by.starts) > 0) {
			of := month{u.Tenant, u.period(), u.meter}
			for _, i := range by.live {
				best, known := peaks[of]
				live := by.at(i.From)
				if excess := live - pool; excess > 0 && (!known || excess > best.live-best.pool || excess == best.live-best.pool && i.From < best.at) {
					peaks[of] = peak{u, i.From, live, pool}
				}
			}
		}
	}
	for u, by := range used {
		if top, known := peaks[month{u.Tenant, u.period(), u.meter}]; known && u.Day == top.Day && u.subscription != "" {
			lines = append(lines, fmt.Sprint(u.Tenant, " ", u.period(), " ", u.meter, " ", u.Date, " ", top.at, " ", top.live, " ", top.pool, " ",
				top.live-top.pool, " ", u.subscription, " ", by.at(top.at), " ", p.of(u)))
		}
	}
	return sorted(lines)
}

// at is the concurrency at an instant (R13).
func (u *use) at(ms int64) int64 {
	who := map[string]bool{}
	for _, i := range u.live {
		if i.From <= ms && ms < i.To {
			who[i.Who] = true
		}
	}
	return int64(len(who))
}

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

// selected returns the rows of a query as sorted lines, their values apart by spaces.
func selected(t failer, conn driver.Conn, sql string) (lines []string) {
	t.Helper()
	rows, err := conn.Query(context.Background(), `SELECT concatWithSeparator(' ', *) FROM (`+sql+`)`)
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
	return sorted(lines)
}

// A delivery that ingest wrote twice is one for whoever says so.
func TestEventWrittenTwice(t *testing.T) {
	conn := tablestest.Open(t)
	if err := conn.Exec(t.Context(), "SYSTEM STOP MERGES usage_events"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		insert(t, conn, 0, []schemas.Event{{Tenant: "a", Type: schemas.IVRSession, ID: "1", EntryPoint: "e"}})
	}
	if err := conn.Exec(t.Context(), "INSERT INTO usage_ranked SELECT topic, partition, offset FROM usage_events"); err != nil {
		t.Fatal(err)
	}
	got := selected(t, conn, `SELECT (SELECT count() FROM v_events),
		(SELECT count() FROM (SELECT id FROM v_events LIMIT 1 BY topic, partition, offset))`)
	if len(got) != 1 || got[0] != "2 1" {
		t.Errorf("events, and without what was written twice: %q", got)
	}
}

// TestViewsReadByTheirKeys: a question about one tenant reads no other tenant's rows.
func TestViewsReadByTheirKeys(t *testing.T) {
	conn := tablestest.Open(t)
	insert(t, conn, 0, []schemas.Event{{Tenant: "a", Type: schemas.IVRSession, ID: "1", EntryPoint: "e"}})
	for _, row := range []string{
		"usage_daily (tenant, date) VALUES ('a', '2026-10-25')",
		"usage_days (tenant, date) VALUES ('a', '2026-10-25')",
		"usage_outranked (tenant, day) VALUES ('a', 20751)",
		"registry_tenants (tenant) VALUES ('a')",
	} {
		if err := conn.Exec(t.Context(), "INSERT INTO "+row); err != nil {
			t.Fatal(err)
		}
	}
	const tenant, date, meter = "(tenant in ['a', 'a'])", "(date in [20751, 20751])", "(meter in ['ivr_port', 'ivr_port'])"
	const ivr, utc = "(type in [2, 2])", "intDiv(occurred_ms, 86400000))) in [20751, 20751]"
	const outranked = "(toDate32(day) in [20751, 20751])"
	for _, c := range []struct {
		query string
		reads int // of tables
		by    []string
	}{
		{"v_usage_daily WHERE tenant = 'a'", 3, []string{tenant}},
		{"v_usage_daily WHERE tenant = 'a' AND date = '2026-10-25'", 2, []string{date}},
		{"v_events WHERE tenant = 'a'", 4, []string{tenant}},
		{"v_events WHERE tenant = 'a' AND utc_date = '2026-10-25'", 1, []string{utc, outranked}},
		{"v_events WHERE tenant = 'a' AND type = 'ivr.session'", 1, []string{ivr}},
		{"v_events WHERE tenant = 'a' AND type = 'ivr.session' AND utc_date = '2026-10-25'", 1, []string{ivr, utc}},
		{"v_usage_balance WHERE tenant = 'a' AND date = '2026-10-25'", 2, []string{tenant, date}},
		{"v_usage_balance_monthly WHERE tenant = 'a' AND period = '2026-10'", 2, []string{tenant}},
		{"v_concurrency WHERE tenant = 'a' AND date = '2026-10-25' AND meter = 'ivr_port'", 2, []string{date}},
		{"v_overage_by_department WHERE tenant = 'a' AND period = '2026-10'", 5, []string{tenant}},
	} {
		plan := selected(t, conn, "EXPLAIN indexes = 1 SELECT * FROM "+c.query)
		for _, by := range c.by {
			n := 0
			for _, line := range plan {
				if strings.Contains(line, "Condition: ") && strings.Contains(line, by) && strings.Contains(line, tenant) {
					n++
				}
			}
			if n != c.reads {
				t.Errorf("%s: %d of %d tables are read by %s:\n%s", c.query, n, c.reads, by, strings.Join(plan, "\n"))
			}
		}
	}
	plan := strings.Join(selected(t, conn, "EXPLAIN indexes = 1 SELECT * FROM v_concurrency WHERE tenant = 'a' AND meter = 'ivr_port'"), "\n")
	if !strings.Contains(plan, meter) {
		t.Errorf("the meter is not looked up by the key:\n%s", plan)
	}
}
