package export

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
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

// table is a sheet: columns, and rows of as many cells, one after another.
type table struct {
	columns []column
	rows    func(yield func(...cell) bool)
	// height is how many rows there are.
	height int
	// totals are rows below the others, which no filter hides.
	totals [][]cell
	// notes stand below.
	notes []string
	// printed is how many of the columns are on paper; 0: all.
	printed int
}

// column has a title, and says whether it is of numbers, which stand to the right, or of text that can be long.
type column struct {
	title         string
	numbers, long bool
}

// titled returns columns by their titles, # before those of numbers and ~ before those of long text.
func titled(titles ...string) []column {
	var list []column
	for _, title := range titles {
		title, numbers := strings.CutPrefix(title, "#")
		title, long := strings.CutPrefix(title, "~")
		list = append(list, column{title, numbers, long})
	}
	return list
}

// Text wraps at so many characters.
const (
	textWidth = 22
	longWidth = 44
)

func (c column) widest() int {
	switch {
	case c.numbers:
		return 60
	case c.long:
		return longWidth
	}
	return textWidth
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

// plain is a number with the decimals that it has, without trailing zeros.
func plain(d decimal.Decimal) cell {
	_, decimals, _ := strings.Cut(d.String(), ".")
	return money(d, int32(len(decimals)))
}

// money is an amount with the decimals of its currency.
func money(d decimal.Decimal, places int32) cell {
	format := "#,##0"
	if places > 0 {
		format += "." + strings.Repeat("0", int(places))
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

// workbook is a file while it is being written; after an error nothing more is.
type workbook struct {
	file   *excelize.File
	title  string // on every page
	styles map[style]int
	err    error
}

// do goes on with a step unless one before it failed.
func (b *workbook) do(step func() error) {
	if b.err == nil {
		b.err = step()
	}
}

// style is how cells are shown.
type style struct {
	format                       string
	numbers, wrapped, bold, line bool
}

// id returns the number that a style has in the file.
func (b *workbook) id(s style) int {
	if _, ok := b.styles[s]; !ok {
		of := &excelize.Style{Font: &excelize.Font{Family: "Calibri", Size: 11, Bold: s.bold}}
		if s.format != "" {
			of.CustomNumFmt = &s.format
		}
		of.Alignment = &excelize.Alignment{Horizontal: "left", Indent: 1, Vertical: "top", WrapText: s.wrapped}
		if s.numbers {
			of.Alignment.Horizontal = "right"
		}
		if s.line {
			of.Border = []excelize.Border{{Type: "top", Style: 1, Color: "000000"}}
		}
		b.do(func() (err error) {
			b.styles[s], err = b.file.NewStyle(of)
			return err
		})
	}
	return b.styles[s]
}

// sheet writes a sheet, row after row, with a header that stays in sight, is on every page, and filters.
func (b *workbook) sheet(name string, t table) {
	var out *excelize.StreamWriter
	b.do(func() (err error) {
		out, err = b.newSheet(name, t)
		return err
	})
	if b.err != nil {
		return
	}
	width := widths(t)
	for i, width := range slices.Backward(width) { // each goes before those there are
		b.do(func() error { return out.SetColWidth(i+1, i+1, float64(width)) })
	}
	var header []any
	deepest := 1
	for i, c := range t.columns {
		deepest = max(deepest, linesOf(c.title, width[i]-3))
		header = append(header, excelize.Cell{
			StyleID: b.id(style{numbers: c.numbers, wrapped: true, bold: true}), Value: c.title})
	}
	b.do(func() error { return out.SetRow("A1", header, tall(deepest)) })
	row := 1
	values := make([]any, len(t.columns))
	add := func(cells []cell, of style) bool {
		row++
		deepest := 1
		for i, c := range cells {
			column := t.columns[i]
			of.format, of.numbers = c.format, column.numbers
			if of.wrapped = !column.numbers && c.shown > column.widest(); of.wrapped {
				deepest = max(deepest, linesOf(fmt.Sprint(c.value), width[i]-1))
			}
			values[i] = excelize.Cell{StyleID: b.id(of), Formula: c.formula, Value: c.value}
			if c.value == nil && !of.line {
				values[i] = nil
			}
		}
		b.do(func() error { return out.SetRow("A"+strconv.Itoa(row), values, tall(deepest)) })
		return b.err == nil
	}
	t.rows(func(cells ...cell) bool { return add(cells, style{}) })
	if len(t.totals) > 0 {
		row++ // an empty one, so that no sort takes the totals along
	}
	for _, cells := range t.totals {
		add(cells, style{bold: true, line: true})
	}
	for i, note := range t.notes {
		b.do(func() error { return out.SetRow("A"+strconv.Itoa(row+2+i), []any{note}) })
	}
	b.do(out.Flush)
}

// tall is a row of so many lines of text, since not every program makes rows as high as what wraps in them.
func tall(lines int) excelize.RowOpts {
	if lines == 1 {
		return excelize.RowOpts{}
	}
	return excelize.RowOpts{Height: min(float64(15*lines), 409)} // the most that there is
}

// linesOf is how many lines a text takes that wraps between its words, and in those that are too long for one.
func linesOf(text string, width int) int {
	lines, used := 1, 0
	for _, word := range strings.Fields(text) {
		size := utf8.RuneCountInString(word)
		if used > 0 && used+1+size > width {
			lines, used = lines+1, 0
		} else if used > 0 {
			used++
		}
		lines += max(size-1, 0) / width
		used += size - max(size-1, 0)/width*width
	}
	return lines
}

// newSheet adds a sheet for a table, with its filters, its panes and its page set up.
func (b *workbook) newSheet(name string, t table) (*excelize.StreamWriter, error) {
	var err error
	if name == "Invoices" {
		err = b.file.SetSheetName("Sheet1", name)
	} else {
		_, err = b.file.NewSheet(name)
	}
	if err != nil {
		return nil, err
	}
	filtered := fmt.Sprintf("A1:%s%d", columnName(len(t.columns)), t.height+1)
	if err := errors.Join(b.file.AutoFilter(name, filtered, nil), b.page(name, t)); err != nil {
		return nil, err
	}
	out, err := b.file.NewStreamWriter(name)
	if err != nil {
		return nil, err
	}
	return out, out.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})
}

// page sets a sheet up for paper: the columns side by side on as many pages as the rows take, each with the header.
func (b *workbook) page(name string, t table) error {
	landscape, fit, across, down, a4 := "landscape", true, 1, 0, 9
	narrow, space, edge := 0.25, 0.6, 0.3
	err := errors.Join(
		b.file.SetPageLayout(name, &excelize.PageLayoutOptions{
			Size: &a4, Orientation: &landscape, FitToWidth: &across, FitToHeight: &down}),
		b.file.SetSheetProps(name, &excelize.SheetPropsOptions{FitToPage: &fit}),
		b.file.SetPageMargins(name, &excelize.PageLayoutMarginsOptions{
			Left: &narrow, Right: &narrow, Top: &space, Bottom: &space, Header: &edge, Footer: &edge}),
		b.file.SetHeaderFooter(name, &excelize.HeaderFooterOptions{OddHeader: "&L" + b.title + "&R&A",
			OddFooter: "&RPage &P of &N"}),
		b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Titles", RefersTo: name + "!$1:$1", Scope: name}),
	)
	if t.printed == 0 {
		return err
	}
	area := fmt.Sprintf("%s!$A$1:$%s$%d", name, columnName(t.printed), t.height+len(t.totals)+2)
	return errors.Join(err,
		b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Area", RefersTo: area, Scope: name}))
}

// widths are such that the longest word of the title fits beside its filter, and what stands below unless it wraps.
func widths(t table) []int {
	list := make([]int, len(t.columns))
	for i, c := range t.columns {
		for _, word := range strings.Fields(c.title) {
			list[i] = max(list[i], len(word)+3)
		}
	}
	fit := func(cells ...cell) bool {
		for i, c := range cells {
			list[i] = max(list[i], min(c.shown, t.columns[i].widest())+3)
		}
		return true
	}
	t.rows(fit)
	for _, cells := range t.totals {
		fit(cells...)
	}
	return list
}

// columnName returns the letters of the n-th column, counted from 1; there are no more than 26.
func columnName(n int) string { return string(rune('A' + n - 1)) }

// properties are the parts of a workbook that say what it is, without a time or an author that would differ (R23).
func properties(name string) map[string]string {
	const (
		xml  = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
		core = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
		app  = "http://schemas.openxmlformats.org/officeDocument/2006/extended-properties"
	)
	return map[string]string{
		"docProps/core.xml": xml + `<cp:coreProperties xmlns:cp="` + core + `" xmlns:dc="http://purl.org/dc/elements/1.1/">` +
			`<dc:title>Invoices of ` + name + `</dc:title></cp:coreProperties>`,
		"docProps/app.xml": xml + `<Properties xmlns="` + app + `"><Application>Apportion</Application></Properties>`,
	}
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
