package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/billing/service"
	"apportion/schemas/civil"
)

func newBillDiffCommand(a *app) *cobra.Command {
	var period, from, to, zones string
	var tenants []string
	cmd := &cobra.Command{
		Use:   "diff --period P [--from T] [--to T]",
		Short: "Show what changed in a period since it was issued, or between two instants, and why",
		Long: `Compares a period as it was issued with what it is now, or from and to instants that are named:
then it works the period out as it was known at them, as "bill preview --as-known-at" does. For
every subscription, kind and meter it shows the quantity and the amount before and after; lines of
several versions are added up. Late deliveries, corrections and changes to the registry show here
before they are invoiced.

Each difference is split into what late usage makes of it, then corrections, then the registry
(and other configured rules), and what later invoices have adjusted of it already (R21). The
deliveries and registry commands behind it are named. Sessions that were open at an instant and
went on are late usage.

With --zone-data it compares what is known now by the time zone data in use with the same by
that of the file (see time.zoneData): what a newer edition moves to another day or month.

Nothing is stored. The exit code is 3 if anything differs.`,
		Example: `  apportion bill diff --config data/apportion.yaml --period 2026-10
  apportion bill diff --config data/apportion.yaml --period 2026-10 --from 2026-11-01T00:00:00Z
  apportion bill diff --config data/apportion.yaml --period 2026-10 --to 2026-11-04T00:00:00Z --tenant acme --json
  apportion bill diff --config data/apportion.yaml --period 2026-11 --zone-data tzdata-2026.6-py2.py3-none-any.whl`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			p, err := parsePeriod(period)
			if err != nil {
				return err
			}
			if zones != "" {
				return a.billDiffZones(ctx, p, tenants, zones)
			}
			ask := service.DiffRequest{Period: p, Tenants: tenants}
			for _, side := range []struct {
				flag, value string
				ms          **int64
			}{{"--from", from, &ask.FromMS}, {"--to", to, &ask.ToMS}} {
				if side.value != "" {
					ms, err := parseInstantOf(side.flag, side.value)
					if err != nil {
						return err
					}
					*side.ms = &ms
				}
			}
			if ask.FromMS != nil && ask.ToMS != nil && *ask.FromMS > *ask.ToMS {
				return usagef("--from is later than --to")
			}
			return a.billDiff(ctx, ask)
		}),
	}
	periodFlag(cmd, &period)
	cmd.Flags().StringVar(&from, "from", "", "the earlier `instant`, in RFC 3339 (default: the issue)")
	cmd.Flags().StringVar(&to, "to", "", "the later `instant`, in RFC 3339 (default: now)")
	cmd.Flags().StringArrayVar(&tenants, "tenant", nil, "look only at this `tenant`; can be repeated")
	cmd.Flags().StringVar(&zones, "zone-data", "", "compare with the time zone data of this `file` or directory")
	cmd.MarkFlagsMutuallyExclusive("from", "zone-data")
	cmd.MarkFlagsMutuallyExclusive("to", "zone-data")
	return cmd
}

func (a *app) billDiff(ctx context.Context, ask service.DiffRequest) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	compared, err := s.invoices.Diff(ctx, ask)
	if err != nil {
		return err
	}
	result := compared.JSON(ask)
	were, are := "as issued", "now"
	title := ask.Period.String() + ", as issued"
	if ask.FromMS != nil {
		were, title = "at "+result.From, ask.Period.String()+", as known at "+result.From
	}
	if ask.ToMS != nil {
		are = "at " + result.To
	}
	if len(compared.NotIssued) > 0 && len(compared.Issued)+len(compared.Before) == 0 {
		return fmt.Errorf("%s is issued to nobody, so there is nothing to compare with; name an instant by --from",
			ask.Period)
	}
	for _, tenant := range compared.NotIssued {
		fmt.Fprintf(a.stderr, "%s of %s is not issued, and left out; --from compares with an instant\n", ask.Period, tenant)
	}
	if compared.Sealing != nil {
		writeSealing(a.stderr, compared.Sealing)
	}
	return a.printDiff(compared.Comparison, result, title+" and "+are, were, are)
}

// billDiffZones compares a period by the time zone data in use with the same by other data.
func (a *app) billDiffZones(ctx context.Context, period civil.Month, tenants []string, file string) error {
	other, err := readZoneData(file)
	if err != nil {
		return usagef("--zone-data: %w", err)
	}
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	compared, err := s.invoices.DiffZones(ctx, period, tenants, other)
	if err != nil {
		return err
	}
	result := struct {
		Period civil.Month `json:"period"`
		From   string      `json:"fromZoneData"`
		To     string      `json:"toZoneData"`
		billing.ComparisonJSON
	}{period, civil.Edition(), other.Edition, compared.JSON()}
	title := fmt.Sprintf("%s, by the time zone data %s and by %s", period, result.From, result.To)
	return a.printDiff(compared, result, title, "by "+result.From, "by "+result.To)
}

