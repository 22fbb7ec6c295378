package billing

import (
	"math/big"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

func TestRoundQuotient(t *testing.T) {
	for _, c := range []struct {
		amount  string
		divisor int64
		places  int32
		want    string
	}{
		{"0.125", 1, 2, "0.12"},
		{"0.135", 1, 2, "0.14"},
		{"0.1250000000001", 1, 2, "0.13"},
		{"1", 3, 2, "0.33"},
		{"2", 3, 2, "0.67"},
		{"310", 31, 2, "10"},
		{"15.5", 31, 0, "0"},
		{"46.5", 31, 0, "2"},
		{"77.5", 31, 0, "2"},
		{"1e6", 1, 0, "1000000"},
		{"0", 31, 3, "0"},
		// The greatest quantity at the greatest price with the last decimals of both.
		{"999999999999.999999", 1, 3, "1000000000000"},
	} {
		if got := roundQuotient(decimal.RequireFromString(c.amount), c.divisor,
			c.places); !got.Equal(decimal.RequireFromString(c.want)) {
			t.Errorf("%s / %d to %d places is %s, want %s", c.amount, c.divisor, c.places, got, c.want)
		}
	}
}

// TestRoundQuotientIsHalfToEven holds R19 by its definition, in exact fractions: the result has the places asked for,
// is at most half a unit away, and where it is half a unit away it is even.
func TestRoundQuotientIsHalfToEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		divisor := rapid.Int64Range(1, 31).Draw(t, "divisor")
		places := rapid.Int32Range(0, 4).Draw(t, "places")
		exponent := rapid.Int32Range(-12, 3).Draw(t, "exponent")
		coefficient := rapid.Int64Range(0, 1<<40).Draw(t, "coefficient")
		if rapid.Bool().Draw(t, "tie") {
			// Half a unit of the last place after the division, which chance would seldom find.
			coefficient, exponent = divisor*5*(2*rapid.Int64Range(0, 1000).Draw(t, "half")+1), -places-1
		}
		amount := decimal.New(coefficient, exponent)
		got := roundQuotient(amount, divisor, places)

		unit := decimal.New(1, -places).Rat()
		inUnits := new(big.Rat).Quo(got.Rat(), unit)
		if !inUnits.IsInt() {
			t.Fatalf("%s / %d to %d places is %s, which has more", amount, divisor, places, got)
		}
		exact := new(big.Rat).Quo(amount.Rat(), new(big.Rat).SetInt64(divisor))
		away := new(big.Rat).Sub(got.Rat(), exact)
		switch away.Abs(away).Mul(away, big.NewRat(2, 1)).Cmp(unit) {
		case +1:
			t.Fatalf("%s / %d to %d places is %s, more than half a unit away", amount, divisor, places, got)
		case 0:
			if inUnits.Num().Bit(0) != 0 {
				t.Fatalf("%s / %d to %d places is %s, half a unit away and odd", amount, divisor, places, got)
			}
		}
	})
}
