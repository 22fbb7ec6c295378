package service

import (
	"context"
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

// mayHave reports whether a month, in which no figures were read, can have a period in one of the states asked for: who
// is stopped is not known without them.
func (r PeriodsRequest) mayHave(month billing.MonthStatus) bool {
	return len(r.States) == 0 || slices.ContainsFunc(r.States, func(s billing.PeriodState) bool {
		return s == billing.PeriodStopped || month.Tenants[s] > 0
	})
}

// Periods says how far periods of tenants are, the latest month first and its tenants in byte order. It looks at few
// more tenants than it takes to find as many as are wanted: what an issue would give costs reading usage.
func (s *Invoices) Periods(ctx context.Context, ask PeriodsRequest) ([]billing.TenantStatus, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	months, err := s.monthsOf(ctx, biller, ask)
	if err != nil {
		return nil, err
	}
	all := chosen(biller.State, ask.Tenants)
	var found []billing.TenantStatus
	for _, month := range months {
		if ask.After != nil && month.Period > ask.After.Period || !ask.mayHave(month) {
			continue
		}
		tenants := all
		if ask.After != nil && month.Period == ask.After.Period {
			at, there := slices.BinarySearch(all, ask.After.Tenant)
			if there {
				at++
			}
			tenants = all[at:]
		}
		// Where few of the tenants are asked for, more are looked at each time.
		for n := ask.Limit; len(tenants) > 0; n *= 4 {
			some := tenants[:min(n, len(tenants))]
			tenants = tenants[len(some):]
			statuses, _, err := biller.Statuses(ctx, month.Period, some, ask.NowMS)
			if err != nil {
				return nil, err
			}
			for _, t := range statuses {
				if ask.has(t) {
					found = append(found, t)
				}
			}
			if len(found) >= ask.Limit {
				return found[:ask.Limit], nil
			}
		}
	}
	return found, nil
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

// monthsOf counts the tenants of the months that are asked for. What does not balance is found out where a period is
// due, which alone it stops.
func (s *Invoices) monthsOf(
	ctx context.Context, biller *billing.Biller, ask PeriodsRequest,
) ([]billing.MonthStatus, error) {
	months, err := biller.MonthsIn(ask.From, ask.To, ask.Tenants, ask.Scheduled, ask.NowMS)
	due := func(m billing.MonthStatus) bool { return m.Tenants[billing.PeriodDue] > 0 }
	if err != nil || !slices.ContainsFunc(months, due) {
		return months, err
	}
	differences, err := s.differences(ctx, biller.State)
	if err != nil || len(differences.All()) == 0 {
		return months, err
	}
	biller.Differences = differences.All()
	return biller.MonthsIn(ask.From, ask.To, ask.Tenants, ask.Scheduled, ask.NowMS)
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
