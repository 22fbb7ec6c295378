package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"apportion/billing"
)

// Difference is something in the directory of a period that is not as it should be.
type Difference struct {
	// File is a path below the directory.
	File   string `json:"file"`
	Detail string `json:"detail"`
}

func (d Difference) String() string { return d.File + ": " + d.Detail }

// ReadManifest reads the manifest of a directory.
func ReadManifest(dir string) (*Manifest, error) {
	content, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s; name the directory of a period, such as invoices/2026-10", dir, ManifestName)
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(content)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; write the files of the period again", filepath.Join(dir, ManifestName),
			err)
	}
	return m, nil
}

// ParseManifest reads the content of a manifest.
func ParseManifest(content []byte) (*Manifest, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		return nil, err
	}
	return &m, nil
}

// Verify returns every difference between a directory and its manifest: files that are missing, changed or more than
// there should be, and control totals that lines.csv or invoices.csv does not add up to.
func (m *Manifest) Verify(dir string) ([]Difference, error) {
	there, err := walk(dir)
	if err != nil {
		return nil, err
	}
	var found []Difference
	named := map[string]bool{ManifestName: true}
	for _, want := range m.Files {
		named[want.Path] = true
		if !slices.Contains(there, want.Path) { // which also keeps a path such as ../x from leading anywhere
			found = append(found, Difference{want.Path, "missing"})
			continue
		}
		got, err := measure(filepath.Join(dir, filepath.FromSlash(want.Path)))
		switch {
		case err != nil:
			return nil, err
		case got.Size != want.Size:
			found = append(found, Difference{want.Path, fmt.Sprintf("%d bytes, and the manifest says %d", got.Size, want.Size)})
		case got.SHA256 != want.SHA256:
			found = append(found, Difference{want.Path,
				"changed: its SHA-256 is " + got.SHA256 + ", and the manifest says " + want.SHA256})
		}
	}
	for _, path := range there {
		if !named[path] {
			found = append(found, Difference{path, "not in the manifest"})
		}
	}
	return slices.Concat(found, m.verifyLines(dir), m.verifyInvoices(dir)), nil
}

func measure(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	return File{path, size, hex.EncodeToString(sum.Sum(nil))}, err
}

// verifyLines adds lines.csv up and compares: the taxes are not in it.
func (m *Manifest) verifyLines(dir string) []Difference {
	last := ""
	return m.verifyTotals(dir, "lines.csv", linesColumns, func(sum *tallied, r *record) {
		if id := r.cell("invoice_id"); id != last {
			sum.invoices, last = sum.invoices+1, id
		}
		sum.lines++
		r.add(&sum.net, "amount")
		sum.places = -sum.net.Exponent()
	})
}

// verifyInvoices adds invoices.csv up and compares.
func (m *Manifest) verifyInvoices(dir string) []Difference {
	return m.verifyTotals(dir, "invoices.csv", invoicesColumns, func(sum *tallied, r *record) {
		lines := decimal.Zero
		r.add(&lines, "lines")
		sum.invoices, sum.lines = sum.invoices+1, sum.lines+int(lines.IntPart())
		r.add(&sum.net, "net")
		r.add(&sum.tax, "tax")
		r.add(&sum.gross, "gross")
		sum.places = -sum.net.Exponent()
	})
}

// record is a row of a CSV file, below the header.
type record struct {
	columns, cells []string
	err            error
}

func (r *record) cell(column string) string { return r.cells[slices.Index(r.columns, column)] }

// add adds the number of a column, if there is one.
func (r *record) add(sum *decimal.Decimal, column string) {
	text := r.cell(column)
	if text == "" {
		return
	}
	value, err := decimal.NewFromString(text)
	if err != nil {
		r.err = fmt.Errorf("the %s %q is no number", column, text)
	}
	*sum = sum.Add(value)
}

