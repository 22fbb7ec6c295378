package main

import (
	"regexp"
	"strings"

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

var ibanRE = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}$`)

// isIBAN reports whether an account number, in groups or in one, has the form and the check digits of ISO 13616: with
// its first four characters behind the others and a letter read as 10 to 35 it is 1 modulo 97.
func isIBAN(s string) bool {
	s = strings.ReplaceAll(s, " ", "")
	if !ibanRE.MatchString(s) {
		return false
	}
	rest := 0
	for _, r := range s[4:] + s[:4] {
		if r >= 'A' {
			rest = (rest*100 + int(r-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(r-'0')) % 97
		}
	}
	return rest == 1
}
