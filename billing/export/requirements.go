package export

import (
	"regexp"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// requirement is a field of the seller's configuration or of the buyer's document without which the rules find an
// invoice invalid.
type requirement struct {
	field, message string
	unmet          func(p *invoiceParties) bool
}

// What is the matter with a field, where several have the same.
const (
	absent        = "is not there"
	noCountry     = "is not a country code of ISO 3166-1"
	noVATID       = "does not begin with the code of the country that gave it (BR-CO-09)"
	noScheme      = "is not an identifier scheme of Peppol"
	noIdentifier  = "is not an identifier of its scheme: its length or its check digit is wrong"
	noDutchNumber = "is neither a KVK number nor an OIN"
)

// en16931 is what every e-invoice needs (EN 16931).
var en16931 = []requirement{
	{"seller.name", absent, func(p *invoiceParties) bool { return p.seller.name == "" }},
	{"seller.address.country", noCountry, func(p *invoiceParties) bool { return !IsCountry(p.seller.address.Country) }},
	{"seller.vatId", absent, func(p *invoiceParties) bool { return p.seller.vatID == "" && !p.has(notSubject) }},
	{"seller.registrationId", "is not there, and without tax no VAT id may stand for it (BR-O-02, BR-CO-26)",
		func(p *invoiceParties) bool { return p.seller.registrationID == "" && p.has(notSubject) }},
	{"seller.vatId", noVATID, func(p *invoiceParties) bool { return p.seller.vatID != "" && !IsVATID(p.seller.vatID) }},
	{"billTo.name", absent, func(p *invoiceParties) bool { return p.buyer.name == "" }},
	{"billTo.address.country", noCountry, func(p *invoiceParties) bool { return !IsCountry(p.buyer.address.Country) }},
	{"billTo.vatId", noVATID, func(p *invoiceParties) bool { return p.buyer.vatID != "" && !IsVATID(p.buyer.vatID) }},
	{"billTo.vatId", "is not there, nor is a registrationId, one of which a reverse charge needs (BR-AE-02)",
		func(p *invoiceParties) bool {
			return p.buyer.vatID == "" && p.buyer.registrationID == "" && p.has(reverseCharge)
		}},
	{"billTo.tax.reason", "is not there, and an exemption needs it (BR-E-10)",
		func(p *invoiceParties) bool {
			return p.taxed(func(t registry.Tax) bool { return t.Category == exempt && t.Reason == "" })
		}},
	{"billTo.termsDays", "is more than there are dates",
		func(p *invoiceParties) bool { return p.due > civil.NewDate(9999, 12, 31) }},
}

// endpoints is what Peppol and XRechnung need of electronic addresses.
var endpoints = []requirement{
	{"seller.endpoint.scheme", noScheme, func(p *invoiceParties) bool {
		return p.seller.endpoint.Scheme != emailScheme && !registry.IsEndpointScheme(p.seller.endpoint.Scheme)
	}},
	{"seller.endpoint.id", noIdentifier, func(p *invoiceParties) bool { return !isIdentifier(p.seller.endpoint) }},
	{"billTo.endpoint.scheme", noScheme,
		func(p *invoiceParties) bool { return !registry.IsEndpointScheme(p.buyer.endpoint.Scheme) }},
	{"billTo.endpoint.id", noIdentifier, func(p *invoiceParties) bool { return !isIdentifier(p.buyer.endpoint) }},
}

// xrechnung is what XRechnung 3.0 needs besides.
var xrechnung = []requirement{
	{"seller.address.city", absent + forXRechnung + "(BR-DE-3)",
		func(p *invoiceParties) bool { return p.seller.address.City == "" }},
	{"seller.address.postcode", absent + forXRechnung + "(BR-DE-4)",
		func(p *invoiceParties) bool { return p.seller.address.Postcode == "" }},
	{"seller.contact.telephone", "has not three digits" + forXRechnung + "(BR-DE-27)",
		func(p *invoiceParties) bool { return !IsTelephone(p.contact.Telephone) }},
	{"seller.contact.email", "is no e-mail address" + forXRechnung + "(BR-DE-28)",
		func(p *invoiceParties) bool { return !IsEmail(p.contact.Email) }},
	{"seller.payment.iban", absent + forXRechnung + "(BR-DE-1)", func(p *invoiceParties) bool { return p.iban == "" }},
	{"billTo.address.city", absent + forXRechnung + "(BR-DE-8)",
		func(p *invoiceParties) bool { return p.buyer.address.City == "" }},
	{"billTo.address.postcode", absent + forXRechnung + "(BR-DE-9)",
		func(p *invoiceParties) bool { return p.buyer.address.Postcode == "" }},
}

const forXRechnung = ", and XRechnung needs it "

// peppol is what Peppol BIS Billing 3.0 needs besides.
var peppol = []requirement{
	{"billTo.reference", "is not there, and Peppol needs it (PEPPOL-EN16931-R003)",
		func(p *invoiceParties) bool { return p.reference == "" }},
}

// peppolFrom is what Peppol needs of sellers in a country.
var peppolFrom = map[string][]requirement{
	"SE": {
		{"seller.vatId", "is not SE and 12 digits (SE-R-001, SE-R-002)",
			func(p *invoiceParties) bool {
				return p.seller.swedishVAT() && !swedishVATID.MatchString(p.seller.vatID)
			}},
		{"seller.registrationId", "is not a Swedish organisation number of 10 digits (SE-R-004, SE-R-013)",
			func(p *invoiceParties) bool {
				return p.seller.registrationID != "" &&
					!isIdentifier(registry.Endpoint{Scheme: "0007", ID: p.seller.registrationID})
			}},
		{"billTo.tax.rate", "is not 6, 12 or 25, which Sweden has (SE-R-006)",
			func(p *invoiceParties) bool {
				return p.seller.swedishVAT() &&
					p.taxed(func(t registry.Tax) bool { return t.Category == standardRate && !isSwedishRate(t.Rate) })
			}},
	},
	"DK": {
		{"seller.registrationId", "is not a Danish CVR number (DK-R-002, DK-R-014)",
			func(p *invoiceParties) bool { return p.seller.legalScheme() == "" }},
		{"billTo.registrationId", "is not a Danish CVR number (DK-R-017)",
			func(p *invoiceParties) bool {
				return p.domestic() && p.buyer.registrationID != "" && p.buyer.legalScheme() == ""
			}},
	},
	"IS": {
		{"seller.registrationId", "is not an Icelandic kennitala (IS-R-002)",
			func(p *invoiceParties) bool { return p.seller.legalScheme() == "" }},
		{"seller.address", "lacks street or postcode (IS-R-003)",
			func(p *invoiceParties) bool { return p.seller.address.Street == "" || p.seller.address.Postcode == "" }},
		{"billTo.registrationId", "is not an Icelandic kennitala (IS-R-004)",
			func(p *invoiceParties) bool { return p.domestic() && p.buyer.legalScheme() == "" }},
		{"billTo.address", "lacks street or postcode (IS-R-005)",
			func(p *invoiceParties) bool {
				return p.domestic() && (p.buyer.address.Street == "" || p.buyer.address.Postcode == "")
			}},
	},
	"NL": {
		{"seller.address", "lacks street, city or postcode (NL-R-002)",
			func(p *invoiceParties) bool { return p.seller.partAddress() }},
		{"seller.registrationId", noDutchNumber + " (NL-R-003)",
			func(p *invoiceParties) bool { return p.seller.registrationID != "" && p.seller.legalScheme() == "" }},
		{"billTo.address", "lacks street, city or postcode (NL-R-004)",
			func(p *invoiceParties) bool { return p.domestic() && p.buyer.partAddress() }},
		{"billTo.registrationId", noDutchNumber + " (NL-R-005)",
			func(p *invoiceParties) bool {
				return p.domestic() && p.buyer.registrationID != "" && p.buyer.legalScheme() == ""
			}},
		{"seller.payment.iban", "is not there (NL-R-007)",
			func(p *invoiceParties) bool { return p.iban == "" && p.gross.IsPositive() }},
	},
	"DE": {
		{"seller.contact", "is not there, and needed between Germans (DE-R-002); with it the file is one by XRechnung",
			(*invoiceParties).domestic},
	},
}

// peppolVAT is what Peppol needs of sellers whose VAT id, or else whose address, is of a country.
var peppolVAT = map[string][]requirement{
	"NO": {
		{"seller.vatId", "is not NO, an organisation number and MVA (NO-R-001)",
			func(p *invoiceParties) bool { return p.seller.vatID != "" && !isNorwegianVATID(p.seller.vatID) }},
	},
	"IT": {
		{"seller.address", "lacks street, city or postcode (IT-R-002 to IT-R-004)",
			func(p *invoiceParties) bool { return p.seller.partAddress() }},
	},
	"GR": greek,
	"EL": greek,
}

var greek = []requirement{
	{"seller.endpoint", "asks for Peppol from Greece, which needs invoice numbers of the tax office's form (GR-R-001); " +
		"without billTo.endpoint the file is one by EN 16931",
		func(*invoiceParties) bool { return true }},
}

// missing returns the first field without which the rules find the invoice invalid, and what is the matter with it:
// those of EN 16931, then those of XRechnung, or of Peppol and its national ones; nothing where all is there.
func (p *invoiceParties) missing() (field, message string) {
	required := en16931
	if p.xrechnung {
		required = slices.Concat(required, xrechnung, endpoints)
	}
	if p.peppol {
		from := p.seller.address.Country
		vat := from
		if p.seller.vatID != "" {
			vat = p.seller.vatID[:2]
		}
		required = slices.Concat(required, endpoints, peppol, peppolFrom[from], peppolVAT[vat])
	}
	for _, r := range required {
		if r.unmet(p) {
			return r.field, r.message
		}
	}
	return "", ""
}

// taxed reports whether any of the invoice has a tax that is so.
func (p *invoiceParties) taxed(is func(registry.Tax) bool) bool {
	return slices.ContainsFunc(p.taxes, func(s billing.Subtotal) bool { return is(s.Tax) })
}

// has reports whether any of the invoice is of a tax category.
func (p *invoiceParties) has(category string) bool {
	return p.taxed(func(t registry.Tax) bool { return t.Category == category })
}

// domestic reports whether seller and buyer are in one country.
func (p *invoiceParties) domestic() bool { return p.seller.address.Country == p.buyer.address.Country }

// partAddress reports whether the address lacks a part of it.
func (p party) partAddress() bool {
	return p.address.Street == "" || p.address.City == "" || p.address.Postcode == ""
}

func (p party) swedishVAT() bool { return strings.HasPrefix(p.vatID, "SE") }

// legalScheme returns the scheme of the registration id in the countries where Peppol asks for it; else "".
func (p party) legalScheme() string {
	for _, scheme := range map[string][]string{"DK": {"0184"}, "IS": {"0196"}, "NL": {"0106", "0190"}}[p.address.Country] {
		if isIdentifier(registry.Endpoint{Scheme: scheme, ID: p.registrationID}) {
			return scheme
		}
	}
	return ""
}

func isSwedishRate(rate decimal.Decimal) bool {
	return slices.ContainsFunc([]int64{6, 12, 25}, func(r int64) bool { return rate.Equal(decimal.NewFromInt(r)) })
}

var (
	swedishVATID   = regexp.MustCompile(`^SE\d{12}$`)
	norwegianVATID = regexp.MustCompile(`^NO(\d{9})MVA$`)
)

func isNorwegianVATID(id string) bool {
	number := norwegianVATID.FindStringSubmatch(id)
	return number != nil && isIdentifier(registry.Endpoint{Scheme: "0192", ID: number[1]})
}
