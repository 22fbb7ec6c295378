package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
)

// Reconciliation is the balance of a period (R22), from one end to the other.
type Reconciliation struct {
	LedgerBalance
	PeriodBalance
}

// Reconciliations are the balances of all periods.
type Reconciliations struct {
	LedgerBalance
	// Periods are those that have usage, or are issued to anybody, the newest first.
	Periods []ReconciledPeriod `json:"periods"`
}

// ReconciledPeriod is the balance of one of several periods.
type ReconciledPeriod struct {
	Period civil.Month `json:"period"`
	PeriodBalance
}

// LedgerBalance is what of the balance belongs to no period.
type LedgerBalance struct {
	Partitions []PartitionBalance `json:"partitions"`
	// AcceptedHoles are offsets that were never taken in, and why they stop nobody.
	AcceptedHoles []registry.AcceptedHole `json:"acceptedHoles"`
	// OtherTopics says which topics are not those that were taken in.
	OtherTopics []string `json:"otherTopics,omitempty"`
	// Rejected counts refused deliveries by code, whatever their period.
	Rejected map[schemas.Code]uint64 `json:"rejected"`
}

// PeriodBalance is what became of the deliveries of a period.
type PeriodBalance struct {
	// Tenants are in byte order.
	Tenants []TenantBalance `json:"tenants"`
	// Findings are what a person should look at (R24).
	Findings []billing.Finding `json:"findings"`
	// Total is the sum of the tenants.
	Total aggregate.Balance `json:"total"`
	// Sealing is there for a period that is sealed (R25). Where its deliveries are removed, the balance is that of each
	// issue.
	Sealing *Sealing `json:"sealed,omitempty"`
	// TableDiffers says that issued_periods is not what the registry's log says; nothing is billed from it.
	TableDiffers bool `json:"-"`

	figures *aggregate.Figures // that it is the balance of, by the pass
	pass    aggregate.Pass
}

// PartitionBalance is the balance of a topic partition.
type PartitionBalance struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	// Published is the offset that Kafka gives the next record, and NotRead how many offsets ingest is behind that;
	// nil for a partition that Kafka does not have under the configured prefix.
	Published   *int64   `json:"published"`
	NotRead     *int64   `json:"notRead"`
	Read        uint64   `json:"read"`
	Skipped     uint64   `json:"skipped"` // offsets without a record: transactions' ends, aborted, compacted
	Accepted    uint64   `json:"accepted"`
	Rejected    uint64   `json:"rejected"`
	Differences []string `json:"differences,omitempty"`
	// Holes counts those of the differences that are holes nobody has accepted.
	Holes int `json:"-"`
}

// TenantBalance is the balance of a tenant.
type TenantBalance struct {
	Tenant string `json:"tenantId"`
	aggregate.Balance
	// Usage is what was counted by meter, and Issued says whether the period of the tenant is.
	Usage       []billing.MeterBalance `json:"usage"`
	Issued      bool                   `json:"issued"`
	Differences []string               `json:"differences,omitempty"`
}

func newLedgerBalance() LedgerBalance {
	return LedgerBalance{
		Partitions:    []PartitionBalance{},
		AcceptedHoles: []registry.AcceptedHole{},
		Rejected:      map[schemas.Code]uint64{},
	}
}

func newPeriodBalance() PeriodBalance {
	return PeriodBalance{Tenants: []TenantBalance{}, Findings: []billing.Finding{}}
}

// Differences counts what does not balance.
func (r *Reconciliation) Differences() int {
	return r.LedgerBalance.Differences() + r.PeriodBalance.Differences()
}

// Of returns the part of the balance that is of some tenants: without that of the ledger, which is of all.
func (r *Reconciliation) Of(tenants []string) *Reconciliation {
	part := &Reconciliation{newLedgerBalance(), newPeriodBalance()}
	for _, t := range r.Tenants {
		if slices.Contains(tenants, t.Tenant) {
			part.Tenants, part.Total = append(part.Tenants, t), part.Total.Add(t.Balance)
		}
	}
	for _, f := range r.Findings {
		if slices.Contains(tenants, f.Tenant) {
			part.Findings = append(part.Findings, f)
		}
	}
	return part
}

