package export

import (
	"fmt"
	"strings"

	"apportion/billing"
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

// Notices say of a run's tenants, a line each, whose e-invoices are written and are not XRechnung although what asks
// for it is known.
func Notices(run *billing.Run) (notices []string) {
	looked := map[string]bool{}
	for _, i := range run.Invoices {
		if looked[i.Tenant] {
			continue
		}
		p, refusal := newInvoiceParties(i, run.Accounts[i.Tenant])
		if refusal != nil {
			continue
		}
		looked[i.Tenant] = true
		if field, advice := p.lacksForXRechnung(); field != "" {
			notices = append(notices, fmt.Sprintf("%s: ubl/%s.xml is not XRechnung: %s is not there; %s",
				i.Tenant, i.ID, field, advice))
		}
	}
	return notices
}

// lacksForXRechnung returns what keeps an invoice from being XRechnung that has a Leitweg-ID, or a reference and whom
// to ask; nothing where it is, or nothing asks for it.
func (p *invoiceParties) lacksForXRechnung() (field, advice string) {
	switch {
	case p.xrechnung || p.buyer.address.Country != "DE":
		return "", ""
	case p.contact == nil && strings.TrimSpace(p.account.Tenant.BillTo.LeitwegID) != "":
		return "seller.contact", "configure it, for what is issued from then on"
	case p.contact != nil && p.reference != "":
		return "billTo.endpoint", "complete the registry document and apply it, for what is issued from then on"
	}
	return "", ""
}
