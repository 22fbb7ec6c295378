package clickhouse_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
	"apportion/schemas/timeline"
)

func TestMain(m *testing.M) {
	embedded.RunChild() // which has other flags
	flag.Parse()        // the number of draws depends on -short
	draws(usual())
	servicetest.Main(m)
}

// draws says how many there are, unless -rapid.checks does. A draw takes dozens of queries.
func draws(n int) {
	if !slices.ContainsFunc(os.Args, func(arg string) bool { return strings.Contains(arg, "rapid.checks") }) {
		flag.Set("rapid.checks", strconv.Itoa(n))
	}
}

// usual is how many draws there are of what is drawn on one server.
func usual() int {
	if testing.Short() {
		return 2
	}
	return servicetest.Draws(4, 25)
}

// failer is a test, or one draw of a property.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// insert writes deliveries as ingest does, at offsets from first on, and the ledger row that covers them.
func insert(t failer, conn driver.Conn, first int64, deliveries []schemas.Event) {
	t.Helper()
	ctx := context.Background()
	batch, err := conn.PrepareBatch(ctx, `INSERT INTO usage_events (tenant, type, source, id, revision, voided, time_ms, occurred_ms, start_ms, end_ms,
		agent, entry_point, channel, quantity, subscription, class, topic, partition, offset, arrived_ms)`)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range deliveries {
		if err := batch.Append(d.Tenant, d.Type.String(), d.Source, d.ID, d.Revision, d.Voided, d.TimeMS, d.OccurredMS(), d.StartMS, d.EndMS,
			d.Agent, d.EntryPoint, d.Channel, decimal.New(d.Quantity, -6), d.Subscription, d.Class, "usage", int32(0), first+int64(i), int64(0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	if len(deliveries) > 0 {
		if err := conn.Exec(ctx, `INSERT INTO ingest_batches (topic, partition, first_offset, last_offset, read, accepted, rejected) VALUES ('usage', 0, ?, ?, ?, ?, 0)`,
			first, first+int64(len(deliveries))-1, len(deliveries), len(deliveries)); err != nil {
			t.Fatal(err)
		}
	}
}

func truncate(t failer, shards ...driver.Conn) {
	t.Helper()
	for _, shard := range shards {
		for _, table := range []string{"usage_events", "ingest_batches", "usage_daily", "usage_days", "usage_days_copy", "usage_passes", "event_days", "events_on_several_days",
			"usage_outranked", "usage_ranked", "registry_tenants"} {
			if err := shard.Exec(context.Background(), "TRUNCATE TABLE "+table); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// world is a few tenants, at a time at which the clocks of their zones do odd things, with what the registry
// says of them.
type world struct {
	registry aggregate.Snapshot
	days     []aggregate.Day
	from, to int64
}

func drawWorld(t *rapid.T) world {
	w := world{registry: aggregate.Snapshot{RegistryOffset: 1, Timelines: aggregate.Timelines{}}}
	clock := rapid.SampledFrom([]struct{ zone, from, to string }{
		{"America/Havana", "2026-10-30", "2026-11-04"},
		{"America/Sao_Paulo", "2018-11-02", "2018-11-07"},
		{"Pacific/Apia", "2011-12-28", "2012-01-02"},
		{"America/St_Johns", "2006-10-27", "2006-11-01"},
		{"Europe/Stockholm", "2026-03-27", "2026-04-02"},
	}).Draw(t, "clock")
	zone, err := civil.LoadZone(clock.zone)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := civil.ParseDate(clock.from)
	next, _ := civil.ParseDate(clock.to)
	w.from, w.to = zone.Start(first), zone.Start(next)
	step := func(label string) int64 {
		return zone.Start(first.Add(rapid.IntRange(0, int(next-first)).Draw(t, label)))
	}
	for _, id := range []string{"a", "b"} {
		ids := []string{id + "1", id + "2"} // of the tenant alone (R1)
		subscription := rapid.SampledFrom(append([]string{""}, ids...))
		w.registry.Tenants = append(w.registry.Tenants, aggregate.Tenant{ID: id})
		w.days = append(w.days, aggregate.Days(id, zone, first, next)...)
		tenant := timeline.Tenant{Zone: zone, Active: map[string]timeline.Line[bool]{}, Agents: map[string]timeline.Line[timeline.Mapping]{},
			EntryPoints: map[string]timeline.Line[string]{}}
		line := func(label string) timeline.Line[string] {
			return timeline.Line[string]{{FromMS: timeline.Start, Value: subscription.Draw(t, label)}, {FromMS: step(label), Value: subscription.Draw(t, label)}}
		}
		tenant.Primary = line("primary")
		for _, s := range ids {
			tenant.Active[s] = timeline.Line[bool]{{FromMS: timeline.Start, Value: rapid.Bool().Draw(t, "active")}, {FromMS: step("active"), Value: rapid.Bool().Draw(t, "active")}}
		}
		for _, who := range []string{"x", `"y\`} {
			for _, mapped := range line("mapped") {
				tenant.Agents[who] = append(tenant.Agents[who], timeline.Step[timeline.Mapping]{FromMS: mapped.FromMS,
					Value: timeline.Mapping{Subscription: mapped.Value, Premium: rapid.Bool().Draw(t, "premium")}})
			}
		}
		tenant.EntryPoints["x"] = line("entry point")
		w.registry.Timelines[id] = aggregate.Known(tenant)
	}
	w.days = append(w.days, aggregate.Days("unknown", civil.UTC, civil.UTC.DateOf(w.from), civil.UTC.DateOf(w.to)+1)...)
	return w
}

// remap maps agents and an entry point of a tenant otherwise from a date on, by a command that leaves what was before.
func (w *world) remap(t *rapid.T) {
	const id = "a"
	tenant := w.registry.Timelines[id].Lines()
	date := tenant.Zone.DateOf(w.from).Add(rapid.IntRange(-1, int((w.to-w.from)/86_400_000)+1).Draw(t, "remapped on"))
	from := tenant.Zone.Start(date)
	subscription := rapid.SampledFrom([]string{"", id + "1", id + "2"})
	before := func(n int, fromMS func(int) int64) int {
		return sort.Search(n, func(i int) bool { return fromMS(i) >= from })
	}
	agents := map[string]timeline.Line[timeline.Mapping]{}
	for who, line := range tenant.Agents {
		n := before(len(line), func(i int) int64 { return line[i].FromMS })
		agents[who] = append(slices.Clone(line[:n]), timeline.Step[timeline.Mapping]{FromMS: from,
			Value: timeline.Mapping{Subscription: subscription.Draw(t, "remapped"), Premium: rapid.Bool().Draw(t, "premium")}})
	}
	entry := tenant.EntryPoints["x"]
	n := before(len(entry), func(i int) int64 { return entry[i].FromMS })
	tenant.Agents = agents
	tenant.EntryPoints = map[string]timeline.Line[string]{"x": append(slices.Clone(entry[:n]), timeline.Step[string]{FromMS: from,
		Value: subscription.Draw(t, "remapped")})}
	w.registry.Timelines[id] = aggregate.Known(tenant)
	w.registry.RegistryOffset = 2
	w.registry.Tenants = slices.Clone(w.registry.Tenants)
	w.registry.Tenants[0] = aggregate.Tenant{ID: id, Version: 1, ChangedFrom: func(int64) civil.Date { return date }}
}

// zone is that of a tenant; the dates of one that is unknown are those of UTC.
func (w world) zone(tenant string) *civil.Zone {
	return cmp.Or(w.registry.Timelines.Zone(tenant), civil.UTC)
}

// drawEvent draws a delivery. Few values make for collisions: several deliveries of one event, instants that
// coincide with each other and with midnights.
func (w world) drawEvent(t *rapid.T) schemas.Event {
	instant := func(label string) int64 {
		const hour = 3600_000
		ms := rapid.Int64Range(w.from/hour-30, w.to/hour+30).Draw(t, label) * hour
		return ms + rapid.SampledFrom([]int64{0, 0, 0, -1, 1, hour / 2}).Draw(t, label)
	}
	e := schemas.Event{
		Tenant:       rapid.SampledFrom([]string{"a", "a", "b", "unknown"}).Draw(t, "tenant"),
		Source:       rapid.SampledFrom([]string{"/s", "/t"}).Draw(t, "source"),
		ID:           rapid.StringMatching(`[1-9]`).Draw(t, "id"),
		Type:         rapid.SampledFrom(schemas.Types[:]).Draw(t, "type"),
		Revision:     rapid.Int32Range(0, 2).Draw(t, "revision"),
		TimeMS:       instant("time"),
		Voided:       rapid.IntRange(0, 9).Draw(t, "voided") == 0,
		Subscription: rapid.SampledFrom([]string{"", "", "a1", "a2", "b1", "b2", "none"}).Draw(t, "subscription"),
		StartMS:      schemas.Absent,
		EndMS:        schemas.Absent,
	}
	if e.Type == schemas.ConnectUsage {
		e.Channel = rapid.SampledFrom([]string{"sms", "e-mail"}).Draw(t, "channel")
		e.Quantity = rapid.SampledFrom([]int64{1, 1_000_000, 1_500_000, 10_000_000, 999_999_999_999_999_999}).Draw(t, "quantity")
		return e
	}
	who := rapid.SampledFrom([]string{"x", `"y\`, "z", "z!", "X", " x"}).Draw(t, "who")
	if e.Type == schemas.AgentSession {
		e.Agent, e.Class = who, rapid.SampledFrom([]string{"", "", "standard", "premium"}).Draw(t, "class")
	} else {
		e.EntryPoint = who
	}
	if e.Voided && rapid.Bool().Draw(t, "bare") {
		e.Agent, e.EntryPoint, e.Class = "", "", ""
		return e
	}
	e.StartMS = instant("start")
	if rapid.IntRange(0, 4).Draw(t, "open") > 0 {
		e.EndMS = min(max(e.StartMS, instant("end")), e.StartMS+31*24*3600_000)
	}
	return e
}

// TestStoredDaysAgreeWithReference: whatever the deliveries, their order, their batches and the rows that come
// twice, the current days are those of the reference.
func TestStoredDaysAgreeWithReference(t *testing.T) {
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, conn)
		check(t, conn, store)
	})
}

// TestClusterAgreesWithReference: the same where the tenants are on two shards, a and b on one and the unknown one on
// the other.
func TestClusterAgreesWithReference(t *testing.T) {
	servicetest.Heavy(t, "it takes hundreds of queries")
	draws(servicetest.Draws(2, 8)) // on two servers
	defer draws(usual())
	conn, shards := tablestest.OpenCluster(t)
	store := clickhouse.NewClusterStore(conn, func(context.Context) ([]driver.Conn, error) { return shards, nil })
	var seen [2]map[string]uint64
	for i := range seen {
		seen[i] = map[string]uint64{}
	}
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, shards...)
		check(t, conn, store, "a", "unknown")
		for i, shard := range shards {
			for _, table := range []string{"usage_events", "usage_daily", "usage_days", "event_days", "usage_passes"} {
				var n uint64
				if err := shard.QueryRow(context.Background(), "SELECT count() FROM "+table).Scan(&n); err != nil {
					t.Fatal(err)
				}
				seen[i][table] += n
			}
		}
	})
	for i, counts := range seen {
		for table, n := range counts {
			if (n > 0) != (table != "usage_passes" || i == 0) {
				t.Errorf("%s has %d rows on shard %d", table, n, i+1)
			}
		}
	}
}

// check draws deliveries, besides one of each of some tenants.
func check(t *rapid.T, conn driver.Conn, store *clickhouse.Store, always ...string) {
	ctx := context.Background()
	w := drawWorld(t)
	rules := aggregate.DefaultRules()
	deliveries := rapid.SliceOfN(rapid.Custom(w.drawEvent), 0, 60).Draw(t, "deliveries")
	for _, tenant := range always {
		deliveries = append(deliveries, schemas.Event{Tenant: tenant, Source: "/s", ID: "always", Type: schemas.ConnectUsage, Channel: "sms",
			Quantity: 1_000_000, TimeMS: w.from, StartMS: schemas.Absent, EndMS: schemas.Absent})
	}
	cut := rapid.IntRange(0, len(deliveries)).Draw(t, "cut")

	insert(t, conn, 0, deliveries[:cut])
	if _, lagging, err := store.LaggingSince(ctx); err != nil || lagging != (cut > 0) {
		t.Fatalf("of %d deliveries that no pass knows any is new: %v, %v", cut, lagging, err)
	}
	refresh(t, store, w, rules)
	insert(t, conn, int64(cut), deliveries[cut:])
	insert(t, conn, 0, deliveries[:cut]) // a replay of what was taken in before (R23)
	refresh(t, store, w, rules)

	w.remap(t)
	refresh(t, store, w, rules)

	if _, lagging, err := store.LaggingSince(ctx); err != nil || lagging {
		t.Fatalf("after a pass anything is new: %v, %v", lagging, err)
	}

	tenants := []string{"a", "b", "unknown"}
	first := (w.days[0].Date - 40).Month().First() // where what is counted of the unknown tenant in that month is
	stored, err := store.Load(ctx, tenants, first, w.days[0].Date+50)
	if err != nil {
		t.Fatal(err)
	}
	var days []aggregate.Day
	for _, tenant := range []string{"a", "b", "unknown"} {
		days = append(days, aggregate.Days(tenant, w.zone(tenant), first, w.days[0].Date+50)...)
	}
	usage, balances := aggregate.Reference(deliveries, aggregate.Inputs{Days: days, Timelines: w.registry.Timelines, Rules: rules, NowMS: aggregate.EndOfTime})
	compare(t, "stored usage", rows(stored.Usage), rows(usage))
	compare(t, "stored balance", rows(stored.Balances), rows(unknownByMonth(balances)))

	now := w.from + (w.to-w.from)/2
	positions, err := store.Positions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in := aggregate.Inputs{Days: w.days, Bound: aggregate.ReadBound{Positions: positions, ArrivedBy: aggregate.EndOfTime},
		Timelines: w.registry.Timelines, Rules: rules, NowMS: now}
	fresh, err := store.Compute(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	usage, balances = aggregate.Reference(deliveries, in)
	compare(t, "fresh usage", rows(fresh.Usage), rows(usage))
	compare(t, "fresh balance", rows(fresh.Balances), rows(balances))
	profiles, err := store.Profile(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "profile", rows(profiles), rows(aggregate.ReferenceProfile(deliveries, in)))
	last, err := store.LastPass(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in.Pass, in.NowMS = last.Pass, aggregate.EndOfTime
	if profiles, err = store.Profile(ctx, in); err != nil {
		t.Fatal(err)
	}
	compare(t, "stored profile", rows(profiles), rows(aggregate.ReferenceProfile(deliveries, in)))
	in.Pass, in.NowMS = 0, now
	for _, day := range []aggregate.Day{w.days[0], w.days[len(w.days)/2], w.days[len(w.days)-1]} {
		compare(t, "sessions", rows(peaksOf(t, store, in, day)), rows(peaksOn(usage, day)))
	}
}

// peaksOf are the peaks of a day by meter, from the sessions that are live on it.
func peaksOf(t failer, store *clickhouse.Store, in aggregate.Inputs, day aggregate.Day) (peaks []string) {
	in.Days = []aggregate.Day{day}
	sessions, err := store.Sessions(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	live := map[string][]aggregate.Interval{}
	for _, l := range sessions {
		live[l.Meter] = append(live[l.Meter], aggregate.Interval{Who: l.Who, From: max(l.From, day.FromMS), To: min(l.To, day.ToMS)})
	}
	for _, meter := range schemas.PooledMeters {
		if peak, at := aggregate.Peak(live[meter]); peak > 0 {
			peaks = append(peaks, fmt.Sprint(meter, " ", peak, " ", at))
		}
	}
	return peaks
}

// peaksOn are the same from usage.
func peaksOn(usage []aggregate.Usage, day aggregate.Day) (peaks []string) {
	for _, u := range usage {
		if u.Tenant == day.Tenant && u.Date == day.Date && u.Subscription == "" && u.Peak > 0 {
			peaks = append(peaks, fmt.Sprint(u.Meter, " ", u.Peak, " ", u.PeakMS))
		}
	}
	return peaks
}

// TestNotesAgreeWithReference: what is noted of events, and at the peaks of the usage, is what the reference says
// (R24).
func TestNotesAgreeWithReference(t *testing.T) {
	servicetest.Heavy(t, "it takes hundreds of queries")
	draws(servicetest.Draws(3, 8))
	defer draws(usual())
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, conn)
		checkNotes(t, conn, store)
	})
}

func checkNotes(t *rapid.T, conn driver.Conn, store *clickhouse.Store) {
	ctx := context.Background()
	w := drawWorld(t)
	rules, now := aggregate.DefaultRules(), w.from+(w.to-w.from)/2
	deliveries := rapid.SliceOfN(rapid.Custom(w.drawEvent), 20, 60).Draw(t, "deliveries")
	cut := rapid.IntRange(0, len(deliveries)).Draw(t, "cut")
	insert(t, conn, 0, deliveries)
	positions, err := store.Positions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in := aggregate.Inputs{Days: w.days, Bound: aggregate.ReadBound{Positions: positions, ArrivedBy: aggregate.EndOfTime},
		Timelines: w.registry.Timelines, Rules: rules, NowMS: now}
	usage, _ := aggregate.Reference(deliveries, in)
	in.Days = slices.DeleteFunc(slices.Clone(w.days), func(d aggregate.Day) bool { return d.Tenant == "unknown" })
	noted, err := store.Noted(ctx, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	reference := func(deliveries []schemas.Event) (all []aggregate.Noted) {
		for _, tenant := range []string{"a", "b"} {
			own := in
			own.Days = nil
			for _, d := range in.Days {
				if d.Tenant == tenant {
					own.Days = append(own.Days, d)
				}
			}
			all = append(all, aggregate.ReferenceNotes(deliveries, own)...)
		}
		return all
	}
	compare(t, "noted", rows(noted), rows(reference(deliveries)))

	// Behind some positions: events that have a delivery there, with all of their deliveries.
	if after := []aggregate.Position{{Topic: "usage", LastOffset: int64(cut) - 1}}; cut > 0 {
		behind := map[[3]string]bool{}
		for _, d := range deliveries[cut:] {
			behind[[3]string{d.Tenant, d.Source, d.ID}] = true
		}
		of := slices.DeleteFunc(slices.Clone(deliveries), func(d schemas.Event) bool { return !behind[[3]string{d.Tenant, d.Source, d.ID}] })
		if noted, err = store.Noted(ctx, in, after); err != nil {
			t.Fatal(err)
		}
		compare(t, "noted since", rows(noted), rows(reference(of)))
	}

	var peaks []aggregate.PeakAt
	var wanted []aggregate.AtPeak
	for _, u := range usage {
		if u.Subscription != "" || u.Peak == 0 {
			continue
		}
		at := aggregate.AtPeak{PeakAt: aggregate.PeakAt{Tenant: u.Tenant, Meter: u.Meter, AtMS: u.PeakMS}}
		peaks = append(peaks, at.PeakAt)
		people := map[string][]string{}
		for _, c := range aggregate.ResolveRevisions(deliveries) {
			a := w.registry.Timelines.Attribute(&c.Event)
			if c.Tenant != u.Tenant || !c.Counts(a) || a.Meter != u.Meter {
				continue
			}
			if from, to := rules.Live(&c.Event, now); from > u.PeakMS || u.PeakMS >= to {
				continue
			}
			if person := strings.ToLower(strings.TrimSpace(c.Agent)); c.Type == schemas.AgentSession && !slices.Contains(people[person], c.Agent) {
				people[person] = append(people[person], c.Agent)
			}
			if c.EndMS == schemas.Absent {
				at.Open++
				at.OpenEvents = append(at.OpenEvents, aggregate.EventName{Source: c.Source, ID: c.ID})
			}
		}
		for _, agents := range people {
			if len(agents) > 1 {
				at.Agents = append(at.Agents, agents...)
			}
		}
		slices.Sort(at.Agents)
		slices.SortFunc(at.OpenEvents, aggregate.EventName.Compare)
		if at.OpenEvents = at.OpenEvents[:min(len(at.OpenEvents), aggregate.MostNames)]; at.Open > 0 || len(at.Agents) > 0 {
			wanted = append(wanted, at)
		}
	}
	if len(peaks) == 0 {
		return
	}
	found, err := store.AtPeaks(ctx, in, peaks)
	if err != nil {
		t.Fatal(err)
	}
	order := func(x, y aggregate.AtPeak) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Meter, y.Meter), cmp.Compare(x.AtMS, y.AtMS))
	}
	slices.SortFunc(wanted, order)
	slices.SortFunc(found, order)
	compare(t, "at peaks", rows(found), rows(wanted))
}

