package export

import "apportion/billing/registry"

// Seller is who issues the invoices. What a format needs of it and is empty is refused, never guessed.
type Seller struct {
	Name                  string
	Address               registry.Address
	VATID, RegistrationID string
	// Endpoint is the seller's Peppol participant; nil: none.
	Endpoint *registry.Endpoint
	IBAN     string
	// TermsDays is how many days after the issue date an invoice is due, where the tenant has no terms of its own.
	TermsDays int
}
