package export

import (
	"archive/zip"
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"apportion/billing"
)

func openWorkbook(t *testing.T, run *billing.Run) ([]byte, *excelize.File) {
	t.Helper()
	var b bytes.Buffer
	if err := InvoicesXLSX(&b, run); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return b.Bytes(), f
}

// cells returns what the cells of a row hold, as it stands in the file or as it is shown.
func cells(t *testing.T, f *excelize.File, sheet string, row int, raw bool) []string {
	t.Helper()
	rows, err := f.GetRows(sheet, excelize.Options{RawCellValue: raw})
	if err != nil {
		t.Fatal(err)
	}
	return rows[row-1]
}

func wantCells(t *testing.T, f *excelize.File, sheet string, row int, raw bool, want string) {
	t.Helper()
	if got := strings.Join(cells(t, f, sheet, row, raw), "|"); got != want {
		t.Errorf("%s, row %d:\n got %s\nwant %s", sheet, row, got, want)
	}
}

func TestXLSX(t *testing.T) {
	_, f := openWorkbook(t, monthRun())
	if got := strings.Join(f.GetSheetList(), " "); got != "Invoices Lines Reported Findings Control" {
		t.Errorf("the sheets are %s", got)
	}
	wantCells(t, f, "Invoices", 2, false, "acme|Acme AB|Sub1|Customer service|2026-10|INV-Sub1-202610|issued|2026-11-04|2026-12-04|7|SEK|15,003,003.24|||Acme AB|||2|2")
	wantCells(t, f, "Invoices", 3, false, "acme|Acme AB|Sub2|=HYPERLINK(1)|2026-10|INV-Sub2-202610|issued|2026-11-04|2026-12-04|1|KWD|2.259|||Acme AB|||0|2")
	wantCells(t, f, "Invoices", 4, false, "beta|Beta KK|Yen|Tokyo|2026-10|INV-Yen-202610|issued|2026-11-04|2026-12-04|1|JPY|30,000|||Beta KK|||0|0")
	wantCells(t, f, "Lines", 3, false, "acme|Acme AB|Sub1|Customer service|INV-Sub1-202610|2|commitment|agent_standard|10|seat|900|SEK|2,903.23||2026-10-01|2026-10-11||the rule and the figures")
	// What stands in the file are the decimals; a date is a number, and what has more than 15 digits is text.
	wantCells(t, f, "Lines", 5, true, "acme|Acme AB|Sub1|Customer service|INV-Sub1-202610|4|connect|connect.sms|999999999999.999999|unit|0.000015|SEK|15000000||46296|46327||the rule and the figures")
	wantCells(t, f, "Lines", 6, false, "acme|Acme AB|Sub1|Customer service|INV-Sub1-202610|5|overage|agent_standard|1|seat|1,100|SEK|1,100.00||2026-10-01|2026-11-01||the rule and the figures|||25|2026-10-14 08:31:07.000")
	wantCells(t, f, "Lines", 7, true, "acme|Acme AB|Sub1|Customer service|INV-Sub1-202610|6|adjustment|agent_standard|-1|seat||SEK|-1100||46266|46296|INV-Sub1-202609/3|the rule and the figures")
	wantCells(t, f, "Reported", 2, true, "acme|Acme AB|100|90|4|3|2|1|0|0|5|6|7|8|unmapped: 5; open_session: 6")
	for cell, want := range map[string]excelize.CellType{"I3": excelize.CellTypeUnset, "I5": excelize.CellTypeInlineString, "M7": excelize.CellTypeUnset, "R2": excelize.CellTypeInlineString} {
		if got, err := f.GetCellType("Lines", cell); err != nil || got != want {
			t.Errorf("Lines!%s is of type %v, want %v", cell, got, want)
		}
	}
	panes, err := f.GetPanes("Lines")
	if err != nil || !panes.Freeze || panes.YSplit != 1 {
		t.Errorf("the header is not frozen: %+v, %v", panes, err)
	}
}

// TestXLSXControl: the totals are those of the manifest, and the formulas give the same.
func TestXLSXControl(t *testing.T) {
	run := taxedMonth()
	_, f := openWorkbook(t, run)
	for n, total := range totals(run) {
		row := n + 2
		got := cells(t, f, "Control", row, true)
		if got[0] != total.Currency || !dec(got[3]).Equal(dec(total.Net)) || !dec(got[4]).Equal(dec(total.Tax)) || !dec(got[5]).Equal(dec(total.Gross)) {
			t.Errorf("row %d is %v, want %+v", row, got, total)
		}
		for i, column := range []string{"G", "H", "I", "J", "K", "L", "M"} {
			cell := column + string(rune('0'+row))
			worked, err := f.CalcCellValue("Control", cell, excelize.Options{RawCellValue: true})
			if err != nil || worked != got[6+i] {
				t.Errorf("Control!%s is computed as %q, %v, and was written as %q", cell, worked, err, got[6+i])
			}
		}
		if got[12] != "yes" {
			t.Errorf("%s does not agree", total.Currency)
		}
	}
	// And they notice a cell that somebody changed.
	for _, cell := range [][2]string{{"Lines", "M3"}, {"Invoices", "L2"}, {"Invoices", "M2"}, {"Invoices", "N2"}} {
		_, f := openWorkbook(t, run)
		if err := f.SetCellValue(cell[0], cell[1], 1); err != nil {
			t.Fatal(err)
		}
		if got, err := f.CalcCellValue("Control", "M4"); err != nil || got != "NO" {
			t.Errorf("after a change of %s in SEK the sheet says %q, %v", cell, got, err)
		}
	}
}