func refresh(t *rapid.T, store *clickhouse.Store, w world, rules aggregate.Rules) {
	if _, err := aggregate.Refresh(context.Background(), store, w.registry, rules, func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	if report, err := aggregate.Refresh(context.Background(), store, w.registry, rules, func(int, int) {}); err != nil || report.Days > 0 {
		t.Fatalf("a second pass computed %d days, %v", report.Days, err)
	}
}

// TestSupersededFiguresAreCleared: a day that is computed again and again keeps its figures, and not many more. The
// database has a name that an alias in the statement once had, which then could not be kept.
func TestSupersededFiguresAreCleared(t *testing.T) {
	servicetest.Heavy(t, "it takes hundreds of queries")
	t.Parallel()
	conn := tablestest.OpenIn(t, servicetest.DatabaseCalled(t, "d"), "d")
	store := clickhouse.NewStoreWithSpare(conn, 0)
	day := civil.NewDate(2026, 10, 14)
	registry := registryAt(1, "S1")
	for i := range 5 {
		insert(t, conn, int64(i), []schemas.Event{{
			Tenant: "a", Source: "/s", ID: fmt.Sprint(i), Type: schemas.ConnectUsage, Channel: "sms", Quantity: 1_000_000,
			TimeMS: civil.UTC.Start(day) + int64(i), StartMS: schemas.Absent, EndMS: schemas.Absent,
		}})
		if _, err := aggregate.Refresh(t.Context(), store, registry, aggregate.DefaultRules(), func(int, int) {}); err != nil {
			t.Fatal(err)
		}
	}
	figures, err := store.Load(t.Context(), nil, day, day+1)
	if err != nil {
		t.Fatal(err)
	}
	if len(figures.Usage) != 2 || figures.Usage[0].Units.String() != "5" || len(figures.Balances) != 1 || figures.Balances[0].Counted != 5 {
		t.Errorf("after five passes: %+v", figures)
	}
	for table, most := range map[string]uint64{"usage_daily": 4, "usage_days": 2} {
		var n uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > most {
			t.Errorf("%s has %d rows, want at most %d", table, n, most)
		}
	}
}

func rows[T any](of []T) []string {
	var s []string
	for _, r := range of {
		s = append(s, fmt.Sprintf("%+v", r))
	}
	return s
}

// unknownByMonth sums the deliveries of an unknown tenant by month, as it is stored (R22).
func unknownByMonth(balances []aggregate.DayBalance) []aggregate.DayBalance {
	var all []aggregate.DayBalance
	for _, b := range balances {
		if b.Tenant == "unknown" {
			b.Date = b.Date.Month().First()
			if last := len(all) - 1; last >= 0 && all[last].Tenant == b.Tenant && all[last].Date == b.Date {
				all[last].Balance = all[last].Add(b.Balance)
				continue
			}
		}
		all = append(all, b)
	}
	return all
}

func compare(t *rapid.T, what string, got, want []string) {
	if slices.Equal(got, want) {
		return
	}
	for _, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("%s: SQL has         %s", what, row)
		}
	}
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("%s: the reference has %s", what, row)
		}
	}
	t.FailNow()
}

