package billing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Proved returns the current figures of the dates `[from, to)`, with what of them the deliveries as stored do not
// prove. A day that a later pass computes meanwhile knows more deliveries than the proof: the caller has to make sure
// that there is none.
func Proved(ctx context.Context, usage Usage, tenants []string, from, to civil.Date, pass aggregate.Pass,
	timelines aggregate.Timelines) (*aggregate.Figures, error) {
	figures, err := usage.Load(ctx, tenants, from, to)
	if err != nil {
		return nil, err
	}
	proofs, err := usage.Proof(ctx, tenants, from, to, pass, timelines)
	if err != nil {
		return nil, fmt.Errorf("counting the deliveries that the usage is based on: %w", err)
	}
	figures.Unproved = unproved(figures.Balances, proofs, timelines)
	return figures, nil
}

// provedByMonth is [Proved] of the months from one to another, by month.
func provedByMonth(ctx context.Context, usage Usage, tenants []string, first, last civil.Month, pass aggregate.Pass,
	timelines aggregate.Timelines) (map[civil.Month]*aggregate.Figures, error) {
	from, to := first.First(), last.Next().First()
	figures, err := usage.Load(ctx, tenants, from, to)
	if err != nil {
		return nil, err
	}
	proofs, err := usage.Proof(ctx, tenants, from, to, pass, timelines)
	if err != nil {
		return nil, fmt.Errorf("counting the deliveries that the usage is based on: %w", err)
	}
	proofsOf, of := map[civil.Month][]aggregate.Proof{}, map[civil.Month]*aggregate.Figures{}
	for month := first; month <= last; month++ {
		of[month] = &aggregate.Figures{Agents: figures.Agents}
	}
	for _, u := range figures.Usage {
		m := of[u.Date.Month()]
		m.Usage = append(m.Usage, u)
	}
	for _, b := range figures.Balances {
		m := of[b.Date.Month()]
		m.Balances = append(m.Balances, b)
	}
	for _, p := range proofs {
		proofsOf[p.Date.Month()] = append(proofsOf[p.Date.Month()], p)
	}
	for month, m := range of {
		m.Unproved = unproved(m.Balances, proofsOf[month], timelines)
	}
	return of, nil
}

// unproved compares what became of the deliveries of each date, as the figures have it, with the deliveries as stored:
// each is in the figures of its own date, and each event wins on one date, and is in the figures of no other (R8, R22).
func unproved(balances []aggregate.DayBalance, proofs []aggregate.Proof,
	timelines aggregate.Timelines) map[string][]string {
	type day struct {
		tenant string
		date   civil.Date
	}
	days, stored := map[day]aggregate.Balance{}, map[day]aggregate.Proof{}
	dates := map[string][]civil.Date{}
	found := map[string][]string{}
	for _, b := range balances {
		if timelines.Zone(b.Tenant) == nil {
			continue // the deliveries of a tenant that the registry does not know are on no bill
		}
		days[day{b.Tenant, b.Date}] = b.Balance
		dates[b.Tenant] = append(dates[b.Tenant], b.Date)
	}
	for _, p := range proofs {
		stored[day{p.Tenant, p.Date}] = p
		dates[p.Tenant] = append(dates[p.Tenant], p.Date)
	}
	for tenant, of := range dates {
		slices.Sort(of)
		for _, date := range slices.Compact(of) {
			say := func(format string, args ...any) {
				found[tenant] = append(found[tenant], date.String()+": "+fmt.Sprintf(format, args...))
			}
			figures, proof := days[day{tenant, date}], stored[day{tenant, date}]
			if figures.Accepted != proof.Deliveries {
				say("usage_events has %d deliveries, and the figures %d", proof.Deliveries, figures.Accepted)
			}
			// Those of a tenant that the registry does not know are not sorted further.
			events := figures.Counted + figures.Voided + figures.Unallocated
			if figures.UnknownTenant == 0 && events != proof.Events {
				say("the deliveries are those of %d events, and the figures have %d", proof.Events, events)
			}
			for _, fault := range proof.Faults {
				say("%s", fault)
			}
		}
	}
	return found
}

// DifferencesByDay says of every tenant on which dates something is lost or doubled between the deliveries and the
// usage of the subscriptions, and what; nothing of a tenant that balances (R22).
func DifferencesByDay(figures *aggregate.Figures) map[string][]string {
	type day struct {
		tenant string
		date   civil.Date
	}
	days := map[day]*TenantUsage{}
	of := func(tenant string, date civil.Date) *TenantUsage {
		d := day{tenant, date}
		if days[d] == nil {
			days[d] = &TenantUsage{}
		}
		return days[d]
	}
	for _, u := range figures.Usage {
		t := of(u.Tenant, u.Date)
		t.Days = append(t.Days, u)
	}
	for _, b := range figures.Balances {
		t := of(b.Tenant, b.Date)
		t.Balance = t.Balance.Add(b.Balance)
	}
	dates := map[string][]civil.Date{}
	for d := range days {
		dates[d.tenant] = append(dates[d.tenant], d.date)
	}
	found := maps.Clone(figures.Unproved)
	if found == nil {
		found = map[string][]string{}
	}
	for tenant, of := range dates {
		slices.Sort(of)
		for _, date := range of {
			for _, difference := range days[day{tenant, date}].Differences() {
				found[tenant] = append(found[tenant], date.String()+": "+difference)
			}
		}
	}
	return found
}

