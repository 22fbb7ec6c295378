package export

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/billing"
)

// TestFocus14 compares with files that the FOCUS validator passed with the model 1.4.
func TestFocus14(t *testing.T) {
	issued, draft := taxedMonth(), taxedMonth()
	days := int64(0)
	acme := issued.Accounts["acme"].Tenant.BillTo
	acme.Reference, acme.TermsDays = " PO-1", &days
	issued.Accounts["gamma"].Tenant.BillTo = nil
	draft.Draft = true
	for path, run := range map[string]*billing.Run{"": issued, ".draft": draft} {
		golden(t, "testdata/focus/invoice_detail"+path+".csv", func(b *bytes.Buffer) error { return InvoiceDetailCSV(b, run) })
		golden(t, "testdata/focus/billing_period"+path+".csv", func(b *bytes.Buffer) error { return BillingPeriodCSV(b, run) })
	}
}

// TestInvoiceDetailAddsUp holds what no single row shows: costs but taxes are those of focus.csv, all of an invoice is
// what is to be paid, and a row is identified by its id, and by its grain, in its invoice.
func TestInvoiceDetailAddsUp(t *testing.T) {
	run := taxedMonth()
	charged, gross := map[string]decimal.Decimal{}, map[string]decimal.Decimal{}
	seen := map[string]bool{}
	for n, row := range rowsOf(t, InvoiceDetailCSV, run) {
		invoice, cost := row["InvoiceId"], dec(row["BilledCost"])
		if row["ChargeCategory"] != "Tax" {
			charged[invoice] = charged[invoice].Add(cost)
		}
		gross[invoice] = gross[invoice].Add(cost)
		for _, column := range []string{"InvoiceDetailId", "InvoiceDetailGrain"} {
			if key := invoice + " " + row[column]; seen[key] {
				t.Errorf("row %d: %s is there twice: %s", n, column, key)
			} else {
				seen[key] = true
			}
		}
	}
	want := map[string]decimal.Decimal{}
	for _, row := range focusRows(t, run) {
		want[row["InvoiceId"]] = want[row["InvoiceId"]].Add(dec(row["BilledCost"]))
	}
	for _, i := range run.Invoices {
		_, _, payable := run.Accounts[i.Tenant].Taxes(i)
		if !charged[i.ID].Equal(want[i.ID]) || !charged[i.ID].Equal(i.Total) || !gross[i.ID].Equal(payable) {
			t.Errorf("%s: %s charged and %s with taxes, want %s and %s", i.ID, charged[i.ID], gross[i.ID], want[i.ID], payable)
		}
	}
	if len(charged) != len(run.Invoices) {
		t.Errorf("%d invoices, want %d", len(charged), len(run.Invoices))
	}
}

// TestBillingPeriodOfZones: a month is another period in another zone.
func TestBillingPeriodOfZones(t *testing.T) {
	var starts []string
	for _, row := range rowsOf(t, BillingPeriodCSV, monthRun()) {
		starts = append(starts, row["BillingPeriodStart"])
	}
	if want := []string{"2026-09-30T15:00:00Z", "2026-09-30T22:00:00Z", "2026-10-01T04:00:00Z"}; len(starts) != 3 ||
		starts[0] != want[0] || starts[1] != want[1] || starts[2] != want[2] {
		t.Errorf("October in Tokyo, Stockholm and New York starts at %v, want %v", starts, want)
	}
}

func TestFocus14NeedsASeller(t *testing.T) {
	for file, write := range map[string]func(io.Writer, *billing.Run) error{
		"focus-1.4/invoice_detail.csv": InvoiceDetailCSV, "focus-1.4/billing_period.csv": BillingPeriodCSV,
	} {
		var refusal *Refusal
		if err := write(io.Discard, sentBy(monthRun(), billing.Seller{Name: " "})); !errors.As(err, &refusal) ||
			refusal.File != file || refusal.Code != "missing_seller" || refusal.Field != "seller.name" {
			t.Errorf("%s: %v, want missing_seller", file, err)
		}
	}
}

// rowsOf writes a CSV file and reads it back, a map of the columns a row.
func rowsOf(t *testing.T, write func(io.Writer, *billing.Run) error, run *billing.Run) []map[string]string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, run); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, name := range records[0] {
			row[name] = record[i]
		}
		rows = append(rows, row)
	}
	return rows
}
