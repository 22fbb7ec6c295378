// Package timeline has what the registry says of a tenant as step functions of the instant. The registry's rules are by
// date and write them; aggregation looks them up, in Go and in SQL, and so needs no rules of its own about who is
// active, primary or mapped.
package timeline

import (
	"cmp"
	"math"
	"sort"

	"apportion/schemas/civil"
)

// Start is where every timeline begins: before any instant that an event can have, and far enough from the ends of
// int64 that differences do not overflow.
const Start int64 = math.MinInt64 / 2

// Step says that a value holds from an instant, in UTC epoch milliseconds, until the next step.
type Step[V comparable] struct {
	FromMS int64
	Value  V
}

// Line is a value over all of time: steps in order, the first at [Start], no two neighbours equal. An empty one is the
// zero value throughout.
type Line[V comparable] []Step[V]

// At returns the value at an instant, in UTC epoch milliseconds.
func (l Line[V]) At(ms int64) (value V) {
	if after := sort.Search(len(l), func(i int) bool { return l[i].FromMS > ms }); after > 0 {
		return l[after-1].Value
	}
	return value
}

// Mapping is what an agent's sessions take from the registry when they start: the subscription of R10.2, "" when there
// is none, and whether they are premium when they name no class (R9).
type Mapping struct {
	Subscription string
	Premium      bool
}

// EntitlementOf says who may use what: a subscription, or with "" the tenant as a whole, and a meter.
type EntitlementOf struct{ Subscription, Meter string }

// Compare is the order of the ids, then of the meters.
func (e EntitlementOf) Compare(o EntitlementOf) int {
	return cmp.Or(cmp.Compare(e.Subscription, o.Subscription), cmp.Compare(e.Meter, o.Meter))
}

// Tenant is what the registry says of one tenant.
type Tenant struct {
	// Zone is the time zone that its dates are in.
	Zone *civil.Zone
	// Primary is the primary subscription (R4), "" while there is none.
	Primary Line[string]
	// Active says when each subscription is active (R3); one that is not here is unknown (R10).
	Active map[string]Line[bool]
	// Agents and EntryPoints have the oldest active subscription that each is mapped to, "" while there is none (R10).
	Agents      map[string]Line[Mapping]
	EntryPoints map[string]Line[string]
	// Entitlements are how much each may use at once (R14).
	Entitlements map[EntitlementOf]Line[int64]
}
