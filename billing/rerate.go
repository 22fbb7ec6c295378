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
	usage  TenantUsage
}

// reratings are the issued periods of tenants that can have changed, in order.
type reratings struct {
	periods map[string][]rerated
	// moved are the tenants of which days came into force while the rest was read: what was read of them is not of one
	// pass.
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
// the tenant's last issue, which compared them all: by a command that changed the tenant, by other configured rules
// or time zones, or by a pass that worked out a day again. A tenant has moved when days of these or of the further
// periods came into force after the pass: that may rest on another registry.
func (b *Biller) rerate(ctx context.Context, tenants []*registry.Tenant, chains map[string][]Issue, pass aggregate.Pass, timelines aggregate.Timelines, further ...civil.Month) (r reratings, err error) {
	oldest := pass.Pass
	for _, t := range tenants {
		if chain := chains[t.ID]; len(chain) > 0 {
			oldest = min(oldest, chain[len(chain)-1].Pass)
		}
	}
	changed, err := b.Usage.MonthsChangedSince(ctx, ids(tenants), oldest)
	if err != nil {
		return r, fmt.Errorf("reading what has changed since the last issue: %w", err)
	}
	months := map[civil.Month][]string{}
	since := map[string]int{} // the first issue of a tenant that has lines to compare with
	var needed []Issue
	for _, t := range tenants {
		chain := chains[t.ID]
		if len(chain) == 0 {
			continue
		}
		last := chain[len(chain)-1]
		// Passes with lower numbers than one that was billed on are those of tables that were made anew.
		whole := b.State.Base(t.ID) >= last.RegistryOffset || !bytes.Equal(last.Rules, b.Rules.JSON()) || last.TZVersion != b.Rules.zones().Edition || last.Pass > pass.Pass
		for i, issue := range chain {
			if !whole && changed[t.ID][issue.Period] <= last.Pass {
				continue
			}
			if _, ok := since[t.ID]; !ok {
				since[t.ID] = i
				needed = append(needed, chain[i:]...)
			}
			months[issue.Period] = append(months[issue.Period], t.ID)
		}
	}
	var invoices map[uuid.UUID][]Invoice
	if invoices, r.changed, err = invoicesOf(ctx, b.Lines, needed); err != nil {
		return r, err
	}
	r.periods, r.moved = map[string][]rerated{}, map[string]bool{}
	for _, month := range slices.Sorted(maps.Keys(months)) {
		figures, err := Proved(ctx, b.Usage, months[month], month.First(), month.Next().First(), pass, timelines)
		if err != nil {
			return r, fmt.Errorf("reading the usage of %s: %w", month, err)
		}
		usage := ByTenant(figures)
		for _, tenant := range months[month] {
			var issued []Invoice
			for _, issue := range chains[tenant][since[tenant]:] {
				issued = append(issued, invoices[issue.ID]...)
			}
			r.periods[tenant] = append(r.periods[tenant], rerated{month, issued, usage[tenant]})
		}
	}
	later, err := b.Usage.MonthsChangedSince(ctx, ids(tenants), pass.Pass)
	if err != nil {
		return r, fmt.Errorf("reading whether usage changed meanwhile: %w", err)
	}
	for _, t := range tenants {
		read := slices.Clone(further)
		for _, again := range r.periods[t.ID] {
			read = append(read, again.period)
		}
		r.moved[t.ID] = slices.ContainsFunc(read, func(month civil.Month) bool { return later[t.ID][month] > 0 })
	}
	return r, nil
}
