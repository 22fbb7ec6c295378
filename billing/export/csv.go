// Package export writes invoices as the files that finance, customers and their systems take in; the contract of
// each is the reference for invoice files. It takes invoices from billing and writes below one directory per
// period, whole or not at all, the same bytes every time.
package export

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing"
)

// linesColumns are those of lines.csv, the contract with finance's import.
var linesColumns = []string{"tenant_id", "subscription_id", "period", "invoice_id", "line_no", "kind", "meter",
	"quantity", "unit", "unit_price", "amount", "currency", "from", "to", "peak_at", "corrects", "note", "item_code",
	"tax_category", "tax_rate"}

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
			if err := out.Write([]string{
				i.Tenant, i.Subscription, i.Period.String(), i.ID, strconv.Itoa(l.No), string(l.Kind), l.Meter,
				l.Quantity.String(), l.Unit, l.Price(), i.Money(l.Amount), i.Currency, l.From.String(), l.To.String(), l.PeakAt(),
				l.Corrects, l.NoteIn(run.Draft), account.ItemCodes.Of(l), category, rate,
			}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// invoicesColumns are those of invoices.csv, a row an invoice for the same import.
var invoicesColumns = []string{"tenant_id", "tenant_name", "subscription_id", "subscription_name", "period",
	"invoice_id", "issue_date", "due_date", "currency", "net", "tax", "gross", "buyer_name", "buyer_vat_id", "reference",
	"lines", "corrections", "findings"}

// InvoicesCSV writes invoices.csv: a row an invoice, in their order. The references of a draft say that it is one.
func InvoicesCSV(w io.Writer, run *billing.Run) error {
	out := csv.NewWriter(w)
	if err := out.Write(invoicesColumns); err != nil {
		return err
	}
	for _, i := range run.Invoices {
		h := headOf(i, run)
		if err := out.Write([]string{
			i.Tenant, Guard(h.account.Tenant.Name), i.Subscription, Guard(h.account.SubscriptionName(i)), i.Period.String(),
			i.ID, h.account.IssueDate.String(), h.account.DueDate().String(), i.Currency, i.Money(i.Total), h.money(h.tax),
			h.money(h.gross), Guard(h.account.Buyer()), Guard(h.vatID), Guard(h.reference), strconv.Itoa(len(i.Lines)),
			strconv.Itoa(h.corrections), strconv.Itoa(len(h.account.Findings)),
		}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// head is what there is to say of an invoice besides its lines.
type head struct {
	invoice billing.Invoice
	account billing.Account
	// taxed says that the document states taxes; without, there are neither tax nor gross.
	taxed            bool
	tax, gross       decimal.Decimal
	vatID, reference string
	corrections      int // lines that are adjustments
}

func headOf(i billing.Invoice, run *billing.Run) head {
	h := head{invoice: i, account: run.Accounts[i.Tenant]}
	var taxes []billing.Subtotal
	taxes, h.tax, h.gross = h.account.Taxes(i)
	h.taxed = len(taxes) > 0
	if b := h.account.Tenant.BillTo; b != nil {
		h.vatID, h.reference = b.VATID, strings.TrimSpace(b.Reference)
	}
	if run.Draft {
		h.reference = strings.TrimSpace("DRAFT. " + h.reference)
	}
	for _, l := range i.Lines {
		if l.Kind == billing.Adjustment {
			h.corrections++
		}
	}
	return h
}

// money writes a tax or a gross total, and nothing where no tax is stated.
func (h head) money(amount decimal.Decimal) string {
	if !h.taxed {
		return ""
	}
	return h.invoice.Money(amount)
}
