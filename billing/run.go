package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Usage is where a run takes usage from; aggregate/clickhouse has it.
type Usage interface {
	aggregate.Store
	// Load returns the figures of the dates `[from, to)` as they stand, of the tenants or, with nil, of all
	// that have any.
	Load(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error)
	// Proof counts what the dates `[from, to)` of the tenants or, with nil, of all that have a zone have, from the deliveries as stored up
	// to the positions of the pass: in the order of tenant and date, those alone that have any.
	Proof(ctx context.Context, tenants []string, from, to civil.Date, pass aggregate.Pass, timelines aggregate.Timelines) ([]aggregate.Proof, error)
	// Compute computes the figures of the days from the deliveries within the bound, and stores nothing.
	Compute(ctx context.Context, in aggregate.Inputs) (*aggregate.Figures, error)
	// MonthsChangedSince returns the months of each tenant that have a day in force by a pass after the given one, with the number
	// of the last such pass.
	MonthsChangedSince(ctx context.Context, tenants []string, after uint64) (map[string]map[civil.Month]uint64, error)
	// Noted finds what is to be said of single events that start on the days and, where after is not nil, have a delivery
	// behind those positions (R24), in the order of tenant and code.
	Noted(ctx context.Context, in aggregate.Inputs, after []aggregate.Position) ([]aggregate.Noted, error)
	// AtPeaks finds what is live at the peaks that somebody should look at, of those alone that have any; the days are
	// those that the peaks lie on.
	AtPeaks(ctx context.Context, in aggregate.Inputs, peaks []aggregate.PeakAt) ([]aggregate.AtPeak, error)
	// Unbilled returns the dates of the tenants on which usage stands that no invoice will carry, and those from a date
	// on that have any usage, by tenant and date.
	Unbilled(ctx context.Context, tenants []string, from civil.Date) (map[string][]civil.Date, error)
	// Refused returns, of the tenants, what was refused behind some positions and up to others: of events that have an
	// accepted delivery each refused one, in the order of events and places; of the others, by tenant, how many events
	// there are, and the first of them.
	Refused(ctx context.Context, tenants []string, after, upTo []aggregate.Position) (corrections []aggregate.Refused, others []aggregate.Noted, err error)
	// UnknownTenants returns the tenants that the registry did not know when their usage was worked out, in byte order (R22).
	UnknownTenants(ctx context.Context) ([]string, error)
	// Profile computes the concurrency over each of the days, as Compute does, in the order of tenant, date and meter.
	Profile(ctx context.Context, in aggregate.Inputs) ([]aggregate.Profile, error)
}

// Biller bills periods of the tenants of one state of the registry.
type Biller struct {
	State registry.State
	Rules Rules
	// Seller is who sends what is issued from now on.
	Seller Seller
	// ItemCodes are what its lines have.
	ItemCodes ItemCodes
	Usage     Usage
	Lines     Lines
	Log       Log
	// Behind are the partitions of which something published is not taken in yet, with how much; while there are
	// any, nothing is issued (R22).
	Behind []string
	// Differences are what does not balance between the topics and what ingest has taken in; while there are
	// any, nothing is issued (R22).
	Differences []string
	// Progress is called with the tenants done and the tenants there are.
	Progress func(done, total int)
}

// Run is the outcome of a preview or an issue of a period.
type Run struct {
	Period civil.Month
	Draft  bool
	// Invoices are in the byte order of tenant and subscription.
	Invoices []Invoice
	// Stopped are the tenants that could not be billed, and why, in byte order.
	Stopped []*Stop
	// Issued counts the tenants whose period this run has issued, those issued before left out; in what
	// [Biller.Issued] returns, all of them.
	Issued int
	// Findings are what a person should look at, of the tenants billed and of all (R24), in the order of tenant and code.
	Findings []Finding
	// Accounts have, by tenant, what the files need besides the invoices.
	Accounts map[string]Account
}

