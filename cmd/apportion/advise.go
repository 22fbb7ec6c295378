package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"apportion/billing"
	"apportion/schemas"
)

func newAdviseCommand(a *app) *cobra.Command {
	var asOf string
	var csv bool
	cmd := &cobra.Command{
		Use:   "advise TENANT",
		Short: "Show which commitments would have cost least",
		Long: `Looks back over the last 3, 6 and 12 months that are over and says, for each meter and
subscription, which commitment would have cost least together with the tenant's overage, what was
charged, and what it would have saved. Only that one commitment is changed, by the same number in all
the months; usage, prices and all other commitments stay as they were.

Below the table is the cost over the commitment, for the change of each meter that would have saved
most; --json has it for all. Nothing is changed by it: with "bill preview --registry" a changed
document can be tried on a month.`,
		Example: `  apportion advise --config data/apportion.yaml acme
  apportion advise --config data/apportion.yaml acme --as-of 2026-11-01T00:00:00Z --json
  apportion advise --config data/apportion.yaml acme --csv > advice.csv`,
		Args: cobra.ExactArgs(1),
		RunE: a.command(func(ctx context.Context, args []string) error {
			now, err := parseAsOf(asOf, a.now)
			if err != nil {
				return err
			}
			s, err := a.services(ctx)
			if err != nil {
				return err
			}
			advice, err := s.invoices.Advise(ctx, args[0], now)
			if err != nil {
				return err
			}
			if csv {
				return a.printCSV(adviceColumns, adviceRows(advice))
			}
			return a.print(advice, func(w io.Writer) { writeAdvice(w, advice) })
		}),
	}
	asOfFlag(cmd, &asOf)
	csvFlag(cmd, &csv)
	return cmd
}

var adviceColumns = []string{"tenant_id", "meter", "unit", "subscription_id", "look_back", "months", "from", "to",
	"committed", "least", "pool", "charged", "cost", "saved", "currency", "best"}

// adviceRows are the rows of advice as CSV; from and to are the first and the last month that count.
func adviceRows(advice *billing.Advice) (rows [][]string) {
	for _, c := range advice.Commitments {
		rows = append(rows, []string{advice.Tenant, c.Meter, c.Unit, c.Subscription, strconv.Itoa(c.LookBack),
			strconv.Itoa(len(c.Months)), c.Months[0].String(), c.Months[len(c.Months)-1].String(),
			strconv.FormatInt(c.Committed, 10), strconv.FormatInt(c.Least, 10), strconv.FormatInt(c.Pool, 10),
			c.Charged.String(), c.Cost.String(), c.Saved.String(), c.Currency, strconv.FormatBool(c.Best)})
	}
	return rows
}

// writeAdvice writes advice for people: a row for each commitment and look back, then curves, then what it assumes.
func writeAdvice(w io.Writer, advice *billing.Advice) {
	from := "no usage"
	if advice.UsageFrom != nil {
		from = "usage from " + advice.UsageFrom.String() + " on"
	}
	fmt.Fprintf(w, "%s: which commitments would have cost least, net, as of %s; %s\n\n", advice.Tenant, advice.AsOf, from)
	if len(advice.Commitments) == 0 {
		fmt.Fprintf(w, "nothing to advise on: up to %s no month that counts has a commitment or usage of seats or ports\n",
			advice.Last)
	} else {
		writeAdvised(w, advice.Commitments)
	}
	for _, l := range advice.LeftOut {
		fmt.Fprintln(w, "left out:", leftOutText(l))
	}
	for _, c := range curvesOf(advice) {
		writeCurve(w, c)
	}
	if len(advice.Commitments) > 0 {
		fmt.Fprintln(w)
		for _, assumption := range advice.Assumptions {
			fmt.Fprintln(w, "taken for granted:", assumption)
		}
	}
}

