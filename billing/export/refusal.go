package export

import "strings"

// The codes of refusals.
const (
	missingBillTo       = "missing_bill_to"      // the registry lacks something about the buyer, or it cannot be used
	missingSeller       = "missing_seller"       // the configuration lacks something about the seller, or it cannot be used
	unsupportedCurrency = "unsupported_currency" // the format has no place for the currency
)

// Refusal is why a file cannot be written. It is left out, named in the manifest, and the others are written.
type Refusal struct {
	// Tenant and Invoice are empty where the file is not of one of them.
	Tenant  string `json:"tenant_id,omitempty"`
	Invoice string `json:"invoice_id,omitempty"`
	// File is the path below the directory of the period, such as ubl/INV-Sub1-202610.xml.
	File string `json:"file"`
	Code string `json:"code"`
	// Field is of the registry document's tenant, of the configuration, or of the invoice.
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
	Advice string `json:"advice"`
}

// Error says which file is left out, why, and what to do.
func (r *Refusal) Error() string {
	words := func(parts ...string) string { return strings.Join(strings.Fields(strings.Join(parts, " ")), " ") }
	return words(r.Tenant, r.Invoice, r.File) + ": " + words(r.Code, r.Field) + ": " + r.Detail + "; " + r.Advice
}
