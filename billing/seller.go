package billing

import "apportion/billing/registry"

// Seller is who sends the invoices. It is configured, and recorded with each issue: what is configured later changes
// nothing of what was issued (R20).
type Seller struct {
	Name           string             `json:"name"`
	Address        registry.Address   `json:"address"`
	VATID          string             `json:"vatId,omitempty"`
	RegistrationID string             `json:"registrationId,omitempty"`
	Endpoint       *registry.Endpoint `json:"endpoint,omitempty"` // of the Peppol network; nil: none
	IBAN           string             `json:"iban,omitempty"`     // where to pay to; "": invoices do not say
	TermsDays      int                `json:"termsDays"`          // from the issue date until payment is due, unless the buyer has terms of its own
}

// shows reports whether there is a seller whom a document can show.
func (s Seller) shows() bool { return s.Name != "" && s.Address.Country != "" }
