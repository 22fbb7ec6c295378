package export

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

// issued is a run of the sample, of which acme's have item codes and taxes (R26).
func issued() *billing.Run {
	run := &billing.Run{Period: civil.NewMonth(2026, 10), Invoices: sample(), Accounts: accounts()}
	a := run.Accounts["acme"]
	a.Tenant.BillTo.Tax = registry.Taxes{{From: civil.NoDate, Category: "S", Rate: dec("12.50")}, {From: run.Period.First(), Category: "S", Rate: dec("25")}}
	a.ItemCodes = billing.ItemCodes{"overage": "4000", "overage.agent_standard": "4711", "connect": "Övrigt \"tal\""}
	run.Accounts["acme"] = a
	return run
}

func write(t *testing.T, dir string, run *billing.Run) string {
	t.Helper()
	plainly(t)
	made, refusals, err := Write(dir, run)
	if err != nil {
		t.Fatal(err)
	}
	if len(refusals) > 0 {
		t.Errorf("refused: %v", refusals)
	}
	return made
}

// all is what the directory of a period has.
var all = []string{"focus-1.4", "focus.csv", "invoices.csv", "invoices.json", "invoices.xlsx", "lines.csv", "manifest.json", "pdf", "ubl"}

// entries returns the names in a directory, those that are hidden too.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("left behind"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := entries(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s has %q, want %q", filepath.Base(dir), got, want)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "invoices")
	draft := issued()
	draft.Draft = true
	if made := write(t, dir, issued()); made != filepath.Join(dir, "2026-10") {
		t.Errorf("wrote to %s", made)
	}
	if made := write(t, dir, draft); made != filepath.Join(dir, "2026-10.draft") {
		t.Errorf("wrote the draft to %s", made)
	}
	wantEntries(t, dir, "2026-10", "2026-10.draft")
	wantEntries(t, filepath.Join(dir, "2026-10"), all...)
	if got := read(t, filepath.Join(dir, "2026-10", "lines.csv")); got != read(t, "testdata/lines.csv") {
		t.Errorf("issued lines:\n%s", got)
	}
	if got := read(t, filepath.Join(dir, "2026-10.draft", "lines.csv")); got != read(t, "testdata/lines.draft.csv") {
		t.Errorf("lines of the draft:\n%s", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "2026-10")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v; want a directory that others can read", info.Mode(), err)
	}
}

// TestWriteTheSameAgain: the directory stays as it is, down to the file on disk (R20).
func TestWriteTheSameAgain(t *testing.T) {
	dir := t.TempDir()
	before, err := os.Stat(write(t, dir, issued()))
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(write(t, dir, issued()))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the directory was made again")
	}
	wantEntries(t, dir, "2026-10")
}

// TestWriteOtherContent: the directory is replaced whole, so nothing of the old one stays.
func TestWriteOtherContent(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, made string){
		"other lines": func(t *testing.T, made string) { put(t, filepath.Join(made, "lines.csv")) },
		"a file more": func(t *testing.T, made string) { put(t, filepath.Join(made, "other.csv")) },
		"a file less": func(t *testing.T, made string) { os.Remove(filepath.Join(made, "lines.csv")) },
		"another's name": func(t *testing.T, made string) {
			os.Rename(filepath.Join(made, "lines.csv"), filepath.Join(made, "rows.csv"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			change(t, write(t, dir, issued()))
			made := write(t, dir, issued())
			wantEntries(t, dir, "2026-10")
			wantEntries(t, made, all...)
			if got := read(t, filepath.Join(made, "lines.csv")); got != read(t, "testdata/lines.csv") {
				t.Errorf("lines:\n%s", got)
			}
		})
	}
}

// TestWriteKeepsWhatMayHaveBeenSent: other bytes of an invoice that is there are refused, more invoices are not (R20).
func TestWriteKeepsWhatMayHaveBeenSent(t *testing.T) {
	id := issued().Invoices[0].ID
	for _, c := range []struct{ name, file, want string }{
		{"another line", "lines.csv", "invoice " + id + " already, and lines.csv says something else"},
		{"another entry", "invoices.json", "invoice " + id + " already, and invoices.json says something else"},
		{"another PDF", "pdf/" + id + ".pdf", "invoice " + id + " already, and pdf/" + id + ".pdf is another"},
		{"one that is not issued", "fewer", "already, and lines.csv does not have it"},
		{"one more", "more", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			run := issued()
			if c.file == "more" {
				run.Invoices = run.Invoices[:len(run.Invoices)-1]
			}
			made := write(t, dir, run)
			again := issued()
			switch path := filepath.Join(made, c.file); c.file {
			case "more":
			case "fewer":
				again.Invoices = again.Invoices[:len(again.Invoices)-1]
			default:
				// Another number somewhere in what is there of the first invoice.
				changed := strings.Replace(read(t, path), issued().Invoices[0].Lines[0].Note, "another note", 1)
				if strings.HasSuffix(path, ".pdf") {
					changed = read(t, path) + "\n"
				}
				if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before := read(t, filepath.Join(made, ManifestName))
			_, _, err := Write(dir, again)
			if c.want == "" {
				if err != nil || read(t, filepath.Join(made, "lines.csv")) != read(t, "testdata/lines.csv") {
					t.Errorf("%v, want all invoices there", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), made) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %s and %q", err, made, c.want)
			}
			if read(t, filepath.Join(made, ManifestName)) != before {
				t.Error("the files that were there have changed")
			}
			wantEntries(t, dir, "2026-10")
		})
	}
}

