package export

import (
	"archive/zip"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"
	"github.com/xuri/excelize/v2"

	"apportion/billing"
	"apportion/schemas/civil"
)

// exactDigits is how many digits a spreadsheet keeps of a number. A number of no more goes through a float64 and
// back to the same digits, so what stands in the file is the decimal; one of more is written as text.
const exactDigits = 15

// InvoicesXLSX writes invoices.xlsx: the invoices and their lines, what is to be reported of the tenants, and a sheet
// that adds the others up and holds them to the control totals of the manifest.
func InvoicesXLSX(w io.Writer, run *billing.Run) (err error) {
	file := excelize.NewFile()
	defer file.Close()
	b := &book{file: file, styles: map[look]int{}}
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
	for part, content := range map[string]string{
		"docProps/core.xml": `<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Invoices of ` + Name(run) + `</dc:title></cp:coreProperties>`,
		"docProps/app.xml":  `<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/extended-properties"><Application>Apportion</Application></Properties>`,
	} {
		file.Pkg.Store(part, []byte(`<?xml version="1.0" encoding="UTF-8" standalone="yes"?>`+"\n"+content))
	}
	packed, err := file.WriteToBuffer()
	if err != nil {
		return err
	}
	return repack(w, packed.Bytes())
}

// repack writes the parts of a workbook in the order of their names: the library packs the sheets in any (R23).
func repack(w io.Writer, packed []byte) error {
	in, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return err
	}
	slices.SortFunc(in.File, func(a, b *zip.File) int { return cmp.Compare(a.Name, b.Name) })
	out := zip.NewWriter(w)
	for _, part := range in.File {
		if err := out.Copy(part); err != nil {
			return err
		}
	}
	return out.Close()
}

// table is a sheet: columns, and rows of as many cells, one after another.
type table struct {
	columns []column
	rows    func(yield func(...cell) bool)
	// height is how many rows there are.
	height int
	// notes stand below.
	notes []string
}

// column has a title, and says whether it is of numbers, which stand to the right.
type column struct {
	title   string
	numbers bool
}

// titled returns columns by their titles, # before those of numbers.
func titled(titles ...string) []column {
	var list []column
	for _, title := range titles {
		title, numbers := strings.CutPrefix(title, "#")
		list = append(list, column{title, numbers})
	}
	return list
}

// cell is a value in a format, shown in so many characters.
type cell struct {
	value   any
	format  string
	formula string
	shown   int
}

func text(s string) cell { return cell{value: s, shown: utf8.RuneCountInString(s)} }

func figure[N int | int32 | int64](n N) cell {
	return cell{value: int64(n), format: "#,##0", shown: len(strconv.FormatInt(int64(n), 10)) * 4 / 3}
}

// plain is a number as it is, without trailing zeros.
func plain(d decimal.Decimal) cell { return numeral(d, "") }

// money is an amount with the decimals of its currency.
func money(d decimal.Decimal, places int32) cell {
	format := "#,##0"
	if places > 0 {
		format += "." + "0000"[:places]
	}
	return numeral(d, format)
}

func numeral(d decimal.Decimal, format string) cell {
	s := d.String()
	c := cell{value: s, shown: len(s) + len(s)/3}
	if digits := len(d.Coefficient().String()); digits <= exactDigits || digits <= exactDigits+1 && d.IsNegative() {
		c.value, _ = d.Float64()
		c.format = format
	}
	return c
}

func date(d civil.Date) cell { return cell{value: d.Time(), format: "yyyy-mm-dd", shown: 10} }

func instant(ms int64) cell {
	if ms == billing.NoInstant {
		return cell{}
	}
	return cell{value: time.UnixMilli(ms).UTC(), format: "yyyy-mm-dd hh:mm:ss.000", shown: 23}
}

func formula(f string, result any) cell { return cell{value: result, formula: f, shown: 12} }

// book is a workbook while it is being written; after an error nothing more is.
type book struct {
	file   *excelize.File
	styles map[look]int
	err    error
}

// do goes on with a step unless one before it failed.
func (b *book) do(step func() error) {
	if b.err == nil {
		b.err = step()
	}
}

// look is how cells are shown.
type look struct {
	format        string
	numbers, bold bool
}