// Differences counts what does not balance.
func (r *Reconciliations) Differences() int {
	n := r.LedgerBalance.Differences()
	for _, p := range r.Periods {
		n += p.Differences()
	}
	return n
}

// Differences counts what does not balance of the ledger.
func (r *LedgerBalance) Differences() int {
	n := len(r.OtherTopics)
	for _, p := range r.Partitions {
		n += len(p.Differences)
	}
	return n
}

// Differences counts what does not balance of the tenants.
func (r *PeriodBalance) Differences() (n int) {
	for _, t := range r.Tenants {
		n += len(t.Differences)
	}
	return n
}

// Holes counts the holes of the ledger that nobody has accepted.
func (r *LedgerBalance) Holes() (n int) {
	for _, p := range r.Partitions {
		n += p.Holes
	}
	return n
}

// NotRead is how many offsets are on Kafka and not taken in.
func (r *LedgerBalance) NotRead() (n int64) {
	for _, p := range r.Partitions {
		if p.NotRead != nil {
			n += *p.NotRead
		}
	}
	return n
}

// differ adds a difference of a tenant.
func (r *PeriodBalance) differ(tenant, difference string) {
	at := r.tenant(tenant)
	r.Tenants[at].Differences = append(r.Tenants[at].Differences, difference)
}

// tenant returns the index of a tenant, which is added where it has none.
func (r *PeriodBalance) tenant(id string) int {
	byID := func(t TenantBalance, id string) int { return strings.Compare(t.Tenant, id) }
	at, found := slices.BinarySearchFunc(r.Tenants, id, byID)
	if !found {
		r.Tenants = slices.Insert(r.Tenants, at, TenantBalance{Tenant: id})
	}
	return at
}

// Reconcile returns the balance of a period, followed to its invoices, with what a person should look at (R22, R24).
// The daily figures are brought up to date first.
func (s *Invoices) Reconcile(ctx context.Context, period civil.Month) (*Reconciliation, error) {
	on, ledger, err := s.reconciler(ctx)
	r := &Reconciliation{ledger, newPeriodBalance()}
	if err != nil || on == nil {
		return r, err
	}
	r.PeriodBalance, err = on.period(ctx, period)
	return r, err
}

// ReconcileAll returns the same of all periods.
func (s *Invoices) ReconcileAll(ctx context.Context) (*Reconciliations, error) {
	on, ledger, err := s.reconciler(ctx)
	r := &Reconciliations{ledger, []ReconciledPeriod{}}
	if err != nil || on == nil {
		return r, err
	}
	periods, err := on.periods(ctx)
	if err != nil {
		return nil, err
	}
	for _, period := range periods {
		balance, err := on.period(ctx, period)
		if err != nil {
			return nil, err
		}
		r.Periods = append(r.Periods, ReconciledPeriod{period, balance})
	}
	return r, nil
}

// reconciler reconciles periods on one state of the registry.
type reconciler struct {
	*Invoices
	state  registry.State
	behind []aggregate.Behind // whose daily figures could not be brought up to date
	// chains are what is issued of each tenant, once the first period has said where issued_periods differs from it.
	chains map[string][]billing.Issue
}

// reconciler brings the daily figures up to date, and returns what reconciles periods by them, with the balance of the
// ledger; nothing where the registry's log is not the one that was read: whose usage it is follows from the registry.
func (s *Invoices) reconciler(ctx context.Context) (*reconciler, LedgerBalance, error) {
	report, err := s.Aggregate(ctx, nil)
	if other := (kafka.OtherLogError{}); errors.As(err, &other) {
		ledger := newLedgerBalance()
		ledger.OtherTopics = []string{other.Error()}
		return nil, ledger, nil
	}
	if err != nil {
		return nil, LedgerBalance{}, err
	}
	// Read again, since that may have taken long: the figures may be of another process's pass by a later registry.
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, LedgerBalance{}, err
	}
	ledger, err := s.ledgerBalance(ctx, state)
	return &reconciler{Invoices: s, state: state, behind: report.Behind}, ledger, err
}

