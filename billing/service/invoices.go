package service

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/traces"
)

// Clock tells the time.
type Clock func() time.Time

// Ledger is what ingest has taken in, beside what is on Kafka (R22).
type Ledger interface {
	// Behind waits until what is on Kafka is taken in, and returns what is not once the ledger has stood still for as long
	// as patience says.
	Behind(ctx context.Context, patience time.Duration) ([]ingest.Lag, error)
	// AwaitCaughtUp waits, however long, until what is on Kafka when it is called is taken in.
	AwaitCaughtUp(ctx context.Context) error
	// Balance returns the balance of every partition; holes that are accepted are no difference.
	Balance(ctx context.Context, accepted ...ingest.Hole) ([]ingest.PartitionBalance, error)
	// Bounds returns the offsets that Kafka has of every partition.
	Bounds(ctx context.Context) (map[kafka.TopicPartition]kafka.Bounds, error)
	// OtherTopics says which topics are not those that were taken in.
	OtherTopics(ctx context.Context) ([]string, error)
	// CountRejected counts the refused deliveries by code.
	CountRejected(ctx context.Context) (map[schemas.Code]uint64, error)
}

// Usage is daily usage and the deliveries behind it; aggregate/clickhouse has it.
type Usage interface {
	billing.Usage
	billing.Deliveries
	aggregate.Rebuilder
}

// Findings keeps what was found where people and programs can query it (R24); billing/clickhouse has it.
type Findings interface {
	// Keep keeps looks, each in place of what was found of its tenant and period before, unless that was at the issue.
	Keep(ctx context.Context, looks []billing.Look) error
	// List returns what was found last that is asked for, in the order of tenant, period and code.
	List(ctx context.Context, ask billing.FindingFilter) ([]billing.KeptFinding, error)
}

// InvoiceDeps are what invoices are made of.
type InvoiceDeps struct {
	Registry *Registry
	Usage    Usage
	Lines    billing.Lines
	Ledger   Ledger
	Findings Findings
	Rules    billing.Rules
	Seller   billing.Seller
	// ItemCodes are what lines have in finance's system.
	ItemCodes billing.ItemCodes
	// TwoPersons has nobody issue a period to a tenant whose prices of the period they have changed.
	TwoPersons bool
	// SealAfterMonths is for how many months the grace of a period must be over for it to be sealed (R25); 0: never.
	SealAfterMonths int
	// Clock is this machine's, and ServerMS asks for the database's, in UTC epoch milliseconds.
	Clock    Clock
	ServerMS func(ctx context.Context) (int64, error)
	// Progress, where it is not nil, is called with the tenants done and the tenants there are.
	Progress func(done, total int)
}

// Invoices previews, issues, compares and explains invoices, and reconciles them (R14-R26).
type Invoices struct{ InvoiceDeps }

// NewInvoices returns them; it does nothing yet.
func NewInvoices(deps InvoiceDeps) *Invoices { return &Invoices{deps} }

// biller returns what bills on the registry as it stands now, in somebody's name.
func (s *Invoices) biller(ctx context.Context, by registry.Actor) (*billing.Biller, error) {
	state, err := s.Registry.CatchUp(ctx)
	return s.billerOn(state, by), err
}

// billerOn returns the same on a state of the registry that has been read.
func (s *Invoices) billerOn(state registry.State, by registry.Actor) *billing.Biller {
	return &billing.Biller{
		State: state, Rules: s.Rules, Seller: s.Seller, ItemCodes: s.ItemCodes, Usage: s.Usage,
		Deliveries: s.Usage, Lines: s.Lines,
		Refresh: aggregate.Refresher(s.Usage, s.Rules.Rules), Log: claims{s.Registry, by}, Progress: s.Progress,
	}
}

// reader bills for those who only look; what is claimed in its name is a fault.
func (s *Invoices) reader(ctx context.Context) (*billing.Biller, error) {
	return s.biller(ctx, registry.Actor{})
}

