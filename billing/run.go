package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

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
	// Proof counts what the dates `[from, to)` of the tenants or, with nil, of all that have a zone have, from the deliveries as stored up
	// to the positions of the pass: in the order of tenant and date, those alone that have any.
	Proof(ctx context.Context, tenants []string, from, to civil.Date, pass aggregate.Pass, zones map[string]*civil.Zone) ([]aggregate.Proof, error)
	// Fresh works out the figures of the days from the deliveries of the extent, at a `now` of R12, and stores nothing.
	Fresh(ctx context.Context, days []aggregate.Day, extent aggregate.Extent, timelines aggregate.Timelines, rules aggregate.Rules, now int64) (*aggregate.Figures, error)
	// Changed returns the months of each tenant that have a day in force by a pass after the given one, with the number
	// of the last such pass.
	Changed(ctx context.Context, tenants []string, after uint64) (map[string]map[civil.Month]uint64, error)
	// Profile works out the concurrency over each of the days, as Fresh does, in the order of tenant, date and meter.
	Profile(ctx context.Context, days []aggregate.Day, extent aggregate.Extent, timelines aggregate.Timelines, rules aggregate.Rules, now int64) ([]aggregate.Profile, error)
}

// Ledger keeps what has been issued, for good (R20); billing/clickhouse has it.
type Ledger interface {
	// Issues returns the issues that are in force of the tenants or, with nil, of all: those of a tenant in the order in
	// which they were issued, without their invoices.
	Issues(ctx context.Context, tenants []string) (map[string][]Issue, error)
	// Invoices returns the invoices of issues that are in force, by their ID, in the byte order of subscriptions.
	Invoices(ctx context.Context, issues []Issue) (map[uuid.UUID][]Invoice, error)
	// Claim records issues: of each all of it or, when it fails or is killed, nothing. Of several with one tenant and
	// Seq the first is in force and stays so; whether a claim was, only Issues can tell afterwards.
	Claim(ctx context.Context, issues []Issue) error
}

// Issue is a tenant's period as issued: its invoices, what they rest on, and what its files say besides.
type Issue struct {
	ID     uuid.UUID
	Tenant string
	// Seq numbers the issues of a tenant from 1. Who claims a number has read all issues before it, so none of them is
	// made twice, nor anything adjusted twice.
	Seq      int
	Period   civil.Month
	Invoices []Invoice
	// Date is the date, in the tenant's zone, on which the grace was over (R20).
	Date civil.Date
	// Balance says what became of the period's deliveries (R22).
	Balance aggregate.Balance
	// RegistryOffset is the next offset of the registry's command log at the time, Pass the pass of aggregation and
	// Positions what it had read of the ledger, Rules the numbers configured ([Rules.String]), and TZVersion the time
	// zone data in use (R23). What has changed since re-rates the tenant's periods (R21).
	RegistryOffset int64
	Pass           uint64
	Positions      []aggregate.Position
	Rules          string
	TZVersion      string
}

// Biller bills periods of the tenants of one state of the registry.
type Biller struct {
	State  registry.State
	Rules  Rules
	Usage  Usage
	Ledger Ledger
	// At returns the registry as it stood when the next offset of its command log was the given one: what has been
	// issued is shown by the documents of then.
	At func(offset int64) (registry.State, error)
	// CatchUp returns the registry as it stands by now; with nil, what another has done by a later registry than State
	// is an error. At must go as far.
	CatchUp func(ctx context.Context) (registry.State, error)
	// Behind are the partitions of which something published is not taken in yet, with how much; while there are
	// any, nothing is issued (R22).
	Behind []string
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
	// TaxedAs has the tax of what corrects a period, where that is not for the document to say ([Account.TaxOf]).
	TaxedAs map[civil.Month]*registry.Tax
}

func (r *Run) sort() {
	slices.SortFunc(r.Invoices, func(x, y Invoice) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Subscription, y.Subscription))
	})
	slices.SortFunc(r.Stopped, func(x, y *Stop) int { return cmp.Compare(x.Tenant, y.Tenant) })
}

