package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"apportion/deploy/embedded/servicetest"
)

// lostRegistry has two tenants, acme with some seats.
func lostRegistry(seats int) string {
	var b strings.Builder
	b.WriteString("tenants:\n")
	for _, tenant := range []string{"acme", "beta"} {
		fmt.Fprintf(&b, `- id: %[1]s
  name: %[1]s
  timeZone: Europe/Stockholm
  telephony: webex_calling
  subscriptions:
  - {id: Sub-%[1]s, name: X, licenceModel: concurrent, plan: flex3, deployment: cloud, currency: SEK, billing: monthly, terms: [{from: 2024-01-01, to: 2030-01-01}],
     versions: [{from: 2024-01-01, commitments: {agent_standard: %[2]d}, prices: {commitment: {agent_standard: "1"}, overage: {agent_standard: "1", ivr_port: "1"}, connect: {sms: "1"}}}]}
`, tenant, seats)
		seats = 0
	}
	return b.String()
}

// Of acme a message and a call on the 14th, two messages on the 15th, a session from the 17th to the 19th, an open one
// on the evening of the 20th, and a message that is moved from the 14th to the 25th; one delivery is refused.
const lostUsage = `{"specversion":"1.0","id":"a1","source":"/x","type":"connect.usage","time":"2026-10-14T10:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":10}}
{"specversion":"1.0","id":"i1","source":"/x","type":"ivr.session","time":"2026-10-14T10:00:00Z","tenantid":"acme","data":{"entryPointId":"e","startTime":"2026-10-14T08:00:00Z","endTime":"2026-10-14T09:00:00Z"}}
{"specversion":"1.0","id":"a2","source":"/x","type":"connect.usage","time":"2026-10-15T10:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":20}}
{"specversion":"1.0","id":"a3","source":"/x","type":"connect.usage","time":"2026-10-15T11:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":30}}
{"specversion":"1.0","id":"s1","source":"/x","type":"agent.session","time":"2026-10-19T09:00:00Z","tenantid":"acme","data":{"agentId":"anna","startTime":"2026-10-17T08:00:00Z","endTime":"2026-10-19T09:00:00Z"}}
{"specversion":"1.0","id":"s2","source":"/x","type":"agent.session","time":"2026-10-20T20:00:00Z","tenantid":"acme","data":{"agentId":"anna","startTime":"2026-10-20T20:00:00Z"}}
{"specversion":"1.0","id":"a4","source":"/x","type":"connect.usage","time":"2026-10-14T12:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":1}}
{"specversion":"1.0","id":"a4","source":"/x","type":"connect.usage","time":"2026-10-25T12:00:00Z","tenantid":"acme","data":{"channel":"sms","quantity":1,"revision":1}}
{"specversion":"1.0","id":"a5","source":"/x","type":"connect.usage","time":"2026-10-25T12:00:00Z","tenantid":"acme","data":{"channel":"sms"}}
{"specversion":"1.0","id":"b1","source":"/x","type":"connect.usage","time":"2026-10-15T10:00:00Z","tenantid":"beta","data":{"channel":"sms","quantity":5}}
`

// lostCase is damage to a table, and what reconcile says of it.
type lostCase struct {
	table, what string
	damage      []string
	says        string // a pattern, or nothing
}

