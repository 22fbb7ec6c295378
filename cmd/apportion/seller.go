package main

import (
	"apportion/billing"
	"apportion/billing/registry"
)

// seller returns who sends the invoices. What a format needs and the configuration lacks, the format refuses.
func (c SellerConfig) seller() billing.Seller {
	s := billing.Seller{
		Name: c.Name, Address: registry.Address(c.Address), VATID: c.VATID, RegistrationID: c.RegistrationID,
		IBAN: c.Payment.IBAN, TermsDays: c.Payment.TermsDays,
	}
	if c.Endpoint.ID != "" {
		s.Endpoint = &registry.Endpoint{Scheme: c.Endpoint.Scheme, ID: c.Endpoint.ID}
	}
	return s
}
