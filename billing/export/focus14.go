package export

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"apportion/billing"
	"apportion/schemas/civil"
)

// The two datasets that FOCUS 1.4 has for invoices. All times in them are of dates, since no clock may be in a file
// (R23): what is issued was made and last changed when its issue date began.
const (
	invoiceDetailCSV = "focus-1.4/invoice_detail.csv"
	billingPeriodCSV = "focus-1.4/billing_period.csv"
)

// invoiceDetailColumns are all that the dataset has, in byte order. It could do without a currency of payment, which is
// that of the invoice, and without purchase orders; the validator counts rules about the columns as failed without
// them.
var invoiceDetailColumns = []string{
	"BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
	"InvoiceDetailCreated", "InvoiceDetailDescription", "InvoiceDetailGrain", "InvoiceDetailId",
	"InvoiceDetailLastUpdated", "InvoiceId", "InvoiceIssueDate", "InvoiceIssueStatus", "InvoiceIssuerName",
	"PaymentCurrency", "PaymentCurrencyBilledCost", "PaymentCurrencyInvoiceDetailId", "PaymentDueDate", "PaymentTerms",
	"PurchaseOrderNumber", "ReferenceInvoiceId",
}

// invoiceDetail is a row: a line of an invoice, or the tax of a category and rate.
type invoiceDetail struct {
	id, category, description string
	cost, reference           string
	// grain are the properties that no other row of the invoice has all of.
	grain map[string]string
}

// InvoiceDetailCSV writes the dataset Invoice Detail of FOCUS 1.4: a row for every line, those of amount 0 too, and
// for the tax of every category and rate, so that an invoice adds up to what is to be paid. Without the seller's name,
// the error is a *Refusal.
func InvoiceDetailCSV(w io.Writer, run *billing.Run) error {
	if err := needIssuer(run, invoiceDetailCSV); err != nil {
		return err
	}
	status := "Issued"
	if run.Draft {
		status = "Open"
	}
	out := csv.NewWriter(w)
	if err := out.Write(invoiceDetailColumns); err != nil {
		return err
	}
	for _, i := range run.Invoices {
		a := run.Accounts[i.Tenant]
		start := func(d civil.Date) string { return startOf(a, d) }
		issued, terms, order := start(a.IssueDate), a.TermsDays(), ""
		if b := a.Tenant.BillTo; b != nil {
			order = Guard(strings.TrimSpace(b.Reference))
		}
		for _, d := range invoiceDetails(i, a, run.Draft) {
			grain, err := json.Marshal(d.grain)
			if err != nil {
				return err
			}
			if err := out.Write([]string{
				d.cost, i.Tenant, i.Currency, start(i.Period.Next().First()), start(i.Period.First()), d.category,
				issued, d.description, string(grain), d.id, issued, i.ID, issued, status, Guard(a.Seller.Name),
				i.Currency, d.cost, d.id, start(a.IssueDate.Add(terms)), fmt.Sprintf("Net %d", terms), order, d.reference,
			}); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// invoiceDetails are the rows of an invoice: its lines, then its taxes.
func invoiceDetails(i billing.Invoice, a billing.Account, draft bool) []invoiceDetail {
	var rows []invoiceDetail
	for _, l := range i.Lines {
		d := invoiceDetail{
			id: fmt.Sprintf("%s/%d", i.ID, l.No), category: chargeCategory, description: describe(l, draft),
			cost: pointed(i.Money(l.Amount)), reference: i.ID,
			grain: map[string]string{"ServiceName": serviceName, "SkuMeter": l.Meter, "SubAccountId": i.Subscription,
				"x_From": l.From.String(), "x_Kind": string(l.Kind), "x_To": l.To.String()},
		}
		if l.Kind == billing.Adjustment {
			d.reference = l.CorrectedInvoice()
			d.grain["x_Corrects"], d.grain["x_CorrectsKind"] = l.Corrects, string(l.CorrectsKind)
		}
		rows = append(rows, d)
	}
	taxes, _, _ := a.Taxes(i)
	for _, t := range taxes {
		rate := t.Tax.Rate.String()
		description := fmt.Sprintf("tax: category %s, %s %% of net %s", t.Tax.Category, rate, i.Money(t.Net))
		if draft {
			description = "DRAFT. " + description
		}
		rows = append(rows, invoiceDetail{
			id: i.ID + "/tax-" + t.Tax.Category + "-" + rate, category: "Tax", description: description,
			cost: pointed(i.Money(t.Amount)), reference: i.ID,
			grain: map[string]string{"SubAccountId": i.Subscription, "x_TaxCategory": t.Tax.Category, "x_TaxRate": rate},
		})
	}
	return rows
}

// billingPeriodColumns are those that the dataset must have, in byte order.
var billingPeriodColumns = []string{"BillingPeriodCreated", "BillingPeriodEnd", "BillingPeriodLastUpdated",
	"BillingPeriodStart", "BillingPeriodStatus", "InvoiceIssuerName"}

// BillingPeriodCSV writes the dataset Billing Period of FOCUS 1.4: the period, once for every zone and seller that its
// invoices have. It began to be recorded when it began, and was last changed with the last of the invoices. Without the
// seller's name, the error is a *Refusal.
func BillingPeriodCSV(w io.Writer, run *billing.Run) error {
	if err := needIssuer(run, billingPeriodCSV); err != nil {
		return err
	}
	status := "Closed"
	if run.Draft {
		status = "Open"
	}
	type key struct{ start, end, issuer string }
	lastUpdated := map[key]string{}
	for _, i := range run.Invoices {
		a := run.Accounts[i.Tenant]
		k := key{startOf(a, i.Period.First()), startOf(a, i.Period.Next().First()), Guard(a.Seller.Name)}
		lastUpdated[k] = max(lastUpdated[k], startOf(a, a.IssueDate))
	}
	out := csv.NewWriter(w)
	if err := out.Write(billingPeriodColumns); err != nil {
		return err
	}
	order := func(x, y key) int {
		return cmp.Or(strings.Compare(x.start, y.start), strings.Compare(x.end, y.end), strings.Compare(x.issuer, y.issuer))
	}
	for _, k := range slices.SortedFunc(maps.Keys(lastUpdated), order) {
		if err := out.Write([]string{k.start, k.end, lastUpdated[k], k.start, status, k.issuer}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
