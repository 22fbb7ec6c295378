package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/schemas"
	"apportion/schemas/civil"
)

func newBillStatusCommand(a *app) *cobra.Command {
	var period, asOf string
	var tenants []string
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "status [--period P]",
		Short: "Show how far a month is, tenant by tenant (R20)",
		Long: `Shows of every tenant whether its month is open (it has not ended), closing (its grace has not),
due (and since when), held, stopped by a rule, or issued, with the invoices that are issued or
would be, their net, tax and gross, and the findings (R24). It issues nothing. Of a month that is
not issued, the amounts are those of the daily usage, in which an open session lasts as long as it
may (R12).

Without a period it counts, for every month so far, the tenants in each state, from schedule.from on
where that is set. That reads no usage, so tenants that a rule would stop count as due.

The exit code is 3 when a tenant is stopped.`,
		Example: `  apportion bill status --config data/apportion.yaml
  apportion bill status --config data/apportion.yaml --period 2026-10
  apportion bill status --config data/apportion.yaml --period 2026-10 --tenant acme --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			now, err := parseAsOf(asOf, a.now)
			if err != nil {
				return err
			}
			if period == "" {
				return a.monthsStatus(ctx, tenants, now, asCSV)
			}
			month, err := parsePeriod(period)
			if err != nil {
				return err
			}
			return a.periodStatus(ctx, month, tenants, now, asCSV)
		}),
	}
	cmd.Flags().StringVar(&period, "period", "", "the `month`, such as 2026-10 (default: a row for each)")
	cmd.Flags().StringArrayVar(&tenants, "tenant", nil, "show only this `tenant`; can be repeated")
	asOfFlag(cmd, &asOf)
	csvFlag(cmd, &asCSV)
	return cmd
}

// monthsStatus counts the tenants of every month.
func (a *app) monthsStatus(ctx context.Context, tenants []string, now int64, asCSV bool) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	from, err := a.scheduledFrom()
	if err != nil {
		return err
	}
	months, unknown, err := s.invoices.Months(ctx, tenants, from, now)
	if err != nil {
		return err
	}
	header, rows := []string{"period"}, make([][]string, len(months))
	for i, m := range months {
		rows[i] = []string{m.Period.String()}
	}
	for _, state := range billing.PeriodStates {
		if state == billing.PeriodStopped {
			continue // no look at the months of all computes what stops one
		}
		header = append(header, string(state))
		for i, m := range months {
			rows[i] = append(rows[i], strconv.Itoa(m.Tenants[state]))
		}
	}
	if asCSV {
		return errors.Join(a.printCSV(header, rows), unknownTenants(unknown))
	}
	err = a.print(months, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(w, "no tenant has a month to bill")
			return
		}
		writeTable(w, upper(header), alikeAsOne(rows), 2, 3, 4, 5, 6)
	})
	return errors.Join(err, unknownTenants(unknown))
}

// alikeAsOne puts three or more months one after the other, the newest first, that have the same counts on one row.
func alikeAsOne(months [][]string) (rows [][]string) {
	for len(months) > 0 {
		n := 1
		for n < len(months) && slices.Equal(months[n][1:], months[0][1:]) {
			n++
		}
		if n < 3 {
			rows = append(rows, months[:n]...)
		} else {
			rows = append(rows, append([]string{months[n-1][0] + " to " + months[0][0]}, months[0][1:]...))
		}
		months = months[n:]
	}
	return rows
}

// unknownTenants returns the error that tenants were named that there are not.
func unknownTenants(stops []*billing.Stop) error {
	var all []error
	for _, s := range stops {
		if s.Code == schemas.UnknownTenant {
			all = append(all, fmt.Errorf("no tenant %s stands; `apportion registry show` lists those that do", s.Tenant))
		}
	}
	return errors.Join(all...)
}

func upper(header []string) []string {
	var all []string
	for _, h := range header {
		all = append(all, strings.ToUpper(strings.ReplaceAll(h, "_", " ")))
	}
	return all
}

// statusHeader are the columns of a period's status; a tenant has a row for each currency.
var statusHeader = []string{"tenant_id", "state", "since", "invoices", "net", "tax", "gross", "currency", "findings"}

func (a *app) periodStatus(ctx context.Context, period civil.Month, tenants []string, now int64, asCSV bool) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	status, err := s.invoices.Status(ctx, period, tenants, now)
	if err != nil {
		return err
	}
	var rows [][]string
	stops := 0
	for _, t := range status.Tenants {
		rows = append(rows, statusRows(t)...)
		if t.State == billing.PeriodStopped {
			stops++
		}
	}
	if asCSV {
		err = a.printCSV(statusHeader, rows)
	} else {
		err = a.print(status, func(w io.Writer) {
			for _, lag := range status.NotRead {
				fmt.Fprintf(w, "not taken in yet: %s\n", lag)
			}
			writeStatus(w, period, status.Tenants, rows)
			writeFindings(w, status.Findings)
			writeSealing(w, status.Sealing)
		})
	}
	if stops > 0 {
		err = errors.Join(err, findings(plural(stops, "tenant is", "tenants are")+" stopped, as listed above"))
	}
	return errors.Join(err, unknownTenants(status.Unknown))
}

// statusRows are the rows of a tenant: one, or one for each currency.
func statusRows(t billing.TenantStatus) (rows [][]string) {
	since := ""
	if t.SinceMS != 0 {
		since = t.SinceMS.String()
	}
	row := []string{t.Tenant, string(t.State), since, strconv.Itoa(t.Invoices), "", "", "", "", findingCodes(t.Findings)}
	for _, sum := range t.Totals {
		row[4], row[5], row[6], row[7] = sum.Money(sum.Net), sum.Money(sum.Tax), sum.Money(sum.Gross), sum.Currency
		rows = append(rows, row)
		row = []string{t.Tenant, string(t.State), since, "", "", "", "", "", ""}
	}
	if rows == nil {
		rows = append(rows, row)
	}
	return rows
}

// findingCodes names findings in short: the code of each, and how often it was found.
func findingCodes(found []billing.Finding) string {
	var codes []string
	for _, f := range found {
		codes = append(codes, fmt.Sprintf("%s %d", f.Code, f.Count))
	}
	return strings.Join(codes, ", ")
}

// writeStatus writes a period's status for people: the tenants, the sums of each state, and why a tenant is held or
// stopped.
func writeStatus(w io.Writer, period civil.Month, tenants []billing.TenantStatus, rows [][]string) {
	if len(tenants) == 0 {
		fmt.Fprintf(w, "%s: no tenant has this month\n", period)
		return
	}
	counts, invoices := map[billing.PeriodState]int{}, map[billing.PeriodState]int{}
	sums := map[billing.PeriodState][]billing.TaxTotals{}
	for _, t := range tenants {
		counts[t.State]++
		invoices[t.State] += t.Invoices
		sums[t.State] = billing.AddTotals(sums[t.State], t.Totals...)
	}
	var states []string
	for _, state := range billing.PeriodStates {
		if counts[state] > 0 {
			states = append(states, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	fmt.Fprintf(w, "%s: %s\n\n", period, strings.Join(states, ", "))
	for _, state := range billing.PeriodStates {
		for n, sum := range sums[state] {
			of := ""
			if n == 0 {
				of = strconv.Itoa(invoices[state])
			}
			rows = append(rows, []string{"total", string(state), "", of, sum.Money(sum.Net), sum.Money(sum.Tax),
				sum.Money(sum.Gross), sum.Currency, ""})
		}
	}
	header := upper(statusHeader)
	header[0], header[7] = "TENANT", ""
	writeTable(w, header, rows, 4, 5, 6, 7)
	for _, t := range tenants {
		switch {
		case t.Stop != nil:
			fmt.Fprintln(w, "stopped:", stopText(t.Stop))
		case t.State == billing.PeriodHeld:
			fmt.Fprintf(w, "held: %s: %s\n", t.Tenant, t.Reason)
		}
	}
}

func newBillListCommand(a *app) *cobra.Command {
	var period string
	var tenants []string
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "list [--period P]",
		Short: "List the invoices that are issued",
		Long: `Lists the invoices that are issued, of all months or of one, with their dates and their net, tax
and gross. What is not issued is in "bill status" and "bill preview".`,
		Example: `  apportion bill list --config data/apportion.yaml
  apportion bill list --config data/apportion.yaml --period 2026-10 --csv
  apportion bill list --config data/apportion.yaml --tenant acme`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) (err error) {
			var month civil.Month
			if period != "" {
				if month, err = parsePeriod(period); err != nil {
					return err
				}
			}
			return a.listInvoices(ctx, month, tenants, asCSV)
		}),
	}
	cmd.Flags().StringVar(&period, "period", "", "list only those of this `month`, such as 2026-10")
	cmd.Flags().StringArrayVar(&tenants, "tenant", nil, "list only those of this `tenant`; can be repeated")
	csvFlag(cmd, &asCSV)
	return cmd
}

func (a *app) listInvoices(ctx context.Context, period civil.Month, tenants []string, asCSV bool) error {
	s, err := a.services(ctx)
	if err != nil {
		return err
	}
	list, stops, err := s.invoices.List(ctx, period, tenants)
	if err != nil {
		return err
	}
	header := []string{"invoice_id", "tenant_id", "subscription_id", "period", "issue_date", "due_date", "lines",
		"net", "tax", "gross", "currency"}
	var rows [][]string
	var sums []billing.TaxTotals
	for _, i := range list {
		rows = append(rows, []string{i.ID, i.Tenant, i.Subscription, i.Period.String(), i.IssueDate.String(),
			i.DueDate.String(), strconv.Itoa(i.Lines), i.Totals.Money(i.Totals.Net), i.Totals.Money(i.Totals.Tax),
			i.Totals.Money(i.Totals.Gross), i.Totals.Currency})
		sums = billing.AddTotals(sums, i.Totals)
	}
	if asCSV {
		err = a.printCSV(header, rows)
	} else {
		err = a.print(list, func(w io.Writer) { writeList(w, rows, sums) })
	}
	for _, stop := range stops {
		if stop.Code != schemas.UnknownTenant {
			err = errors.Join(err, findings(stopText(stop)))
		}
	}
	return errors.Join(err, unknownTenants(stops))
}

// writeList writes the rows of invoices for people, without what their ids say already, and their sums.
func writeList(w io.Writer, rows [][]string, sums []billing.TaxTotals) {
	if len(rows) == 0 {
		fmt.Fprintln(w, "no invoice is issued")
		return
	}
	var shown [][]string
	for _, r := range rows {
		shown = append(shown, append([]string{r[0], r[1]}, r[4:]...))
	}
	for _, sum := range sums {
		shown = append(shown, []string{"total", "", "", "", "", sum.Money(sum.Net), sum.Money(sum.Tax), sum.Money(sum.Gross),
			sum.Currency})
	}
	writeTable(w, []string{"INVOICE", "TENANT", "ISSUED", "DUE", "LINES", "NET", "TAX", "GROSS", ""}, shown, 5, 6, 7, 8)
}
