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
	b := &workbook{file: file, title: "Invoices of " + run.Period.String(), styles: map[style]int{}}
	if run.Draft {
		b.title = "DRAFT. " + b.title
	}
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
	t := table{
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
	for _, total := range totals(run) {
		t.totals = append(t.totals, t.total(total, map[string]string{"Net total": total.Net, "Tax": total.Tax,
			"Gross total": total.Gross}))
	}
	return t
}

// total is a row below a table: what columns of it add up to in a currency.
func (t table) total(of Total, sums map[string]string) []cell {
	cells := make([]cell, len(t.columns))
	cells[0] = text("Total " + of.Currency)
	currency := slices.IndexFunc(t.columns, func(c column) bool { return c.title == "Currency" })
	for i, c := range t.columns {
		if amount, ok := sums[c.title]; ok {
			cells[i] = sumIf(of, amount, t.below(currency), `"`+of.Currency+`"`, t.below(i))
		}
	}
	cells[currency] = text(of.Currency)
	return cells
}

// below are the cells of a column below its header.
func (t table) below(column int) string {
	name := columnName(column + 1)
	return fmt.Sprintf("$%s$2:$%s$%d", name, name, max(t.height, 1)+1)
}

// sumIf adds up those amounts that have a currency beside them.
func sumIf(of Total, amount, currencies, currency, amounts string) cell {
	c := money(decimal.RequireFromString(amount), -decimal.RequireFromString(of.Net).Exponent())
	c.formula = "SUMIF(" + currencies + "," + currency + "," + amounts + ")"
	return c
}

func linesSheet(run *billing.Run) table {
	t := table{
		columns: titled("Tenant", "Tenant name", "Subscription", "Subscription name", "Invoice", "#Line", "Kind", "Meter",
			"#Quantity", "Unit", "#Unit price", "Currency", "#Net amount", "#Tax rate %", "#From", "#To, not included",
			"Corrects", "~Note", "Item code", "Tax category", "#Entitled", "#Peak at (UTC)"),
		printed: 18, // up to the note, or the rest would be too small to read
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
						text(i.Tenant), text(a.Tenant.Name), text(i.Subscription), text(a.SubscriptionName(i)), text(i.ID),
						figure(l.No), text(string(l.Kind)), text(l.Meter), plain(l.Quantity), text(l.Unit), unitPrice,
						text(i.Currency), money(l.Amount, i.MinorUnits), rate, date(l.From), date(l.To), text(l.Corrects),
						text(l.NoteIn(run.Draft)), text(a.ItemCodes.Of(l)), category, entitled, instant(l.PeakMS)) {
						return
					}
				}
			}
		},
	}
	for _, i := range run.Invoices {
		t.height += len(i.Lines)
	}
	for _, total := range totals(run) {
		t.totals = append(t.totals, t.total(total, map[string]string{"Net amount": total.Net}))
	}
	return t
}

// findingsSheet has a row for each finding (R24).
func findingsSheet(run *billing.Run) table {
	t := table{
		columns: titled("Tenant", "Tenant name", "Finding", "#Count", "Rule", "~What to do", "~Events, or agents"),
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
			"#Open sessions (R12)", "#Unknown subscription (R10)", "#Conflicts (R8)", "~Findings (R24)"),
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
	invoices, lines := invoicesSheet(run), linesSheet(run)
	// in are the cells of a column by its title.
	in := func(sheet string, t table, title string) string {
		return sheet + "!" + t.below(slices.IndexFunc(t.columns, func(c column) bool { return c.title == title }))
	}
	ofInvoices := func(title string) string { return in("Invoices", invoices, title) }
	ofLines := func(title string) string { return in("Lines", lines, title) }
	return table{
		columns: titled("Currency", "#Invoices", "#Lines", "#Net", "#Tax", "#Gross", "#Invoices, counted", "#Lines, counted",
			"#Net of invoices", "#Tax of invoices", "#Gross of invoices", "#Net of lines", "Agrees"),
		height: len(list),
		rows: func(yield func(...cell) bool) {
			for n, total := range list {
				row := strconv.Itoa(n + 2)
				places := -decimal.RequireFromString(total.Net).Exponent()
				sum := func(amount string) cell { return money(decimal.RequireFromString(amount), places) }
				summed := func(amount, currency, amounts string) cell { return sumIf(total, amount, currency, "A"+row, amounts) }
				agrees := fmt.Sprintf("IF(AND(B%[1]s=G%[1]s,C%[1]s=H%[1]s,ROUND(D%[1]s-I%[1]s,%[2]d)=0,"+
					`ROUND(E%[1]s-J%[1]s,%[2]d)=0,ROUND(F%[1]s-K%[1]s,%[2]d)=0,ROUND(D%[1]s-L%[1]s,%[2]d)=0),"yes","NO")`, row, places)
				currency := ofInvoices("Currency")
				if !yield(
					text(total.Currency), figure(total.Invoices), figure(total.Lines),
					sum(total.Net), sum(total.Tax), sum(total.Gross),
					formula("COUNTIF("+currency+",A"+row+")", total.Invoices),
					formula("COUNTIF("+ofLines("Currency")+",A"+row+")", total.Lines),
					summed(total.Net, currency, ofInvoices("Net total")), summed(total.Tax, currency, ofInvoices("Tax")),
					summed(total.Gross, currency, ofInvoices("Gross total")),
					summed(total.Net, ofLines("Currency"), ofLines("Net amount")), formula(agrees, "yes")) {
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
