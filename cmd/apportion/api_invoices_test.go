package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	usage "apportion/aggregate/clickhouse"
	"apportion/deploy/embedded/servicetest"
)

// Invoices are listed, and each is what the files of its period have.
func TestAPIInvoices(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	all := s.ask(t, "analyst", "GET", "/invoices", "").want(t, 200, `{"items":[{"invoiceId":"INV-Sub1-202610","tenantId":"acme","subscriptionId":"Sub1","period":"2026-10",`,
		`"lines":5,"totals":{"currency":"SEK","net":"124.50","tax":"0.00","gross":"124.50"}`)["items"].([]any)
	var told []any
	if err := json.Unmarshal([]byte(s.command(t, "bill list --json")), &told); err != nil || len(told) != 3 || !reflect.DeepEqual(told, all) {
		t.Errorf("bill list has %v (%v)\nand the API %v", told, err, all)
	}
	var paged []any
	for path := "/invoices?limit=1"; path != ""; {
		page := s.ask(t, "finance", "GET", path, "").want(t, 200)
		paged, path = append(paged, page["items"].([]any)...), ""
		if next, more := page["next"].(string); more {
			path = "/invoices?limit=1&after=" + next
		}
	}
	if !reflect.DeepEqual(paged, all) {
		t.Errorf("over pages of one are %v", paged)
	}
	for query, want := range map[string]int{"tenant=acme": 2, "tenant=nobody": 0, "subscription=Sub2": 1, "subscription=Sub9": 0, "period=2026-10": 3,
		"period=2026-09": 0, "tenant=acme&subscription=Named1": 0, "tenant=named&subscription=Named1&period=2026-10": 1} {
		if items := s.ask(t, "finance", "GET", "/invoices?"+query, "").want(t, 200)["items"].([]any); len(items) != want {
			t.Errorf("%s gives %d invoices, want %d", query, len(items), want)
		}
	}
	for query, want := range map[string]int{"": 1, "?tenant=acme": 0, "?subscription=Sub1": 0, "?tenant=named": 1} {
		items := s.ask(t, "foreign", "GET", "/invoices"+query, "").want(t, 200)["items"].([]any)
		if len(items) != want {
			t.Errorf("the administrator of named sees %v for %q", items, query)
		}
	}
	s.ask(t, "tenant", "GET", "/invoices", "", "Accept", "text/csv").want(t, 200,
		"invoiceId,tenantId,subscriptionId,period,issueDate,dueDate,lines,totals.currency,totals.net,totals.tax,totals.gross\r\n",
		"INV-Sub1-202610,acme,Sub1,2026-10,", ",5,SEK,124.50,0.00,124.50\r\n")
	s.ask(t, "analyst", "GET", "/invoices?period=2026", "").want(t, 400, `"field":"period"`)

	const invoice = "/invoices/INV-Sub1-202610"
	dir := filepath.Join(filepath.Dir(s.config), "out", "2026-10")
	var file struct{ Invoices []map[string]any }
	content, err := os.ReadFile(filepath.Join(dir, "invoices.json"))
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	got := s.ask(t, "tenant", "GET", invoice, "")
	tree := got.want(t, 200, `"lineNo":5,"kind":"overage","meter":"agent_standard","quantity":"2","unit":"seat","unitPrice":"10","amount":"20.00"`)
	if err != nil || file.Invoices[0]["invoiceId"] != "INV-Sub1-202610" || !reflect.DeepEqual(tree, file.Invoices[0]) {
		t.Errorf("the file has %v (%v)\nand the API %v", file.Invoices[0], err, tree)
	}
	tag := got.Header.Get("ETag")
	s.ask(t, "finance", "GET", invoice, "", "If-None-Match", `"other", W/`+tag).want(t, 304)
	s.ask(t, "finance", "GET", invoice, "", "If-None-Match", `"other"`).want(t, 200)

	csv := s.ask(t, "finance", "GET", invoice, "", "Accept", "text/html, text/csv;q=0.9, application/json;q=0.8")
	csv.want(t, 200)
	lines, err := os.ReadFile(filepath.Join(dir, "lines.csv"))
	var own []string
	for n, line := range strings.SplitAfter(string(lines), "\n") {
		if n == 0 || strings.Contains(line, "INV-Sub1-202610") {
			own = append(own, line)
		}
	}
	if err != nil || len(own) != 6 || csv.body != strings.Join(own, "") || csv.Header.Get("Content-Type") != "text/csv" || csv.Header.Get("ETag") == tag {
		t.Errorf("as CSV it is %s %s\n%s\nand the file has %v (%v)", csv.Header.Get("Content-Type"), csv.Header.Get("ETag"), csv.body, own, err)
	}
	for _, form := range []string{"application/pdf", "application/xml", "application/vnd.oasis.ubl+xml"} {
		s.ask(t, "finance", "GET", invoice, "", "Accept", form).want(t, 409, `"code":"missing_bill_to"`, `"field":"billTo"`)
	}
	s.ask(t, "finance", "GET", invoice, "", "Accept", "image/png").want(t, 406)
	s.ask(t, "tenant", "GET", invoice+"/provenance", "").want(t, 200, `"invoiceId":"INV-Sub1-202610"`, `"seller":{"name":"Seller AB"`,
		`"issued":true`, `usage.agent.v1","partition":0,"lastOffset":10}`, `"correctedBy":[]`, `"code":"missing_bill_to"`,
		`"sha256":`+tag)
	for _, role := range []string{"operator", "publisher"} {
		s.ask(t, role, "GET", "/invoices", "").want(t, 403)
		s.ask(t, role, "GET", invoice, "").want(t, 403)
	}
}