// TestScatteredDaysAgreeWithReference: the same where dirty days are years apart, so that a query reads listed dates.
func TestScatteredDaysAgreeWithReference(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	rapid.Check(t, func(t *rapid.T) {
		truncate(t, conn)
		w := drawWorld(t)
		deliveries := rapid.SliceOfN(rapid.Custom(w.drawEvent), 1, 40).Draw(t, "deliveries")
		for i := range deliveries {
			by := rapid.SampledFrom([]int64{0, 0, 25, 32, 40, 70, 1_000, 90_000}).Draw(t, "days later") * 86400_000
			d := &deliveries[i]
			d.TimeMS += by
			for _, ms := range []*int64{&d.StartMS, &d.EndMS} {
				if *ms != schemas.Absent {
					*ms += by
				}
			}
		}
		insert(t, conn, 0, deliveries)
		refresh(t, store, w, aggregate.DefaultRules())
		stored, err := store.Load(context.Background(), nil, 0, civil.NewDate(2299, 12, 31))
		if err != nil {
			t.Fatal(err)
		}
		// The days that any delivery starts on, and the 40 that follow.
		dates := map[civil.Date]bool{}
		for _, d := range deliveries {
			for date := civil.UTC.DateOf(d.OccurredMS()) - 2; date < civil.UTC.DateOf(d.OccurredMS())+40; date++ {
				dates[date] = true
			}
		}
		var days []aggregate.Day
		for _, tenant := range []string{"a", "b", "unknown"} {
			for _, date := range slices.Sorted(maps.Keys(dates)) {
				days = append(days, aggregate.Days(tenant, w.zone(tenant), date, date+1)...)
			}
		}
		usage, balances := aggregate.Reference(deliveries, aggregate.Inputs{Days: days, Timelines: w.registry.Timelines, Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime})
		compare(t, "stored usage", rows(stored.Usage), rows(usage))
		compare(t, "stored balance", rows(stored.Balances), rows(unknownByMonth(balances)))
	})
}

