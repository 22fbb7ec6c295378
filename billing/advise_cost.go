package billing

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// advisedMonth is a month as it was billed.
type advisedMonth struct {
	*bill
	invoices []Invoice
	demands  map[string]demand
	entitled map[string][]int64
}

func newAdvisedMonth(b *bill, invoices []Invoice) advisedMonth {
	m := advisedMonth{b, invoices, map[string]demand{}, map[string][]int64{}}
	for _, meter := range schemas.PooledMeters {
		m.demands[meter], m.entitled[meter] = b.demand(meter), b.entitlements(meter)
	}
	return m
}

// commitment is one subscription's to one meter, over the months in which the subscription is active.
type commitment struct {
	subscription *registry.Subscription
	meter        string
	places       int32
	months       []committedMonth
}

// committedMonth is a month with what a commitment means in it.
type committedMonth struct {
	advisedMonth
	// parts are the versions of the month, each at its price over its days (R18).
	parts []committedPart
	pools []pool
}

type committedPart struct {
	version *registry.Version
	price   decimal.Decimal
	priced  bool
	days    int64
}

// pool is a meter's whose entitlement depends on the commitment: on the dates of active it is perUnit for each unit
// committed to, on top of the rest, which is there in any case.
type pool struct {
	meter   string
	perUnit int64
	rest    []int64
	active  []bool
}

func newCommitment(s *registry.Subscription, meter string, billed []advisedMonth, rules Rules) *commitment {
	places, _ := registry.MinorUnits(s.Currency)
	c := &commitment{subscription: s, meter: meter, places: places}
	perUnit := map[string]int64{meter: 1}
	if meter != schemas.IVRPort && rules.IVRPortFactor > 0 {
		perUnit[schemas.IVRPort] = rules.IVRPortFactor // every seat brings ports (R14)
	}
	for _, m := range billed {
		month := committedMonth{advisedMonth: m}
		for _, v := range versions(s) {
			from, to := m.inForce(s, v)
			if days, _, _ := s.ActiveDates(from, to); days > 0 {
				price, priced := v.Prices.Commitment[meter]
				month.parts = append(month.parts, committedPart{v, price, priced, int64(days)})
			}
		}
		if len(month.parts) == 0 || !slices.Contains(m.active, s) {
			continue
		}
		for _, pooled := range schemas.PooledMeters {
			if perUnit[pooled] > 0 {
				month.pools = append(month.pools, m.poolWithout(s, meter, pooled, perUnit[pooled]))
			}
		}
		c.months = append(c.months, month)
	}
	return c
}

// poolWithout is a pool without what a subscription's commitment brings into it.
func (m advisedMonth) poolWithout(s *registry.Subscription, committed, pooled string, perUnit int64) pool {
	p := pool{pooled, perUnit, slices.Clone(m.entitled[pooled]), make([]bool, len(m.dates))}
	for i, date := range m.dates {
		if p.active[i] = s.ActiveOn(date); p.active[i] {
			p.rest[i] -= perUnit * s.VersionOn(date).Commitments[committed]
		}
	}
	return p
}

// concerns reports whether anything was committed to, or could have been where there was overage.
func (c *commitment) concerns() bool {
	return slices.ContainsFunc(c.months, func(m committedMonth) bool {
		over := m.over(c.meter)
		return slices.ContainsFunc(m.parts, func(p committedPart) bool {
			return p.version.Commitments[c.meter] > 0 || over && p.priced
		})
	})
}

// over reports whether overage of a meter was charged.
func (m advisedMonth) over(meter string) bool {
	return slices.ContainsFunc(m.invoices, func(i Invoice) bool {
		return slices.ContainsFunc(i.Lines, func(l Line) bool { return l.Kind == Overage && l.Meter == meter })
	})
}

// since returns the months from one on.
func (c *commitment) since(from civil.Month) []committedMonth {
	return slices.DeleteFunc(slices.Clone(c.months), func(m committedMonth) bool { return m.period < from })
}

// unadvisable says why nothing can be said about the commitment over some months; "" where it can.
func (c *commitment) unadvisable(months []committedMonth) string {
	if c.subscription.Billing == registry.Prepaid {
		return "it is prepaid, so what its commitments cost is not known here"
	}
	for _, m := range months {
		for _, p := range m.parts {
			if !p.priced {
				return fmt.Sprintf("its version of %s has no commitment price for it", p.version.From)
			}
		}
		for _, primary := range m.primary {
			if primary != nil && primary.Currency != c.subscription.Currency {
				return fmt.Sprintf("its commitments are in %s, and overage is charged in %s on %s",
					c.subscription.Currency, primary.Currency, primary.ID)
			}
		}
	}
	return ""
}

