package export

import (
	"io"

	"apportion/billing"
	"apportion/billing/export/pdf"
)

// PDF writes an invoice for people. The error is a *[Refusal] where the tenant or the configuration does not say who
// buys or who sells.
func PDF(w io.Writer, invoice billing.Invoice, account billing.Account, draft bool) error {
	refuse := func(code, field, advice string) error {
		return &Refusal{Tenant: invoice.Tenant, Invoice: invoice.ID, File: "pdf/" + invoice.ID + ".pdf",
			Code: code, Field: field, Message: absent, Advice: advice}
	}
	switch {
	case account.Tenant == nil || account.Tenant.BillTo == nil:
		return refuse(missingBillTo, "billTo", inRegistry)
	case account.Seller.Name == "":
		return refuse(missingSeller, "seller.name", inConfiguration)
	case account.Seller.Address.Country == "":
		return refuse(missingSeller, "seller.address.country", inConfiguration)
	}
	return pdf.Write(w, invoice, account, draft)
}
