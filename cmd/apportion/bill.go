package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"apportion/aggregate"
	"apportion/billing"
	"apportion/billing/export"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

func newBillCommand(a *app) *cobra.Command {
	return group("bill", "See, preview, hold and issue the invoices of a period (R14-R21)",
		`Computes the invoices of a period, a calendar month in each tenant's own zone: what is
committed, how usage is split, Connect usage, the overage of the tenant's pooled usage on its
primary subscription, and adjustments of periods issued before. A tenant that cannot be billed
is reported with the rule that stops it; the others go on, and the exit code is 3.`,
		`  apportion bill preview --config data/apportion.yaml --period 2026-10
  apportion bill issue --config data/apportion.yaml --period 2026-10 --out invoices
  apportion bill export --config data/apportion.yaml --period 2026-10 --out invoices`,
		newBillStatusCommand(a),
		newBillListCommand(a),
		newBillPreviewCommand(a),
		newBillDiffCommand(a),
		newBillIssueCommand(a),
		newBillExportCommand(a),
		newBillHoldCommand(a),
		newBillReleaseCommand(a),
		newBillHoldsCommand(a),
		newBillEvidenceCommand(a),
	)
}

// billFlags are what preview and issue are told.
type billFlags struct {
	period  civil.Month
	tenants []string
	asOf    int64
	out     string
	wait    time.Duration // of issue: how long the ledger may stand still before what is not read stops all
	// allowFuture lets an issue be as of an instant later than the clock.
	allowFuture bool

	// Of a preview alone: what was known when, and a registry document that does not stand.
	knownAt  *int64
	registry string
}

// billCommand returns a command with the flags of both. Now is the clock, unless the command has a default of its
// own for it.
func (a *app) billCommand(
	cmd *cobra.Command, flags *billFlags, now func() (time.Time, error),
	bill func(ctx context.Context, flags billFlags) error,
) *cobra.Command {
	var period, asOf string
	cmd.Args = cobra.NoArgs
	cmd.RunE = a.command(func(ctx context.Context, _ []string) (err error) {
		if flags.period, err = parsePeriod(period); err != nil {
			return err
		}
		otherwise, err := now()
		if err != nil {
			return err
		}
		if flags.asOf, err = parseAsOf(asOf, func() time.Time { return otherwise }); err != nil {
			return err
		}
		return bill(ctx, *flags)
	})
	periodFlag(cmd, &period)
	asOfFlag(cmd, &asOf)
	cmd.Flags().StringArrayVar(&flags.tenants, "tenant", nil, "bill only this `tenant`; can be repeated")
	cmd.Flags().StringVar(&flags.out, "out", "", "write the invoice files below this `directory`")
	cmd.MarkFlagDirname("out")
	return cmd
}

func periodFlag(cmd *cobra.Command, period *string) {
	cmd.Flags().StringVar(period, "period", "", "the `month` billed, such as 2026-10 (R17)")
	cmd.MarkFlagRequired("period")
}

func asOfFlag(cmd *cobra.Command, asOf *string) {
	cmd.Flags().StringVar(asOf, "as-of", "",
		"the `instant` that counts as now (R12, R20), in RFC 3339 (default: the clock)")
}

func parsePeriod(s string) (civil.Month, error) {
	period, err := civil.ParseMonth(s)
	if err != nil {
		return 0, usageError{fmt.Errorf("--period: %w", err)}
	}
	return period, nil
}

func parseAsOf(s string, otherwise func() time.Time) (int64, error) {
	if s == "" {
		return otherwise().UnixMilli(), nil
	}
	return parseInstantOf("--as-of", s)
}

