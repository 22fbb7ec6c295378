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
	"apportion/schemas/civil"
)

// Usage is where a run takes usage from; aggregate/clickhouse has it.
type Usage interface {
	aggregate.Store
	// Stored returns the figures of the dates `[from, to)` as they stand, of the tenants or, with nil, of all
	// that have any.
	Stored(ctx context.Context, tenants []string, from, to civil.Date) (*aggregate.Figures, error)
	// Fresh works out the figures of the days from the deliveries of the extent, at a `now` of R12, and stores nothing.
	Fresh(ctx context.Context, days []aggregate.Day, extent aggregate.Extent, timelines aggregate.Timelines, rules aggregate.Rules, now int64) (*aggregate.Figures, error)
}

// Ledger keeps what has been issued, for good (R20); billing/clickhouse has it.
type Ledger interface {
	// Issued returns what has been issued of a period, by tenant.
	Issued(ctx context.Context, period civil.Month) (map[string]Issue, error)
	// Issue records periods of tenants as issued: of each tenant all of it or, when it fails or is killed, nothing.
	Issue(ctx context.Context, issues []Issue) error
}

// Issue is a tenant's period as issued: its invoices and what they rest on.
type Issue struct {
	Tenant   string
	Period   civil.Month
	Invoices []Invoice
	// RegistryOffset is the next offset of the registry's command log at the time, Pass the pass of aggregation,
	// and TZVersion the time zone data in use (R23).
	RegistryOffset int64
	Pass           uint64
	TZVersion      string
}

// Biller bills periods of the tenants of one state of the registry.
type Biller struct {
	State  registry.State
	Rules  Rules
	Usage  Usage
	Ledger Ledger
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
}

func (r *Run) sort() {
	slices.SortFunc(r.Invoices, func(x, y Invoice) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Subscription, y.Subscription))
	})
	slices.SortFunc(r.Stopped, func(x, y *Stop) int { return cmp.Compare(x.Tenant, y.Tenant) })
}

// Preview bills a period as it stands at now (R12), for the tenants named or else for all, and issues nothing.
func (b *Biller) Preview(ctx context.Context, period civil.Month, tenants []string, now int64) (*Run, error) {
	run := &Run{Period: period, Draft: true}
	chosen := b.choose(run, tenants)
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	var days []aggregate.Day
	for _, t := range snapshot.Tenants {
		if slices.ContainsFunc(chosen, func(c *registry.Tenant) bool { return c.ID == t.ID }) {
			days = append(days, aggregate.Days(t.ID, t.Zone, period.First(), period.Next().First())...)
		}
	}
	positions, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	figures, err := b.Usage.Fresh(ctx, days, aggregate.Extent{Positions: positions, ArrivedBy: aggregate.Settled}, snapshot.Timelines, b.Rules.Rules, now)
	if err != nil {
		return nil, fmt.Errorf("working out the usage of %s: %w", period, err)
	}
	if _, err := b.each(chosen, figures, run); err != nil {
		return nil, err
	}
	run.sort()
	return run, nil
}

// Issue bills and issues a period for the tenants named or else for all, as far as their grace is over at now
// (R20). What has been issued before comes back as it was. The daily figures are brought up to date first, so
// that nothing that ingest has taken in is left out.
func (b *Biller) Issue(ctx context.Context, period civil.Month, tenants []string, now int64) (*Run, error) {
	run := &Run{Period: period}
	issued, err := b.Ledger.Issued(ctx, period)
	if err != nil {
		return nil, fmt.Errorf("reading what has been issued of %s: %w", period, err)
	}
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	var due []*registry.Tenant
	var ids []string
	for _, t := range b.choose(run, tenants) {
		if before, ok := issued[t.ID]; ok {
			run.Invoices = append(run.Invoices, before.Invoices...)
			continue
		}
		if end, err := b.graceEnds(t, period); err != nil {
			return nil, err
		} else if now < end {
			run.Stopped = append(run.Stopped, &Stop{t.ID, period, "not_due", "R20",
				"the grace of the period ends at " + civil.FormatMillis(end),
				"issue it then, or run `apportion bill preview --period " + period.String() + "` for a draft"})
			continue
		}
		if reason, held := b.State.Held(t.ID, period); held {
			run.Stopped = append(run.Stopped, stopHeld(t.ID, period, reason))
			continue
		}
		if len(b.Differences) > 0 {
			run.Stopped = append(run.Stopped, unbalanced(t.ID, period, b.Differences))
			continue
		}
		due, ids = append(due, t), append(ids, t.ID)
	}
	if len(due) > 0 {
		if _, err := aggregate.Refresh(ctx, b.Usage, snapshot, b.Rules.Rules, func(int, int) {}); err != nil {
			return nil, err
		}
		figures, err := b.Usage.Stored(ctx, ids, period.First(), period.Next().First())
		if err != nil {
			return nil, fmt.Errorf("reading the usage of %s: %w", period, err)
		}
		pass, err := b.Usage.LastPass(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the last pass of aggregation: %w", err)
		}
		if pass.RegistryOffset != snapshot.Offset {
			return nil, errors.New("the registry changed while the period was being billed; nothing was issued, run it again")
		}
		issues, err := b.each(due, figures, run)
		if err != nil {
			return nil, err
		}
		for i := range issues {
			issues[i].RegistryOffset, issues[i].Pass, issues[i].TZVersion = snapshot.Offset, pass.Number, civil.TZVersion
		}
		if err := b.Ledger.Issue(ctx, issues); err != nil {
			return nil, fmt.Errorf("issuing %s: %w", period, err)
		}
		run.Issued = len(issues)
	}
	run.sort()
	return run, nil
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

// Issued returns everything that has been issued of a period so far.
func (b *Biller) Issued(ctx context.Context, period civil.Month) (*Run, error) {
	issued, err := b.Ledger.Issued(ctx, period)
	if err != nil {
		return nil, fmt.Errorf("reading what has been issued of %s: %w", period, err)
	}
	run := &Run{Period: period, Issued: len(issued)}
	for _, tenant := range slices.Sorted(maps.Keys(issued)) {
		run.Invoices = append(run.Invoices, issued[tenant].Invoices...)
	}
	return run, nil
}

// each bills the tenants one by one; one that stops is noted and the others go on (R19).
func (b *Biller) each(tenants []*registry.Tenant, figures *aggregate.Figures, run *Run) ([]Issue, error) {
	usage := ByTenant(figures)
	var issues []Issue
	for i, t := range tenants {
		b.Progress(i, len(tenants))
		zone, err := zoneOf(t)
		if err != nil {
			return nil, err
		}
		invoices, err := Bill(t, zone, run.Period, usage[t.ID], b.Rules)
		var stop *Stop
		if errors.As(err, &stop) {
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		if err != nil {
			return nil, err
		}
		run.Invoices = append(run.Invoices, invoices...)
		issues = append(issues, Issue{Tenant: t.ID, Period: run.Period, Invoices: invoices})
	}
	b.Progress(len(tenants), len(tenants))
	return issues, nil
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
			run.Stopped = append(run.Stopped, &Stop{name, run.Period, "unknown_tenant", "R1",
				"the registry has no such tenant", "run `apportion registry show` for those it has"})
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
	zone, err := zoneOf(t)
	if err != nil {
		return 0, err
	}
	return graceEnd(zone, period, b.Rules), nil
}
