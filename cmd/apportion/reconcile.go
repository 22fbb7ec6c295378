package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/service"
	"apportion/ingest"
	"apportion/schemas"
)

func newReconcileCommand(a *app) *cobra.Command {
	var period string
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "reconcile [--period P]",
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
the month is signed (R24) is listed, of a tenant that is issued as it was found then.

Without a period all of them are reconciled that have usage or are issued to anybody, a line each.`,
		Example: `  apportion reconcile --config data/apportion.yaml
  apportion reconcile --config data/apportion.yaml --period 2026-10
  apportion reconcile --config data/apportion.yaml --period 2026-10 --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			if period == "" {
				return a.reconcileAll(ctx, asCSV)
			}
			p, err := parsePeriod(period)
			if err != nil {
				return err
			}
			if asCSV {
				return usageError{errors.New("--csv is for the list of all periods; leave out --period, or take --json instead")}
			}
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			r, err := s.invoices.Reconcile(ctx, p)
			if err != nil {
				return err
			}
			if err := a.print(r, func(w io.Writer) { writeReconciliation(w, r) }); err != nil {
				return err
			}
			return unbalanced(r.Differences(), &r.LedgerBalance, r.TableDiffers)
		}),
	}
	cmd.Flags().StringVar(&period, "period", "", "the `month`, such as 2026-10 (default: a line for each)")
	csvFlag(cmd, &asCSV)
	return cmd
}

// reconcileAll reconciles every period.
func (a *app) reconcileAll(ctx context.Context, asCSV bool) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	r, err := s.invoices.ReconcileAll(ctx)
	if err != nil {
		return err
	}
	header := append([]string{"period"}, balanceColumns[:7]...)
	header = append(header, "tenants", "issued", "differences", "findings")
	rows, tableDiffers := make([][]string, len(r.Periods)), false
	for i, p := range r.Periods {
		issued := 0
		for _, t := range p.Tenants {
			if t.Issued {
				issued++
			}
		}
		rows[i] = append([]string{p.Period.String()}, balanceCells(p.Total)[:7]...)
		rows[i] = append(rows[i], strconv.Itoa(len(p.Tenants)), strconv.Itoa(issued), strconv.Itoa(p.Differences()),
			findingCodes(p.Findings))
		tableDiffers = tableDiffers || p.TableDiffers
	}
	if asCSV {
		err = a.printCSV(header, rows)
	} else {
		err = a.print(r, func(w io.Writer) {
			writePartitions(w, r.Partitions)
			fmt.Fprintln(w)
			writeTable(w, upper(header), rows, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
			differences := ledgerDifferences(&r.LedgerBalance)
			for _, p := range r.Periods {
				for _, d := range tenantDifferences(p.Tenants) {
					differences = append(differences, p.Period.String()+": "+d)
				}
			}
			for i, p := range r.Periods { // the newest first
				if i == 0 || !p.Sealing.Like(r.Periods[i-1].Sealing) {
					writeSealing(w, p.Sealing)
				}
			}
			writeLedger(w, &r.LedgerBalance)
			writeDifferences(w, differences)
		})
	}
	return errors.Join(err, unbalanced(r.Differences(), &r.LedgerBalance, tableDiffers))
}

// unbalanced returns what does not balance, if anything does not.
func unbalanced(n int, ledger *service.LedgerBalance, tableDiffers bool) error {
	notRead := ledger.NotRead()
	if n == 0 && notRead > 0 {
		return findings(fmt.Sprintf("%s (%s): %d offsets are not read yet; let ingest catch up, and reconcile again (%s)",
			schemas.Behind, schemas.Behind.Rule(), notRead, commandOf[schemas.Behind]))
	}
	if n == 0 {
		return nil
	}
	until := "until the tables are whole again"
	if ledger.Holes() > 0 {
		until += ", or what Kafka deleted is published again and the holes are accepted with `apportion ledger accept`"
	}
	if tableDiffers {
		until += "; `apportion registry rebuild` writes issued_periods again from the log"
	}
	return findings(fmt.Sprintf("%s (%s): %s, as listed above; what differs cannot be issued %s",
		schemas.Unbalanced, schemas.Unbalanced.Rule(), plural(n, "difference", "differences"), until))
}

// summarize says in a few lines where the deliveries went.
func summarize(w io.Writer, r *service.Reconciliation) {
	var read, rejected uint64
	for _, p := range r.Partitions {
		read += p.Read
		rejected += p.Rejected
	}
	t := r.Total
	fmt.Fprintf(w, "%d deliveries read: %d accepted, %d rejected.\n", read, t.Accepted, rejected)
	fmt.Fprintf(w, "Accepted: %d counted, %d duplicate, %d superseded, %d voided, %d unallocated, "+
		"%d of unknown tenants (R8, R10, R22).\n",
		t.Counted, t.Duplicate, t.Superseded, t.Voided, t.Unallocated, t.UnknownTenant)
	for _, code := range slices.Sorted(maps.Keys(r.Rejected)) {
		fmt.Fprintf(w, "Rejected as %s: %d.\n", code, r.Rejected[code])
	}

}

// balanceColumns are what becomes of deliveries (R22), and what is to be reported of them; balanceCells has their
// cells.
var balanceColumns = []string{"accepted", "counted", "duplicate", "superseded", "voided", "unallocated",
	string(schemas.UnknownTenant), string(schemas.Unmapped), "open", "unknown_sub", "conflicts"}

