package registry

import "strings"

// currencies are the alphabetic codes of ISO 4217 that have minor units, by how many decimals those are. The
// codes that have none (gold, test codes and the like) are left out, which is how they are refused. ANG and
// BGN were withdrawn in 2025 and 2026; they stay because invoices of earlier months may still be corrected.
var currencies = func() map[string]int32 {
	codes := make(map[string]int32)
	for decimals, list := range map[int32]string{
		0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
		2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD " +
			"CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS " +
			"GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL " +
			"MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK " +
			"PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS " +
			"TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG",
		3: "BHD IQD JOD KWD LYD OMR TND",
		4: "CLF UYW",
	} {
		for code := range strings.FieldsSeq(list) {
			codes[code] = decimals
		}
	}
	return codes
}()

// MinorUnits returns how many decimals a currency's amounts have; false for what is not an ISO 4217 code, and
// for the codes to which ISO 4217 gives no minor units.
func MinorUnits(currency string) (int32, bool) {
	decimals, ok := currencies[currency]
	return decimals, ok
}
