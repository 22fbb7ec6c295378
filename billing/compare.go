package billing

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// View is a way to look at a period: under a registry or time zone data that need not be the present ones, and with
// what was known by an instant that need not be the present one.
type View struct {
	State registry.State
	// Zones is the time zone data, nil that in use.
	Zones *civil.Data
	// NowMS is that of R12, and deliveries that arrived on Kafka after KnownAt are left out (nil: none); both in UTC
	// epoch milliseconds.
	NowMS     int64
	KnownAtMS *int64
}

// Comparison is a period in two views.
type Comparison struct {
	Period civil.Month
	// Changes are what differs, in the order of tenant, subscription, kind (R18) and meter.
	Changes []Change
	// Tenants has the totals of every tenant that has an invoice in either view, and Totals those of all of them,
	// each by currency in byte order.
	Tenants, Totals []Total
	// Kinds are the sums of the lines of each kind (R18), by kind and currency; also of those that do not differ.
	Kinds []KindTotal
	// Before and After are the tenants that are stopped in a view. They are left out of everything above: half a
	// comparison would look like a loss.
	Before, After []*Stop
	// Positions are the end of the ledger that both views are based on.
	Positions []aggregate.Position

	later map[string][]Issue // by tenant, the issues after the period's, where the view before is that
}

// Change is what the lines of one kind and meter of a subscription total in two views. There may be several of
// them, one for each version (R18); their quantities and amounts are added up.
type Change struct {
	Tenant       string     `json:"tenantId"`
	Subscription string     `json:"subscriptionId"`
	Kind         Kind       `json:"kind"`
	Meter        string     `json:"meter"`
	Quantity     Pair       `json:"quantity"`
	Amount       AmountPair `json:"amount"`
	Currency     string     `json:"currency"`
	// Causes say what made it; nil where the views do not differ by what was known alone.
	Causes *Causes `json:"causes,omitempty"`

	peaks []int64 // those of the lines, before and after
}

// Total is what the invoices of a tenant in one currency total in two views; of all tenants where Tenant is
// empty.
type Total struct {
	Tenant   string     `json:"tenantId,omitempty"`
	Currency string     `json:"currency"`
	Amount   AmountPair `json:"amount"`
}

// KindTotal is what the lines of a kind total in two views.
type KindTotal struct {
	Kind     Kind       `json:"kind"`
	Currency string     `json:"currency"`
	Amount   AmountPair `json:"amount"`
}

// SumKinds adds up totals of kinds, by kind and currency.
func SumKinds(kinds ...KindTotal) (sums []KindTotal) {
	for _, k := range kinds {
		at, found := slices.BinarySearchFunc(sums, k, func(x, y KindTotal) int {
			return cmp.Or(cmp.Compare(x.Kind.order(), y.Kind.order()), cmp.Compare(x.Currency, y.Currency))
		})
		if !found {
			sums = slices.Insert(sums, at, KindTotal{k.Kind, k.Currency, AmountPair{MinorUnits: k.Amount.MinorUnits}})
		}
		sums[at].Amount.add(k.Amount)
	}
	return sums
}

// Pair is a figure before and after.
type Pair struct{ Before, After decimal.Decimal }

// Difference is after less before.
func (p Pair) Difference() decimal.Decimal { return p.After.Sub(p.Before) }

// MarshalJSON writes the figures as strings, so that no reader takes them for binary fractions.
func (p Pair) MarshalJSON() ([]byte, error) { return p.marshal(decimal.Decimal.String) }

func (p Pair) marshal(write func(decimal.Decimal) string) ([]byte, error) {
	return json.Marshal(PairJSON{write(p.Before), write(p.After), write(p.Difference())})
}

// PairJSON is a figure before and after in JSON: decimal numbers, exact.
type PairJSON struct {
	Before     string `json:"before"`
	After      string `json:"after"`
	Difference string `json:"difference"`
}

// AmountPair is an amount before and after, with the decimals of its currency.
type AmountPair struct {
	Pair
	MinorUnits int32
}

// MarshalJSON writes the amounts with the decimals of their currency.
func (p AmountPair) MarshalJSON() ([]byte, error) { return p.marshal(p.Money) }

func (p *AmountPair) add(o AmountPair) {
	p.Before, p.After = p.Before.Add(o.Before), p.After.Add(o.After)
}

// Money writes an amount with the decimals of the currency.
func (p AmountPair) Money(amount decimal.Decimal) string { return amount.StringFixed(p.MinorUnits) }

// ComparisonJSON is a period in two views in JSON.
type ComparisonJSON struct {
	Changes []Change    `json:"changes"`
	Tenants []Total     `json:"tenants"`
	Totals  []Total     `json:"totals"`
	Stopped StoppedJSON `json:"stopped"`
}

// StoppedJSON are the tenants that are stopped in a view of two, and left out of both.
type StoppedJSON struct {
	Before []*Stop `json:"before"`
	After  []*Stop `json:"after"`
}

