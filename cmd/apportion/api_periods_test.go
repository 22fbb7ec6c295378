package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"apportion/deploy/embedded/servicetest"
)

// command runs the program against the servers of the API, and returns what it prints.
func (s *apiServer) command(t *testing.T, line string) string {
	t.Helper()
	var output, errors bytes.Buffer
	code := run(context.Background(), append(strings.Fields(line), "--config", s.config), os.Environ(), strings.NewReader(""),
		&output, &errors)
	if code != exitDone && code != exitFindings {
		t.Fatalf("apportion %s: exit code %d\n%s", line, code, &errors)
	}
	return output.String()
}

// The months of tenants, the latest first, with what is issued.
func TestAPIPeriods(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const october = "from=2026-10&to=2026-10"
	list := s.ask(t, "analyst", "GET", "/periods?"+october+"&limit=1", "").want(t, 200,
		`{"tenantId":"acme","period":"2026-10","state":"issued","since":"`, `"invoices":2,`,
		`"totals":[{"currency":"SEK","net":"195.47","tax":"0.00","gross":"195.47"}]`, `"code":"open_session"`)
	next := list["next"].(string)
	rest := s.ask(t, "analyst", "GET", "/periods?"+october+"&limit=1&after="+next, "").want(t, 200, `"tenantId":"named"`)
	if rest["next"] != nil || len(rest["items"].([]any)) != 1 {
		t.Errorf("the last page is %v", rest)
	}
	s.ask(t, "analyst", "GET", "/periods?from=2026-09&to=2026-09&limit=1&after="+next, "").want(t, 400, "invalid_cursor")
	if items := s.ask(t, "analyst", "GET", "/periods?"+october+"&state=due", "").want(t, 200)["items"]; len(items.([]any)) > 0 {
		t.Errorf("due are %v", items)
	}
	either := s.ask(t, "analyst", "GET", "/periods?from=2026-09&to=2026-10&state=due,issued", "").want(t, 200)["items"]
	if len(either.([]any)) != 4 {
		t.Errorf("due or issued are %v", either)
	}
	items := s.ask(t, "analyst", "GET", "/periods?to=2026-10&from=2026-09&code=open_session", "").want(t, 200)["items"]
	if len(items.([]any)) != 1 {
		t.Errorf("with open sessions are %v", items)
	}
	// Over pages of one the months are those of one page, each once and in its order.
	all := s.ask(t, "finance", "GET", "/periods?from=2026-08&to=2026-10", "").want(t, 200)["items"].([]any)
	var paged []any
	for path := "/periods?from=2026-08&to=2026-10&limit=1"; path != ""; {
		page := s.ask(t, "operator", "GET", path, "").want(t, 200)
		paged, path = append(paged, page["items"].([]any)...), ""
		if next, more := page["next"].(string); more {
			path = "/periods?from=2026-08&to=2026-10&limit=1&after=" + next
		}
	}
	if len(all) != 6 || !reflect.DeepEqual(all, paged) {
		t.Errorf("on one page are %v\nand over pages of one %v", all, paged)
	}
	for _, item := range all {
		of := item.(map[string]any)
		path := fmt.Sprintf("/tenants/%s/periods?from=%s&to=%[2]s", of["tenantId"], of["period"])
		if alone := s.ask(t, "finance", "GET", path, "").want(t, 200)["items"].([]any); !reflect.DeepEqual(alone, []any{item}) {
			t.Errorf("%s has %v\nand among others it is %v", path, alone, item)
		}
	}
	first, last := all[0].(map[string]any), all[5].(map[string]any)
	if first["period"] != "2026-10" || last["period"] != "2026-08" || last["tenantId"] != "named" || last["state"] != "due" {
		t.Errorf("first is %v, last %v", first, last)
	}

	status := s.command(t, "bill status --period 2026-10 --json")
	var told struct{ Tenants []any }
	if err := json.Unmarshal([]byte(status), &told); err != nil || len(told.Tenants) != 2 || !reflect.DeepEqual(told.Tenants, all[:2]) {
		t.Errorf("bill status has %v (%v)\nand the API %v", told.Tenants, err, all[:2])
	}

	for as, want := range map[string]int{"analyst": 1, "tenant": 0, "foreign": 1} {
		if items := s.ask(t, as, "GET", "/periods?"+october+"&tenants=named,nobody", "").want(t, 200)["items"].([]any); len(items) != want {
			t.Errorf("%s sees %v of named", as, items)
		}
	}
	own := s.ask(t, "tenant", "GET", "/periods?"+october, "")
	own.want(t, 200, `"tenantId":"acme"`)
	lacks(t, own, "named")
	s.ask(t, "tenant", "GET", "/tenants/acme/periods?"+october, "").want(t, 200, `"state":"issued"`)
	s.ask(t, "foreign", "GET", "/tenants/acme/periods", "").want(t, 404, `"code":"not_found"`)
	s.ask(t, "operator", "GET", "/tenants/nobody/periods", "").want(t, 404)
	s.ask(t, "publisher", "GET", "/periods", "").want(t, 403)
	s.ask(t, "analyst", "GET", "/periods?from=october", "").want(t, 400, `"field":"from"`)
	s.ask(t, "analyst", "GET", "/periods?state=paid", "").want(t, 400)
	s.ask(t, "analyst", "GET", "/periods?"+october, "", "Accept", "text/csv").want(t, 200,
		"tenantId,period,state,since,dueAt,reason,stop.tenantId,", "\r\nnamed,2026-10,issued,")
}

