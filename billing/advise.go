package billing

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// adviceWindows are the numbers of months that advice looks back over.
var adviceWindows = []int{3, 6, 12}

// Advice is what a tenant's commitments would best have been, by what it used (R14, R15, R18).
type Advice struct {
	Tenant string       `json:"tenantId"`
	AsOf   civil.Millis `json:"asOf"`
	// UsageFrom is the first date with usage while a subscription was active, nil for none, and Last the last month that
	// was over.
	UsageFrom *civil.Date `json:"usageFrom,omitempty"`
	Last      civil.Month `json:"last"`
	// Commitments are in the order of meter, subscription and months looked back over.
	Commitments []AdvisedCommitment `json:"commitments"`
	// LeftOut says what there is no advice for, or what it does not take into account.
	LeftOut []LeftOut `json:"leftOut"`
	// Assumptions are what the figures take for granted, in words.
	Assumptions []string `json:"assumptions"`
}

// LeftOut is a month, or a subscription's meter over so many months and more, that is left out, and why.
type LeftOut struct {
	Period       *civil.Month `json:"period,omitempty"`
	Subscription string       `json:"subscriptionId,omitempty"`
	Meter        string       `json:"meter,omitempty"`
	LookBack     int          `json:"lookBack,omitempty"`
	Reason       string       `json:"reason"`
}

// AdvisedCommitment is the commitment of one subscription to one meter that would have cost least over some months,
// all else as it was. All amounts are net.
type AdvisedCommitment struct {
	Meter        string `json:"meter"`
	Unit         string `json:"unit"`
	Subscription string `json:"subscriptionId"`
	// LookBack is how many months it looks back over, and Months those of them that count.
	LookBack int           `json:"lookBack"`
	Months   []civil.Month `json:"months"`
	// Committed is what it committed to in the end, and Least what would have cost least: of several the nearest to that.
	Committed int64 `json:"committed"`
	Least     int64 `json:"least"`
	// Pool is what the tenant would have been entitled to with the least, on the last date.
	Pool int64 `json:"pool"`
	// Charged is what was charged for the commitment, and for the tenant's overage that depends on it; Cost what would
	// have been, and Saved the difference.
	Charged  Money  `json:"charged"`
	Cost     Money  `json:"cost"`
	Saved    Money  `json:"saved"`
	Currency string `json:"currency"`
	// Best says that no other subscription's commitment to the meter would have saved more over the same look back.
	Best bool `json:"best"`
	// Points are the cost over the commitment, which between two of them is a straight line, but for rounding.
	Points []CostPoint `json:"points"`
}

// curveSteps is how many steps a curve is drawn in.
const curveSteps = 12

// Curve returns the points to draw, at equal steps, with the present commitment and the least among them.
func (c *AdvisedCommitment) Curve() (points []CostPoint) {
	step := curveStep(c.Points[len(c.Points)-1].Commitment)
	for _, p := range c.Points {
		if p.Commitment%step == 0 || p.Commitment == c.Committed || p.Commitment == c.Least {
			points = append(points, p)
		}
	}
	return points
}

func curveStep(end int64) int64 { return max(1, (end+curveSteps-1)/curveSteps) }

// CostPoint is what a commitment would have cost.
type CostPoint struct {
	Commitment int64 `json:"commitment"`
	// Cost is for the commitment itself, and for the overage that is left.
	CommitmentCost Money `json:"commitmentCost"`
	OverageCost    Money `json:"overageCost"`
	Cost           Money `json:"cost"`
}

// Money is an amount with the decimals of its currency.
type Money struct {
	decimal.Decimal
	MinorUnits int32
}

// String writes the amount with the decimals of its currency.
func (m Money) String() string { return m.StringFixed(m.MinorUnits) }

// MarshalJSON writes the amount as a string, so that no reader takes it for a binary fraction.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(`"` + m.String() + `"`), nil }

// assumptions are what advice takes for granted.
var assumptions = []string{
	"each row changes one commitment of one subscription, and nothing else: savings cannot be added up",
	"the commitment is the same in all months that count, and usage and prices are what they were",
	"months count that are over, from the first usage on, and in which the subscription was active",
	"amounts are net, as invoices have them, month by month and rounded (R18, R19)",
	"overage is that of the tenant's pool, whoever paid it (R15, R16); that of seats has the IVR ports' in it (R14)",
	"what was charged is by what is known now: as issued, with corrections that are still to come (R21)",
}

// MonthUsage is what a tenant used in a month.
type MonthUsage struct {
	Period civil.Month
	Usage  TenantUsage
}

