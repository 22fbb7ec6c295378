package billing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
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
	statuses, unknown, err := b.Statuses(ctx, period, tenants, nowMS)
	if err != nil {
		return nil, err
	}
	run := &Run{Period: period}
	err = b.addUnknownTenants(ctx, run)
	return &PeriodStatus{Tenants: statuses, Findings: append([]Finding{}, run.Findings...), Unknown: unknown}, err
}

// Statuses is [Biller.Status] without what is found of no tenant: it returns the tenants that have the period, in byte
// order, and those named that the registry does not have.
func (b *Biller) Statuses(ctx context.Context, period civil.Month, tenants []string,
	nowMS int64) (statuses []TenantStatus, unknown []*Stop, err error) {
	for range rounds {
		run := &Run{Period: period, Draft: true, Accounts: map[string]Account{}}
		chosen := b.selectTenants(run, tenants)
		unknown = append([]*Stop{}, run.Stopped...)
		run.Stopped = nil
		chains, err := AllIssues(b.State, ids(chosen))
		if err != nil {
			return nil, nil, err
		}
		var open []*registry.Tenant
		for _, t := range chosen {
			begun, err := b.hasPeriod(t, period)
			if err != nil {
				return nil, nil, err
			}
			if begun && issueOf(chains[t.ID], period) == nil {
				open = append(open, t)
			}
		}
		again, err := b.draftStored(ctx, open, chains, run, nowMS)
		if err != nil {
			return nil, nil, err
		}
		if again {
			continue
		}
		if err := b.addIssuedOf(ctx, chains, run); err != nil {
			return nil, nil, err
		}
		statuses, err = b.statuses(run, chosen, nowMS)
		return statuses, unknown, err
	}
	return nil, nil, fmt.Errorf("the registry kept changing while %s was looked at; run it again", period)
}

// hasPeriod reports whether a period of a tenant is, or will be, to be issued: from the month on in which a
// subscription is first active, or that was issued first. One that is sealed and not issued never will be (R25).
func (b *Biller) hasPeriod(t *registry.Tenant, period civil.Month) (bool, error) {
	if b.State.Sealed(period) {
		return b.State.IsIssued(t.ID, period), nil
	}
	if slices.ContainsFunc(b.State.Issues(t.ID), func(i registry.Issued) bool { return i.Period <= period }) {
		return true, nil
	}
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return false, err
	}
	first := t.FirstActive(zone)
	return first != civil.NoDate && first.Month() <= period, nil
}

// draftStored adds to a run what an issue of the tenants would give now, by the stored figures. Passes go on meanwhile:
// only a tenant that does not balance, and that one of them changed while it was read, is read again. It reports
// whether the registry changed meanwhile, and all has to be done again.
func (b *Biller) draftStored(ctx context.Context, tenants []*registry.Tenant, chains map[string][]Issue, run *Run,
	nowMS int64) (again bool, err error) {
	for round := 1; len(tenants) > 0; round++ {
		snapshot, err := Snapshot(b.State, b.Rules)
		if err != nil {
			return false, err
		}
		pass, err := b.refresh(ctx, snapshot)
		if err != nil || pass.RegistryOffset > snapshot.RegistryOffset {
			return true, err
		}
		moving, err := b.addStored(ctx, tenants, chains, run, snapshot, pass, nowMS)
		if err != nil {
			return false, err
		}
		tenants = nil
		for _, stop := range moving {
			if round < drafts {
				tenants = append(tenants, b.State.Tenant(stop.Tenant))
			} else {
				run.Stopped = append(run.Stopped, stop)
			}
		}
	}
	return false, nil
}

// drafts is how often a tenant is read that does not balance and keeps changing.
const drafts = 10

