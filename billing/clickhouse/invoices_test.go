package clickhouse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/clickhouse"
	"apportion/billing/registry"
	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// world is a registry's log in memory, and the tables of a database of its own beside it.
type world struct {
	lines *clickhouse.Lines
	table *clickhouse.RegistryLog
	conn  driver.Conn

	mu      sync.Mutex
	state   registry.State
	states  []registry.State // those before the commands, by their offset
	decided []registry.Decided
}

// newWorld returns one in which the tenants stand, each with one subscription.
func newWorld(t *testing.T, tenants ...string) *world {
	t.Helper()
	w := &world{conn: migrated(t), states: []registry.State{{}}}
	w.reads(w.conn)
	for _, tenant := range tenants {
		doc, problems := registry.Parse("", []byte(strings.ReplaceAll(document, "TENANT", tenant)))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if _, err := w.Claim(t.Context(), registry.Plan(w.state, doc, 0)); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// migrated connects to a database of its own that has our tables.
func migrated(t *testing.T) driver.Conn { return connected(t, 40) }

func connected(t *testing.T, connections int) driver.Conn {
	t.Helper()
	return tablestest.Open(t, func(o *ch.Options) {
		o.MaxOpenConns, o.MaxIdleConns, o.Compression = connections, connections, &ch.Compression{Method: ch.CompressionLZ4}
	})
}

// reads goes on with the tables of another database.
func (w *world) reads(conn driver.Conn) {
	first := func(context.Context) (driver.Conn, error) { return conn, nil }
	w.conn, w.lines, w.table = conn, clickhouse.NewLines(conn, first), clickhouse.NewRegistryLog(conn, first)
}

func (w *world) CatchUp(context.Context) (registry.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, nil
}

func (w *world) At(offset int64) (registry.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[offset], nil
}

func (w *world) Claim(ctx context.Context, claims []registry.Command) (registry.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := len(w.decided)
	for _, c := range claims {
		record, err := json.Marshal(c)
		if err != nil {
			return w.state, err
		}
		var d registry.Decided
		w.state, d = w.state.Take(registry.Record{Offset: int64(len(w.decided)), Payload: record})
		w.states, w.decided = append(w.states, w.state), append(w.decided, d)
	}
	return w.state, w.table.Append(ctx, w.decided[at:])
}

func (w *world) biller(u *usage) *billing.Biller {
	state, _ := w.CatchUp(context.Background())
	return &billing.Biller{State: state, Rules: billing.DefaultRules(), Usage: u, Deliveries: u,
		Refresh: aggregate.Refresher(u, aggregate.DefaultRules()), Lines: w.lines, Log: w}
}

// issued returns every invoice that is issued of a period, and why tenants cannot be shown.
func (w *world) issued(t *testing.T, period civil.Month) (invoices string, stopped []*billing.Stop) {
	t.Helper()
	run, err := w.biller(nil).Issued(t.Context(), period)
	if err != nil {
		t.Fatal(err)
	}
	return plain(run.Invoices), run.Stopped
}

// differs says where issued_periods is not what the log says.
func (w *world) differs(t *testing.T) (differences []string) {
	t.Helper()
	rows, err := w.table.IssuedHashes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []registry.IssuedHash
	for _, d := range w.decided {
		if i := d.Issued; i != nil {
			want = append(want, registry.IssuedHash{Tenant: i.Tenant, Seq: i.Seq, Period: i.Period.String(), Hash: i.Hash})
		}
	}
	for _, row := range rows {
		if !slices.Contains(want, row) {
			differences = append(differences, fmt.Sprintf("more: %s %d", row.Tenant, row.Seq))
		}
	}
	for _, row := range want {
		if !slices.Contains(rows, row) {
			differences = append(differences, fmt.Sprintf("less: %s %d", row.Tenant, row.Seq))
		}
	}
	return differences
}

func exec(t *testing.T, conn driver.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func optimize(t *testing.T, conn driver.Conn) {
	t.Helper()
	exec(t, conn, "OPTIMIZE TABLE issued_periods FINAL", "OPTIMIZE TABLE invoice_lines FINAL")
}

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

var september = civil.NewMonth(2026, 9)

// sample is an issue with all that there can be in one.
func sample(tenant string, seq int, period civil.Month) billing.Issue {
	line := func(no int, kind billing.Kind, quantity, amount string) billing.Line {
		return billing.Line{No: no, Kind: kind, Meter: "agent_standard", Quantity: dec(quantity), Unit: "seat", Amount: dec(amount),
			From: period.First(), To: period.Next().First(), PeakMS: billing.NoInstant, Note: fmt.Sprintf("%s %d", tenant, seq)}
	}
	invoice := billing.Invoice{ID: billing.InvoiceID(tenant+"-1", period), Tenant: tenant, Subscription: tenant + "-1", Period: period, Currency: "KWD", MinorUnits: 3,
		Lines: []billing.Line{line(1, billing.Commitment, "10", "100.005"), line(2, billing.Overage, "1", "3.000"), line(3, billing.Adjustment, "-0.5", "-7.125")}}
	invoice.Lines[0].Days, invoice.Lines[0].UnitPrice = 30, decimal.NewNullDecimal(dec("10.0005"))
	o := &invoice.Lines[1]
	o.PeakMS, o.Entitled, o.Pool = 1788940800_000, 10, []billing.PoolPoint{{AtMS: 1788940000_000, Live: 3, Entitled: 10}, {AtMS: 1788940600_000, Live: 11, Entitled: 10}}
	a := &invoice.Lines[2]
	a.Corrects, a.CorrectsKind, a.From, a.To = "INV-x-202608/3", billing.Connect, (period - 1).First(), period.First()
	invoice.Total = dec("95.88")
	other := billing.Invoice{ID: billing.InvoiceID(tenant+"-2", period), Tenant: tenant, Subscription: tenant + "-2", Period: period, Currency: "JPY",
		Lines: []billing.Line{line(1, billing.UsageKind, "3", "0")}}
	i := billing.Issue{ID: uuid.New(), Tenant: tenant, Seq: seq, Period: period, Invoices: []billing.Invoice{invoice, other}}
	i.LinesHash, i.Lines = billing.HashLines(i.Invoices)
	return i
}

func write(t *testing.T, l *clickhouse.Lines, issues ...billing.Issue) {
	t.Helper()
	if err := l.Write(t.Context(), issues); err != nil {
		t.Fatal(err)
	}
}

func invoices(t *testing.T, l *clickhouse.Lines, issues ...billing.Issue) map[uuid.UUID][]billing.Invoice {
	t.Helper()
	all, err := l.Invoices(t.Context(), issues)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// plain writes values so that decimals are equal by what they are worth.
func plain(v any) string { return fmt.Sprintf("%+v", v) }

// TestLinesAreKeptWhole: everything that is on invoices comes back, and is what was issued.
func TestLinesAreKeptWhole(t *testing.T) {
	w := newWorld(t)
	want := []billing.Issue{sample("acme", 1, september), sample("beta", 1, september), sample("acme", 2, september+1)}
	write(t, w.lines, want[0], want[1])
	write(t, w.lines, want[2])
	for _, merged := range []string{"as inserted", "merged"} {
		got := invoices(t, w.lines, want...)
		for _, i := range want {
			if plain(got[i.ID]) != plain(i.Invoices) || i.Changed(got[i.ID]) != nil {
				t.Errorf("%s: got\n%+v\nwant\n%+v\n%v", merged, got[i.ID], i.Invoices, i.Changed(got[i.ID]))
			}
		}
		optimize(t, w.conn)
	}
	if err := w.lines.Delete(t.Context(), want[:1]); err != nil {
		t.Fatal(err)
	}
	if got := invoices(t, w.lines, want...); len(got[want[0].ID]) != 0 || len(got[want[1].ID]) != 2 || len(got[want[2].ID]) != 2 {
		t.Errorf("after one is deleted: %v", got)
	}
}

// forgetful is a ClickHouse that answers some deletes as if done, and does nothing.
type forgetful struct {
	driver.Conn
	forgets, deletes int
}

func (f *forgetful) Exec(ctx context.Context, query string, args ...any) error {
	if f.deletes++; f.deletes <= f.forgets {
		return nil
	}
	return f.Conn.Exec(ctx, query, args...)
}

// TestLostDeletesAreRepeated: of deletes at the same time ClickHouse may lose some.
func TestLostDeletesAreRepeated(t *testing.T) {
	w := newWorld(t)
	kept, late := sample("acme", 1, september), sample("acme", 1, september)
	write(t, w.lines, kept, late)
	for _, c := range []struct {
		forgets, deletes, left int
		err                    string
	}{
		{100, 10, 2, "deleting the lines of issues that came too late from invoice_lines: 4 are there still, after 10 attempts"},
		{2, 3, 0, "<nil>"},
		{0, 1, 0, "<nil>"},
	} {
		conn := &forgetful{Conn: w.conn, forgets: c.forgets}
		lines := clickhouse.NewLines(w.conn, func(context.Context) (driver.Conn, error) { return conn, nil })
		err := lines.Delete(t.Context(), []billing.Issue{late})
		got := invoices(t, w.lines, kept, late)
		if fmt.Sprint(err) != c.err || conn.deletes != c.deletes || len(got[late.ID]) != c.left || len(got[kept.ID]) != 2 {
			t.Errorf("with %d lost, %d were made, %d invoices are left and %d kept: %v", c.forgets, conn.deletes,
				len(got[late.ID]), len(got[kept.ID]), err)
		}
	}
}

// TestIssuedLinesThatChange: lost, doubled, altered and restored lines are found by the hash on the log, stop their
// tenant alone, and are as they were once the rows are back (R20, R22).
func TestIssuedLinesThatChange(t *testing.T) {
	w := newWorld(t, "acme", "beta")
	u := &usage{tenant: []string{"acme", "beta"}, units: 100}
	if _, err := w.biller(u).Issue(t.Context(), september, nil, future); err != nil {
		t.Fatal(err)
	}
	whole, _ := w.issued(t, september)
	exec(t, w.conn, "CREATE TABLE kept AS invoice_lines", "INSERT INTO kept SELECT * FROM invoice_lines")
	u.more(7)
	for what, change := range map[string][]string{
		"lost":     {"DELETE FROM invoice_lines WHERE tenant = 'acme'"},
		"doubled":  {"INSERT INTO invoice_lines SELECT * FROM kept WHERE tenant = 'acme'"},
		"altered":  {"ALTER TABLE invoice_lines UPDATE amount = amount + 1 WHERE tenant = 'acme'"},
		"detached": {"ALTER TABLE invoice_lines DETACH PARTITION tuple()", "INSERT INTO invoice_lines SELECT * FROM kept WHERE tenant = 'beta'"},
		"attached": {"ALTER TABLE invoice_lines ATTACH PARTITION tuple() FROM kept", "DELETE FROM invoice_lines WHERE tenant = 'beta'", "INSERT INTO invoice_lines SELECT * FROM kept WHERE tenant = 'beta'"},
	} {
		exec(t, w.conn, change...)
		if shown, stopped := w.issued(t, september); len(stopped) != 1 || stopped[0].Tenant != "acme" || stopped[0].Code != "unbalanced" ||
			strings.Contains(shown, "acme") || !strings.Contains(shown, "INV-beta-1-202609") {
			t.Errorf("%s: %v, %s", what, stopped, shown)
		}
		// What corrects it cannot be computed either; another tenant's can.
		run, err := w.biller(u).Preview(t.Context(), september+1, nil, future)
		if err != nil || len(run.Stopped) != 1 || run.Stopped[0].Tenant != "acme" || len(run.Invoices) != 1 {
			t.Errorf("%s: %v, %+v", what, err, run)
		}
		exec(t, w.conn, "TRUNCATE TABLE invoice_lines", "INSERT INTO invoice_lines SELECT * FROM kept")
		if got, stopped := w.issued(t, september); got != whole || stopped != nil {
			t.Errorf("%s and back: %s, %v", what, got, stopped)
		}
	}
}

// TestIssuesOutliveTheirTables: whatever becomes of the order of rows, of parts and of servers, what is issued stays in
// force, with losers' lines beside it (R20).
func TestIssuesOutliveTheirTables(t *testing.T) {
	w := newWorld(t, "acme")
	u := &usage{tenant: []string{"acme"}, units: 100}
	for n := range 4 {
		if _, err := w.biller(u).Issue(t.Context(), september+civil.Month(n), nil, future); err != nil {
			t.Fatal(err)
		}
		optimize(t, w.conn)
	}
	// Somebody was killed between lines and claim, and somebody's claim was refused and is in a table all the same.
	write(t, w.lines, sample("acme", 4, september+3))
	exec(t, w.conn, "INSERT INTO issued_periods SELECT * REPLACE (generateUUIDv4() AS issue, '' AS hash) FROM issued_periods WHERE seq = 4")
	want := make([]string, 4)
	for n := range want {
		want[n], _ = w.issued(t, september+civil.Month(n))
	}
	var from string
	if err := w.conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&from); err != nil {
		t.Fatal(err)
	}
	for way, move := range map[string]string{
		"restored": "RESTORE TABLE FROM.TABLE AS TABLE FROM Memory('FROM.TABLE') SETTINGS allow_non_empty_tables = 1",
		"attached": "ALTER TABLE TABLE ATTACH PARTITION tuple() FROM FROM.TABLE",
		"copied":   "INSERT INTO TABLE SELECT * FROM FROM.TABLE ORDER BY rand()",
	} {
		t.Run(way, func(t *testing.T) {
			w.reads(connected(t, 1)) // a backup in memory is the connection's own
			for _, table := range []string{"issued_periods", "invoice_lines"} {
				if way == "restored" {
					exec(t, w.conn, fmt.Sprintf("BACKUP TABLE %s.%s TO Memory('%s.%s')", from, table, from, table))
				}
				exec(t, w.conn, strings.NewReplacer("FROM.TABLE AS TABLE", from+"."+table+" AS "+table, "FROM.TABLE", from+"."+table, "TABLE TABLE", "TABLE "+table, "INTO TABLE", "INTO "+table).Replace(move))
			}
			for n := range want {
				if got, stopped := w.issued(t, september+civil.Month(n)); got != want[n] || stopped != nil {
					t.Errorf("month %d: %v\n%s\nwant\n%s", n, stopped, got, want[n])
				}
			}
			if got := w.differs(t); !slices.Equal(got, []string{"more: acme 4"}) {
				t.Errorf("the table differs from the log in %q", got)
			}
			if err := w.table.Rebuild(t.Context(), w.state, w.decided); err != nil {
				t.Fatal(err)
			}
			if got := w.differs(t); len(got) != 0 {
				t.Errorf("written again it differs in %q", got)
			}
			exec(t, w.conn, "TRUNCATE TABLE issued_periods")
			if got := w.differs(t); len(got) != 4 || got[0] != "less: acme 1" {
				t.Errorf("without the table's rows it differs in %q", got)
			}
			if got, _ := w.issued(t, september); got != want[0] {
				t.Error("without the table something else is issued")
			}
		})
	}
}

// TestFiguresThatDoNotFit are refused rather than cut off.
func TestFiguresThatDoNotFit(t *testing.T) {
	w := newWorld(t)
	for _, change := range []func(*billing.Line){
		func(l *billing.Line) { l.Quantity = dec("0.0000001") },
		func(l *billing.Line) { l.Amount = dec("-1e34") },
		func(l *billing.Line) { l.UnitPrice = decimal.NewNullDecimal(dec("1.1234567")) },
	} {
		i := sample("acme", 1, september)
		change(&i.Invoices[0].Lines[0])
		if err := w.lines.Write(t.Context(), []billing.Issue{i}); err == nil {
			t.Errorf("%+v was taken", i.Invoices[0].Lines[0])
		}
	}
	i := sample("acme", 1, september)
	i.Invoices[0].Lines[0].Amount, i.Invoices[0].Total = dec("-9999999999999999999999999999999999.9999"), dec("-9999999999999999999999999999999999.9999")
	write(t, w.lines, i)
	if got := invoices(t, w.lines, i)[i.ID]; !got[0].Lines[0].Amount.Equal(i.Invoices[0].Lines[0].Amount) {
		t.Errorf("%v", got)
	}
}

// usage is that of tenants whose one subscription has sent as many messages in each month as in every other. More of
// them change all months, so that everybody has something to adjust.
type usage struct {
	mu     sync.Mutex
	number uint64
	tenant []string
	units  int64
}

func (u *usage) LastPass(context.Context) (aggregate.Pass, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return aggregate.Pass{Basis: aggregate.Basis{Pass: u.number, RegistryOffset: int64(len(u.tenant))}}, nil
}
func (u *usage) Positions(context.Context) ([]aggregate.Position, error) { return nil, nil }
func (u *usage) DirtyDays(context.Context, []aggregate.Position, []aggregate.Position, []aggregate.Changed, aggregate.Rules) ([]map[string]map[civil.Date]int64, error) {
	return nil, nil
}
func (u *usage) Recompute(context.Context, int, aggregate.Pass, []aggregate.Day, aggregate.Timelines, aggregate.Rules) error {
	return nil
}
func (u *usage) Finish(_ context.Context, pass aggregate.Pass) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.number = max(u.number, pass.Pass)
	return nil
}
func (u *usage) Load(_ context.Context, tenants []string, from, _ civil.Date) (*aggregate.Figures, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := &aggregate.Figures{Agents: map[aggregate.AgentsOf]int64{}}
	for _, t := range tenants {
		for _, s := range []string{"", t + "-1"} {
			f.Usage = append(f.Usage, aggregate.Usage{Tenant: t, Date: from, Meter: "connect.sms", Subscription: s, Events: 1, Units: decimal.NewFromInt(u.units)})
		}
		f.Balances = append(f.Balances, aggregate.DayBalance{Tenant: t, Date: from, Balance: aggregate.Balance{Accepted: 1, Counted: 1}})
	}
	return f, nil
}
func (u *usage) Peaks(context.Context, string, civil.Date, civil.Date) ([]aggregate.Usage, error) {
	return nil, nil
}
func (u *usage) Proof(_ context.Context, tenants []string, from, _ civil.Date, _ aggregate.Pass, _ aggregate.Timelines) ([]aggregate.Proof, error) {
	var all []aggregate.Proof
	for _, t := range tenants {
		all = append(all, aggregate.Proof{Tenant: t, Date: from, Deliveries: 1, Events: 1})
	}
	return all, nil
}
func (u *usage) Compute(ctx context.Context, in aggregate.Inputs) (*aggregate.Figures, error) {
	var tenants []string
	for _, d := range in.Days {
		tenants = append(tenants, d.Tenant)
	}
	return u.Load(ctx, slices.Compact(tenants), in.Days[0].Date, in.Days[len(in.Days)-1].Date)
}
func (u *usage) Profile(context.Context, aggregate.Inputs) ([]aggregate.Profile, error) {
	return nil, nil
}

func (u *usage) Noted(context.Context, aggregate.Inputs, []aggregate.Position) ([]aggregate.Noted, error) {
	return nil, nil
}
func (u *usage) AtPeaks(context.Context, aggregate.Inputs, []aggregate.PeakAt) ([]aggregate.AtPeak, error) {
	return nil, nil
}
func (u *usage) Unbilled(context.Context, []string, civil.Date) (map[string][]civil.Date, error) {
	return map[string][]civil.Date{}, nil
}
func (u *usage) Refused(context.Context, []string, []aggregate.Position, []aggregate.Position) ([]aggregate.Refused, []aggregate.Noted, error) {
	return nil, nil, nil
}

func (u *usage) Arrived(context.Context, []string, []aggregate.Position, []aggregate.Position) (map[string]aggregate.Span, error) {
	return nil, nil
}

// Events has none: nobody looks at who is behind an adjustment here.
func (u *usage) Events(context.Context, aggregate.ReadBound, aggregate.EventFilter, func([]aggregate.Delivery) error) error {
	return nil
}
func (u *usage) Reaching(context.Context, map[string]int64, []aggregate.Position, []aggregate.Position) ([]aggregate.Noted, error) {
	return nil, nil
}

func (u *usage) UnknownTenants(context.Context) ([]string, error) { return nil, nil }

// MonthsChangedSince says that all months have changed with the last pass.
func (u *usage) MonthsChangedSince(_ context.Context, tenants []string, after uint64) (map[string]map[civil.Month]uint64, error) {
	changed := map[string]map[civil.Month]uint64{}
	u.mu.Lock()
	defer u.mu.Unlock()
	if after < u.number {
		for _, t := range tenants {
			changed[t] = map[civil.Month]uint64{}
			for m := september; m < september+12; m++ {
				changed[t][m] = u.number
			}
		}
	}
	return changed, nil
}

func (u *usage) more(units int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.units += units
	u.number++
}

const document = `tenants:
- id: TENANT
  name: x
  timeZone: UTC
  telephony: vpop
  subscriptions:
  - {id: TENANT-1, name: x, licenceModel: concurrent, plan: flex, deployment: cloud, currency: SEK, billing: prepaid,
     terms: [{from: 2020-01-01, to: 2030-01-01}], versions: [{from: 2020-01-01, prices: {connect: {sms: "1"}}}]}
`

// TestIssuesAtOnce has many runs issue one period, and others, at once. Each period is issued once, all runs of it
// return the same invoices, and what came in late is adjusted once: in the end what has been issued of every period
// is what was used in it.
func TestIssuesAtOnce(t *testing.T) {
	servicetest.Heavy(t, "it takes several seconds")
	tenants := []string{"acme", "beta", "gamma"}
	w := newWorld(t, tenants...)
	u := &usage{tenant: tenants, units: 100}
	issue := func(period civil.Month) *billing.Run {
		run, err := w.biller(u).Issue(context.Background(), period, nil, future)
		if err != nil {
			t.Error(err)
			return &billing.Run{}
		}
		return run
	}
	issue(september)
	u.more(7) // late: September is 107 now, and so is every month that is issued from here on

	const runs, periods = 4, 5
	issued := make([][]*billing.Run, periods+1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for n := range runs * periods {
		wg.Go(func() {
			which := 1 + n%periods
			run := issue(september + civil.Month(which))
			mu.Lock()
			defer mu.Unlock()
			issued[which] = append(issued[which], run)
		})
	}
	wg.Wait()
	optimize(t, w.conn)

	adjustments := map[string]int{}
	for which := 1; which <= periods; which++ {
		sum := 0
		for _, run := range issued[which] {
			sum += run.Issued
			if plain(run.Invoices) != plain(issued[which][0].Invoices) {
				t.Errorf("%s was returned in two ways:\n%+v\n%+v", run.Period, run.Invoices, issued[which][0].Invoices)
			}
		}
		if sum != len(tenants) {
			t.Errorf("%d tenants were issued for month %d, want %d", sum, which, len(tenants))
		}
		for _, i := range issued[which][0].Invoices {
			for _, line := range i.Lines {
				if line.Kind == billing.Adjustment {
					adjustments[i.Tenant]++
					if line.Amount.String() != "7" || line.Corrects != "INV-"+i.Subscription+"-202609/1" {
						t.Errorf("%s is adjusted by %s", line.Corrects, line.Amount)
					}
				}
			}
		}
	}
	if want := map[string]int{"acme": 1, "beta": 1, "gamma": 1}; !reflect.DeepEqual(adjustments, want) {
		t.Errorf("adjustments by tenant: %v, want one each", adjustments)
	}
	var issues, lines, inForce uint64
	if err := w.conn.QueryRow(t.Context(), "SELECT (SELECT uniq(issue) FROM invoice_lines), (SELECT count() FROM invoice_lines), (SELECT count() FROM v_invoice_lines)").Scan(&issues, &lines, &inForce); err != nil {
		t.Fatal(err)
	}
	if want := len(tenants) * (periods + 1); int(issues) != want || lines != inForce {
		t.Errorf("the lines of %d issues, %d of them and %d current; want those of %d, and nobody's", issues, lines, inForce, want)
	}
	t.Logf("%d claims for %d issues", len(w.decided)-len(tenants), len(tenants)*(periods+1))
	for _, tenant := range tenants {
		chain, err := billing.Issues(w.state, tenant)
		if err != nil {
			t.Fatal(err)
		}
		of := map[civil.Month]int{}
		previous := ""
		for _, i := range chain {
			of[i.Period]++
			if i.Previous != previous {
				t.Errorf("%s: issue %d follows %q, want %q", tenant, i.Seq, i.Previous, previous)
			}
			previous = i.Hash
		}
		if len(chain) != periods+1 || len(of) != periods+1 {
			t.Errorf("%s: %d issues of %d periods, want %d of each", tenant, len(chain), len(of), periods+1)
		}
	}
	if got := w.differs(t); len(got) != 0 {
		t.Errorf("the table differs from the log in %q", got)
	}
}

// future is an instant at which every period of the tests is due.
const future = 4102444800_000
