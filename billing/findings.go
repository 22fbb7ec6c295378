package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Finding is something about a tenant that a person should look at before the month is signed. It stops nothing (R24).
type Finding struct {
	Code schemas.Code `json:"code"`
	// Tenant is empty where it is of all: usage of tenants that the registry lacks.
	Tenant string      `json:"tenantId"`
	Period civil.Month `json:"period"`
	// Count says of how many events, or names, it is; and Names are up to ten of them in byte order, events by source
	// and id.
	Count  int64    `json:"count"`
	Names  []string `json:"names"`
	Rule   string   `json:"rule"`
	Advice string   `json:"advice"`
	// Places are those on Kafka of what was refused. They depend on the order and number of deliveries, so files leave
	// them out (R23).
	Places []schemas.RecordID `json:"places,omitempty"`
}

// Found is a finding as it is recorded with an issue.
type Found struct {
	Code  schemas.Code `json:"code"`
	Count int64        `json:"count"`
	Names []string     `json:"names"`
}

// newFinding returns a finding of a tenant's period, with the rule and the advice of its code.
func newFinding(f Found, tenant string, period civil.Month) Finding {
	return Finding{Code: f.Code, Tenant: tenant, Period: period, Count: f.Count, Names: f.Names,
		Rule: f.Code.Rule(), Advice: f.Code.Advice()}
}

// Lacking reports whether a bill with this finding is known to lack something: an issue with one ends as done, with
// findings (R24).
func (f Finding) Lacking() bool {
	return f.Code == schemas.RefusedCorrection || f.Code == schemas.NeverBilled || f.Code == schemas.Ahead
}

// String says the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s): %s: %d (%s); %s", strings.TrimSpace(f.Tenant+" "+f.Period.String()),
		f.Code, f.Rule, cmp.Or(f.Code.Title(), "to be looked at"), f.Count, f.Named(), f.Advice)
}

// Named lists the names, in quotes where outer spaces would be lost on the reader.
func (f Finding) Named() string {
	names := slices.Clone(f.Names)
	for n, name := range names {
		if strings.TrimSpace(name) != name {
			names[n] = strconv.Quote(name)
		}
	}
	if int64(len(names)) < f.Count {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// Findings returns what there is to be looked at in a period of all tenants (R24): of those that are issued what was found
// at the issue, and of the others what an issue would find now, by their figures as the pass has them. Now is in UTC epoch
// milliseconds.
func (b *Biller) Findings(ctx context.Context, period civil.Month, figures *aggregate.Figures, pass aggregate.Pass, now int64) ([]Finding, error) {
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	chains, err := AllIssues(b.State, nil)
	if err != nil {
		return nil, err
	}
	usage := ByTenant(figures)
	run := &Run{Period: period}
	var open []Issue
	for _, t := range b.State.Tenants() {
		if issue := issueOf(chains[t.ID], period); issue != nil {
			for _, f := range issue.Findings {
				run.Findings = append(run.Findings, newFinding(f, t.ID, period))
			}
			continue
		}
		// One that is stopped has no invoices to look at.
		invoices, err := Bill(t, snapshot.Timelines.Zone(t.ID), period, usage[t.ID], b.Rules)
		if err != nil && !errors.As(err, new(*Stop)) {
			return nil, err
		}
		open = append(open, Issue{Tenant: t.ID, Period: period, Invoices: invoices})
	}
	on := b.basisOf(snapshot, pass.Pass, pass.Positions)
	found, err := b.findingsOf(ctx, open, figures, chains, on, now)
	if err != nil {
		return nil, err
	}
	for _, findings := range found {
		run.Findings = append(run.Findings, findings...)
	}
	if err := b.addUnknownTenants(ctx, run); err != nil {
		return nil, err
	}
	sortFindings(run.Findings)
	return run.Findings, nil
}

// LastFindings counts, by code, what was found at the last issue of each tenant, and the tenants that the registry lacks.
func (b *Biller) LastFindings(ctx context.Context) (map[schemas.Code]int64, error) {
	counts := map[schemas.Code]int64{}
	for _, code := range schemas.CodesOf(schemas.IsFinding) {
		counts[code] = 0
	}
	chains, err := AllIssues(b.State, nil)
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		for _, f := range chain[len(chain)-1].Findings {
			counts[f.Code]++
		}
	}
	var run Run
	err = b.addUnknownTenants(ctx, &run)
	for _, f := range run.Findings {
		counts[f.Code] = f.Count
	}
	return counts, err
}

// sortFindings puts findings in the order of tenant and code.
func sortFindings(findings []Finding) {
	order := schemas.CodesOf(schemas.IsFinding)
	rank := func(f Finding) int {
		if at := slices.Index(order, f.Code); at >= 0 {
			return at
		}
		return len(order) // of another release
	}
	slices.SortFunc(findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(rank(x), rank(y)))
	})
}