// advise looks back over some months, of which there is at least one. It says which price was missing for commitments
// that were therefore not looked at, "" for none, and returns nil where that is all of them.
func (c *commitment) advise(months []committedMonth, lookBack int) (advised *AdvisedCommitment, unpriced string) {
	last := months[len(months)-1].parts
	advised = &AdvisedCommitment{Meter: c.meter, Unit: unitOf(c.meter), Subscription: c.subscription.ID,
		LookBack: lookBack, Currency: c.subscription.Currency, Committed: last[len(last)-1].version.Commitments[c.meter]}
	charged := decimal.Zero
	for _, m := range months {
		advised.Months = append(advised.Months, m.period)
		charged = charged.Add(c.charged(m))
	}
	advised.Charged = c.money(charged)
	if advised.Points, unpriced = c.points(months, advised.Committed); len(advised.Points) == 0 {
		return nil, unpriced
	}
	least := advised.Points[0]
	away := func(p CostPoint) int64 { return max(p.Commitment-advised.Committed, advised.Committed-p.Commitment) }
	for _, p := range advised.Points[1:] {
		if d := p.Cost.Cmp(least.Cost.Decimal); d < 0 || d == 0 && away(p) < away(least) {
			least = p
		}
	}
	advised.Least, advised.Cost = least.Commitment, least.Cost
	advised.Pool = months[len(months)-1].poolAtEnd(c.meter, least.Commitment)
	advised.Saved = c.money(charged.Sub(least.Cost.Decimal))
	return advised, unpriced
}

func (c *commitment) money(amount decimal.Decimal) Money { return Money{amount, c.places} }

// charged is what a month's invoices have for the commitment and for the overage that depends on it.
func (c *commitment) charged(m committedMonth) decimal.Decimal {
	sum := decimal.Zero
	for _, i := range m.invoices {
		for _, l := range i.Lines {
			if l.Kind == Commitment && l.Meter == c.meter && i.Subscription == c.subscription.ID ||
				l.Kind == Overage && slices.ContainsFunc(m.pools, func(p pool) bool { return p.meter == l.Meter }) {
				sum = sum.Add(l.Amount)
			}
		}
	}
	return sum
}

// poolAtEnd is the pool of a meter on the last date of the month, with so much committed to.
func (m committedMonth) poolAtEnd(meter string, n int64) int64 {
	p := m.pools[slices.IndexFunc(m.pools, func(p pool) bool { return p.meter == meter })]
	return p.entitled(n)[len(p.rest)-1]
}

// entitled is the pool on each date, with so much committed to.
func (p pool) entitled(n int64) []int64 {
	entitled := slices.Clone(p.rest)
	for i := range entitled {
		if p.active[i] {
			entitled[i] += n * p.perUnit
		}
	}
	return entitled
}

// points returns the cost at every commitment next to which the curve can bend, at the present one, at those that are
// drawn, and beyond the greatest of them, where no more overage can be saved.
func (c *commitment) points(months []committedMonth, committed int64) (points []CostPoint, unpriced string) {
	at := []int64{0, committed}
	for _, m := range months {
		for _, p := range m.pools {
			at = append(at, m.bends(p)...)
		}
	}
	most := slices.Max(at)
	end := most + max(1, most/5)
	for n := int64(0); n <= end; n += curveStep(end) {
		at = append(at, n)
	}
	at = append(at, end)
	slices.Sort(at)
	for _, n := range slices.Compact(at) {
		if n < 0 {
			continue
		}
		point, missing := c.cost(months, n)
		if missing == "" {
			points = append(points, point)
		}
		unpriced = cmp.Or(unpriced, missing)
	}
	return points, unpriced
}

// bends returns the commitments next to where a month's overage, drawn over the commitment, changes its slope or its
// price: where the dates with the commitment need no more than those without it, and where nothing is needed.
func (m committedMonth) bends(p pool) []int64 {
	d := m.demands[p.meter]
	var with, without int64
	first := true
	for i := range m.dates {
		figure := p.rest[i] // of distinct agents the greatest entitlement counts, of peaks the greatest excess
		switch {
		case m.primary[i] == nil:
			continue
		case !d.distinctAgents:
			figure = d.peaks[i].Peak - p.rest[i]
		}
		switch {
		case !p.active[i]:
			without = max(without, figure)
		case first || figure > with:
			with, first = figure, false
		}
	}
	if d.distinctAgents {
		return append(wholeAround(without-with, p.perUnit), wholeAround(d.agents-with, p.perUnit)...)
	}
	return wholeAround(with-without, p.perUnit)
}

// wholeAround returns the whole numbers that are the last before, at, and the first after a quotient that is not
// negative.
func wholeAround(n, divisor int64) []int64 {
	if n < 0 {
		return nil
	}
	q := n / divisor
	if n%divisor != 0 {
		return []int64{q, q + 1}
	}
	return []int64{q - 1, q, q + 1}
}

// cost is what a commitment would have cost over some months, line by line as an invoice has it (R18, R19); or the
// price that is missing.
func (c *commitment) cost(months []committedMonth, n int64) (point CostPoint, unpriced string) {
	committed, over := decimal.Zero, decimal.Zero
	for _, m := range months {
		for _, p := range m.parts {
			full := decimal.NewFromInt(n).Mul(p.price).Mul(decimal.NewFromInt(p.days))
			committed = committed.Add(roundQuotient(full, int64(m.period.Days()), c.places))
		}
		for _, p := range m.pools {
			o := m.overage(m.demands[p.meter], p.entitled(n))
			if o.quantity <= 0 {
				continue
			}
			version := o.payer.VersionOn(o.date)
			price, priced := version.Prices.Overage[p.meter]
			if !priced {
				return point, fmt.Sprintf("commitments that would have needed an overage price for %s of %s, version of %s, "+
					"are not looked at: it has none", p.meter, o.payer.ID, version.From)
			}
			over = over.Add(roundQuotient(decimal.NewFromInt(o.quantity).Mul(price), 1, c.places))
		}
	}
	return CostPoint{n, c.money(committed), c.money(over), c.money(committed.Add(over))}, ""
}
