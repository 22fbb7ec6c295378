package export

import (
	"archive/zip"
	"bytes"
	"cmp"
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

// workbook is a file while it is being written; after an error nothing more is.
type workbook struct {
	file   *excelize.File
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
	format        string
	numbers, bold bool
}

// id returns the number that a style has in the file.
func (b *workbook) id(s style) int {
	if _, ok := b.styles[s]; !ok {
		of := &excelize.Style{Font: &excelize.Font{Family: "Calibri", Size: 11, Bold: s.bold}}
		if s.format != "" {
			of.CustomNumFmt = &s.format
		}
		if s.numbers {
			of.Alignment = &excelize.Alignment{Horizontal: "right", Indent: 1}
		}
		b.do(func() (err error) {
			b.styles[s], err = b.file.NewStyle(of)
			return err
		})
	}
	return b.styles[s]
}

// sheet writes a sheet, row after row, with a header that stays in sight and filters.
func (b *workbook) sheet(name string, t table) {
	var out *excelize.StreamWriter
	b.do(func() (err error) {
		out, err = b.newSheet(name, fmt.Sprintf("A1:%s%d", columnName(len(t.columns)), t.height+1))
		return err
	})
	if b.err != nil {
		return
	}
	for i, width := range slices.Backward(widths(t)) { // each goes before those there are
		b.do(func() error { return out.SetColWidth(i+1, i+1, float64(width)) })
	}
	var header []any
	for _, c := range t.columns {
		header = append(header, excelize.Cell{StyleID: b.id(style{numbers: c.numbers, bold: true}), Value: c.title})
	}
	b.do(func() error { return out.SetRow("A1", header) })
	row := 1
	values := make([]any, len(t.columns))
	t.rows(func(cells ...cell) bool {
		row++
		for i, c := range cells {
			id := b.id(style{format: c.format, numbers: t.columns[i].numbers})
			values[i] = excelize.Cell{StyleID: id, Formula: c.formula, Value: c.value}
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

// newSheet adds a sheet whose cells filter, with its page and its panes set up.
func (b *workbook) newSheet(name, cells string) (out *excelize.StreamWriter, err error) {
	if name == "Invoices" {
		err = b.file.SetSheetName("Sheet1", name)
	} else {
		_, err = b.file.NewSheet(name)
	}
	if err != nil {
		return nil, err
	}
	if err := b.file.AutoFilter(name, cells, nil); err != nil {
		return nil, err
	}
	// On paper all columns are side by side, and there are as many pages as the rows take.
	landscape, fit, across, down := "landscape", true, 1, 0
	page := &excelize.PageLayoutOptions{Orientation: &landscape, FitToWidth: &across, FitToHeight: &down}
	if err := b.file.SetPageLayout(name, page); err != nil {
		return nil, err
	}
	if err := b.file.SetSheetProps(name, &excelize.SheetPropsOptions{FitToPage: &fit}); err != nil {
		return nil, err
	}
	if out, err = b.file.NewStreamWriter(name); err != nil {
		return nil, err
	}
	return out, out.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})
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
