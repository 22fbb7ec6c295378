package servicetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	kafkago "github.com/segmentio/kafka-go"
)

func TestMain(m *testing.M) { Main(m) }

func TestDatabaseIsTheTestsOwn(t *testing.T) {
	addr := ClickHouse(t)
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exists := func(database string) bool {
		var n uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system.databases WHERE name = ?", database).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
	var first, second string
	t.Run("while the test runs", func(t *testing.T) {
		_, first = Database(t)
		_, second = Database(t)
		if first == second || !exists(first) || !exists(second) {
			t.Errorf("databases %q and %q", first, second)
		}
	})
	if exists(first) || exists(second) {
		t.Error("a database outlived its test")
	}
}

func TestKafkaIsShared(t *testing.T) {
	addr := Kafka(t)
	if again := Kafka(t); again != addr {
		t.Errorf("two brokers: %s and %s", addr, again)
	}
	conn, err := kafkago.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ApiVersions(); err != nil {
		t.Error(err)
	}
}

func TestAbandonedDirectoriesAreRemoved(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	hourAgo := time.Now().Add(-time.Hour)
	for _, name := range []string{"abandoned", "in-use"} {
		dir := filepath.Join(tmp, dataPrefix+name)
		if err := os.MkdirAll(filepath.Join(dir, "clickhouse"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	l, err := lock(filepath.Join(tmp, dataPrefix+"in-use"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	removeAbandoned()
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != dataPrefix+"in-use" {
		t.Errorf("what remains is %v, want the directory in use alone", entries)
	}
}
