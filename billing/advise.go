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
	for _, meter := range slices.Sorted(slices.Values(schemas.PooledMeters)) {
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
