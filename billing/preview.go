package billing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"apportion/aggregate"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// AlreadyIssued is a tenant's period of a preview that is issued, and what the tenant's next issue would adjust of it
// as things stand (R21).
type AlreadyIssued struct {
	Tenant      string       `json:"tenantId"`
	IssueDate   civil.Date   `json:"issueDate"`
	Adjustments []Adjustable `json:"adjustments"`
	// Stop is why it cannot be billed again, which would stop the next issue.
	Stop *Stop `json:"stop,omitempty"`
}

// Adjustable is an adjustment line that is on no invoice yet; its invoice has the subscription and the currency.
type Adjustable struct {
	Invoice Invoice
	Line    Line
}

// AdjustableJSON is an adjustment line in JSON that is on no invoice yet.
type AdjustableJSON struct {
	Subscription string `json:"subscriptionId"`
	Currency     string `json:"currency"`
	LineJSON
}

// MarshalJSON writes the line with its subscription.
func (a Adjustable) MarshalJSON() ([]byte, error) {
	return json.Marshal(AdjustableJSON{a.Invoice.Subscription, a.Invoice.Currency, a.Invoice.lineJSON(a.Line)})
}

// Preview bills a period as it is at now (R12), for the tenants named or else for all, and issues nothing. It
// carries the adjustments that an issue would. Of tenants whose period is issued it says so, and what the next issue
// would adjust of it. All of it is based on the ledger as far as the last pass had read it, which the accounts name.
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
			return len(chains[t.ID]) == 0
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
			already, err := b.alreadyIssued(period, issuedBefore, chains, again)
			if err != nil {
				return nil, err
			}
			fixed := *b
			fixed.Usage = pinned{b.Usage, pass.Positions}
			figures, err := fixed.storedFigures(ctx, chosen, period, pass, snapshot.Timelines)
			if err != nil {
				return nil, fmt.Errorf("reading the usage of %s: %w", period, err)
			}
			on := fixed.basisOf(snapshot, 0, pass.Positions)
			on.nowMS = nowMS
			if figures != nil {
				on.stored = pass.Pass
			}
			run, err := fixed.draft(ctx, on, period, tenants, figures, again, chains)
			if err != nil {
				return nil, err
			}
			run.Already = already
			return run, nil
		}
	}
	return nil, fmt.Errorf("the registry or the usage kept changing while %s was being billed; run it again", period)
}

// alreadyIssued takes out of what is billed again the tenants whose period is issued, and says what of that period
// would be adjusted: a draft of it has no adjustments, which go on the next.
func (b *Biller) alreadyIssued(period civil.Month, tenants []*registry.Tenant, chains map[string][]Issue,
	again reratings) ([]AlreadyIssued, error) {
	var all []AlreadyIssued
	for _, t := range tenants {
		issue := issueOf(chains[t.ID], period)
		if issue == nil {
			continue
		}
		already := AlreadyIssued{Tenant: t.ID, IssueDate: issue.Date, Adjustments: []Adjustable{}}
		for _, r := range again.periods[t.ID] {
			if r.period != period {
				continue
			}
			corrections, err := b.corrections(t, period.Next(), []rerated{r})
			if err != nil && !errors.As(err, &already.Stop) {
				return nil, err
			}
			for _, i := range Adjust(t, period.Next(), nil, corrections) {
				for _, l := range i.Lines {
					already.Adjustments = append(already.Adjustments, Adjustable{i, l})
				}
			}
		}
		delete(again.periods, t.ID)
		all = append(all, already)
	}
	return all, nil
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
	positions, err := viewed.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	on := viewed.basisOf(snapshot, 0, positions)
	on.arrivedBy, on.nowMS = arrivedBy, view.NowMS
	return viewed.draft(ctx, on, period, tenants, nil, reratings{}, nil)
}

// storedFigures returns the figures of a period of the tenants as a pass has stored them, and nil where computing them
// as of now may give others: where a session is open, which now may cut short (R12), where the deliveries do not prove
// them, or where a later pass has written any of them meanwhile.
func (b *Biller) storedFigures(ctx context.Context, tenants []*registry.Tenant, period civil.Month,
	pass aggregate.Pass, timelines aggregate.Timelines) (*aggregate.Figures, error) {
	if !bytes.Equal(pass.Rules, b.Rules.Rules.JSON()) || pass.TZVersion != b.Rules.zones().Edition {
		return nil, nil
	}
	first, of := period.First(), ids(tenants)
	figures, err := Proved(ctx, b.Usage, of, first, period.Next().First(), pass, timelines)
	if err != nil || len(figures.Unproved) > 0 {
		return nil, err
	}
	before, err := b.Usage.Load(ctx, of, first.Add(-b.Rules.OpenSessionHours/24-1), first) // what may last into it
	if err != nil {
		return nil, err
	}
	for _, d := range slices.Concat(before.Balances, figures.Balances) {
		if d.OpenSessions > 0 {
			return nil, nil
		}
	}
	later, err := b.Usage.MonthsChangedSince(ctx, of, pass.Pass)
	for _, months := range later {
		if months[period] > 0 || months[period-1] > 0 {
			return nil, err
		}
	}
	return figures, err
}

// draft bills a period on a basis, by the figures given or, with nil, as they are computed on it, with what corrects
// the periods that are billed again, of the chains.
func (b *Biller) draft(ctx context.Context, on basis, period civil.Month, tenants []string, figures *aggregate.Figures,
	again reratings, chains map[string][]Issue) (*Run, error) {
	run := &Run{Period: period, Draft: true, Accounts: map[string]Account{}}
	chosen := b.selectTenants(run, tenants)
	pass, err := b.Usage.LastPass(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	chosen = again.without(run, withoutBehind(run, chosen, pass))
	if figures == nil {
		if figures, err = b.Usage.Compute(ctx, on.inputs(on.days(chosen, period), b.Rules)); err != nil {
			return nil, fmt.Errorf("computing the usage of %s: %w", period, err)
		}
	}
	run.usage = ByTenant(figures)
	issues, err := b.billTenants(ctx, chosen, figures, again.periods, run, on)
	if err != nil {
		return nil, err
	}
	var found map[string][]Finding
	if chains != nil {
		if found, err = b.findingsOf(ctx, issues, figures, chains, on, on.nowMS); err != nil {
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
