package billing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Causes say what made a difference between two views of a period. The parts add up to it: first what late usage makes
// of the view before, then what corrections make of that, then what the registry does, and other configured rules.
type Causes struct {
	Late        Part `json:"late"`
	Corrections Part `json:"corrections"`
	Registry    Part `json:"registry"`
	// Adjusted is what of the amount is on later invoices already, where the view before is the issue (R21).
	Adjusted Part `json:"adjusted"`
	// Events are those that came or were corrected in between and matter: of an overage at its peaks. Commands are those
	// that changed the tenant's document.
	Events   []ChangedEvent    `json:"events"`
	Commands []registry.Change `json:"commands"`
}

// Part is a part of a difference.
type Part struct {
	Quantity, Amount decimal.Decimal
	MinorUnits       int32
}

// Money writes the amount with the decimals of its currency.
func (p Part) Money() string { return p.Amount.StringFixed(p.MinorUnits) }

// MarshalJSON writes the figures as strings, so that no reader takes them for binary fractions.
func (p Part) MarshalJSON() ([]byte, error) {
	return json.Marshal(PartJSON{p.Quantity.String(), p.Money()})
}

// PartJSON is a part of a difference in JSON: decimal numbers, exact.
type PartJSON struct {
	Quantity string `json:"quantity"`
	Amount   string `json:"amount"`
}

// Explain splits the differences of a tenant: x explains by the view after, and then by that before, which has no
// tenant where the registry had none. Commands are those that changed the tenant's document in between.
func (c *Comparison) Explain(ctx context.Context, then, x *Explainer, commands []registry.Change) error {
	var types []schemas.Type
	for _, change := range c.Changes {
		if of := typesOf(change.Meter); change.Tenant == x.Tenant.ID && change.Kind != Commitment &&
			!slices.Contains(types, of[0]) {
			types = append(types, of...)
		}
	}
	stages, err := x.stages(ctx, then, c.Period, types)
	if err != nil {
		return err
	}
	changed := map[schemas.Type]changes{}
	for n := range c.Changes {
		change := &c.Changes[n]
		if change.Tenant != x.Tenant.ID {
			continue
		}
		change.Causes = change.split(stages)
		change.Causes.Adjusted = c.adjusted(change)
		change.Causes.Commands = append(change.Causes.Commands, commands...)
		if change.Kind == Commitment {
			continue
		}
		of := typesOf(change.Meter)[0]
		if _, read := changed[of]; !read {
			if changed[of], err = x.changedSince(ctx, then.Bound, c.Period, change.Meter, nil); err != nil {
				return err
			}
		}
		change.Causes.Events = append(change.Causes.Events,
			changed[of].mattering(charge{change.Subscription, change.Kind, change.Meter}, change.peaks)...)
	}
	return nil
}

// split sets what each stage makes of a charge against the one before. A stage that cannot be billed, without a
// price that came later, leaves its part to the next.
func (c *Change) split(stages [2]map[charge]sums) *Causes {
	of := charge{c.Subscription, c.Kind, c.Meter}
	was := sums{c.Quantity.Before, c.Amount.Before}
	part := func(is sums) Part {
		p := Part{is.quantity.Sub(was.quantity), is.amount.Sub(was.amount), c.Amount.MinorUnits}
		was = is
		return p
	}
	stage := func(n int) sums {
		if stages[n] == nil {
			return was
		}
		return stages[n][of]
	}
	return &Causes{Late: part(stage(0)), Corrections: part(stage(1)),
		Registry: part(sums{c.Quantity.After, c.Amount.After}), Events: []ChangedEvent{},
		Commands: []registry.Change{}}
}

// stages bills a period by the registry of the view before, by the rules in plain Go: with the late events alone, and
// with all corrections as well. One that cannot be billed is nil.
func (x *Explainer) stages(ctx context.Context, then *Explainer, period civil.Month,
	types []schemas.Type) (stages [2]map[charge]sums, err error) {
	if then.Tenant == nil {
		return [2]map[charge]sums{{}, {}}, nil
	}
	zone, err := zoneOf(then.Tenant, then.Rules)
	if err != nil {
		return stages, err
	}
	days := aggregate.Days(then.Tenant.ID, zone, period.First(), period.Next().First())
	in := aggregate.Inputs{Days: days, Timelines: then.timelines(zone), Rules: then.Rules.Rules, NowMS: x.NowMS}
	measured := [2]*aggregate.Measurement{aggregate.NewMeasurement(in), aggregate.NewMeasurement(in)}
	add := func(n int, event []aggregate.Delivery) {
		for _, content := range aggregate.ResolveRevisions(aggregate.Events(event)) {
			measured[n].Add(content)
		}
	}
	wanted := aggregate.EventFilter{Tenant: x.Tenant.ID, Types: types, FromMS: days[0].FromMS - then.reach(),
		ToMS: days[len(days)-1].ToMS}
	if len(types) > 0 {
		err = x.Deliveries.Events(ctx, x.Bound, wanted, func(event []aggregate.Delivery) error {
			before := slices.DeleteFunc(slices.Clone(event), func(d aggregate.Delivery) bool { return !then.Bound.Has(d) })
			if len(before) == 0 {
				before = event
			}
			add(0, before)
			add(1, event)
			return nil
		})
		if err != nil {
			return stages, fmt.Errorf("reading the deliveries of %s: %w", x.Tenant.ID, err)
		}
	}
	for n, m := range measured {
		invoices, err := Bill(then.Tenant, zone, period, ByTenant(m.Figures())[then.Tenant.ID], then.Rules)
		if errors.As(err, new(*Stop)) {
			continue
		}
		if err != nil {
			return stages, err
		}
		stages[n] = map[charge]sums{}
		for _, i := range invoices {
			for _, l := range i.Lines {
				of := charge{i.Subscription, l.Kind, l.Meter}
				stages[n][of] = stages[n][of].add(l)
			}
		}
	}
	return stages, nil
}

