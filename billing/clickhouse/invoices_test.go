package clickhouse_test

import (
	"context"
	"fmt"
	"reflect"
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
	"apportion/schemas/tables"
)

// ledger returns one on a database of its own.
func ledger(t *testing.T) (*clickhouse.Invoices, driver.Conn) {
	t.Helper()
	addr, database := servicetest.Database(t)
	options := &ch.Options{Addr: []string{addr}, Auth: ch.Auth{Database: database}, MaxOpenConns: 40, Compression: &ch.Compression{Method: ch.CompressionLZ4}}
	db := ch.OpenDB(options)
	defer db.Close()
	if _, err := tables.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	conn, err := ch.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return clickhouse.NewInvoices(conn), conn
}

func optimize(t *testing.T, conn driver.Conn) {
	t.Helper()
	for _, table := range []string{"issued_periods", "invoice_lines"} {
		if err := conn.Exec(t.Context(), "OPTIMIZE TABLE "+table+" FINAL"); err != nil {
			t.Fatal(err)
		}
	}
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
	return billing.Issue{
		ID: uuid.New(), Tenant: tenant, Seq: seq, Period: period, Invoices: []billing.Invoice{invoice, other}, Date: period.Next().First().Add(3),
		Balance:        aggregate.Balance{Accepted: 1, Counted: 2, Duplicate: 3, Superseded: 4, Voided: 5, Unallocated: 6, Held: 7, Unmapped: 8, OpenSessions: 9, UnknownSubscription: 10, Conflicts: 11},
		RegistryOffset: 12, Pass: 1 << 50, Positions: []aggregate.Position{{Topic: "a", Partition: 1, LastOffset: 2}, {Topic: "b", Partition: 0, LastOffset: 3}},
		Rules: billing.DefaultRules().String(), TZVersion: "2026a",
	}
}

func claim(t *testing.T, l *clickhouse.Invoices, issues ...billing.Issue) {
	t.Helper()
	if err := l.Claim(t.Context(), issues); err != nil {
		t.Fatal(err)
	}
}

func issues(t *testing.T, l *clickhouse.Invoices, tenants ...string) map[string][]billing.Issue {
	t.Helper()
	all, err := l.Issues(t.Context(), tenants)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// plain writes values so that decimals are equal by what they are worth.
func plain(v any) string { return fmt.Sprintf("%+v", v) }

// TestClaimIsKeptWhole: everything that an issue rests on and that its files say comes back, of all tenants or of some.
func TestClaimIsKeptWhole(t *testing.T) {
	l, conn := ledger(t)
	want := []billing.Issue{sample("acme", 1, september), sample("beta", 1, september), sample("acme", 2, september+1)}
	claim(t, l, want[0], want[1])
	claim(t, l, want[2])
	for _, merged := range []string{"as inserted", "merged"} {
		if all := issues(t, l, "nobody"); len(all) != 0 {
			t.Errorf("%d tenants of nobody", len(all))
		}
		everybody, err := l.Issues(t.Context(), nil)
		if err != nil || len(everybody) != 2 || len(everybody["acme"]) != 2 || len(everybody["beta"]) != 1 {
			t.Fatalf("%v, %v", everybody, err)
		}
		chain := issues(t, l, "acme", "nobody")["acme"]
		invoices, err := l.Invoices(t.Context(), append(chain, everybody["beta"]...))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			got := everybody[w.Tenant][w.Seq-1]
			got.Invoices = invoices[got.ID]
			if plain(got) != plain(w) {
				t.Errorf("%s: got\n%+v\nwant\n%+v", merged, got, w)
			}
		}
		optimize(t, conn)
	}
}

// TestFirstClaimIsInForce: whatever is claimed later with the same number, before and after merges (R20).
func TestFirstClaimIsInForce(t *testing.T) {
	l, conn := ledger(t)
	first := sample("acme", 1, september)
	claim(t, l, first)
	for n := range 5 {
		claim(t, l, sample("acme", 1, september+civil.Month(n)), sample("beta", 1, september))
		if n == 2 {
			optimize(t, conn)
		}
		if chain := issues(t, l, "acme")["acme"]; len(chain) != 1 || chain[0].ID != first.ID {
			t.Fatalf("after %d claims %+v is in force, want %s", n+2, chain, first.ID)
		}
	}
	optimize(t, conn)
	if chain := issues(t, l, "acme")["acme"]; len(chain) != 1 || chain[0].ID != first.ID {
		t.Errorf("after the merge %+v is in force, want %s", chain, first.ID)
	}
	var periods, lines uint64
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM v_issued_periods), (SELECT countIf(issue = ?) FROM v_invoice_lines WHERE tenant = 'acme')", first.ID).Scan(&periods, &lines); err != nil {
		t.Fatal(err)
	}
	if periods != 2 || lines != 4 {
		t.Errorf("the views show %d periods and %d lines of acme's first issue, want 2 and 4", periods, lines)
	}
}