// TestLost loses, doubles, alters and restores rows and parts of each table that figures are based on. Reconcile finds
// all that makes a difference, names where, and exits 3; it stops the tenant's issue, and nobody else's; and rebuilding
// fixes what is derived (R22). The long form does every damage to every table.
func TestLost(t *testing.T) {
	servicetest.Heavy(t, "it looks for every loss")
	t.Parallel()
	const name = "lost_tables"
	addr := servicetest.ClickHouse(t)
	config := filepath.Join(t.TempDir(), "apportion.yaml")
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, "kafka: {brokers: ['%s'], topicPrefix: %s., group: %[2]s, partitions: 1}\nclickhouse: {addr: ['%s'], database: %[2]s}\n",
		servicetest.Kafka(t), name, addr), 0o600); err != nil {
		t.Fatal(err)
	}
	apportion := func(t *testing.T, want int, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), servicetest.Patience)
		defer cancel()
		var stdout, stderr bytes.Buffer
		if code := run(ctx, append(args, "--config", config), os.Environ(), strings.NewReader(""), &stdout, &stderr); code != want {
			t.Fatalf("apportion %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &stdout, &stderr)
		}
		return stdout.String()
	}
	apportion(t, exitDone, "migrate")
	db, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: name}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sql := func(t *testing.T, statement string) {
		t.Helper()
		if err := db.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	apportion(t, exitDone, "registry", "apply", "-f", write("registry.yaml", lostRegistry(0)))
	apportion(t, exitDone, "publish", write("usage.ndjson", lostUsage))
	apportion(t, exitDone, "ingest", "--until-caught-up")
	apportion(t, exitDone, "aggregate", "--until-caught-up")
	sources := []string{"usage_events", "ingest_batches", "rejected"}
	derived := []string{"event_days", "events_on_several_days", "usage_passes", "usage_days", "usage_days_copy", "usage_daily"}
	keep := func(prefix string, tables []string) {
		for _, table := range tables {
			sql(t, "CREATE TABLE "+prefix+table+" AS "+table)
			sql(t, "INSERT INTO "+prefix+table+" SELECT * FROM "+table)
		}
	}
	keep("older_", derived)
	keep("whole_", sources)
	// All days of acme are computed again, with as many deliveries as before, and other seats.
	apportion(t, exitDone, "registry", "apply", "-f", write("registry.yaml", lostRegistry(7)))
	apportion(t, exitDone, "reconcile", "--period", "2026-10")
	apportion(t, exitDone, "bill", "issue", "--period", "2026-10", "--tenant", "beta", "--as-of", "2026-11-10T00:00:00Z", "--allow-future")

	const newest = "$newest" // stands for the part of the table that was written last
	older := func(table string) []string {
		return []string{"TRUNCATE TABLE " + table, "INSERT INTO " + table + " SELECT * FROM older_" + table}
	}
	double := func(table string) []string { return []string{"INSERT INTO " + table + " SELECT * FROM " + table} }
	detach := func(table string) []string { return []string{"ALTER TABLE " + table + " DETACH PART '" + newest + "'"} }
	lose := func(table, where string) []string { return []string{"DELETE FROM " + table + " WHERE " + where} }
	const nothing = "" // the damage makes no difference
	asked := map[string]bool{}
	cases := []lostCase{
		{"usage_days", "a date's last row", lose("usage_days", "tenant = 'acme' AND date = '2026-10-15' AND pass = (SELECT max(pass) FROM usage_days)"),
			`acme: 2026-10-15: the figures of pass \d+ are current, and those of pass \d+ were: usage_days has lost rows`},
		{"usage_days", "a date", lose("usage_days", "tenant = 'acme' AND date = '2026-10-15'"), `acme: 2026-10-15: no figures are current, and those of pass \d+ were`},
		{"usage_days", "the day after an open session's start", append(lose("usage_days", "tenant = 'acme' AND date = '2026-10-21'"), lose("usage_days_copy", "tenant = 'acme' AND date = '2026-10-21'")...),
			`acme: 2026-10-21: a session lasts into the date, and no figures are current for it`},
		{"usage_days", "a part", detach("usage_days"), `acme: 2026-10-\d\d: .*usage_days has lost rows`},
		{"usage_days", "an older copy", older("usage_days"), `acme: 2026-10-15: the figures of pass \d+ are current, and those of pass \d+ were`},
		{"usage_days", "altered", []string{"ALTER TABLE usage_days UPDATE checksum = checksum + 1 WHERE tenant = 'acme' AND date = '2026-10-15' SETTINGS mutations_sync = 2"},
			`acme: 2026-10-15: usage_daily has other figures than were written`},
		{"usage_days_copy", "a date", lose("usage_days_copy", "tenant = 'acme' AND date = '2026-10-15'"), `acme: 2026-10-15: .*usage_days_copy does not have them`},
		{"usage_daily", "one meter of a date", lose("usage_daily", "tenant = 'acme' AND date = '2026-10-14' AND meter = 'ivr_port'"), `acme: 2026-10-14: usage_daily has \d+ rows, and \d+ were written`},
		{"usage_daily", "a date that nothing begins on", lose("usage_daily", "tenant = 'acme' AND date = '2026-10-18'"), `acme: 2026-10-18: usage_daily has 0 rows, and 2 were written`},
		{"usage_daily", "doubled", []string{"INSERT INTO usage_daily SELECT * FROM usage_daily WHERE tenant = 'acme' AND date = '2026-10-18'"}, `acme: 2026-10-18: usage_daily has 4 rows, and 2 were written`},
		{"usage_daily", "another peak", []string{"ALTER TABLE usage_daily UPDATE peak = peak + 1 WHERE tenant = 'acme' AND date = '2026-10-18' SETTINGS mutations_sync = 2"},
			`acme: 2026-10-18: usage_daily has other figures than were written`},
		{"event_days", "a date", lose("event_days", "tenant = 'acme' AND toDate32(day) = '2026-10-15'"), `acme: 2026-10-15: event_days has 0 of the 2 events`},
		{"events_on_several_days", "a date", lose("events_on_several_days", "tenant = 'acme' AND toDate32(day) = '2026-10-25'"), `acme: 2026-10-25: events_on_several_days lacks 1 of the events`},
		{"usage_passes", "all", []string{"TRUNCATE TABLE usage_passes"}, nothing}, // the pass is made again
		{"usage_passes", "an older copy, from before a rebuild", older("usage_passes"), `acme: 2026-10-15: the figures of pass \d+ are current, and the last pass that was finished is \d+`},
		{"usage_events", "a row", lose("usage_events", "tenant = 'acme' AND id = 'a2'"), `usage.connect.v1/0: of the batch \S+ neither usage_events nor rejected has the offsets 1\n(.|\n)*acme: 2026-10-15: usage_events has 1 deliveries, and the figures 2`},
		{"ingest_batches", "a partition", lose("ingest_batches", "topic LIKE '%connect%'"), `usage.connect.v1/0: .*ledger`},
		{"ingest_batches", "doubled", double("ingest_batches"), `usage.connect.v1/0: the ledger has the offsets \S+ more than once`},
		{"rejected", "a row", lose("rejected", "true"), `usage.connect.v1/0: the ledger says that 1 were rejected, but the table rejected has 0`},
	}
	if servicetest.Draws(0, 1) > 0 { // damage of a kind that is done to other tables, and shows as other damage does
		cases = append(cases, []lostCase{
			{"usage_days_copy", "a part", detach("usage_days_copy"), `acme: 2026-10-\d\d: .*usage_days_copy does not have them`},
			{"usage_days_copy", "an older copy", older("usage_days_copy"), `acme: 2026-10-15: .*usage_days_copy does not have them`},
			{"usage_daily", "a part", detach("usage_daily"), `acme: 2026-10-\d\d: usage_daily has \d+ rows, and \d+ were written`},
			{"usage_daily", "an older copy", older("usage_daily"), `acme: 2026-10-15: usage_daily has 0 rows, and \d+ were written`},
			{"event_days", "a part", detach("event_days"), `acme: 2026-10-\d\d: event_days has \d of the \d events`},
			{"events_on_several_days", "a part", detach("events_on_several_days"), `acme: 2026-10-(14|25): events_on_several_days lacks 1 of the events`},
			{"usage_events", "a part", detach("usage_events"), `usage.connect.v1/0: the ledger says that \d were accepted, but usage_events has \d|usage.agent.v1/0: `},
			{"ingest_batches", "a part", detach("ingest_batches"), `usage.*ledger`},
			{"rejected", "a part", detach("rejected"), `usage.connect.v1/0: the ledger says that 1 were rejected, but the table rejected has 0`},
		}...)
	}
	// What is there twice makes no difference, in whichever of the other tables.
	var doubled []string
	for _, table := range slices.Concat(sources, derived) {
		if table != "usage_daily" && table != "ingest_batches" {
			doubled = append(doubled, double(table)...)
		}
	}
	cases = append(cases, lostCase{"all others", "doubled", doubled, nothing})
	for _, c := range cases {
		t.Run(c.table+": "+c.what, func(t *testing.T) {
			for _, statement := range c.damage {
				if !strings.Contains(statement, newest) {
					sql(t, statement)
					continue
				}
				servicetest.Until(t, "a part is detached that no merge has taken meanwhile", func() bool {
					return db.Exec(t.Context(), strings.ReplaceAll(statement, newest, newestPart(t, db, c.table))) == nil
				})
			}
			if c.says == nothing {
				apportion(t, exitDone, "reconcile", "--period", "2026-10")
				return
			}
			said := apportion(t, exitFindings, "reconcile", "--period", "2026-10")
			if !regexp.MustCompile(`unbalanced: (\S*\.)?(` + c.says + `)`).MatchString(said) {
				t.Errorf("reconcile says\n%s\nwant %s", said, c.says)
			}
			if slices.Contains(derived, c.table) {
				// What is billed is asked of each table once: it goes by the same balance.
				asks := servicetest.Draws(0, 1) > 0 || !asked[c.table]
				asked[c.table] = true
				if asks && c.table != "usage_passes" {
					if said := apportion(t, exitFindings, "bill", "issue", "--period", "2026-10", "--tenant", "acme", "--as-of", "2026-11-10T00:00:00Z", "--allow-future"); !strings.Contains(said, "stopped: acme 2026-10: unbalanced (R22)") {
						t.Errorf("the issue of acme says\n%s", said)
					}
				}
				if asks {
					apportion(t, exitDone, "bill", "issue", "--period", "2026-10", "--tenant", "beta", "--as-of", "2026-11-10T00:00:00Z", "--allow-future")
				}
				apportion(t, exitDone, "aggregate", "--rebuild")
			} else {
				for _, table := range sources {
					sql(t, "TRUNCATE TABLE "+table)
					sql(t, "INSERT INTO "+table+" SELECT * FROM whole_"+table)
				}
			}
			if said := apportion(t, exitDone, "reconcile", "--period", "2026-10"); strings.Contains(said, "unbalanced") {
				t.Errorf("once it is fixed reconcile says\n%s", said)
			}
		})
	}
}

// newestPart returns the part of a table that was written last.
func newestPart(t *testing.T, db driver.Conn, table string) (name string) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT argMax(name, (max_block_number, name)) FROM system.parts WHERE active AND database = currentDatabase() AND table = ?`, table).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}