// TestEventsOfAnyDates: usage of 10,000 random dates makes one pass of few queries, and few parts.
func TestEventsOfAnyDates(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	t.Parallel()
	conn := tablestest.Open(t)
	store := clickhouse.NewStore(conn)
	random := rand.New(rand.NewPCG(1, 2))
	first, last := civil.NewDate(1973, 1, 1), civil.NewDate(9999, 12, 1)
	events := make([]schemas.Event, 10_000)
	for i := range events {
		tenant := "a"
		if i%2 == 1 {
			tenant = fmt.Sprint("t", i%1000)
		}
		events[i] = schemas.Event{
			Tenant: tenant, Source: "/s", ID: fmt.Sprint(i), Type: schemas.ConnectUsage, Channel: "sms", Quantity: 1_000_000,
			TimeMS: civil.UTC.Start(first+civil.Date(random.IntN(int(last-first)))) + 3600_000, StartMS: schemas.Absent, EndMS: schemas.Absent,
		}
	}
	insert(t, conn, 0, events)
	registry := registryAt(1, "S1")
	calls := 0
	if _, err := aggregate.Refresh(t.Context(), store, registry, aggregate.DefaultRules(), func(int, int) { calls++ }); err != nil {
		t.Fatal(err)
	}
	if calls > 3 {
		t.Errorf("progress was reported %d times, want two queries at most", calls)
	}
	var accepted, counted, unknownTenant, parts uint64
	if err := conn.QueryRow(t.Context(), `
		SELECT sum(accepted), sum(counted), sum(unknown_tenant) FROM v_usage_balance`).
		Scan(&accepted, &counted, &unknownTenant); err != nil {
		t.Fatal(err)
	}
	if accepted != 10_000 || counted != 5_000 || unknownTenant != 5_000 {
		t.Errorf("%d accepted, %d counted, %d of an unknown tenant; want 10000, 5000 and 5000",
			accepted, counted, unknownTenant)
	}
	for _, table := range []string{"usage_events", "usage_daily"} {
		if err := conn.QueryRow(t.Context(), `SELECT uniqExact(partition) FROM system.parts
			WHERE database = currentDatabase() AND table = ? AND active`, table).Scan(&parts); err != nil {
			t.Fatal(err)
		}
		if parts == 0 || parts > 150 {
			t.Errorf("%s has %d partitions, want at most 150", table, parts)
		}
	}
}