// verifyTotals adds a CSV file up, row by row, and compares.
func (m *Manifest) verifyTotals(dir, name string, columns []string, add func(sum *tallied, r *record)) []Difference {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // which its files tell
	}
	if err != nil {
		return []Difference{{name, err.Error()}}
	}
	defer f.Close()
	sums := tally{}
	in := csv.NewReader(f)
	in.ReuseRecord = true
	for n := 1; ; n++ {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && n == 1 && !slices.Equal(cells, columns) {
			err = fmt.Errorf("the header is not %s", strings.Join(columns, ","))
		}
		if err == nil && n > 1 {
			r := &record{columns: columns, cells: cells}
			if add(sums.of(r.cell("currency")), r); r.err != nil {
				err = fmt.Errorf("row %d: %w", n, r.err)
			}
		}
		if err != nil {
			return []Difference{{name, "cannot be read: " + err.Error()}}
		}
	}
	got, want := sums.totals(), slices.Clone(m.Totals)
	if !slices.Contains(columns, "gross") {
		for _, list := range [][]Total{got, want} {
			for n := range list {
				list[n].Tax, list[n].Gross = "", ""
			}
		}
	}
	var found []Difference
	for len(got)+len(want) > 0 {
		switch {
		case len(want) == 0 || len(got) > 0 && got[0].Currency < want[0].Currency:
			found = append(found, Difference{name,
				"adds up to " + got[0].String() + ", and the manifest has nothing in " + got[0].Currency})
			got = got[1:]
		case len(got) == 0 || want[0].Currency < got[0].Currency:
			found = append(found, Difference{name,
				"has nothing in " + want[0].Currency + ", and the manifest says " + want[0].String()})
			want = want[1:]
		default:
			if got[0] != want[0] {
				found = append(found, Difference{name,
					"adds up to " + got[0].String() + ", and the manifest says " + want[0].String()})
			}
			got, want = got[1:], want[1:]
		}
	}
	return found
}

// String says what a total is, as far as it goes.
func (t Total) String() string {
	s := fmt.Sprintf("net %s %s", t.Net, t.Currency)
	if t.Gross != "" {
		s += fmt.Sprintf(", tax %s, gross %s", t.Tax, t.Gross)
	}
	return s + fmt.Sprintf(" (invoices: %d, lines: %d)", t.Invoices, t.Lines)
}

// VerifyIssued returns every difference between the CSV files of a directory and the invoices of a run: lines and
// invoices
// that are missing, changed or more than there should be.
func VerifyIssued(dir string, run *billing.Run) ([]Difference, error) {
	lines, err := verifyRows(dir, "lines.csv", "line", linesColumns, run, LinesCSV)
	if err != nil {
		return nil, err
	}
	invoices, err := verifyRows(dir, "invoices.csv", "invoice", invoicesColumns, run, InvoicesCSV)
	return append(lines, invoices...), err
}

// verifyRows compares a CSV file, of one thing a row, with what would be written of a run.
func verifyRows(
	dir, file, what string, columns []string, run *billing.Run, write func(io.Writer, *billing.Run) error,
) ([]Difference, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // which the manifest tells
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	got, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return []Difference{{file, "cannot be read: " + err.Error()}}, nil
	}
	var issued bytes.Buffer
	if err := write(&issued, run); err != nil {
		return nil, err
	}
	want, err := csv.NewReader(&issued).ReadAll()
	if err != nil {
		return nil, err
	}
	id, number := slices.Index(columns, "invoice_id"), slices.Index(columns, "line_no")
	name := func(record []string) string {
		switch {
		case len(record) <= max(id, number):
			return "row " + strings.Join(record, ",")
		case number < 0:
			return record[id]
		}
		return record[id] + "/" + record[number]
	}
	inFile := map[string][]string{}
	for _, record := range got {
		inFile[name(record)] = record
	}
	var found []Difference
	for _, record := range want {
		there, ok := inFile[name(record)]
		delete(inFile, name(record))
		if !ok {
			found = append(found, Difference{file, what + " " + name(record) + " is issued and not in the file"})
			continue
		}
		for i, column := range columns {
			if i < len(there) && there[i] != record[i] {
				found = append(found, Difference{file,
					fmt.Sprintf("%s %s has %s %q, and issued is %q", what, name(record), column, there[i], record[i])})
			}
		}
	}
	for _, record := range got {
		if _, left := inFile[name(record)]; left {
			found = append(found, Difference{file, what + " " + name(record) + " is not issued"})
			delete(inFile, name(record))
		}
	}
	if len(found) == 0 && len(got) != len(want) {
		found = append(found, Difference{file,
			fmt.Sprintf("%d %ss, and issued are %d: some are there twice", len(got)-1, what, len(want)-1)})
	}
	return found, nil
}
