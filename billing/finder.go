package billing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// finder looks for findings (R24) of the tenants that issues were made for.
type finder struct {
	*Biller
	// period is that of the findings.
	period civil.Month
	issues []Issue
	// balances are those of the figures that the issues were made by.
	balances []aggregate.DayBalance
	// chains are what the tenants were issued before.
	chains map[string][]Issue
	on     basis
	// nowMS, in UTC epoch milliseconds, is the clock.
	nowMS int64
	found map[string][]Finding
}

// findingsOf returns, by tenant, what is found of issues of one period.
func (b *Biller) findingsOf(ctx context.Context, issues []Issue, figures *aggregate.Figures,
	chains map[string][]Issue, on basis, nowMS int64) (map[string][]Finding, error) {
	since, err := b.sinceIssue(ctx, issues, figures.Balances, chains, on, nowMS)
	if err != nil {
		return nil, err
	}
	return b.findingsBeside(ctx, since, issues, figures, on, nowMS)
}

// findingsBeside returns the same where it is known already what has come since the tenants were issued before.
func (b *Biller) findingsBeside(ctx context.Context, since map[string][]Finding, issues []Issue,
	figures *aggregate.Figures, on basis, nowMS int64) (map[string][]Finding, error) {
	if len(issues) == 0 {
		return nil, nil
	}
	f := &finder{Biller: b, period: issues[0].Period, issues: issues, balances: figures.Balances, on: on, nowMS: nowMS,
		found: map[string][]Finding{}}
	if err := f.inPeriod(ctx); err != nil {
		return nil, fmt.Errorf("finding the events to look at: %w", err)
	}
	if err := f.atPeaks(ctx); err != nil {
		return nil, fmt.Errorf("looking at who is live at the peaks: %w", err)
	}
	for _, i := range issues {
		for _, finding := range since[i.Tenant] {
			finding.Period = f.period
			f.found[i.Tenant] = append(f.found[i.Tenant], finding)
		}
		sortFindings(f.found[i.Tenant])
	}
	return f.found, nil
}

// sinceIssue returns, by tenant, what has come since those of issues were issued before, whatever the month it is in:
// findings of no period yet.
func (b *Biller) sinceIssue(ctx context.Context, issues []Issue, balances []aggregate.DayBalance,
	chains map[string][]Issue, on basis, nowMS int64) (map[string][]Finding, error) {
	f := &finder{Biller: b, issues: issues, balances: balances, chains: chains, on: on, nowMS: nowMS,
		found: map[string][]Finding{}}
	if len(issues) == 0 {
		return nil, nil
	}
	if err := f.sinceIssue(ctx); err != nil {
		return nil, fmt.Errorf("finding what has come since the last issue: %w", err)
	}
	return f.found, nil
}

// add adds a finding that names the first of what it counts.
func (f *finder) add(tenant string, code schemas.Code, count int64, names []string, records ...schemas.RecordID) {
	names = names[:min(len(names), aggregate.MostNames)]
	finding := newFinding(Found{code, count, names}, tenant, f.period)
	finding.Records = records
	f.found[tenant] = append(f.found[tenant], finding)
}

// tenants returns those of the issues, each once, in byte order.
func (f *finder) tenants() (tenants []string) {
	for _, i := range f.issues {
		tenants = append(tenants, i.Tenant)
	}
	slices.Sort(tenants)
	return slices.Compact(tenants)
}

// noted finds what is to be said of single events as of the clock: of those that start on the dates and, where after
// is not nil, have a delivery behind those positions.
func (f *finder) noted(ctx context.Context, dates map[string][]civil.Date, after []aggregate.Position,
	codes ...schemas.Code) error {
	on := f.on
	on.nowMS = f.nowMS
	noted, err := f.Usage.Noted(ctx, on.inputs(on.daysOn(dates), f.Rules), after)
	for _, n := range noted {
		if slices.Contains(codes, n.Code) {
			f.add(n.Tenant, n.Code, n.Count, named(n.Events))
		}
	}
	return err
}

// inPeriod finds what is to be said of the events of the period, on the dates whose figures count any.
func (f *finder) inPeriod(ctx context.Context) error {
	of := map[string]bool{}
	for _, tenant := range f.tenants() {
		of[tenant] = true
	}
	dates := map[string][]civil.Date{}
	for _, d := range f.balances {
		if of[d.Tenant] && d.Unmapped+d.OpenSessions+d.UnknownSubscription+d.Conflicts > 0 {
			dates[d.Tenant] = append(dates[d.Tenant], d.Date)
		}
	}
	return f.noted(ctx, dates, nil, schemas.Unmapped, schemas.OpenSession, schemas.UnknownSubscription, schemas.Conflict)
}