// findingsOf looks at the tenants that issues were made for, and returns what is found, by tenant (R24). The chains have what
// they were issued before; now, in UTC epoch milliseconds, is the clock.
func (b *Biller) findingsOf(ctx context.Context, issues []Issue, figures *aggregate.Figures, chains map[string][]Issue, on basis, now int64) (map[string][]Finding, error) {
	found := map[string][]Finding{}
	if len(issues) == 0 {
		return found, nil
	}
	add := func(tenant string, code schemas.Code, count int64, names []string, places ...schemas.RecordID) {
		f := newFinding(Found{code, count, names}, tenant, issues[0].Period)
		f.Places = places
		found[tenant] = append(found[tenant], f)
	}
	if err := b.findInPeriod(ctx, issues, figures, on, now, add); err != nil {
		return nil, fmt.Errorf("finding the events to look at: %w", err)
	}
	if err := b.findSinceIssue(ctx, issues, figures, chains, on, now, add); err != nil {
		return nil, fmt.Errorf("finding what has come since the last issue: %w", err)
	}
	if err := b.findAtPeaks(ctx, issues, on, add); err != nil {
		return nil, fmt.Errorf("looking at who is live at the peaks: %w", err)
	}
	for _, findings := range found {
		sortFindings(findings)
	}
	return found, nil
}

func tenantsOf(issues []Issue) (tenants []string) {
	for _, i := range issues {
		tenants = append(tenants, i.Tenant)
	}
	return tenants
}

type addFinding func(tenant string, code schemas.Code, count int64, names []string, places ...schemas.RecordID)

// findInPeriod finds what is to be said of the events of the period, on the dates whose figures count any.
func (b *Biller) findInPeriod(ctx context.Context, issues []Issue, figures *aggregate.Figures, on basis, now int64, add addFinding) error {
	of := map[string]bool{}
	for _, tenant := range tenantsOf(issues) {
		of[tenant] = true
	}
	dates := map[string][]civil.Date{}
	for _, d := range figures.Balances {
		if of[d.Tenant] && d.Unmapped+d.OpenSessions+d.UnknownSubscription+d.Conflicts > 0 {
			dates[d.Tenant] = append(dates[d.Tenant], d.Date)
		}
	}
	on.nowMS = now
	noted, err := b.Usage.Noted(ctx, on.inputs(on.daysOn(dates), b.Rules), nil)
	for _, n := range noted {
		if n.Code != schemas.NeverBilled && n.Code != schemas.Ahead {
			add(n.Tenant, n.Code, n.Count, named(n.Events))
		}
	}
	return err
}

// findSinceIssue finds what has come since the tenants were issued before: what was refused, what no invoice will carry, and
// what is ahead, whatever the month it is in.
func (b *Biller) findSinceIssue(ctx context.Context, issues []Issue, figures *aggregate.Figures, chains map[string][]Issue, on basis, now int64, add addFinding) error {
	// Those that were issued before by the same positions are looked at together.
	after, groups := map[string][]aggregate.Position{}, map[string][]string{}
	for _, i := range issues {
		var before []aggregate.Position
		if chain := chains[i.Tenant]; len(chain) > 0 {
			before = chain[len(chain)-1].Positions
		}
		key := fmt.Sprint(before)
		after[key], groups[key] = before, append(groups[key], i.Tenant)
	}
	unbilled, err := b.Usage.Unbilled(ctx, tenantsOf(issues), civil.UTC.DateOf(now).Add(-1))
	if err != nil {
		return err
	}
	for _, d := range figures.Balances { // which may be fresher than what is stored
		if d.Unallocated > 0 && !slices.Contains(unbilled[d.Tenant], d.Date) {
			unbilled[d.Tenant] = append(unbilled[d.Tenant], d.Date)
			slices.Sort(unbilled[d.Tenant])
		}
	}
	var decoder schemas.Decoder
	on.nowMS = now
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		tenants := groups[key]
		dates := map[string][]civil.Date{}
		for _, tenant := range tenants {
			dates[tenant] = unbilled[tenant]
		}
		noted, err := b.Usage.Noted(ctx, on.inputs(on.daysOn(dates), b.Rules), after[key])
		if err != nil {
			return err
		}
		for _, n := range noted {
			if n.Code == schemas.NeverBilled || n.Code == schemas.Ahead {
				add(n.Tenant, n.Code, n.Count, named(n.Events))
			}
		}
		corrections, others, err := b.Usage.Refused(ctx, tenants, after[key], on.Positions)
		if err != nil {
			return err
		}
		for _, n := range others {
			add(n.Tenant, schemas.Refused, n.Count, named(n.Events))
		}
		open := slices.DeleteFunc(corrections, func(r aggregate.Refused) bool { return answered(r, decoder.Order(0, r.Headers, r.Value)) })
		for len(open) > 0 {
			tenant := open[0].Tenant
			var events []aggregate.EventName
			var places []schemas.RecordID
			for len(open) > 0 && open[0].Tenant == tenant {
				if name := open[0].EventName; len(events) == 0 || events[len(events)-1] != name {
					events = append(events, name)
				}
				places, open = append(places, open[0].RecordID), open[1:]
			}
			add(tenant, schemas.RefusedCorrection, int64(len(events)), named(events[:min(len(events), aggregate.MostNames)]), places...)
		}
	}
	return nil
}

