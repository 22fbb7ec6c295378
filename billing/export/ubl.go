package export

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// UBL writes an invoice as UBL 2.1 by EN 16931; to a German buyer by XRechnung 3.0 when the seller's contact, a
// reference of the buyer's and where the buyer takes invoices are known, and else by Peppol BIS Billing 3.0 when the
// endpoints of seller and buyer are both known. The account is that of the invoice's tenant. A draft says so in its
// number and in a note. The error is a *Refusal, with nothing written, when the buyer, the seller or the currency lets
// no valid file be made.
func UBL(w io.Writer, invoice billing.Invoice, account billing.Account, draft bool) error {
	p, refusal := newInvoiceParties(invoice, account)
	if refusal != nil {
		return refusal
	}
	text, err := xml.MarshalIndent(p.document(draft), "", "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, xml.Header+string(text)+"\n")
	return err
}

// party is a seller or a buyer with the spaces around its words gone, since the rules take what is blank for absent.
type party struct {
	name                  string
	address               registry.Address
	vatID, registrationID string
	endpoint              registry.Endpoint
}

func newParty(name string, a registry.Address, vatID, registrationID string, endpoint *registry.Endpoint) party {
	p := party{
		name:  strings.TrimSpace(name),
		vatID: strings.Join(strings.Fields(vatID), ""), registrationID: strings.TrimSpace(registrationID),
		address: registry.Address{Street: strings.TrimSpace(a.Street), City: strings.TrimSpace(a.City),
			Postcode: strings.TrimSpace(a.Postcode), Country: a.Country},
	}
	if endpoint != nil {
		p.endpoint = registry.Endpoint{Scheme: strings.TrimSpace(endpoint.Scheme), ID: strings.TrimSpace(endpoint.ID)}
	}
	return p
}

// invoiceParties are who sells what to whom, on which terms.
type invoiceParties struct {
	invoice       billing.Invoice
	seller, buyer party
	// xrechnung and peppol say which rules hold besides those of EN 16931; both are never true.
	xrechnung, peppol bool
	contact           *billing.Contact
	// reference is what the buyer finds the invoice by: the Leitweg-ID, if there is one, which leaves the buyer's own
	// reference to stand as that of an order.
	reference, order string
	iban             string
	account          billing.Account
	taxes            []billing.Subtotal
	vat, gross       decimal.Decimal
	issued, due      civil.Date
}

// newInvoiceParties puts seller and buyer together, or says what is missing for a valid file.
func newInvoiceParties(invoice billing.Invoice, account billing.Account) (*invoiceParties, *Refusal) {
	seller := account.Seller
	refuse := func(code schemas.Code, field, message string) *Refusal {
		return &Refusal{invoice.Tenant, invoice.ID, "ubl/" + invoice.ID + ".xml", code, field, message, code.Advice()}
	}
	// First, since no buyer would help.
	if invoice.MinorUnits > 2 || listed(currenciesWithout, invoice.Currency) {
		return nil, refuse(schemas.UnsupportedCurrency, "subscriptions["+invoice.Subscription+"].currency",
			fmt.Sprintf("is %s, which EN 16931 does not have: it takes the codes of its own list, with at most two decimals",
				invoice.Currency))
	}
	if account.Tenant == nil || account.Tenant.BillTo == nil {
		return nil, refuse(schemas.MissingBillTo, "billTo", absent)
	}
	b := account.Tenant.BillTo
	if b.Tax == nil {
		return nil, refuse(schemas.MissingBillTo, "billTo.tax", absent)
	}
	taxes, vat, gross := account.Taxes(invoice)
	p := &invoiceParties{
		invoice: invoice,
		seller:  newParty(seller.Name, seller.Address, seller.VATID, seller.RegistrationID, seller.Endpoint),
		buyer:   newParty(account.Buyer(), b.Address, b.VATID, b.RegistrationID, b.Endpoint),
		iban:    strings.Join(strings.Fields(seller.IBAN), ""), reference: strings.TrimSpace(b.Reference),
		contact: seller.Contact, issued: account.IssueDate,
		account: account, taxes: taxes, vat: vat, gross: gross,
	}
	if p.has(notSubject) && len(taxes) > 1 {
		return nil, refuse(schemas.UnsupportedTax, "billTo.tax",
			"makes some of the invoice not subject to tax (O) and the rest otherwise, which no e-invoice can say (BR-O-11)")
	}
	p.address(strings.TrimSpace(b.LeitwegID))
	p.due = account.DueDate()
	if p.has(notSubject) { // which forbids them (BR-O-02)
		p.seller.vatID, p.buyer.vatID = "", ""
	}
	if field, message := p.missing(); strings.HasPrefix(field, "seller.") {
		return nil, refuse(schemas.MissingSeller, field, message)
	} else if field != "" {
		return nil, refuse(schemas.MissingBillTo, field, message)
	}
	return p, nil
}

// address says where the invoice goes, and by which rules.
func (p *invoiceParties) address(leitwegID string) {
	if leitwegID != "" {
		p.reference, p.order = leitwegID, p.reference
		if p.buyer.endpoint.ID == "" {
			p.buyer.endpoint = registry.Endpoint{Scheme: leitwegScheme, ID: leitwegID}
		}
	}
	p.xrechnung = p.buyer.address.Country == "DE" && p.contact != nil && p.reference != "" && p.buyer.endpoint.ID != ""
	if p.xrechnung && p.seller.endpoint.ID == "" {
		p.seller.endpoint = registry.Endpoint{Scheme: emailScheme, ID: p.contact.Email}
	}
	p.peppol = !p.xrechnung && p.seller.endpoint.ID != "" && p.buyer.endpoint.ID != ""
}

// Schemes of electronic addresses, the last of which Peppol does not have.
const (
	leitwegScheme = "0204"
	emailScheme   = "EM"
)

// The elements of UBL, as far as they are used, in the order that its schema has them.
type ublInvoice struct {
	XMLName         xml.Name       `xml:"Invoice"`
	Namespace       string         `xml:"xmlns,attr"`
	CAC             string         `xml:"xmlns:cac,attr"`
	CBC             string         `xml:"xmlns:cbc,attr"`
	CustomizationID string         `xml:"cbc:CustomizationID"`
	ProfileID       string         `xml:"cbc:ProfileID,omitempty"`
	ID              string         `xml:"cbc:ID"`
	IssueDate       civil.Date     `xml:"cbc:IssueDate"`
	DueDate         civil.Date     `xml:"cbc:DueDate"`
	TypeCode        string         `xml:"cbc:InvoiceTypeCode"`
	Note            string         `xml:"cbc:Note,omitempty"`
	Currency        string         `xml:"cbc:DocumentCurrencyCode"`
	BuyerReference  string         `xml:"cbc:BuyerReference,omitempty"`
	Period          ublPeriod      `xml:"cac:InvoicePeriod"`
	Order           *ublOrder      `xml:"cac:OrderReference"`
	Corrected       []ublReference `xml:"cac:BillingReference"`
	Contract        string         `xml:"cac:ContractDocumentReference>cbc:ID"`
	Seller          ublParty       `xml:"cac:AccountingSupplierParty>cac:Party"`
	Buyer           ublParty       `xml:"cac:AccountingCustomerParty>cac:Party"`
	Payment         *ublPayment    `xml:"cac:PaymentMeans"`
	Tax             ublTaxTotal    `xml:"cac:TaxTotal"`
	Total           ublTotal       `xml:"cac:LegalMonetaryTotal"`
	Lines           []ublLine      `xml:"cac:InvoiceLine"`
}

type ublPeriod struct {
	Start civil.Date `xml:"cbc:StartDate"`
	End   civil.Date `xml:"cbc:EndDate"` // inclusive
}

type ublOrder struct {
	ID string `xml:"cbc:ID"`
}

type ublReference struct {
	ID string `xml:"cac:InvoiceDocumentReference>cbc:ID"`
}

type ublID struct {
	Scheme string `xml:"schemeID,attr,omitempty"`
	Value  string `xml:",chardata"`
}

type ublParty struct {
	Endpoint         *ublID      `xml:"cbc:EndpointID"`
	Address          ublAddress  `xml:"cac:PostalAddress"`
	VAT              *ublVATID   `xml:"cac:PartyTaxScheme"`
	RegistrationName string      `xml:"cac:PartyLegalEntity>cbc:RegistrationName"`
	RegistrationID   *ublID      `xml:"cac:PartyLegalEntity>cbc:CompanyID"`
	Contact          *ublContact `xml:"cac:Contact"`
}

type ublContact struct {
	Name      string `xml:"cbc:Name"`
	Telephone string `xml:"cbc:Telephone"`
	Email     string `xml:"cbc:ElectronicMail"`
}

type ublAddress struct {
	Street   string `xml:"cbc:StreetName,omitempty"`
	City     string `xml:"cbc:CityName,omitempty"`
	Postcode string `xml:"cbc:PostalZone,omitempty"`
	Country  string `xml:"cac:Country>cbc:IdentificationCode"`
}

type ublVATID struct {
	ID     string `xml:"cbc:CompanyID"`
	Scheme string `xml:"cac:TaxScheme>cbc:ID"`
}

type ublPayment struct {
	Code    string `xml:"cbc:PaymentMeansCode"`
	ID      string `xml:"cbc:PaymentID"`
	Account string `xml:"cac:PayeeFinancialAccount>cbc:ID"`
}

type ublAmount struct {
	Currency string `xml:"currencyID,attr"`
	Value    string `xml:",chardata"`
}

type ublTaxTotal struct {
	Amount    ublAmount        `xml:"cbc:TaxAmount"`
	Subtotals []ublTaxSubtotal `xml:"cac:TaxSubtotal"`
}

type ublTaxSubtotal struct {
	Taxable  ublAmount `xml:"cbc:TaxableAmount"`
	Amount   ublAmount `xml:"cbc:TaxAmount"`
	Category ublTax    `xml:"cac:TaxCategory"`
}

type ublTax struct {
	Category   string `xml:"cbc:ID"`
	Percent    string `xml:"cbc:Percent,omitempty"`
	ReasonCode string `xml:"cbc:TaxExemptionReasonCode,omitempty"`
	Reason     string `xml:"cbc:TaxExemptionReason,omitempty"`
	Scheme     string `xml:"cac:TaxScheme>cbc:ID"`
}

type ublTotal struct {
	Lines        ublAmount `xml:"cbc:LineExtensionAmount"`
	TaxExclusive ublAmount `xml:"cbc:TaxExclusiveAmount"`
	TaxInclusive ublAmount `xml:"cbc:TaxInclusiveAmount"`
	Payable      ublAmount `xml:"cbc:PayableAmount"`
}

type ublQuantity struct {
	Unit  string `xml:"unitCode,attr"`
	Value string `xml:",chardata"`
}

type ublLine struct {
	ID           int          `xml:"cbc:ID"`
	Note         string       `xml:"cbc:Note,omitempty"`
	Quantity     ublQuantity  `xml:"cbc:InvoicedQuantity"`
	Amount       ublAmount    `xml:"cbc:LineExtensionAmount"`
	Period       *ublPeriod   `xml:"cac:InvoicePeriod"`
	Name         string       `xml:"cac:Item>cbc:Name"`
	Meter        string       `xml:"cac:Item>cac:SellersItemIdentification>cbc:ID"`
	Tax          ublTax       `xml:"cac:Item>cac:ClassifiedTaxCategory"`
	Price        ublAmount    `xml:"cac:Price>cbc:PriceAmount"`
	BaseQuantity *ublQuantity `xml:"cac:Price>cbc:BaseQuantity"`
}

// document makes the whole of it.
func (p *invoiceParties) document(draft bool) *ublInvoice {
	i := p.invoice
	u := &ublInvoice{
		Namespace:       "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2",
		CAC:             "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
		CBC:             "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
		CustomizationID: "urn:cen.eu:en16931:2017",
		ID:              i.ID, IssueDate: p.issued, DueDate: p.due,
		TypeCode: "380", // also when what is corrected makes the total negative
		Currency: i.Currency, BuyerReference: p.reference,
		Period:   *period(i.Period.First(), i.Period.Next().First()),
		Contract: i.Subscription,
		Seller:   p.ublParty(p.seller), Buyer: p.ublParty(p.buyer),
		Tax:   ublTaxTotal{Amount: p.amount(p.vat)},
		Total: ublTotal{p.amount(i.Total), p.amount(i.Total), p.amount(p.gross), p.amount(p.gross)},
	}
	for _, s := range p.taxes {
		u.Tax.Subtotals = append(u.Tax.Subtotals, ublTaxSubtotal{p.amount(s.Net), p.amount(s.Amount), p.category(s.Tax)})
	}
	switch {
	case p.xrechnung:
		u.CustomizationID += "#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0"
	case p.peppol:
		u.CustomizationID += "#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0"
	}
	if p.xrechnung || p.peppol {
		u.ProfileID = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"
	}
	if p.order != "" {
		u.Order = &ublOrder{p.order}
	}
	u.Seller.Contact = (*ublContact)(p.contact)
	if draft {
		u.ID = "DRAFT-" + u.ID
		u.Note = "DRAFT. Not issued: the figures may still change, and nothing is to be paid."
	}
	if p.iban != "" {
		u.Payment = &ublPayment{p.paymentCode(), u.ID, p.iban}
	}
	for _, l := range i.Lines {
		u.Lines = append(u.Lines, p.line(l))
		if reference := (ublReference{l.CorrectedInvoice()}); l.Corrects != "" && !slices.Contains(u.Corrected, reference) {
			u.Corrected = append(u.Corrected, reference)
		}
	}
	return u
}

// paymentCode is a credit transfer, which Peppol lets Danes call by no name but SEPA's between themselves (DK-R-005).
func (p *invoiceParties) paymentCode() string {
	if p.seller.address.Country == "DK" && p.buyer.address.Country == "DK" {
		return "58"
	}
	return "30"
}

func (p *invoiceParties) amount(a decimal.Decimal) ublAmount {
	return ublAmount{p.invoice.Currency, p.invoice.Money(a)}
}

func period(from, to civil.Date) *ublPeriod { return &ublPeriod{from, to.Add(-1)} }

func (p *invoiceParties) ublParty(of party) ublParty {
	u := ublParty{RegistrationName: of.name, Address: ublAddress(of.address)}
	if p.xrechnung || p.peppol {
		u.Endpoint = &ublID{of.endpoint.Scheme, of.endpoint.ID}
	}
	if of.vatID != "" {
		u.VAT = &ublVATID{of.vatID, "VAT"}
	}
	if of.registrationID != "" {
		u.RegistrationID = &ublID{of.legalScheme(), of.registrationID}
	}
	return u
}

// lineTax is the category of a line; what is not subject to tax has no rate (BR-O-05).
func lineTax(of registry.Tax) ublTax {
	t := ublTax{Category: of.Category, Scheme: "VAT"}
	if t.Category != notSubject {
		t.Percent = of.Rate.String()
	}
	return t
}

// category is that of a subtotal, with the reason why there is no tax. An exemption has no one code, the rest have.
func (p *invoiceParties) category(of registry.Tax) ublTax {
	t := lineTax(of)
	if p.xrechnung { // which has a rate even for what is not subject to tax (BR-DE-14)
		t.Percent = of.Rate.String()
	}
	t.Reason = of.Reason
	switch t.Category {
	case reverseCharge, export, notSubject:
		t.ReasonCode = "VATEX-EU-" + t.Category
	}
	return t
}

// line writes a line so that its amount is exactly quantity × price / base quantity, to whatever accuracy it is worked
// out again: where rounding (R19) lets that be with no other price, the price of the whole quantity is the amount.
func (p *invoiceParties) line(l billing.Line) ublLine {
	note := []string{l.Note}
	if at := l.PeakAt(); at != "" {
		note = append(note, "peak at "+at)
	}
	u := ublLine{
		ID: l.No, Amount: p.amount(l.Amount), Period: period(l.From, l.To),
		Name: itemName(l), Meter: l.Meter, Tax: lineTax(*p.account.TaxOf(p.invoice, l)),
	}
	quantity, price, base := l.Quantity, l.UnitPrice.Decimal, decimal.NewFromInt(1)
	switch days := p.invoice.Period.Days(); {
	case l.Kind == billing.Adjustment:
		// A price cannot be negative (BR-27), and the dates are outside those of the invoice (PEPPOL-EN16931-R110).
		quantity, price = decimal.NewFromInt(1), l.Amount.Abs()
		if l.Amount.IsNegative() {
			quantity = quantity.Neg()
		}
		u.Period = nil
		note = append([]string{"corrects " + l.Corrects}, note...)
	case l.Kind == billing.Commitment && l.Days != days:
		quantity, base = quantity.Mul(decimal.NewFromInt(int64(l.Days))), decimal.NewFromInt(int64(days))
	}
	if !quantity.Mul(price).Equal(l.Amount.Mul(base)) {
		if l.Kind == billing.Overage { // the notes of the others have it
			note = append(note, "unit price "+price.String())
		}
		price, base = l.Amount, quantity
	}
	u.Note = strings.Join(slices.DeleteFunc(note, func(s string) bool { return s == "" }), "; ")
	u.Quantity = ublQuantity{"C62", quantity.String()}
	u.Price = ublAmount{p.invoice.Currency, price.String()}
	if !base.Equal(decimal.NewFromInt(1)) {
		u.BaseQuantity = &ublQuantity{"C62", base.String()}
	}
	return u
}

// itemName says in words what a line is for.
func itemName(l billing.Line) string {
	name := l.Meter
	switch kind, word, _ := strings.Cut(l.Meter, "."); kind {
	case schemas.AgentStandard:
		name = "Standard agent seats"
	case schemas.AgentPremium:
		name = "Premium agent seats"
	case schemas.IVRPort:
		name = "IVR ports"
	case "connect":
		name = "Connect " + word
	case "addon":
		name = "Add-on " + word
	}
	switch l.Kind {
	case billing.Commitment:
		name += ", committed"
	case billing.UsageKind:
		name += ", used, for information"
	case billing.Overage:
		name += ", overage"
	case billing.Adjustment:
		name += ", adjustment of " + string(l.CorrectsKind) + ", " + l.From.Month().String()
	}
	return name
}
