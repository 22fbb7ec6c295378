package billing

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Preview bills a period as it is at now (R12), for the tenants named or else for all, and issues nothing. It
// carries the adjustments that an issue would; those of a period that is issued are on invoices already.
func (b *Biller) Preview(ctx context.Context, period civil.Month, tenants []string, nowMS int64) (*Run, error) {
	taken, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	for range rounds {
		snapshot, err := Snapshot(b.State, b.Rules)
		if err != nil {
			return nil, err
		}
		chosen := b.selectTenants(&Run{}, tenants)
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
			return b.draft(ctx, snapshot, period, tenants, nowMS, aggregate.EndOfTime, again, chains)
		}
	}
	return nil, fmt.Errorf("the registry or the usage kept changing while %s was being billed; run it again", period)
}

// View bills a period in a view, for the tenants named or else for all: its own lines, without adjustments, which are
// based on what is current. Nothing is stored.
func (b *Biller) View(ctx context.Context, period civil.Month, tenants []string, view View) (*Run, error) {
	viewed := *b
	viewed.State, viewed.Rules.Zones = view.State, view.Zones
	snapshot, err := Snapshot(view.State, viewed.Rules)
	if err != nil {
		return nil, err
	}
	arrivedBy := aggregate.EndOfTime
	if view.KnownAtMS != nil {
		arrivedBy = *view.KnownAtMS
	}
	return viewed.draft(ctx, snapshot, period, tenants, view.NowMS, arrivedBy, reratings{}, nil)
}

// draft bills a period from the deliveries that have arrived by an instant, with what corrects the periods that are
// billed again, of the chains.
func (b *Biller) draft(ctx context.Context, snapshot aggregate.Snapshot, period civil.Month, tenants []string,
	nowMS, arrivedBy int64, again reratings, chains map[string][]Issue) (*Run, error) {
	run := &Run{Period: period, Draft: true, Accounts: map[string]Account{}}
	chosen := b.selectTenants(run, tenants)
	positions, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	pass, err := b.Usage.LastPass(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	chosen = again.without(run, stopBehind(run, chosen, pass))
	on := b.basisOf(snapshot, 0, positions)
	on.arrivedBy, on.nowMS = arrivedBy, nowMS
	figures, err := b.Usage.Compute(ctx, on.inputs(on.days(chosen, period), b.Rules))
	if err != nil {
		return nil, fmt.Errorf("computing the usage of %s: %w", period, err)
	}
	issues, err := b.billTenants(ctx, chosen, figures, again.periods, run, on)
	if err != nil {
		return nil, err
	}
	var found map[string][]Finding
	if chains != nil {
		if found, err = b.findingsOf(ctx, issues, figures, chains, on, nowMS); err != nil {
			return nil, err
		}
		if err := b.addUnknownTenants(ctx, run); err != nil {
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