// answered reports whether an accepted delivery answers one that was refused (R24): it has a revision as high or, where
// the revision could not be read, a time as late. A first delivery, of revision 0, does not answer what corrects it: the
// time of Connect usage is that of the usage itself, in its corrections too.
func answered(r aggregate.Refused, o schemas.Order) bool {
	if o.HasRevision {
		return r.Revision >= o.Revision
	}
	return o.HasTime && (r.TimeMS > o.TimeMS || r.TimeMS == o.TimeMS && r.TimeRevision > 0)
}

// findAtPeaks looks at who is live at the peaks that are charged.
func (b *Biller) findAtPeaks(ctx context.Context, issues []Issue, on basis, add addFinding) error {
	charged, days := on.peaks(issues)
	if len(charged) == 0 {
		return nil
	}
	live, err := b.Usage.AtPeaks(ctx, on.inputs(days, b.Rules), slices.Collect(maps.Keys(charged)))
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
		add(tenant, schemas.SamePerson, int64(len(ids)), ids[:min(len(ids), aggregate.MostNames)])
	}
	return b.findOpenPeaks(ctx, issues[0].Period, open, charged, on, add)
}

// findOpenPeaks finds the peaks that are attained only with open sessions: without them the overage is smaller.
func (b *Biller) findOpenPeaks(ctx context.Context, period civil.Month, open map[string][]aggregate.AtPeak, charged map[aggregate.PeakAt]*Line, on basis, add addFinding) error {
	if len(open) == 0 {
		return nil
	}
	var tenants []*registry.Tenant
	for _, tenant := range slices.Sorted(maps.Keys(open)) {
		tenants = append(tenants, b.State.Tenant(tenant))
	}
	ended := b.Rules
	ended.OpenSessionHours = 0 // an open session ends as it begins, and is never live (R12)
	without, err := b.Usage.Compute(ctx, on.inputs(on.days(tenants, period), ended))
	if err != nil {
		return err
	}
	usage := ByTenant(without)
	for _, t := range tenants {
		bill := newBill(t, on.timelines.Zone(t.ID), period, usage[t.ID], b.Rules)
		var count int64
		var events []aggregate.EventName
		for _, at := range open[t.ID] {
			if l := charged[at.PeakAt]; bill.overageAtPeak(at.Meter).quantity < l.Quantity.IntPart() {
				count, events = count+at.Open, append(events, at.OpenEvents...)
			}
		}
		if count > 0 {
			slices.SortFunc(events, aggregate.EventName.Compare)
			add(t.ID, schemas.OpenPeak, count, named(events[:min(len(events), aggregate.MostNames)]))
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

// addUnknownTenants adds to the findings of a run that the registry lacks tenants that have usage.
func (b *Biller) addUnknownTenants(ctx context.Context, run *Run) error {
	held, err := b.Usage.UnknownTenants(ctx)
	if err != nil {
		return fmt.Errorf("reading which tenants the registry lacks: %w", err)
	}
	held = slices.DeleteFunc(slices.Clone(held), func(id string) bool { return b.State.Tenant(id) != nil })
	if len(held) > 0 {
		run.Findings = append(run.Findings, newFinding(Found{schemas.UnknownTenant, int64(len(held)), held[:min(len(held), aggregate.MostNames)]}, "", run.Period))
	}
	return nil
}
