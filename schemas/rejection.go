package schemas

import "strings"

// Rejection is why a delivery is refused, with what is needed to find and
// fix it. The batch around it goes on, and the delivery is kept in the dead
// letters.
type Rejection struct {
	Code Code
	// Field is the offending attribute or data field by its bare name, such as
	// "agentId"; for a misspelt member the one that is meant; "" where the
	// value as a whole is at fault.
	Field string
	// Value is the offending value as it was written, a string in its quotes,
	// cut to at most 100 characters and safe to print; for a misspelt member
	// its name, as it was sent; "" where there is none.
	Value string
	// Message says what is wrong and what would be right.
	Message string
	// Tenant, Source and ID are the identity (R8), each "" where it could not
	// be read or is itself invalid. A refused correction of a known event is
	// found by them (R22).
	Tenant, Source, ID string
}

// Error returns the code, the field and the value at fault, and what to do.
func (r *Rejection) Error() string {
	text := string(r.Code) + ": "
	if r.Field != "" {
		text += strings.TrimSuffix(r.Field+" "+r.Value, " ") + ": "
	}
	return text + r.Message
}