// JSON returns the comparison as it is written.
func (c *Comparison) JSON() ComparisonJSON {
	return ComparisonJSON{append([]Change{}, c.Changes...), append([]Total{}, c.Tenants...),
		append([]Total{}, c.Totals...), StoppedJSON{append([]*Stop{}, c.Before...), append([]*Stop{}, c.After...)}}
}

// Compare previews a period in two views, for the tenants named or else for all. Both are based on the same end of the
// ledger, so that what arrives meanwhile is no difference. A tenant that one of the registries lacks has no lines
// there; one that both lack is a stop of both.
func (b *Biller) Compare(ctx context.Context, period civil.Month, tenants []string,
	before, after View) (*Comparison, error) {
	positions, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	preview := func(v, other View) (*Run, error) {
		wanted := slices.DeleteFunc(slices.Clone(tenants), func(t string) bool {
			return v.State.Tenant(t) == nil && other.State.Tenant(t) != nil
		})
		if len(wanted) == 0 && len(tenants) > 0 {
			return &Run{Period: period, Draft: true}, nil
		}
		fixed := *b
		fixed.Usage = pinned{b.Usage, positions}
		return fixed.View(ctx, period, wanted, v)
	}
	was, err := preview(before, after)
	if err != nil {
		return nil, err
	}
	is, err := preview(after, before)
	if err != nil {
		return nil, err
	}
	c := compare(was, is)
	c.Positions = positions
	return c, nil
}

// pinned is usage whose ledger ends where it did, whatever is taken in meanwhile.
type pinned struct {
	Usage
	positions []aggregate.Position
}

func (p pinned) Positions(context.Context) ([]aggregate.Position, error) { return p.positions, nil }

// compare sets two runs of a period against each other.
func compare(before, after *Run) *Comparison {
	type key struct {
		tenant, subscription string
		kind                 Kind
		meter                string
	}
	type account struct{ tenant, currency string }
	stopped := map[string]bool{}
	for _, s := range slices.Concat(before.Stopped, after.Stopped) {
		stopped[s.Tenant] = true
	}
	changes, totals := map[key]*Change{}, map[account]*Total{}
	c := &Comparison{Period: after.Period, Before: before.Stopped, After: after.Stopped}
	add := func(run *Run, side func(*Pair) *decimal.Decimal) {
		plus := func(p *Pair, d decimal.Decimal) { *side(p) = side(p).Add(d) }
		for _, i := range run.Invoices {
			if stopped[i.Tenant] {
				continue
			}
			for _, l := range i.Lines {
				k := key{i.Tenant, i.Subscription, l.Kind, l.Meter}
				if changes[k] == nil {
					changes[k] = &Change{Tenant: k.tenant, Subscription: k.subscription, Kind: k.kind, Meter: k.meter,
						Amount: AmountPair{MinorUnits: i.MinorUnits}, Currency: i.Currency}
				}
				plus(&changes[k].Quantity, l.Quantity)
				plus(&changes[k].Amount.Pair, l.Amount)
				kind := KindTotal{l.Kind, i.Currency, AmountPair{MinorUnits: i.MinorUnits}}
				plus(&kind.Amount.Pair, l.Amount)
				c.Kinds = SumKinds(append(c.Kinds, kind)...)
				if l.PeakMS != NoInstant && !slices.Contains(changes[k].peaks, l.PeakMS) {
					changes[k].peaks = append(changes[k].peaks, l.PeakMS)
				}
			}
			of := account{i.Tenant, i.Currency}
			if totals[of] == nil {
				totals[of] = &Total{Tenant: of.tenant, Currency: of.currency, Amount: AmountPair{MinorUnits: i.MinorUnits}}
			}
			plus(&totals[of].Amount.Pair, i.Total)
		}
	}
	add(before, func(p *Pair) *decimal.Decimal { return &p.Before })
	add(after, func(p *Pair) *decimal.Decimal { return &p.After })

	for _, change := range changes {
		if !change.Quantity.Difference().IsZero() || !change.Amount.Difference().IsZero() {
			c.Changes = append(c.Changes, *change)
		}
	}
	slices.SortFunc(c.Changes, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Subscription, y.Subscription),
			cmp.Compare(x.Kind.order(), y.Kind.order()), cmp.Compare(x.Meter, y.Meter))
	})
	for _, of := range slices.SortedFunc(maps.Keys(totals), func(x, y account) int {
		return cmp.Or(cmp.Compare(x.tenant, y.tenant), cmp.Compare(x.currency, y.currency))
	}) {
		c.Tenants = append(c.Tenants, *totals[of])
	}
	c.Totals = TotalsOf(c.Tenants)
	return c
}

// TotalsOf adds up the totals of tenants, by currency in byte order.
func TotalsOf(tenants []Total) (all []Total) {
	for _, t := range tenants {
		at, found := slices.BinarySearchFunc(all, t.Currency,
			func(x Total, currency string) int { return cmp.Compare(x.Currency, currency) })
		if !found {
			all = slices.Insert(all, at, Total{Currency: t.Currency, Amount: AmountPair{MinorUnits: t.Amount.MinorUnits}})
		}
		all[at].Amount.add(t.Amount)
	}
	return all
}
