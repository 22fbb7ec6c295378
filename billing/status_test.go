package billing_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// statusAt is a period's status, a tenant in a line.
func statusAt(t *testing.T, b *billing.Biller, instant string) (lines []string) {
	t.Helper()
	status, err := b.Status(t.Context(), october, nil, at(t, instant))
	if err != nil || len(status.Unknown) > 0 {
		t.Fatal(status, err)
	}
	for _, s := range status.Tenants {
		line := fmt.Sprint(s.Tenant, " ", s.State)
		if s.SinceMS != 0 {
			line += " " + s.SinceMS.String()
		}
		for _, sum := range s.Totals {
			line += fmt.Sprint(" ", s.Invoices, " ", sum.Money(sum.Net), " ", sum.Currency)
		}
		if s.Stop != nil {
			line += " " + string(s.Stop.Code)
		}
		lines = append(lines, line+s.Reason)
	}
	return lines
}

func wantStatus(t *testing.T, b *billing.Biller, instant string, want ...string) {
	t.Helper()
	if got := statusAt(t, b, instant); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant\n%s", instant, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestR20_Status: a period is open until it ends, closing until the grace does, then due; each tenant in its own zone,
// and what stops it shows before it is issued.
func TestR20_Status(t *testing.T) {
	b, usage, ledger := newBiller(t, threeTenants, messages+poorMessage)
	const poor = "poor stopped missing_price"
	wantStatus(t, b, "2026-10-31T14:59:59Z", "acme open 1 1.00 SEK", "beta open 1 2.00 SEK", poor)
	wantStatus(t, b, "2026-10-31T15:00:00Z", "acme closing 2026-10-31T15:00:00.000Z 1 1.00 SEK", "beta open 1 2.00 SEK",
		poor)
	if got := statusAt(t, b, graceEndsInTokyo)[0]; got != "acme due "+graceEndsInTokyo+" 1 1.00 SEK" {
		t.Error(got)
	}
	issueAt(t, b, graceEndsInTokyo)
	usage.held = []string{"stranger"}
	issued, err := b.Status(t.Context(), october, []string{"acme"}, at(t, graceEndsInTokyo))
	if err != nil || len(issued.Tenants) != 1 || issued.Tenants[0].State != billing.PeriodIssued ||
		issued.Tenants[0].Invoices != 1 {
		t.Errorf("%+v, %v", issued, err)
	}
	if len(issued.Findings) != 1 || issued.Findings[0].Code != schemas.UnknownTenant {
		t.Errorf("%+v", issued.Findings)
	}
	months, _, err := b.Months(nil, october, at(t, graceEndsInNewYork))
	if err != nil || len(months) != 2 || months[1].Tenants[billing.PeriodIssued] != 1 ||
		months[1].Tenants[billing.PeriodDue] != 2 || months[0].Tenants[billing.PeriodOpen] != 3 {
		t.Errorf("%+v, %v", months, err)
	}
	if list, stops, err := b.List(t.Context(), 0, nil); err != nil || len(stops) > 0 || len(list) != 1 ||
		list[0].ID != "INV-Sub1-202610" || list[0].Totals.Gross.String() != "1" {
		t.Errorf("%+v, %v, %v", list, stops, err)
	}
	if len(ledger.chain("acme")) != 1 || len(ledger.chain("beta")) != 0 {
		t.Error("a status has issued something")
	}
	if none, err := b.Status(t.Context(), october, []string{"nobody"}, 0); err != nil || len(none.Unknown) != 1 {
		t.Errorf("%v, %v", none, err)
	}
}

// TestMonthsBeforeTheSchedule are those that somebody has issued, and no others: the schedule issues none of them.
func TestMonthsBeforeTheSchedule(t *testing.T) {
	s := newStoryOf(t, oneTenant, "")
	s.issue(t, october-3)
	s.issue(t, october-1)
	months, _, err := s.biller(billing.DefaultRules()).Months(nil, october, at(t, graceEndsInNewYork))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range months {
		got = append(got, fmt.Sprint(m.Period, m.Tenants))
	}
	const want = "2026-11 map[open:1] 2026-10 map[due:1] 2026-09 map[issued:1] 2026-07 map[issued:1]"
	if strings.Join(got, " ") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, " "), want)
	}
}