// TestClaimSeenIsNeverOvertaken: while many claim one number, whoever reads any of them in force sees the same ever
// after.
func TestClaimSeenIsNeverOvertaken(t *testing.T) {
	l, conn := ledger(t)
	var mu sync.Mutex
	seen := map[int]uuid.UUID{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for seq := 1; seq <= 15; seq++ {
				if err := l.Claim(context.Background(), []billing.Issue{{ID: uuid.New(), Tenant: "acme", Seq: seq, Period: september + civil.Month(seq)}}); err != nil {
					t.Error(err)
					return
				}
				chains, err := l.Issues(context.Background(), []string{"acme"})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, i := range chains["acme"] {
					if before, ok := seen[i.Seq]; ok && before != i.ID {
						t.Errorf("reader %d finds %s in force as number %d, which was %s", w, i.ID, i.Seq, before)
					}
					seen[i.Seq] = i.ID
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	optimize(t, conn)
	for _, i := range issues(t, l, "acme")["acme"] {
		if seen[i.Seq] != i.ID {
			t.Errorf("after the merge %s is in force as number %d, which was %s", i.ID, i.Seq, seen[i.Seq])
		}
	}
	if len(seen) != 15 {
		t.Errorf("%d numbers", len(seen))
	}
}

// TestLostRowsAreNoticed: a chain with a hole and an issue without its lines are errors, not other invoices.
func TestLostRowsAreNoticed(t *testing.T) {
	l, conn := ledger(t)
	one, two := sample("acme", 1, september), sample("acme", 2, september+1)
	claim(t, l, one)
	claim(t, l, two)
	if err := conn.Exec(t.Context(), "DELETE FROM invoice_lines WHERE issue = ? AND line_no = 3", two.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Invoices(t.Context(), []billing.Issue{two}); err == nil {
		t.Error("a line is gone and nobody notices")
	}
	if got, err := l.Invoices(t.Context(), []billing.Issue{one}); err != nil || len(got[one.ID]) != 2 {
		t.Errorf("%d invoices of the other issue, %v", len(got[one.ID]), err)
	}
	if err := conn.Exec(t.Context(), "DELETE FROM issued_periods WHERE seq = 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Issues(t.Context(), nil); err == nil {
		t.Error("an issue is gone and nobody notices")
	}
}

// TestFiguresThatDoNotFit are refused rather than cut off.
func TestFiguresThatDoNotFit(t *testing.T) {
	l, _ := ledger(t)
	for _, change := range []func(*billing.Line){
		func(l *billing.Line) { l.Quantity = dec("0.0000001") },
		func(l *billing.Line) { l.Amount = dec("-1e34") },
		func(l *billing.Line) { l.UnitPrice = decimal.NewNullDecimal(dec("1.1234567")) },
	} {
		i := sample("acme", 1, september)
		change(&i.Invoices[0].Lines[0])
		if err := l.Claim(t.Context(), []billing.Issue{i}); err == nil {
			t.Errorf("%+v was taken", i.Invoices[0].Lines[0])
		}
	}
	i := sample("acme", 1, september)
	i.Invoices[0].Lines[0].Amount, i.Invoices[0].Total = dec("-9999999999999999999999999999999999.9999"), dec("-9999999999999999999999999999999999.9999")
	claim(t, l, i)
	got, err := l.Invoices(t.Context(), []billing.Issue{i})
	if err != nil || !got[i.ID][0].Lines[0].Amount.Equal(i.Invoices[0].Lines[0].Amount) {
		t.Errorf("%v, %v", got, err)
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
	return aggregate.Pass{Number: u.number, RegistryOffset: int64(len(u.tenant))}, nil
}
func (u *usage) Positions(context.Context) ([]aggregate.Position, error) { return nil, nil }
func (u *usage) Touched(context.Context, []aggregate.Position, []aggregate.Position, []string, aggregate.Rules) ([]map[string]map[civil.Date]int64, error) {
	return nil, nil
}
func (u *usage) WorkOut(context.Context, int, aggregate.Pass, []aggregate.Day, aggregate.Timelines, aggregate.Rules) error {
	return nil
}
func (u *usage) Finish(_ context.Context, pass aggregate.Pass) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.number = max(u.number, pass.Number)
	return nil
}
func (u *usage) Stored(_ context.Context, tenants []string, from, _ civil.Date) (*aggregate.Figures, error) {
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
func (u *usage) Proof(_ context.Context, tenants []string, from, _ civil.Date, _ aggregate.Pass, _ map[string]*civil.Zone) ([]aggregate.Proof, error) {
	var all []aggregate.Proof
	for _, t := range tenants {
		all = append(all, aggregate.Proof{Tenant: t, Date: from, Deliveries: 1, Events: 1})
	}
	return all, nil
}
func (u *usage) Fresh(context.Context, []aggregate.Day, aggregate.Extent, aggregate.Timelines, aggregate.Rules, int64) (*aggregate.Figures, error) {
	return nil, nil
}
func (u *usage) Profile(context.Context, []aggregate.Day, aggregate.Extent, aggregate.Timelines, aggregate.Rules, int64) ([]aggregate.Profile, error) {
	return nil, nil
}

// Changed says that all months have changed with the last pass.
func (u *usage) Changed(_ context.Context, tenants []string, after uint64) (map[string]map[civil.Month]uint64, error) {
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
	l, conn := ledger(t)
	var state registry.State
	tenants := []string{"acme", "beta", "gamma"}
	for _, tenant := range tenants {
		doc, problems := registry.Parse("", []byte(strings.ReplaceAll(document, "TENANT", tenant)))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, c := range registry.Plan(state, doc, 0) {
			state, _ = state.Apply(state.Offset()+1, c)
		}
	}
	u := &usage{tenant: tenants, units: 100}
	issue := func(period civil.Month) *billing.Run {
		b := &billing.Biller{State: state, Rules: billing.DefaultRules(), Usage: u, Ledger: l, Progress: func(int, int) {}}
		run, err := b.Issue(context.Background(), period, nil, 4102444800_000)
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
	optimize(t, conn)

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
	var rows uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM issued_periods").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d claims for %d issues", rows, len(tenants)*(periods+1))
	for tenant, chain := range issues(t, l, tenants...) {
		of := map[civil.Month]int{}
		for _, i := range chain {
			of[i.Period]++
		}
		if len(chain) != periods+1 || len(of) != periods+1 {
			t.Errorf("%s: %d issues of %d periods, want %d of each", tenant, len(chain), len(of), periods+1)
		}
	}
}