// Whoever may not see an invoice cannot tell whether it is there.
func TestAPIInvoicesOfOthers(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	for _, route := range []struct{ method, path string }{
		{"GET", ""}, {"GET", "/provenance"}, {"GET", "/lines/5/explanation"}, {"GET", "/lines/99/explanation"}, {"POST", "/lines/5/verify"},
		{"GET", "/evidence/deliveries.parquet"}, {"GET", "/evidence/nothing"},
	} {
		bodies := map[string]bool{}
		for _, id := range []string{"INV-Sub1-202610", "INV-Sub1-202609", "INV-Sub9-202610", "INV-Sub1-202613", "nothing"} {
			answer := s.ask(t, "foreign", route.method, "/invoices/"+id+route.path, "")
			if strings.Contains(route.path, "evidence") {
				answer.want(t, 403)
				continue
			}
			tree := answer.want(t, 404, `"code":"no_invoice"`, "there is no invoice "+id+" that you may see")
			delete(tree, "requestId")
			body, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			bodies[strings.ReplaceAll(string(body), id, "ID")] = true
		}
		if len(bodies) > 1 {
			t.Errorf("%s %s tells what is there: %v", route.method, route.path, bodies)
		}
	}
	// A draft is no invoice, to anybody.
	s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202609", "").want(t, 404, `"code":"no_invoice"`)
	s.ask(t, "analyst", "GET", "/invoices/INV-Sub1-202609/evidence/daily.parquet", "").want(t, 404, `"code":"no_invoice"`)
}

// A line is explained as `explain` does it; who was live is for those alone who may see agents.
func TestAPIExplanations(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const explanation = "/invoices/INV-Sub1-202610/lines/5/explanation"
	tree := s.ask(t, "finance", "GET", explanation, "").want(t, 200, `"live":4,"entitled":2,`, `"agent":"c"`, `"sum":"2 × 10 = 20.00 SEK"`,
		`"fate":"superseded"`, `"differences":[]`)
	var told any
	if err := json.Unmarshal([]byte(s.command(t, "explain INV-Sub1-202610/5 --json")), &told); err != nil || !reflect.DeepEqual(told, any(tree)) {
		t.Errorf("explain has %v (%v)\nand the API %v", told, err, tree)
	}
	for _, role := range []string{"analyst", "tenant"} {
		answer := s.ask(t, role, "GET", explanation, "")
		answer.want(t, 200, `"live":4,"entitled":2,`, `"fate":"superseded"`)
		lacks(t, answer, `"agent":`)
	}
	named := s.ask(t, "foreign", "GET", "/invoices/INV-Named1-202610/lines/3/explanation", "")
	named.want(t, 200, `"distinctAgents":{"agents":3,"entitled":1,`)
	lacks(t, named, `"agent":`)
	s.ask(t, "finance", "GET", "/invoices/INV-Named1-202610/lines/3/explanation", "").want(t, 200, `"agent":"n1"`)
	// A line of a draft is explained as it stands.
	s.ask(t, "tenant", "GET", "/invoices/INV-Sub1-202609/lines/1/explanation", "").want(t, 200, `"issued":false`, `"amount":"2.00"`)
	s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202610/lines/9/explanation", "").want(t, 404, `"code":"no_line"`)
	s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202610/lines/0/explanation", "").want(t, 400)
	s.ask(t, "operator", "GET", explanation, "").want(t, 403)
	s.ask(t, "publisher", "GET", explanation, "").want(t, 403)

	s.ask(t, "tenant", "POST", "/invoices/INV-Sub1-202610/lines/5/verify", "").want(t, 200, `{"equal":true,"deliveries":8,"differences":[]}`)
	s.ask(t, "operator", "POST", "/invoices/INV-Sub1-202610/lines/5/verify", "").want(t, 403)
}

// The evidence of an invoice is the files that the program writes, without agents for those who may not see them.
func TestAPIEvidence(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	out := t.TempDir()
	s.command(t, "bill evidence INV-Sub1-202610 --out "+out)
	for _, name := range []string{"deliveries.parquet", "daily.parquet"} {
		content, err := os.ReadFile(filepath.Join(out, "INV-Sub1-202610", name))
		if err != nil {
			t.Fatal(err)
		}
		got := s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202610/evidence/"+name, "", "Accept", "application/vnd.apache.parquet")
		got.want(t, 200)
		if got.body != string(content) || got.Header.Get("Content-Type") != "application/vnd.apache.parquet" {
			t.Errorf("%s is %d bytes of %s, want %d", name, len(got.body), got.Header.Get("Content-Type"), len(content))
		}
	}
	for role, want := range map[string]int{"finance": 8, "analyst": 0} {
		got := s.ask(t, role, "GET", "/invoices/INV-Sub1-202610/evidence/deliveries.parquet", "")
		got.want(t, 200)
		rows, err := parquet.Read[usage.DeliveryRow](bytes.NewReader([]byte(got.body)), int64(len(got.body)))
		agents := 0
		for _, row := range rows {
			if row.Agent != "" {
				agents++
			}
		}
		if err != nil || len(rows) != 10 || agents != want {
			t.Errorf("%s has %d deliveries, %d with an agent (%v), want 10 and %d", role, len(rows), agents, err, want)
		}
	}
	s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202610/evidence/usage.parquet", "").want(t, 404, `"code":"not_found"`)
	for _, role := range []string{"operator", "tenant", "foreign", "publisher"} {
		s.ask(t, role, "GET", "/invoices/INV-Sub1-202610/evidence/daily.parquet", "").want(t, 403)
	}
}

// What the page for integrators says is what the API answers.
func TestAPIPageForIntegrators(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	apiFixture(t).followPage(t, "how-to/integrate-an-erp.md", "finance")
}