func parseInstantOf(flag, s string) (int64, error) {
	ms, err := civil.ParseInstant(s)
	if err != nil {
		return 0, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return ms, nil
}

// clock is the now of a command that nobody has told another.
func (a *app) clockNow() (time.Time, error) { return a.now(), nil }

func newBillIssueCommand(a *app) *cobra.Command {
	var flags billFlags
	cmd := a.billCommand(&cobra.Command{
		Use:   "issue --period P",
		Short: "Issue the invoices of a period, once and for good",
		Long: `Issues the invoices of a period for every tenant whose grace is over (R20). What is issued
never changes: running it again gives the same invoices and the same bytes, and issues only
tenants that could not be issued before. What has changed of periods issued before is on
adjustment lines (R21). It waits until what is on Kafka is taken in, as long as that goes on, and
stops all tenants as behind (R22) when it does not. With --out, writes the files of everything issued of
the period to DIR/PERIOD/, whole or not at all.`,
		Example: `  apportion bill issue --config data/apportion.yaml --period 2026-10 --out invoices
  apportion bill issue --config data/apportion.yaml --period 2026-10 --tenant acme --json`,
	}, &flags, a.clockNow, func(ctx context.Context, flags billFlags) error {
		if err := flags.issueRequest().Check(a.now()); err != nil {
			return usagef("%w; look at it with `apportion bill preview`, or give --allow-future, "+
				"for tests and demonstrations", err)
		}
		s, err := a.services(ctx)
		if err != nil {
			return err
		}
		run, leftOut, err := a.issue(ctx, s, flags)
		if err != nil {
			return err
		}
		return a.printRun(run, leftOut)
	})
	cmd.Flags().DurationVar(&flags.wait, "wait", 10*time.Second,
		"how `long` ingest may stand still before what it has not read stops all; 0: do not wait")
	cmd.Flags().BoolVar(&flags.allowFuture, "allow-future", false,
		"issue as of an instant later than the clock, for tests and demonstrations (R20)")
	return cmd
}

func (f billFlags) issueRequest() service.IssueRequest {
	return service.IssueRequest{
		Period: f.period, Tenants: f.tenants,
		NowMS: f.asOf, AllowFuture: f.allowFuture, Wait: f.wait,
	}
}

// issue issues a period, and writes the files of all that is issued of it.
func (a *app) issue(ctx context.Context, s *services, flags billFlags) (*billing.Run, []*export.Refusal, error) {
	a.warnOfStaleZones()
	run, err := s.invoices.Issue(ctx, person(), flags.issueRequest())
	if err != nil || flags.out == "" {
		return run, nil, err
	}
	// The files of a period are whole, whatever tenants were named: finance imports the folder.
	all, leftOut, err := a.exportIssued(ctx, s, flags)
	if err != nil {
		return run, nil, err
	}
	for _, stop := range all.Stopped {
		if !slices.ContainsFunc(run.Stopped, func(s *billing.Stop) bool { return s.Tenant == stop.Tenant }) {
			run.Stopped = append(run.Stopped, stop)
		}
	}
	return run, leftOut, nil
}

// exportIssued writes the files of everything that is issued of a period, and returns it.
func (a *app) exportIssued(ctx context.Context, s *services, flags billFlags) (*billing.Run, []*export.Refusal, error) {
	all, err := s.invoices.Issued(ctx, flags.period)
	if err != nil {
		return nil, nil, err
	}
	if len(all.Stopped) > 0 {
		fmt.Fprintf(a.stderr, "no files written: %s of %s cannot be shown as they were issued\n",
			plural(len(all.Stopped), "tenant", "tenants"), flags.period)
		return all, nil, nil
	}
	if len(all.Accounts) == 0 {
		fmt.Fprintf(a.stderr, "no files written: nothing of %s is issued\n", flags.period)
		return all, nil, nil
	}
	a.failpoint("before files")
	leftOut, err := a.writeFiles(all, flags.out)
	a.failpoint("after files")
	return all, leftOut, err
}

func newBillExportCommand(a *app) *cobra.Command {
	var period string
	var flags billFlags
	cmd := &cobra.Command{
		Use:   "export --period P --out DIR",
		Short: "Write the files of what is issued of a period",
		Long: `Writes the files of everything that is issued of a period to DIR/PERIOD/, whole or not at all, the
same bytes as when it was issued. It issues nothing. A directory that has other bytes for an
invoice is left as it is, with an error: what has been sent does not change (R20).`,
		Example: `  apportion bill export --config data/apportion.yaml --period 2026-10 --out invoices`,
		Args:    cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) (err error) {
			if flags.period, err = parsePeriod(period); err != nil {
				return err
			}
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			run, leftOut, err := a.exportIssued(ctx, s, flags)
			if err != nil {
				return err
			}
			return a.printRun(run, leftOut)
		}),
	}
	periodFlag(cmd, &period)
	cmd.Flags().StringVar(&flags.out, "out", "", "write the invoice files below this `directory`")
	cmd.MarkFlagDirname("out")
	cmd.MarkFlagRequired("out")
	return cmd
}

// writeFiles writes the files of a run below a directory, "" for none, and returns those that could not be.
func (a *app) writeFiles(run *billing.Run, out string) ([]*export.Refusal, error) {
	if out == "" {
		return nil, nil
	}
	dir, leftOut, err := export.Write(out, run)
	if err != nil {
		return nil, err
	}
	for _, refusal := range leftOut {
		fmt.Fprintln(a.stderr, refusal.Error())
	}
	for _, notice := range export.Notices(run) {
		fmt.Fprintln(a.stderr, notice)
	}
	fmt.Fprintf(a.stderr, "files written: %s\n", dir)
	return leftOut, nil
}

// leftOutFinding returns the finding that some files could not be written, if there are any.
func leftOutFinding(leftOut []*export.Refusal) error {
	if len(leftOut) == 0 {
		return nil
	}
	return findings("not all files could be written: " + plural(len(leftOut), "is", "are") +
		" left out, as said above and in " + export.ManifestName)
}

// printRun prints invoices, and returns a finding if a tenant was stopped.
func (a *app) printRun(run *billing.Run, leftOut []*export.Refusal) error {
	if err := a.print(service.NewRunJSON(run, leftOut), func(w io.Writer) { writeInvoices(w, run) }); err != nil {
		return err
	}
	return errors.Join(stopped(run), leftOutFinding(leftOut), lacking(run))
}

