package export

import "fmt"

// Refusal is a file that a tenant cannot have.
type Refusal struct {
	Tenant, Invoice, File, Code, Field, Detail, Advice string
}

// Error says which file is left out, why, and what to do.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s %s %s: %s %s: %s; %s", r.Tenant, r.Invoice, r.File, r.Code, r.Field, r.Detail, r.Advice)
}
