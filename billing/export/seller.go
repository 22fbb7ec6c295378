package export

import "apportion/billing/registry"

// Seller is who sends the invoices, as the configuration has it.
type Seller struct {
	Name           string
	Address        registry.Address
	VATID          string
	RegistrationID string
	Endpoint       *registry.Endpoint // of the Peppol network; nil: none
	IBAN           string             // where to pay to; "": invoices do not say
	TermsDays      int                // from the issue date until payment is due, unless the buyer has terms of its own
}
