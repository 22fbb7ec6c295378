package billing

import (
	"context"
	"fmt"

	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// Issued returns everything that has been issued of a period so far, to the tenants or, with none, to all. Tenants
// whose stored lines are not what was issued are stopped, and left out.
func (b *Biller) Issued(ctx context.Context, period civil.Month, tenants ...string) (*Run, error) {
	run := &Run{Period: period, Accounts: map[string]Account{}}
	chains, err := AllIssues(b.State, tenants)
	if err != nil {
		return nil, err
	}
	var issues []Issue
	for _, chain := range chains {
		if issue := issueOf(chain, period); issue != nil {
			issues = append(issues, *issue)
		}
	}
	if err := b.loadIssued(ctx, issues, chains, run); err != nil {
		return nil, err
	}
	run.sort()
	return run, nil
}

// loadIssued adds what is issued to a run, of each tenant one issue; the chains are those of its tenants. A tenant
// whose stored lines are not what was issued is stopped instead.
func (b *Biller) loadIssued(ctx context.Context, issues []Issue, chains map[string][]Issue, run *Run) error {
	stops, err := b.readIssued(ctx, issues, chains, func(issue Issue, account Account) {
		run.Invoices = append(run.Invoices, issue.Invoices...)
		run.Accounts[issue.Tenant] = account
	})
	run.Stopped = append(run.Stopped, stops...)
	return err
}

// readIssued visits issues with their invoices and what those are based on. One whose stored lines are not what was
// issued is a stop, and is not visited.
func (b *Biller) readIssued(ctx context.Context, issues []Issue, chains map[string][]Issue,
	visit func(Issue, Account)) (stops []*Stop, err error) {
	if len(issues) == 0 {
		return nil, nil
	}
	invoices, err := b.Lines.Invoices(ctx, issues)
	if err != nil {
		return nil, fmt.Errorf("reading what has been issued: %w", err)
	}
	documents := documents{}
	for _, issue := range issues {
		issue.Invoices = invoices[issue.ID]
		if stop := issue.Changed(issue.Invoices); stop != nil {
			stops = append(stops, stop)
			continue
		}
		tenant, err := documents.of(b, issue)
		if err != nil {
			return nil, err
		}
		account, err := issue.account(tenant, b.Seller)
		if err != nil {
			return nil, err
		}
		if account.TaxedAs, err = b.taxedAs(tenant, issue.Invoices, chains[issue.Tenant], documents); err != nil {
			return nil, err
		}
		visit(issue, account)
	}
	return stops, nil
}

// account returns what the issue's files show. An issue without a seller whom they could show had none of those files:
// they are made with the present seller.
func (i Issue) account(tenant *registry.Tenant, now Seller) (Account, error) {
	if i.Files > FilesVersion {
		return Account{}, fmt.Errorf("%s of %s was issued in a form of files, %d, that this program does not know; "+
			"write them with the release that issued it, or a later one", i.Period, i.Tenant, i.Files)
	}
	zone, err := civil.ReadZone(tenant.TimeZone, i.Zone)
	if err != nil {
		return Account{}, fmt.Errorf("%s of %s: %w", i.Period, i.Tenant, err)
	}
	a := Account{Tenant: tenant, IssueDate: i.Date, Balance: i.Balance, Basis: i.Basis.Basis, Zone: zone,
		Seller: i.Seller, ItemCodes: i.ItemCodes, Reasons: i.Reasons}
	for _, f := range i.Findings {
		a.Findings = append(a.Findings, newFinding(f, i.Tenant, i.Period))
	}
	if !a.Seller.shows() {
		a.Seller = now
		a.Seller.TermsDays = i.Seller.TermsDays // when it is due is said even where no document is
	}
	return a, nil
}

// documents are the states of the registry that issues were made by, as far as they have been read.
type documents map[int64]registry.State

// of returns the tenant as it stood when it was issued, with the first billTo that it has been given.
func (d documents) of(b *Biller, issue Issue) (*registry.Tenant, error) {
	state := b.State
	// What no command has changed since is still as it was.
	if offset := issue.RegistryOffset; state.Base(issue.Tenant) >= offset {
		if _, ok := d[offset]; !ok {
			var err error
			if d[offset], err = b.Log.At(offset); err != nil {
				return nil, fmt.Errorf("reading the registry as it was at offset %d: %w", offset, err)
			}
		}
		state = d[offset]
	}
	tenant := state.Tenant(issue.Tenant)
	if tenant.BillTo == nil {
		return b.billedSince(tenant, issue.RegistryOffset)
	}
	return tenant, nil
}

// billedSince returns the tenant with the first billTo that it has been given since the registry stood at an offset,
// if any: an invoice that was issued without one can have its files later, and then for good.
func (b *Biller) billedSince(tenant *registry.Tenant, offset int64) (*registry.Tenant, error) {
	with := *tenant
	for state := b.State; state.Base(tenant.ID) >= offset; {
		if billTo := state.Tenant(tenant.ID).BillTo; billTo != nil {
			with.BillTo = billTo
		}
		var err error
		if state, err = b.Log.At(state.Base(tenant.ID)); err != nil {
			return nil, fmt.Errorf("reading the registry as it was: %w", err)
		}
	}
	return &with, nil
}