// style returns the number of the style of a look.
func (b *book) style(l look) int {
	if _, ok := b.styles[l]; !ok {
		style := &excelize.Style{Font: &excelize.Font{Family: "Calibri", Size: 11, Bold: l.bold}}
		if l.format != "" {
			style.CustomNumFmt = &l.format
		}
		if l.numbers {
			style.Alignment = &excelize.Alignment{Horizontal: "right", Indent: 1}
		}
		b.do(func() (err error) {
			b.styles[l], err = b.file.NewStyle(style)
			return err
		})
	}
	return b.styles[l]
}

// sheet writes a sheet, row after row, with a header that stays in sight and filters.
func (b *book) sheet(name string, t table) {
	var out *excelize.StreamWriter
	last := fmt.Sprintf("%s%d", columnName(len(t.columns)), t.height+1)
	b.do(func() (err error) {
		if name == "Invoices" {
			err = b.file.SetSheetName("Sheet1", name)
		} else {
			_, err = b.file.NewSheet(name)
		}
		if err != nil {
			return err
		}
		if err := b.file.AutoFilter(name, "A1:"+last, nil); err != nil {
			return err
		}
		// On paper all columns are side by side.
		landscape, fit, wide, any := "landscape", true, 1, 0
		if err := b.file.SetPageLayout(name, &excelize.PageLayoutOptions{Orientation: &landscape, FitToWidth: &wide, FitToHeight: &any}); err != nil {
			return err
		}
		if err := b.file.SetSheetProps(name, &excelize.SheetPropsOptions{FitToPage: &fit}); err != nil {
			return err
		}
		if out, err = b.file.NewStreamWriter(name); err != nil {
			return err
		}
		return out.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})
	})
	if b.err != nil {
		return
	}
	for i, width := range slices.Backward(widths(t)) { // each goes before those there are
		b.do(func() error { return out.SetColWidth(i+1, i+1, float64(width)) })
	}
	var header []any
	for _, c := range t.columns {
		header = append(header, excelize.Cell{StyleID: b.style(look{numbers: c.numbers, bold: true}), Value: c.title})
	}
	b.do(func() error { return out.SetRow("A1", header) })
	row := 1
	values := make([]any, len(t.columns))
	t.rows(func(cells ...cell) bool {
		row++
		for i, c := range cells {
			values[i] = excelize.Cell{StyleID: b.style(look{format: c.format, numbers: t.columns[i].numbers}), Formula: c.formula, Value: c.value}
			if c.value == nil {
				values[i] = nil
			}
		}
		b.do(func() error { return out.SetRow("A"+strconv.Itoa(row), values) })
		return b.err == nil
	})
	for i, note := range t.notes {
		b.do(func() error { return out.SetRow("A"+strconv.Itoa(row+2+i), []any{note}) })
	}
	b.do(out.Flush)
}

// widths are such that the title with its filter fits, and what stands below unless it is very long.
func widths(t table) []int {
	list := make([]int, len(t.columns))
	for i, c := range t.columns {
		list[i] = len(c.title) + 5
	}
	t.rows(func(cells ...cell) bool {
		for i, c := range cells {
			list[i] = max(list[i], min(c.shown+3, 60))
		}
		return true
	})
	return list
}

// columnName returns the letters of the n-th column, counted from 1; there are no more than 26.
func columnName(n int) string { return string(rune('A' + n - 1)) }

func invoicesSheet(run *billing.Run) table {
	status := "issued"
	if run.Draft {
		status = "DRAFT"
	}
	return table{
		columns: titled("Tenant", "Tenant name", "Subscription", "Subscription name", "Period", "Invoice", "Status", "#Issue date", "#Due date", "#Lines",
			"Currency", "#Net total", "#Tax", "#Gross total", "Buyer", "Buyer's VAT id", "Reference", "#Corrections", "#Findings"),
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
				if !yield(text(i.Tenant), text(h.account.Tenant.Name), text(i.Subscription), text(h.account.SubscriptionName(i)), text(i.Period.String()), text(i.ID),
					text(status), date(h.account.IssueDate), due, figure(len(i.Lines)), text(i.Currency), money(i.Total, i.MinorUnits), tax, gross,
					text(h.account.Buyer()), text(h.vatID), text(h.reference), figure(h.corrections), figure(len(h.account.Findings))) {
					return
				}
			}
		},
	}
}

