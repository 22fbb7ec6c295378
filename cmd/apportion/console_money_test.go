package main

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"apportion/cmd/apportion/config"
	"apportion/deploy/embedded/servicetest"
)

// Invoices look as their PDF does, with what they are based on, and are for those alone who may see them.
func TestConsoleInvoices(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	openPage(t, s, "finance", "/invoices").shows(t, 200, "INV-Sub1-202610", "INV-Named1-202610", "124.50", "SEK")
	one := openPage(t, s, "analyst", "/invoices?subscription=Sub2")
	one.shows(t, 200, "INV-Sub2-202610", "70.97")
	one.hides(t, "INV-Sub1-202610")
	openPage(t, s, "finance", "/invoices?tenant=nobody").shows(t, 200, "No invoice that you may see is like that")
	openPage(t, s, "finance", "/invoices?period=october").shows(t, 400)
	own := openPage(t, s, "foreign", "/invoices")
	own.shows(t, 200, "INV-Named1-202610")
	own.hides(t, "Sub1-202610\"", "acme")

	invoice := openPage(t, s, "finance", "/invoices/INV-Sub1-202610")
	invoice.shows(t, 200, "Seller AB", "VAT SE556677889901", "The registry did not say whom to bill", "Standard seats, overage · 2026-10-01 to 2026-10-31",
		"R15: 4 live at once, 2 entitled", "2 seats 10 – 20.00", "Net 124.50", "4 live, pool 2", "Registry offset", "usage.agent.v1/0 to 10",
		"INV-Sub1-202610.pdf not to be had missing_bill_to", "INV-Sub1-202610.json", "None is issued.", "deliveries.parquet")
	api := s.ask(t, "finance", "GET", "/invoices/INV-Sub1-202610", "")
	if sum := strings.Trim(api.Header.Get("ETag"), `"`); !strings.Contains(invoice.html, sum) {
		t.Errorf("the page lacks the SHA-256 of the JSON, %s", sum)
	}
	file := openPage(t, s, "tenant", "/invoices/INV-Sub1-202610/as/json")
	if file.html != api.body || file.Header.Get("Content-Disposition") != "attachment; filename=INV-Sub1-202610.json" {
		t.Errorf("the file is %q, %s", file.Header.Get("Content-Disposition"), file.html)
	}
	openPage(t, s, "tenant", "/invoices/INV-Sub1-202610/as/csv").shows(t, 200, "tenant_id,")
	openPage(t, s, "tenant", "/invoices/INV-Sub1-202610/as/pdf").shows(t, 409, "missing_bill_to")
	openPage(t, s, "tenant", "/invoices/INV-Sub1-202610/as/doc").shows(t, 404)
	openPage(t, s, "tenant", "/invoices/INV-Sub1-202610").hides(t, "parquet")
	for _, path := range []string{"/invoices/INV-Sub1-202610", "/invoices/INV-Sub1-202610/lines/5", "/invoices/INV-Sub1-202610/as/json"} {
		openPage(t, s, "foreign", path).shows(t, 404)
		openPage(t, s, "operator", path).shows(t, 403)
		openPage(t, s, "publisher", path).shows(t, 403)
	}
}

// A line is a stair from its amount down to the deliveries, and is computed again when it is asked for.
func TestConsoleLine(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	const line = "/invoices/INV-Sub1-202610/lines/5"
	page := openPage(t, s, "finance", line)
	page.shows(t, 200, "2 × 10 = 20.00 SEK", "4 live − 2 in the pool = 2", "winner: the highest revision", "superseded: another has a higher revision",
		"it was the primary", "usage.agent.v1/0", "Verify")
	for _, role := range []string{"analyst", "tenant"} {
		openPage(t, s, role, line).shows(t, 200, "4 live − 2 in the pool = 2", "Agents are persons")
	}
	openPage(t, s, "tenant", line, url.Values{"verify": {"1"}}).shows(t, 200, "Equal. Computed again from the registry and 8 deliveries")
	openPage(t, s, "operator", line, url.Values{"verify": {"1"}}).shows(t, 403)
	openPage(t, s, "finance", "/invoices/INV-Sub2-202610/lines/1").shows(t, 200, "70.97 SEK", "on 22 of the 31 days of the month", "Term 2026-10-10 to 2027-01-01")
	openPage(t, s, "finance", "/invoices/INV-Sub1-202610/lines/4").shows(t, 200, "Units by date 5 on 2 dates", "R11")
	openPage(t, s, "finance", "/invoices/INV-Named1-202610/lines/3").shows(t, 200, "Distinct agents 3 − 1 in the pool = 2", "n1")
	openPage(t, s, "tenant", "/invoices/INV-Sub1-202609/lines/1").shows(t, 200, "draft as of")
	openPage(t, s, "finance", "/invoices/INV-Sub1-202610/lines/9").shows(t, 404, "no_line")
}

