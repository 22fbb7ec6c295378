// Package aggregate turns deliveries into daily usage: it finds which delivery of an event wins (R8), gives
// each event its meter and subscription (R9, R10, R11), and measures every date of every tenant (R12, R13).
//
// The work itself is done by SQL, in aggregate/clickhouse, which reads usage_events and writes
// usage_daily; billing closes its months from that. This package has the shapes that pass between them,
// and the same computation in plain Go: revisions.go, attribute.go and peak.go are the readable reference that
// the SQL is tested against, and what explains a single figure. What the registry says comes in as [Timelines],
// so that neither has rules of its own about who is active, primary or mapped.
package aggregate

import (
	"slices"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
	"apportion/schemas/timeline"
)

// EndOfTime is the `now` of R12 at which every open session has lasted as long as it may. An issue's clock, the
// end of the grace, is that for every session of its period, so stored days are computed at it.
const EndOfTime int64 = 1 << 62

// Timelines are what the registry says of some tenants, by id. A tenant that is not here is unknown, and its dates are
// those of UTC (R22).
type Timelines map[string]Timeline

// Timeline is what the registry says of one tenant.
type Timeline struct {
	Zone *civil.Zone
	// Lines computes the rest when it is first asked for: of ten thousand tenants a pass or a bill needs a few.
	Lines func() timeline.Tenant
}

// Known is the timeline of a tenant whose lines have been computed.
func Known(t timeline.Tenant) Timeline { return Timeline{t.Zone, func() timeline.Tenant { return t }} }

// Zone returns the time zone of a tenant, nil where it is unknown.
func (t Timelines) Zone(tenant string) *civil.Zone { return t[tenant].Zone }

// Day is a date of a tenant: `[FromMS, ToMS)` in UTC epoch milliseconds. A date that the zone skips is no Day.
type Day struct {
	Tenant       string
	Date         civil.Date
	FromMS, ToMS int64
}

// ReadBound says which deliveries are looked at: those that the ledger covers up to the positions and whose Kafka
// timestamp, in UTC epoch milliseconds, is at most ArrivedBy ([EndOfTime]: whenever they arrived).
type ReadBound struct {
	Positions []Position
	ArrivedBy int64
}

// Has reports whether a delivery is within the bound.
func (b ReadBound) Has(d Delivery) bool {
	return d.ArrivedMS <= b.ArrivedBy && slices.ContainsFunc(b.Positions, func(p Position) bool {
		return p.Topic == d.Topic && int(p.Partition) == int(d.Partition) && d.Offset <= p.LastOffset
	})
}

// Inputs are what figures are computed from.
type Inputs struct {
	// Days are whole dates of the tenants; those of a tenant are together, and in order.
	Days      []Day
	Bound     ReadBound
	Timelines Timelines
	Rules     Rules
	// NowMS is the `now` of R12, in UTC epoch milliseconds.
	NowMS int64
	// Pass is one that the stored figures of the days are of, or of an earlier one, by the same inputs; 0 for none. What
	// no later pass has written since need not be computed again.
	Pass uint64
}

// Usage is what one subscription, or the tenant as a whole where Subscription is empty, used of one meter on
// one date.
type Usage struct {
	Tenant       string
	Date         civil.Date
	Meter        string
	Subscription string
	// Peak is the greatest concurrency at any instant of the date (R13), and PeakMS the earliest instant that
	// attains it; 0 where Peak is 0.
	Peak   int64
	PeakMS int64
	// Events counts the sessions that start on the date, or the Connect events.
	Events int64
	// Milliseconds of live sessions that fall on the date.
	Milliseconds int64
	// Units of Connect.
	Units decimal.Decimal
	// Agents counts the distinct agents with a session that starts on the date (R15).
	Agents int64
}

// Balance says what became of deliveries, and what is to be reported of their events (R22). Each delivery is
// in exactly one of Counted, Duplicate, Superseded, Voided, Unallocated and UnknownTenant.
type Balance struct {
	Accepted      int64 `json:"accepted"`
	Counted       int64 `json:"counted"`
	Duplicate     int64 `json:"duplicate"`
	Superseded    int64 `json:"superseded"`
	Voided        int64 `json:"voided"`
	Unallocated   int64 `json:"unallocated"`
	UnknownTenant int64 `json:"unknownTenant"`

	Unmapped            int64 `json:"unmapped"`
	OpenSessions        int64 `json:"openSession"`
	UnknownSubscription int64 `json:"unknownSubscription"`
	Conflicts           int64 `json:"conflicts"`
}

// Add returns the sum of two balances.
func (b Balance) Add(o Balance) Balance {
	return Balance{
		b.Accepted + o.Accepted, b.Counted + o.Counted, b.Duplicate + o.Duplicate, b.Superseded + o.Superseded,
		b.Voided + o.Voided, b.Unallocated + o.Unallocated, b.UnknownTenant + o.UnknownTenant,
		b.Unmapped + o.Unmapped, b.OpenSessions + o.OpenSessions, b.UnknownSubscription + o.UnknownSubscription,
		b.Conflicts + o.Conflicts,
	}
}

// Difference is how many deliveries are accepted and in none of the other classes: 0 when it balances (R22).
func (b Balance) Difference() int64 {
	return b.Accepted - b.Counted - b.Duplicate - b.Superseded - b.Voided - b.Unallocated - b.UnknownTenant
}

// Figures are usage and balance of some dates of some tenants.
type Figures struct {
	// Usage is in the order of tenant, date, meter and subscription.
	Usage []Usage
	// Agents counts the distinct agents with a session that starts on any of the dates of a month (R15, named tenants).
	Agents map[AgentsOf]int64
	// Balances is in the order of tenant and date.
	Balances []DayBalance
	// Unproved says of tenants on which dates, and how, the figures do not agree with the deliveries (R22).
	Unproved map[string][]string
}

// Proof is what a date of a tenant has, counted from the deliveries as stored (R22). One with Faults alone may be of a
// date of UTC, or of a tenant that the registry does not know.
type Proof struct {
	Tenant string
	Date   civil.Date
	// Deliveries are the distinct records on Kafka, Events those whose winner (R8) is on the date.
	Deliveries, Events int64
	// Faults say, in words, what is wrong with what is derived from the deliveries.
	Faults []string
}

// Profile is the concurrency of a tenant as a whole over one date (R13): the picture behind a peak.
type Profile struct {
	Tenant string
	Date   civil.Date
	// Meter is a metered agent or IVR meter; one without anybody live on the date has no profile.
	Meter string
	// Points are in the order of time: one for each stretch of ProfileStep that begins within the date, the first at
	// its beginning.
	Points []ProfilePoint
}

// ProfilePoint is the greatest concurrency in the stretch from AtMS (UTC epoch milliseconds) until the next, or the
// end of the date; 0 where nobody is live.
type ProfilePoint struct{ AtMS, Live int64 }

// ProfileStep is the length of a stretch of a Profile, in milliseconds.
const ProfileStep int64 = 10 * 60_000

// AgentsOf says whose distinct agents are counted, and of which month; Subscription is empty for the tenant as a whole.
type AgentsOf struct {
	Tenant              string
	Period              civil.Month
	Meter, Subscription string
}
