package export

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"apportion/billing"
	"apportion/billing/registry"
	"apportion/schemas/civil"
)

func invoicesSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("invoices.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, document string) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	if err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	return schema.Validate(value)
}

func invoicesJSON(t *testing.T, run *billing.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := InvoicesJSON(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInvoicesJSON(t *testing.T) {
	golden(t, "testdata/invoices.json", func(b *bytes.Buffer) error { return InvoicesJSON(b, monthRun()) })
}

// What the API answers is what the file has.
func TestDocument(t *testing.T) {
	for name, run := range map[string]*billing.Run{"month": monthRun(), "taxed": taxedMonth(), "nothing": {Period: monthRun().Period}} {
		document, err := json.Marshal(NewDocument(run))
		if err != nil {
			t.Fatal(err)
		}
		var has, want any
		for text, into := range map[string]*any{string(document): &has, invoicesJSON(t, run): &want} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(has, want) {
			t.Errorf("%s: %s\nis not %s", name, document, invoicesJSON(t, run))
		}
	}
}

// TestInvoicesJSONSchema: what is written is as the schema says, drafts and nothing at all included.
func TestInvoicesJSONSchema(t *testing.T) {
	schema := invoicesSchema(t)
	draft := monthRun()
	draft.Draft = true
	for name, run := range map[string]*billing.Run{"month": monthRun(), "sample": issued(), "draft": draft, "nothing": {Period: monthRun().Period}} {
		if err := validate(t, schema, invoicesJSON(t, run)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// taxedMonth is the month with taxes: what is corrected of September was at another rate (R26).
func taxedMonth() *billing.Run {
	run := monthRun()
	a := run.Accounts["acme"]
	a.Tenant.BillTo.Tax = registry.Taxes{{From: civil.NoDate, Category: "S", Rate: dec("12")}, {From: run.Period.First(), Category: "S", Rate: dec("25")}}
	return run
}

// TestR26_FilesSayTheTaxes holds the files that have no other test of it to what was computed by hand: 15004103.23
// at 25 percent, -1099.99 at 12.
func TestR26_FilesSayTheTaxes(t *testing.T) {
	run := taxedMonth()
	text := invoicesJSON(t, run)
	if err := validate(t, invoicesSchema(t), text); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		`"net":"15003003.24","tax":"3750893.81","gross":"18753897.05","taxes":[{"category":"S","rate":"25","net":"15004103.23","tax":"3751025.81"},{"category":"S","rate":"12","net":"-1099.99","tax":"-132.00"}]`,
		`"correctsKind":"overage","taxCategory":"S","taxRate":"12"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("invoices.json lacks %s:\n%s", want, text)
		}
	}
	_, f := openWorkbook(t, run)
	wantCells(t, f, "Invoices", 2, false, "acme|Acme AB|Sub1|Customer service|2026-10|INV-Sub1-202610|issued|2026-11-04|2026-12-04|7|SEK|15,003,003.24|3,750,893.81|18,753,897.05|Acme AB|||2|2")
	wantCells(t, f, "Lines", 7, true, "acme|Acme AB|Sub1|Customer service|INV-Sub1-202610|6|adjustment|agent_standard|-1|seat||SEK|-1100|12|46266|46296|INV-Sub1-202609/3|the rule and the figures||S")
}

// TestInvoicesJSONSchemaRefuses: a schema that takes anything proves nothing.
func TestInvoicesJSONSchemaRefuses(t *testing.T) {
	schema := invoicesSchema(t)
	whole := invoicesJSON(t, monthRun())
	for what, change := range map[string][2]string{
		"an amount that is a number":       {`"amount":"100.00"`, `"amount":100.00`},
		"an amount with an exponent":       {`"amount":"100.00"`, `"amount":"1e2"`},
		"a quantity with trailing zeros":   {`"quantity":"10"`, `"quantity":"10.0"`},
		"an unknown kind":                  {`"kind":"connect"`, `"kind":"usag"`},
		"an unknown field":                 {`"unit":"port"`, `"unit":"port","units":1`},
		"an invoice without a currency":    {`"currency":"JPY",`, ``},
		"a price on usage":                 {`"quantity":"26","unit":"seat",`, `"quantity":"26","unit":"seat","unitPrice":"1",`},
		"no price on a commitment":         {`"unitPrice":"900",`, ``},
		"an adjustment of nothing":         {`"corrects":"INV-Sub1-202609/3",`, ``},
		"an overage without its pool":      {`"entitled":25,"pool"`, `"pool"`},
		"an instant without a zone":        {`"peakAt":"2026-10-14T08:31:07.000Z"`, `"peakAt":"2026-10-14T08:31:07.000"`},
		"a period that is none":            {`"period":"2026-10","draft"`, `"period":"2026-13","draft"`},
		"no word on whether it is a draft": {`"draft":false,`, ``},
		"a count below zero":               {`"counted":90`, `"counted":-90`},
	} {
		if !strings.Contains(whole, change[0]) {
			t.Errorf("%s: nothing to change", what)
		} else if err := validate(t, schema, strings.Replace(whole, change[0], change[1], 1)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// TestInvoicesJSONHasTheLines: every figure of lines.csv is in it, with the same digits.
func TestInvoicesJSONHasTheLines(t *testing.T) {
	var document struct {
		Invoices []struct {
			ID    string           `json:"invoiceId"`
			Lines []map[string]any `json:"lines"`
		} `json:"invoices"`
	}
	run := issued()
	if err := json.Unmarshal([]byte(invoicesJSON(t, run)), &document); err != nil {
		t.Fatal(err)
	}
	for n, i := range run.Invoices {
		for k, l := range i.Lines {
			got := document.Invoices[n].Lines[k]
			if got["quantity"] != l.Quantity.String() || got["amount"] != i.Money(l.Amount) || got["note"] != l.Note {
				t.Errorf("%s/%d is %v", i.ID, l.No, got)
			}
		}
	}
}

func TestInvoicesJSONThatCannotBeWritten(t *testing.T) {
	if err := InvoicesJSON(full{}, monthRun()); err == nil {
		t.Error("no error from a file that takes nothing")
	}
}