// lacking returns the finding that bills are known to lack something (R24); a draft is still to be signed.
func lacking(run *billing.Run) error {
	tenants := map[string]bool{}
	for _, f := range run.Findings {
		if f.Lacking() && !run.Draft {
			tenants[f.Tenant] = true
		}
	}
	if len(tenants) == 0 {
		return nil
	}
	return findings("done, with findings (R24): the bills of " + plural(len(tenants), "tenant", "tenants") +
		" are known to lack something, as listed above")
}

// stopped returns the finding that some tenants could not be billed, if there are any.
func stopped(run *billing.Run) error {
	if len(run.Stopped) == 0 {
		return nil
	}
	return findings("not all tenants could be billed: " + plural(len(run.Stopped), "is", "are") +
		" stopped, as listed above")
}

// writeFindings writes findings for people, a line each.
func writeFindings(w io.Writer, found []billing.Finding) {
	for _, f := range found {
		fmt.Fprintln(w, "finding:", findingText(f))
		for n, p := range f.Records {
			if n == aggregate.MostNames {
				fmt.Fprintf(w, "  and %d more\n", len(f.Records)-n)
				break
			}
			fmt.Fprintf(w, "  refused at %s/%d/%d\n", p.Topic, p.Partition, p.Offset)
		}
	}
}

// writeAlreadyIssued says of a preview who has the period issued, and what the next issue would adjust.
func writeAlreadyIssued(w io.Writer, run *billing.Run) {
	var rows [][]string
	anyStopped := false
	for _, t := range run.Already {
		fmt.Fprintf(w, "%s of %s is issued, as of %s; below is what a first issue would give now\n",
			run.Period, t.Tenant, t.IssueDate)
		if t.Stop != nil {
			anyStopped = true
			fmt.Fprintln(w, "the next issue would be stopped:", stopText(t.Stop))
		}
		for _, a := range t.Adjustments {
			rows = append(rows, []string{t.Tenant, a.Invoice.Subscription, a.Line.Meter, a.Line.Quantity.String(),
				signed(a.Line.Amount, a.Invoice.Money), a.Invoice.Currency, a.Line.Corrects, a.Line.Note})
		}
	}
	if len(run.Already) == 0 {
		return
	}
	if len(rows) == 0 {
		if !anyStopped {
			fmt.Fprintln(w, "the next issue would adjust nothing of it")
		}
		fmt.Fprintln(w)
		return
	}
	fmt.Fprint(w, "\nthe next issue would adjust, net:\n\n")
	writeTable(w, []string{"TENANT", "SUBSCRIPTION", "METER", "QUANTITY", "AMOUNT", "", "CORRECTS", "NOTE"}, rows, 4, 5)
	fmt.Fprintln(w)
}

// readable is how many invoice lines are shown one by one; of more, only the invoices are.
const readable = 60

// writeInvoices writes invoices for people: with their lines while there are few, else one row each.
func writeInvoices(w io.Writer, run *billing.Run) {
	writeAlreadyIssued(w, run)
	lines := 0
	for _, i := range run.Invoices {
		lines += len(i.Lines)
	}
	what := ""
	if run.Draft {
		what = ", draft"
	}
	if lines <= readable {
		for _, i := range run.Invoices {
			fmt.Fprintf(w, "%s  %s, subscription %s, %s%s\n\n", i.ID, i.Tenant, i.Subscription, i.Period, what)
			var rows [][]string
			for _, l := range i.Lines {
				rows = append(rows, []string{strconv.Itoa(l.No), string(l.Kind), l.Meter, l.Quantity.String(), l.Unit,
					l.Price(), i.Money(l.Amount), l.PeakAt(), l.Note})
			}
			sum := func(what, amount string) {
				rows = append(rows, []string{"", what, "", "", "", i.Currency, amount, "", ""})
			}
			sum("net", i.Money(i.Total))
			if taxes, tax, gross := run.Accounts[i.Tenant].Taxes(i); len(taxes) > 0 {
				sum("tax", i.Money(tax))
				sum("gross", i.Money(gross))
			}
			writeTable(w, []string{"LINE", "KIND", "METER", "QUANTITY", "UNIT", "PRICE", "AMOUNT", "PEAK AT", "NOTE"},
				rows, 1, 4, 6, 7)
			fmt.Fprintln(w)
		}
	} else {
		var rows [][]string
		for _, i := range run.Invoices {
			row := []string{i.Tenant, i.Subscription, i.ID, strconv.Itoa(len(i.Lines)), i.Money(i.Total), "", "", i.Currency}
			if taxes, tax, gross := run.Accounts[i.Tenant].Taxes(i); len(taxes) > 0 {
				row[5], row[6] = i.Money(tax), i.Money(gross)
			}
			rows = append(rows, row)
		}
		fmt.Fprintf(w, "%s%s\n\n", run.Period, what)
		writeTable(w, []string{"TENANT", "SUBSCRIPTION", "INVOICE", "LINES", "NET", "TAX", "GROSS", ""}, rows, 4, 5, 6, 7)
		fmt.Fprintln(w)
	}
	if len(run.Invoices) == 0 {
		fmt.Fprintf(w, "%s: no invoices\n", run.Period)
	}
	writeFindings(w, run.Findings)
	for _, s := range run.Stopped {
		fmt.Fprintln(w, "stopped:", stopText(s))
	}
}
