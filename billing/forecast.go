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
	"apportion/schemas/civil"
)

// rateDays is how many days a rate is taken from at least, where there are as many: one of each weekday.
const rateDays = 7

// Forecast is what a tenant's month would total if it went on at the rate so far. It is an estimate, and in no file.
type Forecast struct {
	Tenant string        `json:"tenantId"`
	Basis  ForecastBasis `json:"basis"`
	// Lines are in the order of subscription, kind (R18) and meter; those that only say how usage is split are left out.
	Lines []ForecastLine `json:"lines"`
	// Totals are net, by currency in byte order.
	Totals []ForecastTotal `json:"totals"`
}

// ForecastBasis says which days a forecast is made of.
type ForecastBasis struct {
	// From and To are the dates, To exclusive, that the rate is of: whole ones, of which DaysBefore are before the month.
	From       civil.Date `json:"from"`
	To         civil.Date `json:"to"`
	Days       int        `json:"days"`
	DaysBefore int        `json:"daysBefore"`
	// ProjectedFrom is the first date that is estimated, of so many to the end of the month; NoDate for none.
	ProjectedFrom civil.Date `json:"projectedFrom,omitzero"`
	DaysProjected int        `json:"daysProjected"`
}

// ForecastLine is what the lines of one kind and meter of a subscription total, over all versions.
type ForecastLine struct {
	Subscription string        `json:"subscriptionId"`
	Kind         Kind          `json:"kind"`
	Meter        string        `json:"meter"`
	Unit         string        `json:"unit"`
	Quantity     QuantityPair  `json:"quantity"`
	Amount       EstimatedPair `json:"amount"`
	Currency     string        `json:"currency"`
}

// ForecastTotal is the net total of a tenant's invoices in one currency.
type ForecastTotal struct {
	Currency string        `json:"currency"`
	Net      EstimatedPair `json:"net"`
}

// QuantityPair is a quantity as it stands, and as it is estimated to be at the end.
type QuantityPair struct{ SoFar, Estimate decimal.Decimal }

// MarshalJSON writes the quantities as strings, so that no reader takes them for binary fractions.
func (p QuantityPair) MarshalJSON() ([]byte, error) {
	return soFarJSON(p.SoFar.String(), p.Estimate.String())
}

// EstimatedPair is an amount as it stands, and as it is estimated to be at the end.
type EstimatedPair struct{ SoFar, Estimate Money }

// MarshalJSON writes the amounts with the decimals of their currency.
func (p EstimatedPair) MarshalJSON() ([]byte, error) {
	return soFarJSON(p.SoFar.String(), p.Estimate.String())
}

func soFarJSON(soFar, estimate string) ([]byte, error) {
	return json.Marshal(struct {
		SoFar    string `json:"soFar"`
		Estimate string `json:"estimate"`
	}{soFar, estimate})
}

// ForecastAssumptions are what a forecast takes for granted.
var ForecastAssumptions = []string{
	"Connect: each day to come has the mean of the same weekdays among the days of the rate",
	"seats and ports: each day to come has the greatest peak of the same weekdays, and the month at least that so far",
	"distinct agents of named tenants: those so far, and no more",
	"a weekday that is not among the days of the rate: as all of them together",
	"commitments are those of the whole month as registered, adjustments those of the draft; amounts are net",
}

