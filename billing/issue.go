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

// rounds is how often a run looks again at tenants that others issue, or whose usage or document changes, while it
// bills them. Each time somebody else has made progress, so even a few are not expected.
const rounds = 100

// Issue bills and issues a period for the tenants named or else for all, as far as their grace is over at now
// (R20), with the adjustments of periods that were issued before (R21). What has been issued comes back as it was,
// whoever did so and when: of runs at the same time one issues a tenant's period, and the others return that. The
// daily figures are brought up to date first, so that nothing that ingest has taken in is left out.
//
// There is no lock. A round bills every tenant that is waiting, and has one of three outcomes for each:
//   - claimed: its claim is on the log; the next round reads back what is issued, and returns that;
//   - lost: another process claimed first; the next round returns what that issued or, if it was another period, bills
//     again after it;
//   - moved: the tenant's document or usage changed while it was billed; nothing was claimed, and the next round bills
//     it again.
func (b *Biller) Issue(ctx context.Context, period civil.Month, tenants []string, nowMS int64) (*Run, error) {
	taken, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	run := &Run{Period: period, Accounts: map[string]Account{}}
	i := &issuing{b, run, taken, nowMS, map[uuid.UUID]bool{}}
	waiting := b.selectTenants(run, tenants)
	for round := 0; len(waiting) > 0 && round < rounds; round++ {
		again, err := i.round(ctx, waiting)
		if err != nil {
			return nil, err
		}
		waiting = nil
		for _, tenant := range again {
			waiting = append(waiting, b.State.Tenant(tenant))
		}
	}
	for _, t := range waiting {
		run.Stopped = append(run.Stopped, stopMoving(t.ID, period))
	}
	if err := b.addUnknownTenants(ctx, run); err != nil {
		return nil, err
	}
	run.sort()
	return run, nil
}

// issuing is a run that issues.
type issuing struct {
	*Biller
	run *Run
	// taken is what ingest had taken in when the run began: a bill on less would lack something.
	taken []aggregate.Position
	nowMS int64
	// claimed are the issues that this run has claimed, whoever came first.
	claimed map[uuid.UUID]bool
}

// round bills and claims the tenants that wait, and returns those to look at again.
func (i *issuing) round(ctx context.Context, waiting []*registry.Tenant) (again []string, err error) {
	period := i.run.Period
	snapshot, err := Snapshot(i.State, i.Rules)
	if err != nil {
		return nil, err
	}
	var due []*registry.Tenant
	var issued []Issue
	chains := map[string][]Issue{}
	for _, t := range waiting {
		if chains[t.ID], err = Issues(i.State, t.ID); err != nil {
			i.run.Stopped = append(i.run.Stopped, newStop(t.ID, period, schemas.Unbalanced, err.Error()).
				advising("nothing more is issued to the tenant before that is known"))
			continue
		}
		if issue := issueOf(chains[t.ID], period); issue != nil {
			issued = append(issued, *issue)
			if i.claimed[issue.ID] {
				i.run.Issued++
			}
			continue
		}
		stop, err := i.mayIssue(t, period, i.nowMS)
		if err != nil {
			return nil, err
		}
		if stop != nil {
			i.run.Stopped = append(i.run.Stopped, stop)
			continue
		}
		due = append(due, t)
	}
	if err := i.loadIssued(ctx, issued, chains, i.run); err != nil || len(due) == 0 {
		return nil, err
	}
	issues, moved, err := i.billDue(ctx, due, chains, snapshot)
	if err != nil {
		return nil, err
	}
	if err := i.claim(ctx, issues); err != nil {
		return nil, fmt.Errorf("issuing %s: %w", period, err)
	}
	again = moved
	for _, issue := range issues {
		i.claimed[issue.ID] = true
		again = append(again, issue.Tenant)
	}
	return again, nil
}

// stopMoving is why a tenant is not issued that kept changing.
func stopMoving(tenant string, period civil.Month) *Stop {
	return newStop(tenant, period, schemas.Unbalanced,
		"its document, its usage or what it is issued kept changing while it was billed").
		advising("issue it again; where that ends the same, see in the balance of the period " +
			"whether a table was restored from elsewhere")
}