// Months are counted by how far their tenants are, with the sums of what is issued, for whoever asks: of its own tenants.
func TestAPIMonths(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	s.ask(t, "finance", "GET", "/months?limit=36", "").want(t, 200,
		`{"period":"2026-10","tenants":{"issued":2},"issued":[{"currency":"SEK","net":"`, `{"period":"2026-09","tenants":{"due":2},"issued":[]}`)
	s.ask(t, "tenant", "GET", "/months?limit=36", "").want(t, 200,
		`{"period":"2026-10","tenants":{"issued":1},"issued":[{"currency":"SEK","net":"195.47","tax":"0.00","gross":"195.47"}]}`)
	s.ask(t, "publisher", "GET", "/months", "").want(t, 403)
	s.ask(t, "finance", "GET", "/months?limit=37", "").want(t, 400)
}

// Advice is what `advise` gives.
func TestAPIAdvice(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const at = "2026-11-02T00:00:00Z"
	var here, there any
	if err := json.Unmarshal([]byte(s.command(t, "advise acme --json --as-of "+at)), &here); err != nil {
		t.Fatal(err)
	}
	answer := s.ask(t, "tenant", "GET", "/tenants/acme/advice?at="+at, "")
	answer.want(t, 200, `"meter":"agent_standard"`, `"best":true`)
	if err := json.Unmarshal([]byte(answer.body), &there); err != nil || !reflect.DeepEqual(here, there) {
		t.Errorf("advise gives %v\nand the API %v (%v)", here, there, err)
	}
	s.ask(t, "foreign", "GET", "/tenants/acme/advice", "").want(t, 404)
	s.ask(t, "publisher", "GET", "/tenants/acme/advice", "").want(t, 403)
}

// lacks fails where an answer has a text.
func lacks(t *testing.T, r apiAnswer, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(r.body, text) {
			t.Errorf("%s %s has %s:\n%s", r.Request.Method, r.Request.URL, text, r.body)
		}
	}
}

