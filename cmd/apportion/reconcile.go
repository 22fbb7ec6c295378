package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/registry"
	"apportion/ingest"
	"apportion/ingest/kafka"
	"apportion/schemas"
	"apportion/schemas/civil"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"
)

func newReconcileCommand(a *app) *cobra.Command {
	var period string
	cmd := &cobra.Command{
		Use:   "reconcile --period P",
		Short: "Show that nothing was lost between Kafka and the invoices (R22)",
		Long: `Shows the balance of a period, from one end to the other: for every topic partition what was
published, read, skipped by Kafka itself (markers of transactions, records of aborted ones,
compaction), accepted and rejected, offsets without a hole; for every tenant what became of the
deliveries accepted, and what is to be reported of them; for every meter what was counted,
what is on subscriptions, and of Connect what is on invoices, not issued yet, or has come in
since the issue. --json has the meters by tenant.

What does not balance is named down to the partition and its offsets, or to the tenant and the
day, and the exit code is then 3. Figures are brought up to date first. Refused deliveries
belong to no period, so all of them are counted by code. What a person should look at before
the month is signed (R24) is listed, of a tenant that is issued as it was found then.`,
		Example: `  apportion reconcile --config data/apportion.yaml --period 2026-10
  apportion reconcile --config data/apportion.yaml --period 2026-10 --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			p, err := parsePeriod(period)
			if err != nil {
				return err
			}
			report, err := a.aggregate(ctx)
			if other := new(kafka.OtherLogError); errors.As(err, other) {
				// Whose usage it is follows from the registry, so there is nothing else to show.
				r := newReconciliation()
				r.OtherTopics = []string{other.Error()}
				return errors.Join(a.print(r, func(w io.Writer) { fmt.Fprintf(w, "%s: %v\n", schemas.Unbalanced, other) }), r.finding())
			}
			if err != nil {
				return err
			}
			r, err := a.reconcile(ctx, p.First(), p.Next().First())
			if err != nil {
				return err
			}
			for _, b := range report.Behind {
				r.differ(b.Tenant, "its usage could not be worked out: "+b.Reason)
			}
			if err := a.followToInvoices(ctx, r, p); err != nil {
				return err
			}
			biller, err := a.biller(ctx)
			if err != nil {
				return err
			}
			found, err := biller.Findings(ctx, p, r.figures, r.pass, a.now().UnixMilli())
			if err != nil {
				return err
			}
			r.Findings = append(r.Findings, found...)
			if err := a.print(r, func(w io.Writer) { r.write(w) }); err != nil {
				return err
			}
			return r.finding()
		}),
	}
	periodFlag(cmd, &period)
	return cmd
}

// reconciliation is the balance of R22.
type reconciliation struct {
	Partitions []partitionBalance `json:"partitions"`
	// AcceptedHoles are offsets that were never taken in, and why they stop nobody.
	AcceptedHoles []registry.AcceptedHole `json:"acceptedHoles"`
	// OtherTopics says which topics are not those that were taken in.
	OtherTopics []string        `json:"otherTopics,omitempty"`
	Tenants     []tenantBalance `json:"tenants"`
	// Rejected counts refused deliveries by code, whatever their period.
	Rejected map[schemas.Code]uint64 `json:"rejected"`
	// Findings are what a person should look at (R24).
	Findings []billing.Finding `json:"findings"`
	// Total is the sum of the tenants.
	Total aggregate.Balance `json:"total"`

	figures *aggregate.Figures // that it is the balance of, by the pass
	pass    aggregate.Pass
}

type partitionBalance struct {
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

	holes int // that are among the differences
}

type tenantBalance struct {
	Tenant string `json:"tenant"`
	aggregate.Balance
	// Usage is what was counted by meter, and Issued says whether the period of the tenant is.
	Usage       []billing.Counted `json:"usage"`
	Issued      bool              `json:"issued"`
	Differences []string          `json:"differences,omitempty"`
}

func newReconciliation() *reconciliation {
	return &reconciliation{Partitions: []partitionBalance{}, AcceptedHoles: []registry.AcceptedHole{}, Tenants: []tenantBalance{},
		Rejected: map[schemas.Code]uint64{}, Findings: []billing.Finding{}}
}

// reconcile works out the balance of the dates `[from, to)`.
func (a *app) reconcile(ctx context.Context, from, to civil.Date) (*reconciliation, error) {
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return nil, err
	}
	r := newReconciliation()
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return nil, err
	}
	r.AcceptedHoles = append([]registry.AcceptedHole{}, state.AcceptedHoles()...)
	if r.Partitions, err = a.reconcilePartitions(ctx, state); err != nil {
		return nil, err
	}
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	if r.OtherTopics, err = ingest.OtherTopics(ctx, client, conn, a.cfg.Kafka.TopicPrefix); err != nil {
		return nil, err
	}
	figures, pass, err := a.proved(ctx, conn, from, to)
	if err != nil {
		return nil, err
	}
	r.figures, r.pass = figures, pass
	byTenant, differences := billing.ByTenant(figures), billing.DifferencesByDay(figures)
	for _, tenant := range slices.Sorted(maps.Keys(byTenant)) {
		u := byTenant[tenant]
		r.Tenants = append(r.Tenants, tenantBalance{Tenant: tenant, Balance: u.Balance, Usage: u.Counted(), Differences: differences[tenant]})
		r.Total = r.Total.Add(u.Balance)
	}
	rejected, err := ingest.CountRejected(ctx, conn, ingest.RejectedFilter{})
	if err != nil {
		return nil, err
	}
	for _, n := range rejected {
		r.Rejected[n.Code] += n.Deliveries
	}
	return r, nil
}

// proved returns the figures of the dates `[from, to)` of all tenants, with what of them the deliveries as stored do
// not prove. Passes go on meanwhile: where something differs it is looked at again, until no pass came in between.
func (a *app) proved(ctx context.Context, conn driver.Conn, from, to civil.Date) (*aggregate.Figures, aggregate.Pass, error) {
	state, err := a.loadRegistry(ctx)
	if err != nil {
		return nil, aggregate.Pass{}, err
	}
	snapshot, err := billing.Snapshot(state, a.billingRules())
	if err != nil {
		return nil, aggregate.Pass{}, err
	}
	store := a.usage(conn)
	for round := 1; ; round++ {
		if _, err := aggregate.Refresh(ctx, store, snapshot, a.billingRules().Rules, func(int, int) {}); err != nil {
			return nil, aggregate.Pass{}, err
		}
		pass, err := store.LastPass(ctx)
		if err != nil {
			return nil, aggregate.Pass{}, err
		}
		figures, err := billing.Proved(ctx, store, nil, from, to, pass, snapshot.Timelines)
		if err != nil {
			return nil, aggregate.Pass{}, err
		}
		if len(figures.Unproved) > 0 {
			later, err := store.MonthsChangedSince(ctx, slices.Sorted(maps.Keys(figures.Unproved)), pass.Pass)
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

// reconcilePartitions returns the balance of every topic partition, up to where it ends on Kafka.
func (a *app) reconcilePartitions(ctx context.Context, state registry.State) ([]partitionBalance, error) {
	client, err := a.kafka()
	if err != nil {
		return nil, err
	}
	balances, err := a.balances(ctx, a.conn, state)
	if err != nil {
		return nil, err
	}
	// Kafka is asked again, so that it is never behind the ledger.
	ends, err := ingest.UsageBounds(ctx, client, a.cfg.Kafka.TopicPrefix)
	if err != nil {
		return nil, err
	}
	all := []partitionBalance{}
	add := func(b ingest.PartitionBalance) {
		p := partitionBalance{Topic: b.Topic, Partition: b.Partition, Read: b.Read, Skipped: b.Skipped,
			Accepted: b.Accepted, Rejected: b.Rejected, Differences: b.Differences, holes: len(b.Holes)}
		if kept, known := ends[b.TopicPartition]; known {
			notRead := max(0, kept.End-max(kept.First, b.Offsets.Last+1)) // what is deleted is a hole
			p.Published, p.NotRead = &kept.End, &notRead
			delete(ends, b.TopicPartition)
		}
		all = append(all, p)
	}
	for _, b := range balances {
		add(b)
	}
	for p, kept := range ends { // of which nothing has been read
		if kept.End > 0 {
			add(ingest.PartitionBalance{TopicPartition: p, Offsets: ingest.OffsetRange{First: 0, Last: -1}})
		}
	}
	slices.SortFunc(all, func(x, y partitionBalance) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return all, nil
}

// differ adds a difference of a tenant.
func (r *reconciliation) differ(tenant, difference string) {
	at, found := slices.BinarySearchFunc(r.Tenants, tenant, func(t tenantBalance, id string) int { return strings.Compare(t.Tenant, id) })
	if !found {
		r.Tenants = slices.Insert(r.Tenants, at, tenantBalance{Tenant: tenant})
	}
	r.Tenants[at].Differences = append(r.Tenants[at].Differences, difference)
}

// finding returns what does not balance, if anything does not.
func (r *reconciliation) finding() error {
	n, holes := len(r.OtherTopics), 0
	for _, p := range r.Partitions {
		n += len(p.Differences)
		holes += p.holes
	}
	for _, t := range r.Tenants {
		n += len(t.Differences)
	}
	if n == 0 && r.notRead() > 0 {
		return findings(fmt.Sprintf("%s (%s): %d offsets are not read yet; let ingest catch up, and reconcile again (%s)",
			schemas.Behind, schemas.Behind.Rule(), r.notRead(), commandOf[schemas.Behind]))
	}
	if n == 0 {
		return nil
	}
	until := "until the tables are whole again"
	if holes > 0 {
		until += ", or what Kafka deleted is published again and the holes are accepted with `apportion ledger accept`"
	}
	return findings(fmt.Sprintf("%s (%s): %s, as listed above; what differs cannot be issued %s",
		schemas.Unbalanced, schemas.Unbalanced.Rule(), counted(n, "difference", "differences"), until))
}

// notRead is how many offsets are on Kafka and not taken in.
func (r *reconciliation) notRead() (n int64) {
	for _, p := range r.Partitions {
		if p.NotRead != nil {
			n += *p.NotRead
		}
	}
	return n
}

// summarize says in a few lines where the deliveries went.
func (r *reconciliation) summarize(w io.Writer) {
	var read, rejected uint64
	for _, p := range r.Partitions {
		read += p.Read
		rejected += p.Rejected
	}
	t := r.Total
	fmt.Fprintf(w, "%d deliveries read: %d accepted, %d rejected.\n", read, t.Accepted, rejected)
	fmt.Fprintf(w, "Accepted: %d counted, %d duplicate, %d superseded, %d voided, %d unallocated, %d held for an unknown tenant (R8, R10, R22).\n",
		t.Counted, t.Duplicate, t.Superseded, t.Voided, t.Unallocated, t.UnknownTenant)
	for _, code := range slices.Sorted(maps.Keys(r.Rejected)) {
		fmt.Fprintf(w, "Rejected as %s: %d.\n", code, r.Rejected[code])
	}

}

func (r *reconciliation) write(w io.Writer) {
	var rows [][]string
	differences := slices.Clone(r.OtherTopics)
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	known := func(n *int64) string {
		if n == nil {
			return "?"
		}
		return number(*n)
	}
	for _, p := range r.Partitions {
		rows = append(rows, []string{p.Topic, strconv.Itoa(p.Partition), known(p.Published), known(p.NotRead), number(int64(p.Read)), number(int64(p.Skipped)), number(int64(p.Accepted)), number(int64(p.Rejected))})
		differences = append(differences, p.Differences...)
	}
	writeTable(w, []string{"TOPIC", "PARTITION", "PUBLISHED", "NOT READ", "READ", "SKIPPED", "ACCEPTED", "REJECTED"}, rows, 2, 3, 4, 5, 6, 7, 8)
	fmt.Fprintln(w)
	rows = nil
	row := func(tenant string, b aggregate.Balance) []string {
		cells := []string{tenant}
		for _, n := range []int64{b.Accepted, b.Counted, b.Duplicate, b.Superseded, b.Voided, b.Unallocated, b.UnknownTenant,
			b.Unmapped, b.OpenSessions, b.UnknownSubscription, b.Conflicts} {
			cells = append(cells, number(n))
		}
		return cells
	}
	for _, t := range r.Tenants {
		rows = append(rows, row(t.Tenant, t.Balance))
		for _, d := range t.Differences {
			differences = append(differences, t.Tenant+": "+d)
		}
	}
	rows = append(rows, row("total", r.Total))
	writeTable(w, []string{"TENANT", "ACCEPTED", "COUNTED", "DUPLICATE", "SUPERSEDED", "VOIDED", "UNALLOCATED", "HELD",
		"UNMAPPED", "OPEN", "UNKNOWN SUB", "CONFLICTS"}, rows, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	r.writeCounted(w)
	for _, code := range slices.Sorted(maps.Keys(r.Rejected)) {
		fmt.Fprintf(w, "rejected as %s: %d\n", code, r.Rejected[code])
	}
	writeFindings(w, r.Findings)
	for _, h := range r.AcceptedHoles {
		fmt.Fprintf(w, "accepted hole: %s/%d: the offsets %s: %s (command %d)\n", h.Topic, h.Partition, ingest.OffsetRange{First: h.First, Last: h.Last}, h.Reason, h.Offset)
	}
	for _, p := range r.Partitions {
		if p.NotRead != nil && *p.NotRead > 0 {
			fmt.Fprintf(w, "%s: %s/%d: %d offsets are not read yet\n", schemas.Behind, p.Topic, p.Partition, *p.NotRead)
		}
	}
	for _, d := range differences {
		fmt.Fprintf(w, "%s: %s\n", schemas.Unbalanced, d)
	}
}
