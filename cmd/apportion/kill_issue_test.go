package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"apportion/billing/registry"
	"apportion/billing/service"
	"apportion/deploy/embedded/servicetest"
	"apportion/ingest/kafka"
	"apportion/schemas"
)

// issuePoints returns every point that an issue names, in order.
func issuePoints(t *testing.T) []string {
	t.Helper()
	var points []string
	stores := filepath.Join("..", "..", "billing", "clickhouse")
	for _, file := range []string{filepath.Join(stores, "invoices.go"), filepath.Join("..", "..", "billing", "service", "registry.go"),
		filepath.Join(stores, "registry.go"), "bill.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.failpoint\("([^"]+)"\)`).FindAllSubmatch(text, -1) {
			points = append(points, string(m[1]))
		}
	}
	for _, step := range []string{"lines", "commands", "issued periods", "files"} {
		if !slices.Contains(points, "before "+step) || !slices.Contains(points, "after "+step) {
			t.Fatalf("an issue has no points around %s: %q", step, points)
		}
	}
	return points
}

// priced is a tenant whose messages have a price, which re-rates all that it has been charged (R21).
func priced(price int) string {
	return fmt.Sprintf(`tenants:
- id: issued
  name: Issued
  timeZone: UTC
  telephony: vpop
  billTo: {address: {country: SE}, vatId: SE556036079301, tax: {category: S, rate: "25"}}
  subscriptions:
  - {id: Issued1, name: x, licenceModel: concurrent, plan: flex, deployment: cloud, currency: SEK, billing: prepaid,
     terms: [{from: 2025-01-01, to: 2029-01-01}], versions: [{from: 2025-01-01, prices: {connect: {sms: "%d"}}}]}
`, price)
}

// registry folds the command topic as it is now.
func (s *scenario) registry() registry.State {
	s.t.Helper()
	client := kafka.NewClient(kafka.Brokers{Addrs: []string{s.kafka}}, nil)
	defer client.Close()
	log := client.NewLog(s.prefix + schemas.TopicRegistry)
	state, err := service.NewRegistry(log, nil, time.Now).CatchUp(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// TestIssueKilled kills an issue at every point that it passes, and ClickHouse with it; the same command again
// issues what was not, gives back what was, and adjusts nothing twice (R20, R21). Each period is killed at a point of
// its own, and for each the price has changed.
func TestIssueKilled(t *testing.T) {
	servicetest.Heavy(t, "it kills programs for a while")
	t.Parallel()
	servers := startServers(t)
	s := servers.scenario(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	points := issuePoints(t)
	var events strings.Builder
	for month := range points {
		fmt.Fprintf(&events, `{"specversion":"1.0","id":"m%d","source":"test","type":"connect.usage","time":"2026-%02d-14T08:00:00Z","tenantid":"issued","data":{"channel":"sms","quantity":"2"}}`+"\n", month, month+1)
	}
	s.apportion("publish", write("events.ndjson", events.String()))
	s.apportion("ingest", "--until-caught-up")

	out := filepath.Join(dir, "out")
	for i, point := range points {
		period := fmt.Sprintf("2026-%02d", i+1)
		s.apportion("registry", "apply", "-f", write("registry.yaml", priced(10+i)))
		command := []string{"bill", "issue", "--period", period, "--tenant", "issued", "--as-of", "2027-06-01T00:00:00Z", "--allow-future", "--out", out}
		text, err := json.Marshal(orders{Point: point, Passing: 1, Signal: syscall.SIGKILL})
		if err != nil {
			t.Fatal(err)
		}
		servicetest.Start(t, "victim", append([]string{string(text)}, append(command, "--config", s.config)...)...).Dies()
		s.count("issue " + point)
		servers.killClickHouse()
		var inTable uint64
		servicetest.Until(t, "ClickHouse is back", func() bool {
			return s.db.QueryRow(t.Context(), "SELECT count() FROM issued_periods FINAL WHERE period = ?", period).Scan(&inTable) == nil
		})
		since := func(step string) bool {
			after := slices.Index(points, "after "+step)
			if after < 0 {
				t.Fatalf("an issue has no point after %s: %q", step, points)
			}
			return slices.Index(points, point) >= after
		}
		if inForce := len(s.registry().Issues("issued")); (inForce == i+1) != since("commands") || (inTable == 1) != since("issued periods") {
			t.Errorf("killed %s: %d issues on the log, %d rows of the last in issued_periods", point, inForce, inTable)
		}
		if _, err := os.Stat(filepath.Join(out, period)); (err == nil) != (point == "after files") {
			t.Errorf("killed %s: the files: %v", point, err)
		}

		var before string
		for range 2 {
			s.apportion(command...)
			lines, err := os.ReadFile(filepath.Join(out, period, "lines.csv"))
			if err != nil {
				t.Fatal(err)
			}
			if before != "" && before != string(lines) {
				t.Errorf("killed %s: issued as\n%s\nand then as\n%s", point, before, lines)
			}
			before = string(lines)
		}
		// The messages of the period at the price of now, and one more of each earlier one: its price went up by 1.
		want := []string{fmt.Sprintf("connect,connect.sms,2,unit,%d,%d.00,", 10+i, 2*(10+i))}
		for range i {
			want = append(want, "adjustment,connect.sms,0,unit,,2.00,")
		}
		rows := strings.Split(strings.TrimSpace(before), "\n")[1:]
		if len(rows) != len(want) {
			t.Fatalf("killed %s: %d lines, want %d:\n%s", point, len(rows), len(want), before)
		}
		for n := range rows {
			if !strings.Contains(rows[n], want[n]) {
				t.Errorf("killed %s: line %d is %s, want %s", point, n+1, rows[n], want[n])
			}
		}
	}
	var claims, written, lines uint64
	if err := s.db.QueryRow(t.Context(), "SELECT count(), sum(lines), (SELECT count() FROM invoice_lines) FROM issued_periods FINAL").Scan(&claims, &lines, &written); err != nil {
		t.Fatal(err)
	}
	if claims != uint64(len(points)) || written <= lines {
		t.Errorf("%d claims of %d lines, %d written; want a claim for each of %d points, and lines left behind", claims, lines, written, len(points))
	}
	previous := ""
	for _, i := range s.registry().Issues("issued") {
		if i.Previous != previous || !strings.HasPrefix(i.By.String(), "user ") {
			t.Errorf("issue %d follows %q by %s, want %q", i.Seq, i.Previous, i.By, previous)
		}
		previous = i.Hash
	}
	t.Logf("%d points, %d lines issued, %d left behind", len(points), lines, written-lines)
}

// TestIssuersAtOnce has several programs issue periods of the same tenants at once, some of which are killed around
// their claims. Each period is issued once, everybody writes the same files of it, and the tenant's issues are one
// chain (R20).
func TestIssuersAtOnce(t *testing.T) {
	servicetest.Heavy(t, "it kills programs for a while")
	t.Parallel()
	s := sharedServers(t).scenario(t)
	dir := t.TempDir()
	registry, events := filepath.Join(dir, "registry.yaml"), filepath.Join(dir, "events.ndjson")
	message := `{"specversion":"1.0","id":"m1","source":"test","type":"connect.usage","time":"2026-01-14T08:00:00Z","tenantid":"issued","data":{"channel":"sms","quantity":"2"}}` + "\n"
	for path, text := range map[string]string{registry: priced(10), events: message} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.apportion("registry", "apply", "-f", registry)
	s.apportion("publish", events)
	s.apportion("ingest", "--until-caught-up")
	issue := func(n int, period, point string) *servicetest.Process {
		order, err := json.Marshal(orders{Point: point, Passing: 1, Signal: syscall.SIGKILL})
		if err != nil {
			t.Fatal(err)
		}
		return servicetest.Start(t, "victim", string(order), "bill", "issue", "--period", period, "--as-of", "2027-06-01T00:00:00Z", "--allow-future",
			"--out", filepath.Join(dir, fmt.Sprint(n)), "--config", s.config)
	}
	periods, points := []string{"2026-01", "2026-02"}, issuePoints(t)
	var all []*servicetest.Process
	for n, point := range []string{"", "", "", "", "before commands", "after commands", "before issued periods"} {
		if point != "" && !slices.Contains(points, point) {
			t.Fatalf("an issue has no point %s: %q", point, points)
		}
		all = append(all, issue(n, periods[n%2], point))
	}
	for n, p := range all {
		// Who was to be killed may have found all done.
		if code := p.Ends(); code != exitDone && n < 4 {
			t.Fatalf("it left with %d:\n%s", code, &p.Output)
		}
	}
	written := map[string]string{}
	for n := range 4 {
		period := periods[n%2]
		lines, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(n), period, "lines.csv"))
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := written[period]; ok && before != string(lines) {
			t.Errorf("%s was written as\n%s\nand as\n%s", period, before, lines)
		}
		written[period] = string(lines)
	}
	chain := s.registry().Issues("issued")
	if len(chain) != 2 || chain[0].Period == chain[1].Period || chain[1].Previous != chain[0].Hash {
		t.Errorf("%+v; want a chain of two periods", chain)
	}
	if !strings.Contains(written["2026-01"], ",connect,connect.sms,2,unit,10,20.00,") || strings.Contains(written["2026-02"], "adjustment") && chain[0].Period.String() != "2026-01" {
		t.Errorf("issued:\n%s\n%s", written["2026-01"], written["2026-02"])
	}
	s.apportion("reconcile", "--period", "2026-01")
}
