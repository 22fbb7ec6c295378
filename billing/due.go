package billing

import (
	"fmt"
	"maps"
	"slices"

	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// TenantPeriod is a period of a tenant.
type TenantPeriod struct {
	Tenant string
	Period civil.Month
}

// DuePeriod is a period and the tenants for which it is due, in byte order.
type DuePeriod struct {
	Period  civil.Month
	Tenants []string
}

// DuePeriods returns the periods that are to be issued at now, an instant in UTC epoch milliseconds, the oldest
// first: those of each tenant from the period `first` on whose grace is over in the tenant's own zone (R20) and
// that are not issued. A tenant's own first period is the one in which a subscription is first active (R3);
// those before it have nothing to invoice. Those after one that was issued, or after its last one, are due like any
// other, whatever the registry says by now, since an adjustment goes on the tenant's next period, whenever the
// correction comes (R21). So issued has all periods there are, those before `first` too. Where some are sealed, `first`
// is later than these: nothing is issued in them any more (R25).
//
// It keeps nothing: what is issued alone decides, so missed runs are caught up, and no clock can bring back what
// is done.
func DuePeriods(tenants []*registry.Tenant, issued map[TenantPeriod]bool, first civil.Month, nowMS int64,
	rules Rules) ([]DuePeriod, error) {
	due := map[civil.Month][]string{}
	since := map[string]civil.Month{} // the first period that a tenant was issued
	for i := range issued {
		if from, known := since[i.Tenant]; !known || i.Period < from {
			since[i.Tenant] = i.Period
		}
	}
	for _, t := range tenants {
		zone, err := zoneOf(t, rules)
		if err != nil {
			return nil, err
		}
		from, known := since[t.ID]
		if active := t.FirstActive(zone); active != civil.NoDate && (!known || active.Month() < from) {
			from, known = active.Month(), true
		}
		if !known {
			continue
		}
		for period := max(from, first); nowMS >= graceEnd(zone, period, rules); period = period.Next() {
			if !issued[TenantPeriod{t.ID, period}] {
				due[period] = append(due[period], t.ID)
			}
		}
	}
	var periods []DuePeriod
	for _, period := range slices.Sorted(maps.Keys(due)) {
		periods = append(periods, DuePeriod{period, due[period]})
	}
	return periods, nil
}

// mostDue is how many new periods the schedule issues at once: the last month's, and one whose grace ended with it.
const mostDue = 2

// ClockSuspect returns an error if periods are due that only a clock that is ahead, or a long absence, can account
// for: of a tenant that was issued before, more than two that are later than whatever was issued to anybody. Periods
// of a tenant that is held or stopped while others were issued are none of these. Where nobody was issued yet, it is
// more than two of any tenant that are later than the month in which the registry last changed, changed: what is
// behind that is what schedule.from asks for. The error's code is clock_suspect.
func ClockSuspect(due []DuePeriod, issued map[TenantPeriod]bool, changed civil.Month) error {
	latest, was := changed, "it is the last in which the registry changed"
	before := map[string]bool{}
	for i := range issued {
		if len(before) == 0 || i.Period > latest {
			latest = i.Period
		}
		before[i.Tenant] = true
	}
	if len(before) > 0 {
		was = "it is the last that anybody was issued"
	}
	count := map[string]int{}
	for _, d := range due {
		if d.Period <= latest {
			continue
		}
		for _, tenant := range d.Tenants {
			if count[tenant]++; (before[tenant] || len(before) == 0) && count[tenant] > mostDue {
				return fmt.Errorf("%s: after %s more than %d periods of %s are due at once, and %s (R20); "+
					"is the clock ahead? If it is right, and nothing was issued for so long, set schedule.catchUp to true",
					schemas.ClockSuspect, latest, mostDue, tenant, was)
			}
		}
	}
	return nil
}

// graceEnd is when a tenant's period can be issued: 00:00, in its zone, of the date so many dates after the end
// of the period (R20).
func graceEnd(zone *civil.Zone, period civil.Month, rules Rules) int64 {
	return zone.Start(period.Next().First().Add(rules.GraceDays))
}
