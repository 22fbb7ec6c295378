package billing

import (
	"context"
	"fmt"
	"slices"

	"apportion/aggregate"
	"apportion/schemas/civil"
)

// addPeakCharts gives every overage that has a peak instant the picture of that date.
func (b *Biller) addPeakCharts(ctx context.Context, issues []Issue, on basis) error {
	charged, days := on.peaks(issues)
	if len(charged) == 0 {
		return nil
	}
	type picture struct {
		tenant string
		date   civil.Date
		meter  string
	}
	lines := map[picture]*Line{}
	for at, l := range charged {
		lines[picture{at.Tenant, on.timelines.Zone(at.Tenant).DateOf(at.AtMS), at.Meter}] = l
	}
	profiles, err := b.Usage.Profile(ctx, on.inputs(days, b.Rules))
	if err != nil {
		return fmt.Errorf("computing the days of the peaks: %w", err)
	}
	for _, p := range profiles {
		if l := lines[picture{p.Tenant, p.Date, p.Meter}]; l != nil {
			for _, point := range p.Points {
				l.Pool = append(l.Pool, PoolPoint{civil.Millis(point.AtMS), point.Live, l.Entitled})
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
