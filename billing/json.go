package billing

import (
	"encoding/json"

	"apportion/schemas/civil"
)

// InvoiceJSON is the one form that an invoice has in JSON: in invoices.json, which invoices.schema.json describes, in
// what commands print, and in explanations. Its names are the columns of lines.csv and invoices.csv; quantities, prices
// and amounts are strings, so that no reader takes them for binary fractions. What is not known is left out.
type InvoiceJSON struct {
	ID               string      `json:"invoiceId"`
	Tenant           string      `json:"tenantId"`
	Subscription     string      `json:"subscriptionId"`
	SubscriptionName string      `json:"subscriptionName,omitempty"`
	Period           civil.Month `json:"period"`
	IssueDate        string      `json:"issueDate,omitempty"`
	Currency         string      `json:"currency"`
	Net              string      `json:"net"`
	Tax              string      `json:"tax,omitempty"`
	Gross            string      `json:"gross,omitempty"`
	Taxes            []TaxJSON   `json:"taxes,omitempty"`
	Lines            []LineJSON  `json:"lines"`
}

// TaxJSON is what an invoice has of one category and rate of tax (R26).
type TaxJSON struct {
	Category string `json:"category"`
	Rate     string `json:"rate"`
	Reason   string `json:"reason,omitempty"`
	Net      string `json:"net"`
	Tax      string `json:"tax"`
}

// LineJSON is one line of an invoice.
type LineJSON struct {
	No           int         `json:"lineNo"`
	Kind         Kind        `json:"kind"`
	Meter        string      `json:"meter"`
	Quantity     string      `json:"quantity"`
	Unit         string      `json:"unit"`
	UnitPrice    string      `json:"unitPrice,omitempty"`
	Amount       string      `json:"amount"`
	From         civil.Date  `json:"from"`
	To           civil.Date  `json:"to"`
	Days         int         `json:"days,omitempty"`
	PeakAt       string      `json:"peakAt,omitempty"`
	Entitled     *int64      `json:"entitled,omitempty"` // of an overage, 0 too
	Pool         []PoolPoint `json:"pool,omitempty"`
	Corrects     string      `json:"corrects,omitempty"`
	CorrectsKind Kind        `json:"correctsKind,omitempty"`
	ItemCode     string      `json:"itemCode,omitempty"`
	TaxCategory  string      `json:"taxCategory,omitempty"`
	TaxRate      string      `json:"taxRate,omitempty"`
	Note         string      `json:"note"`
}

// JSON returns an invoice of the account's tenant. The notes of a draft say that it is one.
func (a Account) JSON(i Invoice, draft bool) InvoiceJSON {
	invoice := InvoiceJSON{
		ID: i.ID, Tenant: i.Tenant, Subscription: i.Subscription, Period: i.Period, Currency: i.Currency,
		Net: i.Money(i.Total), Lines: []LineJSON{},
	}
	if a.Tenant != nil {
		invoice.SubscriptionName, invoice.IssueDate = a.SubscriptionName(i), a.IssueDate.String()
	}
	if taxes, tax, gross := a.Taxes(i); len(taxes) > 0 {
		invoice.Tax, invoice.Gross = i.Money(tax), i.Money(gross)
		for _, t := range taxes {
			invoice.Taxes = append(invoice.Taxes,
				TaxJSON{t.Tax.Category, t.Tax.Rate.String(), t.Tax.Reason, i.Money(t.Net), i.Money(t.Amount)})
		}
	}
	for _, l := range i.Lines {
		line := i.lineJSON(l)
		line.ItemCode, line.Note = a.ItemCodes.Of(l), l.NoteIn(draft)
		if tax := a.TaxOf(i, l); tax != nil {
			line.TaxCategory, line.TaxRate = tax.Category, tax.Rate.String()
		}
		invoice.Lines = append(invoice.Lines, line)
	}
	return invoice
}

// lineJSON returns a line without what only the account knows.
func (i Invoice) lineJSON(l Line) LineJSON {
	line := LineJSON{
		No: l.No, Kind: l.Kind, Meter: l.Meter, Quantity: l.Quantity.String(), Unit: l.Unit, UnitPrice: l.Price(),
		Amount: i.Money(l.Amount), From: l.From, To: l.To, Days: l.Days, PeakAt: l.PeakAt(),
		Corrects: l.Corrects, CorrectsKind: l.CorrectsKind, Note: l.Note,
	}
	if l.Kind == Overage {
		line.Entitled, line.Pool = &l.Entitled, l.Pool
	}
	return line
}

// MarshalJSON writes the invoice without what only the account knows: its taxes, names and codes.
func (i Invoice) MarshalJSON() ([]byte, error) { return json.Marshal(Account{}.JSON(i, false)) }
