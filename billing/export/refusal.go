package export

import "fmt"

// The codes of refusals.
const (
	missingBillTo       = "missing_bill_to"      // the registry lacks something about the buyer, or it cannot be used
	missingSeller       = "missing_seller"       // the configuration lacks something about the seller, or it cannot be used
	unsupportedCurrency = "unsupported_currency" // the format has no place for the currency
)

// inRegistry is what to do about something that the registry lacks.
const inRegistry = "complete the registry document, apply it, and write the files again"

// Refusal is why a file of an invoice is left out. The other files are written.
type Refusal struct {
	Tenant  string `json:"tenant"`
	Invoice string `json:"invoice"`
	File    string `json:"file"` // the one that is left out, such as ubl/INV-Sub1-202610.xml
	Code    string `json:"code"`
	Field   string `json:"field"` // of the registry document's tenant, of the configuration, or of the invoice
	Detail  string `json:"detail"`
	Advice  string `json:"advice"`
}

// Error says which file is left out, why, and what to do.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: %s left out: %s: %s %s; %s", r.Tenant, r.File, r.Code, r.Field, r.Detail, r.Advice)
}