// Preview bills a period as it stands at now (R12), for the tenants named or else for all, and issues nothing. It
// carries the adjustments that an issue would; those of a period that is issued are on invoices already.
func (b *Biller) Preview(ctx context.Context, period civil.Month, tenants []string, now int64) (*Run, error) {
	snapshot, err := Snapshot(b.State, b.Rules)
	if err != nil {
		return nil, err
	}
	chosen := b.choose(&Run{}, tenants)
	chains, err := b.Ledger.Issues(ctx, ids(chosen))
	if err != nil {
		return nil, fmt.Errorf("reading what has been issued: %w", err)
	}
	issuedBefore := slices.DeleteFunc(slices.Clone(chosen), func(t *registry.Tenant) bool {
		return len(chains[t.ID]) == 0 || issueOf(chains[t.ID], period) != nil
	})
	var again map[string][]rerated
	for round, moved := 0, len(issuedBefore) > 0; moved; round++ {
		if round == rounds {
			return nil, errMoving(period)
		}
		pass, changed, err := b.refresh(ctx, snapshot)
		if err != nil {
			return nil, err
		}
		if changed {
			return nil, errRegistryChanged
		}
		if again, moved, err = b.rerate(ctx, issuedBefore, chains, pass, snapshot.Timelines.Zones); err != nil {
			return nil, err
		}
	}
	return b.draft(ctx, snapshot, period, tenants, now, aggregate.Settled, again, chains)
}

// View bills a period in a view, for the tenants named or else for all: its own lines, without adjustments, which rest
// on what stands. Nothing is stored.
func (b *Biller) View(ctx context.Context, period civil.Month, tenants []string, view View) (*Run, error) {
	viewed := *b
	viewed.State, viewed.Rules.Zones = view.State, view.Zones
	snapshot, err := Snapshot(view.State, viewed.Rules)
	if err != nil {
		return nil, err
	}
	arrivedBy := aggregate.Settled
	if view.KnownAt != nil {
		arrivedBy = *view.KnownAt
	}
	return viewed.draft(ctx, snapshot, period, tenants, view.Now, arrivedBy, nil, nil)
}

