package export

import (
	"io"

	"apportion/billing"
)

// UBL writes ubl/INVOICE.xml.
func UBL(w io.Writer, invoice billing.Invoice, account billing.Account, seller Seller, draft bool) error {
	if account.Tenant.BillTo == nil {
		return &Refusal{Tenant: invoice.Tenant, Invoice: invoice.ID, File: "ubl/" + invoice.ID + ".xml", Code: "missing_bill_to", Field: "billTo",
			Detail: "the tenant has no address to bill", Advice: "add billTo to its registry document, apply it, and write the files again"}
	}
	_, err := io.WriteString(w, "UBL "+invoice.ID+"\n")
	return err
}
