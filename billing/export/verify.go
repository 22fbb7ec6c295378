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
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; write the files of the period again", filepath.Join(dir, ManifestName), err)
	}
	return &m, nil
}

// Verify returns every difference between a directory and its manifest: files that are missing, changed or more than
// there should be, and control totals that lines.csv does not come to.
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
			found = append(found, Difference{want.Path, "changed: its SHA-256 is " + got.SHA256 + ", and the manifest says " + want.SHA256})
		}
	}
	for _, path := range there {
		if !named[path] {
			found = append(found, Difference{path, "not in the manifest"})
		}
	}
	if slices.Contains(there, "lines.csv") {
		found = append(found, m.verifyTotals(filepath.Join(dir, "lines.csv"))...)
	}
	return found, nil
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

// verifyTotals adds lines.csv up and compares.
func (m *Manifest) verifyTotals(path string) []Difference {
	f, err := os.Open(path)
	if err != nil {
		return []Difference{{"lines.csv", err.Error()}}
	}
	defer f.Close()
	sums := tally{}
	in := csv.NewReader(f)
	in.ReuseRecord = true
	for n := 1; ; n++ {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && n == 1 && !slices.Equal(record, linesColumns) {
			err = fmt.Errorf("the header is not %s", strings.Join(linesColumns, ","))
		}
		if err != nil {
			return []Difference{{"lines.csv", "cannot be read: " + err.Error()}}
		}
		if n == 1 {
			continue
		}
		amount, err := decimal.NewFromString(record[10])
		if err != nil {
			return []Difference{{"lines.csv", fmt.Sprintf("row %d has the amount %q", n, record[10])}}
		}
		sums.add(record[11], record[3], amount, -amount.Exponent())
	}
	var found []Difference
	got, want := sums.totals(), m.Totals
	for len(got)+len(want) > 0 {
		switch {
		case len(want) == 0 || len(got) > 0 && got[0].Currency < want[0].Currency:
			found = append(found, Difference{"lines.csv", "comes to " + got[0].String() + ", and the manifest has nothing in " + got[0].Currency})
			got = got[1:]
		case len(got) == 0 || want[0].Currency < got[0].Currency:
			found = append(found, Difference{"lines.csv", "has nothing in " + want[0].Currency + ", and the manifest says " + want[0].String()})
			want = want[1:]
		default:
			if got[0] != want[0] {
				found = append(found, Difference{"lines.csv", "comes to " + got[0].String() + ", and the manifest says " + want[0].String()})
			}
			got, want = got[1:], want[1:]
		}
	}
	return found
}

// String says what a total is.
func (t Total) String() string {
	return fmt.Sprintf("%s %s (invoices: %d, lines: %d)", t.Amount, t.Currency, t.Invoices, t.Lines)
}

// VerifyLines returns every difference between lines.csv of a directory and the invoices of a run: lines that are
// missing, changed or more than there should be.
func VerifyLines(dir string, run *billing.Run) ([]Difference, error) {
	f, err := os.Open(filepath.Join(dir, "lines.csv"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // which the manifest tells
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	got, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return []Difference{{"lines.csv", "cannot be read: " + err.Error()}}, nil
	}
	var issued bytes.Buffer
	if err := LinesCSV(&issued, run); err != nil {
		return nil, err
	}
	want, err := csv.NewReader(&issued).ReadAll()
	if err != nil {
		return nil, err
	}
	name := func(record []string) string {
		if len(record) < 5 {
			return "row " + strings.Join(record, ",")
		}
		return record[3] + "/" + record[4]
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
			found = append(found, Difference{"lines.csv", "line " + name(record) + " is issued and not in the file"})
			continue
		}
		for i, column := range linesColumns {
			if i < len(there) && there[i] != record[i] {
				found = append(found, Difference{"lines.csv", fmt.Sprintf("line %s has %s %q, and issued is %q", name(record), column, there[i], record[i])})
			}
		}
	}
	for _, record := range got {
		if _, left := inFile[name(record)]; left {
			found = append(found, Difference{"lines.csv", "line " + name(record) + " is not issued"})
			delete(inFile, name(record))
		}
	}
	if len(found) == 0 && len(got) != len(want) {
		found = append(found, Difference{"lines.csv", fmt.Sprintf("%d lines, and issued are %d: some are there twice", len(got)-1, len(want)-1)})
	}
	return found, nil
}