// draft bills a period from the deliveries that have arrived by an instant, with what corrects the periods that are
// billed again, of the chains.
func (b *Biller) draft(ctx context.Context, snapshot aggregate.Snapshot, period civil.Month, tenants []string, now, arrivedBy int64,
	again map[string][]rerated, chains map[string][]Issue) (*Run, error) {
	run := &Run{Period: period, Draft: true, Accounts: map[string]Account{}}
	chosen := b.choose(run, tenants)
	positions, err := b.Usage.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	pass, err := b.Usage.LastPass(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	chosen = withoutBehind(run, chosen, pass)
	basis := basis{snapshot: snapshot, extent: aggregate.Extent{Positions: positions, ArrivedBy: arrivedBy}, now: now}
	figures, err := b.Usage.Fresh(ctx, basis.days(chosen, period), basis.extent, snapshot.Timelines, b.Rules.Rules, now)
	if err != nil {
		return nil, fmt.Errorf("working out the usage of %s: %w", period, err)
	}
	issues, err := b.each(ctx, chosen, figures, again, run, basis)
	if err != nil {
		return nil, err
	}
	documents := documents{}
	for _, issue := range issues {
		run.Invoices = append(run.Invoices, issue.Invoices...)
		account := issue.account(b.State.Tenant(issue.Tenant))
		if account.TaxedAs, err = b.taxedAs(account.Tenant, issue.Invoices, chains[issue.Tenant], documents); err != nil {
			return nil, err
		}
		run.Accounts[issue.Tenant] = account
	}
	run.sort()
	return run, nil
}

// rounds is how often a run looks again at tenants that others issue, or whose usage changes, while it bills them.
// Each time somebody else has got on, so even a few are not expected.
const rounds = 100

func errMoving(period civil.Month) error {
	return fmt.Errorf("the registry, the usage or what is issued kept changing while %s was being billed; run it again", period)
}

// Issue bills and issues a period for the tenants named or else for all, as far as their grace is over at now
// (R20), with the adjustments of periods that were issued before (R21). What has been issued comes back as it was,
// whoever did so and when: of runs at the same time one issues a tenant's period, and the others return that. The
// daily figures are brought up to date first, so that nothing that ingest has taken in is left out.
func (b *Biller) Issue(ctx context.Context, period civil.Month, tenants []string, now int64) (*Run, error) {
	run := &Run{Period: period, Accounts: map[string]Account{}}
	// Those that are billed are claimed and then looked at again, as are those that somebody else issues meanwhile:
	// what is in force at last is what is returned.
	claimed := map[uuid.UUID]bool{}
	waiting := b.choose(run, tenants)
	for round := 0; len(waiting) > 0; round++ {
		if round == rounds {
			return nil, errMoving(period)
		}
		snapshot, err := Snapshot(b.State, b.Rules)
		if err != nil {
			return nil, err
		}
		chains, err := b.Ledger.Issues(ctx, ids(waiting))
		if err != nil {
			return nil, fmt.Errorf("reading what has been issued: %w", err)
		}
		if behind(chains, snapshot.Offset) {
			if err := b.catchUp(ctx, waiting); err != nil {
				return nil, err
			}
			continue
		}
		var due []*registry.Tenant
		var issued []Issue
		for _, t := range waiting {
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
		if waiting = due; len(due) == 0 {
			break
		}
		issues, moved, err := b.billAll(ctx, due, chains, run, snapshot)
		if err != nil {
			return nil, err
		}
		if moved {
			if b.CatchUp != nil {
				err = b.catchUp(ctx, waiting)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := b.Ledger.Claim(ctx, issues); err != nil {
			return nil, fmt.Errorf("issuing %s: %w", period, err)
		}
		waiting = nil
		for _, issue := range issues {
			claimed[issue.ID] = true
			waiting = append(waiting, b.State.Tenant(issue.Tenant))
		}
	}
	run.sort()
	return run, nil
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

func ids(tenants []*registry.Tenant) []string {
	ids := []string{}
	for _, t := range tenants {
		ids = append(ids, t.ID)
	}
	return ids
}

// mayIssue says why a tenant's period cannot be issued at now, whatever was used in it; nil when it can.
func (b *Biller) mayIssue(t *registry.Tenant, period civil.Month, now int64) (*Stop, error) {
	end, err := b.graceEnds(t, period)
	if err != nil {
		return nil, err
	}
	if now < end {
		return &Stop{t.ID, period, "not_due", "R20", "the grace of the period ends at " + civil.FormatMillis(end),
			"issue it then, or run `apportion bill preview --period " + period.String() + "` for a draft"}, nil
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

// basis is what tenants are billed on.
type basis struct {
	snapshot aggregate.Snapshot
	pass     uint64
	extent   aggregate.Extent
	now      int64
}

// days returns the dates of a period of the tenants.
func (b basis) days(tenants []*registry.Tenant, period civil.Month) []aggregate.Day {
	chosen := map[string]bool{}
	for _, t := range tenants {
		chosen[t.ID] = true
	}
	var days []aggregate.Day
	for _, t := range b.snapshot.Tenants {
		if chosen[t.ID] {
			days = append(days, aggregate.Days(t.ID, t.Zone, period.First(), period.Next().First())...)
		}
	}
	return days
}

// billAll bills the tenants that are due, on a pass of aggregation that knows all there is. It reports whether
// usage changed meanwhile, and has then billed nobody.
func (b *Biller) billAll(ctx context.Context, due []*registry.Tenant, chains map[string][]Issue, run *Run, snapshot aggregate.Snapshot) (issues []Issue, moved bool, err error) {
	pass, moved, err := b.refresh(ctx, snapshot)
	if err != nil || moved {
		return nil, moved, err
	}
	// What is read after the pass has all that it knows; that it has no more is seen below.
	figures, err := Proved(ctx, b.Usage, ids(due), run.Period.First(), run.Period.Next().First(), pass, snapshot.Timelines.Zones)
	if err != nil {
		return nil, false, fmt.Errorf("reading the usage of %s: %w", run.Period, err)
	}
	again, moved, err := b.rerate(ctx, due, chains, pass, snapshot.Timelines.Zones, run.Period)
	if err != nil || moved {
		return nil, moved, err
	}
	due = withoutBehind(run, due, pass)
	issues, err = b.each(ctx, due, figures, again, run, basis{snapshot, pass.Number, aggregate.Extent{Positions: pass.Positions, ArrivedBy: aggregate.Settled}, aggregate.Settled})
	for i := range issues {
		issues[i].ID, issues[i].Seq = uuid.New(), len(chains[issues[i].Tenant])+1
	}
	return issues, false, err
}

var errRegistryChanged = errors.New("the registry changed while the period was being billed; nothing more was issued, run it again")

// behind reports whether anything was issued by a later registry than the one whose next offset is given.
func behind(chains map[string][]Issue, offset int64) bool {
	for _, chain := range chains {
		if chain[len(chain)-1].RegistryOffset > offset {
			return true
		}
	}
	return false
}

// catchUp goes on by the registry as it stands now, and puts its documents of the tenants in the place of ours.
func (b *Biller) catchUp(ctx context.Context, tenants []*registry.Tenant) error {
	if b.CatchUp == nil {
		return errRegistryChanged
	}
	state, err := b.CatchUp(ctx)
	if err != nil {
		return err
	}
	b.State = state
	for i, t := range tenants {
		tenants[i] = state.Tenant(t.ID)
	}
	return nil
}

// refresh brings the daily figures up to date and returns the pass that they are by, which rests on our registry. It
// reports whether another process has made one by a later registry: that pass need not know all the deliveries that
// we have to bill, so billing has to begin again, by the registry as it stands now.
func (b *Biller) refresh(ctx context.Context, snapshot aggregate.Snapshot) (pass aggregate.Pass, moved bool, err error) {
	if _, err := aggregate.Refresh(ctx, b.Usage, snapshot, b.Rules.Rules, func(int, int) {}); err != nil {
		return aggregate.Pass{}, false, err
	}
	if pass, err = b.Usage.LastPass(ctx); err != nil {
		return aggregate.Pass{}, false, fmt.Errorf("reading the last pass of aggregation: %w", err)
	}
	if pass.RegistryOffset != snapshot.Offset && b.CatchUp == nil {
		return aggregate.Pass{}, false, errRegistryChanged
	}
	return pass, pass.RegistryOffset != snapshot.Offset, nil
}

// rerated is a period that has been issued, to be compared with what is known of it now (R21).
type rerated struct {
	period civil.Month
	issued []Invoice
	usage  TenantUsage
}

// rerate reads what is needed to bill again those issued periods of the tenants, in order, that can have changed since
// the tenant's last issue, which compared them all: by a command that changed the tenant, by other configured rules
// or time zones, or by a pass that worked out a day again. It reports whether days of these or of further periods
// came into force after the pass: that may rest on another registry, and reading has to begin again.
func (b *Biller) rerate(ctx context.Context, tenants []*registry.Tenant, chains map[string][]Issue, pass aggregate.Pass, zones map[string]*civil.Zone, further ...civil.Month) (again map[string][]rerated, moved bool, err error) {
	oldest := pass.Number
	for _, t := range tenants {
		if chain := chains[t.ID]; len(chain) > 0 {
			oldest = min(oldest, chain[len(chain)-1].Pass)
		}
	}
	changed, err := b.Usage.Changed(ctx, ids(tenants), oldest)
	if err != nil {
		return nil, false, fmt.Errorf("reading what has changed since the last issue: %w", err)
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
		whole := b.State.Base(t.ID) >= last.RegistryOffset || last.Rules != b.Rules.String() || last.TZVersion != b.Rules.zones().Edition || last.Pass > pass.Number
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
	invoices := map[uuid.UUID][]Invoice{}
	if len(needed) > 0 {
		if invoices, err = b.Ledger.Invoices(ctx, needed); err != nil {
			return nil, false, fmt.Errorf("reading what has been issued: %w", err)
		}
	}
	again = map[string][]rerated{}
	for _, month := range slices.Sorted(maps.Keys(months)) {
		figures, err := Proved(ctx, b.Usage, months[month], month.First(), month.Next().First(), pass, zones)
		if err != nil {
			return nil, false, fmt.Errorf("reading the usage of %s: %w", month, err)
		}
		usage := ByTenant(figures)
		for _, tenant := range months[month] {
			var issued []Invoice
			for _, issue := range chains[tenant][since[tenant]:] {
				issued = append(issued, invoices[issue.ID]...)
			}
			again[tenant] = append(again[tenant], rerated{month, issued, usage[tenant]})
		}
	}
	later, err := b.Usage.Changed(ctx, ids(tenants), pass.Number)
	if err != nil {
		return nil, false, fmt.Errorf("reading whether usage changed meanwhile: %w", err)
	}
	for _, t := range tenants {
		for _, month := range further {
			moved = moved || later[t.ID][month] > 0
		}
		for _, r := range again[t.ID] {
			moved = moved || later[t.ID][r.period] > 0
		}
	}
	return again, moved, nil
}

// show adds what is issued to a run; the chains are those of its tenants.
func (b *Biller) show(ctx context.Context, issues []Issue, chains map[string][]Issue, run *Run) error {
	if len(issues) == 0 {
		return nil
	}
	invoices, err := b.Ledger.Invoices(ctx, issues)
	if err != nil {
		return fmt.Errorf("reading what has been issued of %s: %w", run.Period, err)
	}
	documents := documents{}
	for _, issue := range issues {
		tenant, err := documents.of(b, issue)
		if err != nil {
			return err
		}
		account := issue.account(tenant)
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
	if issue.RegistryOffset > state.Offset()+1 {
		return nil, errRegistryChanged // by somebody else, who has issued by it since
	}
	// What no command has changed since is still as it was.
	if offset := issue.RegistryOffset; state.Base(issue.Tenant) >= offset {
		if _, ok := d[offset]; !ok {
			var err error
			if d[offset], err = b.At(offset); err != nil {
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
		if state, err = b.At(state.Base(tenant.ID)); err != nil {
			return nil, fmt.Errorf("reading the registry as it was: %w", err)
		}
	}
	return &with, nil
}

func (i Issue) account(tenant *registry.Tenant) Account {
	return Account{Tenant: tenant, IssueDate: i.Date, Balance: i.Balance, RegistryOffset: i.RegistryOffset, Positions: i.Positions, TZVersion: i.TZVersion}
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
	run := &Run{Period: period, Accounts: map[string]Account{}}
	chains, err := b.Ledger.Issues(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("reading what has been issued of %s: %w", period, err)
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

// each bills the tenants one by one; one that stops is noted and the others go on (R19).
func (b *Biller) each(ctx context.Context, tenants []*registry.Tenant, figures *aggregate.Figures, again map[string][]rerated, run *Run, on basis) ([]Issue, error) {
	usage := ByTenant(figures)
	var issues []Issue
	for i, t := range tenants {
		b.Progress(i, len(tenants))
		invoices, err := b.one(t, run.Period, usage[t.ID], again[t.ID])
		var stop *Stop
		if errors.As(err, &stop) {
			run.Stopped = append(run.Stopped, stop)
			continue
		}
		if err != nil {
			return nil, err
		}
		issues = append(issues, Issue{
			Tenant: t.ID, Period: run.Period, Invoices: invoices, Date: run.Period.Next().First().Add(b.Rules.GraceDays), Balance: usage[t.ID].Balance,
			RegistryOffset: on.snapshot.Offset, Pass: on.pass, Positions: on.extent.Positions, Rules: b.Rules.String(), TZVersion: b.Rules.zones().Edition,
		})
	}
	if err := b.draw(ctx, issues, on); err != nil {
		return nil, err
	}
	b.Progress(len(tenants), len(tenants))
	return issues, nil
}

// one bills a tenant's period, with what corrects the periods that are billed again (R21).
func (b *Biller) one(t *registry.Tenant, period civil.Month, usage TenantUsage, again []rerated) ([]Invoice, error) {
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return nil, err
	}
	invoices, err := Bill(t, zone, period, usage, b.Rules)
	if err != nil {
		return nil, err
	}
	var corrections []Correction
	for _, r := range again {
		now, err := Bill(t, zone, r.period, r.usage, b.Rules)
		var stop *Stop
		if errors.As(err, &stop) {
			return nil, &Stop{t.ID, period, stop.Code, stop.Rule, "billing " + r.period.String() + " again, which is issued (R21): " + stop.Detail, stop.Advice}
		}
		if err != nil {
			return nil, err
		}
		corrections = append(corrections, Correction{r.period, r.issued, now})
	}
	return Adjust(t, period, invoices, corrections), nil
}

// draw gives every overage that has a peak instant the picture of that date.
func (b *Biller) draw(ctx context.Context, issues []Issue, on basis) error {
	type picture struct {
		tenant string
		date   civil.Date
		meter  string
	}
	zones := map[string]*civil.Zone{}
	for _, t := range on.snapshot.Tenants {
		zones[t.ID] = t.Zone
	}
	lines := map[picture]*Line{}
	wanted := map[aggregate.Day]bool{}
	for _, issue := range issues {
		for _, i := range issue.Invoices {
			for n := range i.Lines {
				if l := &i.Lines[n]; l.Kind == Overage && l.PeakMS != NoInstant {
					date := zones[i.Tenant].DateOf(l.PeakMS)
					lines[picture{i.Tenant, date, l.Meter}] = l
					for _, day := range aggregate.Days(i.Tenant, zones[i.Tenant], date, date+1) {
						wanted[day] = true
					}
				}
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	days := slices.SortedFunc(maps.Keys(wanted), func(x, y aggregate.Day) int {
		return cmp.Or(cmp.Compare(x.Tenant, y.Tenant), cmp.Compare(x.Date, y.Date))
	})
	profiles, err := b.Usage.Profile(ctx, days, on.extent, on.snapshot.Timelines, b.Rules.Rules, on.now)
	if err != nil {
		return fmt.Errorf("working out the days of the peaks: %w", err)
	}
	for _, p := range profiles {
		if l := lines[picture{p.Tenant, p.Date, p.Meter}]; l != nil {
			for _, point := range p.Points {
				l.Pool = append(l.Pool, PoolPoint{point.AtMS, point.Live, l.Entitled})
			}
		}
	}
	return nil
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
	for tenant, unproved := range figures.Unproved {
		t := usage[tenant]
		t.Unproved = unproved
		usage[tenant] = t
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
	zone, err := zoneOf(t, b.Rules)
	if err != nil {
		return 0, err
	}
	return graceEnd(zone, period, b.Rules), nil
}
