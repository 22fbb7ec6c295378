package export

import (
	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
)

// tax returns an invoice's total without tax, the tax on it and their sum. All of an invoice is of one category, so
// its tax is its total × the rate, rounded once, half to even, to the currency's minor units, as each amount is
// (R19). Without a statement about tax there is none.
func tax(invoice billing.Invoice, to *registry.BillTo) (net, tax, gross decimal.Decimal) {
	net = invoice.Total
	if to.Tax != nil {
		tax = net.Mul(to.Tax.Rate).Shift(-2).RoundBank(invoice.MinorUnits)
	}
	return net, tax, net.Add(tax)
}
