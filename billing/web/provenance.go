package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/billing/web/access"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Provenance is what there is to know of an issued invoice besides its lines, as it was at the issue (R20).
type Provenance struct {
	ID       string       `json:"invoiceId"`
	Tenant   string       `json:"tenantId"`
	TimeZone string       `json:"timeZone"`
	IssuedAt civil.Millis `json:"issuedAt" doc:"When it was issued."`
	AuthType string       `json:"authType,omitempty" doc:"user, or service; none where not known."`
	AuthID   string       `json:"authId,omitempty" doc:"Who issued it."`
	DueDate  civil.Date   `json:"dueDate,omitzero" doc:"To be paid by then; not known without whom to bill."`
	// Seller and Buyer are those that the files show.
	Seller billing.Seller   `json:"seller"`
	Buyer  *registry.BillTo `json:"buyer,omitempty" doc:"None where the registry did not say whom to bill."`
	Basis  service.Basis    `json:"basis"`
	// CorrectedBy are the adjustments of later invoices for its period (R21). What it corrects itself its lines say.
	CorrectedBy []billing.InvoiceLine `json:"correctedBy" doc:"The adjustments of later invoices for its period (R21)."`
	Files       []InvoiceForm         `json:"files" doc:"The forms that the invoice can be had in, by Accept."`
}

// InvoiceForm is one of the forms of an invoice.
type InvoiceForm struct {
	Name   string `json:"name"`
	Type   string `json:"type" doc:"The media type, for Accept."`
	Size   int    `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Code and Message say why it cannot be made.
	Code    schemas.Code `json:"code,omitempty" doc:"Why it cannot be made; none where it can."`
	Message string       `json:"message,omitempty"`
}

type provenanceOutput struct{ Body Provenance }

func (s *Server) getProvenance(ctx context.Context, scope access.Scope, in *InvoicePath) (*provenanceOutput, error) {
	of, err := in.issued(ctx, s, scope)
	if err != nil {
		return nil, err
	}
	a := of.Account
	p := Provenance{ID: of.Invoice.ID, Tenant: of.Tenant.ID, TimeZone: of.Tenant.TimeZone,
		IssuedAt: civil.Millis(of.Issue.AtMS), AuthType: of.Issue.By.Type, AuthID: of.Issue.By.ID, DueDate: a.DueDate(),
		Seller: a.Seller, Basis: service.Basis{Issued: true, Basis: of.Issue.Basis.Basis}, Files: []InvoiceForm{}}
	if a.Tenant != nil && a.Tenant.BillTo != nil {
		buyer := *a.Tenant.BillTo
		buyer.Name = a.Buyer()
		p.Buyer = &buyer
	}
	if p.CorrectedBy, err = s.Invoices.CorrectedBy(ctx, of); err != nil {
		return nil, err
	}
	for _, form := range []struct{ ending, mediaType string }{
		{".pdf", typePDF}, {".xml", typeUBL}, {".csv", typeCSV}, {".json", typeJSON},
	} {
		file := InvoiceForm{Name: of.Invoice.ID + form.ending, Type: form.mediaType}
		content, err := contentOf(of, form.mediaType)
		var refusal *export.Refusal
		switch {
		case errors.As(err, &refusal):
			file.Code, file.Message = refusal.Code, refusal.Field+" "+refusal.Message+"; "+refusal.Advice
		case err != nil:
			return nil, err
		default:
			sum := sha256.Sum256(content)
			file.Size, file.SHA256 = len(content), hex.EncodeToString(sum[:])
		}
		p.Files = append(p.Files, file)
	}
	return &provenanceOutput{p}, nil
}

// contentOf returns an invoice in one of its forms.
func contentOf(of service.IssuedInvoice, mediaType string) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch mediaType {
	case typePDF:
		err = export.PDF(&b, of.Invoice, of.Account, false)
	case typeUBL, typeXML:
		err = export.UBL(&b, of.Invoice, of.Account, false)
	case typeCSV:
		err = export.LinesCSV(&b, of.Run())
	default:
		err = jsonFormat.Marshal(&b, of.Account.JSON(of.Invoice, false))
	}
	return b.Bytes(), err
}
