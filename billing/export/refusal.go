package export

import "strings"

// Refusal is why a file cannot be written. It is left out, named in the manifest, and the others are written.
type Refusal struct {
	// Tenant and Invoice are empty where the file is not of one of them.
	Tenant  string `json:"tenant_id,omitempty"`
	Invoice string `json:"invoice_id,omitempty"`
	// File is the path below the directory of the period.
	File string `json:"file"`
	// Code is missing_bill_to, missing_seller or unsupported_currency, or one of a format's own.
	Code   string `json:"code"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
	Advice string `json:"advice"`
}

// Error says which file is left out, why, and what to do.
func (r *Refusal) Error() string {
	words := func(parts ...string) string { return strings.Join(strings.Fields(strings.Join(parts, " ")), " ") }
	return words(r.Tenant, r.Invoice, r.File) + ": " + words(r.Code, r.Field) + ": " + r.Detail + "; " + r.Advice
}