// sinceIssue finds what has come since the tenants were issued before: what was refused, what no invoice will carry,
// and what is ahead, whatever the month it is in.
func (f *finder) sinceIssue(ctx context.Context) error {
	// Those that were issued before by the same positions are looked at together.
	after, groups := map[string][]aggregate.Position{}, map[string][]string{}
	for _, tenant := range f.tenants() {
		var before []aggregate.Position
		if chain := f.chains[tenant]; len(chain) > 0 {
			before = chain[len(chain)-1].Positions
		}
		key := fmt.Sprint(before)
		after[key], groups[key] = before, append(groups[key], tenant)
	}
	unbilled, err := f.Usage.Unbilled(ctx, f.tenants(), civil.UTC.DateOf(f.nowMS).Add(-1))
	if err != nil {
		return err
	}
	for _, d := range f.balances { // which may be fresher than what is stored
		if d.Unallocated > 0 && !slices.Contains(unbilled[d.Tenant], d.Date) {
			unbilled[d.Tenant] = append(unbilled[d.Tenant], d.Date)
			slices.Sort(unbilled[d.Tenant])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		dates := map[string][]civil.Date{}
		for _, tenant := range groups[key] {
			dates[tenant] = unbilled[tenant]
		}
		if err := f.noted(ctx, dates, after[key], schemas.NeverBilled, schemas.Ahead); err != nil {
			return err
		}
		if err := f.refused(ctx, groups[key], after[key]); err != nil {
			return err
		}
		if err := f.sealed(ctx, groups[key], after[key]); err != nil {
			return err
		}
	}
	return nil
}

// sealed finds the events that have come behind some positions and reach a sealed period, or have left one (R25).
func (f *finder) sealed(ctx context.Context, tenants []string, after []aggregate.Position) error {
	if len(f.State.Seals()) == 0 {
		return nil
	}
	open, before := f.State.SealedThrough().Next().First(), map[string]int64{}
	for _, t := range tenants {
		before[t] = f.on.timelines.Zone(t).Start(open)
	}
	late, err := f.Usage.Reaching(ctx, before, after, f.on.Positions)
	for _, n := range late {
		f.add(n.Tenant, schemas.Sealed, n.Count, named(n.Events))
	}
	return err
}

// refused finds the refused deliveries of tenants behind some positions.
func (f *finder) refused(ctx context.Context, tenants []string, after []aggregate.Position) error {
	corrections, others, err := f.Usage.Refused(ctx, tenants, after, f.on.Positions)
	if err != nil {
		return err
	}
	for _, n := range others {
		f.add(n.Tenant, schemas.Refused, n.Count, named(n.Events))
	}
	var decoder schemas.Decoder
	open := slices.DeleteFunc(corrections, func(r aggregate.Refused) bool {
		return decoder.Order(0, r.Headers, r.Value).Answered(r.Revision, r.TimeMS, r.TimeRevision)
	})
	for len(open) > 0 {
		tenant := open[0].Tenant
		var events []aggregate.EventName
		var records []schemas.RecordID
		for len(open) > 0 && open[0].Tenant == tenant {
			if name := open[0].EventName; len(events) == 0 || events[len(events)-1] != name {
				events = append(events, name)
			}
			records, open = append(records, open[0].RecordID), open[1:]
		}
		f.add(tenant, schemas.RefusedCorrection, int64(len(events)), named(events), records...)
	}
	return nil
}

// atPeaks looks at who is live at the peaks that are charged.
func (f *finder) atPeaks(ctx context.Context) error {
	charged, days := f.on.peaks(f.issues)
	if len(charged) == 0 {
		return nil
	}
	live, err := f.Usage.AtPeaks(ctx, f.on.inputs(days, f.Rules), slices.Collect(maps.Keys(charged)))
	if err != nil {
		return err
	}
	alike, open := map[string][]string{}, map[string][]aggregate.AtPeak{}
	for _, at := range live {
		for _, agents := range samePeople(at.Agents) {
			alike[at.Tenant] = append(alike[at.Tenant], agents...)
		}
		if at.Open > 0 {
			open[at.Tenant] = append(open[at.Tenant], at)
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(alike)) {
		ids := alike[tenant]
		slices.Sort(ids)
		ids = slices.Compact(ids)
		f.add(tenant, schemas.SamePerson, int64(len(ids)), ids)
	}
	return f.openPeaks(ctx, open, charged)
}

// openPeaks finds the peaks that are attained only with open sessions: without them the overage is smaller.
func (f *finder) openPeaks(ctx context.Context, open map[string][]aggregate.AtPeak,
	charged map[aggregate.PeakAt]*Line) error {
	if len(open) == 0 {
		return nil
	}
	var tenants []*registry.Tenant
	for _, tenant := range slices.Sorted(maps.Keys(open)) {
		tenants = append(tenants, f.State.Tenant(tenant))
	}
	ended := f.Rules
	ended.OpenSessionHours = 0 // an open session ends as it begins, and is never live (R12)
	without, err := f.Usage.Compute(ctx, f.on.inputs(f.on.days(tenants, f.period), ended))
	if err != nil {
		return err
	}
	usage := ByTenant(without)
	for _, t := range tenants {
		bill := newBill(t, f.on.timelines.Zone(t.ID), f.period, usage[t.ID], f.Rules)
		var count int64
		var events []aggregate.EventName
		for _, at := range open[t.ID] {
			if l := charged[at.PeakAt]; bill.overageOf(at.Meter).quantity < l.Quantity.IntPart() {
				count, events = count+at.Open, append(events, at.OpenEvents...)
			}
		}
		if count > 0 {
			slices.SortFunc(events, aggregate.EventName.Compare)
			f.add(t.ID, schemas.OpenPeak, count, named(events))
		}
	}
	return nil
}

// samePeople groups ids that differ only in case or outer spaces (R24).
func samePeople(agents []string) (groups [][]string) {
	people := map[string][]string{}
	for _, a := range agents {
		person := strings.ToLower(strings.TrimSpace(a))
		if !slices.Contains(people[person], a) {
			people[person] = append(people[person], a)
		}
	}
	for _, person := range slices.Sorted(maps.Keys(people)) {
		if len(people[person]) > 1 {
			groups = append(groups, people[person])
		}
	}
	return groups
}

func named(events []aggregate.EventName) (names []string) {
	for _, e := range events {
		names = append(names, e.Source+" "+e.ID)
	}
	return names
}