// writeAdvised writes the table. Looking further back over the same months is the same row.
func writeAdvised(w io.Writer, commitments []billing.AdvisedCommitment) {
	var rows [][]string
	for i := 0; i < len(commitments); i++ {
		c := commitments[i]
		of := strconv.Itoa(c.LookBack)
		for ; i+1 < len(commitments) && sameMonths(c, commitments[i+1]); i++ {
			of += ", " + strconv.Itoa(commitments[i+1].LookBack)
		}
		months := strconv.Itoa(len(c.Months))
		if of != months {
			months += " of " + of
		}
		best := ""
		if c.Best {
			best = "best"
		}
		rows = append(rows, []string{c.Meter, c.Subscription, months, strconv.FormatInt(c.Committed, 10),
			strconv.FormatInt(c.Least, 10), strconv.FormatInt(c.Pool, 10), c.Charged.String(), c.Cost.String(),
			c.Saved.String(), c.Currency, best})
	}
	writeTable(w, []string{"METER", "SUBSCRIPTION", "MONTHS", "COMMITTED", "LEAST", "POOL", "CHARGED", "COST", "SAVED", "",
		""}, rows, 4, 5, 6, 7, 8, 9)
	fmt.Fprintln(w)
}

func sameMonths(c, further billing.AdvisedCommitment) bool {
	return c.Meter == further.Meter && c.Subscription == further.Subscription && len(c.Months) == len(further.Months)
}

func leftOutText(l billing.LeftOut) string {
	switch {
	case l.Period != nil:
		return l.Reason // which says whose and when
	case l.Subscription == "":
		return l.Meter + ": " + l.Reason
	}
	return fmt.Sprintf("%s of %s, looking back over %d months: %s", l.Meter, l.Subscription, l.LookBack, l.Reason)
}

// curvesOf chooses one commitment of each meter to draw, as far back as there is: the one whose change would have saved
// most, or else the first.
func curvesOf(advice *billing.Advice) (chosen []billing.AdvisedCommitment) {
	for _, meter := range schemas.PooledMeters {
		var of *billing.AdvisedCommitment
		for i := range advice.Commitments {
			c := &advice.Commitments[i]
			if c.Meter == meter && (of == nil || c.Best && (!of.Best || c.LookBack > of.LookBack)) {
				of = c
			}
		}
		if of != nil {
			chosen = append(chosen, *of)
		}
	}
	return chosen
}

// writeCurve draws the cost over the commitment, turned by a quarter: a row for each commitment.
func writeCurve(w io.Writer, c billing.AdvisedCommitment) {
	const width = 40
	months := c.Months[0].String()
	if last := c.Months[len(c.Months)-1]; last != c.Months[0] {
		months += " to " + last.String()
	}
	fmt.Fprintf(w, "\n%s committed to by %s, %s: cost in %s, net (█ commitment, ░ overage)\n\n",
		c.Meter, c.Subscription, months, c.Currency)
	curve := c.Curve()
	most := curve[0].Cost.Decimal
	for _, p := range curve {
		most = decimal.Max(most, p.Cost.Decimal)
	}
	bar := func(amount billing.Money) int {
		if most.IsZero() {
			return 0
		}
		return int(amount.Mul(decimal.NewFromInt(width)).DivRound(most, 0).IntPart())
	}
	var rows [][]string
	for _, p := range curve {
		committed := bar(p.CommitmentCost)
		drawn := strings.Repeat("█", committed) + strings.Repeat("░", max(0, bar(p.Cost)-committed))
		if p.Commitment == c.Committed {
			drawn += " as it is"
		}
		if p.Commitment == c.Least {
			drawn += " least"
		}
		rows = append(rows, []string{strconv.FormatInt(p.Commitment, 10), p.CommitmentCost.String(), p.OverageCost.String(),
			p.Cost.String(), drawn})
	}
	writeTable(w, []string{strings.ToUpper(c.Unit) + "S", "COMMITMENT", "OVERAGE", "COST", ""}, rows, 1, 2, 3, 4)
}
