package registry

import (
	"regexp"
	"slices"
	"strings"

	"apportion/schemas"
)

// endpointSchemes are the identifier schemes of Peppol BIS Billing 3.0.21 (PEPPOL-EN16931-CL008).
const endpointSchemes = "" +
	"0002 0007 0009 0060 0088 0096 0097 0106 0130 0135 0142 0151 0183 0184 0188 0190 0191 0192 0195 0196 0198 0199 " +
	"0200 0201 0204 0208 0209 0210 0211 0216 0218 0221 0225 0230 0235 0240 0242 0244 0245 0246 0248 9910 9913 9914 " +
	"9915 9918 9919 9920 9922 9923 9924 9925 9926 9927 9928 9929 9930 9931 9932 9933 9934 9935 9936 9937 9938 9939 " +
	"9940 9941 9942 9943 9944 9945 9946 9947 9948 9949 9950 9951 9952 9953 9957 9959"

// IsEndpointScheme reports whether Peppol knows an identifier scheme.
func IsEndpointScheme(scheme string) bool {
	return slices.Contains(strings.Fields(endpointSchemes), scheme)
}

// leitwegForm is a coarse address, mostly a fine one, and two check digits.
var leitwegForm = regexp.MustCompile(`^[0-9]{2,12}(-[A-Za-z0-9]{1,30})?-[0-9]{2}$`)

// isLeitwegID reports whether an identifier has the form and the check digits of a Leitweg-ID (ISO/IEC 7064, MOD
// 97-10).
func isLeitwegID(id string) bool {
	return leitwegForm.MatchString(id) && Mod97(strings.ToUpper(strings.ReplaceAll(id, "-", ""))) == 1
}

// Mod97 is the rest of a number modulo 97; a capital letter in it is read as 10 to 35.
func Mod97(number string) int {
	rest := 0
	for _, r := range number {
		if r >= 'A' {
			rest = (rest*100 + int(r-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(r-'0')) % 97
		}
	}
	return rest
}

// withdrawnCurrencies are those that Peppol BIS Billing 3.0.21 removed of the currencies there still are here: invoices
// of earlier months may have to be corrected.
const withdrawnCurrencies = "ANG BGN"

// withdrawn refuses what no new document may say any more. It is no reason to refuse a command of the log, which may
// have been given while it was allowed.
func (c *checker) withdrawn(t *Tenant) {
	for _, s := range t.Subscriptions {
		if slices.Contains(strings.Fields(withdrawnCurrencies), s.Currency) {
			c.refuse(schemas.InvalidCurrency, tenantPath(t.ID)+".subscriptions["+s.ID+"].currency", s.Currency,
				"withdrawn, and invoices can no longer be sent in it; "+
					"a new subscription in the currency that replaced it goes on")
		}
	}
	if t.BillTo == nil || t.BillTo.Endpoint == nil {
		return
	}
	if scheme := strings.TrimSpace(t.BillTo.Endpoint.Scheme); scheme != "" && !IsEndpointScheme(scheme) {
		c.refuse(schemas.InvalidField, tenantPath(t.ID)+".billTo.endpoint.scheme", scheme,
			"not an identifier scheme of Peppol (BIS Billing 3.0.21); write one of its code list EAS, such as 0007")
	}
}
