package billing_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"apportion/aggregate"
	"apportion/billing"
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
