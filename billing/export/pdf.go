package export

import (
	"io"

	"apportion/billing"
	"apportion/billing/export/pdf"
	"apportion/schemas"
)

// PDF writes an invoice for people. The error is a *[Refusal] where the tenant or the configuration does not say who
// buys or who sells.
func PDF(w io.Writer, invoice billing.Invoice, account billing.Account, draft bool) error {
	refuse := func(code schemas.Code, field string) error {
		return &Refusal{Tenant: invoice.Tenant, Invoice: invoice.ID, File: "pdf/" + invoice.ID + ".pdf",
			Code: code, Field: field, Message: absent, Advice: code.Advice()}
	}
	switch {
	case account.Tenant == nil || account.Tenant.BillTo == nil:
		return refuse(schemas.MissingBillTo, "billTo")
	case account.Seller.Name == "":
		return refuse(schemas.MissingSeller, "seller.name")
	case account.Seller.Address.Country == "":
		return refuse(schemas.MissingSeller, "seller.address.country")
	}
	return pdf.Write(w, invoice, account, draft)
}
