package billing_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// adviceWorld is a tenant with the months that it used something in, drawn at random.
type adviceWorld struct {
	tenant *registry.Tenant
	months []billing.MonthUsage
	// whole says that nothing is rounded: prices can be divided by the days of any of the months.
	whole bool
}

// drawAdviceWorld draws subscriptions that begin, end and change within the months, and peaks or agents.
func drawAdviceWorld(r *rapid.T) adviceWorld {
	w := adviceWorld{whole: rapid.Bool().Draw(r, "whole")}
	first := civil.NewMonth(2026, rapid.IntRange(1, 9).Draw(r, "first"))
	n := rapid.IntRange(1, 7).Draw(r, "months")
	date := func(name string) civil.Date {
		m := first + civil.Month(rapid.IntRange(-2, n).Draw(r, name))
		return m.First().Add(rapid.IntRange(0, 27).Draw(r, name+" day"))
	}
	w.tenant = &registry.Tenant{ID: "acme", Name: "x", TimeZone: "UTC", Telephony: "vpop"}
	model := rapid.SampledFrom([]string{registry.Concurrent, registry.Named}).Draw(r, "model")
	for i := range rapid.IntRange(1, 3).Draw(r, "subscriptions") {
		s := registry.Subscription{ID: fmt.Sprint("Sub", i), Name: "x", LicenceModel: model, Plan: "flex",
			Deployment: "cloud", Currency: "SEK", Billing: registry.Monthly, Cancelled: civil.NoDate}
		from := date("term")
		to := max(from+1, date("end"))
		s.Terms = []registry.Term{{From: from, To: to}}
		s.Versions = []registry.Version{w.drawVersion(r, from)}
		if change := date("change"); change > from {
			s.Versions = append(s.Versions, w.drawVersion(r, change))
		}
		w.tenant.Subscriptions = append(w.tenant.Subscriptions, s)
	}
	for m := first; m < first+civil.Month(n); m++ {
		w.months = append(w.months, billing.MonthUsage{Period: m, Usage: drawPeaks(r, m)})
	}
	return w
}

func (w adviceWorld) drawVersion(r *rapid.T, from civil.Date) registry.Version {
	prices := func(name string) map[string]decimal.Decimal {
		list := map[string]decimal.Decimal{}
		for _, meter := range schemas.PooledMeters {
			if w.whole {
				list[meter] = decimal.NewFromInt(28 * 30 * 31 * rapid.Int64Range(0, 9).Draw(r, name))
			} else {
				list[meter] = decimal.New(rapid.Int64Range(0, 9_000_000).Draw(r, name), -6)
			}
		}
		return list
	}
	small := func(meter string) int64 { return rapid.Int64Range(0, 9).Draw(r, meter) }
	return registry.Version{From: from,
		Commitments: map[string]int64{schemas.AgentStandard: small("seats"), schemas.AgentPremium: small("premium"),
			schemas.IVRPort: small("ports")},
		Prices: registry.Prices{Commitment: prices("commitment"), Overage: prices("overage")}}
}

func drawPeaks(r *rapid.T, m civil.Month) billing.TenantUsage {
	u := billing.TenantUsage{Agents: map[aggregate.AgentsOf]int64{}}
	for _, meter := range schemas.PooledMeters {
		for _, day := range rapid.SliceOfNDistinct(rapid.IntRange(0, 27), 0, 4, rapid.ID[int]).Draw(r, "days") {
			date := m.First().Add(day)
			u.Days = append(u.Days, aggregate.Usage{Tenant: "acme", Date: date, Meter: meter,
				Peak: rapid.Int64Range(1, 25).Draw(r, "peak"), PeakMS: civil.UTC.Start(date)})
		}
		u.Agents[aggregate.AgentsOf{Tenant: "acme", Period: m, Meter: meter}] = rapid.Int64Range(0, 25).Draw(r, "agents")
	}
	return u
}