// TestWriteWhatWasNotThereYet: taxes can follow an invoice that was issued to nobody, and no other cell can (R20).
func TestWriteWhatWasNotThereYet(t *testing.T) {
	dir, run := t.TempDir(), issued()
	billTo := run.Accounts["acme"].Tenant.BillTo
	run.Accounts["acme"].Tenant.BillTo = nil
	plainly(t)
	if _, _, err := Write(dir, run); err != nil {
		t.Fatal(err)
	}
	run.Accounts["acme"].Tenant.BillTo = billTo
	made := write(t, dir, run)
	if got := read(t, filepath.Join(made, "lines.csv")); got != read(t, "testdata/lines.csv") {
		t.Errorf("lines:\n%s", got)
	}
	a := run.Accounts["acme"]
	a.ItemCodes = billing.ItemCodes{"commitment": "1", "overage": "4711", "connect": a.ItemCodes["connect"]}
	run.Accounts["acme"] = a
	if _, _, err := Write(dir, run); err == nil || !strings.Contains(err.Error(), "lines.csv says something else") {
		t.Errorf("a code that was not there: %v", err)
	}
}

// TestWriteAfterOneThatWasKilled: what it left is cleared away, wherever it stopped; what other periods have is not.
func TestWriteAfterOneThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, ".2026-10.new-1", "lines.csv"))     // killed while it wrote
	put(t, filepath.Join(dir, ".2026-10.new-2", "lines.csv"))     // killed between the two renames
	put(t, filepath.Join(dir, ".2026-10.new-2.old", "lines.csv")) // what had been there until then
	put(t, filepath.Join(dir, ".2026-10.draft.new-3", "lines.csv"))
	put(t, filepath.Join(dir, ".2026-11.new-4", "lines.csv"))
	put(t, filepath.Join(dir, "2026-09", "lines.csv"))
	made := write(t, dir, issued())
	wantEntries(t, dir, ".2026-10.draft.new-3", ".2026-11.new-4", "2026-09", "2026-10")
	if got := read(t, filepath.Join(made, "lines.csv")); got != read(t, "testdata/lines.csv") {
		t.Errorf("lines:\n%s", got)
	}
}

func TestWriteWhereItCannot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	put(t, file)
	if _, _, err := Write(file, issued()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v, want an error that names %s", err, file)
	}
	// A file in the place of the directory is no invoice of ours, so it is not thrown away without a word.
	dir := t.TempDir()
	put(t, filepath.Join(dir, "2026-10"))
	if _, _, err := Write(dir, issued()); err == nil {
		t.Error("a file was taken for the directory")
	}
	wantEntries(t, dir, "2026-10")
}

// TestWriteWithoutAnAccount: what a file would have to guess is an error.
func TestWriteWithoutAnAccount(t *testing.T) {
	for name, change := range map[string]func(run *billing.Run){
		"none":      func(run *billing.Run) { delete(run.Accounts, "beta") },
		"no tenant": func(run *billing.Run) { run.Accounts["other"] = billing.Account{} },
	} {
		dir, run := t.TempDir(), issued()
		change(run)
		if _, _, err := Write(dir, run); err == nil {
			t.Errorf("%s: no error", name)
		}
		wantEntries(t, dir)
	}
}

// TestWriteThatFails: an error that is no refusal leaves nothing, and what was there as it was.
func TestWriteThatFails(t *testing.T) {
	dir := t.TempDir()
	made := write(t, dir, issued())
	before := read(t, filepath.Join(made, ManifestName))
	plainly(t)
	perInvoice[1].write = func(io.Writer, billing.Invoice, billing.Account, bool) error { return errors.New("no room") }
	if _, _, err := Write(dir, issued()); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v, want the error", err)
	}
	wantEntries(t, dir, "2026-10")
	if read(t, filepath.Join(made, ManifestName)) != before {
		t.Error("the files that were there have changed")
	}
}

// TestWriteAtOnce: of runs that write one period to one directory each returns it whole.
func TestWriteAtOnce(t *testing.T) {
	dir := t.TempDir()
	plainly(t)
	var writers errgroup.Group
	for range 8 {
		writers.Go(func() error {
			made, _, err := Write(dir, issued())
			if err != nil {
				return err
			}
			m, err := ReadManifest(made)
			if err != nil {
				return err
			}
			found, err := m.Verify(made)
			if err == nil && len(found) > 0 {
				err = fmt.Errorf("%v", found)
			}
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		t.Error(err)
	}
	wantEntries(t, dir, "2026-10")
}