// A draft is what `bill preview` gives, and a difference what `bill diff` does.
func TestAPIDrafts(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const draft = "/tenants/acme/periods/2026-10/draft"
	tree := s.ask(t, "tenant", "GET", draft+"?asOf=2026-10-14T11:00:00Z", "").want(t, 200,
		`"period":"2026-10","draft":true`, `"invoiceId":"INV-Sub1-202610"`, `"note":"DRAFT. R15: 4 live at once, 2 entitled"`,
		`"accounts":[{"tenantId":"acme","name":"Acme AB"`, `"issued":[{"tenantId":"acme"`)
	var told struct{ Invoices []any }
	if err := json.Unmarshal([]byte(s.command(t, "bill preview --period 2026-10 --tenant acme --as-of 2026-10-14T11:00:00Z --json")),
		&told); err != nil || len(told.Invoices) != 2 || !reflect.DeepEqual(told.Invoices, tree["invoices"]) {
		t.Errorf("bill preview has %v (%v)\nand the API %v", told.Invoices, err, tree["invoices"])
	}
	// What nobody knew yet is not on it: no usage, so commitments alone.
	early := s.ask(t, "analyst", "GET", draft+"?asKnownAt=2020-01-01T00:00:00Z", "")
	early.want(t, 409, `"code":"unknown_tenant"`)
	s.ask(t, "operator", "GET", "/tenants/acme/periods/2026-09/draft", "").want(t, 200, `"draft":true`, `"net":"102.00"`, `"issued":[]`)
	s.ask(t, "foreign", "GET", draft, "").want(t, 404, `"code":"not_found"`)
	s.ask(t, "operator", "GET", "/tenants/acme/periods/2026-13/draft", "").want(t, 400, `"field":"period"`)
	s.ask(t, "operator", "GET", draft+"?asOf=today", "").want(t, 400)
	s.ask(t, "publisher", "GET", draft, "").want(t, 403)

	const diff = "/tenants/acme/periods/2026-10/diff"
	s.ask(t, "finance", "GET", diff, "").want(t, 200, `{"period":"2026-10","notIssued":[],"changes":[],"tenants":[{"tenantId":"acme",`,
		`"amount":{"before":"195.47","after":"195.47","difference":"0.00"}`, `"stopped":{"before":[],"after":[]}`)
	s.ask(t, "analyst", "GET", "/tenants/acme/periods/2026-09/diff", "").want(t, 409, `"code":"not_issued"`)
	s.ask(t, "tenant", "GET", diff, "").want(t, 403)
	s.ask(t, "operator", "GET", diff, "").want(t, 403)
}

// The balance of a month, and the part of it that an administrator may see (R22).
func TestAPIBalance(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	whole := s.ask(t, "analyst", "GET", "/periods/2026-10/balance", "").want(t, 200,
		`usage.agent.v1","partition":0,"published":11,"notRead":0,"read":11,`, `"tenantId":"named"`,
		`"total":{"accepted":13,"counted":11,"duplicate":1,"superseded":1,`,
		`"notRead":0,"read":13,"skipped":0,"accepted":13,"rejected":0,"elsewhere":0}`)
	if tenants := whole["tenants"].([]any); len(tenants) != 2 {
		t.Errorf("there are %v", tenants)
	}
	part := s.ask(t, "operator", "GET", "/periods/2026-10/balance?tenant=named", "")
	part.want(t, 200, `usage.agent.v1","partition":0`, `"total":{"accepted":3,"counted":3,`, `"elsewhere":10}`)
	lacks(t, part, `"tenantId":"acme"`)
	own := s.ask(t, "tenant", "GET", "/periods/2026-10/balance", "")
	own.want(t, 200, `"partitions":[]`, `"rejected":{}`, `"total":{"accepted":10,"counted":8,"duplicate":1,"superseded":1,`, `"issued":true`)
	lacks(t, own, "named", "usage.agent.v1", `"ledger"`)
	s.ask(t, "foreign", "GET", "/periods/2026-10/balance?tenant=acme", "").want(t, 404, `"code":"not_found"`)
	s.ask(t, "publisher", "GET", "/periods/2026-10/balance", "").want(t, 403)
}

