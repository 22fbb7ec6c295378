package billing

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// rounds is how often a run looks again at tenants that others issue, or whose usage or document changes, while it bills
// them. Each time somebody else has got on, so even a few are not expected.
const rounds = 100

// Issue bills and issues a period for the tenants named or else for all, as far as their grace is over at now
// (R20), with the adjustments of periods that were issued before (R21). What has been issued comes back as it was,
// whoever did so and when: of runs at the same time one issues a tenant's period, and the others return that. The
// daily figures are brought up to date first, so that nothing that ingest has taken in is left out.
func (b *Biller) Issue(ctx context.Context, period civil.Month, tenants []string, now int64) (*Run, error) {
	run := &Run{Period: period, Accounts: map[string]Account{}}
	taken, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	// Those that are billed are claimed and then looked at again, as are those that somebody else issues or that change
	// meanwhile: what is in force at last is what is returned.
	claimed := map[uuid.UUID]bool{}
	for round, waiting := 0, b.selectTenants(run, tenants); len(waiting) > 0; round++ {
		if round == rounds {
			for _, t := range waiting {
				run.Stopped = append(run.Stopped, stopMoving(t.ID, period))
			}
			break
		}
		snapshot, err := Snapshot(b.State, b.Rules)
		if err != nil {
			return nil, err
		}
		var due []*registry.Tenant
		var issued []Issue
		chains := map[string][]Issue{}
		for _, t := range waiting {
			if chains[t.ID], err = Issues(b.State, t.ID); err != nil {
				run.Stopped = append(run.Stopped, newStop(t.ID, period, schemas.Unbalanced, err.Error()).
					advising("nothing more is issued to the tenant before that is known"))
				continue
			}
			if issue := issueOf(chains[t.ID], period); issue != nil {
				issued = append(issued, *issue)
				if claimed[issue.ID] {
					run.Issued++
				}
				continue
			}
			stop, err := b.mayIssue(t, period, now)
			if err != nil {
				return nil, err
			}
			if stop != nil {
				run.Stopped = append(run.Stopped, stop)
				continue
			}
			due = append(due, t)
		}
		if err := b.loadIssued(ctx, issued, chains, run); err != nil {
			return nil, err
		}
		if len(due) == 0 {
			break
		}
		issues, again, err := b.billDue(ctx, due, chains, run, snapshot, taken, now)
		if err != nil {
			return nil, err
		}
		if err := b.claim(ctx, issues); err != nil {
			return nil, fmt.Errorf("issuing %s: %w", period, err)
		}
		for _, issue := range issues {
			claimed[issue.ID] = true
			again = append(again, issue.Tenant)
		}
		waiting = nil
		for _, tenant := range again {
			waiting = append(waiting, b.State.Tenant(tenant))
		}
	}
	if err := b.addUnknownTenants(ctx, run); err != nil {
		return nil, err
	}
	run.sort()
	return run, nil
}

// stopMoving is why a tenant is not issued that kept changing.
func stopMoving(tenant string, period civil.Month) *Stop {
	return newStop(tenant, period, schemas.Unbalanced,
		"its document, its usage or what it is issued kept changing while it was billed").
		advising("issue it again; where that ends the same, see in the balance of the period whether a table was restored from elsewhere")
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

// graceEnds returns when a tenant's period can be issued: 00:00, in its zone, of the date so many dates after
// the end of the period (R20).
func (b *Biller) graceEnds(t *registry.Tenant, period civil.Month) (int64, error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return 0, err
	}
	return graceEnd(zone, period, b.Rules), nil
}

