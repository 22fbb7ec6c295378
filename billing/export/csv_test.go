package export

import (
	"bytes"
	"encoding/csv"
	"flag"
	"os"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/billing"
	"apportion/schemas/civil"
)

var update = flag.Bool("update", false, "rewrite the files of testdata that tests compare with")

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func price(s string) decimal.NullDecimal { return decimal.NewNullDecimal(dec(s)) }

// sample has a line of each kind, two currencies, and everything that CSV could get wrong.
func sample() []billing.Invoice {
	october := civil.NewMonth(2026, 10)
	from, to := october.First(), october.Next().First()
	const peak = 1791966667_000 // 2026-10-14T08:31:07Z
	line := func(no int, kind billing.Kind, meter, quantity, unit string, unitPrice decimal.NullDecimal, amount string, peakMS int64, corrects, note string) billing.Line {
		return billing.Line{No: no, Kind: kind, Meter: meter, Quantity: dec(quantity), Unit: unit, UnitPrice: unitPrice, Amount: dec(amount),
			From: from, To: to, PeakMS: peakMS, Corrects: corrects, Note: note}
	}
	none := decimal.NullDecimal{}
	return []billing.Invoice{
		{ID: "INV-Sub1-202610", Tenant: "acme", Subscription: "Sub1", Period: october, Currency: "SEK", MinorUnits: 2, Total: dec("10105.6"), Lines: []billing.Line{
			line(1, billing.Commitment, "agent_standard", "10", "seat", price("900.00"), "9000", billing.NoInstant, "", "R18: 10 committed at 900 a month, active on 31 of 31 days"),
			line(2, billing.UsageKind, "agent_standard", "11", "seat", none, "0", peak, "", `R18: "own" sessions, for information`),
			line(3, billing.Connect, "connect.sms", "13.560000", "unit", price("0.450000"), "6.1", billing.NoInstant, "", "R11"),
			line(4, billing.Overage, "agent_standard", "1", "seat", price("1.1e3"), "1100", peak, "", "R15: 11 live at once, 10 entitled"),
			line(5, billing.Adjustment, "agent_standard", "-1", "seat", none, "-0.5", billing.NoInstant, "INV-Sub1-202609/3", "R21"),
		}},
		{ID: "INV-Sub2-202610", Tenant: "acme", Subscription: "Sub2", Period: october, Currency: "KWD", MinorUnits: 3, Total: dec("0"), Lines: []billing.Line{
			line(1, billing.Connect, "connect.rcs_2", "0.000001", "unit", price("1"), "0", billing.NoInstant, "", " Övrigt, på svenska "),
		}},
		{ID: "INV-Yen-202610", Tenant: "beta", Subscription: "Yen", Period: october, Currency: "JPY", MinorUnits: 0, Total: dec("1e6"), Lines: []billing.Line{
			line(1, billing.Connect, "connect.sms", "1e6", "unit", price("1"), "1e6", billing.NoInstant, "", ""),
		}},
	}
}

// golden compares what is written with a file.
func golden(t *testing.T, path string, write func(*bytes.Buffer) error) {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, &got, want)
	}
}

// TestLinesCSV compares with the files that finance's import was made for.
func TestLinesCSV(t *testing.T) {
	for path, draft := range map[string]bool{"testdata/lines.csv": false, "testdata/lines.draft.csv": true} {
		run := issued()
		run.Draft = draft
		golden(t, path, func(b *bytes.Buffer) error { return LinesCSV(b, run) })
	}
}

// TestInvoicesCSV compares with what was computed by hand; what one buyer's document does not say is empty.
func TestInvoicesCSV(t *testing.T) {
	for path, draft := range map[string]bool{"testdata/invoices.csv": false, "testdata/invoices.draft.csv": true} {
		run := taxedMonth()
		run.Draft = draft
		acme, days := run.Accounts["acme"].Tenant.BillTo, int64(10)
		acme.Name, acme.VATID, acme.Reference, acme.TermsDays = "Acme Inköp, AB", "SE556036079301", " =1+1 ", &days
		run.Accounts["gamma"].Tenant.BillTo = nil
		golden(t, path, func(b *bytes.Buffer) error { return InvoicesCSV(b, run) })
	}
}

// TestLinesCSVReadsBack: what is written is RFC 4180, with as many fields on every line as the header has.
func TestLinesCSVReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := LinesCSV(&b, issued()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 8 || rows[2][16] != `R18: "own" sessions, for information` || rows[6][16] != " Övrigt, på svenska " {
		t.Errorf("%d rows, notes %q and %q", len(rows), rows[2][16], rows[6][16])
	}
}

func TestLinesCSVOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := LinesCSV(&b, &billing.Run{}); err != nil {
		t.Fatal(err)
	}
	const want = "tenant_id,subscription_id,period,invoice_id,line_no,kind,meter,quantity,unit,unit_price,amount,currency,from,to,peak_at,corrects,note,item_code,tax_category,tax_rate\n"
	if b.String() != want {
		t.Errorf("%q, want the header alone", b.String())
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestLinesCSVThatCannotBeWritten(t *testing.T) {
	if err := LinesCSV(full{}, issued()); err == nil {
		t.Error("no error from a file that takes nothing")
	}
}
