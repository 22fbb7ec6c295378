package billing

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// PeriodState says how far a tenant's period is (R20).
type PeriodState string

// The states of a period, from its beginning to its issue.
const (
	PeriodOpen    PeriodState = "open"    // it has not ended
	PeriodClosing PeriodState = "closing" // it has ended, and its grace has not
	PeriodDue     PeriodState = "due"     // it can be issued
	// PeriodHeld is not issued until it is released.
	PeriodHeld    PeriodState = PeriodState(schemas.Held)
	PeriodStopped PeriodState = "stopped" // a rule keeps it from being issued, or what is issued from being shown
	PeriodIssued  PeriodState = "issued"
)

// PeriodStates are all of them, in the order in which a period has them.
var PeriodStates = []PeriodState{PeriodOpen, PeriodClosing, PeriodDue, PeriodHeld, PeriodStopped, PeriodIssued}

// TenantStatus is how far a period of a tenant is.
type TenantStatus struct {
	Tenant string      `json:"tenantId"`
	Period civil.Month `json:"period"`
	State  PeriodState `json:"state"`
	// SinceMS is when the state began: the end of the period or of its grace, or the issue; 0 where no clock says.
	SinceMS civil.Millis `json:"since,omitempty"`
	// DueMS is the end of the grace.
	DueMS civil.Millis `json:"dueAt"`
	// Reason is that of a hold, and Stop what stops the tenant.
	Reason string `json:"reason,omitempty"`
	Stop   *Stop  `json:"stop,omitempty"`
	// Invoices counts those that are issued or would be, and Totals are their sums by currency in byte order.
	Invoices int         `json:"invoices"`
	Totals   []TaxTotals `json:"totals"`
	// Findings are those of the issue, or what an issue would find now (R24).
	Findings []Finding `json:"findings"`
}

// TaxTotals are sums of invoices in one currency. Invoices whose tax is not stated count in net and gross alone.
type TaxTotals struct {
	Currency        string
	MinorUnits      int32
	Net, Tax, Gross decimal.Decimal
}

// Money writes an amount with the decimals of the currency.
func (t TaxTotals) Money(amount decimal.Decimal) string { return amount.StringFixed(t.MinorUnits) }

// MarshalJSON writes the amounts as strings, so that no reader takes them for binary fractions.
func (t TaxTotals) MarshalJSON() ([]byte, error) {
	return json.Marshal(TaxTotalsJSON{t.Currency, t.Money(t.Net), t.Money(t.Tax), t.Money(t.Gross)})
}

// TaxTotalsJSON are sums of invoices in JSON, with the decimals of their currency.
type TaxTotalsJSON struct {
	Currency string `json:"currency"`
	Net      string `json:"net"`
	Tax      string `json:"tax"`
	Gross    string `json:"gross"`
}

// AddTotals adds sums to others, which are and stay in the byte order of currencies.
func AddTotals(all []TaxTotals, more ...TaxTotals) []TaxTotals {
	for _, t := range more {
		at, found := slices.BinarySearchFunc(all, t.Currency, func(x TaxTotals, currency string) int {
			return cmp.Compare(x.Currency, currency)
		})
		if !found {
			all = slices.Insert(all, at, TaxTotals{Currency: t.Currency, MinorUnits: t.MinorUnits})
		}
		sum := &all[at]
		sum.Net, sum.Tax, sum.Gross = sum.Net.Add(t.Net), sum.Tax.Add(t.Tax), sum.Gross.Add(t.Gross)
	}
	return all
}

// TotalsOf returns what an invoice of the account adds up to.
func (a Account) TotalsOf(i Invoice) TaxTotals {
	_, tax, gross := a.Taxes(i)
	return TaxTotals{i.Currency, i.MinorUnits, i.Total, tax, gross}
}

// PeriodStatus is how far a period is.
type PeriodStatus struct {
	// Tenants are those that have the period, in byte order, and Findings those of no tenant (R24).
	Tenants  []TenantStatus `json:"tenants"`
	Findings []Finding      `json:"findings"`
	// Unknown are the tenants named that the registry does not have.
	Unknown []*Stop `json:"unknown"`
}