// CompareIssued compares what was issued of a period to the tenants named, or else to all, with another view. It
// returns the tenants to whom it is issued, and those to whom it is not, which are left out. What later invoices have
// adjusted of it is said with each difference that is explained.
func (b *Biller) CompareIssued(ctx context.Context, period civil.Month, tenants []string,
	after View) (c *Comparison, compared, open []string, err error) {
	unknown := &Run{Period: period}
	chosen := ids(b.selectTenants(unknown, tenants))
	issued, err := b.Issued(ctx, period, chosen...)
	if err != nil {
		return nil, nil, nil, err
	}
	chains, err := AllIssues(b.State, chosen)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, t := range chosen {
		if issueOf(chains[t], period) != nil {
			compared = append(compared, t)
		} else {
			open = append(open, t)
		}
	}
	if len(compared) == 0 {
		return &Comparison{Period: period, Before: unknown.Stopped}, nil, open, nil
	}
	// What it adjusts is of other periods.
	for n := range issued.Invoices {
		i := &issued.Invoices[n]
		i.Lines = slices.DeleteFunc(i.Lines, func(l Line) bool { return l.Kind == Adjustment })
		i.Total = decimal.Zero
		for _, l := range i.Lines {
			i.Total = i.Total.Add(l.Amount)
		}
	}
	positions, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading the ledger: %w", err)
	}
	fixed := *b
	fixed.Usage = pinned{b.Usage, positions}
	now, err := fixed.View(ctx, period, compared, after)
	if err != nil {
		return nil, nil, nil, err
	}
	c = compare(issued, now)
	c.Positions, c.Before = positions, append(c.Before, unknown.Stopped...)
	return c, compared, open, c.readLater(ctx, b.Lines, chains)
}

// readLater reads what was issued after the period to those of whom something differs. Those whose lines of it have
// changed are left out: what is adjusted already is not known.
func (c *Comparison) readLater(ctx context.Context, lines Lines, chains map[string][]Issue) error {
	tenants := map[string]bool{}
	var later []Issue
	for _, change := range c.Changes {
		if !tenants[change.Tenant] {
			later = append(later, from(chains[change.Tenant], c.Period)[1:]...)
		}
		tenants[change.Tenant] = true
	}
	invoices, changed, err := invoicesOf(ctx, lines, later)
	if err != nil {
		return err
	}
	c.later = map[string][]Issue{}
	for _, issue := range later {
		issue.Invoices = invoices[issue.ID]
		c.later[issue.Tenant] = append(c.later[issue.Tenant], issue)
	}
	for tenant, stop := range changed {
		c.LeaveOut(tenant, stop)
	}
	return nil
}

// LeaveOut takes a tenant out of what is compared, and says why.
func (c *Comparison) LeaveOut(tenant string, why error) {
	var stop *Stop
	if !errors.As(why, &stop) {
		stop = newStop(tenant, c.Period, schemas.Unbalanced, why.Error())
	}
	c.Before = append(c.Before, stop)
	slices.SortFunc(c.Before, func(x, y *Stop) int { return cmp.Compare(x.Tenant, y.Tenant) })
	c.Changes = slices.DeleteFunc(c.Changes, func(x Change) bool { return x.Tenant == tenant })
	c.Tenants = slices.DeleteFunc(c.Tenants, func(x Total) bool { return x.Tenant == tenant })
	c.Totals = TotalsOf(c.Tenants)
}

// adjusted adds up what of a difference is on invoices issued after the period's.
func (c *Comparison) adjusted(change *Change) Part {
	sum := Part{MinorUnits: change.Amount.MinorUnits}
	for _, issue := range c.later[change.Tenant] {
		for _, i := range issue.Invoices {
			for _, l := range i.Lines {
				if l.Kind == Adjustment && l.From == c.Period.First() && i.Subscription == change.Subscription &&
					l.CorrectsKind == change.Kind && l.Meter == change.Meter {
					sum.Quantity, sum.Amount = sum.Quantity.Add(l.Quantity), sum.Amount.Add(l.Amount)
				}
			}
		}
	}
	return sum
}
