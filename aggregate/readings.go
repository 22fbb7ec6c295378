package aggregate

import (
	"math"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// Reading is what one subscription, or a tenant as a whole, used of one meter on a date or in a month.
type Reading struct {
	ReadingKey
	// Peak is the greatest concurrency at any instant (R13), PeakMS the earliest instant that attains it, in UTC epoch
	// milliseconds, 0 where Peak is 0, and Entitled what was committed on the date of it (R14).
	Peak, PeakMS, Entitled int64
	// Events counts the sessions that start then, or the Connect events, and Agents the distinct agents with such a
	// session: of a month those of all its dates together.
	Events, Agents int64
	// Milliseconds of live sessions, those of open ones as at an issue (R12), and Units of Connect.
	Milliseconds int64
	Units        decimal.Decimal
}

// ReadingKey orders readings: by date or month, as the numbers that civil has, meter and subscription, which is empty
// for the tenant as a whole.
type ReadingKey struct {
	At                  int64
	Meter, Subscription string
}

// BeforeReadings is before every key.
var BeforeReadings = ReadingKey{At: math.MinInt64}

// ReadingFilter asks for readings of a tenant, of the dates `[From, To)`.
type ReadingFilter struct {
	Tenant   string
	From, To civil.Date
	// ByMonth asks for months, of the dates within the range alone.
	ByMonth bool
	// Meter and Subscription are empty for all; then those of the tenant as a whole are among them.
	Meter, Subscription string
	// After is the key that they follow, and Limit how many there are at the most.
	After ReadingKey
	Limit int
}

// CurveFilter says which curves of a tenant are asked for: of one meter, and of its subscriptions or else of the tenant
// as a whole.
type CurveFilter struct {
	Meter          string
	BySubscription bool
}
