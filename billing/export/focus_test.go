package export

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"apportion/billing"
)

// focusRows writes focus.csv and reads it back.
func focusRows(t *testing.T, run *billing.Run) []map[string]string {
	t.Helper()
	return rowsOf(t, FocusCSV, run)
}

// TestFocus compares with the file that was given to the FOCUS validator, version 2.2.1 with its model 1.2.0.1.
func TestFocus(t *testing.T) {
	golden(t, "testdata/focus.csv", func(b *bytes.Buffer) error { return FocusCSV(b, monthRun()) })
	draft := monthRun()
	draft.Draft = true
	golden(t, "testdata/focus.draft.csv", func(b *bytes.Buffer) error { return FocusCSV(b, draft) })
}

// TestFocusModel holds the rows to what the model 1.2.0.1 demands of these columns.
func TestFocusModel(t *testing.T) {
	dateTime := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	numeric := regexp.MustCompile(`^-?\d+\.\d+$`)
	unit := regexp.MustCompile(`^(Seat|Port|Unit)(s|-Months)$`)
	for _, run := range []*billing.Run{monthRun(), issued()} {
		for n, row := range focusRows(t, run) {
			for name, value := range row {
				if value == "" && !slices.Contains([]string{"ChargeClass", "CommitmentDiscountStatus", "ContractedUnitPrice", "x_PeakAt", "x_EntitledQuantity", "x_Corrects"}, name) {
					t.Errorf("row %d: %s is null", n, name)
				}
				must := regexp.MustCompile(``)
				switch {
				case strings.HasSuffix(name, "PeriodStart"), strings.HasSuffix(name, "PeriodEnd"):
					must = dateTime
				case strings.HasSuffix(name, "Cost"), strings.HasSuffix(name, "Quantity") && value != "", name == "ContractedUnitPrice" && value != "":
					must = numeric
				case strings.HasSuffix(name, "Unit"):
					must = unit
				}
				if !must.MatchString(value) {
					t.Errorf("row %d: %s is %q", n, name, value)
				}
			}
			if row["ChargePeriodStart"] >= row["ChargePeriodEnd"] || row["BillingPeriodStart"] >= row["BillingPeriodEnd"] {
				t.Errorf("row %d: a period ends before it starts: %v", n, row)
			}
			if row["ChargeClass"] == "Correction" {
				if row["ContractedUnitPrice"] != "" || row["x_Corrects"] == "" {
					t.Errorf("row %d: a correction with a price, or of nothing: %v", n, row)
				}
				continue
			}
			if row["ChargeClass"] != "" || row["ChargeCategory"] != "Usage" {
				t.Errorf("row %d: class %q of category %q", n, row["ChargeClass"], row["ChargeCategory"])
			}
			if unitPrice := dec(row["ContractedUnitPrice"]); unitPrice.IsNegative() || !unitPrice.Mul(dec(row["PricingQuantity"])).Equal(dec(row["ContractedCost"])) {
				t.Errorf("row %d: %s × %s is not %s", n, row["ContractedUnitPrice"], row["PricingQuantity"], row["ContractedCost"])
			}
		}
	}
}

// TestFocusCosts: the cost before rounding is within half a minor unit of what is billed, part of a month or not.
func TestFocusCosts(t *testing.T) {
	run := monthRun()
	rows := focusRows(t, run)
	for _, i := range run.Invoices {
		half := dec("0.5").Shift(-i.MinorUnits)
		for _, l := range i.Lines {
			row := rows[0]
			rows = rows[1:]
			if off := dec(row["ContractedCost"]).Sub(dec(row["BilledCost"])).Abs(); off.GreaterThan(half) || row["BilledCost"] != pointed(i.Money(l.Amount)) {
				t.Errorf("%s/%d: %s billed for a cost of %s", i.ID, l.No, row["BilledCost"], row["ContractedCost"])
			}
		}
	}
}

// TestFocusPeriods: dates are instants of the tenant's zone, with summer time on one side of the month only.
func TestFocusPeriods(t *testing.T) {
	rows := focusRows(t, monthRun())
	if got := rows[0]["BillingPeriodStart"] + " " + rows[0]["BillingPeriodEnd"]; got != "2026-09-30T22:00:00Z 2026-10-31T23:00:00Z" {
		t.Errorf("October in Stockholm is %s", got)
	}
	if got := rows[1]["ChargePeriodStart"] + " " + rows[1]["ChargePeriodEnd"]; got != "2026-09-30T22:00:00Z 2026-10-10T22:00:00Z" {
		t.Errorf("its first ten days are %s", got)
	}
	if got := rows[5]["ChargePeriodStart"] + " " + rows[5]["ChargePeriodEnd"]; got != "2026-08-31T22:00:00Z 2026-09-30T22:00:00Z" {
		t.Errorf("an adjustment of September is for %s", got)
	}
}

// TestFocusNames: a name that a spreadsheet would run is guarded, and a negative amount is still a number.
func TestFocusNames(t *testing.T) {
	rows := focusRows(t, monthRun())
	if got := rows[7]["SubAccountName"]; got != "'=HYPERLINK(1)" {
		t.Errorf("a name that begins like a formula is written %q", got)
	}
	if got := rows[5]["BilledCost"]; got != "-1100.00" {
		t.Errorf("a credit is written %q", got)
	}
	for name, want := range map[string]string{"": "", "Acme": "Acme", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "a=b": "a=b", "å": "å"} {
		if got := Guard(name); got != want {
			t.Errorf("%q is guarded as %q, want %q", name, got, want)
		}
	}
}

func TestFocusNeedsASeller(t *testing.T) {
	var refusal *Refusal
	if err := FocusCSV(&bytes.Buffer{}, sentBy(monthRun(), billing.Seller{Name: " "})); !errors.As(err, &refusal) || refusal.Code != "missing_seller" || refusal.Field != "seller.name" {
		t.Errorf("%v, want missing_seller", err)
	}
}