// The files of a month are the bytes that were written.
func TestAPIFiles(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	dir := filepath.Join(filepath.Dir(s.config), "out", "2026-10")
	const files = "/periods/2026-10/files"
	manifest := s.ask(t, "finance", "GET", files, "")
	manifest.want(t, 200, `{"period":"2026-10","draft":false,"totals":[{"currency":"SEK","invoices":3,`, `"path":"lines.csv"`)
	s.ask(t, "finance", "GET", files, "", "If-None-Match", manifest.Header.Get("ETag")).want(t, 304)
	for _, name := range []string{"lines.csv", "invoices.json", "focus-1.4/invoice_detail.csv", "manifest.json"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		tag := `"` + hex.EncodeToString(sum[:]) + `"`
		for _, path := range []string{name, strings.ReplaceAll(name, "/", "%2F")} {
			got := s.ask(t, "analyst", "GET", files+"/"+path, "")
			got.want(t, 200)
			if got.body != string(content) || got.Header.Get("ETag") != tag {
				t.Errorf("%s is %d bytes with the ETag %s, want %d with %s", path, len(got.body), got.Header.Get("ETag"), len(content), tag)
			}
			s.ask(t, "analyst", "GET", files+"/"+path, "", "If-None-Match", tag).want(t, 304)
		}
		part := s.ask(t, "finance", "GET", files+"/"+name, "", "Range", "bytes=3-12")
		part.want(t, 206)
		if part.body != string(content[3:13]) || part.Header.Get("Content-Range") != fmt.Sprintf("bytes 3-12/%d", len(content)) {
			t.Errorf("the part of %s is %q, %s", name, part.body, part.Header.Get("Content-Range"))
		}
	}
	s.ask(t, "finance", "GET", files+"/lines.csv", "", "Range", "bytes=9999999-").want(t, 416, `"status":416`)
	for _, path := range []string{files + "/nothing.csv", files + "/..%2F..%2Fapportion.yaml", files + "/%2e%2e/x", "/periods/2026-09/files",
		"/periods/2026-09/files/lines.csv"} {
		s.ask(t, "finance", "GET", path, "").want(t, 404, `"code":"not_found"`)
	}
	for _, role := range []string{"operator", "tenant", "foreign", "publisher"} {
		s.ask(t, role, "GET", files, "").want(t, 403)
		s.ask(t, role, "GET", files+"/lines.csv", "").want(t, 403)
	}
}