// Status says how far a period is, of the tenants named or else of all that have it, and issues nothing. Of what is not
// issued it has what an issue would give, by the daily figures, which are brought up to date first: all tenants in the
// same few queries.
func (b *Biller) Status(ctx context.Context, period civil.Month, tenants []string,
	nowMS int64) (*PeriodStatus, error) {
	run := &Run{Period: period}
	var periods []TenantPeriod
	for _, t := range b.selectTenants(run, tenants) {
		periods = append(periods, TenantPeriod{t.ID, period})
	}
	status := &PeriodStatus{Unknown: append([]*Stop{}, run.Stopped...)}
	var err error
	if status.Tenants, err = b.Statuses(ctx, periods, nowMS); err != nil {
		return nil, err
	}
	err = b.addUnknownTenants(ctx, run)
	status.Findings = append([]Finding{}, run.Findings...)
	return status, err
}

// status says how far a tenant's period is by the clock and the log.
func (b *Biller) status(t *registry.Tenant, period civil.Month, nowMS int64) (*TenantStatus, error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return nil, err
	}
	ends, due := zone.Start(period.Next().First()), graceEnd(zone, period, b.Rules)
	s := &TenantStatus{
		Tenant: t.ID, Period: period, DueMS: civil.Millis(due),
		Totals: []TaxTotals{}, Findings: []Finding{},
	}
	reason, held := b.State.Held(t.ID, period)
	issues := b.State.Issues(t.ID)
	issued := slices.IndexFunc(issues, func(i registry.Issued) bool { return i.Period == period })
	switch {
	case issued >= 0:
		s.State, s.SinceMS = PeriodIssued, civil.Millis(issues[issued].TimeMS)
	case held:
		s.State, s.Reason = PeriodHeld, reason
	case nowMS < ends:
		s.State = PeriodOpen
	case nowMS < due:
		s.State, s.SinceMS = PeriodClosing, civil.Millis(ends)
	default:
		s.State, s.SinceMS = PeriodDue, civil.Millis(due)
		if len(b.Differences) > 0 {
			s.State, s.Stop = PeriodStopped, unbalanced(t.ID, period, b.Differences)
		}
	}
	return s, nil
}

// MonthStatus counts the tenants of a month by how far their period is.
type MonthStatus struct {
	Period  civil.Month         `json:"period"`
	Tenants map[PeriodState]int `json:"tenants"`
}

// Months says of every month that a tenant named, or any, has until now how many of them are how far, the latest first.
// Months before from, 0 for none, are left out where they are not issued. It reads no figures, so it does not know who
// would be stopped.
func (b *Biller) Months(tenants []string, from civil.Month, nowMS int64) ([]MonthStatus, []*Stop, error) {
	run := &Run{}
	counts := map[civil.Month]map[PeriodState]int{}
	for _, t := range b.selectTenants(run, tenants) {
		first, last, err := b.monthsOf(t, from, nowMS)
		if err != nil {
			return nil, nil, err
		}
		for period := first; period <= last; period = period.Next() {
			if (period < from || b.State.Sealed(period)) && !b.State.IsIssued(t.ID, period) {
				continue // nobody will issue it
			}
			s, err := b.status(t, period, nowMS)
			if err != nil {
				return nil, nil, err
			}
			if counts[period] == nil {
				counts[period] = map[PeriodState]int{}
			}
			counts[period][s.State]++
		}
	}
	months := []MonthStatus{}
	for period, of := range counts {
		months = append(months, MonthStatus{period, of})
	}
	slices.SortFunc(months, func(x, y MonthStatus) int { return cmp.Compare(y.Period, x.Period) })
	return months, run.Stopped, nil
}

// MonthsUntil returns the first month and the last that a tenant named, or any, has until now; the first is after the
// last where there is none. Months before from, 0 for none, are left out as [Biller.Months] does.
func (b *Biller) MonthsUntil(tenants []string, from civil.Month, nowMS int64) (first, last civil.Month, err error) {
	first, last = math.MaxInt32, 0
	for _, t := range b.selectTenants(&Run{}, tenants) {
		of, until, err := b.monthsOf(t, from, nowMS)
		if err != nil {
			return 0, 0, err
		}
		if of <= until {
			first, last = min(first, of), max(last, until)
		}
	}
	return first, last, nil
}

// monthsOf returns the first month and the last that a tenant has until now, from one on or issued before; the first is
// after the last where there is none.
func (b *Biller) monthsOf(t *registry.Tenant, from civil.Month, nowMS int64) (first, last civil.Month, err error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return 0, 0, err
	}
	last = zone.DateOf(nowMS).Month()
	first = last.Next()
	if active := t.FirstActive(zone); active != civil.NoDate {
		first = min(first, max(active.Month(), from))
	}
	for _, issue := range b.State.Issues(t.ID) {
		first, last = min(first, issue.Period), max(last, issue.Period)
	}
	return first, last, nil
}

