package billing

import (
	"math/big"

	"github.com/shopspring/decimal"
)

// roundQuotient returns amount / divisor rounded once, half to even, to a number of decimal places (R19). The
// quotient is never written down before it is rounded: a proration by 31 days has no finite decimal form.
// Neither amount nor divisor may be negative, and the divisor not 0.
func roundQuotient(amount decimal.Decimal, divisor int64, places int32) decimal.Decimal {
	// In units of the last place the amount is coefficient × 10^exponent.
	scaled := amount.Shift(places)
	numerator, denominator := scaled.Coefficient(), big.NewInt(divisor)
	ten := big.NewInt(10)
	if e := int64(scaled.Exponent()); e >= 0 {
		numerator.Mul(numerator, new(big.Int).Exp(ten, big.NewInt(e), nil))
	} else {
		denominator.Mul(denominator, new(big.Int).Exp(ten, big.NewInt(-e), nil))
	}
	quotient, remainder := numerator.QuoRem(numerator, denominator, new(big.Int))
	switch remainder.Lsh(remainder, 1).Cmp(denominator) {
	case +1:
		quotient.Add(quotient, big.NewInt(1))
	case 0:
		quotient.Add(quotient, big.NewInt(int64(quotient.Bit(0))))
	}
	return decimal.NewFromBigInt(quotient, -places)
}
