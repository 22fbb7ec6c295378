package export

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/schemas/civil"
)

// The shapes of invoices.json, under the names of the columns of lines.csv; invoices.schema.json describes them.
// Quantities, prices and amounts are strings, so that no reader takes them for binary fractions.
type (
	invoiceJSON struct {
		ID               string      `json:"invoiceId"`
		Tenant           string      `json:"tenantId"`
		Subscription     string      `json:"subscriptionId"`
		SubscriptionName string      `json:"subscriptionName"`
		Period           civil.Month `json:"period"`
		IssueDate        civil.Date  `json:"issueDate"`
		Currency         string      `json:"currency"`
		Net              string      `json:"net"`
		Tax              string      `json:"tax,omitempty"`
		Gross            string      `json:"gross,omitempty"`
		Taxes            []taxJSON   `json:"taxes,omitempty"`
		Lines            []lineJSON  `json:"lines"`
	}
	taxJSON struct {
		Category string `json:"category"`
		Rate     string `json:"rate"`
		Reason   string `json:"reason,omitempty"`
		Net      string `json:"net"`
		Tax      string `json:"tax"`
	}
	lineJSON struct {
		No           int          `json:"lineNo"`
		Kind         billing.Kind `json:"kind"`
		Meter        string       `json:"meter"`
		Quantity     string       `json:"quantity"`
		Unit         string       `json:"unit"`
		UnitPrice    string       `json:"unitPrice,omitempty"`
		Amount       string       `json:"amount"`
		From         civil.Date   `json:"from"`
		To           civil.Date   `json:"to"`
		Days         int          `json:"days,omitempty"`
		PeakAt       string       `json:"peakAt,omitempty"`
		Entitled     *int64       `json:"entitled,omitempty"`
		Pool         []poolJSON   `json:"pool,omitempty"`
		Corrects     string       `json:"corrects,omitempty"`
		CorrectsKind billing.Kind `json:"correctsKind,omitempty"`
		ItemCode     string       `json:"itemCode,omitempty"`
		TaxCategory  string       `json:"taxCategory,omitempty"`
		TaxRate      string       `json:"taxRate,omitempty"`
		Note         string       `json:"note"`
	}
	poolJSON struct {
		At       string `json:"at"`
		Live     int64  `json:"live"`
		Entitled int64  `json:"entitled"`
	}
	accountJSON struct {
		Tenant         string            `json:"tenantId"`
		Name           string            `json:"name"`
		TimeZone       string            `json:"timeZone"`
		IssueDate      civil.Date        `json:"issueDate"`
		Deliveries     aggregate.Balance `json:"deliveries"`
		RegistryOffset int64             `json:"registryOffset"`
		TZVersion      string            `json:"tzVersion"`
		Ledger         []Position        `json:"ledger"`
		Findings       []billing.Finding `json:"findings"`
	}
)

// InvoicesJSON writes invoices.json: every invoice of a run with its lines, and what is known of each tenant
// besides. It is written invoice by invoice, each on a line of its own.
func InvoicesJSON(w io.Writer, run *billing.Run) error {
	out := jsonWriter{w: w}
	out.text(`{"period":`).value(run.Period).text(`,"draft":`).value(run.Draft).text(`,"invoices":[`)
	for n, i := range run.Invoices {
		out.item(n, invoiceJSONOf(i, run.Accounts[i.Tenant], run.Draft))
	}
	out.text("],\n" + `"accounts":[`)
	for n, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
		a := run.Accounts[tenant]
		b := basis(a)
		out.item(n, accountJSON{tenant, a.Tenant.Name, a.Tenant.TimeZone, a.IssueDate, a.Balance, b.RegistryOffset, b.TZVersion, b.Ledger, findingsOf(a)})
	}
	out.text("]}\n")
	return out.err
}

// findingsOf returns what was found of a tenant (R24), without what depends on the order and number of deliveries (R23).
func findingsOf(a billing.Account) []billing.Finding {
	found := []billing.Finding{}
	for _, f := range a.Findings {
		f.Places = nil
		found = append(found, f)
	}
	return found
}

func invoiceJSONOf(i billing.Invoice, account billing.Account, draft bool) invoiceJSON {
	invoice := invoiceJSON{ID: i.ID, Tenant: i.Tenant, Subscription: i.Subscription, SubscriptionName: subscriptionName(i, account), Period: i.Period,
		IssueDate: account.IssueDate, Currency: i.Currency, Net: i.Money(i.Total), Lines: []lineJSON{}}
	if taxes, tax, gross := account.Taxes(i); len(taxes) > 0 {
		invoice.Tax, invoice.Gross = i.Money(tax), i.Money(gross)
		for _, t := range taxes {
			invoice.Taxes = append(invoice.Taxes, taxJSON{t.Tax.Category, t.Tax.Rate.String(), t.Tax.Reason, i.Money(t.Net), i.Money(t.Amount)})
		}
	}
	for _, l := range i.Lines {
		line := lineJSON{No: l.No, Kind: l.Kind, Meter: l.Meter, Quantity: l.Quantity.String(), Unit: l.Unit, UnitPrice: l.Price(),
			Amount: i.Money(l.Amount), From: l.From, To: l.To, Days: l.Days, PeakAt: l.PeakAt(), Corrects: l.Corrects,
			CorrectsKind: l.CorrectsKind, ItemCode: account.ItemCodes.Of(l), Note: note(l, draft)}
		if l.Kind == billing.Overage {
			line.Entitled = &l.Entitled
		}
		if tax := account.TaxOf(i, l); tax != nil {
			line.TaxCategory, line.TaxRate = tax.Category, tax.Rate.String()
		}
		for _, p := range l.Pool {
			line.Pool = append(line.Pool, poolJSON{civil.FormatMillis(p.AtMS), p.Live, p.Entitled})
		}
		invoice.Lines = append(invoice.Lines, line)
	}
	return invoice
}

// subscriptionName returns the name of the invoiced department, or its id where it has none.
func subscriptionName(i billing.Invoice, account billing.Account) string {
	if s := account.Tenant.Subscription(i.Subscription); s != nil && s.Name != "" {
		return s.Name
	}
	return i.Subscription
}

// note returns the note of a line, which in a draft says that it is one.
func note(l billing.Line, draft bool) string {
	if draft {
		return "DRAFT. " + l.Note
	}
	return l.Note
}

// jsonWriter writes a document piece by piece, and nothing more after an error.
type jsonWriter struct {
	w   io.Writer
	err error
}

func (j *jsonWriter) text(s string) *jsonWriter {
	if j.err == nil {
		_, j.err = io.WriteString(j.w, s)
	}
	return j
}

func (j *jsonWriter) value(v any) *jsonWriter {
	b, err := json.Marshal(v)
	if j.err == nil {
		j.err = err
	}
	return j.text(string(b))
}

// item writes the n-th of a list, counted from 0.
func (j *jsonWriter) item(n int, v any) {
	if n > 0 {
		j.text(",")
	}
	j.text("\n").value(v)
}