// mostApart is how far two clocks may differ that both are believed.
const mostApart = 5 * time.Minute

// CheckClocks returns how far this machine's clock is ahead of the database's, and an error of the code
// [schemas.ClocksApart] if that is so far, ahead or behind, that nothing may be issued by it (R20). How long the
// question takes is no difference.
func (s *Invoices) CheckClocks(ctx context.Context) (ahead time.Duration, err error) {
	before := s.Clock()
	ms, err := s.ServerMS(ctx)
	if err != nil {
		return 0, err
	}
	after, server := s.Clock(), time.UnixMilli(ms)
	switch {
	case before.After(server):
		ahead = before.Sub(server)
	case after.Before(server):
		ahead = after.Sub(server)
	}
	if ahead.Abs() > mostApart {
		return ahead, errorf(schemas.ClocksApart, 0,
			"%s: this machine's clock says %s and ClickHouse's says %s, more than %v apart: "+
				"nothing is issued until they agree; put the wrong one right",
			schemas.ClocksApart, after.UTC().Format(time.RFC3339), server.UTC().Format(time.RFC3339), mostApart)
	}
	return ahead, nil
}

// IssueRequest asks for an issue.
type IssueRequest struct {
	Period civil.Month
	// Tenants are those to issue to, none for all.
	Tenants []string
	// NowMS is the now of R20, in UTC epoch milliseconds.
	NowMS int64
	// AllowFuture lets that be later than the clock, for tests and demonstrations.
	AllowFuture bool
	// Wait is how long the ledger may stand still before what is not taken in stops all.
	Wait time.Duration
}

// Check returns an error of the code [schemas.AsOfFuture] if the request is as of an instant later than now, and that
// is not allowed.
func (r IssueRequest) Check(now time.Time) error {
	if r.AllowFuture || r.NowMS <= now.UnixMilli() {
		return nil
	}
	return errorf(schemas.AsOfFuture, r.Period,
		"%s: %s is later than the clock, %s (R20): what is issued is for good, and nobody knows yet what happens until then",
		schemas.AsOfFuture, civil.FormatMillis(r.NowMS), now.UTC().Format(time.RFC3339))
}

// Issue issues a period to tenants whose grace is over, in somebody's name, and returns all that they are issued (R20).
func (s *Invoices) Issue(ctx context.Context, by registry.Actor, ask IssueRequest) (*billing.Run, error) {
	if err := ask.Check(s.Clock()); err != nil {
		return nil, err
	}
	if !ask.AllowFuture {
		if _, err := s.CheckClocks(ctx); err != nil {
			return nil, err
		}
	}
	biller, err := s.biller(ctx, by)
	if err != nil {
		return nil, err
	}
	if err := s.Registry.Record(ctx); err != nil {
		return nil, err
	}
	lags, err := s.Ledger.Behind(ctx, ask.Wait)
	if err != nil {
		return nil, err
	}
	for _, l := range lags {
		biller.Behind = append(biller.Behind, fmt.Sprintf("%s: %d not read", l, l.Offsets))
	}
	if err := s.addDifferences(ctx, biller); err != nil {
		return nil, err
	}
	if s.TwoPersons {
		biller.ChangedPrices = s.Registry.changedPrices(by)
	}
	return issue(ctx, biller, ask.Period, ask.Tenants, ask.NowMS)
}

// issue issues a period, as part of a trace.
func issue(
	ctx context.Context, biller *billing.Biller, period civil.Month, tenants []string, nowMS int64,
) (*billing.Run, error) {
	ctx, span := traces.Begin(ctx, "issue")
	span.Say("period", period.String())
	run, err := biller.Issue(ctx, period, tenants, nowMS)
	if err == nil {
		span.Count("issued", run.Issued)
		span.Count("stopped", len(run.Stopped))
	}
	span.End(err)
	return run, err
}

