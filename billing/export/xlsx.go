package export

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
	"github.com/xuri/excelize/v2"

	"apportion/billing"
	"apportion/schemas/civil"
)

// InvoicesXLSX writes invoices.xlsx: the invoices and their lines, what is to be reported of the tenants, and a sheet
// that adds the others up and holds them to the control totals of the manifest.
func InvoicesXLSX(w io.Writer, run *billing.Run) (err error) {
	file := excelize.NewFile()
	defer file.Close()
	b := &workbook{file: file, styles: map[style]int{}}
	b.sheet("Invoices", invoicesSheet(run))
	b.sheet("Lines", linesSheet(run))
	b.sheet("Reported", reportedSheet(run))
	b.sheet("Findings", findingsSheet(run))
	b.sheet("Control", controlSheet(run))
	if b.err != nil {
		return b.err
	}
	// A recalculation on opening shows what the sheets hold, whatever was written as the formulas' results.
	recalculate := true
	if err := file.SetCalcProps(&excelize.CalcPropsOptions{FullCalcOnLoad: &recalculate}); err != nil {
		return err
	}
	for part, content := range properties(Name(run)) {
		file.Pkg.Store(part, []byte(content))
	}
	packed, err := file.WriteToBuffer()
	if err != nil {
		return err
	}
	return repack(w, packed.Bytes())
}

func invoicesSheet(run *billing.Run) table {
	status := "issued"
	if run.Draft {
		status = "DRAFT"
	}
	return table{
		columns: titled("Tenant", "Tenant name", "Subscription", "Subscription name", "Period", "Invoice", "Status",
			"#Issue date", "#Due date", "#Lines", "Currency", "#Net total", "#Tax", "#Gross total",
			"Buyer", "Buyer's VAT id", "Reference", "#Corrections", "#Findings"),
		height: len(run.Invoices),
		rows: func(yield func(...cell) bool) {
			for _, i := range run.Invoices {
				h := headOf(i, run)
				var tax, gross, due cell
				if h.taxed {
					tax, gross = money(h.tax, i.MinorUnits), money(h.gross, i.MinorUnits)
				}
				if d := h.account.DueDate(); d != civil.NoDate {
					due = date(d)
				}
				if !yield(
					text(i.Tenant), text(h.account.Tenant.Name), text(i.Subscription), text(h.account.SubscriptionName(i)),
					text(i.Period.String()), text(i.ID), text(status), date(h.account.IssueDate), due, figure(len(i.Lines)),
					text(i.Currency), money(i.Total, i.MinorUnits), tax, gross, text(h.account.Buyer()), text(h.vatID),
					text(h.reference), figure(h.corrections), figure(len(h.account.Findings))) {
					return
				}
			}
		},
	}
}

func linesSheet(run *billing.Run) table {
	t := table{
		columns: titled("Tenant", "Subscription", "Invoice", "#Line", "Kind", "Meter", "#Quantity", "Unit", "#Unit price",
			"#Net amount", "Currency", "#From", "#To (exclusive)", "#Peak at (UTC)", "#Entitled",
			"Corrects", "Note", "Item code", "Tax category", "#Tax rate %"),
		rows: func(yield func(...cell) bool) {
			for _, i := range run.Invoices {
				a := run.Accounts[i.Tenant]
				for _, l := range i.Lines {
					var unitPrice, entitled cell
					if l.UnitPrice.Valid {
						unitPrice = plain(l.UnitPrice.Decimal)
					}
					if l.Kind == billing.Overage {
						entitled = figure(l.Entitled)
					}
					var category, rate cell
					if tax := a.TaxOf(i, l); tax != nil {
						category, rate = text(tax.Category), plain(tax.Rate)
					}
					if !yield(
						text(i.Tenant), text(i.Subscription), text(i.ID), figure(l.No), text(string(l.Kind)), text(l.Meter),
						plain(l.Quantity), text(l.Unit), unitPrice, money(l.Amount, i.MinorUnits), text(i.Currency),
						date(l.From), date(l.To), instant(l.PeakMS), entitled, text(l.Corrects),
						text(l.NoteIn(run.Draft)), text(a.ItemCodes.Of(l)), category, rate) {
						return
					}
				}
			}
		},
	}
	for _, i := range run.Invoices {
		t.height += len(i.Lines)
	}
	return t
}

// findingsSheet has a row for each finding (R24).
func findingsSheet(run *billing.Run) table {
	t := table{
		columns: titled("Tenant", "Tenant name", "Finding", "#Count", "Rule", "What to do", "Events, or agents"),
		rows: func(yield func(...cell) bool) {
			for _, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
				a := run.Accounts[tenant]
				for _, f := range a.Findings {
					if !yield(text(tenant), text(a.Tenant.Name), text(string(f.Code)), figure(f.Count), text(f.Rule),
						text(f.Advice), text(f.Named())) {
						return
					}
				}
			}
		},
		notes: []string{"What a person should look at before the month is signed (R24), " +
			"as it was found when the tenants were billed; it stops nothing."},
	}
	for _, a := range run.Accounts {
		t.height += len(a.Findings)
	}
	return t
}

