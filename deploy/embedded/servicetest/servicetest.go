// Package servicetest gives tests a real Kafka, embedded or Apache's, and a real ClickHouse, shared by all tests of a
// test binary and started when the first one asks. Data lives in a directory of the binary's own, removed when it ends.
//
// A test binary that uses it has
//
//	func TestMain(m *testing.M) { servicetest.Main(m) }
package servicetest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"apportion/deploy/embedded"
)

// shared is a service that is started at most once in a test binary.
type shared[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (s *shared[T]) get(t testing.TB, start func() (T, error)) T {
	t.Helper()
	s.once.Do(func() { s.value, s.err = start() })
	if s.err == nil {
		return s.value
	}
	// A laptop may lack the library and the network to fetch it; where every change is checked, a
	// test that did not run must not look like one that passed.
	if os.Getenv("CI") == "true" {
		t.Fatal(s.err)
	}
	t.Skip(s.err)
	return s.value
}

// Heavy skips a test that takes more than a few seconds where only quick ones are asked for.
func Heavy(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: " + why)
	}
}

// Draws returns how often a test repeats what it draws by chance: few times, or often where TEST_LONG is set, as
// `make test-long` does. The programs that tests start know no such setting, so it has no name of theirs.
func Draws(few, often int) int {
	if os.Getenv("TEST_LONG") != "" {
		return often
	}
	return few
}

var (
	clickHouse shared[*embedded.ClickHouse]
	kafka      shared[*embedded.Kafka]
	dataDir    = sync.OnceValues(makeDataDir)
)

// Main runs the tests of a binary, stops the services they used, and exits.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a binary that has more to do before it exits with the code that is returned.
func Run(m *testing.M) int {
	embedded.RunChild()
	code := m.Run()
	if chromium.value != nil {
		chromium.value.stop()
	}
	if kafka.value != nil {
		kafka.value.Stop()
	}
	if apacheKafka.value != nil {
		apacheKafka.value.Kill()
	}
	if clickHouse.value != nil {
		if err := clickHouse.value.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := cluster.value.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if held != nil {
		os.RemoveAll(held.Name())
	}
	return code
}

// Kafka returns the address of the binary's broker, which keeps its topics in memory. Tests share it:
// each names topics and groups of its own.
func Kafka(t testing.TB) (addr string) {
	t.Helper()
	return kafka.get(t, func() (*embedded.Kafka, error) {
		return embedded.StartKafka(embedded.Options{})
	}).Addr
}

// ClickHouse returns the native address of the binary's server. Tests share it: each uses a Database
// of its own.
func ClickHouse(t testing.TB) (addr string) {
	t.Helper()
	return server(t).Addr
}

// ClickHouseHTTP returns the address of the same server for HTTP, which takes and gives rows in any format.
func ClickHouseHTTP(t testing.TB) (addr string) {
	t.Helper()
	return server(t).HTTPAddr
}

func server(t testing.TB) *embedded.ClickHouse {
	t.Helper()
	return clickHouse.get(t, func() (*embedded.ClickHouse, error) {
		dir, err := dataDir()
		if err != nil {
			return nil, err
		}
		return embedded.StartClickHouse(context.Background(), embedded.Options{Data: dir, Progress: os.Stderr})
	})
}

var databases atomic.Int64

// Database returns the native address of the binary's server and the name of a new database on it,
// which is dropped when the test ends.
func Database(t testing.TB) (addr, database string) {
	t.Helper()
	database = fmt.Sprintf("test_%d", databases.Add(1))
	return DatabaseCalled(t, database), database
}

// DatabaseCalled is Database for a test that wants a certain name.
func DatabaseCalled(t testing.TB, database string) (addr string) {
	t.Helper()
	s := server(t)
	execute(t, s.HTTPAddr, "CREATE DATABASE "+database)
	t.Cleanup(func() { execute(t, s.HTTPAddr, "DROP DATABASE "+database+" SYNC") })
	return s.Addr
}

func execute(t testing.TB, httpAddr, sql string) {
	t.Helper()
	resp, err := http.Post("http://"+httpAddr+"/", "text/plain", strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", sql, resp.Status, resp.Header.Get("X-ClickHouse-Exception-Code"))
	}
}

const dataPrefix = "apportion-test-"

// makeDataDir makes a directory that this process holds a lock on.
func makeDataDir() (dir string, err error) {
	removeAbandoned()
	if dir, err = os.MkdirTemp("", dataPrefix); err != nil {
		return "", err
	}
	held, err = lock(dir)
	return dir, err
}

// removeAbandoned removes the directories whose process is gone without having done so: a panic or a
// time-out ends a test binary where it stands.
func removeAbandoned() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dataPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // one that was just made may not be locked yet
		}
		if l, err := lock(dir); err == nil {
			os.RemoveAll(dir)
			l.Close()
		}
	}
}

// held keeps the lock for as long as the process lives.
var held *os.File

func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