// Periods, a period with its overage as an equation, what changed in it, and its balance.
func TestConsolePeriods(t *testing.T) {
	servicetest.Heavy(t, "it bills a month")
	t.Parallel()
	s := apiFixture(t)
	openPage(t, s, "analyst", "/periods?to=2026-10").shows(t, 200, "Acme AB", "Named AB", "2026-10", "issued", "195.47 SEK")
	issued := openPage(t, s, "finance", "/periods?state=issued")
	issued.shows(t, 200, "open_session", "Issue what is due of a month", "Hold or release a period")
	issued.hides(t, "2026-09")
	operator := openPage(t, s, "operator", "/periods?state=issued")
	operator.shows(t, 200, "Issue what is due of a month")
	operator.hides(t, "Hold or release")
	openPage(t, s, "analyst", "/periods?state=issued").hides(t, "Issue what is due")
	own := openPage(t, s, "tenant", "/periods?period=2026-10")
	own.shows(t, 200, "acme")
	own.hides(t, "named")
	openPage(t, s, "publisher", "/periods").shows(t, 403)
	openPage(t, s, "tenant", "/tenants/acme/periods?state=issued").shows(t, 200, "2026-10", "195.47 SEK")
	openPage(t, s, "foreign", "/tenants/acme/periods").shows(t, 404)

	const period = "/tenants/acme/periods/2026-10"
	for _, role := range []string{"finance", "analyst", "tenant"} {
		openPage(t, s, role, period).shows(t, 200, "issued", "INV-Sub1-202610", "net 195.47 SEK", "4 live − 2 pool = 2 × 10 = 20.00 SEK → Sub1 , R16")
	}
	operated := openPage(t, s, "operator", period)
	operated.shows(t, 200, "4 live − 2 pool = 2 × 10 = 20.00 SEK → Sub1 , R16")
	operated.hides(t, "INV-Sub1-202610")
	openPage(t, s, "foreign", "/tenants/named/periods/2026-10").shows(t, 200, "3 agents − 1 pool = 2")
	openPage(t, s, "operator", "/tenants/acme/periods/2026-09").shows(t, 200, "Draft of INV-Sub1-202609", "102.00", "due")
	openPage(t, s, "foreign", period).shows(t, 404)

	openPage(t, s, "finance", period+"/changes").shows(t, 200, "nothing differs", "195.47 195.47 0.00")
	openPage(t, s, "analyst", "/tenants/acme/periods/2026-09/changes").shows(t, 200, "2026-09 of acme is not issued")
	openPage(t, s, "tenant", period+"/changes").shows(t, 403)

	openPage(t, s, "analyst", "/periods/2026-10/balance").shows(t, 200, "balances", "usage.agent.v1/0 11 0 11 0 11 0 none", "acme 10 8 1 1 0 0 0 none", "accepted, of the period 13")
	part := openPage(t, s, "tenant", "/periods/2026-10/balance")
	part.shows(t, 200, "accepted, of the period 10", "acme 10 8 1 1 0 0 0 none")
	part.hides(t, "usage.agent.v1", "named")
	openPage(t, s, "publisher", "/periods/2026-10/balance").shows(t, 403)
}

// periodForms holds, releases and issues on pages; 2026-09 of acme is due before, and is issued after.
func (s *apiServer) periodForms(t *testing.T) {
	t.Helper()
	const period = "/tenants/acme/periods/2026-09"
	form := func(what, reason string) url.Values {
		return url.Values{"what": {what}, "reason": {reason}, "key": {what + reason}}
	}
	openPage(t, s, "finance", period, form("hold", " ")).shows(t, 400)
	openPage(t, s, "operator", period, form("hold", "disputed")).shows(t, 403)
	openPage(t, s, "finance", period, form("release", "settled")).shows(t, 409, "not_held")
	held := openPage(t, s, "finance", period, form("hold", "looked at on a page"))
	if held.StatusCode != 303 || !strings.HasPrefix(held.Header.Get("Location"), period+"?done=") {
		t.Fatalf("%d %s\n%s", held.StatusCode, held.Header.Get("Location"), held.text)
	}
	openPage(t, s, "finance", held.Header.Get("Location")).shows(t, 200, "Accepted", "Held: looked at on a page")
	issue := url.Values{"what": {"issue"}, "period": {"2026-09"}, "tenant": {"acme"}, "do": {"apply"}}
	openPage(t, s, "operator", "/periods?state=held", issue).shows(t, 409, "looked at on a page")
	openPage(t, s, "finance", period, form("release", "settled on a page")).shows(t, 303)
	openPage(t, s, "analyst", "/periods?state=held", issue).shows(t, 403)
	issue.Set("do", "check")
	openPage(t, s, "finance", "/periods?state=held", issue).shows(t, 200, "Not issued yet.", "acme : 1 invoice, net 102.00 SEK")
}