// reportedSheet says of each tenant what became of its deliveries, and in brief what was found.
func reportedSheet(run *billing.Run) table {
	return table{
		columns: titled("Tenant", "Tenant name", "#Accepted", "#Counted", "#Duplicate", "#Superseded", "#Voided",
			"#Unallocated (R10)", "#Unknown tenant (R10)", "#Difference (R22)", "#Unmapped (R10)",
			"#Open sessions (R12)", "#Unknown subscription (R10)", "#Conflicts (R8)", "Findings (R24)"),
		height: len(run.Accounts),
		rows: func(yield func(...cell) bool) {
			for _, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
				a := run.Accounts[tenant]
				b := a.Balance
				var found []string
				for _, f := range a.Findings {
					found = append(found, fmt.Sprintf("%s: %d", f.Code, f.Count))
				}
				if !yield(
					text(tenant), text(a.Tenant.Name), figure(b.Accepted), figure(b.Counted), figure(b.Duplicate),
					figure(b.Superseded), figure(b.Voided), figure(b.Unallocated), figure(b.UnknownTenant), figure(b.Difference()),
					figure(b.Unmapped), figure(b.OpenSessions), figure(b.UnknownSubscription), figure(b.Conflicts),
					text(strings.Join(found, "; "))) {
					return
				}
			}
		},
		notes: []string{"Deliveries of the period, and what became of them: " +
			"accepted = counted + duplicate + superseded + voided + unallocated (R22).",
			"To be looked at, and counted all the same: unmapped, open sessions, unknown subscription, conflicts. " +
				"The sheet Findings says more."},
	}
}

// controlSheet has the control totals of the manifest beside what the other sheets add up to.
func controlSheet(run *billing.Run) table {
	list := totals(run)
	lines := linesSheet(run).height
	in := func(sheet, column string, count int) string {
		return fmt.Sprintf("%s!$%s$2:$%s$%d", sheet, column, column, max(count, 1)+1)
	}
	ofInvoices := func(column string) string { return in("Invoices", column, len(run.Invoices)) }
	ofLines := func(column string) string { return in("Lines", column, lines) }
	return table{
		columns: titled("Currency", "#Invoices", "#Lines", "#Net", "#Tax", "#Gross", "#Invoices, counted", "#Lines, counted",
			"#Net of invoices", "#Tax of invoices", "#Gross of invoices", "#Net of lines", "Agrees"),
		height: len(list),
		rows: func(yield func(...cell) bool) {
			for n, total := range list {
				row := strconv.Itoa(n + 2)
				places := -decimal.RequireFromString(total.Net).Exponent()
				sum := func(amount string) cell { return money(decimal.RequireFromString(amount), places) }
				summed := func(amount, currency, amounts string) cell {
					c := sum(amount)
					c.formula = "SUMIF(" + currency + ",A" + row + "," + amounts + ")"
					return c
				}
				agrees := fmt.Sprintf("IF(AND(B%[1]s=G%[1]s,C%[1]s=H%[1]s,ROUND(D%[1]s-I%[1]s,%[2]d)=0,"+
					`ROUND(E%[1]s-J%[1]s,%[2]d)=0,ROUND(F%[1]s-K%[1]s,%[2]d)=0,ROUND(D%[1]s-L%[1]s,%[2]d)=0),"yes","NO")`, row, places)
				if !yield(
					text(total.Currency), figure(total.Invoices), figure(total.Lines),
					sum(total.Net), sum(total.Tax), sum(total.Gross),
					formula("COUNTIF("+ofInvoices("K")+",A"+row+")", total.Invoices),
					formula("COUNTIF("+ofLines("K")+",A"+row+")", total.Lines),
					summed(total.Net, ofInvoices("K"), ofInvoices("L")), summed(total.Tax, ofInvoices("K"), ofInvoices("M")),
					summed(total.Gross, ofInvoices("K"), ofInvoices("N")), summed(total.Net, ofLines("K"), ofLines("J")),
					formula(agrees, "yes")) {
					return
				}
			}
		},
		notes: []string{"Invoices, lines, net, tax and gross are the control totals of manifest.json; " +
			"the columns beside them are computed from the other sheets.",
			"Tax and gross are of the invoices that have them.",
			"A spreadsheet keeps 15 digits of a number: longer ones are text here, and its sums leave them out. " +
				"The CSV files and invoices.json have all digits."},
	}
}