// periods returns those that have usage, or are issued to anybody, the newest first.
func (s *reconciler) periods(ctx context.Context) ([]civil.Month, error) {
	months := map[civil.Month]bool{}
	used, err := s.Usage.MonthsChangedSince(ctx, nil, 0)
	if err != nil {
		return nil, err
	}
	for _, of := range used {
		for month := range of {
			months[month] = true
		}
	}
	chains, err := billing.AllIssues(s.state, nil)
	for _, chain := range chains {
		for _, issue := range chain {
			months[issue.Period] = true
		}
	}
	periods := slices.Sorted(maps.Keys(months))
	slices.Reverse(periods)
	return periods, err
}

// period returns the balance of a period, followed to its invoices, with what a person should look at.
func (s *reconciler) period(ctx context.Context, period civil.Month) (PeriodBalance, error) {
	sealing := sealingOf(s.state, period)
	if sealing != nil && sealing.Removed != nil {
		r, err := s.removed(ctx, period)
		r.Sealing = sealing
		return r, err
	}
	r, err := s.periodBalance(ctx, s.state, period.First(), period.Next().First())
	if err != nil {
		return r, err
	}
	r.Sealing = sealing
	for _, b := range s.behind {
		r.differ(b.Tenant, "its usage could not be computed: "+b.Reason)
	}
	if s.chains == nil {
		if s.chains, err = s.issuesKept(ctx, &r, s.state); err != nil {
			return r, err
		}
	}
	if err := s.followToInvoices(ctx, &r, s.chains, period); err != nil {
		return r, err
	}
	found, err := s.look(ctx, s.billerOn(s.state, registry.Actor{}), period, r.figures, r.pass)
	r.Findings = append(r.Findings, found...)
	return r, err
}

// removed returns what is left to be reconciled of a period whose deliveries are removed: whether its invoices are
// those that were issued. The rest is as it was at the issue.
func (s *reconciler) removed(ctx context.Context, period civil.Month) (r PeriodBalance, err error) {
	r = newPeriodBalance()
	if s.chains == nil {
		if s.chains, err = s.issuesKept(ctx, &r, s.state); err != nil {
			return r, err
		}
	}
	issues, err := s.issuesSince(ctx, &r, s.chains, period)
	if err != nil {
		return r, err
	}
	for _, tenant := range slices.Sorted(maps.Keys(issues)) {
		issue := issues[tenant][0]
		t := &r.Tenants[r.tenant(tenant)]
		t.Balance, t.Issued, t.Usage = issue.Balance, true, []billing.MeterBalance{}
		r.Total = r.Total.Add(issue.Balance)
		r.Findings = append(r.Findings, issue.Look().Findings...)
	}
	return r, nil
}

// look returns what there is to be looked at in a period of all tenants (R24), and keeps it.
func (s *Invoices) look(ctx context.Context, biller *billing.Biller, period civil.Month, figures *aggregate.Figures,
	pass aggregate.Pass) ([]billing.Finding, error) {
	nowMS := s.Clock().UnixMilli()
	found, err := biller.Findings(ctx, period, figures, pass, nowMS)
	if err != nil {
		return nil, err
	}
	return found, s.Findings.Keep(ctx, looks(biller.State, period, found, pass, nowMS))
}

// looks returns what was found, by tenant. What was found at an issue is kept with the issue.
func looks(state registry.State, period civil.Month, found []billing.Finding, pass aggregate.Pass,
	nowMS int64) (all []billing.Look) {
	of := map[string][]billing.Finding{}
	for _, f := range found {
		of[f.Tenant] = append(of[f.Tenant], f)
	}
	tenants := []string{""} // what is of all
	issued := billing.IssuedPeriods(state)
	for _, t := range state.Tenants() {
		if !issued[billing.TenantPeriod{Tenant: t.ID, Period: period}] {
			tenants = append(tenants, t.ID)
		}
	}
	for _, tenant := range tenants {
		all = append(all, billing.Look{Tenant: tenant, Period: period, Findings: of[tenant], Pass: pass.Pass,
			RegistryOffset: pass.RegistryOffset, AtMS: nowMS})
	}
	return all
}