// TestXLSXTotals: below each table stands what it adds up to by currency, as a formula.
func TestXLSXTotals(t *testing.T) {
	run := taxedMonth()
	_, f := openWorkbook(t, run)
	for n, total := range totals(run) {
		for _, c := range []struct{ sheet, column, want string }{
			{"Invoices", "L", total.Net}, {"Invoices", "M", total.Tax}, {"Invoices", "N", total.Gross}, {"Lines", "M", total.Net},
		} {
			row := 2 + len(run.Invoices) + 1 + n
			if c.sheet == "Lines" {
				row = 2 + linesSheet(run).height + 1 + n
			}
			if got := cells(t, f, c.sheet, row, true)[0]; got != "Total "+total.Currency {
				t.Errorf("%s, row %d is %q, want the total in %s", c.sheet, row, got, total.Currency)
			}
			cell := c.column + strconv.Itoa(row)
			written, err1 := f.GetCellValue(c.sheet, cell, excelize.Options{RawCellValue: true})
			worked, err2 := f.CalcCellValue(c.sheet, cell, excelize.Options{RawCellValue: true})
			if err1 != nil || err2 != nil || worked != written || !dec(written).Equal(dec(c.want)) {
				t.Errorf("%s!%s is %q, computed %q, want %s; %v, %v", c.sheet, cell, written, worked, c.want, err1, err2)
			}
		}
	}
}

// TestXLSXOnPaper: a sheet is one page wide, and has its header on every page; a long note wraps in a row that is as
// high.
func TestXLSXOnPaper(t *testing.T) {
	run := monthRun()
	run.Draft = true
	run.Invoices[0].Lines[0].Note = strings.Repeat("a rule and its figures ", 4)
	_, f := openWorkbook(t, run)
	names := map[string]string{}
	for _, name := range f.GetDefinedName() {
		names[name.Scope+" "+name.Name] = name.RefersTo
	}
	for _, sheet := range f.GetSheetList() {
		if got := names[sheet+" _xlnm.Print_Titles"]; got != sheet+"!$1:$1" {
			t.Errorf("%s repeats %q", sheet, got)
		}
		layout, err1 := f.GetPageLayout(sheet)
		props, err2 := f.GetSheetProps(sheet)
		if err1 != nil || err2 != nil || *layout.FitToWidth != 1 || *layout.FitToHeight != 0 || !*props.FitToPage {
			t.Errorf("%s is not one page wide: %v, %v", sheet, err1, err2)
		}
		if header, err := f.GetHeaderFooter(sheet); err != nil || header.OddHeader != "&LDRAFT. Invoices of 2026-10&R&A" {
			t.Errorf("%s has the header %+v, %v", sheet, header, err)
		}
	}
	if got := names["Lines _xlnm.Print_Area"]; got != "Lines!$A$1:$R$17" {
		t.Errorf("of Lines %q is printed", got)
	}
	for row, want := range map[int]float64{2: 45, 3: 15} {
		if got, err := f.GetRowHeight("Lines", row); err != nil || got != want {
			t.Errorf("row %d is %v high, want %v; %v", row, got, want, err)
		}
	}
}

func TestLinesOf(t *testing.T) {
	for text, want := range map[string]int{"": 1, "ab cd": 1, "abcde": 1, "ab cde": 2, "abcdef": 2, "abcdefghijk l": 3, "å å å": 1} {
		if got := linesOf(text, 5); got != want {
			t.Errorf("%q takes %d lines of 5, want %d", text, got, want)
		}
	}
}

func TestXLSXOfADraft(t *testing.T) {
	run := monthRun()
	run.Draft = true
	_, f := openWorkbook(t, run)
	if got := cells(t, f, "Invoices", 2, false)[6]; got != "DRAFT" {
		t.Errorf("its invoices are %q", got)
	}
	if got := cells(t, f, "Lines", 2, false)[17]; got != "DRAFT. the rule and the figures" {
		t.Errorf("its notes are %q", got)
	}
}

func TestXLSXOfNothing(t *testing.T) {
	_, f := openWorkbook(t, &billing.Run{Period: monthRun().Period})
	if rows, err := f.GetRows("Lines"); err != nil || len(rows) != 1 {
		t.Errorf("%d rows, %v; want the header alone", len(rows), err)
	}
}

// TestXLSXSameBytes: no clock and no order of a map is in it (R23).
func TestXLSXSameBytes(t *testing.T) {
	first, _ := openWorkbook(t, monthRun())
	for range 20 {
		if again, _ := openWorkbook(t, monthRun()); !bytes.Equal(first, again) {
			t.Fatal("the same invoices gave other bytes")
		}
	}
	parts, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts.File {
		if part.Modified.After(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s is of %s", part.Name, part.Modified)
		}
		r, err := part.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"created", "modified", "Excelize", "xuri"} {
			if bytes.Contains(content, []byte(word)) {
				t.Errorf("%s says %s", part.Name, word)
			}
		}
	}
}
