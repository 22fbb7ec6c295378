package billing

import (
	"context"
	"fmt"
	"slices"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// addPeakCharts gives every overage that has a peak instant the picture of that date, and every correction of one that
// of its peak as it is now or, where there is none any more, as it was.
func (b *Biller) addPeakCharts(ctx context.Context, issues []Issue, on basis) error {
	type picture struct {
		tenant string
		date   civil.Date
		meter  string
	}
	lines, dates := map[picture][]*Line{}, map[string][]civil.Date{}
	add := func(tenant string, l *Line, atMS int64) {
		date := on.timelines.Zone(tenant).DateOf(atMS)
		of := picture{tenant, date, l.Meter}
		lines[of] = append(lines[of], l)
		if !slices.Contains(dates[tenant], date) {
			dates[tenant] = append(dates[tenant], date)
		}
	}
	for _, issue := range issues {
		for _, i := range issue.Invoices {
			for n := range i.Lines {
				l := &i.Lines[n]
				if r := (Account{Reasons: issue.Reasons}).ReasonFor(i, *l); r != nil && len(r.Peaks()) > 0 {
					peaks := r.Peaks()
					add(i.Tenant, l, peaks[len(peaks)-1])
				} else if l.Kind == Overage && l.PeakMS != NoInstant {
					add(i.Tenant, l, l.PeakMS)
				}
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	for _, of := range dates {
		slices.Sort(of)
	}
	in := on.inputs(on.daysOn(dates), b.Rules)
	if on.stored > 0 {
		in.Pass, in.NowMS = on.stored, aggregate.EndOfTime
	}
	profiles, err := b.Usage.Profile(ctx, in)
	if err != nil {
		return fmt.Errorf("computing the days of the peaks: %w", err)
	}
	for _, p := range profiles {
		for _, l := range lines[picture{p.Tenant, p.Date, p.Meter}] {
			entitled := b.State.Tenant(p.Tenant).Entitlement(p.Date, p.Meter, b.Rules.IVRPortFactor)
			for _, point := range p.Points {
				l.Pool = append(l.Pool, PoolPoint{civil.Millis(point.AtMS), point.Live, entitled})
			}
		}
	}
	return nil
}

// peaks returns the overage lines that have a peak instant, by that instant, and the days that these lie on.
func (b basis) peaks(issues []Issue) (map[aggregate.PeakAt]*Line, []aggregate.Day) {
	charged := map[aggregate.PeakAt]*Line{}
	dates := map[string][]civil.Date{}
	for _, issue := range issues {
		for _, i := range issue.Invoices {
			for n := range i.Lines {
				if l := &i.Lines[n]; l.Kind == Overage && l.PeakMS != NoInstant {
					charged[aggregate.PeakAt{Tenant: i.Tenant, Meter: l.Meter, AtMS: l.PeakMS}] = l
					dates[i.Tenant] = append(dates[i.Tenant], b.timelines.Zone(i.Tenant).DateOf(l.PeakMS))
				}
			}
		}
	}
	for tenant, of := range dates {
		slices.Sort(of)
		dates[tenant] = slices.Compact(of)
	}
	return charged, b.daysOn(dates)
}