// What is held is not issued until it is released, and what is issued stays as it is.
func TestAPIIssue(t *testing.T) {
	servicetest.Heavy(t, "it bills months")
	t.Parallel()
	s := startAPI(t)
	const hold, issue = "/tenants/acme/periods/2026-09/hold", "/periods/2026-09/issue"
	for _, role := range []string{"operator", "analyst", "tenant", "foreign", "publisher"} {
		s.ask(t, role, "PUT", hold, `{"reason":"disputed"}`).want(t, 403)
		s.ask(t, role, "DELETE", hold, `{"reason":"settled"}`).want(t, 403)
	}
	for _, role := range []string{"analyst", "tenant", "foreign", "publisher"} {
		s.ask(t, role, "POST", issue, `{}`).want(t, 403)
	}
	s.periodForms(t)
	s.ask(t, "finance", "PUT", hold, `{"reason":" "}`).want(t, 400)
	s.ask(t, "finance", "PUT", "/tenants/nobody/periods/2026-09/hold", `{"reason":"disputed"}`).want(t, 404)
	s.ask(t, "finance", "DELETE", hold, `{"reason":"settled"}`).want(t, 409, `"code":"not_held"`)
	s.ask(t, "finance", "PUT", hold+"?dryRun=true", `{"reason":"disputed"}`).want(t, 200, `{"accepted":true,"changes":["+ held 2026-09"]`)
	held := s.ask(t, "finance", "PUT", hold, `{"reason":"disputed"}`, "Idempotency-Key", "h1").want(t, 200, `"accepted":true`)
	again := s.ask(t, "finance", "PUT", hold, `{"reason":"disputed"}`, "Idempotency-Key", "h1").want(t, 200, `"accepted":true`)
	if held["offset"] == nil || held["offset"] != again["offset"] {
		t.Errorf("the hold was given twice: %v, %v", held, again)
	}
	s.ask(t, "finance", "PUT", hold, `{"reason":"again"}`).want(t, 409, `"code":"already_held"`)
	s.ask(t, "finance", "GET", "/periods?from=2026-09&to=2026-09&state=held", "").want(t, 200, `"state":"held"`, `"reason":"disputed"`)
	s.ask(t, "finance", "GET", "/tenants/acme/periods/2026-09/draft", "").want(t, 200, `"held":"disputed"`)

	s.ask(t, "finance", "POST", issue, `{"tenants":["acme"]}`).want(t, 409, `"code":"held"`, `"rule":"R20"`, `"value":"acme","message":"disputed"`)
	s.ask(t, "finance", "POST", issue, `{"tenants":[]}`).want(t, 400)
	s.ask(t, "finance", "POST", issue, `{"tenant":"named"}`).want(t, 400)
	s.ask(t, "operator", "POST", "/periods/2999-01/issue", "").want(t, 409, `"code":"not_due"`)
	first := s.ask(t, "operator", "POST", issue, "").want(t, 200, `"draft":false`, `"invoiceId":"INV-Named1-202609"`,
		`"stopped":[{"tenantId":"acme","period":"2026-09","code":"held","message":"disputed","rule":"R20","advice":"`)
	if second := s.ask(t, "operator", "POST", issue, "").want(t, 200); !reflect.DeepEqual(first, second) {
		t.Errorf("issued again it is %v, and was %v", second, first)
	}
	s.ask(t, "finance", "DELETE", hold, `{"reason":"settled"}`).want(t, 200, `"- held 2026-09"`)
	issued := s.ask(t, "finance", "POST", issue, `{"tenants":["acme"]}`).want(t, 200, `"invoiceId":"INV-Sub1-202609"`, `"stopped":[]`)
	if invoices := issued["invoices"].([]any); len(invoices) != 1 || invoices[0].(map[string]any)["net"] != "102.00" {
		t.Errorf("issued are %v", invoices)
	}
	s.ask(t, "finance", "PUT", hold, `{"reason":"too late"}`).want(t, 409, `"code":"already_issued"`)
	openPage(t, s, "finance", "/tenants/acme/periods/2026-09", url.Values{"what": {"issue"}, "do": {"apply"}}).shows(t, 200,
		"Issued of 2026-09: 1 invoice", "INV-Sub1-202609 : net 102.00 SEK")

	// The forms that say who buys can be had once the document says so, and are the same bytes from then on.
	tenant := s.ask(t, "operator", "GET", "/tenants/acme", "")
	document := tenant.want(t, 200)["document"].(map[string]any)
	document["billTo"] = map[string]any{"name": "Acme Inköp", "address": map[string]any{"street": "Gatan 2", "city": "Lund", "postcode": "222 22", "country": "SE"},
		"vatId": "SE556036079301", "reference": "case 9", "endpoint": map[string]any{"scheme": "0007", "id": "5560360793"}, "tax": []any{map[string]any{"category": "S", "rate": "25"}}}
	body, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	s.ask(t, "operator", "PUT", "/tenants/acme", string(body), "If-Match", tenant.Header.Get("ETag")).want(t, 200, `"accepted":true`)
	tags := map[string]bool{}
	for form, begins := range map[string]string{"application/pdf": "%PDF-", "application/xml": "<?xml ", "application/json": `{"invoiceId":"INV-Sub1-202609"`, "text/csv": "tenant_id,"} {
		first := s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202609", "", "Accept", form)
		first.want(t, 200)
		again := s.ask(t, "analyst", "GET", "/invoices/INV-Sub1-202609", "", "Accept", form)
		tag := first.Header.Get("ETag")
		if !strings.HasPrefix(first.body, begins) || again.body != first.body || again.Header.Get("ETag") != tag ||
			first.Header.Get("Content-Type") != form || tags[tag] {
			t.Errorf("as %s it is %.40q of %s, and again %.40q", form, first.body, first.Header.Get("Content-Type"), again.body)
		}
		tags[tag] = true
		s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202609", "", "Accept", form, "If-None-Match", tag).want(t, 304)
	}
}