// Advise looks back from now over the months of a tenant that are over and have usage or come after one that has. The
// daily figures are brought up to date first.
func (b *Biller) Advise(ctx context.Context, tenant string, nowMS int64) (*Advice, error) {
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	if _, err := b.refresh(ctx, snapshot); err != nil {
		return nil, err
	}
	t := b.State.Tenant(tenant) // tenants are never taken away
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return nil, err
	}
	last := zone.DateOf(nowMS).Month() - 1
	used, err := b.Usage.Unbilled(ctx, []string{tenant}, t.FirstActive(zone))
	if err != nil {
		return nil, fmt.Errorf("reading on which dates there is usage: %w", err)
	}
	var usageFrom *civil.Date
	first := last + 1
	if at := slices.IndexFunc(used[tenant], func(d civil.Date) bool { return t.PrimaryOn(d) != nil }); at >= 0 {
		usageFrom = &used[tenant][at]
		first = usageFrom.Month()
	}
	var months []MonthUsage
	for month := max(first, last+1-civil.Month(slices.Max(adviceWindows))); month <= last; month++ {
		figures, err := b.Usage.Load(ctx, []string{tenant}, month.First(), month.Next().First())
		if err != nil {
			return nil, fmt.Errorf("reading the usage of %s: %w", month, err)
		}
		months = append(months, MonthUsage{month, ByTenant(figures)[tenant]})
	}
	advice := Advise(t, zone, last, months, b.Rules)
	advice.AsOf, advice.UsageFrom = civil.Millis(nowMS), usageFrom
	return advice, nil
}

// Advise looks back over a tenant's months, which are in order and all over, and end with the last one. It is pure:
// each month is billed as it was, and then under other commitments of one subscription to one meter.
func Advise(tenant *registry.Tenant, zone *civil.Zone, last civil.Month, months []MonthUsage, rules Rules) *Advice {
	advice := &Advice{Tenant: tenant.ID, Last: last, Commitments: []AdvisedCommitment{}, LeftOut: []LeftOut{},
		Assumptions: assumptions}
	var billed []advisedMonth
	for _, m := range months {
		invoices, err := Bill(tenant, zone, m.Period, m.Usage, rules)
		if err != nil {
			advice.LeftOut = append(advice.LeftOut, LeftOut{Period: &m.Period, Reason: err.Error()})
			continue
		}
		billed = append(billed, newAdvisedMonth(newBill(tenant, zone, m.Period, m.Usage, rules), invoices))
	}
	var subscriptions []*registry.Subscription
	for i := range tenant.Subscriptions {
		subscriptions = append(subscriptions, &tenant.Subscriptions[i])
	}
	slices.SortFunc(subscriptions, func(x, y *registry.Subscription) int { return cmp.Compare(x.ID, y.ID) })
	for _, meter := range schemas.PooledMeters {
		concerned := false
		for _, s := range subscriptions {
			c := newCommitment(s, meter, billed, rules)
			concerned = concerned || c.concerns()
			advice.add(c, last)
		}
		over := func(m advisedMonth) bool { return m.over(meter) }
		if !concerned && slices.ContainsFunc(billed, over) {
			advice.LeftOut = append(advice.LeftOut,
				LeftOut{Meter: meter, Reason: "no subscription has a commitment price for it"})
		}
	}
	slices.SortStableFunc(advice.Commitments, func(x, y AdvisedCommitment) int { return cmp.Compare(x.Meter, y.Meter) })
	advice.markBest()
	return advice
}

// add looks back with a commitment over each of the windows. What is of no concern is passed over.
func (a *Advice) add(c *commitment, last civil.Month) {
	if !c.concerns() {
		return
	}
	said := ""
	for _, lookBack := range adviceWindows {
		months := c.since(last + 1 - civil.Month(lookBack))
		if len(months) == 0 {
			continue
		}
		reason := c.unadvisable(months)
		if reason == "" {
			var advised *AdvisedCommitment
			if advised, reason = c.advise(months, lookBack); advised != nil {
				a.Commitments = append(a.Commitments, *advised)
			}
		}
		if reason != "" && reason != said {
			a.LeftOut = append(a.LeftOut, LeftOut{Subscription: c.subscription.ID, Meter: c.meter, LookBack: lookBack,
				Reason: reason})
			said = reason
		}
	}
}

// markBest marks, for each meter and look back, the commitment whose change would have saved most.
func (a *Advice) markBest() {
	type question struct {
		meter    string
		lookBack int
	}
	best := map[question]*AdvisedCommitment{}
	for i := range a.Commitments {
		c := &a.Commitments[i]
		q := question{c.Meter, c.LookBack}
		if c.Saved.IsPositive() && (best[q] == nil || c.Saved.GreaterThan(best[q].Saved.Decimal)) {
			best[q] = c
		}
	}
	for _, c := range best {
		c.Best = true
	}
}

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
