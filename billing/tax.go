package billing

import (
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Subtotal is what an invoice has of one category and rate of tax (R26).
type Subtotal struct {
	// Tax has the reasons of all entries that were put together.
	Tax registry.Tax
	// Net is the sum of the lines, Amount the tax on it, rounded once, half away from zero, to minor units.
	Net, Amount decimal.Decimal
}

// TaxOf returns the tax of a line: that which applies on the last date of the invoice's period, for an adjustment on
// the last date of the period it corrects (R26); nil where none is stated.
func (a Account) TaxOf(invoice Invoice, l Line) *registry.Tax {
	period := invoice.Period
	if l.Kind == Adjustment {
		period = l.From.Month()
		if as := a.TaxedAs[period]; as != nil {
			return as
		}
	}
	if a.Tenant == nil || a.Tenant.BillTo == nil {
		return nil
	}
	return a.Tenant.BillTo.Tax.On(period.Next().First().Add(-1))
}

// Taxes returns the subtotals of an invoice, in the order of the lines that each begins with, the tax of all of them,
// and what is to be paid: net and taxes. Without a statement about tax there are none.
func (a Account) Taxes(invoice Invoice) (subtotals []Subtotal, tax, gross decimal.Decimal) {
	for _, l := range invoice.Lines {
		of := a.TaxOf(invoice, l)
		if of == nil {
			continue
		}
		at := slices.IndexFunc(subtotals, func(s Subtotal) bool {
			return s.Tax.Category == of.Category && s.Tax.Rate.Equal(of.Rate)
		})
		if at < 0 {
			at = len(subtotals)
			subtotals = append(subtotals, Subtotal{Tax: registry.Tax{From: civil.NoDate, Category: of.Category, Rate: of.Rate}})
		}
		s := &subtotals[at]
		s.Net = s.Net.Add(l.Amount)
		if reason := strings.TrimSpace(of.Reason); !slices.Contains(strings.Split(s.Tax.Reason, "; "), reason) {
			s.Tax.Reason = strings.TrimPrefix(s.Tax.Reason+"; "+reason, "; ")
		}
	}
	for i := range subtotals {
		s := &subtotals[i]
		s.Amount = s.Net.Mul(s.Tax.Rate).Shift(-2).Round(invoice.MinorUnits)
		tax = tax.Add(s.Amount)
	}
	return subtotals, tax, invoice.Total.Add(tax)
}

// taxedAs returns, by period that adjustments of the invoices correct, the tax that it was issued with, where the
// document states one tax and no history: that says nothing of a period issued before it changed, so what corrects
// the period is taxed as the period was. A history is taken by its dates.
func (b *Biller) taxedAs(tenant *registry.Tenant, invoices []Invoice, chain []Issue,
	documents documents) (map[civil.Month]*registry.Tax, error) {
	if tenant.BillTo == nil || len(tenant.BillTo.Tax) != 1 {
		return nil, nil
	}
	taxed := map[civil.Month]*registry.Tax{}
	for _, i := range invoices {
		for _, l := range i.Lines {
			if l.Kind != Adjustment {
				continue
			}
			period := l.From.Month()
			issue := issueOf(chain, period)
			if _, known := taxed[period]; known || issue == nil {
				continue
			}
			then, err := documents.of(b, *issue)
			if err != nil {
				return nil, err
			}
			if then.BillTo != nil {
				taxed[period] = then.BillTo.Tax.On(period.Next().First().Add(-1))
			}
		}
	}
	return taxed, nil
}