// Account is what a tenant's invoices of a run rest on, and what is to be said beside them.
type Account struct {
	// Tenant is the registry's document of the tenant, as it stood when it was billed.
	Tenant *registry.Tenant
	// IssueDate is the date, in the tenant's zone, on which the grace is over (R20).
	IssueDate civil.Date
	// Balance says what became of the period's deliveries, and what is to be reported of them (R10, R12, R22).
	Balance aggregate.Balance
	// RegistryOffset is the next offset of the registry's command log, Positions the ends of the ledger, and
	// TZVersion the time zone data in use (R23).
	RegistryOffset int64
	Positions      []aggregate.Position
	TZVersion      string
	// Zone is the tenant's, in that data, and Seller who sends the invoices.
	Zone      *civil.Zone
	Seller    Seller
	ItemCodes ItemCodes
	// Findings are what a person should look at before the month is signed (R24).
	Findings []Finding
	// TaxedAs has the tax of what corrects a period, where that is not for the document to say ([Account.TaxOf]).
	TaxedAs map[civil.Month]*registry.Tax
}

func (r *Run) sort() {
	slices.SortFunc(r.Invoices, func(x, y Invoice) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Subscription, y.Subscription))
	})
	for _, a := range r.Accounts {
		r.Findings = append(r.Findings, a.Findings...)
	}
	sortFindings(r.Findings)
	slices.SortFunc(r.Stopped, func(x, y *Stop) int { return cmp.Compare(x.Tenant, y.Tenant) })
}

// Preview bills a period as it stands at now (R12), for the tenants named or else for all, and issues nothing. It
// carries the adjustments that an issue would; those of a period that is issued are on invoices already.
func (b *Biller) Preview(ctx context.Context, period civil.Month, tenants []string, now int64) (*Run, error) {
	taken, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	for range rounds {
		snapshot, err := Snapshot(b.State, b.Rules)
		if err != nil {
			return nil, err
		}
		chosen := b.choose(&Run{}, tenants)
		chains, err := AllIssues(b.State, ids(chosen))
		if err != nil {
			return nil, err
		}
		issuedBefore := slices.DeleteFunc(slices.Clone(chosen), func(t *registry.Tenant) bool {
			return len(chains[t.ID]) == 0 || issueOf(chains[t.ID], period) != nil
		})
		// What was found of usage in other months is in the daily figures (R24).
		pass, err := b.refresh(ctx, snapshot)
		if err != nil {
			return nil, err
		}
		if pass.RegistryOffset > snapshot.RegistryOffset || !covers(pass.Positions, taken) {
			continue
		}
		again, err := b.rerate(ctx, issuedBefore, chains, pass, snapshot.Timelines)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(slices.Collect(maps.Values(again.moved)), true) {
			return b.draft(ctx, snapshot, period, tenants, now, aggregate.EndOfTime, again, chains)
		}
	}
	return nil, fmt.Errorf("the registry or the usage kept changing while %s was being billed; run it again", period)
}

// View bills a period in a view, for the tenants named or else for all: its own lines, without adjustments, which rest
// on what stands. Nothing is stored.
func (b *Biller) View(ctx context.Context, period civil.Month, tenants []string, view View) (*Run, error) {
	viewed := *b
	viewed.State, viewed.Rules.Zones = view.State, view.Zones
	snapshot, err := Snapshot(view.State, viewed.Rules)
	if err != nil {
		return nil, err
	}
	arrivedBy := aggregate.EndOfTime
	if view.KnownAt != nil {
		arrivedBy = *view.KnownAt
	}
	return viewed.draft(ctx, snapshot, period, tenants, view.Now, arrivedBy, reratings{}, nil)
}

