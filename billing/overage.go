package billing

import (
	"context"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"
	"golang.org/x/sync/errgroup"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// MeterOverage is what a tenant as a whole used of a meter in a period at the peak instant, or by distinct agents,
// against its pool (R15), whether that is overage or not.
type MeterOverage struct {
	Meter string `json:"meter"`
	// Live is the concurrency, or the number of distinct agents.
	Live   int64 `json:"live" doc:"Live at once at the instant, or distinct agents."`
	Pool   int64 `json:"pool" doc:"What was committed then, or of distinct agents the most in the period."`
	Excess int64 `json:"excess" doc:"The overage: how much more is live than there is in the pool, or 0."`
	// Payer is the subscription that pays the overage, and Why says why it is that (R16); empty where there is none.
	Payer string `json:"payer,omitempty" doc:"The subscription that pays the overage."`
	Why   string `json:"why,omitempty" doc:"Why it is that subscription (R16)."`
	// UnitPrice is the payer's for overage then, and Amount what that makes of the excess, in Currency (R18, R19): as on
	// the line. Empty where there is none, or no price.
	UnitPrice string `json:"unitPrice,omitempty" doc:"The payer's price for overage then (R18)."`
	Amount    string `json:"amount,omitempty" doc:"Excess × unit price, rounded once (R19): that of the line."`
	Currency  string `json:"currency,omitempty"`
	// Instant is where the excess over the pool is greatest, or nearest to any, nil where nobody was ever live;
	// DistinctAgents are those of a named tenant.
	Instant        *Instant        `json:"instant,omitempty" doc:"Where the excess is greatest, or nearest to any."`
	DistinctAgents *DistinctAgents `json:"distinctAgents,omitempty" doc:"Those of a named tenant."`
}

// LeaveOutAgents leaves out who was live.
func (o *MeterOverage) LeaveOutAgents() {
	(&Explanation{Instant: o.Instant, DistinctAgents: o.DistinctAgents}).LeaveOutAgents()
}

// Overages says, of each meter that has a pool, in byte order, how the tenant's usage of a period compares with it.
func (x *Explainer) Overages(ctx context.Context, usage Usage, period civil.Month) ([]MeterOverage, error) {
	zone, err := zoneOf(x.Tenant, x.Rules)
	if err != nil {
		return nil, err
	}
	b, err := x.measured(ctx, usage, zone, period)
	if err != nil {
		return nil, err
	}
	all := make([]MeterOverage, len(schemas.PooledMeters))
	group, ctx := errgroup.WithContext(ctx)
	for n, meter := range schemas.PooledMeters {
		all[n].Meter = meter
		group.Go(func() error {
			if b.byDistinctAgents(meter) {
				return x.overageOfAgents(ctx, &all[n], b, zone)
			}
			return x.overageAtPeak(ctx, &all[n], b, zone)
		})
	}
	return all, group.Wait()
}

// measured returns the bill of a period with the usage that overage is computed from: what is stored, where that is
// what the explainer goes by, else computed.
func (x *Explainer) measured(ctx context.Context, usage Usage, zone *civil.Zone, period civil.Month) (*bill, error) {
	if x.Stored != nil {
		b, err := x.stored(ctx, usage, zone, period)
		if err != nil {
			return nil, fmt.Errorf("reading the usage of %s: %w", period, err)
		}
		if stands, err := x.Stored(ctx); err != nil || stands && !b.peaksFrom(x.NowMS) {
			return b, err
		}
	}
	figures, err := usage.Compute(ctx, aggregate.Inputs{
		Days:  aggregate.Days(x.Tenant.ID, zone, period.First(), period.Next().First()),
		Bound: x.Bound, Timelines: x.timelines(zone), Rules: x.Rules.Rules, NowMS: x.NowMS,
	})
	if err != nil {
		return nil, fmt.Errorf("computing the usage of %s: %w", period, err)
	}
	return newBill(x.Tenant, zone, period, ByTenant(figures)[x.Tenant.ID], x.Rules), nil
}

// stored returns the bill with what is stored: the peaks, and all of the usage only where agents are counted.
func (x *Explainer) stored(ctx context.Context, usage Usage, zone *civil.Zone, period civil.Month) (*bill, error) {
	from, to := period.First(), period.Next().First()
	b := newBill(x.Tenant, zone, period, TenantUsage{}, x.Rules)
	if b.named() {
		figures, err := usage.Load(ctx, []string{x.Tenant.ID}, from, to)
		if err == nil {
			b.usage = ByTenant(figures)[x.Tenant.ID]
		}
		return b, err
	}
	peaks, err := usage.Peaks(ctx, x.Tenant.ID, from, to)
	b.usage.Days = peaks
	return b, err
}

// peaksFrom reports whether a peak instant of stored usage is now, in UTC epoch milliseconds, or later. There open
// sessions go on in it, which they do until now in truth: a peak that lies before is the same either way (R12).
func (b *bill) peaksFrom(nowMS int64) bool {
	return slices.ContainsFunc(schemas.PooledMeters, func(meter string) bool {
		at, found := b.nearest(meter)
		return found && !b.byDistinctAgents(meter) && b.demand(meter).peaks[at].PeakMS >= nowMS
	})
}

// nearest returns on which of the dates the excess over the pool is greatest, or nearest to any, and whether anybody
// was live on one.
func (b *bill) nearest(meter string) (at int, found bool) {
	entitled, peaks := b.entitlements(meter), b.demand(meter).peaks
	for i, u := range peaks {
		if b.primary[i] != nil && u.Peak > 0 && (!found || u.Peak-entitled[i] > peaks[at].Peak-entitled[at]) {
			at, found = i, true
		}
	}
	return at, found
}

func (x *Explainer) overageAtPeak(ctx context.Context, o *MeterOverage, b *bill, zone *civil.Zone) (err error) {
	at, found := b.nearest(o.Meter)
	if !found {
		o.Pool = slices.Max(append(b.entitlements(o.Meter), 0))
		return nil
	}
	if o.Instant, err = x.instantAt(ctx, zone, o.Meter, b.demand(o.Meter).peaks[at].PeakMS, ""); err != nil {
		return err
	}
	o.Live, o.Pool = o.Instant.Live, o.Instant.Entitled
	o.Excess = max(0, o.Live-o.Pool)
	x.pays(o, b, b.primary[at], b.dates[at], "the primary at the peak instant")
	return nil
}

func (x *Explainer) overageOfAgents(ctx context.Context, o *MeterOverage, b *bill, zone *civil.Zone) (err error) {
	h, err := x.agents(ctx, b, zone, o.Meter, "")
	if err != nil {
		return err
	}
	// What a subscription has used are its own distinct agents: one with sessions of two is in both.
	h.Members, _ = x.members(h.EntitledOn, o.Meter, h.Sessions)
	for n := range h.Members {
		m := &h.Members[n]
		m.Used = b.agents(o.Meter, m.Subscription)
		m.Over = m.Used - m.Entitled
	}
	o.DistinctAgents, o.Live, o.Pool = h, int64(h.Agents), h.Entitled
	o.Excess = max(0, o.Live-o.Pool)
	x.pays(o, b, b.closing, b.closed, "the closing primary")
	return nil
}

// pays says who pays an overage, if there is any, and what.
func (x *Explainer) pays(o *MeterOverage, b *bill, payer *registry.Subscription, date civil.Date, what string) {
	if o.Excess == 0 {
		return
	}
	o.Payer = payer.ID
	o.Why = x.primary(date, payer, fmt.Sprintf("%s, on %s (R16)", what, date))
	if price, priced := payer.VersionOn(date).Prices.Overage[o.Meter]; priced {
		line := priceLine(payer, Line{Meter: o.Meter, Quantity: decimal.NewFromInt(o.Excess),
			UnitPrice: decimal.NewNullDecimal(price)}, 1, 1)
		invoice := newInvoice(b.tenant, payer, b.period)
		o.UnitPrice, o.Amount, o.Currency = line.Price(), invoice.Money(line.Amount), payer.Currency
	}
}
