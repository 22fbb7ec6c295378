// Package export writes invoices as the files that finance, customers and their systems take in; the contract of
// each is the reference for invoice files. It takes invoices from billing and writes below one directory per
// period, whole or not at all, the same bytes every time.
package export

import (
	"encoding/csv"
	"io"
	"strconv"

	"apportion/billing"
)

// linesColumns are those of lines.csv, the contract with finance's import.
var linesColumns = []string{"tenant_id", "subscription_id", "period", "invoice_id", "line_no", "kind", "meter", "quantity", "unit",
	"unit_price", "amount", "currency", "from", "to", "peak_at", "corrects", "note", "item_code", "tax_category", "tax_rate"}

// LinesCSV writes lines.csv: every line of the invoices, in their order. The notes of a draft say that it is one.
func LinesCSV(w io.Writer, run *billing.Run) error {
	out := csv.NewWriter(w)
	if err := out.Write(linesColumns); err != nil {
		return err
	}
	for _, i := range run.Invoices {
		account := run.Accounts[i.Tenant]
		for _, l := range i.Lines {
			var category, rate string
			if tax := account.TaxOf(i, l); tax != nil {
				category, rate = tax.Category, tax.Rate.String()
			}
			if err := out.Write([]string{i.Tenant, i.Subscription, i.Period.String(), i.ID, strconv.Itoa(l.No), string(l.Kind), l.Meter,
				l.Quantity.String(), l.Unit, l.Price(), i.Money(l.Amount), i.Currency,
				l.From.String(), l.To.String(), l.PeakAt(), l.Corrects, note(l, run.Draft), account.ItemCodes.Of(l), category, rate}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}
