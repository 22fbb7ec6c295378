package embedded_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"apportion/deploy/embedded"
	"apportion/deploy/embedded/servicetest"
)

func startClickHouse(t *testing.T, o embedded.Options) *embedded.ClickHouse {
	t.Helper()
	servicetest.ClickHouse(t) // skips where there is none
	c, err := embedded.StartClickHouse(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop() })
	return c
}

func connect(t *testing.T, addr, database string) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func exec1(t *testing.T, conn driver.Conn, sql string) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scalar[T any](t *testing.T, conn driver.Conn, sql string) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func port(t *testing.T, addr string) int {
	t.Helper()
	_, s, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStopIsCleanAndKeepsRows(t *testing.T) {
	o := embedded.Options{Data: t.TempDir()}
	c := startClickHouse(t, o)
	conn := connect(t, c.Addr, "default")
	exec1(t, conn, "CREATE DATABASE apportion")
	exec1(t, conn, "CREATE TABLE apportion.events (n UInt64) ENGINE = MergeTree ORDER BY n")
	exec1(t, conn, "INSERT INTO apportion.events SELECT number FROM numbers(1000)")

	for range 2 { // a second Stop is no error
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if alive(c.PID()) {
		t.Error("the process outlived Stop")
	}
	if err, open := <-c.Done(); open {
		t.Errorf("a stop that was asked for is reported as %v", err)
	}
	c = startClickHouse(t, o)
	if got := scalar[uint64](t, connect(t, c.Addr, "apportion"), "SELECT count() FROM events"); got != 1000 {
		t.Errorf("%d rows after a restart, want 1000", got)
	}
}

func TestStopDoesNotWaitForQueries(t *testing.T) {
	c := startClickHouse(t, embedded.Options{Data: t.TempDir()})
	conn := connect(t, c.Addr, "default")
	failed := make(chan error, 1)
	go func() {
		var n uint64
		failed <- conn.QueryRow(context.Background(), "SELECT count() FROM system.numbers").Scan(&n)
	}()
	for scalar[uint64](t, connect(t, c.Addr, "default"), "SELECT count() FROM system.processes WHERE query LIKE '%FROM system.numbers'") == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if err := c.Stop(); err != nil { // as when it has to be killed
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("an endless query came to an end")
	}
}

func TestInterruptAtTheTerminalIsNotTheServers(t *testing.T) {
	c := startClickHouse(t, embedded.Options{Data: t.TempDir()})
	group, err := syscall.Getpgid(c.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group == syscall.Getpgrp() {
		t.Error("the server is in the process group that a terminal interrupts")
	}
}

// TestClickHouseIsStartedAgain does everything to a server that ends it, while a client goes on inserting
// batches and repeats those that failed.
func TestClickHouseIsStartedAgain(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	log := &servicetest.Log{}
	c := startClickHouse(t, embedded.Options{Data: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil))})
	conn := connect(t, c.Addr, "default")
	exec1(t, conn, "CREATE DATABASE apportion")
	exec1(t, conn, "CREATE TABLE apportion.events (batch UInt32, n UInt32) ENGINE = ReplacingMergeTree ORDER BY (batch, n)")

	var acknowledged atomic.Uint32
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			insert := fmt.Sprintf("INSERT INTO apportion.events SELECT %d, number FROM numbers(5000)", acknowledged.Load())
			if conn.Exec(ctx, insert) == nil {
				acknowledged.Add(1)
			} else {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	until := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("5 minutes went by before %s; the log has:\n%s", what, log)
			}
		}
	}
	insertsGoOn := func() {
		t.Helper()
		before := acknowledged.Load()
		until("inserts go on", func() bool { return acknowledged.Load() > before+2 })
	}
	knock := func(auth clickhouse.Auth) {
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{c.Addr}, Auth: auth})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if err := conn.Ping(t.Context()); err == nil {
			t.Errorf("%+v was let in", auth)
		}
	}
	send := func(bytes string, wait time.Duration) (answer string) {
		conn, err := net.Dial("tcp", c.Addr)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(wait))
		conn.Write([]byte(bytes))
		b := make([]byte, 1000)
		n, _ := conn.Read(b)
		return string(b[:n])
	}

	insertsGoOn()
	for _, test := range []struct {
		name, words string
		do          func()
	}{
		{"a wrong user", "nobody: Authentication failed", func() { knock(clickhouse.Auth{Username: "nobody"}) }},
		{"an unknown database", "Database nowhere does not exist", func() { knock(clickhouse.Auth{Database: "nowhere"}) }},
		{"stray bytes", "", func() { send("\x00\xff\x03\xff\xff\xff\xff", 200*time.Millisecond) }},
		{"a kill", "signal: killed", func() { syscall.Kill(c.PID(), syscall.SIGKILL) }},
	} {
		before := c.PID()
		test.do()
		until("a new server after "+test.name, func() bool { return c.PID() != before })
		insertsGoOn()
		if !strings.Contains(log.String(), test.words) {
			t.Errorf("the log does not say %q:\n%s", test.words, log)
		}
	}
	if answer := send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 5*time.Minute); !strings.Contains(answer, "400 Bad Request") {
		t.Errorf("an HTTP request on the native port is answered with %q", answer)
	}
	insertsGoOn()
	stop()
	<-stopped
	if got := strings.Count(log.String(), "level=WARN"); got != 4 {
		t.Errorf("%d warnings for 4 deaths:\n%s", got, log)
	}
	whole := scalar[uint64](t, connect(t, c.Addr, "default"), fmt.Sprintf(
		"SELECT count() FROM (SELECT batch FROM apportion.events FINAL WHERE batch < %d GROUP BY batch HAVING count() = 5000)", acknowledged.Load()))
	if whole != uint64(acknowledged.Load()) {
		t.Errorf("%d of %d acknowledged batches are whole", whole, acknowledged.Load())
	}

	// One that keeps ending is given up.
	var err error
	for open, killed := true, 0; open && err == nil; {
		select {
		case err, open = <-c.Done():
		default:
			if pid := c.PID(); pid != killed {
				syscall.Kill(pid, syscall.SIGKILL)
				killed = pid
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "ended by itself 20 times within 1m0s, at last: signal: killed") {
		t.Errorf("the end of the server is reported as %v", err)
	}
	if err := c.Stop(); err != nil {
		t.Errorf("stopping what has ended: %v", err)
	}
}

func TestStopWhileStartingAgain(t *testing.T) {
	o := embedded.Options{Data: t.TempDir()}
	for range 3 {
		c := startClickHouse(t, o)
		syscall.Kill(c.PID(), syscall.SIGKILL)
		time.Sleep(rand.N(100 * time.Millisecond))
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		if err, open := <-c.Done(); open {
			t.Errorf("a stop that was asked for is reported as %v", err)
		}
		if alive(c.PID()) {
			t.Error("the process outlived Stop")
		}
	}
}

func TestTwoServersDoNotShareData(t *testing.T) {
	o := embedded.Options{Data: t.TempDir()}
	startClickHouse(t, o)
	_, err := embedded.StartClickHouse(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second server on the same data: %v", err)
	}
}

func TestPortOfAnotherServerIsRefused(t *testing.T) {
	c := startClickHouse(t, embedded.Options{Data: t.TempDir()})
	for taken, o := range map[string]embedded.Options{
		c.Addr:     {ClickHousePort: port(t, c.Addr)},
		c.HTTPAddr: {HTTPPort: port(t, c.HTTPAddr)},
	} {
		o.Data = t.TempDir()
		_, err := embedded.StartClickHouse(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("start on the ports of another server (%+v): %v", o, err)
		}
	}
}

func TestServersStartedAtOnce(t *testing.T) {
	servicetest.ClickHouse(t)
	const n = 4
	type result struct {
		c   *embedded.ClickHouse
		err error
	}
	results := make(chan result)
	for range n {
		dir := t.TempDir()
		go func() {
			c, err := embedded.StartClickHouse(context.Background(), embedded.Options{Data: dir})
			results <- result{c, err}
		}()
	}
	seen := map[string]bool{}
	for range n {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		defer r.c.Stop()
		seen[r.c.Addr], seen[r.c.HTTPAddr] = true, true
	}
	if len(seen) != 2*n {
		t.Errorf("%d servers share %d addresses", n, len(seen))
	}
}

func TestClickHouseOnPathIsUsed(t *testing.T) {
	servicetest.ClickHouse(t)
	library, err := embedded.Library(t.Context(), os.Stderr)
	if err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		version string
		used    bool
	}{
		{"26.8.1.1", true},
		{"25.12.3.4", false},
	} {
		t.Run(test.version, func(t *testing.T) {
			bin, data := t.TempDir(), t.TempDir()
			script := fmt.Sprintf(`#!/bin/sh
test "$1" = local || exit 1
shift
test "$1" = --version && { echo 'ClickHouse local version %s.'; exit; }
touch '%s/used'
_APPORTION_RUN_CLICKHOUSE='%s' exec '%s' "$@"
`, test.version, bin, library, self)
			if err := os.WriteFile(filepath.Join(bin, "clickhouse"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			c := startClickHouse(t, embedded.Options{Data: data})
			if got := scalar[uint8](t, connect(t, c.Addr, "default"), "SELECT 1"); got != 1 {
				t.Errorf("SELECT 1 gave %d", got)
			}
			if _, err := os.Stat(filepath.Join(bin, "used")); (err == nil) != test.used {
				t.Errorf("version %s: used = %v, want %v", test.version, err == nil, test.used)
			}
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFailedStartSaysWhy(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\ntest \"$2\" = --version && { echo 'ClickHouse local version 26.7.2.1.'; exit; }\necho 'the disk is gone' >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(bin, "clickhouse"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	_, err := embedded.StartClickHouse(t.Context(), embedded.Options{Data: t.TempDir()})
	for _, part := range []string{"exit status 3", "the disk is gone"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("a start that fails: %v, which does not say %q", err, part)
		}
	}
}

func TestTypesRoundTrip(t *testing.T) {
	addr, database := servicetest.Database(t)
	conn := connect(t, addr, database)
	exec1(t, conn, `CREATE TABLE kinds (at DateTime64(3, 'UTC'), quantity Decimal(18, 6), tenant LowCardinality(String)) ENGINE = MergeTree ORDER BY at`)
	at := time.Date(2026, 10, 25, 0, 59, 59, 123e6, time.UTC)
	quantity := decimal.RequireFromString("999999999999.000001")
	batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO kinds")
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Append(at, quantity, "acme"); err != nil {
		t.Fatal(err)
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	var (
		gotAt       time.Time
		gotQuantity decimal.Decimal
		gotTenant   string
	)
	if err := conn.QueryRow(t.Context(), "SELECT * FROM kinds").Scan(&gotAt, &gotQuantity, &gotTenant); err != nil {
		t.Fatal(err)
	}
	if !gotAt.Equal(at) || !gotQuantity.Equal(quantity) || gotTenant != "acme" {
		t.Errorf("got %v, %v, %q; want %v, %v, acme", gotAt, gotQuantity, gotTenant, at, quantity)
	}
}

func TestExternalTables(t *testing.T) {
	addr, database := servicetest.Database(t)
	conn := connect(t, addr, database)
	days, err := ext.NewTable("days", ext.Column("tenant", "String"), ext.Column("day", "Int32"))
	if err != nil {
		t.Fatal(err)
	}
	for day := range int32(3) {
		if err := days.Append("acme", day); err != nil {
			t.Fatal(err)
		}
	}
	var sum int64
	ctx := clickhouse.Context(t.Context(), clickhouse.WithExternalTable(days))
	if err := conn.QueryRow(ctx, "SELECT sum(day) FROM days WHERE tenant = 'acme'").Scan(&sum); err != nil {
		t.Fatal(err)
	}
	if sum != 3 {
		t.Errorf("sum over an external table is %d, want 3", sum)
	}
}

// TestSQLThatIsReliedOn runs each feature of ClickHouse that ingest and aggregation build on.
func TestSQLThatIsReliedOn(t *testing.T) {
	addr, database := servicetest.Database(t)
	conn := connect(t, addr, database)
	exec1(t, conn, "CREATE TABLE v (k UInt32, month UInt32, rev UInt32, value UInt32) ENGINE = ReplacingMergeTree(rev) PARTITION BY month ORDER BY k")
	exec1(t, conn, "INSERT INTO v VALUES (1, 10, 0, 5), (2, 10, 0, 6), (3, 11, 0, 7)")
	exec1(t, conn, "INSERT INTO v VALUES (1, 10, 1, 50)")
	want := func(sql string, want uint64) {
		t.Helper()
		if got := scalar[uint64](t, conn, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	want("SELECT toUInt64(sum(value)) FROM v FINAL", 63)
	want("SELECT toUInt64(sum(x)) FROM (SELECT argMax(value, rev) AS x FROM v GROUP BY k)", 63)
	want("SELECT toUInt64(b.value) FROM (SELECT 3 AS k, 11 AS month, 10 AS at) a ASOF JOIN (SELECT k, month, 4 AS at, value FROM v) b ON a.k = b.k AND a.month = b.month AND a.at >= b.at", 7)
	want("WITH x AS MATERIALIZED (SELECT rand64() AS r) SELECT toUInt64((SELECT r FROM x) = (SELECT r FROM x)) SETTINGS enable_materialized_cte = 1", 1)

	exec1(t, conn, "DELETE FROM v WHERE k = 2")
	want("SELECT toUInt64(sum(value)) FROM v FINAL", 57)
	exec1(t, conn, "ALTER TABLE v UPDATE value = value + 1 WHERE k = 3 SETTINGS mutations_sync = 1")
	want("SELECT toUInt64(sum(value)) FROM v FINAL", 58)
	exec1(t, conn, "CREATE TABLE w AS v")
	exec1(t, conn, "INSERT INTO w VALUES (9, 11, 0, 1)")
	exec1(t, conn, "ALTER TABLE v REPLACE PARTITION 11 FROM w")
	want("SELECT toUInt64(sum(value)) FROM v FINAL", 51)
}

func TestTimeZoneOfTheServerIsUTC(t *testing.T) {
	if got := scalar[string](t, connect(t, servicetest.ClickHouse(t), "default"), "SELECT timezone()"); got != "UTC" {
		t.Errorf("time zone %q", got)
	}
}

func TestMain(m *testing.M) {
	embedded.RunChild()
	if data := os.Getenv(helperEnv); data != "" {
		runHelper(data)
		return
	}
	servicetest.Main(m)
}

// helperEnv has this test binary run both servers on a data directory, to be killed together.
const helperEnv = "APPORTION_TEST_HELPER"

func runHelper(data string) {
	servers, err := embedded.Start(context.Background(), embedded.Options{Data: data})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println(servers.Kafka, servers.ClickHouse)
	select {}
}

// startHelper returns a process that runs both servers, and their addresses.
func startHelper(t *testing.T, data string) (cmd *exec.Cmd, kafka, clickHouse string) {
	t.Helper()
	servicetest.ClickHouse(t)
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+data)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := fmt.Fscan(out, &kafka, &clickHouse); err != nil {
		t.Fatal(err)
	}
	return cmd, kafka, clickHouse
}

// A client that is killed under a query has its connection reset, at which the library would abort.
func TestClientsThatAreKilled(t *testing.T) {
	servicetest.Heavy(t, "servers end in it, and come back")
	c, err := embedded.StartClickHouse(t.Context(), embedded.Options{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	before := c.PID()
	for range 20 {
		var wire *net.TCPConn
		conn, err := clickhouse.Open(&clickhouse.Options{
			Addr: []string{c.Addr},
			DialContext: func(ctx context.Context, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
				if err == nil {
					wire = conn.(*net.TCPConn)
				}
				return conn, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), "SELECT number, toString(number) FROM numbers(1000000000)")
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		wire.SetLinger(0) // as the kernel does for a process that dies with something unread
		wire.Close()
		rows.Close() // or the driver panics when the test's context ends: it writes rows to a channel that it closed
		conn.Close()
	}
	if got := scalar[uint8](t, connect(t, c.Addr, "default"), "SELECT 1"); got != 1 {
		t.Errorf("SELECT 1 gave %d", got)
	}
	if c.PID() != before {
		t.Error("the server ended when its clients were killed")
	}
}
