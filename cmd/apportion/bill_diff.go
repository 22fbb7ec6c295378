package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/schemas/civil"
)

func newBillDiffCommand(a *app) *cobra.Command {
	var period, from, to, zones string
	var tenants []string
	cmd := &cobra.Command{
		Use:   "diff --period P (--from T --to T | --zone-data FILE)",
		Short: "Show what changed in a period between two instants, or would with other time zone data",
		Long: `Works the period out as it was known at both instants, as "bill preview --as-known-at" does,
and shows what differs: for every subscription, kind and meter the quantity and the amount
before and after. Lines of several versions are added up. Late deliveries, revisions and
changes to the registry show here before they are invoiced, and open sessions that went on.

With --zone-data it compares what is known now by the time zone data in use with the same by
that of the file (see time.zoneData): what a newer edition moves to another day or month.

Nothing is stored. The exit code is 3 if anything differs.`,
		Example: `  apportion bill diff --config data/apportion.yaml --period 2026-10 ` +
			`--from 2026-11-01T00:00:00Z --to 2026-11-04T00:00:00Z
  apportion bill diff --config data/apportion.yaml --period 2026-10 ` +
			`--from 2026-11-01T00:00:00Z --to 2026-11-04T00:00:00Z --tenant acme --json
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
			before, err := parseInstantOf("--from", from)
			if err != nil {
				return err
			}
			after, err := parseInstantOf("--to", to)
			if err != nil {
				return err
			}
			return a.billDiff(ctx, p, tenants, before, after)
		}),
	}
	periodFlag(cmd, &period)
	cmd.Flags().StringVar(&from, "from", "", "the earlier `instant`, in RFC 3339")
	cmd.Flags().StringVar(&to, "to", "", "the later `instant`, in RFC 3339")
	cmd.Flags().StringArrayVar(&tenants, "tenant", nil, "look only at this `tenant`; can be repeated")
	cmd.Flags().StringVar(&zones, "zone-data", "", "compare with the time zone data of this `file` or directory")
	cmd.MarkFlagsRequiredTogether("from", "to")
	cmd.MarkFlagsOneRequired("from", "zone-data")
	cmd.MarkFlagsMutuallyExclusive("from", "zone-data")
	return cmd
}

func (a *app) billDiff(ctx context.Context, period civil.Month, tenants []string, from, to int64) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	compared, err := s.invoices.Diff(ctx, period, tenants, from, to)
	if err != nil {
		return err
	}
	result := struct {
		Period civil.Month `json:"period"`
		From   string      `json:"from"`
		To     string      `json:"to"`
		comparisonJSON
	}{period, civil.FormatMillis(from), civil.FormatMillis(to), resultOf(compared)}
	title := fmt.Sprintf("%s, as known at %s and at %s", period, result.From, result.To)
	return a.printDiff(compared, result, title, "at "+result.From, "at "+result.To)
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
		comparisonJSON
	}{period, civil.Edition(), other.Edition, resultOf(compared)}
	title := fmt.Sprintf("%s, by the time zone data %s and by %s", period, result.From, result.To)
	return a.printDiff(compared, result, title, "by "+result.From, "by "+result.To)
}

// printDiff says what differs, under a title; were and are name the two sides.
func (a *app) printDiff(compared *billing.Comparison, result any, title, were, are string) error {
	err := a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n\n", title)
		writeChanges(w, compared.Changes)
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

// comparisonJSON is what two commands say in JSON of a period in two views.
type comparisonJSON struct {
	Changes []billing.Change `json:"changes"`
	Tenants []billing.Total  `json:"tenants"`
	Totals  []billing.Total  `json:"totals"`
	Stopped struct {
		Before []*billing.Stop `json:"before"`
		After  []*billing.Stop `json:"after"`
	} `json:"stopped"`
}

func resultOf(c *billing.Comparison) comparisonJSON {
	result := comparisonJSON{Changes: orEmpty(c.Changes), Tenants: orEmpty(c.Tenants), Totals: orEmpty(c.Totals)}
	result.Stopped.Before, result.Stopped.After = orEmpty(c.Before), orEmpty(c.After)
	return result
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
