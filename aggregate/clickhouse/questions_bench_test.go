package clickhouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"apportion/aggregate"
	"apportion/aggregate/clickhouse"
	"apportion/billing"
	stores "apportion/billing/clickhouse"
	"apportion/schemas/civil"
	"apportion/schemas/tables/tablestest"
)

// BenchmarkQuestions asks every documented question of the largest tenant of a month of ten million sessions, which has
// a quarter of them, and prints what each took: the best of three, in time, in processor time of the server, and in memory.
// Run it with -benchtime 1x.
func BenchmarkQuestions(b *testing.B) {
	sessions := 10_000_000
	if s := os.Getenv("APPORTION_BENCH_SESSIONS"); s != "" {
		var err error
		if sessions, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	conn := tablestest.Open(b)
	fillMonth(b, conn, sessions)
	state := thousandTenants(b)
	var rows []stores.TenantRow
	for _, t := range state.Tenants() {
		zone, err := civil.LoadZone(t.TimeZone)
		if err != nil {
			b.Fatal(err)
		}
		rows = append(rows, stores.TenantRow{Tenant: t, Lines: t.Timelines(zone, 2), TZVersion: civil.Edition()})
	}
	if err := stores.WriteTenants(b.Context(), conn, rows...); err != nil {
		b.Fatal(err)
	}
	snapshot, err := billing.Snapshot(state, billing.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	pass := timed(func() {
		if _, err := aggregate.Refresh(b.Context(), clickhouse.NewStore(conn), snapshot, aggregate.DefaultRules(), func(int, int) {}); err != nil {
			b.Fatal(err)
		}
	})
	files, err := filepath.Glob("../../schemas/tables/examples/*.sql")
	if err != nil || len(files) == 0 {
		b.Fatal(files, err)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%d sessions, computed in %.1f s\ttime\tprocessor\tmemory\trows\t\n", sessions, pass.Seconds())
	for b.Loop() {
		for _, file := range files {
			query, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			best := question{time: time.Hour}
			for range 3 {
				if q := ask(b, conn, strings.ReplaceAll(string(query), "'acme'", "'tenant-0'")); q.time < best.time {
					best = q
				}
			}
			fmt.Fprintf(w, "%s\t%d ms\t%d ms\t%d MiB\t%d\t\n", filepath.Base(file), best.time.Milliseconds(), best.processor.Milliseconds(), best.memory>>20, best.rows)
		}
	}
	w.Flush()
}

// question is what one took.
type question struct {
	time, processor time.Duration
	memory          int64
	rows            int
}

func ask(b *testing.B, conn ch.Conn, query string) (q question) {
	ctx := ch.Context(b.Context(), ch.WithProfileEvents(func(events []ch.ProfileEvent) {
		for _, e := range events {
			switch e.Name {
			case "OSCPUVirtualTimeMicroseconds":
				q.processor += time.Duration(e.Value) * time.Microsecond
			case "MemoryTrackerPeakUsage":
				q.memory = max(q.memory, e.Value)
			}
		}
	}))
	q.time = timed(func() {
		rows, err := conn.Query(ctx, query)
		if err != nil {
			b.Fatalf("%v in\n%s", err, query)
		}
		defer rows.Close()
		for rows.Next() {
			q.rows++
		}
		if err := rows.Err(); err != nil {
			b.Fatal(err)
		}
	})
	return q
}
