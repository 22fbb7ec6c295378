package clickhouse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/billing"
	issued "apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

const (
	tenants = 1000
	period  = civil.Month((2026-1970)*12 + 9)
)

// BenchmarkMonth measures a month of sessions of 1,000 tenants, of which one has a quarter of all: computed from
// scratch, after one late event, and closed, proved (R22), and issued; and after the late event also the naive way,
// which reads the whole month again. Run it with -benchtime 1x. It ends with a table, and with the exponent by which
// the time from scratch grows from the least number of sessions to the greatest: 1 is linear.
func BenchmarkMonth(b *testing.B) {
	sizes := []int{1_000_000, 10_000_000}
	if s := os.Getenv("APPORTION_BENCH_SESSIONS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		sizes = []int{n}
	}
	var measured []month
	for _, sessions := range sizes {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			for range b.N {
				m := measureMonth(b, sessions)
				measured = append(measured, m)
				b.ReportMetric(float64(sessions)/m.scratch.Seconds(), "sessions/s")
				b.ReportMetric(m.late.Seconds()*1000, "ms/late")
				b.ReportMetric(m.closed.Seconds()*1000, "ms/close")
				b.ReportMetric(float64(m.memory>>20), "peak-MiB")
			}
		})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sessions\tfrom scratch\tsessions/s\tClickHouse, peak\tlate event\tclose\tlate event and close\tnaive\tslower by\tproof\tissue\t")
	for _, m := range measured {
		fmt.Fprintf(w, "%d\t%.2f s\t%.0f\t%d MiB\t%.0f ms\t%.0f ms\t%.0f ms\t%.2f s\t%.1f\t%.2f s\t%.2f s\t\n", m.sessions, m.scratch.Seconds(),
			float64(m.sessions)/m.scratch.Seconds(), m.memory>>20, 1000*m.late.Seconds(), 1000*m.closed.Seconds(), 1000*(m.late+m.closed).Seconds(),
			m.naive.Seconds(), m.naive.Seconds()/(m.late+m.closed).Seconds(), m.proved.Seconds(), m.issued.Seconds())
	}
	w.Flush()
	if len(measured) > 1 {
		first, last := measured[0], measured[len(measured)-1]
		fmt.Fprintf(os.Stdout, "time from scratch grows as sessions ^ %.2f\n",
			math.Log(last.scratch.Seconds()/first.scratch.Seconds())/math.Log(float64(last.sessions)/float64(first.sessions)))
	}
}

// month is what was measured of one.
type month struct {
	sessions                                     int
	scratch, late, closed, naive, proved, issued time.Duration
	memory                                       int64 // bytes, at the most while it was computed from scratch
}

