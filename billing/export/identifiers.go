package export

import (
	"regexp"
	"slices"
	"strings"

	"apportion/billing/registry"
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
	countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV " +
		"BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES " +
		"ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE " +
		"IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY " +
		"MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU " +
		"NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM " +
		"SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE " +
		"VG VI VN VU WF WS XI YE YT ZA ZM ZW"
	currenciesWithout = "ANG BGN STN XAD"
)

func listed(list, code string) bool { return slices.Contains(strings.Fields(list), code) }

// IsCountry reports whether a code is one that invoices may name a country by, ISO 3166-1 alpha-2.
func IsCountry(code string) bool { return listed(countries, code) }

// IsVATID reports whether a VAT id begins with the country that gave it, as it must (BR-CO-09); Greece's are EL.
func IsVATID(id string) bool { return len(id) > 2 && (IsCountry(id[:2]) || id[:2] == "EL") }

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

var ibanForm = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}$`)

// IsIBAN reports whether an account number, in groups or in one, has the form and the check digits of ISO 13616: with
// its first four characters behind the others and a letter read as 10 to 35 it is 1 modulo 97.
func IsIBAN(s string) bool {
	s = strings.ReplaceAll(s, " ", "")
	return ibanForm.MatchString(s) && registry.Mod97(s[4:]+s[:4]) == 1
}

// telephoneForm and emailForm are those of XRechnung.
var (
	telephoneForm = regexp.MustCompile(`([0-9].*){3}`)
	emailForm     = regexp.MustCompile(`^[^@\s]+@([^@.\s]+\.)+[^@.\s]+$`)
)

// IsTelephone reports whether a telephone number has three digits at the least (BR-DE-27).
func IsTelephone(s string) bool { return telephoneForm.MatchString(s) }

// IsEmail reports whether there is one @ in an e-mail address, and a domain with a point behind it (BR-DE-28).
func IsEmail(s string) bool { return emailForm.MatchString(s) }