// addStored adds to a run what an issue of the tenants would give, by the figures of a pass. It returns the stops of
// those that do not balance and changed while they were read: part of that may be of a later pass.
func (b *Biller) addStored(ctx context.Context, tenants []*registry.Tenant, chains map[string][]Issue, run *Run,
	snapshot aggregate.Snapshot, pass aggregate.Pass, nowMS int64) (moving []*Stop, err error) {
	figures, err := Proved(ctx, b.Usage, ids(tenants), run.Period.First(), run.Period.Next().First(), pass,
		snapshot.Timelines)
	if err != nil {
		return nil, fmt.Errorf("reading the usage of %s: %w", run.Period, err)
	}
	rerated, err := b.rerate(ctx, tenants, chains, pass, snapshot.Timelines, run.Period)
	if err != nil {
		return nil, err
	}
	usage := ByTenant(figures)
	var issues []Issue
	for _, t := range rerated.without(run, stopBehind(run, tenants, pass)) {
		invoices, _, err := b.billTenant(t, run.Period, usage[t.ID], rerated.periods[t.ID])
		var stop *Stop
		switch {
		case errors.As(err, &stop) && stop.Code == schemas.Unbalanced && rerated.moved[t.ID]:
			moving = append(moving, stop)
		case errors.As(err, &stop):
			run.Stopped = append(run.Stopped, stop)
		case err != nil:
			return nil, err
		default:
			issues = append(issues, Issue{Tenant: t.ID, Period: run.Period, Invoices: invoices})
		}
	}
	found, err := b.findingsOf(ctx, issues, figures, chains, b.basisOf(snapshot, pass.Pass, pass.Positions), nowMS)
	if err != nil {
		return nil, err
	}
	documents := documents{}
	for _, issue := range issues {
		account := Account{Tenant: b.State.Tenant(issue.Tenant), Findings: found[issue.Tenant]}
		account.TaxedAs, err = b.taxedAs(account.Tenant, issue.Invoices, chains[issue.Tenant], documents)
		if err != nil {
			return nil, err
		}
		run.Invoices = append(run.Invoices, issue.Invoices...)
		run.Accounts[issue.Tenant] = account
	}
	return moving, nil
}

// addIssuedOf adds to a run what is issued of its period.
func (b *Biller) addIssuedOf(ctx context.Context, chains map[string][]Issue, run *Run) error {
	var issued []Issue
	for _, chain := range chains {
		if issue := issueOf(chain, run.Period); issue != nil {
			issued = append(issued, *issue)
		}
	}
	return b.loadIssued(ctx, issued, chains, run)
}

// statuses says how far the period of a run is, from what the run has of each tenant.
func (b *Biller) statuses(run *Run, tenants []*registry.Tenant, nowMS int64) ([]TenantStatus, error) {
	of := map[string]*TenantStatus{}
	for _, t := range tenants {
		begun, err := b.hasPeriod(t, run.Period)
		if err != nil {
			return nil, err
		}
		if begun {
			if of[t.ID], err = b.status(t, run.Period, nowMS); err != nil {
				return nil, err
			}
		}
	}
	for _, i := range run.Invoices {
		s := of[i.Tenant]
		s.Invoices++
		s.Totals = AddTotals(s.Totals, run.Accounts[i.Tenant].TotalsOf(i))
	}
	for tenant, account := range run.Accounts {
		of[tenant].Findings = append(of[tenant].Findings, account.Findings...)
	}
	for _, stop := range run.Stopped {
		s := of[stop.Tenant]
		s.State, s.Stop = PeriodStopped, stop
	}
	statuses := []TenantStatus{}
	for _, t := range tenants {
		if s := of[t.ID]; s != nil {
			statuses = append(statuses, *s)
		}
	}
	return statuses, nil
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
	b.selectTenants(run, tenants)
	months, err := b.MonthsIn(0, 0, tenants, from, nowMS)
	return months, run.Stopped, err
}

// MonthsIn is [Biller.Months] of the months from one to another alone, of which either may be 0 for any.
func (b *Biller) MonthsIn(
	lowest, highest civil.Month, tenants []string, from civil.Month, nowMS int64,
) ([]MonthStatus, error) {
	counts := map[civil.Month]map[PeriodState]int{}
	for _, t := range b.selectTenants(&Run{}, tenants) {
		zone, err := zoneOf(t, b.Rules)
		if err != nil {
			return nil, err
		}
		first, last := zone.DateOf(nowMS).Month()+1, zone.DateOf(nowMS).Month()
		if active := t.FirstActive(zone); active != civil.NoDate {
			first = min(first, max(active.Month(), from))
		}
		issues := b.State.Issues(t.ID)
		for _, issue := range issues {
			first, last = min(first, issue.Period), max(last, issue.Period)
		}
		if highest != 0 {
			last = min(last, highest)
		}
		for period := max(first, lowest); period <= last; period = period.Next() {
			if (period < from || b.State.Sealed(period)) && !b.State.IsIssued(t.ID, period) {
				continue // nobody will issue it
			}
			s, err := b.status(t, period, nowMS)
			if err != nil {
				return nil, err
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
	return months, nil
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
