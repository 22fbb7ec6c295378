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

// Biller bills periods of the tenants of one state of the registry.
type Biller struct {
	State registry.State
	Rules Rules
	// Seller is who sends what is issued from now on.
	Seller Seller
	// ItemCodes are what its lines have.
	ItemCodes ItemCodes
	Usage     Usage
	// Deliveries are where the events behind adjustments are found.
	Deliveries Deliveries
	// Refresh brings the daily figures up to date with a registry, and returns the pass that they are of then.
	Refresh func(ctx context.Context, registry aggregate.Snapshot) (aggregate.Pass, error)
	Lines   Lines
	Log     Log
	// Behind are the partitions of which something published is not taken in yet, with how much; while there are
	// any, nothing is issued (R22).
	Behind []string
	// Differences are what does not balance between the topics and what ingest has taken in; while there are
	// any, nothing is issued (R22).
	Differences []string
	// ChangedPrices, which may be nil, reports whether whoever issues has changed a tenant's prices of a period; then
	// somebody else must issue it.
	ChangedPrices func(tenant string, period civil.Month) bool
	// Progress, which may be nil, is called with the tenants done and the tenants there are.
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
	// Issued counts the tenants whose period this run has issued, without those that were issued before.
	Issued int
	// Already are, in a preview, the tenants whose period is issued.
	Already []AlreadyIssued
	// Findings are what a person should look at, of the tenants billed and of all (R24), in the order of tenant and code.
	Findings []Finding
	// Accounts have, by tenant, what the files need besides the invoices.
	Accounts map[string]Account

	usage map[string]TenantUsage // that a draft is made of, by tenant
}

// Account is what a tenant's invoices of a run are based on, and what is to be said beside them.
type Account struct {
	// Tenant is the registry's document of the tenant, as it stood when it was billed.
	Tenant *registry.Tenant
	// IssueDate is the date, in the tenant's zone, on which the grace is over (R20).
	IssueDate civil.Date
	// Balance says what became of the period's deliveries, and what is to be reported of them (R10, R12, R22).
	Balance aggregate.Balance
	// Basis is what the usage and the rules were (R23).
	aggregate.Basis
	// Zone is the tenant's, in the time zone data of the basis, and Seller who sends the invoices.
	Zone      *civil.Zone
	Seller    Seller
	ItemCodes ItemCodes
	// Findings are what a person should look at before the month is signed (R24).
	Findings []Finding
	// Reasons are why the invoices have adjustments ([Account.ReasonFor]).
	Reasons []Reason
	// TaxedAs has the tax of what corrects a period, where that is not for the document to say ([Account.TaxOf]).
	TaxedAs map[civil.Month]*registry.Tax
}

