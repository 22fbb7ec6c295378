package servicetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	kafkago "github.com/segmentio/kafka-go"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SERVICETEST_APACHE"); dir != "" {
		a, err := newApache(dir)
		if err != nil {
			panic(err)
		}
		fmt.Println(a.cmd.Process.Pid)
		select {}
	}
	Main(m)
}

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

func apiVersions(addr string) error {
	conn, err := kafkago.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	_, err = conn.ApiVersions()
	return err
}

func TestApacheKafkaComesBack(t *testing.T) {
	if addr := ApacheKafka(t); apiVersions(addr) != nil || ApacheKafka(t) != addr {
		t.Errorf("no answer at %s, or another broker", addr)
	}
	a := sharedApache(t)
	topic := kafkago.TopicConfig{Topic: "events", NumPartitions: 1, ReplicationFactor: 1}
	client := &kafkago.Client{Addr: kafkago.TCP(a.Addr), Timeout: 5 * time.Minute}
	if _, err := client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{topic}}); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"Stop": a.Stop, "Kill": a.Kill} {
		began := time.Now()
		end()
		if apiVersions(a.Addr) == nil {
			t.Errorf("it answers after %s", name)
		}
		down := time.Now()
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		if err := apiVersions(a.Addr); err != nil {
			t.Errorf("after %s and Start: %v", name, err)
		}
		t.Logf("%s took %v, Start %v", name, down.Sub(began), time.Since(down))
		m, err := client.Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{"events"}})
		if err != nil || m.Topics[0].Error != nil {
			t.Errorf("the topic after %s: %+v, %v", name, m, err)
		}
	}
}

// TestApacheKafkaEndsWithItsProcess kills a process that has started a broker.
func TestApacheKafkaEndsWithItsProcess(t *testing.T) {
	needsApache(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "SERVICETEST_APACHE="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	parent.Process.Kill()
	parent.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the broker outlived its process by 10 s")
		}
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