// ListedInvoice is an invoice that is issued, without its lines.
type ListedInvoice struct {
	ID           string      `json:"invoiceId"`
	Tenant       string      `json:"tenantId"`
	Subscription string      `json:"subscriptionId"`
	Period       civil.Month `json:"period"`
	IssueDate    civil.Date  `json:"issueDate"`
	DueDate      civil.Date  `json:"dueDate,omitzero"` // not known without whom to bill
	Lines        int         `json:"lines"`
	Totals       TaxTotals   `json:"totals"`
}

// Key is the invoice's place in lists: by period, tenant and subscription.
func (i ListedInvoice) Key() InvoiceKey { return InvoiceKey{i.Period, i.Tenant, i.Subscription} }

// InvoiceKey is the place of an invoice in lists.
type InvoiceKey struct {
	Period               civil.Month
	Tenant, Subscription string
}

// Compare is the order of lists.
func (k InvoiceKey) Compare(o InvoiceKey) int {
	return cmp.Or(cmp.Compare(k.Period, o.Period), cmp.Compare(k.Tenant, o.Tenant),
		cmp.Compare(k.Subscription, o.Subscription))
}

// List returns the invoices that are issued, of a period or of all (0), of the tenants named or of all, by period,
// tenant and subscription; and the tenants whose stored lines are not what was issued.
func (b *Biller) List(ctx context.Context, period civil.Month, tenants []string) ([]ListedInvoice, []*Stop, error) {
	run := &Run{}
	issues, chains, err := b.issuesOf(period, b.selectTenants(run, tenants))
	if err != nil {
		return nil, nil, err
	}
	list, changed, err := b.listed(ctx, issues, chains)
	return list, append(run.Stopped, changed...), err
}

// ListAfter returns up to limit of the same that follow a place in the list, and reads few more invoices than it takes.
// The error is a *Stop where the stored lines of one of them are not what was issued.
func (b *Biller) ListAfter(ctx context.Context, period civil.Month, tenants []string, after InvoiceKey,
	limit int) ([]ListedInvoice, error) {
	issues, chains, err := b.issuesOf(period, b.selectTenants(&Run{}, tenants))
	if err != nil {
		return nil, err
	}
	issues = slices.DeleteFunc(issues, func(i Issue) bool {
		return cmp.Or(cmp.Compare(i.Period, after.Period), cmp.Compare(i.Tenant, after.Tenant)) < 0
	})
	list := []ListedInvoice{}
	for len(issues) > 0 && len(list) < limit {
		some := issues[:min(limit, len(issues))]
		issues = issues[len(some):]
		more, changed, err := b.listed(ctx, some, chains)
		if err != nil {
			return nil, err
		}
		if len(changed) > 0 {
			return nil, changed[0]
		}
		list = append(list, slices.DeleteFunc(more, func(i ListedInvoice) bool { return i.Key().Compare(after) <= 0 })...)
	}
	return list[:min(limit, len(list))], nil
}

// issuesOf returns what is issued to tenants of a period, or of all (0), by period and tenant, with all their issues.
func (b *Biller) issuesOf(
	period civil.Month, tenants []*registry.Tenant,
) (issues []Issue, chains map[string][]Issue, err error) {
	if chains, err = AllIssues(b.State, ids(tenants)); err != nil {
		return nil, nil, err
	}
	for _, t := range tenants {
		for _, issue := range chains[t.ID] {
			if period == 0 || issue.Period == period {
				issues = append(issues, issue)
			}
		}
	}
	slices.SortFunc(issues, func(x, y Issue) int {
		return cmp.Or(cmp.Compare(x.Period, y.Period), cmp.Compare(x.Tenant, y.Tenant))
	})
	return issues, chains, nil
}

// listed returns the invoices of issues, in their order; those of one are in the order of subscriptions.
func (b *Biller) listed(
	ctx context.Context, issues []Issue, chains map[string][]Issue,
) (list []ListedInvoice, changed []*Stop, err error) {
	list = []ListedInvoice{}
	changed, err = b.readIssued(ctx, issues, chains, func(issue Issue, account Account) {
		for _, i := range issue.Invoices {
			list = append(list, ListedInvoice{i.ID, i.Tenant, i.Subscription, issue.Period, account.IssueDate,
				account.DueDate(), len(i.Lines), account.TotalsOf(i)})
		}
	})
	return list, changed, err
}
