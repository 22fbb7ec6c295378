package main

import (
	"context"
	"fmt"
	"io"

	"apportion/billing"
	"apportion/schemas/civil"
)

// forecast estimates a period to its end.
func (a *app) forecast(ctx context.Context, s *services, flags billFlags) error {
	a.warnOfStaleZones()
	run, forecasts, err := s.invoices.Forecast(ctx, flags.previewRequest())
	if err != nil {
		return err
	}
	result := struct {
		Period      civil.Month        `json:"period"`
		AsOf        civil.Millis       `json:"asOf"`
		Estimate    bool               `json:"estimate"`
		Tenants     []billing.Forecast `json:"tenants"`
		Stopped     []*billing.Stop    `json:"stopped"`
		Assumptions []string           `json:"assumptions"`
	}{flags.period, civil.Millis(flags.asOf), true, forecasts, orEmpty(run.Stopped), billing.ForecastAssumptions}
	if err := a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: an estimate of the whole month, net, as of %s; no invoice and no file has it\n\n",
			flags.period, result.AsOf)
		writeForecasts(w, forecasts)
		for _, s := range run.Stopped {
			fmt.Fprintln(w, "stopped:", stopText(s))
		}
		for _, assumption := range result.Assumptions {
			fmt.Fprintln(w, "taken for granted:", assumption)
		}
	}); err != nil {
		return err
	}
	return stopped(run)
}

// writeForecasts writes forecasts for people: line by line while there are few, else the totals alone.
func writeForecasts(w io.Writer, forecasts []billing.Forecast) {
	lines := 0
	for _, f := range forecasts {
		lines += len(f.Lines)
	}
	if lines <= readable {
		for _, f := range forecasts {
			fmt.Fprintf(w, "%s: %s\n\n", f.Tenant, basisText(f.Basis))
			writeForecast(w, f)
			fmt.Fprintln(w)
		}
		return
	}
	var rows [][]string
	for _, f := range forecasts {
		for _, t := range f.Totals {
			rows = append(rows, []string{f.Tenant, t.Net.SoFar.String(), t.Net.Estimate.String(), t.Currency})
		}
	}
	writeTable(w, []string{"TENANT", "NET SO FAR", "ESTIMATE", ""}, rows, 2, 3)
	fmt.Fprintln(w)
}

// basisText says which days an estimate is made of.
func basisText(b billing.ForecastBasis) string {
	if b.DaysProjected == 0 {
		return "the month is over, and nothing is estimated"
	}
	rate := "no day so far to take a rate from"
	if b.Days > 0 {
		rate = fmt.Sprintf("the rate of %s, %s to %s", plural(b.Days, "day", "days"), b.From, b.To.Add(-1))
		if b.DaysBefore > 0 {
			rate += fmt.Sprintf(" (%d before the month)", b.DaysBefore)
		}
	}
	return fmt.Sprintf("%s, for %s from %s on", rate, plural(b.DaysProjected, "day", "days"), b.ProjectedFrom)
}

func writeForecast(w io.Writer, f billing.Forecast) {
	var rows [][]string
	for _, l := range f.Lines {
		rows = append(rows, []string{l.Subscription, string(l.Kind), l.Meter, l.Quantity.SoFar.String(),
			l.Quantity.Estimate.String(), l.Unit, l.Amount.SoFar.String(), l.Amount.Estimate.String(), l.Currency})
	}
	for _, t := range f.Totals {
		rows = append(rows, []string{"net total", "", "", "", "", "", t.Net.SoFar.String(), t.Net.Estimate.String(),
			t.Currency})
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "no invoices")
		return
	}
	writeTable(w, []string{"SUBSCRIPTION", "KIND", "METER", "QUANTITY", "ESTIMATE", "", "AMOUNT", "ESTIMATE", ""}, rows,
		4, 5, 7, 8)
}
