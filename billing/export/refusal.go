package export

import "fmt"

// The codes of refusals.
const (
	missingBillTo       = "missing_bill_to"      // the registry lacks something about the buyer, or it cannot be used
	missingSeller       = "missing_seller"       // the configuration lacks something about the seller, or it cannot be used
	unsupportedTax      = "unsupported_tax"      // the format cannot have the taxes beside each other
	unsupportedCurrency = "unsupported_currency" // the format does not have the currency
)

// What to do about something that the registry or the configuration lacks.
const (
	inRegistry      = "complete the registry document, apply it, and write the files again"
	inConfiguration = "complete the configuration and write the files again"
)

// Refusal is why a file is left out. It is named in the manifest, and the other files are written.
type Refusal struct {
	Tenant  string `json:"tenant,omitempty"`  // empty where the file is of all
	Invoice string `json:"invoice,omitempty"` // the same
	File    string `json:"file"`              // the one that is left out, such as ubl/INV-Sub1-202610.xml
	Code    string `json:"code"`
	Field   string `json:"field"` // of the registry document's tenant, of the configuration, or of the invoice
	Message string `json:"message"`
	Advice  string `json:"advice"`
}

// Error says which file is left out, why, and what to do.
func (r *Refusal) Error() string {
	left := fmt.Sprintf("%s left out: %s: %s %s; %s", r.File, r.Code, r.Field, r.Message, r.Advice)
	if r.Tenant == "" {
		return left
	}
	return r.Tenant + ": " + left
}