// Look looks at the findings of periods of all tenants, by figures that are brought up to date first, and keeps them. A
// period that fails does not stop the others.
func (s *Invoices) Look(ctx context.Context, periods ...civil.Month) error {
	biller, err := s.reader(ctx)
	if err != nil {
		return err
	}
	snapshot, err := billing.Snapshot(biller.State, s.Rules)
	if err != nil {
		return err
	}
	pass, err := biller.Refresh(ctx, snapshot)
	if err != nil {
		return err
	}
	var failed []error
	for _, period := range periods {
		figures, err := s.Usage.Load(ctx, nil, period.First(), period.Next().First())
		if err == nil {
			_, err = s.look(ctx, biller, period, figures, pass)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", period, err))
		}
	}
	return errors.Join(failed...)
}

// Balance returns the balance of the dates `[from, to)`, up to the usage of subscriptions (R22).
func (s *Invoices) Balance(ctx context.Context, from, to civil.Date) (*Reconciliation, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	ledger, err := s.ledgerBalance(ctx, state)
	if err != nil {
		return nil, err
	}
	of, err := s.periodBalance(ctx, state, from, to)
	return &Reconciliation{ledger, of}, err
}

// ledgerBalance returns what of the balance belongs to no period.
func (s *Invoices) ledgerBalance(ctx context.Context, state registry.State) (r LedgerBalance, err error) {
	r = newLedgerBalance()
	r.AcceptedHoles = append(r.AcceptedHoles, state.AcceptedHoles()...)
	if r.Partitions, err = s.partitions(ctx, state); err != nil {
		return r, err
	}
	if r.OtherTopics, err = s.Ledger.OtherTopics(ctx); err != nil {
		return r, err
	}
	r.Rejected, err = s.Ledger.CountRejected(ctx)
	return r, err
}

// periodBalance returns the balance of the dates `[from, to)`, up to the usage of subscriptions.
func (s *Invoices) periodBalance(
	ctx context.Context, state registry.State, from, to civil.Date,
) (r PeriodBalance, err error) {
	r = newPeriodBalance()
	if r.figures, r.pass, err = s.proved(ctx, state, from, to); err != nil {
		return r, err
	}
	usage := billing.ByTenant(r.figures)
	differences := billing.DifferencesByDay(r.figures)
	for _, tenant := range slices.Sorted(maps.Keys(usage)) {
		u := usage[tenant]
		r.Total = r.Total.Add(u.Balance)
		r.Tenants = append(r.Tenants, TenantBalance{
			Tenant: tenant, Balance: u.Balance, Usage: u.MeterBalances(), Differences: differences[tenant],
		})
	}
	return r, nil
}

// proved returns the figures of the dates `[from, to)` of all tenants, with what of them the deliveries as stored do
// not prove. Passes go on meanwhile: where something differs it is looked at again, until no pass came in between.
func (s *Invoices) proved(
	ctx context.Context, state registry.State, from, to civil.Date,
) (*aggregate.Figures, aggregate.Pass, error) {
	snapshot, err := billing.Snapshot(state, s.Rules)
	if err != nil {
		return nil, aggregate.Pass{}, err
	}
	for round := 1; ; round++ {
		pass, err := aggregate.Refresher(s.Usage, s.Rules.Rules)(ctx, snapshot)
		if err != nil {
			return nil, aggregate.Pass{}, err
		}
		figures, err := billing.Proved(ctx, s.Usage, nil, from, to, pass, snapshot.Timelines)
		if err != nil {
			return nil, aggregate.Pass{}, err
		}
		if len(figures.Unproved) > 0 {
			later, err := s.Usage.MonthsChangedSince(ctx, slices.Sorted(maps.Keys(figures.Unproved)), pass.Pass)
			if err != nil {
				return nil, aggregate.Pass{}, err
			}
			if len(later) > 0 && round < 10 { // another pass is under way; the next look makes it too
				continue
			}
		}
		return figures, pass, nil
	}
}