// Due reports whether the grace of a period is over at now for every tenant (R20).
func (b *Biller) Due(period civil.Month, nowMS int64) (bool, error) {
	for _, t := range b.State.Tenants() {
		if end, err := b.graceEnds(t, period); err != nil || nowMS < end {
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
func (b *Biller) mayIssue(t *registry.Tenant, period civil.Month, nowMS int64) (*Stop, error) {
	end, err := b.graceEnds(t, period)
	if err != nil {
		return nil, err
	}
	if nowMS < end {
		return newStop(t.ID, period, schemas.NotDue, "the grace of the period ends at "+civil.FormatMillis(end)), nil
	}
	if b.State.Sealed(period) {
		return newStop(t.ID, period, schemas.Sealed,
			"all periods up to "+b.State.SealedThrough().String()+" are sealed, and this tenant's was not issued").
			advising("nothing is issued in a sealed period any more; bill what the tenant owes for it outside of Apportion"), nil
	}
	if reason, held := b.State.Held(t.ID, period); held {
		return newStop(t.ID, period, schemas.Held, reason), nil
	}
	if b.ChangedPrices != nil && b.ChangedPrices(t.ID, period) {
		return newStop(t.ID, period, schemas.TwoPersons, "whoever issues it has changed prices of the period"), nil
	}
	if len(b.Behind) > 0 {
		return notRead(t.ID, period, b.Behind), nil
	}
	if len(b.Differences) > 0 {
		return unbalanced(t.ID, period, b.Differences), nil
	}
	return nil, nil
}

// billDue bills the tenants that are due, on a pass of aggregation that knows all that was taken in when the run began.
// Tenants whose document or usage changed meanwhile are not billed, and returned to be tried again.
func (i *issuing) billDue(ctx context.Context, due []*registry.Tenant, chains map[string][]Issue,
	snapshot aggregate.Snapshot) (issues []Issue, moved []string, err error) {
	period := i.run.Period
	pass, err := i.refresh(ctx, snapshot)
	if err != nil {
		return nil, nil, err
	}
	if !covers(pass.Positions, i.taken) {
		return nil, ids(due), nil // another process's pass, by a later registry and of fewer deliveries
	}
	// A pass by a later registry than ours gives the same figures for tenants that it has not changed since.
	due, moved = split(due, func(t *registry.Tenant) bool { return i.State.Base(t.ID) < snapshot.RegistryOffset })
	if len(due) == 0 {
		return nil, moved, nil
	}
	// What is read after the pass has all that the pass knows; rerate finds out whether it has more.
	figures, err := Proved(ctx, i.Usage, ids(due), period.First(), period.Next().First(), pass, snapshot.Timelines)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the usage of %s: %w", period, err)
	}
	rerated, err := i.rerate(ctx, due, chains, pass, snapshot.Timelines, period)
	if err != nil {
		return nil, nil, err
	}
	due, changed := split(due, func(t *registry.Tenant) bool { return !rerated.moved[t.ID] })
	moved = append(moved, changed...)
	due = rerated.without(i.run, withoutBehind(i.run, due, pass))
	on := i.basisOf(snapshot, pass.Pass, pass.Positions)
	on.stored = pass.Pass
	issues, err = i.billTenants(ctx, due, figures, rerated.periods, i.run, on)
	if err != nil {
		return nil, nil, err
	}
	found, err := i.findingsOf(ctx, issues, figures, chains, on, i.nowMS)
	if err != nil {
		return nil, nil, err
	}
	for n := range issues {
		issue := &issues[n]
		chain := chains[issue.Tenant]
		issue.ID, issue.Seq, issue.Base = uuid.New(), len(chain)+1, i.State.Base(issue.Tenant)
		issue.LinesHash, issue.Lines = HashLines(issue.Invoices)
		for _, f := range found[issue.Tenant] {
			issue.Findings = append(issue.Findings, Found{f.Code, f.Count, f.Names})
		}
		if len(chain) > 0 {
			issue.Previous = chain[len(chain)-1].Hash
		}
	}
	return issues, moved, nil
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
