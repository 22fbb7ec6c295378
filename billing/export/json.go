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

// Document is all that invoices.json has; invoices.schema.json describes it.
type Document struct {
	Period   civil.Month           `json:"period"`
	Draft    bool                  `json:"draft"`
	Invoices []billing.InvoiceJSON `json:"invoices"`
	Accounts []AccountJSON         `json:"accounts"`
}

// NewDocument returns what [InvoicesJSON] writes.
func NewDocument(run *billing.Run) Document {
	d := Document{run.Period, run.Draft, InvoicesOf(run), []AccountJSON{}}
	for _, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
		d.Accounts = append(d.Accounts, newAccountJSON(run.Accounts[tenant]))
	}
	return d
}

// InvoicesOf returns the invoices of a run as they are written.
func InvoicesOf(run *billing.Run) []billing.InvoiceJSON {
	list := []billing.InvoiceJSON{}
	for _, i := range run.Invoices {
		list = append(list, run.Accounts[i.Tenant].JSON(i, run.Draft))
	}
	return list
}

// AccountJSON is what invoices.json has of a tenant besides the invoices.
type AccountJSON struct {
	Tenant     string            `json:"tenantId"`
	Name       string            `json:"name"`
	TimeZone   string            `json:"timeZone"`
	IssueDate  civil.Date        `json:"issueDate"`
	Deliveries aggregate.Balance `json:"deliveries"`
	Basis      aggregate.Basis   `json:"basis"`
	Findings   []billing.Finding `json:"findings"`
}

// InvoicesJSON writes invoices.json: every invoice of a run with its lines, and what is known of each tenant
// besides. It is written invoice by invoice, each on a line of its own.
func InvoicesJSON(w io.Writer, run *billing.Run) error {
	out := jsonWriter{w: w}
	out.text(`{"period":`).value(run.Period).text(`,"draft":`).value(run.Draft).text(`,"invoices":[`)
	for n, i := range run.Invoices {
		out.item(n, run.Accounts[i.Tenant].JSON(i, run.Draft))
	}
	out.text("],\n" + `"accounts":[`)
	for n, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
		out.item(n, newAccountJSON(run.Accounts[tenant]))
	}
	out.text("]}\n")
	return out.err
}

func newAccountJSON(a billing.Account) AccountJSON {
	return AccountJSON{a.Tenant.ID, a.Tenant.Name, a.Tenant.TimeZone, a.IssueDate, a.Balance, basisOf(a), findingsOf(a)}
}

// findingsOf returns what was found of a tenant (R24), without what depends on the order and number of deliveries
// (R23).
func findingsOf(a billing.Account) []billing.Finding {
	found := []billing.Finding{}
	for _, f := range a.Findings {
		f.Records = nil
		found = append(found, f)
	}
	return found
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
