package export

import "apportion/billing/registry"

// Seller is who the invoices are from.
type Seller struct {
	Name                  string
	Address               registry.Address
	VATID, RegistrationID string
	Endpoint              *registry.Endpoint
	IBAN                  string
	TermsDays             int
}