// LedgerDifferences are what does not balance between the topics and what was taken in (R22), in words.
type LedgerDifferences struct {
	// Topics are those of topics that are not the ones that were taken in.
	Topics []string
	// Holes counts the holes that nobody has accepted; each is one of Partitions.
	Holes      int
	Partitions []string
}

// All returns all of them.
func (d *LedgerDifferences) All() []string { return slices.Concat(d.Topics, d.Partitions) }

// differences returns what does not balance between the topics and what was taken in (R22).
func (s *Invoices) differences(ctx context.Context, state registry.State) (*LedgerDifferences, error) {
	partitions, err := s.Ledger.Balance(ctx, acceptedHoles(state)...)
	if err != nil {
		return nil, err
	}
	d := &LedgerDifferences{}
	if d.Topics, err = s.Ledger.OtherTopics(ctx); err != nil {
		return nil, err
	}
	for _, p := range partitions {
		d.Holes += len(p.Holes)
		d.Partitions = append(d.Partitions, p.Differences...)
	}
	return d, nil
}

// acceptedHoles returns the holes of the ledger that somebody has accepted.
func acceptedHoles(state registry.State) []ingest.Hole {
	var holes []ingest.Hole
	for _, h := range state.AcceptedHoles() {
		holes = append(holes, ingest.Hole{
			TopicPartition: kafka.TopicPartition{Topic: h.Topic, Partition: int(h.Partition)},
			OffsetRange:    ingest.OffsetRange{First: h.First, Last: h.Last},
		})
	}
	return holes
}

// Issued returns everything that is issued of a period.
func (s *Invoices) Issued(ctx context.Context, period civil.Month) (*billing.Run, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	return biller.Issued(ctx, period)
}

// Due reports whether the grace of a period is over for every tenant (R20).
func (s *Invoices) Due(ctx context.Context, period civil.Month, nowMS int64) (bool, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return false, err
	}
	return biller.Due(period, nowMS)
}

// Status is how far a period is.
type Status struct {
	// NotRead are the partitions of which something published is not taken in yet, with how much; nothing is issued
	// before it is (R22).
	NotRead []string `json:"notRead"`
	// Sealing is there for a period that is sealed (R25).
	Sealing *Sealing `json:"sealed,omitempty"`
	*billing.PeriodStatus
}

