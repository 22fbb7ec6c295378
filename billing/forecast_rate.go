package billing

import (
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// quantityDecimals is how many decimals quantities have at most.
const quantityDecimals = 6

// rate is what days of each weekday have, and all of them together.
type rate struct {
	weekdays [7]dayRate
	all      dayRate
}

// dayRate is what some days have by meter: the greatest peak, and the sum of units.
type dayRate struct {
	days  int
	peaks map[string]int64
	units map[string]decimal.Decimal
}

// newRate takes the rate of days from usage, that of other days left out.
func newRate(usage []aggregate.Usage, days []aggregate.Day) *rate {
	r := &rate{all: newDayRate()}
	for i := range r.weekdays {
		r.weekdays[i] = newDayRate()
	}
	in := map[civil.Date]bool{}
	for _, d := range days {
		in[d.Date] = true
		r.weekdays[d.Date.Time().Weekday()].days++
		r.all.days++
	}
	for _, u := range usage {
		if u.Subscription == "" && in[u.Date] {
			r.weekdays[u.Date.Time().Weekday()].add(u)
			r.all.add(u)
		}
	}
	return r
}

func newDayRate() dayRate {
	return dayRate{peaks: map[string]int64{}, units: map[string]decimal.Decimal{}}
}

func (d *dayRate) add(u aggregate.Usage) {
	d.peaks[u.Meter] = max(d.peaks[u.Meter], u.Peak)
	d.units[u.Meter] = d.units[u.Meter].Add(u.Units)
}

// on returns the rate for a date: of its weekday, or of all days where that has none.
func (r *rate) on(date civil.Date) dayRate {
	if of := r.weekdays[date.Time().Weekday()]; of.days > 0 {
		return of
	}
	return r.all
}

// mean is the units of a day, with the decimals that quantities have.
func (d dayRate) mean(meter string) decimal.Decimal {
	return d.units[meter].DivRound(decimal.NewFromInt(int64(d.days)), quantityDecimals)
}

// project adds to the usage so far what the dates of the month from today on are estimated to have, as far as there is
// a primary, and returns those dates. Today has what it has already, where that is more.
func (e *estimate) project(soFar TenantUsage, rate *rate) (TenantUsage, []civil.Date) {
	projected := soFar
	projected.Days = slices.Clone(soFar.Days)
	var dates []civil.Date
	for _, day := range aggregate.Days(e.tenant.ID, e.zone, max(e.today, e.period.First()), e.period.Next().First()) {
		dates = append(dates, day.Date)
		primary := e.tenant.PrimaryOn(day.Date)
		if primary == nil || rate.all.days == 0 {
			continue
		}
		of := rate.on(day.Date)
		for _, meter := range schemas.PooledMeters {
			projected.peak(e.tenant.ID, day.Date, meter, of.peaks[meter])
		}
		for meter := range of.units {
			if strings.HasPrefix(meter, schemas.ConnectPrefix) {
				projected.units(e.tenant.ID, day.Date, meter, primary.ID, of.mean(meter))
			}
		}
	}
	return projected, dates
}

// peak raises the tenant's peak of a date to one that has no instant.
func (u *TenantUsage) peak(tenant string, date civil.Date, meter string, peak int64) {
	for i := range u.Days {
		if d := &u.Days[i]; d.Date == date && d.Meter == meter && d.Subscription == "" {
			if peak > d.Peak {
				d.Peak, d.PeakMS = peak, NoInstant
			}
			return
		}
	}
	u.Days = append(u.Days, aggregate.Usage{Tenant: tenant, Date: date, Meter: meter, Peak: peak, PeakMS: NoInstant})
}

// units raises the units of a date, on the tenant and on the primary (R11).
func (u *TenantUsage) units(tenant string, date civil.Date, meter, primary string, units decimal.Decimal) {
	for _, d := range u.Days {
		if d.Date == date && d.Meter == meter && d.Subscription == "" {
			units = units.Sub(d.Units)
		}
	}
	if !units.IsPositive() {
		return
	}
	for _, of := range []string{"", primary} {
		u.Days = append(u.Days, aggregate.Usage{Tenant: tenant, Date: date, Meter: meter, Subscription: of, Units: units})
	}
}
