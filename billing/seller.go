package billing

import (
	"cmp"
	"strings"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Seller is who sends the invoices. It is configured, and recorded with each issue: what is configured later changes
// nothing of what was issued (R20).
type Seller struct {
	Name           string             `json:"name"`
	Address        registry.Address   `json:"address"`
	VATID          string             `json:"vatId,omitempty"`
	RegistrationID string             `json:"registrationId,omitempty"`
	Endpoint       *registry.Endpoint `json:"endpoint,omitempty"` // of the Peppol network; nil: none
	Contact        *Contact           `json:"contact,omitempty"`  // nil: invoices name none
	IBAN           string             `json:"iban,omitempty"`     // where to pay to; "": invoices do not say
	// TermsDays are those from the issue date until payment is due, unless the buyer has terms of its own.
	TermsDays int `json:"termsDays"`
}

// Contact is whom the buyer can ask about an invoice.
type Contact struct {
	Name      string `json:"name"`
	Telephone string `json:"telephone"`
	Email     string `json:"email"`
}

// shows reports whether there is a seller whom a document can show.
func (s Seller) shows() bool { return s.Name != "" && s.Address.Country != "" }

// Buyer is the name that the invoices are made out to, and nothing where the registry does not say whom to bill.
func (a Account) Buyer() string {
	if a.Tenant == nil || a.Tenant.BillTo == nil {
		return ""
	}
	return cmp.Or(strings.TrimSpace(a.Tenant.BillTo.Name), a.Tenant.Name)
}

// DueDate is the date until which invoices are to be paid, by the terms of the buyer or else of the seller; NoDate
// where the registry does not say whom to bill.
func (a Account) DueDate() civil.Date {
	if a.Tenant == nil || a.Tenant.BillTo == nil {
		return civil.NoDate
	}
	return a.IssueDate.Add(a.TermsDays())
}

// TermsDays is how many days there are to pay: the buyer's terms, or else the seller's.
func (a Account) TermsDays() int {
	if a.Tenant != nil && a.Tenant.BillTo != nil && a.Tenant.BillTo.TermsDays != nil {
		return int(*a.Tenant.BillTo.TermsDays)
	}
	return a.Seller.TermsDays
}

// SubscriptionName is the name of the invoiced department, or its id where it has none.
func (a Account) SubscriptionName(i Invoice) string {
	if s := a.Tenant.Subscription(i.Subscription); s != nil && s.Name != "" {
		return s.Name
	}
	return i.Subscription
}