// Status says how far a period is, of the tenants named, none for all, at an instant in UTC epoch milliseconds (R20).
func (s *Invoices) Status(ctx context.Context, period civil.Month, tenants []string, nowMS int64) (*Status, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	result := &Status{NotRead: []string{}, Sealing: sealingOf(biller.State, period)}
	lags, err := s.Ledger.Behind(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, l := range lags {
		result.NotRead = append(result.NotRead, fmt.Sprintf("%s: %d", l, l.Offsets))
	}
	if err := s.addDifferences(ctx, biller); err != nil {
		return nil, err
	}
	result.PeriodStatus, err = biller.Status(ctx, period, tenants, nowMS)
	return result, err
}

// Months counts, of every month until an instant, the tenants by how far their period is, the latest month first.
// Months before from, 0 for none, are left out where they are not issued.
func (s *Invoices) Months(
	ctx context.Context, tenants []string, from civil.Month, nowMS int64,
) ([]billing.MonthStatus, []*billing.Stop, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	return biller.Months(tenants, from, nowMS)
}

// List returns the invoices that are issued, of a period or of all (0), and of the tenants named, none for all.
func (s *Invoices) List(
	ctx context.Context, period civil.Month, tenants []string,
) ([]billing.ListedInvoice, []*billing.Stop, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	return biller.List(ctx, period, tenants)
}

// ListRequest asks for a page of the invoices that are issued.
type ListRequest struct {
	// Period and Subscription choose them; 0 and "" for all.
	Period       civil.Month
	Subscription string
	// Tenants are those whose invoices are wanted, none for all.
	Tenants []string
	// After is the place in the list that the page begins after, and Limit how many it has.
	After billing.InvoiceKey
	Limit int
}

// ListPage returns a page of the invoices that are issued, by period, tenant and subscription.
func (s *Invoices) ListPage(ctx context.Context, ask ListRequest) ([]billing.ListedInvoice, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	limit := ask.Limit
	if ask.Subscription != "" {
		owner := biller.State.Owner(ask.Subscription)
		if owner == nil || len(ask.Tenants) > 0 && !slices.Contains(ask.Tenants, owner.ID) {
			return nil, nil
		}
		ask.Tenants, limit = []string{owner.ID}, math.MaxInt
	}
	list, err := biller.ListAfter(ctx, ask.Period, ask.Tenants, ask.After, limit)
	list = slices.DeleteFunc(list, func(i billing.ListedInvoice) bool {
		return ask.Subscription != "" && i.Subscription != ask.Subscription
	})
	return list[:min(ask.Limit, len(list))], err
}

// PreviewRequest asks for a draft.
type PreviewRequest struct {
	Period civil.Month
	// Tenants are those to bill, none for all.
	Tenants []string
	// NowMS is the now of R12, in UTC epoch milliseconds.
	NowMS int64
	// KnownAtMS is the instant by which deliveries and commands had to be on Kafka to count, nil for all.
	KnownAtMS *int64
}

// Draft is a period as it stands.
type Draft struct {
	*billing.Run
	// Held are the periods of the draft that are not issued until they are released.
	Held []registry.Hold
}

// Preview bills a period as it stands, or as it was known at an instant, and issues nothing.
func (s *Invoices) Preview(ctx context.Context, ask PreviewRequest) (*Draft, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	if err := computable(biller.State, ask.Period); err != nil {
		return nil, err
	}
	draft := &Draft{}
	if ask.KnownAtMS == nil {
		draft.Run, err = biller.Preview(ctx, ask.Period, ask.Tenants, ask.NowMS)
	} else {
		var state registry.State
		if state, err = s.Registry.KnownAt(ctx, *ask.KnownAtMS); err != nil {
			return nil, err
		}
		view := billing.View{State: state, NowMS: ask.NowMS, KnownAtMS: ask.KnownAtMS}
		draft.Run, err = biller.View(ctx, ask.Period, ask.Tenants, view)
	}
	if err != nil {
		return nil, err
	}
	for _, h := range biller.State.Holds() {
		if h.Period == ask.Period && (len(ask.Tenants) == 0 || slices.Contains(ask.Tenants, h.Tenant)) {
			draft.Held = append(draft.Held, h)
		}
	}
	return draft, nil
}

// Forecast estimates a period to its end, beside its draft, and issues nothing.
func (s *Invoices) Forecast(ctx context.Context, ask PreviewRequest) (*billing.Run, []billing.Forecast, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := computable(biller.State, ask.Period); err != nil {
		return nil, nil, err
	}
	run, err := biller.Preview(ctx, ask.Period, ask.Tenants, ask.NowMS)
	if err != nil {
		return nil, nil, err
	}
	forecasts, err := biller.Forecast(ctx, run, ask.NowMS)
	return run, forecasts, err
}

// WhatIf compares a period as it stands with the same under a document that is not applied, and says what would become
// of the commands that get there.
func (s *Invoices) WhatIf(
	ctx context.Context, ask PreviewRequest, doc *registry.Document,
) (*billing.Comparison, []*Outcome, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	present := biller.State
	if err := computable(present, ask.Period); err != nil {
		return nil, nil, err
	}
	if ask.KnownAtMS != nil {
		if present, err = s.Registry.KnownAt(ctx, *ask.KnownAtMS); err != nil {
			return nil, nil, err
		}
	}
	under, outcomes := DryRunDocument(present, doc, ask.NowMS)
	compared, err := biller.Compare(ctx, ask.Period, ask.Tenants,
		billing.View{State: present, NowMS: ask.NowMS, KnownAtMS: ask.KnownAtMS},
		billing.View{State: under, NowMS: ask.NowMS, KnownAtMS: ask.KnownAtMS})
	return compared, outcomes, err
}

// DiffRequest asks what changed in a period.
type DiffRequest struct {
	Period  civil.Month
	Tenants []string
	// FromMS and ToMS are the instants to compare, in UTC epoch milliseconds: nil for the issue, and for now.
	FromMS, ToMS *int64
}

// Difference is what changed in a period.
type Difference struct {
	*billing.Comparison
	// Issued are the tenants whose issue is compared, and NotIssued those that are left out, since they have none; neither
	// where two instants are compared.
	Issued, NotIssued []string
	// Sealing is there for a period that is sealed: nothing of this is adjusted (R25).
	Sealing *Sealing
}

// DiffJSON is what changed in a period, in JSON. From is empty for the issue, and To for now.
type DiffJSON struct {
	Period    civil.Month `json:"period"`
	From      string      `json:"from,omitempty"`
	To        string      `json:"to,omitempty"`
	NotIssued []string    `json:"notIssued"`
	Sealing   *Sealing    `json:"sealed,omitempty"`
	billing.ComparisonJSON
}

// JSON returns the answer to what was asked as it is written.
func (d *Difference) JSON(ask DiffRequest) DiffJSON {
	result := DiffJSON{Period: ask.Period, NotIssued: append([]string{}, d.NotIssued...), Sealing: d.Sealing,
		ComparisonJSON: d.Comparison.JSON()}
	if ask.FromMS != nil {
		result.From = civil.FormatMillis(*ask.FromMS)
	}
	if ask.ToMS != nil {
		result.To = civil.FormatMillis(*ask.ToMS)
	}
	return result
}

// Diff compares a period as it was known at two instants, or as it was issued, and says what made each difference.
func (s *Invoices) Diff(ctx context.Context, ask DiffRequest) (*Difference, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	now := billing.View{State: biller.State, NowMS: aggregate.EndOfTime}
	if ask.FromMS != nil { // sessions that are open still are so in both
		now.NowMS = s.Clock().UnixMilli()
	}
	if ask.ToMS != nil {
		if now, err = s.viewKnownAt(ctx, *ask.ToMS); err != nil {
			return nil, err
		}
	}
	if err := computable(biller.State, ask.Period); err != nil {
		return nil, err
	}
	d := &Difference{Sealing: sealingOf(biller.State, ask.Period)}
	var then *billing.View
	if ask.FromMS == nil {
		d.Comparison, d.Issued, d.NotIssued, err = biller.CompareIssued(ctx, ask.Period, ask.Tenants, now)
		if err != nil {
			return nil, err
		}
	} else {
		view, err := s.viewKnownAt(ctx, *ask.FromMS)
		if err != nil {
			return nil, err
		}
		then = &view
		if d.Comparison, err = biller.Compare(ctx, ask.Period, ask.Tenants, view, now); err != nil {
			return nil, err
		}
	}
	return d, s.explainDifferences(ctx, d, biller.State, then, now)
}

func (s *Invoices) viewKnownAt(ctx context.Context, instantMS int64) (billing.View, error) {
	state, err := s.Registry.KnownAt(ctx, instantMS)
	return billing.View{State: state, NowMS: instantMS, KnownAtMS: &instantMS}, err
}

// explainDifferences says what made the differences between two views or, where then is nil, since the issues that the
// registry as it stands has.
func (s *Invoices) explainDifferences(ctx context.Context, d *Difference, state registry.State, then *billing.View,
	now billing.View) error {
	if len(d.Changes) == 0 {
		return nil
	}
	issues := map[string]billing.Issue{}
	tenants := map[string]bool{}
	for _, change := range d.Changes {
		tenants[change.Tenant] = true
	}
	if then == nil {
		chains, err := billing.AllIssues(state, slices.Sorted(maps.Keys(tenants)))
		if err != nil {
			return err
		}
		for tenant, chain := range chains {
			issues[tenant] = chain[slices.IndexFunc(chain, func(i billing.Issue) bool { return i.Period == d.Period })]
		}
	}
	commands := s.Registry.Changes(func(tenant string, offset, arrivedMS int64) bool {
		switch {
		case !tenants[tenant] || now.KnownAtMS != nil && arrivedMS > *now.KnownAtMS:
			return false
		case then != nil:
			return arrivedMS > *then.KnownAtMS
		default:
			return offset >= issues[tenant].RegistryOffset
		}
	})
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		x := s.explainerAt(tenant, now, d.Positions)
		if x.Tenant == nil {
			continue // nobody takes a tenant away; the topic was another then
		}
		var before *billing.Explainer
		var err error
		if then != nil {
			before = s.explainerAt(tenant, *then, d.Positions)
		} else if before, err = s.explainerOf(issues[tenant]); err != nil {
			d.LeaveOut(tenant, err)
			continue
		}
		if err := d.Explain(ctx, before, x, commands[tenant]); err != nil {
			return err
		}
	}
	return nil
}