func balanceCells(b aggregate.Balance) (cells []string) {
	for _, n := range []int64{b.Accepted, b.Counted, b.Duplicate, b.Superseded, b.Voided, b.Unallocated, b.UnknownTenant,
		b.Unmapped, b.OpenSessions, b.UnknownSubscription, b.Conflicts} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	return cells
}

// writeReconciliation writes a reconciliation for people.
func writeReconciliation(w io.Writer, r *service.Reconciliation) {
	writePartitions(w, r.Partitions)
	fmt.Fprintln(w)
	var rows [][]string
	for _, t := range r.Tenants {
		rows = append(rows, append([]string{t.Tenant}, balanceCells(t.Balance)...))
	}
	rows = append(rows, append([]string{"total"}, balanceCells(r.Total)...))
	writeTable(w, upper(append([]string{"tenant"}, balanceColumns...)), rows, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
	writeMeterBalances(w, r)
	for _, code := range slices.Sorted(maps.Keys(r.Rejected)) {
		fmt.Fprintf(w, "rejected as %s: %d\n", code, r.Rejected[code])
	}
	writeFindings(w, r.Findings)
	writeSealing(w, r.Sealing)
	writeLedger(w, &r.LedgerBalance)
	writeDifferences(w, append(ledgerDifferences(&r.LedgerBalance), tenantDifferences(r.Tenants)...))
}

func writePartitions(w io.Writer, partitions []service.PartitionBalance) {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	known := func(n *int64) string {
		if n == nil {
			return "?"
		}
		return strconv.FormatInt(*n, 10)
	}
	var rows [][]string
	for _, p := range partitions {
		rows = append(rows, []string{p.Topic, strconv.Itoa(p.Partition), known(p.Published), known(p.NotRead),
			number(p.Read), number(p.Skipped), number(p.Accepted), number(p.Rejected)})
	}
	writeTable(w, []string{"TOPIC", "PARTITION", "PUBLISHED", "NOT READ", "READ", "SKIPPED", "ACCEPTED", "REJECTED"},
		rows, 2, 3, 4, 5, 6, 7, 8)
}

// writeLedger writes which holes are accepted, and what is not read yet.
func writeLedger(w io.Writer, r *service.LedgerBalance) {
	for _, h := range r.AcceptedHoles {
		offsets := ingest.OffsetRange{First: h.First, Last: h.Last}
		fmt.Fprintf(w, "accepted hole: %s/%d: the offsets %s: %s (command %d)\n",
			h.Topic, h.Partition, offsets, h.Reason, h.Offset)
	}
	for _, p := range r.Partitions {
		if p.NotRead != nil && *p.NotRead > 0 {
			fmt.Fprintf(w, "%s: %s/%d: %d offsets are not read yet\n", schemas.Behind, p.Topic, p.Partition, *p.NotRead)
		}
	}
}

func ledgerDifferences(r *service.LedgerBalance) []string {
	differences := slices.Clone(r.OtherTopics)
	for _, p := range r.Partitions {
		differences = append(differences, p.Differences...)
	}
	return differences
}

func tenantDifferences(tenants []service.TenantBalance) (differences []string) {
	for _, t := range tenants {
		for _, d := range t.Differences {
			differences = append(differences, t.Tenant+": "+d)
		}
	}
	return differences
}

func writeDifferences(w io.Writer, differences []string) {
	for _, d := range differences {
		fmt.Fprintf(w, "%s: %s\n", schemas.Unbalanced, d)
	}
}

// writeMeterBalances writes what was counted by meter and where it went on, sessions and units apart, and checks for
// the reader that both together are all that counted.
func writeMeterBalances(w io.Writer, r *service.Reconciliation) {
	meters := map[string]billing.MeterBalance{}
	var sessions, events int64
	for _, t := range r.Tenants {
		for _, c := range t.Usage {
			meters[c.Meter] = c.Add(meters[c.Meter])
			if c.IsConnect() {
				events += c.Events
			} else {
				sessions += c.Events
			}
		}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	var ofSessions, ofUnits [][]string
	for _, meter := range slices.Sorted(maps.Keys(meters)) {
		c := meters[meter]
		if c.IsConnect() {
			ofUnits = append(ofUnits, []string{meter, number(c.Events), c.Units.String(), c.UnitsOnSubscriptions.String(),
				c.Invoiced.String(), c.NotIssued.String(), c.Since.String()})
		} else {
			ofSessions = append(ofSessions, []string{meter, number(c.Events), number(c.OnSubscriptions),
				number(c.Milliseconds), number(c.MillisecondsOnSubscriptions)})
		}
	}
	fmt.Fprintf(w, "\nCounted: %d = %s + %s.\n\n", r.Total.Counted,
		plural(int(sessions), "session", "sessions"), plural(int(events), "Connect event", "Connect events"))
	if len(ofSessions) > 0 {
		writeTable(w, []string{"METER", "SESSIONS", "ON SUBSCRIPTIONS", "MILLISECONDS", "ON SUBSCRIPTIONS"},
			ofSessions, 2, 3, 4, 5)
		fmt.Fprintln(w)
	}
	if len(ofUnits) > 0 {
		writeTable(w, []string{"METER", "EVENTS", "UNITS", "ON SUBSCRIPTIONS", "ON INVOICES", "NOT ISSUED",
			"SINCE THE ISSUE"}, ofUnits, 2, 3, 4, 5, 6, 7)
		fmt.Fprintln(w)
	}
}
