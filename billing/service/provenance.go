package service

import (
	"context"
	"slices"

	"apportion/billing"
)

// CorrectedBy returns the adjustments that later invoices of the subscription have for the period of an issued invoice
// (R21), in the order in which they were issued.
func (s *Invoices) CorrectedBy(ctx context.Context, of IssuedInvoice) ([]billing.InvoiceLine, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	chain, err := billing.Issues(state, of.Tenant.ID)
	if err != nil {
		return nil, err
	}
	later := slices.DeleteFunc(chain, func(i billing.Issue) bool { return i.Seq <= of.Issue.Seq })
	invoices, err := s.Lines.Invoices(ctx, later)
	if err != nil {
		return nil, err
	}
	corrections := []billing.InvoiceLine{}
	for _, issue := range later {
		for _, invoice := range invoices[issue.ID] {
			if invoice.Subscription != of.Invoice.Subscription {
				continue
			}
			for _, line := range invoice.Lines {
				if line.Kind == billing.Adjustment && line.From.Month() == of.Issue.Period {
					corrections = append(corrections, billing.InvoiceLine{Invoice: invoice, Line: line})
				}
			}
		}
	}
	return corrections, nil
}
