package billing

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// rerated is a period that has been issued, to be compared with what is known of it now (R21).
type rerated struct {
	period civil.Month
	issued []Invoice
	// since are the issues of the tenant from that of the period on, which issued is of.
	since []Issue
	usage TenantUsage
}

// reratings are the issued periods of tenants that can have changed, in order.
type reratings struct {
	periods map[string][]rerated
	// moved are the tenants whose usage changed while the rest was read: what was read of them is not of one pass.
	moved map[string]bool
	// changed says of which tenants the stored lines are not what was issued.
	changed map[string]*Stop
}

// without stops the tenants whose stored lines have changed, and returns the others.
func (r reratings) without(run *Run, tenants []*registry.Tenant) []*registry.Tenant {
	return slices.DeleteFunc(tenants, func(t *registry.Tenant) bool {
		stop := r.changed[t.ID]
		if stop != nil {
			run.Stopped = append(run.Stopped, stop)
		}
		return stop != nil
	})
}

// rerate reads what is needed to bill again those issued periods of the tenants, in order, that can have changed since
// the tenant's last issue, which compared them all. The further periods are read elsewhere.
func (b *Biller) rerate(ctx context.Context, tenants []*registry.Tenant, chains map[string][]Issue,
	pass aggregate.Pass, timelines aggregate.Timelines, further ...civil.Month) (reratings, error) {
	r := reratings{periods: map[string][]rerated{}, moved: map[string]bool{}}
	periods, err := b.changedPeriods(ctx, tenants, chains, pass)
	if err != nil {
		return r, err
	}
	// What was issued of a period is on its own invoices and, as adjustments, on later ones.
	var needed []Issue
	ofMonth := map[civil.Month][]string{}
	for _, t := range tenants {
		if of := periods[t.ID]; len(of) > 0 {
			needed = append(needed, from(chains[t.ID], of[0])...)
			for _, period := range of {
				ofMonth[period] = append(ofMonth[period], t.ID)
			}
		}
	}
	var invoices map[uuid.UUID][]Invoice
	if invoices, r.changed, err = invoicesOf(ctx, b.Lines, needed); err != nil {
		return r, err
	}
	usage := map[civil.Month]map[string]TenantUsage{}
	for _, month := range slices.Sorted(maps.Keys(ofMonth)) {
		figures, err := Proved(ctx, b.Usage, ofMonth[month], month.First(), month.Next().First(), pass, timelines)
		if err != nil {
			return r, fmt.Errorf("reading the usage of %s: %w", month, err)
		}
		usage[month] = ByTenant(figures)
	}
	for tenant, of := range periods {
		var issued []Invoice
		since := slices.Clone(from(chains[tenant], of[0]))
		for i := range since {
			since[i].Invoices = invoices[since[i].ID]
			issued = append(issued, since[i].Invoices...)
		}
		for _, month := range slices.Sorted(slices.Values(of)) {
			r.periods[tenant] = append(r.periods[tenant], rerated{month, issued, since, usage[month][tenant]})
		}
	}
	// If any of these months got a newer pass meanwhile, it may use another registry version: retry.
	later, err := b.Usage.MonthsChangedSince(ctx, ids(tenants), pass.Pass)
	if err != nil {
		return r, fmt.Errorf("reading whether usage changed meanwhile: %w", err)
	}
	for _, t := range tenants {
		r.moved[t.ID] = slices.ContainsFunc(slices.Concat(further, periods[t.ID]), func(month civil.Month) bool {
			return later[t.ID][month] > 0
		})
	}
	return r, nil
}

// from returns the issues of a chain from that of a period on.
func from(chain []Issue, period civil.Month) []Issue {
	return chain[slices.IndexFunc(chain, func(i Issue) bool { return i.Period == period }):]
}

// changedPeriods returns, by tenant and in the order in which they were issued, the periods that can have changed since
// the tenant's last issue: those with a day that a pass computed again; all of them after a command that changed the
// tenant, or under other configured rules or time zones.
func (b *Biller) changedPeriods(ctx context.Context, tenants []*registry.Tenant, chains map[string][]Issue,
	pass aggregate.Pass) (map[string][]civil.Month, error) {
	oldest := pass.Pass
	for _, t := range tenants {
		if chain := chains[t.ID]; len(chain) > 0 {
			oldest = min(oldest, chain[len(chain)-1].Pass)
		}
	}
	changed, err := b.Usage.MonthsChangedSince(ctx, ids(tenants), oldest)
	if err != nil {
		return nil, fmt.Errorf("reading what has changed since the last issue: %w", err)
	}
	rules, edition := b.Rules.JSON(), b.Rules.zones().Edition
	periods := map[string][]civil.Month{}
	for _, t := range tenants {
		chain := chains[t.ID]
		if len(chain) == 0 {
			continue
		}
		last := chain[len(chain)-1]
		all := b.State.Base(t.ID) >= last.RegistryOffset || !bytes.Equal(last.Rules, rules) || last.TZVersion != edition ||
			last.Pass > pass.Pass // the tables have been recreated since, and their passes are numbered from the beginning
		for _, issue := range chain {
			// What is sealed is adjusted no more (R25).
			if !b.State.Sealed(issue.Period) && (all || changed[t.ID][issue.Period] > last.Pass) {
				periods[t.ID] = append(periods[t.ID], issue.Period)
			}
		}
	}
	return periods, nil
}
