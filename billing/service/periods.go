package service

import (
	"context"
	"iter"
	"slices"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// PeriodsRequest asks how far the periods of tenants are.
type PeriodsRequest struct {
	// Tenants are those to look at, none for all.
	Tenants []string
	// From and To are the first month and the last, 0 for any.
	From, To civil.Month
	// Scheduled is the first period of the schedule, 0 for none: what is not issued before it is for nobody to issue.
	Scheduled civil.Month
	// States and Code, where they are not empty, choose the periods in one of those states, and those with a finding or a
	// stop of that code.
	States []billing.PeriodState
	Code   schemas.Code
	// After is the period of a tenant that the answer goes on after; nil for the first.
	After *billing.TenantPeriod
	// Limit is how many are wanted.
	Limit int
	// NowMS is the now of R20, in UTC epoch milliseconds.
	NowMS int64
}

// has reports whether a period is one of those that are asked for.
func (r PeriodsRequest) has(s billing.TenantStatus) bool {
	return (len(r.States) == 0 || slices.Contains(r.States, s.State)) &&
		(s.Period >= r.Scheduled || s.State == billing.PeriodIssued) &&
		(r.Code == "" || s.Stop != nil && s.Stop.Code == r.Code ||
			slices.ContainsFunc(s.Findings, func(f billing.Finding) bool { return f.Code == r.Code }))
}

// mayHave reports whether a period that is so far by the clock and the log can be one of those that are asked for: who
// is stopped is not known without figures.
func (r PeriodsRequest) mayHave(period civil.Month, state billing.PeriodState) bool {
	return (len(r.States) == 0 || slices.Contains(r.States, state) || slices.Contains(r.States, billing.PeriodStopped)) &&
		(period >= r.Scheduled || state == billing.PeriodIssued)
}

// mostPeriods is how many periods are looked at together, at the most.
const mostPeriods = 5000

// Periods says how far periods of tenants are, the latest month first and its tenants in byte order. It looks at few
// more than it takes to find as many as are wanted: what an issue would give costs reading usage.
func (s *Invoices) Periods(ctx context.Context, ask PeriodsRequest) (found []billing.TenantStatus, err error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	var some []billing.TenantPeriod
	look := func() error {
		statuses, err := biller.Statuses(ctx, some, ask.NowMS)
		some = nil
		found = append(found, slices.DeleteFunc(statuses, func(t billing.TenantStatus) bool { return !ask.has(t) })...)
		return err
	}
	n := ask.Limit
	for p, err := range s.periodsOf(ctx, biller, ask) {
		if err != nil {
			return nil, err
		}
		if some = append(some, p); len(some) < n {
			continue
		}
		if err := look(); err != nil {
			return nil, err
		}
		if len(found) >= ask.Limit {
			return found[:ask.Limit], nil
		}
		n = min(4*n, mostPeriods) // few of them are asked for
	}
	if err := look(); err != nil {
		return nil, err
	}
	return found[:min(ask.Limit, len(found))], nil
}

// periodsOf goes through the periods that may be asked for, the latest month first and its tenants in byte order. What
// does not balance is found out where a period is due, which alone it stops.
func (s *Invoices) periodsOf(
	ctx context.Context, biller *billing.Biller, ask PeriodsRequest,
) iter.Seq2[billing.TenantPeriod, error] {
	return func(yield func(billing.TenantPeriod, error) bool) {
		first, last, err := biller.MonthsUntil(ask.Tenants, ask.Scheduled, ask.NowMS)
		if err != nil {
			yield(billing.TenantPeriod{}, err)
			return
		}
		if ask.To != 0 {
			last = min(last, ask.To)
		}
		all, balanced := chosen(biller.State, ask.Tenants), false
		for month := last; month >= max(first, ask.From); month-- {
			for _, tenant := range all {
				p := billing.TenantPeriod{Tenant: tenant, Period: month}
				if ask.After != nil && (month > ask.After.Period || month == ask.After.Period && tenant <= ask.After.Tenant) {
					continue
				}
				state, has, err := biller.StateOf(p, ask.NowMS)
				if err == nil && state == billing.PeriodDue && !balanced {
					balanced = true
					err = s.addDifferences(ctx, biller)
				}
				if err == nil && (!has || !ask.mayHave(month, state)) {
					continue
				}
				if !yield(p, err) || err != nil {
					return
				}
			}
		}
	}
}

// addDifferences has a biller know what does not balance between the topics and what was taken in (R22).
func (s *Invoices) addDifferences(ctx context.Context, biller *billing.Biller) error {
	differences, err := s.differences(ctx, biller.State)
	if err == nil {
		biller.Differences = differences.All()
	}
	return err
}

// Month is how far a month is.
type Month struct {
	billing.MonthStatus
	// Issued are the sums of the invoices that are issued, by currency in byte order.
	Issued []billing.TaxTotals `json:"issued"`
}

// IssuedMonths says how far the latest months of tenants are, none for all, and what is issued of each. Scheduled is as
// [PeriodsRequest] has it.
func (s *Invoices) IssuedMonths(
	ctx context.Context, tenants []string, scheduled civil.Month, nowMS int64, limit int,
) ([]Month, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	statuses, _, err := biller.Months(tenants, scheduled, nowMS)
	if err != nil {
		return nil, err
	}
	months := []Month{}
	for _, status := range statuses[:min(limit, len(statuses))] {
		month := Month{MonthStatus: status, Issued: []billing.TaxTotals{}}
		if status.Tenants[billing.PeriodIssued] > 0 {
			list, changed, err := biller.List(ctx, status.Period, tenants)
			if err != nil {
				return nil, err
			}
			if len(changed) > 0 {
				return nil, changed[0]
			}
			for _, i := range list {
				month.Issued = billing.AddTotals(month.Issued, i.Totals)
			}
		}
		months = append(months, month)
	}
	return months, nil
}

// chosen returns, in byte order, those of the tenants that a registry has, or all where none is named.
func chosen(state registry.State, named []string) (ids []string) {
	for _, t := range state.Tenants() {
		if len(named) == 0 || slices.Contains(named, t.ID) {
			ids = append(ids, t.ID)
		}
	}
	return ids
}
