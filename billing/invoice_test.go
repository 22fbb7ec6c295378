package billing_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"apportion/billing"
)

// TestInvoiceAsJSON: figures are strings under the names of lines.csv, and what is empty is left out.
func TestInvoiceAsJSON(t *testing.T) {
	invoice := billing.Invoice{
		ID: billing.InvoiceID("Sub1", october), Tenant: "acme", Subscription: "Sub1", Period: october, Currency: "SEK",
		MinorUnits: 2,
		Total:      decimal.RequireFromString("0.5"),
		Lines: []billing.Line{
			{No: 1, Kind: billing.UsageKind, Meter: "ivr_port", Quantity: decimal.NewFromInt(3), Unit: "port",
				From: october.First(), To: october.Next().First(),
				PeakMS: 1791966667_000, Note: "R18"},
			{No: 2, Kind: billing.Connect, Meter: "connect.sms", Quantity: decimal.RequireFromString("1.10"), Unit: "unit",
				UnitPrice: decimal.NewNullDecimal(decimal.RequireFromString("0.45")), Amount: decimal.RequireFromString("0.5"),
				From: october.First(), To: october.Next().First(), PeakMS: billing.NoInstant, Note: "R11"},
		},
	}
	got, err := json.MarshalIndent(invoice, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "invoiceId": "INV-Sub1-202610",
 "tenantId": "acme",
 "subscriptionId": "Sub1",
 "period": "2026-10",
 "currency": "SEK",
 "net": "0.50",
 "lines": [
  {
   "lineNo": 1,
   "kind": "usage",
   "meter": "ivr_port",
   "quantity": "3",
   "unit": "port",
   "amount": "0.00",
   "from": "2026-10-01",
   "to": "2026-11-01",
   "peakAt": "2026-10-14T08:31:07.000Z",
   "note": "R18"
  },
  {
   "lineNo": 2,
   "kind": "connect",
   "meter": "connect.sms",
   "quantity": "1.1",
   "unit": "unit",
   "unitPrice": "0.45",
   "amount": "0.50",
   "from": "2026-10-01",
   "to": "2026-11-01",
   "note": "R11"
  }
 ]
}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestInvoiceIDs are read as they are written, and nothing else is.
func TestInvoiceIDs(t *testing.T) {
	for _, subscription := range []string{"Sub1", "a-b.c_2", "INV-x-202601"} {
		id := billing.InvoiceID(subscription, october)
		want := billing.InvoiceName{Subscription: subscription, Period: october}
		if of, err := billing.ParseInvoiceID(id); err != nil || of != want {
			t.Errorf("%s is of %v: %v", id, of, err)
		}
		if invoice, no, err := billing.ParseLineID(billing.LineID(id, 12)); err != nil || invoice != want || no != 12 {
			t.Errorf("line 12 of %s is %d of %s: %v", id, no, invoice, err)
		}
	}
	for _, id := range []string{"", "Sub1", "INV--202610", "INV-Sub1-202613", "INV-Sub1-20261", "inv-Sub1-202610"} {
		if _, err := billing.ParseInvoiceID(id); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
	for _, id := range []string{"", "INV-Sub1-202610", "INV-Sub1-202610/", "INV-Sub1-202610/0", "INV-Sub1-202610/x",
		"Sub1/1", "INV-Sub1-202613/1"} {
		if _, _, err := billing.ParseLineID(id); err == nil {
			t.Errorf("%q is taken as a line", id)
		}
	}
}

// TestStopSaysWhatToDo: the tenant, the period, the code, the rule, what was found, and what helps.
func TestStopSaysWhatToDo(t *testing.T) {
	b, _, _ := newBiller(t, threeTenants, poorMessage)
	run := issueAt(t, b, yearAfter, "poor")
	if len(run.Stopped) != 1 {
		t.Fatalf("%d stopped", len(run.Stopped))
	}
	const want = "poor 2026-10: missing_price (R19): subscription Poor1, version of 2000-01-01 has no connect price for sms; " +
		"add the price to the registry document, apply it, and bill the tenant again"
	if got := run.Stopped[0].Error(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRulesAreRecorded: as data that another release can read or refuse, and never take for others.
func TestRulesAreRecorded(t *testing.T) {
	rules := billing.DefaultRules()
	rules.OpenSessionHours = 12
	const stored = `{"openSessionHours":12,"ivrPortFactor":2,"graceDays":3}`
	if got := string(rules.JSON()); got != stored {
		t.Errorf("recorded as %s, want %s", got, stored)
	}
	if got, err := billing.ParseRules([]byte(stored)); err != nil || got != rules {
		t.Errorf("read as %+v, %v", got, err)
	}
	for _, other := range []string{`{"openSessionHours":12,"ivrPortFactor":2,"graceDays":3,"poolHours":1}`,
		`"grace 3 days"`, ""} {
		if _, err := billing.ParseRules([]byte(other)); err == nil || !strings.Contains(err.Error(), "another release") {
			t.Errorf("%s is read: %v", other, err)
		}
	}
}

// TestTheHashOfLinesStays what it is, whatever the types of a line become: issued lines are held against it.
func TestTheHashOfLinesStays(t *testing.T) {
	line := billing.Line{
		No: 1, Kind: billing.Overage, Meter: "ivr_port", Quantity: decimal.NewFromInt(3), Unit: "port",
		UnitPrice: decimal.NewNullDecimal(decimal.RequireFromString("1.50")), Amount: decimal.RequireFromString("4.5"),
		From: october.First(), To: october.Next().First(), PeakMS: 1791966667_000, Entitled: 7, Note: "R15",
		Pool: []billing.PoolPoint{{AtMS: 1791966600_000, Live: 10, Entitled: 7}},
	}
	correction := billing.Line{
		No: 2, Kind: billing.Adjustment, Meter: "connect.sms", Quantity: decimal.NewFromInt(-1), Unit: "unit",
		Amount: decimal.NewFromInt(-2),
		From:   october.First(), To: october.Next().First(), PeakMS: billing.NoInstant, Corrects: "INV-Sub1-202609/3",
		CorrectsKind: billing.Connect,
	}
	hash, lines := billing.HashLines([]billing.Invoice{{ID: "INV-Sub1-202610", Subscription: "Sub1", Currency: "SEK",
		Lines: []billing.Line{line, correction}}})
	const want = "9fa0276a96cea3164c0335b9e8cdfa9f1e7c4b11f107cac7c1422a1b3a7a45af"
	if hash != want || lines != 2 {
		t.Errorf("%s of %d lines, want %s", hash, lines, want)
	}
}