// draft bills a period from the deliveries that have arrived by an instant, with what corrects the periods that are
// billed again, of the chains.
func (b *Biller) draft(ctx context.Context, snapshot aggregate.Snapshot, period civil.Month, tenants []string, now, arrivedBy int64,
	again reratings, chains map[string][]Issue) (*Run, error) {
	run := &Run{Period: period, Draft: true, Accounts: map[string]Account{}}
	chosen := b.choose(run, tenants)
	positions, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	pass, err := b.Usage.LastPass(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	chosen = again.without(run, withoutBehind(run, chosen, pass))
	basis := basis{snapshot: snapshot, bound: aggregate.ReadBound{Positions: positions, ArrivedBy: arrivedBy}, now: now}
	figures, err := b.Usage.Compute(ctx, basis.inputs(basis.days(chosen, period), b.Rules))
	if err != nil {
		return nil, fmt.Errorf("working out the usage of %s: %w", period, err)
	}
	issues, err := b.each(ctx, chosen, figures, again.periods, run, basis)
	if err != nil {
		return nil, err
	}
	var found map[string][]Finding
	if chains != nil {
		if found, err = b.notesOf(ctx, issues, figures, chains, basis, now); err != nil {
			return nil, err
		}
		if err := b.withHeld(ctx, run); err != nil {
			return nil, err
		}
	}
	documents := documents{}
	for _, issue := range issues {
		run.Invoices = append(run.Invoices, issue.Invoices...)
		account, err := issue.account(b.State.Tenant(issue.Tenant), b.Seller)
		if err != nil {
			return nil, err
		}
		account.Findings = found[issue.Tenant]
		if account.TaxedAs, err = b.taxedAs(account.Tenant, issue.Invoices, chains[issue.Tenant], documents); err != nil {
			return nil, err
		}
		run.Accounts[issue.Tenant] = account
	}
	run.sort()
	return run, nil
}

func ids(tenants []*registry.Tenant) []string {
	ids := []string{}
	for _, t := range tenants {
		ids = append(ids, t.ID)
	}
	return ids
}

// basis is what tenants are billed on.
type basis struct {
	snapshot aggregate.Snapshot
	pass     uint64
	bound    aggregate.ReadBound
	now      int64
}

// inputs are what the usage of days is computed from.
func (b basis) inputs(days []aggregate.Day, rules Rules) aggregate.Inputs {
	return aggregate.Inputs{Days: days, Bound: b.bound, Timelines: b.snapshot.Timelines, Rules: rules.Rules, NowMS: b.now}
}

// days returns the dates of a period of the tenants.
func (b basis) days(tenants []*registry.Tenant, period civil.Month) []aggregate.Day {
	chosen := map[string]bool{}
	for _, t := range tenants {
		chosen[t.ID] = true
	}
	var days []aggregate.Day
	for _, t := range b.snapshot.Tenants {
		if chosen[t.ID] {
			days = append(days, aggregate.Days(t.ID, b.snapshot.Timelines.Zone(t.ID), period.First(), period.Next().First())...)
		}
	}
	return days
}

// Due reports whether the grace of a period is over at now for every tenant (R20).
func (b *Biller) Due(period civil.Month, now int64) (bool, error) {
	for _, t := range b.State.Tenants() {
		if end, err := b.graceEnds(t, period); err != nil || now < end {
			return false, err
		}
	}
	return true, nil
}

// each bills the tenants one by one; one that stops is noted and the others go on (R19).
func (b *Biller) each(ctx context.Context, tenants []*registry.Tenant, figures *aggregate.Figures, again map[string][]rerated, run *Run, on basis) ([]Issue, error) {
	usage := ByTenant(figures)
	timelines := on.snapshot.Timelines
	var issues []Issue
	for i, t := range tenants {
		b.Progress(i, len(tenants))
		invoices, err := b.one(t, run.Period, usage[t.ID], again[t.ID])
		var stop *Stop
		if errors.As(err, &stop) {
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		if err != nil {
			return nil, err
		}
		issues = append(issues, Issue{
			Tenant: t.ID, Period: run.Period, Invoices: invoices,
			Basis: Basis{Date: run.Period.Next().First().Add(b.Rules.GraceDays), Balance: usage[t.ID].Balance, RegistryOffset: on.snapshot.RegistryOffset,
				Pass: on.pass, Positions: on.bound.Positions, Rules: b.Rules.JSON(), TZVersion: b.Rules.zones().Edition,
				Zone: timelines.Zone(t.ID).Data(), Seller: b.Seller, ItemCodes: b.ItemCodes, Files: FilesVersion},
		})
	}
	if err := b.draw(ctx, issues, on); err != nil {
		return nil, err
	}
	b.Progress(len(tenants), len(tenants))
	return issues, nil
}

// one bills a tenant's period, with what corrects the periods that are billed again (R21).
func (b *Biller) one(t *registry.Tenant, period civil.Month, usage TenantUsage, again []rerated) ([]Invoice, error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return nil, err
	}
	invoices, err := Bill(t, zone, period, usage, b.Rules)
	if err != nil {
		return nil, err
	}
	var corrections []Correction
	for _, r := range again {
		now, err := Bill(t, zone, r.period, r.usage, b.Rules)
		var stop *Stop
		if errors.As(err, &stop) {
			stop.Message = "billing " + r.period.String() + " again, which is issued (R21): " + stop.Message
			stop.Period, stop.Rerated = period, r.period
			return nil, stop
		}
		if err != nil {
			return nil, err
		}
		corrections = append(corrections, Correction{r.period, r.issued, now})
	}
	return Adjust(t, period, invoices, corrections), nil
}

// draw gives every overage that has a peak instant the picture of that date.
func (b *Biller) draw(ctx context.Context, issues []Issue, on basis) error {
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
		lines[picture{at.Tenant, on.snapshot.Timelines.Zone(at.Tenant).DateOf(at.AtMS), at.Meter}] = l
	}
	profiles, err := b.Usage.Profile(ctx, on.inputs(days, b.Rules))
	if err != nil {
		return fmt.Errorf("working out the days of the peaks: %w", err)
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
					dates[i.Tenant] = append(dates[i.Tenant], b.snapshot.Timelines.Zone(i.Tenant).DateOf(l.PeakMS))
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

// ByTenant gives each tenant its own part of the figures.
func ByTenant(figures *aggregate.Figures) map[string]TenantUsage {
	usage := map[string]TenantUsage{}
	for _, u := range figures.Usage {
		t := usage[u.Tenant]
		t.Days = append(t.Days, u)
		usage[u.Tenant] = t
	}
	for _, d := range figures.Balances {
		t := usage[d.Tenant]
		t.Balance = t.Balance.Add(d.Balance)
		usage[d.Tenant] = t
	}
	for tenant, unproved := range figures.Unproved {
		t := usage[tenant]
		t.Unproved = unproved
		usage[tenant] = t
	}
	for tenant, t := range usage {
		t.Agents = figures.Agents
		usage[tenant] = t
	}
	return usage
}

// choose returns the tenants named, in byte order, or all; a name that the registry does not have is a stop.
func (b *Biller) choose(run *Run, names []string) []*registry.Tenant {
	all := b.State.Tenants()
	if len(names) == 0 {
		return all
	}
	for _, name := range names {
		if b.State.Tenant(name) == nil {
			stop := newStop(name, run.Period, schemas.UnknownTenant, "the registry has no such tenant")
			stop.Rule = "R1" // what a tenant is; that of the code is on usage that comes in for none
			run.Stopped = append(run.Stopped, stop)
		}
	}
	var chosen []*registry.Tenant
	for _, t := range all {
		if slices.Contains(names, t.ID) {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

// graceEnds returns when a tenant's period can be issued: 00:00, in its zone, of the date so many dates after
// the end of the period (R20).
func (b *Biller) graceEnds(t *registry.Tenant, period civil.Month) (int64, error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return 0, err
	}
	return graceEnd(zone, period, b.Rules), nil
}