// TestListOfAllMonths reads the lines once, in the order of periods and tenants, and leaves out an issue whose lines
// have changed, alone.
func TestListOfAllMonths(t *testing.T) {
	s := newStoryOf(t, "tenants: [{id: acme, subscriptions: [{id: Sub1}]}, {id: beta, subscriptions: [{id: Beta1}]}]",
		`connect sms 2 at 2026-09-14T08:00Z
connect sms 4 at 2026-10-14T08:00Z
tenant beta
connect sms 6 at 2026-09-14T08:00Z
connect sms 8 at 2026-10-14T08:00Z`)
	s.issue(t, september)
	s.issue(t, october)
	s.ledger.lines[s.ledger.chain("acme")[0].ID] = nil
	s.ledger.read = 0
	list, stops, err := s.biller(billing.DefaultRules()).List(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range list {
		got = append(got, i.ID+" "+i.Totals.Net.String())
	}
	const want = "INV-Beta1-202609 3, INV-Sub1-202610 2, INV-Beta1-202610 4"
	if strings.Join(got, ", ") != want || s.ledger.read != 1 {
		t.Errorf("%s, by %d readings\nwant\n%s, by one", strings.Join(got, ", "), s.ledger.read, want)
	}
	if len(stops) != 1 || stops[0].Tenant != "acme" || stops[0].Period != september {
		t.Errorf("stopped: %v; want September of acme", stops)
	}
}

// TestStatusOfManyTenants reads the figures of all of them at once.
func TestStatusOfManyTenants(t *testing.T) {
	document, deliveries := "tenants:\n", ""
	for n := range 200 {
		document += fmt.Sprintf("- {id: t%d, subscriptions: [{id: S%d}]}\n", n, n)
		deliveries += fmt.Sprintf("tenant t%d\nconnect sms 2 at 2026-10-14T08:00Z\n", n)
	}
	b, usage, _ := newBiller(t, document, deliveries)
	usage.stored = nil
	if got := statusAt(t, b, graceEndsInNewYork); len(got) != 200 || !strings.HasSuffix(got[0], " 1 1.00 SEK") {
		t.Errorf("%d tenants, %q", len(got), got)
	}
	if len(usage.stored) != 1 {
		t.Errorf("the figures were read %d times", len(usage.stored))
	}
}

// TestStatusOfARunningMonth: passes that go on meanwhile do not keep it from being shown, and a tenant that is read
// partly before and partly after one is read again, alone.
func TestStatusOfARunningMonth(t *testing.T) {
	b, usage, _ := newBiller(t, threeTenants, messages+poorMessage)
	usage.finished = func(pass *aggregate.Pass) { // the next comes while this one is read
		for _, tenant := range []string{"acme", "beta", "poor"} {
			usage.mark(tenant, october, pass.Pass+1)
		}
	}
	read := &between{fakeUsage: usage, tenant: "acme", times: 2}
	b.Usage = read
	wantStatus(t, b, "2026-10-20T00:00:00Z", "acme open 1 1.00 SEK", "beta open 1 2.00 SEK", "poor stopped missing_price")
	if got := fmt.Sprint(read.asked); got != "[[acme beta poor] [acme] [acme]]" {
		t.Errorf("read %s", got)
	}
	read.times = 1000
	wantStatus(t, b, "2026-10-20T00:00:00Z", "acme stopped unbalanced", "beta open 1 2.00 SEK",
		"poor stopped missing_price")
}

// between is usage of which the figures of a tenant are of a later pass than their proof, so many times.
type between struct {
	*fakeUsage
	tenant string
	times  int
	asked  [][]string
}

func (b *between) Load(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error) {
	b.asked = append(b.asked, tenants)
	f, err := b.fakeUsage.Load(ctx, tenants, from, to)
	for n := range f.Balances {
		if f.Balances[n].Tenant == b.tenant && b.times > 0 {
			f.Balances[n].Accepted++
			f.Balances[n].Superseded++
		}
	}
	b.times--
	return f, err
}

// TestPreviewOfAnIssuedPeriod says so, and what the next issue would adjust (R21).
func TestPreviewOfAnIssuedPeriod(t *testing.T) {
	s := newStoryOf(t, oneTenant, "connect sms 2 at 2026-10-14T08:00Z")
	s.issue(t, october)
	preview := func() *billing.Run {
		t.Helper()
		run, err := s.biller(billing.DefaultRules()).Preview(t.Context(), october, nil, at(t, yearAfter))
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	if run := preview(); len(run.Already) != 1 || len(run.Already[0].Adjustments) != 0 {
		t.Errorf("unchanged: %+v", run.Already)
	}
	s.arrives(t, "connect sms 4 at 2026-10-15T08:00Z")
	run := preview()
	if len(run.Already) != 1 || len(run.Already[0].Adjustments) != 1 {
		t.Fatalf("%+v", run.Already)
	}
	if l := run.Already[0].Adjustments[0].Line; l.Amount.String() != "2" || l.Corrects != "INV-Sub1-202610/1" {
		t.Errorf("%+v", l)
	}
	if len(run.Invoices) != 1 || len(run.Invoices[0].Lines) != 1 {
		t.Errorf("the draft is not that of a first issue: %+v", run.Invoices)
	}
}

// TestStatusesTogetherAreThoseOfEach: periods that are looked at together are as each is by itself, and what is not
// issued is as its draft is: months with usage and without, what came late and is to be adjusted, what is held, stopped,
// of named tenants, and what lasts from one month into the next.
func TestStatusesTogetherAreThoseOfEach(t *testing.T) {
	s := newStoryOf(t, `tenants:
- id: acme
  subscriptions: [{id: Sub1, versions: [{commitments: {agent_standard: 1}}]}]
- id: held
  timeZone: Asia/Tokyo
  subscriptions: [{id: Held1, versions: [{commitments: {agent_standard: 1}}]}]
- id: named
  subscriptions: [{id: Named1, licenceModel: named, versions: [{commitments: {agent_standard: 1}}]}]
- id: poor
  subscriptions: [{id: Poor1, versions: [{prices: {}}]}]
- id: quiet
  subscriptions: [{id: Quiet1, versions: [{commitments: {ivr_port: 3}}]}]`,
		`connect sms 2 at 2026-07-14T08:00Z
agent a1..a3 2026-09-30T20:00Z 2026-10-01T04:00Z for Sub1
tenant held
agent b1..b2 2026-08-31T14:00Z 2026-08-31T16:00Z for Held1
tenant named
agent c1..c2 2026-08-14T08:00Z 2026-08-14T09:00Z for Named1
agent c2..c4 2026-09-14T08:00Z 2026-09-14T09:00Z for Named1
tenant poor
connect sms 8 at 2026-09-14T08:00Z`)
	s.issue(t, september-2)
	s.arrives(t, "connect sms 4 at 2026-07-14T08:00Z\ntenant quiet\nconnect sms 1 at 2026-07-20T08:00Z")
	if refusals := s.apply(t, registry.Command{ID: "hold", Source: "test", TenantID: "held", Command: registry.HoldPeriod,
		Period: september, Reason: "to be asked"}); len(refusals) > 0 {
		t.Fatal(refusals)
	}
	b, now := s.biller(billing.DefaultRules()), at(t, "2026-10-20T00:00:00Z")
	var periods []billing.TenantPeriod
	for month := september - 2; month <= october; month++ {
		for _, tenant := range []string{"acme", "held", "named", "poor", "quiet"} {
			periods = append(periods, billing.TenantPeriod{Tenant: tenant, Period: month})
		}
	}
	together, err := b.Statuses(t.Context(), periods, now)
	if err != nil || len(together) != len(periods) {
		t.Fatalf("%+v, %v", together, err)
	}
	states := map[billing.PeriodState]int{}
	for n, p := range periods {
		alone, err := b.Statuses(t.Context(), periods[n:n+1], now)
		if err != nil || !reflect.DeepEqual(alone[0], together[n]) {
			t.Errorf("%v together is %+v\nand alone %+v, %v", p, together[n], alone, err)
		}
		states[together[n].State]++
		if together[n].State == billing.PeriodIssued {
			continue
		}
		draft, err := b.Preview(t.Context(), p.Period, []string{p.Tenant}, now)
		if err != nil {
			t.Fatal(err)
		}
		totals := []billing.TaxTotals{}
		for _, i := range draft.Invoices {
			totals = billing.AddTotals(totals, draft.Accounts[p.Tenant].TotalsOf(i))
		}
		if got := together[n]; got.Invoices != len(draft.Invoices) || fmt.Sprint(got.Totals) != fmt.Sprint(totals) ||
			fmt.Sprint(got.Findings) != fmt.Sprint(append([]billing.Finding{}, draft.Findings...)) ||
			(got.Stop != nil) != (len(draft.Stopped) > 0) {
			t.Errorf("%v is %+v\nand its draft %+v", p, got, draft)
		}
	}
	if want := (map[billing.PeriodState]int{billing.PeriodIssued: 5, billing.PeriodDue: 8, billing.PeriodHeld: 1,
		billing.PeriodStopped: 1, billing.PeriodOpen: 5}); !maps.Equal(states, want) {
		t.Errorf("the states are %v, want %v", states, want)
	}
	// An overage of two seats, 200.00, and 4 messages of July for 2.00; named agents by the month; a message of July.
	for p, want := range map[billing.TenantPeriod]string{{"acme", september}: "202", {"acme", october}: "202",
		{"named", september - 1}: "100", {"named", september}: "200", {"quiet", october}: "0.5"} {
		if got := together[slices.Index(periods, p)].Totals; len(got) != 1 || got[0].Net.String() != want {
			t.Errorf("%v comes to %v, want %s", p, got, want)
		}
	}
	s.usage.stored = nil
	if _, err := b.Statuses(t.Context(), periods, now); err != nil || len(s.usage.stored) != 2 {
		t.Errorf("the months are read in %d pieces, %v; want July again, and the open ones at once", len(s.usage.stored), err)
	}
}