// partitions returns the balance of every topic partition, up to where it ends on Kafka.
func (s *Invoices) partitions(ctx context.Context, state registry.State) ([]PartitionBalance, error) {
	balances, err := s.Ledger.Balance(ctx, acceptedHoles(state)...)
	if err != nil {
		return nil, err
	}
	// Kafka is asked after the ledger, so that it is never behind it.
	bounds, err := s.Ledger.Bounds(ctx)
	if err != nil {
		return nil, err
	}
	all := []PartitionBalance{}
	add := func(b ingest.PartitionBalance) {
		p := PartitionBalance{Topic: b.Topic, Partition: b.Partition, Read: b.Read, Skipped: b.Skipped,
			Accepted: b.Accepted, Rejected: b.Rejected, Differences: b.Differences, Holes: len(b.Holes)}
		if has, known := bounds[b.TopicPartition]; known {
			notRead := max(0, has.End-max(has.First, b.Offsets.Last+1)) // what is deleted is a hole
			p.Published, p.NotRead = &has.End, &notRead
			delete(bounds, b.TopicPartition)
		}
		all = append(all, p)
	}
	for _, b := range balances {
		add(b)
	}
	for p, has := range bounds { // of which nothing has been read
		if has.End > 0 {
			add(ingest.PartitionBalance{TopicPartition: p, Offsets: ingest.OffsetRange{First: 0, Last: -1}})
		}
	}
	slices.SortFunc(all, func(x, y PartitionBalance) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return all, nil
}

// followToInvoices says of every tenant what of its units is on invoices (R22). What is issued must be the total of the
// deliveries that the issue was based on; what differs beyond that has come in since, and is for the next adjustment
// (R21).
func (s *Invoices) followToInvoices(
	ctx context.Context, r *PeriodBalance, chains map[string][]billing.Issue, period civil.Month,
) error {
	issues, err := s.issuesSince(ctx, r, chains, period)
	if err != nil {
		return err
	}
	for tenant := range issues {
		r.tenant(tenant)
	}
	for i := range r.Tenants {
		t := &r.Tenants[i]
		of := issues[t.Tenant]
		if t.Issued = len(of) > 0; !t.Issued {
			for j := range t.Usage {
				t.Usage[j].NotIssued = t.Usage[j].Units
			}
			continue
		}
		invoiced := billing.InvoicedUnits(period, of)
		if changed := t.takeInvoiced(invoiced); !changed {
			continue
		}
		latest := of[len(of)-1]
		counted, err := s.countedBy(ctx, latest, period)
		if err != nil {
			return err
		}
		meters := slices.AppendSeq(slices.Collect(maps.Keys(invoiced)), maps.Keys(counted))
		slices.Sort(meters)
		for _, meter := range slices.Compact(meters) {
			if !invoiced[meter].Equal(counted[meter]) {
				t.Differences = append(t.Differences, fmt.Sprintf(
					"%s: %s units of %s are on invoices, but the deliveries that pass %d was based on total %s",
					period, invoiced[meter], meter, latest.Pass, counted[meter]))
			}
		}
	}
	return nil
}

// issuesSince returns the issue of the period and those after it, of the tenants that have one, with their invoices. It
// says where the stored lines are not what was issued.
func (s *Invoices) issuesSince(
	ctx context.Context, r *PeriodBalance, chains map[string][]billing.Issue, period civil.Month,
) (map[string][]billing.Issue, error) {
	issues := map[string][]billing.Issue{}
	var all []billing.Issue
	for tenant, chain := range chains {
		if at := slices.IndexFunc(chain, func(i billing.Issue) bool { return i.Period == period }); at >= 0 {
			issues[tenant] = chain[at:]
			all = append(all, chain[at:]...)
		}
	}
	invoices, err := s.Lines.Invoices(ctx, all)
	if err != nil {
		return nil, err
	}
	for tenant, of := range issues {
		for i, issue := range of {
			if stop := issue.Changed(invoices[issue.ID]); stop != nil {
				r.differ(tenant, fmt.Sprintf("%s: %s; %s", issue.Period, stop.Message, stop.Advice))
			}
			of[i].Invoices = invoices[issue.ID]
		}
	}
	return issues, nil
}

// issuesKept returns what is issued of each tenant by a state of the registry, and says where issued_periods differs:
// where it lacks an issue of that state, or has one that the log still lacks when the table has been read. Others may
// issue meanwhile.
func (s *Invoices) issuesKept(
	ctx context.Context, r *PeriodBalance, state registry.State,
) (map[string][]billing.Issue, error) {
	if err := s.Registry.Record(ctx); err != nil {
		return nil, err
	}
	chains, err := billing.AllIssues(state, nil)
	if err != nil {
		return nil, err
	}
	rows, err := s.Registry.verdicts.IssuedHashes(ctx)
	if err != nil {
		return nil, err
	}
	later, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	onLog, err := billing.AllIssues(later, nil)
	if err != nil {
		return nil, err
	}
	differ := func(tenant, difference string) {
		r.TableDiffers = true
		r.differ(tenant, difference)
	}
	seen := map[string]bool{}
	for _, row := range rows {
		chain := onLog[row.Tenant]
		known := 1 <= row.Seq && row.Seq <= len(chain) &&
			chain[row.Seq-1].Hash == row.Hash && chain[row.Seq-1].Period.String() == row.Period
		if !known {
			differ(row.Tenant, fmt.Sprintf("issued_periods has %s as issue %d, which the registry's log has not",
				row.Period, row.Seq))
		}
		seen[row.Hash] = true
	}
	for _, tenant := range slices.Sorted(maps.Keys(chains)) {
		for _, i := range chains[tenant] {
			if !seen[i.Hash] {
				differ(tenant, fmt.Sprintf("issued_periods lacks %s, issue %d on the registry's log", i.Period, i.Seq))
			}
		}
	}
	return chains, nil
}

// takeInvoiced enters what is on invoices, and reports whether that is anything but what is counted now.
func (t *TenantBalance) takeInvoiced(invoiced map[string]decimal.Decimal) (changed bool) {
	for _, meter := range slices.Sorted(maps.Keys(invoiced)) {
		at := slices.IndexFunc(t.Usage, func(c billing.MeterBalance) bool { return c.Meter == meter })
		if at < 0 {
			at = len(t.Usage)
			t.Usage = append(t.Usage, billing.MeterBalance{Meter: meter})
		}
		t.Usage[at].Invoiced = invoiced[meter]
	}
	slices.SortFunc(t.Usage, func(x, y billing.MeterBalance) int { return strings.Compare(x.Meter, y.Meter) })
	for j := range t.Usage {
		c := &t.Usage[j]
		c.Since = c.Units.Sub(c.Invoiced)
		changed = changed || !c.Since.IsZero()
	}
	return changed
}

// countedBy computes the units of a tenant's period by meter, from what an issue was based on.
func (s *Invoices) countedBy(
	ctx context.Context, issue billing.Issue, period civil.Month,
) (map[string]decimal.Decimal, error) {
	explainer, err := s.explainerOf(issue)
	if err != nil {
		return nil, err
	}
	state, err := s.Registry.At(issue.RegistryOffset)
	if err != nil {
		return nil, err
	}
	snapshot, err := billing.Snapshot(state, explainer.Rules, issue.Tenant)
	if err != nil {
		return nil, err
	}
	days := aggregate.Days(issue.Tenant, snapshot.Timelines.Zone(issue.Tenant), period.First(), period.Next().First())
	figures, err := s.Usage.Compute(ctx, aggregate.Inputs{
		Days: days, Bound: explainer.Bound, Timelines: snapshot.Timelines,
		Rules: explainer.Rules.Rules, NowMS: explainer.NowMS,
	})
	if err != nil {
		return nil, fmt.Errorf("computing what %s of %s was based on: %w", period, issue.Tenant, err)
	}
	units := map[string]decimal.Decimal{}
	for _, c := range billing.ByTenant(figures)[issue.Tenant].MeterBalances() {
		if c.IsConnect() {
			units[c.Meter] = c.Units
		}
	}
	return units, nil
}