// correctedPages opens pages after 2026-10 was issued and late usage, a correction and dearer overage came; of the next
// month, which corrects it; of a delivery that was refused; and where a delivery is lost. Each is held to in Chromium.
func (s *apiServer) correctedPages(t *testing.T, refused string) {
	t.Helper()
	const period = "/tenants/acme/periods/2026-10"
	dir := filepath.Dir(s.config)
	s.apportion(t, "publish "+filepath.Join(dir, "late.ndjson"))
	s.apportion(t, "publish "+s.write(t, "corrected.ndjson", sentEvent("c", "acme", "/t", "agent.session",
		`"agentId":"c","startTime":"2026-10-14T09:00:00Z","endTime":"2026-10-14T09:30:00Z","revision":1`)))
	s.apportion(t, "registry apply -f "+filepath.Join(dir, "dearer.yaml"))
	s.apportion(t, "ingest --until-caught-up")
	s.apportion(t, "aggregate --until-caught-up")
	tab := servicetest.NewTab(t, s.url)

	// One more was live, one less, and each of the two costs 20 and not 10 (R15, R18).
	openPage(t, s, "finance", period+"/changes").shows(t, 200,
		"Sub1 Standard seats, overage 2 → 2 20.00 40.00 20.00 SEK 10.00 −10.00 20.00 0.00", "late z not there Sub1,",
		"correction c Sub1,", "overage price agent_standard 10 → 20", "SEK 195.47 215.47 20.00")
	browse(t, s, tab, "finance", period+"/changes")

	s.apportion(t, "bill issue --period 2026-11 --as-of 2026-12-05T00:00:00Z --allow-future")
	const correcting = "/invoices/INV-Sub1-202611"
	invoice := openPage(t, s, "finance", correcting)
	invoice.shows(t, 200, "Standard seats, correction of overage", "corrects INV-Sub1-202610/5", "20.00 SEK for INV-Sub1-202610/5")
	openPage(t, s, "finance", "/invoices/INV-Sub1-202610").shows(t, 200, ": 20.00 SEK, for line 5")
	line := regexp.MustCompile(`"(` + correcting + `/lines/\d+)">Line`).FindStringSubmatch(invoice.html)
	if line == nil {
		t.Fatalf("no correction is led to:\n%s", invoice.html)
	}
	openPage(t, s, "finance", line[1]).shows(t, 200, "40.00 − 20.00 = 20.00 SEK", "INV-Sub1-202610/5")
	for _, path := range []string{correcting, "/invoices/INV-Sub1-202610", line[1]} {
		browse(t, s, tab, "finance", path)
	}

	browse(t, s, tab, "operator", "/rejected")
	browse(t, s, tab, "operator", refused)
	tab.Follow("What would become of it?")
	if text := tab.Text(); !strings.Contains(text, "1 would be refused again") {
		t.Errorf("a replay that does nothing says:\n%s", text)
	}
	for _, wrong := range tab.Inaccessible() {
		t.Errorf("a replay: %s", wrong)
	}

	s.sql(t, "DELETE FROM usage_events WHERE agent = 'b'")
	const balance = "/periods/2026-10/balance"
	openPage(t, s, "finance", balance).shows(t, 200, "It does not balance",
		"usage.agent.v1/0: the ledger says that 17 were accepted, but usage_events has 16",
		"of the batch 0-10 neither usage_events nor rejected has the offsets 1", "acme: 2026-10-14: usage_events has 8 deliveries, and the figures 9",
		"of the period: fails")
	browse(t, s, tab, "finance", balance)
	openPage(t, s, "finance", "/invoices/INV-Sub1-202610/lines/5").shows(t, 200, "The deliveries do not add up to the line.")
	browse(t, s, tab, "finance", "/invoices/INV-Sub1-202610/lines/5")
}

// sql has ClickHouse execute a statement on the server's tables.
func (s *apiServer) sql(t *testing.T, statement string) {
	t.Helper()
	cfg, _, err := config.Load(s.config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: cfg.ClickHouse.Addr, Auth: clickhouse.Auth{Database: cfg.ClickHouse.Database}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