func measureMonth(b *testing.B, sessions int) month {
	conn := tablestest.Open(b)
	fillMonth(b, conn, sessions)
	store := clickhouse.NewStore(conn)
	state := thousandTenants(b)
	snapshot, err := billing.Snapshot(state, billing.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	m := month{sessions: sessions}
	refresh := func() {
		if _, err := aggregate.Refresh(b.Context(), store, snapshot, aggregate.DefaultRules(), func(int, int) {}); err != nil {
			b.Fatal(err)
		}
	}
	peak := watchMemory(b, conn)
	m.scratch = timed(refresh)
	m.memory = peak()

	// A login of the largest tenant that was not known of, on the third day.
	insert(b, conn, int64(2*sessions), []schemas.Event{{
		Tenant: "tenant-0", Source: "/wxcc/late", ID: "late", Type: schemas.AgentSession, Agent: "agent-1",
		TimeMS: civil.UTC.Start(period.First() + 3), StartMS: civil.UTC.Start(period.First()+2) + 9*3600_000, EndMS: civil.UTC.Start(period.First()+2) + 17*3600_000,
	}})
	m.late = timed(refresh)
	m.closed = timed(func() { closeMonth(b, store, state, sessions+1) })
	pass, err := store.LastPass(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	m.proved = timed(func() {
		if _, err := store.Proof(b.Context(), nil, period.First(), period.Next().First(), pass, snapshot.Timelines); err != nil {
			b.Fatal(err)
		}
	})
	m.issued = timed(func() { issueMonth(b, conn, store, state) })
	m.naive = timed(func() {
		var peaks int64
		if err := conn.QueryRow(b.Context(), naive).Scan(&peaks); err != nil {
			b.Fatal(err)
		}
		if peaks == 0 {
			b.Fatal("the naive way finds no peak")
		}
	})
	return m
}

// naive is how a month is closed without current days: winners, and the distinct agents or IVR sessions of every tenant
// and subscription at once, by window functions over all sessions of the month, from a table that is merged while it
// is read. It does less than it would have to: it knows the month's registry by heart, and no balance.
const naive = `
	WITH winners AS (
		SELECT tenant, type, if(type = 'agent.session', agent, id) AS who, start_ms, end_ms, toString(toUInt32OrZero(substring(agent, 7)) % 3) AS subscription
		FROM (SELECT *, row_number() OVER (PARTITION BY tenant, source, id ORDER BY revision DESC, time_ms DESC) AS place FROM usage_events FINAL)
		WHERE place = 1
	),
	edges AS (
		SELECT tenant, type, scope, who, start_ms AS at, 1 AS step FROM winners ARRAY JOIN ['', subscription] AS scope
		UNION ALL
		SELECT tenant, type, scope, who, end_ms, -1 FROM winners ARRAY JOIN ['', subscription] AS scope
	)
	SELECT sum(peak) FROM (
		SELECT tenant, type, scope, max(live) AS peak FROM (
			SELECT tenant, type, scope, sum(change) OVER (PARTITION BY tenant, type, scope ORDER BY at, change) AS live FROM (
				SELECT tenant, type, scope, at, multiIf(step = 1 AND sessions = 1, 1, step = -1 AND sessions = 0, -1, 0) AS change FROM (
					SELECT *, sum(step) OVER (PARTITION BY tenant, type, scope, who ORDER BY at, -step ROWS UNBOUNDED PRECEDING) AS sessions FROM edges))
			WHERE change != 0)
		GROUP BY tenant, type, scope)
	SETTINGS max_memory_usage = 0, max_bytes_before_external_sort = 1000000000`

// issueMonth issues every tenant's invoices for good, with the pictures of their peaks.
func issueMonth(b *testing.B, conn driver.Conn, store *clickhouse.Store, state registry.State) {
	biller := billing.Biller{
		State: state, Rules: billing.DefaultRules(), Usage: store, Deliveries: store, Log: &memoryLog{state},
		Refresh: aggregate.Refresher(store, aggregate.DefaultRules()),
		Lines:   issued.NewLines(conn, func(context.Context) (driver.Conn, error) { return conn, nil }),
	}
	run, err := biller.Issue(b.Context(), period, nil, civil.UTC.Start(civil.NewDate(2027, 1, 1)))
	if err != nil {
		b.Fatal(err)
	}
	pictures := 0
	for _, i := range run.Invoices {
		for _, l := range i.Lines {
			if len(l.Pool) > 0 {
				pictures++
			}
		}
	}
	if run.Issued != tenants || pictures == 0 {
		b.Fatalf("%d tenants issued, %d pictures", run.Issued, pictures)
	}
}

// memoryLog is a registry's log without Kafka.
type memoryLog struct{ state registry.State }

func (l *memoryLog) CatchUp(context.Context) (registry.State, error) { return l.state, nil }
func (l *memoryLog) At(int64) (registry.State, error)                { return l.state, nil }
func (l *memoryLog) Claim(_ context.Context, claims []registry.Command) (registry.State, error) {
	for _, c := range claims {
		record, err := json.Marshal(c)
		if err != nil {
			return l.state, err
		}
		l.state, _ = l.state.Apply(l.state.Offset()+1, registry.DecodeCommand(record))
	}
	return l.state, nil
}

// closeMonth bills every tenant from the stored figures.
func closeMonth(b *testing.B, store *clickhouse.Store, state registry.State, events int) {
	figures, err := store.Load(b.Context(), nil, period.First(), period.Next().First())
	if err != nil {
		b.Fatal(err)
	}
	usage := billing.ByTenant(figures)
	var counted int64
	for _, tenant := range state.Tenants() {
		zone, err := civil.LoadZone(tenant.TimeZone)
		if err != nil {
			b.Fatal(err)
		}
		invoices, err := billing.Bill(tenant, zone, period, usage[tenant.ID], billing.DefaultRules())
		if err != nil {
			b.Fatal(err)
		}
		if len(invoices) != 3 {
			b.Fatalf("%s has %d invoices, want one for each subscription", tenant.ID, len(invoices))
		}
		counted += usage[tenant.ID].Balance.Counted
	}
	if counted != int64(events) {
		b.Fatalf("%d events count, want %d", counted, events)
	}
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// watchMemory asks the server for what it uses until it is asked for the greatest.
func watchMemory(b *testing.B, conn driver.Conn) (peak func() int64) {
	ctx, cancel := context.WithCancel(b.Context())
	greatest := make(chan int64)
	go func() {
		var most int64
		for ctx.Err() == nil {
			var now int64
			if err := conn.QueryRow(b.Context(), "SELECT value FROM system.metrics WHERE metric = 'MemoryTracking'").Scan(&now); err == nil {
				most = max(most, now)
			}
			time.Sleep(100 * time.Millisecond) // or asking takes a noticeable part of the time
		}
		greatest <- most
	}()
	return func() int64 {
		cancel()
		return <-greatest
	}
}

// fillMonth makes sessions of October 2026: of each event a second revision where APPORTION_BENCH_REVISED is set, as
// where a session is sent at login and again at logout, else of a fiftieth of them.
func fillMonth(b *testing.B, conn driver.Conn, sessions int) {
	b.Helper()
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		b.Fatal(err)
	}
	deliveries := sessions + sessions/50
	if os.Getenv("APPORTION_BENCH_REVISED") != "" {
		deliveries = 2 * sessions
	}
	tablestest.FillMonth(b, conn, tablestest.Month{Topic: "usage", FromMS: zone.Start(period.First()), Tenants: tenants,
		Sessions: sessions, Deliveries: deliveries})
}

// thousandTenants is a registry of them in one zone, each with three subscriptions and with licences for the agents
// that fillMonth gives sessions to, as far as there are sixty or, of the first, twenty thousand.
func thousandTenants(b *testing.B) registry.State {
	b.Helper()
	doc := &registry.Document{}
	since := civil.NewDate(2024, 1, 1)
	price := map[string]decimal.Decimal{"agent_standard": decimal.New(90000, -2), "agent_premium": decimal.New(120000, -2), "ivr_port": decimal.New(4500, -2)}
	for n := range tenants {
		t := registry.Tenant{ID: fmt.Sprintf("tenant-%d", n), Name: "Tenant", TimeZone: "Europe/Stockholm", Telephony: "webex_calling"}
		for s := range 3 {
			t.Subscriptions = append(t.Subscriptions, registry.Subscription{
				ID: fmt.Sprintf("Sub%d-%d", n, s), Name: "Department", LicenceModel: registry.Concurrent, Plan: "flex3", Deployment: "cloud",
				Currency: "SEK", Billing: registry.Monthly, Cancelled: civil.NoDate,
				Terms: []registry.Term{{From: since + civil.Date(s), To: civil.NewDate(2030, 1, 1)}},
				Versions: []registry.Version{{From: since, Commitments: map[string]int64{"agent_standard": 10},
					Prices: registry.Prices{Commitment: price, Overage: price}}},
			})
		}
		agents := 60
		if n == 0 {
			agents = 20_000
		}
		for a := range agents {
			t.Licences = append(t.Licences, registry.Licence{User: fmt.Sprintf("agent-%d", a), Role: "agent", Class: registry.Standard,
				Subscription: t.Subscriptions[a%3].ID, From: since, To: civil.NoDate})
		}
		doc.Tenants = append(doc.Tenants, t)
	}
	var state registry.State
	for i, command := range registry.Plan(state, doc, 0) {
		var verdict registry.Verdict
		if state, verdict = state.Apply(int64(i), command); !verdict.Accepted {
			b.Fatal(verdict.Refusals)
		}
	}
	return state
}