// TestFocusValidator gives the files to the FOCUS validator where FOCUS_PYTHON names a Python that has it:
// pip install focus-validator==2.2.1 'pyarrow<20', for Python 3.12.
func TestFocusValidator(t *testing.T) {
	python := os.Getenv("FOCUS_PYTHON")
	if python == "" {
		t.Skip("FOCUS_PYTHON names no Python with focus-validator")
	}
	// A month of whole numbers as well, which are decimals all the same.
	whole := monthRun()
	whole.Invoices = whole.Invoices[3:]
	draft := taxedMonth()
	draft.Draft = true
	runs := map[string]*billing.Run{"a month": monthRun(), "whole numbers": whole, "a month with taxes": taxedMonth(),
		"a draft": draft}
	rules := t.TempDir()
	unpack(t, "testdata/focus/model-1.4.json.gz", filepath.Join(rules, "model-1.4.json"))
	for name, run := range runs {
		for _, dataset := range []struct {
			name      string
			write     func(io.Writer, *billing.Run) error
			arguments []string
			// mistaken are the rules that the validator counts as failed where they hold.
			mistaken []string
		}{
			// InvoiceId is null on charges without an invoice, or else not null: the validator counts the first of the
			// two as failed even where the rule that has both holds.
			{"focus.csv", FocusCSV, []string{"--validate-version", "1.2", "--applicability-criteria",
				"SUB_ACCOUNT_SUPPORTED,NEGOTIATED_PRICING_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED,ACCOUNT_NAMING_SUPPORTED"},
				[]string{"InvoiceId-C-004-C"}},
			{invoiceDetailCSV, InvoiceDetailCSV, []string{"--validate-version", "1.4", "--rule-set-path", rules,
				"--focus-dataset", "InvoiceDetail", "--applicability-criteria", "ALL"}, nil},
			{billingPeriodCSV, BillingPeriodCSV, []string{"--validate-version", "1.4", "--rule-set-path", rules,
				"--focus-dataset", "BillingPeriod", "--applicability-criteria", "ALL"}, nil},
		} {
			var content bytes.Buffer
			if err := dataset.write(&content, run); err != nil {
				t.Fatal(err)
			}
			passed, failed := focusRules(t, python, content.Bytes(), dataset.arguments...)
			if passed < 20 {
				t.Errorf("%s of %s: only %d rules passed", dataset.name, name, passed)
			}
			for _, f := range failed {
				if !slices.Contains(dataset.mistaken, f.rule) {
					t.Errorf("%s of %s: %s", dataset.name, name, f.line)
				}
			}
		}
	}
}

// TestFocusValidatorFindsMistakes damages good files in ways that the test above must not miss.
func TestFocusValidatorFindsMistakes(t *testing.T) {
	python := os.Getenv("FOCUS_PYTHON")
	if python == "" {
		t.Skip("FOCUS_PYTHON names no Python with focus-validator")
	}
	rules := t.TempDir()
	unpack(t, "testdata/focus/model-1.4.json.gz", filepath.Join(rules, "model-1.4.json"))
	for rule, m := range map[string]struct {
		dataset, from, to string
		write             func(io.Writer, *billing.Run) error
	}{
		"IND-PaymentTerms-C-003-M":        {"InvoiceDetail", "Net 30", "", InvoiceDetailCSV},
		"IND-InvoiceIssueStatus-C-004-M":  {"InvoiceDetail", "Issued", "Sent", InvoiceDetailCSV},
		"IND-BillingCurrency-C-006-M":     {"InvoiceDetail", "SEK", "SEX", InvoiceDetailCSV},
		"BIP-BillingPeriod-D-008-M":       {"BillingPeriod", "BillingPeriodStatus", "Status", BillingPeriodCSV},
		"BIP-BillingPeriodStatus-C-003-M": {"BillingPeriod", "Closed", "Shut", BillingPeriodCSV},
	} {
		var content bytes.Buffer
		if err := m.write(&content, taxedMonth()); err != nil {
			t.Fatal(err)
		}
		_, failed := focusRules(t, python, bytes.ReplaceAll(content.Bytes(), []byte(m.from), []byte(m.to)),
			"--validate-version", "1.4", "--rule-set-path", rules, "--focus-dataset", m.dataset,
			"--applicability-criteria", "ALL")
		if !slices.ContainsFunc(failed, func(f failedRule) bool { return f.rule == rule }) {
			t.Errorf("%s was not found, but %v", rule, failed)
		}
	}
}

type failedRule struct{ rule, line string }

// focusRules returns how many rules a file passes, and which it fails.
func focusRules(t *testing.T, python string, content []byte, arguments ...string) (passed int, failed []failedRule) {
	t.Helper()
	where := exec.Command(python, "-c", "import focus_validator, os; print(os.path.dirname(os.path.dirname(focus_validator.__file__)))")
	folder, err := where.Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "focus.csv")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	validator := exec.Command(python, append([]string{"-m", "focus_validator.main", "--data-file", path, "--block-download"}, arguments...)...)
	validator.Dir = strings.TrimSpace(string(folder)) // it looks for its currencies from there
	out, err := validator.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Validation Results")) {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range regexp.MustCompile(`(?m)^\S+ (\S+): FAIL.*$`).FindAllStringSubmatch(string(out), -1) {
		failed = append(failed, failedRule{line[1], line[0]})
	}
	return len(regexp.MustCompile(`(?m)^\S+ \S+: PASS`).FindAll(out, -1)), failed
}

// unpack decompresses a file.
func unpack(t *testing.T, from, to string) {
	t.Helper()
	packed, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	content, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
