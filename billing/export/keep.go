package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keep refuses to replace a directory of issued files by one that says anything else of an invoice which is there
// already: it may have been sent (R20). Invoices may be added, and so may files, members of invoices.json and cells of
// [laterColumns], that an invoice could not have before.
func keep(there, instead string) error {
	refuse := func(invoice, file, how string) error {
		return fmt.Errorf("%s has invoice %s already, and %s %s now; what has been sent must not change, so nothing was "+
			"written: write to another directory, compare the two, and find out what changed "+
			"(the tables of invoices, the seller, or the program)", there, invoice, file, how)
	}
	for _, of := range []struct {
		file string
		read func(path string) (map[string]any, error)
	}{{"lines.csv", rowsByInvoice}, {"invoices.csv", rowsByInvoice}, {"invoices.json", entriesByInvoice}} {
		old, err := of.read(filepath.Join(there, of.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s cannot be compared with what would replace it: %w; move the directory away",
				filepath.Join(there, of.file), err)
		}
		next, err := of.read(filepath.Join(instead, of.file))
		if err != nil {
			return err
		}
		for _, invoice := range sortedKeys(old) {
			if _, ok := next[invoice]; !ok {
				return refuse(invoice, of.file, "does not have it")
			}
			if !extends(old[invoice], next[invoice]) {
				return refuse(invoice, of.file, "says something else of it")
			}
		}
	}
	for _, format := range perInvoice {
		files, err := os.ReadDir(filepath.Join(there, format.folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, f := range files {
			name := filepath.Join(format.folder, f.Name())
			same, err := sameContent(filepath.Join(there, name), filepath.Join(instead, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err == nil && !same {
				return refuse(strings.TrimSuffix(f.Name(), format.extension), filepath.ToSlash(name), "is another")
			}
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// laterColumns are empty until it is said whom to bill.
var laterColumns = []string{"tax_category", "tax_rate", "due_date", "tax", "gross", "buyer_name", "buyer_vat_id",
	"reference"}

// rowsByInvoice returns the rows of a CSV file by their invoice, each by its columns.
func rowsByInvoice(path string) (map[string]any, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	column := slices.Index(rows[0], "invoice_id")
	lines := map[string]any{}
	for _, row := range rows[1:] {
		if column < 0 {
			return nil, errors.New("it has no column invoice_id")
		}
		var of []any
		if before, ok := lines[row[column]]; ok {
			of = before.([]any)
		}
		cells := map[string]any{}
		for n, cell := range row {
			if name := rows[0][n]; cell != "" || !slices.Contains(laterColumns, name) {
				cells[name] = cell
			}
		}
		lines[row[column]] = append(of, cells)
	}
	return lines, nil
}

// entriesByInvoice returns the entries of an invoices.json by their invoice.
func entriesByInvoice(path string) (map[string]any, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var document struct {
		Invoices []json.RawMessage `json:"invoices"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	entries := map[string]any{}
	for _, raw := range document.Invoices {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		var entry map[string]any
		if err := decoder.Decode(&entry); err != nil {
			return nil, err
		}
		entries[fmt.Sprint(entry["invoiceId"])] = entry
	}
	return entries, nil
}

// extends reports whether a value of JSON is another one, but for members that the other did not have.
func extends(old, next any) bool {
	switch old := old.(type) {
	case map[string]any:
		with, ok := next.(map[string]any)
		for key, value := range old {
			member, has := with[key]
			ok = ok && has && extends(value, member)
		}
		return ok
	case []any:
		with, ok := next.([]any)
		ok = ok && len(with) == len(old)
		for i := 0; ok && i < len(old); i++ {
			ok = extends(old[i], with[i])
		}
		return ok
	}
	return old == next
}