// explainerAt returns what explains a tenant's lines in a view; it has no tenant where the view has none.
func (s *Invoices) explainerAt(tenant string, view billing.View, positions []aggregate.Position) *billing.Explainer {
	arrivedBy := aggregate.EndOfTime
	if view.KnownAtMS != nil {
		arrivedBy = *view.KnownAtMS
	}
	return &billing.Explainer{
		Tenant: view.State.Tenant(tenant), Rules: s.Rules, Deliveries: s.Usage, Lines: s.Lines, NowMS: view.NowMS,
		Bound: aggregate.ReadBound{Positions: positions, ArrivedBy: arrivedBy},
	}
}

// DiffZones compares a period as it stands by the time zone data in use with the same by other data.
func (s *Invoices) DiffZones(
	ctx context.Context, period civil.Month, tenants []string, zones *civil.Data,
) (*billing.Comparison, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	if err := computable(biller.State, period); err != nil {
		return nil, err
	}
	before := billing.View{State: biller.State, NowMS: s.Clock().UnixMilli()}
	after := before
	after.Zones = zones
	return biller.Compare(ctx, period, tenants, before, after)
}

// Aggregate brings the daily figures up to date, and shows the days done and to be done, where show is not nil.
func (s *Invoices) Aggregate(ctx context.Context, show func(done, total int)) (aggregate.Report, error) {
	snapshot, err := s.snapshot(ctx)
	if err != nil {
		return aggregate.Report{}, err
	}
	return aggregate.Refresh(ctx, s.Usage, snapshot, s.Rules.Rules, show)
}