// MeterBalance is what was counted on a meter in a period, and where it went on (R22). Of Connect also its units, which
// go on to invoices.
type MeterBalance struct {
	Meter string `json:"meter"`
	// Events are those of the tenant as a whole, OnSubscriptions the sum over its subscriptions; so with the others.
	Events          int64 `json:"events"`
	OnSubscriptions int64 `json:"eventsOnSubscriptions"`
	// Milliseconds of live sessions.
	Milliseconds                int64           `json:"milliseconds"`
	MillisecondsOnSubscriptions int64           `json:"millisecondsOnSubscriptions"`
	Units                       decimal.Decimal `json:"units"`
	UnitsOnSubscriptions        decimal.Decimal `json:"unitsOnSubscriptions"`
	// Invoiced are the units on connect lines that are issued, with the adjustments of them; NotIssued those of
	// periods that are not issued yet, and Since what has changed since the issue and is not adjusted yet.
	Invoiced  decimal.Decimal `json:"unitsInvoiced"`
	NotIssued decimal.Decimal `json:"unitsNotIssued"`
	Since     decimal.Decimal `json:"unitsSinceIssue"`
}

// IsConnect reports whether the meter counts units, which are charged one by one.
func (c MeterBalance) IsConnect() bool { return strings.HasPrefix(c.Meter, schemas.ConnectPrefix) }

// Add returns what two tenants have of one meter together.
func (c MeterBalance) Add(o MeterBalance) MeterBalance {
	return MeterBalance{c.Meter, c.Events + o.Events, c.OnSubscriptions + o.OnSubscriptions,
		c.Milliseconds + o.Milliseconds, c.MillisecondsOnSubscriptions + o.MillisecondsOnSubscriptions,
		c.Units.Add(o.Units), c.UnitsOnSubscriptions.Add(o.UnitsOnSubscriptions),
		c.Invoiced.Add(o.Invoiced), c.NotIssued.Add(o.NotIssued), c.Since.Add(o.Since)}
}

// MeterBalances adds up a tenant's usage by meter, in byte order. None of it is taken for invoiced.
func (u TenantUsage) MeterBalances() []MeterBalance {
	meters := map[string]*MeterBalance{}
	for _, d := range u.Days {
		c := meters[d.Meter]
		if c == nil {
			c = &MeterBalance{Meter: d.Meter}
			meters[d.Meter] = c
		}
		if d.Subscription == "" {
			c.Events, c.Milliseconds, c.Units = c.Events+d.Events, c.Milliseconds+d.Milliseconds, c.Units.Add(d.Units)
		} else {
			c.OnSubscriptions += d.Events
			c.MillisecondsOnSubscriptions += d.Milliseconds
			c.UnitsOnSubscriptions = c.UnitsOnSubscriptions.Add(d.Units)
		}
	}
	var all []MeterBalance
	for _, meter := range slices.Sorted(maps.Keys(meters)) {
		all = append(all, *meters[meter])
	}
	return all
}

// InvoicedUnits adds up, by meter, the units on the Connect lines of a tenant's period and on the adjustments of
// them in later periods (R21).
func InvoicedUnits(period civil.Month, issues []Issue) map[string]decimal.Decimal {
	units := map[string]decimal.Decimal{}
	for _, issue := range issues {
		for _, i := range issue.Invoices {
			for _, l := range i.Lines {
				own := issue.Period == period && l.Kind == Connect
				corrects := l.Kind == Adjustment && l.From.Month() == period && strings.HasPrefix(l.Meter, schemas.ConnectPrefix)
				if own || corrects {
					units[l.Meter] = units[l.Meter].Add(l.Quantity)
				}
			}
		}
	}
	return units
}

// withoutBehind stops the tenants that the pass has left behind, and returns the others.
func withoutBehind(run *Run, tenants []*registry.Tenant, pass aggregate.Pass) []*registry.Tenant {
	var others []*registry.Tenant
	for _, t := range tenants {
		if stop := stopBehind(TenantPeriod{t.ID, run.Period}, pass); stop != nil {
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		others = append(others, t)
	}
	return others
}

// stopBehind is the stop of a tenant that the pass has left behind, whose figures are not those of its deliveries, and
// nil for the others.
func stopBehind(p TenantPeriod, pass aggregate.Pass) *Stop {
	reason, behind := pass.BehindOn(p.Tenant)
	if !behind {
		return nil
	}
	return newStop(p.Tenant, p.Period, schemas.Unbalanced, "its usage could not be computed: "+reason).
		advising("put right what the reason names, have the usage computed again, and bill the tenant then")
}
