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

// Tax categories that rules name.
const (
	standardRate  = "S"
	exempt        = "E"
	reverseCharge = "AE"
	export        = "G"
	notSubject    = "O"
)

// The countries of EN 16931 1.3.16 (BR-CL-14), and the currencies of the registry that are not on its list (BR-CL-04).
const (
	countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
		"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
		"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
		"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT " +
		"MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
		"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
		"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XI YE YT ZA ZM ZW"
	currenciesWithout = "ANG BGN STN XAD"
)

func listed(list, code string) bool { return slices.Contains(strings.Fields(list), code) }

// IsCountry reports whether a code is one that invoices may name a country by, ISO 3166-1 alpha-2.
func IsCountry(code string) bool { return listed(countries, code) }

// IsVATID reports whether a VAT id begins with the country that gave it, as it must (BR-CO-09); Greece's are EL.
func IsVATID(id string) bool { return len(id) > 2 && (IsCountry(id[:2]) || id[:2] == "EL") }

// lacks returns the first field without which the rules find the invoice invalid, and what is the matter with it:
// those of EN 16931, then those of Peppol, whose national ones depend on the seller's country; nothing where all is
// there.
func (d *deal) lacks() (field, detail string) {
	s, b := d.seller, d.buyer
	type demand struct {
		unmet         bool
		field, detail string
	}
	const absent, country = "is not there", "is not a country code of ISO 3166-1"
	const vatID = "does not begin with the code of the country that gave it (BR-CO-09)"
	demands := []demand{
		{s.name == "", "seller.name", absent},
		{!IsCountry(s.address.Country), "seller.address.country", country},
		{s.vatID == "" && !d.has(notSubject), "seller.vatId", absent},
		{s.registrationID == "" && d.has(notSubject), "seller.registrationId", "is not there, and without tax no VAT id may stand for it (BR-O-02, BR-CO-26)"},
		{s.vatID != "" && !IsVATID(s.vatID), "seller.vatId", vatID},
		{b.name == "", "billTo.name", absent},
		{!IsCountry(b.address.Country), "billTo.address.country", country},
		{b.vatID != "" && !IsVATID(b.vatID), "billTo.vatId", vatID},
		{b.vatID == "" && b.registrationID == "" && d.has(reverseCharge), "billTo.vatId", "is not there, nor is a registrationId, one of which a reverse charge needs (BR-AE-02)"},
		{slices.ContainsFunc(d.taxes, func(s billing.Subtotal) bool { return s.Tax.Reason == "" && s.Tax.Category == exempt }), "billTo.tax.reason", "is not there, and an exemption needs it (BR-E-10)"},
		{d.due > civil.NewDate(9999, 12, 31), "billTo.termsDays", "is more than there are dates"},
	}
	if d.peppol {
		const scheme, identifier = "is not an identifier scheme of Peppol", "is not an identifier of its scheme: its length or its check digit is wrong"
		demands = append(demands,
			demand{!registry.IsEndpointScheme(s.endpoint.Scheme), "seller.endpoint.scheme", scheme},
			demand{!isIdentifier(s.endpoint), "seller.endpoint.id", identifier},
			demand{!registry.IsEndpointScheme(b.endpoint.Scheme), "billTo.endpoint.scheme", scheme},
			demand{!isIdentifier(b.endpoint), "billTo.endpoint.id", identifier},
			demand{d.reference == "", "billTo.reference", "is not there, and Peppol needs it (PEPPOL-EN16931-R003)"})
		noAddress := func(a registry.Address) bool { return a.Street == "" || a.City == "" || a.Postcode == "" }
		from, to := s.address.Country, b.address.Country
		if s.vatID != "" {
			from = s.vatID[:2]
		}
		switch domestic := s.address.Country == to; {
		case s.address.Country == "SE":
			swedish := strings.HasPrefix(s.vatID, "SE")
			demands = append(demands,
				demand{swedish && !swedishVATID.MatchString(s.vatID), "seller.vatId", "is not SE and 12 digits (SE-R-001, SE-R-002)"},
				demand{s.registrationID != "" && !isIdentifier(registry.Endpoint{Scheme: "0007", ID: s.registrationID}), "seller.registrationId", "is not a Swedish organisation number of 10 digits (SE-R-004, SE-R-013)"},
				demand{swedish && slices.ContainsFunc(d.taxes, func(s billing.Subtotal) bool { return s.Tax.Category == standardRate && !isSwedishRate(s.Tax.Rate) }),
					"billTo.tax.rate", "is not 6, 12 or 25, which Sweden has (SE-R-006)"})
		case s.address.Country == "DK":
			demands = append(demands,
				demand{s.legalScheme() == "", "seller.registrationId", "is not a Danish CVR number (DK-R-002, DK-R-014)"},
				demand{domestic && b.registrationID != "" && b.legalScheme() == "", "billTo.registrationId", "is not a Danish CVR number (DK-R-017)"})
		case s.address.Country == "IS":
			demands = append(demands,
				demand{s.legalScheme() == "", "seller.registrationId", "is not an Icelandic kennitala (IS-R-002)"},
				demand{s.address.Street == "" || s.address.Postcode == "", "seller.address", "lacks street or postcode (IS-R-003)"},
				demand{domestic && b.legalScheme() == "", "billTo.registrationId", "is not an Icelandic kennitala (IS-R-004)"},
				demand{domestic && (b.address.Street == "" || b.address.Postcode == ""), "billTo.address", "lacks street or postcode (IS-R-005)"})
		case s.address.Country == "NL":
			demands = append(demands,
				demand{noAddress(s.address), "seller.address", "lacks street, city or postcode (NL-R-002)"},
				demand{s.registrationID != "" && s.legalScheme() == "", "seller.registrationId", "is neither a KVK number nor an OIN (NL-R-003)"},
				demand{domestic && noAddress(b.address), "billTo.address", "lacks street, city or postcode (NL-R-004)"},
				demand{domestic && b.registrationID != "" && b.legalScheme() == "", "billTo.registrationId", "is neither a KVK number nor an OIN (NL-R-005)"},
				demand{d.iban == "" && d.gross.IsPositive(), "seller.payment.iban", "is not there (NL-R-007)"})
		case s.address.Country == "DE" && domestic:
			demands = append(demands, demand{true, "seller.endpoint",
				"asks for Peppol between Germans, which needs a contact of the seller (DE-R-002) that the configuration has no place for; without billTo.endpoint the file is one by EN 16931"})
		}
		switch from {
		case "NO":
			vat := norwegianVATID.FindStringSubmatch(s.vatID)
			demands = append(demands, demand{s.vatID != "" && (vat == nil || !isIdentifier(registry.Endpoint{Scheme: "0192", ID: vat[1]})), "seller.vatId", "is not NO, an organisation number and MVA (NO-R-001)"})
		case "IT":
			demands = append(demands, demand{noAddress(s.address), "seller.address", "lacks street, city or postcode (IT-R-002 to IT-R-004)"})
		case "GR", "EL":
			demands = append(demands, demand{true, "seller.endpoint",
				"asks for Peppol from Greece, which needs invoice numbers of the tax office's form (GR-R-001); without billTo.endpoint the file is one by EN 16931"})
		}
	}
	for _, demand := range demands {
		if demand.unmet {
			return demand.field, demand.detail
		}
	}
	return "", ""
}

