package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"apportion/deploy/embedded/servicetest"
	"apportion/schemas/tables/tablestest"
)

// TestClocksApart: by a clock that is further than five minutes from ClickHouse's, ahead or behind, nothing is issued.
func TestClocksApart(t *testing.T) {
	addr, database := servicetest.Database(t)
	tablestest.OpenIn(t, addr, database)
	for _, c := range []struct {
		ahead time.Duration
		apart bool
	}{{6 * time.Minute, true}, {-6 * time.Minute, true}, {3 * 365 * 24 * time.Hour, true}, {0, false}} {
		var stdout, stderr bytes.Buffer
		a := &app{stdout: &stdout, stderr: &stderr, clock: func() time.Time { return time.Now().Add(c.ahead) }}
		code := runApp(t.Context(), a, []string{"bill", "issue", "--period", "2026-07",
			"--set", "clickhouse.addr=" + addr, "--set", "clickhouse.database=" + database, "--set", "kafka.brokers=" + servicetest.Kafka(t)})
		if said := stderr.String(); code == exitDone || strings.Contains(said, "nothing is issued until they agree") != c.apart ||
			c.apart && code != exitFailed {
			t.Errorf("%v ahead: exit code %d: %s", c.ahead, code, said)
		}
	}
}

// TestAsOfFuture: what is issued as of later than the clock is asked for by name (R20).
func TestAsOfFuture(t *testing.T) {
	now := time.Date(2026, 10, 5, 12, 0, 0, 0, time.UTC)
	of := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		a := &app{stdout: &stdout, stderr: &stderr, clock: func() time.Time { return now }}
		code := runApp(t.Context(), a, append([]string{"bill", "issue", "--period", "2026-09", "--as-of", "2026-10-05T12:00:00.001Z"}, args...))
		return code, stderr.String()
	}
	if code, said := of(); code != exitUsage || !strings.Contains(said, "as_of_future: ") || !strings.Contains(said, "--allow-future") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if _, said := of("--allow-future"); strings.Contains(said, "as_of_future") {
		t.Error(said)
	}
	now = now.Add(time.Millisecond)
	if _, said := of(); strings.Contains(said, "as_of_future") {
		t.Error(said)
	}
}
