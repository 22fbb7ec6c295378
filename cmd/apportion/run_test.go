package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/rogpeppe/go-internal/testscript"
)

// comes is the script command `comes RESULT QUERY`, which waits until the query of one value has that result.
func comes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: comes RESULT QUERY")
	}
	cfg := scriptConfig(ts)
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: cfg.ClickHouse.Addr, Auth: clickhouse.Auth{Database: cfg.ClickHouse.Database}})
	ts.Check(err)
	defer conn.Close()
	began := time.Now()
	var got string
	for ; time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		ts.Check(conn.QueryRow(context.Background(), "SELECT toString(("+args[1]+"))").Scan(&got))
		if got == args[0] {
			ts.Logf("after %s", time.Since(began).Round(time.Millisecond))
			return
		}
	}
	ts.Fatalf("it is %s, not %s", got, args[0])
}

// serves is the script command `serves URL PATTERN`, which waits until what is served there matches.
func serves(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serves URL PATTERN")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	var last string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		response, err := http.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		ts.Check(err)
		if last = string(body); pattern.MatchString(last) {
			return
		}
	}
	ts.Fatalf("%s has no match for %s:\n%s", args[0], args[1], last)
}

// freeAddress returns an address on this machine that nobody listens on.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A part that fails is run again, later and later, until it is interrupted or fails for good.
func TestKeep(t *testing.T) {
	var said strings.Builder
	a := &app{log: slog.New(slog.NewTextHandler(&said, nil))}
	runs := 0
	err := a.keep(t.Context(), "part", func(context.Context) error {
		if runs++; runs < 3 {
			return errors.New("away")
		}
		return usagef("not so")
	})
	if !errors.As(err, new(usageError)) || err.Error() != "part: not so" || runs != 3 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	for _, want := range []string{`msg="part failed and will be tried again" error=away in=250ms`, `in=500ms`} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, said.String())
		}
	}
	if err := a.keep(t.Context(), "part", func(context.Context) error { return lasting{errors.New("address in use")} }); err == nil || a.exitCode(err) == exitDone {
		t.Errorf("an error that lasts: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := a.keep(ctx, "part", func(ctx context.Context) error { cancel(); return ctx.Err() }); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// The schedule is in UTC, whatever the machine's zone and the clock changes of others: one firing an hour.
func TestTimetable(t *testing.T) {
	for expression, want := range map[string]string{
		"7 * * * *": "", "@hourly": "", "@every 90m": "", "0 4 29 2 *": "",
		"":                      "empty",
		"7 * * *":               "expected exactly 5 fields",
		"61 * * * *":            "above maximum",
		"0 4 30 2 *":            "never comes",
		"CRON_TZ=UTC":           "names a time zone",
		"TZ=Europe/Oslo 0 4 *":  "names a time zone",
		"CRON_TZ=UTC 0 4 * * *": "names a time zone",
	} {
		_, err := parseTimetable(expression)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", expression, err, want)
		}
	}
	timetable, err := parseTimetable(DefaultConfig().Schedule.Issue)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC)
	for range 100 {
		next := timetable.Next(at)
		if gap := next.Sub(at); at.Minute() == 7 && gap != time.Hour || next.Location() != time.UTC {
			t.Fatalf("after %s comes %s", at, next)
		}
		at = next
	}
}
