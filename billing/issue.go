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
	"apportion/schemas"
	"apportion/schemas/civil"
)

// rounds is how often a run looks again at tenants that others issue, or whose usage or document changes, while it bills
// them. Each time somebody else has got on, so even a few are not expected.
const rounds = 100

// stopMoving is why a tenant is not issued that kept changing.
func stopMoving(tenant string, period civil.Month) *Stop {
	return newStop(tenant, period, schemas.Unbalanced,
		"its document, its usage or what it is issued kept changing while it was billed").
		advising("issue it again; where that ends the same, see in the balance of the period whether a table was restored from elsewhere")
}

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
	for round, waiting := 0, b.choose(run, tenants); len(waiting) > 0; round++ {
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
		if err := b.show(ctx, issued, chains, run); err != nil {
			return nil, err
		}
		if len(due) == 0 {
			break
		}
		issues, again, err := b.billAll(ctx, due, chains, run, snapshot, taken, now)
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
	if err := b.withHeld(ctx, run); err != nil {
		return nil, err
	}
	run.sort()
	return run, nil
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

// issueOf returns the issue of a period, or nil.
func issueOf(chain []Issue, period civil.Month) *Issue {
	for i := range chain {
		if chain[i].Period == period {
			return &chain[i]
		}
	}
	return nil
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

// billAll bills the tenants that are due, on a pass of aggregation that knows all that was taken in by the given positions.
// Tenants whose document or usage changed meanwhile are not billed, and returned to be tried again.
func (b *Biller) billAll(ctx context.Context, due []*registry.Tenant, chains map[string][]Issue, run *Run, snapshot aggregate.Snapshot,
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
	due = rerated.without(run, withoutBehind(run, due, pass))
	on := basis{snapshot, pass.Pass, aggregate.ReadBound{Positions: pass.Positions, ArrivedBy: aggregate.EndOfTime}, aggregate.EndOfTime}
	issues, err = b.each(ctx, due, figures, rerated.periods, run, on)
	if err != nil {
		return nil, nil, err
	}
	found, err := b.notesOf(ctx, issues, figures, chains, on, now)
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

// split returns the tenants that are, and the names of those that are not.
func split(tenants []*registry.Tenant, are func(*registry.Tenant) bool) (those []*registry.Tenant, others []string) {
	for _, t := range tenants {
		if are(t) {
			those = append(those, t)
		} else {
			others = append(others, t.ID)
		}
	}
	return those, others
}

// refresh brings the daily figures up to date and returns the pass that they are by. Where that is by a later registry
// than the snapshot's, which another process had, ours goes on to what stands now.
func (b *Biller) refresh(ctx context.Context, snapshot aggregate.Snapshot) (aggregate.Pass, error) {
	if _, err := aggregate.Refresh(ctx, b.Usage, snapshot, b.Rules.Rules, func(int, int) {}); err != nil {
		return aggregate.Pass{}, err
	}
	pass, err := b.Usage.LastPass(ctx)
	if err != nil {
		return aggregate.Pass{}, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	if pass.RegistryOffset > b.State.Version() {
		if b.State, err = b.Log.CatchUp(ctx); err != nil {
			return aggregate.Pass{}, err
		}
		if version := b.State.Version(); pass.RegistryOffset > version {
			return aggregate.Pass{}, fmt.Errorf("the last row of usage_passes rests on the registry up to offset %d, and the registry's topic has changed no tenant after %d: "+
				"it is another topic, or has lost its end; restore it", pass.RegistryOffset-1, version-1)
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

// show adds what is issued to a run; the chains are those of its tenants. A tenant whose stored lines have changed is
// stopped instead.
func (b *Biller) show(ctx context.Context, issues []Issue, chains map[string][]Issue, run *Run) error {
	invoices, changed, err := invoicesOf(ctx, b.Lines, issues)
	if err != nil {
		return err
	}
	documents := documents{}
	for _, issue := range issues {
		if stop := changed[issue.Tenant]; stop != nil {
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		tenant, err := documents.of(b, issue)
		if err != nil {
			return err
		}
		account, err := issue.account(tenant, b.Seller)
		if err != nil {
			return err
		}
		if account.TaxedAs, err = b.taxedAs(tenant, invoices[issue.ID], chains[issue.Tenant], documents); err != nil {
			return err
		}
		run.Invoices = append(run.Invoices, invoices[issue.ID]...)
		run.Accounts[issue.Tenant] = account
	}
	return nil
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

// account returns what the issue's files show. Where it was issued without a seller whom they could show, there were none of
// those files, and they are made with the seller of now.
func (i Issue) account(tenant *registry.Tenant, now Seller) (Account, error) {
	if i.Files > FilesVersion {
		return Account{}, fmt.Errorf("%s of %s was issued in a form of files, %d, that this program does not know; write them with the release that issued it, or a later one", i.Period, i.Tenant, i.Files)
	}
	zone, err := civil.ReadZone(tenant.TimeZone, i.Zone)
	if err != nil {
		return Account{}, fmt.Errorf("%s of %s: %w", i.Period, i.Tenant, err)
	}
	a := Account{Tenant: tenant, IssueDate: i.Date, Balance: i.Balance, RegistryOffset: i.RegistryOffset, Positions: i.Positions, TZVersion: i.TZVersion,
		Zone: zone, Seller: i.Seller, ItemCodes: i.ItemCodes}
	for _, f := range i.Findings {
		a.Findings = append(a.Findings, newFinding(f, i.Tenant, i.Period))
	}
	if !a.Seller.shows() {
		a.Seller = now
		a.Seller.TermsDays = i.Seller.TermsDays // when it is due is said even where no document is
	}
	return a, nil
}

// Issued returns everything that has been issued of a period so far. Tenants whose stored lines are not what was issued
// are stopped, and left out.
func (b *Biller) Issued(ctx context.Context, period civil.Month) (*Run, error) {
	run := &Run{Period: period, Accounts: map[string]Account{}}
	chains, err := AllIssues(b.State, nil)
	if err != nil {
		return nil, err
	}
	var issued []Issue
	for _, chain := range chains {
		if issue := issueOf(chain, period); issue != nil {
			issued = append(issued, *issue)
		}
	}
	if err := b.show(ctx, issued, chains, run); err != nil {
		return nil, err
	}
	run.Issued = len(issued)
	run.sort()
	return run, nil
}