// mayIssue says why a tenant's period cannot be issued at now, whatever was used in it; nil when it can.
func (b *Biller) mayIssue(t *registry.Tenant, period civil.Month, now int64) (*Stop, error) {
	end, err := b.graceEnds(t, period)
	if err != nil {
		return nil, err
	}
	if now < end {
		return newStop(t.ID, period, schemas.NotDue, "the grace of the period ends at "+civil.FormatMillis(end)), nil
	}
	if reason, held := b.State.Held(t.ID, period); held {
		return stopHeld(t.ID, period, reason), nil
	}
	if len(b.Behind) > 0 {
		return notRead(t.ID, period, b.Behind), nil
	}
	if len(b.Differences) > 0 {
		return unbalanced(t.ID, period, b.Differences), nil
	}
	return nil, nil
}

// billDue bills the tenants that are due, on a pass of aggregation that knows all that was taken in by the given positions.
// Tenants whose document or usage changed meanwhile are not billed, and returned to be tried again.
func (b *Biller) billDue(ctx context.Context, due []*registry.Tenant, chains map[string][]Issue, run *Run, snapshot aggregate.Snapshot,
	taken []aggregate.Position, now int64) (issues []Issue, again []string, err error) {
	pass, err := b.refresh(ctx, snapshot)
	if err != nil {
		return nil, nil, err
	}
	if !covers(pass.Positions, taken) {
		return nil, ids(due), nil // somebody's pass, by a later registry and of fewer deliveries
	}
	// What a later registry has not changed since is billed as it would be by ours.
	due, again = split(due, func(t *registry.Tenant) bool { return b.State.Base(t.ID) < snapshot.RegistryOffset })
	if len(due) == 0 {
		return nil, again, nil
	}
	// What is read after the pass has all that it knows; that it has no more is seen below.
	figures, err := Proved(ctx, b.Usage, ids(due), run.Period.First(), run.Period.Next().First(), pass, snapshot.Timelines)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the usage of %s: %w", run.Period, err)
	}
	rerated, err := b.rerate(ctx, due, chains, pass, snapshot.Timelines, run.Period)
	if err != nil {
		return nil, nil, err
	}
	due, moved := split(due, func(t *registry.Tenant) bool { return !rerated.moved[t.ID] })
	again = append(again, moved...)
	due = rerated.without(run, stopBehind(run, due, pass))
	on := basis{snapshot, pass.Pass, aggregate.ReadBound{Positions: pass.Positions, ArrivedBy: aggregate.EndOfTime}, aggregate.EndOfTime}
	issues, err = b.billTenants(ctx, due, figures, rerated.periods, run, on)
	if err != nil {
		return nil, nil, err
	}
	found, err := b.findingsOf(ctx, issues, figures, chains, on, now)
	if err != nil {
		return nil, nil, err
	}
	for n := range issues {
		i := &issues[n]
		chain := chains[i.Tenant]
		i.ID, i.Seq, i.Base = uuid.New(), len(chain)+1, b.State.Base(i.Tenant)
		i.LinesHash, i.Lines = HashLines(i.Invoices)
		for _, f := range found[i.Tenant] {
			i.Findings = append(i.Findings, Found{f.Code, f.Count, f.Names})
		}
		if len(chain) > 0 {
			i.Previous = chain[len(chain)-1].Hash
		}
	}
	return issues, again, err
}

// claim stores the lines of the issues and then claims them on the log. What is killed in between leaves lines that
// nothing points to; those of claims that came too late are deleted.
func (b *Biller) claim(ctx context.Context, issues []Issue) error {
	if len(issues) == 0 {
		return nil
	}
	commands := make([]registry.Command, len(issues))
	for n := range issues {
		var err error
		if commands[n], err = issues[n].claim(); err != nil {
			return err
		}
	}
	if err := b.Lines.Write(ctx, issues); err != nil {
		return err
	}
	state, err := b.Log.Claim(ctx, commands)
	if err != nil {
		return err
	}
	b.State = state
	late := slices.DeleteFunc(slices.Clone(issues), func(i Issue) bool {
		in := state.Issues(i.Tenant)
		return slices.ContainsFunc(in, func(o registry.Issued) bool { return o.ID == i.ID.String() })
	})
	return b.Lines.Delete(ctx, late)
}
