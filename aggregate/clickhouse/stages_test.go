package clickhouse_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/shopspring/decimal"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/schemas"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
	"apportion/schemas/timeline"
)

var (
	update  = flag.Bool("update", false, "rewrite the stages in testdata/stages")
	printTo = flag.String("print-sql", "", "a file to write the query of usage to, with made deliveries and tables")
)

// stages are what a script may show of the expressions of sql/*.sql: names of columns, and what they have.
var stages = map[string]struct{ columns, query string }{
	"resolved": {"id type start end agent deliveries wins conflict", `
		SELECT [id, toString(type), $time(start_ms), $time(end_ms), agent || entry_point || channel, toString(deliveries),
			if(wins, 'wins', '-'), if(conflict, 'conflict', '-')] AS r FROM resolved ORDER BY r`},
	"attributed": {"id date meter subscription counts notes", `
		SELECT [a.id, toString(c.date), transform(a.meter_number, [1, 2, 3], ['agent_standard', 'agent_premium', 'ivr_port'], 'connect'),
			n.subscription, if(a.counts, 'counts', '-'), arrayStringConcat(arrayFilter(f -> f != '', [if(is_unallocated, 'unallocated', ''),
			if(is_unmapped, 'unmapped', ''), if(is_open, 'open', ''), if(is_unknown_subscription, 'unknown_subscription', ''),
			if(is_conflict, 'conflict', ''), if(a.unknown_tenant, 'unknown_tenant', '')]), ',')] AS r
		FROM attributed AS a INNER JOIN calendar AS c ON a.day = c.day LEFT JOIN names AS n ON a.number = n.number ORDER BY r`},
	"pieces": {"date meter from to subscription deliveries quantity flags", `
		SELECT [toString(c.date), toString(p.meter), if(is_live(word_of(p.packed)), $clock(live_from_of(word_of(p.packed))), '-'),
			if(is_live(word_of(p.packed)), $clock(live_to_of(word_of(p.packed))), '-'), if(p.meter >= CONNECT, '-', n.subscription),
			toString(if(p.meter >= CONNECT, connect_deliveries_of(word_of(p.packed)), deliveries_of(beside_of(p.packed)))),
			if(p.meter >= CONNECT, toString(quantity_of(beside_of(p.packed)) / 1000000), '-'),
			arrayStringConcat(arrayMap(f -> f.2, arrayFilter(f -> has_flag(word_of(p.packed), f.1), [(STARTS, 'starts'), (NOTED, 'noted'),
			(SUPERSEDED, 'superseded'), (VOIDED, 'voided'), (UNALLOCATED, 'unallocated'), (UNKNOWN_TENANT, 'unknown_tenant'),
			(UNMAPPED, 'unmapped'), (OPEN_SESSION, 'open'), (UNKNOWN_SUBSCRIPTION, 'unknown_subscription'), (CONFLICT, 'conflict')])), ',')] AS r
		FROM pieces AS p INNER JOIN calendar AS c ON p.day = c.day LEFT JOIN names AS n ON subscription_of(beside_of(p.packed)) = n.number ORDER BY r`},
	"summed": {"date meter subscription changes events seconds units agents", `
		SELECT [toString(c.date), toString(s.meter), n.subscription,
			arrayStringConcat(arrayMap(e -> if(e % 2 = 1, '+', '-') || $clock(intDiv(e, 2)), s.changes), ','),
			toString(s.events), toString(s.milliseconds / 1000), toString(s.units), toString(finalizeAggregation(s.agents))] AS r
		FROM summed AS s INNER JOIN calendar AS c ON s.day = c.day LEFT JOIN names AS n ON s.scope = n.number ORDER BY r`},
	"daily": {"date meter subscription entitled peak at accepted duplicate superseded voided unallocated unknown_tenant", `
		SELECT [toString(date), meter, subscription, toString(entitled), toString(peak), $time(if(peak = 0, -1, peak_ms)), toString(accepted), toString(duplicate),
			toString(superseded), toString(voided), toString(unallocated), toString(unknown_tenant)] AS r FROM daily ORDER BY r`},
}

