package billing_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/rogpeppe/go-internal/txtar"

	"apportion/billing"
	"apportion/schemas/civil"
)

// TestEstimates runs the scripts of testdata/estimates; README.md there explains their notation.
func TestEstimates(t *testing.T) {
	eachScript(t, "estimates", func(t *testing.T, path string, script *txtar.Archive) {
		s := newStory()
		for i, f := range script.Files {
			switch f.Name {
			case "registry.yaml":
				if refusals := s.put(t, string(f.Data)); len(refusals) > 0 {
					t.Fatal(refusals)
				}
			case "deliveries":
				var err error
				if s.usage.deliveries, err = parseDeliveries(string(f.Data), "line"); err != nil {
					t.Fatal(err)
				}
			default:
				got := s.estimate(t, f.Name)
				if *update {
					script.Files[i].Data = []byte(got)
				} else if squeezed(got) != squeezed(string(f.Data)) {
					t.Errorf("%s: want\n%s\ngot\n%s", f.Name, f.Data, got)
				}
			}
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// estimate returns what a section of a script asks for.
func (s *story) estimate(t *testing.T, asked string) string {
	t.Helper()
	words := strings.Fields(asked)
	if len(words) != 4 || words[2] != "as-of" {
		t.Fatalf("a script has no section %s", asked)
	}
	now, err := parseTime(words[3], civil.NoDate)
	if err != nil {
		t.Fatal(err)
	}
	biller := s.biller(billing.DefaultRules())
	if words[0] == "forecast" {
		return forecastOf(t, biller, words[1], now)
	}
	advice, err := biller.Advise(t.Context(), words[1], now)
	if err != nil {
		t.Fatal(err)
	}
	if words[0] == "curves" {
		return curvesTable(advice)
	}
	return adviceTable(advice)
}

func adviceTable(advice *billing.Advice) string {
	rows := []string{"meter\tsubscription\tmonths\tcommitted\tleast\tpool\tcharged\tcost\tsaved"}
	for _, c := range advice.Commitments {
		row := []string{c.Meter, c.Subscription, fmt.Sprintf("%d of %d", len(c.Months), c.LookBack),
			strconv.FormatInt(c.Committed, 10), strconv.FormatInt(c.Least, 10), strconv.FormatInt(c.Pool, 10),
			c.Charged.String(), c.Cost.String(), c.Saved.String()}
		if c.Best {
			row = append(row, "best")
		}
		rows = append(rows, strings.Join(row, "\t"))
	}
	var leftOut strings.Builder
	for _, l := range advice.LeftOut {
		leftOut.WriteString(l.Meter)
		if l.Subscription != "" {
			fmt.Fprintf(&leftOut, " of %s, %d months", l.Subscription, l.LookBack)
		}
		leftOut.WriteString(": " + l.Reason + "\n")
	}
	return aligned(rows) + leftOut.String()
}

func curvesTable(advice *billing.Advice) string {
	rows := []string{"meter\tsubscription\tcommitment\tits cost\toverage\tcost"}
	for _, c := range advice.Commitments {
		if c.LookBack > 3 {
			continue
		}
		for _, p := range c.Points {
			rows = append(rows, strings.Join([]string{c.Meter, c.Subscription,
				strconv.FormatInt(p.Commitment, 10), p.CommitmentCost.String(), p.OverageCost.String(), p.Cost.String()}, "\t"))
		}
	}
	return aligned(rows)
}

func forecastOf(t *testing.T, biller *billing.Biller, month string, now int64) string {
	t.Helper()
	period, err := civil.ParseMonth(month)
	if err != nil {
		t.Fatal(err)
	}
	run, err := biller.Preview(t.Context(), period, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	forecasts, err := biller.Forecast(t.Context(), run, now)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range forecasts {
		b := f.Basis
		fmt.Fprintf(&text, "%s: %d days from %s to %s, %d of them before the month, for %d days from %s\n",
			f.Tenant, b.Days, b.From, b.To, b.DaysBefore, b.DaysProjected, b.ProjectedFrom)
		rows := []string{"subscription\tkind\tmeter\tquantity\testimate\tamount\testimate"}
		for _, l := range f.Lines {
			rows = append(rows, strings.Join([]string{l.Subscription, string(l.Kind), l.Meter, l.Quantity.SoFar.String(),
				l.Quantity.Estimate.String(), l.Amount.SoFar.String(), l.Amount.Estimate.String()}, "\t"))
		}
		for _, total := range f.Totals {
			rows = append(rows, strings.Join([]string{"net", total.Currency, "-", "-", "-", total.Net.SoFar.String(),
				total.Net.Estimate.String()}, "\t"))
		}
		text.WriteString(aligned(rows))
	}
	for _, stop := range run.Stopped {
		fmt.Fprintf(&text, "stopped %s %s: %s\n", stop.Tenant, stop.Code, stop.Message)
	}
	return text.String()
}

func aligned(rows []string) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, row)
	}
	w.Flush()
	return b.String()
}