// bill bills the months with a subscription's commitment to a meter at n, or as it is where n is negative, and returns
// what is charged for it and for the overage that depends on it, and how many lines that are.
func (w adviceWorld) bill(r *rapid.T, subscription, meter string, n int64,
	months []civil.Month) (decimal.Decimal, int) {
	tenant := *w.tenant
	tenant.Subscriptions = slices.Clone(tenant.Subscriptions)
	s := tenant.Subscription(subscription)
	s.Versions = slices.Clone(s.Versions)
	for i := range s.Versions {
		if n >= 0 {
			s.Versions[i].Commitments = maps.Clone(s.Versions[i].Commitments)
			s.Versions[i].Commitments[meter] = n
		}
	}
	sum, lines := decimal.Zero, 0
	for _, m := range w.months {
		if !slices.Contains(months, m.Period) {
			continue
		}
		invoices, err := billing.Bill(&tenant, civil.UTC, m.Period, m.Usage, billing.DefaultRules())
		if err != nil {
			r.Fatal(err)
		}
		for _, i := range invoices {
			for _, l := range i.Lines {
				own := l.Kind == billing.Commitment && l.Meter == meter && i.Subscription == subscription
				pooled := l.Kind == billing.Overage && (l.Meter == meter || l.Meter == schemas.IVRPort)
				if own || pooled {
					sum, lines = sum.Add(l.Amount), lines+1
				}
			}
		}
	}
	return sum, lines
}

// straight returns the cost of a commitment on the straight line between the points next to it; false beyond the last.
func straight(points []billing.CostPoint, n int64) (decimal.Decimal, bool) {
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		if p.Commitment <= n && n <= q.Commitment {
			width := q.Commitment - p.Commitment
			sum := p.Cost.Mul(decimal.NewFromInt(q.Commitment - n)).Add(q.Cost.Mul(decimal.NewFromInt(n - p.Commitment)))
			return sum.DivRound(decimal.NewFromInt(width), 9), true
		}
	}
	return decimal.Zero, false
}

// TestAdviceIsTheLeast bills the months again under every commitment there could have been: the points of the curve
// are what invoices would have said, the curve is straight between them, and none costs less than the least, but for
// what rounding makes where lines are rounded.
func TestAdviceIsTheLeast(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := drawAdviceWorld(r)
		last := w.months[len(w.months)-1].Period
		advice := billing.Advise(w.tenant, civil.UTC, last, w.months, billing.DefaultRules())
		if len(advice.LeftOut) > 0 {
			r.Fatal(advice.LeftOut)
		}
		for _, c := range advice.Commitments {
			charged, _ := w.bill(r, c.Subscription, c.Meter, -1, c.Months)
			if !charged.Equal(c.Charged.Decimal) || !charged.Sub(c.Cost.Decimal).Equal(c.Saved.Decimal) {
				r.Fatalf("%s was charged, not %s; %s would have been saved by %s", charged, c.Charged, c.Saved, c.Cost)
			}
			points := map[int64]billing.CostPoint{}
			for _, p := range c.Points {
				points[p.Commitment] = p
			}
			if points[c.Least].Cost.Cmp(c.Cost.Decimal) != 0 {
				r.Fatalf("%d is said to cost %s, and %v on the curve", c.Least, c.Cost, points[c.Least])
			}
			for n := range int64(28) {
				cost, lines := w.bill(r, c.Subscription, c.Meter, n, c.Months)
				if p, is := points[n]; is && !p.Cost.Equal(cost) {
					r.Fatalf("%s of %s at %d costs %s, not %s", c.Meter, c.Subscription, n, cost, p.Cost)
				}
				if on, whole := straight(c.Points, n); w.whole && whole && !cost.Equal(on) {
					r.Fatalf("%s of %s at %d costs %s, and not %s as on the line between its points %v", c.Meter,
						c.Subscription, n, cost, on, c.Points)
				}
				rounded := decimal.New(int64(lines), -2)
				if w.whole {
					rounded = decimal.Zero
				}
				if cost.Add(rounded).LessThan(c.Cost.Decimal) {
					r.Fatalf("%s of %s over %v: %d costs %s, less than %d with %s", c.Meter, c.Subscription, c.Months, n, cost,
						c.Least, c.Cost)
				}
			}
		}
	})
}
