package export

import (
	"fmt"

	"apportion/schemas"
)

// Refusal is why a file is left out. It is named in the manifest, and the other files are written.
type Refusal struct {
	Tenant  string       `json:"tenantId,omitempty"`  // empty where the file is of all
	Invoice string       `json:"invoiceId,omitempty"` // the same
	File    string       `json:"file"`                // the one that is left out, such as ubl/INV-Sub1-202610.xml
	Code    schemas.Code `json:"code"`
	Field   string       `json:"field"` // of the registry document's tenant, of the configuration, or of the invoice
	Message string       `json:"message"`
	Advice  string       `json:"advice"`
}

// Error says which file is left out, why, and what to do.
func (r *Refusal) Error() string {
	left := fmt.Sprintf("%s left out: %s: %s %s; %s", r.File, r.Code, r.Field, r.Message, r.Advice)
	if r.Tenant == "" {
		return left
	}
	return r.Tenant + ": " + left
}