func isSwedishRate(rate decimal.Decimal) bool {
	return slices.ContainsFunc([]int64{6, 12, 25}, func(r int64) bool { return rate.Equal(decimal.NewFromInt(r)) })
}

var (
	swedishVATID   = regexp.MustCompile(`^SE\d{12}$`)
	norwegianVATID = regexp.MustCompile(`^NO(\d{9})MVA$`)
)

// identifierForms are of the schemes whose identifiers Peppol checks.
var identifierForms = map[string]*regexp.Regexp{
	"0007": regexp.MustCompile(`^\d{10}$`),        // Swedish organisation number (PEPPOL-COMMON-R049)
	"0088": regexp.MustCompile(`^\d{2,}$`),        // GLN (R040)
	"0096": regexp.MustCompile(`^\d{10}$`),        // Danish P number (R052)
	"0106": regexp.MustCompile(`^\d{8}$`),         // Dutch KVK number (R054)
	"0151": regexp.MustCompile(`^[1-9]\d{10}$`),   // Australian ABN (R050)
	"0184": regexp.MustCompile(`^(DK)?\d{8}$`),    // Danish CVR number (R042)
	"0190": regexp.MustCompile(`^\d{20}$`),        // Dutch OIN (R055)
	"0192": regexp.MustCompile(`^\d{9}$`),         // Norwegian organisation number (R041)
	"0196": regexp.MustCompile(`^\d{10}$`),        // Icelandic kennitala
	"0198": regexp.MustCompile(`^DK\d{8}$`),       // Danish SE number (R053)
	"0208": regexp.MustCompile(`^\d{10}$`),        // Belgian enterprise number (R043)
	"9944": regexp.MustCompile(`^NL\d{9}B\d{2}$`), // Dutch VAT number (R056)
}

// isIdentifier reports whether an identifier has the form and the check digit of its scheme, as far as Peppol checks
// them.
func isIdentifier(e registry.Endpoint) bool {
	form, known := identifierForms[e.Scheme]
	if !known {
		return true
	}
	if !form.MatchString(e.ID) {
		return false
	}
	// sum weighs the digits, the last first.
	sum := func(weights ...int) (sum int) {
		for i := range len(e.ID) {
			sum += int(e.ID[len(e.ID)-1-i]-'0') * weights[i%len(weights)]
		}
		return sum
	}
	switch e.Scheme {
	case "0007":
		digits := sum(1, 2)
		for i := len(e.ID) - 2; i >= 0; i -= 2 {
			if e.ID[i] > '4' {
				digits -= 9 // of a doubled digit the two digits are added up
			}
		}
		return digits%10 == 0
	case "0088":
		return sum(1, 3)%10 == 0
	case "0151":
		return (sum(19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 10)-10)%89 == 0
	case "0192":
		return sum(1, 2, 3, 4, 5, 6, 7, 2, 3)%11 == 0 && e.ID != "000000000"
	case "0208":
		number, check := 0, int(e.ID[8]-'0')*10+int(e.ID[9]-'0')
		for _, digit := range e.ID[:8] {
			number = number*10 + int(digit-'0')
		}
		return 97-number%97 == check
	}
	return true
}

// legalScheme returns the scheme of the registration id in the countries where Peppol asks for it; else "".
func (p party) legalScheme() string {
	for _, scheme := range map[string][]string{"DK": {"0184"}, "IS": {"0196"}, "NL": {"0106", "0190"}}[p.address.Country] {
		if isIdentifier(registry.Endpoint{Scheme: scheme, ID: p.registrationID}) {
			return scheme
		}
	}
	return ""
}