// TestStages holds the expressions of sql/*.sql, one by one, to scripts: deliveries in, rows out. A script has the
// stages that it is about.
func TestStages(t *testing.T) {
	scripts, err := filepath.Glob("testdata/stages/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	conn := tablestest.Open(t)
	shown := map[string]bool{}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			script, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			truncate(t, conn)
			in := aggregate.Inputs{Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime,
				Bound: aggregate.ReadBound{Positions: []aggregate.Position{{Topic: "usage", LastOffset: 1 << 40}}, ArrivedBy: aggregate.EndOfTime}}
			for i, f := range script.Files {
				switch f.Name {
				case "registry":
					readRegistry(t, string(f.Data), &in)
				case "deliveries":
					insert(t, conn, 0, readDeliveries(t, string(f.Data)))
				default:
					got := stage(t, conn, in, f.Name)
					shown[f.Name] = true
					if *update {
						script.Files[i].Data = []byte(got)
					} else if got != string(f.Data) {
						t.Errorf("%s has\n%s\nand the script\n%s", f.Name, got, f.Data)
					}
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for name := range stages {
		if !shown[name] {
			t.Errorf("no script shows the stage %s", name)
		}
	}
}

// stage returns the rows of a stage as a table.
func stage(t *testing.T, conn driver.Conn, in aggregate.Inputs, name string) string {
	t.Helper()
	s, ok := stages[name]
	if !ok {
		t.Fatalf("there is no stage %s", name)
	}
	query := strings.NewReplacer("$time(", "time_of(", "$clock(", "clock_of(").Replace(s.query)
	query = `, ms -> if(ms < 0, '-', formatDateTime(fromUnixTimestamp64Milli(ms, 'UTC'), '%m-%dT%H:%i:%S')) AS time_of,
		ms -> concat(leftPad(toString(intDiv(ms, 3600000)), 2, '0'), ':', leftPad(toString(intDiv(ms, 60000) % 60), 2, '0'), ':',
			leftPad(toString(intDiv(ms, 1000) % 60), 2, '0')) AS clock_of` + query
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(s.columns, " ", "\t"))
	if err := clickhouse.EachOfStage(t.Context(), conn, in, query, func(rows driver.Rows) error {
		var cells []string
		if err := rows.Scan(&cells); err != nil {
			return err
		}
		for i, cell := range cells {
			if cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return table.String()
}

// readRegistry reads what the registry says of acme, a line each: `days FROM TO`, `zone NAME`, `primary S`, `active S`,
// `agent NAME S CLASS`, `entry-point NAME S` and `entitled S METER N`, `-` for the tenant as a whole. All hold at all
// times, or for a line that ends in `until DATE` before that.
func readRegistry(t *testing.T, text string, in *aggregate.Inputs) {
	t.Helper()
	tenant := timeline.Tenant{Zone: civil.UTC, Active: map[string]timeline.Line[bool]{}, Agents: map[string]timeline.Line[timeline.Mapping]{},
		EntryPoints: map[string]timeline.Line[string]{}, Entitlements: map[timeline.EntitlementOf]timeline.Line[int64]{}}
	var days []civil.Date
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words, until, ends := strings.Cut(line, " until ")
		w := strings.Fields(words)
		var end int64
		if ends {
			end = tenant.Zone.Start(mustDate(t, until))
		}
		switch w[0] {
		case "zone":
			zone, err := civil.LoadZone(w[1])
			if err != nil {
				t.Fatal(err)
			}
			tenant.Zone = zone
		case "days":
			days = []civil.Date{mustDate(t, w[1]), mustDate(t, w[2])}
		case "primary":
			tenant.Primary = before(w[1], end)
		case "active":
			tenant.Active[w[1]] = before(true, end)
		case "agent":
			tenant.Agents[w[1]] = before(timeline.Mapping{Subscription: w[2], Premium: w[3] == "premium"}, end)
		case "entry-point":
			tenant.EntryPoints[w[1]] = before(w[2], end)
		case "entitled":
			n, err := strconv.ParseInt(w[3], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			tenant.Entitlements[timeline.EntitlementOf{Subscription: strings.Trim(w[1], "-"), Meter: w[2]}] = before(n, end)
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	in.Timelines = aggregate.Timelines{"acme": aggregate.Known(tenant)}
	in.Days = aggregate.Days("acme", tenant.Zone, days[0], days[1])
}

// before is a value at all times or, if end is not 0, before that.
func before[V comparable](value V, end int64) timeline.Line[V] {
	var none V
	line := timeline.Line[V]{{FromMS: timeline.Start, Value: value}}
	if end != 0 {
		line = append(line, timeline.Step[V]{FromMS: end, Value: none})
	}
	return line
}

func mustDate(t *testing.T, s string) civil.Date {
	t.Helper()
	d, err := civil.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// readDeliveries reads deliveries of acme, a line each: `agent ID START END NAME`, `ivr ID START END ENTRY-POINT` or
// `connect ID TIME CHANNEL QUANTITY`, instants in UTC and an open end as `-`; then, if need be, `rev=N`, `for=S`,
// `class=C`, `void` and `x2` for one that comes twice.
func readDeliveries(t *testing.T, text string) (deliveries []schemas.Event) {
	t.Helper()
	instant := func(s string) int64 {
		if s == "-" {
			return schemas.Absent
		}
		at, err := time.Parse("2006-01-02T15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMilli()
	}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		w := strings.Fields(line)
		e := schemas.Event{Tenant: "acme", Source: "/s", ID: w[1], StartMS: schemas.Absent, EndMS: schemas.Absent, TimeMS: instant(w[2])}
		switch w[0] {
		case "agent":
			e.Type, e.StartMS, e.EndMS, e.Agent = schemas.AgentSession, instant(w[2]), instant(w[3]), w[4]
		case "ivr":
			e.Type, e.StartMS, e.EndMS, e.EntryPoint = schemas.IVRSession, instant(w[2]), instant(w[3]), w[4]
		case "connect":
			quantity, err := decimal.NewFromString(w[4])
			if err != nil {
				t.Fatal(err)
			}
			e.Type, e.Channel, e.Quantity = schemas.ConnectUsage, w[3], quantity.Shift(6).IntPart()
		default:
			t.Fatalf("what is %q?", line)
		}
		times := 1
		for _, option := range w[5:] {
			switch name, value, _ := strings.Cut(option, "="); name {
			case "rev":
				revision, err := strconv.ParseInt(value, 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				e.Revision = int32(revision)
			case "for":
				e.Subscription = value
			case "class":
				e.Class = value
			case "void":
				e.Voided = true
			case "x2":
				times = 2
			default:
				t.Fatalf("what is %q?", option)
			}
		}
		deliveries = append(deliveries, slices.Repeat([]schemas.Event{e}, times)...)
	}
	return deliveries
}

// TestPrintedQuery: what `make sql` prints, with the tables and deliveries that it makes, runs as it stands. On the
// 14th 26 agents are live at once.
func TestPrintedQuery(t *testing.T) {
	zone, err := civil.LoadZone("Europe/Stockholm")
	if err != nil {
		t.Fatal(err)
	}
	acme := timeline.Tenant{Zone: zone, Primary: always("Sub1"), Active: map[string]timeline.Line[bool]{"Sub1": always(true), "Sub2": always(true)},
		Entitlements: map[timeline.EntitlementOf]timeline.Line[int64]{{Meter: schemas.AgentStandard}: always[int64](25)}}
	printed, err := clickhouse.Printed(aggregate.Inputs{
		Days:  aggregate.Days("acme", zone, civil.NewDate(2026, 10, 14), civil.NewDate(2026, 10, 17)),
		Bound: aggregate.ReadBound{Positions: []aggregate.Position{{Topic: "usage", LastOffset: 9999}}, ArrivedBy: aggregate.EndOfTime},
		Rules: aggregate.DefaultRules(), NowMS: aggregate.EndOfTime, Timelines: aggregate.Timelines{"acme": aggregate.Known(acme)}})
	if err != nil {
		t.Fatal(err)
	}
	var statements []string
	for _, file := range []string{"001_usage_events.sql", "002_ingest.sql", "003_usage_daily.sql", "testdata/october.sql"} {
		text, err := os.ReadFile(filepath.Join("../../schemas/tables", file))
		if err != nil {
			t.Fatal(err)
		}
		for statement := range strings.SplitSeq(clickhouse.Comment.ReplaceAllString(string(text), ""), ";\n") {
			if statement = strings.TrimSpace(statement); statement != "" {
				statements = append(statements, statement)
			}
		}
	}
	statements = append(statements, printed...)
	if *printTo != "" {
		script := "-- What computes usage, with tables and a made October of its own, for clickhouse-client or clickhouse local.\n" +
			"CREATE DATABASE IF NOT EXISTS apportion_sql;\n\nUSE apportion_sql;\n\n" + strings.Join(statements, ";\n\n") + ";\n"
		if err := os.WriteFile(*printTo, []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conn := tablestest.Open(t)
	last := len(statements) - 1
	for _, statement := range statements[:last] {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%v in\n%s", err, statement)
		}
	}
	var peak uint64
	if err := conn.QueryRow(t.Context(), `SELECT max(peak) FROM (`+statements[last]+`) WHERE meter = 'agent_standard'`).Scan(&peak); err != nil || peak != 26 {
		t.Errorf("the peak is %d, %v; want 26", peak, err)
	}
}