// Forecast estimates the month of a draft, as of the same now, to its end from the usage until now, for each tenant
// that the draft has. A tenant whose estimate cannot be billed is a stop of the run.
func (b *Biller) Forecast(ctx context.Context, run *Run, nowMS int64) ([]Forecast, error) {
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	on := b.basisOf(snapshot, 0, nil)
	on.nowMS = nowMS
	var estimates []*estimate
	var again, before []aggregate.Day
	for _, t := range b.State.Tenants() {
		account, billed := run.Accounts[t.ID]
		if !billed {
			continue
		}
		on.Positions = account.Positions // the same for all of a draft
		e := newEstimate(t, snapshot.Timelines.Zone(t.ID), run.Period, nowMS)
		if e.later = e.usedAfterToday(run.usage[t.ID]); e.later {
			again = append(again, e.daysSoFar()...)
		}
		before = append(before, e.daysBefore()...)
		estimates = append(estimates, e)
	}
	withoutLater, err := b.computed(ctx, on, again)
	if err != nil {
		return nil, err
	}
	earlier, err := b.computed(ctx, on, before)
	if err != nil {
		return nil, err
	}
	forecasts := []Forecast{}
	for _, e := range estimates {
		soFar := run.usage[e.tenant.ID]
		if e.later {
			soFar = withoutLater[e.tenant.ID]
		}
		forecast, err := e.forecast(soFar, earlier[e.tenant.ID], run, b.Rules)
		var stop *Stop
		if errors.As(err, &stop) {
			stop.Message = "estimating the month: " + stop.Message
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		if err != nil {
			return nil, err
		}
		forecasts = append(forecasts, *forecast)
	}
	slices.SortFunc(run.Stopped, func(x, y *Stop) int { return cmp.Compare(x.Tenant, y.Tenant) })
	return forecasts, nil
}

// computed computes the usage of days, by tenant.
func (b *Biller) computed(ctx context.Context, on basis, days []aggregate.Day) (map[string]TenantUsage, error) {
	if len(days) == 0 {
		return nil, nil
	}
	figures, err := b.Usage.Compute(ctx, on.inputs(days, b.Rules))
	if err != nil {
		return nil, fmt.Errorf("computing the usage for a forecast: %w", err)
	}
	return ByTenant(figures), nil
}

// estimate is a tenant's forecast while it is being made.
type estimate struct {
	tenant *registry.Tenant
	zone   *civil.Zone
	period civil.Month
	today  civil.Date
	// from and to are the dates that the rate is of, to exclusive.
	from, to civil.Date
	// later says that the draft has usage of dates after today.
	later bool
}

// newEstimate takes the rate from the whole days of the month, and from days before it where these are fewer than a
// week.
func newEstimate(t *registry.Tenant, zone *civil.Zone, period civil.Month, nowMS int64) *estimate {
	e := &estimate{tenant: t, zone: zone, period: period, today: zone.DateOf(nowMS)}
	e.to = min(e.today, period.Next().First())
	e.from = min(period.First(), e.to.Add(-rateDays))
	return e
}

// daysSoFar are the days of the month until today, and daysBefore those before the month that the rate is of.
func (e *estimate) daysSoFar() []aggregate.Day {
	end := min(e.today.Add(1), e.period.Next().First())
	return aggregate.Days(e.tenant.ID, e.zone, e.period.First(), max(end, e.period.First()))
}

func (e *estimate) daysBefore() []aggregate.Day {
	return aggregate.Days(e.tenant.ID, e.zone, e.from, min(e.period.First(), e.to))
}

// usedAfterToday reports whether there is usage of dates after today. It is not known yet, nor are the agents in it.
func (e *estimate) usedAfterToday(usage TenantUsage) bool {
	return slices.ContainsFunc(usage.Days, func(u aggregate.Usage) bool { return u.Date > e.today })
}

// forecast bills the usage so far, and the same with what is projected.
func (e *estimate) forecast(soFar, before TenantUsage, run *Run, rules Rules) (*Forecast, error) {
	e.leaveOutUnmetered(before)
	rate := newRate(slices.Concat(before.Days, soFar.Days), aggregate.Days(e.tenant.ID, e.zone, e.from, e.to))
	projected, dates := e.project(soFar, rate)
	now, err := Bill(e.tenant, e.zone, e.period, soFar, rules)
	if err != nil {
		return nil, err
	}
	then, err := Bill(e.tenant, e.zone, e.period, projected, rules)
	if err != nil {
		return nil, err
	}
	f := &Forecast{Tenant: e.tenant.ID, Basis: ForecastBasis{From: e.from, To: e.to, Days: rate.all.days,
		DaysProjected: len(dates), ProjectedFrom: civil.NoDate}}
	f.Basis.DaysBefore = len(e.daysBefore())
	if len(dates) > 0 {
		f.Basis.ProjectedFrom = dates[0]
	}
	adjustments := adjustmentsOf(run, e.tenant.ID)
	f.add(append(now, adjustments...), func(l *ForecastLine) (*decimal.Decimal, *Money) {
		return &l.Quantity.SoFar, &l.Amount.SoFar
	})
	f.add(append(then, adjustments...), func(l *ForecastLine) (*decimal.Decimal, *Money) {
		return &l.Quantity.Estimate, &l.Amount.Estimate
	})
	f.finish()
	return f, nil
}

// leaveOutUnmetered begins the rate no earlier than with the first usage: the days before a tenant was metered say
// nothing. Those of the month itself count in any case.
func (e *estimate) leaveOutUnmetered(before TenantUsage) {
	first := min(e.period.First(), e.to)
	for _, u := range before.Days {
		first = min(first, u.Date)
	}
	e.from = max(e.from, first)
}

// adjustmentsOf are a tenant's invoices of a draft with their adjustments alone.
func adjustmentsOf(run *Run, tenant string) (invoices []Invoice) {
	for _, i := range run.Invoices {
		if i.Tenant == tenant {
			i.Lines = slices.DeleteFunc(slices.Clone(i.Lines), func(l Line) bool { return l.Kind != Adjustment })
			invoices = append(invoices, i)
		}
	}
	return invoices
}

// add adds the lines of invoices to one side of the forecast.
func (f *Forecast) add(invoices []Invoice, side func(*ForecastLine) (*decimal.Decimal, *Money)) {
	for _, i := range invoices {
		for _, l := range i.Lines {
			if l.Kind == UsageKind {
				continue
			}
			same := func(o ForecastLine) bool {
				return o.Subscription == i.Subscription && o.Kind == l.Kind && o.Meter == l.Meter
			}
			at := slices.IndexFunc(f.Lines, same)
			if at < 0 {
				at = len(f.Lines)
				zero := Money{decimal.Zero, i.MinorUnits}
				f.Lines = append(f.Lines, ForecastLine{Subscription: i.Subscription, Kind: l.Kind, Meter: l.Meter,
					Unit: l.Unit, Amount: EstimatedPair{zero, zero}, Currency: i.Currency})
			}
			quantity, amount := side(&f.Lines[at])
			*quantity, amount.Decimal = quantity.Add(l.Quantity), amount.Add(l.Amount)
		}
	}
}

// finish sorts the lines and adds them up.
func (f *Forecast) finish() {
	slices.SortFunc(f.Lines, func(x, y ForecastLine) int {
		return cmp.Or(cmp.Compare(x.Subscription, y.Subscription), cmp.Compare(x.Kind.order(), y.Kind.order()),
			cmp.Compare(x.Meter, y.Meter))
	})
	for _, l := range f.Lines {
		at, found := slices.BinarySearchFunc(f.Totals, l.Currency,
			func(t ForecastTotal, currency string) int { return cmp.Compare(t.Currency, currency) })
		if !found {
			f.Totals = slices.Insert(f.Totals, at, ForecastTotal{l.Currency, EstimatedPair{
				Money{decimal.Zero, l.Amount.SoFar.MinorUnits}, Money{decimal.Zero, l.Amount.SoFar.MinorUnits}}})
		}
		net := &f.Totals[at].Net
		net.SoFar.Decimal = net.SoFar.Add(l.Amount.SoFar.Decimal)
		net.Estimate.Decimal = net.Estimate.Add(l.Amount.Estimate.Decimal)
	}
}
