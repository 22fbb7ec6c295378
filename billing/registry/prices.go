package registry

import (
	"maps"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/schemas/civil"
)

// PriceChange is that somebody put a document in place of a tenant's that may have other prices.
type PriceChange struct {
	Tenant        string
	before, after *Tenant // before is nil for a tenant that was new
}

// PriceChanges returns the documents of all tenants that somebody, by the id of an [Actor], put in place of others by
// commands that were accepted, after the first n commands. It returns how many there are now, to go on after. What kind
// of actor gave them does not matter: a person has the same id in a browser and with a token of the issuer.
func (h *History) PriceChanges(by string, n int) (changes []PriceChange, next int) {
	for ; n < len(h.steps); n++ {
		s, tenant := h.steps[n], h.steps[n].command.TenantID
		if s.command.Command == PutTenant && s.command.By.ID == by && s.after.Base(tenant) == s.offset {
			changes = append(changes, PriceChange{tenant, h.after(n).Tenant(tenant), s.after.Tenant(tenant)})
		}
	}
	return changes, n
}

// In reports whether other prices are in use on any date of a period since the change.
func (c PriceChange) In(period civil.Month) bool {
	return !maps.EqualFunc(pricesIn(c.before, period), pricesIn(c.after, period), Prices.equal)
}

// priced is from when on a price list of a subscription is used.
type priced struct {
	subscription string
	from         civil.Date
}

// pricesIn returns the price lists that a tenant uses in a period: each from the first of its dates in it.
func pricesIn(t *Tenant, period civil.Month) map[priced]Prices {
	lists := map[priced]Prices{}
	if t == nil {
		return lists
	}
	first, end := period.First(), period.Next().First()
	for _, s := range t.Subscriptions {
		versions := slices.Clone(s.Versions)
		slices.SortFunc(versions, func(a, b Version) int { return int(a.From - b.From) })
		for i, v := range versions {
			if v.From < end && (i+1 == len(versions) || versions[i+1].From > first) {
				lists[priced{s.ID, max(v.From, first)}] = v.Prices
			}
		}
	}
	return lists
}

func (p Prices) equal(other Prices) bool {
	same := func(a, b map[string]decimal.Decimal) bool { return maps.EqualFunc(a, b, decimal.Decimal.Equal) }
	return same(p.Commitment, other.Commitment) && same(p.Overage, other.Overage) && same(p.Connect, other.Connect)
}