// Rebuild computes daily figures again, whatever stands: of tenants, none for all, and a period, nil for all.
func (s *Invoices) Rebuild(
	ctx context.Context, tenants []string, period *civil.Month, show func(done, total int),
) (aggregate.Report, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return aggregate.Report{}, err
	}
	if period != nil {
		if err := computable(state, *period); err != nil {
			return aggregate.Report{}, err
		}
	}
	snapshot, err := billing.Snapshot(state, s.Rules)
	if err != nil {
		return aggregate.Report{}, err
	}
	return aggregate.Rebuild(ctx, s.Usage, snapshot, s.Rules.Rules, tenants, period, show)
}

func (s *Invoices) snapshot(ctx context.Context) (aggregate.Snapshot, error) {
	state, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return aggregate.Snapshot{}, err
	}
	return billing.Snapshot(state, s.Rules)
}

// Advise says what a tenant's commitments would best have been, looking back from an instant in UTC epoch milliseconds.
func (s *Invoices) Advise(ctx context.Context, tenant string, nowMS int64) (*billing.Advice, error) {
	biller, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	if biller.State.Tenant(tenant) == nil {
		return nil, errorf(schemas.UnknownTenant, 0, "%s: the registry has no tenant %s", schemas.UnknownTenant, tenant)
	}
	return biller.Advise(ctx, tenant, nowMS)
}