func (b *Biller) progress(done, total int) {
	if b.Progress != nil {
		b.Progress(done, total)
	}
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

// selectTenants returns the tenants named, in byte order, or all; a name that the registry does not have is a stop.
func (b *Biller) selectTenants(run *Run, names []string) []*registry.Tenant {
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

func ids(tenants []*registry.Tenant) []string {
	ids := []string{}
	for _, t := range tenants {
		ids = append(ids, t.ID)
	}
	return ids
}

// split returns the tenants of which it is true, and the ids of the others.
func split(tenants []*registry.Tenant, is func(*registry.Tenant) bool) (those []*registry.Tenant, others []string) {
	for _, t := range tenants {
		if is(t) {
			those = append(those, t)
		} else {
			others = append(others, t.ID)
		}
	}
	return those, others
}

// basis is what tenants are billed on: what is recorded, the registry's timelines, and until when deliveries have
// arrived and sessions last (R12), both in UTC epoch milliseconds.
type basis struct {
	aggregate.Basis
	timelines        aggregate.Timelines
	arrivedBy, nowMS int64
	// stored is the pass whose stored figures are billed, 0 for none: these are the same at any now.
	stored uint64
}

// basisOf returns the basis of usage that a pass has computed, 0 for none, from the deliveries up to some positions.
func (b *Biller) basisOf(snapshot aggregate.Snapshot, pass uint64, positions []aggregate.Position) basis {
	return basis{
		Basis: aggregate.Basis{RegistryOffset: snapshot.RegistryOffset, Pass: pass, Positions: positions,
			Rules: b.Rules.JSON(), TZVersion: b.Rules.zones().Edition},
		timelines: snapshot.Timelines, arrivedBy: aggregate.EndOfTime, nowMS: aggregate.EndOfTime,
	}
}

// inputs are what the usage of days is computed from.
func (b basis) inputs(days []aggregate.Day, rules Rules) aggregate.Inputs {
	return aggregate.Inputs{Days: days, Bound: aggregate.ReadBound{Positions: b.Positions, ArrivedBy: b.arrivedBy},
		Timelines: b.timelines, Rules: rules.Rules, NowMS: b.nowMS}
}

// days returns the dates of a period of the tenants.
func (b basis) days(tenants []*registry.Tenant, period civil.Month) (days []aggregate.Day) {
	for _, t := range tenants {
		days = append(days, aggregate.Days(t.ID, b.timelines.Zone(t.ID), period.First(), period.Next().First())...)
	}
	return days
}

// daysOn returns the dates of tenants as stretches of time, in the order of tenants.
func (b basis) daysOn(dates map[string][]civil.Date) (days []aggregate.Day) {
	for _, tenant := range slices.Sorted(maps.Keys(dates)) {
		for _, date := range dates[tenant] {
			days = append(days, aggregate.Days(tenant, b.timelines.Zone(tenant), date, date+1)...)
		}
	}
	return days
}

// refresh brings the daily figures up to date and returns the last pass. Another process may have made it by a later
// registry than the snapshot's: then ours catches up, too.
func (b *Biller) refresh(ctx context.Context, snapshot aggregate.Snapshot) (aggregate.Pass, error) {
	pass, err := b.Refresh(ctx, snapshot)
	if err != nil {
		return aggregate.Pass{}, err
	}
	if pass.RegistryOffset > b.State.Version() {
		if b.State, err = b.Log.CatchUp(ctx); err != nil {
			return aggregate.Pass{}, err
		}
		if version := b.State.Version(); pass.RegistryOffset > version {
			return aggregate.Pass{}, fmt.Errorf("the last row of usage_passes is based on the registry up to offset %d, "+
				"and the registry's topic has changed no tenant after %d: it is another topic, or has lost its end; restore it",
				pass.RegistryOffset-1, version-1)
		}
	}
	return pass, nil
}

// covers reports whether some positions have all that others have.
func covers(positions, others []aggregate.Position) bool {
	return !slices.ContainsFunc(others, func(o aggregate.Position) bool {
		return !slices.ContainsFunc(positions, func(p aggregate.Position) bool {
			return p.Topic == o.Topic && p.Partition == o.Partition && p.LastOffset >= o.LastOffset
		})
	})
}

// billTenants bills the tenants one by one; one that stops is noted and the others go on (R19).
func (b *Biller) billTenants(ctx context.Context, tenants []*registry.Tenant, figures *aggregate.Figures,
	again map[string][]rerated, run *Run, on basis) ([]Issue, error) {
	usage := ByTenant(figures)
	arrived, err := b.arrivedSince(ctx, again, on)
	if err != nil {
		return nil, err
	}
	var issues []Issue
	for i, t := range tenants {
		b.progress(i, len(tenants))
		invoices, corrections, err := b.billTenant(t, run.Period, usage[t.ID], again[t.ID])
		var stop *Stop
		if errors.As(err, &stop) {
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		if err != nil {
			return nil, err
		}
		issue := Issue{
			Tenant: t.ID, Period: run.Period, Invoices: invoices,
			Basis: Basis{Date: run.Period.Next().First().Add(b.Rules.GraceDays), Balance: usage[t.ID].Balance, Basis: on.Basis,
				Zone: on.timelines.Zone(t.ID).Data(), Seller: b.Seller, ItemCodes: b.ItemCodes, Files: FilesVersion},
		}
		if err := b.addReasons(ctx, &issue, t, again[t.ID], corrections, on, arrived[t.ID]); err != nil {
			return nil, err
		}
		issues = append(issues, issue)
	}
	if err := b.addPeakCharts(ctx, issues, on); err != nil {
		return nil, err
	}
	b.progress(len(tenants), len(tenants))
	return issues, nil
}

// billTenant bills a tenant's period, with what corrects the periods that are billed again (R21).
func (b *Biller) billTenant(t *registry.Tenant, period civil.Month, usage TenantUsage,
	again []rerated) ([]Invoice, []Correction, error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return nil, nil, err
	}
	invoices, err := Bill(t, zone, period, usage, b.Rules)
	if err != nil {
		return nil, nil, err
	}
	corrections, err := b.corrections(t, period, again)
	if err != nil {
		return nil, nil, err
	}
	return Adjust(t, period, invoices, corrections), corrections, nil
}

// corrections bills issued periods of a tenant again, for an issue of a period.
func (b *Biller) corrections(
	t *registry.Tenant, period civil.Month, again []rerated,
) (corrections []Correction, err error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return nil, err
	}
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
	return corrections, nil
}
