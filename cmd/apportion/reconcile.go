package main

import (
	"context"
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
			return unbalanced(r)
		}),
	}
	periodFlag(cmd, &period)
	return cmd
}

// unbalanced returns what does not balance, if anything does not.
func unbalanced(r *service.Reconciliation) error {
	n, notRead := r.Differences(), r.NotRead()
	if n == 0 && notRead > 0 {
		return findings(fmt.Sprintf("%s (%s): %d offsets are not read yet; let ingest catch up, and reconcile again (%s)",
			schemas.Behind, schemas.Behind.Rule(), notRead, commandOf[schemas.Behind]))
	}
	if n == 0 {
		return nil
	}
	until := "until the tables are whole again"
	if r.Holes() > 0 {
		until += ", or what Kafka deleted is published again and the holes are accepted with `apportion ledger accept`"
	}
	if r.TableDiffers {
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

// writeReconciliation writes a reconciliation for people.
func writeReconciliation(w io.Writer, r *service.Reconciliation) {
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
		rows = append(rows, []string{p.Topic, strconv.Itoa(p.Partition), known(p.Published), known(p.NotRead),
			number(int64(p.Read)), number(int64(p.Skipped)), number(int64(p.Accepted)), number(int64(p.Rejected))})
		differences = append(differences, p.Differences...)
	}
	writeTable(w, []string{"TOPIC", "PARTITION", "PUBLISHED", "NOT READ", "READ", "SKIPPED", "ACCEPTED", "REJECTED"},
		rows, 2, 3, 4, 5, 6, 7, 8)
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
	writeMeterBalances(w, r)
	for _, code := range slices.Sorted(maps.Keys(r.Rejected)) {
		fmt.Fprintf(w, "rejected as %s: %d\n", code, r.Rejected[code])
	}
	writeFindings(w, r.Findings)
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
