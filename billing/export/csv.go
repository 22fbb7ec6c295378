// Package export writes invoices as the files that finance, customers and their systems take in; the contract of
// each is the reference for invoice files. It takes invoices from billing and writes below one directory per
// period, whole or not at all, the same bytes every time.
package export

import (
	"encoding/csv"
	"io"
	"strconv"

	"apportion/billing"
	"apportion/schemas/civil"
)

// columns are those of lines.csv, the contract with finance's import.
var columns = []string{"tenant_id", "subscription_id", "period", "invoice_id", "line_no", "kind", "meter", "quantity", "unit",
	"unit_price", "amount", "currency", "from", "to", "peak_at", "corrects", "note"}

// LinesCSV writes lines.csv: every line of the invoices, in their order.
func LinesCSV(w io.Writer, invoices []billing.Invoice) error {
	out := csv.NewWriter(w)
	if err := out.Write(columns); err != nil {
		return err
	}
	for _, i := range invoices {
		for _, l := range i.Lines {
			price, peak := "", ""
			if l.UnitPrice.Valid {
				price = l.UnitPrice.Decimal.String()
			}
			if l.PeakMS != billing.NoInstant {
				peak = civil.FormatMillis(l.PeakMS)
			}
			if err := out.Write([]string{i.Tenant, i.Subscription, i.Period.String(), i.ID, strconv.Itoa(l.No), string(l.Kind), l.Meter,
				l.Quantity.String(), l.Unit, price, l.Amount.StringFixed(i.MinorUnits), i.Currency,
				l.From.String(), l.To.String(), peak, l.Corrects, l.Note}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}