func linesSheet(run *billing.Run) table {
	t := table{
		columns: titled("Tenant", "Subscription", "Invoice", "#Line", "Kind", "Meter", "#Quantity", "Unit", "#Unit price", "#Net amount", "Currency",
			"#From", "#To (exclusive)", "#Peak at (UTC)", "#Entitled", "Corrects", "Note", "Item code", "Tax category", "#Tax rate %"),
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
					if !yield(text(i.Tenant), text(i.Subscription), text(i.ID), figure(l.No), text(string(l.Kind)), text(l.Meter), plain(l.Quantity), text(l.Unit),
						unitPrice, money(l.Amount, i.MinorUnits), text(i.Currency), date(l.From), date(l.To), instant(l.PeakMS), entitled, text(l.Corrects),
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
					if !yield(text(tenant), text(a.Tenant.Name), text(string(f.Code)), figure(f.Count), text(f.Rule), text(f.Advice), text(f.Named())) {
						return
					}
				}
			}
		},
		notes: []string{"What a person should look at before the month is signed (R24), as it was found when the tenants were billed; it stops nothing."},
	}
	for _, a := range run.Accounts {
		t.height += len(a.Findings)
	}
	return t
}

// reportedSheet says of each tenant what became of its deliveries, and in brief what was found.
func reportedSheet(run *billing.Run) table {
	return table{
		columns: titled("Tenant", "Tenant name", "#Accepted", "#Counted", "#Duplicate", "#Superseded", "#Voided", "#Unallocated (R10)", "#Unknown tenant (R10)",
			"#Difference (R22)", "#Unmapped (R10)", "#Open sessions (R12)", "#Unknown subscription (R10)", "#Conflicts (R8)", "Findings (R24)"),
		height: len(run.Accounts),
		rows: func(yield func(...cell) bool) {
			for _, tenant := range slices.Sorted(maps.Keys(run.Accounts)) {
				a := run.Accounts[tenant]
				b := a.Balance
				var found []string
				for _, f := range a.Findings {
					found = append(found, fmt.Sprintf("%s: %d", f.Code, f.Count))
				}
				if !yield(text(tenant), text(a.Tenant.Name), figure(b.Accepted), figure(b.Counted), figure(b.Duplicate), figure(b.Superseded), figure(b.Voided),
					figure(b.Unallocated), figure(b.UnknownTenant), figure(b.Difference()), figure(b.Unmapped), figure(b.OpenSessions), figure(b.UnknownSubscription),
					figure(b.Conflicts), text(strings.Join(found, "; "))) {
					return
				}
			}
		},
		notes: []string{"Deliveries of the period, and what became of them: accepted = counted + duplicate + superseded + voided + unallocated (R22).",
			"To be looked at, and counted all the same: unmapped, open sessions, unknown subscription, conflicts. The sheet Findings says more."},
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
				agrees := fmt.Sprintf("IF(AND(B%[1]s=G%[1]s,C%[1]s=H%[1]s,ROUND(D%[1]s-I%[1]s,%[2]d)=0,ROUND(E%[1]s-J%[1]s,%[2]d)=0,"+
					`ROUND(F%[1]s-K%[1]s,%[2]d)=0,ROUND(D%[1]s-L%[1]s,%[2]d)=0),"yes","NO")`, row, places)
				if !yield(text(total.Currency), figure(total.Invoices), figure(total.Lines), sum(total.Net), sum(total.Tax), sum(total.Gross),
					formula("COUNTIF("+ofInvoices("K")+",A"+row+")", total.Invoices), formula("COUNTIF("+in("Lines", "K", lines)+",A"+row+")", total.Lines),
					summed(total.Net, ofInvoices("K"), ofInvoices("L")), summed(total.Tax, ofInvoices("K"), ofInvoices("M")),
					summed(total.Gross, ofInvoices("K"), ofInvoices("N")), summed(total.Net, in("Lines", "K", lines), in("Lines", "J", lines)),
					formula(agrees, "yes")) {
					return
				}
			}
		},
		notes: []string{"Invoices, lines, net, tax and gross are the control totals of manifest.json; the columns beside them are worked out from the other sheets.",
			"Tax and gross are of the invoices that have them.",
			"A spreadsheet keeps 15 digits of a number: longer ones are text here, and its sums leave them out. The CSV files and invoices.json have all digits."},
	}
}
