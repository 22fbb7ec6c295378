package service

import (
	"context"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// WhatIf is what a document of a tenant would change.
type WhatIf struct {
	Accepted bool               `json:"accepted"`
	Changes  []string           `json:"changes"` // a line each, for people
	Warnings []registry.Warning `json:"warnings"`
	Refusals []registry.Refusal `json:"refusals"` // why it would not be accepted
	// Gained and Lost say who would gain and lose access, and when, from today on (R7).
	Access struct {
		Gained []registry.AccessSpan `json:"gained"`
		Lost   []registry.AccessSpan `json:"lost"`
	} `json:"access"`
	// Periods are as they stand and as they would; none where it is refused.
	Periods []PeriodWhatIf `json:"periods"`
	// Kinds and Totals are those of all the periods.
	Kinds  []billing.KindTotal `json:"kinds"`
	Totals []billing.Total     `json:"totals"`
}

// PeriodWhatIf is a period as it stands, and as it would.
type PeriodWhatIf struct {
	Period civil.Month `json:"period"`
	billing.ComparisonJSON
	// Kinds are the sums of the lines of each kind, also of those that do not differ.
	Kinds []billing.KindTotal `json:"kinds"`
}

// WhatIfTenant compares periods of a tenant as they stand with the same under a document of it that is not applied. Now
// is in UTC epoch milliseconds.
func (s *Invoices) WhatIfTenant(
	ctx context.Context, document *registry.Tenant, periods []civil.Month, nowMS int64,
) (*WhatIf, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	for _, period := range periods {
		if err := computable(biller.State, period); err != nil {
			return nil, err
		}
	}
	doc := &registry.Document{Tenants: []registry.Tenant{*document}}
	present := biller.State
	under, outcomes := DryRunDocument(present, doc, nowMS)
	result := &WhatIf{Accepted: true, Changes: []string{}, Warnings: Warnings(doc, outcomes),
		Refusals: []registry.Refusal{}, Periods: []PeriodWhatIf{}}
	for _, o := range outcomes {
		result.Accepted = result.Accepted && o.Accepted
		result.Changes = append(result.Changes, o.Changes...)
		result.Refusals = append(result.Refusals, o.Refusals...)
	}
	if !result.Accepted {
		return result, nil
	}
	zone, err := civil.LoadZone(document.TimeZone)
	if err != nil {
		return nil, err
	}
	result.Access.Gained, result.Access.Lost = registry.AccessChanges(present.Tenant(document.ID),
		under.Tenant(document.ID), zone.DateOf(nowMS))
	for _, period := range periods {
		compared, err := biller.Compare(ctx, period, []string{document.ID},
			billing.View{State: present, NowMS: nowMS}, billing.View{State: under, NowMS: nowMS})
		if err != nil {
			return nil, err
		}
		result.Periods = append(result.Periods, PeriodWhatIf{period, compared.JSON(), compared.Kinds})
		result.Kinds = billing.SumKinds(append(result.Kinds, compared.Kinds...)...)
		result.Totals = billing.TotalsOf(append(result.Totals, compared.Totals...))
	}
	return result, nil
}
