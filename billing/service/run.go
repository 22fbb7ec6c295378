package service

import (
	"apportion/billing"
	"apportion/billing/export"
	"apportion/schemas/civil"
)

// RunJSON is the outcome of a preview or an issue of a period in JSON.
type RunJSON struct {
	Period civil.Month `json:"period"`
	Draft  bool        `json:"draft"`
	// Issued are, in a preview, the tenants whose period is issued.
	Issued   []billing.AlreadyIssued `json:"issued,omitempty"`
	Invoices []billing.InvoiceJSON   `json:"invoices"`
	Stopped  []*billing.Stop         `json:"stopped"`
	LeftOut  []*export.Refusal       `json:"leftOut"`
	Findings []billing.Finding       `json:"findings"`
}

// NewRunJSON returns a run as it is written, with the files that could not be.
func NewRunJSON(run *billing.Run, leftOut []*export.Refusal) RunJSON {
	return RunJSON{run.Period, run.Draft, run.Already, export.InvoicesOf(run), append([]*billing.Stop{}, run.Stopped...),
		append([]*export.Refusal{}, leftOut...), append([]billing.Finding{}, run.Findings...)}
}