// printDiff says what differs, under a title; were and are name the two sides.
func (a *app) printDiff(compared *billing.Comparison, result any, title, were, are string) error {
	err := a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n\n", title)
		writeChanges(w, compared.Changes)
		writeCauses(w, compared.Changes)
		writeTotals(w, compared.Totals, "BEFORE", "AFTER")
		writeStops(w, compared, were, are)
	})
	if err != nil {
		return err
	}
	if len(compared.Changes) > 0 {
		err = findings(plural(len(compared.Changes), "difference", "differences") + ", as listed above")
	}
	return errors.Join(err, stoppedIn(compared))
}

// signed gives a difference its sign.
func signed(d decimal.Decimal, write func(decimal.Decimal) string) string {
	if d.IsPositive() {
		return "+" + write(d)
	}
	return write(d)
}

// writeChanges writes what differs for people, a row for each kind and meter of a subscription.
func writeChanges(w io.Writer, changes []billing.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "nothing differs")
		return
	}
	var rows [][]string
	for _, c := range changes {
		money := c.Amount.Money
		rows = append(rows, []string{c.Tenant, c.Subscription, string(c.Kind), c.Meter,
			c.Quantity.Before.String(), c.Quantity.After.String(), signed(c.Quantity.Difference(), decimal.Decimal.String),
			money(c.Amount.Before), money(c.Amount.After), signed(c.Amount.Difference(), money), c.Currency})
	}
	writeTable(w, []string{"TENANT", "SUBSCRIPTION", "KIND", "METER", "QUANTITY", "AFTER", "DIFFERENCE",
		"AMOUNT", "AFTER", "DIFFERENCE", ""}, rows, 5, 6, 7, 8, 9, 10)
	fmt.Fprintln(w)
}

// writeCauses says for people what made each difference of an amount, and names the deliveries and registry commands.
func writeCauses(w io.Writer, changes []billing.Change) {
	var rows [][]string
	for _, c := range changes {
		if c.Causes == nil || c.Amount.Difference().IsZero() {
			continue
		}
		part := func(p billing.Part) string { return signed(p.Amount, c.Amount.Money) }
		rows = append(rows, []string{c.Tenant, c.Subscription, string(c.Kind), c.Meter,
			signed(c.Amount.Difference(), c.Amount.Money), part(c.Causes.Late), part(c.Causes.Corrections),
			part(c.Causes.Registry), part(c.Causes.Adjusted), c.Currency})
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "What made it, net; what late usage makes, then corrections, then the registry:\n\n")
	writeTable(w, []string{"TENANT", "SUBSCRIPTION", "KIND", "METER", "DIFFERENCE", "LATE USAGE", "CORRECTIONS",
		"REGISTRY", "ADJUSTED", ""}, rows, 5, 6, 7, 8, 9)
	fmt.Fprintln(w)
	for n, c := range changes {
		if c.Causes == nil {
			continue
		}
		if len(c.Causes.Events) > 0 && !c.Amount.Difference().IsZero() {
			fmt.Fprintf(w, "%s %s %s %s:\n\n", c.Tenant, c.Subscription, c.Kind, c.Meter)
			writeChangedEvents(w, c.Causes.Events, connectEvents)
		}
		if n+1 == len(changes) || changes[n+1].Tenant != c.Tenant {
			writeCommands(w, c.Tenant, c.Causes.Commands)
		}
	}
}

// writeTotals writes totals for people.
func writeTotals(w io.Writer, totals []billing.Total, before, after string) {
	var rows [][]string
	for _, t := range totals {
		money := t.Amount.Money
		name := t.Tenant
		if name == "" {
			name = "net total"
		}
		rows = append(rows, []string{name, money(t.Amount.Before), money(t.Amount.After),
			signed(t.Amount.Difference(), money), t.Currency})
	}
	if len(rows) > 0 {
		writeTable(w, []string{"TENANT", before, after, "DIFFERENCE", ""}, rows, 2, 3, 4)
	}
}

// writeStops says which tenants were left out of a comparison, and why.
func writeStops(w io.Writer, c *billing.Comparison, before, after string) {
	for _, side := range []struct {
		when  string
		stops []*billing.Stop
	}{{before, c.Before}, {after, c.After}} {
		for _, s := range side.stops {
			fmt.Fprintf(w, "left out, stopped %s: %s\n", side.when, stopText(s))
		}
	}
}

// stoppedIn returns the finding that tenants were left out of a comparison, if any were.
func stoppedIn(c *billing.Comparison) error {
	if len(c.Before)+len(c.After) == 0 {
		return nil
	}
	return findings("not all tenants could be compared, as listed above")
}
